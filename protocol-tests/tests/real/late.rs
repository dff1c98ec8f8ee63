//! What the source gets between the last look at it and the seal of a promote, on real Kafka: the
//! seal is on its way, and is held there until the source has more.
//!
//! It never skips, and never hopes for the moment: a proxy makes it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use protocol_tests::broker::batch::Build;
use protocol_tests::check::batches_equal;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::PROXY_HOST;
use protocol_tests::real::Proxy;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;
use serde_json::Value;
use serde_json::json;

const TOPIC: &str = "late-orders";
const JOURNAL: &str = "__isolog";
const BEFORE: usize = 20;
const LATE: usize = 7;
const SECONDS_MAX: u64 = 90;

/// A destination of two brokers, each behind a port of the proxy.
fn behind() -> (RealCluster, Proxy) {
    let proxy = Proxy::bind(2, 1).unwrap();
    proxy.hurry();
    let spec = RealSpec { behind: proxy.ports(), ..RealSpec::new("4.3.1", 2) };
    let destination = RealCluster::start(spec).unwrap();
    proxy.lead_to(destination.behind_ports()).unwrap();
    (destination, proxy)
}

fn write(source: &Hand, partition: i32, count: usize) {
    let tag = format!("{TOPIC}-{partition}-{}", now_ms());
    source.produce(TOPIC, partition, &Build::plain(now_ms(), &tag, count)).unwrap();
}

/// What the service says of the mirror topic.
fn mirror(isolog: &Isolog, links: &str) -> Option<Value> {
    isolog.get(&format!("{links}/dr/mirrors/{TOPIC}"))
}

fn lag(mirror: &Value, partition: i32) -> Option<(i64, i64)> {
    let all = mirror["mirror_lags"].as_array()?;
    let own = all.iter().find(|one| one["partition"] == json!(partition))?;
    Some((own["lag"].as_i64()?, own["last_source_fetch_offset"].as_i64()?))
}

/// Must show: a source that writes between the last look and the seal: the promote names the tail.
#[test]
fn what_comes_between_the_last_look_and_the_seal_is_named() {
    let _room = room(3);
    let source = RealCluster::start(RealSpec::new("4.3.1", 1)).unwrap();
    let (destination, proxy) = behind();
    let (ours, theirs) = (Hand::new(source.bootstrap()), Hand::new(destination.bootstrap()));
    ours.create(TOPIC, 2, 1, &[]).unwrap();
    (0..2).for_each(|partition| write(&ours, partition, BEFORE));
    let through = format!("{PROXY_HOST}:{}", proxy.ports()[0]);
    let isolog = Isolog::start(&IsologSpec::new(source.bootstrap(), &through, &[TOPIC])).unwrap();
    for partition in 0..2 {
        isolog.wait_for(&format!("{TOPIC}-{partition} is copied"), SECONDS_MAX, |_| {
            (theirs.ends(TOPIC, partition).ok()?.1 == BEFORE as i64).then_some(())
        });
    }
    // each partition is led by another broker: one of them does not lead the journal
    let at = |topic: &str, partition| theirs.leader(topic, partition).unwrap().unwrap();
    let held = (0..2).find(|partition| at(TOPIC, *partition) != at(JOURNAL, 0)).unwrap();
    let port =
        destination.ports().iter().position(|port| at(TOPIC, held).ends_with(&format!(":{port}")));
    proxy.hold_appends(port.unwrap());
    let links = isolog.wait_for("the promote is taken", SECONDS_MAX, |isolog| {
        let id = isolog.get("/kafka/v3/clusters")?["data"][0]["cluster_id"].as_str()?.to_owned();
        let links = format!("/kafka/v3/clusters/{id}/links");
        let body = json!({ "mirror_topic_names": [TOPIC] });
        let path = format!("{links}/dr/mirrors:promote");
        let (status, told) = isolog.order("POST", &path, Some(&body))?;
        assert_eq!(status, 200, "{told}");
        Some(links)
    });
    // nothing but a seal is appended any more
    isolog.wait_for("the seal is on its way", SECONDS_MAX, |_| {
        (proxy.held_appends() > 0).then_some(())
    });
    let shown = mirror(&isolog, &links).unwrap();
    assert_eq!(shown["mirror_status"], "PENDING_STOPPED", "{shown}");
    write(&ours, held, LATE);
    proxy.release_appends();
    let stopped = isolog.wait_for("it is STOPPED", SECONDS_MAX, |isolog| {
        mirror(isolog, &links).filter(|shown| shown["mirror_status"] == "STOPPED")
    });
    assert_eq!(lag(&stopped, held), Some((LATE as i64, BEFORE as i64)), "{stopped}");
    assert_eq!(lag(&stopped, 1 - held), Some((0, BEFORE as i64)), "{stopped}");
    for partition in 0..2 {
        let copy = theirs.read(TOPIC, partition).unwrap();
        assert_eq!(copy.end, BEFORE as i64 + 1, "the seal is the last word");
        let whole = ours.read(TOPIC, partition).unwrap();
        let differ = batches_equal(&whole, &copy, 0, BEFORE as i64);
        assert!(differ.is_empty(), "{differ:#?}");
    }
    assert!(!isolog.log().contains("panicked"), "{}", isolog.log());
}
