//! The partitions that a manager looks after, and where each one is.
//!
//! It never moves one: `manager` does.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::flow::lane::LaneKey;
use crate::flow::probe::Case;
use crate::flow::shared::Shared;
use crate::flow::stats::Cell;
use crate::ids::BrokerId;
use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::Side;
use crate::ids::TopicId;
use crate::ids::TopicPartition;
use crate::mirror::facts::Takes;
use crate::mirror::halt::Halt;
use crate::mirror::partition::PartitionMirror;

/// A partition that the link wants mirrored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionSpec {
    /// Which.
    pub tp: TopicPartition,
    /// The source topic's id: another id under the same name is another topic.
    pub source_id: TopicId,
    /// The destination topic's id.
    pub destination_id: TopicId,
    /// What the destination topic takes.
    pub takes: Takes,
    /// Where the mirror begins, if that is above the source's log start.
    pub start: Offset,
    /// A reason outside of the log to stand still.
    pub halt: Option<Halt>,
}

/// What the link tells its partition manager.
#[derive(Debug)]
pub enum ToManager {
    /// Everything that is wanted; what is not named is let go.
    Wanted(Vec<PartitionSpec>),
    /// Everything stands still for this reason.
    Halt(Halt),
    /// Look again at what halted.
    Resume(TopicPartition),
    /// Fill the hole at the end of the source's log, if there is one.
    FillTail(TopicPartition),
}

/// Where a partition is.
pub(super) enum Place {
    /// Waits to be looked at.
    Backoff { mirror: Box<PartitionMirror>, until: Instant },
    /// A task looks at both logs.
    Probing { mirror: Box<PartitionMirror> },
    /// In a lane.
    InLane(LaneKey),
    /// Halted.
    Halted { mirror: Box<PartitionMirror>, until: Instant },
}

/// A partition and all that the manager knows of it.
pub(super) struct Entry {
    pub spec: PartitionSpec,
    pub cell: Arc<Cell>,
    pub place: Place,
    /// The next pause.
    pub rest: Duration,
    /// The halt that was told last.
    pub told: Option<Halt>,
    /// What had been copied when it last came out of a lane.
    pub copied: u64,
}

/// Where an entry is said to be while it is moved; never seen.
pub(super) const NOWHERE: LaneKey = LaneKey { source: BrokerId(-1), destination: BrokerId(-1) };

pub(super) fn may_resolve(mirror: &PartitionMirror, spec: &PartitionSpec) -> bool {
    spec.halt.is_none() && mirror.halted().is_some_and(Halt::may_resolve_itself)
}

pub(super) fn leader(cluster: &Cluster, tp: &TopicPartition) -> Option<(BrokerId, LeaderEpoch)> {
    let partition = cluster.partition(tp)?;
    Some((partition.leader?, partition.epoch))
}

/// Why a partition cannot be looked at now.
pub(super) enum NotNow {
    /// That side has no leader for it.
    Leaderless(Side),
    /// Another topic goes by the name.
    Never(Halt),
}

/// The two leaders of a partition.
pub(super) fn case(
    shared: &Shared,
    spec: &PartitionSpec,
    (is_far, wants_tail): (bool, bool),
) -> Result<(LaneKey, Case), NotNow> {
    same_topic(&shared.source, spec, spec.source_id)?;
    same_topic(&shared.destination, spec, spec.destination_id)?;
    let leads =
        |cluster: &Cluster| leader(cluster, &spec.tp).ok_or(NotNow::Leaderless(cluster.side()));
    let (source, source_epoch) = leads(&shared.source)?;
    let (destination, destination_epoch) = leads(&shared.destination)?;
    let case = Case {
        tp: spec.tp.clone(),
        source_id: spec.source_id,
        destination_id: spec.destination_id,
        source_epoch,
        destination_epoch,
        start: spec.start,
        is_far,
        wants_tail,
    };
    Ok((LaneKey { source, destination }, case))
}

/// Calls that know topics by name only must not reach another one: an id once seen to be replaced
/// never comes back.
fn same_topic(cluster: &Cluster, spec: &PartitionSpec, was: TopicId) -> Result<(), NotNow> {
    match cluster.topic(&spec.tp.topic) {
        Some(topic) if topic.id != was && topic.id != TopicId::NIL => {
            let side = cluster.side();
            Err(NotNow::Never(Halt::Recreated { side, was, is: topic.id }))
        }
        _ => Ok(()),
    }
}
