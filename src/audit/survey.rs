//! What a link has on both sides: where partitions begin and end, and what of them is compared.
//!
//! It never asks a partition's follower, never guesses an end that nobody told, and compares
//! nothing: a partition that cannot be compared is reported from here.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::sleep;

use crate::audit::LinkOptions;
use crate::audit::compare::Compaction;
use crate::audit::compare::Difference;
use crate::audit::compare::Tally;
use crate::audit::past;
use crate::audit::past::Fate;
use crate::audit::state::Saved;
use crate::audit::state::State;
use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::cluster::Wanted;
use crate::cluster::error::ClusterError;
use crate::cluster::metadata::Partition;
use crate::cluster::metadata::Topic;
use crate::ids::BrokerId;
use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::Side;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::wire::error::KafkaCode;
use crate::wire::error::Remedy;
use crate::wire::fetch::Isolation;

/// So many partitions are asked for in one question.
const ASKED_MAX: usize = 2_000;

/// How often moving leaders are asked.
const TRIES_MAX: u32 = 8;
/// The pause between two such questions.
const TRY_PAUSE: Duration = Duration::from_millis(500);

/// One end of each partition that was asked for, or why it is not known.
pub type Ends = BTreeMap<TopicPartition, Result<Offset, KafkaCode>>;

/// One end of each of these partitions, from their leaders; moving leaders are waited for.
pub async fn ends(
    cluster: &Cluster,
    partitions: &[TopicPartition],
    kind: EndKind,
) -> Result<Ends, ClusterError> {
    let mut ends = ends_now(cluster, partitions, kind).await?;
    for _ in 1..TRIES_MAX {
        let moving = |(tp, end): (&TopicPartition, &Result<Offset, KafkaCode>)| {
            let may_pass =
                |code: KafkaCode| matches!(code.remedy(), Remedy::Refresh | Remedy::Retry);
            end.is_err_and(may_pass).then(|| tp.clone())
        };
        let again: Vec<TopicPartition> = ends.iter().filter_map(moving).collect();
        if again.is_empty() {
            break;
        }
        sleep(TRY_PAUSE).await;
        let names: BTreeSet<TopicName> = again.iter().map(|tp| tp.topic.clone()).collect();
        let names: Vec<TopicName> = names.into_iter().collect();
        cluster.refresh(Wanted::Topics(&names)).await?;
        ends.extend(ends_now(cluster, &again, kind).await?);
    }
    Ok(ends)
}

async fn ends_now(
    cluster: &Cluster,
    partitions: &[TopicPartition],
    kind: EndKind,
) -> Result<Ends, ClusterError> {
    let mut by_leader: BTreeMap<BrokerId, Vec<(TopicPartition, LeaderEpoch)>> = BTreeMap::new();
    let mut ends = Ends::new();
    for tp in partitions {
        let known = cluster.partition(tp);
        match known.as_ref().and_then(leader) {
            Some((leader, epoch)) => {
                by_leader.entry(leader).or_default().push((tp.clone(), epoch));
            }
            None => {
                let code = known.map(|one| one.error).filter(|code| !code.is_none());
                ends.insert(tp.clone(), Err(code.unwrap_or(KafkaCode(5))));
            }
        }
    }
    for (leader, asked) in by_leader {
        for some in asked.chunks(ASKED_MAX) {
            let told = cluster.list_offsets(leader, some, kind).await?;
            for (tp, _) in some {
                let one = told.get(tp).copied().unwrap_or(Err(KafkaCode::UNKNOWN));
                ends.insert(tp.clone(), one.map(|listed| listed.offset));
            }
        }
    }
    Ok(ends)
}

fn leader(partition: &Partition) -> Option<(BrokerId, LeaderEpoch)> {
    Some((partition.leader?, partition.epoch))
}

