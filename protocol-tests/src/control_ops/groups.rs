//! Consumer groups of both clusters, and the turns in which an instance follows them: read at the
//! source, placed, planned and committed, with anything in between.
//!
//! It never asks a plan what is right: what an offset becomes is said here once more.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use isolog::control::facts::MirrorKey;
use isolog::control::filter::Verdict;
use isolog::control::row::LinkRow;
use isolog::control::row::MirrorRow;
use isolog::control::task::groups::GroupFilter;
use isolog::control::task::groups::GroupSync;
use isolog::control::task::groups::Pattern;
use isolog::control::task::groups::Rule;
use isolog::control::task::last::LastSync;
use isolog::control::task::offsets::Asked;
use isolog::control::task::offsets::Commit;
use isolog::control::task::offsets::Group;
use isolog::control::task::offsets::Part;
use isolog::control::task::offsets::Put;
use isolog::control::task::offsets::Puts;
use isolog::control::task::offsets::plan;
use isolog::control::topic::Stage;
use isolog::control::topic::Status;
use isolog::ids::GroupName;
use isolog::ids::LeaderEpoch;
use isolog::ids::LinkName;
use isolog::ids::Offset;
use isolog::ids::PartitionId;
use isolog::ids::TimestampMs;
use isolog::ids::TopicId;
use isolog::ids::TopicPartition;

use super::World;
use super::checks;

/// How many steps turns over rights and groups take at most when nothing disturbs them.
const TURN_STEPS: u32 = 400;

/// The groups that there may be; the last one is a share group.
const GROUPS: [&str; 3] = ["billing", "ship", "share"];
/// After so long an offset is committed again.
const REPEAT_MS: i64 = 60_000;

/// What links follow of consumer groups: two of them do, all groups.
pub fn sync_of(link: &LinkName) -> Option<GroupSync> {
    let all = Rule { pattern: Pattern::Prefix(String::new()), verdict: Verdict::Include };
    let sync = GroupSync {
        every_ms: 1_000,
        filter: GroupFilter::new(vec![all]),
        prefix: String::new(),
        forgotten: Arc::default(),
    };
    matches!(&*link.0, "dr" | "us").then_some(sync)
}

/// An offset, of a partition of one topic: a topic made anew has none.
type Commits = BTreeMap<(GroupName, TopicPartition), (TopicId, Commit)>;

/// Both clusters'.
#[derive(Default)]
pub struct Groups {
    source: Commits,
    there: Commits,
    /// Groups with members at the destination.
    active: BTreeSet<GroupName>,
    /// Offsets that a group has had at the source, of whatever topic had that name: isolog may have
    /// put it there.
    were: BTreeMap<(GroupName, TopicPartition), BTreeSet<Offset>>,
}

fn group(name: &str) -> GroupName {
    GroupName::new(name)
}

fn is_share(name: &GroupName) -> bool {
    name.as_str() == "share"
}

/// Those of one group, of topics that are still the ones.
fn of_group(
    all: &Commits,
    name: &GroupName,
    is_it: impl Fn(&TopicPartition, TopicId) -> bool,
) -> BTreeMap<TopicPartition, Commit> {
    let own = all.iter().filter(|((of, tp), (id, _))| of == name && is_it(tp, *id));
    own.map(|((_, tp), (_, commit))| (tp.clone(), commit.clone())).collect()
}

/// A topic that is followed, as it was read.
#[derive(Clone, Debug)]
struct Followed {
    key: MirrorKey,
    row: MirrorRow,
}

/// What is on its way to a coordinator.
#[derive(Clone, Debug)]
struct Call {
    group: GroupName,
    rows: BTreeMap<TopicPartition, (Offset, Option<Arc<str>>)>,
    /// What our turns have left, but for these.
    puts: Puts,
    /// What was there when that was decided: who comes, commits and goes since is not seen.
    there: BTreeMap<TopicPartition, Commit>,
}

