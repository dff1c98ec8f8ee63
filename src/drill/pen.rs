//! Who writes into one partition of a canary, as any producer would: without an id of isolog's, and
//! acknowledged by all replicas in sync.
//!
//! It never sends a batch again that may have been written.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::cluster::Use;
use crate::cluster::conn::Conn;
use crate::cluster::error::ClusterError;
use crate::cluster::keyed::only::Appended;
use crate::cluster::keyed::only::OnlyPartition;
use crate::drill::DrillError;
use crate::drill::ledger::Record;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::wire::batch::BatchView;
use crate::wire::error::KafkaCode;
use crate::wire::error::Remedy;
use crate::wire::record::NO_SEQUENCE;
use crate::wire::record::NO_WRITER;
use crate::wire::record::NewRecord;
use crate::wire::record::plain_batch;

/// The largest answer to a write, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How often in a row a batch is tried that was not written.
const TRIES_MAX: u32 = 40;
/// The pause between two tries.
const TRY_PAUSE: Duration = Duration::from_millis(100);

/// One partition, with a connection to its leader.
pub struct Pen {
    own: OnlyPartition,
    id: TopicId,
    conn: Option<Conn>,
}

impl Pen {
    /// For a partition of the topic with that id.
    pub fn new(cluster: &Arc<Cluster>, topic: &TopicName, id: TopicId, partition: u16) -> Pen {
        let tp = TopicPartition { topic: topic.clone(), partition: PartitionId(partition.into()) };
        Pen { own: OnlyPartition::of(cluster.clone(), tp), id, conn: None }
    }

    /// Writes one batch; the offset of its first record, once all replicas in sync have it.
    pub async fn write(&mut self, records: &[Record]) -> Result<Offset, DrillError> {
        let Some(batch) = plain_batch(NO_WRITER, NO_SEQUENCE, records.iter().map(lent).collect())
        else {
            return Ok(Offset::ZERO);
        };
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match self.try_write(&batch).await {
                Ok(Appended { code, base: Some(base), .. }) if code.is_none() => return Ok(base),
                Ok(told) if tries < TRIES_MAX && is_unwritten(told.code) => None,
                Ok(told) => return Err(self.refused(told)),
                Err(error) => Some(error),
            };
            self.conn = None;
            if let Some(error) = error.filter(|error| tries >= TRIES_MAX || is_final(error)) {
                return Err(error.into());
            }
            sleep(TRY_PAUSE).await;
            // who does not answer now is asked again with the next try
            let _ = self.own.look().await;
        }
    }

    /// The same, where nobody else writes: its first record must lie there.
    pub async fn write_at(&mut self, at: Offset, records: &[Record]) -> Result<(), DrillError> {
        let got = self.write(records).await?;
        if got == at {
            return Ok(());
        }
        let (side, tp) = (self.own.cluster().side(), self.own.tp().clone());
        Err(DrillError::Moved { side, tp, expected: at, got })
    }

    /// Ends its connection.
    pub fn close(self) {
        if let Some(conn) = self.conn {
            conn.close();
        }
    }

    async fn try_write(&mut self, batch: &BatchView) -> Result<Appended, ClusterError> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => {
                let (leader, _) = self.own.leader().await?;
                let purpose = Use::Look { frame_bytes_max: ANSWER_BYTES_MAX };
                self.own.cluster().open(leader, purpose).await?
            }
        };
        let told = self.own.append(&mut conn, self.id, batch).await?;
        self.conn = Some(conn);
        Ok(told)
    }

    fn refused(&self, told: Appended) -> DrillError {
        DrillError::Refused {
            side: self.own.cluster().side(),
            what: "a record of",
            topic: self.own.tp().topic.clone(),
            code: told.code,
            message: told.message.map(|text| format!(": {text}")).unwrap_or_default(),
            cure: "isolog drill --dry-run says which rights it needs",
        }
    }
}

fn lent(record: &Record) -> NewRecord<'_> {
    NewRecord {
        timestamp_ms: record.timestamp_ms,
        key: Some(&record.key),
        value: Some(&record.value),
        headers: Vec::new(),
    }
}

/// The leader was another one, or is not ready: nothing was written, and another try may help.
/// Codes that leave it open, such as REQUEST_TIMED_OUT, have another remedy.
fn is_unwritten(code: KafkaCode) -> bool {
    code.remedy() == Remedy::Refresh
}

fn is_final(error: &ClusterError) -> bool {
    error.is_unknown() || matches!(error.remedy(), Remedy::Halt | Remedy::Reauth)
}
