//! Mirrors of compacted topics that the destination's cleaner goes over again and again while they
//! are written, transactional ones too, and one beyond offset 2^31.
//!
//! It never skips, and never takes a cleaner's silence for its work: the broker's own checkpoints
//! must move on. With `ISOLOG_COMPACTED=full` the front of 2^31 offsets is written on both sides,
//! which takes half an hour and 25 GB of disk; else the empty logs are moved up on the disk.
//! `ISOLOG_COMPACTED_DESTINATION` names another Kafka than 4.3.1 to copy to.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use bytes::Bytes;
use isolog::ids::Offset;
use isolog::wire::codec::Codec as WireCodec;
use isolog::wire::filler::COUNT_MAX;
use isolog::wire::filler::repeat::repeat;
use isolog::wire::record::NewRecord;
use protocol_tests::broker::batch::Build;
use protocol_tests::broker::batch::Record;
use protocol_tests::broker::codec::Codec;
use protocol_tests::broker::direct::Dump;
use protocol_tests::check::visible;
use protocol_tests::real::DumpSpec;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::Load;
use protocol_tests::real::LoadSpec;
use protocol_tests::real::Pair;
use protocol_tests::real::Reader;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::assert_equal;
use protocol_tests::real::dump;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;
use protocol_tests::world::verdict::hidden;

/// Segments are closed and cleaned as soon as may be; isolog gives the copy the same.
const COMPACT: [(&str, &str); 3] =
    [("cleanup.policy", "compact"), ("segment.ms", "2000"), ("min.cleanable.dirty.ratio", "0")];
/// How far ahead the record lies that closes the segment before it.
const AHEAD_MS: i64 = 3_000_000;
/// The first offset at which hidden fillers would stay in a compacted topic, or harm it.
const FAR: i64 = (1 << 31) - 1;
/// So many offsets before it a log begins whose start is moved up.
const BEFORE: i64 = 2_000;

fn is_full() -> bool {
    std::env::var("ISOLOG_COMPACTED").is_ok_and(|text| text == "full")
}

/// Two clusters whose cleaners do not wait, and a hand on each.
struct Sides {
    source: RealCluster,
    destination: RealCluster,
    ours: Hand,
    theirs: Hand,
}

impl Sides {
    fn start() -> Sides {
        let cleaned = |version: &str| {
            let mut spec = RealSpec::new(version, 1)
                .prop("log.cleaner.backoff.ms", "300")
                .prop("log.retention.check.interval.ms", "5000");
            spec.heap = "640m".into();
            spec
        };
        let theirs = std::env::var("ISOLOG_COMPACTED_DESTINATION");
        let theirs = theirs.unwrap_or_else(|_| "4.3.1".into());
        let (source, destination) = RealCluster::both(cleaned("4.3.1"), cleaned(&theirs)).unwrap();
        let (ours, theirs) = (Hand::new(source.bootstrap()), Hand::new(destination.bootstrap()));
        Sides { source, destination, ours, theirs }
    }

    fn isolog(&self, topics: &str) -> Isolog {
        let spec =
            IsologSpec::new(self.source.bootstrap(), self.destination.bootstrap(), &[topics]);
        Isolog::start(&spec).unwrap()
    }

    fn pair<'a>(&'a self, topic: &'a str, partition: i32) -> Pair<'a> {
        let (source, copy) = (&self.ours, &self.theirs);
        Pair { source, copy, topic, partition, is_compacted: true }
    }

    /// What the destination's broker logged; nothing of it may be about a partition given up.
    fn cleaner_log(&self) -> String {
        let log = fs::read_to_string(self.destination.dir().join("node1/log")).unwrap();
        for word in ["uncleanable", "Unexpected exception thrown when cleaning", "Illegal offset"] {
            let found: Vec<_> = log.lines().filter(|line| line.contains(word)).collect();
            assert!(found.is_empty(), "{found:#?}");
        }
        log
    }
}

/// Up to where the destination's cleaner has come, by partition: its own checkpoint file.
fn checkpoints(cluster: &RealCluster) -> BTreeMap<(String, i32), i64> {
    let path = cluster.dir().join("node1/data/cleaner-offset-checkpoint");
    let text = fs::read_to_string(path).unwrap_or_default();
    let row = |line: &str| {
        let mut words = line.rsplitn(3, ' ');
        let (offset, partition) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(((words.next()?.to_owned(), partition), offset))
    };
    text.lines().filter_map(row).collect()
}

