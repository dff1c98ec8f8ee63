//! Rows of the journal about exporters: those that were created by order, and what each has copied.
//!
//! It never holds a secret in the open: properties are as they may be written where others read.
//!
//! | key | value |
//! | --- | --- |
//! | `exporter/NAME` | [`ExporterRow`] |
//! | `exporter/NAME/SUBJECT` | [`Remembered`]; the subject is the destination's |

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use crate::control::row::Unreadable;
use crate::control::row::VERSION;

use super::Name;
use super::Version;
use super::choice::ContextType;

/// What keys begin with.
const KIND: &str = "exporter/";

/// The name of an exporter: no slash is in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExporterName(pub Arc<str>);

impl fmt::Display for ExporterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExporterKey {
    /// Of an exporter.
    Exporter(ExporterName),
    /// Of a subject at the destination that it copies.
    Subject(ExporterName, Name),
}

impl ExporterKey {
    /// Reads what `Display` writes; `None` for keys of other kinds.
    pub fn parse(text: &str) -> Option<ExporterKey> {
        let rest = text.strip_prefix(KIND)?;
        let (name, subject) = rest.split_once('/').map_or((rest, None), |(a, b)| (a, Some(b)));
        let key = ExporterName(name.into());
        match subject {
            _ if name.is_empty() => None,
            None => Some(ExporterKey::Exporter(key)),
            Some(subject) => Some(ExporterKey::Subject(key, Name::parse(subject))),
        }
    }

    /// Reads the value under a key, only to see whether it is one.
    pub fn check(&self, text: &str) -> Result<(), Unreadable> {
        match self {
            ExporterKey::Exporter(_) => ExporterRow::parse(self, text).map(drop),
            ExporterKey::Subject(..) => Remembered::parse(self, text).map(drop),
        }
    }

    fn wrong(&self, error: &serde_json::Error) -> Unreadable {
        let why = format!("it is no such JSON at line {}, column {}", error.line(), error.column());
        Unreadable::Wrong { key: self.to_string(), why }
    }

    /// A value of a later version is never guessed at.
    fn read<'a, T: Deserialize<'a>>(&self, text: &'a str) -> Result<T, Unreadable> {
        let version: Versioned = serde_json::from_str(text).map_err(|error| self.wrong(&error))?;
        if version.v != VERSION {
            return Err(Unreadable::Newer { key: self.to_string(), version: version.v });
        }
        serde_json::from_str(text).map_err(|error| self.wrong(&error))
    }
}

impl fmt::Display for ExporterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExporterKey::Exporter(name) => write!(f, "{KIND}{name}"),
            ExporterKey::Subject(name, subject) => write!(f, "{KIND}{name}/{subject}"),
        }
    }
}

/// What an exporter copies, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// `subjects`, as they are written.
    pub subjects: Vec<String>,
    /// `subjectRenameFormat`.
    pub format: String,
    /// `contextType`.
    pub context_type: ContextType,
    /// The context of CUSTOM; empty for the others.
    pub context: String,
    /// How the registries are asked; secrets are sealed.
    pub config: BTreeMap<String, String>,
}

/// What is remembered of an exporter that was created by order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExporterRow {
    /// What it copies, and where to.
    pub wish: Wish,
    /// Grows with each change of that.
    pub generation: u64,
    /// How often it was reset: each time it begins anew.
    pub resets: u64,
    /// Paused by an order.
    pub is_paused: bool,
    /// Being deleted: what it remembers goes, then its row.
    pub is_leaving: bool,
}

impl ExporterRow {
    /// As the journal has it.
    pub fn to_json(&self) -> String {
        json(&ExporterText {
            v: VERSION,
            subjects: self.wish.subjects.clone(),
            format: self.wish.format.clone(),
            context_type: self.wish.context_type,
            context: self.wish.context.clone(),
            config: self.wish.config.clone(),
            generation: self.generation,
            resets: self.resets,
            paused: self.is_paused,
            leaving: self.is_leaving,
        })
    }

    /// Reads the value under a key.
    pub fn parse(key: &ExporterKey, text: &str) -> Result<ExporterRow, Unreadable> {
        let read: ExporterText = key.read(text)?;
        Ok(ExporterRow {
            wish: Wish {
                subjects: read.subjects,
                format: read.format,
                context_type: read.context_type,
                context: read.context,
                config: read.config,
            },
            generation: read.generation,
            resets: read.resets,
            is_paused: read.paused,
            is_leaving: read.leaving,
        })
    }
}

