//! Who else has a hand in what was ordered, and what is let go, deleted or named in vain; with the
//! real driver between two simulated clusters.
//!
//! It never waits for real time.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;

use isolog::cluster::Cluster;
use isolog::control::order::MirrorVerb;
use isolog::control::order::Order;
use isolog::control::order::Verb;
use isolog::control::topic::Status;
use isolog::flow::Wall;
use isolog::ids::Side;
use isolog::ids::TimestampMs;
use isolog::link::driver::Driver;
use isolog::link::log;
use isolog::link::log::Log;
use isolog::service::links::All;
use isolog::service::view::Sight;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::rights::Right;
use protocol_tests::instance::Instance;
use protocol_tests::net_dial::NetDial;
use protocol_tests::orders::exact_link;
use protocol_tests::world::instance::options;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::operated::Lab;
use crate::operated::SECOND;
use crate::operated::begin;
use crate::operated::link;
use crate::operated::mirror;
use crate::operated::of_file;
use crate::operated::of_mirror;

#[tokio::test(start_paused = true)]
async fn two_isologs_on_one_destination_are_told_of_each_other() {
    let lab = Lab::start(&[]).await;
    lab.source.create_topic("orders", 1, &[]);
    lab.create_link("one", &[]).await;
    sleep(SECOND * 10).await;
    assert_eq!(lab.driver.trouble(), None, "its own rows are no other's");
    let (other, stop, task) = begin(&lab.source, &lab.destination, &[], 77);
    let level = |_: &Lab| other.registry.seen().is_level.then_some(());
    lab.wait("the other one has read the journal", level).await;
    sleep(SECOND * 10).await;
    assert_eq!(lab.driver.trouble(), None, "who only reads is not seen");
    let order = Order { link: link("one"), verb: Verb::PauseLink(true), is_dry: false };
    let outcomes = other.registry.order(order).await;
    assert!(outcomes.iter().all(|one| one.result.is_ok()), "{outcomes:?}");
    let told = lab.wait("it is told", |lab| lab.driver.trouble()).await;
    assert!(told.contains("another isolog") && told.contains("stop one of them"), "{told}");
    let sight = All { driver: lab.driver.clone(), exporters: Default::default() };
    let is_told = |check: &isolog::service::view::Check| !check.ok && check.reason == told;
    assert!(sight.readiness().iter().any(is_told), "{:?}", sight.readiness());
    assert_eq!(other.trouble(), None, "nobody wrote after it");
    // another trouble of the journal does not hide it
    lab.destination.deny("__isolog", Right::DescribeConfigs);
    let is_denied = |text: &String| text.contains("DescribeConfigs");
    let told = lab.wait("the right", |lab| lab.driver.trouble().filter(is_denied)).await;
    assert!(told.contains("another isolog") && told.contains("stop one of them"), "{told}");
    let checks = sight.readiness().into_iter().filter(|check| !check.ok);
    let reasons: Vec<String> = checks.map(|check| check.reason).collect();
    for part in ["DescribeConfigs", "another isolog"] {
        assert!(reasons.iter().any(|one| one.contains(part)), "{part}: {reasons:?}");
    }
    lab.destination.grant("__isolog", Right::DescribeConfigs);
    lab.wait("the right is there", |lab| {
        lab.driver.trouble().is_none_or(|t| !is_denied(&t)).then_some(())
    })
    .await;
    stop.cancel();
    task.await.unwrap();
    sleep(SECOND * 700).await;
    assert_eq!(lab.driver.trouble(), None, "it is away for long");
    lab.end().await;
}

/// Who puts rows back from an export may bring the link's own of before: it goes on.
#[tokio::test(start_paused = true)]
async fn a_links_row_that_is_replaced_stops_nothing() {
    let mut lab = Lab::start(&[]).await;
    lab.source.create_topic("orders", 1, &[]);
    lab.append("orders", 0);
    lab.run = vec![of_file(&lab.source, "dr", &["orders"])];
    lab.kill_and_start().await;
    lab.copied("orders", "orders", 0).await;
    let (net, client) = (lab.destination.net().clone(), "editor".to_owned());
    let dial = Arc::new(NetDial { net, client, timeout: SECOND * 10 });
    let to = options(Side::Destination, &lab.destination);
    let there = Cluster::connect(to, dial, 9).await.unwrap();
    let wall = Wall::new(TimestampMs(lab.source.look(|state| state.now_ms())));
    let log = Log::open(there, log::Options { replicas: None, wall }).await.unwrap();
    let mut editor = Instance::new(log, 1 << 63 | 5);
    editor.level().await;
    let id = lab.driver.registry.seen().links[&link("dr")].row.id.clone();
    let row = editor.fold.get("link/dr").unwrap().replace(&id, "BBBBBBBBQBCBBBBBBBBBBB");
    editor.write(&[("link/dr", Some(&row))]).await.unwrap();
    let is_read = |lab: &Lab| {
        let seen = lab.driver.registry.seen();
        seen.links.get(&link("dr")).filter(|one| one.row.id.starts_with("BBBB")).map(drop)
    };
    lab.wait("the row is read", is_read).await;
    lab.append("orders", 0);
    lab.copied("orders", "orders", 0).await;
    lab.wait_status("dr", "orders", Status::Active).await;
    let shown = lab.driver.links();
    assert_eq!((shown.len(), shown[0].partitions().len()), (1, 1));
    lab.end().await;
}

