//! Consumer groups, as far as whoever sets their offsets from outside meets them (broker-facts A7,
//! A14, A16).
//!
//! It never assigns partitions, and members stay until they leave: nobody sends heartbeats here.
//! Each group has a coordinator among the brokers that are not fenced, and only that one answers.

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
use kafka_protocol::messages::ListGroupsRequest;
use kafka_protocol::messages::ListGroupsResponse;
use kafka_protocol::messages::OffsetCommitRequest;
use kafka_protocol::messages::OffsetCommitResponse;
use kafka_protocol::messages::OffsetFetchRequest;
use kafka_protocol::messages::OffsetFetchResponse;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::offset_commit_response::OffsetCommitResponsePartition;
use kafka_protocol::messages::offset_commit_response::OffsetCommitResponseTopic;
use kafka_protocol::messages::offset_fetch_response::OffsetFetchResponseGroup;
use kafka_protocol::messages::offset_fetch_response::OffsetFetchResponsePartition;
use kafka_protocol::messages::offset_fetch_response::OffsetFetchResponsePartitions;
use kafka_protocol::messages::offset_fetch_response::OffsetFetchResponseTopic;
use kafka_protocol::messages::offset_fetch_response::OffsetFetchResponseTopics;
use uuid::Uuid;

use crate::broker::api;
use crate::broker::api::shares::Starts;
use crate::broker::cluster::TestCluster;
use crate::broker::rights::Right;
use crate::broker::state::State;
use crate::broker::takeover::Call;

/// What a group has committed for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to be read.
    pub offset: i64,
    /// The leader epoch, as it was told.
    pub leader_epoch: i32,
    /// What was written beside it.
    pub metadata: String,
    /// Of which topic: another one of its name has nothing of it.
    topic: Uuid,
}

/// One group: who is in it, and how far it came.
#[derive(Clone, Debug, Default)]
pub struct Group {
    pub(super) generation: i32,
    pub(super) members: BTreeSet<String>,
    /// Its members speak the protocol of KIP-848.
    is_next: bool,
    /// Where it starts; its members share partitions. `None` of other groups.
    pub(super) shares: Option<Starts>,
    offsets: BTreeMap<(String, i32), Committed>,
}

/// The longest metadata beside an offset (`offset.metadata.max.bytes`).
const METADATA_BYTES_MAX: usize = 4096;

/// Who coordinates a group: one of the brokers that are not fenced; `None` where there is none.
pub(super) fn coordinator(state: &State, group: &str) -> Option<i32> {
    let sum = group.bytes().fold(0usize, |sum, byte| sum.wrapping_mul(31) + usize::from(byte));
    let live: Vec<i32> = state.meta.live.iter().copied().collect();
    live.get(sum.checked_rem(live.len())?).copied()
}

/// NOT_COORDINATOR for a group of another broker.
pub(super) fn check(state: &State, call: &Call, group: &str) -> Option<ResponseError> {
    let is_its = coordinator(state, group) == Some(call.broker);
    (!is_its).then_some(ResponseError::NotCoordinator)
}

/// FindCoordinator 3, and 4 on for many groups.
pub fn find_coordinator(
    state: &mut State,
    call: &Call,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let answer = FindCoordinatorResponse::default();
    let answer = answer.with_throttle_time_ms(api::throttle_ms(state, call));
    let found = |key: &str| match coordinator(state, key) {
        Some(id) => {
            let broker = state.broker(id);
            (BrokerId(id), api::text(&broker.host), i32::from(broker.port), 0)
        }
        None => {
            let code = ResponseError::CoordinatorNotAvailable.code();
            (BrokerId(-1), api::text(""), -1, code)
        }
    };
    if call.version < 4 {
        let (node, host, port, code) = found(&request.key);
        return answer.with_node_id(node).with_host(host).with_port(port).with_error_code(code);
    }
    let all = request.coordinator_keys.iter().map(|key| {
        let (node, host, port, code) = found(key);
        Coordinator::default()
            .with_key(key.clone())
            .with_node_id(node)
            .with_host(host)
            .with_port(port)
            .with_error_code(code)
    });
    answer.with_coordinators(all.collect())
}

