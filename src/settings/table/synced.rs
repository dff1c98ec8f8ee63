//! The rows of the table about what links call their copies and what they take over beside records:
//! offsets of consumer groups, configs of topics and ACLs, by the names of Cluster Linking.
//!
//! It never reads a value.

use crate::control::task::configs::ALWAYS;
use crate::control::task::configs::INCLUDABLE;
use crate::settings::property::Default;
use crate::settings::property::Effect;
use crate::settings::property::Kind;
use crate::settings::property::Property;

use super::LINK;
use super::WEEK_MS;
use super::plain;

/// What `topic.config.sync.include` may name; what always follows may stand there too.
const INCLUDED: &[&str] = &{
    let mut all = [""; INCLUDABLE.len() + ALWAYS.len()];
    let mut at = 0;
    while at < all.len() {
        let rest = at.saturating_sub(INCLUDABLE.len());
        all[at] = if at < INCLUDABLE.len() { INCLUDABLE[at] } else { ALWAYS[rest] };
        at += 1;
    }
    all
};

/// Why no cluster dials isolog.
const DIALS_BOTH: &str = "isolog dials both clusters: run it where it reaches both, beside the \
                          source if that is the only such place, with the cluster that is copied \
                          to as its [destination]; its link is DESTINATION and OUTBOUND there";

/// What every link has.
pub const SYNCED: &[Property] = &[
    plain(
        "link.mode",
        LINK,
        Effect::Link,
        Kind::WordBut(&["DESTINATION", "BIDIRECTIONAL"], &[("SOURCE", DIALS_BOTH)]),
        Default::Is("DESTINATION"),
        "DESTINATION: records come from the remote cluster to this one. BIDIRECTIONAL: both ways, \
         topic by topic; it is taken and shown, what it orders besides comes with a later release. \
         DESTINATION may be raised to BIDIRECTIONAL later, never taken back.",
    ),
    plain(
        "connection.mode",
        LINK,
        Effect::Never,
        Kind::WordBut(&["OUTBOUND"], &[("INBOUND", DIALS_BOTH)]),
        Default::Is("OUTBOUND"),
        "Who opens connections: always isolog, to both clusters.",
    ),
    plain(
        "cluster.link.prefix",
        LINK,
        Effect::Never,
        Kind::Prefix(12),
        Default::None,
        "What stands before the source topic's name in the name of its mirror topic. It cannot be \
         changed while the link has mirror topics.",
    ),
    plain(
        "topic.rename.format",
        LINK,
        Effect::Never,
        Kind::TopicFormat,
        Default::None,
        "What a mirror topic is called, with ${topic} for its source topic's name, such as \
         ${topic}.replica; not beside cluster.link.prefix. It cannot be changed while the link has \
         mirror topics.",
    ),
    plain(
        "consumer.group.prefix.enable",
        LINK,
        Effect::Task,
        Kind::Bool,
        Default::Is("false"),
        "Whether groups get the prefix of cluster.link.prefix at the destination; not with \
         link.mode=BIDIRECTIONAL.",
    ),
    plain(
        "consumer.offset.sync.enable",
        LINK,
        Effect::Task,
        Kind::Bool,
        Default::Is("false"),
        "Whether what consumer groups of the source have committed is committed at the destination \
         too, so that consumers that move go on where they were.",
    ),
    plain(
        "consumer.offset.sync.ms",
        LINK,
        Effect::Task,
        Kind::Millis(1000, WEEK_MS),
        Default::Is("30000"),
        "How often offsets are read at both sides and differences are committed.",
    ),
    plain(
        "consumer.offset.group.filters",
        LINK,
        Effect::Task,
        Kind::GroupFilters,
        Default::None,
        "Which groups are followed; needed where consumer.offset.sync.enable is true. An EXCLUDE \
         wins. console-consumer-*, connect-* and __* are left out unless a rule names them. Leave \
         out groups whose readers assign() partitions at the destination themselves: nobody can \
         see them there.",
    ),
    plain(
        "topic.config.sync.ms",
        LINK,
        Effect::Task,
        Kind::Millis(1000, WEEK_MS),
        Default::Is("5000"),
        "How often the configs of mirror topics are compared with those of their sources.",
    ),
    plain(
        "topic.config.sync.include",
        LINK,
        Effect::Task,
        Kind::Words(INCLUDED),
        Default::Is(
            "delete.retention.ms,max.compaction.lag.ms,min.cleanable.dirty.ratio,\
             min.compaction.lag.ms,retention.bytes,retention.ms,segment.bytes,segment.ms",
        ),
        "Which configs of topics follow the source, beside those that always do: cleanup.policy, \
         max.message.bytes, message.timestamp.type and message.timestamp.difference.max.ms. All \
         others are left as they are. While a topic is mirrored it has what an exact copy needs \
         (message.timestamp.type=CreateTime, compression.type=producer, no limits of timestamps, \
         max.message.bytes of 50 MiB or more), whatever the source has. A topic that was there \
         before isolog keeps a longer retention than its source has.",
    ),
    plain(
        "acl.sync.enable",
        LINK,
        Effect::Task,
        Kind::Bool,
        Default::Is("false"),
        "Whether ACLs of the source are copied, those that acl.filters takes. Bindings that would \
         let others change a mirror topic are held back until its promote \
         (mirror.write.protection). Not with cluster.link.prefix or topic.rename.format: a \
         binding names topics as the source does.",
    ),
    plain(
        "acl.sync.ms",
        LINK,
        Effect::Task,
        Kind::Millis(1000, WEEK_MS),
        Default::Is("5000"),
        "How often the ACLs of both clusters are compared.",
    ),
    plain(
        "acl.filters",
        LINK,
        Effect::Task,
        Kind::AclFilters,
        Default::None,
        "Which ACLs are copied; acl.sync.enable needs it. What no line takes is left out, a DENY \
         too: a filter that takes ALLOW alone copies rights that the source narrows.",
    ),
    plain(
        "acl.sync.principal",
        LINK,
        Effect::Task,
        Kind::Text(PRINCIPAL_BYTES_MAX),
        Default::None,
        "As whom the destination knows isolog, such as User:CN=isolog: it keeps its own rights. \
         By default the user of its login there, and User:ANONYMOUS without login and certificate.",
    ),
    plain(
        "mirror.write.protection",
        LINK,
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
