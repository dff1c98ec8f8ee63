//! One mirror partition: which batch may be appended next, and when it must stand still.
//!
//! It never waits, never asks anybody and never repairs: facts come in, the next step goes out.
//!
//! ```text
//!             handle_prepared                    fault               in flight answered
//!  Preparing ────────────────▶ Mirroring ────────────────▶ Draining ───────────────────┐
//!   ▲ ▲ │                          │                          │                        │
//!   │ │ │ a rule is broken         ▼ a rule is broken         ▼ a rule is broken       │
//!   │ │ └──────────────────────▶ Halted ◀─────────────────────┘                        │
//!   │ └───── resume, or by itself ─┘                                                   │
//!   └──────────────────────────────────────────────────────────────────────────────────┘
//! ```

use crate::ids::LeaderEpoch;
use crate::ids::MirrorPartition;
use crate::ids::Offset;
use crate::ids::Side;
use crate::ids::TimestampMs;
use crate::mirror::facts::Acked;
use crate::mirror::facts::Append;
use crate::mirror::facts::Fault;
use crate::mirror::facts::Limits;
use crate::mirror::facts::Merge;
use crate::mirror::facts::Order;
use crate::mirror::facts::Prepared;
use crate::mirror::facts::Tail;
use crate::mirror::facts::Takes;
use crate::mirror::gap::FILLER_BYTES_MAX;
use crate::mirror::gap::Repeated;
use crate::mirror::gap::Why;
use crate::mirror::halt::Halt;
use crate::mirror::lag::Barred;
use crate::mirror::lag::Copied;
use crate::mirror::lag::Doing;
use crate::mirror::lag::Lag;
use crate::mirror::source::history::History;
use crate::mirror::source::pull::Pull;
use crate::mirror::source::replica::Replica;
use crate::mirror::take::Front;
use crate::mirror::window::Window;
use crate::mirror::work::Bench;
use crate::wire::error::KafkaCode;

/// How often in a row the ends must contradict each other before that is believed: a thawed old
/// leader answers with an old end and no error (`docs/OFFSETS.md`).
pub const DOUBT_MAX: u32 = 5;
/// How often in a row the same batch may be refused as fenced or corrupt before the halt.
pub const REFUSED_MAX: u32 = 5;
/// How many batches of the usual size one fetch asks for, so that a partition of tiny batches
/// does not fill the lane.
pub const BATCHES_PER_FETCH: usize = 256;
/// The least that one fetch asks of a partition, in bytes.
pub const FETCH_BYTES_MIN: usize = 16 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Valid from the start, and after every fault.
    Preparing,
    /// Valid from `Preparing` only.
    Mirroring,
    /// Valid from `Mirroring`: nothing new goes out, what is in flight is waited for.
    Draining,
    /// Valid from every state.
    Halted(Halt),
}

