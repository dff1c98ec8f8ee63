//! Fetch: the request written by hand, the answer read in place, versions 12 to 17.
//!
//! It never copies record bytes: every `records` shares the memory of the answer's frame, which
//! stays alive until the last of them is dropped. It never keeps a session: see `FetchSession`.
//!
//! Version 18 only lets a follower tell its high watermark and is not spoken.

use bytes::BufMut;
use bytes::Bytes;

use crate::ids::BrokerId;
use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::ProducerId;
use crate::wire::error::KafkaCode;
use crate::wire::error::WireError;
use crate::wire::prim::Reader;
use crate::wire::prim::put_compact_string;
use crate::wire::prim::put_count;
use crate::wire::prim::put_no_tags;
use crate::wire::topic::AskError;
use crate::wire::topic::Naming;
use crate::wire::topic::TopicRef;
use crate::wire::topic::current_leader;

/// The oldest version spoken: flexible, with diverging epochs (Kafka 2.7).
pub const VERSION_MIN: i16 = 12;
/// The newest version spoken.
pub const VERSION_MAX: i16 = 17;
/// From here on a topic is named by its id.
pub const IDS_FROM: i16 = 13;

/// From here on the replica id is a tagged field, left out by a consumer.
const REPLICA_TAGGED_FROM: i16 = 15;
/// What a consumer says for its replica id and its log start.
const NOBODY: i32 = -1;
const NO_LOG_START: i64 = -1;

/// The fewest bytes of a partition in an answer.
const PARTITION_BYTES_MIN: usize = 4 + 2 + 3 * 8 + 1 + 4 + 1 + 1;
/// The fewest bytes of an aborted transaction in an answer.
const ABORTED_BYTES_MIN: usize = 8 + 8 + 1;

const TAG_DIVERGING_EPOCH: u32 = 0;
const TAG_CURRENT_LEADER: u32 = 1;

/// Which records a fetch may see.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// All below the high watermark.
    ReadUncommitted,
    /// All below the last stable offset, with a list of what was aborted.
    ReadCommitted,
}

/// A place in a fetch session (KIP-227).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct FetchSession {
    /// As the broker gave it; 0 for none.
    pub id: i32,
    /// Counts the requests of the session.
    pub epoch: i32,
}

impl FetchSession {
    /// A full request that opens no session.
    pub const NONE: FetchSession = FetchSession { id: 0, epoch: -1 };
    /// A full request that asks for a session.
    pub const OPEN: FetchSession = FetchSession { id: 0, epoch: 0 };

    /// What the next request of the session `id` says; the epoch skips 0 when it wraps.
    pub fn next(self, id: i32) -> FetchSession {
        FetchSession { id, epoch: self.epoch.checked_add(1).unwrap_or(1) }
    }
}

/// One fetch request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchAsk {
    /// The session, or none.
    pub session: FetchSession,
    /// How long the broker may wait for `bytes_min`.
    pub wait_ms_max: i32,
    /// The broker answers at once when it has as much.
    pub bytes_min: i32,
    /// No answer is larger, but for one batch.
    pub bytes_max: i32,
    /// Which records.
    pub isolation: Isolation,
    /// In a session those that are new or changed, else all; neighbours of one topic share its
    /// name on the wire.
    pub partitions: Vec<FetchAskPartition>,
    /// What a session shall no longer answer for.
    pub forgotten: Vec<(TopicRef, PartitionId)>,
    /// The rack of this process, empty for none.
    pub rack: String,
}

/// From where one partition is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchAskPartition {
    /// The topic.
    pub topic: TopicRef,
    /// The partition inside it.
    pub partition: PartitionId,
    /// Who is believed to lead: the broker answers 74 or 75 when it knows better.
    pub leader_epoch: LeaderEpoch,
    /// The first offset wanted.
    pub offset: Offset,
    /// The epoch of the record before `offset`: with it a truncated log shows itself.
    pub last_epoch: LeaderEpoch,
    /// No more for this partition, but for one batch.
    pub bytes_max: i32,
}

