//! What tests do to logs without a network: append, transact, compact, delete, read back.
//!
//! It never checks as a broker does: it makes the logs that brokers hold.

use bytes::Bytes;
use bytes::BytesMut;

use crate::broker::batch;
use crate::broker::batch::Build;
use crate::broker::batch::CONTROL;
use crate::broker::batch::Header;
use crate::broker::batch::Record;
use crate::broker::batch::Records;
use crate::broker::batch::TRANSACTIONAL;
use crate::broker::cluster::TestCluster;
use crate::broker::codec;
use crate::broker::codec::Codec;
use crate::broker::log::Batch;
use crate::broker::log::Log;
use crate::broker::old;
use crate::broker::old::Format;
use crate::broker::old::Message;
use crate::broker::state::State;
use crate::broker::validate;

/// A batch as a checker reads it back.
#[derive(Clone, Debug)]
pub struct Stored {
    /// First offset.
    pub base: i64,
    /// The offset after the last one.
    pub next: i64,
    /// Header fields; `None` for an old message.
    pub header: Option<Header>,
    /// The records section, as stored.
    pub section: Bytes,
    /// The records, where they can be read; in `Record::offset_delta` as stored. Of old messages
    /// the time delta is the time itself.
    pub records: Option<Vec<Record>>,
}

/// A log as a checker reads it back.
#[derive(Clone, Debug)]
pub struct Dump {
    /// Log start.
    pub start: i64,
    /// High watermark.
    pub hwm: i64,
    /// Last stable offset.
    pub stable: i64,
    /// Log end.
    pub end: i64,
    /// Every batch that ends behind the start.
    pub batches: Vec<Stored>,
    /// Aborted transactions: producer, first offset, marker.
    pub aborted: Vec<(i64, i64, i64)>,
}

impl TestCluster {
    /// Appends a batch at the leader, unchecked; gives its first offset.
    pub fn append(&self, topic: &str, partition: i32, build: &Build) -> i64 {
        self.append_bytes(topic, partition, &build.bytes())
    }

    /// Appends the bytes of a batch at the leader, unchecked; gives its first offset.
    pub fn append_bytes(&self, topic: &str, partition: i32, bytes: &[u8]) -> i64 {
        let (key, leader) = (self.key(topic, partition), self.leader(topic, partition));
        self.change(|state| {
            let led = state.led(leader, key, -1).expect("the partition has a leader");
            state.append_raw(leader, &led, bytes).expect("a whole v2 batch").0
        })
    }

    /// Appends a batch as the topic's configs make the broker store it; who writes is not judged.
    pub fn append_stored(&self, topic: &str, partition: i32, build: &Build) -> i64 {
        let id = self.key(topic, partition).0;
        let bytes = build.bytes();
        let stored = self.look(|state| {
            let (config, version) = (state.topic_config(id), state.spec.version);
            let header = validate::before_lock(&bytes, &config)?;
            validate::under_lock(&header, &bytes, &config, version, state.now_ms())
        });
        self.append_bytes(topic, partition, &stored.expect("a batch that the broker takes"))
    }

    /// Appends plain batches of so many records each, a millisecond apart from `time_ms` on.
    pub fn fill(&self, topic: &str, partition: i32, time_ms: i64, sizes: &[usize]) {
        for (n, size) in sizes.iter().enumerate() {
            let time_ms = time_ms + n as i64 * 1000;
            self.append(topic, partition, &Build::plain(time_ms, &format!("b{n}"), *size));
        }
    }

    /// Appends a batch to a transaction of `producer` (id, epoch, first sequence).
    pub fn append_txn(
        &self,
        topic: &str,
        partition: i32,
        producer: (i64, i16, i32),
        build: Build,
    ) -> i64 {
        let (id, epoch, sequence) = producer;
        let build = build.producer(id, epoch, sequence).flags(TRANSACTIONAL);
        self.append(topic, partition, &build)
    }

    /// Ends the transaction of a producer with a marker; gives the marker's offset.
    pub fn end_txn(&self, topic: &str, partition: i32, producer: (i64, i16), commit: bool) -> i64 {
        let time_ms = self.look(State::now_ms);
        let ending = Ending { producer, commit, coordinator_epoch: 0 };
        self.append_bytes(topic, partition, &marker(ending, time_ms))
    }

    /// Appends one message of format 0 or 1, as an old log may hold it.
    pub fn append_old(&self, topic: &str, partition: i32, magic: i8, value: &str) -> i64 {
        let format = Format { magic, codec: Codec::None, log_append_time: None };
        let time_ms = self.look(State::now_ms);
        self.append_old_set(topic, partition, format, &[Message::new(time_ms, "", value)])
    }

