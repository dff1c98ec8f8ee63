//! What there is to be compared of a link, and what a comparison reports.
//!
//! It never compares; a partition that cannot be compared is reported from here.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use serde::Serialize;

use crate::audit::LinkOptions;
use crate::audit::compare::Compaction;
use crate::audit::compare::Difference;
use crate::audit::compare::Tally;
use crate::audit::state::Saved;
use crate::audit::state::State;
use crate::audit::survey;
use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::cluster::error::ClusterError;
use crate::ids::Offset;
use crate::ids::Side;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;

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
    /// The topic.
    pub topic: String,
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
    /// What was counted.
    pub tally: Tally,
    /// Offsets that hidden fillers occupy at the destination.
    pub fillers: u64,
    /// The first differences.
    pub differences: Vec<Difference>,
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
    /// The partition.
    pub tp: TopicPartition,
    /// The topic's ids.
    pub ids: (TopicId, TopicId),
    /// What compaction may do to it.
    pub compaction: Compaction,
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
    destination: &Cluster,
    old: &State,
) -> Result<(VecDeque<Job>, Vec<PartitionReport>), ClusterError> {
    let wanted =
        |name: &TopicName| link.topics.matches(name) && (only.is_empty() || only.contains(name));
    let topics = survey::topics(source, wanted).await?;
    survey::topics(destination, wanted).await?;
    let partitions: Vec<TopicPartition> = topics
        .iter()
        .flat_map(|topic| {
            let of = |id: &_| TopicPartition { topic: topic.name.clone(), partition: *id };
            topic.partitions.keys().map(of).collect::<Vec<_>>()
        })
        .collect();
    let there: Vec<TopicPartition> =
        partitions.iter().filter(|tp| destination.partition(tp).is_some()).cloned().collect();
    // the destination's end first: a source that grows meanwhile is no contradiction
    let destination_ends = survey::ends(destination, &there, EndKind::HighWatermark).await?;
    let destination_starts = survey::ends(destination, &there, EndKind::Start).await?;
    let readable = if link.committed_only { EndKind::Stable } else { EndKind::HighWatermark };
    let source_ends = survey::ends(source, &partitions, readable).await?;
    let source_starts = survey::ends(source, &partitions, EndKind::Start).await?;
    let names: Vec<TopicName> = topics.iter().map(|topic| topic.name.clone()).collect();
    let compaction = compactions(source, destination, &names).await;
    let (mut jobs, mut done) = (Vec::new(), Vec::new());
    for tp in partitions {
        let known = |ends: &survey::Ends| ends.get(&tp).and_then(|end| end.ok());
        let source_log = (known(&source_starts), known(&source_ends));
        let destination_log = (known(&destination_starts), known(&destination_ends));
        let compaction = compaction.get(&tp.topic).copied().unwrap_or_default();
        let ids = [source, destination]
            .map(|cluster| cluster.topic(&tp.topic).map_or(TopicId::NIL, |topic| topic.id));
        let is_there = destination.partition(&tp).is_some();
        let mut report = blank(&tp, source_log, destination_log);
        let (
            (Some(source_start), Some(source_end)),
            (Some(destination_start), Some(destination_end)),
        ) = (source_log, destination_log)
        else {
            report.note = match is_there {
                true => "a leader did not tell where its log begins and ends".to_owned(),
                false => "the destination does not have it".to_owned(),
            };
            done.push(report);
            continue;
        };
        let from = source_start.max(destination_start);
        let to = source_end.min(destination_end).max(from);
        let new = fresh(ids, from, to);
        let saved = old.partitions.get(&tp.to_string());
        let same = saved.filter(|saved| saved.ids == new.ids && saved.at >= from.get());
        let saved = same.cloned().unwrap_or(new);
        jobs.push(Job { tp, ids: (ids[0], ids[1]), compaction, saved, report });
    }
    jobs.sort_by_key(|job| std::cmp::Reverse(job.saved.to - job.saved.at));
    Ok((jobs.into(), done))
}

fn fresh(ids: [TopicId; 2], from: Offset, to: Offset) -> Saved {
    Saved {
        ids: (ids[0].to_string(), ids[1].to_string()),
        from: from.get(),
        at: from.get(),
        to: to.get(),
        ..Saved::default()
    }
}

type Log = (Option<Offset>, Option<Offset>);

fn blank(tp: &TopicPartition, source: Log, destination: Log) -> PartitionReport {
    let raw = |log: Log| (log.0.map(Offset::get), log.1.map(Offset::get));
    PartitionReport {
        topic: tp.topic.to_string(),
        partition: tp.partition.0,
        verdict: Verdict::Unknown,
        note: "not begun".to_owned(),
        from: None,
        to: None,
        source: raw(source),
        destination: raw(destination),
        tally: Tally::default(),
        fillers: 0,
        differences: Vec::new(),
    }
}

/// Which topics are compacted, as far as their configs may be read.
async fn compactions(
    source: &Cluster,
    destination: &Cluster,
    names: &[TopicName],
) -> BTreeMap<TopicName, Compaction> {
    const POLICY: &str = "cleanup.policy";
    let mut found: BTreeMap<TopicName, Compaction> = BTreeMap::new();
    for cluster in [source, destination] {
        let told = cluster.describe_topic_configs(names, Some(&[POLICY])).await;
        for (name, answer) in told.unwrap_or_default() {
            let policy = answer.ok().and_then(|found| found.get(POLICY)?.value.clone());
            let compacts = policy.is_some_and(|policy| policy.contains("compact"));
            let one = found.entry(name).or_default();
            match cluster.side() {
                Side::Source => one.source = compacts,
                Side::Destination => one.destination = compacts,
            }
        }
    }
    found
}
