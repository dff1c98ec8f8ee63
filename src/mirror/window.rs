//! What one partition has in hand: what waits, and what is in flight, both in order.
//!
//! It never holds more than its limits and never reorders. Besides batches it holds gaps: offsets
//! that the source has and readers must not see. A gap is one thing to hold however long it is,
//! and is cut into batches of fillers when it is handed out.

use std::collections::VecDeque;

use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::TimestampMs;
use crate::mirror::gap::Gap;
use crate::mirror::gap::Repeated;
use crate::mirror::gap::Why;
use crate::wire::batch::BatchView;
use crate::wire::reframe::Bounds;
use crate::wire::reframe::merge::BATCHES_MAX;
use crate::wire::reframe::merge::fits;
use crate::wire::reframe::merge::merge;

/// How many batches of one producer a broker remembers, and so how many may be in flight
/// (`ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
pub const IN_FLIGHT_MAX: usize = 5;

/// A batch larger than this is never merged with others: what is saved is a share of the round
/// trip for each batch, and that is little against its bytes.
pub const SMALL_BYTES_MAX: usize = 16 * 1024;

/// What small batches that become one may be unpacked in the lane, in bytes: a few milliseconds.
pub const MERGED_BYTES_MAX: usize = 1 << 20;

/// How a batch came to be.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// It is the source's own.
    AtSource,
    /// Its records were encoded anew.
    Reencoded,
    /// It was so many of the source's own.
    Merged(u32),
    /// It fills offsets.
    Filler(Why),
}

/// One batch on its way; it occupies the offsets `base..next`.
#[derive(Clone, Debug)]
pub struct Unit {
    /// The first offset.
    pub base: Offset,
    /// The offset behind the last.
    pub next: Offset,
    /// Header and records, in bytes.
    pub bytes: usize,
    /// The greatest timestamp.
    pub timestamp: TimestampMs,
    /// The source's leader epoch.
    pub epoch: LeaderEpoch,
    /// Where it comes from.
    pub made: Made,
    /// What it repeats, where it fills a gap so.
    pub repeats: Option<Repeated>,
}

impl Unit {
    fn of(batch: &BatchView, made: Made) -> Unit {
        Unit {
            base: batch.base_offset(),
            next: batch.next_offset(),
            bytes: batch.len(),
            timestamp: batch.max_timestamp(),
            epoch: batch.leader_epoch(),
            made,
            repeats: None,
        }
    }

    /// Memory that it holds: fillers share one section.
    fn held(&self) -> usize {
        if matches!(self.made, Made::Filler(_)) { 0 } else { self.bytes }
    }
}

#[derive(Debug)]
enum Waiting {
    Batch(Unit, BatchView),
    Gap(Gap),
}

impl Waiting {
    fn next(&self) -> Offset {
        match self {
            Waiting::Batch(unit, _) => unit.next,
            Waiting::Gap(gap) => gap.next,
        }
    }
}

/// ```text
///   end                sent_end                    read_end
///    │  in flight (≤ 5)    │        waiting            │
///    ├─────────┬───────────┼────────┬────────┬─────────┤ ← next fetch
///    └ acked: end moves    └ polled: sent_end moves    └ fetched: read_end moves
/// ```
#[derive(Debug)]
pub struct Window {
    /// Everything below it is confirmed; written by `ack` and `restart`.
    end: Offset,
    /// The greatest timestamp of the batch handed out last, or of the one at the destination's
    /// end: what fillers carry.
    timestamp: TimestampMs,
    /// What was handed out and not answered; written by `take` and `ack`.
    in_flight: VecDeque<Unit>,
    /// What was fetched and not handed out; written by `push` and `take`.
    waiting: VecDeque<Waiting>,
    /// Bytes of both.
    bytes: usize,
}

impl Window {
    /// An empty window at `end`, behind a batch of that greatest timestamp (-1 behind none).
    pub fn new(end: Offset, timestamp: TimestampMs) -> Window {
        Window { end, timestamp, in_flight: VecDeque::new(), waiting: VecDeque::new(), bytes: 0 }
    }

