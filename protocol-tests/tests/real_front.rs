//! How fast the front of a log is filled on a real broker: isolog beside the broker's own ceiling,
//! a loop that does nothing but send the same filler batches, five in flight.
//!
//! It never skips, and never judges a time: the rates are printed. The debug build fills 10^6
//! offsets; for a number worth quoting:
//!
//! ```text
//! cargo build --release --bin isolog
//! ISOLOG_BIN=$PWD/target/release/isolog ISOLOG_FRONT=1e8 \
//!   cargo test -p protocol-tests --test real_front -- --nocapture
//! ```

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
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
use protocol_tests::check::batches_equal;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::turn;

const TOPIC: &str = "front";
const VERSION: i16 = 9;
const IN_FLIGHT: usize = 5;
/// The first seconds of a copy are not the rate: looks at both logs, and the first batch alone.
const WARM: f64 = 0.1;

/// Sends fillers up to `end` and nothing else; offsets a second.
struct Loop {
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
            topic: TopicRef::Name(TopicName::new(TOPIC).unwrap()),
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

fn ceiling(cluster: &RealCluster, batches: i64) -> f64 {
    let address = cluster.bootstrap().split(',').next().unwrap();
    let mut filling = Loop {
        stream: TcpStream::connect(address).unwrap(),
        batch: filler::filler(Kind::Hidden, Offset::ZERO, COUNT_MAX, filler::NO_TIMESTAMP),
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
    let _turn = turn();
    let wanted = std::env::var("ISOLOG_FRONT").ok().and_then(|text| text.parse::<f64>().ok());
    let batches = (wanted.unwrap_or(1e6) / f64::from(COUNT_MAX)).ceil() as i64;
    let front = batches * i64::from(COUNT_MAX);
    let source = RealCluster::start(RealSpec::new("4.3.1", 1)).unwrap();
    let destination = RealCluster::start(RealSpec::new("4.3.1", 1)).unwrap();
    let (ours, theirs) = (Hand::new(source.bootstrap()), Hand::new(destination.bootstrap()));
    ours.create(TOPIC, 1, 1, &[("compression.type", "producer")]).unwrap();
    let ceiling = ceiling(&source, batches);
    ours.produce(TOPIC, 0, &Build::plain(1_790_000_000_000, "first", 10)).unwrap();
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
