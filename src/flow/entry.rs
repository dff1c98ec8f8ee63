//! The partitions that a manager looks after: what is wanted, where each one is, how it is let go.
//!
//! It never moves one: `manager` does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::flow::lane::LaneKey;
use crate::flow::lane::ToLane;
use crate::flow::lane::Told;
use crate::flow::lane::members::LanePartition;
use crate::flow::near::Near;
use crate::flow::probe::Case;
use crate::flow::shared::Shared;
use crate::flow::stats::Cell;
use crate::ids::BrokerId;
use crate::ids::Incarnation;
use crate::ids::LeaderEpoch;
use crate::ids::MirrorPartition;
use crate::ids::Offset;
use crate::ids::Side;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::mirror::facts::Takes;
use crate::mirror::halt::Halt;
use crate::mirror::partition::PartitionMirror;

/// A partition that the link wants mirrored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionSpec {
    /// Which. The mirror's name tells partitions apart: no two may write into one.
    pub name: MirrorPartition,
    /// Under which number it is wanted. Another number is a partition begun anew: what is held
    /// under the old one is let go first, and nothing of it is remembered.
    pub incarnation: Incarnation,
    /// How often the topic has become a mirror again: each time under another writer.
    pub generation: u32,
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

/// How a partition is let go.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// Not yet: it is told when all that the source has is copied (`Fact::Level`): both logs end at
    /// the same offset, nothing is held back there by an open transaction, and it was so twice, a
    /// pause apart. A hole at the source's end is filled. It is copied on meanwhile, and told again
    /// when it is level no more.
    Drain,
    /// The same, whatever open transactions hold back at the source. Overtakes `Drain`.
    DrainStable,
    /// When what is in flight is answered, or can arrive no more. Overtakes both.
    Leave,
}

/// What the link tells its partition manager.
#[derive(Debug)]
pub enum ToManager {
    /// All that is wanted of these topics, by the mirror's name; what is not named of them is let
    /// go (`How::Leave`). Of others what was told stays.
    Wanted(BTreeMap<TopicName, Vec<PartitionSpec>>),
    /// Nothing is wanted any more.
    LeaveAll,
    /// Let one go. It stays so until it is wanted under another number.
    Release(MirrorPartition, How),
    /// Everything stands still for this reason.
    Halt(Halt),
    /// Look again at what halted.
    Resume(MirrorPartition),
    /// The destination's log, by its name there, ends beyond the copy: look at both logs.
    Doubt(TopicPartition),
}

/// A partition was let go: nobody holds it, and nothing of it is on its way to the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// Which.
    pub name: MirrorPartition,
    /// The number under which it was held.
    pub incarnation: Incarnation,
    /// The destination's log end offset as it was last confirmed to us; `None` where it never was,
    /// or where what was not answered cannot be asked about: the partition has no leader, or its
    /// topic is gone.
    pub end: Option<Offset>,
    /// The next offset of the source, the first one that is not mirrored, as Cluster Linking
    /// counts (`last_source_fetch_offset`); `None` where nothing is known.
    pub last_source_offset: Option<Offset>,
}

/// One that drains is level with the source, or no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// Which.
    pub name: MirrorPartition,
    /// The number under which it is held.
    pub incarnation: Incarnation,
    /// Whether it is.
    pub is_level: bool,
}

/// What a partition manager tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Let go.
    Released(Released),
    /// Of one that drains.
    Level(Level),
}

/// Where a partition is.
pub(super) enum Place {
    /// Waits to be looked at.
    Backoff { mirror: Box<PartitionMirror>, until: Instant },
    /// A task looks at both logs: the look of that number.
    Probing { mirror: Box<PartitionMirror>, look: u64 },
    /// In a lane, or `waiting` until that lane takes it.
    InLane { key: LaneKey, waiting: Option<Box<LanePartition>> },
    /// Halted.
    Halted { mirror: Box<PartitionMirror>, until: Instant },
    /// Let go, and not begun again: the link still names it under the same number.
    Released(Released),
    /// On its way from one place to another; never seen.
    Moving,
}

