//! Keeps the log starts of commanded mirrors where their sources' are, and takes topics on the
//! stage, and off it, that need other configs meanwhile (`sync::stage`).
//!
//! It never changes a config that the journal does not say: what a topic is owed is read back
//! first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::cluster::error::ClusterError;
use crate::control::facts::TopicSpec;
use crate::control::row::Changes;
use crate::control::task::TaskName;
use crate::control::topic::Fault;
use crate::ids::Offset;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::link::driver::ctx::Ctx;
use crate::link::driver::ctx::Session;
use crate::link::driver::ctx::lock;
use crate::link::registry::Event;
use crate::sync::stage;
use crate::sync::trim::Part;
use crate::sync::trim::Trimmer;
use crate::sync::trouble::Kind;
use crate::sync::trouble::Trouble;

/// What is copied, by the mirror's name.
type Copied = BTreeMap<TopicName, TopicSpec>;

/// Until it is dropped.
pub(in crate::link) async fn keep(ctx: Arc<Ctx>) {
    let (mut trimmer, mut told) = (Trimmer::new(), None);
    loop {
        let Some(age) = look_age(&ctx).await else { return };
        // what has begun since is looked at as soon as topics are
        sleep(trimmer.pause().min(age)).await;
        let Some(session) = ctx.session.borrow().clone() else { continue };
        match round(&ctx, &session, &mut trimmer).await {
            Ok(troubles) => {
                let errors = troubles.iter().map(error_of).collect();
                ctx.link.tell_starts(troubles);
                ctx.tell_task(TaskName::LogStartSync, &mut told, errors).await;
            }
            Err(error) => {
                tracing::info!(link = %ctx.name, %error, "log starts were not compared");
                ctx.tell_task(TaskName::LogStartSync, &mut told, ctx.all_failed(&error)).await;
            }
        }
    }
}

/// How often topics are looked at, once the source is reached.
async fn look_age(ctx: &Ctx) -> Option<Duration> {
    let mut sessions = ctx.session.subscribe();
    let session = sessions.wait_for(Option::is_some).await.ok()?;
    session.as_ref().map(|session| session.settings.source.metadata_age_max)
}

fn error_of(trouble: &Trouble) -> (String, Fault) {
    let fault = Fault { code: "POLICY_VIOLATION_ERROR".to_owned(), text: trouble.text.clone() };
    (trouble.subject.clone(), fault)
}

async fn round(
    ctx: &Ctx,
    session: &Session,
    trimmer: &mut Trimmer,
) -> Result<Vec<Trouble>, ClusterError> {
    let copied = lock(&ctx.copied).clone();
    let parts = parts(&copied, &ctx.link.copied());
    let round = trimmer.round(&session.source, &ctx.destination, &parts).await?;
    for (tp, (from, to)) in &round.moved {
        let text = "the log start follows the source's";
        tracing::info!(link = %ctx.name, partition = %tp, %from, %to, "{text}");
    }
    let untrimmed = round.troubles.iter().map(|(tp, code)| {
        let text = format!("the log start of {tp} does not follow the source's: {code}");
        Trouble::new(&tp.topic, Kind::LogStart, text)
    });
    let mut troubles: Vec<Trouble> = untrimmed.collect();
    troubles.extend(enter(ctx, &copied, &round.compacted).await?);
    troubles.extend(leave(ctx, &copied, &round.settled).await?);
    Ok(troubles)
}

fn parts(copied: &Copied, ends: &BTreeMap<TopicPartition, Offset>) -> Vec<Part> {
    let parts = copied.iter().flat_map(|(topic, spec)| {
        spec.partitions.iter().map(move |(partition, start)| {
            let tp = TopicPartition { topic: topic.clone(), partition: *partition };
            Part {
                source: spec.source.0.clone(),
                ids: (spec.source.1, spec.mirror_id),
                chosen: *start,
                copied: ends.get(&tp).copied(),
                tp,
            }
        })
    });
    parts.collect()
}

/// Takes topics on the stage that refuse to be trimmed: one round writes down what they have, a
/// later one, which has read that back, changes it.
async fn enter(
    ctx: &Ctx,
    copied: &Copied,
    compacted: &[TopicName],
) -> Result<Vec<Trouble>, ClusterError> {
    let is_written = |name: &&TopicName| copied.get(name).is_some_and(|spec| !spec.owed.is_empty());
    let (ready, new): (Vec<&TopicName>, Vec<&TopicName>) = compacted.iter().partition(is_written);
    let (ready, new): (Vec<TopicName>, Vec<TopicName>) =
        (ready.into_iter().cloned().collect(), new.into_iter().cloned().collect());
    if !new.is_empty() {
        let found = ctx.destination.describe_topic_configs(&new, Some(&stage::KEYS)).await?;
        for (name, configs) in found {
            if let Ok(configs) = configs {
                owe(ctx, name, stage::real_of_mirror(&configs)).await;
            }
        }
    }
    Ok(texts(stage::enter(&ctx.destination, &ready).await?))
}

/// Gives topics the configs that they are owed, and then has that written down.
async fn leave(
    ctx: &Ctx,
    copied: &Copied,
    settled: &[TopicName],
) -> Result<Vec<Trouble>, ClusterError> {
    let owed = settled.iter().filter_map(|name| {
        let owed = copied.get(name).map(|spec| &spec.owed).filter(|owed| !owed.is_empty())?;
        Some((name.clone(), owed.clone()))
    });
    let owed: Vec<(TopicName, Changes)> = owed.collect();
    let refused = stage::leave(&ctx.destination, owed.clone()).await?;
    for (name, _) in owed.into_iter().filter(|(name, _)| !refused.contains_key(name)) {
        tracing::info!(link = %ctx.name, topic = %name, "has its own configs: its prefix is gone");
        owe(ctx, name, Changes::new()).await;
    }
    Ok(texts(refused))
}

async fn owe(ctx: &Ctx, topic: TopicName, owed: Changes) {
    ctx.tell(Event::Owed((ctx.name.clone(), topic), owed)).await;
}

fn texts(refused: BTreeMap<TopicName, String>) -> Vec<Trouble> {
    refused.into_iter().map(|(name, text)| Trouble::new(&name, Kind::LogStart, text)).collect()
}
