//! Every cell of state and order of both tables (docs/STATES.md), through REST: the status, the
//! code and the text.
//!
//! It never mends a state by hand: each is reached by orders, with something held back.

use isolog::control::order::MirrorVerb;
use isolog::control::order::Order;
use isolog::control::order::Verb;
use isolog::control::topic::Fault;
use isolog::control::topic::How;
use isolog::control::topic::Stage;
use isolog::control::topic::Status;
use isolog::ids::LinkName;
use isolog::ids::TopicName;
use protocol_tests::hands::Kind;

use super::Answer;
use super::LINK;
use super::Rig;

fn topic(name: &str) -> TopicName {
    TopicName::new(name).expect("a legal name")
}

/// What was answered, in a word: the status, or of an order about topics what became of the one.
fn cell(answer: &Answer) -> (String, String) {
    let json = answer.json();
    match json.pointer("/data/0/mirror_topic_name") {
        Some(_) if json["kind"] == "KafkaAlterMirrorStatusDataList" => {
            let item = &json["data"][0];
            match item["error_code"].as_u64() {
                Some(code) => {
                    (format!("t{code}"), item["error_message"].as_str().expect("a text").into())
                }
                None => ("ok".to_owned(), String::new()),
            }
        }
        _ if answer.status >= 400 => (answer.status.to_string(), answer.error().1),
        _ => (answer.status.to_string(), String::new()),
    }
}

async fn link_in(state: &str) -> Rig {
    let rig = Rig::start().await;
    rig.hands.create_source("t1", 1);
    rig.hands.create_source("t2", 1);
    match state {
        "none" => {}
        "active" => rig.create_link("dr", &[]).await,
        "paused" => {
            rig.create_link("dr", &[]).await;
            let path = "/links/dr/configs/cluster.link.paused";
            rig.must("PUT", path, "{\"value\":\"true\"}").await;
        }
        "leaving" => {
            rig.create_link("dr", &[]).await;
            rig.create_mirror("dr", "t2").await;
            rig.hands.hold_back(Kind::Releases);
            rig.must("DELETE", "/links/dr?force=true", "").await;
        }
        "declared" => {
            rig.hands.declare(&["dr"]).await;
            let is_there = |seen: &isolog::link::registry::Seen| {
                seen.links.values().any(|link| link.settings.is_some())
            };
            rig.hands.until("declared", is_there).await;
        }
        other => panic!("{other} is no state of a link"),
    }
    rig
}

/// What a refusal says of a link that is in that state.
fn said_of_link(state: &str, cell: &str, is_create: bool) -> &'static str {
    match (cell, state) {
        ("404", _) => "Cluster link 'dr' does not exist.",
        ("409", _) if is_create => "Cluster link 'dr' already exists.",
        ("409", _) => "Cluster link 'dr' is being deleted.",
        ("400", "declared") => "declared in the config file",
        ("t404", _) => "Topic 't1' is not a mirror topic of cluster link 'dr'.",
        ("501", _) => "not available in this version",
        _ => "",
    }
}

