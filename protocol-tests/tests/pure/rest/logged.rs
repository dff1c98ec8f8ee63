//! What the log says of orders: every topic of each, by name, and what came of it.
//!
//! It never reads what the program prints: the lines are heard where they are made.

use protocol_tests::heard::Heard;

use super::Rig;

/// The lines of orders.
fn orders(heard: &Heard) -> Vec<String> {
    heard.lines("message=an order")
}

#[tokio::test]
async fn an_order_is_logged_with_its_topics_and_what_came_of_each() {
    let (heard, _listening) = Heard::begin();
    let rig = Rig::start().await;
    let topics: Vec<String> = (100..160).map(|number| format!("t{number}")).collect();
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    rig.create_link("l1", &names).await;
    for name in &names {
        rig.create_mirror("l1", name).await;
    }
    let made = orders(&heard);
    let of =
        |name: &str| made.iter().filter(|line| line.contains(&format!("topics={name} "))).count();
    assert!(names.iter().all(|name| of(name) == 1), "{made:#?}");
    let body = r#"{"mirror_topic_names":["t100","t9","no topic"]}"#;
    rig.must("POST", "/links/l1/mirrors:failover?validate_only=true", body).await;
    let dry = orders(&heard).pop().expect("a line");
    for part in [
        "who=",
        "subject=l1 ",
        "topics=t100,t9,'no topic' ",
        "dry=true ",
        "status=200 ",
        "refused=2 ",
    ] {
        assert!(dry.contains(part), "{part}: {dry}");
    }
    assert!(dry.contains("404: Topic 't9' is not a mirror topic"), "{dry}");
    // whoever looks for a topic finds it, however many an order had
    let before = orders(&heard).len();
    let body = r#"{"mirror_topic_name_pattern":"t1.."}"#;
    rig.must("POST", "/links/l1/mirrors:failover", body).await;
    let lines = orders(&heard).split_off(before);
    assert!(
        lines.iter().all(|line| line.contains("pattern='t1..' ") && line.contains("refused=0 "))
    );
    assert!(names.iter().all(|name| lines.iter().any(|line| line.contains(name))), "{lines:#?}");
    assert!(lines.len() > 1 && lines.iter().all(|line| line.len() < 2_000), "{lines:#?}");
    // one that is wrong as a whole says of what all the same
    let twice = r#"{"mirror_topic_names":["t100"],"mirror_topic_name_pattern":"x"}"#;
    let refused = rig.ask("POST", "/links/l1/mirrors:promote", twice).await;
    assert_eq!(refused.status, 400);
    let line = orders(&heard).pop().expect("a line");
    assert!(line.contains("topics=t100 ") && line.contains("status=400 "), "{line}");
}

/// Below the seal stand records that others wrote: nobody else will ever tell.
#[tokio::test]
async fn a_stopped_topic_says_what_others_wrote_below_its_seals() {
    let rig = Rig::start().await;
    rig.create_link("l1", &[]).await;
    let id = "01".repeat(16);
    let sealed = |end: i64, next: &str| format!(r#"{{"end":{end},"source_next":{next}}}"#);
    for (name, zero, one, want) in [
        ("clean", sealed(5, "5"), sealed(9, "null"), None),
        ("one", sealed(9, "9"), sealed(8, "5"), Some("partition 1 has 3 offsets, from 5 on")),
        ("two", sealed(9, "4"), sealed(8, "5"), Some("and so have 1 more partitions")),
    ] {
        let row = format!(
            r#"{{"v":1,"source_topic":"{name}","source_id":"{id}","mirror_id":"{id}","partitions":2,
            "generation":0,"stage":{{"stopped":"failover"}},"since_ms":1,"paused":false,
            "made_by":"order","adopted":null,"starts":{{}},"owed":{{}},"configs":{{}},
            "replicas":null,"sealed":{{"0":{zero},"1":{one}}},"deadline_ms":null}}"#
        );
        rig.hands.write_besides(&format!("mirror/l1/{name}"), Some(&row)).await;
        let is_there = |seen: &isolog::link::registry::Seen| {
            seen.mirrors.keys().any(|(_, topic)| topic.as_str() == name)
        };
        rig.hands.until("there", is_there).await;
        let shown = rig.must("GET", &format!("/links/l1/mirrors/{name}"), "").await.json();
        assert_eq!(
            (&shown["mirror_status"], &shown["mirror_topic_error"]),
            (&"STOPPED".into(), &"NO_ERROR".into())
        );
        let text = shown["mirror_topic_error_message"].as_str();
        assert_eq!(text.is_some(), want.is_some(), "{name}: {shown}");
        assert!(text.unwrap_or_default().contains(want.unwrap_or_default()), "{name}: {shown}");
    }
}
