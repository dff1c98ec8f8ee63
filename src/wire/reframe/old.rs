//! Message sets of magic 0 and 1 (Kafka before 0.11), plain or packed into one message.
//!
//! It never opens a set within a set: brokers have refused those always.
//!
//! ```text
//!  0        8        12      16    17           18              (magic 1)
//!  | offset | size   | crc   | mag | attributes | timestamp i64 | key | value |
//! ```
//! Lengths of key and value are i32, -1 for null; CRC-32 from the magic to the end
//! (`org.apache.kafka.common.record.LegacyRecord`, `AbstractLegacyRecordBatch`).

use bytes::Bytes;

use crate::ids::Offset;
use crate::wire::codec;
use crate::wire::codec::Codec;
use crate::wire::error::WireError;
use crate::wire::record::NewRecord;
use crate::wire::reframe::Bounds;
use crate::wire::reframe::ReframeError;
use crate::wire::reframe::unpack::Entry;

/// Bit 3 of the attributes: the broker's clock gave the timestamp (KIP-32).
const LOG_APPEND_TIME: u8 = 0x08;
const CODEC_MASK: u8 = 0x07;
/// What a reader gets where the format has no timestamp (`RecordBatch.NO_TIMESTAMP`).
const NO_TIMESTAMP_MS: i64 = -1;

type Result<T> = std::result::Result<T, ReframeError>;

/// How to read the messages of one set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldSet {
    magic: u8,
    /// What is added to an inner offset: 0 where it stands for itself.
    base: i64,
    /// The last offset of the set.
    last: Offset,
    /// The time of every message, where the broker's clock gave it to the set.
    append_time_ms: Option<i64>,
}

impl OldSet {
    /// The offset behind the last.
    pub fn next_offset(&self) -> Offset {
        self.last.plus(1).expect("checked by unpack")
    }

    /// Takes the next message off `left`.
    pub(super) fn entry<'a>(&self, left: &mut &'a [u8]) -> Result<Entry<'a>> {
        let message = take_message(left)?;
        if message.magic != self.magic {
            return Err(bad("inner magic", i64::from(message.magic)));
        }
        if message.attributes & CODEC_MASK != 0 {
            return Err(bad("codec of an inner message", i64::from(message.attributes)));
        }
        let own = message.offset.checked_add(self.base).and_then(Offset::new);
        let own = own.filter(|own| *own <= self.last);
        let offset = Some(own.ok_or(bad("inner offset", message.offset))?);
        let timestamp_ms = self.append_time_ms.unwrap_or(message.timestamp_ms);
        let (key, value) = (message.key, message.value);
        Ok(Entry { offset, record: NewRecord { timestamp_ms, key, value, headers: Vec::new() } })
    }
}

/// The whole message `bytes`, checked and unpacked: how to read it, and the messages themselves.
pub(super) fn unpack(bytes: &Bytes, bounds: &Bounds) -> Result<(OldSet, Codec, Bytes)> {
    let mut left = &bytes[..];
    let outer = take_message(&mut left)?;
    if !left.is_empty() {
        return Err(WireError::Trailing { what: "a message", bytes: left.len() }.into());
    }
    let last = Offset::new(outer.offset).filter(|last| last.plus(1).is_some());
    let last = last.ok_or(bad("message offset", outer.offset))?;
    let mut set = OldSet { magic: outer.magic, base: 0, last, append_time_ms: None };
    let codec = match outer.attributes & CODEC_MASK {
        0 => return Ok((set, Codec::None, bytes.clone())),
        1 => Codec::Gzip,
        2 => Codec::Snappy,
        3 => Codec::Lz4,
        other => return Err(bad("codec of an old message", i64::from(other))),
    };
    let packed = outer.value.ok_or(bad("value length of a packed set", -1))?;
    let bytes_max = bounds.unpacked_bytes_max.min(bounds.held_bytes_max);
    let plain = codec::decompress(codec, packed, bytes_max)?;
    let last_inner = last_offset(&plain)?;
    if outer.magic == 1 {
        set.base = base(outer.offset, last_inner)?;
        let by_broker = outer.attributes & LOG_APPEND_TIME != 0;
        set.append_time_ms = by_broker.then_some(outer.timestamp_ms);
    }
    Ok((set, codec, plain.into()))
}

/// Inner offsets of magic 1 count from the set's first one; its last one is the outer's. A set
/// that a broker has not numbered has 0 outside.
fn base(outer: i64, last_inner: i64) -> Result<i64> {
    let base = if outer == 0 { Some(0) } else { outer.checked_sub(last_inner) };
    base.filter(|base| *base >= 0).ok_or(bad("last inner offset", last_inner))
}

/// The offset field of the set's last message.
fn last_offset(mut set: &[u8]) -> Result<i64> {
    let mut last = None;
    while !set.is_empty() {
        let (offset, _) = take_frame(&mut set)?;
        last = Some(offset);
    }
    last.ok_or(bad("messages in a packed set", 0))
}

struct Message<'a> {
    offset: i64,
    magic: u8,
    attributes: u8,
    timestamp_ms: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
}

fn take_message<'a>(left: &mut &'a [u8]) -> Result<Message<'a>> {
    let (offset, mut body) = take_frame(left)?;
    let body = &mut body;
    let header = u32::from_be_bytes(take(body, "message crc")?);
    let mut sum = flate2::Crc::new();
    sum.update(body);
    let computed = sum.sum();
    if computed != header {
        return Err(ReframeError::OldCrc { offset, header, computed });
    }
    let [magic, attributes] = take(body, "message magic")?;
    let timestamp_ms = match magic {
        0 => NO_TIMESTAMP_MS,
        1 => i64::from_be_bytes(take(body, "message timestamp")?),
        other => return Err(bad("message magic", i64::from(other))),
    };
    let key = take_nullable(body, "message key")?;
    let value = take_nullable(body, "message value")?;
    if !body.is_empty() {
        return Err(WireError::Trailing { what: "a message", bytes: body.len() }.into());
    }
    Ok(Message { offset, magic, attributes, timestamp_ms, key, value })
}

/// Offset and size, and as many bytes as that says.
fn take_frame<'a>(left: &mut &'a [u8]) -> Result<(i64, &'a [u8])> {
    let offset = i64::from_be_bytes(take(left, "message offset")?);
    let size = i32::from_be_bytes(take(left, "message size")?);
    let size = usize::try_from(size).map_err(|_| bad("message size", i64::from(size)))?;
    Ok((offset, take_slice(left, "message", size)?))
}

fn take<const N: usize>(left: &mut &[u8], what: &'static str) -> Result<[u8; N]> {
    let slice = take_slice(left, what, N)?;
    Ok(slice.try_into().expect("as many as were asked for"))
}

fn take_slice<'a>(left: &mut &'a [u8], what: &'static str, need: usize) -> Result<&'a [u8]> {
    let have = left.len();
    let short = WireError::Truncated { what, need, have };
    let (taken, rest) = left.split_at_checked(need).ok_or(short)?;
    *left = rest;
    Ok(taken)
}

fn take_nullable<'a>(left: &mut &'a [u8], what: &'static str) -> Result<Option<&'a [u8]>> {
    match i32::from_be_bytes(take(left, what)?) {
        -1 => Ok(None),
        length => {
            let size = usize::try_from(length).map_err(|_| bad(what, i64::from(length)))?;
            take_slice(left, what, size).map(Some)
        }
    }
}

fn bad(what: &'static str, value: i64) -> ReframeError {
    WireError::BadValue { what, value }.into()
}
