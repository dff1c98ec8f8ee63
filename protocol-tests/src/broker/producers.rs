//! What a log remembers of producers: the last five batches of each id, by the rules P1 to P5,
//! S1 to S5 and M5 to M7 of broker-facts.
//!
//! It never looks at record bytes, and never appends.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use kafka_protocol::error::ResponseError;

use crate::broker::batch::Header;

/// Batches of a producer that are recognised when they come again.
const REMEMBERED_MAX: usize = 5;
/// One batch that the log remembers.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its first sequence.
    pub first: i32,
    /// Its last sequence.
    pub last: i32,
    /// Its base offset.
    pub base_offset: i64,
    /// Its greatest timestamp.
    pub timestamp: i64,
    /// The offset after it.
    pub next: i64,
}

/// What the log knows of one producer id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Its epoch; -1 when it never said one.
    pub epoch: i16,
    /// Oldest first; empty after a marker alone.
    pub seen: VecDeque<Seen>,
    /// Of the last batch or marker; may go back.
    pub last_timestamp: i64,
    /// Of the last marker; -1 before one.
    pub coordinator_epoch: i32,
    /// First offset of its open transaction; -1 for none.
    pub txn_start: i64,
}

impl Producer {
    fn new() -> Self {
        Self {
            epoch: -1,
            seen: VecDeque::new(),
            last_timestamp: -1,
            coordinator_epoch: -1,
            txn_start: -1,
        }
    }

    /// The sequence of its last record; -1 after a marker alone.
    pub fn last_sequence(&self) -> i32 {
        self.seen.back().map_or(-1, |seen| seen.last)
    }
}

/// All producers of one log.
#[derive(Clone, Debug, Default)]
pub struct Producers {
    known: BTreeMap<i64, Producer>,
    checked_at_ms: i64,
}

/// What the log says of a batch before it is appended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be appended.
    New,
    /// It is there already, here.
    Repeat(Seen),
    /// It is refused.
    Refused(ResponseError),
}

/// `sequence + n` where the number after 2^31 - 1 is 0 (P5).
pub fn sequence_after(sequence: i32, n: i32) -> i32 {
    ((i64::from(sequence) + i64::from(n)) & i64::from(i32::MAX)) as i32
}

impl Producers {
    /// Judges a client's batch.
    pub fn judge(&self, header: &Header) -> Verdict {
        if header.producer_id < 0 {
            return Verdict::New;
        }
        let Some(known) = self.known.get(&header.producer_id) else {
            return Verdict::New;
        };
        if let Some(seen) = find_repeat(known, header) {
            return Verdict::Repeat(seen);
        }
        check_new(known, header)
    }

    /// Notes a batch that was appended; `txn` when it belongs to a transaction.
    pub fn note(&mut self, header: &Header, txn: bool) {
        if header.producer_id < 0 {
            return;
        }
        let known = self.known.entry(header.producer_id).or_insert_with(Producer::new);
        if known.epoch != header.producer_epoch {
            known.epoch = header.producer_epoch;
            known.seen.clear();
        }
        // by the span: a cleaner leaves fewer records
        let last = sequence_after(header.base_sequence, header.last_offset_delta);
        known.seen.push_back(Seen {
            first: header.base_sequence,
            last,
            base_offset: header.base_offset,
            timestamp: header.max_timestamp,
            next: header.next(),
        });
        if known.seen.len() > REMEMBERED_MAX {
            known.seen.pop_front();
        }
        known.last_timestamp = header.max_timestamp;
        if txn && known.txn_start < 0 {
            known.txn_start = header.base_offset;
        }
    }

    /// Notes a marker; the first offset of the transaction that it ends, if one was open.
    pub fn note_marker(&mut self, header: &Header, coordinator_epoch: i32) -> Option<i64> {
        let known = self.known.entry(header.producer_id).or_insert_with(Producer::new);
        if known.epoch != header.producer_epoch {
            known.epoch = header.producer_epoch;
            known.seen.clear();
        }
        known.last_timestamp = header.max_timestamp;
        known.coordinator_epoch = coordinator_epoch;
        let start = std::mem::replace(&mut known.txn_start, -1);
        (start >= 0).then_some(start)
    }

    /// Forgets who was silent too long, by the time of their **records** (S2); as the broker does
    /// it, only when a check is due.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64, check_ms: i64) {
        if now_ms / check_ms != self.checked_at_ms / check_ms {
            self.checked_at_ms = now_ms;
            self.expire_now(now_ms, expiration_ms);
        }
    }

    /// Forgets who was silent too long, now.
    pub fn expire_now(&mut self, now_ms: i64, expiration_ms: i64) {
        let old = |p: &Producer| p.txn_start < 0 && now_ms - p.last_timestamp >= expiration_ms;
        self.known.retain(|_, producer| !old(producer));
    }

    /// What a restart leaves: the last batch of each id, if it is young enough (S3).
    pub fn restart(&mut self, now_ms: i64, expiration_ms: i64) {
        self.thin();
        self.checked_at_ms = now_ms;
        self.expire_now(now_ms, expiration_ms);
    }

    /// Keeps only the last batch of each id, as a snapshot does.
    pub fn thin(&mut self) {
        for producer in self.known.values_mut() {
            let surplus = producer.seen.len().saturating_sub(1);
            producer.seen.drain(..surplus);
        }
    }

    /// Says when the last check was, for a log that starts now.
    pub fn start_checks(&mut self, now_ms: i64) {
        self.checked_at_ms = now_ms;
    }

    /// Every known producer, by id.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &Producer)> {
        self.known.iter().map(|(id, producer)| (*id, producer))
    }

    /// The first offset of the oldest open transaction.
    pub fn first_open(&self) -> Option<i64> {
        self.known.values().filter(|p| p.txn_start >= 0).map(|p| p.txn_start).min()
    }
}

fn find_repeat(known: &Producer, header: &Header) -> Option<Seen> {
    if known.epoch != header.producer_epoch {
        return None;
    }
    let last = sequence_after(header.base_sequence, header.last_offset_delta);
    let same = |seen: &&Seen| (seen.first, seen.last) == (header.base_sequence, last);
    known.seen.iter().find(same).copied()
}

fn check_new(known: &Producer, header: &Header) -> Verdict {
    if header.producer_epoch < known.epoch {
        return Verdict::Refused(ResponseError::InvalidProducerEpoch);
    }
    if header.producer_epoch > known.epoch {
        let begins = header.base_sequence == 0 || known.epoch < 0;
        return if begins { Verdict::New } else { OUT_OF_ORDER };
    }
    let expected = match known.last_sequence() {
        // after a marker alone the chain begins at 0 (M6)
        -1 => 0,
        last => sequence_after(last, 1),
    };
    if known.epoch < 0 || header.base_sequence == expected { Verdict::New } else { OUT_OF_ORDER }
}

const OUT_OF_ORDER: Verdict = Verdict::Refused(ResponseError::OutOfOrderSequenceNumber);
