//! The journal's topic: found or made, and whether it is what it must be.
//!
//! It never changes anything of it but `min.compaction.lag.ms`, and that upwards only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::cluster::error::ClusterError;
use crate::cluster::error::KafkaCode;
use crate::cluster::keyed::only::OnlyPartition;
use crate::cluster::keyed::only::Shown;
use crate::control::journal::TOPIC;
use crate::control::topic::Fault;
use crate::ids::Offset;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::link::log::OpenError;
use crate::link::log::fault;

/// What a row is safe for from the cleaner, at least: all instances must have read it by then.
pub(super) const LAG_MS_MIN: i64 = 86_400_000;
/// The same as a topic is made with.
const LAG_MS: &str = "86400000";
const LAG: &str = "min.compaction.lag.ms";
const POLICY: &str = "cleanup.policy";
const COMPACT: &str = "compact";
const MIN_IN_SYNC: &str = "min.insync.replicas";
/// What the topic is made with.
const CONFIGS: [(&str, &str); 3] =
    [(POLICY, COMPACT), ("compression.type", "producer"), (LAG, LAG_MS)];
/// How often a topic that was just made is looked at before it counts as not made.
const MADE_LOOKS_MAX: u32 = 20;
/// The pause between two such looks.
const MADE_PAUSE: Duration = Duration::from_millis(250);
/// TOPIC_AUTHORIZATION_FAILED.
const DENIED: KafkaCode = KafkaCode(29);

/// A journal that can be read.
pub(super) struct Opened {
    pub only: OnlyPartition,
    pub topic: TopicId,
    /// Where its log begins.
    pub start: Offset,
    /// Where it ended when it was opened.
    pub end: Offset,
    /// What keeps its rows.
    pub health: Health,
    /// What should be mended.
    pub trouble: Option<Fault>,
    /// Nothing of it may be changed.
    pub is_look: bool,
}

/// What keeps the journal's rows, as the destination tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// How many replicas its partition should have.
    pub replicas: usize,
    /// How many of them are in sync.
    pub in_sync: usize,
    /// `min.insync.replicas`; `None` where we may not read it.
    pub min_in_sync: Option<usize>,
}

/// What the destination says of the topic now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is what it must be, but perhaps for something that should be mended.
    There(TopicId, Health, Option<Fault>),
    /// It is not what it must be.
    Wrong(Fault),
    /// There is none.
    Nothing,
    /// It is not shown, or not said.
    Hidden(Fault),
}

/// Finds the topic, or makes it.
pub(super) async fn open(
    destination: Arc<Cluster>,
    replicas: Option<i16>,
) -> Result<Opened, OpenError> {
    let only = only(destination);
    let mut standing = standing(&only, false).await?;
    if standing == Standing::Nothing {
        let created = only.create(replicas, &CONFIGS).await;
        created.map_err(|error| match error.code() {
            Some(_) => OpenError::Refused(fault::not_made(&error)),
            None => OpenError::Cluster(error),
        })?;
        tracing::info!(topic = TOPIC, "the journal is made at the destination");
        standing = made(&only).await?;
    }
    match standing {
        Standing::There(topic, health, trouble) => {
            tell_replicas(&only, replicas);
            let opened = read_from(only, topic, (health, trouble), false).await?;
            if opened.end == Offset::ZERO {
                tracing::info!(
                    topic = TOPIC,
                    "the journal is empty: what was created by order before, if anything was, is \
                     not known: create it again, or put it back with `isolog journal import`"
                );
            }
            Ok(opened)
        }
        Standing::Wrong(fault) | Standing::Hidden(fault) => Err(OpenError::Refused(fault)),
        Standing::Nothing => Err(OpenError::Refused(fault::not_shown("it was just made"))),
    }
}

/// Looks at the topic that was just made until the broker that is asked knows of it.
async fn made(only: &OnlyPartition) -> Result<Standing, ClusterError> {
    for _ in 1..MADE_LOOKS_MAX {
        match standing(only, false).await? {
            Standing::Nothing | Standing::Hidden(_) => sleep(MADE_PAUSE).await,
            there => return Ok(there),
        }
    }
    standing(only, false).await
}

/// How many replicas a journal has is the operator's: it is said, not changed.
fn tell_replicas(only: &OnlyPartition, wanted: Option<i16>) {
    let has = only.led().map_or(usize::MAX, |(_, partition)| partition.replicas);
    let wanted = wanted.and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
    if has < wanted {
        tracing::warn!(
            topic = TOPIC,
            replicas = has,
            "replication.factor" = wanted,
            "the journal has fewer replicas than the topics of its links: with their brokers it is \
             gone; give it more with kafka-reassign-partitions.sh"
        );
    }
}

