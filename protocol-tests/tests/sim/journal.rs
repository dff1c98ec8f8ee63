//! The journal's driver over simulated brokers: two writers, stale ones and strangers, lost
//! answers, refusals, a cleaner, and each way in which a journal is lost.
//!
//! It never waits for real time.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;
use std::time::Duration;

use isolog::cluster::Cluster;
use isolog::cluster::Options;
use isolog::cluster::keyed::KeyedLog;
use isolog::control::topic::Fault;
use isolog::flow::Wall;
use isolog::ids::Side;
use isolog::ids::TimestampMs;
use isolog::ids::TopicName;
use isolog::link::log;
use isolog::link::log::Log;
use isolog::link::log::OpenError;
use isolog::sync::folded;
use kafka_protocol::messages::ApiKey;
use protocol_tests::broker::Build;
use protocol_tests::broker::Codec;
use protocol_tests::broker::Record;
use protocol_tests::broker::Spec;
use protocol_tests::broker::TestCluster;
use protocol_tests::broker::Version;
use protocol_tests::broker::old::Format;
use protocol_tests::broker::old::Message;
use protocol_tests::broker::rights::Right;
use protocol_tests::broker::takeover::Act;
use protocol_tests::instance::Instance;
use protocol_tests::net::Net;
use protocol_tests::net_dial::NetDial;
use tokio::time::sleep;

const JOURNAL: &str = "__isolog";
const SECOND: Duration = Duration::from_secs(1);

struct Lab {
    there: TestCluster,
}

impl Lab {
    fn new(spec: Spec) -> Lab {
        Lab { there: TestCluster::start(&Net::new(7), spec) }
    }

    fn single() -> Lab {
        Lab::new(Spec::single("there", 7))
    }

    async fn connect(&self) -> Arc<Cluster> {
        let options = Options {
            side: Side::Destination,
            bootstrap: self.there.bootstrap(),
            client_id: "isolog".into(),
            request_timeout: SECOND * 10,
            dial_timeout: SECOND * 5,
            metadata_age_max: SECOND * 300,
            redial_pause: SECOND / 20,
            redial_pause_max: SECOND,
            retry_pause: SECOND / 20,
            retry_pause_max: SECOND,
            rack: String::new(),
            size_max: Default::default(),
            security: Default::default(),
        };
        let net = self.there.net().clone();
        let dial = Arc::new(NetDial { net, client: String::new(), timeout: SECOND * 5 });
        Cluster::connect(options, dial, 7).await.unwrap()
    }

    fn options(&self) -> log::Options {
        let now_ms = self.there.look(|state| state.now_ms());
        log::Options { replicas: None, wall: Wall::new(TimestampMs(now_ms)) }
    }

    async fn open(&self) -> Result<Log, OpenError> {
        Log::open(self.connect().await, self.options()).await
    }

    async fn instance(&self, tag: u64) -> Instance {
        let mut one = Instance::new(self.open().await.unwrap(), tag);
        one.level().await;
        one
    }

    /// What a person's producer writes: no headers, no producer id.
    fn console(&self, key: &str, value: &str) -> i64 {
        let now_ms = self.there.look(|state| state.now_ms());
        self.there.append(JOURNAL, 0, &Build::new(now_ms, vec![Record::new(key, value)]))
    }

    fn config(&self, key: &str) -> Option<String> {
        self.there.look(|state| state.meta.topics().get(JOURNAL)?.configs.get(key).cloned())
    }

    fn end(&self) -> i64 {
        self.there.dump(JOURNAL, 0).end
    }

    /// Answers the next `count` appends so.
    fn disturb(&self, count: usize, mut act: impl FnMut() -> Act + Send + 'static) {
        let mut left = count;
        self.there.control_key(ApiKey::Produce, move |_| {
            left = left.checked_sub(1)?;
            Some(act())
        });
    }
}

