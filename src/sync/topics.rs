//! Which topics are mirrored: found at the source, made and grown at the destination.
//!
//! It never deletes a topic and never writes into one; what it finds wrong is a halt of that topic.
//!
//! Each pass reads both clusters and starts from what it finds (level-triggered), so a pass that
//! failed half way is simply followed by another.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::cluster::ConfigEntries;
use crate::cluster::EachTopic;
use crate::cluster::NewTopic;
use crate::cluster::Wanted;
use crate::cluster::error::ClusterError;
use crate::cluster::metadata::Topic;
use crate::control::filter::TopicFilter;
use crate::ids::PartitionId;
use crate::ids::Side;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::mirror::facts::Takes;
use crate::mirror::halt::Halt;
use crate::sync::configs;
use crate::sync::make;
use crate::sync::stage;
use crate::sync::stage::Changes;
use crate::sync::start::Starts;
use crate::sync::survey::Survey;
use crate::sync::trouble;
use crate::sync::trouble::Kind;
use crate::sync::trouble::Trouble;

/// How many passes in a row a topic must be missing before it counts as deleted: a broker that
/// has just started may not know it yet.
const MISSING_MAX: u32 = 3;
/// How often the metadata of new topics are read until they are complete, and the pause between.
pub(super) const SETTLE_READS_MAX: u32 = 20;
pub(super) const SETTLE_PAUSE: Duration = Duration::from_millis(200);

/// A topic that is mirrored, or would be but for `halt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorTopic {
    /// Its name on both sides.
    pub name: TopicName,
    /// Its id at the source.
    pub source_id: TopicId,
    /// Its id at the destination.
    pub destination_id: TopicId,
    /// Its partitions, the same on both sides.
    pub partitions: Vec<PartitionId>,
    /// What the destination takes.
    pub takes: Takes,
    /// Where the mirror of a partition begins; the source's log start where it is not named.
    pub starts: Starts,
    /// Why nothing of it may be appended.
    pub halt: Option<Halt>,
    /// It was mirrored and is missing at that side; not yet for so long that it counts as deleted.
    pub missing: Option<Side>,
}

/// What a pass found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What is mirrored, or would be but for its halt; by name, in order.
    pub topics: Vec<MirrorTopic>,
    /// What could not be done or is wrong, and is looked at again.
    pub troubles: Vec<Trouble>,
    /// Every topic that is meant to be mirrored: matched at the source, mirrored before, or named.
    pub wanted: BTreeSet<TopicName>,
}

/// What is remembered of a topic between passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The ids it had when it was first mirrored.
    pub ids: (TopicId, TopicId),
    /// So many passes in a row it was missing, by side.
    missing: (u32, u32),
    partitions: Vec<PartitionId>,
}

impl Known {
    fn new(ids: (TopicId, TopicId)) -> Known {
        Known { ids, missing: (0, 0), partitions: Vec::new() }
    }
}

/// The clerk of one link's topics.
pub struct Topics {
    pub(super) filter: TopicFilter,
    replication_factor: i16,
    pub(super) known: BTreeMap<TopicName, Known>,
    /// The destination does not know the timestamp limits of Kafka 3.6.
    is_old: bool,
}

impl Topics {
    /// Nothing is known yet but the ids of earlier runs.
    pub fn new(
        filter: TopicFilter,
        replication_factor: i16,
        saved: &BTreeMap<TopicName, (TopicId, TopicId)>,
    ) -> Topics {
        let known = saved.iter().map(|(name, ids)| (name.clone(), Known::new(*ids))).collect();
        Topics { filter, replication_factor, known, is_old: false }
    }

    /// The ids of every topic that is mirrored, to be written down before anything is appended.
    pub fn ids(&self) -> BTreeMap<TopicName, (TopicId, TopicId)> {
        self.known.iter().map(|(name, known)| (name.clone(), known.ids)).collect()
    }

    /// Makes and grows what is missing, and says what is to be mirrored.
    pub async fn pass(
        &mut self,
        survey: Survey,
        destination: &Cluster,
    ) -> Result<Found, ClusterError> {
        let Survey { matched, new, found, mut troubles, hidden, staged } = survey;
        if !new.is_empty() {
            self.create_all(&new, &found, &staged, destination, &mut troubles).await;
            let troubled = subjects(&troubles);
            let is_made = |topic: &&Arc<Topic>| !troubled.contains(topic.name.as_str());
            let made = new.iter().filter(is_made).map(|topic| topic.name.clone());
            settle(made.collect(), destination).await?;
        }
        self.grow(&matched, destination, &mut troubles).await?;
        let mut topics = self.pair(&matched, destination, &mut troubles);
        self.check_configs(&mut topics, destination).await?;
        self.miss(&matched, &hidden, destination, &mut topics);
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        troubles.extend(topics.iter().filter_map(trouble::of_topic));
        let wanted = self.wanted(&matched);
        troubles.extend(unexplained(&wanted, &topics, &troubles));
        Ok(Found { topics, troubles, wanted })
    }

