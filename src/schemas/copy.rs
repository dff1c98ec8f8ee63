//! One copy of what is chosen, from one registry to another: look, plan, take steps, look again.
//!
//! It never writes before both registries were read whole and nothing clashes.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use crate::control::schemas::DEFAULT_CONTEXT;
use crate::control::schemas::IMPORT;
use crate::control::schemas::Name;
use crate::control::schemas::World;
use crate::control::schemas::choice::Choice;
use crate::control::schemas::memory::changes;
use crate::control::schemas::memory::copied;
use crate::control::schemas::memory::remembered;
use crate::control::schemas::plan::Clash;
use crate::control::schemas::plan::Step;
use crate::control::schemas::plan::plan;
use crate::control::schemas::row::Memory;
use crate::control::schemas::row::Remembered;

use super::client::Failed;
use super::registry::Registry;

/// The most clashes that are told.
const TOLD_MAX: usize = 50;
/// How long the mark of two registries is.
const MARK_LETTERS: usize = 16;

/// Why nothing, or not all, was copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source did not tell.
    #[error("source: {0}")]
    Source(Failed),
    /// The destination did not tell, or refused a step.
    #[error("destination: {0}")]
    Destination(Failed),
    /// Both were read, and do not go together; nothing was written.
    #[error("nothing is written: {}", told(.0))]
    Clashes(BTreeSet<Clash>),
    /// No subject of the source is chosen.
    #[error("no subject of the source is chosen: see `subjects`; * is the default context alone")]
    NoSubject,
    /// Nothing was written: a kill would leave what nobody knows of.
    #[error("what is about to be copied cannot be written down: {0}")]
    NotKept(String),
    /// It said yes to each step, and does not hold what was sent.
    #[error("the destination took every step, and still differs: {0}")]
    Differs(String),
}

fn told(clashes: &BTreeSet<Clash>) -> String {
    let mut all: Vec<String> = clashes.iter().take(TOLD_MAX).map(Clash::to_string).collect();
    if clashes.len() > TOLD_MAX {
        all.push(format!("and {} more", clashes.len() - TOLD_MAX));
    }
    all.join("; ")
}

/// Who remembers what was copied, from turn to turn.
pub trait Keeper: std::fmt::Debug + Send + Sync + 'static {
    /// What is remembered by now.
    fn known(&self) -> Arc<Memory>;

    /// Has rows written down (`None` forgets one), and is done when they will be known again
    /// whatever happens; or why they are not.
    fn keep(&self, rows: BTreeMap<Name, Option<Remembered>>) -> Keeping;
}

/// What is being written down.
pub type Keeping = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Who remembers nothing: nothing is deleted for good.
#[derive(Copy, Clone, Debug)]
pub struct Nobody;

impl Keeper for Nobody {
    fn known(&self) -> Arc<Memory> {
        Arc::default()
    }

    fn keep(&self, _: BTreeMap<Name, Option<Remembered>>) -> Keeping {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Two registries, and what is copied from one to the other.
#[derive(Copy, Clone, Debug)]
pub struct Pair<'a> {
    /// Where schemas come from.
    pub source: &'a Registry,
    /// Where they go.
    pub destination: &'a Registry,
    /// Which, and under which names.
    pub choice: &'a Choice,
    /// Who remembers.
    pub keeper: &'a dyn Keeper,
}

impl Pair<'_> {
    /// The steps that are missing, in their order.
    pub async fn missing(&self) -> Result<Vec<Step>, CopyError> {
        let from = self.look_at_source().await?;
        let mut seen = self.look(&from).await?;
        self.steps(&from, &mut seen).await
    }

