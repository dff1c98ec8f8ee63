//! Records put behind one another into dense batches, a gap wherever an offset is left out.
//!
//! It never reorders and never drops: what is put in comes out at its offset. It never holds a
//! record: what is put in is packed at once.

use std::collections::BTreeSet;

use bytes::BufMut;
use bytes::Bytes;

use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::TimestampMs;
use crate::wire::batch::Attributes;
use crate::wire::batch::BatchView;
use crate::wire::batch::HEADER_BYTES;
use crate::wire::codec::Codec;
use crate::wire::codec::CodecError;
use crate::wire::codec::packer::Packer;
use crate::wire::record::BatchHead;
use crate::wire::record::NO_SEQUENCE;
use crate::wire::record::NO_WRITER;
use crate::wire::record::NewRecord;
use crate::wire::record::RecordView;
use crate::wire::record::put_varint;
use crate::wire::record::put_varlong;
use crate::wire::record::varlong_len;
use crate::wire::reframe::Bounds;
use crate::wire::reframe::ReframeError;
use crate::wire::reframe::Run;

/// A run ends here at the latest, so that its length fits the header, in bytes before packing.
const RUN_BYTES_MAX: usize = 1 << 30;
/// The most that a record has before its tail: a length, attributes, two deltas.
const RECORD_HEAD_BYTES_MAX: usize = 5 + 1 + 10 + 5;

/// Where batches must end that came out too large the last time.
pub(super) type Splits = BTreeSet<Offset>;

/// Collects records into runs.
pub(super) struct Dense<'a> {
    codec: Codec,
    epoch: LeaderEpoch,
    bytes_max: usize,
    splits: &'a Splits,
    /// The first offset that no run covers and no open batch holds.
    next: Offset,
    open: Option<Open>,
    runs: Vec<Run>,
    /// Where batches that came out too large are to be split.
    more: Vec<Offset>,
}

/// A batch that is being written.
struct Open {
    base: Offset,
    first_ms: i64,
    newest_ms: i64,
    count: i32,
    /// What was put in, in bytes before packing.
    plain_bytes: usize,
    section: Packer,
}

impl Dense<'_> {
    /// Nothing yet; the first run begins at `from`.
    pub fn new<'a>(
        from: Offset,
        codec: Codec,
        epoch: LeaderEpoch,
        bounds: &Bounds,
        splits: &'a Splits,
    ) -> Dense<'a> {
        let bytes_max = bounds.batch_bytes_max.unwrap_or(usize::MAX);
        let (open, runs, more) = (None, Vec::new(), Vec::new());
        Dense { codec, epoch, bytes_max, splits, next: from, open, runs, more }
    }

    /// The least offset that `begin` and `put` take.
    pub fn next(&self) -> Offset {
        self.next
    }

    /// A record at `offset`, which is `next` or later; `tail_bytes` of key, value and headers
    /// follow.
    pub fn begin(
        &mut self,
        offset: Offset,
        timestamp_ms: i64,
        tail_bytes: usize,
    ) -> Result<(), CodecError> {
        if offset > self.next || self.splits.contains(&offset) {
            self.close()?;
        }
        if offset > self.next {
            self.runs.push(Run::Gap { from: self.next, next: offset });
        }
        if self.open.as_ref().is_some_and(|open| !self.fits(open, timestamp_ms, tail_bytes)) {
            self.close()?;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => Open::at(offset, timestamp_ms, self.codec)?,
        };
        open.begin(timestamp_ms, tail_bytes)?;
        self.open = Some(open);
        self.next = offset.plus(1).expect("below the unit's end");
        Ok(())
    }

    /// More of the tail of the record that was begun last.
    pub fn tail(&mut self, bytes: &[u8]) -> Result<(), CodecError> {
        self.open.as_mut().map_or(Ok(()), |open| open.section.write(bytes))
    }

    /// The whole record at `offset`.
    pub fn put(&mut self, offset: Offset, record: NewRecord<'_>) -> Result<(), CodecError> {
        let (timestamp_ms, tail) = (record.timestamp_ms, tail_of(record));
        self.begin(offset, timestamp_ms, tail.len())?;
        self.tail(&tail)
    }

    /// The runs, up to `end`; or where to split those that came out too large.
    pub fn finish(mut self, end: Offset) -> Result<Result<Vec<Run>, Vec<Offset>>, ReframeError> {
        self.close()?;
        if end > self.next {
            self.runs.push(Run::Gap { from: self.next, next: end });
        }
        Ok(if self.more.is_empty() { Ok(self.runs) } else { Err(self.more) })
    }

    /// Whether one more record fits into the batch, as far as that is known before it is packed.
    fn fits(&self, open: &Open, timestamp_ms: i64, tail_bytes: usize) -> bool {
        let bytes = HEADER_BYTES + open.plain_bytes + open.record_bytes(timestamp_ms, tail_bytes);
        bytes <= RUN_BYTES_MAX && (self.codec != Codec::None || bytes <= self.bytes_max)
    }

    fn close(&mut self) -> Result<(), CodecError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let (base, count) = (open.base, open.count.unsigned_abs() as usize);
        let batch = open.batch(self.codec, self.epoch)?;
        if batch.len() <= self.bytes_max || count == 1 {
            self.runs.push(Run::Batch(batch));
            return Ok(());
        }
        let parts = (batch.len() / self.bytes_max.max(1) + 1).clamp(2, count);
        let offset = |part: usize| base.plus((count as u64 * part as u64) / parts as u64);
        self.more.extend((1..parts).filter_map(offset));
        self.runs.clear(); // they are made again
        Ok(())
    }
}

