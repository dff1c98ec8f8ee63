//! Offsets of consumer groups between two simulated clusters, with the real driver: the acceptance
//! cases O1 to O6, and what a turn costs.
//!
//! It never waits for real time; what real brokers say of the same is in `real/groups`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use isolog::control::filter::Verdict;
use isolog::control::order::GroupVerb;
use isolog::control::order::MirrorVerb;
use isolog::control::order::Verb;
use isolog::control::task::TaskName;
use isolog::control::task::groups::GroupFilter;
use isolog::control::task::groups::GroupSync;
use isolog::control::task::groups::Pattern;
use isolog::control::task::groups::Rule as GroupRule;
use isolog::control::topic::How;
use isolog::control::topic::Status;
use isolog::ids::GroupName;
use isolog::link::registry::TaskSeen;
use isolog::service::links::All;
use isolog::service::view::GroupView;
use isolog::service::view::GroupsView;
use isolog::service::view::Sight;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::OffsetFetchRequest;
use kafka_protocol::messages::OffsetFetchResponse;
use kafka_protocol::protocol::Decodable;
use kafka_protocol::protocol::Encodable;
use protocol_tests::broker::Build;
use protocol_tests::broker::Version;
use protocol_tests::broker::cluster::TestCluster;
use protocol_tests::broker::spec::Spec;
use protocol_tests::broker::takeover::Act;
use protocol_tests::broker::takeover::Call;
use protocol_tests::net::Net;
use protocol_tests::world::instance;
use protocol_tests::world::instance::Instance;
use tokio::time::sleep;

use crate::operated::Lab;
use crate::operated::link;
use crate::operated::mirror;
use crate::operated::of_mirror;

const SECOND: Duration = Duration::from_secs(1);
/// COORDINATOR_LOAD_IN_PROGRESS.
const LOADS: i16 = 14;
pub(crate) const ALL: &str =
    r#"{"groupFilters":[{"name":"*","patternType":"LITERAL","filterType":"INCLUDE"}]}"#;
/// What a link has that follows every group, every second.
const FOLLOW: [(&str, &str); 3] = [
    ("consumer.offset.sync.enable", "true"),
    ("consumer.offset.sync.ms", "1000"),
    ("consumer.offset.group.filters", ALL),
];

pub(crate) fn specs() -> (Spec, Spec) {
    (Spec::single("source", 1), Spec::single("destination", 2))
}

/// Two clusters, a topic of two partitions with so many batches of five in the first one, mirrored.
pub(crate) async fn lab(specs: (Spec, Spec), batches: usize, more: &[(&str, &str)]) -> Lab {
    let lab = Lab::start_on(specs, &[]).await;
    lab.source.create_topic("orders", 2, &[]);
    (0..batches).for_each(|_| lab.append("orders", 0));
    lab.create_link("dr", &[&FOLLOW[..], more].concat()).await;
    lab.obeyed("dr", mirror("orders")).await;
    lab
}

pub(crate) fn committed(cluster: &TestCluster, group: &str) -> Option<i64> {
    cluster.committed(group, ("orders", 0)).map(|one| one.offset)
}

async fn follows(lab: &Lab, group: &str, offset: i64) {
    let is = |lab: &Lab| (committed(&lab.destination, group) == Some(offset)).then_some(());
    lab.wait(&format!("{group} at {offset}"), is).await;
}

pub(crate) fn task(lab: &Lab) -> Option<TaskSeen> {
    let seen = lab.driver.registry.seen();
    let tasks = seen.links.get(&link("dr"))?.tasks.iter();
    tasks.into_iter().find(|task| task.name == TaskName::ConsumerOffsetSync).cloned()
}

pub(crate) async fn in_error(lab: &Lab, code: &str) -> String {
    lab.wait(code, |lab| {
        let task = task(lab).filter(|task| task.state == "IN_ERROR")?;
        task.errors.into_iter().find(|(_, fault)| fault.code == code).map(|(_, fault)| fault.text)
    })
    .await
}

pub(crate) async fn is_well(lab: &Lab) {
    let is = |lab: &Lab| task(lab).filter(|task| task.state == "ACTIVE" && task.errors.is_empty());
    lab.wait("the task is well", is).await;
}

