//! Share groups (KIP-932) on real Kafka: one of Kafka's own share consumers that fails over and
//! goes on where it was, starts set from outside, members, groups of another kind, a destination
//! without share groups.
//!
//! It never skips.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use isolog::control::order::MirrorVerb;
use isolog::control::order::Verb;
use isolog::control::task::TaskName;
use isolog::control::topic::Fault;
use isolog::control::topic::How;
use isolog::control::topic::Status;
use isolog::ids::GroupName;
use kafka_protocol::messages::*;
use protocol_tests::broker::batch::Build;
use protocol_tests::real::Hand;
use protocol_tests::real::Load;
use protocol_tests::real::LoadSpec;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;
use protocol_tests::real::tool;

use crate::groups::ALL;
use crate::groups::MEMBER;
use crate::groups::commit_of;
use crate::groups::committed_of;
use crate::groups::group;
use crate::groups::places_of;
use crate::groups::settled;
use crate::groups::text;
use crate::operated::Operated;
use crate::operated::Stage;
use crate::operated::link;
use crate::operated::until;

const TOPIC: &str = "s-orders";
/// A link that follows groups every second.
const FOLLOWS: [(&str, &str); 3] = [
    ("consumer.offset.sync.enable", "true"),
    ("consumer.offset.sync.ms", "1000"),
    ("consumer.offset.group.filters", ALL),
];
/// Records of transactions, some of which are aborted: holes at the source, fillers in the copy.
const RECORDS: u64 = 400;
/// How many of them are read at the source.
const BEFORE: usize = 101;
const SHARE_CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleShareConsumer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";

/// Where a share group starts in a partition; -1 for nowhere.
pub(crate) fn start(hand: &Hand, name: &str, (topic, partition): (&str, i32)) -> i64 {
    let asked =
        describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup::default();
    let asked = asked.with_group_id(group(name)).with_topics(None);
    let request = DescribeShareGroupOffsetsRequest::default().with_groups(vec![asked]);
    let (code, answer) = settled(hand, name, || {
        let answer = hand.ask_any(0, &request).unwrap();
        (answer.groups[0].error_code, answer)
    });
    assert_eq!(code, 0, "{name}");
    let mut topics = answer.groups[0].topics.iter();
    let of = topics.find(|one| one.topic_name.as_str() == topic);
    let row = of.and_then(|of| of.partitions.iter().find(|one| one.partition_index == partition));
    row.map_or(-1, |row| row.start_offset)
}

/// Sets it from outside.
pub(crate) fn set(hand: &Hand, name: &str, (topic, partition): (&str, i32), offset: i64) {
    set_all(hand, name, topic, &[(partition, offset)]);
}

/// The same of several partitions, at once.
fn set_all(hand: &Hand, name: &str, topic: &str, all: &[(i32, i64)]) {
    let row = |(partition, offset): &(i32, i64)| {
        alter_share_group_offsets_request::AlterShareGroupOffsetsRequestPartition::default()
            .with_partition_index(*partition)
            .with_start_offset(*offset)
    };
    let of = alter_share_group_offsets_request::AlterShareGroupOffsetsRequestTopic::default()
        .with_topic_name(TopicName(text(topic)))
        .with_partitions(all.iter().map(row).collect());
    let request = AlterShareGroupOffsetsRequest::default().with_group_id(group(name));
    let request = request.with_topics(vec![of]);
    let (code, _) = settled(hand, name, || {
        let answer = hand.ask_any(0, &request).unwrap();
        let rows = answer.responses.first().map(|of| of.partitions[0].error_code);
        (rows.unwrap_or(answer.error_code), ())
    });
    assert_eq!(code, 0, "{name}");
}

/// A member joins (epoch 0) or leaves (epoch -1); whoever sends no more is one for 45 s.
fn heartbeat(hand: &Hand, name: &str, epoch: i32) {
    let request = ShareGroupHeartbeatRequest::default()
        .with_group_id(group(name))
        .with_member_id(text(MEMBER))
        .with_member_epoch(epoch)
        .with_subscribed_topic_names(Some(vec![TopicName(text(TOPIC))]));
    let (code, _) = settled(hand, name, || (hand.ask_any(1, &request).unwrap().error_code, ()));
    assert_eq!(code, 0, "{name}");
}

fn starts_at(stage: &Stage, name: &str, offset: i64) {
    until(&format!("{name} starts at {offset}"), || {
        (start(&stage.destination, name, (TOPIC, 0)) == offset).then_some(())
    });
}

