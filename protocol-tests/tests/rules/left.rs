//! Rules about what a client leaves behind: requests given up, connections closed or aborted,
//! leaders moved (S4, A3, P18, P19). All of them need a follower to freeze, or to elect.
//!
//! It never kills a broker: a freeze and an election show the same and heal faster.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use protocol_tests::broker::Build;
use protocol_tests::raw::Raw;

use crate::lab::Ack;
use crate::lab::Lab;
use crate::lab::OK;
use crate::lab::Topic;
use crate::lab::ack;

const PID: i64 = 4_611_686_018_427_388_001;
const OUT_OF_ORDER: i16 = 45;
const TIMED_OUT: i16 = 7;
/// A request that was still queued on a closed connection came up to 3 s later (A3).
const LATE: Duration = Duration::from_secs(4);
/// What was sent is in the broker's socket, and the first of it is in the log.
const ARRIVAL: Duration = Duration::from_millis(700);
/// Where the first batch ends, the one that is appended while its followers are frozen.
const FIRST_END: i64 = 7;
/// Where the last of the queued batches ends.
const LAST_END: i64 = 12;

fn chain(lab: &Lab, sequence: i32, count: usize) -> Bytes {
    Build::plain(lab.now_ms() - 60_000, "r", count).producer(PID, 0, sequence).bytes()
}

/// Two replicas, three records, the follower frozen: the next append with acks=all waits.
async fn waiting(lab: &Lab) -> (Topic, Raw) {
    let topic = lab.placed_topic(&[1, 2], &[("min.insync.replicas", "1")]).await;
    let mut eyes = lab.connect().await;
    assert_eq!(lab.produce(&mut eyes, &topic, chain(lab, 0, 3)).await.error, OK);
    lab.freeze(2).await;
    (topic, eyes)
}

/// The batches of sequences 3 to 11: the first is what waits, four more queue behind it.
fn batches(lab: &Lab) -> Vec<Bytes> {
    [(3, 4), (7, 1), (8, 1), (9, 2), (11, 1)].map(|(n, count)| chain(lab, n, count)).into()
}

async fn produce_in(lab: &Lab, raw: &mut Raw, topic: &Topic, batch: Bytes, wait_ms: i32) -> Ack {
    let version = lab.produce_version();
    let mut request = lab.produce_request(topic, &[Some(batch)], version);
    request.timeout_ms = wait_ms;
    ack(&raw.call(version, &request).await.unwrap())
}

/// A3: of a partition whose sequences are its offsets, the state says where it ends.
async fn state_agrees(lab: &Lab, eyes: &mut Raw, topic: &Topic) -> i64 {
    let known = lab.producers(eyes, topic).await;
    let end = lab.end(eyes, topic).await;
    assert_eq!(known.len(), 1, "{known:?}");
    assert_eq!((known[0].0, i64::from(known[0].2) + 1), (PID, end));
    end
}

/// The same batches again, on a connection of their own: each gets its one place.
async fn again(lab: &Lab, topic: &Topic, batches: &[Bytes]) {
    let mut raw = lab.connect().await;
    for (batch, place) in batches.iter().zip([3, 7, 8, 9, 11]) {
        let answer = lab.produce(&mut raw, topic, batch.clone()).await;
        assert_eq!((answer.error, answer.base), (OK, place));
    }
    assert_eq!(state_agrees(lab, &mut raw, topic).await, LAST_END);
    assert_eq!(lab.list(&mut raw, topic, -1, -1, -1).await.1, LAST_END);
}

/// Drops a connection with five requests; `possible` is where the log may end when everything
/// late has come.
async fn give_up(lab: &Lab, mut raw: Raw, possible: RangeInclusive<i64>) {
    let (topic, mut eyes) = waiting(lab).await;
    let batches = batches(lab);
    for batch in &batches {
        lab.send(&mut raw, &topic, batch.clone()).await;
    }
    tokio::time::sleep(ARRIVAL).await;
    // the first waits in the log, the others in the socket (P18)
    assert_eq!(state_agrees(lab, &mut eyes, &topic).await, FIRST_END);
    drop(raw);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(state_agrees(lab, &mut eyes, &topic).await, FIRST_END);
    lab.thaw(2).await;
    tokio::time::sleep(LATE).await;
    let end = state_agrees(lab, &mut eyes, &topic).await;
    println!("the log ends at {end} of {possible:?}");
    assert!(possible.contains(&end), "{end} is not in {possible:?}");
    again(lab, &topic, &batches).await;
}

/// A3: after a close at most one of the queued requests is appended; the repeat is exact.
pub async fn a03_closed_with_requests_queued(lab: &Lab) {
    give_up(lab, lab.connect().await, FIRST_END..=FIRST_END + 1).await;
}

/// A3: after an abort none of the queued requests is appended; the repeat is exact.
pub async fn a03_aborted_with_requests_queued(lab: &Lab) {
    give_up(lab, lab.connect_resetting().await, FIRST_END..=FIRST_END).await;
}

