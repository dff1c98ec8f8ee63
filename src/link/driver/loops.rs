//! Which topics of a link's source are mirrors there themselves, by the rows of the journal there:
//! a mirror that leads back here would be a loop, and a filter takes no topic that is a mirror.
//!
//! It never writes there. It sees one step: what leads back over a third cluster it does not know.
//! Where the journal there may not be read it is blind, and says so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::control::journal::Fold;
use crate::control::row::Key;
use crate::control::row::MirrorRow;
use crate::control::row::Row;
use crate::control::topic::Fault;
use crate::control::topic::Stage;
use crate::flow::Wall;
use crate::ids::ClusterId;
use crate::ids::LinkName;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::link::driver::ctx::Ctx;
use crate::link::log::FromLog;
use crate::link::log::Log;

/// How often the journal there is read.
const READ_PAUSE: Duration = Duration::from_secs(60);
/// For how long it may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// For how long a look waits for the first reading.
const FIRST_WAIT_MAX: Duration = Duration::from_secs(10);

/// What a mirror topic of the source is a mirror of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::link) struct Lineage {
    /// The link there.
    link: LinkName,
    /// Its source cluster.
    cluster: Option<ClusterId>,
    /// The topic there, and its id.
    topic: (TopicName, TopicId),
}

/// The mirror topics of a cluster, by name.
pub(in crate::link) type Mirrors = BTreeMap<TopicName, Lineage>;

/// Reads again and again which topics of the source are mirrors, until it is dropped.
pub(super) async fn keep(ctx: Arc<Ctx>) {
    let (mut sessions, mut is_blind) = (ctx.session.subscribe(), false);
    loop {
        let session = match sessions.wait_for(Option::is_some).await {
            Ok(session) => session.clone(),
            Err(_) => return,
        };
        let Some(session) = session else { continue };
        match read(session.source.clone(), ctx.world.wall).await {
            Ok(mirrors) => {
                is_blind = false;
                ctx.mirrors_there.send_replace(Some(Arc::new(mirrors)));
            }
            Err(why) => {
                if !std::mem::replace(&mut is_blind, true) {
                    tracing::warn!(
                        link = %ctx.name,
                        "the guard against loops is blind: the journal (__isolog) at the source \
                         cannot be read ({why}); grant Read and Describe on it there, or see to it \
                         that no link leads back"
                    );
                }
                ctx.mirrors_there.send_if_modified(|known| {
                    known.is_none() && known.replace(Arc::default()).is_none()
                });
            }
        }
        sleep(READ_PAUSE).await;
    }
}

/// What is known, once it is known at all.
pub(super) async fn known(ctx: &Ctx) -> Arc<Mirrors> {
    let mut there = ctx.mirrors_there.subscribe();
    let first = timeout(FIRST_WAIT_MAX, there.wait_for(Option::is_some)).await;
    first.ok().and_then(|known| known.ok()?.clone()).unwrap_or_default()
}

/// The mirror topics of a cluster by its journal; none where it has none.
pub(super) async fn read(cluster: Arc<Cluster>, wall: Wall) -> Result<Mirrors, String> {
    let found = timeout(SILENCE_MAX, Log::find(cluster, wall)).await;
    let found = found.map_err(|_| "it does not answer".to_owned())?;
    let Some(mut log) = found.map_err(|error| error.to_string())? else {
        return Ok(Mirrors::new());
    };
    let (mut fold, mut trouble) = (Fold::default(), None);
    loop {
        match timeout(SILENCE_MAX, log.next()).await {
            Ok(FromLog::Batch(batch)) => drop(fold.apply(batch)),
            Ok(FromLog::Level) => return Ok(mirrors(&fold)),
            Ok(FromLog::Lost(lost)) => return Err(lost.fault.text),
            Ok(FromLog::Trouble(fault)) => trouble = Some(fault.text),
            Ok(FromLog::Well) => trouble = None,
            Err(_) => return Err(trouble.unwrap_or_else(|| "it does not answer".to_owned())),
        }
    }
}

fn mirrors(fold: &Fold) -> Mirrors {
    let row = |key: &Key| fold.get(&key.to_string()).and_then(|text| Row::parse(key, text).ok());
    let is_mirror = |row: &MirrorRow| {
        !matches!(row.stage, Stage::Stopped(_) | Stage::Leaving { .. } | Stage::LetGo)
    };
    let keys = fold.rows().keys().filter_map(|text| Key::parse(text));
    let all = keys.filter_map(|key| match (&key, row(&key)?) {
        (Key::Mirror(link, topic), Row::Mirror(of)) if is_mirror(&of) => {
            let cluster = match row(&Key::Link(link.clone())) {
                Some(Row::Link(link)) => link.source,
                _ => None,
            };
            let lineage = Lineage {
                link: link.clone(),
                cluster,
                topic: (of.source_topic.clone(), of.source_id),
            };
            Some((topic.clone(), lineage))
        }
        _ => None,
    });
    all.collect()
}

/// Why a topic of the source must not be mirrored here: it is a mirror of a topic of ours.
pub(super) fn leads_back(
    mirrors: &Mirrors,
    source: &TopicName,
    destination: &Cluster,
) -> Option<Fault> {
    let lineage = mirrors.get(source)?;
    let (topic, id) = &lineage.topic;
    // one that was made anew since is another one by that name
    let is_other = |seen: TopicId| seen != *id && seen != TopicId::NIL;
    let is_ours = lineage.cluster.as_ref() == Some(&destination.id())
        && !destination.topic(topic).is_some_and(|seen| is_other(seen.id));
    is_ours.then(|| a_loop(source, lineage))
}

fn a_loop(source: &TopicName, lineage: &Lineage) -> Fault {
    let text = format!(
        "topic {source} of the source is itself a mirror of topic {} of this destination (link {} \
         there): mirrored back it would be a loop",
        lineage.topic.0, lineage.link
    );
    Fault { code: "INVALID_REQUEST_ERROR".to_owned(), text }
}

/// Whether none of the topics that a new link names leads back to the cluster `here`; nothing is
/// refused where the journal of the source cannot be read.
pub(super) async fn check(
    source: Arc<Cluster>,
    wall: Wall,
    here: &ClusterId,
    named: &[TopicName],
) -> Result<(), Fault> {
    let mirrors = match read(source, wall).await {
        Ok(mirrors) => mirrors,
        Err(why) => {
            tracing::warn!("a new link is not checked for loops: {why}");
            return Ok(());
        }
    };
    let back = |name: &TopicName| {
        let lineage = mirrors.get(name).filter(|one| one.cluster.as_ref() == Some(here))?;
        Some(a_loop(name, lineage))
    };
    named.iter().find_map(back).map_or(Ok(()), Err)
}
