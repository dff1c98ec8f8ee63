//! What groups had committed beyond the mirror, for when it is sealed without its source.
//!
//! It never asks a source, and never puts a group beyond a seal.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cluster::Cluster;
use crate::cluster::error::ClusterError;
use crate::control::task::groups::GroupSync;
use crate::control::task::offsets::Commit;
use crate::control::task::offsets::Part;
use crate::ids::TimestampMs;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::sync::groups::Commits;
use crate::sync::groups::Follower;
use crate::sync::groups::Ids;
use crate::sync::groups::MirrorTopic;
use crate::sync::groups::Turn;
use crate::sync::groups::parts;
use crate::sync::groups::put::Job;
use crate::sync::groups::refresh;

impl Follower {
    /// Commits for topics that were sealed without their source what groups had committed there
    /// when it was read last, and that the mirror had not come to then; never beyond the seals.
    /// Nothing is asked of the source.
    pub async fn raise(
        &mut self,
        destination: &Arc<Cluster>,
        sync: &GroupSync,
        topics: &[MirrorTopic],
        now: TimestampMs,
    ) -> Result<Turn, ClusterError> {
        let mut turn = Turn::default();
        let (known, ids) = (parts::sealed(topics), ids_of(topics));
        let commits = self.beyond.iter().map(|(name, all)| {
            let is_its = |tp: &TopicPartition, noted: &Ids| {
                known.contains_key(tp) && ids.get(&tp.topic) == Some(noted)
            };
            let its = all.iter().filter(|(tp, (_, noted))| is_its(tp, noted));
            (name.clone(), its.map(|(tp, (commit, _))| (tp.clone(), commit.clone())).collect())
        });
        let mut commits: Commits = commits.collect();
        commits.retain(|name, all: &mut BTreeMap<_, _>| !all.is_empty() && sync.follows(name));
        if commits.is_empty() {
            return Ok(turn);
        }
        refresh(destination, topics.iter().map(|one| &one.mirror)).await?;
        let parts = parts::of_seals(destination, &commits, topics, &mut turn).await;
        let what = (commits, parts, &BTreeMap::new());
        self.put(destination, (sync, topics), what, (now, &mut turn)).await;
        Ok(turn)
    }

    /// Remembers what the mirror has not come to yet.
    pub(super) fn note_beyond(
        &mut self,
        job: &Job,
        parts: &BTreeMap<TopicPartition, Part>,
        ids: &BTreeMap<&TopicName, Ids>,
    ) {
        let is_beyond = |(tp, commit): &(&TopicPartition, &Commit)| {
            let target = parts.get(*tp).and_then(|part| part.target(commit.offset));
            target.is_some_and(|target| target.is_clamped)
        };
        let mut known = self.beyond.remove(&job.name).unwrap_or_default();
        known.retain(|tp, _| !parts.contains_key(tp));
        let beyond = job.source.iter().filter(is_beyond);
        known.extend(
            beyond.filter_map(|(tp, commit)| {
                Some((tp.clone(), (commit.clone(), *ids.get(&tp.topic)?)))
            }),
        );
        if !known.is_empty() {
            self.beyond.insert(job.name.clone(), known);
        }
    }
}

/// The ids of topics, by the source's name.
pub(super) fn ids_of(topics: &[MirrorTopic]) -> BTreeMap<&TopicName, Ids> {
    topics.iter().map(|one| (&one.source, one.ids)).collect()
}
