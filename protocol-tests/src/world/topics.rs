//! The topics of a world: what is written into them, cleaned out of them and cut off them.
//!
//! It never touches the destination but to clean it, and never asks isolog.

use crate::broker::TestCluster;
use crate::broker::batch::Build;
use crate::broker::codec::Codec;
use crate::broker::direct::Dump;
use crate::rng::Rng;
use crate::world::kinds::Kind;
use crate::world::kinds::Trait;
use crate::world::kinds::Writer;
use crate::world::verdict::History;
use crate::world::verdict::Rules;
use crate::world::verdict::judge;

/// Producers in transactions per partition: they interleave.
const WRITERS: i64 = 3;

/// A topic at the source.
pub struct Topic {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// What is known of each partition.
    pub partitions: Vec<Partition>,
}

/// A partition at the source, and what became of it.
#[derive(Default)]
pub struct Partition {
    writers: Vec<Writer>,
    /// What readers of the source could ever see.
    pub history: History,
    /// The destination's cleaner ran.
    pub is_cleaned: bool,
}

/// Where and how old the records are that a world writes.
pub struct Pen<'a> {
    /// The source.
    pub source: &'a TestCluster,
    /// The world's dice.
    pub rng: &'a mut Rng,
    /// How far back their times lie, in ms.
    pub age_ms: i64,
    /// How many records were written before.
    pub written: &'a mut u64,
}

impl Pen<'_> {
    fn time(&self) -> i64 {
        self.source.look(|state| state.now_ms()) - self.age_ms
    }

    fn codec(&mut self) -> Codec {
        Codec::ALL[self.rng.between(0, 4) as usize]
    }
}

impl Topic {
    /// A topic of this kind; its partitions are `grow`n.
    pub fn new(name: &str, kind: Kind) -> Self {
        Self { name: name.to_owned(), kind, partitions: Vec::new() }
    }

    /// How many partitions it has.
    pub fn count(&self) -> i32 {
        self.partitions.len() as i32
    }

    /// Writes down partitions that the source has made, with what lies in such a log from the
    /// beginning: old messages, and records that are cut off before anybody reads them.
    pub fn grow(&mut self, count: i32, pen: &mut Pen) {
        for number in self.count()..count {
            self.partitions.push(Partition::default());
            if self.kind.has(Trait::Old) {
                self.write_old(number, pen);
            }
            if self.kind.has(Trait::Trimmed) {
                (0..pen.rng.between(1, 5)).for_each(|_| self.write_batch(number, pen));
                let end = pen.source.dump(&self.name, number).end as u64;
                self.trim(number, pen.rng.between(1, end) as i64, pen);
            }
        }
    }

    fn write_old(&mut self, partition: i32, pen: &mut Pen) {
        for _ in 0..pen.rng.between(1, 4) {
            let (time, first) = (pen.time(), *pen.written);
            let (format, messages) = self.kind.messages(pen.rng, time, first);
            *pen.written += messages.len() as u64;
            pen.source.append_old_set(&self.name, partition, format, &messages);
        }
        self.write_batch(partition, pen);
    }

    /// A batch of a few records, plain or in a transaction; nothing while nobody leads.
    pub fn write(&mut self, partition: i32, pen: &mut Pen) {
        if pen.source.leader(&self.name, partition) < 0 {
            return;
        }
        if self.kind.has(Trait::Transactional) && pen.rng.chance(300) {
            self.end_one(partition, pen);
        }
        self.write_batch(partition, pen);
    }

    fn write_batch(&mut self, partition: i32, pen: &mut Pen) {
        let count = if pen.rng.chance(20) { 400 } else { pen.rng.between(1, 20) };
        let (codec, time) = (pen.codec(), pen.time());
        let records = self.kind.records(pen.rng, *pen.written, count);
        *pen.written += count;
        let mut build = Build::new(time, records).codec(codec);
        if self.kind.has(Trait::Transactional) && pen.rng.chance(700) {
            build = self.writer(partition, pen).sign(build);
        }
        pen.source.append_stored(&self.name, partition, &build);
    }

    fn writer(&mut self, partition: i32, pen: &mut Pen) -> &mut Writer {
        let writers = &mut self.partitions[partition as usize].writers;
        if writers.is_empty() {
            let new = |n| Writer::new(9_000 + n, pen.rng.chance(500));
            writers.extend((0..WRITERS).map(new));
        }
        &mut writers[pen.rng.between(0, WRITERS as u64 - 1) as usize]
    }

    /// Ends one transaction, if one is open.
    fn end_one(&mut self, partition: i32, pen: &mut Pen) {
        let writers = &mut self.partitions[partition as usize].writers;
        let Some(writer) = writers.iter_mut().find(|writer| writer.is_open) else { return };
        let (producer, commit) = (writer.end(), pen.rng.chance(600));
        pen.source.end_txn(&self.name, partition, producer, commit);
        // the next one to end is another one
        writers.rotate_left(1);
    }