    /// Appends messages of format 0 or 1; gives the first one's offset.
    pub fn append_old_set(
        &self,
        topic: &str,
        partition: i32,
        format: Format,
        messages: &[Message],
    ) -> i64 {
        let (key, leader) = (self.key(topic, partition), self.leader(topic, partition));
        self.change(|state| {
            let led = state.led(leader, key, -1).expect("the partition has a leader");
            let replica = state.replica_mut(key, leader);
            let base = replica.log.end();
            for (first, next, bytes) in old::write(format, base, messages) {
                replica.log.push(Batch::old(&bytes, first, next, led.epoch));
            }
            state.after_append(leader, &led);
            base
        })
    }

    /// DeleteRecords, done at once at the leader.
    pub fn delete_records(&self, topic: &str, partition: i32, offset: i64) {
        let (key, leader) = (self.key(topic, partition), self.leader(topic, partition));
        self.change(|state| state.raise_start(key, leader, offset));
    }

    /// Retention: raises the start and removes the bytes below it, on every replica.
    pub fn retain_from(&self, topic: &str, partition: i32, offset: i64) {
        self.each_log(topic, partition, |log| {
            log.raise_start(offset);
            log.purge();
        });
    }

    /// Compacts every replica: `keep` says for each readable record whether it stays, by offset.
    /// A batch that loses all records vanishes, or stays empty when `keep_empty`.
    pub fn compact(
        &self,
        topic: &str,
        partition: i32,
        keep_empty: bool,
        mut keep: impl FnMut(i64, &Record) -> bool,
    ) {
        self.each_log(topic, partition, |log| {
            let batches = log.batches().iter();
            let left = batches.filter_map(|batch| thin(batch, keep_empty, &mut keep)).collect();
            log.replace(left);
        });
    }

    /// Compacts as the cleaner does: of every key below `upper` only the last record stays.
    pub fn compact_keys(&self, topic: &str, partition: i32, upper: i64) {
        let mut last = std::collections::BTreeMap::new();
        for batch in self.dump(topic, partition).batches {
            for record in batch.records.into_iter().flatten() {
                last.insert(record.key.clone(), batch.base + i64::from(record.offset_delta));
            }
        }
        self.compact(topic, partition, false, |offset, record| {
            offset >= upper || last.get(&record.key).is_none_or(|last| *last == offset)
        });
    }

    /// Removes the batch that starts at `base` from every replica (a corruption, or a cleaner).
    pub fn remove_batch(&self, topic: &str, partition: i32, base: i64) {
        self.each_log(topic, partition, |log| {
            log.replace(log.batches().iter().filter(|b| b.base != base).cloned().collect());
        });
    }

    /// Changes stored bytes of the batch that holds `offset`, on every replica (a bad disk).
    pub fn corrupt(&self, topic: &str, partition: i32, offset: i64, change: impl Fn(&mut [u8])) {
        self.each_log(topic, partition, |log| {
            let mut batches = log.batches().to_vec();
            if let Some(batch) = batches.iter_mut().find(|b| b.base <= offset && offset < b.next) {
                let mut bytes = BytesMut::from(&batch.bytes[..]);
                change(&mut bytes);
                batch.bytes = bytes.freeze();
                batch.header = batch.header.and_then(|_| Header::read(&batch.bytes));
            }
            log.replace(batches);
        });
    }

    /// Sets topic configs.
    pub fn configure(&self, topic: &str, changes: &[(&str, Option<&str>)]) {
        let owned = |(name, value): &(&str, Option<&str>)| {
            ((*name).to_owned(), value.map(|value| value.to_owned()))
        };
        let changes: Vec<_> = changes.iter().map(owned).collect();
        self.change(|state| state.alter_topic(topic, &changes));
    }

    /// Forgets producers whose records are older than `producer.id.expiration.ms`, now.
    pub fn expire_producers_now(&self, topic: &str, partition: i32) {
        let (now_ms, old) = self.look(|state| (state.now_ms(), state.producer_expiration_ms()));
        self.each_log(topic, partition, |log| log.producers.expire_now(now_ms, old));
    }

    /// The high watermark that a dump would have.
    pub fn hwm(&self, topic: &str, partition: i32) -> i64 {
        let (key, leader) = (self.key(topic, partition), self.leader(topic, partition));
        self.look(|state| {
            let known = state.meta.partition(key);
            let first = known.and_then(|known| known.replicas.first().copied()).unwrap_or(-1);
            state.replica(key, if leader < 0 { first } else { leader }).hwm
        })
    }

