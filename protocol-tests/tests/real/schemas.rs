//! Schemas between two real registries: the same ids, versions and texts, wherever a copy dies.
//!
//! It never judges by isolog's own client: what a registry holds is asked here anew.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;

use protocol_tests::real::Front;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::RealRegistry;
use protocol_tests::real::Stop;
use protocol_tests::real::isolog_binary;
use protocol_tests::real::repo;
use serde_json::Value;
use serde_json::json;

/// Whether as much is done as the issue asks for (`ISOLOG_SCHEMAS=full`), in some minutes.
pub(crate) fn is_full() -> bool {
    std::env::var("ISOLOG_SCHEMAS").is_ok_and(|text| text == "full")
}

/// How many subjects the source holds, three formats in turn.
fn subjects() -> usize {
    if is_full() { 2_000 } else { 150 }
}

/// How often a copy is killed.
fn kills() -> usize {
    if is_full() { 20 } else { 6 }
}

/// For how long a copy may take to come to a write.
pub(crate) const WRITE_WAIT: Duration = Duration::from_secs(300);

fn subject(n: usize) -> String {
    format!("s{n}-value")
}

/// The subject of the same format that `n` refers to; chains of up to three.
fn referred(n: usize) -> Option<usize> {
    (!(n / 3).is_multiple_of(4)).then(|| n - 3)
}

/// Version `v` of subject `n`, as a client registers it.
fn schema(n: usize, v: usize) -> Value {
    let refers = referred(n);
    let (text, name) = match n % 3 {
        0 => avro(n, v, refers),
        1 => protobuf(n, v, refers),
        _ => json_schema(n, v, refers),
    };
    let mut body = json!({ "schema": text });
    if !n.is_multiple_of(3) {
        body["schemaType"] = json!(["PROTOBUF", "JSON"][n % 3 - 1]);
    }
    if let Some(other) = refers {
        body["references"] = json!([{ "name": name, "subject": subject(other), "version": 1 }]);
    }
    body
}

fn avro(n: usize, v: usize, refers: Option<usize>) -> (String, String) {
    let name = |n: usize| format!("t.R{n}");
    let mut fields: Vec<Value> =
        (0..v).map(|f| json!({"name": format!("f{f}"), "type": "long"})).collect();
    fields.extend(refers.map(|other| json!({"name": "other", "type": name(other)})));
    let record =
        json!({"type": "record", "name": format!("R{n}"), "namespace": "t", "fields": fields});
    (record.to_string(), refers.map(name).unwrap_or_default())
}

fn protobuf(n: usize, v: usize, refers: Option<usize>) -> (String, String) {
    let file = |n: usize| format!("m{n}.proto");
    let import = refers.map(|other| format!("import \"{}\";\n", file(other))).unwrap_or_default();
    let mut fields: String = (1..=v).map(|f| format!("  string f{f} = {f};\n")).collect();
    if let Some(other) = refers {
        fields += &format!("  p{other}.M{other} other = 100;\n");
    }
    let text =
        format!("syntax = \"proto3\";\npackage p{n};\n{import}message M{n} {{\n{fields}}}\n");
    (text, refers.map(file).unwrap_or_default())
}

fn json_schema(n: usize, v: usize, refers: Option<usize>) -> (String, String) {
    let file = |n: usize| format!("j{n}.json");
    let mut properties: serde_json::Map<String, Value> =
        (0..v).map(|f| (format!("f{f}"), json!({"type": "string"}))).collect();
    properties.extend(refers.map(|other| ("other".to_owned(), json!({"$ref": file(other)}))));
    let text = json!({"type": "object", "title": format!("J{n}"), "properties": properties});
    (text.to_string(), refers.map(file).unwrap_or_default())
}

fn versions(n: usize) -> usize {
    [1, 2, 1, 3][n % 4]
}

