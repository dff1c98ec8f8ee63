//! The configs of links by REST: what is sent, what it means, and how it is shown.
//!
//! It never shows a secret, and a change is checked against all that the link has then.

use std::collections::BTreeMap;

use crate::control::order::Verb;
use crate::control::row::Origin;
use crate::ids::LinkName;
use crate::settings::describe::ConfigEntry;
use crate::settings::describe::describe;
use crate::settings::link::Defaults;
use crate::settings::link::LinkSettings;
use crate::settings::link::refused;
use crate::settings::names::canonical;

use super::Api;
use super::Reply;
use super::error::Kind;
use super::error::Problem;
use super::noted::Noted;
use super::request::AlterConfigs;
use super::request::AlterEntry;
use super::request::Asked;
use super::request::ConfigData;
use super::request::Object;
use super::request::Operation;
use super::request::PutConfig;
use super::request::shown;
use super::shown::Everything;
use super::shown::LinkShown;

/// How often a change is decided again that somebody else's has overtaken.
const TRIES_MAX: u32 = 3;
/// How many configs one request may change.
const CONFIGS_MAX: usize = 1_000;
/// How many mistakes one refusal tells.
const TOLD_MAX: usize = 20;
/// What pauses a link; it may be set on a declared one too.
pub(super) const PAUSED: &str = "cluster.link.paused";

/// Configs as they were sent, each once; null leaves the default.
pub(super) fn given(configs: &[Object<ConfigData>]) -> Result<BTreeMap<String, String>, Problem> {
    let names: Vec<&str> = configs.iter().map(|config| config.0.name.as_str()).collect();
    check_names(&names)?;
    let set = configs.iter().filter_map(|one| Some((one.0.name.clone(), one.0.value.clone()?)));
    Ok(set.collect())
}

fn check_names(names: &[&str]) -> Result<(), Problem> {
    if names.len() > CONFIGS_MAX {
        let text = format!("One request changes {CONFIGS_MAX} configs at most.");
        return Err(Problem::malformed(text));
    }
    let mut sorted: Vec<&str> = names.iter().map(|name| canonical(name)).collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Problem::malformed(format!("Config {} stands twice.", shown(pair[0])))),
        None => Ok(()),
    }
}

pub(super) async fn alter(api: &Api, asked: &Asked, noted: &mut Noted) -> Result<Reply, Problem> {
    let body: AlterConfigs = asked.json()?;
    let names: Vec<&str> = body.data.iter().map(|entry| entry.0.name.as_str()).collect();
    let told = body.data.iter().map(|entry| told(&entry.0.name, entry.0.value.as_deref()));
    noted.mention(&told.collect::<Vec<_>>());
    check_names(&names)?;
    let changes: Result<BTreeMap<_, _>, Problem> = body.data.iter().map(change_of).collect();
    change(api, asked, changes?, asked.flag("validate_only", false)).await
}

fn change_of(Object(entry): &Object<AlterEntry>) -> Result<(String, Option<String>), Problem> {
    match (entry.operation.unwrap_or(Operation::Set), &entry.value) {
        (Operation::Delete, _) => Ok((entry.name.clone(), None)),
        (Operation::Set, Some(value)) => Ok((entry.name.clone(), Some(value.clone()))),
        (Operation::Set, None) => {
            let text = format!("Config {} is set and has no value.", shown(&entry.name));
            Err(Problem::malformed(text))
        }
    }
}

/// How the log names a config that is changed. Values may be secrets; whether a link is paused is
/// none.
fn told(name: &str, value: Option<&str>) -> String {
    match value {
        Some(value @ ("true" | "false")) if name == PAUSED => format!("{name}={value}"),
        _ => name.to_owned(),
    }
}

pub(super) async fn put(api: &Api, asked: &Asked, noted: &mut Noted) -> Result<Reply, Problem> {
    let body: PutConfig = asked.json()?;
    noted.mention(&[told(asked.param("config_name"), Some(&body.value))]);
    let changes = BTreeMap::from([(asked.param("config_name").to_owned(), Some(body.value))]);
    change(api, asked, changes, false).await
}

pub(super) async fn reset(api: &Api, asked: &Asked) -> Result<Reply, Problem> {
    let changes = BTreeMap::from([(asked.param("config_name").to_owned(), None)]);
    change(api, asked, changes, false).await
}

