//! isolog is killed as soon as a row of an order stands in the journal, or a moment later, when
//! something of it has been done: started again, it ends where a run ends that nobody disturbs.
//!
//! It never hopes for a moment: whoever kills reads the journal's end all the time.
//! `ISOLOG_CRASHES=full` is the size that the issue asks for: five moments of each kind of order.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::process::Command;
use std::thread;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use protocol_tests::broker::batch::Build;
use protocol_tests::real::Hand;
use protocol_tests::real::long_room;
use protocol_tests::real::now_ms;
use serde_json::Value;
use serde_json::json;

use crate::operated::Stage;
use crate::operated::until;
use crate::served::Program;

const JOURNAL: &str = "__isolog";
/// Moments of each kind that are tried.
const MOMENTS: usize = 5;
/// For how long the rows of an order are waited for: a kill behind all of them shows nothing.
const KILLED_WITHIN: Duration = Duration::from_secs(60);
/// Rows that are written without any order come seldom: a moment without one is waited for.
const QUIET: Duration = Duration::from_millis(500);

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Kind {
    Create,
    Adopt,
    Pause,
    Delete,
    Config,
}

const KINDS: [Kind; 5] = [Kind::Create, Kind::Adopt, Kind::Pause, Kind::Delete, Kind::Config];

impl Kind {
    fn topic(self, n: usize) -> String {
        format!("{self:?}-{n}").to_lowercase()
    }

    /// Rows of the order after which it is killed, and so many ms after them.
    fn moments(self) -> [(i64, u64); MOMENTS] {
        match self {
            Kind::Create | Kind::Adopt => [(1, 0), (1, 15), (2, 0), (2, 15), (3, 0)],
            Kind::Delete => [(1, 0), (1, 5), (1, 15), (2, 0), (2, 15)],
            // one row is all of it
            Kind::Pause | Kind::Config => [(1, 0), (1, 5), (1, 15), (1, 40), (1, 100)],
        }
    }

    /// What must be there before the order.
    fn prepare(self, stage: &Stage, program: &Program, topic: &str) {
        stage.source.create(topic, 1, 1, &[]).unwrap();
        let batches: Vec<Build> = (0..3).map(|n| Build::plain(now_ms(), topic, 5 + n)).collect();
        for batch in &batches {
            stage.source.produce(topic, 0, batch).unwrap();
        }
        match self {
            Kind::Adopt => {
                stage.destination.create(topic, 1, 1, &[]).unwrap();
                stage.destination.alter(topic, "compression.type", Some("producer")).unwrap();
                for batch in &batches[..2] {
                    stage.destination.produce(topic, 0, batch).unwrap();
                }
            }
            Kind::Pause | Kind::Delete => {
                create(program, topic);
                stage.copied(topic, topic, 0);
            }
            Kind::Create | Kind::Config => {}
        }
    }

    /// The order: method, path behind the cluster's id, body.
    fn order(self, topic: &str, n: usize) -> (&'static str, String, Option<Value>) {
        match self {
            Kind::Create | Kind::Adopt => {
                let body = json!({ "source_topic_name": topic });
                ("POST", "/links/dr/mirrors".into(), Some(body))
            }
            Kind::Pause => {
                let body = json!({ "mirror_topic_names": [topic] });
                ("POST", "/links/dr/mirrors:pause".into(), Some(body))
            }
            Kind::Delete => ("DELETE", format!("/topics/{topic}"), None),
            Kind::Config => {
                let body = json!({ "value": client_id(n) });
                ("PUT", "/links/dr/configs/client.id".into(), Some(body))
            }
        }
    }

    /// It has come to where it should.
    fn has_ended(self, stage: &Stage, program: &Program, topic: &str, n: usize) {
        match self {
            Kind::Create | Kind::Adopt => {
                stage.copied(topic, topic, 0);
                until("it is active", || (program.status(topic)? == "ACTIVE").then_some(()));
            }
            Kind::Pause => {
                until("it is paused", || (program.status(topic)? == "PAUSED").then_some(()));
                let end = stage.destination.ends(topic, 0).unwrap();
                let more = Build::plain(now_ms(), "more", 5);
                stage.source.produce(topic, 0, &more).unwrap();
                // a topic that is copied at once shows that isolog is at work
                let other = format!("beside-{topic}");
                Kind::Create.prepare(stage, program, &other);
                create(program, &other);
                stage.copied(&other, &other, 0);
                assert_eq!(stage.destination.ends(topic, 0).unwrap(), end, "it is paused");
            }
            Kind::Delete => {
                until("it is gone", || stage.destination.is_absent(topic).then_some(()));
                until("it is no mirror", || program.status(topic).is_none().then_some(()));
            }
            Kind::Config => {
                let path = format!("{}/dr/configs/client.id", program.links);
                until("it holds", || {
                    (program.isolog.get(&path)?["value"] == client_id(n)).then_some(())
                });
            }
        }
    }
}

fn client_id(n: usize) -> String {
    format!("client-{n}")
}

fn create(program: &Program, topic: &str) {
    program.order("POST", "/dr/mirrors", Some(&json!({ "source_topic_name": topic })));
    until("it is a mirror", || (program.status(topic)? == "ACTIVE").then_some(()));
}

fn end_of_journal(hand: &Hand) -> i64 {
    hand.ends(JOURNAL, 0).unwrap().1
}

