//! What is due for one mirror topic, from its row and what is known of it: another row, something
//! to do, and what flow is to hold.
//!
//! It never remembers: asked twice with the same facts it answers the same, so a crash, a lost
//! answer and a conflict at the journal are all followed by asking again.

mod reversal;

use std::collections::BTreeMap;

use crate::control::facts::Do;
use crate::control::facts::MirrorKey;
use crate::control::facts::Mode;
use crate::control::facts::TopicSpec;
use crate::control::filter;
use crate::control::link::LinkTrack;
use crate::control::row::Before;
use crate::control::row::Changes;
use crate::control::row::LinkRow;
use crate::control::row::MadeBy;
use crate::control::row::MirrorRow;
use crate::control::task::TaskName;
use crate::control::topic::How;
use crate::control::topic::Stage;
use crate::control::topic::Track;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::Side;
use crate::ids::TimestampMs;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::mirror::halt::Halt;

/// How many looks in a row a topic must be missing before it counts as deleted: a broker that has
/// just started may not know it yet.
pub const MISSING_MAX: u32 = 3;

/// How often in a row a stopped topic's configs may be refused before it is STOPPED without them.
pub const GIVE_BACK_TRIES: u32 = 3;
/// Configs that must not change while a seal is yet to come: a codec shows it, a cleaner takes it.
const UNDER_SEALS: [&str; 2] = ["compression.type", "cleanup.policy"];

/// What becomes of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// It is as it should be.
    Keep,
    /// This one stands in its place.
    Put(Box<MirrorRow>),
    /// It goes.
    Delete,
}

/// A mirror topic with all that is known of it.
#[derive(Copy, Clone)]
pub struct Topic<'a> {
    /// Its link and its name.
    pub key: &'a MirrorKey,
    /// Its row.
    pub row: &'a MirrorRow,
    /// What is known beside it.
    pub track: &'a Track,
    /// Its link.
    pub link: &'a LinkRow,
    /// What is known of that.
    pub link_track: &'a LinkTrack,
}