    /// Every topic that is meant to be mirrored.
    pub(super) fn wanted(&self, matched: &[Arc<Topic>]) -> BTreeSet<TopicName> {
        let known = self.known.keys().filter(|name| self.filter.matches(name));
        let named = known.chain(self.filter.literals()).cloned();
        named.chain(matched.iter().map(|topic| topic.name.clone())).collect()
    }

    async fn create_all(
        &mut self,
        new: &[Arc<Topic>],
        source: &BTreeMap<TopicName, ConfigEntries>,
        staged: &BTreeMap<TopicName, (TopicId, Changes)>,
        destination: &Cluster,
        troubles: &mut Vec<Trouble>,
    ) {
        let configs = |name: &TopicName, is_old: bool| {
            let found = source.get(name).map(|found| configs::for_new(found, is_old));
            let found = found.unwrap_or_default();
            if staged.contains_key(name) { stage::for_new(found) } else { found }
        };
        let replicas = (self.replication_factor > 0).then_some(self.replication_factor);
        let asked = new.iter().map(|topic| NewTopic {
            name: topic.name.clone(),
            partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
            replicas,
            configs: BTreeMap::new(),
        });
        make::create(destination, asked.collect(), configs, &mut self.is_old, troubles).await;
    }

    async fn grow(
        &mut self,
        matched: &[Arc<Topic>],
        destination: &Cluster,
        troubles: &mut Vec<Trouble>,
    ) -> Result<(), ClusterError> {
        let fewer = matched.iter().filter_map(|topic| {
            let there = destination.topic(&topic.name)?;
            let same = self.is_same(topic, &there);
            // none at all: this broker has not heard of its partitions yet
            let fewer = (1..topic.partitions.len()).contains(&there.partitions.len());
            let count = i32::try_from(topic.partitions.len()).ok()?;
            (same && fewer).then(|| (topic.name.clone(), count, there.partitions.len()))
        });
        let fewer: Vec<(TopicName, i32, usize)> = fewer.collect();
        if fewer.is_empty() {
            return Ok(());
        }
        let names: Vec<TopicName> = fewer.iter().map(|(name, ..)| name.clone()).collect();
        make::grow(destination, fewer, troubles).await;
        destination.refresh(Wanted::Topics(&names)).await
    }

    /// Whether both ids are those that were mirrored so far.
    fn is_same(&self, source: &Topic, destination: &Topic) -> bool {
        let ids = (source.id, destination.id);
        self.known.get(&source.name).is_none_or(|known| known.ids == ids)
    }

    fn pair(
        &mut self,
        matched: &[Arc<Topic>],
        destination: &Cluster,
        troubles: &mut Vec<Trouble>,
    ) -> Vec<MirrorTopic> {
        let mut topics = Vec::new();
        for topic in matched {
            let there = destination.topic(&topic.name).filter(|there| there.error.is_none());
            let Some(there) = there else { continue };
            let met = self.meet(topic, &there);
            let (ours, theirs) = (topic.partitions.len(), there.partitions.len());
            if met.halt.is_none() && ours < theirs {
                troubles.push(trouble::surplus(&topic.name, ours, theirs));
            }
            topics.push(met);
        }
        for topic in &topics {
            let ids = (topic.source_id, topic.destination_id);
            let known = self.known.entry(topic.name.clone()).or_insert_with(|| Known::new(ids));
            known.missing = (0, 0);
            known.partitions.clone_from(&topic.partitions);
        }
        topics
    }

    fn meet(&self, source: &Topic, destination: &Topic) -> MirrorTopic {
        let known = self.known.get(&source.name);
        let (was_source, was_destination) =
            known.map_or((source.id, destination.id), |known| known.ids);
        let (ours, theirs) = (source.partitions.len(), destination.partitions.len());
        // No topic ever loses partitions; one without an id may be another one by that name.
        let is_nameless = source.id == TopicId::NIL && known.is_some();
        let halt = if was_source != source.id {
            Some(Halt::Recreated { side: Side::Source, was: was_source, is: source.id })
        } else if was_destination != destination.id {
            let (was, is) = (was_destination, destination.id);
            Some(Halt::Recreated { side: Side::Destination, was, is })
        } else if ours < theirs && is_nameless {
            Some(Halt::PartitionsDecreased { source: ours, destination: theirs })
        } else {
            None
        };
        let both = |id: &&PartitionId| destination.partitions.contains_key(id);
        MirrorTopic {
            name: source.name.clone(),
            source_id: was_source,
            destination_id: was_destination,
            partitions: source.partitions.keys().filter(both).copied().collect(),
            takes: Takes::default(),
            starts: Starts::new(),
            halt,
            missing: None,
        }
    }

