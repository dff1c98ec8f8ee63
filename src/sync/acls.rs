//! ACL bindings of a cluster in `control`'s words: read, created, deleted.
//!
//! It never decides which, and knows no ledger.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::cluster::ACLS_PER_REQUEST_MAX;
use crate::cluster::AclEntry;
use crate::cluster::Cluster;
use crate::cluster::EachEntry;
use crate::cluster::Options;
use crate::cluster::error::ClusterError;
use crate::cluster::error::KafkaCode;
use crate::cluster::error::Refusal;
use crate::control::acls::Binding;
use crate::control::acls::Operation;
use crate::control::acls::PatternType;
use crate::control::acls::Permission;
use crate::control::acls::ResourceType;
use crate::control::acls::shown::line;
use crate::control::topic::Fault;
use crate::ids::Side;
use crate::ids::TopicName;

/// What a cluster has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its bindings.
    pub bindings: BTreeSet<Binding>,
    /// So many are of a kind that this isolog does not know, or have names that cannot be
    /// repeated safely; they are left alone.
    pub strange: usize,
}

/// As whom a destination knows us, where that is said or follows from how we connect.
pub fn own_principal(options: &Options, said: Option<&str>) -> Option<String> {
    let security = &options.security;
    let known = match (&security.login, &security.tls) {
        (Some(login), _) => login.user().map(|user| format!("User:{user}")),
        // a certificate's name is mapped by rules that only the brokers know
        (None, Some(_)) => None,
        (None, None) => Some("User:ANONYMOUS".to_owned()),
    };
    said.map(str::to_owned).or(known)
}

/// All bindings of a cluster.
pub async fn observe(cluster: &Cluster) -> Result<Found, Fault> {
    let described = cluster.describe_acls().await.map_err(|e| fault_of(cluster.side(), &e))?;
    let mut found = Found { strange: described.unsafe_names, ..Found::default() };
    for entry in described.entries {
        match binding(entry) {
            Some(binding) => drop(found.bindings.insert(binding)),
            None => found.strange += 1,
        }
    }
    Ok(found)
}

/// Creates bindings; each that was refused with the reason. The error is about all that is not
/// known to be there: read it back.
pub async fn create(
    cluster: &Cluster,
    bindings: &[Binding],
) -> Result<BTreeMap<Binding, Fault>, Fault> {
    change(cluster, bindings, false).await
}

/// Deletes bindings; otherwise as `create`.
pub async fn delete(
    cluster: &Cluster,
    bindings: &[Binding],
) -> Result<BTreeMap<Binding, Fault>, Fault> {
    change(cluster, bindings, true).await
}

async fn change(
    cluster: &Cluster,
    bindings: &[Binding],
    is_deleted: bool,
) -> Result<BTreeMap<Binding, Fault>, Fault> {
    let mut refused = BTreeMap::new();
    for some in bindings.chunks(ACLS_PER_REQUEST_MAX) {
        let entries: Vec<AclEntry> = some.iter().map(entry).collect();
        let each = match is_deleted {
            true => cluster.delete_acls(&entries).await,
            false => cluster.create_acls(&entries).await,
        };
        let each = each.map_err(|error| fault_of(cluster.side(), &error))?;
        refused.extend(refusals(cluster, is_deleted, some, each));
    }
    Ok(refused)
}

/// Whether we may write into each of these topics; one that is not there, or not seen, is left
/// out.
pub async fn may_write(
    cluster: &Cluster,
    topics: &[TopicName],
) -> Result<BTreeMap<TopicName, bool>, Fault> {
    let told = cluster.topic_operations(topics).await;
    let told = told.map_err(|error| fault_of(cluster.side(), &error))?;
    let write = 1u32 << Operation::Write.number();
    let known = told.into_iter().filter_map(|(name, bits)| Some((name, bits.ok()??)));
    Ok(known.map(|(name, bits)| (name, bits & write != 0)).collect())
}