/// The topics of a cluster that `wanted` picks, by name, as far as the metadata shows them.
pub async fn topics(
    cluster: &Cluster,
    wanted: impl Fn(&TopicName) -> bool,
) -> Result<Vec<Arc<Topic>>, ClusterError> {
    cluster.refresh(Wanted::All).await?;
    let topics = cluster.topics().into_iter();
    Ok(topics.filter(|topic| topic.error.is_none() && wanted(&topic.name)).collect())
}

/// What came out of one partition.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every offset of the range is equal.
    Equal,
    /// Not everything could be compared.
    Unknown,
    /// There is a difference.
    Different,
}

/// One partition, compared.
#[derive(Clone, Debug, Serialize)]
pub struct PartitionReport {
    /// The topic, as the source calls it.
    pub topic: String,
    /// The mirror's name, where it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror_topic: Option<String>,
    /// The partition.
    pub partition: i32,
    /// What came out.
    pub verdict: Verdict,
    /// Why it is not known, or what else is to be said.
    pub note: String,
    /// The first offset that was compared.
    pub from: Option<i64>,
    /// Behind the last one.
    pub to: Option<i64>,
    /// Both logs as they were at the start: start and readable end.
    pub source: (Option<i64>, Option<i64>),
    /// The same of the destination.
    pub destination: (Option<i64>, Option<i64>),
    /// Where the seal of a promote or a failover stands: nothing from there on was mirrored.
    pub sealed: Option<i64>,
    /// Offsets of the source that an open transaction of its own holds back: not copied.
    pub held: u64,
    /// Offsets that the source has deleted and the destination never got: the first, and the one
    /// behind the last.
    pub lost: Option<(i64, i64)>,
    /// What has become of the topic since it was mirrored, and what to do: it is not the one.
    #[serde(skip)]
    pub fate: Option<String>,
    /// What was counted.
    pub tally: Tally,
    /// Offsets that hidden fillers occupy at the destination.
    pub fillers: u64,
    /// The first differences.
    pub differences: Vec<Difference>,
}

impl Job {
    /// What the partition is called at that side.
    pub fn at(&self, side: Side) -> &TopicPartition {
        match side {
            Side::Source => &self.tp,
            Side::Destination => &self.mirror,
        }
    }
}

impl PartitionReport {
    /// Whether what can be read of both sides is all that the copy ever was to have.
    pub fn is_whole(&self) -> bool {
        self.lost.is_none() && self.fate.is_none()
    }

    /// What is to be said of a partition that was compared whole, up to `to`.
    pub fn noted(&self, unproven: u64, to: i64) -> String {
        let mut notes: Vec<String> = self.fate.iter().cloned().collect();
        if unproven > 0 {
            notes.push(format!("{unproven} records may be compacted: too many keys to remember"));
        }
        if self.source.0 != self.destination.0
            && let (Some(source), Some(destination)) = (self.source.0, self.destination.0)
        {
            notes.push(format!("the source begins at {source}, the destination at {destination}"));
        }
        match self.sealed {
            Some(at) => notes.push(self.ended(at)),
            None => notes.extend(self.apart(to)),
        }
        if self.held > 0 {
            let held = self.held;
            notes.push(format!(
                "{held} records wait behind an open transaction, and are not copied"
            ));
        }
        notes.join("; ")
    }

    fn ended(&self, at: i64) -> String {
        let tail = self.source.1.map(|end| end - at).filter(|tail| *tail > 0);
        let tail = tail.map_or(String::new(), |tail| {
            format!("; {tail} offsets of the source from there on were not mirrored")
        });
        format!("promoted or failed over: sealed at {at}, compared below it{tail}")
    }

