//! Topics here that become mirrors of what was their mirror, since that was reversed and the journal
//! at the source says so.
//!
//! It never deletes, and never takes a topic that has more than its former mirror got.

use std::collections::BTreeMap;

use crate::control::order::NewMirror;
use crate::control::order::Order;
use crate::control::order::Restore;
use crate::control::order::Verb;
use crate::control::topic::Stage;
use crate::ids::TopicName;
use crate::link::driver::ctx::Ctx;
use crate::link::restore;
use crate::link::restore::Parted;

/// What was said of topics that are not taken: each reason once.
pub(in crate::link) type Said = BTreeMap<TopicName, String>;

/// Takes those of `reversed`, by their names at the source, that are not mirrors yet.
pub(in crate::link) async fn take(ctx: &Ctx, reversed: &[TopicName], said: &mut Said) {
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
            None => begin(ctx, topic, of, is_paused).await,
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

fn waits_for(of: &Parted) -> Option<String> {
    let beyond = of.all_beyond();
    let more = format!(
        "it has {beyond} offsets that its former mirror never got; see them with `isolog mirror \
         tail list`, then `isolog mirror truncate-and-restore`"
    );
    let more = (beyond > 0).then_some(more);
    of.blockers.first().cloned().or(more)
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
        tracing::info!(link = %ctx.name, %topic, "a mirror now: its mirror at the source was reversed");
    }
    refused.map(|refusal| refusal.text)
}
