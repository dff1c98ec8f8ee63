//! The partition machine against a small broker: random logs, random failures, one seed.
//!
//! It never uses a socket or a clock; a run is a pure function of its dice.

mod broker;
mod dice;
mod fetch;
mod look;
mod model;
mod source;
mod works;

use std::collections::VecDeque;

use bytes::Bytes;
use isolog::ids::LinkName;
use isolog::ids::MirrorPartition;
use isolog::ids::Offset;
use isolog::ids::PartitionId;
use isolog::ids::ProducerId;
use isolog::ids::TimestampMs;
use isolog::ids::TopicName;
use isolog::mirror::facts::Acked;
use isolog::mirror::facts::Fault;
use isolog::mirror::facts::FetchFrom;
use isolog::mirror::facts::GAP_OFFSETS_MAX;
use isolog::mirror::facts::GapFill;
use isolog::mirror::facts::Limits;
use isolog::mirror::facts::Merge;
use isolog::mirror::facts::OldFormat;
use isolog::mirror::facts::Order;
use isolog::mirror::facts::Overtook;
use isolog::mirror::facts::Policy;
use isolog::mirror::facts::Takes;
use isolog::mirror::partition::DOUBT_MAX;
use isolog::mirror::partition::PartitionMirror;
use isolog::mirror::partition::REFUSED_MAX;
use isolog::mirror::work::Work;
use isolog::wire::batch::Attributes;
use isolog::wire::batch::BatchView;
use isolog::wire::error::KafkaCode;
use isolog::wire::record::NewRecord;
use isolog::wire::record::plain_batch;
use isolog::wire::rewrite::Writer;
use isolog::wire::rewrite::rewrite;

use broker::Answer;
use broker::Broker;
use broker::Row;
use broker::SEQUENCES;
use broker::rows;
pub use dice::Dice;
use source::Source;
use source::WALL;

/// One run and what came of it.
pub struct World<'a> {
    dice: Dice<'a>,
    source: Source,
    broker: Broker,
    mirror: PartitionMirror,
    policy: Policy,
    /// The link reads up to the last stable offset.
    committed: bool,
    /// Sent and not yet handled by the broker.
    sent: VecDeque<BatchView>,
    /// Handled and not yet read by the mirror.
    answers: VecDeque<Answer>,
    /// A fetch under way: it may have been asked before the last look.
    asked: Option<FetchFrom>,
    /// Handed out and not done, those of earlier lives among them: done in any order, or never.
    works: Vec<Work>,
    /// Of connections that are gone, still on their way.
    late: VecDeque<BatchView>,
    /// Whether all records are older than the broker's memory of writers.
    old: bool,
    /// Whether, besides, something on the way delivers late whatever the mirror waits (H15).
    proxy: bool,
    faults: bool,
    /// Whether the source's log is plain and nobody harms either log.
    tame: bool,
    /// How often in a row a thawed old leader answered with its old end.
    stale: u32,
    /// Whether the last fetch brought a flipped bit.
    flipped: bool,
    /// How many bits were flipped of what is not copied yet, and up to where that is.
    flips: (u32, i64),
    /// The last look was at such an answer: a halt upon it is safe, if needless.
    misled: bool,
    /// Whether a stranger wrote, or the source lost what was copied: a halt is right.
    spoiled: bool,
    /// Whether a request of a connection that was gone has been appended.
    landed_late: bool,
    /// How many batches lay at the destination when one of them was first wrong by what happened
    /// to a log, not by an append.
    wrong_from: Option<usize>,
    /// How many changes of the truth there had been, and how many batches at the destination, when
    /// all of these were found right.
    found_right: (u64, usize),
    /// Milliseconds since the beginning.
    clock: i64,
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
    /// Offsets that were filled there.
    pub filled: u64,
    /// Batches that were encoded anew, or became part of another.
    pub anew: u64,
    /// Units that were handed out to be worked on.
    pub handed: u64,
    /// Runs that ended in a halt.
    pub halted: u64,
    /// Runs that ended with equal logs.
    pub level: u64,
}

/// Fewer in a row than the machine believes.
const STALE_MAX: u32 = DOUBT_MAX - 1;
/// Fewer of one batch than make it corrupt for good.
const FLIPS_MAX: u32 = REFUSED_MAX - 1;
const AGE_MS_MAX: i64 = 86_400_000;
/// What an idle moment takes, so that an empty answer is wondered about in the end.
const IDLE_MS: i64 = 1_000;
const WRITER: Writer = Writer { id: ProducerId(1 << 62), epoch: 0 };

