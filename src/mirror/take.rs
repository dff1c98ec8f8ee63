//! How the machine takes in what a fetch brought: batches, old messages, and what is between them.
//!
//! It never appends and never believes a header whose checksum is wrong where it would fill, or
//! encode anew, by it.

use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::TimestampMs;
use crate::mirror::align::Align;
use crate::mirror::align::Fate;
use crate::mirror::align::align;
use crate::mirror::align::align_old;
use crate::mirror::facts::FetchFrom;
use crate::mirror::facts::Fetched;
use crate::mirror::facts::GapFill;
use crate::mirror::facts::OldFormat;
use crate::mirror::gap::Gap;
use crate::mirror::gap::Template;
use crate::mirror::gap::Why;
use crate::mirror::gap::With;
use crate::mirror::halt::Halt;
use crate::mirror::lag::Doing;
use crate::mirror::partition::PartitionMirror;
use crate::mirror::partition::State;
use crate::mirror::source::aborted::Aborted;
use crate::mirror::window::Made;
use crate::mirror::work::Job;
use crate::wire::batch::BatchView;
use crate::wire::crc;
use crate::wire::filler::COMPACTED_END;
use crate::wire::filler::Kind;
use crate::wire::reframe::Bounds;
use crate::wire::split::Piece;

/// How long the source may answer with nothing where it says that there is something, before the
/// partition asks whether its log ends in a hole, in milliseconds.
pub const EMPTY_MS_MAX: i64 = 5_000;

/// How far a walk over pieces came.
pub(super) enum Taken {
    /// To their end.
    All,
    /// No more may be taken in.
    Enough,
    /// Behind this one, which must be worked on first.
    UpTo(Job),
}

/// What is to be filled before the first batch is taken in.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Front {
    /// The source's log start.
    pub to: Offset,
    /// Whether records are missing, or were never to be copied.
    pub why: Why,
}

/// Taking in.
impl PartitionMirror {
    /// The source answered a fetch: `fetched` and record data that begins at or before the offset
    /// which [`Self::poll_fetch`] named.
    pub fn handle_fetched(
        &mut self,
        now: TimestampMs,
        fetched: &Fetched,
        pieces: impl IntoIterator<Item = Piece>,
    ) {
        if !self.awaits(fetched.from) {
            return;
        }
        let held = fetched.source_end.distance_to(fetched.high_watermark);
        if self.reads_follower() {
            self.lag.see_source_reach(fetched.asked_at, fetched.source_end);
        } else {
            self.lag.see_source(fetched.asked_at, fetched.source_end, held);
        }
        self.allow(Doing::Fetching);
        let before = (self.read_end(), self.window.bytes());
        let mut aborted = Aborted::new(fetched.aborted.iter().copied());
        let mut pieces = pieces.into_iter().peekable();
        if pieces.peek().is_none() {
            self.note_empty(now, fetched.source_end);
        } else {
            self.empty_since = None;
        }
        if let Taken::UpTo(job) = self.take_all(fetched, &mut aborted, &mut pieces) {
            let behind: Vec<Piece> = pieces.collect();
            self.put_aside(job, fetched, aborted, behind.into_iter());
        }
        self.note_pull(before, fetched.source_end);
        self.halt_if_reached();
        self.leave_if_level();
    }

    /// The answer to a fetch left the partition out: nothing has changed at the source. It may have
    /// left it out for others as well, who filled the answer: that is wondered about only where the
    /// end is looked for.
    pub fn handle_unchanged(&mut self, now: TimestampMs, from: FetchFrom) {
        if self.drains
            && self.awaits(from)
            && self.front.is_none()
            && let Some(source_end) = self.lag.source_end
        {
            self.note_empty(now, source_end);
        }
    }

    /// Takes pieces in until there is none, no more may be, or one must be worked on first.
    pub(super) fn take_all(
        &mut self,
        fetched: &Fetched,
        aborted: &mut Aborted,
        pieces: &mut impl Iterator<Item = Piece>,
    ) -> Taken {
        for piece in pieces {
            if !self.takes_more() {
                return Taken::Enough;
            }
            self.fill_front(first_offset(&piece));
            if !self.takes_more() || !self.is_stable(&piece, fetched) {
                return Taken::Enough;
            }
            if let Some(job) = self.take_in(&piece, fetched, aborted) {
                return Taken::UpTo(job);
            }
        }
        Taken::All
    }

    /// Whether anything more may be taken in: not behind an obstacle, a unit that is being worked
    /// on, or a long gap.
    pub(super) fn takes_more(&self) -> bool {
        let open = self.state == State::Mirroring && self.ahead.is_none();
        open && self.bench.is_none() && !self.window.has_long_gap()
    }

    /// From where the source is read next, and the epoch of what lies before.
    pub(super) fn fetch_place(&self) -> (Offset, LeaderEpoch) {
        let front = self.front.map(|front| (front.to, LeaderEpoch::NONE));
        front.unwrap_or((self.read_end(), self.history.last()))
    }

