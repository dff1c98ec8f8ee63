//! Keeps configs of commanded mirror topics as their sources have them (`control::task::configs`
//! says which): the task `TopicConfigsSync`.
//!
//! It never touches a topic that is not the one with the mirror's id, and one topic's refusal never
//! holds another one up.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::cluster::Wanted;
use crate::cluster::error::ClusterError;
use crate::cluster::error::Refusal;
use crate::control::link::LinkState;
use crate::control::row::Before;
use crate::control::row::Changes;
use crate::control::row::MadeBy;
use crate::control::rules::CLEANUP;
use crate::control::task::TaskName;
use crate::control::task::configs;
use crate::control::task::configs::BATCH_BYTES;
use crate::control::task::configs::ConfigSync;
use crate::control::task::configs::Entries;
use crate::control::task::configs::Plan;
use crate::control::topic::Fault;
use crate::control::topic::Stage;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::link::driver::ctx::Ctx;
use crate::link::driver::ctx::Session;
use crate::link::registry::Event;
use crate::link::registry::LinkSeen;
use crate::link::registry::MirrorSeen;
use crate::sync::configs::as_it_was;
use crate::sync::configs::entries;

/// UNKNOWN_TOPIC_OR_PARTITION.
const UNKNOWN_TOPIC: i16 = 3;
/// How often it is looked whether a turn is due: the interval may change meanwhile.
const TICK: Duration = Duration::from_secs(1);
/// How long a mirror topic is taken for what it was, while its source says the same.
const CHECKED_AGE_MAX: Duration = Duration::from_secs(30);
/// So many topics are asked about in one question.
const ASKED_MAX: usize = 200;
/// How long the text in the row of a promoted topic is at most, in letters.
const LETTERS_MAX: usize = 400;
/// So many errors are told one by one.
const TOLD_MAX: usize = 100;

/// Until it is dropped.
pub(in crate::link) async fn keep(ctx: Arc<Ctx>) {
    let (mut clerk, mut told) = (Clerk::default(), None);
    let mut last: Option<Instant> = None;
    loop {
        sleep(TICK).await;
        let session = ctx.session.borrow().clone();
        let (Some(sync), Some(session)) = (wanted(&ctx), session) else { continue };
        let every = Duration::from_millis(u64::try_from(sync.every_ms).unwrap_or(0));
        let mut mirrors = mirrors(&ctx);
        let is_due = last.is_none_or(|last| last.elapsed() >= every);
        if is_due {
            clerk.keep_only(&mirrors);
        } else {
            // a promote waits for no interval
            mirrors.retain(|mirror| mirror.awaited.is_some());
            if mirrors.is_empty() {
                continue;
            }
        }
        let errors = match clerk.turn(&ctx, &session, &sync, &mirrors).await {
            Ok(()) => clerk.errors(),
            Err(error) => {
                tracing::info!(link = %ctx.name, %error, "configs of topics were not compared");
                ctx.all_failed(&error)
            }
        };
        ctx.tell_task(TaskName::TopicConfigsSync, &mut told, errors).await;
        last = if is_due { Some(Instant::now()) } else { last };
    }
}

/// What the link wants, while it is active.
fn wanted(ctx: &Ctx) -> Option<ConfigSync> {
    let seen = ctx.registry.seen();
    let may = |link: &&Arc<LinkSeen>| seen.is_holder && link.state == LinkState::Active;
    let link = seen.links.get(&ctx.name).filter(may)?;
    Some(link.settings.as_ref()?.configs.clone())
}

/// A mirror topic, as its row has it.
struct Mirror {
    name: TopicName,
    id: TopicId,
    seen: Arc<MirrorSeen>,
    /// It is promoted and waits for this, since when by the count of looks.
    awaited: Option<u64>,
}