/// Waits until billing has that verdict, with a text among what stands against it.
async fn verdict(lab: &Lab, word: &str, text: &str) -> GroupView {
    let sight = All { driver: lab.driver.clone(), exporters: Default::default() };
    let is_so = |one: &GroupView| one.verdict == word && one.against.join("; ").contains(text);
    let is = |_: &Lab| sight.groups(Some("billing"), true).pop().filter(is_so);
    lab.wait(&format!("billing: {word} {text}"), is).await
}

pub(crate) fn shown(lab: &Lab) -> Option<GroupsView> {
    let sight = All { driver: lab.driver.clone(), exporters: Default::default() };
    sight.links().pop()?.groups
}

/// O2, O3.
#[tokio::test(start_paused = true)]
async fn offsets_follow_and_never_lead_the_mirror() {
    let lab = lab(specs(), 4, &[]).await;
    lab.copied("orders", "orders", 0).await;
    lab.source.commit_as_member("billing", ("orders", 0), 13);
    lab.source.commit_as_member("fresh", ("orders", 0), 0);
    lab.source.commit_as_member("console-consumer-7", ("orders", 0), 3);
    follows(&lab, "billing", 13).await;
    follows(&lab, "fresh", 0).await;
    let sight = All { driver: lab.driver.clone(), exporters: Default::default() };
    let [view] = &sight.groups(Some("billing"), true)[..] else {
        panic!("{:?}", sight.groups(None, false))
    };
    assert_eq!((view.link.as_str(), view.partitions, view.behind), ("dr", 1, 0), "{view:?}");
    let [one] = &view.offsets[..] else { panic!("{view:?}") };
    assert_eq!(
        (one.source_offset, one.mirror_offset, one.state.as_str()),
        (13, Some(13), "synced")
    );
    assert!(sight.groups(None, false).iter().all(|one| one.offsets.is_empty()));
    assert!(sight.groups(None, false).iter().all(|one| !one.is_active_at_source));
    verdict(&lab, "MOVES", "").await;
    lab.source.commit_as_member("billing", ("orders", 0), 15);
    verdict(&lab, "NOT_YET", "a whole interval").await;
    let moves = verdict(&lab, "MOVES", "").await;
    let offset = &moves.offsets[0];
    assert_eq!((offset.source_offset, offset.mirror_end), (15, Some(20)), "{moves:?}");
    assert_eq!((moves.mirror_lag, moves.consumer_lag), (Some(0), Some(5)), "{moves:?}");
    lab.source.join_group("billing", "one");
    let active = |_: &Lab| {
        let all = sight.groups(None, false).into_iter().filter(|one| one.is_active_at_source);
        (all.map(|one| one.group).collect::<Vec<_>>() == ["billing"]).then_some(())
    };
    lab.wait("billing is active at the source", active).await;
    verdict(&lab, "NOT_YET", "it has members at the source").await;
    lab.source.leave_group("billing", "one");
    let put = lab.destination.committed("billing", ("orders", 0)).unwrap();
    assert_eq!(put.leader_epoch, -1, "another cluster's epochs mean nothing here");
    is_well(&lab).await;
    // the mirror stands still, and the source goes on
    lab.obeyed("dr", of_mirror("orders", MirrorVerb::Pause)).await;
    lab.wait_status("dr", "orders", Status::Paused).await;
    (0..200).for_each(|_| lab.append("orders", 0));
    lab.source.commit_as_member("billing", ("orders", 0), 900);
    follows(&lab, "billing", 20).await;
    let clamped = |lab: &Lab| shown(lab).filter(|shown| shown.clamped == 1);
    assert_eq!(lab.wait("clamped", clamped).await.followed, 2);
    verdict(&lab, "NOT_YET", "orders-0 is committed at 900").await;
    for _ in 0..50 {
        sleep(SECOND / 10).await;
        assert_eq!(committed(&lab.destination, "billing"), Some(20));
    }
    // raised as it catches up, and never beyond it
    lab.obeyed("dr", of_mirror("orders", MirrorVerb::Resume)).await;
    lab.wait("billing at 900", |lab| {
        let (end, at) =
            (lab.destination.dump("orders", 0).end, committed(&lab.destination, "billing")?);
        assert!(at <= end, "{at} of {end}");
        (at == 900).then_some(())
    })
    .await;
    lab.wait("nothing is clamped", |lab| shown(lab).filter(|shown| shown.clamped == 0)).await;
    // no commit at the source is none at the destination
    assert_eq!(lab.destination.committed("billing", ("orders", 1)), None);
    assert_eq!(committed(&lab.destination, "console-consumer-7"), None);
    lab.end().await;
}