/// Finds the topic, changes nothing.
pub(super) async fn find(destination: Arc<Cluster>) -> Result<Option<Opened>, OpenError> {
    let only = only(destination);
    match standing(&only, true).await? {
        Standing::There(topic, health, trouble) => {
            Ok(Some(read_from(only, topic, (health, trouble), true).await?))
        }
        Standing::Wrong(fault) | Standing::Hidden(fault) => Err(OpenError::Refused(fault)),
        Standing::Nothing => Ok(None),
    }
}

fn only(destination: Arc<Cluster>) -> OnlyPartition {
    OnlyPartition::new(destination, TopicName::new(TOPIC).expect("a legal name"))
}

async fn read_from(
    only: OnlyPartition,
    topic: TopicId,
    (health, trouble): (Health, Option<Fault>),
    is_look: bool,
) -> Result<Opened, ClusterError> {
    let (leader, partition) = only.leader().await?;
    let start = only.end(leader, partition.epoch, EndKind::Start).await?;
    let end = only.end(leader, partition.epoch, EndKind::HighWatermark).await?;
    Ok(Opened { only, topic, start, end, health, trouble, is_look })
}

/// Looks at the topic; a lag that is too short is raised, unless nothing may be changed.
pub(super) async fn standing(
    only: &OnlyPartition,
    is_look: bool,
) -> Result<Standing, ClusterError> {
    only.look().await?;
    let topic = match only.shown() {
        Shown::There(topic) => topic,
        Shown::Nothing => return Ok(Standing::Nothing),
        Shown::Hidden => {
            let hidden = fault::right("Describe", "Read implies it");
            return Ok(Standing::Hidden(hidden));
        }
        Shown::Trouble(why) => return Ok(Standing::Hidden(fault::not_shown(&why))),
    };
    let known = only.cluster().topic(&only.tp().topic);
    let count = known.map_or(1, |topic| topic.partitions.len());
    if count != 1 {
        return Ok(Standing::Wrong(fault::partitions(count)));
    }
    configs(only, topic, is_look).await
}

async fn configs(
    only: &OnlyPartition,
    topic: TopicId,
    is_look: bool,
) -> Result<Standing, ClusterError> {
    let name = std::slice::from_ref(&only.tp().topic);
    let mut each =
        only.cluster().describe_topic_configs(name, Some(&[POLICY, LAG, MIN_IN_SYNC])).await?;
    let told = match each.remove(&only.tp().topic) {
        Some(Ok(told)) => told,
        Some(Err(refusal)) if refusal.code == DENIED => {
            let why = "whether its rows are safe from deletion is not known";
            let trouble = Some(fault::right("DescribeConfigs", why));
            return Ok(Standing::There(topic, health(only, None), trouble));
        }
        Some(Err(refusal)) => return Ok(Standing::Hidden(fault::not_shown(&refusal.to_string()))),
        None => return Ok(Standing::Hidden(fault::not_shown("no configs are told"))),
    };
    let value = |key: &str| told.get(key).and_then(|entry| entry.value.as_deref());
    let policy = value(POLICY).unwrap_or("not told");
    if policy != COMPACT {
        return Ok(Standing::Wrong(fault::policy(policy)));
    }
    let lag = value(LAG).unwrap_or("not told");
    let is_short = lag.parse::<i64>().is_ok_and(|lag_ms| lag_ms < LAG_MS_MIN);
    let trouble = if is_short && !is_look { raise_lag(only, lag).await? } else { None };
    let min_in_sync = value(MIN_IN_SYNC).and_then(|count| count.parse().ok());
    Ok(Standing::There(topic, health(only, min_in_sync), trouble))
}

fn health(only: &OnlyPartition, min_in_sync: Option<usize>) -> Health {
    let known = only.cluster().partition(only.tp());
    let (replicas, in_sync) = known.map_or((0, 0), |one| (one.replicas, one.in_sync));
    Health { replicas, in_sync, min_in_sync }
}

/// What is in the way of it, if anything is.
async fn raise_lag(only: &OnlyPartition, lag: &str) -> Result<Option<Fault>, ClusterError> {
    let change = BTreeMap::from([(LAG.to_owned(), Some(LAG_MS.to_owned()))]);
    let changes = [(only.tp().topic.clone(), change)];
    let mut each = only.cluster().alter_topic_configs(&changes, false).await?;
    match each.remove(&only.tp().topic) {
        Some(Err(refusal)) => Ok(Some(fault::lag(lag, LAG_MS_MIN, &refusal.to_string()))),
        _ => {
            tracing::info!(
                topic = TOPIC,
                from = lag,
                to = LAG_MS,
                "{LAG} of the journal is raised"
            );
            Ok(None)
        }
    }
}
