//! What a look at all topics means for a link: which begin, which have grown, what is wrong.
//!
//! It never writes a row; it is linear in the topics of both clusters.

use std::collections::BTreeSet;

use crate::control::advance::MISSING_MAX;
use crate::control::facts::Metadata;
use crate::control::facts::MirrorKey;
use crate::control::facts::Topics;
use crate::control::facts::Wanted;
use crate::control::filter::Pattern;
use crate::control::filter::is_met;
use crate::control::filter::matches_nothing;
use crate::control::link::LinkSettings;
use crate::control::row::MadeBy;
use crate::control::row::MirrorRow;
use crate::control::row::lineage::Ancestor;
use crate::control::topic::Fault;
use crate::control::topic::Stage;
use crate::control::topic::Track;
use crate::ids::Side;
use crate::ids::TopicName;
use crate::mirror::halt::Halt;

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
                let made_by = made_by(settings, source);
                let (source, start) = (source.clone(), settings.start);
                let is_anew = false;
                plan.begin.push((Wanted { source, mirror, start, is_anew }, made_by));
            }
            (Ok(_), Metadata::Hidden(fault)) => {
                plan.troubles.push((source.to_string(), fault.clone()));
            }
            (Ok(_), Metadata::Absent) => {}
            (Err(fault), _) => plan.troubles.push((source.to_string(), fault)),
        }
    }
    plan.troubles.extend(idle(settings, known, topics));
    for literal in literals {
        if *topics.source.get(literal).unwrap_or(&Metadata::Absent) == Metadata::Absent {
            let text = format!(
                "the link's settings name {literal} (mirror.topics, or a filter), and the source \
                 has no such topic: correct the name, or create the topic"
            );
            let fault = Fault { code: "UNKNOWN_TOPIC_OR_PARTITION_ERROR".to_owned(), text };
            plan.troubles.push((literal.to_string(), fault));
        }
    }
    plan
}

/// What of the settings takes a topic; what it is named by goes before a filter.
pub fn made_by(settings: &LinkSettings, source: &TopicName) -> MadeBy {
    if settings.named.literals().any(|name| name == source) {
        MadeBy::Name
    } else if settings.named.matches(source) {
        MadeBy::Pattern
    } else {
        MadeBy::Filter
    }
}

/// Prefixes and expressions that match no topic of the source, and none that is mirrored.
fn idle(
    settings: &LinkSettings,
    known: &BTreeSet<&TopicName>,
    topics: &Topics,
) -> Vec<(String, Fault)> {
    let is_shown = |metadata: &Metadata| *metadata != Metadata::Absent;
    let there = topics.source.iter().filter(|(_, metadata)| is_shown(metadata));
    let all: BTreeSet<TopicName> = there.map(|(name, _)| name.clone()).collect();
    let matched: BTreeSet<TopicName> =
        all.iter().filter(|name| settings.topics.matches(name)).cloned().collect();
    let of_known = known.iter().filter_map(|name| settings.rename.source_of(name));
    let mirrored: BTreeSet<TopicName> = of_known.collect();
    let is_idle = |pattern: &&Pattern| {
        let is_named = matches!(pattern, Pattern::Literal(_));
        !is_named && !is_met(pattern, &matched) && !is_met(pattern, &mirrored)
    };
    let trouble = |pattern: &Pattern| {
        let (code, text) = ("UNKNOWN_TOPIC_OR_PARTITION_ERROR", matches_nothing(pattern, &all));
        (pattern.to_string(), Fault { code: code.to_owned(), text })
    };
    settings.topics.includes().filter(is_idle).map(trouble).collect()
}

/// The mirror's name: the source's, renamed as the link says.
pub fn mirror_name(settings: &LinkSettings, source: &TopicName) -> Result<TopicName, Fault> {
    let rename = &settings.rename;
    rename.mirror_of(source).ok_or_else(|| Fault {
        code: "INVALID_TOPIC".to_owned(),
        text: format!(
            "{} is no topic name (249 letters of a-z, A-Z, 0-9, '.', '_' and '-' at most): \
             shorten {}",
            rename.text(source.as_str()),
            rename.property()
        ),
    })
}

