//! Offsets of consumer groups on real Kafka: groups of Java's consumers of both protocols that move
//! and go on where they were, groups set from outside, groups with members, a restart.
//!
//! It never skips.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::process::Command;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use isolog::control::order::MirrorVerb;
use isolog::control::task::TaskName;
use isolog::control::topic::How;
use isolog::control::topic::Status;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use protocol_tests::broker::batch::Build;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::LITERAL;
use protocol_tests::real::Operation;
use protocol_tests::real::RealCluster;
use protocol_tests::real::isolog_binary;
use protocol_tests::real::now_ms;
use protocol_tests::real::peer;
use protocol_tests::real::repo;
use protocol_tests::real::room;
use protocol_tests::real::tool;
use protocol_tests::secure::ways::Safe;
use serde_json::Value;
use serde_json::json;

use crate::check::ALICE;
use crate::check::check;
use crate::check::grants;
use crate::check::guarded_logins;
use crate::check::obey;
use crate::operated::Operated;
use crate::operated::Stage;
use crate::operated::link;
use crate::operated::until;
use crate::shares;

const TOPIC: &str = "g-orders";
/// Batches of ten in each of the two partitions.
const BATCHES: usize = 5;
pub(crate) const ALL: &str =
    r#"{"groupFilters":[{"name":"*","patternType":"LITERAL","filterType":"INCLUDE"}]}"#;
/// The coordinator loads, or its topic is being made.
const NOT_YET: [i16; 3] = [14, 15, 16];
pub(crate) const MEMBER: &str = "AAAAAAAAQACAAAAAAAAAAA";
/// Groups as a resource type of ACLs.
const GROUP: i8 = 3;
/// So many groups at once.
const MANY: usize = 200;

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

/// Asks until the group is coordinated; to ask for a coordinator makes the topic that it needs.
pub(crate) fn settled<T>(hand: &Hand, name: &str, mut ask: impl FnMut() -> (i16, T)) -> (i16, T) {
    until(&format!("{name} has a coordinator"), || {
        let (code, answer) = ask();
        if NOT_YET.contains(&code) {
            let request = FindCoordinatorRequest::default().with_key(text(name));
            hand.ask_any(3, &request).unwrap();
            return None;
        }
        Some((code, answer))
    })
}

/// What a group has committed for a partition, and its leader epoch; -1 for nothing.
fn committed(hand: &Hand, name: &str, partition: i32) -> (i64, i32) {
    committed_of(hand, name, (TOPIC, partition))
}

pub(crate) fn committed_of(hand: &Hand, name: &str, (topic, partition): (&str, i32)) -> (i64, i32) {
    let topic = offset_fetch_request::OffsetFetchRequestTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partition_indexes(vec![partition]);
    let request = OffsetFetchRequest::default().with_group_id(group(name));
    let request = request.with_topics(Some(vec![topic]));
    let (code, answer) = settled(hand, name, || {
        let answer = hand.ask_any(7, &request).unwrap();
        (answer.error_code, answer)
    });
    assert_eq!(code, 0, "{name}");
    let one = &answer.topics[0].partitions[0];
    (one.committed_offset, one.committed_leader_epoch)
}

/// Sets an offset from outside, with an epoch as a consumer would.
fn commit(hand: &Hand, name: &str, partition: i32, offset: i64) {
    commit_of(hand, name, (TOPIC, partition), offset);
}

pub(crate) fn commit_of(hand: &Hand, name: &str, (topic, partition): (&str, i32), offset: i64) {
    let partition = offset_commit_request::OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(0)
        .with_committed_metadata(Some(text("by hand")));
    let topic = offset_commit_request::OffsetCommitRequestTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group(name))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let (code, _) = settled(hand, name, || {
        let answer = hand.ask_any(8, &request).unwrap();
        (answer.topics[0].partitions[0].error_code, ())
    });
    assert_eq!(code, 0, "{name}");
}

fn follows(stage: &Stage, name: &str, offset: i64) {
    until(&format!("{name} at {offset}"), || {
        (committed(&stage.destination, name, 0).0 == offset).then_some(())
    });
}