    /// Drops what was not handed out.
    pub fn drop_waiting(&mut self) {
        self.waiting.clear();
        self.bytes = self.in_flight.iter().map(Unit::held).sum();
    }

    /// The confirmed end.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Where the destination ends once everything in flight has landed.
    pub fn sent_end(&self) -> Offset {
        self.in_flight.back().map_or(self.end, |unit| unit.next)
    }

    /// Where the source is read next.
    pub fn read_end(&self) -> Offset {
        self.waiting.back().map_or_else(|| self.sent_end(), Waiting::next)
    }

    /// Bytes in hand.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes in hand of batches that were encoded anew.
    pub fn anew_bytes(&self) -> usize {
        let waiting = self.waiting.iter().filter_map(|one| match one {
            Waiting::Batch(unit, _) => Some(unit),
            Waiting::Gap(_) => None,
        });
        let anew = self.in_flight.iter().chain(waiting);
        anew.filter(|unit| unit.made == Made::Reencoded).map(|unit| unit.bytes).sum()
    }

    /// How many batches are unanswered.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How many batches and gaps wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a gap waits that is so long that nothing behind it is taken in meanwhile.
    pub fn has_long_gap(&self) -> bool {
        matches!(self.waiting.back(), Some(Waiting::Gap(gap)) if gap.is_long())
    }

    /// How many offsets in hand lie below the source's log start.
    pub fn front_offsets(&self) -> u64 {
        let units = self.in_flight.iter().filter(|unit| unit.made == Made::Filler(Why::Prefix));
        let sent = units.map(|unit| unit.base.distance_to(unit.next)).sum::<u64>();
        let waiting = self.waiting.iter().filter_map(|one| match one {
            Waiting::Gap(gap) if gap.why == Why::Prefix => Some(gap.len()),
            Waiting::Gap(_) | Waiting::Batch(..) => None,
        });
        sent + waiting.sum::<u64>()
    }

    /// The time of the oldest record in hand.
    pub fn oldest(&self) -> Option<TimestampMs> {
        let waiting = self.waiting.iter().filter_map(|one| match one {
            Waiting::Batch(unit, _) => Some(unit),
            Waiting::Gap(_) => None,
        });
        let mut units = self.in_flight.iter().chain(waiting);
        let oldest = units.find(|unit| !matches!(unit.made, Made::Filler(_)));
        oldest.map(|unit| unit.timestamp)
    }

    /// Takes a batch in; it must begin where the last one ended, or comes back.
    pub fn push(&mut self, batch: BatchView, made: Made) -> Result<(), BatchView> {
        if batch.base_offset() != self.read_end() {
            return Err(batch);
        }
        let unit = Unit::of(&batch, made);
        self.bytes += unit.held();
        self.waiting.push_back(Waiting::Batch(unit, batch));
        Ok(())
    }

    /// Takes a gap in; it must begin where the last one ended, or comes back.
    pub fn push_gap(&mut self, gap: Gap) -> Result<(), Gap> {
        if gap.base != self.read_end() {
            return Err(gap);
        }
        match self.waiting.back_mut() {
            Some(Waiting::Gap(before)) if before.takes(&gap) => before.extend(&gap),
            _ => self.waiting.push_back(Waiting::Gap(gap)),
        }
        Ok(())
    }

    /// Hands the oldest waiting batch out, or the first fillers of a gap, at most `bytes_max` of
    /// them; which makes it in flight. With `merge` several small batches go out as one, where more
    /// of them wait than may be in flight.
    pub fn take(&mut self, bytes_max: usize, merge: Option<&Bounds>) -> Option<(Unit, BatchView)> {
        if let Some(bounds) = merge {
            self.merge_front(bytes_max, bounds);
        }
        let (unit, batch) = match self.waiting.front_mut()? {
            Waiting::Gap(gap) => {
                let (unit, batch) = gap.cut(self.timestamp, bytes_max)?;
                if gap.is_empty() {
                    self.waiting.pop_front();
                }
                (unit, batch)
            }
            Waiting::Batch(..) => match self.waiting.pop_front()? {
                Waiting::Batch(unit, batch) => (unit, batch),
                Waiting::Gap(_) => return None,
            },
        };
        self.timestamp = unit.timestamp;
        self.in_flight.push_back(unit.clone());
        Some((unit, batch))
    }

