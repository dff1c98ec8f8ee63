//! Links and mirror topics that are ordered, between two simulated clusters, with the real driver:
//! its journal, its looks, what it makes, and what flow holds for it.
//!
//! It never waits for real time; what real brokers say of the same is in `real/operated`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use isolog::control::filter::Pattern;
use isolog::control::filter::Rule;
use isolog::control::filter::TopicFilter;
use isolog::control::order::MirrorVerb;
use isolog::control::order::Order;
use isolog::control::order::Outcome;
use isolog::control::order::Verb;
use isolog::control::topic::Status;
use isolog::flow::Wall;
use isolog::flow::lane::works::Pool;
use isolog::flow::stats::Gauge;
use isolog::ids::LinkName;
use isolog::ids::Side;
use isolog::ids::TimestampMs;
use isolog::ids::TopicName;
use isolog::link::LinkSettings;
use isolog::link::Shared;
use isolog::link::driver;
use isolog::link::driver::Driver;
use isolog::link::registry::MirrorSeen;
use isolog::link::world::Dials;
use isolog::link::world::World;
use isolog::service::links::All;
use isolog::service::view::Sight;
use isolog::settings::link::Defaults;
use isolog::settings::trust::Remote;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::cluster::TestCluster;
use protocol_tests::broker::spec::Spec;
use protocol_tests::check::assert_copied;
use protocol_tests::net::Net;
use protocol_tests::net::Rule as NetRule;
use protocol_tests::net_dial::NetDial;
use protocol_tests::orders::exact_link;
use protocol_tests::orders::new_mirror;
use protocol_tests::world::CLIENT;
use protocol_tests::world::instance::Instance;
use protocol_tests::world::instance::faithful;
use protocol_tests::world::instance::options;
use protocol_tests::world::instance::settings;
use protocol_tests::world::instance::small_flow;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// How long anything may take, in the world's own time.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(600);

