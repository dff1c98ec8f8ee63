//! Rules B12 of broker-facts: what a client meets that moves more bytes than its quota, or sends
//! a longer request than a broker reads.
//!
//! It never waits for a rate to fall: the quota is taken back when the rule has seen it.

use std::time::Duration;

use kafka_protocol::messages::*;
use protocol_tests::broker::Build;
use protocol_tests::broker::Record;
use protocol_tests::raw::Raw;
use tokio::time::Instant;

use crate::lab::Lab;
use crate::lab::OK;
use crate::lab::Topic;
use crate::lab::ack;
use crate::lab::fetch_partition;

/// Bytes a second; a broker looks at ten seconds and more.
const QUOTA: i64 = 5_000;
/// Nine tenths of what ten seconds may bring: once is right, twice is seven seconds too much.
const BYTES: usize = 45_000;
/// A quota is in force soon after it was set.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(50);

async fn large(lab: &Lab) -> bytes::Bytes {
    let record = Record::new("k", &"q".repeat(BYTES));
    Build::new(lab.now_ms(), vec![record]).bytes()
}

/// A connection that was `told` so is heard again after `throttle_ms`, another one of the same
/// client at once.
async fn is_mute(lab: &Lab, raw: &mut Raw, (told, throttle_ms): (Instant, i32)) {
    assert!(throttle_ms > 5_000, "{throttle_ms}");
    let surely_mute = Duration::from_millis(throttle_ms as u64) * 3 / 4;
    let asked = MetadataRequest::default().with_topics(Some(Vec::new()));
    raw.send(10, &asked).await.unwrap();
    lab.connect().await.call(10, &asked).await.unwrap();
    assert!(told.elapsed() < surely_mute, "the other one waited for {:?} of it", told.elapsed());
    raw.receive::<MetadataRequest>(10).await.unwrap();
    assert!(told.elapsed() >= surely_mute, "heard after {:?} of {throttle_ms} ms", told.elapsed());
}

