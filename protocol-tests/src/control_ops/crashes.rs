//! One instance that is killed where it is told to be, and goes on in a new process; everything
//! else goes well.
//!
//! It never throws dice: which points there are is found by a run that is left alone.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use isolog::control::facts::Do;
use isolog::control::facts::DoId;
use isolog::control::facts::Flowed;
use isolog::control::facts::Reach;
use isolog::control::journal::TailBatch;
use isolog::control::journal::TailRecord;
use isolog::control::journal::WriterTag;
use isolog::control::machine::Control;
use isolog::control::machine::Write;
use isolog::control::order::Order;
use isolog::control::order::Outcome;
use isolog::control::order::Ticket;
use isolog::control::row::Key;
use isolog::control::row::MirrorRow;
use isolog::control::row::Row;
use isolog::control::task::last::LastSync;
use isolog::control::topic::Stage;
use isolog::ids::ClusterId;
use isolog::ids::LinkName;
use isolog::ids::Offset;
use isolog::ids::TimestampMs;
use isolog::ids::TopicId;
use isolog::ids::TopicName;

use super::ROWS_MAX;
use super::checks;
use super::clusters::Clusters;
use super::flow::Flow;
use super::instance::CONFIG_READ;
use super::kinds;
use super::truth::Truth;

pub use super::kinds::Kind;
pub use super::kinds::all;

/// How much time passes from turn to turn.
const TURN_MS: i64 = 5_000;
/// So many turns without news, of which each link looks in some, are the end.
const IDLE_TURNS: u32 = 12;
/// So many turns may a run have.
const TURNS_MAX: u32 = 400;

/// Where an instance may be killed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// A write is decided, and never reaches the journal.
    Decided,
    /// The same, and it reaches the journal after another process has read that.
    WrittenLate,
    /// It lies in the journal, and was not read back.
    Written,
    /// It was read back, and nothing more.
    ReadBack,
    /// An action is asked for, and never done.
    Asked,
    /// The same, and it is done after another process has read the journal.
    DoneLate,
    /// It is done, and there is no answer.
    Done,
    /// Its answer was taken in, and nothing more.
    Answered,
    /// A partition is let go, or sealed, and nobody was told.
    Flowed,
    /// That was told, and nothing more.
    Told,
}

impl Point {
    /// All.
    pub const ALL: [Point; 10] = [
        Point::Decided,
        Point::WrittenLate,
        Point::Written,
        Point::ReadBack,
        Point::Asked,
        Point::DoneLate,
        Point::Done,
        Point::Answered,
        Point::Flowed,
        Point::Told,
    ];
}

/// The process is gone.
struct Killed;

/// What of it is on its way still.
enum Late {
    Write(Write),
    Action(Do),
}

/// The world of one instance.
#[derive(Clone)]
pub struct Lab {
    machine: Control,
    flow: Flow,
    log: Vec<TailBatch>,
    /// What the log says, and what of it the instance has read.
    truth: Truth,
    known: Truth,
    read: usize,
    /// The clusters: an order may change them in tests of what no order does.
    pub(super) clusters: Clusters,
    clock: i64,
    numbers: u64,
    answers: BTreeMap<Ticket, Vec<Outcome>>,
    points: Vec<Point>,
    dies_at: Option<usize>,
    /// Something was written, done or told in this turn.
    has_news: bool,
}

impl Lab {
    /// Two clusters, and an instance that has read the empty journal.
    pub(super) fn new(clusters: Clusters) -> Lab {
        let mut lab = Lab {
            machine: Control::new(WriterTag(0), ROWS_MAX),
            flow: Flow::default(),
            log: Vec::new(),
            truth: Truth::default(),
            known: Truth::default(),
            read: 0,
            clusters,
            clock: 1_700_000_000_000,
            numbers: 0,
            answers: BTreeMap::new(),
            points: Vec::new(),
            dies_at: None,
            has_news: false,
        };
        lab.start();
        lab
    }

