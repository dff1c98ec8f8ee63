//! One unit of a source's log made into dense batches of magic 2 that hold the same records at the
//! same offsets, with the gaps between them named (docs/OFFSETS.md, gap by gap).
//!
//! It never runs for a batch that can be appended as it is, never changes a key, value, header or
//! timestamp, and never launders a corrupt unit: the CRC is checked before a record is read.

mod dense;
pub mod merge;
mod old;
pub mod unpack;
mod walk;

use bytes::Bytes;

use crate::ids::Offset;
use crate::wire::batch::Attributes;
use crate::wire::batch::BatchView;
use crate::wire::codec;
use crate::wire::codec::Codec;
use crate::wire::codec::CodecError;
use crate::wire::crc;
use crate::wire::crc::BadCrc;
use crate::wire::error::WireError;
use crate::wire::reframe::dense::Dense;
use crate::wire::reframe::dense::Splits;
use crate::wire::reframe::unpack::Unpacked;
use crate::wire::reframe::unpack::place;
use crate::wire::reframe::walk::Take;
use crate::wire::reframe::walk::Walk;
use crate::wire::split::Piece;

/// What one unit may be unpacked, in bytes, unless a link says otherwise.
pub const UNPACKED_BYTES_MAX: usize = 128 << 20;

/// The bounds of what comes in and what goes out.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// What one unit may be unpacked, in bytes: a bomb ends here. It bounds the work; a batch goes
    /// through memory piece by piece.
    pub unpacked_bytes_max: usize,
    /// What of a unit may be in memory at once, unpacked: a message set of an old format, a block
    /// of snappy without a frame, a window of zstd.
    pub held_bytes_max: usize,
    /// `max.message.bytes` of the destination topic, where it is known. A single record that is
    /// larger comes out all the same: it is for `align` to refuse.
    pub batch_bytes_max: Option<usize>,
}

