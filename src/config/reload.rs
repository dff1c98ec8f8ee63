//! A file that was read again, compared with what isolog runs with.
//!
//! It never shows a value, and applies none itself.

use std::collections::BTreeSet;

use crate::settings::check::Checked;
use crate::settings::link::NAMES_OF_MIRRORS;
use crate::settings::link::Values;
use crate::settings::property::Effect;
use crate::settings::property::Property;
use crate::settings::property::Scope;

use super::Config;

/// What a config says, kept to compare a later one with.
#[derive(Clone, Debug)]
pub struct Said(Vec<Checked>);

impl Said {
    /// What `config` says.
    pub fn of(config: &Config) -> Said {
        Said(config.sections.clone())
    }

    /// A line for each section of which `read` says something else, with what becomes of it; none
    /// where both say the same.
    pub fn changes(&self, read: &Config) -> Vec<String> {
        let find = |all: &[Checked], name: &str| all.iter().any(|section| section.name == name);
        let gone = self.0.iter().filter(|old| !find(&read.sections, &old.name));
        let gone = gone.map(|old| match old.scope {
            Scope::Link => format!(
                "[{}] is no longer in the file: the link rests, and nothing of it is copied",
                old.name
            ),
            _ => format!(
                "[{}] is no longer in the file: it runs until isolog is started again",
                old.name
            ),
        });
        let others = read.sections.iter().filter_map(|new| {
            match self.0.iter().find(|old| old.name == new.name) {
                Some(old) => changed(old, new),
                None => Some(begun(new)),
            }
        });
        gone.chain(others).collect()
    }

    /// What is said of links is what they run with from now on.
    pub fn take_links(&mut self, read: &Config) {
        let is_link = |section: &Checked| section.scope == Scope::Link;
        self.0.retain(|section| !is_link(section));
        self.0.extend(read.sections.iter().filter(|section| is_link(section)).cloned());
    }
}

fn begun(new: &Checked) -> String {
    let name = &new.name;
    match new.scope {
        Scope::Link => format!("[{name}] is new in the file: the link begins"),
        _ => format!("[{name}] is new in the file: it runs when isolog is started again"),
    }
}

/// What another value of a section's properties touches.
fn changed(old: &Checked, new: &Checked) -> Option<String> {
    let (was, is) = (Values::of(old), Values::of(new));
    let rows: Vec<_> = was.differing(&is).collect();
    if rows.is_empty() {
        return None;
    }
    let name = |row: &&'static Property| row.name;
    let names: Vec<&str> = rows.iter().map(name).collect();
    let effects: BTreeSet<_> = rows.iter().map(|row| row.effect).collect();
    let effects: Vec<&str> = effects.into_iter().map(touched).collect();
    let place = match new.place() {
        Some(name) => format!("[{name}]"),
        None => format!("{}:", Scope::Process.heading()),
    };
    let (names, effects) = (names.join(", "), effects.join(", "));
    let fixed: Vec<&str> =
        rows.iter().map(name).filter(|name| NAMES_OF_MIRRORS.contains(name)).collect();
    Some(match new.scope {
        Scope::Link if !fixed.is_empty() => format!(
            "{place} {names}: changed in the file, and taken, but {} cannot be changed while the \
             link has mirror topics: it stands still then (INVALID_CONFIG) until the file is as it \
             was",
            fixed.join(", ")
        ),
        Scope::Link => {
            format!("{place} {names}: changed in the file, and taken (what it touches: {effects})")
        }
        _ => format!(
            "{place} {names}: changed in the file; isolog takes that when it is started again \
             (what it will touch: {effects})"
        ),
    })
}

fn touched(effect: Effect) -> &'static str {
    match effect {
        Effect::Never => "the whole process",
        other => other.word(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::load_text;
    use super::*;

    const BASE: &str = "[destination]\nbootstrap.servers = 'a:1'\n[link.dr]\n\
                        bootstrap.servers = 'b:1'\nmirror.topics = 't*'\n";

    fn changes(old: &str, new: &str) -> Vec<String> {
        let load = |text: &str| load_text(text, Path::new(".")).unwrap();
        Said::of(&load(old)).changes(&load(new))
    }

    #[test]
    fn what_changed_is_named_with_what_it_touches() {
        assert_eq!(changes(BASE, BASE), [""; 0]);
        // the same values in other words are no change
        assert_eq!(changes(BASE, &format!("{BASE}gap.fill = 'AUTO'\n")), [""; 0]);
        let new = format!(
            "buffer.memory.bytes = 300000000\n{BASE}gap.fill = 'halt'\nclient.id = 'hunter2'\n\
             [link.eu]\nbootstrap.servers = 'c:1'\nmirror.topics = 'x'\n"
        );
        let right = [
            "the top of the file, before the first section: buffer.memory.bytes: changed in the \
             file; isolog takes that when it is started again (what it will touch: the whole \
             process)",
            "[link.dr] client.id, gap.fill: changed in the file, and taken (what it touches: \
             reconnect, reseat)",
            "[link.eu] is new in the file: the link begins",
        ];
        assert_eq!(changes(BASE, &new), right);
        let said = changes(&new, BASE);
        assert_eq!(
            said[0],
            "[link.eu] is no longer in the file: the link rests, and nothing of it is copied"
        );
        assert_eq!(said.len(), 3);
        assert!(!format!("{said:?}").contains("hunter2"));
        let renamed = changes(BASE, &format!("{BASE}cluster.link.prefix = 'w.'\n"));
        assert!(renamed[0].contains("cannot be changed while the link has mirror topics"));
    }
}