/// What is remembered of a mirror topic between turns.
#[derive(Default)]
struct Known {
    /// One value for all topics that say the same.
    source: Arc<Entries>,
    /// When it was as it should be, or was refused.
    checked: Option<Instant>,
    /// What the source's brokers refuse, and what the destination's.
    faults: (Option<Fault>, Option<Fault>),
}

impl Known {
    /// What was not taken over, for the row of a topic that is promoted; a journal's row is small.
    fn told(&self) -> Option<String> {
        let faults = [&self.faults.0, &self.faults.1].into_iter().flatten();
        let texts: Vec<&str> = faults.map(|fault| fault.text.as_str()).collect();
        let told: String = texts.join("; ").chars().take(LETTERS_MAX).collect();
        (!told.is_empty()).then_some(told)
    }
}

/// A topic that is to become a compacted one: it would refuse records without a key that the source
/// had before, so the copy of them comes first.
enum Waits {
    /// Seen once: the change may not be in force at each of the source's brokers.
    Noted,
    /// Until the copy is there.
    Until(BTreeMap<PartitionId, Offset>),
}

#[derive(Default)]
struct Clerk {
    include: Option<ConfigSync>,
    known: BTreeMap<TopicName, Known>,
    /// What the source said of a topic last: mostly the next one has the same.
    last: Arc<Entries>,
    compacting: BTreeMap<TopicName, Waits>,
    /// Of this turn: topics that have what the source has, but for what was refused.
    settled: BTreeSet<TopicName>,
}

impl Clerk {
    async fn turn(
        &mut self,
        ctx: &Ctx,
        session: &Session,
        sync: &ConfigSync,
        mirrors: &[Mirror],
    ) -> Result<(), ClusterError> {
        if self.include.as_ref() != Some(sync) {
            self.known.values_mut().for_each(|known| known.checked = None);
            self.include = Some(sync.clone());
        }
        for some in mirrors.chunks(ASKED_MAX) {
            self.settled.clear();
            let due = self.compare_sources(&session.source, sync, some).await?;
            let plans = self.plan(&ctx.destination, sync, &due).await?;
            let changes = self.sort_out(ctx, plans).await;
            self.change(ctx, changes).await?;
            self.tell_awaited(ctx, some).await;
        }
        Ok(())
    }

    /// Of other topics nothing is remembered.
    fn keep_only(&mut self, mirrors: &[Mirror]) {
        let there: BTreeSet<&TopicName> = mirrors.iter().map(|one| &one.name).collect();
        self.known.retain(|name, _| there.contains(name));
        self.compacting.retain(|name, _| there.contains(name));
    }

    /// Tells of those that are promoted that they may go on: what differed was told before.
    async fn tell_awaited(&self, ctx: &Ctx, mirrors: &[Mirror]) {
        for mirror in mirrors.iter().filter(|one| self.settled.contains(&one.name)) {
            if let Some(level_at) = mirror.awaited {
                let key = (ctx.name.clone(), mirror.name.clone());
                let refused = self.known.get(&mirror.name).and_then(Known::told);
                ctx.tell(Event::Configured(key, (level_at, refused))).await;
            }
        }
    }

