//! The smallest valid use of each codec: everything is stored, nothing is squeezed.
//!
//! It never squeezes by itself; every real decompressor reads what it writes, and what a real
//! compressor made it reads with other people's decoders.

use std::io::Read;

use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;

/// The codecs of the batch attributes.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    /// Not compressed.
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// In Java's xerial frame.
    Snappy = 2,
    /// The LZ4 frame format.
    Lz4 = 3,
    /// RFC 8878.
    Zstd = 4,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec in the attributes of a batch; `None` for the numbers 5 to 7.
    pub fn of(attributes: i16) -> Option<Self> {
        Self::ALL.get(usize::from(attributes as u16 & 7)).copied()
    }

    /// The codec that the topic config `compression.type` names; `None` for `producer`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "uncompressed" | "none" => Some(Self::None),
            "gzip" => Some(Self::Gzip),
            "snappy" => Some(Self::Snappy),
            "lz4" => Some(Self::Lz4),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Wraps `plain` as an output of `codec`.
pub fn store(codec: Codec, plain: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(plain.len() + 64);
    match codec {
        Codec::None => out.put_slice(plain),
        Codec::Gzip => gzip(&mut out, plain),
        Codec::Snappy => snappy(&mut out, plain),
        Codec::Lz4 => lz4(&mut out, plain),
        Codec::Zstd => zstd(&mut out, plain),
    }
    out.freeze()
}

/// Whether bytes begin as an output of `codec` must; Snappy's raw format has no beginning.
pub fn begins(codec: Codec, stored: &[u8]) -> bool {
    match codec {
        Codec::None | Codec::Snappy => true,
        Codec::Gzip => stored.starts_with(&GZIP_HEAD[..3]),
        Codec::Lz4 => stored.starts_with(&0x184D_2204u32.to_le_bytes()),
        Codec::Zstd => stored.starts_with(&0xFD2F_B528u32.to_le_bytes()),
    }
}

/// The most that a section may become: larger is nothing that a test wrote.
const PLAIN_BYTES_MAX: u64 = 256 << 20;

/// Unwraps what a compressor of `codec` made; `None` where none did.
pub fn load(codec: Codec, stored: &Bytes) -> Option<Bytes> {
    if codec == Codec::None {
        return Some(stored.clone());
    }
    // the short way for what `store` wrote, which is nearly everything here
    let own = match codec {
        Codec::None => None,
        Codec::Gzip => ungzip(stored),
        Codec::Snappy => unsnappy(stored),
        Codec::Lz4 => unlz4(stored),
        Codec::Zstd => unzstd(stored),
    };
    let own = own.filter(|plain| store(codec, plain) == stored);
    own.or_else(|| squeezed(codec, stored)).map(Bytes::from)
}

/// Reads what a real compressor made.
fn squeezed(codec: Codec, stored: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let mut take = |from: &mut dyn Read| from.take(PLAIN_BYTES_MAX).read_to_end(&mut plain).ok();
    match codec {
        Codec::None => None,
        Codec::Gzip => take(&mut flate2::read::MultiGzDecoder::new(stored)),
        Codec::Lz4 => take(&mut lz4_flex::frame::FrameDecoder::new(stored)),
        Codec::Zstd => take(&mut ruzstd::decoding::StreamingDecoder::new(stored).ok()?),
        Codec::Snappy => return unsqueeze_snappy(stored),
    }?;
    Some(plain)
}

/// Java's xerial frame around raw blocks, or one raw block alone as librdkafka writes it.
fn unsqueeze_snappy(stored: &[u8]) -> Option<Vec<u8>> {
    let raw = |block: &[u8]| snap::raw::Decoder::new().decompress_vec(block).ok();
    if !stored.starts_with(&XERIAL_HEAD[..8]) {
        return raw(stored);
    }
    let (mut left, mut plain) = (stored.get(XERIAL_HEAD.len()..)?, Vec::new());
    while let Some(size) = left.first_chunk::<4>() {
        let block = left.get(4..4 + u32::from_be_bytes(*size) as usize)?;
        plain.extend(raw(block)?);
        left = &left[4 + block.len()..];
    }
    Some(plain)
}

const GZIP_HEAD: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

