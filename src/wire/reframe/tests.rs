//! Units by hand, and what comes out of them; `protocol-tests/tests/pure/reframe.rs` reads the
//! same with another hand and the bytes of real brokers.

use bytes::BufMut;
use bytes::Bytes;

use super::*;
use crate::ids::LeaderEpoch;
use crate::ids::ProducerId;
use crate::ids::TimestampMs;
use crate::wire::codec;
use crate::wire::codec::Codec;
use crate::wire::crc;
use crate::wire::filler;
use crate::wire::filler::Kind;
use crate::wire::record::BatchHead;
use crate::wire::record::RecordView;
use crate::wire::rewrite::Writer;

const HEADERS: [(&[u8], Option<&[u8]>); 3] = [(b"h", Some(b"1")), (b"h", None), (b"", Some(b""))];

fn at(raw: i64) -> Offset {
    Offset::new(raw).unwrap()
}

/// Offset deltas and absolute times; key and value follow from the delta.
fn unit(codec: Codec, bits: i16, base: i64, span: i32, records: &[(i32, i64)]) -> BatchView {
    let base_ms = 5_000;
    let mut section = Vec::new();
    for (delta, time) in records {
        let key = delta.to_be_bytes();
        let view = RecordView {
            offset_delta: *delta,
            timestamp_delta: time - base_ms,
            key: Some(&key),
            value: (delta % 2 == 0).then_some(&b"value"[..]),
            headers: HEADERS.to_vec(),
        };
        view.put(&mut section);
    }
    let records_bytes = Bytes::from(codec::compress(codec, section).unwrap());
    let head = BatchHead {
        base_offset: at(base),
        leader_epoch: LeaderEpoch(4),
        attributes: Attributes(bits | i16::from(codec.number())),
        last_offset_delta: span - 1,
        base_timestamp: TimestampMs(base_ms),
        max_timestamp: TimestampMs(9_000),
        writer: Writer { id: ProducerId(9), epoch: 2 },
        base_sequence: 7,
        count: records.len() as i32,
    };
    let header = Bytes::copy_from_slice(&head.header(&records_bytes));
    BatchView::from_parts(header, records_bytes).unwrap()
}

/// Each run: where it begins and ends, and of a batch its records' deltas and times.
type Told = (i64, i64, Option<Vec<(i32, i64)>>);

fn told(runs: &[Run], base: i64) -> Vec<Told> {
    let told = |run: &Run| match run {
        Run::Gap { from, next } => (from.get(), next.get(), None),
        Run::Batch(batch) => {
            assert_eq!(crc::check(batch), Ok(()));
            assert_eq!(batch.count() as u64, batch.span(), "dense");
            assert_eq!((batch.producer_id().0, batch.base_sequence()), (-1, -1));
            let entries = Unpacked::of_batch(batch, &Bounds::default()).unwrap();
            let records = entries.entries().unwrap().map(|entry| {
                let entry = entry.unwrap();
                let delta = (entry.offset.unwrap().get() - base) as i32;
                assert_eq!(entry.record.key, Some(&delta.to_be_bytes()[..]));
                assert_eq!(entry.record.value.is_some(), delta % 2 == 0);
                assert_eq!(entry.record.headers, HEADERS);
                (delta, entry.record.timestamp_ms)
            });
            let records: Vec<_> = records.collect();
            let newest = records.iter().map(|record| record.1).max().unwrap();
            assert_eq!(batch.max_timestamp().0, newest);
            (batch.base_offset().get(), batch.next_offset().get(), Some(records))
        }
    };
    runs.iter().map(told).collect()
}

fn check(unit: &BatchView, from: i64, want: &[Told]) {
    let runs = reframe_batch(unit, at(from), &Bounds::default()).unwrap();
    assert_eq!(told(&runs, unit.base_offset().get()), want, "from {from}");
    for run in &runs {
        if let Run::Batch(batch) = run {
            let codec = unit.attributes().codec();
            assert_eq!(batch.attributes().0, i16::from(codec), "the codec stays, the bits go");
            assert_eq!(batch.leader_epoch(), LeaderEpoch(4));
        }
    }
}

