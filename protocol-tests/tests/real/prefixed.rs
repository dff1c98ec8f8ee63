//! Many sources in one destination: links of the file whose mirrors have a prefix, one by order
//! that renames them by a format, and what the audits say of them, by both names.
//!
//! It never takes isolog's word for a copy: batches are compared by a hand of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use protocol_tests::broker::batch::Build;
use protocol_tests::check::batches_equal;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;
use serde_json::Value;
use serde_json::json;

/// For how long anything may take.
const WAIT_SECONDS: u64 = 120;
const TOPIC: &str = "p-orders";

/// What the mirror is called of each link: the last is by order, of a format.
fn mirror_of(link: &str) -> String {
    if link == "far" { format!("{TOPIC}.far") } else { format!("{link}.{TOPIC}") }
}

struct Stage {
    /// Two sources, and the destination of both.
    hands: [Hand; 3],
    isolog: Isolog,
}

impl Stage {
    fn write(&self, at: usize, topic: &str, count: i64) {
        let batch = Build::plain(now_ms(), &format!("of {at}"), count as usize);
        self.hands[at].produce(topic, 0, &batch).unwrap();
    }

    fn wait_copied(&self, at: usize, mirror: &str) {
        let want = self.hands[at].ends(TOPIC, 0).unwrap();
        self.isolog.wait_for(&format!("{mirror} ends at {want:?}"), WAIT_SECONDS, |_| {
            (self.hands[2].ends(mirror, 0).ok()? == want).then_some(())
        });
        let ours = self.hands[at].log(TOPIC, 0).unwrap();
        let theirs = self.hands[2].log(mirror, 0).unwrap();
        assert_eq!(batches_equal(&ours, &theirs, want.0, want.1), Vec::<String>::new(), "{mirror}");
    }

    /// Exit code, and what it says as JSON.
    fn audit(&self, args: &[&str]) -> (i32, Value) {
        let output = self.isolog.command(args).unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let told = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {said}{}", String::from_utf8_lossy(&output.stdout)));
        (output.status.code().unwrap(), told)
    }

    /// The state of each link, and why.
    fn state(&self, link: &str) -> Option<(String, String)> {
        let links = self.isolog.get("/v1/links")?;
        let one = links.as_array()?.iter().find(|one| one["name"] == link)?;
        Some((one["state"].as_str()?.to_owned(), one["reason"].as_str()?.to_owned()))
    }
}

/// A third link, by order, of the first source.
fn create_by_order(isolog: &Isolog, source: &str) {
    let (status, clusters) = isolog.order("GET", "/kafka/v3/clusters", None).unwrap();
    assert_eq!(status, 200, "{clusters}");
    let id = clusters["data"][0]["cluster_id"].as_str().unwrap();
    let links = format!("/kafka/v3/clusters/{id}/links");
    let config = |name: &str, value: &str| json!({"name": name, "value": value});
    let configs = [
        config("bootstrap.servers", source),
        config("topic.rename.format", "${topic}.far"),
        config("batch.merge", "never"),
    ];
    let new = json!({ "configs": configs });
    let (status, said) =
        isolog.order("POST", &format!("{links}?link_name=far"), Some(&new)).unwrap();
    assert!(status < 300, "{status}: {said}");
    let new = json!({"source_topic_name": TOPIC, "mirror_topic_name": mirror_of("far")});
    let (status, said) = isolog.order("POST", &format!("{links}/far/mirrors"), Some(&new)).unwrap();
    assert!(status < 300, "{status}: {said}");
}

fn audits_know_both_names(stage: &Stage) {
    let (code, told) = stage.audit(&["verify", "--json"]);
    let names = |report: &Value, list: &str| -> Vec<(Value, Value)> {
        let all = report[list].as_array().unwrap().iter();
        all.map(|one| (one["topic"].clone(), one["mirror_topic"].clone())).collect()
    };
    assert_eq!(code, 0, "{told}");
    let reports = told.as_array().unwrap();
    for (report, link) in reports.iter().zip(["east", "west", "far"]) {
        assert_eq!(report["link"], link);
        let right = vec![(json!(TOPIC), json!(mirror_of(link)))];
        assert_eq!(names(report, "partitions"), right, "{report}");
        assert_eq!(report["partitions"][0]["tally"]["records"], 30, "{report}");
    }
    assert_eq!(reports.len(), 3);
    let (code, told) = stage.audit(&["check", "--json"]);
    assert_eq!(code, 0, "{told}");
    for (report, link) in told.as_array().unwrap().iter().zip(["east", "west", "far"]) {
        let right = vec![(json!(TOPIC), json!(mirror_of(link)))];
        assert_eq!(names(report, "topics"), right, "{report}");
    }
    let digest = |side: &str, topic: &str| {
        let args = ["digest", "--link", "far", "--side", side, "--topic", topic];
        let output = stage.isolog.command(&args).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().skip(1).map(str::to_owned).collect::<Vec<String>>()
    };
    let (ours, theirs) = (digest("source", TOPIC), digest("destination", &mirror_of("far")));
    assert!(!ours.is_empty() && ours == theirs, "{ours:?} {theirs:?}");
}

