//! What is to be committed at the destination for a consumer group of the source.
//!
//! It never asks a cluster and never decides about a group of which the destination was not read
//! in the same turn.
//!
//! ```text
//!  committed at the source ── never below where the mirror begins, never beyond its end ──▶ target
//!
//!  committed at the destination: nothing         ─▶ commit
//!                                less than that   ─▶ commit
//!                                the same         ─▶ nothing, or again before it expires
//!                                more than that   ─▶ back, where our last turn put it there;
//!                                                    else it is left alone
//! ```
//!
//! A group with members at the destination gets nothing. What this process has not put there itself
//! (after a start: everything) is never taken back. A share group's start offset is handled as an
//! offset that is committed, but for two things: no destination forgets it, so that it is never put
//! there again; and nothing tells who put it there, so that what is found in place is not ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::TimestampMs;
use crate::ids::TopicPartition;

/// An offset that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The next offset to be read.
    pub offset: Offset,
    /// The leader epoch told with it; -1 of whoever commits from outside, as we do.
    pub epoch: LeaderEpoch,
    /// What was written beside it; `None` for nothing.
    pub metadata: Option<Arc<str>>,
}

/// A partition of the destination that may get offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name there.
    pub mirror: TopicPartition,
    /// Where the mirror begins: below it nothing is the source's.
    pub begins: Offset,
    /// The log start at the source: what lies before it is filled first.
    pub source_start: Offset,
    /// Its log start at the destination.
    pub start: Offset,
    /// Its high watermark at the destination.
    pub end: Offset,
    /// Its high watermark at the source, read after that; `None` where it is not told.
    pub source_end: Option<Offset>,
}

/// What an offset of the source becomes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What is to be committed.
    pub offset: Offset,
    /// The source's offset lies beyond what is mirrored: it follows as the mirror catches up.
    pub is_clamped: bool,
}

impl Part {
    /// `None` while the mirror has not come to where it begins, and the source's log too.
    pub fn target(&self, committed: Offset) -> Option<Target> {
        if self.end < self.begins.max(self.source_start) {
            return None;
        }
        let low = self.begins.max(self.start).min(self.end);
        let is_clamped = committed > self.end;
        Some(Target { offset: committed.min(self.end).max(low), is_clamped })
    }

    /// How a group stands that has committed this at the source, and that at the destination.
    fn stand(&self, source: Offset, there: Option<Offset>) -> Stand {
        let (target, end) = (self.target(source), self.end);
        Stand { source, there, target, end, source_end: self.source_end }
    }
}

/// What a turn of ours left at the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// The offset.
    pub offset: Offset,
    /// What is written beside it.
    pub metadata: Option<Arc<str>>,
    /// When it was written, or first found there.
    pub at: TimestampMs,
}

/// What our turns left of one group, by the mirror's partition; gone with the process.
pub type Puts = BTreeMap<TopicPartition, Put>;

/// One group, read at both sides in one turn.
#[derive(Copy, Clone, Debug)]
pub struct Group<'a> {
    /// What it has committed at the source, by the source's partitions.
    pub source: &'a BTreeMap<TopicPartition, Commit>,
    /// What is committed under its name at the destination.
    pub there: &'a BTreeMap<TopicPartition, Commit>,
    /// It has members at the destination.
    pub is_active: bool,
    /// It is a share group.
    pub is_share: bool,
}

/// How one partition of a group stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stand {
    /// Committed at the source.
    pub source: Offset,
    /// Committed at the destination, as far as it is known.
    pub there: Option<Offset>,
    /// What is to be there; `None` while the mirror has not come to where it begins.
    pub target: Option<Target>,
    /// Where the mirror ends.
    pub end: Offset,
    /// Where the source ended then; `None` where it did not tell.
    pub source_end: Option<Offset>,
}

impl Stand {
    /// Offsets that the source had and the mirror had not.
    pub fn mirror_lag(&self) -> Option<u64> {
        Some(self.end.distance_to(self.source_end?))
    }

    /// Offsets that the source had and the group had not read there.
    pub fn consumer_lag(&self) -> Option<u64> {
        Some(self.source.distance_to(self.source_end?))
    }

