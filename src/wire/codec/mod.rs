//! The codecs of record sections, gzip, snappy, lz4 and zstd: unpacked under a cap, packed again.
//!
//! It never allocates from a length that a peer names: output grows as it is made, and ends at the
//! cap. It never stands on the fast path, where no record is read. Checksums inside the codecs'
//! frames are not compared: the batch's own CRC covers every byte (check it first).

mod gzip;
mod lz4;
mod snappy;
mod zstandard;

use std::fmt;

use crate::wire::batch::Attributes;

/// How much output is made room for at a time, in bytes.
const STEP_BYTES: usize = 64 * 1024;

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
    let mut out = Sink { codec, bytes: Vec::new(), max: bytes_max };
    match codec {
        Codec::None => out.put(packed)?,
        Codec::Gzip => gzip::unpack(packed, &mut out)?,
        Codec::Snappy => snappy::unpack(packed, &mut out)?,
        Codec::Lz4 => lz4::unpack(packed, &mut out)?,
        Codec::Zstd => zstandard::unpack(packed, &mut out)?,
    }
    Ok(out.bytes)
}

/// `plain` packed as Kafka's own clients pack it, at the codec's usual level.
pub fn compress(codec: Codec, plain: Vec<u8>) -> Result<Vec<u8>, CodecError> {
    if codec == Codec::None { Ok(plain) } else { pack(codec, &plain) }
}

/// The same of what is still needed afterwards.
pub fn pack(codec: Codec, plain: &[u8]) -> Result<Vec<u8>, CodecError> {
    match codec {
        Codec::None => Ok(plain.to_vec()),
        Codec::Gzip => gzip::pack(plain),
        Codec::Snappy => snappy::pack(plain),
        Codec::Lz4 => lz4::pack(plain),
        Codec::Zstd => zstandard::pack(plain),
    }
}

/// Where output goes: it grows in steps and never beyond the cap.
struct Sink {
    codec: Codec,
    bytes: Vec<u8>,
    max: usize,
}

impl Sink {
    fn malformed(&self, why: &'static str) -> CodecError {
        CodecError::Malformed { codec: self.codec, why }
    }

    fn too_large(&self) -> CodecError {
        CodecError::TooLarge { codec: self.codec, max: self.max }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), CodecError> {
        self.fits(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Fails where `more` bytes would go beyond the cap.
    fn fits(&self, more: usize) -> Result<(), CodecError> {
        let fits = self.bytes.len().checked_add(more).is_some_and(|len| len <= self.max);
        if fits { Ok(()) } else { Err(self.too_large()) }
    }

    /// Room for the next bytes: a step, or one byte more than the cap allows, so that what goes
    /// beyond it shows. Says where the room begins; `shrink` gives back what was not used.
    fn grow(&mut self) -> usize {
        let filled = self.bytes.len();
        let room = STEP_BYTES.min(self.max.saturating_sub(filled).saturating_add(1));
        self.bytes.resize(filled + room, 0);
        filled
    }

    /// `filled` bytes are output, those behind them were room.
    fn shrink(&mut self, filled: usize) -> Result<(), CodecError> {
        self.bytes.truncate(filled);
        if filled > self.max { Err(self.too_large()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
