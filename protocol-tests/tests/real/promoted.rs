//! A mirror that is given up: the destination's own idempotent and transactional producers write to
//! it at once, also one that wrote to the source until then, and every record is there once.
//!
//! It never skips. There is no order to promote yet: isolog is stopped, that is all.
//! `ISOLOG_PROMOTED=full` does the same on destinations of 3.9.1 and 2.8.2.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use protocol_tests::broker::batch::CONTROL;
use protocol_tests::broker::direct::Dump;
use protocol_tests::check::holes;
use protocol_tests::check::visible;
use protocol_tests::real::DumpSpec;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::Load;
use protocol_tests::real::LoadSpec;
use protocol_tests::real::PartitionDigest;
use protocol_tests::real::Reader;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::assert_equal;
use protocol_tests::real::dump;
use protocol_tests::real::peer;
use protocol_tests::real::room;
use protocol_tests::real::run;
use protocol_tests::world::verdict::hidden;

const PARTITIONS: i32 = 2;
const PLAIN: &str = "p-plain";
const TXN: &str = "p-txn";
const KEYED: &str = "p-keyed";
const TXN_KEYED: &str = "p-txn-keyed";
const TOPICS: [&str; 4] = [PLAIN, TXN, KEYED, TXN_KEYED];
const COMPACT: [(&str, &str); 3] =
    [("cleanup.policy", "compact"), ("segment.ms", "2000"), ("min.cleanable.dirty.ratio", "0")];
/// What everybody writes to each partition of the source, and for how long the copy may need.
const OFFSETS: i64 = 300;
const LEVEL_MAX: Duration = Duration::from_secs(300);
/// What each producer writes to the former mirrors.
const RECORDS: u64 = 2_000;

/// A producer over some topics; each kind has codecs of its own.
fn load(topics: &[(&str, &str)], rate: Option<u64>, more: &[&str]) -> LoadSpec {
    LoadSpec {
        topics: topics.iter().map(|(name, codec)| (name.to_string(), codec.to_string())).collect(),
        create: None,
        records: rate.is_none().then_some(RECORDS),
        rate,
        more: more.iter().map(|one| (*one).to_owned()).collect(),
    }
}

/// The producers, the same on both sides; the transactional ones have the same ids there too.
fn producers(bootstrap: &str, rate: Option<u64>) -> [Load; 3] {
    let keyed = ["--keys", "150", "--tombstone-percent", "5", "--size", "100"];
    let txn = [&keyed[..], &["--txn", "20", "--abort-percent", "30", "--txn-id", "mover"]].concat();
    let specs = [
        load(&[(PLAIN, "lz4")], rate, &[]),
        load(&[(KEYED, "gzip")], rate, &keyed),
        load(&[(TXN, "zstd"), (TXN_KEYED, "none")], rate, &txn),
    ];
    specs.map(|spec| Load::start(bootstrap, &spec).unwrap())
}

fn places() -> impl Iterator<Item = (&'static str, i32)> {
    TOPICS.into_iter().flat_map(|topic| (0..PARTITIONS).map(move |partition| (topic, partition)))
}

/// Waits until every producer has written something worth a mirror.
fn wait_written(source: &Hand) {
    let until = Instant::now() + LEVEL_MAX;
    for (topic, partition) in places() {
        while source.ends(topic, partition).unwrap().1 < OFFSETS {
            assert!(Instant::now() < until, "nothing is written to {topic}-{partition}");
            sleep(Duration::from_millis(200));
        }
    }
}

/// Waits until the copies hold all that is committed at the source.
fn wait_level(source: &Hand, copy: &Hand, isolog: &Isolog) {
    let until = Instant::now() + LEVEL_MAX;
    for (topic, partition) in places() {
        loop {
            let stable = source.read(topic, partition).unwrap().stable;
            let end = copy.ends(topic, partition).map_or(-1, |ends| ends.1);
            if end == stable {
                break;
            }
            let seen = isolog.partition(topic, partition.into());
            assert!(Instant::now() < until, "{topic}-{partition}: {end} of {stable}\n{seen:#?}");
            sleep(Duration::from_millis(300));
        }
    }
}

