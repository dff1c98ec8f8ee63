//! Who sits at the service port, and who gives way when all seats are taken.
//!
//! It never closes a connection: it tells its task to go. Nobody is made to go while an answer is
//! being prepared, or in the first moments of its way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use tokio::sync::Notify;

/// What clients can hold.
#[derive(Copy, Clone, Debug)]
pub struct Limits {
    /// Connections that are open at once.
    pub connections_max: usize,
    /// For how long the way of an answer is left alone when others want its seat.
    pub patience: Duration,
    /// For how long an answer may be on its way to a client.
    pub flow_max: Duration,
    /// Bytes of the answers that are on their way, each counted once however many clients read it.
    pub answers_bytes_max: usize,
}

impl Limits {
    /// The ones of the service port.
    pub const PORT: Limits = Limits {
        connections_max: 64,
        patience: Duration::from_secs(2),
        flow_max: Duration::from_secs(30),
        answers_bytes_max: 64 << 20,
    };
}

/// After such a silence a stranger goes before everybody else.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// So long everybody who comes may take to be heard, however many want the seat.
const MOMENT: Duration = Duration::from_millis(50);

/// How often a client who waits for a seat looks again at who could give way.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// How often it is looked whether an answer takes too long.
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Where the bytes of an answer lie, and how many they are: the same for all who share it.
pub type Place = (usize, usize);

/// What a connection is doing.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Doing {
    /// The head of the next request is awaited.
    Waiting(Instant),
    /// An answer is being prepared.
    Preparing,
    /// An answer is on its way.
    Flowing { since: Instant, holds: Option<Place>, is_whole: bool },
    /// It was told to go.
    Leaving,
}

/// One connection's place.
#[derive(Debug)]
pub struct Seat {
    now: Mutex<(Doing, bool)>,
    told: Notify,
}

/// All places.
#[derive(Debug)]
pub struct Seats {
    limits: Limits,
    taken: Mutex<Vec<Arc<Seat>>>,
    freed: Notify,
}

/// A seat that is taken; dropping it frees it.
#[derive(Debug)]
pub struct Taken {
    /// The place.
    pub seat: Arc<Seat>,
    seats: Arc<Seats>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        lock(&self.seats.taken).retain(|seat| !Arc::ptr_eq(seat, &self.seat));
        self.seats.freed.notify_one();
    }
}

impl Seats {
    /// All of them free.
    pub fn new(limits: Limits) -> Arc<Seats> {
        Arc::new(Seats { limits, taken: Mutex::default(), freed: Notify::new() })
    }

    /// A seat for one more client, as soon as one is free or somebody gives way.
    pub async fn take(self: &Arc<Self>) -> Taken {
        loop {
            if let Some(seat) = self.try_take() {
                return Taken { seat, seats: self.clone() };
            }
            tokio::select! {
                () = self.freed.notified() => {}
                () = tokio::time::sleep(LOOK_PAUSE) => {}
            }
        }
    }

    fn try_take(&self) -> Option<Arc<Seat>> {
        let mut taken = lock(&self.taken);
        if taken.len() < self.limits.connections_max {
            let waiting = Doing::Waiting(Instant::now());
            let seat = Arc::new(Seat { now: Mutex::new((waiting, false)), told: Notify::new() });
            taken.push(seat.clone());
            return Some(seat);
        }
        let is_leaving = taken.iter().any(|seat| seat.doing() == Doing::Leaving);
        let next = taken
            .iter()
            .filter_map(|seat| Some((seat.rank(&self.limits)?, seat)))
            .min_by_key(|it| it.0);
        if let Some((_, seat)) = next.filter(|_| !is_leaving) {
            seat.tell();
        }
        None
    }

    /// An answer begins its way. Where too many bytes of answers are then alive, those go that
    /// have been on their way the longest.
    pub fn begin(&self, seat: &Seat, holds: Place) {
        seat.hold(holds);
        let taken = lock(&self.taken);
        let mut flows: Vec<_> = taken.iter().filter_map(|one| Some((one.flow()?, one))).collect();
        flows.sort_by_key(|((since, _), _)| *since);
        let mut alive: BTreeMap<Place, usize> = BTreeMap::new();
        for ((_, place), _) in &flows {
            *alive.entry(*place).or_default() += 1;
        }
        let mut bytes: usize = alive.keys().map(|place| place.1).sum();
        for ((_, place), one) in flows {
            if bytes <= self.limits.answers_bytes_max {
                return;
            }
            if place == holds {
                continue;
            }
            one.tell();
            let readers = alive.entry(place).or_default();
            *readers = readers.saturating_sub(1);
            if *readers == 0 {
                bytes -= place.1;
            }
        }
    }
}

impl Seat {
    /// Ends when the connection is to be given up: it was told to go, or its answer takes too
    /// long.
    pub async fn given_up(&self, limits: &Limits) {
        loop {
            tokio::select! {
                () = self.told.notified() => return,
                () = tokio::time::sleep(limits.flow_max.min(LOOK_PAUSE_MAX)) => {}
            }
            if let Doing::Flowing { since, .. } = self.doing()
                && since.elapsed() > limits.flow_max
            {
                return;
            }
        }
    }

