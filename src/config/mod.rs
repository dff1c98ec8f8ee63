//! Text from a file becomes typed options, all mistakes at once.
//!
//! No lower room imports it.

mod access;
mod client_file;
mod exporters;
pub mod file;
mod fill;
mod page;
mod properties;
mod providers;
mod reload;
mod show;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::audit;
use crate::ids::LinkName;
use crate::ids::Side;
use crate::link;
use crate::schemas;
use crate::secure::Exposed;
use crate::secure::FileError;
use crate::secure::Sealer;
use crate::secure::exposed;
use crate::service;
use crate::settings;
use crate::settings::check::Checked;
use crate::settings::describe;
use crate::settings::describe::ConfigEntry;
use crate::settings::link::Defaults;
use crate::settings::link::LinkSettings;
pub use crate::settings::problem::Problem;
use crate::settings::property::Scope;
use crate::settings::relations;
use crate::settings::security;
use crate::settings::trust::Remote;
use crate::settings::value::Value;

use self::file::Section;
use self::fill::Safe;
pub use self::page::page;
use self::providers::Local;
pub use self::reload::Said;
pub use self::show::Row;

/// What is good to know of a file without a link.
const NO_LINK: &str = "no [link.NAME] section: only links that are created by order are mirrored";

/// Everything a config file says, typed; nothing in it can be invalid.
#[derive(Debug)]
pub struct Config {
    /// The links and what they share.
    pub links: link::Settings,
    /// What copies schemas by itself.
    pub exporters: Vec<settings::exporters::Ordered>,
    /// The registry that exporters copy from which are created by order.
    pub exporter_source: Option<schemas::client::Options>,
    /// The counter.
    pub service: service::Options,
    /// Files with secrets in them that every user of this machine can read.
    pub exposed: Vec<Exposed>,
    /// What is no mistake and good to know: what was passed over or counts as something else.
    pub notes: Vec<Problem>,
    /// Seals the secrets of links that are created over REST.
    sealer: Option<Arc<Sealer>>,
    sections: Vec<Checked>,
}

impl Config {
    /// The links as they are audited.
    pub fn audits(&self) -> Vec<audit::LinkOptions> {
        fill::audits(&self.links)
    }

    /// A link that was created by order, as it is audited, out of its row's properties.
    pub fn commanded(
        &self,
        name: &LinkName,
        configs: &BTreeMap<String, String>,
    ) -> Result<audit::LinkOptions, Vec<Problem>> {
        let (link, _notes) = LinkSettings::parse(name, configs, &self.defaults())?;
        Ok(fill::audit(&self.links, &link))
    }

    /// What a link gets that is created over REST.
    pub fn defaults(&self) -> Defaults {
        let remote = Remote { sealer: self.sealer.clone() };
        Defaults::remote(self.links.shared, self.links.destination.bootstrap.clone(), remote)
    }

    /// The exporters of the file, and what one gets that is created over REST.
    pub fn exporting(&self) -> service::Exporting {
        let trust = Arc::new(Remote { sealer: self.sealer.clone() });
        let source = self.exporter_source.clone();
        let defaults = settings::exporters::Defaults { source, trust };
        service::Exporting { declared: self.exporters.clone(), defaults }
    }

    /// The configs of each link, as REST lists them.
    pub fn declared(&self) -> BTreeMap<LinkName, Vec<ConfigEntry>> {
        let named = |section: &Checked| {
            let name =
                section.name.strip_prefix("link.").filter(|_| section.scope == Scope::Link)?;
            Some((LinkName(name.into()), describe::declared(section)))
        };
        self.sections.iter().filter_map(named).collect()
    }

