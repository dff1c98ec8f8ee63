//! The partition machine against a ten-line broker: random logs, random failures, one seed.
//!
//! It never uses a socket or a clock; a run is a pure function of its dice.

mod dice;

use std::collections::VecDeque;

use bytes::Bytes;
use isolog::ids::LeaderEpoch;
use isolog::ids::Offset;
use isolog::ids::PartitionId;
use isolog::ids::TimestampMs;
use isolog::ids::TopicName;
use isolog::ids::TopicPartition;
use isolog::mirror::facts::Acked;
use isolog::mirror::facts::Fault;
use isolog::mirror::facts::Limits;
use isolog::mirror::facts::Prepared;
use isolog::mirror::facts::Tail;
use isolog::mirror::halt::Halt;
use isolog::mirror::partition::DOUBT_MAX;
use isolog::mirror::partition::PartitionMirror;
use isolog::wire::batch::Attributes;
use isolog::wire::batch::BatchView;
use isolog::wire::batch::HEADER_BYTES;
use isolog::wire::batch::PREFIX_BYTES;
use isolog::wire::error::KafkaCode;
use isolog::wire::split::Piece;

pub use dice::Dice;

/// A batch as the source's log has it; `id` stands for its content.
#[derive(Clone, Debug)]
struct Batch {
    base: i64,
    span: i64,
    epoch: i32,
    id: u64,
    view: BatchView,
}

/// The destination: what a stock broker does with one writer, and with strangers.
#[derive(Default)]
struct Broker {
    log: Vec<(i64, i64, u64)>,
    end: i64,
    /// First sequence, length, base of the last five batches; empty: the writer is not known.
    writer: VecDeque<(i64, i64, i64)>,
}

/// Code, base offset, whether it was there already.
type Answer = (i16, i64, bool);

const SEQUENCES: i64 = 1 << 31;

impl Broker {
    fn append(&mut self, sequence: i64, span: i64, id: u64) -> Answer {
        let same = |&(first, length, _): &(i64, i64, i64)| (first, length) == (sequence, span);
        if let Some(&(_, _, base)) = self.writer.iter().find(|batch| same(batch)) {
            return (0, base, true);
        }
        let due = self.writer.back().map(|(first, length, _)| (first + length) % SEQUENCES);
        if due.is_some_and(|due| due != sequence) {
            return (45, -1, false);
        }
        self.writer.push_back((sequence, span, self.end));
        self.writer.drain(..self.writer.len().saturating_sub(5));
        (0, self.write(span, id), false)
    }

    fn write(&mut self, span: i64, id: u64) -> i64 {
        let base = self.end;
        self.log.push((base, span, id));
        self.end += span;
        base
    }
}

/// One run and what came of it.
pub struct World<'a> {
    dice: Dice<'a>,
    source: Vec<Batch>,
    source_start: i64,
    source_end: i64,
    epoch: i32,
    broker: Broker,
    mirror: PartitionMirror,
    /// Sent and not yet handled by the broker.
    sent: VecDeque<(i64, i64, u64)>,
    /// Handled and not yet read by the mirror.
    answers: VecDeque<Answer>,
    /// Of connections that are gone, still on their way.
    late: VecDeque<(i64, i64, u64)>,
    /// Whether all records are older than the broker's memory of writers.
    old: bool,
    faults: bool,
    /// Whether the source's log is plain and nobody harms either log.
    tame: bool,
    /// How often in a row a thawed old leader answered with its old end.
    stale: u32,
    /// It halted on such an answer, after a true one that said the same: safe, if needless.
    misled: bool,
    /// Whether a stranger wrote, or the source lost what was copied: a halt is right.
    spoiled: bool,
    /// How many batches lay at the destination when one of them was first wrong by what happened
    /// to a log, not by an append.
    wrong_from: Option<usize>,
    ids: u64,
    /// What has been done so far.
    pub tally: Tally,
}

