//! Rules that need three brokers: ends behind the watermark, waiting, moved leaders.
//!
//! It never kills: a freeze shows the same and heals faster.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::*;
use protocol_tests::broker::Build;
use tokio::time::Instant;

use crate::lab::Lab;
use crate::lab::OK;
use crate::lab::ack;

const PID: i64 = 4_611_686_018_427_387_999;

fn chain(lab: &Lab, sequence: i32, count: usize) -> Bytes {
    Build::plain(lab.now_ms() - 60_000, "r", count).producer(PID, 0, sequence).bytes()
}

/// A4, P18, P19: with a frozen follower acks=all waits, the true end runs ahead of the watermark,
/// a repeat waits as well, and one connection serves one request at a time.
pub async fn a04_the_true_end_with_a_frozen_follower(lab: &Lab) {
    let topic = lab.placed_topic(&[1, 2], &[("min.insync.replicas", "1")]).await;
    let (mut raw, mut eyes) = (lab.connect().await, lab.connect().await);
    assert_eq!(lab.produce(&mut raw, &topic, chain(lab, 0, 3)).await.error, OK);
    lab.freeze(2).await;
    let start = Instant::now();
    let version = lab.produce_version();
    let mut request = lab.produce_request(&topic, &[Some(chain(lab, 3, 4))], version);
    request.timeout_ms = 1_500;
    raw.send(version, &request).await.unwrap();
    let second = lab.produce_request(&topic, &[Some(chain(lab, 7, 1))], version);
    raw.send(version, &second).await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    // the second request is not even appended (P18)
    assert_eq!(lab.end(&mut eyes, &topic).await, 7);
    assert_eq!(lab.list(&mut eyes, &topic, -1, -1, -1).await.1, 3);
    let timed_out = ack(&raw.receive::<ProduceRequest>(version).await.unwrap());
    assert_eq!((timed_out.error, timed_out.base), (7, 3));
    assert!(start.elapsed() < Duration::from_secs(8), "the follower was given up too early");
    // a repeat of what is not yet replicated waits too, and names the offset (P19)
    let mut again = lab.connect().await;
    let mut repeat = request.clone();
    repeat.timeout_ms = 500;
    let repeated = ack(&again.call(version, &repeat).await.unwrap());
    assert_eq!((repeated.error, repeated.base), (7, 3));
    lab.thaw(2).await;
    let last = ack(&raw.receive::<ProduceRequest>(version).await.unwrap());
    assert_eq!((last.error, last.base), (OK, 7));
    assert_eq!(lab.list(&mut eyes, &topic, -1, -1, -1).await.1, 8);
}

/// Below min.insync.replicas nothing is appended.
pub async fn b13_too_few_replicas(lab: &Lab) {
    let topic = lab.placed_topic(&[1, 3], &[("min.insync.replicas", "2")]).await;
    let mut raw = lab.connect().await;
    assert_eq!(lab.produce(&mut raw, &topic, chain(lab, 0, 3)).await.error, OK);
    lab.freeze(3).await;
    // the controller gives the frozen broker up after its session; what it had asked for before it
    // froze may still be answered
    let until = Instant::now() + Duration::from_secs(120);
    let mut sequence = 3;
    let refused = loop {
        let version = lab.produce_version();
        let mut request = lab.produce_request(&topic, &[Some(chain(lab, sequence, 1))], version);
        request.timeout_ms = 2_000;
        let answer = ack(&raw.call(version, &request).await.unwrap());
        match answer.error {
            OK | 7 | 20 if Instant::now() < until => sequence += 1,
            code => break code,
        }
    };
    assert_eq!(refused, 19);
    let end = lab.end(&mut raw, &topic).await;
    assert_eq!(end, i64::from(sequence));
    lab.thaw(3).await;
    let until = Instant::now() + Duration::from_secs(60);
    while lab.produce(&mut raw, &topic, chain(lab, sequence, 1)).await.error != OK {
        assert!(Instant::now() < until, "the follower never came back");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(lab.end(&mut raw, &topic).await, i64::from(sequence) + 1);
}

/// Who is not the leader refuses to append (6) and, from v10 on, says who is; a follower answers
/// DescribeProducers and Fetch, not ListOffsets (S1, A4, B7).
pub async fn s01_what_followers_answer(lab: &Lab) {
    let topic = lab.placed_topic(&[1, 2], &[]).await;
    let mut leader = lab.connect_to(1).await;
    assert_eq!(lab.produce(&mut leader, &topic, chain(lab, 0, 3)).await.error, OK);
    let mut follower = lab.connect_to(2).await;
    let version = lab.produce_version();
    let request = lab.produce_request(&topic, &[Some(chain(lab, 3, 1))], version);
    let answer = follower.call(version, &request).await.unwrap();
    assert_eq!(ack(&answer).error, 6);
    if version >= 10 {
        let told = &answer.responses[0].partition_responses[0].current_leader;
        assert_eq!((told.leader_id.0, told.leader_epoch), (1, topic.epoch));
        assert_eq!(answer.node_endpoints[0].node_id.0, 1);
    }
    let until = Instant::now() + Duration::from_secs(10);
    while lab.producers(&mut follower, &topic).await.is_empty() {
        assert!(Instant::now() < until, "the follower never had the batch");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(lab.producers(&mut follower, &topic).await[0].2, 2);
    assert_eq!(lab.list(&mut follower, &topic, -1, -1, -1).await.0, 6);
    assert_eq!(lab.list(&mut follower, &topic, -3, -1, -1).await.0, 6);
    assert_eq!(lab.list(&mut follower, &topic, -2, -1, -1).await.0, OK);
    assert_eq!(lab.fetch(&mut follower, &topic, 0, 1000).await.error_code, OK);
    let mut stranger = lab.connect_to(3).await;
    assert_eq!(lab.fetch(&mut stranger, &topic, 0, 1000).await.error_code, 6);
    assert_eq!(lab.list(&mut stranger, &topic, -1, -1, -1).await.0, 6);
}
