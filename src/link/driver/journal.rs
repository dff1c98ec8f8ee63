//! The journal's two ends: what it brings goes to the control machine, what that writes goes in.
//!
//! It never says that a row counts: the tail does.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::control::machine::Write;
use crate::control::topic::Fault;
use crate::link::driver::Driver;
use crate::link::driver::ctx::lock;
use crate::link::driver::tell::JOURNAL;
use crate::link::driver::tell::Shown;
use crate::link::driver::tell::WRITES;
use crate::link::log;
use crate::link::log::Appender;
use crate::link::log::FromLog;
use crate::link::log::Log;
use crate::link::registry::Event;
use crate::link::world::RECONNECT_MAX;
use crate::link::world::RECONNECT_MIN;
use crate::link::world::World;

impl Driver {
    /// What keeps the journal's rows, once it has been opened, how many count, and whether
    /// something is wrong with it.
    pub fn journal(&self) -> (Option<log::Health>, usize, bool) {
        let health = lock(&self.shown.health).as_ref().map(|health| *health.borrow());
        (health, self.registry.seen().rows, self.shown.journal().is_some())
    }
}

/// Opens the journal, reads it on, and appends to it. One that is made has so many replicas, or the
/// destination's own default.
pub(super) async fn keep(
    (destination, world, replicas): (Arc<Cluster>, World, Option<i16>),
    (shown, events): (Shown, mpsc::Sender<Event>),
    mut writes: mpsc::Receiver<Write>,
) {
    let mut log = open_journal((destination, replicas), &world, &shown).await;
    let appender = log.appender();
    let (refused, told) = (events.clone(), shown.clone());
    let mut writing = JoinSet::new();
    writing.spawn(async move {
        while let Some(write) = writes.recv().await {
            if let Err(fault) = append(&appender, &write, &told).await {
                tracing::warn!(code = fault.code, "a row was not written: {}", fault.text);
                let _ended = refused.send(Event::Refused(write.id, fault)).await;
            }
        }
    });
    loop {
        let event = match log.next().await {
            FromLog::Batch(batch) => Event::Batch(batch),
            FromLog::Level => Event::Level,
            FromLog::Trouble(fault) => {
                shown.tell(JOURNAL, Some(fault));
                continue;
            }
            FromLog::Well => {
                shown.tell(JOURNAL, None);
                continue;
            }
            // nothing is wanted, written or done any more
            FromLog::Lost(lost) => {
                shown.tell(JOURNAL, Some(lost.fault.clone()));
                Event::Lost(lost.fault)
            }
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

/// Appends a write; what keeps it from being known whether it was is told meanwhile.
async fn append(appender: &Appender, write: &Write, shown: &Shown) -> Result<(), Fault> {
    let mut stuck = appender.stuck();
    let mut appended = pin!(appender.append(write));
    let done = loop {
        tokio::select! {
            biased;
            done = &mut appended => break done,
            Ok(()) = stuck.changed() => {
                let why = stuck.borrow_and_update().clone();
                shown.tell(WRITES, why.map(|Fault { code, text }| {
                    let text = format!("the journal (__isolog) takes no row: {text}");
                    Fault { code, text }
                }));
            }
        }
    };
    shown.tell(WRITES, None);
    done
}

async fn open_journal(
    (destination, replicas): (Arc<Cluster>, Option<i16>),
    world: &World,
    shown: &Shown,
) -> Log {
    let mut pause = RECONNECT_MIN;
    loop {
        let options = log::Options { replicas, wall: world.wall };
        match Log::open(destination.clone(), options).await {
            Ok(log) => {
                shown.tell(JOURNAL, None);
                *lock(&shown.health) = Some(log.health());
                return log;
            }
            // whoever has the work makes it, or changes what must be
            Err(error) if error.is_for_lack_of_work() => {
                sleep(RECONNECT_MIN).await;
                continue;
            }
            Err(error) => shown.tell(JOURNAL, Some(error.fault())),
        }
        sleep(pause).await;
        pause = (pause * 2).min(RECONNECT_MAX);
    }
}