/// The machine of one partition.
#[derive(Debug)]
pub struct PartitionMirror {
    pub(super) name: MirrorPartition,
    pub(super) limits: Limits,
    pub(super) state: State,
    pub(super) window: Window,
    pub(super) history: History,
    pub(super) lag: Lag,
    pub(super) copied: Copied,
    /// What the destination topic takes.
    pub(super) takes: Takes,
    /// A halt that applies once everything before it has landed.
    pub(super) ahead: Option<Halt>,
    /// What is filled before the first batch is taken in.
    pub(super) front: Option<Front>,
    /// Up to here it was told that retention was faster.
    pub(super) overtaken_told: Offset,
    /// A gap from the window's end up to here waits for the next record, to repeat it.
    pub(super) pending: Option<(Offset, LeaderEpoch)>,
    /// Repeats in the copy, or on the way there, whose record is not copied yet.
    pub(super) repeated: Vec<Repeated>,
    /// A unit that is worked on outside of the lane, and what waits behind it.
    pub(super) bench: Option<Bench>,
    /// How many units were handed out.
    pub(super) tickets: u64,
    /// Since when the source answers with nothing although it says that there is something.
    pub(super) empty_since: Option<TimestampMs>,
    /// Whether the next look must find out if the source's log ends in a hole.
    pub(super) wants_tail: bool,
    /// It is to leave its lane whenever it is level (`Order::Drain`).
    pub(super) drains: bool,
    /// Whether the broker has taken a batch of this chain: the first one goes alone (P17).
    pub(super) proven: bool,
    /// Whether something was in flight when its connection was lost; ends with `Mirroring`.
    pub(super) unknown: bool,
    /// Whether the tails must be compared far back; ends with `Mirroring`.
    pub(super) far: bool,
    /// The greatest end that the destination ever confirmed.
    pub(super) confirmed: Offset,
    /// Whether any end is known at all.
    pub(super) prepared: bool,
    /// The same contradiction, so many times in a row.
    pub(super) doubt: (Option<Halt>, u32),
    /// Refusals of the batch at this base, so many in a row.
    pub(super) refused: (Offset, u32),
    /// Epoch and timestamp of the last batch handed out.
    pub(super) sent: (LeaderEpoch, TimestampMs),
    /// The timestamp of the last batch that is known to be in the destination's log.
    pub(super) landed: TimestampMs,
    /// What a fetch must ask for to get the next batch whole.
    pub(super) need_bytes: usize,
    /// The usual size of a batch, in bytes.
    pub(super) usual_bytes: usize,
    /// Whether the last refusal was about who leads.
    pub(super) stale_leader: bool,
    /// The source could not place our offset and epoch: it is asked without an epoch next, for one
    /// that went back to an old message format has forgotten all epochs.
    pub(super) unplaced: bool,
    /// Who answers fetches.
    pub(super) replica: Replica,
    /// How much is left to be read.
    pub(super) pull: Pull,
    /// Why it left `Mirroring` last, for people.
    pub(super) fault: Option<(&'static str, String)>,
    /// A right that was refused, until what needs it succeeds.
    pub(super) barred: Option<Barred>,
}

/// Facts in.
impl PartitionMirror {
    /// A partition of which nothing is known.
    pub fn new(name: MirrorPartition, limits: Limits) -> PartitionMirror {
        PartitionMirror {
            name,
            usual_bytes: limits.fetch_bytes_max,
            limits,
            state: State::Preparing,
            window: Window::new(Offset::ZERO, TimestampMs(-1)),
            history: History::new(),
            lag: Lag::default(),
            copied: Copied::default(),
            takes: Takes::default(),
            ahead: None,
            front: None,
            overtaken_told: Offset::ZERO,
            pending: None,
            repeated: Vec::new(),
            bench: None,
            tickets: 0,
            empty_since: None,
            wants_tail: false,
            drains: false,
            proven: false,
            unknown: false,
            far: false,
            confirmed: Offset::ZERO,
            prepared: false,
            doubt: (None, 0),
            refused: (Offset::ZERO, 0),
            sent: (LeaderEpoch::NONE, TimestampMs(-1)),
            landed: TimestampMs(-1),
            need_bytes: 0,
            stale_leader: false,
            unplaced: false,
            replica: Replica::Leader,
            pull: Pull::default(),
            fault: None,
            barred: None,
        }
    }

    /// The destination topic's configs are known, or have changed.
    pub fn set_takes(&mut self, takes: Takes) {
        self.takes = takes;
    }

