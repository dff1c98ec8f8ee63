//! The log cleaner and retention, as `Cleaner`, `MemoryRecords.filterTo` and `UnifiedLog` do them.
//!
//! It never moves a log's end, and never looks at what is not yet stable.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use bytes::Bytes;
use bytes::BytesMut;

use crate::broker::batch;
use crate::broker::batch::CONTROL;
use crate::broker::batch::DELETE_HORIZON;
use crate::broker::batch::Header;
use crate::broker::batch::LOG_APPEND_TIME;
use crate::broker::batch::Record;
use crate::broker::batch::Records;
use crate::broker::batch::TRANSACTIONAL;
use crate::broker::cluster::TestCluster;
use crate::broker::codec;
use crate::broker::codec::Codec;
use crate::broker::log::Aborted;
use crate::broker::log::Batch;
use crate::broker::log::Log;
use crate::broker::old;
use crate::broker::spec::Version;

/// What bounds one pass.
#[derive(Copy, Clone, Debug)]
pub struct Pass {
    /// Batches that end behind it stay: the active segment begins there.
    pub upper: i64,
    /// The broker's clock, in ms since 1970.
    pub now_ms: i64,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// Since 3.1 (KIP-534) a batch itself says until when its tombstones and markers stay.
    pub has_horizon: bool,
}

/// Why a partition cannot be cleaned; the broker marks it so and leaves it alone for good.
pub type Uncleanable = String;

/// What one pass leaves of a log.
#[derive(Debug, Default)]
pub struct Left {
    /// The batches; holes between them.
    pub batches: Vec<Batch>,
    /// Entries of the transaction index that stay.
    pub aborted: Vec<Aborted>,
}

/// One pass over a log.
pub fn clean(log: &Log, pass: &Pass) -> Result<Left, Uncleanable> {
    let latest = latest_offsets(log, pass);
    let mut transactions = Transactions::new(log);
    let mut left = Left::default();
    for batch in log.batches() {
        if batch.next > pass.upper {
            left.batches.push(batch.clone());
            continue;
        }
        let discard = transactions.read(batch);
        left.batches.extend(clean_batch(log, batch, discard, &latest, pass)?);
    }
    let above = log.aborted_in(pass.upper, i64::MAX).into_iter().filter(|t| t.last >= pass.upper);
    left.aborted = transactions.kept;
    left.aborted.extend(above);
    Ok(left)
}

/// The last offset of each key below the bound, markers and aborted records aside.
fn latest_offsets(log: &Log, pass: &Pass) -> BTreeMap<Bytes, i64> {
    let mut transactions = Transactions::new(log);
    let mut latest = BTreeMap::new();
    for batch in log.batches().iter().filter(|batch| batch.next <= pass.upper) {
        if transactions.read(batch) || batch.is_control() {
            continue;
        }
        for (offset, key, _) in keyed(batch) {
            // a hidden filler's own offset lies below 2^31 of its place (broker-facts A10, H3)
            if let (Some(key), true) = (key, offset >= 0) {
                latest.insert(key, offset);
            }
        }
    }
    latest
}

/// Offset, key, and whether there is a value, of each record of a batch.
fn keyed(batch: &Batch) -> Vec<(i64, Option<Bytes>, bool)> {
    let Some(header) = batch.header else {
        let read = old::read(&batch.bytes).map(|(_, messages)| messages).unwrap_or_default();
        return read.into_iter().map(|m| (m.offset, m.key, m.value.is_some())).collect();
    };
    let Records::Read(records) = batch::look(&header, &batch.bytes) else { return Vec::new() };
    let one = |record: Record| {
        let offset = batch.base + i64::from(record.offset_delta);
        (offset, record.key, record.value.is_some())
    };
    records.into_iter().map(one).collect()
}

/// `CleanedTransactionMetadata`: which transactions a pass has met.
struct Transactions {
    coming: Vec<Aborted>,
    aborted: BTreeMap<i64, (Aborted, bool)>,
    committed: BTreeSet<i64>,
    kept: Vec<Aborted>,
}

