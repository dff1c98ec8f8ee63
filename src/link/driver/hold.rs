//! Holds what flow copies of a link: tells its partition manager what is wanted, and the
//! control machine what has become of it.
//!
//! It never says that a partition was let go before its manager has, and never has two managers:
//! with other settings everything is let go first, acknowledged, and begun anew. What is to be
//! sealed is let go by the manager first, and then is the turn of `seals`, for which no session
//! with the source is needed.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
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
use crate::flow::entry::Fact;
use crate::flow::entry::PartitionSpec;
use crate::flow::entry::Released;
use crate::flow::entry::ToManager;
use crate::flow::seal::Known;
use crate::ids::Incarnation;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TopicName;
use crate::link::copying;
use crate::link::copying::Copying;
use crate::link::driver::ctx::Ctx;
use crate::link::driver::ctx::Session;
use crate::link::driver::ctx::lock;
use crate::link::driver::specs;
use crate::link::driver::specs::Specs;
use crate::link::driver::specs::StandIns;
use crate::link::driver::specs::is_copied;
use crate::link::driver::specs::name;
use crate::link::driver::takes;
use crate::link::driver::takes::Taken;
use crate::link::driver::takes::Told;
use crate::link::seals::Next;
use crate::link::seals::Place;
use crate::link::seals::Seals;

/// How often what is halted is looked at, and what the destination takes, where that is due.
const TICK: Duration = Duration::from_secs(1);

struct Holder {
    ctx: Arc<Ctx>,
    sessions: watch::Receiver<Option<Arc<Session>>>,
    /// What is wanted, by the mirror's name.
    specs: Specs,
    /// What the destination takes of each, once it has told.
    taken: BTreeMap<TopicName, Taken>,
    describing: JoinSet<Told>,
    /// No topic is due to be read before, as long as nothing else is wanted.
    rests_until: Option<Instant>,
    /// What the manager was told of and has not let go, under which number.
    given: BTreeMap<Place, Incarnation>,
    /// What was told to be halted, under which number. One that was let go stays until it is seen
    /// to be copied again.
    halted: BTreeMap<Place, (Incarnation, Fault)>,
    copying: Option<(Arc<Session>, Copying)>,
    facts: Option<mpsc::Receiver<Fact>>,
    /// Of which topics the manager is to be told what is wanted.
    stale: BTreeSet<TopicName>,
    /// Others are kept from changing a mirror before it is begun.
    is_guarded: bool,
    /// What the manager is to be told of single partitions.
    singles: VecDeque<ToManager>,
    seals: Seals,
    stand_ins: StandIns,
    /// The manager ended before it was told to: nobody knows what is on its way.
    is_lost: bool,
}

