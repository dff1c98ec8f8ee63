//! How far a partition is behind: records, bytes as far as they are known, milliseconds.
//!
//! It never guesses: what is not known is `None`.

use crate::ids::Offset;
use crate::ids::ProducerId;
use crate::ids::TimestampMs;
use crate::mirror::gap::Why;
use crate::mirror::window::Made;
use crate::mirror::window::Unit;

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
    /// Offsets below the source's log start that are yet to be filled.
    pub front_offsets: u64,
    /// Records behind `source_end` that an open transaction of the source holds back.
    pub held_records: u64,
    /// That transaction, once the source has been asked.
    pub held_by: Option<HeldBy>,
    /// What the destination confirmed since the start.
    pub copied: Copied,
}

/// The open transaction at the source's last stable offset.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct HeldBy {
    /// Whose it is.
    pub producer: ProducerId,
    /// Its first record: the last stable offset.
    pub since: Offset,
    /// When the producer wrote last, by its records.
    pub last_timestamp: TimestampMs,
}

/// Totals since the start of the process, of what the destination confirmed.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Batches of records, as they are at the source or encoded anew.
    pub batches: u64,
    /// Their offsets, which in dense batches are records.
    pub records: u64,
    /// Their header and record bytes.
    pub bytes: u64,
    /// Of those batches, the ones that were encoded anew.
    pub reencoded: u64,
    /// Batches of the source that became part of a larger one.
    pub merged: u64,
    /// Offsets that were filled.
    pub filled: u64,
    /// Bytes of the fillers.
    pub filler_bytes: u64,
    /// Offsets of declared holes: records that retention took before they were copied.
    pub overtaken: u64,
}

impl Copied {
    /// Counts a batch that has landed.
    pub fn count(&mut self, unit: &Unit) {
        let offsets = unit.base.distance_to(unit.next);
        match unit.made {
            Made::Filler(why) => {
                self.filled += offsets;
                self.filler_bytes += unit.bytes as u64;
                self.overtaken += if why == Why::Overtaken { offsets } else { 0 };
            }
            Made::AtSource | Made::Reencoded | Made::Merged(_) => {
                self.batches += 1;
                self.records += offsets;
                self.bytes += unit.bytes as u64;
                self.reencoded += u64::from(unit.made == Made::Reencoded);
                if let Made::Merged(batches) = unit.made {
                    self.merged += u64::from(batches);
                }
            }
        }
    }

    /// Everything that landed, in bytes.
    pub fn all_bytes(&self) -> u64 {
        self.bytes + self.filler_bytes
    }
}

/// Keeps what the lag is computed from.
#[derive(Debug, Default)]
pub struct Lag {
    /// The source's end that consumers see; written by every fetch answer.
    pub source_end: Option<Offset>,
    /// Records of the source behind it; written by every fetch answer.
    pub held: u64,
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