async fn change(
    api: &Api,
    asked: &Asked,
    changes: BTreeMap<String, Option<String>>,
    is_dry: bool,
) -> Result<Reply, Problem> {
    let link = api.known_link(asked)?;
    let ours = |(name, value): (String, Option<String>)| (canonical(&name).to_owned(), value);
    let changes: BTreeMap<_, _> = changes.into_iter().map(ours).collect();
    for tried in 1.. {
        let seen = api.orders.registry.seen();
        let row = seen.links.get(&link).map(|link| &link.row);
        let row = row.ok_or_else(|| super::no_link(&link.0))?;
        if changes.is_empty() {
            break;
        }
        let verb = match (row.origin, changes.get(PAUSED)) {
            // whatever else was changed meanwhile, a link can be paused
            (_, Some(value)) if changes.len() == 1 => {
                Verb::PauseLink(value.as_deref().map_or(Ok(false), flag)?)
            }
            (Origin::Declared, _) => Verb::AlterLink { configs: changes.clone(), checked: 0 },
            (Origin::Commanded, _) => {
                let configs = changed(&api.orders.defaults, &link, &row.configs, &changes)?;
                Verb::AlterLink { configs, checked: row.generation }
            }
        };
        match api.order(link.clone(), verb, is_dry).await {
            Err(problem)
                if problem.kind == Kind::Conflict && !row.is_leaving && tried < TRIES_MAX => {}
            done => {
                done?;
                break;
            }
        }
    }
    Ok(Reply::Nothing(204))
}

fn flag(value: &str) -> Result<bool, Problem> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Problem::new(Kind::Refused, format!("{PAUSED} must be true or false."))),
    }
}

/// The changes as they are written, once all that the link has then is checked.
fn changed(
    defaults: &Defaults,
    link: &LinkName,
    before: &BTreeMap<String, String>,
    changes: &BTreeMap<String, Option<String>>,
) -> Result<BTreeMap<String, Option<String>>, Problem> {
    let mut after = before.clone();
    let (mut set, mut all) = (BTreeMap::new(), changes.clone());
    for (name, value) in changes {
        match value {
            Some(value) => {
                after.insert(name.clone(), value.clone());
                set.insert(name.clone(), value.clone());
            }
            None => drop(after.remove(name)),
        }
    }
    let new = parsed(defaults, link, &after)?;
    // what was right before may be wrong by now, and a change may mend it
    if let Ok(old) = parsed(defaults, link, before) {
        let fixed = refused(&old, &new);
        if !fixed.is_empty() {
            return Err(wrong(&fixed));
        }
    }
    let kept = defaults.kept(&set).map_err(|problems| wrong(&problems))?;
    all.extend(kept.into_iter().map(|(name, value)| (name, Some(value))));
    Ok(all)
}

/// The configs of a new link as they are written, once they are checked; all mistakes at once.
pub(super) fn checked(
    defaults: &Defaults,
    link: &LinkName,
    configs: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Problem> {
    match (LinkSettings::parse(link, configs, defaults), defaults.kept(configs)) {
        (Ok(_), Ok(kept)) => Ok(kept),
        (read, kept) => {
            let mut problems = read.err().unwrap_or_default();
            problems.extend(kept.err().unwrap_or_default());
            Err(wrong(&problems))
        }
    }
}

fn parsed(
    defaults: &Defaults,
    link: &LinkName,
    configs: &BTreeMap<String, String>,
) -> Result<LinkSettings, Problem> {
    let read = LinkSettings::parse(link, configs, defaults);
    read.map(|(settings, _)| settings).map_err(|problems| wrong(&problems))
}

/// All mistakes at once, as far as people read on.
fn wrong(problems: &[crate::settings::problem::Problem]) -> Problem {
    let mut told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    told.dedup();
    let more = match told.len().saturating_sub(TOLD_MAX) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    told.truncate(TOLD_MAX);
    Problem::new(Kind::Refused, format!("{}{more}", told.join("; ")))
}

/// The configs of a link, by name; those of a declared one as its file has them.
pub(super) fn of(link: &LinkShown, all: &Everything) -> Vec<ConfigEntry> {
    let name = LinkName(link.name.as_str().into());
    match all.seen.links.get(&name).map(|link| &link.row) {
        Some(row) if row.origin == Origin::Commanded => describe(&row.configs),
        _ => all.configs.get(&name).cloned().unwrap_or_default(),
    }
}
