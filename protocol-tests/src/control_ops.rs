//! The control machine against two clusters that are maps: random orders, observations, conflicts
//! at the journal, crashes between any two polls, lost results, and two instances with stale tails.
//!
//! It never uses a socket or a clock; a run is a pure function of its dice.

mod checks;
pub(crate) mod clusters;
mod configs;
pub mod crashes;
mod ends;
mod flow;
mod groups;
mod instance;
mod kinds;
mod remembered;
mod rights;
mod told;
mod truth;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use isolog::control::journal::Stamp;
use isolog::control::journal::TailBatch;
use isolog::control::journal::TailRecord;
use isolog::control::journal::WriterTag;
use isolog::control::machine::Write;
use isolog::control::order::GroupVerb;
use isolog::control::order::MirrorVerb;
use isolog::control::order::NewLink;
use isolog::control::order::NewMirror;
use isolog::control::order::Order;
use isolog::control::order::Ticket;
use isolog::control::order::Verb;
use isolog::control::row::LinkMode;
use isolog::control::topic::Fault;
use isolog::control::topic::How;
use isolog::ids::GroupName;
use isolog::ids::LinkName;
use isolog::ids::Offset;
use isolog::ids::TimestampMs;
use isolog::ids::TopicName;

use crate::mirror_ops::Dice;
use clusters::Clusters;
use configs::Configs;
use ends::Ends;
use groups::Groups;
use instance::Instance;
use instance::settings;
use rights::Acls;
use truth::Truth;

/// How often a link looks at all topics.
const LOOK_EVERY_MS: i64 = 10_000;
/// So many rounds, of a second each, that links have looked at all topics often enough.
const CALM_ROUNDS_MIN: u32 = 120;
/// How many rows a write has at most: fewer than topics in an order.
const ROWS_MAX: usize = 2;
/// How many rounds of calm the machines may need to settle.
const CALM_ROUNDS_MAX: u32 = 4_000;

/// How much was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Steps.
    pub steps: u64,
    /// Batches of the journal that counted.
    pub counted: u64,
    /// Batches of the journal that did not.
    pub skipped: u64,
    /// Orders that were obeyed.
    pub obeyed: u64,
    /// Orders that were refused.
    pub refused: u64,
    /// Instances that were killed.
    pub crashes: u64,
    /// Partitions that were sealed.
    pub sealed: u64,
    /// Bindings that were created or deleted at the destination.
    pub bound: u64,
    /// Offsets of groups that were committed there.
    pub committed: u64,
}

/// One run and what came of it.
pub struct World<'a> {
    dice: Dice<'a>,
    clock: i64,
    /// The journal's log, batch by batch.
    log: Vec<TailBatch>,
    /// What the log says, by a model of ten lines.
    truth: Truth,
    clusters: Clusters,
    ends: Ends,
    acls: Acls,
    groups: Groups,
    configs: Configs,
    instances: Vec<Instance>,
    /// Which of them has the role, whatever the others believe.
    holder: usize,
    /// Tickets that have not been answered, and what they asked for.
    open: BTreeMap<Ticket, Order>,
    /// Tickets whose answer nobody waits for any more.
    given_up: BTreeSet<Ticket>,
    tickets: u64,
    tags: u64,
    faults: bool,
    tally: Tally,
}

fn link_names() -> [LinkName; 2] {
    ["dr", "eu"].map(|name| LinkName(name.into()))
}

/// What the config file of each instance declares: all have the first link, and each one more that
/// is no business of the other's.
fn file(nth: usize) -> [LinkName; 2] {
    let [first, _] = link_names();
    [first, LinkName(if nth == 0 { "us" } else { "ap" }.into())]
}

/// All links that there may be.
fn all_links() -> [LinkName; 4] {
    let ([dr, eu], [_, us], [_, ap]) = (link_names(), file(0), file(1));
    [dr, eu, us, ap]
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).expect("a legal name")
}

/// The names that the source may have topics of.
const NAMES: [&str; 5] = ["a", "b", "c", "orders", "orders.x"];