/// Reads so many records as a member of a group, and leaves it: partition and offset of each.
fn read(bootstrap: &str, name: &str, protocol: &str, count: usize) -> Vec<(i32, i64)> {
    let protocol = format!("group.protocol={protocol}");
    let count = count.to_string();
    let words = [
        "--bootstrap-server",
        bootstrap,
        "--topic",
        TOPIC,
        "--group",
        name,
        "--from-beginning",
        "--max-messages",
        &count,
        "--timeout-ms",
        "60000",
        "--consumer-property",
        &protocol,
        "--property",
        "print.partition=true",
        "--property",
        "print.offset=true",
        "--property",
        "print.value=false",
    ];
    let said = tool("org.apache.kafka.tools.consumer.ConsoleConsumer", &words).unwrap();
    places_of(&said)
}

/// Partition and offset of each line that Kafka's console consumers print.
pub(crate) fn places_of(said: &str) -> Vec<(i32, i64)> {
    let number = |line: &str, what: &str| {
        let after = line.split(what).nth(1)?;
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<i64>().ok()
    };
    let lines = said
        .lines()
        .filter_map(|line| Some((number(line, "Partition:")? as i32, number(line, "Offset:")?)));
    lines.collect()
}

/// The same by franz-go or aiokafka.
fn read_by(client: &str, bootstrap: &str, name: &str, count: usize) -> Vec<(i32, i64)> {
    let count = count.to_string();
    let run = Command::new(repo().join("protocol-tests/kafka/readers/run"))
        .args([client, "--bootstrap", bootstrap, "--topic", TOPIC, "--group", name])
        .args(["--count", &count])
        .output()
        .unwrap();
    assert!(run.status.success(), "{client}: {}", String::from_utf8_lossy(&run.stderr));
    let said = String::from_utf8(run.stdout).unwrap();
    let record = |line: &str| {
        let (partition, offset) = line.split_once(' ')?;
        Some((partition.parse().ok()?, offset.parse().ok()?))
    };
    said.lines().map(|line| record(line).unwrap()).collect()
}

/// The same by librdkafka.
fn read_by_librdkafka(bootstrap: &str, name: &str, count: usize) -> Vec<(i32, i64)> {
    let mut member = Command::new(peer("rk-group").unwrap())
        .args(["--bootstrap", bootstrap, "--topics", TOPIC, "--group", name])
        .args(["--max", &count.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // it ends when this is closed
    let _held = member.stdin.take();
    let run = member.wait_with_output().unwrap();
    assert!(run.status.success(), "{run:?}");
    let said = String::from_utf8(run.stdout).unwrap();
    let record = |line: &str| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    };
    said.lines().map(|line| record(line).unwrap()).collect()
}

/// A consumer that moves reads what it has not read, each record once, and skips none.
fn moves(stage: &Stage, client: &str, read: impl Fn(&str, &str, usize) -> Vec<(i32, i64)>) {
    let name = format!("moving-{client}");
    let (source, destination) = (stage.clusters.0.bootstrap(), stage.clusters.1.bootstrap());
    let before = read(source, &name, 33);
    assert_eq!(before.len(), 33);
    let left = [0, 1].map(|partition| committed(&stage.source, &name, partition).0);
    until(&format!("{name} is followed"), || {
        let there = [0, 1].map(|partition| committed(&stage.destination, &name, partition).0);
        (there == left).then_some(())
    });
    let all = BATCHES * 10 * 2;
    let after = read(destination, &name, all - 33);
    let seen: BTreeSet<(i32, i64)> = before.iter().chain(&after).copied().collect();
    assert_eq!(seen.len(), all, "{client}: each record, and none twice: {before:?} {after:?}");
    println!("{client} went on at the destination: {} records there", after.len());
}

fn is_in_use(isolog: &Operated, name: &str) {
    until(&format!("{name} is in use"), || {
        let seen = isolog.driver.registry.seen();
        let tasks = &seen.links.get(&link("dr"))?.tasks;
        let task = tasks.iter().find(|task| task.name == TaskName::ConsumerOffsetSync)?;
        let told = task.errors.iter().find(|(subject, _)| subject == name)?;
        (told.1.code == "CONSUMER_GROUP_IN_USE_ERROR").then_some(())
    });
}

/// A member of the classic protocol joins; its id.
fn join(hand: &Hand, name: &str) -> StrBytes {
    let protocol = join_group_request::JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]));
    let request = JoinGroupRequest::default()
        .with_group_id(group(name))
        .with_session_timeout_ms(60_000)
        .with_rebalance_timeout_ms(60_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    let (code, answer) = settled(hand, name, || {
        let answer = hand.ask_any(3, &request).unwrap();
        (answer.error_code, answer)
    });
    assert_eq!(code, 0, "{name}");
    answer.member_id
}

