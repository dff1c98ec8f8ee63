//! Consumer groups that links follow, as the counter shows them.
//!
//! It never asks a coordinator: it copies what the last turn read and wrote.

use crate::control::task::offsets::Stand;
use crate::ids::GroupName;
use crate::ids::TopicPartition;
use crate::link::status::GroupTold;
use crate::link::status::Link;
use crate::service::view::GroupView;
use crate::service::view::OffsetView;

/// Those of one link; with a name those that have it on either side, and then with their offsets.
pub fn of(link: &Link, name: Option<&str>) -> Vec<GroupView> {
    let Some(seen) = link.status().groups else { return Vec::new() };
    let age_ms = link.groups_age_ms(&seen);
    let is_asked = |(there, told): &(&GroupName, &GroupTold)| {
        name.is_none_or(|name| there.as_str() == name || told.source.as_str() == name)
    };
    let asked = seen.told.iter().filter(is_asked);
    asked.map(|(there, told)| view((link, age_ms), (there, told), name.is_some())).collect()
}

fn view(
    (link, age_ms): (&Link, Option<u64>),
    (there, told): (&GroupName, &GroupTold),
    is_whole: bool,
) -> GroupView {
    let count = |word: &str| told.stands.values().filter(|one| one.word() == word).count() as u64;
    let fault = told.fault.clone();
    let (error_code, reason) = fault.map(|fault| (fault.code, fault.text)).unwrap_or_default();
    GroupView {
        link: link.name.to_string(),
        group: told.source.to_string(),
        mirror_group: there.to_string(),
        partitions: told.stands.len() as u64,
        clamped: count("clamped"),
        behind: count("behind"),
        age_ms,
        error_code,
        reason,
        is_active_at_source: told.is_active_at_source,
        topics: told.stands.keys().map(|tp| tp.topic.to_string()).collect(),
        offsets: match is_whole {
            true => told.stands.iter().map(offset).collect(),
            false => Vec::new(),
        },
    }
}

fn offset((tp, stand): (&TopicPartition, &Stand)) -> OffsetView {
    OffsetView {
        topic: tp.topic.to_string(),
        partition: tp.partition.0,
        source_offset: stand.source.get(),
        mirror_offset: stand.there.map(|there| there.get()),
        state: stand.word().to_owned(),
    }
}