/// Orders about a link in each of its states; `t404` is an order about several topics that is
/// answered, with 404 for this one.
#[tokio::test]
async fn every_cell_of_the_links_table() {
    const STATES: [&str; 5] = ["none", "active", "paused", "leaving", "declared"];
    let put = "{\"value\":\"1000\"}";
    let alter = r#"{"data":[{"name":"consumer.offset.sync.ms","value":"1000"},
        {"name":"topic.config.sync.ms","operation":"DELETE"}]}"#;
    let (pause, resume) = ("{\"value\":\"true\"}", "{\"value\":\"false\"}");
    let names = r#"{"mirror_topic_names":["t1"]}"#;
    let mirror = r#"{"source_topic_name":"t1"}"#;
    let groups = r#"{"consumer_group_ids":["billing"]}"#;
    let (check_ms, paused) =
        ("/dr/configs/availability.check.ms", "/dr/configs/cluster.link.paused");
    let table: &[(&str, &str, &str, &str)] = &[
        ("POST", "?link_name=dr", LINK, "204 409 409 409 409"),
        ("GET", "/dr", "", "404 200 200 200 200"),
        ("GET", "/dr/configs", "", "404 200 200 200 200"),
        ("PUT", check_ms, put, "404 204 204 409 400"),
        ("PUT", "/dr/configs:alter", alter, "404 204 204 409 400"),
        ("POST", "/dr/groups:forget", groups, "404 204 204 409 204"),
        ("DELETE", check_ms, "", "404 204 204 409 400"),
        ("PUT", paused, pause, "404 204 204 409 204"),
        ("PUT", paused, resume, "404 204 204 409 204"),
        ("DELETE", "/dr", "", "404 200 200 200 400"),
        ("DELETE", "/dr?force=true", "", "404 200 200 200 400"),
        ("GET", "/dr/mirrors", "", "404 200 200 200 200"),
        ("POST", "/dr/mirrors", mirror, "404 204 204 409 204"),
        ("POST", "/dr/mirrors:pause", names, "404 t404 t404 t404 t404"),
        ("POST", "/dr/mirrors:promote", names, "404 t404 t404 t404 t404"),
        ("POST", "/dr/mirrors:failover", names, "404 t404 t404 t404 t404"),
        ("POST", "/dr/mirrors:truncate-and-restore", names, "404 501 501 501 501"),
    ];
    for (method, path, body, cells) in table {
        for (state, want) in STATES.iter().zip(cells.split(' ')) {
            let rig = link_in(state).await;
            let answer = rig.ask(method, &format!("/links{path}"), body).await;
            let (cell, told) = cell(&answer);
            assert_eq!(cell, want, "{method} {path} of a link that is {state}: {answer:?}");
            let text = said_of_link(state, &cell, path.starts_with('?'));
            assert!(told.contains(text), "{method} {path}, {state}: {told}");
        }
    }
}

/// A mirror topic that is not copied, and that no order about it made so.
async fn rest(rig: &Rig, state: &str) {
    if state == "link paused" {
        let path = "/links/dr/configs/cluster.link.paused";
        rig.must("PUT", path, "{\"value\":\"true\"}").await;
        return;
    }
    let fault = Fault { code: "DIVERGED".to_owned(), text: "at 4".to_owned() };
    rig.hands.halt("dr", "t1", 0, fault).await;
    let is = |seen: &isolog::link::registry::Seen| {
        seen.mirrors.values().all(|one| one.status == Status::Failed)
    };
    rig.hands.until("failed", is).await;
}

async fn mirror_in(state: &str) -> Rig {
    let rig = Rig::start().await;
    rig.create_link("dr", &["t1"]).await;
    let stop = async |how| {
        let verb = Verb::Mirrors(vec![topic("t1")], MirrorVerb::Stop { how, deadline_ms: None });
        let order = Order { link: LinkName("dr".into()), verb, is_dry: false };
        for outcome in rig.hands.registry.order(order).await {
            outcome.result.expect("it is obeyed");
        }
    };
    let stage = |seen: &isolog::link::registry::Seen| {
        let mirror = seen.mirrors.values().next();
        mirror.map(|mirror| mirror.row.stage)
    };
    let is = |want: Stage| move |seen: &isolog::link::registry::Seen| stage(seen) == Some(want);
    if state == "none" {
        return rig;
    }
    if state == "setup" {
        rig.hands.hold_back(Kind::Dos);
        let request = format!(
            "POST /kafka/v3/clusters/C1/links/dr/mirrors HTTP/1.1\r\nHost: {}\r\n\
             Content-Type: application/json\r\nContent-Length: 26\r\n\r\n\
             {{\"source_topic_name\":\"t1\"}}",
            rig.address
        );
        let mut stream = tokio::net::TcpStream::connect(&rig.address).await.expect("the port");
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.expect("sent");
        rig.hands.until("in setup", is(Stage::Setup)).await;
        // whoever ordered it may go: the order stands
        drop(stream);
        return rig;
    }
    rig.create_mirror("dr", "t1").await;
    match state {
        "mirroring" => {}
        "paused" => {
            let names = r#"{"mirror_topic_names":["t1"]}"#;
            rig.must("POST", "/links/dr/mirrors:pause", names).await;
        }
        "link paused" | "failed" => rest(&rig, state).await,
        "stopping" => {
            rig.hands.hold_back(Kind::Levels);
            stop(How::Promote).await;
            rig.hands.until("stopping", is(Stage::Stopping)).await;
        }
        "promoting" => {
            rig.hands.hold_back(Kind::Seals);
            stop(How::Promote).await;
            rig.hands.until("sealing", is(Stage::Sealing(How::Promote))).await;
        }
        "failing" => {
            rig.hands.hold_back(Kind::Seals);
            stop(How::Failover).await;
            rig.hands.until("sealing", is(Stage::Sealing(How::Failover))).await;
        }
        "stopped" => {
            stop(How::Promote).await;
            rig.hands.until("stopped", is(Stage::Stopped(How::Promote))).await;
        }
        "leaving" => {
            rig.hands.hold_back(Kind::Releases);
            rig.must("DELETE", "/links/dr/mirrors/t1", "").await;
        }
        other => panic!("{other} is no state of a mirror topic"),
    }
    rig
}

