//! Which partitions of a turn may get offsets, and between which offsets of the mirror.
//!
//! It never asks what a group has committed.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::control::task::offsets::Commit;
use crate::control::task::offsets::Part;
use crate::control::topic::Fault;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::Side;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::sync::groups::Commits;
use crate::sync::groups::MirrorTopic;
use crate::sync::groups::Turn;
use crate::sync::groups::faults::INTERNAL;
use crate::sync::trim;

/// Where the mirror of a partition is, and where it begins.
pub struct Mirrored {
    pub mirror: TopicPartition,
    pub begins: Offset,
    /// Where it is sealed.
    pub sealed: Option<Offset>,
}

/// All partitions of topics that are still the ones that are mirrored, by the source's name.
pub fn begins(
    source: &Cluster,
    destination: &Cluster,
    topics: &[MirrorTopic],
) -> BTreeMap<TopicPartition, Mirrored> {
    let is_same = |one: &&MirrorTopic| {
        trim::is_still(source, &one.source, one.ids.0)
            && trim::is_still(destination, &one.mirror, one.ids.1)
    };
    let all = topics.iter().filter(is_same).flat_map(|one| {
        one.partitions.iter().map(|(partition, begins)| {
            let at =
                |topic: &TopicName| TopicPartition { topic: topic.clone(), partition: *partition };
            let (begins, sealed) = (*begins, one.sealed.get(partition).copied());
            (at(&one.source), Mirrored { mirror: at(&one.mirror), begins, sealed })
        })
    });
    all.collect()
}

/// Of topics of which a group has committed a partition: the others, by their names here.
pub fn unstarted(
    source: &BTreeMap<TopicPartition, Commit>,
    begins: &BTreeMap<TopicPartition, Mirrored>,
) -> BTreeSet<TopicPartition> {
    let topics: BTreeSet<&TopicName> = source.keys().map(|tp| &tp.topic).collect();
    let all = topics.into_iter().flat_map(|topic| {
        let first = TopicPartition { topic: topic.clone(), partition: PartitionId(0) };
        begins.range(first..).take_while(move |(tp, _)| tp.topic == *topic)
    });
    let others = all.filter(|(tp, _)| !source.contains_key(tp));
    others.map(|(_, one)| one.mirror.clone()).collect()
}

/// Partitions of topics that are not the ones that are mirrored any more.
pub fn gone(
    topics: &[MirrorTopic],
    known: &BTreeMap<TopicPartition, Mirrored>,
) -> BTreeMap<TopicPartition, Fault> {
    let is_gone = |one: &MirrorTopic, partition: PartitionId| {
        !known.contains_key(&TopicPartition { topic: one.source.clone(), partition })
    };
    let all = topics.iter().flat_map(|one| {
        let gone = one.partitions.keys().filter(move |partition| is_gone(one, **partition));
        gone.map(move |partition| {
            let text = format!(
                "topic {} of the source, or {} of the destination, is not the one that was \
                 mirrored any more",
                one.source, one.mirror
            );
            let at = TopicPartition { topic: one.mirror.clone(), partition: *partition };
            (at, Fault { code: INTERNAL.to_owned(), text })
        })
    });
    all.collect()
}

/// Partitions that are sealed, by the source's name: where each mirror begins, and its seal.
pub fn sealed(topics: &[MirrorTopic]) -> BTreeMap<TopicPartition, (TopicPartition, [Offset; 2])> {
    let all = topics.iter().flat_map(|one| {
        one.sealed.iter().filter_map(|(partition, seal)| {
            let at =
                |topic: &TopicName| TopicPartition { topic: topic.clone(), partition: *partition };
            let begins = *one.partitions.get(partition)?;
            Some((at(&one.source), (at(&one.mirror), [begins, *seal])))
        })
    });
    all.collect()
}

