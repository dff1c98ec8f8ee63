//! Connections that end without a fault of anybody, and what stands between that forgets them.
//!
//! It never waits in real time: the network is in memory and time is paused.

use std::time::Duration;

use isolog::control::order::Verb;
use isolog::control::topic::Status;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::cluster::TestCluster;
use protocol_tests::broker::spec::Spec;
use protocol_tests::orders::exact_link;
use protocol_tests::world::World;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::operated::Lab;
use crate::operated::SECOND;
use crate::operated::mirror;

/// What a broker's `connections.max.idle.ms` could be.
const IDLE: Duration = Duration::from_secs(30);
/// `request.timeout.ms` of the worlds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

async fn level_world(partitions: i32) -> World {
    let mut world = World::between(Spec::single("source", 1), Spec::single("destination", 2));
    world.topic("quiet", partitions);
    for _ in 0..4 * partitions {
        world.produce();
    }
    world.start();
    wait_level(&world, partitions).await;
    world
}

async fn wait_level(world: &World, partitions: i32) {
    for partition in 0..partitions {
        let end = world.source.dump("quiet", partition).end;
        let level = |hwm: Option<isolog::ids::Offset>| hwm.is_some_and(|hwm| hwm.get() == end);
        world.wait_seen("quiet", partition, |seen| level(seen.destination_hwm)).await;
    }
}

/// C1.
#[tokio::test(start_paused = true)]
async fn an_idle_close_is_no_failure() {
    let mut world = level_world(2).await;
    for round in 0..12 {
        sleep(IDLE).await;
        world.net.cut("", &world.destination.host(1));
        for step in 0..40 {
            sleep(Duration::from_millis(50)).await;
            for partition in 0..2 {
                let seen = world.seen("quiet", partition).expect("it is mirrored");
                let right = seen.state == "Mirroring" && seen.reason.is_none();
                assert!(right, "round {round}, step {step}: {seen:?}");
            }
        }
    }
    let began = Instant::now();
    world.produce();
    wait_level(&world, 2).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "a record after idle closes took {took:?}");
    world.stop().await;
}

/// A broker that comes back with an empty log under the same name closed the connection too: what
/// it has is looked at before anything is appended.
#[tokio::test(start_paused = true)]
async fn a_log_that_was_lost_meanwhile_is_noticed_before_a_record_is_appended() {
    let mut world = level_world(1).await;
    sleep(IDLE).await;
    let key = world.destination.key("quiet", 0);
    world.destination.change(|state| {
        let replica = state.replica_mut(key, 1);
        replica.log.truncate(2);
    });
    let end = world.destination.dump("quiet", 0).end;
    world.net.cut("", &world.destination.host(1));
    world.wait_seen("quiet", 0, |seen| seen.state != "Mirroring").await;
    assert!(world.destination.dump("quiet", 0).end <= end.max(2));
    world.stop().await;
}

/// C2.
#[tokio::test(start_paused = true)]
async fn what_something_between_has_forgotten_costs_one_timeout() {
    let mut world = level_world(1).await;
    sleep(IDLE).await;
    // from now on the present connections swallow whatever comes; new ones are fine
    world.net.hold("", &world.destination.host(1));
    let began = Instant::now();
    world.produce();
    wait_level(&world, 1).await;
    let took = began.elapsed();
    assert!(took >= REQUEST_TIMEOUT, "nothing was swallowed: {took:?}");
    assert!(took < REQUEST_TIMEOUT * 3 / 2, "more than one timeout: {took:?}");
    world.stop().await;
}

/// How many links one process has.
const LINKS: usize = 50;
/// Brokers of the destination; the topics have as many partitions.
const BROKERS: i32 = 3;

/// How many connections the brokers of the destination have once all is at rest: which of them is
/// asked what any may be asked changes.
async fn count(lab: &Lab) -> usize {
    sleep(SECOND * 20).await;
    let host = |broker| lab.destination.host(broker);
    let net = lab.destination.net();
    (1..=BROKERS).map(|broker| net.links("", &host(broker)).len()).sum()
}

async fn create(lab: &Lab, sources: &[TestCluster], nth: usize) {
    let (host, port) = &sources[nth % sources.len()].bootstrap()[0];
    let prefix = format!("p{nth}.");
    let more = [("cluster.link.prefix", prefix.as_str())];
    let mut new = exact_link(&format!("{host}:{port}"), &more);
    new.id = format!("{nth:0>22}");
    lab.obeyed(&format!("link{nth}"), Verb::CreateLink(new)).await;
}

/// What asks the destination and what writes the journal is shared by all links; what appends is
/// each link's own: one connection from each broker of its source that has something for that one.
#[tokio::test(start_paused = true)]
async fn links_share_all_connections_to_the_destination_but_those_that_append() {
    let three = Spec { brokers: BROKERS, ..Spec::single("destination", 2) };
    let both = (Spec::single("source", 1), three);
    let lab = Lab::start_on(both, &[]).await;
    let net = lab.destination.net();
    let start = |seed: u64| TestCluster::start(net, Spec::single(&format!("s{seed}"), seed));
    let sources: Vec<TestCluster> = (10..15).map(start).collect();
    for source in &sources {
        source.create_topic("orders", BROKERS, &[]);
        let now = source.look(|state| state.now_ms());
        for at in 0..BROKERS {
            source.append("orders", at, &Build::plain(now, "x", 5));
        }
    }
    let begin = async |nth: usize| {
        let of = format!("link{nth}");
        lab.obeyed(&of, mirror("orders")).await;
        let here = format!("p{nth}.orders");
        lab.wait_status(&of, &here, Status::Active).await;
        let level = |lab: &Lab| {
            (0..BROKERS).all(|at| lab.destination.dump(&here, at).end == 5).then_some(())
        };
        lab.wait("it is level", level).await;
    };
    create(&lab, &sources, 0).await;
    begin(0).await;
    let one = count(&lab).await;
    // to each broker and to any, to the journal's leader, and what appends
    assert_eq!(one, (BROKERS + 1 + 2 + BROKERS) as usize);
    for nth in 1..LINKS {
        create(&lab, &sources, nth).await;
    }
    assert_eq!(count(&lab).await, one, "links that append nothing have none");
    for nth in 1..LINKS {
        begin(nth).await;
    }
    // of each link, one to each leader of its partitions: its source has one broker
    let all = one + (LINKS - 1) * BROKERS as usize;
    assert_eq!(count(&lab).await, all, "of one link: {one}");
    for nth in 1..LINKS {
        lab.obeyed(&format!("link{nth}"), Verb::DeleteLink { is_forced: true }).await;
    }
    assert_eq!(count(&lab).await, one, "a link that is gone has none");
    println!("{one} connections to {BROKERS} brokers with one link, {all} with {LINKS}");
    lab.end().await;
}
