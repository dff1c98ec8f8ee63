//! `isolog mirror`: mirror topics, with the words of Cluster Linking's command line.
//!
//! It never looks at a topic itself: the service does.

use clap::Subcommand;
use serde_json::Value;
use serde_json::json;

use super::Failure;
use super::Output;
use super::Question;
use super::Remote;
use super::Service;
use super::configs;
use super::field;
use super::flag;
use super::items;
use super::output::ALTERED;
use super::output::CHECKED;
use super::output::Column;
use super::output::PARTITIONS;
use super::output::Rows;
use super::output::lag_cells;
use super::output::partition_row;
use super::stop::Stop;
use super::tail;
use super::text;
use crate::cli::say;

const MIRRORS: &[Column] = &[
    ("Link Name", "link_name"),
    ("Mirror Topic Name", "mirror_topic_name"),
    ("Source Topic Name", "source_topic_name"),
    ("Mirror Status", "mirror_status"),
    ("Status Time (ms)", "status_time_ms"),
    ("Num Partition", "num_partition"),
    ("Max Per Partition Mirror Lag", "max_per_partition_mirror_lag"),
];
const CREATED: &[Column] = &[
    ("Link Name", "link_name"),
    ("Mirror Topic Name", "mirror_topic_name"),
    ("Created", "created"),
];
const RESTORED: &[Column] = &[
    ("Mirror Topic Name", "mirror_topic_name"),
    ("Partition", "partition"),
    ("Messages Truncated", "messages_truncated"),
    ("Offset Truncated To", "offset_truncated_to"),
    ("Error Message", "error_message"),
    ("Error Code", "error_code"),
];

/// A lag that nobody knows, as the service and Cluster Linking's own command line have it.
const UNKNOWN: i64 = -1;

/// What is tried where a mirror topic is not there.
const LIST: &str = "isolog mirror list";

/// What `isolog mirror` can be told.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Asked(Asked),
    /// What the old source of stopped topics holds that was never mirrored
    Tail(tail::Arguments),
}

/// What a running isolog is asked.
#[derive(Subcommand)]
enum Asked {
    /// Make a topic of the destination a mirror of one at the source
    Create(Box<Create>),
    /// Show the mirror topics of all links, or of one
    List {
        /// Only of this link
        #[arg(long, value_name = "LINK")]
        link: Option<String>,
        /// Only in this state, such as ACTIVE or FAILED
        #[arg(long, value_name = "STATUS")]
        mirror_status: Option<String>,
        #[command(flatten)]
        service: Service,
        #[command(flatten)]
        output: Output,
    },
    /// Show one mirror topic, partition by partition
    Describe {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        output: Output,
    },
    /// Copy nothing of mirror topics until they are resumed
    Pause(Several),
    /// Let mirror topics go on, and try those again that failed
    Resume(Several),
    /// Make mirror topics ordinary ones once they have all that their source has; nothing is lost
    Promote {
        #[command(flatten)]
        stop: Box<Stop>,
        /// Wait for no open transaction of the source: what it holds back is left behind
        #[arg(long)]
        abandon_open_transactions: bool,
    },
    /// Make mirror topics ordinary ones without their source; what was not mirrored is lost
    Failover(Box<Stop>),
    /// Swap roles: promote mirror topics, and make mirrors of them of what was their source
    ///
    /// Nobody can write at the source from then on. Nothing is copied again. The isolog beside the
    /// source needs a link that mirrors these topics from here.
    ReverseAndStart(Box<Stop>),
    /// The same, and what becomes a mirror is paused
    ReverseAndPause(Box<Stop>),
    /// Make topics that were failed over mirrors of what was their mirror: the way back
    ///
    /// A topic that has no more than its former mirror got is compared and gone on with. One that
    /// has more cannot be cut: with --discard-tail it is deleted and copied anew.
    TruncateAndRestore {
        #[command(flatten)]
        some: Several,
        /// What a topic has beyond its former mirror is lost
        #[arg(long)]
        discard_tail: bool,
        /// From where what is deleted is copied anew: earliest, divergence (since the two parted;
        /// the topic has nothing of before) or a time such as 2026-11-21T09:30:00Z; without it
        /// earliest
        #[arg(long, value_name = "WHERE", requires = "discard_tail")]
        from: Option<String>,
    },
    /// Stop mirroring a topic and forget the mirror; its topic stays, unless --topic is given
    Delete {
        #[command(flatten)]
        one: One,
        /// Delete the mirror topic as well, with all its records
        #[arg(long)]
        topic: bool,
        /// Say only what would come of it
        #[arg(long, conflicts_with = "topic")]
        dry_run: bool,
    },
}

