//! What a partition machine is told, and what it asks for.
//!
//! It never holds a rule: these are words between the lane and the machine.

use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::wire::batch::BatchView;
use crate::wire::error::KafkaCode;

/// The bounds of one partition.
#[derive(Clone, Debug)]
pub struct Limits {
    /// No more is fetched while this much is in hand, in bytes.
    pub waiting_bytes_max: usize,
    /// The most that one fetch asks for, in bytes.
    pub fetch_bytes_max: usize,
    /// `max.message.bytes` of the destination topic, where it is known.
    pub batch_bytes_max: Option<usize>,
    /// `producer.id.expiration.ms` of the destination: behind a batch older than this the broker
    /// may have forgotten the writer, so batches go one at a time.
    pub producer_age_ms_max: i64,
}

/// What the tail handshake found.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    /// The last batches are equal; `epoch` wrote the last one at the source.
    Equal(LeaderEpoch),
    /// No offset is on both sides.
    NothingShared,
    /// The first offset known to differ.
    Differs(Offset),
}

/// Both logs as they were found before the first append, and after every doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The source's log start.
    pub source_start: Offset,
    /// The source's high watermark, or last stable offset.
    pub source_end: Offset,
    /// The source's log end offset.
    pub source_log_end: Offset,
    /// The destination's log end offset: where the copy goes on.
    pub destination_end: Offset,
    /// The destination's high watermark.
    pub destination_hwm: Offset,
    /// Whether the last batches agree.
    pub tail: Tail,
}

/// Something went wrong outside.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The source answered a fetch with this code.
    FetchRefused(KafkaCode),
    /// The source's connection is gone.
    SourceLost,
    /// The destination's connection is gone: what was in flight is unknown.
    DestinationLost,
    /// The lane ends, nothing is wrong.
    Moved,
}

/// An answer to the oldest append in flight.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Acked {
    /// What the broker says.
    pub code: KafkaCode,
    /// Where it put the batch; `None` for the wire's -1.
    pub base: Option<Offset>,
    /// It had a batch of these sequence numbers already and appended nothing (P2). It does not
    /// compare contents: what lies there may be what the source has lost since.
    pub is_repeat: bool,
}

/// A person's order.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Look again at what halted.
    Resume,
}

/// From where to fetch.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct FetchFrom {
    /// The first offset wanted.
    pub offset: Offset,
    /// The leader epoch of the batch before it, for the source to compare.
    pub last_epoch: LeaderEpoch,
    /// At most this many bytes.
    pub bytes_max: usize,
}

/// What to append: `batch` occupies `base..next` and `base` is the destination's end.
#[derive(Clone, Debug)]
pub struct Append {
    /// The first offset, which the acknowledgement must name.
    pub base: Offset,
    /// The offset behind the last.
    pub next: Offset,
    /// The source's batch; its header is rewritten on the way.
    pub batch: BatchView,
}
