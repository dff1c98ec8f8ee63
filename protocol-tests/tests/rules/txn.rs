//! Rules A5 of broker-facts and what a fetch shows of transactions: markers, the stable end, the
//! aborted list.
//!
//! It never asks a transaction coordinator: brokers here do not verify (`on_real_cluster`), and
//! markers are written by hand.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::*;
use protocol_tests::broker::Build;
use protocol_tests::broker::batch::CONTROL;
use protocol_tests::broker::batch::HEADER_BYTES;
use protocol_tests::broker::batch::Header;
use protocol_tests::broker::batch::PREFIX_BYTES;
use protocol_tests::broker::batch::TRANSACTIONAL;
use protocol_tests::raw::Raw;

use crate::lab::Ack;
use crate::lab::Lab;
use crate::lab::OK;
use crate::lab::Topic;
use crate::lab::ack;
use crate::lab::fetch_partition;
use crate::lab::text;

const PID: i64 = 4_611_686_018_427_387_907;
const OTHER: i64 = PID + 1;
const OUT_OF_ORDER: i16 = 45;
const OLD_EPOCH: i16 = 47;
const OLD_COORDINATOR: i16 = 52;
/// A control batch with one marker.
const MARKER_BYTES: usize = 78;

/// A marker to write.
#[derive(Copy, Clone)]
pub struct Mark {
    pid: i64,
    epoch: i16,
    commit: bool,
    coordinator: i32,
}

pub const COMMIT: Mark = Mark { pid: PID, epoch: 0, commit: true, coordinator: 0 };
pub const ABORT: Mark = Mark { commit: false, ..COMMIT };

/// The request for these markers, all for partition 0 so many times.
fn marks(topic: &Topic, marks: &[Mark], times: usize) -> WriteTxnMarkersRequest {
    let one = |mark: &Mark| {
        let name = TopicName(text(&topic.name));
        let topic = write_txn_markers_request::WritableTxnMarkerTopic::default()
            .with_name(name)
            .with_partition_indexes(vec![0; times]);
        write_txn_markers_request::WritableTxnMarker::default()
            .with_producer_id(ProducerId(mark.pid))
            .with_producer_epoch(mark.epoch)
            .with_transaction_result(mark.commit)
            .with_coordinator_epoch(mark.coordinator)
            .with_topics(vec![topic])
    };
    WriteTxnMarkersRequest::default().with_markers(marks.iter().map(one).collect())
}

/// Writes markers; the code of each producer.
pub async fn mark(raw: &mut Raw, topic: &Topic, all: &[Mark]) -> Vec<i16> {
    let answer = raw.call(1, &marks(topic, all, 1)).await.unwrap();
    answer.markers.iter().map(|one| one.topics[0].partitions[0].error_code).collect()
}

/// Appends to a transaction that no coordinator knows of.
pub async fn append_txn(lab: &Lab, raw: &mut Raw, topic: &Topic, build: &Build) -> Ack {
    let batch = build.clone().flags(TRANSACTIONAL).bytes();
    // from version 12 on the broker would tell the coordinator
    let version = lab.produce_version().min(11);
    let request = lab.produce_request(topic, &[Some(batch)], version);
    let request = request.with_transactional_id(Some(TransactionalId(text("by-hand"))));
    ack(&raw.call(version, &request).await.unwrap())
}

fn data(lab: &Lab, pid: i64, sequence: i32, count: usize) -> Build {
    Build::plain(lab.now_ms(), "t", count).producer(pid, 0, sequence)
}

/// A read_committed fetch.
async fn committed(
    lab: &Lab,
    raw: &mut Raw,
    topic: &Topic,
    from: i64,
) -> fetch_response::PartitionData {
    let request = lab.fetch_request(topic, fetch_partition(from, 10 << 20));
    let answer = raw.call(lab.fetch_version(), &request.with_isolation_level(1)).await.unwrap();
    let one = answer.responses[0].partitions[0].clone();
    assert_eq!(one.error_code, OK);
    one
}

/// Producer and first offset of each aborted transaction in an answer.
fn aborted(answer: &fetch_response::PartitionData) -> Vec<(i64, i64)> {
    let list = answer.aborted_transactions.clone().unwrap_or_default();
    let mut list: Vec<_> = list.iter().map(|txn| (txn.producer_id.0, txn.first_offset)).collect();
    list.sort_unstable();
    list
}

/// The headers of stored batches.
pub fn headers(mut stored: &[u8]) -> Vec<Header> {
    let mut headers = Vec::new();
    while let Some(header) = Header::read(stored) {
        headers.push(header);
        let len = PREFIX_BYTES + header.length as usize;
        stored = stored.get(len..).unwrap_or_default();
    }
    headers
}

async fn stable(lab: &Lab, raw: &mut Raw, topic: &Topic) -> (i64, i64) {
    let answer = committed(lab, raw, topic, 0).await;
    (answer.last_stable_offset, answer.high_watermark)
}