impl FetchAsk {
    /// Writes the request's body.
    pub fn encode(&self, version: i16, out: &mut impl BufMut) -> Result<(), AskError> {
        let naming = naming(version).ok_or(AskError::Version { api: "Fetch", version })?;
        if version < REPLICA_TAGGED_FROM {
            out.put_i32(NOBODY);
        }
        out.put_i32(self.wait_ms_max);
        out.put_i32(self.bytes_min);
        out.put_i32(self.bytes_max);
        out.put_i8(match self.isolation {
            Isolation::ReadUncommitted => 0,
            Isolation::ReadCommitted => 1,
        });
        out.put_i32(self.session.id);
        out.put_i32(self.session.epoch);
        put_partitions(naming, &self.partitions, out)?;
        put_forgotten(naming, &self.forgotten, out)?;
        put_compact_string(out, &self.rack);
        put_no_tags(out);
        Ok(())
    }
}

fn naming(version: i16) -> Option<Naming> {
    let spoken = (VERSION_MIN..=VERSION_MAX).contains(&version);
    spoken.then_some(Naming { api: "Fetch", version, ids_from: IDS_FROM })
}

fn put_partitions(
    naming: Naming,
    partitions: &[FetchAskPartition],
    out: &mut impl BufMut,
) -> Result<(), AskError> {
    let runs = || partitions.chunk_by(|a, b| a.topic == b.topic);
    put_count(out, runs().count());
    for run in runs() {
        naming.put(out, &run[0].topic)?;
        put_count(out, run.len());
        for ask in run {
            out.put_i32(ask.partition.0);
            out.put_i32(ask.leader_epoch.0);
            out.put_i64(ask.offset.get());
            out.put_i32(ask.last_epoch.0);
            out.put_i64(NO_LOG_START);
            out.put_i32(ask.bytes_max);
            put_no_tags(out);
        }
        put_no_tags(out);
    }
    Ok(())
}

fn put_forgotten(
    naming: Naming,
    forgotten: &[(TopicRef, PartitionId)],
    out: &mut impl BufMut,
) -> Result<(), AskError> {
    let runs = || forgotten.chunk_by(|a, b| a.0 == b.0);
    put_count(out, runs().count());
    for run in runs() {
        naming.put(out, &run[0].0)?;
        put_count(out, run.len());
        run.iter().for_each(|(_, partition)| out.put_i32(partition.0));
        put_no_tags(out);
    }
    Ok(())
}

/// What a broker answers to a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchAnswer {
    /// The broker answers nobody on this connection for so long.
    pub throttle_ms: u32,
    /// About the whole request: sessions, mostly.
    pub code: KafkaCode,
    /// The session, 0 for none.
    pub session_id: i32,
    /// In the broker's order.
    pub partitions: Vec<FetchedPartition>,
}

/// What a broker answers for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPartition {
    /// The topic.
    pub topic: TopicRef,
    /// The partition inside it.
    pub partition: PartitionId,
    /// About this partition.
    pub code: KafkaCode,
    /// What all replicas in sync have.
    pub high_watermark: Option<Offset>,
    /// Below it no transaction is open.
    pub last_stable: Option<Offset>,
    /// Where the log begins.
    pub log_start: Option<Offset>,
    /// Where the log parts from the one that was fetched before: the epoch, and its end here.
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// Who leads, where the broker asked does not (16 and later).
    pub current_leader: Option<(BrokerId, LeaderEpoch)>,
    /// Producers whose records from that offset to their next marker were aborted.
    pub aborted: Vec<(ProducerId, Offset)>,
    /// A replica that the broker would rather see asked.
    pub preferred_replica: Option<BrokerId>,
    /// Batches as they lie in the log, the last one perhaps cut off; see `wire::split`.
    pub records: Bytes,
}

impl FetchAnswer {
    /// Reads the answer's body, which must end where the answer ends.
    pub fn decode(body: Bytes, version: i16) -> Result<FetchAnswer, WireError> {
        let bad = WireError::BadValue { what: "fetch version", value: i64::from(version) };
        let naming = naming(version).ok_or(bad)?;
        let mut reader = Reader::new(body);
        let mut answer = FetchAnswer {
            throttle_ms: u32::try_from(reader.i32("throttle time")?).unwrap_or(0),
            code: KafkaCode(reader.i16("error code")?),
            session_id: reader.i32("session id")?,
            partitions: Vec::new(),
        };
        for _ in 0..reader.count("fetched topics", naming.bytes_min())?.unwrap_or(0) {
            take_topic(naming, &mut reader, &mut answer.partitions)?;
        }
        reader.skip_tagged()?;
        reader.finish("the fetch answer")?;
        Ok(answer)
    }
}