    fn apart(&self, to: i64) -> Vec<String> {
        let mut notes = Vec::new();
        if let (Some((from, start)), Some(end)) = (self.lost, self.source.1) {
            notes.push(format!(
                "the destination is {} behind: offsets {from} to {} ({} of them) are below the \
                 source's log start, and were deleted there before they were copied: isolog run \
                 halts here (LOG_START_ABOVE_DESTINATION_END), or fills them with \
                 retention.overtook=fill; {} are left to be copied",
                end - from,
                start - 1,
                start - from,
                end - start
            ));
            return notes;
        }
        if let Some(behind) = self.source.1.map(|end| end - to).filter(|behind| *behind > 0) {
            notes.push(format!("the destination is {behind} behind"));
        }
        if let Some(ahead) = self.destination.1.map(|end| end - to).filter(|ahead| *ahead > 0) {
            notes
                .push(format!("the destination has {ahead} offsets that the source does not have"));
        }
        notes
    }
}

/// All partitions of a link.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The link.
    pub link: String,
    /// The source's cluster id.
    pub source_cluster: String,
    /// The destination's.
    pub destination_cluster: String,
    /// The worst of all partitions.
    pub verdict: Verdict,
    /// By topic and partition.
    pub partitions: Vec<PartitionReport>,
}

/// A partition to be compared.
#[derive(Clone, Debug)]
pub struct Job {
    /// The partition, as the source calls it.
    pub tp: TopicPartition,
    /// The same at the destination.
    pub mirror: TopicPartition,
    /// The topic's ids.
    pub ids: (TopicId, TopicId),
    /// What compaction may do to it.
    pub compaction: Compaction,
    /// How the mirror is read: one that was a source itself has transactions that were aborted.
    pub mirror_isolation: Isolation,
    /// How far it is.
    pub saved: Saved,
    /// What is known before.
    pub report: PartitionReport,
}

/// Finds out what is to be compared; a partition that cannot be is reported at once.
pub async fn plan(
    link: &LinkOptions,
    only: &[TopicName],
    source: &Cluster,
    destination: &Arc<Cluster>,
    old: &State,
) -> Result<(VecDeque<Job>, Vec<PartitionReport>), ClusterError> {
    let wanted = |name: &TopicName| link.takes(name) && link.is_asked(only, name);
    let found = topics(source, wanted).await?;
    destination.refresh(Wanted::All).await?;
    let partitions: Vec<TopicPartition> = found.iter().flat_map(partitions_of).collect();
    let mirrors = partitions.iter().map(|tp| link.at(Side::Destination, tp));
    let there: Vec<TopicPartition> =
        mirrors.filter(|tp| destination.partition(tp).is_some()).collect();
    // the destination's end first: a source that grows meanwhile is no contradiction
    let destination_ends = ends(destination, &there, EndKind::HighWatermark).await?;
    let destination_stable = ends(destination, &there, EndKind::Stable).await?;
    let destination_starts = ends(destination, &there, EndKind::Start).await?;
    let readable = if link.committed_only { EndKind::Stable } else { EndKind::HighWatermark };
    let source_ends = ends(source, &partitions, readable).await?;
    let source_starts = ends(source, &partitions, EndKind::Start).await?;
    let source_hwms = ends_held(link, source, &partitions).await?;
    let (fates, begins) = past::known(link, wanted, source, destination).await?;
    let names: Vec<TopicName> = found.iter().map(|topic| topic.name.clone()).collect();
    let compaction = compactions(link, source, destination, &names).await;
    let (mut jobs, mut done) = (Vec::new(), Vec::new());
    for tp in partitions {
        let mirror = link.at(Side::Destination, &tp);
        let at_source = |ends: &Ends| ends.get(&tp).and_then(|end| end.ok());
        let at_mirror = |ends: &Ends| ends.get(&mirror).and_then(|end| end.ok());
        let source_log = (at_source(&source_starts), at_source(&source_ends));
        let destination_log = (at_mirror(&destination_starts), at_mirror(&destination_ends));
        let compaction = compaction.get(&tp.topic).copied().unwrap_or_default();
        let ids = [(source, &tp), (&**destination, &mirror)].map(id_of);
        let is_there = destination.partition(&mirror).is_some();
        let mut report = blank(link, &tp, source_log, destination_log);
        let all = at_source(&source_hwms).zip(source_log.1);
        report.held = all.map_or(0, |(all, readable)| readable.distance_to(all));
        report.fate = fates.get(&tp.topic).map(|fate| fate.text.clone());
        let (
            (Some(source_start), Some(source_end)),
            (Some(destination_start), Some(destination_end)),
        ) = (source_log, destination_log)
        else {
            let text = match is_there {
                true => "a leader did not tell where its log begins and ends",
                false => "the destination does not have it",
            };
            report.note = report.fate.clone().unwrap_or(text.to_owned());
            done.push(report);
            continue;
        };
        report.lost = lost(source_start, destination_end);
        // a copy that begins late has fillers before, until they are trimmed
        let begin = begins.get(&tp).copied().unwrap_or(Offset::ZERO);
        let from = source_start.max(destination_start).max(begin);
        let to = source_end.min(destination_end).max(from);
        let new = fresh(ids, from, to);
        let saved = old.partitions.get(&tp.to_string());
        let same = saved.filter(|saved| saved.ids == new.ids && saved.at >= from.get());
        let saved = same.cloned().unwrap_or(new);
        let is_whole = at_mirror(&destination_stable).is_some_and(|end| end >= destination_end);
        let mirror_isolation = isolation_of(link.committed_only && is_whole);
        let ids = (ids[0], ids[1]);
        jobs.push(Job { tp, mirror, ids, compaction, mirror_isolation, saved, report });
    }
    done.extend(absent(link, only, &found, destination, &fates));
    jobs.sort_by_key(|job| std::cmp::Reverse(job.saved.to - job.saved.at));
    Ok((jobs.into(), done))
}