/// What comes next.
enum Turn {
    Stop,
    Specs(VecDeque<(TopicName, Option<TopicSpec>)>),
    Session,
    Told(Result<Told, JoinError>),
    Fact(Fact),
    Seal(Next),
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
        specs: Specs::new(),
        taken: BTreeMap::new(),
        describing: JoinSet::new(),
        rests_until: None,
        given: BTreeMap::new(),
        halted: BTreeMap::new(),
        copying: None,
        facts: None,
        stale: BTreeSet::new(),
        is_guarded: false,
        singles: VecDeque::new(),
        seals: Seals::new(),
        stand_ins: StandIns::default(),
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
                Turn::Fact(fact) => self.take_fact(fact).await,
                Turn::Seal(next) => self.take_seal(next).await,
                Turn::Room => self.order(),
                Turn::Tick => {
                    self.look_for_opened();
                    self.tell_halts().await;
                    if self.copying.is_none() {
                        let ctx = &self.ctx;
                        self.stand_ins.show(&ctx.link.board, &ctx.name, &self.specs);
                    }
                }
                Turn::Session => {}
                Turn::Ended => self.lose(),
            }
            self.seals.begin(&self.ctx.among());
        }
        if let Some((_, copying)) = self.copying.take() {
            copying.end().await;
        }
    }

    async fn turn(&mut self, tick: &mut Interval) -> Turn {
        let has_orders = !self.stale.is_empty() || !self.singles.is_empty();
        tokio::select! {
            biased;
            () = self.ctx.stop.cancelled() => Turn::Stop,
            fact = next_fact(&mut self.facts) => fact.map_or(Turn::Ended, Turn::Fact),
            specs = self.ctx.specs.take() => Turn::Specs(specs),
            _ = self.sessions.changed() => Turn::Session,
            Some(told) = self.describing.join_next() => Turn::Told(told),
            next = self.seals.next() => Turn::Seal(next),
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
        self.stand_ins.end(&ctx.link.board);
        let begun = copying::begin(&ctx.link, &session.settings, &ctx.world, both, &ctx.stop).await;
        self.rests_until = None;
        self.copying = Some((session, begun.0));
        self.facts = Some(begun.1);
        self.stale.extend(self.specs.keys().cloned());
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
                fact = next_fact(&mut self.facts) => fact,
                room = copying.orders.reserve(), if !is_told => {
                    if let Ok(room) = room {
                        room.send(ToManager::LeaveAll);
                    }
                    is_told = true;
                    continue;
                }
            };
            match fact {
                Some(fact) => self.take_fact(fact).await,
                None => {
                    self.copying = Some((session, copying));
                    return self.lose();
                }
            }
        }
        self.facts = None;
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
        (self.is_lost, self.facts) = (true, None);
        // a seal fences whatever is on its way
        let lost: Vec<(TopicName, TopicSpec)> =
            self.specs.iter().map(|(topic, spec)| (topic.clone(), spec.clone())).collect();
        let sealed = lost.into_iter().filter(|(_, spec)| spec.mode == Mode::Seal);
        for (topic, spec) in sealed {
            self.given.retain(|(of, _), _| *of != topic);
            self.seal_unheld(&topic, &spec);
        }
    }

    /// Has those of a topic sealed that no manager holds.
    fn seal_unheld(&mut self, topic: &TopicName, spec: &TopicSpec) {
        for partition in spec.partitions.keys() {
            let place = (topic.clone(), *partition);
            let is_held = self.given.contains_key(&place) && !self.is_lost;
            if !is_held && !self.seals.has(&place) {
                self.seals.add(place, spec, None);
            }
        }
    }

    async fn take_fact(&mut self, fact: Fact) {
        match fact {
            Fact::Released(released) => self.let_go(released).await,
            Fact::Level(level) => {
                let place = (level.name.mirror_topic, level.name.partition);
                if self.given.get(&place) == Some(&level.incarnation) {
                    let (place, what) = ((&place.0, place.1), Flowed::Level(level.is_level));
                    self.ctx.tell_flow(place, level.incarnation, what).await;
                }
            }
        }
    }

    async fn take_seal(&mut self, next: Next) {
        let answer = match next {
            Next::Answer(answer) => answer,
            Next::Ended(round) => return self.seals.end(round),
            Next::Due => return,
        };
        for ((topic, partition), incarnation, what) in self.seals.take_in(answer) {
            if let Flowed::IsSealed(sealed) = &what {
                let (link, end) = (&self.ctx.name, sealed.end.get());
                let next = sealed.source_next.map(Offset::get);
                let beyond = sealed.source_next.zip(sealed.source_end);
                let tail = beyond.map(|(next, end)| next.distance_to(end.max(next)));
                let text = "sealed: it takes no append of this link any more";
                tracing::info!(%link, %topic, partition = partition.0, end, next, tail, "{text}");
            }
            self.ctx.tell_flow((&topic, partition), incarnation, what).await;
        }
    }

    async fn change(&mut self, topic: TopicName, spec: Option<TopicSpec>) {
        self.rests_until = None;
        let before = self.specs.remove(&topic);
        if let Some(before) = &before {
            match &spec {
                Some(spec) if spec.incarnation == before.incarnation => {
                    if spec.attempt > before.attempt {
                        let all = spec.partitions.keys();
                        let name = |id: &PartitionId| name(&self.ctx.name, &topic, spec, *id);
                        self.singles.extend(all.map(name).map(ToManager::Resume));
                    }
                }
                _ => self.give_up(&topic, before).await,
            }
        }
        match spec {
            Some(spec) => {
                if spec.mode == Mode::Seal {
                    self.seals.change(&topic, &spec);
                    self.seal_unheld(&topic, &spec);
                }
                self.specs.insert(topic.clone(), spec);
            }
            None => drop(self.taken.remove(&topic)),
        }
        self.stale.insert(topic);
    }

    /// Some may be begun by now that others had to be kept from changing.
    fn look_for_opened(&mut self) {
        let is_guarded = self.ctx.is_guarded();
        let has_changed = is_guarded != std::mem::replace(&mut self.is_guarded, is_guarded);
        if self.ctx.take_opened() || has_changed {
            self.stale.extend(self.specs.keys().cloned());
        }
    }

    /// What the manager was never told of need not come back from it.
    async fn give_up(&mut self, topic: &TopicName, spec: &TopicSpec) {
        for partition in spec.partitions.keys() {
            let place = (topic.clone(), *partition);
            let is_out = self.seals.has(&place) && !self.seals.drop_one(&place);
            if !self.given.contains_key(&place) && !is_out {
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
        let end = fact.end.map(|end| end.get());
        tracing::info!(link = %self.ctx.name, partition = %fact.name, end, "let go");
        if let Some(next) = fact.last_source_offset {
            let (place, what) = ((&place.0, place.1), Flowed::Ends(next));
            self.ctx.tell_flow(place, fact.incarnation, what).await;
        }
        let wanted = self.specs.get(&place.0).filter(|spec| {
            spec.incarnation == fact.incarnation && spec.partitions.contains_key(&place.1)
        });
        match wanted {
            // it comes back under the settings of now
            Some(spec) if is_copied(spec) => {
                self.stale.insert(place.0.clone());
                let (topic, number) = ((&place.0, place.1), fact.incarnation);
                self.ctx.tell_flow(topic, number, Flowed::Level(false)).await;
            }
            Some(spec) => {
                let known = fact.end.zip(fact.last_source_offset);
                let known = known.map(|(end, source_next)| Known { end, source_next });
                // why it was halted does not matter any more
                self.halted.remove(&place);
                let (topic, number) = ((&place.0, place.1), fact.incarnation);
                self.ctx.tell_flow(topic, number, Flowed::Going).await;
                self.seals.add(place, spec, known);
            }
            None => {
                let place = (&place.0, place.1);
                self.ctx.tell_flow(place, fact.incarnation, Flowed::Released).await;
            }
        }
    }

    /// Gives the next order that there is room for.
    fn order(&mut self) {
        let Some((_, copying)) = &self.copying else { return };
        if self.stale.is_empty() {
            if let Some(single) = self.singles.pop_front()
                && let Err(mpsc::error::TrySendError::Full(single)) =
                    copying.orders.try_send(single)
            {
                self.singles.push_front(single);
            }
            return;
        }
        let Ok(room) = copying.orders.try_reserve() else { return };
        let stale = std::mem::take(&mut self.stale);
        let (told, drains) = specs::told(&self.ctx, &self.specs, &self.taken, stale);
        let place = |one: &PartitionSpec| (one.name.mirror_topic.clone(), one.name.partition);
        let given = told.values().flatten().map(|one| (place(one), one.incarnation));
        self.given.extend(given);
        self.singles.extend(drains);
        room.send(ToManager::Wanted(told));
    }

    /// Has the configs of topics read that are due.
    fn describe(&mut self) {
        let Some((session, _)) = self.copying.as_ref().filter(|_| self.describing.is_empty())
        else {
            return;
        };
        let (now, age) = (Instant::now(), session.settings.source.metadata_age_max);
        if self.rests_until.is_some_and(|at| at > now) {
            return;
        }
        let (due, rests_until) = takes::due(&self.specs, &self.taken, now, age);
        if due.is_empty() {
            self.rests_until = rests_until;
        } else {
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
            if before.is_none_or(|before| !before.says_the_same(&taken)) {
                self.stale.insert(topic.clone());
            }
            self.taken.insert(topic, taken);
        }
    }

    /// Tells what is halted by now, and what is copied again.
    async fn tell_halts(&mut self) {
        let mut halted = BTreeMap::new();
        for (name, (code, text)) in self.ctx.link.board.halted() {
            let place = (name.mirror_topic, name.partition);
            if let Some(incarnation) = self.given.get(&place) {
                let fault = Fault { code: code.to_owned(), text };
                halted.insert(place, (*incarnation, fault));
            }
        }
        let mut news: Vec<(Place, Incarnation, Flowed)> = Vec::new();
        for (place, told) in &halted {
            if self.halted.get(place) != Some(told) {
                news.push((place.clone(), told.0, Flowed::Halted(told.1.clone())));
            }
        }
        for (place, before) in std::mem::take(&mut self.halted) {
            if halted.contains_key(&place) || self.is_forgotten(&place) {
                continue;
            }
            match self.going(&place) {
                Some(incarnation) => news.push((place, incarnation, Flowed::Going)),
                None => drop(halted.insert(place, before)),
            }
        }
        self.halted = halted;
        for (place, incarnation, what) in news {
            self.ctx.tell_flow((&place.0, place.1), incarnation, what).await;
        }
    }

    /// Under which number it is seen to be copied.
    fn going(&self, (topic, partition): &Place) -> Option<Incarnation> {
        let (spec, given) = (self.specs.get(topic)?, self.given.get(&(topic.clone(), *partition))?);
        let name = name(&self.ctx.name, topic, spec, *partition);
        self.ctx.link.board.is_mirroring(&name).then_some(*given)
    }

    /// It is of no mirror any more.
    fn is_forgotten(&self, (topic, _): &Place) -> bool {
        let key = (self.ctx.name.clone(), topic.clone());
        !self.specs.contains_key(topic) && !self.ctx.registry.seen().mirrors.contains_key(&key)
    }
}

async fn next_fact(facts: &mut Option<mpsc::Receiver<Fact>>) -> Option<Fact> {
    match facts {
        Some(facts) => facts.recv().await,
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
