//! One replica's log: raw batches, leader epochs, producers, transactions.
//!
//! It never waits, and never asks who leads: `partition` does.

use bytes::Bytes;
use bytes::BytesMut;

use crate::broker::batch::CONTROL;
use crate::broker::batch::HEADER_BYTES;
use crate::broker::batch::Header;
use crate::broker::batch::TRANSACTIONAL;
use crate::broker::cleaner::Left;
use crate::broker::old;
use crate::broker::producers::Producers;

/// A stored batch: a v2 batch, or one old message (magic 0 or 1).
#[derive(Clone, Debug)]
pub struct Batch {
    /// First offset.
    pub base: i64,
    /// The offset after the last one.
    pub next: i64,
    /// Leader epoch that it was appended under.
    pub epoch: i32,
    /// The header; `None` for an old message.
    pub header: Option<Header>,
    /// The stored bytes, base offset and epoch stamped.
    pub bytes: Bytes,
}

impl Batch {
    /// Stamps a v2 batch with the offset and epoch that it is stored under.
    pub fn stamp(bytes: &[u8], base: i64, epoch: i32) -> Option<Self> {
        Header::read(bytes)?;
        let mut own = BytesMut::from(bytes);
        own[..8].copy_from_slice(&base.to_be_bytes());
        own[12..16].copy_from_slice(&epoch.to_be_bytes());
        Self::read(own.freeze())
    }

    /// A v2 batch that is stamped already.
    pub fn read(bytes: Bytes) -> Option<Self> {
        let header = Header::read(&bytes)?;
        let (base, next, epoch) = (header.base_offset, header.next(), header.leader_epoch);
        Some(Self { base, next, epoch, header: Some(header), bytes })
    }

    /// An old message, or a wrapper of several, that has its offsets already.
    pub fn old(bytes: &Bytes, base: i64, next: i64, epoch: i32) -> Self {
        Self { base, next, epoch, header: None, bytes: bytes.clone() }
    }

    /// The records section.
    pub fn section(&self) -> &[u8] {
        if self.header.is_some() { &self.bytes[HEADER_BYTES..] } else { &self.bytes }
    }

    fn has(&self, bit: i16) -> bool {
        self.header.is_some_and(|header| header.has(bit))
    }

    /// Whether it is a marker.
    pub fn is_control(&self) -> bool {
        self.has(CONTROL)
    }

    /// Greatest timestamp; -1 where there is none.
    pub fn max_timestamp(&self) -> i64 {
        let of_old = || old::max_timestamp(&self.bytes);
        self.header.map_or_else(of_old, |header| header.max_timestamp)
    }
}

/// A transaction that was aborted.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Aborted {
    /// Whose.
    pub producer_id: i64,
    /// Its first offset.
    pub first: i64,
    /// The offset of its marker.
    pub last: i64,
}

/// A log.
#[derive(Clone, Debug, Default)]
pub struct Log {
    batches: Vec<Batch>,
    start: i64,
    end: i64,
    epochs: Vec<(i32, i64)>,
    /// Producers and their last batches.
    pub producers: Producers,
    aborted: Vec<Aborted>,
    /// First and last offset of transactions that ended.
    ended: Vec<(i64, i64)>,
    /// What the cleaner said when it gave up.
    pub uncleanable: Option<String>,
}

/// A slice of a log, as a fetch gets it.
#[derive(Clone, Debug, Default)]
pub struct Slice {
    /// Stored bytes; the last batch may be cut off.
    pub bytes: Bytes,
    /// The offset after the last batch that is at least begun.
    pub next: i64,
}

impl Log {
    /// First offset that readers may have.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// The offset that the next record gets.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// Every batch, also below the start.
    pub fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// Appends at the end, under `epoch`.
    pub fn append(&mut self, bytes: &[u8], epoch: i32) -> Option<Batch> {
        let batch = Batch::stamp(bytes, self.end, epoch)?;
        self.push(batch.clone());
        Some(batch)
    }

