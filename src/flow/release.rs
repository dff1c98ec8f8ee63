//! How a partition is let go, or drained first; and when it may be said that nobody holds it.
//!
//! It never says so while something of it may still arrive at the destination: what was not
//! answered is waited out behind a barrier (`probe::barrier`), for which the source is not asked.

use std::time::Duration;

use tokio::time::Instant;

use crate::flow::entry::Entry;
use crate::flow::entry::Fact;
use crate::flow::entry::How;
use crate::flow::entry::Level;
use crate::flow::entry::NotNow;
use crate::flow::entry::Place;
use crate::flow::entry::destination;
use crate::flow::look::Looked;
use crate::flow::manager::PartitionManager;
use crate::flow::probe::Barred;
use crate::flow::probe::Ends;
use crate::flow::probe::SETTLE;
use crate::flow::probe::barrier;
use crate::ids::BrokerId;
use crate::ids::Offset;
use crate::ids::Side;
use crate::ids::TopicPartition;
use crate::mirror::facts::Order;
use crate::mirror::facts::Prepared;

/// How far apart both logs must be found level twice, before one that drains counts as level.
pub const LEVEL_PAUSE: Duration = Duration::from_secs(2);

/// What a look at both logs means for a partition.
pub(super) enum Drained {
    /// It is copied on.
    Flows,
    /// There is nothing to copy now; it is looked at again after this.
    Waits(Duration),
    /// It has all that the source has; it is looked at again after this.
    Level(Duration),
}

impl Entry {
    /// What these facts mean, if it drains.
    pub(super) fn drained(&mut self, facts: &Prepared) -> Drained {
        let is_stable_enough = match self.leaving {
            Some(How::Drain) => facts.source_end == facts.source_log_end,
            Some(How::DrainStable) => true,
            None | Some(How::Leave) => return Drained::Flows,
        };
        let (end, now) = (facts.destination_end, Instant::now());
        if facts.source_end > end || facts.source_start > end {
            self.level = None;
            return Drained::Flows;
        }
        let is_level = facts.source_end == end && is_stable_enough;
        match self.level.filter(|(at, _)| is_level && *at == end) {
            Some((_, since)) if now.duration_since(since) >= LEVEL_PAUSE => {
                Drained::Level(LEVEL_PAUSE)
            }
            Some((_, since)) => Drained::Waits((since + LEVEL_PAUSE).duration_since(now)),
            None => {
                self.level = is_level.then_some((end, now));
                Drained::Waits(LEVEL_PAUSE)
            }
        }
    }
}

impl PartitionManager {
    /// The link does not name it any more.
    pub(super) fn unwant(&mut self, tp: &TopicPartition) {
        let Some(entry) = self.entries.get_mut(tp) else { return };
        (entry.named, entry.next) = (false, None);
        if matches!(entry.place, Place::Released(_)) {
            self.entries.remove(tp);
            return;
        }
        self.release(tp, How::Leave);
    }

    /// Lets a partition go. One that was let go is told of again.
    pub(super) fn release(&mut self, tp: &TopicPartition, how: How) {
        let Some(entry) = self.entries.get_mut(tp) else { return };
        if let Place::Released(released) = &entry.place {
            return self.outbox.push_back(Fact::Released(released.clone()));
        }
        let before = entry.leaving;
        entry.leaving = before.max(Some(how));
        if entry.leaving == before {
            return;
        }
        let is_near = entry.follower().is_some();
        match (how, &mut entry.place) {
            (How::Leave, Place::InLane { .. }) => self.recall(tp),
            (How::Leave, _) => {
                if let Some(mirror) = self.entries.take(tp) {
                    self.stand(tp, mirror, Instant::now());
                }
            }
            // it is compared with the leader's end
            (_, Place::InLane { .. }) if is_near => self.recall(tp),
            (_, Place::InLane { waiting: Some(member), .. }) => {
                member.mirror.handle_order(Order::Drain);
            }
            (_, Place::InLane { key, waiting: None }) => {
                let key = *key;
                self.lanes.mark(key, tp);
            }
            (
                _,
                Place::Backoff { mirror, .. }
                | Place::Probing { mirror, .. }
                | Place::Halted { mirror, .. },
            ) => mirror.handle_order(Order::Drain),
            (_, Place::Released(_) | Place::Moving) => {}
        }
    }

    /// Tells of one that drains whether it is level, when that is news.
    pub(super) fn tell_level(&mut self, tp: &TopicPartition, is_level: bool) {
        let Some(entry) = self.entries.get_mut(tp) else { return };
        if entry.is_told_level == is_level {
            return;
        }
        entry.is_told_level = is_level;
        let (name, incarnation) = (entry.spec.name.clone(), entry.spec.incarnation);
        self.outbox.push_back(Fact::Level(Level { name, incarnation, is_level }));
    }

    /// Nobody holds it and nothing of it is on its way; the destination's log ends there.
    pub(super) fn finish(&mut self, tp: &TopicPartition, end: Option<Offset>) {
        let Some(mut entry) = self.entries.remove(tp) else { return };
        let released = entry.released(end);
        self.board.forget(&entry.spec.name);
        self.outbox.push_back(Fact::Released(released.clone()));
        match entry.next.take() {
            Some(next) => self.welcome(next),
            None if entry.named => {
                entry.due = None;
                entry.place = Place::Released(released);
                self.entries.insert(entry);
            }
            None => {}
        }
    }

    /// Who is to be asked about one that is let go and whose last appends were not answered. Where
    /// the destination has no leader for it, or has another topic by its name, nobody can be
    /// asked, and nothing of it can arrive once what an aborted connection delivers has settled.
    pub(super) fn seek_barrier(&mut self, tp: &TopicPartition) -> Option<(BrokerId, Barred)> {
        let entry = self.entries.get(tp)?;
        let doubted = entry.doubted.unwrap_or_else(Instant::now);
        match destination(&self.shared, &entry.spec) {
            Ok((leader, epoch)) => {
                let writer = self.shared.writer_of(&entry.spec).id;
                return Some((leader, Barred { tp: tp.clone(), writer, epoch }));
            }
            Err(NotNow::Leaderless(_)) => self.refresh(Side::Destination),
            Err(NotNow::Never(_)) => {}
        }
        if doubted.elapsed() >= SETTLE {
            self.finish(tp, None);
        } else if let Some(mirror) = self.entries.take(tp) {
            self.stand(tp, mirror, doubted + SETTLE);
        }
        None
    }

    pub(super) fn ask_barrier(&mut self, leader: BrokerId, asked: Vec<Barred>) {
        let tps = asked.iter().map(|one| one.tp.clone()).collect();
        let shared = self.shared.clone();
        self.begin_look(
            tps,
            async move { Looked::Barrier(barrier(&shared, leader, &asked).await) },
        );
    }

    pub(super) fn handle_barrier(&mut self, number: u64, ends: Ends) {
        for (tp, end) in ends {
            let Some(mut mirror) = self.take_looked(&tp, number) else { continue };
            match end {
                Ok(end) => {
                    if let Some(entry) = self.entries.get_mut(&tp) {
                        entry.doubted = None;
                    }
                    self.finish(&tp, Some(end));
                }
                Err(trouble) => {
                    self.handle_trouble(&mut mirror, &trouble);
                    self.rest(&tp, mirror);
                }
            }
        }
    }
}
