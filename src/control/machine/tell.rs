//! What the machine tells: people, flow, who waits for a topic, and who does what is due.
//!
//! It never decides what becomes of a row.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::control::discover;
use crate::control::facts::Asked;
use crate::control::facts::Look;
use crate::control::facts::LookId;
use crate::control::facts::MirrorKey;
use crate::control::facts::Mode;
use crate::control::facts::Reach;
use crate::control::facts::TopicSpec;
use crate::control::journal::WriterTag;
use crate::control::link::LinkState;
use crate::control::machine::Control;
use crate::control::machine::Due;
use crate::control::machine::Intent;
use crate::control::machine::Looking;
use crate::control::order::Outcome;
use crate::control::order::Refusal;
use crate::control::order::Ticket;
use crate::control::row::LinkRow;
use crate::control::row::MirrorRow;
use crate::control::topic::Fault;
use crate::control::topic::Shown;
use crate::control::topic::Stage;
use crate::control::topic::Status;
use crate::ids::Incarnation;
use crate::ids::LinkName;
use crate::ids::TimestampMs;
use crate::ids::TopicName;

impl Control {
    /// All links, with what people see of them.
    pub fn links(&self) -> impl Iterator<Item = (&LinkName, &LinkRow, LinkState)> {
        self.links.iter().map(|(name, row)| (name, row, self.state_of(name, row)))
    }

    /// The next mirror topic of which people may see something else than before.
    pub fn poll_changed(&mut self) -> Option<MirrorKey> {
        self.changed.pop_first()
    }

    /// A mirror topic with what people see of it and of its link; `None` once it is forgotten.
    pub fn mirror(&self, key: &MirrorKey) -> Option<(&MirrorRow, Status, LinkState)> {
        let row = self.mirrors.get(key).filter(|row| row.stage != Stage::LetGo)?;
        let link = self.links.get(&key.0)?;
        let state = self.state_of(&key.0, link);
        Some((row, self.tracks.get(key)?.status(row, &state), state))
    }

    /// All mirror topics, with what people see of them.
    pub fn mirrors(&self) -> impl Iterator<Item = (&MirrorKey, &MirrorRow, Status)> {
        let shown = self.mirrors.iter().filter(|(_, row)| row.stage != Stage::LetGo);
        shown.filter_map(|(key, row)| {
            let link = self.links.get(&key.0)?;
            let status = self.tracks.get(key)?.status(row, &self.state_of(&key.0, link));
            Some((key, row, status))
        })
    }

    /// Mirror topics that were let go, which no filter and no name in the settings takes again.
    pub fn let_go(&self, link: &LinkName) -> BTreeSet<TopicName> {
        let first = TopicName::new("-").map(|least| (link.clone(), least));
        let all = first.map(|first| self.mirrors.range(first..)).into_iter().flatten();
        let own = all.take_while(|((of, _), _)| of == link);
        let gone = own.filter(|(_, row)| row.stage == Stage::LetGo);
        gone.map(|((_, topic), _)| topic.clone()).collect()
    }

    /// Topics that a link's settings want and that have no row, by the source's name, and what they
    /// would be called here: what is named, and what was found and is not begun yet, or cannot be.
    pub fn rowless(&self, link: &LinkName) -> BTreeMap<TopicName, TopicName> {
        let Some(track) = self.link_tracks.get(link) else { return BTreeMap::new() };
        let Some(settings) = &track.settings else { return BTreeMap::new() };
        let troubled = track.troubles.iter().filter_map(|(name, _)| TopicName::new(name));
        let troubled = troubled.filter(|name| settings.topics.matches(name));
        let all = settings.topics.literals().chain(&track.found).cloned().chain(troubled);
        let named = all.filter_map(|source| {
            let mirror = discover::mirror_name(settings, &source).ok()?;
            let has_row = self.mirrors.contains_key(&(link.clone(), mirror.clone()));
            (!has_row).then_some((source, mirror))
        });
        named.collect()
    }

    /// Since when people see what they see.
    pub(super) fn note_shown(&mut self, now: TimestampMs, key: &MirrorKey) {
        let Some((row, status, _)) = self.mirror(key) else { return };
        let since = row.since;
        if let Some(track) = self.tracks.get_mut(key) {
            track.shown = Some(Shown::next(track.shown, status, since, now));
        }
    }

