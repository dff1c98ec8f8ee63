//! Rules P1 to P22 of broker-facts: what a broker accepts, refuses and stores.
//!
//! It never needs more than one broker.

use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use protocol_tests::broker::Build;
use protocol_tests::broker::Codec;
use protocol_tests::broker::Record;
use protocol_tests::broker::Version;
use protocol_tests::broker::batch::CONTROL;
use protocol_tests::broker::batch::HEADER_BYTES;
use protocol_tests::broker::batch::Header;
use protocol_tests::broker::batch::LOG_APPEND_TIME;
use protocol_tests::broker::batch::TRANSACTIONAL;
use protocol_tests::broker::batch::fix_crc;

use crate::lab::Ack;
use crate::lab::Lab;
use crate::lab::OK;
use crate::lab::ack;

const PID: i64 = 987_654_321;
const REFUSED: i16 = 87;
const OUT_OF_ORDER: i16 = 45;

/// `count` records of now under PID, epoch 0.
fn chain(lab: &Lab, sequence: i32, count: usize) -> Bytes {
    of(lab, PID, 0, sequence, count)
}

fn of(lab: &Lab, pid: i64, epoch: i16, sequence: i32, count: usize) -> Bytes {
    let build = Build::plain(lab.now_ms() - 60_000, "r", count);
    build.producer(pid, epoch, sequence).bytes()
}

fn plain(lab: &Lab, count: usize) -> Build {
    Build::plain(lab.now_ms() - 60_000, "r", count)
}

/// Changes header bytes and makes the CRC right again.
fn edit(batch: &Bytes, change: impl FnOnce(&mut [u8])) -> Bytes {
    let mut bytes = BytesMut::from(&batch[..]);
    change(&mut bytes);
    fix_crc(&mut bytes);
    bytes.freeze()
}

fn set_count(bytes: &mut [u8], count: i32) {
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
}

/// Expects a code, and that nothing was appended.
async fn refuses(lab: &Lab, configs: &[(&str, &str)], batch: Bytes, code: i16) {
    let topic = lab.topic(configs).await;
    let mut raw = lab.connect().await;
    let answer = lab.produce(&mut raw, &topic, batch).await;
    assert_eq!((answer.error, answer.base), (code, -1), "{answer:?}");
    assert_eq!(lab.end(&mut raw, &topic).await, 0);
}

pub async fn p01_unknown_id_any_sequence(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    let first = lab.produce(&mut raw, &topic, chain(lab, 1_234_567, 3)).await;
    assert_eq!(first, Ack { error: OK, base: 0, time: -1 });
    let next = lab.produce(&mut raw, &topic, chain(lab, 1_234_570, 2)).await;
    assert_eq!((next.error, next.base), (OK, 3));
    let gap = lab.produce(&mut raw, &topic, chain(lab, 1_234_573, 1)).await;
    assert_eq!((gap.error, gap.base), (OUT_OF_ORDER, -1));
    let last = of(lab, i64::MAX, 0, 77, 1);
    assert_eq!(lab.produce(&mut raw, &topic, last).await.base, 5);
    assert_eq!(lab.end(&mut raw, &topic).await, 6);
}

pub async fn p01_id_without_sequence_is_refused(lab: &Lab) {
    refuses(lab, &[], chain(lab, -1, 1), REFUSED).await;
}

pub async fn p02_repeat_answers_the_original_offset(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    let batches: Vec<_> = (0..5).map(|n| chain(lab, n * 2, 2)).collect();
    for batch in &batches {
        lab.produce(&mut raw, &topic, batch.clone()).await;
    }
    for (n, batch) in batches.iter().enumerate() {
        let answer = lab.produce(&mut raw, &topic, batch.clone()).await;
        let time = Header::read(batch).unwrap().max_timestamp;
        assert_eq!(answer, Ack { error: OK, base: n as i64 * 2, time });
    }
    // content is not compared
    let other = Build::plain(5_000, "other", 2).producer(PID, 0, 8).bytes();
    assert_eq!(lab.produce(&mut raw, &topic, other).await.base, 8);
    assert_eq!(lab.end(&mut raw, &topic).await, 10);
}

