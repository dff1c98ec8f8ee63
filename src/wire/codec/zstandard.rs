//! Zstandard, one frame or several in a row.
//!
//! It never lets a frame ask for a window beyond the cap: see `window_log`.

use zstd::stream::raw::DParameter;
use zstd::stream::raw::Decoder;
use zstd::stream::raw::InBuffer;
use zstd::stream::raw::Operation;
use zstd::stream::raw::OutBuffer;

use super::Codec;
use super::CodecError;
use super::Sink;

/// What Kafka's producer takes unless told otherwise (`compression.zstd.level`).
const LEVEL: i32 = 3;
/// The least and the most a window may be told to be: 1 KiB and 128 MiB (zstd.h,
/// ZSTD_WINDOWLOG_LIMIT_DEFAULT), as in Kafka's own reader.
const WINDOW_LOG_MIN: u32 = 10;
const WINDOW_LOG_MAX: u32 = 27;

/// A window at least as large as the smallest that a frame below the cap can ask for: its content
/// rounded up to a power of two, twice that for the frames of other encoders, but at least 8 MiB,
/// which every decoder takes (RFC 8878, 3.1.1.1.2).
fn window_log(bytes_max: usize) -> u32 {
    let cap = usize::BITS - bytes_max.leading_zeros() + 1;
    cap.clamp(23, WINDOW_LOG_MAX).max(WINDOW_LOG_MIN)
}

pub(super) fn unpack(packed: &[u8], out: &mut Sink) -> Result<(), CodecError> {
    let failed = CodecError::Failed { codec: Codec::Zstd };
    let mut stream = Decoder::new().map_err(|_| failed)?;
    let window = DParameter::WindowLogMax(window_log(out.max));
    stream.set_parameter(window).map_err(|_| failed)?;
    let mut input = InBuffer::around(packed);
    loop {
        let before = input.pos();
        let filled = out.grow();
        let mut room = OutBuffer::around(&mut out.bytes[filled..]);
        let hint = stream.run(&mut input, &mut room);
        let (written, was_full) = (room.pos(), room.pos() == room.capacity());
        out.shrink(filled + written)?;
        let hint = hint.map_err(|_| out.malformed("no zstd frame"))?;
        let read_all = input.pos() == packed.len();
        match (hint, read_all) {
            (0, true) => return Ok(()),
            // output may still be held back while its room was full
            (_, true) if !was_full => return Err(out.malformed("it ends early")),
            _ if input.pos() == before && written == 0 => {
                return Err(out.malformed("it does not go on"));
            }
            _ => {}
        }
    }
}

pub(super) fn pack(plain: &[u8]) -> Result<Vec<u8>, CodecError> {
    zstd::bulk::compress(plain, LEVEL).map_err(|_| CodecError::Failed { codec: Codec::Zstd })
}