/// Fills a registry as its users do, over years: versions, configs, deletions of both kinds.
pub(crate) fn fill(source: &RealRegistry, subjects: usize) {
    let named: BTreeSet<usize> = (0..subjects).filter_map(referred).collect();
    for n in 0..subjects {
        let name = subject(n);
        for v in 1..=versions(n) {
            source.must("POST", &format!("/subjects/{name}/versions"), Some(&schema(n, v)));
        }
        if n % 7 == 0 {
            let level = ["FULL", "NONE", "BACKWARD_TRANSITIVE"][n % 3];
            let level = json!({ "compatibility": level });
            source.must("PUT", &format!("/config/{name}"), Some(&level));
        }
    }
    for n in (0..subjects).filter(|n| !named.contains(n)) {
        let path = format!("/subjects/{}", subject(n));
        match n % 10 {
            // the whole subject, softly
            0 | 1 => drop(source.must("DELETE", &path, None)),
            // one version of several
            3 | 7 if versions(n) > 2 => {
                source.must("DELETE", &format!("{path}/versions/2"), None);
            }
            // for good: its id and version are a gap
            5 if versions(n) > 1 => {
                source.must("DELETE", &format!("{path}/versions/1"), None);
                source.must("DELETE", &format!("{path}/versions/1?permanent=true"), None);
            }
            _ => {}
        }
    }
    // and what is referred to by deleted ones alone
    for n in (0..subjects).filter(|n| named.contains(n)) {
        let (status, said) = source.ask("DELETE", &format!("/subjects/{}", subject(n)), None);
        let is_gone = status == 200 && n % 2 == 0;
        assert!(status == 200 || status == 422, "{status} {said}");
        if status == 200 && !is_gone {
            // back again, as somebody who regrets it
            source.must("POST", &format!("/subjects/{}/versions", subject(n)), Some(&schema(n, 1)));
        }
    }
}

/// Everything that a registry holds, a line for each thing.
pub(crate) fn judged(registry: &RealRegistry) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    let subjects = registry.must("GET", "/subjects?deleted=true", None);
    // null where there is none
    let subjects = subjects.as_array().into_iter().flatten();
    for name in subjects.map(|name| name.as_str().unwrap()) {
        let path = format!("/subjects/{name}/versions");
        let (_, live) = registry.ask("GET", &path, None);
        let live: Vec<&Value> = live.as_array().into_iter().flatten().collect();
        let all = registry.must("GET", &format!("{path}?deleted=true"), None);
        // one that is just coming has none yet
        for version in all.as_array().into_iter().flatten() {
            let at = registry.must("GET", &format!("{path}/{version}?deleted=true"), None);
            let by_id = registry.must("GET", &format!("/schemas/ids/{}", at["id"]), None);
            assert_eq!(by_id["schema"], at["schema"], "{name} {version}");
            let [id, kind, text, references] =
                ["id", "schemaType", "schema", "references"].map(|key| at[key].to_string());
            let is_live = live.contains(&version);
            lines.insert(format!("{name} {version} {id} {is_live} {kind} {text} {references}"));
        }
        if let (200, config) = registry.ask("GET", &format!("/config/{name}"), None) {
            lines.insert(format!("{name} config {}", config["compatibilityLevel"]));
        }
    }
    lines
}

/// Two files of properties, and the program with them.
struct Copying(PathBuf);

impl Copying {
    fn new(source: u16, destination: u16) -> Copying {
        let dir = repo().join(format!("target/real/copying-{}-{source}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for (name, port) in [("a", source), ("b", destination)] {
            let text = format!("schema.registry.url=http://127.0.0.1:{port}\n");
            fs::write(dir.join(name), text).unwrap();
        }
        Copying(dir)
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(isolog_binary().unwrap());
        command.args(["schema", verb, "--source"]).arg(self.0.join("a"));
        command.arg("--destination").arg(self.0.join("b")).stdin(Stdio::null());
        command
    }

    fn run(&self, verb: &str) -> Output {
        self.command(verb).output().unwrap()
    }

    fn start(&self) -> Child {
        self.command("copy").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        let _best_effort = fs::remove_dir_all(&self.0);
    }
}

/// How often each write was made, told without its body's blanks.
pub(crate) fn times(writes: &[String]) -> BTreeMap<&str, usize> {
    let mut times = BTreeMap::new();
    writes.iter().for_each(|write| *times.entry(write.as_str()).or_default() += 1);
    times
}

#[test]
fn a_copy_that_is_killed_amid_its_writes_is_the_same_in_the_end_and_writes_nothing_twice() {
    let (source, destination) = (RealRegistry::start().unwrap(), RealRegistry::start().unwrap());
    let subjects = subjects();
    fill(&source, subjects);
    let wanted = judged(&source);
    let is_in = |part: &str| wanted.iter().filter(|line| line.contains(part)).count();
    assert!(
        is_in(" false ") > subjects / 10
            && is_in(" config ") > subjects / 10
            && wanted.len() > subjects,
        "{wanted:?}"
    );
    for part in ["\"AVRO\"", "\"PROTOBUF\"", "\"JSON\"", "\"subject\":"] {
        assert!(is_in(part) > subjects / 5, "{part}: {}", is_in(part));
    }
    let front = Front::before(destination.port()).unwrap();
    let copying = Copying::new(source.port(), front.port());
    // the destination takes no ids yet: named, and nothing is written
    let refused = copying.run("copy");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("not IMPORT"), "{said}");
    assert_eq!(front.writes(), Vec::<String>::new());
    destination.must("PUT", "/mode", Some(&json!({"mode": "IMPORT"})));

