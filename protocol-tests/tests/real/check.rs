//! `isolog check` on real Kafka: what it says of topics before anything is written, and of rights
//! that are missing.
//!
//! It never skips.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use protocol_tests::broker::batch::Build;
use protocol_tests::real::CLUSTER;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::LITERAL;
use protocol_tests::real::Operation;
use protocol_tests::real::PREFIXED;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::TOPIC;
use protocol_tests::real::isolog_once;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;
use protocol_tests::real::tool;
use protocol_tests::secure::ways::Safe;
use protocol_tests::secure::ways::make_account;
use serde_json::Value;

const NO_LIMIT: &str = "9223372036854775807";

/// Checks until a right that was taken or given is seen: each takes about a second.
const TRIES_MAX: usize = 30;

fn write(hand: &Hand, topic: &str, time_ms: i64, configs: &[(&str, &str)]) {
    hand.create(topic, 1, 1, configs).unwrap();
    for n in 0..5 {
        hand.produce(topic, 0, &Build::plain(time_ms, &format!("{topic}-{n}"), 10)).unwrap();
    }
}

/// `ISOLOG_CHECK=full`: the account that logs in loses each right once as well, which takes a
/// minute and a half more.
fn is_full() -> bool {
    std::env::var("ISOLOG_CHECK").is_ok_and(|text| text == "full")
}

/// Exit code and report.
pub(super) fn check(spec: &IsologSpec, more: &[&str]) -> (i32, Value) {
    let mut args = vec!["check", "--json"];
    args.extend(more);
    let output = isolog_once(spec, &args).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let reports: Value =
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {said}{text}"));
    (output.status.code().unwrap(), reports[0].clone())
}

fn topic<'a>(report: &'a Value, name: &str) -> &'a Value {
    let all = report["topics"].as_array().unwrap();
    all.iter().find(|one| one["topic"] == name).unwrap_or_else(|| panic!("no {name}: {report}"))
}

/// The level of a topic, and that a finding has the words.
fn says(report: &Value, name: &str, level: &str, words: &str) {
    let one = topic(report, name);
    assert_eq!(one["level"], level, "{one}");
    assert!(one["findings"].to_string().contains(words), "{words:?} is missing in {one}");
}

fn prepare(hands: &[Hand; 2]) {
    let [ours, theirs] = hands;
    let (now, month) = (now_ms(), 30 * 86_400_000);
    let mirror = ("message.timestamp.after.max.ms", NO_LIMIT);
    let forever = ("retention.ms", "-1");
    for name in ["c-exact", "c-codec", "c-ahead", "c-foreign", "c-wide"] {
        write(ours, name, now, &[]);
    }
    write(ours, "c-trimmed", now, &[]);
    ours.delete_records("c-trimmed", 0, 25).unwrap();
    write(ours, "c-old", now - month, &[forever]);
    write(theirs, "c-codec", now, &[("compression.type", "zstd")]);
    write(theirs, "c-ahead", now, &[mirror]);
    theirs.produce("c-ahead", 0, &Build::plain(now, "more", 1)).unwrap();
    theirs.create("c-foreign", 1, 1, &[mirror]).unwrap();
    theirs.produce("c-foreign", 0, &Build::plain(now, "not ours", 3)).unwrap();
    theirs.create("c-wide", 2, 1, &[mirror]).unwrap();
    theirs.create("c-old", 1, 1, &[mirror, ("retention.ms", "86400000")]).unwrap();
}

