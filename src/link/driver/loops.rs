//! Which topics of a link's source are mirrors there themselves, by the rows of the journal there:
//! a mirror that leads back here would be a loop, and a filter takes no topic that is a mirror.
//!
//! It never writes there. What leads back over other clusters it knows as far as their journals
//! said it to each other; where the one at the source may not be read it is blind, and says so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::audit::survey;
use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::control::journal::Fold;
use crate::control::journal::TOPIC;
use crate::control::row::Key;
use crate::control::row::MirrorRow;
use crate::control::row::Row;
use crate::control::row::lineage;
use crate::control::row::lineage::Ancestor;
use crate::control::topic::Fault;
use crate::control::topic::How;
use crate::control::topic::Stage;
use crate::flow::Wall;
use crate::ids::ClusterId;
use crate::ids::LinkName;
use crate::ids::PartitionId;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::link::driver::ctx::Ctx;
use crate::link::driver::ctx::Session;
use crate::link::driver::looks;
use crate::link::log::FromLog;
use crate::link::log::Log;
use crate::mirror::halt::Halt;

/// How often the journal there is read.
const READ_PAUSE: Duration = Duration::from_secs(60);
/// How often it is looked whether it has got rows.
const NEWS_PAUSE: Duration = Duration::from_secs(5);
const HWM: EndKind = EndKind::HighWatermark;
/// For how long it may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// For how long a look waits for the first reading.
const FIRST_WAIT_MAX: Duration = Duration::from_secs(10);

/// What a mirror topic of the source is a mirror of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lineage {
    /// The link there.
    link: LinkName,
    /// The topics that its records come over, nearest first.
    line: Vec<Ancestor>,
}

/// The mirror topics of a cluster, by name.
#[derive(Debug, Default)]
pub(in crate::link) struct Mirrors {
    all: BTreeMap<TopicName, Lineage>,
    /// Mirrors there that were reversed, with the link there and the cluster that they were of.
    reversed: Vec<(TopicName, LinkName, ClusterId)>,
    /// The journal there was read once.
    is_read: bool,
}

impl Mirrors {
    /// Whether a topic is a mirror there.
    pub fn has(&self, topic: &TopicName) -> bool {
        self.all.contains_key(topic)
    }

    /// What a topic there is a mirror of; of nothing, as far as is known.
    pub fn line(&self, topic: &TopicName) -> Vec<Ancestor> {
        self.all.get(topic).map(|one| one.line.clone()).unwrap_or_default()
    }

    /// The same of all of them; `None` where the journal could never be read.
    pub fn lines(&self) -> Option<BTreeMap<TopicName, Vec<Ancestor>>> {
        let all = self.all.iter().map(|(topic, one)| (topic.clone(), one.line.clone()));
        self.is_read.then(|| all.collect())
    }

    /// The mirrors of a cluster that were reversed, by their names there, with the link there.
    pub fn reversed_of(&self, cluster: &ClusterId) -> BTreeMap<TopicName, LinkName> {
        let of_it = self.reversed.iter().filter(|(.., of)| of == cluster);
        of_it.map(|(topic, link, _)| (topic.clone(), link.clone())).collect()
    }

    /// Topics there whose records come from a topic of ours, with the reason.
    pub fn loops(&self, destination: &Cluster) -> BTreeMap<TopicName, Fault> {
        let back = |name: &TopicName| {
            let mut fault = leads_back(self, name, destination)?;
            fault.code = Halt::Loop.label().to_owned();
            Some((name.clone(), fault))
        };
        self.all.keys().filter_map(back).collect()
    }
}

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
        until_news(&session.source).await;
    }
}

/// Until the journal there is due, or has got rows.
async fn until_news(source: &Cluster) {
    let journal = TopicName::new(TOPIC).expect("a legal name");
    let journal = [TopicPartition { topic: journal, partition: PartitionId(0) }];
    let end = async || match timeout(SILENCE_MAX, survey::ends(source, &journal, HWM)).await {
        Ok(Ok(ends)) => ends.into_values().next().and_then(|end| end.ok()),
        _ => None,
    };
    let (began, was) = (Instant::now(), end().await);
    while began.elapsed() < READ_PAUSE {
        sleep(NEWS_PAUSE).await;
        if was.is_some() && end().await.is_some_and(|is| Some(is) != was) {
            return;
        }
    }
}

/// What is known, once it is known at all.
pub(super) async fn known(ctx: &Ctx) -> Arc<Mirrors> {
    let mut there = ctx.mirrors_there.subscribe();
    let first = timeout(FIRST_WAIT_MAX, there.wait_for(Option::is_some)).await;
    first.ok().and_then(|known| known.ok()?.clone()).unwrap_or_default()
}

/// What the journal at the source says now; nothing where it cannot be read.
pub(super) async fn now(ctx: &Ctx, session: &Session) -> Option<Arc<Mirrors>> {
    let there = Arc::new(read(session.source.clone(), ctx.world.wall).await.ok()?);
    ctx.mirrors_there.send_replace(Some(there.clone()));
    Some(there)
}

