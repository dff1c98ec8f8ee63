//! Seals partitions of the destination: many of one leader in a few round trips, without a source.
//!
//! It never asks the source, never appends anything else, and never says that a partition is sealed
//! before every replica in sync has its seal.
//!
//! The order is the argument (`docs/OFFSETS.md`): the barrier, so that what is in the log stays as
//! it is seen; the end and what lies before it; the seal, whose acknowledged offset *is* the end;
//! and where that is another one than was seen, what lies before it once more. Done again it is
//! answered with the seal that stands: the broker knows it by its epoch and sequence.

mod log;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::cluster::Use;
use crate::cluster::conn::Conn;
use crate::cluster::error::ClusterError;
use crate::flow::Wall;
use crate::flow::lane::members::Naming;
use crate::flow::probe::SETTLE;
use crate::flow::probe::tail::LOOK_FRAME_BYTES_MAX;
use crate::flow::probe::tail::LogEye;
use crate::flow::probe::tail::LookError;
use crate::flow::probe::tail::OFFSET_NOT_AVAILABLE;
use crate::flow::seal::log::Before;
use crate::ids::BrokerId;
use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::ProducerId;
use crate::ids::Side;
use crate::ids::TopicId;
use crate::ids::TopicPartition;
use crate::mirror::facts::Takes;
use crate::wire::error::KafkaCode;
use crate::wire::filler::seal;
use crate::wire::produce;
use crate::wire::produce::AppendAnswer;
use crate::wire::produce::AppendAsk;
use crate::wire::produce::AppendEntry;
use crate::wire::rewrite;
use crate::wire::topic::TopicRef;
use crate::wire::versions::ApiKey;

/// How many partitions are sealed in one request.
pub const GROUP_MAX: usize = 64;
/// The destination's bound after which it forgets a writer.
const PRODUCER_AGE: &str = "producer.id.expiration.ms";

/// A partition that is to be sealed; nobody of this process appends to it any more.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its name at the destination.
    pub tp: TopicPartition,
    /// The topic's id there.
    pub topic: TopicId,
    /// Who mirrored it.
    pub writer: ProducerId,
    /// What the topic takes.
    pub takes: Takes,
    /// What was confirmed to us when it was let go; `None` where nothing was.
    pub known: Option<Known>,
}

impl Ask {
    fn configs(&self) -> seal::Configs {
        let Takes { is_compacted, leaves_batches, .. } = self.takes;
        seal::Configs { is_compacted, leaves_batches }
    }
}

/// What is known of a partition that was let go.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The destination's log end offset.
    pub end: Offset,
    /// The first offset of the source that is not mirrored.
    pub source_next: Offset,
}

/// A partition that is sealed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The offset of the seal.
    pub end: Offset,
    /// The first offset of the source that is not mirrored; `None` where nothing is known.
    pub source_next: Option<Offset>,
}

/// Why one is not sealed yet.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// The broker, or the connection.
    Cluster(ClusterError),
    /// About this partition.
    Code(KafkaCode),
}

/// What came of each partition.
pub type Sealed = BTreeMap<TopicPartition, Result<Seal, Trouble>>;

/// `producer.id.expiration.ms` as that broker has it, where we may read it.
pub async fn producer_age_ms(destination: &Cluster, broker: BrokerId) -> Option<i64> {
    let told = destination.describe_broker_configs(broker, Some(&[PRODUCER_AGE])).await;
    told.ok()?.ok()?.get(PRODUCER_AGE)?.value.as_ref()?.parse().ok()
}

/// Seals all that are asked for, whose leader that broker is; [`GROUP_MAX`] at most.
pub async fn seal(
    destination: &Arc<Cluster>,
    wall: Wall,
    leader: BrokerId,
    asks: Vec<(Ask, LeaderEpoch)>,
) -> Sealed {
    let mut sealed = Sealed::new();
    let sealing = Sealing { destination, wall, leader, asks: &asks };
    if let Err(error) = sealing.run(&mut sealed).await {
        for (ask, _) in &asks {
            let failed = || Err(Trouble::Cluster(error.clone()));
            sealed.entry(ask.tp.clone()).or_insert_with(failed);
        }
    }
    sealed
}

struct Sealing<'a> {
    destination: &'a Arc<Cluster>,
    wall: Wall,
    leader: BrokerId,
    asks: &'a [(Ask, LeaderEpoch)],
}

/// One on its way: what lies before its seal, and the log's start.
struct Due<'a> {
    ask: &'a Ask,
    epoch: LeaderEpoch,
    start: Offset,
    before: Before,
}

