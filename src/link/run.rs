//! One running link: reaches both clusters, keeps the manager told what is to be mirrored.
//!
//! It never touches a partition itself: topics are `sync`'s, partitions are `flow`'s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::cluster::dial::Dial;
use crate::cluster::dial::TcpDial;
use crate::cluster::error::ClusterError;
use crate::flow::Wall;
use crate::flow::ask::ends::Asker;
use crate::flow::ask::open_txns;
use crate::flow::entry::Released;
use crate::flow::entry::ToManager;
use crate::flow::lane::memory::held_bytes;
use crate::flow::lane::memory::unit_bytes;
use crate::flow::lane::works::Pool;
use crate::flow::manager::PartitionManager;
use crate::flow::producer_id;
use crate::flow::shared::Shared;
use crate::flow::stats::Gauge;
use crate::ids::Offset;
use crate::ids::Side;
use crate::ids::TimestampMs;
use crate::ids::TopicPartition;
use crate::link::LinkSettings;
use crate::link::Settings;
use crate::link::desk::Desk;
use crate::link::journal::Journal;
use crate::link::journal::Unreadable;
use crate::link::spec::Numbering;
use crate::link::spec::cluster_changed;
pub use crate::link::status::Link;
pub use crate::link::status::LinkState;
pub use crate::link::status::LinkStatus;
use crate::link::watch;
use crate::mirror::facts::Limits;
use crate::mirror::lag::MIRRORING;
use crate::mirror::work::LIGHT_BYTES_MAX;
use crate::sync::topics::Found;
use crate::sync::topics::Topics;
pub use crate::sync::trouble::Kind as TroubleKind;
pub use crate::sync::trouble::Trouble;

/// The first pause before a cluster that cannot be reached is tried again.
const RECONNECT_MIN: Duration = Duration::from_millis(500);
/// The longest; `availability.check.ms` where that is shorter.
const RECONNECT_MAX: Duration = Duration::from_secs(30);
/// How many orders the partition manager may have before it.
const ORDERS_MAX: usize = 16;
/// How many reports of its lanes.
const REPORTS_MAX: usize = 64;
/// How much of what it tells the link may have before it.
const FACTS_MAX: usize = 64;
/// `producer.id.expiration.ms` of a destination that does not tell it: Kafka's own default.
const PRODUCER_AGE_MS_DEFAULT: i64 = 86_400_000;
/// Sooner than the destination's own bound by its checking interval and a margin
/// (`producer.id.expiration.check.interval.ms`).
const PRODUCER_AGE_MS_MARGIN: i64 = 900_000;
/// How often a topic that is missing is looked for, until it is there or counts as deleted.
const MISSING_LOOK: Duration = Duration::from_secs(5);
/// Of how many partitions the end is told when the link stops.
const ENDS_TOLD_MAX: usize = 1_000;
/// The destination's bound.
const PRODUCER_AGE: &str = "producer.id.expiration.ms";

/// What all links of the process share.
#[derive(Clone)]
pub struct World {
    /// Opens connections.
    pub dial: Dials,
    /// The time.
    pub wall: Wall,
    /// Seeds every backoff's dice.
    pub seed: u64,
    /// Counts the lanes that share the memory.
    pub lanes: Arc<Gauge>,
    /// Where units are worked on that would hold a lane up.
    pub pool: Arc<Pool>,
    /// Stops everything.
    pub stop: CancellationToken,
}

impl World {
    /// The real one: TCP, the system's time, dice that nobody knows.
    pub fn real(settings: &Settings, stop: CancellationToken) -> World {
        let source = settings.links.iter().map(|link| link.source.dial_timeout).max();
        let destination = settings.destination.dial_timeout;
        let tcp = |timeout| Arc::new(TcpDial { timeout });
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ms = i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX);
        let dial =
            Dials { source: tcp(source.unwrap_or(destination)), destination: tcp(destination) };
        World {
            dial,
            wall: Wall::new(TimestampMs(ms)),
            seed: u64::from(since_1970.subsec_nanos()) ^ u64::from(std::process::id()) << 32,
            lanes: Arc::new(Gauge::default()),
            pool: Arc::new(Pool::new(settings.shared.reencode_threads)),
            stop,
        }
    }
}

/// How each side is dialled.
#[derive(Clone)]
pub struct Dials {
    /// To the source.
    pub source: Arc<dyn Dial>,
    /// To the destination.
    pub destination: Arc<dyn Dial>,
}

