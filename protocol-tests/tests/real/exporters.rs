//! Exporters of schemas that are ordered while isolog runs: created, killed, paused, changed,
//! reset, deleted, between two real registries; what they remember lies in a real journal.
//!
//! It never judges by isolog's own client: what a registry holds is asked anew.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;

use protocol_tests::broker::batch::Build;
use protocol_tests::real::Front;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealRegistry;
use protocol_tests::real::RealSpec;
use protocol_tests::real::Stop;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;
use serde_json::Value;
use serde_json::json;

use crate::schemas::FEW;
use crate::schemas::WRITE_WAIT;
use crate::schemas::fill;
use crate::schemas::judged;
use crate::schemas::status;
use crate::schemas::times;
use crate::schemas::told;

/// The version of the brokers.
const BROKERS: &str = "4.3.1";
/// How often isolog is killed amid a write.
const KILLS: usize = 4;

/// Two registries, the destination in IMPORT mode behind a front, and a broker for the journal.
struct Stage {
    source: RealRegistry,
    destination: RealRegistry,
    front: Front,
    cluster: RealCluster,
}

impl Stage {
    fn start() -> Stage {
        let cluster = RealCluster::start(RealSpec::new(BROKERS, 1)).unwrap();
        let (source, destination) =
            (RealRegistry::start().unwrap(), RealRegistry::start().unwrap());
        destination.must("PUT", "/mode", Some(&json!({"mode": "IMPORT"})));
        let front = Front::before(destination.port()).unwrap();
        Stage { source, destination, front, cluster }
    }

    fn isolog(&self, service_more: &str) -> Isolog {
        let mut spec = IsologSpec::new("", self.cluster.bootstrap(), &[]);
        spec.service_more = service_more.to_owned();
        Isolog::start(&spec).unwrap()
    }

    /// How the registries are asked, by what comes over REST.
    fn config(&self) -> Value {
        json!({
            "schema.registry.url": format!("http://127.0.0.1:{}", self.front.port()),
            "source.schema.registry.url": format!("http://127.0.0.1:{}", self.source.port()),
            "poll.interval.ms": "1000",
        })
    }

    /// An order for an exporter that takes everything to where it was.
    fn all(&self) -> Value {
        json!({
            "name": "dr", "contextType": "NONE", "subjects": [":*:"], "config": self.config(),
        })
    }

    fn level(&self, isolog: &Isolog) {
        let wanted = judged(&self.source);
        isolog.wait_for("all of it", 120, |_| (judged(&self.destination) == wanted).then_some(()));
    }
}

/// The status and `error_code` of an order, and what was said.
fn order(isolog: &Isolog, method: &str, path: &str, body: Option<&Value>) -> (u16, u64, String) {
    let order = || isolog.order(method, path, body).filter(|(status, _)| *status != 503);
    let (status, body) = isolog.wait_for("an answer", 120, |_| order());
    let text = body["message"].as_str().or(body["warning"].as_str()).unwrap_or_default();
    (status, body["error_code"].as_u64().unwrap_or(0), text.to_owned())
}

pub(crate) fn obeyed(isolog: &Isolog, method: &str, path: &str, body: Option<&Value>) {
    let (status, _, text) = order(isolog, method, path, body);
    assert!(matches!(status, 200 | 204), "{method} {path}: {status} {text}");
}

pub(crate) fn running(isolog: &Isolog) -> Option<Value> {
    status(isolog).filter(|status| status["state"] == "RUNNING" && status["trace"] == "")
}

/// Deletes a subject for good.
fn purge(registry: &RealRegistry, subject: &str) {
    registry.must("DELETE", &format!("/subjects/{subject}"), None);
    registry.must("DELETE", &format!("/subjects/{subject}?permanent=true"), None);
}

#[test]
fn an_exporter_by_order_goes_on_wherever_isolog_dies_and_remembers_what_it_copied() {
    let _room = room(1);
    let stage = Stage::start();
    fill(&stage.source, FEW);
    let mut isolog = stage.isolog("");
    let stopped = stage.front.stop_at(Stop::Before(1));
    obeyed(&isolog, "POST", "/exporters", Some(&stage.all()));
    stopped.recv_timeout(WRITE_WAIT).unwrap();
    for kill in 0..KILLS {
        let at = 2 + 9 * kill;
        let stop = if kill % 2 == 0 { Stop::After(at) } else { Stop::Before(at) };
        let stopped = stage.front.stop_at(stop);
        isolog.kill();
        isolog.start_again().unwrap();
        stopped.recv_timeout(WRITE_WAIT).unwrap_or_else(|e| panic!("{stop:?}: {e}"));
    }
    isolog.kill();
    isolog.start_again().unwrap();
    isolog.wait_for("RUNNING", 120, running);
    assert_eq!(judged(&stage.source), judged(&stage.destination));
    let writes = stage.front.writes();
    assert!(times(&writes).values().all(|count| *count == 1), "{writes:?}");
    after(&stage, &mut isolog);
}

