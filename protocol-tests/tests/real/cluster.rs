//! The cluster room against stock brokers: every typed call, on each supported version.
//!
//! These tests never skip: without Kafka they fail and say what is missing.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use isolog::cluster::Cluster;
use isolog::cluster::EndKind;
use isolog::cluster::NewTopic;
use isolog::cluster::Use;
use isolog::cluster::Wanted;
use isolog::cluster::dial::TcpDial;
use isolog::ids::BrokerId;
use isolog::ids::LeaderEpoch;
use isolog::ids::Offset;
use isolog::ids::PartitionId;
use isolog::ids::Side;
use isolog::ids::TopicId;
use isolog::ids::TopicName;
use isolog::ids::TopicPartition;
use isolog::wire::error::KafkaCode;
use isolog::wire::error::Remedy;
use protocol_tests::real::Load;
use protocol_tests::real::LoadSpec;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::options;
use protocol_tests::real::room;

const DIAL: Duration = Duration::from_secs(3);

async fn connect(bootstrap: &str) -> Arc<Cluster> {
    let dial = Arc::new(TcpDial { timeout: DIAL });
    Cluster::connect(options(Side::Source, bootstrap, DIAL), dial, 7).await.unwrap()
}

fn name(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: name(topic), partition: PartitionId(partition) }
}

fn new_topic(topic: &str, partitions: i32, configs: &[(&str, &str)]) -> NewTopic {
    let configs = configs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    NewTopic { name: name(topic), partitions, replicas: Some(1), configs }
}

