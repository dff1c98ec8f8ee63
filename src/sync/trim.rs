//! The clerk of log starts: where the source has deleted the front of a partition, so does the
//! mirror; and what was filled below a partition's start goes the same way.
//!
//! It never deletes what is not copied, and nothing of a partition that is not being mirrored.
//!
//! Each round compares both sides anew, since a broker that crashes within a minute forgets a
//! DeleteRecords (broker facts A6), and since an answer may be lost: the next round reads back.
//! A start of the source counts only when it was seen in the round before as well and the topic
//! still has its id then: ListOffsets knows names only, and another topic may have taken the name.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::cluster::Wanted;
use crate::cluster::error::ClusterError;
use crate::ids::BrokerId;
use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;

/// The pause between two rounds while a start differs or was moved lately.
pub const PAUSE_BUSY: Duration = Duration::from_secs(5);
/// The pause between two rounds else.
pub const PAUSE_IDLE: Duration = Duration::from_secs(30);
/// How often a broker writes its log starts down: a start that held for longer, and a margin, is on
/// its disk.
const CHECKPOINT: &str = "log.flush.start.offset.checkpoint.interval.ms";
/// Kafka's default of it, where it may not be read.
const CHECKPOINT_DEFAULT: Duration = Duration::from_secs(60);
/// A broker that was just started begins to do so after as long.
const DELAY: &str = "log.initial.task.delay.ms";
/// What that is where it is no config yet, or may not be read.
const DELAY_DEFAULT: Duration = Duration::from_secs(30);
/// The margin is this share of it, but no less than a second.
const MARGIN_SHARE: u32 = 4;
const MARGIN_MIN: Duration = Duration::from_secs(1);
/// How often both are read: they change when a broker is started with others.
const CHECKPOINT_READ: Duration = Duration::from_secs(300);
/// POLICY_VIOLATION: the topic is compacted and nothing else.
const POLICY_VIOLATION: i16 = 44;

/// A partition of a topic that is mirrored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which, by the mirror's name.
    pub tp: TopicPartition,
    /// The topic's name at the source.
    pub source: TopicName,
    /// Both topics' ids.
    pub ids: (TopicId, TopicId),
    /// Where the link began to mirror it (`mirror.start.offset.spec`), 0 for the source's start.
    pub chosen: Offset,
    /// Up to where the copy is confirmed, so that nothing behind is ever deleted; `None` where it
    /// is not being mirrored now, so that nothing is deleted at all.
    pub copied: Option<Offset>,
}

/// What a round found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Starts that were moved: from where, to where.
    pub moved: BTreeMap<TopicPartition, (Offset, Offset)>,
    /// Topics that refuse, for being compacted only.
    pub compacted: Vec<TopicName>,
    /// Topics all of whose partitions start where they should, and have for as long as it takes a
    /// broker to write that down.
    pub settled: Vec<TopicName>,
    /// What could not be done, for people; it is tried again.
    pub troubles: BTreeMap<TopicPartition, String>,
}

/// What is remembered of a topic.
#[derive(Clone, Debug)]
struct Memory {
    /// The source's starts in the last round.
    seen: BTreeMap<TopicPartition, Offset>,
    /// Since when every start has been where it should be.
    right_since: Option<Instant>,
}

/// The clerk of one link's log starts.
#[derive(Debug, Default)]
pub struct Trimmer {
    topics: BTreeMap<TopicName, Memory>,
    /// When the brokers were asked how often they write starts down, and the longest answer.
    checkpoint: Option<(Instant, Duration)>,
}

/// A partition that starts elsewhere than its source: from where, to where it is to be deleted.
type Cut<'a> = (&'a Part, Offset, Offset);

/// Starts or ends, of those partitions that answered.
pub type Offsets = BTreeMap<TopicPartition, Offset>;

impl Trimmer {
    /// Nothing was seen yet.
    pub fn new() -> Trimmer {
        Trimmer::default()
    }

    /// How long to wait for the next round.
    pub fn pause(&self) -> Duration {
        let long = self.held();
        let held = |memory: &Memory| memory.right_since.is_some_and(|since| since.elapsed() > long);
        if self.topics.values().all(held) { PAUSE_IDLE } else { PAUSE_BUSY }
    }