fn gzip(out: &mut BytesMut, plain: &[u8]) {
    out.put_slice(GZIP_HEAD);
    let blocks = plain.chunks(0xffff).count();
    for (n, block) in plain.chunks(0xffff).enumerate() {
        out.put_u8(u8::from(n + 1 == blocks));
        out.put_u16_le(block.len() as u16);
        out.put_u16_le(!(block.len() as u16));
        out.put_slice(block);
    }
    if blocks == 0 {
        out.put_slice(&[1, 0, 0, 255, 255]);
    }
    out.put_u32_le(crc32(plain));
    out.put_u32_le(plain.len() as u32);
}

fn ungzip(stored: &[u8]) -> Option<Vec<u8>> {
    let mut left = stored.strip_prefix(GZIP_HEAD)?;
    let mut plain = Vec::new();
    loop {
        let last = *left.first()? & 1 == 1;
        let len = usize::from(u16::from_le_bytes([*left.get(1)?, *left.get(2)?]));
        plain.extend_from_slice(left.get(5..5 + len)?);
        left = &left[5 + len..];
        if last {
            return Some(plain);
        }
    }
}

/// CRC-32 as gzip and the old message formats have it.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

const XERIAL_HEAD: &[u8] = &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
const XERIAL_BLOCK: usize = 32 * 1024;

fn snappy(out: &mut BytesMut, plain: &[u8]) {
    out.put_slice(XERIAL_HEAD);
    for block in plain.chunks(XERIAL_BLOCK) {
        let mut raw = BytesMut::new();
        put_uvarint(&mut raw, block.len());
        // one literal: tag 61 in the upper six bits says that its length less one takes two bytes
        raw.put_u8(61 << 2);
        raw.put_u16_le((block.len() - 1) as u16);
        raw.put_slice(block);
        out.put_i32(raw.len() as i32);
        out.put_slice(&raw);
    }
}