const THERE: &str = "is a mirror topic of cluster link 'dr' already";
const STOPS: &str = "is stopping its mirror from 'dr'";
/// The states of a mirror topic: what each is called outside, and what refusals say in it.
const MIRROR_STATES: [(&str, &str, &str); 11] = [
    ("none", "", "not a mirror topic"),
    ("setup", "ACTIVE", THERE),
    ("mirroring", "ACTIVE", THERE),
    ("paused", "PAUSED", THERE),
    ("link paused", "LINK_PAUSED", THERE),
    ("failed", "FAILED", THERE),
    ("stopping", "PENDING_STOPPED", STOPS),
    ("promoting", "PENDING_STOPPED", STOPS),
    ("failing", "PENDING_STOPPED", STOPS),
    ("stopped", "STOPPED", "Topic 't1' has already stopped its mirror from 'dr'."),
    ("leaving", "PENDING_STOPPED", "is being deleted from cluster link 'dr'"),
];

/// Orders about a mirror topic in each of its states; `t404` is an order about several that is
/// answered, with 404 for this one.
#[tokio::test]
async fn every_cell_of_the_mirror_topics_table() {
    let names = r#"{"mirror_topic_names":["t1"]}"#;
    let mirror = r#"{"source_topic_name":"t1"}"#;
    let reversed = "t404 t400 ok ok ok ok t400 t400 t400 t400 t409";
    let later = "501 501 501 501 501 501 501 501 501 501 501";
    let table: &[(&str, &str, &str, &str)] = &[
        ("POST", "/links/dr/mirrors", mirror, "204 409 409 409 409 409 409 409 409 400 409"),
        ("GET", "/links/dr/mirrors/t1", "", "404 200 200 200 200 200 200 200 200 200 200"),
        ("POST", "/links/dr/mirrors:pause", names, "t404 ok ok ok ok ok t400 t400 t400 t400 t409"),
        ("POST", "/links/dr/mirrors:resume", names, "t404 ok ok ok ok ok t400 t400 t400 t400 t409"),
        ("DELETE", "/links/dr/mirrors/t1", "", "404 204 204 204 204 204 204 204 204 204 204"),
        ("GET", "/topics/t1", "", "404 200 200 200 200 200 200 200 200 200 200"),
        ("DELETE", "/topics/t1", "", "404 204 204 204 204 204 204 204 204 204 204"),
        ("DELETE", "/links/dr", "", "200 400 400 400 400 400 400 400 400 200 200"),
        ("POST", "/links/dr/mirrors:promote", names, "t404 t400 ok ok ok ok ok ok ok t400 t409"),
        ("POST", "/links/dr/mirrors:failover", names, "t404 t400 ok ok ok ok ok ok ok t400 t409"),
        ("POST", "/links/dr/mirrors:reverse-and-start-mirror", names, reversed),
        ("POST", "/links/dr/mirrors:reverse-and-pause-mirror", names, reversed),
        ("POST", "/links/dr/mirrors:truncate-and-restore", names, later),
    ];
    for (method, path, body, cells) in table {
        for ((state, _, of_state), want) in MIRROR_STATES.into_iter().zip(cells.split(' ')) {
            let rig = mirror_in(state).await;
            let answer = rig.ask(method, path, body).await;
            let (cell, told) = cell(&answer);
            assert_eq!(cell, want, "{method} {path} of a mirror that is {state}: {answer:?}");
            let text = match (cell.as_str(), *method) {
                ("501", _) => "not available in this version",
                ("409", _) => THERE,
                ("404", _) => "not a mirror topic",
                ("t400", _) if state == "setup" => "is still being set up",
                ("400", "DELETE") => "still has mirror topics that are not STOPPED (t1)",
                ("400" | "t400" | "t404" | "t409", _) => of_state,
                _ => "",
            };
            assert!(told.contains(text), "{method} {path}, {state}: {told}");
        }
    }
}

