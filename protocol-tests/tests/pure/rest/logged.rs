//! What the log says of orders: every topic of each, by name, and what came of it.
//!
//! It never reads what the program prints: the lines are heard where they are made.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::Mutex;

use tracing::Event;
use tracing::Metadata;
use tracing::Subscriber;
use tracing::field::Field;
use tracing::field::Visit;
use tracing::span;

use super::Rig;

/// All lines of this thread, a field after the other.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn orders(&self) -> Vec<String> {
        let lines = self.0.lock().expect("nobody panicked");
        lines.iter().filter(|line| line.contains("message=an order")).cloned().collect()
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _never = write!(self.0, "{}={value:?} ", field.name());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _never = write!(self.0, "{}={value} ", field.name());
    }
}

impl Subscriber for Heard {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().expect("nobody panicked").push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn an_order_is_logged_with_its_topics_and_what_came_of_each() {
    let heard = Heard::default();
    // with one alone, another test's thread that comes first decides that nobody wants a line
    let _another = tracing::Dispatch::new(Heard::default());
    let _heard = tracing::subscriber::set_default(heard.clone());
    let rig = Rig::start().await;
    let topics: Vec<String> = (100..160).map(|number| format!("t{number}")).collect();
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    rig.create_link("l1", &names).await;
    for name in &names {
        rig.create_mirror("l1", name).await;
    }
    let made = heard.orders();
    let of =
        |name: &str| made.iter().filter(|line| line.contains(&format!("topics={name} "))).count();
    assert!(names.iter().all(|name| of(name) == 1), "{made:#?}");
    let body = r#"{"mirror_topic_names":["t100","t9","no topic"]}"#;
    rig.must("POST", "/links/l1/mirrors:failover?validate_only=true", body).await;
    let dry = heard.orders().pop().expect("a line");
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
    let before = heard.orders().len();
    let body = r#"{"mirror_topic_name_pattern":"t1.."}"#;
    rig.must("POST", "/links/l1/mirrors:failover", body).await;
    let lines = heard.orders().split_off(before);
    assert!(
        lines.iter().all(|line| line.contains("pattern='t1..' ") && line.contains("refused=0 "))
    );
    assert!(names.iter().all(|name| lines.iter().any(|line| line.contains(name))), "{lines:#?}");
    assert!(lines.len() > 1 && lines.iter().all(|line| line.len() < 2_000), "{lines:#?}");
    // one that is wrong as a whole says of what all the same
    let twice = r#"{"mirror_topic_names":["t100"],"mirror_topic_name_pattern":"x"}"#;
    let refused = rig.ask("POST", "/links/l1/mirrors:promote", twice).await;
    assert_eq!(refused.status, 400);
    let line = heard.orders().pop().expect("a line");
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
