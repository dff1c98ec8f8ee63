//! Follows the offsets of consumer groups of a link; a last time for a promoted topic.
//!
//! It never follows groups of a link that is paused or whose source is away, nor of topics that
//! are no mirrors any more. A promote waits for its last turn, and never for longer than
//! [`LAST_TURN_MAX`].

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::control::link::LinkState;
use crate::control::task::TaskName;
use crate::control::task::groups::GroupSync;
use crate::control::task::last::LastSync;
use crate::control::topic::Fault;
use crate::control::topic::How;
use crate::control::topic::Stage;
use crate::control::topic::Status;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::link::driver::ctx::Ctx;
use crate::link::driver::ctx::Session;
use crate::link::offsets::Following;
use crate::link::offsets::TICK;
use crate::link::registry::Event;
use crate::link::registry::MirrorSeen;
use crate::link::registry::Seen;
use crate::sync::groups::MirrorTopic;
use crate::sync::groups::Turn;
use crate::sync::groups::last;

/// For how long a promote waits behind its seals until a turn has come to all; then it goes on, and
/// its row says what was not synced.
pub const LAST_TURN_MAX: Duration = Duration::from_secs(60);
/// So long before that nothing is begun any more, so that the row can say which groups are left.
const LAST_TURN_REST: Duration = Duration::from_secs(5);
/// How many groups one line of the log names.
const NAMED_MAX: usize = 100;
/// For how long an ordinary turn that is under way goes on while a promote waits.
const OTHER_TURN_MAX: Duration = Duration::from_secs(10);
/// For how long groups of a topic that was failed over are raised; they stay where they are then.
const RAISE_MAX: Duration = Duration::from_secs(10);
/// What was told is told again when it has come to nothing for so long.
const TOLD_MAX: Duration = Duration::from_secs(5);

/// Until it is dropped: nothing is on its way that a later turn does not read back.
pub(super) async fn keep(ctx: Arc<Ctx>) {
    let mut following = Following::new(ctx.link.clone(), ctx.world.wall);
    let (mut lasts, mut raised, mut told) = (Lasts::default(), Raised::default(), None);
    loop {
        sleep(TICK).await;
        lasts.turn(&ctx, &mut following).await;
        raised.turn(&ctx, &mut following).await;
        let Some((sync, session)) = wanted(&ctx) else {
            following.rest();
            continue;
        };
        if !following.is_due(&sync) {
            continue;
        }
        let topics = topics(&ctx, &ctx.registry.seen());
        let both = (&session.source, &ctx.destination);
        tokio::select! {
            errors = following.turn(both, &sync, &topics) => {
                ctx.tell_task(TaskName::ConsumerOffsetSync, &mut told, errors).await;
            }
            () = lasts.overdue(&ctx) => {
                let text = "a turn over consumer groups makes way for a promote";
                tracing::info!(link = %ctx.name, "{text}");
            }
            () = raised.overdue(&ctx) => {
                let text = "a turn over consumer groups makes way for a failover";
                tracing::info!(link = %ctx.name, "{text}");
            }
        }
    }
}

/// What is to be followed now, where that can be done.
fn wanted(ctx: &Ctx) -> Option<(GroupSync, Arc<Session>)> {
    let seen = ctx.registry.seen();
    let link = seen.links.get(&ctx.name)?;
    let sync = link.groups()?;
    let may = seen.is_holder && seen.is_level && link.state == LinkState::Active;
    let session = ctx.session.borrow().clone()?;
    may.then_some((sync, session))
}

/// A promoted topic that waits for its last turn.
struct Waiting {
    since: Instant,
    told: Option<Instant>,
}

/// All of them.
#[derive(Default)]
struct Lasts(BTreeMap<TopicName, Waiting>);

