//! `properties.file` of a section: an existing Kafka client file gives what the section leaves out.
//!
//! It never knows which properties there are; the table of `settings` does.

use std::path::Path;

use crate::secure::FileError;
use crate::settings::check::Checked;
use crate::settings::check::Desk;
use crate::settings::check::Entry;
use crate::settings::check::Origin;
use crate::settings::names;
use crate::settings::names::Stranger;
use crate::settings::problem::Problem;
use crate::settings::property::Kind;
use crate::settings::value::Raw;

use super::file;
use super::file::Section;
use super::providers::Local;

/// The most names that a note tells.
const NAMES_SHOWN_MAX: usize = 20;
/// A longer name is none: a line of something else stands there.
const NAME_BYTES_MAX: usize = 100;

/// Checks a section; paths in it are relative to `dir`.
pub fn check(section: Section, dir: &Path) -> (Checked, Vec<Problem>) {
    let Section { scope, name, entries } = section;
    let trust = Local { dir: dir.to_owned() };
    let mut desk = Desk::new(scope, name, &trust);
    client_file(&mut desk, &entries, dir);
    for entry in &entries {
        desk.take(entry, Origin::Config);
    }
    desk.finish()
}

/// Takes what the referenced file says and the section itself does not.
fn client_file(desk: &mut Desk<'_>, entries: &[Entry], dir: &Path) {
    let named = |entry: &&Entry| entry.key == "properties.file";
    let Some(reference) = entries.iter().find(named) else { return };
    let (true, Raw::Text(path)) = (desk.row("properties.file").is_some(), &reference.raw) else {
        return;
    };
    match file::properties(&dir.join(path)) {
        Ok((inner, everybody)) => {
            let place = dir.join(path);
            if everybody.writes && inner.iter().any(|entry| desk.is_sensitive(entry)) {
                desk.refuse(reference, FileError::WorldWritable(place).to_string());
                desk.is_blind = true;
                return;
            }
            if inner.iter().any(|entry| desk.is_secret(entry)) {
                desk.checked.secret_files.push(place);
            }
            let said = |key: &str| entries.iter().any(|entry| entry.key == key);
            let nested = |key: &str| key == reference.key;
            let (known, strange): (Vec<&Entry>, Vec<&Entry>) =
                inner.iter().partition(|entry| is_for_us(desk, entry));
            for entry in known.into_iter().filter(|e| nested(&e.key) || !said(&e.key)) {
                take(desk, entry);
            }
            passed_over(desk, reference, &strange);
        }
        Err(text) => {
            desk.refuse(reference, text);
            desk.is_blind = true;
        }
    }
}

fn take(desk: &mut Desk<'_>, entry: &Entry) {
    match desk.row(&entry.key).is_some_and(|property| property.kind == Kind::Path) {
        true => desk.refuse(entry, "has no place inside a .properties file"),
        false => desk.take(entry, Origin::Properties),
    }
}

fn is_for_us(desk: &Desk<'_>, entry: &Entry) -> bool {
    desk.row(&entry.key).is_some() || !names::is_passed_over(desk.checked.scope, &entry.key)
}

/// Names only: nobody knows which values are secrets.
fn passed_over(desk: &mut Desk<'_>, reference: &Entry, strange: &[&Entry]) {
    let scope = desk.checked.scope;
    let is_prefixed = |entry: &&&Entry| names::explain(scope, &entry.key) == Stranger::Prefixed;
    let (prefixed, others): (Vec<&Entry>, Vec<&Entry>) = strange.iter().partition(is_prefixed);
    if !others.is_empty() {
        let text = format!(
            "isolog has no use for these of the file and passes them over: {}",
            listed(&others)
        );
        desk.note(reference, text);
    }
    if !prefixed.is_empty() {
        let text = format!(
            "Connect and MirrorMaker 2 read these of the file, isolog passes them over as Kafka's \
             clients do; write one without its prefix where it shall hold: {}",
            listed(&prefixed)
        );
        desk.note(reference, text);
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
