//! Whether the log of one topic is a prefix of another's: everything that both still hold is
//! compared, record by record.
//!
//! It never writes, and never takes what was not compared for equal.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::audit::compare::Compaction;
use crate::audit::compare::Compare;
use crate::audit::compare::Failure;
use crate::audit::compare::Step;
use crate::audit::compare::What;
use crate::audit::log::cursor::Cursor;
use crate::audit::log::cursor::Place;
use crate::audit::log::cursor::Portion;
use crate::audit::log::cursor::Unreadable;
use crate::audit::log::reader::Lines;
use crate::audit::log::reader::Range;
use crate::audit::log::reader::ReadError;
use crate::audit::log::reader::next_of;
use crate::audit::survey;
use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::cluster::error::ClusterError;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::ProducerId;
use crate::ids::Side;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::wire::batch::BatchView;
use crate::wire::fetch::Isolation;
use crate::wire::filler::is_front;
use crate::wire::filler::seal::Whose;
use crate::wire::filler::seal::is_seal;
use crate::wire::filler::seal::whose;
use crate::wire::split::Piece;

/// What one fetch asks for, in bytes; three such answers of each side are alive at most.
const FETCH_BYTES: i32 = 1 << 20;
/// The same of a look at the last batch.
const LOOK_BYTES: i32 = 64 << 10;
/// What becomes of old records.
const POLICY: &str = "cleanup.policy";

/// A source topic, and one that is to become its mirror.
#[derive(Clone, Debug)]
pub struct Pair {
    /// At the source.
    pub source: (TopicName, TopicId),
    /// At the destination.
    pub mirror: (TopicName, TopicId),
}

/// How far a comparison is, in offsets.
#[derive(Debug, Default)]
pub struct Progress {
    /// To be compared.
    pub all: AtomicU64,
    /// Compared.
    pub done: AtomicU64,
}

/// Why a log is no prefix, or is not known to be one.
#[derive(Debug, thiserror::Error)]
pub enum NotPrefix {
    /// The logs differ.
    #[error("partition {partition} differs at offset {offset}: {what}")]
    Differs {
        /// Where.
        partition: PartitionId,
        /// The first offset that does.
        offset: i64,
        /// How.
        what: &'static str,
    },
    /// It was stopped by a promote or a failover.
    #[error(
        "partition {partition} is sealed at {at}: it was promoted or failed over, and nothing is \
         mirrored into it any more"
    )]
    Sealed {
        /// Where.
        partition: PartitionId,
        /// The seal's offset.
        at: Offset,
    },
    /// The mirror has more than the source.
    #[error(
        "partition {partition} ends at {mirror} at the destination and at {source_end} at the \
         source"
    )]
    Ahead {
        /// Where.
        partition: PartitionId,
        /// The source's end.
        source_end: Offset,
        /// The mirror's.
        mirror: Offset,
    },
    /// Nothing of what the mirror holds is at the source any more.
    #[error(
        "partition {partition} ends at {mirror} at the destination, and the source begins at \
         {source_start}: nothing is left that could be compared"
    )]
    Apart {
        /// Where.
        partition: PartitionId,
        /// The source's log start.
        source_start: Offset,
        /// The mirror's end.
        mirror: Offset,
    },
    /// Too many keys of a compacted topic had to be remembered.
    #[error(
        "of {records} records of partition {partition} it is not known whether compaction took them"
    )]
    Unproven {
        /// Where.
        partition: PartitionId,
        /// How many.
        records: u64,
    },
    /// A batch cannot be read.
    #[error("at the {0}, {1}")]
    Unreadable(Side, Unreadable),
    /// An open transaction: what lies behind it cannot be compared yet.
    #[error("an open transaction at the {side} holds partition {partition} at offset {stable}")]
    Held {
        /// Whose.
        side: Side,
        /// Where.
        partition: PartitionId,
        /// Behind it nothing is settled.
        stable: Offset,
    },
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A cluster did not answer.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Nobody wants to know any more.
    #[error("the comparison was given up")]
    Stopped,
}

impl NotPrefix {
    /// Whether another try cannot help.
    pub fn is_final(&self) -> bool {
        !matches!(
            self,
            NotPrefix::Held { .. }
                | NotPrefix::Read(_)
                | NotPrefix::Cluster(_)
                | NotPrefix::Stopped
        )
    }
}

impl From<Failure> for NotPrefix {
    fn from((side, unreadable): Failure) -> NotPrefix {
        NotPrefix::Unreadable(side, unreadable)
    }
}

