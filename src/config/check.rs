//! One section against the table: every property gets its value, every mistake its problem.
//!
//! It never compares sections or properties with each other; `relations` does.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use crate::secure::FileError;

use super::file;
use super::file::Entry;
use super::file::Section;
use super::names;
use super::names::Stranger;
use super::problem::Problem;
use super::security::references;
use super::table;
use super::table::Default;
use super::table::Kind;
use super::table::Property;
use super::table::Scope;
use super::value::Raw;
use super::value::Value;
use super::value::left_out;

/// The most names that a note tells.
const NAMES_SHOWN_MAX: usize = 20;
/// A longer name is none: a line of something else stands there.
const NAME_BYTES_MAX: usize = 100;

/// Where a value was said.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nowhere.
    Default,
    /// In a `.properties` file that the config refers to.
    Properties,
    /// In the config file itself.
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

/// One section after the check; a property whose value was wrong has no setting.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Which part of the file.
    pub scope: Scope,
    /// `destination`, `link.dr`; empty at the top.
    pub name: String,
    settings: BTreeMap<&'static str, Setting>,
    /// Files that references led to, and stores with a key: none should be open to everybody.
    pub secret_files: Vec<PathBuf>,
    /// What is no mistake and good to know.
    pub notes: Vec<Problem>,
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

    /// Where a value was said.
    pub fn origin(&self, name: &str) -> Option<Origin> {
        self.settings.get(name).map(|setting| setting.origin)
    }

    /// Where a problem of this section is.
    pub fn place(&self) -> Option<&str> {
        (!self.name.is_empty()).then_some(self.name.as_str())
    }
}

/// Checks a section; paths in it are relative to `dir`.
pub fn check(section: Section, dir: &Path) -> (Checked, Vec<Problem>) {
    let Section { scope, name, entries } = section;
    let (settings, secret_files) = (BTreeMap::new(), Vec::new());
    let checked = Checked { scope, name, settings, secret_files, notes: Vec::new() };
    let mut desk = Desk { checked, problems: Vec::new(), wrong: Vec::new(), is_blind: false, dir };
    desk.properties_file(&entries, dir);
    for entry in &entries {
        desk.take(entry, Origin::Config);
    }
    desk.fill_defaults();
    (desk.checked, desk.problems)
}

struct Desk<'a> {
    /// What paths are relative to.
    dir: &'a Path,
    checked: Checked,
    problems: Vec<Problem>,
    /// Properties that were said and are wrong: they get no default.
    wrong: Vec<&'static str>,
    /// The section's file was not read: what is missing may stand there.
    is_blind: bool,
}