/// What is remembered of one subject at the destination: without it nobody knows whether what is
/// there and not at the source was deleted there, or never came from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The subject of the source.
    pub from: Name,
    /// Which two registries: a mark of their addresses. Of others it says nothing.
    pub of: String,
    /// Its versions.
    pub versions: BTreeSet<Version>,
}

/// What an exporter has copied, by the names at the destination.
pub type Memory = BTreeMap<Name, Remembered>;

impl Remembered {
    /// As the journal has it.
    pub fn to_json(&self) -> String {
        json(&RememberedText {
            v: VERSION,
            from: self.from.to_string(),
            of: self.of.clone(),
            versions: ranges(&self.versions),
        })
    }

    /// Reads the value under a key.
    pub fn parse(key: &ExporterKey, text: &str) -> Result<Remembered, Unreadable> {
        let read: RememberedText = key.read(text)?;
        let mut room = super::VERSIONS_MAX;
        let is_range = |&(first, last): &(i32, i32)| {
            room = room.saturating_sub(last.saturating_sub(first)).saturating_sub(1);
            (1..=last).contains(&first) && room >= 0
        };
        if !read.versions.iter().all(is_range) {
            let why = "its versions are no ranges of versions".to_owned();
            return Err(Unreadable::Wrong { key: key.to_string(), why });
        }
        let versions = read.versions.iter().flat_map(|&(first, last)| first..=last);
        Ok(Remembered {
            from: Name::parse(&read.from),
            of: read.of,
            versions: versions.map(Version).collect(),
        })
    }
}

/// From the first to the last one of each row of versions without a gap.
fn ranges(versions: &BTreeSet<Version>) -> Vec<(i32, i32)> {
    let mut ranges: Vec<(i32, i32)> = Vec::new();
    for &Version(one) in versions {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(one) => *last = one,
            _ => ranges.push((one, one)),
        }
    }
    ranges
}

fn json(row: &impl Serialize) -> String {
    serde_json::to_string(row).expect("texts and numbers can be written")
}

#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

#[derive(Serialize, Deserialize)]
struct ExporterText {
    v: u32,
    subjects: Vec<String>,
    format: String,
    context_type: ContextType,
    context: String,
    config: BTreeMap<String, String>,
    generation: u64,
    resets: u64,
    paused: bool,
    leaving: bool,
}

#[derive(Serialize, Deserialize)]
struct RememberedText {
    v: u32,
    from: String,
    of: String,
    versions: Vec<(i32, i32)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> ExporterRow {
        ExporterRow {
            wish: Wish {
                subjects: vec!["*".into()],
                format: "${subject}".into(),
                context_type: ContextType::Custom,
                context: ".eu".into(),
                config: BTreeMap::from([("schema.registry.url".into(), "http://b".into())]),
            },
            generation: 3,
            resets: 1,
            is_paused: true,
            is_leaving: false,
        }
    }

    #[test]
    fn keys_read_back_what_they_show() {
        for text in ["exporter/dr", "exporter/dr/orders/v1", "exporter/dr/:.eu:a b"] {
            assert_eq!(ExporterKey::parse(text).unwrap().to_string(), text);
        }
        for other in ["", "exporter/", "exporter//s", "link/dr", "exporters/dr"] {
            assert_eq!(ExporterKey::parse(other), None, "{other}");
        }
    }

    #[test]
    fn rows_read_back_what_they_write_and_others_are_refused() {
        let key = ExporterKey::parse("exporter/dr").unwrap();
        let text = row().to_json();
        assert_eq!(ExporterRow::parse(&key, &text), Ok(row()));
        for bad in [
            String::new(),
            "{}".into(),
            text.replace("\"v\":1", "\"v\":2"),
            text.replace("CUSTOM", "OTHER"),
            text.replace("\"paused\":true", "\"paused\":3"),
        ] {
            let why = ExporterRow::parse(&key, &bad).unwrap_err().to_string();
            assert!(why.contains("exporter/dr"), "{why}");
        }
        let key = ExporterKey::parse("exporter/dr/:.eu:s").unwrap();
        let versions = [1, 2, 3, 7].map(Version).into();
        let memory = Remembered { from: Name::parse("s"), of: "0a".into(), versions };
        let text = memory.to_json();
        assert!(text.contains("[[1,3],[7,7]]"), "{text}");
        assert_eq!(Remembered::parse(&key, &text), Ok(memory));
        for bad in ["[[0,3]]", "[[3,1]]", "[[1,2147483647]]"] {
            let bad = text.replace("[[1,3],[7,7]]", bad);
            assert!(key.check(&bad).unwrap_err().to_string().contains("no ranges"), "{bad}");
        }
    }
}
