//! Follows the offsets of consumer groups: what they have committed at the source is committed at
//! the destination, never beyond what is mirrored; where share groups start there they start here.
//!
//! It never decides what is committed (`control::task::offsets` does), and never sets an offset at
//! the source.
//!
//! ```text
//!  source:       ListGroups of each broker ─▶ OffsetFetch at each coordinator ──┐
//!  destination:  log starts and high watermarks of what was committed there ────┤
//!                ListGroups (who has members) ──────────────────────────────────┤
//!                OffsetFetch ─▶ plan ─▶ OffsetCommit, at each coordinator ◀─────┘
//! ```
//!
//! Share groups are asked by DescribeShareGroupOffsets and set by AlterShareGroupOffsets instead,
//! at the same coordinators; a cluster without share groups has nothing of them, which is no error.
//!
//! A turn takes, at each side, a request a broker, one for each hundred groups or for each share
//! group (`ask` says why), and one for each group of which an offset differs; those of share groups
//! over several connections at once.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::cluster::Committed;
use crate::cluster::Listing;
use crate::cluster::Wanted;
use crate::cluster::error::ClusterError;
use crate::control::task::groups::GroupSync;
use crate::control::task::offsets;
use crate::control::task::offsets::Commit;
use crate::control::task::offsets::Part;
use crate::control::task::offsets::Plan;
use crate::control::task::offsets::Puts;
use crate::control::topic::Fault;
use crate::ids::BrokerId;
use crate::ids::GroupName;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::Side;
use crate::ids::TimestampMs;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::sync::groups::ask::Answers;
use crate::sync::groups::ask::Failure;
use crate::sync::groups::ask::Listed;
use crate::sync::groups::faults::FILTERS;
use crate::sync::groups::faults::bounded;
use crate::sync::groups::faults::fault;
use crate::sync::groups::faults::in_use;
use crate::sync::groups::faults::refused;
use crate::sync::groups::faults::too_many;
use crate::sync::groups::parts::Mirrored;
use crate::sync::groups::put::Job;
use crate::sync::groups::told::leave;

mod ask;
mod faults;
pub mod last;
mod parts;
mod put;
mod raise;
mod repeat;
mod told;

pub use self::faults::fault_of;
pub use self::told::GroupTold;
pub use self::told::UNFOLLOWED_MAX;

/// How many groups of one link are followed.
pub const GROUPS_MAX: usize = 20_000;
/// How many offsets of one link are followed.
pub const OFFSETS_MAX: usize = 1_000_000;
/// How many topics one question speaks of.
const TOPICS_ASKED_MAX: usize = 500;
/// Where the brokers keep what groups commit: without it nobody ever has.
const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// A mirror topic whose consumers are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorTopic {
    /// The topic at the source.
    pub source: TopicName,
    /// The topic at the destination.
    pub mirror: TopicName,
    /// Their ids: groups of other topics of these names are none of ours.
    pub ids: Ids,
    /// Which partitions, and where the mirror of each begins.
    pub partitions: BTreeMap<PartitionId, Offset>,
    /// Where partitions are sealed: what lies there and beyond is not the source's.
    pub sealed: BTreeMap<PartitionId, Offset>,
}

/// What a turn came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Groups of the source that pass the filter and have committed something that is mirrored.
    pub groups: u64,
    /// Offsets that were committed at the destination.
    pub commits: u64,
    /// Offsets that are lower at the destination since the mirror is behind.
    pub clamped: u64,
    /// What went wrong, by group or topic; empty where all is as it should be.
    pub errors: Vec<(String, Fault)>,
    /// Every group that was followed, by its name at the destination.
    pub told: BTreeMap<GroupName, GroupTold>,
    /// Of those errors, what kept groups from being followed that are not told of.
    pub unread: Vec<(String, Fault)>,
    /// Partitions of mirrors of which nothing could be said, by why.
    pub unplaced: BTreeMap<TopicPartition, Fault>,
    /// Which of all these groups are share groups, by their names on either side.
    pub shares: BTreeSet<GroupName>,
    /// Nothing was begun any more after it.
    until: Option<Instant>,
}

