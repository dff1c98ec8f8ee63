//! The gallery: every kind of log that a real cluster holds, mirrored while producers write and
//! isolog is killed, and read back by clients that are not ours.
//!
//! It never skips. The first pair of each set is shown by default, without the logs that start
//! above zero or have a large hole. `ISOLOG_GALLERY=pairs` shows everything between every pair of
//! clusters, `ISOLOG_GALLERY=full` does so in the size that the issue asks for (30 kills),
//! `ISOLOG_GALLERY_PAIR=4.3.1:2.8.2-kraft` shows one of `PAIRS` alone (`x3` behind it: three
//! brokers a side, which die, freeze and lose their leaderships), `ISOLOG_GALLERY_SEED` replays
//! the moments.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod exhibits;
mod hurt;
mod judged;

use std::time::Duration;
use std::time::Instant;

use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::room;
use protocol_tests::rng::Rng;

use self::exhibits::Exhibit;
use self::exhibits::Set;

/// What one showing is made of.
#[derive(Clone, Copy)]
pub struct Size {
    /// Kills of isolog.
    pub kills: u32,
    /// The longest life of an isolog that copies.
    pub life_ms_max: u64,
    /// The longest life of one that fills.
    pub fill_ms_max: u64,
    /// How many of the largest fillers the long front and the large hole take, in each partition.
    pub deep: u32,
    /// Records a second over all topics of one load.
    pub rate: u64,
    /// For how long the copy may need once everybody is quiet: a compacted topic that is trimmed
    /// waits for 75 s until its front is gone for good, and is cleaned then.
    pub level_seconds_max: u64,
}

const CI: Size = Size {
    kills: 6,
    life_ms_max: 2_500,
    fill_ms_max: 300,
    deep: 12,
    rate: 150,
    level_seconds_max: 300,
};
const FULL: Size = Size {
    kills: 30,
    life_ms_max: 6_000,
    fill_ms_max: 500,
    deep: 40,
    rate: 300,
    level_seconds_max: 600,
};

/// Which clusters a set is shown between.
#[derive(Clone, Copy, Debug)]
struct Pair {
    set: Set,
    source: &'static str,
    destination: &'static str,
    /// Brokers of each cluster; three of them are hurt too.
    brokers: u8,
}

const fn pair(set: Set, source: &'static str, destination: &'static str, brokers: u8) -> Pair {
    Pair { set, source, destination, brokers }
}

/// The first of each set is shown always.
const PAIRS: [Pair; 10] = [
    pair(Set::Modern, "4.3.1", "4.3.1", 1),
    pair(Set::Modern, "3.9.1", "4.3.1", 1),
    pair(Set::Modern, "4.3.1", "3.9.1", 1),
    pair(Set::Modern, "4.3.1", "2.8.2", 1),
    pair(Set::Modern, "4.3.1", "2.8.2-kraft", 1),
    pair(Set::Modern, "4.3.1", "4.3.1", 3),
    pair(Set::Old, "2.8.2", "3.9.1", 1),
    pair(Set::Old, "2.8.2", "4.3.1", 1),
    pair(Set::Old, "2.8.2", "2.8.2", 1),
    pair(Set::Old, "2.8.2", "2.8.2-kraft", 1),
];

impl Pair {
    fn name(&self) -> String {
        let three = if self.brokers > 1 { "x3" } else { "" };
        format!("{}:{}{three}", self.source, self.destination)
    }
}

