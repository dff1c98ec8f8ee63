//! Checked sections become the `Options` of the rooms below.
//!
//! It never finds a mistake: what arrives here is whole, and what leaves cannot be invalid.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::audit;
use crate::cluster;
use crate::control::filter;
use crate::control::start::StartSpec;
use crate::flow;
use crate::ids::LinkName;
use crate::ids::Side;
use crate::ids::TopicName;
use crate::link;
use crate::link::GapFill;
use crate::link::Merge;
use crate::link::OldFormat;
use crate::link::Overtook;
use crate::link::Policy;
use crate::link::journal;
use crate::service;
use crate::sync::configs;

use super::check::Checked;
use super::relations;
use super::table::Scope;
use super::value::Value;

/// The longest time there is, a year: Kafka's clients take 292 million.
pub const TIME_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// Metadata is not asked for more often than this.
const METADATA_AGE_MIN: Duration = Duration::from_millis(100);
/// Who we are where the file says nothing.
const CLIENT_ID: &str = "isolog";

/// What `security` made of the sections.
#[derive(Debug, Default)]
pub struct Safe {
    /// By the section's name.
    pub clusters: BTreeMap<String, cluster::Security>,
    /// Where the service listens, and whom it lets in.
    pub listen: Option<service::Listen>,
}

/// What the whole process shares.
#[derive(Copy, Clone)]
struct Shared {
    memory_bytes: usize,
    reencode_threads: usize,
}

/// The typed settings, or `None` when a section lacks a value (there is a problem for it then).
pub fn fill(sections: &[Checked], safe: &Safe) -> Option<(link::Settings, service::Options)> {
    let one = |scope: Scope| sections.iter().find(|section| section.scope == scope);
    let shared = Shared {
        memory_bytes: number(one(Scope::Process)?, "buffer.memory.bytes")?,
        reencode_threads: number(one(Scope::Process)?, "reencode.threads")?,
    };
    let destination = cluster_options(one(Scope::Destination)?, Side::Destination, safe)?;
    let service = service_options(one(Scope::Service)?, safe)?;
    let links = sections.iter().filter(|section| section.scope == Scope::Link);
    let links: Option<Vec<_>> = links.map(|link| link_settings(link, shared, safe)).collect();
    Some((link::Settings { destination, links: links? }, service))
}

/// The links as they are audited.
pub fn audits(settings: &link::Settings) -> Vec<audit::LinkOptions> {
    let one = |link: &link::LinkSettings| {
        let topics = link.link.topics.clone();
        audit::LinkOptions {
            name: link.name.clone(),
            source: link.source.clone(),
            destination: settings.destination.clone(),
            patterns: topics.includes().map(audited_pattern).collect(),
            topics: audit::Selection::new(move |name| topics.matches(name)),
            replicas: Some(link.link.replication_factor).filter(|factor| *factor > 0),
            new_configs: configs::for_new,
            source_keys: configs::keys_at_source(),
            journal: TopicName::new(journal::TOPIC).expect("a legal name"),
            remembered: journal::remembered,
            committed_only: link.link.committed_only,
            policy: link.link.policy,
        }
    };
    settings.links.iter().map(one).collect()
}

fn audited_pattern(pattern: &filter::Pattern) -> audit::Pattern {
    match pattern {
        filter::Pattern::Literal(name) => {
            audit::Pattern { text: name.to_string(), is_prefix: false }
        }
        filter::Pattern::Prefix(start) => audit::Pattern { text: start.clone(), is_prefix: true },
    }
}

fn link_settings(section: &Checked, shared: Shared, safe: &Safe) -> Option<link::LinkSettings> {
    let name = section.name.strip_prefix("link.")?;
    Some(link::LinkSettings {
        name: LinkName(Arc::from(name)),
        source: cluster_options(section, Side::Source, safe)?,
        link: link_options(section)?,
        flow: flow_options(section, shared)?,
    })
}

