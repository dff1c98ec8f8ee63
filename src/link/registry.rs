//! The one task of a destination that holds the machine of its links and mirror topics: events and
//! orders go in, work and answers come out.
//!
//! It never decides (`control` does) and never asks a cluster: who takes its work does, and brings
//! back what came of it.
//!
//! ```text
//!   REST, CLI ── Order ──▶ ┌──────────────┐ ── Work ──▶ the driver: journal, clusters, flow
//!            ◀─ outcomes ─ │   Registry   │ ◀── Event ──
//!            ◀─── Seen ─── └──────────────┘
//! ```
//!
//! One thing of work is held at a time: while nobody takes it, nothing more is asked of the
//! machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::control::acls::Binding;
use crate::control::acls::Kind;
use crate::control::facts::Do;
use crate::control::facts::DoId;
use crate::control::facts::Done;
use crate::control::facts::Failed;
use crate::control::facts::FlowFact;
use crate::control::facts::Look;
use crate::control::facts::LookId;
use crate::control::facts::MirrorKey;
use crate::control::facts::Observed;
use crate::control::facts::Reach;
use crate::control::facts::TopicSpec;
use crate::control::facts::WriteId;
use crate::control::journal::TailBatch;
use crate::control::link::LinkSettings;
use crate::control::machine::Control;
use crate::control::machine::ORDERS_MAX;
use crate::control::machine::Write;
use crate::control::order::NewLink;
use crate::control::order::Order;
use crate::control::order::Outcome;
use crate::control::order::Refusal;
use crate::control::order::Ticket;
use crate::control::order::Verb;
use crate::control::row::Changes;
use crate::control::schemas::order::ExporterOrder;
use crate::control::task::TaskName;
use crate::control::task::TaskTurn;
use crate::control::task::last::LastSync;
use crate::control::topic::Fault;
use crate::control::topic::Stage;
use crate::flow::Wall;
use crate::ids::LinkName;

pub use super::seen::Counts;
pub use super::seen::LinkSeen;
pub use super::seen::MirrorSeen;
pub use super::seen::Seen;
pub use super::seen::TaskSeen;

/// For how long who gave an order waits for its answer.
pub const ORDER_WAIT_MAX: Duration = Duration::from_secs(30);
/// How many events wait at most: who brings them waits for room.
pub const EVENTS_MAX: usize = 1_000;
/// How much work waits at most for who takes it.
pub const WORK_MAX: usize = 100;
/// What is seen is at most so old, unless an order was answered meanwhile;
const SHOW_PAUSE: Duration = Duration::from_millis(100);
/// and older by this for each mirror topic, since all of them are gone through each time.
const SHOW_PAUSE_OF_EACH: Duration = Duration::from_micros(100);

/// Something that the machine must know.
#[derive(Clone, Debug)]
pub enum Event {
    /// The next batch of the journal.
    Batch(TailBatch),
    /// The journal has been read up to where it ended at the start.
    Level,
    /// This instance has the control role, or has lost it.
    Role(bool),
    /// The journal is lost, and why.
    Lost(Fault),
    /// What the config file declares.
    Declared(BTreeMap<LinkName, NewLink>),
    /// A link's settings, typed; `None` where it has none, or wrong ones.
    Settings(LinkName, Option<Box<LinkSettings>>),
    /// What a look found, or why it found nothing.
    Observed(LookId, Result<Observed, Fault>),
    /// What came of a thing to do.
    Done(DoId, Result<Done, Failed>),
    /// How far a thing to do is, for people.
    Progress(DoId, String),
    /// What has become of a partition.
    Flow(FlowFact),
    /// What a mirror topic is owed from now on.
    Owed(MirrorKey, Changes),
    /// What a mirror topic is to get when it stops.
    AtStop(MirrorKey, Changes),
    /// What a link's ledger of ACLs is to say.
    Ledger(LinkName, BTreeMap<Binding, Option<Kind>>),
    /// The source's configs were compared with those of a mirror topic that is promoted, and what
    /// differed was told before; since it was level, by the count of looks, and what of it could
    /// not be taken over.
    Configured(MirrorKey, (u64, Option<String>)),
    /// What the last turn over consumer groups came to for a mirror topic that is promoted.
    Synced(MirrorKey, LastSync),
    /// Others have, or were refused, what was held back of their rights on a mirror topic.
    Lifted(MirrorKey),
    /// How a link's source answers.
    Reach(LinkName, Reach),
    /// What a turn of a link's task came to.
    Task(LinkName, TaskName, TaskTurn),
    /// The journal took a write not at all, and why.
    Refused(WriteId, Fault),
}

