//! Which batches of the log are of a chain of ours.
//!
//! It never says whether one counts: `control::journal` does.

use crate::cluster::keyed::batch::LogBatch;
use crate::flow::producer_id;
use crate::ids::Offset;
use crate::ids::TopicId;

/// Where the chain of sequences begins to which a batch belongs, if it is one of ours.
pub(super) fn chain(topic: TopicId, batch: &LogBatch) -> Option<Offset> {
    let (id, sequence) = batch.written?;
    let start = Offset::new(batch.base.get() - i64::from(sequence))?;
    (producer_id::of_journal(topic, start).id == id).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LeaderEpoch;

    const TOPIC: TopicId = TopicId([3; 16]);

    fn offset(raw: i64) -> Offset {
        Offset::new(raw).unwrap()
    }

    fn batch(base: i64) -> LogBatch {
        let next = offset(base + 1);
        let epoch = LeaderEpoch(0);
        LogBatch { base: offset(base), next, written: None, epoch, records: Vec::new() }
    }

    #[test]
    fn the_chain_is_known_by_the_writers_id() {
        let start = offset(100);
        let id = producer_id::of_journal(TOPIC, start).id;
        let of =
            |id, sequence| chain(TOPIC, &LogBatch { written: Some((id, sequence)), ..batch(107) });
        assert_eq!(of(id, 7), Some(start));
        assert_eq!(of(id, 6), None, "its sequence is not its place");
        assert_eq!(of(crate::ids::ProducerId(7), 7), None);
        assert_eq!(of(id, i32::MAX), None);
        assert_eq!(chain(TOPIC, &batch(107)), None);
        assert_eq!(
            chain(TopicId([4; 16]), &LogBatch { written: Some((id, 7)), ..batch(107) }),
            None
        );
    }
}
