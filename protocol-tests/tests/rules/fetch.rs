//! Rules B7 of broker-facts: what a fetch answers.
//!
//! It never needs more than one broker.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::*;
use protocol_tests::broker::Build;
use protocol_tests::broker::batch::Header;
use tokio::time::Instant;

use crate::lab::Lab;
use crate::lab::OK;
use crate::lab::Topic;
use crate::lab::fetch_partition;
use crate::lab::text;

/// A topic with batches of these many records.
async fn filled(lab: &Lab, sizes: &[usize]) -> (Topic, Vec<Bytes>) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    let mut batches = Vec::new();
    for size in sizes {
        let batch = Build::plain(lab.now_ms(), "f", *size).bytes();
        assert_eq!(lab.produce(&mut raw, &topic, batch.clone()).await.error, OK);
        batches.push(batch);
    }
    (topic, batches)
}

pub async fn b07_the_whole_batch_that_holds_the_offset(lab: &Lab) {
    let (topic, batches) = filled(lab, &[4, 6]).await;
    let mut raw = lab.connect().await;
    for (from, base) in [(0, 0), (3, 0), (4, 4), (9, 4)] {
        let stored = lab.stored(&mut raw, &topic, from).await;
        assert_eq!(Header::read(&stored).unwrap().base_offset, base, "{from}");
    }
    let all = lab.stored(&mut raw, &topic, 0).await;
    assert_eq!(all.len(), batches[0].len() + batches[1].len());
}

pub async fn b07_the_first_batch_is_whole_the_last_is_cut(lab: &Lab) {
    let (topic, batches) = filled(lab, &[10, 10]).await;
    let mut raw = lab.connect().await;
    let one = lab.fetch(&mut raw, &topic, 0, 1).await.records.unwrap();
    assert_eq!(one.len(), batches[0].len());
    let max = batches[0].len() as i32 + 30;
    let cut = lab.fetch(&mut raw, &topic, 0, max).await.records.unwrap();
    assert_eq!(cut.len(), max as usize);
}

/// Only the first partition with data gets a batch that is larger than its limit.
pub async fn b07_the_second_partition_gets_nothing_that_does_not_fit(lab: &Lab) {
    let (first, _) = filled(lab, &[10]).await;
    let (second, batches) = filled(lab, &[10]).await;
    let mut raw = lab.connect().await;
    let small = lab.fetch_request(&first, fetch_partition(0, 1)).topics.remove(0);
    let other = lab.fetch_request(&second, fetch_partition(0, 1)).topics.remove(0);
    let exact = lab.fetch_request(&second, fetch_partition(0, batches[0].len() as i32));
    let request = FetchRequest::default()
        .with_max_wait_ms(100)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![small.clone(), other]);
    let answer = raw.call(lab.fetch_version(), &request).await.unwrap();
    let lens = |answer: &FetchResponse| -> Vec<usize> {
        let records = answer.responses.iter().map(|topic| topic.partitions[0].records.clone());
        records.map(|records| records.unwrap_or_default().len()).collect()
    };
    assert_eq!(lens(&answer), [batches[0].len(), 0]);
    let request = request.with_topics(vec![small, exact.topics[0].clone()]);
    let answer = raw.call(lab.fetch_version(), &request).await.unwrap();
    assert_eq!(lens(&answer), [batches[0].len(), batches[0].len()]);
}

pub async fn b07_out_of_range(lab: &Lab) {
    let (topic, _) = filled(lab, &[4, 4]).await;
    let mut raw = lab.connect().await;
    lab.delete_records(&mut raw, &topic, 4).await;
    assert_eq!(lab.fetch(&mut raw, &topic, 3, 1000).await.error_code, 1);
    assert_eq!(lab.fetch(&mut raw, &topic, 9, 1000).await.error_code, 1);
    let end = lab.fetch(&mut raw, &topic, 8, 1000).await;
    assert_eq!((end.error_code, end.high_watermark, end.log_start_offset), (OK, 8, 4));
    assert_eq!(end.records.unwrap_or_default().len(), 0);
    assert_eq!(end.last_stable_offset, 8);
}

pub async fn b07_leader_epochs(lab: &Lab) {
    let (topic, _) = filled(lab, &[4]).await;
    let mut raw = lab.connect().await;
    let asked = fetch_partition(0, 1000).with_current_leader_epoch(topic.epoch + 1);
    let request = lab.fetch_request(&topic, asked);
    let answer = raw.call(lab.fetch_version(), &request).await.unwrap();
    assert_eq!(answer.responses[0].partitions[0].error_code, 75);
}

/// An epoch that ended before the offset fetched: no error, no records, the place of divergence.
pub async fn b07_diverging_epoch(lab: &Lab) {
    let (topic, _) = filled(lab, &[4]).await;
    let mut raw = lab.connect().await;
    let ask = |from, last| fetch_partition(from, 1000).with_last_fetched_epoch(last);
    let request = lab.fetch_request(&topic, ask(4, topic.epoch));
    let answer = raw.call(lab.fetch_version(), &request).await.unwrap();
    let same = &answer.responses[0].partitions[0];
    assert_eq!((same.error_code, same.diverging_epoch.end_offset), (OK, -1));
    let request = lab.fetch_request(&topic, ask(9, topic.epoch));
    let answer = raw.call(lab.fetch_version(), &request).await.unwrap();
    let beyond = &answer.responses[0].partitions[0];
    assert_eq!(beyond.error_code, OK);
    let diverging = &beyond.diverging_epoch;
    assert_eq!((diverging.epoch, diverging.end_offset), (topic.epoch, 4));
    assert_eq!(beyond.records.clone().unwrap_or_default().len(), 0);
    let request = lab.fetch_request(&topic, ask(4, topic.epoch + 3));
    let answer = raw.call(lab.fetch_version(), &request).await.unwrap();
    assert_eq!(answer.responses[0].partitions[0].error_code, 1);
}

