//! How fast a link fetches: one with a limit beside one without, and a limit that changes while it
//! copies.
//!
//! Time is the world's own: what takes a second takes exactly that.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;

use isolog::control::order::Verb;
use protocol_tests::broker::batch::Build;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::operated::Lab;
use crate::operated::SECOND;
use crate::operated::link;
use crate::operated::mirror;

/// Records of a batch, and how long the value of each is.
const RECORDS: usize = 20;
const VALUE_BYTES: usize = 1_000;
/// So many batches are written first: 2 MB.
const BATCHES: usize = 100;
/// What a second brings: 20 s for all of them.
const RATE: usize = 100_000;
const LIMIT: &str = "link.max.bytes.per.second";

fn write(lab: &Lab, topic: &str) {
    let now = lab.source.look(|state| state.now_ms());
    let batch = Build::plain(now, &"x".repeat(VALUE_BYTES), RECORDS);
    for _ in 0..BATCHES {
        lab.source.append(topic, 0, &batch);
    }
}

/// Record bytes that have come, without their headers.
fn come(lab: &Lab, topic: &str) -> usize {
    let end = lab.destination.dump(topic, 0).end;
    usize::try_from(end).unwrap() * VALUE_BYTES
}

#[tokio::test(start_paused = true)]
async fn a_limited_link_takes_its_time_and_another_one_does_not() {
    let lab = Lab::start(&[]).await;
    for topic in ["slow", "fast"] {
        lab.source.create_topic(topic, 1, &[]);
        write(&lab, topic);
        lab.create_link(topic, &[]).await;
    }
    let limit = |value: &str| BTreeMap::from([(LIMIT.to_owned(), Some(value.to_owned()))]);
    let alter = async |value: &str| {
        let checked = lab.driver.registry.seen().links[&link("slow")].row.generation;
        let configs = limit(value);
        lab.obeyed("slow", Verb::AlterLink { configs, checked }).await;
    };
    alter(&RATE.to_string()).await;
    lab.obeyed("fast", mirror("fast")).await;
    lab.copied("fast", "fast", 0).await;
    lab.obeyed("slow", mirror("slow")).await;
    lab.wait("its first records", |lab| {
        lab.has("slow").then(|| come(lab, "slow")).filter(|n| *n > 0)
    })
    .await;
    let (began, before) = (Instant::now(), come(&lab, "slow"));
    sleep(SECOND * 5).await;
    let bytes = come(&lab, "slow") - before;
    let share = RATE * 5;
    assert!(bytes <= share + RATE, "{bytes} in 5 s, and a second's credit");
    assert!(bytes * 2 > share, "{bytes} in 5 s are too few");
    // what is written to the other link comes at once meanwhile
    write(&lab, "fast");
    let asked = Instant::now();
    lab.copied("fast", "fast", 0).await;
    assert!(asked.elapsed() < SECOND * 5, "the limit is of one link: {:?}", asked.elapsed());
    // and without the limit the rest comes at once
    assert!(come(&lab, "slow") < BATCHES * RECORDS * VALUE_BYTES / 2 + 5 * RATE);
    alter("-1").await;
    lab.copied("slow", "slow", 0).await;
    assert!(began.elapsed() < SECOND * 15, "it would have taken 20 s: {:?}", began.elapsed());
    lab.end().await;
}
