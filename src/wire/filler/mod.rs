//! Fillers: batches that occupy offsets which the source left empty (docs/OFFSETS.md).
//!
//! It never decides where a filler belongs and never carries a record of the source, but for the
//! repeats in `repeat`.
//!
//! A *hidden* filler is an ordinary uncompressed batch in which every record has the offset delta
//! -2^31: the broker counts one offset for each, and every reader drops the record, since its own
//! offset lies below the place that is being read (H1, H10). It must never be compressed (a broker
//! renumbers what it recompresses: H5), and on a compacted topic it must begin below offset
//! 2^31 - 1 (H4). A *visible* one is a record with a header that names isolog.

pub mod repeat;
pub mod seal;

use std::sync::OnceLock;

use bytes::Bytes;

use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::TimestampMs;
use crate::wire::batch::Attributes;
use crate::wire::batch::BatchView;
use crate::wire::batch::HEADER_BYTES;
use crate::wire::record::BatchHead;
use crate::wire::record::NO_SEQUENCE;
use crate::wire::record::NO_WRITER;
use crate::wire::record::RecordView;

/// The most offsets of one filler batch: as many as the default max.message.bytes of 1,048,588
/// holds, in round numbers, and a size that brokers take fastest (H9, A6).
pub const COUNT_MAX: u32 = 95_000;
/// A hidden filler record, keyed or not, in bytes.
pub const HIDDEN_BYTES: usize = 11;
/// The first offset at which a compacted topic must not get hidden fillers (H3, H4). A record of
/// the filler at 2^31 - 1 has the offset -1 for the cleaner, which is what its map answers for a
/// key that it does not know: it would keep that record for good (Cleaner.shouldRetainRecord).
pub const COMPACTED_END: Offset = Offset::new((1 << 31) - 1).expect("2^31 - 1 is an offset");
/// What a filler before the first record of a partition says for its timestamp (H6).
pub const NO_TIMESTAMP: TimestampMs = TimestampMs(-1);

/// The offset delta that hides a record.
const HIDDEN_DELTA: i32 = i32::MIN;
/// The header of a visible filler: a name, and what the record stands for.
const VISIBLE_HEADER: (&[u8], &[u8]) = (b"isolog", b"no record at the source");
/// The most bytes of a visible filler record whose offset delta is below `COUNT_MAX`.
const VISIBLE_BYTES_MAX: usize = 42;

/// What a filler's records look like.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Null key and value; no reader gets it.
    Hidden,
    /// Key and value of no bytes, for topics that are compacted, below `COMPACTED_END` only; no
    /// reader gets it.
    HiddenKeyed,
    /// Null key and value and a header that names isolog; readers get it (`gap.fill = record`).
    Visible,
}

impl Kind {
    /// The most bytes of one record.
    pub fn record_bytes_max(self) -> usize {
        match self {
            Kind::Hidden | Kind::HiddenKeyed => HIDDEN_BYTES,
            Kind::Visible => VISIBLE_BYTES_MAX,
        }
    }

    fn record(self, place: u32) -> RecordView<'static> {
        let content = match self {
            Kind::HiddenKeyed => Some(&b""[..]),
            Kind::Hidden | Kind::Visible => None,
        };
        let (name, what) = VISIBLE_HEADER;
        let visible = self == Kind::Visible;
        RecordView {
            offset_delta: if visible { place as i32 } else { HIDDEN_DELTA },
            timestamp_delta: 0,
            key: content,
            value: content,
            headers: if visible { vec![(name, Some(what))] } else { Vec::new() },
        }
    }
}

/// The most offsets of one filler batch where the destination takes batches of `batch_bytes_max`;
/// 0 where not even one fits.
pub fn count_max(kind: Kind, batch_bytes_max: usize) -> u32 {
    let room = batch_bytes_max.saturating_sub(HEADER_BYTES) / kind.record_bytes_max();
    u32::try_from(room).map_or(COUNT_MAX, |room| room.min(COUNT_MAX))
}

