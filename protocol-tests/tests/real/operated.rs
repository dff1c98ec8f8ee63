//! Links and mirror topics that are ordered while isolog runs, on real Kafka: created, paused,
//! grown, deleted, gone on with after a kill; under the source's names and under a prefix.
//!
//! It never skips, and compares batch by batch what both logs hold.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use isolog::control::order::MirrorVerb;
use isolog::control::order::NewMirror;
use isolog::control::order::Order;
use isolog::control::order::Outcome;
use isolog::control::order::Verb;
use isolog::control::start::StartSpec;
use isolog::control::topic::Status;
use isolog::ids::LinkName;
use isolog::ids::TopicName;
use isolog::link::driver;
use isolog::link::driver::Driver;
use isolog::link::registry::MirrorSeen;
use isolog::link::world::World;
use protocol_tests::broker::batch::Build;
use protocol_tests::check::batches_equal;
use protocol_tests::orders::exact_link;
use protocol_tests::orders::new_mirror;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::RealCluster;
use protocol_tests::real::long_room;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::drilled::drilled;
use crate::served::Program;

/// Records of one batch.
const BATCH: i64 = 10;
/// For how long what must come is waited for.
const WAIT: Duration = Duration::from_secs(90);

pub(crate) fn name(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

pub(crate) fn link(text: &str) -> LinkName {
    LinkName(text.into())
}

pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(100));
    }
}

/// An isolog without a link in its config, in this process.
pub(crate) struct Operated {
    runtime: Option<Runtime>,
    pub(crate) driver: Driver,
    stop: CancellationToken,
}

impl Operated {
    pub(crate) fn start(destination: &RealCluster, more: &str) -> Operated {
        Operated::start_at(destination.bootstrap(), more)
    }

    /// Reaches the destination there.
    pub(crate) fn start_at(bootstrap: &str, more: &str) -> Operated {
        let text = format!(
            "[destination]\nbootstrap.servers = \"{bootstrap}\"\nmetadata.max.age.ms = 1000\n{more}"
        );
        let config = isolog::config::load_text(&text, Path::new("."));
        let config = config.unwrap_or_else(|problems| panic!("{problems:?}"));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let stop = CancellationToken::new();
        let driver = runtime.block_on(async {
            let world = World::real(&config.links, stop.clone());
            let options = driver::Options::of(&config.links, config.defaults());
            let (driver, task) = driver::start(options, &world);
            tokio::spawn(task);
            driver
        });
        Operated { runtime: Some(runtime), driver, stop }
    }

    pub(crate) fn order(&self, of: &str, verb: Verb) -> Vec<Outcome> {
        let order = Order { link: link(of), verb, is_dry: false };
        let runtime = self.runtime.as_ref().unwrap();
        runtime.block_on(self.driver.registry.order(order))
    }

    pub(crate) fn obeyed(&self, of: &str, verb: Verb) {
        let outcomes = self.order(of, verb.clone());
        assert!(outcomes.iter().all(|one| one.result.is_ok()), "{verb:?}: {outcomes:?}");
    }

    pub(crate) fn refused(&self, of: &str, verb: Verb, words: &str) {
        let outcomes = self.order(of, verb.clone());
        let refusal = outcomes[0].result.clone().unwrap_err();
        assert!(refusal.text.contains(words), "{verb:?}: {refusal:?}");
    }

    pub(crate) fn create_link(&self, of: &str, source: &str, more: &[(&str, &str)]) {
        let new = exact_link(source, more);
        self.obeyed(of, Verb::CreateLink(new));
        until(&format!("the settings of {of}"), || {
            self.driver.registry.seen().links.get(&link(of))?.settings.clone()
        });
    }

    pub(crate) fn create_mirror(&self, of: &str, source: &str) {
        self.obeyed(of, Verb::CreateMirror(new_mirror(source)));
    }

    pub(crate) fn mirrors(&self, of: &str, topic: &str, verb: MirrorVerb) {
        self.obeyed(of, Verb::Mirrors(vec![name(topic)], verb));
    }

    pub(crate) fn seen(&self, of: &str, topic: &str) -> Option<MirrorSeen> {
        let seen = self.driver.registry.seen();
        seen.mirrors.get(&(link(of), name(topic))).map(|one| MirrorSeen::clone(one))
    }

    pub(crate) fn wait_status(&self, of: &str, topic: &str, status: Status) {
        until(&format!("{topic} of {of} is {status:?}"), || {
            let seen = self.seen(of, topic);
            (seen.as_ref()?.status == status).then_some(())
        });
    }

    /// How many partitions of a mirror topic are held by flow, as people see it.
    pub(crate) fn held(&self, topic: &str) -> usize {
        let rows = self.driver.links().into_iter().flat_map(|link| link.partitions());
        rows.filter(|(one, seen)| one.mirror_topic == name(topic) && seen.state == "Mirroring")
            .count()
    }

