//! The verification of a link: every partition from where both logs begin to an end that is fixed
//! at the start.
//!
//! It never takes what is not compared for equal: a partition that could not be read to its end
//! says so.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::audit::Dials;
use crate::audit::LinkOptions;
use crate::audit::compare::Compare;
use crate::audit::compare::Difference;
use crate::audit::compare::Failure;
use crate::audit::compare::Step;
use crate::audit::log::cursor::Cursor;
use crate::audit::log::cursor::Place;
use crate::audit::log::reader::Lines;
use crate::audit::log::reader::Range;
use crate::audit::log::reader::ReadError;
use crate::audit::log::reader::next_of;
use crate::audit::past;
use crate::audit::state;
use crate::audit::state::Saved;
use crate::audit::state::State;
use crate::audit::survey;
use crate::audit::survey::Job;
use crate::audit::survey::PartitionReport;
use crate::audit::survey::Report;
use crate::audit::survey::Verdict;
use crate::audit::survey::plan;
use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::cluster::error::ClusterError;
use crate::ids::Offset;
use crate::ids::Side;
use crate::ids::TopicName;
use crate::wire::batch::BatchView;
use crate::wire::fetch::Isolation;
use crate::wire::filler::seal::is_seal;
use crate::wire::split::Piece;

/// How often the state file is written.
const SAVE_PAUSE: Duration = Duration::from_secs(2);

/// How to verify.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Partitions that are compared at the same time.
    pub workers: usize,
    /// What one fetch asks for, in bytes; six such answers of a partition are alive at most.
    pub fetch_bytes: i32,
    /// Only these topics; empty for all.
    pub topics: Vec<TopicName>,
    /// The file to go on from.
    pub state: Option<PathBuf>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The state file.
    #[error("the state file {path}: {error}")]
    State {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        error: std::io::Error,
    },
    /// It is the state of something else.
    #[error("the state file {path} is of another link or of other clusters: remove it")]
    OtherState {
        /// Which.
        path: PathBuf,
    },
}

/// How far it is, for those who watch.
#[derive(Debug, Default)]
pub struct Progress {
    /// Offsets that are to be compared.
    pub offsets_all: AtomicU64,
    /// Offsets that were.
    pub offsets_done: AtomicU64,
    /// Record bytes read, of both sides.
    pub bytes: AtomicU64,
    /// Partitions to compare.
    pub partitions_all: AtomicU64,
    /// Partitions that are done.
    pub partitions_done: AtomicU64,
    /// Differences so far.
    pub differences: AtomicU64,
}

/// What all workers share.
struct Shared {
    source: Arc<Cluster>,
    destination: Arc<Cluster>,
    isolation: Isolation,
    fetch_bytes: i32,
    jobs: Mutex<VecDeque<Job>>,
    done: Mutex<Vec<PartitionReport>>,
    state: Mutex<State>,
    progress: Arc<Progress>,
    stop: CancellationToken,
}

/// Compares a link. After `stop` it ends soon, and the state file says up to where it came.
pub async fn run(
    link: &LinkOptions,
    dials: &Dials,
    ask: &Ask,
    progress: &Arc<Progress>,
    stop: &CancellationToken,
) -> Result<Report, Error> {
    let source = dials.connect(link, Side::Source).await?;
    let destination = dials.connect(link, Side::Destination).await?;
    let old = load(link, ask, &source, &destination)?;
    let link = &past::without_mirrors(link, &source, &destination).await?;
    let (jobs, done) = plan(link, &ask.topics, &source, &destination, &old).await?;
    progress.partitions_all.fetch_add((jobs.len() + done.len()) as u64, Relaxed);
    progress.partitions_done.fetch_add(done.len() as u64, Relaxed);
    let all: i64 = jobs.iter().map(|job| job.saved.to - job.saved.from).sum();
    let before: i64 = jobs.iter().map(|job| job.saved.at - job.saved.from).sum();
    progress.offsets_all.fetch_add(all as u64, Relaxed);
    progress.offsets_done.fetch_add(before as u64, Relaxed);
    let isolation = match link.committed_only {
        true => Isolation::ReadCommitted,
        false => Isolation::ReadUncommitted,
    };
    let shared = Arc::new(Shared {
        isolation,
        fetch_bytes: ask.fetch_bytes,
        jobs: Mutex::new(jobs),
        done: Mutex::new(done),
        state: Mutex::new(old),
        progress: progress.clone(),
        stop: stop.clone(),
        source,
        destination,
    });
    work(&shared, ask).await?;
    Ok(report(link, &shared))
}