/// A batch that occupies the offsets from `base` on, `count` of them, at least 1 and at most
/// `COUNT_MAX`: what is outside is brought inside. All hidden batches of a kind share one records
/// section. `timestamp` must be the greatest of the batch before it, `NO_TIMESTAMP` before the
/// first one (H6).
pub fn filler(kind: Kind, base: Offset, count: u32, timestamp: TimestampMs) -> BatchView {
    let count = count.clamp(1, COUNT_MAX);
    let records = match kind {
        Kind::Visible => section(kind, count),
        Kind::Hidden | Kind::HiddenKeyed => shared(kind).slice(..HIDDEN_BYTES * count as usize),
    };
    let head = BatchHead {
        base_offset: base,
        leader_epoch: LeaderEpoch::NONE,
        attributes: Attributes(0),
        last_offset_delta: count as i32 - 1,
        base_timestamp: timestamp,
        max_timestamp: timestamp,
        writer: NO_WRITER,
        base_sequence: NO_SEQUENCE,
        count: count as i32,
    };
    let header = Bytes::copy_from_slice(&head.header(&records));
    BatchView::from_parts(header, records).expect("count, length and magic were just written")
}

/// The kind of a batch that `filler` made, also after a broker has stored it.
pub fn kind_of(batch: &BatchView) -> Option<Kind> {
    let kinds = [Kind::Hidden, Kind::HiddenKeyed, Kind::Visible];
    kinds.into_iter().find(|kind| is_filler(*kind, batch))
}

/// Whether `batch` is a filler of `kind`.
pub fn is_filler(kind: Kind, batch: &BatchView) -> bool {
    let count = batch.count().unsigned_abs();
    let told = batch.attributes().0 == 0 && u64::from(count) == batch.span();
    if !told || count > COUNT_MAX {
        return false;
    }
    match kind {
        Kind::Visible => batch.section() == section(kind, count),
        Kind::Hidden | Kind::HiddenKeyed => {
            batch.section() == &shared(kind)[..HIDDEN_BYTES * count as usize]
        }
    }
}

/// Whether it is of the part below the source's log start: those fillers have no time, while behind
/// the first record they carry its time.
pub fn is_front(batch: &BatchView) -> bool {
    let is_hidden = kind_of(batch).is_some_and(|kind| kind != Kind::Visible);
    is_hidden && batch.max_timestamp() == NO_TIMESTAMP
}

/// The first record of a visible filler stands for all: its header tells it from the source's.
pub fn is_visible(record: &RecordView<'_>) -> bool {
    let (name, what) = VISIBLE_HEADER;
    record.key.is_none() && record.value.is_none() && record.headers == [(name, Some(what))]
}

fn section(kind: Kind, count: u32) -> Bytes {
    let mut out = Vec::with_capacity(kind.record_bytes_max() * count as usize);
    (0..count).for_each(|place| kind.record(place).put(&mut out));
    out.into()
}

