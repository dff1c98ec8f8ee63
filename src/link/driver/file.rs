//! Links of the config file that the driver runs: what the control machine is told of them, and
//! where their tasks find their settings.
//!
//! It never reads the file, and no row of the journal holds what it says.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SecureRandom;
use ring::rand::SystemRandom;
use tokio::sync::watch;

use crate::control::order::NewLink;
use crate::ids::LinkName;
use crate::link::LinkSettings;
use crate::link::registry::Event;

/// Where a link's tasks find what the file says of it.
pub(in crate::link) type Told = watch::Receiver<LinkSettings>;

/// What the file says of all its links.
#[derive(Debug, Default)]
pub(super) struct File(BTreeMap<LinkName, watch::Sender<LinkSettings>>);

impl File {
    /// These links, and no others.
    pub fn new(links: Vec<LinkSettings>) -> File {
        let told = |link: LinkSettings| (link.name.clone(), watch::Sender::new(link));
        File(links.into_iter().map(told).collect())
    }

    /// What it says of one, now and later.
    pub fn told(&self, link: &LinkName) -> Option<Told> {
        self.0.get(link).map(watch::Sender::subscribe)
    }

    /// Its links.
    pub fn names(&self) -> Vec<LinkName> {
        self.0.keys().cloned().collect()
    }

    /// What the control machine is told first of all; nothing where no link is declared.
    pub fn declared(&self) -> Option<Event> {
        let new = |(name, told): (&LinkName, &watch::Sender<LinkSettings>)| {
            let (mode, source, configs) = (told.borrow().link.mode, None, BTreeMap::new());
            // used only where the journal has no row of the link yet
            let id = new_id().unwrap_or_default();
            (name.clone(), NewLink { id, mode, source, configs, is_declared: true })
        };
        let all: BTreeMap<LinkName, NewLink> = self.0.iter().map(new).collect();
        (!all.is_empty()).then_some(Event::Declared(all))
    }
}

/// A new `cluster_link_id`: 22 letters, thrown; `None` where the system gives no random bytes.
pub fn new_id() -> Option<String> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}
