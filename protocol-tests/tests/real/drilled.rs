//! `isolog drill` on real Kafka: what it finds, and that it leaves nothing behind: no topic and no
//! row of the journal, whoever has taken its canary, and where it is interrupted too.
//!
//! It brings no cluster: it is a part of who has one (`operated`).

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use protocol_tests::real::isolog_binary;
use serde_json::Value;
use serde_json::json;

use crate::operated::Stage;
use crate::operated::until;
use crate::served::Program;

/// How the names of canaries begin.
const CANARY: &str = "isolog-drill-";

/// A link `dr` with a prefix is there, and another one takes canaries by its own filters.
pub(crate) fn drilled(stage: &Stage, program: &Program) {
    compares_and_leaves_nothing(stage, program);
    takes_canaries_by_itself(stage, program);
    what_is_interrupted_leaves_nothing(stage, program);
    program.order("DELETE", "/auto?force=true", None);
}

fn compares_and_leaves_nothing(stage: &Stage, program: &Program) {
    let dry = drill(program, &["--link", "dr", "--dry-run"]);
    assert!(String::from_utf8_lossy(&dry.stdout).contains("--topic 'w.isolog-drill-'"), "{dry:?}");
    let told = shown(&drill(program, &["--link", "dr", "--partitions", "2", "--records", "2000"]));
    sound(&told, 2, 2_000);
    assert!(told["mirror_topic_name"].as_str().unwrap().starts_with("w.isolog-drill-"), "{told}");
    nothing_is_left(stage, program);
}

/// Its mirror may be there before it is ordered, and would come back while the canary is there.
fn takes_canaries_by_itself(stage: &Stage, program: &Program) {
    let config = |name: &str, value: &str| json!({ "name": name, "value": value });
    let filters =
        r#"{"topicFilters":[{"name":"isolog-","patternType":"PREFIXED","filterType":"INCLUDE"}]}"#;
    let configs = [
        config("bootstrap.servers", stage.clusters.0.bootstrap()),
        config("metadata.max.age.ms", "300"),
        config("auto.create.mirror.topics.enable", "true"),
        config("auto.create.mirror.topics.filters", filters),
    ];
    program.order("POST", "?link_name=auto", Some(&json!({ "configs": configs })));
    let told =
        shown(&drill(program, &["--link", "auto", "--partitions", "1", "--records", "1000"]));
    sound(&told, 1, 1_000);
    nothing_is_left(stage, program);
}

/// By Ctrl-C, while it is mirrored by its own link and by another one.
fn what_is_interrupted_leaves_nothing(stage: &Stage, program: &Program) {
    let child = spawn(program, &["--link", "dr", "--partitions", "1", "--seconds", "600"]);
    for link in ["/dr/w.", "/auto/"] {
        until(&format!("a canary is mirrored: {link}"), || {
            let start = format!("mirror{link}{CANARY}");
            program.rows().keys().any(|key| key.starts_with(&start)).then_some(())
        });
    }
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success(), "it was at work");
    let output = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("isolog: it was stopped"), "{words}");
    assert!(words.contains("isolog: nothing is left behind"), "{words}");
    nothing_is_left(stage, program);
}

fn spawn(program: &Program, args: &[&str]) -> Child {
    let mut command = Command::new(isolog_binary().unwrap());
    let command = command.arg("drill").args(args).arg("--config").arg(program.isolog.config());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn drill(program: &Program, args: &[&str]) -> Output {
    let args = [args, &["-o", "json"]].concat();
    spawn(program, &args).wait_with_output().unwrap()
}

fn shown(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// All that is in the copy was compared, and each moment comes behind the one before.
fn sound(told: &Value, partitions: u64, records: u64) {
    let number = |name: &str| told[name].as_u64().unwrap_or_else(|| panic!("{name}: {told}"));
    assert_eq!(number("records_acknowledged"), records);
    assert_eq!(number("records_compared"), records - number("rpo_records") + partitions);
    assert_eq!((&told["differences"], &told["left_behind"]), (&json!([]), &json!([])));
    let moments = ["stopped_ms", "first_write_ms", "last_write_ms", "first_read_ms"].map(number);
    assert!(moments.is_sorted(), "{told}");
}

fn nothing_is_left(stage: &Stage, program: &Program) {
    for hand in [&stage.source, &stage.destination] {
        let topics = hand.topics().unwrap();
        assert!(!topics.iter().any(|name| name.contains(CANARY)), "{topics:?}");
    }
    let rows = program.rows();
    assert!(!rows.keys().any(|key| key.contains(CANARY)), "{rows:?}");
}
