//! Promotes and failovers in many rounds over topics of every kind, while isolog is killed amid
//! them and brokers of both sides are killed and frozen: each topic ends sealed and equal, and
//! takes its producers at the very next offset.
//!
//! It never skips. `ISOLOG_SWITCHED=full` is the size that the issue asks for (40 promotes and 40
//! failovers over 20 topics, three brokers a side); `ISOLOG_SWITCHED_SEED` replays its choices.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::time::Instant;

use protocol_tests::broker::batch::Build;
use protocol_tests::check::batches_equal;
use protocol_tests::real::DumpSpec;
use protocol_tests::real::Hand;
use protocol_tests::real::Load;
use protocol_tests::real::LoadSpec;
use protocol_tests::real::Reader;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::assert_equal;
use protocol_tests::real::dump;
use protocol_tests::real::long_room;
use protocol_tests::real::now_ms;

use crate::obeyed::Obeyed;
use crate::obeyed::Topic;
use crate::operated::Stage;
use crate::operated::until;
use crate::served::Program;

const PARTITIONS: i32 = 2;
const DAY_MS: i64 = 86_400_000;
/// The link without a prefix, and the one with.
const LINKS: [(&str, &str); 2] = [("dr", ""), ("west", "w.")];
/// Ids of isolog's own begin here.
const OURS: i64 = 1 << 62;
/// And of the producers that go on, here: each is this and the offset where it begins.
const THEIRS: i64 = 4_711;
/// Records of each batch that is written by hand.
const RECORDS: i64 = 10;
/// What Java's producers write at the end, each to all topics.
const LOADED: u64 = 2_000;
/// Configs that a topic has like its source once it is stopped, whatever the link's settings.
const CONFIGS: [&str; 3] = ["cleanup.policy", "message.timestamp.type", "max.message.bytes"];

/// A kind of topic: its name, what it is made with, and how its first records are written.
type Kind = (&'static str, &'static [(&'static str, &'static str)], First);

#[derive(Copy, Clone, PartialEq, Eq)]
enum First {
    ByHand,
    /// By a transactional producer that aborts some.
    Transactions,
    /// Two days ago, so that brokers may forget who wrote them.
    Old,
    /// And deleted, so that the log begins above zero.
    Trimmed,
}

const KINDS: [Kind; 6] = [
    ("plain", &[("max.message.bytes", "2000000")], First::ByHand),
    ("txn", &[], First::Transactions),
    (
        "compact",
        &[("cleanup.policy", "compact"), ("min.compaction.lag.ms", "86400000")],
        First::ByHand,
    ),
    ("stamped", &[("message.timestamp.type", "LogAppendTime")], First::ByHand),
    ("old", &[("retention.ms", "-1"), ("compression.type", "gzip")], First::Old),
    ("trimmed", &[], First::Trimmed),
];

struct Size {
    /// Promotes and failovers together.
    rounds: u32,
    topics: usize,
    brokers: u8,
}

/// Each kind once under each link.
const CI: Size = Size { rounds: 2, topics: 2 * KINDS.len(), brokers: 1 };
const FULL: Size = Size { rounds: 80, topics: 20, brokers: 3 };

fn size() -> Size {
    match std::env::var("ISOLOG_SWITCHED").as_deref() {
        Ok("full") => FULL,
        _ => CI,
    }
}

fn seed() -> u64 {
    std::env::var("ISOLOG_SWITCHED_SEED").map_or(20_261_129, |text| text.parse().unwrap())
}

/// How much older than today what is written to a topic is.
fn age(topic: &str) -> i64 {
    let is = |(kind, _, first): &Kind| topic.starts_with(kind) && *first == First::Old;
    if KINDS.iter().any(is) { 2 * DAY_MS } else { 0 }
}

/// Makes them at the source with their first records; each link mirrors half of each kind.
fn topics(source: &RealCluster, hand: &Hand, size: &Size) -> Vec<Topic> {
    let mut all = Vec::new();
    let mut transactional = Vec::new();
    for n in 0..size.topics {
        let (kind, configs, first) = KINDS[n % KINDS.len()];
        let (link, prefix) = LINKS[(n + n / KINDS.len()) % 2];
        let source = format!("{kind}-{n}");
        let topic = Topic { mirror: format!("{prefix}{source}"), source, link };
        hand.create(&topic.source, PARTITIONS, i16::from(size.brokers), configs).unwrap();
        if first == First::Transactions {
            transactional.push((topic.source.clone(), "lz4".to_owned()));
        } else {
            begin(hand, &topic.source, first);
        }
        all.push(topic);
    }
    let more = ["--txn", "20", "--abort-percent", "30"].map(str::to_owned).to_vec();
    let records = Some(600 * transactional.len() as u64);
    let spec = LoadSpec { topics: transactional, create: None, records, rate: None, more };
    Load::start(source.bootstrap(), &spec).unwrap().wait().unwrap();
    all
}

