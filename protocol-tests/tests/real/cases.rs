//! Cases from the field on real Kafka (docs/CASES.md): gaps, times, sizes, limits of connections,
//! first as `isolog check` tells of them, then as the copy meets them.
//!
//! It never skips. One pair of clusters serves all scenes; each has topics of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::batch::Record;
use protocol_tests::check::batches_equal;
use protocol_tests::real::DumpSpec;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::Reader;
use protocol_tests::real::RealCluster;
use protocol_tests::real::assert_equal;
use protocol_tests::real::broker_config_request;
use protocol_tests::real::dump;
use protocol_tests::real::isolog_once;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;
use serde_json::Value;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const YEAR_MS: i64 = 365 * DAY_MS;
/// Some day of 1970: what producers without a clock say.
const LONG_AGO_MS: i64 = 20_000;
/// As Kafka writes "no limit" of a time.
const NO_LIMIT: &str = "9223372036854775807";
const FOR_EVER: (&str, &str) = ("retention.ms", "-1");
const BEFORE: &str = "message.timestamp.before.max.ms";
const AFTER: &str = "message.timestamp.after.max.ms";
/// Records of one batch of a scene.
const BATCH: i64 = 10;

/// Where the second record of H6 lies.
const FAR: i64 = 1 << 40;
/// The partitions of S8.
const MANY: usize = 12;
/// The connections of `check` that ask: of any broker, and of the leader.
const ASKING: usize = 2;
/// What a broker may be dialled in vain until it is given up: five in a row, as many workers that
/// dial at the same moment, and the greeting.
const REFUSALS_MAX: usize = 16;
const PER_ADDRESS: &str = "max.connections.per.ip";
/// For how long a test waits for what must come.
const LOOK_SECONDS_MAX: u64 = 60;

struct Stage {
    clusters: (RealCluster, RealCluster),
    source: Hand,
    destination: Hand,
}

fn write(side: &Hand, topic: &str, time_ms: i64) {
    let tag = format!("{topic}-{}", now_ms());
    side.produce(topic, 0, &Build::plain(time_ms, &tag, BATCH as usize)).unwrap();
}

impl Stage {
    fn start() -> Stage {
        let clusters = RealCluster::plain_pair("4.3.1").unwrap();
        let source = Hand::new(clusters.0.bootstrap());
        let destination = Hand::new(clusters.1.bootstrap());
        Stage { clusters, source, destination }
    }

    fn spec(&self, topics: &[&str]) -> IsologSpec {
        IsologSpec::new(self.clusters.0.bootstrap(), self.clusters.1.bootstrap(), topics)
    }

    /// Exit code, report, and what was told meanwhile.
    fn check(&self, topics: &[&str]) -> (Option<i32>, Value, String) {
        let output = isolog_once(&self.spec(topics), &["check", "--json"]).unwrap();
        let [text, said] = [&output.stdout, &output.stderr].map(|out| String::from_utf8_lossy(out));
        let report: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {said}"));
        (output.status.code(), report[0].clone(), said.into_owned())
    }

    /// The verdict about one topic and all that is said of it.
    fn judged(&self, topic: &str) -> (String, String) {
        let (_, report, _) = self.check(&[topic]);
        let one = &report["topics"][0];
        assert_eq!(one["topic"], topic, "{report}");
        (one["level"].as_str().unwrap().to_owned(), one["findings"].to_string())
    }

    /// The copy is level by itself, batch by batch.
    fn copied(&self, isolog: &Isolog, topic: &str) {
        let (start, end) = self.source.ends(topic, 0).unwrap();
        isolog.wait_for(&format!("{topic} is level"), LOOK_SECONDS_MAX, |_| {
            (self.destination.ends(topic, 0).ok()? == (start, end)).then_some(())
        });
        let logs = (self.source.log(topic, 0).unwrap(), self.destination.log(topic, 0).unwrap());
        assert_eq!(batches_equal(&logs.0, &logs.1, 0, end), Vec::<String>::new(), "{topic}");
    }
}

/// H6: one record at 0, one at 2^40.
fn make_far(stage: &Stage) {
    stage.source.create("k-far", 1, 1, &[]).unwrap();
    for _ in 0..2 {
        let one = Build::new(now_ms(), vec![Record::new("key", "value")]);
        stage.source.produce("k-far", 0, &one).unwrap();
    }
    stage.clusters.0.move_last("k-far", FAR).unwrap();
    assert_eq!(stage.source.ends("k-far", 0).unwrap(), (0, FAR + 1));
}

