//! From which replica of the source a partition is read: the nearest one, as its leader names it
//! for `client.rack` (KIP-392), and when that is asked again.
//!
//! It never sends a partition to a replica that its leader has not named, and never leaves it at
//! one that was of no use: whatever else is asked, the leader answers.
//!
//! ```text
//!  look at both logs ──▶ the leader is asked ──names X──▶ lane of X ──▶ asked again, and again
//!                              │ names nobody                │ X refuses, lags, has a gap, is away
//!                              ▼                             ▼
//!                        lane of the leader ◀── look ◀── X is avoided, each time for longer
//! ```
//!
//! Fetches of a lane say no rack: a leader that is asked without one serves whatever it has.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::conn::read::EachReplica;
use crate::cluster::conn::read::Whose;
use crate::flow::entry::Entry;
use crate::flow::entry::How;
use crate::flow::entry::Place;
use crate::flow::entry::leader;
use crate::flow::lane::LaneKey;
use crate::flow::look::Looked;
use crate::flow::manager::PartitionManager;
use crate::flow::probe::Case;
use crate::flow::probe::Found;
use crate::flow::shared::Shared;
use crate::ids::BrokerId;
use crate::ids::LeaderEpoch;
use crate::ids::LinkName;
use crate::ids::Offset;
use crate::ids::Side;
use crate::ids::TopicPartition;
use crate::meters;
use crate::mirror::facts::Order;
use crate::mirror::partition::PartitionMirror;

/// How often a leader is asked whom it would rather see read; `metadata.max.age.ms` where that is
/// shorter, for Kafka's consumers forget after that what they were told.
const ASK_PAUSE: Duration = Duration::from_secs(30);
/// For how long a follower that was of no use is avoided: the first time, and at most; twice as
/// long each time in a row.
const AVOID_MIN: Duration = Duration::from_secs(5);
const AVOID_MAX: Duration = Duration::from_secs(300);
/// So many partitions are asked about in one question.
const ASKED_MAX: usize = 1_000;

/// What leaders named, by the mirror's partition; who was not told of is not in it.
pub(super) type Named = BTreeMap<TopicPartition, Option<BrokerId>>;

/// Of whom a leader is to be asked: the mirror's partition, and what it is at the source.
pub(super) type Asked = Vec<(TopicPartition, Whose)>;

/// What is known of the replicas of one partition.
#[derive(Debug, Default)]
pub(super) struct Near {
    /// The follower that it is read from; `None` for the leader.
    from: Option<BrokerId>,
    /// Under which epoch of the leader.
    epoch: Option<LeaderEpoch>,
    /// Where the copy ended when this was last thought about.
    end: Option<Offset>,
    /// A follower that was of no use, until when it is avoided, and for how long that was.
    avoided: Option<(BrokerId, Instant, Duration)>,
    /// When the leader is to be asked again.
    pub ask_at: Option<Instant>,
}

impl Near {
    /// What is made of the leader's word.
    fn choose(&self, named: Option<BrokerId>, now: Instant) -> Option<BrokerId> {
        let avoided = self.avoided.filter(|(_, until, _)| now < *until).map(|(broker, ..)| broker);
        named.filter(|broker| Some(*broker) != avoided)
    }

    /// What it is read from was of no use.
    fn avoid(&mut self, broker: BrokerId, now: Instant) {
        let before = self.avoided.filter(|(avoided, ..)| *avoided == broker);
        let pause = before.map_or(AVOID_MIN, |(.., pause)| (pause * 2).min(AVOID_MAX));
        self.avoided = Some((broker, now + pause, pause));
    }

    /// Whether a follower stands still that should not: the leader has more than it brings.
    fn stands(&self, end: Option<Offset>, source_end: Option<Offset>) -> bool {
        let is_behind = end.zip(source_end).is_some_and(|(end, source)| end < source);
        self.from.is_some() && is_behind && self.end == end
    }

    /// The leader names whom it named before, and that one is of use.
    fn renew(&mut self, end: Option<Offset>) {
        if end > self.end && self.from.is_some() {
            self.avoided = None;
        }
        self.end = end;
    }
}

impl Entry {
    /// Whether followers may serve it. What drains is compared with the leader's end; the cleaner
    /// works on each replica in its own time.
    fn may_read_near(&self, shared: &Shared) -> bool {
        let takes = &self.spec.takes;
        let is_plain = takes.is_compacted == Some(false) && !takes.is_staged;
        is_plain && self.leaving.is_none() && !shared.source.options().rack.is_empty()
    }

    /// The follower that it is read from.
    pub(super) fn follower(&self) -> Option<BrokerId> {
        self.near.as_ref()?.from
    }

