//! The rows of the table that only links have which are created over REST, by the names of Cluster
//! Linking.
//!
//! It never reads a value.

use crate::settings::property::Default;
use crate::settings::property::Effect;
use crate::settings::property::Kind;
use crate::settings::property::Property;
use crate::settings::property::Scope;

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

/// What only links have that are created over REST and by `isolog link create`; in the file it
/// comes with a later release.
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
];