    /// Both logs were looked at, with nothing of ours on the way: mirror from the destination's
    /// end, halt, or stay (and look again) where the two ends contradict each other.
    pub fn handle_prepared(&mut self, now: TimestampMs, facts: &Prepared) {
        if self.state != State::Preparing {
            return;
        }
        let asked_at = facts.asked_at.unwrap_or(now);
        self.lag.see_destination(asked_at, facts.destination_hwm.min(facts.destination_end));
        self.lag.see_source(asked_at, facts.source_end, facts.source_held);
        self.allow(Doing::Looking);
        if let Tail::Sealed(at) = facts.tail {
            return self.halt(Halt::Sealed { at });
        }
        if let Some(halt) = self.contradiction(facts) {
            return self.doubt(halt);
        }
        self.doubt = (None, 0);
        let epoch = match facts.tail {
            Tail::Differs(at) => return self.halt(Halt::Diverged { at }),
            Tail::Stamped(at) => return self.halt(Halt::Stamped { at }),
            Tail::Equal(epoch) => epoch,
            Tail::NothingShared | Tail::Sealed(_) => LeaderEpoch::NONE,
        };
        self.begin(epoch, facts);
        self.state = State::Mirroring;
        if let Some(to) = facts.hole_to.filter(|_| self.front.is_none()) {
            self.fill(to, LeaderEpoch::NONE, Why::Nothing);
        }
        self.halt_if_reached();
    }

    fn begin(&mut self, epoch: LeaderEpoch, facts: &Prepared) {
        let end = facts.destination_end;
        self.window = Window::new(end, facts.tail_timestamp);
        let is_unplaced = std::mem::take(&mut self.unplaced);
        self.history.restart(if is_unplaced { LeaderEpoch::NONE } else { epoch });
        self.sent = (epoch, facts.tail_timestamp);
        self.landed = facts.tail_timestamp;
        self.keep_repeated(end);
        self.ahead = None;
        self.pending = None;
        self.bench = None;
        self.empty_since = None;
        self.wants_tail = false;
        self.proven = false;
        self.unknown = false;
        self.far = false;
        self.stale_leader = false;
        self.replica = Replica::Leader;
        self.prepared = true;
        self.confirmed = self.confirmed.max(facts.destination_hwm.min(end));
        let began = end > Offset::ZERO && !facts.is_prefix;
        let why = if began { Why::Overtaken } else { Why::Prefix };
        let front = Front { to: facts.source_start, why };
        self.front = (end < facts.source_start).then_some(front);
    }

    /// The next batch is cut off: a fetch must ask for `bytes` to get it whole.
    pub fn handle_cut_off(&mut self, bytes: usize) {
        self.need_bytes = bytes;
        self.empty_since = None;
    }

    /// A batch at the read position is not what a batch must be: it is fetched again a few times.
    pub fn handle_malformed(&mut self) {
        if self.malformed_behind() {
            return;
        }
        let base = self.read_end();
        let count = if self.refused.0 == base { self.refused.1 + 1 } else { 1 };
        self.refused = (base, count);
        if self.state != State::Mirroring {
            return;
        }
        if self.leave_follower("CORRUPT_BATCH", format!("the batch at {base} is malformed")) {
            return;
        }
        if count >= REFUSED_MAX {
            self.ahead = Some(Halt::Corrupt { base });
            return self.halt_if_reached();
        }
        self.fault = Some(("CORRUPT_BATCH", format!("the batch at {base} is malformed")));
        self.drain();
    }

    /// The source's log agrees with the batch before our position only up to `end`, the end of
    /// `epoch` there (diverging epoch, KIP-595).
    pub fn handle_diverging(&mut self, epoch: LeaderEpoch, end: Offset) {
        if self.state != State::Mirroring {
            return;
        }
        if self.leave_follower("DIVERGING_EPOCH", format!("its log parts from ours at {end}")) {
            return;
        }
        if end < self.read_end() && self.history.may_be_gap(epoch, end) {
            // Behind a gap nobody can tell the two apart but who compares what lies there.
            self.far = true;
            return self.drain();
        }
        self.drop_taken();
        if end < self.window.sent_end() || self.has_repeated(end) {
            let destination_end = self.window.sent_end();
            self.ahead = Some(Halt::SourceTruncated { at: end, epoch, destination_end });
            return self.halt_if_reached();
        }
        // What was lost is not copied yet: read it again as it is now.
        self.history.restart(self.sent.0.min(epoch));
    }

