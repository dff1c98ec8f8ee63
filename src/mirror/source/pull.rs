//! How far a partition is behind in bytes, by what its last answers brought, and what it asks for
//! therefore.
//!
//! It never asks for more than it was granted, and for little once it has caught up.

use crate::ids::Offset;
use crate::mirror::facts::FetchFrom;
use crate::mirror::partition::BATCHES_PER_FETCH;
use crate::mirror::partition::FETCH_BYTES_MIN;
use crate::mirror::partition::PartitionMirror;

/// One that is behind asks for so many times the batches of one that is not, at most: tiny batches
/// cost their lane by number.
const BEHIND_BATCHES: usize = 64;

/// What is known of how much is left to be read.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Pull {
    /// Bytes and offsets of the last answer that brought something.
    seen: Option<(u64, u64)>,
    is_behind: bool,
}

impl Pull {
    /// An answer brought so many `bytes` of batches on so many offsets, and so many are left;
    /// `usual` is what one fetch asks for that has nothing to catch up with.
    pub fn note(&mut self, (bytes, offsets): (u64, u64), left: u64, usual: u64) {
        if bytes > 0 && offsets > 0 {
            self.seen = Some((bytes, offsets));
        }
        let Some((bytes, offsets)) = self.seen else { return };
        let left = u128::from(left) * u128::from(bytes) / u128::from(offsets);
        // not to and fro at every answer
        let bound = if self.is_behind { 0 } else { u128::from(usual) };
        self.is_behind = left > bound;
    }

    /// Whether it has more to read than one fetch of the usual size brings.
    pub fn is_behind(self) -> bool {
        self.is_behind
    }
}

impl PartitionMirror {
    /// Whether more is left at the source than one fetch of the usual size brings.
    pub fn is_behind(&self) -> bool {
        self.pull.is_behind()
    }

    /// What to ask the source for, if more may be taken in.
    pub fn poll_fetch(&self) -> Option<FetchFrom> {
        self.poll_fetch_of(0)
    }

    /// The same, of `granted` bytes where it is behind.
    pub fn poll_fetch_of(&self, granted: usize) -> Option<FetchFrom> {
        let usual = self.usual_bytes.saturating_mul(BATCHES_PER_FETCH);
        let max = self.limits.fetch_bytes_max.max(FETCH_BYTES_MIN);
        let mut bytes = usual.clamp(FETCH_BYTES_MIN, max);
        let mut waiting_max = self.limits.waiting_bytes_max;
        if self.is_behind() {
            bytes = bytes.max(granted.min(usual.saturating_mul(BEHIND_BATCHES)));
            waiting_max = waiting_max.max(bytes);
        }
        if !self.takes_more() || self.window.bytes() >= waiting_max {
            return None;
        }
        let (offset, last_epoch) = self.fetch_place();
        Some(FetchFrom { offset, last_epoch, bytes_max: bytes.max(self.need_bytes) })
    }

    /// What an answer has brought, which ended at `from` and `bytes` before.
    pub(in crate::mirror) fn note_pull(&mut self, (from, bytes): (Offset, usize), end: Offset) {
        let (now, bytes_now) = (self.read_end(), self.window.bytes());
        let brought = (bytes_now.saturating_sub(bytes) as u64, from.distance_to(now));
        self.pull.note(brought, now.distance_to(end), self.limits.fetch_bytes_max as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::tests::at;
    use crate::mirror::tests::fetched;
    use crate::mirror::tests::mirroring;
    use crate::mirror::tests::tens;

    #[test]
    fn it_is_behind_from_more_than_one_fetch_on_until_nothing_is_left() {
        let mut pull = Pull::default();
        pull.note((0, 0), 1 << 40, 100);
        assert!(!pull.is_behind(), "nothing is known of its size");
        pull.note((50, 10), 20, 100);
        assert!(!pull.is_behind(), "one more fetch brings all");
        pull.note((50, 10), 21, 100);
        assert!(pull.is_behind());
        pull.note((0, 0), 1, 100);
        assert!(pull.is_behind(), "not yet");
        pull.note((50, 10), 0, 100);
        assert!(!pull.is_behind());
        pull.note((u64::MAX, 1), u64::MAX, u64::MAX);
        assert!(pull.is_behind());
    }

    #[test]
    fn one_that_is_behind_asks_for_what_is_granted_and_for_little_once_it_is_not() {
        let mut mirror = mirroring(1_000_000, 0);
        mirror.limits.fetch_bytes_max = 20_000;
        let level = mirror.poll_fetch_of(1 << 20).unwrap().bytes_max;
        assert_eq!(level, 20_000);
        fetched(&mut mirror, 1_000_000, tens(0, 5));
        assert!(mirror.is_behind());
        assert_eq!(mirror.poll_fetch_of(1 << 20).unwrap().bytes_max, 1 << 20);
        assert_eq!(mirror.poll_fetch_of(0).unwrap().bytes_max, 20_000);
        // what waits is bounded by what is asked for
        mirror.limits.waiting_bytes_max = 1;
        assert!(mirror.poll_fetch_of(1 << 20).is_some());
        fetched(&mut mirror, 60, tens(50, 1));
        assert!(!mirror.is_behind());
        assert_eq!(mirror.poll_fetch_of(1 << 20), None, "a level one waits for what it has");
        mirror.limits.waiting_bytes_max = 10_000;
        let from = mirror.poll_fetch_of(1 << 20).unwrap();
        assert_eq!((from.bytes_max, from.offset), (20_000, at(60)));
    }

    #[test]
    fn tiny_batches_do_not_fill_a_lane() {
        let mut mirror = mirroring(10_000_000, 0);
        (0..30).for_each(|n| fetched(&mut mirror, 10_000_000, tens(n * 10, 1)));
        let most = mirror.usual_bytes * BATCHES_PER_FETCH * BEHIND_BATCHES;
        let asked = mirror.poll_fetch_of(usize::MAX).unwrap().bytes_max;
        assert!(asked <= most, "{asked} of {most}");
    }
}
