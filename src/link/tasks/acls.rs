//! Keeps the ACLs of a commanded link in step, and others from changing its mirror topics: what
//! `control/acls` plans is written into the ledger, then created and deleted, one step at a time,
//! and read back.
//!
//! It never deletes a binding that is not in the ledger, and holds nothing up: a turn that failed
//! is told as the task's error, and mirrors go on.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::sleep_until;
use tokio::time::timeout;

use crate::control::acls::AclSync;
use crate::control::acls::Binding;
use crate::control::acls::Facts;
use crate::control::acls::Kind;
use crate::control::acls::Ledger;
use crate::control::acls::Plan;
use crate::control::acls::Protection;
use crate::control::acls::plan::Step;
use crate::control::journal::TOPIC as JOURNAL;
use crate::control::link::LinkState;
use crate::control::task::TaskName;
use crate::control::task::TaskTurn;
use crate::control::topic::Fault;
use crate::control::topic::How;
use crate::control::topic::Stage;
use crate::ids::TopicName;
use crate::link::driver::ctx::Ctx;
use crate::link::registry::Event;
use crate::link::registry::Seen;
use crate::sync::acls;

/// How many errors of a turn are told one by one.
const ERRORS_MAX: usize = 100;
/// How many steps a turn takes at most; what is left is the next one's.
const STEPS_MAX: usize = 50;
/// For how long a turn waits for its rows to be read back.
const WRITTEN_MAX: Duration = Duration::from_secs(10);
/// For how long a turn waits to see what it has done; brokers follow the controller.
const IN_FORCE_MAX: Duration = Duration::from_secs(5);
/// For how long a promote that waits for others' rights alone lets the source tell its ACLs.
const SOURCE_WAIT_MAX: Duration = Duration::from_secs(10);
/// The pause between two looks meanwhile.
const IN_FORCE_PAUSE: Duration = Duration::from_millis(50);
/// How often a link without ACLs is looked at, unless something changes.
const IDLE: Duration = Duration::from_secs(60);
/// Of so many topics it is asked whether isolog may still write into them.
const WRITES_ASKED_MAX: usize = 500;

/// What a turn is about; another one when any of it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Picture {
    /// `None` where the link has none, or wrong ones.
    settings: Option<AclSync>,
    /// Nothing is taken from the source now.
    is_paused: bool,
    is_leaving: bool,
    has_ledger: bool,
    /// This instance may act.
    is_acting: bool,
    /// Mirrors of all links that nobody else may change.
    mirrors: BTreeSet<TopicName>,
    /// Those of this link.
    own_mirrors: BTreeSet<TopicName>,
    /// Mirrors of this link that anybody may change who has the right.
    free: BTreeSet<TopicName>,
}

impl Picture {
    fn of(ctx: &Ctx, seen: &Seen) -> Picture {
        let mut picture = Picture {
            is_acting: seen.is_holder && seen.is_level,
            has_ledger: seen.ledgers.contains_key(&ctx.name),
            ..Picture::default()
        };
        if let Some(link) = seen.links.get(&ctx.name) {
            picture.settings = link.settings.as_ref().map(|settings| settings.acls.clone());
            picture.is_paused = matches!(link.state, LinkState::Paused);
            picture.is_leaving = link.row.is_leaving;
        }
        for ((link, topic), mirror) in &seen.mirrors {
            match (mirror.is_free, *link == ctx.name) {
                (true, true) => drop(picture.free.insert(topic.clone())),
                (true, false) => {}
                (false, is_own) => {
                    picture.mirrors.insert(topic.clone());
                    if is_own {
                        picture.own_mirrors.insert(topic.clone());
                    }
                }
            }
        }
        picture
    }

    fn is_configured(&self) -> bool {
        let is_on = self.settings.as_ref().is_some_and(AclSync::is_configured);
        is_on && !self.is_leaving
    }

    /// Whether it is known what is wanted: settings that are not told yet, or that nobody has any
    /// more, take nothing back.
    fn is_told(&self) -> bool {
        self.settings.is_some() || self.is_leaving
    }

    /// Whether a turn has anything to do.
    fn has_work(&self) -> bool {
        self.is_acting && self.is_told() && (self.is_configured() || self.has_ledger)
    }
}

/// Until it is dropped.
pub(in crate::link) async fn keep(ctx: Arc<Ctx>) {
    let mut keeper = Keeper { ctx, told: None, is_super: None, tried: None };
    loop {
        let picture = Picture::of(&keeper.ctx, &keeper.ctx.registry.seen());
        if picture.has_work() {
            keeper.turn(&picture).await;
        } else {
            keeper.told = None;
        }
        keeper.open(&picture).await;
        wait(&keeper.ctx, &picture).await;
    }
}