/// A member of KIP-848 joins (epoch 0) or leaves (epoch -1).
fn heartbeat(hand: &Hand, name: &str, epoch: i32) {
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group(name))
        .with_member_id(text(MEMBER))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![TopicName(text(TOPIC))]))
        .with_topic_partitions(Some(Vec::new()));
    let (code, _) = settled(hand, name, || (hand.ask_any(1, &request).unwrap().error_code, ()));
    assert_eq!(code, 0, "{name}");
}

fn members_are_left_alone(stage: &Stage, isolog: &Operated) {
    for name in ["busy", "busy-next"] {
        commit(&stage.source, name, 0, 3);
        follows(stage, name, 3);
    }
    let mut member = None;
    for name in ["busy", "busy-next"] {
        // whoever sends no heartbeat is a member for a session's time only
        match name {
            "busy" => member = Some(join(&stage.destination, "busy")),
            _ => heartbeat(&stage.destination, "busy-next", 0),
        }
        commit(&stage.source, name, 0, 9);
        is_in_use(isolog, name);
        assert_eq!(committed(&stage.destination, name, 0).0, 3, "{name}");
    }
    let leave =
        LeaveGroupRequest::default().with_group_id(group("busy")).with_member_id(member.unwrap());
    assert_eq!(stage.destination.ask_any(2, &leave).unwrap().error_code, 0);
    heartbeat(&stage.destination, "busy-next", -1);
    for name in ["busy", "busy-next"] {
        follows(stage, name, 9);
    }
}

fn set_from_outside(stage: &Stage) {
    commit(&stage.source, "simple", 0, 7);
    commit(&stage.source, "zero", 0, 0);
    follows(stage, "simple", 7);
    follows(stage, "zero", 0);
    assert_eq!(committed(&stage.destination, "simple", 0).1, -1, "no epoch of another cluster");
    assert_eq!(committed(&stage.destination, "simple", 1).0, -1, "none there, none here");
    // the source's group is reset
    commit(&stage.source, "simple", 0, 4);
    follows(stage, "simple", 4);
    commit(&stage.source, "simple", 0, 7);
    follows(stage, "simple", 7);
}

fn raised_as_the_mirror_catches_up(stage: &Stage, isolog: &Operated) {
    isolog.mirrors("dr", TOPIC, MirrorVerb::Pause);
    isolog.wait_status("dr", TOPIC, Status::Paused);
    let (_, end) = stage.destination.ends(TOPIC, 0).unwrap();
    (0..BATCHES).for_each(|_| stage.write(TOPIC, 0));
    commit(&stage.source, "ahead", 0, end + 25);
    follows(stage, "ahead", end);
    sleep(Duration::from_secs(3));
    assert_eq!(committed(&stage.destination, "ahead", 0).0, end);
    isolog.mirrors("dr", TOPIC, MirrorVerb::Resume);
    follows(stage, "ahead", end + 25);
}

/// A restart takes nothing back, and what the destination has forgotten comes back.
fn gone_on_with(stage: &Stage, isolog: Operated, again: impl Fn() -> Operated) -> Operated {
    isolog.kill();
    commit(&stage.source, "simple", 0, 2);
    commit(&stage.source, "zero", 0, 5);
    let isolog = again();
    follows(stage, "zero", 5);
    sleep(Duration::from_secs(3));
    assert_eq!(committed(&stage.destination, "simple", 0).0, 7, "no offset goes back");
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![group("simple")]);
    let deleted = stage.destination.ask_any(2, &delete).unwrap();
    assert_eq!(deleted.results[0].error_code, 0);
    follows(stage, "simple", 2);
    isolog
}

fn many(stage: &Stage) {
    let names: Vec<String> = (0..MANY).map(|n| format!("many-{n}")).collect();
    names.iter().for_each(|name| commit(&stage.source, name, 0, 11));
    names.iter().for_each(|name| follows(stage, name, 11));
}

