//! Makes links mirror: carries what the control machine wants to the journal, to the clusters and
//! to flow, and brings back what came of it.
//!
//! It never decides: `control` does, and nothing is done before its row is read back. It runs links
//! that were created by order, and those of the config file.
//!
//! ```text
//!                ┌─ Write ─▶ journal ── Batch, Level, Refused ─┐
//!   Registry ────┼─ Look ──▶ looks   ── Observed ──────────────┼──▶ Registry
//!   (Work)       ├─ Do ────▶ dos     ── Done ──────────────────┤    (Event)
//!                └─ Spec ──▶ hold    ── Flow ──────────────────┤
//!   rows of links ─────────▶ reach   ── Settings, Reach ───────┘
//! ```
//!
//! Whoever brings an event may wait for room; who takes work never waits, so that neither can hold
//! the other up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::control::machine::Control;
use crate::control::machine::ROWS_MAX;
use crate::control::machine::Write;
use crate::control::row::Origin;
use crate::control::topic::Fault;
use crate::ids::ClusterId;
use crate::ids::LinkName;
use crate::ids::TopicName;
use crate::link::LinkSettings;
use crate::link::announce::Announcer;
use crate::link::clients::Clients;
use crate::link::driver::ctx::Ctx;
use crate::link::driver::ctx::Tray;
use crate::link::driver::ctx::lock;
use crate::link::driver::file::File;
pub use crate::link::driver::file::Options;
use crate::link::driver::file::Told;
pub use crate::link::driver::file::new_id;
use crate::link::driver::rivals::Claims;
use crate::link::driver::tell::Shown;
use crate::link::member;
use crate::link::member::InGroup;
use crate::link::member::WorkShare;
use crate::link::registry;
use crate::link::registry::EVENTS_MAX;
use crate::link::registry::Event;
use crate::link::registry::Registry;
use crate::link::registry::Seen;
use crate::link::registry::WORK_MAX;
use crate::link::registry::Work;
use crate::link::restore;
use crate::link::status::Link;
use crate::link::tasks;
use crate::link::watch as standing;
use crate::link::world::World;
use crate::settings::link::Defaults;

mod compare;
pub(super) mod ctx;
mod dos;
mod file;
mod hold;
mod journal;
mod looks;
pub(super) mod loops;
mod offsets;
mod reach;
mod rivals;
mod specs;
mod takes;
mod tell;

/// How many writes wait at most: the machine hands out one, and another one when that is refused.
const WRITES_MAX: usize = 8;

/// All links, for those who give orders and for those who show them.
#[derive(Clone)]
pub struct Driver {
    /// Where orders are given.
    pub registry: Registry,
    /// The destination's id, once it has been reached.
    pub cluster: watch::Receiver<Option<ClusterId>>,
    destination: watch::Receiver<Option<Arc<Cluster>>>,
    /// Whether this instance has the work of its destination.
    pub work: WorkShare,
    shown: Shown,
    world: World,
    defaults: Arc<Defaults>,
    file: Arc<watch::Sender<Vec<LinkSettings>>>,
}

impl Driver {
    /// The config file was read again, and has these links now, and no others. What a setting
    /// touches begins anew, and nothing else; a link that the file has no more rests.
    pub fn declare(&self, links: Vec<LinkSettings>) {
        self.file.send_replace(links);
    }

    /// All links, in order.
    pub fn links(&self) -> Vec<Link> {
        lock(&self.shown.links).values().cloned().collect()
    }

