//! How far a partition is behind: records, bytes as far as they are known, milliseconds.
//!
//! It never guesses: what is not known is `None`, and so is what was known too long ago.

use crate::ids::Offset;
use crate::ids::ProducerId;
use crate::ids::Side;
use crate::ids::TimestampMs;
use crate::mirror::gap::Why;
use crate::mirror::halt::Halt;
use crate::mirror::partition::PartitionMirror;
use crate::mirror::partition::State;
use crate::mirror::source::replica::still_held;
use crate::mirror::window::Made;
use crate::mirror::window::Unit;

/// What snapshots call the state in which batches flow.
pub const MIRRORING: &str = "Mirroring";
/// What snapshots call the state in which nothing moves before somebody acts.
pub const HALTED: &str = "Halted";
/// What snapshots call the state of a partition that is not ready yet.
pub const PREPARING: &str = "Preparing";

/// What they call one of which nothing is to be copied now.
pub const PAUSED: &str = "Paused";

/// What people see of a partition; a copy, taken when somebody asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// A word of docs/STATES.md: Preparing, Mirroring, Draining, Halted, Paused.
    pub state: &'static str,
    /// Why it stands still, for a halted or failing one: label and text.
    pub reason: Option<(&'static str, String)>,
    /// The source's high watermark (or last stable offset, by the link's isolation level).
    pub source_end: Option<Offset>,
    /// How far the source reaches at least: what a follower of it says, where that is read.
    pub source_reach: Option<Offset>,
    /// When the source said so, or that nothing has changed since.
    pub source_seen: Option<TimestampMs>,
    /// The destination's log end offset, as last confirmed.
    pub destination_end: Option<Offset>,
    /// The destination's high watermark, as last confirmed.
    pub destination_hwm: Option<Offset>,
    /// When the destination said so.
    pub destination_seen: Option<TimestampMs>,
    /// Below it everything is known to be the source's; `None` where that is not known.
    pub exact_to: Option<Offset>,
    /// Records of the source between `exact_to` and its end.
    pub lag_records: Option<u64>,
    /// Bytes fetched and not confirmed yet.
    pub fetched_bytes: u64,
    /// The time of the oldest record that is not mirrored, or since when there is one.
    pub behind_since: Option<TimestampMs>,
    /// The age of the oldest record that is not mirrored; 0 when there is none.
    pub lag_ms: Option<u64>,
    /// The same with the records that are held back: what a failover now would lose, in time.
    pub rpo_ms: Option<u64>,
    /// Offsets below the source's log start that are yet to be filled.
    pub front_offsets: u64,
    /// Records behind `source_end` that an open transaction of the source holds back; not known
    /// where that end is not.
    pub held_records: Option<u64>,
    /// Since when there are such records, by when that was first seen.
    pub held_since: Option<TimestampMs>,
    /// That transaction, once the source has been asked.
    pub held_by: Option<HeldBy>,
    /// A right that we lack, so that nothing is copied.
    pub barred: Option<Barred>,
    /// What the destination confirmed since the start.
    pub copied: Copied,
}

/// A right that a cluster does not grant us.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Barred {
    /// Which cluster.
    pub side: Side,
    /// To do what.
    pub what: Doing,
}

/// What needs a right.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Looking at a log before anything is appended: Describe and Read.
    Looking,
    /// Fetching: Read.
    Fetching,
    /// Appending: Write.
    Appending,
}

impl Doing {
    /// Kafka's names of the operations.
    pub fn operations(self) -> &'static str {
        match self {
            Doing::Looking => "Describe and Read",
            Doing::Fetching => "Read",
            Doing::Appending => "Write",
        }
    }
}

/// What the destination says of a partition's log.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct DestinationEnd {
    /// The log end offset.
    pub end: Offset,
    /// The high watermark.
    pub hwm: Offset,
    /// When it was asked.
    pub at: TimestampMs,
}