    /// Whether what was asked for is what is wanted now. A fetch outlives its partition's leave
    /// from a lane: one that comes back has looked at both logs meanwhile. It may go on lower, and
    /// an answer to what was asked before would leave a hole that the source does not have; or it
    /// knows more of the source's epochs, and the old question would not tell of another log.
    pub fn awaits(&self, from: FetchFrom) -> bool {
        self.fetch_place() == (from.offset, from.last_epoch)
    }

    /// Where the source is read next.
    pub(super) fn read_end(&self) -> Offset {
        self.pending.map_or_else(|| self.window.read_end(), |(to, _)| to)
    }

    /// The source's log begins above the end: what is missing is filled up to its first batch,
    /// which may begin below the log start.
    fn fill_front(&mut self, first: Option<Offset>) {
        let Some(front) = self.front.take() else { return };
        let to = first.map_or(front.to, |first| first.min(front.to));
        self.fill(to, LeaderEpoch::NONE, front.why);
        self.history.restart(LeaderEpoch::NONE);
    }

    fn note_empty(&mut self, now: TimestampMs, source_end: Offset) {
        let position = self.front.map_or_else(|| self.read_end(), |front| front.to);
        if source_end <= position {
            self.empty_since = None;
            // Nothing is left at the source: its next record will stand at its log start.
            return self.fill_front(None);
        }
        let since = *self.empty_since.get_or_insert(now);
        if now.0.saturating_sub(since.0) < EMPTY_MS_MAX || !self.takes_more() {
            return;
        }
        self.empty_since = None;
        if self.leave_follower("FOLLOWER_GAP", format!("it brings nothing from {position} on")) {
            return;
        }
        if self.front.is_some() {
            return self.fill_front(None);
        }
        self.wants_tail = true;
        self.drain();
    }

    /// Takes a piece in; comes back with it where it must be worked on outside of the lane.
    fn take_in(&mut self, piece: &Piece, fetched: &Fetched, aborted: &mut Aborted) -> Option<Job> {
        match piece {
            Piece::Batch(batch) => {
                let fate = aborted.fate(batch);
                self.take_batch(batch, fate, fetched)
            }
            Piece::OldFormat { offset, magic, .. } => self.take_old(piece, *offset, *magic),
        }
    }

    /// What ends behind the source's end is read before the source has told of it, and comes
    /// again; unless it is a corrupt header that says so. Either way nothing behind it is taken:
    /// it would seem to have a gap in front.
    fn is_stable(&mut self, piece: &Piece, fetched: &Fetched) -> bool {
        match piece {
            Piece::Batch(batch) if batch.next_offset() > fetched.source_end => {
                if crc::check(batch).is_err() {
                    self.handle_malformed();
                }
                false
            }
            Piece::Batch(_) => true,
            Piece::OldFormat { offset, .. } => *offset < fetched.source_end,
        }
    }

    fn take_batch(&mut self, batch: &BatchView, fate: Fate, fetched: &Fetched) -> Option<Job> {
        let (base, end) = (batch.base_offset(), self.read_end());
        let answer = align(batch, fate, end, self.takes.batch_bytes_max);
        let by_header = matches!(answer, Align::Skip | Align::Fill(_) | Align::Halt(_));
        if by_header && crc::check(batch).is_err() {
            self.handle_malformed();
            return None;
        }
        match answer {
            Align::Skip => None,
            _ if self.leaves_for_gap(batch, end) => None,
            Align::Halt(halt) => {
                self.ahead = Some(halt);
                None
            }
            Align::Fill(to) if to == base => {
                if fetched.log_start.is_some_and(|start| start > end) {
                    self.retention_took(end);
                    return None;
                }
                self.fill(to, LeaderEpoch::NONE, Why::Nothing);
                if self.takes_more() { self.take_batch(batch, fate, fetched) } else { None }
            }
            Align::Fill(to) => {
                if self.note_epoch(batch) {
                    self.fill(to, batch.leader_epoch(), Why::Nothing);
                }
                None
            }
            Align::Reencode => self.work_on(batch, Made::Reencoded),
            // a gap in front of it is filled with its first record
            Align::Append if self.pending.is_some() => self.work_on(batch, Made::AtSource),
            Align::Append => {
                if self.note_epoch(batch) {
                    self.push(batch.clone(), Made::AtSource);
                }
                None
            }
        }
    }

    fn work_on(&mut self, batch: &BatchView, made: Made) -> Option<Job> {
        if !self.note_epoch(batch) {
            return None;
        }
        let (unit, epoch) = (Piece::Batch(batch.clone()), batch.leader_epoch());
        self.begin_work(Job { unit, at: batch.base_offset(), epoch, made })
    }

