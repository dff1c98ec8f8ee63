//! isolog behind a proxy that keeps its bytes for up to two seconds and delivers them after it was
//! killed; and records that are older than the destination remembers writers for.
//!
//! It never skips. A copy is exact, or its partition stands with the reason (docs/STATES.md): there
//! is no third. `ISOLOG_PROXY=full` kills 40 times instead of 6, `ISOLOG_PROXY_SEED` replays the
//! moments, `ISOLOG_PROXY_DESTINATION` names another Kafka than 4.3.1 to copy to.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use protocol_tests::broker::batch::Build;
use protocol_tests::broker::batch::Record;
use protocol_tests::check::batches_equal;
use protocol_tests::real::DumpSpec;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolog;
use protocol_tests::real::IsologSpec;
use protocol_tests::real::Load;
use protocol_tests::real::LoadSpec;
use protocol_tests::real::PROXY_HOST;
use protocol_tests::real::Pair;
use protocol_tests::real::Proxy;
use protocol_tests::real::Reader;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::Seen;
use protocol_tests::real::assert_equal;
use protocol_tests::real::dump;
use protocol_tests::real::long_room;
use protocol_tests::real::now_ms;
use protocol_tests::real::room;
use protocol_tests::rng::Rng;
use serde_json::json;

const PARTITIONS: i32 = 2;
/// What each kind is called behind its prefix: how it is packed, whether it is compacted.
const KINDS: [(&str, &str, bool); 4] = [
    ("plain", "lz4", false),
    ("keyed", "gzip", true),
    ("txn", "none", false),
    ("txn-keyed", "zstd", true),
];
const COMPACT: [(&str, &str); 3] =
    [("cleanup.policy", "compact"), ("segment.ms", "3000"), ("min.cleanable.dirty.ratio", "0")];
/// How far ahead the record lies that closes the segment before it.
const AHEAD_MS: i64 = 3_000_000;
/// Two days.
const AGE_MS: &str = "172800000";
/// Records a second over all topics of one producer.
const RATE: u64 = 150;
/// A copy that says nothing for so long is no copy.
const PROGRESS_MAX: Duration = Duration::from_secs(90);
/// For how long the copies may need once everybody is quiet.
const LEVEL_SECONDS_MAX: u64 = 240;
/// What a partition that is not exact must say: the handshake of the tails, an acknowledgement at
/// another offset, or a log that is longer than its source.
const REASONS: [&str; 3] = ["DIVERGED", "UNEXPECTED_WRITER", "DESTINATION_AHEAD"];

fn kills() -> u32 {
    if std::env::var("ISOLOG_PROXY").is_ok_and(|text| text == "full") { 40 } else { 6 }
}

fn seed() -> u64 {
    std::env::var("ISOLOG_PROXY_SEED").map_or(20_261_121, |text| text.parse().unwrap())
}

fn source_cluster() -> RealCluster {
    RealCluster::start(spec("4.3.1")).unwrap()
}

fn destination_spec() -> RealSpec {
    spec(&std::env::var("ISOLOG_PROXY_DESTINATION").unwrap_or_else(|_| "4.3.1".into()))
}

fn spec(version: &str) -> RealSpec {
    RealSpec::new(version, 1).prop("log.cleaner.backoff.ms", "400")
}

/// The topics behind one prefix.
struct Set {
    topics: Vec<(String, bool)>,
}

impl Set {
    fn create(prefix: &str, source: &Hand) -> Set {
        let topics =
            KINDS.map(|(kind, _, is_compacted)| (format!("{prefix}-{kind}"), is_compacted));
        for (topic, is_compacted) in &topics {
            let configs = if *is_compacted { &COMPACT[..] } else { &[] };
            source.create(topic, PARTITIONS, 1, configs).unwrap();
        }
        Set { topics: topics.into() }
    }

    /// A producer for each manner of writing.
    fn loads(prefix: &str, bootstrap: &str, more: &[&str]) -> Vec<Load> {
        let keys = ["--keys", "150", "--tombstone-percent", "5", "--size", "100"];
        let id = format!("of-{prefix}");
        let txn = ["--txn", "20", "--abort-percent", "30", "--txn-id", &id];
        let start = |kinds: &[(&str, &str, bool)], own: &[&str]| {
            let topic = |(kind, codec, _): &(&str, &str, bool)| {
                (format!("{prefix}-{kind}"), (*codec).to_owned())
            };
            let more = [own, more].concat().into_iter().map(str::to_owned).collect();
            let topics = kinds.iter().map(topic).collect();
            let spec = LoadSpec { topics, create: None, records: None, rate: Some(RATE), more };
            Load::start(bootstrap, &spec).unwrap()
        };
        vec![start(&KINDS[..2], &keys), start(&KINDS[2..], &[&keys[..], &txn].concat())]
    }