#[test]
fn a_batch_is_cut_where_the_end_lies() {
    for codec in Codec::ALL {
        let unit = unit(codec, 0x10, 100, 3, &[(0, 9_000), (1, 1), (2, 8_000)]);
        check(&unit, 101, &[(101, 103, Some(vec![(1, 1), (2, 8_000)]))]);
        check(&unit, 102, &[(102, 103, Some(vec![(2, 8_000)]))]);
        check(&unit, 103, &[]);
        check(&unit, 900, &[]);
        let all = vec![(0, 9_000), (1, 1), (2, 8_000)];
        check(&unit, 100, &[(100, 103, Some(all.clone()))]);
        check(&unit, 90, &[(90, 100, None), (100, 103, Some(all))]);
    }
}

#[test]
fn holes_become_gaps() {
    for codec in Codec::ALL {
        let unit = unit(codec, 0, 100, 10, &[(2, 9_000), (3, 1), (6, 5)]);
        let first = (102, 104, Some(vec![(2, 9_000), (3, 1)]));
        let second = (106, 107, Some(vec![(6, 5)]));
        let (middle, tail) = ((104, 106, None), (107, 110, None));
        check(
            &unit,
            100,
            &[(100, 102, None), first.clone(), middle.clone(), second.clone(), tail.clone()],
        );
        check(&unit, 102, &[first, middle.clone(), second.clone(), tail.clone()]);
        check(&unit, 104, &[middle, second, tail.clone()]);
        check(&unit, 105, &[(105, 106, None), (106, 107, Some(vec![(6, 5)])), tail]);
        check(&unit, 108, &[(108, 110, None)]);
    }
}

#[test]
fn what_holds_no_record_is_a_gap() {
    check(&unit(Codec::None, 0, 100, 10, &[]), 100, &[(100, 110, None)]);
    check(&unit(Codec::None, 0x30, 100, 1, &[(0, 1)]), 100, &[(100, 101, None)]);
    check(&unit(Codec::None, 0x30, 100, 4, &[]), 99, &[(99, 104, None)]);
    // a mirror of a mirror: hidden fillers are no records
    let fillers = filler::filler(Kind::Hidden, at(100), 10, TimestampMs(1));
    let runs = reframe_batch(&fillers, at(103), &Bounds::default()).unwrap();
    assert_eq!(runs, [Run::Gap { from: at(103), next: at(110) }]);
    let high = filler::filler(Kind::Hidden, at((1 << 31) + 5), 2, TimestampMs(1));
    let runs = reframe_batch(&high, at(0), &Bounds::default()).unwrap();
    assert_eq!(runs, [Run::Gap { from: at(0), next: at((1 << 31) + 7) }]);
}

#[test]
fn the_brokers_clock_becomes_each_records_own_time() {
    for codec in Codec::ALL {
        let unit = unit(codec, Attributes::LOG_APPEND_TIME, 100, 3, &[(0, 1), (1, 2), (2, 3)]);
        check(&unit, 100, &[(100, 103, Some(vec![(0, 9_000), (1, 9_000), (2, 9_000)]))]);
        let runs = reframe_batch(&unit, at(100), &Bounds::default()).unwrap();
        let Run::Batch(batch) = &runs[0] else { panic!("{runs:?}") };
        assert_eq!((batch.base_timestamp().0, batch.max_timestamp().0), (9_000, 9_000));
    }
}

#[test]
fn a_delete_horizon_is_only_where_deltas_begin() {
    let unit = unit(Codec::Zstd, Attributes::DELETE_HORIZON, 100, 4, &[(0, 17), (3, 4)]);
    let want = [(100, 101, Some(vec![(0, 17)])), (101, 103, None), (103, 104, Some(vec![(3, 4)]))];
    check(&unit, 100, &want);
}

