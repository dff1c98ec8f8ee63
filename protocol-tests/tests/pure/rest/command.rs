//! `isolog link` and `isolog mirror`, the real binary, against a service on loopback.
//!
//! It never reads a config file: what is asked is named by its URL.

use std::collections::VecDeque;
use std::process::Output;

use isolog::control::topic::Status;
use protocol_tests::hands::Kind;
use protocol_tests::real::isolog_binary;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::process::Command;

use super::Rig;

#[derive(Debug)]
pub(super) struct Told {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Told {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).expect("JSON")
    }
}

/// Runs the binary with these words, and its service's URL in the environment.
pub(super) async fn isolog(rig: &Rig, words: &[&str]) -> Told {
    isolog_at(&rig.address, words).await
}

async fn isolog_at(address: &str, words: &[&str]) -> Told {
    let binary = isolog_binary().expect("the binary is built");
    let mut command = Command::new(binary);
    command.args(words).env_clear().env("ISOLOG_URL", format!("http://{address}"));
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

/// Scripts of Cluster Linking give a key and its secret, and what they know of the destination.
#[tokio::test(flavor = "multi_thread")]
async fn what_cluster_linkings_scripts_say_is_taken_or_refused_in_words() {
    let rig = Rig::start().await;
    let server = ["--source-bootstrap-server", "west:9092"];
    let create = |more: &[&'static str]| [&["link", "create", "l1"][..], &server, more].concat();
    let other = isolog(&rig, &create(&["--destination-cluster", "lkc-other"])).await;
    assert!(other.err.contains("not to lkc-other\nNext: give the address"), "{}", other.err);
    let half = isolog(&rig, &create(&["--source-api-key", "K"])).await;
    assert!(half.err.contains("--source-api-secret"), "{}", half.err);
    let keys = ["--source-api-key", "K", "--source-api-secret", "hunter2"];
    // a secret that comes over REST wants a key to be sealed with, and is shown nowhere
    let sealed = isolog(&rig, &create(&keys)).await;
    assert!(sealed.err.contains("secrets.key.file"), "{}", sealed.err);
    assert!(!sealed.err.contains("hunter2") && !sealed.out.contains("hunter2"));
    let unused = ["--destination-api-key", "D", "--destination-api-secret", "hunter2"];
    let told = obeyed(&rig, &create(&unused)).await;
    assert!(told.err.contains("is not used") && !told.err.contains("hunter2"), "{}", told.err);

    let dry = obeyed(&rig, &["link", "pause", "l1", "--dry-run"]).await;
    assert!(dry.out.contains("could be paused; nothing was done"), "{}", dry.out);
    let state = async || {
        let link = obeyed(&rig, &["link", "describe", "l1", "-o", "json"]).await.json();
        link["state"].clone()
    };
    assert_ne!(state().await, "PAUSED");
    let told = obeyed(&rig, &["link", "pause", "l1", "-o", "json"]).await.json();
    assert_eq!((&told["link_name"], &told["paused"]), (&"l1".into(), &true.into()));
    assert_eq!(state().await, "PAUSED");
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
    rig.hands.hold_back(Kind::Levels);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_is_ordered_again_is_through() {
    let rig = Rig::start().await;
    rig.hands.create_source("t1", 2);
    obeyed(&rig, &["link", "create", "l1", "--source-bootstrap-server", "west:9092"]).await;
    obeyed(&rig, &["mirror", "create", "t1", "--link", "l1"]).await;
    let all = ["--all", "--link", "l1"];
    for words in [&["t1"][..], &["t1"], &all, &["--pattern", "t.*", "--link", "l1"]] {
        for verb in ["failover", "promote"] {
            let words = [&["mirror", verb, "--wait", "-o", "json"][..], words].concat();
            let ends = obeyed(&rig, &words).await.json();
            assert_eq!(ends.as_array().map(Vec::len), Some(2), "{words:?}: {ends}");
            assert_eq!(ends[1]["mirror_status"], "STOPPED");
        }
    }
    // who does not wait is told that nothing was done
    let told = isolog(&rig, &["mirror", "failover", "t1"]).await;
    assert!(told.code == Some(1) && told.out.contains("already stopped its mirror"));
    let told = isolog(&rig, &[&["mirror", "failover"][..], &all].concat()).await;
    assert!(told.code == Some(1) && told.err.contains("is STOPPED already"), "{}", told.err);
    // what has come since is taken, and what is through is not asked for again
    rig.hands.create_source("t2", 1);
    obeyed(&rig, &["mirror", "create", "t2", "--link", "l1"]).await;
    let pattern = ["--pattern", "t.*", "--link", "l1", "-o", "json"];
    let ends = obeyed(&rig, &[&["mirror", "failover"][..], &pattern].concat()).await.json();
    let ends = ends.as_array().expect("a list");
    assert!(ends.len() == 1 && ends[0]["mirror_topic_name"] == "t2", "{ends:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_is_not_answered_in_time_is_not_taken_back() {
    let rig = Rig::start().await;
    rig.hands.create_source("t1", 2);
    obeyed(&rig, &["link", "create", "l1", "--source-bootstrap-server", "west:9092"]).await;
    obeyed(&rig, &["mirror", "create", "t1", "--link", "l1"]).await;
    rig.hands.hold_back(Kind::Writes);
    let late = isolog(&rig, &["mirror", "failover", "t1", "--wait", "--timeout", "2"]).await;
    assert!(late.code == Some(6) && late.err.contains("not taken back"), "{late:?}");
    rig.hands.let_go(Kind::Writes).await;
    let is_stopped = |status| status == Status::Stopped;
    let stopped = |seen: &isolog::link::registry::Seen| {
        seen.mirrors.values().all(|one| is_stopped(one.status))
    };
    rig.hands.until("stopped", stopped).await;
    obeyed(&rig, &["mirror", "failover", "t1", "--wait", "--timeout", "2"]).await;
}

/// A service that answers an order as it is told to, and whose one mirror topic is in one state
/// after the other; the last one stays.
async fn scripted(order: (u16, Value), statuses: &[&'static str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let mut statuses: VecDeque<&'static str> = statuses.iter().copied().collect();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let head = asked(&mut stream).await;
            let path = head.split(' ').nth(1).unwrap_or_default();
            let path = path.split('?').next().unwrap_or_default();
            let now = statuses.front().copied().unwrap_or_default();
            let mirror = |errors: &[Value]| {
                json!({"link_name": "l1", "mirror_topic_name": "t1", "mirror_status": now,
                    "mirror_lags": [{"partition": 0, "lag": 0, "last_source_fetch_offset": 7}],
                    "mirror_state_transition_errors": errors})
            };
            let (status, body) = match path {
                _ if head.starts_with("POST") => order.clone(),
                "/kafka/v3/clusters" => (200, json!({"data": [{"cluster_id": "C1"}]})),
                path if path.ends_with("/mirrors/t1") => {
                    (200, mirror(&[json!({"error_message": "an open transaction"})]))
                }
                _ => {
                    let list = json!({"data": [mirror(&[])]});
                    if statuses.len() > 1 {
                        statuses.pop_front();
                    }
                    (200, list)
                }
            };
            let body = body.to_string();
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
            let _gone = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    address
}

/// The head of a request that has come whole.
async fn asked(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().expect("a number")) {
                break;
            }
        }
        if stream.read_buf(&mut bytes).await.expect("it is readable") == 0 {
            break;
        }
    }
    String::from_utf8(bytes).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_isolog_answers_late_is_waited_for() {
    let late = || (504, json!({"error_code": 504, "message": "it waits for the journal"}));
    let failover = ["mirror", "failover", "t1", "--link", "l1", "--wait"];
    // its row has not come yet at the second look
    let states = ["ACTIVE", "ACTIVE", "PENDING_STOPPED", "STOPPED"];
    let told = isolog_at(&scripted(late(), &states).await, &failover).await;
    assert!(told.code == Some(0) && told.out.contains("STOPPED"), "{told:?}");
    assert!(told.err.contains("it waits for the journal"), "{}", told.err);
    let told = isolog_at(&scripted(late(), &states).await, &failover[..5]).await;
    assert!(told.code == Some(1) && told.err.contains("504"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_promote_waited_for_is_told_when_it_was_given_back() {
    let taken = json!({"data": [{"mirror_topic_name": "t1", "error_code": null}]});
    let states = ["ACTIVE", "PENDING_STOPPED", "PENDING_STOPPED", "ACTIVE"];
    let address = scripted((200, taken), &states).await;
    let promote = ["mirror", "promote", "t1", "--link", "l1", "--wait", "--timeout", "60"];
    let told = isolog_at(&address, &promote).await;
    assert_eq!(told.code, Some(6), "{told:?}");
    assert!(told.err.contains("t1: ACTIVE\n  waited for: an open transaction"), "{}", told.err);
}
