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
use crate::flow::probe::judge::Original;
use crate::flow::probe::judge::Verdict;
use crate::flow::probe::judge::judge;
use crate::flow::probe::judge::judge_hidden;
use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::ProducerId;
use crate::ids::Side;
use crate::ids::TimestampMs;
use crate::ids::TopicId;
use crate::ids::TopicPartition;
use crate::mirror::facts::Tail;
use crate::wire::batch::Attributes;
use crate::wire::batch::BatchView;
use crate::wire::error::KafkaCode;
use crate::wire::fetch::FetchedPartition;
use crate::wire::fetch::Isolation;
use crate::wire::filler::NO_TIMESTAMP;
use crate::wire::filler::is_front;
use crate::wire::filler::seal::Whose;
use crate::wire::filler::seal::whose;
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
    /// What it calls the partition.
    pub tp: TopicPartition,
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

/// What the last batches tell.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Whether they agree.
    pub tail: Tail,
    /// The greatest timestamp of the destination's last batch, -1 where there is none.
    pub timestamp: TimestampMs,
    /// Nothing but fillers was ever written there.
    pub is_prefix: bool,
}

impl Found {
    /// No offset is on both sides.
    pub const NOTHING: Found =
        Found { tail: Tail::NothingShared, timestamp: NO_TIMESTAMP, is_prefix: false };
}

/// Compares `back` batches below `end`, newest first.
pub async fn compare(
    end: Offset,
    back: usize,
    writer: ProducerId,
    source: &mut LogEye<'_>,
    destination: &mut LogEye<'_>,
) -> Result<Found, LookError> {
    let (mut below, mut found, mut differs) = (end, Found::NOTHING, None);
    let (mut is_prefix, mut is_stamped) = (false, false);
    for step in 0..back {
        let Some(last) = below.get().checked_sub(1).and_then(Offset::new) else { break };
        if last < destination.start {
            break;
        }
        let seen = destination.look(last).await?;
        let Some(copy) = seen.batches.into_iter().next() else { break };
        if whose(&copy, writer) == Whose::Seal {
            return Ok(Found { tail: Tail::Sealed(Some(copy.base_offset())), ..found });
        }
        // below one batch of the prefix there is nothing else
        is_prefix = is_front(&copy) && (is_prefix || destination.begins_with_front().await?);
        if step == 0 {
            found.timestamp = copy.max_timestamp();
            found.is_prefix = is_prefix;
        }
        if last < source.start {
            // Nothing can vouch for the records of somebody else there; fillers have none.
            if copy.producer_id() != writer && !is_prefix {
                differs = Some(copy.base_offset());
            }
            break;
        }
        // The source may have records where the mirror had not begun: below a start that was
        // chosen, and below a log start that a broker forgot when it crashed (broker facts, A6).
        let original = match is_prefix {
            true => Original::default(),
            false => source.original(&copy).await?,
        };
        let verdict = match judge(&original, &copy, writer) {
            Verdict::Unlike if destination.has_aborted(&copy, writer).await? => {
                judge_hidden(&original, &copy)
            }
            verdict => verdict,
        };
        match verdict {
            Verdict::Unlike => {
                is_stamped = is_stamped_by_broker(&original, &copy, writer);
                differs = Some(copy.base_offset());
            }
            Verdict::Equal | Verdict::Incomparable if step == 0 => {
                found.tail = Tail::Equal(original.epoch_before(end));
            }
            Verdict::Equal | Verdict::Incomparable => {}
        }
        below = copy.base_offset();
    }
    let tail = if is_stamped { Tail::Stamped } else { Tail::Differs };
    found.tail = differs.map_or(found.tail, tail);
    Ok(found)
}

/// Whether a batch of ours has the time of the destination's broker, and the source's not its own.
fn is_stamped_by_broker(original: &Original, copy: &BatchView, writer: ProducerId) -> bool {
    let is = |batch: &BatchView| batch.attributes().has(Attributes::LOG_APPEND_TIME);
    copy.producer_id() == writer && is(copy) && !original.batches.iter().any(is)
}

/// One answer of a look.
pub(in crate::flow) struct Seen {
    /// From the one that holds the offset on, or the next one.
    pub batches: Vec<BatchView>,
    /// Who has aborted what is from there on, and where that began; of a committed look alone.
    aborted: Vec<(ProducerId, Offset)>,
    has_old: bool,
    high_watermark: Offset,
    is_throttled: bool,
}

