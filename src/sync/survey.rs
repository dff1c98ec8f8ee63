//! The first half of a pass over the topics: what both clusters have of what is to be mirrored.
//!
//! It never changes a cluster: what is to be made goes into the second half.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cluster::Cluster;
use crate::cluster::ConfigEntries;
use crate::cluster::EndKind;
use crate::cluster::Wanted;
use crate::cluster::error::ClusterError;
use crate::cluster::metadata::Topic;
use crate::control::filter::Pattern;
use crate::control::filter::is_met;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::Side;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::sync::configs;
use crate::sync::stage;
use crate::sync::stage::Changes;
use crate::sync::topics::Topics;
use crate::sync::topics::parted;
use crate::sync::trim;
use crate::sync::trouble;
use crate::sync::trouble::Kind;
use crate::sync::trouble::Trouble;

/// Nothing may be known of a topic, not even whether there is one.
pub(super) const TOPIC_AUTHORIZATION_FAILED: i16 = 29;

/// What the first half of a pass found.
pub struct Survey {
    pub(super) matched: Vec<Arc<Topic>>,
    /// Those to be made, and what the source has for configs.
    pub(super) new: Vec<Arc<Topic>>,
    pub(super) found: BTreeMap<TopicName, ConfigEntries>,
    pub(super) troubles: Vec<Trouble>,
    /// Topics that are no longer listed because we may not see them.
    pub(super) hidden: BTreeSet<TopicName>,
    /// Topics to be made with other configs than they will get, with the source's id and the
    /// configs that they are to get later: to be written down before the second half.
    pub staged: BTreeMap<TopicName, (TopicId, Changes)>,
}

impl Survey {
    /// Nothing is made: it could not be written down.
    pub fn hold(&mut self) {
        self.new.clear();
        self.staged.clear();
    }
}

impl Topics {
    /// Topics that the destination has, with records, and of which it is not known that they are
    /// copies: they will be taken for copies where their last batches are the source's.
    pub async fn strangers(&self, survey: &Survey, destination: &Cluster) -> Vec<TopicName> {
        let is_new = |topic: &&Arc<Topic>| !self.known.contains_key(&topic.name);
        let there = survey.matched.iter().filter(is_new);
        let there = there.filter_map(|topic| destination.topic(&topic.name));
        let tps = there.flat_map(|topic| {
            let of = |partition: &PartitionId| TopicPartition {
                topic: topic.name.clone(),
                partition: *partition,
            };
            topic.partitions.keys().map(of).collect::<Vec<_>>()
        });
        let tps: Vec<TopicPartition> = tps.collect();
        let asked: Vec<&TopicPartition> = tps.iter().collect();
        let ends = trim::list(destination, &asked, EndKind::LogEnd).await;
        let full = ends.into_iter().filter(|(_, end)| *end > Offset::ZERO);
        let names: BTreeSet<TopicName> = full.map(|(tp, _)| tp.topic).collect();
        names.into_iter().collect()
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
        let idle = self.find_idle(&matched, source);
        let mut survey = self.news(matched, source, destination).await?;
        survey.troubles.extend(idle);
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
        let there: BTreeSet<&TopicName> = survey.matched.iter().map(|topic| &topic.name).collect();
        let wanted = self.wanted(&survey.matched);
        let (here, gone): (Vec<TopicName>, Vec<TopicName>) =
            wanted.into_iter().partition(|name| there.contains(name));
        let is_unseen =
            |name: &TopicName| destination.topic(name).is_none() && self.known.contains_key(name);
        let unseen: Vec<TopicName> = here.into_iter().filter(is_unseen).collect();
        let missing: Vec<&TopicName> =
            gone.iter().filter(|name| !self.known.contains_key(name)).collect();
        for (cluster, side, names) in
            [(source, Side::Source, &gone), (destination, Side::Destination, &unseen)]
        {
            for topic in refused(cluster, names).await? {
                let text = format!(
                    "the {side} does not show it to us: TOPIC_AUTHORIZATION_FAILED (29): grant \
                     what `isolog check` prints"
                );
                survey.troubles.push(Trouble::new(&topic, Kind::Hidden, text));
                survey.hidden.insert(topic);
            }
        }
        let absent = missing.into_iter().filter(|name| !survey.hidden.contains(name));
        survey.troubles.extend(absent.map(|name| trouble::not_found(name, error_of(source, name))));
        Ok(())
    }

    /// Prefixes that match nothing at the source, and nothing that was mirrored before.
    fn find_idle(&self, matched: &[Arc<Topic>], source: &Cluster) -> Vec<Trouble> {
        let known = self.known.keys().filter(|name| self.filter.matches(name)).cloned();
        let names: BTreeSet<TopicName> =
            matched.iter().map(|topic| topic.name.clone()).chain(known).collect();
        let all: BTreeSet<TopicName> =
            source.topics().into_iter().map(|topic| topic.name.clone()).collect();
        let is_named = |pattern: &Pattern| matches!(pattern, Pattern::Literal(_));
        let idle = self.filter.includes();
        let idle = idle.filter(|pattern| !is_named(pattern) && !is_met(pattern, &names));
        idle.map(|pattern| trouble::matches_nothing(pattern, &all)).collect()
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
        let told = |(topic, text): (TopicName, String)| {
            let text = format!("the source does not tell its configs: {text}");
            Trouble::new(&topic, Kind::Refused, text)
        };
        let troubles = refused.into_iter().map(told).collect();
        let new = new.into_iter().filter(|one| found.contains_key(&one.name)).collect();
        let (hidden, staged) = (BTreeSet::new(), BTreeMap::new());
        Ok(Survey { matched, new, found, troubles, hidden, staged })
    }
}

/// What the metadata say is wrong with a topic, if they say anything.
fn error_of(cluster: &Cluster, name: &TopicName) -> Option<String> {
    cluster.topic(name).filter(|topic| !topic.error.is_none()).map(|topic| topic.error.to_string())
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
pub(super) async fn starts_at_zero(source: &Cluster, topic: &Topic) -> bool {
    let tps = topic
        .partitions
        .keys()
        .map(|partition| TopicPartition { topic: topic.name.clone(), partition: *partition });
    let tps: Vec<TopicPartition> = tps.collect();
    let starts = trim::list(source, &tps.iter().collect::<Vec<_>>(), EndKind::Start).await;
    tps.iter().all(|tp| starts.get(tp) == Some(&Offset::ZERO))
}
