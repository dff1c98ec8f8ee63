//! `isolog verify` on real Kafka: a true copy is equal, and every way in which a copy can be wrong
//! is found at its offset.
//!
//! It never skips. The wrong copies are made by our own producer, without isolog.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use bytes::Bytes;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::batch::Record;
use protocol_tests::broker::codec::Codec;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::isolog_once;
use protocol_tests::real::room;
use serde_json::Value;

/// The time of the first record.
const TIME_MS: i64 = 1_700_000_000_000;
/// Records of a batch.
const COUNT: usize = 50;
/// Batches of a topic.
const BATCHES: usize = 6;
/// What a mirror topic has.
const MIRROR: [(&str, &str); 3] = [
    ("compression.type", "producer"),
    ("message.timestamp.type", "CreateTime"),
    ("message.timestamp.after.max.ms", "9223372036854775807"),
];

fn record(n: usize) -> Record {
    let header = |name: &str| {
        (Bytes::copy_from_slice(name.as_bytes()), Some(Bytes::copy_from_slice(name.as_bytes())))
    };
    let value = format!("value {n} {}", "x".repeat(n % 97));
    Record {
        headers: vec![header("first"), header("second")],
        ..Record::new(&format!("key-{n}"), &value)
    }
}

/// The batches of every topic here; `change` may alter records by their offset.
fn batches(codec: Codec, change: impl Fn(usize, Record) -> Option<Record>) -> Vec<Build> {
    let batch = |at: usize| {
        let offsets = at * COUNT..(at + 1) * COUNT;
        let records = offsets.filter_map(|n| change(n, record(n))).collect();
        Build::new(TIME_MS + (at * COUNT) as i64, records).codec(codec)
    };
    (0..BATCHES).map(batch).collect()
}

fn write(hand: &Hand, topic: &str, batches: &[Build]) {
    hand.create(topic, 1, 1, &MIRROR).unwrap();
    for batch in batches {
        hand.produce(topic, 0, batch).unwrap();
    }
}

struct Pair {
    source: RealCluster,
    _destination: RealCluster,
    hands: [Hand; 2],
    spec: IsologSpec,
}

impl Pair {
    fn start(version: &str) -> Self {
        // the records of this test are older than any default retention
        let cluster = || RealSpec::new(version, 1).prop("log.retention.ms", "-1");
        let (source, destination) = RealCluster::both(cluster(), cluster()).unwrap();
        let hands = [Hand::new(source.bootstrap()), Hand::new(destination.bootstrap())];
        let spec = IsologSpec::new(source.bootstrap(), destination.bootstrap(), &["v-*"]);
        Self { source, _destination: destination, hands, spec }
    }

    /// Exit code and the report of one topic.
    fn verify(&self, topic: &str, more: &[&str]) -> (i32, Value) {
        let mut args = vec!["verify", "--json", "--topic", topic];
        args.extend(more);
        let output = isolog_once(&self.spec, &args).unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let reports: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {said}{}", String::from_utf8_lossy(&output.stdout)));
        (output.status.code().unwrap(), reports[0].clone())
    }

    /// What is found in a copy whose records were changed.
    fn found(
        &self,
        topic: &str,
        codecs: [Codec; 2],
        change: impl Fn(usize, Record) -> Option<Record>,
    ) -> (i32, Vec<(i64, String)>) {
        write(&self.hands[0], topic, &batches(codecs[0], |_, record| Some(record)));
        write(&self.hands[1], topic, &batches(codecs[1], change));
        let (code, report) = self.verify(topic, &[]);
        let all = report["partitions"][0]["differences"].as_array().unwrap().clone();
        let one = |one: &Value| {
            (one["offset"].as_i64().unwrap(), one["what"].as_str().unwrap().to_owned())
        };
        (code, all.iter().map(one).collect())
    }
}

fn only(
    at: usize,
    change: impl Fn(Record) -> Option<Record>,
) -> impl Fn(usize, Record) -> Option<Record> {
    move |n, record| if n == at { change(record) } else { Some(record) }
}

fn flipped(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    bytes.into()
}

/// A flipped bit, a missing record, swapped headers, a shifted time, each at offset 137.
fn every_fault_is_found(pair: &Pair, name: &str, codecs: [Codec; 2]) {
    let topic = |fault: &str| format!("v-{name}-{fault}");
    let one = |what: &str| (5, vec![(137, what.to_owned())]);
    assert_eq!(pair.found(&topic("none"), codecs, |_, r| Some(r)), (0, vec![]));
    let bit = only(137, |r| Some(Record { value: r.value.as_ref().map(flipped), ..r }));
    assert_eq!(pair.found(&topic("bit"), codecs, bit), one("value"));
    let key = only(137, |r| Some(Record { key: r.key.as_ref().map(flipped), ..r }));
    assert_eq!(pair.found(&topic("key"), codecs, key), one("key"));
    let swap =
        only(137, |r| Some(Record { headers: r.headers.iter().rev().cloned().collect(), ..r }));
    assert_eq!(pair.found(&topic("swap"), codecs, swap), one("header_order"));
    let header = only(137, |r| Some(Record { headers: r.headers[..1].to_vec(), ..r }));
    assert_eq!(pair.found(&topic("header"), codecs, header), one("headers"));

    let (code, found) = pair.found(&topic("missing"), codecs, only(137, |_| None));
    assert_eq!((code, &found[0]), (5, &(137, "key".to_owned())), "all behind it moved up");
    assert_eq!(found.len(), 10, "the first ten are shown");
}

