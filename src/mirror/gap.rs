//! A gap: offsets that the source's log holds and readers of the copy must not see.
//!
//! It never decides where a gap is: `align` does; here it is cut into batches that fill it.

use bytes::Bytes;

use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::TimestampMs;
use crate::mirror::window::Made;
use crate::mirror::window::Unit;
use crate::wire::batch::BatchView;
use crate::wire::codec::Codec;
use crate::wire::filler;
use crate::wire::filler::Kind;
use crate::wire::filler::repeat::repeat;
use crate::wire::record::NewRecord;
use crate::wire::record::take_tail;
use crate::wire::reframe::Bounds;
use crate::wire::reframe::ReframeError;
use crate::wire::reframe::first_record;

/// A gap longer than this is filled before anything behind it is taken in: what was fetched would
/// hold its buffer all the while, and other partitions need it.
pub const LONG: u64 = 10_000;
/// What a filler batch may have where the destination does not tell its limit, in bytes: Kafka's
/// default `max.message.bytes` is 1,048,588.
pub const FILLER_BYTES_MAX: usize = 1_048_576;

/// What fills a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum With {
    /// Fillers of one kind.
    Fillers(Kind),
    /// The next real record, again and again: on compacted topics from offset 2^31 - 1 on.
    Repeats(Box<Template>),
}

/// A record of the source to be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The source's leader epoch of its batch.
    pub epoch: LeaderEpoch,
    /// Its time, in milliseconds.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// Repeats that were handed out; the source may lose their record before that is copied.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Repeated {
    /// The first of them.
    pub from: Offset,
    /// Where the record stands.
    pub at: Offset,
    /// The source's leader epoch there.
    pub epoch: LeaderEpoch,
}

/// The offsets `base..next`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first offset that is not handed out.
    pub base: Offset,
    /// The offset behind the last.
    pub next: Offset,
    /// The source's leader epoch of what lies there, `NONE` where nothing does.
    pub epoch: LeaderEpoch,
    /// What fills it.
    pub with: With,
    /// Why readers must not see anything there.
    pub why: Why,
}

/// Why an offset is filled.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The source has no record for readers there.
    Nothing,
    /// It lies below the source's log start, and the copy has not begun before.
    Prefix,
    /// Retention took records before they were copied, and the link goes on all the same.
    Overtaken,
}

impl Gap {
    /// How many offsets are left.
    pub fn len(&self) -> u64 {
        self.base.distance_to(self.next)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nothing behind it is taken in meanwhile.
    pub fn is_long(&self) -> bool {
        self.len() > LONG
    }

    /// Whether `behind` can be a part of this gap.
    pub fn takes(&self, behind: &Gap) -> bool {
        let fillers = matches!(self.with, With::Fillers(_));
        let same = self.with == behind.with && self.why == behind.why;
        fillers && same && self.next == behind.base
    }

    /// What its batches repeat, if they do.
    fn repeated(&self) -> Option<Repeated> {
        let With::Repeats(template) = &self.with else { return None };
        Some(Repeated { from: self.base, at: self.next, epoch: template.epoch })
    }

    /// Takes `behind` in.
    pub fn extend(&mut self, behind: &Gap) {
        self.next = behind.next;
        self.epoch = behind.epoch;
    }

    /// Cuts the next batch off the front, of at most `bytes_max` where one filler fits into that;
    /// `timestamp` is the greatest of the batch before it.
    pub fn cut(&mut self, timestamp: TimestampMs, bytes_max: usize) -> Option<(Unit, BatchView)> {
        let left = u32::try_from(self.len()).unwrap_or(u32::MAX);
        let batch = match &self.with {
            With::Fillers(kind) => {
                let count = filler::count_max(*kind, bytes_max).max(1).min(left);
                filler::filler(*kind, self.base, count, timestamp)
            }
            With::Repeats(template) => template.repeat(self.base, left, bytes_max)?,
        };
        let unit = Unit {
            base: self.base,
            next: batch.next_offset(),
            bytes: batch.len(),
            timestamp: batch.max_timestamp(),
            epoch: self.epoch,
            made: Made::Filler(self.why),
            repeats: self.repeated(),
        };
        self.base = unit.next;
        Some((unit, batch))
    }
}

impl Template {
    /// The first record of `batch` that readers see; `None` where it has none or is corrupt. One
    /// that is larger than the bounds allow is an error.
    pub fn of(batch: &BatchView, bounds: &Bounds) -> Result<Option<Template>, ReframeError> {
        let first = match first_record(batch, bounds) {
            Err(error) if error.is_too_large() => return Err(error),
            Err(_) => return Ok(None),
            Ok(first) => first,
        };
        let Some((timestamp_ms, tail)) = first else { return Ok(None) };
        let Ok((key, value, headers)) = take_tail(&tail) else { return Ok(None) };
        let own = |bytes: &[u8]| tail.slice_ref(bytes);
        Ok(Some(Template {
            epoch: batch.leader_epoch(),
            timestamp_ms,
            key: key.map(own),
            value: value.map(own),
            headers: headers.iter().map(|(name, value)| (own(name), value.map(own))).collect(),
        }))
    }

    /// `None` where it cannot be compressed: memory of the codec, at worst.
    fn repeat(&self, base: Offset, count: u32, bytes_max: usize) -> Option<BatchView> {
        let headers = self.headers.iter().map(|(name, value)| (&name[..], value.as_deref()));
        let record = NewRecord {
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: headers.collect(),
        };
        repeat(&record, base, count, Codec::Zstd, bytes_max).ok()
    }
}
