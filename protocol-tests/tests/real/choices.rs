//! What a link may choose for transactions, on real Kafka: to copy aborted records as well
//! (`isolation.level`), to fill with records that readers see, or to fill nothing (`gap.fill`);
//! and `isolog verify` beside the copy that goes on. Last, brokers that throttle us.
//!
//! It never skips. One source and one destination; each choice is a link and a topic of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::time::Duration;

use protocol_tests::broker::batch::Build;
use protocol_tests::broker::batch::Record;
use protocol_tests::broker::direct::Dump;
use protocol_tests::check::visible;
use protocol_tests::real::DumpSpec;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolation;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::Load;
use protocol_tests::real::LoadSpec;
use protocol_tests::real::Reader;
use protocol_tests::real::RealCluster;
use protocol_tests::real::assert_equal;
use protocol_tests::real::dump;
use protocol_tests::real::isolog_once;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;

const UNCOMMITTED: &str = "x-uncommitted";
const VISIBLE: &str = "x-visible";
const NOTHING: &str = "x-nothing";
const LIVE: &str = "x-live";
const SLOW: &str = "x-slow";
const RECORDS: u64 = 600;
const SLOW_BATCHES: usize = 6;
const SLOW_BYTES: usize = 8_000;
const STOP_MAX: Duration = Duration::from_secs(20);

struct Stage {
    source: RealCluster,
    destination: RealCluster,
    hands: [Hand; 2],
}

impl Stage {
    fn start() -> Stage {
        let (source, destination) = RealCluster::plain_pair("4.3.1").unwrap();
        let hands = [Hand::new(source.bootstrap()), Hand::new(destination.bootstrap())];
        Stage { source, destination, hands }
    }

    /// Transactions of twenty records, two of five aborted.
    fn load(&self, topic: &str, records: Option<u64>) -> Load {
        let more = ["--txn", "20", "--abort-percent", "40", "--txn-id", topic, "--size", "80"];
        let spec = LoadSpec {
            topics: vec![(topic.to_owned(), "lz4".to_owned())],
            create: Some((1, 1)),
            records,
            rate: records.is_none().then_some(200),
            more: more.map(String::from).into(),
        };
        Load::start(self.source.bootstrap(), &spec).unwrap()
    }

    fn link(&self, topic: &str, more: &str) -> IsologSpec {
        let (source, destination) = (self.source.bootstrap(), self.destination.bootstrap());
        let mut spec = IsologSpec::new(source, destination, &[topic]);
        spec.link = topic.to_owned();
        spec.link_more.push_str(more);
        spec
    }

    fn end(&self, topic: &str) -> i64 {
        self.hands[0].ends(topic, 0).unwrap().1
    }

    fn copied(&self, isolog: &Isolog, topic: &str) {
        // the marker of the last transaction may come behind the answer to its end
        isolog.wait_for(&format!("{topic} is copied"), 120, |isolog| {
            let seen = isolog.partition(topic, 0)?;
            (seen.destination_hwm == Some(self.end(topic))).then_some(())
        });
    }
}

fn everything(topic: &str) -> DumpSpec {
    let committed = DumpSpec::committed(&[topic.to_owned()]);
    DumpSpec { isolation: Isolation::Uncommitted, ..committed }
}

/// Every reader of the copy sees what read_uncommitted readers of the source see, and no more.
fn aborted_records_are_copied_where_that_is_chosen(stage: &Stage) {
    stage.load(UNCOMMITTED, Some(RECORDS)).wait().unwrap();
    let spec = stage.link(UNCOMMITTED, "isolation.level = \"read_uncommitted\"\n");
    let isolog = Isolog::start(&spec).unwrap();
    stage.copied(&isolog, UNCOMMITTED);
    let all = everything(UNCOMMITTED);
    let ours = dump(Reader::Java, stage.source.bootstrap(), &all).unwrap();
    assert_eq!(ours[0].records, RECORDS);
    let committed = DumpSpec::committed(&[UNCOMMITTED.to_owned()]);
    for reader in [Reader::Java, Reader::Librdkafka] {
        for spec in [&all, &committed] {
            assert_equal(&ours, &dump(reader, stage.destination.bootstrap(), spec).unwrap());
        }
    }
}