pub async fn p03_older_overlap_gap(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    for n in 0..6 {
        assert_eq!(lab.produce(&mut raw, &topic, chain(lab, n * 2, 2)).await.error, OK);
    }
    for (sequence, count) in [(0, 2), (10, 1), (11, 2), (10, 3), (13, 1), (12 + 2, 2), (3, 2)] {
        let answer = lab.produce(&mut raw, &topic, chain(lab, sequence, count)).await;
        assert_eq!((answer.error, answer.base), (OUT_OF_ORDER, -1), "{sequence} {count}");
    }
    assert_eq!(lab.end(&mut raw, &topic).await, 12);
}

pub async fn p04_epochs_fence(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    let mut answer = async |epoch, sequence| {
        lab.produce(&mut raw, &topic, of(lab, PID, epoch, sequence, 2)).await.error
    };
    assert_eq!(answer(3, 10).await, OK);
    assert_eq!(answer(2, 12).await, 47);
    assert_eq!(answer(4, 12).await, OUT_OF_ORDER);
    assert_eq!(answer(3, 12).await, OK);
    assert_eq!(answer(4, 0).await, OK);
    assert_eq!(answer(3, 14).await, 47);
    // even a repeat of the old epoch
    assert_eq!(answer(3, 12).await, 47);
    assert_eq!(answer(4, 2).await, OK);
}

pub async fn p05_sequence_wraps(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    for (sequence, count) in [(i32::MAX - 3, 2), (i32::MAX - 1, 4), (2, 1)] {
        let batch = chain(lab, sequence, count);
        assert_eq!(lab.produce(&mut raw, &topic, batch).await.error, OK, "{sequence}");
    }
    let inside = chain(lab, i32::MAX - 1, 4);
    assert_eq!(lab.produce(&mut raw, &topic, inside).await.base, 2);
    let exact = of(lab, 5, 0, i32::MAX, 1);
    assert_eq!(lab.produce(&mut raw, &topic, exact).await.error, OK);
    let zero = of(lab, 5, 0, 0, 1);
    assert_eq!(lab.produce(&mut raw, &topic, zero).await.error, OK);
    assert_eq!(lab.end(&mut raw, &topic).await, 9);
}

pub async fn p06_malformed_batches(lab: &Lab) {
    let batch = chain(lab, 0, 3);
    let moved = edit(&batch, |bytes| bytes[7] = 1);
    refuses(lab, &[], moved, REFUSED).await;
    let two = [batch.clone(), chain(lab, 3, 1)].concat();
    refuses(lab, &[], two.into(), REFUSED).await;
    refuses(lab, &[], edit(&batch, |bytes| set_count(bytes, 2)), REFUSED).await;
    refuses(lab, &[], edit(&batch, |bytes| bytes[26] = 7), REFUSED).await;
    refuses(lab, &[], edit(&batch, |bytes| set_count(bytes, 0)), REFUSED).await;
    let empty = edit(&batch.slice(..HEADER_BYTES), |bytes| {
        bytes[8..12].copy_from_slice(&49i32.to_be_bytes());
        set_count(bytes, 0);
    });
    refuses(lab, &[], empty, REFUSED).await;
    refuses(lab, &[], edit(&batch, |bytes| bytes[22] |= CONTROL as u8), REFUSED).await;
    refuses(lab, &[], Bytes::new(), REFUSED).await;
    refuses(lab, &[], batch.slice(..batch.len() - 1), REFUSED).await;
    refuses(lab, &[], batch.slice(..20), REFUSED).await;
}

/// Header and records agree on a count that is not that of the records.
pub async fn p06_record_count_lies(lab: &Lab) {
    let more = edit(&chain(lab, 0, 3), |bytes| {
        set_count(bytes, 4);
        bytes[26] = 3;
    });
    refuses(lab, &[], more, REFUSED).await;
    let fewer = edit(&chain(lab, 0, 3), |bytes| {
        set_count(bytes, 2);
        bytes[26] = 1;
    });
    refuses(lab, &[], fewer, REFUSED).await;
}

pub async fn p07_the_last_of_two_entries_wins(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    let (first, last) = (of(lab, 1, 0, 0, 1), of(lab, 2, 0, 0, 4));
    let version = lab.produce_version();
    let request = lab.produce_request(&topic, &[Some(first), Some(last)], version);
    let answer = ack(&raw.call(version, &request).await.unwrap());
    assert_eq!((answer.error, answer.base), (OK, 0));
    assert_eq!(lab.end(&mut raw, &topic).await, 4);
    let known: Vec<i64> = lab.producers(&mut raw, &topic).await.iter().map(|p| p.0).collect();
    assert_eq!(known, [2]);
}

