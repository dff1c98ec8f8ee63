//! What is done to isolog and to the brokers while producers write.
//!
//! It never hurts two brokers of a side at once.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use protocol_tests::real::Isolog;
use protocol_tests::real::RealCluster;
use protocol_tests::real::Seen;
use protocol_tests::rng::Rng;

use super::Size;
use super::exhibits;

/// For how long a broker stays dead or frozen, at least and at most.
const AWAY_MS: (u64, u64) = (3_000, 15_000);
/// How long a cluster rests after that.
const REST_MS: u64 = 6_000;

/// For how long a machine that is loaded may need to start isolog and to copy something.
const PROGRESS_MAX: Duration = Duration::from_secs(60);

/// How often isolog is asked where it is.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// What isolog is doing, as it shows it itself; of several partitions there may be several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It does not answer yet.
    Starting,
    /// It looks at both logs.
    Looking,
    /// It fills what lies below a log's start.
    Front,
    /// It fills a hole.
    Hole,
    /// It copies what is there.
    Copying,
    /// Nothing is left to do anywhere.
    Level,
}

/// How many kills came in each phase.
pub type Hits = BTreeMap<Phase, u32>;

fn phases(isolog: &Isolog, size: &Size) -> BTreeSet<Phase> {
    let (holed, hole) = exhibits::hole(size.deep);
    let phase = |seen: &Seen| match (seen.state.as_str(), seen.destination_end) {
        ("Preparing", _) => Phase::Looking,
        _ if seen.front_offsets > 0 => Phase::Front,
        (_, Some(end)) if seen.topic == holed && hole.contains(&end) => Phase::Hole,
        _ if seen.lag_records == Some(0) => Phase::Level,
        _ => Phase::Copying,
    };
    let mut found: BTreeSet<Phase> = isolog.partitions().iter().map(phase).collect();
    if found.is_empty() {
        found.insert(Phase::Starting);
    } else if found.len() > 1 {
        found.remove(&Phase::Level);
    }
    found
}

fn wait(until: Instant, mut is_there: impl FnMut() -> bool) {
    while !is_there() && Instant::now() < until {
        sleep(LOOK_PAUSE);
    }
}

/// Whether isolog fills a front or a hole, or has none left to fill.
fn is_filling(isolog: &Isolog, size: &Size) -> bool {
    let found = phases(isolog, size);
    let fills = found.contains(&Phase::Front) || found.contains(&Phase::Hole);
    fills || !(found.contains(&Phase::Starting) || found.contains(&Phase::Looking))
}

/// Kills isolog: two of three times while it fills, as long as there is something to fill; else now
/// in its first second, when it looks at the logs, now after it has copied something.
pub fn isolog(
    isolog: &mut Isolog,
    size: &Size,
    rng: &mut Rng,
    copied: impl Fn() -> i64,
    mut between: impl FnMut(),
) -> Hits {
    let mut hits = Hits::new();
    for kill in 0..size.kills {
        let until = Instant::now() + PROGRESS_MAX;
        let life_ms = match kill % 6 {
            2 => {
                let before = copied();
                wait(until, || copied() > before);
                rng.between(0, size.life_ms_max)
            }
            5 => rng.between(50, 900),
            _ => {
                wait(until, || is_filling(isolog, size));
                rng.between(0, size.fill_ms_max)
            }
        };
        sleep(Duration::from_millis(life_ms));
        assert!(isolog.is_running(), "isolog ended by itself:\n{}", isolog.log());
        let found = phases(isolog, size);
        isolog.kill();
        println!("kill {} came while {found:?}", kill + 1);
        found.into_iter().for_each(|phase| *hits.entry(phase).or_default() += 1);
        between();
        isolog.start_again().unwrap();
    }
    hits
}

/// Kills, freezes and stops in order: each broker of each side once in a manner of its own. A
/// stop moves all leaders away, and the start lets them come back.
pub fn brokers(sides: [&RealCluster; 2], rng: &mut Rng) {
    let mut manner = rng.between(0, 2);
    for node in 1..=3 {
        for side in sides {
            let away = Duration::from_millis(rng.between(AWAY_MS.0, AWAY_MS.1));
            match manner % 3 {
                0 => side.kill(node).unwrap(),
                1 => side.freeze(node).unwrap(),
                _ => side.term(node).unwrap(),
            }
            sleep(away);
            match manner % 3 {
                1 => side.thaw(node).unwrap(),
                _ => side.restart(node).unwrap(),
            }
            manner += 1;
            sleep(Duration::from_millis(REST_MS));
        }
    }
}
