//! Records: varints, a walk over an uncompressed records section, one record and one batch written.
//!
//! It never stands on the fast path, where no record is read, and never decompresses.

use bytes::BufMut;
use bytes::BytesMut;

use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::TimestampMs;
use crate::wire::batch::Attributes;
use crate::wire::batch::BatchView;
use crate::wire::batch::HEADER_BYTES;
use crate::wire::batch::PREFIX_BYTES;
use crate::wire::batch::at;
use crate::wire::error::WireError;
use crate::wire::rewrite::Writer;

/// The fewest bytes of a record: length, attributes, two deltas, two lengths, header count.
pub const RECORD_BYTES_MIN: usize = 7;
/// The fewest bytes of a record header: two lengths.
const HEADER_BYTES_MIN: usize = 2;

/// Nobody in particular: what a batch without a producer id says.
pub const NO_WRITER: Writer = Writer { id: crate::ids::ProducerId(-1), epoch: -1 };
/// The sequence of a batch without a producer id.
pub const NO_SEQUENCE: i32 = -1;

type Result<T> = std::result::Result<T, WireError>;

/// A record header: its name, and its value, `None` for null.
pub type RecordHeader<'a> = (&'a [u8], Option<&'a [u8]>);

/// One record, borrowed from the section that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// The record's offset less its batch's; negative in a hidden filler.
    pub offset_delta: i32,
    /// The record's timestamp less its batch's.
    pub timestamp_delta: i64,
    /// `None` is null, which is not the same as empty.
    pub key: Option<&'a [u8]>,
    /// `None` is null: a tombstone where there is a key.
    pub value: Option<&'a [u8]>,
    /// In order, repeats allowed.
    pub headers: Vec<RecordHeader<'a>>,
}

/// Walks an uncompressed records section; ends behind `count` records or at the first bad one.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    left: &'a [u8],
    count_left: u32,
}

impl<'a> Records<'a> {
    /// The `count` records that fill `section` to the last byte.
    pub fn new(section: &'a [u8], count: u32) -> Result<Records<'a>> {
        let max = section.len() / RECORD_BYTES_MIN;
        if count as usize > max {
            let value = i64::from(count);
            return Err(WireError::TooLarge { what: "record count", value, max: max as i64 });
        }
        Ok(Records { left: section, count_left: count })
    }

    /// The records of a batch, which must not be compressed.
    pub fn of(batch: &'a BatchView) -> Result<Records<'a>> {
        let codec = batch.attributes().codec();
        if codec != 0 {
            return Err(WireError::BadValue { what: "codec here", value: i64::from(codec) });
        }
        Records::new(batch.section(), batch.count().unsigned_abs())
    }

    fn end(&mut self) -> Option<Result<RecordView<'a>>> {
        let bytes = std::mem::take(&mut self.left).len();
        (bytes > 0).then_some(Err(WireError::Trailing { what: "the records", bytes }))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordView<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.count_left == 0 {
            return self.end();
        }
        self.count_left -= 1;
        let record = take_record(&mut self.left);
        if record.is_err() {
            self.left = &[];
            self.count_left = 0;
        }
        Some(record)
    }
}

fn take_record<'a>(left: &mut &'a [u8]) -> Result<RecordView<'a>> {
    let length = take_varint(left, "record length")?;
    let size = usize::try_from(length)
        .map_err(|_| WireError::BadValue { what: "record length", value: i64::from(length) })?;
    let mut body = take(left, "record", size)?;
    take(&mut body, "record attributes", 1)?;
    let timestamp_delta = take_varlong(&mut body, "timestamp delta")?;
    let offset_delta = take_varint(&mut body, "offset delta")?;
    let (key, value, headers) = take_tail(body)?;
    Ok(RecordView { offset_delta, timestamp_delta, key, value, headers })
}

/// Key, value and headers.
pub type Tail<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, Vec<RecordHeader<'a>>);

/// What stands behind a record's deltas.
pub fn take_tail(mut body: &[u8]) -> Result<Tail<'_>> {
    let key = take_nullable(&mut body, "key")?;
    let value = take_nullable(&mut body, "value")?;
    let headers = take_headers(&mut body)?;
    if !body.is_empty() {
        return Err(WireError::Trailing { what: "a record", bytes: body.len() });
    }
    Ok((key, value, headers))
}

