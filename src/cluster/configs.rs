//! Configs of topics, brokers and groups: read, and those of topics changed, key by key.
//!
//! It never resets a key that it was not told to.

use std::collections::BTreeMap;

use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::AlterableConfig;

use crate::cluster::Cluster;
use crate::cluster::Target;
use crate::cluster::admin::EachTopic;
use crate::cluster::admin::each_topic;
use crate::cluster::admin::said;
use crate::cluster::call::text;
use crate::cluster::error::Refusal;
use crate::cluster::error::Result;
use crate::cluster::groups::EachGroup;
use crate::ids::BrokerId;
use crate::ids::GroupName;
use crate::ids::TopicName;
use crate::wire::error::KafkaCode;
use crate::wire::prim::peer_text;

/// Resource types (`org.apache.kafka.common.config.ConfigResource`).
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;
/// The source of a value that the topic itself overrides.
const SOURCE_TOPIC: i8 = 1;
/// Operations on a key.
const SET: i8 = 0;
const DELETE: i8 = 1;

/// One key's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// `None` for none, and for a sensitive one, which brokers do not tell. Safe to print: values
    /// of Kafka's topics are short and have no control characters, so nothing of them is lost.
    pub value: Option<String>,
    /// Whether the topic itself says so, and not the broker's config or Kafka's default.
    pub is_override: bool,
    /// Whether it is kept secret.
    pub is_sensitive: bool,
}

/// Entries by key.
pub type ConfigEntries = BTreeMap<String, ConfigEntry>;

impl Cluster {
    /// The configs of topics; only the keys asked for, `None` for all.
    pub async fn describe_topic_configs(
        &self,
        topics: &[TopicName],
        keys: Option<&[&str]>,
    ) -> Result<EachTopic<ConfigEntries>> {
        self.describe_topic_configs_at(Target::Any, topics, keys).await
    }

    /// The same as one broker has them. Each applies a change when it hears of it: what the leader
    /// of a partition does not show yet is not in force there.
    pub async fn describe_topic_configs_at(
        &self,
        target: Target,
        topics: &[TopicName],
        keys: Option<&[&str]>,
    ) -> Result<EachTopic<ConfigEntries>> {
        let resources = topics.iter().map(|name| resource(TOPIC, name.as_str(), keys)).collect();
        let request = DescribeConfigsRequest::default().with_resources(resources);
        let response = self.ask(target, &request).await?;
        Ok(each_topic(response.results.iter().map(|one| {
            (one.resource_name.as_str(), one.error_code, &one.error_message, entries(one))
        })))
    }

    /// A broker's own configs; only the keys asked for, `None` for all.
    pub async fn describe_broker_configs(
        &self,
        broker: BrokerId,
        keys: Option<&[&str]>,
    ) -> Result<std::result::Result<ConfigEntries, Refusal>> {
        let resources = vec![resource(BROKER, &broker.to_string(), keys)];
        let request = DescribeConfigsRequest::default().with_resources(resources);
        let response = self.ask(Target::Broker(broker), &request).await?;
        let Some(one) = response.results.first() else {
            return Ok(Err(Refusal { code: KafkaCode::UNKNOWN, message: None }));
        };
        let code = KafkaCode(one.error_code);
        if code.is_none() {
            return Ok(Ok(entries(one)));
        }
        Ok(Err(Refusal { code, message: said(&one.error_message) }))
    }

    /// The configs of groups; only the keys asked for. Any broker has them, those of no group too.
    pub async fn describe_group_configs(
        &self,
        groups: &[GroupName],
        keys: &[&str],
    ) -> Result<EachGroup<ConfigEntries>> {
        let resources = groups.iter().map(|name| resource(GROUP, name.as_str(), Some(keys)));
        let request = DescribeConfigsRequest::default().with_resources(resources.collect());
        let response = self.ask(Target::Any, &request).await?;
        let each = response.results.iter().map(|one| {
            let code = KafkaCode(one.error_code);
            let told = if code.is_none() { Ok(entries(one)) } else { Err(code) };
            (GroupName::new(&one.resource_name), told)
        });
        Ok(each.collect())
    }

    /// Sets keys of topics (`Some`) or takes their overrides away (`None`). One wrong key refuses
    /// its whole topic. Safe to repeat.
    pub async fn alter_topic_configs(
        &self,
        changes: &[(TopicName, BTreeMap<String, Option<String>>)],
        validate_only: bool,
    ) -> Result<EachTopic<()>> {
        let resources = changes.iter().map(|(name, keys)| {
            AlterConfigsResource::default()
                .with_resource_type(TOPIC)
                .with_resource_name(text(name.as_str()))
                .with_configs(keys.iter().map(|(key, value)| alteration(key, value)).collect())
        });
        let request = IncrementalAlterConfigsRequest::default()
            .with_resources(resources.collect())
            .with_validate_only(validate_only);
        let response = self.ask(Target::Controller, &request).await?;
        Ok(each_topic(
            response
                .responses
                .iter()
                .map(|one| (one.resource_name.as_str(), one.error_code, &one.error_message, ())),
        ))
    }
}

fn resource(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResource {
    DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(keys.map(|keys| keys.iter().map(|key| text(key)).collect()))
}

fn alteration(key: &str, value: &Option<String>) -> AlterableConfig {
    AlterableConfig::default()
        .with_name(text(key))
        .with_config_operation(if value.is_some() { SET } else { DELETE })
        .with_value(value.as_deref().map(text))
}

fn entries(result: &DescribeConfigsResult) -> ConfigEntries {
    let entry = |one: &DescribeConfigsResourceResult| {
        let entry = ConfigEntry {
            value: one.value.as_ref().map(|value| peer_text(value.as_bytes())),
            is_override: one.config_source == SOURCE_TOPIC,
            is_sensitive: one.is_sensitive,
        };
        (peer_text(one.name.as_bytes()), entry)
    };
    result.configs.iter().map(entry).collect()
}
