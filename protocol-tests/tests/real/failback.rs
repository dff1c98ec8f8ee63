//! The way back by hand, as the guides of the field have it, on real Kafka: failed over, the old
//! primary's topics deleted, mirrored back by a filter, promoted there, and the other way anew.
//!
//! It never skips, and counts the records that a client finds after each step.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use protocol_tests::broker::batch::Build;
use protocol_tests::check::batches_equal;
use protocol_tests::real::DumpSpec;
use protocol_tests::real::Hand;
use protocol_tests::real::Reader;
use protocol_tests::real::RealCluster;
use protocol_tests::real::assert_equal;
use protocol_tests::real::dump;
use protocol_tests::real::isolog_binary;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;
use serde_json::Value;
use serde_json::json;

use crate::operated::until;
use crate::served::Program;

pub(crate) const TOPICS: [&str; 2] = ["f-one", "f-two"];
pub(crate) const PARTITIONS: i32 = 2;
/// Records of a batch.
const RECORDS: usize = 10;
const FILTERS: &str = r#"{"topicFilters": [
    {"name": "f-", "patternType": "PREFIXED", "filterType": "INCLUDE"}]}"#;

/// One cluster, who reads and writes there, and the isolog beside it that mirrors from the other.
pub(crate) struct Site {
    pub(crate) cluster: RealCluster,
    pub(crate) hand: Hand,
    pub(crate) program: Program,
    pub(crate) link: &'static str,
}

impl Site {
    pub(crate) fn new(cluster: RealCluster, link: &'static str) -> Site {
        let (hand, program) = (Hand::new(cluster.bootstrap()), Program::start(&cluster));
        Site { cluster, hand, program, link }
    }

    /// A link from the other site that mirrors by a filter, and does not yet.
    pub(crate) fn link_from(&self, other: &Site) {
        let config = |name: &str, value: &str| json!({ "name": name, "value": value });
        let configs = [
            config("bootstrap.servers", other.cluster.bootstrap()),
            config("metadata.max.age.ms", "1000"),
            config("batch.merge", "never"),
            config("auto.create.mirror.topics.enable", "true"),
            config("auto.create.mirror.topics.filters", FILTERS),
            config("cluster.link.paused", "true"),
        ];
        let path = format!("?link_name={}", self.link);
        self.program.order("POST", &path, Some(&json!({ "configs": configs })));
    }

    pub(crate) fn pause(&self, is_paused: bool) {
        let path = format!("/{}/configs/cluster.link.paused", self.link);
        let value = json!({ "value": is_paused.to_string() });
        self.program.order("PUT", &path, Some(&value));
    }

    pub(crate) fn status(&self, topic: &str) -> Option<String> {
        let path = format!("{}/{}/mirrors/{topic}", self.program.links, self.link);
        let told: Value = self.program.isolog.get(&path)?;
        told["mirror_status"].as_str().map(str::to_owned)
    }

    pub(crate) fn stop(&self, verb: &str) {
        self.stop_these(verb, &TOPICS);
    }

    pub(crate) fn stop_these(&self, verb: &str, topics: &[&str]) {
        let path = format!("/{}/mirrors:{verb}", self.link);
        self.program.order("POST", &path, Some(&json!({ "mirror_topic_names": topics })));
        for topic in topics {
            self.program.isolog.wait_for(&format!("{topic} is STOPPED"), 120, |_| {
                (self.status(topic)? == "STOPPED").then_some(())
            });
        }
    }

    /// What a client of this site writes; how many records.
    pub(crate) fn write(&self, tag: &str) -> u64 {
        for (topic, partition) in places() {
            for n in 0..5 {
                let batch = Build::plain(now_ms(), &format!("{tag}-{n}"), RECORDS);
                self.hand.produce(topic, partition, &batch).unwrap();
            }
        }
        (places().count() * 5 * RECORDS) as u64
    }

