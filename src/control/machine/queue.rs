//! Orders on their way: taken in, decided together, written, and answered when they are read back.
//!
//! It never holds a rule about an order; `decide` does.

use crate::control::advance::Rewrite;
use crate::control::decide;
use crate::control::decide::Begin;
use crate::control::decide::Decided;
use crate::control::discover;
use crate::control::facts::Asked;
use crate::control::facts::MirrorKey;
use crate::control::facts::Reach;
use crate::control::facts::Wanted;
use crate::control::facts::WriteId;
use crate::control::journal::Stamp;
use crate::control::link::LinkState;
use crate::control::machine::Control;
use crate::control::machine::Intent;
use crate::control::machine::Looking;
use crate::control::machine::ORDERS_MAX;
use crate::control::machine::Pending;
use crate::control::machine::Write;
use crate::control::machine::gathered::Gathered;
use crate::control::order::MirrorVerb;
use crate::control::order::NewMirror;
use crate::control::order::Order;
use crate::control::order::Outcome;
use crate::control::order::Refusal;
use crate::control::order::Ticket;
use crate::control::order::Verb;
use crate::control::row::Key;
use crate::control::row::LinkRow;
use crate::control::row::Origin;
use crate::control::row::Row;
use crate::control::rules;
use crate::control::topic::Fault;
use crate::control::topic::How;
use crate::control::topic::Stage;
use crate::ids::LinkName;
use crate::ids::TimestampMs;
use crate::ids::TopicName;

/// The pause after the journal has refused a write, in ms.
const REFUSED_MS: i64 = 5_000;

impl Control {
    /// An order; its answer comes by `poll_answer` under the same ticket.
    pub fn handle_order(&mut self, now: TimestampMs, ticket: Ticket, order: Order) {
        if !self.is_holder {
            self.refuse_role(ticket);
        } else if self.intents.len() >= ORDERS_MAX {
            let text = "Too many orders wait: try again in a moment.";
            let result = Err(Refusal { code: None, status: 429, text: text.to_owned() });
            self.answers.push_back((ticket, vec![Outcome { topic: None, result }]));
        } else {
            self.intents.push_back(Intent::Order(ticket, order, Vec::new()));
        }
        self.look_through(now);
    }

    /// The journal takes no write at all: a right, a disk or its limits. Nothing was appended.
    pub fn handle_refused(&mut self, now: TimestampMs, id: WriteId, fault: Fault) {
        let Some(pending) = self.pending.take_if(|pending| pending.write.id == id) else { return };
        self.write_after = Some(TimestampMs(now.0 + REFUSED_MS));
        for intent in pending.intents {
            let (ticket, topic) = match intent {
                Intent::Order(ticket, ..) | Intent::Exporter(ticket, _) => (Some(ticket), None),
                Intent::Begin(key, _, by) => (by.map(|(ticket, _)| ticket), Some(key.1)),
            };
            let text = format!("The journal (__isolog) took no row: {}", fault.text);
            let outcome = Outcome { topic, result: Err(Refusal::unavailable(text)) };
            self.answers.extend(ticket.map(|ticket| (ticket, vec![outcome])));
        }
        self.look_through(now);
    }

    /// The next write; there is none while one is under way.
    pub fn poll_write(&mut self, now: TimestampMs) -> Option<Write> {
        if let Some(pending) = &mut self.pending {
            let is_new = !std::mem::replace(&mut pending.is_handed_out, true);
            return is_new.then(|| pending.write.clone());
        }
        let rests = self.write_after.is_some_and(|at| at > now);
        if !self.is_holder || !self.is_level || rests {
            return None;
        }
        let mut gathered = Gathered::default();
        self.gather_intents(now, &mut gathered);
        // what was answered without a row holds up nobody who asks about the same one
        while gathered.is_empty() && !self.intents.is_empty() {
            gathered = Gathered::default();
            self.gather_intents(now, &mut gathered);
        }
        self.gather_links(&mut gathered);
        self.gather_topics(now, &mut gathered);
        let mut rows: Vec<_> = gathered
            .rows
            .iter()
            .map(|(key, row)| (key.to_string(), row.as_ref().map(Row::to_json)))
            .collect();
        let exporters = std::mem::take(&mut gathered.exporters.rows);
        rows.extend(exporters.into_iter().map(|(key, row)| (key.to_string(), row)));
        self.gather_leaving(&mut rows);
        self.gather_ledgers(&mut rows);
        self.gather_spoiled(&mut rows);
        if rows.is_empty() {
            return None;
        }
        let (id, number) = (WriteId(self.number()), self.number());
        let stamp = Stamp { at: self.fold.end(), writer: self.tag, number };
        let write = Write { id, stamp, rows };
        self.pending = Some(Pending {
            write: write.clone(),
            is_handed_out: true,
            intents: gathered.intents,
            rest: gathered.rest,
            answers: gathered.answers,
            waiting: gathered.waiting,
        });
        Some(write)
    }

