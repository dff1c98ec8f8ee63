//! The one table of properties: parsing, checking, `isolog config` and `docs/CONFIG.md` come of it.
//!
//! It never reads a value; a property that is not in this table does not exist.

mod instances;
mod schemas;
mod security;
mod synced;

use crate::settings::property::Default;
use crate::settings::property::Effect;
use crate::settings::property::Kind;
use crate::settings::property::Property;
use crate::settings::property::Scope;

use self::instances::INSTANCES;
use self::schemas::EXPORTERS;
use self::security::SECURITY;
use self::security::SERVICE_SECURITY;
use self::synced::SYNCED;

const CLUSTERS: &[Scope] = &[Scope::Destination, Scope::Link];
const LINK: &[Scope] = &[Scope::Link];
/// The longest expression that chooses topics: thousands of names side by side.
const EXPRESSION_BYTES_MAX: usize = 64 * 1024;
const ON_SERVICE: &[Scope] = &[Scope::Service];
const PROCESS: &[Scope] = &[Scope::Process];

/// The longest time that a property of isolog's own may ask for: a week.
const WEEK_MS: i64 = 7 * 24 * 3600 * 1000;
/// What Kafka's clients take for a deadline; they have whole numbers of 32 bits there.
const INT_MAX: i64 = i32::MAX as i64;
/// The largest answer a broker is asked for; brokers cap a fetch at 55 MB of their own accord.
const FETCH_BYTES_MAX: i64 = 64 * 1024 * 1024;
/// A broker refuses longer requests unless told otherwise (`socket.request.max.bytes`).
const REQUEST_BYTES_MAX: i64 = 100 * 1024 * 1024;

/// A row that is no secret.
const fn plain(
    name: &'static str,
    scopes: &'static [Scope],
    effect: Effect,
    kind: Kind,
    default: Default,
    doc: &'static str,
) -> Property {
    Property { name, scopes, kind, default, effect, sensitive: false, doc }
}

/// Every property there is, in the order in which people read them.
pub fn all() -> impl Iterator<Item = &'static Property> {
    let links = [CONNECTIONS_AND_LINKS, SYNCED];
    let blocks = [INSTANCES, ADDRESSES, SECURITY].into_iter().chain(links);
    blocks.chain([EXPORTERS, SERVICE, SERVICE_SECURITY]).flatten()
}

const ADDRESSES: &[Property] = &[
    plain(
        "buffer.memory.bytes",
        PROCESS,
        Effect::Never,
        Kind::Bytes(16 * 1024 * 1024, 1 << 40),
        Default::Is("268435456"),
        "Record bytes that all links together hold in memory at most, unpacked ones among them. \
         What the process needs besides is a small fixed base.",
    ),
    plain(
        "reencode.threads",
        PROCESS,
        Effect::Never,
        Kind::Count(1, 64),
        Default::Is("1"),
        "How many batches all links together unpack and encode anew at a time: those of topics \
         with LogAppendTime, of compacted topics and of old formats. Others are copied as they \
         are. A batch may unpack to half of buffer.memory.bytes, but always to 128 MiB and never \
         to more than 1 GiB; it is not held in memory as a whole. What must be (old formats, \
         snappy without its frame, zstd with a window as large) may unpack to a quarter divided \
         by this, but always to 4 MiB and never to more than 128 MiB.",
    ),
    plain(
        "properties.file",
        CLUSTERS,
        Effect::Never,
        Kind::Path,
        Default::None,
        "An existing Kafka client file whose properties hold in this section; what the section \
         itself says goes before it. It is read as Kafka's clients do (Latin-1; \
         see CLIENT-FILES.md). What isolog has no use for is passed over with a note; a name that \
         looks like a misspelt one is refused.",
    ),
    plain(
        "bootstrap.servers",
        CLUSTERS,
        Effect::Reconnect,
        Kind::Hosts,
        Default::Required,
        "Where to ask first: brokers of the cluster. One that answers is enough; the others are \
         learnt from it.",
    ),
    plain(
        "client.id",
        CLUSTERS,
        Effect::Reconnect,
        Kind::Text(249),
        Default::Is("isolog"),
        "The name by which the brokers' logs, quotas and metrics know isolog; an empty one is the \
         default, as Kafka's clients make up theirs.",
    ),
    plain(
        "client.rack",
        CLUSTERS,
        Effect::Reconnect,
        Kind::Text(249),
        Default::Is(""),
        "The rack isolog runs in, as a consumer's (KIP-392): a link fetches from the replica that \
         each leader names for it, but compacted topics; at the destination it does nothing.",
    ),
];

