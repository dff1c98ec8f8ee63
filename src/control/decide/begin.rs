//! Whether a topic becomes a mirror, and its first row.
//!
//! It never looks at a cluster: what a look found comes with the wish.

use std::collections::BTreeMap;

use super::View;
use super::has_stopped;
use super::leaving;
use super::no_link;
use crate::control::facts::Metadata;
use crate::control::facts::MirrorKey;
use crate::control::facts::TopicFacts;
use crate::control::order::Refusal;
use crate::control::order::Restore;
use crate::control::row::Before;
use crate::control::row::Changes;
use crate::control::row::MadeBy;
use crate::control::row::MirrorRow;
use crate::control::row::Origin;
use crate::control::rules;
use crate::control::topic::Stage;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TimestampMs;
use crate::ids::TopicId;
use crate::ids::TopicName;

/// A topic that is to become a mirror, and what the look at both clusters found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// At the source.
    pub source: TopicName,
    /// Who wants it.
    pub made_by: MadeBy,
    /// `replication.factor`.
    pub replicas: Option<i16>,
    /// Over what the source has.
    pub configs: BTreeMap<String, String>,
    /// What is now the source was once its mirror.
    pub restore: Option<Restore>,
    /// What was found.
    pub facts: TopicFacts,
}

/// What was let go is not taken again but by an order, what was stopped but by one to restore it.
fn may_begin_again(row: &MirrorRow, begin: &Begin) -> bool {
    match row.stage {
        Stage::LetGo => begin.made_by == MadeBy::Order,
        // a seal that is yet to come belongs to what was stopped
        Stage::Stopped(_) => {
            let is_sealed = usize::try_from(row.partitions) == Ok(row.sealed.len());
            begin.restore.is_some() && is_sealed
        }
        _ => false,
    }
}

/// The first row of a topic that becomes a mirror.
pub fn begin(
    view: View<'_>,
    key: &MirrorKey,
    begin: &Begin,
    now: TimestampMs,
) -> Result<MirrorRow, Refusal> {
    let (link, mirror) = key;
    let link_row = view.link(link).ok_or_else(|| no_link(link))?;
    rules::check_names(&begin.source, mirror)?;
    if link_row.is_leaving {
        return Err(leaving(link));
    }
    let before = view.mirror(key);
    if let Some(row) = before.filter(|row| !may_begin_again(row, begin)) {
        return Err(match row.stage {
            Stage::Stopped(_) => has_stopped(key),
            _ => Refusal::conflict(format!(
                "Topic '{mirror}' is a mirror topic of cluster link '{link}' already."
            )),
        });
    }
    if let Some(other) = view.other_owner(key) {
        return Err(Refusal::conflict(format!(
            "Topic '{mirror}' is a mirror topic of cluster link '{other}' already: give this link \
             a cluster.link.prefix, take the topic out of one of them, or, where no isolog has \
             '{other}' any more, forget that (`isolog journal delete link/{other} --with-mirrors`; \
             its topics stay)."
        )));
    }
    let source = match &begin.facts.source {
        Metadata::There(seen) => seen,
        Metadata::Absent => {
            let text = format!("Topic '{}' does not exist at the source cluster.", begin.source);
            return Err(Refusal::unknown(text));
        }
        Metadata::Hidden(fault) => return Err(Refusal::bad(fault.text.clone())),
    };
    let generation = before.map_or(0, |row| row.generation + u32::from(!row.sealed.is_empty()));
    let is_declared = link_row.origin == Origin::Declared;
    let (before, partitions) = match replaced(mirror, begin, source.id)? {
        Some(id) => (Before::Replaced(id), source.partitions),
        None => standing(mirror, begin, (is_declared, source.partitions))?,
    };
    let (configs, owed) = configs(begin)?;
    Ok(MirrorRow {
        source_topic: begin.source.clone(),
        source_id: source.id,
        ancestors: begin.facts.ancestors.clone(),
        mirror_id: None,
        partitions,
        generation,
        stage: Stage::Setup,
        since: now,
        is_paused: begin.restore.as_ref().and_then(|one| one.reversal).unwrap_or_default(),
        made_by: begin.made_by,
        before,
        replaced: begin.restore.as_ref().map(|one| one.ends.clone()).unwrap_or_default(),
        starts: starts(begin),
        owed,
        at_stop: at_first_stop(before, begin),
        configs,
        replicas: begin.replicas,
        sealed: BTreeMap::new(),
        deadline: None,
        abandons_open: false,
        reversal: None,
        last_sync: None,
        last_configs: None,
    })
}

