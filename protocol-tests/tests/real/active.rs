//! Two sites that are both alive and both written, each with a mirror of the other one's topics
//! under a prefix; each of them is dead for a while.
//!
//! It never promotes anything: what was dead is caught up with.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::thread::spawn;

use protocol_tests::broker::batch::Build;
use protocol_tests::check::batches_equal;
use protocol_tests::real::Hand;
use protocol_tests::real::RealCluster;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;
use serde_json::json;

use crate::failback::Site;
use crate::operated::until;

const TOPIC: &str = "a-orders";
const PARTITIONS: i32 = 2;
/// Everything that is called so, and so nothing that is a mirror.
const FILTERS: &str = r#"{"topicFilters": [
    {"name": "*", "patternType": "LITERAL", "filterType": "INCLUDE"}]}"#;
/// How many batches a site writes at least while the other one is dead.
const ALONE: i64 = 50;

/// Somebody who writes into a site's own topic until told to end; while its broker is dead nobody
/// knows what was written.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<i64>,
}

impl Writer {
    fn start(site: &Site) -> Writer {
        let (stop, bootstrap) = (Arc::new(AtomicBool::new(false)), site.cluster.bootstrap());
        let (ends, hand) = (stop.clone(), Hand::new(bootstrap));
        let name = site.link;
        let thread = spawn(move || {
            let mut acked = 0;
            while !ends.load(Ordering::Relaxed) {
                let batch = Build::plain(now_ms(), &format!("not of {name}"), 3);
                let partition = (acked % i64::from(PARTITIONS)) as i32;
                acked += i64::from(hand.produce(TOPIC, partition, &batch).is_ok());
            }
            acked
        });
        Writer { stop, thread }
    }

    /// How many batches were acknowledged.
    fn end(self) -> i64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// A link from the other site, whose topics are called by its name.
fn link_from(site: &Site, other: &Site, prefix: &str) {
    let config = |name: &str, value: &str| json!({ "name": name, "value": value });
    let configs = [
        config("bootstrap.servers", other.cluster.bootstrap()),
        config("metadata.max.age.ms", "1000"),
        config("batch.merge", "never"),
        config("cluster.link.prefix", prefix),
        config("auto.create.mirror.topics.enable", "true"),
        config("auto.create.mirror.topics.filters", FILTERS),
    ];
    let path = format!("?link_name={}", site.link);
    site.program.order("POST", &path, Some(&json!({ "configs": configs })));
}

fn is_level(site: &Site, other: &Site, prefix: &str) {
    let mirror = format!("{prefix}{TOPIC}");
    for partition in 0..PARTITIONS {
        let want = other.hand.ends(TOPIC, partition).unwrap();
        until(&format!("{mirror}-{partition} is level"), || {
            (site.hand.ends(&mirror, partition).ok()? == want).then_some(())
        });
        let ours = other.hand.read(TOPIC, partition).unwrap();
        let copy = site.hand.log(&mirror, partition).unwrap();
        let differ = batches_equal(&ours, &copy, ours.start, ours.end);
        assert!(differ.is_empty(), "{mirror}-{partition}: {differ:#?}");
    }
}

/// The broker of one site is dead until the other site has got more; isolog beside it lives on.
fn dies_for_a_while(dead: &Site, other: &Site) {
    dead.cluster.kill(1).unwrap();
    let end = || other.hand.ends(TOPIC, 0).ok().map(|ends| ends.1);
    let before = end().unwrap();
    until("the other site goes on", || (end()? > before + ALONE).then_some(()));
    dead.cluster.restart(1).unwrap();
}

/// Must show: both sides written, each dead for a while, and each has all of the other one.
#[test]
fn both_are_written_and_each_is_dead_for_a_while() {
    let _room = room(2);
    let (first, second) = RealCluster::plain_pair("4.3.1").unwrap();
    let (west, east) = (Site::new(first, "from-east"), Site::new(second, "from-west"));
    for site in [&west, &east] {
        site.hand.create(TOPIC, PARTITIONS, 1, &[]).unwrap();
    }
    link_from(&west, &east, "east.");
    link_from(&east, &west, "west.");
    let writers = [&west, &east].map(Writer::start);
    for (site, mirror) in [(&west, "east.a-orders"), (&east, "west.a-orders")] {
        until(mirror, || (site.status(mirror)? == "ACTIVE").then_some(()));
    }
    dies_for_a_while(&west, &east);
    dies_for_a_while(&east, &west);
    let acked = writers.map(Writer::end);
    is_level(&west, &east, "east.");
    is_level(&east, &west, "west.");
    for (site, acked) in [(&west, acked[0]), (&east, acked[1])] {
        let own = (0..PARTITIONS).map(|one| site.hand.ends(TOPIC, one).unwrap().1).sum::<i64>();
        assert!(own >= acked * 3, "{acked} batches were acknowledged and {own} records are there");
        println!("active/active: {own} records at {}, {acked} batches acknowledged", site.link);
        let mut topics = site.hand.topics().unwrap();
        topics.retain(|name| !name.starts_with("__"));
        topics.sort();
        let other = if site.link == "from-east" { "east" } else { "west" };
        assert_eq!(topics, [TOPIC.to_owned(), format!("{other}.{TOPIC}")], "no mirror of a mirror");
        let verified = site.program.isolog.command(&["verify", "--link", site.link]).unwrap();
        assert!(verified.status.success(), "{verified:?}");
        assert!(!site.program.isolog.log().contains("panicked"));
    }
}
