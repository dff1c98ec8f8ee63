//! Two logs side by side: which records differ, which are missing, which are one too many.
//!
//! It never asks a broker and never repairs; what it says of a difference is what both logs hold.
//!
//! Batches whose record bytes and reader-visible header fields are equal are equal without being
//! decoded; all others are opened, and their records compared one by one.

use std::collections::HashMap;

use serde::Deserialize;
use serde::Serialize;

use crate::audit::log::cursor::Cursor;
use crate::audit::log::cursor::Place;
use crate::audit::log::cursor::Portion;
use crate::audit::log::cursor::Seen;
use crate::audit::log::cursor::Unreadable;
use crate::audit::shown::Shown;
use crate::ids::Offset;
use crate::ids::Side;
use crate::wire::batch::Attributes;
use crate::wire::batch::BatchView;
use crate::wire::crc;
use crate::wire::filler;
use crate::wire::record::RecordView;

/// So many differences of a partition are shown with their records; all are counted.
pub const SHOWN_MAX: usize = 10;
/// So many keys of a partition wait at most for the later record that explains why compaction took
/// an earlier one; about 50 bytes each.
pub const AWAITED_MAX: usize = 1 << 20;

/// What is wrong at one offset.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The source has a record, the destination none.
    Missing,
    /// The destination has a record, the source none.
    Extra,
    /// The times differ.
    Timestamp,
    /// The keys differ.
    Key,
    /// The values differ.
    Value,
    /// The same headers stand in another order.
    HeaderOrder,
    /// The headers differ.
    Headers,
}

/// One difference, with both records; with neither where they were shown by an earlier run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Where.
    pub offset: i64,
    /// What.
    pub what: What,
    /// What the source has there.
    pub source: Option<Shown>,
    /// What the destination has there.
    pub destination: Option<Shown>,
}

impl Difference {
    /// Where and what, without the records.
    pub fn bare(&self) -> Difference {
        Difference { offset: self.offset, what: self.what, source: None, destination: None }
    }
}

/// What was compared, in records unless said.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Equal records.
    pub records: u64,
    /// Batches whose bytes are equal, and how many bytes their records have.
    pub batches_alike: u64,
    /// Record bytes that were compared as they are.
    pub bytes_alike: u64,
    /// Equal records of batches that are framed or encoded in another way.
    pub reencoded: u64,
    /// Fillers that readers see, where the source has no record.
    pub marked_fillers: u64,
    /// Copies of the next record, which fill offsets of a compacted topic.
    pub repeats: u64,
    /// Records of one side which compaction took on the other, where a later one of the same key
    /// is there.
    pub compacted: u64,
    /// Records of which nobody knows whether compaction took them: too many keys were awaited.
    pub unproven: u64,
    /// All differences.
    pub differences: u64,
}

/// What the configs of both topics let compaction do.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Compaction {
    /// At the source.
    pub source: bool,
    /// At the destination.
    pub destination: bool,
}

/// What a comparison needs to go on.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next portion of that side.
    Need(Side),
    /// Nothing: the end is reached.
    Done,
}

/// A batch that cannot be read, and at which side.
pub type Failure = (Side, Unreadable);

/// A key's stand-in.
type KeyHash = [u8; 16];

/// Keys that one side must still show, where its compaction took an earlier record: the first such
/// record's offset, and how many there were.
type Awaited = HashMap<KeyHash, (Offset, u64)>;

/// The comparison of one partition.
#[derive(Clone)]
pub struct Compare {
    /// The source's log.
    pub source: Cursor,
    /// The destination's.
    pub destination: Cursor,
    /// What came out so far.
    pub tally: Tally,
    /// The first differences.
    pub shown: Vec<Difference>,
    compaction: Compaction,
    awaited_source: Awaited,
    awaited_destination: Awaited,
}

impl Compare {
    /// Compares two cursors over the same range.
    pub fn new(source: Cursor, destination: Cursor, compaction: Compaction) -> Compare {
        Compare {
            source,
            destination,
            tally: Tally::default(),
            shown: Vec::new(),
            compaction,
            awaited_source: Awaited::new(),
            awaited_destination: Awaited::new(),
        }
    }

