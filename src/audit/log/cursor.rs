//! One log as its readers see it: whole batches go in, committed records come out in order.
//!
//! It never asks a broker and never uses what decides in `mirror` what is copied: who audits must
//! not lean on what is audited.

use std::collections::BTreeSet;
use std::collections::VecDeque;

use bytes::Bytes;

use crate::ids::Offset;
use crate::ids::ProducerId;
use crate::wire::batch::Attributes;
use crate::wire::batch::BatchView;
use crate::wire::codec;
use crate::wire::codec::Codec;
use crate::wire::codec::CodecError;
use crate::wire::crc;
use crate::wire::error::WireError;
use crate::wire::record::RecordView;
use crate::wire::record::Records;
use crate::wire::record::take_varint;
use crate::wire::record::take_varlong;
use crate::wire::reframe::Bounds;
use crate::wire::reframe::ReframeError;
use crate::wire::reframe::Run;
use crate::wire::reframe::reframe;
use crate::wire::split::Piece;

/// The largest batch that is opened, unpacked: a batch itself is at most 100 MiB.
const SECTION_BYTES_MAX: usize = 256 << 20;
/// The type of a marker that ends a transaction in vain (`ControlRecordType`).
const ABORT: i16 = 0;

/// What one fetch brought, in order.
#[derive(Debug)]
pub struct Portion {
    /// Whole batches; the first may begin below the offset that was asked for.
    pub pieces: Vec<Piece>,
    /// Producers whose records from that offset to their next marker were aborted.
    pub aborted: Vec<(ProducerId, Offset)>,
    /// Everything below it is in `pieces` or does not exist.
    pub next: Offset,
}

impl Portion {
    /// The base offset of the first such batch.
    pub fn first_such(&self, is_such: impl Fn(&BatchView) -> bool) -> Option<Offset> {
        let is_found = |piece: &&Piece| matches!(piece, Piece::Batch(batch) if is_such(batch));
        self.pieces.iter().find(is_found).and_then(base_of)
    }

    /// Takes everything away from the first such batch on, whose base offset comes back.
    pub fn cut_before(&mut self, is_such: impl Fn(&BatchView) -> bool) -> Option<Offset> {
        let is_found = |piece: &Piece| matches!(piece, Piece::Batch(batch) if is_such(batch));
        let at = self.pieces.iter().position(is_found)?;
        let base = self.pieces.get(at).and_then(base_of)?;
        self.pieces.truncate(at);
        self.next = base;
        Some(base)
    }
}

/// Why a batch cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the batch at {base}: {why}")]
pub struct Unreadable {
    /// The batch's base offset.
    pub base: Offset,
    /// What is wrong with it.
    pub why: Why,
}

/// What is wrong with a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Its checksum.
    #[error("its checksum is wrong")]
    Checksum,
    /// Its records.
    #[error(transparent)]
    Records(#[from] WireError),
    /// Its compression.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A message of format 0 or 1.
    #[error(transparent)]
    Old(#[from] ReframeError),
}

/// Where a cursor stands.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Another portion is needed.
    Need,
    /// Behind the last record below the end.
    End,
    /// At a batch that is not opened.
    Batch,
    /// At a record of an opened batch.
    Record,
}

/// One record where a cursor stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen<'a> {
    /// Its offset.
    pub offset: Offset,
    /// Its time as readers see it, in ms since 1970.
    pub timestamp: i64,
    /// The rest.
    pub record: RecordView<'a>,
}

/// What was passed over, in offsets.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Hidden fillers.
    pub fillers: u64,
    /// Control batches.
    pub control: u64,
    /// Aborted batches.
    pub aborted: u64,
}

/// An opened batch.
#[derive(Clone)]
struct Open {
    base: Offset,
    next: Offset,
    base_timestamp: i64,
    /// The time that all its records have, where the broker gave it.
    stamp: Option<i64>,
    /// Its records, decompressed.
    section: Bytes,
    /// Where the present record begins, and the next one.
    at: usize,
    after: usize,
    /// The present record's offset.
    offset: Offset,
    timestamp: i64,
    /// Records behind the present one.
    left: u32,
}