impl<'a> World<'a> {
    /// A world with some topics and one or two instances.
    pub fn new(mut dice: Dice<'a>) -> World<'a> {
        let mut clusters = Clusters::default();
        for name in NAMES {
            if dice.roll(2) == 0 {
                clusters.create_source(&topic(name), 1 + dice.roll(3) as i32);
            }
            if dice.roll(8) == 0 {
                clusters.create_mirror(&topic(name), 1 + dice.roll(3) as i32, false);
            }
        }
        let log = remembered::log(&mut dice, &mut clusters);
        let acls = Acls::new(&mut dice);
        let mut world = World {
            dice,
            clock: 1_700_000_000_000,
            log,
            truth: Truth::default(),
            clusters,
            ends: Ends::default(),
            acls,
            groups: Groups::default(),
            configs: Configs::default(),
            instances: Vec::new(),
            holder: 0,
            open: BTreeMap::new(),
            given_up: BTreeSet::new(),
            tickets: 0,
            tags: 0,
            faults: true,
            tally: Tally::default(),
        };
        for nth in 0..1 + world.dice.roll(2) {
            let instance = world.start_instance(nth as usize);
            world.instances.push(instance);
        }
        world.give_role(0);
        world
    }

    /// `steps` random steps, then calm, then the verdict.
    pub fn run(mut self, steps: u64) -> Tally {
        for _ in 0..steps {
            self.step();
        }
        self.calm();
        self.verdict();
        self.tally
    }

    fn now(&self) -> TimestampMs {
        TimestampMs(self.clock)
    }

    fn end(&self) -> i64 {
        self.log.last().map_or(0, |batch| batch.next.get())
    }

    fn start_instance(&mut self, nth: usize) -> Instance {
        self.tags += 1;
        let now = self.now();
        let mut instance = Instance::new(WriterTag(self.tags), self.log.len());
        let new = |link: LinkName| NewLink {
            id: format!("declared {link}"),
            mode: LinkMode::Destination,
            source: None,
            configs: BTreeMap::new(),
            is_declared: true,
        };
        let declared = file(nth).map(|link| (link.clone(), new(link)));
        instance.machine.handle_declared(now, declared.into());
        for link in file(nth) {
            instance.machine.handle_settings(now, &link, Some(settings(&link)));
        }
        if self.log.is_empty() {
            instance.machine.handle_level(now);
            instance.is_level = true;
        }
        instance
    }

    fn give_role(&mut self, nth: usize) {
        let now = self.now();
        if self.holder != nth {
            // the lease is over before anybody else has the role: nothing of it leaves any more
            let clerk = std::mem::take(&mut self.instances[self.holder].clerk);
            self.land_late(clerk);
            self.write(self.holder);
            self.holder = nth;
            // a role that was lost is not given again before that is known
            self.instances[nth].set_role(now, false);
        }
        for (at, instance) in self.instances.iter_mut().enumerate() {
            // the one that had it may not have heard
            if at == nth || !self.faults || self.dice.roll(2) == 0 {
                instance.set_role(now, at == nth);
            }
        }
    }

    fn step(&mut self) {
        self.tally.steps += 1;
        self.clock += self.dice.roll(200) as i64;
        let nth = self.dice.roll(self.instances.len() as u64) as usize;
        match self.dice.roll(43) {
            0..=2 => self.order(nth),
            3..=9 => self.read_tail(nth),
            10..=14 => self.write(nth),
            15..=18 => self.look(nth),
            19..=22 => self.act(nth),
            23..=27 => self.flow(nth),
            28 => self.pass_time(nth),
            29 => self.reach(nth),
            32 | 33 => self.last_turns(nth),
            34..=36 => self.rights(nth),
            37..=39 => self.groups(nth),
            40 => self.copy(nth),
            41 => self.produce(),
            42 => self.configs(nth),
            _ if self.faults => self.disturb(nth),
            _ => {}
        }
        self.collect(nth);
    }

    fn pass_time(&mut self, nth: usize) {
        self.clock += self.dice.roll(5_000) as i64;
        let now = self.now();
        self.instances[nth].machine.handle_timeout(now);
    }

    fn any_link(&mut self) -> LinkName {
        let all = all_links();
        all[self.dice.roll(all.len() as u64) as usize].clone()
    }

    fn any_topics(&mut self) -> Vec<TopicName> {
        let count = 1 + self.dice.roll(3);
        let names: BTreeSet<_> =
            (0..count).map(|_| NAMES[self.dice.roll(NAMES.len() as u64) as usize]).collect();
        names.into_iter().map(topic).collect()
    }

    fn order(&mut self, nth: usize) {
        let link = self.any_link();
        let rename = settings(&link).rename;
        let mirrors = |topics: Vec<TopicName>| -> Vec<TopicName> {
            topics.iter().map(|name| topic(&rename.text(name.as_str()))).collect()
        };
        let topics = mirrors(self.any_topics());
        let verb = match self.dice.roll(17) {
            0 => Verb::CreateLink(NewLink {
                id: format!("id{}", self.tickets),
                mode: LinkMode::Destination,
                source: None,
                configs: BTreeMap::new(),
                is_declared: false,
            }),
            1 => Verb::AlterLink {
                configs: BTreeMap::from([("k".into(), Some("v".into()))]),
                checked: self.dice.roll(3),
            },
            2 => Verb::PauseLink(true),
            3 | 4 => Verb::PauseLink(false),
            5 => Verb::DeleteLink { is_forced: self.dice.roll(2) == 0 },
            6 | 7 => {
                let source = topic(NAMES[self.dice.roll(NAMES.len() as u64) as usize]);
                let here = rename.text(source.as_str());
                let restore = self.clusters.any_restore((&source, &here), self.tickets);
                let (mirror, start, replicas) = (None, None, None);
                let configs = BTreeMap::new();
                Verb::CreateMirror(NewMirror { source, mirror, start, replicas, configs, restore })
            }
            8 | 9 => Verb::Mirrors(topics, MirrorVerb::Pause),
            10 | 11 => Verb::Mirrors(topics, MirrorVerb::Resume),
            12 => {
                let timed = self.dice.roll(2) == 0;
                let deadline_ms = timed.then_some(self.clock + 3_000);
                let verb = match self.dice.roll(4) {
                    0 => MirrorVerb::Abandon { deadline_ms },
                    1 => MirrorVerb::Reverse { is_paused: timed, deadline_ms },
                    _ => MirrorVerb::Stop { how: How::Promote, deadline_ms },
                };
                Verb::Mirrors(topics, verb)
            }
            13 => {
                let stop = MirrorVerb::Stop { how: How::Failover, deadline_ms: None };
                Verb::Mirrors(topics, stop)
            }
            14 | 15 => {
                let topic = self.dice.roll(2) == 0;
                Verb::Mirrors(topics, MirrorVerb::Delete { topic })
            }
            _ => {
                let forgets = self.dice.roll(2) == 0;
                let verb = if forgets { GroupVerb::Forget } else { GroupVerb::Follow };
                Verb::Groups(BTreeSet::from([GroupName::new("billing")]), verb)
            }
        };
        let is_dry = self.dice.roll(6) == 0;
        self.give_order(nth, Order { link, verb, is_dry });
    }

    fn give_order(&mut self, nth: usize, order: Order) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let now = self.now();
        self.open.insert(ticket, order.clone());
        self.instances[nth].tickets.insert(ticket);
        self.instances[nth].machine.handle_order(now, ticket, order);
        ticket
    }

