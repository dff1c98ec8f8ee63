//! Rules S1 to S5, A3, A4, A6 and A8 of broker-facts: producer state, ends, log starts, versions.
//!
//! It never needs more than one broker.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::*;
use protocol_tests::broker::Build;
use protocol_tests::broker::Version;
use protocol_tests::broker::batch::CONTROL;
use protocol_tests::broker::batch::fix_crc;
use protocol_tests::raw::Raw;

use crate::lab::Lab;
use crate::lab::OK;
use crate::lab::Topic;
use crate::lab::text;

const PID: i64 = 4_611_686_018_427_387_905;
const OUT_OF_ORDER: i16 = 45;
const DAY_MS: i64 = 86_400_000;

fn chain(lab: &Lab, sequence: i32, count: usize) -> Bytes {
    aged(lab, 60_000, sequence, count)
}

fn aged(lab: &Lab, age_ms: i64, sequence: i32, count: usize) -> Bytes {
    Build::plain(lab.now_ms() - age_ms, "r", count).producer(PID, 0, sequence).bytes()
}

pub async fn delete_topic(lab: &Lab, raw: &mut Raw, name: &str) {
    let request = DeleteTopicsRequest::default()
        .with_topic_names(vec![TopicName(text(name))])
        .with_timeout_ms(10_000);
    let answer = raw.call(5, &request).await.unwrap();
    assert_eq!(answer.responses[0].error_code, OK);
    let gone = Topic { name: name.to_owned(), id: uuid::Uuid::nil(), epoch: -1 };
    while lab.list(raw, &gone, -1, -1, -1).await.0 == OK {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub async fn s01_producers_are_described(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    assert_eq!(lab.producers(&mut raw, &topic).await, []);
    let now = lab.now_ms();
    let late = Build::plain(now, "r", 2).producer(PID, 3, 10).bytes();
    let early = Build::plain(now - 5_000, "r", 1).producer(PID, 3, 12).bytes();
    lab.produce(&mut raw, &topic, late).await;
    assert_eq!(lab.producers(&mut raw, &topic).await, [(PID, 3, 11, now + 1)]);
    // of the last batch, so it may go back
    lab.produce(&mut raw, &topic, early).await;
    assert_eq!(lab.producers(&mut raw, &topic).await, [(PID, 3, 12, now - 5_000)]);
}

/// S2: by record time. The lab's brokers check every two seconds.
pub async fn s02_old_records_are_forgotten(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    let batch = aged(lab, 2 * DAY_MS, 0, 2);
    assert_eq!(lab.produce(&mut raw, &topic, batch.clone()).await.base, 0);
    for _ in 0..100 {
        if lab.producers(&mut raw, &topic).await.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(lab.producers(&mut raw, &topic).await, []);
    // the same again is appended a second time
    assert_eq!(lab.produce(&mut raw, &topic, batch).await.base, 2);
}

pub async fn s05_delete_records_keeps_the_state(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    let batch = chain(lab, 0, 4);
    lab.produce(&mut raw, &topic, batch.clone()).await;
    assert_eq!(lab.delete_records(&mut raw, &topic, 4).await, (OK, 4));
    let repeat = lab.produce(&mut raw, &topic, batch).await;
    assert_eq!((repeat.error, repeat.base), (OK, 0));
    assert_eq!(lab.produce(&mut raw, &topic, chain(lab, 4, 1)).await.base, 4);
}

pub async fn a03_refusals_append_nothing_whatever_is_known(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    let control = {
        let mut bytes = chain(lab, 0, 1).to_vec();
        bytes[22] |= CONTROL as u8;
        fix_crc(&mut bytes);
        Bytes::from(bytes)
    };
    let nameless = Build::plain(lab.now_ms(), "r", 1).producer(PID, 0, -1).bytes();
    for batch in [&control, &nameless] {
        assert_eq!(lab.produce(&mut raw, &topic, batch.clone()).await.error, 87);
    }
    lab.produce(&mut raw, &topic, chain(lab, 0, 1)).await;
    for batch in [control, nameless] {
        assert_eq!(lab.produce(&mut raw, &topic, batch).await.error, 87);
    }
    assert_eq!(lab.end(&mut raw, &topic).await, 1);
}

pub async fn a04_ends_and_epochs(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    lab.produce(&mut raw, &topic, chain(lab, 0, 7)).await;
    for replica_id in [-1, -3] {
        let (error, offset, time, epoch) = lab.list(&mut raw, &topic, replica_id, -1, -1).await;
        assert_eq!((error, offset, time, epoch), (OK, 7, -1, topic.epoch), "{replica_id}");
    }
    assert_eq!(lab.list(&mut raw, &topic, -1, topic.epoch, -1).await.0, OK);
    assert_eq!(lab.list(&mut raw, &topic, -1, topic.epoch + 1, -1).await.0, 75);
    assert_eq!(lab.list(&mut raw, &topic, -1, -1, -2).await.1, 0);
    assert_eq!(epoch_end(&mut raw, &topic, -1, topic.epoch).await, (OK, topic.epoch, 7));
    assert_eq!(epoch_end(&mut raw, &topic, -1, topic.epoch + 5).await, (OK, -1, -1));
    assert_eq!(epoch_end(&mut raw, &topic, topic.epoch + 1, topic.epoch).await.0, 75);
}

async fn epoch_end(raw: &mut Raw, topic: &Topic, current: i32, epoch: i32) -> (i16, i32, i64) {
    let partition = offset_for_leader_epoch_request::OffsetForLeaderPartition::default()
        .with_current_leader_epoch(current)
        .with_leader_epoch(epoch);
    let asked = offset_for_leader_epoch_request::OffsetForLeaderTopic::default()
        .with_topic(TopicName(text(&topic.name)))
        .with_partitions(vec![partition]);
    let request = OffsetForLeaderEpochRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![asked]);
    let answer = raw.call(4, &request).await.unwrap();
    let one = &answer.topics[0].partitions[0];
    (one.error_code, one.leader_epoch, one.end_offset)
}

pub async fn a04_lookup_by_time(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    let now = lab.now_ms() - 100_000;
    lab.produce(&mut raw, &topic, Build::plain(now, "r", 5).bytes()).await;
    lab.produce(&mut raw, &topic, Build::fillers(now + 4, 5, None).bytes()).await;
    lab.produce(&mut raw, &topic, Build::plain(now + 50, "r", 5).bytes()).await;
    for (time, offset, found) in
        [(0, 0, now), (now + 3, 3, now + 3), (now + 5, 10, now + 50), (now + 54, 14, now + 54)]
    {
        let answer = lab.list(&mut raw, &topic, -1, -1, time).await;
        assert_eq!((answer.0, answer.1, answer.2), (OK, offset, found), "{}", time - now);
    }
    let nothing = lab.list(&mut raw, &topic, -1, -1, now + 55).await;
    assert_eq!((nothing.0, nothing.1, nothing.2), (OK, -1, -1));
}

pub async fn a06_delete_records(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    lab.produce(&mut raw, &topic, chain(lab, 0, 10)).await;
    assert_eq!(lab.delete_records(&mut raw, &topic, 11).await.0, 1);
    assert_eq!(lab.delete_records(&mut raw, &topic, 4).await, (OK, 4));
    // back is not possible, and not an error
    assert_eq!(lab.delete_records(&mut raw, &topic, 2).await, (OK, 4));
    assert_eq!(lab.list(&mut raw, &topic, -1, -1, -2).await.1, 4);
    assert_eq!(lab.delete_records(&mut raw, &topic, -1).await, (OK, 10));
    assert_eq!(lab.end(&mut raw, &topic).await, 10);
    let compact = lab.topic(&[("cleanup.policy", "compact")]).await;
    lab.produce(&mut raw, &compact, chain(lab, 0, 2)).await;
    assert_eq!(lab.delete_records(&mut raw, &compact, 1).await.0, 44);
}

/// A8: of every API that isolog speaks, the versions that this Kafka advertises.
pub async fn a08_advertised_versions(lab: &Lab) {
    let mut raw = lab.connect().await;
    let answer = raw.call(3, &introduction()).await.unwrap();
    assert_eq!(answer.error_code, OK);
    for (key, low, high) in lab.version.ranges() {
        let told = answer.api_keys.iter().find(|one| one.api_key == key as i16);
        let told = told.map(|one| (one.min_version, one.max_version));
        assert_eq!(told, Some((low, high)), "{key:?}");
    }
}

/// An ApiVersions request that the broker does not speak is answered in version 0, with code 35.
pub async fn a08_unknown_api_versions(lab: &Lab) {
    let mut raw = lab.connect().await;
    raw.send_body(18, 99, &[1, 1, 0]).await.unwrap();
    let mut body = raw.receive_body(18, 99).await.unwrap();
    let answer: ApiVersionsResponse =
        kafka_protocol::protocol::Decodable::decode(&mut body, 0).unwrap();
    assert_eq!(answer.error_code, 35);
    let keys: Vec<_> = answer.api_keys.iter().map(|one| one.api_key).collect();
    assert_eq!(keys, [18]);
    // and the connection goes on
    assert!(raw.call(3, &introduction()).await.is_ok());
}

fn introduction() -> ApiVersionsRequest {
    ApiVersionsRequest::default()
        .with_client_software_name(text("raw"))
        .with_client_software_version(text("1.0"))
}

/// From version 3 on a client that does not say who it is gets 42 and no versions.
pub async fn a08_clients_must_name_themselves(lab: &Lab) {
    for name in ["", "a b", "-a"] {
        let mut raw = lab.connect().await;
        let request = introduction().with_client_software_name(text(name));
        let answer = raw.call(3, &request).await.unwrap();
        assert_eq!((answer.error_code, answer.api_keys.len()), (42, 0), "{name}");
    }
}

/// B11: which configs are a topic's own, and that a bad key fails all of a resource.
pub async fn b11_configs(lab: &Lab) {
    let topic = lab.topic(&[("retention.ms", "123456")]).await;
    let mut raw = lab.connect().await;
    assert_eq!(config(&mut raw, &topic, "retention.ms").await, ("123456".to_owned(), 1));
    let (policy, source) = config(&mut raw, &topic, "cleanup.policy").await;
    assert_eq!((policy.as_str(), source), ("delete", 5));
    let set = [("retention.ms", 0, Some("7")), ("no.such.config", 0, Some("1"))];
    assert_eq!(alter(&mut raw, &topic, &set).await, 40);
    assert_eq!(config(&mut raw, &topic, "retention.ms").await.0, "123456");
    let set = [("retention.ms", 1, None), ("cleanup.policy", 0, Some("compact"))];
    assert_eq!(alter(&mut raw, &topic, &set).await, OK);
    wait_config(&mut raw, &topic, "cleanup.policy", "compact").await;
    assert_eq!(config(&mut raw, &topic, "retention.ms").await, ("604800000".to_owned(), 5));
}

/// Waits until the broker itself obeys a topic config that was set.
async fn wait_config(raw: &mut Raw, topic: &Topic, name: &str, value: &str) {
    for _ in 0..100 {
        if config(raw, topic, name).await == (value.to_owned(), 1) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{name} is {:?}", config(raw, topic, name).await);
}

/// Sets a topic config and waits until it counts.
pub async fn alter_waiting(raw: &mut Raw, topic: &Topic, name: &str, value: &str) {
    assert_eq!(alter(raw, topic, &[(name, 0, Some(value))]).await, OK);
    wait_config(raw, topic, name, value).await;
    // the log learns it a little after the config store
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// B11: `segment.bytes` below 1 MiB is refused from 4.1 on.
pub async fn b11_small_segments(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    let code = alter(&mut raw, &topic, &[("segment.bytes", 0, Some("1000"))]).await;
    assert_eq!(code, if lab.version == Version::V4_3 { 40 } else { OK });
}

async fn alter(raw: &mut Raw, topic: &Topic, set: &[(&str, i8, Option<&str>)]) -> i16 {
    let configs = set.iter().map(|(name, operation, value)| {
        incremental_alter_configs_request::AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    });
    let asked = incremental_alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(&topic.name))
        .with_configs(configs.collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![asked]);
    raw.call(1, &request).await.unwrap().responses[0].error_code
}

async fn config(raw: &mut Raw, topic: &Topic, name: &str) -> (String, i8) {
    let asked = describe_configs_request::DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(&topic.name))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![asked]);
    let answer = raw.call(4, &request).await.unwrap();
    let configs = &answer.results[0].configs;
    let one = configs.iter().find(|one| one.name.as_str() == name).unwrap();
    (one.value.clone().unwrap_or_default().to_string(), one.config_source)
}

/// S3: after a restart only the last batch of an id is remembered, and an old one not at all.
/// Runs last: it restarts the broker.
pub async fn s03_a_restart_thins_the_state(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let old = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    let batches: Vec<_> = (0..3).map(|n| chain(lab, n * 2, 2)).collect();
    for batch in &batches {
        assert_eq!(lab.produce(&mut raw, &topic, batch.clone()).await.error, OK);
    }
    let forgotten = aged(lab, 2 * DAY_MS, 0, 2);
    assert_eq!(lab.produce(&mut raw, &old, forgotten.clone()).await.base, 0);
    lab.restart().await;
    let mut raw = lab.connect().await;
    for topic in [&topic, &old] {
        while lab.list(&mut raw, topic, -1, -1, -1).await.0 != OK {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    assert_eq!(lab.produce(&mut raw, &topic, batches[1].clone()).await.error, OUT_OF_ORDER);
    assert_eq!(lab.produce(&mut raw, &topic, batches[2].clone()).await.base, 4);
    assert_eq!(lab.produce(&mut raw, &topic, chain(lab, 6, 1)).await.base, 6);
    assert_eq!(lab.produce(&mut raw, &old, forgotten).await.base, 2);
}
