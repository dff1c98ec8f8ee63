//! The looks at logs that a manager has made: of whom, when they are due, and what comes of them.
//!
//! It never asks a cluster itself: `probe` does, in tasks, many partitions a round trip.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task;
use tokio::task::JoinError;
use tokio::time::Instant;

use crate::cluster::Wanted;
use crate::flow::entry::How;
use crate::flow::entry::NotNow;
use crate::flow::entry::Place;
use crate::flow::entry::case;
use crate::flow::lane::LaneKey;
use crate::flow::manager::PartitionManager;
use crate::flow::near::Named;
use crate::flow::near::ask_found;
use crate::flow::probe::Barred;
use crate::flow::probe::Case;
use crate::flow::probe::Ends;
use crate::flow::probe::Found;
use crate::flow::probe::Trouble;
use crate::flow::probe::probe;
use crate::flow::release::Drained;
use crate::ids::BrokerId;
use crate::ids::MirrorPartition;
use crate::ids::Side;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::mirror::facts::Fault;
use crate::mirror::facts::Order;
use crate::mirror::facts::Prepared;
use crate::mirror::partition::PartitionMirror;
use crate::wire::error::KafkaCode;
use crate::wire::error::Remedy;

/// No more often than this is the metadata of a side read again on account of trouble.
const REFRESH_PAUSE: Duration = Duration::from_millis(250);
/// How many partitions are looked at in one round trip.
const GROUP_MAX: usize = 64;

/// What a look at logs brings.
pub(super) enum Looked {
    /// At both, and whom the source's leader would rather see read.
    Both(LaneKey, Found, Named),
    /// At the destination's, for those that are let go.
    Barrier(Ends),
    /// At no log: whom leaders of what is in lanes would rather see read.
    Near(Named),
}

impl PartitionManager {
    /// Has everybody looked at who is due.
    pub(super) fn look_at_due(&mut self) {
        let mut groups: BTreeMap<LaneKey, Vec<Case>> = BTreeMap::new();
        let mut leaving: BTreeMap<BrokerId, Vec<Barred>> = BTreeMap::new();
        let mut in_lanes = Vec::new();
        for tp in self.entries.take_due(Instant::now()) {
            let Some(entry) = self.entries.get_mut(&tp) else { continue };
            if matches!(entry.place, Place::InLane { .. }) {
                in_lanes.push(tp);
                continue;
            }
            if entry.leaving == Some(How::Leave) {
                if let Some((leader, asked)) = self.seek_barrier(&tp) {
                    leaving.entry(leader).or_default().push(asked);
                }
                continue;
            }
            let mirror = match &mut entry.place {
                Place::Backoff { mirror, .. } => mirror,
                Place::Halted { mirror, .. } => {
                    mirror.handle_order(Order::Resume);
                    mirror
                }
                _ => continue,
            };
            let wants_tail = mirror.wants_tail_look() || entry.leaving.is_some();
            let wants = (mirror.wants_far_look(), wants_tail);
            match case(&self.shared, &entry.spec, wants) {
                Ok((key, case)) => {
                    self.unled.remove(&case.name);
                    groups.entry(key).or_default().push(case);
                }
                Err(why) => self.put_off(&tp, why),
            }
        }
        self.ask_again(in_lanes);
        for (key, cases) in groups {
            for group in cases.chunks(GROUP_MAX) {
                self.look(key, group.to_vec());
            }
        }
        for (leader, asked) in leaving {
            for group in asked.chunks(GROUP_MAX) {
                self.ask_barrier(leader, group.to_vec());
            }
        }
    }

    fn put_off(&mut self, tp: &TopicPartition, why: NotNow) {
        let Some(mut mirror) = self.entries.take(tp) else { return };
        self.tell_level(tp, false);
        match why {
            NotNow::Leaderless(side) => {
                match self.refused(side, mirror.name()) {
                    Some(code) => self.handle_trouble(&mut mirror, &Trouble::Code(side, code)),
                    None => {
                        let text = format!("the {side} names no leader of it");
                        mirror.note_trouble("LEADER_NOT_AVAILABLE", text);
                    }
                }
                self.unled.insert(mirror.name().clone());
                self.refresh(side);
            }
            NotNow::Never(halt) => mirror.handle_halt(halt),
        }
        self.rest(tp, mirror);
    }

    /// What a cluster said of a topic instead of its leaders.
    fn refused(&self, side: Side, name: &MirrorPartition) -> Option<KafkaCode> {
        let topic = self.shared.cluster(side).topic(name.topic(side))?;
        (!topic.error.is_none()).then_some(topic.error)
    }

    fn look(&mut self, key: LaneKey, cases: Vec<Case>) {
        let tps = cases.iter().map(|case| case.name.mirror()).collect();
        let (shared, asked) = (self.shared.clone(), self.near_of(&cases));
        self.begin_look(tps, async move {
            let found = probe(&shared, key, cases).await;
            let named = ask_found(&shared, key.source, asked, &found).await;
            Looked::Both(key, found, named)
        });
    }

