//! A source that is far away: what a fetch asks for follows how much is left, and those that have
//! nothing to catch up with do not wait for the others.
//!
//! It never measures real time: every bound is in the world's own.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use isolog::flow;
use kafka_protocol::messages::ApiKey;
use protocol_tests::broker::spec::Spec;
use protocol_tests::net::Rule;
use protocol_tests::world::CLIENT;
use protocol_tests::world::instance::small_flow;
use tokio::time::Duration;
use tokio::time::Instant;
use tokio::time::sleep;

use super::lab::BAD;
use super::lab::GOOD;
use super::lab::Lab;

const MS: Duration = Duration::from_millis(1);
/// The way to the source, and as much back.
const AWAY: Duration = Duration::from_millis(50);
const BATCH_BYTES: usize = 256 << 10;

/// A source so far away, whose line lets so many bytes be on their way on a connection; isolog has
/// the sizes that it has by default.
fn far(window_bytes: usize) -> Lab {
    let mut lab = Lab::of(Spec::single("source", 1), Spec::single("destination", 2));
    lab.world.flow = flow::Options {
        memory_bytes: 256 << 20,
        fetch_bytes_max: 64 << 20,
        partition_bytes_max: 1 << 20,
        ..small_flow()
    };
    let away = u64::try_from(AWAY.as_millis()).expect("it is short");
    let rule = Rule { delay_ms: (away, away), window_bytes, ..Rule::default() };
    lab.world.net.set_rule(CLIENT, &lab.source().host(1), rule);
    lab
}

fn pile_up(lab: &mut Lab, (topic, partition): (&str, i32), batches: usize) {
    for _ in 0..batches {
        let build = lab.large(BATCH_BYTES);
        lab.source().append(topic, partition, &build);
    }
}

/// How many fetches the source has had.
fn fetches(lab: &Lab) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    lab.source().control_key(ApiKey::Fetch, move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        None
    });
    count
}

#[tokio::test(start_paused = true)]
async fn a_long_backlog_comes_in_few_large_answers() {
    let mut lab = far(usize::MAX);
    lab.begin().await;
    let count = fetches(&lab);
    let began = Instant::now();
    pile_up(&mut lab, BAD, 240);
    lab.level(BAD).await;
    let (took, asked) = (began.elapsed(), count.load(Ordering::Relaxed));
    // sixty answers of 1 MiB would take six seconds
    assert!(took < AWAY * 2 * 15 && asked < 20, "{took:?}, {asked} fetches");
    // and small ones again
    sleep(AWAY * 40).await;
    let before = count.load(Ordering::Relaxed);
    for _ in 0..3 {
        lab.append(BAD, 1);
        lab.level(BAD).await;
    }
    assert!(count.load(Ordering::Relaxed) - before < 15);
}

#[tokio::test(start_paused = true)]
async fn several_backlogs_share_two_connections() {
    let mut lab = far(usize::MAX);
    for place in [BAD, GOOD[0], GOOD[1]] {
        pile_up(&mut lab, place, 60);
    }
    let began = Instant::now();
    lab.begin().await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
    let links = lab.world.net.links(CLIENT, &lab.source().host(1)).len();
    assert!(links >= 3, "{links} connections to the source, one of them for questions");
}

/// The longest time that a record of a partition takes whose backlog is none.
async fn worst(lab: &mut Lab, rounds: u32) -> Duration {
    let mut worst = Duration::ZERO;
    for _ in 0..rounds {
        lab.append(GOOD[0], 1);
        worst = worst.max(lab.level(GOOD[0]).await);
        sleep(MS * 130).await;
    }
    worst
}

#[tokio::test(start_paused = true)]
async fn one_that_is_level_gets_no_later_because_others_catch_up() {
    // 2.5 MB/s on each connection
    let mut lab = far(128 << 10);
    lab.begin().await;
    let alone = worst(&mut lab, 20).await;
    pile_up(&mut lab, BAD, 200);
    sleep(Duration::from_secs(3)).await;
    assert!(!lab.is_level(BAD));
    let beside = worst(&mut lab, 20).await;
    assert!(!lab.is_level(BAD), "the backlog was too short to show anything");
    println!("far: {beside:?} beside a backlog, {alone:?} without");
    assert!(beside <= alone + AWAY * 2, "{beside:?} beside a backlog, {alone:?} without");
    lab.level(BAD).await;
}

/// A second connection that is refused, or lost, holds nobody up.
#[tokio::test(start_paused = true)]
async fn without_a_second_connection_the_first_does_it_all() {
    let mut lab = far(usize::MAX);
    lab.begin().await;
    let host = lab.source().host(1);
    for _ in 0..6 {
        pile_up(&mut lab, BAD, 60);
        sleep(AWAY * 7).await;
        // the newest of its connections is the second one, where there is one
        let links = lab.world.net.links(CLIENT, &host);
        if let Some(newest) = links.iter().max_by_key(|link| link.id()) {
            newest.reset_now();
        }
        lab.level(BAD).await;
    }
}
