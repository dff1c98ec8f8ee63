//! The records of one unit, whatever its format and codec: checked, unpacked and walked in order.
//!
//! It never sees a unit whose CRC is wrong, and holds at most `Bounds::unpacked_bytes_max`;
//! of an old format, `Bounds::held_bytes_max`.

use bytes::Bytes;

use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::wire::batch::Attributes;
use crate::wire::batch::BatchView;
use crate::wire::codec;
use crate::wire::codec::Codec;
use crate::wire::crc;
use crate::wire::error::WireError;
use crate::wire::record::NewRecord;
use crate::wire::record::RecordView;
use crate::wire::record::Records;
use crate::wire::reframe::Bounds;
use crate::wire::reframe::ReframeError;
use crate::wire::reframe::old;
use crate::wire::reframe::old::OldSet;
use crate::wire::split::Piece;

/// A record and the offset that a reader sees it at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Where it stands; `None` for a hidden filler, which stands before its batch and which no
    /// reader gets.
    pub offset: Option<Offset>,
    /// What a reader gets, with the timestamp that a reader gets.
    pub record: NewRecord<'a>,
}

/// One unit, unpacked.
#[derive(Clone, Debug)]
pub struct Unpacked {
    form: Form,
    codec: Codec,
    plain: Bytes,
}

#[derive(Clone, Debug)]
enum Form {
    Batch(BatchView),
    Old(OldSet),
}

impl Unpacked {
    /// Checks and unpacks `unit`.
    pub fn of(unit: &Piece, bounds: &Bounds) -> Result<Unpacked, ReframeError> {
        match unit {
            Piece::Batch(batch) => Unpacked::of_batch(batch, bounds),
            Piece::OldFormat { bytes, .. } => {
                let (set, codec, plain) = old::unpack(bytes, bounds)?;
                Ok(Unpacked { form: Form::Old(set), codec, plain })
            }
        }
    }

    /// Checks and unpacks a batch of magic 2.
    pub fn of_batch(batch: &BatchView, bounds: &Bounds) -> Result<Unpacked, ReframeError> {
        crc::check(batch)?;
        let codec = Codec::of(batch.attributes())?;
        let plain = match codec {
            Codec::None => batch.records(),
            packed => codec::decompress(packed, batch.section(), bounds.unpacked_bytes_max)?.into(),
        };
        Ok(Unpacked { form: Form::Batch(batch.clone()), codec, plain })
    }

    /// How the unit was packed.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// The leader epoch that appended it; none for old formats.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        match &self.form {
            Form::Batch(batch) => batch.leader_epoch(),
            Form::Old(_) => LeaderEpoch::NONE,
        }
    }

    /// The offset behind the last one that the unit occupies.
    pub fn next_offset(&self) -> Offset {
        match &self.form {
            Form::Batch(batch) => batch.next_offset(),
            Form::Old(set) => set.next_offset(),
        }
    }

    /// How many bytes the records take, unpacked.
    pub fn plain_bytes(&self) -> usize {
        self.plain.len()
    }

    /// Each record in the order of the log; ends at the first malformed one.
    pub fn entries(&self) -> Result<Entries<'_>, WireError> {
        Ok(match &self.form {
            Form::Batch(batch) => {
                let count = batch.count().unsigned_abs();
                Entries::Batch { batch, records: Records::new(&self.plain, count)? }
            }
            Form::Old(set) => Entries::Old { set, left: &self.plain },
        })
    }
}

/// Walks the records of an [`Unpacked`].
#[derive(Debug)]
pub enum Entries<'a> {
    /// Of a batch of magic 2.
    Batch {
        /// The header.
        batch: &'a BatchView,
        /// What is left.
        records: Records<'a>,
    },
    /// Of a message set.
    Old {
        /// How to read it.
        set: &'a OldSet,
        /// What is left.
        left: &'a [u8],
    },
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, ReframeError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Entries::Batch { batch, records } => {
                let record = records.next()?;
                let entry = record.and_then(|record| entry(batch, record));
                if entry.is_err() {
                    *records = Records::new(&[], 0).expect("no records need no bytes");
                }
                Some(entry.map_err(ReframeError::Malformed))
            }
            Entries::Old { left: [], .. } => None,
            Entries::Old { set, left } => {
                let entry = set.entry(left);
                if entry.is_err() {
                    *left = &[];
                }
                Some(entry)
            }
        }
    }
}

fn entry<'a>(batch: &BatchView, record: RecordView<'a>) -> Result<Entry<'a>, WireError> {
    let RecordView { offset_delta, timestamp_delta, key, value, headers } = record;
    let (offset, timestamp_ms) = place(batch, offset_delta, timestamp_delta)?;
    Ok(Entry { offset, record: NewRecord { timestamp_ms, key, value, headers } })
}

/// At which offset a reader gets a record of `batch`, if any, and with which timestamp.
pub(super) fn place(
    batch: &BatchView,
    offset_delta: i32,
    timestamp_delta: i64,
) -> Result<(Option<Offset>, i64), WireError> {
    if offset_delta > batch.last_offset_delta() {
        return Err(WireError::BadValue { what: "offset delta", value: offset_delta.into() });
    }
    let timestamp_ms = if batch.attributes().has(Attributes::LOG_APPEND_TIME) {
        batch.max_timestamp().0
    } else {
        // a difference that wraps comes back when a reader adds it
        batch.base_timestamp().0.wrapping_add(timestamp_delta)
    };
    let offset = u64::try_from(offset_delta).ok();
    Ok((offset.and_then(|delta| batch.base_offset().plus(delta)), timestamp_ms))
}
