//! One lane: the task that carries batches from one source broker, which leads them or follows, to
//! one destination broker.
//!
//! It never waits for anything but its closed set of events (and, where it fetches by name, for
//! `topic_ids`), never hands a batch to another task, and ends with its connections: every doubt
//! goes back to the manager with the partition.
//!
//! ```text
//!  source ──fetch answer──▶ split ─▶ align ─▶ window ─▶ rewrite ──▶ append request ──▶ destination
//!    ▲                                           │                                        │
//!    └── next fetch, while one of two buffers is free ◀──────────────── acks ─────────────┘
//! ```

mod appender;
mod fetcher;
pub(super) mod members;
pub mod memory;
pub mod pace;
mod source;
mod stride;
mod wants;
pub mod works;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio::time::sleep_until;

use crate::cluster::Use;
use crate::cluster::conn::Answer;
use crate::cluster::error::ClusterError;
use crate::cluster::line::Line;
use crate::cluster::line::Turned;
use crate::flow::lane::appender::Appender;
use crate::flow::lane::members::LanePartition;
use crate::flow::lane::members::Members;
use crate::flow::lane::members::Naming;
use crate::flow::lane::source::Inlet;
use crate::flow::lane::wants::INLETS;
use crate::flow::lane::works::Done;
use crate::flow::lane::works::Works;
use crate::flow::shared::Shared;
use crate::ids::BrokerId;
use crate::ids::Incarnation;
use crate::ids::Side;
use crate::ids::TopicPartition;
use crate::mirror::facts::Fault;
use crate::mirror::facts::Order;
use crate::mirror::halt::Halt;
use crate::wire::error::WireError;
use crate::wire::produce::AppendAnswer;
use crate::wire::versions::ApiKey;

/// From which broker to which.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LaneKey {
    /// The source broker.
    pub source: BrokerId,
    /// The destination broker.
    pub destination: BrokerId,
}

/// What the manager tells a lane.
#[derive(Debug)]
pub enum ToLane {
    /// Take it in.
    Add(Box<LanePartition>),
    /// What is to become of one, by the destination's name, under the number that it has.
    Tell(TopicPartition, Incarnation, Told),
}

/// What is to become of a partition that is in a lane.
#[derive(Debug)]
pub enum Told {
    /// Give it back, when what is in flight is answered.
    Leave,
    /// Give it back whenever it is level with the source.
    Drain,
    /// Stand still for a reason outside of the log.
    Halt(Halt),
}

/// What a lane tells the manager.
#[derive(Debug)]
pub struct FromLane {
    /// Which lane.
    pub key: LaneKey,
    /// Partitions that have left it.
    pub partitions: Vec<LanePartition>,
    /// Why the lane has ended, if it has; `Ok` for no reason of its own.
    pub ended: Option<Result<(), ClusterError>>,
}

struct Lane {
    key: LaneKey,
    shared: Shared,
    /// The first is `None` once it is lost: what is in flight is still answered. The second is
    /// there where some are behind.
    inlets: [Option<Inlet>; INLETS],
    /// No second one is opened before.
    second_at: Instant,
    destination: Line,
    members: Members,
    appender: Appender,
    works: Works,
    /// No append before: the broker throttles us.
    append_at: Instant,
    stopping: bool,
}

enum Event {
    Order(Option<ToLane>),
    Fetched(usize, Result<Turned, ClusterError>),
    Appended(Result<Turned, ClusterError>),
    Worked(Done),
    Timer,
    Stop,
}

/// Opens both connections and runs until one of them ends, or the orders do.
pub async fn run(key: LaneKey, shared: Shared, mut orders: mpsc::Receiver<ToLane>) {
    shared.lanes.add(1);
    let opened = open(key, &shared).await;
    let refused = opened.as_ref().err().cloned();
    let (ended, mut members) = match opened {
        Ok(mut lane) => {
            let ended = lane.turn_round(&mut orders).await;
            let members = lane.clear(ended.is_err());
            lane.end();
            (ended, members)
        }
        Err(error) => (Err(error), Vec::new()),
    };
    shared.lanes.add(-1);
    // Who was sent here meanwhile goes back as well.
    orders.close();
    while let Some(order) = orders.recv().await {
        if let ToLane::Add(member) = order {
            members.push(left(*member, refused.as_ref()));
        }
    }
    let report = FromLane { key, partitions: members, ended: Some(ended) };
    let _ = shared.back.send(report).await;
}