    fn pairs<'a>(&'a self, source: &'a Hand, copy: &'a Hand) -> Vec<Pair<'a>> {
        let of = |(topic, is_compacted): &'a (String, bool)| {
            (0..PARTITIONS).map(move |partition| Pair {
                source,
                copy,
                topic,
                partition,
                is_compacted: *is_compacted,
            })
        };
        self.topics.iter().flat_map(of).collect()
    }

    fn copied(&self, copy: &Hand) -> i64 {
        let places =
            self.topics.iter().flat_map(|(topic, _)| (0..PARTITIONS).map(move |p| (topic, p)));
        places.filter_map(|(topic, at)| copy.ends(topic, at).ok()).map(|(_, end)| end).sum()
    }

    /// A plain record at each end; where cleaners run, it closes the segment before it.
    fn close(&self, source: &Hand) {
        for (topic, is_compacted) in &self.topics {
            for partition in 0..PARTITIONS {
                let time_ms = now_ms() + if *is_compacted { AHEAD_MS } else { 0 };
                let last = Build::new(time_ms, vec![Record::new("closing", "x")]);
                source.produce(topic, partition, &last).unwrap();
            }
        }
    }
}

/// Kills at random moments: one of three early, when isolog looks at the logs, the others after it
/// has copied something. It never may end by itself. Where all partitions `may_stand` with their
/// reasons, which `judge` looks at, and do, there is nothing more to be killed for.
fn kill(isolog: &mut Isolog, (set, may_stand): (&Set, bool), copy: &Hand, rng: &mut Rng) {
    for kill in 0..kills() {
        let before = set.copied(copy);
        if kill % 3 == 2 {
            sleep(Duration::from_millis(rng.between(200, 3_000)));
        } else {
            let until = Instant::now() + PROGRESS_MAX;
            while set.copied(copy) == before && Instant::now() < until {
                if all_stand(isolog, set) {
                    assert!(may_stand && kill > 0, "nothing is left to be copied");
                    return println!("{kill} kills until all partitions stood");
                }
                sleep(Duration::from_millis(50));
            }
            assert!(Instant::now() < until, "nothing is copied: {:#?}", isolog.partitions());
            sleep(Duration::from_millis(rng.between(0, 1_500)));
        }
        assert!(isolog.is_running(), "isolog ended by itself:\n{}", isolog.log());
        isolog.kill();
        isolog.start_again().unwrap();
    }
}

fn all_stand(isolog: &Isolog, set: &Set) -> bool {
    let seen = isolog.partitions();
    let count = set.topics.len() * PARTITIONS as usize;
    seen.len() == count && seen.iter().all(|one| one.state == "Halted")
}

fn standing(isolog: &Isolog, pair: &Pair<'_>) -> Option<Seen> {
    let seen = isolog.partition(pair.topic, pair.partition.into())?;
    (seen.state == "Halted").then_some(seen)
}

