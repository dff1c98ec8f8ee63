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
use protocol_tests::real::RealRegistry;
use protocol_tests::real::Stop;
use protocol_tests::real::isolog_binary;
use protocol_tests::real::repo;
use serde_json::Value;
use serde_json::json;

/// How many subjects the source holds; three formats in turn.
const SUBJECTS: usize = 500;
/// How often a copy is killed.
const KILLS: usize = 6;
/// For how long a copy may take to come to a write.
const WRITE_WAIT: Duration = Duration::from_secs(300);

fn subject(n: usize) -> String {
    format!("s{n}-value")
}

/// The subject of the same format that `n` refers to; chains of up to three.
fn referred(n: usize) -> Option<usize> {
    ((n / 3) % 4 != 0).then(|| n - 3)
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
    if n % 3 > 0 {
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
fn fill(source: &RealRegistry) {
    let named: BTreeSet<usize> = (0..SUBJECTS).filter_map(referred).collect();
    for n in 0..SUBJECTS {
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
    for n in (0..SUBJECTS).filter(|n| !named.contains(n)) {
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
    for n in (0..SUBJECTS).filter(|n| named.contains(n)) {
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
fn judged(registry: &RealRegistry) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    let subjects = registry.must("GET", "/subjects?deleted=true", None);
    for name in subjects.as_array().unwrap().iter().map(|name| name.as_str().unwrap()) {
        let path = format!("/subjects/{name}/versions");
        let (_, live) = registry.ask("GET", &path, None);
        let live: Vec<&Value> = live.as_array().into_iter().flatten().collect();
        let all = registry.must("GET", &format!("{path}?deleted=true"), None);
        for version in all.as_array().unwrap() {
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
fn times(writes: &[String]) -> BTreeMap<&str, usize> {
    let mut times = BTreeMap::new();
    writes.iter().for_each(|write| *times.entry(write.as_str()).or_default() += 1);
    times
}

#[test]
fn a_copy_that_is_killed_amid_its_writes_is_the_same_in_the_end_and_writes_nothing_twice() {
    let (source, destination) = (RealRegistry::start().unwrap(), RealRegistry::start().unwrap());
    fill(&source);
    let wanted = judged(&source);
    let is_in = |part: &str| wanted.iter().filter(|line| line.contains(part)).count();
    assert!(
        is_in(" false ") > 50 && is_in(" config ") > 50 && wanted.len() > SUBJECTS,
        "{wanted:?}"
    );
    for part in ["\"AVRO\"", "\"PROTOBUF\"", "\"JSON\"", "\"subject\":"] {
        assert!(is_in(part) > 100, "{part}: {}", is_in(part));
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
    for kill in 0..KILLS {
        let at = 1 + (total - 1) * kill / (KILLS - 1);
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
