//! The partitions of one link: which one is in which lane, and what becomes of it between lanes.
//!
//! It never touches record bytes and never decides whether a partition may append: it asks both
//! clusters (`probe`), hands the facts to the partition machine, and puts it into a lane.
//!
//! ```text
//!  ─ wanted ─▶ Backoff ──due──▶ Probing ──facts──▶ InLane ──▶ (lane) ──left──▶ Backoff
//!                 ▲                │ trouble          │ halted
//!                 └────────────────┴──────────────────┴──▶ Halted ──▶ looked at again, or never
//! ```

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::sleep_until;

use crate::cluster::Wanted;
use crate::flow::entry::Entry;
use crate::flow::entry::NOWHERE;
use crate::flow::entry::NotNow;
use crate::flow::entry::PartitionSpec;
use crate::flow::entry::Place;
use crate::flow::entry::ToManager;
use crate::flow::entry::case;
use crate::flow::entry::leader;
use crate::flow::entry::may_resolve;
use crate::flow::lane;
use crate::flow::lane::FromLane;
use crate::flow::lane::LaneKey;
use crate::flow::lane::ToLane;
use crate::flow::lane::members::LanePartition;
use crate::flow::probe::Case;
use crate::flow::probe::Found;
use crate::flow::probe::Trouble;
use crate::flow::probe::probe;
use crate::flow::shared::Shared;
use crate::flow::stats::Board;
use crate::ids::LeaderEpoch;
use crate::ids::Side;
use crate::ids::TopicPartition;
use crate::mirror::facts::Limits;
use crate::mirror::facts::Order;
use crate::mirror::halt::Halt;
use crate::mirror::partition::PartitionMirror;
use crate::wire::error::Remedy;

/// How many partitions are looked at in one round trip.
const GROUP_MAX: usize = 64;
/// The first pause before a partition is looked at again.
const REST_MIN: Duration = Duration::from_millis(100);
/// The longest.
const REST_MAX: Duration = Duration::from_secs(10);
/// How often a halt that may resolve itself is looked at again.
const STANDING_LOOK: Duration = Duration::from_secs(10);
/// No more often than this is the metadata of a side read again on account of trouble.
const REFRESH_PAUSE: Duration = Duration::from_millis(250);

/// The partition manager.
pub struct PartitionManager {
    shared: Shared,
    board: Arc<Board>,
    limits: Limits,
    entries: BTreeMap<TopicPartition, Entry>,
    lanes: BTreeMap<LaneKey, mpsc::UnboundedSender<ToLane>>,
    looks: JoinSet<(LaneKey, Found)>,
    /// Who is looked at by which task.
    looking: HashMap<tokio::task::Id, BTreeSet<TopicPartition>>,
    running: JoinSet<()>,
    back: mpsc::UnboundedReceiver<FromLane>,
    /// When each side's metadata was read on account of trouble; a reading is under way.
    refreshes: JoinSet<Side>,
    refreshing: BTreeMap<Side, Instant>,
}

impl PartitionManager {
    /// Nothing is wanted yet; `back` is the other end of `shared.back`.
    pub fn new(
        shared: Shared,
        back: mpsc::UnboundedReceiver<FromLane>,
        board: Arc<Board>,
        limits: Limits,
    ) -> PartitionManager {
        PartitionManager {
            shared,
            board,
            limits,
            entries: BTreeMap::new(),
            lanes: BTreeMap::new(),
            looks: JoinSet::new(),
            looking: HashMap::new(),
            running: JoinSet::new(),
            back,
            refreshes: JoinSet::new(),
            refreshing: BTreeMap::new(),
        }
    }

