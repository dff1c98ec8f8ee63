//! The source's leader epochs as the copied batches carry them.
//!
//! It never asks anybody: what it knows came with the batches, or with the tail handshake.

use crate::ids::LeaderEpoch;
use crate::ids::Offset;

/// Which leader epoch wrote the last batch that was read, so that a fetch can ask the source
/// whether its log still agrees (`last_fetched_epoch`, Fetch v12, KIP-595).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Of the last batch in front of the read position; written by `note` and `restart`.
    last: LeaderEpoch,
    /// Where that batch ends, if it was read here.
    end: Option<Offset>,
}

impl History {
    /// Nothing is known yet.
    pub fn new() -> History {
        History { last: LeaderEpoch::NONE, end: None }
    }

    /// Starts over behind a batch of epoch `last`, or behind nothing known.
    pub fn restart(&mut self, last: LeaderEpoch) {
        *self = History { last, end: None };
    }

    /// What the next fetch tells the source.
    pub fn last(&self) -> LeaderEpoch {
        self.last
    }

    /// Notes the batch that ends at `next`; a log's epochs never go back, so `Err(epoch before)`
    /// if they do.
    pub fn note(&mut self, next: Offset, epoch: LeaderEpoch) -> Result<(), LeaderEpoch> {
        if epoch < self.last {
            return Err(self.last);
        }
        *self = History { last: epoch, end: Some(next) };
        Ok(())
    }

    /// Whether a log that parts from ours where `epoch` ended, at `end`, may be the same log: our
    /// position is behind a gap, and what lay there was of a later epoch.
    pub fn may_be_gap(&self, epoch: LeaderEpoch, end: Offset) -> bool {
        epoch == self.last && self.end.is_some_and(|ours| ours <= end)
    }
}

impl Default for History {
    fn default() -> History {
        History::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(raw: i64) -> Offset {
        Offset::new(raw).unwrap()
    }

    #[test]
    fn epochs_only_rise() {
        let mut history = History::new();
        assert_eq!(history.last(), LeaderEpoch::NONE);
        assert_eq!(history.note(Offset::ZERO, LeaderEpoch(3)), Ok(()));
        assert_eq!(history.note(Offset::ZERO, LeaderEpoch(3)), Ok(()));
        assert_eq!(history.note(Offset::ZERO, LeaderEpoch(2)), Err(LeaderEpoch(3)));
        history.restart(LeaderEpoch(1));
        assert_eq!(history.note(Offset::ZERO, LeaderEpoch(2)), Ok(()));
    }

    #[test]
    fn an_epoch_that_ends_where_its_last_batch_did_may_have_a_gap_behind_it() {
        let mut history = History::new();
        history.note(at(10), LeaderEpoch(3)).unwrap();
        assert!(history.may_be_gap(LeaderEpoch(3), at(10)));
        assert!(history.may_be_gap(LeaderEpoch(3), at(15)));
        assert!(!history.may_be_gap(LeaderEpoch(3), at(9)));
        assert!(!history.may_be_gap(LeaderEpoch(2), at(10)));
    }
}
