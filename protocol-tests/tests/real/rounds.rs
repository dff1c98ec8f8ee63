//! Links and mirror topics ordered by REST in many rounds, under load, while isolog is killed amid
//! orders and one broker of each side dies: what was ordered holds, and the copies are equal.
//!
//! It never skips. `ISOLOG_ROUNDS=full` is the size that the issue asks for (200 rounds over 20
//! topics, 30 kills, three brokers a side); `ISOLOG_ROUNDS_SEED` replays its choices.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
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
use protocol_tests::real::dump;
use protocol_tests::real::long_room;
use protocol_tests::real::now_ms;
use serde_json::Value;

use crate::obeyed::Call;
use crate::obeyed::Obeyed;
use crate::obeyed::Topic;
use crate::obeyed::put;
use crate::operated::Stage;
use crate::operated::until;
use crate::served::Program;

const PARTITIONS: i32 = 2;
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// The link without a prefix, and the one with.
const LINKS: [(&str, &str); 2] = [("dr", ""), ("west", "w.")];
/// A setting of each effect, and two values for it: reconnect, replan, reseat, task, link.
const SETTINGS: [(&str, [&str; 2]); 5] = [
    ("client.id", ["one", "two"]),
    ("mirror.topics.exclude.pattern", ["x-.*", "y-.*"]),
    ("link.max.bytes.per.second", ["50000000", "-1"]),
    ("availability.check.ms", ["1500", "1000"]),
    ("cluster.link.paused", ["true", "false"]),
];

struct Size {
    rounds: u32,
    kills: u32,
    topics_per_kind: usize,
    brokers: u8,
    /// Records a second, of all producers together.
    rate: u64,
}

const CI: Size = Size { rounds: 12, kills: 4, topics_per_kind: 1, brokers: 1, rate: 200 };
const FULL: Size = Size { rounds: 200, kills: 30, topics_per_kind: 5, brokers: 3, rate: 120 };

fn size() -> Size {
    match std::env::var("ISOLOG_ROUNDS").as_deref() {
        Ok("full") => FULL,
        _ => CI,
    }
}

fn seed() -> u64 {
    std::env::var("ISOLOG_ROUNDS_SEED").map_or(20_261_129, |text| text.parse().unwrap())
}

/// Everything that is ordered, and who orders it.
struct Rounds {
    stage: Stage,
    to: Obeyed,
    topics: Vec<Topic>,
}

impl Rounds {
    /// Some topics of a link, at least one.
    fn some_of(&mut self, link: &str) -> Vec<Topic> {
        let mut some: Vec<Topic> =
            self.topics.iter().filter(|topic| topic.link == link).cloned().collect();
        let count = self.to.rng.between(1, some.len() as u64) as usize;
        let turn = self.to.rng.between(0, some.len() as u64 - 1) as usize;
        some.rotate_left(turn);
        some.truncate(count);
        some
    }

    fn change(&mut self, link: &str, (name, values): (&str, [&str; 2])) {
        for value in values {
            let path = format!("/links/{link}/configs/{name}");
            self.to.obey(&put(path.clone(), value), |now| Some(now.get(&path)?["value"] == value));
        }
    }

    fn delete_and_create(&mut self, topic: &Topic) {
        self.to.delete_topic(topic);
        let there = &self.stage.destination;
        until("its topic is gone", || there.is_absent(&topic.mirror).then_some(()));
        self.to.create_mirror(topic);
    }

    fn create_link(&mut self, link: (&str, &str)) {
        self.to.create_link(link, self.stage.clusters.0.bootstrap());
    }

    fn delete_link_and_create(&mut self, link: (&str, &str)) {
        let path = format!("/links/{}?force=true", link.0);
        let call = Call { method: "DELETE", path, body: None };
        self.to.obey(&call, |now| now.has_link(link.0).map(|is_there| !is_there));
        self.create_link(link);
        for topic in self.topics.clone().iter().filter(|topic| topic.link == link.0) {
            self.to.create_mirror(topic);
        }
    }