    /// The journal is lost: nothing is wanted, written or done any more, and every link says why.
    pub fn handle_lost(&mut self, now: TimestampMs, fault: Fault) {
        self.lost = Some(fault);
        self.handle_role(now, false);
    }

    /// Rows of an earlier run of this process are read before the journal is level.
    pub(super) fn note_writer(&mut self, now: TimestampMs, writer: WriterTag) {
        if self.is_level && writer != self.tag && !writer.is_editor() {
            self.rival = Some((writer, now));
        }
    }

    /// Another isolog that wrote to the journal since it has been read, and when it did last.
    pub fn rival(&self) -> Option<(WriterTag, TimestampMs)> {
        self.rival
    }

    /// Whether the journal has been read up to where it ended at the start.
    pub fn is_level(&self) -> bool {
        self.is_level
    }

    /// Whether this instance has the control role.
    pub fn is_holder(&self) -> bool {
        self.is_holder
    }

    /// Whether a write has not been read back yet.
    pub fn is_writing(&self) -> bool {
        self.pending.is_some()
    }

    /// Everything must be looked through, links that are declared and not written yet as well.
    pub(super) fn touch_all(&mut self) {
        let declared = self.declared.iter().flat_map(|file| file.keys());
        self.dirty_links.extend(self.links.keys().chain(declared).cloned());
        self.dirty.extend(self.mirrors.keys().cloned());
    }

    /// Everything of a link must be looked through.
    pub(super) fn touch_link(&mut self, link: &LinkName) {
        self.dirty_links.insert(link.clone());
        let first = (link.clone(), TopicName::new("-").expect("a legal name"));
        let keys = self.mirrors.range(first..).map(|(key, _)| key);
        self.dirty.extend(keys.take_while(|key| key.0 == *link).cloned());
    }

    pub(super) fn look_through_link(&mut self, now: TimestampMs, link: &LinkName) {
        self.stale_links.remove(link);
        let is_declared = self.declared.as_ref().is_some_and(|all| all.contains_key(link));
        let Some(row) = self.links.get(link) else {
            let track = self.link_tracks.get(link);
            if is_declared && track.is_none_or(|track| track.unreadable.is_empty()) {
                self.stale_links.insert(link.clone());
            } else if track
                .is_some_and(|track| track.unreadable.is_empty() && track.settings.is_none())
            {
                self.link_tracks.remove(link);
            }
            return;
        };
        let Some(track) = self.link_tracks.get(link).filter(|_| self.acts_on(link)) else { return };
        let is_reached = matches!(track.reach, Some(Reach::Available(_)));
        let is_found = row.source.is_none() && is_reached && !row.is_leaving;
        let is_empty = row.is_leaving && self.is_without_rows(link);
        let is_otherwise = self.mode(link, row) != row.mode;
        if is_found || is_empty || is_otherwise || self.remembered.contains_key(link) {
            self.stale_links.insert(link.clone());
        }
        let looks = self.is_holder && self.is_level && track.may_copy(row) && !track.is_looking;
        if !looks {
            return;
        }
        match track.look_at.filter(|at| *at > now) {
            Some(at) => drop(self.due.insert((at, Due::Link(link.clone())))),
            None => {
                if let Some(track) = self.link_tracks.get_mut(link) {
                    track.is_looking = true;
                    track.looks += 1;
                }
                self.look(link, Asked::All, Looking::All(link.clone()));
            }
        }
    }

    pub(super) fn is_without_rows(&self, link: &LinkName) -> bool {
        let first = (link.clone(), TopicName::new("-").expect("a legal name"));
        let next = self.mirrors.range(first..).next();
        let is_read = self.link_tracks.get(link).is_none_or(|track| track.unreadable.is_empty());
        next.is_none_or(|((of, _), _)| of != link) && self.books.is_empty(link) && is_read
    }

    pub(super) fn look(&mut self, link: &LinkName, what: Asked, purpose: Looking) {
        let id = LookId(self.number());
        self.looking.insert(id, purpose);
        self.looks.push_back((id, Look { link: link.clone(), what }));
    }

