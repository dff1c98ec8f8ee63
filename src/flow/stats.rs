//! What people may see of each partition, published by the lanes once per turn.
//!
//! It never asks a lane anything: a reader takes the last copy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use crate::ids::MirrorPartition;
use crate::ids::Side;
use crate::ids::TimestampMs;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::mirror::lag::Barred;
use crate::mirror::lag::DestinationEnd;
use crate::mirror::lag::HALTED;
use crate::mirror::lag::HeldBy;
use crate::mirror::lag::MIRRORING;
use crate::mirror::lag::Since;
use crate::mirror::lag::Snapshot;
use crate::mirror::lag::SourceEnd;

/// What a cluster said longer ago than this is not shown any more, in ms: the lag is unknown.
pub const END_AGE_MS_MAX: i64 = 15_000;

/// For how long nobody at a side may answer who is asked for ends until it counts as away, in ms:
/// they are asked when nothing was heard for 5 s.
const AWAY_MS_MIN: i64 = 10_000;

/// One partition's last copy.
#[derive(Debug)]
pub struct Cell {
    snapshot: Mutex<Option<Snapshot>>,
    told: Mutex<Told>,
    /// When a fetch answer last left the partition out: nothing has changed at the source.
    unchanged_ms: AtomicI64,
}

/// What was learnt beside the lanes.
#[derive(Debug)]
struct Told {
    /// The topic's ids at the source and the destination: another topic's ends say nothing.
    ids: (TopicId, TopicId),
    /// What the destination said when it was asked because no lane has heard of it.
    there: Option<DestinationEnd>,
    /// What the source said when it was asked because no lane knows.
    end: Option<SourceEnd>,
    /// Since when that is ahead of the copy, or held back.
    since: Since,
    /// When the source last refused to say it: what was heard before is not shown any more.
    refused: Option<TimestampMs>,
    /// What the source said when it was asked who holds the partition back.
    held_by: Option<HeldBy>,
}

impl Default for Cell {
    fn default() -> Cell {
        let ids = (TopicId::NIL, TopicId::NIL);
        let since = Since::default();
        let told = Told { ids, there: None, end: None, since, refused: None, held_by: None };
        let (snapshot, told) = (Mutex::default(), Mutex::new(told));
        Cell { snapshot, told, unchanged_ms: AtomicI64::new(-1) }
    }
}

impl Cell {
    /// Puts a newer copy in. What was told before the source refused a lane is forgotten with it.
    pub fn publish(&self, snapshot: Snapshot) {
        let barred = snapshot.barred.filter(|barred| barred.side == Side::Source);
        let before = lock(&self.snapshot).replace(snapshot);
        if barred.is_some() && before.is_none_or(|before| before.barred != barred) {
            lock(&self.told).end = None;
        }
    }

    /// The partition is one of the topics with these ids, at the source and at the destination.
    pub fn follow(&self, ids: (TopicId, TopicId)) {
        let mut told = lock(&self.told);
        if told.ids.0 != ids.0 {
            (told.end, told.since, told.refused) = (None, Since::default(), None);
        }
        if told.ids.1 != ids.1 {
            told.there = None;
        }
        told.ids = ids;
    }

    /// The id of the topic at that side.
    pub fn id_at(&self, side: Side) -> TopicId {
        let ids = lock(&self.told).ids;
        match side {
            Side::Source => ids.0,
            Side::Destination => ids.1,
        }
    }

    /// A fetch was answered at `now` and the answer left the partition out.
    pub fn note_unchanged(&self, now: TimestampMs) {
        self.unchanged_ms.store(now.0, Ordering::Relaxed);
    }

    /// Puts in where the source ends.
    pub fn tell_end(&self, end: SourceEnd) {
        let copied = lock(&self.snapshot).as_ref().and_then(|snapshot| snapshot.exact_to);
        let mut told = lock(&self.told);
        let is_ahead = copied.is_some_and(|copied| copied < end.end);
        let ahead = is_ahead.then(|| told.since.ahead.unwrap_or(end.at));
        let held = (end.held > 0).then(|| told.since.held.unwrap_or(end.at));
        told.since = Since { ahead, held };
        (told.end, told.refused) = (Some(end), None);
    }

    /// The source refuses us at `now` to say where it ends.
    pub fn refuse_end(&self, now: TimestampMs) {
        lock(&self.told).refused = Some(now);
    }

    /// Puts in where the destination ends; whether that is further than a lane has copied, which
    /// the partition's machine must judge: an append may be on its way.
    pub fn tell_there(&self, there: DestinationEnd) -> bool {
        lock(&self.told).there = Some(there);
        lock(&self.snapshot).as_ref().is_some_and(|seen| {
            let is_further = seen.destination_end.is_some_and(|end| end < there.end);
            seen.state == MIRRORING && is_further
        })
    }

