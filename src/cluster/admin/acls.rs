//! ACL bindings of a cluster: described, created and deleted one by one, incrementally.
//!
//! It never knows what a binding means: types, operations and permissions stay Kafka's numbers.

use kafka_protocol::messages::CreateAclsRequest;
use kafka_protocol::messages::DeleteAclsRequest;
use kafka_protocol::messages::DescribeAclsRequest;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;

use crate::cluster::Cluster;
use crate::cluster::Target;
use crate::cluster::admin::NOT_CONTROLLER;
use crate::cluster::admin::said;
use crate::cluster::call::text;
use crate::cluster::error::ClusterError;
use crate::cluster::error::Kind;
use crate::cluster::error::Refusal;
use crate::cluster::error::Result;
use crate::wire::error::KafkaCode;
use crate::wire::prim::peer_text;

/// How many bindings one request creates or deletes.
pub const ACLS_PER_REQUEST_MAX: usize = 200;

/// Kafka's number for "any" in a filter.
const ANY: i8 = 1;

/// A binding in Kafka's numbers (`ResourceType`, `PatternType`, `AclOperation`,
/// `AclPermissionType`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AclEntry {
    /// What it is about.
    pub resource: i8,
    /// How its resources are named.
    pub pattern: i8,
    /// Their name, or how it begins.
    pub name: String,
    /// Who, such as `User:alice`.
    pub principal: String,
    /// From where.
    pub host: String,
    /// What is done.
    pub operation: i8,
    /// Whether it is allowed.
    pub permission: i8,
}

/// All bindings of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// Each of them once.
    pub entries: Vec<AclEntry>,
    /// So many have names that cannot be shown or repeated safely: control characters, or more
    /// than 512 letters.
    pub unsafe_names: usize,
}

/// What became of each entry of a request, in its order.
pub type EachEntry = Vec<std::result::Result<(), Refusal>>;

impl Cluster {
    /// All bindings. SECURITY_DISABLED (54) where the cluster has no authorizer. Needs DESCRIBE on
    /// the cluster. Any broker answers, each from what it knows: a moment behind the controller.
    pub async fn describe_acls(&self) -> Result<Described> {
        let request = DescribeAclsRequest::default()
            .with_resource_type_filter(ANY)
            .with_resource_name_filter(None)
            .with_pattern_type_filter(ANY)
            .with_principal_filter(None)
            .with_host_filter(None)
            .with_operation(ANY)
            .with_permission_type(ANY);
        let response = self.ask(Target::Any, &request).await?;
        let code = KafkaCode(response.error_code);
        if !code.is_none() {
            let kind = Kind::Refused { code, message: said(&response.error_message) };
            let peer = self.peer(None, "any broker".into());
            return Err(ClusterError::new(&peer, "DescribeAcls", kind));
        }
        let mut described = Described::default();
        for resource in &response.resources {
            for acl in &resource.acls {
                let texts = [&resource.resource_name, &acl.principal, &acl.host];
                let [Some(name), Some(principal), Some(host)] = texts.map(|text| exact(text))
                else {
                    described.unsafe_names += 1;
                    continue;
                };
                described.entries.push(AclEntry {
                    resource: resource.resource_type,
                    pattern: resource.pattern_type,
                    name,
                    principal,
                    host,
                    operation: acl.operation,
                    permission: acl.permission_type,
                });
            }
        }
        Ok(described)
    }

    /// Creates bindings, at most [`ACLS_PER_REQUEST_MAX`]; one that is there already counts as
    /// created. Safe to repeat. Needs ALTER on the cluster.
    pub async fn create_acls(&self, entries: &[AclEntry]) -> Result<EachEntry> {
        let creation = |one: &AclEntry| {
            AclCreation::default()
                .with_resource_type(one.resource)
                .with_resource_name(text(&one.name))
                .with_resource_pattern_type(one.pattern)
                .with_principal(text(&one.principal))
                .with_host(text(&one.host))
                .with_operation(one.operation)
                .with_permission_type(one.permission)
        };
        let creations = entries.iter().map(creation).collect();
        let request = CreateAclsRequest::default().with_creations(creations);
        let response = self
            .ask_controller(&request, |response| {
                response.results.iter().any(|one| KafkaCode(one.error_code) == NOT_CONTROLLER)
            })
            .await?;
        let each = response.results.iter().map(|one| outcome(one.error_code, &one.error_message));
        Ok(filled(each.collect(), entries.len()))
    }

    /// Deletes exactly these bindings, at most [`ACLS_PER_REQUEST_MAX`]; one that is gone already
    /// counts as deleted. Safe to repeat. Needs ALTER on the cluster.
    pub async fn delete_acls(&self, entries: &[AclEntry]) -> Result<EachEntry> {
        let filter = |one: &AclEntry| {
            DeleteAclsFilter::default()
                .with_resource_type_filter(one.resource)
                .with_resource_name_filter(Some(text(&one.name)))
                .with_pattern_type_filter(one.pattern)
                .with_principal_filter(Some(text(&one.principal)))
                .with_host_filter(Some(text(&one.host)))
                .with_operation(one.operation)
                .with_permission_type(one.permission)
        };
        let filters = entries.iter().map(filter).collect();
        let request = DeleteAclsRequest::default().with_filters(filters);
        let response = self
            .ask_controller(&request, |response| {
                let all = response.filter_results.iter();
                all.into_iter().any(|one| KafkaCode(one.error_code) == NOT_CONTROLLER)
            })
            .await?;
        let each = response.filter_results.iter().map(|one| {
            let whole = outcome(one.error_code, &one.error_message);
            let mut parts = one.matching_acls.iter();
            whole.and_then(|()| {
                parts.try_for_each(|one| outcome(one.error_code, &one.error_message))
            })
        });
        Ok(filled(each.collect(), entries.len()))
    }
}

/// A text that is shown and sent back as it is; `None` for one that must not be.
fn exact(text: &str) -> Option<String> {
    Some(peer_text(text.as_bytes())).filter(|shown| shown == text)
}

fn outcome(
    code: i16,
    message: &Option<kafka_protocol::protocol::StrBytes>,
) -> std::result::Result<(), Refusal> {
    let code = KafkaCode(code);
    if code.is_none() { Ok(()) } else { Err(Refusal { code, message: said(message) }) }
}

/// What a broker left out is not known to be done.
fn filled(mut each: EachEntry, count: usize) -> EachEntry {
    each.truncate(count);
    let unknown = || Err(Refusal { code: KafkaCode::UNKNOWN, message: None });
    each.resize_with(count, unknown);
    each
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_as_it_is_or_not_at_all() {
        assert_eq!(exact("User:CN=ä, O=x/y"), Some("User:CN=ä, O=x/y".to_owned()));
        assert_eq!(exact("a\u{1b}[2J"), None);
        assert_eq!(exact("a\u{202e}b"), None);
        assert_eq!(exact(&"x".repeat(100_000)), None);
    }

    #[test]
    fn what_was_not_answered_is_not_done() {
        let each = filled(vec![Ok(())], 2);
        assert!(each[0].is_ok());
        assert_eq!(each[1].as_ref().map_err(|one| one.code), Err(KafkaCode::UNKNOWN));
        assert_eq!(filled(vec![Ok(()); 5], 2).len(), 2);
    }
}