/// Something that the machine wants done.
#[derive(Clone, Debug)]
pub enum Work {
    /// Append rows to the journal; its tail says whether they count.
    Write(Write),
    /// Ask both clusters of a link; changes nothing.
    Look(LookId, Look),
    /// Change something at a cluster.
    Do(DoId, Do),
    /// Hold this of a mirror topic from now on, or nothing more.
    Spec(MirrorKey, Option<TopicSpec>),
}

/// What is ordered: of links and mirror topics, or of an exporter.
#[derive(Clone, Debug)]
enum Asked {
    Link(Order),
    Exporter(ExporterOrder),
}

/// An order and who waits for what comes of it.
struct Given {
    asked: Asked,
    answer: oneshot::Sender<Vec<Outcome>>,
}

/// Where orders are given and looked at; copies are of the same task.
#[derive(Clone, Debug)]
pub struct Registry {
    orders: mpsc::Sender<Given>,
    seen: watch::Receiver<Arc<Seen>>,
}

/// A registry and its task. `events` and `work` are bounded by who makes them ([`EVENTS_MAX`],
/// [`WORK_MAX`]); the task ends at `stop`, or when the other end of either is gone.
pub fn start(
    control: Control,
    events: mpsc::Receiver<Event>,
    work: mpsc::Sender<Work>,
    wall: Wall,
    stop: CancellationToken,
) -> (Registry, impl Future<Output = ()> + Send + 'static) {
    let (orders, given) = mpsc::channel(ORDERS_MAX);
    let (shown, seen) = watch::channel(Arc::default());
    let keeper = Keeper {
        control,
        wall,
        held: None,
        waiting: BTreeMap::new(),
        tickets: 0,
        shown,
        show_at: None,
    };
    (Registry { orders, seen }, keeper.run(events, given, work, stop))
}

impl Registry {
    /// Gives an order and waits until it is obeyed, refused, or [`ORDER_WAIT_MAX`] is over: then
    /// the refusal (504) says what it waits for, and the order may still be obeyed.
    pub async fn order(&self, order: Order) -> Vec<Outcome> {
        self.ask(Asked::Link(order)).await
    }

    /// The same of an exporter.
    pub async fn order_exporter(&self, order: ExporterOrder) -> Result<(), Refusal> {
        let outcomes = self.ask(Asked::Exporter(order)).await;
        outcomes.into_iter().try_for_each(|outcome| outcome.result)
    }

    async fn ask(&self, asked: Asked) -> Vec<Outcome> {
        let (answer, answered) = oneshot::channel();
        match self.orders.try_send(Given { asked: asked.clone(), answer }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return refused(too_many()),
            Err(TrySendError::Closed(_)) => return refused(ended()),
        }
        match tokio::time::timeout(ORDER_WAIT_MAX, answered).await {
            Ok(Ok(outcomes)) => outcomes,
            Ok(Err(_)) => refused(ended()),
            Err(_) => refused(self.late(&asked)),
        }
    }

    /// What is seen now. After an answer it holds what the answer says.
    pub fn seen(&self) -> Arc<Seen> {
        self.seen.borrow().clone()
    }

    /// Waits until something else may be seen; `false` once the task has ended.
    pub async fn changed(&mut self) -> bool {
        self.seen.changed().await.is_ok()
    }

    fn late(&self, asked: &Asked) -> Refusal {
        let text = format!(
            "The order was not answered within {} s, and may still be obeyed: it waits for {}. \
             Look in a moment whether it was done.",
            ORDER_WAIT_MAX.as_secs(),
            waits_for(&self.seen(), asked)
        );
        Refusal { code: None, status: 504, text }
    }
}