/// Deletions for good, what is not ours, and what holds for all subjects.
fn after(stage: &Stage, isolog: &mut Isolog) {
    let foreign = json!({"schema": "\"bytes\"", "id": 9_000, "version": 1});
    stage.destination.must("POST", "/subjects/foreign-value/versions", Some(&foreign));
    stage.source.must("POST", "/subjects/a-value/versions", Some(&json!({"schema": "\"int\""})));
    stage.source.must("POST", "/subjects/b-value/versions", Some(&json!({"schema": "\"long\""})));
    let has = |name: &str| {
        let path = format!("/subjects/{name}/versions?deleted=true");
        stage.destination.ask("GET", &path, None).0 == 200
    };
    isolog.wait_for("both", 120, |_| (has("a-value") && has("b-value")).then_some(()));
    purge(&stage.source, "a-value");
    isolog.wait_for("its end", 120, |_| (!has("a-value")).then_some(()));
    // nobody is there when it happens: the journal knows that b was copied
    isolog.kill();
    purge(&stage.source, "b-value");
    stage.source.must("PUT", "/config", Some(&json!({"compatibility": "FULL_TRANSITIVE"})));
    isolog.start_again().unwrap();
    isolog.wait_for("its end", 120, |_| (!has("b-value")).then_some(()));
    let level = || stage.destination.must("GET", "/config", None)["compatibilityLevel"].clone();
    isolog.wait_for("the level", 120, |_| (level() == "FULL_TRANSITIVE").then_some(()));
    assert!(has("foreign-value"), "what isolog did not copy is not its to delete");
    assert_eq!(isolog.wait_for("RUNNING", 120, running)["missingChanges"], 0);
    assert!(isolog.metric("isolog_exporter_lag_ms", "\"dr\"") < 60_000.0);
}

/// An order that is refused: its status and code, and a part of what is said.
fn refused(
    isolog: &Isolog,
    (method, path, body): (&str, &str, Option<&Value>),
    right: (u16, u64),
    said: &str,
) {
    let (status, code, text) = order(isolog, method, path, body);
    assert_eq!((status, code), right, "{method} {path}: {text}");
    assert!(text.contains(said), "{method} {path}: {text}");
}

#[test]
fn what_cannot_be_ordered_of_exporters_has_the_documented_code() {
    let _room = room(1);
    let stage = Stage::start();
    let isolog = stage.isolog("");
    for (method, path) in [
        ("GET", "/exporters/dr"),
        ("GET", "/exporters/dr/status"),
        ("PUT", "/exporters/dr"),
        ("PUT", "/exporters/dr/pause"),
        ("PUT", "/exporters/dr/reset"),
        ("DELETE", "/exporters/dr"),
    ] {
        refused(&isolog, (method, path, None), (404, 40450), "'dr' does not exist");
    }
    let wrong = |field: &str, value: Value, code: u64, said: &str| {
        let mut all = stage.all();
        *all.pointer_mut(field).unwrap() = value;
        refused(&isolog, ("POST", "/exporters", Some(&all)), (409, code), said);
    };
    wrong("/name", json!("a/b"), 40950, "Field 'name'");
    wrong("/config", json!({"colour": "1"}), 40951, "colour is no property");
    let mut login = stage.config();
    login["basic.auth.user.info"] = json!("user:hunter2");
    wrong("/config", login, 40951, "secrets.key.file");
    wrong("/contextType", json!("SOME"), 40952, "AUTO, CUSTOM, NONE, DEFAULT");
    wrong("/subjects", json!([]), 40952, "name the subjects");
    let post = ("POST", "/exporters", Some(&json!([])));
    refused(&isolog, post, (400, 400), "must be an object");
    obeyed(&isolog, "POST", "/exporters", Some(&stage.all()));
    let all = stage.all();
    refused(&isolog, ("POST", "/exporters", Some(&all)), (409, 40960), "already exists");
    for (method, path) in [("PUT", "/exporters/dr/reset"), ("DELETE", "/exporters/dr")] {
        refused(&isolog, (method, path, None), (409, 40963), "pause it first");
    }
    // the source is empty, which is told and deletes nothing
    let told = |isolog: &Isolog| {
        status(isolog).filter(|it| it["trace"].as_str().is_some_and(|it| it.contains("no subject")))
    };
    isolog.wait_for("its trace", 120, told);
}

