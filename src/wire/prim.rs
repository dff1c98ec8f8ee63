//! The protocol's primitive types in flexible encoding: a checked reader and the writers.
//!
//! It never allocates from a length that the bytes at hand do not cover.

use bytes::Buf;
use bytes::BufMut;
use bytes::Bytes;

use crate::ids::Offset;
use crate::wire::error::WireError;

/// The longest text for people that is taken over from a peer, in characters.
pub const PEER_TEXT_CHARS_MAX: usize = 512;

/// Reads one message front to back; every length is checked against what is left.
#[derive(Debug, Clone)]
pub struct Reader {
    left: Bytes,
}

type Result<T> = std::result::Result<T, WireError>;

impl Reader {
    /// Reads `bytes`; what is taken as `Bytes` shares their memory.
    pub fn new(bytes: Bytes) -> Reader {
        Reader { left: bytes }
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.left.len()
    }

    /// Fails unless everything was read.
    pub fn finish(self, what: &'static str) -> Result<()> {
        match self.left.len() {
            0 => Ok(()),
            bytes => Err(WireError::Trailing { what, bytes }),
        }
    }

    /// The next `count` bytes, without a copy.
    pub fn bytes(&mut self, what: &'static str, count: usize) -> Result<Bytes> {
        self.need(what, count)?;
        Ok(self.left.split_to(count))
    }

    /// An 8-bit signed integer.
    pub fn i8(&mut self, what: &'static str) -> Result<i8> {
        self.need(what, 1)?;
        Ok(self.left.get_i8())
    }

    /// A 16-bit signed integer.
    pub fn i16(&mut self, what: &'static str) -> Result<i16> {
        self.need(what, 2)?;
        Ok(self.left.get_i16())
    }

    /// A 32-bit signed integer.
    pub fn i32(&mut self, what: &'static str) -> Result<i32> {
        self.need(what, 4)?;
        Ok(self.left.get_i32())
    }

    /// A 64-bit signed integer.
    pub fn i64(&mut self, what: &'static str) -> Result<i64> {
        self.need(what, 8)?;
        Ok(self.left.get_i64())
    }

    /// A topic id.
    pub fn uuid(&mut self, what: &'static str) -> Result<[u8; 16]> {
        self.need(what, 16)?;
        let mut id = [0; 16];
        self.left.copy_to_slice(&mut id);
        Ok(id)
    }

    /// An unsigned varint of at most five bytes.
    pub fn uvarint(&mut self, what: &'static str) -> Result<u32> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.i8(what)? as u8;
            let low = u32::from(byte & 0x7f);
            if shift == 28 && low > 0x0f {
                return Err(WireError::BadValue { what, value: i64::from(byte) });
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::BadValue { what, value: i64::from(value) })
    }

    /// A compact array's count, `None` for null; each element takes at least `bytes_min` bytes,
    /// so a count that cannot fit into what is left is refused before anyone allocates for it.
    pub fn count(&mut self, what: &'static str, bytes_min: usize) -> Result<Option<usize>> {
        let Some(count) = self.uvarint(what)?.checked_sub(1) else {
            return Ok(None);
        };
        let max = self.left.len() / bytes_min.max(1);
        if count as usize > max {
            return Err(WireError::TooLarge { what, value: i64::from(count), max: max as i64 });
        }
        Ok(Some(count as usize))
    }

    /// Compact bytes, `None` for null, without a copy.
    pub fn compact_bytes(&mut self, what: &'static str) -> Result<Option<Bytes>> {
        match self.uvarint(what)?.checked_sub(1) {
            None => Ok(None),
            Some(count) => self.bytes(what, count as usize).map(Some),
        }
    }

