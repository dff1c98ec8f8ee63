//! The requests that set quotas of clients and configs of brokers.
//!
//! It never sends them.

use kafka_protocol::messages::AlterClientQuotasRequest;
use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::alter_client_quotas_request::EntityData;
use kafka_protocol::messages::alter_client_quotas_request::EntryData;
use kafka_protocol::messages::alter_client_quotas_request::OpData;
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::AlterableConfig;
use kafka_protocol::protocol::StrBytes;

/// Kafka's number for the resource type broker.
const BROKER: i8 = 4;

/// Sets a quota of a client id (`None`: of each that has none of its own) or takes it away.
pub fn quota_request(
    client_id: Option<&str>,
    name: &str,
    value: Option<f64>,
) -> AlterClientQuotasRequest {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let who = EntityData::default()
        .with_entity_type(text("client-id"))
        .with_entity_name(client_id.map(text));
    let change = OpData::default()
        .with_key(text(name))
        .with_value(value.unwrap_or(0.0))
        .with_remove(value.is_none());
    let entry = EntryData::default().with_entity(vec![who]).with_ops(vec![change]);
    AlterClientQuotasRequest::default().with_entries(vec![entry])
}

/// Sets a config of a running broker, or with `None` gives it its default.
pub fn broker_config_request(
    broker: i32,
    name: &str,
    value: Option<&str>,
) -> IncrementalAlterConfigsRequest {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let config = AlterableConfig::default()
        .with_name(text(name))
        .with_config_operation(i8::from(value.is_none()))
        .with_value(value.map(text));
    let resource = AlterConfigsResource::default()
        .with_resource_type(BROKER)
        .with_resource_name(text(&broker.to_string()))
        .with_configs(vec![config]);
    IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
}