fn tail_of(record: NewRecord<'_>) -> Vec<u8> {
    let NewRecord { key, value, headers, .. } = record;
    let view = RecordView { offset_delta: 0, timestamp_delta: 0, key, value, headers };
    let mut tail = Vec::with_capacity(view.encoded_len());
    view.put_tail(&mut tail);
    tail
}

impl Open {
    fn at(base: Offset, first_ms: i64, codec: Codec) -> Result<Open, CodecError> {
        let section = Packer::new(codec)?;
        let newest_ms = first_ms;
        Ok(Open { base, first_ms, newest_ms, count: 0, plain_bytes: 0, section })
    }

    /// What a record takes but for its length.
    fn body_bytes(&self, timestamp_ms: i64, tail_bytes: usize) -> usize {
        let timestamp_delta = timestamp_ms.wrapping_sub(self.first_ms);
        1 + varlong_len(timestamp_delta) + varlong_len(self.count.into()) + tail_bytes
    }

    fn record_bytes(&self, timestamp_ms: i64, tail_bytes: usize) -> usize {
        let body = self.body_bytes(timestamp_ms, tail_bytes);
        varlong_len(body as i64) + body
    }

    /// Writes what stands before a record's tail.
    fn begin(&mut self, timestamp_ms: i64, tail_bytes: usize) -> Result<(), CodecError> {
        let mut head = [0; RECORD_HEAD_BYTES_MAX];
        let mut out = &mut head[..];
        put_varlong(&mut out, self.body_bytes(timestamp_ms, tail_bytes) as i64);
        out.put_u8(0);
        // a difference that wraps comes back when a reader adds it
        put_varlong(&mut out, timestamp_ms.wrapping_sub(self.first_ms));
        put_varint(&mut out, self.count);
        let used = RECORD_HEAD_BYTES_MAX - out.remaining_mut();
        self.plain_bytes += self.record_bytes(timestamp_ms, tail_bytes);
        self.newest_ms = self.newest_ms.max(timestamp_ms);
        self.count += 1;
        self.section.write(&head[..used])
    }

    fn batch(self, codec: Codec, epoch: LeaderEpoch) -> Result<BatchView, CodecError> {
        let records = Bytes::from(self.section.finish()?);
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
        let mut now = match open.take() {
            Some(open) => open,
            None => Open::at(base, record.timestamp_ms, codec)?,
        };
        let (timestamp_ms, tail) = (record.timestamp_ms, tail_of(record));
        now.begin(timestamp_ms, tail.len())?;
        now.section.write(&tail)?;
        open = Some(now);
    }
    Ok(match open {
        Some(open) => Some(open.batch(codec, epoch)?),
        None => None,
    })
}
