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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TopicId;
    use crate::ids::TopicName;

    fn named(name: &str) -> TopicRef {
        TopicRef::Name(TopicName::new(name).unwrap())
    }

    fn entry(topic: TopicRef, partition: i32, records: &'static [u8]) -> AppendEntry {
        let batch = Sendable { header: [0xcc; HEADER_BYTES], records: records.into() };
        AppendEntry { topic, partition: PartitionId(partition), batch }
    }

    fn encode(entries: Vec<AppendEntry>, version: i16) -> Result<Chain, AskError> {
        AppendAsk { timeout_ms: 500, entries }.encode(version)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_request_stands_as_the_protocol_guide_says() {
        let entries = vec![
            entry(named("b"), 0, b"33"),
            entry(named("a"), 7, b"22"),
            entry(named("a"), 1, b"1"),
        ];
        let chain = encode(entries, 12).unwrap();
        let head = "cc".repeat(HEADER_BYTES);
        let expected = format!(
            "00 ffff 000001f4 03 \
             0261 03 00000001 3f {head} 31 00 00000007 40 {head} 3232 00 00 \
             0262 02 00000000 40 {head} 3333 00 00 00"
        );
        let flat = chain.pieces.concat();
        assert_eq!(hex(&flat), expected.replace(' ', ""));
        assert_eq!((chain.pieces.len(), chain.bytes_count), (7, flat.len()));
    }

    #[test]
    fn records_are_not_copied() {
        let records = b"they stay where they are";
        let chain = encode(vec![entry(TopicRef::Id(TopicId([7; 16])), 0, records)], 13).unwrap();
        assert_eq!(chain.pieces[1].as_ptr(), records.as_ptr());
        assert!(chain.pieces[0][8..].starts_with(&[7; 16]));
    }

    #[test]
    fn what_a_broker_answers_wrongly_or_never_is_refused() {
        let twice = vec![
            entry(named("a"), 1, b"1"),
            entry(named("b"), 1, b"1"),
            entry(named("a"), 2, b"1"),
            entry(named("a"), 1, b"2"),
        ];
        let (topic, partition) = (named("a"), PartitionId(1));
        assert_eq!(encode(twice, 9), Err(AskError::PartitionTwice { topic, partition }));
        let (topic, partition) = (named("a"), PartitionId(2));
        let empty = vec![entry(named("a"), 1, b"1"), entry(named("a"), 2, b"")];
        assert_eq!(encode(empty, 9), Err(AskError::EmptyRecords { topic, partition }));
        let wrong = encode(vec![entry(named("a"), 1, b"1")], 13);
        assert!(matches!(wrong, Err(AskError::WrongName { .. })));
        for version in [8, 14] {
            assert_eq!(encode(vec![], version), Err(AskError::Version { api: "Produce", version }));
        }
    }

    /// One topic, one partition, every field and tag in use.
    fn answer() -> Vec<u8> {
        let mut out = Vec::new();
        put_count(&mut out, 1);
        out.put_slice(b"\x02a");
        put_count(&mut out, 1);
        out.put_i32(3);
        out.put_i16(87);
        [-1, 1_000, 5].into_iter().for_each(|raw| out.put_i64(raw));
        put_count(&mut out, 2);
        out.put_slice(b"\0\0\0\x04\x06why\x1b!\0");
        out.put_slice(b"\0\0\0\x05\0\0");
        out.put_slice(b"\x05oh\no");
        out.put_slice(&[2, 0, 9, 0, 0, 0, 2, 0, 0, 0, 9, 0, 9, 1, 1]);
        out.put_slice(&[0, 0, 0, 0, 25, 1, 0, 3, 1, 2, 3]);
        out
    }

    #[test]
    fn an_answer_is_read_with_its_tags() {
        let answer = AppendAnswer::decode(answer().into(), 10).unwrap();
        assert_eq!(answer.throttle_ms, 25);
        let expected = AppendedPartition {
            topic: named("a"),
            partition: PartitionId(3),
            code: KafkaCode(87),
            base_offset: None,
            log_append_time: TimestampMs(1_000),
            log_start: Offset::new(5),
            message: Some("oh o".into()),
            record_error: Some((4, "why !".into())),
            current_leader: Some((BrokerId(2), LeaderEpoch(9))),
        };
        assert_eq!(answer.partitions, [expected]);
    }

    #[test]
    fn an_answer_cut_off_anywhere_or_too_long_is_an_error() {
        let whole = answer();
        for len in 0..whole.len() {
            assert!(AppendAnswer::decode(Bytes::copy_from_slice(&whole[..len]), 10).is_err());
        }
        let long = Bytes::from([&whole[..], &[0]].concat());
        let trailing = WireError::Trailing { what: "the append answer", bytes: 1 };
        assert_eq!(AppendAnswer::decode(long, 10), Err(trailing));
    }
}