impl Sealing<'_> {
    async fn run(&self, sealed: &mut Sealed) -> Result<(), ClusterError> {
        self.wait_for_what_is_on_its_way().await?;
        let age_ms = producer_age_ms(self.destination, self.leader).await;
        let purpose = Use::Look { frame_bytes_max: LOOK_FRAME_BYTES_MAX };
        let mut eye = self.destination.open(self.leader, purpose).await?;
        let due = self.look(&mut eye, sealed).await?;
        let mut line = self.destination.open(self.leader, Use::Append).await?;
        for answer in self.append(&mut line, &due, age_ms).await? {
            let (tp, appended) = answer;
            let Some(due) = due.get(&tp) else { continue };
            let one = match appended {
                Ok(end) => self.conclude(&mut eye, due, end).await?,
                Err(code) => Err(Trouble::Code(code)),
            };
            sealed.insert(tp, one);
        }
        Ok(())
    }

    /// The barrier. Who mirrored before this process may have left something on its way that a
    /// broker which has forgotten the writer would take: it is waited for.
    async fn wait_for_what_is_on_its_way(&self) -> Result<(), ClusterError> {
        let tps: Vec<TopicPartition> = self.asks.iter().map(|(ask, _)| ask.tp.clone()).collect();
        let writers = self.destination.describe_producers(self.leader, &tps).await?;
        let is_forgotten = |ask: &Ask| {
            let known = writers.get(&ask.tp).and_then(|one| one.as_ref().ok());
            !known.is_some_and(|all| all.iter().any(|state| state.id == ask.writer))
        };
        let asked = self.asks.iter().filter(|(ask, _)| ask.known.is_none() && is_forgotten(ask));
        let asked: Vec<_> = asked.map(|(ask, epoch)| (ask.tp.clone(), *epoch)).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let ends = self.destination.list_offsets(self.leader, &asked, EndKind::LogEnd).await?;
        // into a log that holds nothing, nothing was ever sent whose sequence another append has
        let holds = |one: &Result<crate::cluster::Listed, KafkaCode>| {
            one.as_ref().is_ok_and(|listed| listed.offset > Offset::ZERO)
        };
        if ends.values().any(holds) {
            sleep(SETTLE).await;
            self.destination.describe_producers(self.leader, &tps).await?;
        }
        Ok(())
    }

    /// Where all of them end, and what lies there.
    async fn look(
        &self,
        eye: &mut Conn,
        sealed: &mut Sealed,
    ) -> Result<BTreeMap<TopicPartition, Due<'_>>, ClusterError> {
        let asked: Vec<_> = self.asks.iter().map(|(ask, epoch)| (ask.tp.clone(), *epoch)).collect();
        let list = |kind| self.destination.list_offsets(self.leader, &asked, kind);
        let ends = list(EndKind::LogEnd).await?;
        let watermarks = list(EndKind::HighWatermark).await?;
        let starts = list(EndKind::Start).await?;
        let mut due = BTreeMap::new();
        for (ask, epoch) in self.asks {
            let of = |all: &crate::cluster::Each<crate::cluster::Listed>| {
                let one = all.get(&ask.tp).copied().unwrap_or(Err(KafkaCode::UNKNOWN));
                one.map(|listed| listed.offset)
            };
            let each = (of(&ends), of(&watermarks), of(&starts));
            let looked = match each {
                // what is not replicated yet cannot be read
                (Ok(end), Ok(mark), Ok(_)) if mark < end => Err(OFFSET_NOT_AVAILABLE),
                (Ok(end), Ok(_), Ok(start)) => Ok((end, start)),
                (Err(code), ..) | (_, Err(code), _) | (.., Err(code)) => Err(code),
            };
            let (end, start) = match looked {
                Ok(looked) => looked,
                Err(code) => {
                    sealed.insert(ask.tp.clone(), Err(Trouble::Code(code)));
                    continue;
                }
            };
            let before = log::before(&mut self.eye(eye, ask, *epoch, start), end, ask).await;
            match told(before)? {
                Ok(before) => {
                    let due_now = Due { ask, epoch: *epoch, start, before };
                    match due_now.before.stands {
                        // killed between the seal and its row, and forgotten since
                        Some(at) => {
                            let one = self.conclude(eye, &due_now, at).await?;
                            sealed.insert(ask.tp.clone(), one);
                        }
                        None => drop(due.insert(ask.tp.clone(), due_now)),
                    }
                }
                Err(code) => drop(sealed.insert(ask.tp.clone(), Err(Trouble::Code(code)))),
            }
        }
        Ok(due)
    }

    fn eye<'a>(
        &'a self,
        conn: &'a mut Conn,
        ask: &Ask,
        epoch: LeaderEpoch,
        start: Offset,
    ) -> LogEye<'a> {
        let (cluster, tp): (&Cluster, _) = (self.destination, ask.tp.clone());
        LogEye { cluster, tp, conn, topic: ask.topic, epoch, start }
    }

    /// One request with the seals of all; where each stands, or why not.
    async fn append(
        &self,
        line: &mut Conn,
        due: &BTreeMap<TopicPartition, Due<'_>>,
        age_ms: Option<i64>,
    ) -> Result<Vec<(TopicPartition, Result<Offset, KafkaCode>)>, ClusterError> {
        let version = line.version(ApiKey::Produce)?;
        let naming = if version >= produce::IDS_FROM { Naming::ById } else { Naming::ByName };
        let (mut entries, mut names, mut answers) = (Vec::new(), BTreeMap::new(), Vec::new());
        for (tp, due) in due {
            let time = seal::time(due.before.timestamp, self.wall.now(), age_ms);
            let last = due.before.record.as_ref();
            let Some(batch) = seal::batch(due.before.end, time, due.ask.configs(), last) else {
                answers.push((tp.clone(), Err(KafkaCode::UNKNOWN)));
                continue;
            };
            let topic = match due.ask.topic {
                TopicId::NIL => TopicRef::Name(tp.topic.clone()),
                id => naming.topic(&tp.topic, id),
            };
            names.insert((topic.clone(), tp.partition), tp.clone());
            let batch = rewrite::seal(&batch, due.ask.writer);
            entries.push(AppendEntry { topic, partition: tp.partition, batch });
        }
        if entries.is_empty() {
            return Ok(answers);
        }
        let answer = self.ask(line, version, entries).await?;
        answers.extend(sorted(names, answer));
        Ok(answers)
    }

    async fn ask(
        &self,
        line: &mut Conn,
        version: i16,
        entries: Vec<AppendEntry>,
    ) -> Result<AppendAnswer, ClusterError> {
        let timeout = self.destination.options().request_timeout;
        let timeout_ms = i32::try_from(timeout.as_millis() / 2).unwrap_or(i32::MAX);
        let chain = AppendAsk { timeout_ms, entries }.encode(version);
        let chain = chain.map_err(|e| ClusterError::own(line.peer(), "Produce", &e))?;
        line.send(ApiKey::Produce, version, chain.pieces, Instant::now() + timeout)?;
        let answer = line.turn().await?;
        AppendAnswer::decode(answer.body, answer.version)
            .map_err(|error| ClusterError::new(line.peer(), "Produce", error))
    }

    /// What is below the seal, which stands at `end` for good.
    async fn conclude(
        &self,
        eye: &mut Conn,
        due: &Due<'_>,
        end: Offset,
    ) -> Result<Result<Seal, Trouble>, ClusterError> {
        if end == due.before.end {
            return Ok(Ok(Seal { end, source_next: due.before.source_next }));
        }
        // something came first: of ours, or the seal itself, which stood there already
        let mut log = self.eye(eye, due.ask, due.epoch, due.start);
        let before = told(log::before(&mut log, end, due.ask).await)?;
        let next = |before: Before| Seal { end, source_next: before.source_next };
        Ok(before.map(next).map_err(Trouble::Code))
    }
}

