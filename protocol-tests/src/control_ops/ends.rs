//! How far partitions reach at both clusters, by the id of their topic, and what moves them.
//!
//! It never moves a record: an end is a number.

use std::collections::BTreeMap;

use isolog::control::facts::MirrorKey;
use isolog::control::facts::Mode;
use isolog::control::topic::Stage;
use isolog::ids::Offset;
use isolog::ids::PartitionId;
use isolog::ids::TopicId;

use super::World;

/// High watermarks; what is not named is empty.
#[derive(Clone, Debug, Default)]
pub struct Ends(BTreeMap<(TopicId, PartitionId), i64>);

impl Ends {
    /// Of one partition.
    pub fn of(&self, topic: TopicId, partition: PartitionId) -> Offset {
        let end = self.0.get(&(topic, partition)).copied().unwrap_or(0);
        Offset::new(end).expect("never negative")
    }

    fn set(&mut self, topic: TopicId, partition: PartitionId, end: Offset) {
        self.0.insert((topic, partition), end.get());
    }

    fn grow(&mut self, topic: TopicId, partition: PartitionId, count: u64) {
        *self.0.entry((topic, partition)).or_default() += count as i64;
    }
}

impl World<'_> {
    /// Producers: at the source, and at the destination where a topic is a mirror no more.
    pub(super) fn produce(&mut self) {
        let count = self.dice.roll(4);
        if self.dice.roll(4) > 0 {
            let all = self.clusters.source.values().map(|topic| (topic.id, topic.partitions));
            if let Some((id, partition)) = self.any_of(all.collect()) {
                self.ends.grow(id, partition, count);
            }
            return;
        }
        let stopped = self.truth.mirrors().filter_map(|(key, row)| {
            let there = self.clusters.mirror.get(&key.1)?;
            let is_free = matches!(row.stage, Stage::Stopped(_)) && row.mirror_id == Some(there.id);
            is_free.then_some((there.id, there.partitions))
        });
        if let Some((id, partition)) = self.any_of(stopped.collect()) {
            self.ends.grow(id, partition, count);
        }
    }

    fn any_of(&mut self, topics: Vec<(TopicId, i32)>) -> Option<(TopicId, PartitionId)> {
        let at = self.dice.roll(topics.len().max(1) as u64) as usize;
        let (id, partitions) = *topics.get(at)?;
        Some((id, PartitionId(self.dice.roll(partitions as u64) as i32)))
    }

    /// Whoever holds a partition copies some of what it lacks.
    pub(super) fn copy(&mut self, nth: usize) {
        let held = self.instances[nth].flow.all();
        let held = held.filter(|(.., mode)| *mode != Mode::Seal);
        let held: Vec<(MirrorKey, PartitionId)> =
            held.map(|(key, partition, _)| (key.clone(), partition)).collect();
        let most = if self.faults { 1 + self.dice.roll(8) as i64 } else { i64::MAX };
        let at = self.dice.roll(held.len().max(1) as u64) as usize;
        let all = held.len();
        let some = if self.faults { at..all.min(at + 1) } else { 0..all };
        for (key, partition) in &held[some] {
            let Some((source, mirror)) = self.both_ids(nth, key) else { continue };
            let (end, here) = (self.ends.of(source, *partition), self.ends.of(mirror, *partition));
            let next = here.get().saturating_add(most).min(end.get());
            if next > here.get() {
                self.ends.set(mirror, *partition, Offset::new(next).expect("not negative"));
            }
        }
    }

    /// The topics that a mirror topic is of, by the row that an instance has read, where both are
    /// still there.
    pub(super) fn both_ids(&self, nth: usize, key: &MirrorKey) -> Option<(TopicId, TopicId)> {
        let row = self.instances[nth].truth.mirror(key)?;
        let source = self.clusters.source.get(&row.source_topic)?;
        let mirror = self.clusters.mirror.get(&key.1)?;
        let is_same = source.id == row.source_id && Some(mirror.id) == row.mirror_id;
        is_same.then_some((source.id, mirror.id))
    }

    /// Whether nothing of a partition is left at its source; what is gone has nothing left.
    pub(super) fn is_level(&self, nth: usize, key: &MirrorKey, partition: PartitionId) -> bool {
        let Some((source, mirror)) = self.both_ids(nth, key) else { return true };
        self.ends.of(mirror, partition) >= self.ends.of(source, partition)
    }

    /// Where a partition is sealed.
    pub(super) fn seal(&self, nth: usize, key: &MirrorKey, partition: PartitionId) -> Offset {
        let row = self.instances[nth].truth.mirror(key);
        let id = row.and_then(|row| row.mirror_id);
        id.map_or(Offset::ZERO, |id| self.ends.of(id, partition))
    }
}