    /// The destination answered the oldest append in flight.
    pub fn handle_appended(&mut self, now: TimestampMs, acked: Acked) {
        let Some(front) = self.window.front().cloned() else {
            let end = self.window.end();
            let got = acked.base.unwrap_or(end);
            return self.halt(Halt::Invariant { what: "an answer to nothing", expected: end, got });
        };
        if !acked.code.is_none() {
            return self.handle_refused(acked.code);
        }
        if acked.base != Some(front.base) {
            self.window.drop_front();
            return self.halt(Halt::UnexpectedWriter { expected: front.base, got: acked.base });
        }
        if front.base != self.window.end() {
            // The batch before it was refused and has landed all the same: a copy of it was still
            // on its way from an aborted connection. The end is read again before anything else.
            self.window.drop_front();
            return self.drain();
        }
        if acked.is_repeat {
            // Somebody's copy of these offsets was first: the tails must be compared, far back.
            self.window.drop_front();
            self.far = true;
            return self.drain();
        }
        self.window.ack();
        self.repeated.retain(|one| front.next <= one.at);
        self.proven = true;
        self.landed = front.timestamp;
        self.refused = (front.next, 0);
        self.confirmed = self.confirmed.max(front.next);
        self.lag.see_destination(now, self.confirmed);
        self.allow(Doing::Appending);
        self.copied.count(now, &front);
        self.settle();
        self.leave_if_level();
    }

    /// Something went wrong outside: nothing new goes out, what is in flight is answered first
    /// unless its connection is the one that is gone.
    pub fn handle_failed(&mut self, fault: Fault) {
        self.note_fault(fault);
        if fault == Fault::DestinationLost {
            self.unknown |= self.window.in_flight() > 0;
            while self.window.drop_front().is_some() {}
        }
        self.drain();
    }

    /// Both logs could not be looked at; for people.
    pub fn note_trouble(&mut self, label: &'static str, text: String) {
        self.fault = Some((label, text));
    }

    /// A look was refused by that side; for people.
    pub fn note_look_refused(&mut self, side: Side, code: KafkaCode) {
        self.bar(side, Doing::Looking, code);
    }

    /// A rule outside of the log is broken (a topic recreated, a config changed, …).
    pub fn handle_halt(&mut self, halt: Halt) {
        self.halt(halt);
    }

    /// A person's order.
    pub fn handle_order(&mut self, order: Order) {
        match order {
            Order::Resume => {
                if let State::Halted(halt) = &self.state
                    && self.window.in_flight() == 0
                {
                    // a batch that was corrupt so often is given one look at a time
                    let is_corrupt = matches!(halt, Halt::Corrupt { .. });
                    self.refused.1 = if is_corrupt { REFUSED_MAX - 1 } else { 0 };
                    self.state = State::Preparing;
                    self.doubt = (None, 0);
                }
            }
            Order::Drain => {
                self.drains = true;
                self.leave_if_level();
            }
        }
    }
}

/// Things to do out.
impl PartitionMirror {
    /// The next batch to append, if one may go out now: at wall time `now`, at most five in
    /// flight, and one alone where the broker may not know the writer.
    pub fn poll_append(&mut self, now: TimestampMs) -> Option<Append> {
        if self.state != State::Mirroring || self.window.in_flight() >= self.in_flight_max(now) {
            return None;
        }
        let sent_end = self.window.sent_end();
        let taken_max = self.takes.batch_bytes_max.unwrap_or(FILLER_BYTES_MAX);
        let bytes_max = taken_max.min(FILLER_BYTES_MAX).min(self.limits.append_bytes_max);
        let bounds = (self.limits.policy.merge == Merge::Auto).then(|| self.bounds());
        let (unit, batch) = self.window.take(bytes_max, bounds.as_ref())?;
        if unit.base != sent_end || batch.base_offset() != unit.base {
            self.window.drop_waiting();
            let what = "an append beside the destination's end";
            self.halt(Halt::Invariant { what, expected: sent_end, got: unit.base });
            return None;
        }
        self.sent = (unit.epoch, unit.timestamp);
        self.note_repeats(&unit);
        Some(Append { base: unit.base, next: unit.next, batch })
    }
}

/// Looks.
impl PartitionMirror {
    /// Which partition this is.
    pub fn name(&self) -> &MirrorPartition {
        &self.name
    }

