//! What happens, as `GET /v1/events` and `isolog events` tell it: states, orders, cursors, and who
//! waits.
//!
//! It never restarts the service; `real` does.

use std::time::Duration;
use std::time::Instant;

use isolog::control::topic::Fault;
use serde_json::Value;

use super::Rig;
use super::command::isolog;

/// For how long what must come is waited for.
const WAIT: Duration = Duration::from_secs(60);

fn word(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

/// An event as a line: kind and place, states or the order's status, the code.
fn line(one: &Value) -> String {
    let place = format!("{} {}", word(&one["kind"]), word(&one["topic"]));
    let what = match &one["order"] {
        Value::Null => format!("{}>{}", word(&one["from"]), word(&one["to"])),
        order => format!("{} {}", word(&order["name"]), order["status"]),
    };
    format!("{place} {what} {}", word(&one["code"])).trim_end().to_owned()
}

async fn page(rig: &Rig, query: &str) -> (String, Vec<Value>) {
    let answer = rig.ask_at("GET", &format!("/v1/events{query}"), "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let page = answer.json();
    (word(&page["cursor"]), page["events"].as_array().cloned().expect("events"))
}

/// All that came until an event of that line did.
async fn until(rig: &Rig, want: &str) -> Vec<Value> {
    let (began, mut all, mut after) = (Instant::now(), Vec::new(), String::new());
    loop {
        let (cursor, events) = page(rig, &format!("?{after}wait_ms=500")).await;
        all.extend(events);
        if all.iter().any(|one| line(one) == want) {
            return all;
        }
        assert!(
            began.elapsed() < WAIT,
            "{want} of {:#?}",
            all.iter().map(line).collect::<Vec<_>>()
        );
        after = format!("after={cursor}&");
    }
}

#[tokio::test]
async fn a_topic_is_told_from_its_order_to_its_failover() {
    let rig = Rig::start().await;
    rig.create_link("l1", &["t1", "t2"]).await;
    rig.create_mirror("l1", "t1").await;
    until(&rig, "mirror t1 ->ACTIVE").await;
    let fault = Fault { code: "CORRUPT".into(), text: "byte 7".into() };
    rig.hands.halt("l1", "t1", 1, fault).await;
    until(&rig, "partition t1 NOT_HALTED>HALTED CORRUPT").await;
    let body = r#"{"mirror_topic_names":["t1","t9"]}"#;
    rig.must("POST", "/links/l1/mirrors:failover?validate_only=true", body).await;
    rig.must("POST", "/links/l1/mirrors:failover", r#"{"mirror_topic_names":["t1"]}"#).await;
    let all = until(&rig, "mirror t1 PENDING_STOPPED>STOPPED FAILED_OVER").await;
    let lines: Vec<String> = all.iter().map(line).collect();
    // in this order, whatever else there is between
    let mut left = lines.iter();
    for want in [
        "instance - ->HAS_WORK",
        "order - CreateKafkaLink 204",
        "mirror t1 ->ACTIVE",
        "mirror t1 ACTIVE>FAILED CORRUPT",
        "partition t1 NOT_HALTED>HALTED CORRUPT",
        "mirror t1 PENDING_STOPPED>STOPPED FAILED_OVER",
    ] {
        assert!(left.any(|line| line == want), "{want}: {lines:#?}");
    }
    let order = |name: &str| {
        let mut orders = all.iter().filter(|one| one["order"]["name"] == name);
        orders.next().unwrap_or_else(|| panic!("no {name}: {lines:#?}"))
    };
    let made = order("CreateKafkaMirrorTopic");
    assert_eq!((&made["link"], &made["topic"]), (&"l1".into(), &"t1".into()));
    let dry = order("UpdateKafkaMirrorTopicsFailover");
    assert_eq!((&dry["order"]["dry"], &dry["order"]["refused"]), (&true.into(), &1.into()));
    assert_eq!(dry["order"]["topics"], serde_json::json!(["t1", "t9"]));
    assert!(word(&dry["reason"]).contains("'t9' is not a mirror topic"), "{dry}");
    let seqs: Vec<u64> = all.iter().filter_map(|one| one["seq"].as_u64()).collect();
    assert_eq!(seqs, (1..=all.len() as u64).collect::<Vec<_>>(), "none is left out");
    // a link is chosen, and what is not its own is not told
    let (_, none) = page(&rig, "?link=other").await;
    assert_eq!(none, Vec::<Value>::new());
}

#[tokio::test]
async fn who_waits_is_answered_at_once_and_odd_questions_are_refused() {
    let rig = Rig::start().await;
    let (cursor, all) = page(&rig, "?after=now").await;
    assert_eq!(all, Vec::<Value>::new());
    let waits = format!("?after={cursor}&link=l1&wait_ms=9000");
    let began = Instant::now();
    let (waited, ()) = tokio::join!(page(&rig, &waits), rig.create_link("l1", &[]));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(!waited.1.is_empty() && waited.1.iter().all(|one| one["link"] == "l1"), "{waited:?}");
    for odd in ["after=x", "after=b.1x", &format!("after={cursor}0000"), "wait=1", "wait_ms=x"] {
        let answer = rig.ask_at("GET", &format!("/v1/events?{odd}"), "").await;
        assert_eq!(answer.status, 400, "{odd}: {answer:?}");
    }
    let (_, other) = page(&rig, "?after=another.5").await;
    assert_eq!(
        (word(&other[0]["kind"]), word(&other[0]["code"])),
        ("lost".into(), "RESTARTED".into())
    );
    assert!(other.len() > 1, "all that is known follows");
}

#[tokio::test]
async fn events_take_the_right_to_read() {
    let rig = Rig::start_with(Some("may-do-everything-here")).await;
    let ask = |token: &str| {
        let token = match token {
            "" => String::new(),
            token => format!("Authorization: Bearer {token}\r\n"),
        };
        format!("GET /v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{token}\r\n")
    };
    assert_eq!(rig.send(ask("").as_bytes()).await.status, 401);
    assert_eq!(rig.send(ask("may-only-look-at-it").as_bytes()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_a_line_for_each_event() {
    let rig = Rig::start().await;
    rig.create_link("l1", &["t1"]).await;
    rig.create_mirror("l1", "t1").await;
    until(&rig, "mirror t1 ->ACTIVE").await;
    let told = isolog(&rig, &["events", "--link", "l1", "-o", "json"]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    let all: Vec<Value> =
        told.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(all.iter().any(|one| line(one) == "mirror t1 ->ACTIVE"), "{}", told.out);
    let first = word(&all[0]["cursor"]);
    let later = isolog(&rig, &["events", "--link", "l1", "--after", &first]).await;
    assert_eq!(later.out.lines().count(), all.len() - 1, "{}", later.out);
    let order = "CreateKafkaMirrorTopic t1 by ";
    assert!(later.out.lines().any(|line| line.contains(order)), "{}", later.out);
    let odd = isolog(&rig, &["events", "--follow", "--after", "x"]).await;
    assert!(odd.code == Some(1) && odd.err.contains("after must be the cursor"), "{odd:?}");
}