/// Since when the source has something that the copy has not, as it was learnt beside the lanes.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Since {
    /// That could be copied.
    pub ahead: Option<TimestampMs>,
    /// That an open transaction holds back.
    pub held: Option<TimestampMs>,
}

/// What the source says of a partition's end.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct SourceEnd {
    /// The source's high watermark (or last stable offset, by the link's isolation level).
    pub end: Offset,
    /// Records behind it that an open transaction holds back.
    pub held: u64,
    /// When it was asked.
    pub at: TimestampMs,
}

impl Snapshot {
    /// A partition of which nothing is known but why.
    pub fn unknown(label: &'static str, text: String) -> Snapshot {
        Snapshot {
            state: PREPARING,
            reason: Some((label, text)),
            source_end: None,
            source_reach: None,
            source_seen: None,
            destination_end: None,
            destination_hwm: None,
            destination_seen: None,
            exact_to: None,
            lag_records: None,
            fetched_bytes: 0,
            behind_since: None,
            lag_ms: None,
            rpo_ms: None,
            front_offsets: 0,
            held_records: None,
            held_since: None,
            held_by: None,
            barred: None,
            copied: Copied::default(),
        }
    }

    /// One of which nothing is known, since nothing of it is to be copied now.
    pub fn paused(label: &'static str, text: String) -> Snapshot {
        Snapshot { state: PAUSED, ..Snapshot::unknown(label, text) }
    }

    /// One of which nothing is known but why it stands still.
    pub fn halted(halt: &Halt) -> Snapshot {
        Snapshot { state: HALTED, ..Snapshot::unknown(halt.label(), halt.to_string()) }
    }

    /// The known part of the lag in bytes; `None` where nothing of it is known.
    pub fn lag_bytes(&self) -> Option<u64> {
        match self.lag_records? {
            0 => Some(0),
            _ => Some(self.fetched_bytes).filter(|bytes| *bytes > 0),
        }
    }

    /// With what the destination said, unless something newer is known. While batches flow the
    /// position is shown: what was asked for beside the lane may be ahead of it for a moment.
    pub fn with_destination(mut self, told: DestinationEnd) -> Snapshot {
        if self.destination_seen.is_none_or(|seen| seen >= told.at) {
            return self;
        }
        self.destination_seen = Some(told.at);
        // What is lost there is not copied any more.
        self.exact_to = self.exact_to.map(|exact_to| exact_to.min(told.hwm));
        if self.state != MIRRORING {
            self.destination_end = Some(told.end);
            self.destination_hwm = Some(told.hwm);
        }
        self.measured()
    }

    /// With the lag that follows from what is known of both ends.
    pub(crate) fn measured(mut self) -> Snapshot {
        if let Some((end, reach)) = self.source_end.zip(self.source_reach.max(self.source_end)) {
            self.source_end = Some(reach);
            self.held_records = self.held_records.map(|held| still_held(held, end, reach));
            self.held_since = self.held_since.filter(|_| self.held_records != Some(0));
        }
        let records = self.exact_to.zip(self.source_end).map(|(to, end)| to.distance_to(end));
        Snapshot { lag_records: records, ..self }
    }

    /// With what the source said, unless something newer is known; `since` is when it was first
    /// seen ahead, and when records were first seen that are held back.
    pub fn with_source(mut self, told: SourceEnd, since: Since) -> Snapshot {
        if self.source_seen.is_some_and(|seen| seen >= told.at) {
            return self;
        }
        self.source_end = Some(told.end);
        self.source_seen = Some(told.at);
        self.held_records = Some(told.held);
        self.held_since = self.held_since.or(since.held).filter(|_| told.held > 0);
        self.behind_since = self.behind_since.or(since.ahead);
        self.measured()
    }

    /// The source's log is not known any more, and so the lag is not.
    pub fn without_source(self) -> Snapshot {
        let nothing = Snapshot::unknown("", String::new());
        let (held_records, held_since) = (nothing.held_records, nothing.held_since);
        Snapshot { source_end: None, source_seen: None, held_records, held_since, ..self }
            .unlagged(&nothing)
    }

