//! Fetch 12 to 18: slices of the stored bytes, long poll, sessions, diverging epochs (B7), and the
//! replica that a leader would rather see read (KIP-392).
//!
//! It never cuts to batch borders: the last batch of an answer may be a piece.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::FetchResponse;
use kafka_protocol::messages::ProducerId;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::AbortedTransaction;
use kafka_protocol::messages::fetch_response::EpochEndOffset;
use kafka_protocol::messages::fetch_response::FetchableTopicResponse;
use kafka_protocol::messages::fetch_response::LeaderIdAndEpoch;
use kafka_protocol::messages::fetch_response::NodeEndpoint;
use kafka_protocol::messages::fetch_response::PartitionData;
use tokio::time::Instant;

use crate::broker::api;
use crate::broker::api::sessions::Place;
use crate::broker::api::sessions::Plan;
use crate::broker::api::sessions::Told;
use crate::broker::cluster::TestCluster;
use crate::broker::meta::Key;
use crate::broker::rights::Right;
use crate::broker::serve::Outcome;
use crate::broker::state::State;
use crate::broker::takeover::Call;

/// The first version that names topics by id.
const BY_ID: i16 = 13;
/// The first version that tells who leads instead (KIP-951).
const TELLS_LEADER: i16 = 16;

/// About what a partition takes of an answer beside its records.
const PARTITION_BYTES: usize = 60;

/// Answers Fetch.
pub async fn answer(cluster: &TestCluster, call: &Call) -> Outcome {
    let Some(request) = api::decode::<FetchRequest>(call) else { return Outcome::Close };
    let plan = cluster.quietly(|state| {
        let now_ms = state.now_ms();
        let sessions = &mut state.broker_mut(call.broker).sessions;
        sessions.plan(&request, call.version >= BY_ID, now_ms)
    });
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => {
            let throttle = cluster.look(|state| api::throttle_ms(state, call));
            let response = FetchResponse::default()
                .with_throttle_time_ms(throttle)
                .with_error_code(error.code());
            return api::encode(&response, call);
        }
    };
    let answers = read_when_ready(cluster, call, &request, &plan).await;
    let (response, throttle_ms) = cluster.quietly(|state| match throttle(state, call, &answers) {
        0 => (respond(state, call, &plan, answers), 0),
        ms => (throttled(state, call, &plan, ms), ms),
    });
    api::throttled(api::encode(&response, call), throttle_ms)
}

/// For how long a fetch that would bring this is throttled.
fn throttle(state: &mut State, call: &Call, answers: &[Told]) -> i32 {
    let bytes: usize = answers.iter().map(|(_, data)| PARTITION_BYTES + records_len(data)).sum();
    let now_ms = state.now_ms();
    let by_bytes = state.quotas.note(call, bytes, now_ms);
    let ms = by_bytes.max(api::throttle_ms(state, call));
    if ms > 0 {
        state.quotas.take_back(call, bytes);
    }
    ms
}

/// B12: a throttled fetch is answered at once, with nothing; it counts in its session, and a new
/// session is not opened for it (`FetchContext.getThrottledResponse`).
fn throttled(state: &mut State, call: &Call, plan: &Plan, ms: i32) -> FetchResponse {
    let id = state.broker_mut(call.broker).sessions.throttled(plan);
    FetchResponse::default().with_throttle_time_ms(ms).with_session_id(id)
}

/// The long poll: reads until there are enough bytes, something to say, or no time left.
async fn read_when_ready(
    cluster: &TestCluster,
    call: &Call,
    request: &FetchRequest,
    plan: &Plan,
) -> Vec<Told> {
    let until = Instant::now() + Duration::from_millis(request.max_wait_ms.max(0) as u64);
    let bytes_min = request.min_bytes.max(0) as usize;
    let mut changes = cluster.changes();
    loop {
        changes.mark_unchanged();
        let answers = cluster.look(|state| read_all(state, call, request, plan));
        let bytes: usize = answers.iter().map(|(_, data)| records_len(data)).sum();
        let urgent = answers.iter().any(|(_, data)| {
            let is_sent_on = data.preferred_read_replica.0 >= 0;
            data.error_code != 0 || data.diverging_epoch.epoch >= 0 || is_sent_on
        });
        if urgent || answers.is_empty() || bytes >= bytes_min {
            return answers;
        }
        if tokio::time::timeout_at(until, changes.changed()).await.is_err() {
            return cluster.look(|state| read_all(state, call, request, plan));
        }
    }
}

