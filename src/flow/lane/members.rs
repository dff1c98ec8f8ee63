//! The partitions of one lane, found by number and by the name an answer uses.
//!
//! It never decides what a partition does.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cluster::Cluster;
use crate::cluster::Each;
use crate::cluster::Listed;
use crate::flow::entry::leader;
use crate::flow::lane::wants::Counts;
use crate::flow::lane::wants::Wants;
use crate::flow::stats::Cell;
use crate::ids::Incarnation;
use crate::ids::LeaderEpoch;
use crate::ids::PartitionId;
use crate::ids::TimestampMs;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::mirror::facts::Append;
use crate::mirror::facts::Fault;
use crate::mirror::facts::FetchFrom;
use crate::mirror::partition::PartitionMirror;
use crate::mirror::work::Work;
use crate::wire::rewrite::Writer;
use crate::wire::topic::TopicRef;

/// A partition on its way into, in, or out of a lane.
#[derive(Debug)]
pub struct LanePartition {
    /// The machine, moved as a value.
    pub mirror: PartitionMirror,
    /// The number under which it was wanted.
    pub incarnation: Incarnation,
    /// Under whose name it is mirrored.
    pub writer: Writer,
    /// The source topic's id.
    pub source_id: TopicId,
    /// The destination topic's id.
    pub destination_id: TopicId,
    /// The epoch of the source leader that the lane speaks to.
    pub source_epoch: LeaderEpoch,
    /// Where its state is published.
    pub cell: Arc<Cell>,
}

/// A member's number inside its lane.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberId(usize);

impl MemberId {
    /// The number behind it.
    pub fn next(self) -> MemberId {
        MemberId(self.0 + 1)
    }
}

/// All of a set, beginning at `first` and going round.
fn round(all: &BTreeSet<usize>, first: MemberId) -> Vec<MemberId> {
    all.range(first.0..).chain(all.range(..first.0)).map(|at| MemberId(*at)).collect()
}

/// How a side of a lane names a topic: by id where its broker speaks that, else by name.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Naming {
    /// Fetch from 13, Produce from 13.
    ById,
    /// Before.
    ByName,
}

impl Naming {
    /// What a request calls the topic.
    pub fn topic(self, name: &TopicName, id: TopicId) -> TopicRef {
        match self {
            Naming::ById => TopicRef::Id(id),
            Naming::ByName => TopicRef::Name(name.clone()),
        }
    }
}

/// How a side names a partition.
pub type Address = (TopicRef, PartitionId);

/// What the source is to be asked of a member.
#[derive(Clone, Debug)]
pub struct Wanted {
    id: MemberId,
    stay: u64,
    /// From where.
    pub from: FetchFrom,
    /// Of a leader of that epoch.
    pub source_epoch: LeaderEpoch,
}

impl Wanted {
    /// Whether a broker that was asked for the other need not be told anything.
    pub fn asks_the_same(&self, other: &Wanted) -> bool {
        (self.from, self.source_epoch) == (other.from, other.source_epoch)
    }

    /// Whether both are of the same stay of a partition.
    pub(super) fn is_of_the_stay(&self, other: &Wanted) -> bool {
        self.stay == other.stay
    }
}

#[cfg(test)]
impl Wanted {
    /// From the beginning of a log.
    pub(super) fn sample() -> Wanted {
        let last_epoch = LeaderEpoch::NONE;
        let from = FetchFrom { offset: crate::ids::Offset::ZERO, last_epoch, bytes_max: 1 };
        Wanted { id: MemberId(0), stay: 1, from, source_epoch: LeaderEpoch(0) }
    }
}

/// Who has changed since each was last seen to: a lane of thousands, of which one copies, looks at
/// that one.
#[derive(Debug, Default)]
struct Touched {
    publish: BTreeSet<usize>,
    fetch: BTreeSet<usize>,
    append: BTreeSet<usize>,
    work: BTreeSet<usize>,
    leave: BTreeSet<usize>,
}

impl Touched {
    fn each(&mut self) -> [&mut BTreeSet<usize>; 5] {
        let Touched { publish, fetch, append, work, leave } = self;
        [publish, fetch, append, work, leave]
    }

