//! What is gathered for one write, and which intents must wait for another one.
//!
//! It never decides.

use std::collections::BTreeSet;

use crate::control::decide::Rows;
use crate::control::facts::MirrorKey;
use crate::control::machine::Intent;
use crate::control::machine::exporters;
use crate::control::order::Order;
use crate::control::order::Outcome;
use crate::control::order::Ticket;
use crate::control::order::Verb;
use crate::control::row::Key;
use crate::ids::LinkName;
use crate::ids::TopicName;

/// What is gathered for one write.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) rows: Rows,
    pub(super) exporters: exporters::Gathered,
    /// Rows that orders rest on, changed or not.
    pub(super) touched: BTreeSet<Key>,
    pub(super) intents: Vec<Intent>,
    pub(super) rest: Option<Intent>,
    pub(super) answers: Vec<(Ticket, Vec<Outcome>)>,
    pub(super) waiting: Vec<(MirrorKey, Ticket)>,
}

impl Gathered {
    pub(super) fn len(&self) -> usize {
        self.rows.len() + self.exporters.rows.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether an intent's rows are among those that are gathered already.
    pub(super) fn holds_up(&self, intent: &Intent) -> bool {
        match intent {
            Intent::Exporter(_, order) => self.exporters.touched.contains(&order.name),
            intent => intent.rests_on(&self.touched),
        }
    }
}

impl Intent {
    /// How many rows it changes at most.
    pub(super) fn rows(&self) -> usize {
        match self {
            Intent::Exporter(_, order) => exporters::rows(order),
            Intent::Order(_, Order { verb: Verb::Mirrors(topics, _), .. }, _) => topics.len(),
            _ => 1,
        }
    }

    /// Whether one of its rows is among these.
    pub(super) fn rests_on(&self, touched: &BTreeSet<Key>) -> bool {
        let mirror = |link: &LinkName, topic: &TopicName| {
            touched.contains(&Key::Mirror(link.clone(), topic.clone()))
        };
        match self {
            Intent::Begin(key, ..) => mirror(&key.0, &key.1),
            Intent::Exporter(..) => false,
            Intent::Order(_, order, _) => match &order.verb {
                Verb::Mirrors(topics, _) => topics.iter().any(|topic| mirror(&order.link, topic)),
                Verb::CreateMirror(_) => false,
                _ => touched.contains(&Key::Link(order.link.clone())),
            },
        }
    }
}
