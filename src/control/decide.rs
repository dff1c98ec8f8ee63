//! What becomes of an order, from the rows as they are: other rows, or a refusal.
//!
//! It never acts; asked again after a conflict at the journal, it decides on the newer rows.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::control::facts::MirrorKey;
use crate::control::order::GroupVerb;
use crate::control::order::MirrorVerb;
use crate::control::order::NewLink;
use crate::control::order::Refusal;
use crate::control::order::Verb;
use crate::control::row::Key;
use crate::control::row::LinkMode;
use crate::control::row::LinkRow;
use crate::control::row::MirrorRow;
use crate::control::row::Origin;
use crate::control::row::Row;
use crate::control::row::reversal::Reversal;
use crate::control::row::reversal::Writers;
use crate::control::rules;
use crate::control::topic::How;
use crate::control::topic::Stage;
use crate::ids::GroupName;
use crate::ids::LinkName;
use crate::ids::TimestampMs;
use crate::ids::TopicName;

mod begin;

pub use self::begin::Begin;
pub use self::begin::begin;

/// The rows of one write, on their way.
pub type Rows = BTreeMap<Key, Option<Row>>;

/// The rows as they are once `over` is written too.
#[derive(Copy, Clone)]
pub struct View<'a> {
    /// Written and read back.
    pub links: &'a BTreeMap<LinkName, LinkRow>,
    /// Written and read back.
    pub mirrors: &'a BTreeMap<MirrorKey, MirrorRow>,
    /// Which links have which mirror topic.
    pub owners: &'a BTreeMap<TopicName, Vec<LinkName>>,
    /// Decided before, in the same write.
    pub over: &'a Rows,
}

impl<'a> View<'a> {
    /// A link's row.
    pub fn link(&self, name: &LinkName) -> Option<&'a LinkRow> {
        match self.over.get(&Key::Link(name.clone())) {
            Some(Some(Row::Link(row))) => Some(row),
            Some(_) => None,
            None => self.links.get(name),
        }
    }

    /// A mirror topic's row.
    pub fn mirror(&self, key: &MirrorKey) -> Option<&'a MirrorRow> {
        match self.over.get(&Key::Mirror(key.0.clone(), key.1.clone())) {
            Some(Some(Row::Mirror(row))) => Some(row),
            Some(_) => None,
            None => self.mirrors.get(key),
        }
    }

    /// The mirror topics of a link.
    pub fn mirrors_of(&self, link: &LinkName) -> impl Iterator<Item = (TopicName, &'a MirrorRow)> {
        let written = self.mirrors.range(first_of(link)..);
        let written = written.take_while(|((of, _), _)| of == link).map(|((_, name), _)| name);
        let fresh = self.over.keys().filter_map(|key| match key {
            Key::Mirror(of, name) if of == link => Some(name),
            _ => None,
        });
        let names: std::collections::BTreeSet<TopicName> = written.chain(fresh).cloned().collect();
        let (this, link) = (*self, link.clone());
        names.into_iter().filter_map(move |name| {
            let row = this.mirror(&(link.clone(), name.clone()))?;
            Some((name, row))
        })
    }

    /// Whether a mirror topic has a row of its own, or is another link's.
    pub fn is_taken(&self, key: &MirrorKey) -> bool {
        self.mirror(key).is_some() || self.other_owner(key).is_some()
    }

    /// Another link that mirrors into this name, and has not stopped.
    fn other_owner(&self, key: &MirrorKey) -> Option<&'a LinkName> {
        let is_other = |link: &LinkName| {
            let row = self.mirror(&(link.clone(), key.1.clone()));
            let is_idle = |row: &MirrorRow| matches!(row.stage, Stage::Stopped(_) | Stage::LetGo);
            *link != key.0 && row.is_some_and(|row| !is_idle(row))
        };
        let written = self.owners.get(&key.1).into_iter().flatten();
        let fresh = self.over.keys().filter_map(|fresh| match fresh {
            Key::Mirror(link, name) if *name == key.1 => Some(link),
            _ => None,
        });
        written.chain(fresh).find(|link| is_other(link))
    }
}

/// The smallest key of a link's mirror topics: no name is smaller.
fn first_of(link: &LinkName) -> MirrorKey {
    (link.clone(), TopicName::new("-").expect("a legal name"))
}

/// What one topic's part of an order comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided {
    /// This row is written first.
    Put(Box<MirrorRow>),
    /// It is so already.
    Already,
    /// It is tried again.
    TryAgain,
}

/// A link that is not there, in Cluster Linking's words.
pub fn no_link(link: &LinkName) -> Refusal {
    Refusal::unknown(format!("Cluster link '{link}' does not exist."))
}

fn leaving(link: &LinkName) -> Refusal {
    Refusal::conflict(format!("Cluster link '{link}' is being deleted."))
}