    /// Copies what is chosen, and tells `on_step` of each step that was taken. Gives how many
    /// steps are missing of what the source held when this began: it may have gone on since.
    pub async fn copy(&self, mut on_step: impl FnMut(&Step)) -> Result<usize, CopyError> {
        let from = self.look_at_source().await?;
        let mut seen = self.look(&from).await?;
        let steps = self.steps(&from, &mut seen).await?;
        let new = remembered((&from, &seen.world), self.choice, &seen.known, &seen.mark);
        let rows = changes(&seen.known, &new);
        if !rows.is_empty() {
            self.keeper.keep(rows).await.map_err(CopyError::NotKept)?;
        }
        for step in &steps {
            self.destination.take(step).await.map_err(CopyError::Destination)?;
            on_step(step);
        }
        if steps.is_empty() {
            return Ok(0);
        }
        // who says yes may not have done it
        let mut seen = self.look(&from).await?;
        let left = self.steps(&from, &mut seen).await?;
        let sent: BTreeSet<String> = steps.iter().map(Step::to_string).collect();
        match left.iter().map(Step::to_string).find(|step| sent.contains(step)) {
            Some(step) => Err(CopyError::Differs(step)),
            None => Ok(left.len()),
        }
    }

    /// Modes of subjects are asked for where something is to be done alone: one that is level may
    /// have any.
    async fn steps(&self, from: &World, seen: &mut Seen) -> Result<Vec<Step>, CopyError> {
        let real = (seen.world.mode.clone(), std::mem::take(&mut seen.world.modes));
        seen.world.mode = IMPORT.to_owned();
        let steps = seen.plan(self, from)?;
        (seen.world.mode, seen.world.modes) = real;
        let names: BTreeSet<Name> = steps.iter().map(Step::name).collect();
        let subjects = names.into_iter().filter(|name| !name.subject.is_empty());
        let own = self.destination.own_modes(subjects).await;
        seen.world.modes.extend(own.map_err(CopyError::Destination)?);
        seen.plan(self, from)
    }

    async fn look_at_source(&self) -> Result<World, CopyError> {
        let from = self.source.look(|name| self.choice.target(name).is_some()).await;
        let mut from = from.map_err(CopyError::Source)?;
        if self.choice.sets_apart() {
            let contexts: BTreeSet<&str> =
                from.subjects.keys().map(|name| &*name.context).collect();
            let named = contexts.into_iter().filter(|context| *context != DEFAULT_CONTEXT);
            let modes = self.source.own_modes(named.map(Name::of_context)).await;
            from.modes = modes.map_err(CopyError::Source)?;
            from.leave_copies();
        }
        if from.subjects.is_empty() {
            return Err(CopyError::NoSubject);
        }
        if self.choice.takes_all() {
            from.level = self.source.level().await.map_err(CopyError::Source)?;
        }
        Ok(from)
    }

    /// The destination: all of the contexts that are written into, since ids are theirs.
    async fn look(&self, from: &World) -> Result<Seen, CopyError> {
        let known = self.keeper.known();
        let targets = from.subjects.keys().filter_map(|name| self.choice.target(name));
        let targets: BTreeSet<Name> = targets.chain(known.keys().cloned()).collect();
        let world = self.look_at(&targets, from.level.is_some()).await;
        let world = world.map_err(CopyError::Destination)?;
        let mark = mark(self.source, self.destination);
        Ok(Seen { world, known, mark })
    }

    async fn look_at(&self, targets: &BTreeSet<Name>, level: bool) -> Result<World, Failed> {
        let contexts: BTreeSet<&str> = targets.iter().map(|name| &*name.context).collect();
        let is_taken = |name: &Name| contexts.contains(&*name.context);
        let mut world = self.destination.look(is_taken).await?;
        world.mode = self.destination.whole_mode().await?;
        let named = contexts.iter().filter(|context| **context != DEFAULT_CONTEXT);
        let named = named.map(|context| Name::of_context(context));
        world.modes = self.destination.own_modes(named).await?;
        if level {
            world.level = self.destination.level().await?;
        }
        Ok(world)
    }
}

/// The destination, and what is remembered of it.
struct Seen {
    world: World,
    known: Arc<Memory>,
    mark: String,
}

impl Seen {
    fn plan(&self, pair: &Pair<'_>, from: &World) -> Result<Vec<Step>, CopyError> {
        let copied = copied(&self.known, &self.mark);
        plan(from, &self.world, pair.choice, &copied).map_err(CopyError::Clashes)
    }
}

/// A mark of two registries: what is remembered of others says nothing of them.
fn mark(source: &Registry, destination: &Registry) -> String {
    let text = format!("{}\n{}", source.addresses(), destination.addresses());
    blake3::hash(text.as_bytes()).to_hex().chars().take(MARK_LETTERS).collect()
}
