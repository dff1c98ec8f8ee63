//! The journal's driver on stock Kafka 4.3.1: what control.md says of two writers, stale ones,
//! strangers, forgotten ids, the cleaner, and a journal that was made anew.
//!
//! It never skips, and never waits for luck: what must have happened is read from the broker.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;
use std::time::Duration;

use isolog::cluster::Cluster;
use isolog::cluster::dial::TcpDial;
use isolog::flow::Wall;
use isolog::ids::PartitionId;
use isolog::ids::Side;
use isolog::ids::TimestampMs;
use isolog::ids::TopicName;
use isolog::ids::TopicPartition;
use isolog::link::log;
use isolog::link::log::Log;
use isolog::link::log::OpenError;
use protocol_tests::broker::Build;
use protocol_tests::broker::Record;
use protocol_tests::instance::Instance;
use protocol_tests::real::Hand;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::LITERAL;
use protocol_tests::real::Operation;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::TOPIC;
use protocol_tests::real::isolog_once;
use protocol_tests::real::now_ms;
use protocol_tests::real::options;
use protocol_tests::real::room;
use tokio::runtime::Runtime;

const JOURNAL: &str = "__isolog";
/// Rows of this age are taken by the cleaner, and their writers forgotten.
const OLD_MS: i64 = 2 * 86_400_000;
/// Rows of this age open another segment behind the first ones, and are as clean.
const LESS_OLD_MS: i64 = OLD_MS - 7_200_000;
const DIAL: Duration = Duration::from_secs(5);
/// What anything may take; far more than it does.
const PATIENCE: Duration = Duration::from_secs(180);
/// Whom the broker takes everybody for.
const US: &str = "User:ANONYMOUS";

struct Stage {
    hand: Hand,
    there: RealCluster,
    runtime: Runtime,
}

async fn connect(bootstrap: &str) -> Arc<Cluster> {
    let options = options(Side::Destination, bootstrap, DIAL);
    Cluster::connect(options, Arc::new(TcpDial { timeout: DIAL }), 7).await.unwrap()
}

impl Stage {
    fn new(spec: RealSpec) -> Stage {
        let there = RealCluster::start(spec).unwrap();
        let hand = Hand::new(there.bootstrap());
        Stage { hand, there, runtime: Runtime::new().unwrap() }
    }