/// The link's own row after an order about the link; `None` where it is so already.
pub fn link_order(
    view: View<'_>,
    name: &LinkName,
    verb: &Verb,
) -> Result<Option<LinkRow>, Refusal> {
    if let Verb::CreateLink(new) = verb {
        return match view.link(name) {
            Some(row) if row.is_leaving => Err(leaving(name)),
            Some(_) => Err(Refusal::conflict(format!("Cluster link '{name}' already exists."))),
            None => Ok(Some(new_link(new))),
        };
    }
    let row = view.link(name).ok_or_else(|| no_link(name))?;
    if row.is_leaving {
        let again = matches!(verb, Verb::DeleteLink { .. });
        return if again { Ok(None) } else { Err(leaving(name)) };
    }
    match verb {
        Verb::PauseLink(is_paused) if *is_paused == row.is_paused => Ok(None),
        Verb::PauseLink(is_paused) => Ok(Some(paused(row, *is_paused))),
        Verb::AlterLink { configs, checked } => alter(name, row, configs, *checked).map(Some),
        Verb::DeleteLink { is_forced } => delete_link(view, name, row, *is_forced).map(Some),
        Verb::Groups(groups, verb) => order_groups(name, row, groups, *verb),
        Verb::CreateLink(_) | Verb::CreateMirror(_) | Verb::Mirrors(..) => Ok(None),
    }
}

/// The row of a link that is new.
pub fn new_link(new: &NewLink) -> LinkRow {
    LinkRow {
        id: new.id.clone(),
        mode: new.mode,
        origin: if new.is_declared { Origin::Declared } else { Origin::Commanded },
        source: new.source.clone(),
        configs: if new.is_declared { BTreeMap::new() } else { new.configs.clone() },
        generation: 0,
        is_paused: !new.is_declared && says_paused(&new.configs),
        is_leaving: false,
        forgotten: BTreeSet::new(),
        is_taking_over: false,
    }
}

/// So many groups of one link are forgotten at most, and so many bytes of their names: they stand
/// in the link's row, which must stay far below a broker's default limit of a batch.
const FORGOTTEN_MAX: usize = 1_000;
const FORGOTTEN_BYTES_MAX: usize = 256 << 10;

/// So many of the mirror topics that keep a link are named.
const TOLD_MAX: usize = 4;

/// What pauses a link is a config too: of a commanded link the two say the same.
const PAUSED: &str = "cluster.link.paused";

/// `link.mode`, which was checked.
const MODE: &str = "link.mode";

fn mode_of(word: &str) -> LinkMode {
    match word.eq_ignore_ascii_case("BIDIRECTIONAL") {
        true => LinkMode::Bidirectional,
        false => LinkMode::Destination,
    }
}

fn says_paused(configs: &BTreeMap<String, String>) -> bool {
    configs.get(PAUSED).is_some_and(|value| value == "true")
}

fn paused(row: &LinkRow, is_paused: bool) -> LinkRow {
    let mut row = LinkRow { is_paused, ..row.clone() };
    if row.origin == Origin::Commanded {
        match is_paused {
            true => drop(row.configs.insert(PAUSED.to_owned(), "true".to_owned())),
            false => drop(row.configs.remove(PAUSED)),
        }
        row.generation += 1;
    }
    row
}

fn alter(
    name: &LinkName,
    row: &LinkRow,
    changes: &BTreeMap<String, Option<String>>,
    checked: u64,
) -> Result<LinkRow, Refusal> {
    if row.origin == Origin::Declared {
        return Err(Refusal::bad(format!(
            "Cluster link '{name}' is declared in the config file, which wins: change its lines \
             under [link.{name}] there; they are read again by themselves."
        )));
    }
    if row.generation != checked {
        return Err(Refusal::conflict(format!(
            "The configs of cluster link '{name}' were changed meanwhile: look at them, then try \
             again."
        )));
    }
    let mut configs = row.configs.clone();
    for (key, value) in changes {
        match value {
            Some(value) => drop(configs.insert(key.clone(), value.clone())),
            None => drop(configs.remove(key)),
        }
    }
    let is_paused = says_paused(&configs);
    let mode = configs.get(MODE).map_or(row.mode, |word| mode_of(word));
    Ok(LinkRow { configs, is_paused, mode, generation: row.generation + 1, ..row.clone() })
}

fn order_groups(
    name: &LinkName,
    row: &LinkRow,
    groups: &BTreeSet<GroupName>,
    verb: GroupVerb,
) -> Result<Option<LinkRow>, Refusal> {
    let mut forgotten = row.forgotten.clone();
    match verb {
        GroupVerb::Forget => forgotten.extend(groups.iter().cloned()),
        GroupVerb::Follow => forgotten.retain(|group| !groups.contains(group)),
    }
    let bytes: usize = forgotten.iter().map(|group| group.as_str().len()).sum();
    if forgotten.len() > FORGOTTEN_MAX || bytes > FORGOTTEN_BYTES_MAX {
        return Err(Refusal::bad(format!(
            "Cluster link '{name}' would have {} forgotten groups with {bytes} bytes of names, and \
             {FORGOTTEN_MAX} with {FORGOTTEN_BYTES_MAX} are remembered at most: leave them out of \
             consumer.offset.group.filters instead.",
            forgotten.len()
        )));
    }
    Ok((forgotten != row.forgotten).then(|| LinkRow { forgotten, ..row.clone() }))
}