const ROW: &str = "its row to be read back from the journal (topic __isolog at the destination), \
                   which takes a leader and enough replicas in sync";

/// What an order that was not answered waits for.
fn waits_for(seen: &Seen, asked: &Asked) -> String {
    if !seen.is_level {
        return "the journal (topic __isolog at the destination) to be read".to_owned();
    }
    let Asked::Link(order) = asked else { return ROW.to_owned() };
    if let Verb::CreateMirror(new) = &order.verb {
        let set_up = seen.mirrors_of(&order.link).find(|(_, mirror)| {
            mirror.row.source_topic == new.source && mirror.row.stage == Stage::Setup
        });
        if let Some((topic, mirror)) = set_up {
            let why = mirror.reason.as_ref().map(|why| &why.text).or(mirror.progress.as_ref());
            let why = why.map_or(String::new(), |why| format!(": {why}"));
            return format!("mirror topic '{topic}' to be set up at the destination{why}");
        }
    }
    match (&order.verb, seen.is_writing) {
        (Verb::CreateMirror(new), false) => {
            format!("both clusters to be asked about topic '{}'", new.source)
        }
        _ => ROW.to_owned(),
    }
}

/// What flow must let go it is told all the same.
fn is_spec(held: &Work) -> bool {
    matches!(held, Work::Spec(..))
}

fn refused(refusal: Refusal) -> Vec<Outcome> {
    vec![Outcome { topic: None, result: Err(refusal) }]
}

fn too_many() -> Refusal {
    let text = "Too many orders wait: try again in a moment.".to_owned();
    Refusal { code: None, status: 429, text }
}

fn ended() -> Refusal {
    Refusal::unavailable("isolog is stopping: look after its next start whether it was done.")
}

/// The task.
struct Keeper {
    control: Control,
    wall: Wall,
    /// Work that nobody has taken yet.
    held: Option<Work>,
    waiting: BTreeMap<Ticket, oneshot::Sender<Vec<Outcome>>>,
    tickets: u64,
    shown: watch::Sender<Arc<Seen>>,
    /// Something may be seen that is not shown: it is by then.
    show_at: Option<Instant>,
}