/// Both clusters, and which records of them count.
#[derive(Copy, Clone)]
pub struct Ends<'a> {
    /// The source.
    pub source: &'a Cluster,
    /// The destination.
    pub destination: &'a Cluster,
    /// `isolation.level` of the link is `read_committed`.
    pub committed_only: bool,
}

/// One partition's part of it.
#[derive(Clone, Debug)]
pub struct Part {
    /// Which.
    pub partition: PartitionId,
    /// The first offset that is compared.
    pub from: Offset,
    /// Behind the last one.
    pub end: Offset,
    /// The seal in which the mirror's log ends.
    pub sealed: Option<Offset>,
}

impl Part {
    /// Where the source has a record at the seal's offset, that it was stopped is what counts.
    fn sealed_or(&self, error: NotPrefix) -> NotPrefix {
        match (error, self.sealed) {
            (NotPrefix::Differs { partition, offset, .. }, Some(at)) if offset == at.get() => {
                NotPrefix::Sealed { partition, at }
            }
            (error, _) => error,
        }
    }
}

/// Whether a part of one partition is the same in both topics, as far as both hold it.
pub async fn is_same(both: Ends<'_>, pair: &Pair, part: &Part) -> Result<(), NotPrefix> {
    let compaction = compaction(both, pair).await?;
    let mut lines = (
        Lines::for_looks(both.source, FETCH_BYTES),
        Lines::for_looks(both.destination, FETCH_BYTES),
    );
    let mut compare = begin(both, part, compaction);
    let driven = Drive { both, pair, part, goes_on: &|| true, see: &|_| {} };
    driven.run(&mut compare, (&mut lines.0, &mut lines.1), &|_| {}).await?;
    compare.finish();
    judge(&compare, part.partition)
}

fn begin(both: Ends<'_>, part: &Part, compaction: Compaction) -> Compare {
    let ours = Cursor::new(part.from, part.end, both.committed_only);
    Compare::new(ours, Cursor::new(part.from, part.end, true), compaction)
}

/// Compares everything that both topics hold, partition by partition, as their metadata were read
/// last; gives up where `goes_on` says so. Whether a seal of `writer` stands there. One that ends
/// a log is refused but where `takes_sealed`: then the source must have no record at its offset.
pub async fn prefix(
    both: Ends<'_>,
    pair: &Pair,
    (writer, takes_sealed): (ProducerId, bool),
    progress: &Progress,
    goes_on: &(dyn Fn() -> bool + Sync),
) -> Result<bool, NotPrefix> {
    let is_fence = |batch: &BatchView| whose(batch, writer) == Whose::Seal;
    let fenced = AtomicBool::new(false);
    let parts = parts(both, pair, takes_sealed).await?;
    let offsets = |part: &Part| u64::try_from(part.end.get() - part.from.get()).unwrap_or(0);
    progress.all.store(parts.iter().map(offsets).sum(), Relaxed);
    let compaction = compaction(both, pair).await?;
    let mut source = Lines::new(both.source, FETCH_BYTES);
    let mut mirror = Lines::new(both.destination, FETCH_BYTES);
    for part in parts {
        let done = progress.done.load(Relaxed);
        let mut compare = begin(both, &part, compaction);
        let see = |portion: &Portion| {
            fenced.fetch_or(portion.first_such(is_fence).is_some(), Relaxed);
        };
        let driven = Drive { both, pair, part: &part, goes_on, see: &see };
        let tell = |position: Offset| {
            let gained = u64::try_from(position.get() - part.from.get()).unwrap_or(0);
            progress.done.store(done + gained, Relaxed);
        };
        let driven = driven.run(&mut compare, (&mut source, &mut mirror), &tell).await;
        driven.map_err(|error| part.sealed_or(error))?;
        tell(part.end);
        compare.finish();
        judge(&compare, part.partition).map_err(|error| part.sealed_or(error))?;
    }
    Ok(fenced.into_inner())
}

fn judge(compare: &Compare, partition: PartitionId) -> Result<(), NotPrefix> {
    if compare.tally.differences > 0 {
        let first = compare.shown.first();
        let (offset, what) =
            first.map_or((-1, "records differ"), |one| (one.offset, word(one.what)));
        return Err(NotPrefix::Differs { partition, offset, what });
    }
    match compare.tally.unproven {
        0 => Ok(()),
        records => Err(NotPrefix::Unproven { partition, records }),
    }
}

