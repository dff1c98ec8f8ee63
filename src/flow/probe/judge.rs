//! Whether one batch of the destination may be a copy of what the source has at the same offsets.
//!
//! It never fetches, and what it cannot compare it does not call different: compaction changes
//! both logs, each in its own time.

use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::ProducerId;
use crate::wire::batch::Attributes;
use crate::wire::batch::BatchView;
use crate::wire::codec::Codec;
use crate::wire::codec::CodecError;
use crate::wire::filler::Kind;
use crate::wire::filler::is_filler;
use crate::wire::filler::kind_of;
use crate::wire::reframe::Bounds;
use crate::wire::reframe::ReframeError;
use crate::wire::reframe::See;
use crate::wire::reframe::UNPACKED_BYTES_MAX;
use crate::wire::reframe::see;
use crate::wire::rewrite::WRITER_ID_MIN;

/// How a batch is unpacked to be compared: some producers pack all of it as one block of snappy.
const BOUNDS: Bounds = Bounds {
    unpacked_bytes_max: UNPACKED_BYTES_MAX,
    held_bytes_max: 32 << 20,
    batch_bytes_max: None,
};
/// How many records of a batch are compared at most: one with more is taken for one that cannot be
/// read. A mark takes 24 bytes.
const MARKS_MAX: usize = 1 << 19;

/// What came of a comparison.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every record that can be compared is the same, and one could.
    Equal,
    /// A record is not the source's, or stands at another offset.
    Unlike,
    /// The source has nothing to compare with any more.
    Incomparable,
}

/// What the source has around the offsets of one batch of the destination.
#[derive(Clone, Debug, Default)]
pub struct Original {
    /// Batches that hold any of the offsets, in order, from the first one on.
    /// Messages of an old format are not among them: they are not looked into.
    pub batches: Vec<BatchView>,
}

impl Original {
    /// The leader epoch of the batch that holds the offset before `end`.
    pub fn epoch_before(&self, end: Offset) -> LeaderEpoch {
        let holds = |batch: &&BatchView| batch.base_offset() < end && batch.next_offset() >= end;
        self.batches.iter().find(holds).map_or(LeaderEpoch::NONE, BatchView::leader_epoch)
    }
}

/// Judges `copy`, a batch of the destination. A batch of ours that the source does not have any
/// more is compaction's doing; one of somebody else's in a hole of the source is a record too many
/// (found by fuzzing the partition machine).
pub fn judge(original: &Original, copy: &BatchView, writer: ProducerId) -> Verdict {
    let is_ours = copy.producer_id() == writer;
    // What we append carries its offset as its sequence: a late copy that landed elsewhere shows.
    if is_ours && copy.base_sequence() != copy.base_offset().sequence() {
        return Verdict::Unlike;
    }
    if let [one] = &original.batches[..]
        && is_same(one, copy)
    {
        return Verdict::Equal;
    }
    // a mirror that was a source itself has markers of its own, which no reader sees
    if copy.attributes().has(Attributes::CONTROL) && kind_of(copy).is_none() && !is_ours {
        return judge_hidden(original, copy);
    }
    // no reader sees what another link has hidden, such as its seal
    let is_hidden = kind_of(copy).is_some_and(|kind| kind != Kind::Visible);
    let is_harmless = is_hidden && copy.producer_id().0 >= WRITER_ID_MIN;
    let absent = if is_ours || is_harmless { Verdict::Incomparable } else { Verdict::Unlike };
    let Some(ours) = Opened::new(copy) else { return absent };
    if kind_of(copy).is_some() || ours.is_repeats() {
        return judge_filler(original, copy, absent);
    }
    let (mut verdict, mut found) = (absent, 0);
    for batch in &original.batches {
        let is_open = is_ours && ours.may_be_repeat();
        let Some(theirs) = Opened::new(batch) else { continue };
        found += ours.count_within(&theirs);
        match compare(&theirs, &ours) {
            Verdict::Incomparable => {}
            // Where a transaction was aborted, its records are not what should be there.
            Verdict::Unlike if is_open && batch.attributes().has(Attributes::TRANSACTIONAL) => {}
            Verdict::Unlike => return Verdict::Unlike,
            Verdict::Equal => verdict = Verdict::Equal,
        }
    }
    // Of somebody else's batch every record must be the source's.
    if !is_ours && ours.marks.len() != found { Verdict::Unlike } else { verdict }
}