    /// Everything that the other site holds has come here, batch by batch.
    pub(crate) fn is_level_with(&self, other: &Site) {
        for (topic, partition) in places() {
            let want = other.hand.ends(topic, partition).unwrap();
            until(&format!("{topic}-{partition} is level at {}", self.link), || {
                (self.hand.ends(topic, partition).ok()? == want).then_some(())
            });
            let ours = other.hand.read(topic, partition).unwrap();
            let copy = self.hand.log(topic, partition).unwrap();
            let differ = batches_equal(&ours, &copy, ours.start, ours.end);
            assert!(differ.is_empty(), "{topic}-{partition}: {differ:#?}");
        }
    }

    fn records(&self) -> Vec<protocol_tests::real::PartitionDigest> {
        dumped(self, &committed(&TOPICS))
    }

    fn delete_topics(&self) {
        for topic in TOPICS {
            self.hand.delete(topic).unwrap();
        }
    }
}

pub(crate) fn places() -> impl Iterator<Item = (&'static str, i32)> {
    TOPICS.into_iter().flat_map(|topic| (0..PARTITIONS).map(move |partition| (topic, partition)))
}

pub(crate) fn committed(topics: &[&str]) -> DumpSpec {
    let names: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
    DumpSpec::committed(&names)
}

/// What a Java consumer finds.
pub(crate) fn dumped(site: &Site, spec: &DumpSpec) -> Vec<protocol_tests::real::PartitionDigest> {
    dump(Reader::Java, site.cluster.bootstrap(), spec).unwrap()
}

pub(crate) fn count(digests: &[protocol_tests::real::PartitionDigest]) -> u64 {
    digests.iter().map(|one| one.records).sum()
}

/// A planned move, and back without a tail: what home holds is a prefix, so it is adopted and only
/// what was written meanwhile is copied; its log has the seals of the moves before. How many
/// records were written.
fn planned(home: &Site, away: &Site) -> u64 {
    away.stop("promote");
    let before: i64 = places().map(|(topic, one)| home.hand.ends(topic, one).unwrap().1).sum();
    let written = away.write("planned");
    home.pause(false);
    for topic in TOPICS {
        let path = format!("/{}/mirrors/{topic}", home.link);
        home.program.order("DELETE", &path, None);
        until("it is forgotten", || home.status(topic).is_none().then_some(()));
        let path = format!("/{}/mirrors", home.link);
        home.program.order("POST", &path, Some(&json!({ "source_topic_name": topic })));
    }
    home.is_level_with(away);
    let after: i64 = places().map(|(topic, one)| home.hand.ends(topic, one).unwrap().1).sum();
    // the seals of the other site, and the records
    assert_eq!(after - before, written as i64 + places().count() as i64);
    assert_equal(&away.records(), &home.records());
    let verified = home.program.isolog.command(&["verify", "--link", home.link]).unwrap();
    assert!(verified.status.success(), "{verified:?}");
    home.stop("promote");
    written
}

/// Must show: the six steps, twice round. What the old primary had beyond the failover is lost by
/// the deletion alone, and was told before.
#[test]
fn the_way_back_by_hand_is_walked_twice() {
    let _room = room(2);
    let (first, second) = RealCluster::plain_pair("4.3.1").unwrap();
    let (home, away) = (Site::new(first, "west"), Site::new(second, "east"));
    for topic in TOPICS {
        home.hand.create(topic, PARTITIONS, 1, &[]).unwrap();
    }
    let mut written = home.write("first");
    away.link_from(&home);
    home.link_from(&away);
    away.pause(false);
    for round in 0..2 {
        away.is_level_with(&home);
        // 1: failed over; clients go on at the other site
        away.stop("failover");
        away.pause(true);
        written += away.write(&format!("away-{round}"));
        // 2: what the old primary got since is lost with its topics
        home.write(&format!("tail-{round}"));
        let tail = ["mirror", "tail", "list", "-o", "json"];
        let tail = away.program.isolog.command(&tail).unwrap();
        let told: Value = serde_json::from_slice(&tail.stdout).unwrap();
        let offsets = told.as_array().unwrap().iter().map(|one| one["offsets"].as_u64().unwrap());
        assert_eq!(offsets.sum::<u64>(), (places().count() * 5 * RECORDS) as u64, "{told}");
        // 3: they are deleted, and made again by the filter of the way back
        home.delete_topics();
        home.pause(false);
        home.is_level_with(&away);
        // 4: clients have stopped; it is promoted, and they go on at home
        let (here, there) = (home.records(), away.records());
        assert_equal(&there, &here);
        assert_eq!(count(&here), written, "round {round}");
        home.stop("promote");
        home.pause(true);
        written += home.write(&format!("home-{round}"));
        // 5: the other site's topics are deleted; 6: and made again by the filter
        away.delete_topics();
        away.pause(false);
    }
    away.is_level_with(&home);
    let (here, there) = (home.records(), away.records());
    assert_equal(&here, &there);
    assert_eq!(count(&here), written);
    written += planned(&home, &away);
    assert_eq!(count(&home.records()), written);
    for site in [&home, &away] {
        assert!(!site.program.isolog.log().contains("panicked"));
    }
}

