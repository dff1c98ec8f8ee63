//! What has changed between what was told last and what is seen now, as events.
//!
//! It never tells of each mirror topic what is so of its whole link (LINK_PAUSED, LINK_FAILED,
//! SOURCE_UNAVAILABLE): the link's own event says it, and ten thousand topics say nothing more. It
//! knows no clock: who takes the events gives them their times and numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::control::facts::MirrorKey;
use crate::control::link::LinkState;
use crate::control::topic::Fault;
use crate::control::topic::How;
use crate::control::topic::Stage;
use crate::control::topic::Status;
use crate::ids::LinkName;
use crate::ids::PartitionId;
use crate::link::registry::LinkSeen;
use crate::link::registry::MirrorSeen;
use crate::link::registry::Seen;
use crate::link::registry::TaskSeen;

use crate::service::view::AWAY_CODE;
use crate::service::view::UNAVAILABLE;

use super::Event;
use super::Kind;

/// The states of a partition that events tell.
const HALTED: &str = "HALTED";
const NOT_HALTED: &str = "NOT_HALTED";
/// The states of an instance.
const HAS_WORK: &str = "HAS_WORK";
const STANDS_BY: &str = "STANDS_BY";
/// The states of a task that are told: the others follow from its link's.
const IN_ERROR: &str = "IN_ERROR";
const ACTIVE: &str = "ACTIVE";
const NOT_CONFIGURED: &str = "NOT_CONFIGURED";