fn word(what: What) -> &'static str {
    match what {
        What::Missing => "the source has a record there, the destination none",
        What::Extra => "the destination has a record there, the source none",
        What::Timestamp => "the times differ",
        What::Key => "the keys differ",
        What::Value => "the values differ",
        What::HeaderOrder => "the headers stand in another order",
        What::Headers => "the headers differ",
    }
}

/// The first answer about the mirror's log from an offset on.
async fn seen_from(
    lines: &mut Lines<'_>,
    pair: &Pair,
    (partition, from, end): (PartitionId, Offset, Offset),
) -> Result<Option<Portion>, NotPrefix> {
    let (topic, id) = pair.mirror.clone();
    let tp = TopicPartition { topic, partition };
    let isolation = Isolation::ReadUncommitted;
    let mut reader = lines.read(Range { tp, topic: id, isolation, from, end });
    let seen = reader.next().await?;
    reader.finish().await?;
    Ok(seen)
}

/// Whether its first batch is of the part below the source's log start.
fn is_front_first(seen: Option<&Portion>) -> bool {
    let first = seen.and_then(|seen| seen.pieces.first());
    first.is_some_and(|piece| matches!(piece, Piece::Batch(batch) if is_front(batch)))
}

/// What each partition of the mirror has in common with the source's.
async fn parts(both: Ends<'_>, pair: &Pair, takes_sealed: bool) -> Result<Vec<Part>, NotPrefix> {
    let topic = both.destination.topic(&pair.mirror.0);
    let all: Vec<PartitionId> =
        topic.map(|topic| topic.partitions.keys().copied().collect()).unwrap_or_default();
    let (ours, theirs) = ((both.source, &pair.source.0), (both.destination, &pair.mirror.0));
    let starts =
        (ends(ours, &all, EndKind::Start).await?, ends(theirs, &all, EndKind::Start).await?);
    let highs = EndKind::HighWatermark;
    let highs = (ends(ours, &all, highs).await?, ends(theirs, &all, highs).await?);
    let stable = EndKind::Stable;
    let stable = (ends(ours, &all, stable).await?, ends(theirs, &all, stable).await?);
    let mut lines = Lines::for_looks(both.destination, LOOK_BYTES);
    let mut parts = Vec::new();
    for partition in all {
        let of = |ends: &BTreeMap<PartitionId, Offset>| {
            ends.get(&partition).copied().unwrap_or(Offset::ZERO)
        };
        let (start, end) = (of(&starts.1), of(&highs.1));
        if start == end {
            continue; // it holds nothing
        }
        let before_end = Offset::new(end.get() - 1).unwrap_or(start);
        let last = seen_from(&mut lines, pair, (partition, before_end, end)).await?;
        let (source_start, source_end) = (of(&starts.0), of(&highs.0));
        let sealed = last.as_ref().and_then(|seen| seen.first_such(is_seal));
        if let Some(at) = sealed.filter(|_| !takes_sealed || end > source_end) {
            return Err(NotPrefix::Sealed { partition, at });
        }
        // Where the last batch is of the front and the first one too, there is nothing else, as
        // where a mirror was let go before its first record.
        if is_front_first(last.as_ref()) {
            let first = seen_from(&mut lines, pair, (partition, start, end)).await?;
            if is_front_first(first.as_ref()) {
                continue; // it holds nobody's records
            }
        }
        if end > source_end {
            return Err(NotPrefix::Ahead { partition, source_end, mirror: end });
        }
        let held = [(Side::Source, of(&stable.0)), (Side::Destination, of(&stable.1))];
        let held =
            held.into_iter().filter(|(side, _)| both.committed_only || *side != Side::Source);
        if let Some((side, stable)) = held.into_iter().find(|(_, stable)| *stable < end) {
            return Err(NotPrefix::Held { side, partition, stable });
        }
        let from = start.max(source_start);
        if from >= end {
            return Err(NotPrefix::Apart { partition, source_start, mirror: end });
        }
        parts.push(Part { partition, from, end, sealed });
    }
    Ok(parts)
}

async fn ends(
    (cluster, topic): (&Cluster, &TopicName),
    all: &[PartitionId],
    kind: EndKind,
) -> Result<BTreeMap<PartitionId, Offset>, NotPrefix> {
    let named = |id: &PartitionId| TopicPartition { topic: topic.clone(), partition: *id };
    let asked: Vec<TopicPartition> = all.iter().map(named).collect();
    let side = cluster.side();
    let told = survey::ends(cluster, &asked, kind).await?;
    let told = told.into_iter().map(|(tp, end)| match end {
        Ok(end) => Ok((tp.partition, end)),
        Err(code) => Err(ReadError::Refused { side, code }),
    });
    Ok(told.collect::<Result<_, _>>()?)
}

