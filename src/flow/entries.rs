//! All partitions of a manager, found by the destination's name, and by when they are due.
//!
//! It never decides what becomes of one that is due.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use tokio::time::Instant;

use crate::flow::entry::Entry;
use crate::flow::entry::Place;
use crate::ids::PartitionId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::mirror::partition::PartitionMirror;

/// Entries in order, by name and by time.
#[derive(Default)]
pub(super) struct Entries {
    all: BTreeMap<TopicPartition, Entry>,
    due: BTreeSet<(Instant, TopicPartition)>,
}

impl Entries {
    pub fn get(&self, tp: &TopicPartition) -> Option<&Entry> {
        self.all.get(tp)
    }

    /// To change what is known of it; its place changes by `put` and `take`.
    pub fn get_mut(&mut self, tp: &TopicPartition) -> Option<&mut Entry> {
        self.all.get_mut(tp)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&TopicPartition, &Entry)> {
        self.all.iter()
    }

    /// All of their names.
    pub fn names(&self) -> Vec<TopicPartition> {
        self.all.keys().cloned().collect()
    }

    /// The partitions of a topic that there are.
    pub fn of_topic(&self, topic: &TopicName) -> impl Iterator<Item = PartitionId> {
        let all = |partition| TopicPartition { topic: topic.clone(), partition };
        let (first, last) = (all(PartitionId(i32::MIN)), all(PartitionId(i32::MAX)));
        self.all.range(first..=last).map(|(tp, _)| tp.partition)
    }

    pub fn insert(&mut self, entry: Entry) {
        self.all.insert(entry.spec.name.mirror(), entry);
    }

    pub fn remove(&mut self, tp: &TopicPartition) -> Option<Entry> {
        let entry = self.all.remove(tp)?;
        if let Some(at) = entry.due {
            self.due.remove(&(at, tp.clone()));
        }
        Some(entry)
    }

    /// Puts a partition somewhere; one that waits for a time is due then.
    pub fn put(&mut self, tp: &TopicPartition, place: Place) {
        let Some(entry) = self.all.get_mut(tp) else { return };
        let due = match &place {
            Place::Backoff { until, .. } => Some(*until),
            Place::Halted { mirror, until } if entry.may_resolve(mirror) => Some(*until),
            Place::InLane { .. } => entry.near.as_ref().and_then(|near| near.ask_at),
            _ => None,
        };
        entry.place = place;
        self.wake_at(tp, due);
    }

    /// One that stays where it is is due then.
    pub fn wake(&mut self, tp: &TopicPartition, at: Instant) {
        self.wake_at(tp, Some(at));
    }

    fn wake_at(&mut self, tp: &TopicPartition, due: Option<Instant>) {
        let Some(entry) = self.all.get_mut(tp) else { return };
        if let Some(at) = std::mem::replace(&mut entry.due, due) {
            self.due.remove(&(at, tp.clone()));
        }
        self.due.extend(due.map(|at| (at, tp.clone())));
    }

    /// Takes the machine out of a place that holds one; what is in a lane stays there.
    pub fn take(&mut self, tp: &TopicPartition) -> Option<Box<PartitionMirror>> {
        let entry = self.all.get_mut(tp)?;
        let place = std::mem::replace(&mut entry.place, Place::Moving);
        let (mirror, place) = match place {
            Place::Backoff { mirror, .. }
            | Place::Probing { mirror, .. }
            | Place::Halted { mirror, .. } => (Some(mirror), Place::Moving),
            other => (None, other),
        };
        self.put(tp, place);
        mirror
    }

    /// When the first one is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Those that are due, which then are no more.
    pub fn take_due(&mut self, now: Instant) -> Vec<TopicPartition> {
        let mut due = Vec::new();
        while self.due.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, tp)) = self.due.pop_first() else { break };
            if let Some(entry) = self.all.get_mut(&tp) {
                entry.due = None;
            }
            due.push(tp);
        }
        due
    }
}
