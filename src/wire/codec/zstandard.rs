//! Zstandard, one frame or several in a row.
//!
//! It never lets a frame ask for a window beyond the cap: see `window_log`.

use zstd::stream::raw::DParameter;
use zstd::stream::raw::Decoder;
use zstd::stream::raw::Encoder;
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

/// What the library says of a window that is larger than `WindowLogMax`; it tells by words only.
const WINDOW_WORDS: &str = "Frame requires too much memory for decoding";
/// How much output the packer makes room for at a time.
const ROOM_BYTES: usize = 16 * 1024;
const FAILED: CodecError = CodecError::Failed { codec: Codec::Zstd };

/// A window at least as large as the smallest that a frame below the cap can ask for: its content
/// rounded up to a power of two, twice that for the frames of other encoders, but at least 8 MiB,
/// which every decoder takes (RFC 8878, 3.1.1.1.2).
fn window_log(bytes_max: usize) -> u32 {
    let cap = usize::BITS - bytes_max.leading_zeros() + 1;
    cap.clamp(23, WINDOW_LOG_MAX).max(WINDOW_LOG_MIN)
}

/// A frame may name a window that its content does not need, since a writer seldom knows how much
/// will come: one that is larger than what may be held is taken all the same where its content is
/// not, because no more of a window is touched than there is content.
pub(super) fn unpack(packed: &[u8], out: &mut Sink<'_>) -> Result<(), CodecError> {
    match run(packed, out, window_log(out.held_max)) {
        Err(Fault::Window) if out.total() == 0 => {
            out.max = out.max.min(out.held_max);
            run(packed, out, WINDOW_LOG_MAX)
        }
        result => result,
    }
    .map_err(|fault| match fault {
        Fault::Window => CodecError::TooLarge { codec: out.codec, max: out.held_max },
        Fault::Other(error) => error,
    })
}

/// Why a frame is not unpacked.
enum Fault {
    /// Its window is larger than it was allowed to be.
    Window,
    Other(CodecError),
}

impl From<CodecError> for Fault {
    fn from(error: CodecError) -> Fault {
        Fault::Other(error)
    }
}

fn run(packed: &[u8], out: &mut Sink<'_>, window_log: u32) -> Result<(), Fault> {
    let mut stream = Decoder::new().map_err(|_| FAILED)?;
    let window = DParameter::WindowLogMax(window_log);
    stream.set_parameter(window).map_err(|_| FAILED)?;
    let mut input = InBuffer::around(packed);
    loop {
        let before = input.pos();
        let filled = out.grow();
        let mut room = OutBuffer::around(&mut out.bytes[filled..]);
        let hint = stream.run(&mut input, &mut room);
        let (written, was_full) = (room.pos(), room.pos() == room.capacity());
        out.shrink(filled + written)?;
        let hint = hint.map_err(|error| match error.to_string() == WINDOW_WORDS {
            true => Fault::Window,
            false => out.malformed("no zstd frame").into(),
        })?;
        let read_all = input.pos() == packed.len();
        match (hint, read_all) {
            (0, true) => return Ok(()),
            // output may still be held back while its room was full
            (_, true) if !was_full => return Err(out.malformed("it ends early").into()),
            _ if input.pos() == before && written == 0 => {
                return Err(out.malformed("it does not go on").into());
            }
            _ => {}
        }
    }
}

/// Packs piece by piece.
pub(super) fn packer() -> Result<Encoder<'static>, CodecError> {
    Encoder::new(LEVEL).map_err(|_| FAILED)
}

/// Packs more into `out`.
pub(super) fn pack(
    encoder: &mut Encoder<'static>,
    plain: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let mut input = InBuffer::around(plain);
    while input.pos() < plain.len() {
        more(out, |room| encoder.run(&mut input, room).map(drop).map_err(|_| FAILED))?;
    }
    Ok(())
}

/// Nothing more comes.
pub(super) fn finish(encoder: &mut Encoder<'static>, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let mut left = 1;
    while left > 0 {
        left = more(out, |room| encoder.finish(room, true).map_err(|_| FAILED))?;
    }
    Ok(())
}

/// Makes room behind `out`, and takes what was written there.
fn more<T>(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut OutBuffer<'_, [u8]>) -> Result<T, CodecError>,
) -> Result<T, CodecError> {
    let filled = out.len();
    out.resize(filled + ROOM_BYTES, 0);
    let mut room = OutBuffer::around(&mut out[filled..]);
    let written = write(&mut room);
    let len = filled + room.pos();
    out.truncate(len);
    written
}
