//! What a topic here is to a link's source: was that once its mirror, and where do the two part?
//!
//! It never changes anything, and never takes a history for shared that the journal at the source
//! does not know.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::audit::survey;
use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::cluster::Listing;
use crate::cluster::Wanted;
use crate::cluster::error::ClusterError;
use crate::control::journal::Fold;
use crate::control::order::NewMirror;
use crate::control::order::Restore;
use crate::control::order::Verb;
use crate::control::row::Key;
use crate::control::row::MirrorRow;
use crate::control::row::Row;
use crate::control::start::StartSpec;
use crate::control::topic::How;
use crate::control::topic::Stage;
use crate::ids::GroupName;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TimestampMs;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::link::driver::ctx::Ctx;
use crate::link::driver::loops;

/// Offsets of a topic's partitions.
type Offsets = BTreeMap<PartitionId, Offset>;

/// How far apart the ends are read twice: whoever writes shows in between.
const REST_PAUSE: Duration = Duration::from_secs(2);

/// One partition.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Parting {
    /// The first offset that the former mirror did not get.
    pub next: Offset,
    /// The log end offset here.
    pub end: Offset,
}

/// From where a topic that is made anew is copied.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum RestoreFrom {
    /// All that the source has.
    Earliest,
    /// What it has from a time on.
    Time(TimestampMs),
    /// What it has got since the two parted: the topic here has nothing of before.
    Divergence,
}

impl RestoreFrom {
    /// Reads `earliest`, `divergence` or a time as [`StartSpec`] has it.
    pub fn parse(text: &str) -> Option<RestoreFrom> {
        if text == "divergence" {
            return Some(RestoreFrom::Divergence);
        }
        match StartSpec::parse(text)? {
            StartSpec::Earliest => Some(RestoreFrom::Earliest),
            StartSpec::Time(time) => Some(RestoreFrom::Time(time)),
            StartSpec::Latest => None,
        }
    }

    /// The rule that a topic is made by; where the two parted is told besides.
    fn spec(self) -> StartSpec {
        match self {
            RestoreFrom::Earliest => StartSpec::Earliest,
            RestoreFrom::Time(time) => StartSpec::Time(time),
            // above its front, which is filled
            RestoreFrom::Divergence => StartSpec::Latest,
        }
    }
}

/// A topic here, and what the source's topic has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parted {
    /// Its id here.
    pub id: TopicId,
    /// What it is called at the source.
    pub source: TopicName,
    /// Its id there.
    pub source_id: TopicId,
    /// Where each partition parts from its former mirror.
    pub partitions: BTreeMap<PartitionId, Parting>,
    /// Why it cannot become a mirror now, for people.
    pub blockers: Vec<String>,
    /// Groups with members that read it.
    pub readers: Vec<GroupName>,
    /// Its former mirror was reversed: whether it is to be paused as a mirror.
    pub reversal: Option<bool>,
}

impl Parted {
    /// Why an order to restore it is refused: who reads it would read another log.
    pub fn in_the_way(&self) -> Vec<String> {
        let names: Vec<String> = self.readers.iter().map(|one| one.to_string()).collect();
        let read = format!("it is read by groups with members: {}", names.join(", "));
        let read = (!names.is_empty()).then_some(read);
        self.blockers.iter().cloned().chain(read).collect()
    }

    /// The order that goes on with it as a mirror.
    pub fn order(&self, topic: &TopicName, reversal: Option<bool>) -> Verb {
        let none = BTreeMap::new;
        self.order_of(topic, (None, none(), none()), reversal)
    }

    /// The order that deletes it where it ends as it was told, and makes a mirror of that name.
    pub fn order_anew(&self, topic: &TopicName, from: RestoreFrom) -> Verb {
        let each = |at: fn(&Parting) -> Offset| -> Offsets {
            self.partitions.iter().map(|(partition, one)| (*partition, at(one))).collect()
        };
        let starts = match from {
            RestoreFrom::Divergence => each(|one| one.next),
            RestoreFrom::Earliest | RestoreFrom::Time(_) => BTreeMap::new(),
        };
        self.order_of(topic, (Some(from.spec()), each(|one| one.end), starts), None)
    }

