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
use crate::flow::lane::fetcher::Bounds;
use crate::flow::lane::fetcher::FRAME_BYTES_MAX;
use crate::flow::lane::fetcher::Fetcher;
use crate::flow::lane::members::LanePartition;
use crate::flow::lane::members::Members;
use crate::flow::lane::members::Naming;
use crate::flow::lane::memory::STROKES;
use crate::flow::lane::works::Done;
use crate::flow::lane::works::Works;
use crate::flow::shared::Shared;
use crate::flow::topic_ids;
use crate::ids::BrokerId;
use crate::ids::Incarnation;
use crate::ids::Side;
use crate::ids::TimestampMs;
use crate::ids::TopicPartition;
use crate::mirror::facts::Fault;
use crate::mirror::facts::Fetched;
use crate::mirror::facts::Order;
use crate::mirror::halt::Halt;
use crate::wire::error::WireError;
use crate::wire::fetch::FetchAnswer;
use crate::wire::fetch::FetchedPartition;
use crate::wire::fetch::Isolation;
use crate::wire::produce::AppendAnswer;
use crate::wire::split::split;
use crate::wire::topic::TopicRef;
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
    /// `None` once it is lost: what is in flight is still answered.
    source: Option<Line>,
    destination: Line,
    members: Members,
    fetcher: Fetcher,
    appender: Appender,
    works: Works,
    /// When the fetch under way was sent.
    fetch_sent: TimestampMs,
    /// No fetch before: the broker throttles us, or a fetch was refused.
    fetch_at: Instant,
    /// No append before: the broker throttles us.
    append_at: Instant,
    stopping: bool,
}

