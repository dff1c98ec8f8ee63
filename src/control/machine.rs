//! The machine of one destination: its links and mirror topics, what is ordered of them, and what
//! is on its way.
//!
//! It never does anything: `poll_*` says what is to be written, asked, done, told and answered.
//!
//! ```text
//!  order ──▶ queue ──▶ decided on the rows of now ──▶ pending write ──▶ read back ──▶ answered
//!              ▲                                           │
//!              └──────────── somebody else wrote ──────────┘
//! ```
//!
//! One write is under way at a time. It has come true when the journal's tail brings it where it
//! was decided; if the tail brings anything else there first, all of it is decided again.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;

use crate::control::acls::book::Books;
use crate::control::advance::Rewrite;
use crate::control::advance::Topic;
use crate::control::decide::Begin;
use crate::control::decide::Rows;
use crate::control::decide::View;
use crate::control::facts::Do;
use crate::control::facts::DoId;
use crate::control::facts::Look;
use crate::control::facts::LookId;
use crate::control::facts::MirrorKey;
use crate::control::facts::TopicSpec;
use crate::control::facts::Wanted;
use crate::control::facts::WriteId;
use crate::control::journal::Applied;
use crate::control::journal::Fold;
use crate::control::journal::Stamp;
use crate::control::journal::TailBatch;
use crate::control::journal::WriterTag;
use crate::control::link::LinkSettings;
use crate::control::link::LinkTrack;
use crate::control::machine::hands::begins_again;
use crate::control::order::NewLink;
use crate::control::order::NewMirror;
use crate::control::order::Order;
use crate::control::order::Outcome;
use crate::control::order::Ticket;
use crate::control::row::Key;
use crate::control::row::LinkRow;
use crate::control::row::MadeBy;
use crate::control::row::MirrorRow;
use crate::control::row::Row;
use crate::control::schemas::book::Book;
use crate::control::schemas::order::ExporterOrder;
use crate::control::topic::Fault;
use crate::control::topic::Stage;
use crate::control::topic::Track;
use crate::ids::LinkName;
use crate::ids::TimestampMs;
use crate::ids::TopicName;

mod exporters;
mod file;
mod gathered;
mod hands;
mod ledger;
mod queue;
mod takeover;
mod tell;
mod unread;

/// How many rows one write has at most, of topics with few partitions: they stay below a broker's
/// default limit of a batch.
pub const ROWS_MAX: usize = 500;
/// How many things are being done at once.
pub const DOS_MAX: usize = 1_000;
/// How many topics one look asks about.
pub const LOOK_TOPICS_MAX: usize = 500;
/// How many orders wait at most.
pub const ORDERS_MAX: usize = 1_000;

/// Rows that are to be appended where the journal ended when they were decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Numbers it.
    pub id: WriteId,
    /// What makes it count; `stamp.at` is the end that is expected.
    pub stamp: Stamp,
    /// Keys and values; `None` deletes.
    pub rows: Vec<(String, Option<String>)>,
}

/// What waits to be decided.
#[derive(Clone, Debug)]
enum Intent {
    /// An order, and what came of its topics so far.
    Order(Ticket, Order, Vec<Outcome>),
    /// An order about an exporter of schemas.
    Exporter(Ticket, ExporterOrder),
    /// A topic that is to become a mirror; by an order, perhaps a dry one.
    Begin(MirrorKey, Box<Begin>, Option<(Ticket, bool)>),
}

/// A write that is not read back yet.
#[derive(Clone, Debug)]
struct Pending {
    write: Write,
    is_handed_out: bool,
    /// What it stands for, to be decided again after a conflict.
    intents: Vec<Intent>,
    /// What is to be decided when it has come true.
    rest: Option<Intent>,
    /// What becomes true with it.
    answers: Vec<(Ticket, Vec<Outcome>)>,
    /// Who waits for which topic to be set up.
    waiting: Vec<(MirrorKey, Ticket)>,
}

/// What a look is for.
#[derive(Clone, Debug)]
enum Looking {
    /// The link's own look at all topics.
    All(LinkName),
    /// Topics that a look at all found.
    Found(LinkName, BTreeMap<TopicName, (Wanted, MadeBy)>),
    /// An order.
    Order(Ticket, Box<(Order, NewMirror, MirrorKey)>),
}

