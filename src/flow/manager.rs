//! The partitions of one link: which one is in which lane, and what becomes of it between lanes.
//!
//! It never touches record bytes and never decides whether a partition may append: it asks both
//! clusters (`probe`), hands the facts to the partition machine, and puts it into a lane. It never
//! waits for a lane or for the link: what there is no room for stays in the entries.
//!
//! ```text
//!  ─ wanted ─▶ Backoff ──due──▶ Probing ──facts──▶ InLane ──▶ (lane) ──left──▶ Backoff
//!                 ▲                │ trouble          │ halted
//!                 └────────────────┴──────────────────┴──▶ Halted ──▶ looked at again, or never
//!
//!  from each of them ── let go (`release`) ──▶ Released ── wanted under another number ──▶ Backoff
//! ```

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task;
use tokio::task::JoinError;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::sleep_until;

use crate::flow::entries::Entries;
use crate::flow::entry::Entry;
use crate::flow::entry::Fact;
use crate::flow::entry::How;
use crate::flow::entry::PartitionSpec;
use crate::flow::entry::Place;
use crate::flow::entry::ToManager;
use crate::flow::entry::leader;
use crate::flow::entry::order_of;
use crate::flow::entry::tell_overtaken;
use crate::flow::lane;
use crate::flow::lane::FromLane;
use crate::flow::lane::LaneKey;
use crate::flow::lane::members::LanePartition;
use crate::flow::lanes::Lanes;
use crate::flow::look::Looked;
use crate::flow::shared::Shared;
use crate::flow::stats::Board;
use crate::ids::LeaderEpoch;
use crate::ids::MirrorPartition;
use crate::ids::PartitionId;
use crate::ids::Side;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::mirror::facts::Fault;
use crate::mirror::facts::Limits;
use crate::mirror::facts::Order;
use crate::mirror::halt::Halt;
use crate::mirror::partition::PartitionMirror;

/// The first pause before a partition is looked at again.
pub(super) const REST_MIN: Duration = Duration::from_millis(100);
/// The longest.
const REST_MAX: Duration = Duration::from_secs(10);
/// How often a halt that may resolve itself is looked at again.
const STANDING_LOOK: Duration = Duration::from_secs(10);
/// While so many facts wait for the link, no order is taken from it.
const FACTS_WAITING_MAX: usize = 1_024;

/// The partition manager.
pub struct PartitionManager {
    pub(super) shared: Shared,
    pub(super) board: Arc<Board>,
    limits: Limits,
    pub(super) entries: Entries,
    pub(super) lanes: Lanes,
    /// Numbered, so that what a look brings late is known for what it is.
    pub(super) looks: JoinSet<(u64, Looked)>,
    pub(super) looking: HashMap<task::Id, u64>,
    pub(super) looked: u64,
    running: JoinSet<()>,
    back: mpsc::Receiver<FromLane>,
    facts: mpsc::Sender<Fact>,
    /// What the link is yet to be told.
    pub(super) outbox: VecDeque<Fact>,
    /// When each side's metadata was read on account of trouble; a reading is under way.
    pub(super) refreshes: JoinSet<Side>,
    pub(super) refreshing: BTreeMap<Side, Instant>,
    /// Of whom a side named no leader when they were last to be looked at.
    pub(super) unled: BTreeSet<MirrorPartition>,
}

impl PartitionManager {
    /// Nothing is wanted yet; `back` is the other end of `shared.back`, and what is let go is told
    /// to `facts`, which must be read for as long as orders are given.
    pub fn new(
        shared: Shared,
        back: mpsc::Receiver<FromLane>,
        facts: mpsc::Sender<Fact>,
        board: Arc<Board>,
        limits: Limits,
    ) -> PartitionManager {
        PartitionManager {
            shared,
            board,
            limits,
            entries: Entries::default(),
            lanes: Lanes::default(),
            looks: JoinSet::new(),
            looking: HashMap::new(),
            looked: 0,
            running: JoinSet::new(),
            back,
            facts,
            outbox: VecDeque::new(),
            refreshes: JoinSet::new(),
            refreshing: BTreeMap::new(),
            unled: BTreeSet::new(),
        }
    }

