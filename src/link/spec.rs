//! What the partition manager is told to mirror, and under which numbers; what it is told to stop
//! at.
//!
//! It never asks a cluster.

use std::collections::BTreeMap;

use crate::cluster::error::ClusterError;
use crate::cluster::error::Kind;
use crate::flow::entry::PartitionSpec;
use crate::ids::Incarnation;
use crate::ids::LinkName;
use crate::ids::MirrorPartition;
use crate::ids::Offset;
use crate::ids::TopicId;
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

/// Both ids of a topic.
type Ids = (TopicId, TopicId);

/// Numbers the times that partitions are wanted anew: one that was not wanted the last time, or
/// whose topic is another one by now, gets a number that no other one ever had.
#[derive(Debug)]
pub(super) struct Numbering {
    link: LinkName,
    last: u64,
    wanted: BTreeMap<MirrorPartition, (Ids, Incarnation)>,
}

impl Numbering {
    /// Nothing was wanted yet.
    pub fn new(link: LinkName) -> Numbering {
        Numbering { link, last: 0, wanted: BTreeMap::new() }
    }

    /// One spec for each partition of all topics that are wanted now.
    pub fn specs(&mut self, topics: &[MirrorTopic]) -> Vec<PartitionSpec> {
        let before = std::mem::take(&mut self.wanted);
        let all = topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, *partition)));
        let specs = all.map(|(topic, partition)| {
            // Topics are paired by name: both sides have the same one.
            let name = MirrorPartition {
                link: self.link.clone(),
                source_topic: topic.name.clone(),
                mirror_topic: topic.name.clone(),
                partition,
            };
            let ids = (topic.source_id, topic.destination_id);
            let known = before.get(&name).filter(|(of, _)| *of == ids).map(|(_, number)| *number);
            let incarnation = known.unwrap_or_else(|| {
                self.last += 1;
                Incarnation(self.last)
            });
            self.wanted.insert(name.clone(), (ids, incarnation));
            PartitionSpec {
                start: topic.starts.get(&partition).copied().unwrap_or(Offset::ZERO),
                name,
                incarnation,
                generation: 0,
                source_id: ids.0,
                destination_id: ids.1,
                takes: topic.takes.clone(),
                halt: topic.halt.clone(),
            }
        });
        specs.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PartitionId;
    use crate::ids::TopicName;
    use crate::mirror::facts::Takes;
    use crate::sync::start::Starts;

    fn topic(ids: (u8, u8), partitions: i32) -> MirrorTopic {
        MirrorTopic {
            name: TopicName::new("t").unwrap(),
            source_id: TopicId([ids.0; 16]),
            destination_id: TopicId([ids.1; 16]),
            partitions: (0..partitions).map(PartitionId).collect(),
            takes: Takes::default(),
            starts: Starts::new(),
            halt: None,
            missing: None,
        }
    }

    #[test]
    fn a_partition_keeps_its_number_until_it_is_wanted_anew() {
        let mut numbering = Numbering::new(LinkName("dr".into()));
        let mut check = |topics: &[MirrorTopic], numbers: &[u64]| {
            let specs = numbering.specs(topics);
            let got: Vec<u64> = specs.iter().map(|spec| spec.incarnation.0).collect();
            assert_eq!(got, numbers);
        };
        check(&[topic((1, 2), 1)], &[1]);
        check(&[topic((1, 2), 2)], &[1, 2]);
        let halted = Some(Halt::Panicked);
        check(&[MirrorTopic { halt: halted, ..topic((1, 2), 2) }], &[1, 2]);
        check(&[topic((1, 2), 1)], &[1]);
        check(&[topic((1, 2), 2)], &[1, 3]);
        // both topics are other ones by the old name
        check(&[topic((3, 4), 2)], &[4, 5]);
        check(&[], &[]);
        check(&[topic((3, 4), 1)], &[6]);
    }
}