/// What follows the rows of `security`.
const CONNECTIONS_AND_LINKS: &[Property] = &[
    plain(
        "request.timeout.ms",
        CLUSTERS,
        Effect::Reconnect,
        Kind::Millis(100, INT_MAX),
        Default::Is("30000"),
        "The deadline of every request. A connection that misses it is given up.",
    ),
    plain(
        "socket.connection.setup.timeout.ms",
        CLUSTERS,
        Effect::Reconnect,
        Kind::Millis(100, i64::MAX),
        Default::Is("10000"),
        "The deadline of a dial.",
    ),
    plain(
        "metadata.max.age.ms",
        CLUSTERS,
        Effect::Reconnect,
        Kind::Millis(0, i64::MAX),
        Default::Is("30000"),
        "Metadata older than this is asked for again. In a link it is also the time within which \
         new topics and partitions of the source appear; Kafka's own default is 300000. \
         Less than 100 counts as 100, and in all properties of Kafka's clients more than a year as \
         a year.",
    ),
    plain(
        "metadata.brokers.max",
        CLUSTERS,
        Effect::Reconnect,
        Kind::Count(1, 100_000),
        Default::Is("1000"),
        "A cluster that tells of more brokers is not taken over: the answer is refused before \
         anything is built of it.",
    ),
    plain(
        "metadata.topics.max",
        CLUSTERS,
        Effect::Reconnect,
        Kind::Count(1, 10_000_000),
        Default::Is("100000"),
        "The same for topics, mirrored or not.",
    ),
    plain(
        "metadata.partitions.max",
        CLUSTERS,
        Effect::Reconnect,
        Kind::Count(1, 10_000_000),
        Default::Is("200000"),
        "The same for partitions over all topics, mirrored or not.",
    ),
    plain(
        "reconnect.backoff.ms",
        CLUSTERS,
        Effect::Reconnect,
        Kind::Millis(0, i64::MAX),
        Default::Is("50"),
        "The pause before a broker is dialled again; it doubles with each failure. 0 counts as 1. \
         One beyond reconnect.backoff.max.ms counts as that, or, where that is not set, raises it: \
         all as in Kafka's clients.",
    ),
    plain(
        "reconnect.backoff.max.ms",
        CLUSTERS,
        Effect::Reconnect,
        Kind::Millis(0, i64::MAX),
        Default::Is("1000"),
        "The longest such pause.",
    ),
    plain(
        "retry.backoff.ms",
        CLUSTERS,
        Effect::Reconnect,
        Kind::Millis(0, i64::MAX),
        Default::Is("100"),
        "The pause before a failed request is asked again; it doubles with each failure. 0 counts \
         as 1, and one beyond retry.backoff.max.ms as that, as in Kafka's clients.",
    ),
    plain(
        "retry.backoff.max.ms",
        CLUSTERS,
        Effect::Reconnect,
        Kind::Millis(0, i64::MAX),
        Default::Is("1000"),
        "The longest such pause.",
    ),
    plain(
        "mirror.topics",
        LINK,
        Effect::Replan,
        Kind::Topics,
        Default::Is(""),
        "Which topics are mirrored: names, or prefixes ending in *; \"*\" is all. Left out unless \
         named, or unless the prefix itself spells it: __*, _schemas*, _confluent*, *-changelog, \
         *-repartition, *.internal, *-internal, heartbeats, connect-configs, connect-offsets, \
         connect-status. The brokers' own logs and isolog's journal are never mirrored.",
    ),
    plain(
        "mirror.pattern",
        LINK,
        Effect::Replan,
        Kind::Expression(EXPRESSION_BYTES_MAX),
        Default::Is(""),
        "The topics whose whole name matches are mirrored too. The syntax is RE2's, which is \
         Java's without looking around and back references. What mirror.topics leaves out is left \
         out here unless the expression spells it, as .*-changelog does.",
    ),
    plain(
        "mirror.exclude.topics",
        LINK,
        Effect::Replan,
        Kind::Topics,
        Default::Is(""),
        "Topics that are not mirrored, whatever includes them: names, or prefixes ending in *. A \
         topic that is mirrored already stays a mirror topic: isolog mirror delete lets it go.",
    ),
    plain(
        "mirror.exclude.pattern",
        LINK,
        Effect::Replan,
        Kind::Expression(EXPRESSION_BYTES_MAX),
        Default::Is(""),
        "Topics whose whole name matches are not mirrored, unless they are mirror topics already.",
    ),
    plain(
        "auto.create.mirror.topics.enable",
        LINK,
        Effect::Replan,
        Kind::Bool,
        Default::Is("false"),
        "Whether auto.create.mirror.topics.filters holds; the topics it includes are mirrored \
         besides those of mirror.topics.",
    ),
    plain(
        "auto.create.mirror.topics.filters",
        LINK,
        Effect::Replan,
        Kind::TopicFilters,
        Default::None,
        "Cluster Linking's topic filters as they are. patternType is LITERAL or PREFIXED (PREFIX \
         works too), filterType INCLUDE or EXCLUDE, in any case; the literal \"*\" is every topic. \
         EXCLUDE wins over every include, those of mirror.topics too.",
    ),
    plain(
        "cluster.link.paused",
        LINK,
        Effect::Link,
        Kind::Bool,
        Default::Is("false"),
        "A paused link is configured but copies and creates nothing.",
    ),
    plain(
        "replication.factor",
        LINK,
        Effect::Replan,
        Kind::Count(-1, i16::MAX as i64),
        Default::Is("-1"),
        "Replicas of the topics that the link creates at the destination; -1 is the destination's \
         own default.replication.factor, 0 is refused.",
    ),
    plain(
        "mirror.start.offset.spec",
        LINK,
        Effect::Replan,
        Kind::Start,
        Default::Is("earliest"),
        "Where the mirror of a topic begins: earliest is the source's log start, latest its end, a \
         time (ISO 8601, with its zone) the first record that is not older. Asked once per topic, \
         when it is first mirrored and its mirror is empty, and then remembered; partitions added \
         later begin at their start. Offsets stay equal: what lies below is filled and deleted.",
    ),
    plain(
        "isolation.level",
        LINK,
        Effect::Reseat,
        Kind::Word(&["read_committed", "read_uncommitted"]),
        Default::Is("read_committed"),
        "How far into the source the mirror reads, and what of it is copied. read_committed stops \
         where the oldest open transaction begins and leaves out the records of aborted ones. \
         read_uncommitted goes to the high watermark and copies all records, so that readers of \
         the copy see those of aborted and unfinished transactions too.",
    ),
    plain(
        "gap.fill",
        LINK,
        Effect::Reseat,
        Kind::Word(&["auto", "record", "halt"]),
        Default::Is("auto"),
        "What occupies offsets at which the source has no record for readers: transaction markers, \
         aborted records, what compaction took. auto: hidden fillers, which no reader gets; on \
         compacted topics from offset 2147483647 on the next record again and again. record: \
         visible records without key and value whose header names isolog; on compacted topics the \
         next record. halt: nothing, the partition stops there.",
    ),
    plain(
        "gap.offsets.max",
        LINK,
        Effect::Reseat,
        Kind::Count(1, i64::MAX),
        Default::Is("10000000000"),
        "The longest gap that is filled, in offsets, also below the source's log start; a \
         partition with a longer one halts (GAP_TOO_LONG). A filler takes 11 bytes at the \
         destination, so ten billion take 110 GB, some five million a second.",
    ),
    plain(
        "retention.overtook",
        LINK,
        Effect::Reseat,
        Kind::Word(&["halt", "fill"]),
        Default::Is("halt"),
        "What happens when the source deletes records before they are copied. halt: the partition \
         stops. fill: it goes on behind a declared hole, counted by a metric of its own.",
    ),
    plain(
        "message.format.old",
        LINK,
        Effect::Reseat,
        Kind::Word(&["convert", "halt"]),
        Default::Is("convert"),
        "What happens with messages of format 0 and 1, written before Kafka 0.11. convert: to \
         format 2, same offset, key, value and time. halt: the partition stops there.",
    ),
    plain(
        "batch.merge",
        LINK,
        Effect::Reseat,
        Kind::Word(&["auto", "never"]),
        Default::Is("auto"),
        "Whether several small batches become one. auto: only while a partition is behind, that is \
         when more batches wait than may be in flight (5); then neighbours of one codec, none \
         larger than 16 KiB, go out as one. Records, offsets and times stay as they are, the bytes \
         around them do not. never: every batch keeps its bytes.",
    ),
    plain(
        "link.max.bytes.per.second",
        LINK,
        Effect::Reseat,
        Kind::Count(-1, i64::MAX),
        Default::Is("-1"),
        "How many bytes a second the link fetches from its source at most, all partitions \
         together; -1 is no limit, 0 is refused: pause the link instead. A batch that is larger \
         than a second's share is fetched whole, and the next fetch waits for as long as it is \
         worth. isolog_link_limited_ms_total has the time waited.",
    ),
    plain(
        "replica.fetch.min.bytes",
        LINK,
        Effect::Reseat,
        Kind::Bytes(1, FETCH_BYTES_MAX),
        Default::Is("1"),
        "The source answers a fetch at once when it has this much.",
    ),
    plain(
        "replica.fetch.wait.max.ms",
        LINK,
        Effect::Reseat,
        Kind::Millis(0, 600_000),
        Default::Is("500"),
        "It answers at the latest after this. Must be shorter than request.timeout.ms.",
    ),
    plain(
        "replica.fetch.response.max.bytes",
        LINK,
        Effect::Reseat,
        Kind::Bytes(64 * 1024, FETCH_BYTES_MAX),
        Default::Is("67108864"),
        "The most that one fetch asks for, and a share of buffer.memory.bytes: up to 7.5 MiB, and \
         more where there is a backlog far away. Set, it must fit into the memory twice.",
    ),
    plain(
        "replica.fetch.max.bytes",
        LINK,
        Effect::Reseat,
        Kind::Bytes(1024, FETCH_BYTES_MAX),
        Default::Is("1048576"),
        "What one fetch asks for of one partition; of one that is further behind it may be more.",
    ),
    plain(
        "max.request.size",
        LINK,
        Effect::Reseat,
        Kind::Bytes(64 * 1024, REQUEST_BYTES_MAX),
        Default::Is("8388608"),
        "The most record bytes in one produce request to the destination, which holds a batch of \
         each of many partitions. A larger single batch goes alone. Must stay below the \
         destination's socket.request.max.bytes.",
    ),
    plain(
        "availability.check.ms",
        LINK,
        Effect::Task,
        Kind::Millis(100, WEEK_MS),
        Default::Is("10000"),
        "How often a source that is silent is asked whether it is there; Cluster Linking's default \
         is 60000.",
    ),
    plain(
        "availability.check.consecutive.failure.threshold",
        LINK,
        Effect::Task,
        Kind::Count(1, 1_000_000),
        Default::Is("3"),
        "After so many failed checks in a row the source counts as unavailable; Cluster Linking's \
         default is 5.",
    ),
];

