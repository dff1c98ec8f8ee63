//! DescribeProducers: what the log knows of each producer id; the read-only barrier (A3, S1).
//!
//! It never asks for leadership: a follower answers as well.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::DescribeProducersRequest;
use kafka_protocol::messages::DescribeProducersResponse;
use kafka_protocol::messages::ProducerId;
use kafka_protocol::messages::describe_producers_response::PartitionResponse;
use kafka_protocol::messages::describe_producers_response::ProducerState;
use kafka_protocol::messages::describe_producers_response::TopicResponse;
use uuid::Uuid;

use crate::broker::api;
use crate::broker::api::produce;
use crate::broker::cluster::TestCluster;
use crate::broker::meta::Key;
use crate::broker::rights::Right;
use crate::broker::serve::Outcome;
use crate::broker::state::State;
use crate::broker::takeover::Call;

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
