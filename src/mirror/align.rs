//! The one decision of the house: what to do with the source's next batch at the destination's end.
//!
//! It never looks at anything but the batch's header and the end, and never repairs.
//!
//! A stock broker gives a produced batch the offset of its log end, so a batch keeps its offset
//! if and only if its base *is* that end and it occupies as many offsets as it did at the source
//! (`docs/OFFSETS.md`).

use crate::ids::Offset;
use crate::mirror::halt::Halt;
use crate::wire::batch::Attributes;
use crate::wire::batch::BatchView;

/// The answer of [`align`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Align {
    /// The batch goes to the end as it is, with a new header.
    Append,
    /// The destination holds all of the batch's offsets.
    Skip,
    /// The batch cannot keep its offsets by an append.
    Halt(Halt),
}

/// What to do with `batch`, the source's next one, when the destination ends (or will end, once
/// everything before the batch has landed) at `end`, and takes batches of `bytes_max`.
pub fn align(batch: &BatchView, end: Offset, bytes_max: Option<usize>) -> Align {
    let (base, next) = (batch.base_offset(), batch.next_offset());
    if next <= end {
        return Align::Skip;
    }
    if base < end {
        return Align::Halt(Halt::EndInsideBatch { base, next, end });
    }
    if base > end {
        return Align::Halt(Halt::Hole { at: end, next: base });
    }
    match unfit(batch, bytes_max) {
        Some(halt) => Align::Halt(halt),
        None => Align::Append,
    }
}

/// Why a batch that stands at the right place cannot be appended as it is.
fn unfit(batch: &BatchView, bytes_max: Option<usize>) -> Option<Halt> {
    let base = batch.base_offset();
    let attributes = batch.attributes();
    if attributes.has(Attributes::CONTROL) {
        return Some(Halt::Control { base });
    }
    if attributes.has(Attributes::TRANSACTIONAL) {
        return Some(Halt::Transactional { base, producer: batch.producer_id() });
    }
    if attributes.has(Attributes::LOG_APPEND_TIME) {
        return Some(Halt::LogAppendTime { base });
    }
    if u64::try_from(batch.count()) != Ok(batch.span()) {
        return Some(Halt::Thinned { base, span: batch.span(), count: batch.count() });
    }
    if batch.records().is_empty() {
        return Some(Halt::Corrupt { base });
    }
    let too_large = bytes_max.is_some_and(|max| batch.len() > max);
    too_large.then(|| Halt::TooLarge { base, bytes: batch.len(), bytes_max })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ids::ProducerId;
    use crate::wire::batch::HEADER_BYTES;
    use crate::wire::batch::PREFIX_BYTES;
    use crate::wire::batch::at;
    use bytes::BufMut;
    use bytes::Bytes;

    /// A batch without records that says it has `count` of them on `span` offsets.
    pub fn batch(base: i64, span: i32, count: i32, attributes: i16) -> BatchView {
        let mut out = Vec::new();
        out.put_i64(base);
        out.put_i32((HEADER_BYTES + 1 - PREFIX_BYTES) as i32);
        out.put_i32(1);
        out.put_u8(2);
        out.put_u32(0);
        out.put_i16(attributes);
        out.put_i32(span - 1);
        out.put_i64(1_000 + base);
        out.put_i64(1_000 + base);
        out.put_i64(-1);
        out.put_i16(-1);
        out.put_i32(-1);
        out.put_i32(count);
        out.put_u8(0);
        let crc = crc32c::crc32c(&out[at::ATTRIBUTES..]);
        out[at::CRC..at::ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
        BatchView::new(Bytes::from(out)).unwrap()
    }

    fn at(raw: i64) -> Offset {
        Offset::new(raw).unwrap()
    }

    fn check(batch: BatchView, end: i64, want: Align) {
        assert_eq!(align(&batch, at(end), Some(1_000)), want, "{batch:?} at {end}");
    }

    #[test]
    fn where_the_batch_stands_decides_first() {
        check(batch(10, 5, 5, 0), 10, Align::Append);
        check(batch(10, 5, 5, 0), 15, Align::Skip);
        check(batch(10, 5, 5, 0), 99, Align::Skip);
        let inside = Halt::EndInsideBatch { base: at(10), next: at(15), end: at(11) };
        check(batch(10, 5, 5, 0), 11, Align::Halt(inside));
        check(batch(10, 5, 5, 0), 9, Align::Halt(Halt::Hole { at: at(9), next: at(10) }));
        // a control batch that the destination already has filled is no reason to stop
        check(batch(10, 1, 1, Attributes::CONTROL), 11, Align::Skip);
    }

    #[test]
    fn what_is_not_dense_plain_and_create_time_halts() {
        let base = at(10);
        let halts = |batch: BatchView, halt: Halt| check(batch, 10, Align::Halt(halt));
        halts(batch(10, 1, 1, Attributes::CONTROL), Halt::Control { base });
        halts(batch(10, 1, 0, Attributes::CONTROL), Halt::Control { base });
        let producer = ProducerId(-1);
        let txn = Attributes::TRANSACTIONAL;
        halts(batch(10, 5, 5, txn), Halt::Transactional { base, producer });
        halts(batch(10, 5, 5, Attributes::LOG_APPEND_TIME), Halt::LogAppendTime { base });
        halts(batch(10, 5, 4, 0), Halt::Thinned { base, span: 5, count: 4 });
        halts(batch(10, 5, 0, 0), Halt::Thinned { base, span: 5, count: 0 });
        halts(batch(10, 5, 6, 0), Halt::Thinned { base, span: 5, count: 6 });
    }

    #[test]
    fn a_batch_that_the_destination_does_not_take_halts_with_both_numbers() {
        let small = align(&batch(10, 5, 5, 0), at(10), Some(60));
        let want = Halt::TooLarge { base: at(10), bytes: 62, bytes_max: Some(60) };
        assert_eq!(small, Align::Halt(want));
        assert_eq!(align(&batch(10, 5, 5, 0), at(10), None), Align::Append);
    }

    #[test]
    fn codec_and_delete_horizon_bits_do_not_matter() {
        for bits in [1, 2, 3, 4, Attributes::DELETE_HORIZON] {
            check(batch(10, 5, 5, bits), 10, Align::Append);
        }
    }
}
