//! What a turn could not do, in Cluster Linking's words and for people.
//!
//! It never decides whether that is tried again.

use std::collections::BTreeSet;

use crate::cluster::error::ClusterError;
use crate::cluster::error::KafkaCode;
use crate::cluster::error::Kind;
use crate::control::topic::Fault;
use crate::ids::GroupName;
use crate::ids::Side;
use crate::sync::groups::ask::Failure;
use crate::sync::groups::put;

/// How many things that went wrong a turn tells.
const ERRORS_MAX: usize = 50;
/// How many groups one text names.
const NAMED_MAX: usize = 5;
/// What is said of share groups together.
pub const SHARES: &str = "share groups";
/// What narrows which groups are followed.
pub const FILTERS: &str = "consumer.offset.group.filters";
pub const INTERNAL: &str = "INTERNAL_ERROR";
/// Of what there was no time for.
pub const LATE: &str = "TIMEOUT_ERROR";

/// The first errors, and how many more there were.
pub fn bounded(mut errors: Vec<(String, Fault)>) -> Vec<(String, Fault)> {
    let more = errors.len().saturating_sub(ERRORS_MAX);
    if more > 0 {
        errors.truncate(ERRORS_MAX);
        let text = format!("{more} more errors of groups are not told");
        errors.push(("*".to_owned(), Fault { code: "SUPPRESSED_ERRORS".to_owned(), text }));
    }
    errors
}

/// More pass than can be followed.
pub fn too_many(what: &str, count: usize, max: usize) -> Fault {
    let text = format!(
        "{count} {what} of the source pass, and {max} are followed at most: narrow the filter, or \
         give some groups a link of their own"
    );
    Fault { code: "MISCONFIGURATION_ERROR".to_owned(), text }
}

/// Share groups that one side cannot have.
pub fn no_shares(side: Side, groups: &BTreeSet<GroupName>) -> Fault {
    let named = groups.iter().take(NAMED_MAX).map(GroupName::as_str).collect::<Vec<_>>().join(", ");
    let (what, more) = match groups.len() {
        1 => ("1 share group".to_owned(), String::new()),
        count if count <= NAMED_MAX => (format!("{count} share groups"), String::new()),
        count => (format!("{count} share groups"), format!(" and {} more", count - NAMED_MAX)),
    };
    let text = format!(
        "{what} of the source ({named}{more}) cannot be followed: the {side} has no share groups; \
         turn them on there by kafka-features --bootstrap-server HOST:PORT upgrade --feature \
         share.version=1 (Kafka 4.1 or newer), or leave them out of {FILTERS}"
    );
    Fault { code: "INVALID_REQUEST_ERROR".to_owned(), text }
}

/// A group that is read on both sides.
pub fn in_use(group: &GroupName) -> Fault {
    let text = format!(
        "group {group} has members at the destination and goes on at the source: its offsets are \
         left alone; stop its consumers on one side, or leave it out of \
         consumer.offset.group.filters"
    );
    Fault { code: "CONSUMER_GROUP_IN_USE_ERROR".to_owned(), text }
}

/// Why nothing was done for a group.
pub fn fault(failure: &Failure, side: &str, what: &str) -> Fault {
    match failure {
        Failure::Error(error) => fault_of(error),
        Failure::Late => {
            let text = "the time of a promote's last turn was over before its offsets were set";
            Fault { code: LATE.to_owned(), text: text.to_owned() }
        }
        Failure::Code(code) => refused(*code, &format!("the {side} refuses the {what}")),
    }
}

/// Cluster Linking's word for a refusal.
pub fn refused(code: KafkaCode, text: &str) -> Fault {
    let word = match code.0 {
        29..=31 => "AUTHORIZATION_ERROR",
        3 | 100 => "UNKNOWN_TOPIC_OR_PARTITION_ERROR",
        17 => "INVALID_TOPIC",
        24 | 42 | put::OTHER_KIND => "INVALID_REQUEST_ERROR",
        25 | 68 => "CONSUMER_GROUP_IN_USE_ERROR",
        44 => "POLICY_VIOLATION_ERROR",
        _ => INTERNAL,
    };
    let cure = match code.0 {
        29..=31 => ": grant what `isolog check` prints; it goes on by itself",
        put::OTHER_KIND => {
            ": a group of that name is there, and one of them is a share group and the other is \
             not; delete one, or leave it out of consumer.offset.group.filters"
        }
        14..=16 => ": its coordinator moves, loads or is away; it goes on by itself",
        _ => "",
    };
    Fault { code: word.to_owned(), text: format!("{text}: {code}{cure}") }
}

/// Cluster Linking's word for a cluster that does not answer, or lets us not in.
pub fn fault_of(error: &ClusterError) -> Fault {
    let code = match &error.kind {
        Kind::Login(_) => "AUTHENTICATION_ERROR",
        Kind::Refused { code, .. } => return refused(*code, &error.to_string()),
        _ => INTERNAL,
    };
    Fault { code: code.to_owned(), text: error.to_string() }
}
