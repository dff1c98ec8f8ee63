//! All hostile cases at once beside a healthy link of real Kafka: what the healthy one, the service
//! port and the memory notice of them.
//!
//! It never asserts a tight time: the figures are printed, and asserted only as far as they hold on
//! a machine that does ten other things. `ISOLOG_HOSTILE=full` (in `make soak`) is ten minutes of
//! 20,000 records a second; `ISOLOG_HOSTILE_PARTS=h2,h3` throws only these at it, and
//! `ISOLOG_HOSTILE_SECONDS` changes how long; with `ISOLOG_HOSTILE_MERGE=never` the healthy link
//! has a backlog of small batches all the time, and is late.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Child;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::thread::JoinHandle;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;
use isolog::wire::codec::Codec;
use isolog::wire::codec::compress;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::MetadataResponse;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::metadata_response::MetadataResponsePartition;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::protocol::Decodable;
use kafka_protocol::protocol::Encodable;
use kafka_protocol::protocol::StrBytes;
use protocol_tests::broker::Build;
use protocol_tests::broker::Record;
use protocol_tests::broker::batch::HEADER_BYTES;
use protocol_tests::broker::batch::Header;
use protocol_tests::broker::batch::LOG_APPEND_TIME;
use protocol_tests::broker::takeover::Act;
use protocol_tests::loopback::Loopback;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::Load;
use protocol_tests::real::LoadSpec;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::as_service;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;

/// `buffer.memory.bytes` of the process.
const BUDGET_BYTES: u64 = 32 << 20;
/// What a process holds beside its budget and what the attacks take: code, threads, metadata and
/// the service port's answers, 11 MiB where hardly anything is copied (24 unoptimised); and what
/// glibc keeps of memory that was freed, in an arena for each thread.
const BASE_BYTES: u64 = 80 << 20;
/// What a partition takes in a metadata answer that is refused.
const METADATA_PARTITION_BYTES: u64 = 32;
/// How long one look at health may take at full size; the promise is 100 ms.
const HEALTH_MS_MAX: u64 = 2_000;
/// What stands for the time of a look that had no answer.
const UNANSWERED: u64 = u64::MAX;
/// Whom a watch looks at.
const WATCHED: &str = "ISOLOG_HOSTILE_WATCHED";
/// What a look's line begins with, before its ms.
const LOOK: &str = "look ";
/// The same of how late the watch came to it.
const LATE: &str = "late ";
/// Between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// How many of the longest times are shown, with the numbers of their looks.
const LONGEST: usize = 5;
/// How late the healthy link may be at full size; the promise is a second. Twenty thousand records
/// a second on a machine that does ten other things have been 29 seconds late, at worst.
const LAG_MS_MAX: u64 = 30_000;
/// The promise is five seconds.
const STOP_SECONDS_MAX: u64 = 15;
/// How long a link may take to be level when all is over.
const LEVEL_SECONDS_MAX: u64 = 300;
/// How many batches of an ordinary producer have to be unpacked beside the bombs.
const ORDINARY: u64 = 20;
/// What each of them unpacks to.
const ORDINARY_BYTES: usize = 6 << 20;
/// How many records they hold.
const ORDINARY_RECORDS: u64 = ORDINARY * (ORDINARY_BYTES as u64 / 1_000);

/// One kind of attack.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Batches that unpack to a thousand times their size.
    Bombs,
    /// Scrapes whose clients go at once.
    Scrapes,
    /// Clients that stay.
    Seats,
    /// Fetch answers with an unknown tag of many bytes.
    Padding,
    /// Metadata of a topic with very many partitions.
    Metadata,
    /// Two records far from each other.
    Gap,
    /// A cluster id, a host and a message that a terminal would obey.
    Text,
}

/// What the name of the ordinary topic beside the bombs ends in.
const ORDINARY_TOPIC: &str = "-ordinary";

const PARTS: [(&str, Part); 7] = [
    ("h1", Part::Bombs),
    ("h2", Part::Scrapes),
    ("h3", Part::Seats),
    ("h4", Part::Padding),
    ("h5", Part::Metadata),
    ("h6", Part::Gap),
    ("h7", Part::Text),
];

