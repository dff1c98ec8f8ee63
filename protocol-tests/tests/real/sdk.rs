//! The published Go SDK of Kafka's REST v3, as it is, against a running isolog between two real
//! Kafkas: every call for links and mirror topics that this version has.
//!
//! It never skips, and changes nothing of the SDK.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::path::Path;
use std::process::Command;

use protocol_tests::broker::batch::Build;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::RealCluster;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;
use serde_json::json;

use crate::served::Program;

/// What is to come of each call: its status, and what the program shows of its answer.
const RIGHT: &[&str] = &[
    "GetKafkaCluster 200 true",
    "CreateKafkaLink, dry 204",
    "GetKafkaLink, none 404",
    "CreateKafkaLink 204",
    "CreateKafkaLink, again 409",
    "ListKafkaLinks 200 1",
    "GetKafkaLink 200 sdk 5 true",
    "UpdateKafkaLinkConfig 204",
    "GetKafkaLinkConfigs 200 2000",
    "DeleteKafkaLinkConfig 204",
    "UpdateKafkaLinkConfigBatch 204",
    "GetKafkaLinkConfigs, dry 200 true 10000",
    "UpdateKafkaLinkConfigBatch 204",
    "GetKafkaLinkConfigs, dry 200 false 3000",
    "ListKafkaLinkConfigs 200 true",
    "UpdateKafkaLinkConfig, immutable 400",
    "CreateKafkaMirrorTopic 204",
    "ReadKafkaMirrorTopic 200 ACTIVE true",
    "ListKafkaMirrorTopics 200 1",
    "ListKafkaMirrorTopicsUnderLink 200 1",
    "UpdateKafkaMirrorTopicsPause 200 0 404",
    "UpdateKafkaMirrorTopicsResume 200 0 404",
    "DeleteKafkaLink, with a mirror topic 400",
    "UpdateKafkaMirrorTopicsPromote, dry 200 0 404",
    "UpdateKafkaMirrorTopicsPromote 200 0 404",
    "UpdateKafkaMirrorTopicsFailover 200 0 404",
    "ReadKafkaMirrorTopic, stopped 200 STOPPED",
    "UpdateKafkaMirrorTopicsPromote, stopped 200 400 404",
    "DeleteKafkaTopic 204",
    "ReadKafkaMirrorTopic, deleted 404",
    "UpdateKafkaMirrorTopicsTruncateAndRestoreMirror 200 0 404 0 1",
    "UpdateKafkaMirrorTopicsTruncateAndRestoreMirror 200 0 404 0 1",
    "ReadKafkaMirrorTopic, back 200 ACTIVE",
    "UpdateKafkaMirrorTopicsReverseAndStartMirror, dry 200 0 404",
    "UpdateKafkaMirrorTopicsFailover, dry 200 0 404",
    "ReadKafkaMirrorTopic, back 200 ACTIVE",
    "UpdateKafkaMirrorTopicsReverseAndPauseMirror 200 0 404",
    "ReadKafkaMirrorTopic, back 200 STOPPED",
    "DeleteKafkaLink 200",
];

/// A topic of the destination, and its former mirror at the source.
const BACK: &str = "sdk-back";

/// Promoted at the source by an isolog beside that one.
fn has_a_former_mirror(source: &RealCluster, destination: &RealCluster) {
    let hand = Hand::new(destination.bootstrap());
    hand.create(BACK, 1, 1, &[]).unwrap();
    hand.produce(BACK, 0, &Build::plain(now_ms(), "back", 10)).unwrap();
    let program = Program::start(source);
    let bootstrap = json!({ "name": "bootstrap.servers", "value": destination.bootstrap() });
    program.order("POST", "?link_name=dr", Some(&json!({ "configs": [bootstrap] })));
    program.order("POST", "/dr/mirrors", Some(&json!({ "source_topic_name": BACK })));
    let names = json!({ "mirror_topic_names": [BACK] });
    program.order("POST", "/dr/mirrors:promote", Some(&names));
    let is = |_: &Isolog| (program.status(BACK)? == "STOPPED").then_some(());
    program.isolog.wait_for("it is STOPPED", 60, is);
}

#[test]
fn the_published_sdk_drives_links_and_mirror_topics() {
    let _room = room(2);
    let (source, destination) = RealCluster::plain_pair("4.3.1").unwrap();
    let hand = Hand::new(source.bootstrap());
    hand.create("sdk-one", 2, 1, &[]).unwrap();
    for partition in 0..2 {
        let batch = Build::plain(now_ms(), "sdk", 10);
        hand.produce("sdk-one", partition, &batch).unwrap();
    }
    has_a_former_mirror(&source, &destination);
    let program = Program::start(&destination);
    let isolog = &program.isolog;
    let id = program.links.split('/').nth(4).unwrap();
    let url = format!("http://127.0.0.1:{}", isolog.port());
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/sdk/run");
    let told = Command::new(run).args([&*url, id, source.bootstrap(), "sdk-one", BACK]).output();
    let told = told.unwrap();
    let (out, err) = (String::from_utf8(told.stdout), String::from_utf8(told.stderr));
    let (out, err) = (out.unwrap(), err.unwrap());
    assert!(told.status.success(), "{out}{err}");
    assert_eq!(out.lines().collect::<Vec<_>>(), RIGHT, "{err}\n{}", isolog.log());
    assert!(!isolog.log().contains("panicked"), "{}", isolog.log());
}
