//! Groups: who coordinates them, which there are, what they have committed.
//!
//! It never joins one: offsets are set from outside, which a coordinator refuses while a group has
//! members (broker facts A14, A16).

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::FindCoordinatorRequest;
use kafka_protocol::messages::FindCoordinatorResponse;
use kafka_protocol::messages::ListGroupsRequest;
use kafka_protocol::messages::OffsetCommitRequest;
use kafka_protocol::messages::OffsetFetchRequest;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::protocol::StrBytes;

use crate::cluster::Cluster;
use crate::cluster::Target;
use crate::cluster::call::by_topic;
use crate::cluster::call::partition_of;
use crate::cluster::call::text;
use crate::cluster::ends::Each;
use crate::cluster::ends::each;
use crate::cluster::error::ClusterError;
use crate::cluster::error::Kind;
use crate::cluster::error::Result;
use crate::ids::BrokerId;
use crate::ids::GroupName;
use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TopicPartition;
use crate::wire::error::KafkaCode;

/// What each named group got; one that the broker left out is not in it.
pub type EachGroup<T> = BTreeMap<GroupName, std::result::Result<T, KafkaCode>>;

/// From this version on FindCoordinator asks for many groups.
const MANY_COORDINATORS_FROM: i16 = 4;
/// From this version on OffsetFetch asks for many groups.
const MANY_GROUPS_FROM: i16 = 8;
/// The key of FindCoordinator is the name of a group.
const GROUP_KEY: i8 = 0;
/// Whoever commits is no member.
const NO_GENERATION: i32 = -1;
/// How ListGroups calls groups whose members share partitions (`cluster::shares`).
const SHARE: &str = "share";
/// States of a group without members.
const IDLE: [&str; 3] = ["Empty", "Dead", ""];

/// What a group has committed for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The next offset that the group will read.
    pub offset: Offset,
    /// The leader epoch of the record before it, as far as whoever committed told it.
    pub epoch: LeaderEpoch,
    /// What the committer wrote beside it, as it is; `None` for nothing. It is never printed.
    pub metadata: Option<Arc<str>>,
}

/// One group as a coordinator lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Its name.
    pub name: GroupName,
    /// It has members, of whatever protocol.
    pub is_active: bool,
    /// Its members share partitions (KIP-932).
    pub is_share: bool,
}

impl Cluster {
    /// All groups that this broker coordinates and that we may describe.
    pub async fn list_groups(&self, broker: BrokerId) -> Result<Vec<Listing>> {
        let response = self.ask(Target::Broker(broker), &ListGroupsRequest::default()).await?;
        let code = KafkaCode(response.error_code);
        if !code.is_none() {
            let peer = self.peer(Some(broker), "its coordinator".into());
            let kind = Kind::Refused { code, message: None };
            return Err(ClusterError::new(&peer, "ListGroups", kind));
        }
        let listed = response.groups.iter().map(|one| Listing {
            name: GroupName::new(&one.group_id.0),
            is_active: !IDLE.contains(&one.group_state.as_str()),
            is_share: one.group_type.eq_ignore_ascii_case(SHARE),
        });
        Ok(listed.collect())
    }

    /// Who coordinates each of these groups; code 15 says that nobody does now. One request, or one
    /// for each where brokers are older than Kafka 3.0.
    pub async fn find_coordinators(&self, groups: &[GroupName]) -> Result<EachGroup<BrokerId>> {
        let mut found = EachGroup::new();
        let mut left = groups;
        while let Some(first) = left.first() {
            let ask = |version| find_coordinator(version, left);
            let answer = self.ask_as::<FindCoordinatorRequest, _>(Target::Any, ask).await?;
            if answer.coordinators.is_empty() {
                found.insert(first.clone(), coordinator(answer.error_code, answer.node_id.0));
                left = &left[1..];
                continue;
            }
            found.extend(coordinators(&answer));
            left = &[];
        }
        Ok(found)
    }

    /// All that these groups have committed for topics that we may describe, from the broker that
    /// coordinates them. One request, or one for each where brokers are older than Kafka 3.0.
    pub async fn fetch_committed(
        &self,
        coordinator: BrokerId,
        groups: &[GroupName],
    ) -> Result<EachGroup<Committed>> {
        let mut found = EachGroup::new();
        let mut left = groups;
        while let Some(first) = left.first() {
            let ask = |version| offset_fetch(version, left);
            let target = Target::Broker(coordinator);
            let answer = self.ask_as::<OffsetFetchRequest, _>(target, ask).await?;
            if answer.groups.is_empty() {
                let rows = answer.topics.iter().flat_map(|topic| {
                    let name = topic.name.as_str();
                    topic.partitions.iter().map(move |one| {
                        let said = (one.committed_offset, one.committed_leader_epoch);
                        (name, one.partition_index, one.error_code, said, &one.metadata)
                    })
                });
                found.insert(first.clone(), committed(answer.error_code, rows));
                left = &left[1..];
                continue;
            }
            for group in &answer.groups {
                let rows = group.topics.iter().flat_map(|topic| {
                    let name = topic.name.as_str();
                    topic.partitions.iter().map(move |one| {
                        let said = (one.committed_offset, one.committed_leader_epoch);
                        (name, one.partition_index, one.error_code, said, &one.metadata)
                    })
                });
                let name = GroupName::new(&group.group_id.0);
                found.insert(name, committed(group.error_code, rows));
            }
            left = &[];
        }
        Ok(found)
    }