    /// Nothing is answered any more, as after a kill.
    pub(crate) fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Operated {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(10));
        }
    }
}

/// Two clusters, and who writes and reads there.
pub(crate) struct Stage {
    pub(crate) source: Hand,
    pub(crate) destination: Hand,
    pub(crate) clusters: (RealCluster, RealCluster),
}

impl Stage {
    pub(crate) fn start() -> Stage {
        Stage::of("4.3.1")
    }

    pub(crate) fn of(version: &str) -> Stage {
        Stage::on(RealCluster::plain_pair(version).unwrap())
    }

    pub(crate) fn on(clusters: (RealCluster, RealCluster)) -> Stage {
        let source = Hand::new(clusters.0.bootstrap());
        Stage { source, destination: Hand::new(clusters.1.bootstrap()), clusters }
    }

    pub(crate) fn write(&self, topic: &str, partition: i32) {
        let tag = format!("{topic}-{}", now_ms());
        let batch = Build::plain(now_ms(), &tag, BATCH as usize);
        self.source.produce(topic, partition, &batch).unwrap();
    }

    /// The mirror is level, and equal batch by batch.
    pub(crate) fn copied(&self, topic: &str, mirror: &str, partition: i32) {
        let want = self.source.ends(topic, partition).unwrap();
        until(&format!("{mirror}-{partition} ends as {topic}: {want:?}"), || {
            (self.destination.ends(mirror, partition).ok()? == want).then_some(())
        });
        let ours = self.source.log(topic, partition).unwrap();
        let theirs = self.destination.log(mirror, partition).unwrap();
        let differences = batches_equal(&ours, &theirs, want.0, want.1);
        assert_eq!(differences, Vec::<String>::new(), "{mirror}-{partition}");
        assert_eq!(ours.batches.len(), theirs.batches.len(), "{mirror}-{partition}");
    }
}

fn created_and_copied(stage: &Stage, isolog: &Operated) {
    stage.source.create("o-same", 2, 1, &[]).unwrap();
    stage.write("o-same", 0);
    let source = stage.clusters.0.bootstrap();
    isolog.create_link("dr", source, &[]);
    isolog.create_mirror("dr", "o-same");
    isolog.create_link("west", source, &[("cluster.link.prefix", "w.")]);
    isolog.create_mirror("west", "o-same");
    isolog.refused("dr", Verb::CreateMirror(new_mirror("o-same")), "already");
    isolog.refused("dr", Verb::CreateMirror(new_mirror("o-none")), "does not exist at the source");
    for _ in 0..3 {
        stage.write("o-same", 0);
        stage.write("o-same", 1);
    }
    for partition in 0..2 {
        stage.copied("o-same", "o-same", partition);
        stage.copied("o-same", "w.o-same", partition);
    }
    isolog.wait_status("west", "w.o-same", Status::Active);
    let exact = [
        ("message.timestamp.type", "CreateTime"),
        ("compression.type", "producer"),
        ("message.timestamp.after.max.ms", "9223372036854775807"),
    ];
    for (key, value) in exact {
        assert_eq!(stage.destination.config("w.o-same", key).unwrap().as_deref(), Some(value));
    }
}

fn paused_and_resumed(stage: &Stage, isolog: &Operated) {
    isolog.mirrors("dr", "o-same", MirrorVerb::Pause);
    isolog.obeyed("west", Verb::PauseLink(true));
    isolog.wait_status("dr", "o-same", Status::Paused);
    isolog.wait_status("west", "w.o-same", Status::LinkPaused);
    until("all is let go", || (isolog.held("o-same") + isolog.held("w.o-same") == 0).then_some(()));
    let before = stage.destination.ends("o-same", 0).unwrap();
    stage.write("o-same", 0);
    isolog.create_mirror("dr", "o-other");
    stage.copied("o-other", "o-other", 0);
    for mirror in ["o-same", "w.o-same"] {
        assert_eq!(stage.destination.ends(mirror, 0).unwrap(), before, "{mirror} is paused");
    }
    isolog.mirrors("dr", "o-same", MirrorVerb::Resume);
    isolog.obeyed("west", Verb::PauseLink(false));
    stage.copied("o-same", "o-same", 0);
    stage.copied("o-same", "w.o-same", 0);
}

fn settings_change_while_it_runs(stage: &Stage, isolog: &Operated) {
    let generation = |of: &str| isolog.driver.registry.seen().links[&link(of)].row.generation;
    let configs = BTreeMap::from([("client.id".to_owned(), Some("another".to_owned()))]);
    let checked = generation("dr");
    isolog.obeyed("dr", Verb::AlterLink { configs, checked });
    stage.write("o-same", 1);
    stage.copied("o-same", "o-same", 1);
}

