//! A schema registry's own topic, mirrored byte for byte: the registry at the destination starts
//! after the promote, knows every schema under its id, and its own ids go on behind the last one.
//!
//! It never skips. The registry is Apicurio, the one to be had that keeps its schemas in a topic.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use isolog::control::order::MirrorVerb;
use isolog::control::topic::How;
use isolog::control::topic::Status;
use protocol_tests::real::RealRegistry;
use protocol_tests::real::room;
use serde_json::Value;
use serde_json::json;

use crate::operated::Operated;
use crate::operated::Stage;

/// What Apicurio keeps where.
const TOPICS: [&str; 3] = ["kafkasql-journal", "kafkasql-snapshots", "registry-events"];
const PRIMITIVES: [&str; 5] = ["string", "long", "int", "double", "bytes"];

/// The id that a new schema gets.
fn register(registry: &RealRegistry, subject: &str, name: &str) -> u64 {
    let schema = json!({"type": "record", "name": name, "fields": []}).to_string();
    registered(registry, subject, &schema)
}

fn registered(registry: &RealRegistry, subject: &str, schema: &str) -> u64 {
    let path = format!("/subjects/{subject}/versions");
    registry.must("POST", &path, Some(&json!({ "schema": schema })))["id"].as_u64().unwrap()
}

/// Subject, version and schema of each id up to `last`.
fn known(registry: &RealRegistry, last: u64) -> Vec<(Value, Value)> {
    let of = |id: u64| {
        let schema = registry.must("GET", &format!("/schemas/ids/{id}"), None)["schema"].clone();
        (schema, registry.must("GET", &format!("/schemas/ids/{id}/versions"), None))
    };
    (1..=last).map(of).collect()
}

/// Must show (O14).
#[test]
fn ids_go_on_behind_the_last_one_after_the_registrys_topic_was_promoted() {
    let _room = room(2);
    let stage = Stage::start();
    let there = RealRegistry::on_kafka(stage.clusters.0.bootstrap()).unwrap();
    for primitive in PRIMITIVES {
        registered(&there, "values-value", &json!({ "type": primitive }).to_string());
    }
    let isolog = Operated::start(&stage.clusters.1, "");
    isolog.create_link("dr", stage.clusters.0.bootstrap(), &[]);
    for topic in TOPICS {
        isolog.create_mirror("dr", topic);
        isolog.wait_status("dr", topic, Status::Active);
    }
    // what comes while it is mirrored comes too
    let last = (0..5).map(|n| register(&there, "orders-value", &format!("Order{n}"))).max();
    let last = last.unwrap();
    let (subjects, schemas) = (there.must("GET", "/subjects", None), known(&there, last));
    assert_eq!((subjects.as_array().unwrap().len(), schemas.len()), (2, last as usize));
    for topic in TOPICS {
        let stop = MirrorVerb::Stop { how: How::Promote, deadline_ms: None };
        isolog.mirrors("dr", topic, stop);
        isolog.wait_status("dr", topic, Status::Stopped);
    }
    drop(there);
    let here = RealRegistry::on_kafka(stage.clusters.1.bootstrap()).unwrap();
    assert_eq!(here.must("GET", "/subjects", None), subjects);
    assert_eq!(known(&here, last), schemas);
    let next = register(&here, "payments-value", "Payment");
    assert_eq!(next, last + 1, "its ids go on");
    let mut versions = here.must("GET", "/subjects/orders-value/versions", None);
    let versions = versions.as_array_mut().unwrap();
    assert_eq!(versions.len(), 5);
}
