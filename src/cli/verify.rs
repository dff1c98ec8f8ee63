//! `isolog verify`: compares a link's two sides and says where they differ.
//!
//! It never compares anything itself.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio_util::sync::CancellationToken;

use crate::audit::Dials;
use crate::audit::LinkOptions;
use crate::audit::compare::Difference;
use crate::audit::shown::Part;
use crate::audit::shown::Shown;
use crate::audit::survey::PartitionReport;
use crate::audit::survey::Report;
use crate::audit::survey::Verdict;
use crate::audit::verify;
use crate::audit::verify::Ask;
use crate::audit::verify::Progress;
use crate::config;
use crate::ids::TopicName;

use super::Failure;
use super::bar;
use super::grid::Grid;
use super::plain;
use super::say;

/// What the audits of a link share on the command line.
#[derive(clap::Args)]
pub struct Which {
    /// The config file of the link
    #[arg(long, value_name = "FILE", env = "ISOLOG_CONFIG")]
    pub config: PathBuf,
    /// Only this link [default: every link of the file]
    #[arg(long, value_name = "NAME")]
    pub link: Option<String>,
    /// Only this topic; may be given again
    #[arg(long, value_name = "NAME", value_parser = parse_topic)]
    pub topic: Vec<TopicName>,
    /// Partitions that are read at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = workers())]
    pub workers: u16,
    /// What one fetch asks for, in bytes; memory is about 6 times that for each worker
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20, value_parser = fetch_bytes())]
    pub fetch_bytes: i32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What `isolog verify` can be told.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Go on from this file, and write into it how far it came
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Show every partition, not only those with something to say
    #[arg(long)]
    all: bool,
}

fn workers() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=256)
}

/// Brokers cap a fetch at 55 MB of their own accord.
fn fetch_bytes() -> clap::builder::RangedI64ValueParser<i32> {
    clap::value_parser!(i32).range(65_536..=52_428_800)
}

fn parse_topic(text: &str) -> Result<TopicName, String> {
    TopicName::new(text).ok_or_else(|| "no topic has such a name".to_owned())
}

impl Which {
    /// The links that are meant: where topics are named those that mirror one of them. Each topic
    /// must be one that they mirror.
    pub fn links_with_topics(&self) -> Result<Vec<LinkOptions>, Failure> {
        let mut links = self.links()?;
        let is_mirrored = |name: &&TopicName| links.iter().any(|link| link.topics.matches(name));
        match self.topic.iter().find(|name| !is_mirrored(name)) {
            None => {
                let has_one =
                    |link: &LinkOptions| self.topic.iter().any(|t| link.topics.matches(t));
                links.retain(|link| match self.topic.is_empty() {
                    // one that copies ACLs alone has nothing to be compared
                    true => link.topics.includes_anything(),
                    false => has_one(link),
                });
                Ok(links)
            }
            Some(name) => {
                let names: Vec<String> = links.iter().map(|link| link.name.to_string()).collect();
                Err(Failure::Failed(format!(
                    "link {} does not mirror topic {name}: mirror.topics does not match it",
                    names.join(", ")
                )))
            }
        }
    }

    /// The links that are meant.
    pub fn links(&self) -> Result<Vec<LinkOptions>, Failure> {
        let config = config::load(&self.config).map_err(Failure::Misused)?;
        let named =
            |link: &LinkOptions| self.link.as_ref().is_none_or(|name| *name == *link.name.0);
        let links: Vec<LinkOptions> = config.audits().into_iter().filter(named).collect();
        match (links.is_empty(), &self.link) {
            (true, Some(name)) => Err(Failure::Failed(format!("there is no link {name}"))),
            (true, None) => Err(Failure::Failed(
                "the config file has no [link.NAME] section: there is nothing to read here. Links \
                 that were created by order are in the journal: isolog lag shows how far they are"
                    .to_owned(),
            )),
            _ => Ok(links),
        }
    }
}

/// Compares every link that is meant.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let links = arguments.which.links_with_topics()?;
    if arguments.state.is_some() && links.len() > 1 {
        return Err(Failure::Failed("a state file is for one link: add --link NAME".to_owned()));
    }
    let reports = super::wait(async |stop| {
        let mut reports = Vec::new();
        for link in &links {
            reports.push(compare(arguments, link, stop).await?);
        }
        Ok(reports)
    })?;
    say(&match arguments.which.json {
        true => serde_json::to_string(&reports).expect("reports are plain text and numbers") + "\n",
        false => reports.iter().map(|report| draw(report, arguments.all)).collect(),
    })?;
    match reports.iter().map(|report| report.verdict).max() {
        Some(Verdict::Different) => Err(Failure::No),
        Some(Verdict::Unknown) => Err(Failure::Unknown),
        _ => Ok(()),
    }
}

async fn compare(
    arguments: &Arguments,
    link: &LinkOptions,
    stop: &CancellationToken,
) -> Result<Report, Failure> {
    let ask = Ask {
        workers: usize::from(arguments.which.workers),
        fetch_bytes: arguments.which.fetch_bytes,
        topics: arguments.which.topic.clone(),
        state: arguments.state.clone(),
    };
    let progress = Arc::new(Progress::default());
    let shown = bar::show(&progress, std::io::stderr().is_terminal());
    let dials = Dials::real(link);
    let done = verify::run(link, &dials, &ask, &progress, stop).await;
    shown.end().await;
    done.map_err(|error| Failure::Failed(error.to_string()))
}

