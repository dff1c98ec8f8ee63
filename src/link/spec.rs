//! What the partition manager is told to mirror, and what it is told to stop at.
//!
//! It never asks a cluster.

use crate::cluster::error::ClusterError;
use crate::cluster::error::Kind;
use crate::flow::entry::PartitionSpec;
use crate::ids::Offset;
use crate::ids::TopicPartition;
use crate::mirror::halt::Halt;
use crate::sync::topics::MirrorTopic;

/// The halt that another cluster behind the same address asks for.
pub(super) fn cluster_changed(error: &ClusterError) -> Option<Halt> {
    match &error.kind {
        Kind::ClusterIdChanged { expected, got } => {
            let (was, is) = (expected.clone(), got.clone());
            Some(Halt::ClusterIdChanged { side: error.peer.side, was, is })
        }
        _ => None,
    }
}

/// One for each partition of a topic.
pub(super) fn specs(topic: &MirrorTopic) -> impl Iterator<Item = PartitionSpec> {
    topic.partitions.iter().map(|partition| PartitionSpec {
        start: topic.starts.get(partition).copied().unwrap_or(Offset::ZERO),
        tp: TopicPartition { topic: topic.name.clone(), partition: *partition },
        source_id: topic.source_id,
        destination_id: topic.destination_id,
        takes: topic.takes.clone(),
        halt: topic.halt.clone(),
    })
}