/// O1.
#[tokio::test(start_paused = true)]
async fn a_group_of_an_emptied_partition_is_at_its_end() {
    let lab = Lab::start_on(specs(), &[]).await;
    lab.source.create_topic("orders", 1, &[]);
    (0..100).for_each(|_| lab.append("orders", 0));
    lab.source.delete_records("orders", 0, 500);
    lab.source.commit_as_member("billing", ("orders", 0), 500);
    lab.source.commit_as_member("late", ("orders", 0), 200);
    lab.create_link("dr", &FOLLOW).await;
    lab.obeyed("dr", mirror("orders")).await;
    lab.wait("billing at 500", |lab| {
        let at = committed(&lab.destination, "billing")?;
        let end = lab.destination.dump("orders", 0).end;
        assert_eq!((at, end), (500, 500), "never beyond the end, never before it is there");
        Some(())
    })
    .await;
    // its log starts there once what was filled is gone
    follows(&lab, "late", 500).await;
    lab.end().await;
}

/// O5.
#[tokio::test(start_paused = true)]
async fn a_group_with_members_is_left_alone_and_an_idle_one_is_not() {
    let lab = lab(specs(), 20, &[]).await;
    lab.copied("orders", "orders", 0).await;
    for group in ["billing", "web"] {
        lab.source.commit_as_member(group, ("orders", 0), 40);
        follows(&lab, group, 40).await;
        lab.destination.commit_as_member(group, ("orders", 0), 45);
    }
    lab.destination.join_group("billing", "one");
    lab.source.commit_as_member("billing", ("orders", 0), 60);
    lab.source.commit_as_member("web", ("orders", 0), 60);
    follows(&lab, "web", 60).await;
    let text = in_error(&lab, "CONSUMER_GROUP_IN_USE_ERROR").await;
    assert!(text.contains("group billing has members at the destination"), "{text}");
    sleep(SECOND * 10).await;
    assert_eq!(committed(&lab.destination, "billing"), Some(45));
    lab.destination.leave_group("billing", "one");
    follows(&lab, "billing", 60).await;
    is_well(&lab).await;
    // it has moved: the source stands still, and that is no error
    lab.destination.join_group("web", "one");
    lab.destination.commit_as_member("web", ("orders", 0), 80);
    for _ in 0..50 {
        sleep(SECOND / 10).await;
        assert_eq!(task(&lab).unwrap().state, "ACTIVE");
    }
    assert_eq!(committed(&lab.destination, "web"), Some(80));
    lab.end().await;
}

/// A member that comes between the listing and the commit: the refused commit is the guard.
#[tokio::test(start_paused = true)]
async fn a_member_that_is_not_listed_is_not_overwritten() {
    let lab = lab(specs(), 20, &[]).await;
    lab.copied("orders", "orders", 0).await;
    lab.source.commit_as_member("billing", ("orders", 0), 40);
    let destination = lab.destination.clone();
    let joins = lab.destination.control_key(ApiKey::OffsetCommit, move |_| {
        // the control is asked under the cluster's lock: the member joins just behind it
        let destination = destination.clone();
        tokio::spawn(async move { destination.join_group("billing", "one") });
        Some(Act::Delay(SECOND / 10))
    });
    in_error(&lab, "CONSUMER_GROUP_IN_USE_ERROR").await;
    assert_eq!(committed(&lab.destination, "billing"), None);
    lab.destination.drop_control(joins);
    lab.destination.leave_group("billing", "one");
    follows(&lab, "billing", 40).await;
    lab.end().await;
}

/// O6, a source group that is reset, a group that the destination has forgotten.
#[tokio::test(start_paused = true)]
async fn only_a_running_isolog_takes_back_what_it_put() {
    let mut lab = lab(specs(), 20, &[]).await;
    lab.copied("orders", "orders", 0).await;
    let at_source = |lab: &Lab, group: &str, offset| {
        lab.source.commit_as_member(group, ("orders", 0), offset);
    };
    for group in ["reset", "moved", "stopped"] {
        at_source(&lab, group, 50);
        follows(&lab, group, 50).await;
    }
    at_source(&lab, "reset", 10);
    follows(&lab, "reset", 10).await;
    // it went on here, failed over: its offset is not ours
    lab.destination.commit_as_member("moved", ("orders", 0), 70);
    lab.destination.forget_group("reset");
    follows(&lab, "reset", 10).await;
    // nobody runs while this one is reset
    lab.kill_and_start().await;
    at_source(&lab, "stopped", 20);
    at_source(&lab, "later", 5);
    follows(&lab, "later", 5).await;
    for _ in 0..50 {
        sleep(SECOND / 10).await;
        assert_eq!(committed(&lab.destination, "moved"), Some(70), "no offset goes back");
        assert_eq!(committed(&lab.destination, "stopped"), Some(50), "no offset goes back");
    }
    lab.destination.forget_group("stopped");
    follows(&lab, "stopped", 20).await;
    lab.end().await;
}

