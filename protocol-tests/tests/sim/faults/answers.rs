//! Answers that cannot be: garbage, false lengths and numbers, unknown codes, lost sessions.
//!
//! It never lets one of them into the log, and none of them ends the process.

use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::FetchResponse;
use protocol_tests::broker::spec::Spec;
use protocol_tests::broker::spec::Version;
use protocol_tests::broker::takeover::Act;
use protocol_tests::broker::takeover::Call;
use tokio::time::Duration;
use tokio::time::sleep;

use super::lab::BAD;
use super::lab::GOOD;
use super::lab::Lab;

/// A frame with this length field, this correlation id and this body.
fn frame(length: i32, correlation: i32, body: &[u8]) -> Act {
    let mut out = BytesMut::new();
    out.put_i32(length);
    out.put_i32(correlation);
    out.put_slice(body);
    Act::Raw(out.freeze())
}

fn edited(change: impl FnOnce(&mut BytesMut) + Send + 'static) -> Act {
    Act::Edit(Box::new(|body: Bytes| {
        let mut body = BytesMut::from(&body[..]);
        change(&mut body);
        body.freeze()
    }))
}

/// The lies, one by one; each is told to one request.
fn lie(n: usize, call: &Call) -> Option<Act> {
    let id = call.correlation_id;
    Some(match n {
        0 => frame(i32::MAX, id, &[0; 32]),
        1 => frame(-1, id, &[0; 32]),
        2 => frame(0, id, &[]),
        3 => frame(36, id + 1, &[0; 32]),
        4 => frame(36, id, &[0xff; 32]),
        5 => edited(|body| body.put_slice(&[0; 7])),
        6 => edited(|body| body.truncate(body.len() / 2)),
        7 => edited(|body| body.clear()),
        8 => edited(|body| body.iter_mut().skip(6).take(8).for_each(|byte| *byte = 0xff)),
        9 => edited(|body| body.iter_mut().skip(1).take(5).for_each(|byte| *byte = 0x80)),
        10 => Act::Raw(Bytes::from_static(b"HTTP/1.1 400 Bad Request\r\n\r\n")),
        11 => Act::Raw(Bytes::from_static(&[0x15, 3, 3, 0, 2, 2, 40])),
        12 => Act::Close,
        _ => return None,
    })
}

/// Every question of this API is lied to, one time after the other, while records come in.
async fn survives(key: ApiKey, at_source: bool) {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    let cluster = if at_source { lab.source() } else { lab.destination() };
    let (mut n, mut asked) = (0, 0);
    cluster.control_key(key, move |call| {
        asked += 1;
        if asked % 2 == 0 {
            return None;
        }
        n += 1;
        lie(n - 1, call)
    });
    for _ in 0..30 {
        lab.append(BAD, 3);
        lab.append(GOOD[0], 2);
        sleep(Duration::from_secs(1)).await;
    }
    // a fresh process asks everything
    lab.world.kill().await;
    lab.world.start();
    for place in [BAD, GOOD[0]] {
        lab.wait("the end", |lab| lab.is_level(place) || lab.is_halted(place)).await;
        let seen = lab.seen(place);
        assert!(lab.is_level(place), "{key:?} at source {at_source}: {seen:?}");
        lab.level(place).await;
    }
}

#[tokio::test(start_paused = true)]
async fn garbled_answers_of_the_source_end_a_connection_and_nothing_else() {
    for key in [ApiKey::Fetch, ApiKey::Metadata, ApiKey::ListOffsets, ApiKey::ApiVersions] {
        survives(key, true).await;
    }
}

#[tokio::test(start_paused = true)]
async fn garbled_answers_of_the_destination_end_a_connection_and_nothing_else() {
    let keys = [
        ApiKey::Produce,
        ApiKey::Metadata,
        ApiKey::ListOffsets,
        ApiKey::DescribeProducers,
        ApiKey::DescribeConfigs,
        ApiKey::Fetch,
    ];
    for key in keys {
        survives(key, false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn fetch_codes_nobody_knows_are_waited_out() {
    for code in [-1, 1, 5, 6, 9, 56, 70, 71, 74, 75, 78, 100, 103, 106, 9_999] {
        let mut lab = Lab::single(Version::V4_3);
        lab.begin().await;
        let mut left = 4;
        lab.source().control_key(ApiKey::Fetch, move |call| {
            left -= i32::from(left > 0);
            let refused = FetchResponse::default().with_error_code(code);
            (left > 0).then(|| Act::answer(&refused, call.version))
        });
        lab.append(BAD, 3);
        let took = lab.level(BAD).await;
        assert!(took < Duration::from_secs(15), "{code}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_lost_at_every_fetch_costs_twice_the_fetches_and_no_record() {
    for slots in [0, 1000] {
        let mut lab = Lab::single(Version::V4_3);
        lab.source().change(|state| state.broker_mut(1).sessions.set_slots(slots));
        lab.begin().await;
        let asked = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let (seen, source) = (asked.clone(), lab.source().clone());
        lab.source().control_key(ApiKey::Fetch, move |_| {
            seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            None
        });
        for n in 0..60 {
            lab.append(if n % 2 == 0 { BAD } else { GOOD[0] }, 3);
            sleep(Duration::from_millis(250)).await;
            source.change(|state| state.broker_mut(1).sessions.clear());
        }
        lab.level(BAD).await;
        lab.level(GOOD[0]).await;
        let asked = asked.load(std::sync::atomic::Ordering::Relaxed);
        assert!(asked < 60 * 4, "{slots} slots: {asked} fetches");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_larger_than_every_fetch_size_is_copied() {
    for (version, slots) in [(Version::V2_8, 1000), (Version::V4_3, 1000), (Version::V4_3, 0)] {
        let mut source = Spec { version, ..Spec::single("source", 1) };
        source.configs.insert("message.max.bytes".to_owned(), "3000000".to_owned());
        let mut lab = Lab::of(source, Spec { version, ..Spec::single("destination", 2) });
        lab.source().change(|state| state.broker_mut(1).sessions.set_slots(slots));
        lab.world.flow.partition_bytes_max = 1_000;
        lab.begin().await;
        for _ in 0..4 {
            for place in [BAD, GOOD[0], GOOD[1]] {
                let build = lab.large(1_500_000);
                lab.source().append(place.0, place.1, &build);
                lab.append(place, 3);
            }
        }
        for place in [BAD, GOOD[0], GOOD[1]] {
            let took = lab.level(place).await;
            assert!(took < Duration::from_secs(20), "{version:?} {slots}: {took:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_tiny_budget_is_slow_and_exact() {
    let mut lab = Lab::triple(Version::V4_3);
    lab.world.flow.memory_bytes = 1;
    lab.world.flow.partition_bytes_max = 1;
    lab.world.flow.append_bytes_max = 1;
    for _ in 0..100 {
        for place in [BAD, GOOD[0], GOOD[1]] {
            let build = lab.large(20_000);
            lab.source().append(place.0, place.1, &build);
        }
    }
    lab.begin().await;
}