/// How much was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Steps.
    pub steps: u64,
    /// Batches at the destination at the end.
    pub copied: u64,
    /// Runs that ended in a halt.
    pub halted: u64,
    /// Runs that ended with equal logs.
    pub level: u64,
}

/// Fewer in a row than the machine believes.
const STALE_MAX: u32 = DOUBT_MAX - 1;
const WALL: i64 = 1_000_000_000;
const AGE_MS_MAX: i64 = 86_400_000;

impl<'a> World<'a> {
    /// A world with an empty log, or one that begins near the wrap of the sequence.
    pub fn new(mut dice: Dice<'a>) -> World<'a> {
        let topic = TopicName::new("orders").expect("a legal name");
        let limits = Limits {
            waiting_bytes_max: 2_000,
            fetch_bytes_max: 1 << 20,
            batch_bytes_max: Some(1 << 20),
            producer_age_ms_max: AGE_MS_MAX,
        };
        let start = if dice.roll(4) == 0 { SEQUENCES - 20 } else { 0 };
        let old = dice.roll(4) == 0;
        let tame = dice.roll(2) == 0;
        let tp = TopicPartition { topic, partition: PartitionId(0) };
        World {
            mirror: PartitionMirror::new(tp, limits),
            source: Vec::new(),
            source_start: start,
            source_end: start,
            epoch: 0,
            broker: Broker { end: start, ..Broker::default() },
            sent: VecDeque::new(),
            answers: VecDeque::new(),
            late: VecDeque::new(),
            old,
            faults: true,
            tame,
            stale: 0,
            misled: false,
            spoiled: false,
            wrong_from: None,
            ids: 0,
            dice,
            tally: Tally::default(),
        }
    }

    /// `steps` random steps, then calm, then the verdict.
    pub fn run(mut self, steps: u64) -> Tally {
        for _ in 0..steps {
            self.step();
        }
        self.faults = false;
        for _ in 0..100_000 {
            if self.mirror.halted().is_some() || self.is_level() {
                break;
            }
            self.step();
        }
        self.verdict();
        self.tally.copied = self.broker.log.len() as u64;
        self.tally.halted = u64::from(self.mirror.halted().is_some());
        self.tally
    }

    /// Equal ends prove nothing while the mirror has yet to compare the tails.
    fn is_level(&self) -> bool {
        let quiet = self.sent.is_empty() && self.answers.is_empty();
        self.broker.end == self.source_end && quiet && !self.mirror.is_preparing()
    }

    fn now(&self) -> TimestampMs {
        TimestampMs(if self.old { WALL + 2 * AGE_MS_MAX } else { WALL })
    }

    fn step(&mut self) {
        self.tally.steps += 1;
        match self.dice.roll(16) {
            0..=2 if self.faults => self.produce(),
            0..=4 => self.fetch(),
            5..=7 => self.append(),
            8..=10 => self.deliver(),
            11..=13 => self.answer(),
            14 => self.prepare(),
            _ if self.faults => self.disturb(),
            _ => {}
        }
    }

    /// The source's log grows by one batch, seldom an odd one.
    fn produce(&mut self) {
        let span = 1 + self.dice.roll(9) as i64;
        let odd = if self.tame { u64::MAX } else { self.dice.roll(512) };
        let (bits, count) = match odd {
            0 => (Attributes::CONTROL, span),
            1 => (Attributes::TRANSACTIONAL, span),
            2 => (Attributes::LOG_APPEND_TIME, span),
            3 => (0, span - 1),
            _ => (0, span),
        };
        let hole = i64::from(odd == 4);
        self.ids += 1;
        let base = self.source_end + hole;
        let view = view(base, span, count, bits, self.epoch, self.ids);
        self.source.push(Batch { base, span, epoch: self.epoch, id: self.ids, view });
        self.source_end = base + span;
    }

    fn fetch(&mut self) {
        let Some(from) = self.mirror.poll_fetch() else { return };
        let offset = from.offset.get();
        if let Some((epoch, end)) = self.parted(from.last_epoch.0, offset) {
            return self.mirror.handle_diverging(LeaderEpoch(epoch), at(end));
        }
        if offset < self.source_start || offset > self.source_end {
            return self.mirror.handle_failed(Fault::FetchRefused(KafkaCode(1)));
        }
        let first = self.source.partition_point(|batch| batch.base + batch.span <= offset);
        let count = 1 + self.dice.roll(6) as usize;
        let pieces = self.source[first..].iter().take(count).map(|b| Piece::Batch(b.view.clone()));
        let (now, end) = (self.now(), at(self.source_end));
        self.mirror.handle_fetched(now, end, pieces.collect::<Vec<_>>());
    }

    /// What a broker finds when it compares the epoch of the batch before `offset` (KIP-595).
    fn parted(&self, epoch: i32, offset: i64) -> Option<(i32, i64)> {
        if epoch < 0 {
            return None;
        }
        let past = self.source.iter().rposition(|batch| batch.epoch <= epoch);
        let (found, end) = past.map_or((epoch, self.source_start), |at| {
            (self.source[at].epoch, self.source[at].base + self.source[at].span)
        });
        let end = if past == self.source.len().checked_sub(1) { self.source_end } else { end };
        (found < epoch || end < offset).then_some((found, end))
    }

    fn append(&mut self) {
        let now = self.now();
        let Some(append) = self.mirror.poll_append(now) else { return };
        let (base, id) = (append.base.get(), append.batch.producer_id().0 as u64);
        // What was fetched before the source lost it goes out all the same.
        let held = self.source.iter().any(|batch| batch.id == id);
        self.spoiled |= !held && base >= self.source_start;
        self.sent.push_back((base, append.batch.span() as i64, id));
    }

    fn deliver(&mut self) {
        let Some((base, span, id)) = self.sent.pop_front() else { return };
        if self.faults && self.dice.roll(64) == 0 {
            self.answers.push_back((if self.dice.roll(2) == 0 { 6 } else { 19 }, -1, false));
            return;
        }
        if self.old && self.dice.roll(8) == 0 {
            self.broker.writer.clear();
        }
        self.answers.push_back(self.broker.append(base % SEQUENCES, span, id));
    }

    fn answer(&mut self) {
        let Some((code, base, is_repeat)) = self.answers.pop_front() else { return };
        let acked = Acked { code: KafkaCode(code), base: Offset::new(base), is_repeat };
        self.mirror.handle_appended(self.now(), acked);
    }

    fn prepare(&mut self) {
        if !self.mirror.is_preparing() || !self.sent.is_empty() || !self.answers.is_empty() {
            return;
        }
        if self.broker.writer.is_empty() {
            self.settle();
        }
        let mut end = self.broker.end;
        let thawed = self.faults && !self.old && self.dice.roll(8) == 0 && self.stale < STALE_MAX;
        self.stale = if thawed { self.stale + 1 } else { 0 };
        if thawed {
            end = self.broker.log.last().map_or(end, |batch| batch.0);
        }
        let facts = Prepared {
            source_start: at(self.source_start),
            source_end: at(self.source_end),
            source_log_end: at(self.source_end),
            destination_end: at(end),
            destination_hwm: at(end),
            tail: self.tail(end),
        };
        self.mirror.handle_prepared(self.now(), &facts);
        self.misled = thawed && self.mirror.halted().is_some();
    }

    /// Where the writer is forgotten the mirror waits until nothing can be on its way.
    fn settle(&mut self) {
        while let Some((base, span, id)) = self.late.pop_front() {
            self.broker.append(base % SEQUENCES, span, id);
        }
    }

    /// Six batches back where one is not proof enough, as the real look does.
    fn tail(&self, end: i64) -> Tail {
        let back = if self.mirror.wants_far_look() { 6 } else { 1 };
        let below = self.broker.log.iter().rev().filter(|b| b.0 + b.1 <= end).take(back);
        let tails: Vec<Tail> = below.map(|batch| self.compared(*batch)).collect();
        let differs = tails.iter().rev().find(|tail| matches!(tail, Tail::Differs(_)));
        differs.or(tails.first()).copied().unwrap_or(Tail::NothingShared)
    }

    fn compared(&self, (base, span, id): (i64, i64, u64)) -> Tail {
        if base < self.source_start {
            return Tail::NothingShared;
        }
        match self.source.iter().rev().find(|b| b.base < base + span && base < b.base + b.span) {
            Some(batch) if (batch.base, batch.span, batch.id) == (base, span, id) => {
                Tail::Equal(LeaderEpoch(batch.epoch))
            }
            Some(_) => Tail::Differs(at(base)),
            // a stranger's record in a hole of the source
            None if id == u64::MAX => Tail::Differs(at(base)),
            None => Tail::NothingShared,
        }
    }

    fn disturb(&mut self) {
        match self.dice.roll(64) {
            0..=24 => self.lose_destination(),
            25..=39 => self.mirror.handle_failed(Fault::SourceLost),
            40..=54 if self.mirror.halted().is_none() => self.deliver_late(),
            55..=57 => drop(self.broker.writer.drain(..self.broker.writer.len().saturating_sub(1))),
            58 => self.epoch += 1,
            59 if !self.tame => self.truncate_source(),
            60 if !self.tame => self.trim_source(),
            61 if !self.tame && self.dice.roll(8) == 0 => {
                self.broker.write(1, u64::MAX);
                self.spoiled = true;
            }
            _ => {}
        }
        if self.spoiled && self.wrong_from.is_none() && self.first_wrong().is_some() {
            self.wrong_from = Some(self.broker.log.len());
        }
    }

    /// The connection ends; some of what was sent arrives later, in order.
    fn lose_destination(&mut self) {
        let kept = self.dice.roll(1 + self.sent.len() as u64) as usize;
        if !self.old {
            self.late.extend(self.sent.drain(..kept));
        }
        self.sent.clear();
        self.answers.clear();
        self.mirror.handle_failed(Fault::DestinationLost);
    }

    fn deliver_late(&mut self) {
        if let Some((base, span, id)) = self.late.pop_front()
            && !self.broker.writer.is_empty()
        {
            self.broker.append(base % SEQUENCES, span, id);
        }
    }

    /// An unclean election: the last batch is lost, another epoch begins.
    fn truncate_source(&mut self) {
        if self.dice.roll(4) > 0 || !self.last_is_plain() {
            return;
        }
        if let Some(batch) = self.source.pop() {
            self.source_end = batch.base;
            self.epoch += 1;
            let copied = |queue: &VecDeque<(i64, i64, u64)>| queue.iter().any(|b| b.2 == batch.id);
            let landed = self.broker.log.iter().any(|b| b.2 == batch.id);
            self.spoiled |= landed || copied(&self.sent) || copied(&self.late);
        }
    }

    /// An obstacle stays, so that the halt before it stays right.
    fn last_is_plain(&self) -> bool {
        let [.., before, last] = &self.source[..] else { return false };
        let whole = i64::from(last.view.count()) == last.span && last.view.attributes().0 == 0;
        whole && before.base + before.span == last.base
    }

    /// Retention: the source's log starts behind its first batch.
    fn trim_source(&mut self) {
        let runs = self.mirror.halted().is_none();
        if runs && self.source.len() > 1 && self.dice.roll(4) == 0 {
            self.source.remove(0);
            self.source_start = self.source[0].base;
        }
    }

    fn verdict(&self) {
        if self.spoiled {
            return self.verdict_spoiled();
        }
        let mut end = self.broker.log.first().map_or(self.broker.end, |batch| batch.0);
        for &(base, span, id) in &self.broker.log {
            assert_eq!(base, end, "a gap or an overlap");
            end = base + span;
            if base >= self.source_start {
                let found = self.source.iter().find(|b| b.base == base);
                let same = found.map(|b| (b.span, b.id));
                assert_eq!(same, Some((span, id)), "another batch at {base}");
            }
        }
        match self.mirror.halted() {
            None => {
                let seen = self.mirror.snapshot(self.now());
                assert_eq!(end, self.source_end, "it stands still without a reason: {seen:?}");
            }
            Some(halt) => self.verdict_halted(halt),
        }
    }

    /// A halt must stand at an obstacle, and the obstacle must be there.
    fn verdict_halted(&self, halt: &Halt) {
        let end = self.broker.end;
        let next = self.source.iter().find(|batch| batch.base + batch.span > end);
        let next = next.map(|batch| (batch.base, batch.view.attributes().0, batch.view.count()));
        match halt {
            Halt::DestinationBehind { .. } | Halt::LogStartAbove { .. } if self.misled => {}
            Halt::LogStartAbove { .. } => assert!(end < self.source_start),
            Halt::Hole { at, .. } => {
                assert!(at.get() == end && next.is_some_and(|(base, _, _)| base > end));
            }
            Halt::Control { base } | Halt::LogAppendTime { base } => {
                let trimmed = base.get() < self.source_start; // after it was seen
                let there = next.is_some_and(|(_, bits, _)| bits != 0);
                assert!(base.get() == end && (trimmed || there));
            }
            Halt::Transactional { base, .. } => assert_eq!(base.get(), end),
            Halt::Thinned { base, span, count } => {
                assert!(base.get() == end && i64::from(*count) < *span as i64);
            }
            other => panic!("nothing in this world asks for {other:?}"),
        }
    }

    /// After a stranger's record, or a source that lost copied ones: at most what was in flight
    /// was appended after the first wrong batch, and the mirror has stopped, or was never touched.
    fn verdict_spoiled(&self) {
        if let Some(first) = self.first_wrong() {
            let from = self.wrong_from.map_or(first, |from| from.max(first));
            let ours = self.broker.log[from..].iter().filter(|batch| batch.2 != u64::MAX);
            let behind = ours.count();
            assert!(behind <= 2 * 5 + 2, "{behind} batches behind the first wrong one");
            assert!(self.mirror.halted().is_some(), "a wrong batch at {first} and no halt");
        }
    }

    /// The first batch at the destination that is not what the source has there now.
    fn first_wrong(&self) -> Option<usize> {
        let right = |b: &(i64, i64, u64)| {
            let found = self.source.iter().find(|s| s.base == b.0);
            b.0 < self.source_start || found.is_some_and(|s| (s.span, s.id) == (b.1, b.2))
        };
        self.broker.log.iter().position(|b| !right(b))
    }
}

fn at(raw: i64) -> Offset {
    Offset::new(raw).expect("offsets of this world are not negative")
}

/// The producer's place carries the batch's `id`: the machine never looks at it.
fn view(base: i64, span: i64, count: i64, attributes: i16, epoch: i32, id: u64) -> BatchView {
    let mut out = [0; HEADER_BYTES + 1];
    let length = (out.len() - PREFIX_BYTES) as i32;
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &base.to_be_bytes());
    put(8, &length.to_be_bytes());
    put(12, &epoch.to_be_bytes());
    put(16, &[2]);
    put(21, &attributes.to_be_bytes());
    put(23, &((span - 1) as i32).to_be_bytes());
    put(27, &WALL.to_be_bytes());
    put(35, &WALL.to_be_bytes());
    put(43, &id.to_be_bytes());
    put(57, &(count as i32).to_be_bytes());
    let crc = crc32c::crc32c(&out[21..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    BatchView::new(Bytes::copy_from_slice(&out)).expect("a batch as it should be")
}

/// One run with `seed`; panics where a rule is broken.
pub fn run_seed(seed: u64, steps: u64) -> Tally {
    World::new(Dice { bytes: [].iter(), state: seed }).run(steps)
}

/// The fuzzer's run: its bytes are the dice.
pub fn run_bytes(data: &[u8]) {
    World::new(Dice { bytes: data.iter(), state: 0 }).run(data.len() as u64);
}
