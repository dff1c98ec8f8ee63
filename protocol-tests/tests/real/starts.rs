//! Logs that do not start at 0, on real Kafka: trimmed, emptied, trimmed inside a batch, trimmed
//! and compacted, with brokers and isolog killed meanwhile; and mirrors that begin where told.
//!
//! It never skips. What is filled below a start no reader may see, not even for a moment.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use bytes::Bytes;
use isolog::ids::Offset;
use isolog::wire::filler;
use isolog::wire::filler::Kind;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use protocol_tests::broker::batch::Build;
use protocol_tests::real::DumpSpec;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::Reader;
use protocol_tests::real::RealCluster;
use protocol_tests::real::assert_equal;
use protocol_tests::real::dump;
use protocol_tests::real::long_room;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;

/// Records of one batch.
const BATCH: i64 = 10;
/// What may take a broker's checkpoint, a few rounds of the clerk and a busy machine, in seconds.
const SETTLED_SECONDS: u64 = 150;
/// The front of the topic whose filling is interrupted.
const LONG: i64 = 60 * filler::COUNT_MAX as i64;
/// The destination takes it in no less than this, however quick the machine: a quota.
const LONG_SECONDS: usize = 120;
/// How often isolog is killed meanwhile.
const KILLS: u32 = 4;

struct Stage {
    source: Hand,
    destination: Hand,
    isolog: Isolog,
    sides: (RealCluster, RealCluster),
}

fn write(source: &Hand, topic: &str, batches: i64) -> i64 {
    for _ in 0..batches {
        let tag = format!("{topic}-{}", now_ms());
        source.produce(topic, 0, &Build::plain(now_ms(), &tag, BATCH as usize)).unwrap();
    }
    source.ends(topic, 0).unwrap().1
}

/// A topic of `batches` that starts at `start`.
fn trimmed(source: &Hand, topic: &str, batches: i64, start: i64) {
    source.create(topic, 1, 1, &[]).unwrap();
    write(source, topic, batches);
    source.delete_records(topic, 0, start).unwrap();
}

/// Moves the start of a source topic that is compacted.
fn trim_compacted(source: &Hand, topic: &str, start: i64) {
    source.alter(topic, "retention.ms", Some("-1")).unwrap();
    source.alter(topic, "cleanup.policy", Some("compact,delete")).unwrap();
    // the log learns its policy a moment after that was answered (POLICY_VIOLATION until then)
    let until = Instant::now() + Duration::from_secs(60);
    while let Err(error) = source.delete_records(topic, 0, start) {
        assert!(error.to_string().contains("Kafka error 44") && Instant::now() < until, "{error}");
        sleep(Duration::from_millis(100));
    }
    source.alter(topic, "cleanup.policy", Some("compact")).unwrap();
}

impl Stage {
    fn wait_ends(&self, topic: &str, seconds_max: u64) {
        let want = self.source.ends(topic, 0).unwrap();
        self.isolog.wait_for(&format!("{topic} from {want:?}"), seconds_max, |_| {
            let ends = self.destination.ends(topic, 0).ok()?;
            assert!(ends.0 <= want.0, "{topic} starts at {} before {want:?}", ends.0);
            (ends == want).then_some(())
        });
    }

    /// Both readers read the same of both sides.
    fn same(&self, topics: &[&str]) {
        let topics: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let all = DumpSpec::committed(&topics);
        let ours = dump(Reader::Java, self.sides.0.bootstrap(), &all).unwrap();
        for reader in [Reader::Java, Reader::Librdkafka] {
            assert_equal(&ours, &dump(reader, self.sides.1.bootstrap(), &all).unwrap());
        }
    }

    fn wait_policy(&self, topic: &str, want: &str) {
        self.isolog.wait_for(&format!("{topic} is {want}"), SETTLED_SECONDS, |_| {
            let is = self.destination.config(topic, "cleanup.policy").ok()??;
            (is == want).then_some(())
        });
    }
}

const TOPICS: [&str; 5] = ["s-trimmed", "s-emptied", "s-inside", "s-compacted", "s-long"];

