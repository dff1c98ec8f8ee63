//! `isolog mirror tail` on simulated clusters: what the source holds of topics that the real driver
//! stopped, and what is no tail.
//!
//! It never waits for real time.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;

use bytes::Bytes;
use isolog::audit::prefix::Ends;
use isolog::cluster::Wanted;
use isolog::control::topic::How;
use isolog::ids::Side;
use isolog::ids::TopicId;
use isolog::tail::Stopped;
use isolog::tail::append::Done;
use isolog::tail::append::append;
use isolog::tail::export::export;
use isolog::tail::list::Held;
use isolog::tail::list::State;
use isolog::tail::list::list;
use isolog::tail::topic::make;
use isolog::wire::split::Piece;
use isolog::wire::split::split;
use protocol_tests::broker::TestCluster;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::batch::CONTROL;
use protocol_tests::broker::batch::Record;
use protocol_tests::broker::batch::TRANSACTIONAL;
use serde_json::Value;
use serde_json::json;
use tokio::time::sleep;

use crate::operated::Lab;
use crate::operated::SECOND;
use crate::operated::link;
use crate::operated::name;
use crate::verified::audited;
use crate::verified::dials;

/// What is found of the stopped topic, whose row says that its source had that id.
pub(crate) async fn held(lab: &Lab, source_id: Option<TopicId>) -> Vec<Held> {
    let (link_options, dials) = (audited(lab), dials(lab));
    let source = dials.connect(&link_options, Side::Source).await.unwrap();
    let destination = dials.connect(&link_options, Side::Destination).await.unwrap();
    let both = Ends { source: &source, destination: &destination, committed_only: true };
    let mut row = lab.seen("dr", "orders").unwrap().row;
    row.source_id = source_id.unwrap_or(row.source_id);
    let topics = BTreeMap::from([(name("orders"), row)]);
    list(both, &Stopped { link: link("dr"), configs: None, topics }).await.unwrap()
}

