//! Topics here that become mirrors of what was their mirror, since that was reversed, as the
//! journal at the source says.
//!
//! It never deletes, and never takes a topic that has more than its former mirror got.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::cluster::error::ClusterError;
use crate::control::order::Order;
use crate::control::row::Changes;
use crate::control::row::Sealed;
use crate::control::rules::COMPRESSION;
use crate::control::rules::TIMESTAMPS;
use crate::control::topic::Stage;
use crate::ids::LinkName;
use crate::ids::PartitionId;
use crate::ids::TopicName;
use crate::link::driver::ctx::Ctx;
use crate::link::restore;
use crate::link::restore::Parted;
use crate::link::swap::taker;
use crate::sync::apply;
use crate::sync::trouble::Kind;
use crate::sync::trouble::Trouble;

/// Why nothing is known of one that is there.
const OTHER: &str = "the topics on both sides are not those that were mirrored, or have other \
                     partitions: see which one is right, and make the other one anew";
/// So long a config that was changed may take to be in force at each broker.
const IN_FORCE: Duration = Duration::from_secs(2);

/// Until it is dropped: whenever the journal at the source was read.
pub(in crate::link) async fn keep(ctx: Arc<Ctx>) {
    let mut there = ctx.mirrors_there.subscribe();
    while there.changed().await.is_ok() {
        let known = there.borrow_and_update().clone();
        let reversed = known.map(|known| known.reversed_of(&ctx.destination.id()));
        take(&ctx, &reversed.unwrap_or_default()).await;
    }
}

/// Takes those of `reversed`, by their names at the source and with the link there, that are not
/// mirrors yet.
async fn take(ctx: &Ctx, reversed: &BTreeMap<TopicName, LinkName>) {
    let seen = ctx.registry.seen();
    let link = seen.links.get(&ctx.name).filter(|_| seen.is_holder);
    let session = ctx.session.borrow().clone().filter(|_| link.is_some());
    let Some(session) = session else { return };
    let is_mirror = |topic: &TopicName| {
        let row = seen.mirrors.get(&(ctx.name.clone(), topic.clone())).map(|one| &one.row);
        row.is_some_and(|row| !matches!(row.stage, Stage::Stopped(_)))
    };
    let rename = &session.settings.link.rename;
    // of several links from there one takes it
    let ours = reversed.iter().filter_map(|(there, link_there)| {
        let topic = rename.mirror_of(there)?;
        let taker = taker::taker(&seen, &ctx.name, (&topic, there, link_there));
        (taker == Some(&ctx.name)).then_some(topic)
    });
    let here: Vec<TopicName> = ours.collect();
    if here.iter().all(is_mirror) {
        return ctx.link.tell_reversed(Vec::new());
    }
    let all = match restore::parted(ctx).await {
        Ok(all) => all,
        Err(why) => {
            let waiting = here.iter().filter(|topic| !is_mirror(topic));
            return ctx.link.tell_reversed(waiting.map(|topic| trouble(topic, &why)).collect());
        }
    };
    // what was stopped here since is no former source of that reversal any more
    let is_over = |topic: &TopicName, of: &Parted| {
        let row = seen.mirrors.get(&(ctx.name.clone(), topic.clone())).map(|one| &one.row);
        let is_behind = |(id, sealed): (&PartitionId, &Sealed)| {
            of.partitions.get(id).is_some_and(|one| sealed.end >= one.next)
        };
        row.is_some_and(|row| row.sealed.iter().any(is_behind))
    };
    let is_due = |topic: &TopicName, of: &Parted| {
        let is_invited = of.reversal.is_some() && here.contains(topic);
        is_invited && !is_mirror(topic) && !is_over(topic, of)
    };
    let wanted: Vec<_> = all.iter().filter(|(topic, of)| is_due(topic, of)).collect();
    let is_odd = |topic: &&TopicName| {
        let has_row = seen.mirrors.contains_key(&(ctx.name.clone(), (*topic).clone()));
        !has_row && !all.contains_key(*topic) && ctx.destination.topic(topic).is_some()
    };
    let odd = here.iter().filter(is_odd);
    let (wait, ready): (Vec<_>, Vec<_>) = wanted
        .into_iter()
        .map(|(topic, of)| (topic, of, waits_for(of)))
        .partition(|one| one.2.is_some());
    let ready: Vec<_> = ready.into_iter().map(|(topic, of, _)| (topic, of)).collect();
    let mut troubles: Vec<Trouble> =
        wait.into_iter().filter_map(|(topic, _, why)| Some(trouble(topic, &why?))).collect();
    troubles.extend(odd.map(|topic| trouble(topic, OTHER)));
    if let Err(error) = make_ready(ctx, &ready).await {
        let why = error.to_string();
        troubles.extend(ready.iter().map(|(topic, _)| trouble(topic, &why)));
        return ctx.link.tell_reversed(troubles);
    }
    for (topic, of) in ready {
        let refused = begin(ctx, topic, of, of.reversal.unwrap_or_default()).await;
        troubles.extend(refused.map(|why| trouble(topic, &why)));
    }
    ctx.link.tell_reversed(troubles);
}

