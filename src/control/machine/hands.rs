//! What comes back from those who look, do and copy.
//!
//! It never writes a row: it notes what is known now and has the topic looked through.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::control::advance::MISSING_MAX;
use crate::control::decide::Begin;
use crate::control::discover;
use crate::control::discover::Plan;
use crate::control::facts::Asked;
use crate::control::facts::DoId;
use crate::control::facts::Done;
use crate::control::facts::Failed;
use crate::control::facts::FlowFact;
use crate::control::facts::Flowed;
use crate::control::facts::LookId;
use crate::control::facts::MirrorKey;
use crate::control::facts::Observed;
use crate::control::facts::Reach;
use crate::control::facts::TopicFacts;
use crate::control::facts::TopicSpec;
use crate::control::facts::Topics;
use crate::control::facts::Wanted;
use crate::control::link::Refused;
use crate::control::machine::Control;
use crate::control::machine::Intent;
use crate::control::machine::LOOK_TOPICS_MAX;
use crate::control::machine::Looking;
use crate::control::machine::takeover;
use crate::control::order::NewMirror;
use crate::control::order::Order;
use crate::control::order::Outcome;
use crate::control::order::Refusal;
use crate::control::order::Ticket;
use crate::control::row::Before;
use crate::control::row::Changes;
use crate::control::row::MadeBy;
use crate::control::row::MirrorRow;
use crate::control::task::TaskName;
use crate::control::task::TaskTurn;
use crate::control::task::last::LastSync;
use crate::control::topic::Fault;
use crate::control::topic::How;
use crate::control::topic::Stage;
use crate::control::topic::Swap;
use crate::control::topic::Track;
use crate::ids::LinkName;
use crate::ids::PartitionId;
use crate::ids::Side;
use crate::ids::TimestampMs;
use crate::ids::TopicName;

/// The first pause after something was not done, in ms; it doubles.
const RETRY_MS_MIN: i64 = 500;
/// The longest.
const RETRY_MS_MAX: i64 = 30_000;
/// The first pause before a topic is begun again that was refused for good, in ms; it doubles: what
/// refused it, a limit or a number of brokers, may be another one by then.
const REFUSED_MS_MIN: i64 = 30_000;
/// The longest.
const REFUSED_MS_MAX: i64 = 3_600_000;
/// How soon a topic is looked for again that is missing, in ms, until it is there or counts as
/// deleted.
const MISSING_LOOK_MS: i64 = 5_000;
/// The pause after a look that failed, in ms, unless the link looks more often.
const LOOK_RETRY_MS_MAX: i64 = 10_000;

impl Track {
    /// What is known of a topic that is no mirror any more is forgotten; what flow holds must come
    /// back whatever becomes of the name.
    pub(super) fn forget_topic(&mut self) {
        let kept = std::mem::take(self);
        let (held, tickets, failure) = (kept.held, kept.tickets, kept.failure);
        *self = Track { held, tickets, failure, ..Track::default() };
    }

    /// The side at which it was missing in the last look, and not yet often enough to count as
    /// deleted.
    pub fn missing_at(&self) -> Option<Side> {
        let (source, mirror) = self.missing;
        let each = [(Side::Source, source), (Side::Destination, mirror)];
        let missing = |(_, looks): &(Side, u32)| (1..MISSING_MAX).contains(looks);
        each.into_iter().find(missing).map(|(side, _)| side)
    }

    /// Another row stands in the journal: what it says already need not be known besides.
    pub(super) fn take_over(&mut self, row: &MirrorRow) {
        if row.stage != Stage::Stopping {
            self.level.clear();
        }
        self.is_lifted &= matches!(row.stage, Stage::Sealing(_));
        if row.stage != Stage::Sealing(How::Promote) {
            self.synced = None;
        }
        if row.stage != Stage::Setup {
            (self.is_replaced, self.generation) = (false, None);
            self.made = None;
            self.failure = None;
            (self.failures, self.retry_at) = (0, None);
        }
        if self.grown.is_some_and(|count| count <= row.partitions) {
            self.grown = None;
        }
        let is_copied = matches!(row.stage, Stage::Mirroring | Stage::Stopping);
        if !is_copied || self.owed.as_ref() == Some(&row.owed) {
            self.owed = None;
        }
        if !is_copied || self.at_stop.as_ref() == Some(&row.at_stop) {
            self.at_stop = None;
        }
        if !is_copied || self.ancestors.as_ref() == Some(&row.ancestors) {
            self.ancestors = None;
        }
    }
}

