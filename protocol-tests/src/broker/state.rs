//! What a cluster is at one moment: brokers, what each of them believes, and every replica's log.
//!
//! It never waits: tasks hold it for one step at a time, under one lock.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiKey;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::broker::api::groups::Group;
use crate::broker::api::sessions::Sessions;
use crate::broker::configs::Configs;
use crate::broker::configs::TopicConfig;
use crate::broker::log::Log;
use crate::broker::meta::Key;
use crate::broker::meta::Meta;
use crate::broker::meta::PartitionMeta;
use crate::broker::quota::Quotas;
use crate::broker::rights::Right;
use crate::broker::spec::PORT;
use crate::broker::spec::Spec;
use crate::broker::takeover::Controls;
use crate::rng::Rng;

/// Whether a broker's process runs.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It runs.
    Up,
    /// Stopped by SIGSTOP: its connections stay, it does nothing.
    Frozen,
    /// Dead.
    Down,
}

/// One broker's copy of a partition.
#[derive(Debug, Default)]
pub struct Replica {
    /// The log.
    pub log: Log,
    /// High watermark, as this broker knows it.
    pub hwm: i64,
    /// Where the log ended when this broker became leader.
    pub led_from: i64,
    /// As leader: how far each follower has come.
    pub follower_ends: BTreeMap<i32, i64>,
    /// The log start before the last DeleteRecords, and when that was (A6).
    pub start_before: Option<(i64, i64)>,
}

/// One broker.
pub struct Broker {
    /// Its name in the network.
    pub host: String,
    /// The port that clients are told.
    pub port: u16,
    /// Its rack.
    pub rack: Option<String>,
    /// Its status, with a number that grows with every start.
    pub status: watch::Sender<(Status, u64)>,
    /// Its picture of the cluster.
    pub meta: Meta,
    /// How many bytes of records it has handed out to clients.
    pub bytes_out: u64,
    /// Its fetch sessions.
    pub sessions: Sessions,
    /// Partitions where it has something to fetch as follower.
    pub behind: BTreeSet<Key>,
    /// Those of them whose leader did not answer.
    pub missed: BTreeSet<Key>,
    /// Dynamic broker configs.
    pub configs: Configs,
}

/// The whole cluster.
pub struct State {
    /// How it was started.
    pub spec: Spec,
    /// Its chance.
    pub rng: Rng,
    /// What the controller decided.
    pub meta: Meta,
    /// By id.
    pub brokers: BTreeMap<i32, Broker>,
    /// By partition and broker.
    pub replicas: BTreeMap<(Key, i32), Replica>,
    /// `throttle_time_ms` put into answers, by API key.
    pub throttles: BTreeMap<i16, i32>,
    /// Bytes that clients may move.
    pub quotas: Quotas,
    /// Bytes that came to a connection that was not read: how long after the answer that told it,
    /// to a request of which API and client.
    pub early: Vec<(ApiKey, String, Duration)>,
    /// Tests that answer in a broker's place.
    pub controls: Controls,
    /// Cluster-wide dynamic broker configs.
    pub configs: Configs,
    /// What a broker still obeys and shows of a topic whose configs were changed.
    pub behind: BTreeMap<(i32, String), Configs>,
    /// Whom leaders name to clients that name their rack, whoever that is.
    pub named_replica: Option<i32>,
    /// Followers that do not reach their leaders, and which partition's.
    pub cut_off: BTreeSet<(Key, i32)>,
    /// Rights that everybody lacks, by topic name.
    pub denied: BTreeSet<(String, Right)>,
    /// Consumer groups and share groups, by name.
    pub groups: BTreeMap<String, Group>,
    /// Partitions of transactions that have not ended, by transactional id.
    pub transactions: BTreeMap<String, Vec<(String, i32)>>,
    /// The feature `share.version` is 0.
    pub is_without_shares: bool,
    /// `share.auto.offset.reset` of groups that have it.
    pub share_resets: BTreeMap<String, String>,
    /// Logs with an append in progress, by partition and broker.
    pub locked: BTreeSet<(Key, i32)>,
    started: Instant,
}

/// A partition that the asked broker leads, as it believes.
#[derive(Clone, Debug)]
pub struct Led {
    /// Which partition.
    pub key: Key,
    /// Its leader epoch.
    pub epoch: i32,
    /// Its replicas in sync.
    pub isr: Vec<i32>,
    /// Its replicas.
    pub replicas: Vec<i32>,
}

impl Broker {
    /// Whether it runs.
    pub fn is_up(&self) -> bool {
        self.status.borrow().0 == Status::Up
    }
}

impl State {
    /// A cluster without topics.
    pub fn new(spec: Spec) -> Self {
        let mut rng = Rng::new(spec.seed);
        let live: BTreeSet<i32> = (1..=spec.brokers).collect();
        let meta = Meta::new(live.clone());
        let sessions_max = spec.configs.get("max.incremental.fetch.session.cache.slots");
        let sessions_max = sessions_max.and_then(|v| v.parse().ok()).unwrap_or(1000);
        let broker = |id: i32| {
            let host = format!("b{id}.{}", spec.cluster_id);
            let broker = Broker {
                host,
                port: PORT,
                rack: Some(format!("rack{id}")),
                status: watch::Sender::new((Status::Up, 0)),
                meta: meta.clone(),
                bytes_out: 0,
                sessions: Sessions::new(rng.fork(), sessions_max),
                behind: BTreeSet::new(),
                missed: BTreeSet::new(),
                configs: Configs::new(),
            };
            (id, broker)
        };
        let brokers = live.iter().copied().map(broker).collect();
        Self {
            spec,
            rng,
            meta,
            brokers,
            replicas: BTreeMap::new(),
            throttles: BTreeMap::new(),
            quotas: Quotas::default(),
            early: Vec::new(),
            controls: Controls::default(),
            configs: Configs::new(),
            behind: BTreeMap::new(),
            named_replica: None,
            cut_off: BTreeSet::new(),
            denied: BTreeSet::new(),
            groups: BTreeMap::new(),
            transactions: BTreeMap::new(),
            is_without_shares: false,
            share_resets: BTreeMap::new(),
            locked: BTreeSet::new(),
            started: Instant::now(),
        }
    }

