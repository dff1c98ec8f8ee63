//! A source batch made ready to be appended: a new 61-byte header before the old record bytes.
//!
//! It never touches, copies or reads a record, and never decides whether a batch may be appended
//! as it is: `mirror::align` has done so (`docs/OFFSETS.md`).

use bytes::Bytes;

use crate::ids::LeaderEpoch;
use crate::ids::ProducerId;
use crate::wire::batch::Attributes;
use crate::wire::batch::BatchView;
use crate::wire::batch::HEADER_BYTES;
use crate::wire::batch::at;
use crate::wire::crc;
use crate::wire::crc::COVERED_BYTES;

/// What the destination must not get to see of the source: its transactions and the horizon after
/// which its cleaner drops tombstones.
const CLEARED: i16 = Attributes::TRANSACTIONAL | Attributes::DELETE_HORIZON;

/// Under whose name a link appends.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// The link's own producer id.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: i16,
}

/// A batch as it is sent: the header is small and is copied, the records are never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sendable {
    /// The 61 bytes in front of the records.
    pub header: [u8; HEADER_BYTES],
    /// The records section, sharing the memory of whatever brought it.
    pub records: Bytes,
}

impl Sendable {
    /// Header and records, in bytes: what a broker compares with max.message.bytes.
    pub fn bytes_count(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }
}

/// The epoch of a link's seal: behind it a broker refuses all that has epoch 0 (broker facts P4).
pub const SEAL_EPOCH: i16 = 1;
/// The lowest id of a writer of isolog's. Brokers count up from 0 in blocks of 1000: they never
/// get here.
pub const WRITER_ID_MIN: i64 = 1 << 62;

/// `batch` under the name of `writer`, with the sequence that its offset asks for.
pub fn rewrite(batch: &BatchView, writer: Writer) -> Sendable {
    rewrite_at(batch, writer, batch.base_offset().sequence())
}

/// `batch` as the seal of the writer with that id: a later epoch, which begins at sequence 0.
pub fn seal(batch: &BatchView, id: ProducerId) -> Sendable {
    rewrite_at(batch, Writer { id, epoch: SEAL_EPOCH }, 0)
}

fn rewrite_at(batch: &BatchView, writer: Writer, sequence: i32) -> Sendable {
    let mut header = [0; HEADER_BYTES];
    header.copy_from_slice(batch.header());
    let old = covered(&header);
    let attributes = batch.attributes().0 & !CLEARED;
    put(&mut header, at::BASE_OFFSET, 0i64.to_be_bytes());
    put(&mut header, at::LEADER_EPOCH, LeaderEpoch::NONE.0.to_be_bytes());
    put(&mut header, at::ATTRIBUTES, attributes.to_be_bytes());
    put(&mut header, at::PRODUCER_ID, writer.id.0.to_be_bytes());
    put(&mut header, at::PRODUCER_EPOCH, writer.epoch.to_be_bytes());
    put(&mut header, at::BASE_SEQUENCE, sequence.to_be_bytes());
    let records = batch.records();
    let patched = crc::patch(batch.crc(), &old, &covered(&header), records.len());
    put(&mut header, at::CRC, patched.to_be_bytes());
    Sendable { header, records }
}

fn covered(header: &[u8; HEADER_BYTES]) -> [u8; COVERED_BYTES] {
    header[at::ATTRIBUTES..].try_into().expect("61 less 21 are 40")
}

fn put<const N: usize>(header: &mut [u8; HEADER_BYTES], at: usize, value: [u8; N]) {
    header[at..at + N].copy_from_slice(&value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;

    const WRITER: Writer = Writer { id: ProducerId((1 << 62) + 5), epoch: 3 };

    fn source(base: i64, attributes: i16, records: &[u8]) -> BatchView {
        let mut out = Vec::new();
        out.put_i64(base);
        out.put_i32((HEADER_BYTES - at::LEADER_EPOCH + records.len()) as i32);
        out.put_i32(5);
        out.put_u8(2);
        out.put_u32(0);
        out.put_i16(attributes);
        out.put_i32(9);
        out.put_i64(1000);
        out.put_i64(2000);
        out.put_i64(77);
        out.put_i16(8);
        out.put_i32(12);
        out.put_i32(10);
        out.put_slice(records);
        let crc = crc32c::crc32c(&out[at::ATTRIBUTES..]);
        out[at::CRC..at::ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
        BatchView::new(out.into()).unwrap()
    }

    fn sent(batch: &BatchView) -> BatchView {
        let sendable = rewrite(batch, WRITER);
        assert_eq!(sendable.records.as_ptr(), batch.records().as_ptr(), "records are shared");
        assert_eq!(sendable.bytes_count(), batch.len());
        BatchView::new([&sendable.header[..], &sendable.records].concat().into()).unwrap()
    }

    #[test]
    fn what_is_ours_changes_and_nothing_else() {
        let batch = source((5 << 31) + 40, 4, b"some records");
        let sent = sent(&batch);
        assert_eq!((sent.base_offset().get(), sent.leader_epoch()), (0, LeaderEpoch::NONE));
        assert_eq!((sent.producer_id(), sent.producer_epoch()), (WRITER.id, WRITER.epoch));
        assert_eq!(sent.base_sequence(), 40);
        assert_eq!(sent.attributes(), batch.attributes());
        for (from, to) in [
            (at::LENGTH, at::LEADER_EPOCH),
            (at::MAGIC, at::CRC),
            (at::LAST_OFFSET_DELTA, at::PRODUCER_ID),
            (at::COUNT, batch.len()),
        ] {
            assert_eq!(sent.to_bytes()[from..to], batch.to_bytes()[from..to]);
        }
        assert_eq!(crc::check(&sent), Ok(()));
    }

    #[test]
    fn a_seal_begins_a_later_epoch() {
        let batch = source((5 << 31) + 40, 0, b"some records");
        let sendable = seal(&batch, WRITER.id);
        let sent = [&sendable.header[..], &sendable.records].concat();
        let sent = BatchView::new(sent.into()).unwrap();
        assert_eq!((sent.producer_id(), sent.producer_epoch()), (WRITER.id, SEAL_EPOCH));
        assert_eq!((sent.base_sequence(), sent.base_offset().get()), (0, 0));
        assert_eq!(crc::check(&sent), Ok(()));
    }

    #[test]
    fn transaction_and_horizon_bits_go_the_rest_stays() {
        for attributes in 0..0x80 {
            let sent = sent(&source(1, attributes, b"r"));
            assert_eq!(sent.attributes().0, attributes & 0x2f, "{attributes:#x}");
            assert_eq!(crc::check(&sent), Ok(()), "{attributes:#x}");
        }
    }

    #[test]
    fn a_corrupt_batch_stays_corrupt() {
        let mut bytes = source(7, 0, b"records").to_bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 4;
        assert!(crc::check(&sent(&BatchView::new(bytes.into()).unwrap())).is_err());
    }
}