pub async fn p08_null_records_are_never_answered(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    let version = lab.produce_version();
    let request = lab.produce_request(&topic, &[None], version);
    let call = tokio::time::timeout(Duration::from_secs(3), raw.call(version, &request)).await;
    assert!(call.is_err(), "{call:?}");
    // and the connection is stuck
    let next = lab.produce_request(&topic, &[Some(chain(lab, 0, 1))], version);
    raw.send(version, &next).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut other = lab.connect().await;
    assert_eq!(lab.end(&mut other, &topic).await, 0);
}

pub async fn p08_bytes_behind_the_batch_are_ignored(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    let batch = chain(lab, 0, 3);
    let longer = [&batch[..], b"behind"].concat();
    assert_eq!(lab.produce(&mut raw, &topic, longer.into()).await.error, OK);
    let stored = lab.stored(&mut raw, &topic, 0).await;
    assert_eq!(stored.len(), batch.len());
}

pub async fn p09_transactional_bit_without_an_id(lab: &Lab) {
    refuses(lab, &[], plain(lab, 1).producer(PID, 0, 0).flags(TRANSACTIONAL).bytes(), 53).await;
}

pub async fn p10_log_append_time_bit(lab: &Lab) {
    let batch = plain(lab, 2).flags(LOG_APPEND_TIME).bytes();
    if lab.version == Version::V2_8 {
        refuses(lab, &[], batch, 32).await;
        return;
    }
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    assert_eq!(lab.produce(&mut raw, &topic, batch.clone()).await.error, OK);
    let stored = lab.stored(&mut raw, &topic, 0).await;
    let (sent, kept) = (Header::read(&batch).unwrap(), Header::read(&stored).unwrap());
    assert!(!kept.has(LOG_APPEND_TIME));
    assert_ne!(kept.crc, sent.crc);
    assert_eq!(kept.max_timestamp, sent.max_timestamp);
    refuses(lab, &[("message.timestamp.type", "LogAppendTime")], batch, 32).await;
}

pub async fn p10_log_append_time_topic(lab: &Lab) {
    let topic = lab.topic(&[("message.timestamp.type", "LogAppendTime")]).await;
    let mut raw = lab.connect().await;
    let sent = plain(lab, 2);
    let answer = lab.produce(&mut raw, &topic, sent.bytes()).await;
    let kept = Header::read(&lab.stored(&mut raw, &topic, 0).await).unwrap();
    assert!(kept.has(LOG_APPEND_TIME));
    assert_eq!(kept.base_timestamp, sent.base_timestamp);
    assert_eq!(kept.max_timestamp, answer.time);
    assert!(answer.time > sent.base_timestamp);
}

pub async fn p11_unknown_attribute_bits_are_stored(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    for bit in [6, 7, 15] {
        let batch = plain(lab, 2).flags((1u16 << bit) as i16).bytes();
        let base = lab.produce(&mut raw, &topic, batch.clone()).await.base;
        let stored = lab.stored(&mut raw, &topic, base).await;
        assert_eq!(stored[16..], batch[16..], "bit {bit}");
    }
}

pub async fn p12_timestamps_ahead(lab: &Lab) {
    let ahead = Build::plain(lab.now_ms() + 2 * 3_600_000, "r", 1).bytes();
    let topic = match lab.version {
        Version::V4_3 => {
            refuses(lab, &[], ahead.clone(), 32).await;
            let max = i64::MAX.to_string();
            lab.topic(&[("message.timestamp.after.max.ms", &max)]).await
        }
        _ => lab.topic(&[]).await,
    };
    let mut raw = lab.connect().await;
    assert_eq!(lab.produce(&mut raw, &topic, ahead).await.error, OK);
    for time in [0, -1, lab.now_ms() - 10 * 365 * 86_400_000] {
        let mut old = Build::plain(time, "r", 1);
        old.records[0].timestamp_delta = 0;
        assert_eq!(lab.produce(&mut raw, &topic, old.bytes()).await.error, OK, "{time}");
    }
}

pub async fn p13_a_wrong_max_timestamp_is_corrected(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    let right = plain(lab, 3).bytes();
    let wrong = edit(&right, |bytes| bytes[35..43].copy_from_slice(&7i64.to_be_bytes()));
    assert_eq!(lab.produce(&mut raw, &topic, wrong.clone()).await.error, OK);
    let stored = lab.stored(&mut raw, &topic, 0).await;
    assert_eq!(stored[16..], right[16..]);
    assert_ne!(stored[17..21], wrong[17..21]);
}