/// A link that is not running yet; its handle can be shown at once.
pub struct Starting {
    settings: LinkSettings,
    destination: crate::cluster::Options,
    world: World,
    link: Link,
}

impl Starting {
    /// Prepares a link.
    pub fn new(
        settings: LinkSettings,
        destination: crate::cluster::Options,
        world: World,
    ) -> Starting {
        let link = Link::new(settings.name.clone(), &settings.link.topics, world.wall);
        Starting { settings, destination, world, link }
    }

    /// The handle.
    pub fn link(&self) -> Link {
        self.link.clone()
    }

    /// Runs until the world's stop token; what is in flight is answered first.
    pub async fn run(self) {
        if self.settings.link.paused {
            self.link.set(|status| status.state = LinkState::Paused);
            return self.world.stop.cancelled().await;
        }
        let stop = self.world.stop.clone();
        let reached = tokio::select! {
            reached = self.reach() => reached,
            () = stop.cancelled() => return,
        };
        let Some((source, destination)) = reached else {
            return stop.cancelled().await;
        };
        self.mirror(source, destination).await;
    }

    async fn reach(&self) -> Option<(Arc<Cluster>, Arc<Cluster>)> {
        let dials = &self.world.dial;
        let destination = self.connect(self.destination.clone(), &dials.destination).await?;
        let source = self.connect(self.settings.source.clone(), &dials.source).await?;
        if source.id() == destination.id() {
            let text = format!(
                "source and destination are the same cluster ({}): correct bootstrap.servers of \
                 link {}",
                source.id(),
                self.link.name
            );
            tracing::error!(link = %self.link.name, "{text}");
            self.link.set(|status| status.state = LinkState::Halted(text));
            return None;
        }
        let ids = (source.id(), destination.id());
        tracing::info!(link = %self.link.name, source = %ids.0, destination = %ids.1, "connected");
        self.link.set(|status| status.clusters = Some(ids));
        Some((source, destination))
    }

    async fn connect(
        &self,
        options: crate::cluster::Options,
        dial: &Arc<dyn Dial>,
    ) -> Option<Arc<Cluster>> {
        let pause_max = RECONNECT_MAX.min(self.settings.link.availability_interval);
        let mut pause = RECONNECT_MIN.min(pause_max);
        loop {
            let seed = self.world.seed;
            match Cluster::connect(options.clone(), dial.clone(), seed).await {
                Ok(cluster) => return Some(cluster),
                Err(error) => self.tell_unreached(options.side, &error),
            }
            sleep(pause).await;
            pause = (pause * 2).min(pause_max);
        }
    }

    fn tell_unreached(&self, side: Side, error: &ClusterError) {
        let text = format!("the {side} cannot be reached: {error}");
        let is_news = self.link.status().state != LinkState::Unavailable(text.clone());
        if is_news {
            tracing::warn!(link = %self.link.name, "{text}");
        }
        self.link.set(|status| status.state = LinkState::Unavailable(text));
    }

    async fn mirror(self, source: Arc<Cluster>, destination: Arc<Cluster>) {
        let (back, reports) = mpsc::channel(REPORTS_MAX);
        let (facts, released) = mpsc::channel(FACTS_MAX);
        let (orders, taken) = mpsc::channel(ORDERS_MAX);
        let limits = self.limits(&destination).await;
        let shared = Shared {
            writer: producer_id::of(&source.id(), &destination.id(), &self.link.name),
            source: source.clone(),
            destination: destination.clone(),
            options: self.settings.flow.clone(),
            committed_only: self.settings.link.committed_only,
            wall: self.world.wall,
            lanes: self.world.lanes.clone(),
            pool: self.world.pool.clone(),
            back,
            stop: self.world.stop.clone(),
        };
        let mut asking = self.keep_asking(&source, &destination, orders.downgrade());
        asking.spawn(tell_released(released));
        let manager =
            PartitionManager::new(shared, reports, facts, self.link.board.clone(), limits);
        // In a set, so that the manager ends with this task, however it ends.
        let mut running = JoinSet::new();
        running.spawn(manager.run(taken));
        if let Some(journal) = self.open_journal(&source, &destination).await {
            self.keep_told(&source, &destination, journal, &orders).await;
        }
        drop(orders);
        while let Some(Err(error)) = running.join_next().await {
            let text = "the partition manager ended in a panic";
            tracing::error!(link = %self.link.name, %error, "{text}");
        }
        asking.abort_all();
        self.tell_ends();
    }