    fn now<T>(&self, work: impl Future<Output = T>) -> T {
        let patient = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await });
        patient.expect("it comes to an end")
    }

    async fn open(&self, age_ms: i64) -> Result<Log, OpenError> {
        let wall = Wall::new(TimestampMs(now_ms() - age_ms));
        Log::open(connect(self.there.bootstrap()).await, log::Options { replicas: Some(1), wall })
            .await
    }

    /// An instance that has read everything, and gives its rows this age.
    fn instance(&self, tag: u64, age_ms: i64) -> Instance {
        self.now(async {
            let mut one = Instance::new(self.open(age_ms).await.unwrap(), tag);
            one.level().await;
            one
        })
    }

    fn end(&self) -> i64 {
        self.hand.ends(JOURNAL, 0).unwrap().1
    }

    /// What a person's producer writes: no headers, no producer id.
    fn console(&self, key: &str, value: &str, age_ms: i64) -> i64 {
        let batch = Build::new(now_ms() - age_ms, vec![Record::new(key, value)]);
        self.hand.produce(JOURNAL, 0, &batch).unwrap()
    }

    /// How many producers the leader remembers.
    fn producers(&self) -> usize {
        let tp =
            TopicPartition { topic: TopicName::new(JOURNAL).unwrap(), partition: PartitionId(0) };
        self.now(async {
            let cluster = connect(self.there.bootstrap()).await;
            let leader = cluster.partition(&tp).unwrap().leader.unwrap();
            let asked = std::slice::from_ref(&tp);
            let mut told = cluster.describe_producers(leader, asked).await.unwrap();
            told.remove(&tp).unwrap().unwrap().len()
        })
    }

    fn wait(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        for _ in 0..PATIENCE.as_secs() * 4 {
            if is_so() {
                return;
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        panic!("{what} has not happened");
    }
}

/// Both read up to where either has come. What does not count is another thing for who read it
/// before the cleaner came.
async fn even(a: &mut Instance, b: &mut Instance) {
    let end = a.fold.end().max(b.fold.end());
    a.until(|a| a.fold.end() >= end).await;
    b.until(|b| b.fold.end() >= end).await;
    assert_eq!((a.fold.rows(), a.fold.end()), (b.fold.rows(), b.fold.end()));
}

fn two_writers_of_one_end(stage: &Stage, a: &mut Instance, b: &mut Instance) {
    stage.now(async {
        let mut of_both = (0, 0);
        for round in 0..40 {
            let value = format!("{round}");
            let two = [("link/b", Some("b")), ("link/a", Some(value.as_str()))];
            let (x, y) = (a.decide(&[("link/a", Some("a"))]), b.decide(&two[round % 2..]));
            assert_eq!(x.stamp.at, y.stamp.at);
            let skipped = a.skipped;
            let (of_a, of_b) = match round % 4 < 2 {
                true => tokio::join!(a.append(&x), b.append(&y)),
                false => {
                    let (of_b, of_a) = tokio::join!(b.append(&y), a.append(&x));
                    (of_a, of_b)
                }
            };
            let (of_a, of_b) = (of_a.unwrap(), of_b.unwrap());
            of_both = (of_both.0 + usize::from(of_a), of_both.1 + usize::from(of_b));
            even(a, b).await;
            // what a slow broker was sent a second time may land behind its answer, and first here
            let others = a.skipped - skipped;
            let is_late = !of_a && !of_b && others > 0;
            assert!(of_a != of_b || is_late, "round {round}: {of_a}, {of_b}, {others} skipped");
            assert_eq!(a.fold, b.fold);
            assert_eq!((a.counts(&y), b.counts(&x)), (of_b, of_a));
        }
        println!("two writers at 40 ends: {} and {} counted", of_both.0, of_both.1);
    });
}

/// A stranger's row spoils a key and the chain of sequences; a late batch, decided at another end
/// and sent when the broker remembers nobody, is skipped by all.
fn strangers_and_stale_writers(stage: &Stage, a: &mut Instance, b: &mut Instance) {
    let stale = b.decide(&[("link/a", Some("stale"))]);
    let at = stage.console("link/a", "theirs", OLD_MS);
    stage.now(async {
        a.until(|a| a.fold.end().get() == at + 1).await;
        even(a, b).await;
        let valid = a.fold.get("link/a").unwrap().to_owned();
        assert_ne!(valid, "theirs");
        assert_eq!(a.fold.spoiled().collect::<Vec<_>>(), [("link/a", valid.as_str())]);
        a.write(&[("link/a", Some(&valid))]).await.unwrap();
        even(a, b).await;
        assert_eq!(a.fold.spoiled().count(), 0);
    });
    let mut record = Record::new("link/a", "stale");
    let headers = stale.stamp.headers();
    record.headers =
        headers.iter().map(|(k, v)| (k.as_bytes().into(), Some(v.clone().into()))).collect();
    // an id that nobody has: the broker takes any sequence
    let late = Build::new(now_ms() - OLD_MS, vec![record]).producer((1 << 62) + 99, 0, 5);
    let at = stage.hand.produce(JOURNAL, 0, &late).unwrap();
    stage.now(async {
        a.until(|a| a.fold.end().get() == at + 1).await;
        even(a, b).await;
        assert_ne!(a.fold.get("link/a"), Some("stale"));
        for round in 0..3 {
            let value = format!("after {round}");
            b.write(&[("link/a", Some(&value))]).await.unwrap();
            a.write(&[("mirror/a/t", Some(&value))]).await.unwrap();
        }
        even(a, b).await;
    });
}

fn a_forgotten_writer_goes_on(stage: &Stage, a: &mut Instance, b: &mut Instance) {
    stage.wait("the broker forgets", || stage.producers() == 0);
    let end = stage.end();
    stage.now(async {
        a.write(&[("link/a", Some("remembered by nobody"))]).await.unwrap();
        b.until(|b| b.fold.get("link/a") == Some("remembered by nobody")).await;
        b.write(&[("link/a", Some("and on"))]).await.unwrap();
        even(a, b).await;
    });
    assert_eq!(stage.end(), end + 2, "nothing lies there twice");
}

/// What the cleaner leaves folds to the same rows, for who read it before and who reads it after.
fn the_cleaner_leaves_the_same_fold(stage: &Stage, a: &mut Instance, b: &mut Instance) {
    let many = |stage: &Stage| {
        let log = stage.hand.log(JOURNAL, 0).unwrap();
        log.batches.iter().map(|batch| batch.header.unwrap().count).sum::<i32>()
    };
    let before = many(stage);
    for (key, value) in [("segment.ms", "60000"), ("min.cleanable.dirty.ratio", "0.0001")] {
        stage.hand.alter(JOURNAL, key, Some(value)).unwrap();
    }
    // another segment, so that the cleaner may take the one before it
    let mut c = stage.instance(3, LESS_OLD_MS);
    stage.now(async {
        c.write(&[("link/c", Some("1")), ("mirror/a/t", None)]).await.unwrap();
        c.until(|c| c.fold.get("link/c").is_some()).await;
        let end = c.fold.end();
        a.until(|a| a.fold.end() >= end).await;
        even(a, b).await;
    });
    stage.wait("a pass of the cleaner", || many(stage) < before);
    println!("the cleaner left {} of {before} rows and more", many(stage));
    let mut d = stage.instance(4, 0);
    for other in [&*a, b, &c] {
        assert_eq!((d.fold.rows(), d.fold.end()), (other.fold.rows(), other.fold.end()));
    }
    stage.now(async {
        d.write(&[("link/d", Some("behind what was cleaned"))]).await.unwrap();
        a.until(|a| a.fold.get("link/d").is_some()).await;
        even(a, b).await;
        assert_eq!(a.fold.rows(), d.fold.rows());
    });
}

const LINK: &str = concat!(
    r#"{"v":1,"id":"AAAAAAAAQACAAAAAAAAAAA","mode":"DESTINATION","o"#,
    r#"rigin":"commanded","source_cluster":null,"configs":{},"gener"#,
    r#"ation":0,"paused":false,"leaving":false}"#
);

/// A person lists, copies out, deletes and puts back, while an instance looks on.
fn rows_are_edited_by_hand(stage: &Stage, a: &mut Instance) {
    let spec = IsologSpec::new("127.0.0.1:1", stage.there.bootstrap(), &["x"]);
    let isolog = |args: &[&str]| {
        let done = isolog_once(&spec, &[&["journal"], args].concat()).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    };
    // only what an isolog can read is put back
    for key in ["link/a", "link/b", "link/c", "link/d", "link/k", "mirror/a/t"] {
        stage.now(a.write(&[(key, None)])).unwrap();
    }
    stage.now(a.write(&[("link/east", Some(LINK)), ("link/west", Some(LINK))])).unwrap();
    let (code, kept, said) = isolog(&["export"]);
    assert_eq!((code, kept.lines().count()), (Some(0), 2), "{kept}{said}");
    let (code, listed, _) = isolog(&["list"]);
    assert!(
        code == Some(0) && listed.contains("link/east") && listed.contains("VALUE"),
        "{listed}"
    );
    let (_, listed, _) = isolog(&["list", "-o", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&listed[1]["key"], &listed[1]["value"]), (&"link/west".into(), &LINK.into()));
    let (code, said, why) = isolog(&["delete", "link/east"]);
    assert_eq!(code, Some(0), "{said}{why}");
    stage.now(a.until(|a| a.fold.get("link/east").is_none()));
    let (code, _, why) = isolog(&["delete", "link/east"]);
    assert!(code == Some(1) && why.contains("there is no row link/east"), "{why}");
    let file = stage.there.dir().join("rows.jsonl");
    let path = file.to_str().unwrap();
    std::fs::write(&file, format!("{kept}{{}}\n")).unwrap();
    let (code, _, why) = isolog(&["import", path]);
    assert!(code == Some(1) && why.contains("line 3") && why.contains("nothing was"), "{why}");
    std::fs::write(&file, &kept).unwrap();
    let (code, said, why) = isolog(&["import", path]);
    assert!(code == Some(0) && said.starts_with("1 of 2 rows"), "{said}{why}");
    stage.now(a.until(|a| a.fold.get("link/east") == Some(LINK)));
    assert_eq!(a.fold.spoiled().count(), 0);
}

/// A broker that is killed in the middle of writes: each counts once, and none is lost. One that
/// knows its writers again after its start lets nothing in twice; one that has forgotten them (all
/// rows are old) may, and then all skip what lies where it was not decided.
fn a_killed_broker_loses_nothing(
    stage: &Stage,
    (a, b): (&mut Instance, &mut Instance),
    remembers: bool,
) {
    for round in 0..3 {
        let end = stage.end();
        stage.now(a.until(|a| a.fold.end().get() >= end));
        let value = format!("kill {round}");
        let write = a.decide(&[("link/k", Some(&value))]);
        let tail = a.fold.end();
        let killed = std::thread::scope(|scope| {
            let sent = scope.spawn(|| {
                stage.now(async {
                    loop {
                        // refused: the broker was away for longer than a write is tried
                        if let Ok(counts) = a.append(&write).await {
                            break counts;
                        }
                    }
                })
            });
            stage.there.kill(1).unwrap();
            stage.there.restart(1).unwrap();
            sent.join().unwrap()
        });
        assert!(killed, "round {round}");
        let twice = stage.end() - end - 1;
        assert!(twice == 0 || !remembers, "round {round}, decided at {tail}: {twice} lie twice");
        stage.now(async { even(a, b).await });
    }
    assert_eq!((&a.lost, &b.lost), (&None, &None));
}

fn a_journal_that_was_made_anew_is_lost(stage: &Stage, a: &mut Instance, b: &mut Instance) {
    stage.hand.delete(JOURNAL).unwrap();
    stage.wait("the topic is gone", || stage.hand.ends(JOURNAL, 0).is_err());
    let c = stage.instance(5, 0);
    assert_eq!((c.fold.rows().len(), c.fold.end().get()), (0, 0));
    stage.now(async {
        for one in [a, b] {
            one.until(|one| one.lost.is_some()).await;
            let fault = one.lost.clone().unwrap();
            assert_eq!(fault.code, "JOURNAL_LOST");
            assert!(fault.text.contains("isolog journal import"), "{}", fault.text);
        }
    });
}

/// Must show: the journal's own faults, as broker facts A12 and A15 have them.
#[test]
fn every_instance_folds_the_same_whatever_lies_in_the_journal() {
    let _room = room(1);
    let spec = RealSpec::new("4.3.1", 1)
        .prop("producer.id.expiration.check.interval.ms", "2000")
        .prop("log.cleaner.backoff.ms", "300");
    let stage = Stage::new(spec);
    let (mut a, mut b) = (stage.instance(1, OLD_MS), stage.instance(2, OLD_MS));
    for (key, value) in [("cleanup.policy", "compact"), ("min.compaction.lag.ms", "86400000")] {
        assert_eq!(stage.hand.config(JOURNAL, key).unwrap().as_deref(), Some(value), "{key}");
    }
    two_writers_of_one_end(&stage, &mut a, &mut b);
    strangers_and_stale_writers(&stage, &mut a, &mut b);
    a_forgotten_writer_goes_on(&stage, &mut a, &mut b);
    the_cleaner_leaves_the_same_fold(&stage, &mut a, &mut b);
    a_killed_broker_loses_nothing(&stage, (&mut a, &mut b), false);
    let mut young = stage.instance(6, 0);
    a_killed_broker_loses_nothing(&stage, (&mut young, &mut b), true);
    stage.now(even(&mut young, &mut a));
    rows_are_edited_by_hand(&stage, &mut a);
    assert_eq!((&a.trouble, &b.trouble), (&None, &None));
    a_journal_that_was_made_anew_is_lost(&stage, &mut a, &mut b);
}

/// A journal of isolog 0.1 gets its lag where the right is there; rights that are missing are
/// named, and a policy that deletes rows is told as what it is.
#[test]
fn configs_and_rights_are_seen_to() {
    use Operation::*;
    let _room = room(1);
    let authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
    let spec = RealSpec::new("4.3.1", 1)
        .prop("authorizer.class.name", authorizer)
        .prop("allow.everyone.if.no.acl.found", "true");
    let stage = Stage::new(spec);
    stage.hand.create(JOURNAL, 1, 1, &[("cleanup.policy", "compact")]).unwrap();
    let on = (TOPIC, JOURNAL, LITERAL);
    stage.hand.allow_on(on, US, &[Read, Describe, DescribeConfigs]).unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while stage.hand.delete_records(JOURNAL, 0, 0).is_ok() {
        assert!(std::time::Instant::now() < until, "the broker does not know the rights");
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut a = stage.instance(1, 0);
    let text = a.trouble.clone().expect("the lag cannot be raised").text;
    assert!(text.contains("grant AlterConfigs on topic __isolog"), "{text}");
    let write = a.decide(&[("link/a", Some("1"))]);
    let fault = stage.now(a.append(&write)).unwrap_err();
    assert_eq!(fault.code, "TOPIC_AUTHORIZATION_FAILED");
    assert!(fault.text.contains("--operation Write --topic '__isolog'"), "{}", fault.text);
    assert_eq!(stage.end(), 0);
    stage.hand.allow_on(on, US, &[Write, AlterConfigs, Delete]).unwrap();
    stage.now(a.until(|a| a.trouble.is_none()));
    let lag = stage.hand.config(JOURNAL, "min.compaction.lag.ms").unwrap();
    assert_eq!(lag.as_deref(), Some("86400000"));
    assert_eq!(stage.now(a.write(&[("link/a", Some("1"))])), Ok(()));
    stage.hand.alter(JOURNAL, "max.message.bytes", Some("78")).unwrap();
    stage.wait("the limit is in force", || {
        let fault = stage.now(a.write(&[("link/a", Some("2"))]));
        fault.is_err_and(|fault| fault.code == "MESSAGE_TOO_LARGE")
    });
    stage.hand.alter(JOURNAL, "cleanup.policy", Some("compact,delete")).unwrap();
    stage.now(a.until(|a| a.lost.is_some()));
    let text = a.lost.clone().unwrap().text;
    assert!(text.contains("compact,delete") && text.contains("cleanup.policy=compact"), "{text}");
    let opened = stage.now(stage.open(0)).err().expect("it is refused").to_string();
    assert!(opened.contains("--add-config cleanup.policy=compact"), "{opened}");
}