#[derive(clap::Args)]
struct Create {
    /// The mirror topic: the source topic's name, behind the link's prefix or in its format
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// The link
    #[arg(long, value_name = "LINK")]
    link: String,
    /// The topic at the source, where it has another name
    #[arg(long, value_name = "TOPIC")]
    source_topic: Option<String>,
    /// Replicas of the new topic; else as the link has it
    #[arg(long, value_name = "N")]
    replication_factor: Option<i16>,
    /// Configs of the new topic: a file of properties, or NAME=VALUE pairs
    #[arg(long, value_name = "FILE|PAIRS", visible_alias = "config-file")]
    config: Vec<String>,
    /// Say only what would come of it
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    service: Service,
    #[command(flatten)]
    output: Output,
}

#[derive(clap::Args)]
struct One {
    /// The mirror topic
    #[arg(value_name = "TOPIC")]
    name: String,
    /// Its link; found where only one has such a mirror topic
    #[arg(long, value_name = "LINK")]
    link: Option<String>,
    #[command(flatten)]
    service: Service,
}

#[derive(clap::Args)]
struct Several {
    /// The mirror topics
    #[arg(value_name = "TOPIC", required = true)]
    names: Vec<String>,
    /// Their link; found where only one has such a mirror topic
    #[arg(long, value_name = "LINK")]
    link: Option<String>,
    /// Say only what would come of it
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    service: Service,
    #[command(flatten)]
    output: Output,
}

/// Obeys one command.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Asked(asked) => super::run(ask(asked)),
        Command::Tail(arguments) => tail::run(arguments),
    }
}

async fn ask(asked: &Asked) -> Result<(), Failure> {
    match asked {
        Asked::Create(create) => create.run().await,
        Asked::List { link, mirror_status, service, output } => {
            let (link, status) = (link.as_deref(), mirror_status.as_deref());
            list(&service.reached()?, link, status, output).await
        }
        Asked::Describe { one, output } => describe(one, output).await,
        Asked::Pause(some) => alter(some, "mirrors:pause").await,
        Asked::Resume(some) => alter(some, "mirrors:resume").await,
        Asked::Promote { stop, abandon_open_transactions } => {
            stop.run("mirrors:promote", *abandon_open_transactions).await
        }
        Asked::Failover(stop) => stop.run("mirrors:failover", false).await,
        Asked::ReverseAndStart(stop) => stop.run("mirrors:reverse-and-start-mirror", false).await,
        Asked::ReverseAndPause(stop) => stop.run("mirrors:reverse-and-pause-mirror", false).await,
        Asked::TruncateAndRestore { some, discard_tail, from } => {
            restore(some, *discard_tail, from.as_deref()).await
        }
        Asked::Delete { one, topic, dry_run } => delete(one, *topic, *dry_run).await,
    }
}

impl Create {
    async fn run(&self) -> Result<(), Failure> {
        let Create { topic, link, .. } = self;
        let mut body = json!({
            "source_topic_name": self.source_topic.as_ref().unwrap_or(topic),
            "mirror_topic_name": topic,
            "configs": configs::data(&configs::read(&self.config)?),
        });
        if let Some(factor) = self.replication_factor {
            body["replication_factor"] = json!(factor);
        }
        let next = "isolog link list, isolog mirror list, or isolog mirror create --help";
        let question = Question {
            method: "POST",
            path: &["links", link, "mirrors"],
            query: flag("validate_only", self.dry_run),
            body: Some(body),
            next,
        };
        self.service.reached()?.ask(question).await?;
        let text = match self.dry_run {
            true => format!("Mirror topic '{topic}' could be created; nothing was done.\n"),
            false => format!(
                "Created mirror topic '{topic}'.\n\
                 Next: isolog mirror describe {topic} --link {link}\n"
            ),
        };
        let mut made = Rows::new(CREATED);
        made.push(vec![json!(link), json!(topic), json!(!self.dry_run)]);
        say(&made.draw_one_or(self.output.format, &text))
    }
}