/// Until the next turn is due: something of the picture is another one, or time has passed.
async fn wait(ctx: &Ctx, picture: &Picture) {
    let every = picture.settings.as_ref().filter(|_| picture.has_work());
    let every = every.map_or(IDLE, |settings| {
        Duration::from_millis(u64::try_from(settings.every_ms).unwrap_or(0))
    });
    let due = Instant::now() + every;
    let mut seen = ctx.registry.clone();
    loop {
        tokio::select! {
            () = sleep_until(due) => return,
            is_there = seen.changed() => {
                // what the turn itself wrote is no news
                let now = Picture::of(ctx, &seen.seen());
                let is_news = Picture { has_ledger: picture.has_ledger, ..now } != *picture;
                if !is_there || is_news {
                    return;
                }
            }
        }
    }
}

struct Keeper {
    ctx: Arc<Ctx>,
    /// The last turn that was told of.
    told: Option<TaskTurn>,
    /// Whether a DENY for everybody leaves us our rights; `None` while that was not tried.
    is_super: Option<bool>,
    /// Under which settings it was tried.
    tried: Option<AclSync>,
}

/// What one turn works with.
struct Turn<'a> {
    picture: &'a Picture,
    settings: AclSync,
    own: String,
    /// What the filter takes at the source.
    source: Option<BTreeSet<Binding>>,
    mirrors: BTreeSet<TopicName>,
    topics: BTreeSet<TopicName>,
    /// What the destination refused in this turn.
    refused: BTreeMap<Binding, Fault>,
}

impl Keeper {
    async fn turn(&mut self, picture: &Picture) {
        if self.tried != picture.settings {
            (self.tried, self.is_super) = (picture.settings.clone(), None);
        }
        let errors = self.work(picture).await;
        self.ctx.tell_task(TaskName::AclSync, &mut self.told, errors).await;
    }

    /// What was not done; a turn that failed as a whole has one error under the link's name.
    async fn work(&mut self, picture: &Picture) -> Vec<(String, Fault)> {
        let settings = picture.settings.clone().unwrap_or_default();
        let Some(own) = own(&self.ctx, &settings) else {
            let text = "isolog cannot know as whom the destination knows it, and must keep its \
                        own rights: set acl.sync.principal, such as User:CN=isolog"
                .to_owned();
            return self.failed(Fault { code: "MISCONFIGURATION_ERROR".to_owned(), text });
        };
        let (source, mut errors) = self.source(picture, &settings).await;
        let known = self.ctx.destination.topics();
        let topics: BTreeSet<TopicName> = known.iter().map(|topic| topic.name.clone()).collect();
        let mut mirrors = picture.mirrors.clone();
        mirrors.extend(TopicName::new(JOURNAL));
        let refused = BTreeMap::new();
        let mut turn = Turn { picture, settings, own, source, mirrors, topics, refused };
        let done = match self.steps(&mut turn).await {
            Ok(told) => self.check_rights(&turn).await.map(|lost| [told, lost].concat()),
            Err(fault) => Err(fault),
        };
        match done {
            Ok(told) => errors.extend(told),
            Err(fault) => errors.extend(self.failed(fault)),
        }
        let refused = turn.refused.into_iter();
        errors.extend(refused.map(|(binding, fault)| (binding.to_string(), fault)));
        if errors.len() > ERRORS_MAX {
            let text = format!("{} more errors are not listed", errors.len() - ERRORS_MAX);
            errors.truncate(ERRORS_MAX);
            errors.extend(self.failed(Fault { code: "SUPPRESSED_ERRORS".to_owned(), text }));
        }
        errors
    }

    fn failed(&self, fault: Fault) -> Vec<(String, Fault)> {
        vec![(self.ctx.name.to_string(), fault)]
    }

