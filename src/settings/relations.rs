//! What must hold between properties, between sections, and between links.
//!
//! It never judges a value alone; a property that was wrong already is passed over.

use std::collections::BTreeSet;

use crate::control::filter;
use crate::control::filter::Rule;
use crate::control::filter::TopicFilter;
use crate::control::rename::Rename;
use crate::control::task::groups::GroupFilter;
use crate::http::advertised::Advertised;
use crate::ids::TopicName;

use super::check::Checked;
use super::check::Origin;
use super::problem::Problem;
use super::property::Scope;
use super::value::Value;

/// Where a cluster is asked first.
const SERVERS: &str = "bootstrap.servers";

/// Every broken rule between the sections of a file.
pub fn check(sections: &[Checked]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let of = |scope: Scope| sections.iter().filter(move |section| section.scope == scope);
    problems.extend(of(Scope::Process).flat_map(instances));
    problems.extend(of(Scope::Service).flat_map(|one| [announced(one), advertised(one)]).flatten());
    let memory_bytes = of(Scope::Process).find_map(|process| process.int("buffer.memory.bytes"));
    let destination = of(Scope::Destination).find_map(|there| match there.value(SERVERS)? {
        Value::Hosts(hosts) => Some(hosts.as_slice()),
        _ => None,
    });
    for link in of(Scope::Link) {
        problems.extend(of_link(link, memory_bytes, destination.unwrap_or_default()));
    }
    problems.extend(topics_twice(of(Scope::Link)));
    problems
}

/// A member of a group has a name of its own there, which a coordinator takes, and is heard of
/// more than once in a session.
fn instances(process: &Checked) -> Vec<Problem> {
    let name = "instances.group.instance.id";
    let has = |key| process.text(key).is_some_and(|text| !text.is_empty());
    let is_readable = process.value(name).is_some();
    let wrong = match (has("instances.group.id"), has(name)) {
        (true, false) if is_readable => Some(
            "is missing, and instances.group.id is set: a name that no other instance has, such as \
             ${env:HOSTNAME}",
        ),
        (false, true) => Some("means nothing without instances.group.id"),
        _ => None,
    };
    let letters = "is no name that a coordinator takes: those are of a-z, A-Z, 0-9, '.', '_' and \
                   '-', and neither '.' nor '..'";
    let is_illegal = has(name) && process.text(name).and_then(TopicName::new).is_none();
    let told = wrong.or_else(|| is_illegal.then_some(letters));
    let told = told.map(|text| Problem::at(process.place(), Some(name), text));
    let beats = "instances.heartbeat.interval.ms";
    told.into_iter().chain(ordered(process, beats, "instances.session.timeout.ms", true)).collect()
}

/// Events go into a topic of their own.
fn announced(service: &Checked) -> Option<Problem> {
    let name = "events.topic";
    let text = service.text(name).filter(|text| !text.is_empty())?;
    let is_own = TopicName::new(text).is_some_and(|_| filter::owner(text).is_none());
    let told = "is no name of a topic for events: those are of a-z, A-Z, 0-9, '.', '_' and '-', \
                and topics of a cluster's own are left alone";
    (!is_own).then(|| Problem::at(service.place(), Some(name), told))
}

/// Answers begin with it, so it has no path, no user and no query.
fn advertised(service: &Checked) -> Option<Problem> {
    let name = "advertised.url";
    let text = service.text(name).filter(|text| !text.is_empty())?;
    let told = "must be http://HOST[:PORT] or https://HOST[:PORT], without a path behind it";
    let is_wrong = Advertised::parse(text).is_none();
    is_wrong.then(|| Problem::at(service.place(), Some(name), told))
}

/// Every broken rule of one link: of the process's memory, and of the destination's addresses.
pub fn of_link(
    link: &Checked,
    memory_bytes: Option<i64>,
    destination: &[(String, u16)],
) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(memory_bytes.and_then(|bytes| memory(bytes, link)));
    problems.extend(same_cluster(destination, link));
    problems.extend(fetching(link));
    problems.extend(mirrored(link));
    problems.extend(followed(link));
    problems.extend(renamed_twice(link));
    problems.extend(granted(link));
    problems
}

