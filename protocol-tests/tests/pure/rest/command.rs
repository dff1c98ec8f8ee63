//! `isolog link` and `isolog mirror`, the real binary, against a service on loopback.
//!
//! It never reads a config file: what is asked is named by its URL.

use std::process::Output;

use protocol_tests::real::isolog_binary;
use serde_json::Value;
use tokio::process::Command;

use super::Rig;

struct Told {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Told {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).expect("JSON")
    }
}

/// Runs the binary with these words, and its service's URL in the environment.
async fn isolog(rig: &Rig, words: &[&str]) -> Told {
    let binary = isolog_binary().expect("the binary is built");
    let mut command = Command::new(binary);
    command.args(words).env_clear().env("ISOLOG_URL", format!("http://{}", rig.address));
    let Output { status, stdout, stderr } = command.output().await.expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Told { code: status.code(), out: text(stdout), err: text(stderr) }
}

async fn obeyed(rig: &Rig, words: &[&str]) -> Told {
    let told = isolog(rig, words).await;
    assert_eq!(told.code, Some(0), "{words:?}: {}{}", told.out, told.err);
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_and_its_mirror_topic_from_the_first_word_to_the_last() {
    let rig = Rig::start().await;
    rig.hands.create_source("t1", 2);
    let server = ["--source-bootstrap-server", "west:9092"];
    let create = [&["link", "create", "l1"][..], &server].concat();
    obeyed(&rig, &[&create[..], &["--dry-run"]].concat()).await;
    assert_eq!(rig.hands.batches(), 0, "a dry run writes nothing");
    let told = obeyed(&rig, &create).await;
    assert!(told.out.contains("Next: isolog mirror create TOPIC --link l1"), "{}", told.out);
    let again = isolog(&rig, &create).await;
    assert_eq!(again.code, Some(1));
    assert!(again.err.contains("already exists"), "{}", again.err);
    assert!(again.err.contains("Next: isolog link list, or isolog link create"), "{}", again.err);

    let more = ["--dry-run", "-o", "json"];
    let dry = obeyed(&rig, &[&["link", "create", "l2"][..], &server, &more].concat()).await.json();
    assert_eq!((&dry["link_name"], &dry["created"]), (&"l2".into(), &false.into()));
    let none = isolog(&rig, &["link", "describe", "none"]).await;
    assert!(none.err.contains("Next: isolog link list"), "{}", none.err);
    obeyed(&rig, &["mirror", "create", "t1", "--link", "l1"]).await;
    let list = obeyed(&rig, &["mirror", "list", "--link", "l1", "-o", "json"]).await.json();
    assert_eq!(list[0]["mirror_topic_name"], "t1");
    assert_eq!(list[0]["mirror_status"], "ACTIVE");
    // a lag that is not known, as in `describe`
    assert_eq!(list[0]["max_per_partition_mirror_lag"], -1);
    // it finds the link by itself
    let described = obeyed(&rig, &["mirror", "describe", "t1", "-o", "json"]).await.json();
    assert_eq!(described[0]["link_name"], "l1");
    assert_eq!((&described[0]["partition"], &described[1]["partition"]), (&0.into(), &1.into()));
    let head = obeyed(&rig, &["mirror", "describe", "t1"]).await.out;
    for column in ["Mirror Topic Error", "Partition Mirror Lag", "Last Source Fetch Offset"] {
        assert!(head.lines().next().is_some_and(|line| line.contains(column)), "{head}");
    }

    obeyed(&rig, &["mirror", "pause", "t1"]).await;
    let yaml = obeyed(&rig, &["mirror", "list", "--link", "l1", "-o", "yaml"]).await.out;
    assert!(yaml.contains("mirror_status: \"PAUSED\""), "{yaml}");
    let half = isolog(&rig, &["mirror", "resume", "t1", "t9", "--link", "l1"]).await;
    assert_eq!(half.code, Some(1), "one of them is no mirror topic");
    assert!(half.out.contains("'t9' is not a mirror topic"), "{}", half.out);

    obeyed(&rig, &["link", "pause", "l1"]).await;
    let link = obeyed(&rig, &["link", "describe", "l1", "-o", "json"]).await.json();
    assert_eq!(link["state"], "PAUSED");
    obeyed(&rig, &["link", "resume", "l1"]).await;
    let update = ["link", "configuration", "update", "l1", "--config"];
    obeyed(&rig, &[&update[..], &["availability.check.ms=2000"]].concat()).await;
    let configs = obeyed(&rig, &["link", "configuration", "list", "l1", "-o", "json"]).await.json();
    let all = configs.as_array().expect("a list");
    let one = all.iter().find(|one| one["config_name"] == "availability.check.ms");
    assert_eq!(one.expect("it is there")["config_value"], "2000");
    let tasks = obeyed(&rig, &["link", "task", "list", "l1", "-o", "json"]).await.json();
    assert!(tasks.as_array().is_some_and(|tasks| tasks.len() == 5), "{tasks}");

    let refused = isolog(&rig, &["link", "delete", "l1"]).await;
    assert!(refused.err.contains("isolog mirror list --link l1"), "{}", refused.err);
    obeyed(&rig, &["mirror", "delete", "t1"]).await;
    assert!(rig.hands.has_mirror("t1"), "the topic stays");
    rig.hands.until("forgotten", |seen| seen.mirrors.is_empty()).await;
    obeyed(&rig, &["link", "create", "l2", "--source-bootstrap-server", "west:9092"]).await;
    obeyed(&rig, &["mirror", "create", "t1", "--link", "l1"]).await;
    let other = isolog(&rig, &["mirror", "delete", "t1", "--topic", "--link", "l2"]).await;
    assert!(other.err.contains("not a mirror topic of cluster link 'l2'"), "{}", other.err);
    assert!(rig.hands.has_mirror("t1"), "it is not that link's");
    obeyed(&rig, &["mirror", "delete", "t1", "--topic", "--link", "l1"]).await;
    obeyed(&rig, &["link", "delete", "l1"]).await;
    obeyed(&rig, &["link", "delete", "l2"]).await;
    rig.hands.until("gone", |seen| seen.links.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_says_what_it_waits_for_and_that_nothing_was_chosen() {
    let rig = Rig::start().await;
    rig.hands.create_source("t1", 2);
    obeyed(&rig, &["link", "create", "l1", "--source-bootstrap-server", "west:9092"]).await;
    obeyed(&rig, &["mirror", "create", "t1", "--link", "l1"]).await;
    for verb in ["promote", "failover"] {
        let none = isolog(&rig, &["mirror", verb, "--pattern", "zz.*", "--link", "l1"]).await;
        assert!(none.code == Some(1) && none.err.contains("nothing was done"), "{}", none.err);
    }
    obeyed(&rig, &["mirror", "promote", "t1"]).await;
    let described = obeyed(&rig, &["mirror", "describe", "t1"]).await.out;
    assert!(described.contains("waits: partition 0 is 5 records behind"), "{described}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_obeyed_says_what_to_try_next() {
    let rig = Rig::start().await;
    let told = isolog(&rig, &["mirror", "describe", "nowhere"]).await;
    assert!(told.code == Some(1) && told.err.contains("Next: isolog mirror list"), "{}", told.err);
    let told = isolog(&rig, &["link", "describe", "l9"]).await;
    assert!(
        told.err.contains("'l9' does not exist") && told.err.contains("Next: isolog link list")
    );
    assert_eq!(
        obeyed(&rig, &["mirror", "list", "-o", "json"]).await.json()[0]["link_name"],
        "from-file"
    );

    let closed = Rig::start_with(Some("0123456789abcdef")).await;
    let told = isolog(&closed, &["link", "list"]).await;
    assert!(told.code == Some(1) && told.err.contains("ISOLOG_TOKEN"), "{}", told.err);
    let file = std::env::temp_dir().join(format!("isolog-token-{}", std::process::id()));
    std::fs::write(&file, "0123456789abcdef\n").expect("it can be written");
    let path = file.display().to_string();
    obeyed(&closed, &["link", "list", "--token-file", &path]).await;
    std::fs::remove_file(&file).expect("it is there");
}
