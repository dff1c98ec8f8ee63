//! A standby Kafka Streams application at the destination: it reads a mirror topic, keeps its own
//! changelog there, which a link that takes every topic leaves alone, and counts what the one at
//! the source counted; when its input is promoted it goes on.
//!
//! It never skips.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::Path;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;

use protocol_tests::broker::Record;
use protocol_tests::broker::batch::Build;
use protocol_tests::real::Hand;
use protocol_tests::real::RealCluster;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;
use serde_json::Value;
use serde_json::json;

use crate::operated::Stage;
use crate::operated::until;
use crate::served::Program;

const INPUT: &str = "payments";
const CHANGELOG: &str = "totals-counts-changelog";
const PARTITIONS: i32 = 2;
const KEYS: i64 = 7;
/// Records of one batch.
const BATCH: i64 = 20;

/// `kafka/streams/Standby.java` at work.
struct Application {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Application {
    fn start(cluster: &RealCluster) -> Application {
        let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/streams/run");
        let mut command = Command::new(run);
        command.args([cluster.bootstrap(), "totals", INPUT]).arg(cluster.dir().join("streams"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Application { child, stdin, stdout }
    }

    /// What it counted by key, once it has counted so many.
    fn counted(&mut self, records: i64) -> Value {
        writeln!(self.stdin, "{records}").unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the application ended: {line:?}"))
    }

    fn stop(self) {
        let Application { mut child, stdin, .. } = self;
        drop(stdin);
        assert!(child.wait().unwrap().success());
    }
}

/// Batches of records with keys, over all partitions; how many records.
fn write(hand: &Hand, batches: i64) -> i64 {
    for n in 0..batches {
        let key = |m: i64| format!("key-{}", (n * BATCH + m * m) % KEYS);
        let records = (0..BATCH).map(|m| Record::new(&key(m), "1")).collect();
        let batch = Build::new(now_ms(), records);
        hand.produce(INPUT, (n % i64::from(PARTITIONS)) as i32, &batch).unwrap();
    }
    batches * BATCH
}

/// A link that takes every topic, and every group but the application's.
fn link_everything(stage: &Stage, program: &Program) {
    let config = |name: &str, value: &str| json!({ "name": name, "value": value });
    let topics =
        r#"{"topicFilters":[{"name":"*","patternType":"LITERAL","filterType":"INCLUDE"}]}"#;
    let groups = r#"{"groupFilters":[
        {"name":"*","patternType":"LITERAL","filterType":"INCLUDE"},
        {"name":"totals","patternType":"LITERAL","filterType":"EXCLUDE"}]}"#;
    let configs = [
        config("bootstrap.servers", stage.clusters.0.bootstrap()),
        config("metadata.max.age.ms", "1000"),
        config("auto.create.mirror.topics.enable", "true"),
        config("auto.create.mirror.topics.filters", topics),
        config("consumer.offset.sync.enable", "true"),
        config("consumer.offset.group.filters", groups),
        config("consumer.offset.sync.ms", "1000"),
    ];
    program.order("POST", "?link_name=dr", Some(&json!({ "configs": configs })));
}

/// Must show: the standby has its own changelog, which the filter `*` leaves alone.
#[test]
fn a_standby_application_counts_what_its_like_at_the_source_counts() {
    let _room = room(2);
    let stage = Stage::start();
    stage.source.create(INPUT, PARTITIONS, 1, &[]).unwrap();
    let mut written = write(&stage.source, 10);
    let mut ours = Application::start(&stage.clusters.0);
    ours.counted(written);
    let program = Program::start(&stage.clusters.1);
    link_everything(&stage, &program);
    let is_active = || program.status(INPUT).filter(|status| status == "ACTIVE");
    until("the input is mirrored", is_active);
    let mut standby = Application::start(&stage.clusters.1);
    written += write(&stage.source, 10);
    assert_eq!(standby.counted(written), ours.counted(written));

    let changelogs = |hand: &Hand| -> i64 {
        (0..PARTITIONS).map(|partition| hand.ends(CHANGELOG, partition).unwrap().1).sum()
    };
    // a count for each record, written by each application itself, a moment after it is counted
    for hand in [&stage.source, &stage.destination] {
        until("each count is written", || (changelogs(hand) == written).then_some(()));
    }
    assert_eq!(program.status(CHANGELOG), None, "nobody mirrors the changelog");
    let told = program.isolog.get("/v1/partitions").unwrap();
    assert!(!told.to_string().contains(CHANGELOG), "{told}");

    ours.stop();
    let names = json!({ "mirror_topic_names": [INPUT] });
    program.order("POST", "/dr/mirrors:promote", Some(&names));
    until("it is promoted", || program.status(INPUT).filter(|status| status == "STOPPED"));
    written += write(&stage.destination, 4);
    let counts = standby.counted(written);
    let sum: i64 = counts.as_object().unwrap().values().map(|one| one.as_i64().unwrap()).sum();
    assert_eq!(sum, written);
    standby.stop();
    assert!(!program.isolog.log().contains("panicked"), "{}", program.isolog.log());
}