/// The filter of a link, or `None` when a part of it was wrong.
pub fn topics(link: &Checked) -> Option<TopicFilter> {
    let mut all = named_rules(link)?;
    let filters = rules(link, "auto.create.mirror.topics.filters")?;
    if link.value("auto.create.mirror.topics.enable")? == &Value::Bool(true) {
        all.extend(filters);
    }
    Some(TopicFilter::new(all))
}

/// What of it `mirror.topics` and `mirror.pattern` take.
pub fn named(link: &Checked) -> Option<TopicFilter> {
    named_rules(link).map(TopicFilter::new)
}

fn named_rules(link: &Checked) -> Option<Vec<Rule>> {
    let mut all = rules(link, "mirror.topics")?;
    all.extend(rules(link, "mirror.pattern")?);
    for name in ["mirror.exclude.topics", "mirror.exclude.pattern"] {
        let excludes = rules(link, name)?.into_iter().map(|rule| Rule::exclude(rule.pattern));
        all.extend(excludes);
    }
    Some(all)
}

fn rules(link: &Checked, name: &str) -> Option<Vec<Rule>> {
    match link.value(name)? {
        Value::Rules(rules) => Some(rules.clone()),
        _ => Some(Vec::new()),
    }
}

/// The filter of groups, or `None` when it was wrong.
pub fn groups(link: &Checked) -> Option<GroupFilter> {
    match link.value(GROUP_FILTERS)? {
        Value::Groups(rules) => Some(GroupFilter::new(rules.clone())),
        _ => Some(GroupFilter::default()),
    }
}

const GROUP_FILTERS: &str = "consumer.offset.group.filters";

/// Offsets of no group, or of groups whose names the two directions of a link would mix up.
fn followed(link: &Checked) -> Vec<Problem> {
    let mut problems = Vec::new();
    let is_enabled = link.is_true("consumer.offset.sync.enable");
    if is_enabled && groups(link).is_some_and(|filter| !filter.includes_anything()) {
        let text = match link.value(GROUP_FILTERS) {
            Some(Value::Absent) => "is missing, and consumer.offset.sync.enable is true",
            _ => "includes no group, and consumer.offset.sync.enable is true",
        };
        problems.push(Problem::at(link.place(), Some(GROUP_FILTERS), text));
    }
    let renames = "consumer.group.prefix.enable";
    if link.is_true(renames) && link.text("topic.rename.format").is_some() {
        let text = "needs cluster.link.prefix, and the link has a topic.rename.format instead";
        problems.push(Problem::at(link.place(), Some(renames), text));
    }
    if link.is_true(renames) && link.text("link.mode") == Some("BIDIRECTIONAL") {
        let text = "cannot be true where link.mode is BIDIRECTIONAL: groups have one name on both \
                    sides there";
        problems.push(Problem::at(link.place(), Some(renames), text));
    }
    problems
}

fn broken(section: &Checked, key: &str, text: String) -> Problem {
    let shown = section.int(key).map(|number| number.to_string());
    Problem::at(section.place(), Some(key), text).showing(shown)
}

/// `key` must be at most `bound` (less, if `strictly`) of the same section.
fn ordered(section: &Checked, key: &str, bound: &str, strictly: bool) -> Option<Problem> {
    let (value, most) = (section.int(key)?, section.int(bound)?);
    let holds = if strictly { value < most } else { value <= most };
    let word = if strictly { "less than" } else { "at most" };
    (!holds).then(|| broken(section, key, format!("must be {word} {bound}, which is {most}")))
}

/// What Kafka's clients take and pass over: pauses that begin beyond their end, and what would make
/// a connection safe where `security.protocol` leaves it out.
pub fn notes(sections: &[Checked]) -> Vec<Problem> {
    let clusters = |section: &&Checked| {
        matches!(section.scope, Scope::Destination | Scope::Link | Scope::Commanded)
    };
    let of = |section| pauses(section).into_iter().chain(left_open(section));
    sections.iter().filter(clusters).flat_map(of).collect()
}

