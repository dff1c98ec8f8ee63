//! Rules A9 and A10 of broker-facts: what the cleaner leaves, and what becomes of hidden fillers.
//!
//! It never waits for a cleaner longer than half a minute, and never makes an offset above 2^31.

use std::time::Duration;

use bytes::Bytes;
use protocol_tests::broker::Build;
use protocol_tests::broker::Codec;
use protocol_tests::broker::Record;
use protocol_tests::broker::Version;
use protocol_tests::broker::batch::CONTROL;
use protocol_tests::broker::batch::DELETE_HORIZON;
use protocol_tests::broker::batch::HEADER_BYTES;
use protocol_tests::broker::batch::Header;
use protocol_tests::broker::batch::Records;
use protocol_tests::broker::batch::TRANSACTIONAL;
use protocol_tests::broker::batch::look;
use protocol_tests::raw::Raw;

use crate::lab::Lab;
use crate::lab::OK;
use crate::lab::Topic;
use crate::state::alter_waiting;
use crate::txn::ABORT;
use crate::txn::COMMIT;
use crate::txn::append_txn;
use crate::txn::headers;
use crate::txn::mark;

const PID: i64 = 4_611_686_018_427_387_907;
/// How old the records are.
const AGE_MS: i64 = 100_000;
/// The time between the first record of a segment and the one that opens the next; markers, which
/// have the broker's time, come before it.
const SEGMENT_MS: &str = "200000";
/// How far ahead the record lies that closes the segment.
const AHEAD_MS: i64 = 3_000_000;
const RETENTION_MS: i64 = 86_400_000;
/// A broker is killed so often before it counts as one that forgets no log start.
const CRASHES_MAX: u32 = 5;

/// Configs of a topic that the cleaner takes whenever it can.
pub const COMPACTED: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("segment.ms", SEGMENT_MS),
    ("min.cleanable.dirty.ratio", "0.0001"),
];

async fn compacted(lab: &Lab) -> (Topic, Raw) {
    (lab.topic(COMPACTED).await, lab.connect().await)
}

/// A batch of these keys, older than what closes its segment.
pub fn keyed(lab: &Lab, keys: &[&str]) -> Build {
    let records = keys.iter().map(|key| Record::new(key, "value"));
    Build::new(lab.now_ms() - AGE_MS, records.collect())
}

fn fillers(lab: &Lab, sequence: i32, count: usize) -> Bytes {
    let time = lab.now_ms() - AGE_MS;
    Build::fillers(time, count, Some(Bytes::new())).producer(PID, 0, sequence).bytes()
}

