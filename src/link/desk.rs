//! What a link does about its topics besides copying: which there are, where they begin, which
//! configs they have meanwhile, and that their logs start where the source's do.
//!
//! It never tells a partition anything: `run` hands the manager what a pass finds.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::cluster::error::ClusterError;
use crate::control::start::StartSpec;
use crate::ids::Offset;
use crate::ids::TimestampMs;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::link::journal::Journal;
use crate::link::journal::Lost;
use crate::sync::stage;
use crate::sync::stage::Changes;
use crate::sync::start::choose;
use crate::sync::survey::Survey;
use crate::sync::topics::Found;
use crate::sync::topics::MirrorTopic;
use crate::sync::topics::Topics;
use crate::sync::trim::Part;
use crate::sync::trim::Trimmer;
use crate::sync::trouble::Kind;
use crate::sync::trouble::Trouble;

/// The clerks of one link and their book.
pub(super) struct Desk {
    spec: StartSpec,
    topics: Topics,
    journal: Journal,
    trimmer: Trimmer,
    /// By name, in order.
    mirrored: Vec<MirrorTopic>,
    /// So many looks in a row have not found the journal.
    lost_looks: u32,
    /// A look has told which topics are there that the journal does not know.
    has_looked: bool,
}

/// How many looks in a row must miss the journal before it counts as gone: a broker that has just
/// started may not know it yet.
const LOST_LOOKS_MIN: u32 = 3;
/// How many topics are named that the journal does not know.
const NAMED_MAX: usize = 20;

impl Desk {
    /// Clerks who know what the book says.
    pub fn new(spec: StartSpec, topics: Topics, journal: Journal) -> Desk {
        Desk {
            spec,
            topics,
            journal,
            trimmer: Trimmer::new(),
            mirrored: Vec::new(),
            lost_looks: 0,
            has_looked: false,
        }
    }

    /// One look at the topics; what is new is written down before anybody hears of it, and what
    /// will have to be changed back before it is made.
    pub async fn pass(
        &mut self,
        source: &Cluster,
        destination: &Cluster,
        now: TimestampMs,
    ) -> Result<Found, ClusterError> {
        let anywhere = self.spec != StartSpec::Earliest;
        let mut survey = self.topics.survey(source, destination, anywhere).await?;
        let lost = self.journal.lost().await?;
        self.tell_strangers(&survey, destination).await;
        match &lost {
            Some(_) => survey.hold(),
            None => self.journal.save_configs(survey.staged.clone(), now).await?,
        }
        let found = self.topics.pass(survey, destination).await?;
        let Found { mut topics, mut troubles, wanted } = found;
        match lost {
            Some(lost) => self.go_on_without(&lost, &mut topics, &mut troubles),
            None => {
                self.lost_looks = 0;
                self.journal.save(&self.topics.ids(), now).await?;
                self.begin(&topics, source, destination, &mut troubles, now).await?;
            }
        }
        topics.retain(|topic| topic.halt.is_some() || self.has_begun(topic));
        for topic in &mut topics {
            if let Some(owed) = self.owed(topic).filter(|owed| !owed.is_empty()) {
                topic.takes.is_staged = true;
                topic.takes.is_compacted = Some(stage::will_compact(owed));
            }
            if let Some((id, starts)) = self.journal.saved().starts.get(&topic.name)
                && *id == topic.source_id
            {
                topic.starts.clone_from(starts);
            }
        }
        self.mirrored.clone_from(&topics);
        Ok(Found { topics, troubles, wanted })
    }

    /// Whether the last look has missed the journal.
    pub fn misses_journal(&self) -> bool {
        self.lost_looks > 0
    }

    /// What is not written down is not begun.
    fn go_on_without(
        &mut self,
        lost: &Lost,
        topics: &mut Vec<MirrorTopic>,
        troubles: &mut Vec<Trouble>,
    ) {
        let saved = &self.journal.saved().ids;
        topics.retain(|topic| {
            saved.get(&topic.name) == Some(&(topic.source_id, topic.destination_id))
        });
        self.lost_looks += 1;
        if self.lost_looks >= LOST_LOOKS_MIN {
            troubles.push(lost.trouble());
        }
    }

    /// A journal that was lost makes every copy a stranger: says so at a start.
    async fn tell_strangers(&mut self, survey: &Survey, destination: &Cluster) {
        if std::mem::replace(&mut self.has_looked, true) {
            return;
        }
        let strangers = self.topics.strangers(survey, destination).await;
        let named: Vec<&str> = strangers.iter().take(NAMED_MAX).map(TopicName::as_str).collect();
        if !named.is_empty() {
            let (link, more) = (self.journal.link(), strangers.len() - named.len());
            tracing::warn!(
                %link, topics = named.join(","), more,
                "the destination has records of topics that the journal does not know: they are \
                 taken for copies where their last batches are the source's. If the journal \
                 (__isolog) was lost, a topic that was made anew since is not told from the old \
                 one: compare with `isolog verify`"
            );
        }
    }

    /// The configs that a topic is to get later.
    fn owed(&self, topic: &MirrorTopic) -> Option<&Changes> {
        let (id, owed) = self.journal.saved().configs.get(&topic.name)?;
        (*id == topic.source_id).then_some(owed)
    }

    fn has_begun(&self, topic: &MirrorTopic) -> bool {
        let row = self.journal.saved().starts.get(&topic.name);
        self.spec == StartSpec::Earliest || row.is_some_and(|(id, _)| *id == topic.source_id)
    }

