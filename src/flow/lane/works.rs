//! Units that must be unpacked, worked on outside of the lanes: the pool of the process, and what
//! one lane has in it.
//!
//! It never decides what is worked on: partition machines hand it out, in order. A lane has no more
//! in the pool than the pool has threads, so that no lane waits long behind another.

use std::sync::Arc;
use std::thread;

use tokio::sync::Semaphore;
use tokio::sync::oneshot;
use tokio::task::JoinError;
use tokio::task::JoinSet;
use tokio::task::yield_now;

use crate::flow::lane::members::MemberId;
use crate::flow::lane::members::Members;
use crate::mirror::halt::Halt;
use crate::mirror::work::Work;
use crate::mirror::work::Worked;

/// How far a thread that works on a unit stands behind the process's others (`nice(2)`, which is of
/// the thread on Linux).
const NICE: i32 = 5;

/// Who works for all lanes of the process.
#[derive(Debug)]
pub struct Pool {
    threads: usize,
    free: Arc<Semaphore>,
    /// Without threads: in the tasks themselves, so that a simulation is a function of its seed.
    is_inline: bool,
}

impl Pool {
    /// At most `threads` units at a time (`reencode.threads`).
    pub fn new(threads: usize) -> Pool {
        let threads = threads.max(1);
        Pool { threads, free: Arc::new(Semaphore::new(threads)), is_inline: false }
    }

    /// One that works in whose task it is called.
    pub fn inline() -> Pool {
        Pool { is_inline: true, ..Pool::new(1) }
    }

    /// Waits for a thread, and for what it makes of the work; `None` where it panicked. A unit that
    /// is begun is ended though nobody waits for it any more; it does not hold up the process.
    async fn run(&self, work: Work) -> Option<Worked> {
        let permit = self.free.clone().acquire_owned().await.ok()?;
        if self.is_inline {
            yield_now().await;
            return Some(work.run());
        }
        let (done, worked) = oneshot::channel();
        let spawned = thread::Builder::new().name("unit".to_owned()).spawn(move || {
            // where there are fewer cores than work, everything else goes first
            // (a kernel that refuses leaves it as fast as they are)
            let _refused = rustix::process::nice(NICE);
            // a lane that has ended meanwhile wants nothing any more
            let _wanted = done.send(work.run());
            drop(permit);
        });
        spawned.ok()?;
        worked.await.ok()
    }
}

/// Whose work it is: a member, and which stay in it.
type Whose = (MemberId, u64);

/// What one lane has in the pool.
#[derive(Debug)]
pub struct Works {
    pool: Arc<Pool>,
    running: JoinSet<(Whose, Option<Worked>)>,
    /// Where the next round begins.
    first: MemberId,
}

/// What came back.
pub type Done = Result<(Whose, Option<Worked>), JoinError>;

impl Works {
    /// Nothing yet.
    pub fn new(pool: Arc<Pool>) -> Works {
        Works { pool, running: JoinSet::new(), first: MemberId::default() }
    }

    /// Hands out what the members have, while what was encoded anew for them has at most
    /// `anew_bytes_max`.
    pub fn begin(&mut self, members: &mut Members, anew_bytes_max: usize) {
        if self.running.len() >= self.pool.threads {
            return;
        }
        for id in members.workers(self.first, anew_bytes_max) {
            let Some((stay, work)) = members.poll_work(id) else { continue };
            let pool = self.pool.clone();
            self.running.spawn(async move { ((id, stay), pool.run(work).await) });
            self.first = id.next();
            if self.running.len() >= self.pool.threads {
                break;
            }
        }
    }

    /// The next result; `None` while nothing is in the pool.
    pub async fn next(&mut self) -> Option<Done> {
        self.running.join_next().await
    }

    /// Gives a result to its member, if that partition is still there.
    pub fn end(members: &mut Members, done: Done) {
        // only aborted tasks fail, and they are aborted with the lane
        let Ok(((id, stay), worked)) = done else { return };
        let Some(member) = members.get_stay(id, stay) else { return };
        match worked {
            Some(worked) => member.mirror.handle_worked(worked),
            None => member.mirror.handle_halt(Halt::Panicked),
        }
    }
}
