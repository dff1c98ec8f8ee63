//! Share groups (KIP-932): what becomes of start offsets that are set from outside.
//!
//! It never reads a record: members only join, and leave. It never names a partition that is not
//! there to DescribeShareGroupOffsets: a broker of 4.3.1 does not answer then.

use std::time::Duration;

use kafka_protocol::messages::*;
use protocol_tests::broker::Version;
use protocol_tests::raw::Raw;

use crate::groups::committed;
use crate::groups::coordinator;
use crate::groups::group;
use crate::groups::set as commit;
use crate::lab::Lab;
use crate::lab::OK;
use crate::lab::text;

const UNKNOWN_PARTITION: i16 = 3;
const INVALID_GROUP: i16 = 24;
const NON_EMPTY: i16 = 68;
const OTHER_KIND: i16 = 69;
/// The coordinator loads, or its topic is being made.
const NOT_YET: [i16; 3] = [14, 15, 16];
const MEMBER: &str = "AAAAAAAAQACAAAAAAAAAAA";

/// All that a share group has: topic, partition, start.
async fn starts(raw: &mut Raw, name: &str) -> Vec<(String, i32, i64)> {
    let asked =
        describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup::default()
            .with_group_id(group(name))
            .with_topics(None);
    let request = DescribeShareGroupOffsetsRequest::default().with_groups(vec![asked]);
    let answer = raw.call(0, &request).await.unwrap();
    assert_eq!(answer.groups[0].error_code, OK, "{answer:?}");
    let mut rows = Vec::new();
    for topic in &answer.groups[0].topics {
        for one in &topic.partitions {
            assert_eq!(one.error_code, OK, "{answer:?}");
            rows.push((topic.topic_name.to_string(), one.partition_index, one.start_offset));
        }
    }
    rows.sort();
    rows
}