fn is_same(original: &BatchView, copy: &BatchView) -> bool {
    let kept = |batch: &BatchView| {
        let span = (batch.base_offset(), batch.next_offset());
        let times = (batch.base_timestamp(), batch.max_timestamp());
        let codec = batch.attributes().0 & (Attributes::CODEC_MASK | Attributes::LOG_APPEND_TIME);
        (span, times, codec, batch.count())
    };
    kept(copy) == kept(original) && copy.section() == original.section()
}

/// Judges a batch that no reader sees and that is no filler: a marker, or records of a transaction
/// that was aborted. They may stand wherever the source has no record that is certainly seen.
pub fn judge_hidden(original: &Original, copy: &BatchView) -> Verdict {
    judge_filler(original, copy, Verdict::Incomparable)
}

/// A filler may stand wherever the source has no record that is certainly seen by readers; one of
/// a compacted topic anywhere: each replica of the source is cleaned in its own time, and the one
/// that leads now may still have what was gone at the one that was read.
fn judge_filler(original: &Original, copy: &BatchView, absent: Verdict) -> Verdict {
    if is_filler(Kind::HiddenKeyed, copy) {
        return absent;
    }
    let hidden = Attributes::CONTROL | Attributes::TRANSACTIONAL;
    let seen = original.batches.iter().filter(|batch| !batch.attributes().has(hidden));
    let span = copy.base_offset()..copy.next_offset();
    for batch in seen {
        let Some(opened) = Opened::new(batch) else { continue };
        if opened.marks.iter().any(|(at, _)| span.contains(at)) {
            return Verdict::Unlike;
        }
    }
    absent
}

fn compare(theirs: &Opened<'_>, ours: &Opened<'_>) -> Verdict {
    if theirs.batch.attributes().has(Attributes::CONTROL) {
        return Verdict::Incomparable;
    }
    let mut left = ours.marks.iter().peekable();
    let mut verdict = Verdict::Incomparable;
    for (at, record) in &theirs.marks {
        while left.next_if(|(ours, _)| ours < at).is_some() {}
        let Some((_, copied)) = left.next_if(|(ours, _)| ours == at) else { continue };
        if record != copied {
            return Verdict::Unlike;
        }
        verdict = Verdict::Equal;
    }
    verdict
}

/// What a record says, in 16 bytes: two that differ are never met by chance, nor to be made.
type Mark = [u8; 16];

/// A batch whose records can be read: a mark of each that readers see, up to the first that cannot
/// be read. What it is unpacked to is never held: that may be a thousand times its size.
struct Opened<'a> {
    batch: &'a BatchView,
    codec: Codec,
    marks: Vec<(Offset, Mark)>,
}

impl Opened<'_> {
    fn new(batch: &BatchView) -> Option<Opened<'_>> {
        let codec = Codec::of(batch.attributes()).ok()?;
        let mut marking = Marking::default();
        match see(batch, &BOUNDS, &mut marking) {
            Ok(()) | Err(ReframeError::Malformed(_)) => {}
            Err(_) => return None,
        }
        Some(Opened { batch, codec, marks: marking.marks })
    }

    fn holds(&self, at: Offset) -> bool {
        self.batch.base_offset() <= at && at < self.batch.next_offset()
    }

    /// How many of another batch's records stand within this one's offsets.
    fn count_within(&self, other: &Opened<'_>) -> usize {
        other.marks.iter().filter(|(at, _)| self.holds(*at)).count()
    }

    /// A gap of one offset is filled with a single record of that codec.
    fn may_be_repeat(&self) -> bool {
        self.codec == Codec::Zstd && self.batch.count() == 1
    }

    /// One record again and again, as gaps of compacted topics are filled from 2^31 - 1 on.
    fn is_repeats(&self) -> bool {
        let Some((_, first)) = self.marks.first() else { return false };
        let is_packed = self.codec == Codec::Zstd && self.batch.count() > 1;
        is_packed && self.marks.iter().all(|(_, mark)| mark == first)
    }
}