    /// What is asked beside the lanes, so that what is shown is never older than it looks.
    fn keep_asking(
        &self,
        source: &Arc<Cluster>,
        destination: &Arc<Cluster>,
        manager: mpsc::WeakSender<ToManager>,
    ) -> JoinSet<()> {
        let (board, wall) = (&self.link.board, self.world.wall);
        let mut asking = JoinSet::new();
        let committed_only = self.settings.link.committed_only;
        for cluster in [source, destination] {
            let (cluster, board, manager) = (cluster.clone(), board.clone(), manager.clone());
            asking.spawn(Asker { cluster, board, wall, committed_only, manager }.keep());
        }
        asking.spawn(open_txns::keep(source.clone(), board.clone(), wall));
        asking.spawn(watch::keep(self.link.clone(), wall));
        asking
    }

    async fn limits(&self, destination: &Cluster) -> Limits {
        let told = producer_age_ms(destination).await;
        let age = told.unwrap_or(PRODUCER_AGE_MS_DEFAULT);
        let partition = usize::try_from(self.settings.flow.partition_bytes_max).unwrap_or(0);
        Limits {
            waiting_bytes_max: partition,
            fetch_bytes_max: partition,
            append_bytes_max: self.settings.flow.append_bytes_max,
            unpacked_bytes_max: unit_bytes(&self.settings.flow),
            held_bytes_max: held_bytes(&self.settings.flow),
            light_bytes_max: LIGHT_BYTES_MAX,
            producer_age_ms_max: (age - PRODUCER_AGE_MS_MARGIN).max(0),
            policy: self.settings.link.policy,
        }
    }

    /// Looks at the topics again and again, and tells the manager.
    async fn keep_told(
        &self,
        source: &Arc<Cluster>,
        destination: &Arc<Cluster>,
        journal: Journal,
        orders: &mpsc::Sender<ToManager>,
    ) {
        let link = &self.settings.link;
        let (filter, factor) = (link.topics.clone(), link.replication_factor);
        let topics = Topics::new(filter, factor, &journal.saved().ids);
        let remembered = journal.saved().ids.keys().filter(|name| link.topics.matches(name));
        self.link.set(|status| status.wanted.extend(remembered.cloned()));
        let mut desk = Desk::new(link.start, topics, journal);
        let mut numbering = Numbering::new(self.link.name.clone());
        let mut failures = 0;
        loop {
            let pass = tokio::select! {
                pass = desk.pass(source, destination, self.world.wall.now()) => pass,
                () = self.world.stop.cancelled() => return,
            };
            let pause = match pass {
                Ok(Found { topics, troubles, wanted }) => {
                    failures = 0;
                    self.link.tell_looked(troubles, wanted);
                    let specs = numbering.specs(&topics);
                    if orders.send(ToManager::Wanted(specs)).await.is_err() {
                        return;
                    }
                    let pause = source.options().metadata_age_max;
                    let is_missing =
                        desk.misses_journal() || topics.iter().any(|topic| topic.missing.is_some());
                    if is_missing { pause.min(MISSING_LOOK) } else { pause }
                }
                Err(error) => {
                    failures += 1;
                    self.tell_failed(source, destination, &error, failures, orders).await;
                    link.availability_interval.min(source.options().metadata_age_max)
                }
            };
            let goes_on = match failures {
                0 => self.keep_trimmed(&mut desk, source, destination, pause).await,
                _ => self.rest(pause).await,
            };
            if !goes_on {
                return;
            }
        }
    }

    /// `false` when the link is stopped meanwhile.
    async fn rest(&self, pause: Duration) -> bool {
        tokio::select! {
            () = sleep(pause) => true,
            () = self.world.stop.cancelled() => false,
        }
    }

