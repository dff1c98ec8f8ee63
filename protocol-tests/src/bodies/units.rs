//! Fuzz bodies of what encodes anew: fillers, codecs, and units made into dense batches.
//!
//! It never accepts a run that loses, doubles or moves a record.

use bytes::Bytes;
use isolog::ids::Offset;
use isolog::ids::TimestampMs;
use isolog::wire::batch::Attributes;
use isolog::wire::batch::BatchView;
use isolog::wire::codec;
use isolog::wire::codec::Codec;
use isolog::wire::codec::CodecError;
use isolog::wire::crc;
use isolog::wire::filler;
use isolog::wire::filler::Kind;
use isolog::wire::reframe;
use isolog::wire::reframe::Bounds;
use isolog::wire::reframe::ReframeError;
use isolog::wire::reframe::Run;
use isolog::wire::reframe::merge;
use isolog::wire::reframe::unpack::Unpacked;
use isolog::wire::split::Piece;

use super::batch_of;
use crate::broker::codec::crc32;

/// What the bodies let anything unpack to, in bytes.
pub const UNPACKED_BYTES_MAX: usize = 64 * 1024;
/// What a decoder of this file may take from the heap besides: output that doubles while it grows,
/// and the state of two libraries, since what one unpacks the other packs meanwhile. That of gzip
/// alone is 320 KiB for packing.
pub const HEAP_BYTES_BASE: usize = 4 * UNPACKED_BYTES_MAX + 384 * 1024;
/// And per byte of its input: an entry and its place in a run, for a record of seven bytes.
pub const HEAP_PER_BYTE_MAX: usize = 64;

/// The largest batch of the bodies' imagined destination, in bytes.
const BATCH_BYTES_MAX: usize = 2_000;

fn bounds() -> Bounds {
    let unpacked_bytes_max = UNPACKED_BYTES_MAX;
    let batch_bytes_max = Some(BATCH_BYTES_MAX);
    Bounds { unpacked_bytes_max, held_bytes_max: unpacked_bytes_max, batch_bytes_max }
}

/// One byte for the codec, then what it packed.
fn packed(input: &Bytes) -> Option<(Codec, &[u8])> {
    let (number, packed) = input.split_first()?;
    Some((Codec::ALL[usize::from(*number) % Codec::ALL.len()], packed))
}

/// Unpacks as the body does, and nothing else.
pub fn decode_codec(input: &Bytes) {
    if let Some((codec, packed)) = packed(input) {
        drop(codec::decompress(codec, packed, UNPACKED_BYTES_MAX));
    }
}

/// Packed bytes: nothing beyond the cap, and what comes out comes out again when packed anew.
pub fn unpack(data: &[u8]) {
    let input = Bytes::copy_from_slice(data);
    let Some((codec, packed)) = packed(&input) else { return };
    match codec::decompress(codec, packed, UNPACKED_BYTES_MAX) {
        Ok(plain) => {
            assert!(plain.len() <= UNPACKED_BYTES_MAX, "the cap holds");
            if let Some(less) = plain.len().checked_sub(1) {
                let bomb = Err(CodecError::TooLarge { codec, max: less });
                assert_eq!(codec::decompress(codec, packed, less), bomb, "the cap is exact");
            }
            let again = codec::compress(codec, plain.clone()).expect("plain bytes can be packed");
            assert_eq!(codec::decompress(codec, &again, plain.len()), Ok(plain));
        }
        Err(CodecError::TooLarge { max, .. }) => assert_eq!(max, UNPACKED_BYTES_MAX),
        Err(CodecError::Malformed { codec: named, .. }) => assert_eq!(named, codec),
        Err(other) => panic!("{other}"),
    }
}

/// Kind, count, base and time of a filler, then a batch that may look like one.
pub fn fill(data: &[u8]) {
    let input = Bytes::copy_from_slice(data);
    let Some((head, rest)) = input.split_first_chunk::<21>() else { return };
    let kind = [Kind::Hidden, Kind::HiddenKeyed, Kind::Visible][usize::from(head[0] % 3)];
    let count = u32::from_be_bytes(head[1..5].try_into().expect("four bytes")) % 2_000;
    let base = i64::from_be_bytes(head[5..13].try_into().expect("eight bytes")) & (i64::MAX >> 1);
    let base = Offset::new(base).expect("not negative");
    let time = TimestampMs(i64::from_be_bytes(head[13..].try_into().expect("eight bytes")));
    let batch = filler::filler(kind, base, count, time);
    assert_eq!(crc::check(&batch), Ok(()));
    assert_eq!((batch.base_offset(), batch.span()), (base, u64::from(count.max(1))));
    assert_eq!(filler::kind_of(&batch), Some(kind));
    let runs = reframe::reframe_batch(&batch, base, &Bounds::default()).expect("well made");
    let hidden = kind != Kind::Visible;
    assert_eq!(matches!(runs[..], [Run::Gap { .. }]), hidden, "hidden is hidden");
    let Some((other, _)) = batch_of(&Bytes::copy_from_slice(rest)) else { return };
    if let Some(kind) = filler::kind_of(&other) {
        let made = filler::filler(kind, base, other.count().unsigned_abs(), time);
        assert_eq!(made.section(), other.section(), "what is taken for a filler is one");
    }
}

