//! The one table of properties: parsing, checking, `isolog config` and `docs/CONFIG.md` come of it.
//!
//! It never reads a file; a property that is not in this table does not exist.

use std::fmt;

use super::security::rows::SECURITY;
use super::security::rows::SERVICE_SECURITY;

/// The parts of a config file.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Above the first section: what the whole process shares.
    Process,
    /// `[destination]`.
    Destination,
    /// `[service]`.
    Service,
    /// `[link.NAME]`.
    Link,
}

impl Scope {
    /// How a person finds the section.
    pub fn heading(self) -> &'static str {
        match self {
            Scope::Process => "the top of the file, before the first section",
            Scope::Destination => "[destination]",
            Scope::Service => "[service]",
            Scope::Link => "[link.NAME]",
        }
    }
}

/// What values a property takes; bounds are inclusive.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text up to so many bytes, without control characters.
    Text(usize),
    /// A whole number without a unit.
    Count(i64, i64),
    /// A whole number of milliseconds.
    Millis(i64, i64),
    /// A whole number of bytes.
    Bytes(i64, i64),
    /// `true` or `false`.
    Bool,
    /// One of these words, in any case.
    Word(&'static [&'static str]),
    /// As `Word`; the second list names words that a later release takes.
    WordOrLater(&'static [&'static str], &'static [&'static str]),
    /// `host:port`, separated by commas or as an array.
    Hosts,
    /// Topic names and prefixes ending in `*`, separated by commas or as an array.
    Topics,
    /// Cluster Linking's JSON of topic filters.
    TopicFilters,
    /// Words separated by commas or as an array: these, or any where none are named.
    Words(&'static [&'static str]),
    /// As `Words`; those of the second list are known to be too old, and left out.
    WordsButOld(&'static [&'static str], &'static [&'static str]),
    /// Text of up to so many bytes that is never shown.
    Secret(usize),
    /// Host names, domains and address ranges, separated by commas or as an array.
    Addresses,
    /// Where a mirror begins.
    Start,
    /// An address and port to listen on.
    Listen,
    /// The path of a `.properties` file, relative to the config file.
    Path,
    /// The path of a file, relative to the config file.
    File,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Text(most) => write!(f, "text of at most {most} bytes"),
            Kind::Count(least, most) => write!(f, "a whole number, {least} to {most}"),
            Kind::Millis(least, most) => write!(f, "a whole number of ms, {least} to {most}"),
            Kind::Bytes(least, most) => write!(f, "a whole number of bytes, {least} to {most}"),
            Kind::Bool => f.write_str("true or false"),
            Kind::Word(words) | Kind::WordOrLater(words, _) => {
                let quoted = words.iter().map(|word| if word.is_empty() { "\"\"" } else { word });
                f.write_str(&quoted.collect::<Vec<_>>().join(" or "))
            }
            Kind::Words([]) => f.write_str("names, separated by commas or as an array"),
            Kind::Words(words) | Kind::WordsButOld(words, _) => {
                write!(f, "{}, separated by commas or as an array", words.join(" and "))
            }
            Kind::Secret(most) => write!(f, "text of at most {most} bytes"),
            Kind::Addresses => f.write_str("host names, *.domain and ranges such as 10.0.0.0/8"),
            Kind::Hosts => f.write_str("host:port, several separated by commas or as an array"),
            Kind::Topics => f.write_str("topic names, or prefixes ending in *, as an array"),
            Kind::TopicFilters => f.write_str("Cluster Linking's JSON, {\"topicFilters\": [...]}"),
            Kind::Start => f.write_str(
                "earliest, latest, or a time with its zone as text, such as 2026-11-21T09:30:00Z",
            ),
            Kind::Listen => f.write_str("an address and port, such as 127.0.0.1:8472"),
            Kind::Path => f.write_str("the path of a .properties file"),
            Kind::File => f.write_str("the path of a file"),
        }
    }
}

/// What a property is when the file does not say.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Default {
    /// The file must say it.
    Required,
    /// Nothing.
    None,
    /// This, written as in a `.properties` file.
    Is(&'static str),
}

/// One property.
#[derive(Copy, Clone, Debug)]
pub struct Property {
    /// Kafka's name, or Cluster Linking's, or ours where neither has one.
    pub name: &'static str,
    /// Where it may stand.
    pub scopes: &'static [Scope],
    /// What it takes.
    pub kind: Kind,
    /// What it is when it is left out.
    pub default: Default,
    /// Whether a running isolog can take a new value; until orders exist, none can.
    pub changeable: bool,
    /// Whether its value is a secret: never shown, never logged.
    pub sensitive: bool,
    /// What it does, in a sentence.
    pub doc: &'static str,
}

const CLUSTERS: &[Scope] = &[Scope::Destination, Scope::Link];
const LINK: &[Scope] = &[Scope::Link];
const SERVICE: &[Scope] = &[Scope::Service];
const PROCESS: &[Scope] = &[Scope::Process];

