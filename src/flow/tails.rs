//! The handshake of the tails: are the last batches below the destination's end the source's own?
//!
//! It never reads more than a few batches of each side and never writes.
//!
//! A wrong append shows only afterwards, so before the first one, and after every unknown outcome,
//! the destination's last batches are compared with the source's at the same offsets: the bytes of
//! the records, and every header field that the copy keeps (`docs/OFFSETS.md`).

use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::cluster::conn::Conn;
use crate::cluster::conn::read::Read;
use crate::cluster::error::ClusterError;
use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::ProducerId;
use crate::ids::Side;
use crate::ids::TopicId;
use crate::ids::TopicPartition;
use crate::mirror::facts::Tail;
use crate::wire::batch::Attributes;
use crate::wire::batch::BatchView;
use crate::wire::error::KafkaCode;
use crate::wire::fetch::FetchedPartition;
use crate::wire::fetch::Isolation;
use crate::wire::split::Piece;
use crate::wire::split::split;

/// How many batches back: all that can have been in flight, and one that cannot.
pub const BATCHES_BACK: usize = 6;
/// OFFSET_NOT_AVAILABLE.
pub const OFFSET_NOT_AVAILABLE: KafkaCode = KafkaCode(78);
/// What one look asks for: the first batch comes whole whatever its size.
const LOOK_BYTES: i32 = 64 * 1024;
/// The largest answer of a look.
pub const LOOK_FRAME_BYTES_MAX: usize = 100 << 20;
/// The broker need not wait: what is looked for is there.
const LOOK_WAIT_MS: i32 = 100;

/// One side of the comparison.
pub struct LogEye<'a> {
    /// The cluster, for its deadlines.
    pub cluster: &'a Cluster,
    /// A connection of its own to the partition's leader.
    pub conn: &'a mut Conn,
    /// The topic's id there.
    pub topic: TopicId,
    /// The leader's epoch.
    pub epoch: LeaderEpoch,
    /// The log start.
    pub start: Offset,
}

/// Why a look failed.
#[derive(Debug)]
pub enum LookError {
    /// The connection.
    Cluster(ClusterError),
    /// The partition, on one side.
    Code(Side, KafkaCode),
}

impl From<ClusterError> for LookError {
    fn from(error: ClusterError) -> LookError {
        LookError::Cluster(error)
    }
}