fn a_gap_without_end_is_not_filled(stage: &Stage, isolog: &Isolog) {
    let seen = isolog.wait_halt("k-far", 0);
    assert_eq!(seen.code, "GAP_TOO_LONG", "{seen:?}");
    for words in ["from 1 up to 1099511627776", "gap.offsets.max, which is"] {
        assert!(seen.reason.contains(words), "{words}: {seen:?}");
    }
    assert_eq!(stage.destination.ends("k-far", 0).unwrap(), (0, 1), "nothing was filled");
}

/// S7: where the broker gives the time, what producers said counts for nothing.
fn make_times(stage: &Stage) {
    let by_broker = ("message.timestamp.type", "LogAppendTime");
    stage.source.create("k-by-broker", 1, 1, &[by_broker]).unwrap();
    stage.source.create("k-by-producer", 1, 1, &[FOR_EVER]).unwrap();
    for topic in ["k-by-broker", "k-by-producer"] {
        (0..3).for_each(|_| write(&stage.source, topic, LONG_AGO_MS));
    }
}

fn times_of_the_broker_are_todays(stage: &Stage) {
    let note = "producer.id.expiration.ms";
    let (level, findings) = stage.judged("k-by-producer");
    assert!(level == "exact" && findings.contains(note), "{level}: {findings}");
    let (level, findings) = stage.judged("k-by-broker");
    assert!(level == "exact" && !findings.contains(note), "{level}: {findings}");
    assert!(!findings.contains("days old"), "{findings}");
}

fn readers_see_the_times_of_the_broker(stage: &Stage, isolog: &Isolog) {
    isolog.wait_copied("k-by-broker", 0, 3 * BATCH);
    let all = DumpSpec::committed(&["k-by-broker".to_owned()]).typeless();
    let ours = dump(Reader::Java, stage.clusters.0.bootstrap(), &all).unwrap();
    assert_eq!(ours[0].records, 3 * BATCH as u64);
    assert_equal(&ours, &dump(Reader::Java, stage.clusters.1.bootstrap(), &all).unwrap());
}

/// A limit of times at the destination, and a record that breaks it.
struct Narrow {
    topic: &'static str,
    limit: (&'static str, &'static str),
    words: &'static str,
    shift_ms: i64,
}

/// S9.
const NARROW: [Narrow; 2] = [
    Narrow {
        topic: "k-tomorrow",
        limit: (AFTER, "3600000"),
        words: "ahead of the clock",
        shift_ms: DAY_MS,
    },
    Narrow { topic: "k-last-year", limit: (BEFORE, "86400000"), words: "old", shift_ms: -YEAR_MS },
];

/// Topics that are there already, the limit told before anything breaks it, and then once more.
fn narrow_limits_are_told_beforehand(stage: &Stage) {
    for Narrow { topic, limit, words, shift_ms } in NARROW {
        stage.source.create(topic, 1, 1, &[FOR_EVER, (AFTER, NO_LIMIT)]).unwrap();
        let mut configs = vec![FOR_EVER, limit];
        configs.extend((limit.0 == BEFORE).then_some((AFTER, NO_LIMIT)));
        stage.destination.create(topic, 1, 1, &configs).unwrap();
        write(&stage.source, topic, now_ms());
        let (level, findings) = stage.judged(topic);
        let (key, value) = limit;
        let note = format!("{key} at the destination is {value}, the source takes more");
        assert!(level == "exact" && findings.contains(&note), "{level}: {findings}");
        write(&stage.source, topic, now_ms() + shift_ms);
        let (level, findings) = stage.judged(topic);
        assert!(level == "exact" && findings.contains(words), "{level}: {findings}");
        let cure = format!("{key} at the destination is {value}: isolog raises it");
        assert!(findings.contains(&cure), "{findings}");
    }
}

/// A mirror topic has no such limit while it is one: who may alter configs takes it away.
fn a_narrow_limit_is_opened(stage: &Stage, isolog: &Isolog) {
    for Narrow { topic, limit: (key, _), .. } in NARROW {
        stage.copied(isolog, topic);
        let is = stage.destination.config(topic, key).unwrap();
        assert_eq!(is.as_deref(), Some(NO_LIMIT), "{topic}: {key}");
    }
}

/// S10: what the source holds of a time when it took more.
fn make_large(stage: &Stage) {
    let size = |bytes| ("max.message.bytes", bytes);
    stage.source.create("k-large", 1, 1, &[size("4000000")]).unwrap();
    let value: String = (0..3_000_000u32).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    let large: Bytes = Build::new(now_ms(), vec![Record::new("key", &value)]).bytes();
    assert!(large.len() > 3_000_000);
    stage.source.produce_bytes("k-large", 0, large).unwrap();
    stage.source.alter("k-large", "max.message.bytes", Some("1000000")).unwrap();
    write(&stage.source, "k-large", now_ms());
    let (level, findings) = stage.judged("k-large");
    assert_eq!(level, "exact", "{findings}");
}