/// The longest time that a property of isolog's own may ask for: a week.
const WEEK_MS: i64 = 7 * 24 * 3600 * 1000;
/// What Kafka's clients take for a deadline; they have whole numbers of 32 bits there.
const INT_MAX: i64 = i32::MAX as i64;
/// The largest answer a broker is asked for; brokers cap a fetch at 55 MB of their own accord.
const FETCH_BYTES_MAX: i64 = 64 * 1024 * 1024;
/// A broker refuses longer requests unless told otherwise (`socket.request.max.bytes`).
const REQUEST_BYTES_MAX: i64 = 100 * 1024 * 1024;

/// A row that is neither changeable nor a secret.
const fn plain(
    name: &'static str,
    scopes: &'static [Scope],
    kind: Kind,
    default: Default,
    doc: &'static str,
) -> Property {
    Property { name, scopes, kind, default, changeable: false, sensitive: false, doc }
}

/// Every property there is, in the order in which people read them.
pub fn all() -> impl Iterator<Item = &'static Property> {
    let blocks = [ADDRESSES, SECURITY, CONNECTIONS_AND_LINKS, SERVICE_SECURITY];
    blocks.into_iter().flatten()
}

const ADDRESSES: &[Property] = &[
    plain(
        "buffer.memory.bytes",
        PROCESS,
        Kind::Bytes(16 * 1024 * 1024, 1 << 40),
        Default::Is("268435456"),
        "Record bytes that all links together hold in memory at most, unpacked ones among them. \
         What the process needs besides is a small fixed base.",
    ),
    plain(
        "reencode.threads",
        PROCESS,
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
        Kind::Hosts,
        Default::Required,
        "Where to ask first: brokers of the cluster. One that answers is enough; the others are \
         learnt from it.",
    ),
    plain(
        "client.id",
        CLUSTERS,
        Kind::Text(249),
        Default::Is("isolog"),
        "The name by which the brokers' logs, quotas and metrics know isolog; an empty one is the \
         default, as Kafka's clients make up theirs.",
    ),
    plain(
        "client.rack",
        CLUSTERS,
        Kind::Text(249),
        Default::Is(""),
        "The rack isolog runs in, as a consumer's (KIP-392). It is read and does nothing yet: \
         every fetch goes to the leader. Fetching from a near follower comes with a later release.",
    ),
];

