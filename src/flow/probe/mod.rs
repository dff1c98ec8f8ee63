//! Looks at both logs of partitions that share their two leaders, before anything is appended.
//!
//! It never appends: what it finds are facts for the partition machine.
//!
//! The order is the argument (`docs/OFFSETS.md`): the barrier first, so that an append of ours
//! that was still on its way is in the log or never will be, then the ends, then the tails.

pub mod judge;
pub(in crate::flow) mod tail;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::cluster::ProducerState;
use crate::cluster::Use;
use crate::cluster::conn::Conn;
use crate::cluster::error::ClusterError;
use crate::flow::lane::LaneKey;
use crate::flow::probe::tail::BATCHES_BACK;
use crate::flow::probe::tail::LOOK_FRAME_BYTES_MAX;
use crate::flow::probe::tail::LogEye;
use crate::flow::probe::tail::LookError;
use crate::flow::probe::tail::OFFSET_NOT_AVAILABLE;
use crate::flow::probe::tail::compare;
use crate::flow::shared::Shared;
use crate::ids::BrokerId;
use crate::ids::LeaderEpoch;
use crate::ids::MirrorPartition;
use crate::ids::Offset;
use crate::ids::ProducerId;
use crate::ids::Side;
use crate::ids::TimestampMs;
use crate::ids::TopicId;
use crate::ids::TopicPartition;
use crate::mirror::facts::Prepared;
use crate::mirror::facts::Tail;
use crate::wire::error::KafkaCode;
use crate::wire::filler::NO_TIMESTAMP;
use crate::wire::rewrite::SEAL_EPOCH;

/// How long after an aborted connection something of it may still be applied where the broker has
/// forgotten the writer and so would not recognise it (broker facts A3: 3 s were seen).
pub const SETTLE: Duration = Duration::from_secs(5);

/// A partition to be looked at.
#[derive(Clone, Debug)]
pub struct Case {
    /// Which.
    pub name: MirrorPartition,
    /// Who mirrors it.
    pub writer: ProducerId,
    /// The source topic's id.
    pub source_id: TopicId,
    /// The destination topic's id.
    pub destination_id: TopicId,
    /// The source leader's epoch.
    pub source_epoch: LeaderEpoch,
    /// The destination leader's epoch.
    pub destination_epoch: LeaderEpoch,
    /// Where the mirror begins, if that is above the source's log start.
    pub start: Offset,
    /// One equal batch at the tail is not proof enough.
    pub is_far: bool,
    /// The source's log may end in a hole.
    pub wants_tail: bool,
}

/// Why a partition could not be looked at.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// A broker, a connection: of all partitions of the group.
    Cluster(ClusterError),
    /// One partition, on one side.
    Code(Side, KafkaCode),
}

/// What was found, by the destination's name of each partition.
pub type Found = BTreeMap<TopicPartition, Result<Prepared, Trouble>>;

/// Where logs of the destination end, by partition.
pub type Ends = BTreeMap<TopicPartition, Result<Offset, Trouble>>;

/// One that is let go, and of which something may be on its way.
#[derive(Clone, Debug)]
pub struct Barred {
    /// Its name at the destination.
    pub tp: TopicPartition,
    /// Who mirrors it.
    pub writer: ProducerId,
    /// The destination leader's epoch.
    pub epoch: LeaderEpoch,
}

/// Looks at all `cases`, whose leaders are the two of `key`.
pub async fn probe(shared: &Shared, key: LaneKey, cases: Vec<Case>) -> Found {
    match try_probe(shared, key, &cases).await {
        Ok(found) => found,
        Err(error) => {
            let failed = |case: &Case| (case.name.mirror(), Err(Trouble::Cluster(error.clone())));
            cases.iter().map(failed).collect()
        }
    }
}

/// Where logs of the destination end, once nothing of ours can be on its way to them any more: of
/// partitions that are let go and whose last appends were not answered. The source is not asked.
pub async fn barrier(shared: &Shared, leader: BrokerId, asked: &[Barred]) -> Ends {
    let tps: Vec<_> = asked.iter().map(|one| one.tp.clone()).collect();
    let answers = async {
        let writers = shared.destination.describe_producers(leader, &tps).await?;
        let known = |tp| writers.get(tp).and_then(|one| one.as_ref().ok());
        if asked.iter().any(|one| last_sequence(one.writer, known(&one.tp)).is_none()) {
            tokio::time::sleep(SETTLE).await;
            shared.destination.describe_producers(leader, &tps).await?;
        }
        let asked: Vec<_> = asked.iter().map(|one| (one.tp.clone(), one.epoch)).collect();
        list(&shared.destination, leader, &asked, EndKind::LogEnd).await
    };
    match answers.await {
        Ok(ends) => {
            let end = |tp: TopicPartition| {
                let end = answer(&ends, &tp, Side::Destination);
                (tp, end)
            };
            tps.into_iter().map(end).collect()
        }
        Err(error) => {
            tps.into_iter().map(|tp| (tp, Err(Trouble::Cluster(error.clone())))).collect()
        }
    }
}