fn what_the_source_took_once_is_copied(stage: &Stage, isolog: &Isolog) {
    stage.copied(isolog, "k-large");
    let takes = stage.destination.config("k-large", "max.message.bytes").unwrap();
    assert_eq!(takes.as_deref(), Some("52428800"));
}

/// How often the source's broker has refused a connection for want of room.
fn refusals(stage: &Stage) -> usize {
    let log = fs::read_to_string(stage.clusters.0.dir().join("node1/log")).unwrap();
    log.lines().filter(|line| line.contains("Rejected connection from")).count()
}

/// The broker may still count connections that were closed, and close ours.
fn set_limit(stage: &Stage, value: Option<&str>) {
    let until = Instant::now() + Duration::from_secs(LOOK_SECONDS_MAX);
    loop {
        match stage.source.ask_any(1, &broker_config_request(1, PER_ADDRESS, value)) {
            Ok(told) => return assert_eq!(told.responses[0].error_code, 0),
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        sleep(Duration::from_millis(100));
    }
}

/// Lets the source take so many connections of this machine, and waits until it does so.
fn limit_connections(stage: &Stage, connections: usize) {
    let value = connections.to_string();
    set_limit(stage, Some(&value));
    let until = Instant::now() + Duration::from_secs(LOOK_SECONDS_MAX);
    while !is_full(stage.clusters.0.bootstrap(), connections) {
        assert!(Instant::now() < until, "{PER_ADDRESS} does not hold");
        sleep(Duration::from_millis(100));
    }
}

/// Whether beside so many connections one more is closed at once.
fn is_full(address: &str, connections: usize) -> bool {
    let open = || TcpStream::connect(address).unwrap();
    let held: Vec<TcpStream> = (0..connections).map(|_| open()).collect();
    let mut more = open();
    more.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let is_closed = match more.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    drop(held);
    is_closed
}

/// S8: beside those that ask no connection is left for reading.
fn a_broker_without_a_free_connection_is_given_up_once(stage: &Stage) {
    stage.source.create("q-many", MANY as i32, 1, &[]).unwrap();
    for partition in 0..MANY as i32 {
        let some = Build::plain(now_ms(), "many", 5);
        stage.source.produce("q-many", partition, &some).unwrap();
    }
    limit_connections(stage, ASKING);
    let before = refusals(stage);
    let (code, report, said) = stage.check(&["q-many"]);
    let refused = refusals(stage) - before;
    println!("S8: {refused} connections were refused\n{said}");
    assert_eq!(code, Some(4), "{said}{report}");
    let gave_up = "broker 1 at the source gives no further connection for reading: see that \
                   max.connections.per.ip and max.connections there allow for a few more";
    let findings = report["topics"][0]["findings"].to_string();
    assert!(findings.contains(&format!("{MANY} partitions: {gave_up}")), "{report}");
    let told = said.lines().filter(|line| line.contains(gave_up)).count();
    assert_eq!(told, 1, "it is told once: {said}");
    assert!(said.contains(&format!("{MANY} partitions to look at")), "{said}");
    assert!(refused <= REFUSALS_MAX, "{refused} connections were refused");

    // one that is left is enough for all of them
    limit_connections(stage, ASKING + 1);
    let (code, report, said) = stage.check(&["q-many"]);
    assert_eq!(code, Some(0), "{said}{report}");
    assert_eq!(report["topics"][0]["offsets"], MANY * 5, "{report}");
    set_limit(stage, None);
}

/// Must show: H6, S7, S8, S9 and S10.
#[test]
fn what_people_have_is_told_beforehand_and_copied_or_named() {
    let _room = room(2);
    let stage = Stage::start();
    make_far(&stage);
    make_times(&stage);
    make_large(&stage);
    narrow_limits_are_told_beforehand(&stage);
    times_of_the_broker_are_todays(&stage);
    let (level, findings) = stage.judged("k-far");
    // a few places are looked at: the least that the gap can be is told
    let holes = "offsets in a row hold no record, gap.offsets.max is 10000000000: raise it";
    assert!(level == "impossible" && findings.contains(holes), "{level}: {findings}");
    a_broker_without_a_free_connection_is_given_up_once(&stage);

    let isolog = Isolog::start(&stage.spec(&["k-*"])).unwrap();
    what_the_source_took_once_is_copied(&stage, &isolog);
    readers_see_the_times_of_the_broker(&stage, &isolog);
    a_gap_without_end_is_not_filled(&stage, &isolog);
    a_narrow_limit_is_opened(&stage, &isolog);
    assert!(!isolog.log().contains("panicked"), "{}", isolog.log());
}
