//! Follows the only partition of a topic: batch by batch from an offset on, by long fetches.
//!
//! It never goes back, never passes a batch over without its offsets being told, and tells a log
//! that ends below what was read from it.

use tokio::time::Instant;

use crate::cluster::EndKind;
use crate::cluster::Use;
use crate::cluster::conn::Conn;
use crate::cluster::conn::read::Read;
use crate::cluster::error::ClusterError;
use crate::cluster::keyed::batch::LogBatch;
use crate::cluster::keyed::batch::passed_over;
use crate::cluster::keyed::only::NO_LEADER;
use crate::cluster::keyed::only::OnlyPartition;
use crate::cluster::metadata::Partition;
use crate::ids::BrokerId;
use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::TopicId;
use crate::wire::error::KafkaCode;
use crate::wire::error::WireError;
use crate::wire::fetch::FetchedPartition;
use crate::wire::fetch::Isolation;
use crate::wire::reframe::ReframeError;
use crate::wire::split::Piece;
use crate::wire::split::split;

/// What one fetch asks for, in bytes; a batch that is larger comes all the same.
const FETCH_BYTES: i32 = 1 << 20;
/// The largest answer that is read: a batch may be as large as a broker takes a request.
const FRAME_BYTES_MAX: usize = 101 << 20;
/// OFFSET_OUT_OF_RANGE.
const OUT_OF_RANGE: KafkaCode = KafkaCode(1);

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The leader refuses.
    #[error("its leader refuses to be read: {0}")]
    Refused(KafkaCode),
    /// The log ends below what was read from it.
    #[error("its log ends at offset {end}, and was read up to {read}")]
    Below {
        /// Where it ends, or where the part ends that is as it was.
        end: Offset,
        /// Up to where it was read.
        read: Offset,
    },
    /// The log begins behind what is to be read next.
    #[error("its log begins at offset {start}, and was read up to {read} only")]
    Trimmed {
        /// Where it begins.
        start: Offset,
        /// Up to where it was read.
        read: Offset,
    },
    /// What came is not what was written.
    #[error("what lies at offset {at} is damaged: {error}")]
    Damaged {
        /// Where.
        at: Offset,
        /// What is wrong.
        error: ReframeError,
    },
    /// What came is no log.
    #[error("what lies at offset {at} is no batch: {error}")]
    Malformed {
        /// Where.
        at: Offset,
        /// What is wrong.
        error: WireError,
    },
}

/// A place in the log.
pub struct Follower {
    only: OnlyPartition,
    topic: TopicId,
    at: Offset,
    /// The leader epoch of the last batch that was read.
    epoch: LeaderEpoch,
    bytes_max: i32,
    line: Option<(Conn, LeaderEpoch)>,
}

impl Follower {
    /// A place in the log of the topic with that id.
    pub fn new(only: OnlyPartition, topic: TopicId, at: Offset) -> Follower {
        let (epoch, bytes_max) = (LeaderEpoch::NONE, FETCH_BYTES);
        Follower { only, topic, at, epoch, bytes_max, line: None }
    }

    /// The offset that is read next.
    pub fn at(&self) -> Offset {
        self.at
    }

    /// The next batches; none where nothing was written for so long. After an error the connection
    /// is gone, and the metadata should be read before the next try.
    pub async fn next(&mut self, wait_ms_max: i32) -> Result<Vec<LogBatch>, FollowError> {
        let (mut conn, epoch) = match self.line.take() {
            Some(line) => line,
            None => self.dial().await?,
        };
        let read = Read {
            tp: self.only.tp(),
            topic: self.topic,
            epoch,
            offset: self.at,
            isolation: Isolation::ReadUncommitted,
            bytes_max: self.bytes_max,
            wait_ms_max,
        };
        let timeout = self.only.cluster().options().request_timeout;
        conn.ask_read(&read, Instant::now() + timeout)?;
        let (fetched, throttle_ms) = conn.take_read_throttled().await?;
        match fetched.code {
            KafkaCode::NONE => {}
            OUT_OF_RANGE => return Err(self.out_of_range().await?),
            code => return Err(FollowError::Refused(code)),
        }
        let batches = self.take(fetched, throttle_ms > 0)?;
        if let Some(last) = batches.last() {
            self.at = last.next;
            self.bytes_max = FETCH_BYTES;
            let epochs = batches.iter().map(|batch| batch.epoch);
            self.epoch = epochs.fold(self.epoch, LeaderEpoch::max);
        }
        self.line = Some((conn, epoch));
        Ok(batches)
    }

    async fn dial(&mut self) -> Result<(Conn, LeaderEpoch), FollowError> {
        let (leader, partition) = self.only.led().ok_or(FollowError::Refused(NO_LEADER))?;
        if self.epoch != LeaderEpoch::NONE && partition.epoch > self.epoch {
            self.see_that_it_goes_on(leader, &partition).await?;
        }
        let purpose = Use::Look { frame_bytes_max: FRAME_BYTES_MAX };
        let conn = self.only.cluster().open(leader, purpose).await?;
        Ok((conn, partition.epoch))
    }

    /// A leader that was not in sync when it was elected may lack what was read.
    async fn see_that_it_goes_on(
        &mut self,
        leader: BrokerId,
        partition: &Partition,
    ) -> Result<(), FollowError> {
        let asked = [(self.only.tp().clone(), partition.epoch, self.epoch)];
        let mut each = self.only.cluster().epoch_end_offsets(leader, &asked).await?;
        let told = each.remove(self.only.tp()).unwrap_or(Err(KafkaCode::UNKNOWN));
        match told.map_err(FollowError::Refused)?.end {
            Some(end) if end < self.at => Err(FollowError::Below { end, read: self.at }),
            _ => Ok(()),
        }
    }

    async fn out_of_range(&mut self) -> Result<FollowError, FollowError> {
        let (leader, partition) = self.only.led().ok_or(FollowError::Refused(NO_LEADER))?;
        let start = self.only.end(leader, partition.epoch, EndKind::Start).await?;
        let end = self.only.end(leader, partition.epoch, EndKind::LogEnd).await?;
        let read = self.at;
        Ok(if end < read {
            FollowError::Below { end, read }
        } else if start > read {
            FollowError::Trimmed { start, read }
        } else {
            FollowError::Refused(OUT_OF_RANGE)
        })
    }

    fn take(
        &mut self,
        fetched: FetchedPartition,
        is_throttled: bool,
    ) -> Result<Vec<LogBatch>, FollowError> {
        let at = self.at;
        let mut pieces = split(fetched.records);
        let (mut batches, mut next) = (Vec::new(), at);
        for piece in &mut pieces {
            let piece = piece.map_err(|error| FollowError::Malformed { at: next, error })?;
            let batch = self.open(&piece)?;
            // the first one may begin below what was asked for
            if batch.next > next {
                next = batch.next;
                batches.push(batch);
            }
        }
        if batches.is_empty() && !is_throttled {
            match (pieces.cut(), fetched.high_watermark) {
                (Some(cut), _) => {
                    let need = i32::try_from(cut.need.min(FRAME_BYTES_MAX)).unwrap_or(i32::MAX);
                    self.bytes_max = self.bytes_max.max(need);
                }
                // what a cleaner left ends before the log does
                (None, Some(end)) if end > at => batches.push(LogBatch::hole(at, end)),
                _ => {}
            }
        }
        Ok(batches)
    }

    fn open(&self, piece: &Piece) -> Result<LogBatch, FollowError> {
        let read = passed_over(piece, &self.only.tp().topic);
        read.map_err(|error| FollowError::Damaged { at: LogBatch::head(piece).base, error })
    }
}