    /// Sets offsets of a group from outside, at its coordinator: with leader epoch -1, since
    /// another cluster's epochs mean nothing here. Refused with code 25 while the group has
    /// members. An `Unknown` error leaves open whether they are set: read them back.
    pub async fn commit_offsets(
        &self,
        coordinator: BrokerId,
        group: &GroupName,
        offsets: &BTreeMap<TopicPartition, (Offset, Option<Arc<str>>)>,
    ) -> Result<Each<()>> {
        let partition = |tp: &TopicPartition, offset: Offset, metadata: &Option<Arc<str>>| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(tp.partition.0)
                .with_committed_offset(offset.get())
                .with_committed_leader_epoch(LeaderEpoch::NONE.0)
                .with_committed_metadata(Some(text(metadata.as_deref().unwrap_or_default())))
        };
        let rows =
            offsets.iter().map(|(tp, (offset, metadata))| (tp, partition(tp, *offset, metadata)));
        let topics = by_topic(rows).into_iter().map(|(name, partitions)| {
            let topic = OffsetCommitRequestTopic::default().with_name(text(name).into());
            topic.with_partitions(partitions)
        });
        let request = OffsetCommitRequest::default()
            .with_group_id(text(group.as_str()).into())
            .with_generation_id_or_member_epoch(NO_GENERATION)
            .with_topics(topics.collect());
        let response = self.ask(Target::Broker(coordinator), &request).await?;
        let rows = response.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|one| (topic.name.as_str(), one.partition_index, one))
        });
        Ok(each(rows.map(|(topic, id, one)| (topic, id, KafkaCode(one.error_code), Some(())))))
    }
}

/// What a group has committed, by partition.
pub type Committed = Each<Commit>;

fn find_coordinator(version: i16, groups: &[GroupName]) -> FindCoordinatorRequest {
    let request = FindCoordinatorRequest::default().with_key_type(GROUP_KEY);
    if version >= MANY_COORDINATORS_FROM {
        let keys = groups.iter().map(|group| text(group.as_str()));
        return request.with_coordinator_keys(keys.collect());
    }
    request.with_key(groups.first().map_or_else(StrBytes::default, |one| text(one.as_str())))
}

fn coordinators(
    answer: &FindCoordinatorResponse,
) -> impl Iterator<Item = (GroupName, std::result::Result<BrokerId, KafkaCode>)> {
    let all = answer.coordinators.iter();
    all.map(|one| (GroupName::new(&one.key), coordinator(one.error_code, one.node_id.0)))
}

fn coordinator(code: i16, node: i32) -> std::result::Result<BrokerId, KafkaCode> {
    let code = KafkaCode(code);
    if code.is_none() { Ok(BrokerId(node)) } else { Err(code) }
}

fn offset_fetch(version: i16, groups: &[GroupName]) -> OffsetFetchRequest {
    let request = OffsetFetchRequest::default();
    if version >= MANY_GROUPS_FROM {
        let groups = groups.iter().map(|group| {
            let group = OffsetFetchRequestGroup::default().with_group_id(group_id(group));
            group.with_topics(None)
        });
        return request.with_groups(groups.collect());
    }
    let group = groups.first().map_or_else(|| text("").into(), group_id);
    request.with_group_id(group).with_topics(None)
}

pub(super) fn group_id(group: &GroupName) -> kafka_protocol::messages::GroupId {
    text(group.as_str()).into()
}

/// Topic, partition, code, offset and epoch, metadata.
type Row<'a> = (&'a str, i32, i16, (i64, i32), &'a Option<StrBytes>);

/// A partition without an offset (-1) has nothing committed.
fn committed<'a>(
    code: i16,
    rows: impl Iterator<Item = Row<'a>>,
) -> std::result::Result<Committed, KafkaCode> {
    let code = KafkaCode(code);
    if !code.is_none() {
        return Err(code);
    }
    let row = |(topic, id, code, (offset, epoch), metadata): Row<'a>| {
        let tp = partition_of(topic, PartitionId(id))?;
        let code = KafkaCode(code);
        if !code.is_none() {
            return Some((tp, Err(code)));
        }
        let metadata = metadata.as_deref().filter(|text| !text.is_empty()).map(Arc::from);
        let offset = Offset::new(offset)?;
        Some((tp, Ok(Commit { offset, epoch: LeaderEpoch(epoch), metadata })))
    };
    Ok(rows.filter_map(row).collect())
}