/// A position in one log.
#[derive(Clone)]
pub struct Cursor {
    from: Offset,
    end: Offset,
    committed_only: bool,
    queue: VecDeque<Piece>,
    open: Option<Open>,
    /// Everything below it was fed.
    fed: Offset,
    passed: Passed,
}

impl Cursor {
    /// A cursor over the records of `from..end`.
    pub fn new(from: Offset, end: Offset, committed_only: bool) -> Cursor {
        let (queue, passed) = (VecDeque::new(), Passed::default());
        Cursor { from, end, committed_only, queue, open: None, fed: from, passed }
    }

    /// Nothing from there on is looked at any more.
    pub fn end_at(&mut self, end: Offset) {
        self.end = self.end.min(end);
        let is_beyond = |open: &Open| open.after > open.at && open.offset >= end;
        self.open = self.open.take().filter(|open| !is_beyond(open));
    }

    /// Goes on over `from..end`, of which nothing was fed yet.
    pub fn go_on(&mut self, from: Offset, end: Offset) {
        (self.from, self.end, self.fed) = (from, end, from);
        self.queue.clear();
        self.open = None;
    }

    /// What was passed over so far.
    pub fn passed(&self) -> Passed {
        self.passed
    }

    /// Below it nothing is left to be looked at.
    pub fn position(&self) -> Offset {
        let queued = self.queue.front().and_then(base_of);
        let at = self.open.as_ref().map(|open| open.offset).or(queued).unwrap_or(self.fed);
        at.clamp(self.from, self.end)
    }

    /// Takes the next portion in. Aborted and control batches are sorted out here, where the list
    /// that belongs to them is at hand.
    pub fn feed(&mut self, portion: Portion) {
        let mut aborted = Aborted::new(portion.aborted);
        self.fed = self.fed.max(portion.next);
        for piece in portion.pieces {
            if let Piece::Batch(batch) = &piece {
                let span = self.overlap(batch);
                let is_aborted = aborted.pass(batch) && self.committed_only;
                if batch.attributes().has(Attributes::CONTROL) {
                    self.passed.control += span;
                    continue;
                }
                if is_aborted {
                    self.passed.aborted += span;
                    continue;
                }
                if span == 0 || batch.count() == 0 {
                    continue;
                }
            }
            self.queue.push_back(piece);
        }
    }

    /// How many offsets of a batch lie between `from` and `end`.
    fn overlap(&self, batch: &BatchView) -> u64 {
        let from = batch.base_offset().max(self.from);
        from.distance_to(batch.next_offset().min(self.end))
    }

    /// Where it stands now; hidden records are passed over.
    pub fn place(&mut self) -> Result<Place, Unreadable> {
        if let Some(open) = &mut self.open {
            if open.after > open.at {
                return Ok(Place::Record);
            }
            let hidden = &mut self.passed.fillers;
            let found = open.find(self.from, self.end, hidden);
            if found.map_err(|why| Unreadable { base: open.base, why: why.into() })? {
                return Ok(Place::Record);
            }
            self.open = None;
        }
        match self.queue.front().map(base_of) {
            Some(base) if base.is_none_or(|base| base < self.end) => return Ok(Place::Batch),
            Some(_) => {
                self.queue.clear();
                return Ok(Place::End);
            }
            None => {}
        }
        Ok(if self.fed >= self.end { Place::End } else { Place::Need })
    }

    /// The unopened batch where it stands.
    pub fn batch(&self) -> Option<&BatchView> {
        match self.queue.front() {
            Some(Piece::Batch(batch)) if self.open.is_none() => Some(batch),
            _ => None,
        }
    }

    /// Whether all of a batch lies in the range.
    pub fn is_inside(&self, batch: &BatchView) -> bool {
        self.overlap(batch) == batch.span()
    }

    /// Goes behind the unopened batch.
    pub fn skip_batch(&mut self) {
        self.queue.pop_front();
    }

