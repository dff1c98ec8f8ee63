//! How fast the front of a log and the gaps in its middle are filled on a real broker: isolog
//! beside the broker's own ceiling, a loop that does nothing but send the same filler batches, five
//! in flight.
//!
//! It never skips, and never judges a time: the rates are printed. The debug build fills 10^6
//! offsets of front and two gaps of 10^5; for a number worth quoting:
//!
//! ```text
//! cargo build --release --bin isolog
//! ISOLOG_BIN=$PWD/target/release/isolog ISOLOG_KAFKA_JAVA_OPTS= \
//!   ISOLOG_FRONT=1e8 ISOLOG_GAPS=10 \
//!   cargo test -p protocol-tests --test real front -- --nocapture
//! ```

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::ops::Range;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use isolog::ids::Offset;
use isolog::ids::PartitionId;
use isolog::ids::ProducerId;
use isolog::ids::TopicName;
use isolog::wire::batch::BatchView;
use isolog::wire::filler;
use isolog::wire::filler::COUNT_MAX;
use isolog::wire::filler::Kind;
use isolog::wire::frame;
use isolog::wire::produce::AppendAnswer;
use isolog::wire::produce::AppendAsk;
use isolog::wire::produce::AppendEntry;
use isolog::wire::rewrite::Writer;
use isolog::wire::rewrite::rewrite;
use isolog::wire::topic::TopicRef;
use isolog::wire::versions::ApiKey;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::batch::Record;
use protocol_tests::broker::codec::Codec;
use protocol_tests::check::batches_equal;
use protocol_tests::real::DumpSpec;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::Reader;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::assert_equal;
use protocol_tests::real::dump;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;

const TOPIC: &str = "front";
const GAPS: &str = "gaps";
/// Records before the first gap, between two and behind the last.
const FEW: usize = 10;
/// How far ahead the record lies that closes the source's segment, so that its cleaner takes it.
const AHEAD_MS: i64 = 3_000_000;
/// So often, a second apart, it is looked at whether the source is cleaned.
const CLEANED_LOOKS: usize = 600;
const VERSION: i16 = 9;
const IN_FLIGHT: usize = 5;
/// The first seconds of a copy are not the rate: looks at both logs, and the first batch alone.
const WARM: f64 = 0.1;

/// Sends fillers up to `end` and nothing else; offsets a second.
struct Loop {
    topic: TopicName,
    stream: TcpStream,
    batch: BatchView,
    sent: i32,
    answered: i32,
}

impl Loop {
    fn send(&mut self, base: i64) {
        // the offset stands outside of the checksum
        let header = [&base.to_be_bytes()[..], &self.batch.header()[8..]].concat();
        let batch = BatchView::from_parts(header.into(), self.batch.records()).unwrap();
        let writer = Writer { id: ProducerId(1 << 62), epoch: 0 };
        let entry = AppendEntry {
            topic: TopicRef::Name(self.topic.clone()),
            partition: PartitionId(0),
            batch: rewrite(&batch, writer),
        };
        let chain = AppendAsk { timeout_ms: 30_000, entries: vec![entry] }.encode(VERSION).unwrap();
        let bytes = chain.bytes_count;
        let head = frame::request_head(ApiKey::Produce, VERSION, self.sent, "loop", bytes).unwrap();
        self.stream.write_all(&head).unwrap();
        chain.pieces.iter().for_each(|piece| self.stream.write_all(piece).unwrap());
        self.sent += 1;
    }

    fn answer(&mut self, base: i64) {
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix).unwrap();
        let mut body = vec![0; frame::response_size(prefix, 1 << 20).unwrap()];
        self.stream.read_exact(&mut body).unwrap();
        let body = frame::response_body(Bytes::from(body), ApiKey::Produce, self.answered).unwrap();
        let answer = AppendAnswer::decode(body, VERSION).unwrap();
        assert_eq!(answer.partitions[0].base_offset, Offset::new(base), "{answer:?}");
        self.answered += 1;
    }
}