impl Transactions {
    fn new(log: &Log) -> Self {
        let mut coming = log.aborted_in(0, i64::MAX);
        coming.sort_by_key(|txn| std::cmp::Reverse(txn.first));
        let (aborted, committed) = (BTreeMap::new(), BTreeSet::new());
        Self { coming, aborted, committed, kept: Vec::new() }
    }

    /// Notes a batch; whether it may be discarded: of an aborted transaction, or a marker of one
    /// that has left nothing.
    fn read(&mut self, batch: &Batch) -> bool {
        while let Some(txn) = self.coming.pop_if(|txn| txn.first < batch.next) {
            self.aborted.entry(txn.producer_id).or_insert((txn, false));
        }
        let Some(header) = batch.header.filter(|header| header.has(TRANSACTIONAL)) else {
            return false;
        };
        if !header.has(CONTROL) {
            if let Some((_, is_seen)) = self.aborted.get_mut(&header.producer_id) {
                *is_seen = true;
                return true;
            }
            self.committed.insert(header.producer_id);
            return false;
        }
        self.read_marker(batch, &header)
    }

    fn read_marker(&mut self, batch: &Batch, header: &Header) -> bool {
        if header.count == 0 {
            return true;
        }
        if crate::broker::log::Marker::read(batch.section()).commit {
            return !self.committed.remove(&header.producer_id);
        }
        match self.aborted.remove(&header.producer_id) {
            Some((txn, true)) => {
                self.kept.push(txn);
                false
            }
            _ => true,
        }
    }
}

fn clean_batch(
    log: &Log,
    batch: &Batch,
    discard: bool,
    latest: &BTreeMap<Bytes, i64>,
    pass: &Pass,
) -> Result<Option<Batch>, Uncleanable> {
    let Some(header) = batch.header else { return Ok(clean_old(batch, latest)) };
    let Records::Read(records) = batch::look(&header, &batch.bytes) else {
        return Ok(Some(batch.clone()));
    };
    let is_control = header.has(CONTROL);
    let all_go = discard && (!is_control || is_past_horizon(&header, pass));
    let keeps = |record: &Record| {
        !all_go && (is_control || is_latest(batch.base, &header, record, latest, pass))
    };
    let before = records.len();
    let kept: Vec<Record> = records.into_iter().filter(keeps).collect();
    if kept.is_empty() {
        let stays = header.producer_id >= 0 && is_last_of_producer(log, batch, &header);
        return Ok(stays.then(|| empty(header)).flatten());
    }
    let tombstones = kept.iter().any(|record| record.value.is_none());
    let needs_horizon =
        pass.has_horizon && (tombstones || (discard && is_control)) && !header.has(DELETE_HORIZON);
    if kept.len() == before && !needs_horizon {
        return Ok(Some(batch.clone()));
    }
    let horizon = if needs_horizon {
        Some(pass.now_ms + pass.delete_retention_ms)
    } else {
        header.has(DELETE_HORIZON).then_some(header.base_timestamp)
    };
    rebuild(header, kept, horizon).map(Some)
}

/// Whether tombstones and markers of a batch have stayed for long enough.
fn is_past_horizon(header: &Header, pass: &Pass) -> bool {
    if pass.has_horizon {
        return header.has(DELETE_HORIZON) && header.base_timestamp <= pass.now_ms;
    }
    header.max_timestamp + pass.delete_retention_ms <= pass.now_ms
}

fn is_latest(
    base: i64,
    header: &Header,
    record: &Record,
    latest: &BTreeMap<Bytes, i64>,
    pass: &Pass,
) -> bool {
    let Some(key) = &record.key else { return false };
    let offset = base + i64::from(record.offset_delta);
    let is_latest = offset >= latest.get(key).copied().unwrap_or(-1);
    is_latest && (record.value.is_some() || !is_past_horizon(header, pass))
}