/// A throttled append is done as any other and answered at once; then its connection is mute.
pub async fn b12_a_throttled_append_is_done_and_its_connection_mute(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let (mut raw, version) = (lab.connect().await, lab.produce_version());
    lab.quota(ApiKey::Produce, Some(QUOTA)).await;
    for place in 0..TRIES as i64 {
        let request = lab.produce_request(&topic, &[Some(large(lab).await)], version);
        let sent = Instant::now();
        let answer = raw.call(version, &request).await.unwrap();
        assert_eq!((ack(&answer).error, ack(&answer).base), (OK, place));
        let told = (Instant::now(), answer.throttle_time_ms);
        if told.1 > 0 {
            assert!(sent.elapsed() < Duration::from_millis(told.1 as u64));
            lab.quota(ApiKey::Produce, None).await;
            assert_eq!(lab.end(&mut lab.connect().await, &topic).await, place + 1);
            return is_mute(lab, &mut raw, told).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("never throttled");
}

/// One batch from the start of a topic, inside of a fetch session.
fn ask(lab: &Lab, topic: &Topic, session: (i32, i32)) -> FetchRequest {
    lab.fetch_request(topic, fetch_partition(0, BYTES as i32))
        .with_session_id(session.0)
        .with_session_epoch(session.1)
}

/// A throttled fetch is answered at once with nothing. It counts in its session, which goes on;
/// one that would open a session opens none.
pub async fn b12_a_throttled_fetch_brings_nothing(lab: &Lab) {
    let (topic, mut raw) = (lab.topic(&[]).await, lab.connect().await);
    assert_eq!(lab.produce(&mut raw, &topic, large(lab).await).await.error, OK);
    let version = lab.fetch_version();
    let opened = raw.call(version, &ask(lab, &topic, (0, 0))).await.unwrap();
    let id = opened.session_id;
    assert_ne!(id, 0, "a session was opened");
    lab.quota(ApiKey::Fetch, Some(QUOTA)).await;
    let mut epoch = 0;
    let told = loop {
        epoch += 1;
        assert!(epoch < TRIES as i32, "never throttled");
        let sent = Instant::now();
        let answer = raw.call(version, &ask(lab, &topic, (id, epoch))).await.unwrap();
        assert_eq!((answer.error_code, answer.session_id), (OK, id));
        if answer.throttle_time_ms > 0 {
            assert!(sent.elapsed() < Duration::from_millis(answer.throttle_time_ms as u64));
            assert_eq!(answer.responses, []);
            break (Instant::now(), answer.throttle_time_ms);
        }
        assert_eq!(answer.responses.len(), 1);
        tokio::time::sleep(PAUSE).await;
    };
    let mut other = lab.connect().await;
    let new = other.call(version, &ask(lab, &topic, (0, 0))).await.unwrap();
    assert!(new.throttle_time_ms > 0, "the same fetch is still too much");
    assert_eq!((new.error_code, new.session_id, new.responses.len()), (OK, 0, 0));
    is_mute(lab, &mut raw, told).await;
    lab.quota(ApiKey::Fetch, None).await;
    let next = raw.call(version, &ask(lab, &topic, (id, epoch + 1))).await.unwrap();
    assert_eq!((next.error_code, next.session_id), (OK, id));
    assert_eq!(
        next.responses[0].partitions[0].records.as_ref().map(|r| r.len() > BYTES),
        Some(true)
    );
}

/// However much is asked for, a fetch brings at most what ten seconds may, and so it comes: what
/// its answer holds beside the records is not much more to wait for.
pub async fn b12_a_fetch_is_cut_to_its_quota(lab: &Lab) {
    let (topic, mut raw) = (lab.topic(&[]).await, lab.connect().await);
    for _ in 0..3 {
        assert_eq!(lab.produce(&mut raw, &topic, large(lab).await).await.error, OK);
    }
    lab.quota(ApiKey::Fetch, Some(QUOTA)).await;
    let request = lab.fetch_request(&topic, fetch_partition(0, 1 << 20));
    for _ in 0..TRIES {
        let answer = raw.call(lab.fetch_version(), &request).await.unwrap();
        let records = answer.responses.first().and_then(|t| t.partitions[0].records.as_ref());
        match records.map(|records| records.len()) {
            // not in force yet, or a little too much
            Some(len) if len > 3 * BYTES => tokio::time::sleep(PAUSE).await,
            None => assert!(answer.throttle_time_ms > 0),
            Some(len) => {
                assert_eq!(len, 10 * QUOTA as usize);
                return lab.quota(ApiKey::Fetch, None).await;
            }
        }
    }
    panic!("never cut");
}

/// A batch that is more than ten seconds may bring is brought to nobody, however long it is asked
/// for: what was not brought is not counted, and it is too much each time.
pub async fn b12_a_batch_larger_than_the_quota_never_comes(lab: &Lab) {
    let (topic, mut raw) = (lab.topic(&[]).await, lab.connect().await);
    assert_eq!(lab.produce(&mut raw, &topic, large(lab).await).await.error, OK);
    lab.quota(ApiKey::Fetch, Some(BYTES as i64 / 12)).await;
    let request = lab.fetch_request(&topic, fetch_partition(0, 1 << 20));
    let (mut refused, mut tries) = (0, 0);
    while refused < 4 {
        let answer = raw.call(lab.fetch_version(), &request).await.unwrap();
        let throttle_ms = answer.throttle_time_ms;
        assert_eq!(throttle_ms > 0, answer.responses.is_empty());
        assert!(refused == 0 || throttle_ms > 0, "it came after {refused} refusals");
        refused += i32::from(throttle_ms > 0);
        tries += 1;
        assert!(tries < TRIES, "never throttled");
        tokio::time::sleep(PAUSE).await;
    }
    lab.quota(ApiKey::Fetch, None).await;
}

/// `socket.request.max.bytes`: a longer frame ends the connection before it comes.
pub async fn b12_a_request_above_100_mib_closes(lab: &Lab) {
    const MAX: i32 = 100 << 20;
    assert!(lab.connect().await.is_refused(MAX + 1).await.unwrap());
    assert!(!lab.connect().await.is_refused(MAX).await.unwrap());
}
