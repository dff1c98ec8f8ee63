//! One section against the table: every property gets its value, every mistake its problem.
//!
//! It never compares sections or properties with each other; `relations` does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::names;
use super::names::Stranger;
use super::problem::Problem;
use super::problem::Spot;
use super::property::Default;
use super::property::Kind;
use super::property::Property;
use super::property::Scope;
use super::table;
use super::trust;
use super::trust::Trust;
use super::value::Raw;
use super::value::Value;
use super::value::left_out;

/// The longest time there is, a year: Kafka's clients take 292 million.
pub const TIME_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Files with a secret in them.
const KEYSTORE: &str = "ssl.keystore.location";
const KEY_FILE: &str = "secrets.key.file";

/// One property as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The dotted name.
    pub key: String,
    /// The value.
    pub raw: Raw,
    /// Where it stands, where that is a place in a file.
    pub spot: Option<Spot>,
}

/// Where a value was said.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nowhere.
    Default,
    /// In a `.properties` file that the config refers to.
    Properties,
    /// In the config file itself, or over REST.
    Config,
}

/// A property's value in one section.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The row of the table.
    pub property: &'static Property,
    /// The value as its kind reads it.
    pub value: Value,
    /// Where it was said.
    pub origin: Origin,
    /// As written, where a reference in it led to the value.
    pub reference: Option<Raw>,
}

/// One section, or one link's properties, after the check; a property whose value was wrong has no
/// setting.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Which part of the file, if any.
    pub scope: Scope,
    /// `destination`, `link.dr`; empty at the top, and outside of the file.
    pub name: String,
    settings: BTreeMap<&'static str, Setting>,
    /// Files that references led to, and stores with a key: none should be open to everybody.
    pub secret_files: Vec<PathBuf>,
    /// What is no mistake and good to know.
    pub notes: Vec<Problem>,
    /// Properties that were said and are wrong: they get no default.
    wrong: Vec<&'static str>,
}

impl Checked {
    /// The value of a property, or `None` when it was wrong or missing.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.settings.get(name).map(|setting| &setting.value)
    }

    /// The number of a property that takes one.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.value(name)? {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The same, where it fits into a narrower type.
    pub fn number<N: TryFrom<i64>>(&self, name: &str) -> Option<N> {
        N::try_from(self.int(name)?).ok()
    }

    /// The time of a property that takes one, cut so that no sum of times can overflow.
    pub fn millis(&self, name: &str) -> Option<Duration> {
        self.int(name).map(bounded)
    }

    /// The text of a property that takes one, or a word.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.value(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether a property is said to be true.
    pub fn is_true(&self, name: &str) -> bool {
        self.value(name) == Some(&Value::Bool(true))
    }

    /// The settings in the table's order.
    pub fn settings(&self) -> impl Iterator<Item = &Setting> {
        table::of(self.scope).filter_map(|property| self.settings.get(property.name))
    }

    /// Whether a secret stands in the config file itself, and no reference to one.
    pub fn has_inline_secret(&self) -> bool {
        self.settings.values().any(|setting| {
            let inline = setting.origin == Origin::Config && setting.reference.is_none();
            inline && setting.property.sensitive
        })
    }

    /// Whether the section logs in or holds a secret, also one by reference.
    pub fn has_secret(&self) -> bool {
        let said = |setting: &Setting| setting.origin != Origin::Default;
        self.settings.values().any(|setting| said(setting) && setting.property.sensitive)
    }

    /// Whether a property was said and is wrong, which is a problem already.
    pub fn is_wrong(&self, name: &str) -> bool {
        self.wrong.contains(&name)
    }

    /// Where a value was said.
    pub fn origin(&self, name: &str) -> Option<Origin> {
        self.settings.get(name).map(|setting| setting.origin)
    }

    /// Where a problem of this section is.
    pub fn place(&self) -> Option<&str> {
        (!self.name.is_empty()).then_some(self.name.as_str())
    }
}

/// A time of a property in ms, at most `TIME_MAX`.
pub fn bounded(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(TIME_MAX)
}

