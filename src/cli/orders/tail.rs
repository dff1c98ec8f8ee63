//! `isolog mirror tail`: what the old source holds of stopped topics that was never mirrored;
//! listed, exported, or appended to a topic of its own.
//!
//! It never asks a running isolog: the journal says where each topic was sealed, and both clusters
//! are read. It works as well where none runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use clap::Subcommand;
use clap::ValueEnum;
use serde_json::Value;
use serde_json::json;

use super::Failure;
use super::Format;
use super::output::Column;
use super::output::Rows;
use super::plain;
use crate::audit::Dials;
use crate::audit::LinkOptions;
use crate::audit::prefix::Ends;
use crate::cli::complain;
use crate::cli::say;
use crate::cli::wait;
use crate::config;
use crate::config::Config;
use crate::ids::Side;
use crate::ids::TopicName;
use crate::service::journal::Editor;
use crate::tail;
use crate::tail::Stopped;
use crate::tail::append::Done;
use crate::tail::append::append;
use crate::tail::export::Exported;
use crate::tail::export::export;
use crate::tail::list::Held;
use crate::tail::list::State;
use crate::tail::topic::make;

const TAILS: &[Column] = &[
    ("Link Name", "link_name"),
    ("Mirror Topic Name", "mirror_topic_name"),
    ("Source Topic Name", "source_topic_name"),
    ("Partition", "partition"),
    ("State", "state"),
    ("From Offset", "from_offset"),
    ("To Offset", "to_offset"),
    ("Offsets", "offsets"),
    ("Open Offsets", "open_offsets"),
    ("Note", "note"),
];

const APPENDED: &[Column] = &[
    ("Source Topic Name", "source_topic_name"),
    ("Partition", "partition"),
    ("Topic Name", "topic_name"),
    ("Records", "records"),
    ("Appended", "appended"),
];

/// What is put behind a mirror topic's name for the topic that its tail goes into.
const SUFFIX: &str = ".tail";

const WRITTEN: &[Column] = &[
    ("Source Topic Name", "source_topic_name"),
    ("Partition", "partition"),
    ("Records", "records"),
    ("Batches", "batches"),
    ("Records File", "records_file"),
    ("Batches File", "batches_file"),
];

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show per partition what the source holds from the first offset on that was not mirrored
    ///
    /// Offsets are counted, not records: markers of transactions and what was aborted have offsets
    /// too. What lies behind an open transaction is counted apart. A source topic that was made
    /// anew, or whose log is not the one that was mirrored, is told as another history.
    ///
    /// Exit codes: 0 nothing, or tails, and all of it is known; 4 not all is known.
    List {
        #[command(flatten)]
        which: Which,
        /// How it is printed; csv is what `kafka-consumer-groups --reset-offsets --from-file`
        /// takes: topic, partition and first offset of each tail at the source
        #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "human")]
        output: Output,
    },
    /// Write tails to files: records, a JSON object a line, and the batches as the source has them
    ///
    /// TOPIC-PARTITION.jsonl has the committed records: keys, values and headers as text, or in
    /// base64 under key_base64, value_base64, name_base64. TOPIC-PARTITION.batches has the record
    /// batches of Kafka, one behind the other; the first may begin below the tail, and what was
    /// aborted is among them. No file that is there is written over. Exit codes as those of list.
    Export {
        #[command(flatten)]
        which: Which,
        /// The directory that they are written to; it must be there
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// How it is told what was written
        #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "human")]
        output: Format,
    },
    /// Append tails to topics of their own at the destination: TOPIC.tail, made if it is not there
    ///
    /// The committed records of partition N go into partition N, in order, with their keys, values,
    /// headers and timestamps: the first of the tail at offset 0. What is there already is
    /// compared, so that it may be run again, also after it was killed, and appends what is
    /// missing; behind anything else nothing is appended. Exit codes as those of list.
    Append {
        #[command(flatten)]
        which: Which,
        /// The topic, for one mirror topic; it may hold nothing but a beginning of its tail
        #[arg(long, value_name = "TOPIC", value_parser = parse_topic)]
        to: Option<TopicName>,
        /// How it is told what was appended
        #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "human")]
        output: Format,
    },
}

