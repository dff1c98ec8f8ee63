//! Record batches by our own hand: the 61-byte header, the records, builders for tests.
//!
//! It never uses `isolog::wire` nor kafka-protocol's record codec.

use bytes::Buf;
use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;

use crate::broker::codec;
use crate::broker::codec::Codec;

/// Bytes of a v2 header, with base offset and length.
pub const HEADER_BYTES: usize = 61;
/// Bytes before the length counts: base offset and length itself.
pub const PREFIX_BYTES: usize = 12;
/// Attribute bit: timestamps are the broker's append time.
pub const LOG_APPEND_TIME: i16 = 1 << 3;
/// Attribute bit: part of a transaction.
pub const TRANSACTIONAL: i16 = 1 << 4;
/// Attribute bit: holds a marker.
pub const CONTROL: i16 = 1 << 5;
/// Attribute bit: the base timestamp is the delete horizon.
pub const DELETE_HORIZON: i16 = 1 << 6;

/// The fields of a v2 batch header.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// First offset.
    pub base_offset: i64,
    /// Bytes behind the length field.
    pub length: i32,
    /// Leader epoch, stamped by the broker.
    pub leader_epoch: i32,
    /// Format, 2.
    pub magic: i8,
    /// CRC-32C over everything from the attributes on.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: i16,
    /// Offsets the batch spans, less one.
    pub last_offset_delta: i32,
    /// Time of the first record, in ms.
    pub base_timestamp: i64,
    /// Greatest time, in ms.
    pub max_timestamp: i64,
    /// Producer id or -1.
    pub producer_id: i64,
    /// Producer epoch or -1.
    pub producer_epoch: i16,
    /// Sequence of the first record or -1.
    pub base_sequence: i32,
    /// Records.
    pub count: i32,
}

impl Header {
    /// Reads a v2 header; `None` when there are fewer than 61 bytes.
    pub fn read(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() < HEADER_BYTES {
            return None;
        }
        Some(Self {
            base_offset: bytes.get_i64(),
            length: bytes.get_i32(),
            leader_epoch: bytes.get_i32(),
            magic: bytes.get_i8(),
            crc: bytes.get_u32(),
            attributes: bytes.get_i16(),
            last_offset_delta: bytes.get_i32(),
            base_timestamp: bytes.get_i64(),
            max_timestamp: bytes.get_i64(),
            producer_id: bytes.get_i64(),
            producer_epoch: bytes.get_i16(),
            base_sequence: bytes.get_i32(),
            count: bytes.get_i32(),
        })
    }

    /// The whole batch, with length and CRC made right.
    pub fn write(&self, records: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER_BYTES + records.len());
        out.put_i64(self.base_offset);
        out.put_i32((HEADER_BYTES - PREFIX_BYTES + records.len()) as i32);
        out.put_i32(self.leader_epoch);
        out.put_i8(self.magic);
        out.put_u32(0);
        out.put_i16(self.attributes);
        out.put_i32(self.last_offset_delta);
        out.put_i64(self.base_timestamp);
        out.put_i64(self.max_timestamp);
        out.put_i64(self.producer_id);
        out.put_i16(self.producer_epoch);
        out.put_i32(self.base_sequence);
        out.put_i32(self.count);
        out.put_slice(records);
        fix_crc(&mut out);
        out.freeze()
    }

    /// The offset after the last one.
    pub fn next(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta) + 1
    }

    /// The compression codec.
    pub fn codec(&self) -> Option<Codec> {
        Codec::of(self.attributes)
    }

    /// Whether an attribute bit is set.
    pub fn has(&self, bit: i16) -> bool {
        self.attributes & bit != 0
    }
}