/// Whether a topic that was stopped or let go is set up once more: what was known of it is past.
pub(super) fn begins_again(before: Option<&MirrorRow>, row: &MirrorRow) -> bool {
    row.stage == Stage::Setup && before.is_some_and(|before| before.stage != Stage::Setup)
}

/// A generation that no mirror of that name had before, also where its row is long gone: seconds
/// since 1970.
fn new_generation(now: TimestampMs, before: u32) -> u32 {
    u32::try_from(now.0 / 1_000).unwrap_or(0).max(before.saturating_add(1))
}

impl Control {
    /// A mirror topic's row is gone.
    pub(super) fn remove_mirror(&mut self, key: &MirrorKey) {
        self.mirrors.remove(key);
        if let Some(track) = self.tracks.get_mut(key) {
            track.forget_topic();
        }
        if let Some(owners) = self.owners.get_mut(&key.1) {
            owners.retain(|link| *link != key.0);
            if owners.is_empty() {
                self.owners.remove(&key.1);
            }
        }
        self.judge_name(key);
        self.dirty.insert(key.clone());
        self.dirty_links.insert(key.0.clone());
    }

    /// What a look found; `Err` where a cluster did not answer.
    pub fn handle_observed(
        &mut self,
        now: TimestampMs,
        id: LookId,
        observed: Result<Observed, Fault>,
    ) {
        match (self.looking.remove(&id), observed) {
            (Some(Looking::All(link)), Ok(Observed::All(topics))) => {
                self.take_in(now, &link, &topics);
            }
            (Some(Looking::All(link)), _) => self.look_again(now, &link),
            (Some(Looking::Found(link, wanted)), Ok(Observed::Topics(facts))) => {
                self.begin_found(now, &link, &wanted, facts);
            }
            (Some(Looking::Order(ticket, order)), Ok(Observed::Topics(mut facts))) => {
                let facts = facts.remove(&order.2.1);
                self.begin_ordered(ticket, *order, facts);
            }
            (Some(Looking::Order(ticket, order)), Err(fault)) => {
                let result = Err(Refusal::unavailable(fault.text));
                let outcome = Outcome { topic: Some(order.2.1), result };
                self.answers.push_back((ticket, vec![outcome]));
            }
            // tried again after the next look at all topics
            (Some(Looking::Found(..) | Looking::Order(..)), _) | (None, _) => {}
        }
        self.look_through(now);
    }

    fn take_in(&mut self, now: TimestampMs, link: &LinkName, topics: &Topics) {
        let Some(track) = self.link_tracks.get_mut(link) else { return };
        (track.is_looking, track.has_looked) = (false, true);
        let looks = track.looks;
        let Some(settings) = track.settings.clone() else { return };
        self.dirty_links.insert(link.clone());
        if self.is_taking_over(link) {
            return self.remember(now, link, &settings, topics);
        }
        let first = (link.clone(), TopicName::new("-").expect("a legal name"));
        let own = self.mirrors.range(first..).take_while(|((of, _), _)| of == link);
        let (mut known, mut pause) = (BTreeSet::new(), settings.look_every_ms);
        let mut undecided = BTreeSet::new();
        for (key, row) in own {
            known.insert(&key.1);
            if row.stage == Stage::Setup {
                undecided.insert(row.source_topic.as_str());
            }
            if let Some(track) = self.tracks.get_mut(key) {
                let is_other = discover::observe(track, row, key, topics);
                if track.missing_at().is_some() {
                    pause = pause.min(MISSING_LOOK_MS);
                }
                match track.level_at {
                    Some(at) if at < looks => track.is_counted = true,
                    // this look may have begun before the last records were there
                    Some(_) => pause = 0,
                    None => {}
                }
                // of thousands that are copied as before there is nothing to look through
                if is_other || row.stage != Stage::Mirroring {
                    self.dirty.insert(key.clone());
                }
            }
        }
        let Plan { begin, troubles } = discover::plan(&settings, &known, topics);
        if let Some(track) = self.link_tracks.get_mut(link) {
            track.look_at = Some(TimestampMs(now.0.saturating_add(pause)));
            // what was refused stays so until it is decided again
            undecided.extend(begin.iter().map(|(wanted, _)| wanted.source.as_str()));
            track.troubles.retain(|(name, _)| undecided.contains(name.as_str()));
            track.troubles.extend(troubles);
            track.found = begin.iter().map(|(wanted, _)| wanted.source.clone()).collect();
            let turn = TaskTurn { at: now, errors: track.troubles.clone() };
            track.tasks.entry(TaskName::AutoCreateMirror).or_default().take_in(turn);
        }
        for some in begin.chunks(LOOK_TOPICS_MAX) {
            let asked = some.iter().map(|(wanted, _)| wanted.clone()).collect();
            let by_name = some.iter().map(|one| (one.0.mirror.clone(), one.clone())).collect();
            self.look(link, Asked::Topics(asked), Looking::Found(link.clone(), by_name));
        }
    }

