//! After a refused login nobody tries again for a while: accounts are locked by repetition.
//!
//! It never lets two logins run at once before one has succeeded.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use crate::cluster::sasl::LoginError;

/// The pause after the first refused login.
pub const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause; it doubles up to here.
pub const PAUSE_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct State {
    /// The last login succeeded: any number may run.
    proven: bool,
    /// Doublings of the pause.
    refusals: u32,
    closed: Option<(Instant, Arc<LoginError>)>,
}

/// The right to log in; alone until a login has succeeded.
#[derive(Debug)]
pub(super) struct Pass {
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Gate {
    /// Waits for this login's turn; fails at once while the pause after a refusal lasts.
    pub async fn enter(&self) -> Result<Pass, LoginError> {
        if self.look()? {
            return Ok(Pass { _turn: None });
        }
        let turn = self.turn.clone().lock_owned().await;
        match self.look()? {
            true => Ok(Pass { _turn: None }),
            false => Ok(Pass { _turn: Some(turn) }),
        }
    }

    /// Whether the last login succeeded.
    fn look(&self) -> Result<bool, LoginError> {
        let state = self.state();
        if let Some((until, last)) = &state.closed {
            let wait = until.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                return Err(LoginError::Paused { last: last.clone(), wait_ms });
            }
        }
        Ok(state.proven)
    }

    pub fn succeeded(&self) {
        *self.state() = State { proven: true, refusals: 0, closed: None };
    }

    pub fn refused(&self, error: &LoginError) {
        let mut state = self.state();
        let pause = PAUSE_MIN.saturating_mul(1 << state.refusals.min(10)).min(PAUSE_MAX);
        // several connections that fail together count once
        if state.closed.as_ref().is_none_or(|(until, _)| *until <= Instant::now()) {
            state.refusals += 1;
            state.closed = Some((Instant::now() + pause, Arc::new(error.clone())));
        }
        state.proven = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn refusals_close_the_gate_for_longer_and_longer() {
        let gate = Gate::default();
        let mut waits = Vec::new();
        for _ in 0..8 {
            drop(gate.enter().await.unwrap());
            gate.refused(&LoginError::Forged);
            gate.refused(&LoginError::Forged);
            let LoginError::Paused { wait_ms, .. } = gate.enter().await.unwrap_err() else {
                panic!("closed")
            };
            waits.push(wait_ms);
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        assert_eq!(waits, [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]);
        gate.succeeded();
        gate.refused(&LoginError::Forged);
        let said = gate.enter().await.unwrap_err().to_string();
        assert!(said.ends_with("in 1000 ms"), "{said}");
    }

    #[tokio::test(start_paused = true)]
    async fn logins_are_alone_until_one_has_succeeded() {
        let gate = Gate::default();
        let first = gate.enter().await.unwrap();
        let second = tokio::time::timeout(Duration::from_secs(9), gate.enter()).await;
        assert!(second.is_err(), "two at once");
        gate.succeeded();
        drop(first);
        let both = (gate.enter().await.unwrap(), gate.enter().await.unwrap());
        assert!(both.0._turn.is_none() && both.1._turn.is_none());
    }
}