    /// The destination's log is not known any more, and so the lag is not.
    pub fn without_destination(self) -> Snapshot {
        let nothing = Snapshot::unknown("", String::new());
        let (destination_end, destination_hwm, destination_seen) = (None, None, None);
        Snapshot { destination_end, destination_hwm, destination_seen, ..self }.uncopied(&nothing)
    }

    /// Whether the copy is one is not known, and so the lag is not.
    pub fn without_copy(self) -> Snapshot {
        self.uncopied(&Snapshot::unknown("", String::new()))
    }

    fn uncopied(self, nothing: &Snapshot) -> Snapshot {
        Snapshot { exact_to: None, ..self }.unlagged(nothing)
    }

    fn unlagged(self, nothing: &Snapshot) -> Snapshot {
        let Snapshot { lag_records, behind_since, lag_ms, rpo_ms, .. } = *nothing;
        Snapshot { lag_records, behind_since, lag_ms, rpo_ms, ..self }
    }

    /// As it is at wall time `now`: what is behind grows older by itself.
    pub fn at(mut self, now: TimestampMs) -> Snapshot {
        let age = |since: TimestampMs| u64::try_from(now.0 - since.0).unwrap_or(0);
        self.lag_ms = self.lag_records.map(|records| match records {
            0 => 0,
            _ => self.behind_since.map_or(0, age),
        });
        let held_ms = self.held_since.map_or(0, age);
        self.rpo_ms = self.lag_ms.map(|lag_ms| lag_ms.max(held_ms));
        self
    }
}

/// The open transaction at the source's last stable offset.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct HeldBy {
    /// Whose it is.
    pub producer: ProducerId,
    /// Its first record: the last stable offset.
    pub since: Offset,
    /// When the producer wrote last, by its records.
    pub last_timestamp: TimestampMs,
}

/// Totals since the start of the process, of what the destination confirmed.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Batches of records, as they are at the source or encoded anew.
    pub batches: u64,
    /// Their offsets, which in dense batches are records.
    pub records: u64,
    /// Their header and record bytes.
    pub bytes: u64,
    /// Of those batches, the ones that were encoded anew.
    pub reencoded: u64,
    /// Batches of the source that became part of a larger one.
    pub merged: u64,
    /// Offsets that were filled.
    pub filled: u64,
    /// Bytes of the fillers.
    pub filler_bytes: u64,
    /// Offsets of declared holes: records that retention took before they were copied.
    pub overtaken: u64,
    /// How old the records were by then.
    pub ages: Ages,
    /// The greatest timestamp of the last batch that has one.
    pub last_timestamp: Option<TimestampMs>,
}

/// The ages that are told apart, in ms: each is the greatest of its class.
pub const AGES_MS: [u64; 13] =
    [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 60_000, 600_000, 3_600_000];

/// How old records were when the destination confirmed them, by the greatest timestamp of their
/// batch; those without one are not counted.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    /// Records by class, and at last those older than all classes.
    pub counts: [u64; AGES_MS.len() + 1],
    /// Their ages together, in ms.
    pub sum_ms: u64,
}

impl Ages {
    fn count(&mut self, (records, age_ms): (u64, u64)) {
        self.counts[AGES_MS.partition_point(|greatest| *greatest < age_ms)] += records;
        self.sum_ms = self.sum_ms.saturating_add(age_ms.saturating_mul(records));
    }

    /// Those of two partitions together.
    pub fn and(mut self, other: Ages) -> Ages {
        for (ours, theirs) in self.counts.iter_mut().zip(other.counts) {
            *ours += theirs;
        }
        self.sum_ms = self.sum_ms.saturating_add(other.sum_ms);
        self
    }
}

