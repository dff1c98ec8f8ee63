//! `isolog run`: logs, runtime, signals.
//!
//! It never mirrors; it starts what does and waits for its end.

use std::io::IsTerminal;
use std::time::Duration;

use rustix::process::DumpableBehavior;
use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio_util::sync::CancellationToken;
use tracing::level_filters::LevelFilter;

use crate::config::Config;
use crate::service;

use super::Failure;

/// For how long a clean stop may take; after that the process ends all the same.
const STOP_WAIT_MAX: Duration = Duration::from_secs(30);

/// Mirrors until a signal comes.
pub fn run(config: Config) -> Result<(), Failure> {
    // what a password was in must not be left in a core file
    if let Err(error) = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        return Err(Failure::Failed(format!("core files cannot be turned off: {error}")));
    }
    start_log(&config.service);
    let failed = |cause| Failure::Failed(format!("cannot start: {cause}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(failed)?;
    let done = runtime.block_on(serve(config));
    // Whatever still blocks a thread must not keep the process alive.
    runtime.shutdown_background();
    done
}

/// Log lines go to standard error: standard output is for answers.
fn start_log(options: &service::Options) {
    let level: LevelFilter = options.log_level.parse().unwrap_or(LevelFilter::INFO);
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    if options.log_json {
        log.json().flatten_event(true).init();
    } else {
        log.with_ansi(colours).init();
    }
}

async fn serve(config: Config) -> Result<(), Failure> {
    let shutdown = CancellationToken::new();
    let mut signals = Signals::listen()?;
    let whole = service::run(config.links, config.service, shutdown.clone());
    tokio::pin!(whole);
    let told = |error: service::Error| Failure::Failed(error.to_string());
    let name = tokio::select! {
        done = &mut whole => return done.map_err(told),
        name = signals.next() => name,
    };
    tracing::info!(signal = name, "isolog stops");
    shutdown.cancel();
    tokio::select! {
        done = tokio::time::timeout(STOP_WAIT_MAX, whole) => match done {
            Ok(done) => done.map_err(told),
            Err(_) => Err(Failure::Failed("the clean stop took too long".to_owned())),
        },
        name = signals.next() => Err(Failure::Failed(format!("ended at once by {name}"))),
    }
}

/// The signals that ask for an end.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches them from now on.
    pub fn listen() -> Result<Signals, Failure> {
        let failed = |cause| Failure::Failed(format!("cannot listen for signals: {cause}"));
        let listen = |kind| signal(kind).map_err(failed);
        let terminate = listen(SignalKind::terminate())?;
        Ok(Signals { terminate, interrupt: listen(SignalKind::interrupt())? })
    }

    /// The name of the next signal.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
