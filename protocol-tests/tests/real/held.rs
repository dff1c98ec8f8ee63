//! A transaction that is open at the source while topics are stopped, on real Kafka: a promote
//! waits for it and names it, a failover ends where it began, and readers of the destination that
//! read what is committed are held back by neither.
//!
//! It never skips. The transaction is written by hand and hangs until the test ends it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use kafka_protocol::messages::ProducerId;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::WriteTxnMarkersRequest;
use kafka_protocol::messages::write_txn_markers_request::WritableTxnMarker;
use kafka_protocol::messages::write_txn_markers_request::WritableTxnMarkerTopic;
use kafka_protocol::protocol::StrBytes;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::batch::TRANSACTIONAL;
use protocol_tests::check::batches_equal;
use protocol_tests::real::DumpSpec;
use protocol_tests::real::Hand;
use protocol_tests::real::Reader;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::assert_equal;
use protocol_tests::real::dump;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;
use serde_json::json;

use crate::obeyed::Obeyed;
use crate::obeyed::Topic;
use crate::operated::Stage;
use crate::operated::until;
use crate::served::Program;

const WRITER: i64 = 7_007;
const LINK: (&str, &str) = ("dr", "");
/// Records before the transaction, of it, and behind it.
const BEFORE: i64 = 10;
const OPEN: i64 = 5;
const BEHIND: i64 = 10;

fn plain(hand: &Hand, topic: &str, count: i64) -> i64 {
    let tag = format!("{topic}-{}", now_ms());
    hand.produce(topic, 0, &Build::plain(now_ms(), &tag, count as usize)).unwrap()
}

/// Ends the transaction, as its coordinator does.
fn commit(hand: &Hand, topic: &str) {
    let name = TopicName(StrBytes::from_string(topic.to_owned()));
    let one = WritableTxnMarkerTopic::default().with_name(name).with_partition_indexes(vec![0]);
    let marker = WritableTxnMarker::default()
        .with_producer_id(ProducerId(WRITER))
        .with_producer_epoch(0)
        .with_transaction_result(true)
        .with_topics(vec![one])
        .with_coordinator_epoch(0);
    let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
    let told = hand.ask_any(1, &request).unwrap();
    assert_eq!(told.markers[0].topics[0].partitions[0].error_code, 0, "{told:?}");
}

/// What readers of committed records get of a topic here: the same by both, as many as that.
fn assert_read(stage: &Stage, topic: &str, records: i64) {
    let of = |reader| {
        let spec = DumpSpec::committed(&[topic.to_owned()]);
        dump(reader, stage.clusters.1.bootstrap(), &spec).unwrap()
    };
    let (java, librdkafka) = (of(Reader::Java), of(Reader::Librdkafka));
    assert_equal(&java, &librdkafka);
    assert_eq!(java[0].records, records as u64, "{topic}");
    let log = stage.destination.read(topic, 0).unwrap();
    assert_eq!(log.stable, log.end, "{topic}: nothing holds readers back");
}

/// All that the source has up to `end` is there, the seal is behind it.
fn assert_sealed(stage: &Stage, topic: &str, end: i64) {
    let (ours, copy) =
        (stage.source.read(topic, 0).unwrap(), stage.destination.read(topic, 0).unwrap());
    let differ = batches_equal(&ours, &copy, 0, end);
    assert!(differ.is_empty(), "{topic}: {differ:#?}");
    assert_eq!(copy.end, end + 1, "{topic}");
    assert_eq!(copy.batches.last().unwrap().header.unwrap().producer_epoch, 1, "{topic}");
}

/// What a promote waits for, in words.
fn waits(to: &Obeyed, topic: &Topic) -> Option<String> {
    let path = format!("/links/dr/mirrors/{}?include_state_transition_errors=true", topic.mirror);
    let told = to.get(&path)?;
    let all = told["mirror_state_transition_errors"].as_array()?;
    Some(all.iter().filter_map(|one| one["error_message"].as_str()).collect())
}

