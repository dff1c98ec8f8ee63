//! The commands of the binary.
//!
//! It never reaches below `service`.

pub mod ask;
mod bar;
mod check;
mod digest;
mod grid;
mod journal;
mod lag;
mod live;
mod log;
mod orders;
mod reread;
mod run;
mod schema;
mod stop;
mod table;
mod verify;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory;
use clap::Parser;
use clap::Subcommand;
use clap_complete::Shell;
use rustix::process::DumpableBehavior;
use rustix::process::Resource;
use rustix::process::Rlimit;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::config::Config;
use crate::config::Problem;

/// What was asked for did not work; standard error says why.
const FAILED: u8 = 1;
/// The command line or the config is wrong; nothing was started.
const MISUSED: u8 = 2;

/// A copy will be exact, and some offsets are filled.
const FILLERS: u8 = 3;
/// An audit could not tell: something was not asked, or not compared.
const UNKNOWN: u8 = 4;
/// An audit says no: a difference, or a copy that is impossible.
const NO: u8 = 5;
const NOT_YET: u8 = 6;
/// A consumer group does not move without duplicates.
const STAYS: u8 = 7;

/// Why a command ends without success.
#[derive(Debug)]
enum Failure {
    /// Exit code 1, with the reason.
    Failed(String),
    /// The same, of an isolog that does not answer, or not yet: it may in a moment.
    Away(String),
    /// Exit code 2, with every mistake of the config.
    Misused(Vec<Problem>),
    /// Exit code 3; the output says how many.
    Fillers,
    /// Exit code 4; the output says what is not known.
    Unknown,
    /// Exit code 5; the output says where.
    No,
    /// Exit code 6, with what is waited for.
    NotYet(String),
    /// Exit code 7; the output says which, and why.
    Stays,
    /// The reader of our output has gone: nobody is left to be told, and nothing is wrong.
    Deaf,
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::Deaf,
            _ => Failure::Failed(format!("cannot write: {error}")),
        }
    }
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage or wrong config.
check: 0 exact, 3 exact with fillers, 4 cannot tell, 5 impossible.
verify, digest: 0 equal, 4 cannot tell, 5 different.
mirror promote, mirror failover: 0 ordered or, with --wait, all STOPPED; 6 not STOPPED in time.
mirror tail: 0 all is known, 4 cannot tell.
group diff: 0 all move without duplicates, 4 cannot tell, 6 not in time, 7 some do not.
drill: 0 the copy is equal and all is removed, 5 it differs, 6 not ACTIVE, level or STOPPED in time;
1 with anything else, also where something is left behind: standard error says what.";

/// An offset-exact copy of Kafka topics in a second, stock Kafka cluster.
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Mirror, until SIGTERM or SIGINT; a second signal ends at once
    Run {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Check the config and print the effective settings, secrets masked
    Config {
        #[command(flatten)]
        config: ConfigFile,
        /// Print an array of objects instead of TOML
        #[arg(long)]
        json: bool,
    },
    /// Show how far each partition is behind, asking a running isolog
    Lag(lag::Arguments),
    /// Create, show, change, pause and delete links of a running isolog
    Link(orders::LinkArguments),
    /// Create, show, pause, promote, fail over and delete mirror topics of a running isolog
    Mirror(orders::MirrorArguments),
    /// Rehearse the loss of a link's source on a topic made up for it, and remove that again
    Drill(orders::DrillArguments),
    /// Show the consumer groups that links of a running isolog follow
    Group(orders::GroupArguments),
    /// Show what happens at a running isolog: states, halts, orders; a line each, for scripts
    Events(orders::EventsArguments),
    /// Say before anything is written whether a link can be copied exactly, and what is missing
    Check(check::Arguments),
    /// Print digests of one side's records, or compare them with the other side's
    Digest(digest::Arguments),
    /// List, export, import or delete rows of the journal at the destination
    Journal(journal::Arguments),
    /// Copy schemas from one registry to another with their ids and versions
    Schema(schema::Arguments),
    /// Compare source and destination record by record, and show the first differences
    Verify(verify::Arguments),
    /// Print what a shell must know to complete isolog's commands
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Write the manual pages of all commands, in roff
    Man {
        /// The directory that they are written to; it must be there
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
}

#[derive(clap::Args)]
struct ConfigFile {
    /// The config file
    #[arg(long = "config", value_name = "FILE", env = "ISOLOG_CONFIG")]
    path: PathBuf,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match leave_no_core() {
        Ok(()) => exit_code(obey()),
        Err(failure) => exit_code(Err(failure)),
    }
}

/// What a password was in must not be left in a core file, whichever command crashes: so this comes
/// before anything is read. Two ways, since a program that takes core files from a pipe does not
/// ask for the limit.
fn leave_no_core() -> Result<(), Failure> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let done = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .and_then(|()| rustix::process::setrlimit(Resource::Core, none));
    done.map_err(|error| Failure::Failed(format!("core files cannot be turned off: {error}")))
}

