//! What isolog 0.1 remembered of a link of the config file, written once as rows of today: all
//! begins with the link's own row, which says until the last one is written that some are missing.
//!
//! It never begins a topic, and changes no row that is there already: what was stopped or forgotten
//! since stays so.

use std::collections::BTreeMap;

use crate::control::decide;
use crate::control::decide::Rows;
use crate::control::facts::Metadata;
use crate::control::facts::Reach;
use crate::control::facts::TopicFacts;
use crate::control::facts::Topics;
use crate::control::link::LinkSettings;
use crate::control::machine::Control;
use crate::control::machine::Intent;
use crate::control::order::NewLink;
use crate::control::order::Order;
use crate::control::order::Refusal;
use crate::control::order::Verb;
use crate::control::row::Changes;
use crate::control::row::Key;
use crate::control::row::LinkRow;
use crate::control::row::Origin;
use crate::control::row::Row;
use crate::control::row::Unreadable;
use crate::control::row::old::OldRows;
use crate::ids::LinkName;
use crate::ids::TimestampMs;
use crate::ids::TopicId;
use crate::ids::TopicName;

impl Control {
    /// The first row of a link that the file declares. The source that isolog 0.1 mirrored is the
    /// link's own: another one stops it.
    pub(super) fn first_row(&self, link: &LinkName, new: &NewLink) -> LinkRow {
        let (row, old) = (decide::new_link(new), OldRows::of(self.fold.unstamped(), link));
        let is_taking_over = !old.is_empty();
        LinkRow { source: old.source.or(row.source), is_taking_over, ..row }
    }

    pub(super) fn is_taking_over(&self, link: &LinkName) -> bool {
        self.links.get(link).is_some_and(|row| row.is_taking_over)
    }

    /// Rows without a stamp have changed.
    pub(super) fn note_old_rows(&mut self) {
        let links = self.links.iter().filter(|(_, row)| row.is_taking_over);
        let links: Vec<LinkName> = links.map(|(link, _)| link.clone()).collect();
        links.iter().for_each(|link| self.note_link(link));
    }

    /// A link's row is another one, or what it is to take over. Old rows that cannot be read stop
    /// it, until a person has had a look at them.
    pub(super) fn note_link(&mut self, link: &LinkName) {
        let old = self.is_taking_over(link).then(|| OldRows::of(self.fold.unstamped(), link));
        let unreadable = old.map(|old| old.unreadable).unwrap_or_default();
        let track = self.link_tracks.entry(link.clone()).or_default();
        track.unreadable.retain(|_, why| !matches!(why, Unreadable::Old { .. }));
        track.unreadable.extend(unreadable);
        if !self.links.contains_key(link) {
            track.reach = None; // the next one by that name may have another source
        }
        // what was read of them before is decided again
        if self.remembered.remove(link).is_some() {
            track.look_at = None;
        }
        self.touch_link(link);
    }

    /// What a look at all topics means for a link that takes over what isolog 0.1 remembered.
    pub(super) fn remember(
        &mut self,
        now: TimestampMs,
        link: &LinkName,
        settings: &LinkSettings,
        topics: &Topics,
    ) {
        let rows = OldRows::of(self.fold.unstamped(), link).mirror_rows(settings, topics, now);
        if let Some(track) = self.link_tracks.get_mut(link) {
            track.look_at = Some(TimestampMs(now.0.saturating_add(settings.look_every_ms)));
        }
        self.remembered.insert(link.clone(), rows);
    }

    /// As many of them as there is room for; behind the last one the link's own row, which says
    /// that it was the last.
    pub(super) fn gather_remembered(&self, link: &LinkName, row: &LinkRow, rows: &mut Rows) {
        let Some(all) = self.remembered.get(link) else { return };
        for (topic, mirror) in all {
            if rows.len() >= self.rows_max {
                return;
            }
            let key = (link.clone(), topic.clone());
            // what another link mirrors by now stays that one's
            if !self.view(rows).is_taken(&key) {
                let key = Key::Mirror(key.0, key.1);
                rows.insert(key, Some(Row::Mirror(mirror.clone())));
            }
        }
        if rows.len() < self.rows_max {
            let reach = self.link_tracks.get(link).and_then(|track| track.reach.as_ref());
            let reached = match reach {
                Some(Reach::Available(id)) => Some(id.clone()),
                _ => None,
            };
            let source = row.source.clone().or(reached);
            let row = LinkRow { source, is_taking_over: false, ..row.clone() };
            rows.insert(Key::Link(link.clone()), Some(Row::Link(row)));
        }
    }