fn take_headers<'a>(body: &mut &'a [u8]) -> Result<Vec<RecordHeader<'a>>> {
    let count = take_varint(body, "header count")?;
    let max = body.len() / HEADER_BYTES_MIN;
    let fits = usize::try_from(count).ok().filter(|count| *count <= max);
    let value = i64::from(count);
    let count = fits.ok_or(WireError::TooLarge { what: "header count", value, max: max as i64 })?;
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let name = take_nullable(body, "header name")?
            .ok_or(WireError::BadValue { what: "header name length", value: -1 })?;
        headers.push((name, take_nullable(body, "header value")?));
    }
    Ok(headers)
}

fn take<'a>(left: &mut &'a [u8], what: &'static str, need: usize) -> Result<&'a [u8]> {
    let have = left.len();
    let (taken, rest) =
        left.split_at_checked(need).ok_or(WireError::Truncated { what, need, have })?;
    *left = rest;
    Ok(taken)
}

fn take_nullable<'a>(left: &mut &'a [u8], what: &'static str) -> Result<Option<&'a [u8]>> {
    match take_varint(left, what)? {
        -1 => Ok(None),
        length => {
            let bad = WireError::BadValue { what, value: i64::from(length) };
            take(left, what, usize::try_from(length).map_err(|_| bad)?).map(Some)
        }
    }
}

/// A zig-zag varint of 32 bits, at most five bytes.
pub fn take_varint(left: &mut &[u8], what: &'static str) -> Result<i32> {
    let raw = take_unsigned(left, what, 32)? as u32;
    Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// A zig-zag varint of 64 bits, at most ten bytes.
pub fn take_varlong(left: &mut &[u8], what: &'static str) -> Result<i64> {
    let raw = take_unsigned(left, what, 64)?;
    Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

/// Seven bits a byte, lowest first; a value of more than `bits` bits is refused.
fn take_unsigned(left: &mut &[u8], what: &'static str, bits: u32) -> Result<u64> {
    let mut value = 0u64;
    let mut shift = 0;
    while shift < bits {
        let byte = take(left, what, 1)?[0];
        let low = u64::from(byte & 0x7f);
        if shift + 7 > bits && low >> (bits - shift) != 0 {
            return Err(WireError::BadValue { what, value: i64::from(byte) });
        }
        value |= low << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
        shift += 7;
    }
    Err(WireError::BadValue { what, value: value as i64 })
}

/// Writes a zig-zag varint of 32 bits.
pub fn put_varint(out: &mut impl BufMut, value: i32) {
    put_varlong(out, i64::from(value));
}

/// Writes a zig-zag varint of 64 bits; a number of 32 bits looks the same in both.
pub fn put_varlong(out: &mut impl BufMut, value: i64) {
    let mut raw = zigzag(value);
    while raw >= 0x80 {
        out.put_u8(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.put_u8(raw as u8);
}

/// How many bytes `put_varint` and `put_varlong` write.
pub fn varlong_len(value: i64) -> usize {
    (64 - (zigzag(value) | 1).leading_zeros() as usize).div_ceil(7)
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn nullable_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varlong_len(bytes.len() as i64) + bytes.len())
}

fn put_nullable(out: &mut impl BufMut, bytes: Option<&[u8]>) {
    put_varlong(out, bytes.map_or(-1, |bytes| bytes.len() as i64));
    out.put_slice(bytes.unwrap_or_default());
}

impl RecordView<'_> {
    /// Writes the record; the caller sees to it that it is below 2 GiB.
    pub fn put(&self, out: &mut impl BufMut) {
        put_varlong(out, self.body_len() as i64);
        out.put_u8(0);
        put_varlong(out, self.timestamp_delta);
        put_varint(out, self.offset_delta);
        self.put_tail(out);
    }

    /// Writes what stands behind the deltas: key, value and headers.
    pub fn put_tail(&self, out: &mut impl BufMut) {
        put_nullable(out, self.key);
        put_nullable(out, self.value);
        put_varlong(out, self.headers.len() as i64);
        for (name, value) in &self.headers {
            put_nullable(out, Some(name));
            put_nullable(out, *value);
        }
    }

    /// How many bytes `put` writes.
    pub fn encoded_len(&self) -> usize {
        let body = self.body_len();
        varlong_len(body as i64) + body
    }

    fn body_len(&self) -> usize {
        let headers = &self.headers;
        let deltas = varlong_len(self.timestamp_delta) + varlong_len(i64::from(self.offset_delta));
        let named =
            |(name, value): &RecordHeader<'_>| nullable_len(Some(name)) + nullable_len(*value);
        1 + deltas
            + nullable_len(self.key)
            + nullable_len(self.value)
            + varlong_len(headers.len() as i64)
            + headers.iter().map(named).sum::<usize>()
    }
}

/// What a batch's header says besides its length, magic and CRC.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct BatchHead {
    /// 0 where a broker is to give the offset.
    pub base_offset: Offset,
    /// -1 where a broker is to fill it in.
    pub leader_epoch: LeaderEpoch,
    /// The codec and the other bits.
    pub attributes: Attributes,
    /// Offsets occupied, less one.
    pub last_offset_delta: i32,
    /// What timestamp deltas are relative to.
    pub base_timestamp: TimestampMs,
    /// The greatest timestamp.
    pub max_timestamp: TimestampMs,
    /// `NO_WRITER` for nobody in particular.
    pub writer: Writer,
    /// `NO_SEQUENCE` without a writer.
    pub base_sequence: i32,
    /// How many records.
    pub count: i32,
}

impl BatchHead {
    /// The 61 bytes in front of `records`, whose CRC is computed here: for batches made here only,
    /// never for one that was fetched (`wire::crc::patch`).
    pub fn header(&self, records: &[u8]) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        let length = i32::try_from(HEADER_BYTES - PREFIX_BYTES + records.len());
        let mut out = &mut header[..];
        out.put_i64(self.base_offset.get());
        out.put_i32(length.expect("batches made here are bounded by max.message.bytes"));
        out.put_i32(self.leader_epoch.0);
        out.put_u8(2);
        out.put_u32(0);
        out.put_i16(self.attributes.0);
        out.put_i32(self.last_offset_delta);
        out.put_i64(self.base_timestamp.0);
        out.put_i64(self.max_timestamp.0);
        out.put_i64(self.writer.id.0);
        out.put_i16(self.writer.epoch);
        out.put_i32(self.base_sequence);
        out.put_i32(self.count);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[at::ATTRIBUTES..]), records);
        header[at::CRC..at::ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
        header
    }
}

