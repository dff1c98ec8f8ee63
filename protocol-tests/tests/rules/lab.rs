//! One broker to try rules on, simulated or real, and short words for the usual requests.
//!
//! It never judges: the rules do.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;

use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use protocol_tests::broker::Spec;
use protocol_tests::broker::TestCluster;
use protocol_tests::broker::Version;
use protocol_tests::broker::rights::Right;
use protocol_tests::broker::spec::PORT;
use protocol_tests::net::Net;
use protocol_tests::raw::Raw;
use protocol_tests::real::RealCluster;
use protocol_tests::real::quota_request;
use tokio::net::TcpStream;

use crate::resetting::Resetting;

/// A cluster to try rules on.
pub struct Lab {
    place: Place,
    /// Which Kafka it is or plays.
    pub version: Version,
    made: AtomicU32,
}

enum Place {
    Sim(TestCluster),
    Real(Arc<RealCluster>),
}

/// A topic of one partition, made for one rule.
#[derive(Clone)]
pub struct Topic {
    pub name: String,
    pub id: uuid::Uuid,
    /// The leader's epoch when the topic was made.
    pub epoch: i32,
}

/// What a produce answered for the partition.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    pub error: i16,
    pub base: i64,
    pub time: i64,
}

pub const OK: i16 = 0;
/// TOPIC_ALREADY_EXISTS.
const TOPIC_EXISTS: i16 = 36;

/// ACL words of Kafka: resource types, the pattern, all operations, permissions.
const TOPIC: i8 = 2;
const CLUSTER: i8 = 4;
const LITERAL: i8 = 3;
const ALL: i8 = 2;
const DENY: i8 = 2;
const ALLOW: i8 = 3;

impl Lab {
    pub fn sim(version: Version, brokers: i32) -> Self {
        let net = Net::new(3);
        let base = if brokers == 1 { Spec::single("lab", 3) } else { Spec::triple("lab", 3) };
        let check = ("producer.id.expiration.check.interval.ms".to_owned(), "2000".to_owned());
        let mut spec = Spec { version, ..base };
        spec.configs.extend([check]);
        let cluster = TestCluster::start(&net, spec);
        Self { place: Place::Sim(cluster), version, made: AtomicU32::new(0) }
    }

    pub fn real(version: Version, cluster: Arc<RealCluster>) -> Self {
        Self { place: Place::Real(cluster), version, made: AtomicU32::new(0) }
    }

    /// A connection to broker 1.
    pub async fn connect(&self) -> Raw {
        self.connect_to(1).await
    }

    pub async fn connect_to(&self, broker: i32) -> Raw {
        match &self.place {
            Place::Sim(cluster) => {
                let host = cluster.host(broker);
                Raw::new(cluster.net().connect(&host, PORT).await.unwrap())
            }
            Place::Real(cluster) => {
                let port = cluster.ports()[broker as usize - 1];
                let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                stream.set_nodelay(true).unwrap();
                Raw::new(stream)
            }
        }
    }

    /// A connection to broker 1 that is reset when it is dropped: what the broker has not read
    /// is lost.
    pub async fn connect_resetting(&self) -> Raw {
        match &self.place {
            Place::Sim(cluster) => {
                let stream = cluster.net().connect(&cluster.host(1), PORT).await.unwrap();
                Raw::new(Resetting::new(stream))
            }
            Place::Real(cluster) => {
                let stream = TcpStream::connect(("127.0.0.1", cluster.ports()[0])).await.unwrap();
                stream.set_nodelay(true).unwrap();
                stream.set_zero_linger().unwrap();
                Raw::new(stream)
            }
        }
    }

    /// Elects the first of these, which are the topic's replicas in their new order.
    pub async fn elect(&self, topic: &Topic, order: &[i32]) {
        match &self.place {
            Place::Sim(cluster) => cluster.move_leader(&topic.name, 0, order[0]),
            Place::Real(_) => self.prefer(topic, order).await,
        }
        self.led_topic(&mut self.connect().await, &topic.name, order[0]).await;
    }