    /// For how long a start must hold until it is on the broker's disk for certain.
    fn held(&self) -> Duration {
        let interval = self.checkpoint.map_or(CHECKPOINT_DEFAULT, |(_, interval)| interval);
        interval + (interval / MARGIN_SHARE).max(MARGIN_MIN)
    }

    /// Asks every broker, since any may lead: the slowest counts.
    async fn read_checkpoint(&mut self, destination: &Cluster) {
        if self.checkpoint.is_some_and(|(at, _)| at.elapsed() < CHECKPOINT_READ) {
            return;
        }
        let brokers = destination.look(|metadata| metadata.brokers().map(|one| one.id).collect());
        let (mut slowest, brokers): (Option<Duration>, Vec<BrokerId>) = (None, brokers);
        for broker in brokers {
            let interval = checkpoint(destination, broker).await.unwrap_or(CHECKPOINT_DEFAULT);
            slowest = slowest.max(Some(interval));
        }
        self.checkpoint = Some((Instant::now(), slowest.unwrap_or(CHECKPOINT_DEFAULT)));
    }

    /// One comparison of both sides; `parts` are all that are mirrored now.
    pub async fn round(
        &mut self,
        source: &Cluster,
        destination: &Cluster,
        parts: &[Part],
    ) -> Result<Round, ClusterError> {
        let names = names(parts.iter().map(|part| &part.tp.topic));
        self.topics.retain(|name, _| names.binary_search(name).is_ok());
        if names.is_empty() {
            return Ok(Round::default());
        }
        self.read_checkpoint(destination).await;
        let at_source = self::names(parts.iter().map(|part| &part.source));
        source.refresh(Wanted::Topics(&at_source)).await?;
        destination.refresh(Wanted::Topics(&names)).await?;
        let same = |part: &&Part| {
            let (theirs, ours) = (&part.source, &part.tp.topic);
            is_still(source, theirs, part.ids.0) && is_still(destination, ours, part.ids.1)
        };
        let parts: Vec<&Part> = parts.iter().filter(same).collect();
        let asked: Vec<&TopicPartition> = parts.iter().map(|part| &part.tp).collect();
        let theirs = starts_at_source(source, &parts).await;
        let ours = list(destination, &asked, EndKind::Start).await;
        let due = self.due(&parts, &theirs, &ours);
        let asked: Vec<&TopicPartition> = due.iter().map(|(part, ..)| &part.tp).collect();
        let ends = list(destination, &asked, EndKind::HighWatermark).await;
        let mut round = Round::default();
        let cuts = cuts(&due, &ends);
        self.cut(destination, cuts, &mut round).await;
        self.remember(&parts, &theirs, &ours, &mut round);
        Ok(round)
    }

    /// Where the source starts behind the mirror: from where, to where. Of most topics that is
    /// nowhere, and their ends need not be asked for.
    fn due<'a>(&self, parts: &[&'a Part], theirs: &Offsets, ours: &Offsets) -> Vec<Cut<'a>> {
        let due = |part: &&'a Part| {
            let before = *self.topics.get(&part.tp.topic)?.seen.get(&part.tp)?;
            let (now, from) = (*theirs.get(&part.tp)?, *ours.get(&part.tp)?);
            let to = before.min(now).max(part.chosen);
            (from < to).then_some((*part, from, to))
        };
        parts.iter().filter_map(due).collect()
    }

    async fn cut(
        &self,
        destination: &Cluster,
        cuts: BTreeMap<TopicPartition, (Offset, Offset)>,
        round: &mut Round,
    ) {
        let mut by_leader: BTreeMap<BrokerId, Vec<(TopicPartition, Offset)>> = BTreeMap::new();
        for (tp, (_, to)) in &cuts {
            if let Some(leader) = destination.partition(tp).and_then(|partition| partition.leader) {
                by_leader.entry(leader).or_default().push((tp.clone(), *to));
            }
        }
        for (leader, before) in by_leader {
            match destination.delete_records(leader, &before).await {
                Ok(each) => each.into_iter().for_each(|(tp, one)| match one {
                    Ok(start) => {
                        let from = cuts.get(&tp).map_or(start, |cut| cut.0);
                        round.moved.insert(tp, (from, start));
                    }
                    Err(code) if code.0 == POLICY_VIOLATION => round.compacted.push(tp.topic),
                    Err(code) => drop(round.troubles.insert(tp, code.to_string())),
                }),
                // Done or not: the next round reads back.
                Err(error) => tracing::info!(%error, "a log start may or may not have moved"),
            }
        }
        round.compacted.dedup();
    }

    fn remember(&mut self, parts: &[&Part], theirs: &Offsets, ours: &Offsets, round: &mut Round) {
        let mut right: BTreeMap<&TopicName, bool> = BTreeMap::new();
        let mut seen: BTreeMap<&TopicName, Offsets> = BTreeMap::new();
        for part in parts {
            let (name, start) = (&part.tp.topic, theirs.get(&part.tp));
            let known = start.zip(ours.get(&part.tp));
            let starts = known.is_some_and(|(start, ours)| *ours >= (*start).max(part.chosen));
            let is_right = starts && part.copied.is_some();
            *right.entry(name).or_insert(true) &= is_right;
            let seen = seen.entry(name).or_default();
            seen.extend(start.map(|start| (part.tp.clone(), *start)));
        }
        let held = self.held();
        for (name, is_right) in right {
            let memory = self.topics.entry(name.clone());
            let memory = memory.or_insert(Memory { seen: Offsets::new(), right_since: None });
            memory.seen = seen.remove(name).unwrap_or_default();
            memory.right_since = match (is_right, memory.right_since) {
                (true, None) => Some(Instant::now()),
                (true, since) => since,
                (false, _) => None,
            };
            if memory.right_since.is_some_and(|since| since.elapsed() >= held) {
                round.settled.push(name.clone());
            }
        }
    }
}