/// Waits until what was done before writes no more rows.
fn quiet(hand: &Hand) -> i64 {
    let mut end = end_of_journal(hand);
    until("the journal is quiet", || {
        sleep(QUIET);
        let now = end_of_journal(hand);
        (std::mem::replace(&mut end, now) == now).then_some(now)
    })
}

/// Gives an order; where there is a moment, kills isolog then.
fn give(
    (stage, program): (&Stage, &Program),
    (method, path, body): (&str, &str, Option<&Value>),
    moment: Option<(i64, u64)>,
) {
    let before = quiet(&stage.destination);
    let pid = program.isolog.pid().unwrap().to_string();
    let bootstrap = stage.clusters.1.bootstrap().to_owned();
    let killer = moment.map(|(rows, after_ms)| {
        thread::spawn(move || {
            let (hand, deadline) = (Hand::new(&bootstrap), Instant::now() + KILLED_WITHIN);
            let mut is_reached = false;
            while !is_reached && Instant::now() < deadline {
                is_reached = end_of_journal(&hand) >= before + rows;
            }
            assert!(is_reached, "the order wrote no {rows} rows behind {before}");
            sleep(Duration::from_millis(after_ms));
            assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        })
    });
    let path = format!("{}{path}", program.links.trim_end_matches("/links"));
    let answer = program.isolog.order(method, &path, body);
    match killer {
        Some(killer) => killer.join().expect("it was killed at its moment"),
        None => {
            let status = answer.as_ref().map(|answer| answer.0);
            assert!(matches!(status, Some(200..300)), "{method} {path}: {answer:?}");
        }
    }
}

/// The rows of a topic and of the link, without what differs between any two runs: ids, times,
/// names that the test gave.
fn rows(program: &Program, topic: &str, n: usize) -> BTreeMap<String, Value> {
    let is_own = |key: &str| key == format!("mirror/dr/{topic}") || key == "link/dr";
    let own = program.rows().into_iter().filter(|(key, _)| is_own(key));
    own.map(|(key, mut value)| {
        level(&mut value, (topic, &client_id(n)));
        (key.replace(topic, "TOPIC"), value)
    })
    .collect()
}

/// See `rows`.
fn level(value: &mut Value, given: (&str, &str)) {
    match value {
        Value::Object(all) => all.iter_mut().for_each(|(name, one)| match name.as_str() {
            // counts orders to the link, of which a run has more the later it comes
            "generation" => *one = Value::Null,
            _ => level(one, given),
        }),
        Value::Array(all) => all.iter_mut().for_each(|one| level(one, given)),
        Value::String(text) if text == given.0 => *text = "TOPIC".into(),
        Value::String(text) if text == given.1 => *text = "CLIENT".into(),
        // of Kafka, and as UUIDs
        Value::String(text) if [22, 36].contains(&text.len()) => *text = "ID".into(),
        Value::Number(number) if number.as_i64() > Some(1_000_000_000_000) => {
            *value = "TIME".into();
        }
        _ => {}
    }
}

/// One order with a kill, or without; the rows that it ends with.
fn run(
    kind: Kind,
    n: usize,
    moment: Option<(i64, u64)>,
    (stage, program): (&Stage, &mut Program),
) -> BTreeMap<String, Value> {
    let topic = kind.topic(n);
    kind.prepare(stage, program, &topic);
    let (method, path, body) = kind.order(&topic, n);
    give((stage, program), (method, &path, body.as_ref()), moment);
    if moment.is_some() {
        program.isolog.kill();
        program.isolog.start_again().unwrap();
    }
    kind.has_ended(stage, program, &topic, n);
    let is_mirror = program.status(&topic).is_some();
    until("the source's configs are known", || {
        quiet(&stage.destination);
        let rows = rows(program, &topic, n);
        // a comparison adds what the making of a topic did not know; of one that was there, all
        let known = |row: &Value| match row["adopted"].is_null() {
            true => row["at_stop"].get("message.timestamp.after.max.ms").is_some(),
            false => row["at_stop"].as_object().is_some_and(|all| !all.is_empty()),
        };
        (!is_mirror || known(&rows["mirror/dr/TOPIC"])).then_some(rows)
    })
}

/// Must show: a crash point after each row and each action; on real Kafka, five of each kind.
#[test]
fn an_order_that_is_killed_ends_as_one_that_is_not() {
    let _room = long_room(2);
    let is_full = std::env::var("ISOLOG_CRASHES").as_deref() == Ok("full");
    let stage = Stage::start();
    let mut program = Program::start(&stage.clusters.1);
    let config = |name: &str, value: &str| json!({ "name": name, "value": value });
    let configs = [
        config("bootstrap.servers", stage.clusters.0.bootstrap()),
        config("metadata.max.age.ms", "1000"),
        config("client.id", "first"),
        config("topic.config.sync.ms", "1000"),
        config("batch.merge", "never"),
    ];
    program.order("POST", "?link_name=dr", Some(&json!({ "configs": configs })));
    let mut kills = 0;
    for (place, kind) in KINDS.into_iter().enumerate() {
        let right = run(kind, MOMENTS, None, (&stage, &mut program));
        for (n, moment) in kind.moments().into_iter().enumerate() {
            if !is_full && n != place {
                continue;
            }
            let rows = run(kind, n, Some(moment), (&stage, &mut program));
            assert_eq!(rows, right, "{kind:?} killed at {moment:?}");
            kills += 1;
        }
    }
    println!("crashes: {kills} kills amid {} kinds of orders", KINDS.len());
    assert!(!program.isolog.log().contains("panicked"), "{}", program.isolog.log());
}
