//! The rules of the partition machine: what a fact does to it.
//!
//! It never takes a fact in itself: `partition` does, and says which rule applies.

use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::Side;
use crate::ids::TimestampMs;
use crate::mirror::facts::Fault;
use crate::mirror::facts::Overtook;
use crate::mirror::facts::Prepared;
use crate::mirror::gap::Repeated;
use crate::mirror::gap::Why;
use crate::mirror::halt::Halt;
use crate::mirror::lag::Barred;
use crate::mirror::lag::Doing;
use crate::mirror::partition::DOUBT_MAX;
use crate::mirror::partition::PartitionMirror;
use crate::mirror::partition::REFUSED_MAX;
use crate::mirror::partition::State;
use crate::mirror::window::IN_FLIGHT_MAX;
use crate::mirror::window::Unit;
use crate::wire::batch::BatchView;
use crate::wire::error::KafkaCode;
use crate::wire::error::Remedy;

/// The source has not that offset, or cannot say so for want of epochs.
const OFFSET_OUT_OF_RANGE: KafkaCode = KafkaCode(1);
/// A record's time is further from the broker's clock than the topic allows.
const INVALID_TIMESTAMP: KafkaCode = KafkaCode(32);

const TOPIC_AUTHORIZATION_FAILED: KafkaCode = KafkaCode(29);
const CLUSTER_AUTHORIZATION_FAILED: KafkaCode = KafkaCode(31);

/// The rules.
impl PartitionMirror {
    /// One at a time until the broker has taken the first batch of a chain, and behind a batch so
    /// old that it may forget the writer at any moment: it would take a later batch for the
    /// beginning of a new chain (P17, S2). What is in flight does not count as young before it has
    /// landed: it may be refused, and what is behind it be that later batch.
    pub(super) fn in_flight_max(&self, now: TimestampMs) -> usize {
        let last = self.sent.1.0.min(self.landed.0);
        let old = now.0.saturating_sub(last) > self.limits.producer_age_ms_max;
        if self.proven && !old { IN_FLIGHT_MAX } else { 1 }
    }

    /// What the two ends say that cannot be, if anything.
    pub(super) fn contradiction(&self, facts: &Prepared) -> Option<Halt> {
        let (destination_end, source_end) = (facts.destination_end, facts.source_log_end);
        if destination_end < self.confirmed {
            let confirmed = self.confirmed;
            return Some(Halt::DestinationBehind { confirmed, end: destination_end });
        }
        if destination_end > source_end {
            // All of ours was answered and is at the source: what lies behind it is another's.
            if self.prepared && !self.unknown && self.confirmed <= source_end {
                let (expected, got) = (self.confirmed, Some(destination_end));
                return Some(Halt::UnexpectedWriter { expected, got });
            }
            return Some(Halt::DestinationAhead { destination_end, source_end });
        }
        let source_start = facts.source_start;
        let may_fill = destination_end == Offset::ZERO
            || facts.is_prefix
            || self.limits.policy.overtook == Overtook::Fill;
        (destination_end < source_start && !may_fill)
            .then_some(Halt::LogStartAbove { source_start, destination_end })
    }

    /// A contradiction is believed only when it stays the same.
    pub(super) fn doubt(&mut self, halt: Halt) {
        let same = self.doubt.0.as_ref() == Some(&halt);
        let count = if same { self.doubt.1 + 1 } else { 1 };
        if count >= DOUBT_MAX {
            return self.halt(halt);
        }
        self.fault = Some((halt.label(), format!("looking again: {halt}")));
        self.doubt = (Some(halt), count);
    }

    pub(super) fn handle_refused(&mut self, code: KafkaCode) {
        let Some(unit) = self.window.drop_front() else { return };
        self.bar(Side::Destination, Doing::Appending, code);
        self.note_refused_as_corrupt(code);
        let base = unit.base;
        let first = base == self.window.end();
        self.fault = Some((code.name(), format!("the destination refused offset {base}: {code}")));
        // 7 and 20 say "appended, not replicated": only the end can tell.
        self.unknown |= matches!(code, KafkaCode(7 | 20));
        self.stale_leader |= code.remedy() == Remedy::Refresh;
        if first && code.remedy() == Remedy::Halt && code != KafkaCode(2) {
            return self.halt(self.refusal(&unit, code));
        }
        if first && matches!(code.remedy(), Remedy::Fenced | Remedy::Halt) {
            let count = if self.refused.0 == base { self.refused.1 + 1 } else { 1 };
            self.refused = (base, count);
            if count >= REFUSED_MAX {
                return self.halt(self.refusal(&unit, code));
            }
        }
        self.drain();
    }

    pub(super) fn refusal(&self, unit: &Unit, code: KafkaCode) -> Halt {
        let (base, bytes) = (unit.base, unit.bytes);
        match code {
            INVALID_TIMESTAMP => {
                Halt::Timestamp { base, newest: unit.timestamp, limits: self.takes.times }
            }
            KafkaCode(2) => Halt::Corrupt { base },
            KafkaCode(10 | 18) => {
                // What was known of the destination's limit let the batch through.
                let known = self.takes.batch_bytes_max.filter(|max| bytes > *max);
                Halt::TooLarge { base, bytes, bytes_max: known }
            }
            _ => Halt::Refused { base, code },
        }
    }

