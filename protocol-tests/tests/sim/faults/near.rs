//! A source with a replica in isolog's rack: it serves, and is left for whatever it lacks, says or
//! does; a leader that names nonsense holds nobody up.
//!
//! It never asks isolog who served: the simulated brokers count.

use isolog::link::status::LinkState;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::spec::Spec;
use protocol_tests::broker::spec::Version;
use protocol_tests::net::Rule;
use protocol_tests::world::CLIENT;
use tokio::time::Duration;
use tokio::time::sleep;

use super::lab::BAD;
use super::lab::GOOD;
use super::lab::Lab;

const SECOND: Duration = Duration::from_secs(1);
/// The broker in isolog's rack, and one that is not.
const NEAR: i32 = 2;
const FAR: i32 = 1;

/// Three brokers of a version at the source, all partitions led by a far one.
fn far_led(version: Version) -> Lab {
    let spec = |name, seed| Spec { version, ..Spec::triple(name, seed) };
    let lab = Lab::of(spec("source", 1).rack_aware(true), spec("destination", 2));
    for (topic, partition) in [BAD, GOOD[0], GOOD[1]] {
        lab.source().move_leader(topic, partition, FAR);
    }
    lab
}

fn served(lab: &Lab, broker: i32) -> u64 {
    lab.source().look(|state| state.broker(broker).bytes_out)
}

fn names(lab: &mut Lab, replica: Option<i32>) {
    lab.source().change(|state| state.named_replica = replica);
}

/// What comes from now on is served by that broker and by nobody else.
async fn is_served_by(lab: &mut Lab, broker: i32) {
    let served_now = |lab: &Lab| [1, 2, 3].map(|broker| served(lab, broker));
    let before = served_now(lab);
    lab.others_go_on().await;
    lab.append(BAD, 2);
    lab.level(BAD).await;
    for (at, (before, now)) in before.into_iter().zip(served_now(lab)).enumerate() {
        assert_eq!(now > before, at as i32 + 1 == broker, "broker {}: {before} {now}", at + 1);
    }
}

/// Waits, with records on the way, until that broker serves.
async fn comes_back_to(lab: &mut Lab, broker: i32) {
    for _ in 0..60 {
        let before = served(lab, broker);
        lab.append(BAD, 2);
        lab.level(BAD).await;
        if served(lab, broker) > before {
            return;
        }
        sleep(SECOND * 5).await;
    }
    panic!("broker {broker} never serves again");
}

