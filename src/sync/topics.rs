//! Which topics are mirrored: found at the source, made and grown at the destination.
//!
//! It never deletes a topic and never writes into one; what it finds wrong is a halt of that topic.
//!
//! Each pass reads both clusters and starts from what it finds (level-triggered), so a pass that
//! failed half way is simply followed by another.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cluster::Cluster;
use crate::cluster::ConfigEntries;
use crate::cluster::EachTopic;
use crate::cluster::NewTopic;
use crate::cluster::Wanted;
use crate::cluster::error::ClusterError;
use crate::cluster::metadata::Topic;
use crate::ids::PartitionId;
use crate::ids::Side;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::mirror::facts::Takes;
use crate::mirror::halt::Halt;
use crate::sync::configs;
use crate::sync::filter::TopicFilter;

/// How many passes in a row a topic must be missing before it counts as deleted: a broker that
/// has just started may not know it yet.
const MISSING_MAX: u32 = 3;
/// INVALID_CONFIG: the destination does not know a key.
const INVALID_CONFIG: i16 = 40;

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
    /// Why nothing of it may be appended.
    pub halt: Option<Halt>,
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
    filter: TopicFilter,
    replication_factor: i16,
    known: BTreeMap<TopicName, Known>,
    /// The destination does not know the timestamp limits of Kafka 3.6.
    is_old: bool,
}