/// Runs the workers to their end, and writes the state file meanwhile.
async fn work(shared: &Arc<Shared>, ask: &Ask) -> Result<(), Error> {
    let mut workers = JoinSet::new();
    for _ in 0..ask.workers {
        let shared = shared.clone();
        workers.spawn(async move { shared.work().await });
    }
    let mut pause = tokio::time::interval(SAVE_PAUSE);
    loop {
        tokio::select! {
            ended = workers.join_next() => match ended {
                None => break,
                Some(Ok(())) => {}
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            },
            _ = pause.tick() => shared.save(ask)?,
        }
    }
    shared.save(ask)
}

fn load(
    link: &LinkOptions,
    ask: &Ask,
    source: &Cluster,
    destination: &Cluster,
) -> Result<State, Error> {
    let clusters = (source.id().to_string(), destination.id().to_string());
    let new = State {
        form: state::FORM,
        link: link.name.to_string(),
        clusters,
        partitions: BTreeMap::new(),
    };
    let Some(path) = &ask.state else { return Ok(new) };
    let old = state::read(path).map_err(|error| Error::State { path: path.clone(), error })?;
    match old {
        None => Ok(new),
        Some(old) if (&old.link, &old.clusters) == (&new.link, &new.clusters) => Ok(old),
        Some(_) => Err(Error::OtherState { path: path.clone() }),
    }
}

fn report(link: &LinkOptions, shared: &Shared) -> Report {
    let mut partitions = lock(&shared.done).clone();
    let left = std::mem::take(&mut *lock(&shared.jobs));
    partitions.extend(left.into_iter().map(|job| job.report));
    partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    Report {
        link: link.name.to_string(),
        source_cluster: shared.source.id().to_string(),
        destination_cluster: shared.destination.id().to_string(),
        verdict: partitions.iter().map(|one| one.verdict).max().unwrap_or(Verdict::Unknown),
        partitions,
    }
}

impl Shared {
    async fn work(&self) {
        let mut source = Lines::new(&self.source, self.fetch_bytes);
        let mut destination = Lines::new(&self.destination, self.fetch_bytes);
        while !self.stop.is_cancelled() {
            let Some(job) = lock(&self.jobs).pop_front() else { return };
            let report = self.compare(job, &mut source, &mut destination).await;
            self.progress.partitions_done.fetch_add(1, Relaxed);
            lock(&self.done).push(report);
        }
    }

    async fn compare(
        &self,
        mut job: Job,
        source: &mut Lines<'_>,
        destination: &mut Lines<'_>,
    ) -> PartitionReport {
        let (from, end) = (offset(job.saved.at), offset(job.saved.to));
        let ours = Cursor::new(from, end, self.isolation == Isolation::ReadCommitted);
        let theirs = Cursor::new(from, end, job.mirror_isolation == Isolation::ReadCommitted);
        let mut compare = Compare::new(ours, theirs, job.compaction);
        compare.tally = job.saved.tally;
        compare.shown.clone_from(&job.saved.shown);
        let done = self.drive(&mut job, &mut compare, source, destination).await;
        let is_whole = done.is_ok();
        if is_whole {
            compare.finish();
            self.note(&job, &compare, offset(job.saved.to), true);
        }
        self.close(job, compare, done)
    }

    /// Feeds the comparison until its end. A seal is the mirror's last offset, unless the source
    /// has records behind it that the copy has as well: so what came out below it is kept.
    async fn drive(
        &self,
        job: &mut Job,
        compare: &mut Compare,
        source: &mut Lines<'_>,
        destination: &mut Lines<'_>,
    ) -> Result<(), Broken> {
        let end = offset(job.saved.to);
        let mut sealed = None;
        let lines = &mut (source, destination);
        while let Some(at) = self.stretch(job, compare, lines, &mut sealed).await? {
            sealed = Some(Sealed { at, below: compare.clone() });
            compare.go_on(at, end);
        }
        if let Some(Sealed { at, below }) = sealed {
            let left = u64::try_from(job.saved.to - at.get()).unwrap_or(0);
            self.progress.offsets_done.fetch_add(left, Relaxed);
            *compare = below;
            (job.saved.to, job.saved.sealed) = (at.get(), Some(at.get()));
        }
        let (source, destination) = lines;
        self.look_for_seal(job, destination).await?;
        self.look_behind(job, compare, Side::Source, source).await?;
        self.look_behind(job, compare, Side::Destination, destination).await
    }