#[test]
fn groups_are_followed() {
    let _room = room(2);
    let stage = Stage::start();
    stage.source.create(TOPIC, 2, 1, &[]).unwrap();
    for partition in 0..2 {
        (0..BATCHES).for_each(|_| stage.write(TOPIC, partition));
    }
    let start = || Operated::start(&stage.clusters.1, "");
    let isolog = start();
    let more = [
        ("consumer.offset.sync.enable", "true"),
        ("consumer.offset.sync.ms", "1000"),
        ("consumer.offset.group.filters", ALL),
    ];
    isolog.create_link("dr", stage.clusters.0.bootstrap(), &more);
    isolog.create_mirror("dr", TOPIC);
    (0..2).for_each(|partition| stage.copied(TOPIC, TOPIC, partition));
    set_from_outside(&stage);
    for protocol in ["classic", "consumer"] {
        let read = |at: &str, name: &str, count| read(at, name, protocol, count);
        moves(&stage, protocol, read);
    }
    moves(&stage, "librdkafka", read_by_librdkafka);
    for client in ["member", "aio_member"] {
        let read = |at: &str, name: &str, count| read_by(client, at, name, count);
        moves(&stage, client, read);
    }
    members_are_left_alone(&stage, &isolog);
    let isolog = gone_on_with(&stage, isolog, start);
    many(&stage);
    raised_as_the_mirror_catches_up(&stage, &isolog);
}

/// A consumer that stops at the source a moment before the promote goes on at the destination, each
/// record once, although no turn was due since; no group is set behind the seal.
#[test]
fn a_promote_takes_over_what_groups_committed_last() {
    let _room = room(2);
    let stage = Stage::start();
    stage.source.create(TOPIC, 2, 1, &[]).unwrap();
    for partition in 0..2 {
        (0..BATCHES).for_each(|_| stage.write(TOPIC, partition));
    }
    let isolog = Operated::start(&stage.clusters.1, "");
    let more = [
        ("consumer.offset.sync.enable", "true"),
        ("consumer.offset.sync.ms", "86400000"),
        ("consumer.offset.group.filters", ALL),
    ];
    isolog.create_link("dr", stage.clusters.0.bootstrap(), &more);
    isolog.create_mirror("dr", TOPIC);
    (0..2).for_each(|partition| stage.copied(TOPIC, TOPIC, partition));
    until("the only turn", || isolog.driver.links().first()?.status().groups?.at);
    let (source, destination) = (stage.clusters.0.bootstrap(), stage.clusters.1.bootstrap());
    let before = read(source, "mover", "consumer", 33);
    let left = [0, 1].map(|partition| committed(&stage.source, "mover", partition).0);
    let (_, end) = stage.source.ends(TOPIC, 0).unwrap();
    commit(&stage.source, "far", 0, end + 25);
    let there = |name| [0, 1].map(|partition| committed(&stage.destination, name, partition).0);
    assert_eq!(there("mover"), [-1, -1], "no turn since");
    isolog.mirrors("dr", TOPIC, MirrorVerb::Stop { how: How::Promote, deadline_ms: None });
    isolog.wait_status("dr", TOPIC, Status::Stopped);
    assert_eq!(there("mover"), left);
    assert_eq!(there("far"), [end, -1]);
    let last = isolog.seen("dr", TOPIC).unwrap().row.last_sync.unwrap();
    assert_eq!((last.synced, last.clamped, last.left_count()), (1, 1, Some(0)), "{last:?}");
    let next = Build::plain(now_ms(), "next", 10);
    assert_eq!(stage.destination.produce(TOPIC, 0, &next).unwrap(), end + 1);
    let all = BATCHES * 10 * 2 + 10;
    let after = read(destination, "mover", "consumer", all - 33);
    let seen: BTreeSet<(i32, i64)> = before.iter().chain(&after).copied().collect();
    assert_eq!(seen.len(), all, "each record, and none twice: {before:?} {after:?}");
}

/// A share group is followed too; REST and the command line say that it is one.
fn kinds_are_shown(isolog: &Isolog, destination: &Hand) {
    until("sharing starts at 6", || {
        (shares::start(destination, "sharing", (TOPIC, 0)) == 6).then_some(())
    });
    let url = format!("http://127.0.0.1:{}", isolog.port());
    let ask = |words: &[&str]| {
        let mut command = Command::new(isolog_binary().unwrap());
        command.arg("group").args(words).args(["-o", "json", "--url", &url]);
        let told = command.output().unwrap();
        assert!(told.status.success(), "{words:?}: {told:?}");
        serde_json::from_slice::<Value>(&told.stdout).unwrap()
    };
    let rows = |found: &Value| {
        let rows = found.as_array().unwrap().iter();
        let rows = rows.map(|row| (row["group"].to_string(), row["group_type"].to_string()));
        rows.collect::<BTreeSet<_>>()
    };
    let pair = |group: &str, kind: &str| (format!("{group:?}"), format!("{kind:?}"));
    let both = BTreeSet::from([pair("billing", "consumer"), pair("sharing", "share")]);
    assert_eq!(rows(&ask(&["list"])), both);
    assert_eq!(rows(&isolog.get("/v1/groups").unwrap()), both);
    let one = ask(&["describe", "sharing"]);
    assert_eq!(rows(&one), BTreeSet::from([pair("sharing", "share")]), "{one}");
    assert_eq!([&one[0]["source_offset"], &one[0]["mirror_offset"]], [6, 6], "{one}");
}

