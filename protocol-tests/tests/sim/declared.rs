//! Links of the config file that the driver runs, between two simulated clusters: from nothing, and
//! after what isolog 0.1 remembered.
//!
//! It never waits for real time.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use isolog::control::link::LinkState;
use isolog::control::order::MirrorVerb;
use isolog::control::order::Verb;
use isolog::control::row::Origin;
use isolog::control::topic::Status;
use isolog::ids::TopicId;
use isolog::link::LinkSettings;
use isolog::service::links::All;
use isolog::service::view::Sight;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::batch::Record;
use protocol_tests::broker::cluster::TestCluster;
use tokio::time::sleep;

use crate::operated::Lab;
use crate::operated::SECOND;
use crate::operated::link;
use crate::operated::mirror;
use crate::operated::of_file;
use crate::operated::of_mirror;

/// `[link.dr]` with these topics.
fn file(lab: &Lab, topics: &[&str]) -> LinkSettings {
    of_file(&lab.source, "dr", topics)
}

/// A lab whose isolog has these links in its file.
async fn declared(lab: &mut Lab, run: Vec<LinkSettings>) {
    lab.run = run;
    lab.kill_and_start().await;
}

/// The journal is as isolog 0.1 would have left it.
fn remembered(lab: &Lab, topics: &[&str]) {
    lab.destination.change(|state| state.delete_topic("__isolog")).unwrap();
    lab.destination.create_topic("__isolog", 1, &[("cleanup.policy", "compact")]);
    let id = |cluster: &TestCluster, topic: &str| {
        TopicId(cluster.look(|state| state.meta.topics()[topic].id.into_bytes())).hex()
    };
    let row = |topic: &&str| {
        let (source, mirror) = (id(&lab.source, topic), id(&lab.destination, topic));
        let ids = format!(
            r#"{{"source_cluster":"source","source_topic":"{source}",
            "destination_topic":"{mirror}"}}"#
        );
        Record::new(&format!("dr/{topic}"), &ids)
    };
    let now = lab.destination.look(|state| state.now_ms());
    let rows = Build::new(now, topics.iter().map(row).collect());
    lab.destination.append("__isolog", 0, &rows);
}

fn state(lab: &Lab) -> Option<LinkState> {
    Some(lab.driver.registry.seen().links.get(&link("dr"))?.state.clone())
}

#[tokio::test(start_paused = true)]
async fn a_link_of_the_file_is_written_and_mirrors_what_it_names() {
    let mut lab = Lab::start(&[]).await;
    lab.source.create_topic("orders", 2, &[]);
    lab.append("orders", 0);
    let run = vec![file(&lab, &["ord*"])];
    declared(&mut lab, run).await;
    lab.wait_status("dr", "orders", Status::Active).await;
    lab.copied("orders", "orders", 0).await;
    let row = lab.driver.registry.seen().links[&link("dr")].row.clone();
    assert_eq!((row.origin, row.id.len(), row.configs.len()), (Origin::Declared, 22, 0));
    assert_eq!(row.source.map(|id| id.to_string()).as_deref(), Some("source"));
    // the file keeps its settings, and orders its mirror topics like all others
    let alter = Verb::AlterLink { configs: [].into(), checked: 0 };
    lab.refused("dr", alter, "change its lines under [link.dr]").await;
    lab.obeyed("dr", of_mirror("orders", MirrorVerb::Pause)).await;
    lab.kill_and_start().await;
    lab.wait_status("dr", "orders", Status::Paused).await;
    lab.obeyed("dr", of_mirror("orders", MirrorVerb::Resume)).await;
    lab.append("orders", 1);
    lab.copied("orders", "orders", 1).await;
    // one that the file has no more rests, and is there again with its line
    lab.run.clear();
    lab.kill_and_start().await;
    lab.wait("it rests", |lab| (state(lab)? == LinkState::Paused).then_some(())).await;
    lab.append("orders", 1);
    let end = lab.destination.dump("orders", 1).end;
    sleep(SECOND * 60).await;
    assert_eq!(lab.destination.dump("orders", 1).end, end, "nobody has it");
    lab.refused("dr", Verb::PauseLink(true), "declare [link.dr] in the file").await;
    let run = vec![file(&lab, &["ord*"])];
    declared(&mut lab, run).await;
    lab.copied("orders", "orders", 1).await;
    lab.end().await;
}

