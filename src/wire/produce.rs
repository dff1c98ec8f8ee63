//! Produce: the request written as a chain of slices, the answer read, versions 9 to 13.
//!
//! It never copies a records section: what was fetched is what is written to the socket. It never
//! writes what a broker answers wrongly or not at all: one partition twice, or no records.

use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;

use crate::ids::BrokerId;
use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TimestampMs;
use crate::wire::batch::HEADER_BYTES;
use crate::wire::error::KafkaCode;
use crate::wire::error::WireError;
use crate::wire::prim::Reader;
use crate::wire::prim::put_count;
use crate::wire::prim::put_no_tags;
use crate::wire::rewrite::Sendable;
use crate::wire::topic::AskError;
use crate::wire::topic::Naming;
use crate::wire::topic::TopicRef;
use crate::wire::topic::current_leader;

/// The oldest version spoken: flexible (Kafka 2.8).
pub const VERSION_MIN: i16 = 9;
/// The newest version spoken.
pub const VERSION_MAX: i16 = 13;
/// From here on a topic is named by its id.
pub const IDS_FROM: i16 = 13;

/// The only acknowledgement that is asked for: of all replicas in sync (`docs/OFFSETS.md`).
const ACKS_ALL: i16 = -1;

/// What one partition of a request takes besides its batch: index, length, tags.
const ENTRY_BYTES_MAX: usize = 4 + 5 + 1;
/// What one topic takes besides its partitions: name or id with length, count, tags.
const TOPIC_BYTES_MAX: usize = 2 + crate::ids::TOPIC_NAME_BYTES_MAX + 5 + 1;
/// What comes before the topics and after them.
const FRAME_BYTES_MAX: usize = 1 + 2 + 4 + 5 + 1;

/// The fewest bytes of a partition in an answer.
const PARTITION_BYTES_MIN: usize = 4 + 2 + 3 * 8 + 1 + 1 + 1;
/// The fewest bytes of a record error in an answer.
const RECORD_ERROR_BYTES_MIN: usize = 4 + 1 + 1;

const TAG_CURRENT_LEADER: u32 = 0;

/// One append request: one batch each for any number of partitions, acknowledged by all replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendAsk {
    /// How long the broker may wait for its followers.
    pub timeout_ms: i32,
    /// One per partition, in any order.
    pub entries: Vec<AppendEntry>,
}

/// One batch and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendEntry {
    /// The topic.
    pub topic: TopicRef,
    /// The partition inside it.
    pub partition: PartitionId,
    /// The batch.
    pub batch: Sendable,
}

/// A message as slices, to be written one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// None is empty.
    pub pieces: Vec<Bytes>,
    /// Their bytes in all.
    pub bytes_count: usize,
}

impl Chain {
    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.bytes_count += piece.len();
            self.pieces.push(piece);
        }
    }
}

impl AppendAsk {
    /// Writes the request's body. The entries are sorted by topic and partition; the records of
    /// each are a slice of the chain, untouched.
    pub fn encode(mut self, version: i16) -> Result<Chain, AskError> {
        let naming = naming(version).ok_or(AskError::Version { api: "Produce", version })?;
        self.entries.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        refuse(&self.entries)?;
        let runs = || self.entries.chunk_by(|a, b| a.topic == b.topic);
        let topics = runs().count();
        let entry_bytes = ENTRY_BYTES_MAX + HEADER_BYTES;
        let bytes_max =
            FRAME_BYTES_MAX + topics * TOPIC_BYTES_MAX + self.entries.len() * entry_bytes;
        let mut glue = BytesMut::with_capacity(bytes_max);
        let mut chain = Chain::default();
        chain.pieces.reserve(2 * self.entries.len() + 1);
        glue.put_u8(0); // no transactional id
        glue.put_i16(ACKS_ALL);
        glue.put_i32(self.timeout_ms);
        put_count(&mut glue, topics);
        for run in runs() {
            naming.put(&mut glue, &run[0].topic)?;
            put_count(&mut glue, run.len());
            run.iter().for_each(|entry| put_entry(entry, &mut glue, &mut chain));
            put_no_tags(&mut glue);
        }
        put_no_tags(&mut glue);
        chain.push(glue.freeze());
        Ok(chain)
    }
}

fn naming(version: i16) -> Option<Naming> {
    let spoken = (VERSION_MIN..=VERSION_MAX).contains(&version);
    spoken.then_some(Naming { api: "Produce", version, ids_from: IDS_FROM })
}

