//! The journal as a log to which rows are appended where it ended when they were decided.
//!
//! It never decides which batch counts: `control::journal` does, by what stands in the records.
//! It never leans on a broker's memory of producers, and never takes a lost answer for a failure.
//!
//! ```text
//!  open ─▶ topic there? one partition, compact, lag of a day ─▶ Log
//!  Log::next     ◀── batches, Level, Trouble and Well, Lost ── a task: long fetches, looks (tail)
//!  Appender::append ─▶ one batch, sent until the tail has passed its place, or it is refused
//! ```
//!
//! Rows are `control::row`'s, under the keys `link/…` and `mirror/…`. Rows of isolog 0.1 lie in the
//! same topic (`control::row::old`).

mod append;
pub mod edit;
mod fault;
mod open;
mod parse;
mod tail;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::cluster::Cluster;
use crate::cluster::error::ClusterError;
use crate::cluster::error::Kind;
use crate::cluster::keyed::only::OnlyPartition;
use crate::control::journal::TailBatch;
use crate::control::machine::Write;
use crate::control::topic::Fault;
use crate::flow::Wall;
use crate::ids::Offset;
use crate::ids::TopicId;
pub use crate::link::log::append::Appender;
pub use crate::link::log::fault::UNREACHABLE;
pub use crate::link::log::fault::UNREADABLE;
pub use crate::link::log::open::Health;

/// How many events of the tail wait at most.
const EVENTS_MAX: usize = 64;

/// How the journal is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// `replication.factor` of a journal that is made; `None` for the destination's own default.
    pub replicas: Option<i16>,
    /// The time that rows get.
    pub wall: Wall,
}

/// What the journal tells, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromLog {
    /// The next batch, or offsets that hold none any more.
    Batch(TailBatch),
    /// The end that was there when it was opened has been read; told once.
    Level,
    /// It must not be gone on with; nothing comes after this.
    Lost(Lost),
    /// It cannot be read, or something about it should be mended; it is tried again.
    Trouble(Fault),
    /// The trouble that was told last is over.
    Well,
}

/// Why the journal must not be gone on with: what was decided by its rows may not hold any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// `JOURNAL_LOST`, what happened and the cure.
    pub fault: Fault,
}

/// Why the journal was not opened; it may be tried again after a pause.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// The destination cannot be asked.
    #[error("the journal (__isolog at the destination): {0}")]
    Cluster(#[from] ClusterError),
    /// A right is missing, or the topic is not what it must be; a person must act.
    #[error("the journal: {}", .0.text)]
    Refused(Fault),
}

impl OpenError {
    /// Whether it only waits until this instance has the work of its group.
    pub fn is_for_lack_of_work(&self) -> bool {
        matches!(self, OpenError::Cluster(error) if matches!(error.kind, Kind::LeaseIsOver))
    }

    /// The same, by code and text.
    pub fn fault(&self) -> Fault {
        match self {
            OpenError::Cluster(_) => Fault { code: UNREACHABLE.to_owned(), text: self.to_string() },
            OpenError::Refused(fault) => fault.clone(),
        }
    }
}

/// The journal of one destination, being read.
pub struct Log {
    events: mpsc::Receiver<FromLog>,
    appender: Appender,
    tail: AbortOnDropHandle<()>,
    is_lost: bool,
}

/// What the reading and the writing end share.
struct Shared {
    only: OnlyPartition,
    topic: TopicId,
    wall: Wall,
    /// Up to where the tail has come.
    read: watch::Sender<Offset>,
    /// What the broker answers again and again to a write that it may have taken.
    stuck: watch::Sender<Option<Fault>>,
    /// What keeps its rows, as it was told last.
    health: watch::Sender<Health>,
    /// Where the chain of sequences begins that the newest batch of ours belongs to.
    chain: Mutex<Option<Offset>>,
}

impl Shared {
    fn chain(&self) -> MutexGuard<'_, Option<Offset>> {
        // a number is never left half changed
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    /// Finds the journal's topic, or makes it, and begins to read it from its start.
    pub async fn open(destination: Arc<Cluster>, options: Options) -> Result<Log, OpenError> {
        let opened = open::open(destination, options.replicas).await?;
        Ok(Log::read(opened, options.wall))
    }

    /// The same where nothing may be changed: `None` where there is no journal.
    pub async fn find(destination: Arc<Cluster>, wall: Wall) -> Result<Option<Log>, OpenError> {
        let opened = open::find(destination).await?;
        Ok(opened.map(|opened| Log::read(opened, wall)))
    }

    fn read(opened: open::Opened, wall: Wall) -> Log {
        let (to, events) = mpsc::channel(EVENTS_MAX);
        let shared = Arc::new(Shared {
            only: opened.only.clone(),
            topic: opened.topic,
            wall,
            read: watch::Sender::new(Offset::ZERO),
            stuck: watch::Sender::new(None),
            health: watch::Sender::new(opened.health),
            chain: Mutex::default(),
        });
        let tail = tail::Tail::new(opened, shared.clone(), to);
        let tail = AbortOnDropHandle::new(tokio::spawn(tail.run()));
        Log { events, appender: Appender::new(shared), tail, is_lost: false }
    }

    /// The topic's id: a journal that was made anew has another one.
    pub fn topic_id(&self) -> TopicId {
        self.appender.shared().topic
    }

    /// What keeps its rows, as it is told again and again.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.appender.shared().health.subscribe()
    }

    /// What comes next; waits for ever where nothing can come. May be dropped while it waits.
    pub async fn next(&mut self) -> FromLog {
        if self.is_lost {
            return std::future::pending().await;
        }
        let event = self.events.recv().await;
        let event = event.unwrap_or_else(|| FromLog::Lost(Lost { fault: fault::ended() }));
        self.is_lost = matches!(event, FromLog::Lost(_));
        event
    }

    /// The writing end.
    pub fn appender(&self) -> Appender {
        self.appender.clone()
    }

    /// `Appender::append`, for a caller who has somebody else read on meanwhile.
    pub async fn append(&self, write: &Write) -> Result<(), Fault> {
        self.appender.append(write).await
    }

    /// Ends the reading.
    pub fn close(self) {
        self.tail.abort();
    }
}
