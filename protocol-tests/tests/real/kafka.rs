//! The stock broker has the last word: real Apache Kafka, real clients that are not ours.
//!
//! These tests never skip: without Kafka they fail and say what is missing.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use protocol_tests::real::DumpSpec;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolation;
use protocol_tests::real::Load;
use protocol_tests::real::LoadSpec;
use protocol_tests::real::Reader;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::assert_equal;
use protocol_tests::real::dump;
use protocol_tests::real::room;

/// The longest wait for a first record in every partition.
const WRITTEN_WAIT: Duration = Duration::from_secs(240);

fn readers_agree(version: &str) {
    let _room = room(1);
    let cluster = RealCluster::start(RealSpec::new(version, 1)).unwrap();
    let spec = LoadSpec { records: Some(5_000), ..LoadSpec::five_codecs("agree", 4, 1) };
    let loaded = Load::start(cluster.bootstrap(), &spec).unwrap().wait().unwrap();
    assert_eq!(loaded.records, 5_000);

    let all = DumpSpec::committed(&spec.names());
    let java = dump(Reader::Java, cluster.bootstrap(), &all).unwrap();
    let librdkafka = dump(Reader::Librdkafka, cluster.bootstrap(), &all).unwrap();
    assert_eq!(java.len(), 5 * 4);
    assert_eq!(java.iter().map(|one| one.records).sum::<u64>(), 5_000);
    assert_equal(&java, &librdkafka);
}

#[test]
fn both_readers_agree_on_five_codecs_4_3_1() {
    readers_agree("4.3.1");
}

#[test]
fn both_readers_agree_on_five_codecs_3_9_1() {
    readers_agree("3.9.1");
}

/// Aborted records and control batches: both readers hide the same ones, and both stop at `ends`.
#[test]
fn both_readers_agree_on_transactions_and_on_given_ends() {
    let _room = room(1);
    let cluster = RealCluster::start(RealSpec::new("4.3.1", 1)).unwrap();
    let mut spec = LoadSpec { records: Some(2_000), ..LoadSpec::five_codecs("txn", 2, 1) };
    spec.more = ["--txn", "50", "--abort-percent", "40"].map(String::from).into();
    Load::start(cluster.bootstrap(), &spec).unwrap().wait().unwrap();
    let committed = DumpSpec::committed(&spec.names());
    let everything = DumpSpec { isolation: Isolation::Uncommitted, ..committed.clone() };
    let first = dump(Reader::Java, cluster.bootstrap(), &committed).unwrap();
    let seen = |digests: &[protocol_tests::real::PartitionDigest]| -> u64 {
        digests.iter().map(|one| one.records).sum()
    };
    let uncommitted = dump(Reader::Java, cluster.bootstrap(), &everything).unwrap();
    assert_eq!(seen(&uncommitted), 2_000);
    assert!(seen(&first) < 2_000, "some transactions were aborted");

    Load::start(cluster.bootstrap(), &spec).unwrap().wait().unwrap();
    let grown = dump(Reader::Java, cluster.bootstrap(), &committed).unwrap();
    assert_ne!(first, grown);
    let to_ends = committed.to_ends_of(&first);
    for reader in [Reader::Java, Reader::Librdkafka] {
        assert_equal(&first, &dump(reader, cluster.bootstrap(), &to_ends).unwrap());
    }
}

/// Waits until every partition has records that are replicated. A leader that knows nothing of a
/// producer takes any sequence number (broker-facts P1): where the producer's first batch meets a
/// dead broker and its second one a leader without a log, the first one is out of order for ever,
/// and the stock producer gives it up after its delivery timeout.
fn wait_written(cluster: &RealCluster, spec: &LoadSpec, partitions: i32) {
    let hand = Hand::new(cluster.bootstrap());
    let is_written = |topic: &str, partition| {
        hand.ends(topic, partition).is_ok_and(|(_, high_watermark)| high_watermark > 0)
    };
    let until = Instant::now() + WRITTEN_WAIT;
    for topic in spec.names() {
        while !(0..partitions).all(|partition| is_written(&topic, partition)) {
            assert!(Instant::now() < until, "{topic} has partitions without a record");
            sleep(Duration::from_millis(100));
        }
    }
}

/// Three brokers lose each one in turn, by SIGKILL, freeze and SIGTERM; the producer goes on, and
/// what was acknowledged is there.
#[test]
fn a_load_outlives_every_broker_of_three() {
    let _room = room(3);
    let spec = RealSpec::new("4.3.1", 3).prop("min.insync.replicas", "2");
    let cluster = RealCluster::start(spec).unwrap();
    let spec = LoadSpec { rate: Some(2_000), ..LoadSpec::five_codecs("outlive", 3, 3) };
    let load = Load::start(cluster.bootstrap(), &spec).unwrap();
    wait_written(&cluster, &spec, 3);
    cluster.kill(1).unwrap();
    assert!(cluster.kill(1).is_err(), "a dead node cannot be killed");
    cluster.restart(1).unwrap();
    cluster.freeze(2).unwrap();
    cluster.thaw(2).unwrap();
    cluster.term(3).unwrap();
    cluster.restart(3).unwrap();
    let loaded = load.stop().unwrap();

    let all = DumpSpec::committed(&spec.names());
    let java = dump(Reader::Java, cluster.bootstrap(), &all).unwrap();
    assert_eq!(java.iter().map(|one| one.records).sum::<u64>(), loaded.records);
    assert_equal(&java, &dump(Reader::Librdkafka, cluster.bootstrap(), &all).unwrap());
}

#[test]
fn a_cluster_that_cannot_start_says_why() {
    let error = RealCluster::start(RealSpec::new("0.0.0", 1)).unwrap_err().to_string();
    assert!(error.contains("This test needs Apache Kafka 0.0.0"), "{error}");
}