    /// Chooses where the mirrors of topics begin that are seen for the first time.
    async fn begin(
        &mut self,
        topics: &[MirrorTopic],
        source: &Cluster,
        destination: &Cluster,
        troubles: &mut Vec<Trouble>,
        now: TimestampMs,
    ) -> Result<(), ClusterError> {
        let mut chosen = BTreeMap::new();
        for topic in topics.iter().filter(|topic| topic.halt.is_none() && !self.has_begun(topic)) {
            let (name, partitions) = (&topic.name, &topic.partitions[..]);
            match choose(self.spec, source, destination, name, partitions).await {
                Ok(starts) => {
                    chosen.insert(name.clone(), (topic.source_id, starts));
                }
                Err(error) => {
                    let text = format!("where its mirror begins is not known: {error}");
                    troubles.push(Trouble::new(name, Kind::Refused, text));
                }
            }
        }
        let names: Vec<_> = chosen.keys().cloned().collect();
        self.journal.save_starts(chosen, now).await?;
        // said only now: killed before this, the start would be chosen again
        for name in names {
            tracing::info!(topic = %name, spec = %self.spec, "begins where it was told");
        }
        Ok(())
    }

    /// One comparison of all log starts. `copied`: up to where each partition is confirmed, of
    /// those that are being mirrored. What could not be done comes back, for people.
    pub async fn trim(
        &mut self,
        source: &Cluster,
        destination: &Cluster,
        copied: &BTreeMap<TopicPartition, Offset>,
        now: TimestampMs,
    ) -> Result<Vec<Trouble>, ClusterError> {
        let parts = self.parts(copied);
        let round = self.trimmer.round(source, destination, &parts).await?;
        for (tp, (from, to)) in &round.moved {
            tracing::info!(partition = %tp, %from, %to, "the log start follows the source's");
        }
        let untrimmed = round.troubles.iter().map(|(tp, code)| {
            let text = format!("the log start of {tp} does not follow the source's: {code}");
            Trouble::new(&tp.topic, Kind::LogStart, text)
        });
        let mut troubles: Vec<Trouble> = untrimmed.collect();
        troubles.extend(self.enter(destination, &round.compacted, now).await?);
        troubles.extend(self.leave(destination, &round.settled, now).await?);
        Ok(troubles)
    }

    /// How long to wait for the next comparison.
    pub fn trim_pause(&self) -> Duration {
        self.trimmer.pause()
    }

    fn parts(&self, copied: &BTreeMap<TopicPartition, Offset>) -> Vec<Part> {
        let healthy = self.mirrored.iter().filter(|topic| topic.halt.is_none());
        let parts = healthy.flat_map(|topic| {
            topic.partitions.iter().map(|partition| {
                let tp = TopicPartition { topic: topic.name.clone(), partition: *partition };
                Part {
                    ids: (topic.source_id, topic.destination_id),
                    chosen: topic.starts.get(partition).copied().unwrap_or(Offset::ZERO),
                    copied: copied.get(&tp).copied(),
                    source: topic.name.clone(),
                    tp,
                }
            })
        });
        parts.collect()
    }

    fn source_id(&self, name: &TopicName) -> Option<TopicId> {
        let at = self.mirrored.binary_search_by(|topic| topic.name.cmp(name)).ok()?;
        Some(self.mirrored[at].source_id)
    }

    /// Takes topics on the stage that refuse to be trimmed.
    async fn enter(
        &mut self,
        destination: &Cluster,
        topics: &[TopicName],
        now: TimestampMs,
    ) -> Result<Vec<Trouble>, ClusterError> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let found = destination.describe_topic_configs(topics, Some(&stage::KEYS)).await?;
        let mut rows = BTreeMap::new();
        for (name, configs) in found {
            let owed = self.journal.saved().configs.get(&name);
            let id = self.source_id(&name);
            let is_new = owed.is_none_or(|(of, owed)| Some(*of) != id || owed.is_empty());
            if let (Ok(configs), Some(id), true) = (configs, id, is_new) {
                rows.insert(name, (id, stage::real_of_mirror(&configs)));
            }
        }
        self.journal.save_configs(rows, now).await?;
        let written = |name: &&TopicName| {
            let row = self.journal.saved().configs.get(*name);
            row.is_some_and(|(of, owed)| Some(*of) == self.source_id(name) && !owed.is_empty())
        };
        let ready: Vec<TopicName> = topics.iter().filter(written).cloned().collect();
        Ok(texts(stage::enter(destination, &ready).await?))
    }

    /// Gives topics the configs that they are owed.
    async fn leave(
        &mut self,
        destination: &Cluster,
        topics: &[TopicName],
        now: TimestampMs,
    ) -> Result<Vec<Trouble>, ClusterError> {
        let owed = topics.iter().filter_map(|name| {
            let (of, owed) = self.journal.saved().configs.get(name)?;
            let due = Some(*of) == self.source_id(name) && !owed.is_empty();
            due.then(|| (name.clone(), owed.clone()))
        });
        let owed: Vec<(TopicName, Changes)> = owed.collect();
        let refused = stage::leave(destination, owed.clone()).await?;
        let done = owed.into_iter().filter(|(name, _)| !refused.contains_key(name));
        let done = done.filter_map(|(name, _)| {
            tracing::info!(topic = %name, "has its own configs: its front is gone");
            Some((name.clone(), (self.source_id(&name)?, Changes::new())))
        });
        let done: BTreeMap<_, _> = done.collect();
        self.journal.save_configs(done, now).await?;
        Ok(texts(refused))
    }
}

fn texts(refused: BTreeMap<TopicName, String>) -> Vec<Trouble> {
    refused.into_iter().map(|(name, text)| Trouble::new(&name, Kind::LogStart, text)).collect()
}