/// Two who order at the same moment: of two promotes both are obeyed, and a failover overtakes a
/// promote whoever comes first; where it has stopped by then, that is what the other one hears.
#[tokio::test]
async fn two_orders_at_the_same_moment_are_one_after_the_other() {
    let names = r#"{"mirror_topic_names":["t1"]}"#;
    let (promote, failover) = ("/links/dr/mirrors:promote", "/links/dr/mirrors:failover");
    for (one, other, how) in [
        (promote, promote, How::Promote),
        (promote, failover, How::Failover),
        (failover, promote, How::Failover),
        (failover, failover, How::Failover),
    ] {
        let rig = mirror_in("mirroring").await;
        // neither is through before the other one is decided
        rig.hands.hold_back(Kind::Levels);
        rig.hands.hold_back(Kind::Seals);
        let both = tokio::join!(rig.ask("POST", one, names), rig.ask("POST", other, names));
        for answer in [&both.0, &both.1] {
            assert_eq!(answer.status, 200, "{one} {other}: {answer:?}");
            assert_eq!(cell(answer), ("ok".to_owned(), String::new()), "{one} {other}");
        }
        let shown = rig.must("GET", "/links/dr/mirrors/t1", "").await.json();
        assert_eq!(shown["mirror_status"], "PENDING_STOPPED", "{one} {other}");
        rig.hands.let_go(Kind::Levels).await;
        rig.hands.let_go(Kind::Seals).await;
        let is = |seen: &isolog::link::registry::Seen| {
            seen.mirrors.values().all(|one| one.row.stage == Stage::Stopped(how))
        };
        rig.hands.until("stopped by the one that counts", is).await;
        // who comes behind both is told so
        let (told, text) = cell(&rig.ask("POST", other, names).await);
        assert_eq!(told, "t400", "{text}");
        assert!(text.contains("Topic 't1' has already stopped its mirror from 'dr'."), "{text}");
    }
}