    /// The source's bindings that the filter takes; `None` where they are not known now, and then
    /// what the ledger remembers of them counts.
    async fn source(
        &self,
        picture: &Picture,
        settings: &AclSync,
    ) -> (Option<BTreeSet<Binding>>, Vec<(String, Fault)>) {
        if !picture.is_configured() || picture.is_paused {
            return (None, Vec::new());
        }
        if !settings.is_enabled {
            return (Some(BTreeSet::new()), Vec::new());
        }
        let Some(session) = self.ctx.session.borrow().clone() else { return (None, Vec::new()) };
        let found = tokio::select! {
            biased;
            // it needs no source: the ledger says what was held back
            () = self.failed_over() => return (None, Vec::new()),
            found = acls::observe(&session.source) => found,
            () = self.waited_for() => {
                let text = "a turn over ACLs makes way for a promote: the source does not tell its \
                            ACLs in time, and what the ledger has is given back";
                tracing::info!(link = %self.ctx.name, "{text}");
                return (None, Vec::new());
            }
        };
        match found {
            Ok(found) => {
                let mut errors = Vec::new();
                if found.strange > 0 {
                    let text = format!(
                        "{} bindings of the source are not copied: this isolog does not know \
                         their kind, or their names cannot be repeated safely",
                        found.strange
                    );
                    let code = "INVALID_REQUEST_ERROR".to_owned();
                    errors.extend(self.failed(Fault { code, text }));
                }
                (Some(settings.filter.select(&found.bindings)), errors)
            }
            Err(fault) => (None, self.failed(fault)),
        }
    }

    /// Until a mirror topic is failed over and waits for nothing but others' rights.
    async fn failed_over(&self) {
        self.until_lifts(|stage| stage == Stage::Sealing(How::Failover)).await;
    }

    /// Until one that is promoted has waited for them for long.
    async fn waited_for(&self) {
        self.until_lifts(|stage| stage == Stage::Sealing(How::Promote)).await;
        sleep(SOURCE_WAIT_MAX).await;
    }

    async fn until_lifts(&self, is_it: impl Fn(Stage) -> bool) {
        let mut registry = self.ctx.registry.clone();
        let waits = |seen: &Seen| {
            seen.mirrors_of(&self.ctx.name).any(|(_, one)| one.is_free && is_it(one.row.stage))
        };
        while !waits(&registry.seen()) {
            if !registry.changed().await {
                return pending().await;
            }
        }
    }

    /// Takes steps until nothing differs; what cannot be done is told, by subject.
    async fn steps(&mut self, turn: &mut Turn<'_>) -> Result<Vec<(String, Fault)>, Fault> {
        for _ in 0..STEPS_MAX {
            let destination = acls::observe(&self.ctx.destination).await?.bindings;
            let seen = self.ctx.registry.seen();
            if seen.unwritten.contains(&self.ctx.name) {
                self.written(|seen| !seen.unwritten.contains(&self.ctx.name)).await?;
                continue; // what was read before is of another ledger
            }
            // whoever has the role now may know of mirrors that this turn does not
            if !seen.is_holder || !seen.is_level {
                return Ok(Vec::new());
            }
            let plan = self.plan(turn, &seen, &destination);
            let refused: BTreeSet<Binding> = turn.refused.keys().cloned().collect();
            match plan.next(&refused) {
                None if self.try_super(turn, &destination).await? => {}
                None => return Ok(plan.errors),
                Some(Step::Write(rows)) => self.write(rows).await?,
                Some(Step::Create(some)) => {
                    let refused = acls::create(&self.ctx.destination, &some).await?;
                    self.read_back(&some, &refused, true).await?;
                    self.log("created", some.len() - refused.len());
                    turn.refused.extend(refused);
                }
                Some(Step::Delete(some)) => {
                    let refused = acls::delete(&self.ctx.destination, &some).await?;
                    self.read_back(&some, &refused, false).await?;
                    self.log("deleted", some.len() - refused.len());
                    turn.refused.extend(refused);
                }
            }
        }
        Ok(Vec::new())
    }

    fn plan(&self, turn: &Turn, seen: &Seen, destination: &BTreeSet<Binding>) -> Plan {
        let none = Arc::new(Ledger::new());
        let others = seen.ledgers.iter().filter(|(link, _)| **link != self.ctx.name);
        let others = others.flat_map(|(_, ledger)| ledger.iter());
        let others = others.filter(|(_, kind)| kind.is_applied());
        Plan::of(&Facts {
            own: &turn.own,
            protection: turn.settings.protection,
            source: turn.source.as_ref(),
            destination,
            ledger: seen.ledgers.get(&self.ctx.name).unwrap_or(&none),
            others: &others.map(|(binding, _)| binding.clone()).collect(),
            mirrors: &turn.mirrors,
            own_mirrors: &turn.picture.own_mirrors,
            topics: &turn.topics,
            is_super: self.is_super,
            is_ending: !turn.picture.is_configured(),
        })
    }

    fn log(&self, done: &str, count: usize) {
        tracing::info!(link = %self.ctx.name, count, "ACLs were {done} at the destination");
    }