    fn add(&mut self, at: usize) {
        for set in self.each() {
            set.insert(at);
        }
    }

    fn remove(&mut self, at: usize) {
        for set in self.each() {
            set.remove(&at);
        }
    }
}

/// The members of a lane.
#[derive(Debug)]
pub struct Members {
    source: Naming,
    destination: Naming,
    members: Vec<Option<LanePartition>>,
    by_name: BTreeMap<TopicPartition, MemberId>,
    /// Numbers that nobody has now.
    free: BTreeSet<usize>,
    by_source: BTreeMap<Address, MemberId>,
    by_destination: BTreeMap<Address, MemberId>,
    touched: Touched,
    /// What the source is to be asked.
    wants: Wants,
    /// Those with a unit to be worked on.
    working: BTreeSet<usize>,
    /// What each holds that was encoded anew, and all together.
    anew_bytes: Vec<usize>,
    anew_bytes_all: usize,
    /// Which partition each number stands for: every one that was added has a stay of its own.
    stays: Vec<u64>,
    added: u64,
}

impl Members {
    /// No members yet.
    pub fn new(source: Naming, destination: Naming) -> Members {
        Members {
            source,
            destination,
            members: Vec::new(),
            by_name: BTreeMap::new(),
            free: BTreeSet::new(),
            by_source: BTreeMap::new(),
            by_destination: BTreeMap::new(),
            touched: Touched::default(),
            wants: Wants::default(),
            working: BTreeSet::new(),
            anew_bytes: Vec::new(),
            anew_bytes_all: 0,
            stays: Vec::new(),
            added: 0,
        }
    }

    /// Takes a partition in.
    pub fn add(&mut self, member: LanePartition) {
        let free = self.free.pop_first().unwrap_or_else(|| {
            self.members.push(None);
            self.anew_bytes.push(0);
            self.stays.push(0);
            self.members.len() - 1
        });
        let id = MemberId(free);
        self.by_name.insert(member.mirror.name().mirror(), id);
        self.by_source.insert(self.source_of(&member), id);
        self.by_destination.insert(self.destination_of(&member), id);
        self.members[free] = Some(member);
        self.touched.add(free);
        self.added += 1;
        self.stays[free] = self.added;
    }

    /// Takes out all that may leave.
    pub fn take_leavers(&mut self) -> Vec<LanePartition> {
        let changed = std::mem::take(&mut self.touched.leave);
        let leaves = |at: &usize| {
            let member = self.members.get(*at).and_then(Option::as_ref);
            member.is_some_and(|member| member.mirror.may_leave())
        };
        let ids: Vec<usize> = changed.into_iter().filter(leaves).collect();
        ids.into_iter().filter_map(|at| self.take(at)).collect()
    }

    /// The member of a partition, by the destination's name, if it is the one with that number.
    pub fn find(&self, tp: &TopicPartition, incarnation: Incarnation) -> Option<MemberId> {
        let id = *self.by_name.get(tp)?;
        let member = self.members.get(id.0)?.as_ref()?;
        (member.incarnation == incarnation).then_some(id)
    }

    fn take(&mut self, at: usize) -> Option<LanePartition> {
        let member = self.members[at].take()?;
        self.free.insert(at);
        self.by_name.remove(&member.mirror.name().mirror());
        let address = self.source_of(&member);
        self.by_source.remove(&address);
        self.wants.forget(at, address);
        self.by_destination.remove(&self.destination_of(&member));
        self.touched.remove(at);
        self.working.remove(&at);
        self.anew_bytes_all -= std::mem::take(&mut self.anew_bytes[at]);
        Some(member)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_source.len()
    }

    /// The member of that number, to be changed.
    pub fn get_mut(&mut self, id: MemberId) -> Option<&mut LanePartition> {
        let member = self.members.get_mut(id.0)?.as_mut()?;
        self.touched.add(id.0);
        Some(member)
    }

    /// The member of that number, if it is still the partition that had that stay.
    pub fn get_stay(&mut self, id: MemberId, stay: u64) -> Option<&mut LanePartition> {
        if self.stays.get(id.0) == Some(&stay) { self.get_mut(id) } else { None }
    }