fn a_foreign_record_is_found_by_either_name(stage: &Stage) {
    let mirror = mirror_of("far");
    stage.write(2, &mirror, 1);
    for topic in [TOPIC, &mirror] {
        let (code, told) = stage.audit(&["verify", "--json", "--link", "far", "--topic", topic]);
        assert_eq!((code, &told[0]["verdict"]), (5, &json!("different")), "{told}");
    }
    let (code, told) = stage.audit(&["verify", "--json", "--topic", TOPIC]);
    let verdicts: Vec<&Value> =
        told.as_array().unwrap().iter().map(|report| &report["verdict"]).collect();
    assert_eq!(
        (code, verdicts.as_slice()),
        (5, &[&json!("equal"), &json!("equal"), &json!("different")][..])
    );
    let output = stage.isolog.command(&["verify", "--topic", "z-none"]).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("does not mirror topic z-none"), "{said}");
}

/// Nothing is copied under a second name, and nothing under the first, until the file is as it was.
fn a_prefix_that_is_changed_stops_its_link(stage: &mut Stage) {
    let file = stage.isolog.config();
    let was = std::fs::read_to_string(&file).unwrap();
    stage.isolog.kill();
    std::fs::write(&file, was.replace("\"west.\"", "\"w2.\"")).unwrap();
    stage.isolog.start_again().unwrap();
    stage.isolog.wait_for("the link stops", WAIT_SECONDS, |_| {
        let (state, reason) = stage.state("west")?;
        (state == "Halted" && reason.contains("is mirrored as west.p-orders already")).then_some(())
    });
    let before = stage.hands[2].ends("west.p-orders", 0).unwrap();
    stage.write(0, TOPIC, 5);
    stage.write(1, TOPIC, 5);
    stage.wait_copied(0, "east.p-orders");
    assert_eq!(stage.hands[2].ends("west.p-orders", 0).unwrap(), before);
    assert!(stage.hands[2].ends("w2.p-orders", 0).is_err(), "nobody made it");
    stage.isolog.kill();
    std::fs::write(&file, was).unwrap();
    stage.isolog.start_again().unwrap();
    stage.wait_copied(1, "west.p-orders");
}

#[test]
fn many_sources_are_mirrored_into_one_destination() {
    let _room = room(3);
    let one = || RealSpec::new("4.3.1", 1);
    let (east, there) = RealCluster::both(one(), one()).unwrap();
    let west = RealCluster::start(one()).unwrap();
    let hands = [&east, &west, &there].map(|cluster| Hand::new(cluster.bootstrap()));
    for hand in &hands[..2] {
        hand.create(TOPIC, 1, 1, &[]).unwrap();
    }
    let mut spec = IsologSpec::new(east.bootstrap(), there.bootstrap(), &["p-*"]);
    spec.link = "east".to_owned();
    let plain = spec.link_more.clone();
    spec.link_more.push_str("cluster.link.prefix = \"east.\"\n");
    spec.more_links = format!(
        "[link.west]\nbootstrap.servers = \"{}\"\nmirror.topics = [\"p-*\"]\n{plain}\
         cluster.link.prefix = \"west.\"\n",
        west.bootstrap()
    );
    let isolog = Isolog::start(&spec).unwrap();
    let mut stage = Stage { hands, isolog };
    for at in 0..2 {
        stage.write(at, TOPIC, 30);
    }
    stage.wait_copied(0, "east.p-orders");
    stage.wait_copied(1, "west.p-orders");
    create_by_order(&stage.isolog, east.bootstrap());
    stage.wait_copied(0, &mirror_of("far"));
    audits_know_both_names(&stage);
    a_foreign_record_is_found_by_either_name(&stage);
    a_prefix_that_is_changed_stops_its_link(&mut stage);
    assert!(!stage.isolog.log().contains("panicked"), "{}", stage.isolog.log());
}