/// Must show: a promote waits for an open transaction and names it; a failover lands on the
/// boundary, and so does a promote that is told to leave it behind; nobody who reads what is
/// committed is held back at the destination.
#[test]
fn an_open_transaction_holds_a_promote_and_no_failover() {
    let _room = room(2);
    let plain_spec = || RealSpec::new("4.3.1", 1);
    let open = plain_spec().prop("transaction.partition.verification.enable", "false");
    let stage = Stage::on(RealCluster::both(open, plain_spec()).unwrap());
    let mut to = Obeyed::new(Program::start(&stage.clusters.1), 1);
    to.create_link(LINK, stage.clusters.0.bootstrap());
    let topics = Topic::of("held", 3, LINK);
    let [promoted, failed_over, left] = &topics[..] else { panic!("three topics") };
    for topic in &topics {
        let name = &topic.source;
        stage.source.create(name, 1, 1, &[]).unwrap();
        plain(&stage.source, name, BEFORE);
        let batch = Build::plain(now_ms(), "open", OPEN as usize);
        let batch = batch.producer(WRITER, 0, 0).flags(TRANSACTIONAL);
        assert_eq!(stage.source.produce(name, 0, &batch).unwrap(), BEFORE);
        plain(&stage.source, name, BEHIND);
        to.create_mirror(topic);
        until(&format!("{name} is copied up to the transaction"), || {
            (stage.destination.ends(name, 0).ok()?.1 == BEFORE).then_some(())
        });
    }
    let body = json!({ "mirror_topic_names": [promoted.mirror, left.mirror] });
    to.program.order("POST", "/dr/mirrors:promote", Some(&body));
    let told = until("the promote names what it waits for", || {
        waits(&to, promoted).filter(|text| text.contains(&format!("producer id {WRITER}")))
    });
    let held = format!("{} records are held back by an open transaction", OPEN + BEHIND);
    assert!(told.contains(&held), "{told}");
    assert_eq!(to.status(promoted).as_deref(), Some("PENDING_STOPPED"));

    to.mirrors(std::slice::from_ref(failed_over), "failover", "STOPPED");
    assert_sealed(&stage, &failed_over.mirror, BEFORE);
    assert_read(&stage, &failed_over.mirror, BEFORE);
    assert_eq!(plain(&stage.destination, &failed_over.mirror, 3), BEFORE + 1);
    assert_read(&stage, &failed_over.mirror, BEFORE + 3);

    assert_eq!(to.status(left).as_deref(), Some("PENDING_STOPPED"), "it waits as well");
    let body = json!({ "mirror_topic_names": [left.mirror] });
    let path = "/dr/mirrors:promote?abandon_open_transactions=true";
    to.program.order("POST", path, Some(&body));
    until("it waits no more", || (to.status(left)? == "STOPPED").then_some(()));
    assert_sealed(&stage, &left.mirror, BEFORE);
    assert_read(&stage, &left.mirror, BEFORE);
    let told = to.get(&format!("/links/dr/mirrors/{}", left.mirror)).unwrap();
    assert_eq!(told["mirror_lags"][0]["lag"], OPEN + BEHIND, "{told}");

    assert_eq!(to.status(promoted).as_deref(), Some("PENDING_STOPPED"), "it waits still");
    assert_read(&stage, &promoted.mirror, BEFORE);
    commit(&stage.source, &promoted.source);
    until("it is promoted", || (to.status(promoted)? == "STOPPED").then_some(()));
    let end = BEFORE + OPEN + BEHIND + 1;
    assert_eq!(stage.source.ends(&promoted.source, 0).unwrap().1, end, "with the marker");
    assert_sealed(&stage, &promoted.mirror, end);
    assert_read(&stage, &promoted.mirror, BEFORE + OPEN + BEHIND);
    let log = to.program.isolog.log();
    assert!(!log.contains("panicked"), "{log}");
}
