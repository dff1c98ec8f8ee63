//! The only partition of a topic of our own: found, made, asked for its ends, appended to.
//!
//! It never reads a record, and never sends a batch a second time by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::cluster::NewTopic;
use crate::cluster::Use;
use crate::cluster::Wanted;
use crate::cluster::conn::Conn;
use crate::cluster::error::ClusterError;
use crate::cluster::error::Kind;
use crate::cluster::error::Result;
use crate::cluster::metadata::Partition;
use crate::ids::BrokerId;
use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::wire::batch::BatchView;
use crate::wire::error::KafkaCode;
use crate::wire::produce;
use crate::wire::produce::AppendAnswer;
use crate::wire::produce::AppendAsk;
use crate::wire::produce::AppendEntry;
use crate::wire::record::NO_SEQUENCE;
use crate::wire::record::NO_WRITER;
pub use crate::wire::record::NewRecord;
use crate::wire::record::plain_batch;
use crate::wire::rewrite::Sendable;
use crate::wire::topic::TopicRef;
use crate::wire::versions::ApiKey;

/// How often the leader of a topic that was just made is looked for.
const LEADER_TRIES_MAX: u32 = 20;
/// The largest answer to a write, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// The pause between two such looks.
const LEADER_PAUSE: Duration = Duration::from_millis(250);
/// TOPIC_ALREADY_EXISTS: somebody else was faster.
const EXISTS: KafkaCode = KafkaCode(36);
/// LEADER_NOT_AVAILABLE.
pub const NO_LEADER: KafkaCode = KafkaCode(5);
/// The topic is not there.
const UNKNOWN_TOPIC: KafkaCode = KafkaCode(3);
/// We may not know of it.
const TOPIC_AUTHORIZATION_FAILED: KafkaCode = KafkaCode(29);

/// What a cluster shows of the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// It is there, with this id.
    There(TopicId),
    /// There is none.
    Nothing,
    /// It is not shown to us.
    Hidden,
    /// Something else is said instead.
    Trouble(String),
}

/// What the leader answered to an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// About the batch.
    pub code: KafkaCode,
    /// Where it lies, also when it had been appended before.
    pub base: Option<Offset>,
    /// What the broker has to say, bounded and safe to print.
    pub message: Option<String>,
}

/// The partition.
#[derive(Clone)]
pub struct OnlyPartition {
    cluster: Arc<Cluster>,
    tp: TopicPartition,
}

impl OnlyPartition {
    /// Partition 0 of a topic that may not be there.
    pub fn new(cluster: Arc<Cluster>, name: TopicName) -> OnlyPartition {
        OnlyPartition { cluster, tp: TopicPartition { topic: name, partition: PartitionId(0) } }
    }

    /// One of several partitions of a topic of our own.
    pub fn of(cluster: Arc<Cluster>, tp: TopicPartition) -> OnlyPartition {
        OnlyPartition { cluster, tp }
    }

    /// The cluster.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// The partition's name.
    pub fn tp(&self) -> &TopicPartition {
        &self.tp
    }

    /// What the cluster showed of the topic last.
    pub fn shown(&self) -> Shown {
        match self.cluster.topic(&self.tp.topic) {
            Some(topic) if topic.error == TOPIC_AUTHORIZATION_FAILED => Shown::Hidden,
            Some(topic) if topic.error == UNKNOWN_TOPIC => Shown::Nothing,
            Some(topic) if !topic.error.is_none() => Shown::Trouble(topic.error.to_string()),
            Some(topic) if !topic.partitions.is_empty() => Shown::There(topic.id),
            _ => Shown::Nothing,
        }
    }

    /// Asks for the topic alone: a list of all topics leaves out what may not be described.
    pub async fn look(&self) -> Result<()> {
        self.cluster.refresh(Wanted::Topics(std::slice::from_ref(&self.tp.topic))).await
    }

    /// Makes the topic, unless it is there.
    pub async fn create(&self, replicas: Option<i16>, configs: &[(&str, &str)]) -> Result<()> {
        let configs = configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let topic = NewTopic {
            name: self.tp.topic.clone(),
            partitions: 1,
            replicas,
            configs: BTreeMap::from_iter(configs),
        };
        let answers = self.cluster.create_topics(&[topic], false).await?;
        match answers.into_values().next() {
            Some(Err(refusal)) if refusal.code != EXISTS => {
                let (code, message) = (refusal.code, refusal.message);
                Err(self.error("CreateTopics", Kind::Refused { code, message }))
            }
            _ => Ok(()),
        }
    }