/// A group that was forgotten by order stays away, whatever else brings groups back, until it is
/// followed again.
#[tokio::test(start_paused = true)]
async fn a_group_that_was_forgotten_by_order_does_not_come_back() {
    let mut lab = lab(specs(), 20, &[]).await;
    lab.copied("orders", "orders", 0).await;
    for group in ["billing", "web"] {
        lab.source.commit_as_member(group, ("orders", 0), 50);
        follows(&lab, group, 50).await;
    }
    let order = |verb| Verb::Groups(BTreeSet::from([GroupName::new("billing")]), verb);
    lab.obeyed("dr", order(GroupVerb::Forget)).await;
    for group in ["billing", "web"] {
        lab.destination.forget_group(group);
        lab.source.commit_as_member(group, ("orders", 0), 60);
    }
    follows(&lab, "web", 60).await;
    assert_eq!(committed(&lab.destination, "billing"), None);
    // the next process knows of it, and a failover raises nothing of it
    lab.kill_and_start().await;
    lab.source.commit_as_member("web", ("orders", 0), 70);
    follows(&lab, "web", 70).await;
    let stop = MirrorVerb::Stop { how: How::Failover, deadline_ms: None };
    lab.append("orders", 0);
    lab.copied("orders", "orders", 0).await;
    lab.obeyed("dr", order(GroupVerb::Forget)).await;
    sleep(SECOND * 5).await;
    assert_eq!(committed(&lab.destination, "billing"), None);
    lab.obeyed("dr", order(GroupVerb::Follow)).await;
    follows(&lab, "billing", 60).await;
    lab.obeyed("dr", order(GroupVerb::Forget)).await;
    lab.source.commit_as_member("billing", ("orders", 0), 65);
    sleep(SECOND * 5).await;
    lab.obeyed("dr", of_mirror("orders", stop)).await;
    lab.wait_status("dr", "orders", Status::Stopped).await;
    sleep(SECOND * 5).await;
    assert_eq!(committed(&lab.destination, "billing"), Some(60));
    lab.end().await;
}

/// The longest name that Kafka's protocol has room for: followed, and never shown whole.
#[tokio::test(start_paused = true)]
async fn a_group_with_a_name_of_32_kib_is_followed() {
    let lab = lab(specs(), 4, &[]).await;
    lab.copied("orders", "orders", 0).await;
    for group in ["x".repeat(i16::MAX as usize).as_str(), ""] {
        lab.source.commit_as_member(group, ("orders", 0), 15);
        follows(&lab, group, 15).await;
    }
    let shown = GroupName::new(&"x".repeat(i16::MAX as usize)).to_string();
    assert!(shown.len() < 300, "{}", shown.len());
    is_well(&lab).await;
    lab.end().await;
}

/// O4: five minutes in which nobody coordinates a group of the destination.
#[tokio::test(start_paused = true)]
async fn a_coordinator_that_is_away_is_told_and_waited_for() {
    let lab = lab(specs(), 20, &[]).await;
    lab.copied("orders", "orders", 0).await;
    lab.source.commit_as_member("billing", ("orders", 0), 40);
    lab.source.commit_as_member("web", ("orders", 0), 40);
    follows(&lab, "billing", 40).await;
    follows(&lab, "web", 40).await;
    for cluster in [&lab.destination, &lab.source] {
        is_well(&lab).await;
        let away = cluster.control_key(ApiKey::OffsetFetch, |call| loads(call, "billing"));
        let before = committed(&lab.destination, "web").unwrap();
        lab.source.commit_as_member("billing", ("orders", 0), before + 5);
        lab.source.commit_as_member("web", ("orders", 0), before + 5);
        let text = in_error(&lab, "INTERNAL_ERROR").await;
        assert!(text.contains("COORDINATOR_LOAD_IN_PROGRESS (14)"), "{text}");
        // the others go on
        follows(&lab, "web", before + 5).await;
        sleep(SECOND * 300).await;
        assert_eq!(task(&lab).unwrap().state, "IN_ERROR");
        assert_eq!(committed(&lab.destination, "billing"), Some(before));
        cluster.drop_control(away);
        follows(&lab, "billing", before + 5).await;
    }
    is_well(&lab).await;
    lab.end().await;
}

