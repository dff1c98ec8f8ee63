//! What a partition machine is told, and what it asks for.
//!
//! It never holds a rule: these are words between the lane and the machine.

use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::ProducerId;
use crate::ids::TimestampMs;
use crate::wire::batch::BatchView;
use crate::wire::error::KafkaCode;

/// The bounds of one partition.
#[derive(Clone, Debug)]
pub struct Limits {
    /// No more is fetched while this much is in hand, in bytes.
    pub waiting_bytes_max: usize,
    /// The most that one fetch asks for, in bytes.
    pub fetch_bytes_max: usize,
    /// The most that one append may have where it is made here, in bytes.
    pub append_bytes_max: usize,
    /// What one unit that must be encoded anew may become when it is unpacked, in bytes.
    pub unpacked_bytes_max: usize,
    /// What of one unit may be in memory at once, unpacked.
    pub held_bytes_max: usize,
    /// A unit that is not packed and has at most so many bytes is encoded anew at once; others are
    /// handed out (`mirror::work`).
    pub light_bytes_max: usize,
    /// `producer.id.expiration.ms` of the destination: behind a batch older than this the broker
    /// may have forgotten the writer, so batches go one at a time.
    pub producer_age_ms_max: i64,
    /// What the link does where there is more than one right answer.
    pub policy: Policy,
}

/// The choices of a link.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `gap.fill`.
    pub gap_fill: GapFill,
    /// `retention.overtook`.
    pub overtook: Overtook,
    /// `message.format.old`.
    pub old_format: OldFormat,
    /// `batch.merge`.
    pub merge: Merge,
    /// `gap.offsets.max`.
    pub gap_offsets_max: u64,
}

/// How many offsets one gap may have unless told otherwise: ten billion take 110 GB and half an
/// hour. Logs that begin there are to be met; one record with an offset beyond is a mistake or
/// malice more often than a gap.
pub const GAP_OFFSETS_MAX: u64 = 10_000_000_000;

impl Default for Policy {
    /// What a link does unless told otherwise.
    fn default() -> Policy {
        Policy {
            gap_fill: GapFill::Auto,
            overtook: Overtook::Halt,
            old_format: OldFormat::Convert,
            merge: Merge::Auto,
            gap_offsets_max: GAP_OFFSETS_MAX,
        }
    }
}

/// What fills offsets that the source has no visible record for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum GapFill {
    /// Hidden fillers; on compacted topics repeats from offset 2^31 - 1 on.
    Auto,
    /// Visible records; on compacted topics repeats.
    Record,
    /// Nothing: the partition halts.
    Halt,
}

/// What happens when the source deletes records before they are copied.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Overtook {
    /// The partition halts.
    Halt,
    /// It goes on behind a declared hole.
    Fill,
}

/// What happens with messages of format 0 and 1.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum OldFormat {
    /// They are converted to format 2.
    Convert,
    /// The partition halts.
    Halt,
}

/// What happens with small batches.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Each is copied as it is.
    Never,
    /// Several that wait one behind the other become one.
    Auto,
}

/// What the destination topic takes, by its configs; `None` where they could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Takes {
    /// The smaller one of `max.message.bytes` and `segment.bytes`.
    pub batch_bytes_max: Option<usize>,
    /// `cleanup.policy` contains `compact`, or will.
    pub is_compacted: Option<bool>,
    /// The topic gets its real policy when the part below its start is gone: until then no cleaner
    /// works and no retention, and that part may be filled with anything (`sync::stage`).
    pub is_staged: bool,
    /// How far from the broker's clock a record's time may be.
    pub times: TimeLimits,
    /// `compression.type` leaves batches alone, without which fillers would be seen.
    pub leaves_batches: Option<bool>,
}

/// Limits of timestamps, in milliseconds; `None` where there is none, or it is not known.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeLimits {
    /// `message.timestamp.before.max.ms`.
    pub before_ms: Option<i64>,
    /// `message.timestamp.after.max.ms`.
    pub after_ms: Option<i64>,
    /// `message.timestamp.difference.max.ms`, before Kafka 3.6.
    pub difference_ms: Option<i64>,
}

impl TimeLimits {
    /// The keys, in the order of the fields.
    pub const KEYS: [&str; 3] = [
        "message.timestamp.before.max.ms",
        "message.timestamp.after.max.ms",
        "message.timestamp.difference.max.ms",
    ];

    /// Those that there are, with their keys.
    pub fn each(self) -> impl Iterator<Item = (&'static str, i64)> {
        let limits = [self.before_ms, self.after_ms, self.difference_ms];
        let named = TimeLimits::KEYS.into_iter().zip(limits);
        named.filter_map(|(key, limit)| Some((key, limit?)))
    }
}

/// What a fetch answer says beside its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// When it was asked: what it says of the source may be as old as that.
    pub asked_at: TimestampMs,
    /// What it was asked for: whether anybody waits for it still (`PartitionMirror::awaits`).
    pub from: FetchFrom,
    /// The source's end as the link may see it: high watermark, or last stable offset.
    pub source_end: Offset,
    /// The source's high watermark.
    pub high_watermark: Offset,
    /// The first offset that the source still has, where it says so.
    pub log_start: Option<Offset>,
    /// Producers whose records from that offset to their next marker were aborted.
    pub aborted: Vec<(ProducerId, Offset)>,
}

/// What the tail handshake found.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    /// The last batches are equal; the epoch wrote the source's batch that ends there, `NONE`
    /// where it has none.
    Equal(LeaderEpoch),
    /// No offset is on both sides.
    NothingShared,
    /// The first offset known to differ.
    Differs(Offset),
    /// A batch of ours has the broker's time in the place of its own.
    Stamped(Offset),
    /// The destination's was sealed, there, as far as that is known.
    Sealed(Option<Offset>),
}

/// Both logs as they were found before the first append, and after every doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// When the ends were asked for, where that is not now.
    pub asked_at: Option<TimestampMs>,
    /// The source's log start.
    pub source_start: Offset,
    /// The source's high watermark, or last stable offset.
    pub source_end: Offset,
    /// The source's log end offset.
    pub source_log_end: Offset,
    /// Records behind `source_end` that an open transaction may hold back.
    pub source_held: u64,
    /// The destination's log end offset: where the copy goes on.
    pub destination_end: Offset,
    /// The destination's high watermark.
    pub destination_hwm: Offset,
    /// Whether the last batches agree.
    pub tail: Tail,
    /// The greatest timestamp of the destination's last batch, -1 where there is none.
    pub tail_timestamp: TimestampMs,
    /// Nothing but fillers was ever written: the part below the source's log start is being built.
    pub is_prefix: bool,
    /// The source holds nothing from the destination's end up to here, and never will.
    pub hole_to: Option<Offset>,
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
    /// Leave the lane each time that both ends seem to be equal, so that both logs are looked at:
    /// whether they are, and whether the source's ends in a hole.
    Drain,
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