    /// The cluster's wall clock, in ms since 1970.
    pub fn now_ms(&self) -> i64 {
        self.spec.timing.start_wall_ms + self.started.elapsed().as_millis() as i64
    }

    /// A broker of the cluster.
    pub fn broker(&self, id: i32) -> &Broker {
        self.brokers.get(&id).expect("tests name brokers that exist")
    }

    /// A broker to change.
    pub fn broker_mut(&mut self, id: i32) -> &mut Broker {
        self.brokers.get_mut(&id).expect("tests name brokers that exist")
    }

    /// A broker config: dynamic, or as started, or the default.
    pub fn broker_config(&self, name: &str) -> Option<String> {
        let own = self.configs.get(name).or_else(|| self.spec.configs.get(name));
        let default = crate::broker::configs::BROKER_DEFAULTS.iter().find(|row| row.0 == name);
        own.cloned().or_else(|| default.map(|row| row.1.to_owned()))
    }

    /// `producer.id.expiration.ms`.
    pub fn producer_expiration_ms(&self) -> i64 {
        let value = self.broker_config("producer.id.expiration.ms");
        value.and_then(|v| v.parse().ok()).unwrap_or(86_400_000)
    }

    /// The configs that a topic's log obeys.
    pub fn topic_config(&self, id: Uuid) -> TopicConfig {
        let own = self.meta.by_id(id).map(|(_, topic)| topic.configs.clone()).unwrap_or_default();
        let mut broker = self.spec.configs.clone();
        broker.extend(self.configs.clone());
        TopicConfig::new(&own, &broker, self.spec.version)
    }

    /// The same at one broker, which may not have heard of the last change.
    pub fn topic_config_at(&self, broker: i32, id: Uuid) -> TopicConfig {
        let name = self.meta.by_id(id).map(|(name, _)| name.to_owned());
        let Some(own) = name.and_then(|name| self.behind.get(&(broker, name))) else {
            return self.topic_config(id);
        };
        let mut defaults = self.spec.configs.clone();
        defaults.extend(self.configs.clone());
        TopicConfig::new(own, &defaults, self.spec.version)
    }

    /// A fresh topic id.
    pub fn new_id(&mut self) -> Uuid {
        let (high, low) = (self.rng.next_u64(), self.rng.next_u64());
        uuid::Builder::from_random_bytes((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
            .into_uuid()
    }

    /// A topic's name and id as `broker` knows them; asked by id where there is one.
    pub fn find_topic(&self, broker: i32, name: &str, id: Uuid) -> Found {
        let meta = &self.broker(broker).meta;
        if id.is_nil() {
            let topic = meta.topics().get(name).ok_or(ResponseError::UnknownTopicOrPartition)?;
            return Ok((name.to_owned(), topic.id));
        }
        let (name, _) = meta.by_id(id).ok_or(ResponseError::UnknownTopicId)?;
        Ok((name.to_owned(), id))
    }

    /// The partition that `broker` leads; `epoch` is what the client believes, -1 for nothing.
    pub fn led(&self, broker: i32, key: Key, epoch: i32) -> Result<Led, ResponseError> {
        let (partition, hosted) = self.hosted(broker, key)?;
        if !hosted {
            return Err(ResponseError::NotLeaderOrFollower);
        }
        if epoch >= 0 && epoch < partition.epoch {
            return Err(ResponseError::FencedLeaderEpoch);
        }
        if epoch > partition.epoch {
            return Err(ResponseError::UnknownLeaderEpoch);
        }
        if partition.leader != broker {
            return Err(ResponseError::NotLeaderOrFollower);
        }
        let (isr, replicas) = (partition.isr.clone(), partition.replicas.clone());
        Ok(Led { key, epoch: partition.epoch, isr, replicas })
    }

    /// A partition as `broker` believes it to be, and whether it has a replica of it.
    pub fn hosted(&self, broker: i32, key: Key) -> Result<(&PartitionMeta, bool), ResponseError> {
        let partition = self.broker(broker).meta.partition(key);
        let partition = partition.ok_or(ResponseError::UnknownTopicOrPartition)?;
        Ok((partition, self.replicas.contains_key(&(key, broker))))
    }

    /// One broker's copy.
    pub fn replica(&self, key: Key, broker: i32) -> &Replica {
        self.replicas.get(&(key, broker)).expect("the broker hosts this partition")
    }

    /// One broker's copy, to change.
    pub fn replica_mut(&mut self, key: Key, broker: i32) -> &mut Replica {
        self.replicas.get_mut(&(key, broker)).expect("the broker hosts this partition")
    }
}

/// A topic's name and id, or the code that says why there is none.
pub type Found = Result<(String, Uuid), ResponseError>;