/// A3: the first request of an aborted connection is repeated while it still waits: its place is
/// told, and the chain goes on behind it.
pub async fn a03_repeated_before_the_thaw(lab: &Lab) {
    let (topic, mut eyes) = waiting(lab).await;
    let (mut raw, batches) = (lab.connect_resetting().await, batches(lab));
    for batch in &batches {
        lab.send(&mut raw, &topic, batch.clone()).await;
    }
    tokio::time::sleep(ARRIVAL).await;
    drop(raw);
    let mut other = lab.connect().await;
    let answer = produce_in(lab, &mut other, &topic, batches[0].clone(), 300).await;
    assert_eq!((answer.error, answer.base), (TIMED_OUT, 3));
    let next = produce_in(lab, &mut other, &topic, batches[1].clone(), 300).await;
    assert_eq!((next.error, next.base), (TIMED_OUT, 7));
    assert_eq!(state_agrees(lab, &mut eyes, &topic).await, FIRST_END + 1);
    lab.thaw(2).await;
    again(lab, &topic, &batches).await;
}

/// P18: the second request of a connection is not appended before the first is answered.
pub async fn p18_one_request_at_a_time(lab: &Lab) {
    let (topic, mut eyes) = waiting(lab).await;
    let mut raw = lab.connect().await;
    lab.send(&mut raw, &topic, chain(lab, 3, 4)).await;
    lab.send(&mut raw, &topic, chain(lab, 7, 1)).await;
    tokio::time::sleep(ARRIVAL).await;
    assert_eq!(lab.end(&mut eyes, &topic).await, FIRST_END);
    // what comes over another connection is appended meanwhile: the log itself is free
    let stranger = Build::plain(lab.now_ms(), "s", 1).producer(PID + 1, 0, 0).bytes();
    let passed = produce_in(lab, &mut eyes, &topic, stranger, 300).await;
    assert_eq!((passed.error, passed.base), (TIMED_OUT, FIRST_END));
    assert_eq!(lab.end(&mut eyes, &topic).await, FIRST_END + 1);
    lab.thaw(2).await;
    let (first, second) = (lab.receive(&mut raw).await, lab.receive(&mut raw).await);
    assert_eq!((first.error, first.base), (OK, 3));
    assert_eq!((second.error, second.base), (OK, FIRST_END + 1));
}

/// P19: acks=all timed out: the batch is in the log, and its answer names the offset; a repeat
/// waits and times out in the same way, and appends nothing.
pub async fn p19_timed_out_is_in_the_log(lab: &Lab) {
    let (topic, mut raw) = waiting(lab).await;
    for _ in 0..2 {
        let start = tokio::time::Instant::now();
        let answer = produce_in(lab, &mut raw, &topic, chain(lab, 3, 4), 600).await;
        assert_eq!((answer.error, answer.base), (TIMED_OUT, 3));
        assert!(start.elapsed() >= Duration::from_millis(500), "a repeat did not wait");
        assert_eq!(lab.end(&mut raw, &topic).await, FIRST_END);
        assert_eq!(lab.list(&mut raw, &topic, -1, -1, -1).await.1, 3);
    }
    lab.thaw(2).await;
    // now the repeat is answered as soon as the follower has it
    let answer = lab.produce(&mut raw, &topic, chain(lab, 3, 4)).await;
    assert_eq!((answer.error, answer.base), (OK, 3));
    assert_eq!(state_agrees(lab, &mut raw, &topic).await, FIRST_END);
    assert_eq!(lab.list(&mut raw, &topic, -1, -1, -1).await.1, FIRST_END);
}

/// S4: after an election the new leader knows the last five batches of the id, no more, and goes
/// on with the next sequence.
pub async fn s04_an_elected_leader_knows_the_last_batches(lab: &Lab) {
    let topic = lab.placed_topic(&[1, 2, 3], &[]).await;
    let mut old = lab.connect().await;
    let batches: Vec<_> = (0..6).map(|n| chain(lab, n * 2, 2)).collect();
    for batch in &batches {
        assert_eq!(lab.produce(&mut old, &topic, batch.clone()).await.error, OK);
    }
    lab.elect(&topic, &[2, 1, 3]).await;
    let mut new = lab.connect_to(2).await;
    let (error, end, _, epoch) = lab.list(&mut new, &topic, -3, -1, -1).await;
    assert_eq!((error, end), (OK, 12));
    assert!(epoch > topic.epoch, "the same epoch {epoch}");
    assert_eq!(state_agrees(lab, &mut new, &topic).await, 12);
    for (n, batch) in batches.iter().enumerate().skip(1) {
        let answer = lab.produce(&mut new, &topic, batch.clone()).await;
        assert_eq!((answer.error, answer.base), (OK, n as i64 * 2), "batch {n}");
    }
    let sixth = lab.produce(&mut new, &topic, batches[0].clone()).await;
    assert_eq!(sixth.error, OUT_OF_ORDER);
    assert_eq!(lab.produce(&mut old, &topic, chain(lab, 12, 1)).await.error, 6);
    assert_eq!(lab.produce(&mut new, &topic, chain(lab, 12, 1)).await.base, 12);
    assert_eq!(state_agrees(lab, &mut new, &topic).await, 13);
}
