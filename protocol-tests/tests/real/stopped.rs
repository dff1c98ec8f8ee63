//! Promote and failover on real Kafka, ordered by `isolog mirror` and by REST: what is copied,
//! where it is sealed, what is refused behind the seal, and who goes on.
//!
//! It never skips, and compares batch by batch what both logs hold.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::fs::File;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::thread::sleep;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::AlterUserScramCredentialsRequest;
use kafka_protocol::messages::alter_user_scram_credentials_request::ScramCredentialUpsertion;
use kafka_protocol::protocol::StrBytes;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::batch::Header;
use protocol_tests::check::batches_equal;
use protocol_tests::real::DumpSpec;
use protocol_tests::real::Load;
use protocol_tests::real::LoadSpec;
use protocol_tests::real::Reader;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::assert_equal;
use protocol_tests::real::dump;
use protocol_tests::real::isolog_binary;
use protocol_tests::real::now_ms;
use protocol_tests::real::peer;
use protocol_tests::real::room;
use protocol_tests::real::run;
use serde_json::Value;
use serde_json::json;

use crate::operated::Stage;
use crate::operated::until;
use crate::rescued::a_tail_is_saved;
use crate::served::Program;

const DAY_MS: i64 = 86_400_000;
const PLAIN: &str = "s-plain";
const TXN: &str = "s-txn";
const KEYED: &str = "s-keyed";
const TOPICS: [&str; 3] = [PLAIN, TXN, KEYED];
const PARTITIONS: i32 = 2;
const COMPACTED: [(&str, &str); 2] =
    [("cleanup.policy", "compact"), ("min.compaction.lag.ms", "86400000")];
/// What each producer writes to the former mirrors.
const RECORDS: u64 = 1_000;
/// Kafka's number of a mechanism.
const SCRAM_SHA_512: i8 = 2;
/// Where events become records.
const EVENTS: &str = "s-events";
const EVENTS_LINE: &str = "events.topic = \"s-events\"\n";
/// What isolog says when the topics are not STOPPED in time.
const NOT_YET: i32 = 6;

/// A stage with the program on it, a link, and mirrors of some topics.
struct Mirrored {
    stage: Stage,
    program: Program,
}

impl Mirrored {
    fn start(specs: (RealSpec, RealSpec)) -> Mirrored {
        let stage = Stage::on(RealCluster::both(specs.0, specs.1).unwrap());
        let program = Program::with(&stage.clusters.1, EVENTS_LINE);
        let mirrored = Mirrored { stage, program };
        mirrored.link("dr");
        mirrored
    }

    fn link(&self, name: &str) {
        let config = |name: &str, value: &str| json!({ "name": name, "value": value });
        let configs = [
            config("bootstrap.servers", self.stage.clusters.0.bootstrap()),
            config("metadata.max.age.ms", "1000"),
            config("batch.merge", "never"),
        ];
        let body = json!({ "configs": configs });
        self.program.order("POST", &format!("?link_name={name}"), Some(&body));
    }

    fn mirror(&self, topic: &str) {
        self.program.order("POST", "/dr/mirrors", Some(&json!({ "source_topic_name": topic })));
    }

    /// `isolog mirror …`, as a person types it.
    fn cli(&self, args: &[&str]) -> Output {
        let mut command = Command::new(isolog_binary().unwrap());
        command.arg("mirror").args(args);
        let url = format!("http://127.0.0.1:{}", self.program.isolog.port());
        command.args(["--link", "dr", "-o", "json", "--url", &url]).output().unwrap()
    }