fn begin(hand: &Hand, topic: &str, first: First) {
    for partition in 0..PARTITIONS {
        for n in 0..10 {
            let batch =
                Build::plain(now_ms() - age(topic), &format!("{topic}-{n}"), RECORDS as usize);
            hand.produce(topic, partition, &batch).unwrap();
        }
        if first == First::Trimmed {
            hand.delete_records(topic, partition, 55).unwrap();
        }
    }
}

struct Switched {
    stage: Stage,
    to: Obeyed,
    topics: Vec<Topic>,
    size: Size,
    kills: u32,
}

/// What is out of order at the clusters while a stop is ordered.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// The first broker of the destination is killed, or frozen.
    Killed,
    Frozen,
    /// The whole source is frozen: a failover goes on without it.
    SourceFrozen,
}

impl Switched {
    fn fault(&self, is_promote: bool, number: u32) -> Fault {
        let has_more = self.size.brokers > 1;
        match (number / 2 % 4, is_promote) {
            (1, _) if has_more => Fault::Killed,
            (2, _) if has_more => Fault::Frozen,
            (0 | 3, false) => Fault::SourceFrozen,
            _ => Fault::None,
        }
    }

    fn break_it(&self, fault: Fault) {
        let (source, there) = &self.stage.clusters;
        match fault {
            Fault::None => {}
            Fault::Killed => there.kill(1).unwrap(),
            Fault::Frozen => there.freeze(1).unwrap(),
            Fault::SourceFrozen => (1..=self.size.brokers).for_each(|n| source.freeze(n).unwrap()),
        }
    }

    fn mend_it(&self, fault: Fault) {
        let (source, there) = &self.stage.clusters;
        match fault {
            Fault::None => {}
            Fault::Killed => there.restart(1).unwrap(),
            Fault::Frozen => there.thaw(1).unwrap(),
            Fault::SourceFrozen => (1..=self.size.brokers).for_each(|n| source.thaw(n).unwrap()),
        }
    }

    /// One to three topics of a link.
    fn some(&mut self) -> Vec<Topic> {
        let link = LINKS[self.to.rng.between(0, 1) as usize].0;
        let own = self.topics.iter().filter(|topic| topic.link == link);
        let mut some: Vec<Topic> = own.cloned().collect();
        let turn = self.to.rng.between(0, some.len() as u64 - 1) as usize;
        some.rotate_left(turn);
        some.truncate(self.to.rng.between(1, 3) as usize);
        some
    }

    /// What comes in the last moment before the order may be left behind by a failover, and no
    /// more.
    fn write(&self, topics: &[Topic], number: u32) {
        for (topic, partition) in each(topics) {
            let want = self.stage.source.ends(&topic.source, partition).unwrap();
            until(&format!("{}-{partition} is level: {want:?}", topic.mirror), || {
                let ends = self.stage.destination.ends(&topic.mirror, partition).ok()?;
                (ends == want).then_some(())
            });
        }
        for (topic, partition) in each(topics) {
            let tag = format!("{}-{number}", topic.source);
            let time = now_ms() - age(&topic.source);
            let batch = Build::plain(time, &tag, RECORDS as usize);
            self.stage.source.produce(&topic.source, partition, &batch).unwrap();
        }
    }

    fn round(&mut self, number: u32) {
        let is_promote = number.is_multiple_of(2);
        let some = self.some();
        self.write(&some, number);
        let fault = self.fault(is_promote, number);
        self.to.kill_next = self.to.rng.between(0, 1) == 0 || self.size.brokers == 1;
        self.kills += u32::from(self.to.kill_next);
        self.break_it(fault);
        let verb = if is_promote { "promote" } else { "failover" };
        self.to.mirrors(&some, verb, "STOPPED");
        self.mend_it(fault);
        for topic in &some {
            self.check(topic, is_promote, number);
            self.to.delete_topic(topic);
            let there = &self.stage.destination;
            until("its topic is gone", || there.is_absent(&topic.mirror).then_some(()));
            self.to.create_mirror(topic);
        }
    }