fn refused(opened: Result<Log, OpenError>) -> Fault {
    match opened.err().expect("it is refused") {
        OpenError::Refused(fault) => fault,
        OpenError::Cluster(error) => panic!("{error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_topic_is_made_as_it_must_be_and_rows_come_back_to_all() {
    for version in [Version::V2_8, Version::V3_9, Version::V4_3] {
        let lab = Lab::new(Spec { version, ..Spec::triple("there", 7) });
        let (mut a, mut b) = (lab.instance(1).await, lab.instance(2).await);
        for (key, value) in [("cleanup.policy", "compact"), ("min.compaction.lag.ms", "86400000")] {
            assert_eq!(lab.config(key).as_deref(), Some(value), "{key}");
        }
        a.write(&[("link/a", Some("1")), ("mirror/a/t", Some("2"))]).await.unwrap();
        b.until(|b| b.fold.get("link/a").is_some()).await;
        b.write(&[("mirror/a/t", None)]).await.unwrap();
        a.until(|a| a.fold.get("mirror/a/t").is_none()).await;
        assert_eq!(a.fold, b.fold);
        assert_eq!((a.fold.rows().len(), a.fold.end().get()), (1, 3));
        let c = lab.instance(3).await;
        assert_eq!(c.fold, a.fold, "a restart folds the same");
        assert_eq!((&a.trouble, &b.trouble, &c.trouble), (&None, &None, &None));
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_writes_at_the_same_end_exactly_one_counts() {
    let lab = Lab::single();
    let (mut a, mut b) = (lab.instance(1).await, lab.instance(2).await);
    for round in 0..30 {
        let value = format!("{round}");
        // as many rows as the other, or more of them
        let two = [("link/a", Some("b")), ("link/b", Some(value.as_str()))];
        let (x, y) = (a.decide(&[("link/a", Some("a"))]), b.decide(&two[round % 2..]));
        assert_eq!(x.stamp.at, y.stamp.at);
        let (of_a, of_b) = tokio::join!(a.append(&x), b.append(&y));
        let (of_a, of_b) = (of_a.unwrap(), of_b.unwrap());
        assert!(of_a != of_b, "round {round}: a counts: {of_a}, b counts: {of_b}");
        let end = a.fold.end().max(b.fold.end());
        a.until(|a| a.fold.end() >= end).await;
        b.until(|b| b.fold.end() >= end).await;
        assert_eq!((a.counts(&y), b.counts(&x)), (of_b, of_a));
        assert_eq!(a.fold, b.fold);
    }
    // the machine's way: decided again until it counts, both at once
    let mine = [("link/c", Some("a"))];
    let (of_a, of_b) = tokio::join!(a.write(&mine), b.write(&[("link/d", Some("b"))]));
    assert_eq!((of_a, of_b), (Ok(()), Ok(())));
    let end = a.fold.end().max(b.fold.end());
    a.until(|a| a.fold.end() >= end).await;
    b.until(|b| b.fold.end() >= end).await;
    assert_eq!(a.fold, b.fold);
    assert_eq!((a.fold.get("link/c"), a.fold.get("link/d")), (Some("a"), Some("b")));
}

#[tokio::test(start_paused = true)]
async fn a_stale_writer_is_skipped_by_all_and_the_right_one_goes_on() {
    let lab = Lab::single();
    let (mut a, mut b) = (lab.instance(1).await, lab.instance(2).await);
    a.write(&[("link/a", Some("old"))]).await.unwrap();
    b.until(|b| b.fold.get("link/a").is_some()).await;
    // decided, and sent by hand a day later, when the broker has forgotten everybody
    let stale = b.decide(&[("link/a", Some("stale"))]);
    a.write(&[("link/a", Some("new"))]).await.unwrap();
    let headers = stale.stamp.headers();
    let mut record = Record::new("link/a", "stale");
    record.headers =
        headers.iter().map(|(k, v)| (k.as_bytes().into(), Some(v.clone().into()))).collect();
    let last = lab.there.dump(JOURNAL, 0).batches.last().unwrap().header.unwrap();
    let now_ms = lab.there.look(|state| state.now_ms());
    let late = Build::new(now_ms, vec![record]).producer(last.producer_id, 0, 1);
    lab.there.append(JOURNAL, 0, &late);
    for one in [&mut a, &mut b] {
        one.until(|one| one.fold.end().get() == 3).await;
        assert_eq!((one.fold.get("link/a"), one.skipped), (Some("new"), 1));
        assert_eq!(one.fold.spoiled().collect::<Vec<_>>(), [("link/a", "new")]);
    }
    // every right sequence is out of order now: a chain begins
    for round in 0..3 {
        let value = format!("{round}");
        a.write(&[("link/a", Some(&value))]).await.unwrap();
        b.until(|b| b.fold.get("link/a") == Some(&value)).await;
    }
    b.write(&[("link/b", Some("1"))]).await.unwrap();
    a.until(|a| a.fold.get("link/b").is_some()).await;
    assert_eq!(a.fold, b.fold);
    assert_eq!(a.fold.spoiled().count(), 0);
    let ids: std::collections::BTreeSet<i64> = lab.there.dump(JOURNAL, 0).batches[3..]
        .iter()
        .map(|batch| batch.header.unwrap().producer_id)
        .collect();
    assert_eq!(ids.len(), 1, "all go on in the new chain");
}

#[tokio::test(start_paused = true)]
async fn a_strangers_row_is_skipped_and_its_key_can_be_written_again() {
    let lab = Lab::single();
    let mut a = lab.instance(1).await;
    a.write(&[("link/a", Some("ours"))]).await.unwrap();
    let at = lab.console("link/a", "theirs");
    a.until(|a| a.fold.end().get() == at + 1).await;
    assert_eq!(a.fold.get("link/a"), Some("ours"));
    assert_eq!(a.fold.spoiled().collect::<Vec<_>>(), [("link/a", "ours")]);
    a.write(&[("link/a", Some("ours"))]).await.unwrap();
    assert_eq!(a.fold.spoiled().count(), 0);
    // now the cleaner may come: what it leaves folds to the same rows
    lab.there.compact_keys(JOURNAL, 0, i64::MAX);
    let b = lab.instance(2).await;
    assert_eq!((b.fold.rows(), b.fold.end()), (a.fold.rows(), a.fold.end()));
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_the_broker_forgot_goes_on() {
    let lab = Lab::single();
    // rows of two days ago: a broker goes by the records' own time
    let log::Options { replicas, wall } = lab.options();
    let wall = Wall::new(TimestampMs(wall.now().0 - 2 * 86_400_000));
    let log = Log::open(lab.connect().await, log::Options { replicas, wall }).await.unwrap();
    let mut a = Instance::new(log, 1);
    a.level().await;
    a.write(&[("link/a", Some("1"))]).await.unwrap();
    lab.there.expire_producers_now(JOURNAL, 0);
    a.write(&[("link/a", Some("2"))]).await.unwrap();
    a.write(&[("link/a", Some("3"))]).await.unwrap();
    assert_eq!((a.fold.get("link/a"), a.skipped), (Some("3"), 0));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_no_failure_and_no_success() {
    let lab = Lab::single();
    let mut a = lab.instance(1).await;
    type Made = fn() -> Act;
    let ways: [(&str, Made); 5] = [
        ("appended, cut", || Act::HandleThenClose),
        ("not appended, cut", || Act::Close),
        ("appended, silent", || Act::HandleThenSilence),
        ("not appended, silent", || Act::Silence),
        ("late", || Act::Delay(Duration::from_secs(4))),
    ];
    for (way, act) in ways {
        for count in 1..=2 {
            let end = lab.end();
            lab.disturb(count, act);
            let write = a.decide(&[("link/a", Some(way))]);
            assert_eq!(a.append(&write).await, Ok(true), "{way}");
            assert_eq!(lab.end(), end + 1, "{way}: nothing lies there twice");
        }
    }
    assert_eq!((a.skipped, a.fold.get("link/a")), (0, Some("late")));
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_says_why_and_appends_nothing() {
    let lab = Lab::new(Spec::triple("there", 7));
    let mut a = lab.instance(1).await;
    a.write(&[("link/a", Some("1"))]).await.unwrap();
    let end = lab.end();
    let rows = [("link/a", Some("2"))];
    lab.there.deny(JOURNAL, Right::Write);
    let fault = a.write(&rows).await.unwrap_err();
    assert_eq!(fault.code, "TOPIC_AUTHORIZATION_FAILED");
    assert!(fault.text.contains("--operation Write --topic '__isolog'"), "{}", fault.text);
    lab.there.grant(JOURNAL, Right::Write);
    lab.there.configure(JOURNAL, &[("max.message.bytes", Some("100"))]);
    let fault = a.write(&rows).await.unwrap_err();
    assert_eq!(fault.code, "MESSAGE_TOO_LARGE");
    assert!(fault.text.contains("max.message.bytes"), "{}", fault.text);
    lab.there.configure(JOURNAL, &[("max.message.bytes", None)]);
    let leader = lab.there.leader(JOURNAL, 0);
    let others: Vec<i32> = (1..=3).filter(|broker| *broker != leader).collect();
    others.iter().for_each(|broker| lab.there.kill(*broker));
    sleep(SECOND * 30).await;
    let fault = a.write(&rows).await.unwrap_err();
    assert_eq!(fault.code, "NOT_ENOUGH_REPLICAS");
    assert!(fault.text.contains("min.insync.replicas"), "{}", fault.text);
    assert_eq!(lab.end(), end);
    others.iter().for_each(|broker| lab.there.restart(*broker));
    sleep(SECOND * 30).await;
    a.write(&rows).await.unwrap();
    assert_eq!((lab.end(), a.skipped), (end + 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_is_away_is_told_and_takes_no_row() {
    let lab = Lab::single();
    let mut a = lab.instance(1).await;
    lab.there.kill(1);
    let write = a.decide(&[("link/a", Some("1"))]);
    let fault = a.append(&write).await.unwrap_err();
    assert!(fault.text.contains("nothing was written"), "{}", fault.text);
    a.until(|a| a.trouble.is_some()).await;
    lab.there.restart(1);
    a.until(|a| a.trouble.is_none()).await;
    assert_eq!(a.append(&write).await, Ok(true), "the same is as good");
    assert_eq!(a.lost, None);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_moves_is_followed() {
    let lab = Lab::new(Spec::triple("there", 7));
    let (mut a, mut b) = (lab.instance(1).await, lab.instance(2).await);
    for round in 0..12 {
        let next = 1 + lab.there.leader(JOURNAL, 0) % 3;
        lab.there.move_leader(JOURNAL, 0, next);
        let value = format!("{round}");
        a.write(&[("link/a", Some(&value))]).await.unwrap();
        b.until(|b| b.fold.get("link/a") == Some(&value)).await;
        sleep(SECOND).await;
    }
    assert_eq!((a.fold.end().get(), a.skipped, &a.lost), (12, 0, &None));
    assert_eq!(a.fold, b.fold);
}

#[tokio::test(start_paused = true)]
async fn whatever_lies_in_the_log_is_passed_and_moves_the_end() {
    let lab = Lab::single();
    let mut a = lab.instance(1).await;
    a.write(&[("link/a", Some("1"))]).await.unwrap();
    let now_ms = lab.there.look(|state| state.now_ms());
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let build = Build::new(now_ms, vec![Record::new("x", "1"), Record::new("y", "2")]);
        lab.there.append(JOURNAL, 0, &build.codec(codec));
    }
    let build = Build::new(now_ms, vec![Record::new("z", "1")]);
    lab.there.append_txn(JOURNAL, 0, (5, 0, 0), build);
    lab.there.end_txn(JOURNAL, 0, (5, 0), false);
    let format = Format { magic: 1, codec: Codec::Gzip, log_append_time: None };
    lab.there.append_old_set(JOURNAL, 0, format, &[Message::new(now_ms, "old", "1")]);
    // good checksum, bad records
    let build = Build::new(now_ms, vec![Record::new("bad", "1")]);
    let mut bytes = build.bytes().to_vec();
    bytes[61] = 0x7f;
    protocol_tests::broker::batch::fix_crc(&mut bytes);
    lab.there.append_bytes(JOURNAL, 0, &bytes);
    a.write(&[("link/b", Some("1"))]).await.unwrap();
    let b = lab.instance(2).await;
    for one in [&a, &b] {
        let keys: Vec<_> = one.fold.unstamped().keys().map(String::as_str).collect();
        assert_eq!(keys, ["old", "x", "y", "z"]);
        assert_eq!(one.fold.rows().len(), 2);
        assert_eq!(one.fold.end().get(), lab.end());
    }
    // a batch of others at the end, taken by a cleaner: the log ends behind what is left
    let at = lab.console("gone", "1");
    lab.there.remove_batch(JOURNAL, 0, at);
    let mut c = lab.instance(3).await;
    assert_eq!(c.fold.end().get(), at + 1);
    c.write(&[("link/c", Some("1"))]).await.unwrap();
    assert_eq!(c.fold.get("link/c"), Some("1"), "the end that is decided on is the log's");
}

#[tokio::test(start_paused = true)]
async fn damage_is_told_until_it_is_mended() {
    let lab = Lab::single();
    let mut a = lab.instance(1).await;
    a.write(&[("link/a", Some("1"))]).await.unwrap();
    let flip = |bytes: &mut [u8]| *bytes.last_mut().unwrap() ^= 1;
    lab.there.corrupt(JOURNAL, 0, 0, flip);
    let mut b = Instance::new(lab.open().await.unwrap(), 2);
    b.until(|b| b.trouble.is_some()).await;
    let trouble = b.trouble.clone().unwrap();
    assert_eq!(trouble.code, "JOURNAL_UNREADABLE");
    assert!(trouble.text.contains("offset 0"), "{}", trouble.text);
    lab.there.corrupt(JOURNAL, 0, 0, flip);
    b.level().await;
    assert_eq!((&b.trouble, &b.fold), (&None, &a.fold));
}

#[tokio::test(start_paused = true)]
async fn a_cleaner_leaves_the_same_fold() {
    let lab = Lab::single();
    let (mut a, mut b) = (lab.instance(1).await, lab.instance(2).await);
    for round in 0..10 {
        let value = format!("{round}");
        a.write(&[("link/a", Some(&value)), ("link/b", Some("x")), ("mirror/a/t", None)])
            .await
            .unwrap();
        b.until(|b| b.fold.get("link/a") == Some(&value)).await;
        b.write(&[("mirror/a/u", Some(&value))]).await.unwrap();
        a.until(|a| a.fold.get("mirror/a/u") == Some(&value)).await;
        lab.there.clean(JOURNAL, 0, lab.end() - 1);
        let c = lab.instance(3).await;
        assert_eq!((c.fold.rows(), c.fold.end()), (a.fold.rows(), a.fold.end()));
    }
    // between a write and its being read back: another one's row of that key is what is left
    let mut c = lab.instance(3).await;
    let mine = c.decide(&[("link/a", Some("c"))]);
    let log = lab.open().await.unwrap();
    let sent = tokio::spawn({
        let (appender, mine) = (log.appender(), mine.clone());
        async move { appender.append(&mine).await }
    });
    a.until(|a| a.fold.get("link/a") == Some("c")).await;
    a.write(&[("link/a", Some("a"))]).await.unwrap();
    lab.there.compact_keys(JOURNAL, 0, i64::MAX);
    let mut d = Instance::new(log, 4);
    d.level().await;
    d.until(|d| d.fold.end() == a.fold.end()).await;
    assert_eq!(sent.await.unwrap(), Ok(()));
    assert_eq!((d.fold.rows(), d.fold.get("link/a")), (a.fold.rows(), Some("a")));
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_is_not_what_it_must_be_is_refused_with_the_cure() {
    let check = async |partitions: i32, configs: &[(&str, &str)], said: &str| {
        let lab = Lab::single();
        lab.there.create_topic(JOURNAL, partitions, configs);
        let fault = refused(lab.open().await);
        assert_eq!(fault.code, "JOURNAL_MISCONFIGURED");
        assert!(fault.text.contains(said), "{}", fault.text);
    };
    check(1, &[], "--add-config cleanup.policy=compact").await;
    check(1, &[("cleanup.policy", "compact,delete")], "is compact,delete and must").await;
    check(2, &[("cleanup.policy", "compact")], "has 2 partitions").await;
    let lab = Lab::single();
    lab.there.deny(JOURNAL, Right::Create);
    let fault = refused(lab.open().await);
    assert!(fault.text.contains("--operation Create --topic '__isolog'"), "{}", fault.text);
}

#[tokio::test(start_paused = true)]
async fn a_lag_that_is_too_short_is_raised_or_the_right_is_named() {
    let lab = Lab::single();
    lab.there.create_topic(JOURNAL, 1, &[("cleanup.policy", "compact")]);
    lab.there.deny(JOURNAL, Right::AlterConfigs);
    let mut a = lab.instance(1).await;
    let trouble = a.trouble.clone().unwrap();
    assert!(trouble.text.contains("grant AlterConfigs on topic __isolog"), "{}", trouble.text);
    a.write(&[("link/a", Some("1"))]).await.unwrap();
    lab.there.grant(JOURNAL, Right::AlterConfigs);
    a.until(|a| a.trouble.is_none()).await;
    assert_eq!(lab.config("min.compaction.lag.ms").as_deref(), Some("86400000"));
    // a longer one is the operator's
    lab.there.configure(JOURNAL, &[("min.compaction.lag.ms", Some("172800000"))]);
    sleep(SECOND * 60).await;
    assert_eq!(lab.config("min.compaction.lag.ms").as_deref(), Some("172800000"));
    lab.there.deny(JOURNAL, Right::DescribeConfigs);
    lab.there.deny(JOURNAL, Right::AlterConfigs);
    a.until(|a| a.trouble.is_some()).await;
    let trouble = a.trouble.clone().unwrap();
    assert!(trouble.text.contains("--operation DescribeConfigs"), "{}", trouble.text);
    assert_eq!(a.lost, None);
}

async fn lost(change: impl AsyncFn(&Lab), said: &str) {
    let lab = Lab::new(Spec::triple("there", 7));
    let mut a = lab.instance(1).await;
    for round in 0..5 {
        a.write(&[("link/a", Some(&format!("{round}")))]).await.unwrap();
    }
    change(&lab).await;
    a.until(|a| a.lost.is_some()).await;
    let fault = a.lost.clone().unwrap();
    assert_eq!(fault.code, "JOURNAL_LOST");
    assert!(fault.text.contains(said), "{}", fault.text);
    let more = tokio::time::timeout(SECOND * 600, a.turn()).await;
    assert!(more.is_err(), "nothing comes after it");
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_went_or_was_changed_is_lost() {
    let recreate = async |lab: &Lab| {
        lab.there.recreate_topic(JOURNAL);
    };
    lost(recreate, "made anew").await;
    let delete = async |lab: &Lab| {
        lab.there.change(|state| state.delete_topic(JOURNAL)).unwrap();
    };
    lost(delete, "is not there any more").await;
    let policy =
        async |lab: &Lab| lab.there.configure(JOURNAL, &[("cleanup.policy", Some("delete"))]);
    lost(policy, "cleanup.policy=compact").await;
    let grow = async |lab: &Lab| lab.there.change(|state| state.grow_topic(JOURNAL, 3)).unwrap();
    lost(grow, "has 3 partitions").await;
}

/// A follower that was cut off misses rows, and is made the leader all the same. Its log may have
/// grown beyond what was read before anybody looks: then the end alone says nothing.
#[tokio::test(start_paused = true)]
async fn a_journal_that_lost_its_tail_is_lost() {
    for strangers in [0, 3] {
        let lab = Lab::new(Spec::triple("there", 7));
        let mut a = lab.instance(1).await;
        a.write(&[("link/a", Some("1"))]).await.unwrap();
        let leader = lab.there.leader(JOURNAL, 0);
        let late = 1 + leader % 3;
        lab.there.freeze(late);
        sleep(SECOND * 30).await;
        a.write(&[("link/a", Some("2"))]).await.unwrap();
        a.write(&[("link/a", Some("3"))]).await.unwrap();
        lab.there.kill(leader);
        lab.there.thaw(late);
        lab.there.elect_unclean(JOURNAL, 0, late);
        for _ in 0..strangers {
            lab.console("x", "theirs");
        }
        a.until(|a| a.lost.is_some()).await;
        let fault = a.lost.clone().unwrap();
        assert!(fault.text.contains("ends at offset 1"), "{}", fault.text);
    }
}

/// Rows of isolog 0.1 and those of today lie in one topic, and no reader minds the other's.
#[tokio::test(start_paused = true)]
async fn rows_of_both_kinds_live_side_by_side() {
    let lab = Lab::single();
    let mut a = lab.instance(1).await;
    assert_eq!(lab.config("min.compaction.lag.ms").as_deref(), Some("86400000"));
    a.write(&[("link/dr", Some("{}")), ("mirror/dr/orders", Some("{}"))]).await.unwrap();
    let old = Build::new(1, vec![Record::new("dr/orders", "{}")]);
    lab.there.append(JOURNAL, 0, &old);
    a.write(&[("link/b", Some("{}"))]).await.unwrap();
    assert_eq!(a.fold.rows().len(), 3);
    let unstamped: Vec<_> = a.fold.unstamped().keys().map(String::as_str).collect();
    assert_eq!(unstamped, ["dr/orders"]);
    assert_eq!(a.fold.spoiled().count(), 0);
    let name = TopicName::new(JOURNAL).unwrap();
    let all = KeyedLog::find(lab.connect().await, name).await.unwrap().unwrap();
    let read = folded::read(&all, |key| key != "link/b").await.unwrap();
    assert_eq!((read.rows().len(), read.unstamped().len()), (2, 1));
}
