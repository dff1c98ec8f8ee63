//! Until when this process may change anything at a cluster: a member of a group is one for a
//! session's time after it asked what was answered last.
//!
//! It never lasts longer because a clock stood still: a suspended machine's monotonic one does, so
//! both clocks must agree that there is time left.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::SystemTime;

use tokio::time::Instant;

use crate::cluster::lock;

/// A moment by both clocks.
#[derive(Copy, Clone, Debug)]
pub struct Moment {
    monotonic: Instant,
    system: SystemTime,
}

impl Moment {
    /// Now.
    pub fn now() -> Moment {
        Moment { monotonic: Instant::now(), system: SystemTime::now() }
    }

    /// How much is left of what lasts so long from then on; `None` once it is over by either clock.
    fn left(self, lasts: Duration) -> Option<Duration> {
        // one that was set back says nothing: then the other one counts
        let by_system = self.system.elapsed().unwrap_or_default();
        let passed = self.monotonic.elapsed().max(by_system);
        lasts.checked_sub(passed).filter(|left| !left.is_zero())
    }
}

/// Copies are of the same lease.
#[derive(Clone, Debug, Default)]
pub struct Lease(Arc<Mutex<Option<(Moment, Duration)>>>);

impl Lease {
    /// It lasts so long from that moment on.
    pub fn renew(&self, from: Moment, lasts: Duration) {
        *lock(&self.0) = Some((from, lasts));
    }

    /// It is over.
    pub fn end(&self) {
        *lock(&self.0) = None;
    }

    /// How much of it is left; `None` once it is over.
    pub fn left(&self) -> Option<Duration> {
        let (from, lasts) = (*lock(&self.0))?;
        from.left(lasts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTS: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn it_ends_by_itself_and_at_once_where_it_is_ended() {
        let lease = Lease::default();
        assert_eq!(lease.left(), None, "nobody has given it");
        lease.renew(Moment::now(), LASTS);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(lease.left().is_some_and(|left| left <= Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(lease.left(), None);
        lease.renew(Moment::now(), LASTS);
        let other = lease.clone();
        other.end();
        assert_eq!(lease.left(), None);
    }

    #[test]
    fn either_clock_can_end_it() {
        let now = Moment::now();
        let slept = Moment { system: now.system - LASTS, ..now };
        assert_eq!(slept.left(LASTS), None, "the machine was suspended");
        let set_back = Moment { system: now.system + LASTS, ..now };
        assert!(set_back.left(LASTS).is_some());
    }
}
