//! What two clusters have of topics that are, or may become, mirrors, in the words of `control`.
//!
//! It never changes a cluster, never remembers, and never says of a topic that it is not there
//! when it may only not be seen.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::cluster::Cluster;
use crate::cluster::ConfigEntries;
use crate::cluster::EndKind;
use crate::cluster::Wanted as Read;
use crate::cluster::error::ClusterError;
use crate::cluster::metadata::Topic;
use crate::control::facts::Metadata;
use crate::control::facts::Seen;
use crate::control::facts::TopicFacts;
use crate::control::facts::Topics;
use crate::control::facts::Wanted;
use crate::control::row::Changes;
use crate::control::start::StartSpec;
use crate::control::task::configs::ConfigSync;
use crate::control::topic::Fault;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::Side;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::sync::configs;
use crate::sync::make::parted;
use crate::sync::stage;
use crate::sync::start::NotChosen;
use crate::sync::start::choose_empty;
use crate::sync::trim;

/// Nothing may be known of a topic, not even whether there is one.
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
/// The cluster knows no such topic.
const UNKNOWN_TOPIC: i16 = 3;
/// So many topics are asked for by name in one question.
const ASKED_MAX: usize = 500;

/// Topics that a list of all must not leave out: one that may not be described is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// At the source.
    pub sources: BTreeSet<TopicName>,
    /// At the destination.
    pub mirrors: BTreeSet<TopicName>,
}

/// All topics of both sides.
pub async fn all(
    source: &Cluster,
    destination: &Cluster,
    known: &Known,
) -> Result<Topics, ClusterError> {
    Ok(Topics {
        source: side(source, &known.sources).await?,
        mirror: side(destination, &known.mirrors).await?,
        ..Topics::default()
    })
}

async fn side(
    cluster: &Cluster,
    known: &BTreeSet<TopicName>,
) -> Result<BTreeMap<TopicName, Metadata>, ClusterError> {
    cluster.refresh(Read::All).await?;
    let listed = cluster.topics();
    let mut found: BTreeMap<TopicName, Metadata> =
        listed.iter().map(|topic| (topic.name.clone(), metadata(cluster.side(), topic))).collect();
    let left_out = known.iter().filter(|name| !found.contains_key(name));
    let left_out: Vec<TopicName> = left_out.cloned().collect();
    for some in left_out.chunks(ASKED_MAX) {
        cluster.refresh(Read::Topics(some)).await?;
        found.extend(some.iter().map(|name| (name.clone(), seen(cluster, name))));
    }
    Ok(found)
}

/// What the last reading of the metadata says of a topic.
pub(super) fn seen(cluster: &Cluster, name: &TopicName) -> Metadata {
    match cluster.topic(name) {
        Some(topic) => metadata(cluster.side(), &topic),
        None => Metadata::Absent,
    }
}

fn metadata(side: Side, topic: &Topic) -> Metadata {
    let hidden = |code: &str, text: String| {
        Metadata::Hidden(Fault { code: code.to_owned(), text: format!("{}: {text}", topic.name) })
    };
    match topic.error.0 {
        0 if topic.partitions.is_empty() => {
            hidden("UNKNOWN", format!("the {side} does not tell its partitions yet"))
        }
        0 => Metadata::There(Seen {
            id: topic.id,
            partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
        }),
        UNKNOWN_TOPIC => Metadata::Absent,
        TOPIC_AUTHORIZATION_FAILED => hidden(
            "AUTHORIZATION_ERROR",
            format!(
                "the {side} does not show it to us, TOPIC_AUTHORIZATION_FAILED (29): grant what \
                 `isolog check` prints"
            ),
        ),
        _ => hidden("UNKNOWN", format!("the {side} says {}", topic.error)),
    }
}

/// All that must be known to set topics up, by the mirrors' names; `sync` where their configs are
/// to follow. One of which something was not told is left out.
pub async fn facts(
    source: &Cluster,
    destination: &Cluster,
    (wanted, sync): (&[Wanted], Option<&ConfigSync>),
) -> Result<BTreeMap<TopicName, TopicFacts>, ClusterError> {
    let sources: Vec<TopicName> = wanted.iter().map(|one| one.source.clone()).collect();
    let mirrors: Vec<TopicName> = wanted.iter().map(|one| one.mirror.clone()).collect();
    source.refresh(Read::Topics(&sources)).await?;
    destination.refresh(Read::Topics(&mirrors)).await?;
    let is_there = |name: &&TopicName| seen(source, name).seen().is_some();
    let there: Vec<TopicName> = sources.iter().filter(is_there).cloned().collect();
    let mut keys: Vec<&str> = configs::keys_at_source().to_vec();
    keys.extend(sync.iter().flat_map(|sync| sync.keys()));
    keys.sort_unstable();
    keys.dedup();
    let (told, untold) = match there.is_empty() {
        true => (BTreeMap::new(), Vec::new()),
        false => parted(source.describe_topic_configs(&there, Some(&keys)).await?),
    };
    let untold: BTreeMap<TopicName, String> = untold.into_iter().collect();
    let standing = Standing::read(destination, &mirrors).await?;
    let mut all = BTreeMap::new();
    for one in wanted {
        let Some(mirror) = standing.of(destination, &one.mirror) else { continue };
        let mut at_source = seen(source, &one.source);
        if let Some(why) = untold.get(&one.source) {
            at_source = hidden(&one.source, format!("the source does not tell its configs: {why}"));
        }
        let found = told.get(&one.source);
        if at_source.seen().is_some() && found.is_none() {
            continue;
        }
        let mut facts = of_one(source, one, (at_source, mirror), found).await?;
        if let (Some(sync), Some(found)) = (sync, found) {
            facts.at_stop = configs::at_first_stop(sync, found);
        }
        all.insert(one.mirror.clone(), facts);
    }
    Ok(all)
}

