//! The hands of a registry without any Kafka: a journal that is a list, two clusters that are maps,
//! and a flow that holds what it is told to hold.
//!
//! It never decides anything, and does nothing of a kind that a test holds back.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use isolog::control::acls::AclSync;
use isolog::control::facts::FlowFact;
use isolog::control::facts::Flowed;
use isolog::control::facts::MirrorKey;
use isolog::control::facts::Mode;
use isolog::control::facts::Reach;
use isolog::control::facts::TopicSpec;
use isolog::control::filter::Pattern;
use isolog::control::filter::Rule;
use isolog::control::filter::TopicFilter;
use isolog::control::journal::TailBatch;
use isolog::control::journal::TailRecord;
use isolog::control::journal::WriterTag;
use isolog::control::link::LinkSettings;
use isolog::control::machine::Control;
use isolog::control::machine::ROWS_MAX;
use isolog::control::machine::Write;
use isolog::control::order::NewLink;
use isolog::control::rename::Rename;
use isolog::control::row::Key;
use isolog::control::row::LinkRow;
use isolog::control::row::Row;
use isolog::control::row::Sealed;
use isolog::control::start::StartSpec;
use isolog::control::task::TaskName;
use isolog::control::task::configs::ConfigSync;
use isolog::control::topic::Fault;
use isolog::flow::Wall;
use isolog::ids::ClusterId;
use isolog::ids::LinkName;
use isolog::ids::Offset;
use isolog::ids::PartitionId;
use isolog::ids::TimestampMs;
use isolog::ids::TopicName;
use isolog::link::registry;
use isolog::link::registry::Event;
use isolog::link::registry::Registry;
use isolog::link::registry::Work;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::control_ops::clusters::Clusters;

/// The id of every source that answers.
pub const SOURCE: &str = "source-cluster";

/// A kind of work, as a test holds it back.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Rows for the journal.
    Writes,
    /// Questions.
    Looks,
    /// Things to do.
    Dos,
    /// That a partition that drains is level.
    Levels,
    /// The seals of partitions.
    Seals,
    /// Partitions that come back.
    Releases,
}

#[derive(Default)]
struct State {
    log: Vec<TailBatch>,
    clusters: Clusters,
    held_back: BTreeSet<Kind>,
    parked: VecDeque<(Kind, Vec<Event>)>,
    parked_writes: VecDeque<Write>,
    specs: BTreeMap<MirrorKey, TopicSpec>,
    links: BTreeMap<LinkName, LinkRow>,
    refuses: Option<Fault>,
    /// Work that came, by its kind.
    taken: Vec<String>,
}

/// A running registry and what it drives.
#[derive(Clone)]
pub struct Hands {
    /// Where orders are given.
    pub registry: Registry,
    events: mpsc::Sender<Event>,
    state: Arc<Mutex<State>>,
    stop: CancellationToken,
}

impl Drop for Hands {
    fn drop(&mut self) {
        // the task's own copy is the other one
        if Arc::strong_count(&self.state) <= 2 {
            self.stop.cancel();
        }
    }
}

impl Hands {
    /// Starts a registry over an empty journal, level and with the control role.
    pub async fn start() -> Hands {
        let hands = Hands::start_apart(ROWS_MAX);
        hands.tell(Event::Level).await;
        hands.tell(Event::Role(true)).await;
        // an order goes before events that nobody has taken in yet
        hands.until("level, with the role", |seen| seen.is_level && seen.is_holder).await;
        hands
    }

    /// Starts one that knows nothing yet, with at most `rows_max` rows a write.
    pub fn start_apart(rows_max: usize) -> Hands {
        let (events, taken) = mpsc::channel(registry::EVENTS_MAX);
        let (work, mut todo) = mpsc::channel(registry::WORK_MAX);
        let stop = CancellationToken::new();
        let control = Control::new(WriterTag(7), rows_max);
        let wall = Wall::new(TimestampMs(1_700_000_000_000));
        let (registry, running) = registry::start(control, taken, work, wall, stop.clone());
        tokio::spawn(running);
        let state = Arc::new(Mutex::new(State::default()));
        let hands = Hands { registry, events: events.clone(), state: state.clone(), stop };
        tokio::spawn(async move {
            while let Some(work) = todo.recv().await {
                let told = lock(&state).take(work);
                for event in told {
                    if events.send(event).await.is_err() {
                        return;
                    }
                }
            }
        });
        hands
    }

    /// Tells the registry something.
    pub async fn tell(&self, event: Event) {
        self.events.send(event).await.expect("the registry runs");
    }

    /// Ends it.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Links that a config file declares.
    pub async fn declare(&self, names: &[&str]) {
        self.declare_with(names, &[]).await;
    }