    /// Whether batches may flow.
    pub fn is_mirroring(&self) -> bool {
        self.state == State::Mirroring
    }

    /// Whether it must be looked at before anything may flow.
    pub fn is_preparing(&self) -> bool {
        self.state == State::Preparing
    }

    /// Why it stands still, if it does.
    pub fn halted(&self) -> Option<&Halt> {
        match &self.state {
            State::Halted(halt) => Some(halt),
            _ => None,
        }
    }

    /// Whether it left its lane because a broker says that another one leads.
    pub fn needs_refresh(&self) -> bool {
        self.stale_leader
    }

    /// Whether a lane has nothing more to do with it.
    pub fn may_leave(&self) -> bool {
        self.state != State::Mirroring && self.window.in_flight() == 0
    }

    /// Whether it is to leave when it is level with the source.
    pub fn is_draining(&self) -> bool {
        self.drains
    }

    /// Whether one equal batch at the tail is not proof enough.
    pub fn wants_far_look(&self) -> bool {
        self.far
    }

    /// Whether the next look must find out if the source's log ends in a hole.
    pub fn wants_tail_look(&self) -> bool {
        self.wants_tail
    }

    /// Whether an append may have landed that was never answered.
    pub fn is_unknown(&self) -> bool {
        self.unknown
    }

    /// The confirmed position, once there is one.
    pub fn position(&self) -> Option<Offset> {
        self.prepared.then(|| self.window.end())
    }

    /// How many batches wait to be handed out.
    pub fn waiting(&self) -> usize {
        self.window.waiting()
    }

    /// Bytes in hand of batches that were encoded anew.
    pub fn anew_bytes(&self) -> usize {
        self.window.anew_bytes()
    }

    /// How many appends are unanswered.
    pub fn in_flight(&self) -> usize {
        self.window.in_flight()
    }

    /// Whether it lacks a right, as far as is known.
    pub fn is_barred(&self) -> bool {
        self.barred.is_some()
    }