    /// Those that have a unit to be worked on, beginning at `first` and going round; nobody while
    /// all together hold `anew_bytes_max` of what was encoded anew.
    pub fn workers(&mut self, first: MemberId, anew_bytes_max: usize) -> Vec<MemberId> {
        for at in std::mem::take(&mut self.touched.work) {
            let Some(member) = self.members.get(at).and_then(Option::as_ref) else { continue };
            if member.mirror.wants_work() {
                self.working.insert(at);
            } else {
                self.working.remove(&at);
            }
            let bytes = member.mirror.anew_bytes();
            let before = std::mem::replace(&mut self.anew_bytes[at], bytes);
            self.anew_bytes_all = self.anew_bytes_all - before + bytes;
        }
        match self.anew_bytes_all < anew_bytes_max {
            true => round(&self.working, first),
            false => Vec::new(),
        }
    }

    /// The member's unit to be worked on, if it has one, and the number of its stay.
    pub fn poll_work(&mut self, id: MemberId) -> Option<(u64, Work)> {
        let work = self.members.get_mut(id.0)?.as_mut()?.mirror.poll_work()?;
        self.touched.add(id.0);
        Some((self.stays[id.0], work))
    }

    /// Those that may have a batch to go out, beginning at `first` and going round, for those who
    /// may run out of room.
    pub fn appenders(&self, first: MemberId) -> Vec<MemberId> {
        round(&self.touched.append, first)
    }

    /// The member's next batch, if it has one that may go out.
    pub fn poll_append(&mut self, id: MemberId, now: TimestampMs) -> Option<Append> {
        let member = self.members.get_mut(id.0)?.as_mut()?;
        self.touched.add(id.0);
        let append = member.mirror.poll_append(now);
        if append.is_none() {
            self.touched.append.remove(&id.0);
        }
        append
    }

    /// What an inlet is to ask the source, all of it.
    pub fn wanted(&mut self, inlet: usize) -> &BTreeMap<Address, Wanted> {
        self.think();
        self.wants.of(inlet)
    }

    /// How many are level, and how many behind, and which inlet asks for those.
    pub fn counts(&mut self) -> Counts {
        self.think();
        self.wants.counts()
    }

    /// Thinks about those that have changed.
    fn think(&mut self) {
        let mut changed = std::mem::take(&mut self.touched.fetch);
        for at in &changed {
            let member = self.members.get(*at).and_then(Option::as_ref);
            self.wants.note(*at, member.is_some_and(|member| member.mirror.is_behind()));
        }
        changed.extend(self.wants.count(self.by_source.len()));
        for at in changed {
            let Some(member) = self.members.get(at).and_then(Option::as_ref) else { continue };
            let (id, stay, source_epoch) = (MemberId(at), self.stays[at], member.source_epoch);
            let address = self.source_of(member);
            let (inlet, bytes) = self.wants.inlet_of(at, &address);
            let from = member.mirror.poll_fetch_of(bytes);
            let wanted = from.map(|from| Wanted { id, stay, from, source_epoch });
            self.wants.want(address, inlet, wanted);
        }
    }

    /// Of whom that may not be what it was when this was last asked.
    pub fn take_rewanted(&mut self, inlet: usize) -> BTreeSet<Address> {
        self.wants.take_rewanted(inlet)
    }

    /// The second inlet is open, or is no more.
    pub fn set_second_open(&mut self, is_open: bool) {
        self.wants.set_second_open(is_open);
    }

    /// An inlet has asked, or has its answer.
    pub fn set_under_way(&mut self, inlet: usize, is_it: bool) {
        self.touched.fetch.extend(self.wants.set_under_way(inlet, is_it));
    }

    /// What an inlet asks of each that is behind.
    pub fn set_each_bytes(&mut self, inlet: usize, bytes: usize) {
        self.touched.fetch.extend(self.wants.set_each_bytes(inlet, bytes));
    }