    /// Hands over what was read of a side.
    pub fn feed(&mut self, side: Side, portion: Portion) {
        match side {
            Side::Source => self.source.feed(portion),
            Side::Destination => self.destination.feed(portion),
        }
    }

    /// Nothing from there on is compared any more.
    pub fn end_at(&mut self, end: Offset) {
        self.source.end_at(end);
        self.destination.end_at(end);
    }

    /// Goes on with `from..end`, of which nothing was read yet, with all that came out so far.
    pub fn go_on(&mut self, from: Offset, end: Offset) {
        self.source.go_on(from, end);
        self.destination.go_on(from, end);
    }

    /// Compares until a side needs more.
    pub fn run(&mut self) -> Result<Step, Failure> {
        loop {
            let source = self.source.place().map_err(at(Side::Source))?;
            let destination = self.destination.place().map_err(at(Side::Destination))?;
            match (source, destination) {
                (Place::Need, _) => return Ok(Step::Need(Side::Source)),
                (_, Place::Need) => return Ok(Step::Need(Side::Destination)),
                (Place::End, Place::End) => return Ok(Step::Done),
                (Place::Batch, Place::Batch) if self.take_alike() => {}
                (Place::Batch, _) => self.source.open_batch().map_err(at(Side::Source))?,
                (_, Place::Batch) => {
                    self.destination.open_batch().map_err(at(Side::Destination))?;
                }
                _ => self.pair()?,
            }
        }
    }

    /// Below it everything was looked at.
    pub fn position(&self) -> Offset {
        self.source.position().min(self.destination.position())
    }

    /// Whether nothing below `position` is still to be explained: a comparison may begin there.
    pub fn is_settled(&self) -> bool {
        self.awaited_source.is_empty() && self.awaited_destination.is_empty()
    }

    /// Passes two equal batches at once. While a key is awaited every batch is opened.
    fn take_alike(&mut self) -> bool {
        let (Some(ours), Some(theirs)) = (self.source.batch(), self.destination.batch()) else {
            return false;
        };
        let same = self.is_settled() && self.source.is_inside(ours) && alike(ours, theirs);
        // one that fails its checksum is opened, and says so
        if !same || crc::check(ours).is_err() || crc::check(theirs).is_err() {
            return false;
        }
        self.tally.records += u64::from(ours.count().unsigned_abs());
        self.tally.batches_alike += 1;
        self.tally.bytes_alike += ours.records().len() as u64;
        self.source.skip_batch();
        self.destination.skip_batch();
        true
    }

    /// Compares the records where both sides stand, and goes on behind them.
    fn pair(&mut self) -> Result<(), Failure> {
        let pair = self.look()?;
        self.note(&pair.found);
        for (side, key) in pair.came {
            if let Some((_, count)) = self.awaited(side).remove(&key) {
                self.tally.compacted += count;
            }
        }
        self.tally.compacted += u64::from(pair.is_tombstone_gone);
        if let Some((side, key, offset)) = pair.waits {
            self.wait(side, key, offset);
        }
        if let Some(difference) = pair.difference {
            self.tally.differences += 1;
            if self.shown.len() < SHOWN_MAX {
                self.shown.push(difference);
            }
        }
        if !matches!(pair.found, Found::Extra(_)) {
            self.source.skip_record();
        }
        if !matches!(pair.found, Found::Missing) {
            self.destination.skip_record();
        }
        Ok(())
    }