/// What a pass could not do for one topic, for people; it is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The topic.
    pub topic: TopicName,
    /// What went wrong.
    pub text: String,
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

    /// Looks at both clusters, makes and grows what is missing, and says what is to be mirrored.
    pub async fn pass(
        &mut self,
        source: &Cluster,
        destination: &Cluster,
    ) -> Result<(Vec<MirrorTopic>, Vec<Trouble>), ClusterError> {
        source.refresh(Wanted::All).await?;
        destination.refresh(Wanted::All).await?;
        let matched: Vec<Arc<Topic>> =
            source.topics().into_iter().filter(|topic| self.is_wanted(topic)).collect();
        self.forget_started_anew(&matched, destination);
        let mut troubles = Vec::new();
        self.create(&matched, source, destination, &mut troubles).await?;
        self.grow(&matched, destination, &mut troubles).await?;
        let mut topics = self.pair(&matched, destination);
        self.check_configs(&mut topics, destination).await?;
        self.miss(&matched, &mut topics);
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((topics, troubles))
    }

    /// Where the source has another topic under the old name and the destination none, an operator
    /// has cleared the way: nothing is left that could be mixed.
    fn forget_started_anew(&mut self, matched: &[Arc<Topic>], destination: &Cluster) {
        for topic in matched {
            let other = self.known.get(&topic.name).is_some_and(|known| known.ids.0 != topic.id);
            if other && destination.topic(&topic.name).is_none() {
                tracing::warn!(topic = %topic.name, "begins anew: both topics of before are gone");
                self.known.remove(&topic.name);
            }
        }
    }

    fn is_wanted(&self, topic: &Topic) -> bool {
        let usable = topic.error.is_none() && !topic.partitions.is_empty();
        usable && self.filter.matches(&topic.name)
    }

    async fn create(
        &mut self,
        matched: &[Arc<Topic>],
        source: &Cluster,
        destination: &Cluster,
        troubles: &mut Vec<Trouble>,
    ) -> Result<(), ClusterError> {
        // A mirror topic that was there and is gone is a halt, not a reason to begin anew.
        let is_new = |topic: &&Arc<Topic>| {
            destination.topic(&topic.name).is_none() && !self.known.contains_key(&topic.name)
        };
        let new: Vec<Arc<Topic>> = matched.iter().filter(is_new).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        let names: Vec<TopicName> = new.iter().map(|topic| topic.name.clone()).collect();
        let keys = Some(configs::keys_at_source());
        let found = source.describe_topic_configs(&names, keys).await?;
        let (ready, refused) = parted(found);
        troubles.extend(refused.into_iter().map(|(topic, text)| Trouble { topic, text }));
        let new: Vec<_> = new.into_iter().filter(|one| ready.contains_key(&one.name)).collect();
        self.create_all(&new, &ready, destination, troubles).await?;
        let names: Vec<TopicName> = new.iter().map(|topic| topic.name.clone()).collect();
        destination.refresh(Wanted::Topics(&names)).await
    }

    async fn create_all(
        &mut self,
        new: &[Arc<Topic>],
        source: &BTreeMap<TopicName, ConfigEntries>,
        destination: &Cluster,
        troubles: &mut Vec<Trouble>,
    ) -> Result<(), ClusterError> {
        let asked = new.iter().map(|topic| self.new_topic(topic, source)).collect::<Vec<_>>();
        if asked.is_empty() {
            return Ok(());
        }
        let mut answers = destination.create_topics(&asked, false).await?;
        let unknown_key = |answer: &Result<TopicId, _>| {
            answer.as_ref().is_err_and(|refusal: &crate::cluster::error::Refusal| {
                refusal.code.0 == INVALID_CONFIG
            })
        };
        if !self.is_old && answers.values().any(unknown_key) {
            self.is_old = true;
            let again: Vec<_> = new.iter().map(|topic| self.new_topic(topic, source)).collect();
            answers = destination.create_topics(&again, false).await?;
        }
        for (topic, answer) in answers {
            match answer {
                Ok(_) => tracing::info!(%topic, "created at the destination"),
                // Somebody else made it meanwhile: it is looked at like any other.
                Err(refusal) if refusal.code.0 == 36 => {}
                Err(refusal) => {
                    let text = format!("the destination does not create it: {refusal}");
                    troubles.push(Trouble { topic, text });
                }
            }
        }
        Ok(())
    }

    fn new_topic(&self, topic: &Topic, source: &BTreeMap<TopicName, ConfigEntries>) -> NewTopic {
        let configs = source.get(&topic.name).map(|found| configs::for_new(found, self.is_old));
        NewTopic {
            name: topic.name.clone(),
            partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
            replicas: (self.replication_factor > 0).then_some(self.replication_factor),
            configs: configs.unwrap_or_default(),
        }
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
            let fewer = there.partitions.len() < topic.partitions.len();
            let count = i32::try_from(topic.partitions.len()).ok()?;
            (same && fewer).then(|| (topic.name.clone(), count))
        });
        let fewer: Vec<(TopicName, i32)> = fewer.collect();
        if fewer.is_empty() {
            return Ok(());
        }
        for (topic, answer) in destination.create_partitions(&fewer, false).await? {
            match answer {
                Ok(()) => tracing::info!(%topic, "grown at the destination"),
                Err(refusal) => {
                    let text = format!("the destination does not grow it: {refusal}");
                    troubles.push(Trouble { topic, text });
                }
            }
        }
        let names: Vec<TopicName> = fewer.into_iter().map(|(name, _)| name).collect();
        destination.refresh(Wanted::Topics(&names)).await
    }

    /// Whether both ids are those that were mirrored so far.
    fn is_same(&self, source: &Topic, destination: &Topic) -> bool {
        let ids = (source.id, destination.id);
        self.known.get(&source.name).is_none_or(|known| known.ids == ids)
    }

    fn pair(&mut self, matched: &[Arc<Topic>], destination: &Cluster) -> Vec<MirrorTopic> {
        let pairs = matched.iter().filter_map(|topic| {
            let there = destination.topic(&topic.name).filter(|there| there.error.is_none())?;
            Some(self.meet(topic, &there))
        });
        let topics: Vec<MirrorTopic> = pairs.collect();
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
        let halt = if was_source != source.id {
            Some(Halt::Recreated { side: Side::Source, was: was_source, is: source.id })
        } else if was_destination != destination.id {
            let (was, is) = (was_destination, destination.id);
            Some(Halt::Recreated { side: Side::Destination, was, is })
        } else if ours < theirs {
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
            halt,
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
    fn miss(&mut self, matched: &[Arc<Topic>], topics: &mut Vec<MirrorTopic>) {
        for (name, known) in &mut self.known {
            if topics.iter().any(|topic| topic.name == *name) {
                continue;
            }
            let at_source = matched.iter().any(|topic| topic.name == *name);
            let (side, missing) = if at_source {
                (Side::Destination, &mut known.missing.1)
            } else {
                (Side::Source, &mut known.missing.0)
            };
            *missing += 1;
            topics.push(MirrorTopic {
                name: name.clone(),
                source_id: known.ids.0,
                destination_id: known.ids.1,
                partitions: known.partitions.clone(),
                takes: Takes::default(),
                halt: (*missing >= MISSING_MAX).then_some(Halt::Deleted { side }),
            });
        }
    }
}

/// Answers and refusals apart.
fn parted<T>(each: EachTopic<T>) -> (BTreeMap<TopicName, T>, Vec<(TopicName, String)>) {
    let (mut found, mut refused) = (BTreeMap::new(), Vec::new());
    for (name, answer) in each {
        match answer {
            Ok(value) => drop(found.insert(name, value)),
            Err(refusal) => refused.push((name, refusal.to_string())),
        }
    }
    (found, refused)
}