/// Out of a lane in which it never was: another takes it, or it is told why none was opened.
fn left(mut member: LanePartition, refused: Option<&ClusterError>) -> LanePartition {
    let is_source = refused.is_some_and(|error| error.peer.side == Side::Source);
    member.mirror.handle_failed(if is_source { Fault::SourceLost } else { Fault::Moved });
    if let Some(error) = refused {
        member.mirror.note_trouble("UNAVAILABLE", error.to_string());
    }
    member
}

async fn open(key: LaneKey, shared: &Shared) -> Result<Lane, ClusterError> {
    let source = Line::open(&shared.source, key.source, source::purpose(shared));
    let destination = Line::open(&shared.destination, key.destination, Use::Append);
    let (source, destination) = tokio::try_join!(source, destination)?;
    let by = |version: i16, ids_from: i16| {
        if version >= ids_from { Naming::ById } else { Naming::ByName }
    };
    let fetch_version = source.version(ApiKey::Fetch)?;
    let append_version = destination.version(ApiKey::Produce)?;
    let members = Members::new(
        by(fetch_version, crate::wire::fetch::IDS_FROM),
        by(append_version, crate::wire::produce::IDS_FROM),
    );
    let timeout = shared.destination.options().request_timeout;
    Ok(Lane {
        key,
        inlets: [Some(Inlet::new(0, source, shared)), None],
        second_at: Instant::now(),
        destination,
        members,
        appender: Appender::new(shared.options.append_bytes_max, timeout),
        works: Works::new(shared.pool.clone()),
        shared: shared.clone(),
        append_at: Instant::now(),
        stopping: false,
    })
}

impl Lane {
    async fn turn_round(
        &mut self,
        orders: &mut mpsc::Receiver<ToLane>,
    ) -> Result<(), ClusterError> {
        let mut lost = Ok(());
        loop {
            self.send_appends()?;
            self.send_fetches()?;
            let share = memory::anew_bytes(&self.shared.options, self.shared.lanes.get());
            self.works.begin(&mut self.members, share);
            self.give_back().await;
            if (self.stopping || self.inlets[0].is_none()) && self.members.len() == 0 {
                return lost;
            }
            match self.wait(orders).await {
                Event::Order(None) | Event::Stop => self.let_go(Fault::Moved),
                Event::Order(Some(order)) => self.handle_order(order),
                Event::Fetched(0, Err(error)) => {
                    self.inlets = [None, None];
                    self.let_go(Fault::SourceLost);
                    lost = Err(error);
                }
                Event::Fetched(at, turned) => self.handle_turned(at, turned).await,
                Event::Appended(Ok(Turned::Answer(answer))) => self.handle_appended(answer)?,
                Event::Appended(Ok(Turned::Reopened(ends))) => self.members.compare_ends(&ends),
                Event::Appended(Ok(Turned::Idle)) => self.reopen(Side::Destination),
                Event::Appended(Err(error)) => return Err(error),
                Event::Worked(done) => Works::end(&mut self.members, done),
                Event::Timer => {}
            }
        }
    }

    /// A connection was closed for being idle: no failure. A lane without a partition ends.
    fn reopen(&mut self, side: Side) {
        self.stopping |= self.members.len() == 0;
        match (side, &mut self.inlets[0]) {
            (Side::Destination, _) => {
                self.destination.reopen(self.members.logs(&self.shared.destination));
            }
            (Side::Source, Some(first)) => first.line.reopen(Vec::new()),
            (Side::Source, None) => {}
        }
    }

    /// Takes everybody out; what is in flight on a lost connection is unknown.
    fn clear(&mut self, is_lost: bool) -> Vec<LanePartition> {
        if is_lost {
            self.appender.forget();
            self.let_go(Fault::DestinationLost);
        }
        self.members.publish(self.shared.wall.now());
        self.members.take_leavers()
    }

