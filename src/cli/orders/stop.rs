//! `isolog mirror promote` and `isolog mirror failover`: ordered, and waited for where that is
//! asked.
//!
//! It never decides when a topic is through: the service says STOPPED.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tokio::time::Instant;
use tokio::time::sleep;

use super::Failure;
use super::Format;
use super::Output;
use super::Question;
use super::Remote;
use super::Service;
use super::flag;
use super::items;
use super::mirror::PARTITIONS;
use super::mirror::altered;
use super::mirror::field;
use super::mirror::link_of;
use super::mirror::mirrors;
use super::output::Rows;
use super::plain;
use super::text;
use crate::cli::say;

/// How often the service is asked whether all topics are through.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// How many topics that are waited for are named.
const NAMED_MAX: usize = 10;
/// Every name.
const ALL: &str = ".*";

#[derive(clap::Args)]
pub(super) struct Stop {
    /// The mirror topics
    #[arg(value_name = "TOPIC", required_unless_present_any = ["pattern", "all"])]
    names: Vec<String>,
    /// All mirror topics of the link whose whole names fit this regular expression
    #[arg(long, value_name = "REGEX", requires = "link", conflicts_with_all = ["names", "all"])]
    pattern: Option<String>,
    /// All mirror topics of the link
    #[arg(long, requires = "link", conflicts_with = "names")]
    all: bool,
    /// Their link; found where only one has such a mirror topic
    #[arg(long, value_name = "LINK")]
    link: Option<String>,
    /// Say only what would come of it, and how far each partition is behind
    #[arg(long)]
    dry_run: bool,
    /// Wait until all of them are STOPPED
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// Wait so long at most, exit code 6: a promote that is not level mirrors on, a failover is
    /// not taken back
    #[arg(long, value_name = "SECONDS", value_parser = seconds())]
    timeout: Option<u64>,
    #[command(flatten)]
    service: Service,
    #[command(flatten)]
    output: Output,
}

/// A second to thirty days.
fn seconds() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=2_592_000)
}

impl Stop {
    pub async fn run(&self, verb: &str) -> Result<(), Failure> {
        let began = Instant::now();
        let remote = self.service.reached()?;
        let first = self.names.first().map_or("", String::as_str);
        let link = link_of(&remote, self.link.as_deref(), first).await?;
        let next = format!("isolog mirror list --link {link}");
        let mut query = flag("validate_only", self.dry_run);
        if let Some(seconds) = self.timeout.filter(|_| verb == "mirrors:promote") {
            query.push(("timeout_ms", (seconds * 1_000).to_string()));
        }
        let body = match (&self.pattern, self.all) {
            (Some(pattern), _) => json!({"mirror_topic_name_pattern": pattern}),
            (None, true) => json!({"mirror_topic_name_pattern": ALL}),
            (None, false) => json!({"mirror_topic_names": self.names}),
        };
        let path = &["links", &link, verb];
        let question = Question { method: "POST", path, query, body: Some(body), next: &next };
        let answer = remote.ask(question).await?;
        if items(&answer).is_empty() {
            return Err(Failure::Failed(format!("{}\nNext: {next}", self.nothing(&link))));
        }
        let (rows, refused) = altered(&answer);
        let done = |topic: &Value| field(topic, "error_code").is_null();
        let topics = items(&answer).into_iter().filter(done);
        let topics: BTreeSet<String> = topics.map(|one| text(&one, "mirror_topic_name")).collect();
        if self.wait {
            if refused > 0 {
                say(&rows.draw(self.output.format))?;
            }
            self.wait(&remote, (&link, &topics), began).await?;
        } else {
            say(&rows.draw(self.output.format))?;
            if self.output.format == Format::Human && !self.dry_run && refused == 0 {
                say(&format!(
                    "They are writable for others when they are STOPPED.\n\
                     Next: isolog mirror list --link {link}, or the same order with --wait\n"
                ))?;
            }
        }
        match refused {
            0 => Ok(()),
            count => Err(Failure::Failed(format!("{count} of them not obeyed\nNext: {next}"))),
        }
    }

    /// A name that is mistyped must not look like a topic that was moved.
    fn nothing(&self, link: &str) -> String {
        match &self.pattern {
            Some(pattern) => format!(
                "No mirror topic of link '{link}' has a name that {pattern:?} matches as a whole: \
                 nothing was done"
            ),
            None => format!("Link '{link}' has no mirror topic: nothing was done"),
        }
    }

    /// Asks until all of them are STOPPED, then shows where each ended.
    async fn wait(
        &self,
        remote: &Remote,
        (link, topics): (&str, &BTreeSet<String>),
        began: Instant,
    ) -> Result<(), Failure> {
        let until = self.timeout.map(|seconds| began + Duration::from_secs(seconds));
        loop {
            let all = mirrors(remote, Some(link), None).await?;
            let own = |one: &&Value| topics.contains(&text(one, "mirror_topic_name"));
            let own: Vec<&Value> = all.iter().filter(own).collect();
            let is_stopped = |one: &&&Value| text(one, "mirror_status") == "STOPPED";
            let waiting: Vec<&&Value> = own.iter().filter(|one| !is_stopped(one)).collect();
            let is_given_back = waiting.iter().any(|one| {
                let status = text(one, "mirror_status");
                status != "PENDING_STOPPED"
            });
            if waiting.is_empty() {
                return self.show(&own);
            }
            if is_given_back || until.is_some_and(|until| Instant::now() >= until) {
                self.show(&own)?;
                let names = waiting.iter().map(|one| text(one, "mirror_topic_name"));
                return Err(not_yet(remote, link, names.collect()).await);
            }
            sleep(LOOK_PAUSE).await;
        }
    }

    fn show(&self, topics: &[&Value]) -> Result<(), Failure> {
        let mut rows = Rows::new(PARTITIONS);
        for mirror in topics {
            for lag in field(mirror, "mirror_lags").as_array().into_iter().flatten() {
                rows.push(vec![
                    field(mirror, "link_name"),
                    field(mirror, "mirror_topic_name"),
                    field(mirror, "source_topic_name"),
                    field(mirror, "mirror_status"),
                    field(mirror, "mirror_topic_error"),
                    field(mirror, "state_time_ms"),
                    field(lag, "partition"),
                    field(lag, "lag"),
                    field(lag, "last_source_fetch_offset"),
                ]);
            }
        }
        say(&rows.draw(self.output.format))
    }
}

/// What the topics wait for that are not through.
async fn not_yet(remote: &Remote, link: &str, names: Vec<String>) -> Failure {
    let mut told = format!("{} of them are not STOPPED yet\n", names.len());
    for name in names.iter().take(NAMED_MAX) {
        let question = Question {
            method: "GET",
            path: &["links", link, "mirrors", name],
            query: flag("include_state_transition_errors", true),
            body: None,
            next: "isolog mirror list",
        };
        let Ok(mirror) = remote.ask(question).await else { continue };
        let status = text(&mirror, "mirror_status");
        told.push_str(&format!("{name}: {status}\n"));
        let errors = field(&mirror, "mirror_state_transition_errors");
        for error in errors.as_array().into_iter().flatten() {
            told.push_str(&format!("  {}\n", plain(&text(error, "error_message"))));
        }
    }
    told.push_str(&format!("Next: isolog mirror describe TOPIC --link {link}"));
    Failure::NotYet(told)
}
