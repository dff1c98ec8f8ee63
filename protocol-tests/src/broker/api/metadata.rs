//! Metadata and DescribeCluster: what the asked broker believes, which may be old.
//!
//! It never creates topics unless the cluster is configured to.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::DescribeClusterRequest;
use kafka_protocol::messages::DescribeClusterResponse;
use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::messages::MetadataResponse;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::messages::metadata_response::MetadataResponsePartition;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use uuid::Uuid;

use crate::broker::api;
use crate::broker::configs::Configs;
use crate::broker::meta::Meta;
use crate::broker::meta::PartitionMeta;
use crate::broker::rights::Right;
use crate::broker::state::State;
use crate::broker::takeover::Call;

/// Answers Metadata.
pub fn metadata(state: &mut State, call: &Call, request: MetadataRequest) -> MetadataResponse {
    let asked = match &request.topics {
        None => state.broker(call.broker).meta.topics().keys().map(ask).collect(),
        Some(topics) => topics.clone(),
    };
    if request.allow_auto_topic_creation {
        create_missing(state, &asked);
    }
    let meta = &state.broker(call.broker).meta;
    let mut response = MetadataResponse::default()
        .with_throttle_time_ms(api::throttle_ms(state, call))
        .with_cluster_id(Some(api::text(&state.spec.cluster_id)))
        .with_controller_id(BrokerId(meta.live.first().copied().unwrap_or(-1)));
    response.brokers = meta.live.iter().map(|id| broker(state, *id)).collect();
    let answers = asked.iter().map(|asked| topic(meta, asked, call.version));
    let all = request.topics.is_none();
    response.topics = answers.filter_map(|answer| permitted(state, answer, all)).collect();
    response
}

/// Of a topic that may not be described only the code is told; a list of all leaves it out.
fn permitted(
    state: &State,
    answer: MetadataResponseTopic,
    all: bool,
) -> Option<MetadataResponseTopic> {
    let name = answer.name.clone().unwrap_or_default();
    match state.check(&name, Right::Describe) {
        Ok(()) => Some(answer),
        Err(_) if all => None,
        Err(error) => Some(
            MetadataResponseTopic::default().with_name(answer.name).with_error_code(error.code()),
        ),
    }
}

fn ask(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic::default().with_name(Some(api::topic_name(name)))
}

fn create_missing(state: &mut State, asked: &[MetadataRequestTopic]) {
    if state.broker_config("auto.create.topics.enable").as_deref() != Some("true") {
        return;
    }
    let (count, replication) = (1, state.spec.replication);
    for name in asked.iter().filter_map(|topic| topic.name.as_ref()) {
        // an existing or unsound name is answered by the lookup that follows
        let _ = state.create_topic(name, count, replication, Configs::new());
    }
}

fn broker(state: &State, id: i32) -> MetadataResponseBroker {
    let broker = state.broker(id);
    MetadataResponseBroker::default()
        .with_node_id(BrokerId(id))
        .with_host(api::text(&broker.host))
        .with_port(i32::from(broker.port))
        .with_rack(broker.rack.as_deref().map(api::text))
}

fn topic(meta: &Meta, asked: &MetadataRequestTopic, version: i16) -> MetadataResponseTopic {
    let mut answer = MetadataResponseTopic::default();
    answer.name = asked.name.clone();
    let found = match (&asked.name, asked.topic_id) {
        (Some(name), _) => meta.topics().get_key_value(name.as_str()),
        (None, id) => meta.by_id(id),
    };
    let Some((name, topic)) = found else {
        let by_id = asked.name.is_none() && asked.topic_id != Uuid::nil();
        let error = if by_id {
            ResponseError::UnknownTopicId
        } else {
            ResponseError::UnknownTopicOrPartition
        };
        answer.error_code = error.code();
        if version >= 10 {
            answer.topic_id = asked.topic_id;
        }
        if answer.name.is_none() && version < 12 {
            answer.name = Some(api::topic_name(""));
        }
        return answer;
    };
    answer.name = Some(api::topic_name(name));
    if version >= 10 {
        answer.topic_id = topic.id;
    }
    answer.is_internal = name.starts_with("__");
    let partitions = (0..).zip(&topic.partitions);
    answer.partitions = partitions.map(|(n, p)| partition(meta, n, p)).collect();
    answer
}

fn partition(meta: &Meta, index: i32, partition: &PartitionMeta) -> MetadataResponsePartition {
    let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
    let dead = partition.replicas.iter().copied().filter(|id| !meta.live.contains(id));
    let error = if partition.leader < 0 { ResponseError::LeaderNotAvailable.code() } else { 0 };
    MetadataResponsePartition::default()
        .with_error_code(error)
        .with_partition_index(index)
        .with_leader_id(BrokerId(partition.leader))
        .with_leader_epoch(partition.epoch)
        .with_replica_nodes(ids(&partition.replicas))
        .with_isr_nodes(ids(&partition.isr))
        .with_offline_replicas(ids(&dead.collect::<Vec<_>>()))
}

/// Answers DescribeCluster.
pub fn describe_cluster(
    state: &mut State,
    call: &Call,
    _: DescribeClusterRequest,
) -> DescribeClusterResponse {
    let meta = &state.broker(call.broker).meta;
    let brokers = meta.live.iter().map(|id| {
        let broker = state.broker(*id);
        DescribeClusterBroker::default()
            .with_broker_id(BrokerId(*id))
            .with_host(api::text(&broker.host))
            .with_port(i32::from(broker.port))
            .with_rack(broker.rack.as_deref().map(api::text))
    });
    DescribeClusterResponse::default()
        .with_throttle_time_ms(api::throttle_ms(state, call))
        .with_cluster_id(api::text(&state.spec.cluster_id))
        .with_controller_id(BrokerId(meta.live.first().copied().unwrap_or(-1)))
        .with_brokers(brokers.collect())
}
