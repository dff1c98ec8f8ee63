//! The requests that the published SDKs of Kafka's REST v3 sent, byte for byte.
//!
//! It never changes a request but for the port in its Host line.

use isolog::control::machine::ROWS_MAX;
use isolog::link::registry::Event;
use protocol_tests::hands::Hands;

use super::Answer;
use super::LINK;
use super::Rig;

const RECORDED: &str = include_str!("../../../../testdata/rest/recorded.txt");

/// Each request by the name of its recording.
fn requests() -> Vec<(&'static str, &'static str)> {
    let all = RECORDED.split("### ").skip(1);
    all.map(|one| one.split_once('\n').expect("a name and a request")).collect()
}

/// The bytes that the SDK sent: lines end with CR LF, the body with a line feed.
fn bytes(request: &str, address: &str) -> Vec<u8> {
    let (head, body) = request.split_once("\n\n").unwrap_or((request.trim_end(), ""));
    let head =
        head.trim_end().replace('\n', "\r\n").replace("Host: HOST", &format!("Host: {address}"));
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length: usize = length.map_or(0, |length| length.parse().expect("a number"));
    let body = body.get(..length).expect("the whole body");
    // so that the answer ends with the connection
    format!("{head}\r\nConnection: close\r\n\r\n{body}").into_bytes()
}

async fn replay(rig: &Rig, name: &str) -> Answer {
    let (_, request) = requests().into_iter().find(|one| one.0 == name).expect("it is recorded");
    rig.send(&bytes(request, &rig.address)).await
}

async fn prepared() -> Rig {
    let rig = Rig::start().await;
    rig.create_link("l1", &["t1"]).await;
    rig.create_mirror("l1", "t1").await;
    rig
}

