//! Topic and broker configs: defaults, what may be set, and the typed few that the log obeys.
//!
//! It never answers requests: `api/describe_configs` and `api/alter_configs` do.

use std::collections::BTreeMap;

use crate::broker::codec::Codec;
use crate::broker::spec::Version;

/// Config names and values.
pub type Configs = BTreeMap<String, String>;

/// What the log asks of a topic's config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// `max.message.bytes`.
    pub max_message_bytes: usize,
    /// `segment.bytes`.
    pub segment_bytes: usize,
    /// `cleanup.policy` has `compact`.
    pub compacts: bool,
    /// `cleanup.policy` has `delete`.
    pub deletes: bool,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// `retention.ms`; -1 for ever.
    pub retention_ms: i64,
    /// `cleanup.policy` is `compact` and nothing else.
    pub compacts_only: bool,
    /// `message.timestamp.type` is `LogAppendTime`.
    pub log_append_time: bool,
    /// `compression.type`; `None` for `producer`.
    pub compression: Option<Codec>,
    /// `message.timestamp.before.max.ms`, no limit where it is not known.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms` where it is set.
    pub timestamp_after_max_ms: Option<i64>,
    /// `min.insync.replicas`.
    pub min_insync: usize,
}

/// Default values of topic configs in 4.3.
const DEFAULTS: &[(&str, &str)] = &[
    ("cleanup.policy", "delete"),
    ("compression.type", "producer"),
    ("delete.retention.ms", "86400000"),
    ("file.delete.delay.ms", "60000"),
    ("flush.messages", "9223372036854775807"),
    ("flush.ms", "9223372036854775807"),
    ("follower.replication.throttled.replicas", ""),
    ("index.interval.bytes", "4096"),
    ("leader.replication.throttled.replicas", ""),
    ("max.compaction.lag.ms", "9223372036854775807"),
    ("max.message.bytes", "1048588"),
    ("message.timestamp.type", "CreateTime"),
    ("min.cleanable.dirty.ratio", "0.5"),
    ("min.compaction.lag.ms", "0"),
    ("min.insync.replicas", "1"),
    ("preallocate", "false"),
    ("retention.bytes", "-1"),
    ("retention.ms", "604800000"),
    ("segment.bytes", "1073741824"),
    ("segment.index.bytes", "10485760"),
    ("segment.jitter.ms", "0"),
    ("segment.ms", "604800000"),
    ("unclean.leader.election.enable", "false"),
];

/// Topic configs that not every version has, with their defaults from there on, up to there.
const VERSIONED: &[(&str, &str, Version, Version)] = &[
    ("message.timestamp.after.max.ms", "3600000", Version::V4_3, Version::V4_3),
    ("message.timestamp.after.max.ms", "9223372036854775807", Version::V3_9, Version::V3_9),
    ("message.timestamp.before.max.ms", "9223372036854775807", Version::V3_9, Version::V4_3),
    ("message.timestamp.difference.max.ms", "9223372036854775807", Version::V2_8, Version::V3_9),
    ("message.format.version", "3.0-IV1", Version::V2_8, Version::V3_9),
    ("message.downconversion.enable", "true", Version::V2_8, Version::V3_9),
    ("compression.gzip.level", "-1", Version::V3_9, Version::V4_3),
    ("compression.lz4.level", "9", Version::V3_9, Version::V4_3),
    ("compression.zstd.level", "3", Version::V3_9, Version::V4_3),
    ("local.retention.bytes", "-2", Version::V3_9, Version::V4_3),
    ("local.retention.ms", "-2", Version::V3_9, Version::V4_3),
    ("remote.storage.enable", "false", Version::V3_9, Version::V4_3),
];

/// Broker configs that a topic config of another name falls back to.
const BROKER_NAMES: &[(&str, &str)] = &[
    ("max.message.bytes", "message.max.bytes"),
    ("segment.bytes", "log.segment.bytes"),
    ("retention.ms", "log.retention.ms"),
    ("retention.bytes", "log.retention.bytes"),
    ("cleanup.policy", "log.cleanup.policy"),
    ("message.timestamp.type", "log.message.timestamp.type"),
    ("message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms"),
];

