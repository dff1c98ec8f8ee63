//! What a leader remembers of producers; its answer is also the barrier behind an aborted append.
//!
//! It never says that nothing can come any more: only an RST and this answer together do
//! (broker facts A3).

use kafka_protocol::messages::DescribeProducersRequest;
use kafka_protocol::messages::describe_producers_request::TopicRequest;

use crate::cluster::Cluster;
use crate::cluster::Target;
use crate::cluster::call::by_topic;
use crate::cluster::call::text;
use crate::cluster::ends::Each;
use crate::cluster::ends::each;
use crate::cluster::error::Result;
use crate::ids::BrokerId;
use crate::ids::Offset;
use crate::ids::ProducerId;
use crate::ids::TimestampMs;
use crate::ids::TopicPartition;
use crate::wire::error::KafkaCode;

/// One producer's state in one partition.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// Who.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: i32,
    /// The sequence of its last record; `None` when it has only written markers.
    pub last_sequence: Option<i32>,
    /// The time of its last batch, which may go back.
    pub last_timestamp: TimestampMs,
    /// Where its open transaction began.
    pub transaction_start: Option<Offset>,
}

impl Cluster {
    /// The producers each partition's leader remembers. The answer waits for an append in progress
    /// and shows it. Ask the leader: a follower answers too.
    pub async fn describe_producers(
        &self,
        leader: BrokerId,
        asked: &[TopicPartition],
    ) -> Result<Each<Vec<ProducerState>>> {
        let topics = by_topic(asked.iter().map(|tp| (tp, tp.partition.0)));
        let topics = topics.into_iter().map(|(name, partitions)| {
            TopicRequest::default().with_name(text(name).into()).with_partition_indexes(partitions)
        });
        let request = DescribeProducersRequest::default().with_topics(topics.collect());
        let response = self.ask(Target::Broker(leader), &request).await?;
        let rows = response.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|one| (topic.name.as_str(), one.partition_index, one))
        });
        Ok(each(rows.map(|(topic, id, one)| {
            let states = one.active_producers.iter().map(|producer| ProducerState {
                id: ProducerId(producer.producer_id.0),
                epoch: producer.producer_epoch,
                last_sequence: (producer.last_sequence >= 0).then_some(producer.last_sequence),
                last_timestamp: TimestampMs(producer.last_timestamp),
                transaction_start: Offset::new(producer.current_txn_start_offset),
            });
            (topic, id, KafkaCode(one.error_code), Some(states.collect()))
        })))
    }
}