/// The file is read again while isolog runs: what is new begins, what has changed is taken, what is
/// gone rests, and is there again with its line.
#[tokio::test(start_paused = true)]
async fn a_file_that_is_read_again_is_taken_while_it_runs() {
    let mut lab = Lab::start(&[]).await;
    for topic in ["orders", "users", "other"] {
        lab.source.create_topic(topic, 1, &[]);
        lab.append(topic, 0);
    }
    let run = vec![file(&lab, &["orders"])];
    declared(&mut lab, run).await;
    lab.copied("orders", "orders", 0).await;
    // one more topic, and one more link
    let east = of_file(&lab.source, "east", &["other"]);
    lab.driver.declare(vec![file(&lab, &["orders", "users"]), east.clone()]);
    for topic in ["orders", "users", "other"] {
        lab.append(topic, 0);
        lab.copied(topic, topic, 0).await;
    }
    let names: Vec<String> = lab.driver.links().iter().map(|one| one.name.to_string()).collect();
    assert_eq!(names, ["dr", "east"]);
    lab.create_link("west", &[("cluster.link.prefix", "w.")]).await;
    lab.refused("west", mirror("nowhere"), "does not exist").await;
    // the link is paused by its file, and goes on
    let mut paused = file(&lab, &["orders", "users"]);
    paused.link.paused = true;
    lab.driver.declare(vec![paused, east.clone()]);
    lab.wait_status("dr", "orders", Status::LinkPaused).await;
    lab.driver.declare(vec![file(&lab, &["orders", "users"]), east.clone()]);
    lab.wait_status("dr", "orders", Status::Active).await;
    lab.append("users", 0);
    lab.copied("users", "users", 0).await;
    // its line goes, and comes back
    lab.driver.declare(vec![east]);
    lab.wait("it rests", |lab| (state(lab)? == LinkState::Paused).then_some(())).await;
    let end = lab.destination.dump("orders", 0).end;
    lab.append("orders", 0);
    lab.append("other", 0);
    lab.copied("other", "other", 0).await;
    sleep(SECOND * 30).await;
    assert_eq!(lab.destination.dump("orders", 0).end, end, "nobody has it");
    lab.driver.declare(vec![file(&lab, &["orders"])]);
    lab.copied("orders", "orders", 0).await;
    lab.wait_status("dr", "users", Status::Active).await;
    lab.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_isolog_0_1_mirrored_is_taken_over_and_not_begun_again() {
    let mut lab = Lab::start(&[]).await;
    for topic in ["kept", "let.go", "left.out"] {
        lab.source.create_topic(topic, 2, &[]);
        for partition in 0..2 {
            lab.append(topic, partition);
        }
    }
    let run = vec![file(&lab, &["*"])];
    declared(&mut lab, run).await;
    for topic in ["kept", "let.go", "left.out"] {
        for partition in 0..2 {
            lab.copied(topic, topic, partition).await;
        }
    }
    lab.kill().await;
    remembered(&lab, &["kept", "let.go", "left.out"]);
    // its batches go on under its writer id: what was copied is not compared and not written again
    lab.run = vec![file(&lab, &["kept", "let.go"])];
    lab.start_again();
    lab.wait_status("dr", "kept", Status::Active).await;
    let row = lab.driver.registry.seen().links[&link("dr")].row.clone();
    assert!(!row.is_taking_over, "{row:?}");
    for partition in 0..2 {
        lab.append("kept", partition);
        lab.copied("kept", "kept", partition).await;
    }
    let mirrors = lab.driver.registry.seen().mirrors.len();
    assert_eq!(mirrors, 2, "what the file does not take any more is nobody's");
    let seen = lab.driver.registry.seen();
    let one = &seen.mirrors[&(link("dr"), isolog::ids::TopicName::new("kept").unwrap())];
    assert_eq!((one.row.partitions, one.row.generation), (2, 0));
    lab.obeyed("dr", of_mirror("let.go", MirrorVerb::Delete { topic: false })).await;
    lab.kill_and_start().await;
    lab.wait_status("dr", "kept", Status::Active).await;
    lab.append("kept", 0);
    lab.copied("kept", "kept", 0).await;
    sleep(SECOND * 30).await;
    let seen = lab.driver.registry.seen();
    assert_eq!(seen.mirrors.len(), 1, "it does not rise again: {:?}", seen.mirrors.keys());
    lab.end().await;
}

#[tokio::test(start_paused = true)]
async fn of_two_links_of_one_name_the_file_waits_until_the_other_is_deleted() {
    let mut lab = Lab::start(&[]).await;
    for topic in ["orders", "other"] {
        lab.source.create_topic(topic, 1, &[]);
        lab.append(topic, 0);
    }
    lab.create_link("dr", &[]).await;
    lab.obeyed("dr", mirror("orders")).await;
    lab.copied("orders", "orders", 0).await;
    let run = vec![file(&lab, &["other"])];
    declared(&mut lab, run).await;
    let sight = All { driver: lab.driver.clone(), exporters: Default::default() };
    let told = |_: &Lab| {
        let why = sight.links().pop()?.reason;
        why.contains("link delete dr").then_some(())
    };
    lab.wait("it is told what to do", told).await;
    assert!(sight.readiness().iter().any(|check| !check.ok), "it is no ready state");
    lab.append("orders", 0);
    let end = lab.destination.dump("orders", 0).end;
    sleep(SECOND * 30).await;
    assert_eq!(lab.destination.dump("orders", 0).end, end, "nothing of it is copied");
    assert!(!lab.has("other"));
    lab.obeyed("dr", Verb::DeleteLink { is_forced: true }).await;
    lab.wait_status("dr", "other", Status::Active).await;
    lab.copied("other", "other", 0).await;
    let row = lab.driver.registry.seen().links[&link("dr")].row.clone();
    assert_eq!(row.origin, Origin::Declared);
    lab.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_of_others_that_the_file_names_is_compared_first() {
    let mut lab = Lab::start(&[]).await;
    let now = lab.source.look(|state| state.now_ms());
    let batch = |text: &str| Build::plain(now, text, 3);
    for topic in ["same", "foreign"] {
        lab.source.create_topic(topic, 1, &[]);
        lab.source.append(topic, 0, &batch("ours"));
        lab.destination.create_topic(topic, 1, &[]);
    }
    lab.destination.append("same", 0, &batch("ours"));
    lab.destination.append("foreign", 0, &batch("theirs"));
    let run = vec![file(&lab, &["*"])];
    declared(&mut lab, run).await;
    lab.wait_status("dr", "same", Status::Active).await;
    lab.append("same", 0);
    lab.wait("level", |lab| {
        let end =
            |cluster: &protocol_tests::broker::cluster::TestCluster| cluster.dump("same", 0).end;
        (end(&lab.source) == end(&lab.destination)).then_some(())
    })
    .await;
    let errors = |lab: &Lab| {
        let seen = lab.driver.registry.seen();
        let tasks = seen.links.get(&link("dr"))?.tasks.clone();
        let errors = tasks.into_iter().flat_map(|task| task.errors);
        errors
            .into_iter()
            .find(|(topic, fault)| topic == "foreign" && fault.text.contains("is no copy"))
    };
    lab.wait("foreign is refused", errors).await;
    let dumped = lab.destination.dump("foreign", 0).end;
    assert_eq!(dumped, 3, "nothing is appended to it");
    lab.end().await;
}
