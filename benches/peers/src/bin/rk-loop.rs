//! The loop everybody writes first: consume with librdkafka, produce with librdkafka, same
//! partition. It is the yardstick for CPU per byte; its copy is not offset-exact and never claims
//! to be.
//!
//! It copies what the source holds when it starts, then prints its cost and ends; with `--follow`
//! it copies until it is killed.
//!
//!   rk-loop --source B --destination B --topics a,b [--codec none] [--batch 1m] [--linger 5]
//!           [--follow]
//!
//! The destination topics must exist, with as many partitions.

use peers::Args;
use peers::cpu_seconds;
use peers::rss_bytes_max;
use rdkafka::ClientContext;
use rdkafka::Message;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::BaseProducer;
use rdkafka::producer::BaseRecord;
use rdkafka::producer::Producer;
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaErrorCode;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

type Outcome<T> = Result<T, Box<dyn Error>>;

const ASK_MAX: Duration = Duration::from_secs(30);
const POLL_MAX: Duration = Duration::from_millis(100);
const FLUSH_MAX: Duration = Duration::from_secs(120);

/// Counts what the destination refused.
#[derive(Clone, Default)]
struct Deliveries(Arc<AtomicU64>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result
            && self.0.fetch_add(1, Ordering::Relaxed) == 0
        {
            eprintln!("rk-loop: {error}");
        }
    }
}

/// What went through, and what it cost from the first record on (start-up is left out).
struct Copied {
    records: u64,
    payload_bytes: u64,
    started: Instant,
    cpu_before: f64,
}

fn main() -> Outcome<()> {
    let args =
        Args::parse(&["source", "destination", "topics", "codec", "batch", "linger"], &["follow"]);
    let consumer = consumer(&args)?;
    let refused = Deliveries::default();
    let producer = producer(&args, refused.clone())?;
    let held = assign(&consumer, args.need("topics"))?;
    let records = if args.has("follow") { u64::MAX } else { held };
    let copied = copy(&consumer, &producer, records)?;
    producer.flush(FLUSH_MAX)?;
    let refused = refused.0.load(Ordering::Relaxed);
    if refused > 0 {
        return Err(format!("{refused} records were refused").into());
    }
    copied.print();
    Ok(())
}

fn consumer(args: &Args) -> Outcome<BaseConsumer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", args.need("source"))
        .set("group.id", "rk-loop-never-joins")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("queued.max.messages.kbytes", "131072")
        .set("fetch.message.max.bytes", "1048576");
    Ok(config.create()?)
}

fn producer(args: &Args, context: Deliveries) -> Outcome<BaseProducer<Deliveries>> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", args.need("destination"))
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", args.text("codec", "none"))
        .set("batch.size", args.number("batch", 1 << 20).to_string())
        .set("batch.num.messages", "100000")
        .set("linger.ms", args.text("linger", "5"))
        .set("queue.buffering.max.messages", "1000000")
        .set("queue.buffering.max.kbytes", "262144");
    Ok(config.create_with_context(context)?)
}

/// Assigns every partition from its log start; how many offsets there are up to the ends.
fn assign(consumer: &BaseConsumer, topics: &str) -> Outcome<u64> {
    let mut wanted = TopicPartitionList::new();
    let mut offsets = 0;
    for topic in topics.split(',') {
        let metadata = consumer.fetch_metadata(Some(topic), ASK_MAX)?;
        let found = metadata.topics().first().ok_or("no such topic")?;
        for partition in found.partitions().iter().map(|p| p.id()) {
            let (start, end) = consumer.fetch_watermarks(topic, partition, ASK_MAX)?;
            wanted.add_partition_offset(topic, partition, Offset::Offset(start))?;
            offsets += u64::try_from(end - start)?;
        }
    }
    consumer.assign(&wanted)?;
    Ok(offsets)
}

/// Records only: a source with control batches would leave it waiting.
fn copy(
    consumer: &BaseConsumer,
    producer: &BaseProducer<Deliveries>,
    records: u64,
) -> Outcome<Copied> {
    let mut copied = Copied::new();
    while copied.records < records {
        let Some(record) = consumer.poll(POLL_MAX) else {
            producer.poll(Duration::ZERO);
            continue;
        };
        let record = record?;
        if copied.records == 0 {
            copied = Copied::new();
        }
        send(producer, &record)?;
        copied.records += 1;
        let sizes = [record.key(), record.payload()].map(|part| part.map_or(0, <[u8]>::len));
        copied.payload_bytes += sizes.iter().sum::<usize>() as u64;
        if copied.records.is_multiple_of(256) {
            producer.poll(Duration::ZERO);
        }
    }
    Ok(copied)
}

fn send(producer: &BaseProducer<Deliveries>, from: &BorrowedMessage<'_>) -> Outcome<()> {
    let mut record = BaseRecord::<[u8], [u8]>::to(from.topic()).partition(from.partition());
    record.key = from.key();
    record.payload = from.payload();
    record.timestamp = from.timestamp().to_millis();
    record.headers = from.headers().map(|headers| headers.detach());
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                producer.poll(Duration::from_millis(1));
                record = back;
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

impl Copied {
    fn new() -> Self {
        let (started, cpu_before) = (Instant::now(), cpu_seconds());
        Self { records: 0, payload_bytes: 0, started, cpu_before }
    }

    fn print(&self) {
        let seconds = self.started.elapsed().as_secs_f64();
        let cpu = cpu_seconds() - self.cpu_before;
        let gb = self.payload_bytes as f64 / 1e9;
        println!(
            "{{\"peer\":\"rk-loop\",\"records\":{},\"bytes\":{},\"seconds\":{seconds:.3},\
             \"cpu_seconds\":{cpu:.2},\"cpu_seconds_per_gb\":{:.3},\"rss_bytes_max\":{}}}",
            self.records,
            self.payload_bytes,
            cpu / gb,
            rss_bytes_max(),
        );
    }
}