/// What follows the rows of `security::rows`.
const CONNECTIONS_AND_LINKS: &[Property] = &[
    plain(
        "request.timeout.ms",
        CLUSTERS,
        Kind::Millis(100, INT_MAX),
        Default::Is("30000"),
        "The deadline of every request. A connection that misses it is given up.",
    ),
    plain(
        "socket.connection.setup.timeout.ms",
        CLUSTERS,
        Kind::Millis(100, i64::MAX),
        Default::Is("10000"),
        "The deadline of a dial.",
    ),
    plain(
        "metadata.max.age.ms",
        CLUSTERS,
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
        Kind::Count(1, 100_000),
        Default::Is("1000"),
        "A cluster that tells of more brokers is not taken over: the answer is refused before \
         anything is built of it.",
    ),
    plain(
        "metadata.topics.max",
        CLUSTERS,
        Kind::Count(1, 10_000_000),
        Default::Is("100000"),
        "The same for topics, mirrored or not.",
    ),
    plain(
        "metadata.partitions.max",
        CLUSTERS,
        Kind::Count(1, 10_000_000),
        Default::Is("200000"),
        "The same for partitions over all topics, mirrored or not.",
    ),
    plain(
        "reconnect.backoff.ms",
        CLUSTERS,
        Kind::Millis(0, i64::MAX),
        Default::Is("50"),
        "The pause before a broker is dialled again; it doubles with each failure. 0 counts as 1. \
         One beyond reconnect.backoff.max.ms counts as that, or, where that is not set, raises it: \
         all as in Kafka's clients.",
    ),
    plain(
        "reconnect.backoff.max.ms",
        CLUSTERS,
        Kind::Millis(0, i64::MAX),
        Default::Is("1000"),
        "The longest such pause.",
    ),
    plain(
        "retry.backoff.ms",
        CLUSTERS,
        Kind::Millis(0, i64::MAX),
        Default::Is("100"),
        "The pause before a failed request is asked again; it doubles with each failure. 0 counts \
         as 1, and one beyond retry.backoff.max.ms as that, as in Kafka's clients.",
    ),
    plain(
        "retry.backoff.max.ms",
        CLUSTERS,
        Kind::Millis(0, i64::MAX),
        Default::Is("1000"),
        "The longest such pause.",
    ),
    plain(
        "mirror.topics",
        LINK,
        Kind::Topics,
        Default::Is(""),
        "Which topics are mirrored: names, or prefixes ending in *; \"*\" is all. Internal topics \
         (__*, _schemas*, _confluent*) are mirrored only when named, or when the prefix itself \
         begins so; the brokers' own logs never.",
    ),
    plain(
        "auto.create.mirror.topics.enable",
        LINK,
        Kind::Bool,
        Default::Is("false"),
        "Whether auto.create.mirror.topics.filters holds; the topics it includes are mirrored \
         besides those of mirror.topics.",
    ),
    plain(
        "auto.create.mirror.topics.filters",
        LINK,
        Kind::TopicFilters,
        Default::None,
        "Cluster Linking's topic filters as they are. patternType is LITERAL or PREFIXED (PREFIX \
         works too), filterType INCLUDE or EXCLUDE, in any case; the literal \"*\" is every topic. \
         EXCLUDE wins over every include, those of mirror.topics too.",
    ),
    plain(
        "cluster.link.paused",
        LINK,
        Kind::Bool,
        Default::Is("false"),
        "A paused link is configured but copies and creates nothing.",
    ),
    plain(
        "replication.factor",
        LINK,
        Kind::Count(-1, i16::MAX as i64),
        Default::Is("-1"),
        "Replicas of the topics that the link creates at the destination; -1 is the destination's \
         own default.replication.factor, 0 is refused.",
    ),
    plain(
        "mirror.start.offset.spec",
        LINK,
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
        Kind::Count(1, i64::MAX),
        Default::Is("10000000000"),
        "The longest gap that is filled, in offsets, also below the source's log start; a \
         partition with a longer one halts (GAP_TOO_LONG). A filler takes 11 bytes at the \
         destination, so ten billion take 110 GB, some five million a second.",
    ),
    plain(
        "retention.overtook",
        LINK,
        Kind::Word(&["halt", "fill"]),
        Default::Is("halt"),
        "What happens when the source deletes records before they are copied. halt: the partition \
         stops. fill: it goes on behind a declared hole, counted by a metric of its own.",
    ),
    plain(
        "message.format.old",
        LINK,
        Kind::Word(&["convert", "halt"]),
        Default::Is("convert"),
        "What happens with messages of format 0 and 1, written before Kafka 0.11. convert: to \
         format 2, same offset, key, value and time. halt: the partition stops there.",
    ),
    plain(
        "batch.merge",
        LINK,
        Kind::Word(&["auto", "never"]),
        Default::Is("auto"),
        "Whether several small batches become one. auto: only while a partition is behind, that is \
         when more batches wait than may be in flight (5); then neighbours of one codec, none \
         larger than 16 KiB, go out as one. Records, offsets and times stay as they are, the bytes \
         around them do not. never: every batch keeps its bytes.",
    ),
    plain(
        "replica.fetch.min.bytes",
        LINK,
        Kind::Bytes(1, FETCH_BYTES_MAX),
        Default::Is("1"),
        "The source answers a fetch at once when it has this much.",
    ),
    plain(
        "replica.fetch.wait.max.ms",
        LINK,
        Kind::Millis(0, 600_000),
        Default::Is("500"),
        "It answers at the latest after this. Must be shorter than request.timeout.ms.",
    ),
    plain(
        "replica.fetch.response.max.bytes",
        LINK,
        Kind::Bytes(64 * 1024, FETCH_BYTES_MAX),
        Default::Is("10485760"),
        "The most that one fetch asks for. Twice as much must fit into buffer.memory.bytes. A \
         first batch that is larger comes whole all the same.",
    ),
    plain(
        "replica.fetch.max.bytes",
        LINK,
        Kind::Bytes(1024, FETCH_BYTES_MAX),
        Default::Is("1048576"),
        "The most that one fetch asks for of one partition.",
    ),
    plain(
        "max.request.size",
        LINK,
        Kind::Bytes(64 * 1024, REQUEST_BYTES_MAX),
        Default::Is("8388608"),
        "The most record bytes in one produce request to the destination, which holds a batch of \
         each of many partitions. A larger single batch goes alone. Must stay below the \
         destination's socket.request.max.bytes.",
    ),
    plain(
        "availability.check.ms",
        LINK,
        Kind::Millis(100, WEEK_MS),
        Default::Is("10000"),
        "How often a source that is silent is asked whether it is there; Cluster Linking's default \
         is 60000.",
    ),
    plain(
        "availability.check.consecutive.failure.threshold",
        LINK,
        Kind::Count(1, 1_000_000),
        Default::Is("3"),
        "After so many failed checks in a row the source counts as unavailable; Cluster Linking's \
         default is 5.",
    ),
    plain(
        "listen",
        SERVICE,
        Kind::Listen,
        Default::Is("127.0.0.1:8472"),
        "Where metrics, health and JSON are served. An address beyond loopback needs TLS \
         (ssl.keystore), and a token or client certificates. Port 0 takes any free port and logs \
         it.",
    ),
    plain(
        "log.format",
        SERVICE,
        Kind::Word(&["text", "json"]),
        Default::Is("text"),
        "How log lines look; they go to standard error.",
    ),
    plain(
        "log.level",
        SERVICE,
        Kind::Word(&["error", "warn", "info", "debug", "trace"]),
        Default::Is("info"),
        "The least important lines that are logged.",
    ),
];

/// The property of that name in that part of the file.
pub fn find(scope: Scope, name: &str) -> Option<&'static Property> {
    of(scope).find(|property| property.name == name)
}

/// All properties of a part of the file, in the table's order.
pub fn of(scope: Scope) -> impl Iterator<Item = &'static Property> {
    all().filter(move |property| property.scopes.contains(&scope))
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