/// Something that is due at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Link(LinkName),
    Mirror(MirrorKey),
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Control {
    tag: WriterTag,
    rows_max: usize,
    fold: Fold,
    links: BTreeMap<LinkName, LinkRow>,
    mirrors: BTreeMap<MirrorKey, MirrorRow>,
    books: Books,
    exporters: Book,
    /// Which links have which mirror topic.
    owners: BTreeMap<TopicName, Vec<LinkName>>,
    link_tracks: BTreeMap<LinkName, LinkTrack>,
    tracks: BTreeMap<MirrorKey, Track>,
    /// What the config file declares, once it is known.
    declared: Option<BTreeMap<LinkName, NewLink>>,
    /// Rows that stand for what isolog 0.1 remembered of links, until they are written.
    remembered: BTreeMap<LinkName, BTreeMap<TopicName, MirrorRow>>,
    /// The tail has been read up to where it ended at the start.
    is_level: bool,
    /// This instance has the control role.
    is_holder: bool,
    /// A write of ours counted since: nothing that another one decided before can still come.
    is_proven: bool,
    /// Who else wrote to the journal last, since it has been read, and when.
    rival: Option<(WriterTag, TimestampMs)>,
    /// The journal is not the one that was read any more: a person must act.
    lost: Option<Fault>,
    intents: VecDeque<Intent>,
    pending: Option<Pending>,
    /// The journal refused a write: none before this time.
    write_after: Option<TimestampMs>,
    numbers: u64,
    doing: BTreeMap<DoId, MirrorKey>,
    looking: BTreeMap<LookId, Looking>,
    /// Topics that must be looked through.
    dirty: BTreeSet<MirrorKey>,
    /// Links that must be looked through.
    dirty_links: BTreeSet<LinkName>,
    /// Topics whose row must be written.
    stale: BTreeSet<MirrorKey>,
    /// Links whose row must be written.
    stale_links: BTreeSet<LinkName>,
    /// Topics with something to do that has not been handed out.
    able: BTreeSet<MirrorKey>,
    specs: BTreeMap<MirrorKey, TopicSpec>,
    changed_specs: BTreeSet<MirrorKey>,
    /// Topics of which people may see something else now.
    changed: BTreeSet<MirrorKey>,
    due: BTreeSet<(TimestampMs, Due)>,
    looks: VecDeque<(LookId, Look)>,
    answers: VecDeque<(Ticket, Vec<Outcome>)>,
}

impl Control {
    /// A machine that knows nothing; `tag` is another one in each process, `rows_max` is
    /// [`ROWS_MAX`] but where less is to be tried, and at least 1.
    pub fn new(tag: WriterTag, rows_max: usize) -> Control {
        Control {
            tag,
            rows_max: rows_max.max(1),
            fold: Fold::default(),
            links: BTreeMap::new(),
            mirrors: BTreeMap::new(),
            books: Books::default(),
            exporters: Book::default(),
            owners: BTreeMap::new(),
            link_tracks: BTreeMap::new(),
            tracks: BTreeMap::new(),
            declared: None,
            remembered: BTreeMap::new(),
            is_level: false,
            is_holder: false,
            is_proven: false,
            rival: None,
            lost: None,
            intents: VecDeque::new(),
            pending: None,
            write_after: None,
            numbers: 0,
            doing: BTreeMap::new(),
            looking: BTreeMap::new(),
            dirty: BTreeSet::new(),
            dirty_links: BTreeSet::new(),
            stale: BTreeSet::new(),
            stale_links: BTreeSet::new(),
            able: BTreeSet::new(),
            specs: BTreeMap::new(),
            changed_specs: BTreeSet::new(),
            changed: BTreeSet::new(),
            due: BTreeSet::new(),
            looks: VecDeque::new(),
            answers: VecDeque::new(),
        }
    }

    /// The next batch of the journal, in order.
    pub fn handle_batch(&mut self, now: TimestampMs, batch: TailBatch) {
        let applied = self.fold.apply(batch);
        if let Applied::Counted(_, keys) = &applied {
            keys.iter().for_each(|key| self.reload(key));
        }
        match &applied {
            Applied::Counted(Stamp { writer, .. }, _) => self.note_writer(now, *writer),
            Applied::Skipped => self.note_old_rows(),
        }
        let Some(pending) = &self.pending else { return self.look_through(now) };
        let ours = pending.write.stamp;
        match applied {
            Applied::Counted(stamp, _) if stamp == ours => self.come_true(),
            _ if self.fold.end() > ours.at => self.decide_again(),
            _ => {}
        }
        self.look_through(now);
    }

