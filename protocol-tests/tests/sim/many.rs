//! Many mirror topics of one filter: what they take grows with their number, and no faster.
//!
//! Times of the cores are printed and never judged here: `.ci/soak many` compares 1,000 topics with
//! 10,000. What is judged is what does not depend on the machine: rows, and the world's own time.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use isolog::control::topic::Status;
use tokio::task::LocalSet;
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

/// What a world took; of several side by side, each of them.
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

async fn prepared(count: usize) -> Lab {
    let lab = Lab::start(&[]).await;
    for n in 0..count {
        lab.source.create_topic(&format!("t{n:05}"), 1, &[]);
        lab.append(&format!("t{n:05}"), 0);
    }
    lab
}

/// Until all topics are copied; what this test's own looks take, which go through all of them each
/// time, is added to `looked`.
async fn copied(lab: Rc<Lab>, count: usize, looked: Rc<Cell<f64>>) {
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
}

/// All of them side by side.
async fn all<T: 'static>(each: impl Iterator<Item = impl Future<Output = T> + 'static>) -> Vec<T> {
    let (local, mut done) = (LocalSet::new(), Vec::new());
    let each: Vec<_> = each.map(|one| local.spawn_local(one)).collect();
    local.await;
    for one in each {
        done.push(one.await.unwrap());
    }
    done
}

async fn took(worlds: usize, count: usize) -> Took {
    let labs = all((0..worlds).map(|_| prepared(count))).await;
    let labs: Vec<Rc<Lab>> = labs.into_iter().map(Rc::new).collect();
    let (began, world) = (cpu_s(), Instant::now());
    let looked = Rc::new(Cell::new(0.0));
    let each = labs.iter().map(|lab| copied(lab.clone(), count, looked.clone()));
    all(each).await;
    let begun_s = cpu_s() - began - looked.get();
    let world_ms = world.elapsed().as_millis();
    let rests = cpu_s();
    sleep(SECOND * rest()).await;
    let rest_s = cpu_s() - rests;
    let rows = labs[0].destination.dump("__isolog", 0).end;
    for lab in labs {
        Rc::into_inner(lab).unwrap().end().await;
    }
    let [begun_s, rest_s] = [begun_s, rest_s].map(|all| all / worlds as f64);
    Took { topics: count, rows, world_ms, begun_s, rest_s }
}

/// Nothing of what is done for all topics is done for each of them once more.
#[tokio::test(start_paused = true)]
async fn ten_times_as_many_topics_take_no_more_rows_or_rounds_each() {
    let few = took(1, topics()).await;
    let many = took(1, 10 * topics()).await;
    println!("{few:?}\n{many:?}\n{}", compared(&few, &many));
    assert!(many.rows <= 12 * few.rows, "{few:?} {many:?}");
    assert!(many.world_ms <= 12 * few.world_ms, "{few:?} {many:?}");
}

/// What a core takes depends on whether all of a world fits into its caches. Ten small worlds side
/// by side fit as badly as the large one: what is left between the two is what grows faster than
/// the number of topics.
#[tokio::test(start_paused = true)]
async fn one_large_world_takes_as_long_as_ten_small_ones() {
    let few = took(10, topics()).await;
    let many = took(1, 10 * topics()).await;
    println!("each of ten: {few:?}\n{many:?}\n{}", compared(&few, &many));
    // side by side none of them does more than by itself
    assert!(many.rows <= 12 * few.rows, "{few:?} {many:?}");
    assert!(many.world_ms <= 12 * few.world_ms, "{few:?} {many:?}");
}

fn compared(few: &Took, many: &Took) -> String {
    let whole = |one: &Took| one.begun_s + one.rest_s;
    format!(
        "{} topics take {:.1} times as long as {} to begin, {:.1} at rest, {:.1} in all",
        many.topics,
        many.begun_s / few.begun_s,
        few.topics,
        many.rest_s / few.rest_s,
        whole(many) / whole(few),
    )
}
