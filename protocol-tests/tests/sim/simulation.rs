//! The simulated cluster's faults: each does what the real one was seen to do.
//!
//! It never asks a real broker; `rules` compares the answers of both.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use protocol_tests::broker::Build;
use protocol_tests::broker::Codec;
use protocol_tests::broker::Spec;
use protocol_tests::broker::TestCluster;
use protocol_tests::broker::spec::PORT;
use protocol_tests::broker::takeover::Act;
use protocol_tests::check;
use protocol_tests::net::Net;
use protocol_tests::net::NetStream;
use protocol_tests::net::Proxy;
use protocol_tests::net::Rule;
use protocol_tests::raw::Raw;

const PID: i64 = 77;

fn single() -> (Net, TestCluster) {
    let net = Net::new(5);
    let cluster = TestCluster::start(&net, Spec::single("one", 5));
    cluster.create_topic("t", 1, &[]);
    (net, cluster)
}

fn triple() -> (Net, TestCluster) {
    let net = Net::new(5);
    let cluster = TestCluster::start(&net, Spec::triple("three", 5));
    cluster.create_topic("t", 1, &[]);
    (net, cluster)
}

async fn stream(cluster: &TestCluster, broker: i32) -> NetStream {
    cluster.net().connect(&cluster.host(broker), PORT).await.unwrap()
}

async fn dial(cluster: &TestCluster, broker: i32) -> Raw {
    Raw::new(stream(cluster, broker).await)
}

fn name() -> TopicName {
    TopicName(StrBytes::from_static_str("t"))
}

fn batch(sequence: i32, count: usize) -> Bytes {
    Build::plain(1_789_999_999_000, "s", count).producer(PID, 0, sequence).bytes()
}

fn produce(batch: Bytes, acks: i16) -> ProduceRequest {
    let entry = produce_request::PartitionProduceData::default().with_records(Some(batch));
    let topic = produce_request::TopicProduceData::default()
        .with_name(name())
        .with_partition_data(vec![entry]);
    let request = ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000);
    request.with_topic_data(vec![topic])
}

/// Error and base offset.
async fn append(raw: &mut Raw, batch: Bytes, acks: i16) -> (i16, i64) {
    let answer = raw.call(12, &produce(batch, acks)).await.unwrap();
    let one = &answer.responses[0].partition_responses[0];
    (one.error_code, one.base_offset)
}

/// Error, true end, leader epoch.
async fn end(raw: &mut Raw) -> (i16, i64, i32) {
    let partition = list_offsets_request::ListOffsetsPartition::default()
        .with_current_leader_epoch(-1)
        .with_timestamp(-1);
    let topic = list_offsets_request::ListOffsetsTopic::default()
        .with_name(name())
        .with_partitions(vec![partition]);
    let request =
        ListOffsetsRequest::default().with_replica_id(BrokerId(-3)).with_topics(vec![topic]);
    let answer = raw.call(9, &request).await.unwrap();
    let one = &answer.topics[0].partitions[0];
    (one.error_code, one.offset, one.leader_epoch)
}

async fn last_sequence(raw: &mut Raw) -> Option<i32> {
    let topic = describe_producers_request::TopicRequest::default()
        .with_name(name())
        .with_partition_indexes(vec![0]);
    let request = DescribeProducersRequest::default().with_topics(vec![topic]);
    let answer = raw.call(0, &request).await.unwrap();
    answer.topics[0].partitions[0].active_producers.first().map(|p| p.last_sequence)
}

