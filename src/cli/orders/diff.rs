//! `isolog group diff`: whether consumer groups can move to the destination now, and why not.
//!
//! It never decides that a group moves: the service gives each its verdict. What the service does
//! not tell of is not known, and nothing at all is no group that moves.

use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;
use tokio::time::sleep_until;

use super::Failure;
use super::Format;
use super::Output;
use super::Remote;
use super::Service;
use super::field;
use super::group::ask;
use super::group::reasons;
use super::items_of;
use super::output::Column;
use super::output::Rows;
use super::stop::seconds;
use super::text;
use crate::cli::say;

/// How often the service is asked whether all groups move: it reads them no more often itself.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// How many groups that are waited for are named.
const NAMED_MAX: usize = 10;
const MOVES: &str = "MOVES";
const UNKNOWN: &str = "UNKNOWN";
/// The task that follows groups, and its states.
const TASK: &str = "ConsumerOffsetSync";
const NOT_CONFIGURED: &str = "NOT_CONFIGURED";
const ACTIVE: &str = "ACTIVE";

const GROUPS: &[Column] = &[
    ("Link Name", "link_name"),
    ("Group", "group"),
    ("Verdict", "verdict"),
    ("Partitions", "partitions"),
    ("Clamped", "clamped"),
    ("Mirror Lag", "mirror_lag"),
    ("Consumer Lag", "consumer_lag"),
    ("Last Sync (ms ago)", "age_ms"),
    ("Against", "against"),
    ("Not Mirrored", "not_mirrored"),
];
/// The same, and what only programs read.
const WHOLE: &[Column] = &[
    ("", "link_name"),
    ("", "group"),
    ("", "verdict"),
    ("", "partitions"),
    ("", "clamped"),
    ("", "mirror_lag"),
    ("", "consumer_lag"),
    ("", "age_ms"),
    ("", "against"),
    ("", "not_mirrored"),
    ("", "mirror_group"),
    ("", "group_type"),
    ("", "unchanged_ms"),
    ("", "interval_ms"),
    ("", "is_active_at_source"),
    ("", "is_listed_at_source"),
    ("", "offsets"),
];

#[derive(clap::Args)]
pub(super) struct Diff {
    /// The groups, by their names at the source or at the destination
    #[arg(value_name = "GROUP", required_unless_present = "all")]
    groups: Vec<String>,
    /// All groups that the link follows, or all links
    #[arg(long, conflicts_with = "groups")]
    all: bool,
    /// Only of this link
    #[arg(long, value_name = "LINK")]
    link: Option<String>,
    /// Wait until all of them move without duplicates
    #[arg(long)]
    wait: bool,
    /// Wait so long at most, exit code 6
    #[arg(long, value_name = "SECONDS", requires = "wait", value_parser = seconds())]
    timeout: Option<u64>,
    #[command(flatten)]
    service: Service,
    #[command(flatten)]
    output: Output,
}

impl Diff {
    pub async fn run(&self) -> Result<(), Failure> {
        let until = self.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let remote = self.service.reached()?;
        loop {
            let found = self.look(&remote).await?;
            let is_over = until.is_some_and(|until| Instant::now() >= until);
            let is_through = left(&found).is_none();
            if is_through || is_over || !self.wait {
                say(&self.draw(&found))?;
                return ended(&found, is_over && !is_through);
            }
            let next = Instant::now() + LOOK_PAUSE;
            sleep_until(until.map_or(next, |until| until.min(next))).await;
        }
    }

    fn is_whole(&self) -> bool {
        self.output.format != Format::Human
    }

    /// A group for each that was asked for.
    async fn look(&self, remote: &Remote) -> Result<Vec<Value>, Failure> {
        let link = self.link.as_deref();
        let mut found = Vec::new();
        for name in &self.groups {
            let own = ask(remote, link, Some(name), self.is_whole()).await?;
            if own.is_empty() {
                found.extend(unfollowed(remote, link, name).await);
            }
            found.extend(own);
        }
        if self.all {
            found = ask(remote, link, None, self.is_whole()).await?;
            let next = "start an isolog of this version there";
            let links = remote.read(&remote.send("GET", "/v1/links", None).await?, next)?;
            let is_asked = |one: &&Value| link.is_none_or(|link| text(one, "name") == link);
            let links: Vec<&Value> = items_of(&links).iter().filter(is_asked).collect();
            let unread = unread(&links, link);
            let is_none = found.is_empty() && unread.is_empty();
            found.extend(unread);
            found.extend(is_none.then(|| {
                unknown(link, "*", "no group is followed: consumer.offset.group.filters says which")
            }));
        }
        Ok(found)
    }

    fn draw(&self, found: &[Value]) -> String {
        let columns = if self.is_whole() { WHOLE } else { GROUPS };
        let mut rows = Rows::new(columns);
        for one in found {
            let named = |(_, name): &Column| match *name {
                "link_name" => field(one, "link"),
                name => field(one, name),
            };
            let human = |value: Value| match (self.is_whole(), value) {
                // several reasons have commas of their own
                (false, Value::Array(all)) => {
                    let all: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
                    Value::String(all.join("; "))
                }
                (_, value) => value,
            };
            rows.push(columns.iter().map(named).map(human).collect());
        }
        rows.draw(self.output.format)
    }
}

