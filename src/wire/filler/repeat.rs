//! Repeats: the next real record of a compacted topic over and over, where hidden fillers must not
//! be (offsets from 2^31 - 1 on, H4), or where a link asks for visible ones (`gap.fill = record`).
//!
//! It never changes key, value, headers or timestamp: to who reads the topic as a table they are
//! harmless, and the next compaction takes all but the last.

use bytes::Bytes;

use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::TimestampMs;
use crate::wire::batch::Attributes;
use crate::wire::batch::BatchView;
use crate::wire::batch::HEADER_BYTES;
use crate::wire::codec;
use crate::wire::codec::Codec;
use crate::wire::codec::CodecError;
use crate::wire::filler::COUNT_MAX;
use crate::wire::record::BatchHead;
use crate::wire::record::NO_SEQUENCE;
use crate::wire::record::NO_WRITER;
use crate::wire::record::NewRecord;
use crate::wire::record::RecordView;

/// What a batch of repeats may be before it is compressed, in bytes.
pub const UNPACKED_BYTES_MAX: usize = 4 << 20;

/// A dense batch of `record`, again and again, from `base` on: `count` times, or fewer, but at
/// least once, so that it has at most `bytes_max` bytes where one record fits into that. Ask again
/// from its `next_offset` for the rest. Compressed with `codec`, which must not be `Codec::None`
/// if it is to be small.
pub fn repeat(
    record: &NewRecord<'_>,
    base: Offset,
    count: u32,
    codec: Codec,
    bytes_max: usize,
) -> Result<BatchView, CodecError> {
    let one = view(record, COUNT_MAX).encoded_len();
    let room = u32::try_from(UNPACKED_BYTES_MAX / one).unwrap_or(COUNT_MAX);
    let mut count = count.clamp(1, COUNT_MAX).min(room.max(1));
    loop {
        let batch = packed(record, base, count, codec)?;
        if batch.len() <= bytes_max || count == 1 {
            return Ok(batch);
        }
        // at least halved, so a few rounds at most
        let share = u64::from(count) * bytes_max as u64 / batch.len() as u64;
        count = (share as u32).clamp(1, count / 2);
    }
}

fn view<'a>(record: &'a NewRecord<'a>, place: u32) -> RecordView<'a> {
    RecordView {
        offset_delta: place as i32,
        timestamp_delta: 0,
        key: record.key,
        value: record.value,
        headers: record.headers.clone(),
    }
}

fn packed(
    record: &NewRecord<'_>,
    base: Offset,
    count: u32,
    codec: Codec,
) -> Result<BatchView, CodecError> {
    let mut section = Vec::new();
    (0..count).for_each(|place| view(record, place).put(&mut section));
    let records = Bytes::from(codec::compress(codec, section)?);
    let head = BatchHead {
        base_offset: base,
        leader_epoch: LeaderEpoch::NONE,
        attributes: Attributes(i16::from(codec.number())),
        last_offset_delta: count as i32 - 1,
        base_timestamp: TimestampMs(record.timestamp_ms),
        max_timestamp: TimestampMs(record.timestamp_ms),
        writer: NO_WRITER,
        base_sequence: NO_SEQUENCE,
        count: count as i32,
    };
    debug_assert!(records.len() < i32::MAX as usize - HEADER_BYTES);
    let header = Bytes::copy_from_slice(&head.header(&records));
    Ok(BatchView::from_parts(header, records).expect("count, length and magic were just written"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::crc;
    use crate::wire::reframe::Bounds;
    use crate::wire::reframe::unpack::Unpacked;

    fn at(raw: i64) -> Offset {
        Offset::new(raw).unwrap()
    }

    #[test]
    fn a_record_comes_again_and_again_as_it_is() {
        let headers = vec![(&b"h"[..], None), (b"h", Some(&b"x"[..]))];
        let record = NewRecord { timestamp_ms: 77, key: Some(b"k"), value: None, headers };
        for codec in Codec::ALL {
            let batch = repeat(&record, at(1 << 33), 1_000, codec, 1 << 20).unwrap();
            assert_eq!(crc::check(&batch), Ok(()));
            assert_eq!((batch.base_offset(), batch.span()), (at(1 << 33), 1_000));
            assert_eq!((batch.base_timestamp().0, batch.max_timestamp().0), (77, 77));
            let unpacked = Unpacked::of_batch(&batch, &Bounds::default()).unwrap();
            let read: Vec<_> = unpacked.entries().unwrap().map(Result::unwrap).collect();
            assert!(read.iter().all(|entry| entry.record == record));
            let offsets: Vec<i64> = read.iter().map(|entry| entry.offset.unwrap().get()).collect();
            assert_eq!(offsets, (1 << 33..(1 << 33) + 1_000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn as_many_as_fit_and_at_least_one() {
        let noise: Vec<u8> = (0..5_000u32).map(|n| (n.wrapping_mul(n ^ 77) >> 5) as u8).collect();
        let record = NewRecord { key: Some(&noise), ..NewRecord::default() };
        for codec in Codec::ALL {
            for (max, least) in [(10, 1), (20_000, 1), (200_000, 10)] {
                let batch = repeat(&record, at(5), u32::MAX, codec, max).unwrap();
                assert!(batch.len() <= max || batch.count() == 1, "{codec} {max}");
                assert!(batch.count() >= least, "{codec} {max} {}", batch.count());
            }
        }
        let small = NewRecord { key: Some(b"k"), ..NewRecord::default() };
        let many = repeat(&small, at(5), u32::MAX, Codec::Zstd, 1 << 20).unwrap();
        assert_eq!(many.span(), u64::from(COUNT_MAX));
        let large = vec![7; UNPACKED_BYTES_MAX + 1];
        let large = NewRecord { value: Some(&large), ..NewRecord::default() };
        assert_eq!(repeat(&large, at(5), 9, Codec::Lz4, 1 << 20).unwrap().count(), 1);
    }
}
