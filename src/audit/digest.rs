//! Digests of one side, range by range, so that two sites can compare without moving records.
//!
//! It never depends on how records are framed, packed or batched: what is hashed is offset, time,
//! key, value and headers of every committed record, in order (BLAKE3: a collision is not to be
//! met by chance nor to be made, so equal digests mean equal records; it is faster than a network).

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use bytes::BufMut;
use serde::Deserialize;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::audit::Dials;
use crate::audit::LinkOptions;
use crate::audit::log::cursor::Cursor;
use crate::audit::log::cursor::Place;
use crate::audit::log::cursor::Seen;
use crate::audit::log::cursor::Unreadable;
use crate::audit::log::reader::Lines;
use crate::audit::log::reader::Range;
use crate::audit::log::reader::ReadError;
use crate::audit::survey;
use crate::audit::verify::Progress;
use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::cluster::error::ClusterError;
use crate::cluster::metadata::Topic;
use crate::ids::Offset;
use crate::ids::Side;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::wire::fetch::Isolation;
use crate::wire::filler;

/// What every digest begins with; another form of the bytes below is another number.
const FORM: &[u8] = b"isolog digest 1\n";
/// So many bytes are gathered for the hash at a time: it is fastest on long runs.
const GATHER_BYTES: usize = 128 * 1024;

/// One range of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// Behind the last one.
    pub to: i64,
    /// How many records it has.
    pub records: u64,
    /// Bytes of their keys, values and headers.
    pub bytes: u64,
    /// BLAKE3, in hex.
    pub digest: String,
}

/// How to digest.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Which side.
    pub side: Side,
    /// Offsets of a range.
    pub range: u64,
    /// Only these topics; empty for all.
    pub topics: Vec<TopicName>,
    /// Partitions that are read at the same time.
    pub workers: usize,
    /// What one fetch asks for, in bytes.
    pub fetch_bytes: i32,
    /// The other side's rows: the same ranges are digested.
    pub against: Option<Vec<Row>>,
}

/// What was digested.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The cluster's id.
    pub cluster: String,
    /// By topic, partition and offset.
    pub rows: Vec<Row>,
    /// What could not be read, in words.
    pub failed: Vec<String>,
}

/// The hash of records, one after the other.
#[derive(Debug)]
struct RecordHash {
    hash: blake3::Hasher,
    gathered: Vec<u8>,
    records: u64,
    bytes: u64,
}

impl RecordHash {
    fn new() -> RecordHash {
        let mut hash = blake3::Hasher::new();
        hash.update(FORM);
        RecordHash { hash, gathered: Vec::new(), records: 0, bytes: 0 }
    }

    /// Every length stands before its bytes, and null is not empty: no two records look the same.
    fn put(&mut self, seen: &Seen<'_>) {
        let record = &seen.record;
        self.gathered.put_i64(seen.offset.get());
        self.gathered.put_i64(seen.timestamp);
        self.part(record.key);
        self.part(record.value);
        self.gathered.put_u32(record.headers.len() as u32);
        for (name, value) in &record.headers {
            self.part(Some(name));
            self.part(*value);
        }
        self.records += 1;
        if self.gathered.len() >= GATHER_BYTES {
            self.flush();
        }
    }

    fn part(&mut self, part: Option<&[u8]>) {
        self.gathered.put_i64(part.map_or(-1, |part| part.len() as i64));
        self.gathered.put_slice(part.unwrap_or_default());
        self.bytes += part.map_or(0, |part| part.len() as u64);
    }

    fn flush(&mut self) {
        self.hash.update(&self.gathered);
        self.gathered.clear();
    }

    fn row(mut self, tp: &TopicPartition, (from, to): (Offset, Offset)) -> Row {
        self.flush();
        Row {
            topic: tp.topic.to_string(),
            partition: tp.partition.0,
            from: from.get(),
            to: to.get(),
            records: self.records,
            bytes: self.bytes,
            digest: self.hash.finalize().to_hex().to_string(),
        }
    }
}

