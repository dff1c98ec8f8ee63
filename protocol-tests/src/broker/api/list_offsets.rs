//! ListOffsets 6 to 11: ends, starts and lookups by time (broker-facts A4, B9).
//!
//! It never waits for an append in progress: it is no barrier (A3).

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ListOffsetsRequest;
use kafka_protocol::messages::ListOffsetsResponse;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::list_offsets_response::ListOffsetsTopicResponse;
use uuid::Uuid;

use crate::broker::api;
use crate::broker::batch::Records;
use crate::broker::batch::look;
use crate::broker::log::Batch;
use crate::broker::log::Log;
use crate::broker::meta::Key;
use crate::broker::old;
use crate::broker::rights::Right;
use crate::broker::state::Replica;
use crate::broker::state::State;
use crate::broker::takeover::Call;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const DEBUGGING_REPLICA: i32 = -2;

/// Timestamp, offset, leader epoch.
type Answer = (i64, i64, i32);
const NOTHING: Answer = (-1, -1, -1);

/// Answers ListOffsets.
pub fn list_offsets(
    state: &mut State,
    call: &Call,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let mut response =
        ListOffsetsResponse::default().with_throttle_time_ms(api::throttle_ms(state, call));
    for asked in &request.topics {
        let partitions = asked.partitions.iter().map(|partition| {
            let answer = ListOffsetsPartitionResponse::default()
                .with_partition_index(partition.partition_index);
            match list_one(state, call, &request, &asked.name, partition) {
                Ok((timestamp, offset, epoch)) => {
                    answer.with_timestamp(timestamp).with_offset(offset).with_leader_epoch(epoch)
                }
                Err(error) => answer.with_error_code(error.code()),
            }
        });
        let topic = ListOffsetsTopicResponse::default().with_name(asked.name.clone());
        response.topics.push(topic.with_partitions(partitions.collect()));
    }
    response
}

fn list_one(
    state: &State,
    call: &Call,
    request: &ListOffsetsRequest,
    name: &str,
    asked: &ListOffsetsPartition,
) -> Result<Answer, ResponseError> {
    state.check(name, Right::Describe)?;
    let (_, id) = state.find_topic(call.broker, name, Uuid::nil())?;
    let key = (id, asked.partition_index);
    let epoch = asked.current_leader_epoch;
    let replica_id = request.replica_id.0;
    if replica_id == DEBUGGING_REPLICA {
        if !state.hosted(call.broker, key)?.1 {
            return Err(ResponseError::NotLeaderOrFollower);
        }
    } else {
        state.led(call.broker, key, epoch)?;
    }
    let replica = state.replica(key, call.broker);
    let upper = match (replica_id, request.isolation_level) {
        (-1, 0) => replica.hwm,
        (-1, _) => replica.log.stable(replica.hwm),
        // B9: who is no plain consumer sees the true end
        _ => replica.log.end(),
    };
    let new_leader = replica_id == -1 && replica.hwm < replica.led_from;
    if new_leader && asked.timestamp == LATEST {
        return Err(ResponseError::OffsetNotAvailable);
    }
    Ok(answer_time(state, replica, key, call, asked.timestamp, upper))
}

fn answer_time(
    state: &State,
    replica: &Replica,
    key: Key,
    call: &Call,
    timestamp: i64,
    upper: i64,
) -> Answer {
    let log = &replica.log;
    let leader_epoch = state.broker(call.broker).meta.partition(key).map_or(-1, |p| p.epoch);
    match timestamp {
        LATEST => (-1, upper, leader_epoch),
        EARLIEST | EARLIEST_LOCAL => (-1, log.start(), log.epoch_at(log.start())),
        MAX_TIMESTAMP => max_timestamp(log),
        time if time < 0 => NOTHING,
        time => lookup(log, time).filter(|found| found.1 < upper).unwrap_or(NOTHING),
    }
}

fn lookup(log: &Log, time: i64) -> Option<Answer> {
    let batches = &log.batches()[log.index_of(log.start())..];
    let late = batches.iter().filter(|batch| batch.max_timestamp() >= time);
    late.into_iter().find_map(|batch| first_at(batch, time, log.start()))
}

/// The first record of a batch at or after a time; fillers lie below the start and are passed.
fn first_at(batch: &Batch, time: i64, start: i64) -> Option<Answer> {
    let Some(header) = batch.header else {
        let messages = old::read(&batch.bytes)?.1.into_iter();
        let mut late = messages.filter(|message| message.time >= time && message.offset >= start);
        return late.next().map(|message| (message.time, message.offset, batch.epoch));
    };
    let Records::Read(records) = look(&header, &batch.bytes) else {
        return Some((header.max_timestamp, batch.base, batch.epoch));
    };
    records.iter().find_map(|record| {
        let at = if header.has(crate::broker::batch::LOG_APPEND_TIME) {
            header.max_timestamp
        } else {
            header.base_timestamp + record.timestamp_delta
        };
        let offset = batch.base + i64::from(record.offset_delta);
        (at >= time && offset >= start).then_some((at, offset, batch.epoch))
    })
}

fn max_timestamp(log: &Log) -> Answer {
    let batches = &log.batches()[log.index_of(log.start())..];
    let Some(time) = batches.iter().map(Batch::max_timestamp).max() else { return NOTHING };
    let latest = batches.iter().find(|batch| batch.max_timestamp() == time);
    latest.and_then(|batch| first_at(batch, time, i64::MIN)).unwrap_or(NOTHING)
}