impl Desk<'_> {
    /// Takes what the referenced file says and the section itself does not.
    fn properties_file(&mut self, entries: &[Entry], dir: &Path) {
        let named = |entry: &&Entry| entry.key == "properties.file";
        let Some(reference) = entries.iter().find(named) else { return };
        let (true, Raw::Text(path)) = (self.row("properties.file").is_some(), &reference.raw)
        else {
            return;
        };
        match file::properties(&dir.join(path)) {
            Ok((inner, everybody)) => {
                let place = dir.join(path);
                if everybody.writes && inner.iter().any(|entry| self.is_sensitive(entry)) {
                    self.refuse(reference, FileError::WorldWritable(place).to_string());
                    self.is_blind = true;
                    return;
                }
                if inner.iter().any(|entry| self.is_secret(entry)) {
                    self.checked.secret_files.push(place);
                }
                let said = |key: &str| entries.iter().any(|entry| entry.key == key);
                let nested = |key: &str| key == reference.key;
                let (known, strange): (Vec<&Entry>, Vec<&Entry>) =
                    inner.iter().partition(|entry| self.is_for_us(entry));
                for entry in known.into_iter().filter(|e| nested(&e.key) || !said(&e.key)) {
                    self.take(entry, Origin::Properties);
                }
                self.passed_over(reference, &strange);
            }
            Err(text) => {
                self.refuse(reference, text);
                self.is_blind = true;
            }
        }
    }

    fn is_for_us(&self, entry: &Entry) -> bool {
        let scope = self.checked.scope;
        table::find(scope, &entry.key).is_some() || !names::is_passed_over(scope, &entry.key)
    }

    /// Names only: nobody knows which values are secrets.
    fn passed_over(&mut self, reference: &Entry, strange: &[&Entry]) {
        let scope = self.checked.scope;
        let is_prefixed = |entry: &&&Entry| names::explain(scope, &entry.key) == Stranger::Prefixed;
        let (prefixed, others): (Vec<&Entry>, Vec<&Entry>) = strange.iter().partition(is_prefixed);
        if !others.is_empty() {
            let text = format!(
                "isolog has no use for these of the file and passes them over: {}",
                listed(&others)
            );
            self.note(reference, text);
        }
        if !prefixed.is_empty() {
            let text = format!(
                "Connect and MirrorMaker 2 read these of the file, isolog passes them over as \
                 Kafka's clients do; write one without its prefix where it shall hold: {}",
                listed(&prefixed)
            );
            self.note(reference, text);
        }
    }

    fn note(&mut self, entry: &Entry, text: String) {
        let note = self.problem(entry, text);
        self.checked.notes.push(note);
    }

    fn is_sensitive(&self, entry: &Entry) -> bool {
        self.row(&entry.key).is_some_and(|property| property.sensitive)
    }

    /// Whether a secret stands there, and no reference to one.
    fn is_secret(&self, entry: &Entry) -> bool {
        let led = references::resolve(&entry.raw, self.dir).is_ok_and(|resolved| resolved.used);
        self.is_sensitive(entry) && !led
    }

    fn row(&self, name: &str) -> Option<&'static Property> {
        table::find(self.checked.scope, name)
    }

    fn take(&mut self, entry: &Entry, origin: Origin) {
        let inside = origin == Origin::Properties;
        match self.row(&entry.key) {
            Some(property) if inside && property.kind == Kind::Path => {
                self.refuse(entry, "has no place inside a .properties file");
            }
            Some(property) => self.read(property, entry, origin),
            None => self.stranger(entry),
        }
    }

    fn read(&mut self, property: &'static Property, entry: &Entry, origin: Origin) {
        let resolved = references::resolve(&entry.raw, self.dir);
        let used = resolved.as_ref().is_ok_and(|resolved| resolved.used);
        if resolved.as_ref().is_ok_and(|resolved| resolved.odd) {
            let text = "holds a ${ that is no reference: it stays as it is, as in Kafka's clients \
                        (a variable of the environment would be ${env:NAME})";
            self.note(entry, text.to_owned());
        }
        let value = resolved.and_then(|resolved| {
            self.checked.secret_files.extend(resolved.files);
            // what a reference led to may be a secret: the problem must not repeat it
            let hide = |text| if used { format!("must be {}", property.kind) } else { text };
            Value::read(property.kind, &resolved.raw).map_err(hide)
        });
        match value {
            Ok(value) => {
                if let Some(text) = left_out(property.kind, &entry.raw) {
                    self.note(entry, text);
                }
                if let ("ssl.keystore.location", Value::Text(path)) = (property.name, &value) {
                    self.checked.secret_files.push(self.dir.join(path));
                }
                let reference = used.then(|| entry.raw.clone());
                let setting = Setting { property, value, origin, reference };
                self.checked.settings.insert(property.name, setting);
            }
            Err(text) => {
                self.wrong.push(property.name);
                let shown = (!property.sensitive).then(|| entry.raw.to_string());
                let problem = self.problem(entry, text).showing(shown);
                self.problems.push(problem);
            }
        }
    }

    /// The value is left out: nobody knows whether it is a secret.
    fn stranger(&mut self, entry: &Entry) {
        let text = match names::explain(self.checked.scope, &entry.key) {
            Stranger::Unused => "is a property of Kafka clients that isolog has no use for: leave \
                                 it out (in a properties.file it may stay)"
                .into(),
            Stranger::Prefixed => "is read by Connect and MirrorMaker 2: write it without the \
                                   prefix where it shall hold"
                .into(),
            Stranger::Later => "comes with a later release".into(),
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
            if self.checked.settings.contains_key(name) || self.wrong.contains(&name) {
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

    fn refuse(&mut self, entry: &Entry, text: impl Into<String>) {
        let problem = self.problem(entry, text);
        self.problems.push(problem);
    }

    fn problem(&self, entry: &Entry, text: impl Into<String>) -> Problem {
        Problem::at(self.checked.place(), Some(&entry.key), text).found(Some(entry.spot.clone()))
    }
}

/// The names, as far as they are ones and not too many.
fn listed(entries: &[&Entry]) -> String {
    let legal = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let is_name = |key: &&str| key.len() <= NAME_BYTES_MAX && key.chars().all(legal);
    let names: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).filter(is_name).collect();
    let shown = names.iter().take(NAMES_SHOWN_MAX).copied().collect::<Vec<_>>();
    match entries.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{}, and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let section = Section { scope: Scope::Link, name: "link.a".into(), entries: Vec::new() };
        let (checked, problems) = check(section, Path::new("."));
        let said: Vec<String> = problems.iter().map(Problem::to_string).collect();
        assert_eq!(said, ["[link.a] bootstrap.servers: is missing"]);
        assert_eq!(checked.int("availability.check.ms"), Some(10_000));
        assert_eq!(checked.value("bootstrap.servers"), None);
        assert_eq!(checked.settings().count() + 1, table::of(Scope::Link).count());
    }
}