/// Each with the status that the SDK takes for success, or what this version says instead.
#[tokio::test]
async fn every_recorded_request_is_answered() {
    let later = "not available in this version";
    let odd = "CreateKafkaLink (bidirectional, remote_cluster_id, link_name with odd characters)";
    let table: &[(&str, u16, &str)] = &[
        ("ListKafkaLinks", 200, "KafkaLinkDataList"),
        ("CreateKafkaLink, refused", 409, "Cluster link 'l1' already exists."),
        (odd, 404, "Cluster 'lkc-1' is not served here"),
        ("GetKafkaLink", 200, "\"link_state\":\"ACTIVE\""),
        ("GetKafkaLink, unknown", 404, "Cluster link 'a b/ü' does not exist."),
        ("ListKafkaLinkConfigs", 200, "bootstrap.servers"),
        ("UpdateKafkaLinkConfig", 204, ""),
        ("GetKafkaLinkConfigs (one config)", 200, "consumer.offset.sync.ms"),
        ("UpdateKafkaLinkConfigBatch", 400, "auto.create.mirror.topics.filters"),
        ("DeleteKafkaLinkConfig", 204, ""),
        ("ListKafkaMirrorTopics (all links)", 200, "KafkaMirrorDataList"),
        ("ListKafkaMirrorTopicsUnderLink", 200, "KafkaMirrorDataList"),
        ("CreateKafkaMirrorTopic", 400, "must be called 't1'"),
        ("ReadKafkaMirrorTopic", 200, "\"mirror_status\":\"ACTIVE\""),
        ("UpdateKafkaMirrorTopicsPromote", 200, "Topic 't2' is not a mirror topic"),
        ("UpdateKafkaMirrorTopicsPromote (pattern)", 200, "\"mirror_topic_name\":\"t1\""),
        ("UpdateKafkaMirrorTopicsFailover", 200, "Topic 't2' is not a mirror topic"),
        ("UpdateKafkaMirrorTopicsPause", 200, "Topic 't2' is not a mirror topic"),
        ("UpdateKafkaMirrorTopicsResume", 200, "Topic 't2' is not a mirror topic"),
        ("UpdateKafkaMirrorTopicsReverseAndStartMirror", 200, "Topic 't2' is not a mirror topic"),
        ("UpdateKafkaMirrorTopicsReverseAndPauseMirror", 200, "Topic 't2' is not a mirror topic"),
        ("UpdateKafkaMirrorTopicsTruncateAndRestoreMirror", 501, later),
        ("GetKafkaCluster", 200, "\"cluster_id\":\"C1\""),
        ("ListKafkaLinks, 429 with a JSON object", 200, "KafkaLinkDataList"),
        ("ListKafkaLinks, 500", 200, "KafkaLinkDataList"),
        ("ListKafkaLinks with a bearer token, refused with 401", 200, "KafkaLinkDataList"),
        ("CP ClustersGet", 200, "KafkaClusterList"),
        ("CP ListKafkaLinks", 200, "KafkaLinkDataList"),
        ("CP GetKafkaLink", 200, "KafkaLinkData"),
        ("CP ListKafkaLinkConfigs", 200, "KafkaLinkConfigDataList"),
        ("CP UpdateKafkaLinkConfigBatch", 204, ""),
        ("CP CreateKafkaMirrorTopic", 409, "is a mirror topic of cluster link 'l1' already"),
        ("CP ListKafkaMirrorTopicsUnderLink", 200, "KafkaMirrorDataList"),
        ("CP ReadKafkaMirrorTopic", 200, "KafkaMirrorData"),
        ("CP UpdateKafkaMirrorTopicsPromote", 200, "Topic 't2' is not a mirror topic"),
        ("CP UpdateKafkaMirrorTopicsFailover", 200, "Topic 't2' is not a mirror topic"),
        ("CP UpdateKafkaMirrorTopicsReverseAndStarMirror", 200, "KafkaAlterMirrorStatusData"),
        ("CreateKafkaLink (destination side)", 409, "already exists"),
        ("CP CreateKafkaLink", 409, "already exists"),
        ("DeleteKafkaLink", 200, ""),
        ("CP DeleteKafkaLink", 200, ""),
    ];
    let rig = prepared().await;
    for (name, status, text) in table {
        let ends = ["DeleteKafkaLink", "Promote", "Promote (pattern)", "Failover", "Mirror"];
        if ends.iter().any(|end| name.ends_with(end)) {
            let rig = prepared().await;
            check(&rig, name, *status, text).await;
            continue;
        }
        check(&rig, name, *status, text).await;
    }
    let mut tried: Vec<&str> = table.iter().map(|row| row.0).collect();
    let mut all: Vec<&str> = requests().into_iter().map(|one| one.0).collect();
    tried.sort_unstable();
    all.sort_unstable();
    assert_eq!(tried, all, "every recording is in the table");
}

async fn check(rig: &Rig, name: &str, status: u16, text: &str) {
    let answer = replay(rig, name).await;
    assert_eq!(answer.status, status, "{name}: {answer:?}");
    assert!(answer.body.contains(text), "{name}: {answer:?}");
    // the SDKs decode by the type; what has no body has none
    let is_json = answer.head.contains("content-type: application/json");
    assert_eq!(is_json, !answer.body.is_empty(), "{name}: {}", answer.head);
}

/// The SDKs send an API key as Basic; a service with a token takes it as its password.
#[tokio::test]
async fn the_recorded_key_is_let_in_where_it_is_the_token() {
    // a token has 16 bytes at least in a config; the recorded one has six
    let rig = Rig::start_with(Some("SECRET")).await;
    let answer = replay(&rig, "CP ClustersGet").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = replay(&rig, "ListKafkaLinks with a bearer token, refused with 401").await;
    assert_eq!((answer.status, answer.error().0), (401, 40101), "{answer:?}");
}