/// The report as people read it.
fn draw(report: &Report, all: bool) -> String {
    let is_quiet = |one: &PartitionReport| one.verdict == Verdict::Equal && one.note.is_empty();
    let mut grid = Grid::new(
        &["TOPIC", "PARTITION", "FROM", "TO", "RECORDS", "FILLERS", "VERDICT", "NOTE"],
        &[1, 2, 3, 4, 5],
    );
    for one in report.partitions.iter().filter(|one| all || !is_quiet(one)) {
        let number = |number: Option<i64>| number.map_or("?".to_owned(), |n| n.to_string());
        grid.row([
            plain(&one.topic),
            one.partition.to_string(),
            number(one.from),
            number(one.to),
            one.tally.records.to_string(),
            one.fillers.to_string(),
            word(one.verdict).to_owned(),
            plain(&one.note),
        ]);
    }
    let mut text = format!(
        "link {}: source cluster {}, destination cluster {}\n",
        plain(&report.link),
        plain(&report.source_cluster),
        plain(&report.destination_cluster)
    );
    text.push_str(&grid.draw());
    for one in &report.partitions {
        let at = format!("{}-{}", plain(&one.topic), one.partition);
        text.extend(one.differences.iter().map(|difference| show(&at, difference)));
        let more = one.tally.differences.saturating_sub(one.differences.len() as u64);
        if more > 0 {
            text.push_str(&format!("{at}: {more} more differences\n"));
        }
    }
    text + &summary(report)
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Equal => "equal",
        Verdict::Unknown => "UNKNOWN",
        Verdict::Different => "DIFFERENT",
    }
}

fn summary(report: &Report) -> String {
    let all = &report.partitions;
    let of = |verdict| all.iter().filter(|one| one.verdict == verdict).count();
    let sum = |number: fn(&PartitionReport) -> u64| all.iter().map(number).sum::<u64>();
    format!(
        "{} partitions: {} equal, {} unknown, {} different; {} records equal, {} of them in \
         batches of equal bytes; {} offsets filled; {} records compacted on one side; {} records \
         held by open transactions\n",
        all.len(),
        of(Verdict::Equal),
        of(Verdict::Unknown),
        of(Verdict::Different),
        sum(|one| one.tally.records),
        sum(|one| one.tally.records - one.tally.reencoded),
        sum(|one| one.fillers + one.tally.marked_fillers + one.tally.repeats),
        sum(|one| one.tally.compacted),
        sum(|one| one.held),
    )
}

fn show(at: &str, difference: &Difference) -> String {
    let what = serde_json::to_value(difference.what).expect("a word");
    let what = what.as_str().unwrap_or_default().replace('_', " ");
    if difference.source.is_none() && difference.destination.is_none() {
        return format!("{at} offset {}: {what} (an earlier run showed it)\n", difference.offset);
    }
    format!(
        "{at} offset {}: {what}\n  source:      {}\n  destination: {}\n",
        difference.offset,
        record(difference.source.as_ref()),
        record(difference.destination.as_ref())
    )
}

fn record(shown: Option<&Shown>) -> String {
    let part = |part: &Part| match &part.blake3 {
        None => format!("\"{}\"", part.text),
        Some(hash) => format!("\"{}\"… ({} bytes, blake3 {hash})", part.text, part.bytes),
    };
    let nullable = |it: &Option<Part>| it.as_ref().map_or("null".to_owned(), part);
    let Some(shown) = shown else { return "no record".to_owned() };
    let headers: Vec<String> = shown
        .headers
        .iter()
        .map(|(name, value)| format!("{}={}", part(name), nullable(value)))
        .collect();
    let more = shown.header_count - headers.len();
    let more = if more > 0 { format!(", {more} more") } else { String::new() };
    format!(
        "time {}, key {}, value {}, headers [{}{more}]",
        shown.timestamp,
        nullable(&shown.key),
        nullable(&shown.value),
        headers.join(", ")
    )
}

/// Reads the counters for a line of progress.
pub fn line(progress: &Progress) -> bar::Line {
    bar::Line {
        done: progress.offsets_done.load(Relaxed),
        all: progress.offsets_all.load(Relaxed),
        bytes: progress.bytes.load(Relaxed),
        partitions: (progress.partitions_done.load(Relaxed), progress.partitions_all.load(Relaxed)),
        differences: progress.differences.load(Relaxed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_mirrors_none_of_the_topics_is_not_meant() {
        let dir = std::env::temp_dir().join(format!("isolog-which-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("isolog.toml");
        let links = ["west", "east"].map(|name| {
            format!("[link.{name}]\nbootstrap.servers = '{name}:9092'\nmirror.topics = '{name}*'\n")
        });
        let text = format!("[destination]\nbootstrap.servers = 'here:9092'\n{}", links.concat());
        std::fs::write(&file, text).unwrap();
        let meant = |topics: &[&str]| {
            let which = Which {
                config: file.clone(),
                link: None,
                topic: topics.iter().map(|name| TopicName::new(name).unwrap()).collect(),
                workers: 1,
                fetch_bytes: 65_536,
                json: false,
            };
            let links = which.links_with_topics()?;
            Ok(links.iter().map(|link| link.name.to_string()).collect::<Vec<_>>())
        };
        let meant = |topics: &[&str]| meant(topics).map_err(|cause: Failure| format!("{cause:?}"));
        assert_eq!(meant(&[]), Ok(vec!["east".to_owned(), "west".to_owned()]));
        assert_eq!(meant(&["west-1"]), Ok(vec!["west".to_owned()]));
        assert!(meant(&["west-1", "other"]).unwrap_err().contains("does not mirror topic other"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