fn topics_are_judged(version: &str) {
    let (source, destination) = RealCluster::plain_pair(version).unwrap();
    let hands = [Hand::new(source.bootstrap()), Hand::new(destination.bootstrap())];
    prepare(&hands);
    let spec = IsologSpec::new(source.bootstrap(), destination.bootstrap(), &["c-*"]);
    let (code, report) = check(&spec, &[]);
    assert_eq!((code, &report["level"]), (5, &Value::from("impossible")), "{report}");
    assert_eq!(topic(&report, "c-exact")["level"], "exact", "{report}");
    says(&report, "c-codec", "impossible", "compression.type is zstd");
    says(&report, "c-ahead", "impossible", "ends at 51, the source at 50");
    says(&report, "c-foreign", "impossible", "something else at offset 0 already");
    says(&report, "c-wide", "exact", "has 2 partitions, the source 1: what both have is copied");
    says(&report, "c-old", "impossible", "as soon as they land: raise it");
    says(&report, "c-old", "impossible", "producer.id.expiration.ms");
    let trimmed = topic(&report, "c-trimmed");
    assert_eq!(trimmed["level"], "exact_with_fillers", "{trimmed}");
    let counted = (&trimmed["fillers"]["count"], &trimmed["fillers"]["is_counted"]);
    assert_eq!(counted, (&Value::from(25), &Value::from(true)), "{trimmed}");
    for side in 0..2 {
        let one = &report["clusters"][side];
        assert_eq!(one["grants"], Value::Array(vec![]), "{one}");
        assert!(one["excess"].to_string().contains("no authorizer"), "{one}");
        let clock_ms = one["clock_ms"].as_i64().unwrap();
        assert!(clock_ms.abs() < 2_000, "one machine has one clock: {clock_ms}");
        assert!(one["brokers"][0]["apis"]["Fetch"].is_array(), "{one}");
    }
    // nothing was made by asking
    assert!(hands[1].ends("c-exact", 0).is_err(), "check made a topic");
    let (code, report) = check(&spec, &["--topic", "c-exact", "--deep"]);
    assert_eq!((code, &report["level"]), (0, &Value::from("exact")), "{report}");
    let (code, _) = check(&spec, &["--topic", "c-trimmed"]);
    assert_eq!(code, 3);
    nothing_is_never_equal(&spec);
}

/// What is not there, or not mirrored, was not compared.
fn nothing_is_never_equal(spec: &IsologSpec) {
    let ends = |words: &[&str], code: i32, says: &str| {
        let output = isolog_once(spec, words).unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(said.contains(says), "{words:?}: {said}");
    };
    let foreign = "does not mirror topic zzz";
    ends(&["verify", "--topic", "c-exact", "--topic", "zzz"], 1, foreign);
    ends(&["digest", "--side", "source", "--topic", "zzz"], 1, foreign);
    let absent = "the source does not have it, or does not show it";
    ends(&["verify", "--topic", "c-none"], 4, absent);
    ends(&["digest", "--side", "source", "--topic", "c-none"], 4, absent);
}

#[test]
fn every_topic_is_judged_before_anything_is_written() {
    let _room = room(2);
    topics_are_judged("4.3.1");
    topics_are_judged("3.9.1");
}

/// Who cannot be reached is unknown, and says so.
#[test]
fn a_cluster_that_is_not_there_is_unknown() {
    let mut spec = IsologSpec::new("127.0.0.1:1", "127.0.0.1:2", &["c-*"]);
    spec.link_more.push_str("socket.connection.setup.timeout.ms = 500\n");
    let (code, report) = check(&spec, &[]);
    assert_eq!((code, &report["level"]), (4, &Value::from("unknown")), "{report}");
    let said = report["findings"].to_string();
    assert!(said.contains("127.0.0.1:1") && said.contains("127.0.0.1:2"), "{said}");
}

/// A cluster with rights, in which nobody may do anything with topics but by a rule. The brokers
/// and we ourselves are the same anonymous principal: the cluster's own rights are given first.
fn guarded() -> RealSpec {
    let authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
    RealSpec::new("4.3.1", 1)
        .prop("authorizer.class.name", authorizer)
        .prop("allow.everyone.if.no.acl.found", "true")
}

const US: &str = "User:ANONYMOUS";
pub(super) const ALICE: &str = "User:alice";

fn lock(hand: &Hand) {
    let ours = [Operation::Alter, Operation::ClusterAction, Operation::Describe];
    hand.allow_on((CLUSTER, "kafka-cluster", LITERAL), US, &ours).unwrap();
    hand.allow_on((TOPIC, "*", LITERAL), "User:nobody", &[Operation::Read]).unwrap();
}

/// A cluster in which the plaintext listener is the administrator's, and whoever logs in under TLS
/// may do nothing but by a rule.
pub(super) fn guarded_logins(safe: &Safe) -> (RealCluster, RealCluster) {
    let authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
    let spec = RealSpec { secure: Some(safe.dir.clone()), ..RealSpec::new("4.3.1", 1) };
    let spec = spec.prop("authorizer.class.name", authorizer).prop("super.users", ADMIN);
    let both = RealCluster::both(spec.clone(), spec).unwrap();
    make_account(&Hand::new(both.0.bootstrap())).unwrap();
    make_account(&Hand::new(both.1.bootstrap())).unwrap();
    both
}

/// Whom the plaintext listener takes us for.
const ADMIN: &str = "User:ANONYMOUS";

