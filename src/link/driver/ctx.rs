//! What the tasks of one link share, and what they are handed.
//!
//! It never waits for a task: who hands something over puts it down and rings.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::cluster::error::ClusterError;
use crate::control::facts::Asked;
use crate::control::facts::Do;
use crate::control::facts::DoId;
use crate::control::facts::FlowFact;
use crate::control::facts::Flowed;
use crate::control::facts::LookId;
use crate::control::facts::TopicSpec;
use crate::control::row::LinkRow;
use crate::control::task::TaskName;
use crate::control::task::TaskTurn;
use crate::control::topic::Fault;
use crate::ids::Incarnation;
use crate::ids::LinkName;
use crate::ids::PartitionId;
use crate::ids::TopicName;
use crate::link::LinkSettings;
use crate::link::driver::file::Told;
use crate::link::driver::loops::Mirrors;
use crate::link::driver::rivals::Claims;
use crate::link::registry::Event;
use crate::link::registry::Registry;
use crate::link::seals::Among;
use crate::link::status::Link;
use crate::link::world::World;
use crate::settings::link::Defaults;
use crate::sync::apply::fault_of;

/// How old what was told of a task's turns may be, in ms, while nothing changes.
const TASK_TOLD_MS: i64 = 10_000;

/// Things for one task, in order. As many lie there as the control machine hands out before it is
/// answered (`machine::DOS_MAX`, its looks, a few specs of each topic).
#[derive(Debug)]
pub(in crate::link) struct Tray<T> {
    things: Mutex<VecDeque<T>>,
    bell: Notify,
}

impl<T> Default for Tray<T> {
    fn default() -> Tray<T> {
        Tray { things: Mutex::default(), bell: Notify::new() }
    }
}

impl<T> Tray<T> {
    /// Puts one more down.
    pub fn put(&self, thing: T) {
        self.lock().push_back(thing);
        self.bell.notify_one();
    }

    /// Takes all, once there are some. Nothing is lost by who stops waiting; one task alone asks.
    pub async fn take(&self) -> VecDeque<T> {
        loop {
            let things = std::mem::take(&mut *self.lock());
            if !things.is_empty() {
                return things;
            }
            self.bell.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        lock(&self.things)
    }
}

/// A source that was reached, under settings that hold until the next session.
pub(in crate::link) struct Session {
    /// Another one in each session.
    pub number: u64,
    /// The settings.
    pub settings: LinkSettings,
    /// The source.
    pub source: Arc<Cluster>,
}

/// What all tasks of a link share.
pub(in crate::link) struct Ctx {
    pub name: LinkName,
    pub destination: Arc<Cluster>,
    pub world: World,
    /// What the link's own properties do not say.
    pub defaults: Defaults,
    /// What links of the config file mirror.
    pub claims: Claims,
    /// What the file says of it, where the file has it.
    pub file: Told,
    /// What people see of it.
    pub link: Link,
    pub events: mpsc::Sender<Event>,
    pub registry: Registry,
    /// The link's own: it is gone, or the process ends.
    pub stop: CancellationToken,
    /// The row that was read back last.
    pub row: watch::Sender<Option<LinkRow>>,
    /// Why that row's configs are no settings.
    pub wrong: Mutex<Option<String>>,
    /// What flow copies now, by the mirror's name: topics that nothing outside of the log stops.
    pub copied: Mutex<Arc<BTreeMap<TopicName, TopicSpec>>>,
    /// Which topics of the source are mirrors there; `None` until it has been asked.
    pub mirrors_there: watch::Sender<Option<Arc<Mirrors>>>,
    /// Mirrors that others were kept from changing, where ACLs are copied: they may be begun.
    pub guarded: Mutex<BTreeSet<TopicName>>,
    /// There are more of them than before.
    pub has_opened: AtomicBool,
    /// `None` while the source has not been reached.
    pub session: watch::Sender<Option<Arc<Session>>>,
    pub specs: Tray<(TopicName, Option<TopicSpec>)>,
    pub looks: Tray<(LookId, Asked)>,
    pub dos: Tray<(DoId, Do)>,
}

impl Ctx {
    /// Why the link's configs are no settings, or a task of it has ended; or that all is well.
    pub fn set_wrong(&self, why: Option<String>) {
        *lock(&self.wrong) = why;
    }

    /// Whose partitions are sealed, and where.
    pub fn among(&self) -> Among<'_> {
        let source = self.session.borrow().as_ref().map(|session| session.source.clone());
        let written = self.row.borrow().as_ref().and_then(|row| row.source.clone());
        Among {
            link: &self.name,
            destination: &self.destination,
            source_id: written.or_else(|| source.as_ref().map(|source| source.id())),
            source,
            wall: self.world.wall,
        }
    }

    /// Tells the registry; nobody waits for one that has ended.
    pub async fn tell(&self, event: Event) {
        let _ended = self.events.send(event).await;
    }

    /// Tells what a turn of a task came to, where that is news or the last word of it is old.
    pub async fn tell_task(
        &self,
        name: TaskName,
        told: &mut Option<TaskTurn>,
        errors: Vec<(String, Fault)>,
    ) {
        let at = self.world.wall.now();
        let is_old = |turn: &TaskTurn| {
            turn.errors != errors || at.0.saturating_sub(turn.at.0) >= TASK_TOLD_MS
        };
        if told.as_ref().is_none_or(is_old) {
            let turn = TaskTurn { at, errors };
            *told = Some(turn.clone());
            self.tell(Event::Task(self.name.clone(), name, turn)).await;
        }
    }

    /// The one error of a turn that failed as a whole.
    pub fn all_failed(&self, error: &ClusterError) -> Vec<(String, Fault)> {
        vec![(self.name.to_string(), fault_of(error))]
    }

    /// Whether a topic may be copied into: others have been kept from changing it, or are not to
    /// be.
    pub fn may_begin(&self, topic: &TopicName) -> bool {
        !self.is_guarded() || lock(&self.guarded).contains(topic)
    }

    /// Whether others are kept from changing a mirror before it is begun.
    pub fn is_guarded(&self) -> bool {
        let seen = self.registry.seen();
        let settings = seen.links.get(&self.name).and_then(|link| link.settings.as_ref());
        settings.is_some_and(|settings| settings.acls.is_configured())
    }

    /// Whether a topic may be begun since this was last asked.
    pub fn take_opened(&self) -> bool {
        self.has_opened.swap(false, Ordering::AcqRel)
    }

    /// These topics may be begun, and no others.
    pub fn open(&self, topics: BTreeSet<TopicName>) {
        let mut guarded = lock(&self.guarded);
        let is_news = !topics.is_subset(&guarded);
        *guarded = topics;
        self.has_opened.fetch_or(is_news, Ordering::AcqRel);
    }

    /// Tells what has become of a partition.
    pub async fn tell_flow(
        &self,
        (topic, partition): (&TopicName, PartitionId),
        incarnation: Incarnation,
        what: Flowed,
    ) {
        let mirror = (self.name.clone(), topic.clone());
        self.tell(Event::Flow(FlowFact { mirror, partition, incarnation, what })).await;
    }
}

/// What these locks guard is never left half changed, so a poisoned one is as good.
pub(in crate::link) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
