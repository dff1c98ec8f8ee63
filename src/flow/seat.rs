//! The partitions that sit in one lane, found by number and by the name an answer uses.
//!
//! It never decides what a partition does.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cluster::Cluster;
use crate::cluster::Each;
use crate::cluster::Listed;
use crate::flow::guest::leader;
use crate::flow::stats::Cell;
use crate::ids::LeaderEpoch;
use crate::ids::PartitionId;
use crate::ids::TimestampMs;
use crate::ids::TopicId;
use crate::ids::TopicPartition;
use crate::mirror::facts::Append;
use crate::mirror::facts::Fault;
use crate::mirror::partition::PartitionMirror;
use crate::mirror::work::Work;
use crate::wire::topic::TopicRef;

/// A partition on its way into, in, or out of a lane.
#[derive(Debug)]
pub struct Seat {
    /// The machine, moved as a value.
    pub mirror: PartitionMirror,
    /// The source topic's id.
    pub source_id: TopicId,
    /// The destination topic's id.
    pub destination_id: TopicId,
    /// The epoch of the source leader that the lane speaks to.
    pub source_epoch: LeaderEpoch,
    /// Where its state is published.
    pub cell: Arc<Cell>,
}

/// A seat's number inside its lane.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeatId(usize);

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
    pub fn topic(self, tp: &TopicPartition, id: TopicId) -> TopicRef {
        match self {
            Naming::ById => TopicRef::Id(id),
            Naming::ByName => TopicRef::Name(tp.topic.clone()),
        }
    }
}

type Address = (TopicRef, PartitionId);

/// The seats of a lane.
#[derive(Debug)]
pub struct Seats {
    source: Naming,
    destination: Naming,
    seats: Vec<Option<Seat>>,
    by_source: BTreeMap<Address, SeatId>,
    by_destination: BTreeMap<Address, SeatId>,
    /// Those whose published copy is older than they are.
    stale: Vec<bool>,
    /// Which partition sits in each seat: every one that was added has a number of its own.
    stays: Vec<u64>,
    added: u64,
}

impl Seats {
    /// No seats yet.
    pub fn new(source: Naming, destination: Naming) -> Seats {
        Seats {
            source,
            destination,
            seats: Vec::new(),
            by_source: BTreeMap::new(),
            by_destination: BTreeMap::new(),
            stale: Vec::new(),
            stays: Vec::new(),
            added: 0,
        }
    }

    /// Sits a partition down.
    pub fn add(&mut self, seat: Seat) {
        let free = self.seats.iter().position(Option::is_none).unwrap_or_else(|| {
            self.seats.push(None);
            self.stale.push(false);
            self.stays.push(0);
            self.seats.len() - 1
        });
        let id = SeatId(free);
        self.by_source.insert(self.source_of(&seat), id);
        self.by_destination.insert(self.destination_of(&seat), id);
        self.seats[free] = Some(seat);
        self.stale[free] = true;
        self.added += 1;
        self.stays[free] = self.added;
    }

    /// Takes out all that may leave.
    pub fn take_leavers(&mut self) -> Vec<Seat> {
        let leaves = |seat: &Option<Seat>| seat.as_ref().is_some_and(|s| s.mirror.may_leave());
        let ids: Vec<usize> = (0..self.seats.len()).filter(|at| leaves(&self.seats[*at])).collect();
        ids.into_iter().filter_map(|at| self.take(at)).collect()
    }

    /// The seat of a partition.
    pub fn find(&self, tp: &TopicPartition) -> Option<SeatId> {
        let same = |seat: &Option<Seat>| seat.as_ref().is_some_and(|s| s.mirror.tp() == tp);
        self.seats.iter().position(same).map(SeatId)
    }

    fn take(&mut self, at: usize) -> Option<Seat> {
        let seat = self.seats[at].take()?;
        self.by_source.remove(&self.source_of(&seat));
        self.by_destination.remove(&self.destination_of(&seat));
        self.stale[at] = false;
        Some(seat)
    }

    /// How many sit.
    pub fn len(&self) -> usize {
        self.by_source.len()
    }

    /// The seat of that number, to be changed: its copy becomes stale.
    pub fn get_mut(&mut self, id: SeatId) -> Option<&mut Seat> {
        *self.stale.get_mut(id.0)? = true;
        self.seats.get_mut(id.0)?.as_mut()
    }

    /// The seat of that number, if the partition that had that stay still sits in it.
    pub fn get_stay(&mut self, id: SeatId, stay: u64) -> Option<&mut Seat> {
        if self.stays.get(id.0) == Some(&stay) { self.get_mut(id) } else { None }
    }