fn told(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

fn is_full() -> bool {
    told("ISOLOG_GALLERY").is_some_and(|text| text == "full")
}

/// Whether more is asked for than what every run of CI has time for: long fronts, large holes, and
/// compacted topics that are trimmed, which wait for 75 s until that is settled.
fn is_whole() -> bool {
    told("ISOLOG_GALLERY").is_some() || told("ISOLOG_GALLERY_PAIR").is_some()
}

fn size() -> Size {
    if is_full() { FULL } else { CI }
}

/// The pairs of a set that are asked for.
fn asked(set: Set) -> Vec<Pair> {
    let mut all: Vec<Pair> = PAIRS.into_iter().filter(|pair| pair.set == set).collect();
    if let Some(name) = told("ISOLOG_GALLERY_PAIR") {
        assert!(PAIRS.iter().any(|pair| pair.name() == name), "{name} is none of {PAIRS:?}");
        all.retain(|pair| pair.name() == name);
    } else if !is_whole() {
        all.truncate(1);
    }
    all
}

fn seed() -> u64 {
    std::env::var("ISOLOG_GALLERY_SEED").map_or(20_261_121, |text| text.parse().unwrap())
}

/// A cluster whose cleaner does not wait.
fn cluster(version: &str, brokers: u8) -> RealSpec {
    let spec = RealSpec::new(version, brokers)
        .prop("log.cleaner.backoff.ms", "400")
        .prop("log.cleaner.threads", "1")
        .prop("log.retention.check.interval.ms", "3600000");
    if brokers > 1 { spec.prop("min.insync.replicas", "2") } else { spec }
}

/// Producers write, and everything that can be killed is; what isolog was doing when it was.
fn hurt(
    all: &[Exhibit],
    isolog: &mut Isolog,
    size: &Size,
    clusters: [&RealCluster; 2],
    rng: &mut Rng,
) -> hurt::Hits {
    let [here, there] = clusters.map(|cluster| Hand::new(cluster.bootstrap()));
    std::thread::scope(|scope| {
        let mut dice = rng.fork();
        let brokers = (clusters[0].ports().len() > 1)
            .then(|| scope.spawn(move || hurt::brokers(clusters, &mut dice)));
        let copied = || exhibits::copied(all, &there);
        let hits = hurt::isolog(isolog, size, rng, copied, || {
            exhibits::trim(all, &here, &there);
        });
        brokers.into_iter().for_each(|one| one.join().unwrap());
        hits
    })
}

/// Shows a set of exhibits between two clusters.
fn show(pair: Pair, size: Size) {
    let _room = room(2 * u32::from(pair.brokers));
    let mut rng = Rng::new(seed());
    let began = Instant::now();
    let specs = [pair.source, pair.destination].map(|version| cluster(version, pair.brokers));
    let [source, destination] = specs;
    let (source, destination) = RealCluster::both(source, destination).unwrap();
    let (here, there) = (Hand::new(source.bootstrap()), Hand::new(destination.bootstrap()));
    let all = Exhibit::all(pair.set, is_whole());
    for exhibit in &all {
        exhibit.create(&here, i16::from(pair.brokers));
    }
    let loads = exhibits::start_loads(pair.set, source.bootstrap(), size.rate);
    exhibits::wait_written(&all, &here, 40);
    all.iter().for_each(|exhibit| exhibit.prepare(&here, size.deep));
    let prepared_after = began.elapsed();

    let mut spec = IsologSpec::new(source.bootstrap(), destination.bootstrap(), &["g-*"]);
    spec.link = "gallery".into();
    let mut isolog = Isolog::start(&spec).unwrap();
    let hits = hurt(&all, &mut isolog, &size, [&source, &destination], &mut rng);
    let hurt_after = began.elapsed();
    let written: u64 = loads.into_iter().map(|load| load.stop().unwrap().records).sum();
    judged::places(&all).for_each(|(exhibit, partition)| exhibit.close(&here, partition));
    // The KRaft of 2.8.2 tells its logs of changed configs when it starts, and never starts twice
    // (docs/OFFSETS.md): it cleans nothing that became compacted when its front was gone.
    let never_cleaned = |one: &Exhibit| pair.destination.ends_with("-kraft") && one.is_staged();
    let (staged, all): (Vec<_>, Vec<_>) = all.into_iter().partition(never_cleaned);
    judged::judge_uncleaned(&staged, &here, &there, size.level_seconds_max);
    judged::wait_level(&all, &here, &there, &isolog, size.level_seconds_max);
    let level_after = began.elapsed();
    assert!(isolog.term(Duration::from_secs(20)).unwrap().success());
    let fillers = judged::judge(&all, &here, &there);
    let read = judged::read_by_all(&all, pair.destination, [&source, &destination]);
    let log = isolog.log();
    assert!(!log.contains("panicked"), "a panic:\n{log}");
    println!(
        "gallery {}, seed {}: {written} records written, {read} read by every client on both \
         sides and equal, {fillers} offsets filled and still there; {} kills of isolog, by what \
         it was doing: {hits:?}; prepared at {:.0} s, hurt until {:.0} s, level at {:.0} s, read \
         at {:.0} s",
        pair.name(),
        seed(),
        size.kills,
        prepared_after.as_secs_f64(),
        hurt_after.as_secs_f64(),
        level_after.as_secs_f64(),
        began.elapsed().as_secs_f64(),
    );
}

/// Must show: every kind of log, with everything killed, equal for everybody.
#[test]
fn every_kind_of_log_is_copied() {
    asked(Set::Modern).into_iter().for_each(|pair| show(pair, size()));
}

/// Must show: formats 0 and 1, and 2.8's transactions and cleaner.
#[test]
fn old_formats_are_copied() {
    asked(Set::Old).into_iter().for_each(|pair| show(pair, size()));
}