    // one write for each version and config, one more for each deletion
    let total = wanted.len() + is_in(" false ");
    for kill in 0..kills() {
        let at = 1 + (total - 1) * kill / (kills() - 1);
        let stop = if kill % 2 == 0 { Stop::Before(at) } else { Stop::After(at) };
        let stopped = front.stop_at(stop);
        let mut child = copying.start();
        stopped.recv_timeout(WRITE_WAIT).unwrap_or_else(|e| panic!("{stop:?}: {e}"));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let last = copying.run("copy");
    let said = String::from_utf8_lossy(&last.stdout).into_owned();
    assert!(last.status.success() && said.contains("none is missing"), "{last:?}");
    let held = judged(&destination);
    let differing: Vec<_> = wanted.symmetric_difference(&held).take(4).collect();
    assert!(differing.is_empty(), "{differing:#?}");
    assert_eq!(judged(&source), wanted, "the source was changed");
    let writes = front.writes();
    let twice: Vec<_> = times(&writes).into_iter().filter(|(_, count)| *count > 1).collect();
    assert_eq!((writes.len(), twice), (total, vec![]));
    after(&source, &destination, &copying);
}

/// What follows a copy: the switch, and schemas of the destination's own.
fn after(source: &RealRegistry, destination: &RealRegistry, copying: &Copying) {
    let before = judged(destination);
    // the judge sees a difference of one letter
    source.must("POST", "/subjects/new-value/versions", Some(&json!({"schema": "\"string\""})));
    assert_ne!(judged(source), before);
    let refused = copying.run("promote");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("1 steps are missing"), "{said}");
    assert!(copying.run("copy").status.success());
    assert_eq!(judged(source), judged(destination));
    let promoted = copying.run("promote");
    assert!(promoted.status.success(), "{promoted:?}");
    let body = json!({"schema": "\"long\""});
    let own = destination.must("POST", "/subjects/own-value/versions", Some(&body));
    let ids = judged(source).into_iter();
    let highest = ids.filter_map(|line| line.split(' ').nth(2)?.parse::<i64>().ok()).max();
    assert!(own["id"].as_i64() > highest, "{own} {highest:?}");
}

/// How many subjects an exporter finds at its start.
pub(crate) const FEW: usize = 24;

/// An isolog with one exporter, and no brokers: schemas need none.
fn exporting(copying: &Copying) -> Isolog {
    let mut spec = IsologSpec::new("", "127.0.0.1:1", &[]);
    let [source, destination] = ["a", "b"].map(|name| copying.0.join(name));
    spec.more_links = format!(
        "[schemas.dr]\nsource.properties.file = {source:?}\n\
         destination.properties.file = {destination:?}\npoll.interval.ms = 1000\n"
    );
    Isolog::start(&spec).unwrap()
}

pub(crate) fn status(isolog: &Isolog) -> Option<Value> {
    isolog.get("/exporters/dr/status").filter(|status| status["name"] == "dr")
}