fn part_of_front() -> Bytes {
    let part = filler::filler(Kind::Hidden, Offset::ZERO, filler::COUNT_MAX, filler::NO_TIMESTAMP);
    part.to_bytes()
}

fn make(source: &Hand) {
    trimmed(source, "s-trimmed", 5, 2 * BATCH);
    trimmed(source, "s-emptied", 5, 5 * BATCH);
    trimmed(source, "s-inside", 5, 2 * BATCH + 3);
    trimmed(source, "s-compacted", 5, 2 * BATCH + 3);
    source.alter("s-compacted", "cleanup.policy", Some("compact")).unwrap();
    source.create("s-long", 1, 1, &[]).unwrap();
    let front = part_of_front();
    for _ in 0..LONG / i64::from(filler::COUNT_MAX) {
        source.produce_bytes("s-long", 0, front.clone()).unwrap();
    }
    write(source, "s-long", 2);
    source.delete_records("s-long", 0, LONG).unwrap();
}

/// Killed again and again while the long front is filled; it goes on where it was. The front cannot
/// be full before the last kill: the broker takes so little of it a second.
fn killed_inside_the_front(stage: &mut Stage) {
    let mut filled = 0;
    for kill in 0..KILLS {
        stage.isolog.wait_for("more of the front is filled", 60, |_| {
            let end = stage.destination.ends("s-long", 0).ok()?.1;
            (end > filled).then_some(())
        });
        stage.isolog.kill();
        if kill == 0 {
            // it could leave the stage three rounds of the clerk later; nobody changes it now
            let retention = stage.destination.config("s-compacted", "retention.ms").unwrap();
            assert_eq!(retention.as_deref(), Some("-1"), "nothing is deleted on the stage");
        }
        filled = stage.destination.ends("s-long", 0).unwrap().1;
        assert!(filled < LONG, "the quota does not hold: {filled} of {LONG} are filled");
        stage.isolog.start_again().unwrap();
    }
    stage.destination.quota("isolog", "producer_byte_rate", None).unwrap();
}

/// The broker forgets DeleteRecords when it crashes before it wrote them down, single as it is.
fn the_broker_forgets(stage: &Stage) {
    // who would mend it at once waits until it is seen
    stage.isolog.freeze(true).unwrap();
    stage.sides.1.kill(1).unwrap();
    stage.sides.1.forget_starts(1).unwrap();
    stage.sides.1.restart(1).unwrap();
    let starts = TOPICS.map(|topic| stage.destination.ends(topic, 0).unwrap().0);
    assert!(starts.contains(&0), "nothing was forgotten: {starts:?}");
    stage.isolog.freeze(false).unwrap();
    for topic in TOPICS {
        stage.wait_ends(topic, 90);
    }
}

fn starts(version: &str) {
    let _room = long_room(2);
    let (source, destination) = RealCluster::plain_pair(version).unwrap();
    let hands = (Hand::new(source.bootstrap()), Hand::new(destination.bootstrap()));
    make(&hands.0);
    let front_bytes = part_of_front().len() * (LONG / i64::from(filler::COUNT_MAX)) as usize;
    let rate = front_bytes / LONG_SECONDS;
    hands.1.quota("isolog", "producer_byte_rate", Some(rate as f64)).unwrap();
    let spec = IsologSpec::new(source.bootstrap(), destination.bootstrap(), &["s-*"]);
    let isolog = Isolog::start(&spec).unwrap();
    let sides = (source, destination);
    let mut stage = Stage { source: hands.0, destination: hands.1, isolog, sides };

    killed_inside_the_front(&mut stage);
    for topic in TOPICS {
        stage.wait_ends(topic, 120);
    }
    the_broker_forgets(&stage);
    stage.same(&TOPICS);

    for topic in TOPICS {
        write(&stage.source, topic, 3);
    }
    stage.source.delete_records("s-trimmed", 0, 4 * BATCH + 5).unwrap();
    for topic in TOPICS {
        stage.wait_ends(topic, 60);
    }
    stage.wait_policy("s-compacted", "compact");
    trim_compacted(&stage.source, "s-compacted", 6 * BATCH);
    stage.wait_ends("s-compacted", 60);
    stage.wait_policy("s-compacted", "compact");
    let retention = |side: &Hand| side.config("s-compacted", "retention.ms").unwrap();
    stage.isolog.wait_for("what its source has", SETTLED_SECONDS, |_| {
        (retention(&stage.destination) == retention(&stage.source)).then_some(())
    });
    write(&stage.source, "s-compacted", 1);
    stage.wait_ends("s-compacted", 60);
    stage.same(&TOPICS);
    assert!(!stage.isolog.log().contains("panicked"), "{}", stage.isolog.log());
}

