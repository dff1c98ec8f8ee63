//! The canary's topics: made at the source, and removed from either side by their ids.
//!
//! It never makes a topic that is there, and never deletes one by its name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::cluster::NewTopic;
use crate::cluster::keyed::only::OnlyPartition;
use crate::cluster::keyed::only::Shown;
use crate::drill::Canary;
use crate::drill::DrillError;
use crate::ids::PartitionId;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::wire::error::KafkaCode;

/// How often it is looked whether a topic that was deleted is gone.
const GONE_TRIES_MAX: u32 = 60;
/// The pause between two such looks.
const GONE_PAUSE: Duration = Duration::from_millis(250);
/// UNKNOWN_TOPIC_ID: it is gone already.
const UNKNOWN_ID: KafkaCode = KafkaCode(100);
/// UNKNOWN_TOPIC_OR_PARTITION: the same of older brokers.
const UNKNOWN_TOPIC: KafkaCode = KafkaCode(3);
/// What a canary is made with: the producer's times are kept, and should it ever be left behind
/// its records go after a day.
const CONFIGS: [(&str, &str); 3] = [
    ("cleanup.policy", "delete"),
    ("message.timestamp.type", "CreateTime"),
    ("retention.ms", "86400000"),
];

/// Makes the canary at the source, where no such topic may be; its id. With `is_dry` the source
/// only says whether it would, and the id is `NIL`.
pub async fn make(
    source: &Arc<Cluster>,
    canary: &Canary,
    replicas: Option<i16>,
    is_dry: bool,
) -> Result<TopicId, DrillError> {
    let configs = CONFIGS.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let new = NewTopic {
        name: canary.source.clone(),
        partitions: canary.partitions.into(),
        replicas,
        configs: BTreeMap::from(configs),
    };
    let told = source.create_topics(&[new], is_dry).await?;
    if let Some(Err(refusal)) = told.into_values().next() {
        return Err(DrillError::Refused {
            side: source.side(),
            what: "to create",
            topic: canary.source.clone(),
            code: refusal.code,
            message: refusal.message.map(|text| format!(": {text}")).unwrap_or_default(),
            cure: "isolog drill --dry-run says which rights it needs",
        });
    }
    if is_dry { Ok(TopicId::NIL) } else { led(source, &canary.source, canary.partitions).await }
}

/// Waits until each partition has a leader; the topic's id.
pub async fn led(
    cluster: &Arc<Cluster>,
    topic: &TopicName,
    partitions: u16,
) -> Result<TopicId, DrillError> {
    for partition in (0..partitions).map(|one| PartitionId(one.into())) {
        let tp = TopicPartition { topic: topic.clone(), partition };
        OnlyPartition::of(cluster.clone(), tp).leader().await?;
    }
    Ok(cluster.topic(topic).map_or(TopicId::NIL, |topic| topic.id))
}

/// Deletes the topic of that name by the id that it has, and waits until it is gone. Nothing is
/// done where there is none.
pub async fn remove(cluster: &Arc<Cluster>, topic: &TopicName) -> Result<(), DrillError> {
    let one = OnlyPartition::new(cluster.clone(), topic.clone());
    one.look().await?;
    match one.shown() {
        Shown::Nothing => return Ok(()),
        Shown::There(id) => delete(cluster, topic, id).await?,
        Shown::Hidden => return Err(hidden(cluster, topic, "it may not be described".to_owned())),
        Shown::Trouble(why) => return Err(hidden(cluster, topic, why)),
    }
    for _ in 0..GONE_TRIES_MAX {
        one.look().await?;
        if one.shown() == Shown::Nothing {
            return Ok(());
        }
        sleep(GONE_PAUSE).await;
    }
    Err(DrillError::Lingers { side: cluster.side(), topic: topic.clone() })
}

fn hidden(cluster: &Cluster, topic: &TopicName, why: String) -> DrillError {
    DrillError::Hidden { side: cluster.side(), topic: topic.clone(), why }
}

async fn delete(cluster: &Cluster, topic: &TopicName, id: TopicId) -> Result<(), DrillError> {
    let told = cluster.delete_topics(&[id]).await?;
    match told.into_values().next() {
        Some(Err(refusal)) if ![UNKNOWN_ID, UNKNOWN_TOPIC].contains(&refusal.code) => {
            Err(DrillError::Refused {
                side: cluster.side(),
                what: "to delete",
                topic: topic.clone(),
                code: refusal.code,
                message: refusal.message.map(|text| format!(": {text}")).unwrap_or_default(),
                cure: "grant Delete on it",
            })
        }
        _ => Ok(()),
    }
}
