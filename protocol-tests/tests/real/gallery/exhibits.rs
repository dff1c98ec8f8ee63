//! The topics of the gallery: how each is made, written, cut and closed.
//!
//! It never waits for isolog.

use std::ops::Range;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use isolog::ids::Offset;
use isolog::wire::filler;
use isolog::wire::filler::COUNT_MAX;
use isolog::wire::filler::Kind;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::batch::Record;
use protocol_tests::broker::codec::Codec;
use protocol_tests::real::Hand;
use protocol_tests::real::Load;
use protocol_tests::real::LoadSpec;
use protocol_tests::real::now_ms;

/// Partitions of each topic.
pub const PARTITIONS: i32 = 2;
/// Where the emptied topic ends.
const EMPTIED_AT: usize = 37;
/// Records before the hole and behind the front.
const FEW: i64 = 10;
/// For how long the producers may need to begin, and the source's cleaner to make the hole.
const BEGIN_MAX: Duration = Duration::from_secs(600);
/// How far ahead the record lies that closes the segment before it.
const AHEAD_MS: i64 = 3_000_000;

/// Which topics are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// What today's brokers write.
    Modern,
    /// What 2.8 wrote for clients that knew formats 0 and 1.
    Old,
}

/// One topic.
#[derive(Clone, Debug)]
pub struct Exhibit {
    /// Its name, which begins with `g-`.
    pub name: &'static str,
    configs: Vec<(&'static str, &'static str)>,
    /// A cleaner runs over it on both sides.
    pub is_compacted: bool,
    is_trimmed: bool,
}

const COMPACT: &[(&str, &str)] =
    &[("cleanup.policy", "compact"), ("segment.ms", "3000"), ("min.cleanable.dirty.ratio", "0")];
const COMPACT_DELETE: &[(&str, &str)] = &[
    ("cleanup.policy", "compact,delete"),
    ("segment.ms", "3000"),
    ("min.cleanable.dirty.ratio", "0"),
];
const BROKERS_TIME: &[(&str, &str)] = &[("message.timestamp.type", "LogAppendTime")];
const FORMAT_0: &[(&str, &str)] = &[("message.format.version", "0.9.0")];
const FORMAT_1: &[(&str, &str)] = &[("message.format.version", "0.10.0")];
const FORMAT_1_BROKERS_TIME: &[(&str, &str)] =
    &[("message.format.version", "0.10.0"), ("message.timestamp.type", "LogAppendTime")];

/// Name, codec, configs, is compacted, is trimmed.
type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)], bool, bool);

const PLAIN: &[Row] = &[
    ("g-plain", "lz4", &[], false, false),
    ("g-brokers-time", "none", BROKERS_TIME, false, false),
    ("g-brokers-time-zstd", "zstd", BROKERS_TIME, false, false),
    ("g-trimmed", "snappy", &[], false, true),
];
const KEYED: &[Row] = &[
    ("g-compacted", "none", COMPACT, true, false),
    ("g-compacted-gzip", "gzip", COMPACT, true, false),
    ("g-compacted-trimmed", "zstd", COMPACT_DELETE, true, true),
];
const TRANSACTIONAL: &[Row] = &[
    ("g-txn", "none", &[], false, false),
    ("g-txn-lz4-trimmed", "lz4", &[], false, true),
    ("g-txn-compacted", "gzip", COMPACT, true, false),
    ("g-txn-brokers-time", "zstd", BROKERS_TIME, false, false),
];
const OLD: &[Row] = &[
    ("g-old-0", "none", FORMAT_0, false, false),
    ("g-old-0-gzip", "gzip", FORMAT_0, false, false),
    ("g-old-0-lz4", "lz4", FORMAT_0, false, false),
    ("g-old-1", "none", FORMAT_1, false, true),
    ("g-old-1-snappy", "snappy", FORMAT_1, false, false),
    ("g-old-1-brokers-time", "gzip", FORMAT_1_BROKERS_TIME, false, false),
];
/// What is there before isolog, and what no producer writes to: a log that was emptied, one that
/// starts far above zero, and one in whose middle compaction left a large hole.
const STILL: &[Row] = &[EMPTIED, FRONT, HOLE];
const EMPTIED: Row = ("g-emptied", "none", &[], false, false);
const FRONT: Row = ("g-front", "none", &[], false, false);
const HOLE: Row = ("g-hole", "none", COMPACT, true, false);

