//! Messages of formats 0 and 1, plain and in compressed wrappers, as logs of old topics hold them.
//!
//! It never uses `isolog::wire`, and writes no format that a broker of today would write anew.

use bytes::Buf;
use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;

use crate::broker::batch::LOG_APPEND_TIME;
use crate::broker::codec;
use crate::broker::codec::Codec;

/// Offset and size before each message.
const PREFIX_BYTES: usize = 12;

/// One message, as a test wants it and as a reader gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its own offset; a writer counts on from the first one.
    pub offset: i64,
    /// In ms; format 0 has none and gives -1.
    pub time: i64,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Option<Bytes>,
}

impl Message {
    /// A message with key and value; the empty key is none.
    pub fn new(time: i64, key: &str, value: &str) -> Self {
        let key = (!key.is_empty()).then(|| Bytes::copy_from_slice(key.as_bytes()));
        Self { offset: 0, time, key, value: Some(Bytes::copy_from_slice(value.as_bytes())) }
    }
}

/// How a set is written.
#[derive(Copy, Clone, Debug)]
pub struct Format {
    /// 0 or 1.
    pub magic: i8,
    /// `None` gives plain messages, others one wrapper.
    pub codec: Codec,
    /// The broker's time: bit 3, which only format 1 has.
    pub log_append_time: Option<i64>,
}

/// The messages from `base` on: one piece of bytes per stored unit, with its first offset and the
/// offset behind it.
pub fn write(format: Format, base: i64, messages: &[Message]) -> Vec<(i64, i64, Bytes)> {
    let count = messages.len() as i64;
    if format.codec == Codec::None {
        let flags = time_flag(format);
        let one = |(n, message): (i64, &Message)| {
            let time = format.log_append_time.unwrap_or(message.time);
            let offset = base + n;
            (
                offset,
                offset + 1,
                put(format.magic, flags, offset, &Message { time, ..message.clone() }),
            )
        };
        return (0..).zip(messages).map(one).collect();
    }
    let offsets: Vec<i64> = (base..base + count).collect();
    vec![(base, base + count, wrap(format, &offsets, messages))]
}

/// One wrapper around messages at these offsets.
pub fn wrap(format: Format, offsets: &[i64], messages: &[Message]) -> Bytes {
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    let mut plain = BytesMut::new();
    for (offset, message) in offsets.iter().zip(messages) {
        // format 1 counts inside of the wrapper, format 0 has each message's own offset
        let inner = if format.magic == 0 { *offset } else { *offset - first };
        plain.put_slice(&put(format.magic, 0, inner, message));
    }
    let stored = codec::store(format.codec, &plain);
    let broken = format.magic == 0 && format.codec == Codec::Lz4;
    let stored = if broken { codec::break_lz4(&stored) } else { stored };
    let latest = messages.iter().map(|message| message.time).max().unwrap_or(-1);
    let time = format.log_append_time.unwrap_or(latest);
    let outer = Message { offset: last, time, key: None, value: Some(stored) };
    put(format.magic, format.codec as i8 | time_flag(format), last, &outer)
}

fn time_flag(format: Format) -> i8 {
    let set = format.magic == 1 && format.log_append_time.is_some();
    if set { LOG_APPEND_TIME as i8 } else { 0 }
}

fn put(magic: i8, attributes: i8, offset: i64, message: &Message) -> Bytes {
    let mut body = BytesMut::new();
    body.put_i8(magic);
    body.put_i8(attributes);
    if magic == 1 {
        body.put_i64(message.time);
    }
    put_bytes(&mut body, message.key.as_ref());
    put_bytes(&mut body, message.value.as_ref());
    let mut out = BytesMut::with_capacity(PREFIX_BYTES + 4 + body.len());
    out.put_i64(offset);
    out.put_i32(body.len() as i32 + 4);
    out.put_u32(codec::crc32(&body));
    out.put_slice(&body);
    out.freeze()
}

fn put_bytes(out: &mut BytesMut, bytes: Option<&Bytes>) {
    out.put_i32(bytes.map_or(-1, |bytes| bytes.len() as i32));
    out.put_slice(bytes.map_or(&[], |bytes| bytes));
}

/// A message as it is stored, not unwrapped.
struct Raw {
    message: Message,
    magic: i8,
    attributes: i8,
}

fn get(bytes: &mut Bytes) -> Option<Raw> {
    let offset = bytes.try_get_i64().ok()?;
    let size = usize::try_from(bytes.try_get_i32().ok()?).ok()?;
    if size < 14 || size > bytes.len() {
        return None;
    }
    let mut body = bytes.split_to(size);
    if body.try_get_u32().ok()? != codec::crc32(&body) {
        return None;
    }
    let (magic, attributes) = (body.try_get_i8().ok()?, body.try_get_i8().ok()?);
    let time = if magic == 1 { body.try_get_i64().ok()? } else { -1 };
    let (key, value) = (get_bytes(&mut body)?, get_bytes(&mut body)?);
    let whole = body.is_empty() && (0..2).contains(&magic);
    whole.then_some(Raw { message: Message { offset, time, key, value }, magic, attributes })
}

