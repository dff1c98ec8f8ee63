//! One Kafka cluster: connections, metadata and typed calls.
//!
//! It never knows that anything is being mirrored.

mod admin;
pub mod backoff;
mod call;
mod configs;
pub mod conn;
mod count;
pub mod dial;
mod ends;
pub mod error;
mod groups;
pub mod keyed;
pub mod line;
pub mod member;
pub mod metadata;
mod pool;
mod producers;
mod refresh;
pub mod sasl;
mod shares;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

pub use crate::cluster::admin::ClusterView;
pub use crate::cluster::admin::EachTopic;
pub use crate::cluster::admin::NewTopic;
pub use crate::cluster::admin::acls::ACLS_PER_REQUEST_MAX;
pub use crate::cluster::admin::acls::AclEntry;
pub use crate::cluster::admin::acls::Described;
pub use crate::cluster::admin::acls::EachEntry;
pub use crate::cluster::admin::clients::ClientQuotas;
pub use crate::cluster::admin::clients::ScramUsers;
pub use crate::cluster::configs::ConfigEntries;
pub use crate::cluster::configs::ConfigEntry;
pub use crate::cluster::ends::Each;
pub use crate::cluster::ends::EndKind;
pub use crate::cluster::ends::EpochEnd;
pub use crate::cluster::ends::Listed;
pub use crate::cluster::groups::Commit;
pub use crate::cluster::groups::Committed;
pub use crate::cluster::groups::EachGroup;
pub use crate::cluster::groups::Listing;
pub use crate::cluster::pool::Use;
pub use crate::cluster::producers::OpenTransaction;
pub use crate::cluster::producers::ProducerState;
pub use crate::cluster::refresh::Wanted;
pub use crate::cluster::shares::NO_SHARES;
pub use crate::wire::prim::peer_text;

use crate::cluster::backoff::Dice;
use crate::cluster::dial::Dial;
use crate::cluster::dial::allow::Allowed;
use crate::cluster::error::ClusterError;
use crate::cluster::error::Result;
use crate::cluster::member::lease::Lease;
use crate::cluster::metadata::Broker;
use crate::cluster::metadata::Metadata;
use crate::cluster::metadata::Partition;
use crate::cluster::metadata::Topic;
use crate::cluster::pool::Pool;
use crate::cluster::sasl::Login;
use crate::ids::BrokerId;
use crate::ids::ClusterId;
use crate::ids::LeaderEpoch;
use crate::ids::Side;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::secure::ClientTls;

/// How to reach one cluster; filled by `config`.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which of the two clusters this is: every error carries it.
    pub side: Side,
    /// `bootstrap.servers`: host and port, at least one.
    pub bootstrap: Vec<(String, u16)>,
    /// `client.id`.
    pub client_id: String,
    /// `request.timeout.ms`: the deadline of every request.
    pub request_timeout: Duration,
    /// `socket.connection.setup.timeout.ms`: the deadline of a dial.
    pub dial_timeout: Duration,
    /// `metadata.max.age.ms`: metadata older than this is refreshed.
    pub metadata_age_max: Duration,
    /// `reconnect.backoff.ms`: the first pause before a broker is dialled again.
    pub redial_pause: Duration,
    /// `reconnect.backoff.max.ms`: the longest such pause.
    pub redial_pause_max: Duration,
    /// `retry.backoff.ms`: the first pause before a failed request is asked again.
    pub retry_pause: Duration,
    /// `retry.backoff.max.ms`: the longest such pause.
    pub retry_pause_max: Duration,
    /// `client.rack`, empty for none.
    pub rack: String,
    /// How large a cluster is taken over.
    pub size_max: SizeMax,
    /// `security.protocol` and what belongs to it.
    pub security: Security,
}

/// How many of each a cluster may tell of; an answer with more is refused whole.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct SizeMax {
    /// `metadata.brokers.max`.
    pub brokers: usize,
    /// `metadata.topics.max`.
    pub topics: usize,
    /// `metadata.partitions.max`, over all topics.
    pub partitions: usize,
}

impl Default for SizeMax {
    /// More than any one cluster of today has.
    fn default() -> SizeMax {
        SizeMax { brokers: 1_000, topics: 100_000, partitions: 200_000 }
    }
}

/// How one cluster's connections are made safe. Copies share sessions, tokens and the pauses after
/// refused logins.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// `SSL` and `SASL_SSL`.
    pub tls: Option<Arc<ClientTls>>,
    /// `SASL_PLAINTEXT` and `SASL_SSL`.
    pub login: Option<Arc<Login>>,
    /// `broker.addresses.allowed`: where this cluster may send us.
    pub allowed: Allowed,
}

