//! The one decision of the house: what to do with the source's next batch at the destination's end.
//!
//! It never looks at anything but the batch's header, its fate and the end, and never repairs.
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
    /// The source has nothing that readers may see from the end up to this offset. Where the batch
    /// itself begins there, it is asked about again.
    Fill(Offset),
    /// The records from the end on are encoded anew, in dense runs, with fillers between them.
    Reencode,
    /// The destination holds all of the batch's offsets.
    Skip,
    /// The batch cannot be copied.
    Halt(Halt),
}

/// What became of a batch at the source.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Readers see it: it is in no transaction, or in one that was committed, or the link reads
    /// uncommitted records.
    Visible,
    /// Its transaction was aborted: read_committed readers never see it.
    Aborted,
}

/// What to do with `batch`, the source's next one, when the destination ends (or will end, once
/// everything before the batch has landed) at `end`, and takes batches of `bytes_max`.
pub fn align(batch: &BatchView, fate: Fate, end: Offset, bytes_max: Option<usize>) -> Align {
    let (base, next) = (batch.base_offset(), batch.next_offset());
    if next <= end {
        return Align::Skip;
    }
    if base > end {
        return Align::Fill(base);
    }
    let attributes = batch.attributes();
    let is_hidden = attributes.has(Attributes::CONTROL) || fate == Fate::Aborted;
    if is_hidden || batch.count() == 0 {
        return Align::Fill(next);
    }
    let dense = u64::try_from(batch.count()) == Ok(batch.span());
    let too_many = u64::try_from(batch.count()).is_ok_and(|count| count > batch.span());
    if batch.records().is_empty() || too_many {
        return Align::Halt(Halt::Corrupt { base });
    }
    if base < end || !dense || attributes.has(Attributes::LOG_APPEND_TIME) {
        return Align::Reencode;
    }
    let too_large = bytes_max.is_some_and(|max| batch.len() > max);
    if too_large {
        return Align::Halt(Halt::TooLarge { base, bytes: batch.len(), bytes_max });
    }
    Align::Append
}

/// The same for a message of magic 0 or 1, or a compressed set of them, whose last offset is
/// `last`: it is always converted, for the destination stores format 2 only.
pub fn align_old(last: Offset, end: Offset) -> Align {
    if last < end { Align::Skip } else { Align::Reencode }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
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
        let got = align(&batch, Fate::Visible, at(end), Some(1_000));
        assert_eq!(got, want, "{batch:?} at {end}");
    }

    #[test]
    fn where_the_batch_stands_decides_first() {
        check(batch(10, 5, 5, 0), 10, Align::Append);
        check(batch(10, 5, 5, 0), 15, Align::Skip);
        check(batch(10, 5, 5, 0), 99, Align::Skip);
        check(batch(10, 5, 5, 0), 11, Align::Reencode);
        check(batch(10, 5, 5, 0), 9, Align::Fill(at(10)));
        // a control batch that the destination has filled already
        check(batch(10, 1, 1, Attributes::CONTROL), 11, Align::Skip);
    }

    #[test]
    fn what_no_reader_may_see_is_filled_to_its_last_offset() {
        for attributes in [Attributes::CONTROL, Attributes::CONTROL | Attributes::TRANSACTIONAL] {
            check(batch(10, 1, 1, attributes), 10, Align::Fill(at(11)));
            check(batch(10, 3, 0, attributes), 11, Align::Fill(at(13)));
        }
        let aborted = |batch: BatchView, end| align(&batch, Fate::Aborted, at(end), Some(10));
        let txn = Attributes::TRANSACTIONAL;
        assert_eq!(aborted(batch(10, 5, 5, txn), 10), Align::Fill(at(15)));
        assert_eq!(aborted(batch(10, 5, 4, txn), 12), Align::Fill(at(15)));
        assert_eq!(aborted(batch(10, 5, 5, txn), 8), Align::Fill(at(10)));
        assert_eq!(aborted(batch(10, 5, 5, txn), 15), Align::Skip);
    }

    #[test]
    fn what_is_committed_is_appended_whatever_its_other_bits() {
        let txn = Attributes::TRANSACTIONAL;
        for bits in [1, 2, 3, 4, txn, Attributes::DELETE_HORIZON | txn] {
            check(batch(10, 5, 5, bits), 10, Align::Append);
        }
    }

    #[test]
    fn what_is_thinned_or_stamped_by_the_broker_is_encoded_anew() {
        check(batch(10, 5, 5, Attributes::LOG_APPEND_TIME), 10, Align::Reencode);
        check(batch(10, 5, 4, 0), 10, Align::Reencode);
        check(batch(10, 5, 0, 0), 10, Align::Fill(at(15)));
        check(batch(10, 5, 0, 0), 13, Align::Fill(at(15)));
        check(batch(10, 5, 6, 0), 10, Align::Halt(Halt::Corrupt { base: at(10) }));
    }

    #[test]
    fn a_batch_that_the_destination_does_not_take_halts_with_both_numbers() {
        let small = align(&batch(10, 5, 5, 0), Fate::Visible, at(10), Some(60));
        let want = Halt::TooLarge { base: at(10), bytes: 62, bytes_max: Some(60) };
        assert_eq!(small, Align::Halt(want));
        assert_eq!(align(&batch(10, 5, 5, 0), Fate::Visible, at(10), None), Align::Append);
    }

    #[test]
    fn an_old_message_is_converted_or_passed_over() {
        assert_eq!(align_old(at(9), at(10)), Align::Skip);
        assert_eq!(align_old(at(10), at(10)), Align::Reencode);
        assert_eq!(align_old(at(17), at(10)), Align::Reencode);
    }
}
