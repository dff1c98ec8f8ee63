//! A compacted topic of one partition as a small map: the newest value of each key.
//!
//! It never holds positions or secrets, and never guesses: what was not acknowledged is written
//! again, which a map does not mind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::cluster::NewTopic;
use crate::cluster::Use;
use crate::cluster::Wanted;
use crate::cluster::conn::Conn;
use crate::cluster::conn::read::Read;
use crate::cluster::error::ClusterError;
use crate::cluster::error::Kind;
use crate::cluster::error::Result;
use crate::cluster::metadata::Partition;
use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::ProducerId;
use crate::ids::TimestampMs;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::wire::batch::BatchView;
use crate::wire::error::KafkaCode;
use crate::wire::error::WireError;
use crate::wire::fetch::Isolation;
use crate::wire::produce;
use crate::wire::produce::AppendAnswer;
use crate::wire::produce::AppendAsk;
use crate::wire::produce::AppendEntry;
use crate::wire::record::NewRecord;
use crate::wire::record::Records;
use crate::wire::record::plain_batch;
use crate::wire::rewrite::Sendable;
use crate::wire::rewrite::Writer;
use crate::wire::split::Piece;
use crate::wire::split::split;
use crate::wire::topic::TopicRef;
use crate::wire::versions::ApiKey;

/// How often the leader of a topic that was just made is looked for.
const LEADER_TRIES_MAX: u32 = 20;
/// The pause between two such looks.
const LEADER_PAUSE: Duration = Duration::from_millis(250);
/// What one fetch asks for, in bytes.
const FETCH_BYTES: i32 = 1 << 20;
/// The largest answer that is read, in bytes.
const FRAME_BYTES_MAX: usize = 8 << 20;
/// How many rows go into one batch, so that it stays below a broker's default limit.
const ROWS_MAX: usize = 1_000;
/// TOPIC_ALREADY_EXISTS: somebody else was faster.
const EXISTS: KafkaCode = KafkaCode(36);
/// The topic is not there.
const UNKNOWN_TOPIC: KafkaCode = KafkaCode(3);
/// We may not know of it.
const TOPIC_AUTHORIZATION_FAILED: KafkaCode = KafkaCode(29);
/// An ordinary producer without an id.
const NOBODY: Writer = Writer { id: ProducerId(-1), epoch: -1 };
/// The sequence that goes with it.
const NO_SEQUENCE: i32 = -1;

/// What a cluster shows of the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// It is there, with this id.
    There(TopicId),
    /// There is none.
    Nothing,
    /// It is not shown to us.
    Hidden,
    /// Something else is said instead.
    Trouble(String),
}

/// What is read of it: keys and their newest values.
pub type Rows = BTreeMap<String, String>;

/// The map.
pub struct KeyedLog {
    cluster: Arc<Cluster>,
    tp: TopicPartition,
}

impl KeyedLog {
    /// Finds the topic; `None` where there is none, or none is shown.
    pub async fn find(cluster: Arc<Cluster>, name: TopicName) -> Result<Option<KeyedLog>> {
        let tp = TopicPartition { topic: name, partition: PartitionId(0) };
        let log = KeyedLog { cluster, tp };
        log.cluster.refresh(Wanted::Topics(std::slice::from_ref(&log.tp.topic))).await?;
        let found = log.cluster.topic(&log.tp.topic);
        Ok(found.filter(|topic| !topic.partitions.is_empty()).map(|_| log))
    }

    /// Finds the topic, or makes it with so many replicas (`None`: the cluster's default).
    pub async fn open(
        cluster: Arc<Cluster>,
        name: TopicName,
        replicas: Option<i16>,
    ) -> Result<KeyedLog> {
        let tp = TopicPartition { topic: name, partition: PartitionId(0) };
        let log = KeyedLog { cluster, tp };
        log.cluster.refresh(Wanted::Topics(std::slice::from_ref(&log.tp.topic))).await?;
        let found = log.cluster.topic(&log.tp.topic);
        if found.is_none_or(|topic| topic.partitions.is_empty()) {
            log.create(replicas).await?;
        }
        Ok(log)
    }