    /// Takes a batch as the leader has it: at its own offset, which may leave a hole.
    pub fn push(&mut self, batch: Batch) {
        assert!(batch.base >= self.end, "a follower went back: {} < {}", batch.base, self.end);
        self.note(&batch);
        match batch.header {
            Some(_) => self.assign_epoch(batch.epoch, batch.base),
            // what an old message was written under is not known, nor what came before it
            None => self.epochs.clear(),
        }
        self.end = batch.next;
        self.batches.push(batch);
    }

    fn note(&mut self, batch: &Batch) {
        let Some(header) = batch.header else { return };
        if !batch.is_control() {
            self.producers.note(&header, header.has(TRANSACTIONAL));
            return;
        }
        let marker = Marker::read(batch.section());
        let Some(first) = self.producers.note_marker(&header, marker.coordinator_epoch) else {
            return;
        };
        self.ended.push((first, batch.base));
        if !marker.commit {
            let producer_id = header.producer_id;
            self.aborted.push(Aborted { producer_id, first, last: batch.base });
        }
    }

    /// Remembers that `epoch` began at `offset`.
    pub fn assign_epoch(&mut self, epoch: i32, offset: i64) {
        if self.epochs.last().is_none_or(|last| last.0 < epoch) {
            // an epoch that wrote nothing is replaced by the next one
            self.epochs.retain(|old| old.1 < offset);
            self.epochs.push((epoch, offset));
        }
    }

    /// The largest epoch not above `epoch`, and where it ends; (-1, -1) when there is none.
    pub fn end_of_epoch(&self, epoch: i32) -> (i32, i64) {
        let Some(last) = self.epochs.last() else { return (-1, -1) };
        if epoch == last.0 {
            return (epoch, self.end);
        }
        let Some(above) = self.epochs.iter().position(|known| known.0 > epoch) else {
            return (-1, -1);
        };
        match above.checked_sub(1) {
            // asked for less than the first: its start, under the epoch asked for
            None => (epoch, self.epochs[0].1),
            Some(known) => (self.epochs[known].0, self.epochs[above].1),
        }
    }

    /// The latest epoch that wrote.
    pub fn last_epoch(&self) -> i32 {
        self.epochs.last().map_or(-1, |last| last.0)
    }

    /// The epoch that `offset` was written under.
    pub fn epoch_at(&self, offset: i64) -> i32 {
        let at = self.epochs.iter().rev().find(|epoch| epoch.1 <= offset);
        at.map_or(-1, |epoch| epoch.0)
    }

    /// Drops everything from `offset` on. The end may lie lower, at a batch border.
    pub fn truncate(&mut self, offset: i64) {
        if offset >= self.end {
            return;
        }
        self.batches.retain(|batch| batch.next <= offset);
        self.end = self.batches.last().map_or(offset, |last| last.next.max(self.start));
        let end = self.end;
        self.epochs.retain(|epoch| epoch.1 < end);
        self.reload();
    }

    /// Builds what is known of producers and transactions anew from the batches.
    fn reload(&mut self) {
        self.producers = Producers::default();
        self.aborted.clear();
        self.ended.clear();
        for batch in std::mem::take(&mut self.batches) {
            self.note(&batch);
            self.batches.push(batch);
        }
        self.producers.thin();
    }

    /// Raises the log start; the batches stay until `retain`.
    pub fn raise_start(&mut self, offset: i64) {
        self.start = self.start.max(offset);
        self.end = self.end.max(offset);
    }

    /// What a follower takes first behind a leader's log start may begin below it, and then so does
    /// its log (UnexpectedAppendOffsetException, which truncates it fully to there).
    pub fn begin_with(&mut self, first: Option<&Batch>) {
        self.end = first.map_or(self.end, |batch| batch.base.min(self.end));
    }

