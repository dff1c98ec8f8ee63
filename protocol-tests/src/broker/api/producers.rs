//! DescribeProducers: what the log knows of each producer id; the read-only barrier (A3, S1). And
//! what coordinators tell of transactions (KIP-664), as far as a test has begun them.
//!
//! It never asks for leadership: a follower answers as well.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::DescribeProducersRequest;
use kafka_protocol::messages::DescribeProducersResponse;
use kafka_protocol::messages::DescribeTransactionsRequest;
use kafka_protocol::messages::DescribeTransactionsResponse;
use kafka_protocol::messages::ListTransactionsRequest;
use kafka_protocol::messages::ListTransactionsResponse;
use kafka_protocol::messages::ProducerId;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::TransactionalId;
use kafka_protocol::messages::describe_producers_response::PartitionResponse;
use kafka_protocol::messages::describe_producers_response::ProducerState;
use kafka_protocol::messages::describe_producers_response::TopicResponse;
use kafka_protocol::messages::describe_transactions_response as described;
use kafka_protocol::messages::list_transactions_response::TransactionState;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::broker::api;
use crate::broker::api::groups::coordinator;
use crate::broker::api::produce;
use crate::broker::cluster::TestCluster;
use crate::broker::meta::Key;
use crate::broker::rights::Right;
use crate::broker::serve::Outcome;
use crate::broker::state::State;
use crate::broker::takeover::Call;

/// The one state that a test's transactions have.
const ONGOING: &str = "Ongoing";

/// Answers DescribeProducers, after an append in progress.
pub async fn answer(cluster: &TestCluster, call: &Call) -> Outcome {
    let Some(request) = api::decode::<DescribeProducersRequest>(call) else {
        return Outcome::Close;
    };
    let throttle = cluster.look(|state| api::throttle_ms(state, call));
    let mut response = DescribeProducersResponse::default().with_throttle_time_ms(throttle);
    for asked in &request.topics {
        let mut topic = TopicResponse::default().with_name(asked.name.clone());
        for index in &asked.partition_indexes {
            let found = cluster.look(|state| hosted(state, call.broker, &asked.name, *index));
            if let Ok(key) = found {
                produce::unlocked(cluster, (key, call.broker)).await;
            }
            let answer = cluster.quietly(|state| match found {
                Ok(key) => describe(state, call.broker, key),
                Err(error) => PartitionResponse::default().with_error_code(error.code()),
            });
            topic.partitions.push(answer.with_partition_index(*index));
        }
        response.topics.push(topic);
    }
    api::encode(&response, call)
}

fn hosted(state: &State, broker: i32, name: &str, index: i32) -> Result<Key, ResponseError> {
    state.check(name, Right::Read)?;
    let (_, id) = state.find_topic(broker, name, Uuid::nil())?;
    let (_, hosted) = state.hosted(broker, (id, index))?;
    if hosted { Ok((id, index)) } else { Err(ResponseError::NotLeaderOrFollower) }
}

fn describe(state: &mut State, broker: i32, key: Key) -> PartitionResponse {
    if !state.replicas.contains_key(&(key, broker)) {
        let error = ResponseError::UnknownTopicOrPartition.code();
        return PartitionResponse::default().with_error_code(error);
    }
    state.expire_producers(key, broker);
    let known = state.replica(key, broker).log.producers.iter().map(|(id, producer)| {
        ProducerState::default()
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(i32::from(producer.epoch))
            .with_last_sequence(producer.last_sequence())
            .with_last_timestamp(producer.last_timestamp)
            .with_coordinator_epoch(producer.coordinator_epoch)
            .with_current_txn_start_offset(producer.txn_start)
    });
    PartitionResponse::default().with_active_producers(known.collect())
}

/// ListTransactions: those that this broker coordinates; each is Ongoing here.
pub fn list_transactions(
    state: &mut State,
    call: &Call,
    request: ListTransactionsRequest,
) -> ListTransactionsResponse {
    let states = &request.state_filters;
    let is_wanted = states.is_empty() || states.iter().any(|state| state.as_str() == ONGOING);
    let here = state.transactions.keys().filter(|id| coordinator(state, id) == Some(call.broker));
    let listed = here.filter(|_| is_wanted).map(|id| {
        TransactionState::default()
            .with_transactional_id(TransactionalId(StrBytes::from_string(id.clone())))
            .with_producer_id(ProducerId(1))
            .with_transaction_state(StrBytes::from_static_str(ONGOING))
    });
    ListTransactionsResponse::default().with_transaction_states(listed.collect())
}

/// DescribeTransactions.
pub fn describe_transactions(
    state: &mut State,
    call: &Call,
    request: DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let told = request.transactional_ids.into_iter().map(|id| {
        let told = described::TransactionState::default().with_transactional_id(id.clone());
        let Some(partitions) = state.transactions.get(id.as_str()) else {
            return told.with_error_code(ResponseError::TransactionalIdNotFound.code());
        };
        if coordinator(state, &id) != Some(call.broker) {
            return told.with_error_code(ResponseError::NotCoordinator.code());
        }
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        partitions.iter().for_each(|(topic, one)| topics.entry(topic).or_default().push(*one));
        let topics = topics.into_iter().map(|(topic, partitions)| {
            let topic = TopicName(StrBytes::from_string(topic.to_owned()));
            described::TopicData::default().with_topic(topic).with_partitions(partitions)
        });
        told.with_transaction_state(StrBytes::from_static_str(ONGOING))
            .with_topics(topics.collect())
    });
    DescribeTransactionsResponse::default().with_transaction_states(told.collect())
}

impl TestCluster {
    /// A transaction names partitions, and writes nothing to them yet.
    pub fn begin_transaction(&self, id: &str, partitions: &[(&str, i32)]) {
        let named = partitions.iter().map(|(topic, one)| ((*topic).to_owned(), *one)).collect();
        self.change(|state| state.transactions.insert(id.to_owned(), named));
    }

    /// It has ended.
    pub fn forget_transaction(&self, id: &str) {
        self.change(|state| state.transactions.remove(id));
    }
}
