//! The preflight of a link: can it be copied exactly, may we, and what will it cost.
//!
//! It never writes: what it sends changes nothing, whatever the answer.

mod acls;
mod follows;
mod grants;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tokio::task::JoinSet;

use crate::audit::Dials;
use crate::audit::LinkOptions;
use crate::audit::greet::ClusterReport;
use crate::audit::greet::crowds;
use crate::audit::greet::greet;
use crate::audit::greet::now_ms;
use crate::audit::judge::Fillers;
use crate::audit::judge::Finding;
use crate::audit::judge::Level;
use crate::audit::judge::PartitionFacts;
use crate::audit::judge::Surroundings;
use crate::audit::judge::TopicFacts;
use crate::audit::judge::judge;
use crate::audit::log::reader::Dialled;
use crate::audit::log::scan::Seen;
use crate::audit::look::Look;
use crate::audit::look::Place;
use crate::audit::look::Queue;
use crate::audit::past;
use crate::audit::past::Fate;
use crate::audit::past::Known;
use crate::audit::past::rests;
use crate::audit::past::rests::Rest;
use crate::audit::survey;
use crate::cluster::Cluster;
use crate::cluster::ConfigEntries;
use crate::cluster::ConfigEntry;
use crate::cluster::EndKind;
use crate::cluster::NewTopic;
use crate::cluster::Wanted;
use crate::cluster::error::ClusterError;
use crate::cluster::metadata::Topic;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::Side;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::wire::error::KafkaCode;

/// So many topics are asked for in one question.
const ASKED_MAX: usize = 500;
/// INVALID_CONFIG: the destination does not know a key.
const INVALID_CONFIG: KafkaCode = KafkaCode(40);
/// TOPIC_AUTHORIZATION_FAILED: the rights say so already.
const REFUSED: KafkaCode = KafkaCode(29);
/// The destination's bound on the age of producers it remembers.
const PRODUCER_AGE: &str = "producer.id.expiration.ms";
/// How to check.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Only these topics; empty for all.
    pub topics: Vec<TopicName>,
    /// Look at every batch header, not at a few of each partition.
    pub is_deep: bool,
    /// Partitions that are looked at at the same time.
    pub workers: usize,
    /// What one fetch asks for when every header is looked at, in bytes.
    pub fetch_bytes: i32,
    /// Where is told what is being done.
    pub tell: fn(&str),
}

/// One topic.
#[derive(Clone, Debug, Serialize)]
pub struct TopicReport {
    /// Its name at the source.
    pub topic: String,
    /// The mirror's name, where it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror_topic: Option<String>,
    /// Its partitions at the source.
    pub partitions: usize,
    /// What can be done.
    pub level: Level,
    /// Offsets to be copied, fillers included.
    pub offsets: u64,
    /// What is filled.
    pub fillers: Fillers,
    /// What else is to be said.
    pub findings: Vec<Finding>,
}

/// A link.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Its name.
    pub link: String,
    /// The worst of all.
    pub level: Level,
    /// Both sides.
    pub clusters: Vec<ClusterReport>,
    /// What concerns the whole link.
    pub findings: Vec<Finding>,
    /// What it would change of the destination's ACLs, as lines of `kafka-acls`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub acl_changes: Vec<String>,
    /// Its topics.
    pub topics: Vec<TopicReport>,
}