/// What came of an order to restore both topics, each: its refusal, and what it would lose.
fn restored(site: &Site, query: &str) -> Vec<(Value, u64)> {
    let each = "include_partition_level_truncation_data=true";
    let path =
        format!("{}/{}/mirrors:truncate-and-restore?{each}{query}", site.program.links, site.link);
    let body = json!({ "mirror_topic_names": TOPICS });
    let (status, told) = site.program.isolog.order("POST", &path, Some(&body)).unwrap();
    assert_eq!(status, 200, "{told}");
    let of = |one: &Value| {
        let parts = one["partition_level_truncation_data"].as_array().unwrap();
        let lost = parts.iter().map(|part| part["messages_truncated"].as_u64().unwrap());
        assert_eq!(Some(lost.sum::<u64>()), one["messages_truncated"].as_u64(), "{one}");
        (one["error_code"].clone(), one["messages_truncated"].as_u64().unwrap())
    };
    told["data"].as_array().unwrap().iter().map(of).collect()
}

/// Must show: after a failover with a tail the topics are made anew by one order, and not before
/// somebody said that the tail may go; without one nothing is copied again, there and back.
#[test]
fn the_way_back_by_order_tells_what_is_lost_and_copies_no_more_than_it_must() {
    let _room = room(2);
    let (first, second) = RealCluster::plain_pair("4.3.1").unwrap();
    let (mut home, away) = (Site::new(first, "west"), Site::new(second, "east"));
    for topic in TOPICS {
        home.hand.create(topic, PARTITIONS, 1, &[]).unwrap();
    }
    let mut written = home.write("first");
    away.link_from(&home);
    home.link_from(&away);
    away.pause(false);
    away.is_level_with(&home);
    away.stop("failover");
    away.pause(true);
    written += away.write("away");
    let tail = home.write("tail");
    home.pause(false);
    let per_topic = tail / TOPICS.len() as u64;
    let refused = vec![(json!(409), per_topic); TOPICS.len()];
    assert_eq!(restored(&home, ""), refused);
    assert_eq!(restored(&home, "&validate_only=true"), refused);
    let obeyed = vec![(Value::Null, per_topic); TOPICS.len()];
    assert_eq!(restored(&home, "&validate_only=true&discard_tail=true"), obeyed);
    let ends = |site: &Site| -> Vec<(i64, i64)> {
        places().map(|(topic, one)| site.hand.ends(topic, one).unwrap()).collect()
    };
    let before = ends(&home);
    assert_eq!(restored(&home, "&discard_tail=true"), obeyed);
    // a kill amid it changes nothing of how it ends
    home.program.isolog.kill();
    home.program.isolog.start_again().unwrap();
    home.is_level_with(&away);
    assert_ne!(ends(&home), before);
    assert_equal(&away.records(), &home.records());
    assert_eq!(count(&home.records()), written);
    for round in 0..2 {
        home.stop("promote");
        written += home.write(&format!("home-{round}"));
        away.pause(false);
        assert_eq!(restored(&away, ""), vec![(Value::Null, 0); TOPICS.len()]);
        away.is_level_with(&home);
        away.stop("promote");
        away.pause(true);
        written += away.write(&format!("away-{round}"));
        assert_eq!(restored(&home, ""), vec![(Value::Null, 0); TOPICS.len()]);
        home.is_level_with(&away);
        assert_equal(&away.records(), &home.records());
        assert_eq!(count(&home.records()), written, "round {round}");
    }
    for site in [&home, &away] {
        assert!(!site.program.isolog.log().contains("panicked"));
    }
}