/// Faults that a batch's own header can make: times and offsets.
fn times_and_holes_are_found(pair: &Pair) {
    let topic = "v-time";
    write(&pair.hands[0], topic, &batches(Codec::None, |_, r| Some(r)));
    let mut copy = batches(Codec::None, |_, r| Some(r));
    copy[2].records[37].timestamp_delta += 1;
    write(&pair.hands[1], topic, &copy);
    let (code, report) = pair.verify(topic, &[]);
    let difference = &report["partitions"][0]["differences"][0];
    assert_eq!((code, &difference["offset"]), (5, &Value::from(137)), "{report}");
    assert_eq!(difference["what"], "timestamp");
    let [ours, theirs] = ["source", "destination"].map(|side| &difference[side]["timestamp"]);
    assert_eq!(ours.as_i64().unwrap() + 1, theirs.as_i64().unwrap(), "both records are shown");

    // a hidden filler where the source has a record is a missing record
    let topic = "v-filler";
    let source = batches(Codec::None, |_, r| Some(r));
    write(&pair.hands[0], topic, &source);
    let copy = [source[0].clone(), Build::fillers(TIME_MS, COUNT, None).producer(7_000_000, 0, 0)];
    write(&pair.hands[1], topic, &copy);
    for batch in &source[2..] {
        pair.hands[1].produce(topic, 0, batch).unwrap();
    }
    let (code, report) = pair.verify(topic, &[]);
    let one = &report["partitions"][0];
    assert_eq!((code, &one["tally"]["differences"]), (5, &Value::from(COUNT)), "{one}");
    assert_eq!(one["differences"][0]["what"], "missing");
    assert_eq!(one["differences"][0]["offset"], 50);
    assert_eq!((&one["fillers"], &one["tally"]["records"]), (&Value::from(50), &Value::from(250)));
}

/// A copy that isolog made is equal, beside a producer that goes on, and in two parts by a state
/// file.
fn a_true_copy_is_equal(pair: &Pair) {
    let topic = "v-true";
    write(&pair.hands[0], topic, &batches(Codec::None, |_, r| Some(r)));
    let isolog = Isolog::start(&pair.spec).unwrap();
    isolog.wait_copied(topic, 0, (BATCHES * COUNT) as i64);
    let (code, report) = pair.verify(topic, &[]);
    let one = &report["partitions"][0];
    assert_eq!((code, &one["verdict"]), (0, &Value::from("equal")), "{report}");
    assert_eq!((&one["from"], &one["to"]), (&Value::from(0), &Value::from(300)));
    assert_eq!(one["tally"]["batches_alike"], BATCHES, "the copy's bytes are the source's");
    drop(isolog);
    // the source goes on and nobody copies: the rest is told and not counted
    pair.hands[0].produce(topic, 0, &batches(Codec::None, |_, r| Some(r))[0]).unwrap();
    let state = pair.source.dir().join("verify.json");
    let _old = std::fs::remove_file(&state);
    let (code, report) = pair.verify(topic, &["--state", state.to_str().unwrap()]);
    let one = &report["partitions"][0];
    assert_eq!((code, &one["note"]), (0, &Value::from("the destination is 50 behind")));
    // the same again finds everything done
    let (code, again) = pair.verify(topic, &["--state", state.to_str().unwrap()]);
    assert_eq!((code, &again["partitions"][0]["tally"]), (0, &one["tally"]));
    std::fs::remove_file(&state).unwrap();
}

/// Two sites compare digests without moving records: equal whatever the codec and the framing, and
/// the range of a flipped bit is named.
fn digests_tell_the_same(pair: &Pair) {
    let digest = |topic: &str, more: &[&str]| {
        let mut args = vec!["digest", "--topic", topic, "--range", "100"];
        args.extend(more);
        let output = isolog_once(&pair.spec, &args).unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let file = pair.source.dir().join("digest");
    let path = file.to_str().unwrap();
    for (topic, want, said) in [
        ("v-packed-none", 0, "3 ranges equal, 0 different"),
        ("v-packed-bit", 5, "v-packed-bit-0 100..200: DIFFERENT"),
    ] {
        let (code, lines) = digest(topic, &["--side", "source"]);
        assert_eq!((code, lines.lines().count()), (0, 4), "{lines}");
        std::fs::write(&file, &lines).unwrap();
        let (code, told) = digest(topic, &["--side", "destination", "--against", path]);
        assert_eq!(code, want, "{told}");
        assert!(told.contains(said), "{told}");
    }
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn verify_finds_what_is_wrong_in_a_copy_on_an_older_broker() {
    let _room = room(2);
    let pair = Pair::start("3.9.1");
    every_fault_is_found(&pair, "older", [Codec::Lz4, Codec::Snappy]);
}

#[test]
fn verify_finds_what_is_wrong_in_a_copy() {
    let _room = room(2);
    let pair = Pair::start("4.3.1");
    every_fault_is_found(&pair, "plain", [Codec::None; 2]);
    every_fault_is_found(&pair, "packed", [Codec::Gzip, Codec::Zstd]);
    digests_tell_the_same(&pair);
    times_and_holes_are_found(&pair);
    a_true_copy_is_equal(&pair);
}