pub(crate) fn name(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

pub(crate) fn link(text: &str) -> LinkName {
    LinkName(text.into())
}

/// Two clusters, and one isolog that is given orders.
pub(crate) struct Lab {
    pub(crate) source: TestCluster,
    pub(crate) destination: TestCluster,
    /// Links of the config file.
    pub(crate) run: Vec<LinkSettings>,
    seed: u64,
    /// How many links were created.
    links: Cell<u32>,
    pub(crate) driver: Driver,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Lab {
    pub(crate) async fn start(declared: &[(&str, &str)]) -> Lab {
        let both = (Spec::single("source", 1), Spec::single("destination", 2));
        Lab::start_on(both, declared).await
    }

    pub(crate) async fn start_on(specs: (Spec, Spec), declared: &[(&str, &str)]) -> Lab {
        let net = Net::new(7);
        let source = TestCluster::start(&net, specs.0);
        let destination = TestCluster::start(&net, specs.1);
        let run: Vec<LinkSettings> =
            declared.iter().map(|(of, topics)| of_file(&source, of, &[topics])).collect();
        let (driver, stop, task) = begin(&source, &destination, &run, 1);
        let links = Cell::new(0);
        Lab { source, destination, run, seed: 1, links, driver, stop, task }
    }

    /// Nothing more is sent by the old one; a new one begins.
    pub(crate) async fn kill_and_start(&mut self) {
        self.kill().await;
        self.start_again();
    }

    pub(crate) async fn kill(&mut self) {
        self.task.abort();
        let _ended = (&mut self.task).await;
    }

    pub(crate) fn start_again(&mut self) {
        self.seed += 1;
        let begun = begin(&self.source, &self.destination, &self.run, self.seed);
        (self.driver, self.stop, self.task) = begun;
    }

    pub(crate) fn append(&self, topic: &str, partition: i32) {
        let now = self.source.look(|state| state.now_ms());
        self.source.append(topic, partition, &Build::plain(now, "x", 5));
    }

    pub(crate) async fn order(&self, of: &str, verb: Verb) -> Vec<Outcome> {
        self.driver.registry.order(Order { link: link(of), verb, is_dry: false }).await
    }

    pub(crate) async fn obeyed(&self, of: &str, verb: Verb) {
        let outcomes = self.order(of, verb.clone()).await;
        assert!(outcomes.iter().all(|one| one.result.is_ok()), "{verb:?}: {outcomes:?}");
    }

    pub(crate) async fn refused(&self, of: &str, verb: Verb, words: &str) {
        let outcomes = self.order(of, verb.clone()).await;
        let refusal = outcomes[0].result.clone().unwrap_err();
        assert!(refusal.text.contains(words), "{verb:?}: {refusal:?}");
    }

    pub(crate) async fn wait<T>(&self, what: &str, look: impl Fn(&Lab) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            let seen = self.driver.registry.seen();
            let trouble = self.driver.trouble();
            assert!(began.elapsed() < WAIT_MAX, "{what} never came: {trouble:?} {seen:#?}");
            sleep(SECOND / 20).await;
        }
    }

    pub(crate) async fn create_link(&self, of: &str, more: &[(&str, &str)]) {
        let hosts = self.source.bootstrap();
        let hosts: Vec<String> =
            hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        let mut new = exact_link(&hosts.join(","), more);
        // each link that is created has an id of its own
        self.links.set(self.links.get() + 1);
        new.id = format!("{:0>22}", self.links.get());
        self.obeyed(of, Verb::CreateLink(new)).await;
        self.wait("its settings", |lab| {
            lab.driver.registry.seen().links.get(&link(of))?.settings.clone()
        })
        .await;
    }

    pub(crate) fn seen(&self, of: &str, topic: &str) -> Option<MirrorSeen> {
        let seen = self.driver.registry.seen();
        seen.mirrors.get(&(link(of), name(topic))).map(|one| MirrorSeen::clone(one))
    }

    pub(crate) async fn wait_status(&self, of: &str, topic: &str, status: Status) {
        let is = |lab: &Lab| (lab.seen(of, topic)?.status == status).then_some(());
        self.wait(&format!("{topic} {status:?}"), is).await;
    }

    pub(crate) fn has(&self, topic: &str) -> bool {
        self.destination.look(|state| state.meta.topics().contains_key(topic))
    }

    pub(crate) async fn copied(&self, topic: &str, mirror: &str, partition: i32) {
        self.wait(&format!("{mirror}-{partition} level"), |lab| {
            let partitions = lab.destination.look(|state| {
                state.meta.topics().get(mirror).map_or(0, |topic| topic.partitions.len())
            });
            let is_there = usize::try_from(partition).unwrap() < partitions;
            let end = lab.source.dump(topic, partition).end;
            (is_there && lab.destination.dump(mirror, partition).end == end).then_some(())
        })
        .await;
        let source = self.source.dump(topic, partition);
        assert_copied(&source, &self.destination.dump(mirror, partition), source.end);
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("the driver ends without a panic");
    }
}

/// What takes these topics.
pub(crate) fn filter(topics: &[&str]) -> TopicFilter {
    let rule = |text: &&str| Rule::include(Pattern::parse(text).unwrap());
    TopicFilter::new(topics.iter().map(rule).collect())
}

/// A link of the config file with these topics, which looks every second.
pub(crate) fn of_file(source: &TestCluster, of: &str, topics: &[&str]) -> LinkSettings {
    let (mut one, topics) = (settings(source), filter(topics));
    one.name = link(of);
    one.source.metadata_age_max = SECOND;
    one.link = isolog::link::Options {
        named: topics.clone(),
        topics,
        availability_interval: SECOND,
        ..one.link
    };
    one
}

pub(crate) fn begin(
    source: &TestCluster,
    destination: &TestCluster,
    run: &[LinkSettings],
    seed: u64,
) -> (Driver, CancellationToken, JoinHandle<()>) {
    let stop = CancellationToken::new();
    let dial = |cluster: &TestCluster| {
        let (net, client) = (cluster.net().clone(), CLIENT.to_owned());
        Arc::new(NetDial { net, client, timeout: SECOND * 10 })
    };
    let world = World {
        dial: Dials { source: dial(source), destination: dial(destination) },
        wall: Wall::new(TimestampMs(source.look(|state| state.now_ms()))),
        seed,
        lanes: Arc::new(Gauge::default()),
        pool: Arc::new(Pool::inline()),
        stop: stop.clone(),
    };
    let to = options(Side::Destination, destination);
    let shared = Shared { memory_bytes: 64 << 20, reencode_threads: 1 };
    let options = driver::Options {
        defaults: Defaults::remote(shared, to.bootstrap.clone(), Remote::default()),
        group: None,
        links: run.to_vec(),
        destination: to,
    };
    let (driver, task) = driver::start(options, &world);
    (driver, stop, tokio::spawn(task))
}

pub(crate) fn mirror(source: &str) -> Verb {
    Verb::CreateMirror(new_mirror(source))
}

pub(crate) fn of_mirror(topic: &str, verb: MirrorVerb) -> Verb {
    Verb::Mirrors(vec![name(topic)], verb)
}

#[tokio::test(start_paused = true)]
async fn from_an_empty_service_to_mirrors_under_two_names() {
    let mut lab = Lab::start(&[("file", "d.*")]).await;
    lab.source.create_topic("orders", 2, &[]);
    lab.source.create_topic("d.one", 1, &[]);
    lab.append("orders", 0);
    lab.create_link("dr", &[]).await;
    lab.obeyed("dr", mirror("orders")).await;
    lab.create_link("west", &[("cluster.link.prefix", "w.")]).await;
    lab.obeyed("west", mirror("orders")).await;
    for partition in 0..2 {
        lab.append("orders", partition);
        lab.copied("orders", "orders", partition).await;
        lab.copied("orders", "w.orders", partition).await;
    }
    lab.refused("dr", mirror("orders"), "already").await;
    lab.refused("dr", mirror("none"), "does not exist at the source").await;
    lab.copied("d.one", "d.one", 0).await;
    lab.refused("dr", mirror("d.one"), "a mirror topic of cluster link 'file' already").await;
    lab.kill_and_start().await;
    lab.append("orders", 0);
    lab.copied("orders", "orders", 0).await;
    lab.copied("orders", "w.orders", 0).await;
    lab.end().await;
}

#[tokio::test(start_paused = true)]
async fn they_are_shown_like_links_of_the_file() {
    let lab = Lab::start(&[]).await;
    lab.source.create_topic("orders", 1, &[]);
    let sight = All { driver: lab.driver.clone(), exporters: Default::default() };
    let is_ready = || sight.readiness().iter().all(|check| check.ok);
    assert!(!is_ready(), "the journal has not been read yet: {:?}", sight.readiness());
    lab.create_link("west", &[("cluster.link.prefix", "w.")]).await;
    lab.obeyed("west", mirror("orders")).await;
    lab.append("orders", 0);
    lab.copied("orders", "w.orders", 0).await;
    lab.wait("it is ready", |_| is_ready().then_some(())).await;
    let row = lab
        .wait("its row is level", |_| {
            let rows = sight.partitions();
            rows.into_iter().find(|one| one.destination_hwm == Some(5))
        })
        .await;
    assert_eq!((row.link.as_str(), row.topic.as_str()), ("west", "w.orders"));
    assert_eq!((row.source_topic.as_str(), row.state.as_str()), ("orders", "Mirroring"));
    let [shown] = &sight.links()[..] else { panic!("{:?}", sight.links()) };
    assert_eq!((shown.name.as_str(), shown.state.as_str()), ("west", "Active"));
    assert!(shown.source_cluster_id.is_some() && shown.partitions == 1, "{shown:?}");
    // the source topic goes: the mirror fails, and says why
    lab.source.change(|state| state.delete_topic("orders")).unwrap();
    lab.wait_status("west", "w.orders", Status::Failed).await;
    lab.wait("the trouble is told", |_| {
        let troubles = sight.links().pop()?.troubles;
        troubles.into_iter().find(|one| one.code == "SOURCE_TOPIC_DELETED")
    })
    .await;
    assert!(!is_ready(), "nothing of it is copied any more");
    lab.end().await;
}

/// Two who write into one topic end in a copy that is none.
#[tokio::test(start_paused = true)]
async fn a_link_of_the_file_leaves_out_what_is_a_mirror_by_order() {
    let lab = Lab::start(&[]).await;
    for topic in ["orders", "other"] {
        lab.source.create_topic(topic, 1, &[]);
        lab.append(topic, 0);
    }
    lab.create_link("west", &[]).await;
    lab.obeyed("west", mirror("orders")).await;
    lab.copied("orders", "orders", 0).await;
    let flow = small_flow();
    let file = Instance::start(
        &lab.source,
        &lab.destination,
        "isolog-of-the-file",
        &flow,
        faithful(),
        (9, &["*"]),
    );
    lab.copied("other", "other", 0).await;
    lab.append("orders", 0);
    lab.copied("orders", "orders", 0).await;
    let told = |_: &Lab| {
        let troubles = file.link().status().troubles;
        troubles.into_iter().find(|one| one.subject == "orders")
    };
    let told = lab.wait("it is told", told).await;
    assert!(told.text.contains("a mirror topic of cluster link 'west' already"), "{told:?}");
    assert!(file.seen("orders", 0).is_none_or(|seen| seen.state != "Mirroring"));
    lab.wait_status("west", "orders", Status::Active).await;
    file.stop().await;
    lab.end().await;
}

/// A source that takes connections and answers nothing is told as soon as one that is away: what a
/// request may take at most is no measure of it. The time is the world's own.
#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_is_unavailable_after_a_few_checks() {
    let lab = Lab::start(&[]).await;
    lab.source.create_topic("orders", 1, &[]);
    lab.create_link("dr", &[]).await;
    lab.obeyed("dr", mirror("orders")).await;
    lab.append("orders", 0);
    lab.copied("orders", "orders", 0).await;
    let net = lab.source.net();
    for (host, _) in lab.source.bootstrap() {
        net.set_rule(CLIENT, &host, NetRule { black_hole: true, ..NetRule::default() });
        net.hold(CLIENT, &host);
    }
    let began = Instant::now();
    lab.wait_status("dr", "orders", Status::SourceUnavailable).await;
    assert!(began.elapsed() < SECOND * 20, "{:?}", began.elapsed());
    for (host, _) in lab.source.bootstrap() {
        net.clear_rule(CLIENT, &host);
        net.release(CLIENT, &host);
    }
    lab.wait_status("dr", "orders", Status::Active).await;
    lab.append("orders", 0);
    lab.copied("orders", "orders", 0).await;
    lab.end().await;
}