fn hidden(name: &TopicName, why: String) -> Metadata {
    let text = format!("topic {name}: {why}");
    Metadata::Hidden(Fault { code: "UNKNOWN".to_owned(), text })
}

async fn of_one(
    source: &Cluster,
    wanted: &Wanted,
    (at_source, (mirror, is_empty)): (Metadata, (Metadata, bool)),
    found: Option<&ConfigEntries>,
) -> Result<TopicFacts, ClusterError> {
    let mut facts = TopicFacts {
        source: at_source,
        ancestors: Vec::new(),
        is_empty,
        starts: BTreeMap::new(),
        configs: found.map(|found| configs::for_new(found, false)).unwrap_or_default(),
        owed: Changes::new(),
        at_stop: Changes::new(),
        mirror,
    };
    let (Some(_), Some(found)) = (facts.source.seen(), found) else { return Ok(facts) };
    let is_new = wanted.is_anew || facts.mirror == Metadata::Absent;
    if is_new || is_empty {
        match choose_empty(wanted.start, source, partitions(source, &wanted.source)).await {
            Ok(starts) => {
                facts.starts = starts;
                facts.starts.retain(|_, start| *start > Offset::ZERO);
            }
            Err(NotChosen::Cluster(error)) => return Err(error),
            Err(error) => {
                facts.source = hidden(&wanted.source, error.to_string());
                return Ok(facts);
            }
        }
    }
    if is_new && stage::is_compacted(found) && may_start_above_zero(source, wanted).await {
        facts.configs = stage::for_new(facts.configs);
        facts.owed = stage::real_of_source(found);
    }
    Ok(facts)
}

/// Whether something may have to be filled below where the mirror begins.
async fn may_start_above_zero(source: &Cluster, wanted: &Wanted) -> bool {
    let all = partitions(source, &wanted.source);
    wanted.start != StartSpec::Earliest || all.is_empty() || !start_at_zero(source, &all).await
}

/// Whether every one of them is known to start at 0.
async fn start_at_zero(source: &Cluster, all: &[TopicPartition]) -> bool {
    let starts = trim::list(source, &all.iter().collect::<Vec<_>>(), EndKind::Start).await;
    all.iter().all(|tp| starts.get(tp) == Some(&Offset::ZERO))
}

/// The partitions of a topic, as its metadata were read last.
pub(super) fn partitions(cluster: &Cluster, name: &TopicName) -> Vec<TopicPartition> {
    let of =
        |partition: &PartitionId| TopicPartition { topic: name.clone(), partition: *partition };
    let topic = cluster.topic(name);
    topic.map(|topic| topic.partitions.keys().map(of).collect()).unwrap_or_default()
}

/// What stands at the mirrors' names.
struct Standing {
    ends: BTreeMap<TopicPartition, Offset>,
    configs: BTreeMap<TopicName, ConfigEntries>,
}

impl Standing {
    async fn read(destination: &Cluster, mirrors: &[TopicName]) -> Result<Standing, ClusterError> {
        let is_there = |name: &&TopicName| seen(destination, name).seen().is_some();
        let there: Vec<TopicName> = mirrors.iter().filter(is_there).cloned().collect();
        if there.is_empty() {
            return Ok(Standing { ends: BTreeMap::new(), configs: BTreeMap::new() });
        }
        let tps: Vec<TopicPartition> =
            there.iter().flat_map(|name| partitions(destination, name)).collect();
        let asked: Vec<&TopicPartition> = tps.iter().collect();
        let ends = trim::list(destination, &asked, EndKind::LogEnd).await;
        let keys = configs::keys_at_destination();
        let (configs, _) = parted(destination.describe_topic_configs(&there, Some(&keys)).await?);
        Ok(Standing { ends, configs })
    }

    /// What is there, and whether nothing was ever written into it; `None` where that is not known.
    fn of(&self, destination: &Cluster, name: &TopicName) -> Option<(Metadata, bool)> {
        let there = seen(destination, name);
        if there.seen().is_none() {
            return Some((there, false));
        }
        if let Some(halt) = self.configs.get(name).and_then(configs::broken) {
            let fault = Fault { code: halt.label().to_owned(), text: halt.to_string() };
            return Some((Metadata::Hidden(fault), false));
        }
        let tps = partitions(destination, name);
        let ends: Option<Vec<Offset>> = tps.iter().map(|tp| self.ends.get(tp).copied()).collect();
        Some((there, ends?.iter().all(|end| *end == Offset::ZERO)))
    }
}
