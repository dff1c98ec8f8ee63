//! Share groups (KIP-932), as far as whoever sets their start offsets from outside meets them.
//!
//! It never delivers a record: a test says how far a share group came.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::AlterShareGroupOffsetsRequest;
use kafka_protocol::messages::AlterShareGroupOffsetsResponse;
use kafka_protocol::messages::DescribeShareGroupOffsetsRequest;
use kafka_protocol::messages::DescribeShareGroupOffsetsResponse;
use kafka_protocol::messages::ShareGroupHeartbeatRequest;
use kafka_protocol::messages::ShareGroupHeartbeatResponse;
use kafka_protocol::messages::alter_share_group_offsets_response as altered;
use kafka_protocol::messages::describe_share_group_offsets_response as described;
use uuid::Uuid;

use crate::broker::api;
use crate::broker::api::groups::Group;
use crate::broker::api::groups::check;
use crate::broker::cluster::TestCluster;
use crate::broker::rights::Right;
use crate::broker::state::State;
use crate::broker::takeover::Call;

/// No start: `share.auto.offset.reset` decides when a member comes.
const NONE: i64 = -1;

/// Where a share group starts, by topic and partition, of which topic by id.
#[derive(Clone, Debug, Default)]
pub struct Starts(BTreeMap<(String, i32), (i64, Uuid)>);

impl Starts {
    fn get(&self, state: &State, topic: &str, partition: i32) -> Option<i64> {
        let (start, of) = self.0.get(&(topic.to_owned(), partition))?;
        let known = state.meta.topics().get(topic).is_some_and(|known| known.id == *of);
        known.then_some(*start)
    }
}

/// ShareGroupHeartbeat 1: epoch 0 joins, epoch -1 leaves. Partitions of subscribed topics have a
/// place in the group, and no start, before a member reads.
pub fn heartbeat(
    state: &mut State,
    call: &Call,
    request: ShareGroupHeartbeatRequest,
) -> ShareGroupHeartbeatResponse {
    let answer = ShareGroupHeartbeatResponse::default();
    let answer = answer.with_member_id(Some(request.member_id.clone()));
    let name = request.group_id.to_string();
    let group = state.groups.get(&name);
    let is_other = group.is_some_and(|group| group.shares.is_none());
    let refused = is_other.then_some(ResponseError::GroupIdNotFound);
    let refused = is_refused(state, call, &name).or(refused);
    if let Some(error) = refused {
        return answer.with_error_code(error.code());
    }
    let subscribed = request.subscribed_topic_names.unwrap_or_default();
    let known: Vec<((String, i32), Uuid)> = subscribed
        .iter()
        .filter_map(|name| Some((name.to_string(), state.meta.topics().get(name.as_str())?)))
        .flat_map(|(name, topic)| {
            let all = 0..topic.partitions.len() as i32;
            let id = topic.id;
            all.map(move |partition| ((name.clone(), partition), id))
        })
        .collect();
    let group = shared(state, &name);
    if request.member_epoch < 0 {
        group.members.remove(request.member_id.as_str());
        return answer.with_member_epoch(-1);
    }
    group.generation += 1;
    group.members.insert(request.member_id.to_string());
    let epoch = group.generation;
    let Starts(starts) = group.shares.get_or_insert_default();
    for (place, id) in known {
        starts.entry(place).or_insert((NONE, id));
    }
    answer.with_member_epoch(epoch)
}

/// DescribeShareGroupOffsets 0: all that a group has where no topics are named, nothing of a group
/// that is none or is of another kind.
pub fn describe(
    state: &mut State,
    call: &Call,
    request: DescribeShareGroupOffsetsRequest,
) -> DescribeShareGroupOffsetsResponse {
    let groups = request.groups.iter().map(|asked| {
        let answer = described::DescribeShareGroupOffsetsResponseGroup::default();
        let answer = answer.with_group_id(asked.group_id.clone());
        if let Some(error) = is_refused(state, call, &asked.group_id) {
            return answer.with_error_code(error.code());
        }
        let none = Starts::default();
        let group = state.groups.get(asked.group_id.as_str());
        let starts = group.and_then(|group| group.shares.as_ref()).unwrap_or(&none);
        let places: BTreeSet<(String, i32)> = match &asked.topics {
            None => starts.0.keys().cloned().collect(),
            Some(topics) => {
                let each = topics.iter().map(|one| (one.topic_name.to_string(), &one.partitions));
                each.flat_map(|(name, all)| all.iter().map(move |id| (name.clone(), *id))).collect()
            }
        };
        let mut topics: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (name, partition) in places {
            let start = starts.get(state, &name, partition);
            if (start.is_none() && asked.topics.is_none())
                || state.check(&name, Right::Describe).is_err()
            {
                continue;
            }
            let row = described::DescribeShareGroupOffsetsResponsePartition::default();
            let row = row.with_partition_index(partition);
            topics.entry(name).or_default().push(row.with_start_offset(start.unwrap_or(NONE)));
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            let id = state.meta.topics().get(&name).map(|topic| topic.id).unwrap_or_default();
            described::DescribeShareGroupOffsetsResponseTopic::default()
                .with_topic_name(api::topic_name(&name))
                .with_topic_id(id)
                .with_partitions(partitions)
        });
        answer.with_topics(topics.collect())
    });
    let groups = groups.collect();
    DescribeShareGroupOffsetsResponse::default()
        .with_throttle_time_ms(api::throttle_ms(state, call))
        .with_groups(groups)
}

