//! What the link remembers of earlier runs, and what has become of those topics since.
//!
//! It never writes into the journal, and never makes it.

pub mod rests;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::audit::LinkOptions;
use crate::audit::past::rests::Rest;
use crate::audit::past::rests::rests;
use crate::cluster::Cluster;
use crate::cluster::Wanted;
use crate::cluster::error::ClusterError;
use crate::cluster::keyed::KeyedLog;
use crate::control::journal::Fold;
use crate::control::journal::TOPIC;
use crate::control::row::Before;
use crate::control::row::Key;
use crate::control::row::MirrorRow;
use crate::control::row::Row;
use crate::control::row::old::OldRows;
use crate::control::topic::Stage;
use crate::ids::ClusterId;
use crate::ids::LinkName;
use crate::ids::Offset;
use crate::ids::Side;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::sync::folded;
use crate::wire::error::KafkaCode;

/// We may not see it.
const REFUSED: KafkaCode = KafkaCode(29);

/// The topics that a link remembers, by the ids that both had.
pub type Past = BTreeMap<TopicName, (TopicId, TopicId)>;

/// What the journal says of the topics that a link is to mirror.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Those that it mirrors.
    pub past: Past,
    /// Those among them whose mirror isolog made, by their names at the source: it follows their
    /// configs wholly.
    pub made: BTreeSet<TopicName>,
    /// Those of which it copies nothing, whatever their logs hold, by the mirror's name.
    pub rests: BTreeMap<TopicName, Rest>,
    /// Where mirrors begin that do not begin where both logs do, by their names at the source.
    pub begins: Begins,
}

/// Where mirrors begin: what lies before is no copy.
pub type Begins = BTreeMap<TopicPartition, Offset>;

/// Reads the journal; empty where there is none. The inner error is for people.
pub async fn read(
    link: &LinkOptions,
    source: &Cluster,
    destination: &Arc<Cluster>,
) -> Result<Result<Known, String>, ClusterError> {
    let Some(log) = KeyedLog::find(destination.clone(), journal()).await? else {
        return Ok(Ok(Known::default()));
    };
    let own = format!("{}/", link.name);
    let is_told = |key: &str| {
        let parsed = Key::parse(key);
        let is_mirror = matches!(parsed, Some(Key::Mirror(..)));
        key.starts_with(&own) || is_mirror || parsed.is_some_and(|key| *key.link() == link.name)
    };
    match folded::read(&log, is_told).await {
        Ok(fold) => Ok(remembered(&fold, link, &source.id()).map(|past| Known {
            past,
            made: made(fold.rows(), &link.name),
            rests: rests(fold.rows(), &link.name),
            begins: begins(fold.rows(), &link.name),
        })),
        Err(error) => Ok(Err(format!("the journal {TOPIC} cannot be read: {error}"))),
    }
}

/// The link as it takes topics: its filters leave out what is a mirror at the source, unless it
/// mirrors that already. Where the journal there may not be read, nothing is known of that.
pub async fn without_mirrors(
    link: &LinkOptions,
    source: &Arc<Cluster>,
    destination: &Arc<Cluster>,
) -> Result<LinkOptions, ClusterError> {
    let mut link = link.clone();
    let own = read(&link, source, destination).await?.unwrap_or_default();
    let Ok(Some(log)) = KeyedLog::find(source.clone(), journal()).await else { return Ok(link) };
    let is_mirror = |key: &str| matches!(Key::parse(key), Some(Key::Mirror(..)));
    let Ok(fold) = folded::read(&log, is_mirror).await else { return Ok(link) };
    let there = fold.rows().iter().filter_map(|(text, value)| {
        let key = Key::parse(text)?;
        match (&key, Row::parse(&key, value).ok()?) {
            (Key::Mirror(_, name), Row::Mirror(row)) if row.stage.is_mirror() => Some(name.clone()),
            _ => None,
        }
    });
    link.mirrors_there = there.filter(|name| !own.past.contains_key(name)).collect();
    Ok(link)
}

