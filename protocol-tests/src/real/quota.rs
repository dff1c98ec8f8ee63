//! The request that sets quotas of clients.
//!
//! It never sends it.

use kafka_protocol::messages::AlterClientQuotasRequest;
use kafka_protocol::messages::alter_client_quotas_request::EntityData;
use kafka_protocol::messages::alter_client_quotas_request::EntryData;
use kafka_protocol::messages::alter_client_quotas_request::OpData;
use kafka_protocol::protocol::StrBytes;

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
