//! Follows the offsets of consumer groups of one link, as often as its settings say; and does so
//! for a link of the config file.
//!
//! It never says which topics are mirrors of a link that was created by order: its driver does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::control::task::TaskName;
use crate::control::task::groups::GroupSync;
use crate::control::topic::Fault;
use crate::flow::Wall;
use crate::ids::MirrorPartition;
use crate::ids::Offset;
use crate::ids::Side;
use crate::ids::TopicName;
use crate::link::status::GroupsSeen;
use crate::link::status::Link;
use crate::mirror::lag::MIRRORING;
use crate::mirror::lag::Snapshot;
use crate::sync::groups;
use crate::sync::groups::Follower;
use crate::sync::groups::MirrorTopic;
use crate::sync::groups::Turn;
use crate::sync::trouble::Kind;
use crate::sync::trouble::Trouble;

/// How often it is looked whether a turn is due.
pub(super) const TICK: Duration = Duration::from_millis(500);

/// What is remembered from turn to turn.
pub(super) struct Following {
    link: Link,
    wall: Wall,
    follower: Follower,
    /// When the last turn began, and under which settings.
    last: Option<(Instant, GroupSync)>,
}

impl Following {
    /// No turn was made yet.
    pub fn new(link: Link, wall: Wall) -> Following {
        Following { link, wall, follower: Follower::new(), last: None }
    }

    /// Nothing is followed now.
    pub fn rest(&self) {
        self.link.set(|status| status.groups = None);
    }

    /// Whether it is time for a turn: the settings are others, or the last one was long enough ago.
    pub fn is_due(&self, sync: &GroupSync) -> bool {
        let every = Duration::from_millis(u64::try_from(sync.every_ms).unwrap_or(0));
        let is_early = |(at, before): &(Instant, GroupSync)| before == sync && at.elapsed() < every;
        !self.last.as_ref().is_some_and(is_early)
    }

    /// One turn over these topics; what it could not do, by group or topic.
    pub async fn turn(
        &mut self,
        both: (&Arc<Cluster>, &Arc<Cluster>),
        sync: &GroupSync,
        topics: &[MirrorTopic],
    ) -> Vec<(String, Fault)> {
        self.forget_others(sync);
        self.last = Some((Instant::now(), sync.clone()));
        let turn = match self.follower.turn(both, sync, topics, self.wall.now()).await {
            Ok(turn) => turn,
            Err(error) => return vec![(self.link.name.to_string(), groups::fault_of(&error))],
        };
        let now = self.wall.now();
        self.link.set(|status| {
            let seen = status.groups.get_or_insert_default();
            let GroupsSeen { followed, clamped, committed, at, told } = seen;
            (*followed, *clamped) = (turn.groups, turn.clamped);
            *committed += turn.commits;
            (*at, *told) = (Some(now), Arc::new(turn.told));
        });
        turn.errors
    }

    /// A turn over topics that are followed no more after it.
    pub async fn last_turn(
        &mut self,
        both: (&Arc<Cluster>, &Arc<Cluster>),
        sync: &GroupSync,
        topics: &[MirrorTopic],
    ) -> Result<Turn, Fault> {
        self.forget_others(sync);
        let turn = self.follower.turn_over_some(both, sync, topics, self.wall.now()).await;
        let turn = turn.map_err(|error| groups::fault_of(&error))?;
        self.link.set(|status| {
            if let Some(seen) = &mut status.groups {
                seen.committed += turn.commits;
            }
        });
        Ok(turn)
    }

    /// What was put is of groups of other names.
    fn forget_others(&mut self, sync: &GroupSync) {
        if self.last.as_ref().is_some_and(|(_, before)| before.prefix != sync.prefix) {
            self.follower = Follower::new();
        }
    }
}

/// Follows the groups of a link of the config file, until it is dropped.
pub(super) async fn keep(
    link: Link,
    wall: Wall,
    sync: GroupSync,
    (source, destination): (Arc<Cluster>, Arc<Cluster>),
) {
    let mut following = Following::new(link.clone(), wall);
    loop {
        sleep(TICK).await;
        if !following.is_due(&sync) {
            continue;
        }
        let errors = following.turn((&source, &destination), &sync, &topics(&link, wall)).await;
        let kind = Kind::NotSynced(TaskName::ConsumerOffsetSync);
        let troubles = errors.into_iter();
        let troubles = troubles.map(|(subject, fault)| Trouble { subject, kind, text: fault.text });
        link.tell_groups(troubles.collect());
    }
}

/// The topics that are copied, by what their partitions show.
fn topics(link: &Link, wall: Wall) -> Vec<MirrorTopic> {
    let mut topics: BTreeMap<(TopicName, TopicName), MirrorTopic> = BTreeMap::new();
    let rows = link.board.read(wall.now());
    for (name, _) in rows.iter().filter(|(_, seen)| is_followed(seen)) {
        let MirrorPartition { source_topic, mirror_topic, partition, .. } = name;
        let Some(cell) = link.board.cell(name) else { continue };
        let ids = (cell.id_at(Side::Source), cell.id_at(Side::Destination));
        let key = (source_topic.clone(), mirror_topic.clone());
        let topic = topics.entry(key).or_insert_with(|| MirrorTopic {
            source: source_topic.clone(),
            mirror: mirror_topic.clone(),
            ids,
            partitions: BTreeMap::new(),
            sealed: BTreeMap::new(),
        });
        // what lies before the source's start is filled already
        topic.partitions.insert(*partition, Offset::ZERO);
    }
    topics.into_values().collect()
}

/// Copied, and past where the source's log starts.
fn is_followed(seen: &Snapshot) -> bool {
    seen.state == MIRRORING && seen.front_offsets == 0
}
