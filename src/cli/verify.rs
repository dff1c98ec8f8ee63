//! `isolog verify`: compares a link's two sides and says where they differ.
//!
//! It never compares anything itself.

mod which;

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

use super::Failure;
use super::bar;
use super::grid::Grid;
use super::plain;
use super::say;
pub use which::Meant;
pub use which::Which;
pub use which::named;

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

/// Compares every link that is meant.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Meant { links, is_whole } = arguments.which.links_with_topics()?;
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
        _ if !is_whole => Err(Failure::Unknown),
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
            both_names(&one.topic, one.mirror_topic.as_deref()),
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

/// A topic by its names at the source and at the destination, where they differ.
pub fn both_names(topic: &str, mirror: Option<&str>) -> String {
    match mirror {
        Some(mirror) => format!("{} → {}", plain(topic), plain(mirror)),
        None => plain(topic),
    }
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
