//! One member of a consumer group with librdkafka: prints a line for each record that it takes, as
//! `protocol-tests/kafka/Member.java` does, and commits what it has printed.
//!
//! It never commits a record before its line is out, and produces nothing.
//!
//!   rk-group --bootstrap B --topics a,b --group G [--commit-ms 500] [--max N]
//!
//! A line: topic, partition, offset, SHA-256 as of `rk-dump --lines`, milliseconds since 1970. It
//! ends when its stdin is closed, or after so many records: commits, leaves the group, exit code 0.

use peers::Args;
use peers::canonical;
use rdkafka::ClientContext;
use rdkafka::Message;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::CommitMode;
use rdkafka::consumer::Consumer;
use rdkafka::consumer::ConsumerContext;
use rdkafka::consumer::Rebalance;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaErrorCode;
use sha2::Digest;
use sha2::Sha256;
use std::error::Error;
use std::io::Read;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

type Outcome<T> = Result<T, Box<dyn Error>>;

const POLL_MAX: Duration = Duration::from_millis(100);

/// Commits what was taken before partitions go to another member, which takes none of it again.
struct Handing;

impl ClientContext for Handing {}

impl ConsumerContext for Handing {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if matches!(rebalance, Rebalance::Revoke(_)) {
            commit(consumer);
        }
    }
}

fn main() -> Outcome<()> {
    let args = Args::parse(&["bootstrap", "topics", "group", "commit-ms", "max"], &[]);
    let commit_every = Duration::from_millis(args.number("commit-ms", 500));
    let consumer: BaseConsumer<Handing> = config(&args).create_with_context(Handing)?;
    consumer.subscribe(&args.need("topics").split(',').collect::<Vec<_>>())?;
    let is_over = stdin_closed();
    let mut out = std::io::stdout().lock();
    let (mut committed, mut left) = (Instant::now(), args.number("max", u64::MAX));
    while !is_over.load(Ordering::Relaxed) && left > 0 {
        match consumer.poll(POLL_MAX) {
            Some(Ok(record)) => {
                take(&consumer, &record, &mut out)?;
                left -= 1;
            }
            Some(Err(error)) => eprintln!("rk-group: {error}"),
            None => {}
        }
        if committed.elapsed() >= commit_every {
            commit(&consumer);
            committed = Instant::now();
        }
    }
    commit(&consumer);
    Ok(())
}

fn config(args: &Args) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", args.need("bootstrap"))
        .set("group.id", args.need("group"))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("check.crcs", "true")
        .set("fetch.wait.max.ms", "100");
    config
}

/// Its line is with the kernel before its offset can be committed.
fn take(
    consumer: &BaseConsumer<Handing>,
    record: &BorrowedMessage<'_>,
    out: &mut impl Write,
) -> Outcome<()> {
    let digest = Sha256::digest(canonical(record, false));
    let ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let (topic, partition, offset) = (record.topic(), record.partition(), record.offset());
    let line = format!("{topic} {partition} {offset} {digest:x} {ms}\n");
    out.write_all(line.as_bytes())?;
    out.flush()?;
    Ok(consumer.store_offset_from_message(record)?)
}

fn commit(consumer: &BaseConsumer<Handing>) {
    match consumer.commit_consumer_state(CommitMode::Sync) {
        Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
        Err(error) => eprintln!("rk-group: not committed: {error}"),
    }
}

/// Becomes true when nobody holds the other end of stdin any more.
fn stdin_closed() -> Arc<AtomicBool> {
    let closed = Arc::new(AtomicBool::new(false));
    let told = closed.clone();
    std::thread::spawn(move || {
        let mut bytes = [0; 64];
        while matches!(std::io::stdin().read(&mut bytes), Ok(1..)) {}
        told.store(true, Ordering::Relaxed);
    });
    closed
}
