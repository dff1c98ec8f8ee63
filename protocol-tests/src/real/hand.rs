//! A hand on a real cluster: makes, deletes and fills topics, and reads whole logs batch by batch.
//!
//! It never uses isolog, keeps no connection, and never retries but while leaders are found.

mod rights;
mod writers;

use std::thread::sleep;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::CreatePartitionsRequest;
use kafka_protocol::messages::CreateTopicsRequest;
use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::DeleteTopicsRequest;
use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::ListOffsetsRequest;
use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::messages::MetadataResponse;
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::TransactionalId;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopicConfig;
use kafka_protocol::messages::delete_records_request::DeleteRecordsPartition;
use kafka_protocol::messages::delete_records_request::DeleteRecordsTopic;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_request::FetchTopic;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::AlterableConfig;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_request::ListOffsetsTopic;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_request::TopicProduceData;
use kafka_protocol::protocol::Request;
use kafka_protocol::protocol::StrBytes;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::RealError;
use super::quota_request;
use crate::broker::batch::Build;
use crate::broker::batch::HEADER_BYTES;
use crate::broker::batch::Header;
use crate::broker::batch::PREFIX_BYTES;
use crate::broker::direct::Dump;
use crate::broker::direct::Stored;
use crate::raw::Raw;

/// For how long leaders are looked for.
const LEADER_TRIES: u32 = 100;
/// The same where the topic is there, and a leader is elected.
const ELECTION_TRIES: u32 = 900;
/// The pause between two such looks.
const LEADER_PAUSE: Duration = Duration::from_millis(100);
/// What one fetch asks for.
const FETCH_BYTES: i32 = 16 << 20;
/// Where the lower half of a batch's attributes stands, and its bit for transactions.
const ATTRIBUTES_LOW: usize = 22;
const TRANSACTIONAL_BIT: u8 = 0x10;
/// The deadline of what a broker does for us.
const TIMEOUT_MS: i32 = 10_000;
/// Kafka's code.
const TOPIC_ALREADY_EXISTS: i16 = 36;
const INVALID_REPLICATION_FACTOR: i16 = 38;
/// Kafka's number for the resource type topic.
pub const TOPIC: i8 = 2;
/// Kafka's number for the resource type cluster.
pub const CLUSTER: i8 = 4;
/// ACL words of Kafka: a literal pattern, a prefix, allow.
pub const LITERAL: i8 = 3;
/// See `LITERAL`.
pub const PREFIXED: i8 = 4;
const ALLOW: i8 = 3;

/// ACL operation numbers of Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Operation {
    /// Read.
    Read = 3,
    /// Write.
    Write = 4,
    /// Create.
    Create = 5,
    /// Delete.
    Delete = 6,
    /// Alter.
    Alter = 7,
    /// Describe.
    Describe = 8,
    /// ClusterAction.
    ClusterAction = 9,
    /// DescribeConfigs.
    DescribeConfigs = 10,
    /// AlterConfigs.
    AlterConfigs = 11,
}

/// A client of one cluster; every question takes a connection of its own.
pub struct Hand {
    runtime: Runtime,
    bootstrap: Vec<String>,
}

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_string()))
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

fn refused(what: &str, code: i16) -> Result<(), RealError> {
    if code == 0 { Ok(()) } else { Err(RealError::new(format!("{what}: Kafka error {code}"))) }
}

impl Hand {
    /// A client of the cluster behind `host:port,host:port`.
    pub fn new(bootstrap: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime of one thread starts");
        Self { runtime, bootstrap: bootstrap.split(',').map(String::from).collect() }
    }

    fn call<R: Request>(
        &self,
        address: &str,
        version: i16,
        request: &R,
    ) -> Result<R::Response, RealError> {
        let answer = self.runtime.block_on(async {
            let mut raw = Raw::new(TcpStream::connect(address).await?);
            raw.call(version, request).await
        });
        answer.map_err(|e| RealError::new(format!("{address}, api {}: {e}", R::KEY)))
    }

    /// Asks any broker something for which there is no word here.
    pub fn ask_any<R: Request>(&self, version: i16, request: &R) -> Result<R::Response, RealError> {
        self.ask(version, request)
    }

