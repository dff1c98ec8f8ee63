//! The model: whatever lies at the destination is what the source says about that offset.
//!
//! It never asks the mirror: it compares two logs, offset by offset.

use super::World;
use super::broker::Row;
use super::broker::Stored;
use super::source::Cell;
use super::source::Source;
use isolog::mirror::facts::GapFill;
use isolog::mirror::facts::Overtook;
use isolog::mirror::halt::Halt;

/// The first place of a compacted topic where the cleaner keeps hidden fillers (the rules h04).
const REPEATS_FROM: i64 = (1 << 31) - 1;

/// The ten lines: whether `row` may stand at `at` in a copy of `source`.
pub fn is_right(source: &Source, at: i64, row: Row, repeats_from: i64) -> bool {
    let Some(cell) = source.cell(at) else { return at < source.origin && row.is_none() };
    match row {
        Some(_) if cell.record == row => true,
        Some(_) => {
            // what retention took before it was copied is a gap as well
            let may = |at: i64, c: &Cell| c.record.is_none() || c.is_gone || at < source.start;
            at >= repeats_from && may(at, cell) && {
                let open = |at: &i64| source.cell(*at).is_some_and(|c| may(*at, c));
                let next = (at..).find(|at| !open(at)).and_then(|at| source.cell(at));
                next.is_none_or(|next| next.record == row)
                    || (at..source.end).any(|at| source.cell(at).is_some_and(|c| c.record == row))
            }
        }
        None => cell.record.is_none() || cell.is_gone || at < source.start,
    }
}

impl World<'_> {
    /// From where on a gap may be filled with repeats.
    fn repeats_from(&self) -> i64 {
        match (self.broker.is_compacted, self.policy.gap_fill) {
            (true, GapFill::Record) => 0,
            (true, _) => REPEATS_FROM,
            (false, _) => i64::MAX,
        }
    }

    fn batch_is_right(&self, batch: &Stored) -> bool {
        let from = self.repeats_from();
        let mut each = (batch.base..).zip(&batch.rows);
        each.all(|(at, row)| {
            // a visible filler has no number
            let visible = self.policy.gap_fill == GapFill::Record && from == i64::MAX;
            let row = row.filter(|(id, _)| !(visible && *id == u64::MAX && !batch.is_foreign));
            is_right(&self.source, at, row, from)
        })
    }

    /// The first batch at the destination, from the `from`th on, that is not what the source has
    /// there now.
    pub(super) fn first_wrong(&self, from: usize) -> Option<usize> {
        let wrong = self.broker.log[from..].iter().position(|batch| !self.batch_is_right(batch));
        wrong.map(|place| from + place)
    }

    /// What must hold at the end.
    pub(super) fn verdict(&self) {
        if self.spoiled {
            return self.verdict_spoiled();
        }
        if let Some(first) = self.first_wrong(0) {
            let batch = &self.broker.log[first];
            let cells: Vec<_> = (batch.base..batch.next()).map(|at| self.source.cell(at)).collect();
            panic!("wrong at the destination: {batch:?}, the source has {cells:?}");
        }
        match self.mirror.halted() {
            None => assert!(
                self.is_level(),
                "it stands still at {} of {} without a reason: {:?}",
                self.broker.end,
                self.visible_end(),
                self.mirror.snapshot(self.now())
            ),
            Some(halt) => self.verdict_halted(halt),
        }
    }

    /// A halt must stand at an obstacle, and the obstacle must be there.
    fn verdict_halted(&self, halt: &Halt) {
        let end = self.broker.end;
        match halt {
            Halt::DestinationBehind { .. } | Halt::LogStartAbove { .. } | Halt::Hole { .. }
                if self.misled => {}
            Halt::LogStartAbove { .. } => {
                assert!(end < self.source.start && self.policy.overtook == Overtook::Halt);
            }
            Halt::Hole { at, .. } => {
                // who sends nothing does not learn that a late request has moved the end
                let is_there = at.get() == end || self.landed_late && at.get() < end;
                assert!(is_there && self.policy.gap_fill == GapFill::Halt);
                let (at, cell) = (at.get(), self.source.cell(at.get()));
                assert!(
                    cell.is_none_or(|c| c.record.is_none() || c.is_gone) || at < self.source.start
                );
            }
            other => panic!("nothing in this world asks for {other:?}"),
        }
    }

    /// After a stranger's record, or a source that lost copied ones: at most what was in flight
    /// was appended after the first wrong batch, and the mirror has stopped, or was never touched.
    fn verdict_spoiled(&self) {
        if let Some(first) = self.first_wrong(0) {
            let from = self.wrong_from.map_or(first, |from| from.max(first));
            let ours = self.broker.log[from..].iter().filter(|batch| !batch.is_foreign);
            let behind = ours.count();
            let wrong = &self.broker.log[first];
            let cells: Vec<_> = (wrong.base..wrong.next()).map(|at| self.source.cell(at)).collect();
            assert!(
                behind <= 2 * 5 + 2,
                "{behind} batches behind the first wrong one: {wrong:?}, the source has {cells:?}"
            );
            assert!(self.mirror.halted().is_some(), "a wrong batch at {first} and no halt");
        }
    }
}