    /// Sets the log start back (a crash within a minute of DeleteRecords, broker-facts A6).
    pub fn lower_start(&mut self, offset: i64) {
        self.start = self.start.min(offset);
    }

    /// Deletes the batches below the start for good, as retention does.
    pub fn purge(&mut self) {
        let start = self.start;
        self.batches.retain(|batch| batch.next > start);
        self.aborted.retain(|txn| txn.last >= start);
    }

    /// Takes the end and the last epoch of the leader where the tail holds no batch.
    pub fn adopt_tail(&mut self, leader: &Self) {
        self.end = self.end.max(leader.end);
        if leader.last_epoch() > self.last_epoch() {
            self.epochs = leader.epochs.clone();
        }
    }

    /// Replaces the batches by what a cleaner left of them; end and start stay.
    pub fn replace(&mut self, batches: Vec<Batch>) {
        assert!(batches.windows(2).all(|two| two[0].next <= two[1].base), "batches overlap");
        self.batches = batches;
    }

    /// Takes what a pass of the cleaner left; end and start stay.
    pub fn take_cleaned(&mut self, left: Left) {
        self.replace(left.batches);
        self.aborted = left.aborted;
    }

    /// The index of the first batch that ends behind `offset`.
    pub fn index_of(&self, offset: i64) -> usize {
        self.batches.partition_point(|batch| batch.next <= offset)
    }

    /// Bytes from the batch that holds `from` on, up to `bytes_max`, not beyond `upper`; the
    /// first batch whole when `whole_first`, nothing when it does not fit otherwise.
    pub fn read(&self, from: i64, upper: i64, bytes_max: usize, whole_first: bool) -> Slice {
        let batches = &self.batches[self.index_of(from)..];
        let batches = &batches[..batches.partition_point(|batch| batch.base < upper)];
        let Some(first) = batches.first() else {
            return Slice { bytes: Bytes::new(), next: from };
        };
        let room = if whole_first { bytes_max.max(first.bytes.len()) } else { bytes_max };
        if room < first.bytes.len() {
            return Slice { bytes: Bytes::new(), next: from };
        }
        let (mut out, mut next) = (BytesMut::new(), from);
        for batch in batches {
            let left = room - out.len();
            if left == 0 {
                break;
            }
            out.extend_from_slice(&batch.bytes[..batch.bytes.len().min(left)]);
            next = batch.next;
        }
        Slice { bytes: out.freeze(), next }
    }

    /// Aborted transactions that touch `[from, upper)`, by first offset.
    pub fn aborted_in(&self, from: i64, upper: i64) -> Vec<Aborted> {
        let touches = |txn: &&Aborted| txn.last >= from && txn.first < upper;
        self.aborted.iter().filter(touches).copied().collect()
    }

    /// The last stable offset under a high watermark.
    pub fn stable(&self, hwm: i64) -> i64 {
        let open = self.producers.first_open().unwrap_or(i64::MAX);
        // a transaction whose marker is not yet replicated is not yet decided for readers
        let ended = self.ended.iter().filter(|txn| txn.1 >= hwm).map(|txn| txn.0).min();
        hwm.min(open).min(ended.unwrap_or(i64::MAX))
    }
}

/// What a control record says.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Commit, or abort.
    pub commit: bool,
    /// The coordinator that wrote it.
    pub coordinator_epoch: i32,
}

impl Marker {
    /// Reads the one record of a control batch; an unreadable one counts as commit.
    pub fn read(section: &[u8]) -> Self {
        let records = crate::broker::batch::read_records(Bytes::copy_from_slice(section), 1);
        let record = records.and_then(|records| records.into_iter().next());
        let record = record.unwrap_or_default();
        let kind = record.key.as_deref().and_then(|key| key.get(2..4)).unwrap_or(&[0, 1]);
        let epoch = record.value.as_deref().and_then(|value| value.get(2..6));
        let epoch = epoch.and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_be_bytes);
        Self { commit: kind == [0, 1], coordinator_epoch: epoch }
    }
}