/// `isolog group diff`, as a script asks, and its exit code.
fn diff(isolog: &Isolog, words: &[&str], code: i32) -> Value {
    let mut command = Command::new(isolog_binary().unwrap());
    let url = format!("http://127.0.0.1:{}", isolog.port());
    command.args(["group", "diff", "-o", "json", "--url", &url]).args(words);
    let told = command.output().unwrap();
    assert_eq!(told.status.code(), Some(code), "{words:?}: {told:?}");
    serde_json::from_slice(&told.stdout).unwrap()
}

/// Of groups that are not followed, and of one that nobody knows.
fn reasons_are_told(isolog: &Isolog) {
    diff(isolog, &["billing", "nobody"], 4);
    let why = |name: &str| diff(isolog, &[name], 4)[0]["against"].to_string();
    assert!(why("nobody").contains("the source lists no such group"), "{}", why("nobody"));
    assert!(why("connect-x").contains("consumer.offset.group.filters"), "{}", why("connect-x"));
    let url = format!("http://127.0.0.1:{}", isolog.port());
    let mut command = Command::new(isolog_binary().unwrap());
    command.args(["group", "forget", "nosuch", "--link", "dr", "--url", &url]);
    let told = command.output().unwrap();
    let said = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success() && said.contains("follows no group nosuch now"), "{told:?}");
    assert!(why("nosuch").contains("`isolog group follow nosuch --link dr`"), "{}", why("nosuch"));
}

/// With exactly the rights that `check` prints groups are followed, and a right that is taken away
/// is named until it is there again.
#[test]
fn the_printed_rights_are_enough_for_groups() {
    let _room = room(2);
    let safe = Safe::new("group-rights").unwrap();
    let clusters: [RealCluster; 2] = guarded_logins(&safe).into();
    let hands = clusters.each_ref().map(|cluster| Hand::new(cluster.bootstrap()));
    hands[0].create(TOPIC, 1, 1, &[]).unwrap();
    hands[0].produce(TOPIC, 0, &Build::plain(now_ms(), "x", 10)).unwrap();
    commit(&hands[0], "billing", 0, 7);
    shares::set(&hands[0], "sharing", (TOPIC, 0), 6);
    let ways = safe.ways();
    let (_, port, login) = ways.iter().find(|way| way.0 == "SASL_SSL-SCRAM-SHA-512").unwrap();
    let at = clusters.each_ref().map(|one| format!("127.0.0.1:{}", one.secure_ports()[*port]));
    let mut spec = IsologSpec::new(&at[0], &at[1], &[TOPIC]);
    spec.link_more.push_str(login);
    spec.destination_more.push_str(login);
    let follow = format!(
        "consumer.offset.sync.enable = true\nconsumer.offset.sync.ms = 1000\n\
         consumer.offset.group.filters = '{ALL}'\n"
    );
    spec.link_more.push_str(&follow);
    let (_, report) = check(&spec, &[]);
    let said = report["findings"].as_array().unwrap().iter();
    let told = said.filter_map(|one| one["text"].as_str()?.split_once("needed at the "));
    let told = told.filter_map(|(_, text)| Some(text.split_once(": ")?.1.to_owned()));
    let told: Vec<String> = told.collect();
    assert_eq!(told.len(), 2, "one line for each side: {report}");
    for line in grants(&report).into_iter().chain(told) {
        let side = usize::from(line.contains(&at[1]));
        obey(&line.replace(&at[side], clusters[side].bootstrap()));
    }
    let isolog = Isolog::start(&spec).unwrap();
    isolog.wait_copied(TOPIC, 0, 10);
    let follows = |offset| {
        until(&format!("billing at {offset}"), || {
            (committed(&hands[1], "billing", 0).0 == offset).then_some(())
        });
    };
    follows(7);
    kinds_are_shown(&isolog, &hands[1]);
    // nothing changes and nobody is a member: after an interval it may move
    let told = diff(&isolog, &["billing", "--wait", "--timeout", "60"], 0);
    assert_eq!((&told[0]["verdict"], &told[0]["mirror_lag"]), (&json!("MOVES"), &json!(0)));
    let offset = &told[0]["offsets"][0];
    assert_eq!([&offset["source_offset"], &offset["mirror_offset"]], [7, 7], "{told}");
    assert_eq!([&offset["source_end"], &offset["mirror_end"]], [10, 10], "{told}");
    diff(&isolog, &["--all", "--link", "dr"], 4);
    reasons_are_told(&isolog);
    let every = (GROUP, "*", LITERAL);
    hands[1].disallow_on(every, ALICE, Operation::Read).unwrap();
    let mut offset = 8;
    isolog.wait_for("the right is named", 60, |isolog| {
        // the broker may not know yet, and let one more turn in
        offset = if offset == 9 { 8 } else { 9 };
        commit(&hands[0], "billing", 0, offset);
        let links = isolog.get("/v1/links")?;
        let troubles = links[0]["troubles"].as_array()?.iter();
        let told = troubles.filter(|one| one["code"] == "CONSUMER_OFFSETS_NOT_SYNCED");
        let told: Vec<String> = told.map(|one| one["reason"].to_string()).collect();
        told.iter().any(|one| one.contains("GROUP_AUTHORIZATION_FAILED (30)")).then_some(())
    });
    let told = diff(&isolog, &["billing"], 7);
    assert!(told[0]["against"].to_string().contains("GROUP_AUTHORIZATION_FAILED"), "{told}");
    diff(&isolog, &["billing", "--wait", "--timeout", "2"], 6);
    let held = committed(&hands[1], "billing", 0).0;
    commit(&hands[0], "billing", 0, 10);
    sleep(Duration::from_secs(3));
    assert_eq!(committed(&hands[1], "billing", 0).0, held);
    hands[1].allow_on(every, ALICE, &[Operation::Read]).unwrap();
    follows(10);
}