    /// An instance reads the journal's next batch.
    fn read_tail(&mut self, nth: usize) {
        let now = self.now();
        let instance = &mut self.instances[nth];
        if let Some(batch) = self.log.get(instance.read) {
            instance.read += 1;
            instance.truth.apply(batch);
            instance.machine.handle_batch(now, batch.clone());
            self.check_fold(nth);
        }
        let instance = &mut self.instances[nth];
        if !instance.is_level && instance.read >= instance.level_at {
            instance.is_level = true;
            instance.machine.handle_level(now);
        }
        self.settle_settings(nth);
    }

    /// The driver types the settings of links that it sees in the journal, and of its own file's.
    fn settle_settings(&mut self, nth: usize) {
        let now = self.now();
        for link in all_links() {
            let instance = &mut self.instances[nth];
            let is_there = instance.truth.link(&link).is_some();
            let is_its = checks::acts_on(&instance.truth, nth, &link);
            let is_wanted = file(nth).contains(&link) || is_there && is_its;
            let is_known = instance.machine.link_track(&link);
            let is_known = is_known.is_some_and(|track| track.settings.is_some());
            if is_wanted != is_known {
                let settings = is_wanted.then(|| settings(&link));
                instance.machine.handle_settings(now, &link, settings);
            }
        }
    }