/// Refuses what must not be sent; `entries` are sorted.
fn refuse(entries: &[AppendEntry]) -> Result<(), AskError> {
    let name = |entry: &AppendEntry| (entry.topic.clone(), entry.partition);
    if let Some(entry) = entries.iter().find(|entry| entry.batch.records.is_empty()) {
        let (topic, partition) = name(entry);
        return Err(AskError::EmptyRecords { topic, partition });
    }
    let same = |pair: &&[AppendEntry]| {
        (pair[0].partition, &pair[0].topic) == (pair[1].partition, &pair[1].topic)
    };
    if let Some(pair) = entries.windows(2).find(same) {
        let (topic, partition) = name(&pair[0]);
        return Err(AskError::PartitionTwice { topic, partition });
    }
    Ok(())
}

fn put_entry(entry: &AppendEntry, glue: &mut BytesMut, chain: &mut Chain) {
    glue.put_i32(entry.partition.0);
    put_count(glue, entry.batch.bytes_count());
    glue.put_slice(&entry.batch.header);
    chain.push(glue.split().freeze());
    chain.push(entry.batch.records.clone());
    put_no_tags(glue);
}

/// What a broker answers to an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendAnswer {
    /// The broker answers nobody on this connection for so long.
    pub throttle_ms: u32,
    /// In the broker's order, which is not the request's (fact P8).
    pub partitions: Vec<AppendedPartition>,
}

/// What a broker answers for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendedPartition {
    /// The topic.
    pub topic: TopicRef,
    /// The partition inside it.
    pub partition: PartitionId,
    /// About this partition.
    pub code: KafkaCode,
    /// Where the batch lies, also when it had been appended before (fact P2); `None` for -1.
    pub base_offset: Option<Offset>,
    /// On a CreateTime topic -1 for an append, the batch's own timestamp for a repeat (fact P2).
    pub log_append_time: TimestampMs,
    /// Where the log begins.
    pub log_start: Option<Offset>,
    /// What the broker has to say, bounded and safe to print.
    pub message: Option<String>,
    /// The first record that it names as the cause, and why.
    pub record_error: Option<(i32, String)>,
    /// Who leads, where the broker asked does not (10 and later).
    pub current_leader: Option<(BrokerId, LeaderEpoch)>,
}

impl AppendAnswer {
    /// Reads the answer's body, which must end where the answer ends.
    pub fn decode(body: Bytes, version: i16) -> Result<AppendAnswer, WireError> {
        let bad = WireError::BadValue { what: "produce version", value: i64::from(version) };
        let naming = naming(version).ok_or(bad)?;
        let mut reader = Reader::new(body);
        let mut partitions = Vec::new();
        for _ in 0..reader.count("appended topics", naming.bytes_min())?.unwrap_or(0) {
            take_topic(naming, &mut reader, &mut partitions)?;
        }
        let throttle_ms = u32::try_from(reader.i32("throttle time")?).unwrap_or(0);
        reader.skip_tagged()?;
        reader.finish("the append answer")?;
        Ok(AppendAnswer { throttle_ms, partitions })
    }
}

fn take_topic(
    naming: Naming,
    reader: &mut Reader,
    partitions: &mut Vec<AppendedPartition>,
) -> Result<(), WireError> {
    let topic = naming.take(reader)?;
    let count = reader.count("appended partitions", PARTITION_BYTES_MIN)?.unwrap_or(0);
    partitions.reserve(count);
    for _ in 0..count {
        partitions.push(take_partition(topic.clone(), reader)?);
    }
    reader.skip_tagged()
}

fn take_partition(topic: TopicRef, reader: &mut Reader) -> Result<AppendedPartition, WireError> {
    let mut appended = AppendedPartition {
        topic,
        partition: PartitionId(reader.i32("partition")?),
        code: KafkaCode(reader.i16("error code")?),
        base_offset: reader.offset("base offset")?,
        log_append_time: TimestampMs(reader.i64("log append time")?),
        log_start: reader.offset("log start offset")?,
        record_error: take_record_errors(reader)?,
        message: reader.compact_peer_text("error message")?,
        current_leader: None,
    };
    reader.tagged(|tag, field| {
        if tag == TAG_CURRENT_LEADER {
            appended.current_leader = current_leader(field)?;
        }
        Ok(())
    })?;
    Ok(appended)
}

/// Reads them all and keeps the first: a batch is refused whole.
fn take_record_errors(reader: &mut Reader) -> Result<Option<(i32, String)>, WireError> {
    let mut first = None;
    for _ in 0..reader.count("record errors", RECORD_ERROR_BYTES_MIN)?.unwrap_or(0) {
        let index = reader.i32("record index")?;
        let text = reader.compact_peer_text("record error")?.unwrap_or_default();
        first.get_or_insert((index, text));
        reader.skip_tagged()?;
    }
    Ok(first)
}