    fn look_again(&mut self, now: TimestampMs, link: &LinkName) {
        let Some(track) = self.link_tracks.get_mut(link) else { return };
        track.is_looking = false;
        let every = track.settings.as_ref().map_or(0, |settings| settings.look_every_ms);
        let pause = every.clamp(RETRY_MS_MIN, LOOK_RETRY_MS_MAX);
        track.look_at = Some(TimestampMs(now.0.saturating_add(pause)));
        self.dirty_links.insert(link.clone());
    }

    fn begin_found(
        &mut self,
        now: TimestampMs,
        link: &LinkName,
        wanted: &BTreeMap<TopicName, (Wanted, MadeBy)>,
        facts: BTreeMap<TopicName, TopicFacts>,
    ) {
        let settings = self.link_tracks.get(link).and_then(|track| track.settings.as_ref());
        let replicas = settings.and_then(|settings| settings.replicas);
        let staged = self.staged(link);
        for (mirror, mut facts) in facts {
            let Some((wanted, made_by)) = wanted.get(&mirror) else { continue };
            if let Some(fault) = self.refused(now, link, &mirror, &facts) {
                self.note_trouble((link, &wanted.source), fault);
                continue;
            }
            let (source, configs) = (wanted.source.clone(), BTreeMap::new());
            takeover::owe_staged(&mut facts, staged.get(&source));
            let (made_by, restore) = (*made_by, None);
            let begin = Begin { source, made_by, replicas, configs, restore, facts };
            self.intents.push_back(Intent::Begin((link.clone(), mirror), Box::new(begin), None));
        }
    }

    /// Why the same two topics were refused for good not long ago.
    fn refused(
        &self,
        now: TimestampMs,
        link: &LinkName,
        mirror: &TopicName,
        facts: &TopicFacts,
    ) -> Option<Fault> {
        let track = self.link_tracks.get(link);
        let refused = track.and_then(|track| track.refused.get(mirror));
        let ids = facts.source.seen().map(|seen| seen.id);
        let ids = ids.map(|source| (source, facts.mirror.seen().map(|seen| seen.id)));
        let stays = refused.filter(|one| Some(one.ids) == ids && one.again_at > now);
        stays.map(|refused| refused.fault.clone())
    }

    /// What a filter or a name wants and cannot have; its row goes, and says nothing more.
    fn note_refused(&mut self, now: TimestampMs, key: &MirrorKey, row: &MirrorRow, fault: Fault) {
        let mirror = match row.before {
            Before::Adopted(id) | Before::Replaced(id) => Some(id),
            Before::Absent => None,
        };
        if let Some(track) = self.link_tracks.get_mut(&key.0) {
            let ids = (row.source_id, mirror);
            let before = track.refused.get(&key.1).filter(|before| before.ids == ids);
            let times = before.map_or(0, |before| before.times);
            let pause = REFUSED_MS_MIN.saturating_mul(1 << times.min(16)).min(REFUSED_MS_MAX);
            let again_at = TimestampMs(now.0.saturating_add(pause));
            let refused = Refused { ids, fault: fault.clone(), times: times + 1, again_at };
            track.refused.insert(key.1.clone(), refused);
        }
        self.note_trouble((&key.0, &row.source_topic), fault);
    }