impl Lasts {
    /// Those that wait now and were told nothing.
    fn waiting(&mut self, ctx: &Ctx) -> Vec<MirrorTopic> {
        let seen = ctx.registry.seen();
        let may = seen.is_holder && seen.is_level;
        let own = seen.mirrors_of(&ctx.name).filter(|(_, one)| may && one.awaits_groups);
        let own: BTreeMap<&TopicName, &Arc<MirrorSeen>> = own.collect();
        self.0.retain(|name, _| own.contains_key(name));
        let waits = own.into_iter().filter_map(|(name, one)| {
            let new = || Waiting { since: Instant::now(), told: None };
            let waiting = self.0.entry(name.clone()).or_insert_with(new);
            let is_told = waiting.told.is_some_and(|at| at.elapsed() < TOLD_MAX);
            topic(name, one).filter(|_| !is_told)
        });
        waits.collect()
    }

    /// Until one has waited for so long that whatever else is done must end.
    async fn overdue(&mut self, ctx: &Ctx) {
        loop {
            sleep(TICK).await;
            self.waiting(ctx);
            if self.0.values().any(|one| one.since.elapsed() >= OTHER_TURN_MAX) {
                return;
            }
        }
    }

    /// A turn over all that wait; each is told when all was done that ever can be, or when it has
    /// waited for long enough.
    async fn turn(&mut self, ctx: &Ctx, following: &mut Following) {
        let topics = self.waiting(ctx);
        let each = topics.iter().filter_map(|topic| self.0.get(&topic.mirror));
        let Some(since) = each.map(|one| one.since).min() else { return };
        let rest = LAST_TURN_MAX.saturating_sub(since.elapsed()).max(TICK);
        let until = Instant::now() + rest.saturating_sub(LAST_TURN_REST);
        let done = timeout(rest, attempt(ctx, following, (&topics, until))).await;
        let done = done.unwrap_or_else(|_| Err(too_late(rest)));
        let mut left = BTreeSet::new();
        for topic in &topics {
            let Some(waiting) = self.0.get_mut(&topic.mirror) else { continue };
            let now = ctx.world.wall.now();
            let (last, is_final) = match &done {
                Ok(turn) => last::of(turn, topic, now),
                Err(fault) => (last::failed(&format!("link {}", ctx.name), fault, now), false),
            };
            let is_over = waiting.since.elapsed() + LAST_TURN_REST >= LAST_TURN_MAX;
            if is_final || (is_over && done.is_ok()) || waiting.since.elapsed() >= LAST_TURN_MAX {
                waiting.told = Some(Instant::now());
                say(ctx, &topic.mirror, &last);
                left.extend(done.iter().flat_map(|turn| last::left(turn, topic)));
                let mirror = (ctx.name.clone(), topic.mirror.clone());
                ctx.tell(Event::Synced(mirror, last)).await;
            }
        }
        let left: Vec<String> = left.into_iter().collect();
        for some in left.chunks(NAMED_MAX) {
            let (link, groups) = (&ctx.name, some.join(", "));
            tracing::warn!(%link, groups, "consumer groups that were not synced behind the seals");
        }
    }
}

/// Topics that were failed over, by their mirror's id, whose groups were raised or had none to be.
#[derive(Default)]
struct Raised(BTreeMap<TopicName, TopicId>);

impl Raised {
    /// Those whose groups may still be raised. Of what was failed over before this process began
    /// nothing is remembered: that is found once, and comes to nothing.
    fn waiting(&self, ctx: &Ctx) -> Vec<MirrorTopic> {
        let seen = ctx.registry.seen();
        let may = seen.is_holder && seen.is_level;
        let is_new = |name: &TopicName, one: &MirrorSeen| {
            one.row.stage == Stage::Stopped(How::Failover)
                && one.row.mirror_id.as_ref() != self.0.get(name)
        };
        let own = seen.mirrors_of(&ctx.name).filter(|(name, one)| may && is_new(name, one));
        own.filter_map(|(name, one)| topic(name, one)).collect()
    }

