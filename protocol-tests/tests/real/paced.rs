//! A link with a limit beside one without, on real Kafka: the limit is kept while the other one
//! copies at full speed, and is changed while it copies.
//!
//! It never asserts how fast something is, only how fast it may be at most.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use protocol_tests::broker::Build;
use protocol_tests::broker::Record;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;
use serde_json::json;

use crate::operated::Stage;
use crate::operated::until;
use crate::served::Program;

const LIMIT: &str = "link.max.bytes.per.second";
/// 10 MB/s.
const RATE: u64 = 10_000_000;
/// A batch of one record.
const BATCH_BYTES: u64 = 500_000;
/// 80 MB, and 300 MB where a limit makes them last.
const BATCHES: [(&str, u64); 2] = [("fast", 160), ("slow", 600)];
/// What may come at once: a second's credit, and what is on its way.
const CREDIT: Duration = Duration::from_secs(2);
/// So many times it is looked at.
const WINDOWS_MAX: usize = 8;

fn create_link(stage: &Stage, program: &Program, name: &str, limit: Option<u64>) {
    let config = |name: &str, value: &str| json!({ "name": name, "value": value });
    let mut configs = vec![
        config("bootstrap.servers", stage.clusters.0.bootstrap()),
        config("metadata.max.age.ms", "1000"),
        config("batch.merge", "never"),
    ];
    configs.extend(limit.map(|rate| config(LIMIT, &rate.to_string())));
    program.order("POST", &format!("?link_name={name}"), Some(&json!({ "configs": configs })));
}

/// How much of a mirror topic is there, in bytes, and when that was so.
/// Both times count: what was asked may have been answered long before the answer is read.
fn come(stage: &Stage, topic: &str) -> Come {
    let asked = Instant::now();
    let (_, end) = stage.destination.ends(topic, 0).unwrap();
    Come { bytes: end as u64 * BATCH_BYTES, asked, answered: Instant::now() }
}

#[derive(Clone, Copy)]
struct Come {
    bytes: u64,
    asked: Instant,
    answered: Instant,
}

impl Come {
    fn nothing() -> Come {
        let now = Instant::now();
        Come { bytes: 0, asked: now, answered: now }
    }
}

fn is_kept(rate: u64, from: Come, to: Come) -> bool {
    let (bytes, took) = (to.bytes - from.bytes, to.answered - from.asked);
    bytes > 0 && bytes as f64 <= (took + CREDIT).as_secs_f64() * rate as f64
}

/// What came between two looks is within the limit.
fn kept(what: &str, rate: u64, from: Come, to: Come) {
    let (bytes, took) = (to.bytes - from.bytes, to.answered - from.asked);
    println!("paced: {what}: {bytes} bytes in {} ms of {rate} a second", took.as_millis());
    assert!(is_kept(rate, from, to), "{what}: {bytes} bytes in {took:?}");
}

fn limit(program: &Program, rate: i64) {
    let body = json!({ "value": rate.to_string() });
    program.order("PUT", &format!("/slow/configs/{LIMIT}"), Some(&body));
}

#[test]
fn a_limited_link_keeps_its_limit_beside_one_without() {
    let _room = room(2);
    let stage = Stage::start();
    for (topic, batches) in BATCHES {
        stage.source.create(topic, 1, 1, &[]).unwrap();
        for _ in 0..batches {
            let record = Record::new("k", &"p".repeat(BATCH_BYTES as usize));
            stage.source.produce(topic, 0, &Build::new(now_ms(), vec![record])).unwrap();
        }
    }
    let program = Program::start(&stage.clusters.1);
    create_link(&stage, &program, "slow", Some(RATE));
    create_link(&stage, &program, "fast", None);
    let mirror = |topic: &str| json!({ "source_topic_name": topic });
    let began = Come::nothing();
    program.order("POST", "/slow/mirrors", Some(&mirror("slow")));
    program.order("POST", "/fast/mirrors", Some(&mirror("fast")));
    let all = stage.source.ends("fast", 0).unwrap();
    until("fast is level", || (stage.destination.ends("fast", 0).ok()? == all).then_some(()));
    let fast = come(&stage, "fast");
    println!(
        "paced: fast: {} bytes in {} ms",
        fast.bytes,
        (fast.answered - began.asked).as_millis()
    );
    let slow =
        until("its first records", || Some(come(&stage, "slow")).filter(|come| come.bytes > 0));
    kept("slow beside fast", RATE, began, slow);
    let waited = program.isolog.metric("isolog_link_limited_ms_total", "link=\"slow\"");
    let free = program.isolog.metric("isolog_link_limited_ms_total", "link=\"fast\"");
    assert!(waited > 0.0 && free == 0.0, "put off for {waited} ms and {free} ms");

    // lowered while it copies
    limit(&program, RATE as i64 / 5);
    // what was fetched before comes first, later where the destination is slow
    let mut lowered = come(&stage, "slow");
    let is_kept_to = (0..WINDOWS_MAX).any(|_| {
        sleep(CREDIT);
        lowered = come(&stage, "slow");
        sleep(Duration::from_secs(3));
        let goes_on = || Some(come(&stage, "slow")).filter(|come| come.bytes > lowered.bytes);
        is_kept(RATE / 5, lowered, until("it goes on", goes_on))
    });
    assert!(is_kept_to, "a fifth of the limit is not kept to");
    limit(&program, -1);
    ["slow", "fast"].iter().for_each(|topic| stage.copied(topic, topic, 0));
    let all = come(&stage, "slow");
    println!("paced: the rest without a limit: {} bytes", all.bytes - lowered.bytes);
}