/// The mirror topics of one link, or of all.
pub(super) async fn mirrors(
    remote: &Remote,
    link: Option<&str>,
    status: Option<&str>,
) -> Result<Vec<Value>, Failure> {
    let query = status.map(|status| ("mirror_status", status.to_ascii_uppercase()));
    let question = Question {
        method: "GET",
        path: &["links", link.unwrap_or("-"), "mirrors"],
        query: query.into_iter().collect(),
        body: None,
        next: "isolog link list",
    };
    Ok(items(&remote.ask(question).await?))
}

async fn list(
    remote: &Remote,
    link: Option<&str>,
    status: Option<&str>,
    output: &Output,
) -> Result<(), Failure> {
    let mut rows = Rows::new(MIRRORS);
    for mirror in mirrors(remote, link, status).await? {
        let lags = mirror.get("mirror_lags").and_then(Value::as_array);
        let lags = lags.into_iter().flatten().filter_map(|lag| lag.get("lag")?.as_i64());
        let lags: Vec<i64> = lags.collect();
        // one that is not known may be the largest
        let most = if lags.contains(&UNKNOWN) { UNKNOWN } else { most_of(lags) };
        rows.push(vec![
            field(&mirror, "link_name"),
            field(&mirror, "mirror_topic_name"),
            field(&mirror, "source_topic_name"),
            field(&mirror, "mirror_status"),
            field(&mirror, "state_time_ms"),
            field(&mirror, "num_partitions"),
            json!(most),
        ]);
    }
    say(&rows.draw(output.format))
}

/// The largest lag; one of no partition is not known.
fn most_of(lags: Vec<i64>) -> i64 {
    lags.into_iter().max().unwrap_or(UNKNOWN)
}

/// The link of a mirror topic: the one that is named, or the only one that has it.
pub(super) async fn link_of(
    remote: &Remote,
    link: Option<&str>,
    topic: &str,
) -> Result<String, Failure> {
    if let Some(link) = link {
        return Ok(link.to_owned());
    }
    let own = mirrors(remote, None, None).await?;
    let own = own.iter().filter(|mirror| text(mirror, "mirror_topic_name") == topic);
    let links: Vec<String> = own.map(|mirror| text(mirror, "link_name")).collect();
    match &links[..] {
        [link] => Ok(link.clone()),
        [] => {
            let text = format!("No link has a mirror topic '{topic}'.\nNext: {LIST}");
            Err(Failure::Failed(text))
        }
        _ => Err(Failure::Failed(format!(
            "Topic '{topic}' is or was a mirror topic of the links {}: name one by --link",
            links.join(", ")
        ))),
    }
}

async fn describe(one: &One, output: &Output) -> Result<(), Failure> {
    let remote = one.service.reached()?;
    let link = link_of(&remote, one.link.as_deref(), &one.name).await?;
    let question = Question {
        method: "GET",
        path: &["links", &link, "mirrors", &one.name],
        query: flag("include_state_transition_errors", true),
        body: None,
        next: LIST,
    };
    let mirror = remote.ask(question).await?;
    let mut rows = Rows::new(PARTITIONS);
    for lag in field(&mirror, "mirror_lags").as_array().into_iter().flatten() {
        rows.push(partition_row(&mirror, lag));
    }
    say(&rows.draw(output.format))?;
    let why = text(&mirror, "mirror_topic_error_message");
    if output.format == super::Format::Human && !why.is_empty() {
        say(&format!("{}\n", super::plain(&why)))?;
    }
    let groups = field(&mirror, "consumer_groups");
    if output.format == super::Format::Human && !groups.is_null() {
        let [synced, clamped, ahead] = ["synced", "clamped", "ahead"]
            .map(|name| field(&groups, name).as_u64().unwrap_or_default());
        let left = field(&groups, "not_synced").as_u64().map(|left| left.to_string());
        let left = left.as_deref().unwrap_or("and nobody knows how many");
        say(&format!(
            "consumer groups when it was stopped: {synced} synced, {clamped} at the end of what \
             was mirrored, {ahead} further here, {left} not synced\n"
        ))?;
    }
    if output.format == super::Format::Human && text(&mirror, "mirror_status") == "PENDING_STOPPED"
    {
        let waits = field(&mirror, "mirror_state_transition_errors");
        for error in waits.as_array().into_iter().flatten() {
            say(&format!("waits: {}\n", super::plain(&text(error, "error_message"))))?;
        }
    }
    Ok(())
}