    /// Where each partition of the source ends that was mirrored: `last_source_fetch_offset`.
    fn ends(&self, topic: &Topic) -> Vec<i64> {
        let path = format!("/links/{}/mirrors/{}", topic.link, topic.mirror);
        let told = self.to.get(&path).unwrap();
        let lags = told["mirror_lags"].as_array().unwrap();
        lags.iter().map(|one| one["last_source_fetch_offset"].as_i64().unwrap()).collect()
    }

    /// Equal up to the seal, nothing between it and the first record of somebody else.
    fn check(&self, topic: &Topic, is_promote: bool, number: u32) {
        let ends = self.ends(topic);
        for (partition, end) in (0..PARTITIONS).zip(ends) {
            let what = format!("round {number}: {}-{partition} up to {end}", topic.mirror);
            let ours = until(&what, || self.stage.source.read(&topic.source, partition).ok());
            // a leader that was elected since tells a high watermark that lies behind for a moment
            let there = until(&what, || {
                let there = self.stage.destination.log(&topic.mirror, partition).ok()?;
                (there.end > end).then_some(there)
            });
            assert!(!is_promote || ours.end == end, "{what}: the source ends at {}", ours.end);
            assert!(end <= ours.end, "{what}: the source ends at {}", ours.end);
            let differ = batches_equal(&ours, &there, ours.start.max(there.start), end);
            assert!(differ.is_empty(), "{what}: {differ:#?}");
            assert_eq!(there.end, end + 1, "{what}");
            let seal = there.batches.last().unwrap();
            let header = seal.header.unwrap();
            let is_seal = (header.producer_epoch, header.base_sequence) == (1, 0);
            assert!(
                is_seal && header.producer_id >= OURS && seal.base == end,
                "{what}: {header:?}"
            );
            self.produce(topic, partition, end + 1);
            self.late(topic, partition, end);
        }
        for key in CONFIGS {
            let of = |hand: &Hand, name: &str| hand.config(name, key).unwrap();
            let want = of(&self.stage.source, &topic.source);
            until(&format!("{key} of {} is {want:?}", topic.mirror), || {
                (of(&self.stage.destination, &topic.mirror) == want).then_some(())
            });
        }
    }

    /// An idempotent producer is welcome at once, at the very next offsets.
    fn produce(&self, topic: &Topic, partition: i32, next: i64) {
        for n in 0..2 {
            let sequence = (n * RECORDS) as i32;
            let batch = Build::plain(now_ms() - age(&topic.source), "mine", RECORDS as usize);
            let batch = batch.producer(THEIRS + next, 0, sequence);
            let at = self.stage.destination.produce(&topic.mirror, partition, &batch).unwrap();
            assert_eq!(at, next + n * RECORDS, "{}-{partition}", topic.mirror);
        }
    }

    /// What isolog sent before the seal is refused behind it, whenever it comes. Where the data is
    /// old the broker has looked for writers to be forgotten first: it knows the producer of old
    /// records behind the seal no more.
    fn late(&self, topic: &Topic, partition: i32, end: i64) {
        let (mirror, there) = (&topic.mirror, &self.stage.destination);
        let age = age(&topic.source);
        if age > 0 {
            until(&format!("{mirror}-{partition}: who wrote old records is forgotten"), || {
                let known = there.writers(mirror, partition).unwrap();
                (!known.contains(&(THEIRS + end + 1))).then_some(())
            });
        }
        let before = there.log(mirror, partition).unwrap();
        let seal = before.batches.iter().find(|batch| batch.base == end);
        let writer = seal.unwrap().header.unwrap().producer_id;
        for (epoch, sequence) in [(0, end), (0, end - RECORDS), (1, end + 5)] {
            let late = Build::plain(now_ms() - age, "late", RECORDS as usize);
            let late = late.producer(writer, epoch, sequence.max(0) as i32);
            let answer = there.produce(mirror, partition, &late);
            let told = format!("{:?}", answer.as_ref().err());
            assert!(
                told.contains("error 47") || told.contains("error 45"),
                "{mirror}-{partition}, epoch {epoch}, sequence {sequence}: {answer:?}"
            );
        }
        let after = there.ends(mirror, partition).unwrap();
        assert_eq!(after, (before.start, before.end), "{mirror}-{partition}: nothing is appended");
    }