    /// How many mirror topics of a link have each status.
    pub fn statuses(&self, link: &LinkName) -> BTreeMap<&'static str, u64> {
        self.registry.seen().statuses(link)
    }

    /// Why links cannot be created, changed or gone on with, all of it; `None` where all is well.
    pub fn trouble(&self) -> Option<String> {
        self.told(|_, _| true)
    }

    /// The same without what each link tells itself.
    pub fn trouble_beside_links(&self) -> Option<String> {
        let has_links = !lock(&self.shown.links).is_empty();
        let is_told = |who: &str, fault: &Fault| match who {
            tell::JOURNAL => tell::is_of_links(fault),
            who => who == tell::DESTINATION,
        };
        self.told(|who, fault| !(has_links && is_told(who, fault)))
    }

    fn told(&self, is_wanted: impl Fn(&str, &Fault) -> bool) -> Option<String> {
        let troubles = lock(&self.shown.troubles).clone();
        let all = troubles.into_iter().filter(|(who, fault)| is_wanted(who, fault));
        let mut all: Vec<String> = all.map(|(_, fault)| fault.text).collect();
        let seen = self.registry.seen();
        all.extend(seen.unread.values().map(|fault| fault.text.clone()));
        match self.work.is_shared() {
            // who had the work before it wrote rows
            true => all.extend(self.work.trouble()),
            false => all.extend(rivals::told(&seen, self.world.wall.now())),
        }
        if all.is_empty() && !seen.is_level {
            all.push("the journal (__isolog) has not been read to its end yet".to_owned());
        }
        (!all.is_empty()).then(|| all.join("; and "))
    }

    /// Whether a link with these configs would reach its source: the id of the cluster that
    /// answers. Tried once, for a while; nothing is remembered.
    pub async fn probe(
        &self,
        link: &LinkName,
        configs: &BTreeMap<String, String>,
    ) -> Result<ClusterId, Fault> {
        let here = self.cluster.borrow().clone();
        reach::probe((&self.world, &self.defaults), (link, configs), here).await
    }

    /// What both clusters of a link hold of their clients now; each is asked once.
    pub async fn clients(&self, link: &LinkName) -> Clients {
        self.shown.reachable.clients(link).await
    }

    /// The topics here of which the source of a link has former mirrors, and where they part.
    pub async fn parted(&self, link: &LinkName) -> Result<restore::AllParted, String> {
        restore::of(self.shown.reachable.ctx(link)).await
    }

    /// Who writes what happens here into a topic of the destination.
    pub fn announcer(&self, topic: TopicName) -> Announcer {
        Announcer::new(topic, self.destination.clone(), self.registry.clone())
    }

    /// A task of it has ended and nobody asked for it.
    pub fn tell_ended(&self, text: String) {
        lock(&self.shown.links).values().for_each(|link| link.tell_ended(text.clone()));
        self.shown.tell("driver", Some(tell::internal(text)));
    }
}

/// The driver of one destination and its task, which ends at the world's stop token: what is in
/// flight is answered first.
pub fn start(
    options: Options,
    world: &World,
) -> (Driver, impl Future<Output = ()> + Send + 'static) {
    let (events, heard) = mpsc::channel(EVENTS_MAX);
    let (wanted, work) = mpsc::channel(WORK_MAX);
    let mut control = Control::new(rivals::tag(world), ROWS_MAX);
    // who is alone has the work from before the first order
    control.handle_role(world.wall.now(), options.group.is_none());
    let stop = world.stop.clone();
    let (registry, keeping) = registry::start(control, heard, wanted, world.wall, stop);
    let shown = Shown::of(&options.links, world.wall);
    let (reached, cluster) = watch::channel(None);
    let (shared, destination) = watch::channel(None);
    let (file, reread) = watch::channel(options.links.clone());
    let (tell, told) = watch::channel(member::untold());
    let is_shared = options.group.is_some();
    let group = options.group.map(|group| (group, tell));
    let driver = Driver {
        registry: registry.clone(),
        cluster,
        destination,
        work: WorkShare::of(is_shared.then_some(told)),
        shown: shown.clone(),
        world: world.clone(),
        defaults: Arc::new(options.defaults.clone()),
        file: Arc::new(file),
    };
    let claims = Claims::of(&options.links);
    let world = world.clone();
    let task = async move {
        let mut keeper = JoinSet::new();
        keeper.spawn(keeping);
        let stop = world.stop.clone();
        tokio::select! {
            destination = reach::destination(&options.destination, &world, &shown) => {
                reached.send_replace(Some(destination.id()));
                shared.send_replace(Some(destination.clone()));
                let file = File::new(options.links);
                let _ended = events.send(file.declared()).await;
                let member = InGroup::begin(group, &destination, &world, &events);
                let told = (options.defaults, (claims, file), world, shown);
                let hands = Hands::new(told, registry, events, destination);
                let hands = Hands { is_shared, ..hands };
                hands.run(work, reread, keeper).await;
                member.end().await;
            }
            () = stop.cancelled() => {}
        }
    };
    (driver, task)
}

/// One link.
struct Running {
    ctx: Arc<Ctx>,
    /// Its row has been seen: when that is no more, the link is gone.
    is_seen: bool,
}

/// The task.
struct Hands {
    defaults: Defaults,
    claims: Claims,
    file: File,
    world: World,
    shown: Shown,
    registry: Registry,
    events: mpsc::Sender<Event>,
    links: BTreeMap<LinkName, Running>,
    destination: Arc<Cluster>,
    rival: rivals::Known,
    /// Other instances write to the journal too, each in its time.
    is_shared: bool,
}