fn trouble(topic: &TopicName, why: &str) -> Trouble {
    let text =
        format!("its mirror at the source was reversed, and it is no mirror of that yet: {why}");
    Trouble::new(topic, Kind::Reversed, text)
}

/// Where the seal of its former mirror stands, the marker may stand of a transaction that was
/// aborted behind it: whether it is one is found out when the two are compared.
const MARKER: u64 = 1;

fn waits_for(of: &Parted) -> Option<String> {
    let beyond = of.all_beyond();
    let is_more = of.partitions.values().any(|one| Parted::beyond(one) > MARKER);
    let more = format!(
        "it has {beyond} offsets that its former mirror never got; see them with `isolog mirror \
         tail list`, then `isolog mirror truncate-and-restore`"
    );
    let more = is_more.then_some(more);
    of.blockers.first().cloned().or(more)
}

/// What was written by clients becomes a copy: its brokers must keep times and batches as they
/// come before the first one. Writers stay stopped: that is over when it is copied.
async fn make_ready(ctx: &Ctx, topics: &[(&TopicName, &Parted)]) -> Result<(), ClusterError> {
    let keys = [COMPRESSION.0, TIMESTAMPS.0];
    let names: Vec<TopicName> = topics.iter().map(|(topic, _)| (*topic).clone()).collect();
    let told = ctx.destination.describe_topic_configs(&names, Some(&keys)).await?;
    let mut changes = Vec::new();
    for (topic, of) in topics {
        let Some(Ok(configs)) = told.get(*topic) else { continue };
        let value = |key: &str| configs.get(key).and_then(|entry| entry.value.as_deref());
        let needed =
            [COMPRESSION, TIMESTAMPS].into_iter().filter(|(key, is)| value(key) != Some(is));
        let needed = needed.map(|(key, needs)| (key.to_owned(), Some(needs.to_owned())));
        let needed: Changes = needed.collect();
        if !needed.is_empty() {
            changes.push(((*topic).clone(), of.id, needed));
        }
    }
    if changes.is_empty() {
        return Ok(());
    }
    // whether it worked is found out when it begins
    let _answered = apply::give_back(&ctx.destination, changes).await;
    sleep(IN_FORCE).await;
    Ok(())
}

async fn begin(ctx: &Ctx, topic: &TopicName, of: &Parted, is_paused: bool) -> Option<String> {
    let verb = of.order(topic, Some(is_paused));
    let order = Order { link: ctx.name.clone(), verb, is_dry: false };
    let outcomes = ctx.registry.order(order).await;
    let refused = outcomes.into_iter().find_map(|one| one.result.err());
    if refused.is_none() {
        let text = "a mirror now: its mirror at the source was reversed";
        tracing::info!(link = %ctx.name, %topic, "{text}");
    }
    refused.map(|refusal| refusal.text)
}