    fn begin_ordered(
        &mut self,
        ticket: Ticket,
        (order, new, key): (Order, NewMirror, MirrorKey),
        facts: Option<TopicFacts>,
    ) {
        let Some(facts) = facts else {
            let text = format!("Topic '{}' could not be looked at: try again.", new.source);
            let result = Err(Refusal::unavailable(text));
            return self.answers.push_back((ticket, vec![Outcome { topic: Some(key.1), result }]));
        };
        let is_reversal = new.restore.as_ref().is_some_and(|one| one.reversal.is_some());
        let begin = Begin {
            source: new.source,
            made_by: if is_reversal { MadeBy::Reversal } else { MadeBy::Order },
            replicas: new.replicas,
            configs: new.configs,
            restore: new.restore,
            facts,
        };
        let by = Some((ticket, order.is_dry));
        self.intents.push_back(Intent::Begin(key, Box::new(begin), by));
    }

    /// What came of something that was to be done.
    pub fn handle_done(&mut self, now: TimestampMs, id: DoId, result: Result<Done, Failed>) {
        let Some(key) = self.doing.remove(&id) else { return };
        let adopted = self.mirrors.get(&key).map(|row| (row.before, row.generation));
        let setting_up = self.mirrors.get(&key).filter(|row| row.stage == Stage::Setup);
        let found = setting_up.filter(|row| !row.made_by.is_ordered()).cloned();
        let is_stopping = self.mirrors.get(&key).is_some_and(|row| row.stage == Stage::Stopping);
        let Some(track) = self.tracks.get_mut(&key).filter(|track| track.doing == Some(id)) else {
            return self.look_through(now);
        };
        (track.doing, track.progress) = (None, None);
        if result.is_ok() {
            (track.failure, track.failures, track.retry_at) = (None, 0, None);
        }
        match result {
            Ok(Done::Created(topic)) => track.made = Some(topic),
            Ok(Done::IsPrefix { is_fenced }) => {
                if let Some((Before::Adopted(topic), generation)) = adopted {
                    track.made = Some(topic);
                    track.generation = is_fenced.then(|| new_generation(now, generation));
                }
            }
            Ok(Done::Replaced) => track.is_replaced = true,
            Ok(Done::Grown(count)) => track.grown = Some(count),
            Ok(Done::GivenBack(configs)) => track.given.extend(configs),
            Ok(Done::Deleted) => track.is_deleted = true,
            // of one that was given up meanwhile it may be another one next time
            Ok(Done::Asked(had)) => track.swap.had = Some(had).filter(|_| is_stopping),
            Ok(Done::WritersStopped) => track.swap.are_stopped = Some(true),
            Ok(Done::WritersLet) => {
                track.swap = Swap { are_stopped: Some(false), ..Swap::default() }
            }
            // what moved meanwhile is looked at again
            Ok(Done::Rests) => track.swap.rests = track.level_at.is_some(),
            Err(failed) => {
                let pause = RETRY_MS_MIN.saturating_mul(1 << track.failures.min(16));
                track.retry_at = Some(TimestampMs(now.0 + pause.min(RETRY_MS_MAX)));
                track.failures += 1;
                let refused = failed.is_final.then(|| failed.fault.clone());
                track.failure = Some(failed);
                if let (Some(fault), Some(row)) = (refused, found) {
                    self.note_refused(now, &key, &row, fault);
                }
            }
        }
        self.dirty.insert(key);
        self.look_through(now);
    }

    /// How far something is that is being done.
    pub fn handle_progress(&mut self, id: DoId, text: String) {
        let key = self.doing.get(&id);
        if let Some(track) = key.and_then(|key| self.tracks.get_mut(key)) {
            track.progress = Some(text);
            self.changed.extend(key.cloned());
        }
    }