impl Default for Bounds {
    fn default() -> Bounds {
        let unpacked_bytes_max = UNPACKED_BYTES_MAX;
        let held_bytes_max = unpacked_bytes_max;
        Bounds { unpacked_bytes_max, held_bytes_max, batch_bytes_max: None }
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
    /// Whether the unit is whole, but larger than the bounds allow.
    pub fn is_too_large(&self) -> bool {
        self.bytes_max().is_some()
    }

    /// Which bound the unit is larger than, in bytes, if that is it.
    pub fn bytes_max(&self) -> Option<usize> {
        match self {
            ReframeError::Codec(CodecError::TooLarge { max, .. }) => Some(*max),
            _ => None,
        }
    }
}

/// What `unit` holds from `from` on: runs without a hole between them that cover everything from
/// `from` to the unit's end; none where it ends at or before `from`.
pub fn reframe(unit: &Piece, from: Offset, bounds: &Bounds) -> Result<Vec<Run>, ReframeError> {
    match unit {
        Piece::Batch(batch) => reframe_batch(batch, from, bounds),
        Piece::OldFormat { .. } => reframe_old(&Unpacked::of(unit, bounds)?, from, bounds),
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
    crc::check(batch)?;
    let is_empty = batch.count() == 0 && batch.section().is_empty();
    if batch.attributes().has(Attributes::CONTROL) || is_empty {
        return Ok(vec![Run::Gap { from, next }]);
    }
    let codec = Codec::of(batch.attributes())?;
    in_passes(next.max(from), |splits| {
        let dense = Dense::new(from, codec, batch.leader_epoch(), bounds, splits);
        let mut placed = Placed { batch, dense, is_wanted: false };
        walk(batch, codec, bounds, &mut placed)?;
        Ok(placed.dense)
    })
}

fn reframe_old(set: &Unpacked, from: Offset, bounds: &Bounds) -> Result<Vec<Run>, ReframeError> {
    in_passes(set.next_offset().max(from), |splits| {
        let mut dense = Dense::new(from, set.codec(), set.leader_epoch(), bounds, splits);
        for entry in set.entries()? {
            let entry = entry?;
            // what lies below the place that is read no reader gets
            if let Some(offset) = entry.offset.filter(|offset| *offset >= dense.next()) {
                dense.put(offset, entry.record)?;
            }
        }
        Ok(dense)
    })
}

/// Goes over a unit that ends at `end`, and again where batches came out larger than they may be:
/// how large one is shows when it is packed. Each time those are split, so that a few passes do.
fn in_passes(
    end: Offset,
    pass: impl Fn(&Splits) -> Result<Dense<'_>, ReframeError>,
) -> Result<Vec<Run>, ReframeError> {
    let mut splits = Splits::new();
    loop {
        let made = pass(&splits)?.finish(end)?;
        match made {
            Ok(runs) => return Ok(runs),
            Err(more) => splits.extend(more),
        }
    }
}

/// Walks over the records of a batch while they are unpacked.
fn walk(
    batch: &BatchView,
    codec: Codec,
    bounds: &Bounds,
    to: &mut impl Take,
) -> Result<(), ReframeError> {
    let mut walk = Walk::new(batch.count().unsigned_abs());
    if codec == Codec::None {
        walk.push(batch.section(), to)?;
        return walk.finish();
    }
    let mut walked = Ok(());
    let mut push = |bytes: &[u8]| {
        if walked.is_ok() {
            walked = walk.push(bytes, to);
        }
    };
    let Bounds { unpacked_bytes_max, held_bytes_max, .. } = *bounds;
    let held_bytes_max = held_bytes_max.min(unpacked_bytes_max);
    let section = batch.section();
    codec::decompress_to(codec, section, unpacked_bytes_max, held_bytes_max, &mut push)?;
    walked?;
    walk.finish()
}

/// The records of a batch on their way into dense ones.
struct Placed<'a, 'd> {
    batch: &'a BatchView,
    dense: Dense<'d>,
    /// Whether the record that began last is taken.
    is_wanted: bool,
}

impl Take for Placed<'_, '_> {
    fn begin(
        &mut self,
        delta: i32,
        time_delta: i64,
        tail_bytes: usize,
    ) -> Result<(), ReframeError> {
        let (offset, timestamp_ms) = place(self.batch, delta, time_delta)?;
        // what lies below the place that is read no reader gets
        let offset = offset.filter(|offset| *offset >= self.dense.next());
        self.is_wanted = offset.is_some();
        match offset {
            Some(offset) => Ok(self.dense.begin(offset, timestamp_ms, tail_bytes)?),
            None => Ok(()),
        }
    }

    fn tail(&mut self, bytes: &[u8]) -> Result<(), ReframeError> {
        if self.is_wanted {
            self.dense.tail(bytes)?;
        }
        Ok(())
    }
}

/// Who looks at the records of a batch one after the other.
pub trait See {
    /// A record begins: where it stands (`None` where no reader gets it), its time, and how many
    /// bytes of key, value and headers follow.
    fn begin(
        &mut self,
        offset: Option<Offset>,
        timestamp_ms: i64,
        tail_bytes: usize,
    ) -> Result<(), ReframeError>;

    /// More of them, as they stand there.
    fn tail(&mut self, bytes: &[u8]);
}

/// Shows `see` every record of a batch while it is unpacked; nothing of it is held. What was shown
/// before an error is as right as it is without one, but for a record that was not shown whole.
pub fn see(batch: &BatchView, bounds: &Bounds, see: &mut impl See) -> Result<(), ReframeError> {
    crc::check(batch)?;
    let codec = Codec::of(batch.attributes())?;
    walk(batch, codec, bounds, &mut Seeing { batch, see })
}

struct Seeing<'a, S> {
    batch: &'a BatchView,
    see: &'a mut S,
}

impl<S: See> Take for Seeing<'_, S> {
    fn begin(
        &mut self,
        delta: i32,
        time_delta: i64,
        tail_bytes: usize,
    ) -> Result<(), ReframeError> {
        let (offset, timestamp_ms) = place(self.batch, delta, time_delta)?;
        self.see.begin(offset, timestamp_ms, tail_bytes)
    }

    fn tail(&mut self, bytes: &[u8]) -> Result<(), ReframeError> {
        self.see.tail(bytes);
        Ok(())
    }
}

/// The first record of `batch` that readers see: its time, and what stands behind its deltas, for
/// `record::take_tail`.
pub fn first_record(
    batch: &BatchView,
    bounds: &Bounds,
) -> Result<Option<(i64, Bytes)>, ReframeError> {
    let codec = Codec::of(batch.attributes())?;
    let max = bounds.held_bytes_max;
    let mut first = First { codec, max, found: None, is_open: false };
    see(batch, bounds, &mut first)?;
    Ok(first.found.map(|(timestamp_ms, tail)| (timestamp_ms, tail.into())))
}

/// Keeps the first record that readers see.
struct First {
    codec: Codec,
    /// What is kept at most, in bytes.
    max: usize,
    found: Option<(i64, Vec<u8>)>,
    is_open: bool,
}

impl See for First {
    fn begin(
        &mut self,
        offset: Option<Offset>,
        timestamp_ms: i64,
        tail_bytes: usize,
    ) -> Result<(), ReframeError> {
        self.is_open = self.found.is_none() && offset.is_some();
        if self.is_open {
            let (codec, max) = (self.codec, self.max);
            if tail_bytes > max {
                return Err(CodecError::TooLarge { codec, max }.into());
            }
            self.found = Some((timestamp_ms, Vec::new()));
        }
        Ok(())
    }

    fn tail(&mut self, bytes: &[u8]) {
        if let Some((_, tail)) = self.found.as_mut().filter(|_| self.is_open) {
            tail.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests;