/// Where each partition begins: at the order's word before the settings'.
fn starts(begin: &Begin) -> BTreeMap<PartitionId, Offset> {
    let ordered = begin.restore.as_ref().map(|one| &one.starts).filter(|one| !one.is_empty());
    let Some(ordered) = ordered else { return begin.facts.starts.clone() };
    let some = ordered.iter().filter(|(_, start)| **start > Offset::ZERO);
    some.map(|(partition, start)| (*partition, *start)).collect()
}

/// What a topic that is made gets when it stops at once; one that is there has its own configs.
fn at_first_stop(before: Before, begin: &Begin) -> Changes {
    match before {
        Before::Adopted(_) => Changes::new(),
        Before::Absent | Before::Replaced(_) => begin.facts.at_stop.clone(),
    }
}

/// What it gets at once, and what when it is set up: a config that is another one meanwhile waits.
fn configs(begin: &Begin) -> Result<(BTreeMap<String, String>, Changes), Refusal> {
    rules::check_configs(&begin.configs, &begin.facts)?;
    let (mut configs, mut owed) = (begin.facts.configs.clone(), begin.facts.owed.clone());
    for (key, value) in &begin.configs {
        match owed.get_mut(key) {
            Some(later) => *later = Some(value.clone()),
            None => drop(configs.insert(key.clone(), value.clone())),
        }
    }
    Ok((configs, owed))
}

/// The topic that is to be deleted and made anew, where there is one.
fn replaced(
    mirror: &TopicName,
    begin: &Begin,
    source_id: TopicId,
) -> Result<Option<TopicId>, Refusal> {
    let Some(restore) = &begin.restore else { return Ok(None) };
    if restore.source_id != source_id {
        return Err(Refusal::conflict(format!(
            "Topic '{}' of the source was deleted, or made anew, since it was looked at, and has \
             nothing of what was mirrored any more: look again.",
            begin.source
        )));
    }
    match &begin.facts.mirror {
        Metadata::There(seen) if seen.id == restore.id => {
            Ok(Some(seen.id).filter(|_| !restore.ends.is_empty()))
        }
        Metadata::Hidden(fault) => Err(Refusal::bad(fault.text.clone())),
        _ => Err(Refusal::conflict(format!(
            "Topic '{mirror}' was deleted, or made anew, since it was looked at: look again."
        ))),
    }
}

/// What a link of the file is said to mirror may be there already, with more partitions too; what a
/// filter happens to take may be anybody's.
fn standing(
    mirror: &TopicName,
    begin: &Begin,
    (is_declared, partitions): (bool, i32),
) -> Result<(Before, i32), Refusal> {
    let adopts = match begin.made_by {
        MadeBy::Order | MadeBy::Reversal | MadeBy::Name => true,
        MadeBy::Pattern => is_declared,
        MadeBy::Filter => false,
    };
    let may_have_more = adopts && is_declared && !begin.made_by.is_ordered();
    match &begin.facts.mirror {
        Metadata::Absent => Ok((Before::Absent, partitions)),
        Metadata::Hidden(fault) => Err(Refusal::bad(fault.text.clone())),
        Metadata::There(_) if !adopts && !begin.facts.is_empty => Err(Refusal::conflict(format!(
            "Topic '{mirror}' exists at the destination already, and a filter adopts no topic \
                 that holds records: name it in mirror.topics, or leave it out of the filter, give \
                 the link a cluster.link.prefix, or delete the topic there."
        ))),
        Metadata::There(seen) if may_have_more => {
            Ok((Before::Adopted(seen.id), seen.partitions.min(partitions)))
        }
        Metadata::There(seen) if seen.partitions > partitions => Err(Refusal::conflict(format!(
            "Topic '{mirror}' has {} partitions at the destination and {partitions} at the \
             source: a topic cannot lose partitions, so delete it there, or give the source as \
             many.",
            seen.partitions
        ))),
        Metadata::There(seen) => Ok((Before::Adopted(seen.id), seen.partitions)),
    }
}