    /// Who leads the partition, as far as it is known.
    pub fn led(&self) -> Option<(BrokerId, Partition)> {
        let partition = self.cluster.partition(&self.tp)?;
        Some((partition.leader?, partition))
    }

    /// Who leads the partition; waited for a little, since a new topic has none at once.
    pub async fn leader(&self) -> Result<(BrokerId, Partition)> {
        for _ in 0..LEADER_TRIES_MAX {
            if let Some(led) = self.led() {
                return Ok(led);
            }
            sleep(LEADER_PAUSE).await;
            self.look().await?;
        }
        Err(self.refused("Metadata", NO_LEADER))
    }

    /// One end of the log, from its leader.
    pub async fn end(&self, leader: BrokerId, epoch: LeaderEpoch, kind: EndKind) -> Result<Offset> {
        let asked = [(self.tp.clone(), epoch)];
        let mut each = self.cluster.list_offsets(leader, &asked, kind).await?;
        let one = each.remove(&self.tp).unwrap_or(Err(KafkaCode::UNKNOWN));
        one.map(|listed| listed.offset).map_err(|code| self.refused("ListOffsets", code))
    }

    /// Sends one batch to the topic with that id, where the broker takes ids, and waits until all
    /// replicas in sync have it. An error may say that nobody knows (`ClusterError::is_unknown`).
    pub async fn append(
        &self,
        conn: &mut Conn,
        topic: TopicId,
        batch: &BatchView,
    ) -> Result<Appended> {
        let version = conn.version(ApiKey::Produce)?;
        let timeout = self.cluster.options().request_timeout;
        let header = batch.header().try_into();
        let header = header.map_err(|_| self.misuse("Produce", "a header of another length"))?;
        let ask = AppendAsk {
            timeout_ms: i32::try_from(timeout.as_millis() / 2).unwrap_or(i32::MAX),
            entries: vec![AppendEntry {
                topic: self.topic_ref(topic, version),
                partition: self.tp.partition,
                batch: Sendable { header, records: batch.records() },
            }],
        };
        let chain = ask.encode(version);
        let chain = chain.map_err(|error| self.misuse("Produce", &error.to_string()))?;
        let deadline = Instant::now() + timeout;
        let sent = conn.send(ApiKey::Produce, version, chain.pieces, deadline)?;
        let answer = match conn.turn().await {
            Ok(answer) => answer,
            Err(error) if conn.may_be_applied(sent) => return Err(error.into_unknown()),
            Err(error) => return Err(error),
        };
        let answer = AppendAnswer::decode(answer.body, answer.version)
            .map_err(|error| self.error("Produce", error.into()).into_unknown())?;
        let one = answer.partitions.into_iter().next();
        Ok(one.map_or(Appended { code: KafkaCode::UNKNOWN, base: None, message: None }, |one| {
            Appended { code: one.code, base: one.base_offset, message: one.message }
        }))
    }

    /// Writes records as any producer would, without an id of isolog's, by a connection of its own.
    pub async fn write(&self, topic: TopicId, records: Vec<NewRecord<'_>>) -> Result<Appended> {
        let Some(batch) = plain_batch(NO_WRITER, NO_SEQUENCE, records) else {
            return Ok(Appended { code: KafkaCode::NONE, base: None, message: None });
        };
        let (leader, _) = self.leader().await?;
        let purpose = Use::Look { frame_bytes_max: ANSWER_BYTES_MAX };
        let mut conn = self.cluster.open(leader, purpose).await?;
        let told = self.append(&mut conn, topic, &batch).await?;
        conn.close();
        Ok(told)
    }

    fn topic_ref(&self, topic: TopicId, version: i16) -> TopicRef {
        match version >= produce::IDS_FROM && topic != TopicId::NIL {
            true => TopicRef::Id(topic),
            false => TopicRef::Name(self.tp.topic.clone()),
        }
    }

    /// The leader's refusal.
    pub fn refused(&self, asked: &'static str, code: KafkaCode) -> ClusterError {
        let message = Some(format!("topic {}", self.tp.topic).into());
        self.error(asked, Kind::Refused { code, message })
    }

    fn misuse(&self, asked: &'static str, why: &str) -> ClusterError {
        ClusterError::own(&self.cluster.peer(None, "the leader".into()), asked, &why)
    }

    /// What went wrong between us and the leader.
    pub fn error(&self, asked: &'static str, kind: Kind) -> ClusterError {
        ClusterError::new(&self.cluster.peer(None, "the leader".into()), asked, kind)
    }
}