    /// A compact string, `None` for null.
    pub fn compact_string(&mut self, what: &'static str) -> Result<Option<String>> {
        let Some(bytes) = self.compact_bytes(what)? else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| WireError::NotUtf8 { what })?;
        Ok(Some(text.to_owned()))
    }

    /// Text for people, `None` for null: bounded, never refused and safe to print. What is no
    /// text becomes U+FFFD, what steers a terminal a blank.
    pub fn compact_peer_text(&mut self, what: &'static str) -> Result<Option<String>> {
        Ok(self.compact_bytes(what)?.map(|bytes| peer_text(&bytes)))
    }

    /// An offset, `None` where the peer says -1 or less: it knows none.
    pub fn offset(&mut self, what: &'static str) -> Result<Option<Offset>> {
        self.i64(what).map(Offset::new)
    }

    /// Each tagged field in turn, as tag and bytes; unknown ones are for the caller to ignore.
    pub fn tagged(&mut self, mut each: impl FnMut(u32, Bytes) -> Result<()>) -> Result<()> {
        for _ in 0..self.uvarint("tagged fields")? {
            let tag = self.uvarint("tag")?;
            let size = self.uvarint("tagged field size")?;
            each(tag, self.bytes("tagged field", size as usize)?)?;
        }
        Ok(())
    }

    /// Steps over the tagged fields.
    pub fn skip_tagged(&mut self) -> Result<()> {
        self.tagged(|_, _| Ok(()))
    }

    fn need(&self, what: &'static str, need: usize) -> Result<()> {
        let have = self.left.len();
        if need > have { Err(WireError::Truncated { what, need, have }) } else { Ok(()) }
    }
}

/// The first `PEER_TEXT_CHARS_MAX` characters of what a peer says, safe to print.
pub fn peer_text(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(4 * PEER_TEXT_CHARS_MAX)];
    let text = String::from_utf8_lossy(head);
    text.chars().take(PEER_TEXT_CHARS_MAX).map(|c| if steers(c) { ' ' } else { c }).collect()
}

/// Control characters, and those that turn the direction of the text around them.
fn steers(c: char) -> bool {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns
}

/// Writes an unsigned varint.
pub fn put_uvarint(out: &mut impl BufMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// How many bytes `put_uvarint` writes.
pub fn uvarint_len(value: u32) -> usize {
    (32 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Writes a compact array's count, or a compact value's length, of something that is not null.
pub fn put_count(out: &mut impl BufMut, count: usize) {
    put_uvarint(out, u32::try_from(count + 1).expect("counts written here are bounded"));
}

/// Writes a compact string.
pub fn put_compact_string(out: &mut impl BufMut, text: &str) {
    put_count(out, text.len());
    out.put_slice(text.as_bytes());
}

/// Writes "no tagged fields".
pub fn put_no_tags(out: &mut impl BufMut) {
    out.put_u8(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &[u8]) -> Reader {
        Reader::new(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn varints_come_back() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, u32::MAX - 1, u32::MAX] {
            let mut out = Vec::new();
            put_uvarint(&mut out, value);
            assert_eq!(out.len(), uvarint_len(value), "{value}");
            assert_eq!(reader(&out).uvarint("v"), Ok(value));
        }
    }

    #[test]
    fn a_varint_that_does_not_fit_is_refused() {
        assert!(reader(&[0xff; 11]).uvarint("v").is_err());
        assert!(reader(&[0xff, 0xff, 0xff, 0xff, 0x1f]).uvarint("v").is_err());
        assert!(reader(&[0x80]).uvarint("v").is_err());
    }

    #[test]
    fn peer_text_is_bounded_and_cannot_steer_a_terminal() {
        assert_eq!(peer_text("gut\u{1b}[2J\r\nso\u{202e}da é".as_bytes()), "gut [2J  so da é");
        assert_eq!(peer_text(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(peer_text("é".repeat(9_999).as_bytes()), "é".repeat(PEER_TEXT_CHARS_MAX));
    }

    #[test]
    fn a_count_is_bounded_by_the_bytes_left() {
        let mut out = Vec::new();
        put_count(&mut out, 3);
        out.extend([0; 11]);
        assert!(reader(&out).count("c", 4).is_err());
        out.push(0);
        assert_eq!(reader(&out).count("c", 4), Ok(Some(3)));
        assert_eq!(reader(&[0]).count("c", 4), Ok(None));
    }
}