/// A failover takes groups to where they were last seen, as far as the mirror has come since.
#[tokio::test(start_paused = true)]
async fn a_failover_raises_what_was_clamped_to_what_was_last_seen() {
    let lab = lab(specs(), 4, &[]).await;
    lab.copied("orders", "orders", 0).await;
    for group in ["within", "beyond", "moved"] {
        lab.source.commit_as_member(group, ("orders", 0), 20);
        follows(&lab, group, 20).await;
    }
    lab.obeyed("dr", of_mirror("orders", MirrorVerb::Pause)).await;
    lab.wait_status("dr", "orders", Status::Paused).await;
    (0..4).for_each(|_| lab.append("orders", 0));
    for (group, offset) in [("within", 35), ("beyond", 40), ("moved", 33)] {
        lab.source.commit_as_member(group, ("orders", 0), offset);
    }
    let clamped = |lab: &Lab| shown(lab).filter(|shown| shown.clamped == 3);
    lab.wait("all are clamped", clamped).await;
    // from here on nobody can read what they have committed at the source
    let away: Vec<_> = ["within", "beyond", "moved"]
        .map(|group| lab.source.control_key(ApiKey::OffsetFetch, move |call| loads(call, group)))
        .into();
    in_error(&lab, "INTERNAL_ERROR").await;
    lab.obeyed("dr", of_mirror("orders", MirrorVerb::Resume)).await;
    lab.copied("orders", "orders", 0).await;
    for group in ["within", "beyond", "moved"] {
        assert_eq!(committed(&lab.destination, group), Some(20), "{group} cannot be read");
    }
    lab.destination.join_group("moved", "one");
    lab.source.kill(1);
    let (how, deadline_ms) = (How::Failover, None);
    lab.obeyed("dr", of_mirror("orders", MirrorVerb::Stop { how, deadline_ms })).await;
    lab.wait_status("dr", "orders", Status::Stopped).await;
    follows(&lab, "within", 35).await;
    follows(&lab, "beyond", 40).await;
    sleep(SECOND * 60).await;
    assert_eq!(committed(&lab.destination, "moved"), Some(20), "it has members there");
    drop(away);
    lab.end().await;
}

/// Of a request for this group and others: that its coordinator loads, and nothing of the others.
fn loads(call: &Call, group: &'static str) -> Option<Act> {
    let request = OffsetFetchRequest::decode(&mut call.body.clone(), call.version).unwrap();
    let is_asked = request.groups.iter().any(|one| one.group_id.as_str() == group);
    let version = call.version;
    let edit = move |mut body: Bytes| {
        let mut answer = OffsetFetchResponse::decode(&mut body, version).unwrap();
        for one in answer.groups.iter_mut().filter(|one| one.group_id.as_str() == group) {
            one.topics.clear();
            one.error_code = LOADS;
        }
        let mut body = BytesMut::new();
        answer.encode(&mut body, version).unwrap();
        body.freeze()
    };
    is_asked.then(|| Act::Edit(Box::new(edit)))
}

/// Brokers come and go on both sides: each group has another coordinator then.
#[tokio::test(start_paused = true)]
async fn coordinators_move() {
    let lab = lab((Spec::triple("source", 1), Spec::triple("destination", 2)), 40, &[]).await;
    lab.copied("orders", "orders", 0).await;
    let groups: Vec<String> = (0..9).map(|n| format!("group-{n}")).collect();
    for (round, broker) in (1..=3).chain(1..=3).enumerate() {
        let offset = 10 + 5 * round as i64;
        for cluster in [&lab.source, &lab.destination] {
            cluster.kill(broker);
        }
        for group in &groups {
            lab.source.commit_as_member(group, ("orders", 0), offset);
        }
        for group in &groups {
            follows(&lab, group, offset).await;
        }
        for cluster in [&lab.source, &lab.destination] {
            cluster.restart(broker);
            cluster.wait_for(|state| state.meta.live.len() == 3).await;
        }
    }
    is_well(&lab).await;
    lab.end().await;
}