#[test]
fn times_that_do_not_fit_a_difference_come_back() {
    let times = [(0, i64::MAX), (1, i64::MIN + 5_000), (2, -1)];
    let unit = unit(Codec::None, 0, 100, 4, &times);
    check(&unit, 100, &[(100, 103, Some(times.to_vec())), (103, 104, None)]);
}

#[test]
fn runs_respect_what_the_destination_takes() {
    for codec in Codec::ALL {
        let times: Vec<(i32, i64)> =
            (0..500).map(|delta| (delta, i64::from(delta * 37 % 11))).collect();
        let unit = unit(codec, 0x10, 100, 501, &times);
        for max in [250, 1_000, 4_000] {
            let bounds = Bounds { batch_bytes_max: Some(max), ..Bounds::default() };
            let runs = reframe_batch(&unit, at(100), &bounds).unwrap();
            let mut seen = Vec::new();
            for (from, _, records) in told(&runs, 100) {
                assert_eq!(from, 100 + seen.len() as i64, "no hole");
                seen.extend(records.unwrap_or_default());
            }
            assert_eq!(seen, times);
            for run in &runs {
                let Run::Batch(batch) = run else { continue };
                assert!(batch.len() <= max || batch.count() == 1, "{codec} {max}: {}", batch.len());
            }
        }
    }
}

#[test]
fn a_corrupt_batch_is_refused_and_a_bomb_too() {
    let good = unit(Codec::Zstd, 0, 100, 5, &[(0, 1), (1, 2)]);
    let mut bytes = good.to_bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let bad = BatchView::new(bytes.into()).unwrap();
    let refused = reframe_batch(&bad, at(100), &Bounds::default());
    assert!(matches!(refused, Err(ReframeError::BadCrc(_))), "{refused:?}");
    let tight = Bounds { unpacked_bytes_max: 20, ..Bounds::default() };
    assert!(reframe_batch(&good, at(100), &tight).unwrap_err().is_too_large());
    let beyond = unit(Codec::None, 0, 100, 2, &[(0, 1), (2, 2)]);
    let refused = reframe_batch(&beyond, at(100), &Bounds::default());
    assert!(matches!(refused, Err(ReframeError::Malformed(_))), "{refused:?}");
    let codec_7 = unit(Codec::None, 7, 100, 3, &[(0, 1), (2, 2)]);
    let refused = reframe_batch(&codec_7, at(100), &Bounds::default());
    assert_eq!(refused, Err(ReframeError::Codec(codec::CodecError::Unknown(7))));
}

fn message(magic: u8, offset: i64, attributes: u8, time: i64, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut body = vec![magic, attributes];
    if magic == 1 {
        body.put_i64(time);
    }
    for part in [key, value] {
        body.put_i32(if part == b"null" { -1 } else { part.len() as i32 });
        body.put_slice(if part == b"null" { b"" } else { part });
    }
    let mut sum = flate2::Crc::new();
    sum.update(&body);
    let mut out = Vec::new();
    out.put_i64(offset);
    out.put_i32(body.len() as i32 + 4);
    out.put_u32(sum.sum());
    out.put_slice(&body);
    out
}

fn old_runs(bytes: Vec<u8>, from: i64) -> Result<Vec<Told>, ReframeError> {
    let magic = bytes[16] as i8;
    let offset = at(i64::from_be_bytes(*bytes.first_chunk().unwrap()));
    let piece = Piece::OldFormat { offset, magic, bytes: bytes.into() };
    let runs = reframe(&piece, at(from), &Bounds::default())?;
    let plain = |run: &Run| match run {
        Run::Gap { from, next } => (from.get(), next.get(), None),
        Run::Batch(batch) => {
            assert_eq!(crc::check(batch), Ok(()));
            let unpacked = Unpacked::of_batch(batch, &Bounds::default()).unwrap();
            let records = unpacked.entries().unwrap().map(|entry| {
                let record = entry.unwrap().record;
                assert!(record.headers.is_empty());
                let first = |part: Option<&[u8]>| part.map_or(-1, |part| i32::from(part[0]));
                (first(record.key) * 1_000 + first(record.value), record.timestamp_ms)
            });
            let records = records.collect();
            (batch.base_offset().get(), batch.next_offset().get(), Some(records))
        }
    };
    Ok(runs.iter().map(plain).collect())
}

