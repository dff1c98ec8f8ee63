//! The topics of the gallery: how each is made, written, cut and closed.
//!
//! It never waits for isolog.

use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use protocol_tests::broker::batch::Build;
use protocol_tests::broker::batch::Record;
use protocol_tests::real::Hand;
use protocol_tests::real::Load;
use protocol_tests::real::LoadSpec;
use protocol_tests::real::now_ms;
use protocol_tests::world::kinds::ANSWERED;
use protocol_tests::world::kinds::Trait;

/// Partitions of each topic.
pub const PARTITIONS: i32 = 2;
/// Where the emptied topic ends.
const EMPTIED_AT: usize = 37;
/// For how long the producers may need to begin.
const BEGIN_MAX: Duration = Duration::from_secs(180);
/// How far ahead the record lies that closes the segment before it.
const AHEAD_MS: i64 = 3_000_000;

/// Which topics are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
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
    &[("cleanup.policy", "compact"), ("segment.ms", "3000"), ("min.cleanable.dirty.ratio", "0.01")];
const COMPACT_DELETE: &[(&str, &str)] = &[
    ("cleanup.policy", "compact,delete"),
    ("segment.ms", "3000"),
    ("min.cleanable.dirty.ratio", "0.01"),
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
const EMPTIED: Row = ("g-emptied", "none", &[], false, false);

fn exhibit(row: &Row) -> Exhibit {
    let (name, _, configs, is_compacted, is_trimmed) = *row;
    let is_trimmed = is_trimmed && ANSWERED.contains(&Trait::Trimmed);
    Exhibit { name, configs: configs.to_vec(), is_compacted, is_trimmed }
}

fn rows(set: Set) -> Vec<&'static [Row]> {
    match set {
        Set::Modern => vec![PLAIN, KEYED, TRANSACTIONAL],
        Set::Old => vec![OLD, TRANSACTIONAL],
    }
}

impl Exhibit {
    /// Every topic of a set.
    pub fn all(set: Set) -> Vec<Self> {
        let mut all: Vec<Self> = rows(set).into_iter().flatten().map(exhibit).collect();
        all.extend(ANSWERED.contains(&Trait::Trimmed).then(|| exhibit(&EMPTIED)));
        all
    }

    /// Whether it holds format 0 or 1.
    pub fn is_old(&self) -> bool {
        self.configs.iter().any(|(key, _)| *key == "message.format.version")
    }

    /// Makes the topic at the source.
    pub fn create(&self, source: &Hand, replicas: i16) {
        source.create(self.name, PARTITIONS, replicas, &self.configs).unwrap();
    }

    /// What lies in the log before isolog sees it: starts above zero, also inside of a batch.
    pub fn prepare(&self, source: &Hand) {
        for partition in 0..PARTITIONS {
            if self.name == EMPTIED.0 {
                let batch = Build::plain(now_ms(), "gone", EMPTIED_AT);
                source.produce(self.name, partition, &batch).unwrap();
                source.delete_records(self.name, partition, EMPTIED_AT as i64).unwrap();
            } else if self.is_trimmed {
                let (_, end) = source.ends(self.name, partition).unwrap();
                source.delete_records(self.name, partition, end / 2 + 1).unwrap();
            }
        }
    }

    /// Closes the last segment of a compacted topic, so that the cleaners take all before it.
    pub fn close(&self, source: &Hand) {
        for partition in (0..PARTITIONS).filter(|_| self.is_compacted) {
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

/// Waits until every topic that is written to has some records.
pub fn wait_written(all: &[Exhibit], source: &Hand, records: i64) {
    let until = Instant::now() + BEGIN_MAX;
    for exhibit in all.iter().filter(|one| one.name != EMPTIED.0) {
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
