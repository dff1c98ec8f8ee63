//! How fast a link may fetch: `link.max.bytes.per.second`, for all its lanes together.
//!
//! It never holds back what has come: it says when the next fetch may go out.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use metrics::Counter;
use tokio::time::Instant;

use crate::ids::LinkName;
use crate::meters;

/// A fetch under way asks for no more than comes in this time, so that no pause is long.
const ASK_MAX: Duration = Duration::from_millis(250);
/// It asks for so many bytes at least: a broker's round trip has its price.
const ASK_BYTES_MIN: u64 = 64 << 10;
/// So much of the time in which nothing was fetched is made up for.
const CREDIT_MAX: Duration = Duration::from_secs(1);
/// No fetch is put off for longer, however large the answer before it was.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// What the lanes of a link share: until when the bytes that came are paid for.
///
/// ```text
///  bytes came ──▶ paid_until += bytes / rate ──▶ no fetch before paid_until
/// ```
#[derive(Debug)]
pub struct Pace {
    /// Bytes a second; `None` for no limit.
    rate: Option<u64>,
    paid_until: Mutex<Option<Instant>>,
    limited_ms: Counter,
}

impl Pace {
    /// Of a link; `None` for no limit.
    pub fn new(link: &LinkName, bytes_per_second: Option<u64>) -> Pace {
        let limited_ms =
            metrics::counter!(meters::LINK_LIMITED_MS.name, "link" => link.to_string());
        let rate = bytes_per_second.map(|rate| rate.max(1));
        Pace { rate, paid_until: Mutex::default(), limited_ms }
    }

    /// What one fetch asks for, of `granted` bytes.
    pub fn ask_bytes(&self, granted: usize) -> usize {
        let Some(rate) = self.rate else { return granted };
        let share = u128::from(rate) * ASK_MAX.as_millis() / 1_000;
        let share = u64::try_from(share).unwrap_or(u64::MAX).max(ASK_BYTES_MIN);
        granted.min(usize::try_from(share).unwrap_or(usize::MAX))
    }

    /// When the next fetch may go out; `now` where nothing holds it back.
    pub fn free_at(&self, now: Instant) -> Instant {
        // without a limit nobody waits for the lock either
        if self.rate.is_none() {
            return now;
        }
        let paid = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        paid.map_or(now, |paid| paid.max(now))
    }

    /// So many bytes came, at `now`.
    pub fn take(&self, bytes: usize, now: Instant) {
        let Some(rate) = self.rate else { return };
        let micros = u128::from(bytes as u64) * 1_000_000 / u128::from(rate);
        let cost = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        let mut paid = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = now.checked_sub(CREDIT_MAX).unwrap_or(now);
        let before = paid.unwrap_or(now).max(oldest);
        let after = (before + cost.min(WAIT_MAX)).min(now + WAIT_MAX);
        *paid = Some(after);
        let put_off = after.saturating_duration_since(before.max(now));
        self.limited_ms.increment(u64::try_from(put_off.as_millis()).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace(rate: Option<u64>) -> Pace {
        Pace::new(&LinkName("dr".into()), rate)
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_bytes_take_so_long_whoever_fetches_them() {
        let (pace, began) = (pace(Some(1_000_000)), Instant::now());
        assert_eq!(pace.free_at(began), began);
        pace.take(500_000, began);
        pace.take(1_500_000, began);
        assert_eq!(pace.free_at(began), began + SECOND * 2);
        let later = began + SECOND * 2;
        assert_eq!(pace.free_at(later), later);
        // a round trip is made up for
        pace.take(1_000_000, later + SECOND / 2);
        assert_eq!(pace.free_at(later + SECOND / 2), later + SECOND);
        // an hour is not
        let much = later + SECOND * 3_600;
        pace.take(3_000_000, much);
        assert_eq!(pace.free_at(much), much + SECOND * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_any_size_puts_the_next_one_off_for_a_bounded_time() {
        let (pace, now) = (pace(Some(1)), Instant::now());
        (0..3).for_each(|_| pace.take(usize::MAX, now));
        assert_eq!(pace.free_at(now), now + WAIT_MAX);
    }

    #[test]
    fn a_fetch_asks_for_what_comes_in_a_moment() {
        assert_eq!(pace(None).ask_bytes(50 << 20), 50 << 20);
        assert_eq!(pace(Some(40 << 20)).ask_bytes(50 << 20), 10 << 20);
        assert_eq!(pace(Some(40 << 20)).ask_bytes(1 << 20), 1 << 20);
        assert_eq!(pace(Some(1)).ask_bytes(50 << 20), 64 << 10);
        assert_eq!(pace(Some(u64::MAX)).ask_bytes(50 << 20), 50 << 20);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_waits() {
        let (pace, now) = (pace(None), Instant::now());
        pace.take(usize::MAX, now);
        assert_eq!(pace.free_at(now), now);
    }
}