/// Cuts a partition into ranges; they lie side by side from its first offset to its end.
struct Ranges {
    tp: TopicPartition,
    /// Where the present range begins, and ends.
    from: Offset,
    to: Offset,
    end: Offset,
    /// Offsets of a range, at least one.
    step: u64,
    /// The given ends that are left.
    ends: VecDeque<Offset>,
    hash: RecordHash,
    rows: Vec<Row>,
}

impl Ranges {
    fn new(job: &Job, step: u64) -> Ranges {
        let mut ranges = Ranges {
            tp: job.named.clone(),
            from: job.from,
            to: job.from,
            end: job.to,
            step: step.max(1),
            ends: job.ends.clone().into(),
            hash: RecordHash::new(),
            rows: Vec::new(),
        };
        ranges.to = ranges.behind(job.from);
        ranges
    }

    /// Where the range ends that begins at an offset.
    fn behind(&mut self, from: Offset) -> Offset {
        let next = match self.ends.pop_front() {
            Some(end) => Some(end),
            None => self.multiple_below(from).plus(self.step),
        };
        next.map_or(self.end, |next| next.min(self.end))
    }

    /// Ranges end at multiples, so that two sides whose logs begin apart have the same ones.
    fn multiple_below(&self, offset: Offset) -> Offset {
        let count = Offset::ZERO.distance_to(offset) / self.step;
        Offset::ZERO.plus(count * self.step).unwrap_or(offset)
    }

    fn put(&mut self, seen: &Seen<'_>) {
        while seen.offset >= self.to && self.to < self.end {
            self.close(Some(seen.offset));
        }
        self.hash.put(seen);
    }

    /// Ends the present range. Where the next record is far away, what lies between is one range.
    fn close(&mut self, next: Option<Offset>) {
        let hash = std::mem::replace(&mut self.hash, RecordHash::new());
        let is_given = !self.ends.is_empty();
        self.rows.push(hash.row(&self.tp, (self.from, self.to)));
        self.from = self.to;
        let start = next.map_or(self.end, |next| self.multiple_below(next));
        if !is_given && start > self.from {
            self.rows.push(RecordHash::new().row(&self.tp, (self.from, start)));
            self.from = start;
        }
        self.to = self.behind(self.from);
    }

    fn finish(mut self) -> Vec<Row> {
        while self.from < self.end {
            self.close(None);
        }
        self.rows
    }
}

/// One partition.
#[derive(Clone, Debug)]
struct Job {
    tp: TopicPartition,
    /// As the source calls it: so do rows, whichever side is read.
    named: TopicPartition,
    from: Offset,
    to: Offset,
    /// Where the ranges must end; none for the usual ones.
    ends: Vec<Offset>,
}

/// Digests one side of a link.
pub async fn run(
    link: &LinkOptions,
    dials: &Dials,
    ask: &Ask,
    progress: &Arc<Progress>,
    stop: &CancellationToken,
) -> Result<Report, ClusterError> {
    let cluster = dials.connect(link, ask.side).await?;
    let committed_only = link.committed_only && ask.side == Side::Source;
    let mut report = Report { cluster: cluster.id().to_string(), ..Report::default() };
    let jobs = plan(link, ask, &cluster, committed_only, &mut report.failed).await?;
    let all: u64 = jobs.iter().map(|job| job.from.distance_to(job.to)).sum();
    progress.offsets_all.fetch_add(all, Relaxed);
    progress.partitions_all.fetch_add(jobs.len() as u64, Relaxed);
    let queue = Arc::new(Mutex::new(jobs));
    let mut workers = JoinSet::new();
    for _ in 0..ask.workers {
        let (cluster, queue, progress) = (cluster.clone(), queue.clone(), progress.clone());
        let (stop, step, fetch_bytes) = (stop.clone(), ask.range, ask.fetch_bytes);
        workers.spawn(async move {
            let mut lines = Lines::new(&cluster, fetch_bytes);
            let mut done = Vec::new();
            let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            while let Some(job) = next().filter(|_| !stop.is_cancelled()) {
                let rows = digest(&job, step, committed_only, &mut lines, &progress).await;
                progress.partitions_done.fetch_add(1, Relaxed);
                done.push((job.tp, rows));
            }
            done
        });
    }
    for (tp, rows) in workers.join_all().await.into_iter().flatten() {
        match rows {
            Ok(rows) => report.rows.extend(rows),
            Err(failure) => report.failed.push(format!("{tp}: {failure}")),
        }
    }
    if stop.is_cancelled() {
        report.failed.push("it was stopped".to_owned());
    }
    report
        .rows
        .sort_by(|a, b| (&a.topic, a.partition, a.from).cmp(&(&b.topic, b.partition, b.from)));
    Ok(report)
}