    fn round(&mut self, number: u32) {
        let link = LINKS[self.to.rng.between(0, 1) as usize];
        match number % 5 {
            0 => {
                let some = self.some_of(link.0);
                self.to.mirrors(&some, "pause", "PAUSED");
                self.to.mirrors(&some, "resume", "ACTIVE");
            }
            1 | 2 => {
                let nth = number / 5 * 2 + number % 5 - 1;
                let setting = SETTINGS[nth as usize % SETTINGS.len()];
                self.change(link.0, setting);
            }
            3 => {
                let some = self.some_of(link.0);
                self.delete_and_create(&some[0]);
            }
            _ => self.delete_link_and_create(link),
        }
    }
}

/// The topics of a kind are written by one producer, but those that begin above zero by two: what
/// lies below their start is written and deleted by hand.
fn loads(source: &RealCluster, hand: &Hand, size: &Size) -> (Vec<Topic>, Vec<Load>) {
    let mut all = Vec::new();
    let mut loads = Vec::new();
    let kinds: [(&str, usize, &[&str]); 4] = [
        ("plain", 0, &[]),
        ("txn", 0, &["--txn", "20", "--abort-percent", "30"]),
        ("compact", 1, &["--keys", "50", "--tombstone-percent", "10"]),
        ("above", 1, &[]),
    ];
    for (kind, link, more) in kinds {
        let topics = Topic::of(kind, size.topics_per_kind, LINKS[link]);
        let configs: &[_] = if kind == "compact" { &[("cleanup.policy", "compact")] } else { &[] };
        for topic in &topics {
            hand.create(&topic.source, PARTITIONS, i16::from(size.brokers), configs).unwrap();
            if kind == "above" {
                begin_above_zero(hand, &topic.source);
            }
        }
        let named = topics.iter().zip(CODECS.iter().cycle());
        let spec = LoadSpec {
            topics: named.map(|(one, codec)| (one.source.clone(), (*codec).into())).collect(),
            create: None,
            records: None,
            rate: Some(size.rate / 4),
            more: more.iter().map(|word| (*word).to_owned()).collect(),
        };
        loads.push(Load::start(source.bootstrap(), &spec).unwrap());
        all.extend(topics);
    }
    (all, loads)
}

fn begin_above_zero(hand: &Hand, topic: &str) {
    for partition in 0..PARTITIONS {
        for n in 0..30 {
            let batch = Build::plain(now_ms(), &format!("{topic}-{n}"), 10);
            hand.produce(topic, partition, &batch).unwrap();
        }
        hand.delete_records(topic, partition, 205).unwrap();
    }
}

/// Every batch of each copy is its source's.
fn compare(rounds: &Rounds) -> usize {
    let (source, there) = (&rounds.stage.source, &rounds.stage.destination);
    let mut batches = 0;
    for topic in &rounds.topics {
        for partition in 0..PARTITIONS {
            let want = source.ends(&topic.source, partition).unwrap();
            let what = format!("{}-{partition} has {want:?}", topic.mirror);
            until(&what, || (there.ends(&topic.mirror, partition).ok()? == want).then_some(()));
            let ours = source.read(&topic.source, partition).unwrap();
            let copy = there.log(&topic.mirror, partition).unwrap();
            let differ = batches_equal(&ours, &copy, ours.start, ours.end);
            assert!(differ.is_empty(), "{}-{partition}: {differ:#?}", topic.mirror);
            batches += copy.batches.len();
        }
    }
    batches
}

/// A consumer that reads what is committed finds the same records on both sides; how many.
fn compare_records(rounds: &Rounds) -> u64 {
    let of = |cluster: &RealCluster, names: Vec<String>| {
        dump(Reader::Java, cluster.bootstrap(), &DumpSpec::committed(&names)).unwrap()
    };
    let (sources, mirrors) =
        rounds.topics.iter().map(|topic| (topic.source.clone(), topic.mirror.clone())).unzip();
    let mut ours = of(&rounds.stage.clusters.0, sources);
    let mut copies = of(&rounds.stage.clusters.1, mirrors);
    for copy in &mut copies {
        copy.topic = copy.topic.trim_start_matches("w.").to_owned();
    }
    ours.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    copies.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    protocol_tests::real::assert_equal(&ours, &copies);
    ours.iter().map(|one| one.records).sum()
}