fn grows(stage: &Stage, isolog: &Operated) {
    stage.source.grow("o-same", 3).unwrap();
    stage.write("o-same", 2);
    stage.copied("o-same", "o-same", 2);
    stage.copied("o-same", "w.o-same", 2);
    until("the row knows of it", || {
        (isolog.seen("west", "w.o-same")?.row.partitions == 3).then_some(())
    });
}

fn deleted_and_created_again(stage: &Stage, isolog: &Operated) {
    isolog.mirrors("west", "w.o-same", MirrorVerb::Delete { topic: true });
    until("it is forgotten", || isolog.seen("west", "w.o-same").is_none().then_some(()));
    until("the topic is gone", || stage.destination.ends("w.o-same", 0).is_err().then_some(()));
    isolog.create_mirror("west", "o-same");
    for partition in 0..3 {
        stage.copied("o-same", "w.o-same", partition);
    }
}

fn links_are_deleted(stage: &Stage, isolog: &Operated) {
    let delete = |is_forced| Verb::DeleteLink { is_forced };
    isolog.refused("west", delete(false), "still has mirror topics");
    isolog.obeyed("west", delete(true));
    until("the link is gone", || {
        let is_seen = isolog.driver.registry.seen().links.contains_key(&link("west"));
        let is_shown = isolog.driver.links().iter().any(|one| one.name == link("west"));
        (!is_seen && !is_shown).then_some(())
    });
    let before = stage.destination.ends("w.o-same", 0).unwrap();
    stage.write("o-same", 0);
    stage.copied("o-same", "o-same", 0);
    assert_eq!(stage.destination.ends("w.o-same", 0).unwrap(), before, "nobody copies any more");
}

/// Filters find topics, those that start above 0 and are compacted too.
fn filters_create_mirrors(stage: &Stage, isolog: &Operated) {
    stage.source.create("f-old", 1, 1, &[]).unwrap();
    (0..4).for_each(|_| stage.write("f-old", 0));
    stage.source.delete_records("f-old", 0, 2 * BATCH).unwrap();
    let deleted = [("cleanup.policy", "compact,delete"), ("retention.ms", "-1")];
    stage.source.create("f-compacted", 1, 1, &deleted).unwrap();
    (0..4).for_each(|_| stage.write("f-compacted", 0));
    stage.source.delete_records("f-compacted", 0, 2 * BATCH + 3).unwrap();
    stage.source.alter("f-compacted", "cleanup.policy", Some("compact")).unwrap();
    let filters =
        r#"{"topicFilters":[{"name":"f-","patternType":"PREFIXED","filterType":"INCLUDE"}]}"#;
    let more = [
        ("auto.create.mirror.topics.enable", "true"),
        ("auto.create.mirror.topics.filters", filters),
    ];
    isolog.create_link("auto", stage.clusters.0.bootstrap(), &more);
    stage.copied("f-old", "f-old", 0);
    until("the prefix of f-compacted is gone", || {
        let ends = stage.source.ends("f-compacted", 0).unwrap();
        (stage.destination.ends("f-compacted", 0).ok()? == ends).then_some(())
    });
    stage.source.create("f-new", 1, 1, &[]).unwrap();
    stage.write("f-new", 0);
    stage.copied("f-new", "f-new", 0);
    // it has its source's policy once its log start has held for long enough
    let deadline = Instant::now() + Duration::from_secs(180);
    while stage.destination.config("f-compacted", "cleanup.policy").unwrap().as_deref()
        != Some("compact")
    {
        assert!(Instant::now() < deadline, "f-compacted stays on the stage");
        sleep(Duration::from_millis(500));
    }
    until("its row owes it nothing", || {
        isolog.seen("auto", "f-compacted")?.row.owed.is_empty().then_some(())
    });
}

/// What links of the config file mirror is theirs.
fn declared_topics_are_refused(isolog: &Operated) {
    isolog.wait_status("file", "d-one", Status::Active);
    isolog.refused(
        "dr",
        Verb::CreateMirror(new_mirror("d-one")),
        "a mirror topic of cluster link 'file' already",
    );
}

/// A start that is not the source's, per topic.
fn begins_where_it_is_told(stage: &Stage, isolog: &Operated) {
    stage.source.create("o-late", 1, 1, &[]).unwrap();
    stage.write("o-late", 0);
    let late = NewMirror { start: Some(StartSpec::Latest), ..new_mirror("o-late") };
    isolog.obeyed("dr", Verb::CreateMirror(late));
    stage.write("o-late", 0);
    until("o-late begins at its end", || {
        (stage.destination.ends("o-late", 0).ok()? == (BATCH, 2 * BATCH)).then_some(())
    });
}

