//! Commits at the destination what `control::task::offsets` plans, group by group.
//!
//! It never commits what it did not read at the destination just before, and never asks a
//! coordinator more after one question that came to nothing.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::cluster::Committed;
use crate::cluster::EachGroup;
use crate::cluster::error::KafkaCode;
use crate::control::task::offsets;
use crate::control::task::offsets::Asked;
use crate::control::task::offsets::Commit;
use crate::control::task::offsets::Group;
use crate::control::task::offsets::Part;
use crate::control::task::offsets::Plan;
use crate::control::task::offsets::Put;
use crate::control::task::offsets::Puts;
use crate::ids::BrokerId;
use crate::ids::GroupName;
use crate::ids::TimestampMs;
use crate::ids::TopicPartition;
use crate::sync::groups::ask;
use crate::sync::groups::ask::Failure;
use crate::sync::groups::ask::ROUNDS;

/// Over how many connections starts of share groups are set at one coordinator: it answers each
/// after some 10 ms, when two logs have it, and writes down what comes meanwhile at once.
const SHARES_AT_ONCE: u8 = 8;
/// UNKNOWN_MEMBER_ID, and NON_EMPTY_GROUP of a share group: it has members, and we are none.
const HAS_MEMBERS: [i16; 2] = [25, 68];
/// GROUP_ID_NOT_FOUND: a group of this name is of another kind (of a share group OffsetFetch says
/// nothing, and OffsetCommit this; of others DescribeShareGroupOffsets and AlterShareGroupOffsets).
pub const OTHER_KIND: i16 = 69;
/// OFFSET_METADATA_TOO_LARGE.
const METADATA_TOO_LARGE: i16 = 12;

/// A group that is to be followed in this turn.
#[derive(Debug)]
pub struct Job {
    /// Its name at the source.
    pub name: GroupName,
    /// What it has committed there, of what is mirrored.
    pub source: BTreeMap<TopicPartition, Commit>,
    /// The destination lists it with members.
    pub is_active: bool,
    /// It is a share group.
    pub is_share: bool,
    /// Of a share group: partitions without a start, of topics of which it has one in another.
    pub unstarted: BTreeSet<TopicPartition>,
    /// What our turns have left of it.
    pub puts: Puts,
    /// What came of it, once something did.
    pub plan: Plan,
    /// How many offsets were committed.
    pub commits: u64,
    /// Partitions that did not get theirs, and why.
    pub refused: BTreeMap<TopicPartition, KafkaCode>,
    /// Why nothing was done.
    pub failure: Option<Failure>,
}

/// What all jobs of a turn share.
#[derive(Clone)]
pub struct Turn {
    /// Where offsets are committed.
    pub destination: Arc<Cluster>,
    /// Partitions that may get offsets, by the source's name.
    pub parts: Arc<BTreeMap<TopicPartition, Part>>,
    /// The time.
    pub now: TimestampMs,
    /// As in `offsets::Asked`.
    pub repeat_ms: i64,
    /// Nothing is begun any more after it.
    pub until: Option<Instant>,
}

impl Turn {
    fn is_late(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }
}

/// All jobs, by the group's name at the destination; a coordinator that moves or loads is looked up
/// anew.
pub async fn all(
    turn: &Turn,
    mut jobs: BTreeMap<GroupName, Job>,
    coordinators: BTreeMap<GroupName, BrokerId>,
) -> Vec<Job> {
    let (mut done, mut known) = (Vec::new(), coordinators);
    for round in 0..ROUNDS {
        ask::pause(round).await;
        let unknown = jobs.keys().filter(|name| !known.contains_key(name)).cloned();
        let unknown: Vec<GroupName> = unknown.collect();
        let found = ask::find(&turn.destination, &unknown).await;
        known.extend(found.found);
        for (name, failure) in found.failed {
            if let Some(job) = jobs.get_mut(&name) {
                job.failure = Some(failure);
            }
        }
        let mut by: BTreeMap<BrokerId, Vec<(GroupName, Job)>> = BTreeMap::new();
        let mut left = BTreeMap::new();
        for (name, job) in jobs {
            match known.get(&name) {
                Some(broker) => by.entry(*broker).or_default().push((name, job)),
                None => drop(left.insert(name, job)),
            }
        }
        let work = by.into_iter().map(|(broker, jobs)| some(turn.clone(), broker, jobs));
        let came = ask::at_once(work.collect::<Vec<_>>()).await;
        left.extend(came.into_iter().flatten());
        jobs = BTreeMap::new();
        for (name, job) in left {
            let is_again = job.failure.as_ref().is_some_and(ask::moves);
            match is_again && round + 1 < ROUNDS {
                true => drop(jobs.insert(name, job)),
                false => done.push(job),
            }
        }
        if jobs.is_empty() {
            break;
        }
        known.clear();
    }
    done
}

