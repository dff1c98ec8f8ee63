//! A config that breaks exactness is set and set back again and again at three brokers, each of
//! which applies it when it hears of it: no record is stamped by a leader that has not.
//!
//! It never skips. `ISOLOG_FLIPS=full` is 200 times on each version.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use isolog::control::topic::Status;
use protocol_tests::broker::batch::LOG_APPEND_TIME;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::long_room;

use crate::operated::Operated;
use crate::operated::Stage;

const KEY: &str = "message.timestamp.type";
/// Topics that are turned at the same time, their leaders spread over three brokers.
const TOPICS: usize = 10;

fn tries() -> usize {
    match std::env::var("ISOLOG_FLIPS").as_deref() {
        Ok("full") => 200,
        _ => 20,
    }
}

fn none_is_stamped(version: &str) {
    let specs = (RealSpec::new(version, 1), RealSpec::new(version, 3));
    let stage = Stage::on(RealCluster::both(specs.0, specs.1).unwrap());
    let isolog = Operated::start(&stage.clusters.1, "");
    isolog.create_link("dr", stage.clusters.0.bootstrap(), &[]);
    let topics: Vec<String> = (0..TOPICS).map(|n| format!("f-{n}")).collect();
    for topic in &topics {
        stage.source.create(topic, 1, 1, &[]).unwrap();
        isolog.create_mirror("dr", topic);
        stage.write(topic, 0);
    }
    topics.iter().for_each(|topic| stage.copied(topic, topic, 0));
    for _ in 0..tries() / TOPICS {
        let turn = |to| topics.iter().for_each(|topic| turn(&stage, topic, to));
        turn("LogAppendTime");
        topics.iter().for_each(|topic| isolog.wait_status("dr", topic, Status::Failed));
        topics.iter().for_each(|topic| stage.write(topic, 0));
        turn("CreateTime");
        topics.iter().for_each(|topic| stage.copied(topic, topic, 0));
        topics.iter().for_each(|topic| isolog.wait_status("dr", topic, Status::Active));
    }
    let mut batches = 0;
    for topic in &topics {
        for batch in stage.destination.log(topic, 0).unwrap().batches {
            let header = batch.header.expect("a batch of today's format");
            assert_eq!(header.attributes & LOG_APPEND_TIME, 0, "{topic} at {}", batch.base);
            batches += 1;
        }
    }
    assert_eq!(batches, TOPICS + tries(), "each try is one batch");
    println!("flips to {version}: {} changes back, {batches} batches, none stamped", tries());
}

fn turn(stage: &Stage, topic: &str, to: &str) {
    stage.destination.alter(topic, KEY, Some(to)).unwrap();
}

#[test]
fn no_batch_is_stamped_behind_a_change_to_4_3_1() {
    let _room = long_room(4);
    none_is_stamped("4.3.1");
}

#[test]
fn no_batch_is_stamped_behind_a_change_to_3_9_1() {
    let _room = long_room(4);
    none_is_stamped("3.9.1");
}
