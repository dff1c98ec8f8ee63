//! Room for brokers: how many of them run at once on this machine, over all tests of a process.
//!
//! It never lets a test overtake one that came before it, so that one of six brokers gets its turn.

use std::env;
use std::fs::File;
use std::io::Write;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Instant;

/// So many brokers run at once unless `ISOLOG_BROKERS` says otherwise: what two cores carry.
const BROKERS_MAX: u32 = 6;

#[derive(Default)]
struct Taken {
    brokers: u32,
    /// The number that the next test to come gets, and that of the next one to go in.
    next_comer: u64,
    next_inside: u64,
}

static TAKEN: Mutex<Taken> = Mutex::new(Taken { brokers: 0, next_comer: 0, next_inside: 0 });
static LEFT: Condvar = Condvar::new();

fn taken() -> MutexGuard<'static, Taken> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn brokers_max() -> u32 {
    let told = env::var("ISOLOG_BROKERS").ok();
    told.map_or(BROKERS_MAX, |text| text.parse().expect("ISOLOG_BROKERS is a number"))
}

/// The room that a test has; dropping it lets the next one in.
#[derive(Debug)]
pub struct Room {
    brokers: u32,
    came: Instant,
    began: Instant,
}

/// Waits until `brokers` more may run. A test takes it once, before its first cluster, for as many
/// as will ever run at the same time.
pub fn room(brokers: u32) -> Room {
    let came = Instant::now();
    let max = brokers_max().max(brokers);
    let mut now = taken();
    let number = now.next_comer;
    now.next_comer += 1;
    while now.next_inside != number || now.brokers + brokers > max {
        now = LEFT.wait(now).unwrap_or_else(PoisonError::into_inner);
    }
    now.next_inside += 1;
    now.brokers += brokers;
    LEFT.notify_all();
    Room { brokers, came, began: Instant::now() }
}

/// Room for a source and a destination.
pub fn turn() -> Room {
    room(2)
}

impl Drop for Room {
    fn drop(&mut self) {
        taken().brokers -= self.brokers;
        LEFT.notify_all();
        self.tell();
    }
}

impl Room {
    /// A line for `.ci/suite`: what the test needed itself, without its time in the queue.
    fn tell(&self) {
        let Some(path) = env::var_os("ISOLOG_TIMES") else { return };
        let test = std::thread::current().name().unwrap_or("?").to_owned();
        let waited = (self.began - self.came).as_secs_f64();
        let line = format!("{test} {:.1} {waited:.1}\n", self.began.elapsed().as_secs_f64());
        let file = File::options().create(true).append(true).open(path);
        if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
            eprintln!("ISOLOG_TIMES: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn who_needs_much_is_not_overtaken() {
        let first = room(BROKERS_MAX - 1);
        let (sender, entered) = mpsc::channel();
        let wait_queued = |number: u64| {
            while taken().next_comer < number {
                thread::yield_now();
            }
        };
        let enter = |name: &'static str, brokers: u32| {
            let sender = sender.clone();
            thread::spawn(move || {
                let room = room(brokers);
                sender.send(name).expect("the test listens");
                drop(room);
            })
        };
        let large = enter("large", BROKERS_MAX);
        wait_queued(2);
        let small = enter("small", 1);
        wait_queued(3);
        assert_eq!(taken().brokers, BROKERS_MAX - 1, "there was room for the small one");
        assert!(entered.try_recv().is_err());
        drop(first);
        assert_eq!([entered.recv(), entered.recv()], [Ok("large"), Ok("small")]);
        large.join().and(small.join()).expect("both end");
        assert_eq!(taken().brokers, 0);
    }
}
