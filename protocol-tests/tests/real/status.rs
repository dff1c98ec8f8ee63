//! A status that never flatters, on real Kafka: what is wanted and not copied is shown, before and
//! after a restart, and `lag`, `/v1`, the metrics, readiness, `check` and `verify` agree.
//!
//! It never skips. One pair of clusters serves all scenes; each has topics of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::process::Output;
use std::time::Duration;

use kafka_protocol::messages::CreateTopicsRequest;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::protocol::StrBytes;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::batch::TRANSACTIONAL;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::Seen;
use protocol_tests::real::isolog_once;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;

const STOP_MAX: Duration = Duration::from_secs(20);
/// POLICY_VIOLATION.
const POLICY_VIOLATION: i16 = 44;

struct Stage {
    source: Hand,
    destination: Hand,
    spec: IsologSpec,
    isolog: Isolog,
}

fn write(side: &Hand, topic: &str, partition: i32, count: usize) {
    let tag = format!("{topic}-{}", now_ms());
    side.produce(topic, partition, &Build::plain(now_ms(), &tag, count)).unwrap();
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

impl Stage {
    fn copied(&self, topic: &str) {
        let (_, end) = self.source.ends(topic, 0).unwrap();
        self.isolog.wait_copied(topic, 0, end);
    }

    fn row(&self, topic: &str) -> Option<Seen> {
        self.isolog.partition(topic, 0)
    }

    /// Whether the service names the trouble: in `/v1/links`, the metric and readiness.
    fn trouble(&self, topic: &str, code: &str) -> Option<String> {
        let links = self.isolog.get("/v1/links")?;
        let all = links[0]["troubles"].as_array()?;
        let one = all.iter().find(|one| one["topic"] == topic && one["code"] == code)?;
        Some(one["reason"].as_str()?.to_owned())
    }

    fn wait_trouble(&self, topic: &str, code: &str) -> String {
        let what = format!("{topic} is told to be {code}");
        let text = self.isolog.wait_for(&what, 60, |_| self.trouble(topic, code));
        self.isolog.wait_for(&format!("the metric of {code}"), 30, |isolog| {
            (isolog.metric("isolog_link_troubles", code) >= 1.0).then_some(())
        });
        text
    }

    fn is_unready_for(&self, topic: &str) -> bool {
        let ready = self.isolog.get("/health/ready").unwrap();
        let checks = ready["checks"].as_array().unwrap();
        let is_it = |check: &&serde_json::Value| check["name"] == "topics of link dr";
        let check = checks.iter().find(is_it).unwrap();
        ready["ready"] == false && check["reason"].as_str().unwrap().contains(topic)
    }

    fn once(&self, args: &[&str]) -> (Option<i32>, String) {
        let output = isolog_once(&self.spec, args).unwrap();
        (output.status.code(), printed(&output))
    }

    /// The table that people see.
    fn table(&self) -> String {
        printed(&self.isolog.command(&["lag", "--rows", "0"]).unwrap())
    }

    fn warned(&self, word: &str) -> usize {
        let log = self.isolog.log();
        log.lines().filter(|line| line.contains(" WARN ") && line.contains(word)).count()
    }
}

/// S1: gone while isolog was down, at either side.
fn what_went_meanwhile_is_shown(stage: &mut Stage) {
    for topic in ["s-gone-there", "s-gone-here", "s-stays"] {
        stage.copied(topic);
    }
    assert!(stage.isolog.term(STOP_MAX).unwrap().success());
    stage.destination.delete("s-gone-there").unwrap();
    stage.source.delete("s-gone-here").unwrap();
    write(&stage.source, "s-gone-there", 0, 10);
    stage.isolog.start_again().unwrap();
    for (topic, code) in
        [("s-gone-there", "DESTINATION_TOPIC_DELETED"), ("s-gone-here", "SOURCE_TOPIC_DELETED")]
    {
        let seen = stage.isolog.wait_halt(topic, 0);
        assert_eq!((seen.code.as_str(), seen.lag_records), (code, None), "{seen:?}");
        stage.wait_trouble(topic, code);
        assert!(stage.is_unready_for(topic));
        assert!(stage.warned(topic) >= 1, "{}", stage.isolog.log());
        let table = stage.table();
        let row = table.lines().find(|line| line.contains(topic)).unwrap();
        assert!(row.contains("Halted") && row.contains(code) && row.contains('?'), "{row}");
    }
    let halted = |topic: &str| {
        let part = format!("topic=\"{topic}\",partition=\"0\",state=\"Halted\"");
        stage.isolog.metric("isolog_partition_state", &part)
    };
    assert_eq!((halted("s-gone-there"), halted("s-gone-here"), halted("s-stays")), (1., 1., 0.));
    let (code, text) = stage.once(&["check"]);
    assert_eq!(code, Some(5), "{text}");
    for words in ["s-gone-there", "s-gone-here", "`isolog mirror delete s-gone-there --link dr`"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let only = ["verify", "--topic", "s-gone-there", "--topic", "s-gone-here"];
    let (code, text) = stage.once(&only);
    assert_eq!(code, Some(4), "{text}");
    for topic in ["s-gone-there", "s-gone-here"] {
        let row = text.lines().find(|line| line.trim().starts_with(topic)).expect(topic);
        assert!(row.contains("UNKNOWN") && row.contains("is gone"), "{row}");
    }
}

/// S2: a name that never was there, and prefixes that are meant for expressions.
fn what_matches_nothing_is_told(stage: &Stage) {
    stage.wait_trouble("never.there", "SOURCE_TOPIC_NOT_FOUND");
    let text = stage.wait_trouble(".*", "PATTERN_MATCHES_NOTHING");
    assert!(text.contains("write * for every topic"), "{text}");
    let text = stage.wait_trouble("s-stays.*", "PATTERN_MATCHES_NOTHING");
    assert!(text.contains("write s-stays* for those"), "{text}");
    let row = stage.row("never.there").unwrap();
    assert_eq!((row.state.as_str(), row.lag_records), ("Preparing", None), "{row:?}");
    // once, though the topics are looked at each second
    for word in ["never.there", "topic=.*", "s-stays.*"] {
        assert_eq!(stage.warned(word), 1, "{word}: {}", stage.isolog.log());
    }
    let (_, text) = stage.once(&["check"]);
    for word in ["never.there", "\".*\"", "\"s-stays.*\""] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

/// Topics for S3: a connection that is lost between the foreign record and the source's has both
/// logs compared, which names the fault by another word. Then it is shown with the next topic.
const HALTED: [&str; 4] = ["s-halted", "s-halted-b", "s-halted-c", "s-halted-d"];

/// S3: what stands still goes on falling behind, and is shown to.
fn a_halted_partition_falls_behind(stage: &Stage) {
    let halted = HALTED.into_iter().find(|topic| foreign_record_is_met_by_an_append(stage, topic));
    let topic = halted.expect("each time both logs were compared before an append");
    write(&stage.source, topic, 0, 100);
    let (_, end) = stage.source.ends(topic, 0).unwrap();
    let seen = stage.isolog.wait_for("the source's end is shown", 90, |_| {
        stage.row(topic).filter(|seen| seen.source_end == Some(end))
    });
    assert_eq!(seen.lag_records, Some(101), "{seen:?}");
    let lag = stage.isolog.metric("isolog_partition_lag_records", &format!("topic=\"{topic}\""));
    assert_eq!(lag, 101.0);
}

/// Whether isolog appended behind a foreign record; else it had compared both logs before, and
/// a lag to what is no copy is not known.
fn foreign_record_is_met_by_an_append(stage: &Stage, topic: &str) -> bool {
    stage.copied(topic);
    let foreign = Build::plain(now_ms(), "foreign", 1);
    stage.destination.produce(topic, 0, &foreign).unwrap();
    write(&stage.source, topic, 0, 1);
    let seen = stage.isolog.wait_halt(topic, 0);
    if seen.code == "DIVERGED" {
        assert_eq!(seen.lag_records, None, "{seen:?}");
        return false;
    }
    assert_eq!(seen.code, "UNEXPECTED_WRITER", "{seen:?}");
    true
}

/// S4: an open transaction of 5, then 10 plain records.
fn held_records_are_shown(stage: &Stage) {
    stage.source.create("s-held", 1, 1, &[]).unwrap();
    let open = Build::plain(now_ms(), "open", 5).producer(7_007, 0, 0).flags(TRANSACTIONAL);
    assert_eq!(stage.source.produce("s-held", 0, &open).unwrap(), 0);
    write(&stage.source, "s-held", 0, 10);
    stage.isolog.wait_for("what is held is shown", 60, |isolog| {
        (isolog.metric("isolog_partition_held_records", "s-held") == 15.0).then_some(())
    });
    assert_eq!(stage.isolog.metric("isolog_link_held_records", "dr"), 15.0);
    let links = stage.isolog.get("/v1/links").unwrap();
    assert_eq!(links[0]["held_records"], 15);
    let table = stage.table();
    let row = table.lines().find(|line| line.contains("s-held")).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[2..5], ["0", "0", "15"], "{table}");
    assert!(table.contains("15 more held by open transactions"), "{table}");
    let (_, text) = stage.once(&["verify"]);
    let row = text.lines().find(|line| line.trim().starts_with("s-held")).expect("a row");
    assert!(row.contains("15 records wait behind an open transaction"), "{text}");
    assert!(text.contains("15 records held by open transactions"), "{text}");
}

/// S5: somebody made the destination topic with more partitions.
fn surplus_partitions_are_told(stage: &Stage) {
    stage.copied("s-wide");
    let text = stage.wait_trouble("s-wide", "DESTINATION_PARTITIONS_SURPLUS");
    assert!(text.contains("has 3 partitions of it, the source 1"), "{text}");
    assert!(!stage.is_unready_for("s-wide"));
    let (_, text) = stage.once(&["check"]);
    assert!(text.contains("3 partitions, the source 1"), "{text}");
    let (_, text) = stage.once(&["verify", "--all"]);
    let rows: Vec<&str> = text.lines().filter(|line| line.trim().starts_with("s-wide")).collect();
    assert_eq!(rows.len(), 3, "{text}");
    assert!(rows[0].contains("equal"), "{text}");
    assert!(rows[1..].iter().all(|row| row.contains("the source does not have it")), "{text}");
}

/// S6: one topic is refused (its name collides at the destination), and holds no other.
fn a_refused_topic_holds_no_other(stage: &Stage) {
    stage.destination.create("s-coll_x", 1, 1, &[]).unwrap();
    for topic in ["s-coll.x", "s-coll-fine"] {
        stage.source.create(topic, 1, 1, &[]).unwrap();
        write(&stage.source, topic, 0, 3);
    }
    stage.copied("s-coll-fine");
    let text = stage.wait_trouble("s-coll.x", "TOPIC_REFUSED");
    assert!(text.contains("INVALID_TOPIC_EXCEPTION"), "{text}");
    assert!(stage.is_unready_for("s-coll.x"));
    let row = stage.row("s-coll.x").unwrap();
    assert_eq!((row.code.as_str(), row.lag_records), ("TOPIC_REFUSED", None), "{row:?}");
    // some passes later it is not said again; a pass that fails in another way says so
    let is_quiet = (0..5).any(|_| {
        let before = stage.warned("s-coll.x");
        std::thread::sleep(Duration::from_secs(4));
        stage.warned("s-coll.x") == before
    });
    assert!(is_quiet && stage.warned("s-coll.x") >= 1, "{}", stage.isolog.log());
}

/// The codes of topics of so many partitions each, in one request that makes nothing.
fn validated(hand: &Hand, topics: usize, partitions: i32) -> Vec<i16> {
    let topic = |n: usize| {
        let name = StrBytes::from_string(format!("many{n}"));
        let topic = CreatableTopic::default().with_name(name.into());
        topic.with_num_partitions(partitions).with_replication_factor(1)
    };
    let request = CreateTopicsRequest::default()
        .with_topics((0..topics).map(topic).collect())
        .with_timeout_ms(30_000)
        .with_validate_only(true);
    let answer = hand.ask_any(7, &request).unwrap();
    answer.topics.iter().map(|one| one.error_code).collect()
}

/// S6: why creations go out in pieces (the pieces: `sync::make`).
fn a_controller_refuses_many_partitions_whole(stage: &Stage) {
    let whole = validated(&stage.destination, 24, 500);
    assert_eq!(whole, vec![POLICY_VIOLATION; 24], "12,000 partitions in one request");
    assert_eq!(validated(&stage.destination, 9, 500), vec![0; 9], "4,500 in one");
}

/// Must show: each line S1 to S6, and that all who are asked agree.
#[test]
fn what_is_wanted_and_not_copied_is_shown_by_all_who_are_asked() {
    let _room = room(2);
    let open = ("transaction.partition.verification.enable", "false");
    let plain = || RealSpec::new("4.3.1", 1);
    let (source, destination) = RealCluster::both(plain().prop(open.0, open.1), plain()).unwrap();
    let hands = (Hand::new(source.bootstrap()), Hand::new(destination.bootstrap()));
    hands.1.create("s-wide", 3, 1, &[]).unwrap();
    let others = ["s-gone-there", "s-gone-here", "s-stays", "s-wide"];
    for topic in others.into_iter().chain(HALTED) {
        hands.0.create(topic, 1, 1, &[]).unwrap();
        write(&hands.0, topic, 0, 10);
    }
    let topics = ["s-*", "never.there", ".*", "s-stays.*"];
    let spec = IsologSpec::new(source.bootstrap(), destination.bootstrap(), &topics);
    let isolog = Isolog::start(&spec).unwrap();
    let (source, destination) = hands;
    let mut stage = Stage { source, destination, spec, isolog };
    surplus_partitions_are_told(&stage);
    what_matches_nothing_is_told(&stage);
    a_refused_topic_holds_no_other(&stage);
    a_halted_partition_falls_behind(&stage);
    held_records_are_shown(&stage);
    a_controller_refuses_many_partitions_whole(&stage);
    what_went_meanwhile_is_shown(&mut stage);
    assert!(!stage.isolog.log().contains("panicked"), "{}", stage.isolog.log());
}
