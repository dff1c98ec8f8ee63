//! Orders about topics and partitions: create, grow, trim; and who the brokers are.
//!
//! It never repeats an order whose outcome is unknown: such an error says so, and the caller reads
//! back what is there.

use std::collections::BTreeMap;

use kafka_protocol::messages::CreatePartitionsRequest;
use kafka_protocol::messages::CreateTopicsRequest;
use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::DescribeClusterRequest;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopicConfig;
use kafka_protocol::messages::delete_records_request::DeleteRecordsPartition;
use kafka_protocol::messages::delete_records_request::DeleteRecordsTopic;
use kafka_protocol::protocol::Request;
use kafka_protocol::protocol::StrBytes;

use crate::cluster::Cluster;
use crate::cluster::Target;
use crate::cluster::Wanted;
use crate::cluster::call::by_topic;
use crate::cluster::call::text;
use crate::cluster::ends::Each;
use crate::cluster::ends::each;
use crate::cluster::error::ClusterError;
use crate::cluster::error::Kind;
use crate::cluster::error::Refusal;
use crate::cluster::error::Result;
use crate::cluster::metadata::Broker;
use crate::ids::BrokerId;
use crate::ids::ClusterId;
use crate::ids::Offset;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::wire::error::KafkaCode;

/// What each named topic got; one that the broker left out is not in it.
pub type EachTopic<T> = BTreeMap<TopicName, std::result::Result<T, Refusal>>;

/// NOT_CONTROLLER: nothing was done.
const NOT_CONTROLLER: KafkaCode = KafkaCode(41);
/// The broker's own default, for partition count and replication factor.
const BROKER_DEFAULT: i16 = -1;

/// A topic to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: TopicName,
    /// How many partitions.
    pub partitions: i32,
    /// How many replicas each; `None` for the cluster's default.
    pub replicas: Option<i16>,
    /// Its overrides.
    pub configs: BTreeMap<String, String>,
}

/// The cluster as it describes itself to administrators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterView {
    /// Its id.
    pub id: ClusterId,
    /// Its controller, or a broker that forwards to it.
    pub controller: Option<BrokerId>,
    /// Its brokers.
    pub brokers: Vec<Broker>,
}