/// Waits until the markers of all transactions are there, which may come behind the answer to their
/// end.
fn wait_stable(copy: &Hand) {
    let until = Instant::now() + LEVEL_MAX;
    for (topic, partition) in places() {
        let is_stable = || {
            let log = copy.read(topic, partition).unwrap();
            log.stable == log.end
        };
        while !is_stable() {
            assert!(Instant::now() < until, "a transaction of {topic}-{partition} does not end");
            sleep(Duration::from_millis(200));
        }
    }
}

/// Everything of a cluster's topics that readers see.
fn read(reader: Reader, bootstrap: &str) -> Vec<PartitionDigest> {
    dump(reader, bootstrap, &DumpSpec::committed(&TOPICS.map(str::to_owned))).unwrap()
}

/// The cleaner takes nothing any more, so that records can be counted.
fn keep_everything(copy: &Hand) {
    for topic in [KEYED, TXN_KEYED] {
        copy.alter(topic, "min.compaction.lag.ms", Some("86400000")).unwrap();
    }
    let count = || places().map(|(topic, at)| copy.read(topic, at).unwrap().batches.len()).sum();
    let (mut before, mut same): (usize, u32) = (count(), 0);
    while same < 3 {
        sleep(Duration::from_secs(1));
        let now = count();
        same = if now == before { same + 1 } else { 0 };
        before = now;
    }
}

/// A topic and partition of a former mirror: where it ended, and what it held.
struct Former {
    topic: &'static str,
    partition: i32,
    end: i64,
    visible: usize,
    ends_with_fillers: bool,
}

fn former(copy: &Hand) -> Vec<Former> {
    let one = |(topic, partition)| {
        let log = copy.read(topic, partition).unwrap();
        let ends_with_fillers = log.batches.last().is_some_and(|last| hidden(last) > 0);
        let visible = visible(&log, log.end).len();
        Former { topic, partition, end: log.end, visible, ends_with_fillers }
    };
    places().map(one).collect()
}

/// What was written behind a former mirror's end: records, those of aborted transactions among
/// them, and how many readers see. Not an offset is left out.
fn written(former: &Former, log: &Dump) -> (u64, usize) {
    let at = format!("{}-{}", former.topic, former.partition);
    let new: Vec<_> = log.batches.iter().filter(|batch| batch.next > former.end).cloned().collect();
    assert_eq!(new[0].base, former.end, "{at}");
    let new = Dump { batches: new, ..log.clone() };
    assert_eq!(holes(&new), [""; 0], "{at}");
    assert_eq!(new.batches.last().unwrap().next, log.end, "{at}");
    assert_eq!((log.stable, new.batches.iter().map(hidden).sum::<usize>()), (log.end, 0), "{at}");
    let headers = new.batches.iter().map(|batch| batch.header.unwrap());
    let records = headers.filter(|header| !header.has(CONTROL)).map(|header| header.count as u64);
    (records.sum(), visible(&new, log.end).len())
}

/// librdkafka's idempotent producer writes the source's plain topic to the former mirror again.
fn librdkafka_writes(source: &str, destination: &str) {
    let mut command = Command::new(peer("rk-loop").unwrap());
    command.args(["--source", source, "--destination", destination, "--topics", PLAIN]);
    run(command.args(["--codec", "snappy"])).unwrap();
}