/// A time in ms as ISO 8601 has it.
pub(crate) fn iso_time(ms: i64) -> String {
    let at = format!("@{}.{:03}", ms / 1_000, ms % 1_000);
    let told = Command::new("date").args(["-u", "-d", &at, "+%FT%T.%3NZ"]).output().unwrap();
    String::from_utf8(told.stdout).unwrap().trim().to_owned()
}

/// Where a partition's copy at `site` begins, once it begins there, and whether what both have from
/// there on is equal.
pub(crate) fn is_equal_from(
    site: &Site,
    other: &Site,
    (topic, partition): (&str, i32),
    start: i64,
) {
    let (_, end) = other.hand.ends(topic, partition).unwrap();
    until(&format!("{topic}-{partition} is {start} to {end} at {}", site.link), || {
        (site.hand.ends(topic, partition).ok()? == (start, end)).then_some(())
    });
    let ours = other.hand.read(topic, partition).unwrap();
    let copy = site.hand.log(topic, partition).unwrap();
    let differ = batches_equal(&ours, &copy, start, end);
    assert!(differ.is_empty(), "{topic}-{partition}: {differ:#?}");
}

/// Must show: made anew from where the two parted, and from a time on, each at equal offsets; the
/// tail is saved before.
#[test]
fn what_is_made_anew_begins_where_the_order_says() {
    let _room = room(2);
    let (first, second) = RealCluster::plain_pair("4.3.1").unwrap();
    let (home, away) = (Site::new(first, "west"), Site::new(second, "east"));
    for topic in TOPICS {
        home.hand.create(topic, PARTITIONS, 1, &[]).unwrap();
    }
    home.write("first");
    away.link_from(&home);
    home.link_from(&away);
    away.pause(false);
    away.is_level_with(&home);
    let parted: Vec<i64> =
        places().map(|(topic, one)| home.hand.ends(topic, one).unwrap().1).collect();
    away.stop("failover");
    away.pause(true);
    sleep(Duration::from_millis(5)); // a time that no record has
    let from = now_ms();
    sleep(Duration::from_millis(5));
    away.write("away");
    home.write("tail");
    let dir = std::env::temp_dir().join(format!("isolog-tails-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let saved = ["mirror", "tail", "export", "--dir", dir.to_str().unwrap()];
    let saved = away.program.isolog.command(&saved).unwrap();
    assert!(saved.status.success(), "{saved:?}");
    for (topic, partition) in places() {
        let text = std::fs::read_to_string(dir.join(format!("{topic}-{partition}.jsonl"))).unwrap();
        assert_eq!(text.lines().filter(|line| line.contains("tail-")).count(), 5 * RECORDS);
    }
    std::fs::remove_dir_all(&dir).unwrap();
    home.pause(false);
    let time = iso_time(from);
    for (topic, from) in TOPICS.into_iter().zip(["divergence", time.as_str()]) {
        let order = ["mirror", "truncate-and-restore", topic, "--link", home.link];
        let order = [order.as_slice(), &["--discard-tail", "--from", from]].concat();
        let mut told = Command::new(isolog_binary().unwrap());
        let url = format!("http://127.0.0.1:{}", home.program.isolog.port());
        let told = told.args(order).args(["--url", &url]).output().unwrap();
        assert!(told.status.success(), "{told:?}");
    }
    for ((topic, partition), parted) in places().zip(parted) {
        // the seal lies where they parted, and has no time of a record
        let start = if topic == TOPICS[0] { parted } else { parted + 1 };
        is_equal_from(&home, &away, (topic, partition), start);
    }
    let verified = home.program.isolog.command(&["verify", "--link", home.link]).unwrap();
    assert!(verified.status.success(), "{verified:?}");
    for site in [&home, &away] {
        assert!(!site.program.isolog.log().contains("panicked"));
    }
}
