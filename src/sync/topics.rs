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
use crate::cluster::EndKind;
use crate::cluster::NewTopic;
use crate::cluster::Wanted;
use crate::cluster::error::ClusterError;
use crate::cluster::metadata::Topic;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::Side;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::mirror::facts::Takes;
use crate::mirror::halt::Halt;
use crate::sync::configs;
use crate::sync::filter::TopicFilter;
use crate::sync::stage;
use crate::sync::stage::Changes;
use crate::sync::start::Starts;
use crate::sync::trim;

/// How many passes in a row a topic must be missing before it counts as deleted: a broker that
/// has just started may not know it yet.
const MISSING_MAX: u32 = 3;
/// How often the metadata of new topics are read until they are complete, and the pause between.
const SETTLE_READS_MAX: u32 = 20;
const SETTLE_PAUSE: Duration = Duration::from_millis(200);
/// Nothing may be known of a topic, not even whether there is one.
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
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
    /// Where the mirror of a partition begins; the source's log start where it is not named.
    pub starts: Starts,
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

/// What the first half of a pass found.
pub struct Survey {
    matched: Vec<Arc<Topic>>,
    /// Those to be made, and what the source has for configs.
    new: Vec<Arc<Topic>>,
    found: BTreeMap<TopicName, ConfigEntries>,
    troubles: Vec<Trouble>,
    /// Topics that are no longer listed because we may not see them.
    hidden: BTreeSet<TopicName>,
    /// Topics to be made with other configs than they will get, with the source's id and the
    /// configs that they are to get later: to be written down before the second half.
    pub staged: BTreeMap<TopicName, (TopicId, Changes)>,
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

    /// Looks at both clusters: which topics there are and which are to be made. Where a link may
    /// begin `anywhere`, it may begin above 0 everywhere.
    pub async fn survey(
        &mut self,
        source: &Cluster,
        destination: &Cluster,
        anywhere: bool,
    ) -> Result<Survey, ClusterError> {
        source.refresh(Wanted::All).await?;
        destination.refresh(Wanted::All).await?;
        let matched: Vec<Arc<Topic>> =
            source.topics().into_iter().filter(|topic| self.is_wanted(topic)).collect();
        self.forget_started_anew(&matched, destination);
        let mut survey = self.news(matched, source, destination).await?;
        self.find_hidden(&mut survey, source, destination).await?;
        let compacted =
            |topic: &&Arc<Topic>| survey.found.get(&topic.name).is_some_and(stage::is_compacted);
        let compacted: Vec<Arc<Topic>> = survey.new.iter().filter(compacted).cloned().collect();
        for topic in compacted {
            if (anywhere || !starts_at_zero(source, &topic).await)
                && let Some(found) = survey.found.get(&topic.name)
            {
                let real = stage::real_of_source(found);
                survey.staged.insert(topic.name.clone(), (topic.id, real));
            }
        }
        Ok(survey)
    }