    fn obeyed(&self, args: &[&str]) -> Value {
        let output = self.cli(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn wait_status(&self, topic: &str, status: &str) {
        let is = |_: &_| (self.program.status(topic)? == status).then_some(());
        self.program.isolog.wait_for(&format!("{topic} is {status}"), 90, is);
    }

    /// What REST shows of a partition: its lag and its `last_source_fetch_offset`.
    fn lag(&self, topic: &str, partition: i32) -> (i64, i64) {
        let path = format!("{}/dr/mirrors/{topic}", self.program.links);
        let shown = self.program.isolog.get(&path).unwrap();
        let one = &shown["mirror_lags"][partition as usize];
        (one["lag"].as_i64().unwrap(), one["last_source_fetch_offset"].as_i64().unwrap())
    }

    /// The header of the batch behind everything that was mirrored: the seal, which no reader sees.
    fn seal(&self, topic: &str, partition: i32, end: i64) -> Header {
        let log = self.stage.destination.log(topic, partition).unwrap();
        let seal = log.batches.iter().find(|batch| batch.base == end);
        let header = seal.unwrap_or_else(|| panic!("{topic}-{partition}: no seal")).header.unwrap();
        assert_eq!((header.producer_epoch, header.base_sequence), (1, 0), "{topic}-{partition}");
        assert!(header.producer_id >= 1 << 62 && header.last_offset_delta == 0);
        header
    }

    /// The copy holds batch by batch what the source had, and the seal is behind it.
    fn assert_copied(
        &self,
        topic: &str,
        partition: i32,
        source: &protocol_tests::broker::direct::Dump,
    ) {
        let copy = self.stage.destination.log(topic, partition).unwrap();
        let differences = batches_equal(source, &copy, source.start, source.end);
        assert_eq!(differences, Vec::<String>::new(), "{topic}-{partition}");
        self.seal(topic, partition, source.end);
    }
}

/// `isolog events --follow`, as a script reads it: over every kill of isolog.
struct Follower {
    child: Child,
    file: PathBuf,
}

impl Follower {
    fn start(on: &Mirrored) -> Follower {
        let file = on.program.isolog.config().with_file_name("events.jsonl");
        let url = format!("http://127.0.0.1:{}", on.program.isolog.port());
        let mut command = Command::new(isolog_binary().unwrap());
        command.args(["events", "--follow", "--link", "dr", "-o", "json", "--url", &url]);
        let child = command.stdout(File::create(&file).unwrap()).spawn().unwrap();
        let follower = Follower { child, file };
        follower.wait("it mirrors", |one| one["kind"] == "mirror" && one["to"] == "ACTIVE");
        follower
    }

    fn wait(&self, what: &str, is: impl Fn(&Value) -> bool) {
        until(&format!("an event: {what}"), || {
            let text = fs::read_to_string(&self.file).unwrap();
            // the last line may be half written
            let mut all = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            all.any(|line| is(&serde_json::from_str(line).unwrap())).then_some(())
        });
    }

    /// Ctrl-C is how it ends, and no failure; what it printed since the last start of isolog is a
    /// record too: one that is killed may leave its last events to the next start.
    fn end(mut self, on: &Mirrored) {
        run(Command::new("kill").arg("-INT").arg(self.child.id().to_string())).unwrap();
        assert!(self.child.wait().unwrap().success());
        let text = fs::read_to_string(&self.file).unwrap();
        let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let cursor = |one: &Value| one["cursor"].as_str().unwrap().to_owned();
        let printed: Vec<String> =
            all.filter(|one| one["kind"] != "lost").map(|one| cursor(&one)).collect();
        let start = |one: &String| one.rsplit_once('.').unwrap().0.to_owned();
        let last = printed.last().map(start);
        let printed: Vec<String> =
            printed.into_iter().filter(|one| Some(start(one)) == last).collect();
        until("all events are records", || {
            let written: Vec<String> = events_written(on).iter().map(cursor).collect();
            // what was answered to nobody may stand there twice
            let mut places = printed.iter().map(|one| written.iter().position(|it| it == one));
            let found: Vec<usize> = places.by_ref().collect::<Option<_>>()?;
            assert!(found.is_sorted(), "{printed:?} {written:?}");
            Some(())
        });
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
    }
}

/// The values of the records of `events.topic`.
fn events_written(on: &Mirrored) -> Vec<Value> {
    let log = on.stage.destination.read(EVENTS, 0).unwrap();
    let records = log.batches.into_iter().flat_map(|batch| batch.records.unwrap());
    records.map(|one| serde_json::from_slice(&one.value.unwrap()).unwrap()).collect()
}

fn load(topics: &[(&str, &str)], rate: Option<u64>, more: &[&str]) -> LoadSpec {
    LoadSpec {
        topics: topics.iter().map(|(name, codec)| (name.to_string(), codec.to_string())).collect(),
        create: None,
        records: rate.is_none().then_some(RECORDS),
        rate,
        more: more.iter().map(|one| (*one).to_owned()).collect(),
    }
}

/// The producers, the same on both sides; the transactional one has the same id there too.
fn producers(bootstrap: &str, rate: Option<u64>) -> [Load; 3] {
    let keyed = ["--keys", "150", "--size", "100"];
    let txn = ["--txn", "20", "--abort-percent", "30", "--txn-id", "mover"];
    let specs = [
        load(&[(PLAIN, "lz4")], rate, &[]),
        load(&[(KEYED, "gzip")], rate, &keyed),
        load(&[(TXN, "zstd")], rate, &txn),
    ];
    specs.map(|spec| Load::start(bootstrap, &spec).unwrap())
}

fn places() -> impl Iterator<Item = (&'static str, i32)> {
    TOPICS.into_iter().flat_map(|topic| (0..PARTITIONS).map(move |partition| (topic, partition)))
}

fn read(reader: Reader, bootstrap: &str) -> Vec<protocol_tests::real::PartitionDigest> {
    dump(reader, bootstrap, &DumpSpec::committed(&TOPICS.map(str::to_owned))).unwrap()
}

/// Nothing is level while the copy is slower than what is written, whoever stands still.
fn slow(on: &Mirrored, rate: Option<f64>) {
    on.stage.destination.quota("isolog", "producer_byte_rate", rate).unwrap();
}

/// Must show: a promote under load waits until the source rests, loses nothing, and Java's and
/// librdkafka's clients go on at once at the next offset.
#[test]
fn a_promote_under_load_loses_nothing_and_clients_go_on() {
    let _room = room(2);
    let spec = || RealSpec::new("4.3.1", 1);
    let on = Mirrored::start((spec(), spec()));
    for topic in TOPICS {
        let configs = if topic == KEYED { &COMPACTED[..] } else { &[] };
        on.stage.source.create(topic, PARTITIONS, 1, configs).unwrap();
        on.mirror(topic);
    }
    let loads = producers(on.stage.clusters.0.bootstrap(), Some(150));
    for (topic, partition) in places() {
        until(&format!("{topic}-{partition} is copied"), || {
            (on.stage.destination.ends(topic, partition).ok()?.1 >= 100).then_some(())
        });
    }
    slow(&on, Some(2_000.0));
    let dry = on.obeyed(&["promote", "--all", "--dry-run"]);
    assert_eq!(dry.as_array().map(Vec::len), Some(6), "{dry}");
    clients_are_compared(&on);
    on.wait_status(PLAIN, "ACTIVE");
    // as long as it is written to it waits, and goes back when its time is over
    let late = on.cli(&["promote", PLAIN, "--wait", "--timeout", "8"]);
    assert_eq!(late.status.code(), Some(NOT_YET), "{late:?}");
    on.wait_status(PLAIN, "ACTIVE");
    on.obeyed(&["promote", "--all"]);
    on.wait_status(TXN, "PENDING_STOPPED");
    slow(&on, None);
    let written = loads.map(|load| load.stop().unwrap().records);
    assert!(written.iter().all(|count| *count > 0));
    on.obeyed(&["promote", "--pattern", ".*", "--wait", "--timeout", "240"]);
    for (topic, partition) in places() {
        let source = on.stage.source.log(topic, partition).unwrap();
        assert_eq!(on.lag(topic, partition), (0, source.end), "{topic}-{partition}: no tail");
        on.seal(topic, partition, source.end);
    }
    let source = read(Reader::Java, on.stage.clusters.0.bootstrap());
    let destination = on.stage.clusters.1.bootstrap();
    let behind = |digests: &[protocol_tests::real::PartitionDigest]| {
        let each = digests.iter().map(|one| (one.topic.clone(), one.records, one.sha256.clone()));
        each.collect::<Vec<_>>()
    };
    for reader in [Reader::Java, Reader::Librdkafka] {
        assert_eq!(behind(&source), behind(&read(reader, destination)), "{reader:?}");
    }
    // at once, under the ids that they had at the source
    let loaded = producers(destination, None).map(|load| load.wait().unwrap());
    assert!(loaded.iter().all(|one| one.records == RECORDS && one.errors == 0), "{loaded:?}");
    let mut command = Command::new(peer("rk-loop").unwrap());
    let (from, to) = (on.stage.clusters.0.bootstrap(), destination);
    command.args(["--source", from, "--destination", to, "--topics", PLAIN]);
    run(command.args(["--codec", "snappy"])).unwrap();
    for (topic, partition) in places() {
        let end = on.lag(topic, partition).1;
        let log = on.stage.destination.log(topic, partition).unwrap();
        let next = log.batches.iter().find(|batch| batch.base > end).map(|batch| batch.base);
        assert!(next.is_none() || next == Some(end + 1), "{topic}-{partition}: {next:?}");
        assert!(
            !log.batches
                .iter()
                .any(|batch| { batch.base > end && batch.header.unwrap().producer_id >= 1 << 62 })
        );
    }
    let (java, librdkafka) =
        (read(Reader::Java, destination), read(Reader::Librdkafka, destination));
    assert_equal(&java, &librdkafka);
    a_tail_is_saved(&on.stage, &on.program.isolog, (PLAIN, on.lag(PLAIN, 0).1), PARTITIONS * 3);
    let again = on.cli(&["promote", PLAIN]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("already stopped its mirror"));
    assert!(!on.program.isolog.log().contains("panicked"));
}

/// Users with passwords and quotas that only one side has are told before a promote.
fn clients_are_compared(on: &Mirrored) {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let (salt, hash) = (Bytes::from_static(b"salt"), Bytes::from_static(&[7; 64]));
    let alice = ScramCredentialUpsertion::default()
        .with_name(text("alice"))
        .with_mechanism(SCRAM_SHA_512)
        .with_iterations(4096)
        .with_salt(salt)
        .with_salted_password(hash);
    let request = AlterUserScramCredentialsRequest::default().with_upsertions(vec![alice]);
    let told = on.stage.source.ask_any(0, &request).unwrap();
    assert!(told.results.iter().all(|one| one.error_code == 0), "{told:?}");
    let line = |check: &str| {
        let path = format!("{}/dr/mirrors:promote?validate_only=true", on.program.links);
        let names = json!({ "mirror_topic_names": [PLAIN] });
        let (_, told) = on.program.isolog.order("POST", &path, Some(&names)).unwrap();
        let checks = told["data"][0]["checks"].as_array().unwrap().clone();
        let line = checks.into_iter().find(|line| line["check"] == check);
        line.map(|line| (line["ok"] == true, line["text"].as_str().unwrap().to_owned()))
    };
    // any broker may be a moment behind its controller
    let missing = Some((false, "not here: alice (SCRAM-SHA-512)".to_owned()));
    until("a user is missing", || (line("SCRAM users") == missing).then_some(()));
    let other = "client-id=isolog: producer_byte_rate is none at the source, 2000 here";
    assert_eq!(line("quotas"), Some((false, other.to_owned())));
}

/// Must show: a failover asks nothing of a source that is dead or frozen, is finished after a
/// SIGKILL at any moment, and nothing of the link lands behind its seal, on old data too.
#[test]
fn a_failover_needs_no_source_and_is_finished_after_a_kill() {
    let _room = room(2);
    let forgetful = RealSpec::new("4.3.1", 1)
        .prop("producer.id.expiration.check.interval.ms", "1000")
        .prop("log.retention.ms", "-1");
    let mut on = Mirrored::start((RealSpec::new("4.3.1", 1), forgetful));
    let topics = ["s-old", "s-young", "s-empty"];
    let mut logs = Vec::new();
    for topic in topics {
        on.stage.source.create(topic, 1, 1, &[("retention.ms", "-1")]).unwrap();
        let time = if topic == "s-old" { now_ms() - 2 * DAY_MS } else { now_ms() };
        for n in 0..3 {
            if topic != "s-empty" {
                on.stage
                    .source
                    .produce(topic, 0, &Build::plain(time, &format!("b{n}"), 10))
                    .unwrap();
            }
        }
        on.mirror(topic);
        logs.push(on.stage.source.log(topic, 0).unwrap());
    }
    for (topic, log) in topics.into_iter().zip(&logs) {
        until("copied", || (on.stage.destination.ends(topic, 0).ok()?.1 == log.end).then_some(()));
    }
    let follower = Follower::start(&on);
    on.stage.clusters.0.kill(1).unwrap();
    // SIGKILL after each of these pauses behind the order
    for (topic, pause_ms) in topics.into_iter().zip([0, 40, 400]) {
        on.obeyed(&["failover", topic]);
        sleep(Duration::from_millis(pause_ms));
        on.program.isolog.kill();
        on.program.isolog.start_again().unwrap();
        on.wait_status(topic, "STOPPED");
    }
    for topic in topics {
        let stopped = |one: &Value| one["topic"] == topic && one["code"] == "FAILED_OVER";
        follower.wait(topic, |one| stopped(one) && one["to"] == "STOPPED");
    }
    let ordered = "UpdateKafkaMirrorTopicsFailover";
    follower
        .wait("an order", |one| one["order"]["name"] == ordered && !one["order"]["who"].is_null());
    follower.wait("the restart", |one| one["kind"] == "lost" && one["code"] == "RESTARTED");
    follower.end(&on);
    // the broker looks every second for writers to be forgotten
    sleep(Duration::from_secs(4));
    for (topic, log) in topics.into_iter().zip(&logs) {
        on.assert_copied(topic, 0, log);
        assert_eq!(on.lag(topic, 0), (-1, log.end), "{topic}: nobody can say what is lost");
        let seal = on.seal(topic, 0, log.end);
        assert!(seal.max_timestamp > now_ms() - 13 * 3_600_000, "{topic}: {seal:?}");
        for (epoch, sequence) in [(0, log.end), (0, log.end - 10), (1, log.end + 5)] {
            let late = Build::plain(now_ms() - 2 * DAY_MS, "late", 10);
            let late = late.producer(seal.producer_id, epoch, sequence.max(0) as i32);
            let answer = on.stage.destination.produce(topic, 0, &late);
            let told = format!("{:?}", answer.as_ref().err());
            assert!(told.contains("47") || told.contains("45"), "{topic} {epoch}: {answer:?}");
        }
        let next = on.stage.destination.produce(topic, 0, &Build::plain(now_ms(), "next", 1));
        assert_eq!(next.unwrap(), log.end + 1, "{topic}");
    }
    assert!(!on.program.isolog.log().contains("panicked"));
}

/// A transaction of one record that is aborted: of what the source has then nothing is a record.
fn abort_one(on: &Mirrored, topic: &str) {
    let more = ["--txn", "1", "--abort-percent", "100"].map(str::to_owned).to_vec();
    let topics = vec![(topic.to_owned(), "none".to_owned())];
    let spec = LoadSpec { topics, create: None, records: Some(1), rate: None, more };
    Load::start(on.stage.clusters.0.bootstrap(), &spec).unwrap().wait().unwrap();
}

/// Must show: a topic is sealed, adopted by another link and sealed again, three times round; the
/// first link is deleted and made again under its name.
#[test]
fn a_topic_is_sealed_and_a_mirror_again_three_times_round() {
    let _room = room(2);
    let spec = || RealSpec::new("4.3.1", 1);
    let on = Mirrored::start((spec(), spec()));
    let topic = "s-round";
    on.stage.source.create(topic, 1, 1, &[]).unwrap();
    let mut writers: Vec<i64> = Vec::new();
    for (round, link) in ["dr", "other", "dr"].into_iter().enumerate() {
        if round > 0 {
            abort_one(&on, topic);
            on.link(link);
        }
        let names = json!({ "source_topic_name": topic });
        on.program.order("POST", &format!("/{link}/mirrors"), Some(&names));
        on.stage.write(topic, 0);
        let ends = on.stage.source.ends(topic, 0).unwrap();
        until("it is copied", || (on.stage.destination.ends(topic, 0).ok()? == ends).then_some(()));
        let path = format!("/{link}/mirrors:promote");
        on.program.order("POST", &path, Some(&json!({ "mirror_topic_names": [topic] })));
        let shown = format!("{}/{link}/mirrors/{topic}", on.program.links);
        on.program.isolog.wait_for("it is STOPPED", 90, |isolog| {
            (isolog.get(&shown)?["mirror_status"] == "STOPPED").then_some(())
        });
        let (source, copy) =
            (on.stage.source.read(topic, 0).unwrap(), on.stage.destination.log(topic, 0).unwrap());
        let differences = batches_equal(&source, &copy, source.start, source.end);
        assert_eq!(differences, Vec::<String>::new(), "{link}, round {round}");
        writers.push(on.seal(topic, 0, source.end).producer_id);
        for writer in &writers {
            let late = Build::plain(now_ms(), "late", 1).producer(*writer, 0, source.end as i32);
            let answer = on.stage.destination.produce(topic, 0, &late);
            let told = format!("{:?}", answer.as_ref().err());
            assert!(told.contains("47") || told.contains("45"), "{link}: {answer:?}");
        }
        on.program.order("DELETE", &format!("/{link}?force=true"), None);
        let gone = format!("{}/{link}", on.program.links);
        on.program.isolog.wait_for("the link is gone", 60, |isolog| {
            (isolog.order("GET", &gone, None)?.0 == 404).then_some(())
        });
    }
    let distinct: std::collections::BTreeSet<_> = writers.iter().collect();
    assert_eq!(distinct.len(), writers.len(), "{writers:?}");
}
