//! Records put behind one another into dense batches, a gap wherever an offset is left out.
//!
//! It never reorders and never drops: what is put in comes out at its offset.

use std::mem;

use bytes::Bytes;

use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::TimestampMs;
use crate::wire::batch::Attributes;
use crate::wire::batch::BatchView;
use crate::wire::batch::HEADER_BYTES;
use crate::wire::codec;
use crate::wire::codec::Codec;
use crate::wire::codec::CodecError;
use crate::wire::record::BatchHead;
use crate::wire::record::NO_SEQUENCE;
use crate::wire::record::NO_WRITER;
use crate::wire::record::NewRecord;
use crate::wire::record::RecordView;
use crate::wire::record::Records;
use crate::wire::reframe::Bounds;
use crate::wire::reframe::ReframeError;
use crate::wire::reframe::Run;

/// A run ends here at the latest, so that its length fits the header, in bytes before packing.
const RUN_BYTES_MAX: usize = 1 << 30;

/// Collects records into runs.
pub(super) struct Dense {
    codec: Codec,
    epoch: LeaderEpoch,
    bytes_max: usize,
    /// The first offset that no run covers and no open batch holds.
    next: Offset,
    open: Option<Open>,
    runs: Vec<Run>,
}

/// A batch that is being written.
struct Open {
    base: Offset,
    first_ms: i64,
    newest_ms: i64,
    count: i32,
    section: Vec<u8>,
}

impl Dense {
    /// Nothing yet; the first run begins at `from`.
    pub fn new(from: Offset, codec: Codec, epoch: LeaderEpoch, bounds: &Bounds) -> Dense {
        let bytes_max = bounds.batch_bytes_max.unwrap_or(usize::MAX);
        Dense { codec, epoch, bytes_max, next: from, open: None, runs: Vec::new() }
    }

    /// The least offset that `put` takes.
    pub fn next(&self) -> Offset {
        self.next
    }

    /// The record at `offset`, which is `next` or later.
    pub fn put(&mut self, offset: Offset, record: NewRecord<'_>) -> Result<(), CodecError> {
        if offset > self.next {
            self.close()?;
            self.runs.push(Run::Gap { from: self.next, next: offset });
        }
        let mut open = self.open.take().unwrap_or_else(|| Open::at(offset, record.timestamp_ms));
        let before = open.section.len();
        open.put(&record);
        let plain_bytes = HEADER_BYTES + open.section.len();
        let full = self.codec == Codec::None && plain_bytes > self.bytes_max;
        if open.count > 1 && (full || plain_bytes > RUN_BYTES_MAX) {
            open.take_back(before);
            self.open = Some(open);
            self.close()?;
            open = Open::at(offset, record.timestamp_ms);
            open.put(&record);
        }
        self.open = Some(open);
        self.next = offset.plus(1).expect("below the unit's end");
        Ok(())
    }

    /// The runs, up to `end`.
    pub fn finish(mut self, end: Offset) -> Result<Vec<Run>, ReframeError> {
        self.close()?;
        if end > self.next {
            self.runs.push(Run::Gap { from: self.next, next: end });
        }
        Ok(self.runs)
    }

    fn close(&mut self) -> Result<(), CodecError> {
        match self.open.take() {
            Some(open) => self.pack(open),
            None => Ok(()),
        }
    }

    /// Packs a batch; one that is too large then is packed as two.
    fn pack(&mut self, mut open: Open) -> Result<(), CodecError> {
        let batch = open.batch(self.codec, self.epoch)?;
        if batch.len() <= self.bytes_max || open.section.is_empty() || open.count == 1 {
            self.runs.push(Run::Batch(batch));
            return Ok(());
        }
        drop(batch);
        let (left, right) = open.halves();
        drop(open);
        self.pack(left)?;
        self.pack(right)
    }
}

impl Open {
    fn at(base: Offset, first_ms: i64) -> Open {
        Open { base, first_ms, newest_ms: first_ms, count: 0, section: Vec::new() }
    }

    fn put(&mut self, record: &NewRecord<'_>) {
        self.newest_ms = self.newest_ms.max(record.timestamp_ms);
        let view = RecordView {
            offset_delta: self.count,
            timestamp_delta: record.timestamp_ms.wrapping_sub(self.first_ms),
            key: record.key,
            value: record.value,
            headers: record.headers.clone(),
        };
        view.put(&mut self.section);
        self.count += 1;
    }

    /// Undoes the last `put`; the newest time is found again when the batch is written.
    fn take_back(&mut self, section_len: usize) {
        self.section.truncate(section_len);
        self.count -= 1;
        self.newest_ms = self.records().fold(self.first_ms, |newest, record| {
            newest.max(self.first_ms.wrapping_add(record.timestamp_delta))
        });
    }

    fn records(&self) -> impl Iterator<Item = RecordView<'_>> {
        let records = Records::new(&self.section, self.count.unsigned_abs());
        records.into_iter().flatten().map(|record| record.expect("written by put"))
    }

    fn halves(&self) -> (Open, Open) {
        let middle = self.count / 2;
        let base = self.base.plus(middle.unsigned_abs().into()).expect("inside the batch");
        let mut left = Open::at(self.base, self.first_ms);
        let mut right: Option<Open> = None;
        for (place, record) in (0..).zip(self.records()) {
            let timestamp_ms = self.first_ms.wrapping_add(record.timestamp_delta);
            let half = if place < middle {
                &mut left
            } else {
                right.get_or_insert_with(|| Open::at(base, timestamp_ms))
            };
            let RecordView { key, value, headers, .. } = record;
            half.put(&NewRecord { timestamp_ms, key, value, headers });
        }
        (left, right.expect("two records at least"))
    }

    /// The batch; what is not packed is moved into it, else the section stays.
    fn batch(&mut self, codec: Codec, epoch: LeaderEpoch) -> Result<BatchView, CodecError> {
        let records = Bytes::from(match codec {
            Codec::None => mem::take(&mut self.section),
            packed => codec::pack(packed, &self.section)?,
        });
        let head = BatchHead {
            base_offset: self.base,
            leader_epoch: epoch,
            attributes: Attributes(codec.number().into()),
            last_offset_delta: self.count - 1,
            base_timestamp: TimestampMs(self.first_ms),
            max_timestamp: TimestampMs(self.newest_ms),
            writer: NO_WRITER,
            base_sequence: NO_SEQUENCE,
            count: self.count,
        };
        let header = Bytes::copy_from_slice(&head.header(&records));
        Ok(BatchView::from_parts(header, records).expect("length and magic were just written"))
    }
}

/// One batch of all of `records`, from `base` on, in `codec`.
pub(super) fn one<'a>(
    base: Offset,
    codec: Codec,
    epoch: LeaderEpoch,
    records: impl Iterator<Item = Result<NewRecord<'a>, ReframeError>>,
) -> Result<Option<BatchView>, ReframeError> {
    let mut open: Option<Open> = None;
    for record in records {
        let record = record?;
        open.get_or_insert_with(|| Open::at(base, record.timestamp_ms)).put(&record);
    }
    Ok(match open {
        Some(mut open) => Some(open.batch(codec, epoch)?),
        None => None,
    })
}