impl Keeper {
    async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut given: mpsc::Receiver<Given>,
        work: mpsc::Sender<Work>,
        stop: CancellationToken,
    ) {
        self.show();
        loop {
            self.settle();
            let (show_at, time_at) = (self.show_at, self.time_at());
            // who gives orders waits for their answers, so they cannot keep events out
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = until(show_at) => {
                    self.show();
                    continue;
                }
                () = until(time_at) => self.control.handle_timeout(self.wall.now()),
                room = work.reserve(), if self.held.is_some() => match (room, self.held.take()) {
                    (Ok(room), Some(held)) => room.send(held),
                    _ => return,
                },
                Some(given) = given.recv() => self.obey(given),
                event = events.recv() => match event {
                    Some(event) => self.take_in(event),
                    None => return,
                },
            }
            if self.show_at.is_none() {
                self.show_at = Some(Instant::now() + self.show_pause());
            }
        }
    }

    fn show_pause(&self) -> Duration {
        let mirrors = u32::try_from(self.shown.borrow().mirrors.len()).unwrap_or(u32::MAX);
        SHOW_PAUSE + SHOW_PAUSE_OF_EACH.saturating_mul(mirrors)
    }

    /// When time must be told to the machine.
    fn time_at(&self) -> Option<Instant> {
        let at = self.control.poll_timeout()?;
        let left = at.0.saturating_sub(self.wall.now().0).max(1);
        Some(Instant::now() + Duration::from_millis(u64::try_from(left).unwrap_or(1)))
    }

    fn obey(&mut self, Given { asked, answer }: Given) {
        if self.waiting.len() >= ORDERS_MAX {
            let _gone = answer.send(refused(too_many()));
            return;
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.waiting.insert(ticket, answer);
        let now = self.wall.now();
        match asked {
            Asked::Link(order) => self.control.handle_order(now, ticket, order),
            Asked::Exporter(order) => self.control.handle_exporter_order(now, ticket, order),
        }
    }

    fn take_in(&mut self, event: Event) {
        let now = self.wall.now();
        let control = &mut self.control;
        match event {
            Event::Batch(batch) => control.handle_batch(now, batch),
            Event::Level => control.handle_level(now),
            Event::Role(is_holder) => {
                self.held.take_if(|held| !is_holder && !is_spec(held));
                control.handle_role(now, is_holder);
            }
            Event::Lost(fault) => {
                self.held.take_if(|held| !is_spec(held));
                control.handle_lost(now, fault);
            }
            Event::Declared(links) => control.handle_declared(now, links),
            Event::Settings(link, settings) => {
                control.handle_settings(now, &link, settings.map(|boxed| *boxed));
            }
            Event::Observed(id, observed) => control.handle_observed(now, id, observed),
            Event::Done(id, result) => control.handle_done(now, id, result),
            Event::Progress(id, text) => control.handle_progress(id, text),
            Event::Flow(fact) => control.handle_flow(now, fact),
            Event::Owed(mirror, owed) => control.handle_owed(now, &mirror, owed),
            Event::AtStop(mirror, real) => control.handle_at_stop(now, &mirror, real),
            Event::Ledger(link, rows) => control.handle_ledger(now, &link, rows),
            Event::Configured(mirror, at) => control.handle_configured(now, &mirror, at),
            Event::Synced(mirror, last) => control.handle_synced(now, &mirror, last),
            Event::Lifted(mirror) => control.handle_lifted(now, &mirror),
            Event::Reach(link, reach) => control.handle_reach(now, &link, reach),
            Event::Task(link, name, turn) => control.handle_task(&link, name, turn),
            Event::Refused(id, fault) => control.handle_refused(now, id, fault),
        }
    }

    /// Asks the machine what is to be done and answered now.
    fn settle(&mut self) {
        if self.held.is_none() {
            self.held = self.next_work();
        }
        let mut answers = Vec::new();
        while let Some(answer) = self.control.poll_answer() {
            answers.push(answer);
        }
        // who has an answer sees what it says
        if !answers.is_empty() {
            self.show();
        }
        for (ticket, outcomes) in answers {
            if let Some(waits) = self.waiting.remove(&ticket) {
                let _gone = waits.send(outcomes);
            }
        }
    }

    /// What flow must let go first, then what all else rests on.
    fn next_work(&mut self) -> Option<Work> {
        let control = &mut self.control;
        if let Some((mirror, spec)) = control.poll_spec() {
            return Some(Work::Spec(mirror, spec));
        }
        if let Some(write) = control.poll_write(self.wall.now()) {
            return Some(Work::Write(write));
        }
        if let Some((id, look)) = control.poll_look() {
            return Some(Work::Look(id, look));
        }
        control.poll_do().map(|(id, action)| Work::Do(id, action))
    }

    fn show(&mut self) {
        self.show_at = None;
        let control = &mut self.control;
        let mut seen = Seen::clone(&self.shown.borrow());
        seen.is_level = control.is_level();
        seen.is_holder = control.is_holder();
        seen.is_writing = control.is_writing();
        seen.rows = control.fold().rows().len();
        seen.rival = control.rival();
        while let Some(key) = control.poll_changed() {
            match MirrorSeen::of(control, &key) {
                Some(mirror) => drop(seen.mirrors.insert(key, Arc::new(mirror))),
                None => drop(seen.mirrors.remove(&key)),
            }
        }
        let links = control.links().map(|(name, row, state)| {
            (name.clone(), Arc::new(LinkSeen::of(control, (name, row), state)))
        });
        seen.links = links.collect();
        seen.unread = control.unread_links();
        seen.exporters = control.exporters().clone();
        let ledgers = control.ledgers().map(|(link, ledger)| (link.clone(), ledger.clone()));
        seen.ledgers = ledgers.collect();
        let unwritten = seen.links.keys().filter(|link| !control.is_ledger_settled(link));
        seen.unwritten = unwritten.cloned().collect();
        self.shown.send_replace(Arc::new(seen));
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
