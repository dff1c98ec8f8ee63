//! The source's leader epochs as the copied batches carry them.
//!
//! It never asks anybody: what it knows came with the batches, or with the tail handshake.

use crate::ids::LeaderEpoch;
use crate::ids::Offset;

/// Which leader epoch wrote the last batch that was read, so that a fetch can ask the source
/// whether its log still agrees (`last_fetched_epoch`, Fetch v12, KIP-595).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Of the batch in front of the read position; written by `note` and `restart`.
    last: LeaderEpoch,
}

impl History {
    /// Nothing is known yet.
    pub fn new() -> History {
        History { last: LeaderEpoch::NONE }
    }

    /// Starts over behind a batch of epoch `last`, or behind nothing known.
    pub fn restart(&mut self, last: LeaderEpoch) {
        self.last = last;
    }

    /// What the next fetch tells the source.
    pub fn last(&self) -> LeaderEpoch {
        self.last
    }

    /// Notes the batch at `base`; a log's epochs never go back, so `Err(epoch before)` if they do.
    pub fn note(&mut self, _base: Offset, epoch: LeaderEpoch) -> Result<(), LeaderEpoch> {
        if epoch < self.last {
            return Err(self.last);
        }
        self.last = epoch;
        Ok(())
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
}