    pub(super) fn begin_look(
        &mut self,
        tps: Vec<TopicPartition>,
        look: impl Future<Output = Looked> + Send + 'static,
    ) {
        self.looked += 1;
        let number = self.looked;
        for tp in tps {
            if let Some(mirror) = self.entries.take(&tp) {
                self.entries.put(&tp, Place::Probing { mirror, look: number });
            }
        }
        let task = self.looks.spawn(async move { (number, look.await) });
        self.looking.insert(task.id(), number);
    }

    pub(super) fn handle_look(&mut self, look: Result<(task::Id, (u64, Looked)), JoinError>) {
        match look {
            Ok((task, (number, looked))) => {
                self.looking.remove(&task);
                match looked {
                    Looked::Both(key, found, named) => {
                        self.handle_found(key, number, found, &named);
                    }
                    Looked::Near(named) => self.handle_near(named),
                    Looked::Barrier(ends) => self.handle_barrier(number, ends),
                }
            }
            Err(error) => self.handle_panic(&error),
        }
    }

    /// The machine of a partition that this look was about; `None` where it has gone on since.
    pub(super) fn take_looked(
        &mut self,
        tp: &TopicPartition,
        number: u64,
    ) -> Option<Box<PartitionMirror>> {
        let place = &self.entries.get(tp)?.place;
        let is_it = matches!(place, Place::Probing { look, .. } if *look == number);
        if is_it { self.entries.take(tp) } else { None }
    }

    fn handle_found(&mut self, key: LaneKey, number: u64, found: Found, named: &Named) {
        for (tp, one) in found {
            let Some(mut mirror) = self.take_looked(&tp, number) else { continue };
            match one {
                Ok(facts) => self.handle_facts((key, named), &tp, mirror, &facts),
                Err(trouble) => {
                    self.tell_level(&tp, false);
                    self.handle_trouble(&mut mirror, &trouble);
                    self.rest(&tp, mirror);
                }
            }
        }
    }

    fn handle_facts(
        &mut self,
        (key, named): (LaneKey, &Named),
        tp: &TopicPartition,
        mut mirror: Box<PartitionMirror>,
        facts: &Prepared,
    ) {
        mirror.handle_prepared(self.shared.wall.now(), facts);
        if !mirror.is_mirroring() {
            self.tell_level(tp, false);
        }
        let Some(entry) = self.entries.get_mut(tp) else { return };
        // Where the ends contradict each other nobody has waited for what is still on its way.
        if facts.destination_end <= facts.source_log_end {
            entry.doubted = None;
        }
        entry.source_start = facts.source_start;
        if !mirror.is_mirroring() {
            return self.rest(tp, mirror);
        }
        match entry.drained(facts) {
            Drained::Flows => {
                self.tell_level(tp, false);
                let key = self.nearest(key, tp, named, &mut mirror);
                self.enter(key, tp, mirror);
            }
            Drained::Waits(pause) => self.pass_over(tp, mirror, (pause, false)),
            Drained::Level(pause) => self.pass_over(tp, mirror, (pause, true)),
        }
    }

    /// There is nothing to copy of one that drains: it is looked at again.
    fn pass_over(
        &mut self,
        tp: &TopicPartition,
        mut mirror: Box<PartitionMirror>,
        (pause, is_level): (Duration, bool),
    ) {
        self.tell_level(tp, is_level);
        mirror.handle_failed(Fault::Moved);
        self.stand(tp, mirror, Instant::now() + pause);
    }

    pub(super) fn handle_trouble(&mut self, mirror: &mut PartitionMirror, trouble: &Trouble) {
        let (side, remedy, label, text) = match trouble {
            Trouble::Cluster(error) => {
                (error.peer.side, error.remedy(), "UNAVAILABLE", error.to_string())
            }
            Trouble::Code(side, code) => {
                (*side, code.remedy(), code.name(), format!("the {side} says {code}"))
            }
        };
        let name = mirror.name();
        tracing::debug!(link = %name.link, partition = %name, %text, "a look at both logs failed");
        mirror.note_trouble(label, text);
        if let Trouble::Code(side, code) = trouble {
            mirror.note_look_refused(*side, *code);
        }
        if matches!(remedy, Remedy::Refresh | Remedy::Redial) {
            self.refresh(side);
        }
    }

    /// Reads a side's metadata again, soon, once.
    pub(super) fn refresh(&mut self, side: Side) {
        let now = Instant::now();
        let began = self.refreshing.get(&side);
        if began.is_some_and(|began| now.duration_since(*began) < REFRESH_PAUSE) {
            return;
        }
        self.refreshing.insert(side, now);
        let cluster = self.shared.cluster(side).clone();
        let entries = &self.entries;
        self.unled.retain(|name| entries.get(&name.mirror()).is_some());
        let mut unled: Vec<TopicName> =
            self.unled.iter().map(|name| name.topic(side).clone()).collect();
        unled.dedup();
        self.refreshes.spawn(async move {
            let mut read = cluster.refresh(Wanted::All).await;
            // the list leaves out what we may not describe: asked for by name it is refused
            unled.retain(|name| cluster.topic(name).is_none());
            if read.is_ok() && !unled.is_empty() {
                read = cluster.refresh(Wanted::Topics(&unled)).await;
            }
            if let Err(error) = read {
                tracing::debug!(%error, "metadata could not be read");
            }
            side
        });
    }
}
