//! Where the source ends, asked for wherever no fetch tells it: of partitions that are halted, that
//! rest, or whose fetch goes unanswered.
//!
//! It never tells a machine anything: what it finds is for people.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::cluster::Wanted;
use crate::cluster::error::ClusterError;
use crate::flow::Wall;
use crate::flow::stats::Board;
use crate::flow::stats::Cell;
use crate::ids::BrokerId;
use crate::ids::LeaderEpoch;
use crate::ids::TimestampMs;
use crate::ids::TopicId;
use crate::ids::TopicPartition;
use crate::mirror::lag::SourceEnd;
use crate::wire::error::Remedy;

/// The pause between two rounds, and how long a partition may be silent before it is asked about.
const PAUSE: Duration = Duration::from_secs(5);
/// What one broker may take to answer. With the pause it is less than `SOURCE_AGE_MS_MAX`, so that
/// a source that answers is never shown as unknown.
const ASK_MAX: Duration = Duration::from_secs(5);
/// So many partitions are asked about in one question.
const ASKED_MAX: usize = 1_000;

type Asked = Vec<(TopicPartition, LeaderEpoch, Arc<Cell>)>;

/// Asks round after round, until it is dropped.
pub async fn keep(source: Arc<Cluster>, board: Arc<Board>, wall: Wall, committed_only: bool) {
    loop {
        sleep(PAUSE).await;
        round(&source, &board, wall, committed_only).await;
    }
}

/// Asks about every partition of which nothing was heard for a pause.
async fn round(source: &Arc<Cluster>, board: &Board, wall: Wall, committed_only: bool) {
    let since = TimestampMs(wall.now().0 - PAUSE.as_millis() as i64);
    let mut by_leader: BTreeMap<BrokerId, Asked> = BTreeMap::new();
    for (name, cell) in board.silent(since) {
        let tp = name.source();
        // Asked by name: the ends of another topic of that name say nothing.
        let id = source.topic(&tp.topic).map(|topic| topic.id);
        let is_it = id.is_some_and(|id| id == cell.source_id() || id == TopicId::NIL);
        let partition = source.partition(&tp).filter(|_| is_it);
        if let Some((leader, epoch)) = partition.and_then(|one| Some((one.leader?, one.epoch))) {
            by_leader.entry(leader).or_default().push((tp, epoch, cell));
        }
    }
    let mut questions = JoinSet::new();
    for (leader, asked) in by_leader {
        let source = source.clone();
        questions.spawn(async move {
            timeout(ASK_MAX, ask_all(&source, leader, asked, wall, committed_only)).await
        });
    }
    let mut is_stale = false;
    while let Some(answered) = questions.join_next().await {
        match answered {
            Ok(Ok(Ok(stale))) => is_stale |= stale,
            Ok(Ok(Err(error))) => tracing::debug!(%error, "ends of the source are not known"),
            Ok(Err(_)) => tracing::debug!("a broker of the source does not tell its ends in time"),
            Err(error) => tracing::error!(%error, "asking for ends ended in a panic"),
        }
    }
    if is_stale && let Err(error) = source.refresh(Wanted::All).await {
        tracing::debug!(%error, "metadata could not be read");
    }
}

/// Asks one broker; whether it says that another one leads.
async fn ask_all(
    source: &Cluster,
    leader: BrokerId,
    asked: Asked,
    wall: Wall,
    committed_only: bool,
) -> Result<bool, ClusterError> {
    let mut is_stale = false;
    for some in asked.chunks(ASKED_MAX) {
        let at = wall.now();
        let tps: Vec<_> = some.iter().map(|(tp, epoch, _)| (tp.clone(), *epoch)).collect();
        // The stable end before the other one: what grows in between is rather held than copied.
        let stable = match committed_only {
            true => Some(source.list_offsets(leader, &tps, EndKind::Stable).await?),
            false => None,
        };
        let ends = source.list_offsets(leader, &tps, EndKind::HighWatermark).await?;
        for (tp, _, cell) in some {
            let all = ends.get(tp).copied();
            let readable = stable.as_ref().map_or(all, |stable| stable.get(tp).copied());
            match (readable, all) {
                (Some(Ok(readable)), Some(Ok(all))) => {
                    let (end, all) = (readable.offset, all.offset);
                    cell.tell_end(SourceEnd { end, held: end.distance_to(all), at });
                }
                (Some(Err(code)), _) | (_, Some(Err(code))) => {
                    is_stale |= code.remedy() == Remedy::Refresh;
                }
                _ => {}
            }
        }
    }
    Ok(is_stale)
}