fn delete_link(
    view: View<'_>,
    name: &LinkName,
    row: &LinkRow,
    is_forced: bool,
) -> Result<LinkRow, Refusal> {
    if row.origin == Origin::Declared {
        return Err(Refusal::bad(format!(
            "Cluster link '{name}' is declared in the config file: take [link.{name}] out of it, \
             and it rests; to forget it too: `isolog journal delete link/{name} --with-mirrors`."
        )));
    }
    let mut alive: Vec<String> = view
        .mirrors_of(name)
        // what leaves already is waited for
        .filter(|(_, mirror)| mirror.stage.is_mirror())
        .map(|(topic, _)| topic.to_string())
        .collect();
    let more = alive.len().saturating_sub(TOLD_MAX);
    alive.truncate(TOLD_MAX);
    if more > 0 {
        alive.push(format!("and {more} more"));
    }
    if !alive.is_empty() && !is_forced {
        return Err(Refusal::bad(format!(
            "Cluster link '{name}' still has mirror topics that are not STOPPED ({}): delete \
             these mirrors first (their topics stay), or delete the link with force.",
            alive.join(", ")
        )));
    }
    Ok(LinkRow { is_leaving: true, ..row.clone() })
}

/// What becomes of one topic of an order.
pub fn mirror_order(
    view: View<'_>,
    key: &MirrorKey,
    verb: MirrorVerb,
    now: TimestampMs,
) -> Result<Decided, Refusal> {
    let (link, topic) = key;
    let link_row = view.link(link).ok_or_else(|| no_link(link))?;
    let unknown = || {
        Refusal::unknown(format!("Topic '{topic}' is not a mirror topic of cluster link '{link}'."))
    };
    let row = view.mirror(key).filter(|row| row.stage != Stage::LetGo).ok_or_else(unknown)?;
    if let Stage::Leaving { .. } = row.stage {
        let again = matches!(verb, MirrorVerb::Delete { .. });
        let text = format!("Mirror topic '{topic}' is being deleted from cluster link '{link}'.");
        return if again { Ok(Decided::Already) } else { Err(Refusal::conflict(text)) };
    }
    if link_row.is_leaving {
        return Err(leaving(link));
    }
    match verb {
        MirrorVerb::Delete { .. } if is_closed(row) => Err(Refusal::conflict(format!(
            "Topic '{topic}' is closed at its source since it was to be reversed, and is opened \
             again as soon as the source answers: wait until then, or fail it over first."
        ))),
        MirrorVerb::Delete { .. } if is_reversing(row) => Err(Refusal::conflict(format!(
            "Topic '{topic}' is being reversed, and its source is closed meanwhile: wait until it \
             is STOPPED, call it off by the same order with a time-out (timeout_ms, --timeout), or \
             fail it over."
        ))),
        MirrorVerb::Delete { topic: and_topic } => {
            if and_topic {
                rules::check_delete(topic)?;
                check_other(view, key)?;
            }
            let stage = Stage::Leaving { topic: and_topic };
            Ok(put(row, |row| (row.stage, row.since) = (stage, now)))
        }
        MirrorVerb::Stop { how, deadline_ms } => stop(key, row, (how, false), deadline_ms, now),
        MirrorVerb::Abandon { deadline_ms } => {
            stop(key, row, (How::Promote, true), deadline_ms, now)
        }
        MirrorVerb::Reverse { is_paused, deadline_ms } => {
            reverse(key, row, (is_paused, deadline_ms), now)
        }
        MirrorVerb::Pause | MirrorVerb::Resume => pause(key, row, verb, now),
    }
}

/// A promote that also makes a mirror of the source.
fn reverse(
    key: &MirrorKey,
    row: &MirrorRow,
    (is_paused, deadline_ms): (bool, Option<i64>),
    now: TimestampMs,
) -> Result<Decided, Refusal> {
    let deadline = deadline_ms.map(TimestampMs);
    if row.source_topic != key.1 {
        return Err(Refusal::bad(format!(
            "Topic '{}' is called '{}' at its source, and a link back would give it yet another \
             name: only topics of one name are reversed. Promote it instead.",
            key.1, row.source_topic
        )));
    }
    match (row.stage, &row.reversal) {
        // what had been done about writers when it was given up is not done twice
        (Stage::Mirroring, before) => {
            let writers = before.as_ref().map_or(Writers::Let, |one| one.writers.clone());
            Ok(put(row, |row| {
                (row.stage, row.since) = (Stage::Stopping, now);
                row.deadline = deadline;
                row.reversal = Some(Reversal { is_paused, writers });
            }))
        }
        (Stage::Stopping, Some(before)) if before.is_paused != is_paused || deadline.is_some() => {
            let writers = before.writers.clone();
            Ok(put(row, |row| {
                row.deadline = deadline.or(row.deadline);
                row.reversal = Some(Reversal { is_paused, writers });
            }))
        }
        (Stage::Stopping | Stage::Sealing(How::Promote), Some(_)) => Ok(Decided::Already),
        (Stage::Stopping | Stage::Sealing(_), _) => Err(Refusal::bad(format!(
            "Topic '{}' is stopping its mirror from '{}' already: it is not reversed by that.",
            key.1, key.0
        ))),
        (Stage::Stopped(_), _) => Err(has_stopped(key)),
        _ => Err(Refusal::bad(format!(
            "Mirror topic '{}' of cluster link '{}' is still being set up: there is nothing to \
             reverse yet; delete it, or wait until it is ACTIVE.",
            key.1, key.0
        ))),
    }
}

