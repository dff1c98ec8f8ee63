//! Produce 9 to 13: append under the lock, wait for the replicas, answer (broker-facts P1 to P22).
//!
//! It never answers a request with null records (P8).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Buf;
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::ProduceResponse;
use kafka_protocol::messages::produce_response::LeaderIdAndEpoch;
use kafka_protocol::messages::produce_response::NodeEndpoint;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::produce_response::TopicProduceResponse;
use tokio::time::Instant;
use uuid::Uuid;

use crate::broker::api;
use crate::broker::batch::TRANSACTIONAL;
use crate::broker::cluster::TestCluster;
use crate::broker::meta::Key;
use crate::broker::partition::Appended;
use crate::broker::rights::Right;
use crate::broker::serve::Outcome;
use crate::broker::state::Led;
use crate::broker::state::State;
use crate::broker::takeover::Call;

/// A topic as the request names it, and a partition of it.
type Place = (String, Uuid, i32);
type Entries = BTreeMap<Place, Bytes>;

/// What has become of one entry.
struct Entry {
    place: Place,
    led: Option<Led>,
    done: Option<ResponseError>,
    appended: Option<Appended>,
    waits: bool,
}

/// Answers Produce.
pub async fn answer(cluster: &TestCluster, call: &Call) -> Outcome {
    let Some(request) = api::decode::<ProduceRequest>(call) else { return Outcome::Close };
    let Some(entries) = entries(&request) else { return Outcome::Never };
    let mut results = match refuse_all(&request, &entries) {
        Some(error) => refused(entries, error),
        None => append_all(cluster, call, entries, request.acks).await,
    };
    if request.acks == 0 {
        let failed = results.iter().any(|entry| entry.done.is_some());
        return if failed { Outcome::Close } else { Outcome::Nothing };
    }
    let wait = Duration::from_millis(request.timeout_ms.max(0) as u64);
    wait_replicated(cluster, call.broker, &mut results, wait).await;
    let bytes = call.body.len();
    let throttle_ms = cluster.quietly(|state| {
        let by_bytes = state.quotas.note(call, bytes, state.now_ms());
        by_bytes.max(api::throttle_ms(state, call))
    });
    let response = cluster.look(|state| respond(state, call, results));
    let response = response.with_throttle_time_ms(throttle_ms);
    api::throttled(api::encode(&response, call), throttle_ms)
}

/// The entries by partition: of two for one partition the last one counts (P7); `None` where
/// records are null.
fn entries(request: &ProduceRequest) -> Option<Entries> {
    let mut entries = Entries::new();
    for topic in &request.topic_data {
        for partition in &topic.partition_data {
            let place = (topic.name.to_string(), topic.topic_id, partition.index);
            entries.insert(place, partition.records.clone()?);
        }
    }
    Some(entries)
}

/// P9: one transactional batch without a transactional id fails the whole request.
fn refuse_all(request: &ProduceRequest, entries: &Entries) -> Option<ResponseError> {
    let flagged = |entry: &Bytes| {
        entry.len() > 22 && (&entry[21..]).get_i16() & TRANSACTIONAL != 0 && entry[16] == 2
    };
    if request.transactional_id.is_none() && entries.values().any(flagged) {
        return Some(ResponseError::TransactionalIdAuthorizationFailed);
    }
    let odd = !(-1..=1).contains(&request.acks);
    odd.then_some(ResponseError::InvalidRequiredAcks)
}

fn refused(entries: Entries, error: ResponseError) -> Vec<Entry> {
    let fail = |place| Entry { place, led: None, done: Some(error), appended: None, waits: false };
    entries.into_keys().map(fail).collect()
}

async fn append_all(cluster: &TestCluster, call: &Call, entries: Entries, acks: i16) -> Vec<Entry> {
    let mut results = Vec::new();
    for (place, bytes) in entries {
        let led = cluster.look(|state| find(state, call.broker, &place));
        let lock = match &led {
            Ok(led) => Some(lock(cluster, call.broker, led.key).await),
            Err(_) => None,
        };
        // leadership may have moved while the lock was waited for
        let led = cluster.look(|state| find(state, call.broker, &place));
        let result = led.and_then(|led| {
            let done = cluster.change(|state| state.append_entry(call.broker, &led, &bytes, acks));
            done.map(|appended| (led, appended))
        });
        drop(lock);
        results.push(match result {
            Ok((led, appended)) => {
                let (led, appended) = (Some(led), Some(appended));
                Entry { place, led, done: None, appended, waits: acks == -1 }
            }
            Err(error) => {
                Entry { place, led: None, done: Some(error), appended: None, waits: false }
            }
        });
    }
    results
}

fn find(state: &State, broker: i32, place: &Place) -> Result<Led, ResponseError> {
    let (name, id) = state.find_topic(broker, &place.0, place.1)?;
    state.check(&name, Right::Write)?;
    state.led(broker, (id, place.2), -1)
}

/// The lock of a log, held while an append takes its time.
pub(super) struct LogLock {
    cluster: TestCluster,
    place: (Key, i32),
}