impl Cluster {
    /// Makes topics, or with `validate_only` says whether they could be made (the id is `NIL` then
    /// and from brokers that do not tell it). An `Unknown` error, and a refusal with code 7, leave
    /// open whether the topic is there: refresh and look.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        validate_only: bool,
    ) -> Result<EachTopic<TopicId>> {
        let request = CreateTopicsRequest::default()
            .with_topics(topics.iter().map(creatable).collect())
            .with_timeout_ms(self.broker_timeout_ms())
            .with_validate_only(validate_only);
        let response = self
            .ask_controller(&request, |response| {
                response.topics.iter().any(|one| KafkaCode(one.error_code) == NOT_CONTROLLER)
            })
            .await?;
        Ok(each_topic(response.topics.iter().map(|one| {
            let id = TopicId(one.topic_id.into_bytes());
            (one.name.as_str(), one.error_code, &one.error_message, id)
        })))
    }

    /// Grows topics to so many partitions. Unknown outcomes as with `create_topics`.
    pub async fn create_partitions(
        &self,
        topics: &[(TopicName, i32)],
        validate_only: bool,
    ) -> Result<EachTopic<()>> {
        let grown = topics.iter().map(|(name, count)| {
            let name = text(name.as_str()).into();
            let topic = CreatePartitionsTopic::default().with_name(name).with_count(*count);
            topic.with_assignments(None)
        });
        let request = CreatePartitionsRequest::default()
            .with_topics(grown.collect())
            .with_timeout_ms(self.broker_timeout_ms())
            .with_validate_only(validate_only);
        let response = self
            .ask_controller(&request, |response| {
                response.results.iter().any(|one| KafkaCode(one.error_code) == NOT_CONTROLLER)
            })
            .await?;
        Ok(each_topic(
            response
                .results
                .iter()
                .map(|one| (one.name.as_str(), one.error_code, &one.error_message, ())),
        ))
    }

    /// Moves the start of partitions up to the given offsets; the answer is the new start. Goes to
    /// their leader. Safe to repeat: a start only moves up.
    pub async fn delete_records(
        &self,
        leader: BrokerId,
        before: &[(TopicPartition, Offset)],
    ) -> Result<Each<Offset>> {
        let partition = |tp: &TopicPartition, offset: &Offset| {
            DeleteRecordsPartition::default()
                .with_partition_index(tp.partition.0)
                .with_offset(offset.get())
        };
        let topics = by_topic(before.iter().map(|(tp, offset)| (tp, partition(tp, offset))));
        let topics = topics.into_iter().map(|(name, partitions)| {
            DeleteRecordsTopic::default().with_name(text(name).into()).with_partitions(partitions)
        });
        let request = DeleteRecordsRequest::default()
            .with_topics(topics.collect())
            .with_timeout_ms(self.broker_timeout_ms());
        let response = self.ask(Target::Broker(leader), &request).await?;
        let rows = response.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|one| (topic.name.as_str(), one.partition_index, one))
        });
        Ok(each(rows.map(|(topic, id, one)| {
            (topic, id, KafkaCode(one.error_code), Offset::new(one.low_watermark))
        })))
    }

    /// The cluster as it describes itself.
    pub async fn describe_cluster(&self) -> Result<ClusterView> {
        let response = self.ask(Target::Any, &DescribeClusterRequest::default()).await?;
        let code = KafkaCode(response.error_code);
        if !code.is_none() {
            let peer = self.peer(None, "any broker".into());
            let message = said(&response.error_message);
            let kind = Kind::Refused { code, message };
            return Err(ClusterError::new(&peer, "DescribeCluster", kind));
        }
        let brokers = response.brokers.iter().filter_map(|broker| {
            Some(Broker {
                id: BrokerId(broker.broker_id.0),
                host: broker.host.as_str().into(),
                port: u16::try_from(broker.port).ok()?,
                rack: broker.rack.as_ref().map(|rack| rack.as_str().into()),
            })
        });
        let controller = response.controller_id.0;
        Ok(ClusterView {
            id: ClusterId(response.cluster_id.as_str().into()),
            controller: (controller >= 0).then_some(BrokerId(controller)),
            brokers: brokers.collect(),
        })
    }

    /// Asks the controller; one that is no longer it has done nothing, so the new one is looked up
    /// and asked once more. (With KRaft any broker forwards.)
    async fn ask_controller<R: Request>(
        &self,
        request: &R,
        is_not_controller: impl Fn(&R::Response) -> bool,
    ) -> Result<R::Response> {
        let response = self.ask(Target::Controller, request).await?;
        if !is_not_controller(&response) {
            return Ok(response);
        }
        self.refresh(Wanted::Topics(&[])).await?;
        self.ask(Target::Controller, request).await
    }
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let configs = topic.configs.iter().map(|(name, value)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    });
    CreatableTopic::default()
        .with_name(text(topic.name.as_str()).into())
        .with_num_partitions(topic.partitions)
        .with_replication_factor(topic.replicas.unwrap_or(BROKER_DEFAULT))
        .with_configs(configs.collect())
}

/// Answers by topic.
pub(super) fn each_topic<'a, T>(
    rows: impl Iterator<Item = (&'a str, i16, &'a Option<StrBytes>, T)>,
) -> EachTopic<T> {
    let row = |(name, code, message, value): (&str, i16, &Option<StrBytes>, T)| {
        let name = TopicName::new(name)?;
        let code = KafkaCode(code);
        let refusal = || Refusal { code, message: said(message) };
        Some((name, if code.is_none() { Ok(value) } else { Err(refusal()) }))
    };
    rows.filter_map(row).collect()
}

/// A broker's own words.
pub(super) fn said(message: &Option<StrBytes>) -> Option<std::sync::Arc<str>> {
    message.as_ref().map(|text| text.as_str().into())
}
