//! Batches that the tests of this room are written with.
//!
//! It never stands in the product.

use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::ProducerId;
use crate::ids::TimestampMs;
use crate::wire::batch::Attributes;
use crate::wire::batch::BatchView;
use crate::wire::record::BatchHead;
use crate::wire::record::RecordView;
use crate::wire::rewrite::Writer;

/// A record with offset and time.
#[derive(Clone, Debug)]
pub struct Sample {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    /// The value is null.
    pub null: bool,
    /// Names; every value is the name again.
    pub headers: Vec<String>,
}

impl Sample {
    pub fn new(offset: i64, value: &str) -> Sample {
        let (timestamp, value) = (1_000 + offset, value.as_bytes().to_vec());
        Sample { offset, timestamp, key: None, value, null: false, headers: Vec::new() }
    }

    pub fn key(self, key: &str) -> Sample {
        Sample { key: Some(key.as_bytes().to_vec()), ..self }
    }

    pub fn headers(self, names: &[&str]) -> Sample {
        Sample { headers: names.iter().map(|name| name.to_string()).collect(), ..self }
    }
}

pub fn at(raw: i64) -> Offset {
    Offset::new(raw).expect("tests count from 0")
}

fn whole(base: i64, span: i64, count: usize, times: (i64, i64), section: &[u8]) -> BatchView {
    let head = BatchHead {
        base_offset: at(base),
        leader_epoch: LeaderEpoch(0),
        attributes: Attributes(0),
        last_offset_delta: (span - 1) as i32,
        base_timestamp: TimestampMs(times.0),
        max_timestamp: TimestampMs(times.1),
        writer: Writer { id: ProducerId(-1), epoch: -1 },
        base_sequence: -1,
        count: count as i32,
    };
    BatchView::new([&head.header(section)[..], section].concat().into()).expect("a whole batch")
}

/// A batch of these records, which occupies the offsets from the first to the last.
pub fn batch(records: &[Sample]) -> BatchView {
    let (base, time) = (records[0].offset, records[0].timestamp);
    let mut section = Vec::new();
    for one in records {
        let names = one.headers.iter().map(|name| (name.as_bytes(), Some(name.as_bytes())));
        let record = RecordView {
            offset_delta: (one.offset - base) as i32,
            timestamp_delta: one.timestamp - time,
            key: one.key.as_deref(),
            value: (!one.null).then_some(&one.value[..]),
            headers: names.collect(),
        };
        record.put(&mut section);
    }
    let last = records.iter().map(|one| one.offset).max().expect("a batch has records");
    let max = records.iter().map(|one| one.timestamp).max().expect("a batch has records");
    whole(base, last - base + 1, records.len(), (time, max), &section)
}

/// Hidden fillers (broker facts A10).
pub fn fillers(base: i64, count: usize) -> BatchView {
    let mut section = Vec::new();
    for _ in 0..count {
        let (offset_delta, timestamp_delta) = (i32::MIN, 0);
        let (key, value, headers) = (None, None, Vec::new());
        RecordView { offset_delta, timestamp_delta, key, value, headers }.put(&mut section);
    }
    whole(base, count as i64, count, (-1, -1), &section)
}
