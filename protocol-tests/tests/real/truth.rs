//! A status that never flatters, on real Kafka, at the destination: no copy, a missing right, a
//! foreign record in a mirror at rest, a journal that went, a cluster that is away.
//!
//! It never skips. One pair of clusters serves all scenes; each has topics of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::time::Duration;

use protocol_tests::broker::batch::Build;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::LITERAL;
use protocol_tests::real::Operation;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::TOPIC;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;

const STOP_MAX: Duration = Duration::from_secs(20);
/// What isolog may take to notice, in seconds; far more than it does.
const NOTICE_MAX: u64 = 120;
/// Whom both clusters take everybody for.
const US: &str = "User:ANONYMOUS";
const JOURNAL: &str = "__isolog";

struct Stage {
    source: Hand,
    destination: Hand,
    isolog: Isolog,
}

fn write(side: &Hand, topic: &str, partition: i32, count: usize) {
    let tag = format!("{topic}-{}", now_ms());
    side.produce(topic, partition, &Build::plain(now_ms(), &tag, count)).unwrap();
}

impl Stage {
    fn copied(&self, topic: &str) {
        let (_, end) = self.source.ends(topic, 0).unwrap();
        self.isolog.wait_copied(topic, 0, end);
    }

    fn wait_trouble(&self, topic: &str, code: &str) -> String {
        self.isolog.wait_for(&format!("{topic} is told to be {code}"), NOTICE_MAX, |isolog| {
            let links = isolog.get("/v1/links")?;
            let all = links[0]["troubles"].as_array()?.clone();
            let one = all.iter().find(|one| one["topic"] == topic && one["code"] == code)?;
            Some(one["reason"].as_str()?.to_owned())
        })
    }

    /// The condition of readiness for topics, when it does not hold.
    fn unready(&self) -> Option<String> {
        let ready = self.isolog.get("/health/ready")?;
        let checks = ready["checks"].as_array()?;
        let check = checks.iter().find(|check| check["name"] == "topics of link dr")?;
        let reason = check["reason"].as_str()?.to_owned();
        Some(reason).filter(|_| ready["ready"] == false && check["ok"] == false)
    }

    fn wait_well(&self, topic: &str) {
        self.isolog.wait_for(&format!("nothing is wrong with {topic}"), NOTICE_MAX, |isolog| {
            let links = isolog.get("/v1/links")?;
            let all = links[0]["troubles"].as_array()?.clone();
            all.iter().all(|one| one["topic"] != topic).then_some(())
        });
    }

    fn count(&self, level: &str, word: &str) -> usize {
        let log = self.isolog.log();
        log.lines().filter(|line| line.contains(level) && line.contains(word)).count()
    }

    fn json(&self, topic: &str) -> serde_json::Value {
        self.isolog.get(&format!("/v1/partitions?topic={topic}")).unwrap()[0].clone()
    }
}

/// Finding 8, 11, 12: a destination that holds something else.
fn the_lag_of_what_is_no_copy_is_unknown(stage: &Stage) {
    for (topic, code) in [("t-diverged", "DIVERGED"), ("t-ahead", "DESTINATION_AHEAD")] {
        let seen = stage.isolog.wait_refused(topic, code);
        assert_eq!(seen.lag_records, None, "{seen:?}");
        let row = stage.json(topic);
        for number in ["lag_records", "lag_ms", "lag_bytes"] {
            assert!(row[number].is_null(), "{number}: {row}");
        }
        stage.wait_trouble(topic, code);
        assert!(stage.unready().unwrap().contains(topic));
    }
    assert!(stage.isolog.metric("isolog_link_partitions_lag_unknown", "dr") >= 2.0);
}

/// Finding 5: Describe, Read and all but Write.
fn a_missing_right_is_named(stage: &Stage) {
    use Operation::*;
    let rest = [Read, Describe, Create, Delete, Alter, DescribeConfigs, AlterConfigs];
    stage.copied("t-denied");
    stage.destination.allow_on((TOPIC, "t-denied", LITERAL), US, &rest).unwrap();
    // whether the broker knows it by now a batch shows that it would not append anyway
    let mut broken = Build::plain(now_ms(), "broken", 1).bytes().to_vec();
    *broken.last_mut().unwrap() ^= 1;
    let broken = bytes::Bytes::from(broken);
    stage.isolog.wait_for("the broker knows the rights", NOTICE_MAX, |_| {
        let error = stage.destination.produce_bytes("t-denied", 0, broken.clone()).err()?;
        error.to_string().contains("Kafka error 29").then_some(())
    });
    let before = stage.count(" INFO ", "partition=t-denied-0");
    write(&stage.source, "t-denied", 0, 3);
    let text = stage.wait_trouble("t-denied", "TOPIC_AUTHORIZATION_FAILED");
    assert!(text.contains("the destination refuses us Write"), "{text}");
    assert!(stage.unready().unwrap().contains("t-denied"));
    // it is tried again, and said once
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(stage.count(" WARN ", "t-denied"), 1, "{}", stage.isolog.log());
    let told = stage.count(" INFO ", "partition=t-denied-0") - before;
    assert!(told <= 2, "{told}: {}", stage.isolog.log());
    stage.destination.allow_on((TOPIC, "t-denied", LITERAL), US, &[Write]).unwrap();
    stage.copied("t-denied");
    stage.wait_well("t-denied");
}