/// Broker configs that the simulation knows, with their defaults.
pub const BROKER_DEFAULTS: &[(&str, &str)] = &[
    ("auto.create.topics.enable", "false"),
    ("default.replication.factor", "1"),
    ("fetch.max.bytes", "57671680"),
    ("log.flush.start.offset.checkpoint.interval.ms", "60000"),
    ("log.initial.task.delay.ms", "30000"),
    ("max.incremental.fetch.session.cache.slots", "1000"),
    ("message.max.bytes", "1048588"),
    ("min.insync.replicas", "1"),
    ("num.partitions", "1"),
    ("offsets.retention.minutes", "10080"),
    ("producer.id.expiration.check.interval.ms", "600000"),
    ("producer.id.expiration.ms", "86400000"),
    ("socket.request.max.bytes", "104857600"),
];

/// The default of a topic config in this version, without the broker's own settings.
pub fn topic_defaults(version: Version) -> Configs {
    let held = VERSIONED.iter().filter(|row| (row.2..=row.3).contains(&version));
    let held = held.map(|row| (row.0, row.1));
    DEFAULTS.iter().copied().chain(held).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// The broker config that gives a topic config its default.
pub fn broker_name(topic_name: &str) -> &str {
    let found = BROKER_NAMES.iter().find(|row| row.0 == topic_name);
    found.map_or(topic_name, |row| row.1)
}

/// Why a value cannot be set, in the broker's manner; `None` when it can.
pub fn refusal(version: Version, name: &str, value: &str) -> Option<String> {
    if !topic_defaults(version).contains_key(name) {
        return Some(format!("Unknown topic config name: {name}"));
    }
    let bad = |what: &str| Some(format!("Invalid value {value} for configuration {name}: {what}"));
    let number = value.parse::<i64>();
    match name {
        "cleanup.policy" => {
            let known = value.split(',').all(|one| matches!(one, "delete" | "compact"));
            (!known).then(|| bad("String must be one of: compact, delete")).flatten()
        }
        "compression.type" => {
            let known = value == "producer" || Codec::named(value).is_some();
            (!known)
                .then(|| {
                    bad("String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer")
                })
                .flatten()
        }
        "message.timestamp.type" if !matches!(value, "CreateTime" | "LogAppendTime") => {
            bad("String must be one of: CreateTime, LogAppendTime")
        }
        "segment.bytes"
            if version == Version::V4_3 && number.as_ref().is_ok_and(|n| *n < 1 << 20) =>
        {
            bad("Value must be at least 1048576")
        }
        "min.insync.replicas" if number.as_ref().is_ok_and(|n| *n < 1) => {
            bad("Value must be at least 1")
        }
        _ if (name.ends_with(".ms") || name.ends_with(".bytes")) && number.is_err() => {
            bad("Not a number of type LONG")
        }
        _ => None,
    }
}

impl TopicConfig {
    /// The typed view of what a topic's configs amount to.
    pub fn new(topic: &Configs, broker: &Configs, version: Version) -> Self {
        let defaults = topic_defaults(version);
        let get = |name: &str| {
            let own = topic.get(name).or_else(|| broker.get(broker_name(name)));
            own.or_else(|| defaults.get(name)).cloned().unwrap_or_default()
        };
        let number = |name: &str| get(name).parse::<i64>().unwrap_or(i64::MAX);
        let policy = get("cleanup.policy");
        let compacts = policy.split(',').any(|one| one == "compact");
        Self {
            max_message_bytes: number("max.message.bytes") as usize,
            segment_bytes: number("segment.bytes") as usize,
            compacts,
            deletes: policy.split(',').any(|one| one == "delete"),
            delete_retention_ms: number("delete.retention.ms"),
            retention_ms: number("retention.ms"),
            compacts_only: policy == "compact",
            log_append_time: get("message.timestamp.type") == "LogAppendTime",
            compression: Codec::named(&get("compression.type")),
            timestamp_before_max_ms: get("message.timestamp.before.max.ms")
                .parse()
                .unwrap_or(i64::MAX),
            timestamp_after_max_ms: get("message.timestamp.after.max.ms").parse().ok(),
            min_insync: number("min.insync.replicas") as usize,
        }
    }
}