/// What one of Kafka's consumers reads: partition and offset of each record, until it has so many,
/// or none comes for ten seconds.
fn read(class: &str, bootstrap: &str, max: Option<usize>, more: &[&str]) -> Vec<(i32, i64)> {
    let max = max.map(|max| max.to_string());
    let mut words = vec!["--bootstrap-server", bootstrap, "--topic", TOPIC];
    words.extend(["--timeout-ms", "10000", "--property", "print.partition=true"]);
    words.extend(["--property", "print.offset=true", "--property", "print.value=false"]);
    words.extend(max.iter().flat_map(|max| ["--max-messages", max]));
    words.extend(more);
    let said = tool(class, &words).unwrap();
    places_of(&said)
}

fn feature(cluster: &RealCluster, verb: &str, level: &str) {
    let level = format!("share.version={level}");
    let words = ["--bootstrap-server", cluster.bootstrap(), verb, "--feature", &level];
    tool("org.apache.kafka.tools.FeatureCommand", &words).unwrap();
}

fn errors(isolog: &Operated) -> Vec<(String, Fault)> {
    let seen = isolog.driver.registry.seen();
    let Some(of) = seen.links.get(&link("dr")) else { return Vec::new() };
    let task = of.tasks.iter().find(|task| task.name == TaskName::ConsumerOffsetSync);
    task.map(|task| task.errors.clone()).unwrap_or_default()
}

fn is_told(isolog: &Operated, name: &str, code: &str, words: &str) {
    until(&format!("{name}: {code} {words}"), || {
        let told = errors(isolog).into_iter().find(|(subject, _)| subject == name)?;
        (told.1.code == code && told.1.text.contains(words)).then_some(())
    });
}

/// Whether a share group begins early where it has no start is read of its configs.
fn begins_early(stage: &Stage, isolog: &Operated) {
    let told = |want: Option<bool>| {
        until(&format!("simple begins early: {want:?}"), || {
            let seen = isolog.driver.links().first()?.status().groups.clone()?;
            let simple = seen.told.get(&GroupName::new("simple"))?;
            assert_eq!(simple.unstarted.len(), 1, "{simple:?}");
            (simple.begins_early == want).then_some(())
        });
    };
    told(Some(false));
    let words = ["--bootstrap-server", stage.clusters.1.bootstrap(), "--alter", "--entity-type"];
    let config = "share.auto.offset.reset=earliest";
    let more = ["groups", "--entity-name", "simple", "--add-config", config];
    tool("kafka.admin.ConfigCommand", &[&words[..], &more].concat()).unwrap();
    told(Some(true));
}

fn set_from_outside(stage: &Stage, isolog: &Operated) {
    for (name, offset) in [("simple", 7), ("zero", 0), ("simple", 4), ("simple", 9)] {
        set(&stage.source, name, (TOPIC, 0), offset);
        starts_at(stage, name, offset);
    }
    assert_eq!(start(&stage.destination, "simple", (TOPIC, 1)), -1, "none there, none here");
    begins_early(stage, isolog);
    let words = ["--bootstrap-server", stage.clusters.1.bootstrap(), "--describe", "--group"];
    let words = [&words[..], &["simple"]].concat();
    let class = "org.apache.kafka.tools.consumer.group.ShareGroupCommand";
    let said = tool(class, &words).unwrap();
    let row = said.lines().find(|line| line.contains(TOPIC)).unwrap();
    let row: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(row[..4], ["simple", TOPIC, "0", "9"], "{said}");
}

fn members_are_left_alone(stage: &Stage, isolog: &Operated) {
    set(&stage.source, "busy", (TOPIC, 0), 3);
    starts_at(stage, "busy", 3);
    heartbeat(&stage.destination, "busy", 0);
    set(&stage.source, "busy", (TOPIC, 0), 9);
    is_told(isolog, "busy", "CONSUMER_GROUP_IN_USE_ERROR", "has members at the destination");
    sleep(Duration::from_secs(3));
    assert_eq!(start(&stage.destination, "busy", (TOPIC, 0)), 3);
    heartbeat(&stage.destination, "busy", -1);
    starts_at(stage, "busy", 9);
}

fn other_kinds_are_told(stage: &Stage, isolog: &Operated) {
    commit_of(&stage.destination, "plain", (TOPIC, 0), 2);
    set(&stage.source, "plain", (TOPIC, 0), 8);
    set(&stage.destination, "shared", (TOPIC, 0), 2);
    commit_of(&stage.source, "shared", (TOPIC, 0), 8);
    for name in ["plain", "shared"] {
        is_told(isolog, name, "INVALID_REQUEST_ERROR", "GROUP_ID_NOT_FOUND (69)");
    }
    assert_eq!(committed_of(&stage.destination, "plain", (TOPIC, 0)).0, 2);
    assert_eq!(start(&stage.destination, "shared", (TOPIC, 0)), 2);
    for name in ["plain", "shared"] {
        let delete = DeleteGroupsRequest::default().with_groups_names(vec![group(name)]);
        let deleted = stage.destination.ask_any(2, &delete).unwrap();
        assert_eq!(deleted.results[0].error_code, 0, "{name}");
    }
    starts_at(stage, "plain", 8);
    until("nothing is told any more", || errors(isolog).is_empty().then_some(()));
}