fn chosen() -> Vec<Part> {
    let all = || PARTS.map(|part| part.0).join(",");
    let named = std::env::var("ISOLOG_HOSTILE_PARTS").unwrap_or_else(|_| all());
    let part = |name: &str| PARTS.iter().find(|part| part.0 == name).expect("a part h1 to h7").1;
    named.split(',').filter(|name| !name.is_empty()).map(part).collect()
}

/// How much of everything.
#[derive(Copy, Clone)]
struct Size {
    is_full: bool,
    seconds: u64,
    records_per_second: u64,
    bomb_bytes: usize,
    /// Of each of three partitions.
    bombs: usize,
    padding_bytes: usize,
    partitions: i32,
    /// How often it is started and stopped while all goes on.
    stops: u64,
}

impl Size {
    /// What may be resident: the budget with a third of it more, and a base. To that belong an
    /// answer that is larger than what was asked for, of which each source cluster has one at a
    /// time, and the metadata answer that is counted before it is refused.
    fn resident_bytes_max(self) -> u64 {
        let metadata = self.partitions as u64 * METADATA_PARTITION_BYTES;
        BUDGET_BYTES * 13 / 10 + BASE_BYTES + self.padding_bytes as u64 + metadata
    }
}

fn size() -> Size {
    let size = named_size();
    let seconds = std::env::var("ISOLOG_HOSTILE_SECONDS").ok().and_then(|text| text.parse().ok());
    Size { seconds: seconds.unwrap_or(size.seconds), ..size }
}

fn named_size() -> Size {
    match std::env::var("ISOLOG_HOSTILE").as_deref() {
        Ok("full") => Size {
            is_full: true,
            seconds: 600,
            records_per_second: 20_000,
            bomb_bytes: 120 << 20,
            bombs: 400,
            padding_bytes: 99 << 20,
            partitions: 1_000_000,
            stops: 10,
        },
        _ => Size {
            is_full: false,
            seconds: 20,
            records_per_second: 2_000,
            bomb_bytes: 24 << 20,
            bombs: 12,
            padding_bytes: 48 << 20,
            partitions: 100_000,
            stops: 2,
        },
    }
}

/// A hostile source, as a link of its own, with a topic `name`.
async fn hostile(part: Part, size: Size) -> Option<(String, Loopback)> {
    let name = format!("{part:?}").to_lowercase();
    let id = match part {
        Part::Text => {
            "esc\u{1b}[2J\u{1b}]0;owned\u{7}\n2026-01-01T00:00:00Z ERROR forged".to_owned()
        }
        _ => name.clone(),
    };
    let source = Loopback::start(&id).await.unwrap();
    let cluster = &source.cluster;
    let record = |tag: &str| Build::new(now_ms(), vec![Record::new("key", tag)]);
    match part {
        Part::Scrapes | Part::Seats => return None,
        Part::Bombs => {
            let stamped = [("message.timestamp.type", "LogAppendTime")];
            cluster.create_topic(&name, 3, &stamped);
            let bomb = stamped_zeros(size.bomb_bytes);
            for partition in 0..3 {
                for _ in 0..size.bombs {
                    cluster.append_bytes(&name, partition, &bomb);
                }
            }
            let ordinary = format!("{name}{ORDINARY_TOPIC}");
            cluster.create_topic(&ordinary, 1, &stamped);
            let words = stamped_words(ORDINARY_BYTES);
            for _ in 0..ORDINARY {
                cluster.append_bytes(&ordinary, 0, &words);
            }
        }
        Part::Padding => {
            cluster.create_topic(&name, 1, &[]);
            cluster.append(&name, 0, &record("a"));
            let bytes = size.padding_bytes;
            cluster.control_key(ApiKey::Fetch, move |_| {
                Some(Act::Edit(Box::new(move |body| padded(&body, bytes))))
            });
        }
        Part::Metadata => {
            cluster.create_topic(&name, 1, &[]);
            cluster.append(&name, 0, &record("a"));
            let (huge, count) = (format!("{name}-huge"), size.partitions);
            let mut made: BTreeMap<i16, Bytes> = BTreeMap::new();
            cluster.control_key(ApiKey::Metadata, move |call| {
                let (version, huge) = (call.version, huge.clone());
                if let Some(body) = made.get(&version) {
                    return Some(Act::Answer(body.clone()));
                }
                made.insert(version, with_topic(version, &huge, count));
                Some(Act::Answer(made[&version].clone()))
            });
        }
        Part::Gap => {
            cluster.create_topic(&name, 1, &[]);
            cluster.append(&name, 0, &record("a"));
            let key = cluster.key(&name, 0);
            cluster.change(|state| {
                let log = &mut state.replica_mut(key, 1).log;
                log.raise_start(1 << 40);
                log.lower_start(0);
            });
            cluster.append(&name, 0, &record("b"));
        }
        Part::Text => {
            cluster.create_topic(&name, 1, &[]);
            cluster.append(&name, 0, &record("a"));
        }
    }
    Some((name, source))
}