    /// Totals since the start.
    pub fn copied(&self) -> Copied {
        self.copied
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::align::tests::batch;
    use crate::mirror::tests::NOW;
    use crate::mirror::tests::acked;
    use crate::mirror::tests::at;
    use crate::mirror::tests::facts;
    use crate::mirror::tests::fetched;
    use crate::mirror::tests::fresh;
    use crate::mirror::tests::mirroring;
    use crate::mirror::tests::refused;
    use crate::mirror::tests::tens;

    #[test]
    fn the_first_batch_of_a_chain_goes_alone_then_five() {
        let mut mirror = mirroring(100, 0);
        fetched(&mut mirror, 100, tens(0, 10));
        assert_eq!(mirror.poll_append(NOW).unwrap().base, at(0));
        assert!(mirror.poll_append(NOW).is_none());
        acked(&mut mirror, 0);
        let bases: Vec<_> =
            std::iter::from_fn(|| mirror.poll_append(NOW)).map(|a| a.base).collect();
        assert_eq!(bases, [at(10), at(20), at(30), at(40), at(50)]);
        assert_eq!(mirror.poll_fetch().unwrap().offset, at(100));
        for base in [10, 20, 30, 40, 50] {
            acked(&mut mirror, base);
        }
        let seen = mirror.snapshot(NOW);
        assert_eq!((seen.destination_end, seen.lag_records), (Some(at(60)), Some(40)));
        assert_eq!((seen.lag_bytes(), seen.lag_ms), (Some(4 * 62), Some(940)));
    }

    #[test]
    fn behind_old_records_batches_go_one_at_a_time() {
        let mut mirror = mirroring(100, 0);
        fetched(&mut mirror, 100, tens(0, 10));
        let late = TimestampMs(86_400_000 + 5_000);
        mirror.poll_append(late).unwrap();
        acked(&mut mirror, 0);
        mirror.poll_append(late).unwrap();
        assert!(mirror.poll_append(late).is_none());
        assert!(mirror.poll_append(NOW).is_some());
    }

    /// The batch of 20..30 may be refused, for one, because a flipped bit made it young.
    #[test]
    fn behind_an_old_record_a_young_one_must_land_before_the_window_opens() {
        let mut mirror = mirroring(100, 0);
        fetched(&mut mirror, 100, tens(0, 10));
        // their times are 1000, 1010 and so on: the first two are old
        let late = TimestampMs(86_400_000 + 1_015);
        for base in [0, 10, 20] {
            assert_eq!(mirror.poll_append(late).unwrap().base, at(base));
            assert!(mirror.poll_append(late).is_none(), "behind {base}");
            acked(&mut mirror, base);
        }
        assert_eq!(std::iter::from_fn(|| mirror.poll_append(late)).count(), 5);
    }

    #[test]
    fn an_ack_at_another_offset_halts_with_both_numbers() {
        let mut mirror = mirroring(100, 0);
        fetched(&mut mirror, 100, tens(0, 10));
        mirror.poll_append(NOW).unwrap();
        acked(&mut mirror, 1);
        let want = Halt::UnexpectedWriter { expected: at(0), got: Some(at(1)) };
        assert_eq!(mirror.halted(), Some(&want));
        assert!(mirror.may_leave());
        assert!(mirror.poll_append(NOW).is_none() && mirror.poll_fetch().is_none());
    }

    #[test]
    fn an_obstacle_halts_after_everything_before_it_has_landed() {
        let mut mirror = mirroring(100, 0);
        let mut batches = tens(0, 2);
        batches.push(batch(20, 5, 6, 0));
        fetched(&mut mirror, 100, batches);
        assert!(mirror.halted().is_none() && mirror.poll_fetch().is_none());
        mirror.poll_append(NOW).unwrap();
        acked(&mut mirror, 0);
        mirror.poll_append(NOW).unwrap();
        acked(&mut mirror, 10);
        assert_eq!(mirror.halted(), Some(&Halt::Corrupt { base: at(20) }));
        assert_eq!(mirror.position(), Some(at(20)));
    }

    #[test]
    fn a_refusal_waits_for_the_answers_behind_it() {
        let mut mirror = mirroring(100, 0);
        fetched(&mut mirror, 100, tens(0, 10));
        mirror.poll_append(NOW).unwrap();
        acked(&mut mirror, 0);
        while mirror.poll_append(NOW).is_some() {}
        refused(&mut mirror, 19);
        assert!(!mirror.may_leave() && !mirror.is_preparing());
        for _ in 0..4 {
            refused(&mut mirror, 45);
        }
        assert!(mirror.is_preparing() && mirror.may_leave() && !mirror.is_unknown());
        assert_eq!(mirror.position(), Some(at(10)));
        mirror.handle_prepared(NOW, &facts((0, 100), 10));
        assert_eq!(mirror.poll_fetch().unwrap().offset, at(10));
    }

    #[test]
    fn a_batch_taken_in_place_of_a_refused_one_halts() {
        let mut mirror = mirroring(100, 0);
        fetched(&mut mirror, 100, tens(0, 10));
        mirror.poll_append(NOW).unwrap();
        acked(&mut mirror, 0);
        while mirror.poll_append(NOW).is_some() {}
        refused(&mut mirror, 19);
        acked(&mut mirror, 10); // the broker forgot the writer: the batch of 20 stands at 10
        let want = Halt::UnexpectedWriter { expected: at(20), got: Some(at(10)) };
        assert_eq!(mirror.halted(), Some(&want));
    }

    #[test]
    fn a_late_copy_of_a_refused_batch_is_no_halt() {
        let mut mirror = mirroring(100, 0);
        fetched(&mut mirror, 100, tens(0, 4));
        mirror.poll_append(NOW).unwrap();
        acked(&mut mirror, 0);
        while mirror.poll_append(NOW).is_some() {}
        refused(&mut mirror, 19);
        acked(&mut mirror, 20); // so 10..20 is there: a copy came from an aborted connection
        assert!(mirror.halted().is_none() && !mirror.may_leave());
        acked(&mut mirror, 30);
        assert!(mirror.is_preparing());
        mirror.handle_prepared(NOW, &facts((0, 100), 40));
        assert_eq!(mirror.poll_fetch().unwrap().offset, at(40));
    }

    #[test]
    fn a_repeat_is_no_proof_of_what_lies_there() {
        let mut mirror = mirroring(100, 0);
        fetched(&mut mirror, 100, tens(0, 10));
        mirror.poll_append(NOW).unwrap();
        let base = Some(at(0));
        mirror.handle_appended(NOW, Acked { code: KafkaCode::NONE, base, is_repeat: true });
        assert!(mirror.is_preparing() && mirror.wants_far_look());
        mirror.handle_prepared(NOW, &facts((0, 100), 10));
        assert!(mirror.is_mirroring() && !mirror.wants_far_look());
    }

    #[test]
    fn a_lost_connection_makes_what_was_in_flight_unknown() {
        let mut mirror = mirroring(100, 0);
        fetched(&mut mirror, 100, tens(0, 10));
        mirror.poll_append(NOW).unwrap();
        mirror.handle_failed(Fault::DestinationLost);
        assert!(mirror.is_preparing() && mirror.is_unknown());
        // it had landed
        mirror.handle_prepared(NOW, &facts((0, 100), 10));
        assert_eq!(mirror.poll_fetch().unwrap().offset, at(10));
        assert!(!mirror.is_unknown());
    }

    #[test]
    fn a_lost_source_lets_the_appends_in_flight_end() {
        let mut mirror = mirroring(100, 0);
        fetched(&mut mirror, 100, tens(0, 10));
        mirror.poll_append(NOW).unwrap();
        mirror.handle_failed(Fault::SourceLost);
        assert!(!mirror.may_leave());
        acked(&mut mirror, 0);
        assert!(mirror.is_preparing() && mirror.may_leave() && !mirror.is_unknown());
    }

    #[test]
    fn ends_that_contradict_each_other_are_believed_only_when_they_stay() {
        let mut mirror = fresh();
        for _ in 1..DOUBT_MAX {
            mirror.handle_prepared(NOW, &facts((0, 50), 60));
            assert!(mirror.is_preparing());
        }
        mirror.handle_prepared(NOW, &facts((0, 50), 60));
        let want = Halt::DestinationAhead { destination_end: at(60), source_end: at(50) };
        assert_eq!(mirror.halted(), Some(&want));
        let mut mirror = fresh();
        mirror.handle_prepared(NOW, &facts((0, 50), 60));
        mirror.handle_prepared(NOW, &facts((0, 70), 60));
        assert!(mirror.is_mirroring());
    }

    #[test]
    fn a_destination_that_lost_confirmed_offsets_halts() {
        let mut mirror = mirroring(100, 50);
        mirror.handle_failed(Fault::DestinationLost);
        for _ in 0..DOUBT_MAX {
            mirror.handle_prepared(NOW, &facts((0, 100), 49));
        }
        let want = Halt::DestinationBehind { confirmed: at(50), end: at(49) };
        assert_eq!(mirror.halted(), Some(&want));
    }

    #[test]
    fn a_log_start_above_the_end_halts_and_a_different_tail_at_once() {
        let mut mirror = fresh();
        for _ in 0..DOUBT_MAX {
            mirror.handle_prepared(NOW, &facts((7, 100), 3));
        }
        let want = Halt::LogStartAbove { source_start: at(7), destination_end: at(3) };
        assert_eq!(mirror.halted(), Some(&want));
        let mut mirror = fresh();
        let tail = Tail::Differs(at(2));
        mirror.handle_prepared(NOW, &Prepared { tail, ..facts((0, 100), 3) });
        assert_eq!(mirror.halted(), Some(&Halt::Diverged { at: at(2) }));
    }

    /// Its end lies beyond the source's: that is the seal, and neither doubt nor difference.
    #[test]
    fn a_sealed_partition_is_never_mirrored_again() {
        let mut mirror = fresh();
        let tail = Tail::Sealed(Some(at(100)));
        mirror.handle_prepared(NOW, &Prepared { tail, ..facts((0, 100), 101) });
        assert_eq!(mirror.halted(), Some(&Halt::Sealed { at: Some(at(100)) }));
        assert!(!Halt::Sealed { at: None }.may_resolve_itself());
        assert!(mirror.poll_fetch().is_none() && mirror.poll_append(NOW).is_none());
    }

    #[test]
    fn a_source_truncated_below_what_was_sent_halts_and_above_it_reads_again() {
        let mut mirror = mirroring(100, 0);
        fetched(&mut mirror, 100, tens(0, 4));
        mirror.poll_append(NOW).unwrap();
        acked(&mut mirror, 0);
        mirror.handle_diverging(LeaderEpoch(0), at(10));
        assert_eq!(mirror.poll_fetch().unwrap().offset, at(10));
        mirror.handle_diverging(LeaderEpoch(0), at(9));
        let (at, epoch, destination_end) = (at(9), LeaderEpoch(0), at(10));
        let want = Halt::SourceTruncated { at, epoch, destination_end };
        assert_eq!(mirror.halted(), Some(&want));
    }

    #[test]
    fn refusals_that_stay_halt_with_their_code() {
        let check = |code: i16, times: u32, label: &str| {
            let mut mirror = mirroring(100, 0);
            for _ in 0..times {
                assert!(mirror.halted().is_none(), "{code}");
                if mirror.is_preparing() {
                    mirror.handle_prepared(NOW, &facts((0, 100), 0));
                }
                fetched(&mut mirror, 100, tens(0, 1));
                mirror.poll_append(NOW).unwrap();
                refused(&mut mirror, code);
            }
            assert_eq!(mirror.halted().unwrap().label(), label);
        };
        check(10, 1, "BATCH_TOO_LARGE");
        check(87, 1, "REFUSED_BY_DESTINATION");
        check(32, 1, "INVALID_TIMESTAMP");
        check(2, REFUSED_MAX, "CORRUPT_BATCH");
        check(45, REFUSED_MAX, "REFUSED_BY_DESTINATION");
    }

    #[test]
    fn what_is_not_committed_at_the_source_is_not_taken() {
        let mut mirror = mirroring(100, 0);
        fetched(&mut mirror, 15, tens(0, 2));
        assert_eq!(mirror.waiting(), 1);
        assert_eq!(mirror.poll_fetch().unwrap().offset, at(10));
    }

    #[test]
    fn memory_in_hand_stops_the_fetches_not_the_appends() {
        let mut mirror = mirroring(100_000, 0);
        fetched(&mut mirror, 100_000, tens(0, 165));
        assert!(mirror.poll_fetch().is_none());
        mirror.poll_append(NOW).unwrap();
        acked(&mut mirror, 0);
        while mirror.poll_append(NOW).is_some() {}
        for n in 1..=5 {
            acked(&mut mirror, 10 * n);
        }
        while mirror.poll_append(NOW).is_some() {}
        acked(&mut mirror, 60);
        assert!(mirror.poll_fetch().is_some());
    }

    #[test]
    fn a_halted_partition_is_looked_at_again_by_order() {
        let mut mirror = fresh();
        for _ in 0..DOUBT_MAX {
            mirror.handle_prepared(NOW, &facts((7, 100), 3));
        }
        mirror.handle_order(Order::Resume);
        assert!(mirror.is_preparing());
        mirror.handle_prepared(NOW, &facts((3, 100), 3));
        assert!(mirror.is_mirroring());
    }
}
