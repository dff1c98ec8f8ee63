//! Units of a source's log made dense, read by another hand: the simulated broker's reader with
//! other people's decoders, and the bytes of real brokers.
//!
//! It never uses `wire` to read what `wire` wrote.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use isolog::ids::Offset;
use isolog::ids::TimestampMs;
use isolog::wire::batch::Attributes;
use isolog::wire::batch::BatchView;
use isolog::wire::codec;
use isolog::wire::codec::Codec;
use isolog::wire::fetch::FetchAnswer;
use isolog::wire::filler;
use isolog::wire::filler::Kind;
use isolog::wire::filler::repeat;
use isolog::wire::record::NewRecord;
use isolog::wire::reframe::Bounds;
use isolog::wire::reframe::Run;
use isolog::wire::reframe::merge;
use isolog::wire::reframe::reframe_batch;
use isolog::wire::split::Piece;
use isolog::wire::split::split;
use protocol_tests::broker::batch as hand;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::batch::Header;
use protocol_tests::broker::batch::Record;
use protocol_tests::broker::codec::Codec as Codecs;
use protocol_tests::samples::Dice;

/// The brokers whose answers lie in `testdata/kafka-*`.
const CAPTURED: [&str; 2] = ["4.3.1", "3.9.1"];

/// Offset, time, and the record without its deltas.
type Seen = (i64, i64, Record);

/// What a reader gets of a stored batch, by the other hand.
fn read(batch: &Bytes) -> Vec<Seen> {
    let header = Header::read(batch).expect("a header");
    assert_eq!(header.crc, crc32c::crc32c(&batch[21..]), "the CRC is right");
    let hand::Records::Read(records) = hand::look(&header, batch) else {
        panic!("not readable: {header:?}");
    };
    let seen = records.into_iter().map(|record| {
        let time = match header.has(hand::LOG_APPEND_TIME) {
            true => header.max_timestamp,
            false => header.base_timestamp + record.timestamp_delta,
        };
        let offset = header.base_offset + i64::from(record.offset_delta);
        (offset, time, Record { offset_delta: 0, timestamp_delta: 0, ..record })
    });
    let seen = seen.filter(|(offset, ..)| *offset >= header.base_offset);
    if header.has(hand::CONTROL) { Vec::new() } else { seen.collect() }
}

/// Every run in order: what is read of all, checked to cover `from` to `next` without a hole.
fn read_runs(runs: &[Run], from: i64, next: i64) -> Vec<Seen> {
    let mut place = from;
    let mut seen = Vec::new();
    for run in runs {
        match run {
            Run::Gap { from, next } => {
                assert_eq!(from.get(), place);
                place = next.get();
            }
            Run::Batch(batch) => {
                let bytes = batch.to_bytes();
                let header = Header::read(&bytes).expect("a header");
                assert_eq!(header.base_offset, place);
                assert_eq!(header.count, header.last_offset_delta + 1, "dense");
                let records = read(&bytes);
                let newest = records.iter().map(|record| record.1).max();
                assert_eq!(newest, Some(header.max_timestamp), "as a broker would write it");
                place = header.next();
                seen.extend(records);
            }
        }
    }
    assert_eq!(place, next, "covered to the end");
    seen
}

fn check(bytes: &Bytes, from: i64) {
    let batch = BatchView::new(bytes.clone()).expect("a batch");
    let at = Offset::new(from).expect("not negative");
    let runs = reframe_batch(&batch, at, &Bounds::default()).expect("readable");
    let next = batch.next_offset().get();
    let wanted: Vec<Seen> = read(bytes).into_iter().filter(|seen| seen.0 >= from).collect();
    if next <= from {
        assert!(runs.is_empty());
        return;
    }
    assert_eq!(read_runs(&runs, from, next), wanted, "from {from}");
    for run in &runs {
        let Run::Batch(dense) = run else { continue };
        assert_eq!(dense.attributes().0, i16::from(batch.attributes().codec()), "codec stays");
    }
}

fn captured(kafka: &str, file: &str) -> Vec<BatchView> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata");
    let body = fs::read(dir.join(format!("kafka-{kafka}/fetch-v17-{file}"))).expect("captured");
    let answer = FetchAnswer::decode(body.into(), 17).expect("readable");
    let pieces = split(answer.partitions[0].records.clone()).map(|piece| match piece {
        Ok(Piece::Batch(batch)) => batch,
        other => panic!("{other:?}"),
    });
    pieces.collect()
}

#[test]
fn what_real_brokers_hold_is_cut_anywhere() {
    let mut batches = 0;
    for kafka in CAPTURED {
        for file in ["none", "gzip", "snappy", "lz4", "zstd", "append-time", "transactions"] {
            for batch in captured(kafka, file) {
                let bytes = batch.to_bytes();
                let (base, next) = (batch.base_offset().get(), batch.next_offset().get());
                for from in (base.saturating_sub(2)).max(0)..=next {
                    check(&bytes, from);
                }
                batches += 1;
            }
        }
    }
    assert!(batches > 100, "{batches}");
}