/// The journal's topic.
pub fn journal() -> TopicName {
    TopicName::new(TOPIC).expect("a legal name")
}

/// The topics that a link mirrors, by the newest rows of the journal; what isolog 0.1 wrote counts
/// until it is taken over.
fn remembered(fold: &Fold, link: &LinkOptions, source: &ClusterId) -> Result<Past, String> {
    let rows = fold.rows();
    let key = Key::Link(link.name.clone());
    let row = rows.get(&key.to_string()).map(|text| Row::parse(&key, text)).transpose();
    let (was, is_taken_over) = match row.map_err(|error| error.to_string())? {
        Some(Row::Link(row)) => (row.source, !row.is_taking_over),
        _ => (None, false),
    };
    let mut past = Past::new();
    let mut sources: Vec<ClusterId> = was.into_iter().collect();
    if !is_taken_over {
        let old = OldRows::of(fold.unstamped(), &link.name);
        if let Some(unreadable) = old.unreadable.values().next() {
            return Err(unreadable.to_string());
        }
        sources.extend(old.source);
        past.extend(old.mirrors.into_iter().map(|(name, mirror)| (name, mirror.ids)));
    }
    if let Some(was) = sources.iter().find(|was| *was != source) {
        return Err(format!(
            "the journal {TOPIC} knows this link with source cluster {was}, the source now is \
             {source}: give the new link another name, or correct bootstrap.servers"
        ));
    }
    for (text, value) in rows {
        let Some(key) = Key::parse(text).filter(|key| *key.link() == link.name) else { continue };
        if let Row::Mirror(row) = Row::parse(&key, value).map_err(|error| error.to_string())? {
            let Key::Mirror(_, name) = &key else { continue };
            let is_mirrored = take_in(&mut past, &row);
            if is_mirrored && link.mirror_of(&row.source_topic) != *name {
                return Err(format!(
                    "topic {} is mirrored as {name}, and {} is \"{}\" now: names of mirrors cannot \
                     be changed, isolog run stops the link (INVALID_CONFIG) until it is as it was",
                    row.source_topic,
                    link.rename.property(),
                    link.rename
                ));
            }
        }
    }
    Ok(past)
}

/// The rows of a link's mirror topics, as far as they can be read.
fn mirrors(rows: &BTreeMap<String, String>, link: &LinkName) -> impl Iterator<Item = MirrorRow> {
    rows.iter().filter_map(move |(text, value)| {
        let key = Key::parse(text).filter(|key| key.link() == link)?;
        match Row::parse(&key, value) {
            Ok(Row::Mirror(row)) => Some(row),
            _ => None,
        }
    })
}

/// The source topics whose mirrors a link has made.
fn made(rows: &BTreeMap<String, String>, link: &LinkName) -> BTreeSet<TopicName> {
    let made = mirrors(rows, link).filter(|row| row.before == Before::Absent);
    made.map(|row| row.source_topic).collect()
}

fn begins(rows: &BTreeMap<String, String>, link: &LinkName) -> Begins {
    let begins = |row: MirrorRow| {
        let at = |partition| TopicPartition { topic: row.source_topic.clone(), partition };
        row.starts.iter().map(|(id, start)| (at(*id), *start)).collect::<Vec<_>>()
    };
    mirrors(rows, link).flat_map(begins).collect()
}

/// What is set up is not mirrored yet, and what has stopped is not any more; whether it is.
fn take_in(past: &mut Past, row: &MirrorRow) -> bool {
    let is_mirrored = matches!(row.stage, Stage::Mirroring | Stage::Stopping | Stage::Sealing(_));
    match row.mirror_id.filter(|_| is_mirrored) {
        Some(mirror_id) => {
            past.insert(row.source_topic.clone(), (row.source_id, mirror_id));
            true
        }
        None => {
            past.remove(&row.source_topic);
            false
        }
    }
}

/// What has become of a remembered topic that is no longer as it was: the side at which it is gone,
/// where it is, and the text with what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Where nothing goes by the name any more.
    pub gone: Option<Side>,
    /// For people.
    pub text: String,
}