    /// Ends every transaction, and closes the log with a batch that no cleaner takes.
    pub fn finish(&mut self, pen: &mut Pen) {
        for partition in 0..self.count() {
            while self.partitions[partition as usize].writers.iter().any(|one| one.is_open) {
                self.end_one(partition, pen);
            }
            let records = self.kind.records(pen.rng, *pen.written, 1);
            *pen.written += 1;
            let build = Build::new(pen.time(), records);
            pen.source.append_stored(&self.name, partition, &build);
        }
    }

    /// Who trims goes on trimming: what a crash brought back goes again, once the copy is beyond
    /// it. Before, that would be a halt by itself.
    pub fn trim_again(&self, source: &TestCluster, destination: &TestCluster) {
        for (number, partition) in (0..).zip(&self.partitions) {
            let start = partition.history.start_max();
            let is_back = source.dump(&self.name, number).start < start;
            let is_copied = || {
                let there = has(destination, &self.name, number);
                there && destination.dump(&self.name, number).hwm >= start
            };
            if is_back && is_copied() {
                source.retain_from(&self.name, number, start);
            }
        }
    }

    /// Notes what the source shows, before something of it goes.
    pub fn note(&mut self, partition: i32, source: &TestCluster) {
        let log = source.dump(&self.name, partition);
        self.partitions[partition as usize].history.note(&log);
    }

    /// Runs the cleaner of one replica or of all, up to any batch.
    pub fn clean(&mut self, partition: i32, pen: &mut Pen) {
        self.note(partition, pen.source);
        let borders: Vec<i64> =
            pen.source.dump(&self.name, partition).batches.iter().map(|b| b.base).collect();
        if borders.is_empty() {
            return;
        }
        let upper = borders[pen.rng.between(0, borders.len() as u64 - 1) as usize];
        let key = pen.source.key(&self.name, partition);
        let replicas = pen.source.look(|state| {
            state.meta.partition(key).map(|one| one.replicas.clone()).unwrap_or_default()
        });
        if pen.rng.chance(500) {
            pen.source.clean(&self.name, partition, upper);
        } else {
            let at = replicas[pen.rng.between(0, replicas.len() as u64 - 1) as usize];
            pen.source.clean_at(at, &self.name, partition, upper);
        }
    }

    /// Moves the log start: by DeleteRecords, or as retention does it.
    pub fn trim(&mut self, partition: i32, to: i64, pen: &mut Pen) {
        if pen.source.leader(&self.name, partition) < 0 {
            return;
        }
        self.note(partition, pen.source);
        let hwm = pen.source.dump(&self.name, partition).hwm;
        if pen.rng.chance(500) {
            pen.source.delete_records(&self.name, partition, to.min(hwm));
        } else {
            pen.source.retain_from(&self.name, partition, to.min(hwm));
        }
        // the new start too: a crash may take it back
        self.note(partition, pen.source);
    }
}

/// Panics with whatever does not hold; gives the copy.
pub fn assert_right(
    source: &TestCluster,
    destination: &TestCluster,
    topic: &Topic,
    number: i32,
) -> Dump {
    let partition = &topic.partitions[number as usize];
    let (log, copy) = (source.dump(&topic.name, number), destination.dump(&topic.name, number));
    let compacted = topic.kind.has(Trait::Compacted);
    let rules = Rules { compacted, cleaned: partition.is_cleaned, merged: true };
    let mut found = judge(&log, &partition.history, &copy, rules);
    for cluster in [source, destination] {
        found.extend(cluster.uncleanable(&topic.name, number));
    }
    let (count, kind) = (found.len(), &topic.kind);
    found.truncate(20);
    let all = found.join("\n");
    assert!(found.is_empty(), "{}-{number} {kind:?}: {count} differences:\n{all}", topic.name);
    copy
}

/// Whether every partition of a topic is led.
pub fn has_leaders(cluster: &TestCluster, topic: &Topic) -> bool {
    (0..topic.count()).all(|number| cluster.leader(&topic.name, number) >= 0)
}

/// Whether a cluster has the partition.
pub fn has(cluster: &TestCluster, topic: &str, partition: i32) -> bool {
    cluster.look(|state| {
        let topic = state.meta.topics().get(topic);
        topic.is_some_and(|topic| topic.partitions.len() as i32 > partition)
    })
}

/// The destination's cleaner: mirror topics are compacted too.
pub fn clean_copy(destination: &TestCluster, topic: &mut Topic, partition: i32) {
    if has(destination, &topic.name, partition) {
        let copy = destination.dump(&topic.name, partition);
        let upper = copy.batches.last().map_or(0, |batch| batch.base);
        destination.clean(&topic.name, partition, upper);
        topic.partitions[partition as usize].is_cleaned = true;
    }
}