fn exhibit(row: &Row) -> Exhibit {
    let (name, _, configs, is_compacted, is_trimmed) = *row;
    Exhibit { name, configs: configs.to_vec(), is_compacted, is_trimmed }
}

fn rows(set: Set) -> Vec<&'static [Row]> {
    match set {
        Set::Modern => vec![PLAIN, KEYED, TRANSACTIONAL],
        Set::Old => vec![OLD, TRANSACTIONAL],
    }
}

impl Exhibit {
    /// Its copy is compacted only when what lies below its start is gone.
    pub fn is_staged(&self) -> bool {
        self.is_compacted && self.is_trimmed
    }

    /// Every topic of a set; not `whole`, without those whose logs do not start at 0 or lie still.
    pub fn all(set: Set, whole: bool) -> Vec<Self> {
        let written: Vec<Self> = rows(set).into_iter().flatten().map(exhibit).collect();
        if whole {
            return written.into_iter().chain(STILL.iter().map(exhibit)).collect();
        }
        written.into_iter().map(|one| Self { is_trimmed: false, ..one }).collect()
    }

    fn is_still(&self) -> bool {
        STILL.iter().any(|row| row.0 == self.name)
    }

    /// Whether a cleaner takes almost everything of it.
    fn is_holed(&self) -> bool {
        self.name == HOLE.0
    }

    /// Whether it holds format 0 or 1.
    pub fn is_old(&self) -> bool {
        self.configs.iter().any(|(key, _)| *key == "message.format.version")
    }

    /// Makes the topic at the source.
    pub fn create(&self, source: &Hand, replicas: i16) {
        source.create(self.name, PARTITIONS, replicas, &self.configs).unwrap();
    }

    /// What lies in the log before isolog sees it: starts above zero, also inside of a batch, and a
    /// hole; the front and the hole are `deep` times the offsets of the largest filler.
    pub fn prepare(&self, source: &Hand, deep: u32) {
        for partition in 0..PARTITIONS {
            match self.name {
                name if name == EMPTIED.0 => self.empty(source, partition),
                name if name == FRONT.0 => self.cut_front(source, partition, deep),
                name if name == HOLE.0 => self.write_hole(source, partition, deep),
                name if self.is_trimmed => {
                    let (_, end) = source.ends(name, partition).unwrap();
                    source.delete_records(name, partition, end / 2 + 1).unwrap();
                }
                _ => {}
            }
        }
        if self.is_holed() {
            self.wait_hole(source);
        }
    }

    fn write_few(&self, source: &Hand, partition: i32, tag: &str) {
        let batch = Build::plain(now_ms(), tag, FEW as usize);
        source.produce(self.name, partition, &batch).unwrap();
    }

    fn empty(&self, source: &Hand, partition: i32) {
        let batch = Build::plain(now_ms(), "gone", EMPTIED_AT);
        source.produce(self.name, partition, &batch).unwrap();
        source.delete_records(self.name, partition, EMPTIED_AT as i64).unwrap();
    }

    fn cut_front(&self, source: &Hand, partition: i32, deep: u32) {
        let gone = filler::filler(Kind::Hidden, Offset::ZERO, COUNT_MAX, filler::NO_TIMESTAMP);
        for _ in 0..deep {
            source.produce_bytes(self.name, partition, gone.to_bytes()).unwrap();
        }
        self.write_few(source, partition, "behind");
        source.delete_records(self.name, partition, i64::from(deep * COUNT_MAX)).unwrap();
    }

