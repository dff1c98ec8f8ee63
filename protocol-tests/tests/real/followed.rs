//! Configs of topics that follow their sources, and topics that were there and are adopted, by
//! ordered links on real Kafka.
//!
//! It never takes what a broker answered for what is so: values are read back at the destination.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::thread::sleep;
use std::time::Duration;

use isolog::control::order::MirrorVerb;
use isolog::control::order::Verb;
use isolog::control::task::TaskName;
use isolog::control::topic::Fault;
use isolog::control::topic::How;
use isolog::control::topic::Status;
use isolog::wire::rewrite::WRITER_ID_MIN;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::batch::Record;
use protocol_tests::orders::new_mirror;
use protocol_tests::real::long_room;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;

use crate::operated::Operated;
use crate::operated::Stage;
use crate::operated::link;
use crate::operated::until;

/// How often a source's config changes, and the pause between: a minute.
const CHANGES: i64 = 100;
const CHANGE_PAUSE: Duration = Duration::from_millis(600);

fn error_of(isolog: &Operated, topic: &str) -> Option<Fault> {
    let seen = isolog.driver.registry.seen();
    let tasks = &seen.links[&link("dr")].tasks;
    let task = tasks.iter().find(|task| task.name == TaskName::TopicConfigsSync).unwrap();
    task.errors.iter().find_map(|(name, fault)| (name == topic).then(|| fault.clone()))
}

fn has(stage: &Stage, topic: &str, key: &str, value: &str) {
    until(&format!("{topic} has {key}={value}"), || {
        let is = stage.destination.config(topic, key).unwrap();
        (is.as_deref() == Some(value)).then_some(())
    });
}

fn is(stage: &Stage, topic: &str, key: &str, value: &str) {
    let is = stage.destination.config(topic, key).unwrap();
    assert_eq!(is.as_deref(), Some(value), "{key} of {topic}");
}

/// A hundred changes in a minute: what is set is only ever what the source had, each later than the
/// one before, and the last one holds.
fn many_changes(stage: &Stage) {
    let value = |round: i64| (1_000_000_000 + round).to_string();
    let mut newest = 0;
    for round in 1..=CHANGES {
        stage.source.alter("c-orders", "retention.ms", Some(&value(round))).unwrap();
        sleep(CHANGE_PAUSE);
        let has = stage.destination.config("c-orders", "retention.ms").unwrap().unwrap();
        let Some(seen) = (1..=round).find(|round| value(*round) == has) else {
            assert!(newest == 0 && has == "123456789", "{has} was never the source's");
            continue;
        };
        assert!(seen >= newest, "{has} is older than {}", value(newest));
        newest = seen;
    }
    has(stage, "c-orders", "retention.ms", &value(CHANGES));
}

/// A limit that was lowered at the source below a batch that it has halts nothing; the topic gets
/// it when it is promoted, and what else was only meanwhile.
fn what_was_meanwhile_is_given_back(stage: &Stage, isolog: &Operated) {
    stage.source.create("c-large", 1, 1, &[("max.message.bytes", "3000000")]).unwrap();
    let large = Record::new("large", &"x".repeat(2_000_000));
    stage.source.produce("c-large", 0, &Build::new(now_ms(), vec![large])).unwrap();
    stage.source.alter("c-large", "max.message.bytes", Some("100000")).unwrap();
    isolog.create_mirror("dr", "c-large");
    stage.copied("c-large", "c-large", 0);
    is(stage, "c-large", "max.message.bytes", "52428800");
    stage.write("c-large", 0);
    stage.copied("c-large", "c-large", 0);
    isolog.wait_status("dr", "c-large", Status::Active);
    let stop = MirrorVerb::Stop { how: How::Promote, deadline_ms: None };
    for (topic, limit, stamps) in
        [("c-large", "100000", "CreateTime"), ("c-orders", "1000000", "LogAppendTime")]
    {
        isolog.mirrors("dr", topic, stop);
        isolog.wait_status("dr", topic, Status::Stopped);
        is(stage, topic, "max.message.bytes", limit);
        is(stage, topic, "message.timestamp.type", stamps);
    }
}