    /// With anything in flight this is an abort: nothing of it may arrive later.
    fn end(self) {
        self.destination.close();
        self.inlets.into_iter().flatten().for_each(|inlet| inlet.line.close());
    }

    async fn wait(&mut self, orders: &mut mpsc::Receiver<ToLane>) -> Event {
        let now = Instant::now();
        let fetches = self.inlets.iter().flatten().map(|inlet| inlet.at);
        let due = fetches.chain([self.append_at]).filter(|at| *at > now).min();
        let running = !self.stopping && self.inlets[0].is_some();
        let stop = self.shared.stop.clone();
        let [first, second] = &mut self.inlets;
        tokio::select! {
            biased;
            order = orders.recv(), if running => Event::Order(order),
            () = stop.cancelled(), if running => Event::Stop,
            answer = self.destination.turn() => Event::Appended(answer),
            answer = source::turn(first) => Event::Fetched(0, answer),
            answer = source::turn(second) => Event::Fetched(1, answer),
            Some(done) = self.works.next() => Event::Worked(done),
            () = sleep_until(due.unwrap_or(now)), if due.is_some() => Event::Timer,
        }
    }

    /// Nothing new goes out; what is in flight is still answered.
    fn let_go(&mut self, fault: Fault) {
        self.stopping = true;
        self.members.iter_mut().for_each(|(_, member)| member.mirror.handle_failed(fault));
    }

    fn handle_order(&mut self, order: ToLane) {
        match order {
            ToLane::Add(member) => self.members.add(*member),
            ToLane::Tell(tp, incarnation, told) => {
                let id = self.members.find(&tp, incarnation);
                let Some(member) = id.and_then(|id| self.members.get_mut(id)) else { return };
                match told {
                    Told::Leave => member.mirror.handle_failed(Fault::Moved),
                    Told::Drain => member.mirror.handle_order(Order::Drain),
                    Told::Halt(halt) => member.mirror.handle_halt(halt),
                }
            }
        }
    }

    fn send_appends(&mut self) -> Result<(), ClusterError> {
        if self.append_at > Instant::now() {
            return Ok(());
        }
        let Some(destination) = self.destination.conn() else { return Ok(()) };
        let version = destination.version(ApiKey::Produce)?;
        loop {
            let ask = self.appender.poll(&mut self.members, version, self.shared.wall.now());
            let chain = match ask {
                Ok(None) => return Ok(()),
                Ok(Some(chain)) => chain,
                Err(error) => {
                    return Err(ClusterError::own(destination.peer(), "Produce", &error));
                }
            };
            let deadline = Instant::now() + self.shared.destination.options().request_timeout;
            destination.send(ApiKey::Produce, version, chain.pieces, deadline)?;
        }
    }

    fn handle_appended(&mut self, answer: Answer) -> Result<(), ClusterError> {
        let decoded = AppendAnswer::decode(answer.body, answer.version);
        let answer = match decoded {
            Ok(answer) => answer,
            Err(error) => {
                return Err(self.destination.misread(ApiKey::Produce, error));
            }
        };
        self.append_at = Instant::now() + self.destination.throttled(answer.throttle_ms);
        for one in &answer.partitions {
            let id = self.members.by_destination(&one.topic, one.partition);
            let member = id.and_then(|id| self.members.get_mut(id));
            if let (Some(member), Some((leader, epoch))) = (member, one.current_leader) {
                let tp = member.mirror.name().mirror();
                self.shared.destination.note_leader(&tp, leader, epoch);
            }
        }
        let now = self.shared.wall.now();
        if self.appender.handle_answer(&mut self.members, &answer, now).is_err() {
            let what = WireError::BadValue { what: "a produce answer's partitions", value: 0 };
            return Err(self.destination.misread(ApiKey::Produce, what));
        }
        Ok(())
    }

    async fn give_back(&mut self) {
        self.members.publish(self.shared.wall.now());
        let members = self.members.take_leavers();
        if !members.is_empty() {
            let report = FromLane { key: self.key, partitions: members, ended: None };
            let _ = self.shared.back.send(report).await;
        }
    }
}