/// A login or a store that was said, and `security.protocol` (PLAINTEXT by default) uses none.
fn left_open(section: &Checked) -> Option<Problem> {
    const SAFETY: [(&str, &str, &str); 4] = [
        ("sasl.jaas.config", "SASL_", "SASL_SSL or SASL_PLAINTEXT logs in"),
        ("sasl.mechanism", "SASL_", "SASL_SSL or SASL_PLAINTEXT logs in"),
        ("ssl.truststore.location", "SSL", "SSL or SASL_SSL encrypts"),
        ("ssl.keystore.location", "SSL", "SSL or SASL_SSL encrypts"),
    ];
    let protocol = section.text("security.protocol")?;
    let is_said =
        |name: &str| matches!(section.origin(name), Some(Origin::Properties | Origin::Config));
    let (name, _, cure) =
        SAFETY.into_iter().find(|(name, uses, _)| is_said(name) && !protocol.contains(uses))?;
    let text = format!("is not used: security.protocol is {protocol} ({cure})");
    Some(Problem::at(section.place(), Some(name), text))
}

fn pauses(section: &Checked) -> Vec<Problem> {
    let longer = |first: &str, most: &str| {
        let Pauses { is_cut: true, max_ms, .. } = pauses_of(section, first, most)? else {
            return None;
        };
        let text = format!("is beyond {most} and counts as that, {max_ms}, as in Kafka's clients");
        Some(broken(section, first, text))
    };
    let reconnect = longer("reconnect.backoff.ms", "reconnect.backoff.max.ms");
    let retry = longer("retry.backoff.ms", "retry.backoff.max.ms");
    reconnect.into_iter().chain(retry).collect()
}

/// The first pause and the longest one, in ms.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Pauses {
    /// At most `max_ms`.
    pub first_ms: i64,
    /// At least 1.
    pub max_ms: i64,
    /// Whether the first one was said to be longer.
    pub is_cut: bool,
}

/// As Kafka's clients read them: `reconnect.backoff.ms` raises a longest pause that nobody set
/// (`CommonClientConfigs.postProcessReconnectBackoffConfigs`), every other one is bounded by it.
pub fn pauses_of(section: &Checked, first: &str, most: &str) -> Option<Pauses> {
    let (first_ms, mut max_ms) = (section.int(first)?, section.int(most)?);
    if first == "reconnect.backoff.ms" && section.origin(most) == Some(Origin::Default) {
        max_ms = max_ms.max(first_ms);
    }
    let is_cut = first_ms > max_ms;
    let max_ms = max_ms.max(PAUSE_MS_MIN);
    Some(Pauses { first_ms: first_ms.clamp(PAUSE_MS_MIN, max_ms), max_ms, is_cut })
}

/// Kafka's clients may ask again at once; a pause of nothing is no pause.
const PAUSE_MS_MIN: i64 = 1;

fn fetching(link: &Checked) -> impl Iterator<Item = Problem> {
    let response = "replica.fetch.response.max.bytes";
    [
        ordered(link, "replica.fetch.wait.max.ms", "request.timeout.ms", true),
        ordered(link, "replica.fetch.max.bytes", response, false),
        ordered(link, "replica.fetch.min.bytes", response, false),
    ]
    .into_iter()
    .flatten()
}

/// A lane holds one answer while it fetches the next.
fn memory(all: i64, link: &Checked) -> Option<Problem> {
    let key = "replica.fetch.response.max.bytes";
    let answer = link.int(key)?;
    // the default is bounded by the memory that there is
    if link.origin(key) == Some(Origin::Default) {
        return None;
    }
    let text = || format!("twice as much must fit into buffer.memory.bytes, which is {all}");
    (answer.saturating_mul(2) > all).then(|| broken(link, key, text()))
}

/// A cluster mirrored into itself would copy its own copies.
fn same_cluster(destination: &[(String, u16)], link: &Checked) -> Option<Problem> {
    let Value::Hosts(here) = link.value(SERVERS)? else { return None };
    let known = |address: &&(String, u16)| destination.iter().any(|other| same(address, other));
    let (host, port) = here.iter().find(known)?;
    let text =
        format!("{host}:{port} is an address of [destination] too: a cluster cannot mirror itself");
    Some(Problem::at(link.place(), Some(SERVERS), text))
}

fn same(left: &(String, u16), right: &(String, u16)) -> bool {
    let local = |host: &str| host == "localhost" || host == "::1" || host.starts_with("127.");
    let hosts = left.0 == right.0 || (local(&left.0) && local(&right.0));
    hosts && left.1 == right.1
}

