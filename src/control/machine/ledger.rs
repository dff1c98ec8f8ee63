//! Ledgers of ACLs: rows that are read, and rows that a link's task wants written.
//!
//! It never decides which: `control/acls/plan` does.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::control::acls::Binding;
use crate::control::acls::Kind;
use crate::control::acls::Ledger;
use crate::control::acls::key_text;
use crate::control::facts::MirrorKey;
use crate::control::machine::Control;
use crate::control::row::Key;
use crate::control::row::Row;
use crate::ids::LinkName;
use crate::ids::TimestampMs;

impl Control {
    /// What a link's ledger is to say from now on, in the place of what it was to say before.
    pub fn handle_ledger(
        &mut self,
        now: TimestampMs,
        link: &LinkName,
        rows: BTreeMap<Binding, Option<Kind>>,
    ) {
        if self.links.contains_key(link) && self.acts_on(link) {
            self.books.want(link, rows);
        }
        self.look_through(now);
    }

    /// Every link with a ledger.
    pub fn ledgers(&self) -> impl Iterator<Item = (&LinkName, &Arc<Ledger>)> {
        self.books.ledgers()
    }

    /// Whether a link's ledger is what it is to be, and no row of it can be on its way, neither of
    /// ours nor of who had the role before: what is done at the destination rests on it.
    pub fn is_ledger_settled(&self, link: &LinkName) -> bool {
        let is_its = |text: &str| matches!(Key::parse(text), Some(Key::Acl(of, _)) if of == *link);
        let mut on_its_way = self.pending.iter().flat_map(|pending| &pending.write.rows);
        let is_known = self.is_proven || self.books.is_empty(link);
        is_known && self.books.is_settled(link) && !on_its_way.any(|(text, _)| is_its(text))
    }

    /// Others have got, or were refused, what a link held back of their rights on a mirror topic.
    pub fn handle_lifted(&mut self, now: TimestampMs, mirror: &MirrorKey) {
        let is_free = self.is_free(mirror);
        if let Some(track) = self.tracks.get_mut(mirror).filter(|track| !track.is_lifted) {
            track.is_lifted = is_free;
            self.dirty.insert(mirror.clone());
        }
        self.look_through(now);
    }

    /// Whether whoever has the right may change a mirror topic: nothing of ours lands any more.
    pub fn is_free(&self, mirror: &MirrorKey) -> bool {
        self.topic(mirror).is_some_and(|topic| topic.is_free())
    }

    pub(super) fn reload_acl(&mut self, link: &LinkName, key: String, row: Option<Row>) {
        match row {
            Some(Row::Acl(row)) => self.books.put(link, key, row),
            _ => self.books.remove(link, &key),
        }
        self.dirty_links.insert(link.clone());
    }

    pub(super) fn gather_ledgers(&mut self, rows: &mut Vec<(String, Option<String>)>) {
        let room = self.rows_max.saturating_sub(rows.len());
        let due = self.books.due(room);
        let is_left = |text: &str| Key::parse(text).is_some_and(|key| self.unread(&key).is_some());
        rows.extend(due.into_iter().filter(|(text, _)| !is_left(text)));
        if rows.is_empty() && !self.is_proven {
            rows.extend(self.proof());
        }
    }

