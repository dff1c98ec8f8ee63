//! The topic that a tail goes into: made, or found fit to keep records as they are.
//!
//! It never changes a topic that is there.

use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::cluster::NewTopic;
use crate::cluster::Wanted;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::tail::append::AppendError;
use crate::tail::append::said;
use crate::wire::error::KafkaCode;

/// TOPIC_ALREADY_EXISTS: somebody else was faster.
const EXISTS: KafkaCode = KafkaCode(36);
/// What a topic for a tail is made with: nothing of it is to be deleted or stamped by a broker, and
/// it takes what a source took in times of larger batches.
const CONFIGS: [(&str, &str); 4] = [
    ("cleanup.policy", "delete"),
    ("retention.ms", "-1"),
    ("message.timestamp.type", "CreateTime"),
    ("max.message.bytes", "52428800"),
];

/// What a topic that is there must have: else it would not hold the tail as it is.
const KEPT: [(&str, &str); 2] =
    [("cleanup.policy", "delete"), ("message.timestamp.type", "CreateTime")];

/// Makes the topic for a tail, unless it is there and wide enough.
pub async fn make(
    destination: &Cluster,
    topic: &TopicName,
    (partitions, replicas): (i32, Option<i16>),
) -> Result<(), AppendError> {
    let names = std::slice::from_ref(topic);
    destination.refresh(Wanted::Topics(names)).await?;
    let found = destination.topic(topic).filter(|found| found.error.is_none());
    if let Some(found) = found.filter(|found| !found.partitions.is_empty()) {
        let has = found.partitions.len();
        return match has < usize::try_from(partitions).unwrap_or(0) {
            true => Err(AppendError::Narrow { topic: topic.clone(), has, needs: partitions }),
            false => keeps(destination, topic).await,
        };
    }
    let configs = CONFIGS.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let configs = BTreeMap::from(configs);
    let new = NewTopic { name: topic.clone(), partitions, replicas, configs };
    let told = destination.create_topics(&[new], false).await?;
    match told.into_values().next() {
        Some(Err(refusal)) if refusal.code != EXISTS => Err(AppendError::Refused {
            tp: TopicPartition { topic: topic.clone(), partition: PartitionId(0) },
            at: Offset::ZERO,
            code: refusal.code,
            message: said(refusal.message.as_deref()),
        }),
        _ => Ok(()),
    }
}

/// Whether a topic that is there keeps records as they are: no broker stamps them or cleans among
/// them.
async fn keeps(destination: &Cluster, topic: &TopicName) -> Result<(), AppendError> {
    let names = std::slice::from_ref(topic);
    let asked = KEPT.map(|(key, _)| key);
    let told = destination.describe_topic_configs(names, Some(&asked)).await?;
    let Some(Ok(told)) = told.into_values().next() else { return Ok(()) };
    for (key, right) in KEPT {
        let value = told.get(key).and_then(|entry| entry.value.as_deref()).unwrap_or(right);
        if value != right {
            let (topic, value) = (topic.clone(), value.to_owned());
            return Err(AppendError::Unfit { topic, key, value, right });
        }
    }
    Ok(())
}