impl Drop for LogLock {
    fn drop(&mut self) {
        self.cluster.change(|state| state.locked.remove(&self.place));
    }
}

/// Waits for an append in progress, then holds the lock for as long as an append takes.
async fn lock(cluster: &TestCluster, broker: i32, key: Key) -> Option<LogLock> {
    let (low, high) = cluster.look(|state| state.spec.timing.append_ms);
    if high == 0 {
        return None;
    }
    let place = (key, broker);
    loop {
        unlocked(cluster, place).await;
        // between the wait and now nobody else ran: one thread, no await
        if cluster.quietly(|state| state.locked.insert(place)) {
            break;
        }
    }
    let held = LogLock { cluster: cluster.clone(), place };
    let wait = cluster.quietly(|state| state.rng.between(low, high));
    tokio::time::sleep(Duration::from_millis(wait)).await;
    Some(held)
}

/// Waits for an append in progress (A3: the barrier of DescribeProducers).
pub(super) async fn unlocked(cluster: &TestCluster, place: (Key, i32)) {
    cluster.wait_for(|state| !state.locked.contains(&place)).await;
}

/// acks=all: waits until every entry is below the high watermark, or until the timeout.
async fn wait_replicated(
    cluster: &TestCluster,
    broker: i32,
    results: &mut [Entry],
    wait: Duration,
) {
    let until = Instant::now() + wait;
    let mut changes = cluster.changes();
    loop {
        cluster.look(|state| results.iter_mut().for_each(|entry| settle(state, broker, entry)));
        if !results.iter().any(|entry| entry.waits) {
            return;
        }
        if tokio::time::timeout_at(until, changes.changed()).await.is_err() {
            break;
        }
    }
    for entry in results.iter_mut().filter(|entry| entry.waits) {
        entry.done = Some(ResponseError::RequestTimedOut);
    }
}

fn settle(state: &State, broker: i32, entry: &mut Entry) {
    let (true, Some(led), Some(appended)) = (entry.waits, &entry.led, entry.appended) else {
        return;
    };
    match state.led(broker, led.key, -1) {
        Err(error) => (entry.done, entry.waits) = (Some(error), false),
        Ok(now) if now.epoch != led.epoch => {
            (entry.done, entry.waits) = (Some(ResponseError::NotLeaderOrFollower), false);
        }
        Ok(now) if state.replica(led.key, broker).hwm >= appended.next => {
            let min_insync = state.topic_config(led.key.0).min_insync;
            let few = now.isr.len() < min_insync;
            entry.done = few.then_some(ResponseError::NotEnoughReplicasAfterAppend);
            entry.waits = false;
        }
        Ok(_) => {}
    }
}

fn respond(state: &State, call: &Call, results: Vec<Entry>) -> ProduceResponse {
    let mut topics: BTreeMap<(String, Uuid), TopicProduceResponse> = BTreeMap::new();
    let mut endpoints = BTreeMap::new();
    for entry in results {
        let (name, id, _) = &entry.place;
        let topic = topics.entry((name.clone(), *id)).or_insert_with(|| {
            let topic = TopicProduceResponse::default();
            if id.is_nil() {
                topic.with_name(api::topic_name(name))
            } else {
                topic.with_topic_id(*id)
            }
        });
        let mut answer = partition(state, call.broker, &entry);
        if call.version >= 10 && entry.done == Some(ResponseError::NotLeaderOrFollower) {
            tell_leader(state, call.broker, &entry.place, &mut answer, &mut endpoints);
        }
        topic.partition_responses.push(answer);
    }
    ProduceResponse::default()
        .with_responses(topics.into_values().collect())
        .with_node_endpoints(endpoints.into_values().collect())
}

fn partition(state: &State, broker: i32, entry: &Entry) -> PartitionProduceResponse {
    let answer = PartitionProduceResponse::default()
        .with_index(entry.place.2)
        .with_error_code(entry.done.map_or(0, |error| error.code()))
        .with_base_offset(-1)
        .with_log_append_time_ms(-1)
        .with_log_start_offset(-1);
    let timed_out = entry.done == Some(ResponseError::RequestTimedOut);
    let (Some(appended), Some(led)) = (entry.appended, &entry.led) else { return answer };
    if entry.done.is_some() && !timed_out {
        return answer;
    }
    let start = state.replicas.get(&(led.key, broker)).map_or(-1, |replica| replica.log.start());
    answer
        .with_base_offset(appended.base)
        .with_log_append_time_ms(appended.time_ms)
        .with_log_start_offset(start)
}

/// KIP-951: who leads instead, and where.
fn tell_leader(
    state: &State,
    broker: i32,
    place: &Place,
    answer: &mut PartitionProduceResponse,
    endpoints: &mut BTreeMap<i32, NodeEndpoint>,
) {
    let Ok((_, id)) = state.find_topic(broker, &place.0, place.1) else { return };
    let Some(now) = state.broker(broker).meta.partition((id, place.2)) else { return };
    answer.current_leader = LeaderIdAndEpoch::default()
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