/// The places where a partition's cleaner has been, one for each pass that got further.
type Passes = BTreeMap<(String, i32), BTreeSet<i64>>;

fn note(passes: &mut Passes, cluster: &RealCluster) {
    for (at, offset) in checkpoints(cluster) {
        passes.entry(at).or_default().insert(offset);
    }
}

/// Waits until the cleaner has been `count` times further in each of these partitions.
fn wait_passes(
    passes: &mut Passes,
    sides: &Sides,
    isolog: &Isolog,
    places: &[(&str, i32)],
    count: usize,
) {
    let wanted: BTreeMap<_, _> = places
        .iter()
        .map(|(topic, partition)| {
            let at = ((*topic).to_owned(), *partition);
            let before = passes.get(&at).map_or(0, BTreeSet::len);
            (at, before + count)
        })
        .collect();
    isolog.wait_for(&format!("{count} more passes of the cleaner"), 600, |_| {
        note(passes, &sides.destination);
        let enough = |(at, count): (&(String, i32), &usize)| {
            passes.get(at).is_some_and(|passes| passes.len() >= *count)
        };
        wanted.iter().all(enough).then_some(())
    });
}

fn keyed(topic: &str, codec: &str, rate: u64) -> LoadSpec {
    let more = ["--keys", "150", "--tombstone-percent", "5", "--size", "100"];
    LoadSpec {
        topics: vec![(topic.to_owned(), codec.to_owned())],
        create: None,
        records: None,
        rate: Some(rate),
        more: more.map(str::to_owned).into(),
    }
}

fn transactional(topic: &str, codec: &str, rate: u64, id: &str) -> LoadSpec {
    let mut spec = keyed(topic, codec, rate);
    let txn = ["--txn", "20", "--abort-percent", "30", "--txn-id", id, "--seed", "5"];
    spec.more.extend(txn.map(str::to_owned));
    spec
}

/// A record of its own behind what may be a marker, then one that closes the segment before it.
fn close(source: &Hand, topic: &str, partition: i32) {
    for (time_ms, key) in [(now_ms(), "last"), (now_ms() + AHEAD_MS, "closing")] {
        let batch = Build::new(time_ms, vec![Record::new(key, "x")]);
        source.produce(topic, partition, &batch).unwrap();
    }
}

/// The last value of every key, tombstones included.
fn latest(log: &Dump) -> BTreeMap<Option<Bytes>, (i64, Option<Bytes>)> {
    let records = visible(log, log.end).into_iter();
    records.map(|(offset, (_, record))| (record.key, (offset, record.value))).collect()
}

/// Waits until both sides are cleaned to the end, and compares them; how many keys there are.
fn judge(pair: &Pair<'_>, sides: &Sides, isolog: &Isolog) -> usize {
    isolog.wait_for(&format!("{} is level and cleaned", pair.name()), 300, |_| {
        let end = sides.theirs.ends(pair.topic, pair.partition).ok()?.1;
        let at = checkpoints(&sides.destination);
        let at = *at.get(&(pair.topic.to_owned(), pair.partition))?;
        (at == end - 1 && pair.unlevel().is_none()).then_some(())
    });
    let (found, _) = pair.judge();
    assert!(found.is_empty(), "{}: {:#?}", pair.name(), &found[..found.len().min(20)]);
    let (log, copy) = pair.logs();
    let keys = latest(&log);
    assert_eq!(keys, latest(&copy), "{}", pair.name());
    let left: usize = copy.batches.iter().map(hidden).sum();
    assert_eq!(left, 0, "{}: fillers that the cleaner has not taken", pair.name());
    keys.len()
}

/// Other clients read the same of both sides.
fn same(sides: &Sides, topics: &[&str]) -> u64 {
    let topics: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
    let committed = DumpSpec::committed(&topics);
    let ours = dump(Reader::Java, sides.source.bootstrap(), &committed).unwrap();
    for reader in [Reader::Java, Reader::Librdkafka] {
        assert_equal(&ours, &dump(reader, sides.destination.bootstrap(), &committed).unwrap());
    }
    ours.iter().map(|one| one.records).sum()
}

