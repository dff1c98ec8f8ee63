//! Does what the control machine wants done to mirror topics of a link, many in one
//! request where that can be.
//!
//! It never decides: what may be done has been read back before it was handed out.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::cluster::NewTopic;
use crate::control::facts::Do;
use crate::control::facts::DoId;
use crate::control::facts::Done;
use crate::control::facts::Failed;
use crate::control::row::Changes;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::link::driver::compare;
use crate::link::driver::ctx::Ctx;
use crate::link::driver::loops;
use crate::link::registry::Event;
use crate::link::swap;
use crate::link::swap::Swap;
use crate::sync::apply;
use crate::sync::apply::Each;

/// How many topics are compared at a time; others wait.
const COMPARED_MAX: usize = 4;

/// The same of topics that are reversed.
const SWAPPED_MAX: usize = 16;

/// What is done one by one.
enum One {
    Delete(TopicName, TopicId),
    Replace(TopicName, TopicId, BTreeMap<PartitionId, Offset>),
}

/// What was handed out, by kind.
#[derive(Default)]
struct Sorted {
    new: Vec<(DoId, apply::Wanted)>,
    grown: Vec<(DoId, (TopicName, i32))>,
    owed: Vec<(DoId, (TopicName, TopicId, Changes))>,
    ones: Vec<(DoId, One)>,
    compared: Vec<(DoId, (compare::Pair, compare::Terms))>,
    swapped: Vec<(DoId, Swap)>,
}

/// Until it is dropped.
pub(super) async fn keep(ctx: Arc<Ctx>) {
    let mut is_old = false;
    let (mut comparing, room) = (JoinSet::new(), Arc::new(Semaphore::new(COMPARED_MAX)));
    let (mut swapping, swap_room) = (JoinSet::new(), Arc::new(Semaphore::new(SWAPPED_MAX)));
    // the other half of a reversal, where this is the former source
    swapping.spawn(swap::invited::keep(ctx.clone()));
    loop {
        let mut sorted = sort(ctx.dos.take().await);
        // of topics that were stopped: they wait for no source, which may be gone
        give_back(&ctx, std::mem::take(&mut sorted.owed)).await;
        for (id, one) in std::mem::take(&mut sorted.ones) {
            let done = do_one(&ctx, one).await;
            ctx.tell(Event::Done(id, done)).await;
        }
        while swapping.try_join_next().is_some() {}
        for (id, swap) in std::mem::take(&mut sorted.swapped) {
            let (ctx, room) = (ctx.clone(), swap_room.clone());
            swapping.spawn(async move {
                let _turn = room.acquire_owned().await;
                let done = swap::swap(&ctx, swap).await;
                ctx.tell(Event::Done(id, done)).await;
            });
        }
        let sorted = not_back(&ctx, sorted).await;
        let (ids, new): (Vec<DoId>, Vec<apply::Wanted>) = sorted.new.into_iter().unzip();
        if !new.is_empty() {
            let names = new.iter().map(|one| one.topic.name.clone()).collect();
            let made = apply::create(&ctx.destination, new, &mut is_old).await;
            tell_each(&ctx, ids, names, made, Done::Created).await;
        }
        let (ids, grown): (Vec<DoId>, Vec<(TopicName, i32)>) = sorted.grown.into_iter().unzip();
        if !grown.is_empty() {
            let names = grown.iter().map(|(name, _)| name.clone()).collect();
            let grown = apply::grow(&ctx.destination, grown).await;
            tell_each(&ctx, ids, names, grown, Done::Grown).await;
        }
        // a comparison may take hours, and nothing else waits for it
        while comparing.try_join_next().is_some() {}
        for (id, asked) in sorted.compared {
            let (ctx, room) = (ctx.clone(), room.clone());
            comparing.spawn(async move {
                let _turn = room.acquire_owned().await;
                let compared = compare::compare(&ctx, id, asked).await;
                let done = compared.map(|is_fenced| Done::IsPrefix { is_fenced });
                ctx.tell(Event::Done(id, done)).await;
            });
        }
    }
}