/// Compares `back` batches below `end`, newest first.
pub async fn compare(
    tp: &TopicPartition,
    end: Offset,
    back: usize,
    writer: ProducerId,
    source: &mut LogEye<'_>,
    destination: &mut LogEye<'_>,
) -> Result<Tail, LookError> {
    let mut below = end;
    let mut newest = None;
    let mut differs = None;
    for _ in 0..back {
        let Some(last) = below.get().checked_sub(1).and_then(Offset::new) else { break };
        if last < destination.start || last < source.start {
            break;
        }
        let Some(copy) = destination.look(tp, last).await? else { break };
        let at = copy.base_offset().max(source.start);
        match source.look(tp, at).await? {
            Some(original) => match judge(&original, &copy, writer) {
                Verdict::Equal => newest = newest.or(Some(original.leader_epoch())),
                Verdict::Unlike => differs = Some(copy.base_offset()),
                Verdict::Incomparable => {}
            },
            // Its high watermark is behind for a moment, as after an election: look again.
            None => return Err(LookError::Code(Side::Source, OFFSET_NOT_AVAILABLE)),
        }
        below = copy.base_offset();
    }
    Ok(match (differs, newest) {
        (Some(at), _) => Tail::Differs(at),
        (None, Some(epoch)) => Tail::Equal(epoch),
        (None, None) => Tail::NothingShared,
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Equal,
    Unlike,
    /// Compaction has changed the source's batch since, or taken it away.
    Incomparable,
}

/// A batch of ours that the source does not have any more is compaction's doing; one of somebody
/// else's in a hole of the source is a record too many (found by fuzzing the partition machine).
fn judge(original: &BatchView, copy: &BatchView, writer: ProducerId) -> Verdict {
    let span = |batch: &BatchView| (batch.base_offset(), batch.next_offset());
    let (ours, theirs) = (span(copy), span(original));
    let dense = |batch: &BatchView| u64::try_from(batch.count()) == Ok(batch.span());
    if theirs.0 >= ours.1 || !dense(original) {
        let is_ours = copy.producer_id() == writer;
        return if is_ours { Verdict::Incomparable } else { Verdict::Unlike };
    }
    let kept = |batch: &BatchView| {
        let times = (batch.base_timestamp(), batch.max_timestamp());
        let codec = batch.attributes().0 & (Attributes::CODEC_MASK | Attributes::LOG_APPEND_TIME);
        (times, codec, batch.count())
    };
    let same = ours == theirs && kept(copy) == kept(original);
    if same && copy.records() == original.records() { Verdict::Equal } else { Verdict::Unlike }
}

impl LogEye<'_> {
    /// The batch that holds `offset`, or the next one; `None` where there is none.
    async fn look(
        &mut self,
        tp: &TopicPartition,
        offset: Offset,
    ) -> Result<Option<BatchView>, LookError> {
        let side = self.cluster.side();
        let read = Read {
            tp,
            topic: self.topic,
            epoch: self.epoch,
            offset,
            isolation: Isolation::ReadUncommitted,
            bytes_max: LOOK_BYTES,
            wait_ms_max: LOOK_WAIT_MS,
        };
        self.conn.ask_read(&read, Instant::now() + self.cluster.options().request_timeout)?;
        let told = |error: ClusterError| match error.code() {
            Some(code) => LookError::Code(side, code),
            None => error.into(),
        };
        first_batch(side, self.conn.take_read().await.map_err(told)?, offset)
    }
}

fn first_batch(
    side: Side,
    one: FetchedPartition,
    offset: Offset,
) -> Result<Option<BatchView>, LookError> {
    if !one.code.is_none() {
        return Err(LookError::Code(side, one.code));
    }
    for piece in split(one.records) {
        match piece {
            Ok(Piece::Batch(batch)) if batch.next_offset() > offset => return Ok(Some(batch)),
            Ok(_) => {}
            // A corrupt batch is nothing to compare with: the copy loop meets it again.
            Err(_) => return Err(LookError::Code(side, KafkaCode(2))),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::align::tests::batch;

    /// The batches of these tests carry no producer: so does their writer, but for one test.
    const WRITER: ProducerId = ProducerId(-1);

    fn check(original: BatchView, copy: BatchView, want: Verdict) {
        assert_eq!(judge(&original, &copy, WRITER), want);
    }

    #[test]
    fn only_what_the_copy_keeps_is_compared() {
        let txn = Attributes::TRANSACTIONAL;
        check(batch(10, 5, 5, txn), batch(10, 5, 5, 0), Verdict::Equal);
        check(batch(10, 5, 5, 1), batch(10, 5, 5, 0), Verdict::Unlike);
        check(batch(9, 6, 6, 0), batch(10, 5, 5, 0), Verdict::Unlike);
        check(batch(10, 6, 6, 0), batch(10, 5, 5, 0), Verdict::Unlike);
        check(batch(10, 5, 3, 0), batch(10, 5, 5, 0), Verdict::Incomparable);
        check(batch(15, 5, 5, 0), batch(10, 5, 5, 0), Verdict::Incomparable);
    }

    #[test]
    fn somebody_elses_batch_where_the_source_has_none_is_one_too_many() {
        let judged = |original| judge(&original, &batch(10, 5, 5, 0), ProducerId(7));
        assert_eq!(judged(batch(15, 5, 5, 0)), Verdict::Unlike);
        assert_eq!(judged(batch(10, 5, 3, 0)), Verdict::Unlike);
        assert_eq!(judged(batch(10, 5, 5, 0)), Verdict::Equal);
    }
}