    /// The word that people see.
    pub fn word(&self) -> &'static str {
        match (self.target, self.there) {
            (None, _) => "waiting",
            (Some(target), Some(there)) if there > target.offset => "ahead",
            (Some(target), Some(there)) if there == target.offset => match target.is_clamped {
                true => "clamped",
                false => "synced",
            },
            (Some(_), _) => "behind",
        }
    }
}

/// What is to be done for one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be committed, by the mirror's partition: only what differs, or would expire.
    pub commits: BTreeMap<TopicPartition, (Offset, Option<Arc<str>>)>,
    /// All partitions of the group that are mirrored.
    pub stands: BTreeMap<TopicPartition, Stand>,
    /// The group has members at the destination and stands behind the source there: it is read on
    /// both sides.
    pub is_in_use: bool,
    /// What our turns have left there, as far as it is not known to be something else.
    pub puts: Puts,
}

/// What is asked of a plan beside its group.
#[derive(Copy, Clone, Debug)]
pub struct Asked<'a> {
    /// Partitions that may get offsets, by the source's name.
    pub parts: &'a BTreeMap<TopicPartition, Part>,
    /// The time.
    pub now: TimestampMs,
    /// An offset that stands for so long is committed again, before the destination forgets it.
    pub repeat_ms: i64,
}

/// What is to be done for `group`, of which our turns have left `puts`.
pub fn plan(group: Group<'_>, puts: &Puts, asked: Asked<'_>) -> Plan {
    // what is not looked at in this turn stays known; with members nothing is ours any more
    let puts = if group.is_active { Puts::new() } else { puts.clone() };
    let mut plan = Plan { puts, ..Plan::default() };
    for (tp, commit) in group.source {
        let Some(part) = asked.parts.get(tp) else { continue };
        let mirror = &part.mirror;
        let there = group.there.get(mirror);
        let stand = part.stand(commit.offset, there.map(|one| one.offset));
        let target = stand.target;
        plan.stands.insert(mirror.clone(), stand);
        let Some(target) = target else { continue };
        let wanted = Wanted { target: target.offset, metadata: &commit.metadata };
        let put = plan.puts.remove(mirror).filter(|put| {
            there.is_some_and(|there| is_from_outside(there) && put.offset == there.offset)
        });
        match decide(wanted, there, put.as_ref(), (asked, group.is_share)) {
            Step::Commit if group.is_active => plan.is_in_use = true,
            Step::Commit => {
                let row = (target.offset, commit.metadata.clone());
                plan.commits.insert(mirror.clone(), row);
                // until the answer says that something else stands there
                plan.puts.extend(put.map(|put| (mirror.clone(), put)));
            }
            Step::Keep(put) if !group.is_active => {
                plan.puts.insert(mirror.clone(), put);
            }
            Step::Keep(_) | Step::Leave => {}
        }
    }
    plan
}

/// How a group stands of which the destination was not read.
pub fn unseen(
    source: &BTreeMap<TopicPartition, Commit>,
    parts: &BTreeMap<TopicPartition, Part>,
) -> BTreeMap<TopicPartition, Stand> {
    let stand = |(tp, commit): (&TopicPartition, &Commit)| {
        let part = parts.get(tp)?;
        Some((part.mirror.clone(), part.stand(commit.offset, None)))
    };
    source.iter().filter_map(stand).collect()
}

/// What is to stand at a partition.
struct Wanted<'a> {
    target: Offset,
    metadata: &'a Option<Arc<str>>,
}

enum Step {
    Commit,
    /// It stands already, as our own.
    Keep(Put),
    /// It is somebody else's.
    Leave,
}

/// Only whoever commits from outside tells no epoch.
fn is_from_outside(commit: &Commit) -> bool {
    commit.epoch == LeaderEpoch::NONE
}

