//! One unit of a source's log made into dense batches of magic 2 that hold the same records at the
//! same offsets, with the gaps between them named (docs/OFFSETS.md, gap by gap).
//!
//! It never runs for a batch that can be appended as it is, never changes a key, value, header or
//! timestamp, and never launders a corrupt unit: the CRC is checked before a record is read.

mod dense;
pub mod merge;
mod old;
pub mod unpack;

use crate::ids::Offset;
use crate::wire::batch::Attributes;
use crate::wire::batch::BatchView;
use crate::wire::codec::CodecError;
use crate::wire::crc::BadCrc;
use crate::wire::error::WireError;
use crate::wire::reframe::dense::Dense;
use crate::wire::reframe::unpack::Unpacked;
use crate::wire::split::Piece;

/// What one unit may be unpacked, in bytes, unless a link says otherwise.
pub const UNPACKED_BYTES_MAX: usize = 128 << 20;

/// The bounds of what comes in and what goes out.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// What one unit may be unpacked, in bytes: a bomb ends here.
    pub unpacked_bytes_max: usize,
    /// `max.message.bytes` of the destination topic, where it is known. A single record that is
    /// larger comes out all the same: it is for `align` to refuse.
    pub batch_bytes_max: Option<usize>,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { unpacked_bytes_max: UNPACKED_BYTES_MAX, batch_bytes_max: None }
    }
}

/// A part of what a unit covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// Dense, plain, CreateTime, in the codec of the source, with the source's leader epoch and
    /// without a producer: ready for `rewrite`.
    Batch(BatchView),
    /// Offsets that hold no record.
    Gap {
        /// The first of them.
        from: Offset,
        /// The offset behind the last.
        next: Offset,
    },
}

/// Why a unit cannot be encoded anew. But for `CodecError::TooLarge`, which is a bomb or a bound
/// that is too low, each says that the unit is corrupt: fetch it again, then halt its partition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReframeError {
    /// The batch is not what its CRC was computed over.
    #[error(transparent)]
    BadCrc(#[from] BadCrc),
    /// The same of a message of format 0 or 1.
    #[error(
        "the message at offset {offset} has CRC {computed:#010x}, its header says {header:#010x}"
    )]
    OldCrc {
        /// What stands in its offset field.
        offset: i64,
        /// What the header says.
        header: u32,
        /// What the bytes say.
        computed: u32,
    },
    /// The records are not what the protocol says.
    #[error(transparent)]
    Malformed(#[from] WireError),
    /// They cannot be unpacked.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl ReframeError {
    /// Whether the unit is whole, but larger than `Bounds::unpacked_bytes_max` allows.
    pub fn is_too_large(&self) -> bool {
        matches!(self, ReframeError::Codec(CodecError::TooLarge { .. }))
    }
}

/// What `unit` holds from `from` on: runs without a hole between them that cover everything from
/// `from` to the unit's end; none where it ends at or before `from`.
pub fn reframe(unit: &Piece, from: Offset, bounds: &Bounds) -> Result<Vec<Run>, ReframeError> {
    match unit {
        Piece::Batch(batch) => reframe_batch(batch, from, bounds),
        Piece::OldFormat { .. } => reencode(&Unpacked::of(unit, bounds)?, from, bounds),
    }
}

/// As `reframe`, of a batch of magic 2.
pub fn reframe_batch(
    batch: &BatchView,
    from: Offset,
    bounds: &Bounds,
) -> Result<Vec<Run>, ReframeError> {
    let next = batch.next_offset();
    if next <= from {
        return Ok(Vec::new());
    }
    let is_empty = batch.count() == 0 && batch.section().is_empty();
    if batch.attributes().has(Attributes::CONTROL) || is_empty {
        crate::wire::crc::check(batch)?;
        return Ok(vec![Run::Gap { from, next }]);
    }
    reencode(&Unpacked::of_batch(batch, bounds)?, from, bounds)
}

fn reencode(unpacked: &Unpacked, from: Offset, bounds: &Bounds) -> Result<Vec<Run>, ReframeError> {
    let mut dense = Dense::new(from, unpacked.codec(), unpacked.leader_epoch(), bounds);
    for entry in unpacked.entries()? {
        let entry = entry?;
        // what lies below the place that is read no reader gets
        if let Some(offset) = entry.offset.filter(|offset| *offset >= dense.next()) {
            dense.put(offset, entry.record)?;
        }
    }
    dense.finish(unpacked.next_offset().max(from))
}

#[cfg(test)]
mod tests;
