//! `isolog check`: can a link be copied exactly, may it, and what will it cost.
//!
//! It never checks anything itself.

use std::io::IsTerminal;
use std::io::Write;

use crate::audit::Dials;
use crate::audit::check;
use crate::audit::check::Ask;
use crate::audit::check::Report;
use crate::audit::check::TopicReport;
use crate::audit::greet::ClusterReport;
use crate::audit::judge::Finding;
use crate::audit::judge::Level;
use crate::audit::judge::span;

use super::Failure;
use super::grid::Grid;
use super::plain;
use super::say;
use super::verify::Meant;
use super::verify::Which;
use super::verify::both_names;

/// What `isolog check` can be told.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Read every batch header, so that fillers are counted and not estimated
    #[arg(long)]
    deep: bool,
}

/// Checks every link that is meant.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Meant { links, is_whole } = match arguments.which.topic.is_empty() {
        true => arguments.which.links()?,
        false => arguments.which.links_with_topics()?,
    };
    let ask = Ask {
        topics: arguments.which.topic.clone(),
        is_deep: arguments.deep,
        workers: usize::from(arguments.which.workers),
        fetch_bytes: arguments.which.fetch_bytes,
        tell: |line| drop(writeln!(std::io::stderr(), "{}", plain(line))),
    };
    let reports = super::wait(async |stop| {
        let mut reports = Vec::new();
        for link in &links {
            let dials = Dials::real(link);
            tokio::select! {
                report = check::run(link, &dials, &ask) => reports.push(report),
                () = stop.cancelled() => return Err(Failure::Failed("it was stopped".to_owned())),
            }
        }
        Ok(reports)
    })?;
    let paint = Paint { is_on: std::io::stdout().is_terminal() };
    say(&match arguments.which.json {
        true => serde_json::to_string(&reports).expect("reports are plain text and numbers") + "\n",
        false => reports.iter().map(|report| draw(report, paint)).collect(),
    })?;
    match reports.iter().map(|report| report.level).max() {
        Some(Level::Impossible) => Err(Failure::No),
        Some(Level::Unknown) => Err(Failure::Unknown),
        _ if !is_whole => Err(Failure::Unknown),
        Some(Level::ExactWithFillers) => Err(Failure::Fillers),
        _ => Ok(()),
    }
}

/// Colours, where a terminal shows them.
#[derive(Copy, Clone)]
struct Paint {
    is_on: bool,
}

impl Paint {
    fn level(self, level: Level) -> String {
        let (word, colour) = match level {
            Level::NotCopied => ("not copied", 33),
            Level::Exact => ("exact", 32),
            Level::ExactWithFillers => ("exact with fillers", 32),
            Level::Unknown => ("UNKNOWN", 33),
            Level::Impossible => ("IMPOSSIBLE", 31),
        };
        match self.is_on {
            true => format!("\x1b[{colour}m{word}\x1b[0m"),
            false => word.to_owned(),
        }
    }
}

fn draw(report: &Report, paint: Paint) -> String {
    let mut text = format!("link {}: {}\n", plain(&report.link), paint.level(report.level));
    for side in &report.clusters {
        text.push_str(&cluster(side));
    }
    text.extend(report.findings.iter().map(|finding| said("", finding)));
    text.push('\n');
    let heads = ["TOPIC", "PARTITIONS", "OFFSETS", "FILLERS", "BYTES", "TIME", "VERDICT"];
    let mut grid = Grid::new(&heads, &[1, 2, 3, 4, 5]);
    report.topics.iter().for_each(|topic| grid.row(row(topic, paint)));
    text.push_str(&grid.draw());
    for topic in &report.topics {
        let start = format!("{}: ", plain(&topic.topic));
        text.extend(topic.findings.iter().map(|finding| said(&start, finding)));
    }
    if !report.acl_changes.is_empty() {
        text.push_str("\nACLs that the link changes at the destination, as it would now:\n");
        text.extend(report.acl_changes.iter().map(|line| format!("{}\n", plain(line))));
    }
    text.push_str(&grants(report));
    text
}

fn row(topic: &TopicReport, paint: Paint) -> [String; 7] {
    let about = |number: String| match topic.fillers.is_counted {
        true => number,
        false => format!("~{number}"),
    };
    [
        both_names(&topic.topic, topic.mirror_topic.as_deref()),
        topic.partitions.to_string(),
        topic.offsets.to_string(),
        about(topic.fillers.count.to_string()),
        about(topic.fillers.bytes.to_string()),
        about(span(i64::try_from(topic.fillers.seconds).unwrap_or(i64::MAX).saturating_mul(1000))),
        paint.level(topic.level),
    ]
}

