//! What the config file of this instance declares, and whose links are somebody else's.
//!
//! It never changes a link's row: a link that a file has no more is not deleted, it rests.

use std::collections::BTreeMap;

use crate::control::discover;
use crate::control::facts::MirrorKey;
use crate::control::link::LinkState;
use crate::control::machine::Control;
use crate::control::machine::Intent;
use crate::control::order::NewLink;
use crate::control::order::Order;
use crate::control::order::Outcome;
use crate::control::order::Refusal;
use crate::control::order::Verb;
use crate::control::row::LinkMode;
use crate::control::row::LinkRow;
use crate::control::row::Origin;
use crate::ids::LinkName;
use crate::ids::TimestampMs;
use crate::ids::TopicName;

impl Control {
    /// What the config file declares now.
    pub fn handle_declared(&mut self, now: TimestampMs, declared: BTreeMap<LinkName, NewLink>) {
        self.dirty_links.extend(declared.keys().cloned());
        self.declared = Some(declared);
        let all: Vec<LinkName> = self.links.keys().cloned().collect();
        for link in all {
            if !self.acts_on(&link) {
                self.books.want(&link, BTreeMap::new());
                if let Some(track) = self.link_tracks.get_mut(&link) {
                    track.settings = None;
                }
            }
            self.touch_link(&link);
        }
        self.look_through(now);
    }

    /// Whether a link is this instance's to act on: created by an order, or declared in its own
    /// file. Who has another file beside the same destination looks after the links of that one.
    pub(super) fn acts_on(&self, link: &LinkName) -> bool {
        let is_declared = self.links.get(link).is_some_and(|row| row.origin == Origin::Declared);
        !is_declared || self.declared.as_ref().is_some_and(|file| file.contains_key(link))
    }

    /// What people see of a link.
    pub(super) fn state_of(&self, name: &LinkName, row: &LinkRow) -> LinkState {
        if let Some(lost) = &self.lost {
            return LinkState::Failed(lost.clone());
        }
        match self.link_tracks.get(name).map(|track| track.state(row)) {
            Some(LinkState::Paused) if self.is_awaited(name, row) => LinkState::Unknown,
            state => state.unwrap_or(LinkState::Unknown),
        }
    }

    /// Whether a declared link rests only since its settings have not been told yet.
    pub(super) fn is_awaited(&self, link: &LinkName, row: &LinkRow) -> bool {
        let is_untold = self.link_tracks.get(link).is_none_or(|track| track.settings.is_none());
        let is_here = self.declared.as_ref().is_none_or(|file| file.contains_key(link));
        let is_resting = row.is_paused || row.is_leaving;
        row.origin == Origin::Declared && is_untold && is_here && !is_resting
    }

    /// `link.mode` of a link: of a declared one the file says it.
    pub(super) fn mode(&self, link: &LinkName, row: &LinkRow) -> LinkMode {
        let declared = self.declared.as_ref().and_then(|file| file.get(link));
        let declared = declared.filter(|_| row.origin == Origin::Declared);
        declared.map_or(row.mode, |new| new.mode)
    }

    /// Whether all mirror topics of a link have the names that its settings give them.
    pub(super) fn judge_names(&mut self, link: &LinkName) {
        let Some(track) = self.link_tracks.get_mut(link) else { return };
        let first = (link.clone(), TopicName::new("-").expect("a legal name"));
        let own = self.mirrors.range(first..).take_while(|((of, _), _)| of == link);
        track.misnamed = track.settings.as_ref().and_then(|settings| {
            own.into_iter().find_map(|(key, row)| discover::misnamed(settings, key, row))
        });
    }

