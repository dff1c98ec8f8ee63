//! What is done to isolog and to the brokers while producers write.
//!
//! It never hurts two brokers of a side at once.

use std::thread::sleep;
use std::time::Duration;

use protocol_tests::real::Isolog;
use protocol_tests::real::RealCluster;
use protocol_tests::rng::Rng;

use crate::Size;

/// For how long a broker stays dead or frozen, at least and at most.
const AWAY_MS: (u64, u64) = (3_000, 15_000);
/// How long a cluster rests after that.
const REST_MS: u64 = 6_000;

/// Kills isolog at random moments: half of them in its first second, when it looks at the logs,
/// builds what lies below their starts and fills.
pub fn isolog(isolog: &mut Isolog, size: &Size, rng: &mut Rng, mut between: impl FnMut()) {
    for _ in 0..size.kills {
        let life_ms = match rng.chance(500) {
            true => rng.between(50, 900),
            false => rng.between(900, size.life_ms_max),
        };
        sleep(Duration::from_millis(life_ms));
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
