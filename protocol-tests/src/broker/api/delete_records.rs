//! DeleteRecords 2: raises the log start (broker-facts A6, B5, S5).
//!
//! It never deletes bytes: retention does, when a test asks for it.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::DeleteRecordsResponse;
use kafka_protocol::messages::delete_records_response::DeleteRecordsPartitionResult;
use kafka_protocol::messages::delete_records_response::DeleteRecordsTopicResult;
use uuid::Uuid;

use crate::broker::api;
use crate::broker::meta::Key;
use crate::broker::rights::Right;
use crate::broker::state::State;
use crate::broker::takeover::Call;

/// Answers DeleteRecords.
pub fn delete_records(
    state: &mut State,
    call: &Call,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let mut response =
        DeleteRecordsResponse::default().with_throttle_time_ms(api::throttle_ms(state, call));
    for asked in &request.topics {
        let partitions = asked.partitions.iter().map(|partition| {
            let index = partition.partition_index;
            let done = delete(state, call.broker, &asked.name, index, partition.offset);
            DeleteRecordsPartitionResult::default()
                .with_partition_index(index)
                .with_low_watermark(done.unwrap_or(-1))
                .with_error_code(done.err().map_or(0, |error| error.code()))
        });
        let topic = DeleteRecordsTopicResult::default().with_name(asked.name.clone());
        response.topics.push(topic.with_partitions(partitions.collect()));
    }
    response
}

fn delete(
    state: &mut State,
    broker: i32,
    name: &str,
    index: i32,
    offset: i64,
) -> Result<i64, ResponseError> {
    state.check(name, Right::Delete)?;
    let (_, id) = state.find_topic(broker, name, Uuid::nil())?;
    let led = state.led(broker, (id, index), -1)?;
    if name.starts_with("__") {
        return Err(ResponseError::InvalidTopicException);
    }
    if state.topic_config(id).compacts_only {
        return Err(ResponseError::PolicyViolation);
    }
    let hwm = state.replica(led.key, broker).hwm;
    let offset = if offset == -1 { hwm } else { offset };
    if offset < 0 || offset > hwm {
        return Err(ResponseError::OffsetOutOfRange);
    }
    Ok(state.raise_start(led.key, broker, offset))
}

impl State {
    /// Raises the log start at the leader; the followers take it over. Gives the new start.
    pub fn raise_start(&mut self, key: Key, broker: i32, offset: i64) -> i64 {
        let now_ms = self.now_ms();
        let replica = self.replica_mut(key, broker);
        let before = replica.log.start();
        if offset > before {
            let kept = replica.start_before.filter(|kept| kept.1 / 60_000 == now_ms / 60_000);
            replica.start_before = kept.or(Some((before, now_ms)));
            replica.log.raise_start(offset);
        }
        let start = replica.log.start();
        if let Ok(led) = self.led(broker, key, -1) {
            self.after_append(broker, &led);
        }
        start
    }
}