    pub(super) fn read_from(&mut self, follower: Option<BrokerId>) {
        let Some(near) = &mut self.near else { return };
        let before = std::mem::replace(&mut near.from, follower);
        let by = i32::from(follower.is_some()) - i32::from(before.is_some());
        count(&self.spec.name.link, by);
    }
}

fn count(link: &LinkName, by: i32) {
    if by != 0 {
        let name = meters::LINK_FOLLOWER_PARTITIONS.name;
        metrics::gauge!(name, "link" => link.to_string()).increment(f64::from(by));
    }
}

/// What their leader names, of those that were found and go on behind the source's log start.
pub(super) async fn ask_found(
    shared: &Shared,
    leader: BrokerId,
    asked: Asked,
    found: &Found,
) -> Named {
    let place = |(tp, whose): (TopicPartition, Whose)| {
        let facts = found.get(&tp)?.as_ref().ok()?;
        let offset = facts.destination_end;
        (offset >= facts.source_start).then_some((tp, Whose { offset, ..whose }))
    };
    ask(shared, leader, asked.into_iter().filter_map(place).collect()).await
}

/// What their leader names; nobody where it does not say.
async fn ask(shared: &Shared, leader: BrokerId, asked: Asked) -> Named {
    let mut named = Named::new();
    let (tps, whose): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
    for (tps, whose) in tps.chunks(ASKED_MAX).zip(whose.chunks(ASKED_MAX)) {
        let told = match shared.source.preferred_replicas(leader, whose).await {
            Ok(told) => told,
            Err(error) => {
                tracing::debug!(%error, "a leader does not say which replica is the nearest");
                return named;
            }
        };
        named.extend(
            tps.iter().zip(whose).filter_map(|(tp, one)| {
                Some((tp.clone(), believed(shared, leader, &one.tp, &told)?))
            }),
        );
    }
    named
}

/// A replica that its leader named, and that there is; it may name itself.
fn believed(
    shared: &Shared,
    leader: BrokerId,
    tp: &TopicPartition,
    told: &EachReplica,
) -> Option<Option<BrokerId>> {
    let named = (*told.get(tp)?.as_ref().ok()?).filter(|broker| *broker != leader);
    let is_there = |id: &BrokerId| shared.source.look(|metadata| metadata.broker(*id).is_some());
    if let Some(replica) = named.filter(|broker| !is_there(broker)) {
        tracing::warn!(
            partition = %tp, %leader, %replica,
            "the leader names a replica that its cluster has no broker for: the leader is read"
        );
    }
    Some(named.filter(is_there))
}

impl PartitionManager {
    /// Whose leaders are to be asked besides what a look at both logs asks.
    pub(super) fn near_of(&self, cases: &[Case]) -> Asked {
        let asked = cases.iter().filter_map(|case| {
            let tp = case.name.mirror();
            self.entries.get(&tp).filter(|entry| entry.may_read_near(&self.shared))?;
            let (topic, epoch) = (case.source_id, case.source_epoch);
            Some((tp, Whose { tp: case.name.source(), topic, epoch, offset: Offset::ZERO }))
        });
        asked.collect()
    }

    /// The lane for a partition that both logs were looked at for: of its leader, or of the replica
    /// that the leader named.
    pub(super) fn nearest(
        &mut self,
        key: LaneKey,
        tp: &TopicPartition,
        named: &Named,
        mirror: &mut PartitionMirror,
    ) -> LaneKey {
        let may = self.entries.get(tp).is_some_and(|entry| entry.may_read_near(&self.shared));
        let pause = self.ask_pause();
        let Some(entry) = self.entries.get_mut(tp) else { return key };
        if !may {
            entry.near = None;
            return key;
        }
        let now = Instant::now();
        let known = leader(&self.shared.source, &entry.spec.name.source());
        let near = entry.near.get_or_insert_default();
        near.ask_at = Some(now + pause);
        near.epoch = known.map(|(_, epoch)| epoch);
        near.end = mirror.position();
        let named = named.get(tp).copied().flatten();
        let follower = near.choose(named, now);
        entry.read_from(follower);
        let Some(source) = follower else { return key };
        mirror.read_from_follower();
        LaneKey { source, ..key }
    }

    /// How long a leader's word is good for.
    fn ask_pause(&self) -> Duration {
        ASK_PAUSE.min(self.shared.source.options().metadata_age_max)
    }

    /// One has come back from its lane.
    pub(super) fn note_read(&mut self, tp: &TopicPartition, mirror: &mut PartitionMirror) {
        let Some(entry) = self.entries.get_mut(tp) else { return };
        let Some(broker) = entry.follower() else { return };
        entry.read_from(None);
        // it was recalled instead of being told
        if matches!(entry.leaving, Some(How::Drain | How::DrainStable)) {
            mirror.handle_order(Order::Drain);
        }
        if let Some(near) = entry.near.as_mut().filter(|_| mirror.blames_follower()) {
            near.avoid(broker, Instant::now());
            self.refresh(Side::Source);
        }
    }

