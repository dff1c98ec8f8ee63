//! Plain topics between Kafka versions, both ways, and a source too old for topic ids in a fetch.
//!
//! It never skips: without Kafka it fails and says what is missing.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::thread;
use std::time::Duration;
use std::time::SystemTime;

use protocol_tests::broker::batch::Build;
use protocol_tests::check::batches_equal;
use protocol_tests::real::DumpSpec;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::Load;
use protocol_tests::real::LoadSpec;
use protocol_tests::real::Reader;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::assert_equal;
use protocol_tests::real::dump;
use protocol_tests::real::room;

const RECORDS: u64 = 3_000;
const PARTITIONS: i32 = 2;

/// Loads five topics at `source`, mirrors them, and compares records and batches.
fn mirrored(source: &RealCluster, destination: &RealCluster, prefix: &str) -> Isolog {
    let load = LoadSpec { records: Some(RECORDS), ..LoadSpec::five_codecs(prefix, 2, 1) };
    let topics = format!("{prefix}-*");
    let mut spec = IsologSpec::new(source.bootstrap(), destination.bootstrap(), &[&topics]);
    spec.link = prefix.into();
    let isolog = Isolog::start(&spec).unwrap();
    Load::start(source.bootstrap(), &load).unwrap().wait().unwrap();
    let (ours, there) = (Hand::new(source.bootstrap()), Hand::new(destination.bootstrap()));
    for topic in load.names() {
        for partition in 0..PARTITIONS {
            let (_, end) = ours.ends(&topic, partition).unwrap();
            isolog.wait_copied(&topic, i64::from(partition), end);
            let logs = [&ours, &there].map(|hand| hand.log(&topic, partition).unwrap());
            assert_eq!(logs[0].batches.len(), logs[1].batches.len(), "{topic}-{partition}");
            assert_eq!(batches_equal(&logs[0], &logs[1], 0, end), Vec::<String>::new());
        }
    }
    let all = DumpSpec::committed(&load.names());
    let read = dump(Reader::Java, source.bootstrap(), &all).unwrap();
    assert_eq!(read.iter().map(|one| one.records).sum::<u64>(), RECORDS);
    assert_equal(&read, &dump(Reader::Java, destination.bootstrap(), &all).unwrap());
    isolog
}

/// 2.8 fetches by name: a topic made anew must be seen by its id before anything of it is copied,
/// also one that is longer than the copy.
///
/// With `is_frozen` isolog sees nothing between the two topics, only the new one's longer log.
fn made_anew_at_an_old_source(source: &RealCluster, destination: &RealCluster, is_frozen: bool) {
    let topic = if is_frozen { "anew-unseen" } else { "anew-seen" };
    let (ours, there) = (Hand::new(source.bootstrap()), Hand::new(destination.bootstrap()));
    let write = |batches: u32| {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let time_ms = i64::try_from(since_1970.as_millis()).unwrap();
        let tag = format!("{time_ms}");
        for _ in 0..batches {
            ours.produce(topic, 0, &Build::plain(time_ms, &tag, 10)).unwrap();
        }
    };
    ours.create(topic, 1, 1, &[]).unwrap();
    write(3);
    let mut spec = IsologSpec::new(source.bootstrap(), destination.bootstrap(), &[topic]);
    spec.link = topic.into();
    // Only the broker's own answers can tell in time, not the regular look at the topics.
    spec.link_more = "metadata.max.age.ms = 30000\n".into();
    let isolog = Isolog::start(&spec).unwrap();
    isolog.wait_copied(topic, 0, 30);
    let before = there.log(topic, 0).unwrap().batches.len();
    if is_frozen {
        isolog.freeze(true).unwrap();
        thread::sleep(Duration::from_secs(1)); // its last fetch ends before the topic does
    }
    ours.delete(topic).unwrap();
    ours.create(topic, 1, 1, &[]).unwrap();
    write(9);
    if is_frozen {
        isolog.freeze(false).unwrap();
    }
    let seen = isolog.wait_halt(topic, 0);
    assert_eq!(seen.code, "SOURCE_TOPIC_ID_CHANGED", "{seen:?}");
    thread::sleep(Duration::from_secs(2));
    let after = there.log(topic, 0).unwrap();
    assert_eq!(after.batches.len(), before, "mixed: {:?}", after.batches);
}

#[test]
fn plain_topics_are_copied_between_versions() {
    let _room = room(4);
    let start = |version: &str| RealCluster::start(RealSpec::new(version, 1)).unwrap();
    let (new, mid, old) = (start("4.3.1"), start("3.9.1"), start("2.8.2"));
    let pairs = [
        (&mid, &new, "a-3-9-to-4-3"),
        (&old, &new, "b-2-8-to-4-3"),
        (&new, &mid, "c-4-3-to-3-9"),
        (&new, &old, "d-4-3-to-2-8"),
    ];
    let running = pairs.map(|(source, destination, name)| mirrored(source, destination, name));
    for mut isolog in running {
        assert!(isolog.term(Duration::from_secs(20)).unwrap().success(), "{}", isolog.log());
        assert!(!isolog.log().contains("panicked"), "{}", isolog.log());
    }
    made_anew_at_an_old_source(&old, &new, false);
    made_anew_at_an_old_source(&old, &new, true);
}