    /// Opens the batch where it stands.
    pub fn open_batch(&mut self) -> Result<(), Unreadable> {
        let Some(piece) = self.queue.pop_front() else { return Ok(()) };
        let Piece::Batch(batch) = &piece else { return self.convert(&piece) };
        let base = batch.base_offset();
        let opened = open(batch).map_err(|why| Unreadable { base, why });
        self.open = Some(opened?);
        Ok(())
    }

    /// Puts what messages of format 0 or 1 hold in their place.
    fn convert(&mut self, piece: &Piece) -> Result<(), Unreadable> {
        let Piece::OldFormat { offset, .. } = piece else { return Ok(()) };
        let runs = reframe(piece, self.from, &Bounds::default());
        let runs = runs.map_err(|why| Unreadable { base: *offset, why: why.into() })?;
        for run in runs.into_iter().rev() {
            if let Run::Batch(batch) = run {
                self.queue.push_front(Piece::Batch(batch));
            }
        }
        Ok(())
    }

    /// The record where it stands.
    pub fn record(&self) -> Result<Option<Seen<'_>>, Unreadable> {
        let Some(open) = self.open.as_ref().filter(|open| open.after > open.at) else {
            return Ok(None);
        };
        let bad = |why: WireError| Unreadable { base: open.base, why: why.into() };
        let mut records = Records::new(&open.section[open.at..open.after], 1).map_err(bad)?;
        let record = records.next().transpose().map_err(bad)?;
        let seen = |record| Seen { offset: open.offset, timestamp: open.timestamp, record };
        Ok(record.map(seen))
    }

    /// Goes behind the record where it stands.
    pub fn skip_record(&mut self) {
        if let Some(open) = &mut self.open {
            open.at = open.after;
        }
    }
}

fn base_of(piece: &Piece) -> Option<Offset> {
    match piece {
        Piece::Batch(batch) => Some(batch.base_offset()),
        Piece::OldFormat { .. } => None,
    }
}

fn open(batch: &BatchView) -> Result<Open, Why> {
    crc::check(batch).map_err(|_| Why::Checksum)?;
    let section = match Codec::of(batch.attributes())? {
        Codec::None => batch.records(),
        codec => codec::decompress(codec, batch.section(), SECTION_BYTES_MAX)?.into(),
    };
    let is_stamped = batch.attributes().has(Attributes::LOG_APPEND_TIME);
    Ok(Open {
        base: batch.base_offset(),
        next: batch.next_offset(),
        base_timestamp: batch.base_timestamp().0,
        stamp: is_stamped.then_some(batch.max_timestamp().0),
        section,
        at: 0,
        after: 0,
        offset: batch.base_offset(),
        timestamp: 0,
        left: batch.count().unsigned_abs(),
    })
}

impl Open {
    /// Finds the next record between `from` and `end`; `false` behind the last one.
    fn find(&mut self, from: Offset, end: Offset, hidden: &mut u64) -> Result<bool, WireError> {
        while self.left > 0 {
            self.left -= 1;
            match self.read_head()? {
                None => *hidden += 1,
                Some(offset) if offset >= from && offset < end => {
                    self.offset = offset;
                    return Ok(true);
                }
                Some(_) => {}
            }
            self.at = self.after;
        }
        match self.section.len() - self.at {
            0 => Ok(false),
            bytes => Err(WireError::Trailing { what: "the records", bytes }),
        }
    }

    /// Reads time and offset of the record at `at`; `None` for one that lies outside of its batch,
    /// which no reader is ever shown.
    fn read_head(&mut self) -> Result<Option<Offset>, WireError> {
        let mut left = &self.section[self.at..];
        let length = take_varint(&mut left, "record length")?;
        let have = left.len();
        let need = usize::try_from(length).ok().filter(|need| *need <= have);
        let short = WireError::Truncated { what: "record", need: length as usize, have };
        self.after = self.section.len() - have + need.ok_or(short)?;
        let (_, mut left) = left.split_first().ok_or(WireError::Truncated {
            what: "record attributes",
            need: 1,
            have: 0,
        })?;
        let delta = take_varlong(&mut left, "timestamp delta")?;
        self.timestamp = self.stamp.unwrap_or(self.base_timestamp.wrapping_add(delta));
        let delta = take_varint(&mut left, "offset delta")?;
        let offset = u64::try_from(delta).ok().and_then(|delta| self.base.plus(delta));
        Ok(offset.filter(|offset| *offset < self.next))
    }
}