impl Hands {
    fn new(
        (defaults, (claims, file), world, shown): (Defaults, (Claims, File), World, Shown),
        registry: Registry,
        events: mpsc::Sender<Event>,
        destination: Arc<Cluster>,
    ) -> Hands {
        let (links, rival) = (BTreeMap::new(), rivals::Known::default());
        Hands {
            defaults,
            claims,
            file,
            world,
            shown,
            registry,
            events,
            links,
            destination,
            rival,
            is_shared: false,
        }
    }

    async fn run(
        mut self,
        mut work: mpsc::Receiver<Work>,
        mut file: watch::Receiver<Vec<LinkSettings>>,
        mut keeper: JoinSet<()>,
    ) {
        let stop = self.world.stop.clone();
        let (writes, written) = mpsc::channel(WRITES_MAX);
        let mut booking = JoinSet::new();
        booking.spawn(journal::keep(
            (self.destination.clone(), self.world.clone(), self.file.replicas()),
            (self.shown.clone(), self.events.clone()),
            written,
        ));
        let mut tasks = JoinSet::new();
        self.begin_declared(&mut tasks);
        let (mut seen, news) = (self.registry.clone(), self.shown.news.clone());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(wanted) = work.recv() => self.hand_out(wanted, &writes, &mut tasks),
                true = seen.changed() => self.follow(&seen.seen(), &mut tasks),
                () = news.notified() => self.follow(&seen.seen(), &mut tasks),
                Ok(()) = file.changed() => {
                    let links = file.borrow_and_update().clone();
                    self.declare(links, &mut tasks);
                }
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => self.note_ended(ended),
                ended = booking.join_next(), if !booking.is_empty() => {
                    self.lament("reads and writes the journal", ended);
                }
                ended = keeper.join_next(), if !keeper.is_empty() => {
                    self.lament("holds the control machine", ended);
                }
            }
        }
        // lanes end what is in flight
        while tasks.join_next().await.is_some() {}
    }

    fn begin_declared(&mut self, tasks: &mut JoinSet<()>) {
        let links = self.file.links();
        self.shown.add(&links, self.world.wall);
        links.iter().for_each(|link| drop(self.of(&link.name, tasks)));
    }

    fn declare(&mut self, links: Vec<LinkSettings>, tasks: &mut JoinSet<()>) {
        self.claims.take(&links);
        self.file.take(links);
        let (events, declared) = (self.events.clone(), self.file.declared());
        // who takes work never waits
        tasks.spawn(async move {
            let _ended = events.send(declared).await;
        });
        self.begin_declared(tasks);
    }

    /// Never waits: each task takes what is put down for it.
    fn hand_out(&mut self, work: Work, writes: &mpsc::Sender<Write>, tasks: &mut JoinSet<()>) {
        match work {
            Work::Write(write) => {
                if let Err(error) = writes.try_send(write) {
                    let text = "a row for the journal was not taken, which is a fault of isolog";
                    self.tell_fault(format!("{text} ({error}): start it again"));
                }
            }
            Work::Look(id, look) => self.of(&look.link, tasks).looks.put((id, look.what)),
            Work::Do(id, action) => {
                let link = action.mirror().0.clone();
                self.of(&link, tasks).dos.put((id, action));
            }
            Work::Spec((link, topic), spec) => self.of(&link, tasks).specs.put((topic, spec)),
        }
    }

    /// The link's tasks, begun where it is new.
    fn of(&mut self, link: &LinkName, tasks: &mut JoinSet<()>) -> Arc<Ctx> {
        if let Some(running) = self.links.get(link) {
            return running.ctx.clone();
        }
        let file = self.file.told(link);
        let ctx = Arc::new(self.ctx(link, file));
        lock(&self.shown.links).insert(link.clone(), ctx.link.clone());
        self.shown.reachable.add(&ctx);
        tasks.spawn(drive(ctx.clone()));
        self.links.insert(link.clone(), Running { ctx: ctx.clone(), is_seen: false });
        ctx
    }

    fn ctx(&self, link: &LinkName, file: Told) -> Ctx {
        let shown = lock(&self.shown.links).get(link).cloned();
        let new = || Link::new(link.clone(), BTreeMap::new(), self.world.wall);
        Ctx {
            name: link.clone(),
            destination: self.destination.clone(),
            world: self.world.clone(),
            defaults: self.defaults.clone(),
            claims: self.claims.clone(),
            link: shown.unwrap_or_else(new),
            file,
            events: self.events.clone(),
            registry: self.registry.clone(),
            stop: self.world.stop.child_token(),
            row: watch::Sender::new(None),
            wrong: Mutex::default(),
            copied: Mutex::default(),
            mirrors_there: watch::Sender::new(None),
            guarded: Mutex::default(),
            has_opened: AtomicBool::default(),
            session: watch::Sender::new(None),
            specs: Tray::default(),
            looks: Tray::default(),
            dos: Tray::default(),
        }
    }

    /// The rows are others: begins links that are new, ends those that are gone.
    fn follow(&mut self, seen: &Seen, tasks: &mut JoinSet<()>) {
        if !self.is_shared {
            self.rival.follow(seen);
        }
        self.end_gone(seen);
        for (name, link) in &seen.links {
            let is_own = self.file.has(name) || self.links.contains_key(name);
            // of another file
            if link.row.origin == Origin::Declared && !is_own {
                self.rival.tell_other_file(name, self.is_shared && seen.is_holder);
                continue;
            }
            let ctx = self.of(name, tasks);
            if let Some(running) = self.links.get_mut(name) {
                running.is_seen = true;
            }
            let news = |row: &mut Option<_>| {
                let is_news = row.as_ref() != Some(&link.row);
                row.clone_from(&Some(link.row.clone()));
                is_news
            };
            ctx.row.send_if_modified(news);
            tell::show(&ctx, &self.shown, seen, link);
        }
        let rowless = self.links.iter().filter(|(name, _)| !seen.links.contains_key(name));
        rowless.for_each(|(_, one)| tell::show_rowless(&one.ctx, &self.shown, seen));
    }

    /// Nothing of them is held any more: a link's row goes last.
    fn end_gone(&mut self, seen: &Seen) {
        let shown = &self.shown.links;
        self.links.retain(|name, running| {
            let is_gone = running.is_seen && !seen.links.contains_key(name);
            if is_gone {
                running.ctx.stop.cancel();
                lock(shown).remove(name);
                tracing::info!(link = %name, "the link is deleted");
            }
            !is_gone
        });
    }

    fn note_ended(&self, ended: Result<(), tokio::task::JoinError>) {
        if let Err(error) = ended {
            self.tell_fault(format!(
                "a link's tasks have ended, which is a fault of isolog ({error}): start it again"
            ));
        }
    }

    fn lament(&self, what: &str, ended: Option<Result<(), tokio::task::JoinError>>) {
        if self.world.stop.is_cancelled() {
            return;
        }
        let cause = match ended {
            Some(Err(error)) => format!(" ({error})"),
            _ => String::new(),
        };
        self.tell_fault(format!(
            "the task that {what} has ended, which is a fault of isolog{cause}: start it again"
        ));
    }

    fn tell_fault(&self, text: String) {
        tracing::error!("{text}");
        self.shown.tell("driver", Some(tell::internal(text)));
    }
}

