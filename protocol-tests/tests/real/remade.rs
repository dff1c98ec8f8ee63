//! A topic is made anew by order while producers of three clients run against its name: whoever
//! writes is named, what they make is in nobody's way, and a mirror that they write into stops.
//!
//! It never asks a producer to know of isolog: they are idle applications, or stubborn ones.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::process::Command;
use std::process::Output;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use kafka_protocol::messages::DeleteTopicsRequest;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use protocol_tests::broker::batch::Build;
use protocol_tests::real::Hand;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::Writer;
use protocol_tests::real::isolog_binary;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;

use crate::failback::PARTITIONS;
use crate::failback::Site;
use crate::failback::TOPICS;
use crate::failback::is_equal_from;
use crate::failback::iso_time;
use crate::failback::places;
use crate::operated::until;

/// UNKNOWN_TOPIC_ID.
const UNKNOWN_TOPIC_ID: i16 = 100;
/// Batches of ten records of the tail in each partition: 1,000 records a topic.
const TAIL_ROUNDS: usize = 10;
const TAIL_RECORDS: usize = 1_000;

/// Two sites after a failover: away has records of its own since, and home a tail.
struct Sites {
    home: Site,
    away: Site,
    /// Where each partition's logs part.
    parted: Vec<i64>,
    /// A time between the failover and what away got after it.
    time: String,
}

impl Sites {
    fn failed_over(is_auto: bool) -> (Sites, Vec<Writer>) {
        let auto = is_auto.to_string();
        let spec = || RealSpec::new("4.3.1", 1).prop("auto.create.topics.enable", &auto);
        let (first, second) = RealCluster::both(spec(), spec()).unwrap();
        let (home, away) = (Site::new(first, "west"), Site::new(second, "east"));
        for topic in TOPICS {
            home.hand.create(topic, PARTITIONS, 1, &[]).unwrap();
        }
        let mut writers = Writer::all(home.cluster.bootstrap()).unwrap();
        all_write(&mut writers, "before");
        home.write("first");
        away.link_from(&home);
        home.link_from(&away);
        away.pause(false);
        away.is_level_with(&home);
        let ends = places().map(|(topic, one)| home.hand.ends(topic, one).unwrap().1);
        let parted = ends.collect();
        away.stop("failover");
        away.pause(true);
        sleep(Duration::from_millis(5)); // a time that no record has
        let time = iso_time(now_ms());
        sleep(Duration::from_millis(5));
        away.write("away");
        for round in 0..TAIL_ROUNDS {
            home.write(&format!("tail-{round}"));
        }
        home.pause(false);
        (Sites { home, away, parted, time }, writers)
    }

    fn restore(&self, topic: &str, from: &str) -> Output {
        let order = ["mirror", "truncate-and-restore", topic, "--link", self.home.link];
        let url = format!("http://127.0.0.1:{}", self.home.program.isolog.port());
        let mut told = Command::new(isolog_binary().unwrap());
        let told = told.args(order).args(["--discard-tail", "--from", from, "--url", &url]);
        told.output().unwrap()
    }

