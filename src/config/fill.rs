//! Checked sections become the `Options` of the rooms below.
//!
//! It never finds a mistake: what arrives here is whole, and what leaves cannot be invalid.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::audit;
use crate::cluster;
use crate::control::acls::AclSync;
use crate::control::filter;
use crate::control::task::groups;
use crate::control::task::groups::GroupSync;
use crate::ids::LinkName;
use crate::ids::Side;
use crate::ids::TopicName;
use crate::link;
use crate::secure::Sealer;
use crate::service;
use crate::settings::check::Checked;
use crate::settings::fill;
use crate::settings::fill::Shared;
use crate::settings::link::LinkSettings;
use crate::settings::property::Scope;
use crate::sync::configs;

/// What `security` made of the sections.
#[derive(Debug, Default)]
pub struct Safe {
    /// By the section's name.
    pub clusters: BTreeMap<String, cluster::Security>,
    /// Where the service listens, and whom it lets in.
    pub listen: Option<service::Listen>,
    /// What seals secrets.
    pub sealer: Option<Arc<Sealer>>,
}

/// The typed settings, or `None` when a section lacks a value (there is a problem for it then).
pub fn fill(sections: &[Checked], safe: &Safe) -> Option<(link::Settings, service::Options)> {
    let one = |scope: Scope| sections.iter().find(|section| section.scope == scope);
    let shared = Shared {
        memory_bytes: one(Scope::Process)?.number("buffer.memory.bytes")?,
        reencode_threads: one(Scope::Process)?.number("reencode.threads")?,
    };
    let there = one(Scope::Destination)?;
    let security = safe.clusters.get(&there.name)?.clone();
    let destination = fill::cluster(there, Side::Destination, security)?;
    let service = service_options(one(Scope::Service)?, safe)?;
    let links = sections.iter().filter(|section| section.scope == Scope::Link);
    let links: Option<Vec<_>> = links.map(|link| link_settings(link, shared, safe)).collect();
    let group = group(one(Scope::Process)?);
    Some((link::Settings { destination, shared, group, links: links? }, service))
}

/// The group of instances, where there is to be one.
fn group(process: &Checked) -> Option<link::member::Options> {
    let text = |key| process.text(key).filter(|text| !text.is_empty());
    Some(link::member::Options {
        group: text("instances.group.id")?.to_owned(),
        instance: text("instances.group.instance.id")?.to_owned(),
        session_ms: process.int("instances.session.timeout.ms")?,
        heartbeat_ms: process.int("instances.heartbeat.interval.ms")?,
    })
}

/// The links as they are audited.
pub fn audits(settings: &link::Settings) -> Vec<audit::LinkOptions> {
    settings.links.iter().map(|link| audit(settings, link)).collect()
}

/// A link as it is audited, at the destination of these settings.
pub fn audit(settings: &link::Settings, link: &LinkSettings) -> audit::LinkOptions {
    let topics = link.link.topics.clone();
    audit::LinkOptions {
        name: link.name.clone(),
        source: link.source.clone(),
        destination: settings.destination.clone(),
        ordered: BTreeSet::new(),
        mirrors_there: BTreeSet::new(),
        rename: link.link.rename.clone(),
        patterns: topics.includes().filter_map(audited_pattern).collect(),
        groups: link.link.groups.iter().flat_map(audited_groups).collect(),
        group_prefix: link.link.groups.iter().map(|sync| sync.prefix.as_str()).collect(),
        instances: settings.group.as_ref().map(|group| group.group.clone()),
        topics,
        named: link.link.named.clone(),
        acls: Some(link.link.acls.clone()).filter(AclSync::is_configured),
        replicas: Some(link.link.replication_factor).filter(|factor| *factor > 0),
        new_configs: configs::for_new,
        source_keys: configs::keys_at_source(),
        configs: link.configs(),
        committed_only: link.link.committed_only,
        policy: link.link.policy,
    }
}

/// Rights under an expression are asked for topic by topic: no ACL has one.
fn audited_pattern(pattern: &filter::Pattern) -> Option<audit::Pattern> {
    let (text, is_prefix) = match pattern {
        filter::Pattern::Literal(name) => (name.to_string(), false),
        filter::Pattern::Prefix(start) => (start.clone(), true),
        filter::Pattern::Expression(_) => return None,
    };
    Some(audit::Pattern { text, is_prefix })
}

fn audited_groups(sync: &GroupSync) -> impl Iterator<Item = audit::Pattern> {
    sync.filter.includes().map(|pattern| match pattern {
        groups::Pattern::Literal(name) => {
            audit::Pattern { text: name.as_str().to_owned(), is_prefix: false }
        }
        groups::Pattern::Prefix(start) => audit::Pattern { text: start.clone(), is_prefix: true },
    })
}

fn link_settings(section: &Checked, shared: Shared, safe: &Safe) -> Option<LinkSettings> {
    let name = LinkName(Arc::from(section.name.strip_prefix("link.")?));
    fill::link(section, name, shared, safe.clusters.get(&section.name)?.clone())
}

fn service_options(section: &Checked, safe: &Safe) -> Option<service::Options> {
    Some(service::Options {
        listen: safe.listen.clone()?,
        log_json: section.text("log.format")? == "json",
        log_level: section.text("log.level")?.to_owned(),
        series: service::Series::of(section.text("metrics.partition.series")?),
        advertised: section.text("advertised.url").and_then(service::Advertised::parse),
        events_topic: section.text("events.topic").and_then(TopicName::new),
    })
}