    fn order_of(
        &self,
        topic: &TopicName,
        (start, ends, starts): (Option<StartSpec>, Offsets, Offsets),
        reversal: Option<bool>,
    ) -> Verb {
        let (id, source_id) = (self.id, self.source_id);
        Verb::CreateMirror(NewMirror {
            source: self.source.clone(),
            mirror: Some(topic.clone()),
            start,
            replicas: None,
            configs: BTreeMap::new(),
            restore: Some(Restore { id, source_id, ends, starts, reversal }),
        })
    }

    /// How many offsets of a partition the former mirror does not have.
    pub fn beyond(one: &Parting) -> u64 {
        one.next.distance_to(one.end.max(one.next))
    }

    /// The same of all.
    pub fn all_beyond(&self) -> u64 {
        self.partitions.values().map(Parted::beyond).sum()
    }
}

/// Topics by their names here.
pub type AllParted = BTreeMap<TopicName, Parted>;

/// The topics here of which the source has former mirrors.
pub(super) async fn parted(ctx: &Ctx) -> Result<AllParted, String> {
    let session = ctx.session.borrow().clone();
    let session = session.ok_or("the source has not been reached")?;
    let fold = loops::fold(session.source.clone(), ctx.world.wall).await;
    let fold = fold.map_err(|why| format!("the journal (__isolog) at the source: {why}"))?;
    let former = former(&fold.unwrap_or_default(), &ctx.destination);
    let rename = &session.settings.link.rename;
    let here: Vec<TopicName> = former.iter().map(|(_, row)| row.source_topic.clone()).collect();
    let said = |error: ClusterError| format!("the destination: {error}");
    ctx.destination.refresh(Wanted::Topics(&here)).await.map_err(said)?;
    let there: Vec<TopicName> = former.iter().map(|(source, _)| source.clone()).collect();
    let read = session.source.refresh(Wanted::Topics(&there)).await;
    read.map_err(|error| format!("the source: {error}"))?;
    let mut all = BTreeMap::new();
    for (source, row) in &former {
        let name = &row.source_topic;
        // only under the name that the link would give it
        if rename.source_of(name).as_ref() != Some(source) {
            continue;
        }
        let seen = ctx.destination.topic(name).filter(|seen| seen.error.is_none());
        let Some(seen) = seen.filter(|seen| seen.id == row.source_id) else { continue };
        // one that was made anew since has nothing of what was mirrored
        let mirror = session.source.topic(source).filter(|seen| seen.error.is_none());
        let Some(mirror) = mirror.filter(|seen| Some(seen.id) == row.mirror_id) else { continue };
        let partitions = partings(row);
        if partitions.len() < seen.partitions.len() {
            continue;
        }
        let (id, source_id) = (seen.id, mirror.id);
        let (source, blockers, readers) = (source.clone(), Vec::new(), Vec::new());
        let is_planned = row.stage == Stage::Stopped(How::Promote);
        let reversal = row.reversal.as_ref().filter(|_| is_planned).map(|one| one.is_paused);
        let of = Parted { id, source, source_id, partitions, blockers, readers, reversal };
        all.insert(name.clone(), of);
    }
    look(&ctx.destination, &mut all).await.map_err(said)?;
    Ok(all)
}

/// Where each sealed partition parts; its end here is not known yet.
fn partings(row: &MirrorRow) -> BTreeMap<PartitionId, Parting> {
    let known = row.sealed.iter().filter_map(|(partition, sealed)| {
        let next = sealed.source_next?;
        Some((*partition, Parting { next, end: next }))
    });
    known.collect()
}

