//! Every metric's name, unit, labels and help text.
//!
//! It never measures: who measures takes the name from here.

mod exporters;
mod links;
mod page;
mod process;

pub use self::exporters::*;
pub use self::links::*;
pub use self::page::page;
pub use self::process::*;

/// How a metric moves.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only up, from zero at each start of the process.
    Counter,
    /// Up and down.
    Gauge,
    /// Counters by class, their sum and their count.
    Histogram,
}

impl Kind {
    /// The word of the Prometheus text format.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Copy, Clone, Debug)]
pub struct Meter {
    /// The name; its last word is the unit, or `total` for a counter.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// What is counted.
    pub unit: &'static str,
    /// The names of its labels, in order.
    pub labels: &'static [&'static str],
    /// What it says, in a sentence.
    pub help: &'static str,
}

const PARTITION: &[&str] = &["link", "topic", "partition"];
const LINK: &[&str] = &["link"];
const TOPIC: &[&str] = &["link", "topic"];
const SIDE: &[&str] = &["side"];

const fn gauge(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Meter {
    Meter { name, kind: Kind::Gauge, unit, labels, help }
}

const fn counter(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Meter {
    Meter { name, kind: Kind::Counter, unit, labels, help }
}

/// Records between the two ends.
pub const PARTITION_LAG_RECORDS: Meter = gauge(
    "isolog_partition_lag_records",
    "records",
    PARTITION,
    "Offsets that the source has and the destination has not; absent while unknown.",
);
/// Bytes between the two ends, the known part.
pub const PARTITION_LAG_BYTES: Meter = gauge(
    "isolog_partition_lag_bytes",
    "bytes",
    PARTITION,
    "Record bytes fetched and not yet acknowledged: the known part of the lag; absent where \
     nothing of it is known.",
);
/// Age of the oldest record that is not at the destination.
pub const PARTITION_LAG_MS: Meter = gauge(
    "isolog_partition_lag_ms",
    "milliseconds",
    PARTITION,
    "For how long the destination has not had all that the source had; 0 when it has.",
);
/// The source's end.
pub const PARTITION_SOURCE_END: Meter = gauge(
    "isolog_partition_source_end",
    "offset",
    PARTITION,
    "The offset up to which the source can be mirrored.",
);
/// The destination's end.
pub const PARTITION_DESTINATION_END: Meter = gauge(
    "isolog_partition_destination_end",
    "offset",
    PARTITION,
    "The next offset to be written at the destination: the position of the mirror.",
);
/// The destination's high watermark.
pub const PARTITION_DESTINATION_HWM: Meter = gauge(
    "isolog_partition_destination_hwm",
    "offset",
    PARTITION,
    "The offset up to which consumers at the destination can read.",
);
/// State and reason.
pub const PARTITION_STATE: Meter = gauge(
    "isolog_partition_state",
    "1",
    &["link", "topic", "partition", "state", "reason"],
    "1 with the state a mirror partition is in; reason is one of the words of docs/STATES.md.",
);
/// State of a link.
pub const LINK_STATE: Meter =
    gauge("isolog_link_state", "1", &["link", "state"], "1 with the state a link is in.");
/// Partitions of a link.
pub const LINK_PARTITIONS: Meter =
    gauge("isolog_link_partitions", "partitions", LINK, "Partitions that the link mirrors.");
/// Halted partitions of a link.
pub const LINK_PARTITIONS_HALTED: Meter = gauge(
    "isolog_link_partitions_halted",
    "partitions",
    LINK,
    "Partitions that a rule has stopped: each needs a person.",
);
/// Partitions whose lag is not known.
pub const LINK_PARTITIONS_LAG_UNKNOWN: Meter = gauge(
    "isolog_link_partitions_lag_unknown",
    "partitions",
    LINK,
    "Partitions that the link mirrors, or is meant to, and whose lag is not known now: the \
     source or the destination does not tell.",
);
/// Mirror topics by status.
pub const LINK_MIRROR_TOPICS: Meter = gauge(
    "isolog_link_mirror_topic_count",
    "topics",
    &["link", "status"],
    "Mirror topics of the link with that status of Cluster Linking, such as ACTIVE or FAILED.",
);
/// The greatest lag of a topic.
pub const TOPIC_LAG_RECORDS: Meter = gauge(
    "isolog_link_mirror_topic_offset_lag",
    "records",
    TOPIC,
    "The greatest lag of a partition of the mirror topic; absent while that of one is unknown.",
);
/// The greatest lag of a topic, in time.
pub const TOPIC_LAG_MS: Meter = gauge(
    "isolog_link_mirror_topic_lag_ms",
    "milliseconds",
    TOPIC,
    "The greatest lag of a partition of the mirror topic in time; absent while that of one is \
     unknown.",
);
/// Records of a topic.
pub const TOPIC_APPEND_RECORDS: Meter = counter(
    "isolog_link_mirror_topic_records_total",
    "records",
    TOPIC,
    "Offsets of the mirror topic that the destination has acknowledged.",
);
/// Bytes of a topic.
pub const TOPIC_APPEND_BYTES: Meter = counter(
    "isolog_link_mirror_topic_bytes_total",
    "bytes",
    TOPIC,
    "Bytes of batches of the mirror topic, headers included, that the destination has \
     acknowledged.",
);
/// How long a link waited for its own limit.
pub const LINK_LIMITED_MS: Meter = counter(
    "isolog_link_limited_ms_total",
    "milliseconds",
    LINK,
    "For how long link.max.bytes.per.second has put fetches off.",
);
/// Partitions of a link that are read from a follower.
pub const LINK_FOLLOWER_PARTITIONS: Meter = gauge(
    "isolog_link_follower_partitions",
    "partitions",
    LINK,
    "Partitions that are fetched from a follower of the source, which their leader names as the \
     nearest for client.rack; none without that.",
);
/// Records held back, of a link.
pub const LINK_HELD_RECORDS: Meter = gauge(
    "isolog_link_held_records",
    "records",
    LINK,
    "Records of the source that wait behind open transactions of its own: not copied, and not \
     part of the lag; a failover now would lose them. Those of the partitions of which it is \
     known; absent where those have none and it is not known of the others.",
);
/// Groups followed, of a link.
pub const LINK_CONSUMER_GROUPS: Meter = gauge(
    "isolog_link_consumer_groups",
    "groups",
    LINK,
    "Consumer groups of the source, share groups among them, that the link follows: they pass its \
     filter and have committed something that is mirrored; \
     absent where consumer.offset.sync.enable is false.",
);
/// Offsets lower than at the source, of a link.
pub const LINK_CONSUMER_OFFSETS_CLAMPED: Meter = gauge(
    "isolog_link_consumer_offsets_clamped",
    "offsets",
    LINK,
    "Committed offsets of those groups, starts of share groups among them, that lie beyond what is \
     mirrored: at the destination they are at its end, and follow as the mirror catches up.",
);
/// Offsets committed, of a link.
pub const LINK_CONSUMER_OFFSETS_COMMITTED: Meter = counter(
    "isolog_link_consumer_offsets_committed_total",
    "offsets",
    LINK,
    "Offsets of consumer groups that were committed at the destination, and starts of share groups \
     that were set there.",
);
/// Troubles of a link.
pub const LINK_TROUBLES: Meter = gauge(
    "isolog_link_troubles",
    "topics",
    &["link", "reason"],
    "Topics and patterns of mirror.topics with which something is wrong; reason is one of the \
     words of docs/STATES.md.",
);
/// Tasks of a link.
pub const LINK_TASK_COUNT: Meter = gauge(
    "isolog_link_task_count",
    "1",
    &["link", "task", "state", "reason"],
    "1 with the state that a task of a link is in; reason is the code of its first error, or \
     NO_ERROR.",
);
/// The last success of a task.
pub const LINK_TASK_SUCCEEDED_MS: Meter = gauge(
    "isolog_link_task_succeeded_ms",
    "ms",
    &["link", "task"],
    "When a task last could do everything that it was to do, in milliseconds since 1970.",
);
/// Batches appended.
pub const PARTITION_APPEND_BATCHES: Meter = counter(
    "isolog_partition_append_batches_total",
    "batches",
    PARTITION,
    "Batches that the destination has acknowledged.",
);
/// Records appended.
pub const PARTITION_APPEND_RECORDS: Meter = counter(
    "isolog_partition_append_records_total",
    "records",
    PARTITION,
    "Offsets that the destination has acknowledged; in dense batches each is a record.",
);
/// Bytes appended.
pub const PARTITION_APPEND_BYTES: Meter = counter(
    "isolog_partition_append_bytes_total",
    "bytes",
    PARTITION,
    "Bytes of batches, headers included, that the destination has acknowledged.",
);
/// Batches encoded anew.
pub const PARTITION_REENCODED_BATCHES: Meter = counter(
    "isolog_partition_reencoded_batches_total",
    "batches",
    PARTITION,
    "Of the acknowledged batches, those whose records were encoded anew: thinned by compaction, \
     stamped by the source's broker, of an old format, or begun before the destination's end.",
);
/// Batches merged.
pub const PARTITION_MERGED_BATCHES: Meter = counter(
    "isolog_partition_merged_batches_total",
    "batches",
    PARTITION,
    "Batches of the source that became part of a larger one (batch.merge).",
);
/// Offsets filled.
pub const PARTITION_FILLED_OFFSETS: Meter = counter(
    "isolog_partition_filled_offsets_total",
    "offsets",
    PARTITION,
    "Offsets at which the source has no record for readers, and which were filled.",
);
/// Bytes of fillers.
pub const PARTITION_FILLER_BYTES: Meter = counter(
    "isolog_partition_filler_bytes_total",
    "bytes",
    PARTITION,
    "Bytes of the batches that fill offsets.",
);
/// Offsets of declared holes.
pub const PARTITION_OVERTAKEN_OFFSETS: Meter = counter(
    "isolog_partition_overtaken_offsets_total",
    "offsets",
    PARTITION,
    "Offsets of records that the source deleted before they were copied, and over which the link \
     went on (retention.overtook=fill).",
);
/// Offsets of the front.
pub const PARTITION_FRONT_OFFSETS: Meter = gauge(
    "isolog_partition_front_offsets",
    "offsets",
    PARTITION,
    "Offsets below the source's log start that are yet to be filled; nothing is copied before.",
);
/// Records held back.
pub const PARTITION_HELD_RECORDS: Meter = gauge(
    "isolog_partition_held_records",
    "records",
    PARTITION,
    "Records of the source that wait behind an open transaction of its own; absent where the \
     source has not told for 15 s.",
);
/// Open connections.
pub const CONNECTIONS: Meter =
    gauge("isolog_connections", "connections", SIDE, "Open connections to brokers.");
/// Connections that were ever opened.
pub const CONNECTIONS_OPENED: Meter = counter(
    "isolog_connections_opened_total",
    "connections",
    SIDE,
    "Connections to brokers that were opened; beyond those that were given up, or closed for being \
     idle, it grows while they are lost.",
);
/// Connections that were given up for another broker.
pub const CONNECTIONS_GIVEN_UP: Meter = counter(
    "isolog_connections_given_up_total",
    "connections",
    SIDE,
    "Healthy connections that were closed so that another broker is asked for metadata.",
);
/// Connections that were closed while idle.
pub const CONNECTIONS_IDLE_CLOSED: Meter = counter(
    "isolog_connections_idle_closed_total",
    "connections",
    SIDE,
    "Connections that a broker closed while nothing was asked on them (connections.max.idle.ms); \
     they are opened again at once, and no failure.",
);
/// Dials that failed.
pub const DIAL_FAILURES: Meter = counter(
    "isolog_dial_failures_total",
    "dials",
    SIDE,
    "Dials that did not end in a usable connection.",
);
/// TLS handshakes.
pub const TLS_HANDSHAKES: Meter = counter(
    "isolog_tls_handshakes_total",
    "handshakes",
    &["side", "result"],
    "TLS handshakes; result is full, resumed or failed.",
);
/// Time spent in them.
pub const TLS_HANDSHAKE_MS: Meter = counter(
    "isolog_tls_handshake_ms_total",
    "milliseconds",
    SIDE,
    "Time that TLS handshakes took; by isolog_tls_handshakes_total it is the mean.",
);
/// Logins.
pub const LOGINS: Meter = counter(
    "isolog_logins_total",
    "logins",
    &["side", "result"],
    "SASL logins and their renewals; result is ok or failed.",
);
/// Time spent in them.
pub const LOGIN_MS: Meter = counter(
    "isolog_login_ms_total",
    "milliseconds",
    SIDE,
    "Time that successful logins took, a token's fetch included.",
);
/// Requests queued.
pub const REQUESTS: Meter =
    counter("isolog_requests_total", "requests", SIDE, "Requests to brokers.");
/// Throttles told to lanes.
pub const THROTTLED_MS: Meter = counter(
    "isolog_throttled_ms_total",
    "milliseconds",
    SIDE,
    "Time for which brokers told us not to fetch or append, by their quotas, summed over \
     connections.",
);

/// Lines of the log that were lost.
pub const LOG_LINES_LOST: Meter = counter(
    "isolog_log_lines_lost_total",
    "lines",
    &[],
    "Lines of the log that nobody took from standard error: the copy goes on without them.",
);

/// Every metric there is, in the order in which people read them.
pub const METERS: &[Meter] = &[
    PARTITION_LAG_RECORDS,
    PARTITION_LAG_BYTES,
    PARTITION_LAG_MS,
    PARTITION_SOURCE_END,
    PARTITION_DESTINATION_END,
    PARTITION_DESTINATION_HWM,
    PARTITION_STATE,
    LINK_STATE,
    LINK_PARTITIONS,
    LINK_PARTITIONS_HALTED,
    LINK_PARTITIONS_LAG_UNKNOWN,
    LINK_HELD_RECORDS,
    LINK_LAG_RECORDS,
    LINK_LAG_MS,
    LINK_RPO_MS,
    LINK_RECORD_AGE_MS,
    LINK_APPEND_BYTES,
    LINK_LIMITED_MS,
    LINK_FOLLOWER_PARTITIONS,
    LINK_MIRROR_TOPICS,
    TOPIC_LAG_RECORDS,
    TOPIC_LAG_MS,
    TOPIC_APPEND_RECORDS,
    TOPIC_APPEND_BYTES,
    LINK_CONSUMER_GROUPS,
    LINK_CONSUMER_OFFSETS_CLAMPED,
    LINK_CONSUMER_OFFSETS_COMMITTED,
    LINK_TROUBLES,
    LINK_TASK_COUNT,
    LINK_TASK_SUCCEEDED_MS,
    READY,
    INSTANCE_HAS_WORK,
    EVENTS_WAITING,
    JOURNAL_IN_TROUBLE,
    JOURNAL_REPLICAS,
    JOURNAL_INSYNC_REPLICAS,
    JOURNAL_MIN_INSYNC_REPLICAS,
    JOURNAL_ROWS,
    PARTITION_APPEND_BATCHES,
    PARTITION_APPEND_RECORDS,
    PARTITION_APPEND_BYTES,
    PARTITION_REENCODED_BATCHES,
    PARTITION_MERGED_BATCHES,
    PARTITION_FILLED_OFFSETS,
    PARTITION_FILLER_BYTES,
    PARTITION_OVERTAKEN_OFFSETS,
    PARTITION_FRONT_OFFSETS,
    PARTITION_HELD_RECORDS,
    CONNECTIONS,
    CONNECTIONS_OPENED,
    CONNECTIONS_GIVEN_UP,
    CONNECTIONS_IDLE_CLOSED,
    DIAL_FAILURES,
    EXPORTER_STATE,
    EXPORTER_IN_ERROR,
    EXPORTER_MISSING_CHANGES,
    EXPORTER_LEVEL_MS,
    EXPORTER_LAG_MS,
    EXPORTER_CHANGES,
    TLS_HANDSHAKES,
    TLS_HANDSHAKE_MS,
    LOGINS,
    LOGIN_MS,
    REQUESTS,
    THROTTLED_MS,
    RESIDENT_BYTES,
    RESIDENT_BYTES_MAX,
    LOG_LINES_LOST,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        for meter in METERS {
            let legal = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(meter.name.starts_with("isolog_"), "{}", meter.name);
            assert!(meter.name.bytes().all(legal), "{}", meter.name);
            let total = meter.name.ends_with("_total");
            assert_eq!(total, meter.kind == Kind::Counter, "{}", meter.name);
            assert!(!meter.help.contains('\n') && meter.help.ends_with('.'), "{}", meter.name);
        }
    }

    #[test]
    fn no_name_stands_twice() {
        for (at, meter) in METERS.iter().enumerate() {
            assert!(METERS[at + 1..].iter().all(|other| other.name != meter.name));
        }
    }
}