/// The jobs of one coordinator.
async fn some(
    turn: Turn,
    broker: BrokerId,
    mut jobs: Vec<(GroupName, Job)>,
) -> Vec<(GroupName, Job)> {
    let mut done = Vec::with_capacity(jobs.len());
    let mut lost: Option<Failure> = None;
    jobs.sort_by_key(|(_, job)| job.is_share);
    while !jobs.is_empty() {
        let is_share = jobs[0].1.is_share;
        let of_kind = jobs.iter().take_while(|(_, job)| job.is_share == is_share).count();
        let mut chunk: Vec<(GroupName, Job)> =
            jobs.drain(..of_kind.min(ask::asked_max(is_share))).collect();
        let names: Vec<GroupName> = chunk.iter().map(|(name, _)| name.clone()).collect();
        let read = match &lost {
            Some(failure) => Err(failure.clone()),
            None if turn.is_late() => Err(Failure::Late),
            None => {
                let read = ask::fetch(&turn.destination, broker, &names, is_share).await;
                read.map_err(Failure::Error)
            }
        };
        let read = match read {
            Ok(read) => read,
            Err(failure) => {
                for (_, job) in &mut chunk {
                    job.failure = Some(failure.clone());
                }
                lost = Some(failure);
                done.extend(chunk);
                continue;
            }
        };
        let (chunk, failed) = side_by_side(&turn, (broker, is_share), chunk, read).await;
        done.extend(chunk);
        lost = failed;
    }
    turn.destination.close_further(broker);
    done
}

/// Groups of one kind, as they were read, each over the next connection that is free; and why
/// nothing more can be asked.
async fn side_by_side(
    turn: &Turn,
    (broker, is_share): (BrokerId, bool),
    chunk: Vec<(GroupName, Job)>,
    mut read: EachGroup<Committed>,
) -> (Vec<(GroupName, Job)>, Option<Failure>) {
    let work = chunk.into_iter().map(|(name, job)| {
        let there = read.remove(&name).unwrap_or(Err(KafkaCode::UNKNOWN));
        (name, job, there)
    });
    let work: Arc<Mutex<Work>> = Arc::new(Mutex::new((work.collect(), None)));
    let count = if is_share { SHARES_AT_ONCE } else { 1 };
    let workers = (0..count).map(|number| {
        let (turn, work) = (turn.clone(), work.clone());
        async move {
            let mut done = Vec::new();
            while let Some((name, mut job, there, lost)) = next(&work) {
                job.failure = match (lost, there) {
                    (Some(failure), _) => Some(failure),
                    (None, _) if turn.is_late() => Some(Failure::Late),
                    (None, Err(code)) => Some(Failure::Code(code)),
                    (None, Ok(there)) => {
                        one(&turn, (broker, number), (&name, &mut job), there).await
                    }
                };
                if let Some(failure @ (Failure::Error(_) | Failure::Late)) = &job.failure {
                    locked(&work).1 = Some(failure.clone());
                }
                done.push((name, job));
            }
            done
        }
    });
    let done = ask::at_once(workers.collect::<Vec<_>>()).await.into_iter().flatten().collect();
    let lost = locked(&work).1.take();
    (done, lost)
}

/// Groups that wait, with what was read of each; and why nothing more can be asked.
type Work = (VecDeque<(GroupName, Job, Read)>, Option<Failure>);
type Read = Result<Committed, KafkaCode>;

fn locked(work: &Mutex<Work>) -> MutexGuard<'_, Work> {
    work.lock().unwrap_or_else(PoisonError::into_inner)
}

fn next(work: &Mutex<Work>) -> Option<(GroupName, Job, Read, Option<Failure>)> {
    let mut work = locked(work);
    let (name, job, there) = work.0.pop_front()?;
    Some((name, job, there, work.1.clone()))
}