/// Runs a printed line with Kafka's own tool.
pub(super) fn obey(line: &str) {
    let words = line.replace('\'', "");
    let mut words = words.split_whitespace();
    assert_eq!(words.next(), Some("kafka-acls.sh"));
    let words: Vec<&str> = words.collect();
    tool("org.apache.kafka.tools.AclCommand", &words).unwrap();
}

pub(super) fn grants(report: &Value) -> Vec<String> {
    let sides = report["clusters"].as_array().unwrap().iter();
    let lines = sides.flat_map(|side| side["grants"].as_array().unwrap().clone());
    lines.map(|line| line.as_str().unwrap().to_owned()).collect()
}

/// No right is missing any more: a broker hears of what was granted a moment later.
fn wait_enough(spec: &IsologSpec) {
    let is_enough = |seen: &(i32, Value)| seen.0 == 0 && grants(&seen.1).is_empty();
    let enough = (0..TRIES_MAX).any(|_| is_enough(&check(spec, &[])));
    assert!(enough, "rights are missing still: {}", check(spec, &[]).1);
}

/// With exactly the rights that are printed isolog runs, and each one that is taken away is named.
#[test]
fn the_printed_rights_are_enough_and_each_missing_one_is_named() {
    let _room = room(2);
    let (source, destination) = RealCluster::both(guarded(), guarded()).unwrap();
    let hands = [Hand::new(source.bootstrap()), Hand::new(destination.bootstrap())];
    write(&hands[0], "r-one", now_ms(), &[]);
    write(&hands[0], "r-two", now_ms(), &[]);
    hands.iter().for_each(lock);
    // a prefix hides what may not be described; a name is asked for
    let spec = IsologSpec::new(source.bootstrap(), destination.bootstrap(), &["r-one", "r-two"]);
    let (code, report) = check(&spec, &[]);
    assert_eq!(code, 5, "{report}");
    let lines = grants(&report);
    assert_eq!(lines.len(), 5, "two topics on each side, and the journal: {lines:#?}");
    lines.iter().for_each(|line| obey(line));
    wait_enough(&spec);

    each_right_is_named_when_it_is_missing(&hands, &spec, US);
    let isolog = Isolog::start(&spec).unwrap();
    isolog.wait_copied("r-one", 0, 50);
    isolog.wait_copied("r-two", 0, 50);
    drop(isolog);
    // the same once the topics are there, when the broker itself tells the rights
    each_right_is_named_when_it_is_missing(&hands, &spec, US);
}

/// The same for an account that logs in under TLS; and what it loses while isolog runs stops the
/// topic that it was for, until it is given back (F38, F39 of checks.md).
#[test]
fn an_account_needs_what_is_printed_and_loses_a_topic_with_its_right() {
    let _room = room(2);
    let safe = Safe::new("rights").unwrap();
    let clusters: [RealCluster; 2] = guarded_logins(&safe).into();
    let hands = clusters.each_ref().map(|cluster| Hand::new(cluster.bootstrap()));
    write(&hands[0], "r-one", now_ms(), &[]);
    write(&hands[0], "r-two", now_ms(), &[]);
    let ways = safe.ways();
    let (_, port, lines) = ways.iter().find(|way| way.0 == "SASL_SSL-SCRAM-SHA-512").unwrap();
    let at = clusters.each_ref().map(|one| format!("127.0.0.1:{}", one.secure_ports()[*port]));
    let mut spec = IsologSpec::new(&at[0], &at[1], &["r-one", "r-two"]);
    spec.link_more.push_str(lines);
    spec.destination_more.push_str(lines);
    let (code, report) = check(&spec, &[]);
    assert_eq!(code, 5, "{report}");
    let lines = grants(&report);
    assert_eq!(lines.len(), 5, "two topics on each side, and the journal: {lines:#?}");
    for line in lines {
        assert!(line.contains(&format!("'{ALICE}'")), "{line}");
        let side = usize::from(line.contains(&at[1]));
        // where an administrator gets in
        obey(&line.replace(&at[side], clusters[side].bootstrap()));
    }
    wait_enough(&spec);
    if is_full() {
        each_right_is_named_when_it_is_missing(&hands, &spec, ALICE);
    }

    let isolog = Isolog::start(&spec).unwrap();
    isolog.wait_copied("r-one", 0, 50);
    isolog.wait_copied("r-two", 0, 50);
    let mut end = 50;
    for (side, operation) in [(0, Operation::Read), (1, Operation::Write)] {
        let place = (TOPIC, "r-two", LITERAL);
        hands[side].disallow_on(place, ALICE, operation).unwrap();
        // the broker has heard of it; then a fetch that it let in before is over, too
        isolog.wait_for("the right is missing", 60, |_| (check(&spec, &[]).0 == 5).then_some(()));
        if side == 0 {
            wait_refused(&isolog);
        }
        end += 10;
        for topic in ["r-one", "r-two"] {
            hands[0].produce(topic, 0, &Build::plain(now_ms(), "later", 10)).unwrap();
        }
        wait_refused(&isolog);
        isolog.wait_copied("r-one", 0, end);
        assert_eq!(hands[1].ends("r-two", 0).unwrap().1, end - 10);
        hands[side].allow_on(place, ALICE, &[operation]).unwrap();
        isolog.wait_copied("r-two", 0, end);
    }
    assert!(!isolog.log().contains("alice-secret"));
}

