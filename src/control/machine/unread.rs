//! Rows of the journal that cannot be read: what they are about stands still, and nothing is
//! written over them.
//!
//! It never guesses at what one says: a later isolog, or a person, knows.

use std::collections::BTreeMap;

use crate::control::facts::MirrorKey;
use crate::control::machine::Control;
use crate::control::machine::Intent;
use crate::control::order::Refusal;
use crate::control::row::Key;
use crate::control::row::Unreadable;
use crate::control::topic::Fault;
use crate::ids::LinkName;

impl Unreadable {
    /// The same for people, by its code.
    pub fn fault(&self) -> Fault {
        Fault { code: "JOURNAL_ROW_UNREADABLE".to_owned(), text: self.to_string() }
    }
}

impl Control {
    /// Links whose own row cannot be read, so that none stands for them: why.
    pub fn unread_links(&self) -> BTreeMap<LinkName, Fault> {
        let rowless = self.link_tracks.iter().filter(|(link, _)| !self.links.contains_key(*link));
        let first = rowless.filter_map(|(link, track)| {
            track.unreadable.values().next().map(|why| (link.clone(), why.fault()))
        });
        first.collect()
    }

    /// Why a row is not to be written.
    pub(super) fn unread(&self, key: &Key) -> Option<&Unreadable> {
        let rows = &self.link_tracks.get(key.link())?.unreadable;
        if rows.is_empty() { None } else { rows.get(&key.to_string()) }
    }

    /// Why nothing becomes of a mirror topic: its row says something else by now, or its link's
    /// does.
    pub(super) fn unread_of(&self, key: &MirrorKey) -> Option<&Unreadable> {
        let own = || self.unread(&Key::Mirror(key.0.clone(), key.1.clone()));
        self.unread(&Key::Link(key.0.clone())).or_else(own)
    }

    /// Why an order is not decided: it would be on what the link was.
    pub(super) fn undecidable(&self, intent: &Intent) -> Option<Refusal> {
        let why = match intent {
            Intent::Begin(key, ..) => self.unread_of(key),
            Intent::Exporter(..) => None,
            Intent::Order(_, order, _) => self.unread(&Key::Link(order.link.clone())),
        };
        why.map(|why| Refusal::unavailable(why.to_string()))
    }
}