impl<'a> World<'a> {
    /// A world whose source begins at 0, a little later, or near the wrap of the sequence.
    pub fn new(mut dice: Dice<'a>) -> World<'a> {
        let topic = TopicName::new("orders").expect("a legal name");
        let old = dice.roll(4) == 0;
        let proxy = old && dice.roll(2) == 0;
        let tame = dice.roll(4) == 0;
        let start = match dice.roll(4) {
            0 => SEQUENCES - 20,
            1 if !tame => dice.roll(200) as i64,
            _ => 0,
        };
        let is_compacted = dice.roll(3) == 0;
        let policy = policy(&mut dice);
        let limits = Limits {
            waiting_bytes_max: 2_000,
            fetch_bytes_max: 1 << 20,
            append_bytes_max: 61 + 11 * 40,
            unpacked_bytes_max: 1 << 20,
            held_bytes_max: 1 << 20,
            // all that is encoded anew is handed out, or what is more than a few records
            light_bytes_max: if dice.roll(2) == 0 { 0 } else { 200 },
            producer_age_ms_max: AGE_MS_MAX,
            policy,
        };
        let name = MirrorPartition {
            link: LinkName("dr".into()),
            source_topic: topic.clone(),
            mirror_topic: topic,
            partition: PartitionId(0),
        };
        let mut mirror = PartitionMirror::new(name, limits);
        mirror.set_takes(Takes {
            batch_bytes_max: Some(1 << 20),
            is_compacted: Some(is_compacted),
            leaves_batches: Some(true),
            ..Takes::default()
        });
        // near the wrap the copy begins where the source does
        let end = if start > 1_000 { start } else { 0 };
        World {
            mirror,
            source: Source::new(start),
            broker: Broker { end, is_compacted, ..Broker::default() },
            policy,
            committed: dice.roll(4) > 0,
            sent: VecDeque::new(),
            answers: VecDeque::new(),
            asked: None,
            works: Vec::new(),
            late: VecDeque::new(),
            old,
            proxy,
            faults: true,
            tame,
            stale: 0,
            flipped: false,
            flips: (0, 0),
            misled: false,
            spoiled: false,
            landed_late: false,
            wrong_from: None,
            found_right: (0, 0),
            clock: 0,
            dice,
            tally: Tally::default(),
        }
    }

    /// `steps` random steps, then calm, then the verdict.
    pub fn run(mut self, steps: u64) -> Tally {
        for _ in 0..steps {
            self.step();
        }
        self.calm();
        for _ in 0..100_000 {
            if self.mirror.halted().is_some() || self.is_level() {
                break;
            }
            self.step();
        }
        self.verdict();
        let copied = self.mirror.copied();
        self.tally.copied = self.broker.log.len() as u64;
        self.tally.filled = copied.filled;
        self.tally.anew = copied.reencoded + copied.merged;
        self.tally.halted = u64::from(self.mirror.halted().is_some());
        self.tally
    }

    /// Nothing goes wrong any more, every transaction ends, and a last record stands behind them:
    /// the one that a gap may be waiting for.
    fn calm(&mut self) {
        self.faults = false;
        while let Some(producer) = self.source.opened(0) {
            self.end_txn(producer, (producer % 2) as i16);
        }
        if !self.source.log.is_empty() && !self.tame {
            self.source.write(1, 0, -1);
        }
    }

    fn visible_end(&self) -> i64 {
        if self.committed { self.source.stable() } else { self.source.end }
    }

    /// Equal ends prove nothing while the mirror has yet to compare the tails.
    fn is_level(&self) -> bool {
        let quiet = self.sent.is_empty() && self.answers.is_empty();
        self.broker.end == self.visible_end() && quiet && !self.mirror.is_preparing()
    }

    fn now(&self) -> TimestampMs {
        let age = if self.old { 2 * AGE_MS_MAX } else { 0 };
        TimestampMs(WALL + self.clock + age)
    }

    fn step(&mut self) {
        self.tally.steps += 1;
        match self.dice.roll(16) {
            0..=2 if self.faults => self.produce(),
            0..=4 => self.fetch(),
            5 => {
                self.work();
                self.append();
            }
            6 | 7 => self.append(),
            8..=10 => self.deliver(),
            11..=13 => self.answer(),
            14 => self.prepare(),
            _ if self.faults => self.disturb(),
            _ => {}
        }
    }

    /// The source's log grows by one batch: records, of a transaction or not, or a marker.
    fn produce(&mut self) {
        let span = 1 + self.dice.roll(9) as i64;
        let producer = self.dice.roll(3) as i64;
        match if self.tame { 0 } else { self.dice.roll(12) } {
            0..=5 => self.source.write(span, 0, -1),
            6 | 7 => self.source.write(span, 0, producer),
            8 | 9 => match self.source.opened(producer as u64) {
                Some(opened) => {
                    let kind = self.dice.roll(2) as i16;
                    self.end_txn(opened, kind);
                }
                None => self.end_txn(producer, 1),
            },
            10 if ANEW => self.source.write(span, Attributes::LOG_APPEND_TIME, -1),
            10 => self.source.write(span, 0, -1),
            _ => self.end_txn(producer, 9),
        }
    }

    fn end_txn(&mut self, producer: i64, kind: i16) {
        self.source.mark(producer, kind, self.committed);
    }

    fn append(&mut self) {
        let now = self.now();
        let Some(append) = self.mirror.poll_append(now) else { return };
        let sendable = rewrite(&append.batch, WRITER);
        let header = Bytes::copy_from_slice(&sendable.header);
        let sent = BatchView::from_parts(header, sendable.records).expect("rewritten whole");
        assert_eq!(sent.base_sequence(), append.base.sequence());
        let occupied = append.base.plus(sent.span());
        assert!(occupied == Some(append.next) || self.flipped || append.base == append.next);
        self.sent.push_back(sent);
    }

    fn deliver(&mut self) {
        let Some(batch) = self.sent.pop_front() else { return };
        if self.faults && self.dice.roll(64) == 0 {
            self.answers.push_back((if self.dice.roll(2) == 0 { 6 } else { 19 }, -1, false));
            return;
        }
        if self.old && self.dice.roll(8) == 0 {
            self.broker.writer.clear();
        }
        let end = self.broker.end % SEQUENCES;
        let answer = self.broker.append(&batch);
        // a late copy of the same batch was first, and has been forgotten
        let landed = answer.0 == 0 && !answer.2;
        self.spoiled |= self.proxy && landed && end != i64::from(batch.base_sequence());
        self.answers.push_back(answer);
        self.note_wrong();
    }

    fn answer(&mut self) {
        let Some((code, base, is_repeat)) = self.answers.pop_front() else { return };
        let acked = Acked { code: KafkaCode(code), base: Offset::new(base), is_repeat };
        self.mirror.handle_appended(self.now(), acked);
    }

    fn disturb(&mut self) {
        match self.dice.roll(64) {
            0..=20 => self.lose_destination(),
            21..=31 => {
                self.asked = None;
                self.mirror.handle_failed(Fault::SourceLost);
            }
            32..=44 if self.mirror.halted().is_none() => self.deliver_late(),
            45..=47 => drop(self.broker.writer.drain(..self.broker.writer.len().saturating_sub(1))),
            48 => self.source.epoch += 1,
            49 if !self.tame => self.truncate_source(),
            50 if !self.tame => self.trim_source(),
            51 if !self.tame && self.dice.roll(8) == 0 => self.intrude(),
            52..=60 if !self.tame => self.clean_source(),
            61 => self.mirror.handle_order(Order::Drain),
            _ => {}
        }
        self.note_wrong();
    }

    /// What was found right stays so until the truth changes.
    fn note_wrong(&mut self) {
        if !self.spoiled || self.wrong_from.is_some() {
            return;
        }
        let (changes, count) = self.found_right;
        let from = if changes == self.source.changes { count } else { 0 };
        let end = self.broker.log.len();
        match self.first_wrong(from) {
            Some(_) => self.wrong_from = Some(end),
            None => self.found_right = (self.source.changes, end),
        }
    }

    fn intrude(&mut self) {
        let record = NewRecord { timestamp_ms: WALL, key: Some(b"x"), ..NewRecord::default() };
        let nobody = Writer { id: ProducerId(-1), epoch: -1 };
        let batch = plain_batch(nobody, -1, vec![record]).expect("it has a record");
        self.broker.intrude(&batch);
        self.spoiled = true;
    }

    /// The connection ends; some of what was sent arrives later, in order.
    fn lose_destination(&mut self) {
        let kept = self.dice.roll(1 + self.sent.len() as u64) as usize;
        if !self.old || self.proxy {
            self.late.extend(self.sent.drain(..kept));
        }
        self.sent.clear();
        self.answers.clear();
        self.asked = None; // the lane ends
        self.mirror.handle_failed(Fault::DestinationLost);
    }

    fn deliver_late(&mut self) {
        if (self.proxy || !self.broker.writer.is_empty())
            && let Some(batch) = self.late.pop_front()
        {
            self.land_late(&batch);
        }
    }

    /// A broker that has forgotten the writer takes a late copy for something new: then a halt is
    /// right, and going on as if nothing had happened is not.
    fn land_late(&mut self, batch: &BatchView) {
        let end = self.broker.end % SEQUENCES;
        let (code, _, is_repeat) = self.broker.append(batch);
        self.landed_late |= code == 0 && !is_repeat;
        self.spoiled |= code == 0 && !is_repeat && end != i64::from(batch.base_sequence());
    }

    /// An unclean election loses the last batch, and others are written in its place.
    fn truncate_source(&mut self) {
        let Some(last) = self.source.log.last() else { return };
        let plain = last.view.attributes().0 == 0 && last.view.count() > 0;
        let ends = last.next() == self.source.end;
        if self.source.log.len() < 2 || !plain || !ends || self.dice.roll(4) > 0 {
            return;
        }
        let gone: Vec<Row> = (last.base..last.next())
            .filter_map(|at| self.source.cell(at).map(|cell| cell.record))
            .collect();
        if let Some(batch) = self.source.truncate() {
            let landed = self.broker.end > batch.base || self.repeats(&gone);
            let due = |sent: &BatchView| {
                let first = i64::from(sent.base_sequence());
                first + sent.span() as i64 > batch.base % SEQUENCES
            };
            let mut sent = self.sent.iter().chain(&self.late);
            // what waits in the mirror's window goes out all the same
            let held = self.mirror.waiting() > 0 || self.mirror.in_flight() > 0;
            self.spoiled |= landed || held || sent.any(due);
        }
    }

    /// Whether the copy has one of these records, or gets it: a gap may be filled with it.
    fn repeats(&self, gone: &[Row]) -> bool {
        let has = |rows: &[Row]| rows.iter().any(|row| row.is_some() && gone.contains(row));
        let sent = self.sent.iter().chain(&self.late);
        let sent = sent.filter_map(|batch| rows(batch, self.broker.is_compacted));
        self.broker.log.iter().any(|stored| has(&stored.rows))
            || sent.into_iter().any(|rows| has(&rows))
    }

    /// Retention: the source's log starts behind its first batch, or inside it.
    fn trim_source(&mut self) {
        let runs = self.mirror.halted().is_none();
        if !runs || self.source.log.len() < 2 || self.dice.roll(4) > 0 {
            return;
        }
        let stable = self.source.stable();
        let inside = self.dice.roll(2) as i64;
        let start = self.source.log[1].base + inside;
        if start <= stable && start > self.source.start {
            self.source.trim(start);
        }
    }

    /// Compaction: a batch loses records, all records, or goes.
    fn clean_source(&mut self) {
        let (nth, keep) = (self.dice.roll(1 << 16), self.dice.roll(512));
        let whole = self.dice.roll(2) == 0;
        let keep = if ANEW { keep } else { 0 };
        let last_too = self.dice.roll(16) == 0;
        self.source.clean(nth, keep, whole, last_too);
    }
}

/// Whether batches can be encoded anew.
const ANEW: bool = true;

fn policy(dice: &mut Dice<'_>) -> Policy {
    Policy {
        gap_fill: match dice.roll(8) {
            0 => GapFill::Halt,
            1 => GapFill::Record,
            _ => GapFill::Auto,
        },
        overtook: if dice.roll(2) == 0 { Overtook::Fill } else { Overtook::Halt },
        old_format: OldFormat::Convert,
        gap_offsets_max: GAP_OFFSETS_MAX,
        merge: if dice.roll(2) == 0 { Merge::Auto } else { Merge::Never },
    }
}

/// One run with `seed`; panics where a rule is broken.
pub fn run_seed(seed: u64, steps: u64) -> Tally {
    World::new(Dice::seeded(seed)).run(steps)
}

/// The fuzzer's run: its bytes are the dice.
pub fn run_bytes(data: &[u8]) {
    World::new(Dice::of(data)).run(data.len() as u64);
}