    /// Takes a right on a topic away from everybody; brokers may notice a little later.
    pub async fn deny(&self, topic: &str, right: Right) {
        match &self.place {
            Place::Sim(cluster) => cluster.deny(topic, right),
            Place::Real(_) => {
                self.acl((TOPIC, topic), ALL, ALLOW).await;
                self.acl((TOPIC, topic), right as i8, DENY).await;
                if right == Right::Create {
                    // who may create in the cluster needs no right on the topic
                    self.acl((CLUSTER, "kafka-cluster"), ALL, ALLOW).await;
                    self.acl((CLUSTER, "kafka-cluster"), right as i8, DENY).await;
                }
            }
        }
    }

    async fn acl(&self, resource: (i8, &str), operation: i8, permission: i8) {
        let acl = create_acls_request::AclCreation::default()
            .with_resource_type(resource.0)
            .with_resource_name(text(resource.1))
            .with_resource_pattern_type(LITERAL)
            .with_principal(text("User:*"))
            .with_host(text("*"))
            .with_operation(operation)
            .with_permission_type(permission);
        let request = CreateAclsRequest::default().with_creations(vec![acl]);
        let answer = self.connect().await.call(2, &request).await.unwrap();
        assert_eq!(answer.results[0].error_code, OK, "{answer:?}");
    }

    async fn prefer(&self, topic: &Topic, order: &[i32]) {
        let mut raw = self.connect().await;
        let partition = alter_partition_reassignments_request::ReassignablePartition::default()
            .with_replicas(Some(order.iter().copied().map(BrokerId).collect()));
        let asked = alter_partition_reassignments_request::ReassignableTopic::default()
            .with_name(TopicName(text(&topic.name)))
            .with_partitions(vec![partition]);
        let request = AlterPartitionReassignmentsRequest::default()
            .with_timeout_ms(10_000)
            .with_topics(vec![asked]);
        let answer = raw.call(0, &request).await.unwrap();
        assert_eq!(answer.error_code, OK, "{answer:?}");
        assert_eq!(answer.responses[0].partitions[0].error_code, OK, "{answer:?}");
        let asked = elect_leaders_request::TopicPartitions::default()
            .with_topic(TopicName(text(&topic.name)))
            .with_partitions(vec![0]);
        let request = ElectLeadersRequest::default()
            .with_timeout_ms(10_000)
            .with_topic_partitions(Some(vec![asked]));
        let answer = raw.call(2, &request).await.unwrap();
        assert_eq!(answer.error_code, OK, "{answer:?}");
        let code = answer.replica_election_results[0].partition_result[0].error_code;
        // 84: it leads already
        assert!([OK, 84].contains(&code), "{answer:?}");
    }

    /// The cluster's wall clock, in ms.
    pub fn now_ms(&self) -> i64 {
        match &self.place {
            Place::Sim(cluster) => cluster.look(|state| state.now_ms()),
            Place::Real(_) => {
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
                since.as_millis() as i64
            }
        }
    }

    /// Gives every client so many bytes a second of Produce or Fetch; `None` ends it.
    pub async fn quota(&self, key: ApiKey, bytes_per_second: Option<i64>) {
        if let Place::Sim(cluster) = &self.place {
            return cluster.set_quota(key, bytes_per_second);
        }
        let name = if key == ApiKey::Fetch { "consumer_byte_rate" } else { "producer_byte_rate" };
        let request = quota_request(None, name, bytes_per_second.map(|bytes| bytes as f64));
        let answer = self.connect().await.call(1, &request).await.unwrap();
        assert_eq!(answer.entries[0].error_code, OK, "{answer:?}");
    }

    /// Stops broker 1 in order and starts it again.
    pub async fn restart(&self) {
        match &self.place {
            Place::Sim(cluster) => {
                cluster.stop(1);
                cluster.restart(1);
            }
            Place::Real(cluster) => {
                let cluster = cluster.clone();
                let done = tokio::task::spawn_blocking(move || {
                    cluster.term(1).unwrap();
                    cluster.restart(1).unwrap();
                });
                done.await.unwrap();
            }
        }
    }

    /// Kills broker 1 (-9) and starts it again.
    pub async fn crash(&self) {
        match &self.place {
            Place::Sim(cluster) => {
                cluster.kill(1);
                cluster.restart(1);
            }
            Place::Real(cluster) => {
                let cluster = cluster.clone();
                let done = tokio::task::spawn_blocking(move || {
                    cluster.kill(1).unwrap();
                    cluster.restart(1).unwrap();
                });
                done.await.unwrap();
            }
        }
    }