    /// The same with these properties.
    pub async fn declare_with(&self, names: &[&str], configs: &[(&str, &str)]) {
        let new = |id: &str| NewLink {
            id: id.to_owned(),
            mode: isolog::control::row::LinkMode::Destination,
            source: None,
            configs: BTreeMap::new(),
            is_declared: true,
        };
        let all = names.iter().map(|name| (LinkName((*name).into()), new(name)));
        self.tell(Event::Declared(all.collect())).await;
        for name in names {
            let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            let settings = settings(&configs.iter().map(own).collect());
            self.tell(Event::Settings(LinkName((*name).into()), Some(Box::new(settings)))).await;
        }
    }

    /// A topic at the source.
    pub fn create_source(&self, name: &str, partitions: i32) {
        lock(&self.state).clusters.create_source(&topic(name), partitions);
    }

    /// An ordinary topic at the destination; with `is_foreign` somebody wrote into it.
    pub fn create_mirror(&self, name: &str, partitions: i32, is_foreign: bool) {
        lock(&self.state).clusters.create_mirror(&topic(name), partitions, is_foreign);
    }

    /// Whether the destination has a topic of that name.
    pub fn has_mirror(&self, name: &str) -> bool {
        lock(&self.state).clusters.mirror.contains_key(&topic(name))
    }

    /// The value of a key, as the journal's last batch with it says.
    pub fn row(&self, key: &str) -> Option<String> {
        let state = lock(&self.state);
        let mut records = state.log.iter().flat_map(|batch| &batch.records);
        records.rfind(|record| record.key.as_deref() == Some(key))?.value.clone()
    }

    /// How many batches the journal has.
    pub fn batches(&self) -> usize {
        lock(&self.state).log.len()
    }

    /// What came, by its kind.
    pub fn taken(&self) -> Vec<String> {
        lock(&self.state).taken.clone()
    }

    /// The journal takes no write from now on.
    pub fn refuse_writes(&self, text: &str) {
        let code = "TOPIC_AUTHORIZATION_FAILED".to_owned();
        lock(&self.state).refuses = Some(Fault { code, text: text.to_owned() });
    }

    /// Nothing of the kind is answered until it is let go.
    pub fn hold_back(&self, kind: Kind) {
        lock(&self.state).held_back.insert(kind);
    }

    /// What was held back is answered, and what comes.
    pub async fn let_go(&self, kind: Kind) {
        let events = lock(&self.state).let_go(kind);
        for event in events {
            self.tell(event).await;
        }
    }

    /// Somebody else writes a row of the journal, as of its end.
    pub async fn write_besides(&self, key: &str, value: Option<&str>) {
        let events = lock(&self.state).write_besides(key, value);
        for event in events {
            self.tell(event).await;
        }
    }

    /// A rule stops a partition of a mirror topic.
    pub async fn halt(&self, link: &str, mirror: &str, partition: i32, fault: Fault) {
        let key = (LinkName(link.into()), topic(mirror));
        let incarnation = lock(&self.state).specs.get(&key).map(|spec| spec.incarnation);
        let incarnation = incarnation.expect("the mirror topic is held");
        let (partition, what) = (PartitionId(partition), Flowed::Halted(fault));
        self.tell(Event::Flow(FlowFact { mirror: key, partition, incarnation, what })).await;
    }

    /// Waits until what is seen is so.
    pub async fn until(&self, what: &str, is_so: impl Fn(&registry::Seen) -> bool) {
        let mut registry = self.registry.clone();
        let all = async {
            while !is_so(&registry.seen()) {
                assert!(registry.changed().await, "the registry has ended");
            }
        };
        let wait = std::time::Duration::from_secs(120);
        tokio::time::timeout(wait, all).await.unwrap_or_else(|_| panic!("never {what}"));
    }
}

impl State {
    /// Does a piece of work, or keeps it back; what is to be told at once comes back.
    fn take(&mut self, work: Work) -> Vec<Event> {
        match work {
            Work::Write(write) => {
                self.taken.push("write".to_owned());
                if self.held_back.contains(&Kind::Writes) {
                    self.parked_writes.push_back(write);
                    return Vec::new();
                }
                self.append(write)
            }
            Work::Look(id, look) => {
                self.taken.push("look".to_owned());
                let observed = Event::Observed(id, Ok(self.clusters.look(&look)));
                self.answer(Kind::Looks, vec![observed])
            }
            Work::Do(id, action) => {
                self.taken.push("do".to_owned());
                let done = Event::Done(id, self.clusters.act(&action));
                self.answer(Kind::Dos, vec![done])
            }
            Work::Spec(mirror, spec) => self.hold(mirror, spec),
        }
    }

    fn answer(&mut self, kind: Kind, events: Vec<Event>) -> Vec<Event> {
        if self.held_back.contains(&kind) {
            self.parked.push_back((kind, events));
            return Vec::new();
        }
        events
    }

    fn let_go(&mut self, kind: Kind) -> Vec<Event> {
        self.held_back.remove(&kind);
        let parked = std::mem::take(&mut self.parked);
        let (free, kept): (Vec<_>, Vec<_>) = parked.into_iter().partition(|(of, _)| *of == kind);
        self.parked = kept.into();
        let mut events: Vec<Event> = free.into_iter().flat_map(|(_, events)| events).collect();
        if kind == Kind::Writes {
            for write in std::mem::take(&mut self.parked_writes) {
                events.extend(self.append(write));
            }
        }
        events
    }

