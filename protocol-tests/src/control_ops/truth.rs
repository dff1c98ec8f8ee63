//! What the journal says, by a model of ten lines: the rows as they are written, and as they are
//! read.
//!
//! It never asks the machine what is right, and reads each row once.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use isolog::control::facts::MirrorKey;
use isolog::control::journal::TailBatch;
use isolog::control::row::Key;
use isolog::control::row::LinkRow;
use isolog::control::row::MirrorRow;
use isolog::control::row::Row;
use isolog::ids::LinkName;

/// The rows that count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    texts: BTreeMap<String, String>,
    links: BTreeMap<LinkName, LinkRow>,
    mirrors: BTreeMap<MirrorKey, MirrorRow>,
    acls: BTreeSet<Key>,
}

/// What a batch has put in the place of a mirror topic's row.
pub struct Change {
    /// Whose row.
    pub key: MirrorKey,
    /// Its link's row before.
    pub link: Option<LinkRow>,
    /// Its row before.
    pub was: Option<MirrorRow>,
    /// Its row now.
    pub is: Option<MirrorRow>,
}

impl Truth {
    /// The ten lines: a batch counts where it was decided. Says whether it does.
    pub fn apply(&mut self, batch: &TailBatch) -> bool {
        let stamps: Vec<_> = batch.records.iter().map(|record| record.stamp).collect();
        let counts = stamps
            .iter()
            .all(|stamp| stamp.is_some_and(|stamp| stamp.at == batch.base) && *stamp == stamps[0]);
        for record in batch.records.iter().filter(|_| counts) {
            self.put(record.key.as_ref().expect("each has one"), record.value.as_deref());
        }
        counts
    }

    /// The same, and what came of it.
    pub fn apply_told(&mut self, batch: &TailBatch) -> (bool, Vec<Change>) {
        let keys = batch.records.iter().filter_map(|record| Key::parse(record.key.as_ref()?));
        let keys: BTreeSet<MirrorKey> = keys
            .filter_map(|key| match key {
                Key::Mirror(link, name) => Some((link, name)),
                _ => None,
            })
            .collect();
        let before: Vec<_> = keys
            .into_iter()
            .map(|key| {
                let (link, row) = (self.link(&key.0).cloned(), self.mirror(&key).cloned());
                (key, link, row)
            })
            .collect();
        let counts = self.apply(batch);
        let changed = before.into_iter().filter_map(|(key, link, was)| {
            let is = self.mirror(&key).cloned();
            (was != is).then_some(Change { key, link, was, is })
        });
        (counts, changed.collect())
    }

    fn put(&mut self, text: &str, value: Option<&str>) {
        match value {
            Some(value) => drop(self.texts.insert(text.to_owned(), value.to_owned())),
            None => drop(self.texts.remove(text)),
        }
        let Some(key) = Key::parse(text) else { return };
        let row = value.map(|value| Row::parse(&key, value).expect("it is ours"));
        match (key, row) {
            (Key::Link(name), Some(Row::Link(row))) => drop(self.links.insert(name, row)),
            (Key::Link(name), _) => drop(self.links.remove(&name)),
            (Key::Mirror(link, name), Some(Row::Mirror(row))) => {
                drop(self.mirrors.insert((link, name), row));
            }
            (Key::Mirror(link, name), _) => drop(self.mirrors.remove(&(link, name))),
            (key @ Key::Acl(..), Some(_)) => drop(self.acls.insert(key)),
            (key @ Key::Acl(..), None) => drop(self.acls.remove(&key)),
        }
    }

    /// As they are written.
    pub fn texts(&self) -> &BTreeMap<String, String> {
        &self.texts
    }

    /// A link's row.
    pub fn link(&self, name: &LinkName) -> Option<&LinkRow> {
        self.links.get(name)
    }

    /// A mirror topic's row.
    pub fn mirror(&self, key: &MirrorKey) -> Option<&MirrorRow> {
        self.mirrors.get(key)
    }

    /// All links.
    pub fn links(&self) -> impl Iterator<Item = (&LinkName, &LinkRow)> {
        self.links.iter()
    }

    /// All mirror topics.
    pub fn mirrors(&self) -> impl Iterator<Item = (&MirrorKey, &MirrorRow)> {
        self.mirrors.iter()
    }

    /// A row whose link has none.
    pub fn orphan(&self) -> Option<Key> {
        let mirrors = self.mirrors.keys().find(|key| !self.links.contains_key(&key.0));
        let acl = self.acls.iter().find(|key| !self.links.contains_key(key.link()));
        let mirror = mirrors.map(|(link, name)| Key::Mirror(link.clone(), name.clone()));
        mirror.or_else(|| acl.cloned())
    }
}
