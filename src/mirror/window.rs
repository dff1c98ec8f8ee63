//! What one partition has in hand: batches that wait, and batches in flight, both in order.
//!
//! It never holds more than its limits and never reorders.

use std::collections::VecDeque;

use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::TimestampMs;
use crate::wire::batch::BatchView;

/// How many batches of one producer a broker remembers, and so how many may be in flight
/// (`ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
pub const IN_FLIGHT_MAX: usize = 5;

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
    /// What was handed out and not answered; written by `take` and `ack`.
    in_flight: VecDeque<Unit>,
    /// What was fetched and not handed out; written by `push` and `take`.
    waiting: VecDeque<(Unit, BatchView)>,
    /// Bytes of both.
    bytes: usize,
}

impl Window {
    /// An empty window at `end`.
    pub fn new(end: Offset) -> Window {
        Window { end, in_flight: VecDeque::new(), waiting: VecDeque::new(), bytes: 0 }
    }

    /// Drops everything and starts over at `end`.
    pub fn restart(&mut self, end: Offset) {
        *self = Window::new(end);
    }

    /// Drops what was not handed out.
    pub fn drop_waiting(&mut self) {
        for (unit, _) in self.waiting.drain(..) {
            self.bytes -= unit.bytes;
        }
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
        self.waiting.back().map_or_else(|| self.sent_end(), |(unit, _)| unit.next)
    }

    /// Bytes in hand.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many batches are unanswered.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How many batches wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The oldest batch in hand.
    pub fn oldest(&self) -> Option<&Unit> {
        self.in_flight.front().or_else(|| self.waiting.front().map(|(unit, _)| unit))
    }

    /// Takes a batch in; it must begin where the last one ended, or comes back.
    pub fn push(&mut self, batch: BatchView) -> Result<(), BatchView> {
        if batch.base_offset() != self.read_end() {
            return Err(batch);
        }
        let unit = Unit {
            base: batch.base_offset(),
            next: batch.next_offset(),
            bytes: batch.len(),
            timestamp: batch.max_timestamp(),
            epoch: batch.leader_epoch(),
        };
        self.bytes += unit.bytes;
        self.waiting.push_back((unit, batch));
        Ok(())
    }

    /// Hands the oldest waiting batch out, which makes it in flight.
    pub fn take(&mut self) -> Option<(Unit, BatchView)> {
        let (unit, batch) = self.waiting.pop_front()?;
        self.in_flight.push_back(unit.clone());
        Some((unit, batch))
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
        self.bytes -= unit.bytes;
        Some(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::align::tests::batch;

    #[test]
    fn three_positions_move_in_order() {
        let mut window = Window::new(Offset::ZERO);
        window.push(batch(0, 5, 5, 0)).unwrap();
        window.push(batch(5, 5, 5, 0)).unwrap();
        assert!(window.push(batch(11, 1, 1, 0)).is_err());
        let ends = |w: &Window| (w.end().get(), w.sent_end().get(), w.read_end().get());
        assert_eq!((ends(&window), window.bytes()), ((0, 0, 10), 124));
        window.take().unwrap();
        assert_eq!((ends(&window), window.in_flight()), ((0, 5, 10), 1));
        window.ack().unwrap();
        assert_eq!((ends(&window), window.bytes()), ((5, 5, 10), 62));
        window.drop_waiting();
        assert_eq!((ends(&window), window.bytes()), ((5, 5, 5), 0));
    }
}