fn ceiling(cluster: &RealCluster, topic: &str, kind: Kind, batches: i64) -> f64 {
    let address = cluster.bootstrap().split(',').next().unwrap();
    let mut filling = Loop {
        topic: TopicName::new(topic).unwrap(),
        stream: TcpStream::connect(address).unwrap(),
        batch: filler::filler(kind, Offset::ZERO, COUNT_MAX, filler::NO_TIMESTAMP),
        sent: 0,
        answered: 0,
    };
    let count = i64::from(COUNT_MAX);
    let began = Instant::now();
    for place in 0..batches + IN_FLIGHT as i64 {
        if place >= IN_FLIGHT as i64 {
            filling.answer((place - IN_FLIGHT as i64) * count);
        }
        if place < batches {
            filling.send(place * count);
        }
    }
    (batches * count) as f64 / began.elapsed().as_secs_f64()
}

/// Offsets a second of the last part of the front.
fn copy(isolog: &Isolog, hand: &Hand, front: i64) -> f64 {
    let at = |hand: &Hand| hand.ends(TOPIC, 0).map_or(0, |ends| ends.1);
    let warm = (front as f64 * WARM) as i64;
    let (from, began) = isolog.wait_for("the front has begun", 60, |_| {
        let end = at(hand);
        (end > warm).then(|| (end, Instant::now()))
    });
    isolog.wait_for("the front is whole", 600, |_| (at(hand) >= front).then_some(()));
    (front - from) as f64 / began.elapsed().as_secs_f64()
}

#[test]
fn a_front_is_filled_and_what_stands_behind_it_is_copied() {
    let _room = room(2);
    let wanted = std::env::var("ISOLOG_FRONT").ok().and_then(|text| text.parse::<f64>().ok());
    let batches = (wanted.unwrap_or(1e6) / f64::from(COUNT_MAX)).ceil() as i64;
    let front = batches * i64::from(COUNT_MAX);
    let (source, destination) = RealCluster::plain_pair("4.3.1").unwrap();
    let (ours, theirs) = (Hand::new(source.bootstrap()), Hand::new(destination.bootstrap()));
    ours.create(TOPIC, 1, 1, &[("compression.type", "producer")]).unwrap();
    let ceiling = ceiling(&source, TOPIC, Kind::Hidden, batches);
    ours.produce(TOPIC, 0, &Build::plain(now_ms(), "first", 10)).unwrap();
    ours.delete_records(TOPIC, 0, front).unwrap();

    let began = Instant::now();
    let spec = IsologSpec::new(source.bootstrap(), destination.bootstrap(), &[TOPIC]);
    let isolog = Isolog::start(&spec).unwrap();
    let rate = copy(&isolog, &theirs, front);
    isolog.wait_for("both logs are the same", 400, |_| {
        (theirs.ends(TOPIC, 0).ok()? == (front, front + 10)).then_some(())
    });
    println!(
        "{front} offsets: isolog {:.2} million a second, the loop {:.2} million, ratio {:.2}; \
         from the start of isolog to equal logs {:.1} s",
        rate / 1e6,
        ceiling / 1e6,
        rate / ceiling,
        began.elapsed().as_secs_f64()
    );
    let (source, copy) = (ours.log(TOPIC, 0).unwrap(), theirs.log(TOPIC, 0).unwrap());
    let differ = batches_equal(&source, &copy, front, front + 10);
    assert!(differ.is_empty(), "{differ:#?}");
}

