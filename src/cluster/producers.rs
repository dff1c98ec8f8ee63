//! What a leader remembers of producers; its answer is also the barrier behind an aborted append.
//!
//! It never says that nothing can come any more: only an RST and this answer together do
//! (broker facts A3).

use std::sync::Arc;

use kafka_protocol::messages::DescribeProducersRequest;
use kafka_protocol::messages::DescribeTransactionsRequest;
use kafka_protocol::messages::ListTransactionsRequest;
use kafka_protocol::messages::describe_producers_request::TopicRequest;

use crate::cluster::Cluster;
use crate::cluster::Target;
use crate::cluster::call::by_topic;
use crate::cluster::call::partition_of;
use crate::cluster::call::text;
use crate::cluster::ends::Each;
use crate::cluster::ends::each;
use crate::cluster::error::ClusterError;
use crate::cluster::error::Kind;
use crate::cluster::error::Result;
use crate::ids::BrokerId;
use crate::ids::Offset;
use crate::ids::PartitionId;
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

/// States of transactions that have not ended: their markers are yet to be written.
const OPEN_STATES: [&str; 4] = ["Ongoing", "PrepareCommit", "PrepareAbort", "PrepareEpochFence"];
/// TRANSACTIONAL_ID_NOT_FOUND: it has expired meanwhile.
const NO_TRANSACTION: i16 = 105;
/// How many transactions one question is about.
const TRANSACTIONS_ASKED_MAX: usize = 200;

/// A transaction that has not ended, and the partitions that it has been added to, whether it has
/// written to them or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTransaction {
    /// Its transactional id.
    pub id: Arc<str>,
    /// Each gets a marker when it ends.
    pub partitions: Vec<TopicPartition>,
}

impl Cluster {
    /// The transactions that a broker coordinates and that have not ended, as far as we may
    /// describe them (KIP-664). Brokers before Kafka 3.0 cannot tell: `Kind::Version`.
    pub async fn open_transactions(&self, broker: BrokerId) -> Result<Vec<OpenTransaction>> {
        let states = OPEN_STATES.iter().map(|state| text(state)).collect();
        let request = ListTransactionsRequest::default().with_state_filters(states);
        let listed = self.ask(Target::Broker(broker), &request).await?;
        self.is_told("ListTransactions", broker, listed.error_code)?;
        let ids: Vec<_> =
            listed.transaction_states.into_iter().map(|one| one.transactional_id).collect();
        let mut open = Vec::new();
        for some in ids.chunks(TRANSACTIONS_ASKED_MAX) {
            let request =
                DescribeTransactionsRequest::default().with_transactional_ids(some.to_vec());
            let told = self.ask(Target::Broker(broker), &request).await?;
            for one in told.transaction_states {
                if one.error_code == NO_TRANSACTION {
                    continue;
                }
                self.is_told("DescribeTransactions", broker, one.error_code)?;
                if OPEN_STATES.contains(&one.transaction_state.as_str()) {
                    let partitions = one.topics.iter().flat_map(|topic| {
                        let of = |id: &i32| partition_of(&topic.topic.0, PartitionId(*id));
                        topic.partitions.iter().filter_map(of)
                    });
                    let partitions = partitions.collect();
                    let id = Arc::from(one.transactional_id.0.as_str());
                    open.push(OpenTransaction { id, partitions });
                }
            }
        }
        Ok(open)
    }

    fn is_told(&self, api: &'static str, broker: BrokerId, code: i16) -> Result<()> {
        let code = KafkaCode(code);
        if code.is_none() {
            return Ok(());
        }
        let peer = self.peer(Some(broker), "a coordinator of transactions".into());
        Err(ClusterError::new(&peer, api, Kind::Refused { code, message: None }))
    }

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
