//! Consumer groups, as far as whoever sets their offsets from outside meets them (broker-facts A7).
//!
//! It never assigns partitions, and members stay until they leave: nobody sends heartbeats here.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::ConsumerGroupHeartbeatRequest;
use kafka_protocol::messages::ConsumerGroupHeartbeatResponse;
use kafka_protocol::messages::FindCoordinatorRequest;
use kafka_protocol::messages::FindCoordinatorResponse;
use kafka_protocol::messages::JoinGroupRequest;
use kafka_protocol::messages::JoinGroupResponse;
use kafka_protocol::messages::LeaveGroupRequest;
use kafka_protocol::messages::LeaveGroupResponse;
use kafka_protocol::messages::OffsetCommitRequest;
use kafka_protocol::messages::OffsetCommitResponse;
use kafka_protocol::messages::OffsetFetchRequest;
use kafka_protocol::messages::OffsetFetchResponse;
use kafka_protocol::messages::offset_commit_response::OffsetCommitResponsePartition;
use kafka_protocol::messages::offset_commit_response::OffsetCommitResponseTopic;
use kafka_protocol::messages::offset_fetch_response::OffsetFetchResponsePartition;
use kafka_protocol::messages::offset_fetch_response::OffsetFetchResponseTopic;

use crate::broker::api;
use crate::broker::state::State;
use crate::broker::takeover::Call;

/// What a group has committed for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    offset: i64,
    leader_epoch: i32,
    metadata: String,
}

/// One group: who is in it, and how far it came.
#[derive(Clone, Debug, Default)]
pub struct Group {
    generation: i32,
    members: BTreeSet<String>,
    offsets: BTreeMap<(String, i32), Committed>,
}

/// FindCoordinator 3: the first broker coordinates every group.
pub fn find_coordinator(
    state: &mut State,
    call: &Call,
    _request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    FindCoordinatorResponse::default()
        .with_throttle_time_ms(api::throttle_ms(state, call))
        .with_node_id(BrokerId(1))
        .with_host(api::text(&state.broker(1).host))
        .with_port(i32::from(state.broker(1).port))
}

/// JoinGroup 3: whoever comes is the leader, and the group is being balanced.
pub fn join(state: &mut State, _call: &Call, request: JoinGroupRequest) -> JoinGroupResponse {
    let member = match request.member_id.as_str() {
        "" => format!("raw-{}", state.rng.next_u64()),
        known => known.to_owned(),
    };
    let group = state.groups.entry(request.group_id.to_string()).or_default();
    group.generation += 1;
    group.members.insert(member.clone());
    let protocol = request.protocols.first().map(|one| one.name.clone());
    JoinGroupResponse::default()
        .with_generation_id(group.generation)
        .with_protocol_name(protocol)
        .with_leader(api::text(&member))
        .with_member_id(api::text(&member))
}

/// LeaveGroup 2.
pub fn leave(state: &mut State, _call: &Call, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let group = state.groups.get_mut(request.group_id.as_str());
    let is_out = group.is_some_and(|group| group.members.remove(request.member_id.as_str()));
    let error = if is_out { 0 } else { ResponseError::UnknownMemberId.code() };
    LeaveGroupResponse::default().with_error_code(error)
}

/// ConsumerGroupHeartbeat 1 (KIP-848): epoch 0 joins, epoch -1 leaves.
pub fn heartbeat(
    state: &mut State,
    _call: &Call,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    let group = state.groups.entry(request.group_id.to_string()).or_default();
    let answer = ConsumerGroupHeartbeatResponse::default();
    let answer = answer.with_member_id(Some(request.member_id.clone()));
    if request.member_epoch < 0 {
        group.members.remove(request.member_id.as_str());
        return answer.with_member_epoch(-1);
    }
    group.generation += 1;
    group.members.insert(request.member_id.to_string());
    answer.with_member_epoch(group.generation)
}

/// OffsetCommit 8: from outside (generation -1, no member) into a group without members; any
/// offset and any leader epoch, as they are.
pub fn commit(
    state: &mut State,
    call: &Call,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let name = request.group_id.to_string();
    let group = state.groups.get(&name);
    let is_active = group.is_some_and(|group| !group.members.is_empty());
    let is_member = group.is_some_and(|group| {
        group.members.contains(request.member_id.as_str())
            && group.generation == request.generation_id_or_member_epoch
    });
    let from_outside = request.generation_id_or_member_epoch < 0 && !is_active;
    let refused = (!from_outside && !is_member).then_some(ResponseError::UnknownMemberId);
    let mut answer =
        OffsetCommitResponse::default().with_throttle_time_ms(api::throttle_ms(state, call));
    for asked in &request.topics {
        let mut topic = OffsetCommitResponseTopic::default().with_name(asked.name.clone());
        for one in &asked.partitions {
            let known = state.meta.topics.get(asked.name.as_str());
            let count = known.map_or(0, |topic| topic.partitions.len() as i32);
            let exists = (0..count).contains(&one.partition_index);
            let unknown = (!exists).then_some(ResponseError::UnknownTopicOrPartition);
            let error = unknown.or(refused);
            if error.is_none() {
                let committed = Committed {
                    offset: one.committed_offset,
                    leader_epoch: one.committed_leader_epoch,
                    metadata: one.committed_metadata.clone().unwrap_or_default().to_string(),
                };
                let place = (asked.name.to_string(), one.partition_index);
                state.groups.entry(name.clone()).or_default().offsets.insert(place, committed);
            }
            topic.partitions.push(
                OffsetCommitResponsePartition::default()
                    .with_partition_index(one.partition_index)
                    .with_error_code(error.map_or(0, |error| error.code())),
            );
        }
        answer.topics.push(topic);
    }
    answer
}

/// OffsetFetch 7: -1 where nothing is committed.
pub fn fetch(state: &mut State, call: &Call, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let group = state.groups.get(request.group_id.as_str());
    let topics = request.topics.unwrap_or_default().into_iter().map(|asked| {
        let partitions = asked.partition_indexes.iter().map(|index| {
            let known =
                group.and_then(|group| group.offsets.get(&(asked.name.to_string(), *index)));
            let metadata = known.map_or("", |known| known.metadata.as_str());
            OffsetFetchResponsePartition::default()
                .with_partition_index(*index)
                .with_committed_offset(known.map_or(-1, |known| known.offset))
                .with_committed_leader_epoch(known.map_or(-1, |known| known.leader_epoch))
                .with_metadata(Some(api::text(metadata)))
        });
        let partitions = partitions.collect();
        OffsetFetchResponseTopic::default()
            .with_name(asked.name.clone())
            .with_partitions(partitions)
    });
    let topics = topics.collect();
    OffsetFetchResponse::default()
        .with_throttle_time_ms(api::throttle_ms(state, call))
        .with_topics(topics)
}
