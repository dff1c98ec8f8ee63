//! The gallery: every kind of log that a real cluster holds, mirrored while producers write and
//! isolog is killed, and read back by clients that are not ours.
//!
//! It never skips. `ISOLOG_GALLERY=full` has the size that the issue asks for (30 kills, every pair
//! of versions, three brokers that die, freeze and lose their leaderships); `ISOLOG_GALLERY_SEED`
//! replays the moments.

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
use protocol_tests::real::turn;
use protocol_tests::rng::Rng;

use crate::exhibits::Exhibit;
use crate::exhibits::Set;

/// What one showing is made of.
#[derive(Clone, Copy)]
pub struct Size {
    /// Brokers of each cluster.
    pub brokers: u8,
    /// Kills of isolog.
    pub kills: u32,
    /// The longest life of an isolog.
    pub life_ms_max: u64,
    /// Records a second over all topics of one load.
    pub rate: u64,
    /// For how long the copy may need once everybody is quiet.
    pub level_seconds_max: u64,
}

const CI: Size =
    Size { brokers: 1, kills: 6, life_ms_max: 2_500, rate: 150, level_seconds_max: 120 };
const FULL: Size =
    Size { brokers: 1, kills: 30, life_ms_max: 6_000, rate: 600, level_seconds_max: 300 };

fn is_full() -> bool {
    std::env::var("ISOLOG_GALLERY").is_ok_and(|text| text == "full")
}

fn size() -> Size {
    if is_full() { FULL } else { CI }
}

fn seed() -> u64 {
    std::env::var("ISOLOG_GALLERY_SEED").map_or(20_261_121, |text| text.parse().unwrap())
}

/// A cluster whose cleaner does not wait.
fn cluster(version: &str, brokers: u8) -> RealCluster {
    let spec = RealSpec::new(version, brokers)
        .prop("log.cleaner.backoff.ms", "400")
        .prop("log.cleaner.threads", "1")
        .prop("log.retention.check.interval.ms", "3600000");
    let spec = if brokers > 1 { spec.prop("min.insync.replicas", "2") } else { spec };
    RealCluster::start(spec).unwrap()
}

/// Shows a set of exhibits between two versions.
fn show(set: Set, versions: (&str, &str), size: Size) {
    let _turn = turn();
    let mut rng = Rng::new(seed());
    let (source, destination) =
        (cluster(versions.0, size.brokers), cluster(versions.1, size.brokers));
    let (here, there) = (Hand::new(source.bootstrap()), Hand::new(destination.bootstrap()));
    let all = Exhibit::all(set);
    for exhibit in &all {
        exhibit.create(&here, i16::from(size.brokers));
    }
    let began = Instant::now();
    let loads = exhibits::start_loads(set, source.bootstrap(), size.rate);
    exhibits::wait_written(&all, &here, 40);
    all.iter().for_each(|exhibit| exhibit.prepare(&here));

    let mut spec = IsologSpec::new(source.bootstrap(), destination.bootstrap(), &["g-*"]);
    spec.link = "gallery".into();
    let mut isolog = Isolog::start(&spec).unwrap();
    std::thread::scope(|scope| {
        let mut dice = rng.fork();
        let clusters = [&source, &destination];
        let brokers =
            (size.brokers > 1).then(|| scope.spawn(move || hurt::brokers(clusters, &mut dice)));
        let copied = || exhibits::copied(&all, &there);
        hurt::isolog(&mut isolog, &size, &mut rng, copied, || {
            exhibits::trim(&all, &here, &there);
        });
        brokers.into_iter().for_each(|one| one.join().unwrap());
    });
    let hurt_for = began.elapsed();
    let written: u64 = loads.into_iter().map(|load| load.stop().unwrap().records).sum();
    all.iter().for_each(|exhibit| exhibit.close(&here));
    judged::wait_level(&all, &here, &there, &isolog, size.level_seconds_max);
    let level_after = began.elapsed();
    assert!(isolog.term(Duration::from_secs(20)).unwrap().success());
    let fillers = judged::judge(&all, &here, &there);
    let read = judged::read_by_all(&all, versions, source.bootstrap(), destination.bootstrap());
    let log = isolog.log();
    assert!(!log.contains("panicked"), "a panic:\n{log}");
    println!(
        "gallery {} to {}, seed {}: {written} records written, {read} read by every client on \
         both sides and equal, {fillers} offsets filled; {} kills of isolog within {:.0} s, \
         level at {:.0} s, read at {:.0} s",
        versions.0,
        versions.1,
        seed(),
        size.kills,
        hurt_for.as_secs_f64(),
        level_after.as_secs_f64(),
        began.elapsed().as_secs_f64(),
    );
}

/// Must show: every kind of log, with everything killed, equal for everybody.
#[test]
fn every_kind_of_log_is_copied() {
    show(Set::Modern, ("4.3.1", "4.3.1"), size());
    if is_full() {
        show(Set::Modern, ("3.9.1", "4.3.1"), FULL);
        show(Set::Modern, ("4.3.1", "3.9.1"), FULL);
        show(Set::Modern, ("4.3.1", "2.8.2"), FULL);
        // three brokers a side which die, freeze and lose their leaderships
        show(Set::Modern, ("4.3.1", "4.3.1"), Size { brokers: 3, ..FULL });
    }
}

/// Must show: formats 0 and 1, and 2.8's transactions and cleaner.
#[test]
fn old_formats_are_copied() {
    show(Set::Old, ("2.8.2", "3.9.1"), size());
    if is_full() {
        show(Set::Old, ("2.8.2", "4.3.1"), FULL);
    }
}