impl LogEye<'_> {
    /// Whether the log begins with fillers of the part below the source's start: where its last
    /// batch is one too, nothing else was ever written. (Records of old formats have no time
    /// either, and what is filled behind them has none.)
    async fn begins_with_front(&mut self) -> Result<bool, LookError> {
        let seen = self.look(self.start).await?;
        Ok(seen.batches.first().is_some_and(is_front))
    }

    /// Whether a batch holds records of a transaction of somebody else that was aborted: of a
    /// mirror that was a source itself.
    async fn has_aborted(
        &mut self,
        copy: &BatchView,
        writer: ProducerId,
    ) -> Result<bool, LookError> {
        let is_theirs = copy.producer_id() != writer;
        if !is_theirs || !copy.attributes().has(Attributes::TRANSACTIONAL) {
            return Ok(false);
        }
        let base = copy.base_offset();
        let seen = self.look_as(base, Isolation::ReadCommitted).await?;
        // one producer has one transaction at a time
        Ok(seen.aborted.iter().any(|(id, first)| *id == copy.producer_id() && *first <= base))
    }

    /// What the source has at the offsets of `copy`, as far as one answer goes.
    async fn original(&mut self, copy: &BatchView) -> Result<Original, LookError> {
        let at = copy.base_offset().max(self.start);
        let seen = self.look(at).await?;
        let nothing = seen.batches.is_empty() && !seen.has_old;
        if nothing && (seen.high_watermark <= at || seen.is_throttled) {
            // Its high watermark is behind for a moment, as after an election: look again.
            return Err(LookError::Code(self.cluster.side(), OFFSET_NOT_AVAILABLE));
        }
        let inside = |batch: &BatchView| batch.base_offset() < copy.next_offset();
        let batches = seen.batches.into_iter().take_while(inside).collect();
        Ok(Original { batches })
    }

    /// Up to where the log holds nothing from `end` on, if that is so: whatever was there is gone
    /// for good.
    pub async fn hole_to(&mut self, end: Offset) -> Result<Option<Offset>, LookError> {
        let seen = self.look(end).await?;
        let nothing = seen.batches.is_empty() && !seen.has_old && !seen.is_throttled;
        Ok((nothing && seen.high_watermark > end).then_some(seen.high_watermark))
    }

    /// Where the seal of `writer` stands, if the last batch below `end` is one.
    pub(in crate::flow) async fn seal_below(
        &mut self,
        end: Offset,
        writer: ProducerId,
    ) -> Result<Option<Offset>, LookError> {
        let last = end.get().checked_sub(1).and_then(Offset::new).filter(|at| *at >= self.start);
        let Some(last) = last else { return Ok(None) };
        let seen = self.look(last).await?;
        let sealed = seen.batches.first().filter(|batch| whose(batch, writer) == Whose::Seal);
        Ok(sealed.map(BatchView::base_offset))
    }

    /// The batch that holds `offset`, or the next one, and what follows it.
    pub(in crate::flow) async fn look(&mut self, offset: Offset) -> Result<Seen, LookError> {
        self.look_as(offset, Isolation::ReadUncommitted).await
    }

    async fn look_as(&mut self, offset: Offset, isolation: Isolation) -> Result<Seen, LookError> {
        let side = self.cluster.side();
        let read = Read {
            tp: &self.tp,
            topic: self.topic,
            epoch: self.epoch,
            offset,
            isolation,
            bytes_max: LOOK_BYTES,
            wait_ms_max: LOOK_WAIT_MS,
        };
        self.conn.ask_read(&read, Instant::now() + self.cluster.options().request_timeout)?;
        let told = |error: ClusterError| match error.code() {
            Some(code) => LookError::Code(side, code),
            None => error.into(),
        };
        let (one, throttle_ms) = self.conn.take_read_throttled().await.map_err(told)?;
        cut(side, one, throttle_ms, offset)
    }
}

fn cut(
    side: Side,
    one: FetchedPartition,
    throttle_ms: u32,
    offset: Offset,
) -> Result<Seen, LookError> {
    if !one.code.is_none() {
        return Err(LookError::Code(side, one.code));
    }
    let mut seen = Seen {
        batches: Vec::new(),
        aborted: one.aborted,
        has_old: false,
        high_watermark: one.high_watermark.unwrap_or(Offset::ZERO),
        is_throttled: throttle_ms > 0,
    };
    let mut pieces = split(one.records);
    for piece in pieces.by_ref() {
        match piece {
            Ok(Piece::Batch(batch)) if batch.next_offset() > offset => seen.batches.push(batch),
            Ok(Piece::Batch(_)) => {}
            Ok(Piece::OldFormat { .. }) => seen.has_old = true,
            // A corrupt batch is nothing to compare with: the copy loop meets it again.
            Err(_) if seen.batches.is_empty() => {
                return Err(LookError::Code(side, KafkaCode(2)));
            }
            Err(_) => break,
        }
    }
    // A first batch always comes whole; were it cut off, that would prove no hole.
    seen.is_throttled |= seen.batches.is_empty() && pieces.cut().is_some();
    Ok(seen)
}