/// What is done with the tails that are found.
enum Work<'a> {
    Nothing,
    Export(&'a Path),
    Append(Option<&'a TopicName>),
}

/// What was found, and done.
#[derive(Default)]
struct Found {
    held: Vec<Held>,
    exported: Vec<Exported>,
    appended: Vec<Done>,
    /// A cluster did not answer, and was told of.
    is_silent: bool,
}

#[derive(clap::Args)]
struct Which {
    /// Only these mirror topics
    #[arg(value_name = "TOPIC", value_parser = parse_topic)]
    topics: Vec<TopicName>,
    /// Only of this link
    #[arg(long, value_name = "LINK")]
    link: Option<String>,
    /// The config file of the isolog that mirrored: it says where the destination is, and opens the
    /// links' secrets
    #[arg(long, value_name = "FILE", env = "ISOLOG_CONFIG")]
    config: PathBuf,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A table
    Human,
    /// One array of objects
    Json,
    /// The same as YAML
    Yaml,
    /// TOPIC,PARTITION,OFFSET of each tail
    Csv,
}

fn parse_topic(text: &str) -> Result<TopicName, String> {
    TopicName::new(text).ok_or_else(|| "no topic has such a name".to_owned())
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (which, work) = match &arguments.command {
        Command::List { which, .. } => (which, Work::Nothing),
        Command::Export { which, dir, .. } => (which, Work::Export(dir)),
        Command::Append { which, to, .. } => (which, Work::Append(to.as_ref())),
    };
    let config = config::load(&which.config).map_err(Failure::Misused)?;
    let found = wait(async |stop| {
        tokio::select! {
            found = which.find(&config, &work) => found,
            () = stop.cancelled() => Err(Failure::Failed("it was stopped".to_owned())),
        }
    })?;
    match &arguments.command {
        Command::List { output, .. } => say(&drawn(&found.held, *output))?,
        Command::Export { output, .. } => say(&written(&found.exported, *output))?,
        Command::Append { output, .. } => say(&appended(&found.appended, *output))?,
    }
    if !matches!(work, Work::Nothing) {
        found.held.iter().for_each(tell_left);
    }
    let is_unknown = found.held.iter().any(|one| one.state == State::Unknown);
    match is_unknown || found.is_silent {
        true => Err(Failure::Unknown),
        false => Ok(()),
    }
}

/// What is not among what was written: no tail, or not readable yet.
fn tell_left(held: &Held) {
    let place = format!("{}-{}", held.source_topic, held.partition);
    if !held.note.is_empty() {
        complain(&format!("{place}: {}", plain(&held.note)));
    }
    if let Some(open) = held.open_offsets.filter(|open| *open > 0) {
        complain(&format!(
            "{place}: {open} offsets lie behind an open transaction of the source: run it again \
             when that has ended"
        ));
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

impl Which {
    /// All that is meant, and what was done with each tail.
    async fn find(&self, config: &Config, work: &Work<'_>) -> Result<Found, Failure> {
        let editor = Editor::read(&config.links).await?;
        let stopped = tail::stopped(editor.rows(), &self.topics).map_err(failed)?;
        let is_meant = |one: &Stopped| self.link.as_deref().is_none_or(|link| *one.link.0 == *link);
        let stopped: Vec<Stopped> = stopped.into_iter().filter(is_meant).collect();
        self.check(&stopped)?;
        if let Work::Export(dir) = work
            && !dir.is_dir()
        {
            return Err(Failure::Failed(format!("{} is no directory: make it", dir.display())));
        }
        let targets = targets(&stopped, work, editor.rows())?;
        let mut found = Found::default();
        for one in &stopped {
            let link = options(config, one)?;
            let dials = Dials::real(&link);
            let source = match dials.connect(&link, Side::Source).await {
                Ok(source) => source,
                Err(error) => {
                    complain(&format!(
                        "link {}: what its source holds is not known: {error}",
                        one.link
                    ));
                    found.is_silent = true;
                    continue;
                }
            };
            let destination = dials.connect(&link, Side::Destination).await.map_err(failed)?;
            let both = Ends {
                source: &source,
                destination: &destination,
                committed_only: link.committed_only,
            };
            let held = tail::list::list(both, one).await.map_err(failed)?;
            for tail in held.iter().filter(|one| one.state == State::Tail) {
                match work {
                    Work::Nothing => {}
                    Work::Export(dir) => {
                        found.exported.push(export(both, tail, dir).await.map_err(failed)?);
                    }
                    Work::Append(_) => {
                        let Some((topic, partitions)) = targets.get(&tail.mirror_topic) else {
                            continue;
                        };
                        let size = (*partitions, link.replicas);
                        make(&destination, topic, size).await.map_err(failed)?;
                        let done = append(both, tail, &destination, topic).await;
                        found.appended.push(done.map_err(failed)?);
                    }
                }
            }
            found.held.extend(held);
        }
        Ok(found)
    }

    /// A name that is mistyped must not look like a topic without a tail.
    fn check(&self, stopped: &[Stopped]) -> Result<(), Failure> {
        let is_there = |name: &&TopicName| stopped.iter().any(|one| one.topics.contains_key(*name));
        if let Some(name) = self.topics.iter().find(|name| !is_there(name)) {
            let text = format!(
                "no link has a mirror topic {name} that was promoted or failed over\n\
                 Next: isolog mirror list --mirror-status STOPPED"
            );
            return Err(Failure::Failed(text));
        }
        if let Some(link) = self.link.as_ref().filter(|_| stopped.is_empty()) {
            let text = format!(
                "link {link} has no mirror topic that was promoted or failed over, or there is no \
                 such link\nNext: isolog mirror list --mirror-status STOPPED"
            );
            return Err(Failure::Failed(text));
        }
        if stopped.is_empty() {
            complain("no mirror topic was promoted or failed over");
        }
        Ok(())
    }
}

/// How the link's clusters are reached, as its row says, or the config file.
fn options(config: &Config, stopped: &Stopped) -> Result<LinkOptions, Failure> {
    let name = &stopped.link;
    if let Some(configs) = &stopped.configs {
        return config.commanded(name, configs).map_err(Failure::Misused);
    }
    let found = config.audits().into_iter().find(|link| link.name == *name);
    found.ok_or_else(|| {
        Failure::Failed(format!(
            "link {name} is one of a config file, and this one does not have it: give that file"
        ))
    })
}

/// The topic that each tail goes into, by its mirror topic, and how wide it has to be.
fn targets(
    stopped: &[Stopped],
    work: &Work<'_>,
    rows: &tail::Rows,
) -> Result<BTreeMap<String, (TopicName, i32)>, Failure> {
    let Work::Append(to) = work else { return Ok(BTreeMap::new()) };
    let mut targets = BTreeMap::new();
    for (mirror, row) in stopped.iter().flat_map(|one| &one.topics) {
        let name = match to {
            Some(to) => Some((*to).clone()),
            None => TopicName::new(&format!("{mirror}{SUFFIX}")),
        };
        let Some(name) = name else {
            let text = format!("{mirror}{SUFFIX} is too long for a topic: name one with --to");
            return Err(Failure::Failed(text));
        };
        if let Some(what) = tail::internal(&name) {
            let text = format!("{name} is {what}: name another topic with --to");
            return Err(Failure::Failed(text));
        }
        if let Some(link) = tail::owner(rows, &name).map_err(failed)? {
            return Err(Failure::Failed(format!(
                "{name} is a mirror topic of cluster link {link}, which nobody else writes: name \
                 another topic with --to"
            )));
        }
        targets.insert(mirror.to_string(), (name, row.partitions));
    }
    match to.is_some() && targets.len() > 1 {
        true => Err(Failure::Failed("--to is for one mirror topic: name it".to_owned())),
        false => Ok(targets),
    }
}

fn appended(all: &[Done], format: Format) -> String {
    let mut rows = Rows::new(APPENDED);
    for one in all {
        rows.push(vec![
            json!(one.source_topic),
            json!(one.partition),
            json!(one.topic),
            json!(one.records),
            json!(one.appended),
        ]);
    }
    rows.draw(format)
}

fn written(exported: &[Exported], format: Format) -> String {
    let mut rows = Rows::new(WRITTEN);
    for one in exported {
        rows.push(vec![
            json!(one.source_topic),
            json!(one.partition),
            json!(one.records),
            json!(one.batches),
            json!(one.records_file),
            json!(one.batches_file),
        ]);
    }
    rows.draw(format)
}

fn drawn(held: &[Held], output: Output) -> String {
    let format = match output {
        Output::Human => Format::Human,
        Output::Json => Format::Json,
        Output::Yaml => Format::Yaml,
        Output::Csv => return csv(held),
    };
    let mut rows = Rows::new(TAILS);
    for one in held {
        rows.push(vec![
            json!(one.link),
            json!(one.mirror_topic),
            json!(one.source_topic),
            json!(one.partition),
            json!(one.state),
            json!(one.from),
            json!(one.to),
            json!(one.offsets),
            json!(one.open_offsets),
            match one.note.is_empty() {
                true => Value::Null,
                false => json!(plain(&one.note)),
            },
        ]);
    }
    rows.draw(format)
}

/// Topics' names hold nothing that would have to be quoted.
fn csv(held: &[Held]) -> String {
    let tails = held.iter().filter(|one| one.state == State::Tail);
    let line = |one: &Held| Some(format!("{},{},{}\n", one.source_topic, one.partition, one.from?));
    tails.filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(partition: i32, state: State) -> Held {
        Held {
            link: "dr".into(),
            mirror_topic: "west.orders".into(),
            source_topic: "orders".into(),
            partition,
            state,
            from: Some(100),
            to: Some(107),
            offsets: Some(7),
            open_offsets: Some(2),
            note: String::new(),
        }
    }

    #[test]
    fn only_tails_are_read_again_and_by_their_names_at_the_source() {
        let all = [(0, State::Tail), (1, State::None), (2, State::OtherHistory), (3, State::Tail)];
        let all = all.map(|(partition, state)| held(partition, state));
        assert_eq!(drawn(&all, Output::Csv), "orders,0,100\norders,3,100\n");
        let rows: Value = serde_json::from_str(&drawn(&all, Output::Json)).unwrap();
        assert_eq!((&rows[2]["state"], &rows[0]["offsets"]), (&json!("other_history"), &json!(7)));
        assert_eq!((&rows[0]["open_offsets"], &rows[0]["note"]), (&json!(2), &Value::Null));
    }
}
