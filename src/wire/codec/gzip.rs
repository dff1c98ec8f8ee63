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

pub(super) fn unpack(packed: &[u8], out: &mut Sink) -> Result<(), CodecError> {
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
fn member<'a>(packed: &'a [u8], out: &mut Sink) -> Result<&'a [u8], CodecError> {
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

pub(super) fn pack(plain: &[u8]) -> Result<Vec<u8>, CodecError> {
    let failed = CodecError::Failed { codec: Codec::Gzip };
    let mut stream = Compress::new_gzip(Compression::default(), WINDOW_BITS);
    let mut out = Vec::with_capacity(plain.len() / 2 + 64);
    loop {
        let rest = &plain[stream.total_in() as usize..];
        match stream.compress_vec(rest, &mut out, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => return Ok(out),
            Ok(_) => out.reserve(out.len().max(64)),
            Err(_) => return Err(failed),
        }
    }
}
