//! A tail into a topic of its own at the destination: its n-th record becomes record n there.
//!
//! It never appends behind anything but a beginning of the same tail, so that it may be run again
//! whatever happened before. A record's place is its sequence too: what comes late, or twice, from
//! a run that was killed is refused by the broker.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::sleep;

use crate::audit::log::cursor::Cursor;
use crate::audit::log::cursor::Place;
use crate::audit::log::cursor::Seen;
use crate::audit::log::cursor::Unreadable;
use crate::audit::log::reader::Lines;
use crate::audit::log::reader::Range;
use crate::audit::log::reader::ReadError;
use crate::audit::log::reader::Reader;
use crate::audit::prefix::Ends;
use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::cluster::Use;
use crate::cluster::error::ClusterError;
use crate::cluster::keyed::only::Appended;
use crate::cluster::keyed::only::OnlyPartition;
use crate::flow::producer_id;
use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::Side;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::tail::list::Held;
use crate::tail::range;
use crate::wire::batch::BatchView;
use crate::wire::error::KafkaCode;
use crate::wire::error::Remedy;
use crate::wire::fetch::Isolation;
use crate::wire::record::NewRecord;
use crate::wire::record::plain_batch;
use crate::wire::rewrite::Writer;

/// What one fetch asks for, in bytes; three such answers of each side are alive at most.
const FETCH_BYTES: i32 = 1 << 20;
/// A batch with so many bytes of records is sent; a single record may have more.
const BATCH_BYTES: usize = 512 << 10;
/// What a record takes beside its key, value and headers, at most.
const RECORD_BYTES: usize = 32;
/// The largest answer to an append, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How often in a row a batch is tried.
const TRIES_MAX: u32 = 40;
/// The pause between two tries.
const TRY_PAUSE: Duration = Duration::from_millis(250);
/// Why a tail is not in its topic, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// A log.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A batch.
    #[error("at the {side}, {error}")]
    Unreadable {
        /// Which.
        side: Side,
        /// What is wrong with it.
        error: Unreadable,
    },
    /// The destination.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The leader takes no such batch.
    #[error("{tp}: the destination refuses the records from {at} on: {code}{message}")]
    Refused {
        /// Where.
        tp: TopicPartition,
        /// The first of them.
        at: Offset,
        /// Its answer.
        code: KafkaCode,
        /// What it says beside.
        message: String,
    },
    /// The topic holds what is no beginning of the tail.
    #[error(
        "{tp}: {what}, which is no beginning of the tail: nothing is appended behind it; name \
         another topic with --to, or delete this one"
    )]
    Other {
        /// Where.
        tp: TopicPartition,
        /// What it holds.
        what: String,
    },
    /// Another run, or a producer, was faster.
    #[error(
        "{tp}: somebody else has appended at offset {at} meanwhile: where that was this command, \
         run it again and it compares and goes on; else name another topic with --to"
    )]
    Moved {
        /// Where.
        tp: TopicPartition,
        /// The offset that was to be the tail's.
        at: Offset,
    },
    /// The topic does not keep records as they are.
    #[error(
        "topic {topic} has {key}={value}, and would not hold the tail as it is: set it to {right}, \
         or name another topic with --to"
    )]
    Unfit {
        /// The topic.
        topic: TopicName,
        /// The config.
        key: &'static str,
        /// What it is.
        value: String,
        /// What it must be.
        right: &'static str,
    },
    /// The topic has too few partitions.
    #[error("topic {topic} has {has} partitions and the tail {needs}: name another one with --to")]
    Narrow {
        /// The topic.
        topic: TopicName,
        /// Its partitions.
        has: usize,
        /// Those of the mirror topic.
        needs: i32,
    },
}

/// What became of the tail of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Done {
    /// The topic at the source.
    pub source_topic: String,
    /// The partition, the same on both sides.
    pub partition: i32,
    /// Where its records are.
    pub topic: String,
    /// How many there are.
    pub records: u64,
    /// How many of them were appended now; the others were there, and are equal.
    pub appended: u64,
}