fn records_len(data: &PartitionData) -> usize {
    data.records.as_ref().map_or(0, |records| records.len())
}

fn read_all(state: &State, call: &Call, request: &FetchRequest, plan: &Plan) -> Vec<Told> {
    let broker_max: Option<usize> =
        state.broker_config("fetch.max.bytes").and_then(|v| v.parse().ok());
    let maxima = [broker_max, state.quotas.fetch_bytes_max()];
    let most = maxima.into_iter().flatten().min().unwrap_or(usize::MAX);
    let mut room = (request.max_bytes.max(0) as usize).min(most);
    let mut first = true;
    let mut answers = Vec::new();
    for (place, asked) in &plan.partitions {
        let data = read_one(state, call, request, place, asked, room, first);
        let data = data.unwrap_or_else(|error| failed(place, error));
        let len = records_len(&data);
        first &= len == 0;
        room = room.saturating_sub(len);
        answers.push((place.clone(), data));
    }
    answers
}

fn failed(place: &Place, error: ResponseError) -> PartitionData {
    PartitionData::default()
        .with_partition_index(place.2)
        .with_error_code(error.code())
        .with_high_watermark(-1)
        .with_aborted_transactions(None)
        .with_records(api::no_records())
}

/// A partition that may be read here: the leader's, or a follower's (v11+).
fn readable(
    state: &State,
    call: &Call,
    place: &Place,
    asked: &FetchPartition,
) -> Result<Key, ResponseError> {
    let (name, id) = state.find_topic(call.broker, &place.0, place.1)?;
    state.check(&name, Right::Read)?;
    let key = (id, place.2);
    let (partition, hosted) = state.hosted(call.broker, key)?;
    if !hosted {
        return Err(ResponseError::NotLeaderOrFollower);
    }
    match asked.current_leader_epoch {
        epoch if epoch > partition.epoch => Err(ResponseError::UnknownLeaderEpoch),
        epoch if epoch >= 0 && epoch < partition.epoch => Err(ResponseError::FencedLeaderEpoch),
        _ => Ok(key),
    }
}

fn read_one(
    state: &State,
    call: &Call,
    request: &FetchRequest,
    place: &Place,
    asked: &FetchPartition,
    room: usize,
    whole_first: bool,
) -> Result<PartitionData, ResponseError> {
    let key = readable(state, call, place, asked)?;
    let replica = state.replica(key, call.broker);
    let (log, hwm, from) = (&replica.log, replica.hwm, asked.fetch_offset);
    let stable = log.stable(hwm);
    let data = PartitionData::default()
        .with_partition_index(place.2)
        .with_high_watermark(hwm)
        .with_last_stable_offset(stable)
        .with_log_start_offset(log.start())
        .with_aborted_transactions(None)
        .with_records(api::no_records());
    if asked.last_fetched_epoch >= 0 {
        let (epoch, end) = log.end_of_epoch(asked.last_fetched_epoch);
        if epoch < 0 || end < 0 {
            return Err(ResponseError::OffsetOutOfRange);
        }
        if epoch < asked.last_fetched_epoch || end < from {
            let diverging = EpochEndOffset::default().with_epoch(epoch).with_end_offset(end);
            return Ok(data.with_diverging_epoch(diverging));
        }
    }
    if from < log.start() || from > log.end() {
        return Err(ResponseError::OffsetOutOfRange);
    }
    if let Some(replica) = preferred(state, call, request, key, from) {
        return Ok(data.with_preferred_read_replica(BrokerId(replica)));
    }
    let committed = request.isolation_level == 1;
    let upper = if committed { stable } else { hwm };
    let partition_max = asked.partition_max_bytes.max(0) as usize;
    let slice = if from >= upper {
        crate::broker::log::Slice { next: from, ..Default::default() }
    } else {
        log.read(from, upper, partition_max.min(room), whole_first)
    };
    let aborted = log.aborted_in(from, slice.next.min(upper)).into_iter().map(|txn| {
        AbortedTransaction::default()
            .with_producer_id(ProducerId(txn.producer_id))
            .with_first_offset(txn.first)
    });
    let aborted = committed.then(|| aborted.collect());
    Ok(data.with_aborted_transactions(aborted).with_records(Some(slice.bytes)))
}