    /// Puts in who holds the partition back.
    pub fn tell_held(&self, held_by: Option<HeldBy>) {
        lock(&self.told).held_by = held_by;
    }

    /// What is known at wall time `now`; `None` before the first copy.
    pub fn read(&self, now: TimestampMs) -> Option<Snapshot> {
        let mut snapshot = lock(&self.snapshot).clone()?;
        let unchanged = TimestampMs(self.unchanged_ms.load(Ordering::Relaxed));
        snapshot.source_seen = snapshot.source_seen.map(|seen| seen.max(unchanged));
        let told = lock(&self.told);
        if let Some(there) = told.there {
            snapshot = snapshot.with_destination(there);
        }
        if let Some(end) = told.end {
            snapshot = snapshot.with_source(end, told.since);
        }
        let is_old = |seen: TimestampMs| now.0.saturating_sub(seen.0) > END_AGE_MS_MAX;
        let is_refused = |seen: TimestampMs| told.refused.is_some_and(|at| seen <= at);
        if snapshot.source_seen.is_none_or(|seen| is_old(seen) || is_refused(seen)) {
            snapshot = snapshot.without_source();
        }
        if snapshot.destination_seen.is_none_or(is_old) {
            snapshot = snapshot.without_destination();
        }
        // One that has ended since holds nothing.
        let is_held = snapshot.held_records.is_some_and(|held| held > 0);
        let holds = |by: &HeldBy| is_held && snapshot.source_end == Some(by.since);
        snapshot.held_by = told.held_by.filter(holds);
        Some(snapshot.at(now))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All partitions of one link.
#[derive(Debug, Default)]
pub struct Board {
    cells: RwLock<BTreeMap<MirrorPartition, Arc<Cell>>>,
    /// Of each side that answers nobody who asks for ends: since when, and what came instead.
    away: Mutex<BTreeMap<Side, (TimestampMs, String)>>,
}

impl Board {
    /// A new cell for a partition that is begun: what its machine of before published is forgotten.
    pub fn begin(&self, name: &MirrorPartition) -> Arc<Cell> {
        let cell = Arc::new(Cell::default());
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        cells.insert(name.clone(), cell.clone());
        cell
    }

    /// The partition's cell, while it is mirrored.
    pub fn cell(&self, name: &MirrorPartition) -> Option<Arc<Cell>> {
        self.cells.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Forgets a partition that is no longer mirrored.
    pub fn forget(&self, name: &MirrorPartition) {
        self.cells.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// All partitions in order, those that were published, as they are known at wall time `now`.
    pub fn read(&self, now: TimestampMs) -> Vec<(MirrorPartition, Snapshot)> {
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
        let rows = cells.iter().filter_map(|(name, cell)| Some((name.clone(), cell.read(now)?)));
        rows.collect()
    }

    /// The partitions that are halted, and why, in order.
    pub fn halted(&self) -> Vec<(MirrorPartition, (&'static str, String))> {
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
        let halted = cells.iter().filter_map(|(name, cell)| {
            let snapshot = lock(&cell.snapshot);
            let seen = snapshot.as_ref().filter(|seen| seen.state == HALTED)?;
            Some((name.clone(), seen.reason.clone().unwrap_or_default()))
        });
        halted.collect()
    }

    /// Whether a partition was looked at and is copied.
    pub fn is_mirroring(&self, name: &MirrorPartition) -> bool {
        let cell = self.cell(name);
        cell.is_some_and(|cell| {
            lock(&cell.snapshot).as_ref().is_some_and(|seen| seen.state == MIRRORING)
        })
    }

    /// The partitions of whose log at that side nothing was heard since `since`.
    pub fn silent(&self, side: Side, since: TimestampMs) -> Vec<(MirrorPartition, Arc<Cell>)> {
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
        let is_silent = |cell: &Cell| {
            let seen = cell.read(since).and_then(|snapshot| match side {
                Side::Source => snapshot.source_seen,
                Side::Destination => snapshot.destination_seen,
            });
            seen.is_none_or(|seen| seen < since)
        };
        let silent = cells.iter().filter(|(_, cell)| is_silent(cell));
        silent.map(|(name, cell)| (name.clone(), cell.clone())).collect()
    }
}

/// What stands still of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// How many partitions it has here.
    partitions: usize,
    /// How many of them are halted.
    halted: usize,
    /// The reason of the first of them.
    reason: Option<(&'static str, String)>,
    /// A right that one of them lacks.
    pub barred: Option<Barred>,
}

impl Standing {
    /// Why nothing of the topic is copied any more, if all of it is halted.
    pub fn whole(&self) -> Option<(&'static str, &str)> {
        let (label, text) = self.reason.as_ref().filter(|_| self.halted == self.partitions)?;
        Some((label, text))
    }

    fn count(&mut self, seen: &Snapshot) {
        self.partitions += 1;
        self.barred = self.barred.or(seen.barred);
        if seen.state == HALTED {
            self.halted += 1;
            self.reason = self.reason.take().or_else(|| seen.reason.clone());
        }
    }
}

impl Board {
    /// A side was asked for ends at `began`: `trouble` is what came where nobody answered.
    pub fn note_round(&self, side: Side, began: TimestampMs, trouble: Option<String>) {
        let mut away = lock(&self.away);
        match trouble {
            Some(text) => away.entry(side).or_insert((began, String::new())).1 = text,
            None => drop(away.remove(&side)),
        }
    }

    /// Whether nobody answered at that side when it was asked last.
    pub fn is_silent(&self, side: Side) -> bool {
        lock(&self.away).contains_key(&side)
    }

    /// A side of which no leader has answered for long, and what came instead.
    pub fn away(&self, now: TimestampMs) -> Option<(Side, String)> {
        let away = lock(&self.away);
        let is_long = |since: TimestampMs| now.0.saturating_sub(since.0) >= AWAY_MS_MIN;
        let (side, (_, text)) = away.iter().find(|(_, (since, _))| is_long(*since))?;
        Some((*side, text.clone()))
    }

    /// The source's topics of which all is halted, or for which a right is missing.
    pub fn standing(&self) -> BTreeMap<TopicName, Standing> {
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
        let mut topics: BTreeMap<&TopicName, Standing> = BTreeMap::new();
        for (name, cell) in cells.iter() {
            if let Some(seen) = &*lock(&cell.snapshot) {
                topics.entry(&name.source_topic).or_default().count(seen);
            }
        }
        let stands = |one: &Standing| one.whole().is_some() || one.barred.is_some();
        let standing = topics.into_iter().filter(|(_, one)| stands(one));
        standing.map(|(name, one)| (name.clone(), one)).collect()
    }
}

/// A number that several tasks move.
#[derive(Debug, Default)]
pub struct Gauge(AtomicUsize);

impl Gauge {
    /// Moves it.
    pub fn add(&self, by: isize) {
        if by >= 0 {
            self.0.fetch_add(by.unsigned_abs(), Ordering::Relaxed);
        } else {
            self.0.fetch_sub(by.unsigned_abs(), Ordering::Relaxed);
        }
    }

    /// Reads it.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LinkName;
    use crate::ids::Offset;
    use crate::ids::PartitionId;
    use crate::ids::TopicName;

    const START: TimestampMs = TimestampMs(1_000_000);

    fn name(topic: &str, partition: i32) -> MirrorPartition {
        let topic = TopicName::new(topic).unwrap();
        MirrorPartition {
            link: LinkName("dr".into()),
            source_topic: topic.clone(),
            mirror_topic: topic,
            partition: PartitionId(partition),
        }
    }

    fn later(ms: i64) -> TimestampMs {
        TimestampMs(START.0 + ms)
    }

    fn end(end: i64, at: TimestampMs) -> SourceEnd {
        SourceEnd { end: Offset::new(end).unwrap(), held: 0, at }
    }

    fn there(end: i64, at: TimestampMs) -> DestinationEnd {
        let end = Offset::new(end).unwrap();
        DestinationEnd { end, hwm: end, at }
    }

    /// A copy of ten records of ten, as a lane published it at the start.
    fn level() -> Cell {
        let cell = Cell::default();
        let seen = Snapshot {
            state: MIRRORING,
            destination_end: Offset::new(10),
            destination_seen: Some(START),
            exact_to: Offset::new(10),
            ..Snapshot::unknown("", String::new())
        };
        cell.publish(seen.with_source(end(10, START), Since::default()));
        cell
    }

    fn lag(cell: &Cell, now: TimestampMs) -> Option<u64> {
        cell.read(now).unwrap().lag_records
    }

    #[test]
    fn an_end_that_nobody_heard_of_for_long_is_unknown() {
        let cell = level();
        assert_eq!(lag(&cell, later(END_AGE_MS_MAX)), Some(0));
        let old = cell.read(later(END_AGE_MS_MAX + 1)).unwrap();
        assert_eq!((old.lag_records, old.lag_ms, old.source_end), (None, None, None));
        cell.note_unchanged(later(10));
        assert_eq!(lag(&cell, later(END_AGE_MS_MAX + 1)), None, "the destination is silent");
        assert!(!cell.tell_there(there(10, later(10))));
        assert_eq!(lag(&cell, later(END_AGE_MS_MAX + 1)), Some(0));
        assert!(cell.tell_there(there(11, later(20))), "somebody else wrote");
    }

    #[test]
    fn an_end_that_is_refused_is_unknown_at_once_and_known_again_when_it_is_told() {
        let cell = level();
        cell.note_unchanged(later(10));
        cell.tell_end(end(10, later(20)));
        cell.refuse_end(later(30));
        let seen = cell.read(later(31)).unwrap();
        assert_eq!((seen.lag_records, seen.source_end, seen.held_records), (None, None, None));
        cell.tell_end(end(12, later(40)));
        assert_eq!(lag(&cell, later(41)), Some(2));
        cell.refuse_end(later(50));
        assert_eq!(lag(&cell, later(51)), None);
        cell.note_unchanged(later(60));
        assert_eq!(lag(&cell, later(61)), Some(0), "a fetch was answered since");
    }

    /// As a machine publishes itself that was refused a fetch.
    #[test]
    fn what_was_told_before_a_lane_was_refused_is_forgotten_once() {
        let cell = level();
        cell.tell_end(end(10, later(20)));
        let barred = Barred { side: Side::Source, what: crate::mirror::lag::Doing::Fetching };
        let seen = lock(&cell.snapshot).clone().unwrap();
        let refused = Snapshot { source_end: None, barred: Some(barred), ..seen }.measured();
        cell.publish(refused.clone());
        assert_eq!(lag(&cell, later(30)), None);
        // it may be asked where it ends, all the same
        cell.tell_end(end(13, later(40)));
        cell.publish(refused);
        assert_eq!(lag(&cell, later(45)), Some(3));
    }

    #[test]
    fn the_end_that_was_asked_for_is_shown_while_no_lane_knows() {
        let cell = level();
        cell.tell_end(end(110, later(5_000)));
        cell.tell_end(end(120, later(9_000)));
        let seen = cell.read(later(10_000)).unwrap();
        assert_eq!((seen.lag_records, seen.lag_ms), (Some(110), Some(5_000)));
        // another topic under the name: what was told is not its
        cell.follow((TopicId([1; 16]), TopicId::NIL));
        assert_eq!(lag(&cell, later(10_000)), Some(0));
    }

    #[test]
    fn a_topic_stands_when_all_of_it_is_halted_or_a_right_is_missing() {
        let board = Board::default();
        let put = |topic: &str, partition: i32, state: &'static str, barred: Option<Barred>| {
            let unknown = Snapshot::unknown("WHY", "text".to_owned());
            let name = name(topic, partition);
            board.begin(&name).publish(Snapshot { state, barred, ..unknown });
        };
        let barred = Barred { side: Side::Destination, what: crate::mirror::lag::Doing::Appending };
        for partition in 0..2 {
            put("half", partition, [HALTED, MIRRORING][partition as usize], None);
            put("whole", partition, HALTED, None);
            put("barred", partition, MIRRORING, Some(barred).filter(|_| partition == 1));
        }
        let halted = board.halted();
        let halted: Vec<_> = halted.iter().map(|(one, why)| (one.to_string(), why.0)).collect();
        let want = ["half-0", "whole-0", "whole-1"].map(|name| (name.to_owned(), "WHY"));
        assert_eq!(halted, want);
        let standing = board.standing();
        let names: Vec<_> = standing.keys().map(TopicName::as_str).collect();
        assert_eq!(names, ["barred", "whole"]);
        let of = |name: &str| &standing[&TopicName::new(name).unwrap()];
        assert_eq!(of("whole").whole(), Some(("WHY", "text")));
        assert_eq!((of("barred").whole(), of("barred").barred), (None, Some(barred)));
    }

    #[test]
    fn who_has_been_silent_is_asked() {
        let board = Board::default();
        let tp = name("a", 0);
        let silent = |since| board.silent(Side::Source, since).len();
        let cell = board.begin(&tp);
        cell.publish(Snapshot::unknown("", String::new()));
        assert_eq!(silent(START), 1);
        cell.tell_end(end(10, START));
        assert_eq!((silent(START), silent(later(1))), (0, 1));
        let mine =
            Snapshot::unknown("", String::new()).with_source(end(10, START), Since::default());
        cell.publish(mine);
        cell.note_unchanged(later(1));
        assert_eq!(silent(later(1)), 0);
        // begun anew: nothing is known of it
        board.begin(&tp);
        assert_eq!((silent(later(1)), board.read(later(1)).len()), (1, 0));
    }
}