    /// The pending write was read back where it was decided.
    pub(super) fn come_true(&mut self) {
        let Some(pending) = self.pending.take() else { return };
        self.is_proven = true;
        for (key, ticket) in pending.waiting {
            self.dirty.insert(key.clone());
            if let Some(track) = self.tracks.get_mut(&key) {
                track.tickets.push(ticket);
            }
        }
        if let Some(rest) = pending.rest {
            self.intents.push_front(rest);
        }
        self.answers.extend(pending.answers);
    }

    /// Somebody else's batch lies where the pending write was to lie: nothing of it counts.
    pub(super) fn decide_again(&mut self) {
        let Some(pending) = self.pending.take() else { return };
        for intent in pending.intents.into_iter().rev() {
            self.intents.push_front(intent);
        }
    }

    fn gather_intents(&mut self, now: TimestampMs, gathered: &mut Gathered) {
        while gathered.len() < self.rows_max && gathered.rest.is_none() {
            let Some(intent) = self.intents.pop_front() else { break };
            // its answer is to be true when the write is read back: one order of a row at a time
            let room = self.rows_max - gathered.len();
            let is_whole = intent.rows() <= room || gathered.is_empty();
            if gathered.holds_up(&intent) || !is_whole {
                self.intents.push_front(intent);
                break;
            }
            let Some(intent) = self.turn_away(intent) else { continue };
            match intent {
                Intent::Begin(key, begin, by) => self.gather_begin(now, key, begin, by, gathered),
                Intent::Exporter(ticket, order) => {
                    let written = self.gather_exporter((ticket, order), &mut gathered.exporters);
                    if let Some((ticket, order)) = written {
                        gathered.intents.push(Intent::Exporter(ticket, order));
                        let done = Outcome { topic: None, result: Ok(()) };
                        gathered.answers.push((ticket, vec![done]));
                    }
                }
                Intent::Order(ticket, order, done) => match order.verb.clone() {
                    Verb::CreateMirror(new) => self.look_for(ticket, order, new),
                    Verb::Mirrors(topics, verb) => {
                        let all = (topics, verb);
                        self.gather_mirrors(now, (ticket, order, done), all, gathered);
                    }
                    _ => self.gather_link_order(ticket, order, gathered),
                },
            }
        }
    }