fn decide(
    wanted: Wanted<'_>,
    there: Option<&Commit>,
    ours: Option<&Put>,
    (asked, is_share): (Asked<'_>, bool),
) -> Step {
    let Some(there) = there.filter(|there| there.offset >= wanted.target) else {
        return Step::Commit;
    };
    if there.offset > wanted.target {
        return if ours.is_some() { Step::Commit } else { Step::Leave };
    }
    match ours {
        Some(put) if put.metadata != *wanted.metadata => Step::Commit,
        Some(put) if is_share => Step::Keep(put.clone()),
        Some(put) if asked.now.0.saturating_sub(put.at.0) >= asked.repeat_ms => Step::Commit,
        Some(put) => Step::Keep(put.clone()),
        None if is_from_outside(there) && !is_share => {
            let metadata = wanted.metadata.clone();
            Step::Keep(Put { offset: there.offset, metadata, at: asked.now })
        }
        None => Step::Leave,
    }
}

#[cfg(test)]
mod tests {
    // each rule by itself, and all of them against a model under random commits, members, expiry,
    // restarts and lost answers
    use super::*;
    use crate::ids::PartitionId;
    use crate::ids::TopicName;

    const REPEAT_MS: i64 = 1_000;

    fn at(raw: i64) -> Offset {
        Offset::new(raw).unwrap()
    }

    fn tp(topic: &str, partition: i32) -> TopicPartition {
        let topic = TopicName::new(topic).unwrap();
        TopicPartition { topic, partition: PartitionId(partition) }
    }

    fn source() -> TopicPartition {
        tp("orders", 0)
    }

    fn mirror() -> TopicPartition {
        tp("west.orders", 0)
    }

    fn commit(offset: i64, epoch: i32) -> Commit {
        Commit { offset: at(offset), epoch: LeaderEpoch(epoch), metadata: None }
    }

    fn put(offset: i64, at_ms: i64) -> Put {
        Put { offset: at(offset), metadata: None, at: TimestampMs(at_ms) }
    }

    /// One partition: where it begins, its start and its end.
    struct Case {
        part: (i64, i64, i64),
        source_start: i64,
        source: Option<Commit>,
        there: Option<Commit>,
        put: Option<Put>,
        is_active: bool,
        is_share: bool,
        now: i64,
    }

    impl Default for Case {
        fn default() -> Case {
            Case {
                part: (0, 0, 100),
                source_start: 0,
                source: Some(commit(50, 7)),
                there: None,
                put: None,
                is_active: false,
                is_share: false,
                now: 10,
            }
        }
    }

    impl Case {
        fn plan(&self) -> Plan {
            let (begins, start, end) = self.part;
            let part = Part {
                mirror: mirror(),
                begins: at(begins),
                source_start: at(self.source_start),
                start: at(start),
                end: at(end),
                source_end: Some(at(1_000)),
            };
            let parts = BTreeMap::from([(source(), part)]);
            let source = self.source.clone().map(|one| (source(), one)).into_iter().collect();
            let there = self.there.clone().map(|one| (mirror(), one)).into_iter().collect();
            let puts = self.put.clone().map(|one| (mirror(), one)).into_iter().collect();
            let Case { is_active, is_share, .. } = *self;
            let group = Group { source: &source, there: &there, is_active, is_share };
            let now = TimestampMs(self.now);
            plan(group, &puts, Asked { parts: &parts, now, repeat_ms: REPEAT_MS })
        }

        /// What is committed; `None` for nothing.
        #[track_caller]
        fn check(&self, want: Option<i64>) {
            let plan = self.plan();
            let got = plan.commits.get(&mirror()).map(|(offset, _)| offset.get());
            assert_eq!(got, want);
        }
    }

    #[test]
    fn what_the_destination_lacks_is_written_zero_too() {
        Case::default().check(Some(50));
        Case { source: Some(commit(0, -1)), ..Case::default() }.check(Some(0));
        // no commit at the source is none at the destination
        let none = Case { source: None, ..Case::default() };
        assert_eq!(none.plan(), Plan::default());
        // it was forgotten there (expired): it comes back
        Case { put: Some(put(50, 0)), ..Case::default() }.check(Some(50));
    }

    #[test]
    fn never_beyond_what_is_mirrored_and_raised_as_it_catches_up() {
        let mut case = Case { source: Some(commit(1_100, 7)), ..Case::default() };
        case.check(Some(100));
        let stand = case.plan().stands.remove(&mirror()).unwrap();
        assert_eq!(stand.target, Some(Target { offset: at(100), is_clamped: true }));
        (case.there, case.put) = (Some(commit(100, -1)), Some(put(100, 5)));
        case.check(None);
        case.part = (0, 0, 600);
        case.check(Some(600));
        case.part = (0, 0, 2_000);
        case.check(Some(1_100));
        let stand = case.plan().stands.remove(&mirror()).unwrap();
        assert_eq!(stand.target, Some(Target { offset: at(1_100), is_clamped: false }));
    }

    #[test]
    fn never_below_where_the_mirror_begins_or_its_log_starts() {
        // a source emptied to 500..500, a group at 500
        let empty = Case { part: (500, 500, 500), source: Some(commit(500, 7)), ..Case::default() };
        empty.check(Some(500));
        let stand = empty.plan().stands.remove(&mirror()).unwrap();
        assert!(!stand.target.unwrap().is_clamped);
        let begun = (500, 0, 700);
        Case { part: begun, source: Some(commit(300, 7)), ..Case::default() }.check(Some(500));
        let trimmed = (0, 40, 100);
        Case { part: trimmed, source: Some(commit(0, 7)), ..Case::default() }.check(Some(40));
        // what lies before it is being filled: nothing is committed yet
        let filling = (500, 0, 499);
        let early = Case { part: filling, source: Some(commit(500, 7)), ..Case::default() };
        early.check(None);
        let stand = early.plan().stands.remove(&mirror()).unwrap();
        assert_eq!((stand.source, stand.there, stand.target), (at(500), None, None));
        assert_eq!((stand.end, stand.source_end), (at(499), Some(at(1_000))));
    }

    #[test]
    fn nothing_before_the_mirror_has_come_to_the_sources_start() {
        let at_end = |end, source| Case {
            part: (0, 0, end),
            source_start: 500,
            source: Some(commit(source, 7)),
            ..Case::default()
        };
        at_end(0, 500).check(None);
        at_end(499, 500).check(None);
        at_end(500, 500).check(Some(500));
        // what is kept here for longer than there may still be read
        at_end(900, 200).check(Some(200));
    }

    #[test]
    fn only_differences_are_sent_and_again_before_they_expire() {
        let same = Case {
            there: Some(commit(50, -1)),
            put: Some(put(50, 10)),
            now: 10 + REPEAT_MS - 1,
            ..Case::default()
        };
        same.check(None);
        assert_eq!(same.plan().puts, Puts::from([(mirror(), put(50, 10))]));
        Case { now: 10 + REPEAT_MS, ..same }.check(Some(50));
        // found in the first turn after a start: as good as ours
        let found = Case { there: Some(commit(50, -1)), now: 30, ..Case::default() };
        found.check(None);
        assert_eq!(found.plan().puts, Puts::from([(mirror(), put(50, 30))]));
        // somebody else's, at the same place
        let others = Case { there: Some(commit(50, 3)), now: 1 << 40, ..Case::default() };
        others.check(None);
        assert_eq!(others.plan().puts, Puts::new());
    }

    #[test]
    fn back_only_what_our_last_turn_put_there() {
        let back = |there: Commit, put: Option<Put>| Case {
            source: Some(commit(20, 7)),
            there: Some(there),
            put,
            ..Case::default()
        };
        back(commit(50, -1), Some(put(50, 5))).check(Some(20));
        // the first turn after a start
        back(commit(50, -1), None).check(None);
        // it stays ours until an answer says that something else stands there
        let again = back(commit(50, -1), Some(put(50, 5))).plan();
        assert_eq!(again.puts, Puts::from([(mirror(), put(50, 5))]));
        // not looked at: it stays known
        let unknown = Case { source_start: 101, ..back(commit(50, -1), Some(put(50, 5))) };
        assert_eq!(unknown.plan().puts, Puts::from([(mirror(), put(50, 5))]));
        // somebody has committed since: by an epoch of his own, or another offset
        back(commit(50, 3), Some(put(50, 5))).check(None);
        back(commit(60, -1), Some(put(50, 5))).check(None);
        // the same where the end itself is lower than what we put
        let lost = Case { part: (0, 0, 40), ..back(commit(50, -1), Some(put(50, 5))) };
        lost.check(Some(20));
    }

    #[test]
    fn never_into_a_group_with_members() {
        let active = Case { is_active: true, there: Some(commit(10, 3)), ..Case::default() };
        active.check(None);
        assert!(active.plan().is_in_use, "it is read on both sides");
        // it has moved: the source stands still and the destination goes on
        let moved = Case { is_active: true, there: Some(commit(80, 3)), ..Case::default() };
        assert!(!moved.plan().is_in_use);
        // nothing of it is ours any more
        let ours = Case {
            is_active: true,
            there: Some(commit(50, -1)),
            put: Some(put(50, 5)),
            ..Case::default()
        };
        assert_eq!((ours.plan().puts, ours.plan().is_in_use), (Puts::new(), false));
    }

    #[test]
    fn a_share_groups_start_is_never_repeated_nor_taken_for_ours() {
        let share = |source: i64, there: Option<i64>, put: Option<Put>| Case {
            source: Some(commit(source, -1)),
            there: there.map(|there| commit(there, -1)),
            put,
            is_share: true,
            now: 1 << 40,
            ..Case::default()
        };
        share(50, None, None).check(Some(50));
        share(0, None, None).check(Some(0));
        share(500, None, None).check(Some(100));
        share(50, Some(40), None).check(Some(50));
        share(50, Some(50), Some(put(50, 0))).check(None);
        share(20, Some(50), Some(put(50, 0))).check(Some(20));
        share(20, Some(60), Some(put(50, 0))).check(None);
        Case { is_active: true, ..share(50, Some(40), None) }.check(None);
        // found in place: whoever moves it later back there is not undone
        assert_eq!(share(50, Some(50), None).plan().puts, Puts::new());
    }

    #[test]
    fn each_partition_has_a_word_for_people() {
        let word = |target: Option<(i64, bool)>, there: Option<i64>| {
            let target =
                target.map(|(offset, is_clamped)| Target { offset: at(offset), is_clamped });
            let (end, source_end) = (at(100), None);
            Stand { source: at(50), there: there.map(at), target, end, source_end }.word()
        };
        assert_eq!(word(None, Some(5)), "waiting");
        assert_eq!(word(Some((50, false)), Some(50)), "synced");
        assert_eq!(word(Some((40, true)), Some(40)), "clamped");
        assert_eq!(word(Some((50, false)), Some(60)), "ahead");
        assert_eq!(word(Some((50, false)), Some(40)), "behind");
        assert_eq!(word(Some((50, false)), None), "behind");
    }

    #[test]
    fn what_is_written_beside_an_offset_goes_with_it() {
        let told = |text: &str| Some(Arc::from(text));
        let source = Commit { metadata: told("a"), ..commit(50, 7) };
        let case = Case { source: Some(source), ..Case::default() };
        assert_eq!(case.plan().commits[&mirror()], (at(50), told("a")));
        let there = Some(Commit { metadata: told("a"), ..commit(50, -1) });
        let ours = Some(Put { metadata: told("a"), ..put(50, 5) });
        let same = Case { there: there.clone(), put: ours, ..case };
        same.check(None);
        Case { put: Some(put(50, 5)), ..same }.check(Some(50));
    }

    #[test]
    fn partitions_that_are_no_mirrors_are_left_alone() {
        let source = BTreeMap::from([(tp("other", 0), commit(5, 1))]);
        let there = BTreeMap::new();
        let group = Group { source: &source, there: &there, is_active: false, is_share: false };
        let asked = Asked { parts: &BTreeMap::new(), now: TimestampMs(0), repeat_ms: REPEAT_MS };
        assert_eq!(plan(group, &Puts::new(), asked), Plan::default());
    }

    /// SplitMix64.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % bound
        }

        fn offset(&mut self, bound: i64) -> i64 {
            self.below(bound as u64 + 1) as i64
        }
    }

    /// One partition of one group, and who wrote last at the destination.
    #[derive(Default)]
    struct World {
        source_start: i64,
        source_end: i64,
        begins: i64,
        start: i64,
        end: i64,
        source: Option<Commit>,
        there: Option<Commit>,
        /// What stands there is what this process put or found last, and nobody else came.
        is_ours: bool,
        is_active: bool,
        puts: Puts,
        now: i64,
        written_at: i64,
        turns: [u64; 6],
    }

    impl World {
        fn step(&mut self, dice: &mut Dice) {
            self.now += 1 + dice.offset(300);
            match dice.below(12) {
                0 | 1 => self.source_end += dice.offset(50),
                2 | 3 => self.end += dice.offset(self.source_end - self.end),
                4 if dice.below(4) == 0 => {
                    self.source_start += dice.offset(self.source_end - self.source_start);
                }
                4 => self.start += dice.offset((self.end - self.start).max(0)),
                5 | 6 => self.source = Some(commit(dice.offset(self.source_end), 4)),
                7 => self.is_active = !self.is_active && self.there.is_some(),
                8 if self.is_active => {
                    let there = self.there.as_ref().map_or(0, |one| one.offset.get());
                    let next = there + dice.offset((self.end - there).max(0));
                    (self.there, self.is_ours) = (Some(commit(next, 2)), false);
                }
                9 if dice.below(4) == 0 => (self.there, self.is_ours) = (None, false),
                10 if dice.below(4) == 0 => (self.puts, self.is_ours) = (Puts::new(), false),
                _ => self.turn(dice),
            }
        }

        fn turn(&mut self, dice: &mut Dice) {
            let part = Part {
                mirror: mirror(),
                begins: at(self.begins),
                source_start: at(self.source_start),
                start: at(self.start),
                end: at(self.end),
                source_end: None,
            };
            let parts = BTreeMap::from([(source(), part)]);
            let source = self.source.clone().map(|one| (source(), one)).into_iter().collect();
            let there = self.there.clone().map(|one| (mirror(), one)).into_iter().collect();
            let is_active = self.is_active;
            let group = Group { source: &source, there: &there, is_active, is_share: false };
            let now = TimestampMs(self.now);
            let plan = plan(group, &self.puts, Asked { parts: &parts, now, repeat_ms: REPEAT_MS });
            let sent = plan.commits.get(&mirror()).map(|(offset, _)| offset.get());
            self.check(sent);
            self.puts = plan.puts;
            if self.is_active {
                self.is_ours = false;
            }
            let Some(offset) = sent else { return };
            // the answer may be lost, whether it was applied or not
            let (is_applied, is_answered) = (dice.below(8) != 0, dice.below(8) != 0);
            let before = self.there.clone();
            if is_applied {
                self.there = Some(commit(offset, -1));
            }
            if is_applied && is_answered {
                (self.is_ours, self.written_at) = (true, self.now);
                self.puts.insert(mirror(), put(offset, self.now));
            } else {
                self.is_ours &= self.there == before;
            }
        }

        /// The rules, said another way than the plan says them.
        fn check(&mut self, sent: Option<i64>) {
            let is_there = self.end >= self.begins && self.end >= self.source_start;
            let wanted = self.source.as_ref().filter(|_| is_there && !self.is_active);
            let there = self.there.as_ref().map(|one| one.offset.get());
            let Some(source) = wanted.map(|one| one.offset.get()) else {
                assert_eq!(sent, None, "into an active group, or before the mirror begins");
                return;
            };
            let low = self.begins.max(self.start);
            let right = if source > self.end { self.end } else { source.max(low) };
            let kind = match there {
                None => 0,
                Some(there) if there < right => 1,
                Some(there) if there > right && self.is_ours => 2,
                Some(there) if there > right => 3,
                Some(_) if self.is_ours && self.now - self.written_at >= REPEAT_MS => 4,
                Some(_) => 5,
            };
            self.turns[kind] += 1;
            let is_from_outside = self.there.as_ref().is_some_and(|one| one.epoch.0 == -1);
            if kind == 5 && is_from_outside && !self.is_ours {
                // found where it should be
                (self.is_ours, self.written_at) = (true, self.now);
            }
            let want = (![3, 5].contains(&kind)).then_some(right);
            assert_eq!(sent, want, "kind {kind}: {there:?} there, {source} at the source");
            assert!(sent.is_none_or(|offset| offset <= self.end), "beyond the mirror's end");
        }
    }

    #[test]
    fn random_worlds_keep_the_rules() {
        let mut turns = [0u64; 6];
        for seed in 0..2_000 {
            let mut dice = Dice(seed);
            let begins = if dice.below(3) == 0 { dice.offset(80) } else { 0 };
            let mut world =
                World { source_end: begins + dice.offset(40), begins, ..World::default() };
            for _ in 0..100 {
                world.step(&mut dice);
            }
            turns.iter_mut().zip(world.turns).for_each(|(all, one)| *all += one);
        }
        // every kind of turn was there, many times
        assert!(turns.iter().all(|count| *count > 500), "{turns:?}");
    }
}