    /// Compares up to the next seal of the destination, whose offset comes back, or to the end.
    async fn stretch(
        &self,
        job: &Job,
        compare: &mut Compare,
        (source, destination): &mut (&mut Lines<'_>, &mut Lines<'_>),
        sealed: &mut Option<Sealed>,
    ) -> Result<Option<Offset>, Broken> {
        let (from, end) = (compare.position(), offset(job.saved.to));
        let passed = sealed.as_ref().map(|sealed| sealed.at);
        let mut next_seal = None;
        let mut ours = source.read(self.range(job, Side::Source, from, end));
        let mut theirs = destination.read(self.range(job, Side::Destination, from, end));
        loop {
            let step = compare.run()?;
            let below = sealed.as_ref().map(|sealed| sealed.below.tally);
            if below.is_some_and(|below| compare.tally.records > below.records) {
                // it has become a mirror again
                *sealed = None;
            } else if below.is_some_and(|below| compare.tally.differences > below.differences) {
                break;
            }
            if sealed.is_none() {
                self.note(job, compare, compare.position(), compare.is_settled());
            }
            if self.stop.is_cancelled() {
                return Err(Broken::Stopped);
            }
            let Step::Need(side) = step else { break };
            let portion = next_of(side, &mut ours, &mut theirs).await?;
            let Some(mut portion) = portion else { break };
            let bytes: usize = portion.pieces.iter().map(Piece::bytes_count).sum();
            self.progress.bytes.fetch_add(bytes as u64, Relaxed);
            if side == Side::Destination
                && let Some(at) =
                    portion.cut_before(|one| is_seal(one) && is_news(one, (from, end), passed))
            {
                next_seal = Some(at);
            }
            compare.feed(side, portion);
            if let Some(at) = next_seal {
                compare.end_at(at);
            }
        }
        ours.finish().await?;
        theirs.finish().await?;
        Ok(next_seal)
    }

    /// A seal right behind what the source has lies beyond what is compared.
    async fn look_for_seal(&self, job: &mut Job, lines: &mut Lines<'_>) -> Result<(), Broken> {
        let (Some(ours), Some(theirs)) = (job.report.source.1, job.report.destination.1) else {
            return Ok(());
        };
        if theirs <= ours || job.saved.sealed.is_some() {
            return Ok(());
        }
        let (from, end) = (offset(ours), offset(ours + 1));
        let mut reader = lines.read(self.range(job, Side::Destination, from, end));
        let seen = reader.next().await?;
        reader.finish().await?;
        let at = seen.and_then(|mut seen| seen.cut_before(is_seal));
        job.saved.sealed = at.filter(|at| *at == from).map(Offset::get);
        Ok(())
    }

    fn range(&self, job: &Job, side: Side, from: Offset, end: Offset) -> Range {
        let (topic, isolation) = match side {
            Side::Source => (job.ids.0, self.isolation),
            Side::Destination => (job.ids.1, job.mirror_isolation),
        };
        Range { tp: job.at(side).clone(), topic, isolation, from, end }
    }