pub async fn b07_aborted_list_only_for_read_committed(lab: &Lab) {
    let (topic, _) = filled(lab, &[4]).await;
    let mut raw = lab.connect().await;
    for (level, some) in [(0, false), (1, true)] {
        let request = lab.fetch_request(&topic, fetch_partition(0, 1000));
        let request = request.with_isolation_level(level);
        let answer = raw.call(lab.fetch_version(), &request).await.unwrap();
        let aborted = &answer.responses[0].partitions[0].aborted_transactions;
        assert_eq!(aborted.as_ref().is_some_and(|list| list.is_empty()), some, "{level}");
        assert_eq!(aborted.is_none(), !some, "{level}");
    }
}

pub async fn b07_long_poll(lab: &Lab) {
    let (topic, _) = filled(lab, &[4]).await;
    let mut raw = lab.connect().await;
    let ask = |wait| {
        let request = lab.fetch_request(&topic, fetch_partition(4, 1000));
        request.with_max_wait_ms(wait).with_min_bytes(1)
    };
    let start = Instant::now();
    raw.call(lab.fetch_version(), &ask(700)).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(690), "{:?}", start.elapsed());
    raw.send(lab.fetch_version(), &ask(20_000)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut other = lab.connect().await;
    let batch = Build::plain(lab.now_ms(), "f", 1).bytes();
    lab.produce(&mut other, &topic, batch.clone()).await;
    let answer = raw.receive::<FetchRequest>(lab.fetch_version()).await.unwrap();
    let records = answer.responses[0].partitions[0].records.clone().unwrap();
    assert_eq!(records.len(), batch.len());
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

/// Sessions: an incremental answer names only what is new; 70 and 71 where they do not go on.
pub async fn b07_sessions(lab: &Lab) {
    let (topic, _) = filled(lab, &[4]).await;
    let (quiet, _) = filled(lab, &[2]).await;
    let mut raw = lab.connect().await;
    let version = lab.fetch_version();
    let both = vec![
        lab.fetch_request(&topic, fetch_partition(4, 1000)).topics.remove(0),
        lab.fetch_request(&quiet, fetch_partition(2, 1000)).topics.remove(0),
    ];
    let ask = |id, epoch, topics: Vec<_>| {
        FetchRequest::default()
            .with_max_wait_ms(50)
            .with_max_bytes(1 << 20)
            .with_session_id(id)
            .with_session_epoch(epoch)
            .with_topics(topics)
    };
    let first = raw.call(version, &ask(0, 0, both)).await.unwrap();
    let id = first.session_id;
    assert!(id > 0);
    assert_eq!(first.responses.len(), 2);
    let idle = raw.call(version, &ask(id, 1, Vec::new())).await.unwrap();
    assert_eq!((idle.error_code, idle.session_id, idle.responses.len()), (OK, id, 0));
    let batch = Build::plain(lab.now_ms(), "f", 1).bytes();
    lab.produce(&mut raw, &topic, batch).await;
    let news = raw.call(version, &ask(id, 2, Vec::new())).await.unwrap();
    assert_eq!(news.responses.len(), 1);
    assert_eq!(news.responses[0].partitions[0].high_watermark, 5);
    let stale = raw.call(version, &ask(id, 2, Vec::new())).await.unwrap();
    assert_eq!((stale.error_code, stale.session_id, stale.responses.len()), (71, 0, 0));
    let unknown = raw.call(version, &ask(id ^ 1, 1, Vec::new())).await.unwrap();
    assert_eq!((unknown.error_code, unknown.session_id), (70, 0));
    // after 71 the session is still there, under the epoch that was due
    let due = raw.call(version, &ask(id, 3, Vec::new())).await.unwrap();
    assert_eq!((due.error_code, due.session_id), (OK, id));
    forget(lab, &mut raw, &topic, ask(id, 4, Vec::new())).await;
}

async fn forget(
    lab: &Lab,
    raw: &mut protocol_tests::raw::Raw,
    topic: &Topic,
    request: FetchRequest,
) {
    let version = lab.fetch_version();
    let mut gone = fetch_request::ForgottenTopic::default().with_partitions(vec![0]);
    if version >= 13 {
        gone.topic_id = topic.id;
    } else {
        gone.topic = TopicName(text(&topic.name));
    }
    let answer = raw.call(version, &request.with_forgotten_topics_data(vec![gone])).await;
    let answer = answer.unwrap();
    assert_eq!((answer.error_code, answer.responses.len()), (OK, 0));
}

pub async fn b07_unknown_topics(lab: &Lab) {
    let mut raw = lab.connect().await;
    let topic = Topic { name: "none".into(), id: uuid::Uuid::from_u128(77), epoch: 0 };
    let answer = lab.fetch(&mut raw, &topic, 0, 1000).await;
    assert_eq!(answer.error_code, if lab.fetch_version() >= 13 { 100 } else { 3 });
    assert_eq!(lab.list(&mut raw, &topic, -1, -1, -1).await.0, 3);
}
