//! What a log is made of, by its batch headers alone: how many offsets hold no record that readers
//! see, how large and how old the batches are.
//!
//! It never opens a batch, but for the markers of transactions.

use crate::audit::log::cursor::Aborted;
use crate::audit::log::cursor::Portion;
use crate::ids::Offset;
use crate::wire::batch::Attributes;
use crate::wire::batch::BatchView;
use crate::wire::split::Piece;

/// What was seen in a part of a log.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Offsets that were looked at.
    pub offsets: u64,
    /// Offsets between batches.
    pub holes: u64,
    /// The longest run of them.
    pub hole_max: u64,
    /// Offsets inside of batches whose records compaction took.
    pub thinned: u64,
    /// Offsets of markers.
    pub control: u64,
    /// Offsets of aborted transactions.
    pub aborted: u64,
    /// Batches whose timestamps the broker gave.
    pub log_append_time: u64,
    /// Messages of format 0 or 1.
    pub old_format: u64,
    /// All batches, and their bytes.
    pub batches: u64,
    /// Bytes of all batches.
    pub bytes: u64,
    /// The largest batch, in bytes.
    pub batch_bytes_max: u64,
    /// The oldest first timestamp and the newest timestamp of a batch, in ms since 1970.
    pub oldest_ms: Option<i64>,
    /// See `oldest_ms`.
    pub newest_ms: Option<i64>,
}

impl Seen {
    /// Offsets that the copy fills.
    pub fn empty(&self) -> u64 {
        self.holes + self.thinned + self.control + self.aborted
    }

    /// Both together.
    pub fn and(self, other: Seen) -> Seen {
        let both = |a: Option<i64>, b: Option<i64>, pick: fn(i64, i64) -> i64| match (a, b) {
            (Some(a), Some(b)) => Some(pick(a, b)),
            _ => a.or(b),
        };
        Seen {
            offsets: self.offsets + other.offsets,
            holes: self.holes + other.holes,
            hole_max: self.hole_max.max(other.hole_max),
            thinned: self.thinned + other.thinned,
            control: self.control + other.control,
            aborted: self.aborted + other.aborted,
            log_append_time: self.log_append_time + other.log_append_time,
            old_format: self.old_format + other.old_format,
            batches: self.batches + other.batches,
            bytes: self.bytes + other.bytes,
            batch_bytes_max: self.batch_bytes_max.max(other.batch_bytes_max),
            oldest_ms: both(self.oldest_ms, other.oldest_ms, i64::min),
            newest_ms: both(self.newest_ms, other.newest_ms, i64::max),
        }
    }

    /// Counts what one fetch brought from `from` on, of which `end` is not seen any more.
    pub fn take(&mut self, portion: Portion, from: Offset, end: Offset, committed_only: bool) {
        let mut aborted = Aborted::new(portion.aborted);
        let mut next = from;
        for piece in portion.pieces {
            self.batches += 1;
            self.bytes += piece.bytes_count() as u64;
            self.batch_bytes_max = self.batch_bytes_max.max(piece.bytes_count() as u64);
            match piece {
                Piece::Batch(batch) => {
                    let base = batch.base_offset().max(next).min(end);
                    let behind = batch.next_offset().max(base).min(end);
                    self.hole(next.distance_to(base));
                    let is_aborted = aborted.pass(&batch) && committed_only;
                    self.batch(&batch, base.distance_to(behind), is_aborted);
                    next = behind;
                }
                Piece::OldFormat { offset, .. } => {
                    self.old_format += 1;
                    next = offset.plus(1).unwrap_or(offset).max(next).min(end);
                }
            }
        }
        let behind = portion.next.min(end).max(next);
        self.hole(next.distance_to(behind));
        self.offsets += from.distance_to(behind);
    }

    fn hole(&mut self, offsets: u64) {
        self.holes += offsets;
        self.hole_max = self.hole_max.max(offsets);
    }

    fn batch(&mut self, batch: &BatchView, span: u64, is_aborted: bool) {
        let bits = batch.attributes();
        if bits.has(Attributes::CONTROL) {
            self.control += span;
            return;
        }
        if is_aborted {
            self.aborted += span;
            return;
        }
        let taken = batch.span().saturating_sub(u64::from(batch.count().unsigned_abs()));
        self.thinned += taken.min(span);
        self.log_append_time += u64::from(bits.has(Attributes::LOG_APPEND_TIME));
        let is_horizon = bits.has(Attributes::DELETE_HORIZON) || batch.count() == 0;
        let times = (batch.base_timestamp().0, batch.max_timestamp().0);
        // where the broker gave the time, all records have the one that it gave last
        let is_one = is_horizon || bits.has(Attributes::LOG_APPEND_TIME);
        let first = if is_one { times.1 } else { times.0 };
        for time in [first, times.1].into_iter().filter(|time| *time >= 0) {
            self.oldest_ms = Some(self.oldest_ms.map_or(time, |old| old.min(time)));
            self.newest_ms = Some(self.newest_ms.map_or(time, |new| new.max(time)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::audit::log::samples::Sample;
    use crate::audit::log::samples::at;
    use crate::audit::log::samples::batch;

    #[test]
    fn every_offset_without_a_record_is_counted_once() {
        let thinned = batch(&[Sample::new(10, "a"), Sample::new(14, "b")]);
        let whole = batch(&[Sample::new(17, "c"), Sample::new(18, "d")]);
        let pieces = vec![Piece::Batch(thinned.clone()), Piece::Batch(whole)];
        let mut seen = Seen::default();
        seen.take(Portion { pieces, aborted: Vec::new(), next: at(20) }, at(8), at(20), true);
        assert_eq!((seen.offsets, seen.holes, seen.thinned), (12, 2 + 2 + 1, 3));
        assert_eq!((seen.batches, seen.empty(), seen.hole_max), (2, 8, 2));
        assert_eq!((seen.oldest_ms, seen.newest_ms), (Some(1_010), Some(1_018)));
        // the end lies inside of what came
        let mut seen = Seen::default();
        let pieces = vec![Piece::Batch(thinned)];
        seen.take(Portion { pieces, aborted: Vec::new(), next: at(15) }, at(10), at(12), true);
        assert_eq!((seen.offsets, seen.holes), (2, 0));
    }

    #[test]
    fn what_producers_said_counts_for_nothing_where_the_broker_gave_the_time() {
        let told = batch(&[Sample::new(10, "a"), Sample::new(11, "b")]);
        let mut bytes = told.to_bytes().to_vec();
        bytes[22] |= Attributes::LOG_APPEND_TIME as u8;
        bytes[27..35].copy_from_slice(&0i64.to_be_bytes());
        let stamped = BatchView::new(bytes.into()).unwrap();
        let mut seen = Seen::default();
        let pieces = vec![Piece::Batch(stamped)];
        seen.take(Portion { pieces, aborted: Vec::new(), next: at(12) }, at(10), at(12), true);
        let newest = told.max_timestamp().0;
        assert_eq!((seen.oldest_ms, seen.newest_ms), (Some(newest), Some(newest)));
    }
}