/// Whom a leader would rather see read by a client that names its rack: who is there, in sync, and
/// has come so far (`RackAwareReplicaSelector`), or whomever a test has it name.
fn preferred(
    state: &State,
    call: &Call,
    request: &FetchRequest,
    key: Key,
    from: i64,
) -> Option<i32> {
    let rack = Some(request.rack_id.as_str()).filter(|rack| !rack.is_empty());
    let led = state.led(call.broker, key, -1).ok().filter(|_| rack.is_some())?;
    if state.named_replica.is_some() {
        return state.named_replica;
    }
    let selector = state.broker_config("replica.selector.class")?;
    let is_there = |id: &i32| state.broker(*id).rack.as_deref() == rack;
    if !selector.ends_with("RackAwareReplicaSelector") || is_there(&call.broker) {
        return None;
    }
    let ends = &state.replica(key, call.broker).follower_ends;
    let end = |id: &i32| ends.get(id).copied().unwrap_or(-1);
    let able = led.isr.iter().filter(|id| is_there(id) && end(id) >= from);
    able.max_by_key(|id| end(id)).copied()
}

fn respond(state: &mut State, call: &Call, plan: &Plan, answers: Vec<Told>) -> FetchResponse {
    let bytes: usize = answers.iter().map(|(_, data)| records_len(data)).sum();
    state.broker_mut(call.broker).bytes_out += bytes as u64;
    let told = state.broker_mut(call.broker).sessions.tell(plan, answers);
    let mut topics: Vec<FetchableTopicResponse> = Vec::new();
    let mut endpoints = BTreeMap::new();
    for (place, mut data) in told {
        if call.version >= TELLS_LEADER {
            tell_leader(state, call.broker, &place, &mut data, &mut endpoints);
        }
        let name = api::topic_name(&place.0);
        match topics.last_mut() {
            Some(last) if (&last.topic, last.topic_id) == (&name, place.1) => {
                last.partitions.push(data);
            }
            _ => topics.push(
                FetchableTopicResponse::default()
                    .with_topic(name)
                    .with_topic_id(place.1)
                    .with_partitions(vec![data]),
            ),
        }
    }
    FetchResponse::default()
        .with_session_id(plan.id)
        .with_responses(topics)
        .with_node_endpoints(endpoints.into_values().collect())
}

/// KIP-951: who leads instead, and where.
fn tell_leader(
    state: &State,
    broker: i32,
    place: &Place,
    data: &mut PartitionData,
    endpoints: &mut BTreeMap<i32, NodeEndpoint>,
) {
    let moved = [ResponseError::NotLeaderOrFollower, ResponseError::FencedLeaderEpoch];
    if !moved.iter().any(|error| error.code() == data.error_code) {
        return;
    }
    let Ok((_, id)) = state.find_topic(broker, &place.0, place.1) else { return };
    let Some(now) = state.broker(broker).meta.partition((id, place.2)) else { return };
    data.current_leader = LeaderIdAndEpoch::default()
        .with_leader_id(BrokerId(now.leader))
        .with_leader_epoch(now.epoch);
    if let Some(leader) = state.brokers.get(&now.leader) {
        let endpoint = NodeEndpoint::default()
            .with_node_id(BrokerId(now.leader))
            .with_host(api::text(&leader.host))
            .with_port(i32::from(leader.port))
            .with_rack(leader.rack.as_deref().map(api::text));
        endpoints.insert(now.leader, endpoint);
    }
}