/// Appends the committed records of a tail that are not there yet; those that are, are compared.
pub async fn append(
    both: Ends<'_>,
    held: &Held,
    destination: &Arc<Cluster>,
    topic: &TopicName,
) -> Result<Done, AppendError> {
    let partition = PartitionId(held.partition);
    let mut target =
        Target::open(destination, TopicPartition { topic: topic.clone(), partition }).await?;
    let (mut ours, mut theirs) =
        (Lines::new(both.source, FETCH_BYTES), Lines::new(destination, FETCH_BYTES));
    let Some(source) = range(both, held) else {
        return Err(ReadError::Nothing { side: Side::Source, at: Offset::ZERO }.into());
    };
    let mut tail = Tape::new(&mut ours, source, both.committed_only);
    let mut there = Tape::new(&mut theirs, target.range(), false);
    let end = target.end;
    let mut at = Offset::ZERO;
    while tail.seek().await? {
        let Some(seen) = tail.record()? else { break };
        if at < end {
            there.seek().await?;
            target.compare(at, &seen, there.record()?)?;
            there.cursor.skip_record();
        } else {
            target.push(&seen).await?;
        }
        tail.cursor.skip_record();
        at = at.plus(1).unwrap_or(at);
    }
    tail.reader.finish().await?;
    there.reader.finish().await?;
    if at < end {
        let what = format!("it holds {end} records, the tail has {at}");
        return Err(target.other(what));
    }
    target.flush().await?;
    let count = |offset: Offset| u64::try_from(offset.get()).unwrap_or(0);
    Ok(Done {
        source_topic: held.source_topic.clone(),
        partition: held.partition,
        topic: topic.to_string(),
        records: count(at),
        appended: end.distance_to(at),
    })
}

/// Where the log begins and ends; a leader of a topic that was just made may not know it yet.
async fn bounds(own: &OnlyPartition) -> Result<(Offset, Offset), ClusterError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let (leader, partition) = own.leader().await?;
        let both = async {
            let start = own.end(leader, partition.epoch, EndKind::Start).await?;
            Ok((start, own.end(leader, partition.epoch, EndKind::HighWatermark).await?))
        };
        match both.await {
            Ok(both) => return Ok(both),
            Err(error) if tries >= TRIES_MAX || is_final(&error) => return Err(error),
            Err(_) => sleep(TRY_PAUSE).await,
        }
        own.look().await?;
    }
}

fn is_final(error: &ClusterError) -> bool {
    matches!(error.remedy(), Remedy::Halt | Remedy::Reauth)
}

pub(super) fn said(message: Option<&str>) -> String {
    message.map(|text| format!(": {text}")).unwrap_or_default()
}

/// A log, record by record.
struct Tape<'a, 'l> {
    side: Side,
    reader: Reader<'a, 'l>,
    cursor: Cursor,
}

impl<'a, 'l> Tape<'a, 'l> {
    fn new(lines: &'l mut Lines<'a>, range: Range, committed_only: bool) -> Tape<'a, 'l> {
        let cursor = Cursor::new(range.from, range.end, committed_only);
        Tape { side: lines.cluster().side(), reader: lines.read(range), cursor }
    }

    fn odd(&self, error: Unreadable) -> AppendError {
        AppendError::Unreadable { side: self.side, error }
    }

    fn record(&self) -> Result<Option<Seen<'_>>, AppendError> {
        self.cursor.record().map_err(|error| self.odd(error))
    }

    /// Stands at the next record, if there is one.
    async fn seek(&mut self) -> Result<bool, AppendError> {
        loop {
            match self.cursor.place().map_err(|error| self.odd(error))? {
                Place::Record => return Ok(true),
                Place::Batch => {
                    self.cursor.open_batch().map_err(|error| self.odd(error))?;
                }
                Place::End => return Ok(false),
                Place::Need => match self.reader.next().await? {
                    Some(portion) => self.cursor.feed(portion),
                    None => return Ok(false),
                },
            }
        }
    }
}

/// A record that is to be appended.
struct Own {
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Own {
    fn of(seen: &Seen<'_>) -> Own {
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        let headers = seen.record.headers.iter();
        Own {
            timestamp_ms: seen.timestamp,
            key: owned(seen.record.key),
            value: owned(seen.record.value),
            headers: headers.map(|(name, value)| (name.to_vec(), owned(*value))).collect(),
        }
    }

    fn bytes(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let header = |(name, value): &(Vec<u8>, Option<Vec<u8>>)| name.len() + length(value) + 10;
        let headers: usize = self.headers.iter().map(header).sum();
        RECORD_BYTES + length(&self.key) + length(&self.value) + headers
    }

    fn lent(&self) -> NewRecord<'_> {
        let headers = self.headers.iter();
        NewRecord {
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: headers.map(|(name, value)| (name.as_slice(), value.as_deref())).collect(),
        }
    }
}

/// The partition that a tail goes into.
struct Target {
    own: OnlyPartition,
    id: TopicId,
    writer: Writer,
    /// Where its log ended when it was opened.
    end: Offset,
    /// Where the next batch is to lie.
    next: Offset,
    waiting: Vec<Own>,
    waiting_bytes: usize,
}

