//! Connections that end without a fault of anybody, and what stands between that forgets them.
//!
//! It never waits in real time: the network is in memory and time is paused.

use std::time::Duration;

use protocol_tests::broker::spec::Spec;
use protocol_tests::world::World;
use tokio::time::Instant;
use tokio::time::sleep;

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