/// One turn of an instance over one link.
#[derive(Clone, Debug)]
struct Turn {
    link: LinkName,
    topics: Vec<Followed>,
    /// Whether it is the last one of those.
    is_last: bool,
    began: TimestampMs,
    /// What the groups have committed at the source, once it is read.
    commits: Option<BTreeMap<GroupName, BTreeMap<TopicPartition, Commit>>>,
    /// Where the partitions are, by the source's names, with the id of each mirror.
    parts: BTreeMap<TopicPartition, Part>,
    ids: BTreeMap<TopicPartition, TopicId>,
    active: BTreeSet<GroupName>,
    /// Groups that have yet to be seen to.
    left: Vec<GroupName>,
    call: Option<Call>,
    is_whole: bool,
}

/// Who follows the groups of one instance; what it remembers is gone with it.
#[derive(Clone, Debug, Default)]
pub struct Follower {
    turn: Option<Turn>,
    puts: BTreeMap<(LinkName, GroupName), Puts>,
}

impl Follower {
    /// The instance may act no more.
    pub fn stop(&mut self) {
        self.turn = None;
    }
}

impl World<'_> {
    /// Something happens to groups: a step of an instance's turn, or a consumer.
    pub(super) fn groups(&mut self, nth: usize) {
        if self.faults && self.dice.roll(3) == 0 {
            return self.consume();
        }
        let instance = &self.instances[nth];
        if !instance.is_holder || !instance.is_level {
            return self.instances[nth].follower.stop();
        }
        let turn = match self.instances[nth].follower.turn.take() {
            None => self.begin_following(nth),
            Some(turn) => self.follow(nth, turn),
        };
        self.instances[nth].follower.turn = turn;
    }

    /// A consumer commits at the source, or members come, go and commit here, or all expires.
    fn consume(&mut self) {
        let name = group(GROUPS[self.dice.roll(GROUPS.len() as u64) as usize]);
        let what = self.dice.roll(16);
        let topics = if what < 10 { &self.clusters.source } else { &self.clusters.mirror };
        let at = self.dice.roll(topics.len().max(1) as u64) as usize;
        let Some((topic, one)) = topics.iter().nth(at) else { return };
        let (id, partitions) = (one.id, one.partitions as u64);
        let partition = PartitionId(self.dice.roll(partitions) as i32);
        let end = self.ends.of(id, partition).get() as u64;
        let offset = Offset::new(self.dice.roll(end + 1) as i64).expect("not negative");
        let tp = TopicPartition { topic: topic.clone(), partition };
        let (epoch, metadata) = (LeaderEpoch(3), Some(format!("m{}", offset.get() % 3).into()));
        let commit = Commit { offset, epoch, metadata };
        match what {
            0..10 => {
                let were = self.groups.were.entry((name.clone(), tp.clone())).or_default();
                were.insert(offset);
                self.groups.source.insert((name, tp), (id, commit));
            }
            10 => self.come(name),
            11 | 12 => drop(self.groups.active.remove(&name)),
            13 | 14 if self.groups.active.contains(&name) && !is_share(&name) => {
                self.groups.there.insert((name, tp), (id, commit));
            }
            _ if !self.groups.active.contains(&name) => {
                self.groups.there.retain(|(of, _), _| *of != name);
            }
            _ => {}
        }
    }

    /// Members come here, and read on to the end of what is there.
    fn come(&mut self, name: GroupName) {
        let own = self.groups.there.iter_mut().filter(|((of, _), _)| *of == name);
        for ((_, tp), (id, commit)) in own.filter(|_| !is_share(&name)) {
            (commit.offset, commit.epoch) = (self.ends.of(*id, tp.partition), LeaderEpoch(3));
        }
        self.groups.active.insert(name);
    }

    /// Which of the groups a link follows, by its row.
    fn followed(link: &LinkName, row: &LinkRow) -> Option<GroupSync> {
        let forgotten = Arc::new(row.forgotten.clone());
        sync_of(link).map(|sync| GroupSync { forgotten, ..sync })
    }

    fn begin_following(&mut self, nth: usize) -> Option<Turn> {
        let links: Vec<LinkName> =
            super::all_links().into_iter().filter(|link| sync_of(link).is_some()).collect();
        let link = links[self.dice.roll(links.len() as u64) as usize].clone();
        let instance = &self.instances[nth];
        let row = instance.truth.link(&link)?;
        if !checks::acts_on(&instance.truth, nth, &link) || row.is_leaving {
            return None;
        }
        let sync = Self::followed(&link, row)?;
        let (machine, is_paused) = (&instance.machine, row.is_paused);
        let own = machine.mirrors().filter(|(key, ..)| key.0 == link);
        let waits: Vec<_> = own.filter(|(key, ..)| machine.awaits_groups(key)).collect();
        let is_last = !waits.is_empty();
        let own = machine.mirrors().filter(|(key, row, status)| {
            let is_mirror = matches!(row.stage, Stage::Mirroring | Stage::Stopping);
            key.0 == link && is_mirror && *status != Status::Failed && !is_paused
        });
        let some = if is_last { waits } else { own.collect() };
        let topics =
            some.into_iter().map(|(key, row, _)| Followed { key: key.clone(), row: row.clone() });
        let topics: Vec<Followed> = topics.filter(|one| one.row.mirror_id.is_some()).collect();
        let left =
            GROUPS.iter().map(|name| group(name)).filter(|name| sync.follows(name)).collect();
        (!topics.is_empty()).then(|| Turn {
            link,
            topics,
            is_last,
            began: TimestampMs(self.clock),
            commits: None,
            parts: BTreeMap::new(),
            ids: BTreeMap::new(),
            active: BTreeSet::new(),
            left,
            call: None,
            is_whole: true,
        })
    }

    /// The next step; nothing when the turn is over.
    fn follow(&mut self, nth: usize, mut turn: Turn) -> Option<Turn> {
        if turn.commits.is_none() {
            self.read_source(&mut turn);
        } else if let Some(call) = turn.call.take() {
            self.commit(nth, &mut turn, call);
        } else if let Some(name) = turn.left.pop() {
            self.plan_group(nth, &mut turn, name);
        } else {
            self.end_following(nth, &turn);
            return None;
        }
        Some(turn)
    }

    /// What is committed there, then, with time between in which all goes on, where all is here.
    fn read_source(&mut self, turn: &mut Turn) {
        let mut commits = BTreeMap::new();
        for name in &turn.left {
            if self.faults && self.dice.roll(12) == 0 {
                turn.is_whole = false;
                continue; // its coordinator is away
            }
            let is_it = |tp: &TopicPartition, id| {
                let is_of =
                    |one: &&Followed| one.row.source_topic == tp.topic && one.row.source_id == id;
                turn.topics.iter().any(|one| is_of(&one))
            };
            commits.insert(name.clone(), of_group(&self.groups.source, name, is_it));
        }
        turn.left.retain(|name| commits.contains_key(name));
        turn.commits = Some(commits);
        if self.faults && self.dice.roll(2) == 0 {
            (0..4).for_each(|_| self.consume());
            (0..4).for_each(|_| self.produce());
        }
        self.place(turn);
    }

    fn place(&self, turn: &mut Turn) {
        for Followed { key, row } in &turn.topics {
            let source = self.clusters.source.get(&row.source_topic);
            let mirror = self.clusters.mirror.get(&key.1);
            let (Some(source), Some(mirror)) = (source, mirror) else { continue };
            if source.id != row.source_id || Some(mirror.id) != row.mirror_id {
                continue;
            }
            for partition in (0..row.partitions.min(source.partitions)).map(PartitionId) {
                let at = |topic: &isolog::ids::TopicName| TopicPartition {
                    topic: topic.clone(),
                    partition,
                };
                let seal = row.sealed.get(&partition).map(|sealed| sealed.end);
                let part = Part {
                    mirror: at(&key.1),
                    begins: row.starts.get(&partition).copied().unwrap_or(Offset::ZERO),
                    source_start: Offset::ZERO,
                    start: Offset::ZERO,
                    end: seal.unwrap_or_else(|| self.ends.of(mirror.id, partition)),
                    source_end: Some(self.ends.of(source.id, partition)),
                };
                turn.parts.insert(at(&row.source_topic), part);
                turn.ids.insert(at(&key.1), mirror.id);
            }
        }
        turn.active.clone_from(&self.groups.active);
    }

    fn plan_group(&mut self, nth: usize, turn: &mut Turn, name: GroupName) {
        let source = turn.commits.as_ref().and_then(|all| all.get(&name));
        let Some(source) = source else { return };
        let is_it = |tp: &TopicPartition, id| turn.ids.get(tp) == Some(&id);
        let there = of_group(&self.groups.there, &name, is_it);
        let (is_active, is_share) = (turn.active.contains(&name), is_share(&name));
        let group = Group { source, there: &there, is_active, is_share };
        let asked = Asked { parts: &turn.parts, now: turn.began, repeat_ms: REPEAT_MS };
        let puts = &mut self.instances[nth].follower.puts;
        let puts = puts.entry((turn.link.clone(), name.clone())).or_default();
        let planned = plan(group, puts, asked);
        assert!(!is_active || planned.commits.is_empty(), "I15: {name} has members: {planned:?}");
        if planned.commits.is_empty() {
            *puts = planned.puts;
            return;
        }
        let (rows, puts) = (planned.commits, planned.puts);
        turn.call = Some(Call { group: name, rows, puts, there });
    }

    /// A commit reaches its coordinator, or does not; a group with members is refused there.
    fn commit(&mut self, nth: usize, turn: &mut Turn, call: Call) {
        let fate = if self.faults { self.dice.roll(12) } else { 12 };
        let Call { group: name, rows, mut puts, there } = call;
        let place = (turn.link.clone(), name.clone());
        if fate == 0 || self.holder != nth || self.groups.active.contains(&name) {
            let is_refused = fate > 0 && self.holder == nth;
            turn.is_whole &= is_refused;
            let kept = if is_refused { Puts::new() } else { puts };
            self.instances[nth].follower.puts.insert(place, kept);
            return;
        }
        for (tp, (offset, metadata)) in rows {
            self.is_right(turn, (&name, there.get(&tp)), (&tp, offset, &metadata));
            self.tally.committed += 1;
            let id = turn.ids[&tp];
            // a coordinator takes offsets of any name; those of a topic that goes, go with it
            if self.clusters.mirror.get(&tp.topic).is_some_and(|topic| topic.id == id) {
                let epoch = LeaderEpoch::NONE;
                let commit = Commit { offset, epoch, metadata: metadata.clone() };
                self.groups.there.insert((name.clone(), tp.clone()), (id, commit));
            }
            if fate != 1 {
                puts.insert(tp, Put { offset, metadata, at: turn.began });
            }
        }
        turn.is_whole &= fate != 1;
        self.instances[nth].follower.puts.insert(place, puts);
    }

    /// I14 to I17, of one offset that is committed now.
    fn is_right(
        &self,
        turn: &Turn,
        (name, there): (&GroupName, Option<&Commit>),
        row: (&TopicPartition, Offset, &Option<Arc<str>>),
    ) {
        let (tp, offset, metadata) = row;
        let (from, part) = turn.parts.iter().find(|(_, part)| part.mirror == *tp).expect("a part");
        let told = || format!("{name} {tp}: {offset:?}, {part:?}");
        let source = turn.commits.as_ref().and_then(|all| all.get(name)?.get(from));
        let source =
            source.unwrap_or_else(|| panic!("I15: nothing is committed there: {}", told()));
        let id = turn.ids[tp];
        let end = self.ends.of(id, tp.partition);
        assert!(offset <= end, "I14: beyond what is mirrored, {end:?}: {}", told());
        let low = part.begins.min(part.end);
        let want = source.offset.min(part.end).max(low);
        assert_eq!(offset, want, "I15, I17: {}", told());
        assert_eq!(*metadata, source.metadata, "I16: {}", told());
        let Some(there) = there.filter(|there| there.offset > offset) else { return };
        // it goes back: what stands there was ours, and the source's own once
        assert_eq!(there.epoch, LeaderEpoch::NONE, "I15: a member's own goes back: {}", told());
        let were = self.groups.were.get(&(name.clone(), from.clone()));
        let was = were.is_some_and(|were| were.iter().any(|one| *one >= there.offset));
        assert!(was, "I15: it goes back and the source has not: {}", told());
    }

    /// What a turn came to is told to topics that wait for it.
    fn end_following(&mut self, nth: usize, turn: &Turn) {
        let is_told = turn.is_whole || self.dice.roll(4) == 0;
        if !turn.is_last || !is_told {
            return;
        }
        let now = self.now();
        for Followed { key, .. } in &turn.topics {
            self.instances[nth].machine.handle_synced(now, key, LastSync::at(now));
        }
    }

    /// Topics that are gone have no offsets any more.
    pub(super) fn expire_topics(&mut self) {
        let is_there =
            |topics: &BTreeMap<_, super::clusters::SimTopic>, tp: &TopicPartition, id| {
                topics.get(&tp.topic).is_some_and(|topic| topic.id == id)
            };
        let (source, mirror) = (&self.clusters.source, &self.clusters.mirror);
        self.groups.source.retain(|(_, tp), (id, _)| is_there(source, tp, *id));
        self.groups.there.retain(|(_, tp), (id, _)| is_there(mirror, tp, *id));
    }

    /// Turns over rights and groups until there is nothing left for them.
    pub(super) fn all_is_followed(&mut self) {
        for _ in 0..TURN_STEPS {
            self.rights(0);
            self.groups(0);
            self.collect(0);
            self.write(0);
            self.read_tail(0);
        }
        for nth in 1..self.instances.len() {
            while self.instances[nth].read < self.log.len() {
                self.read_tail(nth);
            }
        }
        self.rights_are_right();
        self.groups_are_followed();
    }

    /// When all is calm: each group without members stands where it stands at the source, as far as
    /// that is mirrored, unless somebody else has moved it on.
    fn groups_are_followed(&self) {
        for (key, row, status) in self.instances[0].machine.mirrors() {
            let link = self.truth.link(&key.0).filter(|row| !row.is_paused && !row.is_leaving);
            let sync = link.and_then(|link| Self::followed(&key.0, link));
            let is_its = checks::acts_on(&self.truth, 0, &key.0) && status == Status::Active;
            let Some(sync) = sync.filter(|_| is_its) else { continue };
            for ((name, tp), (id, commit)) in &self.groups.source {
                let is_it = tp.topic == row.source_topic && *id == row.source_id;
                if is_it && sync.follows(name) && !self.groups.active.contains(name) {
                    self.is_followed((key, row), name, (tp.partition, commit.offset));
                }
            }
        }
    }

    fn is_followed(
        &self,
        (key, row): (&MirrorKey, &MirrorRow),
        name: &GroupName,
        (partition, offset): (PartitionId, Offset),
    ) {
        let Some(id) = row.mirror_id.filter(|_| partition.0 < row.partitions) else { return };
        let end = self.ends.of(id, partition);
        let begins = row.starts.get(&partition).copied().unwrap_or(Offset::ZERO);
        let want = offset.min(end).max(begins.min(end));
        let tp = TopicPartition { topic: key.1.clone(), partition };
        let told = || format!("{name} {tp}: {offset:?} at the source, {want:?} here");
        let there = self.groups.there.get(&(name.clone(), tp.clone())).filter(|(of, _)| *of == id);
        let (_, there) = there.unwrap_or_else(|| panic!("I17: it is not here: {}", told()));
        assert!(there.offset >= want, "I17: it is behind, {there:?}: {}", told());
        let ours = self.instances[0].follower.puts.get(&(key.0.clone(), name.clone()));
        let is_ours =
            ours.is_some_and(|puts| puts.get(&tp).is_some_and(|put| put.offset == there.offset));
        assert!(there.offset == want || !is_ours, "I15: it is ahead, by us, {there:?}: {}", told());
    }
}