    /// A promote that has all copied has the source's partitions counted once more: what a topic
    /// got since the last look would not be copied.
    pub(super) fn note_level(&mut self, now: TimestampMs, key: &MirrorKey) {
        let is_level = self.topic(key).is_some_and(|topic| topic.is_level());
        let Some(track) = self.tracks.get_mut(key) else { return };
        let Some(link) = self.link_tracks.get_mut(&key.0) else { return };
        if !is_level {
            (track.level_at, track.is_counted, track.is_configured) = (None, false, false);
            (track.unconfigured, track.swap.rests) = (None, false);
        } else if track.level_at.is_none() {
            track.level_at = Some(link.looks);
            link.look_at = Some(now);
            self.dirty_links.insert(key.0.clone());
        }
    }

    /// Whether the last turn over consumer groups is due for a topic that is promoted.
    pub fn awaits_groups(&self, key: &MirrorKey) -> bool {
        self.topic(key).is_some_and(|topic| topic.awaits_groups())
    }

    /// Whether a topic that is sealed waits until others have their rights on it.
    pub fn awaits_rights(&self, key: &MirrorKey) -> bool {
        self.topic(key).is_some_and(|topic| topic.awaits_rights())
    }

    /// Whether a topic that is promoted waits for its source's configs, and since when by the count
    /// of looks.
    pub fn awaits_configs(&self, key: &MirrorKey) -> Option<u64> {
        self.topic(key)?.awaits_configs()
    }

    /// Tells flow what it is to hold of a topic. What was held under other terms comes back first:
    /// two of one partition must never be there at once.
    pub(super) fn settle_spec(&mut self, key: &MirrorKey) {
        let is_known = self.acts_on(&key.0) && self.unread_of(key).is_none();
        let may_hold = self.is_holder && self.is_level && is_known;
        let desired = self.topic(key).filter(|_| may_hold).and_then(|topic| topic.spec());
        // of what is told next flow may be told only later things
        let is_doubted = self.tracks.get(key).is_some_and(|track| track.held.is_told_halted);
        match (self.specs.get(key), desired) {
            (None, None) => {
                if let Some(track) = self.tracks.get_mut(key) {
                    // nobody would ever say that these go on
                    track.halted.retain(|one, _| track.held.partitions.contains(one));
                }
            }
            (None, Some(spec)) => {
                let number = Incarnation(self.number());
                let Some(track) = self.tracks.get_mut(key) else { return };
                if track.held.partitions.is_empty() {
                    track.halted.retain(|one, _| spec.partitions.contains_key(one));
                    (track.held.incarnation, track.held.is_told_halted) = (number, false);
                    self.hold(key, TopicSpec { incarnation: number, ..spec });
                }
            }
            (Some(told), Some(spec)) if is_same(told, &spec, is_doubted) => {
                if *told != spec {
                    self.hold(key, spec);
                }
            }
            (Some(_), _) => {
                self.specs.remove(key);
                self.changed_specs.insert(key.clone());
            }
        }
    }

    fn hold(&mut self, key: &MirrorKey, spec: TopicSpec) {
        self.specs.insert(key.clone(), spec);
        self.changed_specs.insert(key.clone());
    }

    /// Tells those who wait for a topic to be set up that it is, or why it will not be.
    pub(super) fn answer_set_up(&mut self, key: &MirrorKey) {
        let row = self.mirrors.get(key);
        let is_set_up = row.is_some_and(|row| row.stage != Stage::Setup);
        let Some(track) = self.tracks.get_mut(key) else { return };
        if track.tickets.is_empty() || row.is_some() && !is_set_up {
            return;
        }
        let result = match (&track.failure, is_set_up) {
            (_, true) => Ok(()),
            (Some(failed), false) => Err(Refusal::bad(failed.fault.text.clone())),
            (None, false) => Err(Refusal::conflict(format!(
                "Mirror topic '{}' was deleted before it was set up.",
                key.1
            ))),
        };
        let outcome = Outcome { topic: Some(key.1.clone()), result };
        for ticket in std::mem::take(&mut track.tickets) {
            self.answers.push_back((ticket, vec![outcome.clone()]));
        }
    }

    /// A topic without a row is remembered only while flow holds some of it.
    pub(super) fn forget_track(&mut self, key: &MirrorKey) {
        let is_idle = |held: &crate::control::topic::Held| held.partitions.is_empty();
        if self.tracks.get(key).is_some_and(|track| is_idle(&track.held))
            && !self.mirrors.contains_key(key)
        {
            self.tracks.remove(key);
        }
    }

