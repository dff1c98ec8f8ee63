//! Text from a file becomes typed options, all mistakes at once.
//!
//! No lower room imports it.

mod check;
mod file;
mod fill;
mod names;
mod page;
mod problem;
mod relations;
mod show;
mod table;
mod value;

use std::path::Path;

use crate::audit;
use crate::link;
use crate::service;

use self::check::Checked;
use self::file::Section;
use self::table::Scope;

pub use self::page::page;
pub use self::problem::Problem;
pub use self::show::Row;

/// Everything a config file says, typed; nothing in it can be invalid.
#[derive(Debug)]
pub struct Config {
    /// The links and what they share.
    pub links: link::Settings,
    /// The counter.
    pub service: service::Options,
    sections: Vec<Checked>,
}

impl Config {
    /// The links as they are audited.
    pub fn audits(&self) -> Vec<audit::LinkOptions> {
        fill::audits(&self.links)
    }

    /// The effective settings as TOML that loads again; secrets are masked.
    pub fn effective_toml(&self) -> String {
        show::toml(&self.sections)
    }

    /// The effective settings as rows for JSON; secrets are masked.
    pub fn effective_rows(&self) -> Vec<Row> {
        show::rows(&self.sections)
    }
}

/// Reads a config file; the error holds every mistake in it, never an empty list.
pub fn load(path: &Path) -> Result<Config, Vec<Problem>> {
    let text = file::read_text(path).map_err(|text| vec![Problem::general(text)])?;
    load_text(&text, path.parent().unwrap_or(Path::new(".")))
}

/// Reads the text of a config file; paths in it are relative to `dir`.
pub fn load_text(text: &str, dir: &Path) -> Result<Config, Vec<Problem>> {
    let (found, mut problems) = file::sections(text);
    if found.is_empty() {
        return Err(problems);
    }
    let mut sections = Vec::new();
    for section in with_all_scopes(found) {
        let (checked, wrong) = check::check(section, dir);
        sections.push(checked);
        problems.extend(wrong);
    }
    problems.extend(relations::check(&sections));
    match fill::fill(&sections) {
        Some((links, service)) if problems.is_empty() => Ok(Config { links, service, sections }),
        _ => Err(problems),
    }
}

/// A section that is left out is an empty one; process, destination, service, then the links.
fn with_all_scopes(mut found: Vec<Section>) -> Vec<Section> {
    for (scope, name) in [(Scope::Destination, "destination"), (Scope::Service, "service")] {
        if !found.iter().any(|section| section.scope == scope) {
            found.push(Section { scope, name: name.to_owned(), entries: Vec::new() });
        }
    }
    found.sort_by(|left, right| (left.scope, &left.name).cmp(&(right.scope, &right.name)));
    found
}

#[cfg(test)]
mod tests;