    /// Reads the sources' configs; the mirrors that must be looked at.
    async fn compare_sources<'a>(
        &mut self,
        source: &Cluster,
        sync: &ConfigSync,
        some: &'a [Mirror],
    ) -> Result<Vec<&'a Mirror>, ClusterError> {
        let names: Vec<TopicName> =
            some.iter().map(|one| one.seen.row.source_topic.clone()).collect();
        let mut told = source.describe_topic_configs(&names, Some(&sync.keys())).await?;
        let mut due = Vec::new();
        for mirror in some {
            let known = self.known.entry(mirror.name.clone()).or_default();
            match told.remove(&mirror.seen.row.source_topic) {
                Some(Ok(found)) => {
                    let found = entries(&found);
                    let is_same = *known.source == found;
                    if *self.last != found {
                        self.last = Arc::new(found);
                    }
                    (known.source, known.faults.0) = (self.last.clone(), None);
                    let is_old = |at: Instant| at.elapsed() >= CHECKED_AGE_MAX;
                    if !is_same || known.checked.is_none_or(is_old) {
                        due.push(mirror);
                    } else {
                        self.settled.insert(mirror.name.clone());
                    }
                }
                Some(Err(refusal)) => {
                    let what = "the source does not tell its configs (DescribeConfigs)";
                    known.faults.0 = Some(fault_of(what, &refusal));
                    self.settled.insert(mirror.name.clone());
                }
                None => {}
            }
        }
        Ok(due)
    }

    /// What is to become of those mirrors.
    async fn plan<'a>(
        &mut self,
        destination: &Cluster,
        sync: &ConfigSync,
        due: &[&'a Mirror],
    ) -> Result<Vec<(&'a Mirror, Entries, Plan)>, ClusterError> {
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<TopicName> = due.iter().map(|one| one.name.clone()).collect();
        destination.refresh(Wanted::Topics(&names)).await?;
        let mut told = destination.describe_topic_configs(&names, Some(&sync.keys())).await?;
        let mut plans = Vec::new();
        for mirror in due {
            let is_same = |id: TopicId| id == mirror.id || id == TopicId::NIL;
            let is_ours = destination.topic(&mirror.name).is_some_and(|topic| is_same(topic.id));
            let (Some(known), true) = (self.known.get_mut(&mirror.name), is_ours) else { continue };
            match told.remove(&mirror.name) {
                Some(Ok(found)) => {
                    let (found, row) = (entries(&found), &mirror.seen.row);
                    let is_back = row.made_by == MadeBy::Reversal;
                    let is_made = row.before == Before::Absent || is_back;
                    let source = as_it_was(&known.source, row);
                    let both = (&*source, &found);
                    let swaps = is_back || row.reversal.is_some();
                    let wider = swaps.then(|| sync.with_limits());
                    let sync = wider.as_ref().unwrap_or(sync);
                    let mut plan = configs::plan(sync, both, &row.owed, is_made);
                    if is_back && row.is_paused && row.stage == Stage::Mirroring {
                        // nothing is copied yet, and nobody else is to write meanwhile
                        plan.changes.remove(BATCH_BYTES);
                    }
                    plans.push((*mirror, found, plan));
                }
                Some(Err(refusal)) => {
                    let what = "the destination does not tell its configs (DescribeConfigs)";
                    // not every broker knows at once of one that was just made; what is gone is
                    // told by who copies it
                    let is_told = refusal.code.0 != UNKNOWN_TOPIC;
                    known.faults.1 = is_told.then(|| fault_of(what, &refusal));
                    known.checked = is_told.then(Instant::now);
                    self.settled.insert(mirror.name.clone());
                }
                None => {}
            }
        }
        Ok(plans)
    }

    /// Has what is owed written down; what may be changed now.
    async fn sort_out(
        &mut self,
        ctx: &Ctx,
        plans: Vec<(&Mirror, Entries, Plan)>,
    ) -> Vec<(TopicName, Changes)> {
        let mut all = Vec::new();
        for (mirror, is, mut plan) in plans {
            let key = (ctx.name.clone(), mirror.name.clone());
            if plan.at_stop != mirror.seen.row.at_stop {
                ctx.tell(Event::AtStop(key.clone(), plan.at_stop)).await;
            }
            if plan.owed != mirror.seen.row.owed {
                ctx.tell(Event::Owed(key, plan.owed)).await;
            }
            let is_kept_back = self.is_kept_back(ctx, mirror, &is, &plan.changes);
            if is_kept_back {
                plan.changes.remove(CLEANUP);
            }
            let Some(known) = self.known.get_mut(&mirror.name) else { continue };
            known.faults.1 = unknown(&plan.unknown);
            // what is to come is looked at in the next turn
            known.checked = Some(Instant::now()).filter(|_| !is_kept_back);
            if !is_kept_back {
                self.settled.insert(mirror.name.clone());
            }
            if !plan.changes.is_empty() {
                all.push((mirror.name.clone(), plan.changes));
            }
        }
        all
    }

    /// Whether the topic is to become a compacted one and the copy is not there yet of what the
    /// source held before.
    fn is_kept_back(
        &mut self,
        ctx: &Ctx,
        mirror: &Mirror,
        is: &Entries,
        changes: &Changes,
    ) -> bool {
        let compacts = |value: Option<&String>| value.is_some_and(|text| text.contains("compact"));
        let wants = changes.get(CLEANUP).is_some_and(|value| compacts(value.as_ref()));
        if !wants || compacts(is.get(CLEANUP).and_then(|entry| entry.value.as_ref())) {
            self.compacting.remove(&mirror.name);
            return false;
        }
        let now = match self.compacting.get(&mirror.name) {
            None => Waits::Noted,
            Some(Waits::Noted) => match ends(ctx, mirror) {
                Some(ends) => Waits::Until(ends),
                None => Waits::Noted,
            },
            Some(Waits::Until(ends)) if is_copied(ctx, mirror, ends) => {
                self.compacting.remove(&mirror.name);
                return false;
            }
            Some(Waits::Until(_)) => return true,
        };
        self.compacting.insert(mirror.name.clone(), now);
        true
    }

    /// One request for all, and one more for each key of a topic that was refused: one wrong key
    /// refuses its whole topic.
    async fn change(
        &mut self,
        ctx: &Ctx,
        changes: Vec<(TopicName, Changes)>,
    ) -> Result<(), ClusterError> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut answers = ctx.destination.alter_topic_configs(&changes, false).await?;
        for (name, changes) in changes {
            let refused = match answers.remove(&name) {
                Some(Ok(())) => {
                    tell_changed(ctx, &name, &changes);
                    self.look_again(&name);
                    continue;
                }
                Some(Err(refusal)) => refusal,
                None => {
                    self.settled.remove(&name);
                    self.look_again(&name);
                    continue;
                }
            };
            let fault = match changes.len() {
                1 => Some(refused_fault(changes.keys().next().map_or("", |key| key), &refused)),
                _ => self.change_each(ctx, &name, changes).await?,
            };
            if let Some(known) = self.known.get_mut(&name) {
                known.faults.1 = fault;
            }
        }
        Ok(())
    }

    /// The first key that is refused, if one is.
    async fn change_each(
        &mut self,
        ctx: &Ctx,
        name: &TopicName,
        changes: Changes,
    ) -> Result<Option<Fault>, ClusterError> {
        let mut fault = None;
        for (key, value) in changes {
            let alone = Changes::from([(key.clone(), value)]);
            let asked = [(name.clone(), alone.clone())];
            match ctx.destination.alter_topic_configs(&asked, false).await?.remove(name) {
                Some(Ok(())) => tell_changed(ctx, name, &alone),
                Some(Err(refusal)) => {
                    fault.get_or_insert_with(|| refused_fault(&key, &refusal));
                }
                None => {}
            }
        }
        Ok(fault)
    }

    /// Brokers learn of a change one by one: it is read back in the next turn.
    fn look_again(&mut self, name: &TopicName) {
        if let Some(known) = self.known.get_mut(name) {
            known.checked = None;
        }
    }

    /// What could not be done, by topic.
    fn errors(&self) -> Vec<(String, Fault)> {
        let all = self.known.iter().flat_map(|(name, known)| {
            let faults = [&known.faults.0, &known.faults.1];
            faults.into_iter().flatten().map(|fault| (name.to_string(), fault.clone()))
        });
        let mut all: Vec<(String, Fault)> = all.collect();
        let more = all.len().saturating_sub(TOLD_MAX);
        if more > 0 {
            all.truncate(TOLD_MAX);
            let text = format!("and {more} more");
            let fault = Fault { code: "SUPPRESSED_ERRORS".to_owned(), text };
            all.push(("*".to_owned(), fault));
        }
        all
    }
}

