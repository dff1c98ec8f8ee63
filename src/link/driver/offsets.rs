//! Follows the offsets of consumer groups of a commanded link.
//!
//! It never follows groups of a link that is paused or whose source is away, nor of topics that
//! are no mirrors any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::sleep;

use crate::control::link::LinkState;
use crate::control::task::TaskName;
use crate::control::task::groups::GroupSync;
use crate::control::topic::Stage;
use crate::control::topic::Status;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::link::driver::ctx::Ctx;
use crate::link::driver::ctx::Session;
use crate::link::offsets::Following;
use crate::link::offsets::TICK;
use crate::link::registry::MirrorSeen;
use crate::link::registry::Seen;
use crate::sync::groups::MirrorTopic;

/// Until it is dropped: nothing is on its way that a later turn does not read back.
pub(super) async fn keep(ctx: Arc<Ctx>) {
    let mut following = Following::new(ctx.link.clone(), ctx.world.wall);
    let mut told = None;
    loop {
        sleep(TICK).await;
        let Some((sync, session)) = wanted(&ctx) else {
            following.rest();
            continue;
        };
        if !following.is_due(&sync) {
            continue;
        }
        let topics = topics(&ctx, &ctx.registry.seen());
        let both = (&session.source, &ctx.destination);
        let errors = following.turn(both, &sync, &topics).await;
        ctx.tell_task(TaskName::ConsumerOffsetSync, &mut told, errors).await;
    }
}

/// What is to be followed now, where that can be done.
fn wanted(ctx: &Ctx) -> Option<(GroupSync, Arc<Session>)> {
    let seen = ctx.registry.seen();
    let link = seen.links.get(&ctx.name)?;
    let sync = link.settings.as_ref()?.groups.clone()?;
    let may = seen.is_holder && seen.is_level && link.state == LinkState::Active;
    let session = ctx.session.borrow().clone()?;
    may.then_some((sync, session))
}

/// The mirror topics of the link that get offsets: those that are copied, and paused ones.
fn topics(ctx: &Ctx, seen: &Seen) -> Vec<MirrorTopic> {
    let all = seen.mirrors_of(&ctx.name);
    let followed = all.filter_map(|(mirror, one)| {
        let ids = (one.row.source_id, one.row.mirror_id.filter(|_| is_followed(one))?);
        let (source, mirror) = (one.row.source_topic.clone(), mirror.clone());
        Some(MirrorTopic { source, mirror, ids, partitions: partitions(one) })
    });
    followed.collect()
}

/// What a rule stopped as a whole may not be the source's any more.
fn is_followed(mirror: &MirrorSeen) -> bool {
    let is_mirror = matches!(mirror.row.stage, Stage::Mirroring | Stage::Stopping);
    is_mirror && (mirror.status != Status::Failed || mirror.is_failed_in_part())
}

/// All of a topic but what a rule stopped, and where each begins.
fn partitions(mirror: &MirrorSeen) -> BTreeMap<PartitionId, Offset> {
    let all = (0..mirror.row.partitions).map(PartitionId);
    let flowing = all.filter(|partition| !mirror.halted.contains_key(partition));
    let begins = |partition| mirror.row.starts.get(&partition).copied().unwrap_or(Offset::ZERO);
    flowing.map(|partition| (partition, begins(partition))).collect()
}