/// Why a link must not go on: a mirror topic of it has another name than its settings give it.
pub fn misnamed(settings: &LinkSettings, key: &MirrorKey, row: &MirrorRow) -> Option<Fault> {
    let is_ours = row.stage.is_mirror();
    let (name, source) = (&key.1, &row.source_topic);
    let is_so = mirror_name(settings, source).as_ref() == Ok(name);
    let rename = &settings.rename;
    (is_ours && !is_so).then(|| Fault {
        code: "INVALID_CONFIG".to_owned(),
        text: format!(
            "{} is \"{rename}\", and topic {source} is mirrored as {name} already: names of \
             mirrors cannot be changed, nothing of the link is copied before it is as it was. For \
             other names take another link, or delete its mirrors first (`isolog mirror delete`)",
            rename.property()
        ),
    })
}

/// What the last look said of a mirror topic.
type Told = (
    (u32, u32),
    Option<i32>,
    Option<(i32, i32)>,
    Option<Vec<Ancestor>>,
    Option<Fault>,
    Option<Halt>,
);

fn told(track: &Track) -> Told {
    let (ancestors, fault, halt) = (&track.ancestors, &track.fault, &track.halt);
    let counts = (track.missing, track.source_partitions, track.surplus);
    (counts.0, counts.1, counts.2, ancestors.clone(), fault.clone(), halt.clone())
}

/// Takes in what a look says of a mirror topic; whether that is another thing than the last one
/// said.
pub fn observe(track: &mut Track, row: &MirrorRow, key: &MirrorKey, topics: &Topics) -> bool {
    let before = told(track);
    let at_source = topics.source.get(&row.source_topic).unwrap_or(&Metadata::Absent);
    let at_mirror = topics.mirror.get(&key.1).unwrap_or(&Metadata::Absent);
    count(&mut track.missing.0, at_source);
    // a topic that has another id now is as gone as one that is not there
    let is_other = at_mirror.seen().is_some_and(|seen| Some(seen.id) != row.mirror_id);
    match (row.mirror_id, is_other) {
        (None, _) => track.missing.1 = 0,
        (_, true) if matches!(row.stage, Stage::Stopped(_) | Stage::LetGo) => {
            track.missing.1 = MISSING_MAX
        }
        _ => count(&mut track.missing.1, at_mirror),
    }
    track.source_partitions = at_source.seen().map(|seen| seen.partitions);
    track.surplus = surplus(row, at_source, at_mirror);
    if let Some(all) = &topics.ancestors {
        track.ancestors = Some(all.get(&row.source_topic).cloned().unwrap_or_default());
    }
    let back = || topics.loops.get(&row.source_topic);
    let stops = source_stop(track, row, key, at_source)
        .or_else(|| mirror_stop(track, row, key, at_mirror))
        .or_else(|| back().map(|fault| Stop { fault: fault.clone(), halt: Halt::Loop }))
        .map(|stop| (stop.fault, Some(stop.halt)));
    // what is only not shown to us goes on as far as the brokers let it
    let hidden = || hidden(at_source).or_else(|| hidden(at_mirror)).map(|fault| (fault, None));
    let (fault, halt) = stops.or_else(hidden).unzip();
    (track.fault, track.halt) = (fault, halt.flatten());
    told(track) != before
}

/// How many partitions the source has and the mirror, where that has more: nothing is copied into
/// those that only the mirror has.
fn surplus(row: &MirrorRow, at_source: &Metadata, at_mirror: &Metadata) -> Option<(i32, i32)> {
    let (ours, theirs) = at_source.seen().zip(at_mirror.seen())?;
    let is_surplus = Some(theirs.id) == row.mirror_id && theirs.partitions > ours.partitions;
    is_surplus.then_some((ours.partitions, theirs.partitions))
}