/// Makes marks of the records that readers see.
#[derive(Default)]
struct Marking {
    marks: Vec<(Offset, Mark)>,
    /// Where the record stands that is shown now, and how many bytes of it are to come.
    open: Option<(Offset, usize)>,
    hash: blake3::Hasher,
}

impl Marking {
    fn end(&mut self) {
        if let Some((at, _)) = self.open.take_if(|(_, left)| *left == 0) {
            let mut mark = Mark::default();
            self.hash.finalize_xof().fill(&mut mark);
            self.marks.push((at, mark));
        }
    }
}

impl See for Marking {
    fn begin(
        &mut self,
        offset: Option<Offset>,
        timestamp_ms: i64,
        tail_bytes: usize,
    ) -> Result<(), ReframeError> {
        if self.marks.len() >= MARKS_MAX {
            return Err(CodecError::TooLarge { codec: Codec::None, max: MARKS_MAX }.into());
        }
        self.open = offset.map(|at| (at, tail_bytes));
        self.hash.reset();
        self.hash.update(&timestamp_ms.to_be_bytes());
        self.end();
        Ok(())
    }

    fn tail(&mut self, bytes: &[u8]) {
        let Some((_, left)) = &mut self.open else { return };
        *left = left.saturating_sub(bytes.len());
        self.hash.update(bytes);
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TimestampMs;
    use crate::wire::filler::filler;
    use crate::wire::record::NewRecord;
    use crate::wire::record::plain_batch;
    use crate::wire::rewrite::Writer;
    use crate::wire::rewrite::rewrite;

    const WRITER: ProducerId = ProducerId(77);

    fn offset(raw: i64) -> Offset {
        Offset::new(raw).unwrap()
    }

    /// `count` records at `base` that are like no others', as the destination has them when
    /// `writer` sent them for offset `due`.
    fn stored(batch: &BatchView, base: i64, due: i64, writer: ProducerId) -> BatchView {
        let sent = rewrite(&placed(batch, due), Writer { id: writer, epoch: 0 });
        let bytes = [&sent.header[..], &sent.records].concat();
        placed(&BatchView::new(bytes.into()).unwrap(), base)
    }

    fn placed(batch: &BatchView, base: i64) -> BatchView {
        let mut bytes = batch.to_bytes().to_vec();
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        BatchView::new(bytes.into()).unwrap()
    }

    fn source(base: i64, keys: &[&str]) -> BatchView {
        let each = keys.iter().map(|key| NewRecord {
            timestamp_ms: 1_000 + base,
            key: Some(key.as_bytes()),
            ..NewRecord::default()
        });
        let none = Writer { id: ProducerId(-1), epoch: -1 };
        placed(&plain_batch(none, -1, each.collect()).unwrap(), base)
    }

    fn judged(originals: &[&BatchView], copy: &BatchView) -> Verdict {
        let batches = originals.iter().map(|batch| (*batch).clone()).collect();
        judge(&Original { batches }, copy, WRITER)
    }

    #[test]
    fn the_same_batch_is_equal_and_another_is_not() {
        let batch = source(10, &["a", "b"]);
        assert_eq!(judged(&[&batch], &stored(&batch, 10, 10, WRITER)), Verdict::Equal);
        let other = stored(&source(10, &["a", "c"]), 10, 10, WRITER);
        assert_eq!(judged(&[&batch], &other), Verdict::Unlike);
        // what a stranger wrote is right where it is the same
        assert_eq!(judged(&[&batch], &stored(&batch, 10, 10, ProducerId(5))), Verdict::Equal);
    }

    #[test]
    fn ours_at_another_offset_than_it_was_sent_for_is_unlike() {
        let batch = source(10, &["a", "b"]);
        assert_eq!(judged(&[&batch], &stored(&batch, 10, 8, WRITER)), Verdict::Unlike);
        assert_eq!(judged(&[], &stored(&batch, 10, 8, WRITER)), Verdict::Unlike);
        assert_eq!(judged(&[], &stored(&batch, 10, 10, WRITER)), Verdict::Incomparable);
    }

    #[test]
    fn a_strangers_record_where_the_source_has_none_is_one_too_many() {
        let foreign = stored(&source(10, &["x"]), 10, 10, ProducerId(5));
        assert_eq!(judged(&[], &foreign), Verdict::Unlike);
        assert_eq!(judged(&[&source(11, &["a"])], &foreign), Verdict::Unlike);
        let two = stored(&source(10, &["a", "x"]), 10, 10, ProducerId(5));
        assert_eq!(judged(&[&source(10, &["a"])], &two), Verdict::Unlike);
    }

    #[test]
    fn records_count_where_batches_differ() {
        // merged, or encoded anew
        let merged = stored(&source(10, &["a", "b"]), 10, 10, WRITER);
        let mut second = source(11, &["b"]).to_bytes().to_vec();
        second[27..35].copy_from_slice(&1_010i64.to_be_bytes());
        let second = BatchView::new(second.into()).unwrap();
        assert_eq!(judged(&[&source(10, &["a"]), &second], &merged), Verdict::Equal);
        // another time
        assert_eq!(judged(&[&source(10, &["a"]), &source(11, &["b"])], &merged), Verdict::Unlike);
        // compaction has taken one since
        assert_eq!(judged(&[&source(10, &["a"])], &merged), Verdict::Equal);
        assert_eq!(judged(&[&source(10, &["c"])], &merged), Verdict::Unlike);
    }

    #[test]
    fn a_mirror_that_was_a_source_has_markers_of_its_own() {
        let marker = crate::mirror::align::tests::batch(10, 1, 1, Attributes::CONTROL);
        let hidden = filler(Kind::Hidden, offset(10), 1, TimestampMs(5));
        let hidden = stored(&hidden, 10, 10, ProducerId(WRITER_ID_MIN + 5));
        assert_eq!(judged(&[&hidden], &marker), Verdict::Incomparable);
        assert_eq!(judged(&[], &marker), Verdict::Incomparable);
        assert_eq!(judged(&[&source(10, &["a"])], &marker), Verdict::Unlike);
        // what its readers do not see is found out by who asks the broker
        let aborted = crate::mirror::align::tests::batch(10, 1, 1, Attributes::TRANSACTIONAL);
        assert_eq!(judged(&[&hidden], &aborted), Verdict::Unlike);
        let original = Original { batches: vec![hidden] };
        assert_eq!(judge_hidden(&original, &aborted), Verdict::Incomparable);
        let original = Original { batches: vec![source(10, &["a"])] };
        assert_eq!(judge_hidden(&original, &aborted), Verdict::Unlike);
    }

    #[test]
    fn a_filler_stands_where_no_reader_sees_anything() {
        let hidden = filler(Kind::Hidden, offset(10), 3, TimestampMs(5));
        let hidden = stored(&hidden, 10, 10, WRITER);
        assert_eq!(judged(&[], &hidden), Verdict::Incomparable);
        let marker = crate::mirror::align::tests::batch(10, 1, 1, Attributes::CONTROL);
        let txn = crate::mirror::align::tests::batch(11, 2, 2, Attributes::TRANSACTIONAL);
        assert_eq!(judged(&[&marker, &txn], &hidden), Verdict::Incomparable);
        assert_eq!(judged(&[&marker, &source(12, &["a"])], &hidden), Verdict::Unlike);
        assert_eq!(judged(&[&marker, &source(13, &["a"])], &hidden), Verdict::Incomparable);
        // a replica that was not cleaned leads now
        let keyed = filler(Kind::HiddenKeyed, offset(10), 3, TimestampMs(5));
        let keyed = stored(&keyed, 10, 10, WRITER);
        assert_eq!(judged(&[&source(12, &["a"])], &keyed), Verdict::Incomparable);
        // and nobody but us writes them
        let theirs = filler(Kind::Hidden, offset(10), 3, TimestampMs(5));
        assert_eq!(judged(&[], &stored(&theirs, 10, 10, ProducerId(5))), Verdict::Unlike);
        // but another link, under an id of its own, where the source has nothing either
        let others = stored(&theirs, 10, 10, ProducerId(WRITER_ID_MIN + 5));
        assert_eq!(judged(&[], &others), Verdict::Incomparable);
        assert_eq!(judged(&[&marker, &source(12, &["a"])], &others), Verdict::Unlike);
    }
}