fn promoted(version: &str) {
    let _room = room(2);
    let cleaned = |version: &str| RealSpec::new(version, 1).prop("log.cleaner.backoff.ms", "300");
    let both = RealCluster::both(cleaned("4.3.1"), cleaned(version));
    let (source, destination) = both.unwrap();
    let (ours, theirs) = (Hand::new(source.bootstrap()), Hand::new(destination.bootstrap()));
    for topic in TOPICS {
        let configs = if [KEYED, TXN_KEYED].contains(&topic) { &COMPACT[..] } else { &[] };
        ours.create(topic, PARTITIONS, 1, configs).unwrap();
    }
    let [plain, keyed, mover] = producers(source.bootstrap(), Some(150));
    let spec = IsologSpec::new(source.bootstrap(), destination.bootstrap(), &["p-*"]);
    let mut isolog = Isolog::start(&spec).unwrap();
    wait_written(&ours);
    let copied_from = [plain, keyed].map(|load| load.stop().unwrap().records);
    // in the middle of a transaction, which the copy never sees
    drop(mover);
    wait_level(&ours, &theirs, &isolog);
    assert!(isolog.term(Duration::from_secs(20)).unwrap().success());
    keep_everything(&theirs);
    let before = former(&theirs);
    let copied = read(Reader::Java, destination.bootstrap());
    let with_tail = before.iter().filter(|one| one.ends_with_fillers).count();
    assert!(with_tail > 0, "no copy ends with a filler");

    // at once, all of them, under the ids that they had at the source
    let loads = producers(destination.bootstrap(), None);
    librdkafka_writes(source.bootstrap(), destination.bootstrap());
    let loaded = loads.map(|load| load.wait().unwrap());
    wait_stable(&theirs);
    let again: i64 = (0..PARTITIONS).map(|at| ours.ends(PLAIN, at).unwrap().1).sum();

    let found: Vec<_> = before
        .iter()
        .map(|one| (one, written(one, &theirs.read(one.topic, one.partition).unwrap())))
        .collect();
    let of = |topics: &[&str]| {
        let wanted = found.iter().filter(|(one, _)| topics.contains(&one.topic));
        wanted.map(|(_, (records, _))| records).sum::<u64>()
    };
    assert_eq!(of(&[PLAIN]), loaded[0].records + again as u64, "two idempotent producers");
    assert_eq!(of(&[KEYED]), loaded[1].records, "an idempotent producer of keys");
    assert_eq!(of(&[TXN, TXN_KEYED]), loaded[2].records, "the producer that moved over");
    assert_eq!(loaded.map(|one| one.errors), [0; 3]);

    let now = read(Reader::Java, destination.bootstrap());
    for (digest, (one, (_, seen))) in now.iter().zip(in_order(&found)) {
        let at = (digest.topic.as_str(), digest.partition);
        assert_eq!(at, (one.topic, one.partition));
        assert_eq!(digest.records, (one.visible + seen) as u64, "{at:?}");
    }
    assert_equal(&now, &read(Reader::Librdkafka, destination.bootstrap()));
    let all = DumpSpec::committed(&TOPICS.map(str::to_owned));
    let old = dump(Reader::Java, destination.bootstrap(), &all.to_ends_of(&copied)).unwrap();
    assert_equal(&copied, &old);
    let aborted: usize = found.iter().map(|(_, (records, seen))| *records as usize - seen).sum();
    assert!(aborted > 0, "the producer that moved over aborted nothing");
    stands(&mut isolog, &theirs);
    println!(
        "{version}: {copied_from:?} records of the plain and the keyed topic mirrored, {} \
         partitions of {} end with fillers; then {:?} written by Java (of them {aborted} aborted) \
         and {again} by librdkafka; all there, {} read",
        with_tail,
        before.len(),
        loaded.map(|one| one.records),
        now.iter().map(|one| one.records).sum::<u64>(),
    );
}

/// By topic and partition, as readers' digests are.
fn in_order<'a, T>(found: &'a [(&'a Former, T)]) -> Vec<&'a (&'a Former, T)> {
    let mut all: Vec<_> = found.iter().collect();
    all.sort_by_key(|(one, _)| (one.topic, one.partition));
    all
}

/// The link, started again by mistake, writes nothing into what others have written to.
fn stands(isolog: &mut Isolog, theirs: &Hand) {
    let ends = || places().map(|(topic, at)| theirs.ends(topic, at).unwrap()).collect::<Vec<_>>();
    let before = ends();
    isolog.start_again().unwrap();
    for (topic, partition) in places() {
        let seen = isolog.wait_halt(topic, partition.into());
        assert!(["DIVERGED", "DESTINATION_AHEAD"].contains(&seen.code.as_str()), "{seen:?}");
    }
    isolog.kill();
    assert_eq!(before, ends());
}

/// Must show: a former mirror is an ordinary topic for whoever writes there next.
#[test]
fn a_mirror_that_is_given_up_takes_every_record_once() {
    promoted("4.3.1");
    if std::env::var("ISOLOG_PROMOTED").is_ok_and(|text| text == "full") {
        promoted("3.9.1");
        promoted("2.8.2");
    }
}