/// Whether the log's knowledge of a producer hangs on this batch.
fn is_last_of_producer(log: &Log, batch: &Batch, header: &Header) -> bool {
    let known = log.producers.iter().find(|(id, _)| *id == header.producer_id);
    known.is_some_and(|(_, producer)| match producer.seen.back() {
        Some(last) => last.next == batch.next,
        None => header.has(CONTROL) && producer.epoch == header.producer_epoch,
    })
}

/// 61 bytes that keep a producer's place (broker-facts A9).
fn empty(mut header: Header) -> Option<Batch> {
    header.count = 0;
    header.base_timestamp = -1;
    header.attributes &= LOG_APPEND_TIME | TRANSACTIONAL | CONTROL;
    Batch::read(header.write(&[]))
}

/// The kept records under the batch's own base offset and span; with a horizon the base time *is*
/// the horizon, and the deltas count from it.
fn rebuild(
    mut header: Header,
    mut kept: Vec<Record>,
    horizon: Option<i64>,
) -> Result<Batch, Uncleanable> {
    let is_brokers = header.has(LOG_APPEND_TIME);
    let time_of = |record: &Record| match is_brokers {
        true => header.max_timestamp,
        false => header.base_timestamp + record.timestamp_delta,
    };
    let times: Vec<i64> = kept.iter().map(time_of).collect();
    let base_time = horizon.unwrap_or(times[0]);
    let (mut plain, mut before) = (BytesMut::new(), None);
    for (record, time) in kept.iter_mut().zip(&times) {
        // MemoryRecordsBuilder.appendWithOffset
        if before.is_some_and(|before| record.offset_delta <= before) {
            let base = header.base_offset;
            return Err(format!("Illegal offset following another one in the batch at {base}"));
        }
        before = Some(record.offset_delta);
        record.timestamp_delta = time - base_time;
        batch::put_record(&mut plain, record);
    }
    header.count = kept.len() as i32;
    header.base_timestamp = base_time;
    header.max_timestamp = times.iter().copied().max().unwrap_or(-1);
    header.attributes &= !DELETE_HORIZON;
    header.attributes |= if horizon.is_some() { DELETE_HORIZON } else { 0 };
    let codec = header.codec().unwrap_or(Codec::None);
    let bytes = header.write(&codec::store(codec, &plain));
    Batch::read(bytes).ok_or_else(|| "no batch came out".to_owned())
}

/// An old unit: messages without a key or with a later one of the same key go.
fn clean_old(batch: &Batch, latest: &BTreeMap<Bytes, i64>) -> Option<Batch> {
    let Some((format, messages)) = old::read(&batch.bytes) else { return Some(batch.clone()) };
    let before = messages.len();
    let is_latest = |message: &old::Message| {
        let last = message.key.as_ref().and_then(|key| latest.get(key));
        last.is_some_and(|last| message.offset >= *last)
    };
    let kept: Vec<old::Message> = messages.into_iter().filter(is_latest).collect();
    if kept.len() == before {
        return Some(batch.clone());
    }
    let offsets: Vec<i64> = kept.iter().map(|message| message.offset).collect();
    let (first, last) = (*offsets.first()?, *offsets.last()?);
    let bytes = old::wrap(format, &offsets, &kept);
    Some(Batch::old(&bytes, first, last + 1, batch.epoch))
}

impl TestCluster {
    /// One pass of the cleaner on every replica, each over what it holds, up to `upper` at most
    /// and never beyond what is stable. Nothing where the topic is not compacted.
    pub fn clean(&self, topic: &str, partition: i32, upper: i64) {
        let key = self.key(topic, partition);
        let replicas = self.look(|state| {
            let of_key = state.replicas.range((key, i32::MIN)..=(key, i32::MAX));
            of_key.map(|((_, broker), _)| *broker).collect::<Vec<_>>()
        });
        replicas.into_iter().for_each(|broker| self.clean_at(broker, topic, partition, upper));
    }

