//! The destination of a run: what a stock broker does with one writer, and with strangers.
//!
//! It never knows what is right: it stores what the rules of brokers let through.

use std::collections::VecDeque;

use bytes::Bytes;
use isolog::ids::Offset;
use isolog::wire::batch::BatchView;
use isolog::wire::batch::at;
use isolog::wire::codec::Codec;
use isolog::wire::codec::decompress;
use isolog::wire::crc;
use isolog::wire::record::Records;

/// Sequences wrap here.
pub const SEQUENCES: i64 = 1 << 31;
/// What batches of repeats may be unpacked to, in bytes.
const UNPACKED_BYTES_MAX: usize = 16 << 20;

/// What readers see of a record: its number and time; `None` of a hidden one.
pub type Row = Option<(u64, i64)>;

/// A batch as the log has it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its first offset.
    pub base: i64,
    /// Of each of its offsets.
    pub rows: Vec<Row>,
    /// The bytes, with its base offset.
    pub view: BatchView,
    /// It came from somebody else.
    pub is_foreign: bool,
}

impl Stored {
    /// The offset behind the last.
    pub fn next(&self) -> i64 {
        self.base + self.rows.len() as i64
    }
}

/// Code, base offset, whether it was there already.
pub type Answer = (i16, i64, bool);

/// One partition.
#[derive(Default)]
pub struct Broker {
    /// Never a hole in it.
    pub log: Vec<Stored>,
    /// The next offset.
    pub end: i64,
    /// First sequence, length, base of the last five batches; empty: the writer is not known.
    pub writer: VecDeque<(i64, i64, i64)>,
    /// The topic is compacted: every record needs a key.
    pub is_compacted: bool,
}

impl Broker {
    /// What comes of a batch that our writer sent.
    pub fn append(&mut self, batch: &BatchView) -> Answer {
        if crc::check(batch).is_err() {
            return (2, -1, false);
        }
        let (sequence, span) = (i64::from(batch.base_sequence()), batch.span() as i64);
        let Some(rows) = rows(batch, self.is_compacted) else { return (87, -1, false) };
        let same = |&(first, length, _): &(i64, i64, i64)| (first, length) == (sequence, span);
        if let Some(&(_, _, base)) = self.writer.iter().find(|batch| same(batch)) {
            // a repeat is told by the time of what is there, if that has one
            let there = self.log.iter().rev().find(|batch| batch.base == base);
            return (0, base, there.is_some_and(|batch| batch.view.max_timestamp().0 >= 0));
        }
        let due = self.writer.back().map(|(first, length, _)| (first + length) % SEQUENCES);
        if due.is_some_and(|due| due != sequence) {
            return (45, -1, false);
        }
        self.writer.push_back((sequence, span, self.end));
        self.writer.drain(..self.writer.len().saturating_sub(5));
        (0, self.store(batch, rows, false), false)
    }

    /// A record of somebody else.
    pub fn intrude(&mut self, batch: &BatchView) {
        let rows = rows(batch, false).expect("a batch as it should be");
        self.store(batch, rows, true);
    }

    fn store(&mut self, batch: &BatchView, rows: Vec<Row>, is_foreign: bool) -> i64 {
        let base = self.end;
        let view = placed(batch, base);
        self.end += rows.len() as i64;
        self.log.push(Stored { base, rows, view, is_foreign });
        base
    }
}

/// The batch as it stands at `base`.
pub fn placed(batch: &BatchView, base: i64) -> BatchView {
    let mut header = batch.header().to_vec();
    header[..at::LENGTH].copy_from_slice(&base.to_be_bytes());
    BatchView::from_parts(Bytes::from(header), batch.records()).expect("only its place is new")
}

/// What readers see of a batch, if a broker takes it.
pub fn rows(batch: &BatchView, is_compacted: bool) -> Option<Vec<Row>> {
    let dense = u64::try_from(batch.count()) == Ok(batch.span()) && batch.attributes().0 < 8;
    if !dense {
        return None;
    }
    let codec = Codec::of(batch.attributes()).ok()?;
    let unpacked = match codec {
        Codec::None => None,
        _ => Some(decompress(codec, batch.section(), UNPACKED_BYTES_MAX).ok()?),
    };
    let section = unpacked.as_deref().unwrap_or(batch.section());
    let records = Records::new(section, batch.count().unsigned_abs()).ok()?;
    let mut rows = Vec::with_capacity(batch.span() as usize);
    for (place, record) in records.enumerate() {
        let record = record.ok()?;
        if is_compacted && record.key.is_none() {
            return None;
        }
        // what lies below its own place no reader gets
        let is_hidden = record.offset_delta < 0;
        if !is_hidden && record.offset_delta != place as i32 {
            return None;
        }
        let id =
            record.key.and_then(|key| key.try_into().ok()).map_or(u64::MAX, u64::from_be_bytes);
        let time = batch.base_timestamp().0 + record.timestamp_delta;
        rows.push((!is_hidden).then_some((id, time)));
    }
    Some(rows)
}

/// An offset of this world.
pub fn offset(raw: i64) -> Offset {
    Offset::new(raw).expect("offsets of this world are not negative")
}
