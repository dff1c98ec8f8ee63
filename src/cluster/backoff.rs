//! Pauses between tries: doubling, bounded, shaken by a die whose seed is given.
//!
//! It never sleeps and never reads a clock, so that a seed replays.

use std::time::Duration;

/// Beyond so many doublings the pause is at its bound anyway.
const DOUBLINGS_MAX: u32 = 30;

/// A small seeded die (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The same seed throws the same numbers.
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// The next number.
    pub fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.throw().checked_rem(bound).unwrap_or(0)
    }
}

/// The pauses of one retried thing.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Pauses that begin near `first` and never exceed `max`.
    pub fn new(first: Duration, max: Duration) -> Backoff {
        Backoff { first, max, failures: 0 }
    }

    /// The pause after one more failure: between half of the doubled pause and all of it.
    pub fn pause(&mut self, dice: &mut Dice) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(DOUBLINGS_MAX));
        self.failures = self.failures.saturating_add(1);
        let whole = doubled.min(self.max);
        let half = whole / 2;
        let shake = u64::try_from((whole - half).as_micros()).unwrap_or(u64::MAX - 1);
        half + Duration::from_micros(dice.below(shake + 1))
    }

    /// The thing worked: the next pause is a first one again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound_and_replay() {
        let (first, max) = (Duration::from_millis(50), Duration::from_secs(1));
        let run = |seed: u64| -> Vec<Duration> {
            let (mut backoff, mut dice) = (Backoff::new(first, max), Dice::new(seed));
            (0..80).map(|_| backoff.pause(&mut dice)).collect()
        };
        let pauses = run(7);
        for (at, pause) in pauses.iter().enumerate() {
            let whole = first.saturating_mul(1 << at.min(20)).min(max);
            assert!((whole / 2..=whole).contains(pause), "{at}: {pause:?}");
        }
        assert_eq!(pauses, run(7));
        assert_ne!(pauses, run(8));
    }

    #[test]
    fn a_success_begins_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        let mut dice = Dice::new(1);
        for _ in 0..9 {
            backoff.pause(&mut dice);
        }
        backoff.reset();
        assert!(backoff.pause(&mut dice) <= Duration::from_millis(10));
    }
}
