//! The LZ4 frame (lz4_Frame_format.md 1.6), as Kafka writes it and as others may.
//!
//! It never compares the header's checksum, so that it also reads the frames of message formats 0
//! and 1, whose checksum Kafka computed over the wrong bytes (KAFKA-3160).

use lz4_flex::block;

use super::Codec;
use super::CodecError;
use super::Sink;

const MAGIC: [u8; 4] = 0x184d_2204u32.to_le_bytes();
/// Version 1, blocks on their own, no checksums, no sizes; blocks of 64 KiB; the checksum of both
/// (the second byte of xxHash32), all as Kafka's own writer has them.
const HEAD: [u8; 3] = [0x60, 0x40, 0x82];
/// How many bytes are packed at a time.
pub(super) const BLOCK_BYTES: usize = 64 * 1024;
/// The bit of a block's length that says it is stored as it is.
const STORED: u32 = 1 << 31;
/// No block swells by more: each byte of a long match's length makes 255.
const RATIO_MAX: usize = 255;
/// How far back a block may point into the ones before it.
const DICTIONARY_BYTES: usize = 64 * 1024;

/// What the frame's header says.
struct Frame {
    linked: bool,
    block_checksums: bool,
    content_checksum: bool,
    block_bytes_max: usize,
}

pub(super) fn unpack(packed: &[u8], out: &mut Sink<'_>) -> Result<(), CodecError> {
    let mut left = packed;
    let frame = head(&mut left, out)?;
    loop {
        let word = u32::from_le_bytes(take(&mut left, out)?);
        if word == 0 {
            break;
        }
        let length = (word & !STORED) as usize;
        if length > frame.block_bytes_max {
            return Err(out.malformed("a block longer than the frame allows"));
        }
        let (block, rest) = left.split_at_checked(length).ok_or(early(out))?;
        left = rest;
        if word & STORED != 0 {
            out.put(block)?;
        } else {
            unpack_block(&frame, block, out)?;
        }
        if frame.block_checksums {
            take::<4>(&mut left, out)?;
        }
    }
    if frame.content_checksum {
        take::<4>(&mut left, out)?;
    }
    Ok(())
}

fn head(left: &mut &[u8], out: &Sink<'_>) -> Result<Frame, CodecError> {
    if take::<4>(left, out)? != MAGIC {
        return Err(out.malformed("no LZ4 frame"));
    }
    let [flags, sizes] = take::<2>(left, out)?;
    if flags >> 6 != 1 || flags & 0x01 != 0 {
        return Err(out.malformed("a version or a dictionary that Kafka does not know"));
    }
    let block_bytes_max = match (sizes >> 4) & 0x07 {
        size @ 4..=7 => 1 << (8 + 2 * size),
        _ => return Err(out.malformed("a block size that does not exist")),
    };
    if flags & 0x08 != 0 {
        take::<8>(left, out)?;
    }
    take::<1>(left, out)?;
    Ok(Frame {
        linked: flags & 0x20 == 0,
        block_checksums: flags & 0x10 != 0,
        content_checksum: flags & 0x04 != 0,
        block_bytes_max,
    })
}

fn unpack_block(frame: &Frame, block: &[u8], out: &mut Sink<'_>) -> Result<(), CodecError> {
    let filled = out.bytes.len();
    let room = frame.block_bytes_max.min(block.len() * RATIO_MAX);
    // one byte beyond the cap, so that what is too large shows as such
    let room = room.min(out.room());
    let mut made = vec![0; room];
    let from = if frame.linked { filled.saturating_sub(DICTIONARY_BYTES) } else { filled };
    let result = if from < filled {
        block::decompress_into_with_dict(block, &mut made, &out.bytes[from..])
    } else {
        block::decompress_into(block, &mut made)
    };
    match result {
        Ok(len) => out.put(&made[..len]),
        Err(_) if out.total() + room > out.max => Err(out.too_large()),
        Err(_) => Err(out.malformed("no LZ4 block")),
    }
}

fn take<const N: usize>(left: &mut &[u8], out: &Sink<'_>) -> Result<[u8; N], CodecError> {
    let (taken, rest) = left.split_first_chunk::<N>().ok_or(early(out))?;
    *left = rest;
    Ok(*taken)
}

fn early(out: &Sink<'_>) -> CodecError {
    out.malformed("it ends early")
}

/// What stands before the blocks.
pub(super) fn begin(out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&HEAD);
}

/// Packs one block, of at most `BLOCK_BYTES`.
pub(super) fn pack(chunk: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
    let mut packed = vec![0; block::get_maximum_output_size(chunk.len())];
    let len = block::compress_into(chunk, &mut packed);
    let len = len.map_err(|_| CodecError::Failed { codec: Codec::Lz4 })?;
    let stored = len >= chunk.len();
    let content = if stored { chunk } else { &packed[..len] };
    let flag = if stored { STORED } else { 0 };
    out.extend_from_slice(&(content.len() as u32 | flag).to_le_bytes());
    out.extend_from_slice(content);
    Ok(())
}

/// What stands behind the blocks.
pub(super) fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; 4]);
}
