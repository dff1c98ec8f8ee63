//! What must stand still on real Kafka, and what goes on beside it: foreign writers, topics that
//! are deleted or made anew, foreign content, configs that break the copy; and a clean stop.
//!
//! It never skips. The scenes share two clusters and one isolog; each has topics of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::thread;
use std::time::Duration;

use protocol_tests::broker::batch::Build;
use protocol_tests::broker::direct::Dump;
use protocol_tests::check::batches_equal;
use protocol_tests::real::DumpSpec;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::Load;
use protocol_tests::real::LoadSpec;
use protocol_tests::real::Reader;
use protocol_tests::real::RealCluster;
use protocol_tests::real::Seen;
use protocol_tests::real::assert_equal;
use protocol_tests::real::dump;
use protocol_tests::real::long_room;
use protocol_tests::real::now_ms;

/// Records of one batch of a scene.
const BATCH: i64 = 10;
/// What a changed cluster may take until isolog has seen it, and a little more.
const A_WHILE: Duration = Duration::from_secs(4);
const STOP_MAX: Duration = Duration::from_secs(20);

/// The two sides and the isolog between them.
struct Stage {
    source: Hand,
    destination: Hand,
    isolog: Isolog,
}

impl Stage {
    /// Appends batches at the source; its new end.
    fn write(&self, topic: &str, partition: i32, batches: i64) -> i64 {
        write(&self.source, topic, partition, batches)
    }

    fn copied(&self, topic: &str, partition: i32) {
        let (_, end) = self.source.ends(topic, partition).unwrap();
        self.isolog.wait_copied(topic, i64::from(partition), end);
        let (ours, copy) =
            (self.source.log(topic, partition), self.destination.log(topic, partition));
        assert_eq!(batches_equal(&ours.unwrap(), &copy.unwrap(), 0, end), Vec::<String>::new());
    }

    /// One more batch arrives: the others go on.
    fn goes_on(&self, topic: &str, partition: i32) {
        self.write(topic, partition, 1);
        self.copied(topic, partition);
    }

    fn halted(&self, topic: &str, partition: i32, code: &str) -> Seen {
        let seen = self.isolog.wait_halt(topic, i64::from(partition));
        assert_eq!(seen.code, code, "{seen:?}");
        seen
    }

    fn log(&self, topic: &str) -> Shape {
        shape(&self.destination.log(topic, 0).unwrap())
    }
}

fn write(side: &Hand, topic: &str, partition: i32, batches: i64) -> i64 {
    for _ in 0..batches {
        let tag = format!("{topic}-{}", now_ms());
        side.produce(topic, partition, &Build::plain(now_ms(), &tag, BATCH as usize)).unwrap();
    }
    side.ends(topic, partition).unwrap().1
}

/// Every byte of a log that the broker did not make up.
type Shape = Vec<(i64, i64, u32, Vec<u8>)>;

fn shape(log: &Dump) -> Shape {
    let one = |batch: &protocol_tests::broker::direct::Stored| {
        (batch.base, batch.next, batch.header.unwrap().crc, batch.section.to_vec())
    };
    log.batches.iter().map(one).collect()
}

/// Topics at the source with three batches in partition 0.
fn make(source: &Hand, topics: &[&str]) {
    for topic in topics {
        source.create(topic, 1, 1, &[]).unwrap();
        assert_eq!(write(source, topic, 0, 3), 3 * BATCH);
    }
}

fn refused_before_the_first_byte(stage: &Stage, before: &[(&str, Shape)]) {
    let at = |seen: &Seen, offset: i64| assert!(seen.reason.contains(&offset.to_string()));
    at(&stage.isolog.wait_refused("m-content", "DIVERGED"), 0);
    at(&stage.isolog.wait_refused("m-ahead", "DESTINATION_AHEAD"), 4 * BATCH);
    let zstd = stage.isolog.wait_refused("m-zstd", "TOPIC_REFUSED");
    assert!(zstd.reason.contains("compression.type=zstd"), "{zstd:?}");
    stage.copied("m-wider", 0);
    for (topic, log) in before.iter().filter(|(topic, _)| *topic != "m-wider") {
        assert_eq!(stage.log(topic), *log, "{topic} has been written to");
    }
    stage.destination.alter("m-zstd", "compression.type", Some("producer")).unwrap();
    stage.copied("m-zstd", 0);
}

/// What stands at the destination before isolog ever runs.
fn occupy(stage: (&Hand, &Hand)) -> Vec<(&'static str, Shape)> {
    let (source, destination) = stage;
    make(source, &["m-content", "m-ahead", "m-zstd", "m-wider"]);
    for topic in ["m-content", "m-ahead"] {
        destination.create(topic, 1, 1, &[]).unwrap();
    }
    write(destination, "m-content", 0, 1);
    write(destination, "m-ahead", 0, 4);
    destination.create("m-zstd", 1, 1, &[("compression.type", "zstd")]).unwrap();
    destination.create("m-wider", 2, 1, &[]).unwrap();
    let topics = ["m-content", "m-ahead", "m-zstd", "m-wider"];
    topics.map(|topic| (topic, shape(&destination.log(topic, 0).unwrap()))).into()
}

