//! Records of Confluent's serializers: written at the source, read by its deserializers at the
//! destination after a failover, when nothing of the source is there any more.
//!
//! It never judges by isolog: the ids are those that the records carry, and the destination's
//! registry is asked for them by a client that is not ours.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::process::Command;

use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealRegistry;
use protocol_tests::real::isolog_binary;
use protocol_tests::real::repo;
use protocol_tests::real::room;
use serde_json::json;

use crate::exporters::obeyed;
use crate::schemas::judged;

const BROKERS: &str = "4.3.1";
/// One topic of Avro with three schemas, one of JSON Schema.
const TOPICS: [&str; 2] = ["orders", "json-orders"];
/// How many records each gets.
const RECORDS: &str = "60";

/// What `kafka/serde/run` prints: a line for each record, with the id that it carries.
fn serde(verb: &str, bootstrap: &str, registry: &RealRegistry, topic: &str) -> String {
    let url = format!("http://127.0.0.1:{}", registry.port());
    let mut command = Command::new(repo().join("protocol-tests/kafka/serde/run"));
    let output = command.args([verb, bootstrap, &url, topic, RECORDS]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{verb} {topic}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// An isolog with a link of the topics, and an exporter by order that keeps ids where they are.
fn linked(clusters: &(RealCluster, RealCluster), registries: &[RealRegistry; 2]) -> Isolog {
    let (from, to) = (clusters.0.bootstrap(), clusters.1.bootstrap());
    let mut spec = IsologSpec::new(from, to, &TOPICS);
    spec.link_more += "replication.factor = 1\n";
    let isolog = Isolog::start(&spec).unwrap();
    let [source, destination] =
        registries.each_ref().map(|one| format!("http://127.0.0.1:{}", one.port()));
    let config = json!({
        "schema.registry.url": destination, "source.schema.registry.url": source,
        "poll.interval.ms": "1000",
    });
    let all = json!({"name": "dr", "contextType": "NONE", "subjects": [":*:"], "config": config});
    obeyed(&isolog, "POST", "/exporters", Some(&all));
    isolog
}

#[test]
fn records_are_read_by_their_schemas_after_a_failover() {
    let _room = room(2);
    let clusters = RealCluster::plain_pair(BROKERS).unwrap();
    let registries = [RealRegistry::start().unwrap(), RealRegistry::start().unwrap()];
    registries[1].must("PUT", "/mode", Some(&json!({"mode": "IMPORT"})));
    let hand = Hand::new(clusters.0.bootstrap());
    // ids that a registry of its own would not give
    for n in 0..7 {
        let path = format!("/subjects/other{n}-value/versions");
        let body = json!({"schema": json!({"type": "fixed", "name": format!("F{n}"), "size": 1})
            .to_string()});
        registries[0].must("POST", &path, Some(&body));
        registries[0].must("DELETE", &format!("/subjects/other{n}-value"), None);
        registries[0].must("DELETE", &format!("/subjects/other{n}-value?permanent=true"), None);
    }
    TOPICS.iter().for_each(|topic| hand.create(topic, 1, 1, &[]).unwrap());
    let isolog = linked(&clusters, &registries);
    let written = TOPICS.map(|topic| serde("write", clusters.0.bootstrap(), &registries[0], topic));
    for topic in TOPICS {
        isolog.wait_copied(topic, 0, hand.ends(topic, 0).unwrap().1);
    }
    let wanted = judged(&registries[0]);
    isolog.wait_for("the schemas", 120, |_| (judged(&registries[1]) == wanted).then_some(()));
    // the source is no more, all of it
    obeyed(&isolog, "PUT", "/exporters/dr/pause", None);
    let [lost, there] = registries;
    drop(lost);
    clusters.0.kill(1).unwrap();
    let url = format!("http://127.0.0.1:{}", isolog.port());
    let mut failover = Command::new(isolog_binary().unwrap());
    failover.args(["mirror", "failover", "--link", "dr", "--wait", "--url", &url]).args(TOPICS);
    let failed_over = failover.output().unwrap();
    assert!(failed_over.status.success(), "{failed_over:?}");
    there.must("PUT", "/mode", Some(&json!({"mode": "READWRITE"})));
    for (topic, written) in TOPICS.into_iter().zip(written) {
        let read = serde("read", clusters.1.bootstrap(), &there, topic);
        assert_eq!(read, written, "{topic}");
        let ids = |text: &str| -> Vec<i64> {
            text.lines().map(|line| line.split(' ').nth(2).unwrap().parse().unwrap()).collect()
        };
        assert!(ids(&read).iter().all(|id| *id > 7), "{read}");
    }
}
