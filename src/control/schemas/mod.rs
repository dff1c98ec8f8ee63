//! What a schema registry holds, in words: subjects in contexts, versions, ids, references.
//!
//! It never asks a registry: what two of them hold comes in, and the steps from one to the other
//! go out (`plan`).

pub mod book;
pub mod choice;
pub mod exporter;
pub mod memory;
pub mod order;
pub mod plan;
pub mod row;
pub mod step;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

/// The context that is meant where none is named.
pub const DEFAULT_CONTEXT: &str = ".";
/// The most versions of one subject.
pub const VERSIONS_MAX: i32 = 100_000;
/// The mode in which a registry takes ids and versions from outside.
pub const IMPORT: &str = "IMPORT";

/// A subject and the context it is in. Without a subject it is the context itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// `.` or `.name`.
    pub context: String,
    /// The subject, without its context.
    pub subject: String,
}

impl Name {
    /// Reads `subject` or `:.context:subject`.
    pub fn parse(text: &str) -> Name {
        Name::within(DEFAULT_CONTEXT, text)
    }

    /// Reads a name as it is written in `context`: what is not qualified is of that context.
    pub fn within(context: &str, text: &str) -> Name {
        let qualified = text.strip_prefix(':').and_then(|rest| rest.split_once(':'));
        let (context, subject) = match qualified {
            Some((named, subject)) if named.starts_with('.') => (named, subject),
            _ => (context, text),
        };
        Name { context: context.to_owned(), subject: subject.to_owned() }
    }

    /// The context alone.
    pub fn of_context(context: &str) -> Name {
        Name { context: context.to_owned(), subject: String::new() }
    }

    /// How it is written in a schema that lies in `context`.
    pub fn seen_from(&self, context: &str) -> String {
        match self.context == context {
            true => self.subject.clone(),
            false => format!(":{}:{}", self.context, self.subject),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.context == DEFAULT_CONTEXT && !self.subject.is_empty() {
            true => f.write_str(&self.subject),
            false => write!(f, ":{}:{}", self.context, self.subject),
        }
    }
}

/// The number that records carry.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id(pub i32);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The version of a subject, from 1.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub i32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A version of a subject.
pub type Place = (Name, Version);

/// What a schema needs of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// By which name the text calls it.
    pub name: String,
    /// Whose it is, with its context.
    pub subject: Name,
    /// Which of them.
    pub version: Version,
}

impl Reference {
    /// Where it lies.
    pub fn place(&self) -> Place {
        (self.subject.clone(), self.version)
    }
}

/// A schema, wherever it lies.
#[derive(Clone, Debug)]
pub struct Schema {
    /// `AVRO`, `PROTOBUF` or `JSON`.
    pub kind: String,
    /// The schema as it was registered.
    pub text: String,
    /// What it needs of others.
    pub references: Vec<Reference>,
    /// `metadata`, where the registry speaks of it.
    pub metadata: Option<Value>,
    /// `ruleSet`, where the registry speaks of it.
    pub rules: Option<Value>,
}

impl Schema {
    /// Whether both mean the same: some registries write JSON anew, with other blanks or another
    /// order of keys; metadata and rules do not change what a record's bytes say.
    pub fn is_same(&self, other: &Schema) -> bool {
        self.kind == other.kind
            && self.references == other.references
            && (self.text == other.text || self.is_same_json(other))
    }

    fn is_same_json(&self, other: &Schema) -> bool {
        let json = |text: &str| serde_json::from_str::<Value>(text).ok();
        self.kind != "PROTOBUF" && json(&self.text).is_some_and(|it| Some(it) == json(&other.text))
    }
}

/// One version of a subject, as a registry holds it.
#[derive(Clone, Debug)]
pub struct Held {
    /// The schema's id in its context.
    pub id: Id,
    /// The schema.
    pub schema: Schema,
    /// Whether it was deleted softly: still found by its id, and no more by its subject.
    pub is_deleted: bool,
}

/// One subject.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// Its versions, softly deleted ones too.
    pub versions: BTreeMap<Version, Held>,
    /// Its own config, such as `{"compatibility": "FULL"}`.
    pub config: Option<Value>,
}

/// Everything that a registry holds, as far as it was looked at.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Subjects by name.
    pub subjects: BTreeMap<Name, Subject>,
    /// The mode that holds where no other does.
    pub mode: String,
    /// Modes of subjects and of contexts.
    pub modes: BTreeMap<Name, String>,
    /// The compatibility that holds where no subject has one of its own, where it was asked for.
    pub level: Option<String>,
    /// Contexts that were left out, so that nothing is known of them.
    pub left_out: BTreeSet<String>,
}

impl World {
    /// The mode that holds for a subject.
    pub fn mode_of(&self, name: &Name) -> &str {
        let own = self.modes.get(name);
        own.or_else(|| self.modes.get(&Name::of_context(&name.context))).unwrap_or(&self.mode)
    }

    /// Leaves out what lies in contexts that take ids from outside: those are copies, and whoever
    /// puts subjects into a context of their own would make copies of copies.
    pub fn leave_copies(&mut self) {
        let modes = &self.modes;
        let is_copied = |name: &Name| {
            let of_context = Name::of_context(&name.context);
            modes.get(&of_context).is_some_and(|mode| mode == IMPORT)
        };
        let copies: BTreeSet<Name> =
            self.subjects.keys().filter(|name| is_copied(name)).cloned().collect();
        self.subjects.retain(|name, _| !copies.contains(name));
        self.left_out.extend(copies.into_iter().map(|name| name.context));
    }

    /// A version of a subject, if it is there.
    pub fn held(&self, place: &Place) -> Option<&Held> {
        self.subjects.get(&place.0)?.versions.get(&place.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_with_their_contexts() {
        for text in ["orders-value", ":.eu:orders-value", ":notone", ":a:b", "a:b"] {
            assert_eq!(Name::parse(text).to_string(), text);
        }
        assert_eq!(Name::parse(":.:s"), Name::parse("s"));
        assert_eq!(Name::of_context(".").to_string(), ":.:");
        let inner = Name::within(".eu", "s");
        assert_eq!(inner, Name::parse(":.eu:s"));
        assert_eq!((inner.seen_from(".eu"), inner.seen_from(".")), ("s".into(), ":.eu:s".into()));
        assert_eq!(Name::parse("s").seen_from(".eu"), ":.:s");
    }

    #[test]
    fn json_may_be_written_anew_and_protobuf_may_not() {
        let of = |kind: &str, text: &str| Schema {
            kind: kind.to_owned(),
            text: text.to_owned(),
            references: Vec::new(),
            metadata: None,
            rules: None,
        };
        let (one, other) = (r#"{"a":1,"b":2}"#, r#"{ "b": 2, "a": 1 }"#);
        assert!(of("AVRO", one).is_same(&of("AVRO", other)));
        assert!(!of("AVRO", one).is_same(&of("JSON", one)));
        assert!(!of("PROTOBUF", one).is_same(&of("PROTOBUF", other)));
        assert!(!of("AVRO", "x").is_same(&of("AVRO", "y")));
    }
}