    /// Lets the simulated cleaner run below `upper`; a real one runs by itself.
    pub fn clean(&self, topic: &Topic, upper: i64) {
        if let Place::Sim(cluster) = &self.place {
            cluster.clean(&topic.name, 0, upper);
        }
    }

    /// SIGSTOP.
    pub async fn freeze(&self, broker: i32) {
        match &self.place {
            Place::Sim(cluster) => cluster.freeze(broker),
            Place::Real(cluster) => {
                let cluster = cluster.clone();
                let freeze = move || cluster.freeze(broker as u8).unwrap();
                tokio::task::spawn_blocking(freeze).await.unwrap();
            }
        }
    }

    /// SIGCONT.
    pub async fn thaw(&self, broker: i32) {
        match &self.place {
            Place::Sim(cluster) => cluster.thaw(broker),
            Place::Real(cluster) => {
                let cluster = cluster.clone();
                let thaw = move || cluster.thaw(broker as u8).unwrap();
                tokio::task::spawn_blocking(thaw).await.unwrap();
            }
        }
    }

    /// A fresh topic with these configs, led by broker 1, ready for use.
    pub async fn topic(&self, configs: &[(&str, &str)]) -> Topic {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        self.named_topic(&format!("rule-{number}"), &[1], configs).await
    }

    /// A fresh topic on these brokers, the first one leads.
    pub async fn placed_topic(&self, replicas: &[i32], configs: &[(&str, &str)]) -> Topic {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        self.named_topic(&format!("placed-{number}"), replicas, configs).await
    }

