//! `isolog run`: logs, runtime, the end.
//!
//! It never mirrors; it starts what does and waits for its end.

use std::io::IsTerminal;
use std::path::PathBuf;

use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::level_filters::LevelFilter;

use crate::config::Config;
use crate::service;

use super::Failure;
use super::log::Form;
use super::log::Log;
use super::reread::Reread;
use super::stop::Stop;

/// The exit code of a stop that was cut short: nothing is lost by it, so it is a stop like others.
const LATE: u8 = 0;

/// Mirrors until a signal comes.
pub fn run(config: Config, path: PathBuf) -> Result<(), Failure> {
    let failed = |cause| Failure::Failed(format!("cannot start: {cause}"));
    let form = if config.service.log_json { Form::Json } else { Form::Text };
    let log = Log::to(std::io::stderr(), form).map_err(failed)?;
    start_log(&config.service, log.clone());
    for note in &config.notes {
        tracing::info!("{note}");
    }
    let stop = Stop::hear(LATE)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(failed)?;
    let done = runtime.block_on(serve(config, path, &stop));
    // Whatever still blocks a thread must not keep the process alive.
    runtime.shutdown_background();
    log.flush();
    done
}

/// Log lines go to standard error: standard output is for answers.
fn start_log(options: &service::Options, log: Log) {
    let level: LevelFilter = options.log_level.parse().unwrap_or(LevelFilter::INFO);
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(log);
    if options.log_json {
        log.json().flatten_event(true).init();
    } else {
        log.with_ansi(colours).init();
    }
}

async fn serve(config: Config, path: PathBuf, stop: &Stop) -> Result<(), Failure> {
    let hangup = signal(SignalKind::hangup());
    let hangup =
        hangup.map_err(|cause| Failure::Failed(format!("cannot listen for signals: {cause}")))?;
    let (reread, said) = watch::channel(config.said());
    // in a set, so that it ends with this function
    let mut reading = JoinSet::new();
    reading.spawn(Reread::new(path, &config, (hangup, reread)).keep());
    let (told, exporting) = ((config.defaults(), said), config.exporting());
    let whole = service::run((config.links, exporting), told, config.service, stop.token.clone());
    tokio::pin!(whole);
    let told = |error: service::Error| Failure::Failed(error.to_string());
    tokio::select! {
        done = &mut whole => return done.map_err(told),
        () = stop.token.cancelled() => {}
    }
    tracing::info!(signal = stop.signal(), "isolog stops");
    whole.await.map_err(told)
}
