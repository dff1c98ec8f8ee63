//! `isolog schema`: schemas copied from one registry to another with their ids and versions, and
//! how far those are that a running isolog copies by itself.
//!
//! It never asks a broker; only `exporter` needs a running isolog.

use std::path::Path;
use std::path::PathBuf;

use clap::Subcommand;
use clap::ValueEnum;

use crate::config;
use crate::schemas::Choice;
use crate::schemas::Contexts;
use crate::schemas::client::Client;
use crate::schemas::copy::Nobody;
use crate::schemas::copy::Pair;
use crate::schemas::registry::Registry;

use super::Failure;
use super::complain;
use super::orders;
use super::plain;
use super::say;
use super::wait;

/// The most missing steps that are shown where there should be none.
const SHOWN_MAX: usize = 20;

/// What `isolog schema` can be told.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one of it, and clap fills it in place")]
enum Verb {
    #[command(flatten)]
    Once(Once),
    /// Create, change, pause and show what copies schemas in a running isolog
    Exporter {
        #[command(subcommand)]
        command: orders::ExporterCommand,
    },
}

#[derive(Subcommand)]
enum Once {
    /// Copy subjects with their ids, versions, deletions and configs; again copies what is missing
    ///
    /// The destination must be in IMPORT mode. What clashes is named before anything is written.
    /// Nothing is deleted for good, since one copy does not know what an earlier one copied.
    Copy {
        #[command(flatten)]
        wish: Wish,
        /// Print what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Make the destination take new schemas (mode READWRITE), once it holds everything
    Promote {
        #[command(flatten)]
        wish: Wish,
        /// Do not compare with the source, which cannot be reached any more
        #[arg(long)]
        source_lost: bool,
    },
}

#[derive(clap::Args)]
struct Wish {
    /// Properties of the source registry: schema.registry.url, basic.auth.user.info, ...
    #[arg(long, value_name = "FILE")]
    source: PathBuf,
    /// Properties of the destination registry
    #[arg(long, value_name = "FILE")]
    destination: PathBuf,
    /// Subjects: names, prefix*, :.context:prefix*; :*: is all of all contexts
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = ":*:")]
    subjects: Vec<String>,
    /// What the subjects are called at the destination
    #[arg(long, value_name = "FORMAT", default_value = "${subject}")]
    subject_format: String,
    /// Where they go; with any but none, ids in records may not resolve
    #[arg(long, value_name = "TYPE", default_value = "none", ignore_case = true)]
    context_type: ContextType,
    /// The context of --context-type custom, such as .eu
    #[arg(long, value_name = "NAME", required_if_eq("context_type", "custom"))]
    context_name: Option<String>,
}

#[derive(Copy, Clone, ValueEnum)]
enum ContextType {
    /// Into the contexts they have
    None,
    /// Into the context --context-name
    Custom,
    /// All into the default context
    Default,
}

impl Wish {
    fn choice(&self) -> Result<Choice, Failure> {
        let contexts = match (self.context_type, &self.context_name) {
            (ContextType::Custom, Some(name)) => Contexts::Under(name.clone()),
            (ContextType::Default, None) => Contexts::Default,
            (ContextType::None, None) => Contexts::Same,
            _ => {
                let text = "--context-name goes with --context-type custom";
                return Err(Failure::Misused(vec![config::Problem::general(text)]));
            }
        };
        let choice =
            Choice::new(self.subjects.clone(), contexts, Some(self.subject_format.clone()));
        let wrong = |why: String| Failure::Misused(vec![config::Problem::general(why)]);
        let choice = choice.map_err(|why| wrong(why.to_string()))?;
        if choice.leaves_default() {
            complain(
                "warning: schemas go into another context than the default one: clients at the \
                 destination find the ids in records only by that context",
            );
        }
        Ok(choice)
    }
}

fn registry(path: &Path) -> Result<Registry, Failure> {
    let options = config::registry_of(path).map_err(Failure::Misused)?;
    Ok(Registry::new(Client::new(options)))
}

/// Does what was asked for.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let once = match &arguments.verb {
        Verb::Once(once) => once,
        Verb::Exporter { command } => return orders::exporter(command),
    };
    let (Once::Copy { wish, .. } | Once::Promote { wish, .. }) = once;
    let choice = wish.choice()?;
    let (source, destination) = (registry(&wish.source)?, registry(&wish.destination)?);
    let pair =
        Pair { source: &source, destination: &destination, choice: &choice, keeper: &Nobody };
    wait(async |stop| {
        let work = async {
            match once {
                Once::Copy { dry_run: true, .. } => planned(&pair).await,
                Once::Copy { .. } => copied(&pair).await,
                Once::Promote { source_lost, .. } => promoted(&pair, *source_lost).await,
            }
        };
        tokio::select! {
            done = work => done,
            () = stop.cancelled() => {
                Err(Failure::Failed("stopped; the same command copies the rest".into()))
            }
        }
    })
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(plain(&error.to_string()))
}

async fn planned(pair: &Pair<'_>) -> Result<(), Failure> {
    let steps = pair.missing().await.map_err(failed)?;
    let lines = steps.iter().map(|step| plain(&step.to_string()) + "\n");
    say(&(lines.collect::<String>() + &format!("{} steps\n", steps.len())))
}

async fn copied(pair: &Pair<'_>) -> Result<(), Failure> {
    let mut count = 0_u64;
    let mut heard = Ok(());
    let done = pair.copy(|step| {
        count += 1;
        if heard.is_ok() {
            heard = say(&(plain(&step.to_string()) + "\n"));
        }
    });
    let done = done.await;
    let left = done.map_err(|error| failed(format!("{count} steps taken; {error}")))?;
    heard?;
    match left {
        0 => say(&format!(
            "{count} steps taken; none is missing of what the source held when they began\n"
        )),
        left => say(&format!(
            "{count} steps taken; {left} more are missing by now: give the command again\n"
        )),
    }
}

async fn promoted(pair: &Pair<'_>, is_source_lost: bool) -> Result<(), Failure> {
    if !is_source_lost {
        let steps = pair.missing().await.map_err(failed)?;
        if !steps.is_empty() {
            let shown = steps.iter().take(SHOWN_MAX).map(|step| plain(&step.to_string()) + "\n");
            say(&shown.collect::<String>())?;
            return Err(failed(format!(
                "the mode stays: {} steps are missing; run `isolog schema copy` first, or give \
                 --source-lost",
                steps.len()
            )));
        }
    }
    pair.destination.set_mode("READWRITE").await.map_err(failed)?;
    say("the destination is in mode READWRITE; a subject or context with its own mode keeps it\n")
}
