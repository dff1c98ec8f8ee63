//! Planned swaps of roles on real Kafka, there and back, of topics of several kinds: the isolog
//! beside each cluster may die at any moment, the brokers too, and a transaction that has begun is
//! waited for.
//!
//! It never skips. `ISOLOG_REVERSED=full` (in `make soak`) swaps twenty times.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::thread::JoinHandle;
use std::thread::sleep;
use std::thread::spawn;
use std::time::Duration;

use protocol_tests::broker::batch::Build;
use protocol_tests::real::Hand;
use protocol_tests::real::Load;
use protocol_tests::real::LoadSpec;
use protocol_tests::real::RealCluster;
use protocol_tests::real::assert_equal;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;
use serde_json::json;

use crate::failback::Site;
use crate::failback::committed;
use crate::failback::count;
use crate::failback::dumped;
use crate::operated::until;

/// What its brokers stamp.
const STAMPED: &str = "v-stamped";
/// Of transactions, some of them aborted.
const TRANSACTIONS: &str = "v-txn";
const TOPICS: [&str; 3] = ["v-plain", STAMPED, TRANSACTIONS];
const PARTITIONS: i32 = 2;
/// What each turn writes into each partition that no transaction writes into.
const BATCHES: usize = 5;
const RECORDS: usize = 10;

fn places() -> impl Iterator<Item = (&'static str, i32)> {
    TOPICS.into_iter().flat_map(|topic| (0..PARTITIONS).map(move |partition| (topic, partition)))
}

fn link(site: &Site, other: &Site) {
    let config = |name: &str, value: &str| json!({ "name": name, "value": value });
    let configs = [
        config("bootstrap.servers", other.cluster.bootstrap()),
        config("metadata.max.age.ms", "1000"),
        config("batch.merge", "never"),
    ];
    let path = format!("?link_name={}", site.link);
    site.program.order("POST", &path, Some(&json!({ "configs": configs })));
}

/// Some more records into each topic.
fn write(site: &Site, turn: usize) {
    for (topic, partition) in places().filter(|(topic, _)| *topic != TRANSACTIONS) {
        for n in 0..BATCHES {
            let batch = Build::plain(now_ms(), &format!("{turn}-{n}"), RECORDS);
            site.hand.produce(topic, partition, &batch).unwrap();
        }
    }
    let id = format!("turn-{turn}");
    let more = ["--txn", "10", "--abort-percent", "30", "--txn-id", &id];
    let spec = LoadSpec {
        topics: vec![(TRANSACTIONS.to_owned(), "lz4".to_owned())],
        create: None,
        records: Some(60),
        rate: None,
        more: more.map(str::to_owned).into(),
    };
    Load::start(site.cluster.bootstrap(), &spec).unwrap().wait().unwrap();
}

fn ends(hand: &Hand) -> Vec<i64> {
    places().map(|(topic, one)| hand.ends(topic, one).unwrap().1).collect()
}

/// All of them have this status there.
fn are(site: &Site, status: &str) {
    for topic in TOPICS {
        until(&format!("{topic} is {status} at {}", site.link), || {
            (site.status(topic)? == status).then_some(())
        });
    }
}

fn is_level(site: &Site, other: &Site) {
    for (topic, partition) in places() {
        let want = other.hand.ends(topic, partition).unwrap().1;
        until(&format!("{topic}-{partition} is level at {}", site.link), || {
            (site.hand.ends(topic, partition).ok()?.1 == want).then_some(())
        });
    }
}

/// What dies amid a swap, and is started again.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Dies {
    Isolog,
    Broker,
}

/// Each of them at each side in turn; whether it is at the side that becomes the source.
fn dies(turn: usize) -> (Dies, bool) {
    let what = if turn % 4 < 2 { Dies::Isolog } else { Dies::Broker };
    (what, turn.is_multiple_of(2))
}