#[test]
fn what_real_brokers_hold_is_merged() {
    for kafka in CAPTURED {
        for file in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let batches = captured(kafka, file);
            let one = merge::merge(&batches, &Bounds::default()).expect("readable");
            let one = one.expect("they are neighbours").1.to_bytes();
            let header = Header::read(&one).expect("a header");
            assert_eq!((header.base_offset, header.count), (0, 150));
            let each: Vec<Seen> = batches.iter().flat_map(|b| read(&b.to_bytes())).collect();
            assert_eq!(read(&one), each, "{kafka} {file}");
            let before: usize = batches.iter().map(BatchView::len).sum();
            assert!(one.len() < before, "{kafka} {file}: {before} became {}", one.len());
        }
    }
}

fn record(dice: &mut Dice) -> Record {
    let mut bytes = |len| {
        let len = dice.below(len);
        (!dice.one_in(3)).then(|| Bytes::from(dice.bytes(len)))
    };
    let (key, value) = (bytes(12), bytes(200));
    let headers = (0..3).filter_map(|_| Some((bytes(6)?, bytes(9))));
    let headers = headers.collect();
    Record { key, value, headers, ..Record::default() }
}

/// A batch as a cleaner may have left it: some records are gone, times go up and down.
fn thinned(dice: &mut Dice, codec: Codecs) -> Bytes {
    let span = 1 + dice.below(40);
    let records = (0..span).map(|_| record(dice)).collect();
    let mut build = Build::new(1_000_000, records).codec(codec);
    for record in &mut build.records {
        record.timestamp_delta = dice.below(5_000) as i64 - 2_500;
    }
    let keep = 1 + dice.below(4);
    build.records.retain(|_| !dice.one_in(keep));
    build.base_offset = [0, 77, 1 << 31, 1 << 40][dice.below(4)];
    build.last_offset_delta = Some(span as i32 - 1);
    let flags = [hand::TRANSACTIONAL, hand::LOG_APPEND_TIME, hand::DELETE_HORIZON];
    build.flags = flags.into_iter().filter(|_| dice.one_in(4)).sum();
    build.bytes()
}

#[test]
fn thinned_batches_keep_every_record_where_it_is() {
    let dice = &mut Dice::new(11);
    for codec in Codecs::ALL {
        for _ in 0..150 {
            let bytes = thinned(dice, codec);
            let base = Header::read(&bytes).expect("a header").base_offset;
            for from in [0, base, base + dice.below(42) as i64] {
                check(&bytes, from);
            }
        }
    }
}

#[test]
fn fillers_and_repeats_are_what_the_other_hand_makes() {
    let at = Offset::new(40).expect("an offset");
    for (kind, key) in [(Kind::Hidden, None), (Kind::HiddenKeyed, Some(Bytes::new()))] {
        for count in [1, 7, 5_000] {
            let ours = filler::filler(kind, at, count, TimestampMs(9)).to_bytes();
            let mut theirs = Build::fillers(9, count as usize, key.clone());
            theirs.base_offset = 40;
            assert_eq!(ours, theirs.bytes());
        }
    }
    let value = b"isolog".repeat(30);
    let new = NewRecord { timestamp_ms: 5, key: Some(b"k"), value: Some(&value), headers: vec![] };
    for codec in Codec::ALL {
        let batch = repeat::repeat(&new, at, 3_000, codec, 1 << 20).expect("packed");
        let seen = read(&batch.to_bytes());
        let offsets: Vec<i64> = seen.iter().map(|seen| seen.0).collect();
        assert_eq!(offsets, (40..3_040).collect::<Vec<_>>());
        let (key, value) = (Some(Bytes::from("k")), Some(Bytes::from(value.clone())));
        let wanted = Record { key, value, ..Record::default() };
        assert!(seen.iter().all(|(_, time, record)| (*time, record) == (5, &wanted)));
    }
}

#[test]
fn what_is_packed_here_other_peoples_decoders_read() {
    let dice = &mut Dice::new(12);
    for (ours, theirs) in Codec::ALL.into_iter().zip(Codecs::ALL) {
        for len in [0, 1, 100, 70_000, 300_000] {
            let plain = match dice.below(2) {
                0 => dice.bytes(len),
                _ => b"again and ".iter().copied().cycle().take(len).collect(),
            };
            let packed = Bytes::from(codec::compress(ours, plain.clone()).expect("packed"));
            let read = protocol_tests::broker::codec::load(theirs, &packed);
            assert_eq!(read.as_deref(), Some(&plain[..]), "{ours} {len}");
            let stored = protocol_tests::broker::codec::store(theirs, &plain);
            assert_eq!(codec::decompress(ours, &stored, len), Ok(plain), "{ours} {len}");
        }
    }
}

#[test]
fn the_simulated_and_the_real_hand_agree_about_a_control_batch() {
    for kafka in CAPTURED {
        let batches = captured(kafka, "transactions");
        let control = batches.iter().filter(|b| b.attributes().has(Attributes::CONTROL));
        for batch in control {
            let runs = reframe_batch(batch, batch.base_offset(), &Bounds::default());
            let gap = Run::Gap { from: batch.base_offset(), next: batch.next_offset() };
            assert_eq!(runs, Ok(vec![gap]));
        }
    }
}
