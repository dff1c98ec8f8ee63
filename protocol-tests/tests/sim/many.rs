//! Many mirror topics of one filter: what they take grows with their number, and no faster.
//!
//! Times of the cores are printed and never judged here: `.ci/soak many` compares 1,000 topics with
//! 10,000. What is judged is what does not depend on the machine: rows, and the world's own time.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::cell::Cell;
use std::collections::BTreeMap;

use isolog::control::topic::Status;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::operated::Lab;
use crate::operated::SECOND;
use crate::operated::link;

/// How many topics of the smaller world; the larger one has ten times as many.
fn topics() -> usize {
    std::env::var("ISOLOG_MANY").map_or(50, |text| text.parse().unwrap())
}

/// How long they rest, in seconds of the world: none where only the beginning is counted.
fn rest() -> u32 {
    std::env::var("ISOLOG_MANY_REST").map_or(60, |text| text.parse().unwrap())
}

/// For how long this thread, on which a world runs, had a core: what else the machine does counts
/// for little.
fn cpu_s() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// What a world took.
#[derive(Debug)]
struct Took {
    topics: usize,
    /// The journal's rows.
    rows: i64,
    /// Until all were copied, by the world's own clock.
    world_ms: u128,
    /// The same in seconds of a core.
    begun_s: f64,
    /// A minute of the world at rest, in seconds of a core.
    rest_s: f64,
}

async fn took(count: usize) -> Took {
    let lab = Lab::start(&[]).await;
    for n in 0..count {
        lab.source.create_topic(&format!("t{n:05}"), 1, &[]);
        lab.append(&format!("t{n:05}"), 0);
    }
    let (began, world) = (cpu_s(), Instant::now());
    // what this test's own looks take, which go through all topics each time
    let looked = Cell::new(0.0);
    let look = |is_so: &dyn Fn() -> bool| {
        let from = cpu_s();
        let is_so = is_so();
        looked.set(looked.get() + cpu_s() - from);
        is_so.then_some(())
    };
    lab.create_link("dr", &[("mirror.topics", "*")]).await;
    lab.wait("all are ACTIVE", |lab| {
        look(&|| {
            let seen = lab.driver.registry.seen();
            let statuses: BTreeMap<&str, u64> = seen.statuses(&link("dr"));
            statuses.get(Status::Active.word()) == Some(&(count as u64))
        })
    })
    .await;
    lab.wait("all are copied", |lab| {
        let end = |n| lab.destination.dump(&format!("t{n:05}"), 0).end;
        // the last ones first: those are behind
        look(&|| (0..count).rev().all(|n| end(n) == 5))
    })
    .await;
    let begun_s = cpu_s() - began - looked.get();
    let world_ms = world.elapsed().as_millis();
    let rests = cpu_s();
    sleep(SECOND * rest()).await;
    let rest_s = cpu_s() - rests;
    let rows = lab.destination.dump("__isolog", 0).end;
    lab.end().await;
    Took { topics: count, rows, world_ms, begun_s, rest_s }
}

/// Nothing of what is done for all topics is done for each of them once more.
#[tokio::test(start_paused = true)]
async fn ten_times_as_many_topics_take_no_more_rows_or_rounds_each() {
    let few = took(topics()).await;
    let many = took(10 * topics()).await;
    println!(
        "{few:?}\n{many:?}\n{} topics take {:.1} times as long to begin as {}, at rest {:.1} times",
        many.topics,
        many.begun_s / few.begun_s,
        few.topics,
        many.rest_s / few.rest_s
    );
    assert!(many.rows <= 12 * few.rows, "{few:?} {many:?}");
    assert!(many.world_ms <= 12 * few.world_ms, "{few:?} {many:?}");
}