/// Nothing is hidden: at each offset without a record stands one that says so.
fn visible_fillers_say_what_they_are(stage: &Stage) {
    stage.load(VISIBLE, Some(RECORDS)).wait().unwrap();
    let isolog = Isolog::start(&stage.link(VISIBLE, "gap.fill = \"record\"\n")).unwrap();
    stage.copied(&isolog, VISIBLE);
    let end = stage.end(VISIBLE);
    let [theirs, copy] = stage.hands.each_ref().map(|hand| hand.read(VISIBLE, 0).unwrap());
    let [theirs, copy] = [&theirs, &copy].map(|log| visible(log, end));
    assert_eq!(copy.keys().copied().collect::<Vec<_>>(), (0..end).collect::<Vec<_>>());
    let (same, more): (Vec<_>, Vec<_>) =
        copy.iter().partition(|(offset, _)| theirs.contains_key(offset));
    assert!(same.iter().all(|(offset, seen)| theirs[offset] == **seen));
    assert!(more.len() > RECORDS as usize / 5, "{}", more.len());
    for (offset, (_, record)) in more {
        let headers = &record.headers;
        assert!(record.key.is_none() && record.value.is_none(), "{offset}: {record:?}");
        assert!(headers.len() == 1 && &headers[0].0[..] == b"isolog", "{offset}: {record:?}");
    }
}

/// The partition stands at the first offset that nobody may fill.
fn nothing_is_filled_where_that_is_chosen(stage: &Stage) {
    stage.load(NOTHING, Some(RECORDS)).wait().unwrap();
    let isolog = Isolog::start(&stage.link(NOTHING, "gap.fill = \"halt\"\n")).unwrap();
    let seen = isolog.wait_halt(NOTHING, 0);
    assert_eq!(seen.code, "HOLE", "{seen:?}");
    let [theirs, copy] = stage.hands.each_ref().map(|hand| hand.read(NOTHING, 0).unwrap());
    let shown = visible(&theirs, theirs.end);
    assert!(copy.end < theirs.end && !shown.contains_key(&copy.end), "{}", copy.end);
    assert_eq!(visible(&copy, copy.end), shown.range(..copy.end).map(clone).collect());
}

fn clone<K: Clone, V: Clone>((key, value): (&K, &V)) -> (K, V) {
    (key.clone(), value.clone())
}

/// A producer writes and the copy goes on, while both sides are compared up to where they were.
fn a_live_copy_is_verified(stage: &Stage) {
    let load = stage.load(LIVE, None);
    let spec = stage.link(LIVE, "");
    let isolog = Isolog::start(&spec).unwrap();
    isolog.wait_for("some records", 60, |_| {
        (stage.hands[1].ends(LIVE, 0).ok()?.1 > 500).then_some(())
    });
    for _ in 0..3 {
        let before = stage.hands[1].ends(LIVE, 0).unwrap().1;
        let output = isolog_once(&spec, &["verify", "--json", "--topic", LIVE]).unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let reports: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        let one = &reports[0]["partitions"][0];
        let to = one["to"].as_i64().unwrap();
        assert!(one["verdict"] == "equal" && to >= before, "{before}: {said}");
        isolog.wait_for("the copy goes on", 60, |_| {
            (stage.hands[1].ends(LIVE, 0).ok()?.1 > to).then_some(())
        });
    }
    load.stop().unwrap();
    stage.copied(&isolog, LIVE);
    let mut isolog = isolog;
    assert!(isolog.term(STOP_MAX).unwrap().success());
}

/// Brokers that give us few bytes a second make the copy late, and nothing else.
fn quotas_make_a_copy_late(stage: &Stage) {
    stage.hands[0].create(SLOW, 1, 1, &[]).unwrap();
    for _ in 0..SLOW_BATCHES {
        let record = Record::new("k", &"q".repeat(SLOW_BYTES));
        stage.hands[0].produce(SLOW, 0, &Build::new(now_ms(), vec![record])).unwrap();
    }
    // ten seconds bring five of the six batches, and take three
    let [read, taken] = [5, 3].map(|batches| (SLOW_BYTES * batches / 10) as f64);
    stage.hands[0].quota("isolog", "consumer_byte_rate", Some(read)).unwrap();
    stage.hands[1].quota("isolog", "producer_byte_rate", Some(taken)).unwrap();
    let isolog = Isolog::start(&stage.link(SLOW, "")).unwrap();
    stage.copied(&isolog, SLOW);
    for side in ["source", "destination"] {
        let ms = isolog.metric("isolog_throttled_ms_total", &format!("side=\"{side}\""));
        assert!(ms > 0.0, "{side} throttled nobody");
    }
    let [theirs, copy] = stage.hands.each_ref().map(|hand| hand.log(SLOW, 0).unwrap());
    let sections = |log: &Dump| {
        log.batches.iter().map(|one| (one.base, one.section.clone())).collect::<Vec<_>>()
    };
    assert_eq!(sections(&theirs), sections(&copy));
}

#[test]
fn links_do_with_transactions_what_they_were_told() {
    let _room = room(2);
    let stage = Stage::start();
    aborted_records_are_copied_where_that_is_chosen(&stage);
    visible_fillers_say_what_they_are(&stage);
    nothing_is_filled_where_that_is_chosen(&stage);
    a_live_copy_is_verified(&stage);
    quotas_make_a_copy_late(&stage);
}
