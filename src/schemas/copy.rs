//! One copy of what is chosen, from one registry to another: look, plan, take steps, look again.
//!
//! It never writes before both registries were read whole and nothing clashes.

use std::collections::BTreeSet;

use crate::control::schemas::DEFAULT_CONTEXT;
use crate::control::schemas::Name;
use crate::control::schemas::World;
use crate::control::schemas::choice::Choice;
use crate::control::schemas::plan::Clash;
use crate::control::schemas::plan::Copied;
use crate::control::schemas::plan::Step;
use crate::control::schemas::plan::plan;

use super::client::Failed;
use super::registry::Registry;

/// The most clashes that are told.
const TOLD_MAX: usize = 50;

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

/// The steps that are missing, in their order. Nothing is remembered of earlier copies, so none of
/// them deletes for good.
pub async fn missing(
    source: &Registry,
    destination: &Registry,
    choice: &Choice,
) -> Result<Vec<Step>, CopyError> {
    let from = source.look(|name| choice.target(name).is_some()).await;
    let from = from.map_err(CopyError::Source)?;
    if from.subjects.is_empty() {
        return Err(CopyError::NoSubject);
    }
    let targets: BTreeSet<Name> =
        from.subjects.keys().filter_map(|name| choice.target(name)).collect();
    let to = look_at(destination, &targets).await.map_err(CopyError::Destination)?;
    plan(&from, &to, choice, &Copied::new()).map_err(CopyError::Clashes)
}

/// All of the contexts that are written into, since ids are theirs.
async fn look_at(destination: &Registry, targets: &BTreeSet<Name>) -> Result<World, Failed> {
    let contexts: BTreeSet<&str> = targets.iter().map(|name| &*name.context).collect();
    let mut world = destination.look(|name| contexts.contains(&*name.context)).await?;
    let named = contexts.iter().filter(|context| **context != DEFAULT_CONTEXT);
    let named = named.map(|context| Name::of_context(context));
    for name in named.chain(targets.iter().cloned()) {
        if let Some(mode) = destination.own_mode(&name).await? {
            world.modes.insert(name, mode);
        }
    }
    Ok(world)
}

/// Copies what is chosen, and tells `on_step` of each step that was taken. Gives how many steps are
/// missing by now: the source goes on.
pub async fn copy(
    source: &Registry,
    destination: &Registry,
    choice: &Choice,
    mut on_step: impl FnMut(&Step),
) -> Result<usize, CopyError> {
    let steps = missing(source, destination, choice).await?;
    for step in &steps {
        destination.take(step).await.map_err(CopyError::Destination)?;
        on_step(step);
    }
    if steps.is_empty() {
        return Ok(0);
    }
    // who says yes may not have done it
    let left = missing(source, destination, choice).await?;
    let sent: BTreeSet<String> = steps.iter().map(Step::to_string).collect();
    match left.iter().map(Step::to_string).find(|step| sent.contains(step)) {
        Some(step) => Err(CopyError::Differs(step)),
        None => Ok(left.len()),
    }
}
