//! Reads topics with librdkafka and prints one JSON line per partition, byte for byte as
//! `protocol-tests/kafka/Dump.java` does: the range, the number of records, and a SHA-256 over
//! every field of every record that a client can see.
//!
//! It never commits, joins no group and writes nothing.
//!
//!   rk-dump --bootstrap B --topics a,b [--isolation read_committed] [--ends FILE] [--lines]
//!           [--quiet-seconds 60] [--typeless]

use peers::Args;
use peers::canonical;
use rdkafka::Message;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use sha2::Digest;
use sha2::Sha256;
use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;
use std::time::Instant;

type Outcome<T> = Result<T, Box<dyn Error>>;

const ASK_MS_MAX: Duration = Duration::from_secs(30);
const POLL_MS_MAX: Duration = Duration::from_millis(200);

/// What was seen of one partition.
struct Seen {
    start: i64,
    end: i64,
    digest: Sha256,
    lines: Vec<String>,
    records: u64,
    first: i64,
    last: i64,
    done: bool,
}

fn main() -> Outcome<()> {
    let names = ["bootstrap", "topics", "isolation", "ends", "quiet-seconds"];
    let args = Args::parse(&names, &["lines", "typeless"]);
    let ends = asked_ends(&args)?;
    let mut topics: Vec<&str> = args.need("topics").split(',').collect();
    topics.sort_unstable();
    let consumer: BaseConsumer = config(&args).create()?;
    for topic in topics {
        let mut seen = plan(&consumer, topic, &ends)?;
        read(&consumer, topic, &mut seen, &args)?;
        for (partition, seen) in seen {
            print(topic, partition, seen);
        }
    }
    Ok(())
}

fn config(args: &Args) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", args.need("bootstrap"))
        .set("isolation.level", args.text("isolation", "read_uncommitted"))
        .set("group.id", "rk-dump-never-joins")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("fetch.message.max.bytes", "4194304");
    config
}

/// The ends which an earlier output names, by topic and partition.
fn asked_ends(args: &Args) -> Outcome<BTreeMap<(String, i32), i64>> {
    let mut ends = BTreeMap::new();
    if !args.has("ends") {
        return Ok(ends);
    }
    for line in std::fs::read_to_string(args.need("ends"))?.lines() {
        let Ok(one) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let at = (one["topic"].as_str(), one["partition"].as_i64(), one["end"].as_i64());
        if let (Some(topic), Some(partition), Some(end)) = at {
            ends.insert((topic.to_string(), i32::try_from(partition)?), end);
        }
    }
    Ok(ends)
}

fn plan(
    consumer: &BaseConsumer,
    topic: &str,
    ends: &BTreeMap<(String, i32), i64>,
) -> Outcome<BTreeMap<i32, Seen>> {
    let metadata = consumer.fetch_metadata(Some(topic), ASK_MS_MAX)?;
    let found = metadata.topics().first().filter(|t| t.error().is_none());
    let partitions = found.ok_or_else(|| format!("no topic {topic}"))?.partitions();
    let mut all = BTreeMap::new();
    for partition in partitions.iter().map(|p| p.id()) {
        let (start, end) = consumer.fetch_watermarks(topic, partition, ASK_MS_MAX)?;
        let asked = ends.get(&(topic.to_string(), partition)).copied().unwrap_or(i64::MAX);
        all.insert(partition, Seen::new(start, end.min(asked)));
    }
    Ok(all)
}

fn read(
    consumer: &BaseConsumer,
    topic: &str,
    all: &mut BTreeMap<i32, Seen>,
    args: &Args,
) -> Outcome<()> {
    let mut wanted = TopicPartitionList::new();
    for (partition, seen) in all.iter().filter(|(_, seen)| !seen.done) {
        wanted.add_partition_offset(topic, *partition, Offset::Offset(seen.start))?;
    }
    consumer.assign(&wanted)?;
    let quiet_max = Duration::from_secs(args.number("quiet-seconds", 60));
    let mut quiet_since = Instant::now();
    while all.values().any(|seen| !seen.done) {
        match consumer.poll(POLL_MS_MAX) {
            Some(Ok(record)) => {
                quiet_since = Instant::now();
                let seen = all.get_mut(&record.partition()).ok_or("a partition not asked for")?;
                seen.add(&record, args.has("lines"), args.has("typeless"));
            }
            // It comes at the high watermark (or the stable offset), which is at or beyond the end
            // asked before: what is hidden below it can only be control or aborted records.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                all.get_mut(&partition).ok_or("a partition not asked for")?.done = true;
            }
            Some(Err(error)) => eprintln!("rk-dump: {error}"),
            None if quiet_since.elapsed() > quiet_max => {
                return Err(format!("nothing more comes of {topic}").into());
            }
            None => {}
        }
    }
    consumer.unassign()?;
    Ok(())
}

impl Seen {
    fn new(start: i64, end: i64) -> Self {
        let digest = Sha256::new();
        let done = start >= end;
        Self { start, end, digest, lines: Vec::new(), records: 0, first: -1, last: -1, done }
    }

    fn add(&mut self, record: &BorrowedMessage<'_>, want_lines: bool, typeless: bool) {
        if record.offset() >= self.end {
            self.done = true;
            return;
        }
        let bytes = canonical(record, typeless);
        self.digest.update(&bytes);
        if want_lines {
            self.lines.push(format!("{} {:x}", record.offset(), Sha256::digest(&bytes)));
        }
        if self.first < 0 {
            self.first = record.offset();
        }
        self.last = record.offset();
        self.records += 1;
        self.done = self.done || self.last + 1 == self.end;
    }
}

fn print(topic: &str, partition: i32, seen: Seen) {
    for line in &seen.lines {
        println!("{topic} {partition} {line}");
    }
    let Seen { start, end, records, first, last, digest, .. } = seen;
    let sha256 = digest.finalize();
    println!(
        "{{\"topic\":\"{topic}\",\"partition\":{partition},\"start\":{start},\"end\":{end},\
         \"records\":{records},\"first\":{first},\"last\":{last},\"sha256\":\"{sha256:x}\"}}"
    );
}