enum Event {
    Order(Option<ToLane>),
    Fetched(Result<Turned, ClusterError>),
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
    let grant_bytes = memory::grant_bytes(&shared.options, shared.lanes.get());
    let kept_bytes_max = memory::buffer_bytes(grant_bytes);
    let fetch = Use::Fetch { frame_bytes_max: FRAME_BYTES_MAX, kept_bytes_max, slabs: STROKES };
    let source = Line::open(&shared.source, key.source, fetch);
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
    let bounds = Bounds {
        bytes_min: shared.options.fetch_bytes_min,
        wait_max: shared.options.fetch_wait_max,
        isolation: shared.isolation(),
    };
    let timeout = shared.destination.options().request_timeout;
    Ok(Lane {
        key,
        source: Some(source),
        destination,
        members,
        fetcher: Fetcher::new(bounds),
        appender: Appender::new(shared.options.append_bytes_max, timeout),
        works: Works::new(shared.pool.clone()),
        shared: shared.clone(),
        fetch_sent: shared.wall.now(),
        fetch_at: Instant::now(),
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
            self.send_fetch()?;
            let share = memory::anew_bytes(&self.shared.options, self.shared.lanes.get());
            self.works.begin(&mut self.members, share);
            self.give_back().await;
            if (self.stopping || self.source.is_none()) && self.members.len() == 0 {
                return lost;
            }
            match self.wait(orders).await {
                Event::Order(None) | Event::Stop => self.let_go(Fault::Moved),
                Event::Order(Some(order)) => self.handle_order(order),
                Event::Fetched(Ok(Turned::Answer(answer))) => self.handle_fetched(answer).await,
                Event::Fetched(Ok(Turned::Reopened(_))) => self.fetcher.restart(),
                Event::Fetched(Ok(Turned::Idle)) => self.reopen(Side::Source),
                Event::Fetched(Err(error)) => {
                    self.source = None;
                    self.let_go(Fault::SourceLost);
                    lost = Err(error);
                }
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
        match (side, &mut self.source) {
            (Side::Destination, _) => {
                self.destination.reopen(self.members.logs(&self.shared.destination));
            }
            (Side::Source, Some(source)) => source.reopen(Vec::new()),
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
        if let Some(source) = self.source {
            source.close();
        }
    }

    async fn wait(&mut self, orders: &mut mpsc::Receiver<ToLane>) -> Event {
        let now = Instant::now();
        let due = [self.fetch_at, self.append_at].into_iter().filter(|at| *at > now).min();
        let running = !self.stopping && self.source.is_some();
        let stop = self.shared.stop.clone();
        let source = async {
            match &mut self.source {
                Some(source) => source.turn().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            order = orders.recv(), if running => Event::Order(order),
            () = stop.cancelled(), if running => Event::Stop,
            answer = self.destination.turn() => Event::Appended(answer),
            answer = source => Event::Fetched(answer),
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

    fn send_fetch(&mut self) -> Result<(), ClusterError> {
        let source = self.source.as_mut().filter(|_| !self.stopping).and_then(Line::conn);
        let Some(source) = source else { return Ok(()) };
        self.fetch_at = self.shared.pace.free_at(self.fetch_at);
        let ready = !self.fetcher.under_way && self.fetch_at <= Instant::now();
        if !ready || source.free_slabs() == 0 {
            return Ok(());
        }
        let version = source.version(ApiKey::Fetch)?;
        let bytes_max = memory::grant_bytes(&self.shared.options, self.shared.lanes.get());
        source.set_kept_bytes_max(memory::buffer_bytes(bytes_max));
        let bytes_max = self.shared.pace.ask_bytes(bytes_max);
        let ask = self.fetcher.poll(&mut self.members, version, bytes_max);
        let body = ask.map_err(|e| ClusterError::own(source.peer(), "Fetch", &e))?;
        let Some(body) = body else { return Ok(()) };
        let timeout = self.shared.source.options().request_timeout;
        let deadline = Instant::now() + self.shared.options.fetch_wait_max + timeout;
        self.fetch_sent = self.shared.wall.now();
        source.send(ApiKey::Fetch, version, [body], deadline).map(|_| ())
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

    async fn handle_fetched(&mut self, answer: Answer) {
        self.shared.pace.take(answer.body.len(), Instant::now());
        let answer = match FetchAnswer::decode(answer.body, answer.version) {
            Ok(answer) => answer,
            Err(error) => return self.lose_source(error),
        };
        let wait = self.source.as_mut().map(|source| source.throttled(answer.throttle_ms));
        self.fetch_at = Instant::now() + wait.unwrap_or_default();
        if !self.fetcher.handle_answer(&answer) {
            if !Fetcher::is_about_the_session(answer.code) {
                let fault = Fault::FetchRefused(answer.code);
                self.members.iter_mut().for_each(|(_, member)| member.mirror.handle_failed(fault));
            }
            return;
        }
        let (source, stop) = (&self.shared.source, &self.shared.stop);
        let strange =
            topic_ids::strangers(source, self.key.source, &self.members, &answer, stop).await;
        let named = answer.partitions.iter().map(|one| (&one.topic, one.partition)).collect();
        // a throttled answer names nobody, whatever has changed
        if answer.throttle_ms == 0 {
            let (sent, now) = (self.fetch_sent, self.shared.wall.now());
            self.members.note_unchanged(self.fetcher.asked(), &named, sent, now);
        }
        for one in answer.partitions {
            let fault = match &one.topic {
                TopicRef::Name(name) => strange.get(name),
                TopicRef::Id(_) => None,
            };
            match fault {
                Some(fault) => self.refuse(&one, *fault),
                None => self.handle_partition(one),
            }
        }
    }

    fn refuse(&mut self, one: &FetchedPartition, fault: Fault) {
        let id = self.members.by_source(&one.topic, one.partition);
        if let Some(member) = id.and_then(|id| self.members.get_mut(id)) {
            member.mirror.handle_failed(fault);
        }
    }

    fn lose_source(&mut self, error: WireError) {
        tracing::warn!(source = %self.key.source, %error, "a fetch answer cannot be read");
        self.source = None;
        self.let_go(Fault::SourceLost);
    }

    fn handle_partition(&mut self, one: FetchedPartition) {
        let Some(id) = self.members.by_source(&one.topic, one.partition) else { return };
        let now = self.shared.wall.now();
        let isolation = self.shared.isolation();
        let from = self.fetcher.asked_of(&one.topic, one.partition);
        let Some(member) = self.members.get_mut(id) else { return };
        if let Some((leader, epoch)) = one.current_leader {
            self.shared.source.note_leader(&member.mirror.name().source(), leader, epoch);
        }
        // asked before it left this lane and came back
        let Some(from) = from.filter(|from| member.mirror.awaits(*from)) else { return };
        if !one.code.is_none() {
            return member.mirror.handle_failed(Fault::FetchRefused(one.code));
        }
        if let Some((epoch, end)) = one.diverging {
            return member.mirror.handle_diverging(epoch, end);
        }
        let end = match isolation {
            Isolation::ReadCommitted => one.last_stable.or(one.high_watermark),
            Isolation::ReadUncommitted => one.high_watermark,
        };
        let Some(source_end) = end else { return };
        let fetched = Fetched {
            asked_at: self.fetch_sent,
            from,
            source_end,
            high_watermark: one.high_watermark.unwrap_or(source_end),
            log_start: one.log_start,
            aborted: one.aborted,
        };
        let mut pieces = split(one.records);
        let mut malformed = None;
        let whole = std::iter::from_fn(|| match pieces.next() {
            Some(Ok(piece)) => Some(piece),
            Some(Err(error)) => {
                malformed = Some(error);
                None
            }
            None => None,
        });
        let mut count = 0;
        member.mirror.handle_fetched(now, &fetched, whole.inspect(|_| count += 1));
        if let Some(cut) = pieces.cut().filter(|_| count == 0) {
            member.mirror.handle_cut_off(cut.need.min(FRAME_BYTES_MAX / 2));
        }
        if let Some(error) = malformed {
            let partition = member.mirror.name();
            tracing::warn!(%partition, %error, "a fetched batch is malformed");
            member.mirror.handle_malformed();
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