fn visible(shared: &Shared) -> EndKind {
    if shared.committed_only { EndKind::Stable } else { EndKind::HighWatermark }
}

async fn try_probe(shared: &Shared, key: LaneKey, cases: &[Case]) -> Result<Found, ClusterError> {
    let tps: Vec<_> = cases.iter().map(|case| case.name.mirror()).collect();
    let mut writers = shared.destination.describe_producers(key.destination, &tps).await?;
    let mut ends = Logs::read(shared, key, cases).await?;
    let forgotten = |case: &&Case| {
        let known = writers.get(&case.name.mirror()).and_then(|one| one.as_ref().ok());
        let end = ends.destination_end(&case.name);
        let is_there = end.is_some_and(|end| end > Offset::ZERO);
        // nothing is appended upon ends that contradict each other, whatever is still on its way
        is_there && !ends.is_ahead(&case.name) && last_sequence(case.writer, known).is_none()
    };
    if cases.iter().any(|case| forgotten(&case)) {
        tokio::time::sleep(SETTLE).await;
        writers = shared.destination.describe_producers(key.destination, &tps).await?;
        ends = Logs::read(shared, key, cases).await?;
    }
    let mut eyes = None;
    let mut found = Found::new();
    for case in cases {
        let states = match writers.remove(&case.name.mirror()) {
            Some(Ok(states)) => Some(states),
            Some(Err(code)) => {
                found.insert(case.name.mirror(), Err(Trouble::Code(Side::Destination, code)));
                continue;
            }
            None => None,
        };
        let one = look(shared, key, case, &ends, states.as_ref(), &mut eyes).await;
        if let Err(Trouble::Cluster(_)) = &one {
            eyes = None;
        }
        found.insert(case.name.mirror(), one);
    }
    Ok(found)
}

fn last_sequence(writer: ProducerId, states: Option<&Vec<ProducerState>>) -> Option<i32> {
    ours(writer, states)?.last_sequence
}

fn ours(writer: ProducerId, states: Option<&Vec<ProducerState>>) -> Option<&ProducerState> {
    states?.iter().find(|state| state.id == writer)
}

/// Whether the leader knows the seal of our writer.
fn is_sealed(writer: ProducerId, states: Option<&Vec<ProducerState>>) -> bool {
    ours(writer, states).is_some_and(|state| state.epoch >= i32::from(SEAL_EPOCH))
}

/// Two connections for the tails, opened when the first one is needed.
struct Eyes {
    source: Conn,
    destination: Conn,
}

async fn look(
    shared: &Shared,
    key: LaneKey,
    case: &Case,
    ends: &Logs,
    states: Option<&Vec<ProducerState>>,
    eyes: &mut Option<Eyes>,
) -> Result<Prepared, Trouble> {
    let sequence = last_sequence(case.writer, states);
    let mut facts = ends.of(&case.name)?;
    if shared.committed_only {
        facts.source_held = facts.source_end.distance_to(facts.source_log_end);
    }
    facts.source_start = facts.source_start.max(case.start);
    // A log that holds nothing tells nothing of what it held. It was no unfinished front: nothing
    // is deleted of one before it has come to the source's start (`sync::trim`), and so what lies
    // between its end and a later start of the source was to be copied.
    let end = facts.destination_end.min(facts.destination_hwm);
    if end < facts.destination_end {
        // The last batches cannot be read yet: neither their content nor their epoch is known.
        return Err(Trouble::Code(Side::Destination, OFFSET_NOT_AVAILABLE));
    }
    let last = end.get().checked_sub(1).and_then(Offset::new);
    // Beyond the source's own end there is nothing to compare: the machine doubts that end.
    let comparable = last.is_some_and(|last| last < facts.source_log_end);
    let (is_ahead, is_sealed) = (end > facts.source_log_end, is_sealed(case.writer, states));
    if !comparable && !case.wants_tail && !is_ahead && !is_sealed {
        return Ok(facts);
    }
    let newest = facts.destination_end.get().checked_sub(1).and_then(Offset::new);
    let vouched = !case.is_far && sequence == newest.map(Offset::sequence);
    let back = if vouched { 1 } else { BATCHES_BACK };
    if eyes.is_none() {
        *eyes = Some(open_eyes(shared, key).await.map_err(Trouble::Cluster)?);
    }
    let Some(eyes) = eyes else { return Ok(facts) };
    let (mut source, mut destination) = both(shared, case, ends, eyes)?;
    if is_ahead || is_sealed {
        // a seal lies beyond what the source had, and says more than any comparison
        let seal = destination.seal_below(end, case.writer).await.map_err(trouble)?;
        if seal.is_some() || is_sealed {
            facts.tail = Tail::Sealed(seal);
            return Ok(facts);
        }
    }
    if comparable {
        let looked = compare(end, back, case.writer, &mut source, &mut destination).await;
        let found = looked.map_err(trouble)?;
        facts.tail = found.tail;
        facts.tail_timestamp = found.timestamp;
        facts.is_prefix |= found.is_prefix;
    }
    if case.wants_tail && facts.source_start <= end && end < facts.source_end {
        let hole = source.hole_to(end).await.map_err(trouble)?;
        facts.hole_to = hole.map(|to| to.min(facts.source_end));
    }
    Ok(facts)
}

