//! Refusals of appends that say nothing for certain: each is resolved by a look, never by a guess.
//!
//! It never injects a code that the broker would not answer to a request of ours.

use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::ProduceResponse;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::produce_response::TopicProduceResponse;
use kafka_protocol::protocol::Decodable;
use protocol_tests::broker::spec::Version;
use protocol_tests::broker::takeover::Act;
use protocol_tests::broker::takeover::Call;
use tokio::time::Duration;

use super::lab::BAD;
use super::lab::END;
use super::lab::GOOD;
use super::lab::Lab;

/// The answer that gives every partition of a request this code.
fn refusal(call: &Call, code: i16) -> ProduceResponse {
    let request = ProduceRequest::decode(&mut call.body.clone(), call.version).expect("a request");
    let topics = request.topic_data.iter().map(|topic| {
        let parts = topic.partition_data.iter().map(|partition| {
            PartitionProduceResponse::default()
                .with_index(partition.index)
                .with_error_code(code)
                .with_base_offset(-1)
        });
        TopicProduceResponse::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partition_responses(parts.collect())
    });
    ProduceResponse::default().with_responses(topics.collect())
}

/// Whether the request carries the bad partition (alone: batches gather by lane).
fn carries_bad(call: &Call, lab_id: uuid::Uuid) -> bool {
    let request = ProduceRequest::decode(&mut call.body.clone(), call.version).expect("a request");
    request.topic_data.iter().any(|t| t.topic_id == lab_id || t.name.as_str() == BAD.0)
}

/// Answers the first `times` appends of the bad partition with a code; `lands` says whether the
/// broker takes the batch all the same.
fn refuse(lab: &Lab, code: i16, times: usize, lands: bool) {
    let id = lab.destination().key(BAD.0, BAD.1).0;
    let mut left = times;
    lab.destination().control_key(ApiKey::Produce, move |call| {
        if left == 0 || !carries_bad(call, id) {
            return None;
        }
        left -= 1;
        let body = Act::answer(&refusal(call, code), call.version);
        match (lands, body) {
            (true, Act::Answer(body)) => Some(Act::Edit(Box::new(move |_| body))),
            (_, body) => Some(body),
        }
    });
}

#[tokio::test(start_paused = true)]
async fn codes_that_come_and_go_lose_and_repeat_nothing() {
    for version in [Version::V2_8, Version::V4_3] {
        for code in [19, 20, 7, 6, 45, 47, 56, 59, 3, 5, -1, 9_999] {
            let can_land = matches!(code, 20 | 7 | 6 | -1);
            for lands in [false, true].into_iter().filter(|lands| can_land || !lands) {
                let mut lab = Lab::single(version);
                lab.begin().await;
                refuse(&lab, code, 3, lands);
                for _ in 0..20 {
                    lab.append(BAD, 3);
                }
                let took = lab.level(BAD).await;
                assert!(took < Duration::from_secs(15), "{code} {lands}: {took:?}");
                lab.exact_to(BAD, END + 60);
                lab.others_go_on().await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fence_that_stays_halts_with_its_code() {
    for code in [45, 47] {
        let mut lab = Lab::single(Version::V4_3);
        lab.begin().await;
        refuse(&lab, code, usize::MAX, false);
        lab.append(BAD, 3);
        let words = ["at 10", &format!("({code})")];
        lab.wait("a halt", |lab| lab.is_halted(BAD)).await;
        let (label, text) = lab.seen(BAD).and_then(|seen| seen.reason).unwrap();
        assert_eq!(label, "REFUSED_BY_DESTINATION");
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
        lab.exact_to(BAD, END);
        lab.others_go_on().await;
    }
}

#[tokio::test(start_paused = true)]
async fn too_few_replicas_for_long_delay_and_halt_nothing() {
    let mut lab = Lab::single(Version::V4_3);
    lab.begin().await;
    refuse(&lab, 19, usize::MAX, false);
    lab.append(BAD, 3);
    tokio::time::sleep(Duration::from_secs(1_200)).await;
    let seen = lab.seen(BAD).unwrap();
    assert_ne!(seen.state, "Halted", "{seen:?}");
    assert_eq!(seen.lag_records, Some(3));
    lab.others_go_on().await;
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_lost_after_the_append_repeat_nothing() {
    for silent in [false, true] {
        let mut lab = Lab::single(Version::V4_3);
        lab.begin().await;
        let mut n = 0;
        lab.destination().control_key(ApiKey::Produce, move |_| {
            n += 1;
            let act = if silent { Act::HandleThenSilence } else { Act::HandleThenClose };
            (n < 20 && n % 3 == 0).then_some(act)
        });
        for _ in 0..30 {
            lab.append(BAD, 3);
            lab.append(GOOD[0], 2);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        lab.level(BAD).await;
        lab.level(GOOD[0]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_moves_with_five_in_flight_skips_nothing() {
    let mut lab = Lab::triple(Version::V4_3);
    lab.begin().await;
    for round in 0..10 {
        for _ in 0..30 {
            lab.append(BAD, 3);
        }
        tokio::time::sleep(Duration::from_millis(3 + round)).await;
        let leader = lab.destination().leader(BAD.0, BAD.1);
        lab.destination().move_leader(BAD.0, BAD.1, leader % 3 + 1);
        lab.level(BAD).await;
    }
}
