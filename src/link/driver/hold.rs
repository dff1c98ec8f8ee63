//! Holds what flow copies of a commanded link: tells its partition manager what is wanted, and the
//! control machine what has become of it.
//!
//! It never says that a partition was let go before its manager has, and never has two managers:
//! with other settings everything is let go first, acknowledged, and begun anew.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::Interval;
use tokio::time::MissedTickBehavior;
use tokio::time::interval;

use crate::control::facts::Flowed;
use crate::control::facts::Mode;
use crate::control::facts::TopicSpec;
use crate::control::topic::Fault;
use crate::flow::entry::PartitionSpec;
use crate::flow::entry::Released;
use crate::flow::entry::ToManager;
use crate::ids::Incarnation;
use crate::ids::LinkName;
use crate::ids::MirrorPartition;
use crate::ids::PartitionId;
use crate::ids::TopicName;
use crate::link::copying;
use crate::link::copying::Copying;
use crate::link::driver::ctx::Ctx;
use crate::link::driver::ctx::Session;
use crate::link::driver::ctx::lock;
use crate::link::driver::takes;
use crate::link::driver::takes::Taken;
use crate::link::driver::takes::Told;

/// How often what is halted is looked at, and what the destination takes, where that is due.
const TICK: Duration = Duration::from_secs(1);

type Place = (TopicName, PartitionId);

struct Holder {
    ctx: Arc<Ctx>,
    sessions: watch::Receiver<Option<Arc<Session>>>,
    /// What is wanted, by the mirror's name.
    specs: BTreeMap<TopicName, TopicSpec>,
    /// What the destination takes of each, once it has told.
    taken: BTreeMap<TopicName, Taken>,
    describing: JoinSet<Told>,
    /// What the manager was told of and has not let go, under which number.
    given: BTreeMap<Place, Incarnation>,
    /// Of those, what was told to be halted.
    halted: BTreeMap<Place, Fault>,
    copying: Option<(Arc<Session>, Copying)>,
    released: Option<mpsc::Receiver<Released>>,
    /// The manager is to be told what is wanted.
    is_stale: bool,
    resumes: VecDeque<MirrorPartition>,
    /// The manager ended before it was told to: nobody knows what is on its way.
    is_lost: bool,
}

/// What comes next.
enum Turn {
    Stop,
    Specs(VecDeque<(TopicName, Option<TopicSpec>)>),
    Session,
    Told(Result<Told, JoinError>),
    Released(Released),
    /// There is room for an order.
    Room,
    Tick,
    /// The manager has ended.
    Ended,
}

/// Until the link's stop token; what is in flight is answered first.
pub(super) async fn keep(ctx: Arc<Ctx>) {
    let holder = Holder {
        sessions: ctx.session.subscribe(),
        ctx,
        specs: BTreeMap::new(),
        taken: BTreeMap::new(),
        describing: JoinSet::new(),
        given: BTreeMap::new(),
        halted: BTreeMap::new(),
        copying: None,
        released: None,
        is_stale: false,
        resumes: VecDeque::new(),
        is_lost: false,
    };
    holder.run().await;
}