    /// Makes the small batches in front one, if there are several and it costs time not to.
    fn merge_front(&mut self, bytes_max: usize, bounds: &Bounds) {
        if self.waiting.len() + self.in_flight.len() <= IN_FLIGHT_MAX {
            return;
        }
        let mut batches: Vec<BatchView> = Vec::new();
        let mut bytes = 0;
        for one in &self.waiting {
            let Waiting::Batch(Unit { made: Made::AtSource, .. }, batch) = one else { break };
            bytes += batch.len();
            let fit = batches.last().is_none_or(|before| fits(before, batch));
            let full = bytes > bytes_max || batches.len() >= BATCHES_MAX;
            if !fit || full || batch.len() > SMALL_BYTES_MAX {
                break;
            }
            batches.push(batch.clone());
        }
        let bounds = Bounds { unpacked_bytes_max: MERGED_BYTES_MAX, ..*bounds };
        // A batch that cannot be read goes out as it is: the destination refuses it.
        let Ok(Some((count, merged))) = merge(&batches, &bounds) else { return };
        let held: usize = batches.iter().take(count).map(BatchView::len).sum();
        self.waiting.drain(..count);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let unit = Unit::of(&merged, Made::Merged(count));
        self.bytes = self.bytes - held + unit.held();
        self.waiting.push_front(Waiting::Batch(unit, merged));
    }

    /// The oldest batch in flight, which an answer must be about.
    pub fn front(&self) -> Option<&Unit> {
        self.in_flight.front()
    }

    /// The oldest batch in flight has landed: `end` moves behind it.
    pub fn ack(&mut self) -> Option<Unit> {
        let unit = self.drop_front()?;
        self.end = unit.next;
        Some(unit)
    }