/// What is to be deleted: of that only what is copied, and there.
fn cuts(due: &[Cut], ends: &Offsets) -> BTreeMap<TopicPartition, (Offset, Offset)> {
    let cut = |(part, from, to): &Cut| {
        let end = *ends.get(&part.tp)?;
        // Not piece by piece while the front is filled: by its first batch it is known for one.
        let is_copied = *to <= end.min(part.copied?);
        is_copied.then(|| (part.tp.clone(), (*from, *to)))
    };
    due.iter().filter_map(cut).collect()
}

/// How long it takes a broker to write starts down, at the latest.
async fn checkpoint(destination: &Cluster, broker: BrokerId) -> Option<Duration> {
    let told = destination.describe_broker_configs(broker, Some(&[CHECKPOINT, DELAY])).await;
    let told = told.ok()?.ok()?;
    let of = |key| told.get(key)?.value.as_ref()?.parse().ok().map(Duration::from_millis);
    Some(of(CHECKPOINT)?.max(of(DELAY).unwrap_or(DELAY_DEFAULT)))
}

/// In order, each once.
fn names<'a>(all: impl Iterator<Item = &'a TopicName>) -> Vec<TopicName> {
    let mut names: Vec<TopicName> = all.cloned().collect();
    names.sort();
    names.dedup();
    names
}

/// Where the source's logs start, by the mirrors' names.
async fn starts_at_source(source: &Cluster, parts: &[&Part]) -> Offsets {
    let there =
        |part: &&Part| TopicPartition { topic: part.source.clone(), partition: part.tp.partition };
    let asked: Vec<TopicPartition> = parts.iter().map(there).collect();
    let found = list(source, &asked.iter().collect::<Vec<_>>(), EndKind::Start).await;
    let start = |(part, tp): (&&Part, &TopicPartition)| Some((part.tp.clone(), *found.get(tp)?));
    parts.iter().zip(&asked).filter_map(start).collect()
}

pub(super) fn is_still(cluster: &Cluster, name: &TopicName, id: TopicId) -> bool {
    let found = cluster.topic(name);
    found.is_some_and(|topic| topic.error.is_none() && (topic.id == id || topic.id == TopicId::NIL))
}

