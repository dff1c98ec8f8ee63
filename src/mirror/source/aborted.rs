//! Which transactional batches of a fetch answer were aborted.
//!
//! It never remembers anything between two answers: each brings the whole list for its own range,
//! with transactions that began long before it.
//!
//! The rule is the one by which every consumer decides (`CompletedFetch` of Kafka's Java client):
//! a producer is aborted from the first offset which the list names, up to its next ABORT marker.
//! Batches of several producers lie between each other, so it is a set.

use std::collections::BTreeSet;

use crate::ids::Offset;
use crate::ids::ProducerId;
use crate::mirror::align::Fate;
use crate::wire::batch::Attributes;
use crate::wire::batch::BatchView;
use crate::wire::record::Records;

/// Version and type of a control record's key, two bytes each (`ControlRecordType`).
const KEY_BYTES_MIN: usize = 4;
/// The type of an ABORT marker.
const ABORT: i16 = 0;

/// The aborted transactions of one fetch answer, on a walk over its batches.
#[derive(Clone, Debug, Default)]
pub struct Aborted {
    /// First offset and producer, those that the walk has not reached, the last one first.
    ahead: Vec<(Offset, ProducerId)>,
    /// Whose records do not count at the moment.
    now: BTreeSet<ProducerId>,
}

impl Aborted {
    /// The list as the answer has it, in any order; empty for a fetch of uncommitted records.
    pub fn new(listed: impl IntoIterator<Item = (ProducerId, Offset)>) -> Aborted {
        let mut ahead: Vec<_> = listed.into_iter().map(|(id, first)| (first, id)).collect();
        ahead.sort_unstable_by(|a, b| b.cmp(a));
        Aborted { ahead, now: BTreeSet::new() }
    }

    /// What became of the answer's next batch; batches come in the log's order.
    pub fn fate(&mut self, batch: &BatchView) -> Fate {
        while self.ahead.last().is_some_and(|(first, _)| *first < batch.next_offset()) {
            self.now.extend(self.ahead.pop().map(|(_, id)| id));
        }
        let (id, attributes) = (batch.producer_id(), batch.attributes());
        if attributes.has(Attributes::CONTROL) {
            if !self.now.is_empty() && is_abort(batch) {
                self.now.remove(&id);
            }
            return Fate::Visible;
        }
        let inside = attributes.has(Attributes::TRANSACTIONAL) && self.now.contains(&id);
        if inside { Fate::Aborted } else { Fate::Visible }
    }
}

/// Whether a control batch is an ABORT marker. An emptied one, or one of a type that nobody knows,
/// is none.
fn is_abort(batch: &BatchView) -> bool {
    let Ok(mut records) = Records::of(batch) else { return false };
    let Some(Ok(record)) = records.next() else { return false };
    let key = record.key.unwrap_or_default();
    key.len() >= KEY_BYTES_MIN && i16::from_be_bytes([key[2], key[3]]) == ABORT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::tests::marker;
    use crate::mirror::tests::txn;

    fn list(rows: &[(i64, i64)]) -> Aborted {
        let row = |(id, first): &(i64, i64)| (ProducerId(*id), Offset::new(*first).unwrap());
        Aborted::new(rows.iter().map(row))
    }

    fn walk(aborted: &mut Aborted, batches: &[BatchView]) -> Vec<bool> {
        batches.iter().map(|batch| aborted.fate(batch) == Fate::Aborted).collect()
    }

    #[test]
    fn producers_between_each_other_are_told_apart() {
        let log = [
            txn(10, 5, 7),
            txn(15, 5, 8),
            txn(20, 5, 7),
            marker(25, 7, ABORT),
            txn(26, 2, 7),
            txn(28, 2, 8),
            marker(30, 8, 1),
            marker(31, 7, 1),
        ];
        let mut aborted = list(&[(7, 10)]);
        let want = [true, false, true, false, false, false, false, false];
        assert_eq!(walk(&mut aborted, &log), want);
        assert_eq!(walk(&mut list(&[]), &log), [false; 8]);
    }

    #[test]
    fn a_list_that_begins_before_the_answer_and_in_any_order_holds() {
        let log = [txn(100, 5, 7), marker(105, 7, ABORT), txn(106, 1, 7), txn(107, 1, 8)];
        let mut aborted = list(&[(8, 107), (7, 3)]);
        assert_eq!(walk(&mut aborted, &log), [true, false, false, true]);
        // one that begins twice is aborted twice
        let log = [txn(0, 1, 7), marker(1, 7, ABORT), txn(2, 1, 7), txn(3, 1, 7)];
        assert_eq!(walk(&mut list(&[(7, 3), (7, 0)]), &log), [true, false, false, true]);
    }

    #[test]
    fn a_list_that_begins_inside_a_batch_takes_the_batch() {
        // compaction may have taken the first records: the batch keeps its base
        assert_eq!(walk(&mut list(&[(7, 12)]), &[txn(10, 5, 7)]), [true]);
    }

    #[test]
    fn emptied_and_unknown_markers_end_nothing() {
        let mut aborted = list(&[(7, 10)]);
        let emptied = crate::mirror::align::tests::batch(
            11,
            1,
            0,
            Attributes::CONTROL | Attributes::TRANSACTIONAL,
        );
        let log = [txn(10, 1, 7), emptied, marker(12, 7, 9), txn(13, 1, 7)];
        assert_eq!(walk(&mut aborted, &log), [true, false, false, true]);
        // records beside a transaction are never aborted
        let plain = crate::mirror::align::tests::batch(14, 1, 1, 0);
        assert_eq!(walk(&mut aborted, &[plain]), [false]);
    }
}
