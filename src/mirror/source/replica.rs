//! Which replica of the source a partition is read from, and what a follower's word is worth.
//!
//! It never believes a follower about an end, an epoch, a log start or a gap: those are the
//! leader's to tell. A follower's high watermark lags, its log may begin later, it is cleaned in
//! its own time, and one that has not caught up would call our place a diverging one. So whatever
//! is not a whole batch without gaps, below the high watermark that the follower knows, is a
//! reason to leave it: both logs are looked at, and the leader is read.

use crate::ids::Offset;
use crate::ids::TimestampMs;
use crate::mirror::lag::Lag;
use crate::mirror::partition::PartitionMirror;
use crate::wire::batch::Attributes;
use crate::wire::batch::BatchView;
use crate::wire::error::KafkaCode;

/// Which replica of the source answers fetches.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Replica {
    /// The one that has the last word.
    #[default]
    Leader,
    /// A nearer one, which the leader has named (KIP-392).
    Follower,
    /// The same, after it has said or done what the leader must be asked about.
    Blamed,
}

/// Reading from a follower.
impl PartitionMirror {
    /// From now on fetches are answered by a follower, until both logs are looked at again.
    pub fn read_from_follower(&mut self) {
        if self.is_mirroring() {
            self.replica = Replica::Follower;
        }
    }

    /// Whether fetches are answered by a follower.
    pub fn reads_follower(&self) -> bool {
        self.replica != Replica::Leader
    }

    /// Whether the follower that answers fetches is to be left for its leader.
    pub fn blames_follower(&self) -> bool {
        self.replica == Replica::Blamed
    }

    /// What came of the source is no reason to go on there, if that is a follower.
    pub(in crate::mirror) fn blame(&mut self) {
        if self.replica == Replica::Follower {
            self.replica = Replica::Blamed;
        }
    }

    /// Leaves the follower, if it is one that answers; whether it was.
    pub(in crate::mirror) fn leave_follower(&mut self, label: &'static str, text: String) -> bool {
        if !self.reads_follower() {
            return false;
        }
        self.blame();
        self.fault = Some((label, format!("read from a follower: {text}; the leader is asked")));
        self.drain();
        true
    }

    /// Leaves the follower for what a batch of it does not have; whether it did. A gap at a
    /// follower is one at the leader only where the leader says so.
    pub(in crate::mirror) fn leaves_for_gap(&mut self, batch: &BatchView, end: Offset) -> bool {
        let has_gap = batch.base_offset() > end || !is_whole(batch);
        has_gap && self.leave_follower("FOLLOWER_GAP", format!("there is a gap at {end}"))
    }

    /// The code that the destination refuses a corrupt batch with says nothing of the leader's log.
    pub(in crate::mirror) fn note_refused_as_corrupt(&mut self, code: KafkaCode) {
        if code == KafkaCode(2) {
            self.blame();
        }
    }
}

impl Lag {
    /// The source reaches so far at least, as one of its followers says. How far its leader has
    /// come by now is not known better than before.
    pub fn see_source_reach(&mut self, now: TimestampMs, reach: Offset) {
        self.source_reach = self.source_reach.max(Some(reach));
        if let Some(end) = self.source_end.filter(|end| *end < reach) {
            self.held = still_held(self.held, end, reach);
            self.held_since = self.held_since.filter(|_| self.held > 0);
            self.source_end = Some(reach);
            self.note(now);
        }
    }
}

/// What is still held back of so many records behind `end`, where the source reaches further.
pub(in crate::mirror) fn still_held(held: u64, end: Offset, reach: Offset) -> u64 {
    held.saturating_sub(end.distance_to(reach))
}

