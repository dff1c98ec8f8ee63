//! Whether a writer is dead behind a seal, as the leaders of a topic remember it.
//!
//! It never reads a log: what a log still holds is seen by who compares it.

use std::collections::BTreeMap;

use crate::audit::log::reader::ReadError;
use crate::cluster::Cluster;
use crate::cluster::ProducerState;
use crate::ids::BrokerId;
use crate::ids::ProducerId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::wire::rewrite::SEAL_EPOCH;

/// Whether a leader of the topic refuses what that writer appends, since it was fenced by a seal.
pub async fn is_fenced(
    cluster: &Cluster,
    name: &TopicName,
    writer: ProducerId,
) -> Result<bool, ReadError> {
    let side = cluster.side();
    let mut led: BTreeMap<BrokerId, Vec<TopicPartition>> = BTreeMap::new();
    let topic = cluster.topic(name);
    for (partition, seen) in topic.iter().flat_map(|topic| &topic.partitions) {
        let leader = seen.leader.ok_or(ReadError::NoLeader { side })?;
        let tp = TopicPartition { topic: name.clone(), partition: *partition };
        led.entry(leader).or_default().push(tp);
    }
    let is_seal =
        |state: &ProducerState| state.id == writer && state.epoch >= i32::from(SEAL_EPOCH);
    for (leader, asked) in led {
        for states in cluster.describe_producers(leader, &asked).await?.into_values() {
            let states = states.map_err(|code| ReadError::Refused { side, code })?;
            if states.iter().any(is_seal) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