#[test]
fn single_old_messages_are_converted() {
    let magic_0 = message(0, 50, 0, 0, b"null", b"b");
    assert_eq!(old_runs(magic_0.clone(), 50), Ok(vec![(50, 51, Some(vec![(-902, -1)]))]));
    assert_eq!(old_runs(magic_0.clone(), 51), Ok(vec![]));
    let later = vec![(48, 50, None), (50, 51, Some(vec![(-902, -1)]))];
    assert_eq!(old_runs(magic_0, 48), Ok(later));
    for by_broker in [0, 8] {
        let magic_1 = message(1, 50, by_broker, 777, b"a", b"null");
        assert_eq!(old_runs(magic_1, 50), Ok(vec![(50, 51, Some(vec![(96_999, 777)]))]));
    }
}

fn packed(magic: u8, codec: Codec, bits: u8, offset: i64, inner: &[i64]) -> Vec<u8> {
    let inner = inner.iter().map(|own| message(magic, *own, 0, 100 + own, b"a", b"b"));
    let set: Vec<u8> = inner.flatten().collect();
    let value = codec::compress(codec, set).unwrap();
    message(magic, offset, codec.number() | bits, 4_444, b"null", &value)
}

#[test]
fn packed_sets_are_converted_with_relative_and_absolute_offsets() {
    let seen = |times: &[i64]| Some(times.iter().map(|time| (97_098, *time)).collect::<Vec<_>>());
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4] {
        let magic_1 = packed(1, codec, 0, 52, &[0, 1, 2]);
        assert_eq!(old_runs(magic_1.clone(), 50), Ok(vec![(50, 53, seen(&[100, 101, 102]))]));
        assert_eq!(old_runs(magic_1, 52), Ok(vec![(52, 53, seen(&[102]))]));
        let thinned = packed(1, codec, 0, 56, &[1, 3, 4]);
        let want = vec![
            (52, 53, None),
            (53, 54, seen(&[101])),
            (54, 55, None),
            (55, 57, seen(&[103, 104])),
        ];
        assert_eq!(old_runs(thinned, 52), Ok(want));
        let magic_0 = packed(0, codec, 0, 52, &[50, 52]);
        let want = vec![(50, 51, seen(&[-1])), (51, 52, None), (52, 53, seen(&[-1]))];
        assert_eq!(old_runs(magic_0, 50), Ok(want));
        let by_broker = packed(1, codec, 8, 51, &[0, 1]);
        assert_eq!(old_runs(by_broker, 50), Ok(vec![(50, 52, seen(&[4_444, 4_444]))]));
    }
}

#[test]
fn old_messages_that_are_not_right_are_refused() {
    let good = message(1, 50, 0, 777, b"a", b"b");
    for place in 12..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1;
        assert!(old_runs(bad, 50).is_err(), "byte {place}");
    }
    let refused = |what: &str, bytes: Vec<u8>| assert!(old_runs(bytes, 0).is_err(), "{what}");
    refused("a set without messages", packed(1, Codec::Gzip, 0, 5, &[]));
    refused("inner offsets beyond the outer", packed(0, Codec::Gzip, 0, 5, &[4, 6]));
    refused("a base below zero", packed(1, Codec::Gzip, 0, 1, &[0, 1, 2]));
    refused("a set in a set", {
        let inner = packed(1, Codec::Gzip, 0, 0, &[0]);
        message(1, 0, 1, 0, b"null", &codec::compress(Codec::Gzip, inner).unwrap())
    });
    refused("another magic inside", {
        let inner = message(0, 0, 0, 0, b"a", b"b");
        message(1, 0, 1, 0, b"null", &codec::compress(Codec::Gzip, inner).unwrap())
    });
    refused("zstd", message(1, 0, 4, 0, b"null", b"b"));
    refused("a null set", message(1, 0, 1, 0, b"null", b"null"));
    refused("the last offset there is", message(1, i64::MAX, 0, 0, b"a", b"b"));
}

