//! Exporters: copies that go on by themselves, turn by turn.
//!
//! It never leans on what it saw before: both registries are read anew in each turn. What was
//! copied is remembered by its keeper, or a deletion for good could not be told from a foreigner.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;

use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::control::schemas::exporter::Progress;
use crate::control::schemas::exporter::State;

use super::Choice;
use super::ContextType;
use super::client;
use super::client::Client;
use super::copy::Keeper;
use super::copy::Pair;
use super::registry::Registry;

/// An exporter as it is declared or ordered.
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
    /// `contextType`.
    pub context_type: ContextType,
    /// The context of AUTO and CUSTOM; empty for the others.
    pub context: String,
    /// `subject.rename.format`.
    pub format: String,
    /// What the four say.
    pub choice: Choice,
    /// How its registries are asked, as it is shown: no secret is among it.
    pub config: BTreeMap<String, String>,
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
    keeper: Arc<dyn Keeper>,
    is_paused: Arc<watch::Sender<bool>>,
    news: Arc<Notify>,
}

impl Exporter {
    /// Does nothing yet.
    pub fn new(options: Options, keeper: Arc<dyn Keeper>) -> Exporter {
        let progress = Progress::new(options.is_paused);
        Exporter::begun(options, keeper, progress)
    }

    /// The same that has carried something already.
    pub fn begun(options: Options, keeper: Arc<dyn Keeper>, progress: Progress) -> Exporter {
        Exporter {
            progress: Arc::new(Mutex::new(progress)),
            keeper,
            is_paused: Arc::new(watch::Sender::new(options.is_paused)),
            news: Arc::default(),
            options: Arc::new(options),
        }
    }

    /// The source may have something new: it looks at once.
    pub fn wake(&self) {
        self.news.notify_one();
    }

    /// It does nothing from now on, or goes on; a turn that is under way is let go of.
    pub fn pause(&self, is_paused: bool) {
        let turned = |now: &mut bool| std::mem::replace(now, is_paused) != is_paused;
        if self.is_paused.send_if_modified(turned) {
            self.lock().pause(is_paused);
        }
    }

    /// What it copies, and where to.
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
        let source = Registry::new(Client::new(self.options.source.clone()));
        let destination = Registry::new(Client::new(self.options.destination.clone()));
        let pair = Pair {
            source: &source,
            destination: &destination,
            choice: &self.options.choice,
            keeper: &*self.keeper,
        };
        let mut paused = self.is_paused.subscribe();
        loop {
            // its sender is ours
            let _never_gone = paused.wait_for(|is_paused| !is_paused).await.map(drop);
            tokio::select! {
                _ = paused.wait_for(|is_paused| *is_paused) => {}
                () = self.turns(&pair) => {}
            }
        }
    }

    async fn turns(&self, pair: &Pair<'_>) {
        loop {
            let pause = self.turn(pair).await;
            tokio::select! {
                () = sleep(pause) => {}
                () = self.news.notified() => {}
            }
        }
    }

    async fn turn(&self, pair: &Pair<'_>) -> Duration {
        let (began_ms, exporter) = (now_ms(), &self.options.name);
        let taken = self.lock().taken;
        let done = pair.copy(|step| {
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
pub fn now_ms() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
