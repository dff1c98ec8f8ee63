//! Which tails there are: per partition what the source holds from the first offset on that was not
//! mirrored.
//!
//! It never counts what it has not seen: a source that cannot be asked, or whose log is not the one
//! that was mirrored, is told as such.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::audit::prefix::Ends;
use crate::audit::prefix::NotPrefix;
use crate::audit::prefix::Pair;
use crate::audit::prefix::Part;
use crate::audit::prefix::is_same;
use crate::audit::survey;
use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::cluster::Wanted;
use crate::cluster::error::ClusterError;
use crate::control::row::MirrorRow;
use crate::control::row::Sealed;
use crate::ids::LinkName;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::tail::Stopped;

/// So many offsets below the first one that was not mirrored must be equal on both sides.
const BELOW_OFFSETS: i64 = 100;

/// What the source has of a partition beyond what was mirrored.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing.
    None,
    /// Offsets that are on no side that is read.
    Tail,
    /// Its log is not the one that was mirrored.
    OtherHistory,
    /// It could not be found out.
    Unknown,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The link.
    pub link: String,
    /// The mirror topic.
    pub mirror_topic: String,
    /// Its topic at the source.
    pub source_topic: String,
    /// The partition, the same on both sides.
    pub partition: i32,
    /// What there is.
    pub state: State,
    /// The first offset of the source that was not mirrored.
    pub from: Option<i64>,
    /// The source's last stable offset (`isolation.level` read_committed), or high watermark.
    pub to: Option<i64>,
    /// How many offsets lie between.
    pub offsets: Option<u64>,
    /// How many lie beyond, behind an open transaction.
    pub open_offsets: Option<u64>,
    /// Why it is no tail, or what is not known.
    pub note: String,
}

/// The tails of a link's stopped topics, by topic and partition. Both clusters are asked.
pub async fn list(both: Ends<'_>, stopped: &Stopped) -> Result<Vec<Held>, ClusterError> {
    let sources: Vec<TopicName> =
        stopped.topics.values().map(|row| row.source_topic.clone()).collect();
    let mirrors: Vec<TopicName> = stopped.topics.keys().cloned().collect();
    both.source.refresh(Wanted::Topics(&sources)).await?;
    both.destination.refresh(Wanted::Topics(&mirrors)).await?;
    let ends = Logs::read(both, stopped).await?;
    let mut all = Vec::new();
    for (mirror, row) in &stopped.topics {
        for partition in (0..row.partitions).map(PartitionId) {
            all.push(One { both, mirror, row, partition }.held(&stopped.link, &ends).await);
        }
    }
    Ok(all)
}

/// Why a partition has no tail that could be told.
enum Why {
    Other(String),
    Unknown(String),
}

/// One partition of a stopped topic.
struct One<'a> {
    both: Ends<'a>,
    mirror: &'a TopicName,
    row: &'a MirrorRow,
    partition: PartitionId,
}