fn take_topic(
    naming: Naming,
    reader: &mut Reader,
    partitions: &mut Vec<FetchedPartition>,
) -> Result<(), WireError> {
    let topic = naming.take(reader)?;
    let count = reader.count("fetched partitions", PARTITION_BYTES_MIN)?.unwrap_or(0);
    partitions.reserve(count);
    for _ in 0..count {
        partitions.push(take_partition(topic.clone(), reader)?);
    }
    reader.skip_tagged()
}

fn take_partition(topic: TopicRef, reader: &mut Reader) -> Result<FetchedPartition, WireError> {
    let mut fetched = FetchedPartition {
        topic,
        partition: PartitionId(reader.i32("partition")?),
        code: KafkaCode(reader.i16("error code")?),
        high_watermark: reader.offset("high watermark")?,
        last_stable: reader.offset("last stable offset")?,
        log_start: reader.offset("log start offset")?,
        diverging: None,
        current_leader: None,
        aborted: take_aborted(reader)?,
        preferred_replica: Some(BrokerId(reader.i32("preferred replica")?)).filter(|id| id.0 >= 0),
        records: reader.compact_bytes("records")?.unwrap_or_default(),
    };
    reader.tagged(|tag, field| {
        match tag {
            TAG_DIVERGING_EPOCH => fetched.diverging = diverging(field)?,
            TAG_CURRENT_LEADER => fetched.current_leader = current_leader(field)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(fetched)
}

fn take_aborted(reader: &mut Reader) -> Result<Vec<(ProducerId, Offset)>, WireError> {
    let count = reader.count("aborted transactions", ABORTED_BYTES_MIN)?.unwrap_or(0);
    let mut aborted = Vec::with_capacity(count);
    for _ in 0..count {
        let producer = ProducerId(reader.i64("aborted producer")?);
        let raw = reader.i64("first aborted offset")?;
        let bad = WireError::BadValue { what: "first aborted offset", value: raw };
        aborted.push((producer, Offset::new(raw).ok_or(bad)?));
        reader.skip_tagged()?;
    }
    Ok(aborted)
}

fn diverging(field: Bytes) -> Result<Option<(LeaderEpoch, Offset)>, WireError> {
    let mut reader = Reader::new(field);
    let epoch = reader.i32("diverging epoch")?;
    let raw = reader.i64("diverging end offset")?;
    reader.skip_tagged()?;
    reader.finish("diverging epoch")?;
    if epoch < 0 {
        return Ok(None);
    }
    let bad = WireError::BadValue { what: "diverging end offset", value: raw };
    Ok(Some((LeaderEpoch(epoch), Offset::new(raw).ok_or(bad)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TopicId;
    use crate::ids::TopicName;

    fn offset(raw: i64) -> Offset {
        Offset::new(raw).unwrap()
    }

    fn named(name: &str) -> TopicRef {
        TopicRef::Name(TopicName::new(name).unwrap())
    }

    fn ask(topics: [TopicRef; 2]) -> FetchAsk {
        let [first, second] = topics;
        let of = |topic: &TopicRef, partition| FetchAskPartition {
            topic: topic.clone(),
            partition: PartitionId(partition),
            leader_epoch: LeaderEpoch(3),
            offset: offset(4),
            last_epoch: LeaderEpoch(2),
            bytes_max: 9,
        };
        FetchAsk {
            session: FetchSession { id: 6, epoch: 7 },
            wait_ms_max: 500,
            bytes_min: 1,
            bytes_max: 64,
            isolation: Isolation::ReadCommitted,
            partitions: vec![of(&first, 0), of(&first, 1), of(&second, 0)],
            forgotten: vec![(second, PartitionId(5))],
            rack: "r1".into(),
        }
    }

    /// Hexadecimal with blanks where they help.
    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_request_by_name_stands_as_the_protocol_guide_says() {
        let mut out = Vec::new();
        ask([named("a"), named("b")]).encode(12, &mut out).unwrap();
        let partition = "00000003 0000000000000004 00000002 ffffffffffffffff 00000009 00";
        let expected = format!(
            "ffffffff 000001f4 00000001 00000040 01 00000006 00000007 \
             03 0261 03 00000000 {partition} 00000001 {partition} 00 \
             0262 02 00000000 {partition} 00 \
             02 0262 02 00000005 00 03 7231 00"
        );
        assert_eq!(hex(&out), expected.replace(' ', ""));
    }

    #[test]
    fn from_13_on_ids_and_from_15_on_no_replica() {
        let ids = || [TopicRef::Id(TopicId([0xaa; 16])), TopicRef::Id(TopicId([0xbb; 16]))];
        let sizes: Vec<usize> = (VERSION_MIN + 1..=VERSION_MAX)
            .map(|version| {
                let mut out = Vec::new();
                ask(ids()).encode(version, &mut out).unwrap();
                assert_eq!(out.starts_with(&[0xff; 4]), version < 15);
                out.len()
            })
            .collect();
        assert_eq!(sizes, [sizes[0], sizes[0], sizes[0] - 4, sizes[0] - 4, sizes[0] - 4]);
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        let mut out = Vec::new();
        let by_name = ask([named("a"), named("b")]);
        assert!(matches!(by_name.encode(13, &mut out), Err(AskError::WrongName { .. })));
        let by_id = ask([TopicRef::Id(TopicId([1; 16])), named("b")]);
        assert!(matches!(by_id.encode(12, &mut out), Err(AskError::WrongName { .. })));
        for version in [11, 18] {
            let version_error = AskError::Version { api: "Fetch", version };
            assert_eq!(by_name.encode(version, &mut out), Err(version_error));
            assert!(FetchAnswer::decode(Bytes::new(), version).is_err());
        }
    }

    /// One topic, one partition, every field and tag in use.
    fn answer(records: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_i32(25);
        out.put_i16(0);
        out.put_i32(6);
        put_count(&mut out, 1);
        out.put_slice(&[0xaa; 16]);
        put_count(&mut out, 1);
        out.put_i32(3);
        out.put_i16(6);
        [50, 40, -1].into_iter().for_each(|raw| out.put_i64(raw));
        put_count(&mut out, 2);
        [(7, 30), (8, 31)].into_iter().for_each(|(producer, first)| {
            out.put_i64(producer);
            out.put_i64(first);
            put_no_tags(&mut out);
        });
        out.put_i32(-1);
        put_count(&mut out, records.len());
        out.put_slice(records);
        out.put_slice(&[4, 0, 13, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 20, 0]);
        out.put_slice(&[1, 9, 0, 0, 0, 2, 0, 0, 0, 9, 0]);
        out.put_slice(&[2, 1, 77, 99, 0]);
        out.put_slice(&[0, 1, 0, 3, 1, 2, 3]);
        out
    }

    #[test]
    fn an_answer_is_read_in_place_with_its_tags() {
        let body = Bytes::from(answer(b"batches"));
        let answer = FetchAnswer::decode(body.clone(), 17).unwrap();
        assert_eq!((answer.throttle_ms, answer.code, answer.session_id), (25, KafkaCode::NONE, 6));
        let expected = FetchedPartition {
            topic: TopicRef::Id(TopicId([0xaa; 16])),
            partition: PartitionId(3),
            code: KafkaCode(6),
            high_watermark: Some(offset(50)),
            last_stable: Some(offset(40)),
            log_start: None,
            diverging: Some((LeaderEpoch(5), offset(20))),
            current_leader: Some((BrokerId(2), LeaderEpoch(9))),
            aborted: vec![(ProducerId(7), offset(30)), (ProducerId(8), offset(31))],
            preferred_replica: None,
            records: Bytes::from_static(b"batches"),
        };
        assert_eq!(answer.partitions, [expected]);
        assert!(body.as_ptr_range().contains(&answer.partitions[0].records.as_ptr()));
    }

    #[test]
    fn an_answer_cut_off_anywhere_or_too_long_is_an_error() {
        let whole = answer(b"batches");
        for len in 0..whole.len() {
            assert!(FetchAnswer::decode(Bytes::copy_from_slice(&whole[..len]), 17).is_err());
        }
        let long = Bytes::from([&whole[..], &[0]].concat());
        let trailing = WireError::Trailing { what: "the fetch answer", bytes: 1 };
        assert_eq!(FetchAnswer::decode(long, 17), Err(trailing));
    }

    #[test]
    fn a_session_counts_on_and_skips_zero() {
        assert_eq!(FetchSession::OPEN.next(9), FetchSession { id: 9, epoch: 1 });
        let last = FetchSession { id: 9, epoch: i32::MAX };
        assert_eq!(last.next(9), FetchSession { id: 9, epoch: 1 });
    }
}
