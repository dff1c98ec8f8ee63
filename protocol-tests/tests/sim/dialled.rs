//! isolog's own cluster room, dialled into the simulated cluster, in each version it plays.
//!
//! It never repeats the rules of brokers (`rules`): it shows that both hands agree on the bytes.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use isolog::cluster::Cluster;
use isolog::cluster::EndKind;
use isolog::cluster::NewTopic;
use isolog::cluster::Options;
use isolog::cluster::Wanted;
use isolog::ids::Offset;
use isolog::ids::PartitionId;
use isolog::ids::Side;
use isolog::ids::TopicName;
use isolog::ids::TopicPartition;
use isolog::wire::error::KafkaCode;
use protocol_tests::broker::Build;
use protocol_tests::broker::Spec;
use protocol_tests::broker::TestCluster;
use protocol_tests::broker::Version;
use protocol_tests::net::Net;
use protocol_tests::net_dial::NetDial;

fn options(cluster: &TestCluster) -> Options {
    let hosts = cluster.bootstrap();
    let hosts: Vec<String> = hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
    protocol_tests::real::options(Side::Source, &hosts.join(","), Duration::from_secs(3))
}

fn name(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

fn new_topic(retention: &str) -> NewTopic {
    let configs = [("retention.ms".to_owned(), retention.to_owned())].into();
    NewTopic { name: name("orders"), partitions: 3, replicas: Some(3), configs }
}

async fn connect(version: Version) -> (TestCluster, Arc<Cluster>) {
    let net = Net::new(9);
    let cluster = TestCluster::start(&net, Spec { version, ..Spec::triple("dialled", 9) });
    let timeout = Duration::from_secs(3);
    let dial = Arc::new(NetDial { net, client: String::new(), timeout });
    let client = Cluster::connect(options(&cluster), dial, 7).await.unwrap();
    (cluster, client)
}

async fn admin(client: &Cluster) {
    let view = client.describe_cluster().await.unwrap();
    assert_eq!((view.id, view.brokers.len()), (client.id(), 3));
    let wrong = client.create_topics(&[new_topic("soon")], false).await.unwrap();
    assert_eq!(wrong[&name("orders")].as_ref().unwrap_err().code, KafkaCode(40));
    let made = client.create_topics(&[new_topic("123456")], false).await.unwrap();
    let id = *made[&name("orders")].as_ref().unwrap();
    client.refresh(Wanted::All).await.unwrap();
    let topic = client.topic(&name("orders")).unwrap();
    assert_eq!((topic.id, topic.partitions.len()), (id, 3));
    let grown = client.create_partitions(&[(name("orders"), 4)], false).await.unwrap();
    assert_eq!(grown[&name("orders")], Ok(()));
    let orders = name("orders");
    let change = BTreeMap::from([("retention.ms".to_owned(), None)]);
    let changed = client.alter_topic_configs(&[(orders.clone(), change)], false).await.unwrap();
    assert_eq!(changed[&orders], Ok(()));
    let told = client.describe_topic_configs(std::slice::from_ref(&orders), None).await.unwrap();
    assert!(!told[&orders].as_ref().unwrap()["retention.ms"].is_override);
}

async fn ends(cluster: &TestCluster, client: &Cluster) {
    let build = Build::plain(cluster.look(|state| state.now_ms()), "d", 5).producer(44, 0, 9);
    cluster.append("orders", 0, &build);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let tp = TopicPartition { topic: name("orders"), partition: PartitionId(0) };
    client.refresh(Wanted::All).await.unwrap();
    let known = client.partition(&tp).unwrap();
    let (leader, epoch) = (known.leader.unwrap(), known.epoch);
    let five = Offset::new(5).unwrap();
    for kind in [EndKind::LogEnd, EndKind::HighWatermark, EndKind::Stable] {
        let listed = client.list_offsets(leader, &[(tp.clone(), epoch)], kind).await.unwrap();
        assert_eq!(listed[&tp].unwrap().offset, five, "{kind:?}");
    }
    let asked = [(tp.clone(), epoch, epoch)];
    let ended = client.epoch_end_offsets(leader, &asked).await.unwrap()[&tp].unwrap();
    assert_eq!((ended.epoch, ended.end), (epoch, Some(five)));
    let known = client.describe_producers(leader, std::slice::from_ref(&tp)).await.unwrap();
    assert_eq!(known[&tp].as_ref().unwrap().len(), 1);
    let trimmed = client.delete_records(leader, &[(tp.clone(), five)]).await.unwrap();
    assert_eq!(trimmed[&tp], Ok(five));
}

#[tokio::test(start_paused = true)]
async fn every_call_in_every_version() {
    for version in [Version::V2_8, Version::V3_9, Version::V4_3] {
        println!("as {version:?}");
        let (cluster, client) = connect(version).await;
        admin(&client).await;
        ends(&cluster, &client).await;
    }
}