/// Waits until every copy is level, or its partition stands; those that stand.
fn settle(isolog: &Isolog, pairs: &[Pair<'_>]) -> Vec<(String, Seen)> {
    let mut stopped = Vec::new();
    for pair in pairs {
        isolog.wait_for(
            &format!("{} is level, or stands", pair.name()),
            LEVEL_SECONDS_MAX,
            |isolog| {
                if let Some(seen) = standing(isolog, pair) {
                    stopped.push((pair.name(), seen));
                    return Some(());
                }
                pair.unlevel().is_none().then_some(())
            },
        );
    }
    stopped
}

/// What came of one link.
struct Outcome {
    exact: Vec<String>,
    stopped: Vec<(String, Seen)>,
    filled: usize,
}

/// Starts isolog once more, so that what arrived late is seen, and judges every copy.
fn judge(isolog: &mut Isolog, pairs: &[Pair<'_>], proxy: Option<&Proxy>) -> Outcome {
    // old batches go one at a time: what is left after the kills would take hours behind the delay
    proxy.into_iter().for_each(Proxy::hurry);
    settle(isolog, pairs);
    isolog.kill();
    let until = Instant::now() + Duration::from_secs(30);
    while proxy.is_some_and(|proxy| !proxy.is_drained()) {
        assert!(Instant::now() < until, "the proxy keeps something");
        sleep(Duration::from_millis(100));
    }
    isolog.start_again().unwrap();
    isolog.wait_for("every partition has been looked at", LEVEL_SECONDS_MAX, |isolog| {
        let seen = isolog.partitions();
        let known = |one: &&Seen| one.state == "Mirroring" || one.state == "Halted";
        (seen.iter().filter(known).count() == pairs.len()).then_some(())
    });
    let stopped = settle(isolog, pairs);
    assert!(isolog.term(Duration::from_secs(30)).unwrap().success());
    let log = isolog.log();
    assert!(!log.contains("panicked"), "a panic:\n{log}");
    let mut outcome = Outcome { exact: Vec::new(), stopped, filled: 0 };
    for pair in pairs {
        if outcome.stopped.iter().any(|(name, _)| *name == pair.name()) {
            continue;
        }
        let (found, filled) = pair.judge();
        let first = &found[..found.len().min(20)];
        assert!(found.is_empty(), "{} is silently wrong: {first:#?}", pair.name());
        outcome.exact.push(pair.name());
        outcome.filled += filled;
    }
    for (name, seen) in &outcome.stopped {
        assert!(REASONS.contains(&seen.code.as_str()), "{name} stands: {seen:?}");
    }
    outcome
}

/// Two clients that are not ours read the same of both sides where nothing was stopped.
fn same(set: &Set, outcome: &Outcome, source: &RealCluster, destination: &RealCluster) -> u64 {
    let is_exact =
        |topic: &str| (0..PARTITIONS).all(|at| outcome.exact.contains(&format!("{topic}-{at}")));
    let topics = set.topics.iter().map(|(topic, _)| topic.clone());
    let topics: Vec<String> = topics.filter(|topic| is_exact(topic)).collect();
    if topics.is_empty() {
        return 0;
    }
    let spec = DumpSpec::committed(&topics);
    let ours = dump(Reader::Java, source.bootstrap(), &spec).unwrap();
    for reader in [Reader::Java, Reader::Librdkafka] {
        assert_equal(&ours, &dump(reader, destination.bootstrap(), &spec).unwrap());
    }
    ours.iter().map(|one| one.records).sum()
}

fn tell(what: &str, outcome: &Outcome, read: u64, proxy: Option<&Proxy>, began: Instant) {
    let through = proxy.map_or(String::new(), |proxy| {
        let (connections, late) = (proxy.connections(), proxy.late_bytes());
        format!("; {connections} connections, {late} bytes delivered after their client had died")
    });
    println!(
        "{what}: {} kills, {} partitions exact ({} offsets filled, {read} records read by Java \
         and librdkafka), {} stopped, {:.0} s{through}",
        kills(),
        outcome.exact.len(),
        outcome.filled,
        outcome.stopped.len(),
        began.elapsed().as_secs_f64(),
    );
    for (name, seen) in &outcome.stopped {
        println!("  {name} stands, {}: {}", seen.code, seen.reason);
    }
}

/// A destination that is also reached through a proxy.
fn behind(spec: RealSpec, seed: u64) -> (RealCluster, Proxy) {
    let proxy = Proxy::bind(1, seed).unwrap();
    let destination = RealCluster::start(RealSpec { behind: proxy.ports(), ..spec }).unwrap();
    proxy.lead_to(destination.behind_ports()).unwrap();
    (destination, proxy)
}

fn link(name: &str, source: &RealCluster, destination: &str) -> Isolog {
    let mut spec = IsologSpec::new(source.bootstrap(), destination, &[&format!("{name}-*")]);
    spec.link = name.into();
    Isolog::start(&spec).unwrap()
}

fn through(proxy: &Proxy) -> String {
    format!("{PROXY_HOST}:{}", proxy.ports()[0])
}

fn stop(loads: Vec<Load>) {
    for load in loads {
        assert!(load.stop().unwrap().records > 0, "a producer wrote nothing");
    }
}

/// Must show: a proxy that delays and outlives its clients brings no duplicate, gap or reorder.
#[test]
fn late_bytes_of_dead_clients_do_no_harm() {
    let _room = room(2);
    let (began, mut rng) = (Instant::now(), Rng::new(seed()));
    let source = source_cluster();
    let (destination, proxy) = behind(destination_spec(), rng.next_u64());
    let (ours, theirs) = (Hand::new(source.bootstrap()), Hand::new(destination.bootstrap()));
    let set = Set::create("late", &ours);
    let loads = Set::loads("late", source.bootstrap(), &[]);
    let mut isolog = link("late", &source, &through(&proxy));
    kill(&mut isolog, (&set, false), &theirs, &mut rng);
    stop(loads);
    set.close(&ours);
    let outcome = judge(&mut isolog, &set.pairs(&ours, &theirs), Some(&proxy));
    let read = same(&set, &outcome, &source, &destination);
    assert!(proxy.late_bytes() > 0, "nothing was delivered late");
    tell("behind the proxy", &outcome, read, Some(&proxy), began);
}

/// Must show: with records two days old, and a destination that forgets producers after a minute:
/// exact on a direct connection; behind the proxy never silently wrong.
#[test]
fn old_records_are_copied_exactly_or_the_partition_stands() {
    let _room = long_room(2);
    let (began, mut rng) = (Instant::now(), Rng::new(seed()));
    let source = source_cluster();
    let forgetful = destination_spec()
        .prop("producer.id.expiration.ms", "60000")
        .prop("producer.id.expiration.check.interval.ms", "2000");
    let (destination, proxy) = behind(forgetful, rng.next_u64());
    let (ours, theirs) = (Hand::new(source.bootstrap()), Hand::new(destination.bootstrap()));
    let sets = ["direct", "old"].map(|prefix| Set::create(prefix, &ours));
    let old = ["--age", AGE_MS];
    let loads = ["direct", "old"].map(|prefix| Set::loads(prefix, source.bootstrap(), &old));
    let mut links =
        [link("direct", &source, destination.bootstrap()), link("old", &source, &through(&proxy))];
    std::thread::scope(|scope| {
        for (isolog, set) in links.iter_mut().zip(sets.iter().zip([false, true])) {
            let mut dice = rng.fork();
            let hand = Hand::new(destination.bootstrap());
            scope.spawn(move || kill(isolog, set, &hand, &mut dice));
        }
    });
    loads.into_iter().for_each(stop);
    sets.iter().for_each(|set| set.close(&ours));
    let [direct, behind] = &mut links;
    let outcome = judge(direct, &sets[0].pairs(&ours, &theirs), None);
    assert!(outcome.stopped.is_empty(), "on a direct connection: {:#?}", outcome.stopped);
    let read = same(&sets[0], &outcome, &source, &destination);
    tell("old records, directly", &outcome, read, None, began);
    let outcome = judge(behind, &sets[1].pairs(&ours, &theirs), Some(&proxy));
    let read = same(&sets[1], &outcome, &source, &destination);
    assert!(proxy.late_bytes() > 0, "nothing was delivered late");
    tell("old records behind the proxy", &outcome, read, Some(&proxy), began);
}

/// Where each partition was sealed, by REST, once all topics of the link are STOPPED.
fn seals(isolog: &Isolog, path: &str, set: &Set) -> Vec<(String, i32, i64)> {
    let mut seals = Vec::new();
    for (topic, _) in &set.topics {
        let told = isolog.wait_for(&format!("{topic} is STOPPED"), LEVEL_SECONDS_MAX, |isolog| {
            let told = isolog.get(&format!("{path}/mirrors/{topic}"))?;
            (told["mirror_status"] == "STOPPED").then_some(told)
        });
        for partition in 0..PARTITIONS {
            let one = &told["mirror_lags"][partition as usize];
            let end = one["last_source_fetch_offset"].as_i64().unwrap();
            seals.push((topic.clone(), partition, end));
        }
    }
    seals
}

/// Fails all topics of the link over, and waits until they are sealed.
fn fail_over(isolog: &Isolog, of: &str, set: &Set) -> Vec<(String, i32, i64)> {
    let names: Vec<&str> = set.topics.iter().map(|(topic, _)| topic.as_str()).collect();
    let body = json!({ "mirror_topic_names": names });
    let path = isolog.wait_for("the failover is taken", LEVEL_SECONDS_MAX, |isolog| {
        let clusters = isolog.get("/kafka/v3/clusters")?;
        let id = clusters["data"][0]["cluster_id"].as_str()?;
        let path = format!("/kafka/v3/clusters/{id}/links/{of}");
        let (status, told) =
            isolog.order("POST", &format!("{path}/mirrors:failover"), Some(&body))?;
        let all = told["data"].as_array()?;
        let is_taken = all.iter().all(|one| one["error_code"].is_null());
        ((200..300).contains(&status) && is_taken).then_some(path)
    });
    seals(isolog, &path, set)
}

/// The seal is the last word of a log, and what is not compacted is the source's up to it.
fn assert_sealed(set: &Set, (ours, theirs): (&Hand, &Hand), seals: &[(String, i32, i64)]) {
    for (topic, partition, end) in seals {
        let what = format!("{topic}-{partition} up to {end}");
        let copy = theirs.log(topic, *partition).unwrap();
        assert_eq!(copy.end, end + 1, "{what}: nothing comes behind the seal");
        let last = copy.batches.last().unwrap();
        let header = last.header.unwrap();
        let is_seal = header.producer_epoch == 1 && header.base_sequence == 0;
        assert!(is_seal && last.base == *end, "{what}: {header:?}");
        let is_compacted = set.topics.iter().any(|(name, is_it)| name == topic && *is_it);
        if !is_compacted {
            let differ = batches_equal(&ours.read(topic, *partition).unwrap(), &copy, 0, *end);
            assert!(differ.is_empty(), "{what}: {differ:#?}");
        }
    }
}

/// Every log of the destination has been looked through for writers to be forgotten, since each is
/// every second: the writer of old records is, twice in a row.
fn wait_forgotten(theirs: &Hand) {
    theirs.create("canary", 1, 1, &[("retention.ms", "-1")]).unwrap();
    for n in 0..2 {
        let age_ms: i64 = AGE_MS.parse().unwrap();
        let old = Build::plain(now_ms() - age_ms, "canary", 1).producer(4_711, 0, n);
        theirs.produce("canary", 0, &old).unwrap();
        let until = Instant::now() + PROGRESS_MAX;
        while theirs.writers("canary", 0).unwrap().contains(&4_711) {
            assert!(Instant::now() < until, "the writer of old records is not forgotten");
            sleep(Duration::from_millis(50));
        }
    }
}

/// A link for new records and one for old ones, through the proxy.
fn two_links(source: &str, destination: &str) -> Isolog {
    let mut spec = IsologSpec::new(source, destination, &["now-*"]);
    spec.link = "now".into();
    let more = &spec.link_more;
    spec.more_links = format!(
        "[link.old]\nbootstrap.servers = \"{source}\"\n{more}mirror.topics = [\"old-*\"]\n"
    );
    Isolog::start(&spec).unwrap()
}

/// Must show: what isolog had sent before it was killed is delivered when its topics are failed
/// over: nothing of it lands behind a seal, on data that the broker remembers no writer of too.
#[test]
fn late_bytes_behind_a_failover_are_refused() {
    let _room = room(2);
    let (began, mut rng) = (Instant::now(), Rng::new(seed()));
    let source = source_cluster();
    let forgetful = destination_spec().prop("producer.id.expiration.check.interval.ms", "1000");
    let (destination, proxy) = behind(forgetful, rng.next_u64());
    let (ours, theirs) = (Hand::new(source.bootstrap()), Hand::new(destination.bootstrap()));
    let names = ["now", "old"];
    let sets = names.map(|name| Set::create(name, &ours));
    let ages = [Vec::new(), vec!["--age", AGE_MS]];
    let loads: Vec<Vec<Load>> = names
        .iter()
        .zip(&ages)
        .map(|(name, age)| Set::loads(name, source.bootstrap(), age))
        .collect();
    let mut isolog = two_links(source.bootstrap(), &through(&proxy));
    for (topic, _) in sets.iter().flat_map(|set| &set.topics) {
        let is_copied = |_: &Isolog| (theirs.ends(topic, 0).ok()?.1 > 0).then_some(());
        isolog.wait_for(&format!("{topic} is copied"), LEVEL_SECONDS_MAX, is_copied);
    }
    proxy.hold();
    isolog.wait_for("appends of both links are held", 90, |_| {
        (proxy.held_lines() >= names.len() as u64).then_some(())
    });
    isolog.kill();
    let late = proxy.late_bytes();
    isolog.start_again().unwrap();
    let sealed: Vec<_> =
        names.iter().zip(&sets).map(|(name, set)| fail_over(&isolog, name, set)).collect();
    assert_eq!(proxy.late_bytes(), late, "nothing was delivered before the seals");
    loads.into_iter().for_each(stop);
    wait_forgotten(&theirs);
    proxy.release();
    isolog.wait_for("the proxy keeps nothing", 60, |_| proxy.is_drained().then_some(()));
    let late = proxy.late_bytes() - late;
    assert!(late > 0, "nothing was delivered late");
    for (set, seals) in sets.iter().zip(&sealed) {
        assert_sealed(set, (&ours, &theirs), seals);
    }
    assert!(!isolog.log().contains("panicked"), "{}", isolog.log());
    println!(
        "failed over behind the proxy: {} partitions sealed, {late} bytes delivered behind the \
         seals, {:.0} s",
        sealed.iter().map(Vec::len).sum::<usize>(),
        began.elapsed().as_secs_f64(),
    );
}
