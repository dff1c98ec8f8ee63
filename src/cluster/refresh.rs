//! Reads the metadata of a cluster and translates it.
//!
//! It never creates a topic by asking for one, and never reads twice for two callers who wait at
//! the same time.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::messages::MetadataResponse;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::messages::metadata_response::MetadataResponsePartition;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use tokio::time::Instant;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::cluster::Target;
use crate::cluster::call::text;
use crate::cluster::error::ClusterError;
use crate::cluster::error::Kind;
use crate::cluster::error::Result;
use crate::cluster::metadata::Broker;
use crate::cluster::metadata::Partition;
use crate::cluster::metadata::Told;
use crate::cluster::metadata::Topic;
use crate::ids::BrokerId;
use crate::ids::LeaderEpoch;
use crate::ids::PartitionId;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::wire::error::KafkaCode;

/// How often a reading of the metadata may dial and ask in vain before it counts as failed.
const REFRESH_ROUNDS: u32 = 2;
const HOSTLESS: &str = "brokers are told whose host is neither a name nor an address: they are not \
                        dialled; correct their advertised.listeners";

/// What to read.
#[derive(Copy, Clone, Debug)]
pub enum Wanted<'a> {
    /// Brokers and all topics; topics that are gone are forgotten.
    All,
    /// Brokers and these topics.
    Topics(&'a [TopicName]),
}

impl Cluster {
    /// Reads metadata from any broker into the cache. Who waits while another reads all topics is
    /// served by that reading, if it began later than this call.
    pub async fn refresh(&self, wanted: Wanted<'_>) -> Result<()> {
        let called_at = Instant::now();
        let mut read_at = self.read_at.lock().await;
        if read_at.is_some_and(|began| began > called_at) {
            return self.check_halted();
        }
        let began = Instant::now();
        let topics = match wanted {
            Wanted::All => None,
            Wanted::Topics(names) => Some(names.iter().map(topic_asked).collect()),
        };
        let is_all = topics.is_none();
        let request =
            MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(false);
        let within = self.refresh_within();
        let asked = timeout(within, self.ask(Target::Any, &request)).await;
        let response = match asked {
            Ok(response) => response?,
            Err(_) => return Err(self.unread("every known address", Kind::Deadline(within))),
        };
        let code = KafkaCode(response.error_code);
        if !code.is_none() {
            return Err(self.unread("any broker", Kind::Refused { code, message: None }));
        }
        let told = told(response, is_all);
        let hostless = told.hostless;
        let before = self.look(|metadata| metadata.hostless());
        self.change(|metadata| metadata.absorb(told));
        if hostless > before {
            let side = self.side();
            tracing::warn!(%side, hostless, "{HOSTLESS}");
        }
        if is_all {
            *read_at = Some(began);
        }
        Ok(())
    }

    /// What a whole reading may take, whoever is asked: a dial in vain or two, and an answer.
    fn refresh_within(&self) -> Duration {
        (self.options.dial_timeout + self.options.request_timeout) * REFRESH_ROUNDS
    }

    fn unread(&self, whom: &str, kind: Kind) -> ClusterError {
        ClusterError::new(&self.peer(None, whom.into()), "Metadata", kind)
    }

    /// The ids of these topics as that very broker knows them now; the cache is not touched.
    pub async fn topic_ids_at(
        &self,
        broker: BrokerId,
        names: &[TopicName],
    ) -> Result<BTreeMap<TopicName, TopicId>> {
        let request = MetadataRequest::default()
            .with_topics(Some(names.iter().map(topic_asked).collect()))
            .with_allow_auto_topic_creation(false);
        let response = self.ask(Target::Broker(broker), &request).await?;
        let known = response.topics.iter().filter_map(topic_told).filter(|one| one.error.is_none());
        Ok(known.map(|one| (one.name, one.id)).collect())
    }

    /// How long ago all topics were read.
    pub async fn age(&self) -> Duration {
        self.read_at.lock().await.map_or(Duration::MAX, |began| began.elapsed())
    }
}

fn topic_asked(name: &TopicName) -> MetadataRequestTopic {
    MetadataRequestTopic::default().with_name(Some(text(name.as_str()).into()))
}

fn told(response: MetadataResponse, is_all: bool) -> Told {
    let broker = |one: &MetadataResponseBroker| {
        Broker::told(one.node_id.0, &one.host, one.port, one.rack.as_deref())
    };
    let brokers: Vec<Broker> = response.brokers.iter().filter_map(broker).collect();
    Told {
        hostless: response.brokers.len() - brokers.len(),
        brokers,
        controller: (response.controller_id.0 >= 0).then_some(BrokerId(response.controller_id.0)),
        topics: response.topics.iter().filter_map(topic_told).collect(),
        is_all,
    }
}

/// `None` for a topic whose name Kafka itself does not allow.
fn topic_told(topic: &MetadataResponseTopic) -> Option<Topic> {
    let partitions: BTreeMap<PartitionId, Partition> =
        topic.partitions.iter().map(partition_told).collect();
    Some(Topic {
        name: TopicName::new(topic.name.as_ref()?.0.as_str())?,
        id: TopicId(topic.topic_id.into_bytes()),
        is_internal: topic.is_internal,
        error: KafkaCode(topic.error_code),
        partitions,
    })
}

fn partition_told(partition: &MetadataResponsePartition) -> (PartitionId, Partition) {
    let leader = partition.leader_id.0;
    let known = Partition {
        leader: (leader >= 0).then_some(BrokerId(leader)),
        epoch: LeaderEpoch(partition.leader_epoch),
        replicas: partition.replica_nodes.len(),
        in_sync: partition.isr_nodes.len(),
        error: KafkaCode(partition.error_code),
    };
    (PartitionId(partition.partition_index), known)
}
