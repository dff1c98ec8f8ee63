//! Where the partitions of a link begin and end on both sides, right now.
//!
//! It never asks a partition's follower, and never guesses an end that nobody told.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::cluster::Wanted;
use crate::cluster::error::ClusterError;
use crate::cluster::metadata::Partition;
use crate::cluster::metadata::Topic;
use crate::ids::BrokerId;
use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::wire::error::KafkaCode;
use crate::wire::error::Remedy;

/// So many partitions are asked for in one question.
const ASKED_MAX: usize = 2_000;

/// How often moving leaders are asked.
const TRIES_MAX: u32 = 8;
/// The pause between two such questions.
const TRY_PAUSE: Duration = Duration::from_millis(500);

/// One end of each partition that was asked for, or why it is not known.
pub type Ends = BTreeMap<TopicPartition, Result<Offset, KafkaCode>>;

/// One end of each of these partitions, from their leaders; moving leaders are waited for.
pub async fn ends(
    cluster: &Cluster,
    partitions: &[TopicPartition],
    kind: EndKind,
) -> Result<Ends, ClusterError> {
    let mut ends = ends_now(cluster, partitions, kind).await?;
    for _ in 1..TRIES_MAX {
        let moving = |(tp, end): (&TopicPartition, &Result<Offset, KafkaCode>)| {
            let may_pass =
                |code: KafkaCode| matches!(code.remedy(), Remedy::Refresh | Remedy::Retry);
            end.is_err_and(may_pass).then(|| tp.clone())
        };
        let again: Vec<TopicPartition> = ends.iter().filter_map(moving).collect();
        if again.is_empty() {
            break;
        }
        sleep(TRY_PAUSE).await;
        let names: BTreeSet<TopicName> = again.iter().map(|tp| tp.topic.clone()).collect();
        let names: Vec<TopicName> = names.into_iter().collect();
        cluster.refresh(Wanted::Topics(&names)).await?;
        ends.extend(ends_now(cluster, &again, kind).await?);
    }
    Ok(ends)
}

async fn ends_now(
    cluster: &Cluster,
    partitions: &[TopicPartition],
    kind: EndKind,
) -> Result<Ends, ClusterError> {
    let mut by_leader: BTreeMap<BrokerId, Vec<(TopicPartition, LeaderEpoch)>> = BTreeMap::new();
    let mut ends = Ends::new();
    for tp in partitions {
        let known = cluster.partition(tp);
        match known.as_ref().and_then(leader) {
            Some((leader, epoch)) => {
                by_leader.entry(leader).or_default().push((tp.clone(), epoch));
            }
            None => {
                let code = known.map(|one| one.error).filter(|code| !code.is_none());
                ends.insert(tp.clone(), Err(code.unwrap_or(KafkaCode(5))));
            }
        }
    }
    for (leader, asked) in by_leader {
        for some in asked.chunks(ASKED_MAX) {
            let told = cluster.list_offsets(leader, some, kind).await?;
            for (tp, _) in some {
                let one = told.get(tp).copied().unwrap_or(Err(KafkaCode::UNKNOWN));
                ends.insert(tp.clone(), one.map(|listed| listed.offset));
            }
        }
    }
    Ok(ends)
}

fn leader(partition: &Partition) -> Option<(BrokerId, LeaderEpoch)> {
    Some((partition.leader?, partition.epoch))
}

/// The topics of a cluster that `wanted` picks, by name, as far as the metadata shows them.
pub async fn topics(
    cluster: &Cluster,
    wanted: impl Fn(&TopicName) -> bool,
) -> Result<Vec<Arc<Topic>>, ClusterError> {
    cluster.refresh(Wanted::All).await?;
    let topics = cluster.topics().into_iter();
    Ok(topics.filter(|topic| topic.error.is_none() && wanted(&topic.name)).collect())
}