/// Two files on one destination name one topic under two link names: the journal gives it to one,
/// the other one says whose it is, and nobody writes what the other has written.
#[tokio::test(start_paused = true)]
async fn one_topic_of_two_files_is_mirrored_by_one_link() {
    let mut lab = Lab::start(&[]).await;
    lab.source.create_topic("orders", 1, &[]);
    lab.append("orders", 0);
    lab.kill().await;
    lab.run = vec![of_file(&lab.source, "one", &["orders"])];
    lab.start_again();
    let run = [of_file(&lab.source, "two", &["ord*"])];
    let (other, stop, task) = begin(&lab.source, &lab.destination, &run, 77);
    for _ in 0..20 {
        lab.append("orders", 0);
        sleep(SECOND).await;
    }
    lab.copied("orders", "orders", 0).await;
    let owners = |driver: &Driver| -> Vec<String> {
        let seen = driver.registry.seen();
        seen.mirrors.keys().map(|(link, topic)| format!("{link}/{topic}")).collect()
    };
    let (ours, theirs) = (owners(&lab.driver), owners(&other));
    assert!(ours.len() == 1 && ours == theirs, "{ours:?} {theirs:?}");
    let loser = if ours == ["one/orders"] { other.clone() } else { lab.driver.clone() };
    let sight = All { driver: loser, exporters: Default::default() };
    let told = |_: &Lab| {
        let troubles = sight.links().into_iter().flat_map(|link| link.troubles);
        troubles.into_iter().find(|one| one.topic == "orders")
    };
    let told = lab.wait("the other one is told", told).await;
    assert!(told.reason.contains("is a mirror topic of cluster link"), "{told:?}");
    assert!(sight.readiness().iter().any(|check| !check.ok), "it is no ready state");
    let shown = sight.partitions();
    assert!(shown.iter().all(|one| one.state == "Preparing"), "{shown:?}");
    stop.cancel();
    task.await.unwrap();
    lab.end().await;
}