/// The feature is off at the destination for a while.
fn left_out_where_there_are_none(stage: &Stage, isolog: &Operated) {
    feature(&stage.clusters.1, "downgrade", "0");
    set(&stage.source, "later", (TOPIC, 0), 5);
    commit_of(&stage.source, "beside", (TOPIC, 0), 5);
    until("the others are followed", || {
        (committed_of(&stage.destination, "beside", (TOPIC, 0)).0 == 5).then_some(())
    });
    is_told(isolog, "share groups", "INVALID_REQUEST_ERROR", "the destination has no share groups");
    feature(&stage.clusters.1, "upgrade", "1");
    starts_at(stage, "later", 5);
    until("nothing is told any more", || errors(isolog).is_empty().then_some(()));
}

/// Both partitions' starts.
fn both(hand: &Hand, name: &str) -> [i64; 2] {
    [0, 1].map(|partition| start(hand, name, (TOPIC, partition)))
}

/// Share consumers that read at the source, one of them to the end, and at the destination when the
/// source is gone.
fn fail_over(stage: &Stage, isolog: &Operated) {
    let groups = [("moving", Some(BEFORE)), ("resting", None)];
    let (source, destination) = (stage.clusters.0.bootstrap(), stage.clusters.1.bootstrap());
    // a partition of which nothing was acknowledged has no start, read or not: then this says where
    for (name, at) in groups.iter().flat_map(|(name, _)| [(name, source), (name, destination)]) {
        let words = ["--bootstrap-server", at, "--alter", "--entity-type", "groups"];
        let config = "share.auto.offset.reset=earliest,share.isolation.level=read_committed";
        let words = [&words[..], &["--entity-name", name, "--add-config", config]].concat();
        tool("kafka.admin.ConfigCommand", &words).unwrap();
    }
    let whole = ["--from-beginning", "--isolation-level", "read_committed"];
    let whole = read(CONSUMER, source, None, &whole).into_iter().collect::<BTreeSet<_>>();
    assert!(whole.len() < RECORDS as usize, "some transactions were aborted");
    let before = groups.map(|(name, max)| read(SHARE_CONSUMER, source, max, &["--group", name]));
    assert_eq!(before[0].len(), BEFORE);
    assert_eq!(before[1].iter().copied().collect::<BTreeSet<_>>(), whole);
    let at = groups.map(|(name, _)| both(&stage.source, name));
    assert!(at[0].iter().any(|start| *start > 0), "{at:?}");
    let there = || groups.map(|(name, _)| both(&stage.destination, name));
    until("they are followed", || (there() == at).then_some(()));
    stage.clusters.0.kill(1).unwrap();
    isolog.mirrors("dr", TOPIC, MirrorVerb::Stop { how: How::Failover, deadline_ms: None });
    isolog.wait_status("dr", TOPIC, Status::Stopped);
    assert_eq!(there(), at);
    for (which, (name, _)) in groups.into_iter().enumerate() {
        let (before, at) = (&before[which], at[which]);
        let after = read(SHARE_CONSUMER, destination, None, &["--group", name]);
        let is_below = |(partition, offset): &&(i32, i64)| *offset < at[*partition as usize];
        let below: Vec<_> = after.iter().filter(is_below).collect();
        assert!(below.is_empty(), "{name} below {at:?}: {below:?}");
        let both: BTreeSet<(i32, i64)> = before.iter().chain(&after).copied().collect();
        assert_eq!(both, whole, "{name}: each record, and no other");
        let twice = before.len() + after.len() - whole.len();
        println!("{name}: {} there behind {at:?}, {twice} a second time", after.len());
    }
    // what was acknowledged there is not delivered again, even where the start tells nothing of it
    let again = read(SHARE_CONSUMER, destination, None, &["--group", "moving"]);
    assert_eq!(again, [], "acknowledged before");
}