    /// Makes and grows what is missing, and says what is to be mirrored.
    pub async fn pass(
        &mut self,
        survey: Survey,
        destination: &Cluster,
    ) -> Result<(Vec<MirrorTopic>, Vec<Trouble>), ClusterError> {
        let Survey { matched, new, found, mut troubles, hidden, staged } = survey;
        if !new.is_empty() {
            self.create_all(&new, &found, &staged, destination, &mut troubles).await?;
            let is_made = |topic: &&Arc<Topic>| troubles.iter().all(|t| t.topic != topic.name);
            settle(new.iter().filter(is_made).cloned().collect(), destination).await?;
        }
        self.grow(&matched, destination, &mut troubles).await?;
        let mut topics = self.pair(&matched, destination);
        self.check_configs(&mut topics, destination).await?;
        self.miss(&matched, &hidden, &mut topics);
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

    /// A list of all topics leaves out those that we may not describe. Asked for by name they are
    /// refused, and that is no deletion: they come back with the right (KafkaApis, handleMetadata).
    async fn find_hidden(
        &self,
        survey: &mut Survey,
        source: &Cluster,
        destination: &Cluster,
    ) -> Result<(), ClusterError> {
        let wanted = self.known.keys().filter(|name| self.filter.matches(name));
        let is_there = |name: &TopicName| survey.matched.iter().any(|topic| topic.name == *name);
        let (here, gone): (Vec<TopicName>, Vec<TopicName>) = wanted.cloned().partition(is_there);
        let unseen = here.into_iter().filter(|name| destination.topic(name).is_none()).collect();
        for (cluster, side, names) in
            [(source, Side::Source, gone), (destination, Side::Destination, unseen)]
        {
            for topic in refused(cluster, &names).await? {
                let text = format!(
                    "the {side} does not show it to us any more: TOPIC_AUTHORIZATION_FAILED (29): \
                     grant what `isolog check` prints"
                );
                survey.hidden.insert(topic.clone());
                survey.troubles.push(Trouble { topic, text });
            }
        }
        Ok(())
    }

    fn is_wanted(&self, topic: &Topic) -> bool {
        let usable = topic.error.is_none() && !topic.partitions.is_empty();
        usable && self.filter.matches(&topic.name)
    }

    /// The topics to be made, those whose configs the source tells.
    async fn news(
        &self,
        matched: Vec<Arc<Topic>>,
        source: &Cluster,
        destination: &Cluster,
    ) -> Result<Survey, ClusterError> {
        // A mirror topic that was there and is gone is a halt, not a reason to begin anew.
        let is_new = |topic: &&Arc<Topic>| {
            destination.topic(&topic.name).is_none() && !self.known.contains_key(&topic.name)
        };
        let new: Vec<Arc<Topic>> = matched.iter().filter(is_new).cloned().collect();
        let names: Vec<TopicName> = new.iter().map(|topic| topic.name.clone()).collect();
        let (found, refused) = match names.is_empty() {
            true => (BTreeMap::new(), Vec::new()),
            false => {
                let keys = Some(configs::keys_at_source());
                parted(source.describe_topic_configs(&names, keys).await?)
            }
        };
        let troubles = refused.into_iter().map(|(topic, text)| Trouble { topic, text }).collect();
        let new = new.into_iter().filter(|one| found.contains_key(&one.name)).collect();
        let (hidden, staged) = (BTreeSet::new(), BTreeMap::new());
        Ok(Survey { matched, new, found, troubles, hidden, staged })
    }

    async fn create_all(
        &mut self,
        new: &[Arc<Topic>],
        source: &BTreeMap<TopicName, ConfigEntries>,
        staged: &BTreeMap<TopicName, (TopicId, Changes)>,
        destination: &Cluster,
        troubles: &mut Vec<Trouble>,
    ) -> Result<(), ClusterError> {
        let made = |topics: &Topics| -> Vec<NewTopic> {
            let new = new.iter().map(|topic| {
                let made = topics.new_topic(topic, source);
                let is_staged = staged.contains_key(&topic.name);
                if is_staged {
                    NewTopic { configs: stage::for_new(made.configs), ..made }
                } else {
                    made
                }
            });
            new.collect()
        };
        let asked = made(self);
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
            let again = made(self);
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
            // none at all: this broker has not heard of its partitions yet
            let fewer = (1..topic.partitions.len()).contains(&there.partitions.len());
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
            starts: Starts::new(),
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
    fn miss(
        &mut self,
        matched: &[Arc<Topic>],
        hidden: &BTreeSet<TopicName>,
        topics: &mut Vec<MirrorTopic>,
    ) {
        for (name, known) in &mut self.known {
            let is_seen = topics.iter().any(|topic| topic.name == *name);
            if is_seen || !self.filter.matches(name) {
                continue;
            }
            let at_source = matched.iter().any(|topic| topic.name == *name);
            let (side, missing) = if at_source {
                (Side::Destination, &mut known.missing.1)
            } else {
                (Side::Source, &mut known.missing.0)
            };
            *missing = if hidden.contains(name) { 0 } else { *missing + 1 };
            topics.push(MirrorTopic {
                name: name.clone(),
                source_id: known.ids.0,
                destination_id: known.ids.1,
                partitions: known.partitions.clone(),
                takes: Takes::default(),
                starts: Starts::new(),
                halt: (*missing >= MISSING_MAX).then_some(Halt::Deleted { side }),
            });
        }
    }
}

/// Reads the metadata of new topics until a broker tells of their partitions: brokers learn of a
/// topic one by one, and the next look may be minutes away.
async fn settle(mut new: Vec<Arc<Topic>>, destination: &Cluster) -> Result<(), ClusterError> {
    for _ in 0..SETTLE_READS_MAX {
        if new.is_empty() {
            return Ok(());
        }
        let names: Vec<TopicName> = new.iter().map(|topic| topic.name.clone()).collect();
        destination.refresh(Wanted::Topics(&names)).await?;
        new.retain(|topic| {
            let there = destination.topic(&topic.name).filter(|there| there.error.is_none());
            there.is_none_or(|there| there.partitions.is_empty())
        });
        if !new.is_empty() {
            sleep(SETTLE_PAUSE).await;
        }
    }
    Ok(())
}

/// Which of these topics a cluster refuses to tell us anything about.
async fn refused(cluster: &Cluster, names: &[TopicName]) -> Result<Vec<TopicName>, ClusterError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    cluster.refresh(Wanted::Topics(names)).await?;
    let is_refused = |name: &&TopicName| {
        cluster.topic(name).is_some_and(|topic| topic.error.0 == TOPIC_AUTHORIZATION_FAILED)
    };
    Ok(names.iter().filter(is_refused).cloned().collect())
}

/// Whether every partition is known to start at 0.
async fn starts_at_zero(source: &Cluster, topic: &Topic) -> bool {
    let tps = topic
        .partitions
        .keys()
        .map(|partition| TopicPartition { topic: topic.name.clone(), partition: *partition });
    let tps: Vec<TopicPartition> = tps.collect();
    let starts = trim::list(source, &tps.iter().collect::<Vec<_>>(), EndKind::Start).await;
    tps.iter().all(|tp| starts.get(tp) == Some(&Offset::ZERO))
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
