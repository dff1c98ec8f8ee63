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
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberId(usize);

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

type Address = (TopicRef, PartitionId);

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
    /// Those whose published copy is older than they are.
    stale: Vec<bool>,
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
            stale: Vec::new(),
            stays: Vec::new(),
            added: 0,
        }
    }

    /// Takes a partition in.
    pub fn add(&mut self, member: LanePartition) {
        let free = self.free.pop_first().unwrap_or_else(|| {
            self.members.push(None);
            self.stale.push(false);
            self.stays.push(0);
            self.members.len() - 1
        });
        let id = MemberId(free);
        self.by_name.insert(member.mirror.name().mirror(), id);
        self.by_source.insert(self.source_of(&member), id);
        self.by_destination.insert(self.destination_of(&member), id);
        self.members[free] = Some(member);
        self.stale[free] = true;
        self.added += 1;
        self.stays[free] = self.added;
    }

    /// Takes out all that may leave.
    pub fn take_leavers(&mut self) -> Vec<LanePartition> {
        let leaves =
            |member: &Option<LanePartition>| member.as_ref().is_some_and(|s| s.mirror.may_leave());
        let ids: Vec<usize> =
            (0..self.members.len()).filter(|at| leaves(&self.members[*at])).collect();
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
        self.by_source.remove(&self.source_of(&member));
        self.by_destination.remove(&self.destination_of(&member));
        self.stale[at] = false;
        Some(member)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_source.len()
    }

    /// The member of that number, to be changed: its copy becomes stale.
    pub fn get_mut(&mut self, id: MemberId) -> Option<&mut LanePartition> {
        *self.stale.get_mut(id.0)? = true;
        self.members.get_mut(id.0)?.as_mut()
    }

    /// The member of that number, if it is still the partition that had that stay.
    pub fn get_stay(&mut self, id: MemberId, stay: u64) -> Option<&mut LanePartition> {
        if self.stays.get(id.0) == Some(&stay) { self.get_mut(id) } else { None }
    }

    /// Whether any member has a unit to be worked on, and all together hold less than
    /// `anew_bytes_max` of what was encoded anew.
    pub fn wants_work(&self, anew_bytes_max: usize) -> bool {
        let each = || self.members.iter().flatten().map(|member| &member.mirror);
        each().any(PartitionMirror::wants_work)
            && each().map(PartitionMirror::anew_bytes).sum::<usize>() < anew_bytes_max
    }

    /// The member's unit to be worked on, if it has one, and the number of its stay.
    pub fn poll_work(&mut self, id: MemberId) -> Option<(u64, Work)> {
        let work = self.members.get_mut(id.0)?.as_mut()?.mirror.poll_work()?;
        Some((self.stays[id.0], work))
    }

    /// The member's next batch, if it has one that may go out.
    pub fn poll_append(&mut self, id: MemberId, now: TimestampMs) -> Option<Append> {
        let append = self.members.get_mut(id.0)?.as_mut()?.mirror.poll_append(now)?;
        self.stale[id.0] = true;
        Some(append)
    }

    /// A fetch that was sent at `sent` has been answered: of those it `asked` for, the ones that
    /// the answer does not name are as they were.
    pub fn note_unchanged<'a>(
        &mut self,
        asked: impl Iterator<Item = (&'a Address, FetchFrom)>,
        named: &BTreeSet<(&TopicRef, PartitionId)>,
        sent: TimestampMs,
        now: TimestampMs,
    ) {
        let unnamed = asked.filter(|((topic, partition), _)| !named.contains(&(topic, *partition)));
        for (address, from) in unnamed {
            let Some(id) = self.by_source.get(address) else { continue };
            let Some(member) = self.members.get_mut(id.0).and_then(Option::as_mut) else {
                continue;
            };
            member.cell.note_unchanged(sent);
            member.mirror.handle_unchanged(now, from);
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
        self.stale.fill(true);
        let numbered = self.members.iter_mut().enumerate();
        numbered.filter_map(|(at, member)| Some((MemberId(at), member.as_mut()?)))
    }

    /// All, beginning at `first` and going round, for those who may run out of room.
    pub fn round(&self, first: usize) -> impl Iterator<Item = MemberId> + use<> {
        let count = self.members.len();
        (0..count).map(move |step| MemberId((first + step) % count))
    }

    /// Publishes what has changed, and what grows older by itself.
    pub fn publish(&mut self, now: TimestampMs) {
        for (at, member) in self.members.iter().enumerate() {
            if let Some(member) = member.as_ref().filter(|_| self.stale[at]) {
                member.cell.publish(member.mirror.snapshot(now));
            }
        }
        self.stale.fill(false);
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