    pub async fn named_topic(&self, name: &str, on: &[i32], configs: &[(&str, &str)]) -> Topic {
        let configs = configs.iter().map(|(name, value)| {
            create_topics_request::CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
        });
        let assignment = create_topics_request::CreatableReplicaAssignment::default()
            .with_broker_ids(on.iter().copied().map(BrokerId).collect());
        let topic = create_topics_request::CreatableTopic::default()
            .with_name(TopicName(text(name)))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(vec![assignment])
            .with_configs(configs.collect());
        let request =
            CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        let mut raw = self.connect().await;
        // a broker that another rule has frozen may be fenced a moment longer than it is frozen
        let until = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let answer = raw.call(7, &request).await.unwrap();
            match answer.topics[0].error_code {
                OK | TOPIC_EXISTS => break,
                _ => assert!(tokio::time::Instant::now() < until, "{:?}", answer.topics[0]),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        self.led_topic(&mut raw, name, on[0]).await
    }

    /// Fresh topics, led by broker 1, whose empty logs start (and end) at an offset. A real broker
    /// is stopped for it: the name of an empty segment says where its log is.
    pub async fn topics_from(&self, start: i64, configs: &[&[(&str, &str)]]) -> Vec<Topic> {
        let mut topics = Vec::new();
        for set in configs {
            topics.push(self.topic(set).await);
        }
        match &self.place {
            Place::Sim(cluster) => {
                topics.iter().for_each(|topic| cluster.retain_from(&topic.name, 0, start));
            }
            Place::Real(cluster) => {
                let (cluster, moved) = (cluster.clone(), topics.clone());
                let done = tokio::task::spawn_blocking(move || {
                    let names: Vec<&str> = moved.iter().map(|topic| &*topic.name).collect();
                    cluster.begin_at(&names, start).unwrap();
                });
                done.await.unwrap();
            }
        }
        for topic in &topics {
            self.leads(topic).await;
            let mut raw = self.connect().await;
            assert_eq!(self.list(&mut raw, topic, -1, -1, -2).await.1, start);
            assert_eq!(self.end(&mut raw, topic).await, start);
        }
        topics
    }

    /// Waits until broker 1 leads the topic (again).
    pub async fn leads(&self, topic: &Topic) {
        self.led_topic(&mut self.connect().await, &topic.name, 1).await;
    }

    async fn led_topic(&self, raw: &mut Raw, name: &str, leader: i32) -> Topic {
        let asked = metadata_request::MetadataRequestTopic::default()
            .with_name(Some(TopicName(text(name))));
        let request = MetadataRequest::default().with_topics(Some(vec![asked]));
        for _ in 0..200 {
            let answer = raw.call(10, &request).await.unwrap();
            let (topic, live) = (&answer.topics[0], answer.brokers.len());
            if let Some(partition) = topic.partitions.first()
                && partition.leader_id.0 == leader
                && partition.isr_nodes.len() == partition.replica_nodes.len()
                && live >= partition.replica_nodes.len()
                && self.answers(name, leader).await
            {
                let epoch = partition.leader_epoch;
                return Topic { name: name.to_owned(), id: topic.topic_id, epoch };
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{name} has no leader");
    }

    /// The leader itself knows that it leads.
    async fn answers(&self, name: &str, leader: i32) -> bool {
        let topic = Topic { name: name.to_owned(), id: uuid::Uuid::nil(), epoch: -1 };
        let mut raw = self.connect_to(leader).await;
        self.list(&mut raw, &topic, -1, -1, -1).await.0 == OK
    }

    /// The newest version of Produce that is spoken.
    pub fn produce_version(&self) -> i16 {
        match self.version {
            Version::V2_8 => 9,
            Version::V3_9 => 11,
            Version::V4_3 => 13,
        }
    }

    /// The newest version of Fetch that is spoken.
    pub fn fetch_version(&self) -> i16 {
        match self.version {
            Version::V2_8 => 12,
            Version::V3_9 => 17,
            Version::V4_3 => 18,
        }
    }

    /// Appends with acks=all and tells the answer.
    pub async fn produce(&self, raw: &mut Raw, topic: &Topic, batch: Bytes) -> Ack {
        let version = self.produce_version();
        let request = self.produce_request(topic, &[Some(batch)], version);
        ack(&raw.call(version, &request).await.unwrap())
    }

    /// Sends an append without waiting.
    pub async fn send(&self, raw: &mut Raw, topic: &Topic, batch: Bytes) {
        let version = self.produce_version();
        raw.send(version, &self.produce_request(topic, &[Some(batch)], version)).await.unwrap();
    }

    /// The answer of an append that was sent.
    pub async fn receive(&self, raw: &mut Raw) -> Ack {
        ack(&raw.receive::<ProduceRequest>(self.produce_version()).await.unwrap())
    }

    /// A request with these entries, all for partition 0.
    pub fn produce_request(
        &self,
        topic: &Topic,
        entries: &[Option<Bytes>],
        version: i16,
    ) -> ProduceRequest {
        let entries = entries.iter().map(|records| {
            produce_request::PartitionProduceData::default().with_records(records.clone())
        });
        let data =
            produce_request::TopicProduceData::default().with_partition_data(entries.collect());
        let data = match version {
            13.. => data.with_topic_id(topic.id),
            _ => data.with_name(TopicName(text(&topic.name))),
        };
        ProduceRequest::default().with_acks(-1).with_timeout_ms(5_000).with_topic_data(vec![data])
    }

    /// Error, offset, timestamp and epoch that ListOffsets answers.
    pub async fn list(
        &self,
        raw: &mut Raw,
        topic: &Topic,
        replica_id: i32,
        epoch: i32,
        timestamp: i64,
    ) -> (i16, i64, i64, i32) {
        let request = list_request(topic, replica_id, epoch, timestamp);
        let answer = raw.call(6, &request).await.unwrap();
        let one = &answer.topics[0].partitions[0];
        (one.error_code, one.offset, one.timestamp, one.leader_epoch)
    }

    /// The greatest timestamp and its offset (ListOffsets 7, timestamp -3).
    pub async fn list_max(&self, raw: &mut Raw, topic: &Topic) -> (i64, i64) {
        let request = list_request(topic, -1, -1, -3);
        let answer = raw.call(7, &request).await.unwrap();
        let one = &answer.topics[0].partitions[0];
        assert_eq!(one.error_code, OK);
        (one.timestamp, one.offset)
    }

    /// The true log end.
    pub async fn end(&self, raw: &mut Raw, topic: &Topic) -> i64 {
        let (error, end, ..) = self.list(raw, topic, -3, -1, -1).await;
        assert_eq!(error, OK);
        end
    }

    /// Id, epoch, last sequence and last timestamp of every producer the broker knows.
    pub async fn producers(&self, raw: &mut Raw, topic: &Topic) -> Vec<(i64, i32, i32, i64)> {
        let asked = describe_producers_request::TopicRequest::default()
            .with_name(TopicName(text(&topic.name)))
            .with_partition_indexes(vec![0]);
        let request = DescribeProducersRequest::default().with_topics(vec![asked]);
        let answer = raw.call(0, &request).await.unwrap();
        let one = &answer.topics[0].partitions[0];
        assert_eq!(one.error_code, OK);
        let known = one.active_producers.iter();
        known
            .map(|p| (p.producer_id.0, p.producer_epoch, p.last_sequence, p.last_timestamp))
            .collect()
    }

    /// The stored bytes from an offset on.
    pub async fn stored(&self, raw: &mut Raw, topic: &Topic, from: i64) -> Bytes {
        let answer = self.fetch(raw, topic, from, 10 << 20).await;
        assert_eq!(answer.error_code, OK);
        answer.records.unwrap_or_default()
    }

    /// One partition of a fetch outside of any session.
    pub async fn fetch(
        &self,
        raw: &mut Raw,
        topic: &Topic,
        from: i64,
        bytes_max: i32,
    ) -> fetch_response::PartitionData {
        let partition = fetch_partition(from, bytes_max);
        let version = self.fetch_version();
        let request = self.fetch_request(topic, partition).with_max_bytes(bytes_max);
        let answer = raw.call(version, &request).await.unwrap();
        assert_eq!(answer.error_code, OK);
        answer.responses[0].partitions[0].clone()
    }

    /// A fetch of one partition outside of any session.
    pub fn fetch_request(
        &self,
        topic: &Topic,
        partition: fetch_request::FetchPartition,
    ) -> FetchRequest {
        let asked = fetch_request::FetchTopic::default().with_partitions(vec![partition]);
        let asked = match self.fetch_version() {
            13.. => asked.with_topic_id(topic.id),
            _ => asked.with_topic(TopicName(text(&topic.name))),
        };
        FetchRequest::default()
            .with_max_wait_ms(100)
            .with_max_bytes(10 << 20)
            .with_session_epoch(-1)
            .with_topics(vec![asked])
    }

    /// Raises the log start; error and new start.
    pub async fn delete_records(&self, raw: &mut Raw, topic: &Topic, to: i64) -> (i16, i64) {
        let partition = delete_records_request::DeleteRecordsPartition::default().with_offset(to);
        let asked = delete_records_request::DeleteRecordsTopic::default()
            .with_name(TopicName(text(&topic.name)))
            .with_partitions(vec![partition]);
        let request =
            DeleteRecordsRequest::default().with_topics(vec![asked]).with_timeout_ms(5_000);
        let answer = raw.call(2, &request).await.unwrap();
        let one = &answer.topics[0].partitions[0];
        (one.error_code, one.low_watermark)
    }
}

fn list_request(topic: &Topic, replica_id: i32, epoch: i32, timestamp: i64) -> ListOffsetsRequest {
    let partition = list_offsets_request::ListOffsetsPartition::default()
        .with_current_leader_epoch(epoch)
        .with_timestamp(timestamp);
    let asked = list_offsets_request::ListOffsetsTopic::default()
        .with_name(TopicName(text(&topic.name)))
        .with_partitions(vec![partition]);
    ListOffsetsRequest::default().with_replica_id(BrokerId(replica_id)).with_topics(vec![asked])
}

/// A partition to fetch, with no epochs.
pub fn fetch_partition(from: i64, bytes_max: i32) -> fetch_request::FetchPartition {
    fetch_request::FetchPartition::default()
        .with_current_leader_epoch(-1)
        .with_fetch_offset(from)
        .with_last_fetched_epoch(-1)
        .with_log_start_offset(-1)
        .with_partition_max_bytes(bytes_max)
}

/// The answer for the one partition of a request.
pub fn ack(answer: &ProduceResponse) -> Ack {
    assert_eq!(answer.responses.len(), 1, "{answer:?}");
    assert_eq!(answer.responses[0].partition_responses.len(), 1, "{answer:?}");
    let one = &answer.responses[0].partition_responses[0];
    Ack { error: one.error_code, base: one.base_offset, time: one.log_append_time_ms }
}

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