/// Up to where open transactions hold records back; of a link that does not wait for them nothing.
async fn ends_held(
    link: &LinkOptions,
    source: &Cluster,
    partitions: &[TopicPartition],
) -> Result<Ends, ClusterError> {
    match link.committed_only {
        true => ends(source, partitions, EndKind::HighWatermark).await,
        false => Ok(Ends::new()),
    }
}

/// What somebody's open transaction holds back would not be compared.
fn isolation_of(is_whole: bool) -> Isolation {
    if is_whole { Isolation::ReadCommitted } else { Isolation::ReadUncommitted }
}

fn id_of((cluster, tp): (&Cluster, &TopicPartition)) -> TopicId {
    cluster.topic(&tp.topic).map_or(TopicId::NIL, |topic| topic.id)
}

fn partitions_of(topic: &Arc<Topic>) -> Vec<TopicPartition> {
    let of = |id: &_| TopicPartition { topic: topic.name.clone(), partition: *id };
    topic.partitions.keys().map(of).collect()
}

/// Rows of what the source does not have: topics that were mirrored or are named, and partitions
/// that only the destination has.
fn absent(
    link: &LinkOptions,
    only: &[TopicName],
    found: &[Arc<Topic>],
    destination: &Cluster,
    fates: &BTreeMap<TopicName, Fate>,
) -> Vec<PartitionReport> {
    let mut rows = Vec::new();
    let row = |name: &TopicName, partition: i32, note: &str| {
        let tp = TopicPartition { topic: name.clone(), partition: PartitionId(partition) };
        let mut report = blank(link, &tp, (None, None), (None, None));
        note.clone_into(&mut report.note);
        report
    };
    for topic in found {
        let there = destination.topic(&link.mirror_of(&topic.name));
        let surplus = there.iter().flat_map(|there| there.partitions.keys());
        let surplus = surplus.filter(|id| !topic.partitions.contains_key(id));
        rows.extend(surplus.map(|id| row(&topic.name, id.0, "the source does not have it")));
    }
    let here: BTreeSet<&TopicName> = found.iter().map(|topic| &topic.name).collect();
    let gone = fates.iter().filter(|(name, _)| !here.contains(name));
    rows.extend(gone.map(|(name, fate)| row(name, 0, &fate.text)));
    let named = link.patterns.iter().filter(|pattern| !pattern.is_prefix);
    let named = named.filter_map(|pattern| TopicName::new(&pattern.text)).filter(|name| {
        let is_meant = link.topics.matches(name) && link.is_asked(only, name);
        is_meant && !here.contains(name) && !fates.contains_key(name)
    });
    let named: BTreeSet<TopicName> = named.collect();
    let text = "mirror.topics names it, and the source does not have it or does not show it";
    rows.extend(named.iter().map(|name| row(name, 0, text)));
    let is_told =
        |name: &TopicName| here.contains(name) || fates.contains_key(name) || named.contains(name);
    let asked = only
        .iter()
        .filter(|name| !is_told(name) && !link.source_of(name).is_some_and(|of| is_told(&of)));
    let text = "the source does not have it, or does not show it";
    rows.extend(asked.map(|name| row(name, 0, text)));
    rows
}