#[test]
fn orders_about_exporters_are_obeyed_and_shown() {
    let _room = room(1);
    let stage = Stage::start();
    fill(&stage.source, FEW);
    let isolog = stage.isolog("");
    // as it is documented: AUTO, which is warned of
    let all = json!({"name": "dr", "config": stage.config()});
    let (status, _, warning) = order(&isolog, "POST", "/exporters", Some(&all));
    assert!(status == 200 && warning.contains(".lsrc-dr"), "{status} {warning}");
    let described = isolog.get("/exporters/dr").unwrap();
    let shown = ["contextType", "context", "subjectRenameFormat"].map(|it| described[it].clone());
    assert_eq!(shown, [json!("AUTO"), json!(".lsrc-dr"), json!("${subject}")]);
    assert_eq!(described["subjects"], json!(["*"]));
    assert_eq!(isolog.get("/exporters/dr/config"), Some(stage.config()));

    obeyed(&isolog, "PUT", "/exporters/dr/pause", None);
    assert_eq!(status_of(&isolog)["state"], "PAUSED");
    let none = json!({"contextType": "NONE", "subjects": [":*:"]});
    obeyed(&isolog, "PUT", "/exporters/dr", Some(&none));
    obeyed(&isolog, "PUT", "/exporters/dr/resume", None);
    stage.level(&isolog);
    let before = isolog.wait_for("RUNNING", 120, running);
    assert!(before["offset"].as_i64() > Some(0) && before["ts"].as_i64() > Some(0), "{before}");
    obeyed(&isolog, "PUT", "/exporters/dr/pause", None);
    obeyed(&isolog, "PUT", "/exporters/dr/reset", None);
    let after = status_of(&isolog);
    let begun = [&after["state"], &after["offset"], &after["ts"]];
    assert_eq!(begun, [&json!("PAUSED"), &json!(0), &json!(0)]);
    by_hand(&stage, &isolog);
}

fn status_of(isolog: &Isolog) -> Value {
    status(isolog).unwrap()
}

/// The same on the command line, with the flags of `schema-exporter`.
fn by_hand(stage: &Stage, isolog: &Isolog) {
    let run = |words: &[&str]| {
        let output = told(isolog, words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {said}");
        (String::from_utf8(output.stdout).unwrap(), said)
    };
    run(&["delete", "dr"]);
    assert_eq!(isolog.get("/exporters"), Some(json!([])));
    let held = judged(&stage.destination);
    let file = isolog.config().with_file_name("config.txt");
    let url = format!("http://127.0.0.1:{}", stage.front.port());
    fs::write(&file, format!("schema.registry.url={url}\n")).unwrap();
    let (file, source) =
        (file.display().to_string(), format!("http://127.0.0.1:{}", stage.source.port()));
    let (_, warned) = run(&[
        "--create",
        "--name",
        "by-hand",
        "--subjects",
        ":*:",
        "--context-type",
        "CUSTOM",
        "--context-name",
        ".eu",
        "--config-file",
        &file,
        "--schema.registry.url",
        &source,
    ]);
    assert!(warned.contains("the context .eu"), "{warned}");
    run(&["--pause", "--name", "by-hand"]);
    run(&["--update", "--name", "by-hand", "--context-type", "none"]);
    run(&["reset", "by-hand"]);
    run(&["resume", "by-hand"]);
    let (described, _) = run(&["--describe", "--name", "by-hand"]);
    assert!(described.contains("\"NONE\""), "{described}");
    let (shown, _) = run(&["--get-config", "--name", "by-hand"]);
    assert!(shown.contains(&url) && shown.contains(&source), "{shown}");
    let wrong = told(isolog, &["reset", "by-hand"]);
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && said.contains("exporter pause by-hand"), "{said}");
    assert_eq!(judged(&stage.destination), held, "nothing is registered twice");
}