/// Where a connection is lost between the foreign record and our append both logs are compared,
/// which names the same fault by another word.
const FOREIGN: [&str; 4] = ["m-foreign", "m-foreign-b", "m-foreign-c", "m-foreign-d"];

fn a_foreign_record_halts_its_partition_only(stage: &Stage) {
    let by_append = FOREIGN.iter().any(|topic| foreign_record_is_met_by_an_append(stage, topic));
    assert!(by_append, "each time both logs were compared before an append");
}

fn foreign_record_is_met_by_an_append(stage: &Stage, topic: &str) -> bool {
    stage.source.create(topic, 2, 1, &[]).unwrap();
    for partition in [0, 1] {
        stage.goes_on(topic, partition);
    }
    let foreign = Build::plain(now_ms(), "foreign", 1);
    assert_eq!(stage.destination.produce(topic, 0, &foreign).unwrap(), BATCH);
    stage.write(topic, 0, 2);
    let seen = stage.isolog.wait_halt(topic, 0);
    let is_writer = seen.code == "UNEXPECTED_WRITER";
    assert!(is_writer || seen.code == "DIVERGED", "{seen:?}");
    if is_writer {
        let both = [BATCH.to_string(), (BATCH + 1).to_string()];
        assert!(both.iter().all(|one| seen.reason.contains(one)), "{seen:?}");
    }
    let after = stage.log(topic);
    assert!(after.len() <= 2 + 5, "more than was in flight: {}", after.len());
    stage.write(topic, 0, 2);
    stage.goes_on(topic, 1);
    assert_eq!(stage.log(topic), after, "written to after the halt");
    is_writer
}

fn source_topics_come_and_go(stage: &Stage) {
    for topic in ["m-anew", "m-anew-longer", "m-gone"] {
        stage.copied(topic, 0);
    }
    let before = ["m-anew", "m-anew-longer", "m-gone"].map(|topic| stage.log(topic));
    for (topic, batches) in [("m-anew", 1), ("m-anew-longer", 9)] {
        stage.source.delete(topic).unwrap();
        stage.source.create(topic, 1, 1, &[]).unwrap();
        stage.write(topic, 0, batches);
    }
    stage.source.delete("m-gone").unwrap();
    stage.halted("m-anew", 0, "SOURCE_TOPIC_ID_CHANGED");
    stage.halted("m-anew-longer", 0, "SOURCE_TOPIC_ID_CHANGED");
    stage.halted("m-gone", 0, "SOURCE_TOPIC_DELETED");
    thread::sleep(A_WHILE);
    let after = ["m-anew", "m-anew-longer", "m-gone"].map(|topic| stage.log(topic));
    assert_eq!(before, after, "something of another topic was mixed in");
}

/// docs/OPERATING.md, "Begin a topic anew": the source's topics were made anew and halted; the
/// mirror topics are deleted, and isolog goes on running.
fn what_is_begun_anew_is_copied_from_its_beginning(stage: &Stage) {
    for topic in ["m-anew", "m-anew-longer"] {
        stage.destination.delete(topic).unwrap();
        let (_, end) = stage.source.ends(topic, 0).unwrap();
        stage.isolog.wait_for(&format!("{topic} begun anew"), 60, |_| {
            let copied = stage.destination.ends(topic, 0).is_ok_and(|(_, copy)| copy == end);
            copied.then_some(())
        });
        stage.goes_on(topic, 0);
    }
}

fn mirror_topics_come_and_go(stage: &Stage) {
    for topic in ["m-there-gone", "m-there-anew"] {
        stage.copied(topic, 0);
        stage.destination.delete(topic).unwrap();
    }
    stage.destination.create("m-there-anew", 1, 1, &[]).unwrap();
    stage.write("m-there-anew", 0, 1);
    stage.write("m-there-gone", 0, 1);
    stage.halted("m-there-anew", 0, "DESTINATION_TOPIC_ID_CHANGED");
    stage.halted("m-there-gone", 0, "DESTINATION_TOPIC_DELETED");
    assert_eq!(stage.log("m-there-anew"), Shape::new());
}

fn new_topics_and_partitions_appear(stage: &Stage) {
    make(&stage.source, &["m-new"]);
    stage.copied("m-new", 0);
    stage.source.grow("m-new", 3).unwrap();
    stage.goes_on("m-new", 1);
    stage.goes_on("m-new", 2);
    stage.goes_on("m-new", 0);
}

