//! What a topic of a world may hold.
//!
//! It never decides what a right copy is: `verdict` does.

use crate::broker::batch::Build;
use crate::broker::batch::Record;
use crate::broker::batch::TRANSACTIONAL;
use crate::broker::codec::Codec;
use crate::broker::old::Format;
use crate::broker::old::Message;
use crate::rng::Rng;

/// One thing that makes a log more than dense plain batches.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trait {
    /// Producers in transactions, some aborted, some left open for long.
    Transactional,
    /// Keys come again, and a cleaner runs.
    Compacted,
    /// The broker's own time.
    LogAppendTime,
    /// Messages of formats 0 and 1 before the batches.
    Old,
    /// The log starts above zero, and its start moves on.
    Trimmed,
}

/// Traits that are thrown: all of them, or what `ISOLOG_KINDS` names, with commas between.
const TRAITS: [Trait; 5] =
    [Trait::Transactional, Trait::Compacted, Trait::LogAppendTime, Trait::Old, Trait::Trimmed];

fn is_thrown(one: &Trait) -> bool {
    let asked = std::env::var("ISOLOG_KINDS").ok();
    asked.is_none_or(|asked| asked.split(',').any(|name| name == format!("{one:?}")))
}

/// What one topic holds.
#[derive(Clone, Debug, Default)]
pub struct Kind {
    traits: Vec<Trait>,
    /// Keys of a compacted topic, 0 for ever new ones.
    keys: u64,
}

impl Kind {
    /// Dense plain batches and nothing else.
    pub fn plain() -> Self {
        Self::default()
    }

    /// A topic with these traits.
    pub fn of(traits: &[Trait]) -> Self {
        let keys = if traits.contains(&Trait::Compacted) { 6 } else { 0 };
        Self { traits: traits.to_vec(), keys }
    }

    /// Some of the traits, mixed; a third of the topics is plain.
    pub fn throw(rng: &mut Rng) -> Self {
        let mut traits: Vec<Trait> = TRAITS.into_iter().filter(is_thrown).collect();
        if traits.is_empty() || rng.chance(333) {
            return Self::plain();
        }
        traits.retain(|_| rng.chance(450));
        Self::of(&traits)
    }

    /// Whether the topic has it.
    pub fn has(&self, one: Trait) -> bool {
        self.traits.contains(&one)
    }

    /// Configs of the topic at the source.
    pub fn configs(&self) -> Vec<(&'static str, &'static str)> {
        let mut configs = Vec::new();
        if self.has(Trait::Compacted) {
            let trimmed = self.has(Trait::Trimmed);
            configs.push(("cleanup.policy", if trimmed { "compact,delete" } else { "compact" }));
            configs.push(("delete.retention.ms", "4000"));
        }
        if self.has(Trait::LogAppendTime) {
            configs.push(("message.timestamp.type", "LogAppendTime"));
        }
        configs
    }

    /// Records for one batch; `first` is how many were written before them.
    pub fn records(&self, rng: &mut Rng, first: u64, count: u64) -> Vec<Record> {
        let one = |n: u64| {
            let number = if self.keys == 0 { first + n } else { rng.between(0, self.keys - 1) };
            let mut record =
                Record::new(&format!("k{number}"), &"v".repeat((n % 7) as usize * 11 + 1));
            if self.keys > 0 && rng.chance(120) {
                record.value = None;
            }
            if rng.chance(100) {
                record.headers = vec![("h".into(), None), ("h".into(), Some("1".into()))];
            }
            record
        };
        (0..count).map(one).collect()
    }

    /// A few old messages, and how they are stored.
    pub fn messages(&self, rng: &mut Rng, time: i64, first: u64) -> (Format, Vec<Message>) {
        let magic = rng.between(0, 1) as i8;
        let codecs = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4];
        let codec = codecs[rng.between(0, 3) as usize];
        let by_broker = self.has(Trait::LogAppendTime) && magic == 1;
        let log_append_time = by_broker.then_some(time + 7);
        let count = rng.between(1, 9);
        let one = |(n, record): (usize, Record)| Message {
            offset: 0,
            time: if magic == 0 { -1 } else { time + n as i64 },
            key: record.key,
            value: record.value,
        };
        let records = self.records(rng, first, count).into_iter().enumerate();
        (Format { magic, codec, log_append_time }, records.map(one).collect())
    }
}

/// A producer that writes in transactions to one partition.
#[derive(Clone, Debug)]
pub struct Writer {
    id: i64,
    epoch: i16,
    sequence: i32,
    /// Whether its transaction is open.
    pub is_open: bool,
    /// Each transaction has an epoch of its own, and its marker the next one (KIP-890).
    bumps: bool,
}

impl Writer {
    /// A producer without a transaction.
    pub fn new(id: i64, bumps: bool) -> Self {
        Self { id, epoch: 0, sequence: 0, is_open: false, bumps }
    }

    /// The batch as part of its transaction.
    pub fn sign(&mut self, build: Build) -> Build {
        let sequence = self.sequence;
        self.sequence += build.records.len() as i32;
        self.is_open = true;
        build.producer(self.id, self.epoch, sequence).flags(TRANSACTIONAL)
    }

    /// Ends its transaction; id and epoch of the marker.
    pub fn end(&mut self) -> (i64, i16) {
        self.is_open = false;
        if self.bumps {
            (self.epoch, self.sequence) = (self.epoch + 1, 0);
        }
        (self.id, self.epoch)
    }
}