const SERVICE: &[Property] = &[
    plain(
        "listen",
        ON_SERVICE,
        Effect::Never,
        Kind::Listen,
        Default::Is("127.0.0.1:8472"),
        "Where metrics, health and JSON are served. An address beyond loopback needs TLS \
         (ssl.keystore), and a token or client certificates. Port 0 takes any free port and logs \
         it.",
    ),
    plain(
        "log.format",
        ON_SERVICE,
        Effect::Never,
        Kind::Word(&["text", "json"]),
        Default::Is("text"),
        "How log lines look; they go to standard error.",
    ),
    plain(
        "log.level",
        ON_SERVICE,
        Effect::Never,
        Kind::Word(&["error", "warn", "info", "debug", "trace"]),
        Default::Is("info"),
        "The least important lines that are logged.",
    ),
    plain(
        "metrics.partition.series",
        ON_SERVICE,
        Effect::Never,
        Kind::Word(&["all", "lagging", "none"]),
        Default::Is("all"),
        "Which partitions have series of their own in /metrics: all, those that are not level (or \
         not known to be), or none. What is told of topics and links is there in every setting; \
         so are all partitions in /v1/partitions.",
    ),
    plain(
        "advertised.url",
        ON_SERVICE,
        Effect::Never,
        Kind::Text(300),
        Default::None,
        "Where others reach the service, behind a gateway for instance: http or https, \
         https://HOST[:PORT]. What answers say of their own place (`self`) begins with it, and \
         requests may name its host although `listen` is a loopback address. It needs a token, or \
         client certificates: whoever reaches the gateway could give every order.",
    ),
    plain(
        "events.topic",
        ON_SERVICE,
        Effect::Never,
        Kind::Text(249),
        Default::None,
        "A topic at the destination that gets every event of `isolog events` as a record: its key \
         says what it is about, its value is the JSON. It is made if it is not there. Each event \
         is written once or, where an answer was lost, twice, with the same cursor; an isolog that \
         is killed may leave its last ones out, and its next start tells how everything is. It \
         takes the right to Write it, and to Create it where it is not there.",
    ),
];

/// The property of that name in that part of the file.
pub fn find(scope: Scope, name: &str) -> Option<&'static Property> {
    of(scope).find(|property| property.name == name)
}

/// All properties of a part of the file, in the table's order.
pub fn of(scope: Scope) -> impl Iterator<Item = &'static Property> {
    all().filter(move |property| property.is_in(scope))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_can_be_written_as_nested_keys() {
        for property in all() {
            let inside = format!("{}.", property.name);
            let clash = all().find(|other| other.name.starts_with(&inside));
            assert!(clash.is_none(), "{} cannot be a value and a table", property.name);
        }
    }

    #[test]
    fn every_row_stands_once_and_says_what_it_does() {
        for (at, property) in all().enumerate() {
            let twice = all().skip(at + 1).any(|other| other.name == property.name);
            assert!(!twice, "{} stands twice", property.name);
            assert!(property.doc.ends_with('.'), "{}", property.name);
            assert!(!property.scopes.is_empty(), "{}", property.name);
        }
    }
}
