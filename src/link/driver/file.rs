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

use crate::cluster;
use crate::control::order::NewLink;
use crate::ids::LinkName;
use crate::link::LinkSettings;
use crate::link::Settings;
use crate::link::member;
use crate::link::registry::Event;
use crate::settings::link::Defaults;

/// What the driver is told at its start.
#[derive(Clone, Debug)]
pub struct Options {
    /// How to reach the destination.
    pub destination: cluster::Options,
    /// What a link's own properties do not say.
    pub defaults: Defaults,
    /// The group of instances; `None` where this one is alone.
    pub group: Option<member::Options>,
    /// The links of the config file. No link that was created by order may mirror into what they
    /// take.
    pub links: Vec<LinkSettings>,
}

impl Options {
    /// What the settings of the process say.
    pub fn of(settings: &Settings, defaults: Defaults) -> Options {
        let (destination, links) = (settings.destination.clone(), settings.links.clone());
        Options { destination, defaults, group: settings.group.clone(), links }
    }
}

/// Where a link's tasks find what the file says of it now; `None` where it says nothing.
pub(in crate::link) type Told = watch::Receiver<Option<LinkSettings>>;

/// What the file says of all its links.
#[derive(Debug, Default)]
pub(super) struct File(BTreeMap<LinkName, watch::Sender<Option<LinkSettings>>>);

impl File {
    /// These links, and no others.
    pub fn new(links: Vec<LinkSettings>) -> File {
        let mut file = File::default();
        file.take(links);
        file
    }

    /// It was read again, and has these links now, and no others.
    pub fn take(&mut self, links: Vec<LinkSettings>) {
        let mut new: BTreeMap<LinkName, LinkSettings> =
            links.into_iter().map(|link| (link.name.clone(), link)).collect();
        for (name, told) in &self.0 {
            told.send_replace(new.remove(name));
        }
        self.0.extend(new.into_iter().map(|(name, link)| (name, watch::Sender::new(Some(link)))));
    }

    /// What it says of one, now and later.
    pub fn told(&mut self, link: &LinkName) -> Told {
        self.0.entry(link.clone()).or_insert_with(|| watch::Sender::new(None)).subscribe()
    }

    /// Whether it has the link now.
    pub fn has(&self, link: &LinkName) -> bool {
        self.0.get(link).is_some_and(|told| told.borrow().is_some())
    }

    /// Its links.
    pub fn links(&self) -> Vec<LinkSettings> {
        self.0.values().filter_map(|told| told.borrow().clone()).collect()
    }

    /// How many replicas its links ask for at most; none where each leaves that to the destination.
    pub fn replicas(&self) -> Option<i16> {
        let factors = self.links().into_iter().map(|link| link.link.replication_factor);
        factors.filter(|factor| *factor > 0).max()
    }

    /// What the control machine is told of it.
    pub fn declared(&self) -> Event {
        let new = |link: LinkSettings| {
            let (mode, source, configs) = (link.link.mode, None, BTreeMap::new());
            // used only where the journal has no row of the link yet
            let id = new_id().unwrap_or_default();
            (link.name, NewLink { id, mode, source, configs, is_declared: true })
        };
        Event::Declared(self.links().into_iter().map(new).collect())
    }
}

/// A new `cluster_link_id`: 22 letters, thrown; `None` where the system gives no random bytes.
pub fn new_id() -> Option<String> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}
