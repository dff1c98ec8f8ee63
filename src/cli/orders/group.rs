//! `isolog group`: how far the consumer groups that links follow are on both sides.
//!
//! It never asks a coordinator: the service shows what its last turn read and wrote.

use clap::Subcommand;
use serde_json::Value;
use serde_json::json;

use super::Failure;
use super::Output;
use super::Question;
use super::Remote;
use super::Service;
use super::diff::Diff;
use super::field;
use super::flag;
use super::output::Column;
use super::output::Rows;
use super::plain;
use crate::cli::complain;
use crate::cli::say;

/// The order after which a group is not followed.
const FORGET: &str = "groups:forget";
const GROUPS: &[Column] = &[
    ("Link Name", "link_name"),
    ("Group", "group"),
    ("Mirror Group", "mirror_group"),
    ("Type", "group_type"),
    ("Partitions", "partitions"),
    ("Clamped", "clamped"),
    ("Behind", "behind"),
    ("Last Sync (ms ago)", "age_ms"),
    ("Error", "error_code"),
];
const OFFSETS: &[Column] = &[
    ("Link Name", "link_name"),
    ("Group", "group"),
    ("Type", "group_type"),
    ("Mirror Topic Name", "mirror_topic_name"),
    ("Partition", "partition"),
    ("Source Offset", "source_offset"),
    ("Mirror Offset", "mirror_offset"),
    ("State", "state"),
    ("Last Sync (ms ago)", "age_ms"),
    ("Reason", "reason"),
];

/// What `isolog group` can be told.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the consumer groups that links follow
    List {
        #[command(flatten)]
        which: Which,
    },
    /// Show what one group has committed on both sides, partition by partition
    Describe {
        /// The group, by its name at the source or at the destination
        #[arg(value_name = "GROUP")]
        group: String,
        #[command(flatten)]
        which: Which,
    },
    /// Sync the offsets of groups no more, whatever the link's filters say; what they have at the
    /// destination stays
    Forget(Order),
    /// Sync the offsets of forgotten groups again, as the link's filters say
    Follow(Order),
    /// Say of groups whether they can move to the destination now and read no record twice; exit
    /// code 7 where one can not, and 4 where that is not known
    Diff(Diff),
}

#[derive(clap::Args)]
struct Order {
    /// The groups, by their names at the source
    #[arg(value_name = "GROUP", required = true)]
    groups: Vec<String>,
    /// The link that follows them
    #[arg(long, value_name = "LINK")]
    link: String,
    /// Say only what would come of it
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    service: Service,
}

#[derive(clap::Args)]
struct Which {
    /// Only of this link
    #[arg(long, value_name = "LINK")]
    link: Option<String>,
    #[command(flatten)]
    service: Service,
    #[command(flatten)]
    output: Output,
}

/// Does what it was told.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (which, group) = match &arguments.command {
        Command::List { which } => (which, None),
        Command::Describe { group, which } => (which, Some(group.as_str())),
        Command::Diff(diff) => return super::run(diff.run()),
        Command::Forget(order) => return super::run(order.give(FORGET, "forgotten")),
        Command::Follow(order) => return super::run(order.give("groups:follow", "taken up again")),
    };
    let remote = which.service.reached()?;
    let found = super::run(ask(&remote, which.link.as_deref(), group, false))?;
    let rows = match group {
        None => list(&found),
        Some(group) if found.is_empty() => {
            let text = format!(
                "no link follows a group {group:?}; of topics that are STOPPED nothing is followed \
                 any more\nNext: isolog group list shows those that are followed"
            );
            return Err(Failure::Failed(text));
        }
        Some(_) => describe(&found),
    };
    say(&rows.draw(which.output.format))
}

impl Order {
    /// Those that the link does not follow now, as far as the service tells it.
    async fn unknown(&self, remote: &Remote) -> Vec<String> {
        let mut unknown = Vec::new();
        for name in &self.groups {
            let known = ask(remote, Some(&self.link), Some(name), false).await;
            unknown.extend(known.is_ok_and(|all| all.is_empty()).then(|| name.clone()));
        }
        unknown
    }