/// What retention took at the source before it was copied. A copy that has not begun lacks nothing:
/// where the source's log starts is where it begins.
fn lost(source_start: Offset, destination_end: Offset) -> Option<(i64, i64)> {
    let is_lost = destination_end > Offset::ZERO && destination_end < source_start;
    is_lost.then(|| (destination_end.get(), source_start.get()))
}

fn fresh(ids: [TopicId; 2], from: Offset, to: Offset) -> Saved {
    Saved {
        ids: (ids[0].hex(), ids[1].hex()),
        from: from.get(),
        at: from.get(),
        to: to.get(),
        ..Saved::default()
    }
}

type Log = (Option<Offset>, Option<Offset>);

fn blank(
    link: &LinkOptions,
    tp: &TopicPartition,
    source: Log,
    destination: Log,
) -> PartitionReport {
    let raw = |log: Log| (log.0.map(Offset::get), log.1.map(Offset::get));
    PartitionReport {
        topic: tp.topic.to_string(),
        mirror_topic: link.other_name(&tp.topic),
        partition: tp.partition.0,
        verdict: Verdict::Unknown,
        note: "not begun".to_owned(),
        from: None,
        to: None,
        source: raw(source),
        destination: raw(destination),
        sealed: None,
        held: 0,
        lost: None,
        fate: None,
        tally: Tally::default(),
        fillers: 0,
        differences: Vec::new(),
    }
}

/// Which topics are compacted, as far as their configs may be read; by the source's name.
async fn compactions(
    link: &LinkOptions,
    source: &Cluster,
    destination: &Cluster,
    names: &[TopicName],
) -> BTreeMap<TopicName, Compaction> {
    const POLICY: &str = "cleanup.policy";
    let mut found: BTreeMap<TopicName, Compaction> = BTreeMap::new();
    let mirrors: Vec<TopicName> = names.iter().map(|name| link.mirror_of(name)).collect();
    for (side, cluster, asked) in
        [(Side::Source, source, names), (Side::Destination, destination, &mirrors)]
    {
        let told = cluster.describe_topic_configs(asked, Some(&[POLICY])).await;
        for (name, answer) in told.unwrap_or_default() {
            let policy = answer.ok().and_then(|found| found.get(POLICY)?.value.clone());
            let compacts = policy.is_some_and(|policy| policy.contains("compact"));
            let Some(name) = link.source_at(side, &name) else { continue };
            let one = found.entry(name).or_default();
            match side {
                Side::Source => one.source = compacts,
                Side::Destination => one.destination = compacts,
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_copy_would_have_had_is_lost() {
        let at = |raw: i64| Offset::new(raw).unwrap();
        assert_eq!(lost(at(200), at(120)), Some((120, 200)));
        assert_eq!(lost(at(120), at(120)), None);
        assert_eq!(lost(at(100), at(120)), None);
        assert_eq!(lost(at(200), at(0)), None, "it has not begun");
    }
}
