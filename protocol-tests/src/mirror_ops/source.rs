//! The source of a run: a log with every kind of batch, cleaned, trimmed and truncated by dice.
//!
//! It never knows the mirror: beside the log it keeps the truth, one cell per offset, and that is
//! the model by which the copy is judged.

use std::collections::BTreeMap;

use bytes::Bytes;
use bytes::BytesMut;
use isolog::ids::LeaderEpoch;
use isolog::ids::Offset;
use isolog::ids::ProducerId;
use isolog::ids::TimestampMs;
use isolog::wire::batch::Attributes;
use isolog::wire::batch::BatchView;
use isolog::wire::record::BatchHead;
use isolog::wire::record::RecordView;
use isolog::wire::rewrite::Writer;

/// What readers may see at one offset: the record of that number and time, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The record's number and time, until the source says that nobody may see it.
    pub record: Option<(u64, i64)>,
    /// Cleaned away since: a copy may or may not have it.
    pub is_gone: bool,
}

/// A batch as the log has it.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Its first offset.
    pub base: i64,
    /// How many it occupies.
    pub span: i64,
    /// The bytes.
    pub view: BatchView,
}

impl Batch {
    /// The offset behind the last.
    pub fn next(&self) -> i64 {
        self.base + self.span
    }

    /// The attribute bits.
    pub fn has(&self, bits: i16) -> bool {
        self.view.attributes().has(bits)
    }
}

/// One aborted transaction, as a broker's index has it.
#[derive(Clone, Copy, Debug)]
pub struct AbortedTxn {
    /// Whose.
    pub producer: i64,
    /// Its first record.
    pub first: i64,
    /// Its marker.
    pub last: i64,
}

/// The log and the truth about it.
#[derive(Default)]
pub struct Source {
    /// In order; holes are where compaction was.
    pub log: Vec<Batch>,
    /// The first offset to be had.
    pub start: i64,
    /// The next to be written.
    pub end: i64,
    /// Where the log once began.
    pub origin: i64,
    /// The leader's epoch.
    pub epoch: i32,
    /// Epochs and where they begin, as a broker's cache has them, whatever compaction took.
    epochs: Vec<(i32, i64)>,
    /// Where each open transaction begins, by producer.
    open: BTreeMap<i64, i64>,
    /// Those that were aborted.
    pub aborted: Vec<AbortedTxn>,
    /// Of every offset from `origin` on.
    pub truth: Vec<Cell>,
    /// How often the truth about an offset became another one.
    pub changes: u64,
    /// Numbers the records.
    ids: u64,
}

/// All times of this world.
pub const WALL: i64 = 1_000_000_000;
/// Nothing that readers may see.
const NOTHING: Cell = Cell { record: None, is_gone: false };

impl Source {
    /// An empty log that begins at `start`.
    pub fn new(start: i64) -> Source {
        Source { start, end: start, origin: start, ..Source::default() }
    }

    /// The truth at an offset; `None` below the log's origin.
    pub fn cell(&self, at: i64) -> Option<&Cell> {
        self.truth.get(usize::try_from(at - self.origin).ok()?)
    }

    /// What read_committed readers may reach.
    pub fn stable(&self) -> i64 {
        self.open.values().copied().min().unwrap_or(self.end)
    }

    /// Appends `span` records with these attribute bits, in a transaction of `producer` if it is
    /// not negative.
    pub fn write(&mut self, span: i64, bits: i16, producer: i64) {
        let base = self.end;
        let stamp = WALL + (base % 1_000);
        let is_stamped = bits & Attributes::LOG_APPEND_TIME != 0;
        let mut rows = Vec::new();
        for delta in 0..span {
            self.ids += 1;
            let time = if is_stamped { stamp + 9 } else { stamp + delta % 3 };
            self.truth.push(Cell { record: Some((self.ids, time)), is_gone: false });
            rows.push((delta as i32, delta % 3, self.ids));
        }
        if producer >= 0 {
            self.open.entry(producer).or_insert(base);
        }
        let times = (stamp, if is_stamped { stamp + 9 } else { stamp + 2.min(span - 1) });
        let txn = if producer >= 0 { Attributes::TRANSACTIONAL } else { 0 };
        self.push(span, made(base, span, bits | txn, producer, self.epoch, times, &rows));
    }

