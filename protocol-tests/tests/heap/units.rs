//! Units that unpack to a thousand times their size: they go through memory piece by piece.
//!
//! It never counts what the codecs' C libraries hold: windows, a few MiB.

use bytes::Bytes;
use isolog::flow::probe::judge::Original;
use isolog::flow::probe::judge::Verdict;
use isolog::flow::probe::judge::judge;
use isolog::ids::Offset;
use isolog::ids::ProducerId;
use isolog::wire::batch::BatchView;
use isolog::wire::codec::Codec;
use isolog::wire::codec::compress;
use isolog::wire::reframe::Bounds;
use isolog::wire::reframe::Run;
use isolog::wire::reframe::reframe_batch;
use isolog::wire::reframe::unpack::Unpacked;
use protocol_tests::broker::Build;
use protocol_tests::broker::Record;
use protocol_tests::broker::batch::HEADER_BYTES;
use protocol_tests::broker::batch::Header;
use protocol_tests::broker::batch::LOG_APPEND_TIME;

use super::HEAP;
use super::alone;

const MIB: usize = 1 << 20;
/// What a run takes besides the bytes that come of it: blocks, and the state of a library.
const BESIDES: usize = 2 * MIB;
/// What comes of it lies in a buffer that doubles as it grows.
const TIMES: usize = 4;

/// The batch of `records`, stamped by its broker, in `codec`.
fn stamped(codec: Codec, records: Vec<Record>) -> BatchView {
    let plain = Build::new(1_000, records).flags(LOG_APPEND_TIME).bytes();
    let packed = compress(codec, plain[HEADER_BYTES..].to_vec()).expect("it can be packed");
    let header = Header::read(&plain).expect("a header");
    let attributes = header.attributes | i16::from(codec.number());
    BatchView::new(Header { attributes, ..header }.write(&packed)).expect("a batch")
}

fn bounds(batch_bytes_max: Option<usize>) -> Bounds {
    Bounds { unpacked_bytes_max: 128 * MIB, held_bytes_max: 4 * MIB, batch_bytes_max }
}

/// What it makes, and the most heap that this took.
fn made(batch: &BatchView, bounds: &Bounds) -> (Vec<Run>, usize) {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let runs = reframe_batch(batch, Offset::ZERO, bounds).expect("it can be read");
    (runs, HEAP.peak_usage().saturating_sub(before))
}

fn entries(batches: &[BatchView]) -> Vec<String> {
    let mut all = Vec::new();
    for batch in batches {
        let unpacked = Unpacked::of_batch(batch, &Bounds::default()).expect("it can be read");
        let entries = unpacked.entries().expect("it holds records");
        all.extend(entries.map(|entry| format!("{:?}", entry.expect("a record"))));
    }
    all
}

/// H1: 122 KB of gzip that are 120 MiB, in a process that has 32 MiB to spend.
#[test]
fn a_unit_that_unpacks_to_a_thousand_times_its_size_is_not_held() {
    let _alone = alone();
    for (codec, mib) in
        [(Codec::Gzip, 120), (Codec::Zstd, 120), (Codec::Lz4, 24), (Codec::Snappy, 24)]
    {
        let value = Some(Bytes::from(vec![0; mib * MIB]));
        let batch = stamped(codec, vec![Record { value, ..Record::new("key", "") }]);
        let (runs, took) = made(&batch, &bounds(None));
        let max = TIMES * batch.len() + BESIDES;
        println!("{codec}: {mib} MiB out of {} bytes, {took} bytes of heap", batch.len());
        assert!(took <= max, "{codec}: {took} bytes of heap, at most {max}");
        let [Run::Batch(copy)] = &runs[..] else { panic!("{runs:?}") };
        assert_eq!((copy.count(), copy.attributes().0), (1, i16::from(codec.number())));
        let packed = [batch.len(), copy.len()];
        assert!(packed[1] < 2 * packed[0], "{codec}: packed again, {packed:?}");
        assert!(entries(&[batch]) == entries(std::slice::from_ref(copy)), "{codec}: the record");
    }
}

/// H1: before the first append, and after each restart, what both sides hold is compared.
#[test]
fn a_unit_that_unpacks_to_a_thousand_times_its_size_is_not_held_to_be_compared() {
    let _alone = alone();
    let zeros = |last: u8| {
        let mut value = vec![0; 8 * MIB];
        value.push(last);
        let record = Record { value: Some(value.into()), ..Record::new("key", "") };
        stamped(Codec::Gzip, vec![record])
    };
    let (one, other) = (zeros(0), zeros(1));
    let (copy, _) = made(&one, &bounds(None));
    let [Run::Batch(copy)] = &copy[..] else { panic!("{copy:?}") };
    for (batch, verdict) in [(one, Verdict::Equal), (other, Verdict::Unlike)] {
        let before = HEAP.current_usage();
        HEAP.reset_peak_usage();
        let original = Original { batches: vec![batch] };
        assert_eq!(judge(&original, copy, ProducerId(7)), verdict);
        let took = HEAP.peak_usage().saturating_sub(before);
        println!("{verdict:?}: {took} bytes of heap");
        assert!(took <= BESIDES, "{took} bytes of heap, at most {BESIDES}");
    }
}

/// The batches of an ordinary producer, for a destination that takes smaller ones.
#[test]
fn a_unit_that_must_be_split_is_not_held_either() {
    let _alone = alone();
    for codec in [Codec::Gzip, Codec::Zstd, Codec::Lz4, Codec::Snappy] {
        let record = |n: usize| Record::new(&format!("key-{n}"), &format!("{n} ").repeat(200));
        let batch = stamped(codec, (0..8_000).map(record).collect());
        let max = batch.len() / 3;
        let (runs, took) = made(&batch, &bounds(Some(max)));
        let heap_max = TIMES * batch.len() + BESIDES;
        println!("{codec}: {} bytes in {} batches, {took} of heap", batch.len(), runs.len());
        assert!(took <= heap_max, "{codec}: {took} bytes of heap, at most {heap_max}");
        let copies = runs.iter().map(|run| match run {
            Run::Batch(copy) => copy.clone(),
            Run::Gap { .. } => panic!("{runs:?}"),
        });
        let copies: Vec<BatchView> = copies.collect();
        assert!(copies.iter().all(|copy| copy.len() <= max) && copies.len() < 20, "{codec}");
        assert!(entries(&[batch]) == entries(&copies), "{codec}: the same records");
    }
}
