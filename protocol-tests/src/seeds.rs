//! Many seeds on all cores, and what the environment says of them.
//!
//! It never lets one seed see another: what came of each is a function of the seed alone.

use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;

/// How many seeds run unless something else is told.
const SEEDS: u64 = 200;

/// A number of the environment: `ISOLOG_SEED=n` replays one seed, `ISOLOG_SEEDS=n` runs so many.
pub fn told(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// The seeds that are wanted: one, or as many as are told, or 200.
pub fn wanted() -> Range<u64> {
    wanted_of(SEEDS)
}

/// The same with another number of every day, where a seed costs more than most.
pub fn wanted_of(every_day: u64) -> Range<u64> {
    let all = || 0..told("ISOLOG_SEEDS").unwrap_or(every_day);
    told("ISOLOG_SEED").map_or_else(all, |seed| seed..seed + 1)
}

/// What came of each seed, in any order. A seed that panics ends all of it with its own panic.
pub fn on_all_cores<T: Send>(seeds: Range<u64>, run: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut done = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return done;
            }
            done.push(run(seed));
        }
    };
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let done = workers.into_iter().map(|worker| worker.join());
        done.flat_map(|done| done.unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::on_all_cores;

    #[test]
    fn each_seed_runs_once() {
        let mut seen = on_all_cores(3..50, |seed| seed);
        seen.sort_unstable();
        assert_eq!(seen, (3..50).collect::<Vec<_>>());
    }

    #[test]
    #[should_panic(expected = "seed 7")]
    fn a_seed_that_fails_is_told() {
        on_all_cores(0..20, |seed| assert!(seed != 7, "seed {seed}"));
    }
}