    /// What the file says of its links, for those who run and show them.
    pub fn said(&self) -> service::FileSaid {
        service::FileSaid { links: self.links.links.clone(), declared: self.declared() }
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

/// Reads a file of properties as a Kafka client reads it, of at most the size of a config file.
pub fn properties_of(path: &Path) -> Result<BTreeMap<String, String>, String> {
    file::pairs(path)
}

/// Reads how a schema registry is asked, from a file of properties.
pub fn registry_of(path: &Path) -> Result<schemas::client::Options, Vec<Problem>> {
    let read = file::pairs_seen(path).map_err(|text| vec![Problem::general(text)])?;
    let (pairs, everybody) = read;
    let dir = path.parent().unwrap_or(Path::new(".")).to_owned();
    let of_file = |text: String| Problem::general(format!("{}: {text}", path.display()));
    let read = settings::registry::registry(&pairs, &Local { dir });
    let read = read.map_err(|problems| problems.into_iter().map(of_file).collect::<Vec<_>>())?;
    // whoever writes it could have the login sent to an address of his own
    if everybody.writes && !matches!(read.auth, schemas::client::Auth::None) {
        let refused = FileError::WorldWritable(path.to_owned());
        return Err(vec![Problem::general(refused.to_string())]);
    }
    Ok(read)
}

/// Reads a config file; the error holds every mistake in it, never an empty list.
pub fn load(path: &Path) -> Result<Config, Vec<Problem>> {
    let read = file::read_text(path).map_err(|text| vec![Problem::general(text)])?;
    let (text, everybody) = read;
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut config = load_from(&text, dir, everybody.writes.then_some(path))?;
    if config.sections.iter().any(Checked::has_inline_secret) {
        config.exposed.extend(exposed(path));
    }
    Ok(config)
}

/// Reads the text of a config file; paths in it are relative to `dir`.
pub fn load_text(text: &str, dir: &Path) -> Result<Config, Vec<Problem>> {
    load_from(text, dir, None)
}

/// `open` is the file itself where every user of this machine can write it: then it may not log in
/// anywhere, or whoever writes it could have the login sent to an address of his own.
fn load_from(text: &str, dir: &Path, open: Option<&Path>) -> Result<Config, Vec<Problem>> {
    let (found, mut problems) = file::sections(text);
    if found.is_empty() {
        return Err(problems);
    }
    let mut sections = Vec::new();
    for section in with_all_scopes(found) {
        let (checked, wrong) = client_file::check(section, dir);
        sections.push(checked);
        problems.extend(wrong);
    }
    if let Some(path) = open.filter(|_| sections.iter().any(Checked::has_secret)) {
        problems.push(Problem::general(FileError::WorldWritable(path.to_owned()).to_string()));
    }
    problems.extend(relations::check(&sections));
    let safe = secured(&sections, dir, &mut problems);
    let exporters = exporters::exporters(&sections, dir, &mut problems);
    let exporter_source = exporters::source(&sections, dir, &mut problems);
    match fill::fill(&sections, &safe) {
        Some((links, service)) if problems.is_empty() => {
            let exposed = all_exposed(&sections);
            let mut notes: Vec<Problem> =
                sections.iter().flat_map(|section| section.notes.clone()).collect();
            notes.extend(relations::notes(&sections));
            notes.extend(exporters::notes(&exporters));
            if links.links.is_empty() {
                notes.push(Problem::general(NO_LINK));
            }
            let sealer = safe.sealer;
            Ok(Config {
                links,
                exporters,
                exporter_source,
                service,
                exposed,
                notes,
                sealer,
                sections,
            })
        }
        _ => Err(problems),
    }
}

/// Opens the stores and puts the logins together.
fn secured(sections: &[Checked], dir: &Path, problems: &mut Vec<Problem>) -> Safe {
    let trust = Local { dir: dir.to_owned() };
    let mut safe = Safe::default();
    for section in sections {
        let side = match section.scope {
            Scope::Destination => Side::Destination,
            Scope::Link => Side::Source,
            Scope::Service => {
                match access::service(section, &trust) {
                    Ok(access) => safe.listen = listen(section, access, problems),
                    Err(problem) => problems.push(problem),
                }
                match access::sealer(section, &trust) {
                    Ok(sealer) => safe.sealer = sealer.map(Arc::new),
                    Err(problem) => problems.push(problem),
                }
                continue;
            }
            Scope::Process | Scope::Schemas | Scope::Commanded => continue,
        };
        match security::cluster(section, side, &trust) {
            Ok(security) => drop(safe.clusters.insert(section.name.clone(), security)),
            Err(problem) => problems.extend(problem),
        }
    }
    safe
}

fn listen(
    section: &Checked,
    access: service::Access,
    problems: &mut Vec<Problem>,
) -> Option<service::Listen> {
    let Value::Listen(address) = section.value("listen")? else { return None };
    let name = "advertised.url";
    if section.text(name).is_some_and(|text| !text.is_empty()) && !access.is_guarded() {
        let told = "is where others come from, and nobody is asked who they are: set token, or \
                    operate.token and read.token, or ssl.client.auth = \"required\"";
        problems.push(Problem::at(section.place(), Some(name), told));
    }
    let made = service::Listen::new(*address, access);
    let refused =
        |error: &service::NotSafe| Problem::at(section.place(), Some("listen"), error.to_string());
    made.map_err(|error| problems.push(refused(&error))).ok()
}

fn all_exposed(sections: &[Checked]) -> Vec<Exposed> {
    let files = sections.iter().flat_map(|section| &section.secret_files);
    let all: BTreeSet<Exposed> = files.filter_map(|path| exposed(path)).collect();
    all.into_iter().collect()
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
