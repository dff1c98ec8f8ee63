//! Hostile bytes: every fuzz seed, and thousands of seeded mutations of it, through every body.
//!
//! It never needs nightly: libFuzzer runs the same bodies in `fuzz/`.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use isolog::wire::codec;
use isolog::wire::codec::Codec;
use isolog::wire::filler;
use isolog::wire::filler::Kind;
use isolog::wire::shape;
use kafka_protocol::messages;
use protocol_tests::bodies;
use protocol_tests::bodies::units;
use protocol_tests::broker::codec::crc32;
use protocol_tests::samples;
use protocol_tests::samples::Dice;

use super::HEAP;
use super::alone;

/// Mutations of each seed, every day; the soak's fuzzers make millions.
const MUTATIONS: usize = 200;
/// What a decoder may take from the heap per byte of its input, and besides. The most that honest
/// answers need is 14: a Vec of 192-byte partitions, 37 bytes each on the wire, that just doubled.
const HEAP_PER_BYTE_MAX: usize = 16;
const HEAP_BESIDES_MAX: usize = 4 * 1024;
/// A runtime, a pipe and the client's buffers, whatever the answer.
const HTTP_BYTES_BASE: usize = 96 * 1024;

fn seeds_dir(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/fuzz").join(target)
}

/// In the order of their names, so that a failing mutation comes again.
fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = seeds_dir(target);
    let listing = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> =
        listing.map(|entry| entry.expect("a directory can be listed").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{target} has seeds");
    paths
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).expect("a seed can be read")))
        .collect()
}

/// One to four small changes; the values that hurt decoders come more often than chance has them.
fn mutated(dice: &mut Dice, seed: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..1 + dice.below(4) {
        let at = dice.below(bytes.len() + 1);
        match dice.below(7) {
            0 => bytes.truncate(at),
            1 => bytes.splice(at..at, dice.bytes(3)).for_each(drop),
            2 => bytes.splice(at..at, [0xff; 5]).for_each(drop),
            3 => bytes.splice(at.., seed[seed.len().min(at)..].to_vec()).for_each(drop),
            4 => bytes.iter_mut().skip(at).take(4).for_each(|byte| *byte = 0xff),
            5 => bytes.iter_mut().skip(at).take(4).for_each(|byte| *byte = 0x7f),
            _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << dice.below(8)),
        }
    }
    bytes
}

/// Calls `each` with every seed and its mutations; names the one that fails.
fn for_hostile(target: &str, each: impl Fn(&[u8])) {
    let _alone = alone();
    for (path, seed) in seeds(target) {
        each(&seed);
        let dice = &mut Dice::new(seed.len() as u64);
        for round in 0..MUTATIONS {
            let bytes = mutated(dice, &seed);
            let run = std::panic::AssertUnwindSafe(|| each(&bytes));
            if std::panic::catch_unwind(run).is_err() {
                panic!("{target}: mutation {round} of {}: {bytes:02x?}", path.display());
            }
        }
    }
}

/// The most heap that `run` held, of three runs the least: the test harness's own thread, which
/// prints what has passed, allocates and frees a little meanwhile.
fn heap_taken(run: impl Fn()) -> usize {
    let once = || {
        HEAP.reset_peak_usage();
        let before = HEAP.current_usage();
        run();
        HEAP.peak_usage().saturating_sub(before)
    };
    once().min(once()).min(once())
}

#[test]
fn every_body_holds_on_its_seeds_and_their_mutations() {
    for (target, body) in bodies::TARGETS {
        for_hostile(target, body);
    }
}

#[test]
fn no_decoder_takes_more_memory_than_a_small_multiple_of_its_input() {
    for (target, _) in bodies::TARGETS {
        for_hostile(target, |bytes| {
            let taken = heap_taken(|| bodies::decode(target, Bytes::copy_from_slice(bytes)));
            let (besides, per_byte) = match *target {
                "guarded" => (shape::MEMORY_BYTES_BASE, shape::MEMORY_PER_BYTE_MAX),
                "http_head" => (HTTP_BYTES_BASE, HEAP_PER_BYTE_MAX),
                "codec" | "reframe" => (units::HEAP_BYTES_BASE, units::HEAP_PER_BYTE_MAX),
                _ => (HEAP_BESIDES_MAX, HEAP_PER_BYTE_MAX),
            };
            let max = besides + (1 + per_byte) * bytes.len();
            assert!(taken <= max, "{target}: {taken} bytes of heap for {} of input", bytes.len());
        });
    }
}

#[test]
fn the_heap_is_really_counted() {
    let _alone = alone();
    let taken = heap_taken(|| drop(std::hint::black_box(vec![0u8; 1 << 20])));
    assert!((1 << 19..1 << 21).contains(&taken), "{taken}");
}