fn trouble(error: LookError) -> Trouble {
    match error {
        LookError::Cluster(error) => Trouble::Cluster(error),
        LookError::Code(side, code) => Trouble::Code(side, code),
    }
}

async fn open_eyes(shared: &Shared, key: LaneKey) -> Result<Eyes, ClusterError> {
    let purpose = || Use::Look { frame_bytes_max: LOOK_FRAME_BYTES_MAX };
    let source = shared.source.open(key.source, purpose());
    let destination = shared.destination.open(key.destination, purpose());
    let (source, destination) = tokio::try_join!(source, destination)?;
    Ok(Eyes { source, destination })
}

fn both<'a>(
    shared: &'a Shared,
    case: &Case,
    ends: &Logs,
    eyes: &'a mut Eyes,
) -> Result<(LogEye<'a>, LogEye<'a>), Trouble> {
    let (source_start, destination_start) = ends.starts(&case.name)?;
    let source = LogEye {
        cluster: &shared.source,
        tp: case.name.source(),
        conn: &mut eyes.source,
        topic: case.source_id,
        epoch: case.source_epoch,
        start: source_start,
    };
    let destination = LogEye {
        cluster: &shared.destination,
        tp: case.name.mirror(),
        conn: &mut eyes.destination,
        topic: case.destination_id,
        epoch: case.destination_epoch,
        start: destination_start,
    };
    Ok((source, destination))
}

type Answers = BTreeMap<TopicPartition, Result<Offset, KafkaCode>>;

/// All ends and starts of a group.
struct Logs {
    asked_at: TimestampMs,
    source_start: Answers,
    source_end: Answers,
    source_log_end: Answers,
    destination_start: Answers,
    destination_end: Answers,
    destination_hwm: Answers,
}

impl Logs {
    async fn read(shared: &Shared, key: LaneKey, cases: &[Case]) -> Result<Logs, ClusterError> {
        let at_source: Vec<_> = cases.iter().map(|c| (c.name.source(), c.source_epoch)).collect();
        let there: Vec<_> = cases.iter().map(|c| (c.name.mirror(), c.destination_epoch)).collect();
        let (source, destination) = (&shared.source, &shared.destination);
        let asked_at = shared.wall.now();
        // The destination's end before the source's: a source that grows meanwhile is no doubt.
        let destination_end = list(destination, key.destination, &there, EndKind::LogEnd).await?;
        Ok(Logs {
            asked_at,
            destination_end,
            destination_hwm: list(destination, key.destination, &there, EndKind::HighWatermark)
                .await?,
            destination_start: list(destination, key.destination, &there, EndKind::Start).await?,
            source_log_end: list(source, key.source, &at_source, EndKind::LogEnd).await?,
            source_end: list(source, key.source, &at_source, visible(shared)).await?,
            source_start: list(source, key.source, &at_source, EndKind::Start).await?,
        })
    }

    fn destination_end(&self, name: &MirrorPartition) -> Option<Offset> {
        self.destination_end.get(&name.mirror())?.ok()
    }

    /// Whether the destination holds more than the source.
    fn is_ahead(&self, name: &MirrorPartition) -> bool {
        let source = self.source_log_end.get(&name.source()).and_then(|end| end.ok());
        self.destination_end(name).zip(source).is_some_and(|(ours, theirs)| ours > theirs)
    }

    fn starts(&self, name: &MirrorPartition) -> Result<(Offset, Offset), Trouble> {
        let source = answer(&self.source_start, &name.source(), Side::Source)?;
        let there = answer(&self.destination_start, &name.mirror(), Side::Destination)?;
        Ok((source, there))
    }

    fn of(&self, name: &MirrorPartition) -> Result<Prepared, Trouble> {
        let at_source = |answers| answer(answers, &name.source(), Side::Source);
        let there = |answers| answer(answers, &name.mirror(), Side::Destination);
        Ok(Prepared {
            source_start: at_source(&self.source_start)?,
            source_end: at_source(&self.source_end)?,
            asked_at: Some(self.asked_at),
            source_held: 0,
            source_log_end: at_source(&self.source_log_end)?,
            destination_end: there(&self.destination_end)?,
            destination_hwm: there(&self.destination_hwm)?,
            tail: Tail::NothingShared,
            tail_timestamp: NO_TIMESTAMP,
            is_prefix: false,
            hole_to: None,
        })
    }
}

fn answer(answers: &Answers, tp: &TopicPartition, side: Side) -> Result<Offset, Trouble> {
    let one = answers.get(tp).copied().unwrap_or(Err(KafkaCode::UNKNOWN));
    one.map_err(|code| Trouble::Code(side, code))
}

async fn list(
    cluster: &Cluster,
    leader: BrokerId,
    asked: &[(TopicPartition, LeaderEpoch)],
    kind: EndKind,
) -> Result<Answers, ClusterError> {
    let each = cluster.list_offsets(leader, asked, kind).await?;
    Ok(each.into_iter().map(|(tp, one)| (tp, one.map(|listed| listed.offset))).collect())
}