/// `ISOLOG_STARTS=full` does the same on 3.9.1, a minute more.
#[test]
fn logs_that_start_above_zero_are_copied_and_followed() {
    starts("4.3.1");
    if std::env::var("ISOLOG_STARTS").is_ok_and(|text| text == "full") {
        starts("3.9.1");
    }
}

fn begin(sides: &(RealCluster, RealCluster), spec: &str, topics: &str) -> Isolog {
    let mut isolog = IsologSpec::new(sides.0.bootstrap(), sides.1.bootstrap(), &[topics]);
    isolog.link = format!("from-{}", topics.trim_end_matches(['-', '*']));
    isolog.link_more += &format!("mirror.start.offset.spec = \"{spec}\"\n");
    Isolog::start(&isolog).unwrap()
}

/// Waits for the copy of `start..end` and compares every batch from `start` on.
fn wait_copy(stage: (&Hand, &Hand), isolog: &Isolog, topic: &str, (start, end): (i64, i64)) {
    isolog.wait_for(&format!("{topic} from {start} to {end}"), 60, |_| {
        let ends = stage.1.ends(topic, 0).ok()?;
        (ends == (start, end)).then_some(())
    });
    let of = |hand: &Hand| {
        let log = hand.log(topic, 0).unwrap();
        let kept = log.batches.into_iter().filter(|batch| batch.next > start);
        kept.map(|batch| (batch.base, batch.next, batch.section)).collect::<Vec<_>>()
    };
    assert_eq!(of(stage.0), of(stage.1), "{topic}");
}

/// The start is chosen once: what the source gets afterwards, and kills, do not change it.
#[test]
fn a_mirror_begins_where_it_was_told_and_remembers() {
    let _room = room(2);
    let (source, destination) = RealCluster::plain_pair("4.3.1").unwrap();
    let (ours, theirs) = (Hand::new(source.bootstrap()), Hand::new(destination.bootstrap()));
    let hands = (&ours, &theirs);
    let sides = (source, destination);
    // 2026-01-01, one batch a day
    let day = |n: i64| 1_767_225_600_000 + n * 86_400_000;
    for topic in ["l-one", "t-one", "t-late"] {
        ours.create(topic, 1, 1, &[("retention.ms", "-1")]).unwrap();
        for n in 0..5 {
            ours.produce(topic, 0, &Build::plain(day(n), topic, BATCH as usize)).unwrap();
        }
    }
    let mut latest = begin(&sides, "latest", "l-*");
    latest.wait_for("the start is chosen", 30, |isolog| {
        isolog.partition("l-one", 0).filter(|seen| seen.state == "Mirroring").map(drop)
    });
    latest.kill();
    write(&ours, "l-one", 2);
    latest.start_again().unwrap();
    wait_copy(hands, &latest, "l-one", (5 * BATCH, 7 * BATCH));
    drop(latest);

    let timed = begin(&sides, "2026-01-03T00:00:00Z", "t-*");
    wait_copy(hands, &timed, "t-one", (2 * BATCH, 5 * BATCH));
    wait_copy(hands, &timed, "t-late", (2 * BATCH, 5 * BATCH));
    drop(timed);
    // another word does not move what has begun
    let again = begin(&sides, "latest", "t-*");
    write(&ours, "t-one", 1);
    wait_copy(hands, &again, "t-one", (2 * BATCH, 6 * BATCH));
}