    /// One key again and again: the cleaner leaves its last record.
    fn write_hole(&self, source: &Hand, partition: i32, deep: u32) {
        self.write_few(source, partition, "before");
        let mut again = Build::new(now_ms(), vec![Record::new("x", ""); COUNT_MAX as usize]);
        again.records.iter_mut().for_each(|record| record.timestamp_delta = 0);
        let again = again.codec(Codec::Gzip).bytes();
        for _ in 0..deep {
            source.produce_bytes(self.name, partition, again.clone()).unwrap();
        }
        let closing = Build::new(now_ms() + AHEAD_MS, vec![Record::new("closing", "x")]);
        source.produce(self.name, partition, &closing).unwrap();
    }

    fn wait_hole(&self, source: &Hand) {
        let until = Instant::now() + BEGIN_MAX;
        for partition in 0..PARTITIONS {
            while source.log(self.name, partition).unwrap().batches.len() > 3 {
                assert!(Instant::now() < until, "{} is not cleaned", self.name);
                sleep(Duration::from_millis(500));
            }
        }
    }

    /// Closes the last segment of a compacted partition, so that the cleaners take all before it.
    pub fn close(&self, source: &Hand, partition: i32) {
        if self.is_compacted {
            let closing = Build::new(now_ms() + AHEAD_MS, vec![Record::new("closing", "x")]);
            source.produce(self.name, partition, &closing).unwrap();
        }
    }
}

/// Producers over the whole set: one for each manner of writing, two where transactions
/// interleave.
pub fn start_loads(set: Set, bootstrap: &str, rate: u64) -> Vec<Load> {
    let start = |rows: &[Row], more: &[&str]| {
        let topics = rows.iter().map(|row| (row.0.to_owned(), row.1.to_owned())).collect();
        let more = more.iter().map(|one| (*one).to_owned()).collect();
        let spec = LoadSpec { topics, create: None, records: None, rate: Some(rate), more };
        Load::start(bootstrap, &spec).unwrap()
    };
    let txn = |id: &str, seed: &str| {
        let shape = ["--keys", "150", "--tombstone-percent", "5", "--txn", "40"];
        let more = ["--abort-percent", "30", "--txn-id", id, "--seed", seed, "--size", "100"];
        start(TRANSACTIONAL, &[&shape[..], &more[..]].concat())
    };
    let mut loads = vec![txn("one", "1"), txn("two", "2")];
    match set {
        Set::Modern => {
            loads.push(start(PLAIN, &[]));
            let keyed = ["--keys", "200", "--tombstone-percent", "10", "--size", "100"];
            loads.push(start(KEYED, &keyed));
        }
        Set::Old => loads.push(start(OLD, &["--idempotent", "false", "--headerless"])),
    }
    loads
}

/// The topic with the large hole, and where that lies.
pub fn hole(deep: u32) -> (&'static str, Range<i64>) {
    (HOLE.0, FEW..FEW + i64::from(deep * COUNT_MAX) - 1)
}

/// Waits until every topic that is written to has some records.
pub fn wait_written(all: &[Exhibit], source: &Hand, records: i64) {
    let until = Instant::now() + BEGIN_MAX;
    for exhibit in all.iter().filter(|one| !one.is_still()) {
        while source.ends(exhibit.name, 0).unwrap().1 < records {
            assert!(Instant::now() < until, "nothing is written to {}", exhibit.name);
            sleep(Duration::from_millis(200));
        }
    }
}

/// How many offsets the copies hold in all.
pub fn copied(all: &[Exhibit], destination: &Hand) -> i64 {
    let ends = all.iter().flat_map(|exhibit| {
        (0..PARTITIONS).filter_map(|partition| destination.ends(exhibit.name, partition).ok())
    });
    ends.map(|(_, end)| end).sum()
}

/// Moves the starts of the trimmed topics on, never past what the copy holds.
pub fn trim(all: &[Exhibit], source: &Hand, destination: &Hand) {
    for exhibit in all.iter().filter(|one| one.is_trimmed) {
        for partition in 0..PARTITIONS {
            let Ok((_, copied)) = destination.ends(exhibit.name, partition) else { continue };
            let (start, _) = source.ends(exhibit.name, partition).unwrap();
            let to = start + (copied - start) / 3;
            if to > start {
                source.delete_records(exhibit.name, partition, to).unwrap();
            }
        }
    }
}