/// AlterShareGroupOffsets 0: any offset, as it is, into a share group without members; the first
/// one that is stored makes the group.
pub fn alter(
    state: &mut State,
    call: &Call,
    request: AlterShareGroupOffsetsRequest,
) -> AlterShareGroupOffsetsResponse {
    let answer = AlterShareGroupOffsetsResponse::default();
    let answer = answer.with_throttle_time_ms(api::throttle_ms(state, call));
    let name = request.group_id.to_string();
    let group = state.groups.get(&name);
    let refused = match group {
        _ if name.is_empty() => Some(ResponseError::InvalidGroupId),
        Some(group) if group.shares.is_none() => Some(ResponseError::GroupIdNotFound),
        Some(group) if !group.members.is_empty() => Some(ResponseError::NonEmptyGroup),
        _ => None,
    };
    if let Some(error) = is_refused(state, call, &name).or(refused) {
        return answer.with_error_code(error.code());
    }
    let mut topics = Vec::new();
    for asked in &request.topics {
        let known = state.meta.topics().get(asked.topic_name.as_str());
        let (id, count) = known.map_or((Uuid::nil(), 0), |one| (one.id, one.partitions.len()));
        let denied = state.check(&asked.topic_name, Right::Read).err();
        let mut topic = altered::AlterShareGroupOffsetsResponseTopic::default()
            .with_topic_name(asked.topic_name.clone())
            .with_topic_id(id);
        for one in &asked.partitions {
            let is_known = (0..count as i32).contains(&one.partition_index);
            let unknown = (!is_known).then_some(ResponseError::UnknownTopicOrPartition);
            let error = denied.or(unknown);
            if error.is_none() {
                let place = (asked.topic_name.to_string(), one.partition_index);
                let Starts(starts) = shared(state, &name).shares.get_or_insert_default();
                starts.insert(place, (one.start_offset, id));
            }
            topic.partitions.push(
                altered::AlterShareGroupOffsetsResponsePartition::default()
                    .with_partition_index(one.partition_index)
                    .with_error_code(error.map_or(0, |error| error.code())),
            );
        }
        topics.push(topic);
    }
    answer.with_responses(topics)
}

/// UNSUPPORTED_VERSION where the feature is off, NOT_COORDINATOR for a group of another broker.
fn is_refused(state: &State, call: &Call, group: &str) -> Option<ResponseError> {
    let is_off = state.is_without_shares.then_some(ResponseError::UnsupportedVersion);
    is_off.or_else(|| check(state, call, group))
}

/// The share group of that name, which is made where it is not there.
fn shared<'a>(state: &'a mut State, name: &str) -> &'a mut Group {
    let group = state.groups.entry(name.to_owned()).or_default();
    group.shares.get_or_insert_default();
    group
}

impl TestCluster {
    /// A share group's members have acknowledged all before that offset, and leave.
    pub fn share_to(&self, group: &str, (topic, partition): (&str, i32), start: i64) {
        self.change(|state| {
            let id = state.meta.topics().get(topic).expect("a topic that is there").id;
            let Starts(starts) = shared(state, group).shares.get_or_insert_default();
            starts.insert((topic.to_owned(), partition), (start, id));
        });
    }

    /// Where a share group starts; `None` where it has no start, or is none.
    pub fn share_start(&self, group: &str, (topic, partition): (&str, i32)) -> Option<i64> {
        self.look(|state| {
            let starts = state.groups.get(group)?.shares.as_ref()?;
            starts.get(state, topic, partition).filter(|start| *start != NONE)
        })
    }

    /// The config `share.auto.offset.reset` of a share group, which is `latest` else.
    pub fn set_share_reset(&self, group: &str, value: &str) {
        self.change(|state| drop(state.share_resets.insert(group.to_owned(), value.to_owned())));
    }

    /// The feature `share.version` is 0, or is on again.
    pub fn set_shares(&self, is_on: bool) {
        self.change(|state| state.is_without_shares = !is_on);
    }
}