/// Every topic has its owner, and every row its topic.
fn check_rows(rounds: &Rounds, rows: &BTreeMap<String, Value>) {
    let found = |kind: &str| -> BTreeSet<&str> {
        rows.keys().map(String::as_str).filter(|key| key.starts_with(kind)).collect()
    };
    let mirrors: Vec<String> =
        rounds.topics.iter().map(|one| format!("mirror/{}/{}", one.link, one.mirror)).collect();
    assert_eq!(found("mirror/"), mirrors.iter().map(String::as_str).collect());
    assert_eq!(found("link/"), BTreeSet::from(["link/dr", "link/west"]));
    let held = rounds.to.program.isolog.partitions();
    let held: BTreeMap<(&str, i64), &str> =
        held.iter().map(|p| ((p.topic.as_str(), p.partition), p.state.as_str())).collect();
    assert_eq!(held.len(), rounds.topics.len() * PARTITIONS as usize, "{held:?}");
    assert!(held.values().all(|state| *state == "Mirroring"), "{held:?}");
}

/// Must show: rounds of orders of every kind under load, with kills of isolog amid them and of one
/// broker a side: the copies are equal, the journal folds to the same, nothing is left over.
#[test]
fn what_was_ordered_holds_whatever_is_killed() {
    let size = size();
    let _room = long_room(2 * u32::from(size.brokers));
    let spec = || RealSpec::new("4.3.1", size.brokers);
    let stage = Stage::on(RealCluster::both(spec(), spec()).unwrap());
    let (topics, loads) = loads(&stage.clusters.0, &stage.source, &size);
    let program = Program::start(&stage.clusters.1);
    let mut rounds = Rounds { stage, to: Obeyed::new(program, seed()), topics };
    LINKS.into_iter().for_each(|link| rounds.create_link(link));
    rounds.topics.clone().iter().for_each(|topic| rounds.to.create_mirror(topic));
    let began = Instant::now();
    let mut kills = 0;
    for number in 0..size.rounds {
        if kills < (number + 1) * size.kills / size.rounds {
            (rounds.to.kill_next, kills) = (true, kills + 1);
        }
        let dead = dying(&rounds, number, &size);
        rounds.round(number);
        if let Some(side) = dead {
            side_of(&rounds, side).restart(1).unwrap();
        }
    }
    let took = began.elapsed();
    let written: u64 = loads.into_iter().map(|load| load.stop().unwrap().records).sum();
    let batches = compare(&rounds);
    let records = compare_records(&rounds);
    let before = rounds.to.program.rows();
    check_rows(&rounds, &before);
    rounds.to.program.isolog.kill();
    rounds.to.program.isolog.start_again().unwrap();
    rounds.to.program.isolog.wait_for("all rows are back", 90, |isolog| {
        let all = isolog.partitions();
        let is_well = |state: &str| state == "Mirroring";
        let count = rounds.topics.len() * PARTITIONS as usize;
        (all.len() == count && all.iter().all(|p| is_well(&p.state))).then_some(())
    });
    assert_eq!(rounds.to.program.rows(), before, "a start changes nothing");
    let log = rounds.to.program.isolog.log();
    assert!(!log.contains("panicked"), "a panic:\n{log}");
    println!(
        "rounds, seed {}: {} rounds over {} topics within {:.0} s, {kills} kills of isolog, {} \
         orders given again; {written} records written meanwhile; {records} records in {batches} \
         batches are equal",
        seed(),
        size.rounds,
        rounds.topics.len(),
        took.as_secs_f64(),
        rounds.to.repeats,
    );
}

/// With three brokers a side, one of each dies once, for the length of a round.
fn dying(rounds: &Rounds, number: u32, size: &Size) -> Option<usize> {
    let turns = [size.rounds / 3, 2 * size.rounds / 3];
    let side = turns.iter().position(|turn| size.brokers > 1 && *turn == number)?;
    side_of(rounds, side).kill(1).unwrap();
    Some(side)
}

fn side_of(rounds: &Rounds, side: usize) -> &RealCluster {
    if side == 0 { &rounds.stage.clusters.0 } else { &rounds.stage.clusters.1 }
}
