//! The tasks of exporters: one for each of the config file, and one for each row of the journal.
//!
//! It never decides what an exporter is to do: its row does, and each change of a row is followed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::control::order::Refusal;
use crate::control::schemas::Name;
use crate::control::schemas::exporter::Progress;
use crate::control::schemas::order::ExporterOrder;
use crate::control::schemas::order::ExporterVerb;
use crate::control::schemas::row::ExporterName;
use crate::control::schemas::row::ExporterRow;
use crate::control::schemas::row::Memory;
use crate::control::schemas::row::Remembered;
use crate::link::driver::Driver;
use crate::link::grown;
use crate::link::registry::Registry;
use crate::schemas::copy::Keeper;
use crate::schemas::copy::Keeping;
use crate::schemas::exporter::Exporter;
use crate::settings::exporters::Defaults;
use crate::settings::exporters::Ordered;
use crate::settings::exporters::Tail;
use crate::settings::exporters::Wrong;

use super::Exporting;

/// How many subjects one order remembers: a write has room for more.
const REMEMBERED_MAX: usize = 400;
/// How many bytes of their names; a batch of the journal has room for more.
const REMEMBERED_BYTES_MAX: usize = 200 << 10;

/// One that was created by order.
#[derive(Debug)]
struct Commanded {
    /// What of its row has been followed: its generation and its resets.
    at: (u64, u64),
    /// What runs, or what is wrong with its properties.
    runs: Result<Exporter, String>,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct All {
    declared: Vec<Exporter>,
    tails: BTreeMap<String, Tail>,
    commanded: Mutex<BTreeMap<ExporterName, Commanded>>,
}

/// What runs, for those who show it.
#[derive(Clone, Debug, Default)]
pub struct Running(Arc<All>);

impl Running {
    /// Those of the config file; nothing runs yet.
    pub fn of(exporting: Exporting, registry: &Registry) -> (Running, Defaults) {
        let Exporting { declared, defaults } = exporting;
        let tail = |one: &Ordered| Some((one.options.name.clone(), one.tail.clone()?));
        let tails = declared.iter().filter_map(tail).collect();
        let begun = |Ordered { options, .. }| {
            let name = ExporterName(options.name.as_str().into());
            let keeper = Kept { registry: registry.clone(), name, is_declared: true };
            Exporter::new(options, Arc::new(keeper))
        };
        let declared = declared.into_iter().map(begun).collect();
        (Running(Arc::new(All { declared, tails, commanded: Mutex::default() })), defaults)
    }

    /// Those of the config file.
    pub fn declared(&self) -> &[Exporter] {
        &self.0.declared
    }

    /// Whether the config file has one of that name; it wins.
    pub fn is_declared(&self, name: &ExporterName) -> bool {
        self.0.declared.iter().any(|one| one.options().name == *name.0)
    }

    /// How far one is that has this row.
    pub fn progress(&self, name: &ExporterName, row: &ExporterRow) -> Progress {
        let all = self.commanded();
        let one = all.get(name).filter(|one| one.at == (row.generation, row.resets));
        let mut progress = match one.map(|one| &one.runs) {
            Some(Ok(exporter)) => exporter.progress(),
            Some(Err(why)) => {
                let mut progress = Progress::new(row.is_paused);
                progress.trace = Some(why.clone());
                progress
            }
            None => Progress::new(row.is_paused),
        };
        // what the row says counts from when it was written
        progress.is_to_be(row.is_paused);
        progress
    }