    /// The same after one row has changed.
    pub(super) fn judge_name(&mut self, key: &MirrorKey) {
        let Some(track) = self.link_tracks.get_mut(&key.0) else { return };
        if track.misnamed.is_some() {
            self.judge_names(&key.0);
            return self.touch_link(&key.0);
        }
        let wrong = track.settings.as_ref().zip(self.mirrors.get(key));
        track.misnamed = wrong.and_then(|(settings, row)| discover::misnamed(settings, key, row));
        if track.misnamed.is_some() {
            self.touch_link(&key.0);
        }
    }

    /// Answers what was ordered of a link that is somebody else's, or not taken over yet; what is
    /// to be decided comes back.
    pub(super) fn turn_away(&mut self, intent: Intent) -> Option<Intent> {
        let (link, is_new) = match &intent {
            Intent::Exporter(..) => return Some(intent),
            Intent::Begin(key, ..) => (&key.0, false),
            Intent::Order(_, order, _) => {
                (&order.link, matches!(order, Order { verb: Verb::CreateLink(_), .. }))
            }
        };
        let refusal = match self.acts_on(link) {
            _ if self.undecidable(&intent).is_some() => self.undecidable(&intent),
            _ if is_new => None,
            true => self.not_taken_over(&intent),
            false => Some(Refusal::conflict(format!(
                "Cluster link '{link}' is declared in the config file of another isolog on this \
                 destination, or of none any more: give the order there, or declare [link.{link}] \
                 in the file of this one. Where no isolog has it, `isolog journal delete \
                 link/{link} --with-mirrors` forgets it; its topics stay."
            ))),
        };
        let Some(refusal) = refusal else { return Some(intent) };
        let result = Err(refusal);
        let (ticket, topic, mut outcomes) = match intent {
            Intent::Begin(key, _, by) => (by.map(|(ticket, _)| ticket), Some(key.1), Vec::new()),
            Intent::Order(ticket, _, done) => (Some(ticket), None, done),
            Intent::Exporter(ticket, _) => (Some(ticket), None, Vec::new()),
        };
        outcomes.push(Outcome { topic, result });
        self.answers.extend(ticket.map(|ticket| (ticket, outcomes)));
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::control::acls::AclSync;
    use crate::control::facts::Mode;
    use crate::control::facts::Reach;
    use crate::control::filter::TopicFilter;
    use crate::control::journal::Stamp;
    use crate::control::journal::TailBatch;
    use crate::control::journal::TailRecord;
    use crate::control::journal::WriterTag;
    use crate::control::link::LinkSettings;
    use crate::control::machine::ROWS_MAX;
    use crate::control::order::MirrorVerb;
    use crate::control::order::Ticket;
    use crate::control::rename::Rename;
    use crate::control::start::StartSpec;
    use crate::control::task::configs::ConfigSync;
    use crate::control::topic::Status;
    use crate::ids::ClusterId;
    use crate::ids::Offset;

    const NOW: TimestampMs = TimestampMs(1_000);
    const LINK: &str = r#"{"v":1,"id":"AAAAAAAAQACAAAAAAAAAAA","mode":"DESTINATION",
        "origin":"declared","source_cluster":null,"configs":{},"generation":0,"paused":false,
        "leaving":false}"#;
    const MIRROR: &str = r#"{"v":1,"source_topic":"orders",
        "source_id":"01010101010101010101010101010101",
        "mirror_id":"02020202020202020202020202020202","partitions":1,"generation":0,
        "stage":STAGE,"since_ms":1,"paused":false,"made_by":"name",
        "adopted":null,"starts":{},"owed":{},"configs":{},"replicas":null,
        "sealed":{},"deadline_ms":null}"#;

    fn west() -> LinkName {
        LinkName("west".into())
    }

    fn file(links: &[LinkName]) -> BTreeMap<LinkName, NewLink> {
        let new = NewLink {
            id: "AAAAAAAAQACAAAAAAAAAAA".to_owned(),
            mode: LinkMode::Destination,
            source: None,
            configs: BTreeMap::new(),
            is_declared: true,
        };
        links.iter().map(|name| (name.clone(), new.clone())).collect()
    }

    /// An instance whose journal has a link of some file, with a mirror in that stage.
    fn started(stage: &str) -> Control {
        let mut control = Control::new(WriterTag(1), ROWS_MAX);
        let rows = [
            ("link/west", LINK.to_owned()),
            ("mirror/west/orders", MIRROR.replace("STAGE", stage)),
        ];
        let stamp = Stamp { at: Offset::ZERO, writer: WriterTag(9), number: 1 };
        let record = |(key, value): (&str, String)| TailRecord {
            key: Some(key.to_owned()),
            value: Some(value),
            stamp: Some(stamp),
        };
        let records = rows.map(record).into();
        let next = Offset::new(2).unwrap();
        control.handle_batch(NOW, TailBatch { base: Offset::ZERO, next, records });
        control.handle_role(NOW, true);
        control.handle_level(NOW);
        control
    }

    /// What it wants of the mirror.
    fn wanted(control: &Control) -> Vec<Mode> {
        control.wanted().values().map(|spec| spec.mode).collect()
    }

    /// Two with different files beside one destination: a seal, or a topic that is deleted, is no
    /// less than a record that two write.
    #[test]
    fn a_link_of_another_file_is_left_to_who_has_it() {
        let east = LinkName("east".into());
        for stage in [r#"{"sealing":"failover"}"#, r#""setup""#, r#"{"leaving":{"topic":true}}"#] {
            let mut control = started(stage);
            for links in [None, Some([east.clone()])] {
                if let Some(links) = links {
                    control.handle_declared(NOW, file(&links));
                    let reached = Reach::Available(ClusterId("blue".into()));
                    control.handle_reach(NOW, &west(), reached);
                }
                assert_eq!(wanted(&control), [], "{stage}");
                assert_eq!((control.poll_do(), control.poll_look()), (None, None), "{stage}");
                let rows = control.poll_write(NOW).map(|write| write.rows).unwrap_or_default();
                assert!(rows.iter().all(|(key, _)| key == "link/east"), "{stage}: {rows:?}");
            }
            control.handle_declared(NOW, file(&[west()]));
            let acts = !wanted(&control).is_empty() || control.poll_do().is_some();
            assert!(acts, "{stage}: it is its own");
        }
    }

    #[test]
    fn an_order_about_it_is_turned_away_to_who_has_it() {
        let mut control = started(r#""mirroring""#);
        let topic = TopicName::new("orders").unwrap();
        let verbs = [
            Verb::PauseLink(true),
            Verb::DeleteLink { is_forced: true },
            Verb::Mirrors(vec![topic], MirrorVerb::Delete { topic: true }),
        ];
        for verb in verbs {
            let order = Order { link: west(), verb, is_dry: false };
            control.handle_order(NOW, Ticket(1), order);
            assert_eq!(control.poll_write(NOW), None);
            let (_, outcomes) = control.poll_answer().expect("it is answered at once");
            let refusal = outcomes[0].result.clone().unwrap_err();
            assert_eq!(refusal.status, 409);
            assert!(refusal.text.contains("declare [link.west] in the file"), "{}", refusal.text);
        }
    }

    fn settings(prefix: &str) -> LinkSettings {
        LinkSettings {
            rename: Rename::prefixed(prefix),
            topics: TopicFilter::default(),
            named: TopicFilter::default(),
            start: StartSpec::Earliest,
            replicas: None,
            look_every_ms: 1_000,
            groups: None,
            is_paused: false,
            tasks: BTreeSet::new(),
            configs: ConfigSync::default(),
            acls: AclSync::default(),
        }
    }

    #[test]
    fn what_the_file_pauses_no_order_lets_go_on() {
        let mut control = started(r#""mirroring""#);
        control.handle_declared(NOW, file(&[west()]));
        let mut told = |is_paused: bool, of_file: bool| {
            let settings = LinkSettings { is_paused: of_file, ..settings("") };
            control.handle_settings(NOW, &west(), Some(settings));
            let verb = Verb::PauseLink(is_paused);
            control.handle_order(NOW, Ticket(1), Order { link: west(), verb, is_dry: true });
            assert_eq!(control.poll_write(NOW), None);
            let (_, mut outcomes) = control.poll_answer().expect("it is answered at once");
            outcomes.remove(0).result
        };
        let refusal = told(false, true).unwrap_err();
        assert!(refusal.status == 400 && refusal.text.contains("[link.west]"), "{}", refusal.text);
        assert_eq!(told(true, true), Ok(()), "it rests for both reasons then");
        assert_eq!(told(false, false), Ok(()));
    }

    #[test]
    fn the_file_says_the_mode_of_its_links() {
        let mut control = started(r#""mirroring""#);
        let mut links = file(&[west()]);
        control.handle_declared(NOW, links.clone());
        assert_eq!(control.poll_write(NOW), None, "it is so");
        links.get_mut(&west()).unwrap().mode = LinkMode::Bidirectional;
        control.handle_declared(NOW, links);
        let rows = control.poll_write(NOW).unwrap().rows;
        let [(key, Some(row))] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!(key, "link/west");
        assert!(
            row.contains(r#""mode":"BIDIRECTIONAL""#) && row.contains(r#""origin":"declared""#)
        );
    }

    #[test]
    fn a_link_that_the_file_has_no_more_rests() {
        let mut control = started(r#"{"sealing":"failover"}"#);
        control.handle_declared(NOW, file(&[west()]));
        assert_eq!(wanted(&control), [Mode::Seal]);
        control.handle_declared(NOW, file(&[]));
        assert_eq!(wanted(&control), []);
        let (name, row, state) = control.links().next().unwrap();
        assert_eq!((name, state), (&west(), LinkState::Paused));
        assert!(!row.is_leaving, "it is not deleted");
        let (_, _, status) = control.mirrors().next().unwrap();
        assert_eq!(status, Status::PendingStopped);
        assert_eq!(control.poll_write(NOW), None);
    }

    /// The mirrors would be others under another prefix: nothing is copied twice, or under a name
    /// that nobody wants any more.
    #[test]
    fn a_prefix_that_is_another_one_stops_the_link_until_it_is_as_it_was() {
        let mut control = started(r#""mirroring""#);
        control.handle_declared(NOW, file(&[west()]));
        control.handle_reach(NOW, &west(), Reach::Available(ClusterId("blue".into())));
        let state = |control: &Control| control.links().next().map(|(_, _, state)| state);
        control.handle_settings(NOW, &west(), Some(settings("")));
        assert_eq!(
            (wanted(&control), state(&control)),
            (vec![Mode::Mirror], Some(LinkState::Active))
        );
        control.handle_settings(NOW, &west(), Some(settings("w.")));
        let Some(LinkState::Failed(fault)) = state(&control) else {
            panic!("{:?}", state(&control))
        };
        assert_eq!((wanted(&control), &*fault.code), (vec![], "INVALID_CONFIG"));
        assert!(fault.text.contains("topic orders is mirrored as orders already"), "{fault:?}");
        control.handle_settings(NOW, &west(), Some(settings("")));
        assert_eq!(
            (wanted(&control), state(&control)),
            (vec![Mode::Mirror], Some(LinkState::Active))
        );
        // or without the mirror
        control.handle_settings(NOW, &west(), Some(settings("w.")));
        let (base, next) = (Offset::new(2).unwrap(), Offset::new(3).unwrap());
        let stamp = Some(Stamp { at: base, writer: WriterTag(9), number: 2 });
        let gone = TailRecord { key: Some("mirror/west/orders".into()), value: None, stamp };
        control.handle_batch(NOW, TailBatch { base, next, records: vec![gone] });
        assert_eq!(state(&control), Some(LinkState::Active));
    }
}