/// Which of these mirrors would lead back, by the journal at the source as it is now. It is asked
/// when their own rows are written: of two that are ordered at both ends at the same time at least
/// one finds the other's row. Nothing is found where the journal cannot be read.
pub(super) async fn again(ctx: &Ctx, mirrors: &[TopicName]) -> BTreeMap<TopicName, Fault> {
    let session = if mirrors.is_empty() { None } else { looks::session(ctx).await.ok() };
    let Some(session) = session else { return BTreeMap::new() };
    let Ok(there) = read(session.source.clone(), ctx.world.wall).await else {
        return BTreeMap::new();
    };
    let rename = &session.settings.link.rename;
    let back = |mirror: &TopicName| {
        let source = rename.source_of(mirror)?;
        Some((mirror.clone(), leads_back(&there, &source, &ctx.destination)?))
    };
    let found = mirrors.iter().filter_map(back).collect();
    ctx.mirrors_there.send_replace(Some(Arc::new(there)));
    found
}

/// The mirror topics of a cluster by its journal; none where it has none.
pub(super) async fn read(cluster: Arc<Cluster>, wall: Wall) -> Result<Mirrors, String> {
    let fold = fold(cluster, wall).await?;
    let none = Mirrors { is_read: true, ..Mirrors::default() };
    Ok(fold.map_or(none, |fold| mirrors(&fold)))
}

/// The journal of a cluster as it is now; nothing where it has none.
pub(in crate::link) async fn fold(
    cluster: Arc<Cluster>,
    wall: Wall,
) -> Result<Option<Fold>, String> {
    let found = timeout(SILENCE_MAX, Log::find(cluster, wall)).await;
    let found = found.map_err(|_| "it does not answer".to_owned())?;
    let Some(mut log) = found.map_err(|error| error.to_string())? else { return Ok(None) };
    let (mut fold, mut trouble) = (Fold::default(), None);
    loop {
        match timeout(SILENCE_MAX, log.next()).await {
            Ok(FromLog::Batch(batch)) => drop(fold.apply(batch)),
            Ok(FromLog::Level) => return Ok(Some(fold)),
            Ok(FromLog::Lost(lost)) => return Err(lost.fault.text),
            Ok(FromLog::Trouble(fault)) => trouble = Some(fault.text),
            Ok(FromLog::Well) => trouble = None,
            Err(_) => return Err(trouble.unwrap_or_else(|| "it does not answer".to_owned())),
        }
    }
}

fn mirrors(fold: &Fold) -> Mirrors {
    let row = |key: &Key| fold.get(&key.to_string()).and_then(|text| Row::parse(key, text).ok());
    let is_reversed =
        |row: &MirrorRow| row.stage == Stage::Stopped(How::Promote) && row.reversal.is_some();
    let keys = fold.rows().keys().filter_map(|text| Key::parse(text));
    let source_of = |link: &LinkName| match row(&Key::Link(link.clone())) {
        Some(Row::Link(link)) => link.source,
        _ => None,
    };
    let mut reversed = Vec::new();
    let all = keys.filter_map(|key| match (&key, row(&key)?) {
        (Key::Mirror(link, topic), Row::Mirror(of)) if is_reversed(&of) => {
            let cluster = source_of(link);
            reversed.extend(cluster.map(|cluster| (topic.clone(), link.clone(), cluster)));
            None
        }
        (Key::Mirror(link, topic), Row::Mirror(of)) if of.stage.is_mirror() => {
            let cluster = source_of(link);
            let (source, id) = (of.source_topic.clone(), of.source_id);
            let nearest = cluster.map(|cluster| Ancestor { cluster, topic: source, id });
            let line = lineage::line(nearest, &of.ancestors);
            Some((topic.clone(), Lineage { link: link.clone(), line }))
        }
        _ => None,
    });
    let all = all.collect();
    Mirrors { all, reversed, is_read: true }
}

/// Why a topic of the source must not be mirrored here: it is a mirror of a topic of ours.
pub(super) fn leads_back(
    mirrors: &Mirrors,
    source: &TopicName,
    destination: &Cluster,
) -> Option<Fault> {
    let lineage = mirrors.all.get(source)?;
    let here = destination.id();
    // one that was made anew since is another one by that name
    let is_other = |one: &Ancestor| {
        let seen = destination.topic(&one.topic);
        seen.is_some_and(|seen| seen.id != one.id && seen.id != TopicId::NIL)
    };
    let at = lineage.line.iter().position(|one| one.cluster == here && !is_other(one))?;
    Some(a_loop(source, lineage, at))
}

fn a_loop(source: &TopicName, lineage: &Lineage, at: usize) -> Fault {
    let over: Vec<String> =
        lineage.line[..at].iter().map(|one| format!("{} of {}", one.topic, one.cluster)).collect();
    let over = match over.is_empty() {
        true => String::new(),
        false => format!(", over {}", over.join(", ")),
    };
    let text = format!(
        "topic {source} of the source is itself a mirror of topic {} of this destination (link {} \
         there{over}): mirrored back it would be a loop",
        lineage.line[at].topic, lineage.link
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
        let lineage = mirrors.all.get(name)?;
        let at = lineage.line.iter().position(|one| one.cluster == *here)?;
        Some(a_loop(name, lineage, at))
    };
    named.iter().find_map(back).map_or(Ok(()), Err)
}
