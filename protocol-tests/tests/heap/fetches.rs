//! Fetch answers padded far beyond what was asked for, on many lanes at once.
//!
//! It never lets the answers cost the test's own heap: they share one body.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use bytes::BytesMut;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::FetchResponse;
use kafka_protocol::protocol::Encodable;
use protocol_tests::broker::spec::Spec;
use protocol_tests::broker::takeover::Act;
use protocol_tests::world::World;
use tokio::time::Duration;
use tokio::time::sleep;

use super::HEAP;
use super::alone;

const PARTITIONS: i32 = 36;
const MIB: usize = 1 << 20;
/// What an unknown tag pads each answer to.
const PADDING: usize = 99 * MIB;
/// How many answers are padded.
const PADDED: usize = 60;
/// `buffer.memory.bytes`.
const BUDGET: usize = 32 * MIB;
/// One answer beyond what was granted, of all lanes; what the in-memory network holds of nine
/// lanes, 4 MiB each; the rest of the program.
const BASE: usize = 100 * MIB + 9 * 4 * MIB + 4 * MIB;
/// What may stay when it is over: the lanes' own buffers, within the budget.
const LEFT_MAX: usize = BUDGET + 4 * MIB;
/// The version that isolog speaks with these brokers.
const VERSION: i16 = 17;

fn padded() -> Bytes {
    let mut answer = FetchResponse::default();
    answer.unknown_tagged_fields.insert(9_999, Bytes::from(vec![0; PADDING]));
    let mut body = BytesMut::with_capacity(PADDING + 64);
    answer.encode(&mut body, VERSION).expect("it is of this version");
    body.freeze()
}

/// H4.
#[tokio::test(start_paused = true)]
#[allow(clippy::await_holding_lock, reason = "it is the turn of the whole program")]
async fn answers_beyond_their_grant_come_one_at_a_time_and_are_given_back() {
    let _alone = alone();
    let mut world = World::between(Spec::triple("source", 1), Spec::triple("destination", 2));
    world.flow.memory_bytes = BUDGET;
    world.topic("orders", PARTITIONS);
    for _ in 0..2 * PARTITIONS {
        world.produce();
    }
    world.start();
    for partition in 0..PARTITIONS {
        world.wait_seen("orders", partition, |seen| seen.lag_records == Some(0)).await;
    }
    let (body, sent) = (padded(), Arc::new(AtomicUsize::new(0)));
    let (gives, counts) = (body.clone(), sent.clone());
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    world.source.control_key(ApiKey::Fetch, move |call| {
        let pads = call.version == VERSION && counts.fetch_add(1, Ordering::SeqCst) < PADDED;
        pads.then(|| Act::Answer(gives.clone()))
    });
    while sent.load(Ordering::SeqCst) < PADDED {
        sleep(Duration::from_millis(100)).await;
    }
    for _ in 0..PARTITIONS {
        world.produce();
    }
    sleep(Duration::from_secs(30)).await;
    for partition in 0..PARTITIONS {
        world.wait_seen("orders", partition, |seen| seen.lag_records == Some(0)).await;
    }
    let took = HEAP.peak_usage().saturating_sub(before);
    let left = HEAP.current_usage().saturating_sub(before);
    let bound = BUDGET + BUDGET * 3 / 10 + BASE;
    println!("{} MiB at most, of {} MiB; {} MiB stay", took / MIB, bound / MIB, left / MIB);
    assert!(took <= bound, "{took} bytes of heap, at most {bound}");
    assert!(left <= LEFT_MAX, "{left} bytes stay");
    world.stop().await;
}
