//! The pool of the simulated lane: units come back late, in any order, or never.
//!
//! It never looks into a unit.

use crate::mirror_ops::World;

/// So much work of earlier lives is still out at most; what is older is lost.
const WORKS_MAX: usize = 3;

impl World<'_> {
    /// Work is handed out, and some of what is out comes back: late, and after what was handed out
    /// later, for the machine may have been through a fault in between.
    pub(super) fn work(&mut self) {
        if let Some(work) = self.mirror.poll_work() {
            assert!(self.mirror.poll_work().is_none() && self.mirror.poll_fetch().is_none());
            self.tally.handed += 1;
            self.works.push(work);
        }
        if self.works.len() > WORKS_MAX {
            self.works.remove(0);
        }
        if self.works.is_empty() || (self.faults && self.dice.roll(2) == 0) {
            return;
        }
        let nth = self.dice.roll(self.works.len() as u64) as usize;
        let done = self.works.remove(nth).run();
        self.mirror.handle_worked(done);
    }
}
