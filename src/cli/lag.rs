//! `isolog lag`: asks a running isolog how far each partition is behind.
//!
//! It never asks a broker, and it computes no lag: the service does.

use std::path::PathBuf;
use std::time::Duration;

use crate::service::view::PartitionView;

use super::Failure;
use super::ask;
use super::ask::Address;
use super::ask::Credentials;
use super::ask::Way;
use super::ask::parse_url;
use super::live::Live;
use super::say;
use super::table::Board;

/// What `isolog lag` can be told.
#[derive(clap::Args)]
pub struct Arguments {
    /// The config file of the running isolog: its `listen` is asked, with its token
    #[arg(long, value_name = "FILE", env = "ISOLOG_CONFIG")]
    config: Option<PathBuf>,
    /// Where the running isolog listens; goes before the address of --config, whose token is sent
    /// all the same [default: http://127.0.0.1:8472]
    #[arg(long, value_name = "URL", env = "ISOLOG_URL", value_parser = parse_url)]
    url: Option<Address>,
    #[command(flatten)]
    credentials: Credentials,
    /// Print one array of objects
    #[arg(long)]
    json: bool,
    /// Ask again and again, and refresh the table in place
    #[arg(long)]
    watch: bool,
    /// The pause between two questions of --watch, in ms
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = interval())]
    interval_ms: u64,
    /// The most rows of the table, those with the largest lag; 0 for all
    #[arg(long, value_name = "N", default_value_t = 40)]
    rows: usize,
    /// Only this link
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    link: Option<String>,
    /// Only this topic
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    topic: Option<String>,
}

fn interval() -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(50..=3_600_000)
}

/// Names go into the query as they are: what could not be in one is refused here.
fn parse_name(text: &str) -> Result<String, String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let ok = !text.is_empty() && text.bytes().all(legal);
    ok.then(|| text.to_owned()).ok_or_else(|| "names are of a-z, A-Z, 0-9, '.', '_', '-'".into())
}

/// Asks once, or until nobody reads any more.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let failed = |cause: std::io::Error| Failure::Failed(format!("cannot start: {cause}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let config = arguments.config.as_deref();
    let (address, way) = arguments.credentials.reach(arguments.url.as_ref(), config)?;
    let (path, named) = (path(arguments), named(arguments));
    let question = Question { address, path, named, way };
    let runtime = runtime.map_err(failed)?;
    if arguments.watch {
        runtime.block_on(watch(arguments, &question))
    } else {
        runtime.block_on(once(arguments, &question))
    }
}

struct Question {
    address: String,
    path: String,
    /// The topic or link that was asked for by name.
    named: Option<String>,
    way: Way,
}

fn path(arguments: &Arguments) -> String {
    let named = |key: &str, name: &Option<String>| name.as_ref().map(|n| format!("{key}={n}"));
    let which = [named("link", &arguments.link), named("topic", &arguments.topic)];
    let query: Vec<String> = which.into_iter().flatten().collect();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("/v1/partitions{mark}{}", query.join("&"))
}

fn named(arguments: &Arguments) -> Option<String> {
    match (&arguments.topic, &arguments.link) {
        (Some(topic), Some(link)) => Some(format!("topic {topic} by link {link}")),
        (Some(topic), None) => Some(format!("topic {topic}")),
        (None, link) => link.as_ref().map(|link| format!("topic by link {link}")),
    }
}

impl Question {
    async fn ask(&self) -> Result<Vec<PartitionView>, Failure> {
        let body = ask::get(&self.address, &self.path, &self.way).await.map_err(Failure::Failed)?;
        let odd = |cause| format!("{} does not answer as isolog does: {cause}", self.address);
        let views: Vec<PartitionView> =
            serde_json::from_slice(&body).map_err(|cause| Failure::Failed(odd(cause)))?;
        match (views.is_empty(), &self.named) {
            (true, Some(named)) => {
                Err(Failure::Failed(format!("isolog at {} mirrors no {named}", self.address)))
            }
            _ => Ok(views),
        }
    }
}

fn json(views: &[PartitionView]) -> String {
    serde_json::to_string(views).expect("views are plain text and numbers") + "\n"
}

async fn once(arguments: &Arguments, question: &Question) -> Result<(), Failure> {
    let views = question.ask().await?;
    if arguments.json {
        return say(&json(&views));
    }
    say(&Board::new(arguments.rows, false).draw(views))
}

/// A question that fails is shown in the table's place: the next one may not.
async fn watch(arguments: &Arguments, question: &Question) -> Result<(), Failure> {
    let mut board = Board::new(arguments.rows, true);
    let screen = Live::new(!arguments.json)?;
    loop {
        let text = match question.ask().await {
            Ok(views) if arguments.json => json(&views),
            Ok(views) => board.draw(views),
            Err(Failure::Failed(cause)) if screen.is_on => format!("{cause}\n"),
            Err(failure) => return Err(failure),
        };
        if screen.is_on {
            screen.show(&text)?
        } else {
            say(&text)?
        }
        tokio::time::sleep(Duration::from_millis(arguments.interval_ms)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_promised_fields() {
        let value: serde_json::Value =
            serde_json::from_str(&json(&[PartitionView::default()])).unwrap();
        for field in [
            "link",
            "topic",
            "partition",
            "state",
            "reason",
            "source_end",
            "destination_end",
            "destination_hwm",
            "lag_records",
            "lag_ms",
        ] {
            assert!(value[0].get(field).is_some(), "{field}");
        }
        assert!(value[0]["lag_records"].is_null());
        assert_eq!(json(&[]), "[]\n");
    }
}