impl One<'_> {
    fn at_source(&self) -> TopicPartition {
        TopicPartition { topic: self.row.source_topic.clone(), partition: self.partition }
    }

    fn at_mirror(&self) -> TopicPartition {
        TopicPartition { topic: self.mirror.clone(), partition: self.partition }
    }

    fn sealed(&self) -> Option<&Sealed> {
        self.row.sealed.get(&self.partition)
    }

    fn missing(&self) -> Option<Offset> {
        self.sealed()?.source_next
    }

    async fn held(&self, link: &LinkName, ends: &Logs) -> Held {
        let judged = self.judge(ends).await;
        let (from, at_source) = (self.missing(), self.at_source());
        let (to, end) = (ends.stable(&at_source), ends.log_end(&at_source));
        // what is another history has other offsets: nothing of it is counted
        let counted = from.zip(to).filter(|_| judged.is_ok());
        let open = counted.zip(end).map(|((from, to), end)| to.max(from).distance_to(end));
        let (state, note) = match judged {
            Ok(state) => (state, String::new()),
            Err(Why::Other(text)) => (State::OtherHistory, text),
            Err(Why::Unknown(text)) => (State::Unknown, text),
        };
        Held {
            link: link.to_string(),
            mirror_topic: self.mirror.to_string(),
            source_topic: self.row.source_topic.to_string(),
            partition: self.partition.0,
            state,
            from: from.map(Offset::get),
            to: to.map(Offset::get),
            offsets: counted.map(|(from, to)| from.distance_to(to)),
            open_offsets: open,
            note,
        }
    }

    /// A tail is one only of the very topic that was mirrored, whose log still has the offset where
    /// the two part, and what was mirrored last below it.
    async fn judge(&self, ends: &Logs) -> Result<State, Why> {
        let Some(from) = self.missing() else {
            let text = match self.sealed() {
                None => "it is not sealed yet",
                Some(_) => "nothing of it was ever mirrored by this link, as far as is known",
            };
            return Err(Why::Unknown(text.to_owned()));
        };
        let name = &self.row.source_topic;
        let is = self.both.source.topic(name).filter(|topic| topic.error.is_none());
        let Some(is) = is else {
            return Err(Why::Unknown(format!("the source does not show topic {name}")));
        };
        let was = self.row.source_id;
        if is.id != was && is.id != TopicId::NIL && was != TopicId::NIL {
            return Err(Why::Other(format!(
                "the source topic was made anew: it had id {was} and has {}",
                is.id
            )));
        }
        let (start, end) = ends.of(&self.at_source()).map_err(Why::Unknown)?;
        if end < from {
            return Err(Why::Other(format!(
                "the source's log ends at {end}, below what was mirrored up to {from}"
            )));
        }
        if start > from {
            return Err(Why::Other(format!(
                "the source's log begins at {start}: its offsets from {from} on are gone, and with \
                 them what could show that it is the same log"
            )));
        }
        self.compare(from, (start, ends)).await?;
        if end > from && self.row.reversal.is_some() && self.has_gone_on(from, end).await? {
            let text = "roles were swapped: it has gone on as a mirror of this topic";
            return Err(Why::Other(text.to_owned()));
        }
        Ok(if end > from { State::Tail } else { State::None })
    }

    /// Whether what the source of a mirror that was reversed has behind the seal is what stands
    /// here, as far as the first offsets tell.
    async fn has_gone_on(&self, from: Offset, end: Offset) -> Result<bool, Why> {
        let here = self.at_mirror();
        let cluster = self.both.destination;
        let told = survey::ends(cluster, std::slice::from_ref(&here), EndKind::HighWatermark).await;
        let told = told.map_err(|error| Why::Unknown(error.to_string()))?.remove(&here);
        let Some(Ok(ours)) = told else {
            return Err(Why::Unknown(format!("{here} of the destination does not tell its end")));
        };
        let first = from.plus(BELOW_OFFSETS.unsigned_abs()).unwrap_or(end);
        let to = first.min(end).min(ours);
        let (partition, sealed) = (self.partition, None);
        let part = Part { partition, from, end: to, sealed };
        match is_same(self.both, &self.pair(), &part).await {
            Ok(()) => Ok(true),
            Err(NotPrefix::Differs { .. }) => Ok(false),
            Err(error) => Err(Why::Unknown(error.to_string())),
        }
    }

    /// Both topics, with the ids that they have now.
    fn pair(&self) -> Pair {
        let id = |cluster: &Cluster, name: &TopicName| {
            cluster.topic(name).map_or(TopicId::NIL, |one| one.id)
        };
        let (source, mirror) = (&self.row.source_topic, self.mirror);
        Pair {
            source: (source.clone(), id(self.both.source, source)),
            mirror: (mirror.clone(), id(self.both.destination, mirror)),
        }
    }

    async fn compare(&self, from: Offset, (start, ends): (Offset, &Logs)) -> Result<(), Why> {
        let mirror_start = ends.start(&self.at_mirror()).map_err(Why::Unknown)?;
        let below = Offset::new(from.get() - BELOW_OFFSETS).unwrap_or(Offset::ZERO);
        let below = below.max(start).max(mirror_start);
        if below >= from {
            // nothing is left of what was mirrored: that it is the same topic says its id alone
            return Ok(());
        }
        let (partition, sealed) = (self.partition, None);
        let part = Part { partition, from: below, end: from, sealed };
        match is_same(self.both, &self.pair(), &part).await {
            Ok(()) => Ok(()),
            Err(error @ NotPrefix::Differs { .. }) => Err(Why::Other(error.to_string())),
            Err(error) => Err(Why::Unknown(error.to_string())),
        }
    }
}

/// Where logs begin and end.
struct Logs {
    start: BTreeMap<TopicPartition, Result<Offset, String>>,
    stable: BTreeMap<TopicPartition, Offset>,
    log_end: BTreeMap<TopicPartition, Result<Offset, String>>,
    mirror_start: BTreeMap<TopicPartition, Result<Offset, String>>,
}

impl Logs {
    async fn read(both: Ends<'_>, stopped: &Stopped) -> Result<Logs, ClusterError> {
        let partitions = |name: fn(&TopicName, &MirrorRow) -> TopicName| {
            let all = stopped.topics.iter().flat_map(move |(mirror, row)| {
                let topic = name(mirror, row);
                (0..row.partitions).map(move |partition| TopicPartition {
                    topic: topic.clone(),
                    partition: PartitionId(partition),
                })
            });
            all.collect::<Vec<_>>()
        };
        let source = partitions(|_, row| row.source_topic.clone());
        let mirror = partitions(|mirror, _| mirror.clone());
        let visible = if both.committed_only { EndKind::Stable } else { EndKind::HighWatermark };
        let stable = survey::ends(both.source, &source, visible).await?;
        Ok(Logs {
            start: told(survey::ends(both.source, &source, EndKind::Start).await?),
            log_end: told(survey::ends(both.source, &source, EndKind::HighWatermark).await?),
            mirror_start: told(survey::ends(both.destination, &mirror, EndKind::Start).await?),
            stable: stable.into_iter().filter_map(|(tp, end)| Some((tp, end.ok()?))).collect(),
        })
    }

    fn stable(&self, tp: &TopicPartition) -> Option<Offset> {
        self.stable.get(tp).copied()
    }

    fn log_end(&self, tp: &TopicPartition) -> Option<Offset> {
        self.log_end.get(tp)?.clone().ok()
    }

    /// Start and end of a log at the source.
    fn of(&self, tp: &TopicPartition) -> Result<(Offset, Offset), String> {
        Ok((one(&self.start, tp)?, one(&self.log_end, tp)?))
    }

    /// The start of a mirror's.
    fn start(&self, tp: &TopicPartition) -> Result<Offset, String> {
        one(&self.mirror_start, tp)
    }
}

fn one(
    all: &BTreeMap<TopicPartition, Result<Offset, String>>,
    tp: &TopicPartition,
) -> Result<Offset, String> {
    let none = || Err(format!("nobody tells where the log of {tp} begins and ends"));
    all.get(tp).cloned().unwrap_or_else(none)
}

fn told(ends: survey::Ends) -> BTreeMap<TopicPartition, Result<Offset, String>> {
    let each = ends.into_iter().map(|(tp, end)| {
        let end = end.map_err(|code| format!("the leader of {tp} says {code}"));
        (tp, end)
    });
    each.collect()
}