/// Computes the CRC of a whole batch and writes it into its header.
pub fn fix_crc(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// One record of a v2 batch.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Record {
    /// Attributes, 0.
    pub attributes: i8,
    /// Offset, relative to the batch's base.
    pub offset_delta: i32,
    /// Time, relative to the batch's base timestamp.
    pub timestamp_delta: i64,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers, in order.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

impl Record {
    /// A record with key and value.
    pub fn new(key: &str, value: &str) -> Self {
        let key = (!key.is_empty()).then(|| Bytes::copy_from_slice(key.as_bytes()));
        let value = Some(Bytes::copy_from_slice(value.as_bytes()));
        Self { key, value, ..Self::default() }
    }
}

/// What a test wants in a batch. Offsets and time deltas of the records are kept as they are.
#[derive(Clone, Debug)]
pub struct Build {
    /// Codec of the records.
    pub codec: Codec,
    /// Flags beside the codec.
    pub flags: i16,
    /// Time of the first record, in ms.
    pub base_timestamp: i64,
    /// Producer id, epoch and first sequence; -1 for none.
    pub producer: (i64, i16, i32),
    /// Offsets the batch spans, less one; `None` for as many as records.
    pub last_offset_delta: Option<i32>,
    /// Base offset, 0 for a produce.
    pub base_offset: i64,
    /// The records.
    pub records: Vec<Record>,
}

impl Build {
    /// Records `0..n` in order, at `base_timestamp`, one millisecond apart.
    pub fn new(base_timestamp: i64, mut records: Vec<Record>) -> Self {
        for (n, record) in records.iter_mut().enumerate() {
            record.offset_delta = n as i32;
            record.timestamp_delta = n as i64;
        }
        Self {
            codec: Codec::None,
            flags: 0,
            base_timestamp,
            producer: (-1, -1, -1),
            last_offset_delta: None,
            base_offset: 0,
            records,
        }
    }

    /// `count` plain records whose values tell `tag` and their number.
    pub fn plain(base_timestamp: i64, tag: &str, count: usize) -> Self {
        let records = (0..count).map(|n| Record::new(&format!("k{n}"), &format!("{tag}-{n}")));
        Self::new(base_timestamp, records.collect())
    }

    /// Hidden fillers as in broker-facts A10: every offset delta is -2^31.
    pub fn fillers(timestamp: i64, count: usize, key: Option<Bytes>) -> Self {
        let value = key.as_ref().map(|_| Bytes::new());
        let record = Record { key, value, ..Record::default() };
        let mut build = Self::new(timestamp, vec![record; count]);
        for record in &mut build.records {
            record.offset_delta = i32::MIN;
            record.timestamp_delta = 0;
        }
        build
    }

    /// With another codec.
    pub fn codec(self, codec: Codec) -> Self {
        Self { codec, ..self }
    }

    /// With a producer id, epoch and first sequence.
    pub fn producer(self, id: i64, epoch: i16, sequence: i32) -> Self {
        Self { producer: (id, epoch, sequence), ..self }
    }

    /// With more flags.
    pub fn flags(self, flags: i16) -> Self {
        Self { flags, ..self }
    }

    /// The batch.
    pub fn bytes(&self) -> Bytes {
        let mut plain = BytesMut::new();
        for record in &self.records {
            put_record(&mut plain, record);
        }
        self.header().write(&codec::store(self.codec, &plain))
    }

    fn header(&self) -> Header {
        let times = self.records.iter().map(|r| self.base_timestamp + r.timestamp_delta);
        let count = self.records.len() as i32;
        Header {
            base_offset: self.base_offset,
            length: 0,
            leader_epoch: -1,
            magic: 2,
            crc: 0,
            attributes: self.flags | self.codec as i16,
            last_offset_delta: self.last_offset_delta.unwrap_or(count - 1),
            base_timestamp: self.base_timestamp,
            max_timestamp: times.max().unwrap_or(-1),
            producer_id: self.producer.0,
            producer_epoch: self.producer.1,
            base_sequence: self.producer.2,
            count,
        }
    }
}

fn put_varint(out: &mut BytesMut, value: i64) {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    while left >= 0x80 {
        out.put_u8(left as u8 | 0x80);
        left >>= 7;
    }
    out.put_u8(left as u8);
}

fn put_bytes(out: &mut BytesMut, bytes: Option<&Bytes>) {
    put_varint(out, bytes.map_or(-1, |bytes| bytes.len() as i64));
    out.put_slice(bytes.map_or(&[], |bytes| bytes));
}

/// Appends one record, with its length.
pub fn put_record(out: &mut BytesMut, record: &Record) {
    let mut body = BytesMut::new();
    body.put_i8(record.attributes);
    put_varint(&mut body, record.timestamp_delta);
    put_varint(&mut body, i64::from(record.offset_delta));
    put_bytes(&mut body, record.key.as_ref());
    put_bytes(&mut body, record.value.as_ref());
    put_varint(&mut body, record.headers.len() as i64);
    for (key, value) in &record.headers {
        put_bytes(&mut body, Some(key));
        put_bytes(&mut body, value.as_ref());
    }
    put_varint(out, body.len() as i64);
    out.put_slice(&body);
}

fn get_varint(bytes: &mut Bytes) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let byte = bytes.try_get_u8().ok()?;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

fn get_bytes(bytes: &mut Bytes) -> Option<Option<Bytes>> {
    let len = get_varint(bytes)?;
    if len < 0 {
        return Some(None);
    }
    let len = usize::try_from(len).ok().filter(|len| *len <= bytes.len())?;
    Some(Some(bytes.split_to(len)))
}

fn get_record(bytes: &mut Bytes) -> Option<Record> {
    let mut body = get_bytes(bytes)??;
    let attributes = body.try_get_i8().ok()?;
    let timestamp_delta = get_varint(&mut body)?;
    let offset_delta = i32::try_from(get_varint(&mut body)?).ok()?;
    let (key, value) = (get_bytes(&mut body)?, get_bytes(&mut body)?);
    let headers = (0..get_varint(&mut body)?)
        .map(|_| Some((get_bytes(&mut body)??, get_bytes(&mut body)?)))
        .collect::<Option<Vec<_>>>()?;
    body.is_empty().then_some(Record {
        attributes,
        offset_delta,
        timestamp_delta,
        key,
        value,
        headers,
    })
}

/// Reads exactly `count` records that fill `plain`; `None` when they do not.
pub fn read_records(mut plain: Bytes, count: i32) -> Option<Vec<Record>> {
    let records = (0..count).map(|_| get_record(&mut plain)).collect::<Option<Vec<_>>>()?;
    plain.is_empty().then_some(records)
}

/// What can be known of the records section of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// Read.
    Read(Vec<Record>),
    /// Begins as its codec must, and no decoder reads it.
    Opaque,
    /// Not what the header says.
    Garbage,
    /// Not even a number where the size of a record should be: brokers fail in another way (P14).
    Chaos,
}