    /// The order that comes while somebody writes: it names the topic, and deletes nothing.
    fn is_refused_while_one_writes(&self, writer: &mut Writer) {
        let before = TOPICS.map(|topic| self.home.hand.topic_id(topic).unwrap());
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    writer.write(TOPICS[0], "still here").unwrap();
                    sleep(Duration::from_millis(20));
                }
            });
            let told = self.restore(TOPICS[0], "earliest");
            is_over.store(true, Ordering::Relaxed);
            let words = String::from_utf8_lossy(&told.stdout).into_owned();
            assert!(!told.status.success(), "{told:?}");
            assert!(words.contains("is being written: stop its producers"), "{words}");
        });
        let after = TOPICS.map(|topic| self.home.hand.topic_id(topic).unwrap());
        assert_eq!(before, after);
    }

    fn saves_the_tail(&self) {
        let dir = std::env::temp_dir().join(format!("isolog-remade-{}", now_ms()));
        std::fs::create_dir_all(&dir).unwrap();
        let saved = ["mirror", "tail", "export", "--dir", dir.to_str().unwrap()];
        let saved = self.away.program.isolog.command(&saved).unwrap();
        assert!(saved.status.success(), "{saved:?}");
        for topic in TOPICS {
            let lines = (0..PARTITIONS).map(|one| {
                let file = dir.join(format!("{topic}-{one}.jsonl"));
                let text = std::fs::read_to_string(file).unwrap();
                text.lines().filter(|line| line.contains("tail-")).count()
            });
            assert_eq!(lines.sum::<usize>(), TAIL_RECORDS);
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    /// Both topics are made anew, each from where it says, with every producer connected.
    fn are_restored(&self, froms: [&str; 2]) {
        let before = TOPICS.map(|topic| self.home.hand.topic_id(topic).unwrap());
        for (topic, from) in TOPICS.into_iter().zip(froms) {
            let from = if from == "time" { self.time.as_str() } else { from };
            let told = self.restore(topic, from);
            assert!(told.status.success(), "{from}: {told:?}");
        }
        for ((topic, partition), parted) in places().zip(&self.parted) {
            let from = froms[usize::from(topic == TOPICS[1])];
            // the seal lies where they parted, and has no time of a record
            let start = match from {
                "earliest" => 0,
                "divergence" => *parted,
                _ => parted + 1,
            };
            is_equal_from(&self.home, &self.away, (topic, partition), start);
        }
        for (topic, id) in TOPICS.into_iter().zip(before) {
            let more = self.home.hand.leader(topic, PARTITIONS).unwrap();
            assert_eq!(more, None, "more partitions than away");
            // one that comes late knows the topic of before, and finds none
            let late = DeleteTopicState::default().with_topic_id(id);
            let late = DeleteTopicsRequest::default().with_topics(vec![late.with_name(None)]);
            let told = self.home.hand.ask_any(6, &late.with_timeout_ms(10_000)).unwrap();
            assert_eq!(told.responses[0].error_code, UNKNOWN_TOPIC_ID);
        }
        let link = ["verify", "--link", self.home.link];
        let verified = self.home.program.isolog.command(&link).unwrap();
        assert!(verified.status.success(), "{verified:?}");
    }
}

fn all_write(writers: &mut [Writer], value: &str) {
    for writer in writers {
        for topic in TOPICS {
            let told = writer.write(topic, value);
            told.unwrap_or_else(|why| panic!("{}: {why}", writer.name()));
        }
    }
}

/// What was told of producers that must be stopped holds: each of them lands in the new topic, the
/// mirror is stopped by it and says so, and the other one goes on.
fn who_writes_on_is_seen(sites: &Sites, writer: &mut Writer) {
    writer.write(TOPICS[0], "stale").unwrap();
    for partition in 0..PARTITIONS {
        let next = Build::plain(now_ms(), "next", 1);
        sites.away.hand.produce(TOPICS[0], partition, &next).unwrap();
    }
    let status = || sites.home.status(TOPICS[0]);
    until("the mirror is stopped", || (status()? == "FAILED").then_some(()));
    assert_eq!(sites.home.status(TOPICS[1]).as_deref(), Some("ACTIVE"));
}

/// Must show: a tail of 1,000 records saved, and the topic equal at equal offsets from the start on
/// and from where the two parted, with producers of three clients connected that make what they
/// miss.
#[test]
fn producers_that_make_topics_are_in_nobodys_way() {
    let _room = room(2);
    let (sites, mut writers) = Sites::failed_over(true);
    sites.is_refused_while_one_writes(&mut writers[0]);
    sites.saves_the_tail();
    sites.are_restored(["earliest", "divergence"]);
    who_writes_on_is_seen(&sites, &mut writers[2]);
    assert!(!sites.home.program.isolog.log().contains("panicked"));
}

/// The same where nobody makes topics by naming them, and from a time on.
#[test]
fn producers_that_make_none_find_the_one_that_was_made() {
    let _room = room(2);
    let (sites, mut writers) = Sites::failed_over(false);
    sites.is_refused_while_one_writes(&mut writers[2]);
    sites.saves_the_tail();
    sites.are_restored(["time", "divergence"]);
    who_writes_on_is_seen(&sites, &mut writers[0]);
    assert!(!sites.home.program.isolog.log().contains("panicked"));
}

/// A topic of one partition.
const LONG: &str = "f-long";
/// How far the logs of the long one have come before the failover, all of it gone since.
const FRONT: i64 = 10_000_000;

/// Must show: time and bytes of a front of 10^7 offsets, of which nothing is left.
#[test]
fn a_long_front_takes_moments() {
    let _room = room(2);
    let (first, second) = RealCluster::plain_pair("4.3.1").unwrap();
    Hand::new(first.bootstrap()).create(LONG, 1, 1, &[]).unwrap();
    first.begin_at(&[LONG], FRONT).unwrap();
    let (home, away) = (Site::new(first, "west"), Site::new(second, "east"));
    let write = |site: &Site, text: &str| {
        site.hand.produce(LONG, 0, &Build::plain(now_ms(), text, 10)).unwrap()
    };
    assert_eq!(write(&home, "first"), FRONT);
    away.link_from(&home);
    home.link_from(&away);
    away.pause(false);
    is_equal_from(&away, &home, (LONG, 0), FRONT);
    away.stop_these("failover", &[LONG]);
    away.pause(true);
    write(&away, "away");
    write(&home, "tail");
    home.pause(false);
    let began = Instant::now();
    let sites = Sites { home, away, parted: Vec::new(), time: String::new() };
    let told = sites.restore(LONG, "divergence");
    assert!(told.status.success(), "{told:?}");
    is_equal_from(&sites.home, &sites.away, (LONG, 0), FRONT + 10);
    let took = began.elapsed();
    let told = || sites.home.program.isolog.metric("isolog_partition_filler_bytes_total", LONG);
    until("fillers are counted", || (told() > 0.0).then_some(()));
    let (seconds, bytes) = (took.as_secs_f64(), told());
    println!(
        "a front of {FRONT} offsets: {seconds:.1} s from the order on, {bytes} bytes of fillers"
    );
}