pub async fn m01_a_marker_of_an_invented_id(lab: &Lab) {
    for one in [COMMIT, ABORT] {
        let topic = lab.topic(&[]).await;
        let mut raw = lab.connect().await;
        lab.produce(&mut raw, &topic, data(lab, OTHER, 0, 2).bytes()).await;
        assert_eq!(mark(&mut raw, &topic, &[one]).await, [OK]);
        assert_eq!(lab.end(&mut raw, &topic).await, 3);
        assert_eq!(stable(lab, &mut raw, &topic).await, (3, 3));
        let stored = lab.stored(&mut raw, &topic, 2).await;
        let header = Header::read(&stored).unwrap();
        assert_eq!((stored.len(), header.base_offset, header.count), (MARKER_BYTES, 2, 1));
        assert!(header.has(CONTROL) && header.has(TRANSACTIONAL));
        assert_eq!((header.producer_id, header.base_sequence), (PID, -1));
        assert_eq!(stored[HEADER_BYTES + 8], u8::from(one.commit));
        // M11: the broker's clock
        assert!((header.max_timestamp - lab.now_ms()).abs() < 60_000);
        assert_eq!(aborted(&committed(lab, &mut raw, &topic, 0).await), []);
    }
}

/// M1: neither id nor epoch -1; M3: an answer names a producer once, with its last marker's code.
pub async fn m03_codes_prove_nothing(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    for wrong in [Mark { pid: -1, ..COMMIT }, Mark { epoch: -1, ..COMMIT }] {
        let codes = raw.call(1, &marks(&topic, &[wrong], 1)).await;
        let codes = codes.map(|answer| answer.markers[0].topics[0].partitions[0].error_code);
        assert_ne!(codes.unwrap_or(-1), OK);
    }
    assert_eq!(lab.end(&mut raw, &topic).await, 0);
    let mut raw = lab.connect().await;
    let high = Mark { coordinator: 5, ..COMMIT };
    assert_eq!(mark(&mut raw, &topic, &[high, COMMIT]).await, [OLD_COORDINATOR]);
    assert_eq!(lab.end(&mut raw, &topic).await, 1);
}

pub async fn m02_as_many_offsets_as_entries(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    assert_eq!(mark(&mut raw, &topic, &[COMMIT; 500]).await, [OK]);
    assert_eq!(lab.end(&mut raw, &topic).await, 500);
    // M8: not idempotent
    assert_eq!(mark(&mut raw, &topic, &[COMMIT; 2]).await, [OK]);
    assert_eq!(lab.end(&mut raw, &topic).await, 502);
}

pub async fn m04_a_partition_twice_in_a_marker_is_never_answered(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    raw.send(1, &marks(&topic, &[COMMIT], 2)).await.unwrap();
    let wait = Duration::from_secs(3);
    let answer = tokio::time::timeout(wait, raw.receive::<WriteTxnMarkersRequest>(1)).await;
    assert!(answer.is_err(), "{answer:?}");
    let mut eyes = lab.connect().await;
    assert_eq!(lab.end(&mut eyes, &topic).await, 1);
}

pub async fn m05_a_chain_goes_on_behind_its_own_marker(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    let (before, after) = (data(lab, PID, 0, 10).bytes(), data(lab, PID, 10, 2).bytes());
    assert_eq!(lab.produce(&mut raw, &topic, before.clone()).await.base, 0);
    assert_eq!(mark(&mut raw, &topic, &[COMMIT]).await, [OK]);
    assert_eq!(lab.producers(&mut raw, &topic).await[0].2, 9);
    assert_eq!(lab.produce(&mut raw, &topic, after.clone()).await.base, 11);
    for (repeat, base) in [(before, 0), (after, 11)] {
        let answer = lab.produce(&mut raw, &topic, repeat).await;
        assert_eq!((answer.error, answer.base), (OK, base));
    }
}

pub async fn m06_behind_a_marker_alone_a_chain_begins_at_zero(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    assert_eq!(mark(&mut raw, &topic, &[COMMIT]).await, [OK]);
    assert_eq!(lab.producers(&mut raw, &topic).await[0].2, -1);
    let late = lab.produce(&mut raw, &topic, data(lab, PID, 7, 1).bytes()).await;
    assert_eq!(late.error, OUT_OF_ORDER);
    let first = lab.produce(&mut raw, &topic, data(lab, PID, 0, 1).bytes()).await;
    assert_eq!((first.error, first.base), (OK, 1));
}

