//! The whole program between two simulated clusters, on an in-memory network, in paused time.
//!
//! It never uses a real socket or a real clock: a run is a function of its seed.

pub mod instance;
pub mod kinds;
pub mod status;
pub mod topics;
pub mod verdict;

use std::time::Duration;

use isolog::flow;
use isolog::mirror::facts::Policy;
use isolog::mirror::lag::Snapshot;
use kafka_protocol::messages::ApiKey;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::broker::cluster::TestCluster;
use crate::broker::spec::Spec;
use crate::broker::spec::Version;
use crate::net::Net;
use crate::net::Proxy;
use crate::net::Rule;
use crate::rng::Rng;
use crate::world::instance::Instance;
use crate::world::instance::faithful;
use crate::world::instance::hasty_flow;
use crate::world::instance::small_flow;
use crate::world::kinds::Kind;
use crate::world::kinds::Trait;
use crate::world::status::Truth;
use crate::world::topics::Pen;
use crate::world::topics::Topic;
use crate::world::topics::assert_right;
use crate::world::topics::clean_copy;
use crate::world::topics::has;
use crate::world::topics::has_leaders;

/// The name isolog dials under, so that faults can be set for it alone.
pub const CLIENT: &str = "isolog";
/// How long a world may take to become level once the faults have stopped, in its own time.
const CALM_MAX: Duration = Duration::from_secs(900);
/// A name and a prefix of `mirror.topics` that no world ever has.
pub const ABSENT: &str = "absent";
/// See `ABSENT`.
pub const IDLE: &str = "idle.*";
/// What a client may fetch and append at a broker that throttles, in bytes a second.
const QUOTA: i64 = 3_000;

/// Three days, in ms: three times what a broker remembers a writer for.
const OLD_MS: i64 = 3 * 86_400_000;

/// Two clusters and one replicator.
pub struct World {
    /// The network.
    pub net: Net,
    /// Where records come from.
    pub source: TestCluster,
    /// Where they go.
    pub destination: TestCluster,
    rng: Rng,
    topics: Vec<Topic>,
    /// The bounds of every isolog that is started.
    pub flow: flow::Options,
    /// The choices of every isolog that is started.
    pub policy: Policy,
    /// `mirror.topics` of every isolog that is started.
    pub patterns: Vec<&'static str>,
    running: Option<Instance>,
    truth: Truth,
    began: Instant,
    /// Which faults this world knows.
    faults: Vec<Fault>,
    /// All records are so old that the destination forgets their writer whenever it looks.
    is_old: bool,
    written: u64,
}

/// What can go wrong; each world knows a few of them.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of isolog, and a new one.
    KillIsolog,
    /// SIGTERM of isolog, and a new one.
    StopIsolog,
    /// A broker is killed and comes back.
    KillBroker,
    /// A broker stops answering and comes back with old beliefs.
    FreezeBroker,
    /// Another replica leads.
    MoveLeader,
    /// All connections to a broker break.
    Cut,
    /// Connections break somewhere inside what is written.
    CutInside,
    /// A broker is reachable for nobody, without a word.
    BlackHole,
    /// Bytes are late, and arrive even after an abort.
    LateBytes,
    /// A topic gets another partition.
    Grow,
    /// A topic appears.
    NewTopic,
    /// Clients may move only a few bytes a second.
    Throttle,
    /// Something happens to a topic that is never mended: it is deleted, or written into.
    Doom,
}

const FAULTS: [Fault; 13] = [
    Fault::KillIsolog,
    Fault::StopIsolog,
    Fault::KillBroker,
    Fault::FreezeBroker,
    Fault::MoveLeader,
    Fault::Cut,
    Fault::CutInside,
    Fault::BlackHole,
    Fault::LateBytes,
    Fault::Grow,
    Fault::NewTopic,
    Fault::Throttle,
    Fault::Doom,
];

/// What came of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Records at the source, all of them copied.
    pub records: u64,
    /// Faults that struck.
    pub strikes: u64,
    /// A digest of the destination's logs and of the time it took: the same for the same seed.
    pub trace: u32,
}

