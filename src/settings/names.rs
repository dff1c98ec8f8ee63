//! Names that are no property: what Kafka clients and Cluster Linking have
//! and isolog does not need, and the nearest right name of a wrong one.
//!
//! It never looks at values.

use super::property::Scope;
use super::table;
use super::table::of;

/// What a cluster that dials out logs in at itself with (Cluster Linking's source-initiated links):
/// refused, since it may hold a password that nobody would use.
const LOCAL: &str = "local.";

/// Names that other tools have for a property of ours (Replicator's, Cluster Linking's older one),
/// and those that TOML cannot have beside `mirror.topics`, which is no table there.
const ALIASES: &[(&str, &str)] = &[
    ("link.prefix", "cluster.link.prefix"),
    ("mirror.topics.exclude", "mirror.exclude.topics"),
    ("mirror.topics.exclude.pattern", "mirror.exclude.pattern"),
    ("mirror.topics.pattern", "mirror.pattern"),
    ("topic.blacklist", "mirror.exclude.topics"),
    ("topic.regex", "mirror.pattern"),
    ("topic.whitelist", "mirror.topics"),
];

/// The name that a property has here, whoever named it.
pub fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, ours)| *ours)
}

/// The names that other tools have for it.
pub fn aliases(name: &str) -> impl Iterator<Item = &'static str> {
    ALIASES.iter().filter(move |(_, ours)| *ours == name).map(|(alias, _)| *alias)
}

/// Cluster Linking's names that mean nothing in a link of isolog, and what governs instead: a file
/// or a script that has them can be taken as it is.
const IDLE: &[(&str, &str)] = &[
    ("client.dns.lookup", "every address of a name is tried, as with use_all_dns_ips"),
    (
        "cluster.link.retry.timeout.ms",
        "a topic that is missing in several looks in a row counts as deleted, and its id tells it \
         from a later one of its name",
    ),
    ("connections.max.idle.ms", "connections stay open until their broker closes them"),
    ("default.api.timeout.ms", "request.timeout.ms is the deadline of every request"),
    ("dest.cluster.id", "isolog asks its own cluster for its id"),
    (
        "num.cluster.link.fetchers",
        "each pair of a source broker and a destination broker has a lane of its own",
    ),
    ("remote.link.connection.mode", "isolog dials both clusters"),
    (
        "replica.fetch.backoff.ms",
        "a partition that failed is looked at again after 100 ms to 10 s, twice as long each time",
    ),
    ("replica.socket.receive.buffer.bytes", "the system sizes the buffers of sockets"),
    ("replica.socket.timeout.ms", "request.timeout.ms is the deadline of every request"),
    ("reverse.connection.setup.timeout.ms", "isolog dials both clusters"),
];

/// Properties of Kafka's own clients, or beginnings ending in a dot, that mean nothing here: an
/// existing client file can be taken as it is (`ProducerConfig`, `ConsumerConfig`,
/// `AdminClientConfig` of Kafka 4.3).
const UNUSED: &[&str] = &[
    "acks",
    "allow.auto.create.topics",
    "auto.commit.interval.ms",
    "auto.include.jmx.reporter",
    "auto.offset.reset",
    "batch.size",
    "buffer.memory",
    "check.crcs",
    "client.dns.lookup",
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
    "config.providers",
    "config.providers.",
    "connections.max.idle.ms",
    "default.api.timeout.ms",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.idempotence",
    "enable.metrics.push",
    "exclude.internal.topics",
    "fetch.max.bytes",
    "fetch.max.wait.ms",
    "fetch.min.bytes",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "interceptor.classes",
    "key.deserializer",
    "key.serializer",
    "linger.ms",
    "max.block.ms",
    "max.in.flight.requests.per.connection",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "max.poll.records",
    "metadata.max.idle.ms",
    "metadata.recovery.rebootstrap.trigger.ms",
    "metadata.recovery.strategy",
    "metric.reporters",
    "metrics.num.samples",
    "metrics.recording.level",
    "metrics.sample.window.ms",
    "partition.assignment.strategy",
    "partitioner.adaptive.partitioning.enable",
    "partitioner.availability.timeout.ms",
    "partitioner.class",
    "partitioner.ignore.keys",
    "receive.buffer.bytes",
    "retries",
    "sasl.client.callback.handler.class",
    "sasl.kerberos.",
    "sasl.login.class",
    "sasl.login.refresh.",
    "sasl.oauthbearer.clock.skew.seconds",
    "sasl.oauthbearer.expected.",
    "sasl.oauthbearer.header.urlencode",
    "sasl.oauthbearer.jwks.",
    "sasl.oauthbearer.scope.claim.name",
    "sasl.oauthbearer.sub.claim.name",
    "security.providers",
    "send.buffer.bytes",
    "session.timeout.ms",
    "socket.connection.setup.timeout.max.ms",
    "ssl.engine.factory.class",
    "ssl.keymanager.algorithm",
    "ssl.provider",
    "ssl.secure.random.implementation",
    "ssl.trustmanager.algorithm",
    "transaction.timeout.ms",
    "transactional.id",
    "value.deserializer",
    "value.serializer",
];