/// Commits offset 0 of so many partitions in one request.
fn commit_zeros(hand: &Hand, name: &str, topic: &str, partitions: i32) {
    let partition = |index| {
        offset_commit_request::OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(0)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(Some(text("")))
    };
    let topic = offset_commit_request::OffsetCommitRequestTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partitions((0..partitions).map(partition).collect());
    let request = OffsetCommitRequest::default()
        .with_group_id(group(name))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let (code, _) = settled(hand, name, || {
        let answer = hand.ask_any(8, &request).unwrap();
        (answer.topics[0].partitions[0].error_code, ())
    });
    assert_eq!(code, 0, "{name}");
}

/// `ISOLOG_GROUPS=full`: 1,000 groups over 200 partitions; prints how long that took.
#[test]
fn many_groups_over_many_partitions_are_followed() {
    let _room = room(2);
    let is_full = std::env::var("ISOLOG_GROUPS").is_ok_and(|text| text == "full");
    let (groups, partitions) = if is_full { (1_000, 200) } else { (100, 50) };
    let stage = Stage::start();
    stage.source.create("g-wide", partitions, 1, &[]).unwrap();
    for n in 0..groups {
        commit_zeros(&stage.source, &format!("wide-{n}"), "g-wide", partitions);
    }
    let isolog = Operated::start(&stage.clusters.1, "");
    let more = [
        ("consumer.offset.sync.enable", "true"),
        ("consumer.offset.sync.ms", "1000"),
        ("consumer.offset.group.filters", ALL),
    ];
    isolog.create_link("dr", stage.clusters.0.bootstrap(), &more);
    isolog.create_mirror("dr", "g-wide");
    isolog.wait_status("dr", "g-wide", Status::Active);
    let began = Instant::now();
    let all = groups * partitions as u64;
    until("all are committed", || {
        let seen = isolog.driver.links().first()?.status().groups?;
        let mut stands = seen.told.values().flat_map(|told| told.stands.values());
        let is_level =
            stands.clone().count() as u64 == all && stands.all(|one| one.word() == "synced");
        (is_level && seen.committed >= all && seen.followed == groups).then_some(())
    });
    let took = began.elapsed().as_millis();
    println!("{groups} groups over {partitions} partitions: {all} offsets after {took} ms");
}