fn put_uvarint(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn unsnappy(stored: &[u8]) -> Option<Vec<u8>> {
    let mut left = stored.strip_prefix(XERIAL_HEAD)?;
    let mut plain = Vec::new();
    while let Some(size) = left.first_chunk::<4>() {
        let block = left.get(4..4 + u32::from_be_bytes(*size) as usize)?;
        left = &left[4 + block.len()..];
        let prefix = block.iter().position(|byte| byte & 0x80 == 0)? + 1;
        plain.extend_from_slice(block.get(prefix + 3..)?);
    }
    Some(plain)
}

const LZ4_BLOCK: usize = 64 * 1024;
const LZ4_FLAGS: [u8; 2] = [0x60, 0x40];

fn lz4(out: &mut BytesMut, plain: &[u8]) {
    out.put_u32_le(0x184D_2204);
    out.put_slice(&LZ4_FLAGS);
    out.put_u8((xxh32_short(&LZ4_FLAGS) >> 8) as u8);
    for block in plain.chunks(LZ4_BLOCK) {
        out.put_u32_le(block.len() as u32 | 0x8000_0000);
        out.put_slice(block);
    }
    out.put_u32_le(0);
}

fn unlz4(stored: &[u8]) -> Option<Vec<u8>> {
    let mut left = stored.get(7..)?;
    let mut plain = Vec::new();
    loop {
        let size = u32::from_le_bytes(*left.first_chunk::<4>()?);
        if size == 0 {
            return Some(plain);
        }
        let block = left.get(4..4 + (size & 0x7fff_ffff) as usize)?;
        plain.extend_from_slice(block);
        left = &left[4 + block.len()..];
    }
}

/// The header checksum of an LZ4 frame as message format 0 has it: over its magic number as well
/// (KAFKA-3160), so that no decoder but Kafka's takes it.
pub fn break_lz4(stored: &Bytes) -> Bytes {
    let mut out = BytesMut::from(&stored[..]);
    out[6] = (xxh32_short(&stored[..6]) >> 8) as u8;
    out.freeze()
}

/// The same frame with the checksum that the format asks for.
pub fn mend_lz4(stored: &Bytes) -> Bytes {
    let mut out = BytesMut::from(&stored[..]);
    if out.len() > 6 {
        out[6] = (xxh32_short(&stored[4..6]) >> 8) as u8;
    }
    out.freeze()
}

/// xxHash32 with seed 0 of fewer than sixteen bytes, all that a frame header needs.
fn xxh32_short(bytes: &[u8]) -> u32 {
    let mut hash = 0x165667B1u32.wrapping_add(bytes.len() as u32);
    let (words, bytes) = bytes.as_chunks::<4>();
    for word in words {
        hash = hash.wrapping_add(u32::from_le_bytes(*word).wrapping_mul(0xC2B2AE3D));
        hash = hash.rotate_left(17).wrapping_mul(0x27D4EB2F);
    }
    for byte in bytes {
        hash = hash.wrapping_add(u32::from(*byte).wrapping_mul(0x165667B1));
        hash = hash.rotate_left(11).wrapping_mul(0x9E3779B1);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(0x85EBCA77);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xC2B2AE3D);
    hash ^ (hash >> 16)
}

const ZSTD_BLOCK: usize = 128 * 1024;

fn zstd(out: &mut BytesMut, plain: &[u8]) {
    out.put_u32_le(0xFD2F_B528);
    // single segment, content size in four bytes
    out.put_u8(0xA0);
    out.put_u32_le(plain.len() as u32);
    let blocks = plain.chunks(ZSTD_BLOCK).count();
    for (n, block) in plain.chunks(ZSTD_BLOCK).enumerate() {
        put_zstd_block(out, block, n + 1 == blocks);
    }
    if blocks == 0 {
        put_zstd_block(out, &[], true);
    }
}

fn put_zstd_block(out: &mut BytesMut, block: &[u8], last: bool) {
    out.put_uint_le((block.len() as u64) << 3 | u64::from(last), 3);
    out.put_slice(block);
}

fn unzstd(stored: &[u8]) -> Option<Vec<u8>> {
    let mut left = stored.get(9..)?;
    let mut plain = Vec::new();
    loop {
        let [a, b, c] = *left.first_chunk::<3>()?;
        let head = u32::from_le_bytes([a, b, c, 0]);
        let block = left.get(3..3 + (head >> 3) as usize)?;
        plain.extend_from_slice(block);
        left = &left[3 + block.len()..];
        if head & 1 == 1 {
            return Some(plain);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_loaded() {
        for len in [0, 1, 60, 0xffff, 200_000] {
            let plain: Vec<u8> = (0..len).map(|n| (n * 31 % 251) as u8).collect();
            for codec in Codec::ALL {
                let stored = store(codec, &plain);
                assert_eq!(load(codec, &stored).unwrap(), plain, "{codec:?} {len}");
            }
        }
    }

    #[test]
    fn what_real_compressors_made_is_read() {
        let plain: Vec<u8> = (0..5000).map(|n| (n / 100) as u8).collect();
        let gzip = {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut out, &plain).unwrap();
            out.finish().unwrap()
        };
        let lz4 = {
            let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
            std::io::Write::write_all(&mut out, &plain).unwrap();
            out.finish().unwrap()
        };
        let zstd = ruzstd::encoding::compress_to_vec(
            &plain[..],
            ruzstd::encoding::CompressionLevel::Fastest,
        );
        let raw = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
        let framed = [XERIAL_HEAD, &(raw.len() as u32).to_be_bytes(), &raw].concat();
        let all = [
            (Codec::Gzip, gzip),
            (Codec::Lz4, lz4),
            (Codec::Zstd, zstd),
            (Codec::Snappy, raw),
            (Codec::Snappy, framed),
        ];
        for (codec, stored) in all {
            assert!(stored.len() < plain.len(), "{codec:?}");
            assert_eq!(load(codec, &Bytes::from(stored)).unwrap(), plain, "{codec:?}");
        }
    }

    #[test]
    fn foreign_bytes_stay_opaque() {
        for codec in &Codec::ALL[1..] {
            assert_eq!(load(*codec, &Bytes::from_static(&[7; 80])), None);
        }
    }

    #[test]
    fn checksums_are_the_published_ones() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        // the frame header 04 22 4d 18 60 40 82 is what lz4's own tool writes for these flags
        assert_eq!((xxh32_short(&LZ4_FLAGS) >> 8) as u8, 0x82);
    }
}