/// One end of each partition, of those whose leader answers.
pub async fn list(cluster: &Cluster, asked: &[&TopicPartition], kind: EndKind) -> Offsets {
    let mut by_leader: BTreeMap<BrokerId, Vec<(TopicPartition, LeaderEpoch)>> = BTreeMap::new();
    for tp in asked {
        let Some(partition) = cluster.partition(tp) else { continue };
        let Some(leader) = partition.leader else { continue };
        by_leader.entry(leader).or_default().push(((*tp).clone(), partition.epoch));
    }
    let mut found = Offsets::new();
    for (leader, asked) in by_leader {
        match cluster.list_offsets(leader, &asked, kind).await {
            Ok(each) => {
                let known = each.into_iter().filter_map(|(tp, one)| Some((tp, one.ok()?.offset)));
                found.extend(known);
            }
            Err(error) => tracing::debug!(%error, "log starts could not be read"),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PartitionId;

    fn at(raw: i64) -> Offset {
        Offset::new(raw).unwrap()
    }

    fn tp() -> TopicPartition {
        TopicPartition { topic: TopicName::new("t").unwrap(), partition: PartitionId(0) }
    }

    fn part(chosen: i64, copied: i64) -> Part {
        let ids = (TopicId([1; 16]), TopicId([2; 16]));
        let source = tp().topic;
        Part { tp: tp(), source, ids, chosen: at(chosen), copied: Offset::new(copied) }
    }

    fn offsets(raw: i64) -> Offsets {
        Offsets::from([(tp(), at(raw))])
    }

    /// Source start in the round before and now, destination start and high watermark.
    fn check(part: &Part, starts: [i64; 2], ours: [i64; 2], want: Option<(i64, i64)>) {
        let memory = Memory { seen: offsets(starts[0]), right_since: None };
        let trimmer = Trimmer { topics: BTreeMap::from([(tp().topic, memory)]), ..Trimmer::new() };
        let due = trimmer.due(&[part], &offsets(starts[1]), &offsets(ours[0]));
        let cuts = cuts(&due, &offsets(ours[1]));
        let want = want.map(|(from, to)| (tp(), (at(from), at(to))));
        assert_eq!(cuts, want.into_iter().collect());
    }

    #[test]
    fn a_start_follows_the_source_and_never_leads_the_copy() {
        check(&part(0, 100), [40, 40], [0, 100], Some((0, 40)));
        check(&part(0, 100), [40, 40], [40, 100], None);
        check(&part(0, 100), [40, 40], [50, 100], None);
        check(&part(0, 39), [40, 40], [0, 100], None);
        check(&part(0, 40), [40, 40], [0, 40], Some((0, 40)));
        check(&part(0, 100), [40, 40], [0, 25], None);
        check(&part(70, 100), [40, 40], [0, 100], Some((0, 70)));
        check(&part(0, 0), [40, 40], [0, 0], None);
        check(&part(0, -1), [40, 40], [0, 100], None);
    }

    #[test]
    fn a_start_counts_when_it_was_seen_before() {
        check(&part(0, 100), [0, 40], [0, 100], None);
        check(&part(0, 100), [30, 40], [0, 100], Some((0, 30)));
        // another leader may be behind
        check(&part(0, 100), [40, 30], [0, 100], Some((0, 30)));
        let trimmer = Trimmer::new();
        assert!(trimmer.due(&[&part(0, 100)], &offsets(40), &offsets(0)).is_empty());
    }

    #[test]
    fn a_topic_is_settled_when_every_start_held_for_long() {
        let mut trimmer = Trimmer::new();
        let part = part(0, 100);
        let held = trimmer.held();
        assert_eq!(held, Duration::from_secs(75), "Kafka's default and a margin");
        let mut told = |ours: i64| {
            let mut round = Round::default();
            trimmer.remember(&[&part], &offsets(40), &offsets(ours), &mut round);
            let memory = trimmer.topics.get_mut(&tp().topic).unwrap();
            // as if it had been so for long
            let long_ago = memory.right_since.and_then(|since| since.checked_sub(held));
            memory.right_since = long_ago.or(memory.right_since);
            round.settled.len()
        };
        assert_eq!(told(0), 0);
        assert_eq!(told(40), 0, "not for long");
        assert_eq!(told(40), 1);
        assert_eq!(told(39), 0, "the broker has forgotten");
        assert_eq!(told(40), 0);
    }

    #[test]
    fn a_broker_that_writes_starts_down_sooner_is_waited_for_less() {
        let told = |interval| {
            let checkpoint = Some((Instant::now(), interval));
            Trimmer { checkpoint, ..Trimmer::new() }.held()
        };
        assert_eq!(told(Duration::from_secs(1)), Duration::from_secs(2));
        assert_eq!(told(Duration::from_secs(600)), Duration::from_secs(750));
    }
}