/// A record of zeros that its broker stamped, so that its batch must be unpacked.
fn stamped_zeros(bytes: usize) -> Bytes {
    let value = Some(Bytes::from(vec![0; bytes]));
    stamped(vec![Record { value, ..Record::new("key", "") }])
}

/// The same of many records, as an ordinary producer packs them.
fn stamped_words(bytes: usize) -> Bytes {
    let record = |n: usize| Record::new(&format!("key-{n}"), &format!("{n} words ").repeat(80));
    let count = bytes / 1_000;
    stamped((0..count).map(record).collect())
}

/// Really packed, which the simulated brokers' own hand never does.
fn stamped(records: Vec<Record>) -> Bytes {
    let plain = Build::new(now_ms(), records).flags(LOG_APPEND_TIME).bytes();
    let packed = compress(Codec::Gzip, plain[HEADER_BYTES..].to_vec()).unwrap();
    let header = Header::read(&plain).unwrap();
    let attributes = header.attributes | i16::from(Codec::Gzip.number());
    Header { attributes, ..header }.write(&packed)
}

/// The same body with a tag at its end that nobody knows.
fn padded(body: &Bytes, bytes: usize) -> Bytes {
    let mut out = BytesMut::with_capacity(body.len() + bytes + 16);
    out.put_slice(&body[..body.len() - 1]);
    out.put_slice(&[1, 0xe7, 0x07]); // one tag, number 999
    let mut left = bytes;
    while left >= 0x80 {
        out.put_u8(left as u8 | 0x80);
        left >>= 7;
    }
    out.put_u8(left as u8);
    out.put_bytes(0, bytes);
    out.freeze()
}

/// An answer that knows one broker, which is not there, and one topic.
fn with_topic(version: i16, name: &str, partitions: i32) -> Bytes {
    let partition = |n| {
        MetadataResponsePartition::default()
            .with_partition_index(n)
            .with_leader_id(BrokerId(1))
            .with_leader_epoch(0)
    };
    let topic = MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(name.to_owned()))))
        .with_topic_id(uuid::Uuid::from_u128(7))
        .with_partitions((0..partitions).map(partition).collect());
    let answer = MetadataResponse::default()
        .with_cluster_id(Some(StrBytes::from_static_str("metadata")))
        .with_topics(vec![topic]);
    let mut out = BytesMut::new();
    answer.encode(&mut out, version).unwrap();
    let whole = out.freeze();
    assert!(MetadataResponse::decode(&mut whole.clone(), version).is_ok());
    whole
}

/// What a thread does until the end of the run.
struct Until {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Until {
    fn new() -> Self {
        Self { over: Arc::default(), threads: Vec::new() }
    }

    fn often(&mut self, mut act: impl FnMut() + Send + 'static) {
        let over = self.over.clone();
        self.threads.push(thread::spawn(move || {
            while !over.load(Relaxed) {
                act();
            }
        }));
    }

