//! Follows the offsets of consumer groups of one link, as often as its settings say.
//!
//! It never says which topics are mirrors: the driver does.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::control::task::groups::GroupSync;
use crate::control::topic::Fault;
use crate::flow::Wall;
use crate::link::status::Link;
use crate::sync::groups;
use crate::sync::groups::Follower;
use crate::sync::groups::MirrorTopic;
use crate::sync::groups::Turn;

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
        // first the time, so that from turn to turn it is never less than the interval
        let began = self.wall.now();
        self.last = Some((Instant::now(), sync.clone()));
        let mut turn = match self.follower.turn(both, sync, topics, began).await {
            Ok(turn) => turn,
            Err(error) => return vec![(self.link.name.to_string(), groups::fault_of(&error))],
        };
        let now = self.wall.now();
        self.link.set(|status| {
            let seen = status.groups.get_or_insert_default();
            for (name, told) in &mut turn.told {
                if let Some(before) = seen.told.get(name) {
                    told.go_on_from(before);
                }
            }
            (seen.followed, seen.clamped) = (turn.groups, turn.clamped);
            seen.committed += turn.commits;
            (seen.began, seen.at, seen.every_ms) = (Some(began), Some(now), sync.every_ms);
            seen.told = Arc::new(turn.told);
        });
        turn.errors
    }

    /// A turn over topics that are followed no more after it; what has not begun by then is left.
    pub async fn last_turn(
        &mut self,
        both: (&Arc<Cluster>, &Arc<Cluster>),
        sync: &GroupSync,
        (topics, until): (&[MirrorTopic], Instant),
    ) -> Result<Turn, Fault> {
        self.forget_others(sync);
        let when = (self.wall.now(), until);
        let turn = self.follower.turn_over_some(both, sync, topics, when).await;
        let turn = turn.map_err(|error| groups::fault_of(&error))?;
        self.link.set(|status| {
            if let Some(seen) = &mut status.groups {
                seen.committed += turn.commits;
            }
        });
        Ok(turn)
    }

    /// What was known of groups beyond the mirror is committed for topics that were sealed without
    /// their source.
    pub async fn raise(
        &mut self,
        destination: &Arc<Cluster>,
        sync: &GroupSync,
        topics: &[MirrorTopic],
    ) -> Result<Turn, Fault> {
        self.forget_others(sync);
        let turn = self.follower.raise(destination, sync, topics, self.wall.now()).await;
        turn.map_err(|error| groups::fault_of(&error))
    }

    /// What was put is of groups of other names.
    fn forget_others(&mut self, sync: &GroupSync) {
        if self.last.as_ref().is_some_and(|(_, before)| before.prefix != sync.prefix) {
            self.follower = Follower::new();
        }
    }
}
