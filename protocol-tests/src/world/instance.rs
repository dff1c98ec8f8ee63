//! One isolog between two simulated clusters: started, killed, stopped, looked at.
//!
//! It never decides when: worlds and tests do.

use std::sync::Arc;
use std::time::Duration;

use isolog::cluster;
use isolog::control::filter::Pattern;
use isolog::control::filter::Rule as TopicRule;
use isolog::control::filter::TopicFilter;
use isolog::control::rename::Rename;
use isolog::control::row::LinkMode;
use isolog::control::start::StartSpec;
use isolog::flow;
use isolog::flow::Wall;
use isolog::flow::lane::works::Pool;
use isolog::flow::stats::Gauge;
use isolog::ids::LinkName;
use isolog::ids::MirrorPartition;
use isolog::ids::Side;
use isolog::ids::TimestampMs;
use isolog::link;
use isolog::link::Shared;
use isolog::link::driver;
use isolog::link::status::Link;
use isolog::link::world::Dials;
use isolog::mirror::facts::Merge;
use isolog::mirror::facts::Policy;
use isolog::mirror::lag::Snapshot;
use isolog::service::exporters::Running;
use isolog::service::links::All;
use isolog::settings::link::Defaults;
use isolog::settings::link::Values;
use isolog::settings::trust::Remote;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::cluster::TestCluster;
use crate::broker::spec::PORT;
use crate::net_dial::NetDial;

/// A running isolog, killed when dropped.
pub struct Instance {
    task: JoinHandle<()>,
    link: Link,
    sight: All,
    stop: CancellationToken,
}

impl Instance {
    /// Starts it; `client` is the name that it dials under.
    pub fn start(
        source: &TestCluster,
        destination: &TestCluster,
        client: &str,
        flow: &flow::Options,
        policy: Policy,
        (seed, topics): (u64, &[&str]),
    ) -> Instance {
        let rule = |text: &&str| TopicRule::include(Pattern::parse(text).expect("a pattern"));
        let topics = TopicFilter::new(topics.iter().map(rule).collect());
        let mut settings = link::LinkSettings { flow: flow.clone(), ..settings(source) };
        let named = topics.clone();
        settings.link = link::Options { policy, topics, named, ..settings.link };
        Instance::start_with((source, destination), client, settings, seed)
    }

    /// Starts it with these settings.
    pub fn start_with(
        (source, destination): (&TestCluster, &TestCluster),
        client: &str,
        settings: link::LinkSettings,
        seed: u64,
    ) -> Instance {
        let stop = CancellationToken::new();
        let dial = |net: &crate::net::Net| {
            let (net, client) = (net.clone(), client.to_owned());
            Arc::new(NetDial { net, client, timeout: Duration::from_secs(10) })
        };
        let world = link::world::World {
            dial: Dials { source: dial(source.net()), destination: dial(destination.net()) },
            wall: Wall::new(TimestampMs(source.look(|state| state.now_ms()))),
            seed,
            lanes: Arc::new(Gauge::default()),
            pool: Arc::new(Pool::inline()),
            stop: stop.clone(),
        };
        let to = options(Side::Destination, destination);
        let shared = Shared { memory_bytes: 8 << 20, reencode_threads: 1 };
        let options = driver::Options {
            defaults: Defaults::remote(shared, to.bootstrap.clone(), Remote::default()),
            destination: to,
            group: None,
            links: vec![settings],
        };
        let (driver, task) = driver::start(options, &world);
        let link = driver.links().pop().expect("the file has a link");
        let sight = All { driver, exporters: Running::default() };
        Instance { task: tokio::spawn(task), link, sight, stop }
    }

    /// What it shows of its link.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// All that it shows.
    pub fn sight(&self) -> &All {
        &self.sight
    }

    /// What it shows of a partition.
    pub fn seen(&self, topic: &str, partition: i32) -> Option<Snapshot> {
        let is_it = |one: &MirrorPartition| {
            one.mirror_topic.as_str() == topic && one.partition.0 == partition
        };
        self.link.partitions().into_iter().find(|(one, _)| is_it(one)).map(|(_, seen)| seen)
    }

    /// `kill -9`: nothing more is sent; what the network has is still delivered.
    pub async fn kill(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// SIGTERM: what is in flight is answered.
    pub async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.task).await.expect("isolog stops without a panic");
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How isolog reaches a simulated cluster.
pub fn options(side: Side, cluster: &TestCluster) -> cluster::Options {
    debug_assert!(cluster.bootstrap().iter().all(|(_, port)| *port == PORT));
    cluster::Options {
        side,
        bootstrap: cluster.bootstrap(),
        client_id: "isolog".into(),
        request_timeout: Duration::from_secs(10),
        dial_timeout: Duration::from_secs(5),
        metadata_age_max: Duration::from_secs(5),
        redial_pause: Duration::from_millis(50),
        redial_pause_max: Duration::from_secs(2),
        retry_pause: Duration::from_millis(100),
        retry_pause_max: Duration::from_secs(1),
        // beside broker 2, where that means something
        rack: cluster.look(|state| {
            let selector = state.broker_config("replica.selector.class");
            selector.map_or_else(String::new, |_| "rack2".to_owned())
        }),
        size_max: Default::default(),
        security: Default::default(),
    }
}

/// The bounds of a small process.
pub fn small_flow() -> flow::Options {
    flow::Options {
        memory_bytes: 8 << 20,
        reencode_threads: 2,
        fetch_bytes_min: 1,
        fetch_wait_max: Duration::from_millis(500),
        fetch_bytes_max: 1 << 20,
        partition_bytes_max: 64 << 10,
        bytes_per_second_max: None,
        append_bytes_max: 1 << 20,
    }
}

/// The same; for every other seed a backlog of a few records is a long one, so that a lane has two
/// connections to the source.
pub fn hasty_flow(seed: u64) -> flow::Options {
    let small = small_flow();
    let is_hasty = seed.is_multiple_of(2);
    let partition_bytes_max = if is_hasty { 1 << 10 } else { small.partition_bytes_max };
    flow::Options { partition_bytes_max, ..small }
}

/// What a link does unless told otherwise, but that batches keep their bytes.
pub fn faithful() -> Policy {
    Policy { merge: Merge::Never, ..Policy::default() }
}

/// A link of everything that begins with a letter.
pub fn settings(source: &TestCluster) -> link::LinkSettings {
    let every = Pattern::parse("*").expect("a prefix");
    link::LinkSettings {
        name: LinkName("dr".into()),
        source: options(Side::Source, source),
        link: link::Options {
            mode: LinkMode::Destination,
            rename: Rename::default(),
            policy: faithful(),
            named: TopicFilter::new(vec![TopicRule::include(every.clone())]),
            topics: TopicFilter::new(vec![TopicRule::include(every)]),
            groups: None,
            paused: false,
            replication_factor: -1,
            start: StartSpec::Earliest,
            committed_only: true,
            acls: isolog::control::acls::AclSync::default(),
            availability_interval: Duration::from_secs(5),
            availability_failures_max: 3,
        },
        flow: small_flow(),
        values: Values::default(),
    }
}