impl Holder {
    async fn run(mut self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.follow_session().await;
            self.describe();
            match self.turn(&mut tick).await {
                Turn::Stop => break,
                Turn::Specs(specs) => {
                    for (topic, spec) in specs {
                        self.change(topic, spec).await;
                    }
                }
                Turn::Told(told) => self.take_in(told),
                Turn::Released(fact) => self.let_go(fact).await,
                Turn::Room => self.order(),
                Turn::Tick => self.tell_halts().await,
                Turn::Session => {}
                Turn::Ended => self.lose(),
            }
        }
        if let Some((_, copying)) = self.copying.take() {
            copying.end().await;
        }
    }

    async fn turn(&mut self, tick: &mut Interval) -> Turn {
        let has_orders = self.is_stale || !self.resumes.is_empty();
        tokio::select! {
            biased;
            () = self.ctx.stop.cancelled() => Turn::Stop,
            fact = next_released(&mut self.released) => fact.map_or(Turn::Ended, Turn::Released),
            specs = self.ctx.specs.take() => Turn::Specs(specs),
            _ = self.sessions.changed() => Turn::Session,
            Some(told) = self.describing.join_next() => Turn::Told(told),
            () = room(&self.copying), if has_orders => Turn::Room,
            _ = tick.tick() => Turn::Tick,
        }
    }

    /// Ends what was begun under other settings, and begins under those of now.
    async fn follow_session(&mut self) {
        let session = self.sessions.borrow_and_update().clone();
        let number = |session: &Session| session.number;
        let is = self.copying.as_ref().map(|(session, _)| number(session));
        if self.is_lost || is == session.as_deref().map(number) {
            return;
        }
        if self.copying.is_some() {
            self.end_copying().await;
        }
        let Some(session) = session.filter(|_| !self.ctx.stop.is_cancelled() && !self.is_lost)
        else {
            return;
        };
        let (ctx, both) = (&self.ctx, (&session.source, &self.ctx.destination));
        let begun = copying::begin(&ctx.link, &session.settings, &ctx.world, both, &ctx.stop).await;
        self.copying = Some((session, begun.0));
        self.released = Some(begun.1);
        self.is_stale = true;
    }

    /// Has everything let go, waits until it is, and ends the manager.
    async fn end_copying(&mut self) {
        let Some((session, copying)) = self.copying.take() else { return };
        *lock(&self.ctx.copied) = Arc::default();
        let mut is_told = false;
        while !is_told || !self.given.is_empty() {
            let fact = tokio::select! {
                biased;
                () = self.ctx.stop.cancelled() => break,
                fact = next_released(&mut self.released) => fact,
                room = copying.orders.reserve(), if !is_told => {
                    if let Ok(room) = room {
                        room.send(ToManager::Wanted(Vec::new()));
                    }
                    is_told = true;
                    continue;
                }
            };
            match fact {
                Some(fact) => self.let_go(fact).await,
                None => {
                    self.copying = Some((session, copying));
                    return self.lose();
                }
            }
        }
        self.released = None;
        copying.end().await;
    }

    /// What was on its way may arrive yet, and nobody waits for it: nothing is begun any more.
    fn lose(&mut self) {
        if self.ctx.stop.is_cancelled() {
            return;
        }
        let text = "the partition manager has ended, which is a fault of isolog: start it again";
        tracing::error!(link = %self.ctx.name, "{text}");
        self.ctx.set_wrong(Some(text.to_owned()));
        (self.is_lost, self.released) = (true, None);
    }

    async fn change(&mut self, topic: TopicName, spec: Option<TopicSpec>) {
        let before = self.specs.remove(&topic);
        if let Some(before) = &before {
            match &spec {
                Some(spec) if spec.incarnation == before.incarnation => {
                    if spec.attempt > before.attempt {
                        let all = spec.partitions.keys();
                        let name = |id: &PartitionId| name(&self.ctx.name, &topic, spec, *id);
                        self.resumes.extend(all.map(name));
                    }
                }
                _ => self.give_up(&topic, before).await,
            }
        }
        match spec {
            Some(spec) => drop(self.specs.insert(topic, spec)),
            None => drop(self.taken.remove(&topic)),
        }
        self.is_stale = true;
    }

    /// What the manager was never told of need not come back from it.
    async fn give_up(&self, topic: &TopicName, spec: &TopicSpec) {
        for partition in spec.partitions.keys() {
            if !self.given.contains_key(&(topic.clone(), *partition)) {
                let place = (topic, *partition);
                self.ctx.tell_flow(place, spec.incarnation, Flowed::Released).await;
            }
        }
    }

    /// The manager holds it no more, and nothing of it is on its way.
    async fn let_go(&mut self, fact: Released) {
        let place = (fact.name.mirror_topic.clone(), fact.name.partition);
        if self.given.get(&place) != Some(&fact.incarnation) {
            return;
        }
        self.given.remove(&place);
        self.halted.remove(&place);
        let end = fact.end.map(|end| end.get());
        tracing::info!(link = %self.ctx.name, partition = %fact.name, end, "let go");
        let wanted = self.specs.get(&place.0).filter(|spec| {
            spec.incarnation == fact.incarnation && spec.partitions.contains_key(&place.1)
        });
        match wanted {
            // it comes back under the settings of now
            Some(spec) if is_copied(spec) => self.is_stale = true,
            _ => {
                let place = (&place.0, place.1);
                self.ctx.tell_flow(place, fact.incarnation, Flowed::Released).await;
            }
        }
    }

    /// Gives the next order that there is room for.
    fn order(&mut self) {
        let Some((_, copying)) = &self.copying else { return };
        if !self.is_stale {
            if let Some(name) = self.resumes.pop_front()
                && let Err(mpsc::error::TrySendError::Full(ToManager::Resume(name))) =
                    copying.orders.try_send(ToManager::Resume(name))
            {
                self.resumes.push_front(name);
            }
            return;
        }
        let (specs, copied) = self.wanted();
        let given: Vec<(Place, Incarnation)> = specs
            .iter()
            .map(|spec| ((spec.name.mirror_topic.clone(), spec.name.partition), spec.incarnation))
            .collect();
        if copying.orders.try_send(ToManager::Wanted(specs)).is_ok() {
            self.given.extend(given);
            self.is_stale = false;
            *lock(&self.ctx.copied) = Arc::new(copied);
        }
    }

    /// All that the manager is to hold, and which topics nothing outside of the log stops.
    fn wanted(&self) -> (Vec<PartitionSpec>, BTreeMap<TopicName, TopicSpec>) {
        let (mut specs, mut copied) = (Vec::new(), BTreeMap::new());
        for (topic, spec) in self.specs.iter().filter(|(_, spec)| is_copied(spec)) {
            let Some(taken) = self.taken.get(topic) else { continue };
            specs.extend(spec.partitions.iter().map(|(partition, start)| PartitionSpec {
                name: name(&self.ctx.name, topic, spec, *partition),
                incarnation: spec.incarnation,
                source_id: spec.source.1,
                destination_id: spec.mirror_id,
                takes: taken.takes(&spec.owed),
                start: *start,
                halt: taken.halt.clone(),
            }));
            if taken.halt.is_none() {
                copied.insert(topic.clone(), spec.clone());
            }
        }
        (specs, copied)
    }

    /// Has the configs of topics read that are due.
    fn describe(&mut self) {
        let Some((session, _)) = self.copying.as_ref().filter(|_| self.describing.is_empty())
        else {
            return;
        };
        let (now, age) = (Instant::now(), session.settings.source.metadata_age_max);
        let is_due =
            |topic: &TopicName| self.taken.get(topic).is_none_or(|one| one.is_due(now, age));
        let due = self.specs.iter().filter(|(topic, _)| is_due(topic));
        let due = due.map(|(topic, spec)| (topic.clone(), spec.incarnation));
        let due: BTreeMap<TopicName, Incarnation> = due.take(takes::ASKED_MAX).collect();
        if !due.is_empty() {
            self.describing.spawn(takes::ask(self.ctx.destination.clone(), due));
        }
    }

    fn take_in(&mut self, told: Result<Told, JoinError>) {
        let told = match told {
            Ok(told) => told,
            Err(error) => return tracing::error!(%error, "reading configs ended in a panic"),
        };
        for (topic, (incarnation, taken)) in told {
            if self.specs.get(&topic).is_none_or(|spec| spec.incarnation != incarnation) {
                continue;
            }
            let before = self.taken.get(&topic);
            self.is_stale |= before.is_none_or(|before| !before.says_the_same(&taken));
            self.taken.insert(topic, taken);
        }
    }

    /// Tells what is halted by now, and what is no more.
    async fn tell_halts(&mut self) {
        let mut halted = BTreeMap::new();
        for (name, (code, text)) in self.ctx.link.board.halted() {
            let place = (name.mirror_topic, name.partition);
            if self.given.contains_key(&place) {
                halted.insert(place, Fault { code: code.to_owned(), text });
            }
        }
        let mut news: Vec<(&Place, Flowed)> = Vec::new();
        for (place, fault) in &halted {
            if self.halted.get(place) != Some(fault) {
                news.push((place, Flowed::Halted(fault.clone())));
            }
        }
        let over = self.halted.keys().filter(|place| !halted.contains_key(*place));
        news.extend(over.map(|place| (place, Flowed::Going)));
        for (place, what) in news {
            if let Some(incarnation) = self.given.get(place) {
                self.ctx.tell_flow((&place.0, place.1), *incarnation, what).await;
            }
        }
        self.halted = halted;
    }
}

/// What a promote or a failover asks for (`Mode::Seal`) has no hands yet: nothing of it is copied.
fn is_copied(spec: &TopicSpec) -> bool {
    spec.mode < Mode::Seal
}

fn name(
    link: &LinkName,
    mirror: &TopicName,
    spec: &TopicSpec,
    partition: PartitionId,
) -> MirrorPartition {
    MirrorPartition {
        link: link.clone(),
        source_topic: spec.source.0.clone(),
        mirror_topic: mirror.clone(),
        partition,
    }
}

async fn next_released(released: &mut Option<mpsc::Receiver<Released>>) -> Option<Released> {
    match released {
        Some(released) => released.recv().await,
        None => pending().await,
    }
}

/// Until the manager has room for an order.
async fn room(copying: &Option<(Arc<Session>, Copying)>) {
    match copying {
        Some((_, copying)) if copying.orders.reserve().await.is_ok() => {}
        _ => pending().await,
    }
}