async fn topics(cluster: &Cluster) {
    let made = cluster
        .create_topics(
            &[
                new_topic("orders", 3, &[("retention.ms", "123456")]),
                new_topic("wrong", 1, &[("retention.ms", "soon")]),
            ],
            false,
        )
        .await
        .unwrap();
    let id = *made[&name("orders")].as_ref().unwrap();
    assert_ne!(id, TopicId::NIL);
    let refusal = made[&name("wrong")].as_ref().unwrap_err();
    assert_eq!((refusal.code, refusal.remedy()), (KafkaCode(40), Remedy::Halt), "{refusal}");
    let again = cluster.create_topics(&[new_topic("orders", 3, &[])], false).await.unwrap();
    assert_eq!(again[&name("orders")].as_ref().unwrap_err().code, KafkaCode(36));

    // the controller answers a moment before the broker knows the topic
    let topic = loop {
        cluster.refresh(Wanted::Topics(&[name("orders"), name("absent")])).await.unwrap();
        let topic = cluster.topic(&name("orders")).unwrap();
        if topic.error != KafkaCode(3) {
            break topic;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!((topic.id, topic.partitions.len(), topic.is_internal), (id, 3, false));
    assert_eq!(cluster.topic(&name("absent")).unwrap().error, KafkaCode(3));
    cluster.refresh(Wanted::All).await.unwrap();
    assert!(cluster.topic(&name("absent")).is_none(), "asking for a topic does not make it");

    let grown = cluster.create_partitions(&[(name("orders"), 4)], false).await.unwrap();
    assert_eq!(grown[&name("orders")], Ok(()));
    let shrunk = cluster.create_partitions(&[(name("orders"), 2)], false).await.unwrap();
    assert_eq!(shrunk[&name("orders")].as_ref().unwrap_err().code, KafkaCode(37));
}

async fn configs(cluster: &Cluster) {
    let orders = name("orders");
    let keys = ["retention.ms", "cleanup.policy"];
    let told = async || {
        let told = cluster.describe_topic_configs(std::slice::from_ref(&orders), Some(&keys)).await;
        told.unwrap()[&orders].clone().unwrap()
    };
    let before = told().await;
    assert_eq!(before.len(), 2);
    assert_eq!(before["retention.ms"].value.as_deref(), Some("123456"));
    assert!(before["retention.ms"].is_override && !before["cleanup.policy"].is_override);

    let change = BTreeMap::from([
        ("retention.ms".to_owned(), None),
        ("cleanup.policy".to_owned(), Some("compact".to_owned())),
    ]);
    let changed = cluster.alter_topic_configs(&[(orders.clone(), change)], false).await.unwrap();
    assert_eq!(changed[&orders], Ok(()));
    // the broker that answers may learn of the change a moment later
    for _ in 0..600 {
        if told().await["cleanup.policy"].is_override {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let after = told().await;
    assert!(!after["retention.ms"].is_override, "{after:?}");
    assert_eq!(after["cleanup.policy"].value.as_deref(), Some("compact"));
    let all = cluster.describe_topic_configs(std::slice::from_ref(&orders), None).await.unwrap();
    assert!(all[&orders].as_ref().unwrap().len() > 15);

    let broker = cluster.look(|metadata| metadata.brokers().next().unwrap().id);
    let keys = ["message.max.bytes"];
    let told = cluster.describe_broker_configs(broker, Some(&keys)).await.unwrap().unwrap();
    assert_eq!(told["message.max.bytes"].value.as_deref(), Some("1048588"));
}

async fn ends(cluster: &Cluster, topic: &str, records: u64) {
    cluster.refresh(Wanted::All).await.unwrap();
    let known = cluster.topic(&name(topic)).unwrap();
    let leader = known.partitions[&PartitionId(0)].leader.unwrap();
    let asked: Vec<_> =
        known.partitions.iter().map(|(id, known)| (tp(topic, id.0), known.epoch)).collect();
    let list = async |kind: EndKind| cluster.list_offsets(leader, &asked, kind).await.unwrap();
    let start = list(EndKind::Start).await;
    let log_end = list(EndKind::LogEnd).await;
    assert_eq!((start.len(), log_end.len()), (asked.len(), asked.len()));
    let sum: u64 = asked
        .iter()
        .map(|(tp, _)| start[tp].unwrap().offset.distance_to(log_end[tp].unwrap().offset))
        .sum();
    assert_eq!(sum, records);
    for kind in [EndKind::HighWatermark, EndKind::Stable] {
        let listed = list(kind).await;
        for (tp, _) in &asked {
            assert_eq!(listed[tp].unwrap().offset, log_end[tp].unwrap().offset, "{kind:?} {tp}");
        }
    }
    let ahead = [(tp(topic, 0), LeaderEpoch(1000)), (tp(topic, 99), LeaderEpoch::NONE)];
    let refused = cluster.list_offsets(leader, &ahead, EndKind::LogEnd).await.unwrap();
    assert_eq!(refused[&ahead[0].0], Err(KafkaCode(75)));
    assert_eq!(refused[&ahead[1].0], Err(KafkaCode(3)));

    let (first, epoch) = asked[0].clone();
    let ended = cluster.epoch_end_offsets(leader, &[(first.clone(), epoch, epoch)]).await.unwrap();
    let ended = ended[&first].unwrap();
    assert_eq!((ended.epoch, ended.end), (epoch, Some(log_end[&first].unwrap().offset)));

    let partitions: Vec<_> = asked.iter().map(|(tp, _)| tp.clone()).collect();
    let producers = cluster.describe_producers(leader, &partitions).await.unwrap();
    let states: Vec<_> = producers.values().flat_map(|one| one.clone().unwrap()).collect();
    assert!(!states.is_empty());
    assert!(states.iter().all(|one| one.last_sequence.is_some() && one.id.0 >= 0), "{states:?}");

    let end = log_end[&first].unwrap().offset;
    let trimmed = cluster.delete_records(leader, &[(first.clone(), end)]).await.unwrap();
    assert_eq!(trimmed[&first], Ok(end));
    assert_eq!(list(EndKind::Start).await[&first].unwrap().offset, end);
    let beyond = [(first.clone(), Offset::new(end.get() + 1).unwrap())];
    let refused = cluster.delete_records(leader, &beyond).await.unwrap();
    assert_eq!(refused[&first], Err(KafkaCode(1)));
}

fn every_call(version: &str) {
    let _room = room(1);
    let real = RealCluster::start(RealSpec::new(version, 1)).unwrap();
    let spec = LoadSpec { records: Some(500), ..LoadSpec::five_codecs("load", 2, 1) };
    let loaded = Load::start(real.bootstrap(), &spec).unwrap().wait().unwrap();
    let topic_names = spec.names();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let cluster = connect(real.bootstrap()).await;
        assert!(!cluster.id().0.is_empty());
        let view = cluster.describe_cluster().await.unwrap();
        assert_eq!((view.id, view.brokers.len()), (cluster.id(), 1));
        topics(&cluster).await;
        configs(&cluster).await;
        let mut records = 0;
        for topic in &topic_names {
            let known = cluster.topic(&name(topic)).unwrap();
            let leader = known.partitions[&PartitionId(0)].leader.unwrap();
            let asked: Vec<_> =
                known.partitions.iter().map(|(id, one)| (tp(topic, id.0), one.epoch)).collect();
            let listed = cluster.list_offsets(leader, &asked, EndKind::LogEnd).await.unwrap();
            let topic_records = listed.values().map(|end| end.unwrap().offset.get() as u64).sum();
            ends(&cluster, topic, topic_records).await;
            records += topic_records;
        }
        assert_eq!(records, loaded.records);
        let broker = cluster.look(|metadata| metadata.brokers().next().unwrap().id);
        let mut lane = cluster.open(broker, Use::Append).await.unwrap();
        assert!(lane.is_alive().await);
        let gone = cluster.open(BrokerId(77), Use::Append).await.err().unwrap();
        assert_eq!(gone.remedy(), Remedy::Refresh, "{gone}");
        drop(real);
        for _ in 0..100 {
            if !lane.is_alive().await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let closed = lane.turn().await.unwrap_err();
        assert_eq!(closed.remedy(), Remedy::Redial, "{closed}");
        let refused = cluster.refresh(Wanted::All).await.unwrap_err();
        assert!(refused.to_string().contains("is the broker up"), "{refused}");
    });
}

#[test]
fn every_call_on_4_3_1() {
    every_call("4.3.1");
}

#[test]
fn every_call_on_3_9_1() {
    every_call("3.9.1");
}

/// 2.8's KRaft is a preview without producers and partition growth: the calls that it has.
#[test]
fn the_calls_that_a_2_8_2_preview_has() {
    let _room = room(1);
    let real = RealCluster::start(RealSpec::new("2.8.2", 1)).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let cluster = connect(real.bootstrap()).await;
        let view = cluster.describe_cluster().await.unwrap();
        assert_eq!((view.id, view.brokers.len()), (cluster.id(), 1));
        let made = cluster.create_topics(&[new_topic("orders", 2, &[])], false).await.unwrap();
        let id = *made[&name("orders")].as_ref().unwrap();
        cluster.refresh(Wanted::All).await.unwrap();
        let topic = cluster.topic(&name("orders")).unwrap();
        assert_eq!((topic.id, topic.partitions.len()), (id, 2));
        let first = &topic.partitions[&PartitionId(0)];
        let (leader, asked) = (first.leader.unwrap(), [(tp("orders", 0), first.epoch)]);
        // the broker tells a leader a moment before it leads: 75 until then
        for _ in 0..600 {
            let listed = cluster.list_offsets(leader, &asked, EndKind::Start).await.unwrap();
            if listed[&asked[0].0] != Err(KafkaCode(75)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for kind in [EndKind::Start, EndKind::HighWatermark, EndKind::Stable, EndKind::LogEnd] {
            let listed = cluster.list_offsets(leader, &asked, kind).await.unwrap();
            assert_eq!(listed[&asked[0].0].unwrap().offset, Offset::ZERO, "{kind:?}");
        }
        let partitions = [tp("orders", 0), tp("orders", 1)];
        let producers = cluster.describe_producers(leader, &partitions).await.unwrap();
        assert_eq!(producers[&partitions[0]], Ok(vec![]));
        let told = cluster.describe_topic_configs(&[name("orders")], None).await.unwrap();
        assert!(told[&name("orders")].as_ref().unwrap().contains_key("retention.ms"));
        let trimmed = cluster.delete_records(leader, &[(tp("orders", 0), Offset::ZERO)]).await;
        assert_eq!(trimmed.unwrap()[&partitions[0]], Ok(Offset::ZERO));
    });
}