/// What `isolog schema exporter` prints of the exporter.
pub(crate) fn told(isolog: &Isolog, words: &[&str]) -> Output {
    let url = format!("http://127.0.0.1:{}", isolog.port());
    let mut command = Command::new(isolog_binary().unwrap());
    command.args(["schema", "exporter"]).args(words).args(["--url", &url, "-o", "json"]);
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn an_exporter_goes_on_by_itself_until_the_destination_takes_schemas_of_its_own() {
    let (source, destination) = (RealRegistry::start().unwrap(), RealRegistry::start().unwrap());
    fill(&source, FEW);
    destination.must("PUT", "/mode", Some(&json!({"mode": "IMPORT"})));
    let front = Front::before(destination.port()).unwrap();
    let copying = Copying::new(source.port(), front.port());
    let stopped = front.stop_at(Stop::After(10));
    let mut isolog = exporting(&copying);
    stopped.recv_timeout(WRITE_WAIT).unwrap();
    let early = isolog.wait_for("its status", 60, status);
    assert_eq!(
        (&early["state"], &early["ts"], &early["offset"]),
        (&json!("STARTING"), &json!(0), &json!(9))
    );
    isolog.kill();
    isolog.start_again().unwrap();
    let running = |isolog: &Isolog| status(isolog).filter(|status| status["state"] == "RUNNING");
    let level = isolog.wait_for("RUNNING", 120, running);
    assert!(level["trace"] == "" && level["ts"].as_i64() > Some(0), "{level}");
    assert_eq!(judged(&source), judged(&destination));
    assert!(times(&front.writes()).values().all(|count| *count == 1), "{:?}", front.writes());
    assert_eq!(isolog.metric("isolog_exporter_missing_changes", "\"dr\""), 0.0);

    // what comes later comes too, deletions and configs among it
    source.must("POST", "/subjects/new-value/versions", Some(&json!({"schema": "\"string\""})));
    source.must("DELETE", "/subjects/s9-value", None);
    source.must("PUT", "/config/s3-value", Some(&json!({"compatibility": "FULL_TRANSITIVE"})));
    let wanted = judged(&source);
    isolog.wait_for("the news", 120, |_| (judged(&destination) == wanted).then_some(()));
    shown(&isolog, &copying, front.port());

    // after a failover nothing is changed there, not even by a deletion
    destination.must("PUT", "/mode", Some(&json!({"mode": "READWRITE"})));
    source.must("DELETE", "/subjects/new-value", None);
    let refused = |isolog: &Isolog| {
        status(isolog).filter(|it| it["trace"].as_str().is_some_and(|it| it.contains("not IMPORT")))
    };
    let trouble = isolog.wait_for("a trace", 120, refused);
    assert!(trouble["state"] == "RUNNING", "{trouble}");
    assert_eq!(isolog.metric("isolog_exporter_in_error", "\"dr\""), 1.0);
    assert_eq!(judged(&destination), wanted);
}

/// The words of REST and of the command line.
fn shown(isolog: &Isolog, copying: &Copying, port: u16) {
    assert_eq!(isolog.get("/exporters"), Some(json!(["dr"])));
    let config = json!({ "schema.registry.url": format!("http://127.0.0.1:{port}") });
    let right = json!({
        "name": "dr", "contextType": "NONE", "context": "", "subjects": [":*:"],
        "subjectRenameFormat": "${subject}", "config": config,
    });
    assert_eq!(isolog.get("/exporters/dr"), Some(right));
    assert_eq!(isolog.get("/exporters/dr/config"), Some(config));
    let refused = |method: &str, path: &str| {
        let (status, body) = isolog.order(method, path, None).unwrap();
        (status, body["error_code"].as_u64().unwrap(), body["message"].as_str().unwrap().to_owned())
    };
    // without a journal nobody knows what else there is
    for (method, path) in [("GET", "/exporters/nobody/status"), ("DELETE", "/exporters/nobody")] {
        let (status, code, text) = refused(method, path);
        assert!(
            (status, code) == (503, 50003) && text.contains("not known yet"),
            "{status} {code} {text}"
        );
    }
    for (method, path) in [("PUT", "/exporters/dr/pause"), ("DELETE", "/exporters/dr")] {
        let (status, code, text) = refused(method, path);
        assert!((status, code) == (400, 40002) && text.contains("[schemas.dr]"), "{status} {text}");
    }
    assert_eq!(refused("POST", "/exporters").0, 409);
    assert_eq!(refused("POST", "/exporters/dr/status").0, 405);
    assert_eq!(refused("GET", "/exporters/dr/pause").0, 405);
    assert_eq!(refused("GET", "/exporters/dr/elsewhere").0, 404);
    let lines = |words: &[&str]| String::from_utf8(told(isolog, words).stdout).unwrap();
    assert!(lines(&["status", "dr"]).contains("\"RUNNING\""), "{}", lines(&["status", "dr"]));
    assert!(lines(&["describe", "--name", "dr"]).contains("\":*:\""));
    assert!(lines(&["list"]).contains("\"dr\""));
    assert!(lines(&["config", "dr"]).contains(&port.to_string()));
    let wrong = told(isolog, &["status", "nobody"]);
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && said.contains("not known yet"), "{said}");
    // by hand there is nothing left to do
    let dry = copying.command("copy").arg("--dry-run").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&dry.stdout), "0 steps\n", "{dry:?}");
}
