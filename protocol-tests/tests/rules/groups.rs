//! Rule A7 of broker-facts: what becomes of group offsets that are set from outside.
//!
//! It never consumes: members only join, and leave.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::*;
use protocol_tests::broker::Build;
use protocol_tests::broker::Version;
use protocol_tests::raw::Raw;

use crate::lab::Lab;
use crate::lab::OK;
use crate::lab::Topic;
use crate::lab::text;

const UNKNOWN_PARTITION: i16 = 3;
const UNKNOWN_MEMBER: i16 = 25;
/// The coordinator loads, or its topic is being made.
const NOT_YET: [i16; 3] = [14, 15, 16];
const MEMBER: &str = "AAAAAAAAQACAAAAAAAAAAA";

pub(crate) fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

/// A connection to the group's coordinator.
pub(crate) async fn coordinator(lab: &Lab, name: &str) -> Raw {
    let request = FindCoordinatorRequest::default().with_key(text(name));
    for _ in 0..300 {
        let mut raw = lab.connect().await;
        let answer = raw.call(3, &request).await.unwrap();
        let request = offset_fetch(name, &[]);
        if answer.error_code == OK && raw.call(7, &request).await.unwrap().error_code == OK {
            return raw;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nobody coordinates {name}");
}

fn offset_fetch(name: &str, topics: &[(&str, i32)]) -> OffsetFetchRequest {
    let topics = topics.iter().map(|(name, partition)| {
        offset_fetch_request::OffsetFetchRequestTopic::default()
            .with_name(TopicName(text(name)))
            .with_partition_indexes(vec![*partition])
    });
    OffsetFetchRequest::default().with_group_id(group(name)).with_topics(Some(topics.collect()))
}

/// Offset and leader epoch of the topic's first partition.
pub(crate) async fn committed(raw: &mut Raw, name: &str, topic: &Topic) -> (i64, i32) {
    let answer = raw.call(7, &offset_fetch(name, &[(&topic.name, 0)])).await.unwrap();
    let one = &answer.topics[0].partitions[0];
    assert_eq!((answer.error_code, one.error_code), (OK, OK));
    (one.committed_offset, one.committed_leader_epoch)
}

/// Sets an offset as whoever is in no group, and tells the code.
pub(crate) async fn set(
    raw: &mut Raw,
    name: &str,
    at: (&str, i32),
    offset: i64,
    epoch: i32,
) -> i16 {
    let partition = offset_commit_request::OffsetCommitRequestPartition::default()
        .with_partition_index(at.1)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(epoch)
        .with_committed_metadata(Some(text("")));
    let topic = offset_commit_request::OffsetCommitRequestTopic::default()
        .with_name(TopicName(text(at.0)))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group(name))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    loop {
        let answer = raw.call(8, &request).await.unwrap();
        let code = answer.topics[0].partitions[0].error_code;
        if !NOT_YET.contains(&code) {
            return code;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A7: any offset and any epoch of a known partition is stored as it is, beyond the end too.
pub async fn a07_offsets_set_from_outside_are_stored_as_they_are(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    lab.produce(&mut raw, &topic, Build::plain(lab.now_ms(), "r", 5).bytes()).await;
    let mut raw = coordinator(lab, "outside").await;
    assert_eq!(committed(&mut raw, "outside", &topic).await, (-1, -1));
    for (offset, epoch) in [(3, -1), (2, 77), (1_000, 0), (0, -1)] {
        assert_eq!(set(&mut raw, "outside", (&topic.name, 0), offset, epoch).await, OK);
        assert_eq!(committed(&mut raw, "outside", &topic).await, (offset, epoch));
    }
    assert_eq!(set(&mut raw, "outside", (&topic.name, 0), -1, -1).await, OK);
    assert_eq!(committed(&mut raw, "outside", &topic).await.0, -1);
    assert_eq!(set(&mut raw, "outside", (&topic.name, 7), 1, -1).await, UNKNOWN_PARTITION);
    assert_eq!(set(&mut raw, "outside", ("no-such-topic", 0), 1, -1).await, UNKNOWN_PARTITION);
}

/// A7: while a member of either protocol is in the group nobody sets its offsets from outside.
pub async fn a07_an_active_group_refuses(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let place = (topic.name.as_str(), 0);
    let mut raw = coordinator(lab, "classic").await;
    assert_eq!(set(&mut raw, "classic", place, 1, -1).await, OK);
    let member = join(&mut raw, "classic").await;
    assert_eq!(set(&mut raw, "classic", place, 2, -1).await, UNKNOWN_MEMBER);
    assert_eq!(committed(&mut raw, "classic", &topic).await.0, 1);
    let request = LeaveGroupRequest::default().with_group_id(group("classic"));
    let left = raw.call(2, &request.with_member_id(text(&member))).await.unwrap();
    assert_eq!(left.error_code, OK);
    assert_eq!(set(&mut raw, "classic", place, 2, -1).await, OK);
    // the new protocol is on by itself from 4.0 on
    if lab.version == Version::V4_3 {
        assert_eq!(set(&mut raw, "next", place, 1, -1).await, OK);
        heartbeat(&mut raw, "next", &topic, 0).await;
        assert_eq!(set(&mut raw, "next", place, 2, -1).await, UNKNOWN_MEMBER);
        heartbeat(&mut raw, "next", &topic, -1).await;
        assert_eq!(set(&mut raw, "next", place, 2, -1).await, OK);
        assert_eq!(committed(&mut raw, "next", &topic).await, (2, -1));
    }
}

/// Joins by the classic protocol; the member's id.
async fn join(raw: &mut Raw, name: &str) -> String {
    let protocol = join_group_request::JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]));
    let request = JoinGroupRequest::default()
        .with_group_id(group(name))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(30_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    let answer = raw.call(3, &request).await.unwrap();
    assert_eq!(answer.error_code, OK);
    answer.member_id.to_string()
}

/// KIP-848: joins (epoch 0) or leaves (epoch -1).
async fn heartbeat(raw: &mut Raw, name: &str, topic: &Topic, epoch: i32) {
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group(name))
        .with_member_id(text(MEMBER))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(30_000)
        .with_subscribed_topic_names(Some(vec![TopicName(text(&topic.name))]))
        .with_topic_partitions(Some(Vec::new()));
    let answer = raw.call(1, &request).await.unwrap();
    assert_eq!(answer.error_code, OK, "{answer:?}");
}