fn get_bytes(bytes: &mut Bytes) -> Option<Option<Bytes>> {
    let len = bytes.try_get_i32().ok()?;
    if len < 0 {
        return Some(None);
    }
    let len = usize::try_from(len).ok().filter(|len| *len <= bytes.len())?;
    Some(Some(bytes.split_to(len)))
}

/// How a stored unit is written, and its messages as readers see them; `None` for garbage.
pub fn read(stored: &Bytes) -> Option<(Format, Vec<Message>)> {
    let mut left = stored.clone();
    let outer = get(&mut left).filter(|_| left.is_empty())?;
    let codec = Codec::of(i16::from(outer.attributes))?;
    let is_brokers = outer.magic == 1 && i16::from(outer.attributes) & LOG_APPEND_TIME != 0;
    let log_append_time = is_brokers.then_some(outer.message.time);
    let format = Format { magic: outer.magic, codec, log_append_time };
    if codec == Codec::None {
        return Some((format, vec![outer.message]));
    }
    let inner = unwrap(format, &outer.message)?;
    Some((format, inner))
}

fn unwrap(format: Format, outer: &Message) -> Option<Vec<Message>> {
    let section = outer.value.as_ref()?;
    let mended = match format.codec {
        Codec::Lz4 => codec::mend_lz4(section),
        _ => section.clone(),
    };
    let mut plain = codec::load(format.codec, &mended)?;
    let mut messages = Vec::new();
    while !plain.is_empty() {
        messages.push(get(&mut plain)?.message);
    }
    let last = messages.last()?.offset;
    for message in &mut messages {
        if format.magic == 1 {
            // relative offsets end at the wrapper's own
            message.offset += outer.offset - last;
        }
        message.time = format.log_append_time.unwrap_or(message.time);
    }
    Some(messages)
}

/// The greatest time in a stored unit; -1 where there is none.
pub fn max_timestamp(stored: &Bytes) -> i64 {
    let times = read(stored).map(|(_, messages)| messages).unwrap_or_default();
    times.iter().map(|message| message.time).max().unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Vec<Message> {
        vec![Message::new(70, "a", "1"), Message::new(50, "", "2"), Message::new(60, "c", "3")]
    }

    #[test]
    fn what_is_written_is_read_at_its_own_offsets() {
        for (magic, codec) in [
            (0, Codec::None),
            (0, Codec::Gzip),
            (0, Codec::Snappy),
            (0, Codec::Lz4),
            (1, Codec::None),
            (1, Codec::Gzip),
            (1, Codec::Snappy),
            (1, Codec::Lz4),
        ] {
            let format = Format { magic, codec, log_append_time: None };
            let units = write(format, 40, &three());
            let read: Vec<_> = units.iter().flat_map(|unit| read(&unit.2).unwrap().1).collect();
            let offsets: Vec<_> = read.iter().map(|message| message.offset).collect();
            assert_eq!(offsets, [40, 41, 42], "{magic} {codec:?}");
            let times: Vec<_> = read.iter().map(|message| message.time).collect();
            assert_eq!(times, if magic == 0 { [-1, -1, -1] } else { [70, 50, 60] });
            assert_eq!(read[1].key, None);
            assert_eq!(read[2].value.as_deref(), Some(&b"3"[..]));
            let spans: Vec<_> = units.iter().map(|unit| (unit.0, unit.1)).collect();
            let plain = [(40, 41), (41, 42), (42, 43)];
            assert_eq!(spans, if codec == Codec::None { &plain[..] } else { &[(40, 43)] });
        }
    }

    #[test]
    fn the_brokers_time_stands_for_all() {
        for codec in [Codec::None, Codec::Gzip] {
            let format = Format { magic: 1, codec, log_append_time: Some(99) };
            let units = write(format, 0, &three());
            let mut read = units.iter().flat_map(|unit| read(&unit.2).unwrap().1);
            assert!(read.all(|message| message.time == 99), "{codec:?}");
        }
    }

    #[test]
    fn a_flipped_bit_is_garbage() {
        let format = Format { magic: 1, codec: Codec::None, log_append_time: None };
        let mut bytes = BytesMut::from(&write(format, 0, &three())[0].2[..]);
        bytes[30] ^= 1;
        assert_eq!(read(&bytes.freeze()).map(|read| read.1), None);
    }
}