    /// The control role is another instance's now.
    pub(super) fn drop_work(&mut self) {
        self.books.want_nothing();
        let pending = self.pending.take();
        let decided = pending.into_iter().flat_map(|pending| pending.intents);
        let intents: Vec<Intent> = decided.chain(std::mem::take(&mut self.intents)).collect();
        for intent in intents {
            let ticket = match intent {
                Intent::Order(ticket, ..) | Intent::Exporter(ticket, _) => Some(ticket),
                Intent::Begin(_, _, ticket) => ticket.map(|(ticket, _)| ticket),
            };
            ticket.into_iter().for_each(|ticket| self.refuse_role(ticket));
        }
        for purpose in std::mem::take(&mut self.looking).into_values() {
            if let Looking::Order(ticket, _) = purpose {
                self.refuse_role(ticket);
            }
        }
        for track in self.tracks.values_mut() {
            (track.doing, track.progress) = (None, None);
        }
        self.link_tracks.values_mut().for_each(|track| track.is_looking = false);
        self.doing.clear();
        self.looks.clear();
        self.able.clear();
        self.stale.clear();
        self.stale_links.clear();
        for link in std::mem::take(&mut self.remembered).into_keys() {
            self.link_tracks.entry(link).or_default().look_at = None;
        }
    }

    pub(super) fn refuse_role(&mut self, ticket: Ticket) {
        let why = match &self.lost {
            Some(fault) => &fault.text,
            None => "another instance holds the control role for this destination",
        };
        let text = format!("This isolog takes no orders now: {why}. Look whether it was done.");
        let result = Err(Refusal::unavailable(text));
        self.answers.push_back((ticket, vec![Outcome { topic: None, result }]));
    }
}

/// Whether flow can go from one to the other without letting go; `is_doubted` where it has been
/// told last that the topic is halted.
fn is_same(told: &TopicSpec, spec: &TopicSpec, is_doubted: bool) -> bool {
    told.source == spec.source
        && told.mirror_id == spec.mirror_id
        && told.generation == spec.generation
        && told.mode <= spec.mode
        // what was confirmed of a log that may be another one by now says nothing of its end
        && (told.halt.is_none() && !is_doubted || spec.mode < Mode::Seal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::acls::AclSync;
    use crate::control::facts::Metadata;
    use crate::control::facts::Observed;
    use crate::control::facts::Reach;
    use crate::control::facts::Seen;
    use crate::control::facts::Topics;
    use crate::control::filter::Pattern;
    use crate::control::filter::Rule;
    use crate::control::filter::TopicFilter;
    use crate::control::machine::ledger::tests::NOW;
    use crate::control::machine::ledger::tests::dr;
    use crate::control::machine::ledger::tests::link;
    use crate::control::machine::ledger::tests::settings;
    use crate::control::machine::ledger::tests::started;
    use crate::ids::ClusterId;
    use crate::ids::TopicId;

    /// What is found is shown from then on, before anything of it is written.
    #[test]
    fn what_is_found_is_wanted_from_then_on() {
        let mut control = started(&link(false));
        let filter = TopicFilter::new(vec![Rule::include(Pattern::Prefix("a-".into()))]);
        let settings = settings(AclSync::default());
        let settings = crate::control::link::LinkSettings { topics: filter, ..settings };
        control.handle_settings(NOW, &dr(), Some(settings));
        control.handle_reach(NOW, &dr(), Reach::Available(ClusterId("source".into())));
        while let Some(write) = control.poll_write(NOW) {
            control.handle_refused(
                NOW,
                write.id,
                Fault { code: "X".into(), text: "not in this test".into() },
            );
        }
        let (id, _) = control.poll_look().expect("all topics are looked at");
        assert_eq!(control.rowless(&dr()).len(), 0);
        let name = TopicName::new("a-1").unwrap();
        let there = Metadata::There(Seen { id: TopicId([1; 16]), partitions: 1 });
        let source = [(name.clone(), there)].into();
        let all = Topics { source, ..Topics::default() };
        control.handle_observed(NOW, id, Ok(Observed::All(all)));
        assert_eq!(control.rowless(&dr()), [(name.clone(), name)].into());
    }
}