/// Checks a link; what cannot be asked is a finding.
pub async fn run(link: &LinkOptions, dials: &Dials, ask: &Ask) -> Report {
    let mut report = Report {
        link: link.name.to_string(),
        level: Level::Exact,
        clusters: Vec::new(),
        findings: Vec::new(),
        acl_changes: Vec::new(),
        topics: Vec::new(),
    };
    let mut clusters = Vec::new();
    for side in [Side::Source, Side::Destination] {
        match dials.connect(link, side).await {
            Ok(cluster) => {
                report.clusters.push(greet(&cluster, &mut report.findings).await);
                clusters.push(cluster);
            }
            Err(error) => report.findings.push(Finding::unknown(error.to_string())),
        }
    }
    if let [source, destination] = clusters.as_slice() {
        report.findings.extend(crowds(source, destination).map(Finding::note));
        let checked = match past::without_mirrors(link, source, destination).await {
            Ok(link) => {
                let check = Check { link: &link, ask, source, destination };
                check.both(&mut report).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = checked {
            report.findings.push(Finding::unknown(error.to_string()));
        }
    }
    let findings = report.findings.iter().map(|one| one.level);
    let topics = report.topics.iter().map(|one| one.level);
    report.level = findings.chain(topics).max().unwrap_or(Level::Exact);
    report
}

/// The check of a link whose clusters both answer.
struct Check<'a> {
    link: &'a LinkOptions,
    ask: &'a Ask,
    source: &'a Arc<Cluster>,
    destination: &'a Arc<Cluster>,
}

impl Check<'_> {
    async fn both(&self, report: &mut Report) -> Result<(), ClusterError> {
        if self.source.id() == self.destination.id() {
            let text = "source and destination are the same cluster: correct bootstrap.servers";
            report.findings.push(Finding::impossible(text));
            return Ok(());
        }
        let wanted =
            |name: &TopicName| self.link.takes(name) && self.link.is_asked(&self.ask.topics, name);
        let topics = survey::topics(self.source, wanted).await?;
        self.destination.refresh(Wanted::All).await?;
        self.rights(&topics, report).await?;
        if let Some(sync) = &self.link.acls {
            let lines = self.acl_lines(sync, &topics).await?;
            report.acl_changes = lines.changes;
            let trouble = |text| Finding::unknown(format!("ACLs: {text}"));
            report.findings.extend(lines.troubles.into_iter().map(trouble));
        }
        self.patterns(&topics, report);
        report.findings.extend(self.link.left_out(&self.source.topics()));
        let (mut fates, remembered) = self.fates(&wanted, report).await?;
        let Known { past, made, rests, .. } = remembered;
        let (topics, resting) = rests::apart(topics, &rests, self.link);
        report.topics.extend(resting);
        let mut facts = self.configs(&topics, report).await?;
        self.ends(&topics, &mut facts).await?;
        let failed = self.look(&mut facts).await;
        let around = Surroundings {
            now_ms: now_ms(),
            producer_age_ms: self.producer_age_ms().await,
            policy: self.link.policy,
        };
        for topic in &topics {
            let Some(known) = facts.get(&topic.name) else { continue };
            let mut judged = judge(known, &around);
            let failures = failed.iter().filter(|(name, _)| *name == topic.name);
            judged.findings.extend(failures.map(|(_, text)| Finding::unknown(text)));
            let refused = self.refused(topic, known).await?;
            judged.findings.extend(refused);
            let is_made = made.contains(&topic.name);
            judged.findings.extend(follows::finding(&self.link.configs, known, is_made));
            if !past.contains_key(&topic.name) {
                judged.findings.extend(self.not_adopted(&topic.name, known));
            }
            let fate = fates.remove(&topic.name);
            judged.findings.extend(fate.map(|fate| Finding::impossible(fate.text)));
            let mirror = self.link.mirror_of(&topic.name);
            let paused = rests.get(&mirror).map(|rest| rest.text(&mirror, &self.link.name));
            judged.findings.extend(paused.map(Finding::note));
            let worst = judged.findings.iter().map(|one| one.level).max();
            report.topics.push(TopicReport {
                topic: topic.name.to_string(),
                mirror_topic: self.link.other_name(&topic.name),
                partitions: topic.partitions.len(),
                level: worst.map_or(judged.level, |worst| worst.max(judged.level)),
                offsets: judged.offsets,
                fillers: judged.fillers,
                findings: judged.findings,
            });
        }
        let gone = fates.into_iter().map(|(name, fate)| rests::gone(self.link, &name, fate));
        report.topics.extend(gone);
        report.topics.sort_by(|a, b| a.topic.cmp(&b.topic));
        self.readers(report);
        Ok(())
    }

    /// What has become of topics that were mirrored before.
    async fn fates(
        &self,
        wanted: &impl Fn(&TopicName) -> bool,
        report: &mut Report,
    ) -> Result<(BTreeMap<TopicName, Fate>, Known), ClusterError> {
        match past::read(self.link, self.source, self.destination).await? {
            Ok(known) => {
                let (ours, theirs) = (self.source, self.destination);
                let mut fates = past::fates(self.link, &known.past, wanted, ours, theirs).await?;
                let rest_of = |name: &TopicName| known.rests.get(&self.link.mirror_of(name));
                fates.retain(|name, _| rest_of(name).is_none_or(Rest::may_go_on));
                Ok((fates, known))
            }
            Err(text) => {
                report.findings.push(Finding::unknown(text));
                Ok(Default::default())
            }
        }
    }

    /// A filter adopts no topic that holds records: who names it does.
    fn not_adopted(&self, name: &TopicName, known: &TopicFacts) -> Option<Finding> {
        let holds = |one: &PartitionFacts| one.destination.is_some_and(|(_, end)| end.get() > 0);
        let is_named = self.link.named.matches(name) || self.link.ordered.contains(name);
        let is_refused = !is_named && known.partitions.iter().any(holds);
        let mirror = self.link.mirror_of(name);
        is_refused.then(|| {
            Finding::impossible(format!(
                "topic {mirror} is there and holds records, and a filter adopts no such topic: if \
                 it is a copy of this one, name it in mirror.topics, or by `isolog mirror create`"
            ))
        })
    }

    /// Configs of both sides, by topic.
    async fn configs(
        &self,
        topics: &[Arc<Topic>],
        report: &mut Report,
    ) -> Result<BTreeMap<TopicName, TopicFacts>, ClusterError> {
        let names: Vec<TopicName> = topics.iter().map(|topic| topic.name.clone()).collect();
        let there = names.iter().filter_map(|name| self.there(name));
        let existing: Vec<TopicName> = there.map(|topic| topic.name.clone()).collect();
        let mut ours = self.described(self.source, &names, report).await?;
        let mut theirs = self.described(self.destination, &existing, report).await?;
        let facts = topics.iter().map(|topic| {
            let there = self.there(&topic.name);
            let source_configs = ours.remove(&topic.name);
            let made = || source_configs.as_ref().map(|found| self.new_configs(found, false));
            let destination_configs = match there {
                Some(_) => theirs.remove(&self.link.mirror_of(&topic.name)),
                None => made(),
            };
            let facts = TopicFacts {
                source_partitions: topic.partitions.len(),
                destination_partitions: there.map(|there| there.partitions.len()),
                source_configs,
                destination_configs,
                partitions: Vec::new(),
            };
            (topic.name.clone(), facts)
        });
        Ok(facts.collect())
    }

    /// The mirror of a topic of the source.
    fn there(&self, name: &TopicName) -> Option<Arc<Topic>> {
        let known = self.destination.topic(&self.link.mirror_of(name));
        known.filter(|there| there.error.is_none() && !there.partitions.is_empty())
    }

    async fn described(
        &self,
        cluster: &Cluster,
        names: &[TopicName],
        report: &mut Report,
    ) -> Result<BTreeMap<TopicName, ConfigEntries>, ClusterError> {
        let mut found = BTreeMap::new();
        for some in names.chunks(ASKED_MAX) {
            for (name, told) in cluster.describe_topic_configs(some, None).await? {
                match told {
                    Ok(entries) => drop(found.insert(name, entries)),
                    Err(refusal) => report.findings.push(Finding::unknown(format!(
                        "topic {name}: the {} does not tell its configs: {refusal}",
                        cluster.side()
                    ))),
                }
            }
        }
        Ok(found)
    }

    /// The configs with which a topic would be made, as if they were described.
    fn new_configs(&self, source: &ConfigEntries, is_old: bool) -> ConfigEntries {
        let made = (self.link.new_configs)(source, is_old).into_iter().map(|(key, value)| {
            (key, ConfigEntry { value: Some(value), is_override: true, is_sensitive: false })
        });
        made.collect()
    }

    async fn ends(
        &self,
        topics: &[Arc<Topic>],
        facts: &mut BTreeMap<TopicName, TopicFacts>,
    ) -> Result<(), ClusterError> {
        let of = |topic: &Arc<Topic>| {
            let name = topic.name.clone();
            let ids = topic.partitions.keys().copied().collect::<Vec<_>>();
            ids.into_iter().map(move |partition| TopicPartition { topic: name.clone(), partition })
        };
        let all: Vec<TopicPartition> = topics.iter().flat_map(of).collect();
        let mirrors = all.iter().map(|tp| self.link.at(Side::Destination, tp));
        let is_there = |tp: &TopicPartition| self.destination.partition(tp).is_some();
        let there: Vec<TopicPartition> = mirrors.filter(is_there).collect();
        let copied = survey::ends(self.destination, &there, EndKind::LogEnd).await?;
        let starts = survey::ends(self.destination, &there, EndKind::Start).await?;
        let source_starts = survey::ends(self.source, &all, EndKind::Start).await?;
        let stable = survey::ends(self.source, &all, EndKind::Stable).await?;
        let hwms = survey::ends(self.source, &all, EndKind::HighWatermark).await?;
        let readable = if self.link.committed_only { &stable } else { &hwms };
        for tp in all {
            let mirror = self.link.at(Side::Destination, &tp);
            let known = |ends: &survey::Ends| ends.get(&tp).and_then(|end| end.ok());
            let at_mirror = |ends: &survey::Ends| ends.get(&mirror).and_then(|end| end.ok());
            let Some(facts) = facts.get_mut(&tp.topic) else { continue };
            let source = known(&source_starts).zip(known(readable));
            let Some((source, source_hwm)) = source.zip(known(&hwms)) else { continue };
            facts.partitions.push(PartitionFacts {
                partition: tp.partition,
                source,
                source_hwm,
                destination: at_mirror(&starts).zip(at_mirror(&copied)),
                seen: Seen::default(),
                differs_at: None,
            });
        }
        Ok(())
    }

    /// Looks into the logs; gives what failed.
    async fn look(&self, facts: &mut BTreeMap<TopicName, TopicFacts>) -> Vec<(TopicName, String)> {
        let places = facts.iter().flat_map(|(name, facts)| {
            let place = |(at, one): (usize, &PartitionFacts)| {
                let tp = TopicPartition { topic: name.clone(), partition: one.partition };
                let mirror = self.link.at(Side::Destination, &tp);
                Place { tp, mirror, at, source: one.source, destination: one.destination }
            };
            facts.partitions.iter().enumerate().map(place).collect::<Vec<_>>()
        });
        let queue = Queue::new(places);
        (self.ask.tell)(&format!(
            "link {}: {} partitions to look at",
            self.link.name,
            queue.count()
        ));
        let mut workers = JoinSet::new();
        let dialled = <[Dialled; 2]>::default();
        for _ in 0..self.ask.workers {
            let look = Look {
                source: self.source.clone(),
                destination: self.destination.clone(),
                committed_only: self.link.committed_only,
                is_deep: self.ask.is_deep,
                fetch_bytes: self.ask.fetch_bytes,
                dialled: dialled.clone(),
                tell: self.ask.tell,
            };
            workers.spawn(look.at_all(queue.clone()));
        }
        let mut failed: BTreeMap<(TopicName, String), Vec<PartitionId>> = BTreeMap::new();
        let mut fail = |tp: TopicPartition, text: String| {
            failed.entry((tp.topic, text)).or_default().push(tp.partition);
        };
        for (place, looked) in workers.join_all().await.into_iter().flatten() {
            match looked {
                Ok((seen, differs_at)) => {
                    let known = facts.get_mut(&place.tp.topic);
                    if let Some(one) = known.and_then(|known| known.partitions.get_mut(place.at)) {
                        (one.seen, one.differs_at) = (seen, differs_at);
                    }
                }
                Err(error) => fail(place.tp, error.to_string()),
            }
        }
        while let Some(place) = queue.take() {
            fail(place.tp, "not looked at: no connection for reading was left".to_owned());
        }
        failed.into_iter().map(|((topic, text), which)| (topic, not_seen(&which, &text))).collect()
    }

    async fn producer_age_ms(&self) -> Option<i64> {
        let broker = self.destination.look(|m| m.brokers().next().map(|one| one.id))?;
        let told = self.destination.describe_broker_configs(broker, Some(&[PRODUCER_AGE])).await;
        told.ok()?.ok()?.get(PRODUCER_AGE)?.value.as_ref()?.parse().ok()
    }

    /// What the destination says to the topic that would be made, and whether all was told.
    async fn refused(
        &self,
        topic: &Topic,
        facts: &TopicFacts,
    ) -> Result<Vec<Finding>, ClusterError> {
        let mut findings = Vec::new();
        if facts.partitions.len() < topic.partitions.len() {
            let missing = topic.partitions.len() - facts.partitions.len();
            let text = format!("{missing} partitions have no leader that tells where they end");
            findings.push(Finding::unknown(text));
        }
        let source = facts.source_configs.as_ref();
        let Some(source) = source.filter(|_| facts.destination_partitions.is_none()) else {
            return Ok(findings);
        };
        for is_old in [false, true] {
            let new = NewTopic {
                name: self.link.mirror_of(&topic.name),
                partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
                replicas: self.link.replicas,
                configs: (self.link.new_configs)(source, is_old),
            };
            let told = self.destination.create_topics(&[new], true).await?;
            match told.into_values().next() {
                Some(Err(refusal)) if refusal.code == INVALID_CONFIG && !is_old => continue,
                Some(Err(refusal)) if refusal.code != REFUSED => {
                    let text = format!("the destination would not create it: {refusal}");
                    findings.push(Finding::impossible(text));
                }
                _ => {}
            }
            break;
        }
        Ok(findings)
    }

    /// Readers that do not take fillers as others do (broker facts H10, H11).
    fn readers(&self, report: &mut Report) {
        if report.topics.iter().any(|topic| topic.fillers.count > 0) {
            report.findings.push(Finding::note(
                "fillers: kafka-python readers see them; Sarama, kafkajs and rskafka readers crawl \
                 through runs longer than one of their fetches; all other known readers pass them",
            ));
        }
    }
}

/// What could not be looked at, and why.
fn not_seen(which: &[PartitionId], text: &str) -> String {
    match which {
        [one] => format!("partition {one}: {text}"),
        _ => format!("{} partitions: {text}", which.len()),
    }
}

/// The range that one partition is looked at in.
pub(super) fn left(place: &Place) -> (Offset, Offset) {
    let copied = place.destination.map_or(Offset::ZERO, |log| log.1);
    (copied.max(place.source.0).min(place.source.1), place.source.1)
}
