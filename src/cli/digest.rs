//! `isolog digest`: digests of one side, a JSON object a line, or compared with the other side's.
//!
//! It never reads both sides: `isolog verify` does.

use std::io::IsTerminal;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::audit::Dials;
use crate::audit::LinkOptions;
use crate::audit::digest;
use crate::audit::digest::Ask;
use crate::audit::digest::Report;
use crate::audit::digest::Row;
use crate::audit::verify::Progress;
use crate::ids::Side;

use super::Failure;
use super::bar;
use super::complain;
use super::plain;
use super::say;
use super::verify::Which;

/// The form of the lines; another one is refused.
const FORM: u32 = 1;

/// What `isolog digest` can be told.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Which side is read
    #[arg(long, value_parser = parse_side)]
    side: Side,
    /// Offsets of a range
    #[arg(long, value_name = "OFFSETS", default_value_t = 1_000_000, value_parser = range())]
    range: u64,
    /// Digest the ranges of this file, which the other side has written, and say which differ
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    isolog_digest: u32,
    algorithm: String,
    link: String,
    side: String,
    cluster: String,
}

fn range() -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(1..=1 << 40)
}

fn parse_side(text: &str) -> Result<Side, String> {
    match text {
        "source" => Ok(Side::Source),
        "destination" => Ok(Side::Destination),
        _ => Err("must be source or destination".to_owned()),
    }
}

/// Digests one link.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let links = arguments.which.links_with_topics()?.links;
    let [link] = links.as_slice() else {
        return Err(Failure::Failed("digests are of one link: add --link NAME".to_owned()));
    };
    let (of, against) = arguments.against.as_deref().map(read).transpose()?.unzip();
    let ask = Ask {
        side: arguments.side,
        range: arguments.range,
        topics: arguments.which.topic.clone(),
        workers: usize::from(arguments.which.workers),
        fetch_bytes: arguments.which.fetch_bytes,
        against,
    };
    let report = super::wait(async |stop| digests(link, &ask, stop).await)?;
    if let Some(head) = of.filter(|head| head.cluster == report.cluster) {
        return Err(Failure::Failed(format!(
            "the file of --against was made of this very cluster ({}, side {}): digests of the \
             other side prove something, so make it there, or read the other side here",
            plain(&head.cluster),
            plain(&head.side)
        )));
    }
    for failed in &report.failed {
        complain(&plain(failed));
    }
    let differs = match &ask.against {
        None => {
            say(&lines(link, &ask, &report))?;
            false
        }
        Some(theirs) => tell(&report.rows, theirs)?,
    };
    match (differs, report.failed.is_empty()) {
        (true, _) => Err(Failure::No),
        (false, false) => Err(Failure::Unknown),
        (false, true) => Ok(()),
    }
}

async fn digests(
    link: &LinkOptions,
    ask: &Ask,
    stop: &CancellationToken,
) -> Result<Report, Failure> {
    let progress = Arc::new(Progress::default());
    let shown = bar::show(&progress, std::io::stderr().is_terminal());
    let done = digest::run(link, &Dials::real(link), ask, &progress, stop).await;
    shown.end().await;
    done.map_err(|error| Failure::Failed(error.to_string()))
}

fn lines(link: &LinkOptions, ask: &Ask, report: &Report) -> String {
    let head = Head {
        isolog_digest: FORM,
        algorithm: "blake3".to_owned(),
        link: link.name.to_string(),
        side: ask.side.to_string(),
        cluster: report.cluster.clone(),
    };
    let head = serde_json::to_string(&head).expect("a head is plain text");
    let rows = report
        .rows
        .iter()
        .map(|row| serde_json::to_string(row).expect("rows are plain text and numbers") + "\n");
    format!("{head}\n{}", rows.collect::<String>())
}

fn read(path: &Path) -> Result<(Head, Vec<Row>), Failure> {
    let failed = |why: String| Failure::Failed(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    parse(&text).map_err(failed)
}

fn parse(text: &str) -> Result<(Head, Vec<Row>), String> {
    let mut lines = text.lines();
    let head: Head = serde_json::from_str(lines.next().unwrap_or_default())
        .map_err(|error| format!("no digests: {error}"))?;
    if head.isolog_digest != FORM {
        return Err(format!("of form {}, this release writes {FORM}", head.isolog_digest));
    }
    let rows = lines.enumerate().map(|(at, line)| {
        serde_json::from_str(line).map_err(|error| format!("line {}: {error}", at + 2))
    });
    let rows: Vec<Row> = rows.collect::<Result<_, String>>()?;
    if rows.is_empty() {
        return Err("it holds no range: there is nothing to compare with".to_owned());
    }
    Ok((head, rows))
}

/// Says which ranges differ; whether there are any.
fn tell(ours: &[Row], theirs: &[Row]) -> Result<bool, Failure> {
    let differing = digest::differing(ours, theirs);
    let lines = differing.iter().map(|row| {
        let topic = plain(&row.topic);
        format!("{topic}-{} {}..{}: DIFFERENT\n", row.partition, row.from, row.to)
    });
    let all: String = lines.collect();
    let count = ours.len() - differing.len();
    say(&format!("{all}{count} ranges equal, {} different\n", differing.len()))?;
    Ok(!differing.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digests_of_this_form_are_read() {
        let head =
            r#"{"isolog_digest":1,"algorithm":"blake3","link":"l","side":"s","cluster":"c"}"#;
        let row =
            r#"{"topic":"a","partition":0,"from":0,"to":9,"records":3,"bytes":7,"digest":""}"#;
        assert_eq!(parse(&format!("{head}\n{row}\n")).unwrap().1[0].to, 9);
        let wrong = |text: &str| parse(text).map(|(_, rows)| rows).unwrap_err();
        assert!(wrong(&head.replace(":1", ":2")).contains("form 2"));
        assert!(wrong(&format!("{head}\n{{")).starts_with("line 2"));
        assert!(wrong("").starts_with("no digests"));
        assert!(wrong(head).contains("no range"));
    }
}