    /// A request has come.
    pub fn ask(&self) {
        self.change(|_| Doing::Preparing);
    }

    /// Its answer is ready. A client who is served is known from now on.
    pub fn answer(&self, is_served: bool) {
        let since = Instant::now();
        self.change(|_| Doing::Flowing { since, holds: None, is_whole: false });
        lock(&self.now).1 |= is_served;
    }

    /// All of the answer was handed to the connection.
    pub fn hand_over(&self) {
        self.change(|doing| match doing {
            Doing::Flowing { since, .. } => Doing::Flowing { since, holds: None, is_whole: true },
            other => other,
        });
    }

    /// All that the connection was handed is on the wire.
    pub fn flush(&self) {
        self.change(|doing| match doing {
            Doing::Flowing { is_whole: true, .. } => Doing::Waiting(Instant::now()),
            other => other,
        });
    }

    fn hold(&self, place: Place) {
        self.change(|doing| match doing {
            Doing::Flowing { since, is_whole, .. } => {
                Doing::Flowing { since, holds: Some(place), is_whole }
            }
            other => other,
        });
    }

    fn flow(&self) -> Option<(Instant, Place)> {
        match self.doing() {
            Doing::Flowing { since, holds: Some(place), .. } => Some((since, place)),
            _ => None,
        }
    }

    /// Who gives way first: strangers who have said nothing for a while, then who was served and
    /// asks no more, then those whose answer has been on its way for a while, at last whoever has
    /// just come; each time the one that has waited the longest. `None` for who does not.
    fn rank(&self, limits: &Limits) -> Option<(u8, Instant)> {
        let (doing, is_known) = *lock(&self.now);
        match doing {
            Doing::Waiting(since) if is_known => Some((1, since)),
            Doing::Waiting(since) if since.elapsed() > SILENCE_MAX => Some((0, since)),
            Doing::Waiting(since) => (since.elapsed() > MOMENT).then_some((3, since)),
            Doing::Flowing { since, .. } => {
                (since.elapsed() > limits.patience).then_some((2, since))
            }
            Doing::Preparing | Doing::Leaving => None,
        }
    }

    fn tell(&self) {
        self.change(|_| Doing::Leaving);
        self.told.notify_one();
    }

    fn doing(&self) -> Doing {
        lock(&self.now).0
    }

    /// Who was told to go stays told.
    fn change(&self, to: impl FnOnce(Doing) -> Doing) {
        let mut now = lock(&self.now);
        if now.0 != Doing::Leaving {
            now.0 = to(now.0);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: Limits = Limits { connections_max: 2, patience: Duration::ZERO, ..Limits::PORT };

    fn leaves(seat: &Taken) -> bool {
        seat.seat.doing() == Doing::Leaving
    }

    #[tokio::test]
    async fn strangers_go_first_and_who_is_being_served_stays() {
        let seats = Seats::new(TWO);
        let (known, stranger) = (seats.take().await, seats.take().await);
        std::thread::sleep(SILENCE_MAX + MOMENT);
        known.seat.ask();
        known.seat.answer(true);
        known.seat.hand_over();
        known.seat.flush();
        assert!(seats.try_take().is_none() && leaves(&stranger) && !leaves(&known));
        // one for one: nobody else is told meanwhile
        assert!(seats.try_take().is_none() && !leaves(&known));
        drop(stranger);
        let third = seats.take().await;
        third.seat.ask();
        assert!(seats.try_take().is_none() && leaves(&known) && !leaves(&third));
        drop(known);
        let fourth = seats.take().await;
        fourth.seat.ask();
        assert!(seats.try_take().is_none() && !leaves(&third) && !leaves(&fourth));
        fourth.seat.answer(true);
        std::thread::sleep(Duration::from_millis(1));
        assert!(seats.try_take().is_none() && leaves(&fourth));
    }

    /// A look at health, which comes and asks, is not closed for those who stay.
    #[tokio::test]
    async fn who_has_just_come_stays_longer_than_who_was_served() {
        let seats = Seats::new(TWO);
        let (served, comes) = (seats.take().await, seats.take().await);
        served.seat.ask();
        served.seat.answer(true);
        served.seat.hand_over();
        served.seat.flush();
        assert!(seats.try_take().is_none() && leaves(&served) && !leaves(&comes));
    }

    #[tokio::test]
    async fn the_oldest_answers_go_when_too_many_bytes_are_on_their_way() {
        let seats = Seats::new(Limits { answers_bytes_max: 100, ..Limits::PORT });
        let mut all = Vec::new();
        for holds in [(1, 60), (1, 60), (2, 30), (3, 30)] {
            let one = seats.take().await;
            one.seat.ask();
            one.seat.answer(true);
            seats.begin(&one.seat, holds);
            all.push(one);
        }
        // 60 + 30 + 30 are too many, and the 60 are alive as long as either reads them
        assert_eq!(all.iter().map(leaves).collect::<Vec<_>>(), [true, true, false, false]);
    }
}