impl Copied {
    /// Counts a batch that has landed by wall time `now`.
    pub fn count(&mut self, now: TimestampMs, unit: &Unit) {
        let offsets = unit.base.distance_to(unit.next);
        match unit.made {
            Made::Filler(why) => {
                self.filled += offsets;
                self.filler_bytes += unit.bytes as u64;
                self.overtaken += if why == Why::Overtaken { offsets } else { 0 };
            }
            Made::AtSource | Made::Reencoded | Made::Merged(_) => {
                self.batches += 1;
                self.records += offsets;
                self.bytes += unit.bytes as u64;
                if unit.timestamp.0 >= 0 {
                    let age_ms = now.0.saturating_sub(unit.timestamp.0).max(0).unsigned_abs();
                    self.ages.count((offsets, age_ms));
                    self.last_timestamp = Some(unit.timestamp);
                }
                self.reencoded += u64::from(unit.made == Made::Reencoded);
                if let Made::Merged(batches) = unit.made {
                    self.merged += u64::from(batches);
                }
            }
        }
    }

    /// Everything that landed, in bytes.
    pub fn all_bytes(&self) -> u64 {
        self.bytes + self.filler_bytes
    }
}

/// Keeps what the lag is computed from.
#[derive(Debug, Default)]
pub struct Lag {
    /// The source's end that consumers see; written by every fetch answer.
    pub source_end: Option<Offset>,
    /// How far it reaches at least; written by the answers of followers.
    pub(super) source_reach: Option<Offset>,
    /// When that was so.
    pub source_seen: Option<TimestampMs>,
    /// Records of the source behind it; written by every fetch answer.
    pub held: u64,
    /// Since when there are any.
    pub(super) held_since: Option<TimestampMs>,
    /// The destination's high watermark; written by every acknowledgement.
    pub destination_hwm: Option<Offset>,
    /// When that was so.
    pub destination_seen: Option<TimestampMs>,
    /// When the source was first seen ahead of the destination.
    behind_since: Option<TimestampMs>,
}

impl Lag {
    /// The source said at wall time `now` where it ends, and what is held back behind that.
    pub fn see_source(&mut self, now: TimestampMs, end: Offset, held: u64) {
        self.source_end = Some(end);
        self.source_reach = None;
        self.source_seen = Some(now);
        self.held = held;
        self.held_since = (held > 0).then(|| self.held_since.unwrap_or(now));
        self.note(now);
    }

    /// The source says nothing more of its end, from now on.
    pub fn forget_source(&mut self) {
        self.source_end = None;
    }

    /// The destination said at wall time `now` where its high watermark is.
    pub fn see_destination(&mut self, now: TimestampMs, hwm: Offset) {
        self.destination_hwm = Some(hwm);
        self.destination_seen = Some(now);
        self.note(now);
    }

    /// Notes at wall time `now` that the two ends may have moved.
    pub fn note(&mut self, now: TimestampMs) {
        match self.records() {
            Some(0) | None => self.behind_since = None,
            Some(_) => {
                self.behind_since.get_or_insert(now);
            }
        }
    }

    /// Records between the two ends.
    pub fn records(&self) -> Option<u64> {
        Some(self.destination_hwm?.distance_to(self.source_end?))
    }

    /// Since when it is behind, if it is: by the timestamp of the oldest batch in hand where there
    /// is one, else since when the source is known to be ahead. A timestamp in the future or of
    /// nothing (-1) says nothing and is not used.
    pub fn since(&self, now: TimestampMs, oldest: Option<TimestampMs>) -> Option<TimestampMs> {
        self.records().filter(|records| *records > 0)?;
        let oldest = oldest.filter(|time| time.0 >= 0 && time.0 <= now.0);
        Some(oldest.or(self.behind_since).unwrap_or(now))
    }
}

/// What people see of a partition: what its machine knows, and nothing that it does not.
impl PartitionMirror {
    /// Whether what the destination holds may be no copy of the source.
    fn may_be_no_copy(&self) -> bool {
        let doubted = self.doubt.0.as_ref().filter(|_| self.state == State::Preparing);
        self.halted().or(doubted).is_some_and(Halt::denies_copy)
    }