/// The stopped mirror topics of a cluster whose source was this destination.
fn former(fold: &Fold, destination: &Cluster) -> Vec<(TopicName, MirrorRow)> {
    let row = |key: &Key| fold.get(&key.to_string()).and_then(|text| Row::parse(key, text).ok());
    let here = destination.id();
    let mut all = Vec::new();
    for key in fold.rows().keys().filter_map(|text| Key::parse(text)) {
        let Key::Mirror(link, topic) = &key else { continue };
        let Some(Row::Mirror(of)) = row(&key) else { continue };
        let Some(Row::Link(link)) = row(&Key::Link(link.clone())) else { continue };
        if matches!(of.stage, Stage::Stopped(_)) && link.source.as_ref() == Some(&here) {
            all.push((topic.clone(), of));
        }
    }
    all
}

/// Where the logs end now, and what is in the way.
async fn look(
    destination: &Cluster,
    all: &mut BTreeMap<TopicName, Parted>,
) -> Result<(), ClusterError> {
    let tp = |topic: &TopicName, one: &PartitionId| TopicPartition {
        topic: topic.clone(),
        partition: *one,
    };
    let asked: Vec<TopicPartition> = all
        .iter()
        .flat_map(|(topic, of)| of.partitions.keys().map(move |one| tp(topic, one)))
        .collect();
    if asked.is_empty() {
        return Ok(());
    }
    let before = survey::ends(destination, &asked, EndKind::LogEnd).await?;
    sleep(REST_PAUSE).await;
    let stable = survey::ends(destination, &asked, EndKind::Stable).await?;
    let ends = survey::ends(destination, &asked, EndKind::LogEnd).await?;
    let readers = readers(destination, &asked).await?;
    for (topic, of) in all.iter_mut() {
        for (partition, one) in &mut of.partitions {
            let tp = tp(topic, partition);
            let of_it = |ends: &survey::Ends| ends.get(&tp).and_then(|end| end.ok());
            let Some(end) = of_it(&ends) else {
                of.blockers.push(format!("{tp} does not tell where it ends"));
                continue;
            };
            one.end = end;
            if of_it(&before) != Some(end) {
                of.blockers.push(format!("{tp} is being written: stop its producers"));
            }
            if of_it(&stable) != Some(end) {
                of.blockers.push(format!("an open transaction holds {tp}: end it"));
            }
            if end < one.next {
                let next = one.next;
                of.blockers.push(format!("{tp} ends at {end}, and was mirrored up to {next}"));
            }
        }
        of.readers = readers.get(topic).cloned().unwrap_or_default();
    }
    Ok(())
}

/// Groups with members that have committed offsets of these topics, or share them.
async fn readers(
    cluster: &Cluster,
    asked: &[TopicPartition],
) -> Result<BTreeMap<TopicName, Vec<GroupName>>, ClusterError> {
    let mut readers: BTreeMap<TopicName, Vec<GroupName>> = BTreeMap::new();
    let brokers: Vec<_> = cluster.look(|seen| seen.brokers().map(|one| one.id).collect());
    for broker in brokers {
        let groups = cluster.list_groups(broker).await?;
        let active = groups.into_iter().filter(|one| one.is_active);
        let (shares, others): (Vec<_>, Vec<_>) = active.partition(|one| one.is_share);
        let names = |all: Vec<Listing>| all.into_iter().map(|one| one.name).collect::<Vec<_>>();
        let mut read = cluster.fetch_committed(broker, &names(others)).await?;
        read.extend(cluster.fetch_share_starts(broker, &names(shares)).await?);
        for (group, committed) in read {
            let committed = committed.unwrap_or_default();
            let topics = asked.iter().filter(|tp| committed.contains_key(tp));
            for topic in topics.map(|tp| &tp.topic) {
                let of = readers.entry(topic.clone()).or_default();
                if !of.contains(&group) {
                    of.push(group.clone());
                }
            }
        }
    }
    Ok(readers)
}

/// The context is held only while it is asked.
pub(super) async fn of(ctx: Option<Arc<Ctx>>) -> Result<AllParted, String> {
    match ctx {
        Some(ctx) => parted(&ctx).await,
        None => Err("the link does not run here".to_owned()),
    }
}
