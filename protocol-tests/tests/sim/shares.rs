//! Share groups (KIP-932) between two simulated clusters, with the real driver: they start at the
//! destination where they start at the source, by the rules of consumer groups.
//!
//! It never waits for real time; what real brokers say of the same is in `real/shares`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use isolog::control::order::GroupVerb;
use isolog::control::order::MirrorVerb;
use isolog::control::order::Verb;
use isolog::control::topic::How;
use isolog::control::topic::Status;
use isolog::ids::GroupName;
use isolog::ids::TimestampMs;
use isolog::ids::TopicName;
use isolog::service::checklist;
use isolog::service::checklist::Line;
use isolog::service::checklist::Sights;
use isolog::service::links::All;
use isolog::service::view::GroupView;
use isolog::service::view::Sight;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::DescribeShareGroupOffsetsRequest;
use kafka_protocol::protocol::Decodable;
use protocol_tests::broker::Version;
use protocol_tests::broker::cluster::TestCluster;
use protocol_tests::broker::spec::Spec;
use protocol_tests::broker::takeover::Act;
use protocol_tests::broker::takeover::Call;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::groups::committed;
use crate::groups::in_error;
use crate::groups::is_well;
use crate::groups::lab;
use crate::groups::shown;
use crate::groups::specs;
use crate::groups::task;
use crate::operated::Lab;
use crate::operated::link;
use crate::operated::of_mirror;

const SECOND: Duration = Duration::from_secs(1);
const PLACE: (&str, i32) = ("orders", 0);

fn start(cluster: &TestCluster, group: &str) -> Option<i64> {
    cluster.share_start(group, PLACE)
}

async fn starts_at(lab: &Lab, group: &str, offset: i64) {
    let is = |lab: &Lab| (start(&lab.destination, group) == Some(offset)).then_some(());
    lab.wait(&format!("{group} starts at {offset}"), is).await;
}

/// How REST shows a group; `None` where it tells nothing of it.
fn view(lab: &Lab, group: &str) -> Option<GroupView> {
    let sight = All { driver: lab.driver.clone(), exporters: Default::default() };
    sight.groups(Some(group), true).pop()
}

/// Its verdict is that word, with that text against it.
async fn against(lab: &Lab, group: &str, word: &str, text: &str) {
    let is_so = |one: &GroupView| one.verdict == word && one.against.join("; ").contains(text);
    let is = |lab: &Lab| view(lab, group).filter(|one| is_so(one));
    lab.wait(&format!("{group}: {word} {text}"), is).await;
}

/// A line of the list before a promote.
fn check(lab: &Lab, name: &str) -> Line {
    let seen = lab.driver.registry.seen();
    let sight = All { driver: lab.driver.clone(), exporters: Default::default() };
    let groups = sight.groups(None, false);
    let (dr, orders) = (link("dr"), TopicName::new("orders").unwrap());
    let sights = Sights {
        how: How::Promote,
        link: &seen.links[&dr],
        mirror: &seen.mirrors[&(dr.clone(), orders)],
        topic: "orders",
        partitions: &sight.partitions(),
        groups: &groups,
        around: &[],
        away: None,
        now: TimestampMs(lab.source.look(|state| state.now_ms())),
    };
    checklist::of(&sights).into_iter().find(|line| line.check == name).unwrap()
}

/// A whole turn, in which a group of another name came after the others.
async fn a_turn(lab: &Lab, offset: i64) {
    lab.source.commit_as_member("zz-last", PLACE, offset);
    let is = |lab: &Lab| (committed(&lab.destination, "zz-last") == Some(offset)).then_some(());
    lab.wait("a turn", is).await;
    sleep(SECOND * 3).await;
}