/// Which of the two are compacted, as far as their configs may be read.
async fn compaction(both: Ends<'_>, pair: &Pair) -> Result<Compaction, NotPrefix> {
    let (source, destination) = (
        compacts(both.source, &pair.source.0).await?,
        compacts(both.destination, &pair.mirror.0).await?,
    );
    Ok(Compaction { source, destination })
}

async fn compacts(cluster: &Cluster, topic: &TopicName) -> Result<bool, NotPrefix> {
    let names = std::slice::from_ref(topic);
    let told = cluster.describe_topic_configs(names, Some(&[POLICY])).await?;
    let found = told.into_iter().find_map(|(_, answer)| answer.ok());
    let policy = found.and_then(|found| found.get(POLICY)?.value.clone());
    Ok(policy.is_some_and(|policy| policy.contains("compact")))
}

/// Feeds one partition's comparison.
struct Drive<'a> {
    both: Ends<'a>,
    pair: &'a Pair,
    part: &'a Part,
    goes_on: &'a (dyn Fn() -> bool + Sync),
    /// Is shown what the mirror has.
    see: &'a (dyn Fn(&Portion) + Sync),
}

impl Drive<'_> {
    async fn run(
        &self,
        compare: &mut Compare,
        (source, mirror): (&mut Lines<'_>, &mut Lines<'_>),
        tell: &(dyn Fn(Offset) + Sync),
    ) -> Result<(), NotPrefix> {
        let (from, end) = (self.part.from, self.part.end);
        let mut ours = source.read(self.range(Side::Source, from, end));
        let mut theirs = mirror.read(self.range(Side::Destination, from, end));
        loop {
            let step = compare.run()?;
            tell(compare.position());
            // the first difference is enough
            judge(compare, self.part.partition)?;
            if !(self.goes_on)() {
                return Err(NotPrefix::Stopped);
            }
            let Step::Need(side) = step else { break };
            let portion = next_of(side, &mut ours, &mut theirs).await?;
            let Some(portion) = portion else { break };
            if side == Side::Destination {
                (self.see)(&portion);
            }
            compare.feed(side, portion);
        }
        ours.finish().await?;
        theirs.finish().await?;
        self.look_behind(compare, Side::Source, source).await?;
        self.look_behind(compare, Side::Destination, mirror).await
    }

    fn range(&self, side: Side, from: Offset, end: Offset) -> Range {
        let ((topic, id), is_committed) = match side {
            Side::Source => (&self.pair.source, self.both.committed_only),
            Side::Destination => (&self.pair.mirror, true),
        };
        let isolation = match is_committed {
            true => Isolation::ReadCommitted,
            false => Isolation::ReadUncommitted,
        };
        let tp = TopicPartition { topic: topic.clone(), partition: self.part.partition };
        Range { tp, topic: *id, isolation, from, end }
    }

    /// Compaction may have taken a record because of one behind the compared range.
    async fn look_behind(
        &self,
        compare: &mut Compare,
        side: Side,
        lines: &mut Lines<'_>,
    ) -> Result<(), NotPrefix> {
        if !compare.is_awaiting(side) {
            return Ok(());
        }
        let (cluster, topic) = match side {
            Side::Source => (self.both.source, &self.pair.source.0),
            Side::Destination => (self.both.destination, &self.pair.mirror.0),
        };
        let range = self.range(side, self.part.end, self.part.end);
        let kind = match range.isolation {
            Isolation::ReadCommitted => EndKind::Stable,
            Isolation::ReadUncommitted => EndKind::HighWatermark,
        };
        let behind = ends((cluster, topic), &[self.part.partition], kind).await?;
        let behind = behind.get(&self.part.partition).copied().unwrap_or(Offset::ZERO);
        let range = Range { end: behind.max(range.from), ..range };
        let committed_only = range.isolation == Isolation::ReadCommitted;
        let mut cursor = Cursor::new(range.from, range.end, committed_only);
        let mut reader = lines.read(range);
        while compare.is_awaiting(side) && compare.look_behind(side, &mut cursor)? == Place::Need {
            let Some(portion) = reader.next().await? else { break };
            cursor.feed(portion);
        }
        Ok(reader.finish().await?)
    }
}