pub async fn p14_corrupt_batches(lab: &Lab) {
    let batch = chain(lab, 0, 3);
    let mut crc = BytesMut::from(&batch[..]);
    crc[20] ^= 1;
    refuses(lab, &[], crc.freeze(), 2).await;
    for codec in [5, 7] {
        refuses(lab, &[], edit(&batch, |bytes| bytes[22] |= codec), -1).await;
    }
    refuses(lab, &[], edit(&batch, |bytes| bytes[16] = 1), REFUSED).await;
    refuses(lab, &[], edit(&batch, |bytes| bytes[16] = 3), 2).await;
}

/// Good header and CRC over records that are none, uncompressed and compressed.
pub async fn p14_garbage_records(lab: &Lab) {
    let garbage = |bytes: &mut [u8]| bytes[HEADER_BYTES..].fill(0xAA);
    for (codec, code) in [(Codec::None, -1), (Codec::Gzip, -1), (Codec::Lz4, -1), (Codec::Zstd, -1)]
    {
        let batch = plain(lab, 3).codec(codec).bytes();
        let topic = lab.topic(&[]).await;
        let mut raw = lab.connect().await;
        let answer = lab.produce(&mut raw, &topic, edit(&batch, garbage)).await;
        assert_eq!(answer.error, code, "{codec:?}");
        assert_eq!(lab.end(&mut raw, &topic).await, 0, "{codec:?}");
    }
}

pub async fn p15_what_is_stored_is_what_was_sent(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    for (n, codec) in Codec::ALL.into_iter().enumerate() {
        let batch = plain(lab, 40).codec(codec).producer(PID, 0, n as i32 * 40).bytes();
        let answer = lab.produce(&mut raw, &topic, batch.clone()).await;
        assert_eq!((answer.error, answer.base), (OK, n as i64 * 40), "{codec:?}");
        let stored = lab.stored(&mut raw, &topic, answer.base).await;
        assert_eq!(stored[16..], batch[16..], "{codec:?}");
        assert_eq!(stored[8..12], batch[8..12]);
        assert_eq!(Header::read(&stored).unwrap().base_offset, answer.base);
    }
}

pub async fn p15_another_codec_on_the_topic_recompresses(lab: &Lab) {
    let topic = lab.topic(&[("compression.type", "gzip")]).await;
    let mut raw = lab.connect().await;
    let batch = plain(lab, 40).producer(PID, 0, 7).bytes();
    assert_eq!(lab.produce(&mut raw, &topic, batch).await.error, OK);
    let kept = Header::read(&lab.stored(&mut raw, &topic, 0).await).unwrap();
    assert_eq!(kept.codec(), Some(Codec::Gzip));
    assert_eq!((kept.producer_id, kept.base_sequence, kept.count), (PID, 7, 40));
}

pub async fn p16_sizes(lab: &Lab) {
    let batch = chain(lab, 0, 20);
    let exact = batch.len().to_string();
    let less = (batch.len() - 1).to_string();
    refuses(lab, &[("max.message.bytes", &less)], batch.clone(), 10).await;
    let topic = lab.topic(&[("max.message.bytes", &exact)]).await;
    let mut raw = lab.connect().await;
    assert_eq!(lab.produce(&mut raw, &topic, batch).await.error, OK);
    // a refusal does not use up the sequence
    let larger = chain(lab, 20, 21);
    assert_eq!(lab.produce(&mut raw, &topic, larger).await.error, 10);
    let next = chain(lab, 20, 20);
    assert_eq!(lab.produce(&mut raw, &topic, next).await.base, 20);
}

pub async fn p16_larger_than_a_segment(lab: &Lab) {
    let value = "x".repeat(2 << 20);
    let batch = Build::new(lab.now_ms(), vec![Record::new("k", &value)]).bytes();
    let max = ("max.message.bytes", "4194304");
    refuses(lab, &[max, ("segment.bytes", "1048576")], batch, 18).await;
}

pub async fn p17_five_in_flight(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    for sequence in [0, 1, 5, 2, 3] {
        lab.send(&mut raw, &topic, chain(lab, sequence, 1)).await;
    }
    let mut errors = Vec::new();
    for _ in 0..5 {
        errors.push(lab.receive(&mut raw).await.error);
    }
    assert_eq!(errors, [OK, OK, OUT_OF_ORDER, OK, OK]);
}

