//! An answer that is prepared once for all who ask, and kept for a moment.
//!
//! It never prepares two at once, nor any on a thread that copies records.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinError;
use tokio::task::spawn_blocking;

/// An answer is kept for so many times what it took to prepare it: a flood of questions costs at
/// most a tenth of a processor, and a small answer is as good as new.
const KEPT_TIMES: u32 = 10;
/// For how long at most.
const KEPT_MAX: Duration = Duration::from_secs(1);

/// Who may prepare an answer now.
#[derive(Clone, Debug)]
pub struct Turn(Arc<Semaphore>);

impl Turn {
    /// Nobody's.
    pub fn new() -> Turn {
        Turn(Arc::new(Semaphore::new(1)))
    }

    /// Does `work` aside when it is its turn. Who stops waiting for it gives up the turn, unless
    /// it has begun: then the turn lasts as long as the work.
    pub async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let turn = self.0.clone().acquire_owned().await.expect("nobody closes the semaphore");
        spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        })
        .await
    }
}

/// The last answer of one kind.
#[derive(Debug)]
pub struct Kept<T> {
    last: Arc<Mutex<Option<(Instant, T)>>>,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Kept<T> {
        Kept { last: self.last.clone() }
    }
}

impl<T> Default for Kept<T> {
    fn default() -> Kept<T> {
        Kept { last: Arc::default() }
    }
}

impl<T: Clone + Send + 'static> Kept<T> {
    /// The last answer, while it is new enough.
    pub fn fresh(&self) -> Option<T> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(until, _)| Instant::now() < *until).map(|(_, kept)| kept.clone())
    }

    /// The same, or a new one. To be called on a thread aside, in turn.
    pub fn get(&self, make: impl FnOnce() -> T) -> T {
        if let Some(fresh) = self.fresh() {
            return fresh;
        }
        self.put(None);
        let start = Instant::now();
        let made = make();
        let kept_for = (start.elapsed() * KEPT_TIMES).min(KEPT_MAX);
        self.put(Some((Instant::now() + kept_for, made.clone())));
        let kept = self.clone();
        Handle::current().spawn(async move {
            tokio::time::sleep(kept_for).await;
            // what nobody asks for any more is no memory to hold
            if kept.fresh().is_none() {
                kept.put(None);
            }
        });
        made
    }

    fn put(&self, last: Option<(Instant, T)>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;

    #[tokio::test(flavor = "multi_thread")]
    async fn many_who_ask_at_once_share_one_answer_and_it_is_let_go() {
        let (turn, kept, made) = (Turn::new(), Kept::default(), Arc::new(AtomicUsize::new(0)));
        let asked = (0..50).map(|_| {
            let (turn, kept, made) = (turn.clone(), kept.clone(), made.clone());
            tokio::spawn(async move {
                let make = move || {
                    std::thread::sleep(Duration::from_millis(50));
                    made.fetch_add(1, SeqCst) + 1
                };
                turn.aside(move || kept.get(make)).await.unwrap()
            })
        });
        for one in asked.collect::<Vec<_>>() {
            assert!(one.await.unwrap() >= 1);
        }
        let made = made.load(SeqCst);
        assert!(made < 25, "{made} were prepared");
        let until = Instant::now() + Duration::from_secs(60);
        while kept.last.lock().unwrap().is_some() {
            assert!(Instant::now() < until, "it is kept for ever");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_goes_while_it_is_prepared_lets_nobody_prepare_a_second() {
        let (turn, alive) = (Turn::new(), Arc::new(AtomicUsize::new(0)));
        for _ in 0..20 {
            let (turn, alive) = (turn.clone(), alive.clone());
            let work = move || {
                assert_eq!(alive.fetch_add(1, SeqCst), 0, "two at once");
                std::thread::sleep(Duration::from_millis(20));
                alive.fetch_sub(1, SeqCst);
            };
            let asked = tokio::spawn(async move { turn.aside(work).await });
            tokio::time::sleep(Duration::from_millis(5)).await;
            asked.abort();
        }
        turn.aside(|| ()).await.unwrap();
    }
}
