//! Whether what stands at a mirror's name may be gone on with: its log must be a prefix of the
//! source's, and everything that both still hold is compared before anything is appended.
//!
//! It never writes, and never takes equal ends for equal logs.

use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::MissedTickBehavior;
use tokio::time::interval;

use crate::audit::log::fence::is_fenced;
use crate::audit::prefix::Ends;
use crate::audit::prefix::NotPrefix;
pub(super) use crate::audit::prefix::Pair;
use crate::audit::prefix::Progress;
use crate::audit::prefix::prefix;
use crate::cluster::Cluster;
use crate::control::facts::DoId;
use crate::control::facts::Failed;
use crate::control::topic::Fault;
use crate::control::topic::Stage;
use crate::flow::producer_id;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::link::driver::ctx::Ctx;
use crate::link::driver::looks;
use crate::link::registry::Event;
use crate::sync::apply;

/// How old what is seen of a row is at most.
const SEEN_AGE_MAX: Duration = Duration::from_secs(1);
/// How often it is told how far a comparison is.
const TELL_PAUSE: Duration = Duration::from_secs(5);

/// What is to go on with it.
#[derive(Copy, Clone, Debug)]
pub(super) struct Terms {
    /// The generation of its writer.
    pub generation: u32,
    /// It may be one that was promoted or failed over.
    pub takes_sealed: bool,
}

/// Whether its writer is dead behind a seal, where it may be gone on with; the fault is final where
/// it may not.
pub(super) async fn compare(
    ctx: &Ctx,
    id: DoId,
    (pair, terms): (Pair, Terms),
) -> Result<bool, Failed> {
    let session = looks::session(ctx).await;
    let session = session.map_err(|fault| Failed { fault, is_final: false })?;
    same(&session.source, &pair.source).await?;
    same(&ctx.destination, &pair.mirror).await?;
    let name = &pair.mirror.0;
    let ids = (session.source.id(), ctx.destination.id());
    let writer = producer_id::of_generation(&ids.0, &ids.1, &ctx.name, terms.generation).id;
    let fenced = async || {
        let told = is_fenced(&ctx.destination, name, writer).await;
        told.map_err(|error| refused(name, &error.into()))
    };
    if apply::is_empty(&ctx.destination, name).await? {
        tracing::info!(link = %ctx.name, topic = %name, "is there and empty: it is taken over");
        return fenced().await;
    }
    let both = Ends {
        source: &session.source,
        destination: &ctx.destination,
        committed_only: session.settings.link.committed_only,
    };
    let (progress, began) = (Progress::default(), Instant::now());
    let goes_on = || is_wanted(ctx, name, began);
    let mut comparing =
        pin!(prefix(both, &pair, (writer, terms.takes_sealed), &progress, &goes_on));
    let mut tick = interval(TELL_PAUSE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let compared = loop {
        tokio::select! {
            biased;
            compared = &mut comparing => break compared,
            _ = tick.tick() => tell(ctx, id, name, &progress).await,
        }
    };
    let has_seal = compared.map_err(|error| refused(name, &error))?;
    let offsets = progress.all.load(Relaxed);
    let text = "is adopted: all that both topics hold is equal";
    tracing::info!(link = %ctx.name, topic = %name, offsets, "{text}");
    Ok(has_seal || fenced().await?)
}

/// Whether it is still to become a mirror: an order may have let it go meanwhile.
fn is_wanted(ctx: &Ctx, mirror: &TopicName, began: Instant) -> bool {
    let seen = ctx.registry.seen();
    let row = seen.mirrors.get(&(ctx.name.clone(), mirror.clone())).map(|one| one.row.stage);
    // what is seen may be older than the order to compare
    let is_wanted = row == Some(Stage::Setup) || began.elapsed() < SEEN_AGE_MAX;
    !ctx.stop.is_cancelled() && is_wanted
}

async fn tell(ctx: &Ctx, id: DoId, name: &TopicName, progress: &Progress) {
    let (done, all) = (progress.done.load(Relaxed), progress.all.load(Relaxed));
    let percent = done.saturating_mul(100).checked_div(all).unwrap_or(0);
    let text = format!(
        "the topic was there: what both clusters hold of it is compared before the first append, \
         {done} of {all} offsets so far ({percent} %)"
    );
    tracing::info!(link = %ctx.name, topic = %name, "{text}");
    ctx.tell(Event::Progress(id, text)).await;
}

fn refused(name: &TopicName, error: &NotPrefix) -> Failed {
    let is_final = error.is_final();
    let (code, text) = match is_final {
        true => (
            code_of(error),
            format!(
                "topic {name} is there at the destination and is no copy of the source's: {error}. \
                 It stays as it is: where it holds what is needed, leave it out of the link; else \
                 delete it there, and it is copied"
            ),
        ),
        false => ("INTERNAL_ERROR", format!("topic {name} is compared again: {error}")),
    };
    Failed { fault: Fault { code: code.to_owned(), text }, is_final }
}

/// The words of docs/STATES.md where a mirror of that log would stand still for the same reason.
fn code_of(error: &NotPrefix) -> &'static str {
    match error {
        NotPrefix::Differs { .. } => "DIVERGED",
        NotPrefix::Ahead { .. } => "DESTINATION_AHEAD",
        NotPrefix::Sealed { .. } => "SEALED",
        _ => "TOPIC_EXISTS_ERROR",
    }
}

async fn same(cluster: &Cluster, (name, id): &(TopicName, TopicId)) -> Result<(), Failed> {
    if apply::id_of(cluster, name).await? == Some(*id) {
        return Ok(());
    }
    let (side, code) = (cluster.side(), "TOPIC_ID_CHANGED".to_owned());
    let text = format!(
        "the {side} topic {name} was deleted, or made anew, while its mirror was set up: create \
         the mirror again"
    );
    Err(Failed { fault: Fault { code, text }, is_final: true })
}
