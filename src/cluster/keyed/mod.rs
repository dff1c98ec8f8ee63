//! A compacted topic of one partition: read once, or followed, batch by batch.
//!
//! It never says what of it counts, and never holds positions or secrets.

pub mod batch;
pub mod follow;
pub mod only;

use std::sync::Arc;

use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::cluster::Use;
use crate::cluster::conn::Conn;
use crate::cluster::conn::read::Read;
use crate::cluster::error::Result;
use crate::cluster::keyed::batch::LogBatch;
use crate::cluster::keyed::batch::passed_over;
use crate::cluster::keyed::only::OnlyPartition;
use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::wire::error::KafkaCode;
use crate::wire::fetch::Isolation;
use crate::wire::split::split;

/// What one fetch asks for, in bytes.
const FETCH_BYTES: i32 = 1 << 20;
/// The largest answer that is read, in bytes.
const FRAME_BYTES_MAX: usize = 8 << 20;
/// CORRUPT_MESSAGE, as a broker calls a batch whose checksum is wrong.
const CORRUPT: KafkaCode = KafkaCode(2);

/// The topic, for who reads it once.
pub struct KeyedLog {
    only: OnlyPartition,
}

impl KeyedLog {
    /// Finds the topic; `None` where there is none, or none is shown.
    pub async fn find(cluster: Arc<Cluster>, name: TopicName) -> Result<Option<KeyedLog>> {
        let only = OnlyPartition::new(cluster, name);
        only.look().await?;
        Ok(has_partitions(&only).then_some(KeyedLog { only }))
    }

    /// Gives every batch, in order, up to the end that the log has when reading begins.
    pub async fn read(&self, mut take: impl FnMut(LogBatch)) -> Result<()> {
        let (leader, partition) = self.only.leader().await?;
        let start = self.only.end(leader, partition.epoch, EndKind::Start).await?;
        let end = self.only.end(leader, partition.epoch, EndKind::HighWatermark).await?;
        let purpose = Use::Look { frame_bytes_max: FRAME_BYTES_MAX };
        let mut conn = self.only.cluster().open(leader, purpose).await?;
        let mut at = start;
        while at < end {
            let next = self.read_some(&mut conn, at, &mut take).await?;
            if next <= at {
                break; // what compaction left ends before the log does
            }
            at = next;
        }
        conn.close();
        Ok(())
    }

    fn topic_id(&self) -> TopicId {
        let topic = self.only.cluster().topic(&self.only.tp().topic);
        topic.map_or(TopicId::NIL, |topic| topic.id)
    }

    /// Reads one answer's batches from `at` on; gives the offset behind them.
    async fn read_some(
        &self,
        conn: &mut Conn,
        at: Offset,
        take: &mut impl FnMut(LogBatch),
    ) -> Result<Offset> {
        let read = Read {
            tp: self.only.tp(),
            topic: self.topic_id(),
            epoch: LeaderEpoch::NONE,
            offset: at,
            isolation: Isolation::ReadUncommitted,
            bytes_max: FETCH_BYTES,
            wait_ms_max: 0,
        };
        let timeout = self.only.cluster().options().request_timeout;
        conn.ask_read(&read, Instant::now() + timeout)?;
        let one = conn.take_read().await?;
        if !one.code.is_none() {
            return Err(self.only.refused("Fetch", one.code));
        }
        let mut next = at;
        for piece in split(one.records) {
            let piece = piece.map_err(|error| self.only.error("Fetch", error.into()))?;
            let batch = passed_over(&piece, &self.only.tp().topic);
            let batch = batch.map_err(|_| self.only.refused("Fetch", CORRUPT))?;
            next = batch.next;
            take(batch);
        }
        Ok(next)
    }
}

fn has_partitions(only: &OnlyPartition) -> bool {
    let found = only.cluster().topic(&only.tp().topic);
    found.is_some_and(|topic| !topic.partitions.is_empty())
}
