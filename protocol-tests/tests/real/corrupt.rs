//! Damage and malice on real Kafka: a bit that flips on the source's disk, a bomb in a batch that
//! has to be encoded anew, a config that is changed under us at the destination. Each stops its
//! own partition and is over when its cause is.
//!
//! It never skips. The scenes share two clusters and one isolog; each has a topic of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;

use bytes::Bytes;
use isolog::wire::codec::Codec;
use isolog::wire::codec::compress;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::batch::HEADER_BYTES;
use protocol_tests::broker::batch::Header;
use protocol_tests::broker::batch::Record;
use protocol_tests::check::assert_copied;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::RealCluster;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;

/// Records of one batch.
const BATCH: usize = 10;
/// What a batch of a few KB becomes when it is unpacked: above `UNPACKED_BYTES_MAX`.
const BOMB_BYTES: usize = 160 << 20;
const DAMAGED: &str = "c-damaged";
const BOMB: &str = "c-bomb";
const CHANGED: &str = "c-changed";

struct Stage {
    source: Hand,
    destination: Hand,
    isolog: Isolog,
}

impl Stage {
    fn write(&self, topic: &str, partition: i32) {
        let tag = format!("{topic}-{}", now_ms());
        let batch = Build::plain(now_ms(), &tag, BATCH);
        self.source.produce(topic, partition, &batch).unwrap();
    }

    /// Everything is there; raw where batches may be copied as they are.
    fn copied(&self, topic: &str, partition: i32) {
        let (_, end) = self.source.ends(topic, partition).unwrap();
        self.isolog.wait_copied(topic, i64::from(partition), end);
        let [ours, copy] =
            [&self.source, &self.destination].map(|hand| hand.log(topic, partition).unwrap());
        assert_copied(&ours, &copy, end);
    }

    fn halted(&self, topic: &str, code: &str, words: &[&str], end: i64) {
        let seen = self.isolog.wait_halt(topic, 0);
        assert_eq!(seen.code, code, "{seen:?}");
        assert!(words.iter().all(|part| seen.reason.contains(part)), "{seen:?}");
        assert_eq!(self.destination.ends(topic, 0).unwrap().1, end, "{topic}");
    }

    /// The neighbours take no notice.
    fn others_go_on(&self) {
        for topic in [DAMAGED, CHANGED] {
            self.write(topic, 1);
            self.copied(topic, 1);
        }
    }
}

/// Flips the last byte of the first segment of a partition, of a source that stands still.
fn flip(cluster: &RealCluster, topic: &str) {
    cluster.term(1).unwrap();
    let path = cluster.data_dir(1).join(format!("{topic}-0/{:020}.log", 0));
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 0x40;
    fs::write(&path, bytes).unwrap();
    cluster.restart(1).unwrap();
}

/// The broker reads its disk without looking: what it sends has a wrong checksum.
fn a_flipped_bit_is_never_copied(stage: &mut Stage, cluster: &RealCluster) {
    stage.copied(DAMAGED, 0);
    stage.isolog.kill();
    stage.write(DAMAGED, 0);
    flip(cluster, DAMAGED);
    stage.isolog.start_again().unwrap();
    let at = format!("at {BATCH}");
    stage.halted(DAMAGED, "CORRUPT_BATCH", &[&at, "checksum"], BATCH as i64);
    stage.others_go_on();
    flip(cluster, DAMAGED);
    stage.write(DAMAGED, 0);
    stage.copied(DAMAGED, 0);
}

/// One record that is nothing but zeros.
fn bomb() -> Bytes {
    let value = Some(Bytes::from(vec![0; BOMB_BYTES]));
    let plain = Build::new(now_ms(), vec![Record { value, ..Record::new("bomb", "") }]).bytes();
    let packed = compress(Codec::Zstd, plain[HEADER_BYTES..].to_vec()).unwrap();
    assert!(packed.len() < 100_000, "{}", packed.len());
    let header = Header::read(&plain).unwrap();
    Header { attributes: i16::from(Codec::Zstd.number()), ..header }.write(&packed)
}

/// A topic with the broker's own time has to be encoded anew, so its batches are unpacked.
fn a_bomb_is_refused_at_its_cap(stage: &Stage) {
    stage.write(BOMB, 0);
    let (_, end) = stage.source.ends(BOMB, 0).unwrap();
    stage.isolog.wait_copied(BOMB, 0, end);
    stage.source.produce_bytes(BOMB, 0, bomb()).unwrap();
    stage.halted(BOMB, "DECOMPRESSION_BOMB", &[&format!("at {end}"), "134217728"], end);
    let [ours, copy] = [&stage.source, &stage.destination].map(|hand| hand.ends(BOMB, 0).unwrap());
    assert_eq!((ours.1, copy.1), (end + 1, end));
    stage.others_go_on();
}

/// Under another codec readers would see fillers (H5): the partition stands before it needs one.
fn a_changed_config_halts_what_it_breaks(stage: &Stage) {
    stage.copied(CHANGED, 0);
    let (_, end) = stage.destination.ends(CHANGED, 0).unwrap();
    stage.destination.alter(CHANGED, "compression.type", Some("zstd")).unwrap();
    let halted = || {
        let seen = stage.isolog.partition(CHANGED, 0)?;
        (seen.code == "DESTINATION_CONFIG").then_some(seen.reason)
    };
    let reason = stage.isolog.wait_for("the change is seen", 60, |_| halted());
    assert!(reason.contains("compression.type=zstd"), "{reason}");
    stage.write(CHANGED, 0);
    assert_eq!(stage.destination.ends(CHANGED, 0).unwrap().1, end);
    stage.destination.alter(CHANGED, "compression.type", Some("producer")).unwrap();
    stage.copied(CHANGED, 0);
}

#[test]
fn damage_stops_its_own_partition_and_nothing_else() {
    let _room = room(2);
    let (source, destination) = RealCluster::plain_pair("4.3.1").unwrap();
    let hands = [Hand::new(source.bootstrap()), Hand::new(destination.bootstrap())];
    for topic in [DAMAGED, CHANGED] {
        hands[0].create(topic, 2, 1, &[]).unwrap();
    }
    hands[0].create(BOMB, 1, 1, &[("message.timestamp.type", "LogAppendTime")]).unwrap();
    let spec = IsologSpec::new(source.bootstrap(), destination.bootstrap(), &["c-*"]);
    let isolog = Isolog::start(&spec).unwrap();
    let [ours, theirs] = hands;
    let mut stage = Stage { source: ours, destination: theirs, isolog };
    for topic in [DAMAGED, CHANGED] {
        stage.write(topic, 0);
        stage.write(topic, 1);
    }
    a_bomb_is_refused_at_its_cap(&stage);
    a_changed_config_halts_what_it_breaks(&stage);
    a_flipped_bit_is_never_copied(&mut stage, &source);
    assert!(!stage.isolog.log().contains("panicked"), "{}", stage.isolog.log());
}