/// Writes gaps between a few records each, and waits until the source's cleaner has made them;
/// where each begins and ends.
fn make_gaps(hand: &Hand, gaps: i64, batches: i64) -> Vec<Range<i64>> {
    let few = |time: i64, tag: &str| {
        // each has a key of its own: the cleaner takes none of them
        let records = (0..FEW).map(|n| Record::new(&format!("{tag} {n}"), "x")).collect();
        hand.produce(GAPS, 0, &Build::new(time, records)).unwrap();
        hand.ends(GAPS, 0).unwrap().1
    };
    let mut again = Build::new(now_ms(), vec![Record::new("x", ""); COUNT_MAX as usize]);
    again.records.iter_mut().for_each(|record| record.timestamp_delta = 0);
    let again = again.codec(Codec::Gzip).bytes();
    let mut made = Vec::new();
    for gap in 0..gaps {
        let from = few(now_ms(), &format!("before {gap}"));
        for _ in 0..batches {
            hand.produce_bytes(GAPS, 0, again.clone()).unwrap();
        }
        made.push(from..from + batches * i64::from(COUNT_MAX));
    }
    few(now_ms(), "behind");
    few(now_ms() + AHEAD_MS, "closing");
    // of all the gaps one record stays, for no later one has its key
    let left = gaps as usize + 2 + 1;
    for _ in 0..CLEANED_LOOKS {
        if hand.log(GAPS, 0).unwrap().batches.len() <= left {
            return made;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    panic!("the source's cleaner has not made the gaps");
}

/// A counter of isolog's once it has come to rest: metrics are told by beats.
fn told(isolog: &Isolog, name: &str) -> f64 {
    let name = format!("isolog_partition_{name}_total");
    isolog.wait_for("the metrics", 90, |isolog| {
        let before = isolog.metric(&name, GAPS);
        std::thread::sleep(Duration::from_secs(2));
        (before > 0.0 && isolog.metric(&name, GAPS) == before).then_some(before)
    })
}

/// Must show: gaps of 10^6 offsets in the middle, with their time and bytes.
#[test]
fn gaps_in_the_middle_are_filled() {
    let _room = room(2);
    let wanted = std::env::var("ISOLOG_GAPS").ok().and_then(|text| text.parse::<i64>().ok());
    // a gap of a million, or of two fillers where nobody wants a number
    let (gaps, batches) = wanted.map_or((2, 2), |gaps| (gaps, 11));
    let cleaned = || RealSpec::new("4.3.1", 1).prop("log.cleaner.backoff.ms", "400");
    let (source, destination) = RealCluster::both(cleaned(), cleaned()).unwrap();
    let (ours, theirs) = (Hand::new(source.bootstrap()), Hand::new(destination.bootstrap()));
    let compacted = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "600000"),
        ("min.cleanable.dirty.ratio", "0"),
    ];
    ours.create(GAPS, 1, 1, &compacted).unwrap();
    let made = make_gaps(&ours, gaps, batches);
    theirs.create("ceiling", 1, 1, &[("compression.type", "producer")]).unwrap();
    let ceiling = ceiling(&destination, "ceiling", Kind::HiddenKeyed, gaps * batches);

    let spec = IsologSpec::new(source.bootstrap(), destination.bootstrap(), &[GAPS]);
    let isolog = Isolog::start(&spec).unwrap();
    let at = || theirs.ends(GAPS, 0).map_or(0, |ends| ends.1);
    let began = isolog.wait_for("the copy has begun", 60, |_| (at() > 0).then(Instant::now));
    let (_, end) = ours.ends(GAPS, 0).unwrap();
    isolog.wait_for("the gaps are filled", 400, |_| (at() == end).then_some(()));
    let seconds = began.elapsed().as_secs_f64();
    let filled = made.iter().map(|gap| gap.end - gap.start).sum::<i64>() - 1;
    assert_eq!(told(&isolog, "filled_offsets") as i64, filled);
    let bytes = told(&isolog, "filler_bytes");
    println!(
        "{gaps} gaps of {} offsets each: {filled} filled with {:.2} MB, {:.2} bytes an offset, \
         {:.3} s a gap, {:.2} million offsets a second; the loop {:.2} million, ratio {:.2}",
        batches * i64::from(COUNT_MAX),
        bytes / 1e6,
        bytes / filled as f64,
        seconds / gaps as f64,
        filled as f64 / seconds / 1e6,
        ceiling / 1e6,
        filled as f64 / seconds / ceiling
    );
    let everything = DumpSpec::committed(&[GAPS.to_owned()]);
    let read = dump(Reader::Java, source.bootstrap(), &everything).unwrap();
    for reader in [Reader::Java, Reader::Librdkafka] {
        assert_equal(&read, &dump(reader, destination.bootstrap(), &everything).unwrap());
    }
}