/// Whether a batch has a record, or is a marker, at each of its offsets.
fn is_whole(batch: &BatchView) -> bool {
    let is_marker = batch.attributes().has(Attributes::CONTROL) && batch.count() > 0;
    is_marker || u64::try_from(batch.count()) == Ok(batch.span())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LeaderEpoch;
    use crate::mirror::align::tests::batch;
    use crate::mirror::facts::Fault;
    use crate::mirror::facts::Prepared;
    use crate::mirror::partition::REFUSED_MAX;
    use crate::mirror::take::EMPTY_MS_MAX;
    use crate::mirror::tests::NOW;
    use crate::mirror::tests::acked;
    use crate::mirror::tests::at;
    use crate::mirror::tests::facts;
    use crate::mirror::tests::fetched;
    use crate::mirror::tests::later_by;
    use crate::mirror::tests::marker;
    use crate::mirror::tests::mirroring;
    use crate::mirror::tests::refused;
    use crate::mirror::tests::tens;

    /// One whose source ends at 100 and whose copy at 20, read from a follower.
    fn following() -> PartitionMirror {
        let mut mirror = mirroring(100, 20);
        mirror.read_from_follower();
        assert!(mirror.reads_follower() && !mirror.blames_follower());
        mirror
    }

    #[track_caller]
    fn has_left(mut mirror: PartitionMirror, label: &str) {
        assert!(mirror.blames_follower() && mirror.is_preparing(), "{mirror:?}");
        let (said, text) = mirror.snapshot(NOW).reason.unwrap();
        assert_eq!(said, label, "{text}");
        // the leader is believed where the follower was not
        mirror.handle_prepared(NOW, &facts((0, 100), 20));
        assert!(mirror.is_mirroring() && !mirror.reads_follower() && !mirror.blames_follower());
    }

    #[test]
    fn whole_batches_of_a_follower_are_copied_and_its_end_is_not_believed() {
        let mut mirror = following();
        fetched(&mut mirror, 40, tens(20, 4));
        assert_eq!(mirror.poll_append(NOW).unwrap().base, at(20));
        acked(&mut mirror, 20);
        let seen = mirror.snapshot(NOW);
        assert_eq!((seen.source_end, seen.lag_records), (Some(at(100)), Some(70)));
        // it has less than we do: that is its delay, and no answer about the source
        fetched(&mut mirror, 10, Vec::new());
        assert!(mirror.is_mirroring() && mirror.halted().is_none());
        assert_eq!(mirror.snapshot(NOW).source_end, Some(at(100)));
    }

    #[test]
    fn a_follower_that_knows_more_than_was_known_raises_the_end_and_not_its_age() {
        let mut mirror = following();
        let before = mirror.snapshot(NOW).source_seen;
        fetched(&mut mirror, 120, tens(20, 1));
        let seen = mirror.snapshot(NOW);
        assert_eq!((seen.source_end, seen.source_seen), (Some(at(120)), before));
    }

    #[test]
    fn a_follower_that_lags_is_no_truncation() {
        let mut mirror = following();
        mirror.handle_diverging(LeaderEpoch(1), at(5));
        has_left(mirror, "DIVERGING_EPOCH");
        let mut leader = mirroring(100, 20);
        leader.handle_diverging(LeaderEpoch(1), at(5));
        assert!(!leader.is_mirroring() && !leader.blames_follower());
    }

    #[test]
    fn gaps_of_a_follower_are_asked_of_the_leader() {
        let gap = |batches| {
            let mut mirror = following();
            fetched(&mut mirror, 100, batches);
            has_left(mirror, "FOLLOWER_GAP");
        };
        gap(tens(30, 1));
        gap(vec![batch(20, 10, 7, 0)]);
        gap(vec![batch(20, 10, 0, 0)]);
        let mut mirror = following();
        fetched(&mut mirror, 100, vec![tens(20, 1).remove(0), batch(30, 10, 7, 0)]);
        assert!(mirror.blames_follower() && mirror.is_preparing());
        // a marker is no gap, nor is what was read before
        let mut mirror = following();
        fetched(&mut mirror, 100, [tens(10, 2), vec![marker(30, 7, 1)], tens(31, 1)].concat());
        assert!(mirror.is_mirroring() && !mirror.blames_follower());
    }

    #[test]
    fn whatever_a_follower_refuses_is_no_reason_to_forget_epochs() {
        for code in [1, 3, 6, 9, 56, 74, 75, 78] {
            let mut mirror = following();
            mirror.handle_failed(Fault::FetchRefused(KafkaCode(code)));
            assert!(!mirror.unplaced, "{code}");
            has_left(mirror, KafkaCode(code).name());
        }
        let mut mirror = following();
        mirror.handle_failed(Fault::SourceLost);
        has_left(mirror, "SOURCE_UNAVAILABLE");
        let mut moved = following();
        moved.handle_failed(Fault::Moved);
        assert!(!moved.blames_follower());
    }

    #[test]
    fn a_corrupt_batch_of_a_follower_is_read_from_the_leader() {
        let mut mirror = following();
        mirror.handle_malformed();
        has_left(mirror, "CORRUPT_BATCH");
        let mut mirror = following();
        fetched(&mut mirror, 100, tens(20, 1));
        mirror.poll_append(NOW).unwrap();
        refused(&mut mirror, 2);
        has_left(mirror, "CORRUPT_MESSAGE");
        // the leader's own is believed at last
        let mut leader = mirroring(100, 20);
        for _ in 0..REFUSED_MAX {
            leader.handle_malformed();
            leader.handle_prepared(NOW, &facts((0, 100), 20));
        }
        assert!(leader.halted().is_some());
    }

    #[test]
    fn a_follower_that_says_there_is_something_and_brings_nothing_is_left() {
        let mut mirror = following();
        fetched(&mut mirror, 100, Vec::new());
        assert!(mirror.is_mirroring());
        later_by(&mut mirror, EMPTY_MS_MAX, 100);
        has_left(mirror, "FOLLOWER_GAP");
    }

    #[test]
    fn the_leaders_log_start_is_the_one_that_counts() {
        let mut mirror = following();
        mirror.handle_failed(Fault::FetchRefused(KafkaCode(1)));
        // the leader still has what the follower has not
        let truth = Prepared { source_start: at(5), ..facts((0, 100), 20) };
        mirror.handle_prepared(NOW, &truth);
        assert!(mirror.is_mirroring());
        assert_eq!(mirror.poll_fetch().unwrap().offset, at(20));
    }
}
