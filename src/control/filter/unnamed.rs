//! Topics that are mirrored by their whole name alone, or never: internal ones, those of a Streams
//! application's own state, other tools' own.
//!
//! It never looks at a filter; a rule is a value that a name is held against.

use std::fmt;

/// The brokers' own logs: a copy of one of them would be obeyed by the destination.
pub(super) const NEVER: &[&str] = &[
    "__consumer_offsets",
    "__transaction_state",
    "__share_group_state",
    "__cluster_metadata",
    "__remote_log_metadata",
];
/// isolog's own journal (`control::journal::TOPIC`): a copy of another one's would be obeyed too.
const JOURNAL: &str = "__isolog";

/// How a name shows whose it is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Where {
    Begins,
    Ends,
    Is,
}

/// A kind of topic that no prefix and no expression takes unless it spells what shows the kind.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Unnamed {
    place: Where,
    text: &'static str,
    whose: &'static str,
}

const fn unnamed(place: Where, text: &'static str, whose: &'static str) -> Unnamed {
    Unnamed { place, text, whose }
}

const INTERNAL: &str = "an internal topic";
/// A standby application at the destination makes and writes its own.
const STREAMS: &str = "the state of a Streams application, which makes its own";
const TOOLS: &str = "a topic of MirrorMaker 2 or Kafka Connect";

/// As MirrorMaker 2's `DefaultTopicFilter` and Cluster Linking leave them out.
const UNNAMED: &[Unnamed] = &[
    unnamed(Where::Begins, "__", INTERNAL),
    unnamed(Where::Begins, "_schemas", INTERNAL),
    unnamed(Where::Begins, "_confluent", INTERNAL),
    unnamed(Where::Ends, "-changelog", STREAMS),
    unnamed(Where::Ends, "-repartition", STREAMS),
    unnamed(Where::Ends, ".internal", TOOLS),
    unnamed(Where::Ends, "-internal", TOOLS),
    unnamed(Where::Is, "heartbeats", TOOLS),
    unnamed(Where::Is, "connect-configs", TOOLS),
    unnamed(Where::Is, "connect-offsets", TOOLS),
    unnamed(Where::Is, "connect-status", TOOLS),
];

impl Unnamed {
    /// The kind of a topic that is left out unless it is named.
    pub fn of(name: &str) -> Option<&'static Unnamed> {
        UNNAMED.iter().find(|kind| kind.is(name))
    }

    /// The kind of every topic that begins so, where all of them are of one.
    pub fn of_all(start: &str) -> Option<&'static Unnamed> {
        UNNAMED.iter().find(|kind| kind.place == Where::Begins && kind.is(start))
    }

    fn is(&self, name: &str) -> bool {
        match self.place {
            Where::Begins => name.starts_with(self.text),
            Where::Ends => name.ends_with(self.text),
            Where::Is => name == self.text,
        }
    }

    /// Whether a prefix shows that it means topics of this kind.
    pub fn is_named_by_prefix(&self, start: &str) -> bool {
        match self.place {
            Where::Begins | Where::Is => start.starts_with(self.text),
            Where::Ends => start.contains(self.text),
        }
    }

    /// Whether an expression, written so, shows that it means topics of this kind.
    pub fn is_spelt(&self, expression: &str) -> bool {
        expression.replace('\\', "").contains(self.text)
    }
}

impl fmt::Display for Unnamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.place {
            Where::Begins => "begins with ",
            Where::Ends => "ends in ",
            Where::Is => "is ",
        };
        write!(f, "its name {place}{} ({})", self.text, self.whose)
    }
}

/// Whose log a topic is that no order and no filter may touch; `None` for all others.
pub fn owner(name: &str) -> Option<&'static str> {
    match name {
        JOURNAL => Some("isolog's own journal"),
        _ => NEVER.contains(&name).then_some("the brokers' own log"),
    }
}