const DOWN: [&str; 6] = [
    "m-down-foreign",
    "m-down-ahead",
    "m-down-anew",
    "m-down-anew-short",
    "m-down-anew-cut",
    "m-down-fine",
];

/// What happens while isolog is down is found at its start, before the first byte.
fn what_happened_meanwhile_is_found(stage: &mut Stage) {
    for topic in DOWN {
        stage.copied(topic, 0);
    }
    assert!(stage.isolog.term(STOP_MAX).unwrap().success());
    for topic in ["m-down-foreign", "m-down-ahead"] {
        write(&stage.destination, topic, 0, 1);
    }
    stage.write("m-down-foreign", 0, 4);
    for (topic, batches) in [("m-down-anew", 9), ("m-down-anew-short", 1), ("m-down-anew-cut", 9)] {
        stage.source.delete(topic).unwrap();
        stage.source.create(topic, 1, 1, &[]).unwrap();
        stage.write(topic, 0, batches);
    }
    // It begins exactly where the copy of its namesake ends: only the topic's id can tell.
    stage.source.delete_records("m-down-anew-cut", 0, 3 * BATCH).unwrap();
    stage.write("m-down-fine", 0, 2);
    let before = [0, 1, 2, 3, 4].map(|n| stage.log(DOWN[n]));
    stage.isolog.start_again().unwrap();
    stage.copied("m-down-fine", 0);
    stage.halted("m-down-foreign", 0, "DIVERGED");
    stage.halted("m-down-ahead", 0, "DESTINATION_AHEAD");
    for topic in ["m-down-anew", "m-down-anew-short", "m-down-anew-cut"] {
        stage.halted(topic, 0, "SOURCE_TOPIC_ID_CHANGED");
    }
    thread::sleep(A_WHILE);
    assert_eq!(before, [0, 1, 2, 3, 4].map(|n| stage.log(DOWN[n])), "written to after a refusal");
}

/// SIGTERM under load: exit code 0, and the next start goes on where it stopped.
fn a_stop_under_load_is_clean(stage: &mut Stage, source: &str, destination: &str) {
    let spec = LoadSpec { rate: Some(3_000), ..LoadSpec::five_codecs("m-load", 2, 1) };
    let load = Load::start(source, &spec).unwrap();
    for _ in 0..2 {
        stage.isolog.wait_for("the load flows", 60, |isolog| {
            let moved = isolog
                .partitions()
                .into_iter()
                .filter(|one| one.topic.starts_with("m-load") && one.destination_hwm > Some(0));
            (moved.count() == 10).then_some(())
        });
        thread::sleep(Duration::from_secs(1));
        let status = stage.isolog.term(STOP_MAX).unwrap();
        assert_eq!(status.code(), Some(0), "{}", stage.isolog.log());
        stage.isolog.start_again().unwrap();
    }
    let loaded = load.stop().unwrap();
    for topic in spec.names() {
        (0..2).for_each(|partition| stage.copied(&topic, partition));
    }
    let all = DumpSpec::committed(&spec.names());
    let ours = dump(Reader::Java, source, &all).unwrap();
    assert_equal(&ours, &dump(Reader::Java, destination, &all).unwrap());
    assert_eq!(ours.iter().map(|one| one.records).sum::<u64>(), loaded.records);
}

/// Must show: a foreign record halts its partition only; topics made anew are never mixed; foreign
/// content is refused before the first byte.
#[test]
fn what_must_stand_still_does_and_the_others_go_on() {
    let _room = long_room(2);
    let (source, destination) = RealCluster::plain_pair("4.3.1").unwrap();
    let hands = (Hand::new(source.bootstrap()), Hand::new(destination.bootstrap()));
    make(&hands.0, &["m-fine", "m-anew", "m-anew-longer", "m-gone"]);
    make(&hands.0, &["m-there-gone", "m-there-anew"]);
    make(&hands.0, &DOWN);
    let occupied = occupy((&hands.0, &hands.1));
    let spec = IsologSpec::new(source.bootstrap(), destination.bootstrap(), &["m-*"]);
    let isolog = Isolog::start(&spec).unwrap();
    let mut stage = Stage { source: hands.0, destination: hands.1, isolog };

    refused_before_the_first_byte(&stage, &occupied);
    a_foreign_record_halts_its_partition_only(&stage);
    source_topics_come_and_go(&stage);
    what_is_begun_anew_is_copied_from_its_beginning(&stage);
    mirror_topics_come_and_go(&stage);
    new_topics_and_partitions_appear(&stage);
    stage.goes_on("m-fine", 0);
    what_happened_meanwhile_is_found(&mut stage);
    a_stop_under_load_is_clean(&mut stage, source.bootstrap(), destination.bootstrap());
    stage.goes_on("m-fine", 0);
    assert!(!stage.isolog.log().contains("panicked"), "{}", stage.isolog.log());
}