    fn look(&self) -> Result<Pair, Failure> {
        let ours = self.source.record().map_err(at(Side::Source))?;
        let theirs = self.destination.record().map_err(at(Side::Destination))?;
        let found = match (&ours, &theirs) {
            (Some(a), Some(b)) if a.offset == b.offset => Found::Both(differing(a, b)),
            (Some(a), Some(b)) if a.offset < b.offset => Found::Missing,
            (_, Some(b)) => Found::Extra(excuse(ours.as_ref(), b, self.compaction.destination)),
            _ => Found::Missing,
        };
        let ours = ours.filter(|_| !matches!(found, Found::Extra(_)));
        let theirs = theirs.filter(|_| !matches!(found, Found::Missing));
        let lacks = match found {
            Found::Missing if self.compaction.destination => ours.as_ref(),
            Found::Extra(None) if self.compaction.source => theirs.as_ref(),
            _ => None,
        };
        let mut pair = Pair { found, ..Pair::default() };
        self.explain(&mut pair, lacks);
        let is_explained = pair.waits.is_some() || pair.is_tombstone_gone;
        if let Some(what) = pair.found.what().filter(|_| !is_explained) {
            let offset = ours.as_ref().or(theirs.as_ref()).map_or(0, |one| one.offset.get());
            let [source, destination] = [&ours, &theirs].map(|one| one.as_ref().map(Shown::of));
            pair.difference = Some(Difference { offset, what, source, destination });
        }
        for (side, one) in [(Side::Source, &ours), (Side::Destination, &theirs)] {
            let key = one.as_ref().filter(|_| !self.awaits(side).is_empty()).and_then(key_of);
            pair.came.extend(key.map(|key| (side, key)));
        }
        Ok(pair)
    }

    /// What compaction may have to do with a record that one side lacks.
    fn explain(&self, pair: &mut Pair, lacks: Option<&Seen<'_>>) {
        let Some((seen, key)) = lacks.and_then(|seen| Some((seen, key_of(seen)?))) else { return };
        let side = match pair.found {
            Found::Missing => Side::Destination,
            _ => Side::Source,
        };
        if seen.record.value.is_some() {
            pair.waits = Some((side, key, seen.offset));
        } else {
            // compaction takes a tombstone with all that it deletes, and later itself
            pair.is_tombstone_gone = true;
            pair.came.push((side, key));
        }
    }

    fn note(&mut self, found: &Found) {
        match found {
            Found::Both(None) => {
                self.tally.records += 1;
                self.tally.reencoded += 1;
            }
            Found::Extra(Some(Excuse::Marked)) => self.tally.marked_fillers += 1,
            Found::Extra(Some(Excuse::Repeat)) => self.tally.repeats += 1,
            _ => {}
        }
    }

    fn wait(&mut self, side: Side, key: KeyHash, offset: Offset) {
        let awaited = self.awaited(side);
        let is_full = awaited.len() >= AWAITED_MAX && !awaited.contains_key(&key);
        match is_full {
            true => self.tally.unproven += 1,
            false => awaited.entry(key).or_insert((offset, 0)).1 += 1,
        }
    }

    fn awaits(&self, side: Side) -> &Awaited {
        match side {
            Side::Source => &self.awaited_source,
            Side::Destination => &self.awaited_destination,
        }
    }

    fn awaited(&mut self, side: Side) -> &mut Awaited {
        match side {
            Side::Source => &mut self.awaited_source,
            Side::Destination => &mut self.awaited_destination,
        }
    }

    /// Whether that side must still show a key.
    pub fn is_awaiting(&self, side: Side) -> bool {
        !self.awaits(side).is_empty()
    }

    /// Looks for awaited keys in what one side has behind the compared range.
    pub fn look_behind(&mut self, side: Side, behind: &mut Cursor) -> Result<Place, Failure> {
        loop {
            match behind.place().map_err(at(side))? {
                Place::Batch => behind.open_batch().map_err(at(side))?,
                Place::Record => {
                    let key = behind.record().map_err(at(side))?.as_ref().and_then(key_of);
                    let came = key.and_then(|key| self.awaited(side).remove(&key));
                    self.tally.compacted += came.map_or(0, |(_, count)| count);
                    behind.skip_record();
                }
                place => return Ok(place),
            }
        }
    }

    /// Ends the comparison: what is still awaited is a difference.
    pub fn finish(&mut self) {
        for (side, what) in [(Side::Destination, What::Missing), (Side::Source, What::Extra)] {
            let mut left: Vec<(Offset, u64)> =
                std::mem::take(self.awaited(side)).into_values().collect();
            left.sort();
            self.tally.differences += left.iter().map(|one| one.1).sum::<u64>();
            for (offset, _) in left.into_iter().take(SHOWN_MAX - self.shown.len()) {
                let offset = offset.get();
                self.shown.push(Difference { offset, what, source: None, destination: None });
            }
        }
        self.shown.sort_by_key(|one| one.offset);
    }
}