    /// Every broker of the destination is killed and started again: what comes late is refused as
    /// before.
    fn restart(&self) {
        for node in 1..=self.size.brokers {
            self.stage.clusters.1.kill(node).unwrap();
            self.stage.clusters.1.restart(node).unwrap();
        }
        for topic in &self.topics {
            for (partition, end) in (0..PARTITIONS).zip(self.ends(topic)) {
                self.late(topic, partition, end);
            }
        }
    }

    /// All of them at the end: Java's producers, both readers, and nothing of ours behind a seal.
    fn end(&mut self) -> u64 {
        for (link, _) in LINKS {
            let own: Vec<Topic> =
                self.topics.iter().filter(|topic| topic.link == link).cloned().collect();
            self.to.mirrors(&own, "promote", "STOPPED");
            own.iter().for_each(|topic| self.check(topic, true, self.size.rounds));
        }
        self.restart();
        let names: Vec<String> = self.topics.iter().map(|topic| topic.mirror.clone()).collect();
        let to = self.stage.clusters.1.bootstrap().to_owned();
        let keyed = ["--keys", "50"];
        let txn = [&keyed[..], &["--txn", "20", "--abort-percent", "30"]].concat();
        for more in [&keyed[..], &txn[..]] {
            let spec = LoadSpec {
                topics: names.iter().map(|name| (name.clone(), "snappy".to_owned())).collect(),
                create: None,
                records: Some(LOADED),
                rate: None,
                more: more.iter().map(|word| (*word).to_owned()).collect(),
            };
            let loaded = Load::start(&to, &spec).unwrap().wait().unwrap();
            assert_eq!((loaded.records, loaded.errors), (LOADED, 0), "{loaded:?}");
        }
        let of = |reader| dump(reader, &to, &DumpSpec::committed(&names)).unwrap();
        let (java, librdkafka) = (of(Reader::Java), of(Reader::Librdkafka));
        assert_equal(&java, &librdkafka);
        for topic in &self.topics {
            for (partition, end) in (0..PARTITIONS).zip(self.ends(topic)) {
                let log = self.stage.destination.log(&topic.mirror, partition).unwrap();
                let mut late = log.batches.iter().filter(|batch| batch.base > end);
                let is_ours = |id: i64| id >= OURS;
                let late = late.find(|batch| batch.header.is_some_and(|h| is_ours(h.producer_id)));
                assert!(late.is_none(), "{}-{partition}: {late:?}", topic.mirror);
            }
        }
        java.iter().map(|one| one.records).sum()
    }
}

fn each(topics: &[Topic]) -> impl Iterator<Item = (&Topic, i32)> {
    topics.iter().flat_map(|topic| (0..PARTITIONS).map(move |partition| (topic, partition)))
}

/// Must show: promotes and failovers of topics of every kind, isolog killed amid the order, brokers
/// killed and frozen: each ends STOPPED, equal, sealed, with its source's configs, and takes
/// producers at once.
#[test]
fn each_topic_ends_sealed_and_equal_whatever_is_killed() {
    let size = size();
    let _room = long_room(2 * u32::from(size.brokers));
    let forgetful = RealSpec::new("4.3.1", size.brokers)
        .prop("producer.id.expiration.check.interval.ms", "1000")
        .prop("log.retention.ms", "-1");
    let source = RealSpec::new("4.3.1", size.brokers).prop("log.retention.ms", "-1");
    let stage = Stage::on(RealCluster::both(source, forgetful).unwrap());
    let topics = topics(&stage.clusters.0, &stage.source, &size);
    let to = Obeyed::new(Program::start(&stage.clusters.1), seed());
    let mut on = Switched { stage, to, topics, size, kills: 0 };
    let from = on.stage.clusters.0.bootstrap().to_owned();
    LINKS.into_iter().for_each(|link| on.to.create_link(link, &from));
    on.topics.clone().iter().for_each(|topic| on.to.create_mirror(topic));
    let began = Instant::now();
    (0..on.size.rounds).for_each(|number| on.round(number));
    let records = on.end();
    assert!(on.to.program.isolog.is_running());
    let log = on.to.program.isolog.log();
    assert!(!log.contains("panicked"), "a panic:\n{log}");
    println!(
        "switched, seed {}: {} promotes and failovers over {} topics within {:.0} s, {} kills of \
         isolog, {} orders given again; {records} records read behind them by Java and librdkafka",
        seed(),
        on.size.rounds,
        on.topics.len(),
        began.elapsed().as_secs_f64(),
        on.kills,
        on.to.repeats,
    );
}