/// What librdkafka calls otherwise: its name, and the one here.
const LIBRDKAFKA: &[(&str, &str)] = &[
    ("metadata.broker.list", "bootstrap.servers"),
    ("sasl.mechanisms", "sasl.mechanism"),
    ("sasl.password", "sasl.jaas.config"),
    ("sasl.username", "sasl.jaas.config"),
    ("ssl.ca.location", "ssl.truststore.location"),
    ("ssl.ca.pem", "ssl.truststore.certificates"),
    ("ssl.certificate.location", "ssl.keystore.location"),
    ("ssl.certificate.pem", "ssl.keystore.certificate.chain"),
    ("ssl.key.location", "ssl.keystore.location"),
    ("ssl.key.pem", "ssl.keystore.key"),
];

/// Beginnings that Kafka Connect and MirrorMaker 2 put before a client's names.
const PREFIXES: &[&str] = &["admin.", "consumer.", "producer."];

/// Properties of a link that Kafka's clients have too: in another section's file they mean nothing.
const CLIENTS_TOO: &[&str] = &["isolation.level", "max.request.size"];

/// So many wrong letters make a name of a client file a misspelt one; what is further away belongs
/// to somebody else, and Kafka's clients pass it over.
const MISSPELT_LETTERS_MAX: usize = 2;

/// A longer name is no misspelt one, and is compared with none: it may come over REST.
const NAME_BYTES_MAX: usize = 100;

/// What is known of a name that is no property of a section.
#[derive(Debug, PartialEq, Eq)]
pub enum Stranger {
    /// It says how a cluster reaches itself.
    Local,
    /// Kafka's clients have it, isolog has no use for it.
    Unused,
    /// Cluster Linking has it, and this governs instead.
    Idle(&'static str),
    /// Connect or MirrorMaker 2 reads it, with its prefix.
    Prefixed,
    /// It is a property of these other parts of the file.
    Elsewhere(&'static [Scope]),
    /// Nobody knows it; this one is near.
    Near(&'static str),
    /// Nobody knows it and nothing is near.
    Unknown,
}

/// What `name`, which is no property of `scope`, could be.
pub fn explain(scope: Scope, name: &str) -> Stranger {
    let named = |row: &&str| *row == name || (row.ends_with('.') && name.starts_with(*row));
    let known = table::all().find(|property| property.name == name);
    let is_unused = UNUSED.iter().any(named);
    let idle = IDLE.iter().find(|(idle, _)| *idle == name).map(|(_, governs)| *governs);
    if name.starts_with(LOCAL) {
        return Stranger::Local;
    }
    let may_idle = scope == Scope::Commanded || (scope == Scope::Link && !is_unused);
    if let Some(governs) = idle.filter(|_| may_idle) {
        return Stranger::Idle(governs);
    }
    if PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return Stranger::Prefixed;
    }
    if let Some(property) = known {
        return Stranger::Elsewhere(property.scopes);
    }
    if is_unused {
        return Stranger::Unused;
    }
    if idle.is_some() {
        return Stranger::Elsewhere(&[Scope::Link]);
    }
    let near = librdkafka(name).filter(|right| of(scope).any(|property| property.name == *right));
    let near = near.or_else(|| nearest(name, of(scope).map(|property| property.name)));
    near.map_or(Stranger::Unknown, Stranger::Near)
}

fn librdkafka(name: &str) -> Option<&'static str> {
    LIBRDKAFKA.iter().find(|(its, _)| *its == name).map(|(_, ours)| *ours)
}

/// Whether a name in a client file is somebody else's, so that it is passed over there.
pub fn is_passed_over(scope: Scope, name: &str) -> bool {
    match explain(scope, name) {
        Stranger::Unused | Stranger::Prefixed | Stranger::Unknown => true,
        Stranger::Elsewhere(_) => CLIENTS_TOO.contains(&name),
        Stranger::Near(_) if librdkafka(name).is_some() => false,
        Stranger::Near(right) => edits(&plain(name), right) > MISSPELT_LETTERS_MAX,
        Stranger::Local | Stranger::Idle(_) => false,
    }
}

/// In small letters, with points only.
fn plain(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '-'], ".")
}