/// What the records where both sides stand are to each other.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Found {
    /// One offset; `None` for equal ones.
    Both(Option<What>),
    /// Only the source has one.
    Missing,
    /// Only the destination has one.
    Extra(Option<Excuse>),
}

/// Why the destination may have a record where the source has none.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Excuse {
    /// It names itself a filler.
    Marked,
    /// It is what comes next, on a compacted topic.
    Repeat,
}

struct Pair {
    found: Found,
    difference: Option<Difference>,
    /// A side lacks a record that compaction may have taken.
    waits: Option<(Side, KeyHash, Offset)>,
    is_tombstone_gone: bool,
    /// Keys that a side has shown.
    came: Vec<(Side, KeyHash)>,
}

impl Default for Pair {
    fn default() -> Pair {
        let found = Found::Both(None);
        Pair { found, difference: None, waits: None, is_tombstone_gone: false, came: Vec::new() }
    }
}

impl Found {
    fn what(self) -> Option<What> {
        match self {
            Found::Both(what) => what,
            Found::Missing => Some(What::Missing),
            Found::Extra(None) => Some(What::Extra),
            Found::Extra(Some(_)) => None,
        }
    }
}

fn at(side: Side) -> impl Fn(Unreadable) -> Failure {
    move |unreadable| (side, unreadable)
}

fn key_of(seen: &Seen<'_>) -> Option<KeyHash> {
    let hash = blake3::hash(seen.record.key?);
    let (first, _) = hash.as_bytes().split_at(16);
    first.try_into().ok()
}

/// Whether two batches are the same to every reader: what the copy may change is left out
/// (`docs/OFFSETS.md`, section 2).
fn alike(ours: &BatchView, theirs: &BatchView) -> bool {
    let kept = |batch: &BatchView| {
        let bits = batch.attributes().0 & (Attributes::CODEC_MASK | Attributes::LOG_APPEND_TIME);
        let times = (batch.base_timestamp(), batch.max_timestamp());
        (batch.base_offset(), batch.last_offset_delta(), batch.count(), bits, times)
    };
    kept(ours) == kept(theirs) && ours.records() == theirs.records()
}

fn differing(ours: &Seen<'_>, theirs: &Seen<'_>) -> Option<What> {
    let (a, b) = (&ours.record, &theirs.record);
    if ours.timestamp != theirs.timestamp {
        return Some(What::Timestamp);
    }
    if a.key != b.key {
        return Some(What::Key);
    }
    if a.value != b.value {
        return Some(What::Value);
    }
    if a.headers == b.headers {
        return None;
    }
    let sorted = |record: &RecordView<'_>| {
        let mut headers: Vec<_> =
            record.headers.iter().map(|h| (h.0.to_vec(), h.1.map(<[u8]>::to_vec))).collect();
        headers.sort();
        headers
    };
    Some(if sorted(a) == sorted(b) { What::HeaderOrder } else { What::Headers })
}

