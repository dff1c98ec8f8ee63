//! Orders about topics and partitions: create, grow, trim; and who the brokers are.
//!
//! It never repeats an order whose outcome is unknown: such an error says so, and the caller reads
//! back what is there.

pub mod acls;
pub mod clients;

use std::collections::BTreeMap;

use bytes::Bytes;
use bytes::BytesMut;
use kafka_protocol::messages::CreatePartitionsRequest;
use kafka_protocol::messages::CreateTopicsRequest;
use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::DeleteTopicsRequest;
use kafka_protocol::messages::DescribeClusterRequest;
use kafka_protocol::messages::DescribeQuorumRequest;
use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopicConfig;
use kafka_protocol::messages::delete_records_request::DeleteRecordsPartition;
use kafka_protocol::messages::delete_records_request::DeleteRecordsTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_quorum_request;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_request::TopicProduceData;
use kafka_protocol::protocol::Encodable;
use kafka_protocol::protocol::Request;
use kafka_protocol::protocol::StrBytes;

use crate::cluster::Cluster;
use crate::cluster::Target;
use crate::cluster::Use;
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
use crate::wire::error::WireError;
use crate::wire::prim::peer_text;
use crate::wire::produce;
use crate::wire::produce::AppendAnswer;
use crate::wire::versions::ApiKey;

/// What each named topic got; one that the broker left out is not in it.
pub type EachTopic<T> = BTreeMap<TopicName, std::result::Result<T, Refusal>>;

/// NOT_CONTROLLER: nothing was done.
pub(super) const NOT_CONTROLLER: KafkaCode = KafkaCode(41);
/// The log of the KRaft controllers.
const QUORUM_TOPIC: &str = "__cluster_metadata";
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

    /// Deletes topics by their ids, so that no other topic that took the name meanwhile is hit. A
    /// topic that is gone already answers UNKNOWN_TOPIC_ID (100). Unknown outcomes as with
    /// `create_topics`.
    pub async fn delete_topics(
        &self,
        topics: &[TopicId],
    ) -> Result<BTreeMap<TopicId, std::result::Result<(), Refusal>>> {
        let asked = topics.iter().map(|id| {
            let id = uuid::Uuid::from_bytes(id.0);
            DeleteTopicState::default().with_name(None).with_topic_id(id)
        });
        let request = DeleteTopicsRequest::default()
            .with_topics(asked.collect())
            .with_timeout_ms(self.broker_timeout_ms());
        let response = self
            .ask_controller(&request, |response| {
                response.responses.iter().any(|one| KafkaCode(one.error_code) == NOT_CONTROLLER)
            })
            .await?;
        let answers = response.responses.iter().map(|one| {
            let code = KafkaCode(one.error_code);
            let refusal = || Refusal { code, message: said(&one.error_message) };
            let answer = if code.is_none() { Ok(()) } else { Err(refusal()) };
            (TopicId(one.topic_id.into_bytes()), answer)
        });
        Ok(answers.collect())
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
        let brokers = response.brokers.iter().filter_map(|one| {
            Broker::told(one.broker_id.0, &one.host, one.port, one.rack.as_deref())
        });
        let controller = response.controller_id.0;
        Ok(ClusterView {
            id: ClusterId(peer_text(response.cluster_id.as_bytes()).into()),
            controller: (controller >= 0).then_some(BrokerId(controller)),
            brokers: brokers.collect(),
        })
    }

    /// What may be done with each topic: a bit per operation, by Kafka's numbers (`AclOperation`);
    /// `None` where the broker does not tell.
    pub async fn topic_operations(&self, topics: &[TopicName]) -> Result<EachTopic<Option<u32>>> {
        let asked = topics.iter().map(|name| {
            MetadataRequestTopic::default().with_name(Some(text(name.as_str()).into()))
        });
        let request = MetadataRequest::default()
            .with_topics(Some(asked.collect()))
            .with_allow_auto_topic_creation(false)
            .with_include_topic_authorized_operations(true);
        let response = self.ask(Target::Any, &request).await?;
        Ok(each_topic(response.topics.iter().filter_map(|one| {
            let name = one.name.as_ref()?.0.as_str();
            Some((name, one.error_code, &None, operations(one.topic_authorized_operations)))
        })))
    }

    /// The same of the cluster itself.
    pub async fn cluster_operations(&self) -> Result<Option<u32>> {
        let request =
            DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
        let response = self.ask(Target::Any, &request).await?;
        Ok(operations(response.cluster_authorized_operations).filter(|_| response.error_code == 0))
    }

    /// What a broker says to a produce request for a topic by name that holds not one byte: code
    /// 29 without the right to write, any other code with it. Nothing can come of it (broker facts
    /// P6).
    pub async fn may_write(&self, broker: BrokerId, topic: &TopicName) -> Result<KafkaCode> {
        let partition = PartitionProduceData::default().with_index(0);
        let partition = partition.with_records(Some(Bytes::new()));
        let topic = TopicProduceData::default()
            .with_name(text(topic.as_str()).into())
            .with_partition_data(vec![partition]);
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(self.broker_timeout_ms())
            .with_topic_data(vec![topic]);
        let mut conn = self.open(broker, Use::Append).await?;
        let version = conn.version(ApiKey::Produce)?.min(produce::IDS_FROM - 1);
        let peer = conn.peer().clone();
        let failed = |error: WireError| ClusterError::new(&peer, "Produce", error);
        let mut body = BytesMut::new();
        let encoded = request.encode(&mut body, version);
        encoded.map_err(|_| ClusterError::own(&peer, "Produce", &format!("version {version}")))?;
        let deadline = tokio::time::Instant::now() + self.options.request_timeout;
        conn.send(ApiKey::Produce, version, [body.freeze()], deadline)?;
        let answer = conn.turn().await?;
        let answer = AppendAnswer::decode(answer.body, answer.version).map_err(failed)?;
        Ok(answer.partitions.first().map_or(KafkaCode::UNKNOWN, |one| one.code))
    }

    /// What the clock of the controller shows, in ms since 1970, where there is a KRaft quorum that
    /// may be described: a leader has caught up with itself right now.
    pub async fn controller_time_ms(&self) -> Result<Option<i64>> {
        let partition = describe_quorum_request::PartitionData::default().with_partition_index(0);
        let topic = describe_quorum_request::TopicData::default()
            .with_topic_name(text(QUORUM_TOPIC).into())
            .with_partitions(vec![partition]);
        let request = DescribeQuorumRequest::default().with_topics(vec![topic]);
        let response = self.ask(Target::Any, &request).await?;
        let all = response.topics.iter().flat_map(|topic| &topic.partitions);
        let leader = all.into_iter().find_map(|one| {
            one.current_voters.iter().find(|voter| voter.replica_id == one.leader_id)
        });
        Ok(leader.map(|voter| voter.last_caught_up_timestamp).filter(|time| *time > 0))
    }

    /// Asks the controller; one that is no longer it has done nothing, so the new one is looked up
    /// and asked once more. (With KRaft any broker forwards.)
    pub(super) async fn ask_controller<R: Request>(
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

/// A bit field of operations; brokers say the lowest number for "not told".
fn operations(bits: i32) -> Option<u32> {
    (bits != i32::MIN).then_some(bits as u32)
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

/// A broker's own words, safe to print.
pub(super) fn said(message: &Option<StrBytes>) -> Option<std::sync::Arc<str>> {
    message.as_ref().map(|text| peer_text(text.as_bytes()).into())
}