    /// One pass of one broker's cleaner: replicas are cleaned each by itself.
    pub fn clean_at(&self, broker: i32, topic: &str, partition: i32, upper: i64) {
        let key = self.key(topic, partition);
        self.change(|state| {
            let (config, now_ms) = (state.topic_config(key.0), state.now_ms());
            let has_horizon = state.spec.version > Version::V2_8;
            let replica = state.replica_mut(key, broker);
            if !config.compacts || replica.log.uncleanable.is_some() {
                return;
            }
            let upper = upper.min(replica.log.stable(replica.hwm));
            let delete_retention_ms = config.delete_retention_ms;
            let pass = Pass { upper, now_ms, delete_retention_ms, has_horizon };
            match clean(&replica.log, &pass) {
                Ok(left) => replica.log.take_cleaned(left),
                Err(reason) => replica.log.uncleanable = Some(reason),
            }
        });
    }

    /// What the cleaner says of a partition that it cannot clean, on any replica.
    pub fn uncleanable(&self, topic: &str, partition: i32) -> Option<Uncleanable> {
        let key = self.key(topic, partition);
        self.look(|state| {
            let mut of_key = state.replicas.range((key, i32::MIN)..=(key, i32::MAX));
            of_key.find_map(|(_, replica)| replica.log.uncleanable.clone())
        })
    }