/// The three lists, an interim value that stays, an admin's own key, and a key that is refused.
fn configs_follow(version: &str) {
    let stage = Stage::of(version);
    let isolog = Operated::start(&stage.clusters.1, "");
    for topic in ["c-orders", "c-refused"] {
        stage.source.create(topic, 1, 1, &[("segment.ms", "7777777")]).unwrap();
    }
    let include = "min.compaction.lag.ms,retention.ms,segment.ms";
    let more = [("topic.config.sync.ms", "1000"), ("topic.config.sync.include", include)];
    isolog.create_link("dr", stage.clusters.0.bootstrap(), &more);
    for topic in ["c-orders", "c-refused"] {
        isolog.create_mirror("dr", topic);
        stage.write(topic, 0);
        stage.copied(topic, topic, 0);
        is(&stage, topic, "segment.ms", "7777777");
    }
    // an admin's own: one of no list, and one that makes the brokers refuse another key
    stage.destination.alter("c-orders", "flush.messages", Some("55")).unwrap();
    stage.destination.alter("c-refused", "max.compaction.lag.ms", Some("5000")).unwrap();
    for topic in ["c-orders", "c-refused"] {
        let source = |key: &str, value| stage.source.alter(topic, key, value).unwrap();
        source("segment.ms", None);
        source("min.compaction.lag.ms", Some("10000"));
        source("max.message.bytes", Some("1000000"));
        source("flush.messages", Some("66"));
        source("retention.ms", Some("123456789"));
    }
    for topic in ["c-orders", "c-refused"] {
        has(&stage, topic, "retention.ms", "123456789");
        has(&stage, topic, "segment.ms", "604800000");
        is(&stage, topic, "max.message.bytes", "52428800");
    }
    has(&stage, "c-orders", "min.compaction.lag.ms", "10000");
    is(&stage, "c-orders", "flush.messages", "55");
    let fault = until("the refused key is named", || error_of(&isolog, "c-refused"));
    assert_eq!(fault.code, "INVALID_REQUEST_ERROR");
    assert!(fault.text.contains("min.compaction.lag.ms"), "{fault:?}");
    until("nothing is wrong with it", || error_of(&isolog, "c-orders").is_none().then_some(()));
    is(&stage, "c-refused", "max.compaction.lag.ms", "5000");
    many_changes(&stage);
    // what exactness needs stays, and what the source has is kept for later
    stage.source.alter("c-orders", "message.timestamp.type", Some("LogAppendTime")).unwrap();
    until("what it gets when it stops", || {
        let back = isolog.seen("dr", "c-orders")?.row.at_stop;
        let is_there = back.get("message.timestamp.type")? == &Some("LogAppendTime".into());
        assert_eq!(back["max.message.bytes"], Some("1000000".into()));
        is_there.then_some(())
    });
    is(&stage, "c-orders", "message.timestamp.type", "CreateTime");
    isolog.wait_status("dr", "c-orders", Status::Active);
    stage.destination.alter("c-refused", "max.compaction.lag.ms", None).unwrap();
    has(&stage, "c-refused", "min.compaction.lag.ms", "10000");
    until("nothing is refused any more", || error_of(&isolog, "c-refused").is_none().then_some(()));
    stage.write("c-refused", 0);
    stage.copied("c-refused", "c-refused", 0);
    what_was_meanwhile_is_given_back(&stage, &isolog);
}

#[test]
fn configs_follow_on_4_3_1() {
    let _room = long_room(2);
    configs_follow("4.3.1");
}

#[test]
fn configs_follow_on_3_9_1() {
    let _room = long_room(2);
    configs_follow("3.9.1");
}

/// What another link has filled below the source's log start, and no record behind it.
fn a_front_is_gone_on_with(stage: &Stage, isolog: &Operated) {
    for hand in [&stage.source, &stage.destination] {
        hand.create("a-front", 1, 1, &[]).unwrap();
    }
    (0..6).for_each(|_| stage.write("a-front", 0));
    let end = stage.source.ends("a-front", 0).unwrap().1;
    stage.source.delete_records("a-front", 0, end - 1).unwrap();
    let front = Build::fillers(-1, 1, None).producer(WRITER_ID_MIN + 7, 0, 0);
    stage.destination.produce("a-front", 0, &front).unwrap();
    isolog.create_mirror("two", "a-front");
    stage.copied("a-front", "a-front", 0);
}

#[test]
fn a_copy_is_adopted_and_what_is_none_is_refused_with_its_offset() {
    let _room = room(2);
    let stage = Stage::start();
    let isolog = Operated::start(&stage.clusters.1, "");
    let source = stage.clusters.0.bootstrap();
    stage.source.create("a-copy", 2, 1, &[]).unwrap();
    isolog.create_link("one", source, &[]);
    isolog.create_mirror("one", "a-copy");
    for _ in 0..20 {
        stage.write("a-copy", 0);
    }
    stage.copied("a-copy", "a-copy", 0);
    isolog.mirrors("one", "a-copy", MirrorVerb::Delete { topic: false });
    until("it is let go", || isolog.seen("one", "a-copy").is_none().then_some(()));
    stage.write("a-copy", 0);
    stage.write("a-copy", 1);
    isolog.create_link("two", source, &[]);
    isolog.create_mirror("two", "a-copy");
    stage.copied("a-copy", "a-copy", 0);
    stage.copied("a-copy", "a-copy", 1);
    a_front_is_gone_on_with(&stage, &isolog);
    // the last batches are equal, the first records are not
    for hand in [&stage.source, &stage.destination] {
        hand.create("a-other", 1, 1, &[]).unwrap();
    }
    let at = now_ms();
    for (ours, theirs) in [("a", "b"), ("c", "c"), ("d", "d"), ("e", "e"), ("f", "f")] {
        stage.source.produce("a-other", 0, &Build::plain(at, ours, 5)).unwrap();
        stage.destination.produce("a-other", 0, &Build::plain(at, theirs, 5)).unwrap();
    }
    stage.source.produce("a-other", 0, &Build::plain(at, "more", 5)).unwrap();
    let before = stage.destination.ends("a-other", 0).unwrap();
    let words = "partition 0 differs at offset 0";
    isolog.refused("two", Verb::CreateMirror(new_mirror("a-other")), words);
    assert_eq!(stage.destination.ends("a-other", 0).unwrap(), before);
    assert!(isolog.seen("two", "a-other").is_none());
}