/// Leaves out, and says so, what would become a mirror of a mirror of its own.
async fn not_back(ctx: &Ctx, mut sorted: Sorted) -> Sorted {
    let new = sorted.new.iter().map(|(_, one)| one.topic.name.clone());
    let compared = sorted.compared.iter().map(|(_, (pair, _))| pair.mirror.0.clone());
    let begun: Vec<TopicName> = new.chain(compared).collect();
    let back = loops::again(ctx, &begun).await;
    if back.is_empty() {
        return sorted;
    }
    let new = sorted.new.extract_if(.., |(_, one)| back.contains_key(&one.topic.name));
    let mut refused: Vec<(DoId, TopicName)> = new.map(|(id, one)| (id, one.topic.name)).collect();
    let is_back = |(pair, _): &(compare::Pair, compare::Terms)| back.contains_key(&pair.mirror.0);
    let compared = sorted.compared.extract_if(.., |(_, asked)| is_back(asked));
    refused.extend(compared.map(|(id, (pair, _))| (id, pair.mirror.0)));
    for (id, name) in refused {
        let fault = back[&name].clone();
        ctx.tell(Event::Done(id, Err(Failed { fault, is_final: true }))).await;
    }
    sorted
}

fn sort(dos: VecDeque<(DoId, Do)>) -> Sorted {
    let mut sorted = Sorted::default();
    for (id, one) in dos {
        match one {
            Do::Create { mirror, partitions, replicas, configs, replaces } => {
                let replicas = replicas.filter(|count| *count > 0);
                let topic = NewTopic { name: mirror.1, partitions, replicas, configs };
                sorted.new.push((id, apply::Wanted { topic, replaces }));
            }
            Do::Grow { mirror, partitions } => sorted.grown.push((id, (mirror.1, partitions))),
            Do::GiveBack { mirror, mirror_id, owed } => {
                sorted.owed.push((id, (mirror.1, mirror_id, owed)));
            }
            Do::Delete { mirror, mirror_id } => {
                sorted.ones.push((id, One::Delete(mirror.1, mirror_id)));
            }
            Do::Replace { mirror, mirror_id, ends } => {
                sorted.ones.push((id, One::Replace(mirror.1, mirror_id, ends)));
            }
            Do::Compare { mirror, mirror_id, source, generation, takes_sealed } => {
                let pair = compare::Pair { source, mirror: (mirror.1, mirror_id) };
                let terms = compare::Terms { generation, takes_sealed };
                sorted.compared.push((id, (pair, terms)));
            }
            Do::Writers { source, what, .. } => {
                sorted.swapped.push((id, Swap::Writers(source, what)));
            }
            Do::Rest { mirror, mirror_id, source, partitions } => {
                let mirror = (mirror.1, mirror_id);
                sorted.swapped.push((id, Swap::Rest { mirror, source, partitions }));
            }
        }
    }
    sorted
}

async fn give_back(ctx: &Ctx, asked: Vec<(DoId, (TopicName, TopicId, Changes))>) {
    let (ids, asked): (Vec<DoId>, Vec<_>) = asked.into_iter().unzip();
    if asked.is_empty() {
        return;
    }
    let mut given = apply::give_back(&ctx.destination, asked.clone()).await;
    for (id, (name, _, owed)) in ids.into_iter().zip(asked) {
        let answer = given.remove(&name).unwrap_or_else(|| Err(apply::unanswered(&name)));
        ctx.tell(Event::Done(id, answer.map(|()| Done::GivenBack(owed)))).await;
    }
}

async fn tell_each<T>(
    ctx: &Ctx,
    ids: Vec<DoId>,
    names: Vec<TopicName>,
    mut each: Each<T>,
    done: impl Fn(T) -> Done,
) {
    let by_id: BTreeMap<DoId, TopicName> = ids.into_iter().zip(names).collect();
    for (id, name) in by_id {
        let answer = each.remove(&name).unwrap_or_else(|| Err(apply::unanswered(&name)));
        ctx.tell(Event::Done(id, answer.map(&done))).await;
    }
}

async fn do_one(ctx: &Ctx, one: One) -> Result<Done, Failed> {
    let destination = &ctx.destination;
    match one {
        One::Delete(name, id) => {
            apply::delete(destination, &name, id).await?;
            tracing::info!(link = %ctx.name, topic = %name, "deleted at the destination by order");
            Ok(Done::Deleted)
        }
        One::Replace(name, id, ends) => {
            if apply::delete_as_it_was(destination, &name, id, &ends).await? {
                let text = "deleted at the destination by an order to restore it";
                tracing::warn!(link = %ctx.name, topic = %name, %id, "{text}");
            }
            Ok(Done::Replaced)
        }
    }
}