fn wait_refused(isolog: &Isolog) {
    isolog.wait_for("r-two is refused", 60, |isolog| {
        let seen = isolog.partition("r-two", 0)?;
        seen.reason.contains("TOPIC_AUTHORIZATION_FAILED").then_some(())
    });
}

/// Takes one right after the other away.
fn each_right_is_named_when_it_is_missing(hands: &[Hand; 2], spec: &IsologSpec, who: &str) {
    use Operation::*;
    let exists = hands[1].ends("r-one", 0).is_ok();
    let table: [(usize, &str, &[Operation]); 3] = [
        (0, "r-one", &[Read, DescribeConfigs]),
        (1, "r-one", &[Read, Write, Create, Delete, Alter, AlterConfigs]),
        (1, "__isolog", &[Read, Write, Create]),
    ];
    for (side, topic, operations) in table {
        for operation in operations {
            let place = (TOPIC, topic, LITERAL);
            let taken = hands[side].disallow_on(place, who, *operation);
            taken.unwrap_or_else(|error| panic!("{side} {topic} {operation:?}: {error}"));
            let right = format!("--operation {operation:?} --topic '{topic}'");
            let is_told = *operation != Create || !exists;
            // the broker hears of a right that came or went a moment later
            let is_so = |(code, lines): &(i32, Vec<String>)| match is_told {
                true => *code == 5 && lines.len() == 1 && lines[0].ends_with(&right),
                false => lines.is_empty(),
            };
            let mut tries = (0..TRIES_MAX).map(|_| {
                let (code, report) = check(spec, &[]);
                (code, grants(&report))
            });
            let seen: Result<_, _> = match tries.find(is_so) {
                Some(found) => Ok(found),
                None => Err(check(spec, &[])),
            };
            hands[side].allow_on(place, who, &[*operation]).unwrap();
            assert!(seen.is_ok(), "{operation:?} on {topic} at side {side}: {seen:?}");
        }
    }
    wait_enough(spec);
}

/// Rights beyond need are named; a prefix is granted as a prefix.
#[test]
fn rights_in_excess_are_named_and_prefixes_are_granted_as_such() {
    let _room = room(2);
    let (source, destination) = RealCluster::both(guarded(), guarded()).unwrap();
    let hands = [Hand::new(source.bootstrap()), Hand::new(destination.bootstrap())];
    write(&hands[0], "r-one", now_ms(), &[]);
    hands.iter().for_each(lock);
    let prefix = (TOPIC, "r-", PREFIXED);
    let given = [Operation::Read, Operation::DescribeConfigs, Operation::Write];
    hands[0].allow_on(prefix, US, &given).unwrap();
    let spec = IsologSpec::new(source.bootstrap(), destination.bootstrap(), &["r-*", "u-*"]);
    let (_, report) = check(&spec, &[]);
    let excess = report["clusters"][0]["excess"].to_string();
    assert!(excess.contains("Write on topic r-one"), "{excess}");
    assert!(excess.contains("Alter, ClusterAction on the cluster"), "{excess}");
    let lines = grants(&report);
    let right = "--operation Read --operation Write --operation Create --operation Delete \
                 --operation Alter --operation AlterConfigs --topic 'r-' --resource-pattern-type \
                 prefixed";
    assert!(lines.iter().any(|line| line.ends_with(right)), "{lines:#?}");
    // a prefix of which nothing is seen: at both sides
    let unseen = lines.iter().filter(|line| line.contains("--topic 'u-' --resource-pattern-type"));
    assert_eq!(unseen.count(), 2, "{lines:#?}");
}