    fn end(&self) -> Offset {
        self.log.last().map_or(Offset::ZERO, |batch| batch.next)
    }

    /// Appended where the log ends, if that is where it was decided.
    fn append(&mut self, write: Write) -> Vec<Event> {
        if let Some(fault) = &self.refuses {
            return vec![Event::Refused(write.id, fault.clone())];
        }
        if write.stamp.at != self.end() {
            return Vec::new(); // the tail has told why already
        }
        let record = |(key, value)| TailRecord { key: Some(key), value, stamp: Some(write.stamp) };
        let base = self.end();
        let next = base.plus(write.rows.len() as u64).expect("a short log");
        let records: Vec<TailRecord> = write.rows.into_iter().map(record).collect();
        let batch = TailBatch { base, next, records };
        self.log.push(batch.clone());
        let settings = self.settings_of(&batch);
        let mut events = vec![Event::Batch(batch)];
        events.extend(settings);
        events
    }

    fn write_besides(&mut self, key: &str, value: Option<&str>) -> Vec<Event> {
        let writer = WriterTag(8);
        let stamp = isolog::control::journal::Stamp { at: self.end(), writer, number: 1 };
        let rows = vec![(key.to_owned(), value.map(str::to_owned))];
        self.append(Write { id: isolog::control::facts::WriteId(0), stamp, rows })
    }

    /// The driver's part for links that are commanded: their settings, and that they are reached.
    fn settings_of(&mut self, batch: &TailBatch) -> Vec<Event> {
        let mut events = Vec::new();
        for record in &batch.records {
            let key = record.key.as_deref().and_then(Key::parse);
            let Some(Key::Link(link)) = key else { continue };
            let key = Key::Link(link.clone());
            let row = record.value.as_deref().map(|text| Row::parse(&key, text));
            let Some(Ok(Row::Link(row))) = row else {
                self.links.remove(&link);
                events.push(Event::Settings(link, None));
                continue;
            };
            if row.origin == isolog::control::row::Origin::Commanded {
                let settings = Box::new(settings(&row.configs));
                events.push(Event::Settings(link.clone(), Some(settings)));
            }
            let source = row.source.clone().unwrap_or(ClusterId(SOURCE.into()));
            events.push(Event::Reach(link.clone(), Reach::Available(source)));
            self.links.insert(link, row);
        }
        events
    }

    fn hold(&mut self, mirror: MirrorKey, spec: Option<TopicSpec>) -> Vec<Event> {
        let fact = |partition: PartitionId, incarnation, what| {
            Event::Flow(FlowFact { mirror: mirror.clone(), partition, incarnation, what })
        };
        let Some(spec) = spec else {
            let Some(before) = self.specs.remove(&mirror) else { return Vec::new() };
            let all = before.partitions.keys();
            let all = all.map(|one| fact(*one, before.incarnation, Flowed::Released)).collect();
            return self.answer(Kind::Releases, all);
        };
        self.taken.push(format!("{:?}", spec.mode));
        let kind = match spec.mode {
            Mode::Mirror => Kind::Levels,
            Mode::Drain | Mode::DrainStable => Kind::Levels,
            Mode::Seal => Kind::Seals,
        };
        let what = |mode| match mode {
            Mode::Mirror => Flowed::Going,
            Mode::Drain | Mode::DrainStable => Flowed::Level(true),
            Mode::Seal => {
                let (source_next, source_end) = (None, None);
                Flowed::IsSealed(Sealed { end: Offset::ZERO, source_next, source_end })
            }
        };
        let all = spec.partitions.keys();
        let all = all.map(|one| fact(*one, spec.incarnation, what(spec.mode))).collect();
        self.specs.insert(mirror, spec);
        self.answer(kind, all)
    }
}

/// What a link's properties say, as far as these tests set them.
fn settings(configs: &BTreeMap<String, String>) -> LinkSettings {
    let names = configs.get("mirror.topics").map(String::as_str).unwrap_or_default();
    let names = names.split(',').filter(|name| !name.is_empty());
    let rules = names.map(|name| Rule::include(Pattern::parse(name).expect("a pattern")));
    let named = TopicFilter::new(rules.collect());
    LinkSettings {
        rename: Rename::prefixed(configs.get("cluster.link.prefix").map_or("", String::as_str)),
        topics: named.clone(),
        named,
        start: StartSpec::Earliest,
        replicas: None,
        look_every_ms: 300_000,
        groups: None,
        is_paused: configs.get("cluster.link.paused").is_some_and(|value| value == "true"),
        tasks: [TaskName::AutoCreateMirror].into(),
        configs: ConfigSync::default(),
        acls: AclSync::default(),
    }
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).expect("a legal name")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