/// Must show: compacted at the destination several times while it is written; nothing is given up
/// by the cleaner, fillers go, and the last value of every key is the source's.
#[test]
fn a_copy_is_compacted_again_and_again() {
    const TOPICS: [&str; 3] = ["c-keyed", "c-txn", "c-txn-zstd"];
    const PARTITIONS: i32 = 2;
    let _room = room(2);
    let passes_min = if is_full() { 15 } else { 4 };
    let sides = Sides::start();
    for topic in TOPICS {
        sides.ours.create(topic, PARTITIONS, 1, &COMPACT).unwrap();
    }
    let loads = [
        keyed("c-keyed", "lz4", 120),
        transactional("c-txn", "none", 120, "one"),
        transactional("c-txn", "none", 120, "two"),
        transactional("c-txn-zstd", "zstd", 120, "three"),
    ];
    let loads = loads.map(|spec| Load::start(sides.source.bootstrap(), &spec).unwrap());
    let isolog = sides.isolog("c-*");
    let places = TOPICS.map(|topic| (0..PARTITIONS).map(move |partition| (topic, partition)));
    let places: Vec<(&str, i32)> = places.into_iter().flatten().collect();
    let mut passes = Passes::new();
    let began = Instant::now();
    wait_passes(&mut passes, &sides, &isolog, &places, passes_min);
    let for_seconds = began.elapsed().as_secs_f64();
    let written: u64 = loads.into_iter().map(|load| load.stop().unwrap().records).sum();
    let filled = isolog.metric("isolog_partition_filled_offsets_total", "");
    assert!(filled > 0.0, "transactions were copied without a filler");
    places.iter().for_each(|(topic, partition)| close(&sides.ours, topic, *partition));

    let keys: usize = places
        .iter()
        .map(|(topic, partition)| {
            let pair = sides.pair(topic, *partition);
            judge(&pair, &sides, &isolog)
        })
        .sum();
    for topic in TOPICS {
        let ratio = sides.theirs.config(topic, "min.cleanable.dirty.ratio").unwrap();
        assert_eq!(ratio.as_deref(), Some("0.0"), "taken over from the source");
    }
    let log = sides.cleaner_log();
    assert!(!isolog.log().contains("panicked"), "{}", isolog.log());
    let read = same(&sides, &TOPICS);
    println!(
        "{written} records written within {for_seconds:.0} s; {filled} offsets filled; the \
         cleaner's checkpoints moved {:?} times, {} runs in its log; {keys} keys with the \
         source's last values, {read} records read by Java and librdkafka",
        passes.values().map(BTreeSet::len).collect::<Vec<_>>(),
        log.matches("cleaned log c-").count(),
    );
}

/// Visible, well packed and without a key, as many as a broker takes fastest (broker-facts A6).
fn bulk() -> Bytes {
    let nothing = NewRecord { timestamp_ms: now_ms(), key: None, value: None, headers: Vec::new() };
    let batch = repeat(&nothing, Offset::ZERO, COUNT_MAX, WireCodec::Zstd, 1 << 20).unwrap();
    assert_eq!(Some(batch.next_offset()), Offset::new(i64::from(COUNT_MAX)));
    batch.to_bytes()
}

/// A topic that is empty and starts shortly before 2^31, and where.
fn begun_far(sides: &Sides, topic: &str) -> i64 {
    sides.ours.create(topic, 1, 1, &[("retention.ms", "-1")]).unwrap();
    let (batch, batches) = (bulk(), FAR / i64::from(COUNT_MAX));
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (batch, bootstrap) = (batch.clone(), sides.source.bootstrap());
            scope.spawn(move || {
                let hand = Hand::new(bootstrap);
                for _ in (thread..batches).step_by(2) {
                    hand.produce_bytes(topic, 0, batch.clone()).unwrap();
                }
            });
        }
    });
    let start = batches * i64::from(COUNT_MAX);
    sides.ours.delete_records(topic, 0, start).unwrap();
    assert_eq!(sides.ours.ends(topic, 0).unwrap(), (start, start));
    for (key, value) in COMPACT {
        sides.ours.alter(topic, key, Some(value)).unwrap();
    }
    start
}