    /// What has become of a partition. A fact under an older number is late, and nothing more.
    pub fn handle_flow(&mut self, now: TimestampMs, fact: FlowFact) {
        let FlowFact { mirror, partition, incarnation, what } = fact;
        let is_doubted = what == Flowed::Released && self.is_doubted(&mirror, partition);
        let Some(track) = self.tracks.get_mut(&mirror) else { return };
        let held = &mut track.held;
        if held.incarnation != incarnation || !held.partitions.contains(&partition) {
            return;
        }
        match what {
            Flowed::Released | Flowed::IsSealed(_) => {
                held.partitions.remove(&partition);
                if !is_doubted {
                    track.halted.remove(&partition);
                }
                track.level.remove(&partition);
                track.leaderless.remove(&partition);
                if let Flowed::IsSealed(sealed) = what {
                    track.seals.insert(partition, sealed);
                }
            }
            Flowed::Halted(fault) => drop(track.halted.insert(partition, fault)),
            Flowed::Going => {
                track.halted.remove(&partition);
                track.leaderless.remove(&partition);
            }
            Flowed::Level(true) => drop(track.level.insert(partition)),
            Flowed::Level(false) => drop(track.level.remove(&partition)),
            Flowed::Leaderless => drop(track.leaderless.insert(partition)),
            Flowed::Ends(end) => drop(track.ends.insert(partition, end)),
        }
        self.dirty.insert(mirror);
        self.look_through(now);
    }

    /// Whether a halted partition comes back to be copied: what stopped it is told until it is
    /// heard of again.
    fn is_doubted(&self, mirror: &MirrorKey, partition: PartitionId) -> bool {
        let is_halted = |track: &Track| track.halted.contains_key(&partition);
        let comes_back = |spec: TopicSpec| spec.partitions.contains_key(&partition);
        self.tracks.get(mirror).is_some_and(is_halted)
            && self.topic(mirror).and_then(|topic| topic.spec()).is_some_and(comes_back)
    }

    /// What a mirror topic is owed from now on, to be written down: before its configs change for
    /// a while, and when it has its own again.
    pub fn handle_owed(&mut self, now: TimestampMs, mirror: &MirrorKey, owed: Changes) {
        let is_news = self.mirrors.get(mirror).is_some_and(|row| row.owed != owed);
        if let Some(track) = self.tracks.get_mut(mirror) {
            track.owed = Some(owed).filter(|_| is_news);
            self.dirty.insert(mirror.clone());
        }
        self.look_through(now);
    }

    /// What a mirror topic is to get when it stops, to be written down.
    pub fn handle_at_stop(&mut self, now: TimestampMs, mirror: &MirrorKey, at_stop: Changes) {
        let is_news = self.mirrors.get(mirror).is_some_and(|row| row.at_stop != at_stop);
        if let Some(track) = self.tracks.get_mut(mirror) {
            track.at_stop = Some(at_stop).filter(|_| is_news);
            self.dirty.insert(mirror.clone());
        }
        self.look_through(now);
    }

    /// The source's configs were compared with those of a topic that is promoted, begun when it had
    /// all copied since so many looks; what differed came before this, and `refused` says what of
    /// it could not be taken over.
    pub fn handle_configured(
        &mut self,
        now: TimestampMs,
        mirror: &MirrorKey,
        (level_at, refused): (u64, Option<String>),
    ) {
        if let Some(track) = self.tracks.get_mut(mirror).filter(|it| it.level_at == Some(level_at))
        {
            (track.is_configured, track.unconfigured) = (true, refused);
            self.dirty.insert(mirror.clone());
        }
        self.look_through(now);
    }

    /// What the last turn over consumer groups came to, for a topic that waits for it.
    pub fn handle_synced(&mut self, now: TimestampMs, mirror: &MirrorKey, last: LastSync) {
        let is_awaited = self.awaits_groups(mirror);
        if let Some(track) = self.tracks.get_mut(mirror).filter(|_| is_awaited) {
            track.synced = Some(last);
            self.dirty.insert(mirror.clone());
        }
        self.look_through(now);
    }

    /// What a turn of a link's task came to; a link that is gone has none.
    pub fn handle_task(&mut self, link: &LinkName, name: TaskName, turn: TaskTurn) {
        if let Some(track) = self.link_tracks.get_mut(link) {
            track.tasks.entry(name).or_default().take_in(turn);
        }
    }

    /// How a link's source answers.
    pub fn handle_reach(&mut self, now: TimestampMs, link: &LinkName, reach: Reach) {
        let Some(track) = self.link_tracks.get_mut(link) else { return };
        if track.reach.as_ref() != Some(&reach) {
            track.reach = Some(reach);
            self.touch_link(link);
        }
        self.look_through(now);
    }
}