/// What a stop waits for is told to whoever asks for it.
#[tokio::test]
async fn what_a_stop_waits_for_is_named() {
    let path = "/links/dr/mirrors/t1?include_state_transition_errors=true";
    for (state, want) in [
        ("mirroring", ""),
        ("stopping", ": how far it is behind is not known yet"),
        ("promoting", " is being sealed"),
        ("failing", " is being sealed"),
        ("stopped", ""),
    ] {
        let rig = mirror_in(state).await;
        let shown = rig.must("GET", path, "").await.json();
        let errors = shown["mirror_state_transition_errors"].as_array().expect("a list").clone();
        let told: Vec<String> =
            errors.iter().map(|one| one["error_message"].as_str().expect("text").into()).collect();
        let each = (0..2).filter(|_| !want.is_empty());
        let want: Vec<String> = each.map(|number| format!("partition {number}{want}")).collect();
        assert_eq!(told, want, "{state}: {shown}");
    }
    // one that has halted is named with its reason
    let rig = mirror_in("stopping").await;
    let (code, text) = ("DIVERGED".to_owned(), "at 4".to_owned());
    rig.hands.halt("dr", "t1", 0, Fault { code, text }).await;
    rig.hands.until("halted", |seen| seen.mirrors.values().all(|one| !one.halted.is_empty())).await;
    let shown = rig.must("GET", path, "").await.json();
    let told = shown["mirror_state_transition_errors"][0]["error_message"].clone();
    assert_eq!(told, "partition 0 has halted (DIVERGED): at 4");
    // a dry run changes nothing, and a timeout must be one
    let names = r#"{"mirror_topic_names":["t1"]}"#;
    let rig = mirror_in("mirroring").await;
    for verb in ["promote", "failover"] {
        let path = format!("/links/dr/mirrors:{verb}?validate_only=true");
        let told = rig.must("POST", &path, names).await.json();
        let checks = told["data"][0]["checks"].as_array().expect("a list").clone();
        // no line is of groups that nobody follows, and of clusters that nobody can ask
        assert_eq!(checks.len(), 8, "{told}");
        let lag = checks.iter().find(|line| line["check"] == "lag is 0").expect("the lag");
        assert_eq!(lag["ok"], false, "{lag}");
        assert_eq!(lag["text"], "not known of 2 partitions");
    }
    for timeout in ["0", "-1", "soon", "2592000001"] {
        let path = format!("/links/dr/mirrors:promote?timeout_ms={timeout}");
        let answer = rig.ask("POST", &path, names).await;
        assert_eq!(answer.status, 400, "{timeout}: {answer:?}");
    }
    let shown = rig.must("GET", "/links/dr/mirrors/t1", "").await.json();
    assert_eq!(shown["mirror_status"], "ACTIVE");
}

#[tokio::test]
async fn every_state_of_a_mirror_topic_has_its_word() {
    for (state, word, _) in MIRROR_STATES.iter().filter(|row| row.0 != "none") {
        let rig = mirror_in(state).await;
        let shown = rig.must("GET", "/links/dr/mirrors/t1", "").await.json();
        assert_eq!(shown["mirror_status"], *word, "{state}: {shown}");
        let error = if *state == "failed" { "DIVERGED" } else { "NO_ERROR" };
        assert_eq!(shown["mirror_topic_error"], error, "{state}");
        let list = rig.must("GET", &format!("/links/-/mirrors?mirror_status={word}"), "").await;
        let of_dr = |item: &&serde_json::Value| item["link_name"] == "dr";
        let list = list.json()["data"].as_array().expect("a list").clone();
        assert_eq!(list.iter().filter(of_dr).count(), 1, "{state}");
    }
}

/// Of two links with one name each the topic goes only as the mirror topic of the named one.
#[tokio::test]
async fn a_topic_is_deleted_as_the_mirror_of_the_link_that_is_named() {
    let rig = mirror_in("stopped").await;
    rig.create_link("eu", &[]).await;
    let answer = rig.ask("DELETE", "/topics/t1?link_name=eu", "").await;
    let (code, text) = answer.error();
    assert_eq!((answer.status, code), (404, 40403), "{answer:?}");
    assert!(text.contains("not a mirror topic of cluster link 'eu'"), "{text}");
    let answer = rig.ask("DELETE", "/topics/t1?link_name=nobody", "").await;
    assert_eq!((answer.status, answer.error().0), (404, 404), "{answer:?}");
    // what 'dr' has let go of is a mirror topic of 'eu' by now
    rig.create_mirror("eu", "t1").await;
    let answer = rig.ask("DELETE", "/topics/t1?link_name=dr", "").await;
    assert_eq!((answer.status, answer.error().0), (409, 409), "{answer:?}");
    assert!(rig.hands.has_mirror("t1"));
    rig.must("DELETE", "/topics/t1?link_name=eu", "").await;
    rig.hands.until("it is gone", |seen| seen.mirrors.len() == 1).await;
    assert!(!rig.hands.has_mirror("t1"));
}

