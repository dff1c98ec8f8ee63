//! Batches for the tests of this room.
//!
//! It never leaves the tests.

use bytes::BufMut;
use bytes::BytesMut;

use crate::ids::LeaderEpoch;
use crate::ids::LinkName;
use crate::ids::MirrorPartition;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::ProducerId;
use crate::ids::TimestampMs;
use crate::ids::TopicName;
use crate::mirror::align::tests::batch;
use crate::mirror::facts::Acked;
use crate::mirror::facts::FetchFrom;
use crate::mirror::facts::Fetched;
use crate::mirror::facts::GAP_OFFSETS_MAX;
use crate::mirror::facts::GapFill;
use crate::mirror::facts::Limits;
use crate::mirror::facts::Merge;
use crate::mirror::facts::OldFormat;
use crate::mirror::facts::Overtook;
use crate::mirror::facts::Policy;
use crate::mirror::facts::Prepared;
use crate::mirror::facts::Tail;
use crate::mirror::facts::Takes;
use crate::mirror::partition::PartitionMirror;
use crate::wire::batch::Attributes;
use crate::wire::batch::BatchView;
use crate::wire::error::KafkaCode;
use crate::wire::record::BatchHead;
use crate::wire::record::RecordView;
use crate::wire::reframe::UNPACKED_BYTES_MAX;
use crate::wire::rewrite::Writer;
use crate::wire::split::Piece;

fn made(base: i64, span: i32, producer: i64, attributes: i16, key: &[u8]) -> BatchView {
    let mut section = BytesMut::new();
    for offset_delta in 0..span {
        let (key, value, headers) = (Some(key), Some(&b"v"[..]), Vec::new());
        RecordView { offset_delta, timestamp_delta: 0, key, value, headers }.put(&mut section);
    }
    let head = BatchHead {
        base_offset: Offset::new(base).unwrap(),
        leader_epoch: LeaderEpoch(1),
        attributes: Attributes(attributes),
        last_offset_delta: span - 1,
        base_timestamp: TimestampMs(1_000 + base),
        max_timestamp: TimestampMs(1_000 + base),
        writer: Writer { id: ProducerId(producer), epoch: 0 },
        base_sequence: 0,
        count: span,
    };
    let header = head.header(&section);
    BatchView::new([&header[..], &section].concat().into()).unwrap()
}

/// `span` records that are no part of a transaction.
pub fn plain(base: i64, span: i32) -> BatchView {
    made(base, span, -1, 0, b"k")
}

/// The same batch, written by the next leader epoch.
pub fn later(batch: &BatchView) -> BatchView {
    let mut bytes = batch.to_bytes().to_vec();
    let epoch = batch.leader_epoch().0 + 1;
    // it is not under the checksum
    bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
    BatchView::new(bytes.into()).unwrap()
}

/// `span` records whose time is the broker's: they must be encoded anew.
pub fn stamped(base: i64, span: i32) -> BatchView {
    made(base, span, -1, Attributes::LOG_APPEND_TIME, b"k")
}

/// `span` records of a transaction of `producer`.
pub fn txn(base: i64, span: i32, producer: i64) -> BatchView {
    made(base, span, producer, Attributes::TRANSACTIONAL, b"k")
}

/// A marker: of type 0 it aborts, of type 1 it commits.
pub fn marker(base: i64, producer: i64, kind: i16) -> BatchView {
    let mut key = Vec::new();
    key.put_i16(0);
    key.put_i16(kind);
    made(base, 1, producer, Attributes::TRANSACTIONAL | Attributes::CONTROL, &key)
}

/// When all of it happens.
pub const NOW: TimestampMs = TimestampMs(2_000);

pub fn at(raw: i64) -> Offset {
    Offset::new(raw).unwrap()
}

pub fn facts(source: (i64, i64), destination_end: i64) -> Prepared {
    Prepared {
        asked_at: None,
        source_held: 0,
        source_start: at(source.0),
        source_end: at(source.1),
        source_log_end: at(source.1),
        destination_end: at(destination_end),
        destination_hwm: at(destination_end),
        tail: Tail::NothingShared,
        tail_timestamp: TimestampMs(-1),
        is_prefix: false,
        hole_to: None,
    }
}

pub fn fresh() -> PartitionMirror {
    let topic = TopicName::new("orders").unwrap();
    let name = MirrorPartition {
        link: LinkName("dr".into()),
        source_topic: topic.clone(),
        mirror_topic: topic,
        partition: PartitionId(0),
    };
    let limits = Limits {
        waiting_bytes_max: 10_000,
        fetch_bytes_max: 1_000_000,
        append_bytes_max: 1_000_000,
        unpacked_bytes_max: UNPACKED_BYTES_MAX,
        held_bytes_max: UNPACKED_BYTES_MAX,
        light_bytes_max: 1_000_000,
        producer_age_ms_max: 86_400_000,
        policy: POLICY,
    };
    let mut mirror = PartitionMirror::new(name, limits);
    mirror.set_takes(takes(false));
    mirror
}

/// What a link does unless told otherwise.
pub const POLICY: Policy = Policy {
    gap_fill: GapFill::Auto,
    overtook: Overtook::Halt,
    old_format: OldFormat::Convert,
    merge: Merge::Never,
    gap_offsets_max: GAP_OFFSETS_MAX,
};

pub fn takes(is_compacted: bool) -> Takes {
    let is_compacted = Some(is_compacted);
    Takes { is_compacted, leaves_batches: Some(true), ..Takes::default() }
}

pub fn mirroring(source_end: i64, end: i64) -> PartitionMirror {
    let mut mirror = fresh();
    mirror.handle_prepared(NOW, &facts((0, source_end), end));
    assert!(mirror.is_mirroring());
    mirror
}

/// What the machine would ask for.
pub fn asked(mirror: &PartitionMirror) -> FetchFrom {
    let (offset, last_epoch) = mirror.fetch_place();
    FetchFrom { offset, last_epoch, bytes_max: 0 }
}

pub fn fetched(mirror: &mut PartitionMirror, source_end: i64, batches: Vec<BatchView>) {
    let fetched = Fetched {
        asked_at: NOW,
        from: asked(mirror),
        source_end: at(source_end),
        high_watermark: at(source_end),
        log_start: None,
        aborted: Vec::new(),
    };
    mirror.handle_fetched(NOW, &fetched, batches.into_iter().map(Piece::Batch));
}

/// An empty answer, so many ms later.
pub fn later_by(mirror: &mut PartitionMirror, ms: i64, source_end: i64) {
    let fetched = Fetched {
        asked_at: NOW,
        from: asked(mirror),
        source_end: at(source_end),
        high_watermark: at(source_end),
        log_start: None,
        aborted: Vec::new(),
    };
    mirror.handle_fetched(TimestampMs(NOW.0 + ms), &fetched, Vec::new());
}

pub fn acked(mirror: &mut PartitionMirror, base: i64) {
    mirror.handle_appended(
        NOW,
        Acked { code: KafkaCode::NONE, base: Offset::new(base), is_repeat: false },
    );
}

pub fn refused(mirror: &mut PartitionMirror, code: i16) {
    mirror.handle_appended(NOW, Acked { code: KafkaCode(code), base: None, is_repeat: false });
}

pub fn tens(from: i64, count: i64) -> Vec<BatchView> {
    (0..count).map(|n| batch(from + 10 * n, 10, 10, 0)).collect()
}
