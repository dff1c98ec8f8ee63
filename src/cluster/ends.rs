//! What leaders say of the ends of their partitions.
//!
//! It never asks a follower, and never says that an end proves leadership (`docs/OFFSETS.md`).

use std::collections::BTreeMap;

use kafka_protocol::messages::ListOffsetsRequest;
use kafka_protocol::messages::OffsetForLeaderEpochRequest;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_request::ListOffsetsTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderTopic;

use crate::cluster::Cluster;
use crate::cluster::Target;
use crate::cluster::call::by_topic;
use crate::cluster::call::partition_of;
use crate::cluster::call::text;
use crate::cluster::error::Result;
use crate::ids::BrokerId;
use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TimestampMs;
use crate::ids::TopicPartition;
use crate::wire::error::KafkaCode;

/// What each asked partition got; one that the broker left out is not in it.
pub type Each<T> = BTreeMap<TopicPartition, std::result::Result<T, KafkaCode>>;

/// Ask for the first offset.
const EARLIEST: i64 = -2;
/// Ask for the end.
const LATEST: i64 = -1;
/// An ordinary client.
const CONSUMER: i32 = -1;
/// A replica id for which a leader, and only a leader, tells its true end (broker facts A4).
const DEBUGGER: i32 = -3;

/// Which end.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum EndKind {
    /// The log start: the first offset that can be read.
    Start,
    /// The high watermark: what is replicated.
    HighWatermark,
    /// The last stable offset: what transactions let through.
    Stable,
    /// The true log end of the leader, replicated or not.
    LogEnd,
}

/// One end.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Where it is.
    pub offset: Offset,
    /// The leader epoch there, as far as the broker knows it.
    pub epoch: LeaderEpoch,
}

/// Where a leader epoch ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch that is not above the one asked for; `NONE` when there is none.
    pub epoch: LeaderEpoch,
    /// The offset behind its last record; `None` when there is no such epoch.
    pub end: Option<Offset>,
}

impl Cluster {
    /// One end of each partition, from its leader. The epoch is the one we believe is current: a
    /// leader that was replaced, or is not yet there, answers 74 or 75.
    pub async fn list_offsets(
        &self,
        leader: BrokerId,
        asked: &[(TopicPartition, LeaderEpoch)],
        kind: EndKind,
    ) -> Result<Each<Listed>> {
        let question = match kind {
            EndKind::Start => (EARLIEST, CONSUMER, 0),
            EndKind::HighWatermark => (LATEST, CONSUMER, 0),
            EndKind::Stable => (LATEST, CONSUMER, 1),
            EndKind::LogEnd => (LATEST, DEBUGGER, 0),
        };
        let each = self.ask_offsets(leader, asked, question).await?;
        let known = |one: Option<Listed>| one.ok_or(KafkaCode::UNKNOWN);
        Ok(each.into_iter().map(|(tp, one)| (tp, one.and_then(known))).collect())
    }

    /// The first offset of each partition whose record is not older than `time`, from its leader;
    /// `None` where all are older.
    pub async fn list_times(
        &self,
        leader: BrokerId,
        asked: &[(TopicPartition, LeaderEpoch)],
        time: TimestampMs,
    ) -> Result<Each<Option<Offset>>> {
        let each = self.ask_offsets(leader, asked, (time.0.max(0), CONSUMER, 0)).await?;
        let offset = |one: Option<Listed>| one.map(|listed| listed.offset);
        Ok(each.into_iter().map(|(tp, one)| (tp, one.map(offset))).collect())
    }

    /// Asks for a timestamp, as a replica id, with an isolation level.
    async fn ask_offsets(
        &self,
        leader: BrokerId,
        asked: &[(TopicPartition, LeaderEpoch)],
        (timestamp, replica, isolation): (i64, i32, i8),
    ) -> Result<Each<Option<Listed>>> {
        let partition = |tp: &TopicPartition, epoch: &LeaderEpoch| {
            ListOffsetsPartition::default()
                .with_partition_index(tp.partition.0)
                .with_current_leader_epoch(epoch.0)
                .with_timestamp(timestamp)
        };
        let topics = by_topic(asked.iter().map(|(tp, epoch)| (tp, partition(tp, epoch))));
        let topics = topics.into_iter().map(|(name, partitions)| {
            ListOffsetsTopic::default().with_name(text(name).into()).with_partitions(partitions)
        });
        let request = ListOffsetsRequest::default()
            .with_replica_id(replica.into())
            .with_isolation_level(isolation)
            .with_topics(topics.collect())
            .with_timeout_ms(self.broker_timeout_ms());
        let response = self.ask(Target::Broker(leader), &request).await?;
        let rows = response.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|one| (topic.name.as_str(), one.partition_index, one))
        });
        Ok(each(rows.map(|(topic, id, one)| {
            let offset = Offset::new(one.offset);
            let epoch = LeaderEpoch(one.leader_epoch);
            let listed = offset.map(|offset| Listed { offset, epoch });
            (topic, id, KafkaCode(one.error_code), Some(listed))
        })))
    }

    /// Where leader epochs ended, from the leader: partition, current epoch, epoch asked for.
    pub async fn epoch_end_offsets(
        &self,
        leader: BrokerId,
        asked: &[(TopicPartition, LeaderEpoch, LeaderEpoch)],
    ) -> Result<Each<EpochEnd>> {
        let partition = |row: &(TopicPartition, LeaderEpoch, LeaderEpoch)| {
            OffsetForLeaderPartition::default()
                .with_partition(row.0.partition.0)
                .with_current_leader_epoch(row.1.0)
                .with_leader_epoch(row.2.0)
        };
        let topics = by_topic(asked.iter().map(|row| (&row.0, partition(row))));
        let topics = topics.into_iter().map(|(name, partitions)| {
            OffsetForLeaderTopic::default()
                .with_topic(text(name).into())
                .with_partitions(partitions)
        });
        let request = OffsetForLeaderEpochRequest::default()
            .with_replica_id(CONSUMER.into())
            .with_topics(topics.collect());
        let response = self.ask(Target::Broker(leader), &request).await?;
        let rows = response.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|one| (topic.topic.as_str(), one.partition, one))
        });
        Ok(each(rows.map(|(topic, id, one)| {
            let epoch = LeaderEpoch(one.leader_epoch);
            let end = EpochEnd { epoch, end: Offset::new(one.end_offset) };
            (topic, id, KafkaCode(one.error_code), Some(end))
        })))
    }

    /// What the broker is given of our deadline, so that its own "timed out" reaches us in time.
    pub(super) fn broker_timeout_ms(&self) -> i32 {
        let given = self.options.request_timeout.mul_f32(BROKERS_SHARE).as_millis();
        i32::try_from(given).unwrap_or(i32::MAX)
    }
}

/// The broker's share of a request's deadline.
const BROKERS_SHARE: f32 = 0.75;

/// Answers by partition; an answer without its value is as good as an unknown error.
pub(super) fn each<'a, T>(
    rows: impl Iterator<Item = (&'a str, i32, KafkaCode, Option<T>)>,
) -> Each<T> {
    let row = |(topic, id, code, value): (&str, i32, KafkaCode, Option<T>)| {
        let tp = partition_of(topic, PartitionId(id))?;
        let value = value.filter(|_| code.is_none());
        let code = if code.is_none() { KafkaCode::UNKNOWN } else { code };
        Some((tp, value.ok_or(code)))
    };
    rows.filter_map(row).collect()
}
