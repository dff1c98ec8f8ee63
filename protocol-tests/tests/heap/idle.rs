//! A quiet time: 200 partitions without records cost no growing memory and few requests.
//! `ISOLOG_QUIET_MINUTES` is how long it is: 10 every day, an hour in the soak.
//!
//! It never runs beside another test: the heap is counted for the whole process.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use kafka_protocol::messages::ApiKey;
use protocol_tests::broker::spec::Spec;
use protocol_tests::world::World;
use tokio::time::Duration;
use tokio::time::sleep;

use super::HEAP;
use super::alone;

const PARTITIONS: i32 = 200;
const MINUTE: Duration = Duration::from_secs(60);
/// What the last samples may be above the first ones: buffers that are alive by chance.
const NOISE_BYTES_MAX: usize = 64 * 1024;
/// Two fetches a second of each lane (three by three brokers), a look at the topics every five
/// seconds, and a margin.
const REQUESTS_PER_SECOND_MAX: u64 = 9 * 2 + 4;

/// The least of some samples a second apart: what is there between the requests.
async fn heap_bytes() -> usize {
    let mut least = usize::MAX;
    for _ in 0..30 {
        sleep(Duration::from_millis(1_013)).await;
        least = least.min(HEAP.current_usage());
    }
    least
}

fn minutes() -> u32 {
    let told = std::env::var("ISOLOG_QUIET_MINUTES").ok();
    told.map_or(10, |text| text.parse().expect("ISOLOG_QUIET_MINUTES is a number"))
}

#[test]
fn a_quiet_time_grows_nothing_and_asks_little() {
    let _alone = alone();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build();
    runtime.expect("a runtime starts").block_on(quiet(minutes()));
}

async fn quiet(minutes: u32) {
    let mut world = World::between(Spec::triple("source", 1), Spec::triple("destination", 2));
    world.topic("quiet", PARTITIONS);
    let asked = Arc::new(AtomicU64::new(0));
    for cluster in [&world.source, &world.destination] {
        for key in [ApiKey::Fetch, ApiKey::Produce, ApiKey::Metadata, ApiKey::ListOffsets] {
            let asked = asked.clone();
            cluster.control_key(key, move |_| {
                asked.fetch_add(1, Ordering::Relaxed);
                None
            });
        }
    }
    for _ in 0..PARTITIONS {
        world.produce();
    }
    world.start();
    for partition in 0..PARTITIONS {
        world.wait_seen("quiet", partition, |seen| seen.lag_records == Some(0)).await;
    }
    sleep(MINUTE * 5).await;
    let (before, asked_before) = (heap_bytes().await, asked.load(Ordering::Relaxed));
    sleep(MINUTE * minutes).await;
    let per_second = (asked.load(Ordering::Relaxed) - asked_before) / u64::from(minutes * 60);
    let after = heap_bytes().await;
    println!("{before} bytes, {after} after {minutes} minutes, {per_second} requests/s");
    assert!(after <= before + NOISE_BYTES_MAX, "{before} bytes became {after}");
    assert!((1..=REQUESTS_PER_SECOND_MAX).contains(&per_second), "{per_second} requests a second");
    world.stop().await;
}