async fn plan(
    link: &LinkOptions,
    ask: &Ask,
    cluster: &Cluster,
    committed_only: bool,
    failed: &mut Vec<String>,
) -> Result<VecDeque<Job>, ClusterError> {
    let given = ask.against.as_deref().map(given);
    let wanted = |source: &TopicName| {
        let is_given = |given: &Given| given.keys().any(|tp| tp.topic == *source);
        let is_given = given.as_ref().is_none_or(is_given);
        link.takes(source) && link.is_asked(&ask.topics, source) && is_given
    };
    let side = cluster.side();
    let is_meant =
        |name: &TopicName| link.source_at(side, name).is_some_and(|source| wanted(&source));
    let topics = survey::topics(cluster, is_meant).await?;
    let known = topics.iter().flat_map(|topic| {
        let of = |id: &_| TopicPartition { topic: topic.name.clone(), partition: *id };
        topic.partitions.keys().map(of).collect::<Vec<_>>()
    });
    let known: Vec<TopicPartition> = known.collect();
    failed.extend(missing(link, ask, side, &topics));
    let readable = if committed_only { EndKind::Stable } else { EndKind::HighWatermark };
    let starts = survey::ends(cluster, &known, EndKind::Start).await?;
    let ends = survey::ends(cluster, &known, readable).await?;
    let named = |tp: &TopicPartition| {
        let topic = link.source_at(side, &tp.topic)?;
        Some(TopicPartition { topic, partition: tp.partition })
    };
    let wanted: Vec<TopicPartition> = match &given {
        Some(given) => given.keys().filter(|tp| wanted(&tp.topic)).cloned().collect(),
        None => known.iter().filter_map(named).collect(),
    };
    let foreign = given.iter().flat_map(|given| given.keys());
    for tp in foreign.filter(|tp| !link.takes(&tp.topic)) {
        failed.push(format!("{tp}: link {} does not mirror this topic", link.name));
    }
    let mut jobs = VecDeque::new();
    for named in wanted {
        let tp = link.at(side, &named);
        let of = |ends: &survey::Ends| ends.get(&tp).and_then(|end| end.ok());
        let Some((start, end)) = of(&starts).zip(of(&ends)) else {
            failed.push(format!("{tp}: nobody tells where it begins and ends"));
            continue;
        };
        match given.as_ref().map(|given| &given[&named]) {
            None => jobs.push_back(Job { tp, named, from: start, to: end, ends: Vec::new() }),
            Some((from, cuts)) => {
                let to = cuts.last().copied().unwrap_or(*from);
                if start > *from || end < to {
                    failed.push(format!("{tp}: it has {start}..{end}, compared is {from}..{to}"));
                    continue;
                }
                jobs.push_back(Job { tp, named, from: *from, to, ends: cuts.clone() });
            }
        }
    }
    Ok(jobs)
}

/// What was asked for and is not there, in words.
fn missing(link: &LinkOptions, ask: &Ask, side: Side, topics: &[Arc<Topic>]) -> Vec<String> {
    if topics.is_empty() && ask.topics.is_empty() {
        let text = "has no topic that link";
        return vec![format!("the {side} {text} {} mirrors, or shows none", link.name)];
    }
    let known: Vec<TopicName> =
        topics.iter().filter_map(|topic| link.source_at(side, &topic.name)).collect();
    let is_there =
        |name: &TopicName| known.iter().any(|one| link.is_asked(std::slice::from_ref(name), one));
    let gone = ask.topics.iter().filter(|name| !is_there(name));
    gone.map(|name| format!("topic {name}: the {side} does not have it, or does not show it"))
        .collect()
}