/// Whom a question is for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any broker that answers.
    Any,
    /// The controller, or a broker that forwards to it.
    Controller,
    /// That broker.
    Broker(BrokerId),
    /// That broker, over a further connection of this number (`Cluster::close_further`): it answers
    /// one request of each connection at a time, and some take long to be written down.
    Further(BrokerId, u8),
}

/// One cluster; shared by all who speak to it.
pub struct Cluster {
    options: Options,
    dial: Arc<dyn Dial>,
    client_id: Arc<str>,
    dice: Mutex<Dice>,
    /// What the first connection told; every later one must tell the same.
    id: OnceLock<ClusterId>,
    /// Set once another cluster has answered: every call fails from then on.
    halted: OnceLock<ClusterError>,
    metadata: RwLock<Metadata>,
    /// The generation of `metadata`.
    news: watch::Sender<u64>,
    /// When all topics were last read; held while they are being read.
    read_at: tokio::sync::Mutex<Option<Instant>>,
    pool: Pool,
    /// Without which nothing is changed here, where there is one.
    lease: OnceLock<Lease>,
}

impl Cluster {
    /// Reaches one of the bootstrap addresses and reads the whole metadata. Fails when every
    /// address has failed in each of a few rounds; the caller decides when to try again.
    pub async fn connect(options: Options, dial: Arc<dyn Dial>, seed: u64) -> Result<Arc<Cluster>> {
        let cluster = Arc::new(Cluster {
            client_id: options.client_id.as_str().into(),
            dial,
            dice: Mutex::new(Dice::new(seed)),
            id: OnceLock::new(),
            halted: OnceLock::new(),
            metadata: RwLock::default(),
            news: watch::Sender::new(0),
            read_at: tokio::sync::Mutex::default(),
            pool: Pool::default(),
            lease: OnceLock::new(),
            options,
        });
        cluster.refresh(Wanted::All).await?;
        Ok(cluster)
    }

    /// From now on nothing is changed here but under this lease. Appends are no such change: the
    /// log itself guards them.
    pub fn guard(&self, lease: Lease) {
        // there is one guard: a second one would be a fault of ours
        let _first = self.lease.set(lease);
    }

    /// Which of the two clusters.
    pub fn side(&self) -> Side {
        self.options.side
    }

    /// How it is reached.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The cluster's own id, as its first answer told it.
    pub fn id(&self) -> ClusterId {
        self.id.get().cloned().unwrap_or_else(|| ClusterId("".into()))
    }

    /// Why every call fails: another cluster has answered under this one's address.
    pub fn halted(&self) -> Option<ClusterError> {
        self.halted.get().cloned()
    }

    /// Looks something up in the metadata; `look` must be short and cannot wait.
    pub fn look<T>(&self, look: impl FnOnce(&Metadata) -> T) -> T {
        look(&self.metadata.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// One partition, as far as it is known.
    pub fn partition(&self, tp: &TopicPartition) -> Option<Partition> {
        self.look(|metadata| metadata.partition(tp).cloned())
    }

    /// One topic, as far as it is known.
    pub fn topic(&self, name: &TopicName) -> Option<Arc<Topic>> {
        self.look(|metadata| metadata.topic(name).cloned())
    }

    /// All topics that are known.
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        self.look(|metadata| metadata.topics().cloned().collect())
    }

    /// Rings at every change of the metadata; the number is its generation.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Counts a connection that its broker closed while nothing was asked on it.
    pub fn note_idle_close(&self) {
        count::idle_closed(self.options.side);
    }

    /// A leader that a fetch or produce answer told; `true` when that is news.
    pub fn note_leader(&self, tp: &TopicPartition, leader: BrokerId, epoch: LeaderEpoch) -> bool {
        // most answers repeat what is known: that needs no exclusive lock
        let may_be_news = |known: &Partition| epoch >= known.epoch;
        if !self.look(|metadata| metadata.partition(tp).is_some_and(may_be_news)) {
            return false;
        }
        self.change(|metadata| metadata.note_leader(tp, leader, epoch))
    }

    /// A broker's address that a fetch or produce answer told; `true` when that is news.
    pub fn note_broker(&self, broker: Broker) -> bool {
        self.change(|metadata| metadata.note_broker(broker))
    }

    fn change(&self, change: impl FnOnce(&mut Metadata) -> bool) -> bool {
        let mut metadata = self.metadata.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut metadata);
        let generation = metadata.generation();
        drop(metadata);
        if changed {
            // a later change may have rung already: the number never goes back
            self.news.send_if_modified(|known| {
                let later = generation > *known;
                *known = generation.max(*known);
                later
            });
        }
        changed
    }

    fn pause(&self, backoff: &mut backoff::Backoff) -> Duration {
        backoff.pause(&mut lock(&self.dice))
    }
}

/// Locks; what these locks guard is never left half changed, so a poisoned one is as good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