/// A broken connection is the trouble of all; a code is of one.
fn told<T>(looked: Result<T, LookError>) -> Result<Result<T, KafkaCode>, ClusterError> {
    match looked {
        Ok(found) => Ok(Ok(found)),
        Err(LookError::Code(_, code)) => Ok(Err(code)),
        Err(LookError::Cluster(error)) => Err(error),
    }
}

fn sorted(
    mut names: BTreeMap<(TopicRef, PartitionId), TopicPartition>,
    answer: AppendAnswer,
) -> Vec<(TopicPartition, Result<Offset, KafkaCode>)> {
    let mut answers = Vec::new();
    for one in answer.partitions {
        let Some(tp) = names.remove(&(one.topic, one.partition)) else { continue };
        let stands = match one.base_offset {
            Some(base) if one.code.is_none() => Ok(base),
            _ if one.code.is_none() => Err(KafkaCode::UNKNOWN),
            _ => Err(one.code),
        };
        answers.push((tp, stands));
    }
    answers.extend(names.into_values().map(|tp| (tp, Err(KafkaCode::UNKNOWN))));
    answers
}

impl Trouble {
    /// For people.
    pub fn text(&self) -> String {
        match self {
            Trouble::Cluster(error) => error.to_string(),
            Trouble::Code(code) => format!("the {} says {code}", Side::Destination),
        }
    }

    /// Kafka's word.
    pub fn label(&self) -> &'static str {
        match self {
            Trouble::Cluster(_) => "UNAVAILABLE",
            Trouble::Code(code) => code.name(),
        }
    }
}
