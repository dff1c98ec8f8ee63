//! One record batch of magic 2, its 61-byte header read in place.
//!
//! It never reads a record and never copies a byte.
//!
//! ```text
//!  0           8        12        16    17      21      23          27         35        43
//!  | baseOffset | length | leader  | mag | crc   | attri | lastOff   | base     | max     |
//!  |            |        | epoch   | ic  |       | butes | setDelta  | timestamp| timest. |
//!  43          51       53        57      61
//!  | producerId | pEpoch | baseSeq | count | records …        crc covers 21 to the end
//! ```

use bytes::Buf;
use bytes::Bytes;

use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::ProducerId;
use crate::ids::TimestampMs;
use crate::wire::error::WireError;

/// Where each header field begins (`org.apache.kafka.common.record.DefaultRecordBatch`).
pub mod at {
    /// i64
    pub const BASE_OFFSET: usize = 0;
    /// i32, counts what follows it
    pub const LENGTH: usize = 8;
    /// i32
    pub const LEADER_EPOCH: usize = 12;
    /// i8
    pub const MAGIC: usize = 16;
    /// u32, CRC-32C from `ATTRIBUTES` to the end
    pub const CRC: usize = 17;
    /// i16
    pub const ATTRIBUTES: usize = 21;
    /// i32
    pub const LAST_OFFSET_DELTA: usize = 23;
    /// i64
    pub const BASE_TIMESTAMP: usize = 27;
    /// i64
    pub const MAX_TIMESTAMP: usize = 35;
    /// i64
    pub const PRODUCER_ID: usize = 43;
    /// i16
    pub const PRODUCER_EPOCH: usize = 51;
    /// i32
    pub const BASE_SEQUENCE: usize = 53;
    /// i32
    pub const COUNT: usize = 57;
    /// the first record
    pub const RECORDS: usize = 61;
}

/// The bytes in front of the records.
pub const HEADER_BYTES: usize = at::RECORDS;
/// baseOffset and length: what `length` does not count.
pub const PREFIX_BYTES: usize = at::LEADER_EPOCH;

/// The attribute bits of a batch.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    /// Bits 0 to 2: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub const CODEC_MASK: i16 = 0x07;
    /// Bit 3: the broker's clock gave the timestamps.
    pub const LOG_APPEND_TIME: i16 = 0x08;
    /// Bit 4: part of a transaction.
    pub const TRANSACTIONAL: i16 = 0x10;
    /// Bit 5: a marker, not records.
    pub const CONTROL: i16 = 0x20;
    /// Bit 6: the base timestamp is a delete horizon (KIP-534).
    pub const DELETE_HORIZON: i16 = 0x40;

    /// The codec's number.
    pub fn codec(self) -> u8 {
        (self.0 & Self::CODEC_MASK) as u8
    }

    /// Whether any of `bits` is set.
    pub fn has(self, bits: i16) -> bool {
        self.0 & bits != 0
    }
}

/// A whole batch of magic 2, as two slices of the response that carried it. Fillers share one
/// records section behind headers of their own, so the two need not be neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchView {
    /// Exactly `HEADER_BYTES`.
    header: Bytes,
    records: Bytes,
}

impl BatchView {
    /// Takes `bytes` as one batch; they must be one, whole: length, magic and counts are checked,
    /// the records and the CRC are not.
    pub fn new(mut bytes: Bytes) -> Result<BatchView, WireError> {
        let have = bytes.len();
        if have < HEADER_BYTES {
            return Err(WireError::Truncated { what: "batch header", need: HEADER_BYTES, have });
        }
        let header = bytes.split_to(HEADER_BYTES);
        BatchView::from_parts(header, bytes)
    }

    /// The batch of a `header` and the `records` behind it, checked as `new` does.
    pub fn from_parts(header: Bytes, records: Bytes) -> Result<BatchView, WireError> {
        if header.len() != HEADER_BYTES {
            let have = header.len();
            return Err(WireError::Truncated { what: "batch header", need: HEADER_BYTES, have });
        }
        let have = HEADER_BYTES + records.len();
        let view = BatchView { header, records };
        let length = view.i32(at::LENGTH);
        if usize::try_from(length).ok() != Some(have - PREFIX_BYTES) {
            return Err(WireError::BadValue { what: "batch length", value: i64::from(length) });
        }
        let magic = view.header[at::MAGIC];
        if magic != 2 {
            return Err(WireError::BadValue { what: "batch magic", value: i64::from(magic) });
        }
        let base = view.i64(at::BASE_OFFSET);
        let delta = view.last_offset_delta();
        if base < 0 {
            return Err(WireError::BadValue { what: "base offset", value: base });
        }
        if delta < 0 || base.checked_add(i64::from(delta) + 1).is_none() {
            return Err(WireError::BadValue { what: "last offset delta", value: i64::from(delta) });
        }
        if view.count() < 0 {
            let value = i64::from(view.count());
            return Err(WireError::BadValue { what: "record count", value });
        }
        Ok(view)
    }