impl World {
    /// Two clusters whose sizes and versions follow from the seed; isolog is not started.
    pub fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let net = Net::new(rng.next_u64());
        let specs = (spec("source", &mut rng), spec("destination", &mut rng));
        let mut faults = FAULTS.to_vec();
        let is_old = seed % 4 == 3;
        if is_old {
            // a forgotten writer is told by time alone: no bytes may outlive it (docs/OFFSETS.md)
            faults.retain(|fault| *fault != Fault::LateBytes);
        }
        while faults.len() > 5 {
            faults.remove(rng.between(0, faults.len() as u64 - 1) as usize);
        }
        World { faults, is_old, flow: hasty_flow(seed), ..World::over(net, rng, specs) }
    }

    /// Two clusters as the test wants them; isolog is not started.
    pub fn between(source: Spec, destination: Spec) -> World {
        let mut rng = Rng::new(source.seed ^ destination.seed << 32);
        World::over(Net::new(rng.next_u64()), rng, (source, destination))
    }

    fn over(net: Net, rng: Rng, (source, destination): (Spec, Spec)) -> World {
        World {
            source: TestCluster::start(&net, source),
            destination: TestCluster::start(&net, destination),
            net,
            rng,
            topics: Vec::new(),
            flow: small_flow(),
            policy: faithful(),
            patterns: vec!["*"],
            running: None,
            truth: Truth::default(),
            began: Instant::now(),
            faults: Vec::new(),
            is_old: false,
            written: 0,
        }
    }

    /// A plain topic at the source.
    pub fn topic(&mut self, name: &str, partitions: i32) {
        self.topic_of(name, partitions, Kind::plain());
    }

    /// A topic at the source that holds what its kind says.
    pub fn topic_of(&mut self, name: &str, partitions: i32, kind: Kind) {
        self.source.create_topic(name, partitions, &kind.configs());
        let mut topic = Topic::new(name, kind);
        topic.grow(partitions, &mut self.pen());
        self.topics.push(topic);
    }

    fn pen(&mut self) -> Pen<'_> {
        let age_ms = if self.is_old { OLD_MS } else { 0 };
        Pen { source: &self.source, rng: &mut self.rng, age_ms, written: &mut self.written }
    }

    /// Does something with a random partition.
    fn with_one(&mut self, act: impl FnOnce(&mut Topic, i32, &mut Pen)) {
        let at = self.rng.between(0, self.topics.len() as u64 - 1) as usize;
        let mut topics = std::mem::take(&mut self.topics);
        let partition = self.rng.between(0, topics[at].count() as u64 - 1) as i32;
        act(&mut topics[at], partition, &mut self.pen());
        self.topics = topics;
    }

    /// Starts isolog.
    pub fn start(&mut self) {
        self.running = Some(self.instance(CLIENT));
    }

    /// One more isolog over the same link, under a network name of its own.
    pub fn instance(&mut self, client: &str) -> Instance {
        let seed = self.rng.next_u64();
        let (flow, policy) = (&self.flow, self.policy);
        let how = (seed, &self.patterns[..]);
        Instance::start(&self.source, &self.destination, client, flow, policy, how)
    }

    /// The isolog that runs.
    pub fn isolog(&self) -> &Instance {
        self.running.as_ref().expect("isolog was started")
    }

    /// `kill -9`: nothing more is sent; what the network has is still delivered.
    pub async fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill().await;
        }
    }

    /// SIGTERM: what is in flight is answered.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// What isolog shows of a partition.
    pub fn seen(&self, topic: &str, partition: i32) -> Option<Snapshot> {
        self.running.as_ref()?.seen(topic, partition)
    }

    /// Waits until isolog shows something of a partition.
    pub async fn wait_seen(&self, topic: &str, partition: i32, holds: impl Fn(&Snapshot) -> bool) {
        let until = Instant::now() + CALM_MAX;
        loop {
            let seen = self.seen(topic, partition);
            if seen.as_ref().is_some_and(&holds) {
                return;
            }
            assert!(Instant::now() < until, "{topic}-{partition} never got there: {seen:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// A batch of a few records to a random partition.
    pub fn produce(&mut self) {
        self.with_one(Topic::write);
    }

    /// What brokers do by themselves: they clean and they cut.
    fn keep_house(&mut self) {
        let destination = self.destination.clone();
        self.with_one(|topic, partition, pen| {
            if topic.kind.has(Trait::Compacted) {
                topic.clean(partition, pen);
                if pen.rng.chance(300) {
                    clean_copy(&destination, topic, partition);
                }
            }
            if topic.kind.has(Trait::Trimmed) && has(&destination, &topic.name, partition) {
                // never what is not copied yet: that is a halt by itself
                let copied = destination.dump(&topic.name, partition);
                let start = pen.source.dump(&topic.name, partition).start;
                if start < copied.hwm {
                    topic.trim(
                        partition,
                        pen.rng.between(start as u64, copied.hwm as u64) as i64,
                        pen,
                    );
                }
            }
        });
    }

    /// A random world from its beginning to the verdict.
    pub async fn run(mut self, steps: u64) -> Outcome {
        for (topic, partitions) in [("orders", 3), ("payments", 2), ("users", 1)] {
            let kind = Kind::throw(&mut self.rng);
            self.topic_of(topic, partitions, kind);
        }
        self.patterns = vec!["*", ABSENT, IDLE];
        self.start();
        let mut strikes = 0;
        for _ in 0..steps {
            for _ in 0..self.rng.between(0, 4) {
                self.produce();
            }
            sleep(Duration::from_millis(self.rng.between(1, 400))).await;
            if self.is_old && self.rng.chance(300) {
                self.forget();
            }
            if self.rng.chance(250) {
                self.keep_house();
            }
            if self.rng.chance(150) {
                strikes += 1;
                self.strike().await;
            }
            self.compare_status();
        }
        self.calm().await;
        self.settle_status().await;
        self.stop().await;
        Outcome { records: self.written, strikes, trace: self.verdict() }
    }

    /// The destination looks which writers are too old, and forgets ours.
    fn forget(&self) {
        let destination = &self.destination;
        for (topic, partition) in self.all_partitions() {
            if has(destination, &topic.name, partition) {
                destination.expire_producers_now(&topic.name, partition);
            }
        }
    }

    async fn strike(&mut self) {
        let fault = self.faults[self.rng.between(0, self.faults.len() as u64 - 1) as usize];
        let at_source = self.rng.chance(500);
        let cluster = if at_source { self.source.clone() } else { self.destination.clone() };
        let brokers = cluster.look(|state| state.spec.brokers);
        let broker = self.rng.between(1, brokers as u64) as i32;
        let host = cluster.host(broker);
        let pause = Duration::from_millis(self.rng.between(10, 20_000));
        match fault {
            Fault::KillIsolog => {
                self.kill().await;
                self.start();
            }
            Fault::StopIsolog => {
                self.stop().await;
                self.start();
            }
            Fault::KillBroker => {
                cluster.kill(broker);
                sleep(pause).await;
                self.compare_away(brokers, pause);
                cluster.restart(broker);
            }
            Fault::FreezeBroker => {
                cluster.freeze(broker);
                sleep(pause).await;
                self.compare_away(brokers, pause);
                cluster.thaw(broker);
            }
            Fault::MoveLeader => self.move_leader(&cluster, broker),
            Fault::Cut => self.net.cut(CLIENT, &host),
            Fault::CutInside => self.rule(&host, Rule { cut_permille: 20, ..Rule::default() }),
            Fault::BlackHole => {
                self.rule(&host, Rule { black_hole: true, ..Rule::default() });
                sleep(pause).await;
                self.net.clear_rule(CLIENT, &host);
            }
            Fault::LateBytes => self.late(&host),
            // a cluster that lacks a broker makes no replicas
            Fault::Grow | Fault::NewTopic | Fault::Doom if !self.source_is_whole() => {}
            Fault::Grow => self.grow(),
            Fault::NewTopic => {
                let name = format!("new{}", self.topics.len());
                let kind = Kind::throw(&mut self.rng);
                self.topic_of(&name, 2, kind);
            }
            Fault::Throttle => limit(&cluster, Some(QUOTA)),
            Fault::Doom => self.doom(),
        }
    }

    fn source_is_whole(&self) -> bool {
        self.source.look(|state| state.meta.live.len() == state.brokers.len())
    }

    fn rule(&self, host: &str, rule: Rule) {
        self.net.set_rule(CLIENT, host, rule);
    }

    fn late(&self, host: &str) {
        let rule = Rule { delay_ms: (0, 1_500), proxy: Proxy::DeliversAlways, ..Rule::default() };
        self.rule(host, rule);
    }

    fn move_leader(&mut self, cluster: &TestCluster, to: i32) {
        let at = self.rng.between(0, self.topics.len() as u64 - 1) as usize;
        let topic = self.topics[at].name.clone();
        let is_in_sync = cluster.look(|state| {
            let topic = state.meta.topics().get(&topic);
            topic.is_some_and(|topic| topic.partitions[0].isr.contains(&to))
        });
        if is_in_sync {
            cluster.move_leader(&topic, 0, to);
        }
    }

    fn grow(&mut self) {
        self.with_one(|topic, _, pen| {
            let count = topic.count() + 1;
            if count <= 6 {
                let grown = pen.source.change(|state| state.grow_topic(&topic.name, count));
                grown.expect("it can grow");
                topic.grow(count, pen);
            }
        });
    }

    /// No more faults; waits until both logs end at the same offsets.
    async fn calm(&mut self) {
        for cluster in [&self.source, &self.destination] {
            for broker in 1..=cluster.look(|state| state.spec.brokers) {
                self.net.clear_rule(CLIENT, &cluster.host(broker));
            }
            limit(cluster, None);
        }
        while self.topics.iter().any(|topic| !has_leaders(&self.source, topic)) {
            sleep(Duration::from_millis(500)).await;
        }
        let mut topics = std::mem::take(&mut self.topics);
        topics.iter_mut().for_each(|topic| topic.finish(&mut self.pen()));
        self.topics = topics;
        let until = Instant::now() + CALM_MAX;
        while let Some(unlevel) = self.unlevel() {
            self.topics.iter().for_each(|one| one.trim_again(&self.source, &self.destination));
            let running = self.running.as_ref();
            let seen = running.map(|one| (one.link().status(), one.link().partitions()));
            assert!(Instant::now() < until, "{unlevel} never got level; isolog shows {seen:#?}");
            self.compare_status();
            sleep(Duration::from_millis(500)).await;
        }
    }

    fn all_partitions(&self) -> impl Iterator<Item = (&Topic, i32)> {
        self.topics.iter().flat_map(|topic| (0..topic.count()).map(move |n| (topic, n)))
    }

    fn unlevel(&self) -> Option<String> {
        self.all_partitions().find_map(|(topic, partition)| {
            let name = &topic.name;
            if !has(&self.destination, name, partition) {
                return Some(format!("{name}-{partition} (not there)"));
            }
            let (source, copy) =
                (self.source.dump(name, partition), self.destination.dump(name, partition));
            let spans = [(source.start, source.end), (copy.start, copy.end)];
            let is_level = spans[0] == spans[1] && copy.hwm == copy.end;
            let kind = &topic.kind;
            (!is_level).then(|| format!("{name}-{partition} {spans:?} {} {kind:?}", copy.hwm))
        })
    }

    fn verdict(&mut self) -> u32 {
        let mut trace = 0;
        for topic in &mut self.topics {
            for number in 0..topic.count() {
                topic.note(number, &self.source);
                let copy = assert_right(&self.source, &self.destination, topic, number);
                for batch in &copy.batches {
                    trace = crc32c::crc32c_append(trace, &batch.base.to_be_bytes());
                    trace = crc32c::crc32c_append(trace, &batch.section);
                }
            }
        }
        crc32c::crc32c_append(trace, &self.began.elapsed().as_millis().to_be_bytes())
    }
}

fn spec(name: &str, rng: &mut Rng) -> Spec {
    let versions = [Version::V2_8, Version::V3_9, Version::V4_3];
    let version = versions[rng.between(0, 2) as usize];
    let seed = rng.next_u64();
    let spec = if rng.chance(700) { Spec::triple(name, seed) } else { Spec::single(name, seed) };
    Spec { version, ..spec }.rack_aware(name == "source" && seed.is_multiple_of(3))
}

/// Runs one seed in a runtime of its own, in paused time.
pub fn run_seed(seed: u64, steps: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime without IO");
    runtime.block_on(async { World::new(seed).run(steps).await })
}

fn limit(cluster: &TestCluster, bytes_per_second: Option<i64>) {
    for key in [ApiKey::Fetch, ApiKey::Produce] {
        cluster.set_quota(key, bytes_per_second);
    }
}