fn what_holds_records_is_not_adopted(stage: &Stage, isolog: &Operated) {
    stage.source.create("o-full", 1, 1, &[]).unwrap();
    stage.destination.create("o-full", 1, 1, &[]).unwrap();
    stage.destination.alter("o-full", "message.timestamp.type", Some("CreateTime")).unwrap();
    let one = Build::plain(now_ms(), "foreign", 1);
    stage.destination.produce("o-full", 0, &one).unwrap();
    isolog.refused("dr", Verb::CreateMirror(new_mirror("o-full")), "is no copy of the source's");
    until("its row is gone", || isolog.seen("dr", "o-full").is_none().then_some(()));
    assert_eq!(stage.destination.ends("o-full", 0).unwrap(), (0, 1), "it is left alone");
}

#[test]
fn links_and_mirrors_are_operated_while_isolog_runs() {
    let _room = long_room(2);
    let stage = Stage::start();
    for topic in ["o-other", "d-one"] {
        stage.source.create(topic, 1, 1, &[]).unwrap();
        stage.write(topic, 0);
    }
    let declared = format!(
        "[link.file]\nbootstrap.servers = \"{}\"\nmirror.topics = \"d-*\"\n",
        stage.clusters.0.bootstrap()
    );
    let isolog = Operated::start(&stage.clusters.1, &declared);
    created_and_copied(&stage, &isolog);
    declared_topics_are_refused(&isolog);
    paused_and_resumed(&stage, &isolog);
    settings_change_while_it_runs(&stage, &isolog);
    grows(&stage, &isolog);
    begins_where_it_is_told(&stage, &isolog);
    what_holds_records_is_not_adopted(&stage, &isolog);
    isolog.kill();
    stage.write("o-same", 0);
    let isolog = Operated::start(&stage.clusters.1, &declared);
    for partition in 0..3 {
        stage.copied("o-same", "o-same", partition);
        stage.copied("o-same", "w.o-same", partition);
    }
    deleted_and_created_again(&stage, &isolog);
    filters_create_mirrors(&stage, &isolog);
    links_are_deleted(&stage, &isolog);
}

/// `isolog run` without a link in its file, ordered by REST, killed with SIGKILL and started again.
#[test]
fn a_service_without_a_link_is_ordered_by_rest_and_goes_on_after_a_kill() {
    let _room = room(2);
    let stage = Stage::start();
    stage.source.create("r-one", 2, 1, &[]).unwrap();
    stage.write("r-one", 0);
    let mut program = Program::start(&stage.clusters.1);
    let config = |name: &str, value: &str| json!({ "name": name, "value": value });
    let configs = [
        config("bootstrap.servers", stage.clusters.0.bootstrap()),
        config("metadata.max.age.ms", "1000"),
        config("batch.merge", "never"),
        config("cluster.link.prefix", "w."),
    ];
    program.order("POST", "?link_name=dr", Some(&json!({ "configs": configs })));
    let mirror = json!({ "source_topic_name": "r-one", "mirror_topic_name": "w.r-one" });
    program.order("POST", "/dr/mirrors", Some(&mirror));
    stage.write("r-one", 1);
    (0..2).for_each(|partition| stage.copied("r-one", "w.r-one", partition));
    program.isolog.wait_for("it is ready", 60, |_| program.is_ready().then_some(()));
    program.isolog.wait_for("its row", 60, |isolog| {
        let seen = isolog.partition("w.r-one", 1)?;
        (seen.state == "Mirroring" && seen.lag_records == Some(0)).then_some(())
    });
    let is_active = |isolog: &Isolog| (isolog.link().0 == "Active").then_some(());
    program.isolog.wait_for("it is active", 60, is_active);
    let lag = program.isolog.metric("isolog_partition_lag_records", "topic=\"w.r-one\"");
    assert_eq!(lag, 0.0);

    program.isolog.kill();
    stage.write("r-one", 0);
    program.isolog.start_again().unwrap();
    stage.copied("r-one", "w.r-one", 0);
    let names = json!({ "mirror_topic_names": ["w.r-one"] });
    program.order("POST", "/dr/mirrors:pause", Some(&names));
    program
        .isolog
        .wait_for("it is paused", 60, |_| (program.status("w.r-one")? == "PAUSED").then_some(()));
    program.order("POST", "/dr/mirrors:resume", Some(&names));
    stage.write("r-one", 1);
    stage.copied("r-one", "w.r-one", 1);
    drilled(&stage, &program);
    program.order("DELETE", "/dr?force=true", None);
    program.isolog.wait_for("the link is gone", 60, |isolog| {
        let links = isolog.get("/v1/links")?;
        links.as_array()?.is_empty().then_some(())
    });
    assert!(program.is_ready(), "nothing is wanted and nothing is wrong");
    assert!(program.isolog.term(Duration::from_secs(30)).unwrap().success());
    assert!(!program.isolog.log().contains("panicked"), "{}", program.isolog.log());
}