/// What of sealed partitions may get offsets, without their source: no group is put below what it
/// had there already.
pub async fn of_seals(
    destination: &Cluster,
    commits: &Commits,
    topics: &[MirrorTopic],
    turn: &mut Turn,
) -> BTreeMap<TopicPartition, Part> {
    let still = topics.iter().filter(|one| trim::is_still(destination, &one.mirror, one.ids.1));
    let still: Vec<MirrorTopic> = still.cloned().collect();
    turn.unplaced = gone(topics, &BTreeMap::new());
    turn.unplaced.retain(|tp, _| still.iter().all(|one| one.mirror != tp.topic));
    let wanted: BTreeSet<&TopicPartition> = commits.values().flat_map(BTreeMap::keys).collect();
    let known = sealed(&still);
    let asked = wanted.iter().filter_map(|tp| Some(&known.get(*tp)?.0));
    let asked: Vec<&TopicPartition> = asked.collect();
    let starts = trim::list(destination, &asked, EndKind::Start).await;
    let part = |tp: &&TopicPartition| {
        let (mirror, [begins, end]) = known.get(*tp)?;
        // others may have deleted records behind the seal
        let start = (*starts.get(mirror)?).min(*end);
        let (mirror, begins, end) = (mirror.clone(), *begins, *end);
        // it was placed when it was read last: the source's log had begun below the mirror's end
        let (source_start, source_end) = (begins, None);
        let part = Part { mirror, begins, source_start, start, end, source_end };
        Some(((*tp).clone(), part))
    };
    wanted.iter().filter_map(part).collect()
}

/// Starts and ends of what is to get offsets, read after the source's offsets: so a consumer that
/// is level with its topic is not taken for one that is ahead of the mirror.
pub async fn ends(
    (source, destination): (&Cluster, &Cluster),
    commits: &Commits,
    begins: &BTreeMap<TopicPartition, Mirrored>,
    turn: &mut Turn,
) -> BTreeMap<TopicPartition, Part> {
    let wanted: BTreeSet<&TopicPartition> = commits.values().flat_map(BTreeMap::keys).collect();
    let ours = || wanted.iter().filter_map(|tp| begins.get(tp));
    let asked: Vec<&TopicPartition> = ours().map(|one| &one.mirror).collect();
    let flowing = ours().filter(|one| one.sealed.is_none());
    let flowing: Vec<&TopicPartition> = flowing.map(|one| &one.mirror).collect();
    let at_source: Vec<&TopicPartition> = wanted.iter().copied().collect();
    let theirs = trim::list(source, &at_source, EndKind::Start).await;
    let starts = trim::list(destination, &asked, EndKind::Start).await;
    let ends = trim::list(destination, &flowing, EndKind::HighWatermark).await;
    // behind the destination's: a lag is never told smaller than it was
    let source_ends = trim::list(source, &at_source, EndKind::HighWatermark).await;
    let mut parts = BTreeMap::new();
    for tp in wanted {
        let Some(Mirrored { mirror, begins, sealed }) = begins.get(tp) else { continue };
        let ours = starts.get(mirror).zip(sealed.as_ref().or(ends.get(mirror)));
        let untold = match (theirs.get(tp), ours) {
            (Some(theirs), Some((start, end))) => {
                // others may have deleted records behind the seal; and nothing comes to a start any
                // more that the source got since
                let (start, end) = if sealed.is_some() {
                    ((*start).min(*end), *end)
                } else {
                    (*start, (*end).max(*start))
                };
                let source_start = if sealed.is_some() { (*theirs).min(end) } else { *theirs };
                let (mirror, begins) = (mirror.clone(), *begins);
                let source_end = source_ends.get(tp).copied();
                let part = Part { mirror, begins, source_start, start, end, source_end };
                parts.insert(tp.clone(), part);
                continue;
            }
            (None, _) => Side::Source,
            (_, None) => Side::Destination,
        };
        let text = format!(
            "the {untold} does not tell where the partition starts and ends: it has no leader, or \
             that does not answer; offsets of it wait"
        );
        let fault = Fault { code: INTERNAL.to_owned(), text };
        turn.errors.push((mirror.to_string(), fault.clone()));
        turn.unplaced.insert(mirror.clone(), fault);
    }
    parts
}
