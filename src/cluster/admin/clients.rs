//! What a cluster knows of its clients: who has a SCRAM password, and which quotas hold for whom.
//!
//! It never asks for a password or its hash, and changes nothing.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use kafka_protocol::messages::DescribeClientQuotasRequest;
use kafka_protocol::messages::DescribeUserScramCredentialsRequest;
use kafka_protocol::messages::describe_client_quotas_response::EntityData;
use kafka_protocol::protocol::StrBytes;

use crate::cluster::Cluster;
use crate::cluster::Target;
use crate::cluster::admin::NOT_CONTROLLER;
use crate::cluster::admin::said;
use crate::cluster::error::ClusterError;
use crate::cluster::error::Kind;
use crate::cluster::error::Result;
use crate::wire::error::KafkaCode;
use crate::wire::prim::peer_text;

/// Users and the mechanisms by which each may log in, such as `SCRAM-SHA-512`.
pub type ScramUsers = BTreeMap<String, BTreeSet<&'static str>>;
/// Quotas by whom they hold for, such as `user=alice, client-id=<default>`; each by its key, such
/// as `producer_byte_rate`.
pub type ClientQuotas = BTreeMap<String, BTreeMap<String, f64>>;

impl Cluster {
    /// Who has a SCRAM password, and under which mechanisms (KIP-554). Needs DESCRIBE on the
    /// cluster.
    pub async fn scram_users(&self) -> Result<ScramUsers> {
        let request = DescribeUserScramCredentialsRequest::default().with_users(None);
        let response = self
            .ask_controller(&request, |response| KafkaCode(response.error_code) == NOT_CONTROLLER)
            .await?;
        let error = (response.error_code, &response.error_message);
        self.refused("DescribeUserScramCredentials", error)?;
        let each = response.results.iter().map(|one| {
            let mechanisms = one.credential_infos.iter().map(|info| mechanism(info.mechanism));
            (peer_text(one.user.as_bytes()), mechanisms.collect())
        });
        Ok(each.collect())
    }

    /// All quotas of users, client ids and addresses (KIP-546). Needs DESCRIBE_CONFIGS on the
    /// cluster.
    pub async fn client_quotas(&self) -> Result<ClientQuotas> {
        // no component and not strict: every entity matches
        let request = DescribeClientQuotasRequest::default().with_strict(false);
        let response = self.ask(Target::Any, &request).await?;
        self.refused("DescribeClientQuotas", (response.error_code, &response.error_message))?;
        let each = response.entries.iter().flatten().map(|entry| {
            let values = entry.values.iter();
            let values = values.map(|value| (peer_text(value.key.as_bytes()), value.value));
            (entity(&entry.entity), values.collect())
        });
        Ok(each.collect())
    }

    fn refused(&self, call: &'static str, error: (i16, &Option<StrBytes>)) -> Result<()> {
        let code = KafkaCode(error.0);
        if code.is_none() {
            return Ok(());
        }
        let kind = Kind::Refused { code, message: said(error.1) };
        Err(ClusterError::new(&self.peer(None, "any broker".into()), call, kind))
    }
}

/// Kafka's number of a mechanism (`ScramMechanism`).
fn mechanism(number: i8) -> &'static str {
    match number {
        1 => "SCRAM-SHA-256",
        2 => "SCRAM-SHA-512",
        _ => "a mechanism that this isolog does not know",
    }
}

/// As `kafka-configs.sh` writes it, in one order whatever the broker's.
fn entity(parts: &[EntityData]) -> String {
    let part = |one: &EntityData| {
        let name = one.entity_name.as_ref().map(|name| peer_text(name.as_bytes()));
        let kind = peer_text(one.entity_type.as_bytes());
        format!("{kind}={}", name.unwrap_or_else(|| "<default>".to_owned()))
    };
    let mut parts: Vec<String> = parts.iter().map(part).collect();
    // user before client-id, as people say it
    parts.sort_by_key(|text| std::cmp::Reverse(text.clone()));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_reads_the_same_in_whatever_order_it_comes() {
        let part = |kind: &str, name: Option<&str>| {
            let name = name.map(|name| StrBytes::from_string(name.to_owned()));
            let kind = StrBytes::from_string(kind.to_owned());
            EntityData::default().with_entity_type(kind).with_entity_name(name)
        };
        let (user, client) = (part("user", Some("al\u{1b}ice")), part("client-id", None));
        let text = entity(&[user.clone(), client.clone()]);
        assert!(text.starts_with("user=al") && text.ends_with("ice, client-id=<default>"));
        assert!(!text.contains('\u{1b}'));
        assert_eq!(entity(&[client, user]), text);
    }
}