    /// A row of a ledger as it stands: written once more, it shows that it stands so.
    fn proof(&self) -> Option<(String, Option<String>)> {
        let mut own = self.books.ledgers().filter(|(link, _)| self.acts_on(link));
        let (link, ledger) = own.next()?;
        let text = Key::Acl(link.clone(), key_text(ledger.keys().next()?)).to_string();
        let value = self.fold.get(&text)?.to_owned();
        Some((text, Some(value)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::control::acls::AclSync;
    use crate::control::acls::Operation;
    use crate::control::acls::PatternType;
    use crate::control::acls::Permission;
    use crate::control::acls::ResourceType;
    use crate::control::facts::Do;
    use crate::control::facts::Done;
    use crate::control::facts::WriteId;
    use crate::control::filter::TopicFilter;
    use crate::control::journal::Stamp;
    use crate::control::journal::TailBatch;
    use crate::control::journal::TailRecord;
    use crate::control::journal::WriterTag;
    use crate::control::link::LinkSettings;
    use crate::control::link::LinkState;
    use crate::control::machine::Write;
    use crate::control::rename::Rename;
    use crate::control::start::StartSpec;
    use crate::control::task::configs::ConfigSync;
    use crate::control::topic::Status;
    use crate::ids::Offset;
    use crate::ids::TopicName;

    pub(in crate::control::machine) const NOW: TimestampMs = TimestampMs(1_000);
    const LINK: &str = r#"{"v":1,"id":"AAAAAAAAQACAAAAAAAAAAA","mode":"DESTINATION",
        "origin":"commanded","source_cluster":null,"configs":{},"generation":1,"paused":false,
        "leaving":LEAVES}"#;
    const MIRROR: &str = r#"{"v":1,"source_topic":"orders",
        "source_id":"01010101010101010101010101010101",
        "mirror_id":"02020202020202020202020202020202","partitions":1,"generation":0,
        "stage":{"sealing":"promote"},"since_ms":1,"paused":false,"made_by":"order",
        "adopted":null,"starts":{},"owed":{},"configs":{},"replicas":null,
        "sealed":{"0":{"end":7,"source_next":7}},"deadline_ms":null}"#;

    pub(in crate::control::machine) fn dr() -> LinkName {
        LinkName("dr".into())
    }

    fn binding() -> Binding {
        Binding {
            resource: ResourceType::Topic,
            pattern: PatternType::Literal,
            name: "orders".into(),
            principal: "User:a".into(),
            host: "*".into(),
            operation: Operation::Write,
            permission: Permission::Allow,
        }
    }

    fn batch(control: &Control, rows: Vec<(String, Option<String>)>, stamp: Stamp) -> TailBatch {
        let base = control.fold().end();
        let next = Offset::new(base.get() + rows.len() as i64).unwrap();
        let records = rows.into_iter().map(|(key, value)| TailRecord {
            key: Some(key),
            value,
            stamp: Some(stamp),
        });
        TailBatch { base, next, records: records.collect() }
    }

    /// Somebody wrote these.
    fn read(control: &mut Control, rows: &[(&str, &str)]) {
        let stamp = Stamp { at: control.fold().end(), writer: WriterTag(9), number: 1 };
        let rows = rows.iter().map(|(key, value)| ((*key).into(), Some((*value).into())));
        let batch = batch(control, rows.collect(), stamp);
        control.handle_batch(NOW, batch);
    }

    /// What it writes, read back.
    fn written(control: &mut Control) -> Vec<String> {
        let mut keys = Vec::new();
        while let Some(Write { id: WriteId(_), stamp, rows }) = control.poll_write(NOW) {
            keys.extend(rows.iter().map(|(key, _)| key.clone()));
            let batch = batch(control, rows, stamp);
            control.handle_batch(NOW, batch);
        }
        keys
    }

    pub(in crate::control::machine) fn started(link: &str) -> Control {
        let mut control = Control::new(WriterTag(1), 1);
        read(&mut control, &[("link/dr", link)]);
        control.handle_role(NOW, true);
        control.handle_level(NOW);
        control
    }

    pub(in crate::control::machine) fn link(leaves: bool) -> String {
        LINK.replace("LEAVES", &leaves.to_string())
    }

    #[test]
    fn a_ledger_is_written_row_by_row_and_read_back() {
        let mut control = started(&link(false));
        let two = Binding { operation: Operation::Read, ..binding() };
        let rows = [(binding(), Some(Kind::Withheld)), (two, Some(Kind::Copied))];
        control.handle_ledger(NOW, &dr(), rows.clone().into());
        let keys = written(&mut control);
        assert_eq!(keys.len(), 2);
        assert!(keys[0].starts_with("acl/dr/TOPIC:LITERAL:orders:User%3Aa:*:"), "{keys:?}");
        let (of, ledger) = control.ledgers().next().unwrap();
        assert_eq!((of, ledger.len()), (&dr(), 2));
        control.handle_ledger(NOW, &LinkName("none".into()), rows.into());
        assert!(written(&mut control).is_empty(), "of a link that is not there");
        read(&mut control, &[("acl/dr/TOPIC:x", "{}")]);
        let (_, _, state) = control.links().next().unwrap();
        assert!(matches!(state, LinkState::Failed(_)), "{state:?}");
    }

    #[test]
    fn a_link_goes_after_its_ledger() {
        let mut control = started(&link(false));
        control.handle_ledger(NOW, &dr(), [(binding(), Some(Kind::Guard))].into());
        written(&mut control);
        read(&mut control, &[("link/dr", &link(true))]);
        assert!(written(&mut control).is_empty(), "what it granted is still to be seen to");
        control.handle_ledger(NOW, &dr(), [(binding(), None)].into());
        assert_eq!(written(&mut control).last().map(String::as_str), Some("link/dr"));
        assert_eq!(control.links().count(), 0);
    }

    /// Others have their rights before a topic is said to be stopped.
    #[test]
    fn a_topic_is_stopped_when_its_rights_are_given() {
        for (is_enabled, waits) in [(true, true), (false, false)] {
            let mut control = started(&link(false));
            let acls = AclSync { is_enabled, ..AclSync::default() };
            control.handle_settings(NOW, &dr(), Some(settings(acls)));
            read(&mut control, &[("mirror/dr/orders", MIRROR)]);
            let key = (dr(), TopicName::new("orders").unwrap());
            assert!(control.is_free(&key) || !waits);
            let keys = written(&mut control);
            assert_eq!(keys.is_empty(), waits, "{keys:?}");
            control.handle_lifted(NOW, &key);
            written(&mut control);
            let (_, status, _) = control.mirror(&key).unwrap();
            assert_eq!(status, Status::Stopped);
        }
    }

    /// Waiting costs the destination nothing: what was set is not set again meanwhile.
    #[test]
    fn configs_are_given_back_once_while_rights_are_waited_for() {
        let mut control = started(&link(false));
        let acls = AclSync { is_enabled: true, ..AclSync::default() };
        control.handle_settings(NOW, &dr(), Some(settings(acls)));
        let owes = MIRROR.replace(r#""owed":{}"#, r#""owed":{"retention.ms":"7"}"#);
        read(&mut control, &[("mirror/dr/orders", &owes)]);
        let (id, action) = control.poll_do().expect("it is owed something");
        let Do::GiveBack { owed, .. } = action else { panic!("{action:?}") };
        control.handle_done(NOW, id, Ok(Done::GivenBack(owed)));
        assert_eq!(control.poll_do(), None);
        let key = (dr(), TopicName::new("orders").unwrap());
        control.handle_lifted(NOW, &key);
        written(&mut control);
        let (row, status, _) = control.mirror(&key).unwrap();
        assert_eq!((status, row.owed.len(), row.at_stop.len()), (Status::Stopped, 0, 0));
        assert_eq!(control.poll_do(), None);
    }

    pub(in crate::control::machine) fn settings(acls: AclSync) -> LinkSettings {
        LinkSettings {
            rename: Rename::default(),
            topics: TopicFilter::default(),
            named: TopicFilter::default(),
            start: StartSpec::Earliest,
            replicas: None,
            look_every_ms: 1_000,
            is_paused: false,
            tasks: BTreeSet::new(),
            configs: ConfigSync::default(),
            groups: None,
            acls,
        }
    }
}