/// Neither as a source nor as a mirror, dry or not; nothing is written and nobody is asked.
#[tokio::test]
async fn what_is_a_clusters_own_is_no_mirror_topic() {
    let rig = Rig::start().await;
    let own = ["__transaction_state", "__consumer_offsets", "__cluster_metadata", "__isolog"];
    rig.create_link("dr", &own).await;
    let prefix = r#"{"configs":[{"name":"bootstrap.servers","value":"127.0.0.1:9092"},
        {"name":"cluster.link.prefix","value":"__"}]}"#;
    rig.must("POST", "/links?link_name=low", prefix).await;
    rig.hands.create_source("isolog", 1);
    let batches = rig.hands.batches();
    for (link, source) in own.map(|name| ("dr", name)).into_iter().chain([("low", "isolog")]) {
        for query in ["", "?validate_only=true"] {
            let body = format!("{{\"source_topic_name\":\"{source}\"}}");
            let answer = rig.ask("POST", &format!("/links/{link}/mirrors{query}"), &body).await;
            let (code, text) = answer.error();
            assert_eq!((answer.status, code), (400, 40002), "{source}: {answer:?}");
            assert!(text.contains("own"), "{text}");
        }
    }
    let body = r#"{"source_topic_name":"t1",
        "configs":[{"name":"compression.type","value":"zstd"}]}"#;
    rig.hands.create_source("t1", 1);
    for query in ["", "?validate_only=true"] {
        let answer = rig.ask("POST", &format!("/links/dr/mirrors{query}"), body).await;
        assert_eq!((answer.status, answer.error().0), (400, 40002), "{answer:?}");
        assert!(answer.error().1.contains("compression.type=producer"), "{answer:?}");
    }
    assert_eq!(rig.hands.batches(), batches, "nothing was written");
}

/// A failure is as old as it is known, not as the mirror topic.
#[tokio::test]
async fn the_time_of_a_state_is_its_own() {
    let rig = mirror_in("mirroring").await;
    let time = async || {
        let shown = rig.must("GET", "/links/dr/mirrors/t1", "").await.json();
        shown["state_time_ms"].as_i64().expect("a time")
    };
    let began = time().await;
    // the clock of the registry is in whole ms
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let fault = isolog::control::topic::Fault { code: "HOLE".into(), text: "a hole".into() };
    rig.hands.halt("dr", "t1", 0, fault).await;
    let failed = |seen: &isolog::link::registry::Seen| {
        seen.mirrors.values().any(|one| one.status == isolog::control::topic::Status::Failed)
    };
    rig.hands.until("it has failed", failed).await;
    assert!(time().await > began);
}

/// An order changes what is seen before it is answered, and a dry one nothing.
#[tokio::test]
async fn a_dry_order_is_answered_and_nothing_is_done() {
    let rig = Rig::start().await;
    rig.hands.create_source("t1", 1);
    rig.must("POST", "/links?link_name=dr&validate_only=true", LINK).await;
    assert_eq!(rig.ask("GET", "/links/dr", "").await.status, 404);
    rig.create_link("dr", &[]).await;
    let batches = rig.hands.batches();
    let mirror = r#"{"source_topic_name":"t1"}"#;
    rig.must("POST", "/links/dr/mirrors?validate_only=true", mirror).await;
    let alter = r#"{"data":[{"name":"cluster.link.paused","value":"true"}]}"#;
    rig.must("PUT", "/links/dr/configs:alter?validate_only=true", alter).await;
    rig.must("DELETE", "/links/dr?validate_only=true", "").await;
    let unknown = r#"{"source_topic_name":"nowhere"}"#;
    let answer = rig.ask("POST", "/links/dr/mirrors?validate_only=true", unknown).await;
    assert_eq!((answer.status, answer.error().0), (404, 40403), "{answer:?}");
    assert_eq!(rig.hands.batches(), batches, "nothing was written");
    assert!(!rig.hands.has_mirror("t1"));
    rig.create_mirror("dr", "t1").await;
    let names = r#"{"mirror_topic_names":["t1"]}"#;
    rig.must("POST", "/links/dr/mirrors:pause?validate_only=true", names).await;
    let shown = rig.must("GET", "/links/dr/mirrors/t1", "").await.json();
    assert_eq!(shown["mirror_status"], "ACTIVE");
}

