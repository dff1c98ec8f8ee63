//! Looks at both clusters of a link, as the control machine asks.
//!
//! It never changes a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cluster::error::ClusterError;
use crate::control::facts::Asked;
use crate::control::facts::Metadata;
use crate::control::facts::Observed;
use crate::control::facts::Wanted;
use crate::control::task::TaskName;
use crate::control::topic::Fault;
use crate::ids::TopicName;
use crate::link::driver::ctx::Ctx;
use crate::link::driver::ctx::Session;
use crate::link::driver::loops;
use crate::link::registry::Event;
use crate::sync::apply::fault_of;
use crate::sync::observe;
use crate::sync::observe::Known;

/// For how long a look waits for a source that is being reached.
const REACH_WAIT_MAX: Duration = Duration::from_secs(10);
/// How many looks are under way at a time; others wait.
const AT_ONCE_MAX: usize = 4;

/// Until it is dropped.
pub(super) async fn keep(ctx: Arc<Ctx>) {
    let mut looks = JoinSet::new();
    loop {
        for (id, asked) in ctx.looks.take().await {
            while looks.len() >= AT_ONCE_MAX {
                looks.join_next().await;
            }
            let ctx = ctx.clone();
            looks.spawn(async move {
                let observed = look(&ctx, asked).await;
                ctx.tell(Event::Observed(id, observed)).await;
            });
        }
    }
}

async fn look(ctx: &Ctx, asked: Asked) -> Result<Observed, Fault> {
    let session = session(ctx).await?;
    let observed = match asked {
        Asked::All => all(ctx, &session).await,
        Asked::Topics(wanted) => topics(ctx, &session, wanted).await,
    };
    observed.map_err(|error| {
        tracing::info!(link = %ctx.name, %error, "a look at the topics failed");
        fault_of(&error)
    })
}

/// The session, once the source is reached.
pub(super) async fn session(ctx: &Ctx) -> Result<Arc<Session>, Fault> {
    let mut sessions = ctx.session.subscribe();
    let reached = timeout(REACH_WAIT_MAX, sessions.wait_for(Option::is_some)).await;
    let session = reached.ok().and_then(|one| one.ok().and_then(|session| session.clone()));
    session.ok_or_else(|| {
        let text = format!(
            "the source of link {} has not been reached yet: `isolog link describe {}` says why",
            ctx.name, ctx.name
        );
        Fault { code: "LINK_UNAVAILABLE".to_owned(), text }
    })
}

async fn all(ctx: &Ctx, session: &Session) -> Result<Observed, ClusterError> {
    let mut known = Known::default();
    let seen = ctx.registry.seen();
    for (mirror, one) in seen.mirrors_of(&ctx.name) {
        known.mirrors.insert(mirror.clone());
        known.sources.insert(one.row.source_topic.clone());
    }
    // as the link is ordered now: a session may have begun under other settings
    let settings = seen.links.get(&ctx.name).and_then(|link| link.settings.as_ref());
    known.sources.extend(settings.into_iter().flat_map(|one| one.topics.literals().cloned()));
    let there = loops::known(ctx).await;
    let mut topics = observe::all(&session.source, &ctx.destination, &known).await?;
    // a filter takes no topic that is a mirror at the source; who names it does
    topics.source.retain(|name, _| !there.has(name) || known.sources.contains(name));
    (topics.ancestors, topics.loops) = (there.lines(), there.loops(&ctx.destination));
    Ok(Observed::All(topics))
}

async fn topics(
    ctx: &Ctx,
    session: &Session,
    wanted: Vec<Wanted>,
) -> Result<Observed, ClusterError> {
    let seen = ctx.registry.seen();
    let settings = seen.links.get(&ctx.name).and_then(|link| link.settings.as_ref());
    let follows = settings.filter(|one| one.tasks.contains(&TaskName::TopicConfigsSync));
    let asked = (&wanted[..], follows.map(|one| &one.configs));
    let mut facts = observe::facts(&session.source, &ctx.destination, asked).await?;
    let mut there = loops::known(ctx).await;
    let sources: BTreeMap<&TopicName, &TopicName> =
        wanted.iter().map(|one| (&one.mirror, &one.source)).collect();
    let leads_back = |one: &Wanted| loops::leads_back(&there, &one.source, &ctx.destination);
    if wanted.iter().any(|one| leads_back(one).is_some()) {
        // what was read a minute ago may have been promoted since
        there = loops::now(ctx, session).await.unwrap_or(there);
    }
    for (mirror, facts) in &mut facts {
        let source = sources.get(mirror);
        let back = source.and_then(|one| loops::leads_back(&there, one, &ctx.destination));
        if let Some(fault) = back {
            facts.source = Metadata::Hidden(fault);
        }
        facts.ancestors = source.map(|one| there.line(one)).unwrap_or_default();
        if let Some(link) = ctx.claims.declared(mirror).filter(|link| *link != ctx.name) {
            let text = format!(
                "topic {mirror} is mirrored by link {link} of the config file: give this link a \
                 cluster.link.prefix, or take the topic out of [link.{link}]"
            );
            let fault = Fault { code: "TOPIC_EXISTS_ERROR".to_owned(), text };
            facts.mirror = Metadata::Hidden(fault);
        }
    }
    Ok(Observed::Topics(facts))
}