    async fn check_configs(
        &self,
        topics: &mut [MirrorTopic],
        destination: &Cluster,
    ) -> Result<(), ClusterError> {
        if topics.is_empty() {
            return Ok(());
        }
        let names: Vec<TopicName> = topics.iter().map(|topic| topic.name.clone()).collect();
        let keys = configs::keys_at_destination();
        let (found, _) = parted(destination.describe_topic_configs(&names, Some(&keys)).await?);
        for topic in topics {
            let Some(found) = found.get(&topic.name) else { continue };
            topic.takes = configs::takes(found);
            topic.halt = topic.halt.take().or_else(|| configs::broken(found));
        }
        Ok(())
    }

    /// Topics that were mirrored and are missing now: kept as they were, halted after a while.
    /// After a restart only the other side can tell which partitions there were.
    fn miss(
        &mut self,
        matched: &[Arc<Topic>],
        hidden: &BTreeSet<TopicName>,
        destination: &Cluster,
        topics: &mut Vec<MirrorTopic>,
    ) {
        let here: BTreeMap<&TopicName, &Arc<Topic>> =
            matched.iter().map(|topic| (&topic.name, topic)).collect();
        let seen: BTreeSet<TopicName> = topics.iter().map(|topic| topic.name.clone()).collect();
        for (name, known) in &mut self.known {
            if seen.contains(name) || !self.filter.matches(name) {
                continue;
            }
            let at_source = here.get(name);
            let (side, missing) = match at_source {
                Some(_) => (Side::Destination, &mut known.missing.1),
                None => (Side::Source, &mut known.missing.0),
            };
            *missing = if hidden.contains(name) { 0 } else { missing.saturating_add(1) };
            let is_gone = *missing >= MISSING_MAX;
            if known.partitions.is_empty() {
                let other = at_source.map(|topic| (*topic).clone());
                let other = other.or_else(|| destination.topic(name));
                let ids = other.map(|topic| topic.partitions.keys().copied().collect());
                known.partitions = ids.unwrap_or_default();
            }
            if known.partitions.is_empty() {
                known.partitions.push(PartitionId(0)); // stands for a topic that is gone on both
            }
            topics.push(MirrorTopic {
                name: name.clone(),
                source_id: known.ids.0,
                destination_id: known.ids.1,
                partitions: known.partitions.clone(),
                takes: Takes::default(),
                starts: Starts::new(),
                halt: is_gone.then_some(Halt::Deleted { side }),
                missing: (!is_gone && !hidden.contains(name)).then_some(side),
            });
        }
    }
}

/// Topics that are wanted, not mirrored, and of which nothing was said yet.
fn unexplained(
    wanted: &BTreeSet<TopicName>,
    topics: &[MirrorTopic],
    troubles: &[Trouble],
) -> Vec<Trouble> {
    let troubled = subjects(troubles);
    let whole = topics.iter().filter(|topic| !topic.partitions.is_empty());
    let mirrored: BTreeSet<&TopicName> = whole.map(|topic| &topic.name).collect();
    let silent =
        wanted.iter().filter(|name| !mirrored.contains(name) && !troubled.contains(name.as_str()));
    let text = "the destination does not show it, nor its partitions: it is looked at again";
    silent.map(|name| Trouble::new(name, Kind::Refused, text)).collect()
}

fn subjects(troubles: &[Trouble]) -> BTreeSet<&str> {
    troubles.iter().map(|trouble| trouble.subject.as_str()).collect()
}

/// Reads the metadata of new topics until a broker tells of their partitions: brokers learn of a
/// topic one by one, and the next look may be minutes away.
pub(super) async fn settle(
    mut new: Vec<TopicName>,
    destination: &Cluster,
) -> Result<(), ClusterError> {
    for _ in 0..SETTLE_READS_MAX {
        if new.is_empty() {
            return Ok(());
        }
        destination.refresh(Wanted::Topics(&new)).await?;
        new.retain(|name| {
            let there = destination.topic(name).filter(|there| there.error.is_none());
            there.is_none_or(|there| there.partitions.is_empty())
        });
        if !new.is_empty() {
            sleep(SETTLE_PAUSE).await;
        }
    }
    Ok(())
}

/// Answers and refusals apart.
pub(super) fn parted<T>(each: EachTopic<T>) -> (BTreeMap<TopicName, T>, Vec<(TopicName, String)>) {
    let (mut found, mut refused) = (BTreeMap::new(), Vec::new());
    for (name, answer) in each {
        match answer {
            Ok(value) => drop(found.insert(name, value)),
            Err(refusal) => refused.push((name, refusal.to_string())),
        }
    }
    (found, refused)
}