    fn take_old(&mut self, piece: &Piece, last: Offset, magic: i8) -> Option<Job> {
        if align_old(last, self.read_end()) == Align::Skip {
            return None;
        }
        // gaps between old messages do not show
        let text = || format!("the message at {last} is of format {magic}");
        if self.reads_follower() && self.leave_follower("FOLLOWER_GAP", text()) {
            return None;
        }
        match self.limits.policy.old_format {
            OldFormat::Halt => {
                self.ahead = Some(Halt::OldFormat { base: last, magic });
                None
            }
            OldFormat::Convert => {
                let (unit, epoch) = (piece.clone(), LeaderEpoch::NONE);
                self.begin_work(Job { unit, at: last, epoch, made: Made::Reencoded })
            }
        }
    }

    /// What a unit that is encoded anew may be, before and after.
    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            unpacked_bytes_max: self.limits.unpacked_bytes_max,
            held_bytes_max: self.limits.held_bytes_max,
            batch_bytes_max: self.takes.batch_bytes_max,
        }
    }

    /// A batch that came of a unit under work; `template` is its first record.
    pub(super) fn push_run(&mut self, batch: BatchView, made: Made, template: Option<Template>) {
        let (base, bytes) = (batch.base_offset(), batch.len());
        let bytes_max = self.takes.batch_bytes_max;
        if bytes_max.is_some_and(|max| bytes > max) {
            self.ahead = Some(Halt::TooLarge { base, bytes, bytes_max });
            return;
        }
        if self.resolve(template) {
            self.push(batch, made);
        }
    }

    /// Retention took what was to be read next while it was read: both ends are asked again.
    fn retention_took(&mut self, at: Offset) {
        let text = format!("the source deleted offset {at} while it was fetched");
        self.fault = Some(("OFFSET_OUT_OF_RANGE", text));
        self.drain();
    }

    /// Leader epochs never go back inside a log, and no other may stand where a record stood that
    /// the copy repeats.
    fn note_epoch(&mut self, batch: &BatchView) -> bool {
        let (base, is) = (batch.base_offset(), batch.leader_epoch());
        if let Some(lost) = self.lost_repeated(batch) {
            self.ahead = Some(lost);
            return false;
        }
        let noted = self.history.note(batch.next_offset(), is);
        if let Err(was) = noted {
            self.ahead = Some(Halt::SourceEpochWentBack { base, was, is });
        }
        noted.is_ok()
    }

    fn push(&mut self, batch: BatchView, made: Made) {
        self.need_bytes = 0;
        self.usual_bytes = (self.usual_bytes * 7 + batch.len()) / 8;
        if let Err(batch) = self.window.push(batch, made) {
            self.beside(batch.base_offset());
        }
    }

    fn beside(&mut self, got: Offset) {
        let (expected, what) = (self.window.read_end(), "a batch beside the read position");
        self.ahead = Some(Halt::Invariant { what, expected, got });
    }

    /// Fills from the read position up to `to`, with what the link and the topic want there.
    pub(super) fn fill(&mut self, to: Offset, epoch: LeaderEpoch, why: Why) {
        while self.ahead.is_none() && self.read_end() < to {
            let base = self.read_end();
            match self.filling(base, to, why) {
                Err(halt) => self.ahead = Some(halt),
                Ok(None) => self.pending = Some((to, epoch)),
                Ok(Some((kind, next))) => {
                    let with = With::Fillers(kind);
                    self.push_gap(Gap { base, next, epoch, with, why });
                }
            }
        }
    }

    fn push_gap(&mut self, gap: Gap) {
        if let Err(gap) = self.window.push_gap(gap) {
            self.beside(gap.base);
        }
    }

    /// What fills the offsets from `base` on, and how far; `None` for repeats of the next record.
    pub(super) fn filling(
        &self,
        base: Offset,
        to: Offset,
        why: Why,
    ) -> Result<Option<(Kind, Offset)>, Halt> {
        let unfit = |why: &'static str| Err(Halt::CannotFill { at: base, why });
        // What is below the source's log start is deleted again before anybody reads it.
        let policy = match why {
            Why::Prefix => GapFill::Auto,
            Why::Nothing | Why::Overtaken => self.limits.policy.gap_fill,
        };
        if policy == GapFill::Halt {
            return Err(Halt::Hole { at: base, next: to });
        }
        let (offsets, max) = (base.distance_to(to), self.limits.policy.gap_offsets_max);
        if offsets > max {
            return Err(Halt::GapTooLong { at: base, next: to, max });
        }
        match self.takes.leaves_batches {
            Some(true) => {}
            Some(false) => return unfit("compression.type there is not producer: set it to that"),
            None => return unfit("compression.type there is not told: grant DescribeConfigs"),
        }
        match (self.takes.is_compacted, policy) {
            (None, _) => unfit("cleanup.policy there is not told: grant DescribeConfigs"),
            (Some(_), GapFill::Halt) => Err(Halt::Hole { at: base, next: to }),
            (Some(false), GapFill::Auto) => Ok(Some((Kind::Hidden, to))),
            (Some(false), GapFill::Record) => Ok(Some((Kind::Visible, to))),
            // It is gone before any cleaner works, so that it may reach beyond.
            (Some(true), GapFill::Auto) if why == Why::Prefix && self.takes.is_staged => {
                Ok(Some((Kind::HiddenKeyed, to)))
            }
            (Some(true), GapFill::Auto) if base < COMPACTED_END && self.pending.is_none() => {
                Ok(Some((Kind::HiddenKeyed, to.min(COMPACTED_END))))
            }
            (Some(true), _) => Ok(None),
        }
    }

    /// Whether a gap in or before a unit may be filled with the record behind it.
    pub(super) fn fills_with_repeats(&self, unit: &Piece) -> bool {
        let last = match unit {
            Piece::Batch(batch) => batch.next_offset(),
            Piece::OldFormat { offset, .. } => *offset,
        };
        let is_far = last >= COMPACTED_END || self.limits.policy.gap_fill == GapFill::Record;
        self.pending.is_some() || (self.takes.is_compacted == Some(true) && is_far)
    }

    /// A gap that waited for the next record to be repeated has found it; `false` where that could
    /// not be read.
    fn resolve(&mut self, template: Option<Template>) -> bool {
        let Some((next, epoch)) = self.pending.take() else { return true };
        let Some(template) = template else {
            self.handle_malformed();
            return false;
        };
        let with = With::Repeats(Box::new(template));
        let base = self.window.read_end();
        self.push_gap(Gap { base, next, epoch, with, why: Why::Nothing });
        self.ahead.is_none()
    }
}