#[test]
fn share_groups_are_followed() {
    let _room = room(2);
    let stage = Stage::start();
    let more = ["--txn", "20", "--abort-percent", "30", "--txn-id", "shared"];
    let spec = LoadSpec {
        topics: vec![(TOPIC.to_owned(), "lz4".to_owned())],
        create: Some((2, 1)),
        records: Some(RECORDS),
        rate: None,
        more: more.map(str::to_owned).into(),
    };
    Load::start(stage.clusters.0.bootstrap(), &spec).unwrap().wait().unwrap();
    let isolog = Operated::start(&stage.clusters.1, "");
    isolog.create_link("dr", stage.clusters.0.bootstrap(), &FOLLOWS);
    isolog.create_mirror("dr", TOPIC);
    isolog.wait_status("dr", TOPIC, Status::Active);
    for partition in 0..2 {
        until(&format!("{TOPIC}-{partition} is copied"), || {
            let want = stage.source.read(TOPIC, partition).unwrap().stable;
            (stage.destination.ends(TOPIC, partition).ok()?.1 == want).then_some(())
        });
    }
    set_from_outside(&stage, &isolog);
    members_are_left_alone(&stage, &isolog);
    other_kinds_are_told(&stage, &isolog);
    left_out_where_there_are_none(&stage, &isolog);
    fail_over(&stage, &isolog);
}

/// A destination that is older than share groups: the others are followed, and that is told.
#[test]
fn an_old_destination_has_no_share_groups() {
    let _room = room(2);
    let both = RealCluster::both(RealSpec::new("4.3.1", 1), RealSpec::new("3.9.1", 1)).unwrap();
    let stage = Stage::on(both);
    stage.source.create(TOPIC, 1, 1, &[]).unwrap();
    stage.source.produce(TOPIC, 0, &Build::plain(now_ms(), "x", 10)).unwrap();
    set(&stage.source, "sharing", (TOPIC, 0), 5);
    commit_of(&stage.source, "beside", (TOPIC, 0), 5);
    let isolog = Operated::start(&stage.clusters.1, "");
    isolog.create_link("dr", stage.clusters.0.bootstrap(), &FOLLOWS);
    isolog.create_mirror("dr", TOPIC);
    until("the others are followed", || {
        (committed_of(&stage.destination, "beside", (TOPIC, 0)).0 == 5).then_some(())
    });
    let text = "1 share group of the source (sharing) cannot be followed";
    is_told(&isolog, "share groups", "INVALID_REQUEST_ERROR", text);
    assert_eq!(errors(&isolog).len(), 1);
}

/// How many share groups, of how many partitions each.
const MANY: (usize, i32) = (300, 3);
/// How many of them are set at the source at once.
const HANDS: usize = 8;
/// All of them start at that offset at the source.
fn set_many(stage: &Stage, offset: i64) {
    let all: Vec<(i32, i64)> = (0..MANY.1).map(|partition| (partition, offset)).collect();
    std::thread::scope(|scope| {
        for first in 0..HANDS {
            let (hand, all) = (Hand::new(stage.clusters.0.bootstrap()), &all);
            scope.spawn(move || {
                for number in (first..MANY.0).step_by(HANDS) {
                    set_all(&hand, &format!("many-{number}"), TOPIC, all);
                }
            });
        }
    });
}

/// What the turn took that came to so many offsets, and the next one, which has nothing to do.
fn turns_ms(isolog: &Operated, committed: u64) -> [i64; 2] {
    let seen = || isolog.driver.links().first().and_then(|link| link.status().groups.clone());
    let took = |after: i64| {
        until(&format!("a turn after {after} with {committed} offsets"), || {
            let seen = seen().filter(|seen| seen.committed == committed)?;
            let (began, at) = (seen.began?.0, seen.at?.0);
            (at > after).then_some((at, at - began))
        })
    };
    let (at, first) = took(0);
    [first, took(at).1]
}

#[test]
fn many_share_groups_are_followed() {
    let _room = room(2);
    let stage = Stage::start();
    stage.source.create(TOPIC, MANY.1, 1, &[]).unwrap();
    for partition in 0..MANY.1 {
        stage.write(TOPIC, partition);
    }
    let isolog = Operated::start(&stage.clusters.1, "");
    let off = [("consumer.offset.sync.enable", "false")];
    let more: Vec<(&str, &str)> = FOLLOWS[1..].iter().chain(&off).copied().collect();
    isolog.create_link("dr", stage.clusters.0.bootstrap(), &more);
    isolog.create_mirror("dr", TOPIC);
    (0..MANY.1).for_each(|partition| stage.copied(TOPIC, TOPIC, partition));
    set_many(&stage, 5);
    let checked = isolog.driver.registry.seen().links[&link("dr")].row.generation;
    let on = ("consumer.offset.sync.enable".to_owned(), Some("true".to_owned()));
    isolog.obeyed("dr", Verb::AlterLink { configs: BTreeMap::from([on]), checked });
    let offsets = MANY.0 as u64 * MANY.1 as u64;
    // for people: with a hundred of them in one question it was 17 s and 14 s
    let made = turns_ms(&isolog, offsets);
    println!("{MANY:?} share groups: {made:?} ms where they are made, then with nothing to do");
    for number in [0, MANY.0 - 1] {
        starts_at(&stage, &format!("many-{number}"), 5);
    }
}
