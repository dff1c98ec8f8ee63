//! The file's shape: TOML whose nested tables flatten to dotted names, `.properties` by reference.
//!
//! It never knows which properties there are inside a section, and it never repeats a line of the
//! file in a problem: there may be a secret in it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;
use zeroize::Zeroizing;

use crate::control::row::KINDS;
use crate::secure::Everybody;
use crate::secure::FileError;
use crate::secure::read_any;
use crate::settings::check::Entry;
use crate::settings::problem::Problem;
use crate::settings::problem::Spot;
use crate::settings::property::Scope;
use crate::settings::table::of;
use crate::settings::value::Raw;

use super::properties;

/// A config file is a page; what is larger is another file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The longest name of a link: it becomes a label, a client id and part of a writer's name.
const LINK_NAME_BYTES_MAX: usize = 64;

/// One part of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// Which part.
    pub scope: Scope,
    /// `destination`, `link.dr`; empty at the top of the file.
    pub name: String,
    /// What stands in it, in the order of the names.
    pub entries: Vec<Entry>,
}

/// Reads a file of at most `FILE_BYTES_MAX` as text, and sees who may write it.
pub fn read_text(path: &Path) -> Result<(Zeroizing<String>, Everybody), String> {
    let (bytes, everybody) = read_any(path, FILE_BYTES_MAX).map_err(|error| error.to_string())?;
    let text = std::str::from_utf8(&bytes);
    let text = text.map_err(|_| FileError::NotText(path.to_owned()).to_string())?;
    Ok((Zeroizing::new(text.to_owned()), everybody))
}

/// Takes the text of a config file apart into its sections.
pub fn sections(text: &str) -> (Vec<Section>, Vec<Problem>) {
    let lines = Lines::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return (Vec::new(), errors.iter().map(|error| syntax(error, &lines)).collect());
    }
    let mut found = Found { lines, sections: Vec::new(), problems: Vec::new() };
    let mut process = Vec::new();
    for (key, value) in table.get_ref() {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("destination", DeValue::Table(inner)) => {
                found.section(Scope::Destination, "destination".into(), inner);
            }
            ("service", DeValue::Table(inner)) => {
                found.section(Scope::Service, "service".into(), inner);
            }
            ("link", DeValue::Table(inner)) => found.links(inner),
            ("schemas", DeValue::Table(inner)) => found.exporters(inner),
            (name, DeValue::Table(_)) if !begins_a_name(Scope::Process, name) => {
                found.unknown_section(name, key.span());
            }
            (name, _) => flatten(name, value, &key.span(), &found.lines, &mut process),
        }
    }
    found.sections.push(Section { scope: Scope::Process, name: String::new(), entries: process });
    (found.sections, found.problems)
}

/// A syntax error without the line it is in (the message of the parser names no content).
fn syntax(error: &toml::de::Error, lines: &Lines) -> Problem {
    let spot = error.span().map(|span| lines.spot(span.start));
    Problem::general(format!("not valid TOML: {}", error.message())).found(spot)
}

fn begins_a_name(scope: Scope, word: &str) -> bool {
    of(scope).any(|property| property.name.split('.').next() == Some(word))
}

struct Found {
    lines: Lines,
    sections: Vec<Section>,
    problems: Vec<Problem>,
}

impl Found {
    fn section(&mut self, scope: Scope, name: String, table: &DeTable<'_>) {
        let mut entries = Vec::new();
        for (key, value) in table {
            flatten(key.get_ref(), value, &key.span(), &self.lines, &mut entries);
        }
        self.sections.push(Section { scope, name, entries });
    }

    fn exporters(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = key.get_ref();
            let place = format!("schemas.{name}");
            match value.get_ref() {
                DeValue::Table(inner) if is_link_name(name) && !is_property(name) => {
                    self.section(Scope::Schemas, place, inner);
                }
                _ => {
                    let text = "an exporter is a section, [schemas.NAME], whose name is 1 to 64 \
                                of a-z, A-Z, 0-9, '_' and '-'";
                    let spot = Some(self.lines.spot(key.span().start));
                    self.problems.push(Problem::at(Some("schemas"), None, text).found(spot));
                }
            }
        }
    }

    fn links(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = key.get_ref();
            let spot = Some(self.lines.spot(key.span().start));
            let place = format!("link.{name}");
            let told = |text: &str| Problem::at(Some(&place), None, text).found(spot.clone());
            match value.get_ref() {
                DeValue::Table(_) if is_reserved(name) && !self.is_nameless(key, value) => {
                    self.problems.push(told(RESERVED));
                }
                DeValue::Table(inner) if is_link_name(name) && !self.is_nameless(key, value) => {
                    self.section(Scope::Link, place, inner);
                }
                DeValue::Table(_) if is_link_name(name) => self.problems.push(Problem {
                    place: Some("link".into()),
                    ..told("a link needs a name: write [link.NAME]")
                }),
                DeValue::Table(_) => self
                    .problems
                    .push(told("a link's name is 1 to 64 of a-z, A-Z, 0-9, '_' and '-'")),
                _ => self.problems.push(told("a link is a section: write [link.NAME]")),
            }
        }
    }

    /// Whether this is a property written straight into `[link]`.
    fn is_nameless(&self, key: &Spanned<toml::de::DeString<'_>>, value: &Spanned<DeValue>) -> bool {
        let mut entries = Vec::new();
        flatten(key.get_ref(), value, &key.span(), &self.lines, &mut entries);
        let known = |entry: &Entry| of(Scope::Link).any(|property| property.name == entry.key);
        entries.iter().any(known)
    }

    fn unknown_section(&mut self, name: &str, span: Range<usize>) {
        let text = "no such section; there are [destination], [service], [link.NAME] and \
                    [schemas.NAME]";
        let spot = Some(self.lines.spot(span.start));
        self.problems.push(Problem::at(Some(name), None, text).found(spot));
    }
}