    fn now(&self) -> TimestampMs {
        TimestampMs(self.clock)
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn end(&self) -> i64 {
        self.log.last().map_or(0, |batch| batch.next.get())
    }

    /// A new process reads the journal from its start.
    fn start(&mut self) {
        let now = self.now();
        self.machine = Control::new(WriterTag(self.number()), ROWS_MAX);
        (self.flow, self.known, self.read) = (Flow::default(), Truth::default(), 0);
        self.machine.handle_declared(now, kinds::declared());
        self.read_tail();
        self.machine.handle_level(now);
        self.machine.handle_role(now, true);
    }

    /// Everything that lies in the journal.
    fn read_tail(&mut self) {
        let now = self.now();
        while let Some(batch) = self.log.get(self.read) {
            self.read += 1;
            self.known.apply(batch);
            self.machine.handle_batch(now, batch.clone());
            assert_eq!(self.machine.fold().rows(), self.known.texts());
        }
        let declared = kinds::declared().into_keys();
        let links: BTreeSet<LinkName> =
            declared.chain(self.known.links().map(|(link, _)| link.clone())).collect();
        let gone = self.machine.links().map(|(link, ..)| link.clone());
        for link in links.iter().cloned().chain(gone).collect::<BTreeSet<_>>() {
            let row = self.known.link(&link);
            let settings = links.contains(&link).then(|| kinds::settings(&link, row));
            self.machine.handle_settings(now, &link, settings);
            let source = ClusterId("source".into());
            self.machine.handle_reach(now, &link, Reach::Available(source));
        }
    }

    /// An order is given; its answer is not waited for.
    pub(super) fn order(&mut self, order: Order) -> Ticket {
        let (ticket, now) = (Ticket(self.number()), self.now());
        self.machine.handle_order(now, ticket, order);
        ticket
    }

    fn point(&mut self, point: Point) -> Result<(), Killed> {
        self.has_news = true;
        self.points.push(point);
        if self.dies_at == Some(self.points.len() - 1) { Err(Killed) } else { Ok(()) }
    }

    fn append(&mut self, write: &Write) {
        let base = self.end();
        if write.stamp.at.get() != base {
            return; // the broker refuses it
        }
        let record = |(key, value): &(String, Option<String>)| TailRecord {
            key: Some(key.clone()),
            value: value.clone(),
            stamp: Some(write.stamp),
        };
        let offset = |raw| Offset::new(raw).expect("not negative");
        let next = offset(base + write.rows.len() as i64);
        let records = write.rows.iter().map(record).collect();
        let batch = TailBatch { base: offset(base), next, records };
        let (counts, changes) = self.truth.apply_told(&batch);
        assert!(counts, "{write:?}");
        for change in &changes {
            let stages = (change.was.as_ref(), change.is.as_ref());
            let stages = (stages.0.map(|row| row.stage), stages.1.map(|row| row.stage));
            assert!(Stage::may_follow(stages.0, stages.1), "{:?}: {stages:?}", change.key);
        }
        self.log.push(batch);
    }

    fn specs(&mut self) {
        while let Some((key, spec)) = self.machine.poll_spec() {
            checks::spec(&self.known, &key, spec.as_ref());
            self.flow.obey(&key, spec.as_ref());
        }
    }

    fn write(&mut self, late: &mut Option<Late>) -> Result<(), Killed> {
        let now = self.now();
        if let Some(write) = self.machine.poll_write(now) {
            self.point(Point::Decided)?;
            self.point(Point::WrittenLate)
                .inspect_err(|_| *late = Some(Late::Write(write.clone())))?;
            self.append(&write);
            self.point(Point::Written)?;
            self.read_tail();
            self.point(Point::ReadBack)?;
        }
        self.read_tail();
        Ok(())
    }

    fn act(&mut self, late: &mut Option<Late>) -> Result<(), Killed> {
        let mut asked: Vec<(DoId, Do)> = Vec::new();
        while let Some((id, action)) = self.machine.poll_do() {
            checks::action(&self.known, &action);
            asked.push((id, action));
        }
        for (id, action) in asked {
            self.point(Point::Asked)?;
            let is_late = |_: &Killed| *late = Some(Late::Action(action.clone()));
            self.point(Point::DoneLate).inspect_err(is_late)?;
            let result = self.clusters.act(&action);
            self.point(Point::Done)?;
            let now = self.now();
            self.machine.handle_done(now, id, result);
            self.point(Point::Answered)?;
        }
        Ok(())
    }

    fn flow(&mut self) -> Result<(), Killed> {
        for fact in self.flow.facts() {
            let comes_back = matches!(fact.what, Flowed::Released | Flowed::IsSealed(_));
            if comes_back {
                self.flow.let_go(&fact.mirror, fact.partition);
                self.point(Point::Flowed)?;
            }
            let now = self.now();
            self.machine.handle_flow(now, fact);
            if comes_back {
                self.point(Point::Told)?;
            }
        }
        Ok(())
    }

    /// Looks are answered, and a turn of each task comes to what it always comes to.
    fn look(&mut self) {
        let now = self.now();
        while let Some((id, look)) = self.machine.poll_look() {
            let observed = self.clusters.look(&look);
            self.machine.handle_observed(now, id, Ok(observed));
        }
        let keys: Vec<_> = self.machine.mirrors().map(|(key, ..)| key.clone()).collect();
        for key in keys {
            if let Some(level_at) = self.machine.awaits_configs(&key) {
                let read = (CONFIG_READ.to_owned(), Some("1000".to_owned()));
                self.machine.handle_at_stop(now, &key, [read].into());
                self.machine.handle_configured(now, &key, (level_at, None));
            }
            if self.machine.awaits_groups(&key) {
                self.machine.handle_synced(now, &key, LastSync::at(now));
            }
        }
    }

    fn turn(&mut self, late: &mut Option<Late>) -> Result<(), Killed> {
        self.clock += TURN_MS;
        let now = self.now();
        self.machine.handle_timeout(now);
        self.specs();
        self.write(late)?;
        self.specs();
        self.look();
        self.act(late)?;
        self.flow()?;
        while let Some((ticket, outcomes)) = self.machine.poll_answer() {
            self.answers.insert(ticket, outcomes);
        }
        Ok(())
    }

    /// Until nothing is news any more; says whether the instance was killed meanwhile.
    pub(super) fn settle(&mut self) -> bool {
        let (mut idle, mut was_killed) = (0, false);
        for _ in 0..TURNS_MAX {
            let mut late = None;
            self.has_news = false;
            if let Err(Killed) = self.turn(&mut late) {
                was_killed = true;
                self.start();
                match late {
                    Some(Late::Write(write)) => self.append(&write),
                    Some(Late::Action(action)) => drop(self.clusters.act(&action)),
                    None => {}
                }
                return was_killed;
            }
            idle = if self.has_news { 0 } else { idle + 1 };
            if idle == IDLE_TURNS {
                return was_killed;
            }
        }
        panic!("it does not settle: {:#?}", self.truth.texts());
    }

    /// What there is, without numbers and times that say nothing.
    fn told(&self, was: &Clusters) -> End {
        let row = |text: &str, value: &str| {
            let key = Key::parse(text)?;
            match (Row::parse(&key, value).ok()?, &key) {
                (Row::Mirror(row), Key::Mirror(_, name)) => Some(self.row(was, name, row)),
                (row, _) => Some(row.to_json()),
            }
        };
        let rows = self.truth.texts().iter().map(|(key, text)| {
            (key.clone(), row(key, text).unwrap_or_else(|| panic!("{key} is ours: {text}")))
        });
        let topics = self.clusters.mirror.iter().map(|(name, topic)| {
            let told = (topic.partitions, topic.is_foreign, topic.is_given_back);
            (name.clone(), format!("{told:?} {}", self.id(was, Some(topic.id), name)))
        });
        let wanted = self.machine.wanted().iter().map(|(key, spec)| {
            let id = self.id(was, Some(spec.mirror_id), &key.1);
            let partitions = spec.partitions.keys().collect::<Vec<_>>();
            format!("{key:?} {:?} {partitions:?} {id} {:?}", spec.mode, spec.halt)
        });
        let held = self.flow.all().map(|(key, at, mode)| format!("{key:?}-{at} {mode:?}"));
        let links = self.machine.links().map(|(link, _, state)| format!("{link} {state:?}"));
        let mirrors = self.machine.mirrors().map(|(key, _, status)| format!("{key:?} {status:?}"));
        End {
            rows: rows.collect(),
            topics: topics.collect(),
            wanted: wanted.collect(),
            held: held.collect(),
            shown: links.chain(mirrors).collect(),
        }
    }

    /// A topic by what it is, not by a number that depends on how often somebody tried.
    fn id(&self, was: &Clusters, id: Option<TopicId>, name: &TopicName) -> String {
        let at = |clusters: &Clusters| clusters.mirror.get(name).map(|topic| topic.id);
        match id {
            None => "none".to_owned(),
            Some(_) if id == at(was) => "the old one".to_owned(),
            Some(_) if id == at(&self.clusters) => "the one that is there".to_owned(),
            Some(_) => "one that is gone".to_owned(),
        }
    }

    fn row(&self, was: &Clusters, name: &TopicName, mut row: MirrorRow) -> String {
        // a generation that is new is a time
        (row.since, row.generation) = (TimestampMs(0), u32::from(row.generation > 0));
        if let Some(last) = row.last_sync.as_mut() {
            last.at_ms = 0;
        }
        let id = self.id(was, row.mirror_id.take(), name);
        format!("{row:?} {id}")
    }
}

/// Where a run ends.
#[derive(Debug, PartialEq, Eq)]
struct End {
    rows: BTreeMap<String, String>,
    topics: BTreeMap<TopicName, String>,
    wanted: Vec<String>,
    held: Vec<String>,
    shown: Vec<String>,
}

/// Kills the instance at each point of one kind of order; says how many of which there are.
pub fn kill_at_each(kind: &Kind) -> BTreeMap<Point, usize> {
    let before = kind.prepared();
    let mut untouched = before.clone();
    untouched.settle();
    let untouched = untouched.told(&before.clusters);
    let alone = Run::of(kind, &before, None);
    assert!(alone.is_answered || !alone.is_ordered, "{}: it is obeyed", kind.name);
    let points = alone.lab.points.clone();
    let end = alone.end(kind, &before, false);
    assert_ne!(end, untouched, "{}: it changes something", kind.name);
    for (at, point) in points.iter().enumerate() {
        let what = format!("{}: killed at {point:?}, the {at}th of {points:?}", kind.name);
        let killed = Run::of(kind, &before, Some(at));
        let must_be = match () {
            // it is for who ordered it to ask again
            () if !killed.is_written && killed.is_ordered => Some(&untouched),
            () if kind.is_one_write || killed.is_answered => Some(&end),
            () => None,
        };
        // who got no answer asks again: obeyed, or told that it is so
        if killed.is_ordered && !killed.is_answered {
            let again = Run::of(kind, &before, Some(at)).end(kind, &before, true);
            assert_eq!(again, end, "{what}, and ordered again");
        }
        let ends = killed.end(kind, &before, false);
        assert!(must_be.is_none_or(|must_be| ends == *must_be), "{what}: {ends:#?}\n{must_be:#?}");
    }
    let mut counts = BTreeMap::new();
    points.into_iter().for_each(|point| *counts.entry(point).or_default() += 1);
    counts
}

/// One run of a kind, up to where it settles or is killed.
struct Run {
    lab: Lab,
    is_ordered: bool,
    /// The journal has a row of it, or will have.
    is_written: bool,
    is_answered: bool,
}

impl Run {
    fn of(kind: &Kind, before: &Lab, dies_at: Option<usize>) -> Run {
        let mut lab = before.clone();
        (lab.points, lab.dies_at) = (Vec::new(), dies_at);
        let ticket = (kind.begin)(&mut lab);
        let was_killed = lab.settle();
        assert_eq!(was_killed, dies_at.is_some(), "{}: {dies_at:?}", kind.name);
        lab.dies_at = None;
        let answer = ticket.and_then(|ticket| lab.answers.get(&ticket));
        let is_obeyed = |all: &Vec<Outcome>| all.iter().all(|outcome| outcome.result.is_ok());
        assert!(answer.is_none_or(is_obeyed), "{}: {answer:?}", kind.name);
        let (is_answered, is_ordered) = (answer.is_some(), ticket.is_some());
        let is_written = lab.log.len() > before.log.len();
        Run { lab, is_ordered, is_written, is_answered }
    }

    fn end(mut self, kind: &Kind, before: &Lab, is_repeated: bool) -> End {
        if is_repeated {
            (kind.begin)(&mut self.lab);
        }
        self.lab.settle();
        self.lab.told(&before.clusters)
    }
}