/// Who writes at the source of a topic that is reversed is stopped, and must be let again first.
fn is_reversing(row: &MirrorRow) -> bool {
    matches!(row.stage, Stage::Stopping | Stage::Sealing(How::Promote)) && row.reversal.is_some()
}

/// It was given up, and its source is still closed.
fn is_closed(row: &MirrorRow) -> bool {
    let stopped = |one: &Reversal| matches!(one.writers, Writers::Stopped(_));
    row.stage == Stage::Mirroring && row.reversal.as_ref().is_some_and(stopped)
}

/// What was this link's mirror topic may be another link's by now.
fn check_other(view: View<'_>, key: &MirrorKey) -> Result<(), Refusal> {
    match view.other_owner(key) {
        None => Ok(()),
        Some(other) => Err(Refusal::conflict(format!(
            "Topic '{}' is a mirror topic of cluster link '{other}' by now and is not deleted for \
             '{}': delete it as one of '{other}', or delete the mirror alone.",
            key.1, key.0
        ))),
    }
}

fn put(row: &MirrorRow, change: impl FnOnce(&mut MirrorRow)) -> Decided {
    let mut row = Box::new(row.clone());
    change(&mut row);
    Decided::Put(row)
}

/// What Cluster Linking answers to every order about a topic that is one of its own no more.
fn has_stopped(key: &MirrorKey) -> Refusal {
    Refusal::bad(format!("Topic '{}' has already stopped its mirror from '{}'.", key.1, key.0))
}

fn pause(
    key: &MirrorKey,
    row: &MirrorRow,
    verb: MirrorVerb,
    now: TimestampMs,
) -> Result<Decided, Refusal> {
    let is_paused = verb == MirrorVerb::Pause;
    match row.stage {
        Stage::Stopped(_) => Err(has_stopped(key)),
        Stage::Stopping | Stage::Sealing(_) => Err(Refusal::bad(format!(
            "Topic '{}' is stopping its mirror from '{}': wait until it is STOPPED, or fail it \
             over.",
            key.1, key.0
        ))),
        _ if row.is_paused != is_paused => {
            Ok(put(row, |row| (row.is_paused, row.since) = (is_paused, now)))
        }
        _ if is_paused => Ok(Decided::Already),
        _ => Ok(Decided::TryAgain),
    }
}