/// Eight bytes for where to begin, a byte of flags, and a unit: a batch (as `rewrite` has it), or
/// an old message whose CRC may be made right.
fn unit(input: &Bytes) -> Option<(Offset, Piece)> {
    let (from, rest) = input.split_first_chunk::<8>()?;
    let (flags, rest) = rest.split_first()?;
    let from = Offset::new(i64::from_be_bytes(*from) & i64::MAX)?;
    if flags & 2 == 0 {
        let head = [&[0; 10], &[*flags][..], rest].concat();
        return batch_of(&head.into()).map(|(batch, _)| (from, Piece::Batch(batch)));
    }
    let mut bytes = rest.to_vec();
    let magic = *bytes.get(16)? as i8;
    let offset = Offset::new(i64::from_be_bytes(*bytes.first_chunk()?))?;
    let size = i32::try_from(bytes.len() - 12).ok()?;
    bytes[8..12].copy_from_slice(&size.to_be_bytes());
    if flags & 1 == 1 {
        let right = crc32(&bytes[16..]);
        bytes[12..16].copy_from_slice(&right.to_be_bytes());
    }
    Some((from, Piece::OldFormat { offset, magic, bytes: bytes.into() }))
}

/// Makes a unit dense as the body does, and nothing else.
pub fn decode_unit(input: &Bytes) {
    if let Some((from, piece)) = unit(input) {
        drop(reframe::reframe(&piece, from, &bounds()));
    }
}

/// A record as a reader gets it: offset, time and the rest.
type Seen = (i64, i64, String);

/// What a reader that begins at `from` gets of a unit.
fn seen(piece: &Piece, from: Offset) -> Result<Vec<Seen>, ReframeError> {
    let unpacked = Unpacked::of(piece, &bounds())?;
    let mut next = from;
    let mut seen = Vec::new();
    for entry in unpacked.entries()? {
        let entry = entry?;
        if let Some(offset) = entry.offset.filter(|offset| *offset >= next) {
            next = offset.plus(1).expect("below the unit's end");
            let record = entry.record;
            let rest = format!("{:?} {:?} {:?}", record.key, record.value, record.headers);
            seen.push((offset.get(), record.timestamp_ms, rest));
        }
    }
    Ok(seen)
}

/// A unit made dense: all of it is covered once, and every record is where it was.
pub fn make_dense(data: &[u8]) {
    let Some((from, piece)) = unit(&Bytes::copy_from_slice(data)) else { return };
    let Ok(runs) = reframe::reframe(&piece, from, &bounds()) else { return };
    let end = match &piece {
        Piece::Batch(batch) => batch.next_offset(),
        Piece::OldFormat { offset, .. } => offset.plus(1).expect("it was accepted"),
    };
    let mut place = from;
    let mut found = Vec::new();
    let mut batches = Vec::new();
    for run in &runs {
        let (begins, next) = match run {
            Run::Gap { from, next } => (*from, *next),
            Run::Batch(batch) => {
                plain(batch);
                found.extend(seen(&Piece::Batch(batch.clone()), place).expect("well made"));
                batches.push(batch.clone());
                (batch.base_offset(), batch.next_offset())
            }
        };
        assert!(begins == place && next > begins, "no hole, no overlap");
        place = next;
    }
    assert_eq!(place, end.max(from), "all of it");
    let no_record = |batch: &BatchView| {
        batch.attributes().has(Attributes::CONTROL) || batch.section().is_empty()
    };
    let nothing = end <= from || matches!(&piece, Piece::Batch(batch) if no_record(batch));
    let wanted = if nothing { Vec::new() } else { seen(&piece, from).expect("read") };
    assert_eq!(found, wanted, "every record is where it was");
    merged(&batches, &found);
}

fn plain(batch: &BatchView) {
    assert_eq!(crc::check(batch), Ok(()));
    assert_eq!(u64::try_from(batch.count()), Ok(batch.span()), "dense");
    assert_eq!(batch.attributes().0 & !Attributes::CODEC_MASK, 0, "plain");
    assert!(batch.len() <= BATCH_BYTES_MAX || batch.count() == 1, "as large as it may be");
}

/// The same records in one batch, where they have no gap between them.
fn merged(batches: &[BatchView], wanted: &[Seen]) {
    let wide = Bounds { unpacked_bytes_max: 4 * UNPACKED_BYTES_MAX, ..Bounds::default() };
    let Ok(Some((_, one))) = merge::merge(batches, &wide) else { return };
    let base = one.base_offset();
    let unpacked = Unpacked::of_batch(&one, &wide).expect("well made");
    assert_eq!(unpacked.entries().expect("well made").count(), wanted.len());
    if unpacked.plain_bytes() <= UNPACKED_BYTES_MAX {
        assert_eq!(seen(&Piece::Batch(one), base).as_deref(), Ok(wanted));
    }
}