/// All tasks of one link, until its stop token.
async fn drive(ctx: Arc<Ctx>) {
    let mut beside = JoinSet::new();
    beside.spawn(reach::keep(ctx.clone()));
    beside.spawn(looks::keep(ctx.clone()));
    beside.spawn(loops::keep(ctx.clone()));
    beside.spawn(dos::keep(ctx.clone()));
    beside.spawn(tasks::starts::keep(ctx.clone()));
    beside.spawn(tasks::configs::keep(ctx.clone()));
    beside.spawn(offsets::keep(ctx.clone()));
    beside.spawn(tasks::acls::keep(ctx.clone()));
    beside.spawn(standing::keep(ctx.link.clone(), ctx.world.wall));
    let mut holding = JoinSet::new();
    holding.spawn(hold::keep(ctx.clone()));
    loop {
        let ended = tokio::select! {
            biased;
            () = ctx.stop.cancelled() => break,
            Some(ended) = beside.join_next() => ended,
            Some(ended) = holding.join_next() => ended,
            else => break,
        };
        let cause = ended.err().map_or(String::new(), |error| format!(" ({error})"));
        let text = format!(
            "a task of the link has ended, which is a fault of isolog{cause}: start it again"
        );
        tracing::error!(link = %ctx.name, "{text}");
        ctx.set_wrong(Some(text));
    }
    beside.abort_all();
    while holding.join_next().await.is_some() {}
}