    fn gather_link_order(&mut self, ticket: Ticket, order: Order, gathered: &mut Gathered) {
        let decided = match self.paused_by_file(&order) {
            Some(refusal) => Err(refusal),
            None => decide::link_order(self.view(&gathered.rows), &order.link, &order.verb),
        };
        gathered.touched.insert(Key::Link(order.link.clone()));
        let result = match decided {
            Ok(Some(row)) if !order.is_dry => {
                gathered.rows.insert(Key::Link(order.link.clone()), Some(Row::Link(row)));
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(refusal) => Err(refusal),
        };
        let outcomes = vec![Outcome { topic: None, result }];
        self.finish(ticket, order, outcomes, gathered);
    }

    /// No order lets a link go on that its file pauses.
    fn paused_by_file(&self, Order { link, verb, .. }: &Order) -> Option<Refusal> {
        let settings = self.link_tracks.get(link)?.settings.as_ref()?;
        let is_declared = self.links.get(link)?.origin == Origin::Declared;
        let is_paused = is_declared && settings.is_paused && *verb == Verb::PauseLink(false);
        is_paused.then(|| {
            Refusal::bad(format!(
                "Cluster link '{link}' is paused by the config file, which no order overrules: \
                 set cluster.link.paused = false under [link.{link}] there, or take the line out; \
                 it is read again by itself."
            ))
        })
    }

    /// Answers at once what rests on nothing that is yet to be written.
    fn finish(
        &mut self,
        ticket: Ticket,
        order: Order,
        outcomes: Vec<Outcome>,
        gathered: &mut Gathered,
    ) {
        if gathered.rows.is_empty() || order.is_dry {
            self.answers.push_back((ticket, outcomes));
        } else {
            gathered.intents.push(Intent::Order(ticket, order, Vec::new()));
            gathered.answers.push((ticket, outcomes));
        }
    }

    /// As many topics of an order as one write takes; the others follow with the next one.
    fn gather_mirrors(
        &mut self,
        now: TimestampMs,
        (ticket, order, mut done): (Ticket, Order, Vec<Outcome>),
        (mut topics, verb): (Vec<TopicName>, MirrorVerb),
        gathered: &mut Gathered,
    ) {
        let again = Intent::Order(ticket, order.clone(), done.clone());
        let rest = topics.split_off(self.rows_max.min(topics.len()));
        for topic in topics {
            let key = (order.link.clone(), topic.clone());
            let decided = match self.unread_of(&key) {
                Some(why) => Err(Refusal::unavailable(why.to_string())),
                None => decide::mirror_order(self.view(&gathered.rows), &key, verb, now),
            };
            let away = self.cannot_be_level(&key, verb).filter(|_| decided.is_ok());
            let decided = away.map_or(decided, Err);
            gathered.touched.insert(Key::Mirror(order.link.clone(), topic.clone()));
            let result = match decided {
                Ok(_) if order.is_dry => Ok(()),
                Ok(Decided::Put(row)) => {
                    let key = Key::Mirror(order.link.clone(), topic.clone());
                    gathered.rows.insert(key, Some(Row::Mirror(*row)));
                    Ok(())
                }
                Ok(Decided::TryAgain) => {
                    self.try_again(&key);
                    Ok(())
                }
                Ok(Decided::Already) => Ok(()),
                Err(refusal) => Err(refusal),
            };
            done.push(Outcome { topic: Some(topic), result });
        }
        let is_said = gathered.rows.is_empty() || order.is_dry;
        if !is_said {
            gathered.intents.push(again);
        }
        match (rest.is_empty(), is_said) {
            (true, true) => self.answers.push_back((ticket, done)),
            (true, false) => gathered.answers.push((ticket, done)),
            (false, _) => {
                let verb = Verb::Mirrors(rest, verb);
                let rest = Intent::Order(ticket, Order { verb, ..order }, done);
                match is_said {
                    true => self.intents.push_front(rest),
                    false => gathered.rest = Some(rest),
                }
            }
        }
    }

    fn try_again(&mut self, key: &MirrorKey) {
        let Some(track) = self.tracks.get_mut(key) else { return };
        track.attempt += 1;
        (track.retry_at, track.failures) = (None, 0);
        self.dirty.insert(key.clone());
    }

    /// An order to make a topic a mirror begins with a look at it.
    fn look_for(&mut self, ticket: Ticket, order: Order, new: NewMirror) {
        match self.mirror_of(&order.link, &new) {
            Ok((key, start)) => {
                let (source, mirror, is_anew) = (new.source.clone(), key.1.clone(), new.is_anew());
                let wanted = Wanted { source, mirror, start, is_anew };
                let link = order.link.clone();
                let purpose = Looking::Order(ticket, Box::new((order, new, key)));
                self.look(&link, Asked::Topics(vec![wanted]), purpose);
            }
            Err(refusal) => {
                let outcome = Outcome { topic: new.mirror, result: Err(refusal) };
                self.answers.push_back((ticket, vec![outcome]));
            }
        }
    }

    fn mirror_of(
        &self,
        link: &LinkName,
        new: &NewMirror,
    ) -> Result<(MirrorKey, crate::control::start::StartSpec), Refusal> {
        let row = self.links.get(link).ok_or_else(|| decide::no_link(link))?;
        let track = self.link_tracks.get(link);
        if let Some(fault) = track.and_then(|track| track.failed(row)) {
            return Err(Refusal::unavailable(fault.text));
        }
        let settings = track.and_then(|track| track.settings.as_ref());
        let settings = settings.ok_or_else(|| {
            Refusal::unavailable(format!(
                "The settings of cluster link '{link}' are not known yet."
            ))
        })?;
        let name = discover::mirror_name(settings, &new.source);
        let name = name.map_err(|fault| Refusal::bad(fault.text))?;
        rules::check_names(&new.source, new.mirror.as_ref().unwrap_or(&name))?;
        rules::check_names(&new.source, &name)?;
        match &new.mirror {
            Some(mirror) if *mirror != name => Err(Refusal::bad(format!(
                "The mirror topic of '{}' on cluster link '{link}' must be called '{name}': {}. \
                 Where another topic of the source is meant, name it: source_topic_name, or \
                 --source-topic.",
                new.source,
                settings.rename.rule()
            ))),
            _ => Ok(((link.clone(), name), new.start.unwrap_or(settings.start))),
        }
    }

    /// Why a promote does not begin: what it would wait for does not come while the source is away.
    /// One that waits already goes on waiting, and says so.
    fn cannot_be_level(&self, key: &MirrorKey, verb: MirrorVerb) -> Option<Refusal> {
        let (MirrorVerb::Stop { how: How::Promote, .. }
        | MirrorVerb::Abandon { .. }
        | MirrorVerb::Reverse { .. }) = verb
        else {
            return None;
        };
        self.mirrors.get(key).filter(|row| row.stage == Stage::Mirroring)?;
        let row = self.links.get(&key.0)?;
        let fault = match self.state_of(&key.0, row) {
            LinkState::Unavailable(fault) | LinkState::Failed(fault) => fault,
            _ => return None,
        };
        Some(Refusal::unavailable(format!(
            "Mirror topic '{}' of cluster link '{}' cannot be promoted while its source is away: \
             wait until the link is ACTIVE, or fail the topic over, which needs no source. {}",
            key.1, key.0, fault.text
        )))
    }

    fn gather_begin(
        &mut self,
        now: TimestampMs,
        key: MirrorKey,
        begin: Box<Begin>,
        by: Option<(Ticket, bool)>,
        gathered: &mut Gathered,
    ) {
        let decided = decide::begin(self.view(&gathered.rows), &key, &begin, now);
        let source = begin.source.clone();
        let is_dry = by.is_some_and(|(_, is_dry)| is_dry);
        match decided {
            Ok(row) if !is_dry => {
                let row_key = Key::Mirror(key.0.clone(), key.1.clone());
                gathered.touched.insert(row_key.clone());
                gathered.rows.insert(row_key, Some(Row::Mirror(row)));
                gathered.waiting.extend(by.map(|(ticket, _)| (key.clone(), ticket)));
                gathered.intents.push(Intent::Begin(key, begin, by));
            }
            decided => {
                let result = decided.map(drop);
                if let (None, Err(refusal)) = (by, &result) {
                    self.note_trouble((&key.0, &source), refusal.fault());
                }
                let outcome = Outcome { topic: Some(key.1), result };
                self.answers.extend(by.map(|(ticket, _)| (ticket, vec![outcome])));
            }
        }
    }

    /// What a filter found and cannot have stands in the link's task, by the source's name, until
    /// it has it.
    pub(super) fn note_trouble(&mut self, (link, source): (&LinkName, &TopicName), fault: Fault) {
        self.forget_trouble((link, source));
        if let Some(track) = self.link_tracks.get_mut(link) {
            track.troubles.push((source.to_string(), fault));
        }
        self.dirty_links.insert(link.clone());
    }

    /// It is a mirror topic now.
    pub(super) fn forget_trouble(&mut self, (link, source): (&LinkName, &TopicName)) {
        if let Some(track) = self.link_tracks.get_mut(link) {
            track.troubles.retain(|(name, _)| name != source.as_str());
        }
    }

    fn gather_links(&self, gathered: &mut Gathered) {
        let Gathered { rows, touched, .. } = gathered;
        for link in &self.stale_links {
            let key = Key::Link(link.clone());
            let is_left = touched.contains(&key) || self.unread(&key).is_some();
            if is_left || rows.len() >= self.rows_max {
                continue;
            }
            match self.links.get(link) {
                None => {
                    let declared = self.declared.as_ref().and_then(|all| all.get(link));
                    let row = declared.map(|new| self.first_row(link, new));
                    rows.extend(row.map(|row| (key, Some(Row::Link(row)))));
                }
                Some(row) if row.is_leaving => {
                    if self.is_without_rows(link) {
                        rows.insert(key, None);
                    }
                }
                Some(row) if row.is_taking_over => self.gather_remembered(link, row, rows),
                Some(row) => {
                    let reach = self.link_tracks.get(link).and_then(|track| track.reach.clone());
                    let mut new = LinkRow { mode: self.mode(link, row), ..row.clone() };
                    if let (None, Some(Reach::Available(id))) = (&new.source, reach) {
                        new.source = Some(id);
                    }
                    if new != *row {
                        rows.insert(key, Some(Row::Link(new)));
                    }
                }
            }
        }
    }

    fn gather_topics(&self, now: TimestampMs, gathered: &mut Gathered) {
        let Gathered { rows, touched, .. } = gathered;
        let mut room = self.rows_max.saturating_sub(rows.len());
        for key in &self.stale {
            if room == 0 {
                break;
            }
            let row_key = Key::Mirror(key.0.clone(), key.1.clone());
            let Some(topic) = self.topic(key).filter(|_| !touched.contains(&row_key)) else {
                continue;
            };
            match topic.rewrite(now) {
                Rewrite::Keep => continue,
                Rewrite::Put(row) => {
                    room = room.saturating_sub(row.weight());
                    rows.insert(row_key, Some(Row::Mirror(*row)));
                }
                Rewrite::Delete => (room, _) = (room - 1, rows.insert(row_key, None)),
            }
        }
    }

    /// Valid values that a cleaner would lose to skipped rows.
    fn gather_spoiled(&self, rows: &mut Vec<(String, Option<String>)>) {
        let room = self.rows_max.saturating_sub(rows.len());
        let is_free = |key: &str| rows.iter().all(|(taken, _)| taken != key);
        let spoiled = self.fold.spoiled().filter(|(key, _)| is_free(key)).take(room);
        let again = spoiled.map(|(key, value)| (key.to_owned(), Some(value.to_owned())));
        let again: Vec<_> = again.collect();
        rows.extend(again);
    }
}