    fn end(self) {
        self.over.store(true, Relaxed);
        self.threads.into_iter().for_each(|one| one.join().unwrap());
    }
}

fn ask(address: SocketAddr, path: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
    Ok(stream)
}

/// Asks and goes: what is unread then makes it a reset.
fn scrape(address: SocketAddr) {
    if let Ok(mut stream) = ask(address, "/metrics") {
        let _one_byte = stream.read(&mut [0]);
    }
}

/// Each keeps 64 connections, and dials anew where one was closed.
fn hold_seats(address: SocketAddr, held: &mut Vec<TcpStream>) {
    if held.len() >= 64 {
        held.remove(0);
    }
    if let Ok(mut stream) = ask(address, "/health/live") {
        let _served = stream.read(&mut [0; 512]);
        held.push(stream);
    }
    sleep(Duration::from_millis(5));
}

/// Times in ms, as a summary shows them.
#[derive(Default)]
struct Times(Arc<Mutex<Vec<u64>>>);

impl Times {
    fn note(&self, time: u64) {
        self.0.lock().unwrap().push(time);
    }

    fn parts(&self) -> [u64; 4] {
        let mut all = self.0.lock().unwrap().clone();
        all.sort_unstable();
        let at = |permille: usize| all.get((all.len().max(1) - 1) * permille / 1000).copied();
        [500, 990, 999, 1000].map(|permille| at(permille).unwrap_or(UNANSWERED))
    }

    fn say(&self, what: &str) {
        let [p50, p99, p999, max] = self.parts();
        let all = self.0.lock().unwrap().clone();
        let (count, failed) = (all.len(), all.iter().filter(|ms| **ms == UNANSWERED).count());
        println!(
            "hostile: {what}: p50 {p50} ms, p99 {p99} ms, p99.9 {p999} ms, max {max} ms of \
             {count}; \
             {failed} without an answer"
        );
        let mut longest: Vec<(usize, u64)> = all.into_iter().enumerate().collect();
        longest.sort_unstable_by_key(|(_, ms)| std::cmp::Reverse(*ms));
        let longest = longest.iter().take(LONGEST).map(|(look, ms)| format!("{ms} ms at {look}"));
        println!(
            "hostile: {what}, the longest by look: {}",
            longest.collect::<Vec<_>>().join(", ")
        );
    }
}

/// How long it took, in ms.
fn look_at_health(address: SocketAddr) -> u64 {
    let start = Instant::now();
    let mut answer = [0; 12];
    let served = ask(address, "/health/live").and_then(|mut s| s.read_exact(&mut answer));
    let ms = u64::try_from(start.elapsed().as_millis()).unwrap();
    let is_right = served.is_ok() && &answer == b"HTTP/1.1 200";
    if is_right { ms } else { UNANSWERED }
}

/// Looks at health all the time, as whoever watches a service does from a machine of its own:
/// among the attackers it would wait for the core that they use up, and tell that.
struct Watch {
    child: Child,
    path: PathBuf,
}

impl Watch {
    fn start(address: SocketAddr) -> Self {
        let path = std::env::temp_dir().join(format!("isolog-watch-{}", std::process::id()));
        let mut command = as_service(&std::env::current_exe().unwrap());
        command.args(["--exact", "hostile::watches_health", "--ignored", "--nocapture"]);
        command.env(WATCHED, address.to_string()).stdin(Stdio::null());
        command.stdout(fs::File::create(&path).unwrap());
        Self { child: command.spawn().unwrap(), path }
    }

