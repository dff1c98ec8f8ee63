//! What a hand grants at a real cluster, and takes back.
//!
//! It never waits until brokers know it.

use kafka_protocol::messages::CreateAclsRequest;
use kafka_protocol::messages::DeleteAclsRequest;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;

use super::ALLOW;
use super::Hand;
use super::LITERAL;
use super::Operation;
use super::RealError;
use super::TOPIC;
use super::refused;
use super::text;

impl Hand {
    /// Allows a principal an operation on a topic; all others are refused it from then on.
    pub fn allow(&self, who: &str, operation: Operation, topic: &str) -> Result<(), RealError> {
        self.allow_on((TOPIC, topic, LITERAL), who, &[operation])
    }

    /// The same on a resource, at once: its type, its name, its pattern's type, in Kafka's numbers.
    pub fn allow_on(
        &self,
        (kind, name, pattern): (i8, &str, i8),
        who: &str,
        operations: &[Operation],
    ) -> Result<(), RealError> {
        let acl = |operation: &Operation| {
            AclCreation::default()
                .with_resource_type(kind)
                .with_resource_name(text(name))
                .with_resource_pattern_type(pattern)
                .with_principal(text(who))
                .with_host(text("*"))
                .with_operation(*operation as i8)
                .with_permission_type(ALLOW)
        };
        let acls = operations.iter().map(acl).collect();
        let answer = self.ask(2, &CreateAclsRequest::default().with_creations(acls))?;
        answer.results.iter().try_for_each(|one| refused(name, one.error_code))
    }

    /// Takes back what `allow_on` gave.
    pub fn disallow_on(
        &self,
        (kind, name, pattern): (i8, &str, i8),
        who: &str,
        operation: Operation,
    ) -> Result<(), RealError> {
        let filter = DeleteAclsFilter::default()
            .with_resource_type_filter(kind)
            .with_resource_name_filter(Some(text(name)))
            .with_pattern_type_filter(pattern)
            .with_principal_filter(Some(text(who)))
            .with_host_filter(None)
            .with_operation(operation as i8)
            .with_permission_type(ALLOW);
        let answer = self.ask(2, &DeleteAclsRequest::default().with_filters(vec![filter]))?;
        let one = answer.filter_results.first();
        refused(name, one.map_or(-1, |one| one.error_code))?;
        match one.map_or(0, |one| one.matching_acls.len()) {
            1 => Ok(()),
            count => Err(RealError::new(format!("{count} ACLs of {name} were taken back"))),
        }
    }
}