fn cluster(side: &ClusterReport) -> String {
    let id = side.cluster_id.as_deref().unwrap_or("?");
    let clock = match side.clock_ms {
        Some(ms) => format!("clock {ms:+} ms"),
        None => "clock not told".to_owned(),
    };
    let mut text = format!("  {}: cluster {}, {clock}\n", side.side, plain(id));
    for broker in &side.brokers {
        let how = match (&broker.error, broker.connect_ms) {
            (Some(error), _) => format!("NOT REACHED: {}", plain(error)),
            (None, ms) => {
                let version = |api| match broker.apis.get(api).copied().flatten() {
                    Some((min, max)) => format!("{api} {min}-{max}"),
                    None => format!("no {api}"),
                };
                let versions = ["Fetch", "Produce", "Metadata"].map(version).join(", ");
                format!("{} ms; {versions}", ms.unwrap_or(0))
            }
        };
        text.push_str(&format!("    broker {} at {}: {how}\n", broker.id, plain(&broker.address)));
    }
    let excess = side.excess.iter();
    text.extend(excess.map(|line| format!("    not needed: {}\n", plain(line))));
    text
}

fn said(start: &str, finding: &Finding) -> String {
    let word = match finding.level {
        Level::NotCopied | Level::Exact | Level::ExactWithFillers => "note",
        Level::Unknown => "unknown",
        Level::Impossible => "impossible",
    };
    format!("  {word}: {start}{}\n", plain(&finding.text))
}

/// The lines that grant what is missing, to be copied as they are.
fn grants(report: &Report) -> String {
    let mut text = String::new();
    for side in report.clusters.iter().filter(|side| !side.grants.is_empty()) {
        text.push_str(&format!("\nmissing rights at the {}:\n", side.side));
        text.extend(side.grants.iter().map(|line| format!("{}\n", plain(line))));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::BTreeMap;

    use crate::audit::greet::BrokerReport;
    use crate::audit::judge::Fillers;

    fn report() -> Report {
        let broker = BrokerReport {
            id: 1,
            address: "a:9092".into(),
            connect_ms: Some(3),
            error: None,
            apis: BTreeMap::from([("Fetch", Some((4, 18))), ("Produce", None)]),
        };
        let side = ClusterReport {
            side: "source".into(),
            cluster_id: Some("blue".into()),
            brokers: vec![broker],
            clock_ms: Some(-7),
            grants: vec!["kafka-acls.sh --add".into()],
            excess: vec!["Write on topic a".into()],
        };
        let fillers = Fillers { count: 40, bytes: 440, seconds: 1, is_counted: false };
        let topic = TopicReport {
            mirror_topic: None,
            topic: "orders".into(),
            partitions: 3,
            level: Level::ExactWithFillers,
            offsets: 900,
            fillers,
            findings: vec![Finding::note("x")],
        };
        let (clusters, topics) = (vec![side], vec![topic]);
        let findings = vec![Finding::impossible("no \x1b[2J")];
        let acl_changes = vec!["kafka-acls.sh --remove".into()];
        let (link, level) = ("dr".into(), Level::Impossible);
        Report { link, level, clusters, findings, acl_changes, topics }
    }

    #[test]
    fn all_that_was_found_is_drawn() {
        let drawn = draw(&report(), Paint { is_on: false });
        for part in [
            "link dr: IMPOSSIBLE\n",
            "source: cluster blue, clock -7 ms\n",
            "broker 1 at a:9092: 3 ms; Fetch 4-18, no Produce, no Metadata\n",
            "not needed: Write on topic a\n",
            "impossible: no  [2J\n",
            "note: orders: x\n",
            "missing rights at the source:\nkafka-acls.sh --add\n",
            "at the destination, as it would now:\nkafka-acls.sh --remove\n",
        ] {
            assert!(drawn.contains(part), "{part:?} is missing in\n{drawn}");
        }
        let row = drawn.lines().find(|line| line.trim_start().starts_with("orders")).unwrap();
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells[..6], ["orders", "3", "900", "~40", "~440", "~1"]);
        assert!(!drawn.contains('\x1b'), "colour is for terminals");
        assert!(draw(&report(), Paint { is_on: true }).contains("\x1b[31mIMPOSSIBLE\x1b[0m"));
    }
}
