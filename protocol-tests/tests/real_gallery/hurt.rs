//! What is done to isolog and to the brokers while producers write.
//!
//! It never hurts two brokers of a side at once.

use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use protocol_tests::real::Isolog;
use protocol_tests::real::RealCluster;
use protocol_tests::rng::Rng;

use crate::Size;

/// For how long a broker stays dead or frozen, at least and at most.
const AWAY_MS: (u64, u64) = (3_000, 15_000);
/// How long a cluster rests after that.
const REST_MS: u64 = 6_000;

/// For how long a machine that is loaded may need to start isolog and to copy something.
const PROGRESS_MAX: Duration = Duration::from_secs(60);

/// Kills isolog at random moments: half of them in its first second, when it looks at the logs,
/// builds what lies below their starts and fills; half of them after it has copied something.
pub fn isolog(
    isolog: &mut Isolog,
    size: &Size,
    rng: &mut Rng,
    copied: impl Fn() -> i64,
    mut between: impl FnMut(),
) {
    for kill in 0..size.kills {
        let before = copied();
        if kill % 2 == 0 {
            let until = Instant::now() + PROGRESS_MAX;
            while copied() == before && Instant::now() < until {
                sleep(Duration::from_millis(100));
            }
            sleep(Duration::from_millis(rng.between(0, size.life_ms_max)));
        } else {
            sleep(Duration::from_millis(rng.between(50, 900)));
        }
        assert!(isolog.is_running(), "isolog ended by itself:\n{}", isolog.log());
        isolog.kill();
        between();
        isolog.start_again().unwrap();
    }
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