    /// Has rows written into the ledger, and waits until they are read back.
    async fn write(&self, rows: BTreeMap<Binding, Option<Kind>>) -> Result<(), Fault> {
        self.ctx.tell(Event::Ledger(self.ctx.name.clone(), rows.clone())).await;
        let none = Arc::new(Ledger::new());
        self.written(|seen| {
            let ledger = seen.ledgers.get(&self.ctx.name).unwrap_or(&none);
            rows.iter().all(|(binding, kind)| ledger.get(binding) == kind.as_ref())
        })
        .await
    }

    /// Until the ledger is as it is to be. Rows that come too late still come: nothing is done at
    /// the destination before.
    async fn written(&self, is_written: impl Fn(&Seen) -> bool) -> Result<(), Fault> {
        let mut registry = self.ctx.registry.clone();
        let written = timeout(WRITTEN_MAX, async {
            while !is_written(&registry.seen()) {
                if !registry.changed().await {
                    return;
                }
            }
        });
        written.await.map_err(|_| Fault {
            code: "INTERNAL_ERROR".to_owned(),
            text: format!(
                "the journal (__isolog) has not brought the ledger's rows back within {} s: \
                 nothing was changed at the destination",
                WRITTEN_MAX.as_secs()
            ),
        })
    }

    /// Until the destination shows what was done.
    async fn read_back(
        &self,
        some: &[Binding],
        refused: &BTreeMap<Binding, Fault>,
        is_created: bool,
    ) -> Result<(), Fault> {
        let until = Instant::now() + IN_FORCE_MAX;
        loop {
            let found = acls::observe(&self.ctx.destination).await?.bindings;
            let mut done = some.iter().filter(|one| !refused.contains_key(*one));
            if done.all(|one| found.contains(one) == is_created) || Instant::now() >= until {
                return Ok(());
            }
            sleep(IN_FORCE_PAUSE).await;
        }
    }

    /// WRITE is denied to everybody on one mirror topic: whether that leaves it to us. `true` where
    /// that is news.
    async fn try_super(
        &mut self,
        turn: &Turn<'_>,
        destination: &BTreeSet<Binding>,
    ) -> Result<bool, Fault> {
        let is_wanted = turn.settings.protection == Protection::DenyAll;
        let first = turn.picture.own_mirrors.iter().next();
        let Some(topic) = first.filter(|_| is_wanted && turn.picture.is_configured()) else {
            return Ok(false);
        };
        let denies = |one: &&Binding| {
            !one.is_allow() && one.principal == "User:*" && one.covers(topic.as_str())
        };
        if self.is_super == Some(false) || !destination.iter().any(|one| denies(&one)) {
            return Ok(false);
        }
        let told = acls::may_write(&self.ctx.destination, std::slice::from_ref(topic)).await?;
        let before = self.is_super;
        self.is_super = told.get(topic).copied().or(before);
        Ok(self.is_super != before)
    }

    /// Whether isolog may still write into the link's mirrors.
    async fn check_rights(&self, turn: &Turn<'_>) -> Result<Vec<(String, Fault)>, Fault> {
        let some = turn.picture.own_mirrors.iter().filter(|topic| turn.topics.contains(*topic));
        let some: Vec<TopicName> = some.take(WRITES_ASKED_MAX).cloned().collect();
        if some.is_empty() {
            return Ok(Vec::new());
        }
        let told = acls::may_write(&self.ctx.destination, &some).await?;
        let lost = told.into_iter().filter(|(_, may)| !may).map(|(topic, _)| {
            let text = format!(
                "isolog ({}) may not write into mirror topic {topic} at the destination: grant it \
                 WRITE there, or take the DENY away that hits it",
                turn.own
            );
            (topic.to_string(), Fault { code: "AUTHORIZATION_ERROR".to_owned(), text })
        });
        Ok(lost.collect())
    }

    /// Mirrors that were looked at may be begun, and those that others may change now may be
    /// stopped, whatever came of the turn: what was not done is told.
    async fn open(&self, picture: &Picture) {
        if !picture.is_configured() {
            return;
        }
        let known = picture.own_mirrors.union(&picture.free);
        self.ctx.open(known.cloned().collect());
        for topic in &picture.free {
            let mirror = (self.ctx.name.clone(), topic.clone());
            self.ctx.tell(Event::Lifted(mirror)).await;
        }
    }
}

fn own(ctx: &Ctx, settings: &AclSync) -> Option<String> {
    acls::own_principal(ctx.destination.options(), settings.principal.as_deref())
}