/// By partition, as the source calls it: the first offset, and where each range ends.
type Given = BTreeMap<TopicPartition, (Offset, Vec<Offset>)>;

/// The ranges of rows.
fn given(rows: &[Row]) -> Given {
    let mut found = Given::new();
    let mut rows: Vec<&Row> = rows.iter().collect();
    rows.sort_by_key(|row| row.from);
    for row in rows {
        let Some(topic) = TopicName::new(&row.topic) else { continue };
        let tp = TopicPartition { topic, partition: crate::ids::PartitionId(row.partition) };
        let from = Offset::new(row.from).unwrap_or(Offset::ZERO);
        let to = Offset::new(row.to).unwrap_or(from);
        found.entry(tp).or_insert((from, Vec::new())).1.push(to);
    }
    found
}

/// Why a partition has no digests.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("its log ended early")]
    Short,
}

async fn digest(
    job: &Job,
    step: u64,
    committed_only: bool,
    lines: &mut Lines<'_>,
    progress: &Progress,
) -> Result<Vec<Row>, Failure> {
    let topic = lines.cluster().topic(&job.tp.topic).map_or(TopicId::NIL, |topic| topic.id);
    let isolation =
        if committed_only { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
    let (tp, from, end) = (job.tp.clone(), job.from, job.to);
    let mut reader = lines.read(Range { tp, topic, isolation, from, end });
    let mut cursor = Cursor::new(from, end, committed_only);
    let mut ranges = Ranges::new(job, step);
    loop {
        match cursor.place()? {
            Place::End => break,
            Place::Batch => cursor.open_batch()?,
            Place::Record => {
                if let Some(seen) = cursor.record()?.filter(|it| !filler::is_visible(&it.record)) {
                    ranges.put(&seen);
                }
                cursor.skip_record();
            }
            Place::Need => {
                let before = cursor.position();
                let portion = reader.next().await?.ok_or(Failure::Short)?;
                let bytes: usize = portion.pieces.iter().map(|piece| piece.bytes_count()).sum();
                progress.bytes.fetch_add(bytes as u64, Relaxed);
                let gained = before.distance_to(portion.next.min(end));
                progress.offsets_done.fetch_add(gained, Relaxed);
                cursor.feed(portion);
            }
        }
    }
    reader.finish().await?;
    Ok(ranges.finish())
}

/// The rows of two sides that differ, or that only one of them has.
pub fn differing<'a>(ours: &'a [Row], theirs: &'a [Row]) -> Vec<&'a Row> {
    let place = |row: &Row| (row.topic.clone(), row.partition, row.from, row.to);
    let known: BTreeMap<_, &Row> = theirs.iter().map(|row| (place(row), row)).collect();
    let differs = |row: &&Row| known.get(&place(row)).is_none_or(|other| *other != *row);
    ours.iter().filter(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::audit::log::cursor::Portion;
    use crate::audit::log::samples::Sample;
    use crate::audit::log::samples::at;
    use crate::audit::log::samples::batch;
    use crate::audit::log::samples::fillers;
    use crate::ids::PartitionId;
    use crate::wire::batch::BatchView;
    use crate::wire::split::Piece;

    fn rows(batches: Vec<BatchView>, from: i64, to: i64, step: u64, ends: &[i64]) -> Vec<Row> {
        let topic = TopicName::new("a").unwrap();
        let tp = TopicPartition { topic, partition: PartitionId(0) };
        let job = Job {
            named: tp.clone(),
            tp,
            from: at(from),
            to: at(to),
            ends: ends.iter().map(|end| at(*end)).collect(),
        };
        let mut cursor = Cursor::new(job.from, job.to, true);
        let pieces = batches.into_iter().map(Piece::Batch).collect();
        cursor.feed(Portion { pieces, aborted: Vec::new(), next: job.to });
        let mut ranges = Ranges::new(&job, step);
        loop {
            match cursor.place().unwrap() {
                Place::Batch => cursor.open_batch().unwrap(),
                Place::Record => {
                    ranges.put(&cursor.record().unwrap().unwrap());
                    cursor.skip_record();
                }
                Place::End => return ranges.finish(),
                Place::Need => panic!("all was fed"),
            }
        }
    }

    fn records() -> Vec<Sample> {
        let one = |n: i64| Sample::new(n, &format!("v{n}")).key("k").headers(&["h"]);
        (3..9).map(one).collect()
    }

    fn shape(rows: &[Row]) -> Vec<(i64, i64, u64)> {
        rows.iter().map(|row| (row.from, row.to, row.records)).collect()
    }

    #[test]
    fn ranges_lie_side_by_side_at_the_same_places_wherever_a_log_begins() {
        let got = rows(vec![batch(&records())], 3, 30, 4, &[]);
        assert_eq!(shape(&got), [(3, 4, 1), (4, 8, 4), (8, 12, 1), (12, 30, 0)]);
        let later = rows(vec![batch(&records())], 5, 30, 4, &[]);
        assert_eq!(shape(&later), [(5, 8, 3), (8, 12, 1), (12, 30, 0)]);
        assert_eq!(later[1..], got[2..], "the ranges that both have are equal");
        let far = vec![batch(&[Sample::new(1, "x")]), batch(&[Sample::new(41, "y")])];
        assert_eq!(shape(&rows(far, 0, 44, 4, &[])), [(0, 4, 1), (4, 40, 0), (40, 44, 1)]);
        assert_eq!(shape(&rows(Vec::new(), 0, 0, 4, &[])), []);
        assert_eq!(shape(&rows(Vec::new(), 0, 9, 4, &[])), [(0, 4, 0), (4, 9, 0)]);
    }

    #[test]
    fn given_ranges_are_kept() {
        let whole = || vec![batch(&records())];
        for rows_given in [rows(whole(), 3, 30, 4, &[]), rows(whole(), 0, 44, 4, &[])] {
            let ends: Vec<i64> = rows_given.iter().map(|row| row.to).collect();
            let (from, to) = (rows_given[0].from, *ends.last().unwrap());
            assert_eq!(rows(whole(), from, to, 1_000_000, &ends), rows_given);
        }
    }

    #[test]
    fn framing_and_fillers_do_not_matter_and_everything_else_does() {
        let right = rows(vec![batch(&records())], 0, 20, 100, &[]);
        let (first, second) = (batch(&records()[..2]), batch(&records()[2..]));
        assert_eq!(
            rows(vec![fillers(0, 3), first, second, fillers(9, 11)], 0, 20, 100, &[]),
            right
        );
        let changed = |change: fn(&mut Vec<Sample>)| {
            let mut other = records();
            change(&mut other);
            let got = rows(vec![batch(&other)], 0, 20, 100, &[]);
            assert_eq!(differing(&got, &right).len(), 1, "{other:?}");
        };
        changed(|all| all[1].value[0] ^= 1);
        changed(|all| all[1].timestamp += 1);
        changed(|all| all[1].key = None);
        changed(|all| all[1].null = true);
        changed(|all| drop(all.remove(2)));
        changed(|all| all[5].offset += 1);
        changed(|all| all[1].headers = vec!["h".into(), "h".into()]);
        assert_eq!(differing(&right, &right).len(), 0);
        assert_eq!(differing(&right, &[]).len(), 1);
    }

    /// Pinned: two sites may run two releases.
    #[test]
    fn the_bytes_of_a_digest_never_change() {
        let got = rows(vec![batch(&records()[..1])], 3, 4, 100, &[]);
        assert_eq!(got[0].digest, PINNED);
    }

    const PINNED: &str = "1fe206177be604faf24099918a2dccc8ee3cddf101a2aeaa915220fdb9ce5407";
}