fn mirrors(ctx: &Ctx) -> Vec<Mirror> {
    let seen = ctx.registry.seen();
    let own = seen.mirrors_of(&ctx.name);
    let copied = |stage: Stage| matches!(stage, Stage::Mirroring | Stage::Stopping);
    let all = own.filter(|(_, one)| copied(one.row.stage)).filter_map(|(name, one)| {
        let (id, seen) = (one.row.mirror_id?, one.clone());
        Some(Mirror { name: name.clone(), id, seen, awaited: one.awaits_configs })
    });
    all.collect()
}

/// Where the source's partitions end, once all of them are known.
fn ends(ctx: &Ctx, mirror: &Mirror) -> Option<BTreeMap<PartitionId, Offset>> {
    let all = ctx.link.partitions().into_iter();
    let own = all.filter(|(one, _)| one.mirror_topic == mirror.name);
    let ends: Option<BTreeMap<PartitionId, Offset>> =
        own.map(|(one, seen)| Some((one.partition, seen.source_end?))).collect();
    let count = usize::try_from(mirror.seen.row.partitions).unwrap_or(usize::MAX);
    ends.filter(|ends| ends.len() >= count)
}

fn is_copied(ctx: &Ctx, mirror: &Mirror, ends: &BTreeMap<PartitionId, Offset>) -> bool {
    let all = ctx.link.partitions().into_iter();
    let own = all.filter(|(one, _)| one.mirror_topic == mirror.name);
    let copied: BTreeMap<PartitionId, Option<Offset>> =
        own.map(|(one, seen)| (one.partition, seen.destination_hwm)).collect();
    let is_there = |(partition, end): (&PartitionId, &Offset)| {
        copied.get(partition).copied().flatten().is_some_and(|copied| copied >= *end)
    };
    ends.iter().all(is_there)
}

