//! Checked properties become the `Options` of the rooms that a link runs.
//!
//! It never finds a mistake: what arrives here is whole, and what leaves cannot be invalid.

use std::time::Duration;

use crate::cluster;
use crate::cluster::Security;
use crate::control::acls::AclFilter;
use crate::control::acls::AclSync;
use crate::control::acls::Protection;
use crate::control::row::LinkMode;
use crate::control::start::StartSpec;
use crate::control::task::groups::GroupSync;
use crate::flow;
use crate::ids::LinkName;
use crate::ids::Side;
use crate::mirror::facts::GapFill;
use crate::mirror::facts::Merge;
use crate::mirror::facts::OldFormat;
use crate::mirror::facts::Overtook;
use crate::mirror::facts::Policy;

use super::check::Checked;
use super::check::bounded;
use super::link::LinkSettings;
use super::link::Options;
use super::link::Values;
use super::relations;
use super::value::Value;

/// Metadata is not asked for more often than this.
const METADATA_AGE_MIN: Duration = Duration::from_millis(100);
/// Who we are where nothing is said.
const CLIENT_ID: &str = "isolog";

/// What all links of the process share.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// `buffer.memory.bytes`.
    pub memory_bytes: usize,
    /// `reencode.threads`.
    pub reencode_threads: usize,
}

/// All settings of a link, or `None` when a value is missing (there is a problem for it then).
pub fn link(
    section: &Checked,
    name: LinkName,
    shared: Shared,
    security: Security,
) -> Option<LinkSettings> {
    Some(LinkSettings {
        name,
        source: cluster(section, Side::Source, security)?,
        link: options(section)?,
        flow: flow_options(section, shared)?,
        values: Values::of(section),
    })
}

/// How a cluster is reached.
pub fn cluster(section: &Checked, side: Side, security: Security) -> Option<cluster::Options> {
    let Value::Hosts(bootstrap) = section.value("bootstrap.servers")? else { return None };
    let pauses = |first, most| relations::pauses_of(section, first, most);
    let redial = pauses("reconnect.backoff.ms", "reconnect.backoff.max.ms")?;
    let retry = pauses("retry.backoff.ms", "retry.backoff.max.ms")?;
    Some(cluster::Options {
        side,
        bootstrap: bootstrap.clone(),
        client_id: client_id(section)?,
        request_timeout: section.millis("request.timeout.ms")?,
        dial_timeout: section.millis("socket.connection.setup.timeout.ms")?,
        metadata_age_max: section.millis("metadata.max.age.ms")?.max(METADATA_AGE_MIN),
        redial_pause: bounded(redial.first_ms),
        redial_pause_max: bounded(redial.max_ms),
        retry_pause: bounded(retry.first_ms),
        retry_pause_max: bounded(retry.max_ms),
        rack: section.text("client.rack")?.to_owned(),
        size_max: cluster::SizeMax {
            brokers: section.number("metadata.brokers.max")?,
            topics: section.number("metadata.topics.max")?,
            partitions: section.number("metadata.partitions.max")?,
        },
        security,
    })
}

fn options(section: &Checked) -> Option<Options> {
    let prefix = section.text("cluster.link.prefix").unwrap_or_default().to_owned();
    Some(Options {
        groups: groups(section, &prefix)?,
        // no property of the file's links yet
        mode: match section.text("link.mode") {
            Some("BIDIRECTIONAL") => LinkMode::Bidirectional,
            _ => LinkMode::Destination,
        },
        rename: relations::rename(section)?,
        start: StartSpec::parse(section.text("mirror.start.offset.spec")?)?,
        topics: relations::topics(section)?,
        named: relations::named(section)?,
        paused: section.is_true("cluster.link.paused"),
        replication_factor: section.number("replication.factor")?,
        committed_only: section.text("isolation.level")? == "read_committed",
        policy: policy(section)?,
        acls: acls(section)?,
        availability_interval: section.millis("availability.check.ms")?,
        availability_failures_max: section
            .number("availability.check.consecutive.failure.threshold")?,
    })
}

fn groups(section: &Checked, prefix: &str) -> Option<Option<GroupSync>> {
    if !section.is_true("consumer.offset.sync.enable") {
        return Some(None);
    }
    let is_renamed = section.is_true("consumer.group.prefix.enable");
    Some(Some(GroupSync {
        every_ms: section.int("consumer.offset.sync.ms")?,
        filter: relations::groups(section)?,
        prefix: if is_renamed { prefix.to_owned() } else { String::new() },
        // the link's row says which
        forgotten: Default::default(),
    }))
}

fn acls(section: &Checked) -> Option<AclSync> {
    let filter = match section.value("acl.filters")? {
        Value::Acls(filter) => filter.clone(),
        _ => AclFilter::default(),
    };
    let principal = section.text("acl.sync.principal").filter(|text| !text.is_empty());
    Some(AclSync {
        is_enabled: section.is_true("acl.sync.enable"),
        every_ms: section.int("acl.sync.ms")?,
        filter,
        protection: Protection::of_word(section.text("mirror.write.protection")?)?,
        principal: principal.map(str::to_owned),
    })
}

fn policy(section: &Checked) -> Option<Policy> {
    let is = |name, word: &str| Some(section.text(name)? == word);
    Some(Policy {
        gap_fill: match section.text("gap.fill")? {
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
        gap_offsets_max: section.number("gap.offsets.max")?,
        merge: if is("batch.merge", "never")? { Merge::Never } else { Merge::Auto },
    })
}

fn flow_options(section: &Checked, shared: Shared) -> Option<flow::Options> {
    Some(flow::Options {
        memory_bytes: shared.memory_bytes,
        reencode_threads: shared.reencode_threads,
        fetch_bytes_min: section.number("replica.fetch.min.bytes")?,
        fetch_wait_max: section.millis("replica.fetch.wait.max.ms")?,
        fetch_bytes_max: section.number("replica.fetch.response.max.bytes")?,
        partition_bytes_max: section.number("replica.fetch.max.bytes")?,
        bytes_per_second_max: u64::try_from(section.int("link.max.bytes.per.second")?).ok(),
        append_bytes_max: section.number("max.request.size")?,
    })
}

/// An empty name is none: Kafka's clients make one up then.
fn client_id(section: &Checked) -> Option<String> {
    let said = section.text("client.id")?;
    Some(if said.is_empty() { CLIENT_ID } else { said }.to_owned())
}