#[tokio::test(start_paused = true)]
async fn the_replica_in_our_rack_serves() {
    for version in [Version::V2_8, Version::V3_9, Version::V4_3] {
        let mut lab = far_led(version);
        lab.begin().await;
        is_served_by(&mut lab, NEAR).await;
        // far beyond the age at which its leader is asked again
        sleep(SECOND * 400).await;
        is_served_by(&mut lab, NEAR).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_away_is_left_and_comes_back() {
    let mut lab = far_led(Version::V4_3);
    lab.begin().await;
    let host = lab.source().host(NEAR);
    lab.world.net.set_rule(CLIENT, &host, Rule { black_hole: true, ..Rule::default() });
    lab.world.net.hold(CLIENT, &host);
    lab.append(BAD, 3);
    lab.level(BAD).await;
    is_served_by(&mut lab, FAR).await;
    lab.world.net.release(CLIENT, &host);
    lab.world.net.clear_rule(CLIENT, &host);
    comes_back_to(&mut lab, NEAR).await;
    // dead, and a leader that dies with it
    lab.source().kill(NEAR);
    lab.append(BAD, 3);
    lab.level(BAD).await;
    lab.source().restart(NEAR);
    comes_back_to(&mut lab, NEAR).await;
    lab.source().move_leader(BAD.0, BAD.1, 3);
    lab.others_go_on().await;
    comes_back_to(&mut lab, NEAR).await;
}

/// It hears nothing of its leader any more, and answers as if all were well.
#[tokio::test(start_paused = true)]
async fn one_that_lags_is_not_believed() {
    let mut lab = far_led(Version::V4_3);
    lab.begin().await;
    is_served_by(&mut lab, NEAR).await;
    // and its leader does not see it either
    names(&mut lab, Some(NEAR));
    lab.source().cut_follower(BAD.0, BAD.1, NEAR, true);
    lab.append(BAD, 7);
    let end = lab.source_dump(BAD).end;
    // it is shown while the near one says that there is nothing
    lab.wait("the lag", |lab| lab.seen(BAD).is_some_and(|seen| seen.lag_records == Some(7))).await;
    assert_eq!(lab.copy(BAD).end, end - 7);
    lab.level(BAD).await;
    assert!(lab.seen(BAD).is_some_and(|seen| seen.state == "Mirroring"));
    lab.source().cut_follower(BAD.0, BAD.1, NEAR, false);
    comes_back_to(&mut lab, NEAR).await;
}

/// A cleaner was faster at the near one: what is gone there is still the leader's to give.
#[tokio::test(start_paused = true)]
async fn what_the_near_one_has_not_comes_from_the_leader() {
    let mut lab = far_led(Version::V4_3);
    for _ in 0..4 {
        lab.append(BAD, 5);
    }
    let all = lab.source_dump(BAD);
    sleep(SECOND).await;
    let place = lab.source().key(BAD.0, BAD.1);
    lab.source().change(|state| {
        let log = &mut state.replica_mut(place, NEAR).log;
        let kept = log.batches().iter().filter(|batch| batch.base != 10).cloned().collect();
        log.replace(kept);
    });
    lab.begin().await;
    assert_eq!(lab.copy(BAD).end, all.end);
    let filled = lab.seen(BAD).map(|seen| seen.copied.filled);
    assert_eq!(filled, Some(0));
    assert!(served(&lab, NEAR) > 0 && served(&lab, FAR) > 0);
}

/// Bad input: a leader that names a replica that there is not, that hosts nothing, or that never
/// answers.
#[tokio::test(start_paused = true)]
async fn a_leader_that_names_nonsense_is_read_itself() {
    let mut lab = far_led(Version::V4_3);
    names(&mut lab, Some(99));
    lab.begin().await;
    is_served_by(&mut lab, FAR).await;
    assert_eq!(lab.link_state(), LinkState::Active);

    let mut lab = far_led(Version::V4_3);
    let place = lab.source().key(BAD.0, BAD.1);
    lab.source().cut_follower(BAD.0, BAD.1, 3, true);
    lab.source().change(|state| state.replicas.remove(&(place, 3)));
    names(&mut lab, Some(3));
    lab.begin().await;
    lab.append(BAD, 3);
    lab.level(BAD).await;

    let mut lab = far_led(Version::V4_3);
    names(&mut lab, Some(3));
    let host = lab.source().host(3);
    lab.world.net.set_rule(CLIENT, &host, Rule { black_hole: true, ..Rule::default() });
    lab.begin().await;
    for _ in 0..5 {
        lab.append(BAD, 3);
        lab.level(BAD).await;
        sleep(SECOND * 60).await;
    }
    assert_eq!(served(&lab, 3), 0);
}

/// Bad input: the address of the replica that a leader names is another cluster's. That halts the
/// link as any address of the source does that leads elsewhere.
#[tokio::test(start_paused = true)]
async fn a_replica_of_another_cluster_halts_the_link() {
    let mut lab = far_led(Version::V4_3);
    lab.begin().await;
    let before = lab.copy(BAD).end;
    lab.source().kill(NEAR);
    let elsewhere = lab.destination().host(1);
    lab.world.net.alias(&lab.source().host(NEAR), &elsewhere);
    names(&mut lab, Some(NEAR));
    lab.append(BAD, 3);
    lab.wait("a halt", |lab| {
        let seen = lab.seen(BAD).filter(|seen| seen.state == "Halted");
        seen.and_then(|seen| seen.reason).is_some_and(|(_, text)| text.contains("answered as"))
    })
    .await;
    let is_halted = |lab: &Lab| matches!(lab.link_state(), LinkState::Halted(_));
    lab.wait("the link says so", is_halted).await;
    assert!(lab.copy(BAD).end >= before);
}

/// No rack, or a compacted topic: the leader is read, and nobody is asked.
#[tokio::test(start_paused = true)]
async fn a_compacted_topic_is_read_from_its_leader() {
    let mut lab = far_led(Version::V4_3);
    lab.source().create_topic("tables", 1, &[("cleanup.policy", "compact")]);
    lab.source().move_leader("tables", 0, FAR);
    let time = lab.now_ms();
    lab.source().append("tables", 0, &Build::plain(time, "table", 3));
    lab.begin().await;
    lab.level(("tables", 0)).await;
    let before = served(&lab, FAR);
    lab.source().append("tables", 0, &Build::plain(time, "more", 3));
    lab.level(("tables", 0)).await;
    assert!(served(&lab, FAR) > before);
}