    /// The offset of the first record that the batch ever had.
    pub fn base_offset(&self) -> Offset {
        Offset::new(self.i64(at::BASE_OFFSET)).expect("checked by new")
    }

    /// The offset behind the last record that the batch ever had.
    pub fn next_offset(&self) -> Offset {
        self.base_offset().plus(self.span()).expect("checked by new")
    }

    /// How many offsets the batch occupies.
    pub fn span(&self) -> u64 {
        self.last_offset_delta() as u64 + 1
    }

    /// The last record's offset less the base offset.
    pub fn last_offset_delta(&self) -> i32 {
        self.i32(at::LAST_OFFSET_DELTA)
    }

    /// How many records the batch holds now; compaction makes it less than `span`.
    pub fn count(&self) -> i32 {
        self.i32(at::COUNT)
    }

    /// The leader epoch that appended the batch.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.i32(at::LEADER_EPOCH))
    }

    /// The CRC-32C that the header carries.
    pub fn crc(&self) -> u32 {
        self.i32(at::CRC) as u32
    }

    /// The attribute bits.
    pub fn attributes(&self) -> Attributes {
        Attributes((&self.header[at::ATTRIBUTES..]).get_i16())
    }

    /// What record timestamps are relative to.
    pub fn base_timestamp(&self) -> TimestampMs {
        TimestampMs(self.i64(at::BASE_TIMESTAMP))
    }

    /// The greatest record timestamp.
    pub fn max_timestamp(&self) -> TimestampMs {
        TimestampMs(self.i64(at::MAX_TIMESTAMP))
    }

    /// Who produced the batch; negative for nobody in particular.
    pub fn producer_id(&self) -> ProducerId {
        ProducerId(self.i64(at::PRODUCER_ID))
    }

    /// The epoch of that producer.
    pub fn producer_epoch(&self) -> i16 {
        (&self.header[at::PRODUCER_EPOCH..]).get_i16()
    }

    /// The sequence number of the first record.
    pub fn base_sequence(&self) -> i32 {
        self.i32(at::BASE_SEQUENCE)
    }

    /// The header.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// The records section, compressed or not, sharing memory.
    pub fn records(&self) -> Bytes {
        self.records.clone()
    }

    /// The same, borrowed.
    pub fn section(&self) -> &[u8] {
        &self.records
    }

    /// The whole batch in one piece, copied.
    pub fn to_bytes(&self) -> Bytes {
        [&self.header[..], &self.records].concat().into()
    }

    /// Header and records, in bytes.
    pub fn len(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// Never: a batch has a header.
    pub fn is_empty(&self) -> bool {
        false
    }

    fn i32(&self, at: usize) -> i32 {
        (&self.header[at..]).get_i32()
    }

    fn i64(&self, at: usize) -> i64 {
        (&self.header[at..]).get_i64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;

    fn header(base: i64, delta: i32, count: i32) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_i64(base);
        out.put_i32((HEADER_BYTES - PREFIX_BYTES) as i32);
        out.put_i32(5);
        out.put_u8(2);
        out.put_u32(0xdead_beef);
        out.put_i16(Attributes::CONTROL | 4);
        out.put_i32(delta);
        out.put_i64(1000);
        out.put_i64(2000);
        out.put_i64(77);
        out.put_i16(3);
        out.put_i32(9);
        out.put_i32(count);
        out
    }

    #[test]
    fn every_field_is_read_where_it_stands() {
        let view = BatchView::new(header(40, 9, 10).into()).unwrap();
        assert_eq!((view.base_offset().get(), view.next_offset().get()), (40, 50));
        assert_eq!((view.span(), view.count()), (10, 10));
        assert_eq!(view.leader_epoch(), LeaderEpoch(5));
        assert_eq!(view.crc(), 0xdead_beef);
        assert_eq!(view.attributes().codec(), 4);
        assert!(view.attributes().has(Attributes::CONTROL));
        assert!(!view.attributes().has(Attributes::TRANSACTIONAL));
        assert_eq!((view.base_timestamp().0, view.max_timestamp().0), (1000, 2000));
        assert_eq!((view.producer_id().0, view.producer_epoch()), (77, 3));
        assert_eq!(view.base_sequence(), 9);
        assert_eq!((view.len(), view.records().len()), (HEADER_BYTES, 0));
    }

    #[test]
    fn what_is_not_one_whole_batch_is_refused() {
        assert!(BatchView::new(header(-1, 0, 1).into()).is_err());
        assert!(BatchView::new(header(0, -1, 1).into()).is_err());
        assert!(BatchView::new(header(i64::MAX, 0, 1).into()).is_err());
        assert!(BatchView::new(header(0, 0, -1).into()).is_err());
        let mut long = header(0, 0, 1);
        long.push(0);
        assert!(BatchView::new(long.into()).is_err());
        let mut old = header(0, 0, 1);
        old[at::MAGIC] = 1;
        assert!(BatchView::new(old.into()).is_err());
        assert!(BatchView::new(Bytes::from_static(&[0; 60])).is_err());
    }
}
