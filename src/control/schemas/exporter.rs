//! What an exporter tells of itself, and when it looks next.
//!
//! It never asks a registry and reads no clock: what a turn came to is told to it, with its times.

use std::time::Duration;

/// The longest pause after turns that failed, unless it polls less often anyway.
pub const FAILED_PAUSE_MAX: Duration = Duration::from_secs(300);
/// Beyond so many doublings a pause is at its bound.
const DOUBLINGS_MAX: u32 = 20;

/// Schema Linking's words.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It has not yet found the destination to hold everything.
    Starting,
    /// It has, and goes on.
    Running,
    /// It does nothing, by an order or by `paused` in the file.
    Paused,
}

impl State {
    /// The word of REST.
    pub fn word(self) -> &'static str {
        match self {
            State::Starting => "STARTING",
            State::Running => "RUNNING",
            State::Paused => "PAUSED",
        }
    }
}

/// How far an exporter is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it does.
    pub state: State,
    /// How many changes it has carried to the destination since isolog started.
    pub taken: u64,
    /// The destination held everything that the source had then, in ms since 1970; 0 for never.
    pub level_ms: i64,
    /// How many changes are missing at the destination; `None` while that is not known.
    pub missing: Option<u64>,
    /// Why its last turn failed.
    pub trace: Option<String>,
    failures: u32,
}

impl Progress {
    /// Of one that begins.
    pub fn new(is_paused: bool) -> Progress {
        let state = if is_paused { State::Paused } else { State::Starting };
        Progress { state, taken: 0, level_ms: 0, missing: None, trace: None, failures: 0 }
    }

    /// It is paused, or goes on: it is level again when it has looked.
    pub fn pause(&mut self, is_paused: bool) {
        self.state = match (is_paused, self.level_ms) {
            (true, _) => State::Paused,
            (false, 0) => State::Starting,
            (false, _) => State::Running,
        };
        (self.trace, self.failures) = (None, 0);
    }

    /// The same as it is shown once its row says so.
    pub fn is_to_be(&mut self, is_paused: bool) {
        if (self.state == State::Paused) != is_paused {
            self.pause(is_paused);
        }
    }

    /// Of one that copies something else from now on; what it carried it has carried.
    pub fn begun_again(&self, is_paused: bool) -> Progress {
        Progress { taken: self.taken, ..Progress::new(is_paused) }
    }

    /// For how long the destination may have lacked something by now, in ms; `None` where it has
    /// never been level.
    pub fn lag_ms(&self, now_ms: i64) -> Option<u64> {
        let since = (self.level_ms > 0).then(|| now_ms.saturating_sub(self.level_ms))?;
        Some(u64::try_from(since).unwrap_or(0))
    }

    /// A change is at the destination.
    pub fn took_one(&mut self) {
        self.taken += 1;
    }

    /// A turn has ended that began at `began_ms`: so many changes are missing now, or why nobody
    /// knows. Gives the pause before the next turn.
    pub fn ended(
        &mut self,
        outcome: Result<u64, String>,
        began_ms: i64,
        poll: Duration,
    ) -> Duration {
        match outcome {
            Ok(missing) => {
                (self.missing, self.trace, self.failures) = (Some(missing), None, 0);
                if missing == 0 {
                    self.level_ms = began_ms;
                    self.state = State::Running;
                }
                poll
            }
            Err(why) => {
                (self.missing, self.trace) = (None, Some(why));
                let doubled = poll.saturating_mul(1 << self.failures.min(DOUBLINGS_MAX));
                self.failures = self.failures.saturating_add(1);
                doubled.min(FAILED_PAUSE_MAX.max(poll))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLL: Duration = Duration::from_secs(10);

    #[test]
    fn it_runs_once_everything_was_there_and_tells_what_fails_since() {
        let mut one = Progress::new(false);
        assert_eq!(one.state.word(), "STARTING");
        assert_eq!(one.ended(Ok(3), 1_000, POLL), POLL);
        assert_eq!((one.state.word(), one.level_ms, one.missing), ("STARTING", 0, Some(3)));
        one.took_one();
        assert_eq!(one.ended(Ok(0), 2_000, POLL), POLL);
        assert_eq!((one.state.word(), one.level_ms, one.taken), ("RUNNING", 2_000, 1));
        one.ended(Err("no".into()), 3_000, POLL);
        assert_eq!((one.state.word(), one.level_ms), ("RUNNING", 2_000));
        assert_eq!((one.trace.as_deref(), one.missing), (Some("no"), None));
        one.ended(Ok(0), 4_000, POLL);
        assert_eq!((one.trace.as_deref(), one.level_ms), (None, 4_000));
        assert_eq!(Progress::new(true).state.word(), "PAUSED");
        assert_eq!((one.lag_ms(9_000), Progress::new(false).lag_ms(9_000)), (Some(5_000), None));
        one.pause(true);
        assert_eq!(one.state.word(), "PAUSED");
        one.pause(false);
        assert_eq!((one.state.word(), one.level_ms), ("RUNNING", 4_000));
        let again = one.begun_again(false);
        assert_eq!((again.state.word(), again.level_ms, again.taken), ("STARTING", 0, 1));
    }

    #[test]
    fn pauses_after_failures_double_up_to_their_bound() {
        let mut one = Progress::new(false);
        let fail = |one: &mut Progress| one.ended(Err("no".into()), 0, POLL).as_secs();
        let pauses: Vec<u64> = (0..7).map(|_| fail(&mut one)).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300]);
        (0..100).for_each(|_| assert_eq!(fail(&mut one), 300));
        one.ended(Ok(1), 0, POLL);
        assert_eq!(fail(&mut one), 10);
        let hour = Duration::from_secs(3600);
        assert_eq!(one.ended(Err("no".into()), 0, hour), hour);
    }
}