    /// What the cluster showed of the topic last.
    pub fn shown(&self) -> Shown {
        match self.cluster.topic(&self.tp.topic) {
            Some(topic) if topic.error == TOPIC_AUTHORIZATION_FAILED => Shown::Hidden,
            Some(topic) if topic.error == UNKNOWN_TOPIC => Shown::Nothing,
            Some(topic) if !topic.error.is_none() => Shown::Trouble(topic.error.to_string()),
            Some(topic) if !topic.partitions.is_empty() => Shown::There(topic.id),
            _ => Shown::Nothing,
        }
    }

    /// Asks for the topic alone: a list of all topics leaves out what may not be described.
    pub async fn look(&self) -> Result<()> {
        self.cluster.refresh(Wanted::Topics(std::slice::from_ref(&self.tp.topic))).await
    }

    /// The newest value of every key that is wanted; no other is kept.
    pub async fn read(&self, is_wanted: impl Fn(&str) -> bool) -> Result<Rows> {
        let (leader, partition) = self.leader().await?;
        let asked = [(self.tp.clone(), partition.epoch)];
        let start = self.end(leader, &asked, EndKind::Start).await?;
        let end = self.end(leader, &asked, EndKind::HighWatermark).await?;
        let purpose = Use::Look { frame_bytes_max: FRAME_BYTES_MAX };
        let mut conn = self.cluster.open(leader, purpose).await?;
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

    /// Writes rows; done when all replicas in sync have them.
    pub async fn put(&self, rows: &[(String, String)], now: TimestampMs) -> Result<()> {
        for some in rows.chunks(ROWS_MAX) {
            let (leader, _) = self.leader().await?;
            let mut conn = self.cluster.open(leader, Use::Append).await?;
            self.append(&mut conn, some, now).await?;
            conn.close();
        }
        Ok(())
    }

    async fn create(&self, replicas: Option<i16>) -> Result<()> {
        let overrides = [("cleanup.policy", "compact"), ("compression.type", "producer")];
        let configs = overrides.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let topic = NewTopic {
            name: self.tp.topic.clone(),
            partitions: 1,
            replicas,
            configs: BTreeMap::from(configs),
        };
        let answers = self.cluster.create_topics(&[topic], false).await?;
        match answers.into_values().next() {
            Some(Err(refusal)) if refusal.code != EXISTS => {
                let (code, message) = (refusal.code, refusal.message);
                Err(self.error("CreateTopics", Kind::Refused { code, message }))
            }
            _ => Ok(()),
        }
    }

    async fn leader(&self) -> Result<(crate::ids::BrokerId, Partition)> {
        for _ in 0..LEADER_TRIES_MAX {
            let partition = self.cluster.partition(&self.tp);
            if let Some((leader, partition)) = partition.and_then(|p| Some((p.leader?, p))) {
                return Ok((leader, partition));
            }
            sleep(LEADER_PAUSE).await;
            self.cluster.refresh(Wanted::Topics(std::slice::from_ref(&self.tp.topic))).await?;
        }
        Err(self.refused("Metadata", KafkaCode(5)))
    }

    async fn end(
        &self,
        leader: crate::ids::BrokerId,
        asked: &[(TopicPartition, LeaderEpoch)],
        kind: EndKind,
    ) -> Result<Offset> {
        let mut each = self.cluster.list_offsets(leader, asked, kind).await?;
        let one = each.remove(&self.tp).unwrap_or(Err(KafkaCode::UNKNOWN));
        one.map(|listed| listed.offset).map_err(|code| self.refused("ListOffsets", code))
    }

    fn topic_ref(&self, version: i16, ids_from: i16) -> TopicRef {
        let id = self.cluster.topic(&self.tp.topic).map(|topic| topic.id);
        match id.filter(|_| version >= ids_from) {
            Some(id) => TopicRef::Id(id),
            None => TopicRef::Name(self.tp.topic.clone()),
        }
    }

    /// Reads one answer's rows from `at` on; gives the offset behind them.
    async fn read_some(
        &self,
        conn: &mut Conn,
        at: Offset,
        rows: &mut Rows,
        is_wanted: &impl Fn(&str) -> bool,
    ) -> Result<Offset> {
        let topic = self.cluster.topic(&self.tp.topic).map_or(TopicId::NIL, |topic| topic.id);
        let read = Read {
            tp: &self.tp,
            topic,
            epoch: LeaderEpoch::NONE,
            offset: at,
            isolation: Isolation::ReadUncommitted,
            bytes_max: FETCH_BYTES,
            wait_ms_max: 0,
        };
        conn.ask_read(&read, Instant::now() + self.cluster.options().request_timeout)?;
        let one = conn.take_read().await?;
        if !one.code.is_none() {
            return Err(self.refused("Fetch", one.code));
        }
        let mut next = at;
        for piece in split(one.records) {
            if let Piece::Batch(batch) = piece.map_err(|error| self.error("Fetch", error.into()))? {
                next = batch.next_offset();
                if let Err(error) = take_rows(&batch, rows, is_wanted) {
                    let (topic, offset) = (&self.tp.topic, batch.base_offset());
                    tracing::warn!(
                        %topic, %offset, %error,
                        "rows cannot be read and are passed over: write them again, uncompressed"
                    );
                }
            }
        }
        Ok(next)
    }

    async fn append(
        &self,
        conn: &mut Conn,
        rows: &[(String, String)],
        now: TimestampMs,
    ) -> Result<()> {
        let records = rows.iter().map(|(key, value)| NewRecord {
            timestamp_ms: now.0,
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            headers: Vec::new(),
        });
        let Some(batch) = plain_batch(NOBODY, NO_SEQUENCE, records.collect()) else {
            return Ok(());
        };
        let version = conn.version(ApiKey::Produce)?;
        let timeout = self.cluster.options().request_timeout;
        let header = batch.header().try_into();
        let header = header.map_err(|_| self.misuse("Produce", "a header of another length"))?;
        let ask = AppendAsk {
            timeout_ms: i32::try_from(timeout.as_millis() / 2).unwrap_or(i32::MAX),
            entries: vec![AppendEntry {
                topic: self.topic_ref(version, produce::IDS_FROM),
                partition: self.tp.partition,
                batch: Sendable { header, records: batch.records() },
            }],
        };
        let chain = ask.encode(version);
        let chain = chain.map_err(|error| self.misuse("Produce", &error.to_string()))?;
        conn.send(ApiKey::Produce, version, chain.pieces, Instant::now() + timeout)?;
        let answer = conn.turn().await?;
        let answer = AppendAnswer::decode(answer.body, answer.version)
            .map_err(|error| self.error("Produce", error.into()))?;
        let code = answer.partitions.first().map_or(KafkaCode::UNKNOWN, |one| one.code);
        if code.is_none() { Ok(()) } else { Err(self.refused("Produce", code)) }
    }

    fn refused(&self, asked: &'static str, code: KafkaCode) -> ClusterError {
        let message = Some(format!("topic {}", self.tp.topic).into());
        self.error(asked, Kind::Refused { code, message })
    }

    fn misuse(&self, asked: &'static str, why: &str) -> ClusterError {
        ClusterError::own(&self.cluster.peer(None, "the leader".into()), asked, &why)
    }

    fn error(&self, asked: &'static str, kind: Kind) -> ClusterError {
        ClusterError::new(&self.cluster.peer(None, "the leader".into()), asked, kind)
    }
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
        let batch = plain_batch(NOBODY, NO_SEQUENCE, records).unwrap();
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
        let batch = plain_batch(NOBODY, NO_SEQUENCE, vec![record(b"1"), record(b"\xff")]).unwrap();
        take_rows(&batch, &mut rows, &|_: &str| true).unwrap();
        assert_eq!(rows, Rows::from([("dr/a".to_owned(), "\u{fffd}".to_owned())]));
        let (header, section) = (batch.header(), batch.records());
        let mut packed = [header, &section[..]].concat();
        packed[22] = 1; // gzip, says the header
        let packed = BatchView::new(packed.into()).unwrap();
        assert!(take_rows(&packed, &mut rows, &|_: &str| true).is_err());
    }
}