    /// Asks the first address that answers.
    fn ask<R: Request>(&self, version: i16, request: &R) -> Result<R::Response, RealError> {
        let mut last = RealError::new("no address");
        for address in &self.bootstrap {
            match self.call(address, version, request) {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn metadata(&self, topic: &str) -> Result<MetadataResponse, RealError> {
        let topics = vec![MetadataRequestTopic::default().with_name(Some(name(topic)))];
        let request = MetadataRequest::default()
            .with_topics(Some(topics))
            .with_allow_auto_topic_creation(false);
        self.ask(9, &request)
    }

    /// Asks the leader of a partition; `code` takes its error out of the answer, and leadership
    /// on the move is waited for.
    fn ask_leader<R: Request>(
        &self,
        (topic, partition): (&str, i32),
        version: i16,
        request: &R,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response, RealError> {
        let mut last = RealError::new(format!("{topic}-{partition} has no leader"));
        let mut absent = 0;
        for _ in 0..ELECTION_TRIES {
            // one metadata call that failed says nothing
            let leader = self.leader(topic, partition).unwrap_or_default();
            if leader.is_none() && self.is_absent(topic) {
                absent += 1;
            }
            if absent >= LEADER_TRIES {
                break;
            }
            if let Some(address) = leader {
                match self.call(&address, version, request) {
                    Ok(answer) => match code(&answer) {
                        0 => return Ok(answer),
                        3 | 5 | 6 | 74 | 75 | 78 | 100 | 103 => {}
                        code => {
                            return Err(RealError::new(format!(
                                "{topic}-{partition}, api {}: Kafka error {code}",
                                R::KEY
                            )));
                        }
                    },
                    Err(error) => last = error,
                }
            }
            sleep(LEADER_PAUSE);
        }
        Err(last)
    }

    /// The names of all topics that the cluster shows.
    pub fn topics(&self) -> Result<Vec<String>, RealError> {
        let request = MetadataRequest::default().with_topics(None);
        let told = self.ask(9, &request)?;
        let names = told.topics.iter().filter_map(|topic| topic.name.as_ref());
        Ok(names.map(|name| name.to_string()).collect())
    }

    /// Whether the brokers know of no such topic.
    pub fn is_absent(&self, topic: &str) -> bool {
        let told = self.metadata(topic);
        told.is_ok_and(|told| told.topics.iter().all(|one| one.error_code == 3))
    }

    /// The id of a topic, which every one made of that name has anew.
    pub fn topic_id(&self, topic: &str) -> Result<Uuid, RealError> {
        let topics = vec![MetadataRequestTopic::default().with_name(Some(name(topic)))];
        let request = MetadataRequest::default().with_topics(Some(topics));
        let told = self.ask(12, &request.with_allow_auto_topic_creation(false))?;
        let none = || RealError::new(format!("{topic}: no broker shows it"));
        told.topics.first().map(|one| one.topic_id).ok_or_else(none)
    }

    /// Where the leader of a partition listens; `None` for a topic that is not there.
    pub fn leader(&self, topic: &str, partition: i32) -> Result<Option<String>, RealError> {
        let metadata = self.metadata(topic)?;
        let all = metadata.topics.iter().flat_map(|one| &one.partitions);
        let one = all.into_iter().find(|one| one.partition_index == partition);
        let leader = one
            .and_then(|one| metadata.brokers.iter().find(|broker| broker.node_id == one.leader_id));
        Ok(leader.map(|broker| format!("{}:{}", broker.host, broker.port)))
    }

    /// Makes a topic and waits until its partitions are led.
    pub fn create(
        &self,
        topic: &str,
        partitions: i32,
        replicas: i16,
        configs: &[(&str, &str)],
    ) -> Result<(), RealError> {
        let config = |(key, value): &(&str, &str)| {
            CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
        };
        let one = CreatableTopic::default()
            .with_name(name(topic))
            .with_num_partitions(partitions)
            .with_replication_factor(replicas)
            .with_configs(configs.iter().map(config).collect());
        let request =
            CreateTopicsRequest::default().with_topics(vec![one]).with_timeout_ms(TIMEOUT_MS);
        // ZooKeeper may still hold a topic of that name which the brokers have forgotten, and a
        // controller of its may not know yet of a broker that has just started.
        let mut code = TOPIC_ALREADY_EXISTS;
        for _ in 0..LEADER_TRIES {
            code = self.ask(5, &request)?.topics.first().map_or(-1, |one| one.error_code);
            if ![TOPIC_ALREADY_EXISTS, INVALID_REPLICATION_FACTOR].contains(&code) {
                break;
            }
            sleep(LEADER_PAUSE);
        }
        refused(topic, code)?;
        (0..partitions).try_for_each(|partition| self.ends(topic, partition).map(drop))
    }

    /// Deletes a topic and waits until no broker that answers knows it.
    pub fn delete(&self, topic: &str) -> Result<(), RealError> {
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![name(topic)])
            .with_timeout_ms(TIMEOUT_MS);
        let answer = self.ask(5, &request)?;
        refused(topic, answer.responses.first().map_or(-1, |one| one.error_code))?;
        for _ in 0..ELECTION_TRIES {
            if self.metadata(topic)?.topics.iter().all(|one| one.error_code == 3) {
                return Ok(());
            }
            sleep(LEADER_PAUSE);
        }
        Err(RealError::new(format!("{topic} does not go away")))
    }

    /// Gives a topic more partitions.
    pub fn grow(&self, topic: &str, partitions: i32) -> Result<(), RealError> {
        let one = CreatePartitionsTopic::default().with_name(name(topic)).with_count(partitions);
        let one = one.with_assignments(None);
        let request =
            CreatePartitionsRequest::default().with_topics(vec![one]).with_timeout_ms(TIMEOUT_MS);
        let answer = self.ask(2, &request)?;
        refused(topic, answer.results.first().map_or(-1, |one| one.error_code))?;
        (0..partitions).try_for_each(|partition| self.ends(topic, partition).map(drop))
    }

    /// Sets a topic's config, or with `None` removes it.
    pub fn alter(&self, topic: &str, key: &str, value: Option<&str>) -> Result<(), RealError> {
        let config = AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(i8::from(value.is_none()))
            .with_value(value.map(text));
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(topic))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let answer = self.ask(1, &request)?;
        refused(topic, answer.responses.first().map_or(-1, |one| one.error_code))
    }

    /// A topic's config, if it is told.
    pub fn config(&self, topic: &str, key: &str) -> Result<Option<String>, RealError> {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(topic))
            .with_configuration_keys(Some(vec![text(key)]));
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let answer = self.ask(1, &request)?;
        let first = answer.results.first();
        refused(topic, first.map_or(-1, |one| one.error_code))?;
        let one = first.and_then(|one| one.configs.first());
        Ok(one.and_then(|one| one.value.as_ref().map(|value| value.to_string())))
    }

    /// Gives a client id so many bytes a second of a quota at each broker; `None` takes it away.
    pub fn quota(
        &self,
        client_id: &str,
        name: &str,
        bytes_per_second: Option<f64>,
    ) -> Result<(), RealError> {
        let told = self.ask_any(1, &quota_request(Some(client_id), name, bytes_per_second))?;
        refused("AlterClientQuotas", told.entries[0].error_code)
    }

    /// Produces one batch with acks=all; the offset that it got.
    pub fn produce(&self, topic: &str, partition: i32, batch: &Build) -> Result<i64, RealError> {
        self.produce_bytes(topic, partition, batch.bytes())
    }

    /// The same of a batch that is made already. One of a transaction is produced under an id, as
    /// brokers ask for; what it opens stays open (the broker must not verify transactions).
    pub fn produce_bytes(
        &self,
        topic: &str,
        partition: i32,
        batch: Bytes,
    ) -> Result<i64, RealError> {
        let is_open = batch.get(ATTRIBUTES_LOW).is_some_and(|low| low & TRANSACTIONAL_BIT != 0);
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
        let one = TopicProduceData::default().with_name(name(topic));
        let id = is_open.then(|| TransactionalId(StrBytes::from_static_str("by-hand")));
        let request = ProduceRequest::default()
            .with_transactional_id(id)
            .with_acks(-1)
            .with_timeout_ms(TIMEOUT_MS)
            .with_topic_data(vec![one.with_partition_data(vec![data])]);
        let told = self.ask_leader((topic, partition), 9, &request, |answer| {
            answer.responses[0].partition_responses[0].error_code
        })?;
        Ok(told.responses[0].partition_responses[0].base_offset)
    }

    /// Log start and high watermark.
    pub fn ends(&self, topic: &str, partition: i32) -> Result<(i64, i64), RealError> {
        Ok((self.list(topic, partition, -2)?, self.list(topic, partition, -1)?))
    }

    fn list(&self, topic: &str, partition: i32, time: i64) -> Result<i64, RealError> {
        let one = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(time);
        let one = ListOffsetsTopic::default().with_name(name(topic)).with_partitions(vec![one]);
        let request =
            ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![one]);
        let told = self.ask_leader((topic, partition), 6, &request, |answer| {
            answer.topics[0].partitions[0].error_code
        })?;
        Ok(told.topics[0].partitions[0].offset)
    }