/// Follows the groups of one link; what it remembers is gone with the process.
#[derive(Debug, Default)]
pub struct Follower {
    /// What our turns have left, by the group's name at the source.
    puts: BTreeMap<GroupName, Puts>,
    /// The same of groups that the source has no more, or that are not followed: what still stands
    /// there is ours all the same, should they come back.
    gone: BTreeMap<GroupName, Puts>,
    /// Groups of the source, and whether they had members, when they were listed last.
    listed: BTreeMap<GroupName, bool>,
    /// Which of the groups that are followed are share groups.
    shares: BTreeSet<GroupName>,
    /// Those of which the source does not tell: it has no share groups any more.
    barred: BTreeSet<GroupName>,
    /// Topics of which groups have committed what was not followed in the last turn.
    unfollowed: BTreeMap<GroupName, BTreeSet<TopicName>>,
    /// What groups had committed beyond the mirror when they were read last, by the source's names,
    /// with the ids that both topics had then: all that a failover can know of it.
    beyond: BTreeMap<GroupName, BTreeMap<TopicPartition, (Commit, Ids)>>,
    /// When the destination was asked how long it keeps offsets, and what that makes of it in ms.
    repeat: Option<(Instant, i64)>,
}

/// A topic's ids at both clusters.
type Ids = (TopicId, TopicId);
/// What is put: what groups have committed, of which partitions, among which others.
type What<'a> = (Commits, BTreeMap<TopicPartition, Part>, &'a BTreeMap<TopicPartition, Mirrored>);
/// What is taken in beside a group.
type Beside<'a> =
    (&'a GroupSync, &'a BTreeMap<TopicPartition, Part>, &'a BTreeMap<GroupName, bool>);
/// What groups have committed at the source, by group.
type Commits = BTreeMap<GroupName, BTreeMap<TopicPartition, Commit>>;

impl Follower {
    /// Nothing was put anywhere yet.
    pub fn new() -> Follower {
        Follower::default()
    }

    /// One turn over all groups that `sync` lets pass, and these topics, which are all there are;
    /// done when all that could be committed is acknowledged. The error is of a cluster that does
    /// not answer at all.
    pub async fn turn(
        &mut self,
        both: (&Arc<Cluster>, &Arc<Cluster>),
        sync: &GroupSync,
        topics: &[MirrorTopic],
        now: TimestampMs,
    ) -> Result<Turn, ClusterError> {
        let (turn, known) = self.work(both, sync, topics, (now, None)).await?;
        let puts = std::mem::take(&mut self.puts).into_iter();
        let (puts, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            puts.partition(|(name, _)| known.contains(name));
        self.puts = puts;
        self.gone.extend(gone);
        while self.gone.len() > GROUPS_MAX {
            self.gone.pop_first();
        }
        self.beyond.retain(|name, _| known.contains(name));
        self.shares.retain(|name| known.contains(name));
        Ok(turn)
    }

    /// The same over some topics of them; what has not begun by then is left, and told.
    pub async fn turn_over_some(
        &mut self,
        both: (&Arc<Cluster>, &Arc<Cluster>),
        sync: &GroupSync,
        topics: &[MirrorTopic],
        (now, until): (TimestampMs, Instant),
    ) -> Result<Turn, ClusterError> {
        Ok(self.work(both, sync, topics, (now, Some(until))).await?.0)
    }

    /// A turn, and the groups that the source has, or may have.
    async fn work(
        &mut self,
        (source, destination): (&Arc<Cluster>, &Arc<Cluster>),
        sync: &GroupSync,
        topics: &[MirrorTopic],
        (now, until): (TimestampMs, Option<Instant>),
    ) -> Result<(Turn, BTreeSet<GroupName>), ClusterError> {
        let mut turn = Turn { until, ..Turn::default() };
        if topics.is_empty() {
            return Ok((turn, self.puts.keys().cloned().collect()));
        }
        refresh(source, topics.iter().map(|one| &one.source)).await?;
        refresh(destination, topics.iter().map(|one| &one.mirror)).await?;
        let begins = parts::begins(source, destination, topics);
        turn.unplaced = parts::gone(topics, &begins);
        let (commits, mut left) = self.read_source(source, sync, &begins, &mut turn).await;
        turn.unread.clone_from(&turn.errors);
        if !self.barred.is_empty() {
            let fault = |groups: &BTreeSet<GroupName>| faults::no_shares(Side::Source, groups);
            turn.errors.push((faults::SHARES.to_owned(), fault(&self.barred)));
            let each =
                self.barred.iter().map(|name| (name.to_string(), BTreeSet::from([name.clone()])));
            turn.unread.extend(each.map(|(subject, one)| (subject, fault(&one))));
        }
        turn.groups = commits.len() as u64;
        let parts = parts::ends((source, destination), &commits, &begins, &mut turn).await;
        let what = (commits, parts, &begins);
        left.extend(self.put(destination, (sync, topics), what, (now, &mut turn)).await);
        Ok((turn, left))
    }

    /// Commits what is to be at the destination; gives the groups that were worked on.
    async fn put(
        &mut self,
        destination: &Arc<Cluster>,
        (sync, topics): (&GroupSync, &[MirrorTopic]),
        (commits, parts, begins): What<'_>,
        (now, turn): (TimestampMs, &mut Turn),
    ) -> BTreeSet<GroupName> {
        let repeat_ms = self.repeat_ms(destination).await;
        let listed = ask::list(destination).await;
        let (mut worked, ids) = (BTreeSet::new(), raise::ids_of(topics));
        let mut jobs = BTreeMap::new();
        for (name, source) in commits {
            let there = sync.renamed(&name);
            let is_share = self.shares.contains(&name);
            // one of another kind is for its coordinator to refuse
            let is_active = listed.groups.get(&there);
            let is_active =
                is_active.is_some_and(|(_, one)| one.is_active && one.is_share == is_share);
            // what is dropped on its way must not be forgotten
            let puts = self.puts.get(&name).or(self.gone.get(&name)).cloned().unwrap_or_default();
            let unstarted = match is_share {
                true => parts::unstarted(&source, begins),
                false => BTreeSet::new(),
            };
            let new = job(name, source, (is_active, is_share), puts);
            jobs.insert(there, Job { unstarted, ..new });
        }
        let known = listed.groups.into_iter().filter(|(name, _)| jobs.contains_key(name));
        let known: BTreeMap<GroupName, BrokerId> =
            known.map(|(name, (broker, _))| (name, broker)).collect();
        let (destination, parts, until) = (destination.clone(), Arc::new(parts), turn.until);
        let shared = put::Turn { destination, parts, now, repeat_ms, until };
        let done = put::all(&shared, jobs, known).await;
        let unstarted = done.iter().filter(|job| !job.unstarted.is_empty());
        let unstarted: Vec<GroupName> = unstarted.map(|job| sync.renamed(&job.name)).collect();
        let early = ask::begin_early(&shared.destination, &unstarted).await;
        let left_out = done.iter().filter(|job| put::is_left_out(job));
        let left_out: BTreeSet<GroupName> = left_out.map(|job| job.name.clone()).collect();
        if !left_out.is_empty() {
            turn.groups = turn.groups.saturating_sub(left_out.len() as u64);
            let fault = faults::no_shares(Side::Destination, &left_out);
            turn.errors.push((faults::SHARES.to_owned(), fault));
        }
        for job in done {
            worked.insert(job.name.clone());
            self.note_beyond(&job, &shared.parts, &ids);
            let unplaced = job.source.keys().filter(|tp| !shared.parts.contains_key(tp));
            leave(&mut self.unfollowed, &job.name, unplaced);
            self.gone.remove(&job.name);
            self.take_in(job, (sync, &shared.parts, &early), (now, turn));
        }
        self.tell_unfollowed(sync, (now, turn));
        turn.errors = bounded(std::mem::take(&mut turn.errors));
        worked
    }

    /// What the groups that pass have committed for what is mirrored, and of which groups that was
    /// not told. A group that was followed
    /// before and is not listed is asked for: its coordinator may be away.
    async fn read_source(
        &mut self,
        source: &Arc<Cluster>,
        sync: &GroupSync,
        begins: &BTreeMap<TopicPartition, Mirrored>,
        turn: &mut Turn,
    ) -> (Commits, BTreeSet<GroupName>) {
        let Listed { mut groups, failed } = ask::list(source).await;
        for (broker, error) in failed {
            turn.errors.push((format!("source broker {broker}"), fault_of(&error)));
        }
        groups.retain(|name, _| sync.follows(name));
        self.note_shares(&groups);
        if groups.len() > GROUPS_MAX {
            let fault = too_many("groups", groups.len(), GROUPS_MAX);
            turn.errors.push((FILTERS.to_owned(), fault));
        }
        let listed = groups.iter().map(|(name, (_, one))| (name.clone(), one.is_active));
        self.listed = listed.collect();
        self.unfollowed.clear();
        let listed = groups.into_iter().take(GROUPS_MAX);
        let mut coordinators: BTreeMap<GroupName, BrokerId> =
            listed.map(|(name, (broker, _))| (name, broker)).collect();
        let mut answers: Answers<Committed> = Answers::default();
        let unlisted = self.unlisted(source, sync, &coordinators);
        coordinators.extend(ask::keep(ask::find(source, &unlisted).await, &mut answers));
        let read = ask::read(source, coordinators, &self.shares).await;
        answers.failed.extend(read.failed);
        let is_barred =
            |name: &GroupName, why: &Failure| self.shares.contains(name) && ask::has_no_shares(why);
        let barred = answers.failed.iter().filter(|(name, why)| is_barred(name, why));
        self.barred = barred.map(|(name, _)| name.clone()).collect();
        answers.failed.retain(|name, _| !self.barred.contains(name));
        for (name, failure) in &answers.failed {
            turn.errors.push((name.to_string(), fault(failure, "source", "group")));
        }
        let (mut commits, mut count) = (Commits::new(), 0);
        turn.shares.extend(self.shares.iter().flat_map(|name| [name.clone(), sync.renamed(name)]));
        for (name, committed) in read.found {
            let (known, unread) = put::parted(committed);
            let others = known.keys().filter(|tp| !begins.contains_key(tp));
            leave(&mut self.unfollowed, &name, others.chain(unread.keys()));
            for (tp, code) in unread.into_iter().filter(|(tp, _)| begins.contains_key(tp)) {
                let text = format!("the source does not tell the offset of {tp}");
                turn.errors.push((name.to_string(), refused(code, &text)));
            }
            let known = known.into_iter().filter(|(tp, _)| begins.contains_key(tp));
            let known: BTreeMap<TopicPartition, Commit> = known.collect();
            count += known.len();
            if !known.is_empty() && count <= OFFSETS_MAX {
                commits.insert(name, known);
            }
        }
        if count > OFFSETS_MAX {
            let fault = too_many("offsets", count, OFFSETS_MAX);
            turn.errors.push((FILTERS.to_owned(), fault));
        }
        (commits, answers.failed.into_keys().collect())
    }

    /// One that is not listed, since its coordinator is away, is what it was.
    fn note_shares(&mut self, listed: &BTreeMap<GroupName, (BrokerId, Listing)>) {
        self.shares.retain(|name| !listed.contains_key(name));
        let shares = listed.iter().filter(|(_, (_, one))| one.is_share);
        self.shares.extend(shares.map(|(name, _)| name.clone()));
    }

    /// Groups that must be there and were not listed: those of the turn before, and those that
    /// the filter names.
    fn unlisted(
        &self,
        source: &Cluster,
        sync: &GroupSync,
        listed: &BTreeMap<GroupName, BrokerId>,
    ) -> Vec<GroupName> {
        let may_commit = TopicName::new(OFFSETS_TOPIC).is_some_and(|name| {
            // a question for a coordinator would make the topic
            source.topic(&name).is_some_and(|topic| topic.error.is_none())
        });
        let named = sync.filter.literals().filter(|name| may_commit && sync.follows(name));
        let before = self.puts.keys().filter(|name| sync.follows(name));
        let all: BTreeSet<&GroupName> = named.chain(before).collect();
        let unlisted = all.into_iter().filter(|name| !listed.contains_key(name));
        unlisted.take(GROUPS_MAX).cloned().collect()
    }

    /// Groups of which nothing was followed: who asks whether all groups can move must not be told
    /// of the others alone.
    fn tell_unfollowed(&mut self, sync: &GroupSync, (now, turn): (TimestampMs, &mut Turn)) {
        for (name, unfollowed) in std::mem::take(&mut self.unfollowed) {
            let is_active_at_source = self.listed.get(&name).copied();
            let there = sync.renamed(&name);
            let is_share = self.shares.contains(&name);
            let new = GroupTold::of(name, now);
            let told = GroupTold { is_share, is_active_at_source, unfollowed, ..new };
            turn.told.entry(there).or_insert(told);
        }
        // where such a group reads is not told before it has a start
        for name in self.shares.iter().filter(|name| sync.follows(name)).take(GROUPS_MAX) {
            let own = BTreeSet::from([name.clone()]);
            let fault = self.barred.contains(name);
            let fault = fault.then(|| faults::no_shares(Side::Source, &own));
            let is_active_at_source = self.listed.get(name).copied();
            let new = GroupTold::of(name.clone(), now);
            let told = GroupTold { is_share: true, is_active_at_source, fault, ..new };
            turn.told.entry(sync.renamed(name)).or_insert(told);
        }
    }

    fn take_in(
        &mut self,
        job: Job,
        (sync, parts, early): Beside<'_>,
        (now, turn): (TimestampMs, &mut Turn),
    ) {
        let is_left_out = put::is_left_out(&job);
        let Job { name, source, puts, plan, commits, refused: left, failure, is_share, .. } = job;
        let Plan { mut stands, is_in_use, puts: planned, .. } = plan;
        let there = sync.renamed(&name);
        turn.commits += commits;
        let clamped = stands.values().filter_map(|stand| stand.target);
        turn.clamped += clamped.filter(|target| target.is_clamped).count() as u64;
        let is_planned = failure.is_none() || !stands.is_empty();
        if !is_planned {
            // a group must not look as if it had nothing that is mirrored
            stands = offsets::unseen(&source, parts);
        }
        for (tp, put) in &planned {
            if let Some(stand) = stands.get_mut(tp) {
                stand.there = Some(put.offset);
            }
        }
        let why = |failure| match is_left_out {
            true => faults::no_shares(Side::Destination, &BTreeSet::from([name.clone()])),
            false => fault(failure, "destination", "group"),
        };
        let mut faults: Vec<Fault> = failure.iter().map(why).collect();
        faults.extend(is_in_use.then(|| in_use(&there)));
        faults.extend(
            left.into_iter().map(|(tp, code)| {
                refused(code, &format!("the destination takes no offset of {tp}"))
            }),
        );
        let first = faults.first().cloned();
        if !is_left_out {
            turn.errors.extend(faults.into_iter().map(|fault| (there.to_string(), fault)));
        }
        let told = GroupTold {
            is_share,
            unstarted: job.unstarted,
            begins_early: early.get(&there).copied(),
            stands,
            fault: first,
            is_active_at_source: self.listed.get(&name).copied(),
            unfollowed: self.unfollowed.remove(&name).unwrap_or_default(),
            ..GroupTold::of(name.clone(), now)
        };
        turn.told.insert(there, told);
        self.puts.insert(name, if is_planned { planned } else { puts });
    }
}

async fn refresh<'a>(
    cluster: &Cluster,
    names: impl Iterator<Item = &'a TopicName>,
) -> Result<(), ClusterError> {
    let names: BTreeSet<&TopicName> = names.collect();
    let names: Vec<TopicName> = names.into_iter().cloned().collect();
    for some in names.chunks(TOPICS_ASKED_MAX) {
        cluster.refresh(Wanted::Topics(some)).await?;
    }
    Ok(())
}

fn job(
    name: GroupName,
    source: BTreeMap<TopicPartition, Commit>,
    (is_active, is_share): (bool, bool),
    puts: Puts,
) -> Job {
    Job {
        name,
        source,
        is_active,
        is_share,
        unstarted: BTreeSet::new(),
        puts,
        plan: Plan::default(),
        commits: 0,
        refused: BTreeMap::new(),
        failure: None,
    }
}