/// A record as someone wants it written; its deltas follow from its place in a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord<'a> {
    /// Milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: i64,
    /// `None` is null.
    pub key: Option<&'a [u8]>,
    /// `None` is null.
    pub value: Option<&'a [u8]>,
    /// In order, repeats allowed.
    pub headers: Vec<RecordHeader<'a>>,
}

/// One dense uncompressed batch, header and records; `None` for no records. The caller sees to it
/// that it is below 2 GiB.
pub fn plain_batch(
    writer: Writer,
    base_sequence: i32,
    records: Vec<NewRecord<'_>>,
) -> Option<BatchView> {
    let first = records.first()?.timestamp_ms;
    let newest = records.iter().map(|new| new.timestamp_ms).fold(first, i64::max);
    let count = records.len() as i32;
    let mut section = BytesMut::new();
    for (offset_delta, new) in (0..).zip(records) {
        let NewRecord { timestamp_ms, key, value, headers } = new;
        // a difference that wraps comes back when a reader adds it
        let timestamp_delta = timestamp_ms.wrapping_sub(first);
        RecordView { offset_delta, timestamp_delta, key, value, headers }.put(&mut section);
    }
    let head = BatchHead {
        base_offset: Offset::ZERO,
        leader_epoch: LeaderEpoch::NONE,
        attributes: Attributes(0),
        last_offset_delta: count - 1,
        base_timestamp: TimestampMs(first),
        max_timestamp: TimestampMs(newest),
        writer,
        base_sequence,
        count,
    };
    let whole = [&head.header(&section)[..], &section].concat();
    Some(BatchView::new(whole.into()).expect("count, length and magic were just written"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ProducerId;
    use crate::wire::crc;

    #[test]
    fn varints_come_back_and_their_length_is_known() {
        let edges = [0, 1, -1, 63, 64, -64, -65, 8_191, 8_192, i32::MAX, i32::MIN].map(i64::from);
        for value in edges.into_iter().chain([1 << 40, -(1 << 40), i64::MAX, i64::MIN]) {
            let mut out = Vec::new();
            put_varlong(&mut out, value);
            assert_eq!(out.len(), varlong_len(value), "{value}");
            assert_eq!(take_varlong(&mut &out[..], "v"), Ok(value));
            if let Ok(small) = i32::try_from(value) {
                assert_eq!(take_varint(&mut &out[..], "v"), Ok(small));
            } else {
                assert!(take_varint(&mut &out[..], "v").is_err(), "{value}");
            }
        }
    }

    #[test]
    fn varints_that_do_not_fit_or_do_not_end_are_refused() {
        for bytes in [&[0x80][..], &[], &[0xff; 5], &[0xff, 0xff, 0xff, 0xff, 0x1f]] {
            assert!(take_varint(&mut &bytes[..], "v").is_err(), "{bytes:?}");
        }
        assert!(take_varlong(&mut &[0xff; 10][..], "v").is_err());
        let mut long = [0xff; 10];
        long[9] = 1;
        assert_eq!(take_varlong(&mut &long[..], "v"), Ok(i64::MIN));
        assert_eq!(take_varint(&mut &[0xff, 0xff, 0xff, 0xff, 0x0f][..], "v"), Ok(i32::MIN));
    }

    fn three() -> Vec<NewRecord<'static>> {
        let headers = vec![(&b"h"[..], Some(&b"1"[..])), (b"h", None), (b"", Some(b""))];
        vec![
            NewRecord { timestamp_ms: 1_000, key: Some(b"k"), value: Some(b"v"), headers },
            NewRecord { timestamp_ms: 900, key: None, value: Some(b""), ..Default::default() },
            NewRecord { timestamp_ms: i64::MAX, key: Some(b""), value: None, headers: vec![] },
        ]
    }

    #[test]
    fn a_batch_made_here_reads_back_the_same() {
        let writer = Writer { id: ProducerId(7), epoch: 1 };
        let batch = plain_batch(writer, 40, three()).unwrap();
        assert_eq!(crc::check(&batch), Ok(()));
        assert_eq!((batch.base_sequence(), batch.producer_id()), (40, ProducerId(7)));
        assert_eq!((batch.count(), batch.span()), (3, 3));
        assert_eq!(batch.max_timestamp().0, i64::MAX);
        let read = Records::of(&batch).unwrap().map(|record| {
            let RecordView { offset_delta, timestamp_delta, key, value, headers } = record.unwrap();
            let timestamp_ms = batch.base_timestamp().0.wrapping_add(timestamp_delta);
            (offset_delta, NewRecord { timestamp_ms, key, value, headers })
        });
        assert_eq!(read.collect::<Vec<_>>(), (0..).zip(three()).collect::<Vec<_>>());
        assert_eq!(plain_batch(writer, 0, vec![]), None);
    }

    #[test]
    fn a_record_stands_as_the_protocol_guide_says() {
        let record = RecordView {
            offset_delta: i32::MIN,
            timestamp_delta: -2,
            key: Some(b"k"),
            value: None,
            headers: vec![(b"h", Some(b""))],
        };
        let mut out = Vec::new();
        record.put(&mut out);
        assert_eq!(out, b"\x1c\0\x03\xff\xff\xff\xff\x0f\x02k\x01\x02\x02h\0");
        assert_eq!(out.len(), record.encoded_len());
        assert_eq!(Records::new(&out, 1).unwrap().next(), Some(Ok(record)));
    }

    #[test]
    fn a_section_must_hold_its_records_and_nothing_else() {
        let batch = plain_batch(NO_WRITER, NO_SEQUENCE, three()).unwrap();
        let section = batch.section();
        let errors = |section: &[u8], count| match Records::new(section, count) {
            Err(_) => 1,
            Ok(records) => records.filter(|record| record.is_err()).count(),
        };
        assert_eq!(errors(section, 3), 0);
        assert_eq!(errors(section, 2), 1, "bytes are left");
        assert_eq!(errors(section, 4), 1, "a record is missing");
        assert_eq!(errors(section, u32::MAX), 1);
        for len in 0..section.len() {
            assert_eq!(errors(&section[..len], 3), 1, "cut at {len}");
        }
        let mut compressed = batch.to_bytes().to_vec();
        compressed[at::ATTRIBUTES + 1] = 4;
        assert!(Records::of(&BatchView::new(compressed.into()).unwrap()).is_err());
    }

    #[test]
    fn hostile_lengths_inside_a_record_are_refused() {
        let check = |what: &str, body: &[u8]| {
            let mut out = Vec::new();
            put_varint(&mut out, body.len() as i32);
            out.put_slice(body);
            let read = Records::new(&out, 1).and_then(|mut records| records.next().unwrap());
            assert!(read.is_err(), "{what}");
        };
        check("key length -2", &[0, 0, 0, 3, 1, 0, 0]);
        check("key longer than the record", &[0, 0, 0, 40, 1, 0, 0]);
        check("headers without end", &[0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f]);
        check("negative header count", &[0, 0, 0, 1, 1, 1, 0]);
        check("null header name", &[0, 0, 0, 1, 1, 2, 1, 1]);
        check("bytes behind the headers", &[0, 0, 0, 1, 1, 0, 0]);
    }
}