#[test]
fn neighbours_are_merged_and_nothing_else() {
    for codec in Codec::ALL {
        let one = unit(codec, 0x10, 100, 2, &[(0, 1), (1, 9)]);
        let two = unit(codec, 0x40, 102, 1, &[(0, 3)]);
        let three = unit(codec, 0, 103, 2, &[(0, 8), (1, 2)]);
        let all = [one.clone(), two.clone(), three.clone()];
        let (count, merged) = merge::merge(&all, &Bounds::default()).unwrap().unwrap();
        assert_eq!(count, 3);
        assert_eq!(crc::check(&merged), Ok(()));
        assert_eq!((merged.base_offset(), merged.next_offset()), (at(100), at(105)));
        assert_eq!((merged.count(), merged.attributes().0), (5, i16::from(codec.number())));
        let read = |batches: &[BatchView]| {
            let mut read = Vec::new();
            for batch in batches {
                let unpacked = Unpacked::of_batch(batch, &Bounds::default()).unwrap();
                for entry in unpacked.entries().unwrap() {
                    read.push(format!("{:?}", entry.unwrap()));
                }
            }
            read
        };
        assert_eq!(read(std::slice::from_ref(&merged)), read(&all));
        assert!(merged.len() < all.iter().map(BatchView::len).sum());
        let tight = Bounds { batch_bytes_max: Some(merged.len() - 1), ..Bounds::default() };
        assert_eq!(merge::merge(&all, &tight), Ok(None));
        // the first two, and not the third, unpack to so much
        let plain = |batch| Unpacked::of_batch(batch, &Bounds::default()).unwrap().plain_bytes();
        let two_bytes = plain(&one) + plain(&two);
        let few = Bounds { unpacked_bytes_max: two_bytes, ..Bounds::default() };
        let (count, merged) = merge::merge(&all, &few).unwrap().unwrap();
        assert_eq!((count, merged.next_offset()), (2, at(103)));
        let bomb = Bounds { unpacked_bytes_max: two_bytes - 1, ..Bounds::default() };
        assert_eq!(merge::merge(&all, &bomb), Ok(None));
        let none = |batches: &[BatchView]| {
            assert_eq!(merge::merge(batches, &Bounds::default()), Ok(None));
        };
        none(std::slice::from_ref(&one));
        none(&[one.clone(), three.clone()]);
        none(&[two.clone(), one.clone()]);
        none(&[one.clone(), unit(codec, 8, 102, 1, &[(0, 3)])]);
        none(&[one.clone(), unit(codec, 0x20, 102, 1, &[(0, 3)])]);
        none(&[one.clone(), unit(codec, 0, 102, 2, &[(0, 3)])]);
        none(&[one.clone(), filler::filler(Kind::Hidden, at(102), 3, TimestampMs(1))]);
    }
    let plain = unit(Codec::None, 0, 100, 1, &[(0, 1)]);
    let other = unit(Codec::Gzip, 0, 101, 1, &[(0, 1)]);
    assert_eq!(merge::merge(&[plain, other], &Bounds::default()), Ok(None));
    let fillers = filler::filler(Kind::Hidden, at(0), 3, TimestampMs(1));
    let more = filler::filler(Kind::Hidden, at(3), 3, TimestampMs(1));
    assert!(merge::fits(&fillers, &more));
    assert_eq!(merge::merge(&[fillers, more], &Bounds::default()), Ok(None), "hidden stay hidden");
}