fn cluster_options(section: &Checked, side: Side, safe: &Safe) -> Option<cluster::Options> {
    let Value::Hosts(bootstrap) = section.value("bootstrap.servers")? else { return None };
    let pauses = |first, most| relations::pauses_of(section, first, most);
    let redial = pauses("reconnect.backoff.ms", "reconnect.backoff.max.ms")?;
    let retry = pauses("retry.backoff.ms", "retry.backoff.max.ms")?;
    Some(cluster::Options {
        side,
        bootstrap: bootstrap.clone(),
        client_id: client_id(section)?,
        request_timeout: millis(section, "request.timeout.ms")?,
        dial_timeout: millis(section, "socket.connection.setup.timeout.ms")?,
        metadata_age_max: millis(section, "metadata.max.age.ms")?.max(METADATA_AGE_MIN),
        redial_pause: bounded(redial.first_ms),
        redial_pause_max: bounded(redial.max_ms),
        retry_pause: bounded(retry.first_ms),
        retry_pause_max: bounded(retry.max_ms),
        rack: text(section, "client.rack")?,
        size_max: cluster::SizeMax {
            brokers: number(section, "metadata.brokers.max")?,
            topics: number(section, "metadata.topics.max")?,
            partitions: number(section, "metadata.partitions.max")?,
        },
        security: safe.clusters.get(&section.name)?.clone(),
    })
}

fn link_options(section: &Checked) -> Option<link::Options> {
    Some(link::Options {
        start: StartSpec::parse(&text(section, "mirror.start.offset.spec")?)?,
        topics: relations::topics(section)?,
        paused: section.value("cluster.link.paused")? == &Value::Bool(true),
        replication_factor: number(section, "replication.factor")?,
        committed_only: text(section, "isolation.level")? == "read_committed",
        policy: policy(section)?,
        availability_interval: millis(section, "availability.check.ms")?,
        availability_failures_max: number(
            section,
            "availability.check.consecutive.failure.threshold",
        )?,
    })
}

fn policy(section: &Checked) -> Option<Policy> {
    let is = |name, word: &str| Some(text(section, name)? == word);
    Some(Policy {
        gap_fill: match text(section, "gap.fill")?.as_str() {
            "halt" => GapFill::Halt,
            "record" => GapFill::Record,
            _ => GapFill::Auto,
        },
        overtook: if is("retention.overtook", "fill")? { Overtook::Fill } else { Overtook::Halt },
        old_format: if is("message.format.old", "halt")? {
            OldFormat::Halt
        } else {
            OldFormat::Convert
        },
        gap_offsets_max: number(section, "gap.offsets.max")?,
        merge: if is("batch.merge", "never")? { Merge::Never } else { Merge::Auto },
    })
}

fn flow_options(section: &Checked, shared: Shared) -> Option<flow::Options> {
    Some(flow::Options {
        memory_bytes: shared.memory_bytes,
        reencode_threads: shared.reencode_threads,
        fetch_bytes_min: number(section, "replica.fetch.min.bytes")?,
        fetch_wait_max: millis(section, "replica.fetch.wait.max.ms")?,
        fetch_bytes_max: number(section, "replica.fetch.response.max.bytes")?,
        partition_bytes_max: number(section, "replica.fetch.max.bytes")?,
        append_bytes_max: number(section, "max.request.size")?,
    })
}

fn service_options(section: &Checked, safe: &Safe) -> Option<service::Options> {
    Some(service::Options {
        listen: safe.listen.clone()?,
        log_json: text(section, "log.format")? == "json",
        log_level: text(section, "log.level")?,
    })
}

fn number<N: TryFrom<i64>>(section: &Checked, name: &str) -> Option<N> {
    N::try_from(section.int(name)?).ok()
}

fn millis(section: &Checked, name: &str) -> Option<Duration> {
    section.int(name).map(bounded)
}

/// So that no sum of times can overflow.
fn bounded(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(TIME_MAX)
}

/// An empty name is none: Kafka's clients make one up then.
fn client_id(section: &Checked) -> Option<String> {
    let said = text(section, "client.id")?;
    Some(if said.is_empty() { CLIENT_ID.to_owned() } else { said })
}

fn text(section: &Checked, name: &str) -> Option<String> {
    match section.value(name)? {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    }
}
