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
use isolog::tail::export::export;
use isolog::tail::list::Held;
use isolog::tail::list::State;
use isolog::tail::list::list;
use isolog::wire::split::Piece;
use isolog::wire::split::split;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::batch::Record;
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
async fn held(lab: &Lab, source_id: Option<TopicId>) -> Vec<Held> {
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
fn told(all: &[Held]) -> Vec<(State, Option<u64>, Option<u64>)> {
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

/// A batch that holds what was mirrored, then what was not; one that is aborted; one of bytes.
#[tokio::test(start_paused = true)]
async fn a_tail_is_exported_record_by_record_and_as_it_is() {
    let lab = Lab::copying(1).await;
    lab.stop(How::Promote).await;
    lab.stopped().await;
    let now = lab.source.look(|state| state.now_ms());
    lab.source.append_txn("orders", 0, (7, 0, 0), Build::plain(now, "aborted", 2));
    lab.source.end_txn("orders", 0, (7, 0), false);
    let mut odd = Record::new("k", "v");
    (odd.key, odd.value) = (None, Some(Bytes::from_static(&[0xff, 0])));
    odd.headers = vec![(Bytes::from_static(b"h"), None)];
    lab.source.append("orders", 0, &Build::new(now, vec![odd]));
    lab.append("orders", 0);
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