impl Target {
    async fn open(destination: &Arc<Cluster>, tp: TopicPartition) -> Result<Target, AppendError> {
        let own = OnlyPartition::of(destination.clone(), tp.clone());
        own.look().await?;
        let (start, end) = bounds(&own).await?;
        let id = destination.topic(&tp.topic).map_or(TopicId::NIL, |topic| topic.id);
        let writer = producer_id::of_tail(id, tp.partition);
        let waiting = Vec::new();
        let target = Target { own, id, writer, end, next: end, waiting, waiting_bytes: 0 };
        match start == Offset::ZERO {
            true => Ok(target),
            false => Err(target.other(format!("its log begins at {start}"))),
        }
    }

    fn range(&self) -> Range {
        Range {
            tp: self.own.tp().clone(),
            topic: self.id,
            isolation: Isolation::ReadUncommitted,
            from: Offset::ZERO,
            end: self.end,
        }
    }

    fn other(&self, what: String) -> AppendError {
        AppendError::Other { tp: self.own.tp().clone(), what }
    }

    /// What is there at `at` must be that record of the tail.
    fn compare(
        &self,
        at: Offset,
        seen: &Seen<'_>,
        there: Option<Seen<'_>>,
    ) -> Result<(), AppendError> {
        let is_same = |there: &Seen<'_>| {
            let (ours, theirs) = (&seen.record, &there.record);
            there.offset == at
                && there.timestamp == seen.timestamp
                && ours.key == theirs.key
                && ours.value == theirs.value
                && ours.headers == theirs.headers
        };
        match there.is_some_and(|there| is_same(&there)) {
            true => Ok(()),
            false => Err(self.other(format!("it holds another record at offset {at}"))),
        }
    }

    async fn push(&mut self, seen: &Seen<'_>) -> Result<(), AppendError> {
        let record = Own::of(seen);
        let bytes = record.bytes();
        if self.waiting_bytes > 0 && self.waiting_bytes + bytes > BATCH_BYTES {
            self.flush().await?;
        }
        self.waiting_bytes += bytes;
        self.waiting.push(record);
        Ok(())
    }

    /// Sends what waits, and waits until the destination has it.
    async fn flush(&mut self) -> Result<(), AppendError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        let records: Vec<NewRecord<'_>> = waiting.iter().map(Own::lent).collect();
        let behind = self.next.plus(records.len() as u64).unwrap_or(self.next);
        let batch = plain_batch(self.writer, self.next.sequence(), records);
        let Some(batch) = batch else { return Ok(()) };
        self.send(&batch, behind).await?;
        self.next = behind;
        Ok(())
    }

    async fn send(&self, batch: &BatchView, behind: Offset) -> Result<(), AppendError> {
        let mut last = None;
        for _ in 0..TRIES_MAX {
            match self.try_send(batch).await {
                Ok(told) if told.code.is_none() && told.base == Some(self.next) => return Ok(()),
                Ok(told) if told.code.is_none() => return Err(self.moved()),
                Ok(told) if matches!(told.code.remedy(), Remedy::Halt | Remedy::Reauth) => {
                    return Err(self.refused(told));
                }
                Ok(told) => last = Some(self.refused(told)),
                Err(error) if is_final(&error) => return Err(error.into()),
                Err(error) => last = Some(error.into()),
            }
            sleep(TRY_PAUSE).await;
            if self.is_there(behind).await? {
                return Ok(());
            }
        }
        Err(last.unwrap_or_else(|| self.moved()))
    }

    async fn try_send(&self, batch: &BatchView) -> Result<Appended, ClusterError> {
        let (leader, _) = self.own.leader().await?;
        let purpose = Use::Look { frame_bytes_max: ANSWER_BYTES_MAX };
        let mut conn = self.own.cluster().open(leader, purpose).await?;
        let told = self.own.append(&mut conn, self.id, batch).await?;
        conn.close();
        Ok(told)
    }

    /// Whether an earlier try was appended, whose answer was lost.
    async fn is_there(&self, behind: Offset) -> Result<bool, AppendError> {
        // who does not answer now is asked again with the next try
        let Ok(()) = self.own.look().await else { return Ok(false) };
        let Some((leader, partition)) = self.own.led() else { return Ok(false) };
        let epoch: LeaderEpoch = partition.epoch;
        match self.own.end(leader, epoch, EndKind::HighWatermark).await {
            Ok(end) if end == behind => Ok(true),
            Ok(end) if end > self.next => Err(self.moved()),
            _ => Ok(false),
        }
    }

    fn moved(&self) -> AppendError {
        AppendError::Moved { tp: self.own.tp().clone(), at: self.next }
    }

    fn refused(&self, told: Appended) -> AppendError {
        AppendError::Refused {
            tp: self.own.tp().clone(),
            at: self.next,
            code: told.code,
            message: said(told.message.as_deref()),
        }
    }
}