/// Closes the segment and waits until the cleaner has made of the log what `is_done` wants.
async fn cleaned(
    lab: &Lab,
    raw: &mut Raw,
    topic: &Topic,
    is_done: impl Fn(&[Header]) -> bool,
) -> (Vec<Header>, Bytes) {
    let at = close_segment(lab, raw, topic).await;
    for _ in 0..120 {
        lab.clean(topic, at);
        let stored = everything(lab, raw, topic, at + 1).await;
        let read = headers(&stored);
        if is_done(&read) {
            assert_eq!(lab.end(raw, topic).await, at + 1);
            return (read, stored);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("never cleaned: {:#?}", headers(&lab.stored(raw, topic, 0).await));
}

/// Appends a record from far ahead, which opens a segment; its offset.
pub async fn close_segment(lab: &Lab, raw: &mut Raw, topic: &Topic) -> i64 {
    let roller = Build::new(lab.now_ms() + AHEAD_MS, vec![Record::new("roller", "x")]).bytes();
    let at = lab.produce(raw, topic, roller).await;
    assert_eq!(at.error, OK);
    at.base
}

/// All that is stored: a fetch ends where its segment does.
async fn everything(lab: &Lab, raw: &mut Raw, topic: &Topic, end: i64) -> Bytes {
    let (mut from, mut all) = (0, Vec::new());
    while from < end {
        let stored = lab.stored(raw, topic, from).await;
        from = headers(&stored).last().map_or(end, Header::next);
        all.extend_from_slice(&stored);
    }
    all.into()
}

/// Base offset, next offset and count of each.
pub fn spans(read: &[Header]) -> Vec<(i64, i64, i32)> {
    read.iter().map(|header| (header.base_offset, header.next(), header.count)).collect()
}

/// Base offset and span stay where records go; batches vanish without a trace, but for the last
/// one of a producer, of which 61 bytes stay.
pub async fn a09_cleaning_keeps_places(lab: &Lab) {
    let (topic, mut raw) = compacted(lab).await;
    let last = keyed(lab, &["a"]).producer(PID, 0, 5);
    for batch in [
        keyed(lab, &["a", "b", "c"]).codec(Codec::Gzip),
        last,
        keyed(lab, &["a", "c"]),
        keyed(lab, &["d"]),
        keyed(lab, &["a", "c", "d"]),
    ] {
        assert_eq!(lab.produce(&mut raw, &topic, batch.bytes()).await.error, OK);
    }
    let (read, _) = cleaned(lab, &mut raw, &topic, |read| read.len() == 4).await;
    assert_eq!(spans(&read), [(0, 3, 1), (3, 4, 0), (7, 10, 3), (10, 11, 1)]);
    assert_eq!((read[0].codec(), read[1].codec()), (Some(Codec::Gzip), Some(Codec::None)));
    // what is left of the first one begins with the second record
    assert_eq!(read[0].base_timestamp, read[0].max_timestamp);
    let hollow = (read[1].base_timestamp, read[1].producer_id, read[1].base_sequence);
    assert_eq!(hollow, (-1, PID, 5));
    assert!(read[1].max_timestamp > 0);
    assert_eq!(lab.list(&mut raw, &topic, -1, -1, -2).await.1, 0);
    // a fetch from a hole goes on behind it
    let behind = headers(&lab.stored(&mut raw, &topic, 5).await);
    assert_eq!(behind[0].base_offset, 7);
}

/// Since 3.1 a kept tombstone's batch says until when: its base time is that time, and the
/// records' deltas are negative.
pub async fn a09_tombstones_get_a_horizon(lab: &Lab) {
    let (topic, mut raw) = compacted(lab).await;
    let mut dead = keyed(lab, &["a", "b"]);
    dead.records[1].value = None;
    let times = (dead.base_timestamp, dead.base_timestamp + 1);
    for batch in [dead, keyed(lab, &["c"]), keyed(lab, &["c"])] {
        assert_eq!(lab.produce(&mut raw, &topic, batch.bytes()).await.error, OK);
    }
    let (read, stored) = cleaned(lab, &mut raw, &topic, |read| read.len() == 3).await;
    let (first, has) = (read[0], read[0].has(DELETE_HORIZON));
    assert_eq!((spans(&read)[0], has), ((0, 2, 2), lab.version > Version::V2_8));
    assert_eq!(first.max_timestamp, times.1);
    let Records::Read(records) = look(&first, &stored.slice(..first.length as usize + 12)) else {
        panic!("{first:?}");
    };
    let told = records.iter().map(|record| first.base_timestamp + record.timestamp_delta);
    assert_eq!(told.collect::<Vec<_>>(), [times.0, times.1]);
    if has {
        let ahead = first.base_timestamp - lab.now_ms();
        assert!((RETENTION_MS - 60_000..=RETENTION_MS).contains(&ahead), "{ahead}");
        assert!(records.iter().all(|record| record.timestamp_delta < 0));
    }
}

/// Aborted records go with the first pass, their place and both markers stay, and the aborted list
/// stays right.
pub async fn a09_cleaned_transactions(lab: &Lab) {
    let (topic, mut raw) = compacted(lab).await;
    let txn = |sequence, keys: &[&str]| keyed(lab, keys).producer(PID, 0, sequence);
    append_txn(lab, &mut raw, &topic, &txn(0, &["a", "b"])).await;
    append_txn(lab, &mut raw, &topic, &txn(2, &["b"])).await;
    assert_eq!(mark(&mut raw, &topic, &[ABORT]).await, [OK]);
    append_txn(lab, &mut raw, &topic, &txn(3, &["a", "b"])).await;
    append_txn(lab, &mut raw, &topic, &txn(5, &["a"])).await;
    assert_eq!(mark(&mut raw, &topic, &[COMMIT]).await, [OK]);
    let (read, _) =
        cleaned(lab, &mut raw, &topic, |read| read[0].base_offset == 3 && read[1].count == 1).await;
    // both aborted batches are gone; of the committed ones each key's last record is there
    assert_eq!(spans(&read), [(3, 4, 1), (4, 6, 1), (6, 7, 1), (7, 8, 1), (8, 9, 1)]);
    assert!(read[1].has(TRANSACTIONAL) && !read[1].has(CONTROL));
    assert!(read[0].has(CONTROL) && read[3].has(CONTROL));
}

/// H3: on a compacted topic, below 2^31, the cleaner removes every filler, and no record.
pub async fn h03_the_cleaner_removes_hidden_fillers(lab: &Lab) {
    let (topic, mut raw) = compacted(lab).await;
    let data = |sequence, keys: &[&str]| keyed(lab, keys).producer(PID, 0, sequence).bytes();
    for batch in [data(0, &["a", "b"]), fillers(lab, 2, 5), data(7, &["a"]), fillers(lab, 8, 3)] {
        assert_eq!(lab.produce(&mut raw, &topic, batch).await.error, OK);
    }
    let is_done = |read: &[Header]| read[..read.len() - 1].iter().all(|header| header.count < 2);
    let (read, stored) = cleaned(lab, &mut raw, &topic, is_done).await;
    // one empty batch may stay: the producer's last
    assert_eq!(spans(&read), [(0, 2, 1), (7, 8, 1), (8, 11, 0), (11, 12, 1)]);
    assert!(!stored.windows(5).any(|five| five == [0xff, 0xff, 0xff, 0xff, 0x0f]));
}

/// H5: the broker's own time without a codec leaves fillers hidden.
pub async fn h05_the_brokers_time_leaves_fillers_hidden(lab: &Lab) {
    let topic = lab.topic(&[("message.timestamp.type", "LogAppendTime")]).await;
    let mut raw = lab.connect().await;
    let batch = fillers(lab, 0, 10);
    assert_eq!(lab.produce(&mut raw, &topic, batch.clone()).await.base, 0);
    let stored = lab.stored(&mut raw, &topic, 0).await;
    assert_eq!(stored[HEADER_BYTES..], batch[HEADER_BYTES..]);
}

/// H6: a filler's time is at most that of the data before it, and -1 before any data: then the
/// greatest time is the data's. Above it the answer names an offset that nobody has.
pub async fn h06_times_of_fillers(lab: &Lab) {
    if lab.version == Version::V2_8 {
        return;
    }
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    let now = lab.now_ms() - AGE_MS;
    let filler = |time| Build::fillers(time, 4, None).bytes();
    lab.produce(&mut raw, &topic, filler(-1)).await;
    lab.produce(&mut raw, &topic, Build::plain(now, "d", 2).bytes()).await;
    lab.produce(&mut raw, &topic, filler(now + 1)).await;
    assert_eq!(lab.list(&mut raw, &topic, -1, -1, 0).await.1, 4);
    assert_eq!(lab.list_max(&mut raw, &topic).await, (now + 1, 5));
    lab.produce(&mut raw, &topic, filler(now + 9)).await;
    let (time, offset) = lab.list_max(&mut raw, &topic).await;
    assert!(time == now + 9 && offset < 0, "{time} {offset}");
}

/// H8: the log may start inside a filler batch; the batch is fetched whole from any of its offsets.
pub async fn h08_delete_records_into_fillers(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    let batch = fillers(lab, 0, 1000);
    lab.produce(&mut raw, &topic, batch.clone()).await;
    let data = Build::plain(lab.now_ms(), "d", 2).producer(PID, 0, 1000).bytes();
    lab.produce(&mut raw, &topic, data).await;
    assert_eq!(lab.delete_records(&mut raw, &topic, 500).await, (OK, 500));
    for from in [500, 999] {
        let read = headers(&lab.stored(&mut raw, &topic, from).await);
        assert_eq!(spans(&read), [(0, 1000, 1000), (1000, 1002, 2)], "{from}");
    }
    assert_eq!(lab.produce(&mut raw, &topic, batch).await.base, 0);
}

/// H9: a batch of the default size holds 95,000 offsets.
pub async fn h09_ninety_five_thousand_in_a_batch(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    let batch = fillers(lab, 0, 95_000);
    assert_eq!(batch.len(), HEADER_BYTES + 11 * 95_000);
    assert_eq!(lab.produce(&mut raw, &topic, batch).await.error, OK);
    assert_eq!(lab.produce(&mut raw, &topic, fillers(lab, 95_000, 1)).await.base, 95_000);
}

/// A6: records of a compacted topic are deleted under `compact,delete`, and it is compacted again.
pub async fn a06_the_way_around_a_compacted_topic(lab: &Lab) {
    let (topic, mut raw) = compacted(lab).await;
    lab.produce(&mut raw, &topic, keyed(lab, &["a", "b", "c"]).bytes()).await;
    assert_eq!(lab.delete_records(&mut raw, &topic, 2).await.0, 44);
    alter_waiting(&mut raw, &topic, "cleanup.policy", "compact,delete").await;
    assert_eq!(lab.delete_records(&mut raw, &topic, 2).await, (OK, 2));
    alter_waiting(&mut raw, &topic, "cleanup.policy", "compact").await;
    assert_eq!(lab.delete_records(&mut raw, &topic, 3).await.0, 44);
    assert_eq!(lab.list(&mut raw, &topic, -1, -1, -2).await.1, 2);
}

/// A6: a broker that is killed within a minute forgets DeleteRecords. H7: fillers and data are as
/// they were, and the last batch is recognised. Runs last: it kills the broker.
pub async fn a06_a_crash_forgets_delete_records(lab: &Lab) {
    let mut raw = lab.connect().await;
    let batch = fillers(lab, 0, 10);
    for _ in 0..CRASHES_MAX {
        // a topic of its own each time: a start that a checkpoint has once kept is never 0 again
        let topic = lab.topic(&[]).await;
        lab.produce(&mut raw, &topic, batch.clone()).await;
        assert_eq!(lab.delete_records(&mut raw, &topic, 10).await, (OK, 10));
        lab.crash().await;
        raw = lab.connect().await;
        while lab.list(&mut raw, &topic, -1, -1, -1).await.0 != OK {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(lab.end(&mut raw, &topic).await, 10);
        // unless the checkpoint came in between (2.8: 30 s after a start, whatever is configured)
        if lab.list(&mut raw, &topic, -1, -1, -2).await.1 == 0 {
            assert_eq!(spans(&headers(&lab.stored(&mut raw, &topic, 0).await)), [(0, 10, 10)]);
            assert_eq!(lab.produce(&mut raw, &topic, batch).await.base, 0);
            return;
        }
    }
    panic!("the log start was kept each time");
}