    /// Compaction may have taken a record because of one behind the fixed end.
    async fn look_behind(
        &self,
        job: &Job,
        compare: &mut Compare,
        side: Side,
        lines: &mut Lines<'_>,
    ) -> Result<(), Broken> {
        if !compare.is_awaiting(side) {
            return Ok(());
        }
        let (cluster, isolation) = match side {
            Side::Source => (&self.source, self.isolation),
            Side::Destination => (&self.destination, job.mirror_isolation),
        };
        let kind = match isolation {
            Isolation::ReadCommitted => EndKind::Stable,
            Isolation::ReadUncommitted => EndKind::HighWatermark,
        };
        let tp = job.at(side);
        let told = survey::ends(cluster, std::slice::from_ref(tp), kind).await;
        let told = told.map_err(ReadError::from)?.remove(tp);
        let told = told.unwrap_or(Err(crate::wire::error::KafkaCode::UNKNOWN));
        let behind = told.map_err(|code| ReadError::Refused { side, code })?;
        let end = offset(job.saved.to);
        let range = self.range(job, side, end, behind.max(end));
        let committed_only = range.isolation == Isolation::ReadCommitted;
        let mut cursor = Cursor::new(range.from, range.end, committed_only);
        let mut reader = lines.read(range);
        while compare.is_awaiting(side) && compare.look_behind(side, &mut cursor)? == Place::Need {
            let Some(portion) = reader.next().await? else { break };
            cursor.feed(portion);
        }
        Ok(reader.finish().await?)
    }

    /// Writes down how far a partition is.
    fn note(&self, job: &Job, compare: &Compare, position: Offset, is_settled: bool) {
        if !is_settled {
            return;
        }
        let mut state = lock(&self.state);
        let key = job.tp.to_string();
        let saved = state.partitions.entry(key).or_insert_with(|| job.saved.clone());
        let gained = position.get().saturating_sub(saved.at.max(job.saved.at));
        let differences = compare.tally.differences - saved.tally.differences;
        *saved = Saved {
            at: position.get(),
            tally: compare.tally,
            fillers: job.saved.fillers + compare.destination.passed().fillers,
            // a file that outlives this run: what it shows of records stays with the run
            shown: compare.shown.iter().map(Difference::bare).collect(),
            ..job.saved.clone()
        };
        drop(state);
        self.progress.offsets_done.fetch_add(u64::try_from(gained).unwrap_or(0), Relaxed);
        self.progress.differences.fetch_add(differences, Relaxed);
    }

    fn close(&self, job: Job, compare: Compare, done: Result<(), Broken>) -> PartitionReport {
        let position = compare.position().get();
        let tally = compare.tally;
        let sealed = job.saved.sealed;
        let is_ahead = sealed.is_none() && job.report.destination.1 > job.report.source.1;
        let is_broken = matches!(done, Err(Broken::Unreadable(..)));
        let is_different = tally.differences > 0 || is_broken || is_ahead;
        let verdict = match done {
            _ if is_different => Verdict::Different,
            Ok(()) if tally.unproven == 0 && job.report.is_whole() => Verdict::Equal,
            _ => Verdict::Unknown,
        };
        let to = if done.is_ok() { job.saved.to } else { position };
        let mut report = PartitionReport { sealed, ..job.report };
        report.note = match done {
            Ok(()) => report.noted(tally.unproven, to),
            Err(broken) => {
                let told = format!("compared up to {position} of {}: {broken}", job.saved.to);
                report.fate.iter().cloned().chain([told]).collect::<Vec<_>>().join("; ")
            }
        };
        PartitionReport {
            verdict,
            from: Some(job.saved.from),
            to: Some(to),
            tally,
            fillers: job.saved.fillers + compare.destination.passed().fillers,
            differences: compare.shown,
            ..report
        }
    }

    fn save(&self, ask: &Ask) -> Result<(), Error> {
        let Some(path) = &ask.state else { return Ok(()) };
        let state = lock(&self.state).clone();
        state::write(path, &state).map_err(|error| Error::State { path: path.clone(), error })
    }
}

/// Why a comparison ended early.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("at the {0}, {1}")]
    Unreadable(Side, crate::audit::log::cursor::Unreadable),
    #[error("it was stopped")]
    Stopped,
}

impl From<Failure> for Broken {
    fn from((side, unreadable): Failure) -> Broken {
        Broken::Unreadable(side, unreadable)
    }
}

/// A seal of the destination, and all that came out below it.
struct Sealed {
    at: Offset,
    below: Compare,
}

/// Whether that batch lies in what is compared, and is not the seal that it begins with.
fn is_news(batch: &BatchView, (from, end): (Offset, Offset), passed: Option<Offset>) -> bool {
    let base = batch.base_offset();
    (from..end).contains(&base) && Some(base) != passed
}

fn offset(raw: i64) -> Offset {
    Offset::new(raw).unwrap_or(Offset::ZERO)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