    /// Runs until the link's stop token, then waits for the lanes to end what is in flight.
    pub async fn run(mut self, mut orders: mpsc::Receiver<ToManager>) {
        let stop = self.shared.stop.clone();
        loop {
            self.look_at_due();
            let due = self.next_due();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(report) = self.back.recv() => self.handle_report(report),
                Some(look) = self.looks.join_next_with_id() => match look {
                    Ok((task, (key, found))) => {
                        self.looking.remove(&task);
                        self.handle_found(key, found);
                    }
                    Err(error) => self.handle_panic(&error),
                },
                Some(lane) = self.running.join_next() => {
                    if let Err(error) = lane {
                        self.handle_panic(&error);
                    }
                }
                Some(side) = self.refreshes.join_next() => tracing::trace!(?side, "metadata read"),
                order = orders.recv() => match order {
                    Some(order) => self.handle_order(order),
                    None => break,
                },
                () = sleep_until(due) => {}
            }
        }
        self.looks.abort_all();
        self.refreshes.abort_all();
        self.lanes.clear();
        while self.running.join_next().await.is_some() {}
        while let Ok(report) = self.back.try_recv() {
            self.handle_report(report);
        }
    }

    fn handle_order(&mut self, order: ToManager) {
        match order {
            ToManager::Wanted(specs) => self.handle_wanted(specs),
            ToManager::Halt(halt) => {
                let specs = self.entries.values().map(|entry| entry.spec.clone());
                let halted =
                    specs.map(|spec| PartitionSpec { halt: Some(halt.clone()), ..spec }).collect();
                self.handle_wanted(halted);
            }
            ToManager::Resume(tp) => self.order(tp, Order::Resume),
            ToManager::FillTail(tp) => self.order(tp, Order::FillTail),
        }
    }

    fn handle_wanted(&mut self, specs: Vec<PartitionSpec>) {
        let wanted: BTreeMap<_, _> = specs.into_iter().map(|w| (w.tp.clone(), w)).collect();
        let gone: Vec<_> =
            self.entries.keys().filter(|tp| !wanted.contains_key(tp)).cloned().collect();
        gone.iter().for_each(|tp| self.let_go(tp));
        for (tp, spec) in wanted {
            match self.entries.get_mut(&tp) {
                None => self.welcome(spec),
                Some(entry) if entry.spec != spec => self.handle_changed(spec),
                Some(_) => {}
            }
        }
    }

    fn welcome(&mut self, spec: PartitionSpec) {
        let mut mirror = Box::new(PartitionMirror::new(spec.tp.clone(), self.limits.clone()));
        mirror.set_takes(spec.takes.clone());
        let cell = self.board.cell(&spec.tp);
        cell.follow(spec.source_id);
        let until = Instant::now();
        if let Some(halt) = &spec.halt {
            mirror.handle_halt(halt.clone());
        }
        let tp = spec.tp.clone();
        let place = Place::Backoff { mirror, until };
        self.entries
            .insert(tp.clone(), Entry { spec, cell, place, rest: REST_MIN, told: None, copied: 0 });
        self.settle(&tp);
    }

    fn handle_changed(&mut self, spec: PartitionSpec) {
        let Some(entry) = self.entries.get_mut(&spec.tp) else { return };
        let tp = spec.tp.clone();
        let halt = spec.halt.clone();
        let was_halted = std::mem::replace(&mut entry.spec, spec).halt;
        let takes = entry.spec.takes.clone();
        entry.cell.follow(entry.spec.source_id);
        match &mut entry.place {
            Place::InLane(key) => {
                let order = match halt {
                    Some(halt) => ToLane::Halt(tp, halt),
                    None => ToLane::Leave(tp),
                };
                if let Some(lane) = self.lanes.get(key) {
                    let _ = lane.send(order);
                }
            }
            Place::Backoff { mirror, .. }
            | Place::Probing { mirror }
            | Place::Halted { mirror, .. } => {
                mirror.set_takes(takes);
                match halt {
                    Some(halt) => mirror.handle_halt(halt),
                    None if was_halted.is_some() => mirror.handle_order(Order::Resume),
                    None => {}
                }
                self.settle(&tp);
            }
        }
    }

    fn let_go(&mut self, tp: &TopicPartition) {
        let Some(entry) = self.entries.remove(tp) else { return };
        if let Place::InLane(key) = entry.place
            && let Some(lane) = self.lanes.get(&key)
        {
            let _ = lane.send(ToLane::Leave(tp.clone()));
        }
        self.board.forget(tp);
    }

    fn order(&mut self, tp: TopicPartition, order: Order) {
        match self.entries.get_mut(&tp).map(|entry| &mut entry.place) {
            Some(Place::InLane(key)) => {
                if let Some(lane) = self.lanes.get(key) {
                    let _ = lane.send(ToLane::Order(tp, order));
                }
            }
            Some(
                Place::Halted { mirror, .. }
                | Place::Backoff { mirror, .. }
                | Place::Probing { mirror },
            ) => {
                mirror.handle_order(order);
                self.settle(&tp);
            }
            None => {}
        }
    }

    /// Puts a machine that is in nobody's hands where its state says.
    fn settle(&mut self, tp: &TopicPartition) {
        let now = Instant::now();
        let Some(entry) = self.entries.get_mut(tp) else { return };
        let placeholder = Place::InLane(NOWHERE);
        let place = std::mem::replace(&mut entry.place, placeholder);
        entry.place = match place {
            Place::Backoff { mirror, .. } | Place::Halted { mirror, .. }
                if mirror.halted().is_some() =>
            {
                Place::Halted { mirror, until: now + STANDING_LOOK }
            }
            Place::Halted { mirror, .. } => Place::Backoff { mirror, until: now },
            other => other,
        };
        if let Place::Backoff { mirror, .. } | Place::Halted { mirror, .. } = &entry.place {
            if let Some(halt) = mirror.halted().filter(|halt| entry.told.as_ref() != Some(halt)) {
                tracing::error!(partition = %tp, reason = halt.label(), "halted: {halt}");
                entry.told = Some(halt.clone());
            }
            entry.cell.publish(mirror.snapshot(self.shared.wall.now()));
        }
    }

    /// Lets a partition rest a while, longer each time that nothing was copied in between.
    fn rest(&mut self, tp: &TopicPartition, mirror: Box<PartitionMirror>) {
        let Some(entry) = self.entries.get_mut(tp) else { return };
        let copied = mirror.copied().all_bytes();
        if copied > entry.copied {
            entry.rest = REST_MIN;
        }
        entry.copied = copied;
        let until = Instant::now() + entry.rest;
        entry.rest = (entry.rest * 2).min(REST_MAX);
        entry.place = Place::Backoff { mirror, until };
        self.settle(tp);
    }

    fn next_due(&self) -> Instant {
        let due = self.entries.values().filter_map(|entry| match &entry.place {
            Place::Backoff { until, .. } => Some(*until),
            Place::Halted { until, mirror } if may_resolve(mirror, &entry.spec) => Some(*until),
            _ => None,
        });
        due.min().unwrap_or_else(|| Instant::now() + STANDING_LOOK)
    }

    fn look_at_due(&mut self) {
        let now = Instant::now();
        let mut groups: BTreeMap<LaneKey, Vec<Case>> = BTreeMap::new();
        let mut stuck = Vec::new();
        for (tp, entry) in &mut self.entries {
            let mut wants = (false, false);
            let due = match &mut entry.place {
                Place::Backoff { until, mirror } => {
                    wants = (mirror.wants_far_look(), mirror.wants_tail_look());
                    *until <= now
                }
                Place::Halted { until, mirror } => {
                    let again = *until <= now && may_resolve(mirror, &entry.spec);
                    if again {
                        mirror.handle_order(Order::Resume);
                    }
                    again
                }
                _ => false,
            };
            if !due {
                continue;
            }
            match case(&self.shared, &entry.spec, wants) {
                Ok((key, case)) => groups.entry(key).or_default().push(case),
                Err(why) => stuck.push((tp.clone(), why)),
            }
        }
        for (tp, why) in stuck {
            let Some(mut mirror) = self.take(&tp) else { continue };
            match why {
                NotNow::Leaderless(side) => {
                    let text = format!("the {side} names no leader of it");
                    mirror.note_trouble("LEADER_NOT_AVAILABLE", text);
                    self.refresh(side);
                }
                NotNow::Never(halt) => mirror.handle_halt(halt),
            }
            self.rest(&tp, mirror);
        }
        for (key, cases) in groups {
            for group in cases.chunks(GROUP_MAX) {
                self.look(key, group.to_vec());
            }
        }
    }

    /// A bug ended a task and took its machines along: those partitions stand still and say so.
    fn handle_panic(&mut self, error: &JoinError) {
        tracing::error!(%error, "a task of the partition manager ended in a panic");
        self.lanes.retain(|_, lane| !lane.is_closed());
        self.looking.retain(|task, _| *task != error.id());
        let lost = |entry: &Entry| match &entry.place {
            Place::InLane(key) => !self.lanes.contains_key(key),
            Place::Probing { .. } => !self.looking.values().any(|tps| tps.contains(&entry.spec.tp)),
            _ => false,
        };
        let lost = self.entries.iter().filter(|(_, entry)| lost(entry));
        let lost: Vec<TopicPartition> = lost.map(|(tp, _)| tp.clone()).collect();
        for tp in lost {
            let mut mirror = Box::new(PartitionMirror::new(tp.clone(), self.limits.clone()));
            mirror.handle_halt(Halt::Panicked);
            self.rest(&tp, mirror);
        }
    }

    fn look(&mut self, key: LaneKey, cases: Vec<Case>) {
        for case in &cases {
            if let Some(mirror) = self.take(&case.tp)
                && let Some(entry) = self.entries.get_mut(&case.tp)
            {
                entry.place = Place::Probing { mirror };
            }
        }
        let shared = self.shared.clone();
        let tps = cases.iter().map(|case| case.tp.clone()).collect();
        let task = self.looks.spawn(async move { (key, probe(&shared, key, cases).await) });
        self.looking.insert(task.id(), tps);
    }

    /// Takes the machine out of a place that holds one.
    fn take(&mut self, tp: &TopicPartition) -> Option<Box<PartitionMirror>> {
        let entry = self.entries.get_mut(tp)?;
        match std::mem::replace(&mut entry.place, Place::InLane(NOWHERE)) {
            Place::Backoff { mirror, .. }
            | Place::Probing { mirror }
            | Place::Halted { mirror, .. } => Some(mirror),
            in_lane => {
                entry.place = in_lane;
                None
            }
        }
    }

    fn handle_found(&mut self, key: LaneKey, found: Found) {
        for (tp, one) in found {
            let looking = self.entries.get(&tp).map(|entry| &entry.place);
            if !matches!(looking, Some(Place::Probing { .. })) {
                continue; // let go meanwhile
            }
            let Some(mut mirror) = self.take(&tp) else { continue };
            match one {
                Ok(facts) => mirror.handle_prepared(self.shared.wall.now(), &facts),
                Err(trouble) => self.handle_trouble(&mut mirror, &trouble),
            }
            if mirror.is_mirroring() {
                self.enter(key, &tp, mirror);
            } else {
                self.rest(&tp, mirror);
            }
        }
    }

    fn handle_trouble(&mut self, mirror: &mut PartitionMirror, trouble: &Trouble) {
        let (side, remedy, label, text) = match trouble {
            Trouble::Cluster(error) => {
                (error.peer.side, error.remedy(), "UNAVAILABLE", error.to_string())
            }
            Trouble::Code(side, code) => {
                (*side, code.remedy(), code.name(), format!("the {side} says {code}"))
            }
        };
        tracing::debug!(partition = %mirror.tp(), %text, "a look at both logs failed");
        mirror.note_trouble(label, text);
        if matches!(remedy, Remedy::Refresh | Remedy::Redial) {
            self.refresh(side);
        }
    }

    fn enter(&mut self, key: LaneKey, tp: &TopicPartition, mirror: Box<PartitionMirror>) {
        let Some(entry) = self.entries.get_mut(tp) else { return };
        entry.place = Place::InLane(key);
        let (_, epoch) = leader(&self.shared.source, tp).unwrap_or((key.source, LeaderEpoch::NONE));
        let member = LanePartition {
            mirror: *mirror,
            source_id: entry.spec.source_id,
            destination_id: entry.spec.destination_id,
            source_epoch: epoch,
            cell: entry.cell.clone(),
        };
        tracing::info!(partition = %tp, end = ?member.mirror.position(), "mirroring");
        let order = ToLane::Add(Box::new(member));
        let Err(mpsc::error::SendError(order)) = self.lane(key).send(order) else { return };
        // The lane has just ended: another takes its place.
        self.lanes.remove(&key);
        let _ = self.lane(key).send(order);
    }

    fn lane(&mut self, key: LaneKey) -> &mpsc::UnboundedSender<ToLane> {
        let (shared, running) = (&self.shared, &mut self.running);
        self.lanes.entry(key).or_insert_with(|| {
            let (orders, rx) = mpsc::unbounded_channel();
            running.spawn(lane::run(key, shared.clone(), rx));
            orders
        })
    }

    fn handle_report(&mut self, report: FromLane) {
        match report.ended {
            None => {}
            Some(ended) => {
                self.lanes.retain(|key, lane| *key != report.key || !lane.is_closed());
                if let Err(error) = ended {
                    tracing::info!(lane = ?report.key, %error, "a lane has ended");
                    self.refresh(error.peer.side);
                }
            }
        }
        for member in report.members {
            let tp = member.mirror.tp().clone();
            let Some(entry) = self.entries.get_mut(&tp) else { continue };
            let mut mirror = Box::new(member.mirror);
            mirror.set_takes(entry.spec.takes.clone());
            if mirror.needs_refresh() {
                self.refresh(Side::Source);
                self.refresh(Side::Destination);
            }
            self.rest(&tp, mirror);
        }
    }

    /// Reads a side's metadata again, soon, once.
    fn refresh(&mut self, side: Side) {
        let now = Instant::now();
        let began = self.refreshing.get(&side);
        if began.is_some_and(|began| now.duration_since(*began) < REFRESH_PAUSE) {
            return;
        }
        self.refreshing.insert(side, now);
        let cluster = match side {
            Side::Source => self.shared.source.clone(),
            Side::Destination => self.shared.destination.clone(),
        };
        self.refreshes.spawn(async move {
            if let Err(error) = cluster.refresh(Wanted::All).await {
                tracing::debug!(%error, "metadata could not be read");
            }
            side
        });
    }
}