pub async fn p17_the_first_of_a_chain_goes_alone(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    assert_eq!(lab.produce(&mut raw, &topic, chain(lab, 8, 1)).await.error, OK);
    assert_eq!(lab.produce(&mut raw, &topic, chain(lab, 7, 1)).await.error, OUT_OF_ORDER);
}

pub async fn p20_recreated_topics(lab: &Lab) {
    let old = lab.named_topic("again", &[1], &[]).await;
    let mut raw = lab.connect().await;
    crate::state::delete_topic(lab, &mut raw, "again").await;
    let new = lab.named_topic("again", &[1], &[]).await;
    assert_ne!(old.id, new.id);
    if lab.version == Version::V4_3 {
        assert_eq!(lab.produce(&mut raw, &old, chain(lab, 0, 1)).await.error, 100);
        let request = lab.produce_request(&old, &[Some(chain(lab, 0, 1))], 12);
        assert_eq!(ack(&raw.call(12, &request).await.unwrap()).error, OK);
        assert_eq!(lab.end(&mut raw, &new).await, 1);
    } else {
        assert_eq!(lab.produce(&mut raw, &old, chain(lab, 0, 1)).await.error, OK);
    }
    crate::state::delete_topic(lab, &mut raw, "again").await;
}

pub async fn p21_an_unsupported_version_closes(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    let request = lab.produce_request(&topic, &[Some(chain(lab, 0, 1))], 9);
    let mut body = BytesMut::new();
    kafka_protocol::protocol::Encodable::encode(&request, &mut body, 9).unwrap();
    raw.send_body(0, 14, &body).await.unwrap();
    assert!(raw.receive_body(0, 14).await.is_err());
}

pub async fn p22_null_keys_on_a_compacted_topic(lab: &Lab) {
    let build = Build::new(lab.now_ms(), vec![Record::new("", "v")]);
    refuses(lab, &[("cleanup.policy", "compact")], build.bytes(), REFUSED).await;
}

/// A10 H1: hidden fillers count as offsets and sequences, and are recognised as repeats.
pub async fn h01_hidden_fillers(lab: &Lab) {
    let topic = lab.topic(&[]).await;
    let mut raw = lab.connect().await;
    let fillers = Build::fillers(lab.now_ms(), 1000, None).producer(PID, 0, 0).bytes();
    assert_eq!(lab.produce(&mut raw, &topic, fillers.clone()).await.base, 0);
    let data = lab.produce(&mut raw, &topic, chain(lab, 1000, 3)).await;
    assert_eq!((data.error, data.base), (OK, 1000));
    assert_eq!(lab.produce(&mut raw, &topic, fillers.clone()).await.base, 0);
    let stored = lab.stored(&mut raw, &topic, 0).await;
    assert_eq!(stored[16..fillers.len()], fillers[16..]);
    assert_eq!(lab.end(&mut raw, &topic).await, 1003);
}

/// A10 H5: a topic that compresses by itself numbers them anew; they would be seen.
pub async fn h05_a_compressing_topic_shows_fillers(lab: &Lab) {
    let topic = lab.topic(&[("compression.type", "gzip")]).await;
    let mut raw = lab.connect().await;
    let fillers = Build::fillers(lab.now_ms(), 10, None).producer(PID, 0, 0).bytes();
    assert_eq!(lab.produce(&mut raw, &topic, fillers).await.base, 0);
    let stored = lab.stored(&mut raw, &topic, 0).await;
    let header = Header::read(&stored).unwrap();
    assert_eq!((header.codec(), header.count), (Some(Codec::Gzip), 10));
    // renumbered records are far smaller than five-byte deltas, squeezed or not
    assert!(stored.len() < HEADER_BYTES + 11 * 10);
}

/// Compressed by the producer, records that are not numbered 0, 1, 2 … make the broker stumble:
/// -1, nothing appended. A10 H5 has it that they are renumbered; that is so only for a topic of
/// another codec.
pub async fn h05_compressed_fillers_are_refused(lab: &Lab) {
    for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
        let fillers = Build::fillers(lab.now_ms(), 10, None).producer(PID, 0, 0);
        refuses(lab, &[], fillers.codec(codec).bytes(), -1).await;
        let mut holes = plain(lab, 3).codec(codec);
        holes.records[1].offset_delta = 5;
        refuses(lab, &[], holes.bytes(), -1).await;
    }
}