/// Whether a property of exporters begins so: it was written straight into `[schemas]`.
fn is_property(name: &str) -> bool {
    let dotted = format!("{name}.");
    of(Scope::Schemas).any(|row| row.name == name || row.name.starts_with(&dotted))
}

fn is_link_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    !name.is_empty() && name.len() <= LINK_NAME_BYTES_MAX && name.bytes().all(legal)
}

const RESERVED: &str = "a link cannot be called link, mirror, order, acl, group or exporter: the \
                        journal's keys begin with these words; give it another name";

/// Keys of the journal are `LINK/TOPIC` for links of the file, and `link/…` and `mirror/…` for the
/// others: such a link's topics would be taken for rows of theirs.
fn is_reserved(name: &str) -> bool {
    KINDS.contains(&name)
}

/// Nested tables become dotted names; everything else is a value.
fn flatten(
    name: &str,
    value: &Spanned<DeValue<'_>>,
    span: &Range<usize>,
    lines: &Lines,
    entries: &mut Vec<Entry>,
) {
    let DeValue::Table(table) = value.get_ref() else {
        let spot = Some(lines.spot(span.start));
        entries.push(Entry { key: name.to_owned(), raw: raw(value.get_ref()), spot });
        return;
    };
    for (key, inner) in table {
        flatten(&format!("{name}.{}", key.get_ref()), inner, &key.span(), lines, entries);
    }
}

/// Takes over a TOML value that is no table.
fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.clone().into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Raw::Odd("a number past 2^63 - 1"), Raw::Int),
        DeValue::Boolean(yes) => Raw::Bool(*yes),
        DeValue::Array(items) => {
            let text = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
                DeValue::String(text) => Some(text.clone().into_owned()),
                _ => None,
            };
            let texts: Option<Vec<String>> = items.iter().map(text).collect();
            texts.map_or(Raw::Odd("an array of other things than texts"), Raw::List)
        }
        DeValue::Float(_) => Raw::Odd("a number with a point"),
        DeValue::Datetime(_) => Raw::Odd("a date"),
        DeValue::Table(_) => Raw::Odd("a table"),
    }
}

/// Reads a `.properties` file as Kafka's clients do, with no more than its names and values.
pub fn pairs(path: &Path) -> Result<BTreeMap<String, String>, String> {
    pairs_seen(path).map(|(pairs, _)| pairs)
}

/// The same, and sees who may write it.
pub fn pairs_seen(path: &Path) -> Result<(BTreeMap<String, String>, Everybody), String> {
    let (bytes, everybody) = read_any(path, FILE_BYTES_MAX).map_err(|error| error.to_string())?;
    let pairs = properties::of_bytes(&bytes).map_err(|broken| broken.words(path))?;
    Ok((pairs, everybody))
}

/// Reads a `.properties` file as Kafka's clients do, and sees who may write it.
pub fn properties(path: &Path) -> Result<(Vec<Entry>, Everybody), String> {
    let (bytes, everybody) = read_any(path, FILE_BYTES_MAX).map_err(|error| error.to_string())?;
    Ok((properties_in(&bytes, path)?, everybody))
}

/// The same of bytes that were read from `path`; what is wrong is told without the line itself.
pub fn properties_in(bytes: &[u8], path: &Path) -> Result<Vec<Entry>, String> {
    let read = properties::of_bytes(bytes);
    let map = read.map_err(|broken| broken.words(path))?;
    let spot = Some(Spot::File(path.display().to_string()));
    let entry = |(key, value)| Entry { key, raw: Raw::Text(value), spot: spot.clone() };
    Ok(map.into_iter().map(entry).collect())
}