fn stop(
    key: &MirrorKey,
    row: &MirrorRow,
    (how, abandons_open): (How, bool),
    deadline_ms: Option<i64>,
    now: TimestampMs,
) -> Result<Decided, Refusal> {
    let promote = |row: &mut MirrorRow| {
        (row.stage, row.since) = (Stage::Stopping, now);
        // one that is given up is paused as before
        row.deadline = deadline_ms.map(TimestampMs);
        row.abandons_open = abandons_open;
    };
    // the same order again: how long it may take is what was said last, and what once was to be
    // left behind is waited for no more
    let is_news = deadline_ms.is_some() || (abandons_open && !row.abandons_open);
    let prolong = |row: &mut MirrorRow| {
        row.deadline = deadline_ms.map(TimestampMs).or(row.deadline);
        row.abandons_open |= abandons_open;
    };
    let fail_over = |row: &mut MirrorRow| {
        (row.stage, row.since) = (Stage::Sealing(How::Failover), now);
        row.deadline = None;
        row.abandons_open = false;
        row.is_paused = false;
    };
    match (row.stage, how) {
        (Stage::Setup, _) => Err(Refusal::bad(format!(
            "Mirror topic '{}' of cluster link '{}' is still being set up: there is nothing to \
             {} yet; delete it, or wait until it is ACTIVE.",
            key.1,
            key.0,
            if how == How::Promote { "promote" } else { "fail over" }
        ))),
        (Stage::Stopped(_), _) => Err(has_stopped(key)),
        (_, How::Promote) if is_reversing(row) => Err(Refusal::bad(format!(
            "Topic '{}' of cluster link '{}' is being reversed: wait until it is STOPPED, call it \
             off by the same order with a time-out (timeout_ms, --timeout), or fail it over.",
            key.1, key.0
        ))),
        (Stage::Mirroring, How::Promote) => Ok(put(row, promote)),
        (Stage::Mirroring | Stage::Stopping, How::Failover) => Ok(put(row, fail_over)),
        (Stage::Sealing(How::Promote), How::Failover) => Ok(put(row, fail_over)),
        (Stage::Stopping, How::Promote) if is_news => Ok(put(row, prolong)),
        (Stage::Stopping | Stage::Sealing(_), _) => Ok(Decided::Already),
        (Stage::Leaving { .. } | Stage::LetGo, _) => Ok(Decided::Already),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::facts::Metadata;
    use crate::control::facts::Seen;
    use crate::control::facts::TopicFacts;
    use crate::control::order::Restore;
    use crate::control::row::Before;
    use crate::control::row::MadeBy;
    use crate::control::row::Sealed;
    use crate::ids::Offset;
    use crate::ids::PartitionId;
    use crate::ids::TopicId;

    const NOW: TimestampMs = TimestampMs(1_000);

    fn name(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    fn link(text: &str) -> LinkName {
        LinkName(text.into())
    }

    fn key() -> MirrorKey {
        (link("dr"), name("orders"))
    }

    fn new(is_declared: bool) -> NewLink {
        NewLink {
            id: "id".into(),
            mode: LinkMode::Destination,
            source: None,
            configs: BTreeMap::from([("a".into(), "1".into())]),
            is_declared,
        }
    }

    fn there(partitions: i32) -> Metadata {
        Metadata::There(Seen { id: TopicId([partitions as u8; 16]), partitions })
    }

    fn facts(mirror: Metadata, is_empty: bool) -> Begin {
        let facts = TopicFacts {
            source: there(3),
            mirror,
            ancestors: Vec::new(),
            is_empty,
            starts: BTreeMap::new(),
            configs: BTreeMap::from([("c".into(), "source".into())]),
            owed: BTreeMap::new(),
            at_stop: Default::default(),
        };
        Begin {
            source: name("orders"),
            made_by: MadeBy::Order,
            replicas: None,
            configs: BTreeMap::from([("c".into(), "ordered".into())]),
            restore: None,
            facts,
        }
    }

    /// Rows of a link and of one mirror topic in a stage.
    struct Book {
        links: BTreeMap<LinkName, LinkRow>,
        mirrors: BTreeMap<MirrorKey, MirrorRow>,
        owners: BTreeMap<TopicName, Vec<LinkName>>,
        over: Rows,
    }

    impl Book {
        fn new(stage: Option<Stage>, is_paused: bool) -> Book {
            let mut rows = Book {
                links: BTreeMap::from([(link("dr"), new_link(&new(false)))]),
                mirrors: BTreeMap::new(),
                owners: BTreeMap::new(),
                over: Rows::new(),
            };
            if let Some(stage) = stage {
                let row = begin(rows.view(), &key(), &facts(Metadata::Absent, true), NOW).unwrap();
                rows.mirrors.insert(key(), MirrorRow { stage, is_paused, ..row });
                rows.owners.insert(name("orders"), vec![link("dr")]);
            }
            rows
        }

        fn view(&self) -> View<'_> {
            let Book { links, mirrors, owners, over } = self;
            View { links, mirrors, owners, over }
        }
    }

    const STAGES: [Option<Stage>; 9] = [
        None,
        Some(Stage::Setup),
        Some(Stage::Mirroring),
        Some(Stage::Stopping),
        Some(Stage::Sealing(How::Promote)),
        Some(Stage::Sealing(How::Failover)),
        Some(Stage::Stopped(How::Promote)),
        Some(Stage::Leaving { topic: false }),
        Some(Stage::LetGo),
    ];

    /// What is decided in one letter: a row is `w`ritten, it is so `a`lready, `t`ried again, or
    /// the status of the refusal.
    fn letter(stage: Option<Stage>, is_paused: bool, verb: MirrorVerb) -> String {
        let rows = Book::new(stage, is_paused);
        match mirror_order(rows.view(), &key(), verb, NOW) {
            Ok(Decided::Put(row)) => {
                assert!(Stage::may_follow(stage, Some(row.stage)), "{stage:?} {verb:?}");
                "w".into()
            }
            Ok(Decided::Already) => "a".into(),
            Ok(Decided::TryAgain) => "t".into(),
            Err(refusal) => refusal.status.to_string(),
        }
    }

    #[test]
    fn every_cell_of_state_and_order() {
        let stop = |how| MirrorVerb::Stop { how, deadline_ms: None };
        let check = |verb: MirrorVerb, is_paused: bool, cells: &str| {
            let told: Vec<String> =
                STAGES.iter().map(|stage| letter(*stage, is_paused, verb)).collect();
            assert_eq!(told.join(" "), cells, "{verb:?}, paused {is_paused}");
        };
        // no row, setup, mirroring, stopping, sealing by promote and failover, stopped, leaving,
        // let go
        check(MirrorVerb::Pause, false, "404 w w 400 400 400 400 409 404");
        check(MirrorVerb::Pause, true, "404 a a 400 400 400 400 409 404");
        check(MirrorVerb::Resume, false, "404 t t 400 400 400 400 409 404");
        check(MirrorVerb::Resume, true, "404 w w 400 400 400 400 409 404");
        check(stop(How::Promote), false, "404 400 w a a a 400 409 404");
        check(stop(How::Promote), true, "404 400 w a a a 400 409 404");
        check(stop(How::Failover), false, "404 400 w w w a 400 409 404");
        check(MirrorVerb::Delete { topic: true }, false, "404 w w w w w w a 404");
    }

    #[test]
    fn groups_are_forgotten_and_followed_by_order_and_not_without_bound() {
        let mut book = Book::new(None, false);
        let groups = |names: &[&str]| names.iter().map(|name| GroupName::new(name)).collect();
        let give = |book: &mut Book, verb| {
            let row = link_order(book.view(), &link("dr"), &verb)?;
            let is_new = row.is_some();
            row.into_iter().for_each(|row| drop(book.links.insert(link("dr"), row)));
            Ok::<bool, Refusal>(is_new)
        };
        let forget = Verb::Groups(groups(&["a", "b"]), GroupVerb::Forget);
        assert_eq!(give(&mut book, forget.clone()), Ok(true));
        assert_eq!(give(&mut book, forget), Ok(false), "it is so already");
        let follow = Verb::Groups(groups(&["a", "c"]), GroupVerb::Follow);
        assert_eq!(give(&mut book, follow), Ok(true));
        assert_eq!(book.links[&link("dr")].forgotten, groups(&["b"]));
        let many: Vec<String> = (0..FORGOTTEN_MAX).map(|n| n.to_string()).collect();
        let many = many.iter().map(|name| GroupName::new(name)).collect();
        let long: BTreeSet<GroupName> =
            (0..9).map(|n| GroupName::new(&n.to_string().repeat(i16::MAX as usize))).collect();
        for too_many in [many, long] {
            let refused = give(&mut book, Verb::Groups(too_many, GroupVerb::Forget)).unwrap_err();
            assert!(refused.text.contains("consumer.offset.group.filters"), "{}", refused.text);
        }
    }

    #[test]
    fn what_was_let_go_comes_back_by_an_order_alone() {
        let rows = Book::new(Some(Stage::LetGo), false);
        let again = |made_by| {
            let found = Begin { made_by, ..facts(there(3), true) };
            begin(rows.view(), &key(), &found, NOW)
        };
        for made_by in [MadeBy::Name, MadeBy::Pattern, MadeBy::Filter] {
            assert_eq!(again(made_by).unwrap_err().status, 409, "{made_by:?}");
        }
        let row = again(MadeBy::Order).unwrap();
        assert_eq!((row.stage, row.generation), (Stage::Setup, 0));
        // an id is dead behind its seal
        let mut rows = rows;
        let sealed = Sealed { end: Offset::ZERO, source_next: None, source_end: None };
        rows.mirrors.get_mut(&key()).unwrap().sealed = [(PartitionId(0), sealed)].into();
        let found = facts(there(3), true);
        assert_eq!(begin(rows.view(), &key(), &found, NOW).unwrap().generation, 1);
    }

    #[test]
    fn orders_of_a_link_in_each_of_its_states() {
        let check = |verb: Verb, cells: [&str; 4]| {
            let leaving = LinkRow { is_leaving: true, ..new_link(&new(false)) };
            let states =
                [None, Some(new_link(&new(false))), Some(new_link(&new(true))), Some(leaving)];
            for (state, cell) in states.into_iter().zip(cells) {
                let mut rows = Book::new(None, false);
                rows.links = state.clone().map(|row| (link("dr"), row)).into_iter().collect();
                let told = match link_order(rows.view(), &link("dr"), &verb) {
                    Ok(Some(_)) => "w".to_owned(),
                    Ok(None) => "a".to_owned(),
                    Err(refusal) => refusal.status.to_string(),
                };
                assert_eq!(told, cell, "{verb:?} of {state:?}");
            }
        };
        let configs = BTreeMap::from([("a".to_owned(), None)]);
        // no row, commanded, declared, leaving
        check(Verb::CreateLink(new(false)), ["w", "409", "409", "409"]);
        check(Verb::PauseLink(true), ["404", "w", "w", "409"]);
        check(Verb::PauseLink(false), ["404", "a", "a", "409"]);
        check(Verb::AlterLink { configs: configs.clone(), checked: 0 }, ["404", "w", "400", "409"]);
        check(Verb::AlterLink { configs, checked: 4 }, ["404", "409", "400", "409"]);
        check(Verb::DeleteLink { is_forced: false }, ["404", "w", "400", "a"]);
    }

    #[test]
    fn a_pause_and_the_config_that_says_it_are_one() {
        let row = new_link(&new(false));
        let pause = paused(&row, true);
        assert_eq!(pause.configs.get(PAUSED).map(String::as_str), Some("true"));
        assert!(pause.is_paused && pause.generation == row.generation + 1);
        assert!(new_link(&NewLink { configs: pause.configs.clone(), ..new(false) }).is_paused);
        let change = |value: Option<&str>, row: &LinkRow| {
            let configs = BTreeMap::from([(PAUSED.to_owned(), value.map(str::to_owned))]);
            alter(&link("dr"), row, &configs, row.generation).unwrap()
        };
        assert!(!change(None, &pause).is_paused && !change(Some("false"), &pause).is_paused);
        assert!(change(Some("true"), &row).is_paused);
        assert_eq!(paused(&pause, false).configs, row.configs);
        // of a declared link the file has the configs
        assert!(paused(&new_link(&new(true)), true).configs.is_empty());
    }

    #[test]
    fn a_link_with_mirror_topics_goes_only_by_force() {
        let delete = |stage, is_forced| {
            let rows = Book::new(Some(stage), false);
            link_order(rows.view(), &link("dr"), &Verb::DeleteLink { is_forced })
        };
        let refusal = delete(Stage::Mirroring, false).unwrap_err();
        assert!(refusal.text.contains("orders") && refusal.text.contains("force"), "{refusal:?}");
        assert!(delete(Stage::Mirroring, true).unwrap().is_some_and(|row| row.is_leaving));
        assert!(delete(Stage::Stopped(How::Promote), false).unwrap().is_some());
        assert!(delete(Stage::Leaving { topic: true }, false).unwrap().is_some());
    }

    #[test]
    fn what_stands_at_the_mirrors_name_decides_how_it_begins() {
        let (rows, mut of_file) = (Book::new(None, false), Book::new(None, false));
        of_file.links.insert(link("dr"), new_link(&new(true)));
        let told = |rows: &Book, mirror: Metadata, is_empty, made_by| {
            let wanted = Begin { made_by, ..facts(mirror, is_empty) };
            let told = begin(rows.view(), &key(), &wanted, NOW);
            told.map(|row| row.before).map_err(|refusal| refusal.status)
        };
        let check = |mirror: Metadata, is_empty, made_by, want: Result<Before, u16>| {
            assert_eq!(told(&rows, mirror.clone(), is_empty, made_by), want);
            let is_pattern = made_by == MadeBy::Pattern;
            assert!(is_pattern || told(&of_file, mirror, is_empty, made_by) == want);
        };
        let id = TopicId([2; 16]);
        check(Metadata::Absent, true, MadeBy::Filter, Ok(Before::Absent));
        check(there(2), true, MadeBy::Filter, Ok(Before::Adopted(id)));
        check(there(2), false, MadeBy::Filter, Err(409));
        check(there(2), true, MadeBy::Pattern, Ok(Before::Adopted(id)));
        check(there(2), false, MadeBy::Pattern, Err(409));
        let adopted = told(&of_file, there(2), false, MadeBy::Pattern);
        assert_eq!(adopted, Ok(Before::Adopted(id)), "of a link of the file");
        check(there(2), false, MadeBy::Name, Ok(Before::Adopted(id)));
        check(there(2), false, MadeBy::Order, Ok(Before::Adopted(id)));
        check(there(4), true, MadeBy::Order, Err(409));
    }

    #[test]
    fn what_is_a_clusters_own_never_begins() {
        let rows = Book::new(None, false);
        for (source, mirror) in [
            ("__transaction_state", "__transaction_state"),
            ("__consumer_offsets", "w.__consumer_offsets"),
            ("isolog", "__isolog"),
        ] {
            for made_by in [MadeBy::Filter, MadeBy::Pattern, MadeBy::Name, MadeBy::Order] {
                let wanted =
                    Begin { source: name(source), made_by, ..facts(Metadata::Absent, true) };
                let key = (link("dr"), name(mirror));
                let refusal = begin(rows.view(), &key, &wanted, NOW).unwrap_err();
                assert!(refusal.status == 400 && refusal.text.contains("own"), "{refusal:?}");
            }
        }
    }

    #[test]
    fn a_topic_is_deleted_only_as_the_mirror_of_its_own_link() {
        let mut rows = Book::new(Some(Stage::Stopped(How::Promote)), false);
        let delete = |rows: &Book, topic| {
            mirror_order(rows.view(), &key(), MirrorVerb::Delete { topic }, NOW)
        };
        assert!(delete(&rows, true).is_ok());
        let row = rows.mirrors[&key()].clone();
        let other = (link("eu"), name("orders"));
        rows.mirrors.insert(other.clone(), MirrorRow { stage: Stage::Mirroring, ..row.clone() });
        rows.owners.insert(name("orders"), vec![link("dr"), link("eu")]);
        let refusal = delete(&rows, true).unwrap_err();
        assert!(refusal.status == 409 && refusal.text.contains("'eu'"), "{refusal:?}");
        assert!(delete(&rows, false).is_ok(), "the mirror alone may go");
        // a row that should not be there
        let own = (link("dr"), name("__consumer_offsets"));
        rows.mirrors.insert(own.clone(), row);
        let order = |topic| mirror_order(rows.view(), &own, MirrorVerb::Delete { topic }, NOW);
        assert_eq!(order(true).unwrap_err().status, 400);
        assert!(order(false).is_ok());
    }

    #[test]
    fn a_config_that_breaks_exactness_is_refused_and_one_of_the_stage_waits() {
        let rows = Book::new(None, false);
        let mut wanted = facts(Metadata::Absent, true);
        wanted.configs.insert("compression.type".into(), "zstd".into());
        assert_eq!(begin(rows.view(), &key(), &wanted, NOW).unwrap_err().status, 400);
        let mut wanted = facts(Metadata::Absent, true);
        wanted.facts.configs.insert("retention.ms".into(), "-1".into());
        wanted.facts.owed.insert("retention.ms".into(), Some("7".into()));
        wanted.configs.insert("retention.ms".into(), "5".into());
        let row = begin(rows.view(), &key(), &wanted, NOW).unwrap();
        assert_eq!(row.configs["retention.ms"], "-1");
        assert_eq!(row.owed["retention.ms"].as_deref(), Some("5"));
    }

    #[test]
    fn what_is_ordered_stands_over_what_the_source_has() {
        let rows = Book::new(None, false);
        let row = begin(rows.view(), &key(), &facts(Metadata::Absent, true), NOW).unwrap();
        assert_eq!(row.configs, BTreeMap::from([("c".into(), "ordered".into())]));
        let absent = TopicFacts { source: Metadata::Absent, ..facts(there(3), true).facts };
        let absent = Begin { facts: absent, ..facts(there(3), true) };
        assert_eq!(begin(rows.view(), &key(), &absent, NOW).unwrap_err().status, 404);
    }

    #[test]
    fn one_name_has_one_link() {
        let mut rows = Book::new(Some(Stage::Mirroring), false);
        rows.links.insert(link("eu"), new_link(&new(false)));
        let other = (link("eu"), name("orders"));
        let told = |rows: &Book| begin(rows.view(), &other, &facts(Metadata::Absent, true), NOW);
        let refusal = told(&rows).unwrap_err();
        assert!(refusal.status == 409 && refusal.text.contains("'dr'"), "{refusal:?}");
        // decided before in the same write
        let row = rows.mirrors.remove(&key()).unwrap();
        rows.owners.clear();
        rows.over.insert(Key::Mirror(link("dr"), name("orders")), Some(Row::Mirror(row.clone())));
        assert_eq!(told(&rows).unwrap_err().status, 409);
        // one that has stopped leaves an ordinary topic
        let stopped = MirrorRow { stage: Stage::Stopped(How::Promote), ..row };
        rows.over.insert(Key::Mirror(link("dr"), name("orders")), Some(Row::Mirror(stopped)));
        assert!(told(&rows).is_ok());
    }

    /// A stopped mirror, or a topic that was none, becomes one of what was its mirror.
    #[test]
    fn what_is_restored_is_the_topic_that_was_looked_at() {
        let id = TopicId([3; 16]);
        let ends = BTreeMap::from([(PartitionId(0), Offset::ZERO)]);
        let with = |id, ends: &BTreeMap<_, _>| {
            let facts = facts(there(3), false);
            let Metadata::There(source) = &facts.facts.source else { panic!("it is there") };
            let source_id = source.id;
            Begin {
                restore: Some(Restore {
                    id,
                    source_id,
                    ends: ends.clone(),
                    starts: BTreeMap::new(),
                    reversal: None,
                }),
                ..facts
            }
        };
        let begun_with = |sealed: i32, stage, wanted: &Begin| {
            let mut book = Book::new(stage, false);
            let seal = Sealed { end: Offset::ZERO, source_next: None, source_end: None };
            for row in book.mirrors.values_mut() {
                row.sealed = (0..sealed).map(|one| (PartitionId(one), seal)).collect();
            }
            begin(book.view(), &key(), wanted, NOW)
        };
        let begun = |stage, wanted: &Begin| begun_with(3, stage, wanted);
        let stopped = Some(Stage::Stopped(How::Failover));
        for stage in [None, stopped] {
            let row = begun(stage, &with(id, &ends)).unwrap();
            assert_eq!((row.before, &row.replaced), (Before::Replaced(id), &ends));
            let row = begun(stage, &with(id, &BTreeMap::new())).unwrap();
            assert_eq!((row.before, row.replaced.len()), (Before::Adopted(id), 0));
            let other = begun(stage, &with(TopicId([7; 16]), &ends)).unwrap_err();
            assert!(other.text.contains("made anew"), "{}", other.text);
            let mut late = with(id, &ends);
            let restore = late.restore.as_mut().unwrap();
            restore.source_id = TopicId([7; 16]);
            let late = begun(stage, &late).unwrap_err();
            assert!(late.status == 409 && late.text.contains("of the source"), "{}", late.text);
        }
        assert_eq!(begun(stopped, &facts(there(3), false)).unwrap_err().status, 400);
        let unsealed = begun_with(2, stopped, &with(id, &ends));
        assert_eq!(unsealed.unwrap_err().status, 400, "a seal is yet to come");
        let busy = begun(Some(Stage::Mirroring), &with(id, &ends)).unwrap_err();
        assert_eq!(busy.status, 409);
    }
}
