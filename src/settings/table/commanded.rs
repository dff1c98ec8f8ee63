//! The rows of the table that only links have which are created over REST, by the names of Cluster
//! Linking.
//!
//! It never reads a value.

use crate::settings::property::Default;
use crate::settings::property::Effect;
use crate::settings::property::Kind;
use crate::settings::property::Property;
use crate::settings::property::Scope;

use super::WEEK_MS;

/// Why no cluster dials isolog.
const DIALS_BOTH: &str = "isolog dials both clusters: run it where it reaches both, beside the \
                          source if that is the only such place, with the cluster that is copied \
                          to as its [destination]; its link is DESTINATION and OUTBOUND there";

const fn row(
    name: &'static str,
    effect: Effect,
    kind: Kind,
    default: Default,
    doc: &'static str,
) -> Property {
    Property { name, scopes: &[Scope::Commanded], kind, default, effect, sensitive: false, doc }
}

/// What links have that are created over REST and by `isolog link create`; in the file they come
/// with a later release.
pub const ONLY_COMMANDED: &[Property] = &[
    row(
        "link.mode",
        Effect::Link,
        Kind::WordBut(&["DESTINATION", "BIDIRECTIONAL"], &[("SOURCE", DIALS_BOTH)]),
        Default::Is("DESTINATION"),
        "DESTINATION: records come from the remote cluster to this one. BIDIRECTIONAL: both ways, \
         topic by topic; it is taken and shown, what it orders besides comes with a later release. \
         DESTINATION may be raised to BIDIRECTIONAL later, never taken back.",
    ),
    row(
        "connection.mode",
        Effect::Never,
        Kind::WordBut(&["OUTBOUND"], &[("INBOUND", DIALS_BOTH)]),
        Default::Is("OUTBOUND"),
        "Who opens connections: always isolog, to both clusters.",
    ),
    row(
        "cluster.link.prefix",
        Effect::Never,
        Kind::Prefix(12),
        Default::None,
        "What stands before the source topic's name in the name of its mirror topic.",
    ),
    row(
        "consumer.group.prefix.enable",
        Effect::Task,
        Kind::Bool,
        Default::Is("false"),
        "Whether groups get the prefix of cluster.link.prefix at the destination; not with \
         link.mode=BIDIRECTIONAL.",
    ),
    row(
        "acl.sync.enable",
        Effect::Task,
        Kind::Bool,
        Default::Is("false"),
        "Whether ACLs of the source are copied, those that acl.filters takes. Bindings that would \
         let others change a mirror topic are held back until its promote \
         (mirror.write.protection). Not with cluster.link.prefix: a binding names topics as the \
         source does.",
    ),
    row(
        "acl.sync.ms",
        Effect::Task,
        Kind::Millis(1000, WEEK_MS),
        Default::Is("5000"),
        "How often the ACLs of both clusters are compared.",
    ),
    row(
        "acl.filters",
        Effect::Task,
        Kind::AclFilters,
        Default::None,
        "Which ACLs are copied; acl.sync.enable needs it. What no line takes is left out, a DENY \
         too: a filter that takes ALLOW alone copies rights that the source narrows.",
    ),
    row(
        "acl.sync.principal",
        Effect::Task,
        Kind::Text(PRINCIPAL_BYTES_MAX),
        Default::None,
        "As whom the destination knows isolog, such as User:CN=isolog: it keeps its own rights. \
         By default the user of its login there, and User:ANONYMOUS without login and certificate.",
    ),
    row(
        "mirror.write.protection",
        Effect::Task,
        Kind::Word(&["rights", "deny-all", "none"]),
        Default::Is("rights"),
        "How others are kept from changing mirror topics at a destination with an authorizer. \
         rights: while ACLs are copied, bindings that allow it are held back, or denied for each \
         mirror topic. deny-all: WRITE is denied to everybody as well, also where no ACLs are \
         copied; isolog must be a super user. none: bindings are applied as they are.",
    ),
];

/// Principals of certificates are distinguished names.
const PRINCIPAL_BYTES_MAX: usize = 500;