/// Takes properties one after the other, and keeps their values and what is wrong with them.
pub struct Desk<'a> {
    /// What paths and references may lead to.
    trust: &'a dyn Trust,
    /// What is known so far.
    pub checked: Checked,
    problems: Vec<Problem>,
    /// By which name each property was said in the config itself.
    said: BTreeMap<&'static str, String>,
    /// The section's file was not read: what is missing may stand there.
    pub is_blind: bool,
}

impl<'a> Desk<'a> {
    /// Nothing was said yet.
    pub fn new(scope: Scope, name: String, trust: &'a dyn Trust) -> Desk<'a> {
        let checked = Checked {
            scope,
            name,
            settings: BTreeMap::new(),
            secret_files: Vec::new(),
            notes: Vec::new(),
            wrong: Vec::new(),
        };
        Desk { trust, checked, problems: Vec::new(), said: BTreeMap::new(), is_blind: false }
    }

    /// What was not said gets its default; every mistake in the order in which it was made.
    pub fn finish(mut self) -> (Checked, Vec<Problem>) {
        self.fill_defaults();
        (self.checked, self.problems)
    }

    /// Adds what is no mistake and good to know.
    pub fn note(&mut self, entry: &Entry, text: String) {
        let note = self.problem(entry, text);
        self.checked.notes.push(note);
    }

    /// Whether a secret belongs there.
    pub fn is_sensitive(&self, entry: &Entry) -> bool {
        self.row(&entry.key).is_some_and(|property| property.sensitive)
    }

    /// Whether a secret stands there, and no reference to one.
    pub fn is_secret(&self, entry: &Entry) -> bool {
        let led = trust::resolve(&entry.raw, self.trust).is_ok_and(|resolved| resolved.used);
        self.is_sensitive(entry) && !led
    }

    /// The row of that name, or of the one that another tool has for it.
    pub fn row(&self, name: &str) -> Option<&'static Property> {
        table::find(self.checked.scope, names::canonical(name))
    }

    /// Takes one property.
    pub fn take(&mut self, entry: &Entry, origin: Origin) {
        match self.row(&entry.key) {
            Some(property) if self.is_twice(property, entry, origin) => {}
            Some(property) => self.read(property, entry, origin),
            None => self.stranger(entry),
        }
    }

    /// Whether a property was said by another name already, which nobody can mean.
    fn is_twice(&mut self, property: &'static Property, entry: &Entry, origin: Origin) -> bool {
        if origin != Origin::Config {
            return false;
        }
        let before = self.said.insert(property.name, entry.key.clone());
        let other = before.filter(|before| *before != entry.key);
        if let Some(other) = &other {
            self.refuse(entry, format!("is said already, as {other}: leave one of them out"));
        } else if entry.key != property.name {
            self.note(entry, format!("is taken as {}", property.name));
        }
        other.is_some()
    }

    fn read(&mut self, property: &'static Property, entry: &Entry, origin: Origin) {
        let resolved = trust::resolve(&entry.raw, self.trust);
        let used = resolved.as_ref().is_ok_and(|resolved| resolved.used);
        // what a mirror topic is called holds ${topic}
        let is_format = property.kind == Kind::TopicFormat;
        if resolved.as_ref().is_ok_and(|resolved| resolved.odd && !is_format) {
            let text = "holds a ${ that is no reference: it stays as it is, as in Kafka's clients \
                        (a variable of the environment would be ${env:NAME})";
            self.note(entry, text.to_owned());
        }
        let value = resolved.and_then(|resolved| {
            self.checked.secret_files.extend(resolved.files);
            // what a reference led to may be a secret: the problem must not repeat it
            let hide = |text| if used { format!("must be {}", property.kind) } else { text };
            match Value::read(property.kind, &resolved.raw).map_err(hide)? {
                Value::Secret(text) if !resolved.led => {
                    self.trust.secret(property.name, text.expose()).map(Value::Secret)
                }
                value => Ok(value),
            }
        });
        match value {
            Ok(value) => {
                if let Some(text) = left_out(property.kind, &entry.raw) {
                    self.note(entry, text);
                }
                if let (KEYSTORE | KEY_FILE, Value::Text(path)) = (property.name, &value) {
                    self.checked.secret_files.extend(self.trust.place(path));
                }
                let reference = used.then(|| entry.raw.clone());
                let setting = Setting { property, value, origin, reference };
                self.checked.settings.insert(property.name, setting);
            }
            Err(text) => {
                self.checked.wrong.push(property.name);
                let shown = (!property.sensitive).then(|| entry.raw.to_string());
                let problem = self.problem(entry, text).showing(shown);
                self.problems.push(problem);
            }
        }
    }

