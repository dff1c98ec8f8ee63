//! What a look at all topics means for a link: which begin, which have grown, what is wrong.
//!
//! It never writes a row; it is linear in the topics of both clusters.

use std::collections::BTreeSet;

use crate::control::advance::MISSING_MAX;
use crate::control::facts::Metadata;
use crate::control::facts::Topics;
use crate::control::facts::Wanted;
use crate::control::link::LinkSettings;
use crate::control::row::MadeBy;
use crate::control::row::MirrorRow;
use crate::control::topic::Fault;
use crate::control::topic::Stage;
use crate::control::topic::Track;
use crate::ids::Side;
use crate::ids::TopicName;

/// What a look found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Topics that are to become mirrors, and who wants them.
    pub begin: Vec<(Wanted, MadeBy)>,
    /// What could not be done, by topic.
    pub troubles: Vec<(String, Fault)>,
}

/// The topics that the link wants and that are no mirrors of it yet. `known`: the mirror topics of
/// the link.
pub fn plan(settings: &LinkSettings, known: &BTreeSet<&TopicName>, topics: &Topics) -> Plan {
    let mut plan = Plan::default();
    let literals: BTreeSet<&TopicName> = settings.topics.literals().collect();
    for (source, metadata) in &topics.source {
        let is_named = literals.contains(source);
        if !is_named && !settings.topics.matches(source) {
            continue;
        }
        match (mirror_name(settings, source), metadata) {
            (Ok(mirror), _) if known.contains(&mirror) => {}
            (Ok(mirror), Metadata::There(_)) => {
                let made_by = if is_named { MadeBy::Name } else { MadeBy::Filter };
                let (source, start) = (source.clone(), settings.start);
                plan.begin.push((Wanted { source, mirror, start }, made_by));
            }
            (Ok(_), Metadata::Hidden(fault)) => {
                plan.troubles.push((source.to_string(), fault.clone()));
            }
            (Ok(_), Metadata::Absent) => {}
            (Err(fault), _) => plan.troubles.push((source.to_string(), fault)),
        }
    }
    for literal in literals {
        if !topics.source.contains_key(literal) {
            let text = format!(
                "mirror.topics names {literal}, and the source has no such topic: correct the \
                 name, or create the topic"
            );
            let fault = Fault { code: "UNKNOWN_TOPIC_OR_PARTITION_ERROR".to_owned(), text };
            plan.troubles.push((literal.to_string(), fault));
        }
    }
    plan
}

/// The mirror's name: the link's prefix and the source's name.
pub fn mirror_name(settings: &LinkSettings, source: &TopicName) -> Result<TopicName, Fault> {
    let name = format!("{}{source}", settings.prefix);
    TopicName::new(&name).ok_or_else(|| Fault {
        code: "INVALID_TOPIC".to_owned(),
        text: format!(
            "{name} is no topic name (249 letters of a-z, A-Z, 0-9, '.', '_' and '-' at most): \
             shorten cluster.link.prefix"
        ),
    })
}

/// Takes in what a look says of a mirror topic.
pub fn observe(track: &mut Track, row: &MirrorRow, mirror: &TopicName, topics: &Topics) {
    let at_source = topics.source.get(&row.source_topic).unwrap_or(&Metadata::Absent);
    let at_mirror = topics.mirror.get(mirror).unwrap_or(&Metadata::Absent);
    count(&mut track.missing.0, at_source);
    // a topic that has another id now is as gone as one that is not there
    let is_other = at_mirror.seen().is_some_and(|seen| Some(seen.id) != row.mirror_id);
    match (row.mirror_id, is_other) {
        (None, _) => track.missing.1 = 0,
        (_, true) if matches!(row.stage, Stage::Stopped(_)) => track.missing.1 = MISSING_MAX,
        _ => count(&mut track.missing.1, at_mirror),
    }
    track.source_partitions = at_source.seen().map(|seen| seen.partitions);
    track.fault = source_fault(track, row, at_source)
        .or_else(|| mirror_fault(track, row, mirror, at_mirror))
        .or_else(|| hidden(at_source).or_else(|| hidden(at_mirror)));
}

fn count(missing: &mut u32, metadata: &Metadata) {
    *missing = if *metadata == Metadata::Absent { missing.saturating_add(1) } else { 0 };
}

fn hidden(metadata: &Metadata) -> Option<Fault> {
    match metadata {
        Metadata::Hidden(fault) => Some(fault.clone()),
        _ => None,
    }
}

fn source_fault(track: &Track, row: &MirrorRow, metadata: &Metadata) -> Option<Fault> {
    let name = &row.source_topic;
    match metadata.seen() {
        Some(seen) if seen.id != row.source_id => Some(changed(Side::Source, name)),
        Some(seen) if seen.partitions < row.partitions => Some(Fault {
            code: "SOURCE_PARTITIONS_DECREASED".to_owned(),
            text: format!(
                "the source topic {name} has {} partitions and its mirror {}: a topic cannot lose \
                 partitions, so it was made anew; delete the mirror topic to copy it",
                seen.partitions, row.partitions
            ),
        }),
        Some(_) => None,
        None => deleted(Side::Source, track.missing.0, name),
    }
}

fn mirror_fault(
    track: &Track,
    row: &MirrorRow,
    name: &TopicName,
    metadata: &Metadata,
) -> Option<Fault> {
    let was = row.mirror_id?;
    match metadata.seen() {
        Some(seen) if seen.id != was => Some(changed(Side::Destination, name)),
        Some(_) => None,
        None => deleted(Side::Destination, track.missing.1, name),
    }
}

fn changed(side: Side, name: &TopicName) -> Fault {
    let word = if side == Side::Source { "SOURCE" } else { "DESTINATION" };
    let text = format!(
        "the {side} topic {name} was deleted and made anew, it has another topic id: delete the \
         mirror (`isolog mirror delete {name} --topic`) to copy the new one"
    );
    Fault { code: format!("{word}_TOPIC_ID_CHANGED"), text }
}

fn deleted(side: Side, missing: u32, name: &TopicName) -> Option<Fault> {
    let code = match side {
        Side::Source => "SOURCE_TOPIC_MAY_BE_DELETED",
        Side::Destination => "DESTINATION_TOPIC_DELETED",
    };
    let text = format!(
        "the {side} topic {name} is gone: fail the mirror over to keep what was copied, or delete \
         the mirror (`isolog mirror delete {name}`)"
    );
    (missing >= MISSING_MAX).then(|| Fault { code: code.to_owned(), text })
}
