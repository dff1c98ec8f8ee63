//! How far a partition is behind: records, bytes as far as they are known, milliseconds.
//!
//! It never guesses: what is not known is `None`.

use crate::ids::Offset;
use crate::ids::TimestampMs;

/// What people see of a partition; a copy, taken when somebody asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// A word of docs/STATES.md: Preparing, Mirroring, Draining, Halted.
    pub state: &'static str,
    /// Why it stands still, for a halted or failing one: label and text.
    pub reason: Option<(&'static str, String)>,
    /// The source's high watermark (or last stable offset, by the link's isolation level).
    pub source_end: Option<Offset>,
    /// The destination's log end offset, as last confirmed.
    pub destination_end: Option<Offset>,
    /// The destination's high watermark, as last confirmed.
    pub destination_hwm: Option<Offset>,
    /// Records between the two.
    pub lag_records: Option<u64>,
    /// Bytes fetched and not confirmed yet: the known part of the lag.
    pub lag_bytes: u64,
    /// The age of the oldest record that is not mirrored; 0 when there is none.
    pub lag_ms: Option<u64>,
    /// Batches, records and bytes that the destination confirmed since the start.
    pub copied: Copied,
}

/// Totals since the start of the process.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Batches.
    pub batches: u64,
    /// Offsets, which in dense batches are records.
    pub records: u64,
    /// Header and record bytes.
    pub bytes: u64,
}

/// Keeps what the lag is computed from.
#[derive(Debug, Default)]
pub struct Lag {
    /// The source's end that consumers see; written by every fetch answer.
    pub source_end: Option<Offset>,
    /// The destination's high watermark; written by every acknowledgement.
    pub destination_hwm: Option<Offset>,
    /// When the source was first seen ahead of the destination.
    behind_since: Option<TimestampMs>,
}

impl Lag {
    /// Notes at wall time `now` that the two ends may have moved.
    pub fn note(&mut self, now: TimestampMs) {
        match self.records() {
            Some(0) | None => self.behind_since = None,
            Some(_) => {
                self.behind_since.get_or_insert(now);
            }
        }
    }

    /// Records between the two ends.
    pub fn records(&self) -> Option<u64> {
        Some(self.destination_hwm?.distance_to(self.source_end?))
    }

    /// Milliseconds at wall time `now`: by the timestamp of the oldest batch in hand where there
    /// is one, else since when the source is known to be ahead. A timestamp in the future or of
    /// nothing (-1) says nothing and is not used.
    pub fn ms(&self, now: TimestampMs, oldest: Option<TimestampMs>) -> Option<u64> {
        if self.records()? == 0 {
            return Some(0);
        }
        let oldest = oldest.filter(|time| time.0 >= 0 && time.0 <= now.0);
        let since = oldest.or(self.behind_since).unwrap_or(now);
        Some(u64::try_from(now.0 - since.0).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_zero_only_when_the_ends_are_equal() {
        let at = |raw| Offset::new(raw);
        let mut lag = Lag::default();
        lag.note(TimestampMs(5));
        assert_eq!((lag.records(), lag.ms(TimestampMs(9), None)), (None, None));
        lag.source_end = at(10);
        lag.destination_hwm = at(4);
        lag.note(TimestampMs(100));
        lag.note(TimestampMs(200));
        assert_eq!(lag.records(), Some(6));
        assert_eq!(lag.ms(TimestampMs(250), None), Some(150));
        assert_eq!(lag.ms(TimestampMs(250), Some(TimestampMs(50))), Some(200));
        assert_eq!(lag.ms(TimestampMs(250), Some(TimestampMs(-1))), Some(150));
        assert_eq!(lag.ms(TimestampMs(250), Some(TimestampMs(900))), Some(150));
        lag.destination_hwm = at(10);
        lag.note(TimestampMs(300));
        assert_eq!(lag.ms(TimestampMs(400), None), Some(0));
        // a destination ahead of what the source shows is not a negative lag
        lag.destination_hwm = at(11);
        assert_eq!(lag.records(), Some(0));
    }
}