    /// The value is left out: nobody knows whether it is a secret.
    fn stranger(&mut self, entry: &Entry) {
        let scope = self.checked.scope;
        let text = match names::explain(scope, names::canonical(&entry.key)) {
            Stranger::Idle(governs) => {
                return self.note(entry, format!("is taken and means nothing here: {governs}"));
            }
            Stranger::Unused if scope == Scope::Commanded => {
                let text = "is taken and means nothing here: it is a property of Kafka clients \
                            that isolog has no use for";
                return self.note(entry, text.into());
            }
            Stranger::Unused => "is a property of Kafka clients that isolog has no use for: leave \
                                 it out (in a properties.file it may stay)"
                .into(),
            Stranger::Local => "says how a cluster that dials out logs in at itself: isolog dials \
                                both clusters, its own one as [destination] says; leave it out"
                .into(),
            Stranger::Prefixed => "is read by Connect and MirrorMaker 2: write it without the \
                                   prefix where it shall hold"
                .into(),
            Stranger::Elsewhere(scopes) => {
                let headings: Vec<_> = scopes.iter().map(|scope| scope.heading()).collect();
                format!("belongs in {}", headings.join(" or "))
            }
            Stranger::Near(name) => format!("no such property; did you mean {name}?"),
            Stranger::Unknown => "no such property; docs/CONFIG.md lists all there are".into(),
        };
        self.refuse(entry, text);
    }

    fn fill_defaults(&mut self) {
        for property in table::of(self.checked.scope) {
            let name = property.name;
            if self.checked.settings.contains_key(name) || self.checked.is_wrong(name) {
                continue;
            }
            let value = match property.default {
                Default::None => Value::Absent,
                Default::Is(text) => Value::read(property.kind, &Raw::Text(text.into()))
                    .expect("a test reads every default of the table"),
                Default::Required if self.is_blind => continue,
                Default::Required => {
                    let place = self.checked.place();
                    self.problems.push(Problem::at(place, Some(name), "is missing"));
                    continue;
                }
            };
            let (origin, reference) = (Origin::Default, None);
            let setting = Setting { property, value, origin, reference };
            self.checked.settings.insert(name, setting);
        }
    }

    /// Adds a mistake.
    pub fn refuse(&mut self, entry: &Entry, text: impl Into<String>) {
        let problem = self.problem(entry, text);
        self.problems.push(problem);
    }

    fn problem(&self, entry: &Entry, text: impl Into<String>) -> Problem {
        Problem::at(self.checked.place(), Some(&entry.key), text).found(entry.spot.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::trust::Remote;

    #[test]
    fn every_default_of_the_table_is_legal() {
        for property in table::all() {
            if let Default::Is(text) = property.default {
                let read = Value::read(property.kind, &Raw::Text(text.into()));
                assert!(read.is_ok(), "{}: {read:?}", property.name);
            }
        }
    }

    #[test]
    fn an_empty_section_has_all_defaults_but_what_is_required() {
        let trust = Remote::default();
        let (checked, problems) = Desk::new(Scope::Link, "link.a".into(), &trust).finish();
        let said: Vec<String> = problems.iter().map(Problem::to_string).collect();
        assert_eq!(said, ["[link.a] bootstrap.servers: is missing"]);
        assert_eq!(checked.int("availability.check.ms"), Some(10_000));
        assert_eq!(checked.value("bootstrap.servers"), None);
        assert_eq!(checked.settings().count() + 1, table::of(Scope::Link).count());
    }
}