    /// How long the looks took, and how late it came to them itself.
    fn end(mut self) -> (Times, Times) {
        assert_eq!(self.child.try_wait().unwrap(), None, "the watch is over too early");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let text = fs::read_to_string(&self.path).unwrap();
        fs::remove_file(&self.path).unwrap();
        let times = |what: &str| -> Times {
            let time = |line: &str| line.strip_prefix(what)?.parse().ok();
            Times(Arc::new(Mutex::new(text.lines().filter_map(time).collect())))
        };
        assert!(!times(LOOK).0.lock().unwrap().is_empty(), "the watch never looked: {text}");
        (times(LOOK), times(LATE))
    }
}

#[test]
#[ignore = "writes how long looks at health took, in the process that Watch starts"]
fn watches_health() {
    let address: SocketAddr = std::env::var(WATCHED).unwrap().parse().unwrap();
    loop {
        println!("{LOOK}{}", look_at_health(address));
        let began = Instant::now();
        sleep(LOOK_PAUSE);
        // what the machine makes of one who does nothing but sleep
        println!("{LATE}{}", (began.elapsed() - LOOK_PAUSE).as_millis());
    }
}

/// The links' tables.
fn links(all: &[(String, Loopback)]) -> String {
    let link = |(name, source): &(String, Loopback)| {
        format!(
            "[link.{name}]\nbootstrap.servers = \"{}\"\nmetadata.max.age.ms = 1000\n\
             mirror.topics = [\"{name}*\"]\n",
            source.address
        )
    };
    all.iter().map(link).collect()
}

/// What a link's partitions are, as the service port shows them.
fn partitions(isolog: &Isolog, link: &str) -> Option<Vec<serde_json::Value>> {
    isolog.get(&format!("/v1/partitions?link={link}"))?.as_array().cloned()
}

/// The copied ends of a link's topic, together.
fn copied(isolog: &Isolog, link: &str, topic: &str) -> Option<u64> {
    let all = partitions(isolog, link)?;
    let of_topic = all.iter().filter(|one| one["topic"] == topic);
    Some(of_topic.filter_map(|one| one["destination_hwm"].as_u64()).sum())
}

/// What must be unpacked is copied, that of an ordinary producer and that of a hostile one.
fn wait_unpacked(isolog: &Isolog, name: &str) {
    let ordinary = format!("{name}{ORDINARY_TOPIC}");
    isolog.wait_for("the ordinary topic is level", LEVEL_SECONDS_MAX, |isolog| {
        (copied(isolog, name, &ordinary)? == ORDINARY_RECORDS).then_some(())
    });
    let (bombs, halted) = isolog.wait_for("bombs are copied", 60, |isolog| {
        let all = partitions(isolog, name)?;
        let halted = all.iter().filter(|one| one["state"] == "Halted").count();
        let bombs = copied(isolog, name, name)?;
        (bombs > 0 || halted > 0).then_some((bombs, halted))
    });
    println!("hostile: {bombs} bombs were copied");
    assert!(bombs > 0 && halted == 0, "{bombs} bombs, {halted} partitions halted");
}

/// At any moment, with all of it going on: it is told to stop, and ends. Also says what was
/// resident at most.
fn stop_now_and_then(isolog: &mut Isolog, stops: u64) -> (Times, u64) {
    let (times, mut bytes) = (Times::default(), 0);
    for stop in 0..=stops {
        if stop > 0 {
            isolog.start_again().unwrap();
            isolog.wait_for("it serves", 60, |isolog| partitions(isolog, "dr").map(drop));
            sleep(Duration::from_millis(400 * stop % 3_000)); // any moment is right
        }
        bytes = bytes.max(most_bytes(isolog.pid().unwrap()));
        let start = Instant::now();
        let status = isolog.term(Duration::from_secs(STOP_SECONDS_MAX)).unwrap();
        times.note(u64::try_from(start.elapsed().as_millis()).unwrap());
        assert_eq!(status.code(), Some(0), "{status}");
    }
    (times, bytes)
}

fn lag_ms(isolog: &Isolog) -> u64 {
    let all = partitions(isolog, "dr").unwrap_or_default();
    all.iter().filter_map(|one| one["lag_ms"].as_u64()).max().unwrap_or(0)
}

fn look_at_lag(isolog: &mut Isolog, seconds: u64, lag: &Times) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        lag.note(lag_ms(isolog));
        assert!(isolog.is_running(), "{}", isolog.log());
        sleep(Duration::from_millis(500));
    }
}

fn most_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

/// Waits until the copy has what the producer was told is written.
fn wait_level(isolog: &Isolog, records: u64) {
    isolog.wait_for("the healthy link is level", LEVEL_SECONDS_MAX, |isolog| {
        (copied(isolog, "dr", "healthy")? == records).then_some(())
    });
}

/// What it is behind before it is attacked is no fault of those who attack.
fn wait_well(isolog: &Isolog) {
    isolog.wait_for("the healthy link copies, and is not late", LEVEL_SECONDS_MAX, |isolog| {
        (copied(isolog, "dr", "healthy")? > 0 && lag_ms(isolog) == 0).then_some(())
    });
}

fn attack(parts: &[Part], address: SocketAddr) -> Until {
    let mut until = Until::new();
    for part in parts {
        match part {
            Part::Scrapes => (0..4).for_each(|_| until.often(move || scrape(address))),
            Part::Seats => {
                for _ in 0..2 {
                    let mut held = Vec::new();
                    until.often(move || hold_seats(address, &mut held));
                }
            }
            _ => {}
        }
    }
    until
}

