//! The belt of one link: which partition is in which lane, and what becomes of it between lanes.
//!
//! It never touches record bytes and never decides whether a partition may append: it asks both
//! clusters (`prepare`), hands the facts to the partition machine, and seats it.
//!
//! ```text
//!  ─ wanted ─▶ Resting ──due──▶ Looking ──facts──▶ Seated ──▶ (lane) ──left──▶ Resting
//!                 ▲                │ trouble          │ halted
//!                 └────────────────┴──────────────────┴──▶ Standing ──▶ looked at again, or never
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
use crate::flow::guest::Guest;
use crate::flow::guest::NOWHERE;
use crate::flow::guest::NotNow;
use crate::flow::guest::Place;
use crate::flow::guest::ToBelt;
use crate::flow::guest::Wish;
use crate::flow::guest::case;
use crate::flow::guest::leader;
use crate::flow::guest::may_resolve;
use crate::flow::lane;
use crate::flow::lane::FromLane;
use crate::flow::lane::LaneKey;
use crate::flow::lane::Shared;
use crate::flow::lane::ToLane;
use crate::flow::prepare::Case;
use crate::flow::prepare::Found;
use crate::flow::prepare::Trouble;
use crate::flow::prepare::prepare;
use crate::flow::seat::Seat;
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

/// The belt.
pub struct Belt {
    shared: Shared,
    board: Arc<Board>,
    limits: Limits,
    guests: BTreeMap<TopicPartition, Guest>,
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

impl Belt {
    /// An empty belt; `back` is the other end of `shared.back`.
    pub fn new(
        shared: Shared,
        back: mpsc::UnboundedReceiver<FromLane>,
        board: Arc<Board>,
        limits: Limits,
    ) -> Belt {
        Belt {
            shared,
            board,
            limits,
            guests: BTreeMap::new(),
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
    pub async fn run(mut self, mut orders: mpsc::Receiver<ToBelt>) {
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

    fn handle_order(&mut self, order: ToBelt) {
        match order {
            ToBelt::Wanted(wishes) => self.handle_wanted(wishes),
            ToBelt::Halt(halt) => {
                let wishes = self.guests.values().map(|guest| guest.wish.clone());
                let halted = wishes.map(|wish| Wish { halt: Some(halt.clone()), ..wish }).collect();
                self.handle_wanted(halted);
            }
            ToBelt::Resume(tp) => self.order(tp, Order::Resume),
            ToBelt::FillTail(tp) => self.order(tp, Order::FillTail),
        }
    }

    fn handle_wanted(&mut self, wishes: Vec<Wish>) {
        let wanted: BTreeMap<_, _> = wishes.into_iter().map(|w| (w.tp.clone(), w)).collect();
        let gone: Vec<_> =
            self.guests.keys().filter(|tp| !wanted.contains_key(tp)).cloned().collect();
        gone.iter().for_each(|tp| self.let_go(tp));
        for (tp, wish) in wanted {
            match self.guests.get_mut(&tp) {
                None => self.welcome(wish),
                Some(guest) if guest.wish != wish => self.handle_changed(wish),
                Some(_) => {}
            }
        }
    }

    fn welcome(&mut self, wish: Wish) {
        let mut mirror = Box::new(PartitionMirror::new(wish.tp.clone(), self.limits.clone()));
        mirror.set_takes(wish.takes.clone());
        let cell = self.board.cell(&wish.tp);
        cell.follow(wish.source_id);
        let until = Instant::now();
        if let Some(halt) = &wish.halt {
            mirror.handle_halt(halt.clone());
        }
        let tp = wish.tp.clone();
        let place = Place::Resting { mirror, until };
        self.guests
            .insert(tp.clone(), Guest { wish, cell, place, rest: REST_MIN, told: None, copied: 0 });
        self.settle(&tp);
    }

    fn handle_changed(&mut self, wish: Wish) {
        let Some(guest) = self.guests.get_mut(&wish.tp) else { return };
        let tp = wish.tp.clone();
        let halt = wish.halt.clone();
        let was_halted = std::mem::replace(&mut guest.wish, wish).halt;
        let takes = guest.wish.takes.clone();
        guest.cell.follow(guest.wish.source_id);
        match &mut guest.place {
            Place::Seated(key) => {
                let order = match halt {
                    Some(halt) => ToLane::Halt(tp, halt),
                    None => ToLane::Leave(tp),
                };
                if let Some(lane) = self.lanes.get(key) {
                    let _ = lane.send(order);
                }
            }
            Place::Resting { mirror, .. }
            | Place::Looking { mirror }
            | Place::Standing { mirror, .. } => {
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
        let Some(guest) = self.guests.remove(tp) else { return };
        if let Place::Seated(key) = guest.place
            && let Some(lane) = self.lanes.get(&key)
        {
            let _ = lane.send(ToLane::Leave(tp.clone()));
        }
        self.board.forget(tp);
    }

    fn order(&mut self, tp: TopicPartition, order: Order) {
        match self.guests.get_mut(&tp).map(|guest| &mut guest.place) {
            Some(Place::Seated(key)) => {
                if let Some(lane) = self.lanes.get(key) {
                    let _ = lane.send(ToLane::Order(tp, order));
                }
            }
            Some(
                Place::Standing { mirror, .. }
                | Place::Resting { mirror, .. }
                | Place::Looking { mirror },
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
        let Some(guest) = self.guests.get_mut(tp) else { return };
        let placeholder = Place::Seated(NOWHERE);
        let place = std::mem::replace(&mut guest.place, placeholder);
        guest.place = match place {
            Place::Resting { mirror, .. } | Place::Standing { mirror, .. }
                if mirror.halted().is_some() =>
            {
                Place::Standing { mirror, until: now + STANDING_LOOK }
            }
            Place::Standing { mirror, .. } => Place::Resting { mirror, until: now },
            other => other,
        };
        if let Place::Resting { mirror, .. } | Place::Standing { mirror, .. } = &guest.place {
            if let Some(halt) = mirror.halted().filter(|halt| guest.told.as_ref() != Some(halt)) {
                tracing::error!(partition = %tp, reason = halt.label(), "halted: {halt}");
                guest.told = Some(halt.clone());
            }
            guest.cell.publish(mirror.snapshot(self.shared.wall.now()));
        }
    }

    /// Lets a partition rest a while, longer each time that nothing was copied in between.
    fn rest(&mut self, tp: &TopicPartition, mirror: Box<PartitionMirror>) {
        let Some(guest) = self.guests.get_mut(tp) else { return };
        let copied = mirror.copied().all_bytes();
        if copied > guest.copied {
            guest.rest = REST_MIN;
        }
        guest.copied = copied;
        let until = Instant::now() + guest.rest;
        guest.rest = (guest.rest * 2).min(REST_MAX);
        guest.place = Place::Resting { mirror, until };
        self.settle(tp);
    }

    fn next_due(&self) -> Instant {
        let due = self.guests.values().filter_map(|guest| match &guest.place {
            Place::Resting { until, .. } => Some(*until),
            Place::Standing { until, mirror } if may_resolve(mirror, &guest.wish) => Some(*until),
            _ => None,
        });
        due.min().unwrap_or_else(|| Instant::now() + STANDING_LOOK)
    }

    fn look_at_due(&mut self) {
        let now = Instant::now();
        let mut groups: BTreeMap<LaneKey, Vec<Case>> = BTreeMap::new();
        let mut stuck = Vec::new();
        for (tp, guest) in &mut self.guests {
            let mut wants = (false, false);
            let due = match &mut guest.place {
                Place::Resting { until, mirror } => {
                    wants = (mirror.wants_far_look(), mirror.wants_tail_look());
                    *until <= now
                }
                Place::Standing { until, mirror } => {
                    let again = *until <= now && may_resolve(mirror, &guest.wish);
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
            match case(&self.shared, &guest.wish, wants) {
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
        tracing::error!(%error, "a task of the belt ended in a panic");
        self.lanes.retain(|_, lane| !lane.is_closed());
        self.looking.retain(|task, _| *task != error.id());
        let lost = |guest: &Guest| match &guest.place {
            Place::Seated(key) => !self.lanes.contains_key(key),
            Place::Looking { .. } => !self.looking.values().any(|tps| tps.contains(&guest.wish.tp)),
            _ => false,
        };
        let lost = self.guests.iter().filter(|(_, guest)| lost(guest));
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
                && let Some(guest) = self.guests.get_mut(&case.tp)
            {
                guest.place = Place::Looking { mirror };
            }
        }
        let shared = self.shared.clone();
        let tps = cases.iter().map(|case| case.tp.clone()).collect();
        let task = self.looks.spawn(async move { (key, prepare(&shared, key, cases).await) });
        self.looking.insert(task.id(), tps);
    }

    /// Takes the machine out of a place that holds one.
    fn take(&mut self, tp: &TopicPartition) -> Option<Box<PartitionMirror>> {
        let guest = self.guests.get_mut(tp)?;
        match std::mem::replace(&mut guest.place, Place::Seated(NOWHERE)) {
            Place::Resting { mirror, .. }
            | Place::Looking { mirror }
            | Place::Standing { mirror, .. } => Some(mirror),
            seated => {
                guest.place = seated;
                None
            }
        }
    }

    fn handle_found(&mut self, key: LaneKey, found: Found) {
        for (tp, one) in found {
            let looking = self.guests.get(&tp).map(|guest| &guest.place);
            if !matches!(looking, Some(Place::Looking { .. })) {
                continue; // let go meanwhile
            }
            let Some(mut mirror) = self.take(&tp) else { continue };
            match one {
                Ok(facts) => mirror.handle_prepared(self.shared.wall.now(), &facts),
                Err(trouble) => self.handle_trouble(&mut mirror, &trouble),
            }
            if mirror.is_mirroring() {
                self.seat(key, &tp, mirror);
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

    fn seat(&mut self, key: LaneKey, tp: &TopicPartition, mirror: Box<PartitionMirror>) {
        let Some(guest) = self.guests.get_mut(tp) else { return };
        guest.place = Place::Seated(key);
        let (_, epoch) = leader(&self.shared.source, tp).unwrap_or((key.source, LeaderEpoch::NONE));
        let seat = Seat {
            mirror: *mirror,
            source_id: guest.wish.source_id,
            destination_id: guest.wish.destination_id,
            source_epoch: epoch,
            cell: guest.cell.clone(),
        };
        tracing::info!(partition = %tp, end = ?seat.mirror.position(), "mirroring");
        let order = ToLane::Add(Box::new(seat));
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
        for seat in report.seats {
            let tp = seat.mirror.tp().clone();
            let Some(guest) = self.guests.get_mut(&tp) else { continue };
            let mut mirror = Box::new(seat.mirror);
            mirror.set_takes(guest.wish.takes.clone());
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
