//! Exporters: copies that go on by themselves, turn by turn.
//!
//! It never remembers anything beyond the process: both registries are read anew in each turn.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;

use tokio::time::sleep;

use crate::control::schemas::exporter::Progress;
use crate::control::schemas::exporter::State;

use super::Choice;
use super::client;
use super::client::Client;
use super::copy::copy;
use super::registry::Registry;

/// An exporter as it is declared.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name.
    pub name: String,
    /// Where schemas come from.
    pub source: client::Options,
    /// Where they go.
    pub destination: client::Options,
    /// `subjects`, as they are written.
    pub subjects: Vec<String>,
    /// `AUTO`, `CUSTOM`, `NONE` or `DEFAULT`.
    pub context_type: String,
    /// The context of AUTO and CUSTOM; empty for the others.
    pub context: String,
    /// `subject.rename.format`.
    pub format: String,
    /// What the four say.
    pub choice: Choice,
    /// How often the registries are compared.
    pub poll: Duration,
    /// It does nothing.
    pub is_paused: bool,
}

/// One exporter, for the task that runs it and for those who show it.
#[derive(Clone, Debug)]
pub struct Exporter {
    options: Arc<Options>,
    progress: Arc<Mutex<Progress>>,
}

impl Exporter {
    /// Does nothing yet.
    pub fn new(options: Options) -> Exporter {
        let progress = Progress::new(options.is_paused);
        Exporter { options: Arc::new(options), progress: Arc::new(Mutex::new(progress)) }
    }

    /// What it was declared as.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.lock().clone()
    }

    /// Its task is no more, and that was not ordered.
    pub fn tell_ended(&self, text: String) {
        self.lock().trace = Some(text);
    }

    /// Copies for ever, one question at a time; it may be dropped at any moment.
    pub async fn run(&self) {
        if self.lock().state == State::Paused {
            return std::future::pending().await;
        }
        let source = Registry::new(Client::new(self.options.source.clone()));
        let destination = Registry::new(Client::new(self.options.destination.clone()));
        loop {
            let pause = self.turn(&source, &destination).await;
            sleep(pause).await;
        }
    }

    async fn turn(&self, source: &Registry, destination: &Registry) -> Duration {
        let (began_ms, exporter) = (now_ms(), &self.options.name);
        let taken = self.lock().taken;
        let done = copy(source, destination, &self.options.choice, |step| {
            self.lock().took_one();
            tracing::debug!(%exporter, "{step}");
        });
        let outcome = done.await.map(|missing| missing as u64).map_err(|why| why.to_string());
        let before = self.progress();
        if before.taken > taken {
            tracing::info!(%exporter, changes = before.taken - taken, "schemas were copied");
        }
        match &outcome {
            Err(why) if before.trace.as_ref() != Some(why) => {
                tracing::warn!(%exporter, "schemas are not copied: {why}; it is tried again");
            }
            Ok(0) if before.trace.is_some() || before.state == State::Starting => {
                tracing::info!(%exporter, "the destination holds all schemas of the source");
            }
            _ => {}
        }
        self.lock().ended(outcome, began_ms, self.options.poll)
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        // it is never left half changed
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wall clock in ms since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