/// Why a record that only the destination has may be right.
fn excuse(next: Option<&Seen<'_>>, extra: &Seen<'_>, is_compacted: bool) -> Option<Excuse> {
    if filler::is_visible(&extra.record) {
        return Some(Excuse::Marked);
    }
    let next = next.filter(|_| is_compacted)?;
    differing(next, extra).is_none().then_some(Excuse::Repeat)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::audit::log::samples::Sample;
    use crate::audit::log::samples::at;
    use crate::audit::log::samples::batch;
    use crate::audit::log::samples::fillers;

    fn cursor(batches: Vec<BatchView>, end: i64) -> Cursor {
        let mut cursor = Cursor::new(at(0), at(end), true);
        let pieces = batches.into_iter().map(crate::wire::split::Piece::Batch).collect();
        cursor.feed(Portion { pieces, aborted: Vec::new(), next: at(end) });
        cursor
    }

    fn compared(
        source: Vec<BatchView>,
        destination: Vec<BatchView>,
        end: i64,
        compaction: Compaction,
    ) -> Compare {
        let (source, destination) = (cursor(source, end), cursor(destination, end));
        let mut compare = Compare::new(source, destination, compaction);
        assert_eq!(compare.run(), Ok(Step::Done));
        compare.finish();
        compare
    }

    #[track_caller]
    fn differs(source: &[Sample], destination: &[Sample], want: &[(i64, What)]) {
        let none = Compaction::default();
        let end = 100;
        let got = compared(vec![batch(source)], vec![batch(destination)], end, none);
        let found: Vec<_> = got.shown.iter().map(|one| (one.offset, one.what)).collect();
        assert_eq!(found, want);
        assert_eq!(got.tally.differences, want.len() as u64);
    }

    fn three() -> Vec<Sample> {
        vec![
            Sample::new(10, "a"),
            Sample::new(11, "b").key("k").headers(&["x", "y"]),
            Sample::new(12, "c"),
        ]
    }

    #[test]
    fn every_kind_of_difference_is_named_at_its_offset() {
        let change = |change: fn(&mut Sample)| {
            let mut records = three();
            change(&mut records[1]);
            records
        };
        differs(&three(), &three(), &[]);
        differs(&three(), &change(|r| r.value[0] ^= 1), &[(11, What::Value)]);
        differs(&three(), &change(|r| r.key = Some(b"K".to_vec())), &[(11, What::Key)]);
        differs(&three(), &change(|r| r.key = None), &[(11, What::Key)]);
        differs(&three(), &change(|r| r.timestamp += 1), &[(11, What::Timestamp)]);
        differs(&three(), &change(|r| r.headers.reverse()), &[(11, What::HeaderOrder)]);
        differs(&three(), &change(|r| drop(r.headers.pop())), &[(11, What::Headers)]);
        let mut gone = three();
        gone.remove(1);
        differs(&three(), &gone, &[(11, What::Missing)]);
        differs(&gone, &three(), &[(11, What::Extra)]);
        let mut shifted = three();
        shifted[2].offset = 13;
        differs(&three(), &shifted, &[(12, What::Missing), (13, What::Extra)]);
    }

    #[test]
    fn both_records_are_shown() {
        let mut other = three();
        other[1].value[0] ^= 1;
        let none = Compaction::default();
        let got = compared(vec![batch(&three())], vec![batch(&other)], 100, none);
        let shown = &got.shown[0];
        let value = |side: &Option<Shown>| side.as_ref().unwrap().value.clone().unwrap().text;
        assert_eq!((value(&shown.source), value(&shown.destination)), ("b".into(), "c".into()));
    }

    #[test]
    fn equal_bytes_are_compared_as_they_are_and_other_framings_record_by_record() {
        let none = Compaction::default();
        let whole = vec![batch(&three())];
        let alike = compared(whole.clone(), whole.clone(), 13, none).tally;
        assert_eq!((alike.records, alike.batches_alike, alike.reencoded), (3, 1, 0));
        let split = vec![batch(&three()[..1]), batch(&three()[1..])];
        let reframed = compared(split, whole.clone(), 13, none).tally;
        assert_eq!((reframed.records, reframed.batches_alike, reframed.reencoded), (3, 0, 3));
        // an end inside of the batch: only what is below counts
        let part = compared(whole.clone(), whole, 12, none).tally;
        assert_eq!((part.records, part.batches_alike), (2, 0));
    }

    #[test]
    fn a_filler_may_stand_where_the_source_has_no_record_and_nowhere_else() {
        let none = Compaction::default();
        let copy = || vec![batch(&three()), fillers(13, 4), batch(&[Sample::new(17, "d")])];
        let source = vec![batch(&three()), batch(&[Sample::new(17, "d")])];
        let got = compared(source, copy(), 18, none);
        assert_eq!((got.tally.differences, got.tally.records), (0, 4));
        assert_eq!(got.destination.passed().fillers, 4);
        let source = vec![
            batch(&three()),
            batch(&[Sample::new(15, "lost")]),
            batch(&[Sample::new(17, "d")]),
        ];
        let got = compared(source, copy(), 18, none);
        let found: Vec<_> = got.shown.iter().map(|one| (one.offset, one.what)).collect();
        assert_eq!(found, [(15, What::Missing)]);
    }

    #[test]
    fn visible_fillers_are_known_and_counted() {
        let marked = filler::filler(filler::Kind::Visible, at(13), 1, filler::NO_TIMESTAMP);
        let copy = vec![batch(&three()), marked];
        let got = compared(vec![batch(&three())], copy, 14, Compaction::default()).tally;
        assert_eq!((got.differences, got.marked_fillers), (0, 1));
        let early = Sample { offset: 13, ..Sample::new(14, "d") };
        let repeats = vec![batch(&three()), batch(&[early, Sample::new(14, "d")])];
        let source = vec![batch(&three()), batch(&[Sample::new(14, "d")])];
        let compacted = Compaction { source: false, destination: true };
        let got = compared(source.clone(), repeats.clone(), 15, compacted).tally;
        assert_eq!((got.differences, got.repeats), (0, 1));
        let got = compared(source, repeats, 15, Compaction::default()).tally;
        assert_eq!((got.differences, got.repeats), (1, 0), "only compaction makes it harmless");
    }

    #[test]
    fn compaction_may_take_a_record_only_where_a_later_one_of_its_key_is() {
        let keyed = |offset, key: &str| Sample::new(offset, "v").key(key);
        let tombstone = |offset, key| Sample { null: true, ..keyed(offset, key) };
        let both = Compaction { source: true, destination: true };
        let check = |source: &[Sample], destination: &[Sample], want: (u64, u64)| {
            let (ours, theirs) = (vec![batch(source)], vec![batch(destination)]);
            let got = compared(ours, theirs, 20, both).tally;
            assert_eq!((got.compacted, got.differences), want);
            let none = Compaction::default();
            let strict = compared(vec![batch(source)], vec![batch(destination)], 20, none).tally;
            assert_eq!((strict.compacted, strict.differences), (0, want.0 + want.1));
        };
        let all = [keyed(1, "k"), keyed(2, "o"), keyed(3, "k")];
        check(&all, &all[1..], (1, 0));
        check(&all[1..], &all, (1, 0));
        // no later one of key "o"
        check(&all, &[keyed(1, "k"), keyed(3, "k")], (0, 1));
        check(&[keyed(1, "k"), keyed(3, "k")], &all, (0, 1));
        // a tombstone goes too, and what it deleted with it
        check(&[keyed(1, "k"), tombstone(2, "k"), keyed(3, "o")], &[keyed(3, "o")], (2, 0));
        // a record without a key is never compacted
        check(&[Sample::new(1, "x"), keyed(2, "k")], &[keyed(2, "k")], (0, 1));
    }

    #[test]
    fn a_later_record_behind_the_range_explains_too() {
        let keyed = |offset| Sample::new(offset, "v").key("k");
        let both = Compaction { source: true, destination: true };
        let (ours, theirs) = (cursor(vec![batch(&[keyed(1)])], 5), cursor(Vec::new(), 5));
        let mut compare = Compare::new(ours, theirs, both);
        assert_eq!(compare.run(), Ok(Step::Done));
        assert!(compare.is_awaiting(Side::Destination) && !compare.is_awaiting(Side::Source));
        let mut behind = cursor(vec![batch(&[keyed(7)])], 9);
        assert_eq!(compare.look_behind(Side::Destination, &mut behind), Ok(Place::End));
        compare.finish();
        assert_eq!((compare.tally.compacted, compare.tally.differences), (1, 0));
    }

    #[test]
    fn a_corrupt_batch_is_not_equal_to_its_twin() {
        let mut bytes = batch(&three()).to_bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        let corrupt = BatchView::new(bytes.into()).unwrap();
        let (ours, theirs) = (cursor(vec![corrupt.clone()], 20), cursor(vec![corrupt], 20));
        let said = Compare::new(ours, theirs, Compaction::default()).run().unwrap_err();
        assert_eq!((said.0, said.1.base), (Side::Source, at(10)));
    }
}
