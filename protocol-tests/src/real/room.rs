//! Room for brokers: how many of them run at once on this machine, over all tests of a process.
//!
//! It never lets a test overtake one that came before it, so that one of six brokers gets its turn;
//! but those that take minutes go in before all others.

use std::collections::BTreeSet;
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

struct Taken {
    brokers: u32,
    /// The number that the next test to come gets.
    next_comer: u64,
    /// Who waits: whether it is short, and its number.
    line: BTreeSet<(bool, u64)>,
}

static TAKEN: Mutex<Taken> = Mutex::new(Taken { brokers: 0, next_comer: 0, line: BTreeSet::new() });
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
    enter(brokers, true)
}

/// The same for a test that takes minutes, most of them waiting: begun last, it would end alone.
pub fn long_room(brokers: u32) -> Room {
    enter(brokers, false)
}

fn enter(brokers: u32, is_short: bool) -> Room {
    let came = Instant::now();
    let max = brokers_max().max(brokers);
    let mut now = taken();
    let me = (is_short, now.next_comer);
    now.next_comer += 1;
    now.line.insert(me);
    while now.line.first() != Some(&me) || now.brokers + brokers > max {
        now = LEFT.wait(now).unwrap_or_else(PoisonError::into_inner);
    }
    now.line.remove(&me);
    now.brokers += brokers;
    LEFT.notify_all();
    Room { brokers, came, began: Instant::now() }
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
    fn who_needs_much_is_not_overtaken_but_by_who_takes_long() {
        let first = room(BROKERS_MAX - 1);
        let (sender, entered) = mpsc::channel();
        let come = |name: &'static str, brokers: u32, is_short: bool| {
            let (sender, before) = (sender.clone(), taken().line.len());
            let one = thread::spawn(move || {
                let room = enter(brokers, is_short);
                sender.send(name).expect("the test listens");
                drop(room);
            });
            while taken().line.len() == before {
                thread::yield_now();
            }
            one
        };
        let all = [
            come("large", BROKERS_MAX, true),
            come("small", 1, true),
            come("long", BROKERS_MAX, false),
        ];
        assert_eq!(taken().brokers, BROKERS_MAX - 1, "there was room for the small one");
        assert!(entered.try_recv().is_err());
        drop(first);
        let order: Vec<_> = all.iter().map(|_| entered.recv().expect("all go in")).collect();
        assert_eq!(order, ["long", "large", "small"]);
        all.into_iter().for_each(|one| one.join().expect("it ends"));
        assert_eq!(taken().brokers, 0);
    }
}