fn mirrored(link: &Checked) -> Vec<Problem> {
    let mut problems = Vec::new();
    if link.int("replication.factor") == Some(0) {
        let text = "must be -1, for the broker's default, or at least 1".into();
        problems.push(broken(link, "replication.factor", text));
    }
    if link.int("link.max.bytes.per.second") == Some(0) {
        let text = "must be -1, for no limit, or at least 1; cluster.link.paused=true fetches \
                    nothing"
            .into();
        problems.push(broken(link, "link.max.bytes.per.second", text));
    }
    let filters = "auto.create.mirror.topics.filters";
    let enabled = link.value("auto.create.mirror.topics.enable") == Some(&Value::Bool(true));
    if enabled && link.value(filters) == Some(&Value::Absent) {
        let text = "is missing, and auto.create.mirror.topics.enable is true";
        problems.push(Problem::at(link.place(), Some(filters), text));
    } else if link.scope == Scope::Link
        && link.value("acl.sync.enable") != Some(&Value::Bool(true))
        && topics(link).is_some_and(|topics| !topics.includes_anything())
    {
        // a link that is created over REST gets its mirror topics by order as well
        let text = "the link mirrors nothing: name topics here, or prefixes ending in *, or write \
                    mirror.pattern; or let it copy ACLs alone (acl.sync.enable)";
        problems.push(Problem::at(link.place(), Some("mirror.topics"), text));
    }
    problems
}

/// What mirrors are called; `None` where the format is wrong, which is told.
pub(super) fn rename(link: &Checked) -> Option<Rename> {
    match link.value("topic.rename.format")? {
        Value::Text(format) => Rename::parse(format),
        _ => Some(Rename::prefixed(link.text("cluster.link.prefix").unwrap_or_default())),
    }
}

/// Both say what mirrors are called.
fn renamed_twice(link: &Checked) -> Option<Problem> {
    let has = |name: &str| link.text(name).is_some();
    (has("topic.rename.format") && has("cluster.link.prefix")).then(|| {
        let text = "cannot be given beside cluster.link.prefix: write the prefix into the format, \
                    as in west.${topic}";
        Problem::at(link.place(), Some("topic.rename.format"), text)
    })
}

/// A binding names topics as the source does, and what is copied must be named.
fn granted(link: &Checked) -> Option<Problem> {
    if link.value("acl.sync.enable") != Some(&Value::Bool(true)) {
        return None;
    }
    if link.value("acl.filters") == Some(&Value::Absent) {
        let text = "is missing, and acl.sync.enable is true";
        return Some(Problem::at(link.place(), Some("acl.filters"), text));
    }
    let rename = rename(link).filter(|rename| !rename.is_none())?;
    let text = format!(
        "cannot be true with a {}: bindings name topics as the source does. Create a second link \
         without it and without mirror topics for ACLs",
        rename.property()
    );
    Some(Problem::at(link.place(), Some("acl.sync.enable"), text))
}

/// A mirror topic that two links would both write: under one prefix by what they may match, under
/// two by their names alone, since what a pattern matches is not known.
fn shared(links: [(&Checked, &TopicFilter); 2]) -> Option<String> {
    let [(one, ours), (other, its)] = links;
    let (one, other) = (rename(one)?, rename(other)?);
    if one == other {
        return ours.overlap(its).map(|shared| one.text(&shared));
    }
    let mirrors = |rename: &Rename, filter: &TopicFilter| -> BTreeSet<String> {
        filter.literals().map(|name| rename.text(name.as_str())).collect()
    };
    mirrors(&one, ours).intersection(&mirrors(&other, its)).next().cloned()
}

/// A mirror topic has one source: two links that mirror the same one would both write it. A paused
/// link writes nothing.
fn topics_twice<'a>(links: impl Iterator<Item = &'a Checked>) -> Vec<Problem> {
    let runs = |link: &&Checked| link.value("cluster.link.paused") != Some(&Value::Bool(true));
    let mut known: Vec<(&Checked, TopicFilter)> = Vec::new();
    let mut problems = Vec::new();
    for link in links.filter(runs) {
        let Some(filter) = topics(link) else { continue };
        let other = known
            .iter()
            .find_map(|(other, its)| Some((other, shared([(other, its), (link, &filter)])?)));
        if let Some((other, shared)) = other {
            let text = format!(
                "{shared} is mirrored by [{}] already, and a mirror topic has one source: leave it \
                 out of one of them by mirror.exclude.topics, or give one a cluster.link.prefix",
                other.name
            );
            problems.push(Problem::at(link.place(), Some("mirror.topics"), text));
        }
        known.push((link, filter));
    }
    problems
}
