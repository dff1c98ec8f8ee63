//! What the source has acknowledged of a canary, and what the copy was found to hold of it: the
//! loss, and the first difference.
//!
//! It never counts a record that was not acknowledged, and asks no cluster.

use std::time::Duration;
use std::time::Instant;

/// One record of a canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

impl Record {
    /// The n-th of a partition; `who` tells those of the source from those of the destination.
    pub fn new(who: &str, partition: u16, number: u64, timestamp_ms: i64) -> Record {
        let key = format!("{who}-{partition}-{number}").into_bytes();
        let value = format!("a drill of isolog, {who}, partition {partition}, record {number}; ");
        Record { timestamp_ms, key, value: value.repeat(1 + (number % 4) as usize).into_bytes() }
    }
}

/// A record as it was read, with its offset.
pub type Read = (u64, Record);

/// The records of each partition, from offset 0 on, with the time of their acknowledgement.
#[derive(Debug, Default)]
pub struct Ledger(Vec<Vec<(Record, Instant)>>);

/// What was acknowledged and is not in the copy.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// How many records.
    pub records: u64,
    /// How long before the end the first of them was acknowledged.
    pub before: Duration,
}

impl Ledger {
    /// Of a canary of so many partitions, all empty.
    pub fn new(partitions: u16) -> Ledger {
        Ledger((0..partitions).map(|_| Vec::new()).collect())
    }

    /// Where a partition ends.
    pub fn end(&self, partition: u16) -> u64 {
        self.of(partition).len() as u64
    }

    /// How many records were acknowledged.
    pub fn records(&self) -> u64 {
        self.0.iter().map(|one| one.len() as u64).sum()
    }

    /// The source has acknowledged these, behind those it had.
    pub fn acknowledged(&mut self, partition: u16, records: Vec<Record>, at: Instant) {
        if let Some(own) = self.0.get_mut(usize::from(partition)) {
            own.extend(records.into_iter().map(|record| (record, at)));
        }
    }

    fn of(&self, partition: u16) -> &[(Record, Instant)] {
        self.0.get(usize::from(partition)).map_or(&[], Vec::as_slice)
    }

    /// What lies behind the seals, by partition, of a source that was given up at that moment.
    pub fn lost(&self, seals: &[u64], end: Instant) -> Lost {
        let mut lost = Lost::default();
        for (own, seal) in self.0.iter().zip(seals) {
            let behind = usize::try_from(*seal).unwrap_or(usize::MAX).min(own.len());
            let gone = &own[behind..];
            lost.records += gone.len() as u64;
            if let Some((_, at)) = gone.first() {
                lost.before = lost.before.max(end.saturating_duration_since(*at));
            }
        }
        lost
    }

    /// What the copy of a partition that was sealed there holds otherwise than the source: below
    /// the seal the very same records at the very same offsets, behind it only what was written at
    /// the destination. The first difference, in words.
    pub fn difference(
        &self,
        partition: u16,
        seal: u64,
        own: &Record,
        read: &[Read],
    ) -> Option<String> {
        let ours = self.of(partition);
        if seal > ours.len() as u64 {
            let all = ours.len();
            return Some(format!("it is sealed at {seal}, and the source acknowledged {all}"));
        }
        let mut next = 0;
        let mut is_written = false;
        for (offset, record) in read {
            if *offset >= seal {
                if record != own || is_written {
                    return Some(format!("offset {offset}, behind the seal, is nobody's record"));
                }
                is_written = true;
                continue;
            }
            if *offset != next {
                return Some(format!("offset {next} is missing: {offset} follows"));
            }
            let source = usize::try_from(next).ok().and_then(|at| ours.get(at));
            if source.map(|(record, _)| record) != Some(record) {
                return Some(format!("offset {offset} holds another record than at the source"));
            }
            next += 1;
        }
        match (next == seal, is_written) {
            (false, _) => Some(format!("offset {next} is missing, below the seal at {seal}")),
            (true, false) => Some("what was written at the destination is not there".to_owned()),
            (true, true) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u64) -> Record {
        Record::new("source", 0, number, 1_000 + number as i64)
    }

    fn own() -> Record {
        Record::new("destination", 0, 0, 9_000)
    }

    /// Four records, acknowledged a second apart from `start` on.
    fn ledger(start: Instant) -> Ledger {
        let mut ledger = Ledger::new(1);
        for number in 0..4 {
            let at = start + Duration::from_secs(number);
            ledger.acknowledged(0, vec![source(number)], at);
        }
        ledger
    }

    #[test]
    fn what_lies_behind_a_seal_is_lost_by_count_and_by_time() {
        let start = Instant::now();
        let (ledger, end) = (ledger(start), start + Duration::from_secs(5));
        assert_eq!((ledger.records(), ledger.end(0)), (4, 4));
        assert_eq!(ledger.lost(&[4], end), Lost::default());
        let two = Lost { records: 2, before: Duration::from_secs(3) };
        assert_eq!(ledger.lost(&[2], end), two);
        assert_eq!(ledger.lost(&[0], end).records, 4);
    }

    #[test]
    fn every_way_in_which_a_copy_differs_is_told() {
        let ledger = ledger(Instant::now());
        let below = |count: u64| (0..count).map(|at| (at, source(at))).collect::<Vec<_>>();
        let told = |seal: u64, read: Vec<Read>| ledger.difference(0, seal, &own(), &read);
        let with = |mut read: Vec<Read>, more: &[Read]| {
            read.extend_from_slice(more);
            read
        };
        assert_eq!(told(3, with(below(3), &[(4, own())])), None);
        let cases: [(u64, Vec<Read>, &str); 8] = [
            (3, below(3), "is not there"),
            (3, with(below(2), &[(4, own())]), "offset 2 is missing, below the seal at 3"),
            (3, with(vec![(0, source(0)), (2, source(2))], &[(4, own())]), "offset 1 is missing"),
            (3, with(below(2), &[(2, source(3)), (4, own())]), "offset 2 holds another record"),
            (3, with(below(3), &[(4, own()), (5, own())]), "offset 5, behind the seal"),
            (3, with(below(3), &[(3, source(3))]), "offset 3, behind the seal"),
            (0, vec![], "is not there"),
            (9, vec![], "sealed at 9, and the source acknowledged 4"),
        ];
        for (seal, read, words) in cases {
            let text = told(seal, read).unwrap();
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_record_of_another_time_is_another_one() {
        let ledger = ledger(Instant::now());
        let mut late = source(0);
        late.timestamp_ms += 1;
        let text = ledger.difference(0, 1, &own(), &[(0, late), (2, own())]).unwrap();
        assert!(text.contains("offset 0 holds another record"), "{text}");
    }
}
