//! Where a link begins to mirror a partition: `mirror.start.offset.spec` of Cluster Linking.
//!
//! It never chooses twice: what was chosen is written down (`control::row`) before anything is
//! appended, so that a restart at any instruction goes on with the same start.

use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::cluster::error::ClusterError;
use crate::control::start::StartSpec;
use crate::ids::BrokerId;
use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::Side;
use crate::ids::TimestampMs;
use crate::ids::TopicPartition;

/// Chosen starts by partition.
pub type Starts = BTreeMap<PartitionId, Offset>;

/// Why a start could not be chosen; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum NotChosen {
    /// A cluster does not answer.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// One partition does not.
    #[error("the start of {tp} cannot be chosen: the {side} says {code}")]
    Code {
        /// Which.
        tp: TopicPartition,
        /// Who.
        side: Side,
        /// What.
        code: String,
    },
}

/// Chooses where the mirrors begin of partitions that are empty at the destination, or not made.
pub async fn choose_empty(
    spec: StartSpec,
    source: &Cluster,
    empty: Vec<TopicPartition>,
) -> Result<Starts, NotChosen> {
    if spec == StartSpec::Earliest {
        return Ok(empty.iter().map(|tp| (tp.partition, Offset::ZERO)).collect());
    }
    let last = ask(source, &empty, Question::End(EndKind::HighWatermark)).await?;
    let timed = match spec {
        StartSpec::Time(time) => ask(source, &empty, Question::Time(time)).await?,
        StartSpec::Earliest | StartSpec::Latest => BTreeMap::new(),
    };
    let chosen = empty.into_iter().map(|tp| {
        let at_time = timed.get(&tp).copied().flatten();
        let chosen = at_time.or(last.get(&tp).copied().flatten());
        (tp.partition, chosen.unwrap_or(Offset::ZERO))
    });
    Ok(chosen.collect())
}

#[derive(Copy, Clone)]
enum Question {
    End(EndKind),
    Time(TimestampMs),
}

/// The answer for every partition of `tps`, or none for any: a start that is not known now must
/// not become 0.
async fn ask(
    cluster: &Cluster,
    tps: &[TopicPartition],
    question: Question,
) -> Result<BTreeMap<TopicPartition, Option<Offset>>, NotChosen> {
    let side = cluster.side();
    let failed = |tp: &TopicPartition, code: String| NotChosen::Code { tp: tp.clone(), side, code };
    let mut by_leader: BTreeMap<BrokerId, Vec<(TopicPartition, LeaderEpoch)>> = BTreeMap::new();
    for tp in tps {
        let partition = cluster.partition(tp);
        let led = partition.and_then(|partition| Some((partition.leader?, partition.epoch)));
        let (leader, epoch) = led.ok_or_else(|| failed(tp, "that it has no leader".to_owned()))?;
        by_leader.entry(leader).or_default().push((tp.clone(), epoch));
    }
    let mut found = BTreeMap::new();
    for (leader, asked) in by_leader {
        let mut each = match question {
            Question::End(kind) => {
                let each = cluster.list_offsets(leader, &asked, kind).await?;
                each.into_iter().map(|(tp, one)| (tp, one.map(|one| Some(one.offset)))).collect()
            }
            Question::Time(time) => cluster.list_times(leader, &asked, time).await?,
        };
        for (tp, _) in asked {
            let one = each.remove(&tp).ok_or_else(|| failed(&tp, "nothing".to_owned()))?;
            found.insert(tp.clone(), one.map_err(|code| failed(&tp, code.to_string()))?);
        }
    }
    Ok(found)
}