/// Who is told that a topic is no mirror any more writes into it.
#[tokio::test(start_paused = true)]
async fn what_is_let_go_is_not_taken_again_by_a_filter() {
    let mut lab = Lab::start(&[]).await;
    for topic in ["empty", "full"] {
        lab.source.create_topic(topic, 1, &[]);
    }
    lab.append("full", 0);
    lab.create_link("dr", &[("mirror.topics", "*")]).await;
    lab.wait_status("dr", "empty", Status::Active).await;
    lab.wait_status("dr", "full", Status::Active).await;
    lab.copied("full", "full", 0).await;
    for topic in ["empty", "full"] {
        lab.obeyed("dr", of_mirror(topic, MirrorVerb::Delete { topic: false })).await;
    }
    for _ in 0..2 {
        lab.wait("the journal is read", |lab| lab.driver.registry.seen().is_level.then_some(()))
            .await;
        for _ in 0..60 {
            sleep(SECOND).await;
            let seen = lab.driver.registry.seen();
            assert!(seen.mirrors.is_empty(), "{:?}", seen.mirrors);
        }
        assert_eq!(lab.driver.trouble(), None);
        let seen = lab.driver.registry.seen();
        let shown = &seen.links[&link("dr")];
        assert!(shown.tasks.iter().all(|task| task.errors.is_empty()));
        let let_go: Vec<&str> = shown.let_go.iter().map(|topic| topic.as_str()).collect();
        assert_eq!(let_go, ["empty", "full"], "it is told that they are not taken again");
        lab.refused("dr", of_mirror("full", MirrorVerb::Pause), "is not a mirror topic").await;
        lab.kill_and_start().await;
    }
    // by an order it is one again
    lab.wait("its settings", |lab| {
        lab.driver.registry.seen().links.get(&link("dr"))?.settings.clone()
    })
    .await;
    lab.obeyed("dr", mirror("empty")).await;
    lab.append("empty", 0);
    lab.copied("empty", "empty", 0).await;
    // a topic that was deleted since is made anew by the filter
    lab.destination.change(|state| state.delete_topic("full")).unwrap();
    lab.wait_status("dr", "full", Status::Active).await;
    lab.copied("full", "full", 0).await;
    lab.obeyed("dr", of_mirror("full", MirrorVerb::Delete { topic: false })).await;
    lab.obeyed("dr", Verb::DeleteLink { is_forced: true }).await;
    let none = |lab: &Lab| lab.driver.registry.seen().links.is_empty().then_some(());
    lab.wait("the link is gone, and all that it remembered", none).await;
    lab.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_source_topic_that_was_deleted_meanwhile_is_told_soon() {
    let mut lab = Lab::start(&[]).await;
    lab.source.create_topic("orders", 1, &[]);
    lab.append("orders", 0);
    lab.create_link("dr", &[("metadata.max.age.ms", "300000")]).await;
    lab.obeyed("dr", mirror("orders")).await;
    lab.copied("orders", "orders", 0).await;
    lab.source.change(|state| state.delete_topic("orders")).unwrap();
    lab.kill_and_start().await;
    let began = Instant::now();
    lab.wait_status("dr", "orders", Status::Failed).await;
    assert!(began.elapsed() < SECOND * 30, "{:?}", began.elapsed());
    lab.end().await;
}

/// A name that is refused for good costs no row at each look.
#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_writes_nothing_more() {
    let lab = Lab::start(&[]).await;
    lab.source.create_topic("full", 1, &[]);
    lab.append("full", 0);
    lab.destination.create_topic("full", 1, &[]);
    let now = lab.source.look(|state| state.now_ms());
    lab.destination.append("full", 0, &Build::plain(now, "foreign", 1));
    lab.create_link("dr", &[("mirror.topics", "full,gone.*")]).await;
    let errors = |lab: &Lab| {
        let seen = lab.driver.registry.seen();
        let tasks = seen.links.get(&link("dr")).map(|link| link.tasks.clone()).unwrap_or_default();
        let mut names: Vec<String> =
            tasks.into_iter().flat_map(|task| task.errors).map(|(name, _)| name).collect();
        names.sort();
        names
    };
    let both = |lab: &Lab| (errors(lab) == ["full", "gone.*"]).then_some(());
    lab.wait("both troubles", both).await;
    let journal = |lab: &Lab| lab.destination.dump("__isolog", 0).end;
    let before = journal(&lab);
    for _ in 0..120 {
        sleep(SECOND / 2).await;
        assert_eq!(errors(&lab), ["full", "gone.*"]);
    }
    let sight = All { driver: lab.driver.clone(), exporters: Default::default() };
    let troubles = sight.links().pop().unwrap().troubles;
    assert!(troubles.iter().any(|one| one.code == "PATTERN_MATCHES_NOTHING"), "{troubles:?}");
    // sixty looks; asked again after pauses that grow
    let rows = journal(&lab) - before;
    assert!(rows <= 14, "{rows} rows");
    lab.end().await;
}

/// A link that names what its account may not read is refused with the line that grants it.
#[tokio::test(start_paused = true)]
async fn a_new_link_is_told_which_rights_it_lacks() {
    let lab = Lab::start(&[]).await;
    for topic in ["orders", "users"] {
        lab.source.create_topic(topic, 1, &[]);
    }
    lab.wait("it knows its destination", |lab| lab.driver.cluster.borrow().clone()).await;
    let hosts = lab.source.bootstrap();
    let hosts: Vec<String> = hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
    let named = exact_link(&hosts.join(","), &[("mirror.topics", "orders,users,gone")]);
    let probe = async || lab.driver.probe(&link("new"), &named.configs).await;
    assert!(probe().await.is_ok());
    lab.source.deny("orders", Right::Read);
    let refused = probe().await.unwrap_err();
    assert_eq!(refused.code, "TOPIC_AUTHORIZATION_FAILED");
    let line = "--add --allow-principal 'User:ANONYMOUS' --operation Read --topic 'orders'";
    assert!(refused.text.ends_with(line), "{refused:?}");
    lab.source.grant("orders", Right::Read);
    assert!(probe().await.is_ok());
    lab.end().await;
}