/// A state in one word, and its reason in one.
type State = (&'static str, String);

/// What was told last.
#[derive(Debug, Default)]
pub struct Told {
    /// `None` until it had the work for the first time.
    has_work: Option<bool>,
    links: BTreeMap<LinkName, LinkTold>,
    mirrors: BTreeMap<MirrorKey, MirrorTold>,
}

#[derive(Debug, Default)]
struct LinkTold {
    state: Option<State>,
    /// Tasks that are IN_ERROR.
    in_error: Vec<&'static str>,
}

#[derive(Debug)]
struct MirrorTold {
    /// What it was told of: the same one again is nothing new.
    seen: Arc<MirrorSeen>,
    /// Its state waits for that of its link.
    is_open: bool,
    state: Option<State>,
    halted: BTreeMap<PartitionId, Fault>,
}

/// Links of which a cluster answers nobody, and what came instead.
pub type Away = BTreeMap<LinkName, String>;

/// What `seen` says beyond `told`, in order; it is told then. A link that goes on by its row and
/// whose clusters answer nobody is away, as lists say it. While the journal is not read to its end,
/// or another instance has the work, nothing is: what is seen may be old.
pub fn changes(told: &mut Told, seen: &Seen, away: &Away) -> Vec<Event> {
    let mut events = Vec::new();
    let has_work = seen.is_level && seen.is_holder;
    if told.has_work.unwrap_or(false) != has_work {
        let from = told.has_work.map(|had| role(had).0.to_owned());
        let (to, reason) = role(has_work);
        let (to, reason) = (Some(to.to_owned()), reason.to_owned());
        events.push(Event { from, to, reason, ..Event::default() });
        told.has_work = Some(has_work);
    }
    if has_work {
        links(told, (seen, away), &mut events);
        mirrors(told, seen, &mut events);
    }
    events
}

fn role(has_work: bool) -> (&'static str, &'static str) {
    let has = "this isolog has read the journal, and has the work of its destination";
    let has_not = "another instance has the work, and tells what happens: ask that one";
    if has_work { (HAS_WORK, has) } else { (STANDS_BY, has_not) }
}

fn links(told: &mut Told, (seen, away): (&Seen, &Away), events: &mut Vec<Event>) {
    for (name, link) in &seen.links {
        let of_link = told.links.entry(name.clone()).or_default();
        link_news(of_link, name, (link, away.get(name)), events);
    }
    told.links.retain(|name, link| {
        let is_there = seen.links.contains_key(name);
        if let Some((from, _)) = link.state.take_if(|_| !is_there) {
            let reason = "the link was deleted".to_owned();
            events.push(Event { from: Some(from.to_owned()), reason, ..of_link(name) });
        }
        is_there
    });
}

fn of_link(name: &LinkName) -> Event {
    Event { kind: Kind::Link, link: Some(name.to_string()), ..Event::default() }
}

fn link_news(
    told: &mut LinkTold,
    name: &LinkName,
    (link, away): (&LinkSeen, Option<&String>),
    events: &mut Vec<Event>,
) {
    let away = away.filter(|_| link.state == LinkState::Active);
    let away = away.map(|text| Fault { code: AWAY_CODE.to_owned(), text: text.clone() });
    let fault = away.as_ref().or(link.fault());
    let word = if away.is_some() { UNAVAILABLE } else { link.state.word() };
    let now = (word, fault.map(|fault| fault.code.clone()).unwrap_or_default());
    // nobody has asked it yet: what was told stays so until somebody has
    if link.state != LinkState::Unknown && told.state.as_ref() != Some(&now) {
        let reason = fault.map(|fault| fault.text.clone()).unwrap_or_default();
        events.push(moved(of_link(name), told.state.as_ref(), &now, reason));
        told.state = Some(now);
    }
    link.tasks.iter().for_each(|task| task_news(told, name, task, events));
}

fn moved(event: Event, before: Option<&State>, now: &State, reason: String) -> Event {
    let from = before.map(|(word, _)| (*word).to_owned());
    Event { from, to: Some(now.0.to_owned()), code: now.1.clone(), reason, ..event }
}

fn task_news(told: &mut LinkTold, name: &LinkName, task: &TaskSeen, events: &mut Vec<Event>) {
    let word = task.name.word();
    let was = told.in_error.contains(&word);
    let is = match task.state {
        IN_ERROR => true,
        ACTIVE | NOT_CONFIGURED => false,
        _ => was,
    };
    if is == was {
        return;
    }
    told.in_error.retain(|one| *one != word);
    told.in_error.extend(is.then_some(word));
    let first = task.errors.first().filter(|_| is);
    let from = if was { IN_ERROR } else { ACTIVE };
    events.push(Event {
        kind: Kind::Task,
        task: Some(word.to_owned()),
        from: Some(from.to_owned()),
        to: Some(task.state.to_owned()),
        code: first.map(|(_, fault)| fault.code.clone()).unwrap_or_default(),
        reason: first.map(|(who, fault)| format!("{who}: {}", fault.text)).unwrap_or_default(),
        ..of_link(name)
    });
}

fn mirrors(told: &mut Told, seen: &Seen, events: &mut Vec<Event>) {
    for (key, mirror) in &seen.mirrors {
        let link = seen.links.get(&key.0).map(|link| &link.state);
        let known = told.mirrors.entry(key.clone()).or_insert_with(|| MirrorTold {
            seen: mirror.clone(),
            is_open: true,
            state: None,
            halted: BTreeMap::new(),
        });
        if known.is_open || !Arc::ptr_eq(&known.seen, mirror) {
            mirror_news(known, key, (mirror, link), events);
            known.seen = mirror.clone();
        }
    }
    told.mirrors.retain(|key, mirror| {
        let is_there = seen.mirrors.contains_key(key);
        if let Some((from, _)) = mirror.state.take_if(|_| !is_there) {
            let reason = "it is no mirror topic any more".to_owned();
            let event = of_mirror(key, &mirror.seen);
            events.push(Event { from: Some(from.to_owned()), reason, ..event });
        }
        is_there
    });
}

fn of_mirror((link, topic): &MirrorKey, seen: &MirrorSeen) -> Event {
    Event {
        kind: Kind::Mirror,
        link: Some(link.to_string()),
        topic: Some(topic.to_string()),
        source_topic: Some(seen.row.source_topic.to_string()),
        ..Event::default()
    }
}

fn mirror_news(
    told: &mut MirrorTold,
    key: &MirrorKey,
    (seen, link): (&MirrorSeen, Option<&LinkState>),
    events: &mut Vec<Event>,
) {
    let now = state(seen, link);
    told.is_open = now.is_none();
    if let Some(now) = now.filter(|now| told.state.as_ref() != Some(now)) {
        let reason = seen.reason.as_ref().map(|fault| fault.text.clone()).unwrap_or_default();
        let event = moved(of_mirror(key, seen), told.state.as_ref(), &now, reason);
        events.push(Event { since_ms: Some(seen.since.0), ..event });
        told.state = Some(now);
    }
    if told.halted == seen.halted {
        return;
    }
    let changed = |partition: &PartitionId, to: &str, fault: &Fault| Event {
        kind: Kind::Partition,
        partition: Some(partition.0),
        from: Some(if to == HALTED { NOT_HALTED } else { HALTED }.to_owned()),
        to: Some(to.to_owned()),
        code: fault.code.clone(),
        reason: fault.text.clone(),
        ..of_mirror(key, seen)
    };
    let new = seen.halted.iter().filter(|(partition, _)| !told.halted.contains_key(partition));
    events.extend(new.map(|(partition, fault)| changed(partition, HALTED, fault)));
    let over = told.halted.iter().filter(|(partition, _)| !seen.halted.contains_key(partition));
    events.extend(over.map(|(partition, fault)| changed(partition, NOT_HALTED, fault)));
    told.halted.clone_from(&seen.halted);
}

/// What is told of a mirror topic; `None` where that is its link's state, or not known.
fn state(seen: &MirrorSeen, link: Option<&LinkState>) -> Option<State> {
    let code = match seen.status {
        Status::LinkPaused | Status::LinkFailed | Status::SourceUnavailable => return None,
        Status::Active if link.is_none_or(|link| *link == LinkState::Unknown) => return None,
        Status::Failed => seen.reason.as_ref().map(|fault| fault.code.clone()).unwrap_or_default(),
        Status::Stopped => stopped(seen.row.stage).to_owned(),
        Status::Active | Status::Paused | Status::PendingSetup | Status::PendingStopped => {
            String::new()
        }
    };
    Some((seen.status.word(), code))
}

/// How it came to be an ordinary topic.
fn stopped(stage: Stage) -> &'static str {
    match stage {
        Stage::Stopped(How::Promote) => "PROMOTED",
        Stage::Stopped(How::Failover) => "FAILED_OVER",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::row::Key;
    use crate::control::row::Row;
    use crate::control::task::TaskName;
    use crate::ids::TimestampMs;
    use crate::ids::TopicName;

    fn row(key: &str, text: &str) -> Row {
        let row = Row::parse(&Key::parse(key).unwrap(), text);
        row.unwrap_or_else(|error| panic!("a row: {error}"))
    }

    fn fault(code: &str) -> Fault {
        Fault { code: code.into(), text: format!("the text of {code}") }
    }

    fn dr() -> LinkName {
        LinkName("dr".into())
    }

    fn link(state: LinkState) -> LinkSeen {
        let text = r#"{"v":1,"id":"AAAAAAAAQACAAAAAAAAAAA","mode":"DESTINATION",
            "origin":"commanded","source_cluster":null,"configs":{},"generation":1,
            "paused":false,"leaving":false}"#;
        let Row::Link(row) = row("link/dr", text) else { panic!("a link") };
        LinkSeen {
            row,
            state,
            settings: None,
            tasks: Vec::new(),
            has_looked: true,
            rowless: BTreeMap::new(),
            let_go: Default::default(),
        }
    }

    fn mirror(status: Status, stage: &str) -> MirrorSeen {
        let id = "01".repeat(16);
        let text = format!(
            r#"{{"v":1,"source_topic":"theirs","source_id":"{id}","mirror_id":"{id}",
            "partitions":2,"generation":0,"stage":{stage},"since_ms":1,"paused":false,
            "made_by":"order","adopted":null,"starts":{{}},"owed":{{}},"configs":{{}},
            "replicas":null,"sealed":{{}},"deadline_ms":null}}"#
        );
        let Row::Mirror(row) = row("mirror/dr/ours", &text) else { panic!("a mirror topic") };
        MirrorSeen {
            row,
            status,
            since: TimestampMs(7),
            reason: None,
            fault: None,
            progress: None,
            missing: None,
            surplus: None,
            halted: BTreeMap::new(),
            level: Default::default(),
            leaderless: Default::default(),
            link_rests: None,
            is_free: false,
            awaits_configs: None,
            awaits_groups: false,
            awaits_rights: false,
            ends: BTreeMap::new(),
        }
    }

    fn active() -> MirrorSeen {
        mirror(Status::Active, "\"mirroring\"")
    }

    /// A destination with one link and what is seen of its mirror topic.
    fn seen(state: LinkState, one: Option<MirrorSeen>) -> Seen {
        let ours = (dr(), TopicName::new("ours").unwrap());
        Seen {
            is_level: true,
            is_holder: true,
            links: [(dr(), Arc::new(link(state)))].into(),
            mirrors: one.map(|one| (ours, Arc::new(one))).into_iter().collect(),
            ..Seen::default()
        }
    }

    /// What is told, a line each: kind, partition, states, code.
    fn told_of(told: &mut Told, seen: &Seen) -> Vec<String> {
        told_while(told, seen, &Away::new())
    }

    fn told_while(told: &mut Told, seen: &Seen, away: &Away) -> Vec<String> {
        let line = |one: Event| {
            let state = |word: Option<String>| word.unwrap_or_else(|| "-".into());
            let place = one.partition.map(|number| format!("-{number}")).unwrap_or_default();
            let line = format!("{:?}{place} {}>{}", one.kind, state(one.from), state(one.to));
            format!("{line} {}", one.code).trim_end().to_owned()
        };
        changes(told, seen, away).into_iter().map(line).collect()
    }

    #[test]
    fn a_mirror_topic_is_told_from_its_beginning_to_its_end() {
        let mut told = Told::default();
        let mut check = |one: Option<MirrorSeen>, want: &[&str]| {
            assert_eq!(told_of(&mut told, &seen(LinkState::Active, one)), want);
        };
        check(None, &["Instance ->HAS_WORK", "Link ->ACTIVE"]);
        check(None, &[]);
        check(Some(mirror(Status::PendingSetup, "\"setup\"")), &["Mirror ->PENDING_SETUP"]);
        check(Some(active()), &["Mirror PENDING_SETUP>ACTIVE"]);
        check(Some(active()), &[]);
        let failed = |code: &str| MirrorSeen {
            reason: Some(fault(code)),
            ..mirror(Status::Failed, "\"mirroring\"")
        };
        check(Some(failed("LOOP")), &["Mirror ACTIVE>FAILED LOOP"]);
        check(Some(failed("SOURCE_TOPIC_GONE")), &["Mirror FAILED>FAILED SOURCE_TOPIC_GONE"]);
        let stopping = || mirror(Status::PendingStopped, "\"stopping\"");
        check(Some(stopping()), &["Mirror FAILED>PENDING_STOPPED"]);
        // what is waited for is told by the mirror topic itself
        let waits = MirrorSeen { reason: Some(fault("NO_LEADER")), ..stopping() };
        check(Some(waits), &[]);
        let stopped = mirror(Status::Stopped, r#"{"stopped":"promote"}"#);
        check(Some(stopped), &["Mirror PENDING_STOPPED>STOPPED PROMOTED"]);
        check(None, &["Mirror STOPPED>-"]);
        check(None, &[]);
    }

    #[test]
    fn an_event_names_its_topic_by_both_names_and_says_why() {
        let failed =
            MirrorSeen { reason: Some(fault("LOOP")), ..mirror(Status::Failed, "\"mirroring\"") };
        let events =
            changes(&mut Told::default(), &seen(LinkState::Active, Some(failed)), &Away::new());
        let one = events.into_iter().find(|one| one.kind == Kind::Mirror).unwrap();
        let names = [one.link, one.topic, one.source_topic].map(Option::unwrap);
        assert_eq!(names, ["dr", "ours", "theirs"]);
        assert_eq!((one.reason.as_str(), one.since_ms), ("the text of LOOP", Some(7)));
    }

    /// The link's event is the only one, however many topics it has; and what changed meanwhile is
    /// told when it can be known.
    #[test]
    fn what_is_so_of_the_whole_link_is_told_once() {
        let mut told = Told::default();
        let mut check = |state: LinkState, status, want: &[&str]| {
            let one = MirrorSeen { reason: Some(fault("X")), ..mirror(status, "\"mirroring\"") };
            assert_eq!(told_of(&mut told, &seen(state, Some(one))), want);
        };
        // nobody has asked the source yet: it does not mirror for certain
        check(LinkState::Unknown, Status::Active, &["Instance ->HAS_WORK"]);
        check(LinkState::Active, Status::Active, &["Link ->ACTIVE", "Mirror ->ACTIVE"]);
        let away = LinkState::Unavailable(fault("AWAY"));
        check(away.clone(), Status::SourceUnavailable, &["Link ACTIVE>UNAVAILABLE AWAY"]);
        check(LinkState::Active, Status::Active, &["Link UNAVAILABLE>ACTIVE"]);
        check(LinkState::Active, Status::Failed, &["Mirror ACTIVE>FAILED X"]);
        check(LinkState::Paused, Status::LinkPaused, &["Link ACTIVE>PAUSED"]);
        check(LinkState::Unknown, Status::Active, &[]);
        check(LinkState::Active, Status::Active, &["Link PAUSED>ACTIVE", "Mirror FAILED>ACTIVE"]);
        let gone = Seen { links: BTreeMap::new(), ..seen(LinkState::Active, None) };
        assert_eq!(told_of(&mut told, &gone), ["Link ACTIVE>-", "Mirror ACTIVE>-"]);
    }

    /// Who reads and writes knows it before the source is asked the next time.
    #[test]
    fn a_link_whose_source_answers_nobody_is_away_before_it_was_asked_again() {
        let mut told = Told::default();
        let now = seen(LinkState::Active, Some(active()));
        told_of(&mut told, &now);
        let away = Away::from([(dr(), "the source does not answer".to_owned())]);
        let gone = told_while(&mut told, &now, &away);
        assert_eq!(gone, ["Link ACTIVE>UNAVAILABLE TIMEOUT_ERROR"]);
        assert!(told_while(&mut told, &now, &away).is_empty(), "it is told once");
        // a link that does not go on by its row is told as that
        let paused = seen(LinkState::Paused, Some(active()));
        assert_eq!(told_while(&mut told, &paused, &away), ["Link UNAVAILABLE>PAUSED"]);
        assert_eq!(told_of(&mut told, &now), ["Link PAUSED>ACTIVE"]);
    }

    #[test]
    fn the_same_topic_is_looked_at_again_when_its_link_is_known() {
        let mut told = Told::default();
        let mut now = seen(LinkState::Active, Some(active()));
        told_of(&mut told, &now);
        let failed = mirror(Status::Failed, "\"mirroring\"");
        told_of(&mut told, &seen(LinkState::Active, Some(failed)));
        now.links = seen(LinkState::Unknown, None).links;
        assert_eq!(told_of(&mut told, &now), [""; 0]);
        now.links = seen(LinkState::Active, None).links;
        assert_eq!(told_of(&mut told, &now), ["Mirror FAILED>ACTIVE"]);
    }

    #[test]
    fn partitions_that_halt_and_go_on_are_told_each() {
        let mut told = Told::default();
        let mut check = |halted: &[(i32, &str)], want: &[&str]| {
            let halted = halted.iter().map(|(at, code)| (PartitionId(*at), fault(code)));
            let one = MirrorSeen { halted: halted.collect(), ..active() };
            assert_eq!(told_of(&mut told, &seen(LinkState::Active, Some(one))), want);
        };
        check(&[], &["Instance ->HAS_WORK", "Link ->ACTIVE", "Mirror ->ACTIVE"]);
        let first = "Partition-1 NOT_HALTED>HALTED CORRUPT";
        check(&[(1, "CORRUPT")], &[first]);
        check(&[(1, "CORRUPT")], &[]);
        let second = "Partition-0 NOT_HALTED>HALTED UNEXPECTED_WRITER";
        let over = "Partition-1 HALTED>NOT_HALTED CORRUPT";
        check(&[(0, "UNEXPECTED_WRITER")], &[second, over]);
    }

    #[test]
    fn a_task_is_told_when_it_can_not_do_something_and_when_it_can_again() {
        let mut told = Told::default();
        let mut check = |state: &'static str, want: &[&str]| {
            let mut now = seen(LinkState::Active, None);
            let errors = vec![("billing".to_owned(), fault("AUTHORIZATION_ERROR"))];
            let name = TaskName::ConsumerOffsetSync;
            let tasks = vec![TaskSeen { name, state, errors, succeeded: None }];
            now.links = [(dr(), Arc::new(LinkSeen { tasks, ..link(LinkState::Active) }))].into();
            assert_eq!(told_of(&mut told, &now), want);
        };
        check("ACTIVE", &["Instance ->HAS_WORK", "Link ->ACTIVE"]);
        check("IN_ERROR", &["Task ACTIVE>IN_ERROR AUTHORIZATION_ERROR"]);
        // a link that rests heals nothing
        check("LINK_PAUSED", &[]);
        check("IN_ERROR", &[]);
        check("ACTIVE", &["Task IN_ERROR>ACTIVE"]);
    }

    #[test]
    fn who_stands_by_tells_nothing_until_it_has_the_work_again() {
        let mut told = Told::default();
        let mut check = |has_work: bool, one: MirrorSeen, want: &[&str]| {
            let now = Seen { is_holder: has_work, ..seen(LinkState::Active, Some(one)) };
            assert_eq!(told_of(&mut told, &now), want);
        };
        check(false, active(), &[]);
        check(true, active(), &["Instance ->HAS_WORK", "Link ->ACTIVE", "Mirror ->ACTIVE"]);
        let stopped = || mirror(Status::Stopped, r#"{"stopped":"failover"}"#);
        check(false, stopped(), &["Instance HAS_WORK>STANDS_BY"]);
        let late = "Mirror ACTIVE>STOPPED FAILED_OVER";
        check(true, stopped(), &["Instance STANDS_BY>HAS_WORK", late]);
    }
}
