//! Topics here that become mirrors of what was their mirror, since that was reversed, as the
//! journal at the source says.
//!
//! It never deletes, and never takes a topic that has more than its former mirror got.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::control::facts::Failed;
use crate::control::order::NewMirror;
use crate::control::order::Order;
use crate::control::order::Restore;
use crate::control::order::Verb;
use crate::control::row::Changes;
use crate::control::row::reversal::NO_BATCH_BYTES;
use crate::control::rules::COMPRESSION;
use crate::control::rules::TIMESTAMPS;
use crate::control::task::configs::BATCH_BYTES_MIN;
use crate::control::topic::Fault;
use crate::control::topic::Stage;
use crate::ids::TopicName;
use crate::link::driver::ctx::Ctx;
use crate::link::restore;
use crate::link::restore::Parted;
use crate::sync::apply;
use crate::sync::configs::BATCH_BYTES;

/// So long a config that was changed may take to be in force at each broker.
const IN_FORCE: Duration = Duration::from_secs(2);

/// What was said of topics that are not taken: each reason once.
type Said = BTreeMap<TopicName, String>;

/// Until it is dropped: whenever the journal at the source was read.
pub(in crate::link) async fn keep(ctx: Arc<Ctx>) {
    let (mut there, mut said) = (ctx.mirrors_there.subscribe(), Said::new());
    while there.changed().await.is_ok() {
        let known = there.borrow_and_update().clone();
        let reversed = known.map(|known| known.reversed_of(&ctx.destination.id()));
        take(&ctx, &reversed.unwrap_or_default(), &mut said).await;
    }
}

/// Takes those of `reversed`, by their names at the source, that are not mirrors yet.
async fn take(ctx: &Ctx, reversed: &[TopicName], said: &mut Said) {
    let seen = ctx.registry.seen();
    let link = seen.links.get(&ctx.name).filter(|_| seen.is_holder);
    let session = ctx.session.borrow().clone().filter(|_| link.is_some());
    let Some(session) = session else { return };
    let is_mirror = |topic: &TopicName| {
        let row = seen.mirrors.get(&(ctx.name.clone(), topic.clone())).map(|one| &one.row);
        row.is_some_and(|row| !matches!(row.stage, Stage::Stopped(_)))
    };
    let rename = &session.settings.link.rename;
    let here: Vec<TopicName> =
        reversed.iter().filter_map(|topic| rename.mirror_of(topic)).collect();
    said.retain(|topic, _| here.contains(topic));
    if here.iter().all(is_mirror) {
        return;
    }
    let all = match restore::parted(ctx).await {
        Ok(all) => all,
        Err(why) => {
            tracing::info!(link = %ctx.name, "topics that were reversed wait: {why}");
            return;
        }
    };
    for (topic, of) in all.iter().filter(|(topic, _)| !is_mirror(topic)) {
        let Some(is_paused) = of.reversal else { continue };
        let refused = match waits_for(of) {
            Some(why) => Some(why),
            None => match make_ready(ctx, topic, of).await {
                Ok(()) => begin(ctx, topic, of, is_paused).await,
                Err(failed) => Some(failed.fault.text),
            },
        };
        match refused {
            None => drop(said.remove(topic)),
            Some(why) if said.get(topic) == Some(&why) => {}
            Some(why) => {
                tracing::warn!(
                    link = %ctx.name, %topic,
                    "its mirror at the source was reversed, and it is no mirror of that yet: {why}"
                );
                said.insert(topic.clone(), why);
            }
        }
    }
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
/// come, and take batches again, before the first one.
async fn make_ready(ctx: &Ctx, topic: &TopicName, of: &Parted) -> Result<(), Failed> {
    let keys = [COMPRESSION.0, TIMESTAMPS.0, BATCH_BYTES];
    let names = std::slice::from_ref(topic);
    let told = ctx.destination.describe_topic_configs(names, Some(&keys)).await;
    let unknown = |text: String| {
        let fault = Fault { code: "AUTHORIZATION_ERROR".to_owned(), text };
        Failed { fault, is_final: false }
    };
    let told = told.map_err(|error| unknown(error.to_string()))?.remove(topic);
    let told = told.and_then(Result::ok).ok_or_else(|| {
        unknown(format!("the configs of {topic} are not told: grant DescribeConfigs on it"))
    })?;
    let value = |key: &str| told.get(key).and_then(|entry| entry.value.as_deref());
    let mut changes = Changes::new();
    for (key, needs) in [COMPRESSION, TIMESTAMPS] {
        if value(key) != Some(needs) {
            changes.insert(key.to_owned(), Some(needs.to_owned()));
        }
    }
    if value(BATCH_BYTES) == Some(NO_BATCH_BYTES) {
        changes.insert(BATCH_BYTES.to_owned(), Some(BATCH_BYTES_MIN.to_string()));
    }
    if changes.is_empty() {
        return Ok(());
    }
    let mut set = apply::give_back(&ctx.destination, vec![(topic.clone(), of.id, changes)]).await;
    set.remove(topic).unwrap_or_else(|| Err(apply::unanswered(topic)))?;
    sleep(IN_FORCE).await;
    Ok(())
}

async fn begin(ctx: &Ctx, topic: &TopicName, of: &Parted, is_paused: bool) -> Option<String> {
    let (id, source_id, reversal) = (of.id, of.source_id, Some(is_paused));
    let new = NewMirror {
        source: of.source.clone(),
        mirror: Some(topic.clone()),
        start: None,
        replicas: None,
        configs: BTreeMap::new(),
        restore: Some(Restore { id, source_id, ends: BTreeMap::new(), reversal }),
    };
    let order = Order { link: ctx.name.clone(), verb: Verb::CreateMirror(new), is_dry: false };
    let outcomes = ctx.registry.order(order).await;
    let refused = outcomes.into_iter().find_map(|one| one.result.err());
    if refused.is_none() {
        let text = "a mirror now: its mirror at the source was reversed";
        tracing::info!(link = %ctx.name, %topic, "{text}");
    }
    refused.map(|refusal| refusal.text)
}