/// A topic that is empty and starts shortly before 2^31 on both sides, by a rename on each broker's
/// disk: nothing is written, and the front is not shown.
fn moved_far(sides: &Sides, topic: &str) -> i64 {
    for (cluster, hand) in [(&sides.source, &sides.ours), (&sides.destination, &sides.theirs)] {
        hand.create(topic, 1, 1, &COMPACT).unwrap();
        cluster.begin_at(&[topic], FAR - BEFORE).unwrap();
        let bounds =
            || hand.ends(topic, 0).ok().filter(|ends| *ends == (FAR - BEFORE, FAR - BEFORE));
        while bounds().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    }
    FAR - BEFORE
}

/// What a look at the copy beyond 2^31 finds, before the cleaner takes it: hidden fillers below
/// and beyond, and batches of repeats, which alone are packed with zstd.
#[derive(Debug, Default)]
struct Seen {
    hidden_below: usize,
    hidden_beyond: usize,
    repeated: BTreeSet<i64>,
}

fn look(seen: &mut Seen, copy: &Dump) {
    for batch in &copy.batches {
        if batch.base < FAR {
            seen.hidden_below += hidden(batch);
            continue;
        }
        seen.hidden_beyond += hidden(batch);
        if batch.header.and_then(|header| header.codec()) == Some(Codec::Zstd) {
            seen.repeated.extend(batch.base..batch.next);
        }
    }
}

/// Must show: beyond offset 2^31 gaps are filled with repeats, and the cleaner goes on.
#[test]
fn beyond_2_to_the_31_gaps_are_filled_with_repeats() {
    const TOPIC: &str = "f-far";
    let _room = room(2);
    let sides = Sides::start();
    let began = Instant::now();
    let start = if is_full() { begun_far(&sides, TOPIC) } else { moved_far(&sides, TOPIC) };
    let made = began.elapsed().as_secs_f64();
    let first = Build::new(now_ms(), vec![Record::new("first", "x")]);
    sides.ours.produce(TOPIC, 0, &first).unwrap();

    let isolog = sides.isolog("f-*");
    let began = Instant::now();
    isolog.wait_for("the front is whole", 5_400, |_| {
        (sides.theirs.ends(TOPIC, 0).ok()?.1 >= start).then_some(())
    });
    let filled_for = began.elapsed().as_secs_f64();
    isolog.wait_for("the copy is compacted", 300, |_| {
        let policy = sides.theirs.config(TOPIC, "cleanup.policy").ok()??;
        (policy == "compact").then_some(())
    });
    assert_eq!(sides.theirs.ends(TOPIC, 0).unwrap().0, start);
    let txn = transactional(TOPIC, "gzip", 300, "far");
    let loads = [keyed(TOPIC, "gzip", 200), txn];
    let loads = loads.map(|spec| Load::start(sides.source.bootstrap(), &spec).unwrap());
    let (mut passes, mut seen) = (Passes::new(), Seen::default());
    isolog.wait_for("the copy is beyond 2^31, and cleaned there ten times", 300, |_| {
        note(&mut passes, &sides.destination);
        look(&mut seen, &sides.theirs.read(TOPIC, 0).unwrap());
        let beyond = passes.values().flatten().filter(|at| **at > FAR).count();
        (beyond >= 10).then_some(())
    });
    let written: u64 = loads.into_iter().map(|load| load.stop().unwrap().records).sum();
    close(&sides.ours, TOPIC, 0);
    let keys = judge(&sides.pair(TOPIC, 0), &sides, &isolog);
    let end = sides.theirs.ends(TOPIC, 0).unwrap().1;
    assert!(seen.hidden_below > 0 && !seen.repeated.is_empty(), "{seen:?}");
    assert_eq!(seen.hidden_beyond, 0);
    sides.cleaner_log();
    assert!(!isolog.log().contains("panicked"), "{}", isolog.log());
    let read = same(&sides, &[TOPIC]);
    if is_full() {
        let rate = start as f64 / filled_for / 1e6;
        println!(
            "made within {made:.0} s, filled at the copy within {filled_for:.0} s: {rate:.2} M/s"
        );
    }
    println!(
        "start {start}; {written} records written, end {end}; {} offsets \
         beyond 2^31 seen filled with repeats, {} below with hidden fillers, the cleaner's \
         checkpoint moved {:?} times; {keys} keys with the source's last values, {read} records \
         read by Java and librdkafka",
        seen.repeated.len(),
        seen.hidden_below,
        passes.values().map(BTreeSet::len).collect::<Vec<_>>(),
    );
}