    /// Until there is one, and a turn that was under way had its time.
    async fn overdue(&self, ctx: &Ctx) {
        while self.waiting(ctx).is_empty() {
            sleep(TICK).await;
        }
        sleep(OTHER_TURN_MAX).await;
    }

    /// One try over all that wait.
    async fn turn(&mut self, ctx: &Ctx, following: &mut Following) {
        let topics = self.waiting(ctx);
        if topics.is_empty() {
            return;
        }
        let seen = ctx.registry.seen();
        if let Some(sync) = seen.links.get(&ctx.name).and_then(|link| link.groups()) {
            let turn = following.raise(&ctx.destination, &sync, &topics);
            let turn = timeout(RAISE_MAX, turn).await;
            tell_raised(ctx, turn.unwrap_or_else(|_| Err(too_late(RAISE_MAX))));
        }
        self.0.extend(topics.into_iter().map(|one| (one.mirror, one.ids.1)));
    }
}

fn tell_raised(ctx: &Ctx, turn: Result<Turn, Fault>) {
    let link = &ctx.name;
    let trouble = match turn {
        Ok(turn) if turn.commits == 0 && turn.errors.is_empty() => return,
        Ok(turn) => {
            let (commits, clamped) = (turn.commits, turn.clamped);
            let text = "consumer groups of what was failed over are where they were last seen";
            tracing::info!(%link, commits, clamped, "{text}");
            turn.errors.into_iter().next().map(|(subject, fault)| (subject, fault.text))
        }
        Err(fault) => Some((link.to_string(), fault.text)),
    };
    if let Some((subject, why)) = trouble {
        let text = "a consumer group of what was failed over may read some records again";
        tracing::warn!(%link, subject, why, "{text}");
    }
}

/// The order was given when the link followed groups: that it rests since changes nothing.
async fn attempt(
    ctx: &Ctx,
    following: &mut Following,
    last: (&[MirrorTopic], Instant),
) -> Result<Turn, Fault> {
    let seen = ctx.registry.seen();
    let sync = seen.links.get(&ctx.name).and_then(|link| link.groups());
    let session = ctx.session.borrow().clone();
    let (Some(sync), Some(session)) = (sync, session) else {
        let text = "the source is not reached".to_owned();
        return Err(Fault { code: "LINK_UNAVAILABLE".to_owned(), text });
    };
    following.last_turn((&session.source, &ctx.destination), &sync, last).await
}

fn too_late(within: Duration) -> Fault {
    let text = format!("the clusters did not tell and take all within {} s", within.as_secs());
    Fault { code: "TIMEOUT_ERROR".to_owned(), text }
}

fn say(ctx: &Ctx, topic: &TopicName, last: &LastSync) {
    let (link, LastSync { synced, clamped, ahead, .. }) = (&ctx.name, last);
    match last.trouble() {
        None => {
            let text = "consumer groups are synced behind the seals";
            tracing::info!(%link, %topic, synced, clamped, ahead, "{text}");
        }
        Some(text) => tracing::warn!(%link, %topic, synced, clamped, ahead, "{text}"),
    }
}

/// The mirror topics of the link that get offsets: those that are copied, and paused ones.
fn topics(ctx: &Ctx, seen: &Seen) -> Vec<MirrorTopic> {
    let followed = seen.mirrors_of(&ctx.name).filter(|(_, one)| is_followed(one));
    followed.filter_map(|(name, one)| topic(name, one)).collect()
}

/// One, once it is there.
fn topic(name: &TopicName, one: &MirrorSeen) -> Option<MirrorTopic> {
    let ids = (one.row.source_id, one.row.mirror_id?);
    let (source, mirror) = (one.row.source_topic.clone(), name.clone());
    let sealed = one.row.sealed.iter().map(|(partition, sealed)| {
        let next = sealed.source_next.unwrap_or(sealed.end);
        (*partition, sealed.end.min(next))
    });
    Some(MirrorTopic { source, mirror, ids, partitions: partitions(one), sealed: sealed.collect() })
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