    /// Runs until the link's stop token, then waits for the lanes to end what is in flight.
    pub async fn run(mut self, mut orders: mpsc::Receiver<ToManager>) {
        let stop = self.shared.stop.clone();
        loop {
            self.look_at_due();
            self.tell_lanes();
            let due = self.entries.next_due().unwrap_or_else(|| Instant::now() + STANDING_LOOK);
            let may_order = self.outbox.len() < FACTS_WAITING_MAX;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(report) = self.back.recv() => self.handle_report(report),
                Some(look) = self.looks.join_next_with_id() => self.handle_look(look),
                Some(lane) = self.running.join_next() => {
                    if let Err(error) = lane {
                        self.handle_panic(&error);
                    }
                }
                Some(side) = self.refreshes.join_next() => tracing::trace!(?side, "metadata read"),
                is_read = has_room(&self.facts), if !self.outbox.is_empty() => match is_read {
                    true => self.tell_link(),
                    false => break,
                },
                () = self.lanes.room() => {}
                order = orders.recv(), if may_order => match order {
                    Some(order) => self.handle_order(order),
                    None => break,
                },
                () = sleep_until(due) => {}
            }
        }
        self.end().await;
    }

    /// Tells the link what there is room for; nobody else does.
    fn tell_link(&mut self) {
        while let Some(fact) = self.outbox.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(fact)) = self.facts.try_send(fact) {
                return self.outbox.push_front(fact);
            }
        }
    }

    async fn end(mut self) {
        self.looks.abort_all();
        self.refreshes.abort_all();
        self.lanes.close();
        // A lane that ends waits for room for its report.
        loop {
            tokio::select! {
                biased;
                Some(report) = self.back.recv() => self.handle_report(report),
                ended = self.running.join_next() => if ended.is_none() { break },
            }
        }
        while let Ok(report) = self.back.try_recv() {
            self.handle_report(report);
        }
    }

    fn handle_order(&mut self, order: ToManager) {
        match order {
            ToManager::Wanted(topics) => {
                topics.into_iter().for_each(|(topic, specs)| self.handle_wanted(&topic, specs));
            }
            ToManager::LeaveAll => self.entries.names().iter().for_each(|tp| self.unwant(tp)),
            ToManager::Release(name, how) => self.release(&name.mirror(), how),
            ToManager::Halt(halt) => {
                let specs = self.entries.iter().map(|(_, entry)| entry.spec.clone());
                let halted = specs.map(|spec| PartitionSpec { halt: Some(halt.clone()), ..spec });
                let halted: Vec<_> = halted.collect();
                halted.into_iter().for_each(|spec| self.meet(spec));
            }
            ToManager::Resume(name) => self.resume(&name.mirror()),
            ToManager::Doubt(tp) => self.recall(&tp),
        }
    }

    fn handle_wanted(&mut self, topic: &TopicName, specs: Vec<PartitionSpec>) {
        let wanted: BTreeSet<PartitionId> = specs.iter().map(|spec| spec.name.partition).collect();
        let held = self.entries.of_topic(topic).filter(|id| !wanted.contains(id));
        let gone: Vec<PartitionId> = held.collect();
        for partition in gone {
            self.unwant(&TopicPartition { topic: topic.clone(), partition });
        }
        for spec in specs {
            match self.entries.get(&spec.name.mirror()) {
                None => self.welcome(spec),
                Some(_) => self.meet(spec),
            }
        }
    }

    /// Begins a partition of which nobody holds anything.
    pub(super) fn welcome(&mut self, spec: PartitionSpec) {
        let tp = spec.name.mirror();
        let mut mirror = Box::new(PartitionMirror::new(spec.name.clone(), self.limits.clone()));
        mirror.set_takes(spec.takes.clone());
        if let Some(halt) = &spec.halt {
            mirror.handle_halt(halt.clone());
        }
        let cell = self.board.begin(&spec.name);
        cell.follow((spec.source_id, spec.destination_id));
        self.entries.insert(Entry::new(spec, cell, REST_MIN));
        self.stand(&tp, mirror, Instant::now());
    }

    /// What is wanted of a partition that there is.
    fn meet(&mut self, spec: PartitionSpec) {
        let tp = spec.name.mirror();
        let Some(entry) = self.entries.get_mut(&tp) else { return };
        if spec.incarnation < entry.spec.incarnation {
            return;
        }
        let is_released = matches!(entry.place, Place::Released(_));
        if spec.incarnation > entry.spec.incarnation {
            if is_released {
                self.entries.remove(&tp);
                return self.welcome(spec);
            }
            // Two machines of one partition must never be there at once.
            entry.next = Some(spec);
            return self.release(&tp, How::Leave);
        }
        if !is_released && entry.spec != spec {
            self.handle_changed(spec);
        }
    }

    fn handle_changed(&mut self, spec: PartitionSpec) {
        let tp = spec.name.mirror();
        let Some(entry) = self.entries.get_mut(&tp) else { return };
        let halt = spec.halt.clone();
        let was_halted = std::mem::replace(&mut entry.spec, spec).halt;
        match &mut entry.place {
            Place::InLane { .. } => self.recall(&tp),
            Place::Backoff { mirror, .. }
            | Place::Probing { mirror, .. }
            | Place::Halted { mirror, .. } => {
                mirror.set_takes(entry.spec.takes.clone());
                match halt {
                    Some(halt) => mirror.handle_halt(halt),
                    None if was_halted.is_some() => mirror.handle_order(Order::Resume),
                    None => {}
                }
                self.settle(&tp);
            }
            Place::Released(_) | Place::Moving => {}
        }
    }

    /// What stands still for a reason outside of its log goes on when that is gone.
    fn resume(&mut self, tp: &TopicPartition) {
        let entry = self.entries.get_mut(tp).filter(|entry| entry.spec.halt.is_none());
        if let Some(Place::Halted { mirror, .. }) = entry.map(|entry| &mut entry.place) {
            mirror.handle_order(Order::Resume);
            self.settle(tp);
        }
    }

    /// Has a partition come back from its lane, with nothing in flight.
    pub(super) fn recall(&mut self, tp: &TopicPartition) {
        let Some(entry) = self.entries.get_mut(tp) else { return };
        let Place::InLane { key, waiting } = &mut entry.place else { return };
        match waiting.take() {
            // The lane has not taken it yet.
            Some(mut member) => {
                member.mirror.handle_failed(Fault::Moved);
                self.come_back(tp, Box::new(member.mirror));
            }
            None => {
                let key = *key;
                entry.recalled = true;
                self.lanes.mark(key, tp);
            }
        }
    }

    /// Puts a machine that is held here where its state says, after something has changed.
    fn settle(&mut self, tp: &TopicPartition) {
        let until = match self.entries.get(tp).map(|entry| &entry.place) {
            Some(Place::Backoff { until, .. }) => *until,
            Some(Place::Halted { .. }) => Instant::now(),
            _ => return,
        };
        if let Some(mirror) = self.entries.take(tp) {
            self.stand(tp, mirror, until);
        }
    }

    /// Puts a machine that nobody holds where its state says: due at `until`, or halted, or let go
    /// where it is to be and nothing of it is on its way.
    pub(super) fn stand(
        &mut self,
        tp: &TopicPartition,
        mirror: Box<PartitionMirror>,
        until: Instant,
    ) {
        if mirror.halted().is_some() {
            self.tell_level(tp, false);
        }
        let Some(entry) = self.entries.get_mut(tp) else { return };
        let is_leaving = entry.leaving == Some(How::Leave);
        if is_leaving && entry.doubted.is_none() {
            return self.finish(tp, mirror.position());
        }
        if let Some(halt) = mirror.halted().filter(|halt| entry.told.as_ref() != Some(halt)) {
            let (name, reason) = (&entry.spec.name, halt.label());
            tracing::error!(link = %name.link, partition = %name, reason, "halted: {halt}");
            entry.told = Some(halt.clone());
        }
        entry.cell.publish(mirror.snapshot(self.shared.wall.now()));
        let place = match mirror.halted() {
            Some(_) if !is_leaving => {
                Place::Halted { mirror, until: Instant::now() + STANDING_LOOK }
            }
            _ => Place::Backoff { mirror, until },
        };
        self.entries.put(tp, place);
    }

    /// Lets a partition rest a while, longer each time that nothing was copied in between.
    pub(super) fn rest(&mut self, tp: &TopicPartition, mirror: Box<PartitionMirror>) {
        let Some(entry) = self.entries.get_mut(tp) else { return };
        let copied = mirror.copied().all_bytes();
        if copied > entry.copied {
            entry.rest = REST_MIN;
        }
        entry.copied = copied;
        let until = Instant::now() + entry.rest;
        entry.rest = (entry.rest * 2).min(REST_MAX);
        self.stand(tp, mirror, until);
    }

    pub(super) fn enter(
        &mut self,
        key: LaneKey,
        tp: &TopicPartition,
        mut mirror: Box<PartitionMirror>,
    ) {
        let Some(entry) = self.entries.get_mut(tp) else { return };
        tell_overtaken(&mut mirror);
        let source = entry.spec.name.source();
        let (_, epoch) =
            leader(&self.shared.source, &source).unwrap_or((key.source, LeaderEpoch::NONE));
        let member = LanePartition {
            mirror: *mirror,
            incarnation: entry.spec.incarnation,
            writer: self.shared.writer_of(&entry.spec),
            source_id: entry.spec.source_id,
            destination_id: entry.spec.destination_id,
            source_epoch: epoch,
            cell: entry.cell.clone(),
        };
        if !member.mirror.is_barred() {
            let (name, end) = (member.mirror.name(), member.mirror.position());
            let (link, source) = (&name.link, key.source);
            // one that drains beside a producer comes and goes, several times a second
            match entry.leaving {
                Some(How::Drain | How::DrainStable) => {
                    tracing::debug!(%link, partition = %name, ?end, %source, "mirroring");
                }
                _ => tracing::info!(%link, partition = %name, ?end, %source, "mirroring"),
            }
        }
        self.entries.put(tp, Place::InLane { key, waiting: Some(Box::new(member)) });
        self.open_lane(key, tp);
    }

    fn open_lane(&mut self, key: LaneKey, tp: &TopicPartition) {
        let (shared, running) = (&self.shared, &mut self.running);
        self.lanes
            .enter(key, tp, |orders| running.spawn(lane::run(key, shared.clone(), orders)).id());
    }

    /// Tells the lanes what there is room for.
    fn tell_lanes(&mut self) {
        for (key, tp) in self.lanes.take_ended() {
            let place = self.entries.get(&tp).map(|entry| &entry.place);
            // Another lane takes the place of one that ended before it took the partition.
            if matches!(place, Some(Place::InLane { waiting: Some(_), .. })) {
                self.open_lane(key, &tp);
            }
        }
        let entries = &mut self.entries;
        self.lanes.flush(|tp, task| order_of(entries.get_mut(tp)?, task));
    }

    fn handle_report(&mut self, report: FromLane) {
        if let Some(Err(error)) = &report.ended {
            tracing::info!(lane = ?report.key, %error, "a lane has ended");
            self.refresh(error.peer.side);
        }
        for member in report.partitions {
            let tp = member.mirror.name().mirror();
            let entry = self.entries.get(&tp).filter(|entry| {
                let is_there = matches!(entry.place, Place::InLane { waiting: None, .. });
                is_there && entry.spec.incarnation == member.incarnation
            });
            match entry {
                Some(_) => self.come_back(&tp, Box::new(member.mirror)),
                None => {
                    let (name, number) = (member.mirror.name(), member.incarnation);
                    let text = "came back late: it was replaced";
                    tracing::warn!(link = %name.link, partition = %name, %number, "{text}");
                }
            }
        }
    }

    /// A machine has left its lane, or never got there.
    fn come_back(&mut self, tp: &TopicPartition, mut mirror: Box<PartitionMirror>) {
        let Some(entry) = self.entries.get_mut(tp) else { return };
        (entry.lane, entry.recalled) = (None, false);
        mirror.set_takes(entry.spec.takes.clone());
        self.note_read(tp, &mut mirror);
        let Some(entry) = self.entries.get_mut(tp) else { return };
        // What the lane was told may have crossed what came back.
        match (&entry.spec.halt, entry.ordered.take()) {
            (Some(halt), _) => mirror.handle_halt(halt.clone()),
            (None, Some(ordered)) if mirror.halted() == Some(&ordered) => {
                mirror.handle_order(Order::Resume);
            }
            (None, _) => {}
        }
        if mirror.is_unknown() {
            entry.doubted.get_or_insert_with(Instant::now);
        }
        if mirror.needs_refresh() {
            self.refresh(Side::Source);
            self.refresh(Side::Destination);
        }
        self.rest(tp, mirror);
    }

    /// A bug ended a task and took its machines along: those partitions stand still and say so.
    pub(super) fn handle_panic(&mut self, error: &JoinError) {
        tracing::error!(%error, "a task of the partition manager ended in a panic");
        let look = self.looking.remove(&error.id());
        let lost = |entry: &Entry| match &entry.place {
            Place::InLane { waiting: None, .. } => entry.lane == Some(error.id()),
            Place::Probing { look: at, .. } => look == Some(*at),
            _ => false,
        };
        let lost = self.entries.iter().filter(|(_, entry)| lost(entry));
        let lost: Vec<TopicPartition> = lost.map(|(tp, _)| tp.clone()).collect();
        for tp in lost {
            let Some(entry) = self.entries.get_mut(&tp) else { continue };
            entry.doubted.get_or_insert_with(Instant::now);
            entry.read_from(None);
            let name = entry.spec.name.clone();
            let mut mirror = Box::new(PartitionMirror::new(name, self.limits.clone()));
            mirror.handle_halt(Halt::Panicked);
            self.rest(&tp, mirror);
        }
    }
}

/// Waits for room; `false` where nobody reads any more.
async fn has_room(facts: &mpsc::Sender<Fact>) -> bool {
    facts.reserve().await.is_ok()
}