/// ListGroups 4 and 5: those that the asked broker coordinates.
pub fn list(state: &mut State, call: &Call, _request: ListGroupsRequest) -> ListGroupsResponse {
    let its = state.groups.iter().filter(|(name, _)| check(state, call, name).is_none());
    let listed = its.map(|(name, group)| {
        let is_idle = group.members.is_empty();
        let kind = if group.is_next { "consumer" } else { "classic" };
        let (word, kind) = match group.shares {
            Some(_) => ("share", "share"),
            None if group.generation == 0 => ("", kind),
            None => ("consumer", kind),
        };
        ListedGroup::default()
            .with_group_id(api::text(name).into())
            .with_protocol_type(api::text(word))
            .with_group_state(api::text(if is_idle { "Empty" } else { "Stable" }))
            .with_group_type(api::text(if call.version >= 5 { kind } else { "" }))
    });
    ListGroupsResponse::default()
        .with_throttle_time_ms(api::throttle_ms(state, call))
        .with_groups(listed.collect())
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
    group.is_next = true;
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
    let is_share = group.is_some_and(|group| group.shares.is_some());
    let refused = is_share.then_some(ResponseError::GroupIdNotFound).or(refused);
    let refused = check(state, call, &name).or(refused);
    let mut answer =
        OffsetCommitResponse::default().with_throttle_time_ms(api::throttle_ms(state, call));
    for asked in &request.topics {
        let mut topic = OffsetCommitResponseTopic::default().with_name(asked.name.clone());
        for one in &asked.partitions {
            let known = state.meta.topics().get(asked.name.as_str());
            let count = known.map_or(0, |topic| topic.partitions.len() as i32);
            let exists = (0..count).contains(&one.partition_index);
            let unknown = (!exists).then_some(ResponseError::UnknownTopicOrPartition);
            let metadata = one.committed_metadata.as_ref().map_or(0, |text| text.len());
            let large = metadata > METADATA_BYTES_MAX;
            let large = large.then_some(ResponseError::OffsetMetadataTooLarge);
            let denied = state.check(&asked.name, Right::Read).err();
            let error = denied.or(unknown).or(refused).or(large);
            if error.is_none() {
                let committed = Committed {
                    offset: one.committed_offset,
                    leader_epoch: one.committed_leader_epoch,
                    metadata: one.committed_metadata.clone().unwrap_or_default().to_string(),
                    topic: known.map(|topic| topic.id).unwrap_or_default(),
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

/// What a group has committed, of topics that are still there and may be described.
fn committed(state: &State, group: &str) -> BTreeMap<(String, i32), Committed> {
    let Some(group) = state.groups.get(group) else { return BTreeMap::new() };
    let is_there = |(topic, _): &(String, i32), one: &Committed| {
        let known = state.meta.topics().get(topic).is_some_and(|known| known.id == one.topic);
        known && state.check(topic, Right::Describe).is_ok()
    };
    let offsets = group.offsets.iter().filter(|(place, one)| is_there(place, one));
    offsets.map(|(place, one)| (place.clone(), one.clone())).collect()
}

/// OffsetFetch 7, and 8 on for many groups; all topics where none are named. -1 where nothing is
/// committed.
pub fn fetch(state: &mut State, call: &Call, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let answer = OffsetFetchResponse::default();
    let answer = answer.with_throttle_time_ms(api::throttle_ms(state, call));
    if call.version < 8 {
        let asked = request.topics.as_ref().map(|topics| {
            let names = topics.iter();
            names.map(|one| (one.name.to_string(), one.partition_indexes.clone())).collect()
        });
        let (code, rows) = offsets(state, call, &request.group_id, asked);
        let topics = rows.into_iter().map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(|(index, one)| {
                OffsetFetchResponsePartition::default()
                    .with_partition_index(index)
                    .with_committed_offset(one.0)
                    .with_committed_leader_epoch(one.1)
                    .with_metadata(Some(api::text(&one.2)))
            });
            OffsetFetchResponseTopic::default()
                .with_name(api::topic_name(&name))
                .with_partitions(partitions.collect())
        });
        return answer.with_topics(topics.collect()).with_error_code(code);
    }
    let groups = request.groups.iter().map(|group| {
        let asked = group.topics.as_ref().map(|topics| {
            let names = topics.iter();
            names.map(|one| (one.name.to_string(), one.partition_indexes.clone())).collect()
        });
        let (code, rows) = offsets(state, call, &group.group_id, asked);
        let topics = rows.into_iter().map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(|(index, one)| {
                OffsetFetchResponsePartitions::default()
                    .with_partition_index(index)
                    .with_committed_offset(one.0)
                    .with_committed_leader_epoch(one.1)
                    .with_metadata(Some(api::text(&one.2)))
            });
            OffsetFetchResponseTopics::default()
                .with_name(api::topic_name(&name))
                .with_partitions(partitions.collect())
        });
        OffsetFetchResponseGroup::default()
            .with_group_id(group.group_id.clone())
            .with_topics(topics.collect())
            .with_error_code(code)
    });
    answer.with_groups(groups.collect())
}

/// By topic: partition, offset, leader epoch, metadata.
type Rows = BTreeMap<String, Vec<(i32, (i64, i32, String))>>;

fn offsets(
    state: &State,
    call: &Call,
    group: &str,
    asked: Option<Vec<(String, Vec<i32>)>>,
) -> (i16, Rows) {
    if let Some(error) = check(state, call, group) {
        return (error.code(), Rows::new());
    }
    let known = committed(state, group);
    let asked: Vec<(String, i32)> = match asked {
        None => known.keys().cloned().collect(),
        Some(topics) => {
            let all = topics.into_iter();
            all.flat_map(|(name, all)| all.into_iter().map(move |id| (name.clone(), id))).collect()
        }
    };
    let mut rows = Rows::new();
    for place in asked {
        let one = known.get(&place);
        let one = one.map_or((-1, -1, String::new()), |one| {
            (one.offset, one.leader_epoch, one.metadata.clone())
        });
        rows.entry(place.0).or_default().push((place.1, one));
    }
    (0, rows)
}

impl TestCluster {
    /// Commits as a member that has read so far would, and leaves again.
    pub fn commit_as_member(&self, group: &str, (topic, partition): (&str, i32), offset: i64) {
        self.change(|state| {
            let id = state.meta.topics().get(topic).expect("a topic that is there").id;
            let metadata = String::new();
            let one = Committed { offset, leader_epoch: 0, metadata, topic: id };
            let group = state.groups.entry(group.to_owned()).or_default();
            group.generation += 1;
            group.offsets.insert((topic.to_owned(), partition), one);
        });
    }

    /// What a group has committed.
    pub fn committed(&self, group: &str, (topic, partition): (&str, i32)) -> Option<Committed> {
        self.look(|state| committed(state, group).remove(&(topic.to_owned(), partition)))
    }

    /// A member joins, of whatever protocol.
    pub fn join_group(&self, group: &str, member: &str) {
        self.change(|state| {
            let group = state.groups.entry(group.to_owned()).or_default();
            group.generation += 1;
            group.members.insert(member.to_owned());
        });
    }

    /// A member leaves.
    pub fn leave_group(&self, group: &str, member: &str) {
        self.change(|state| {
            state.groups.get_mut(group).is_some_and(|group| group.members.remove(member))
        });
    }

    /// A group expires, or is deleted.
    pub fn forget_group(&self, group: &str) {
        self.change(|state| state.groups.remove(group));
    }

    /// Who coordinates a group.
    pub fn group_coordinator(&self, group: &str) -> Option<i32> {
        self.look(|state| coordinator(state, group))
    }
}
