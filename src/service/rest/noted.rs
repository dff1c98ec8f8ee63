//! What the log and events say of an order: who gave it, what it names, dry or not, and what came
//! of it for each topic that it was refused for.
//!
//! It never says anything of an order's values: they may be secrets.

use crate::service::auth::Principal;
use crate::service::auth::Right;
use crate::service::events::Event;
use crate::service::events::Events;
use crate::service::events::Kind;
use crate::service::events::Ordered;

use super::error::Problem;
use super::request::shown;

/// So many topics stand in one line and one event; an order that names more has more of them.
const TOPICS_MAX: usize = 50;

/// So many groups or configs of an order are named.
const NAMES_MAX: usize = 50;

/// The most letters of what a path names: of a link and a topic or a config.
const SUBJECT_LETTERS_MAX: usize = 512;

/// A topic's name, and why the order is not obeyed for it.
type Topic = (String, Option<String>);

/// The mirror topics that an order is about.
#[derive(Debug, Default)]
pub struct Noted {
    /// The link, as it was sent.
    pub link: Option<String>,
    /// Their names as they were sent, or as the pattern found them, with what each was refused for.
    pub topics: Vec<Topic>,
    /// The pattern.
    pub pattern: Option<String>,
    /// What else it names: consumer groups, configs.
    pub names: Vec<String>,
}

impl Noted {
    /// Consumer groups or configs, the first ones where they are many.
    pub fn mention(&mut self, names: &[String]) {
        self.names = names.iter().take(NAMES_MAX).map(|name| named(name)).collect();
    }

    /// Topics that nothing has come of yet.
    pub fn name<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        self.topics = names.into_iter().map(|name| (name.to_owned(), None)).collect();
    }

    /// The order as it is told, in several where it names many topics: each stands in one.
    pub fn orders(
        &self,
        (name, right): (&str, Right),
        (who, subject): (Option<&Principal>, &str),
        is_dry: bool,
        done: Result<u16, &Problem>,
    ) -> Vec<Event> {
        if right == Right::Read {
            return Vec::new();
        }
        let (status, whole) = match done {
            Ok(status) => (status, ""),
            Err(problem) => (problem.status(), problem.text.as_str()),
        };
        let order = Ordered {
            who: who.map_or("nobody", |who| &who.name).to_owned(),
            name: name.to_owned(),
            subject: subject.chars().take(SUBJECT_LETTERS_MAX).collect(),
            pattern: self.pattern.as_deref().map(shown).unwrap_or_default(),
            names: self.names.clone(),
            dry: is_dry,
            status,
            ..Ordered::default()
        };
        // one that names no topic is told too
        let is_bare = self.topics.is_empty();
        let mut parts: Vec<&[Topic]> = self.topics.chunks(TOPICS_MAX).collect();
        parts.extend(is_bare.then_some(&[] as &[Topic]));
        parts.into_iter().map(|some| self.part(&order, some, whole)).collect()
    }

    fn part(&self, order: &Ordered, some: &[Topic], whole: &str) -> Event {
        let refusals = some.iter().filter_map(|(_, why)| why.as_deref());
        let order = Ordered {
            topics: some.iter().map(|(name, _)| plain(name)).collect(),
            refused: refusals.clone().count() as u64,
            ..order.clone()
        };
        let text: Vec<&str> = Some(whole).into_iter().chain(refusals).collect();
        let reason = text.join(" ").trim_start().to_owned();
        let link = self.link.as_deref().map(plain);
        let topic = order.topics.first().filter(|_| some.len() == 1).cloned();
        let order = Some(order);
        Event { kind: Kind::Order, link, topic, reason, order, ..Event::default() }
    }
}

/// Writes the line, and tells it to those who follow events.
pub fn tell(event: Event, events: &Events) {
    if let Some(Ordered { who, name, subject, topics, pattern, names, dry, status, refused }) =
        &event.order
    {
        let (order, text) = (name, &event.reason);
        let (topics, names) = (topics.join(","), names.join(","));
        tracing::info!(
            who, order, subject, topics, pattern, names, dry, status, refused, text, "an order"
        );
    }
    events.tell(event);
}

/// The name of a group or a config, as it is where nothing in it could deceive.
fn named(name: &str) -> String {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"._-=".contains(&byte);
    match name.len() <= SUBJECT_LETTERS_MAX && name.bytes().all(is_usual) {
        true => name.to_owned(),
        false => shown(name),
    }
}

/// A name as it is, where it could be a topic's.
fn plain(name: &str) -> String {
    match crate::ids::TopicName::new(name) {
        Some(_) => name.to_owned(),
        None => shown(name),
    }
}