/// At full size, where there are enough looks for shares of them to say something.
fn keeps_its_promises(health: [u64; 4], lag: [u64; 4], stops: [u64; 4]) {
    let ([.., longest], [.., latest]) = (health, lag);
    assert!(longest <= HEALTH_MS_MAX, "a look at health took {longest} ms");
    assert!(latest <= LAG_MS_MAX, "the healthy link was {latest} ms late");
    let ([_, health, ..], [lag, ..], [.., stop]) = (health, lag, stops);
    assert!(health <= 100, "health took {health} ms, 99 of 100 times not longer");
    assert!(lag <= 1_000, "the healthy link was {lag} ms late, half of the time");
    assert!(stop <= 5_000, "it took {stop} ms to stop");
}

#[test]
fn a_healthy_link_does_not_notice_hostile_ones() {
    let _room = room(2);
    let (size, parts) = (size(), chosen());
    println!("hostile: {parts:?} for {} s", size.seconds);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sources: Vec<_> = runtime.block_on(async {
        let mut all = Vec::new();
        for part in &parts {
            all.extend(hostile(*part, size).await);
        }
        all
    });
    let source = RealCluster::start(RealSpec::new("4.3.1", 1)).unwrap();
    let destination = RealCluster::start(RealSpec::new("4.3.1", 1)).unwrap();
    let mut spec = IsologSpec::new(source.bootstrap(), destination.bootstrap(), &["healthy"]);
    spec.top = format!("buffer.memory.bytes = {BUDGET_BYTES}\n");
    spec.more_links = links(&sources);
    // who attacks it runs elsewhere
    spec.is_service = true;
    if std::env::var("ISOLOG_HOSTILE_MERGE").as_deref() != Ok("never") {
        // as people run it: a backlog of small batches is merged
        spec.link_more = spec.link_more.replace("batch.merge = \"never\"\n", "");
    }
    let load = LoadSpec {
        topics: vec![("healthy".into(), "lz4".into())],
        create: Some((6, 1)),
        records: None,
        rate: Some(size.records_per_second),
        more: ["--plain", "--size", "100"].map(str::to_owned).into(),
    };
    let load = Load::start(source.bootstrap(), &load).unwrap();
    let mut isolog = Isolog::start(&spec).unwrap();
    wait_well(&isolog);
    let address = SocketAddr::from(([127, 0, 0, 1], isolog.port()));
    let lag = Times::default();
    let (until, watch) = (attack(&parts, address), Watch::start(address));
    look_at_lag(&mut isolog, size.seconds, &lag);
    let loaded = load.stop().unwrap();
    wait_level(&isolog, loaded.records);
    if parts.contains(&Part::Bombs) {
        wait_unpacked(&isolog, "bombs");
    }
    // from here on nobody need answer; the attacks go on over the end
    let (health, late) = watch.end();
    let (stops, bytes) = stop_now_and_then(&mut isolog, size.stops);
    let bound = size.resident_bytes_max();
    until.end();
    let rate = loaded.records as f64 / loaded.seconds;
    println!("hostile: {} records, {rate:.0} a second", loaded.records);
    println!("hostile: resident at most {} MiB, {} are allowed", bytes >> 20, bound >> 20);
    health.say("health");
    late.say("the watch itself, late");
    lag.say("lag");
    stops.say("SIGTERM");
    let log = isolog.log();
    println!("hostile: {} bytes of log", log.len());
    let [usual, ..] = health.parts();
    assert_ne!(usual, UNANSWERED, "most looks at health had no answer");
    if size.is_full {
        keeps_its_promises(health.parts(), lag.parts(), stops.parts());
    }
    assert!(bytes <= bound, "{bytes} bytes resident, {bound} are allowed");
    assert!(!log.contains("panicked"), "{log}");
    if parts.contains(&Part::Text) {
        assert!(!log.contains(['\u{1b}', '\u{7}']), "a peer's text is in the log as it came");
        assert!(log.lines().all(|line| !line.starts_with("2026-01-01T")), "a forged line");
    }
}