/// Looks into a whole batch.
pub fn look(header: &Header, batch: &Bytes) -> Records {
    let Some(codec) = header.codec() else { return Records::Garbage };
    let section = batch.slice(HEADER_BYTES..);
    if !codec::begins(codec, &section) {
        return Records::Garbage;
    }
    let plain = match codec {
        Codec::None => Some(section),
        _ => codec::load(codec, &section),
    };
    let Some(plain) = plain else { return Records::Opaque };
    match read_records(plain.clone(), header.count) {
        Some(records) => Records::Read(records),
        None if begins_with_no_size(&plain) => Records::Chaos,
        None => Records::Garbage,
    }
}

/// A record's size takes at most five bytes; the sixth in a row is no number.
fn begins_with_no_size(plain: &[u8]) -> bool {
    plain.len() > 5 && plain[..5].iter().all(|byte| byte & 0x80 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_read() {
        for codec in Codec::ALL {
            let mut build = Build::plain(1000, "x", 3).codec(codec).producer(7, 0, 40);
            build.records[1].headers = vec![(Bytes::from_static(b"h"), None)];
            build.records[2].value = None;
            let bytes = build.bytes();
            let header = Header::read(&bytes).unwrap();
            assert_eq!((header.count, header.last_offset_delta), (3, 2), "{codec:?}");
            assert_eq!((header.base_timestamp, header.max_timestamp), (1000, 1002));
            assert_eq!(header.length as usize + PREFIX_BYTES, bytes.len());
            assert_eq!(header.crc, crc32c::crc32c(&bytes[21..]));
            assert_eq!(look(&header, &bytes), Records::Read(build.records), "{codec:?}");
        }
    }

    #[test]
    fn fillers_are_eleven_bytes_each() {
        let batch = Build::fillers(5, 1000, None).bytes();
        assert_eq!(batch.len(), HEADER_BYTES + 11 * 1000);
    }

    #[test]
    fn a_wrong_count_is_garbage() {
        let bytes = Build::plain(1000, "x", 3).bytes();
        let header = Header { count: 2, ..Header::read(&bytes).unwrap() };
        assert_eq!(look(&header, &bytes), Records::Garbage);
    }
}
