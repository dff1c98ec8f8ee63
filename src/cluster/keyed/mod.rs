//! A compacted topic of one partition: as a small map of the newest value of each key, or followed
//! batch by batch.
//!
//! It never holds positions or secrets.

pub mod batch;
pub mod follow;
pub mod only;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::cluster::Use;
use crate::cluster::conn::Conn;
use crate::cluster::conn::read::Read;
use crate::cluster::error::Result;
use crate::cluster::keyed::only::OnlyPartition;
use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::wire::batch::BatchView;
use crate::wire::error::WireError;
use crate::wire::fetch::Isolation;
use crate::wire::record::Records;
use crate::wire::split::Piece;
use crate::wire::split::split;

/// What one fetch asks for, in bytes.
const FETCH_BYTES: i32 = 1 << 20;
/// The largest answer that is read, in bytes.
const FRAME_BYTES_MAX: usize = 8 << 20;
/// What is read of it: keys and their newest values.
pub type Rows = BTreeMap<String, String>;

/// The map.
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

    /// The newest value of every key that is wanted; no other is kept.
    pub async fn read(&self, is_wanted: impl Fn(&str) -> bool) -> Result<Rows> {
        let (leader, partition) = self.only.leader().await?;
        let start = self.only.end(leader, partition.epoch, EndKind::Start).await?;
        let end = self.only.end(leader, partition.epoch, EndKind::HighWatermark).await?;
        let purpose = Use::Look { frame_bytes_max: FRAME_BYTES_MAX };
        let mut conn = self.only.cluster().open(leader, purpose).await?;
        let (mut rows, mut at) = (Rows::new(), start);
        while at < end {
            let next = self.read_some(&mut conn, at, &mut rows, &is_wanted).await?;
            if next <= at {
                break; // what compaction left ends before the log does
            }
            at = next;
        }
        conn.close();
        Ok(rows)
    }

    fn topic_id(&self) -> TopicId {
        let topic = self.only.cluster().topic(&self.only.tp().topic);
        topic.map_or(TopicId::NIL, |topic| topic.id)
    }

    /// Reads one answer's rows from `at` on; gives the offset behind them.
    async fn read_some(
        &self,
        conn: &mut Conn,
        at: Offset,
        rows: &mut Rows,
        is_wanted: &impl Fn(&str) -> bool,
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
            if let Piece::Batch(batch) = piece {
                next = batch.next_offset();
                if let Err(error) = take_rows(&batch, rows, is_wanted) {
                    let (topic, offset) = (&self.only.tp().topic, batch.base_offset());
                    tracing::warn!(
                        %topic, %offset, %error,
                        "rows cannot be read and are passed over: write them again, uncompressed"
                    );
                }
            }
        }
        Ok(next)
    }
}

fn has_partitions(only: &OnlyPartition) -> bool {
    let found = only.cluster().topic(&only.tp().topic);
    found.is_some_and(|topic| !topic.partitions.is_empty())
}

/// A null value takes its key away; a key that is not text is not ours. A value that is not text
/// stays one: whoever reads the row says that it cannot.
fn take_rows(
    batch: &BatchView,
    rows: &mut Rows,
    is_wanted: &impl Fn(&str) -> bool,
) -> std::result::Result<(), WireError> {
    for record in Records::of(batch)? {
        let record = record?;
        let key = record.key.and_then(|key| std::str::from_utf8(key).ok());
        let Some(key) = key.filter(|key| is_wanted(key)) else { continue };
        match record.value {
            Some(value) => {
                drop(rows.insert(key.to_owned(), String::from_utf8_lossy(value).into_owned()));
            }
            None => drop(rows.remove(key)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::record::NO_SEQUENCE;
    use crate::wire::record::NO_WRITER;
    use crate::wire::record::NewRecord;
    use crate::wire::record::plain_batch;

    #[test]
    fn only_wanted_keys_are_kept_and_a_null_takes_one_away() {
        let record = |key: &'static str, value: Option<&'static str>| NewRecord {
            timestamp_ms: 1,
            key: Some(key.as_bytes()),
            value: value.map(str::as_bytes),
            headers: Vec::new(),
        };
        let records = vec![
            record("dr/a", Some("1")),
            record("other/a", Some("2")),
            record("dr/b", Some("3")),
            record("dr/a", None),
        ];
        let batch = plain_batch(NO_WRITER, NO_SEQUENCE, records).unwrap();
        let mut rows = Rows::new();
        take_rows(&batch, &mut rows, &|key: &str| key.starts_with("dr/")).unwrap();
        assert_eq!(rows, Rows::from([("dr/b".to_owned(), "3".to_owned())]));
    }

    #[test]
    fn a_value_that_is_no_text_takes_no_row_away_and_cut_rows_are_an_error() {
        let record = |value: &'static [u8]| NewRecord {
            timestamp_ms: 1,
            key: Some(b"dr/a"),
            value: Some(value),
            headers: Vec::new(),
        };
        let mut rows = Rows::new();
        let batch =
            plain_batch(NO_WRITER, NO_SEQUENCE, vec![record(b"1"), record(b"\xff")]).unwrap();
        take_rows(&batch, &mut rows, &|_: &str| true).unwrap();
        assert_eq!(rows, Rows::from([("dr/a".to_owned(), "\u{fffd}".to_owned())]));
        let (header, section) = (batch.header(), batch.records());
        let mut packed = [header, &section[..]].concat();
        packed[22] = 1; // gzip, says the header
        let packed = BatchView::new(packed.into()).unwrap();
        assert!(take_rows(&packed, &mut rows, &|_: &str| true).is_err());
    }
}