    /// DeleteRecords below `offset`.
    pub fn delete_records(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<(), RealError> {
        let one =
            DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
        let one = DeleteRecordsTopic::default().with_name(name(topic)).with_partitions(vec![one]);
        let request =
            DeleteRecordsRequest::default().with_topics(vec![one]).with_timeout_ms(TIMEOUT_MS);
        let told = self.ask_leader((topic, partition), 2, &request, |answer| {
            answer.topics.first().map_or(-1, |one| one.partitions[0].error_code)
        });
        told.map(drop)
    }

    /// The whole log of a partition up to its high watermark, batch by batch.
    pub fn log(&self, topic: &str, partition: i32) -> Result<Dump, RealError> {
        let (start, end) = self.ends(topic, partition)?;
        let mut batches: Vec<Stored> = Vec::new();
        let mut at = start;
        while at < end {
            let told = self.fetch(topic, partition, at, false)?;
            let found = stored(told.records.unwrap_or_default());
            batches.extend(found.into_iter().filter(|batch| batch.next > at));
            let next = batches.last().map_or(at, |batch| batch.next);
            if next <= at {
                let text = format!("{topic}-{partition}: nothing at {at} of {start}..{end}");
                return Err(RealError::new(text));
            }
            at = next;
        }
        let aborted = Vec::new(); // read_uncommitted readers are told none
        Ok(Dump { start, hwm: end, stable: end, end: at.max(end), batches, aborted })
    }

    /// What lies at an offset: batches up to a few MiB, the last one perhaps cut off.
    pub(super) fn fetch(
        &self,
        topic: &str,
        partition: i32,
        at: i64,
        is_committed: bool,
    ) -> Result<PartitionData, RealError> {
        let one = FetchPartition::default()
            .with_partition(partition)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(at)
            .with_last_fetched_epoch(-1)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(FETCH_BYTES);
        let one = FetchTopic::default().with_topic(name(topic)).with_partitions(vec![one]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(500)
            .with_min_bytes(1)
            .with_max_bytes(FETCH_BYTES)
            .with_session_epoch(-1)
            .with_isolation_level(i8::from(is_committed))
            .with_topics(vec![one]);
        let told = self.ask_leader((topic, partition), 12, &request, |answer| {
            answer.responses.first().map_or(answer.error_code, |one| one.partitions[0].error_code)
        })?;
        let mut topics = told.responses;
        let first = topics.first_mut().and_then(|one| one.partitions.pop());
        first.ok_or_else(|| RealError::new(format!("{topic}-{partition}: an empty answer")))
    }
}

/// The whole batches of a fetch answer; what is cut off at its end is left.
fn stored(mut records: Bytes) -> Vec<Stored> {
    let mut batches = Vec::new();
    while let Some(header) = Header::read(&records) {
        let whole = usize::try_from(header.length).map_or(usize::MAX, |len| len + PREFIX_BYTES);
        if whole > records.len() {
            break;
        }
        let batch = records.split_to(whole);
        batches.push(Stored {
            base: header.base_offset,
            next: header.next(),
            header: Some(header),
            section: batch.slice(HEADER_BYTES..),
            records: None,
        });
        let checksum = crc32c::crc32c(&batch[21..]);
        assert_eq!(checksum, header.crc, "the batch at {} is corrupt", header.base_offset);
    }
    batches
}