/// What lists show of a mirror topic: each partition's lag, and -1 where it is not known.
#[tokio::test]
async fn lags_are_shown_and_what_is_not_known_is_no_zero() {
    let rig = prepared().await;
    let shown = rig.must("GET", "/links/l1/mirrors/t1", "").await.json();
    let lags = serde_json::json!([
        {"partition": 0, "lag": 5, "last_source_fetch_offset": 100, "held_records": -1,
         "last_record_time_ms": -1},
        {"partition": 1, "lag": -1, "last_source_fetch_offset": -1, "held_records": -1,
         "last_record_time_ms": -1},
    ]);
    assert_eq!(shown["mirror_lags"], lags);
    let link = rig.must("GET", "/links/l1", "").await.json();
    assert_eq!(link["topic_names"], serde_json::json!(["t1"]));
    assert_eq!(link["source_cluster_id"], protocol_tests::hands::SOURCE);
    assert_eq!(link["cluster_link_id"].as_str().map(str::len), Some(22));
    let counts = serde_json::json!([{"state_category": "ACTIVE", "count": 2}]);
    assert_eq!(link["category_counts"], counts);
}

/// Groups that a link forgets by order, and follows again.
#[tokio::test]
async fn forgotten_groups_are_shown_with_their_link() {
    let rig = prepared().await;
    let of = async |rig: &Rig| {
        let link = rig.must("GET", "/links/l1", "").await.json();
        link["groups_forgotten"].clone()
    };
    assert_eq!(of(&rig).await, serde_json::json!([]));
    let body = |ids: &[&str]| serde_json::json!({ "consumer_group_ids": ids }).to_string();
    rig.must("POST", "/links/l1/groups:forget", &body(&["billing", "a/b"])).await;
    rig.must("POST", "/links/l1/groups:forget?validate_only=true", &body(&["web"])).await;
    assert_eq!(of(&rig).await, serde_json::json!(["a/b", "billing"]));
    rig.must("POST", "/links/l1/groups:follow", &body(&["billing"])).await;
    assert_eq!(of(&rig).await, serde_json::json!(["a/b"]));
    let long = "x".repeat(i16::MAX as usize + 1);
    for (path, body, status, text) in [
        ("/links/l9/groups:forget", body(&["a"]), 404, "Cluster link 'l9' does not exist"),
        ("/links/l1/groups:forget", body(&[]), 400, "names no group"),
        ("/links/l1/groups:forget", body(&[&long]), 400, "more than 32767 bytes"),
        ("/links/l1/groups:forget", "{}".to_owned(), 400, "consumer_group_ids"),
        ("/links/l1/groups:follow", r#"{"groups":["a"]}"#.to_owned(), 400, "groups"),
    ] {
        let answer = rig.ask("POST", path, &body).await;
        assert_eq!(answer.status, status, "{path} {answer:?}");
        assert!(answer.body.contains(text), "{path} {}", answer.body);
    }
}

/// A link of the config file that has no row in the journal yet is read like any other, and takes
/// no order.
#[tokio::test]
async fn a_declared_link_is_read_before_it_has_a_row() {
    let rig = Rig::start().await;
    let link = rig.must("GET", "/links/from-file", "").await.json();
    assert_eq!((&link["link_state"], &link["source_cluster_id"]), (&"ACTIVE".into(), &"S9".into()));
    let mirrors = rig.must("GET", "/links/from-file/mirrors", "").await.json();
    assert_eq!(mirrors["data"][0]["mirror_topic_name"], "orders");
    assert_eq!(mirrors["data"][0]["mirror_lags"][0]["lag"], 7);
    let all = rig.must("GET", "/links/-/mirrors", "").await.json();
    assert_eq!(all["data"].as_array().map(Vec::len), Some(1));
    let configs = rig.must("GET", "/links/from-file/configs", "").await.json();
    let config = &configs["data"][0];
    assert_eq!((&config["name"], &config["value"]), (&"bootstrap.servers".into(), &"a:1".into()));
    assert_eq!(config["source"], "STATIC_CLUSTER_LINK_CONFIG");
    assert_eq!(config["is_read_only"], true);
    let one = rig.must("GET", "/links/from-file/configs/bootstrap.servers", "").await.json();
    assert_eq!(one["value"], "a:1");
    for (method, path, body) in [
        ("DELETE", "/links/from-file", ""),
        ("PUT", "/links/from-file/configs/x", "{\"value\":\"1\"}"),
        ("POST", "/links/from-file/mirrors", r#"{"source_topic_name":"t1"}"#),
        ("POST", "/links/from-file/mirrors:pause", r#"{"mirror_topic_names":["orders"]}"#),
    ] {
        let answer = rig.ask(method, path, body).await;
        let (code, text) = answer.error();
        assert_eq!((answer.status, code), (503, 50003), "{method} {path}: {answer:?}");
        assert!(text.contains("has no row in the journal yet"), "{text}");
    }
    let answer = rig.ask("POST", "/links?link_name=from-file", LINK).await;
    assert_eq!(answer.status, 409, "{answer:?}");
}

/// One that has its row takes orders about its mirror topics, and its settings stay in the file.
#[tokio::test]
async fn a_declared_link_obeys_its_file_and_its_mirror_topics_obey_orders() {
    let rig = Rig::start().await;
    rig.hands.declare(&["from-file"]).await;
    let is_there = |seen: &isolog::link::registry::Seen| {
        let link = seen.links.iter().find(|(name, _)| &*name.0 == "from-file");
        link.is_some_and(|(_, link)| link.settings.is_some())
    };
    rig.hands.until("its row and its settings", is_there).await;
    rig.hands.create_source("t1", 2);
    for (method, path, body) in [
        ("DELETE", "/links/from-file", ""),
        ("PUT", "/links/from-file/configs/x", "{\"value\":\"1\"}"),
    ] {
        let answer = rig.ask(method, path, body).await;
        let (code, text) = answer.error();
        assert_eq!((answer.status, code), (400, 40002), "{method} {path}: {answer:?}");
        assert!(text.contains("[link.from-file]"), "{text}");
    }
    rig.must("POST", "/links/from-file/mirrors", r#"{"source_topic_name":"t1"}"#).await;
    let names = r#"{"mirror_topic_names":["t1"]}"#;
    rig.must("POST", "/links/from-file/mirrors:pause", names).await;
    let shown = rig.must("GET", "/links/from-file/mirrors/t1", "").await.json();
    assert_eq!(shown["mirror_status"], "PAUSED");
    rig.must("PUT", "/links/from-file/configs/cluster.link.paused", r#"{"value":"true"}"#).await;
    let link = rig.must("GET", "/links/from-file", "").await.json();
    assert_eq!(link["link_state"], "PAUSED");
}

/// After a start a link is not "unknown" because nobody has read the journal yet: whoever asks
/// would take it for deleted.
#[tokio::test]
async fn what_is_not_found_before_the_journal_is_read_is_not_known_to_be_absent() {
    let rig = Rig::start_on(Hands::start_apart(ROWS_MAX), None).await;
    let asked = [
        ("GET", "/links/dr", ""),
        ("GET", "/links", ""),
        ("GET", "/links/-/mirrors", ""),
        ("GET", "/links/dr/mirrors/t1", ""),
        ("DELETE", "/links/dr", ""),
        ("POST", "/links/dr/mirrors:pause", r#"{"mirror_topic_names":["t1"]}"#),
        ("GET", "/topics/t1", ""),
    ];
    for (method, path, body) in asked {
        let answer = rig.ask(method, path, body).await;
        let (code, text) = answer.error();
        assert_eq!((answer.status, code), (503, 50003), "{method} {path}: {answer:?}");
        assert!(text.contains("__isolog"), "{text}");
    }
    // what the file declares is known before
    rig.must("GET", "/links/from-file", "").await;
    rig.hands.tell(Event::Level).await;
    rig.hands.until("level", |seen| seen.is_level).await;
    let answer = rig.ask("GET", "/links/dr", "").await;
    assert_eq!(answer.status, 404, "{answer:?}");
    rig.must("GET", "/links", "").await;
}