async fn sleep(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// A3: DescribeProducers waits for an append in progress, ListOffsets does not.
#[tokio::test(start_paused = true)]
async fn describe_producers_is_a_barrier_and_list_offsets_is_none() {
    let (_net, cluster) = single();
    cluster.change(|state| state.spec.timing.append_ms = (500, 500));
    let (mut writer, mut eyes) = (dial(&cluster, 1).await, dial(&cluster, 1).await);
    writer.send(12, &produce(batch(0, 3), -1)).await.unwrap();
    sleep(100).await;
    assert_eq!(end(&mut eyes).await.1, 0);
    assert_eq!(last_sequence(&mut eyes).await, Some(2));
    assert_eq!(end(&mut eyes).await.1, 3);
}

/// A3: of what is queued at a frozen broker some is appended after a close (the request that is
/// read first, and one more), never all; none after an abort.
#[tokio::test(start_paused = true)]
async fn a_close_lets_one_queued_request_through_and_an_abort_none() {
    for (abort, expected) in [(false, 3), (true, 1)] {
        let (_net, cluster) = single();
        let mut first = dial(&cluster, 1).await;
        assert_eq!(append(&mut first, batch(0, 1), -1).await, (0, 0));
        cluster.freeze(1);
        let near = stream(&cluster, 1).await;
        let link = near.link().clone();
        let mut raw = Raw::new(near);
        for sequence in 1..4 {
            raw.send(12, &produce(batch(sequence, 1), -1)).await.unwrap();
        }
        if abort {
            link.reset_now();
        }
        drop(raw);
        sleep(1_000).await;
        cluster.thaw(1);
        sleep(5_000).await;
        assert_eq!(cluster.dump("t", 0).end, expected, "abort: {abort}");
    }
}

/// H14, H15: behind a proxy everything arrives in the end, whatever became of the client.
#[tokio::test(start_paused = true)]
async fn a_proxy_lets_everything_through_later() {
    let (net, cluster) = single();
    let rule = Rule { delay_ms: (2_000, 2_000), proxy: Proxy::DeliversAlways, ..Rule::default() };
    net.set_default(rule);
    let mut raw = dial(&cluster, 1).await;
    for sequence in 0..3 {
        raw.send(12, &produce(batch(sequence, 1), -1)).await.unwrap();
    }
    drop(raw);
    assert_eq!(cluster.dump("t", 0).end, 0);
    sleep(10_000).await;
    assert_eq!(cluster.dump("t", 0).end, 3);
}

/// A9: a thawed old leader answers with its old epoch and its old end, no error; then it learns.
#[tokio::test(start_paused = true)]
async fn a_thawed_leader_believes_what_it_knew() {
    let (_net, cluster) = triple();
    let mut old = dial(&cluster, 1).await;
    assert_eq!(append(&mut old, batch(0, 4), -1).await, (0, 0));
    cluster.freeze(1);
    cluster.wait_for(|state| state.meta.topics()["t"].partitions[0].leader != 1).await;
    let mut new = dial(&cluster, cluster.leader("t", 0)).await;
    // S4: the new leader knows the chain
    assert_eq!(append(&mut new, batch(4, 2), -1).await, (0, 4));
    cluster.thaw(1);
    assert_eq!(end(&mut old).await, (0, 4, 0));
    assert_eq!(end(&mut new).await, (0, 6, 1));
    // what it accepts with acks=1 now is lost
    assert_eq!(append(&mut old, batch(4, 9), 1).await, (0, 4));
    sleep(2_000).await;
    assert_eq!(end(&mut old).await.0, 6);
    let dumps = [1, 2, 3].map(|broker| cluster.dump_of("t", 0, broker));
    for dump in &dumps {
        assert_eq!((dump.end, dump.hwm, dump.batches.len()), (6, 6, 2));
    }
    assert_eq!(cluster.look(|state| state.meta.topics()["t"].partitions[0].isr.len()), 3);
}

/// acks=1 and a dead leader: the end goes back, and the chain has to go on from there.
#[tokio::test(start_paused = true)]
async fn a_dead_leader_takes_what_was_not_replicated() {
    let (_net, cluster) = triple();
    let mut old = dial(&cluster, 1).await;
    assert_eq!(append(&mut old, batch(0, 4), -1).await, (0, 0));
    cluster.freeze(2);
    cluster.freeze(3);
    assert_eq!(append(&mut old, batch(4, 4), 1).await, (0, 4));
    cluster.kill(1);
    assert!(old.call(3, &ApiVersionsRequest::default()).await.is_err());
    cluster.thaw(2);
    cluster.thaw(3);
    cluster.wait_for(|state| state.meta.topics()["t"].partitions[0].leader > 1).await;
    let mut new = dial(&cluster, cluster.leader("t", 0)).await;
    sleep(1_000).await;
    assert_eq!(end(&mut new).await.1, 4);
    assert_eq!(append(&mut new, batch(8, 1), -1).await.0, 45);
    assert_eq!(append(&mut new, batch(4, 1), -1).await, (0, 4));
    cluster.restart(1);
    sleep(1_000).await;
    assert_eq!(cluster.dump_of("t", 0, 1).end, 5);
}

/// F14: after an unclean election a fetch with the lost epoch is told where the logs part.
#[tokio::test(start_paused = true)]
async fn an_unclean_election_truncates_and_fetch_tells() {
    let (_net, cluster) = triple();
    cluster.configure("t", &[("min.insync.replicas", Some("1"))]);
    let mut old = dial(&cluster, 1).await;
    assert_eq!(append(&mut old, batch(0, 4), -1).await, (0, 0));
    cluster.kill(2);
    cluster.wait_for(|state| state.meta.topics()["t"].partitions[0].isr.len() == 2).await;
    cluster.move_leader("t", 0, 3);
    let mut moved = dial(&cluster, 3).await;
    assert_eq!(append(&mut moved, batch(4, 6), -1).await, (0, 4));
    cluster.kill(1);
    cluster.kill(3);
    cluster.restart(2);
    cluster.elect_unclean("t", 0, 2);
    let mut raw = dial(&cluster, 2).await;
    let partition = fetch_request::FetchPartition::default()
        .with_current_leader_epoch(-1)
        .with_fetch_offset(10)
        .with_last_fetched_epoch(1)
        .with_partition_max_bytes(1000);
    let topic =
        fetch_request::FetchTopic::default().with_topic(name()).with_partitions(vec![partition]);
    let request = FetchRequest::default().with_session_epoch(-1).with_topics(vec![topic]);
    let answer = raw.call(12, &request.with_max_bytes(1000)).await.unwrap();
    let one = &answer.responses[0].partitions[0];
    assert_eq!(one.error_code, 0);
    assert_eq!((one.diverging_epoch.epoch, one.diverging_epoch.end_offset), (0, 4));
    cluster.restart(3);
    sleep(1_000).await;
    assert_eq!(cluster.dump_of("t", 0, 3).end, 4);
}

/// An open transaction holds the stable offset; an aborted one is listed.
#[tokio::test(start_paused = true)]
async fn transactions_hold_the_stable_offset() {
    let (_net, cluster) = single();
    cluster.fill("t", 0, 1_000, &[3]);
    cluster.append_txn("t", 0, (9, 0, 0), Build::plain(2_000, "x", 2));
    cluster.append_txn("t", 0, (8, 0, 0), Build::plain(2_500, "y", 2));
    cluster.fill("t", 0, 3_000, &[2]);
    assert_eq!(cluster.dump("t", 0).stable, 3);
    cluster.end_txn("t", 0, (9, 0), false);
    assert_eq!(cluster.dump("t", 0).stable, 5);
    cluster.end_txn("t", 0, (8, 0), true);
    let dump = cluster.dump("t", 0);
    assert_eq!((dump.stable, dump.end), (11, 11));
    assert_eq!(dump.aborted, [(9, 3, 9)]);
    let seen: Vec<i64> = check::visible(&dump, dump.end).into_keys().collect();
    assert_eq!(seen, [0, 1, 2, 5, 6, 7, 8]);
}

/// Compaction keeps offsets and spans; what is gone is a hole.
#[tokio::test(start_paused = true)]
async fn compaction_thins_batches_and_leaves_holes() {
    let (_net, cluster) = single();
    for (time, codec) in [(1_000, Codec::None), (2_000, Codec::Zstd), (3_000, Codec::Gzip)] {
        cluster.append("t", 0, &Build::plain(time, "c", 4).codec(codec));
    }
    cluster.compact("t", 0, false, |offset, _| ![1, 3, 4, 5, 6, 7].contains(&offset));
    let dump = cluster.dump("t", 0);
    let spans: Vec<_> = dump.batches.iter().map(|b| (b.base, b.next)).collect();
    assert_eq!(spans, [(0, 4), (8, 12)]);
    let header = dump.batches[0].header.unwrap();
    assert_eq!((header.count, header.last_offset_delta), (2, 3));
    assert_eq!(dump.end, 12);
}

/// A6: a crash within a minute of DeleteRecords forgets it; later it holds.
#[tokio::test(start_paused = true)]
async fn a_crash_forgets_a_young_log_start() {
    for (wait_ms, start) in [(1_000, 0), (70_000, 5)] {
        let (_net, cluster) = single();
        cluster.fill("t", 0, 1_000, &[8]);
        cluster.delete_records("t", 0, 5);
        sleep(wait_ms).await;
        cluster.kill(1);
        cluster.restart(1);
        assert_eq!(cluster.dump("t", 0).start, start, "{wait_ms}");
    }
}

/// A control answers in the broker's place, or loses the answer of what was done.
#[tokio::test(start_paused = true)]
async fn controls_take_over() {
    let (_net, cluster) = single();
    let lost = cluster.control_key(ApiKey::Produce, |_| Some(Act::HandleThenClose));
    let mut raw = dial(&cluster, 1).await;
    assert!(raw.call(12, &produce(batch(0, 2), -1)).await.is_err());
    assert_eq!(cluster.dump("t", 0).end, 2);
    cluster.drop_control(lost);
    let mut raw = dial(&cluster, 1).await;
    assert_eq!(append(&mut raw, batch(0, 2), -1).await, (0, 0));
    cluster.control_key(ApiKey::Produce, |call| {
        let answer = ProduceResponse::default().with_throttle_time_ms(9);
        Some(Act::answer(&answer, call.version))
    });
    let answer = raw.call(12, &produce(batch(2, 2), -1)).await.unwrap();
    assert_eq!((answer.throttle_time_ms, answer.responses.len()), (9, 0));
}

/// The checkers see every kind of difference; a checker that cannot fail proves nothing.
#[tokio::test(start_paused = true)]
async fn the_checkers_see_differences() {
    let net = Net::new(5);
    let clusters = ["a", "b"].map(|id| {
        let cluster = TestCluster::start(&net, Spec::single(id, 5));
        cluster.create_topic("t", 1, &[]);
        cluster.fill("t", 0, 1_000, &[3, 4, 2]);
        cluster
    });
    let [source, copy] = &clusters;
    check::assert_copied(&source.dump("t", 0), &copy.dump("t", 0), 9);
    let differences = || {
        let (source, copy) = (source.dump("t", 0), copy.dump("t", 0));
        let seen = check::prefix_equal(&source, &copy, 9).len();
        (seen, check::batches_equal(&source, &copy, 0, 9).len())
    };
    assert_eq!(differences(), (0, 0));
    // a header field that no reader sees
    copy.corrupt("t", 0, 3, |bytes| bytes[22] ^= 0x80);
    assert_eq!(differences(), (0, 1));
    copy.corrupt("t", 0, 3, |bytes| bytes[22] ^= 0x80);
    // one byte of one value
    copy.corrupt("t", 0, 3, |bytes| bytes[70] ^= 1);
    assert_eq!(differences(), (1, 1));
    copy.corrupt("t", 0, 3, |bytes| bytes[70] ^= 1);
    assert_eq!(differences(), (0, 0));
    copy.remove_batch("t", 0, 3);
    let (seen, batches) = differences();
    assert_eq!((seen, batches), (5, 1), "four records and a hole; a batch");
    source.fill("t", 0, 9_000, &[1]);
    assert!(!check::prefix_equal(&source.dump("t", 0), &copy.dump("t", 0), 10).is_empty());
}

/// I27: the same seed is the same run, faults and all.
#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(trace(11), trace(11));
    assert_ne!(trace(11), trace(12));
}

fn trace(seed: u64) -> Vec<String> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let net = Net::new(seed);
        net.set_default(Rule { delay_ms: (0, 40), cut_permille: 50, ..Rule::default() });
        let cluster = TestCluster::start(&net, Spec::triple("trace", seed));
        cluster.create_topic("t", 1, &[]);
        let (start, mut lines) = (tokio::time::Instant::now(), Vec::new());
        let mut raw = dial(&cluster, 1).await;
        for sequence in 0..60 {
            let answer = raw.call(12, &produce(batch(sequence, 1), -1)).await;
            let error = answer.as_ref().map(|a| a.responses[0].partition_responses[0].error_code);
            lines.push(format!("{:?} {error:?}", start.elapsed()));
            if answer.is_err() {
                raw = dial(&cluster, 1).await;
            }
        }
        lines.push(format!("{:?}", cluster.dump("t", 0)));
        lines
    })
}