    /// The tail has been read up to the end that the journal had when reading began: from now on
    /// what is decided is decided on what is.
    pub fn handle_level(&mut self, now: TimestampMs) {
        self.is_level = true;
        self.touch_all();
        self.look_through(now);
    }

    /// This instance gets the control role, or loses it: then nothing is wanted, written or done.
    pub fn handle_role(&mut self, now: TimestampMs, is_holder: bool) {
        if self.is_holder == is_holder {
            return;
        }
        (self.is_holder, self.is_proven) = (is_holder, false);
        if !is_holder {
            self.drop_work();
        }
        self.touch_all();
        self.look_through(now);
    }

    /// The typed settings of a link; `None` where it has none, or wrong ones.
    pub fn handle_settings(
        &mut self,
        now: TimestampMs,
        link: &LinkName,
        settings: Option<LinkSettings>,
    ) {
        let track = self.link_tracks.entry(link.clone()).or_default();
        if track.settings != settings {
            track.settings = settings;
            track.look_at = Some(now);
            track.refused.clear();
            self.judge_names(link);
            self.touch_link(link);
        }
        self.look_through(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: TimestampMs) {
        self.write_after.take_if(|at| *at <= now);
        while let Some((at, due)) = self.due.pop_first() {
            if at > now {
                self.due.insert((at, due));
                break;
            }
            match due {
                Due::Link(link) => drop(self.dirty_links.insert(link)),
                Due::Mirror(key) => drop(self.dirty.insert(key)),
            }
        }
        self.look_through(now);
    }

    /// When time must be told next.
    pub fn poll_timeout(&self) -> Option<TimestampMs> {
        self.due.first().map(|(at, _)| *at).into_iter().chain(self.write_after).min()
    }

    /// The next question.
    pub fn poll_look(&mut self) -> Option<(LookId, Look)> {
        self.looks.pop_front()
    }

    /// The next thing to do; nothing is done before its row is read back.
    pub fn poll_do(&mut self) -> Option<(DoId, Do)> {
        while self.doing.len() < DOS_MAX {
            let key = self.able.pop_first()?;
            let Some(action) = self.topic(&key).and_then(|topic| topic.action()) else { continue };
            let id = DoId(self.number());
            if let Some(track) = self.tracks.get_mut(&key) {
                track.doing = Some(id);
            }
            self.doing.insert(id, key);
            return Some((id, action));
        }
        None
    }

    /// The next answer.
    pub fn poll_answer(&mut self) -> Option<(Ticket, Vec<Outcome>)> {
        self.answers.pop_front()
    }

    /// The next change of what flow is to hold: all of it for one topic, or nothing more.
    pub fn poll_spec(&mut self) -> Option<(MirrorKey, Option<TopicSpec>)> {
        let key = self.changed_specs.pop_first()?;
        let spec = self.specs.get(&key).cloned();
        // held from now on: what was wanted and not told of has nobody to come back from
        if let (Some(spec), Some(track)) = (&spec, self.tracks.get_mut(&key)) {
            track.held.partitions.extend(spec.partitions.keys());
            track.held.is_told_halted = spec.halt.is_some();
        }
        Some((key, spec))
    }

    /// All that flow is to hold.
    pub fn wanted(&self) -> &BTreeMap<MirrorKey, TopicSpec> {
        &self.specs
    }

    /// The rows that count.
    pub fn fold(&self) -> &Fold {
        &self.fold
    }

    /// What is known of a mirror topic beside its row.
    pub fn track(&self, key: &MirrorKey) -> Option<&Track> {
        self.tracks.get(key)
    }

    /// What is known of a link beside its row.
    pub fn link_track(&self, name: &LinkName) -> Option<&LinkTrack> {
        self.link_tracks.get(name)
    }

    fn view<'a>(&'a self, over: &'a Rows) -> View<'a> {
        View { links: &self.links, mirrors: &self.mirrors, owners: &self.owners, over }
    }

    fn topic<'a>(&'a self, key: &'a MirrorKey) -> Option<Topic<'a>> {
        Some(Topic {
            key,
            row: self.mirrors.get(key)?,
            track: self.tracks.get(key)?,
            link: self.links.get(&key.0)?,
            link_track: self.link_tracks.get(&key.0)?,
        })
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// A key of the journal has changed.
    fn reload(&mut self, text: &str) {
        if self.reload_exporter(text) {
            return;
        }
        let Some(key) = Key::parse(text) else { return };
        let row = self.fold.get(text).map(|json| Row::parse(&key, json));
        let track = self.link_tracks.entry(key.link().clone()).or_default();
        let was_unreadable = track.unreadable.remove(text).is_some();
        let row = match row {
            Some(Err(unreadable)) => {
                track.unreadable.insert(text.to_owned(), unreadable);
                return self.touch_link(key.link());
            }
            Some(Ok(row)) => Some(row),
            None => None,
        };
        if was_unreadable {
            self.touch_link(key.link());
        }
        match (key, row) {
            (Key::Link(link), Some(Row::Link(row))) => {
                let goes_on = !row.is_paused;
                let before = self.links.insert(link.clone(), row);
                // what is to be mirrored is not waited for until a look is due
                if goes_on && before.is_some_and(|before| before.is_paused) {
                    self.link_tracks.entry(link.clone()).or_default().look_at = None;
                }
                self.note_link(&link);
            }
            (Key::Link(link), _) => {
                self.links.remove(&link);
                self.note_link(&link);
            }
            (Key::Mirror(link, topic), Some(Row::Mirror(row))) => {
                self.put_mirror((link, topic), row);
            }
            (Key::Mirror(link, topic), _) => self.remove_mirror(&(link, topic)),
            (Key::Acl(link, key), row) => self.reload_acl(&link, key, row),
        }
    }

    fn put_mirror(&mut self, key: MirrorKey, row: MirrorRow) {
        let owners = self.owners.entry(key.1.clone()).or_default();
        if !owners.contains(&key.0) {
            owners.push(key.0.clone());
        }
        let track = self.tracks.entry(key.clone()).or_default();
        if !self.mirrors.contains_key(&key) {
            track.failure = None; // of an earlier topic of that name
        }
        if row.stage == Stage::LetGo || begins_again(self.mirrors.get(&key), &row) {
            track.forget_topic();
        }
        track.take_over(&row);
        if row.stage != Stage::Setup {
            self.forget_trouble((&key.0, &row.source_topic));
            if let Some(track) = self.link_tracks.get_mut(&key.0) {
                track.refused.remove(&key.1);
            }
        }
        self.mirrors.insert(key.clone(), row);
        self.judge_name(&key);
        self.dirty.insert(key);
    }

    /// Looks through everything that may have changed.
    fn look_through(&mut self, now: TimestampMs) {
        loop {
            while let Some(link) = self.dirty_links.pop_first() {
                self.look_through_link(now, &link);
            }
            let Some(key) = self.dirty.pop_first() else { return };
            self.look_through_topic(now, &key);
        }
    }

    fn look_through_topic(&mut self, now: TimestampMs, key: &MirrorKey) {
        self.changed.insert(key.clone());
        self.stale.remove(key);
        self.able.remove(key);
        self.note_shown(now, key);
        self.note_level(now, key);
        self.settle_spec(key);
        self.answer_set_up(key);
        let Some(topic) = self.topic(key) else { return self.forget_track(key) };
        let is_idle = !self.is_holder || !self.is_level || !self.acts_on(&key.0);
        if is_idle || self.unread_of(key).is_some() {
            return;
        }
        if topic.rewrite(now) != Rewrite::Keep {
            self.stale.insert(key.clone());
            return;
        }
        let rests = topic.track.retry_at.filter(|at| *at > now);
        let deadline = topic.row.deadline.filter(|at| *at > now);
        let is_free = topic.track.doing.is_none() && rests.is_none();
        let is_able = is_free && topic.action().is_some();
        let due = rests.into_iter().chain(deadline);
        self.due.extend(due.map(|at| (at, Due::Mirror(key.clone()))));
        if is_able {
            self.able.insert(key.clone());
        }
    }
}