    pub(super) fn note_fault(&mut self, fault: Fault) {
        if matches!(fault, Fault::FetchRefused(_) | Fault::SourceLost) {
            self.blame();
        }
        self.fault = match fault {
            Fault::FetchRefused(code) => {
                self.bar(Side::Source, Doing::Fetching, code);
                self.stale_leader |= code.remedy() == Remedy::Refresh;
                // a follower's range is not the source's
                self.unplaced = code == OFFSET_OUT_OF_RANGE && !self.reads_follower();
                Some((code.name(), format!("the source refused a fetch: {code}")))
            }
            Fault::SourceLost => Some(("SOURCE_UNAVAILABLE", "the source is away".to_owned())),
            Fault::DestinationLost => {
                Some(("DESTINATION_UNAVAILABLE", "the destination is away".to_owned()))
            }
            Fault::Moved => None,
        };
    }

    /// Remembers what a batch that is handed out repeats, once for its gap.
    pub(super) fn note_repeats(&mut self, unit: &Unit) {
        let known = self.repeated.last().map(|one| one.at);
        self.repeated.extend(unit.repeats.filter(|one| known != Some(one.at)));
    }

    /// The copy ends at `end`: what it repeats and does not have yet is remembered.
    pub(super) fn keep_repeated(&mut self, end: Offset) {
        self.repeated.retain(|one| one.from < end && end <= one.at);
    }

    /// Whether the copy repeats a record that the source does not have: its log parts from ours at
    /// `end`.
    pub(super) fn has_repeated(&self, end: Offset) -> bool {
        self.repeated.iter().any(|one| end <= one.at)
    }

    /// The source lost a record, and the copy has repeats of it already: another epoch wrote what
    /// stands in its place (found by the machine's own simulation).
    pub(super) fn lost_repeated(&self, batch: &BatchView) -> Option<Halt> {
        let (base, next, epoch) = (batch.base_offset(), batch.next_offset(), batch.leader_epoch());
        let lost = |one: &&Repeated| base <= one.at && one.at < next && epoch > one.epoch;
        let lost = self.repeated.iter().filter(|one| one.epoch >= LeaderEpoch(0)).find(lost)?;
        let destination_end = self.window.sent_end();
        Some(Halt::SourceTruncated { at: lost.at, epoch: lost.epoch, destination_end })
    }

    /// What retention took at the source before it was copied and is filled now: its first offset
    /// and the one behind it. Told once of each.
    pub fn take_overtaken(&mut self) -> Option<(Offset, Offset)> {
        let front = self.front.filter(|front| front.why == Why::Overtaken)?;
        let (from, to) = (self.read_end().max(self.overtaken_told), front.to);
        if from >= to || self.filling(from, to, front.why).is_err() {
            return None;
        }
        self.overtaken_told = to;
        Some((from, to))
    }

    /// That side refused what we did; a right that is missing stays known until it is there.
    pub(super) fn bar(&mut self, side: Side, what: Doing, code: KafkaCode) {
        if matches!(code, TOPIC_AUTHORIZATION_FAILED | CLUSTER_AUTHORIZATION_FAILED) {
            let barred = Some(Barred { side, what });
            if side == Side::Source && self.barred != barred {
                self.lag.forget_source();
            }
            self.barred = barred;
        }
    }

    /// That succeeded.
    pub(super) fn allow(&mut self, what: Doing) {
        self.barred = self.barred.filter(|barred| barred.what != what);
    }

    /// Drops what was taken in and not handed out.
    pub(super) fn drop_taken(&mut self) {
        self.window.drop_waiting();
        self.ahead = None;
        self.pending = None;
        self.bench = None;
    }

    pub(super) fn drain(&mut self) {
        self.drop_taken();
        if self.state == State::Mirroring {
            self.state = State::Draining;
        }
        self.settle();
    }

    /// Moves on from what was only waiting for answers.
    pub(super) fn settle(&mut self) {
        if self.window.in_flight() > 0 {
            return;
        }
        if self.state == State::Draining {
            self.state = State::Preparing;
        }
        self.halt_if_reached();
    }

    /// One that drains leaves its lane when it has all that the source has told of.
    pub(super) fn leave_if_level(&mut self) {
        let end = self.window.end();
        let is_idle = self.read_end() == end && self.front.is_none() && self.bench.is_none();
        let is_level = is_idle && self.lag.source_end.is_some_and(|source| source <= end);
        if self.drains && is_level && self.state == State::Mirroring {
            self.wants_tail = true;
            self.drain();
        }
    }

    /// An obstacle ahead is a halt once everything before it has landed.
    pub(super) fn halt_if_reached(&mut self) {
        let empty = self.window.in_flight() == 0 && self.window.waiting() == 0;
        if empty
            && self.state == State::Mirroring
            && let Some(halt) = self.ahead.take()
            && !self.leave_follower(halt.label(), halt.to_string())
        {
            self.halt(halt);
        }
    }

    /// The first reason stays: what follows it is a consequence.
    pub(super) fn halt(&mut self, halt: Halt) {
        self.drop_taken();
        if !matches!(self.state, State::Halted(_)) {
            self.state = State::Halted(halt);
        }
    }
}