/// As long as it is so, over restarts and over many looks.
#[tokio::test(start_paused = true)]
async fn what_is_named_and_cannot_be_mirrored_stays_a_trouble() {
    let mut lab = Lab::start(&[]).await;
    for topic in ["full", "filled"] {
        lab.source.create_topic(topic, 1, &[]);
        lab.destination.create_topic(topic, 1, &[]);
        let now = lab.source.look(|state| state.now_ms());
        lab.destination.append(topic, 0, &Build::plain(now, "foreign", 1));
    }
    lab.create_link("dr", &[("mirror.topics", "full,fill*,nowhere")]).await;
    let errors = |lab: &Lab| {
        let seen = lab.driver.registry.seen();
        let tasks = seen.links.get(&link("dr")).map(|link| link.tasks.clone()).unwrap_or_default();
        let errors = tasks.into_iter().flat_map(|task| task.errors);
        let mut names: Vec<String> = errors.map(|(name, _)| name).collect();
        names.sort();
        names
    };
    for _ in 0..2 {
        let all = |lab: &Lab| (errors(lab) == ["filled", "full", "nowhere"]).then_some(());
        lab.wait("three troubles", all).await;
        for _ in 0..100 {
            sleep(SECOND / 10).await;
            assert_eq!(errors(&lab), ["filled", "full", "nowhere"]);
        }
        lab.kill_and_start().await;
    }
    lab.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_lets_go_and_other_settings_begin_anew() {
    let lab = Lab::start(&[]).await;
    lab.source.create_topic("orders", 1, &[]);
    lab.create_link("dr", &[]).await;
    lab.obeyed("dr", mirror("orders")).await;
    lab.append("orders", 0);
    lab.copied("orders", "orders", 0).await;
    lab.obeyed("dr", of_mirror("orders", MirrorVerb::Pause)).await;
    lab.wait_status("dr", "orders", Status::Paused).await;
    let is_let_go = |lab: &Lab| {
        let held: usize = lab.driver.links().iter().map(|one| one.partitions().len()).sum();
        (held == 0).then_some(())
    };
    lab.wait("all is let go", is_let_go).await;
    shown_as_paused(&lab, "PAUSED").await;
    let before = lab.destination.dump("orders", 0).end;
    lab.append("orders", 0);
    sleep(SECOND * 60).await;
    assert_eq!(lab.destination.dump("orders", 0).end, before, "nobody copies");
    lab.obeyed("dr", of_mirror("orders", MirrorVerb::Resume)).await;
    lab.copied("orders", "orders", 0).await;
    for id in ["one", "two"] {
        let seen = lab.driver.registry.seen();
        let checked = seen.links[&link("dr")].row.generation;
        let configs = BTreeMap::from([("client.id".to_owned(), Some(id.to_owned()))]);
        lab.append("orders", 0);
        lab.obeyed("dr", Verb::AlterLink { configs, checked }).await;
        lab.append("orders", 0);
        lab.copied("orders", "orders", 0).await;
    }
    lab.wait_status("dr", "orders", Status::Active).await;
    lab.obeyed("dr", Verb::PauseLink(true)).await;
    shown_as_paused(&lab, "LINK_PAUSED").await;
    lab.end().await;
}

/// Who asks how far it is gets an answer; the lag of what is not to be copied is no alarm.
async fn shown_as_paused(lab: &Lab, code: &str) {
    let sight = All { driver: lab.driver.clone(), exporters: Default::default() };
    let row = |_: &Lab| {
        let rows = sight.partitions();
        rows.into_iter().find(|one| one.topic == "orders" && one.reason_code == code)
    };
    let row = lab.wait("it is shown as paused", row).await;
    assert_eq!((row.state.as_str(), row.lag_records), ("Paused", None), "{row:?}");
    let [link] = &sight.links()[..] else { panic!("{:?}", sight.links()) };
    assert_eq!((link.partitions, link.lag_unknown), (0, 0), "{link:?}");
    let told = isolog::service::metrics(&sight);
    assert!(!told.contains("isolog_partition_state{"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_mirror_grows_is_deleted_and_is_created_again() {
    let lab = Lab::start(&[]).await;
    lab.source.create_topic("orders", 1, &[]);
    lab.create_link("dr", &[]).await;
    lab.obeyed("dr", mirror("orders")).await;
    lab.source.change(|state| state.grow_topic("orders", 2)).unwrap();
    lab.append("orders", 1);
    lab.copied("orders", "orders", 1).await;
    lab.obeyed("dr", of_mirror("orders", MirrorVerb::Delete { topic: true })).await;
    lab.wait("it is forgotten", |lab| lab.seen("dr", "orders").is_none().then_some(())).await;
    assert!(!lab.has("orders"), "the topic is gone as well");
    lab.obeyed("dr", mirror("orders")).await;
    for partition in 0..2 {
        lab.append("orders", partition);
        lab.copied("orders", "orders", partition).await;
    }
    lab.obeyed("dr", Verb::DeleteLink { is_forced: true }).await;
    lab.wait("the link is gone", |lab| lab.driver.links().is_empty().then_some(())).await;
    assert!(lab.has("orders"), "its topics are kept");
    lab.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_no_copy_is_not_adopted_and_an_empty_one_is() {
    let lab = Lab::start(&[]).await;
    for topic in ["full", "empty"] {
        lab.source.create_topic(topic, 1, &[]);
        lab.destination.create_topic(topic, 1, &[]);
    }
    let now = lab.source.look(|state| state.now_ms());
    lab.destination.append("full", 0, &Build::plain(now, "foreign", 1));
    lab.create_link("dr", &[]).await;
    lab.refused("dr", mirror("full"), "is no copy of the source's").await;
    lab.obeyed("dr", mirror("empty")).await;
    lab.append("empty", 0);
    lab.copied("empty", "empty", 0).await;
    assert_eq!(lab.destination.dump("full", 0).end, 1, "it is left alone");
    lab.end().await;
}
