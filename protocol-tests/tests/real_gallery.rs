//! Every kind of source on real Kafka, mirrored while it is written and while isolog is killed:
//! what Kafka's own consumer reads on both sides is the same at the same offsets.
//!
//! It never skips: without Kafka it fails and says what is missing.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::thread;
use std::time::Duration;
use std::time::SystemTime;

use protocol_tests::broker::batch::Build;
use protocol_tests::broker::batch::Record;
use protocol_tests::broker::codec::Codec;
use protocol_tests::real::DumpSpec;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolation;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::Load;
use protocol_tests::real::LoadSpec;
use protocol_tests::real::Reader;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::assert_equal;
use protocol_tests::real::dump;
use protocol_tests::real::turn;

const COMPACTED: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("segment.ms", "200"),
    ("delete.retention.ms", "100"),
];
/// What the cleaner may take to thin a log.
const CLEANED_MAX: Duration = Duration::from_secs(90);

fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since_1970.as_millis()).unwrap()
}

/// Keys that come again in batches of a few, packed by each codec in turn.
fn write_keys(source: &Hand, topic: &str, rounds: i64) {
    for round in 0..rounds {
        let record = |n: i64| {
            let key = format!("k{}", (round * 7 + n * n) % 23);
            Record::new(&key, &format!("value {round} {n}"))
        };
        let codec = Codec::ALL[(round % 5) as usize];
        let build = Build::new(now_ms(), (0..9).map(record).collect()).codec(codec);
        source.produce(topic, 0, &build).unwrap();
        // another segment, so that the cleaner has something to clean
        if round % 20 == 19 {
            thread::sleep(Duration::from_millis(250));
        }
    }
}

/// Waits until the source's log has holes, or batches with fewer records than offsets.
fn wait_cleaned(source: &Hand, topic: &str) {
    let began = SystemTime::now();
    loop {
        let log = source.log(topic, 0).unwrap();
        let holes = log.batches.windows(2).filter(|two| two[0].next != two[1].base).count();
        let thin = log.batches.iter().filter_map(|batch| batch.header);
        let thin = thin.filter(|header| header.count <= header.last_offset_delta).count();
        if holes + thin > 10 {
            println!("{topic}: {holes} holes, {thin} thinned batches of {}", log.batches.len());
            return;
        }
        assert!(began.elapsed().unwrap() < CLEANED_MAX, "{topic} is not cleaned");
        thread::sleep(Duration::from_secs(1));
    }
}

/// A load that ends by itself after some records.
fn load(source: &RealCluster, prefix: &str, more: &[&str]) -> (Load, Vec<String>) {
    let more = more.iter().map(ToString::to_string).collect();
    let spec = LoadSpec { records: Some(20_000), more, ..LoadSpec::five_codecs(prefix, 2, 1) };
    (Load::start(source.bootstrap(), &spec).unwrap(), spec.names())
}

fn kinds(source: &RealCluster, hand: &Hand) -> (Vec<Load>, Vec<(String, i32)>) {
    for topic in ["g-compact", "g-late"] {
        hand.create(topic, 1, 1, COMPACTED).unwrap();
    }
    write_keys(hand, "g-compact", 200);
    let stamped = ["--topic-config", "message.timestamp.type=LogAppendTime"];
    let aborted = ["--txn", "25", "--abort-percent", "40"];
    let both = [&stamped[..], &aborted[..]].concat();
    let loads = [
        load(source, "g-txn", &aborted),
        load(source, "g-lat", &stamped),
        load(source, "g-txnlat", &both),
    ];
    let mut places = vec![("g-compact".to_owned(), 0), ("g-late".to_owned(), 0)];
    let mut running = Vec::new();
    for (load, topics) in loads {
        running.push(load);
        places.extend(topics.iter().flat_map(|topic| [(topic.clone(), 0), (topic.clone(), 1)]));
    }
    wait_cleaned(hand, "g-compact");
    (running, places)
}

/// Kills isolog now and then while the producers are at work; a topic is cleaned behind its back.
fn disturb(isolog: &mut Isolog, hand: &Hand) {
    for round in 0..6 {
        thread::sleep(Duration::from_millis(900));
        isolog.kill();
        write_keys(hand, "g-late", 20);
        isolog.start_again().unwrap();
        if round == 3 {
            wait_cleaned(hand, "g-late");
        }
    }
}

fn mirrored(source_version: &str, destination_version: &str) {
    let _turn = turn();
    let clean = |spec: RealSpec| spec.prop("log.cleaner.backoff.ms", "500");
    let source = RealCluster::start(clean(RealSpec::new(source_version, 1))).unwrap();
    let destination = RealCluster::start(clean(RealSpec::new(destination_version, 1))).unwrap();
    let hand = Hand::new(source.bootstrap());
    let (loads, places) = kinds(&source, &hand);
    let mut spec = IsologSpec::new(source.bootstrap(), destination.bootstrap(), &["g-*"]);
    spec.link_more = "metadata.max.age.ms = 1000\navailability.check.ms = 1000\n".into();
    let mut isolog = Isolog::start(&spec).unwrap();
    disturb(&mut isolog, &hand);
    for load in loads {
        load.wait().unwrap();
    }
    for (topic, partition) in &places {
        let (_, end) = hand.ends(topic, *partition).unwrap();
        isolog.wait_copied(topic, i64::from(*partition), end);
    }
    let mut topics: Vec<String> = places.iter().map(|(topic, _)| topic.clone()).collect();
    topics.dedup();
    judge(&source, &destination, &topics);
    let log = isolog.log();
    assert!(!log.contains("panicked") && !log.contains("halted"), "{log}");
}

/// Both readers, both isolation levels: a read_uncommitted reader of the copy sees what a
/// read_committed reader of the source does. Compacted logs are compared where both have records.
fn judge(source: &RealCluster, destination: &RealCluster, topics: &[String]) {
    let (compacted, whole): (Vec<String>, Vec<String>) = topics
        .iter()
        .cloned()
        .partition(|topic| topic.contains("compact") || topic.contains("late"));
    let committed = DumpSpec::committed(&whole);
    let ours = dump(Reader::Java, source.bootstrap(), &committed).unwrap();
    assert!(ours.iter().map(|one| one.records).sum::<u64>() > 30_000);
    for isolation in [Isolation::Committed, Isolation::Uncommitted] {
        for reader in [Reader::Java, Reader::Librdkafka] {
            let spec = DumpSpec { isolation, ..committed.clone() };
            assert_equal(&ours, &dump(reader, destination.bootstrap(), &spec).unwrap());
        }
    }
    let hands = [source, destination].map(|cluster| Hand::new(cluster.bootstrap()));
    for topic in &compacted {
        let [theirs, copy] = [0, 1].map(|side: usize| hands[side].log(topic, 0).unwrap());
        assert_eq!((theirs.start, theirs.end), (copy.start, copy.end), "{topic}");
        let seen = [&theirs, &copy].map(|log| protocol_tests::check::visible(log, log.end));
        let mut shared = 0;
        for (offset, record) in &seen[0] {
            match seen[1].get(offset) {
                Some(other) => assert_eq!(record, other, "{topic} at {offset}"),
                // the destination's own cleaner may be ahead
                None => continue,
            }
            shared += 1;
        }
        let extra = seen[1].keys().filter(|offset| !seen[0].contains_key(offset)).count();
        println!("{topic}: {shared} records shared, {extra} cleaned at the source since");
        assert!(shared > 0);
    }
}

#[test]
fn every_kind_of_source_is_copied_exactly_4_3_1() {
    mirrored("4.3.1", "4.3.1");
}