/// Two who change configs at the same moment are both obeyed: who comes second decides again.
#[tokio::test]
async fn changes_at_the_same_moment_are_both_made() {
    const NAMES: [&str; 3] =
        ["consumer.offset.sync.ms", "topic.config.sync.ms", "availability.check.ms"];
    let rig = Rig::start().await;
    rig.create_link("dr", &[]).await;
    let put = async |name: &str| {
        let path = format!("/links/dr/configs/{name}");
        rig.ask("PUT", &path, "{\"value\":\"2000\"}").await.status
    };
    let (one, other, third) = tokio::join!(put(NAMES[0]), put(NAMES[1]), put(NAMES[2]));
    assert_eq!([one, other, third], [204; 3]);
    let configs = rig.must("GET", "/links/dr/configs", "").await.json();
    for name in NAMES {
        let all = configs["data"].as_array().expect("a list");
        let one = all.iter().find(|config| config["name"] == name).expect("it is listed");
        assert_eq!((&one["value"], &one["is_default"]), (&"2000".into(), &false.into()), "{name}");
    }
}

/// A property that cannot be, and one that cannot be changed, each by its name; a secret is never
/// repeated.
#[tokio::test]
async fn configs_that_cannot_be_are_refused_by_name() {
    let rig = Rig::start().await;
    let body = r#"{"configs":[{"name":"bootstrap.servers","value":"a:1"},
        {"name":"bootstrap.severs","value":"hunter2"},{"name":"metadata.max.age.ms","value":"x"},
        {"name":"sasl.jaas.config","value":"hunter2"}]}"#;
    let answer = rig.ask("POST", "/links?link_name=dr", body).await;
    let (code, text) = answer.error();
    assert_eq!((answer.status, code), (400, 40002), "{answer:?}");
    for name in ["bootstrap.severs", "metadata.max.age.ms", "sasl.jaas.config"] {
        assert!(text.contains(name), "{name}: {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
    rig.create_link("dr", &[]).await;
    for (name, value) in
        [("cluster.link.prefix", "x."), ("availability.check.ms", "soon"), ("nobody.knows", "1")]
    {
        let body = format!("{{\"value\":\"{value}\"}}");
        let answer = rig.ask("PUT", &format!("/links/dr/configs/{name}"), &body).await;
        let (code, text) = answer.error();
        assert_eq!((answer.status, code), (400, 40002), "{name}: {answer:?}");
        assert!(text.contains(name), "{text}");
    }
    let empty = rig.ask("POST", "/links?link_name=l2", "{}").await;
    assert!(empty.error().1.contains("bootstrap.servers"), "{empty:?}");
}

/// What cannot be answered in time is not lost, and the answer says what it waits for. Real time:
/// thirty seconds.
#[tokio::test]
async fn an_order_whose_row_does_not_come_back_is_told_so() {
    let rig = Rig::start().await;
    rig.hands.hold_back(Kind::Writes);
    let answer = rig.ask("POST", "/links?link_name=dr", LINK).await;
    let (code, text) = answer.error();
    assert_eq!((answer.status, code), (504, 504), "{answer:?}");
    assert!(text.contains("__isolog") && text.contains("may still be obeyed"), "{text}");
    rig.hands.let_go(Kind::Writes).await;
    rig.hands.until("there", |seen| seen.links.len() == 1).await;
}
