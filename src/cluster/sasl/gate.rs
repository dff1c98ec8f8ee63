//! After a refused login nobody tries again at that address for a while: accounts are locked by
//! repetition. While every address that was tried refuses, nobody tries anywhere.
//!
//! It never lets two logins run at once before one has succeeded, and never holds a renewal: a
//! connection that is logged in has proven that its broker takes us.

use std::collections::BTreeMap;
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
/// How many addresses are remembered; the rest count as never tried.
const ADDRESSES_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By address: where logins were tried.
    brokers: BTreeMap<Arc<str>, Door>,
    /// Of all brokers, while none of those tried takes us.
    all: Door,
}

/// Whether one may log in there.
#[derive(Debug, Default)]
struct Door {
    /// The last login succeeded: any number may run.
    is_proven: bool,
    /// Doublings of the pause.
    refusals: u32,
    /// Until when, why, and who said so.
    closed: Option<(Instant, Arc<LoginError>, Arc<str>)>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// The right to log in; alone until a login has succeeded.
#[derive(Debug)]
pub(super) struct Pass {
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Gate {
    /// Waits for this login's turn; fails at once while the pause after a refusal lasts.
    pub async fn enter(&self, address: &Arc<str>) -> Result<Pass, LoginError> {
        let Some(turn) = self.state().look(address)? else {
            return Ok(Pass { _turn: None });
        };
        let turn = turn.lock_owned().await;
        let still = self.state().look(address)?;
        Ok(Pass { _turn: still.map(|_| turn) })
    }

    /// The right to renew a login.
    pub fn renew(&self) -> Pass {
        Pass { _turn: None }
    }

    pub fn succeeded(&self, address: &Arc<str>) {
        let mut state = self.state();
        let turn = state.all.turn.clone();
        state.all = Door { is_proven: true, turn, ..Door::default() };
        let door = state.door(address);
        let turn = door.turn.clone();
        *door = Door { is_proven: true, turn, ..Door::default() };
    }

    pub fn refused(&self, address: &Arc<str>, error: &LoginError) {
        let mut state = self.state();
        state.door(address).refuse(address, error);
        if state.brokers.values().all(|door| !door.is_proven) {
            state.all.refuse(address, error);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The turn that must be waited for, where no login has succeeded yet.
    fn look(
        &mut self,
        address: &Arc<str>,
    ) -> Result<Option<Arc<tokio::sync::Mutex<()>>>, LoginError> {
        self.all.look()?;
        let all = (!self.all.is_proven).then(|| self.all.turn.clone());
        let door = self.door(address);
        door.look()?;
        Ok(all.or_else(|| (!door.is_proven).then(|| door.turn.clone())))
    }

    fn door(&mut self, address: &Arc<str>) -> &mut Door {
        if !self.brokers.contains_key(address) && self.brokers.len() >= ADDRESSES_MAX {
            let now = Instant::now();
            self.brokers.retain(|_, door| door.is_closed(now));
            if self.brokers.len() >= ADDRESSES_MAX {
                self.brokers.pop_first();
            }
        }
        self.brokers.entry(address.clone()).or_default()
    }
}

impl Door {
    fn look(&self) -> Result<(), LoginError> {
        let Some((until, last, by)) = &self.closed else { return Ok(()) };
        let wait = until.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            return Ok(());
        }
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Err(LoginError::Paused { last: last.clone(), by: by.clone(), wait_ms })
    }

    fn refuse(&mut self, address: &Arc<str>, error: &LoginError) {
        let now = Instant::now();
        let pause = PAUSE_MIN.saturating_mul(1 << self.refusals.min(10)).min(PAUSE_MAX);
        // several connections that fail together count once
        if !self.is_closed(now) {
            self.refusals += 1;
            self.closed = Some((now + pause, Arc::new(error.clone()), address.clone()));
        }
        self.is_proven = false;
    }

    fn is_closed(&self, now: Instant) -> bool {
        self.closed.as_ref().is_some_and(|(until, ..)| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Arc<str> {
        address.into()
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_close_the_gate_for_longer_and_longer() {
        let (gate, a) = (Gate::default(), at("a:1"));
        let mut waits = Vec::new();
        for _ in 0..8 {
            drop(gate.enter(&a).await.unwrap());
            gate.refused(&a, &LoginError::Forged);
            gate.refused(&a, &LoginError::Forged);
            let LoginError::Paused { wait_ms, .. } = gate.enter(&a).await.unwrap_err() else {
                panic!("closed")
            };
            waits.push(wait_ms);
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        assert_eq!(waits, [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]);
        gate.succeeded(&a);
        gate.refused(&a, &LoginError::Forged);
        let said = gate.enter(&a).await.unwrap_err().to_string();
        assert!(said.ends_with("in 1000 ms"), "{said}");
    }

    #[tokio::test(start_paused = true)]
    async fn logins_are_alone_until_one_has_succeeded() {
        let (gate, a, b) = (Gate::default(), at("a:1"), at("b:1"));
        let first = gate.enter(&a).await.unwrap();
        for address in [&a, &b] {
            let second = tokio::time::timeout(Duration::from_secs(9), gate.enter(address)).await;
            assert!(second.is_err(), "two at once");
        }
        gate.succeeded(&a);
        drop(first);
        let both = (gate.enter(&a).await.unwrap(), gate.enter(&a).await.unwrap());
        assert!(both.0._turn.is_none() && both.1._turn.is_none());
        // a broker that was never tried is tried alone
        let first = gate.enter(&b).await.unwrap();
        let second = tokio::time::timeout(Duration::from_secs(9), gate.enter(&b)).await;
        assert!(first._turn.is_some() && second.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn one_broker_that_refuses_closes_no_other() {
        let (gate, a, b) = (Gate::default(), at("a:1"), at("b:1"));
        gate.succeeded(&a);
        gate.succeeded(&b);
        gate.refused(&b, &LoginError::Forged);
        assert!(gate.enter(&b).await.is_err());
        assert!(gate.enter(&a).await.is_ok());
        assert!(gate.enter(&at("c:1")).await.is_ok(), "one that was never tried");
        gate.refused(&a, &LoginError::NoSasl);
        let said = gate.enter(&at("c:1")).await.unwrap_err().to_string();
        assert!(said.contains("a:1 says so"), "all that were tried refuse: {said}");
        assert!(gate.renew()._turn.is_none());
        tokio::time::sleep(PAUSE_MIN).await;
        drop(gate.enter(&at("c:1")).await.unwrap());
        gate.succeeded(&at("c:1"));
        assert!(gate.enter(&a).await.is_ok());
    }

    #[test]
    fn a_million_addresses_are_not_remembered() {
        let gate = Gate::default();
        for number in 0..ADDRESSES_MAX * 2 {
            gate.state().door(&at(&format!("host-{number}:9092")));
        }
        assert!(gate.state().brokers.len() <= ADDRESSES_MAX);
    }
}