/// Sets starts from outside: the group's code, and that of each partition.
async fn set(raw: &mut Raw, name: &str, at: &[(&str, i32, i64)]) -> (i16, Vec<i16>) {
    let topics = at.iter().map(|(topic, partition, start)| {
        let one =
            alter_share_group_offsets_request::AlterShareGroupOffsetsRequestPartition::default()
                .with_partition_index(*partition)
                .with_start_offset(*start);
        alter_share_group_offsets_request::AlterShareGroupOffsetsRequestTopic::default()
            .with_topic_name(TopicName(text(topic)))
            .with_partitions(vec![one])
    });
    let request = AlterShareGroupOffsetsRequest::default().with_group_id(group(name));
    let request = request.with_topics(topics.collect());
    loop {
        let answer = raw.call(0, &request).await.unwrap();
        let each = answer.responses.iter().flat_map(|topic| &topic.partitions);
        let each: Vec<i16> = each.map(|one| one.error_code).collect();
        if !NOT_YET.contains(&answer.error_code) && !each.iter().any(|one| NOT_YET.contains(one)) {
            return (answer.error_code, each);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Joins (epoch 0) or leaves (epoch -1); the code.
async fn heartbeat(raw: &mut Raw, name: &str, topic: &str, epoch: i32) -> i16 {
    let request = ShareGroupHeartbeatRequest::default()
        .with_group_id(group(name))
        .with_member_id(text(MEMBER))
        .with_member_epoch(epoch)
        .with_subscribed_topic_names(Some(vec![TopicName(text(topic))]));
    raw.call(1, &request).await.unwrap().error_code
}

/// What ListGroups says of a group: its protocol type, state and type; `None` for none.
async fn listed(raw: &mut Raw, name: &str) -> Option<[String; 3]> {
    let answer = raw.call(5, &ListGroupsRequest::default()).await.unwrap();
    let one = answer.groups.iter().find(|one| one.group_id.0.as_str() == name)?;
    Some([&one.protocol_type, &one.group_state, &one.group_type].map(ToString::to_string))
}

/// Any start of a known partition is stored as it is, beyond the end too, and makes the group.
pub async fn kip932_starts_set_from_outside_are_stored_as_they_are(lab: &Lab) {
    if lab.version != Version::V4_3 {
        return;
    }
    let topic = lab.topic(&[]).await.name;
    let mut raw = coordinator(lab, "shared").await;
    assert_eq!(starts(&mut raw, "shared").await, []);
    assert_eq!(set(&mut raw, "shared", &[("no-such-topic", 0, 1)]).await, (OK, vec![3]));
    assert_eq!(set(&mut raw, "shared", &[]).await, (OK, vec![]));
    assert_eq!(listed(&mut raw, "shared").await, None, "nothing was stored");
    for start in [3, 0, 1_000, -1, -5, 7] {
        assert_eq!(set(&mut raw, "shared", &[(&topic, 0, start)]).await, (OK, vec![OK]));
        assert_eq!(starts(&mut raw, "shared").await, [(topic.clone(), 0, start)]);
    }
    let share = ["share", "Empty", "share"].map(str::to_owned);
    assert_eq!(listed(&mut raw, "shared").await, Some(share));
    let both = [("no-such-topic", 0, 1), (topic.as_str(), 0, 8), (topic.as_str(), 7, 1)];
    let codes = vec![UNKNOWN_PARTITION, OK, UNKNOWN_PARTITION];
    assert_eq!(set(&mut raw, "shared", &both).await, (OK, codes));
    assert_eq!(starts(&mut raw, "shared").await, [(topic.clone(), 0, 8)]);
    assert_eq!(set(&mut raw, "", &[(&topic, 0, 8)]).await, (INVALID_GROUP, vec![]));
}

/// Nobody sets the start of a share group with members.
pub async fn kip932_an_active_share_group_refuses(lab: &Lab) {
    if lab.version != Version::V4_3 {
        return;
    }
    let topic = lab.topic(&[]).await.name;
    let mut raw = coordinator(lab, "sharing").await;
    assert_eq!(heartbeat(&mut raw, "sharing", &topic, 0).await, OK);
    assert_eq!(set(&mut raw, "sharing", &[(&topic, 0, 1)]).await, (NON_EMPTY, vec![]));
    assert_eq!(set(&mut raw, "sharing", &[]).await, (NON_EMPTY, vec![]));
    let share = ["share", "Stable", "share"].map(str::to_owned);
    assert_eq!(listed(&mut raw, "sharing").await, Some(share));
    assert_eq!(heartbeat(&mut raw, "sharing", &topic, -1).await, OK);
    // the partition has a place, and no start: nobody has read yet
    for _ in 0..100 {
        if !starts(&mut raw, "sharing").await.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(starts(&mut raw, "sharing").await, [(topic.clone(), 0, -1)]);
    assert_eq!(set(&mut raw, "sharing", &[(&topic, 0, 2)]).await, (OK, vec![OK]));
    assert_eq!(starts(&mut raw, "sharing").await, [(topic.clone(), 0, 2)]);
}

/// A group of another kind has nothing where it is read, and refuses to be set, members or not.
pub async fn kip932_groups_of_other_kinds_refuse(lab: &Lab) {
    if lab.version != Version::V4_3 {
        return;
    }
    let topic = lab.topic(&[]).await;
    let mut raw = coordinator(lab, "plain").await;
    assert_eq!(commit(&mut raw, "plain", (&topic.name, 0), 4, -1).await, OK);
    assert_eq!(starts(&mut raw, "plain").await, []);
    assert_eq!(set(&mut raw, "plain", &[(&topic.name, 0, 1)]).await, (OTHER_KIND, vec![]));
    assert_eq!(heartbeat(&mut raw, "plain", &topic.name, 0).await, OTHER_KIND);
    assert_eq!(committed(&mut raw, "plain", &topic).await.0, 4);
    let mut raw = coordinator(lab, "apart").await;
    assert_eq!(set(&mut raw, "apart", &[(&topic.name, 0, 5)]).await, (OK, vec![OK]));
    assert_eq!(committed(&mut raw, "apart", &topic).await, (-1, -1));
    for epoch in [0, -1] {
        assert_eq!(commit(&mut raw, "apart", (&topic.name, 0), 1, -1).await, OTHER_KIND);
        let unknown = commit(&mut raw, "apart", ("no-such-topic", 0), 1, -1).await;
        assert_eq!(unknown, UNKNOWN_PARTITION);
        assert_eq!(heartbeat(&mut raw, "apart", &topic.name, epoch).await, OK);
    }
    assert_eq!(starts(&mut raw, "apart").await, [(topic.name.clone(), 0, 5)]);
}