/// Writes the seeds that were cut out of captured answers anew, as `write_the_made_seeds` does.
#[test]
#[ignore = "writes testdata/fuzz"]
fn write_the_real_seeds() {
    let captured = |kafka: &str, file: &str| {
        let path = seeds_dir("..").join(format!("kafka-{kafka}")).join(file);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let put = |target: &str, name: String, bytes: Vec<u8>| {
        fs::create_dir_all(seeds_dir(target)).unwrap();
        fs::write(seeds_dir(target).join(format!("real-{name}")), bytes).unwrap();
    };
    for (kafka, produce) in [("4.3.1", 13), ("3.9.1", 11)] {
        for name in ["cut", "diverging", "unknown"] {
            let body = captured(kafka, &format!("fetch-v17-{name}"));
            put("fetch_answer", format!("{kafka}-{name}"), [&[5][..], &body].concat());
        }
        for name in ["repeat", "no-key"] {
            let body = captured(kafka, &format!("produce-v{produce}-{name}"));
            let version = [produce as u8 - 9];
            put("produce_answer", format!("{kafka}-{name}"), [&version[..], &body].concat());
        }
    }
    for name in ["none", "gzip", "snappy", "lz4", "zstd", "transactions", "append-time"] {
        let body = captured("4.3.1", &format!("fetch-v17-{name}")).into();
        let answer = isolog::wire::fetch::FetchAnswer::decode(body, 17).unwrap();
        let records = &answer.partitions[0].records;
        put("split", name.into(), records[..records.len().min(4_000)].to_vec());
        let first = isolog::wire::split::split(records.clone()).next().unwrap().unwrap();
        let batch = &records[..first.bytes_count()];
        put("rewrite", name.into(), [&[0x40; 10][..], &[0], batch].concat());
        let from = isolog::wire::batch::BatchView::new(Bytes::copy_from_slice(batch));
        let from = from.expect("a batch").base_offset().get() + 1;
        put("reframe", name.into(), [&from.to_be_bytes()[..], &[0], batch].concat());
        if (1..=4).contains(&(batch[22] & 7)) {
            put("codec", name.into(), [&[batch[22] & 7][..], &batch[61..]].concat());
        }
        if name == "none" {
            put("record", name.into(), [&batch[60..61], &batch[61..]].concat());
        }
    }
}

/// Seeds of `bodies::units`.
fn write_the_unit_seeds(dice: &mut Dice, put: impl Fn(&str, String, Vec<u8>)) {
    let old = samples::old_message(1_000, b"key", b"value");
    put("reframe", "old".into(), [&[0; 8][..], &[3], &old].concat());
    let batch = samples::batch(dice, 40, 9);
    for codec in Codec::ALL {
        let name = codec.name();
        let section =
            codec::compress(codec, batch[61..].to_vec()).expect("a section can be packed");
        put("codec", name.into(), [&[codec.number()][..], &section].concat());
        let bomb = codec::compress(codec, vec![0; 100_000]).expect("zeros can be packed");
        let bomb = [&[codec.number()][..], &bomb[..bomb.len().min(2_000)]].concat();
        put("codec", format!("{name}-bomb"), bomb);
        let mut header = batch[..61].to_vec();
        header[22] = codec.number();
        let whole = [&header[..], &section].concat();
        put("reframe", name.into(), [&42i64.to_be_bytes()[..], &[1], &whole].concat());
        // thinned: more offsets than records
        header[26] = 200;
        let whole = [&header[..], &section].concat();
        put("reframe", format!("{name}-thin"), [&[0; 8][..], &[1], &whole].concat());
        if (1..=3).contains(&codec.number()) {
            let set = [0, 1, 2].map(|offset| samples::old_message(offset, b"key", b"value"));
            let set = set.map(|mut message| {
                let right = crc32(&message[16..]);
                message[12..16].copy_from_slice(&right.to_be_bytes());
                message
            });
            let value = codec::compress(codec, set.concat()).expect("messages can be packed");
            let mut outer = samples::old_message(1_000, b"", &value);
            outer[17] = codec.number();
            put("reframe", format!("old-{name}"), [&[0; 8][..], &[3], &outer].concat());
        }
    }
    for (number, kind) in [Kind::Hidden, Kind::HiddenKeyed, Kind::Visible].into_iter().enumerate() {
        let batch = filler::filler(kind, isolog::ids::Offset::ZERO, 3, filler::NO_TIMESTAMP);
        let head = [&[number as u8, 0, 0, 0, 3][..], &[0; 16], &[0x40; 10], &[1]].concat();
        put(
            "filler",
            format!("{kind:?}").to_lowercase(),
            [head, batch.to_bytes().to_vec()].concat(),
        );
    }
}

/// Writes the made seeds anew: `cargo test -p protocol-tests --test heap made_seeds -- --ignored`.
#[test]
#[ignore = "writes testdata/fuzz"]
fn write_the_made_seeds() {
    let dice = &mut Dice::new(1);
    let put = |target: &str, name: String, bytes: Vec<u8>| {
        fs::create_dir_all(seeds_dir(target)).unwrap();
        fs::write(seeds_dir(target).join(format!("made-{name}")), bytes).unwrap();
    };
    for (at, version) in (12..=17).enumerate() {
        let mut bytes = samples::encoded(&samples::fetch_response(dice, version), version).to_vec();
        bytes.insert(0, at as u8);
        put("fetch_answer", format!("v{version}"), bytes);
    }
    for (at, version) in (9..=13).enumerate() {
        let message = samples::produce_response(dice, version);
        let mut bytes = samples::encoded(&message, version).to_vec();
        bytes.insert(0, at as u8);
        put("produce_answer", format!("v{version}"), bytes);
    }
    for count in [1, 5] {
        let batch = samples::batch(dice, 40, count);
        let next = samples::batch(dice, 40 + count as i64, 2);
        put("split", format!("cut-{count}"), [&batch[..], &next, &next[..70]].concat());
        put("rewrite", format!("plain-{count}"), [&[0x40; 10][..], &[1], &batch].concat());
        put("record", format!("plain-{count}"), [&[count as u8][..], &batch[61..]].concat());
    }
    // what swells most: the smallest things that an answer can count
    let partition = [&[0; 30][..], &[0, 0xff, 0xff, 0xff, 0xff, 0, 0]].concat();
    let topic = [&b"\x02a\x02"[..], &partition, &[0]].concat();
    let many = [&[0; 11][..], &[0xad, 0x02], &topic.repeat(300), &[0]].concat();
    put("fetch_answer", "many-topics".into(), many);
    let many = [&[0; 11][..], &[2, 2, b'a', 0xad, 0x02], &partition.repeat(300), &[0; 2]].concat();
    put("fetch_answer", "many-partitions".into(), many);
    let topic = [&b"\x02a\x02"[..], &[0; 30], &[1, 0, 0, 0]].concat();
    let many = [&[0, 0xad, 0x02][..], &topic.repeat(300), &[0; 5]].concat();
    put("produce_answer", "many-topics".into(), many);
    let record = [&[0, 0, 0, 1, 1, 0xd8, 0x04][..], &[0; 600]].concat();
    put("record", "many-headers".into(), [&[1, 0xbe, 0x09][..], &record].concat());
    put(
        "record",
        "many-records".into(),
        [&[200][..], &b"\x0c\0\0\0\x01\x01\0".repeat(200)].concat(),
    );
    let topic = messages::metadata_response::MetadataResponseTopic::default()
        .with_name(Some(kafka_protocol::protocol::StrBytes::from("topic").into()))
        .with_partitions(vec![Default::default(); 3]);
    let metadata = messages::MetadataResponse::default()
        .with_brokers(vec![Default::default(); 2])
        .with_topics(vec![topic]);
    let bytes = samples::encoded(&metadata, 12);
    put("guarded", "metadata".into(), [&[1, 3][..], &bytes].concat());
    let config = messages::describe_configs_response::DescribeConfigsResourceResult::default()
        .with_name("retention.ms".into())
        .with_synonyms(vec![Default::default(); 2]);
    let result = messages::describe_configs_response::DescribeConfigsResult::default()
        .with_configs(vec![config; 3]);
    let configs = messages::DescribeConfigsResponse::default().with_results(vec![result]);
    let bytes = samples::encoded(&configs, 4);
    put("guarded", "configs".into(), [&[5, 0][..], &bytes].concat());
    put("split", "old-format".into(), samples::old_message(1_000, b"key", b"value"));
    write_the_unit_seeds(dice, put);
    put("frame", "answer".into(), b"\0\0\0\x08\0\0\0\x07\0abc".to_vec());
    put("frame", "tls".into(), b"\x15\x03\x03\0\x02\x02\x28".to_vec());
    let keys = [(0i16, 3i16, 13i16), (1, 4, 18), (3, 0, 13), (18, 0, 4)];
    let rows = keys.map(|(key, min, max)| [key, min, max].map(i16::to_be_bytes).concat());
    let rows = rows.map(|row| [&row[..], &[0]].concat()).concat();
    put("api_versions", "v3".into(), [&[0, 0, 5][..], &rows, &[0; 5]].concat());
    put("api_versions", "v0".into(), b"\0\x23\0\0\0\x01\0\x03\0\0\0\x08".to_vec());
}
