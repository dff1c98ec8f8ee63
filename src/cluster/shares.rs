//! Share groups (KIP-932): where they start, and setting that from outside.
//!
//! It never joins one, and never asks by topic: a broker of 4.3.1 does not answer at all where a
//! partition is named that its topic has not.
//!
//! ```text
//!  of a partition     ack'd ── start ── in flight, ack'd out of order, ack'd last ── end
//!                                └─ all that is told, and all that can be set
//! ```
//!
//! The start is told as it was written last, which is with an acknowledgement and before that
//! counts: of a group that has read all and rests it is where the last acknowledged lot began, and
//! of one that has acknowledged nothing it is nowhere. Version 1 tells how much of what lies behind
//! it is not acknowledged; the message library does not know it.
//!
//! A start that is set makes the group, where there is none, and all between start and end is
//! acquired again. It is stored as it is, beyond the log's end and below 0 too. No start of an
//! empty group is ever forgotten, as offsets are after `offsets.retention.minutes`. All of it is
//! answered by the group's coordinator, needs the rights that offsets need, and was tried on 4.3.1
//! (`tests/rules/shares`, `tests/real/shares`).

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::AlterShareGroupOffsetsRequest;
use kafka_protocol::messages::DescribeShareGroupOffsetsRequest;
use kafka_protocol::messages::alter_share_group_offsets_request as alter;
use kafka_protocol::messages::describe_share_group_offsets_request as describe;
use kafka_protocol::messages::describe_share_group_offsets_response as described;

use crate::cluster::Cluster;
use crate::cluster::Target;
use crate::cluster::call::by_topic;
use crate::cluster::call::partition_of;
use crate::cluster::call::text;
use crate::cluster::ends::Each;
use crate::cluster::ends::each;
use crate::cluster::error::Kind;
use crate::cluster::error::Result;
use crate::cluster::groups::Commit;
use crate::cluster::groups::Committed;
use crate::cluster::groups::EachGroup;
use crate::cluster::groups::group_id;
use crate::ids::BrokerId;
use crate::ids::GroupName;
use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TopicPartition;
use crate::wire::error::KafkaCode;

/// UNSUPPORTED_VERSION: the broker has no share groups. So it answers itself where the feature
/// `share.version` is 0, and so we say for one that does not have the APIs (older than Kafka 4.1).
pub const NO_SHARES: KafkaCode = KafkaCode(35);

impl Cluster {
    /// Where these share groups start in all topics that we may describe, from the broker that
    /// coordinates them. A group that is none, or is no share group, has nothing: that is no error.
    pub async fn fetch_share_starts(
        &self,
        coordinator: BrokerId,
        groups: &[GroupName],
    ) -> Result<EachGroup<Committed>> {
        if groups.is_empty() {
            return Ok(EachGroup::new());
        }
        let asked = groups.iter().map(|group| {
            let asked = describe::DescribeShareGroupOffsetsRequestGroup::default();
            asked.with_group_id(group_id(group)).with_topics(None)
        });
        let request = DescribeShareGroupOffsetsRequest::default().with_groups(asked.collect());
        let answer = match self.ask(Target::Broker(coordinator), &request).await {
            Ok(answer) => answer,
            Err(error) if matches!(error.kind, Kind::Version(_)) => {
                return Ok(groups.iter().map(|group| (group.clone(), Err(NO_SHARES))).collect());
            }
            Err(error) => return Err(error),
        };
        let groups = answer.groups.iter();
        Ok(groups.map(|group| (GroupName::new(&group.group_id.0), starts(group))).collect())
    }

    /// Sets where a share group starts, at its coordinator, over its further connection of that
    /// number: one request speaks of one group. Refused as a whole with code 68 while the group has
    /// members, and with 69 where a group of that name is of another kind. An `Unknown` error
    /// leaves open whether it is set: read it back.
    pub async fn set_share_starts(
        &self,
        (coordinator, number): (BrokerId, u8),
        group: &GroupName,
        starts: &BTreeMap<TopicPartition, (Offset, Option<Arc<str>>)>,
    ) -> Result<std::result::Result<Each<()>, KafkaCode>> {
        let partition = |tp: &TopicPartition, start: Offset| {
            alter::AlterShareGroupOffsetsRequestPartition::default()
                .with_partition_index(tp.partition.0)
                .with_start_offset(start.get())
        };
        let rows = starts.iter().map(|(tp, (start, _))| (tp, partition(tp, *start)));
        let topics = by_topic(rows).into_iter().map(|(name, partitions)| {
            let topic = alter::AlterShareGroupOffsetsRequestTopic::default();
            topic.with_topic_name(text(name).into()).with_partitions(partitions)
        });
        let request = AlterShareGroupOffsetsRequest::default().with_group_id(group_id(group));
        let request = request.with_topics(topics.collect());
        let answer = match self.ask(Target::Further(coordinator, number), &request).await {
            Ok(answer) => answer,
            Err(error) if matches!(error.kind, Kind::Version(_)) => return Ok(Err(NO_SHARES)),
            Err(error) => return Err(error),
        };
        let code = KafkaCode(answer.error_code);
        if !code.is_none() {
            return Ok(Err(code));
        }
        let rows = answer.responses.iter().flat_map(|topic| {
            topic.partitions.iter().map(|one| (topic.topic_name.as_str(), one.partition_index, one))
        });
        let rows = rows.map(|(topic, id, one)| (topic, id, KafkaCode(one.error_code), Some(())));
        Ok(Ok(each(rows)))
    }
}

/// A partition without a start (-1) has nothing: the group's `share.auto.offset.reset` decides when
/// a member comes to it. The epoch that is told is the partition's, and says nothing of who set the
/// start.
fn starts(
    group: &described::DescribeShareGroupOffsetsResponseGroup,
) -> std::result::Result<Committed, KafkaCode> {
    let code = KafkaCode(group.error_code);
    if !code.is_none() {
        return Err(code);
    }
    let rows = group.topics.iter().flat_map(|topic| {
        let name = topic.topic_name.as_str();
        topic.partitions.iter().filter_map(move |one| {
            let tp = partition_of(name, PartitionId(one.partition_index))?;
            let code = KafkaCode(one.error_code);
            if !code.is_none() {
                return Some((tp, Err(code)));
            }
            let offset = Offset::new(one.start_offset)?;
            Some((tp, Ok(Commit { offset, epoch: LeaderEpoch::NONE, metadata: None })))
        })
    });
    Ok(rows.collect())
}