impl Topic<'_> {
    /// The row that should stand in the journal now.
    pub fn rewrite(&self, now: TimestampMs) -> Rewrite {
        if self.link.is_leaving && !matches!(self.row.stage, Stage::Leaving { .. } | Stage::LetGo) {
            return self.put(now, |row| row.stage = Stage::Leaving { topic: false });
        }
        match self.row.stage {
            Stage::Setup => self.set_up(now),
            Stage::Mirroring if self.may_begin_anew() => {
                self.put(now, |row| row.stage = Stage::Leaving { topic: false })
            }
            Stage::Mirroring => self.mirroring(),
            Stage::Stopping => self.stopping(now),
            Stage::Sealing(how) => self.sealing(how, now),
            Stage::Stopped(_) if self.has_new_seals() => self.put_same_stage(|row| {
                row.sealed.extend(&self.track.seals);
            }),
            Stage::Stopped(_) if self.is_gone() => Rewrite::Delete,
            Stage::Stopped(_) if self.is_paid_off() => {
                self.put_same_stage(|row| row.at_stop.clear())
            }
            Stage::Stopped(_) => Rewrite::Keep,
            Stage::LetGo if self.link.is_leaving => Rewrite::Delete,
            Stage::LetGo if self.is_gone() => Rewrite::Delete,
            Stage::LetGo => Rewrite::Keep,
            Stage::Leaving { topic } => {
                let track = self.track;
                let is_held = !track.held.partitions.is_empty() || track.doing.is_some();
                let is_there = self.may_delete(topic) && !self.track.is_deleted;
                match is_held || is_there {
                    true => Rewrite::Keep,
                    false if self.is_remembered(topic) => {
                        self.put(now, |row| row.stage = Stage::LetGo)
                    }
                    false => Rewrite::Delete,
                }
            }
        }
    }

    /// Whether the link's settings would make a mirror of it again, against the order that let it
    /// go: what they are now, or where that is not known, what made it.
    fn is_remembered(&self, is_deleted: bool) -> bool {
        let (source, made_by) = (&self.row.source_topic, self.row.made_by);
        let is_wanted = match &self.link_track.settings {
            Some(settings) => settings.topics.matches(source),
            None => !made_by.is_ordered(),
        };
        let is_there = self.row.mirror_id.is_some() && !is_deleted && !self.is_gone();
        // the row that reversed it stands at the source as before
        let is_wanted = is_wanted || made_by == MadeBy::Reversal;
        is_there && is_wanted && !self.link.is_leaving
    }

    /// The source has another topic under the old name and the destination none: an operator has
    /// cleared the way, and nothing is left that could be mixed.
    fn may_begin_anew(&self) -> bool {
        let is_anew = matches!(self.track.halt, Some(Halt::Recreated { side: Side::Source, .. }));
        let settings = self.link_track.settings.as_ref();
        let by_settings = !self.row.made_by.is_ordered()
            && !self.row.is_paused
            && settings.is_some_and(|settings| settings.topics.matches(&self.row.source_topic));
        is_anew && by_settings && self.is_gone()
    }

    /// The mirror topic has been missing for so long that it is deleted.
    fn is_gone(&self) -> bool {
        self.track.missing.1 >= MISSING_MAX
    }

    fn mirroring(&self) -> Rewrite {
        let grown = self.has_grown();
        let owed = self.track.owed.as_ref().filter(|owed| **owed != self.row.owed);
        let at_stop = self.track.at_stop.as_ref().filter(|real| **real != self.row.at_stop);
        let line = self.track.ancestors.as_ref().filter(|real| **real != self.row.ancestors);
        let reversal = self.reversed();
        let is_same = grown.is_none() && owed.is_none() && at_stop.is_none() && line.is_none();
        if is_same && reversal.is_none() {
            return Rewrite::Keep;
        }
        self.put_same_stage(|row| {
            row.partitions = grown.unwrap_or(row.partitions);
            if let Some(owed) = owed {
                row.owed.clone_from(owed);
            }
            if let Some(at_stop) = at_stop {
                row.at_stop.clone_from(at_stop);
            }
            if let Some(line) = line {
                row.ancestors.clone_from(line);
            }
            row.reversal = reversal.unwrap_or(row.reversal.take());
        })
    }

    /// What the source has by now is written down before the seals.
    fn stopping(&self, now: TimestampMs) -> Rewrite {
        let is_over = self.row.deadline.is_some_and(|deadline| deadline <= now);
        match self.mirroring() {
            Rewrite::Keep if self.may_seal() => self.put(now, |row| {
                row.stage = Stage::Sealing(How::Promote);
                row.last_configs.clone_from(&self.track.unconfigured);
            }),
            Rewrite::Keep if is_over => self.put(now, |row| {
                row.stage = Stage::Mirroring;
                row.deadline = None;
                row.abandons_open = false;
            }),
            rewrite => rewrite,
        }
    }

    fn has_grown(&self) -> Option<i32> {
        self.track.grown.filter(|count| *count > self.row.partitions)
    }

    fn set_up(&self, now: TimestampMs) -> Rewrite {
        let failed = self.track.failure.as_ref().is_some_and(|failed| failed.is_final);
        match self.track.made {
            Some(id) => self.put(now, |row| {
                row.stage = Stage::Mirroring;
                row.mirror_id = Some(id);
                row.generation = self.track.generation.unwrap_or(row.generation);
            }),
            None if failed => Rewrite::Delete,
            None => Rewrite::Keep,
        }
    }

    fn sealing(&self, how: How, now: TimestampMs) -> Rewrite {
        if self.has_new_seals() {
            return self.put_same_stage(|row| row.sealed.extend(&self.track.seals));
        }
        let is_given_back = self.is_given_back();
        // it is written by others now, whatever its configs are: what is refused stays owed
        let is_refused = !is_given_back && self.track.failures >= GIVE_BACK_TRIES;
        let is_through = is_given_back || is_refused;
        let is_ready = self.all_are_sealed() && self.is_lifted() && !self.awaits_groups();
        if !is_ready || !is_through {
            return Rewrite::Keep;
        }
        let mut later = self.all_owed();
        later.retain(|key, _| is_refused || self.waits_for_seals(key));
        self.put(now, |row| {
            row.stage = Stage::Stopped(how);
            row.owed.clear();
            row.at_stop = later;
            row.last_sync = self.track.synced.clone().map(Box::new);
        })
    }

    /// What the topic gets when nobody mirrors it any more: what the source has, but for what it
    /// had itself before its configs were changed.
    fn all_owed(&self) -> Changes {
        let mut all = self.row.at_stop.clone();
        all.extend(self.row.owed.clone());
        all
    }

    /// Nothing of ours can land in it any more: whoever has the right may change it.
    pub fn is_free(&self) -> bool {
        match self.row.stage {
            Stage::Sealing(_) => self.all_are_sealed(),
            stage => matches!(stage, Stage::Stopped(_)),
        }
    }

    /// Others have their rights before the topic is said to be stopped.
    fn is_lifted(&self) -> bool {
        let settings = self.link_track.settings.as_ref();
        self.track.is_lifted || !settings.is_some_and(|settings| settings.acls.is_configured())
    }

    /// Whether nothing but others' rights is waited for, or groups as well.
    pub fn awaits_rights(&self) -> bool {
        matches!(self.row.stage, Stage::Sealing(_)) && self.is_free() && !self.is_lifted()
    }

    /// Whether a promote waits behind its seals for the last turn over consumer groups: who has
    /// read everything at the source goes on behind it here. A failover has nobody to ask.
    pub fn awaits_groups(&self) -> bool {
        let settings = self.link_track.settings.as_ref();
        let is_promote = self.row.stage == Stage::Sealing(How::Promote);
        is_promote
            && self.all_are_sealed()
            && self.track.synced.is_none()
            && settings.is_none_or(|settings| settings.groups.is_some())
    }

    /// Whether a promote that has all copied waits until the source's configs are compared once
    /// more: so many looks had begun when it had.
    pub fn awaits_configs(&self) -> Option<u64> {
        let settings = self.link_track.settings.as_ref();
        let task = &TaskName::TopicConfigsSync;
        let follows = settings.is_none_or(|settings| settings.tasks.contains(task));
        let is_waiting = follows && self.is_level() && !self.track.is_configured;
        self.track.level_at.filter(|_| is_waiting)
    }

    /// What of it the topic gets now.
    fn given_back(&self) -> Changes {
        let mut all = self.all_owed();
        all.retain(|key, _| !self.waits_for_seals(key));
        all
    }

    /// Whether it has all of that: it is not set again while a promote waits for something else.
    fn is_given_back(&self) -> bool {
        let given = &self.track.given;
        self.given_back().iter().all(|(key, value)| given.get(key) == Some(value))
    }

    /// Whether a seal that is yet to come would be seen, or taken away, under another value.
    fn waits_for_seals(&self, key: &str) -> bool {
        UNDER_SEALS.contains(&key) && self.unsealed().next().is_some()
    }

    /// What was still owed when it stopped, and that it has it now.
    fn is_paid_off(&self) -> bool {
        let is_owed = !self.row.at_stop.is_empty() && self.given_back() == self.row.at_stop;
        is_owed && self.is_given_back()
    }

    fn put(&self, now: TimestampMs, change: impl FnOnce(&mut MirrorRow)) -> Rewrite {
        self.put_same_stage(|row| {
            change(row);
            row.since = now;
        })
    }

    fn put_same_stage(&self, change: impl FnOnce(&mut MirrorRow)) -> Rewrite {
        let mut row = Box::new(self.row.clone());
        change(&mut row);
        Rewrite::Put(row)
    }

    fn has_new_seals(&self) -> bool {
        self.track.seals.keys().any(|partition| !self.row.sealed.contains_key(partition))
    }

    fn unsealed(&self) -> impl Iterator<Item = PartitionId> {
        let all = (0..self.row.partitions).map(PartitionId);
        all.filter(|partition| !self.row.sealed.contains_key(partition))
    }

    /// A promote seals each partition; a failover goes on where one has no leader, and seals it
    /// when it has one again.
    fn all_are_sealed(&self) -> bool {
        let may_wait = self.row.stage == Stage::Sealing(How::Failover);
        self.unsealed().all(|partition| may_wait && self.track.leaderless.contains(&partition))
    }

    /// All is copied, and since then a look has found no partition that is not mirrored, and the
    /// source's configs were taken over.
    fn may_seal(&self) -> bool {
        let is_whole = self.track.source_partitions == Some(self.row.partitions);
        let is_counted = self.track.is_counted && is_whole;
        self.is_level() && is_counted && self.awaits_configs().is_none() && self.may_swap()
    }

    /// All that a promote waits for is copied.
    pub(super) fn is_level(&self) -> bool {
        self.row.stage == Stage::Stopping
            && self.track.fault.is_none()
            && self.halt().is_none()
            && self.unsealed().all(|partition| self.track.level.contains(&partition))
    }

    /// What is to be done at a cluster now, with the row as it stands.
    pub fn action(&self) -> Option<Do> {
        let mirror = self.key.clone();
        match self.row.stage {
            Stage::Setup if self.link_track.failed(self.link).is_some() => None,
            Stage::Setup => Some(self.make(mirror)),
            Stage::Mirroring | Stage::Stopping if self.link_track.may_copy(self.link) => {
                let partitions = self.track.source_partitions?;
                let is_due = partitions > self.row.partitions && self.track.fault.is_none();
                let grow = is_due.then_some(Do::Grow { mirror, partitions });
                // one that was given up is opened at its source before anything else
                let is_given_up = self.row.stage == Stage::Mirroring;
                let first = if is_given_up { self.swap() } else { None };
                first.or(grow).or_else(|| self.swap())
            }
            Stage::Sealing(_) | Stage::Stopped(_) if self.is_free() && !self.is_given_back() => {
                let (mirror_id, owed) = (self.row.mirror_id?, self.given_back());
                Some(Do::GiveBack { mirror, mirror_id, owed })
            }
            Stage::Leaving { topic }
                if self.may_delete(topic) && self.track.held.partitions.is_empty() =>
            {
                let mirror_id = self.row.mirror_id?;
                (!self.track.is_deleted).then_some(Do::Delete { mirror, mirror_id })
            }
            _ => None,
        }
    }

    /// Whether the topic is to be deleted: never one that is a cluster's own, whatever a row says.
    fn may_delete(&self, is_ordered: bool) -> bool {
        let is_own = filter::owner(self.key.1.as_str()).is_some();
        is_ordered && self.row.mirror_id.is_some() && !is_own
    }

    fn make(&self, mirror: MirrorKey) -> Do {
        match self.row.before {
            Before::Replaced(mirror_id) if !self.track.is_replaced => {
                Do::Replace { mirror, mirror_id, ends: self.row.replaced.clone() }
            }
            Before::Absent | Before::Replaced(_) => Do::Create {
                mirror,
                partitions: self.row.partitions,
                replicas: self.row.replicas,
                configs: self.row.configs.clone(),
                replaces: match self.row.before {
                    Before::Replaced(mirror_id) => Some(mirror_id),
                    _ => None,
                },
            },
            Before::Adopted(mirror_id) => {
                let (source, generation) = (self.source(), self.row.generation);
                let takes_sealed = self.row.made_by.is_ordered();
                Do::Compare { mirror, mirror_id, source, generation, takes_sealed }
            }
        }
    }

    fn source(&self) -> (TopicName, TopicId) {
        (self.row.source_topic.clone(), self.row.source_id)
    }

    /// Why its partitions stand still, for a reason outside of their logs.
    fn halt(&self) -> Option<Halt> {
        self.link_track.halt(self.link).or_else(|| self.track.halt.clone())
    }

    /// What flow is to hold of the topic; the number under which it holds it is the machine's.
    pub fn spec(&self) -> Option<TopicSpec> {
        let may_hold = self.link_track.may_hold(self.link);
        let mode = match self.row.stage {
            Stage::Mirroring if may_hold && !self.row.is_paused => Mode::Mirror,
            Stage::Stopping if may_hold && self.row.abandons_open => Mode::DrainStable,
            Stage::Stopping if may_hold => Mode::Drain,
            // whatever the link does: a failover works from every state
            Stage::Sealing(_) | Stage::Stopped(How::Failover) => Mode::Seal,
            _ => return None,
        };
        let begins = |partition: PartitionId| {
            let start = self.row.starts.get(&partition).copied();
            (partition, start.unwrap_or(Offset::ZERO))
        };
        let known = |partition: &PartitionId| !self.track.seals.contains_key(partition);
        let partitions: BTreeMap<_, _> = self.unsealed().filter(known).map(begins).collect();
        (!partitions.is_empty()).then_some(TopicSpec {
            incarnation: self.track.held.incarnation,
            source: self.source(),
            mirror_id: self.row.mirror_id?,
            generation: self.row.generation,
            partitions,
            owed: self.row.owed.clone(),
            mode,
            halt: self.halt().filter(|_| mode < Mode::Seal),
            is_planned: self.row.stage == Stage::Sealing(How::Promote),
            attempt: self.track.attempt,
        })
    }
}