/// Who is inside an aborted transaction, batch by batch of one portion.
pub(super) struct Aborted {
    /// By first aborted offset, the last one first.
    coming: Vec<(ProducerId, Offset)>,
    now: BTreeSet<ProducerId>,
}

impl Aborted {
    pub fn new(mut coming: Vec<(ProducerId, Offset)>) -> Aborted {
        coming.sort_by_key(|one| std::cmp::Reverse(one.1));
        Aborted { coming, now: BTreeSet::new() }
    }

    /// Goes over one batch; whether it is aborted.
    pub fn pass(&mut self, batch: &BatchView) -> bool {
        while self.coming.last().is_some_and(|one| one.1 < batch.next_offset()) {
            self.now.extend(self.coming.pop().map(|one| one.0));
        }
        if batch.attributes().has(Attributes::CONTROL) {
            if is_abort(batch) {
                self.now.remove(&batch.producer_id());
            }
            return false;
        }
        let transactional = batch.attributes().has(Attributes::TRANSACTIONAL);
        transactional && self.now.contains(&batch.producer_id())
    }
}

/// Whether a control batch ends a transaction in vain: version and type stand in its key.
fn is_abort(batch: &BatchView) -> bool {
    let Ok(mut records) = Records::of(batch) else { return false };
    let key = records.next().and_then(Result::ok).and_then(|record| record.key);
    key.and_then(|key| key.get(2..4)).is_some_and(|kind| kind == ABORT.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::ids::LeaderEpoch;
    use crate::ids::TimestampMs;
    use crate::wire::record::BatchHead;
    use crate::wire::rewrite::Writer;

    fn at(raw: i64) -> Offset {
        Offset::new(raw).unwrap()
    }

    fn batch(base: i64, deltas: &[i32], span: i32, bits: i16, producer: i64) -> BatchView {
        let mut section = Vec::new();
        for delta in deltas {
            let value = format!("v{}", base + i64::from(*delta));
            let record = RecordView {
                offset_delta: *delta,
                timestamp_delta: 1,
                key: (bits & Attributes::CONTROL != 0).then_some(&[0, 0, 0, 0][..]),
                value: Some(value.as_bytes()),
                headers: Vec::new(),
            };
            record.put(&mut section);
        }
        let head = BatchHead {
            base_offset: at(base),
            leader_epoch: LeaderEpoch(0),
            attributes: Attributes(bits),
            last_offset_delta: span - 1,
            base_timestamp: TimestampMs(100),
            max_timestamp: TimestampMs(500),
            writer: Writer { id: ProducerId(producer), epoch: 0 },
            base_sequence: 0,
            count: deltas.len() as i32,
        };
        let header = head.header(&section);
        BatchView::new([&header[..], &section].concat().into()).unwrap()
    }

    fn fed(batches: Vec<BatchView>, aborted: &[(i64, i64)], from: i64, end: i64) -> Cursor {
        let mut cursor = Cursor::new(at(from), at(end), true);
        let aborted = aborted.iter().map(|(id, first)| (ProducerId(*id), at(*first))).collect();
        let pieces = batches.into_iter().map(Piece::Batch).collect();
        cursor.feed(Portion { pieces, aborted, next: at(end) });
        cursor
    }

    fn offsets(cursor: &mut Cursor) -> Result<Vec<i64>, Unreadable> {
        let mut seen = Vec::new();
        loop {
            match cursor.place()? {
                Place::Batch => cursor.open_batch()?,
                Place::Record => {
                    let record = cursor.record()?.unwrap();
                    let value = format!("v{}", record.offset);
                    assert_eq!(record.record.value, Some(value.as_bytes()));
                    seen.push(record.offset.get());
                    cursor.skip_record();
                }
                Place::End => return Ok(seen),
                Place::Need => panic!("fed up to the end"),
            }
        }
    }

    #[test]
    fn only_records_inside_of_the_range_and_of_their_batch_are_seen() {
        let hidden = batch(6, &[i32::MIN, i32::MIN], 2, 0, -1);
        let batches = vec![batch(0, &[0, 1, 2], 3, 0, -1), batch(4, &[0, 1], 2, 0, -1), hidden];
        let mut cursor = fed(batches, &[], 1, 8);
        assert_eq!(offsets(&mut cursor), Ok(vec![1, 2, 4, 5]));
        assert_eq!(cursor.passed(), Passed { fillers: 2, control: 0, aborted: 0 });
        let mut cursor = fed(vec![batch(0, &[0, 1, 2], 3, 0, -1)], &[], 0, 2);
        assert_eq!(offsets(&mut cursor), Ok(vec![0, 1]));
    }

    #[test]
    fn aborted_transactions_and_markers_are_no_records() {
        let transactional = Attributes::TRANSACTIONAL;
        let marker = transactional | Attributes::CONTROL;
        let batches = vec![
            batch(0, &[0, 1], 2, transactional, 7),
            batch(2, &[0], 1, transactional, 8),
            batch(3, &[0], 1, marker, 7),
            batch(4, &[0], 1, transactional, 7),
            batch(5, &[0], 1, 0, 7),
        ];
        let mut cursor = fed(batches.clone(), &[(7, 0)], 0, 6);
        assert_eq!(offsets(&mut cursor), Ok(vec![2, 4, 5]), "its marker ends the transaction");
        assert_eq!(cursor.passed(), Passed { fillers: 0, control: 1, aborted: 2 });
        let mut all = Cursor::new(at(0), at(6), false);
        let pieces = batches.into_iter().map(Piece::Batch).collect();
        all.feed(Portion { pieces, aborted: vec![(ProducerId(7), at(0))], next: at(6) });
        assert_eq!(offsets(&mut all), Ok(vec![0, 1, 2, 4, 5]));
    }

    #[test]
    fn a_log_append_time_batch_has_one_time() {
        let mut cursor = fed(vec![batch(0, &[0], 1, Attributes::LOG_APPEND_TIME, -1)], &[], 0, 1);
        cursor.place().unwrap();
        cursor.open_batch().unwrap();
        cursor.place().unwrap();
        assert_eq!(cursor.record().unwrap().unwrap().timestamp, 500);
        let mut cursor = fed(vec![batch(0, &[0], 1, 0, -1)], &[], 0, 1);
        cursor.place().unwrap();
        cursor.open_batch().unwrap();
        cursor.place().unwrap();
        assert_eq!(cursor.record().unwrap().unwrap().timestamp, 101);
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        let good = batch(3, &[0, 1], 2, 0, -1);
        let mut bytes = [good.header(), &good.records()].concat();
        *bytes.last_mut().unwrap() ^= 1;
        let mut cursor = fed(vec![BatchView::new(bytes.into()).unwrap()], &[], 3, 5);
        let said = offsets(&mut cursor).unwrap_err();
        assert_eq!(said.to_string(), "the batch at 3: its checksum is wrong");
    }

    #[test]
    fn a_cursor_asks_for_more_until_it_was_fed_to_its_end() {
        let mut cursor = Cursor::new(at(0), at(10), true);
        assert_eq!(cursor.place(), Ok(Place::Need));
        let pieces = vec![Piece::Batch(batch(0, &[0], 5, 0, -1))];
        cursor.feed(Portion { pieces, aborted: Vec::new(), next: at(5) });
        assert_eq!(cursor.place(), Ok(Place::Batch));
        cursor.skip_batch();
        assert_eq!((cursor.place(), cursor.position()), (Ok(Place::Need), at(5)));
        cursor.feed(Portion { pieces: Vec::new(), aborted: Vec::new(), next: at(10) });
        assert_eq!(cursor.place(), Ok(Place::End));
    }
}