/// Finding 7: nothing of ours moves.
fn a_foreign_record_in_a_mirror_at_rest_halts(stage: &Stage) {
    stage.copied("t-rest");
    write(&stage.destination, "t-rest", 0, 3);
    let seen = stage.isolog.wait_halt("t-rest", 0);
    assert_eq!((seen.code.as_str(), seen.lag_records), ("UNEXPECTED_WRITER", Some(0)), "{seen:?}");
    write(&stage.destination, "t-rest", 0, 7);
    let (_, end) = stage.destination.ends("t-rest", 0).unwrap();
    assert_eq!(end, 20);
    stage.isolog.wait_for("what readers get is shown", NOTICE_MAX, |isolog| {
        let seen = isolog.partition("t-rest", 0)?;
        (seen.destination_end == Some(end) && seen.destination_hwm == Some(end)).then_some(())
    });
}

/// Finding 10: the journal is deleted, then isolog starts without one.
fn a_journal_that_went_is_told(stage: &mut Stage) {
    stage.destination.delete(JOURNAL).unwrap();
    let text = stage.wait_trouble(JOURNAL, "JOURNAL_MISSING");
    assert!(text.contains("start isolog again"), "{text}");
    assert!(stage.unready().unwrap().contains(JOURNAL));
    // nothing goes on, and nothing is begun
    stage.isolog.wait_for("it stands still", NOTICE_MAX, |isolog| {
        (isolog.link().0 == "Halted").then_some(())
    });
    let before = stage.destination.ends("t-fine", 0).unwrap();
    write(&stage.source, "t-fine", 0, 5);
    stage.source.create("t-late", 1, 1, &[]).unwrap();
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(stage.destination.ends("t-fine", 0).unwrap(), before);
    assert!(stage.destination.ends("t-late", 0).is_err(), "it was begun");
    assert!(stage.isolog.term(STOP_MAX).unwrap().success());
    stage.isolog.start_again().unwrap();
    write(&stage.source, "t-late", 0, 5);
    stage.copied("t-late");
    stage.wait_well(JOURNAL);
    // what was there is compared with what the source has before it is gone on with
    stage.copied("t-fine");
    let is_it = |line: &&str| line.contains("is adopted: all that both topics hold is equal");
    let log = stage.isolog.log();
    let adopted: Vec<&str> = log.lines().filter(is_it).collect();
    assert!(adopted.iter().any(|line| line.contains("topic=t-fine ")), "{adopted:?}");
    assert!(!adopted.iter().any(|line| line.contains("topic=t-late ")), "{adopted:?}");
}

/// Finding 6: the only broker is killed.
fn a_destination_that_is_away_is_told(stage: &Stage, destination: &RealCluster) {
    destination.kill(1).unwrap();
    stage.isolog.wait_for("the link says so", NOTICE_MAX, |isolog| {
        let (state, reason) = isolog.link();
        (state == "Unavailable" && reason.contains("destination")).then_some(())
    });
    assert_eq!(stage.isolog.get("/health/ready").unwrap()["ready"], false);
    stage.isolog.wait_for("nothing is known", NOTICE_MAX, |isolog| {
        let all = isolog.partitions();
        let is_unknown = |lag: Option<i64>, end: Option<i64>| lag.is_none() && end.is_none();
        all.iter().all(|one| is_unknown(one.lag_records, one.destination_end)).then_some(())
    });
    destination.restart(1).unwrap();
    stage.isolog.wait_for("the link is back", NOTICE_MAX, |isolog| {
        let seen = isolog.partition("t-fine", 0)?;
        (isolog.link().0 == "Active" && seen.lag_records == Some(0)).then_some(())
    });
}

/// Must show: what is wrong at the destination is never shown as well.
#[test]
fn what_is_wrong_at_the_destination_is_shown() {
    let _room = room(2);
    let authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
    let plain = || RealSpec::new("4.3.1", 1);
    let guarded = plain()
        .prop("authorizer.class.name", authorizer)
        .prop("allow.everyone.if.no.acl.found", "true");
    let (source, there) = RealCluster::both(plain(), guarded).unwrap();
    let hands = (Hand::new(source.bootstrap()), Hand::new(there.bootstrap()));
    for topic in ["t-diverged", "t-ahead", "t-denied", "t-rest", "t-fine"] {
        hands.0.create(topic, 1, 1, &[]).unwrap();
        write(&hands.0, topic, 0, 10);
    }
    for (topic, count) in [("t-diverged", 10), ("t-ahead", 15)] {
        hands.1.create(topic, 1, 1, &[]).unwrap();
        write(&hands.1, topic, 0, count);
    }
    let spec = IsologSpec::new(source.bootstrap(), there.bootstrap(), &["t-*"]);
    let isolog = Isolog::start(&spec).unwrap();
    let mut stage = Stage { source: hands.0, destination: hands.1, isolog };
    the_lag_of_what_is_no_copy_is_unknown(&stage);
    a_missing_right_is_named(&stage);
    a_foreign_record_in_a_mirror_at_rest_halts(&stage);
    a_journal_that_went_is_told(&mut stage);
    a_destination_that_is_away_is_told(&stage, &there);
    assert!(!stage.isolog.log().contains("panicked"), "{}", stage.isolog.log());
}
