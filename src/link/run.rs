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
use crate::control::filter::TopicFilter;
use crate::flow::Wall;
use crate::flow::entry::Fact;
use crate::flow::entry::Released;
use crate::flow::entry::ToManager;
use crate::flow::lane::works::Pool;
use crate::flow::stats::Gauge;
use crate::ids::LinkName;
use crate::ids::Offset;
use crate::ids::Side;
use crate::ids::TimestampMs;
use crate::ids::TopicName;
use crate::link::LinkSettings;
use crate::link::Settings;
use crate::link::copying;
use crate::link::desk::Desk;
use crate::link::journal::Journal;
use crate::link::journal::Unreadable;
use crate::link::offsets;
use crate::link::spec::Numbering;
use crate::link::spec::cluster_changed;
pub use crate::link::status::Link;
pub use crate::link::status::LinkState;
pub use crate::link::status::LinkStatus;
use crate::link::watch;
pub use crate::sync::groups::GroupTold;
use crate::sync::topics::Found;
use crate::sync::topics::Topics;
pub use crate::sync::trouble::Kind as TroubleKind;
pub use crate::sync::trouble::Trouble;

/// The first pause before a cluster that cannot be reached is tried again.
pub(super) const RECONNECT_MIN: Duration = Duration::from_millis(500);
/// The longest; `availability.check.ms` where that is shorter.
pub(super) const RECONNECT_MAX: Duration = Duration::from_secs(30);
/// How often a topic that is missing is looked for, until it is there or counts as deleted.
const MISSING_LOOK: Duration = Duration::from_secs(5);
/// Of how many partitions the end is told when the link stops.
const ENDS_TOLD_MAX: usize = 1_000;

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
        let (world, both) = (&self.world, (&source, &destination));
        let begun = copying::begin(&self.link, &self.settings, world, both, &world.stop).await;
        let (copying, released) = begun;
        let mut beside = JoinSet::new();
        beside.spawn(watch::keep(self.link.clone(), world.wall));
        beside.spawn(tell_released(released));
        if let Some(sync) = self.settings.link.groups.clone() {
            let both = (source.clone(), destination.clone());
            beside.spawn(offsets::keep(self.link.clone(), world.wall, sync, both));
        }
        if let Some(journal) = self.open_journal(&source, &destination).await {
            self.keep_told(&source, &destination, journal, &copying.orders).await;
        }
        copying.end().await;
        beside.abort_all();
        self.tell_ends();
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
        let (filter, factor) =
            (link.topics.without(journal.claimed().keys()), link.replication_factor);
        let mut taken = taken(&link.topics, journal.claimed());
        taken.extend(journal.has_namesake().then(|| namesake(&self.link.name)));
        let saved = journal.saved().ids.keys();
        let remembered = saved.clone().filter(|name| filter.matches(name));
        self.link.set(|status| {
            status.wanted.extend(remembered.map(|name| (name.clone(), name.clone())));
        });
        for (name, why) in saved.filter_map(|name| Some((name, link.topics.left_out(name)?))) {
            tracing::warn!(topic = %name, "was mirrored before and is left out now: {why}");
        }
        let topics = Topics::new(filter, factor, &journal.saved().ids);
        let mut desk = Desk::new(link.start, topics, journal);
        let mut numbering = Numbering::new(self.link.name.clone());
        let mut failures = 0;
        loop {
            let pass = tokio::select! {
                pass = desk.pass(source, destination, self.world.wall.now()) => pass,
                () = self.world.stop.cancelled() => return,
            };
            let pause = match pass {
                Ok(Found { topics, mut troubles, wanted }) => {
                    failures = 0;
                    troubles.extend(taken.iter().cloned());
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
            let copied = self.link.copied();
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

/// What a link of the file would mirror and may not: it is the mirror topic of another link.
fn taken(filter: &TopicFilter, claimed: &BTreeMap<TopicName, LinkName>) -> Vec<Trouble> {
    let taken = claimed.iter().filter(|(topic, _)| filter.matches(topic));
    let trouble = |(topic, link): (&TopicName, &LinkName)| {
        let text = format!(
            "it is a mirror topic of link {link}, which was created by order: delete that mirror \
             and start isolog again, or leave the topic out of mirror.topics"
        );
        Trouble::new(topic, TroubleKind::Refused, text)
    };
    taken.map(trouble).collect()
}

/// A link of that name was created by order too.
fn namesake(link: &LinkName) -> Trouble {
    let text = format!(
        "a link {link} was created by order too: this one runs, and nothing of that one is copied, \
         nor are its mirror topics by this one: delete it (`isolog link delete {link} --force`; \
         its topics stay) and start isolog again, or give [link.{link}] another name"
    );
    Trouble { subject: link.to_string(), kind: TroubleKind::Namesake, text }
}

/// Says what was let go, and where its log ends.
async fn tell_released(mut facts: mpsc::Receiver<Fact>) {
    while let Some(fact) = facts.recv().await {
        let Fact::Released(Released { name, incarnation, end, last_source_offset }) = fact else {
            continue;
        };
        let (link, end) = (&name.link, end.map(Offset::get));
        let last_source_offset = last_source_offset.map(Offset::get);
        tracing::info!(%link, partition = %name, %incarnation, end, last_source_offset, "let go");
    }
}