    /// The oldest batch in flight was refused: `end` stays.
    pub fn drop_front(&mut self) -> Option<Unit> {
        let unit = self.in_flight.pop_front()?;
        self.bytes -= unit.held();
        Some(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::align::tests::batch;
    use crate::mirror::gap::LONG;
    use crate::mirror::gap::With;
    use crate::mirror::tests::plain;
    use crate::wire::filler::Kind;
    use crate::wire::filler::kind_of;

    fn window() -> Window {
        Window::new(Offset::ZERO, TimestampMs(-1))
    }

    fn gap(base: i64, next: i64) -> Gap {
        let at = |raw| Offset::new(raw).unwrap();
        let with = With::Fillers(Kind::Hidden);
        let epoch = LeaderEpoch::NONE;
        Gap { base: at(base), next: at(next), epoch, with, why: Why::Nothing }
    }

    #[test]
    fn three_positions_move_in_order() {
        let mut window = window();
        window.push(batch(0, 5, 5, 0), Made::AtSource).unwrap();
        window.push(batch(5, 5, 5, 0), Made::AtSource).unwrap();
        assert!(window.push(batch(11, 1, 1, 0), Made::AtSource).is_err());
        let ends = |w: &Window| (w.end().get(), w.sent_end().get(), w.read_end().get());
        assert_eq!((ends(&window), window.bytes()), ((0, 0, 10), 124));
        window.take(1_000, None).unwrap();
        assert_eq!((ends(&window), window.in_flight()), ((0, 5, 10), 1));
        window.ack().unwrap();
        assert_eq!((ends(&window), window.bytes()), ((5, 5, 10), 62));
        window.drop_waiting();
        assert_eq!((ends(&window), window.bytes()), ((5, 5, 5), 0));
    }

    #[test]
    fn a_gap_is_one_thing_and_goes_out_in_batches_that_fit() {
        let mut window = window();
        window.push(batch(0, 5, 5, 0), Made::AtSource).unwrap();
        assert!(window.push_gap(gap(6, 9)).is_err());
        window.push_gap(gap(5, 9)).unwrap();
        window.push_gap(gap(9, 5 + LONG as i64 + 20)).unwrap();
        assert_eq!((window.waiting(), window.bytes()), (2, 62));
        assert!(window.has_long_gap());
        window.take(1_000, None).unwrap();
        let (unit, first) = window.take(61 + 11 * 20, None).unwrap();
        assert_eq!((unit.base.get(), unit.next.get()), (5, 25));
        assert_eq!((first.base_offset().get(), first.count()), (5, 20));
        // as the batch before it
        assert_eq!(first.max_timestamp(), TimestampMs(1_000));
        assert_eq!(kind_of(&first), Some(Kind::Hidden));
        assert!(!window.has_long_gap());
        let (unit, _) = window.take(1_000_000, None).unwrap();
        assert_eq!(unit.next.get(), 5 + LONG as i64 + 20);
        assert_eq!((window.waiting(), window.read_end()), (0, unit.next));
        assert_eq!(window.bytes(), 62, "fillers hold no memory of their own");
    }

    #[test]
    fn a_gap_of_all_offsets_costs_nothing_to_hold() {
        let mut window = window();
        window.push_gap(gap(0, i64::MAX)).unwrap();
        let (unit, _) = window.take(usize::MAX, None).unwrap();
        assert_eq!(unit.next.get(), i64::from(crate::wire::filler::COUNT_MAX));
        assert_eq!(unit.timestamp, TimestampMs(-1));
        assert_eq!(window.read_end().get(), i64::MAX);
    }

    #[test]
    fn the_oldest_record_in_hand_is_no_filler() {
        let mut window = window();
        window.push_gap(gap(0, 5)).unwrap();
        assert_eq!(window.oldest(), None);
        window.push(batch(5, 5, 5, 0), Made::AtSource).unwrap();
        window.take(1_000, None).unwrap();
        assert_eq!(window.oldest(), Some(TimestampMs(1_005)));
    }

    #[test]
    fn small_batches_become_one_only_where_more_wait_than_may_be_in_flight() {
        let tens = |window: &mut Window, count: i64| {
            for n in 0..count {
                window.push(plain(3 * n, 3), Made::AtSource).unwrap();
            }
        };
        let bounds = Bounds::default();
        let mut few = window();
        tens(&mut few, 5);
        let (unit, _) = few.take(10_000, Some(&bounds)).unwrap();
        assert_eq!((unit.made, unit.next.get()), (Made::AtSource, 3));
        let mut many = window();
        tens(&mut many, 6);
        let before = many.bytes();
        let (unit, batch) = many.take(10_000, Some(&bounds)).unwrap();
        assert_eq!((unit.made, unit.next.get()), (Made::Merged(6), 18));
        assert_eq!((batch.count(), many.waiting()), (18, 0));
        assert!(many.bytes() < before && many.bytes() == batch.len());
        let mut bounded = window();
        tens(&mut bounded, 9);
        let three = 3 * plain(0, 3).len();
        let (unit, _) = bounded.take(three, Some(&bounds)).unwrap();
        assert_eq!((unit.made, unit.next.get()), (Made::Merged(3), 9));
        bounded.ack().unwrap();
        assert_eq!(bounded.bytes(), 6 * plain(0, 3).len());
    }

    #[test]
    fn what_does_not_fit_or_is_large_is_not_merged() {
        let mut window = window();
        window.push(plain(0, 3), Made::AtSource).unwrap();
        window.push(batch(3, 3, 3, 1), Made::AtSource).unwrap();
        (2..9).for_each(|n| window.push(plain(3 * n, 3), Made::AtSource).unwrap());
        let bounds = Bounds::default();
        let (unit, _) = window.take(10_000, Some(&bounds)).unwrap();
        assert_eq!(unit.made, Made::AtSource);
        let (unit, _) = window.take(10_000, Some(&bounds)).unwrap();
        assert_eq!(unit.made, Made::AtSource, "another codec");
        let (unit, _) = window.take(10_000, Some(&bounds)).unwrap();
        assert_eq!(unit.made, Made::Merged(7));
    }
}