    /// Whether any seat has a unit to be worked on, and all together hold less than
    /// `anew_bytes_max` of what was encoded anew.
    pub fn wants_work(&self, anew_bytes_max: usize) -> bool {
        let each = || self.seats.iter().flatten().map(|seat| &seat.mirror);
        each().any(PartitionMirror::wants_work)
            && each().map(PartitionMirror::anew_bytes).sum::<usize>() < anew_bytes_max
    }

    /// The seat's unit to be worked on, if it has one, and the number of its stay.
    pub fn poll_work(&mut self, id: SeatId) -> Option<(u64, Work)> {
        let work = self.seats.get_mut(id.0)?.as_mut()?.mirror.poll_work()?;
        Some((self.stays[id.0], work))
    }

    /// The seat's next batch, if it has one that may go out.
    pub fn poll_append(&mut self, id: SeatId, now: TimestampMs) -> Option<Append> {
        let append = self.seats.get_mut(id.0)?.as_mut()?.mirror.poll_append(now)?;
        self.stale[id.0] = true;
        Some(append)
    }

    /// A fetch that was sent at `sent` has been answered: of those it `asked` for, the ones that
    /// the answer does not name are as they were.
    pub fn note_unchanged<'a>(
        &self,
        asked: impl Iterator<Item = &'a (TopicRef, PartitionId)>,
        named: &BTreeSet<(&TopicRef, PartitionId)>,
        sent: TimestampMs,
    ) {
        for address in asked.filter(|(topic, partition)| !named.contains(&(topic, *partition))) {
            let seat = self.by_source.get(address).and_then(|id| self.seats.get(id.0)?.as_ref());
            if let Some(seat) = seat {
                seat.cell.note_unchanged(sent);
            }
        }
    }

    /// How the destination calls the seat's partition.
    pub fn destination(&self, id: SeatId) -> Option<Address> {
        Some(self.destination_of(self.seats.get(id.0)?.as_ref()?))
    }

    /// Who is meant by a fetch answer.
    pub fn by_source(&self, topic: &TopicRef, partition: PartitionId) -> Option<SeatId> {
        self.by_source.get(&(topic.clone(), partition)).copied()
    }

    /// The id under which a topic of a fetch answer is mirrored.
    pub fn source_id(&self, topic: &TopicRef, partition: PartitionId) -> Option<TopicId> {
        let id = self.by_source(topic, partition)?;
        Some(self.seats.get(id.0)?.as_ref()?.source_id)
    }

    /// Who is meant by an append answer.
    pub fn by_destination(&self, topic: &TopicRef, partition: PartitionId) -> Option<SeatId> {
        self.by_destination.get(&(topic.clone(), partition)).copied()
    }

    /// All, with their numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (SeatId, &Seat)> {
        let numbered = self.seats.iter().enumerate();
        numbered.filter_map(|(at, seat)| Some((SeatId(at), seat.as_ref()?)))
    }

    /// All, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (SeatId, &mut Seat)> {
        self.stale.fill(true);
        let numbered = self.seats.iter_mut().enumerate();
        numbered.filter_map(|(at, seat)| Some((SeatId(at), seat.as_mut()?)))
    }

    /// All, beginning at `first` and going round, for those who may run out of room.
    pub fn round(&self, first: usize) -> impl Iterator<Item = SeatId> + use<> {
        let count = self.seats.len();
        (0..count).map(move |step| SeatId((first + step) % count))
    }

    /// Publishes what has changed, and what grows older by itself.
    pub fn publish(&mut self, now: TimestampMs) {
        for (at, seat) in self.seats.iter().enumerate() {
            if let Some(seat) = seat.as_ref().filter(|_| self.stale[at]) {
                seat.cell.publish(seat.mirror.snapshot(now));
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
        self.iter().filter_map(|(_, seat)| log(seat.mirror.tp())).collect()
    }

    /// A broker that was away for a moment may have lost a log: who does not end where its machine
    /// believes leaves, and both logs are looked at.
    pub fn compare_ends(&mut self, ends: &Each<Listed>) {
        let is_wrong = |seat: &Seat| {
            let end = ends.get(seat.mirror.tp());
            let end = end.map(|end| end.as_ref().ok().map(|listed| listed.offset));
            end.is_some_and(|end| end != seat.mirror.position())
        };
        let wrong: Vec<SeatId> =
            self.iter().filter(|(_, seat)| is_wrong(seat)).map(|(id, _)| id).collect();
        for id in wrong {
            if let Some(seat) = self.get_mut(id) {
                seat.mirror.handle_failed(Fault::DestinationLost);
            }
        }
    }

    /// How the source calls the seat's topic.
    pub fn source_of(&self, seat: &Seat) -> Address {
        let tp = seat.mirror.tp();
        (self.source.topic(tp, seat.source_id), tp.partition)
    }

    fn destination_of(&self, seat: &Seat) -> Address {
        let tp = seat.mirror.tp();
        (self.destination.topic(tp, seat.destination_id), tp.partition)
    }
}