/// Why a topic must not be gone on with: for people, and for flow.
struct Stop {
    fault: Fault,
    halt: Halt,
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

fn source_stop(
    track: &Track,
    row: &MirrorRow,
    key: &MirrorKey,
    metadata: &Metadata,
) -> Option<Stop> {
    let (name, side) = (&row.source_topic, Side::Source);
    let Some(seen) = metadata.seen() else {
        return deleted(track.missing.0, "SOURCE_TOPIC_MAY_BE_DELETED", side, || {
            let (link, mirror) = key;
            format!(
                "the source topic {name} is gone; the copy is kept as it is: `isolog mirror delete \
                 {mirror} --link {link}` makes it an ordinary topic"
            )
        });
    };
    let (halt, what) = if seen.id != row.source_id {
        let halt = Halt::Recreated { side, was: row.source_id, is: seen.id };
        (halt, "was deleted and made anew, it has another topic id".to_owned())
    } else if seen.partitions < row.partitions {
        let count = |partitions: i32| usize::try_from(partitions).unwrap_or(0);
        let (source, destination) = (count(seen.partitions), count(row.partitions));
        let what = format!(
            "has {source} partitions and its mirror {destination}: a topic cannot lose partitions, \
             so it was made anew"
        );
        (Halt::PartitionsDecreased { source, destination }, what)
    } else {
        return None;
    };
    let text = format!("the source topic {name} {what}: {}", anew(key));
    Some(Stop { fault: Fault { code: halt.label().to_owned(), text }, halt })
}

fn mirror_stop(
    track: &Track,
    row: &MirrorRow,
    key: &MirrorKey,
    metadata: &Metadata,
) -> Option<Stop> {
    let was = row.mirror_id?;
    let ((link, name), side) = (key, Side::Destination);
    let Some(seen) = metadata.seen() else {
        return deleted(track.missing.1, "DESTINATION_TOPIC_DELETED", side, || {
            format!(
                "the destination topic {name} is gone, and all that was copied: to copy anew let \
                 go of the mirror (`isolog mirror delete {name} --link {link}`) and create it again"
            )
        });
    };
    if seen.id == was {
        return None;
    }
    let halt = Halt::Recreated { side, was, is: seen.id };
    let text = format!(
        "the destination topic {name} was deleted and made anew, it has another topic id: see who \
         made it; to copy anew let go of the mirror (`isolog mirror delete {name} --link {link}`), \
         delete the topic that is there now, and create the mirror again"
    );
    Some(Stop { fault: Fault { code: halt.label().to_owned(), text }, halt })
}

/// How a source topic that was made anew is copied: as what the mirror topic is called, which may
/// be another link's name without the prefix.
fn anew((link, mirror): &MirrorKey) -> String {
    format!(
        "to copy the new one delete the mirror with its topic (`isolog mirror delete {mirror} \
         --link {link} --topic`) and create it again"
    )
}

fn deleted(missing: u32, code: &str, side: Side, text: impl FnOnce() -> String) -> Option<Stop> {
    let fault = || Fault { code: code.to_owned(), text: text() };
    (missing >= MISSING_MAX).then(|| Stop { fault: fault(), halt: Halt::Deleted { side } })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::control::acls::AclSync;
    use crate::control::facts::Seen;
    use crate::control::filter::Pattern;
    use crate::control::filter::Rule;
    use crate::control::filter::TopicFilter;
    use crate::control::rename::Rename;
    use crate::control::row::Before;
    use crate::control::start::StartSpec;
    use crate::control::task::configs::ConfigSync;
    use crate::ids::LinkName;
    use crate::ids::TimestampMs;
    use crate::ids::TopicId;

    fn name(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    fn topics(source: &[(&str, Metadata)], mirror: &[(&str, Metadata)]) -> Topics {
        let all = |rows: &[(&str, Metadata)]| {
            rows.iter().map(|(topic, found)| (name(topic), found.clone())).collect()
        };
        Topics { source: all(source), mirror: all(mirror), ..Topics::default() }
    }

    fn there(id: u8, partitions: i32) -> Metadata {
        Metadata::There(Seen { id: TopicId([id; 16]), partitions })
    }

    #[test]
    fn a_name_that_the_source_does_not_have_is_a_trouble_asked_for_or_not() {
        let settings = LinkSettings {
            rename: Rename::default(),
            topics: TopicFilter::new(vec![Rule::include(Pattern::parse("foo").unwrap())]),
            named: TopicFilter::default(),
            start: StartSpec::Earliest,
            replicas: None,
            look_every_ms: 1_000,
            groups: None,
            is_paused: false,
            tasks: BTreeSet::new(),
            configs: ConfigSync::default(),
            acls: AclSync::default(),
        };
        for found in [topics(&[], &[]), topics(&[("foo", Metadata::Absent)], &[])] {
            let Plan { begin, troubles } = plan(&settings, &BTreeSet::new(), &found);
            assert!(begin.is_empty());
            let [(topic, fault)] = troubles.as_slice() else { panic!("{troubles:?}") };
            assert_eq!((topic.as_str(), &*fault.code), ("foo", "UNKNOWN_TOPIC_OR_PARTITION_ERROR"));
        }
    }

    /// What a fault says is to be typed deletes no other link's mirror: the source's name without
    /// the prefix may be one.
    #[test]
    fn what_is_to_be_typed_names_the_mirror_and_its_link() {
        let row = MirrorRow {
            source_topic: name("payments"),
            source_id: TopicId([1; 16]),
            ancestors: Vec::new(),
            mirror_id: Some(TopicId([2; 16])),
            partitions: 2,
            generation: 0,
            stage: Stage::Mirroring,
            since: TimestampMs(0),
            is_paused: false,
            made_by: MadeBy::Order,
            before: Before::Absent,
            starts: BTreeMap::new(),
            owed: BTreeMap::new(),
            at_stop: BTreeMap::new(),
            configs: BTreeMap::new(),
            replicas: None,
            sealed: BTreeMap::new(),
            deadline: None,
            abandons_open: false,
            reversal: None,
            last_sync: None,
            last_configs: None,
            replaced: BTreeMap::new(),
        };
        let key = (LinkName("west".into()), name("w.payments"));
        let check =
            |source: Metadata, mirror: Metadata, (code, typed): (&str, &str), halt: Halt| {
                let mut track = Track::default();
                for _ in 0..MISSING_MAX {
                    let (source, mirror) = (source.clone(), mirror.clone());
                    let found = topics(&[("payments", source)], &[("w.payments", mirror)]);
                    observe(&mut track, &row, &key, &found);
                }
                let fault = track.fault.expect("a fault");
                assert_eq!((&*fault.code, track.halt), (code, Some(halt)));
                assert!(fault.text.contains(typed), "{}", fault.text);
                assert!(!fault.text.contains("delete payments"), "{}", fault.text);
                assert!(!fault.text.contains("fail the mirror over"), "{}", fault.text);
            };
        let alone = "`isolog mirror delete w.payments --link west`";
        let both = "`isolog mirror delete w.payments --link west --topic`";
        let fine = || there(2, 2);
        let id = |id: u8| TopicId([id; 16]);
        let anew = |side, was, is| Halt::Recreated { side, was: id(was), is: id(is) };
        let gone = |side| Halt::Deleted { side };
        let (source, mirror) = (Side::Source, Side::Destination);
        check(there(9, 2), fine(), ("SOURCE_TOPIC_ID_CHANGED", both), anew(source, 1, 9));
        let fewer = Halt::PartitionsDecreased { source: 1, destination: 2 };
        check(there(1, 1), fine(), ("SOURCE_PARTITIONS_DECREASED", both), fewer);
        let absent = || Metadata::Absent;
        check(absent(), fine(), ("SOURCE_TOPIC_MAY_BE_DELETED", alone), gone(source));
        let other = ("DESTINATION_TOPIC_ID_CHANGED", alone);
        check(there(1, 2), there(9, 2), other, anew(mirror, 2, 9));
        check(there(1, 2), absent(), ("DESTINATION_TOPIC_DELETED", alone), gone(mirror));
    }
}