    fn commanded(&self) -> MutexGuard<'_, BTreeMap<ExporterName, Commanded>> {
        // it is never left half changed
        self.0.commanded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs all of them until `stop`.
pub async fn keep(
    (running, defaults): (Running, Defaults),
    driver: Driver,
    stop: CancellationToken,
) {
    let mut keeper = Follower { running, defaults, driver, stop, tasks: JoinSet::new() };
    for one in keeper.running.declared().to_vec() {
        let stop = keeper.stop.child_token();
        let tail = keeper.running.0.tails.get(&one.options().name).cloned();
        keeper.tasks.spawn(watched((one, tail), keeper.driver.clone(), stop));
    }
    let mut registry = keeper.driver.registry.clone();
    loop {
        keeper.follow(&registry);
        tokio::select! {
            () = keeper.stop.cancelled() => break,
            is_alive = registry.changed() => if !is_alive { break },
            Some(_) = keeper.tasks.join_next(), if !keeper.tasks.is_empty() => {}
        }
    }
    keeper.stop.cancelled().await;
    while keeper.tasks.join_next().await.is_some() {}
}

struct Follower {
    running: Running,
    defaults: Defaults,
    driver: Driver,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Follower {
    /// The rows are others: begins what is new, ends what is gone, and changes what changed.
    fn follow(&mut self, registry: &Registry) {
        let seen = registry.seen();
        let rows = seen.exporters.exporters();
        let running = self.running.clone();
        let mut all = running.commanded();
        all.retain(|name, one| {
            let stays = rows.get(name).is_some_and(|row| !row.is_leaving);
            if !stays {
                one.stop.cancel();
                tracing::info!(exporter = %name, "the exporter is deleted");
            }
            stays
        });
        for (name, row) in rows.iter().filter(|(_, row)| !row.is_leaving) {
            if running.is_declared(name) {
                continue;
            }
            let at = (row.generation, row.resets);
            match all.get(name) {
                Some(one) if one.at == at => {
                    if let Ok(exporter) = &one.runs {
                        exporter.pause(row.is_paused);
                    }
                }
                before => {
                    let one = self.begin(name, row, before);
                    all.insert(name.clone(), one);
                }
            }
        }
    }

    fn begin(
        &mut self,
        name: &ExporterName,
        row: &ExporterRow,
        before: Option<&Commanded>,
    ) -> Commanded {
        let progress = match before.map(|one| (one.at.1, &one.runs)) {
            Some((resets, Ok(exporter))) if resets == row.resets => {
                exporter.progress().begun_again(row.is_paused)
            }
            _ => Progress::new(row.is_paused),
        };
        if let Some(before) = before {
            before.stop.cancel();
        }
        let at = (row.generation, row.resets);
        let stop = self.stop.child_token();
        let runs = match self.defaults.options(name, &row.wish, row.is_paused) {
            Ok(Ordered { options, tail }) => {
                let registry = self.driver.registry.clone();
                let keeper = Kept { registry, name: name.clone(), is_declared: false };
                let exporter = Exporter::begun(options, Arc::new(keeper), progress);
                let whole = (exporter.clone(), tail);
                self.tasks.spawn(watched(whole, self.driver.clone(), stop.clone()));
                Ok(exporter)
            }
            Err(Wrong::Config(all)) => Err(all.join("; ")),
            Err(Wrong::Subjects(why)) => Err(why),
        };
        if let Err(why) = &runs {
            tracing::warn!(exporter = %name, "schemas are not copied: {why}");
        }
        Commanded { at, runs, stop }
    }
}

/// Runs one while this instance has the work; it is let go of wherever it is. One that ends before
/// it is told to is shown as what it is.
async fn watched((one, tail): (Exporter, Option<Tail>), driver: Driver, stop: CancellationToken) {
    let (inside, stopped) = (one.clone(), stop.clone());
    let run = async move {
        tokio::select! {
            () = stopped.cancelled() => {}
            () = while_it_has_the_work((&inside, tail.as_ref()), &driver) => {}
        }
    };
    let what = format!("the task of the exporter {}", one.options().name);
    if let Some(text) = super::super::ended(&what, run, stop).await {
        tracing::error!(exporter = %one.options().name, "{text}");
        one.tell_ended(text);
    }
}

/// Until the exporter ends by itself.
async fn while_it_has_the_work((one, tail): (&Exporter, Option<&Tail>), driver: &Driver) {
    loop {
        driver.work.wait(true).await;
        tokio::select! {
            () = one.run() => return,
            () = followed(one, tail) => {}
            () = driver.work.wait(false) => {}
        }
    }
}

/// Wakes it when the topic of the source's registry has got more, where that can be reached.
async fn followed(one: &Exporter, tail: Option<&Tail>) {
    match tail {
        Some(tail) => grown::follow(&one.options().name, tail, || one.wake()).await,
        None => std::future::pending().await,
    }
}

/// What an exporter has copied, in the journal.
#[derive(Debug)]
struct Kept {
    registry: Registry,
    name: ExporterName,
    is_declared: bool,
}

impl Keeper for Kept {
    fn known(&self) -> Arc<Memory> {
        self.registry.seen().exporters.memories().get(&self.name).cloned().unwrap_or_default()
    }

    fn keep(&self, rows: BTreeMap<Name, Option<Remembered>>) -> Keeping {
        let (registry, name, is_declared) =
            (self.registry.clone(), self.name.clone(), self.is_declared);
        Box::pin(async move {
            // one of the file needs no broker; what both registries hold is remembered later
            if is_declared && !registry.seen().is_level {
                return Ok(());
            }
            for rows in parted(rows) {
                let verb = ExporterVerb::Remember { rows, is_declared };
                let order = ExporterOrder { name: name.clone(), verb, is_dry: false };
                let done = registry.order_exporter(order).await;
                done.map_err(|Refusal { text, .. }| text)?;
            }
            Ok(())
        })
    }
}

/// As many rows as one write takes, again and again.
fn parted(rows: BTreeMap<Name, Option<Remembered>>) -> Vec<BTreeMap<Name, Option<Remembered>>> {
    let mut parts: Vec<BTreeMap<Name, Option<Remembered>>> = Vec::new();
    let mut bytes = 0;
    for (name, row) in rows {
        bytes += row.as_ref().map_or(0, |row| row.to_json().len()) + name.subject.len();
        let is_full =
            |part: &BTreeMap<_, _>| part.len() >= REMEMBERED_MAX || bytes > REMEMBERED_BYTES_MAX;
        match parts.last_mut().filter(|part| !is_full(part)) {
            Some(part) => drop(part.insert(name, row)),
            None => {
                bytes = 0;
                parts.push(BTreeMap::from([(name, row)]));
            }
        }
    }
    parts
}
