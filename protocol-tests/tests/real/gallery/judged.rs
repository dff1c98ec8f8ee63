//! Whether the copies are right: by their raw logs, and by what five other clients read.
//!
//! It never asks isolog, but to say what it shows when a copy does not get level.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use protocol_tests::broker::batch::CONTROL;
use protocol_tests::broker::batch::TRANSACTIONAL;
use protocol_tests::broker::direct::Dump;
use protocol_tests::check::visible;
use protocol_tests::real::DumpSpec;
use protocol_tests::real::Hand;
use protocol_tests::real::Isolation;
use protocol_tests::real::Isolog;
use protocol_tests::real::PartitionDigest;
use protocol_tests::real::Reader;
use protocol_tests::real::RealCluster;
use protocol_tests::real::assert_equal;
use protocol_tests::real::dump;
use protocol_tests::world::verdict::History;
use protocol_tests::world::verdict::Rules;
use protocol_tests::world::verdict::hidden;
use protocol_tests::world::verdict::judge as judge_one;

use super::exhibits::Exhibit;
use super::exhibits::PARTITIONS;

/// Every partition of every topic.
pub fn places(all: &[Exhibit]) -> impl Iterator<Item = (&Exhibit, i32)> {
    all.iter().flat_map(|exhibit| (0..PARTITIONS).map(move |partition| (exhibit, partition)))
}

/// Why a copy is not level yet: other bounds, or a cleaner that is still at work.
fn unlevel(exhibit: &Exhibit, partition: i32, source: &Hand, copy: &Hand) -> Option<String> {
    let (name, what) = (exhibit.name, format!("{}-{partition}", exhibit.name));
    let bounds = source.ends(name, partition).unwrap();
    let Ok(theirs) = copy.ends(name, partition) else { return Some(format!("no {what}")) };
    if bounds != theirs {
        return Some(format!("{what}: source {bounds:?}, copy {theirs:?}"));
    }
    if !exhibit.is_compacted {
        return None;
    }
    if let Some(policies) = other_policy(exhibit, source, copy) {
        return Some(format!("{what}: the front is not yet gone for good: {policies:?}"));
    }
    let logs = [source, copy].map(|hand| hand.read(name, partition).unwrap());
    // where a segment holds nothing but fillers Sarama does not get on (H11) until it is cleaned
    let fillers: usize = logs[1].batches.iter().map(hidden).sum();
    if fillers > 0 {
        // A segment that begins with fillers has no time of its own: it is rolled by what is
        // appended `segment.ms` after it was made, and a quick copy is whole before that.
        exhibit.close(source, partition);
        return Some(format!("{what}: {fillers} fillers are not yet cleaned"));
    }
    let counts = logs.map(|log| visible(&log, log.end).len());
    (counts[0] != counts[1]).then(|| format!("{what}: {counts:?} records are not yet cleaned"))
}

/// What both sides do about old records, where that is not the same.
fn other_policy(exhibit: &Exhibit, source: &Hand, copy: &Hand) -> Option<[Option<String>; 2]> {
    let policy = |hand: &Hand| hand.config(exhibit.name, "cleanup.policy").ok().flatten();
    let policies = [policy(source), policy(copy)];
    (policies[0].is_none() || policies[0] != policies[1]).then_some(policies)
}

/// Judges copies that no cleaner goes over: the source's bounds and policy, every record that the
/// source still has, each key's last value, and one writer with the sequences of its offsets.
pub fn judge_uncleaned(all: &[Exhibit], source: &Hand, copy: &Hand, seconds_max: u64) {
    let mut writers = Vec::new();
    let until = Instant::now() + Duration::from_secs(seconds_max);
    for (exhibit, partition) in places(all) {
        let name = exhibit.name;
        let ends = |hand: &Hand| hand.ends(name, partition).unwrap();
        while ends(source) != ends(copy) || other_policy(exhibit, source, copy).is_some() {
            let seen = (ends(source), ends(copy), other_policy(exhibit, source, copy));
            assert!(Instant::now() < until, "{name}-{partition}: {seen:?}");
            sleep(Duration::from_secs(1));
        }
        let [ours, theirs] = [source, copy].map(|hand| hand.read(name, partition).unwrap());
        let shown = visible(&theirs, theirs.end);
        let missing: Vec<_> = visible(&ours, ours.end)
            .into_iter()
            .filter(|(offset, seen)| *offset >= ours.start && shown.get(offset) != Some(seen))
            .collect();
        assert!(missing.is_empty(), "{name}-{partition}: {missing:#?}");
        let last = latest(&ours);
        assert!(!last.is_empty(), "{name}-{partition} has no record");
        assert_eq!(last, latest(&theirs), "{name}-{partition}");
        writers.extend(chain(&theirs, name, partition));
    }
    writers.sort_unstable();
    writers.dedup();
    assert!(writers.len() <= 1, "one writer id: {writers:?}");
}