/// Where a piece begins; of an old compressed set only its end is known.
fn first_offset(piece: &Piece) -> Option<Offset> {
    match piece {
        Piece::Batch(batch) => Some(batch.base_offset()),
        Piece::OldFormat { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ProducerId;
    use crate::mirror::facts::Acked;
    use crate::mirror::facts::Append;
    use crate::mirror::facts::Fault;
    use crate::mirror::facts::Order;
    use crate::mirror::facts::Overtook;
    use crate::mirror::facts::Policy;
    use crate::mirror::facts::Prepared;
    use crate::mirror::facts::Takes;
    use crate::mirror::gap::LONG;
    use crate::mirror::tests::NOW;
    use crate::mirror::tests::POLICY;
    use crate::mirror::tests::acked;
    use crate::mirror::tests::asked;
    use crate::mirror::tests::at;
    use crate::mirror::tests::facts;
    use crate::mirror::tests::fresh;
    use crate::mirror::tests::later;
    use crate::mirror::tests::marker;
    use crate::mirror::tests::mirroring;
    use crate::mirror::tests::plain;
    use crate::mirror::tests::takes;
    use crate::mirror::tests::txn;
    use crate::wire::codec::Codec;
    use crate::wire::error::KafkaCode;
    use crate::wire::filler::kind_of;

    /// `COMPACTED_END`, as the rules h03 and h04 of tests/rules have it of real brokers.
    const HUGE: i64 = (1 << 31) - 1;

    fn told(source_end: i64, aborted: &[(i64, i64)]) -> Fetched {
        let row = |(id, first): &(i64, i64)| (ProducerId(*id), at(*first));
        Fetched {
            asked_at: NOW,
            from: asked(&fresh()),
            source_end: at(source_end),
            high_watermark: at(source_end),
            log_start: Some(at(0)),
            aborted: aborted.iter().map(row).collect(),
        }
    }

    /// What was asked for from where the machine reads next.
    fn give(mirror: &mut PartitionMirror, fetched: &Fetched, batches: Vec<BatchView>) {
        let fetched = Fetched { from: asked(mirror), ..fetched.clone() };
        mirror.handle_fetched(NOW, &fetched, batches.into_iter().map(Piece::Batch));
    }

    #[test]
    fn what_was_asked_for_before_a_look_is_no_hole() {
        let mut mirror = mirroring(30, 10);
        give(&mut mirror, &told(30, &[]), vec![plain(10, 10)]);
        let late = Fetched { from: asked(&mirror), ..told(30, &[]) };
        // the append is refused, the partition leaves its lane, looks, and goes on at 10
        assert_eq!(mirror.poll_append(NOW).unwrap().base, at(10));
        mirror.handle_appended(NOW, Acked { code: KafkaCode(19), base: None, is_repeat: false });
        mirror.handle_prepared(NOW, &facts((0, 30), 10));
        assert!(mirror.is_mirroring());
        mirror.handle_fetched(NOW, &late, [Piece::Batch(plain(20, 10))]);
        assert!(mirror.poll_append(NOW).is_none(), "nothing is filled that the source has");
        give(&mut mirror, &told(30, &[]), vec![plain(10, 10)]);
        assert_eq!(mirror.poll_append(NOW).unwrap().base, at(10));
    }

    /// Appends everything in hand; what went out.
    fn land(mirror: &mut PartitionMirror) -> Vec<Append> {
        let mut all = Vec::new();
        while let Some(append) = mirror.poll_append(NOW) {
            acked(mirror, append.base.get());
            all.push(append);
        }
        all
    }

    /// Base, next, and the kind of filler.
    fn shape(appends: &[Append]) -> Vec<(i64, i64, Option<Kind>)> {
        let one = |a: &Append| (a.base.get(), a.next.get(), kind_of(&a.batch));
        appends.iter().map(one).collect()
    }

    fn template(batch: &BatchView) -> Option<Template> {
        Template::of(batch, &Bounds::default()).unwrap()
    }

    fn with_policy(policy: Policy) -> PartitionMirror {
        let mut mirror = fresh();
        mirror.limits.policy = policy;
        mirror
    }

    #[test]
    fn markers_aborted_records_and_holes_are_filled_and_the_rest_is_appended() {
        let mut mirror = mirroring(30, 0);
        let log = vec![txn(0, 3, 7), txn(3, 2, 8), marker(5, 8, 0), marker(6, 7, 1), plain(20, 5)];
        give(&mut mirror, &told(25, &[(8, 3)]), log);
        let hidden = Some(Kind::Hidden);
        let landed = land(&mut mirror);
        assert_eq!(shape(&landed), [(0, 3, None), (3, 20, hidden), (20, 25, None)]);
        assert_eq!(landed[1].batch.max_timestamp(), landed[0].batch.max_timestamp());
        let seen = mirror.snapshot(NOW).copied;
        assert_eq!((seen.batches, seen.records, seen.filled), (2, 8, 17));
        assert_eq!((mirror.position(), seen.filler_bytes > 0), (Some(at(25)), true));
    }

    #[test]
    fn what_an_open_transaction_holds_back_is_told() {
        let mut mirror = mirroring(30, 0);
        let fetched = Fetched { high_watermark: at(30), ..told(3, &[]) };
        give(&mut mirror, &fetched, vec![txn(0, 3, 7), txn(3, 2, 8)]);
        assert_eq!(shape(&land(&mut mirror)), [(0, 3, None)]);
        let seen = mirror.snapshot(NOW);
        assert_eq!((seen.lag_records, seen.held_records), (Some(0), Some(27)));
        assert_eq!(mirror.poll_fetch().unwrap().offset, at(3));
    }

    #[test]
    fn fillers_need_configs_that_leave_them_alone() {
        let mut unknown = takes(false);
        unknown.leaves_batches = None;
        let mut compressed = takes(false);
        compressed.leaves_batches = Some(false);
        let mut silent = takes(false);
        silent.is_compacted = None;
        for (takes, key) in
            [(unknown, "compression.type"), (compressed, "compression.type"), (silent, "cleanup")]
        {
            let mut mirror = mirroring(30, 0);
            mirror.set_takes(takes);
            give(&mut mirror, &told(30, &[]), vec![plain(0, 5), marker(5, 7, 1)]);
            assert_eq!(shape(&land(&mut mirror)), [(0, 5, None)]);
            let halt = mirror.halted().unwrap();
            assert!(halt.to_string().contains(key) && halt.may_resolve_itself(), "{halt}");
        }
    }

    #[test]
    fn a_gap_that_is_too_long_is_not_filled_until_it_is_allowed() {
        let far = 1i64 << 40;
        let log = || vec![plain(0, 1), plain(far, 1)];
        let mut mirror = mirroring(far + 1, 0);
        give(&mut mirror, &told(far + 1, &[]), log());
        assert_eq!(shape(&land(&mut mirror)), [(0, 1, None)], "nothing of it is filled");
        let halt = mirror.halted().unwrap();
        assert_eq!((halt.label(), halt.may_resolve_itself()), ("GAP_TOO_LONG", false));
        let (words, count) = (halt.to_string(), (far - 1).to_string());
        assert!(words.contains("gap.offsets.max") && words.contains(&count), "{words}");
        // the part below the source's start as well
        let mut mirror = fresh();
        mirror.handle_prepared(NOW, &facts((far, far + 1), 0));
        give(&mut mirror, &told(far + 1, &[]), vec![plain(far, 1)]);
        assert!(land(&mut mirror).is_empty());
        assert_eq!(mirror.halted().unwrap().label(), "GAP_TOO_LONG");
        let allowed = u64::try_from(far).unwrap();
        let mut mirror = with_policy(Policy { gap_offsets_max: allowed, ..POLICY });
        mirror.handle_prepared(NOW, &facts((0, far + 1), 0));
        give(&mut mirror, &told(far + 1, &[]), log());
        assert!(mirror.poll_append(NOW).is_some());
        acked(&mut mirror, 0);
        assert_eq!(mirror.poll_append(NOW).unwrap().base, at(1));
        assert!(mirror.halted().is_none());
    }

    #[test]
    fn a_link_may_want_visible_fillers_or_none() {
        let mut mirror = with_policy(Policy { gap_fill: GapFill::Record, ..POLICY });
        mirror.handle_prepared(NOW, &facts((0, 30), 0));
        give(&mut mirror, &told(6, &[]), vec![plain(0, 5), marker(5, 7, 1)]);
        assert_eq!(shape(&land(&mut mirror))[1], (5, 6, Some(Kind::Visible)));
        let mut mirror = with_policy(Policy { gap_fill: GapFill::Halt, ..POLICY });
        mirror.handle_prepared(NOW, &facts((0, 30), 0));
        give(&mut mirror, &told(6, &[]), vec![plain(0, 5), marker(5, 7, 1)]);
        assert_eq!(shape(&land(&mut mirror)), [(0, 5, None)]);
        assert_eq!(mirror.halted(), Some(&Halt::Hole { at: at(5), next: at(6) }));
    }

    #[test]
    fn a_compacted_topic_takes_hidden_fillers_below_2_to_the_31_and_repeats_above() {
        let mut mirror = fresh();
        mirror.set_takes(takes(true));
        mirror.handle_prepared(NOW, &facts((0, HUGE + 40), HUGE - 3));
        let log = vec![plain(HUGE - 3, 1), marker(HUGE - 2, 7, 1), plain(HUGE + 5, 2)];
        give(&mut mirror, &told(HUGE + 8, &[]), log);
        let landed = land(&mut mirror);
        let keyed = Some(Kind::HiddenKeyed);
        let want = [
            (HUGE - 3, HUGE - 2, None),
            (HUGE - 2, HUGE, keyed),
            (HUGE, HUGE + 5, None),
            (HUGE + 5, HUGE + 7, None),
        ];
        assert_eq!(shape(&landed), want);
        let repeats = &landed[2].batch;
        assert_eq!(Codec::of(repeats.attributes()), Ok(Codec::Zstd));
        let record = |batch| Some(Template { epoch: LeaderEpoch::NONE, ..template(batch)? });
        assert_eq!(record(repeats), record(&landed[3].batch));
        assert_eq!(repeats.max_timestamp(), landed[3].batch.max_timestamp());
        assert_eq!(mirror.snapshot(NOW).copied.filled, 7);
    }

    /// Repeats of the record at 6 are in the copy, and it is not: the destination was lost.
    fn with_repeats_at_the_end() -> PartitionMirror {
        let mut mirror = with_policy(Policy { gap_fill: GapFill::Record, ..POLICY });
        mirror.set_takes(takes(true));
        mirror.handle_prepared(NOW, &facts((0, 30), 0));
        give(&mut mirror, &told(9, &[]), vec![plain(0, 5), marker(5, 7, 1), plain(6, 3)]);
        for base in [0, 5] {
            assert_eq!(mirror.poll_append(NOW).unwrap().base, at(base));
            acked(&mut mirror, base);
        }
        mirror.handle_failed(Fault::DestinationLost);
        mirror.handle_prepared(NOW, &facts((0, 30), 6));
        mirror
    }

    /// Seed 3892 of `mirror_ops`.
    #[test]
    fn a_source_that_loses_a_record_of_which_the_copy_has_repeats_halts() {
        let mut mirror = with_repeats_at_the_end();
        give(&mut mirror, &told(9, &[]), vec![later(&plain(6, 3))]);
        let (at, epoch, destination_end) = (at(6), LeaderEpoch(1), at(6));
        let want = Halt::SourceTruncated { at, epoch, destination_end };
        assert_eq!(mirror.halted(), Some(&want));
        let mut mirror = with_repeats_at_the_end();
        mirror.handle_diverging(LeaderEpoch(1), at);
        assert_eq!(mirror.halted(), Some(&want));
        // what compaction has taken has no other in its place
        let mut mirror = with_repeats_at_the_end();
        give(&mut mirror, &told(12, &[]), vec![later(&plain(9, 3))]);
        assert_eq!(shape(&land(&mut mirror)).len(), 2);
        assert!(mirror.halted().is_none() && mirror.repeated.is_empty());
        // and nor has what is still there
        let mut mirror = with_repeats_at_the_end();
        give(&mut mirror, &told(9, &[]), vec![plain(6, 3)]);
        assert_eq!(shape(&land(&mut mirror)), [(6, 9, None)]);
        assert!(mirror.halted().is_none() && mirror.repeated.is_empty());
    }

    #[test]
    fn a_gap_that_waits_for_its_record_is_no_halt_and_is_read_on_behind() {
        let mut mirror = fresh();
        mirror.set_takes(takes(true));
        mirror.handle_prepared(NOW, &facts((0, HUGE + 40), HUGE));
        give(&mut mirror, &told(HUGE + 2, &[]), vec![marker(HUGE, 7, 1), marker(HUGE + 1, 8, 1)]);
        assert!(mirror.poll_append(NOW).is_none() && mirror.halted().is_none());
        assert_eq!(mirror.poll_fetch().unwrap().offset, at(HUGE + 2));
        give(&mut mirror, &told(HUGE + 9, &[]), vec![plain(HUGE + 4, 1)]);
        let shapes = shape(&land(&mut mirror));
        assert_eq!(shapes, [(HUGE, HUGE + 4, None), (HUGE + 4, HUGE + 5, None)]);
    }

    #[test]
    fn nothing_is_taken_in_behind_a_long_gap() {
        let mut mirror = mirroring(1 << 40, 0);
        let far = 3 * 95_000 + LONG as i64;
        give(&mut mirror, &told(1 << 40, &[]), vec![plain(far, 5)]);
        assert!(mirror.poll_fetch().is_none());
        mirror.limits.append_bytes_max = 2_000_000;
        for n in 0..3 {
            assert_eq!(mirror.poll_append(NOW).unwrap().base, at(95_000 * n));
            acked(&mut mirror, 95_000 * n);
        }
        let from = mirror.poll_fetch().unwrap();
        assert_eq!(from.offset, at(far));
    }

    #[test]
    fn a_later_epoch_in_a_gap_is_looked_at_and_no_truncation() {
        let mut mirror = mirroring(1 << 40, 0);
        mirror.limits.append_bytes_max = 2_000_000;
        let far = 5 + LONG as i64 + 1;
        give(&mut mirror, &told(1 << 40, &[]), vec![plain(0, 5), plain(far, 5)]);
        land(&mut mirror);
        let from = mirror.poll_fetch().unwrap();
        assert_eq!((from.offset, from.last_epoch), (at(far), LeaderEpoch(1)));
        mirror.handle_diverging(LeaderEpoch(1), at(5));
        assert!(mirror.is_preparing() && mirror.wants_far_look());
        mirror.handle_prepared(NOW, &facts((0, 1 << 40), far));
        assert_eq!(mirror.poll_fetch().unwrap().last_epoch, LeaderEpoch::NONE);
        // what was copied itself is gone: that is one
        give(&mut mirror, &told(1 << 40, &[]), vec![plain(far, 5)]);
        land(&mut mirror);
        mirror.handle_diverging(LeaderEpoch(1), at(far + 4));
        assert_eq!(mirror.halted().unwrap().label(), "SOURCE_TRUNCATED");
    }

    #[test]
    fn a_source_that_begins_later_is_filled_up_to_its_first_batch() {
        let mut mirror = fresh();
        mirror.handle_prepared(NOW, &facts((7, 30), 0));
        assert_eq!(mirror.poll_fetch().unwrap().offset, at(7));
        // its log start is inside the batch 5..10
        give(&mut mirror, &told(30, &[]), vec![plain(5, 5)]);
        let landed = land(&mut mirror);
        assert_eq!(shape(&landed), [(0, 5, Some(Kind::Hidden)), (5, 10, None)]);
        assert_eq!(landed[0].batch.max_timestamp(), TimestampMs(-1));
        assert_eq!(mirror.snapshot(NOW).copied.overtaken, 0);
    }

    #[test]
    fn an_emptied_source_is_filled_up_to_its_start() {
        let mut mirror = fresh();
        mirror.handle_prepared(NOW, &facts((7, 7), 0));
        assert_eq!(mirror.snapshot(NOW).front_offsets, 7);
        give(&mut mirror, &told(7, &[]), vec![]);
        assert_eq!(mirror.snapshot(NOW).front_offsets, 7);
        assert_eq!(shape(&land(&mut mirror)), [(0, 7, Some(Kind::Hidden))]);
        assert_eq!(mirror.snapshot(NOW).front_offsets, 0);
        assert_eq!(mirror.poll_fetch().unwrap().offset, at(7));
    }

    #[test]
    fn on_the_stage_a_front_may_reach_beyond_what_a_cleaner_can_take() {
        let (end, start) = ((1 << 31) - 3, (1 << 31) + 7);
        let mut mirror = fresh();
        mirror.set_takes(Takes { is_staged: true, ..takes(true) });
        let facts = facts((start, start + 10), end);
        mirror.handle_prepared(NOW, &Prepared { is_prefix: true, ..facts });
        give(&mut mirror, &told(start + 10, &[]), vec![plain(start, 10)]);
        let front = shape(&land(&mut mirror))[0];
        assert_eq!(front, (end, start, Some(Kind::HiddenKeyed)));
    }

    #[test]
    fn a_prefix_goes_on_where_it_was_and_a_copy_that_was_overtaken_only_where_told() {
        let mut mirror = fresh();
        mirror.handle_prepared(NOW, &Prepared { is_prefix: true, ..facts((70, 100), 30) });
        assert_eq!(mirror.take_overtaken(), None, "nothing was there to be copied");
        give(&mut mirror, &told(100, &[]), vec![plain(70, 30)]);
        assert_eq!(shape(&land(&mut mirror))[0], (30, 70, Some(Kind::Hidden)));
        let mut mirror = with_policy(Policy { overtook: Overtook::Fill, ..POLICY });
        mirror.handle_prepared(NOW, &facts((70, 100), 30));
        assert_eq!(mirror.take_overtaken(), Some((at(30), at(70))));
        // before any of it has landed retention takes more
        mirror.handle_failed(Fault::SourceLost);
        mirror.handle_prepared(NOW, &facts((70, 100), 30));
        assert_eq!(mirror.take_overtaken(), None, "it was told");
        mirror.handle_failed(Fault::SourceLost);
        mirror.handle_prepared(NOW, &facts((80, 100), 30));
        assert_eq!(mirror.take_overtaken(), Some((at(70), at(80))));
        give(&mut mirror, &told(100, &[]), vec![plain(80, 20)]);
        assert_eq!(shape(&land(&mut mirror))[0], (30, 80, Some(Kind::Hidden)));
        assert_eq!(mirror.snapshot(NOW).copied.overtaken, 50);
    }

    #[test]
    fn a_hole_at_the_end_is_asked_about_and_filled() {
        let mut mirror = mirroring(10, 0);
        give(&mut mirror, &told(10, &[]), vec![plain(0, 5)]);
        land(&mut mirror);
        give(&mut mirror, &told(10, &[]), vec![]);
        assert!(mirror.is_mirroring());
        let later = TimestampMs(NOW.0 + EMPTY_MS_MAX);
        let empty = Fetched { from: asked(&mirror), ..told(10, &[]) };
        mirror.handle_fetched(later, &empty, Vec::new());
        assert!(mirror.is_preparing() && mirror.wants_tail_look());
        mirror.handle_prepared(NOW, &Prepared { hole_to: Some(at(10)), ..facts((0, 10), 5) });
        assert_eq!(shape(&land(&mut mirror)), [(5, 10, Some(Kind::Hidden))]);
        assert!(!mirror.wants_tail_look());
        mirror.handle_order(Order::Drain);
        assert!(mirror.is_preparing() && mirror.wants_tail_look());
    }

    /// A broker leaves a partition out of an answer that has nothing new to say of it.
    #[test]
    fn a_hole_at_the_end_is_asked_about_where_answers_say_nothing_any_more() {
        for drains in [true, false] {
            let mut mirror = mirroring(10, 0);
            if drains {
                mirror.handle_order(Order::Drain);
            }
            give(&mut mirror, &told(10, &[]), vec![plain(0, 5)]);
            let before = asked(&mirror);
            land(&mut mirror);
            for ms in [0, EMPTY_MS_MAX - 1, EMPTY_MS_MAX] {
                assert!(mirror.is_mirroring());
                mirror.handle_unchanged(TimestampMs(NOW.0 + ms), before);
            }
            assert_eq!(mirror.wants_tail_look(), drains);
        }
    }

    #[test]
    fn one_that_drains_leaves_each_time_that_it_is_level_and_not_before() {
        let mut mirror = mirroring(10, 0);
        mirror.handle_order(Order::Drain);
        give(&mut mirror, &told(10, &[]), vec![plain(0, 5), plain(5, 5)]);
        assert!(mirror.is_mirroring(), "nothing has landed");
        land(&mut mirror);
        assert!(mirror.is_preparing() && mirror.may_leave() && mirror.wants_tail_look());
        mirror.handle_prepared(NOW, &facts((0, 15), 10));
        assert!(mirror.is_mirroring(), "there is more by now");
        give(&mut mirror, &told(15, &[]), vec![plain(10, 5)]);
        land(&mut mirror);
        assert!(mirror.is_preparing() && mirror.may_leave());
    }

    #[test]
    fn retention_that_takes_what_is_being_read_makes_no_hole() {
        let mut mirror = mirroring(30, 0);
        let fetched = Fetched { log_start: Some(at(20)), ..told(30, &[]) };
        give(&mut mirror, &fetched, vec![plain(20, 5)]);
        assert!(mirror.is_preparing() && land(&mut mirror).is_empty());
    }

    #[test]
    fn nothing_behind_a_batch_that_seems_to_end_too_late_is_taken() {
        let mut bytes = plain(0, 5).to_bytes().to_vec();
        bytes[23] = 0x20; // the last offset delta
        let corrupt = BatchView::new(bytes.into()).unwrap();
        let mut mirror = mirroring(30, 0);
        give(&mut mirror, &told(30, &[]), vec![corrupt, plain(5, 5)]);
        assert!(mirror.is_preparing() && land(&mut mirror).is_empty());
        // one that the source has not told of yet is no fault
        let mut mirror = mirroring(30, 0);
        give(&mut mirror, &told(7, &[]), vec![plain(0, 5), plain(5, 5), plain(20, 5)]);
        assert_eq!(shape(&land(&mut mirror)), [(0, 5, None)]);
        assert!(mirror.is_mirroring());
    }

    #[test]
    fn a_corrupt_marker_is_fetched_again_and_never_filled() {
        let mut bytes = marker(0, 7, 1).to_bytes().to_vec();
        bytes[62] ^= 1;
        let corrupt = BatchView::new(bytes.into()).unwrap();
        let mut mirror = mirroring(30, 0);
        for _ in 0..crate::mirror::partition::REFUSED_MAX {
            assert!(mirror.halted().is_none());
            mirror.handle_prepared(NOW, &facts((0, 30), 0));
            give(&mut mirror, &told(30, &[]), vec![corrupt.clone()]);
        }
        assert_eq!(mirror.halted(), Some(&Halt::Corrupt { base: at(0) }));
        assert_eq!(mirror.position(), Some(at(0)));
    }
}