    /// The leader's log, or that of the first replica where there is no leader.
    pub fn dump(&self, topic: &str, partition: i32) -> Dump {
        let (key, leader) = (self.key(topic, partition), self.leader(topic, partition));
        let replicas = self.look(|state| state.meta.partition(key).map(|p| p.replicas.clone()));
        let first = replicas.and_then(|replicas| replicas.first().copied()).unwrap_or(-1);
        self.dump_of(topic, partition, if leader < 0 { first } else { leader })
    }

    /// One broker's log.
    pub fn dump_of(&self, topic: &str, partition: i32, broker: i32) -> Dump {
        let key = self.key(topic, partition);
        self.look(|state| {
            let replica = state.replica(key, broker);
            let (log, hwm) = (&replica.log, replica.hwm);
            let (start, end, stable) = (log.start(), log.end(), log.stable(hwm));
            let batches = log.batches()[log.index_of(start)..].iter().map(stored).collect();
            let aborted = log.aborted_in(0, i64::MAX);
            let aborted = aborted.iter().map(|txn| (txn.producer_id, txn.first, txn.last));
            Dump { start, hwm, stable, end, batches, aborted: aborted.collect() }
        })
    }

    fn each_log(&self, topic: &str, partition: i32, mut change: impl FnMut(&mut Log)) {
        let key = self.key(topic, partition);
        self.change(|state| {
            let replicas = state.replicas.range_mut((key, i32::MIN)..=(key, i32::MAX));
            replicas.for_each(|(_, replica)| change(&mut replica.log));
        });
    }
}

/// A batch with its records, where they can be read.
pub fn stored(batch: &Batch) -> Stored {
    let records = match batch.header.map(|header| batch::look(&header, &batch.bytes)) {
        Some(Records::Read(records)) => Some(records),
        Some(_) => None,
        None => old::read(&batch.bytes).map(|(_, messages)| {
            messages.into_iter().map(|message| old_record(batch.base, message)).collect()
        }),
    };
    let section = Bytes::copy_from_slice(batch.section());
    Stored { base: batch.base, next: batch.next, header: batch.header, section, records }
}

/// An old message as a record; its time delta is the time itself.
fn old_record(base: i64, message: Message) -> Record {
    let offset_delta = (message.offset - base) as i32;
    let Message { time, key, value, .. } = message;
    Record { offset_delta, timestamp_delta: time, key, value, ..Record::default() }
}

/// How a transaction ends.
#[derive(Copy, Clone, Debug)]
pub struct Ending {
    /// Whose: id and epoch.
    pub producer: (i64, i16),
    /// Commit, or abort.
    pub commit: bool,
    /// The coordinator that says so.
    pub coordinator_epoch: i32,
}

/// A control batch with one marker: 78 bytes (broker-facts M1).
pub fn marker(ending: Ending, time_ms: i64) -> Bytes {
    let key = Bytes::copy_from_slice(&[0, 0, 0, u8::from(ending.commit)]);
    let value = [&[0, 0], &ending.coordinator_epoch.to_be_bytes()[..]].concat();
    let record = Record { key: Some(key), value: Some(value.into()), ..Record::default() };
    Build::new(time_ms, vec![record])
        .producer(ending.producer.0, ending.producer.1, -1)
        .flags(TRANSACTIONAL | CONTROL)
        .bytes()
}

/// What a cleaner leaves of a batch: base offset and last offset delta stay, the count shrinks.
fn thin(
    batch: &Batch,
    keep_empty: bool,
    keep: &mut impl FnMut(i64, &Record) -> bool,
) -> Option<Batch> {
    let Some(mut header) = batch.header else { return Some(batch.clone()) };
    let Records::Read(records) = batch::look(&header, &batch.bytes) else {
        return Some(batch.clone());
    };
    let before = records.len();
    let left: Vec<Record> = records
        .into_iter()
        .filter(|record| keep(batch.base + i64::from(record.offset_delta), record))
        .collect();
    if left.len() == before {
        return Some(batch.clone());
    }
    if left.is_empty() && !keep_empty {
        return None;
    }
    header.count = left.len() as i32;
    if left.is_empty() {
        // A9: an empty batch is 61 bytes, count 0, base timestamp -1
        header.base_timestamp = -1;
        header.attributes &= !7;
        return Batch::read(header.write(&[]));
    }
    let times = left.iter().map(|record| header.base_timestamp + record.timestamp_delta);
    header.max_timestamp = times.max().unwrap_or(-1);
    let mut plain = BytesMut::new();
    left.iter().for_each(|record| batch::put_record(&mut plain, record));
    let codec = header.codec().unwrap_or(Codec::None);
    Batch::read(header.write(&codec::store(codec, &plain)))
}
