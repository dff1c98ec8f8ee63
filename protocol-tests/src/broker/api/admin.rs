//! CreateTopics, DeleteTopics, CreatePartitions.
//!
//! It never asks who calls: a right is everybody's or nobody's.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::CreatePartitionsRequest;
use kafka_protocol::messages::CreatePartitionsResponse;
use kafka_protocol::messages::CreateTopicsRequest;
use kafka_protocol::messages::CreateTopicsResponse;
use kafka_protocol::messages::DeleteTopicsRequest;
use kafka_protocol::messages::DeleteTopicsResponse;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;

use crate::broker::api;
use crate::broker::configs;
use crate::broker::configs::Configs;
use crate::broker::rights::Right;
use crate::broker::state::State;
use crate::broker::takeover::Call;

type Refusal = (ResponseError, String);

/// Answers CreateTopics.
pub fn create_topics(
    state: &mut State,
    call: &Call,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let mut response =
        CreateTopicsResponse::default().with_throttle_time_ms(api::throttle_ms(state, call));
    for asked in &request.topics {
        let answer = CreatableTopicResult::default().with_name(asked.name.clone());
        response.topics.push(match create_topic(state, asked, request.validate_only) {
            Ok(()) => created(state, asked, answer, call.version),
            Err((error, message)) => answer
                .with_error_code(error.code())
                .with_error_message(Some(api::text(&message)))
                .with_configs(Some(Vec::new())),
        });
    }
    response
}

fn create_topic(
    state: &mut State,
    asked: &CreatableTopic,
    validate_only: bool,
) -> Result<(), Refusal> {
    let denied = |error: ResponseError| (error, "Authorization failed.".to_owned());
    state.check(&asked.name, Right::Create).map_err(denied)?;
    let mut wanted = Configs::new();
    for config in &asked.configs {
        let value = config.value.as_deref().unwrap_or_default();
        if let Some(message) = configs::refusal(state.spec.version, &config.name, value) {
            return Err((ResponseError::InvalidConfig, message));
        }
        wanted.insert(config.name.to_string(), value.to_owned());
    }
    let refuse = |error: ResponseError| (error, format!("{}: {error:?}", asked.name.as_str()));
    if !asked.assignments.is_empty() {
        let ids = |n: usize| asked.assignments[n].broker_ids.iter().map(|id| id.0).collect();
        let replicas = (0..asked.assignments.len()).map(ids).collect();
        if state.meta.topics().contains_key(asked.name.as_str()) {
            return Err(refuse(ResponseError::TopicAlreadyExists));
        }
        if !validate_only {
            state.create_assigned(&asked.name, replicas, wanted);
        }
        return Ok(());
    }
    let partitions = if asked.num_partitions == -1 { 1 } else { asked.num_partitions };
    let replication = if asked.replication_factor == -1 {
        state.spec.replication
    } else {
        asked.replication_factor
    };
    if validate_only {
        return state.check_new_topic(&asked.name, partitions, replication).map_err(refuse);
    }
    state.create_topic(&asked.name, partitions, replication, wanted).map(|_| ()).map_err(refuse)
}

fn created(
    state: &State,
    asked: &CreatableTopic,
    mut answer: CreatableTopicResult,
    version: i16,
) -> CreatableTopicResult {
    answer.configs = Some(Vec::new());
    if let Some(topic) = state.meta.topics().get(asked.name.as_str()) {
        if version >= 7 {
            answer.topic_id = topic.id;
        }
        answer.num_partitions = topic.partitions.len() as i32;
        answer.replication_factor = topic.partitions[0].replicas.len() as i16;
    }
    answer
}

/// Answers DeleteTopics.
pub fn delete_topics(
    state: &mut State,
    call: &Call,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let by_name = request.topic_names.iter().map(|name| (Some(name.clone()), uuid::Uuid::nil()));
    let by_id = request.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id));
    let mut response =
        DeleteTopicsResponse::default().with_throttle_time_ms(api::throttle_ms(state, call));
    for (name, id) in by_name.chain(by_id) {
        let mut answer = DeletableTopicResult::default().with_name(name.clone());
        let found = match &name {
            Some(name) => Some(name.to_string()),
            None => state.meta.by_id(id).map(|(name, _)| name.to_owned()),
        };
        let deleted = found.map(|name| {
            state.check(&name, Right::Delete)?;
            state.delete_topic(&name)
        });
        match deleted {
            Some(Ok(id)) if call.version >= 6 => answer.topic_id = id,
            Some(Ok(_)) => {}
            Some(Err(error)) => answer.error_code = error.code(),
            None => answer.error_code = ResponseError::UnknownTopicId.code(),
        }
        response.responses.push(answer);
    }
    response
}

/// Answers CreatePartitions.
pub fn create_partitions(
    state: &mut State,
    call: &Call,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut response =
        CreatePartitionsResponse::default().with_throttle_time_ms(api::throttle_ms(state, call));
    for asked in &request.topics {
        let done = grow(state, asked, request.validate_only);
        let answer = CreatePartitionsTopicResult::default()
            .with_name(asked.name.clone())
            .with_error_code(done.err().map_or(0, |error| error.code()));
        response.results.push(answer);
    }
    response
}

fn grow(
    state: &mut State,
    asked: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), ResponseError> {
    state.check(&asked.name, Right::Alter)?;
    if !validate_only {
        return state.grow_topic(&asked.name, asked.count);
    }
    let topic = state.meta.topics().get(asked.name.as_str());
    let topic = topic.ok_or(ResponseError::UnknownTopicOrPartition)?;
    let grows = asked.count as usize > topic.partitions.len();
    grows.then_some(()).ok_or(ResponseError::InvalidPartitions)
}