    /// What of those that are in lanes is to be asked of their leaders again; those that are to
    /// leave a follower are recalled.
    pub(super) fn ask_again(&mut self, tps: Vec<TopicPartition>) {
        let mut by_leader: BTreeMap<BrokerId, Asked> = BTreeMap::new();
        for tp in tps {
            if let Some((leader, whose)) = self.think(&tp) {
                by_leader.entry(leader).or_default().push((tp, whose));
            }
        }
        for (leader, asked) in by_leader {
            let shared = self.shared.clone();
            self.begin_look(
                Vec::new(),
                async move { Looked::Near(ask(&shared, leader, asked).await) },
            );
        }
    }

    /// Whom to ask about one; `None` where there is nothing to ask, or it is to come back.
    fn think(&mut self, tp: &TopicPartition) -> Option<(BrokerId, Whose)> {
        let now = Instant::now();
        let pause = self.ask_pause();
        self.entries.wake(tp, now + pause);
        let may = self.entries.get(tp)?.may_read_near(&self.shared);
        let seen = self.entries.get(tp)?.cell.read(self.shared.wall.now());
        let entry = self.entries.get_mut(tp)?;
        let known = leader(&self.shared.source, &entry.spec.name.source());
        let near = entry.near.as_mut()?;
        let end = seen.as_ref().and_then(|seen| seen.destination_end);
        let stands = near.stands(end, seen.and_then(|seen| seen.source_end));
        if let Some(broker) = near.from.filter(|_| stands) {
            near.avoid(broker, now);
        }
        let is_led_anew = known.is_some_and(|(_, epoch)| Some(epoch) != near.epoch);
        if near.from.is_some() && (stands || !may || is_led_anew) {
            self.recall(tp);
            return None;
        }
        near.renew(end);
        let (leader, epoch) = known.filter(|_| may)?;
        let (source, topic) = (entry.spec.name.source(), entry.spec.source_id);
        Some((leader, Whose { tp: source, topic, epoch, offset: end? }))
    }

    /// Leaders have said whom they would rather see read; who is to be read elsewhere comes back.
    pub(super) fn handle_near(&mut self, named: Named) {
        let now = Instant::now();
        for (tp, named) in named {
            let Some(entry) = self.entries.get(&tp) else { continue };
            let is_in_lane = matches!(entry.place, Place::InLane { .. });
            let Some(near) = entry.near.as_ref().filter(|_| is_in_lane) else { continue };
            if near.choose(named, now) != near.from {
                self.recall(&tp);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: BrokerId = BrokerId(1);
    const B: BrokerId = BrokerId(2);
    const SECOND: Duration = Duration::from_secs(1);

    fn at(raw: i64) -> Option<Offset> {
        Offset::new(raw)
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_of_no_use_is_avoided_each_time_for_longer() {
        let (mut near, start) = (Near::default(), Instant::now());
        assert_eq!(near.choose(Some(A), start), Some(A));
        assert_eq!(near.choose(None, start), None);
        near.avoid(A, start);
        assert_eq!(near.choose(Some(A), start + SECOND * 4), None);
        assert_eq!(near.choose(Some(B), start), Some(B));
        let again = start + AVOID_MIN;
        assert_eq!(near.choose(Some(A), again), Some(A));
        near.avoid(A, again);
        assert_eq!(near.choose(Some(A), again + SECOND * 9), None);
        assert_eq!(near.choose(Some(A), again + AVOID_MIN * 2), Some(A));
        (0..99).for_each(|_| near.avoid(A, again));
        assert_eq!(near.choose(Some(A), again + AVOID_MAX), Some(A));
        // another one begins anew
        near.avoid(B, again);
        assert_eq!(near.choose(Some(B), again + AVOID_MIN), Some(B));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_brings_something_is_forgiven() {
        let start = Instant::now();
        let mut near = Near { from: Some(A), end: at(5), ..Near::default() };
        near.avoid(A, start);
        near.renew(at(5));
        assert!(near.avoided.is_some());
        near.renew(at(6));
        assert!(near.avoided.is_none());
    }

    #[test]
    fn one_that_brings_nothing_while_the_leader_has_more_stands_still() {
        let near = Near { from: Some(A), end: at(5), ..Near::default() };
        assert!(near.stands(at(5), at(6)));
        for (end, source) in [(at(5), at(5)), (at(6), at(9)), (at(5), None), (None, at(9))] {
            assert!(!near.stands(end, source), "{end:?} {source:?}");
        }
        assert!(!Near { from: None, ..near }.stands(at(5), at(6)));
    }
}