    /// Appends a control batch: type 0 aborts, 1 commits, others are known to nobody. Where the
    /// link reads what is not committed (`hides` is false), aborted records stay what they are.
    pub fn mark(&mut self, producer: i64, kind: i16, hides: bool) {
        let base = self.end;
        self.truth.push(NOTHING);
        if kind < 2
            && let Some(first) = self.open.remove(&producer)
            && kind == 0
            && hides
        {
            self.aborted.push(AbortedTxn { producer, first, last: base });
            self.hide(producer, first);
        }
        self.push(1, marker(base, producer, kind, self.epoch));
    }

    /// The records of an aborted transaction are nobody's.
    fn hide(&mut self, producer: i64, first: i64) {
        let origin = self.origin;
        self.changes += 1;
        let from = self.log.partition_point(|batch| batch.base < first);
        let inside = |b: &&Batch| b.view.producer_id().0 == producer;
        for batch in self.log[from..].iter().filter(inside).filter(|b| !b.has(Attributes::CONTROL))
        {
            for at in batch.base..batch.next() {
                self.truth[(at - origin) as usize].record = None;
            }
        }
    }

    fn push(&mut self, span: i64, view: BatchView) {
        let base = self.end;
        if self.epochs.last().is_none_or(|last| last.0 < self.epoch) {
            self.epochs.push((self.epoch, base));
        }
        self.log.push(Batch { base, span, view });
        self.end = base + span;
    }

    /// A producer with an open transaction, if there is one.
    pub fn opened(&self, nth: u64) -> Option<i64> {
        let count = self.open.len() as u64;
        (count > 0).then(|| *self.open.keys().nth((nth % count) as usize).expect("it is counted"))
    }

    /// What a broker finds when it compares the epoch of the batch before `offset` (KIP-595).
    pub fn parted(&self, epoch: i32, offset: i64) -> Option<(i32, i64)> {
        if epoch < 0 || self.epochs.last().is_none() {
            return None;
        }
        let higher = self.epochs.iter().find(|(other, _)| *other > epoch);
        let floor = self.epochs.iter().rev().find(|(other, _)| *other <= epoch);
        let found = floor.map_or(epoch, |floor| floor.0);
        let end = higher.map_or(self.end, |higher| higher.1);
        (found < epoch || end < offset).then_some((found, end))
    }

    /// The batches of a fetch from `offset`, at most `count`, below `upper`; and the aborted
    /// transactions among them.
    pub fn fetch(
        &self,
        offset: i64,
        count: usize,
        upper: i64,
    ) -> (Vec<BatchView>, Vec<AbortedTxn>) {
        let first = self.log.partition_point(|batch| batch.next() <= offset);
        let inside = |batch: &&Batch| batch.base < upper;
        let batches: Vec<&Batch> =
            self.log[first..].iter().take(count).take_while(inside).collect();
        let end = batches.last().map_or(upper, |batch| batch.next());
        // in the order of their markers
        let later = self.aborted.partition_point(|txn| txn.last < offset);
        let among = |txn: &&AbortedTxn| txn.first < end;
        let aborted = self.aborted[later..].iter().filter(among).copied().collect();
        (batches.into_iter().map(|batch| batch.view.clone()).collect(), aborted)
    }

    /// Cleans one batch below the stable offset: takes records, or all of them, or the batch.
    pub fn clean(&mut self, nth: u64, keep: u64, whole: bool, last_too: bool) {
        let stable = self.stable();
        let upper = if last_too { self.log.len() } else { self.log.len().saturating_sub(1) };
        let count = self.log[..upper].partition_point(|batch| batch.next() <= stable) as u64;
        if count == 0 {
            return;
        }
        let at = (nth % count) as usize;
        let batch = self.log[at].clone();
        if batch.has(Attributes::CONTROL) {
            return self.clean_marker(at, &batch, whole);
        }
        let kept = if whole { 0 } else { keep };
        let taken = |delta: i64| kept >> (delta % 64) & 1 == 0;
        for delta in (0..batch.span).filter(|delta| taken(*delta)) {
            self.truth[(batch.base + delta - self.origin) as usize].is_gone = true;
        }
        if whole {
            self.log.remove(at);
        } else {
            self.log[at].view = thinned(&batch.view, |delta| !taken(i64::from(delta)));
        }
    }

