//! gzip, one member or several in a row, as Java's GZIPInputStream reads it.
//!
//! It never reads a length: there is none before the data.

use flate2::Compress;
use flate2::Compression;
use flate2::Decompress;
use flate2::FlushCompress;
use flate2::FlushDecompress;
use flate2::Status;

use super::Codec;
use super::CodecError;
use super::Sink;

/// 32 KiB, the most that deflate knows.
const WINDOW_BITS: u8 = 15;
const MAGIC: [u8; 2] = [0x1f, 0x8b];
/// The least room that the packer is given.
const ROOM_BYTES: usize = 256;

pub(super) fn unpack(packed: &[u8], out: &mut Sink<'_>) -> Result<(), CodecError> {
    let mut left = packed;
    loop {
        left = member(left, out)?;
        // what is no further member is ignored, as in Java
        if !left.starts_with(&MAGIC) {
            return Ok(());
        }
    }
}

/// Unpacks the member in front; what lies behind it comes back.
fn member<'a>(packed: &'a [u8], out: &mut Sink<'_>) -> Result<&'a [u8], CodecError> {
    let mut stream = Decompress::new_gzip(WINDOW_BITS);
    let mut left = packed;
    loop {
        let (read, written) = (stream.total_in(), stream.total_out());
        let filled = out.grow();
        let status = stream.decompress(left, &mut out.bytes[filled..], FlushDecompress::None);
        let read = (stream.total_in() - read) as usize;
        let written = (stream.total_out() - written) as usize;
        out.shrink(filled + written)?;
        left = &left[read..];
        match status {
            Ok(Status::StreamEnd) => return Ok(left),
            Ok(_) if read > 0 || written > 0 => {}
            Ok(_) => return Err(out.malformed("it ends early")),
            Err(_) => return Err(out.malformed("no gzip data")),
        }
    }
}

/// Packs piece by piece.
pub(super) fn packer() -> Compress {
    Compress::new_gzip(Compression::default(), WINDOW_BITS)
}

/// Packs more into `out`; with `FlushCompress::Finish` it is the last.
pub(super) fn pack(
    stream: &mut Compress,
    mut plain: &[u8],
    out: &mut Vec<u8>,
    flush: FlushCompress,
) -> Result<(), CodecError> {
    loop {
        if plain.is_empty() && flush == FlushCompress::None {
            return Ok(());
        }
        out.reserve(ROOM_BYTES);
        let before = stream.total_in();
        match stream.compress_vec(plain, out, flush) {
            Ok(Status::StreamEnd) => return Ok(()),
            Ok(_) => plain = &plain[(stream.total_in() - before) as usize..],
            Err(_) => return Err(CodecError::Failed { codec: Codec::Gzip }),
        }
    }
}