    /// Compares log starts until the topics are due again, or a side is away, which the look at the
    /// topics tells; `false` when the link is stopped.
    async fn keep_trimmed(
        &self,
        desk: &mut Desk,
        source: &Cluster,
        destination: &Cluster,
        pause: Duration,
    ) -> bool {
        let due = Instant::now() + pause;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            tokio::select! {
                () = sleep(left.min(desk.trim_pause())) => {}
                () = self.world.stop.cancelled() => return false,
            }
            let copied = self.copied();
            let trimmed = tokio::select! {
                trimmed = desk.trim(source, destination, &copied, self.world.wall.now()) => trimmed,
                () = self.world.stop.cancelled() => return false,
            };
            match trimmed {
                Ok(troubles) => self.link.tell_starts(troubles),
                Err(error) => {
                    tracing::info!(link = %self.link.name, %error, "log starts were not compared");
                    return true;
                }
            }
            if Instant::now() >= due {
                return true;
            }
        }
    }

    /// Up to where each partition is confirmed, of those that are being mirrored.
    fn copied(&self) -> BTreeMap<TopicPartition, Offset> {
        let partitions = self.link.partitions().into_iter();
        let flowing = partitions.filter(|(_, seen)| seen.state == MIRRORING);
        flowing.filter_map(|(name, seen)| Some((name.mirror(), seen.destination_hwm?))).collect()
    }

    /// Reads the journal, again and again until it can be read or the link is stopped.
    async fn open_journal(
        &self,
        source: &Arc<Cluster>,
        destination: &Arc<Cluster>,
    ) -> Option<Journal> {
        let mut pause = RECONNECT_MIN;
        let factor = self.settings.link.replication_factor;
        let replicas = (factor > 0).then_some(factor);
        loop {
            let (there, name) = (destination.clone(), self.link.name.clone());
            let opened = tokio::select! {
                opened = Journal::open(there, source.id(), name, replicas) => opened,
                () = self.world.stop.cancelled() => return None,
            };
            match opened {
                Ok(journal) => return Some(journal),
                Err(error) => self.tell_journal(&error),
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(RECONNECT_MAX),
                () = self.world.stop.cancelled() => return None,
            }
        }
    }

    fn tell_journal(&self, error: &Unreadable) {
        let text = error.to_string();
        tracing::warn!(link = %self.link.name, "{text}");
        self.link.set(|status| {
            status.state = match error {
                Unreadable::Cluster(_) => LinkState::Unavailable(text),
                _ => LinkState::Halted(text),
            }
        });
    }

    async fn tell_failed(
        &self,
        source: &Cluster,
        destination: &Cluster,
        error: &ClusterError,
        failures: u32,
        orders: &mpsc::Sender<ToManager>,
    ) {
        if let Some(halted) = source.halted().or_else(|| destination.halted()) {
            let text = halted.to_string();
            if self.link.status().state != LinkState::Halted(text.clone()) {
                tracing::error!(link = %self.link.name, "{text}");
            }
            self.link.set(|status| status.state = LinkState::Halted(text));
            if let Some(halt) = cluster_changed(&halted) {
                let _ = orders.send(ToManager::Halt(halt)).await;
            }
            return;
        }
        tracing::info!(link = %self.link.name, %error, failures, "a look at the topics failed");
        if failures >= self.settings.link.availability_failures_max {
            let text = error.to_string();
            self.link.set(|status| status.state = LinkState::Unavailable(text));
        }
    }

    fn tell_ends(&self) {
        let partitions = self.link.partitions();
        for (name, seen) in partitions.iter().take(ENDS_TOLD_MAX) {
            let end = seen.destination_end.map(|end| end.get());
            tracing::info!(link = %self.link.name, partition = %name, end, "stopped");
        }
        let (all, more) = (partitions.len(), partitions.len().saturating_sub(ENDS_TOLD_MAX));
        tracing::info!(link = %self.link.name, partitions = all, untold = more, "link stopped");
    }
}

/// Says what was let go, and where its log ends.
async fn tell_released(mut released: mpsc::Receiver<Released>) {
    while let Some(Released { name, incarnation, end, last_source_offset }) = released.recv().await
    {
        let (link, end) = (&name.link, end.map(Offset::get));
        let last_source_offset = last_source_offset.map(Offset::get);
        tracing::info!(%link, partition = %name, %incarnation, end, last_source_offset, "let go");
    }
}

/// The destination's own bound, where we may read it.
async fn producer_age_ms(destination: &Cluster) -> Option<i64> {
    let broker = destination.look(|metadata| metadata.brokers().next().map(|one| one.id))?;
    let told = destination.describe_broker_configs(broker, Some(&[PRODUCER_AGE])).await;
    told.ok()?.ok()?.get(PRODUCER_AGE)?.value.as_ref()?.parse().ok()
}