/// Plans for one group and commits; why that came to nothing.
async fn one(
    turn: &Turn,
    (broker, number): (BrokerId, u8),
    (name, job): (&GroupName, &mut Job),
    there: Committed,
) -> Option<Failure> {
    let (there, unread) = parted(there);
    job.unstarted.retain(|tp| !there.contains_key(tp));
    // what is not known of the destination must not count as missing there
    let hidden = turn.parts.iter().filter(|(_, part)| unread.contains_key(&part.mirror));
    for (tp, part) in hidden {
        if job.source.remove(tp).is_some() {
            job.refused.extend(unread.get(&part.mirror).map(|code| (part.mirror.clone(), *code)));
        }
    }
    let Job { is_active, is_share, .. } = *job;
    let group = Group { source: &job.source, there: &there, is_active, is_share };
    let asked = Asked { parts: &turn.parts, now: turn.now, repeat_ms: turn.repeat_ms };
    job.plan = offsets::plan(group, &job.puts, asked);
    if job.plan.commits.is_empty() {
        return None;
    }
    let wanted = job.plan.commits.clone();
    let answers = match job.is_share {
        true => turn.destination.set_share_starts((broker, number), name, &wanted).await,
        false => turn.destination.commit_offsets(broker, name, &wanted).await.map(Ok),
    };
    let answers = match answers {
        Ok(Ok(answers)) => answers,
        Ok(Err(code)) if HAS_MEMBERS.contains(&code.0) => return in_use(job),
        Ok(Err(code)) => return Some(Failure::Code(code)),
        Err(error) => return Some(Failure::Error(error)),
    };
    let mut bare = BTreeMap::new();
    for (tp, (offset, metadata)) in wanted {
        match answers.get(&tp).copied().unwrap_or(Err(KafkaCode::UNKNOWN)) {
            Ok(()) => note(job, tp, Put { offset, metadata, at: turn.now }),
            Err(code) if HAS_MEMBERS.contains(&code.0) => return in_use(job),
            Err(code) if ask::is_moving(code) || code.0 == OTHER_KIND => {
                return Some(Failure::Code(code));
            }
            Err(code) if code.0 == METADATA_TOO_LARGE && metadata.is_some() => {
                bare.insert(tp, Put { offset, metadata, at: turn.now });
            }
            Err(code) => drop(job.refused.insert(tp, code)),
        }
    }
    without_metadata(turn, broker, (name, job), bare).await
}

/// Members came since it was listed: nothing of it is ours any more.
fn in_use(job: &mut Job) -> Option<Failure> {
    job.plan.is_in_use = true;
    job.plan.puts.clear();
    None
}

/// The destination takes no metadata of that size: the offsets are worth more.
async fn without_metadata(
    turn: &Turn,
    broker: BrokerId,
    (name, job): (&GroupName, &mut Job),
    bare: BTreeMap<TopicPartition, Put>,
) -> Option<Failure> {
    if bare.is_empty() {
        return None;
    }
    let offsets = bare.iter().map(|(tp, put)| (tp.clone(), (put.offset, None))).collect();
    let mut answers = match turn.destination.commit_offsets(broker, name, &offsets).await {
        Ok(answers) => answers,
        Err(error) => return Some(Failure::Error(error)),
    };
    for (tp, put) in bare {
        match answers.remove(&tp).unwrap_or(Err(KafkaCode::UNKNOWN)) {
            Ok(()) => note(job, tp, put),
            Err(code) => drop(job.refused.insert(tp, code)),
        }
    }
    None
}

/// Of a share group: the destination has none, so that nothing is done.
pub fn is_left_out(job: &Job) -> bool {
    job.is_share && job.failure.as_ref().is_some_and(ask::has_no_shares)
}

fn note(job: &mut Job, tp: TopicPartition, put: Put) {
    job.commits += 1;
    job.plan.puts.insert(tp, put);
}

/// What a group has committed, and of which partitions that was not told.
pub fn parted(
    committed: Committed,
) -> (BTreeMap<TopicPartition, Commit>, BTreeMap<TopicPartition, KafkaCode>) {
    let (mut known, mut unread) = (BTreeMap::new(), BTreeMap::new());
    for (tp, one) in committed {
        match one {
            Ok(one) => {
                let (offset, epoch, metadata) = (one.offset, one.epoch, one.metadata);
                known.insert(tp, Commit { offset, epoch, metadata });
            }
            Err(code) => drop(unread.insert(tp, code)),
        }
    }
    (known, unread)
}
