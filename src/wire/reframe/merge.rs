//! Consecutive small batches made into one: a broker's work is per batch, not per record.
//!
//! It never changes a record and never decides when to merge; that is the link's policy.

use crate::ids::Offset;
use crate::wire::batch::Attributes;
use crate::wire::batch::BatchView;
use crate::wire::codec::Codec;
use crate::wire::reframe::Bounds;
use crate::wire::reframe::ReframeError;
use crate::wire::reframe::dense;
use crate::wire::reframe::unpack::Unpacked;

/// The most batches that become one.
pub const BATCHES_MAX: usize = 4_096;
/// Why a batch is not plain: its times or its records are not what they seem.
const SPECIAL: i16 = Attributes::LOG_APPEND_TIME | Attributes::CONTROL;

/// Whether `next` follows `batch` so that the two can be one: neighbours of one codec and one
/// leader epoch, dense and plain. That a transaction is committed the caller must know.
pub fn fits(batch: &BatchView, next: &BatchView) -> bool {
    let neighbours = batch.next_offset() == next.base_offset();
    let codec = |batch: &BatchView| batch.attributes().codec();
    let alike = codec(batch) == codec(next) && batch.leader_epoch() == next.leader_epoch();
    neighbours && alike && is_plain(batch) && is_plain(next)
}

fn is_plain(batch: &BatchView) -> bool {
    let dense = u64::try_from(batch.count()) == Ok(batch.span());
    dense && !batch.attributes().has(SPECIAL)
}

/// One batch with the records of `batches`, as many from the first on as unpack to
/// `Bounds::unpacked_bytes_max` together, and how many those are; `None` where they are fewer than
/// two, do not fit each other, or come out larger than `Bounds::batch_bytes_max`: send them one by
/// one then.
pub fn merge(
    batches: &[BatchView],
    bounds: &Bounds,
) -> Result<Option<(usize, BatchView)>, ReframeError> {
    let (Some(first), 2..=BATCHES_MAX) = (batches.first(), batches.len()) else {
        return Ok(None);
    };
    if !batches.windows(2).all(|pair| fits(&pair[0], &pair[1])) {
        return Ok(None);
    }
    let mut left = *bounds;
    let mut parts = Vec::with_capacity(batches.len());
    for batch in batches {
        let part = match Unpacked::of_batch(batch, &left) {
            Err(error) if error.is_too_large() => break,
            part => part?,
        };
        // what is not packed is not bounded by being unpacked
        if part.plain_bytes() > left.unpacked_bytes_max {
            break;
        }
        left.unpacked_bytes_max -= part.plain_bytes().min(left.unpacked_bytes_max);
        parts.push(part);
    }
    let count = parts.len();
    if count < 2 {
        return Ok(None);
    }
    let mut place = Place { next: first.base_offset(), dense: true };
    let mut records = Vec::new();
    for part in &parts {
        for entry in part.entries()? {
            let entry = entry?;
            place.take(entry.offset);
            records.push(Ok(entry.record));
        }
    }
    if !place.dense {
        return Ok(None);
    }
    let codec = Codec::of(first.attributes())?;
    let merged = dense::one(first.base_offset(), codec, first.leader_epoch(), records.into_iter())?;
    let small = |batch: &BatchView| bounds.batch_bytes_max.is_none_or(|max| batch.len() <= max);
    Ok(merged.filter(small).map(|merged| (count, merged)))
}

/// Whether every record stands right behind the one before it.
struct Place {
    next: Offset,
    dense: bool,
}

impl Place {
    fn take(&mut self, offset: Option<Offset>) {
        self.dense &= offset == Some(self.next);
        self.next = self.next.plus(1).unwrap_or(self.next);
    }
}