/// The fates of those remembered topics that `wanted` picks and that are not as they were. Both
/// clusters' metadata must have been read; what is missing is asked for by name once more.
pub async fn fates(
    link: &LinkOptions,
    past: &Past,
    wanted: impl Fn(&TopicName) -> bool,
    source: &Cluster,
    destination: &Cluster,
) -> Result<BTreeMap<TopicName, Fate>, ClusterError> {
    let mut fates = BTreeMap::new();
    let mirror = |name: &TopicName| link.mirror_of(name);
    for cluster in [source, destination] {
        let names = past.keys().filter(|name| wanted(name)).map(|name| match cluster.side() {
            Side::Source => name.clone(),
            Side::Destination => mirror(name),
        });
        let missing: Vec<TopicName> = names.filter(|name| cluster.topic(name).is_none()).collect();
        if !missing.is_empty() {
            cluster.refresh(Wanted::Topics(&missing)).await?;
        }
    }
    for (name, ids) in past.iter().filter(|(name, _)| wanted(name)) {
        let of_mirror = mirror(name);
        let sides = [(source, name, ids.0), (destination, &of_mirror, ids.1)];
        let found = sides.map(|(cluster, name, was)| {
            let topic = cluster.topic(name);
            match topic.filter(|topic| topic.error.is_none() || topic.error == REFUSED) {
                None => Found::Gone,
                Some(topic) if !topic.error.is_none() => Found::Hidden,
                Some(topic) if topic.id == was || topic.id == TopicId::NIL => Found::Same,
                Some(topic) => Found::Other(was, topic.id),
            }
        });
        fates.extend(fate(link, &of_mirror, found).map(|fate| (name.clone(), fate)));
    }
    Ok(fates)
}

/// The same, and where mirrors begin; a journal that cannot be read is only warned of.
pub async fn known(
    link: &LinkOptions,
    wanted: impl Fn(&TopicName) -> bool,
    source: &Cluster,
    destination: &Arc<Cluster>,
) -> Result<(BTreeMap<TopicName, Fate>, Begins), ClusterError> {
    match read(link, source, destination).await? {
        Ok(known) => {
            let fates = fates(link, &known.past, wanted, source, destination).await?;
            Ok((fates, known.begins))
        }
        Err(text) => {
            tracing::warn!(link = %link.name, "{text}");
            Ok(Default::default())
        }
    }
}

/// What goes by a topic's name at one side.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Found {
    Same,
    Gone,
    Hidden,
    Other(TopicId, TopicId),
}

fn fate(link: &LinkOptions, name: &TopicName, found: [Found; 2]) -> Option<Fate> {
    let anew = format!(
        "`isolog mirror delete {name} --link {}` (docs/OPERATING.md, Begin a topic anew)",
        link.name
    );
    let hidden = |side: Side| {
        format!("it was mirrored, and the {side} does not show it to us: grant Describe")
    };
    let (gone, text) = match found {
        // isolog begins such a topic anew by itself
        [Found::Other(..), Found::Gone] | [Found::Same, Found::Same] => return None,
        [Found::Gone, _] => (
            Some(Side::Source),
            format!(
                "it was mirrored, and the source topic is gone: the copy is kept as it is; to \
                 forget it {anew}"
            ),
        ),
        [_, Found::Gone] => (
            Some(Side::Destination),
            format!("it was mirrored, and the destination topic is gone: to copy it anew {anew}"),
        ),
        [Found::Hidden, _] => (None, hidden(Side::Source)),
        [_, Found::Hidden] => (None, hidden(Side::Destination)),
        [Found::Other(was, is), _] => (
            None,
            format!(
                "the source topic was deleted and created anew: it had id {was} and has {is}; \
                 delete the mirror topic to copy the new one"
            ),
        ),
        [_, Found::Other(was, is)] => (
            None,
            format!(
                "the destination topic was deleted and created anew: it had id {was} and has \
                 {is}; to copy into it {anew}"
            ),
        ),
    };
    Some(Fate { gone, text })
}