async fn alter(some: &Several, verb: &str) -> Result<(), Failure> {
    let remote = some.service.reached()?;
    let first = some.names.first().map_or("", String::as_str);
    let link = link_of(&remote, some.link.as_deref(), first).await?;
    let next = format!("isolog mirror list --link {link}");
    let question = Question {
        method: "POST",
        path: &["links", &link, verb],
        query: flag("validate_only", some.dry_run),
        body: Some(json!({"mirror_topic_names": some.names})),
        next: &next,
    };
    let (rows, refused) = altered(&remote.ask(question).await?, false);
    say(&rows.draw(some.output.format))?;
    super::all_obeyed(refused, &next)
}

/// What came of an order, partition by partition, and of how many topics it was refused; with what
/// should be known before, where that is wanted.
pub(super) fn altered(answer: &Value, is_checked: bool) -> (Rows, usize) {
    let mut rows = Rows::new(if is_checked { CHECKED } else { ALTERED });
    let mut refused = 0;
    for topic in items(answer) {
        let name = field(&topic, "mirror_topic_name");
        let (code, why) = (field(&topic, "error_code"), field(&topic, "error_message"));
        let mut checks = is_checked.then(|| field(&topic, "checks"));
        if !code.is_null() {
            refused += 1;
            let row = [name, json!(-1), json!(-1), json!(-1), json!(-1), json!(-1), why, code];
            rows.push(row.into_iter().chain(checks).collect());
            continue;
        }
        for lag in field(&topic, "mirror_lags").as_array().into_iter().flatten() {
            let known = lag_cells(lag).into_iter().chain([Value::Null, Value::Null]);
            let row = [name.clone()].into_iter().chain(known);
            rows.push(row.chain(checks.as_mut().map(Value::take)).collect());
        }
    }
    (rows, refused)
}

async fn restore(some: &Several, discards_tail: bool, from: Option<&str>) -> Result<(), Failure> {
    let Some(link) = &some.link else {
        let text = "Name the link that is to mirror them by --link.\nNext: isolog link list";
        return Err(Failure::Failed(text.to_owned()));
    };
    let next = "isolog mirror tail list, or isolog mirror truncate-and-restore --help";
    let mut query = flag("validate_only", some.dry_run);
    query.extend(flag("include_partition_level_truncation_data", true));
    query.extend(flag("discard_tail", discards_tail));
    query.extend(from.map(|from| ("from", from.to_owned())));
    let question = Question {
        method: "POST",
        path: &["links", link, "mirrors:truncate-and-restore"],
        query,
        body: Some(json!({"mirror_topic_names": some.names})),
        next,
    };
    let answer = some.service.reached()?.ask(question).await?;
    let (mut rows, mut refused) = (Rows::new(RESTORED), 0);
    for topic in items(&answer) {
        let [name, code, why] =
            ["mirror_topic_name", "error_code", "error_message"].map(|name| field(&topic, name));
        refused += usize::from(!code.is_null());
        let each = field(&topic, "partition_level_truncation_data");
        let each = each.as_array().cloned().unwrap_or_default();
        if each.is_empty() {
            rows.push(vec![name, json!(-1), json!(-1), json!(-1), why, code]);
            continue;
        }
        for one in each {
            let [id, lost, to] = ["partition_id", "messages_truncated", "offset_truncated_to"]
                .map(|name| field(&one, name));
            rows.push(vec![name.clone(), id, lost, to, why.clone(), code.clone()]);
        }
    }
    say(&rows.draw(some.output.format))?;
    super::all_obeyed(refused, next)
}

async fn delete(one: &One, and_topic: bool, dry_run: bool) -> Result<(), Failure> {
    let remote = one.service.reached()?;
    let name = one.name.as_str();
    let link = link_of(&remote, one.link.as_deref(), name).await?;
    let path: &[&str] =
        if and_topic { &["topics", name] } else { &["links", &link, "mirrors", name] };
    let query = match and_topic {
        // never as another link's: what was looked up may be another one's by now
        true => vec![("link_name", link.clone())],
        false => flag("validate_only", dry_run),
    };
    remote.ask(Question { method: "DELETE", path, query, body: None, next: LIST }).await?;
    say(&match (dry_run, and_topic) {
        (true, _) => format!("Mirror topic '{name}' could be let go of; nothing was done.\n"),
        (false, true) => format!("Deleted mirror topic '{name}'.\n"),
        (false, false) => {
            format!("'{name}' is no mirror topic any more; its topic is left as it is.\n")
        }
    })
}