/// As many hidden records as a batch may have, made once.
fn shared(kind: Kind) -> &'static Bytes {
    static PLAIN: OnceLock<Bytes> = OnceLock::new();
    static KEYED: OnceLock<Bytes> = OnceLock::new();
    let made = if kind == Kind::HiddenKeyed { &KEYED } else { &PLAIN };
    made.get_or_init(|| section(kind, COUNT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::batch::at;
    use crate::wire::crc;
    use crate::wire::record::Records;

    const KINDS: [Kind; 3] = [Kind::Hidden, Kind::HiddenKeyed, Kind::Visible];

    fn at(raw: i64) -> Offset {
        Offset::new(raw).unwrap()
    }

    #[test]
    fn a_filler_counts_what_it_occupies_and_reads_back() {
        for kind in KINDS {
            for count in [1, 2, 3, 64, 128, 8_192, COUNT_MAX] {
                let batch = filler(kind, at(40), count, TimestampMs(7));
                assert_eq!(crc::check(&batch), Ok(()));
                assert_eq!((batch.base_offset(), batch.span()), (at(40), u64::from(count)));
                assert_eq!(batch.count() as u32, count);
                assert_eq!((batch.base_timestamp().0, batch.max_timestamp().0), (7, 7));
                assert_eq!(batch.attributes().0, 0);
                let records: Vec<_> = Records::of(&batch).unwrap().map(Result::unwrap).collect();
                assert_eq!(records.len(), count as usize);
                for (place, record) in (0..).zip(&records) {
                    assert_eq!(*record, kind.record(place));
                    assert_eq!(is_visible(record), kind == Kind::Visible);
                }
                assert_eq!(kind_of(&batch), Some(kind));
                assert!(batch.len() <= HEADER_BYTES + count as usize * kind.record_bytes_max());
            }
        }
    }

    #[test]
    fn hidden_records_stand_as_the_brokers_were_asked() {
        let hidden = filler(Kind::Hidden, at(0), 2, NO_TIMESTAMP);
        let one = b"\x14\0\0\xff\xff\xff\xff\x0f\x01\x01\0";
        assert_eq!(hidden.section(), [&one[..], one].concat());
        let keyed = filler(Kind::HiddenKeyed, at(0), 1, NO_TIMESTAMP);
        assert_eq!(keyed.section(), b"\x14\0\0\xff\xff\xff\xff\x0f\0\0\0");
        assert_eq!((one.len(), keyed.len()), (HIDDEN_BYTES, HEADER_BYTES + HIDDEN_BYTES));
    }

    #[test]
    fn hidden_fillers_share_their_memory() {
        let small = filler(Kind::Hidden, at(0), 1, NO_TIMESTAMP);
        let large = filler(Kind::Hidden, at(9), COUNT_MAX, TimestampMs(1));
        assert_eq!(small.records().as_ptr(), large.records().as_ptr());
    }

    #[test]
    fn a_count_follows_the_destination_and_has_a_cap() {
        assert_eq!(count_max(Kind::Hidden, 1_048_588), COUNT_MAX);
        assert_eq!(count_max(Kind::Hidden, usize::MAX), COUNT_MAX);
        assert_eq!(count_max(Kind::HiddenKeyed, 61 + 22), 2);
        assert_eq!(count_max(Kind::Hidden, 61 + 10), 0);
        assert_eq!(count_max(Kind::Hidden, 0), 0);
        for kind in KINDS {
            for max in [200, 1_000, 100_000, 1_048_588] {
                let batch = filler(kind, at(0), count_max(kind, max), NO_TIMESTAMP);
                assert!(batch.len() <= max, "{kind:?} {max}");
            }
        }
        assert_eq!(filler(Kind::Hidden, at(0), 0, NO_TIMESTAMP).span(), 1);
        assert_eq!(filler(Kind::Hidden, at(0), u32::MAX, NO_TIMESTAMP).span(), 95_000);
    }

    #[test]
    fn what_is_no_filler_is_not_taken_for_one() {
        let batch = filler(Kind::Hidden, at(5), 3, TimestampMs(1));
        let spoilt = |place: usize, value: u8| {
            let mut bytes = batch.to_bytes().to_vec();
            bytes[place] = value;
            kind_of(&BatchView::new(bytes.into()).unwrap())
        };
        assert_eq!(spoilt(at::BASE_SEQUENCE, 1), Some(Kind::Hidden), "the writer does not matter");
        assert_eq!(spoilt(at::COUNT + 3, 2), None, "thinned");
        assert_eq!(spoilt(at::LAST_OFFSET_DELTA + 3, 7), None, "a wider span");
        assert_eq!(spoilt(at::ATTRIBUTES + 1, 4), None, "compressed");
        assert_eq!(spoilt(HEADER_BYTES + 10, 2), None, "other records");
    }
}