#[test]
fn a_secret_of_an_order_stands_nowhere_in_the_clear() {
    let _room = room(1);
    let stage = Stage::start();
    let key = std::env::temp_dir().join(format!("isolog-key-{}", stage.front.port()));
    fs::write(&key, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").unwrap();
    let mut isolog = stage.isolog(&format!("secrets.key.file = {key:?}\n"));
    let mut all = stage.all();
    all["config"]["basic.auth.user.info"] = json!("user:hunter2");
    all["config"]["source.bearer.auth.token"] = json!("hunter2-of-the-source");
    obeyed(&isolog, "POST", "/exporters", Some(&all));
    fill(&stage.source, FEW);
    stage.level(&isolog);
    let config = isolog.get("/exporters/dr/config").unwrap();
    assert_eq!(config["basic.auth.user.info"], "[hidden]");
    // what is shown hidden stays what it was
    obeyed(&isolog, "PUT", "/exporters/dr/config", Some(&config));
    isolog.kill();
    isolog.start_again().unwrap();
    stage.source.must("POST", "/subjects/new-value/versions", Some(&json!({"schema": "\"int\""})));
    stage.level(&isolog);
    let rows = isolog.command(&["journal", "export"]).unwrap();
    let rows = String::from_utf8(rows.stdout).unwrap();
    assert!(rows.contains("exporter/dr/new-value") && !rows.contains("hunter2"), "{rows}");
    assert!(!isolog.log().contains("hunter2"));
    fs::remove_file(&key).unwrap();
}

/// So rarely are the registries compared by themselves that no test waits for it.
const NEVER_MS: &str = "600000";

/// What a registry that keeps its schemas in a topic writes there.
fn noted(stage: &Stage, text: &str) {
    let batch = Build::plain(now_ms(), text, 1);
    Hand::new(stage.cluster.bootstrap()).produce("_schemas", 0, &batch).unwrap();
}

#[test]
fn a_record_in_the_registrys_own_topic_is_looked_into_at_once() {
    let _room = room(1);
    let stage = Stage::start();
    fill(&stage.source, FEW);
    let hand = Hand::new(stage.cluster.bootstrap());
    hand.create("_schemas", 1, 1, &[]).unwrap();
    let isolog = stage.isolog("");
    let mut all = stage.all();
    all["config"]["poll.interval.ms"] = json!(NEVER_MS);
    all["config"]["source.kafka.bootstrap.servers"] = json!(stage.cluster.bootstrap());
    obeyed(&isolog, "POST", "/exporters", Some(&all));
    stage.level(&isolog);
    isolog.wait_for("RUNNING", 120, running);
    for n in 0..3 {
        let path = format!("/subjects/new{n}-value/versions");
        stage.source.must("POST", &path, Some(&json!({"schema": "\"int\""})));
        noted(&stage, &format!("new{n}"));
        stage.level(&isolog);
    }
}

/// Must show: the source is one that keeps its schemas in a topic, the destination forgets all.
#[test]
fn both_registries_may_be_restarted() {
    let _room = room(1);
    let mut stage = Stage::start();
    let mut source = RealRegistry::on_kafka(stage.cluster.bootstrap()).unwrap();
    let register = |source: &RealRegistry, n: usize| {
        let schema = json!({"type": "record", "name": format!("R{n}"), "fields": []}).to_string();
        let path = format!("/subjects/r{n}-value/versions");
        source.must("POST", &path, Some(&json!({ "schema": schema })));
    };
    (0..6).for_each(|n| register(&source, n));
    let isolog = stage.isolog("");
    let mut all = stage.all();
    all["config"]["source.schema.registry.url"] = json!(source.url());
    obeyed(&isolog, "POST", "/exporters", Some(&all));
    // the two say of other things in other words
    let held = |registry: &RealRegistry, last: usize| -> Vec<[Value; 3]> {
        let one = |n| registry.ask("GET", &format!("/subjects/r{n}-value/versions/1"), None).1;
        (0..=last)
            .map(one)
            .map(|it| ["id", "version", "schema"].map(|key| it[key].clone()))
            .collect()
    };
    let level = |isolog: &Isolog, (source, destination): (&RealRegistry, &RealRegistry), last| {
        let wanted = held(source, last);
        assert!(wanted.iter().all(|one| one[0].is_number() && one[2].is_string()), "{wanted:?}");
        isolog.wait_for("all", 120, |_| (held(destination, last) == wanted).then_some(()));
    };
    level(&isolog, (&source, &stage.destination), 5);
    source.restart().unwrap();
    register(&source, 6);
    level(&isolog, (&source, &stage.destination), 6);
    // it comes back empty and takes no ids: that is told, and mended by its mode
    stage.destination.restart().unwrap();
    let told = |isolog: &Isolog| {
        status(isolog).filter(|it| it["trace"].as_str().is_some_and(|it| it.contains("not IMPORT")))
    };
    isolog.wait_for("its trace", 120, told);
    stage.destination.must("PUT", "/mode", Some(&json!({"mode": "IMPORT"})));
    level(&isolog, (&source, &stage.destination), 6);
    isolog.wait_for("RUNNING", 120, running);
}
