//! The APIs that the simulated brokers answer, one file each.
//!
//! It never reads a socket: `serve` hands it calls.

pub mod admin;
pub mod api_versions;
pub mod configs;
pub mod delete_records;
pub mod fetch;
pub mod groups;
pub mod leader_epoch;
pub mod list_offsets;
pub mod markers;
pub mod metadata;
pub mod produce;
pub mod producers;
pub mod sessions;
pub mod shares;

use bytes::Bytes;
use bytes::BytesMut;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::protocol::Decodable;
use kafka_protocol::protocol::Encodable;
use kafka_protocol::protocol::Request;
use kafka_protocol::protocol::StrBytes;

use crate::broker::cluster::TestCluster;
use crate::broker::serve::Outcome;
use crate::broker::state::State;
use crate::broker::takeover::Call;

/// Answers one request.
pub async fn answer(cluster: &TestCluster, call: &Call) -> Outcome {
    match call.key {
        ApiKey::Produce => produce::answer(cluster, call).await,
        ApiKey::Fetch => fetch::answer(cluster, call).await,
        ApiKey::DescribeProducers => producers::answer(cluster, call).await,
        ApiKey::ListTransactions => reading(cluster, call, producers::list_transactions),
        ApiKey::DescribeTransactions => reading(cluster, call, producers::describe_transactions),
        ApiKey::WriteTxnMarkers => markers::answer(cluster, call),
        ApiKey::ApiVersions => api_versions::answer(cluster, call),
        ApiKey::Metadata => {
            let makes = |asked: &MetadataRequest| asked.allow_auto_topic_creation;
            act(cluster, call, makes, metadata::metadata)
        }
        ApiKey::DescribeCluster => reading(cluster, call, metadata::describe_cluster),
        ApiKey::ListOffsets => reading(cluster, call, list_offsets::list_offsets),
        ApiKey::OffsetForLeaderEpoch => {
            reading(cluster, call, leader_epoch::offset_for_leader_epoch)
        }
        ApiKey::CreateTopics => with(cluster, call, admin::create_topics),
        ApiKey::DeleteTopics => with(cluster, call, admin::delete_topics),
        ApiKey::CreatePartitions => with(cluster, call, admin::create_partitions),
        ApiKey::DescribeConfigs => reading(cluster, call, configs::describe_configs),
        ApiKey::IncrementalAlterConfigs => with(cluster, call, configs::alter_configs),
        ApiKey::DeleteRecords => with(cluster, call, delete_records::delete_records),
        ApiKey::FindCoordinator => with(cluster, call, groups::find_coordinator),
        ApiKey::ListGroups => reading(cluster, call, groups::list),
        ApiKey::JoinGroup => with(cluster, call, groups::join),
        ApiKey::LeaveGroup => with(cluster, call, groups::leave),
        ApiKey::ConsumerGroupHeartbeat => with(cluster, call, groups::heartbeat),
        ApiKey::OffsetCommit => with(cluster, call, groups::commit),
        ApiKey::OffsetFetch => reading(cluster, call, groups::fetch),
        ApiKey::ShareGroupHeartbeat => with(cluster, call, shares::heartbeat),
        ApiKey::DescribeShareGroupOffsets => reading(cluster, call, shares::describe),
        ApiKey::AlterShareGroupOffsets => with(cluster, call, shares::alter),
        _ => Outcome::Close,
    }
}

/// Answers what needs no waiting, and may change something.
fn with<R: Request>(
    cluster: &TestCluster,
    call: &Call,
    answer: impl FnOnce(&mut State, &Call, R) -> R::Response,
) -> Outcome {
    act(cluster, call, |_| true, answer)
}

/// Answers what changes nothing: who waits for a change is not woken, which would look through all
/// that it waits for.
fn reading<R: Request>(
    cluster: &TestCluster,
    call: &Call,
    answer: impl FnOnce(&mut State, &Call, R) -> R::Response,
) -> Outcome {
    act(cluster, call, |_| false, answer)
}

fn act<R: Request>(
    cluster: &TestCluster,
    call: &Call,
    changes: impl FnOnce(&R) -> bool,
    answer: impl FnOnce(&mut State, &Call, R) -> R::Response,
) -> Outcome {
    let Some(request) = decode::<R>(call) else { return Outcome::Close };
    let response = match changes(&request) {
        true => cluster.change(|state| answer(state, call, request)),
        false => cluster.quietly(|state| answer(state, call, request)),
    };
    encode(&response, call)
}

/// kafka-protocol 0.18 knows ListOffsets up to 10; 11 has the same fields.
fn known_version(call: &Call) -> i16 {
    if call.key == ApiKey::ListOffsets { call.version.min(10) } else { call.version }
}

fn decode<R: Decodable>(call: &Call) -> Option<R> {
    let mut body = call.body.clone();
    let request = R::decode(&mut body, known_version(call)).ok()?;
    // a request with bytes behind its last field is not what the client meant
    body.is_empty().then_some(request)
}

fn encode(response: &impl Encodable, call: &Call) -> Outcome {
    let mut body = BytesMut::new();
    let done = response.encode(&mut body, known_version(call));
    done.unwrap_or_else(|error| panic!("{:?} v{}: {error}", call.key, call.version));
    Outcome::Answer(body.freeze())
}

/// What the answer of a throttled request becomes.
fn throttled(outcome: Outcome, ms: i32) -> Outcome {
    match outcome {
        Outcome::Answer(body) if ms > 0 => Outcome::Throttled(body, ms),
        other => other,
    }
}

/// The throttle time that an answer tells.
fn throttle_ms(state: &State, call: &Call) -> i32 {
    state.throttles.get(&(call.key as i16)).copied().unwrap_or(0)
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Moves a topic name into the kafka-protocol type.
fn topic_name(name: &str) -> kafka_protocol::messages::TopicName {
    text(name).into()
}

/// An empty records section.
fn no_records() -> Option<Bytes> {
    Some(Bytes::new())
}