    /// A write reaches the broker. It is appended where the log ends if that is where it was
    /// decided; or, by a broker that has forgotten the writer, wherever the log ends.
    fn write(&mut self, nth: usize) {
        let forgets = self.faults && self.dice.roll(32) == 0;
        let Some(write) = self.instances[nth].writes.pop_front() else { return };
        if self.faults && self.dice.roll(16) == 0 {
            return self.instances[nth].writes.push_back(write); // lost, and sent again
        }
        if self.faults && self.dice.roll(64) == 0 {
            let fault = Fault { code: "TOPIC_AUTHORIZATION_FAILED".into(), text: "no".into() };
            let now = self.now();
            return self.instances[nth].machine.handle_refused(now, write.id, fault);
        }
        let has_rights = write.rows.iter().any(|(key, _)| key.starts_with("acl/"));
        if has_rights && self.holder != nth {
            // its lease is over, and what was on its way has come: tried again until it knows
            let instance = &mut self.instances[nth];
            return instance.writes.extend(instance.is_holder.then_some(write));
        }
        if write.stamp.at.get() == self.end() || forgets {
            self.append(Some(write.stamp), &write);
        }
    }

    fn append(&mut self, stamp: Option<Stamp>, write: &Write) {
        let record = |(key, value): &(String, Option<String>)| TailRecord {
            key: Some(key.clone()),
            value: value.clone(),
            stamp,
        };
        let base = self.end();
        let next = base + write.rows.len() as i64;
        let offset = |raw| Offset::new(raw).expect("not negative");
        let records = write.rows.iter().map(record).collect();
        let batch = TailBatch { base: offset(base), next: offset(next), records };
        let (counts, changes) = self.truth.apply_told(&batch);
        match counts {
            true => self.tally.counted += 1,
            false => self.tally.skipped += 1,
        }
        checks::transitions(&self.truth, &changes);
        self.log.push(batch);
    }

    /// Somebody writes into the journal with a console producer.
    fn intrude(&mut self) {
        let keys: Vec<String> = self.truth.texts().keys().cloned().collect();
        let key = match keys.len() {
            0 => "link/x".to_owned(),
            count => keys[self.dice.roll(count as u64) as usize].clone(),
        };
        let value = (self.dice.roll(2) == 0).then(|| "{\"v\":1}".to_owned());
        let stamp = Stamp { at: Offset::ZERO, writer: WriterTag(0), number: 0 };
        let id = isolog::control::facts::WriteId(0);
        self.append(None, &Write { id, stamp, rows: vec![(key, value)] });
    }

    fn disturb(&mut self, nth: usize) {
        match self.dice.roll(24) {
            0 => self.intrude(),
            1 => self.crash(nth),
            2 => self.give_role(nth),
            3..=5 => {
                let name = topic(NAMES[self.dice.roll(NAMES.len() as u64) as usize]);
                self.clusters.change_source(&name, self.dice.roll(6));
            }
            6 => {
                let name = topic(NAMES[self.dice.roll(NAMES.len() as u64) as usize]);
                self.clusters.mirror.remove(&name);
            }
            _ => {}
        }
        self.expire_topics();
    }

    /// The process is gone: its writes may be on their way still, and so may what it was doing.
    fn crash(&mut self, nth: usize) {
        self.tally.crashes += 1;
        let lost = self.instances[nth].tickets.clone();
        self.open.retain(|ticket, _| !lost.contains(ticket));
        let writes = std::mem::take(&mut self.instances[nth].writes);
        let dos = std::mem::take(&mut self.instances[nth].dos);
        let clerk = std::mem::take(&mut self.instances[nth].clerk);
        self.land_late(clerk);
        let had_role = self.instances[nth].is_holder;
        for write in writes {
            if self.dice.roll(2) == 0 && write.stamp.at.get() == self.end() {
                self.append(Some(write.stamp), &write);
            }
        }
        for (_, action) in dos {
            if self.dice.roll(2) == 0 {
                let _ = self.clusters.act(&action);
            }
        }
        self.instances[nth] = self.start_instance(nth);
        if had_role {
            let now = self.now();
            self.instances[nth].set_role(now, true);
        }
    }
}

/// One run; panics where a rule is broken.
pub fn run_seed(seed: u64, steps: u64) -> Tally {
    World::new(Dice::seeded(seed)).run(steps)
}

/// The fuzzer's run: its bytes are the dice.
pub fn run_bytes(data: &[u8]) {
    World::new(Dice::of(data)).run(data.len() as u64);
}