    /// A fetch that was sent at `sent` has been answered: of those it `asked` for, the ones that
    /// the answer does not name are as they were.
    pub fn note_unchanged<'a>(
        &mut self,
        asked: impl Iterator<Item = (&'a Address, &'a Wanted)>,
        named: &BTreeSet<(&TopicRef, PartitionId)>,
        sent: TimestampMs,
        now: TimestampMs,
    ) {
        let unnamed = asked.filter(|((topic, partition), _)| !named.contains(&(topic, *partition)));
        for (_, Wanted { id, stay, from, .. }) in unnamed {
            let is_it = self.stays.get(id.0) == Some(stay);
            let member = self.members.get_mut(id.0).and_then(Option::as_mut).filter(|_| is_it);
            let Some(member) = member else { continue };
            // a follower that has nothing new says nothing of what its leader has
            if member.mirror.reads_follower() {
                continue;
            }
            member.cell.note_unchanged(sent);
            if member.mirror.is_draining() {
                self.touched.add(id.0);
                member.mirror.handle_unchanged(now, *from);
            }
        }
    }

    /// Under whose name the member is mirrored.
    pub fn writer(&self, id: MemberId) -> Option<Writer> {
        Some(self.members.get(id.0)?.as_ref()?.writer)
    }

    /// How the destination calls the member's partition.
    pub fn destination(&self, id: MemberId) -> Option<Address> {
        Some(self.destination_of(self.members.get(id.0)?.as_ref()?))
    }

    /// Who is meant by a fetch answer.
    pub fn by_source(&self, topic: &TopicRef, partition: PartitionId) -> Option<MemberId> {
        self.by_source.get(&(topic.clone(), partition)).copied()
    }

    /// The id under which a topic of a fetch answer is mirrored.
    pub fn source_id(&self, topic: &TopicRef, partition: PartitionId) -> Option<TopicId> {
        let id = self.by_source(topic, partition)?;
        Some(self.members.get(id.0)?.as_ref()?.source_id)
    }

    /// Who is meant by an append answer.
    pub fn by_destination(&self, topic: &TopicRef, partition: PartitionId) -> Option<MemberId> {
        self.by_destination.get(&(topic.clone(), partition)).copied()
    }

    /// All, with their numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (MemberId, &LanePartition)> {
        let numbered = self.members.iter().enumerate();
        numbered.filter_map(|(at, member)| Some((MemberId(at), member.as_ref()?)))
    }

    /// All, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (MemberId, &mut LanePartition)> {
        let touched = &mut self.touched;
        let numbered = self.members.iter_mut().enumerate();
        numbered.filter_map(|(at, member)| {
            let member = member.as_mut()?;
            touched.add(at);
            Some((MemberId(at), member))
        })
    }

    /// Publishes what has changed.
    pub fn publish(&mut self, now: TimestampMs) {
        for at in std::mem::take(&mut self.touched.publish) {
            if let Some(member) = self.members.get(at).and_then(Option::as_ref) {
                member.cell.publish(member.mirror.snapshot(now));
            }
        }
    }

    /// The destination logs of all, by the epochs under which they are written.
    pub fn logs(&self, destination: &Cluster) -> Vec<(TopicPartition, LeaderEpoch)> {
        let log = |tp: &TopicPartition| {
            let (_, epoch) = leader(destination, tp)?;
            Some((tp.clone(), epoch))
        };
        self.iter().filter_map(|(_, member)| log(&member.mirror.name().mirror())).collect()
    }

    /// A broker that was away for a moment may have lost a log: who does not end where its machine
    /// believes leaves, and both logs are looked at.
    pub fn compare_ends(&mut self, ends: &Each<Listed>) {
        let is_wrong = |member: &LanePartition| {
            let end = ends.get(&member.mirror.name().mirror());
            let end = end.map(|end| end.as_ref().ok().map(|listed| listed.offset));
            end.is_some_and(|end| end != member.mirror.position())
        };
        let wrong: Vec<MemberId> =
            self.iter().filter(|(_, member)| is_wrong(member)).map(|(id, _)| id).collect();
        for id in wrong {
            if let Some(member) = self.get_mut(id) {
                member.mirror.handle_failed(Fault::DestinationLost);
            }
        }
    }

    /// How the source calls the member's topic.
    pub fn source_of(&self, member: &LanePartition) -> Address {
        let name = member.mirror.name();
        (self.source.topic(&name.source_topic, member.source_id), name.partition)
    }

    fn destination_of(&self, member: &LanePartition) -> Address {
        let name = member.mirror.name();
        (self.destination.topic(&name.mirror_topic, member.destination_id), name.partition)
    }
}