    /// What lies beyond all that was ever confirmed is not ours.
    fn exact_to(&self) -> Option<Offset> {
        let hwm = self.lag.destination_hwm;
        if self.prepared { hwm.map(|hwm| hwm.min(self.confirmed)) } else { hwm }
    }

    fn front_offsets(&self) -> u64 {
        let front = self.front.filter(|front| front.why == Why::Prefix);
        let ahead = front.map_or(0, |front| self.window.read_end().distance_to(front.to));
        ahead + self.window.front_offsets()
    }

    /// What people see at wall time `now`.
    pub fn snapshot(&self, now: TimestampMs) -> Snapshot {
        let (state, reason) = match &self.state {
            State::Preparing => (PREPARING, self.fault.clone()),
            State::Mirroring => (MIRRORING, self.fault.clone().filter(|_| self.barred.is_some())),
            State::Draining => ("Draining", self.fault.clone()),
            State::Halted(halt) => (HALTED, Some((halt.label(), halt.to_string()))),
        };
        let loses = |side| self.halted().is_some_and(|halt| halt.loses(side));
        let seen = Snapshot {
            state,
            reason,
            source_end: self.lag.source_end,
            source_reach: self.lag.source_reach,
            source_seen: self.lag.source_seen,
            destination_end: self.prepared.then(|| self.window.end()),
            destination_hwm: self.lag.destination_hwm,
            destination_seen: self.lag.destination_seen,
            exact_to: self.exact_to(),
            lag_records: None,
            front_offsets: self.front_offsets(),
            held_records: self.lag.source_end.map(|_| self.lag.held),
            held_since: self.lag.held_since,
            held_by: None,
            fetched_bytes: self.window.bytes() as u64,
            behind_since: self.lag.since(now, self.window.oldest()),
            lag_ms: None,
            rpo_ms: None,
            barred: self.barred,
            copied: self.copied,
        };
        let seen = seen.measured();
        let seen = if self.may_be_no_copy() { seen.without_copy() } else { seen };
        let seen = if loses(Side::Source) { seen.without_source() } else { seen };
        let seen = if loses(Side::Destination) { seen.without_destination() } else { seen };
        seen.at(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(raw: i64) -> Option<Offset> {
        Offset::new(raw)
    }

    #[test]
    fn lag_is_zero_only_when_the_ends_are_equal() {
        let mut lag = Lag::default();
        lag.note(TimestampMs(5));
        assert_eq!((lag.records(), lag.since(TimestampMs(9), None)), (None, None));
        lag.source_end = at(10);
        lag.destination_hwm = at(4);
        lag.note(TimestampMs(100));
        lag.note(TimestampMs(200));
        assert_eq!(lag.records(), Some(6));
        let since = |oldest: Option<i64>| lag.since(TimestampMs(250), oldest.map(TimestampMs));
        assert_eq!(since(None), Some(TimestampMs(100)));
        assert_eq!(since(Some(50)), Some(TimestampMs(50)));
        assert_eq!(since(Some(-1)), Some(TimestampMs(100)));
        assert_eq!(since(Some(900)), Some(TimestampMs(100)));
        lag.destination_hwm = at(10);
        lag.note(TimestampMs(300));
        assert_eq!(lag.since(TimestampMs(400), None), None);
        // a destination ahead of what the source shows is not a negative lag
        lag.destination_hwm = at(11);
        assert_eq!(lag.records(), Some(0));
    }

    #[test]
    fn what_a_follower_says_raises_an_end_that_was_told_before_and_lets_go_of_what_was_held() {
        let mut lag = Lag::default();
        lag.see_source(TimestampMs(100), Offset::new(10).unwrap(), 5);
        lag.see_source_reach(TimestampMs(200), Offset::new(12).unwrap());
        assert_eq!(
            (lag.source_end, lag.held, lag.source_seen),
            (at(12), 3, Some(TimestampMs(100)))
        );
        lag.see_source_reach(TimestampMs(200), Offset::new(11).unwrap());
        assert_eq!((lag.source_end, lag.held), (at(12), 3));
        let reach = Snapshot {
            source_reach: at(12),
            exact_to: at(9),
            ..Snapshot::unknown("", String::new())
        };
        let told =
            |end, held| SourceEnd { end: Offset::new(end).unwrap(), held, at: TimestampMs(150) };
        let seen = |end, held| {
            let seen = reach.clone().with_source(told(end, held), Since::default());
            (seen.source_end, seen.held_records, seen.lag_records)
        };
        assert_eq!(seen(10, 5), (at(12), Some(3), Some(3)));
        assert_eq!(seen(10, 1), (at(12), Some(0), Some(3)));
        assert_eq!(seen(20, 5), (at(20), Some(5), Some(11)));
        lag.see_source(TimestampMs(300), Offset::new(4).unwrap(), 0);
        assert_eq!((lag.source_end, lag.source_reach), (at(4), None));
    }

    #[test]
    fn records_are_counted_by_their_age() {
        let unit = |base: i64, records: i64, timestamp: i64, made: Made| Unit {
            base: Offset::new(base).unwrap(),
            next: Offset::new(base + records).unwrap(),
            bytes: 7,
            timestamp: TimestampMs(timestamp),
            epoch: crate::ids::LeaderEpoch(0),
            made,
            repeats: None,
        };
        let mut copied = Copied::default();
        let now = TimestampMs(10_000_000);
        copied.count(now, &unit(0, 3, now.0 - 10, Made::AtSource));
        copied.count(now, &unit(3, 1, now.0 - 11, Made::Reencoded));
        copied.count(now, &unit(4, 2, now.0 + 90, Made::AtSource)); // the source's clock is ahead
        copied.count(now, &unit(6, 5, -1, Made::AtSource));
        copied.count(now, &unit(11, 9, now.0 - 10, Made::Filler(Why::Overtaken)));
        copied.count(now, &unit(20, 4, now.0 - 3_600_001, Made::Merged(2)));
        let mut want = Ages { sum_ms: 3 * 10 + 11 + 4 * 3_600_001, ..Ages::default() };
        (want.counts[0], want.counts[1], want.counts[AGES_MS.len()]) = (5, 1, 4);
        assert_eq!(copied.ages, want);
        assert_eq!(want.and(want).counts[0], 10);
    }

    fn told(end: i64, held: u64, time: i64) -> SourceEnd {
        SourceEnd { end: Offset::new(end).unwrap(), held, at: TimestampMs(time) }
    }

    fn ahead(time: i64) -> Since {
        Since { ahead: Some(TimestampMs(time)), held: None }
    }

    #[test]
    fn what_is_held_back_would_be_lost_as_well() {
        let level = |lag: &Lag| Snapshot {
            exact_to: at(10),
            source_end: at(10),
            held_since: lag.held_since,
            ..Snapshot::unknown("", String::new())
        };
        let mut lag = Lag::default();
        let rpo_ms = |lag: &Lag, now| {
            let seen = level(lag).measured().at(TimestampMs(now));
            (seen.lag_ms, seen.rpo_ms)
        };
        lag.see_source(TimestampMs(100), Offset::new(10).unwrap(), 3);
        lag.see_source(TimestampMs(200), Offset::new(10).unwrap(), 5);
        assert_eq!(rpo_ms(&lag, 250), (Some(0), Some(150)), "since they were first seen");
        lag.see_source(TimestampMs(300), Offset::new(10).unwrap(), 0);
        assert_eq!(rpo_ms(&lag, 350), (Some(0), Some(0)));
        // beside the lanes as well
        let since = Since { ahead: None, held: Some(TimestampMs(400)) };
        let told = level(&lag).with_source(told(10, 2, 450), since);
        assert_eq!(told.clone().at(TimestampMs(500)).rpo_ms, Some(100));
        assert_eq!(told.without_source().at(TimestampMs(500)).rpo_ms, None);
    }

    #[test]
    fn what_the_source_said_last_counts() {
        let seen = Snapshot {
            source_end: at(10),
            source_seen: Some(TimestampMs(100)),
            exact_to: at(10),
            lag_records: Some(0),
            ..Snapshot::unknown("", String::new())
        };
        let old = seen.clone().with_source(told(70, 3, 100), Since::default());
        assert_eq!(old, seen);
        let new = seen.with_source(told(70, 3, 101), ahead(90));
        assert_eq!((new.lag_records, new.held_records), (Some(60), Some(3)));
        assert_eq!((new.at(TimestampMs(150)).lag_ms), Some(60));
    }

    #[test]
    fn a_lag_needs_both_ends() {
        let seen = Snapshot { exact_to: at(10), ..Snapshot::unknown("", String::new()) };
        let seen = seen.with_source(told(70, 3, 1), ahead(1));
        for lost in [seen.clone().without_source(), seen.clone().without_destination()] {
            let lost = lost.at(TimestampMs(9));
            assert_eq!((lost.lag_records, lost.lag_ms), (None, None));
        }
        assert_eq!(seen.at(TimestampMs(9)).lag_ms, Some(8));
    }

    #[test]
    fn a_topic_that_is_gone_has_no_lag_that_is_known() {
        for side in [Side::Source, Side::Destination] {
            let mut mirror = crate::mirror::tests::mirroring(10, 10);
            let lag = |mirror: &PartitionMirror| mirror.snapshot(TimestampMs(1)).lag_records;
            assert_eq!(lag(&mirror), Some(0));
            mirror.handle_halt(Halt::Deleted { side });
            assert_eq!(lag(&mirror), None, "gone at the {side}");
        }
    }

    #[test]
    fn bytes_are_known_only_where_some_are_in_hand() {
        let seen = |lag_records: Option<u64>, fetched_bytes: u64| {
            let seen = Snapshot::unknown("", String::new());
            Snapshot { lag_records, fetched_bytes, ..seen }.lag_bytes()
        };
        assert_eq!(seen(None, 0), None);
        assert_eq!(seen(None, 9), None);
        assert_eq!(seen(Some(0), 0), Some(0));
        assert_eq!(seen(Some(3), 0), None);
        assert_eq!(seen(Some(3), 9), Some(9));
    }

    #[test]
    fn what_the_destination_said_last_counts() {
        let halted = Snapshot {
            state: "Halted",
            destination_end: at(10),
            destination_hwm: at(10),
            destination_seen: Some(TimestampMs(100)),
            exact_to: at(10),
            ..Snapshot::unknown("", String::new())
        };
        let halted = halted.with_source(told(12, 0, 100), Since::default());
        let said = |end, hwm, time| {
            let (end, hwm) = (Offset::new(end).unwrap(), Offset::new(hwm).unwrap());
            DestinationEnd { end, hwm, at: TimestampMs(time) }
        };
        assert_eq!(halted.clone().with_destination(said(20, 20, 100)), halted);
        // somebody else's records are no part of the copy
        let more = halted.clone().with_destination(said(20, 19, 101));
        assert_eq!((more.destination_end, more.destination_hwm), (at(20), at(19)));
        assert_eq!((more.exact_to, more.lag_records), (at(10), Some(2)));
        // and what is lost is not copied
        let less = Snapshot { state: MIRRORING, ..halted }.with_destination(said(7, 7, 101));
        assert_eq!((less.destination_end, less.lag_records), (at(10), Some(5)));
        let gone = less.without_destination().with_destination(said(7, 7, 102));
        assert_eq!((gone.destination_end, gone.lag_records), (None, None));
    }
}