    /// A marker is needed while records of its aborted transaction are there.
    fn clean_marker(&mut self, at: usize, batch: &Batch, whole: bool) {
        let txn = self.aborted.iter().position(|txn| txn.last == batch.base);
        if let Some(txn) = txn {
            let AbortedTxn { producer, first, last } = self.aborted[txn];
            let from = self.log.partition_point(|b| b.base < first);
            let mut inside = self.log[from..].iter().take_while(|b| b.base < last);
            let needed = inside.any(|b| b.view.count() > 0 && b.view.producer_id().0 == producer);
            if needed {
                return;
            }
            // Emptied batches of it may stay: they hold nothing that could be seen.
            self.aborted.remove(txn);
        }
        if whole {
            self.log.remove(at);
        } else {
            self.log[at].view = thinned(&batch.view, |_| false);
        }
    }

    /// Retention, or a person: the log starts at `start`, which may lie inside a batch.
    pub fn trim(&mut self, start: i64) {
        self.start = start;
        self.log.retain(|batch| batch.next() > start);
    }

    /// An unclean election: the last batch is lost, another epoch begins.
    pub fn truncate(&mut self) -> Option<Batch> {
        let batch = self.log.pop()?;
        self.end = batch.base;
        self.truth.truncate((batch.base - self.origin) as usize);
        self.changes += 1;
        self.epochs.retain(|(_, start)| *start < batch.base);
        self.epoch += 1;
        Some(batch)
    }
}

type Row = (i32, i64, u64);

/// A batch whose records carry their number as their key: deltas of offset and time, number.
fn made(
    base: i64,
    span: i64,
    bits: i16,
    producer: i64,
    epoch: i32,
    (first, newest): (i64, i64),
    rows: &[Row],
) -> BatchView {
    let mut section = BytesMut::new();
    for (offset_delta, timestamp_delta, id) in rows {
        let key = id.to_be_bytes();
        RecordView {
            offset_delta: *offset_delta,
            timestamp_delta: *timestamp_delta,
            key: Some(&key),
            value: None,
            headers: Vec::new(),
        }
        .put(&mut section);
    }
    let head = BatchHead {
        base_offset: Offset::new(base).expect("offsets of this world are not negative"),
        leader_epoch: LeaderEpoch(epoch),
        attributes: Attributes(bits),
        last_offset_delta: (span - 1) as i32,
        base_timestamp: TimestampMs(first),
        max_timestamp: TimestampMs(newest),
        writer: Writer { id: ProducerId(producer), epoch: 0 },
        base_sequence: if producer < 0 { -1 } else { 0 },
        count: rows.len() as i32,
    };
    whole(&head, section.freeze())
}

fn marker(base: i64, producer: i64, kind: i16, epoch: i32) -> BatchView {
    let bits = Attributes::CONTROL | Attributes::TRANSACTIONAL;
    let key = [0, 0, (kind >> 8) as u8, kind as u8];
    let mut section = BytesMut::new();
    let value = Some(&[0u8, 0, 0, 0, 0, 0][..]);
    RecordView { offset_delta: 0, timestamp_delta: 0, key: Some(&key), value, headers: Vec::new() }
        .put(&mut section);
    let view = made(base, 1, bits, producer, epoch, (WALL, WALL), &[(0, 0, 0)]);
    let head = head_of(&view, 1);
    whole(&head, section.freeze())
}

/// The batch with those of its records that are kept, as a cleaner leaves it.
fn thinned(view: &BatchView, keep: impl Fn(i32) -> bool) -> BatchView {
    let records = isolog::wire::record::Records::of(view).expect("batches are not packed here");
    let mut section = BytesMut::new();
    let mut count = 0;
    for record in records.map(|record| record.expect("a record as it was written")) {
        if keep(record.offset_delta) {
            record.put(&mut section);
            count += 1;
        }
    }
    whole(&head_of(view, count), section.freeze())
}

fn head_of(view: &BatchView, count: i32) -> BatchHead {
    BatchHead {
        base_offset: view.base_offset(),
        leader_epoch: view.leader_epoch(),
        attributes: view.attributes(),
        last_offset_delta: view.last_offset_delta(),
        base_timestamp: view.base_timestamp(),
        max_timestamp: view.max_timestamp(),
        writer: Writer { id: view.producer_id(), epoch: view.producer_epoch() },
        base_sequence: view.base_sequence(),
        count,
    }
}

fn whole(head: &BatchHead, section: Bytes) -> BatchView {
    let header = Bytes::copy_from_slice(&head.header(&section));
    BatchView::from_parts(header, section).expect("a batch as it should be")
}
