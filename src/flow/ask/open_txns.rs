//! Who holds a partition back: the open transaction at the source's last stable offset.
//!
//! It never waits for the transaction and never touches it: what it finds is for people.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::flow::Wall;
use crate::flow::stats::Board;
use crate::flow::stats::Cell;
use crate::ids::BrokerId;
use crate::ids::Offset;
use crate::ids::TimestampMs;
use crate::ids::TopicPartition;
use crate::mirror::lag::HeldBy;

/// What one broker may take to say who it is.
const ASK_MAX: Duration = Duration::from_secs(5);
/// The pause between two rounds.
const PAUSE: Duration = Duration::from_secs(5);

type Asked = Vec<(TopicPartition, Offset, Arc<Cell>)>;

/// Asks round after round, until it is dropped.
pub async fn keep(source: Arc<Cluster>, board: Arc<Board>, wall: Wall) {
    loop {
        sleep(PAUSE).await;
        ask(&source, &board, wall.now()).await;
    }
}

/// Asks the source about every partition that is held back (DescribeProducers, which needs no
/// right beyond that to read), and puts what it says where the partition is shown.
async fn ask(source: &Cluster, board: &Board, now: TimestampMs) {
    let mut by_leader: BTreeMap<BrokerId, Asked> = BTreeMap::new();
    for (name, seen) in board.read(now) {
        let tp = name.source();
        let is_held = seen.held_records.is_some_and(|held| held > 0);
        let stable = seen.source_end.filter(|_| is_held);
        let leader = source.partition(&tp).and_then(|partition| partition.leader);
        if let (Some(stable), Some(leader), Some(cell)) = (stable, leader, board.cell(&name)) {
            by_leader.entry(leader).or_default().push((tp, stable, cell));
        }
    }
    for (leader, asked) in by_leader {
        let tps: Vec<TopicPartition> = asked.iter().map(|(tp, ..)| tp.clone()).collect();
        let Ok(Ok(answers)) = timeout(ASK_MAX, source.describe_producers(leader, &tps)).await
        else {
            tracing::debug!(%leader, "who holds partitions back is not known");
            continue;
        };
        for (tp, stable, cell) in asked {
            let Some(Ok(states)) = answers.get(&tp) else { continue };
            let holds = states.iter().find(|state| state.transaction_start == Some(stable));
            cell.tell_held(holds.map(|state| HeldBy {
                producer: state.id,
                since: stable,
                last_timestamp: state.last_timestamp,
            }));
        }
    }
}
