//! The codecs of record sections, gzip, snappy, lz4 and zstd: unpacked under a cap, packed again.
//!
//! It never allocates from a length that a peer names: output grows as it is made, and ends at the
//! cap. It never stands on the fast path, where no record is read. Checksums inside the codecs'
//! frames are not compared: the batch's own CRC covers every byte (check it first).

mod gzip;
mod lz4;
pub mod packer;
mod snappy;
mod zstandard;

use std::fmt;

use crate::wire::batch::Attributes;
use crate::wire::codec::packer::Packer;

/// How much output is made room for at a time, in bytes.
const STEP_BYTES: usize = 64 * 1024;
/// How far back in the output a decoder of ours looks: a block of LZ4 into those before it.
const BACK_BYTES: usize = 64 * 1024;

/// How a records section is packed (`org.apache.kafka.common.record.CompressionType`).
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// Written in snappy-java's frame ("xerial"); read in it or without any.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// RFC 8878.
    Zstd,
}

impl Codec {
    /// All of them, by number.
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The codec that a batch's attributes name.
    pub fn of(attributes: Attributes) -> Result<Codec, CodecError> {
        let number = attributes.codec();
        Codec::ALL.get(usize::from(number)).copied().ok_or(CodecError::Unknown(number))
    }

    /// Its number in the attributes.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Kafka's own name, as in `compression.type`.
    pub fn name(self) -> &'static str {
        ["none", "gzip", "snappy", "lz4", "zstd"][self as usize]
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a section cannot be unpacked or packed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A number that no codec has.
    #[error("no codec has the number {0}")]
    Unknown(u8),
    /// The bytes are not what the codec writes.
    #[error("the {codec} bytes are malformed: {why}")]
    Malformed {
        /// The codec.
        codec: Codec,
        /// What is wrong.
        why: &'static str,
    },
    /// More comes out than was asked for: a bomb, or a cap that is too low.
    #[error("more than {max} bytes come out of the {codec} bytes")]
    TooLarge {
        /// The codec.
        codec: Codec,
        /// The cap.
        max: usize,
    },
    /// The codec's library refuses to pack.
    #[error("the {codec} library failed")]
    Failed {
        /// The codec.
        codec: Codec,
    },
}

/// What comes out of `packed`, at most `bytes_max` bytes.
pub fn decompress(codec: Codec, packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, CodecError> {
    let mut out = Sink::new(codec, bytes_max, bytes_max, None);
    unpack(packed, &mut out)?;
    Ok(out.bytes)
}

/// Gives what comes out of `packed` to `to`, piece by piece, at most `bytes_max` bytes; of which
/// at most `held_bytes_max` are in memory at once, besides a few pieces. What was given counts
/// for nothing where it fails.
pub fn decompress_to(
    codec: Codec,
    packed: &[u8],
    bytes_max: usize,
    held_bytes_max: usize,
    to: &mut dyn FnMut(&[u8]),
) -> Result<(), CodecError> {
    unpack(packed, &mut Sink::new(codec, bytes_max, held_bytes_max, Some(to)))
}

fn unpack(packed: &[u8], out: &mut Sink<'_>) -> Result<(), CodecError> {
    match out.codec {
        Codec::None => out.put(packed),
        Codec::Gzip => gzip::unpack(packed, out),
        Codec::Snappy => snappy::unpack(packed, out),
        Codec::Lz4 => lz4::unpack(packed, out),
        Codec::Zstd => zstandard::unpack(packed, out),
    }
}

/// `plain` packed as Kafka's own clients pack it, at the codec's usual level.
pub fn compress(codec: Codec, plain: Vec<u8>) -> Result<Vec<u8>, CodecError> {
    if codec == Codec::None {
        return Ok(plain);
    }
    let mut packer = Packer::new(codec)?;
    packer.write(&plain)?;
    packer.finish()
}

/// Who takes output, piece by piece.
type To<'a> = &'a mut dyn FnMut(&[u8]);

/// Where output goes: it grows in steps and never beyond the cap. With somebody to give it to,
/// no more of it is kept than a frame can point back to.
struct Sink<'a> {
    codec: Codec,
    bytes: Vec<u8>,
    /// Of `bytes`, what was given on.
    given: usize,
    /// Output that is no longer in `bytes`.
    gone: usize,
    /// The cap of all output.
    max: usize,
    /// The cap of what a codec wants in one piece.
    held_max: usize,
    to: Option<To<'a>>,
}

impl<'a> Sink<'a> {
    fn new(codec: Codec, max: usize, held_max: usize, to: Option<To<'a>>) -> Sink<'a> {
        Sink { codec, bytes: Vec::new(), given: 0, gone: 0, max, held_max, to }
    }

    fn malformed(&self, why: &'static str) -> CodecError {
        CodecError::Malformed { codec: self.codec, why }
    }

    fn too_large(&self) -> CodecError {
        CodecError::TooLarge { codec: self.codec, max: self.max }
    }

    /// All output so far.
    fn total(&self) -> usize {
        self.gone + self.bytes.len()
    }

    /// For how many bytes more the cap leaves room, and one, so that what goes beyond it shows.
    fn room(&self) -> usize {
        self.max.saturating_sub(self.total()).saturating_add(1)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), CodecError> {
        self.fits(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        self.give();
        Ok(())
    }

    /// Fails where `more` bytes would go beyond the cap.
    fn fits(&self, more: usize) -> Result<(), CodecError> {
        let fits = self.total().checked_add(more).is_some_and(|total| total <= self.max);
        if fits { Ok(()) } else { Err(self.too_large()) }
    }

    /// Room for the next bytes: a step, or one byte more than the cap allows. Says where in
    /// `bytes` the room begins; `shrink` gives back what was not used.
    fn grow(&mut self) -> usize {
        let filled = self.bytes.len();
        self.bytes.resize(filled + STEP_BYTES.min(self.room()), 0);
        filled
    }

    /// `filled` bytes are output, those behind them were room.
    fn shrink(&mut self, filled: usize) -> Result<(), CodecError> {
        self.bytes.truncate(filled);
        if self.total() > self.max {
            return Err(self.too_large());
        }
        self.give();
        Ok(())
    }

    fn give(&mut self) {
        let Some(to) = &mut self.to else { return };
        to(&self.bytes[self.given..]);
        self.given = self.bytes.len();
        if self.given > BACK_BYTES + 2 * STEP_BYTES {
            let cut = self.given - BACK_BYTES;
            self.bytes.drain(..cut);
            self.gone += cut;
            self.given = BACK_BYTES;
        }
    }
}

#[cfg(test)]
mod tests;