    /// Deletes what is older than `retention.ms`, batch by batch from the front; a batch without
    /// any time is as young as its file. Nothing where the topic deletes nothing.
    pub fn expire_records(&self, topic: &str, partition: i32) {
        let key = self.key(topic, partition);
        let (config, now_ms) = self.look(|state| (state.topic_config(key.0), state.now_ms()));
        if !config.deletes || config.retention_ms < 0 {
            return;
        }
        let is_old = |batch: &&Batch| {
            let time = batch.max_timestamp();
            time >= 0 && now_ms - time > config.retention_ms
        };
        let dump = self.dump(topic, partition);
        let start = self.look(|state| {
            let leader = state.meta.partition(key).map_or(-1, |p| p.leader);
            let log = &state.replicas.get(&(key, leader))?.log;
            let from = log.index_of(log.start());
            log.batches()[from..].iter().take_while(is_old).map(|batch| batch.next).last()
        });
        if let Some(start) = start.map(|start| start.min(dump.hwm)).filter(|s| *s > dump.start) {
            self.retain_from(topic, partition, start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::batch::Build;
    use crate::broker::direct::Ending;
    use crate::broker::direct::marker;

    const NOW: i64 = 1_000_000;

    fn log(batches: &[Bytes]) -> Log {
        let mut log = Log::default();
        for batch in batches {
            log.append(batch, 0).unwrap();
        }
        log
    }

    fn pass(log: &Log, now_ms: i64) -> Pass {
        Pass { upper: log.end(), now_ms, delete_retention_ms: 500, has_horizon: true }
    }

    fn cleaned(log: &mut Log, now_ms: i64) {
        let left = clean(log, &pass(log, now_ms)).unwrap();
        log.take_cleaned(left);
    }

    fn records(keys: &[(&str, Option<&str>)]) -> Build {
        let one = |(key, value): &(&str, Option<&str>)| Record {
            value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
            ..Record::new(key, "")
        };
        Build::new(NOW - 100, keys.iter().map(one).collect())
    }

    #[test]
    fn a_thinned_batch_keeps_its_base_and_span() {
        let first = records(&[("a", Some("1")), ("b", Some("1")), ("c", Some("1"))]);
        let second = records(&[("a", Some("2")), ("c", Some("2"))]);
        let mut log = log(&[first.codec(Codec::Gzip).bytes(), second.bytes()]);
        cleaned(&mut log, NOW);
        let thin = &log.batches()[0];
        let header = thin.header.unwrap();
        assert_eq!((thin.base, thin.next, header.count), (0, 3, 1));
        // the first kept record's time is the new base
        assert_eq!((header.base_timestamp, header.max_timestamp), (NOW - 99, NOW - 99));
        assert_eq!(keyed(thin), [(1, Some(Bytes::from_static(b"b")), true)]);
        assert_eq!(log.end(), 5);
    }

    #[test]
    fn a_batch_without_records_goes_but_for_a_producers_last() {
        let gone = records(&[("a", Some("1"))]);
        let kept = records(&[("a", Some("2"))]).producer(7, 0, 0);
        let mut log = log(&[gone.bytes(), kept.bytes(), records(&[("a", Some("3"))]).bytes()]);
        cleaned(&mut log, NOW);
        let spans: Vec<_> = log.batches().iter().map(|b| (b.base, b.next, b.bytes.len())).collect();
        assert_eq!(spans[0], (1, 2, 61));
        let header = log.batches()[0].header.unwrap();
        assert_eq!((header.count, header.base_timestamp, header.max_timestamp), (0, -1, NOW - 100));
    }

    #[test]
    fn a_tombstone_gets_a_horizon_and_goes_when_it_is_past() {
        let mut log = log(&[records(&[("a", Some("1")), ("b", None)]).bytes()]);
        cleaned(&mut log, NOW);
        let header = log.batches()[0].header.unwrap();
        assert!(header.has(DELETE_HORIZON));
        assert_eq!((header.base_timestamp, header.max_timestamp), (NOW + 500, NOW - 99));
        let Records::Read(kept) = batch::look(&header, &log.batches()[0].bytes) else { panic!() };
        assert_eq!(kept.iter().map(|r| r.timestamp_delta).collect::<Vec<_>>(), [-600, -599]);
        cleaned(&mut log, NOW + 499);
        assert_eq!(log.batches()[0].header.unwrap().count, 2);
        cleaned(&mut log, NOW + 500);
        assert_eq!(log.batches()[0].header.unwrap().count, 1);
    }

    #[test]
    fn aborted_records_go_at_once_and_the_marker_after_its_horizon() {
        let data = records(&[("a", Some("x"))]).producer(7, 0, 0).flags(TRANSACTIONAL);
        let plain = records(&[("a", Some("1"))]);
        let ending = Ending { producer: (7, 0), commit: false, coordinator_epoch: 0 };
        let mut log = log(&[plain.bytes(), data.bytes(), marker(ending, NOW)]);
        assert_eq!(log.aborted_in(0, 9).len(), 1);
        cleaned(&mut log, NOW);
        // the aborted value did not beat the committed one; its batch keeps the producer's place
        assert_eq!(keyed(&log.batches()[0]).len(), 1);
        assert_eq!(log.batches()[1].bytes.len(), 61);
        assert_eq!(log.batches()[2].header.unwrap().count, 1);
        log.producers.expire_now(i64::MAX / 2, 1);
        cleaned(&mut log, NOW);
        assert_eq!(log.batches().iter().map(|b| b.base).collect::<Vec<_>>(), [0, 2]);
        cleaned(&mut log, NOW);
        assert!(log.batches()[1].header.unwrap().has(DELETE_HORIZON));
        assert_eq!(log.aborted_in(0, 9), []);
        cleaned(&mut log, NOW + 500);
        assert_eq!(log.batches().iter().map(|b| b.base).collect::<Vec<_>>(), [0]);
        assert_eq!(log.end(), 3);
    }

    #[test]
    fn hidden_fillers_go_below_two_to_the_31_and_break_the_cleaner_above() {
        let fillers = Build::fillers(NOW, 3, Some(Bytes::new()));
        let mut low = log(&[records(&[("a", Some("1"))]).bytes(), fillers.bytes()]);
        cleaned(&mut low, NOW);
        assert_eq!(low.batches().len(), 1);
        let mut high = Log::default();
        high.raise_start(1 << 32);
        high.append(&fillers.bytes(), 0).unwrap();
        let left = clean(&high, &pass(&high, NOW)).unwrap();
        assert_eq!(left.batches[0].header.unwrap().count, 3);
        let dead = Build::fillers(NOW, 3, None);
        let dead = Build {
            records: dead
                .records
                .into_iter()
                .map(|record| Record { key: Some(Bytes::new()), ..record })
                .collect(),
            ..dead
        };
        high.append(&dead.bytes(), 0).unwrap();
        assert!(clean(&high, &pass(&high, NOW)).unwrap_err().contains("Illegal offset"));
    }
}