/// Where each line of a text begins.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Lines {
        let after_breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Lines(after_breaks.map(|(at, _)| at).collect())
    }

    /// The line that holds a byte.
    fn spot(&self, at: usize) -> Spot {
        Spot::Line(self.0.partition_point(|line_break| *line_break < at) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<(String, String, Raw, Option<Spot>)> {
        let (sections, problems) = sections(text);
        assert_eq!(problems, []);
        let all = sections.into_iter().flat_map(|section| {
            let name = section.name;
            section.entries.into_iter().map(move |e| (name.clone(), e.key, e.raw, e.spot))
        });
        all.collect()
    }

    fn problems(text: &str) -> Vec<String> {
        sections(text).1.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn nested_and_quoted_keys_are_the_same_property() {
        let nested = entries("[link.dr]\nretry.backoff.ms = 1\nretry.backoff.max.ms = 2\n");
        let quoted =
            entries("[link.dr]\n\"retry.backoff.ms\" = 1\n[link.dr.retry]\nbackoff.max.ms = 2");
        let keys = |all: &[(String, String, Raw, Option<Spot>)]| {
            let mut keys: Vec<_> = all.iter().map(|e| (e.1.clone(), e.2.clone())).collect();
            keys.sort_by(|left, right| left.0.cmp(&right.0));
            keys
        };
        assert_eq!(keys(&nested), keys(&quoted));
        assert_eq!(nested[0].0, "link.dr");
        assert!(nested.iter().any(|e| e.3 == Some(Spot::Line(3))));
    }

    #[test]
    fn the_top_of_the_file_is_the_process() {
        let all = entries("buffer.memory.bytes = 1_000\n[service]\nlog.level = 'warn'");
        assert!(all.contains(&(
            "".into(),
            "buffer.memory.bytes".into(),
            Raw::Int(1000),
            Some(Spot::Line(1))
        )));
        assert!(
            all.iter()
                .any(|e| e.0 == "service" && e.1 == "log.level" && e.3 == Some(Spot::Line(3)))
        );
    }

    #[test]
    fn wrong_sections_are_named() {
        let check = |text: &str, said: &[&str]| assert_eq!(problems(text), said, "{text}");
        check(
            "[destinaton]\na = 1\n[links.dr]",
            &[
                "[destinaton] (line 1): no such section; there are [destination], [service], \
                 [link.NAME] and [schemas.NAME]",
                "[links] (line 3): no such section; there are [destination], [service], \
                 [link.NAME] and [schemas.NAME]",
            ],
        );
        check(
            "[link]\nbootstrap.servers = 'a:1'",
            &["[link] (line 2): a link needs a name: write [link.NAME]"],
        );
        check(
            "[link]\ndr = 'a:1'",
            &["[link.dr] (line 2): a link is a section: write [link.NAME]"],
        );
        check(
            "[link.'a b']\n",
            &["[link.a b] (line 1): a link's name is 1 to 64 of a-z, A-Z, 0-9, '_' and '-'"],
        );
        for name in KINDS {
            let said = format!(
                "[link.{name}] (line 1): a link cannot be called link, mirror, order, acl, group \
                 or exporter: the journal's keys begin with these words; give it another name"
            );
            check(&format!("[link.{name}]\nmirror.topics = ['a']\n"), &[&said]);
        }
        check("[link.links]\n[link.mirror-1]\n", &[]);
        check(
            "[link]\nmirror.topics = ['a']\n",
            &["[link] (line 2): a link needs a name: write [link.NAME]"],
        );
    }

    #[test]
    fn a_syntax_error_never_shows_the_line() {
        let canary = "hunter2";
        for broken in [
            "[destination]\npassword = \"hunter2\" hunter2\n",
            "[destination]\npassword = hunter2\n",
            "[destination]\npassword = \"hunter2\n",
            "[destination\nhunter2 = 1\n",
            "a = 1\na = \"hunter2\"\n",
            "[link.dr]\na = 1\n[link.dr]\nb = \"hunter2\"\n",
            "hunter2",
        ] {
            let said = problems(broken);
            assert!(!said.is_empty(), "{broken}");
            for text in said {
                assert!(!text.contains(canary), "{text}");
                assert!(text.contains("(line ") && text.contains("not valid TOML"), "{text}");
            }
        }
    }

    #[test]
    fn properties_files_are_read_as_java_does() {
        let dir = std::env::temp_dir().join(format!("isolog-file-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("client.properties");
        std::fs::write(&path, "# c\nclient.id : a\\\n   b\nx=1\nx = 2\n").unwrap();
        let (read, _) = properties(&path).unwrap();
        let pairs: Vec<_> = read.iter().map(|e| (e.key.as_str(), e.raw.clone())).collect();
        assert_eq!(pairs, [("client.id", Raw::Text("ab".into())), ("x", Raw::Text("2".into()))]);
        std::fs::write(&path, "x=\\uhunter2\n").unwrap();
        let said = properties(&path).unwrap_err();
        assert!(!said.contains("hunter2") && said.contains("not a .properties file"), "{said}");
        assert!(properties(&dir.join("none")).unwrap_err().contains("cannot read"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