#[tokio::test(start_paused = true)]
async fn starts_follow_and_never_lead_the_mirror() {
    let lab = lab(specs(), 4, &[]).await;
    lab.copied("orders", "orders", 0).await;
    lab.source.share_to("billing", PLACE, 13);
    lab.source.share_to("fresh", PLACE, 0);
    lab.source.share_to("early", PLACE, -1);
    lab.source.commit_as_member("web", PLACE, 5);
    starts_at(&lab, "billing", 13).await;
    starts_at(&lab, "fresh", 0).await;
    a_turn(&lab, 1).await;
    assert_eq!(committed(&lab.destination, "web"), Some(5), "the others beside");
    assert_eq!(start(&lab.destination, "early"), None, "none there, none here");
    assert_eq!(lab.destination.share_start("billing", ("orders", 1)), None);
    let kind = |group: &str| view(&lab, group).unwrap().group_type;
    assert_eq!([kind("billing"), kind("web")], ["share", "consumer"]);
    let billing = view(&lab, "billing").unwrap();
    let one = &billing.offsets[0];
    assert_eq!((one.source_offset, one.mirror_offset), (13, Some(13)), "{billing:?}");
    lab.source.share_to("whole", PLACE, 13);
    lab.source.share_to("whole", ("orders", 1), 0);
    against(&lab, "whole", "UNKNOWN", "acknowledged there already").await;
    is_well(&lab).await;
    // the mirror stands still, and the source goes on
    lab.obeyed("dr", of_mirror("orders", MirrorVerb::Pause)).await;
    lab.wait_status("dr", "orders", Status::Paused).await;
    (0..200).for_each(|_| lab.append("orders", 0));
    lab.source.share_to("billing", PLACE, 900);
    starts_at(&lab, "billing", 20).await;
    lab.wait("clamped", |lab| shown(lab).filter(|shown| shown.clamped == 1)).await;
    lab.obeyed("dr", of_mirror("orders", MirrorVerb::Resume)).await;
    lab.wait("billing at 900", |lab| {
        let end = lab.destination.dump("orders", 0).end;
        let at = start(&lab.destination, "billing")?;
        assert!(at <= end, "{at} of {end}");
        (at == 900).then_some(())
    })
    .await;
    // at the end nothing is delivered twice
    let end = lab.source.dump("orders", 0).end;
    lab.source.share_to("billing", PLACE, end);
    let moves = |lab: &Lab| view(lab, "billing").filter(|one| one.verdict == "MOVES");
    let text = "it has no start in orders-1, so that there share.auto.offset.reset decides, which \
                is not earliest there";
    against(&lab, "billing", "NOT_YET", text).await;
    assert_eq!(view(&lab, "billing").unwrap().unstarted, 1);
    let dry_run = |lab: &Lab| check(lab, "groups are synced").text;
    assert!(dry_run(&lab).contains("billing, fresh: without a start"), "{}", dry_run(&lab));
    lab.destination.set_share_reset("billing", "earliest");
    lab.wait("billing moves", moves).await;
    assert!(dry_run(&lab).starts_with("fresh: without a start"), "{}", dry_run(&lab));
    lab.destination.set_share_reset("billing", "latest");
    against(&lab, "billing", "NOT_YET", text).await;
    let hides = lab.destination.control_key(ApiKey::DescribeConfigs, |_| Some(Act::Close));
    against(&lab, "billing", "UNKNOWN", "which the destination did not tell").await;
    lab.destination.drop_control(hides);
    lab.source.share_to("billing", ("orders", 1), 0);
    lab.wait("billing moves", moves).await;
    lab.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_share_group_with_members_is_left_alone() {
    let lab = lab(specs(), 20, &[]).await;
    lab.copied("orders", "orders", 0).await;
    lab.source.share_to("billing", PLACE, 40);
    starts_at(&lab, "billing", 40).await;
    lab.destination.join_group("billing", "one");
    lab.destination.share_to("billing", PLACE, 45);
    lab.source.share_to("billing", PLACE, 60);
    let text = in_error(&lab, "CONSUMER_GROUP_IN_USE_ERROR").await;
    assert!(text.contains("group billing has members at the destination"), "{text}");
    sleep(SECOND * 10).await;
    assert_eq!(start(&lab.destination, "billing"), Some(45));
    // it has moved: the source stands still, and that is no error
    lab.destination.share_to("billing", PLACE, 80);
    is_well(&lab).await;
    lab.destination.leave_group("billing", "one");
    lab.source.share_to("billing", PLACE, 70);
    a_turn(&lab, 1).await;
    assert_eq!(start(&lab.destination, "billing"), Some(80), "what somebody else put there");
    lab.source.share_to("billing", PLACE, 90);
    starts_at(&lab, "billing", 90).await;
    lab.end().await;
}

/// A member that comes between the listing and the commit: the refused request is the guard.
#[tokio::test(start_paused = true)]
async fn a_member_that_is_not_listed_is_not_overwritten() {
    let lab = lab(specs(), 20, &[]).await;
    lab.copied("orders", "orders", 0).await;
    lab.source.share_to("billing", PLACE, 40);
    let destination = lab.destination.clone();
    let joins = lab.destination.control_key(ApiKey::AlterShareGroupOffsets, move |_| {
        let destination = destination.clone();
        tokio::spawn(async move {
            destination.share_to("billing", PLACE, 5);
            destination.join_group("billing", "one");
        });
        Some(Act::Delay(SECOND / 10))
    });
    let text = in_error(&lab, "CONSUMER_GROUP_IN_USE_ERROR").await;
    assert!(text.contains("has members at the destination"), "{text}");
    assert_eq!(start(&lab.destination, "billing"), Some(5));
    lab.destination.drop_control(joins);
    lab.destination.leave_group("billing", "one");
    starts_at(&lab, "billing", 40).await;
    lab.end().await;
}

/// Not touched, and told with the broker's code, whichever side has the share group, with members
/// and without.
#[tokio::test(start_paused = true)]
async fn a_group_of_another_kind_is_told() {
    let lab = lab(specs(), 20, &[]).await;
    lab.copied("orders", "orders", 0).await;
    lab.destination.commit_as_member("one", PLACE, 10);
    lab.destination.share_to("two", PLACE, 10);
    lab.source.share_to("one", PLACE, 40);
    lab.source.commit_as_member("two", PLACE, 40);
    let told = |lab: &Lab, group: &str| {
        let errors = task(lab)?.errors;
        let (_, fault) = errors.into_iter().find(|(subject, _)| subject == group)?;
        (fault.code == "INVALID_REQUEST_ERROR" && fault.text.contains("GROUP_ID_NOT_FOUND (69)"))
            .then_some(())
    };
    for round in 0..2 {
        for group in ["one", "two"] {
            lab.wait(&format!("{group} is told"), |lab| told(lab, group)).await;
            lab.destination.join_group(group, "member");
        }
        a_turn(&lab, round).await;
        assert_eq!(committed(&lab.destination, "one"), Some(10));
        assert_eq!(start(&lab.destination, "two"), Some(10));
        assert_eq!(task(&lab).unwrap().errors.len(), 2, "each once");
    }
    lab.destination.forget_group("one");
    lab.destination.forget_group("two");
    starts_at(&lab, "one", 40).await;
    is_well(&lab).await;
    lab.end().await;
}

/// Each takes a coordinator a while, and there are many.
#[tokio::test(start_paused = true)]
async fn many_are_set_side_by_side_and_asked_for_one_by_one() {
    let lab = lab(specs(), 20, &[]).await;
    lab.copied("orders", "orders", 0).await;
    let all: Vec<String> = (0..40).map(|number| format!("s-{number:02}")).collect();
    let slow = |_: &Call| Some(Act::Delay(SECOND));
    lab.destination.control_key(ApiKey::AlterShareGroupOffsets, slow);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let note = asked.clone();
    lab.source.control_key(ApiKey::DescribeShareGroupOffsets, move |call| {
        let request = DescribeShareGroupOffsetsRequest::decode(&mut call.body.clone(), 0).unwrap();
        note.lock().unwrap().push(request.groups.len());
        (request.groups.len() == 1).then_some(Act::Delay(SECOND / 5))
    });
    all.iter().for_each(|group| lab.source.share_to(group, PLACE, 40));
    let began = Instant::now();
    for group in &all {
        starts_at(&lab, group, 40).await;
    }
    let took = began.elapsed();
    assert!(took < SECOND * 14, "{took:?}: one after the other it is 40 s");
    let asked = asked.lock().unwrap().clone();
    // 3 s one by one, and the others at once
    assert!(asked.contains(&1) && asked.iter().any(|count| *count > 20), "{asked:?}");
    lab.end().await;
}

/// A cluster without share groups has nothing of them: that is told, and the others are followed.
#[tokio::test(start_paused = true)]
async fn where_a_side_has_no_share_groups_that_is_told() {
    let told = |text: String, side: &str, named: &str| {
        let what = format!("share groups of the source ({named}) cannot be followed: the {side}");
        assert!(text.replace("1 share group ", "1 share groups ").contains(&what), "{text}");
        assert!(text.contains("upgrade --feature share.version=1"), "{text}");
    };
    let old = Spec { version: Version::V3_9, ..Spec::single("destination", 2) };
    let old = lab((Spec::single("source", 1), old), 20, &[]).await;
    old.copied("orders", "orders", 0).await;
    old.source.share_to("billing", PLACE, 40);
    (0..7).for_each(|number| old.source.share_to(&format!("s-{number}"), PLACE, 40));
    a_turn(&old, 1).await;
    let text = in_error(&old, "INVALID_REQUEST_ERROR").await;
    told(text.clone(), "destination", "billing, s-0, s-1, s-2, s-3 and 3 more");
    assert!(text.starts_with("8 share groups"), "{text}");
    assert_eq!(task(&old).unwrap().errors.len(), 1, "told once");
    against(&old, "billing", "NOT_YET", "the destination has no share groups").await;
    let line = check(&old, "groups are synced");
    assert!(!line.ok && line.text.contains("the destination has no share groups"), "{line:?}");
    assert_eq!(shown(&old).unwrap().followed, 1);
    old.end().await;
    // the feature is off, and is turned on, at one side and at the other
    let lab = lab(specs(), 20, &[]).await;
    lab.copied("orders", "orders", 0).await;
    for (round, cluster) in [&lab.destination, &lab.source].into_iter().enumerate() {
        let group = ["first", "second"][round];
        cluster.set_shares(false);
        lab.source.share_to(group, PLACE, 40);
        a_turn(&lab, 10 + round as i64).await;
        let side = ["destination", "source"][round];
        let named = ["first", "first, second"][round];
        told(in_error(&lab, "INVALID_REQUEST_ERROR").await, side, named);
        against(&lab, group, "NOT_YET", &format!("the {side} has no share groups")).await;
        let line = check(&lab, "groups are synced");
        assert!(!line.ok && line.text.contains(&format!("the {side} has no")), "{line:?}");
        assert_eq!(start(&lab.destination, group), None);
        cluster.set_shares(true);
        starts_at(&lab, group, 40).await;
        is_well(&lab).await;
    }
    lab.end().await;
}

#[tokio::test(start_paused = true)]
async fn only_a_running_isolog_takes_back_what_it_put() {
    let mut lab = lab(specs(), 20, &[]).await;
    lab.copied("orders", "orders", 0).await;
    for group in ["reset", "stopped", "gone"] {
        lab.source.share_to(group, PLACE, 50);
        starts_at(&lab, group, 50).await;
    }
    lab.source.share_to("reset", PLACE, 10);
    starts_at(&lab, "reset", 10).await;
    lab.destination.forget_group("gone");
    starts_at(&lab, "gone", 50).await;
    // deleted, and made anew: what stands there is what this process has put there
    for group in ["reset", "forgotten"] {
        lab.source.share_to(group, PLACE, 50);
        starts_at(&lab, group, 50).await;
        lab.source.forget_group(group);
    }
    a_turn(&lab, 7).await;
    assert_eq!(start(&lab.destination, "reset"), Some(50), "it stays");
    lab.destination.share_to("forgotten", PLACE, 60);
    lab.source.share_to("reset", PLACE, 10);
    lab.source.share_to("forgotten", PLACE, 10);
    starts_at(&lab, "reset", 10).await;
    a_turn(&lab, 8).await;
    assert_eq!(start(&lab.destination, "forgotten"), Some(60), "somebody went on there");
    assert!(!check(&lab, "groups are synced").ok, "it is ahead");
    lab.kill_and_start().await;
    // what is found in place is nobody's: nothing tells who put it there
    a_turn(&lab, 9).await;
    lab.source.share_to("stopped", PLACE, 20);
    a_turn(&lab, 10).await;
    assert_eq!(start(&lab.destination, "stopped"), Some(50), "no start goes back");
    let stopped = view(&lab, "stopped").unwrap();
    assert!(stopped.against.join("; ").contains("kafka-share-groups --reset-offsets"));
    lab.end().await;
}

/// Members that have acknowledged nothing yet are members.
#[tokio::test(start_paused = true)]
async fn a_share_group_without_a_start_counts_while_it_has_members() {
    let lab = lab(specs(), 20, &[]).await;
    lab.copied("orders", "orders", 0).await;
    lab.source.share_to("early", PLACE, -1);
    a_turn(&lab, 1).await;
    let sight = All { driver: lab.driver.clone(), exporters: Default::default() };
    let active = "no group is active at the source";
    assert!(check(&lab, active).ok);
    assert!(sight.groups(None, false).iter().all(|one| one.group != "early"));
    against(&lab, "early", "NOT_YET", "it has no start in a topic that the link mirrors").await;
    lab.source.join_group("early", "one");
    a_turn(&lab, 2).await;
    let line = check(&lab, active);
    assert!(!line.ok && line.text.contains("early"), "{line:?}");
    assert!(sight.groups(None, false).iter().any(|one| one.group == "early"));
    against(&lab, "early", "NOT_YET", "has members at the source").await;
    lab.end().await;
}

/// Who asks for a group that is not followed is told why.
#[tokio::test(start_paused = true)]
async fn a_group_that_is_not_followed_is_told_why() {
    let lab = lab(specs(), 20, &[]).await;
    lab.copied("orders", "orders", 0).await;
    let sight = All { driver: lab.driver.clone(), exporters: Default::default() };
    let why = |group: &str| sight.unfollowed(group).pop().unwrap().against.remove(0);
    a_turn(&lab, 1).await;
    assert!(why("nosuch").contains("the source lists no such group"), "{}", why("nosuch"));
    assert!(why("connect-x").contains("consumer.offset.group.filters"), "{}", why("connect-x"));
    let gone = BTreeSet::from([GroupName::new("billing")]);
    lab.obeyed("dr", Verb::Groups(gone, GroupVerb::Forget)).await;
    let text = why("billing");
    assert!(text.contains("`isolog group follow billing --link dr`"), "{text}");
    lab.obeyed(
        "dr",
        of_mirror("orders", MirrorVerb::Stop { how: How::Promote, deadline_ms: None }),
    )
    .await;
    lab.wait_status("dr", "orders", Status::Stopped).await;
    assert!(why("nosuch").contains("STOPPED, 1 mirror topics"), "{}", why("nosuch"));
    lab.end().await;
}

/// Also where its coordinator at the source is away when it is read last.
#[tokio::test(start_paused = true)]
async fn a_failover_raises_a_share_group_to_where_it_was_last_seen() {
    let lab = lab(specs(), 4, &[]).await;
    lab.copied("orders", "orders", 0).await;
    lab.source.share_to("billing", PLACE, 20);
    starts_at(&lab, "billing", 20).await;
    lab.obeyed("dr", of_mirror("orders", MirrorVerb::Pause)).await;
    lab.wait_status("dr", "orders", Status::Paused).await;
    (0..4).for_each(|_| lab.append("orders", 0));
    lab.source.share_to("billing", PLACE, 35);
    lab.wait("clamped", |lab| shown(lab).filter(|shown| shown.clamped == 1)).await;
    lab.source.control_key(ApiKey::DescribeShareGroupOffsets, |_| Some(Act::Close));
    in_error(&lab, "INTERNAL_ERROR").await;
    lab.obeyed("dr", of_mirror("orders", MirrorVerb::Resume)).await;
    lab.copied("orders", "orders", 0).await;
    assert_eq!(start(&lab.destination, "billing"), Some(20), "it cannot be read");
    lab.source.kill(1);
    let (how, deadline_ms) = (How::Failover, None);
    let stop = MirrorVerb::Stop { how, deadline_ms };
    lab.obeyed("dr", of_mirror("orders", stop)).await;
    lab.wait_status("dr", "orders", Status::Stopped).await;
    starts_at(&lab, "billing", 35).await;
    lab.end().await;
}

/// A promote takes over what share groups came to last, and a prefix is put before their names.
#[tokio::test(start_paused = true)]
async fn a_promote_and_a_prefix() {
    let more = [("cluster.link.prefix", "west."), ("consumer.group.prefix.enable", "true")];
    let lab = lab(specs(), 20, &more).await;
    lab.copied("orders", "west.orders", 0).await;
    lab.source.share_to("billing", PLACE, 40);
    let there = |lab: &Lab| lab.destination.share_start("west.billing", ("west.orders", 0));
    lab.wait("west.billing at 40", |lab| (there(lab) == Some(40)).then_some(())).await;
    assert_eq!(start(&lab.destination, "billing"), None);
    lab.source.share_to("billing", PLACE, 77);
    let (how, deadline_ms) = (How::Promote, None);
    let stop = MirrorVerb::Stop { how, deadline_ms };
    lab.obeyed("dr", of_mirror("west.orders", stop)).await;
    lab.wait_status("dr", "west.orders", Status::Stopped).await;
    assert_eq!(there(&lab), Some(77));
    lab.end().await;
}