/// State, offsets, and those behind an open transaction.
pub(crate) fn told(all: &[Held]) -> Vec<(State, Option<u64>, Option<u64>)> {
    all.iter().map(|one| (one.state, one.offsets, one.open_offsets)).collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_source_got_since_a_stop_is_told_by_partition() {
    let lab = Lab::copying(2).await;
    lab.stop(How::Promote).await;
    lab.stopped().await;
    let none = (State::None, Some(0), Some(0));
    assert_eq!(told(&held(&lab, None).await), [none, none]);
    // what others write into the former mirror is no matter
    lab.destination.append("orders", 0, &Build::plain(9, "theirs", 5));
    (0..3).for_each(|_| lab.append("orders", 0));
    let now = lab.source.look(|state| state.now_ms());
    lab.source.append_txn("orders", 1, (7, 0, 0), Build::plain(now, "open", 3));
    let all = held(&lab, None).await;
    let tail = |offsets, open| (State::Tail, Some(offsets), Some(open));
    assert_eq!(told(&all), [tail(15, 0), tail(0, 3)], "{all:?}");
    assert_eq!((all[0].from, all[0].to, all[1].from), (Some(5), Some(20), Some(0)));
    lab.end().await;
}

/// What the source got since: an aborted transaction, a record of bytes with a header and without
/// a key, whose time is told, and five ordinary ones.
fn odd_tail(lab: &Lab) -> i64 {
    let now = lab.source.look(|state| state.now_ms());
    lab.source.append_txn("orders", 0, (7, 0, 0), Build::plain(now, "aborted", 2));
    lab.source.end_txn("orders", 0, (7, 0), false);
    let mut odd = Record::new("k", "v");
    (odd.key, odd.value) = (None, Some(Bytes::from_static(&[0xff, 0])));
    odd.headers = vec![(Bytes::from_static(b"h"), None)];
    lab.source.append("orders", 0, &Build::new(now, vec![odd]));
    lab.append("orders", 0);
    now
}

/// A batch that holds what was mirrored, then what was not; one that is aborted; one of bytes.
#[tokio::test(start_paused = true)]
async fn a_tail_is_exported_record_by_record_and_as_it_is() {
    let lab = Lab::copying(1).await;
    lab.stop(How::Promote).await;
    lab.stopped().await;
    let now = odd_tail(&lab);
    let dir = std::env::temp_dir().join(format!("isolog-tails-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let (link_options, dials) = (audited(&lab), dials(&lab));
    let source = dials.connect(&link_options, Side::Source).await.unwrap();
    let destination = dials.connect(&link_options, Side::Destination).await.unwrap();
    let both = Ends { source: &source, destination: &destination, committed_only: true };
    let held = held(&lab, None).await.remove(0);
    // the files have what was seen by then, and nothing later
    lab.append("orders", 0);
    source.refresh(Wanted::Topics(&[name("orders")])).await.unwrap();
    let told = export(both, &held, &dir).await.unwrap();
    assert_eq!((told.records, told.batches), (6, 4), "{told:?}");
    let text = std::fs::read_to_string(dir.join("orders-0.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let offsets: Vec<i64> = lines.iter().map(|one| one["offset"].as_i64().unwrap()).collect();
    assert_eq!(offsets, (8..14).collect::<Vec<_>>());
    let want = json!({"topic": "orders", "partition": 0, "offset": 8, "timestamp": now,
        "key": null, "value_base64": "/wA=", "headers": [{"name": "h", "value": null}]});
    assert_eq!(lines[0], want);
    assert_eq!((&lines[1]["key"], &lines[1]["value"]), (&json!("k0"), &json!("x-0")));
    let bytes = Bytes::from(std::fs::read(dir.join("orders-0.batches")).unwrap());
    let bases = split(bytes).map(|piece| match piece.unwrap() {
        Piece::Batch(batch) => batch.base_offset().get(),
        Piece::OldFormat { .. } => panic!("no such batch was written"),
    });
    assert_eq!(bases.collect::<Vec<_>>(), [5, 7, 8, 9]);
    let again = export(both, &held, &dir).await;
    assert!(again.unwrap_err().to_string().contains("orders-0.jsonl"), "nothing is written over");
    let files = std::fs::read_dir(&dir).unwrap().count();
    assert_eq!(files, 2, "nothing half written is left");
    std::fs::remove_dir_all(&dir).unwrap();
    lab.end().await;
}

/// The ordinary records of a log, from an offset on: time, key, value and headers; and whether each
/// lies where its number says.
fn ordinary(cluster: &TestCluster, topic: &str, from: i64) -> (Vec<(i64, Record)>, bool) {
    let (mut all, mut is_dense) = (Vec::new(), true);
    for batch in cluster.dump(topic, 0).batches {
        let header = batch.header.unwrap();
        let is_ordinary = header.attributes & (TRANSACTIONAL | CONTROL) == 0;
        for record in batch.records.into_iter().flatten().filter(|_| is_ordinary) {
            let offset = batch.base + i64::from(record.offset_delta);
            let time = header.base_timestamp + record.timestamp_delta;
            if offset >= from {
                is_dense &= offset == from + all.len() as i64;
                all.push((time, Record { offset_delta: 0, timestamp_delta: 0, ..record }));
            }
        }
    }
    (all, is_dense)
}

/// A tail with an aborted transaction, a record of bytes and headers, and ordinary ones; appended,
/// once more, and again when the source had more.
#[tokio::test(start_paused = true)]
async fn a_tail_is_appended_once_however_often_it_is_ordered() {
    let lab = Lab::copying(1).await;
    lab.stop(How::Failover).await;
    lab.stopped().await;
    odd_tail(&lab);
    let (link_options, dials) = (audited(&lab), dials(&lab));
    let source = dials.connect(&link_options, Side::Source).await.unwrap();
    let destination = dials.connect(&link_options, Side::Destination).await.unwrap();
    let both = Ends { source: &source, destination: &destination, committed_only: true };
    let tail = name("orders.tail");
    let done = async || {
        let held = held(&lab, None).await.remove(0);
        make(&destination, &tail, (1, None)).await?;
        append(both, &held, &destination, &tail).await
    };
    let counts = |done: Done| (done.records, done.appended);
    assert_eq!(counts(done().await.unwrap()), (6, 6));
    assert_eq!(counts(done().await.unwrap()), (6, 0), "it is all there");
    lab.append("orders", 0);
    assert_eq!(counts(done().await.unwrap()), (11, 5), "the source has got more");
    let (wanted, _) = ordinary(&lab.source, "orders", 5);
    assert_eq!(ordinary(&lab.destination, "orders.tail", 0), (wanted, true));
    // behind what is none of it nothing is appended
    lab.destination.append("orders.tail", 0, &Build::plain(9, "theirs", 1));
    let told = done().await.unwrap_err().to_string();
    assert!(told.contains("it holds 12 records, the tail has 11"), "{told}");
    lab.append("orders", 0);
    let told = done().await.unwrap_err().to_string();
    assert!(told.contains("another record at offset 11"), "{told}");
    assert_eq!(lab.destination.dump("orders.tail", 0).end, 12);
    lab.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_would_not_keep_a_tail_gets_none() {
    let lab = Lab::copying(1).await;
    let (link_options, dials) = (audited(&lab), dials(&lab));
    let destination = dials.connect(&link_options, Side::Destination).await.unwrap();
    lab.destination.create_topic("stamped", 1, &[("message.timestamp.type", "LogAppendTime")]);
    lab.destination.create_topic("cleaned", 1, &[("cleanup.policy", "compact,delete")]);
    for (topic, partitions, words) in [
        ("stamped", 1, "topic stamped has message.timestamp.type=LogAppendTime"),
        ("cleaned", 1, "topic cleaned has cleanup.policy=compact,delete"),
        ("orders", 2, "topic orders has 1 partitions and the tail 2"),
    ] {
        let told = make(&destination, &name(topic), (partitions, None)).await.unwrap_err();
        assert!(told.to_string().contains(words), "{told}");
    }
    make(&destination, &name("new"), (2, None)).await.unwrap();
    make(&destination, &name("new"), (2, None)).await.unwrap();
    lab.end().await;
}

/// Given up at many moments, as by a kill, and ordered again: no record twice, none left out.
#[tokio::test(start_paused = true)]
async fn an_append_that_is_killed_goes_on_where_it_was() {
    let lab = Lab::copying(1).await;
    lab.stop(How::Failover).await;
    lab.stopped().await;
    let now = lab.source.look(|state| state.now_ms());
    for n in 0..12_i64 {
        let large = Record::new(&format!("k{n}"), &"x".repeat(300_000));
        lab.source.append("orders", 0, &Build::new(now + n, vec![large]));
    }
    let (link_options, dials) = (audited(&lab), dials(&lab));
    let source = dials.connect(&link_options, Side::Source).await.unwrap();
    let destination = dials.connect(&link_options, Side::Destination).await.unwrap();
    let both = Ends { source: &source, destination: &destination, committed_only: true };
    let tail = name("orders.tail");
    let held = held(&lab, None).await.remove(0);
    make(&destination, &tail, (1, None)).await.unwrap();
    let mut ends = std::collections::BTreeSet::new();
    for ms in 1.. {
        let going = append(both, &held, &destination, &tail);
        let done = tokio::time::timeout(std::time::Duration::from_millis(ms), going).await;
        ends.insert(lab.destination.dump("orders.tail", 0).end);
        if let Ok(done) = done {
            assert_eq!(done.unwrap().records, 12);
            break;
        }
    }
    assert!(ends.len() > 2, "it was killed on the way: {ends:?}");
    let (wanted, _) = ordinary(&lab.source, "orders", 5);
    assert_eq!(ordinary(&lab.destination, "orders.tail", 0), (wanted, true));
    lab.end().await;
}

#[tokio::test(start_paused = true)]
async fn another_history_is_no_tail() {
    let lab = Lab::copying(1).await;
    lab.stop(How::Failover).await;
    lab.stopped().await;
    let id = TopicId(*lab.source.recreate_topic("orders").as_bytes());
    let of = async |source_id| {
        let all = held(&lab, source_id).await;
        assert_eq!(told(&all), [(State::OtherHistory, None, None)], "{all:?}");
        all[0].note.clone()
    };
    assert!(of(None).await.contains("was made anew"));
    // even under the same id: a log that lost its end, and one that was written anew
    assert!(of(Some(id)).await.contains("ends at 0, below what was mirrored up to 5"));
    sleep(SECOND).await;
    (0..3).for_each(|_| lab.append("orders", 0));
    assert!(of(Some(id)).await.contains("differs at offset 0"));
    lab.end().await;
}
