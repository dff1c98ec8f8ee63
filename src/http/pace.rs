//! How fast strangers are taken in: a flood of connections is left to wait in the kernel's queue.
//!
//! It never refuses one.

use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep_until;

/// One in so long, when they come all the time. A connection costs more than an answer, and whoever
/// dials in a loop must not take the cores from the records.
const EACH: Duration = Duration::from_millis(2);
/// How many may come at once after a rest: as many as there are seats.
const AT_ONCE: u32 = 64;

/// Until when those who came are paid for.
///
/// ```text
///  one comes ──▶ paid_until += EACH ──▶ the next one when paid_until is less than AT_ONCE ahead
/// ```
#[derive(Debug)]
pub struct Pace {
    paid_until: Instant,
}

impl Pace {
    /// Nobody has come.
    pub fn new() -> Pace {
        Pace { paid_until: Instant::now() }
    }

    /// Waits until one more may come.
    pub async fn turn(&mut self) {
        self.paid_until = self.paid_until.max(Instant::now()) + EACH;
        sleep_until(self.paid_until - EACH * AT_ONCE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_few_come_at_once_and_a_flood_comes_one_by_one() {
        let (mut pace, began) = (Pace::new(), Instant::now());
        for _ in 0..AT_ONCE {
            pace.turn().await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        for _ in 0..500 {
            pace.turn().await;
        }
        assert_eq!(began.elapsed(), EACH * 500);
        // a rest gives back what one burst takes, and no more
        tokio::time::sleep(Duration::from_secs(60)).await;
        let rested = Instant::now();
        for _ in 0..=AT_ONCE {
            pace.turn().await;
        }
        assert_eq!(rested.elapsed(), EACH);
    }
}