fn obey() -> Result<(), Failure> {
    match Arguments::parse().command {
        Command::Run { config } => {
            load(&config.path).and_then(|read| run::run(read, config.path.clone()))
        }
        Command::Config { config, json } => load(&config.path).and_then(|config| {
            config.notes.iter().for_each(|note| complain(&format!("note: {note}")));
            show(&config, json)
        }),
        Command::Lag(arguments) => lag::run(&arguments),
        Command::Link(arguments) => orders::link(&arguments),
        Command::Mirror(arguments) => orders::mirror(&arguments),
        Command::Drill(arguments) => orders::drill(&arguments),
        Command::Group(arguments) => orders::group(&arguments),
        Command::Events(arguments) => orders::events(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Digest(arguments) => digest::run(&arguments),
        Command::Journal(arguments) => journal::run(&arguments),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Completions { shell } => say(&completions(shell)),
        Command::Man { dir } => clap_mangen::generate_to(Arguments::command(), &dir).map_err(|e| {
            Failure::Failed(format!("cannot write manual pages to {}: {e}", dir.display()))
        }),
    }
}

/// The script that a shell reads. It asks isolog nothing while it completes.
fn completions(shell: Shell) -> String {
    let (mut command, mut script) = (Arguments::command(), Vec::new());
    clap_complete::generate(shell, &mut command, "isolog", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

fn exit_code(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) | Err(Failure::Deaf) => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(tell(&failure)),
    }
}

fn load(path: &std::path::Path) -> Result<Config, Failure> {
    let config = config::load(path).map_err(Failure::Misused)?;
    for file in &config.exposed {
        complain(&format!("warning: {file}"));
    }
    Ok(config)
}

/// Says on standard error why a command failed, and gives its exit code.
fn tell(failure: &Failure) -> u8 {
    match failure {
        Failure::Deaf => 0,
        Failure::Fillers => FILLERS,
        Failure::Unknown => UNKNOWN,
        Failure::No => NO,
        Failure::Stays => STAYS,
        Failure::Failed(text) | Failure::Away(text) => {
            complain(text);
            FAILED
        }
        Failure::NotYet(text) => {
            complain(text);
            NOT_YET
        }
        Failure::Misused(problems) => {
            for problem in problems {
                complain(&problem.to_string());
            }
            let word = if problems.len() == 1 { "mistake" } else { "mistakes" };
            complain(&format!("{} {word} in the config", problems.len()));
            MISUSED
        }
    }
}

fn show(config: &Config, json: bool) -> Result<(), Failure> {
    let text = if json {
        let rows = serde_json::to_string_pretty(&config.effective_rows());
        rows.expect("rows are plain text and numbers") + "\n"
    } else {
        config.effective_toml()
    };
    say(&text)
}

/// Runs `work` to its end on a runtime of its own; a signal asks it to end soon.
fn wait<T>(work: impl AsyncFnOnce(&CancellationToken) -> Result<T, Failure>) -> Result<T, Failure> {
    wait_within(stop::STOP_WAIT_MAX, work)
}

/// The same for work that may take so long to end after a signal.
fn wait_within<T>(
    within: Duration,
    work: impl AsyncFnOnce(&CancellationToken) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let failed = |cause: std::io::Error| Failure::Failed(format!("cannot start: {cause}"));
    // cut short, there is no report
    let stop = stop::Stop::hear_within(within, FAILED)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(failed)?;
    let done = runtime.block_on(work(&stop.token));
    // A name that is still being looked up must not keep the process alive.
    runtime.shutdown_background();
    done
}

/// Text of peers without what a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// Says on standard error what is wrong, if anybody takes it.
fn complain(text: &str) {
    let _taken = writeln!(std::io::stderr(), "isolog: {text}");
}

/// Prints to standard output; that nobody reads it any more is no panic.
fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::Stdio;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    /// What bash offers for the last of these words.
    fn offered(words: &[&str]) -> Vec<String> {
        let [.., before, last] = words else { panic!("a command and what is to be completed") };
        let ask = format!(
            "{}\nCOMP_WORDS=({})\nCOMP_CWORD={}\n_isolog isolog '{last}' '{before}'\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            completions(Shell::Bash),
            words.join(" "),
            words.len() - 1,
        );
        // an argument may not be as long as the script is
        let mut bash = std::process::Command::new("bash");
        let mut bash = bash.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        bash.stdin.take().unwrap().write_all(ask.as_bytes()).unwrap();
        let told = bash.wait_with_output().unwrap();
        let text = String::from_utf8(told.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn bash_completes_commands_and_flags() {
        assert_eq!(offered(&["isolog", "mirror", "prom"]), ["promote"]);
        let flags = offered(&["isolog", "mirror", "promote", "--"]);
        for flag in ["--pattern", "--all", "--dry-run", "--wait", "--timeout"] {
            assert!(flags.iter().any(|one| one == flag), "{flag} of {flags:?}");
        }
        assert_eq!(offered(&["isolog", "completions", "z"]), ["zsh"]);
        for shell in [Shell::Zsh, Shell::Fish] {
            assert!(completions(shell).contains("failover"), "{shell:?}");
        }
    }

    #[test]
    fn each_command_has_a_manual_page() {
        let dir = tempfile::tempdir().unwrap();
        clap_mangen::generate_to(Arguments::command(), dir.path()).unwrap();
        let page = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(page("isolog.1").contains("Exit codes: 0 done"));
        assert!(page("isolog-mirror-failover.1").contains("timeout"));
        for command in Arguments::command().get_subcommands() {
            assert!(!page(&format!("isolog-{}.1", command.get_name())).is_empty());
        }
    }
}