/// A partition and all that the manager knows of it.
pub(super) struct Entry {
    pub spec: PartitionSpec,
    pub cell: Arc<Cell>,
    pub place: Place,
    /// When it is due in its place; written by `Entries` alone.
    pub due: Option<Instant>,
    /// The next pause.
    pub rest: Duration,
    /// The halt that was told last.
    pub told: Option<Halt>,
    /// The halt that its lane was told.
    pub ordered: Option<Halt>,
    /// The task of the lane that took it.
    pub lane: Option<task::Id>,
    /// Its lane is to give it back.
    pub recalled: bool,
    /// What had been copied when it last came out of a lane.
    pub copied: u64,
    /// How it is to be let go, if it is.
    pub leaving: Option<How>,
    /// The link names it: once it has been let go, that is remembered.
    pub named: bool,
    /// What is wanted once it has been let go.
    pub next: Option<PartitionSpec>,
    /// Since when an append of it may be on its way that nobody waits for any more.
    pub doubted: Option<Instant>,
    /// Where both logs ended when they were found level, and when that was.
    pub level: Option<(Offset, Instant)>,
    /// It was told to be level.
    pub is_told_level: bool,
    /// Where the source's log began, as the last look found it.
    pub source_start: Offset,
    /// What is known of its source's replicas, where one may be nearer than the leader.
    pub near: Option<Box<Near>>,
}

impl Entry {
    /// One that nobody has looked at yet.
    pub fn new(spec: PartitionSpec, cell: Arc<Cell>, rest: Duration) -> Entry {
        Entry {
            source_start: spec.start,
            spec,
            cell,
            place: Place::Moving,
            due: None,
            rest,
            told: None,
            ordered: None,
            lane: None,
            recalled: false,
            named: true,
            copied: 0,
            leaving: None,
            next: None,
            doubted: None,
            level: None,
            is_told_level: false,
            near: None,
        }
    }

    /// What is told when it has been let go with the destination's log at `end`.
    pub fn released(&self, end: Option<Offset>) -> Released {
        Released {
            name: self.spec.name.clone(),
            incarnation: self.spec.incarnation,
            end,
            last_source_offset: end.map(|end| end.max(self.source_start)),
        }
    }

    /// Whether a halt that it is in may end by itself.
    pub fn may_resolve(&self, mirror: &PartitionMirror) -> bool {
        self.spec.halt.is_none() && mirror.halted().is_some_and(Halt::may_resolve_itself)
    }
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
    same_topic(&shared.source, &spec.name.source_topic, spec.source_id)?;
    let (destination, destination_epoch) = destination(shared, spec)?;
    let source =
        leader(&shared.source, &spec.name.source()).ok_or(NotNow::Leaderless(Side::Source));
    let (source, source_epoch) = source?;
    let case = Case {
        name: spec.name.clone(),
        writer: shared.writer_of(spec).id,
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

/// Who leads it at the destination.
pub(super) fn destination(
    shared: &Shared,
    spec: &PartitionSpec,
) -> Result<(BrokerId, LeaderEpoch), NotNow> {
    same_topic(&shared.destination, &spec.name.mirror_topic, spec.destination_id)?;
    leader(&shared.destination, &spec.name.mirror()).ok_or(NotNow::Leaderless(Side::Destination))
}

/// Calls that know topics by name only must not reach another one: an id once seen to be replaced
/// never comes back.
fn same_topic(cluster: &Cluster, name: &TopicName, was: TopicId) -> Result<(), NotNow> {
    match cluster.topic(name) {
        Some(topic) if topic.id != was && topic.id != TopicId::NIL => {
            let side = cluster.side();
            Err(NotNow::Never(Halt::Recreated { side, was, is: topic.id }))
        }
        _ => Ok(()),
    }
}

/// Records that the source has deleted before they were copied are lost to the copy: a person must
/// hear of it, once, though the link is told to go on (`retention.overtook=fill`).
pub(super) fn tell_overtaken(mirror: &mut PartitionMirror) {
    let Some((from, to)) = mirror.take_overtaken() else { return };
    let (name, offsets) = (mirror.name(), from.distance_to(to));
    tracing::warn!(
        link = %name.link, partition = %name, %from, %to, offsets,
        "the source's log starts at {to}, and the copy ends at {from}: {offsets} offsets were \
         deleted at the source before they were copied and are lost; they are filled, and the copy \
         goes on behind them (retention.overtook=fill). Give the source a longer retention.ms or \
         retention.bytes, or find out what held the copy up"
    );
}

/// What a lane is to be told of a partition, if it is still there.
pub(super) fn order_of(entry: &mut Entry, task: task::Id) -> Option<ToLane> {
    let Place::InLane { waiting, .. } = &mut entry.place else { return None };
    if let Some(member) = waiting.take() {
        entry.lane = Some(task);
        return Some(ToLane::Add(member));
    }
    let told = match (&entry.spec.halt, entry.recalled, entry.leaving) {
        (Some(halt), ..) => {
            entry.ordered = Some(halt.clone());
            Told::Halt(halt.clone())
        }
        (None, true, _) => Told::Leave,
        (None, false, Some(How::Drain | How::DrainStable)) => Told::Drain,
        (None, false, _) => return None,
    };
    Some(ToLane::Tell(entry.spec.name.mirror(), entry.spec.incarnation, told))
}