/// The roles are swapped: what mirrored becomes the source. Something dies after a while.
fn swap(from: &mut Site, to: &mut Site, turn: usize) {
    let path = format!("/{}/mirrors:reverse-and-start-mirror", to.link);
    to.program.order("POST", &path, Some(&json!({ "mirror_topic_names": TOPICS })));
    let (what, is_new_source) = dies(turn);
    let site = if is_new_source { &mut *to } else { &mut *from };
    sleep(Duration::from_millis(700 * turn as u64 % 6_000)); // any moment is right
    match what {
        Dies::Isolog => {
            site.program.isolog.kill();
            site.program.isolog.start_again().unwrap();
        }
        Dies::Broker => {
            site.cluster.kill(1).unwrap();
            site.cluster.restart(1).unwrap();
        }
    }
    are(to, "STOPPED");
    are(from, "ACTIVE");
}

/// Somebody who was not told, and writes until that is refused.
struct Writer(JoinHandle<i64>);

impl Writer {
    fn start(site: &Site) -> Writer {
        let bootstrap = site.cluster.bootstrap().to_owned();
        Writer(spawn(move || {
            let hand = Hand::new(&bootstrap);
            let batch = || Build::plain(now_ms(), "untold", RECORDS);
            let mut acked = 0;
            while hand.produce(TOPICS[0], 0, &batch()).is_ok() {
                acked += 1;
                sleep(Duration::from_millis(20));
            }
            acked
        }))
    }

    /// How many batches were acknowledged.
    fn end(self) -> i64 {
        self.0.join().unwrap()
    }
}

/// Must show: there and back, and no record is lost, doubled or moved, and none copied again.
#[test]
fn roles_are_swapped_there_and_back_under_kills() {
    let turns = match std::env::var("ISOLOG_REVERSED").as_deref() {
        Ok("full") => 20,
        _ => 3,
    };
    let _room = room(2);
    let (first, second) = RealCluster::plain_pair("4.3.1").unwrap();
    let (mut one, mut other) = (Site::new(first, "west"), Site::new(second, "east"));
    for topic in TOPICS {
        let stamped = [("message.timestamp.type", "LogAppendTime")];
        let configs = if topic == STAMPED { &stamped[..] } else { &[] };
        one.hand.create(topic, PARTITIONS, 1, configs).unwrap();
    }
    link(&one, &other);
    link(&other, &one);
    for topic in TOPICS {
        let path = format!("/{}/mirrors", other.link);
        other.program.order("POST", &path, Some(&json!({ "source_topic_name": topic })));
    }
    let mut last = 0;
    for turn in 0..turns {
        write(&one, turn);
        is_level(&other, &one);
        let before = ends(&one.hand);
        // of what is sent to a broker that dies nobody knows how much it has written
        let writer = (dies(turn) != (Dies::Broker, false)).then(|| Writer::start(&one));
        swap(&mut one, &mut other, turn);
        let acked = writer.map_or(0, Writer::end);
        // the seals alone have come to it, and what was acknowledged before it was closed
        is_level(&one, &other);
        let mut sealed: Vec<i64> = before.iter().map(|end| end + 1).collect();
        sealed[0] += acked * RECORDS as i64;
        assert_eq!(ends(&one.hand), sealed, "turn {turn}, {acked} batches more");
        // what a broker stamped has the same time in the copy, as the copy's own
        let spec = committed(&TOPICS).typeless();
        let (here, there) = (dumped(&one, &spec), dumped(&other, &spec));
        assert_equal(&there, &here);
        assert!(count(&here) > last, "turn {turn}: {} records", count(&here));
        last = count(&here);
        println!("reversed: turn {turn}, {last} records on both sides");
        std::mem::swap(&mut one, &mut other);
    }
    write(&one, turns);
    is_level(&other, &one);
    let spec = committed(&TOPICS).typeless();
    assert_equal(&dumped(&one, &spec), &dumped(&other, &spec));
    for site in [&one, &other] {
        let verified = site.program.isolog.command(&["verify", "--link", site.link]).unwrap();
        let told = String::from_utf8_lossy(&verified.stdout);
        assert!(!told.contains("DIFFERENT"), "{told}");
        // what was written since a swap is on both sides, and no tail of the other one
        let tails = site.program.isolog.command(&["mirror", "tail", "list", "-o", "json"]).unwrap();
        let tails: serde_json::Value = serde_json::from_slice(&tails.stdout).unwrap();
        let is_tail = |one: &serde_json::Value| one["state"] == "tail";
        assert!(!tails.as_array().unwrap().iter().any(is_tail), "{tails}");
        assert!(!site.program.isolog.log().contains("panicked"));
    }
}