    async fn give(&self, verb: &str, done: &str) -> Result<(), Failure> {
        let link = &self.link;
        let next = format!("isolog link describe {link} names the groups that it has forgotten");
        let question = Question {
            method: "POST",
            path: &["links", link, verb],
            query: flag("validate_only", self.dry_run),
            body: Some(json!({"consumer_group_ids": self.groups})),
            next: &next,
        };
        let remote = self.service.reached()?;
        let unknown = match verb {
            FORGET => self.unknown(&remote).await,
            _ => Vec::new(),
        };
        remote.ask(question).await?;
        if !unknown.is_empty() {
            complain(&format!(
                "link '{link}' follows no group {} now, and is not to follow it should it come; \
                 isolog group list --link {link} shows those that are followed",
                plain(&unknown.join(", "))
            ));
        }
        let names = plain(&self.groups.join(", "));
        say(&match self.dry_run {
            true => format!("Link '{link}' could have {done} {names}; nothing was done.\n"),
            false => format!("Link '{link}' has {done} {names}.\n"),
        })
    }
}

/// Why links do not follow a group of that name.
pub(super) async fn reasons(
    remote: &Remote,
    link: Option<&str>,
    group: &str,
) -> Result<Vec<Value>, Failure> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(link.map(|link| ("link", link)));
    query.extend_pairs([("group", group), ("unfollowed", "true")]);
    let answer = remote.send("GET", &format!("/v1/groups?{}", query.finish()), None).await?;
    match remote.read(&answer, "start an isolog of this version there")? {
        Value::Array(groups) => Ok(groups),
        _ => Err(remote.odd()),
    }
}

/// The groups that are followed; one that is named has its offsets always.
pub(super) async fn ask(
    remote: &Remote,
    link: Option<&str>,
    group: Option<&str>,
    is_whole: bool,
) -> Result<Vec<Value>, Failure> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(link.map(|link| ("link", link)));
    query.extend_pairs(group.map(|group| ("group", group)));
    query.extend_pairs(is_whole.then_some(("offsets", "true")));
    let answer = remote.send("GET", &format!("/v1/groups?{}", query.finish()), None).await?;
    let next = "start an isolog of this version there";
    match remote.read(&answer, next)? {
        Value::Array(groups) => Ok(groups),
        _ => Err(remote.odd()),
    }
}

fn list(groups: &[Value]) -> Rows {
    let mut rows = Rows::new(GROUPS);
    for group in groups {
        let who = ["link", "group", "mirror_group", "group_type"];
        let how = ["partitions", "clamped", "behind", "age_ms", "error_code"];
        rows.push(who.iter().chain(&how).map(|name| field(group, name)).collect());
    }
    rows
}

fn describe(groups: &[Value]) -> Rows {
    let mut rows = Rows::new(OFFSETS);
    for group in groups {
        let offsets = group.get("offsets").and_then(Value::as_array);
        for offset in offsets.into_iter().flatten() {
            let own = ["topic", "partition", "source_offset", "mirror_offset", "state"];
            let mut row: Vec<Value> =
                ["link", "group", "group_type"].iter().map(|name| field(group, name)).collect();
            row.extend(own.iter().map(|name| field(offset, name)));
            row.extend([field(group, "age_ms"), field(group, "reason")]);
            rows.push(row);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::orders::Format;

    fn groups() -> Vec<Value> {
        vec![json!({
            "link": "dr", "group": "billing", "mirror_group": "w.billing",
            "group_type": "share", "partitions": 2, "clamped": 1, "behind": 0, "age_ms": 40,
            "error_code": "", "reason": "",
            "offsets": [
                {"topic": "w.orders", "partition": 0, "source_offset": 7, "mirror_offset": 7,
                 "state": "synced"},
                {"topic": "w.orders", "partition": 1, "source_offset": 9, "mirror_offset": null,
                 "state": "waiting"},
            ],
        })]
    }

    #[test]
    fn groups_are_listed_and_described_by_partition() {
        let text = list(&groups()).draw(Format::Human);
        let last = text.lines().last().unwrap();
        let words: Vec<&str> = last.split_whitespace().collect();
        assert_eq!(words, ["dr", "billing", "w.billing", "share", "2", "1", "0", "40"]);
        let text = describe(&groups()).draw(Format::Json);
        let rows: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(rows.as_array().map(Vec::len), Some(2));
        assert_eq!(
            (&rows[0]["mirror_offset"], &rows[0]["group_type"]),
            (&json!(7), &json!("share"))
        );
        assert_eq!(
            (&rows[1]["state"], &rows[1]["mirror_offset"]),
            (&json!("waiting"), &Value::Null)
        );
    }
}