/// A group, or a link, of which the service does not tell.
fn unknown(link: Option<&str>, group: &str, why: &str) -> Value {
    json!({"link": link, "group": group, "verdict": UNKNOWN, "against": [why]})
}

/// Why each link does not follow it, as far as that is known.
async fn unfollowed(remote: &Remote, link: Option<&str>, group: &str) -> Vec<Value> {
    // a service of another version has no such answer
    let told = reasons(remote, link, group).await.unwrap_or_default();
    if !told.is_empty() {
        return told;
    }
    let why = "no link follows it now: isolog group list shows those that are followed, and isolog \
               link task list LINK why others are not";
    vec![unknown(link, group, why)]
}

/// Links that do not tell of all their groups.
fn unread(links: &[&Value], asked: Option<&str>) -> Vec<Value> {
    let task = |link: &Value| {
        let tasks = link.get("tasks").map(items_of).unwrap_or_default();
        tasks.iter().find(|task| text(task, "name") == TASK).cloned().unwrap_or_default()
    };
    let mut all = Vec::new();
    for link in links {
        let (name, task) = (text(link, "name"), task(link));
        let (state, code) = (text(&task, "state"), text(&task, "code"));
        let why = match state.as_str() {
            NOT_CONFIGURED if asked.is_none() => continue,
            NOT_CONFIGURED => "the link follows no groups: set consumer.offset.sync.enable and \
                 consumer.offset.group.filters"
                .to_owned(),
            ACTIVE if !field(link, "groups").is_null() => continue,
            ACTIVE => "the link has not read its groups yet".to_owned(),
            _ => format!("{TASK} is {state} ({code}): isolog link task list {name} says why"),
        };
        all.push(unknown(Some(&name), "*", &why));
    }
    if let Some(asked) = asked.filter(|_| links.is_empty()) {
        all.push(unknown(Some(asked), "*", "there is no such link: isolog link list"));
    }
    all
}

/// Those that do not move, by name; `None` where all do.
fn left(found: &[Value]) -> Option<String> {
    let left: Vec<String> = found
        .iter()
        .filter(|one| text(one, "verdict") != MOVES)
        .map(|one| super::plain(&text(one, "group")))
        .collect();
    let named = left.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    match left.len() {
        0 if !found.is_empty() => None,
        count if count > NAMED_MAX => Some(format!("{named} and {} more", count - NAMED_MAX)),
        _ => Some(named),
    }
}

/// What the exit code says.
fn ended(found: &[Value], is_late: bool) -> Result<(), Failure> {
    let Some(names) = left(found) else { return Ok(()) };
    if is_late {
        let text = format!("not in time: {names}; the output says what stands against it");
        return Err(Failure::NotYet(text));
    }
    let is_known = |one: &Value| ![MOVES, UNKNOWN].contains(&text(one, "verdict").as_str());
    match found.iter().any(is_known) {
        true => Err(Failure::Stays),
        false => Err(Failure::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(verdicts: &[&str]) -> Vec<Value> {
        let one = |verdict: &&str| json!({"group": "g", "verdict": verdict});
        verdicts.iter().map(one).collect()
    }

    fn code(done: Result<(), Failure>) -> &'static str {
        match done {
            Ok(()) => "0",
            Err(Failure::Unknown) => "4",
            Err(Failure::NotYet(_)) => "6",
            Err(Failure::Stays) => "7",
            Err(_) => "other",
        }
    }

    #[test]
    fn only_groups_that_all_move_are_a_success() {
        for (verdicts, want) in [
            (&["MOVES", "MOVES"][..], "0"),
            (&["MOVES", "NOT_YET"], "7"),
            (&["MOVES", "UNKNOWN"], "4"),
            (&["UNKNOWN", "NOT_YET"], "7"),
            // a word of another version is no success
            (&["?"], "7"),
            (&[""], "7"),
            (&[], "4"),
        ] {
            assert_eq!(code(ended(&of(verdicts), false)), want, "{verdicts:?}");
        }
        assert_eq!(code(ended(&of(&["UNKNOWN"]), true)), "6");
        assert_eq!(code(ended(&of(&["MOVES"]), true)), "0");
    }

    #[test]
    fn a_link_that_does_not_tell_all_its_groups_is_not_known() {
        let link = |state: &str, groups: Value| {
            let tasks = json!([{"name": TASK, "state": state, "code": "X"}]);
            json!({"name": "dr", "tasks": tasks, "groups": groups})
        };
        let check = |link: Value, asked: Option<&str>, want: &str| {
            let told = unread(&[&link], asked);
            let against = told.first().map(|one| one["against"][0].to_string());
            assert_eq!(against.is_some(), !want.is_empty(), "{told:?}");
            assert!(against.unwrap_or_default().contains(want), "{told:?}");
        };
        let some = json!({"followed": 1});
        check(link(ACTIVE, some.clone()), None, "");
        check(link(ACTIVE, Value::Null), None, "has not read its groups yet");
        check(link("IN_ERROR", some.clone()), None, "ConsumerOffsetSync is IN_ERROR (X)");
        check(link("LINK_PAUSED", Value::Null), None, "is LINK_PAUSED");
        check(link(NOT_CONFIGURED, Value::Null), None, "");
        check(link(NOT_CONFIGURED, Value::Null), Some("dr"), "follows no groups");
        assert_eq!(unread(&[], Some("dr")).len(), 1);
        assert_eq!(unread(&[], None).len(), 0);
    }
}
