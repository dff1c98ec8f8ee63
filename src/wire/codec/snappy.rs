//! Snappy in snappy-java's frame, which the Java client writes, or raw, as librdkafka writes it.
//!
//! It never trusts the length that a raw block begins with: see `RATIO_MAX`.

use snap::raw::Decoder;
use snap::raw::Encoder;
use snap::raw::decompress_len;

use super::Codec;
use super::CodecError;
use super::Sink;

/// `org.xerial.snappy.SnappyCodec`: eight bytes of magic, then two versions of four bytes.
const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// The first half of the magic where a block's length should be: streams in a row.
const MAGIC_HEAD: [u8; 4] = *b"\x82SNA";
/// What snappy-java packs at a time, in bytes.
pub(super) const BLOCK_BYTES: usize = 32 * 1024;
/// No block swells by more: a copy of three bytes makes at most 64.
const RATIO_MAX: usize = 22;

pub(super) fn unpack(packed: &[u8], out: &mut Sink<'_>) -> Result<(), CodecError> {
    if !packed.starts_with(&MAGIC) {
        return block(packed, out);
    }
    let head = MAGIC.len() + VERSIONS.len();
    let short = "it ends early";
    let mut left = packed.get(head..).ok_or(out.malformed(short))?;
    while let Some((length, rest)) = left.split_first_chunk::<4>() {
        if *length == MAGIC_HEAD {
            left = left.get(head..).ok_or(out.malformed(short))?;
            continue;
        }
        let length = u32::from_be_bytes(*length) as usize;
        let (packed, rest) = rest.split_at_checked(length).ok_or(out.malformed(short))?;
        block(packed, out)?;
        left = rest;
    }
    if left.is_empty() { Ok(()) } else { Err(out.malformed(short)) }
}

fn block(packed: &[u8], out: &mut Sink<'_>) -> Result<(), CodecError> {
    let claimed = decompress_len(packed).map_err(|_| out.malformed("no snappy block"))?;
    if claimed / RATIO_MAX > packed.len() {
        return Err(out.malformed("a length that no block can have"));
    }
    out.fits(claimed)?;
    if claimed > out.held_max {
        return Err(CodecError::TooLarge { codec: out.codec, max: out.held_max });
    }
    let filled = out.bytes.len();
    out.bytes.resize(filled + claimed, 0);
    let made = Decoder::new().decompress(packed, &mut out.bytes[filled..]);
    let made = made.map_err(|_| out.malformed("no snappy block"))?;
    out.shrink(filled + made)
}

/// What stands before the blocks.
pub(super) fn begin(out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSIONS);
}

/// Packs one block, of at most `BLOCK_BYTES`.
pub(super) fn pack(block: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
    let packed = Encoder::new().compress_vec(block);
    let packed = packed.map_err(|_| CodecError::Failed { codec: Codec::Snappy })?;
    // a block of 32 KiB packs into less than 2^32 bytes
    out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
    out.extend_from_slice(&packed);
    Ok(())
}
