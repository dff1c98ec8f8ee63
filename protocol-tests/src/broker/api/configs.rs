//! DescribeConfigs 4 and IncrementalAlterConfigs 1, for topics and brokers (broker-facts B11); of
//! groups only where share groups begin.
//!
//! It never applies half of a resource: one bad key fails all of it.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::DescribeConfigsResponse;
use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::IncrementalAlterConfigsResponse;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;

use crate::broker::api;
use crate::broker::configs;
use crate::broker::configs::BROKER_DEFAULTS;
use crate::broker::rights::Right;
use crate::broker::state::State;
use crate::broker::takeover::Call;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;

const SOURCE_TOPIC: i8 = 1;
const SOURCE_DYNAMIC_DEFAULT: i8 = 3;
const SOURCE_STATIC: i8 = 4;
const SOURCE_DEFAULT: i8 = 5;

/// Name, value, source.
type Row = (String, String, i8);
type Refusal = (ResponseError, String);

/// Answers DescribeConfigs.
pub fn describe_configs(
    state: &mut State,
    call: &Call,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let results = request.resources.iter().map(|asked| {
        let answer = DescribeConfigsResult::default()
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name.clone());
        match rows(state, call.broker, asked) {
            Ok(rows) => {
                let wanted = |row: &Row| match &asked.configuration_keys {
                    None => true,
                    Some(keys) => keys.iter().any(|key| key.as_str() == row.0),
                };
                answer.with_configs(rows.into_iter().filter(wanted).map(config).collect())
            }
            Err(error) => answer.with_error_code(error.code()),
        }
    });
    let results = results.collect();
    DescribeConfigsResponse::default()
        .with_throttle_time_ms(api::throttle_ms(state, call))
        .with_results(results)
}

fn config((name, value, source): Row) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult::default()
        .with_name(api::text(&name))
        .with_value(Some(api::text(&value)))
        .with_config_source(source)
}

fn rows(
    state: &State,
    broker: i32,
    asked: &DescribeConfigsResource,
) -> Result<Vec<Row>, ResponseError> {
    match asked.resource_type {
        TOPIC => {
            state.check(&asked.resource_name, Right::DescribeConfigs)?;
            topic_rows(state, broker, &asked.resource_name)
        }
        BROKER => Ok(BROKER_DEFAULTS.iter().map(|row| broker_row(state, row.0)).collect()),
        GROUP => {
            let own = state.share_resets.get(asked.resource_name.as_str());
            let value = own.map_or("latest", String::as_str);
            Ok(vec![("share.auto.offset.reset".to_owned(), value.to_owned(), SOURCE_DEFAULT)])
        }
        _ => Err(ResponseError::InvalidRequest),
    }
}

fn topic_rows(state: &State, broker: i32, name: &str) -> Result<Vec<Row>, ResponseError> {
    let topic = state.meta.topics().get(name).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let behind = state.behind.get(&(broker, name.to_owned()));
    let own = behind.unwrap_or(&topic.configs);
    let row = |(name, default): (String, String)| match own.get(&name) {
        Some(value) => (name, value.clone(), SOURCE_TOPIC),
        None => {
            let (_, value, source) = broker_row(state, configs::broker_name(&name));
            if source == SOURCE_DEFAULT { (name, default, source) } else { (name, value, source) }
        }
    };
    Ok(configs::topic_defaults(state.spec.version).into_iter().map(row).collect())
}

fn broker_row(state: &State, name: &str) -> Row {
    let source = if state.configs.contains_key(name) {
        SOURCE_DYNAMIC_DEFAULT
    } else if state.spec.configs.contains_key(name) {
        SOURCE_STATIC
    } else {
        SOURCE_DEFAULT
    };
    (name.to_owned(), state.broker_config(name).unwrap_or_default(), source)
}

/// Answers IncrementalAlterConfigs.
pub fn alter_configs(
    state: &mut State,
    call: &Call,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut response = IncrementalAlterConfigsResponse::default()
        .with_throttle_time_ms(api::throttle_ms(state, call));
    for asked in &request.resources {
        let answer = AlterConfigsResourceResponse::default()
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name.clone());
        response.responses.push(match alter(state, asked, request.validate_only) {
            Ok(()) => answer,
            Err((error, message)) => {
                answer.with_error_code(error.code()).with_error_message(Some(api::text(&message)))
            }
        });
    }
    response
}

fn alter(
    state: &mut State,
    asked: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refusal> {
    if asked.resource_type == TOPIC {
        let denied = |error: ResponseError| (error, "Authorization failed.".to_owned());
        state.check(&asked.resource_name, Right::AlterConfigs).map_err(denied)?;
    }
    let mut changes = Vec::new();
    for config in &asked.configs {
        let value = config.value.as_deref().unwrap_or_default().to_owned();
        let name = config.name.to_string();
        let (name, value) = match config.config_operation {
            0 => (name, Some(value)),
            1 => (name, None),
            operation @ (2 | 3) => {
                let value = edit_list(state, asked, &name, &value, operation == 2);
                (name, Some(value))
            }
            _ => return Err((ResponseError::InvalidRequest, "unknown operation".to_owned())),
        };
        if asked.resource_type == TOPIC {
            check_topic(state, asked, &name, value.as_deref())?;
        }
        changes.push((name, value));
    }
    if validate_only {
        return Ok(());
    }
    match asked.resource_type {
        TOPIC => state.alter_topic(&asked.resource_name, &changes),
        BROKER => alter_broker(state, changes),
        _ => return Err((ResponseError::InvalidRequest, "unknown resource".to_owned())),
    }
    Ok(())
}

fn check_topic(
    state: &State,
    asked: &AlterConfigsResource,
    name: &str,
    value: Option<&str>,
) -> Result<(), Refusal> {
    if !state.meta.topics().contains_key(asked.resource_name.as_str()) {
        let error = ResponseError::UnknownTopicOrPartition;
        return Err((error, "The topic does not exist.".to_owned()));
    }
    let value = match value {
        Some(value) => value.to_owned(),
        None => configs::topic_defaults(state.spec.version).get(name).cloned().unwrap_or_default(),
    };
    match configs::refusal(state.spec.version, name, &value) {
        Some(message) => Err((ResponseError::InvalidConfig, message)),
        None => Ok(()),
    }
}

/// Appends to a list config or takes away from it.
fn edit_list(
    state: &State,
    asked: &AlterConfigsResource,
    name: &str,
    value: &str,
    append: bool,
) -> String {
    let rows = topic_rows(state, -1, &asked.resource_name).unwrap_or_default();
    let now = rows.into_iter().find(|row| row.0 == name).map(|row| row.1).unwrap_or_default();
    let mut list: Vec<&str> = now.split(',').filter(|one| !one.is_empty()).collect();
    for one in value.split(',') {
        list.retain(|old| *old != one);
        if append {
            list.push(one);
        }
    }
    list.join(",")
}

fn alter_broker(state: &mut State, changes: Vec<(String, Option<String>)>) {
    for (name, value) in changes {
        match value {
            Some(value) => state.configs.insert(name, value),
            None => state.configs.remove(&name),
        };
    }
}
