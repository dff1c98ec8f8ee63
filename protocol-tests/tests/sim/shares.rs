//! Share groups (KIP-932) between two simulated clusters, with the real driver: they start at the
//! destination where they start at the source, by the rules of consumer groups.
//!
//! It never waits for real time; what real brokers say of the same is in `real/shares`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use isolog::control::order::MirrorVerb;
use isolog::control::topic::How;
use isolog::control::topic::Status;
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
    let sight = All { driver: lab.driver.clone(), exporters: Vec::new() };
    sight.groups(Some(group), true).pop()
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
    assert_eq!(billing.verdict, "UNKNOWN", "{billing:?}");
    assert!(billing.against[0].contains("acknowledged there already"));
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
    lab.wait("billing moves", |lab| view(lab, "billing").filter(|one| one.verdict == "MOVES"))
        .await;
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

/// A cluster without share groups has nothing of them: nothing is told, the others are followed.
#[tokio::test(start_paused = true)]
async fn where_a_side_has_no_share_groups_they_are_left_out() {
    let old = Spec { version: Version::V3_9, ..Spec::single("destination", 2) };
    let old = lab((Spec::single("source", 1), old), 20, &[]).await;
    old.copied("orders", "orders", 0).await;
    old.source.share_to("billing", PLACE, 40);
    a_turn(&old, 1).await;
    is_well(&old).await;
    assert_eq!(view(&old, "billing"), None);
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
        is_well(&lab).await;
        assert_eq!((view(&lab, group), start(&lab.destination, group)), (None, None));
        cluster.set_shares(true);
        starts_at(&lab, group, 40).await;
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
    lab.kill_and_start().await;
    // what is found in place is nobody's: nothing tells who put it there
    a_turn(&lab, 1).await;
    lab.source.share_to("stopped", PLACE, 20);
    a_turn(&lab, 2).await;
    assert_eq!(start(&lab.destination, "stopped"), Some(50), "no start goes back");
    let stopped = view(&lab, "stopped").unwrap();
    assert!(stopped.against.join("; ").contains("kafka-share-groups --reset-offsets"));
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