/// The name at the smallest edit distance, if a third of the letters or fewer are wrong.
fn nearest(wrong: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    if wrong.len() > NAME_BYTES_MAX {
        return None;
    }
    let wrong = plain(wrong);
    let worst = (wrong.chars().count() / 3).max(1);
    names
        .map(|name| (edits(&wrong, name), name))
        .filter(|(edits, _)| *edits <= worst)
        .min()
        .map(|(_, name)| name)
}

/// How many letters must be put in, left out or changed to make `left` of `right`.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (done, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = done + 1;
        for (at, other) in right.iter().enumerate() {
            let change = diagonal + usize::from(letter != *other);
            diagonal = row[at + 1];
            row[at + 1] = change.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        let check = |left, right, count| assert_eq!(edits(left, right), count, "{left} {right}");
        check("", "", 0);
        check("", "abc", 3);
        check("abc", "", 3);
        check("kitten", "sitting", 3);
        check("bootstrap.server", "bootstrap.servers", 1);
    }

    #[test]
    fn strangers_are_explained() {
        let check = |scope, name, what| assert_eq!(explain(scope, name), what, "{name}");
        check(Scope::Link, "bootstrap_server", Stranger::Near("bootstrap.servers"));
        check(Scope::Link, "Mirror.Topic", Stranger::Near("mirror.topics"));
        check(Scope::Link, "sasl.kerberos.service.name", Stranger::Unused);
        check(Scope::Link, "listen", Stranger::Elsewhere(&[Scope::Service]));
        check(Scope::Destination, "group.id", Stranger::Unused);
        check(Scope::Link, "producer.acks", Stranger::Prefixed);
        check(Scope::Destination, "colour", Stranger::Unknown);
        for scope in [Scope::Link, Scope::Commanded] {
            check(scope, "local.sasl.jaas.config", Stranger::Local);
        }
        check(Scope::Commanded, "listen", Stranger::Elsewhere(&[Scope::Service]));
        check(Scope::Commanded, "consumer.offset.sink.ms", Stranger::Prefixed);
        check(Scope::Commanded, "cluster.link.prefx", Stranger::Near("cluster.link.prefix"));
        check(Scope::Commanded, "group.id", Stranger::Unused);
        check(Scope::Destination, "dest.cluster.id", Stranger::Elsewhere(&[Scope::Link]));
        check(Scope::Link, "client.dns.lookup", Stranger::Unused);
        check(Scope::Destination, "", Stranger::Unknown);
        let long = format!("client.id{}", "x".repeat(3 * NAME_BYTES_MAX));
        check(Scope::Commanded, &long, Stranger::Unknown);
    }

    #[test]
    fn what_governs_instead_of_a_name_that_means_nothing_is_told() {
        let idle = |scope, name| match explain(scope, name) {
            Stranger::Idle(governs) => governs,
            other => panic!("{name}: {other:?}"),
        };
        for scope in [Scope::Link, Scope::Commanded] {
            assert!(idle(scope, "replica.socket.timeout.ms").contains("request.timeout.ms"));
            assert!(idle(scope, "num.cluster.link.fetchers").contains("lane"));
        }
        assert!(idle(Scope::Commanded, "client.dns.lookup").contains("every address"));
    }

    #[test]
    fn only_what_may_be_meant_for_isolog_is_refused_in_a_client_file() {
        for (name, passed) in [
            ("acks", true),
            ("schema.registry.url", true),
            ("basic.auth.user.info", true),
            ("replication.policy.class", true),
            ("consumer.sasl.jaas.config", true),
            ("connections.max.idle.ms", true),
            ("max.request.size", true),
            ("ssl.keystore.alias", true),
            ("ssl.keystore.locaton", false),
            ("sasl.jass.config", false),
            ("bootstrap_server", false),
            ("acl.sync.enable", false),
            ("num.cluster.link.fetchers", false),
            ("mirror.topics", false),
        ] {
            assert_eq!(is_passed_over(Scope::Destination, name), passed, "{name}");
        }
    }

    #[test]
    fn no_name_is_both_a_property_and_a_stranger() {
        for (alias, ours) in ALIASES {
            assert!(table::all().any(|property| property.name == *ours), "{ours}");
            assert_eq!(canonical(alias), *ours);
            assert!(table::all().all(|property| property.name != *alias), "{alias}");
        }
        for property in table::all() {
            let name = property.name;
            assert_eq!(canonical(name), name);
            let named = |row: &&str| *row == name || (row.ends_with('.') && name.starts_with(*row));
            let idle = IDLE.iter().map(|(idle, _)| idle);
            assert!(!UNUSED.iter().chain(idle).any(named), "{name}");
        }
    }
}
