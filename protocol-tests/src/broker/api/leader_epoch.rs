//! OffsetForLeaderEpoch 4: where an epoch ended; of the present one, the true log end (A4).
//!
//! It never waits for an append in progress.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::OffsetForLeaderEpochRequest;
use kafka_protocol::messages::OffsetForLeaderEpochResponse;
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::EpochEndOffset;
use kafka_protocol::messages::offset_for_leader_epoch_response::OffsetForLeaderTopicResult;
use uuid::Uuid;

use crate::broker::api;
use crate::broker::rights::Right;
use crate::broker::state::State;
use crate::broker::takeover::Call;

/// Answers OffsetForLeaderEpoch.
pub fn offset_for_leader_epoch(
    state: &mut State,
    call: &Call,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.iter().map(|asked| {
        let partitions = asked.partitions.iter().map(|partition| {
            let answer = EpochEndOffset::default().with_partition(partition.partition);
            match end_of(state, call.broker, &asked.topic, partition) {
                Ok((epoch, end)) => answer.with_leader_epoch(epoch).with_end_offset(end),
                Err(error) => answer.with_error_code(error.code()),
            }
        });
        let topic = OffsetForLeaderTopicResult::default().with_topic(asked.topic.clone());
        topic.with_partitions(partitions.collect())
    });
    let topics = topics.collect();
    OffsetForLeaderEpochResponse::default()
        .with_throttle_time_ms(api::throttle_ms(state, call))
        .with_topics(topics)
}

fn end_of(
    state: &State,
    broker: i32,
    name: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ResponseError> {
    state.check(name, Right::Describe)?;
    let (_, id) = state.find_topic(broker, name, Uuid::nil())?;
    let led = state.led(broker, (id, asked.partition), asked.current_leader_epoch)?;
    let log = &state.replica(led.key, broker).log;
    Ok(log.end_of_epoch(asked.leader_epoch))
}