pub async fn m07_a_marker_of_a_higher_epoch_seals(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    let old = data(lab, PID, 0, 2).bytes();
    lab.produce(&mut raw, &topic, old.clone()).await;
    assert_eq!(mark(&mut raw, &topic, &[Mark { epoch: 1, ..COMMIT }]).await, [OK]);
    let next = data(lab, PID, 2, 2).bytes();
    assert_eq!(lab.produce(&mut raw, &topic, next).await.error, OLD_EPOCH);
    assert_eq!(lab.produce(&mut raw, &topic, old).await.error, OLD_EPOCH);
    assert_eq!(mark(&mut raw, &topic, &[COMMIT]).await, [OLD_EPOCH]);
    for (sequence, code) in [(2, OUT_OF_ORDER), (0, OK)] {
        let new = Build::plain(lab.now_ms(), "t", 1).producer(PID, 1, sequence).bytes();
        assert_eq!(lab.produce(&mut raw, &topic, new).await.error, code, "{sequence}");
    }
    assert_eq!(lab.end(&mut raw, &topic).await, 4);
}

/// What is stable ends where the oldest open transaction begins, for fetches and for lookups.
pub async fn b07_read_committed_ends_at_the_open_transaction(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    lab.produce(&mut raw, &topic, data(lab, -1, -1, 2).bytes()).await;
    assert_eq!(append_txn(lab, &mut raw, &topic, &data(lab, PID, 0, 3)).await.base, 2);
    lab.produce(&mut raw, &topic, data(lab, -1, -1, 1).bytes()).await;
    let answer = committed(lab, &mut raw, &topic, 0).await;
    assert_eq!((answer.last_stable_offset, answer.high_watermark), (2, 6));
    let read = headers(&answer.records.unwrap_or_default());
    assert_eq!(read.iter().map(Header::next).collect::<Vec<_>>(), [2]);
    let behind = committed(lab, &mut raw, &topic, 2).await;
    assert_eq!(behind.records.unwrap_or_default().len(), 0);
    assert_eq!(committed_end(lab, &mut raw, &topic).await, 2);
    let all = headers(&lab.stored(&mut raw, &topic, 0).await);
    assert_eq!(all.iter().map(Header::next).collect::<Vec<_>>(), [2, 5, 6]);
    assert_eq!(mark(&mut raw, &topic, &[COMMIT]).await, [OK]);
    assert_eq!(stable(lab, &mut raw, &topic).await, (7, 7));
    assert_eq!(committed_end(lab, &mut raw, &topic).await, 7);
    assert_eq!(aborted(&committed(lab, &mut raw, &topic, 0).await), []);
}

/// The end that ListOffsets tells a read_committed consumer.
async fn committed_end(_lab: &Lab, raw: &mut Raw, topic: &Topic) -> i64 {
    let partition = list_offsets_request::ListOffsetsPartition::default()
        .with_current_leader_epoch(-1)
        .with_timestamp(-1);
    let asked = list_offsets_request::ListOffsetsTopic::default()
        .with_name(TopicName(text(&topic.name)))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(1)
        .with_topics(vec![asked]);
    raw.call(6, &request).await.unwrap().topics[0].partitions[0].offset
}

/// The aborted list names what touches the fetched range, with its own first offset, also where
/// that lies before the range; interleaved producers each by themselves.
pub async fn b07_the_aborted_list_reaches_back(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    for (pid, sequence) in [(PID, 0), (OTHER, 0), (PID, 2), (OTHER, 2)] {
        append_txn(lab, &mut raw, &topic, &data(lab, pid, sequence, 2)).await;
    }
    let other = Mark { pid: OTHER, ..ABORT };
    assert_eq!(mark(&mut raw, &topic, &[ABORT]).await, [OK]);
    // the other one is open since 2
    let open = committed(lab, &mut raw, &topic, 0).await;
    assert_eq!((open.last_stable_offset, aborted(&open)), (2, vec![(PID, 0)]));
    assert_eq!(mark(&mut raw, &topic, &[other]).await, [OK]);
    for (from, expected) in [
        (0, vec![(PID, 0), (OTHER, 2)]),
        (7, vec![(PID, 0), (OTHER, 2)]),
        (8, vec![(PID, 0), (OTHER, 2)]),
        (9, vec![(OTHER, 2)]),
    ] {
        let answer = committed(lab, &mut raw, &topic, from).await;
        assert_eq!(aborted(&answer), expected, "{from}");
    }
    let end = committed(lab, &mut raw, &topic, 10).await;
    assert_eq!((end.last_stable_offset, aborted(&end)), (10, vec![]));
}

/// The data batches of an aborted transaction are fetched like others, markers as well.
pub async fn b07_read_committed_gets_every_batch(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    append_txn(lab, &mut raw, &topic, &data(lab, PID, 0, 2)).await;
    mark(&mut raw, &topic, &[ABORT]).await;
    append_txn(lab, &mut raw, &topic, &data(lab, PID, 2, 2)).await;
    mark(&mut raw, &topic, &[COMMIT]).await;
    let read: Bytes = committed(lab, &mut raw, &topic, 0).await.records.unwrap();
    let spans: Vec<_> = headers(&read).iter().map(|h| (h.base_offset, h.has(CONTROL))).collect();
    assert_eq!(spans, [(0, false), (2, true), (3, false), (5, true)]);
    assert_eq!(lab.stored(&mut raw, &topic, 0).await, read);
}