/// The last value of each key that has one, and where it stands.
fn latest(log: &Dump) -> BTreeMap<Option<Bytes>, (i64, Bytes)> {
    let mut latest = BTreeMap::new();
    for (offset, (_, record)) in visible(log, log.end).range(log.start..) {
        match &record.value {
            Some(value) => latest.insert(record.key.clone(), (*offset, value.clone())),
            None => latest.remove(&record.key),
        };
    }
    latest
}

/// Waits until every copy has the source's bounds, and what is compacted is so on both sides.
pub fn wait_level(all: &[Exhibit], source: &Hand, copy: &Hand, isolog: &Isolog, seconds_max: u64) {
    let until = Instant::now() + Duration::from_secs(seconds_max);
    for (exhibit, partition) in places(all) {
        while let Some(why) = unlevel(exhibit, partition, source, copy) {
            let log = isolog.log();
            let last: Vec<_> = log.lines().rev().take(20).collect();
            assert!(Instant::now() < until, "{why}\n{:#?}\n{last:#?}", isolog.partitions());
            sleep(Duration::from_millis(if exhibit.is_compacted { 3_000 } else { 500 }));
        }
    }
}

/// Judges every raw log; how many offsets are filled.
pub fn judge(all: &[Exhibit], source: &Hand, copy: &Hand) -> usize {
    let (mut fillers, mut writers) = (0, Vec::new());
    for (exhibit, partition) in places(all) {
        let name = exhibit.name;
        let [log, theirs] = [source, copy].map(|hand| hand.read(name, partition).unwrap());
        let mut history = History::default();
        history.note(&log);
        let cleaned = exhibit.is_compacted;
        let found =
            judge_one(&log, &history, &theirs, Rules { compacted: cleaned, cleaned, merged: true });
        assert!(found.is_empty(), "{name}-{partition}: {:#?}", &found[..found.len().min(20)]);
        fillers += theirs.batches.iter().map(hidden).sum::<usize>();
        writers.extend(chain(&theirs, name, partition));
    }
    writers.sort_unstable();
    writers.dedup();
    assert_eq!(writers.len(), 1, "one writer id: {writers:?}");
    fillers
}

/// Every batch of a copy is outside of transactions and has the sequence of its offset; by whom.
fn chain(copy: &Dump, name: &str, partition: i32) -> Vec<i64> {
    let mut writers = Vec::new();
    for header in copy.batches.iter().filter_map(|batch| batch.header) {
        let at = format!("{name}-{partition} at {}", header.base_offset);
        assert!(!header.has(CONTROL) && !header.has(TRANSACTIONAL), "{at}");
        assert_eq!(i64::from(header.base_sequence), header.base_offset & 0x7fff_ffff, "{at}");
        writers.push(header.producer_id);
    }
    writers
}

/// The same records for everybody: read_committed on both sides, and read_uncommitted of the copy,
/// which holds nothing else; how many. The clients in Go and Python come with the full size only:
/// they want registries of their own (`.ci/tools`).
pub fn read_by_all(
    all: &[Exhibit],
    version: &str,
    [source, destination]: [&RealCluster; 2],
) -> u64 {
    let (source, destination) = (source.bootstrap(), destination.bootstrap());
    let names: Vec<String> = all.iter().map(|exhibit| exhibit.name.to_owned()).collect();
    let committed = DumpSpec::committed(&names).typeless();
    let ours = dump(Reader::Java, source, &committed).unwrap();
    assert_eq!(ours.len(), names.len() * PARTITIONS as usize);
    // librdkafka 2.12 reads formats 0 and 1 no more
    if !all.iter().any(Exhibit::is_old) {
        same(&ours, Reader::Librdkafka, source, &committed);
    }
    let everything = DumpSpec { isolation: Isolation::Uncommitted, ..committed.clone() };
    for spec in [&committed, &everything] {
        for reader in [Reader::Java, Reader::Librdkafka] {
            same(&ours, reader, destination, spec);
        }
        if !super::is_full() {
            continue;
        }
        let (ours, until) = (&ours, spec.clone().to_ends_of(&ours));
        std::thread::scope(|scope| {
            for reader in [Reader::Franz, Reader::Sarama, Reader::Aiokafka] {
                let until = &until;
                scope.spawn(move || same(ours, reader, destination, until));
            }
        });
    }
    // before 4.0 the new protocol has to be switched on
    if version.starts_with('4') {
        same(&ours, Reader::JavaNext, destination, &committed);
    }
    ours.iter().map(|one| one.records).sum()
}

fn same(ours: &[PartitionDigest], reader: Reader, bootstrap: &str, spec: &DumpSpec) {
    println!("{reader:?} reads {:?}", spec.isolation);
    assert_equal(ours, &dump(reader, bootstrap, spec).unwrap());
}