fn refusals<'a>(
    cluster: &Cluster,
    is_deleted: bool,
    some: &'a [Binding],
    each: EachEntry,
) -> impl Iterator<Item = (Binding, Fault)> + 'a {
    let first = cluster.options().bootstrap.first();
    let bootstrap = first.map_or_else(String::new, |(host, port)| format!("{host}:{port}"));
    let refused = some.iter().zip(each).filter_map(|(one, outcome)| Some((one, outcome.err()?)));
    refused
        .map(move |(one, refusal)| (one.clone(), refused_as(one, &refusal, &bootstrap, is_deleted)))
}

/// Why it was refused, and how it is done by hand.
fn refused_as(binding: &Binding, refusal: &Refusal, bootstrap: &str, is_deleted: bool) -> Fault {
    let done = if is_deleted { "deleted" } else { "created" };
    let line = line(binding, bootstrap, is_deleted);
    let text = format!("the binding could not be {done} ({refusal}); by hand: {line}");
    Fault { code: word(refusal).to_owned(), text }
}

/// SECURITY_DISABLED.
const NO_AUTHORIZER: i16 = 54;

/// Cluster Linking's word for why a cluster's ACLs cannot be read or changed.
fn fault_of(side: Side, error: &ClusterError) -> Fault {
    let code = error.code();
    let message = None;
    let known = code.map(|code| word(&Refusal { code, message }));
    let text = match code {
        Some(KafkaCode(NO_AUTHORIZER)) => format!(
            "the {side} has no authorizer, so it has no ACLs: set authorizer.class.name there, or \
             acl.sync.enable = false here ({error})"
        ),
        _ => error.to_string(),
    };
    Fault { code: known.unwrap_or("INTERNAL_ERROR").to_owned(), text }
}

fn word(refusal: &Refusal) -> &'static str {
    match refusal.code.0 {
        NO_AUTHORIZER => "SECURITY_DISABLED_ERROR",
        31 => "AUTHORIZATION_ERROR",
        42 | 35 => "INVALID_REQUEST_ERROR",
        44 => "POLICY_VIOLATION_ERROR",
        _ => "INTERNAL_ERROR",
    }
}

fn binding(entry: AclEntry) -> Option<Binding> {
    Some(Binding {
        resource: ResourceType::of_number(entry.resource)?,
        pattern: PatternType::of_number(entry.pattern)?,
        name: entry.name,
        principal: entry.principal,
        host: entry.host,
        operation: Operation::of_number(entry.operation)?,
        permission: Permission::of_number(entry.permission)?,
    })
}

fn entry(binding: &Binding) -> AclEntry {
    AclEntry {
        resource: binding.resource.number(),
        pattern: binding.pattern.number(),
        name: binding.name.clone(),
        principal: binding.principal.clone(),
        host: binding.host.clone(),
        operation: binding.operation.number(),
        permission: binding.permission.number(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> AclEntry {
        AclEntry {
            resource: 2,
            pattern: 4,
            name: "orders".into(),
            principal: "User:a".into(),
            host: "*".into(),
            operation: 4,
            permission: 3,
        }
    }

    #[test]
    fn a_binding_goes_back_as_it_came_and_what_is_unknown_is_left_alone() {
        let one = binding(some()).unwrap();
        assert_eq!(one.to_string(), "ALLOW WRITE on TOPIC PREFIXED orders to User:a from *");
        assert_eq!(entry(&one), some());
        assert_eq!(binding(AclEntry { resource: 99, ..some() }), None);
        assert_eq!(binding(AclEntry { operation: 0, ..some() }), None);
    }

    #[test]
    fn a_refusal_says_why_and_how_it_is_done_by_hand() {
        let one = binding(some()).unwrap();
        let refusal = Refusal { code: KafkaCode(31), message: None };
        let fault = refused_as(&one, &refusal, "b:9092", false);
        assert_eq!(fault.code, "AUTHORIZATION_ERROR");
        let line = "by hand: kafka-acls.sh --bootstrap-server b:9092 --add --allow-principal \
                    'User:a' --allow-host '*' --operation Write --topic 'orders' \
                    --resource-pattern-type prefixed";
        assert!(fault.text.starts_with("the binding could not be created ("), "{}", fault.text);
        assert!(fault.text.ends_with(line), "{}", fault.text);
        assert!(refused_as(&one, &refusal, "b:9092", true).text.contains("--remove --force"));
    }
}