fn tell_changed(ctx: &Ctx, name: &TopicName, changes: &Changes) {
    let keys: Vec<&str> = changes.keys().map(String::as_str).collect();
    let keys = keys.join(",");
    tracing::info!(link = %ctx.name, topic = %name, keys, "configs follow the source's");
}

fn unknown(keys: &[String]) -> Option<Fault> {
    let (first, more) = (keys.first()?, keys.len() - 1);
    let text = format!(
        "the destination's brokers do not know {first}, which the source topic sets{}: take it out \
         of topic.config.sync.include",
        if more > 0 { format!(" (and {more} more)") } else { String::new() }
    );
    Some(Fault { code: "INVALID_REQUEST_ERROR".to_owned(), text })
}

fn refused_fault(key: &str, refusal: &Refusal) -> Fault {
    let what = format!("the destination does not take the source's {key} (AlterConfigs)");
    fault_of(&what, refusal)
}

/// Cluster Linking's word for a refusal.
fn fault_of(what: &str, refusal: &Refusal) -> Fault {
    let (code, cure) = match refusal.code.0 {
        // TOPIC_AUTHORIZATION_FAILED, CLUSTER_AUTHORIZATION_FAILED
        29 | 31 => ("AUTHORIZATION_ERROR", ": grant what `isolog check` prints"),
        // INVALID_CONFIG, INVALID_REQUEST
        40 | 42 => ("INVALID_REQUEST_ERROR", ""),
        // POLICY_VIOLATION
        44 => ("POLICY_VIOLATION_ERROR", ""),
        // UNKNOWN_TOPIC_OR_PARTITION
        3 => ("UNKNOWN_TOPIC_OR_PARTITION_ERROR", ""),
        _ => ("INTERNAL_ERROR", ""),
    };
    Fault { code: code.to_owned(), text: format!("{what}: {refusal}{cure}") }
}