    /// Why an order waits; a pause does not.
    pub(super) fn not_taken_over(&self, intent: &Intent) -> Option<Refusal> {
        let Intent::Order(_, Order { link, verb, .. }, _) = intent else { return None };
        let waits = self.is_taking_over(link) && !matches!(verb, Verb::PauseLink(_));
        waits.then(|| {
            Refusal::unavailable(format!(
                "What isolog 0.1 remembered of cluster link '{link}' is being taken over, which \
                 needs its source: try again in a moment. `isolog link describe {link}` says what \
                 it waits for."
            ))
        })
    }

    /// What isolog 0.1 was about to owe to topics that it had not begun, by the source topic.
    pub(super) fn staged(&self, link: &LinkName) -> BTreeMap<TopicName, (TopicId, Changes)> {
        let row = self.links.get(link);
        match row.is_some_and(|row| row.origin == Origin::Declared) {
            true => OldRows::of(self.fold.unstamped(), link).staged,
            false => BTreeMap::new(),
        }
    }
}

/// A topic that isolog 0.1 made, and did not live to mirror, has other configs meanwhile.
pub(super) fn owe_staged(facts: &mut TopicFacts, staged: Option<&(TopicId, Changes)>) {
    let is_there = matches!(facts.mirror, Metadata::There(_)) && facts.is_empty;
    let source = facts.source.seen().map(|seen| seen.id);
    if let Some((_, owed)) = staged.filter(|(of, _)| is_there && Some(*of) == source) {
        facts.owed.clone_from(owed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::control::acls::AclSync;
    use crate::control::facts::Asked;
    use crate::control::facts::LookId;
    use crate::control::facts::MirrorKey;
    use crate::control::facts::Mode;
    use crate::control::facts::Observed;
    use crate::control::facts::Seen;
    use crate::control::filter::Pattern;
    use crate::control::filter::Rule;
    use crate::control::filter::TopicFilter;
    use crate::control::journal::TailBatch;
    use crate::control::journal::TailRecord;
    use crate::control::journal::WriterTag;
    use crate::control::link::LinkState;
    use crate::control::machine::ROWS_MAX;
    use crate::control::machine::Write;
    use crate::control::order::MirrorVerb;
    use crate::control::order::Ticket;
    use crate::control::rename::Rename;
    use crate::control::row::LinkMode;
    use crate::control::start::StartSpec;
    use crate::control::task::configs::ConfigSync;
    use crate::control::topic::Stage;
    use crate::ids::ClusterId;
    use crate::ids::Offset;
    use crate::ids::PartitionId;

    const NOW: TimestampMs = TimestampMs(1_000);
    const A: TopicId = TopicId([1; 16]);
    const B: TopicId = TopicId([2; 16]);

    fn dr() -> LinkName {
        LinkName("dr".into())
    }

    fn name(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    fn key(topic: &str) -> MirrorKey {
        (dr(), name(topic))
    }

    /// What isolog 0.1 wrote of a topic.
    fn old(topic: &str) -> [(String, Option<String>); 2] {
        let (a, b) = (A.hex(), B.hex());
        let ids = format!(
            r#"{{"source_cluster":"blue","source_topic":"{a}","destination_topic":"{b}"}}"#
        );
        let starts = format!(r#"{{"source_topic":"{a}","starts":{{"0":17}}}}"#);
        [(format!("dr/{topic}"), Some(ids)), (format!("dr/{topic}/starts"), Some(starts))]
    }

    fn settings() -> LinkSettings {
        let every = vec![Rule::include(Pattern::parse("*").unwrap())];
        LinkSettings {
            rename: Rename::default(),
            topics: TopicFilter::new(every.clone()),
            named: TopicFilter::new(every),
            start: StartSpec::Latest,
            replicas: None,
            look_every_ms: 1_000,
            groups: None,
            is_paused: false,
            tasks: BTreeSet::new(),
            configs: ConfigSync::default(),
            acls: AclSync::default(),
        }
    }

    /// A journal, and one instance after the other that reads it.
    struct Lab {
        log: Vec<TailBatch>,
        control: Control,
        rows_max: usize,
        /// Topics that both clusters have.
        topics: Vec<TopicName>,
    }

    impl Lab {
        fn new(topics: &[&str], rows_max: usize) -> Lab {
            let topics = topics.iter().map(|topic| name(topic)).collect();
            let control = Control::new(WriterTag(1), rows_max);
            let mut lab = Lab { log: Vec::new(), control, rows_max, topics };
            for topic in lab.topics.clone() {
                old(topic.as_str()).into_iter().for_each(|row| lab.append(None, vec![row]));
            }
            lab
        }

        fn append(&mut self, write: Option<&Write>, rows: Vec<(String, Option<String>)>) {
            let base = self.log.last().map_or(Offset::ZERO, |batch| batch.next);
            let stamp = write.map(|write| write.stamp);
            assert!(stamp.is_none_or(|stamp| stamp.at == base));
            let next = base.plus(rows.len() as u64).unwrap();
            let record = |(key, value)| TailRecord { key: Some(key), value, stamp };
            let records = rows.into_iter().map(record).collect();
            let batch = TailBatch { base, next, records };
            self.log.push(batch.clone());
            self.control.handle_batch(NOW, batch);
        }

        /// Another process reads the journal, and reaches that source.
        fn start(&mut self, source: &str) {
            self.control = Control::new(WriterTag(self.log.len() as u64 + 9), self.rows_max);
            for batch in self.log.clone() {
                self.control.handle_batch(NOW, batch);
            }
            let new = NewLink {
                id: "AAAAAAAAQACAAAAAAAAAAA".to_owned(),
                mode: LinkMode::Destination,
                source: None,
                configs: BTreeMap::new(),
                is_declared: true,
            };
            self.control.handle_declared(NOW, BTreeMap::from([(dr(), new)]));
            self.control.handle_settings(NOW, &dr(), Some(settings()));
            self.control.handle_role(NOW, true);
            self.control.handle_level(NOW);
            let reached = Reach::Available(ClusterId(source.into()));
            self.control.handle_reach(NOW, &dr(), reached);
        }

        /// The next write is appended and read back: its keys.
        fn write(&mut self) -> Vec<String> {
            let Some(write) = self.control.poll_write(NOW) else { return Vec::new() };
            assert!(write.rows.len() <= self.rows_max, "{:?}", write.rows);
            self.append(Some(&write), write.rows.clone());
            write.rows.into_iter().map(|(key, _)| key).collect()
        }

        /// A look at all topics is answered.
        fn look(&mut self) {
            let (id, look) = self.control.poll_look().expect("a look");
            assert_eq!(look.what, Asked::All);
            self.observe(id);
        }

        fn observe(&mut self, id: LookId) {
            let of = |id: TopicId| {
                let there = Metadata::There(Seen { id, partitions: 2 });
                self.topics.iter().map(|topic| (topic.clone(), there.clone())).collect()
            };
            let topics = Topics { source: of(A), mirror: of(B), ..Topics::default() };
            self.control.handle_observed(NOW, id, Ok(Observed::All(topics)));
        }

        fn link(&self) -> (LinkRow, LinkState) {
            let (_, row, state) = self.control.links().next().expect("a link");
            (row.clone(), state)
        }

        fn mirrors(&self) -> Vec<(TopicName, Stage)> {
            self.control.mirrors().map(|(key, row, _)| (key.1.clone(), row.stage)).collect()
        }
    }

    #[test]
    fn what_was_remembered_goes_on_without_being_compared() {
        let mut lab = Lab::new(&["orders", "users"], ROWS_MAX);
        lab.start("blue");
        assert_eq!(lab.write(), ["link/dr"]);
        let (row, _) = lab.link();
        assert_eq!((row.is_taking_over, row.source), (true, Some(ClusterId("blue".into()))));
        lab.look();
        assert_eq!(lab.write(), ["link/dr", "mirror/dr/orders", "mirror/dr/users"]);
        assert!(!lab.link().0.is_taking_over);
        let spec = &lab.control.wanted()[&key("orders")];
        assert_eq!((spec.mode, spec.generation, spec.mirror_id), (Mode::Mirror, 0, B));
        assert_eq!(spec.source, (name("orders"), A));
        let starts = [(PartitionId(0), Offset::new(17).unwrap()), (PartitionId(1), Offset::ZERO)];
        assert_eq!(spec.partitions, BTreeMap::from(starts));
        assert_eq!(lab.control.poll_do(), None);
        // topics that are new are looked for at once
        lab.look();
        assert_eq!((lab.write(), lab.control.poll_look()), (Vec::new(), None));
    }

    #[test]
    fn only_what_a_look_finds_otherwise_is_looked_through() {
        let mut lab = Lab::new(&["orders", "users"], ROWS_MAX);
        lab.start("blue");
        lab.write();
        lab.look();
        lab.write();
        lab.look();
        let shown = |lab: &mut Lab| std::iter::from_fn(|| lab.control.poll_changed()).count();
        assert_eq!(shown(&mut lab), 2);
        let later = TimestampMs(NOW.0 + 3_600_000);
        lab.control.handle_timeout(later);
        lab.look();
        assert_eq!(shown(&mut lab), 0);
        lab.control.handle_timeout(TimestampMs(later.0 + 3_600_000));
        lab.topics.remove(0);
        lab.look();
        assert_eq!(lab.control.poll_changed(), Some((dr(), name("orders"))));
        assert_eq!(shown(&mut lab), 0);
    }

    #[test]
    fn more_than_one_write_takes_are_taken_over_whenever_the_process_ends() {
        let all = ["a", "b", "c", "d", "e"];
        for rows_max in [1, 2, 3] {
            for ends_after in 0..9 {
                let mut lab = Lab::new(&all, rows_max);
                lab.start("blue");
                let (mut writes, mut written) = (0, Vec::new());
                while lab.control.links().next().is_none_or(|(_, row, _)| row.is_taking_over) {
                    if writes == ends_after {
                        lab.start("blue");
                    }
                    if let Some((id, _)) = lab.control.poll_look() {
                        lab.observe(id);
                    }
                    let rows = lab.write();
                    assert!(!rows.is_empty(), "{rows_max} {ends_after}: it goes on");
                    written.extend(rows.into_iter().filter(|key| key.starts_with("mirror/")));
                    writes += 1;
                }
                let each = all.map(|topic| format!("mirror/dr/{topic}"));
                assert_eq!(written, each, "{rows_max} {ends_after}: each once");
                assert_eq!(lab.control.wanted().len(), all.len());
            }
        }
    }

    #[test]
    fn what_was_forgotten_since_does_not_rise_again() {
        let mut lab = Lab::new(&["orders"], ROWS_MAX);
        lab.start("blue");
        lab.write();
        lab.look();
        lab.write();
        let stopped = lab.control.mirrors().next().unwrap().1.clone();
        let stopped = crate::control::row::MirrorRow {
            stage: Stage::Stopped(crate::control::topic::How::Failover),
            ..stopped
        };
        for row in [Some(Row::Mirror(stopped).to_json()), None] {
            let base = lab.log.last().unwrap().next;
            let stamp = crate::control::journal::Stamp {
                at: base,
                writer: WriterTag(1),
                number: base.get() as u64,
            };
            let id = crate::control::facts::WriteId(0);
            let rows = vec![("mirror/dr/orders".to_owned(), row)];
            lab.append(Some(&Write { id, stamp, rows: rows.clone() }), rows);
            let before = lab.mirrors();
            lab.start("blue");
            lab.topics.clear();
            assert_eq!(lab.write(), [""; 0]);
            lab.look();
            assert_eq!((lab.write(), lab.mirrors()), (Vec::new(), before));
        }
    }

    #[test]
    fn a_damaged_row_stops_the_link_until_it_is_restored_or_forgotten() {
        let mut lab = Lab::new(&["orders"], ROWS_MAX);
        lab.append(None, vec![("dr/users".to_owned(), Some("?".to_owned()))]);
        lab.start("blue");
        lab.write();
        let LinkState::Failed(fault) = lab.link().1 else { panic!("{:?}", lab.link()) };
        assert!(fault.text.contains("row dr/users of the journal"), "{fault:?}");
        assert_eq!((lab.control.poll_look(), lab.write()), (None, Vec::new()));
        lab.append(None, vec![("dr/users".to_owned(), None)]);
        assert_eq!(lab.link().1, LinkState::Active);
        lab.look();
        assert_eq!(lab.write(), ["link/dr", "mirror/dr/orders"]);
    }

    #[test]
    fn another_source_than_that_of_before_stops_the_link() {
        let mut lab = Lab::new(&["orders"], ROWS_MAX);
        lab.start("red");
        lab.write();
        let LinkState::Failed(fault) = lab.link().1 else { panic!("{:?}", lab.link()) };
        assert_eq!(fault.code, "CLUSTER_ID_CHANGED");
        assert!(fault.text.contains("blue") && fault.text.contains("red"), "{fault:?}");
        assert_eq!((lab.control.poll_look(), lab.write()), (None, Vec::new()));
    }

    /// Nobody has asked yet which cluster answers for the new one.
    #[test]
    fn a_link_that_is_created_again_does_not_have_the_source_of_the_old_one() {
        let mut lab = Lab::new(&[], ROWS_MAX);
        let new = |id: &str| {
            let (mode, configs) = (LinkMode::Destination, BTreeMap::new());
            let id = id.to_owned();
            let new = NewLink { id, mode, source: None, configs, is_declared: false };
            Some(Row::Link(decide::new_link(&new)).to_json())
        };
        lab.control.handle_role(NOW, true);
        lab.control.handle_level(NOW);
        for row in [new("one"), None, new("two")] {
            let at = lab.log.last().map_or(Offset::ZERO, |batch| batch.next);
            let stamp = crate::control::journal::Stamp { at, writer: WriterTag(7), number: 1 };
            let rows = vec![("link/dr".to_owned(), row)];
            let id = crate::control::facts::WriteId(0);
            lab.append(Some(&Write { id, stamp, rows: rows.clone() }), rows);
            if lab.log.len() == 1 {
                let reached = Reach::Available(ClusterId("blue".into()));
                lab.control.handle_settings(NOW, &dr(), Some(settings()));
                lab.control.handle_reach(NOW, &dr(), reached);
            }
        }
        assert_eq!(lab.link().1, LinkState::Unknown);
        assert_eq!(lab.write(), [""; 0], "a source that nobody has reached");
    }

    #[test]
    fn orders_wait_until_all_is_taken_over_but_a_pause_does_not() {
        let mut lab = Lab::new(&["orders"], ROWS_MAX);
        lab.start("blue");
        lab.write();
        let order = |verb| Order { link: dr(), verb, is_dry: false };
        let delete = Verb::Mirrors(vec![name("orders")], MirrorVerb::Delete { topic: true });
        lab.control.handle_order(NOW, Ticket(1), order(delete));
        assert_eq!(lab.control.poll_write(NOW), None);
        let (_, outcomes) = lab.control.poll_answer().expect("it is answered");
        let refusal = outcomes[0].result.clone().unwrap_err();
        assert_eq!(refusal.status, 503);
        assert!(refusal.text.contains("is being taken over"), "{}", refusal.text);
        lab.control.handle_order(NOW, Ticket(2), order(Verb::PauseLink(true)));
        assert_eq!(lab.write(), ["link/dr"]);
        let (row, state) = lab.link();
        assert_eq!((row.is_taking_over, state), (true, LinkState::Paused));
    }

    #[test]
    fn a_topic_that_was_made_and_not_mirrored_is_owed_what_it_was_to_get() {
        let owed = Changes::from([("cleanup.policy".to_owned(), Some("compact".to_owned()))]);
        let there = |id| Metadata::There(Seen { id, partitions: 1 });
        let check = |mirror: Metadata, is_empty: bool, source: TopicId, is_owed: bool| {
            let mut facts = TopicFacts {
                source: there(source),
                mirror,
                ancestors: Vec::new(),
                is_empty,
                starts: BTreeMap::new(),
                configs: BTreeMap::new(),
                owed: Changes::new(),
                at_stop: Default::default(),
            };
            owe_staged(&mut facts, Some(&(A, owed.clone())));
            assert_eq!(facts.owed == owed, is_owed, "{facts:?}");
        };
        check(there(B), true, A, true);
        check(there(B), true, B, false);
        check(there(B), false, A, false);
        check(Metadata::Absent, true, A, false);
    }
}