/// One request speaks of a hundred groups, and only what differs is committed.
#[tokio::test(start_paused = true)]
async fn many_groups_take_few_requests() {
    const GROUPS: usize = 250;
    let lab = lab(specs(), 20, &[]).await;
    lab.copied("orders", "orders", 0).await;
    let count = Arc::new(Mutex::new([0usize; 2]));
    let counted = |at: usize| {
        let count = count.clone();
        move |_: &Call| {
            count.lock().unwrap()[at] += 1;
            None
        }
    };
    lab.destination.control_key(ApiKey::OffsetFetch, counted(0));
    lab.destination.control_key(ApiKey::OffsetCommit, counted(1));
    for n in 0..GROUPS {
        lab.source.commit_as_member(&format!("group-{n}"), ("orders", 0), 50);
    }
    for n in 0..GROUPS {
        follows(&lab, &format!("group-{n}"), 50).await;
    }
    is_well(&lab).await;
    let [_, commits] = *count.lock().unwrap();
    assert_eq!(commits, GROUPS, "each group once");
    let before = count.lock().unwrap()[0];
    sleep(SECOND * 30).await;
    let [fetches, commits] = *count.lock().unwrap();
    assert_eq!(commits, GROUPS, "nothing differs any more");
    let turns = (fetches - before) / GROUPS.div_ceil(100);
    assert!((10..=31).contains(&turns), "{fetches} after {before} in 30 s");
    assert_eq!(shown(&lab).unwrap().committed, GROUPS as u64);
    lab.end().await;
}

/// A link of the config file follows groups too, and says what it could not do.
#[tokio::test(start_paused = true)]
async fn a_link_of_the_file_follows_groups() {
    let net = Net::new(7);
    let source = TestCluster::start(&net, Spec::single("source", 1));
    let destination = TestCluster::start(&net, Spec::single("destination", 2));
    source.create_topic("orders", 1, &[]);
    let now = source.look(|state| state.now_ms());
    for _ in 0..10 {
        source.append("orders", 0, &Build::plain(now, "x", 5));
    }
    source.commit_as_member("billing", ("orders", 0), 40);
    let mut settings = instance::settings(&source);
    let every = GroupRule { pattern: Pattern::Prefix(String::new()), verdict: Verdict::Include };
    let (filter, prefix) = (GroupFilter::new(vec![every]), String::new());
    settings.link.groups =
        Some(GroupSync { every_ms: 1_000, filter, prefix, forgotten: Default::default() });
    let file = Instance::start_with((&source, &destination), "file", settings, 3);
    destination.wait_for(|state| state.meta.topics().contains_key("orders")).await;
    until("billing at 40", || committed(&destination, "billing") == Some(40)).await;
    destination.join_group("billing", "one");
    source.commit_as_member("billing", ("orders", 0), 45);
    until("it is told", || {
        let troubles: Vec<_> = file.link().status().all_troubles().cloned().collect();
        troubles.iter().any(|one| one.kind.label() == "CONSUMER_OFFSETS_NOT_SYNCED")
    })
    .await;
    destination.leave_group("billing", "one");
    until("billing at 45", || committed(&destination, "billing") == Some(45)).await;
    until("it is well", || file.link().status().all_troubles().next().is_none()).await;
    file.stop().await;
}

async fn until(what: &str, is: impl Fn() -> bool) {
    for _ in 0..6_000 {
        if is() {
            return;
        }
        sleep(SECOND / 10).await;
    }
    panic!("{what} never came");
}

/// Brokers that know one group a request only; another prefix for topics and groups.
#[tokio::test(start_paused = true)]
async fn an_old_source_and_a_prefix() {
    let old = Spec { version: Version::V2_8, ..Spec::single("source", 1) };
    let more = [("cluster.link.prefix", "west."), ("consumer.group.prefix.enable", "true")];
    let lab = lab((old, Spec::single("destination", 2)), 20, &more).await;
    lab.copied("orders", "west.orders", 0).await;
    for (n, group) in ["a", "b", "c"].iter().enumerate() {
        lab.source.commit_as_member(group, ("orders", 0), 10 + n as i64);
    }
    for (n, group) in ["west.a", "west.b", "west.c"].iter().enumerate() {
        lab.wait(group, |lab| {
            let one = lab.destination.committed(group, ("west.orders", 0))?;
            (one.offset == 10 + n as i64).then_some(())
        })
        .await;
    }
    assert_eq!(lab.destination.committed("a", ("west.orders", 0)), None);
    is_well(&lab).await;
    lab.end().await;
}
