//! What a person should know of a mirror topic before it is promoted or failed over: a list of
//! questions, each with yes or no, and what to do where it is no.
//!
//! It never asks a cluster and never decides: no line keeps an order from being given. Each number
//! is as old as the line says.

mod around;

use serde::Serialize;

use crate::control::link::LinkState;
use crate::control::task::TaskName;
use crate::control::topic::Fault;
use crate::control::topic::How;
use crate::control::topic::Status;
use crate::ids::TimestampMs;
use crate::link::registry::LinkSeen;
use crate::link::registry::MirrorSeen;
use crate::link::registry::TaskSeen;
use crate::service::view::GroupView;
use crate::service::view::PartitionView;

pub use self::around::Around;

/// How many things of one kind are named; of the others only the count is told.
const NAMED_MAX: usize = 5;
/// So many intervals old the last turn over consumer groups may be.
const INTERVALS_MAX: i64 = 2;

/// The state of a partition that a rule stopped.
const HALTED: &str = "Halted";

/// One question and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What is asked.
    pub check: &'static str,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found.
    pub text: String,
    /// What to do about it; empty where nothing is to be done.
    pub cure: String,
}

/// What is seen of one mirror topic.
pub struct Sights<'a> {
    /// Which of the two is meant.
    pub how: How,
    /// Its link.
    pub link: &'a LinkSeen,
    /// It.
    pub mirror: &'a MirrorSeen,
    /// Its name here.
    pub topic: &'a str,
    /// Its partitions that run.
    pub partitions: &'a [PartitionView],
    /// The groups that its link follows.
    pub groups: &'a [GroupView],
    /// What is the same for all topics of the link.
    pub around: &'a [Line],
    /// Why the source does not answer, where it was asked for this list and did not.
    pub away: Option<&'a str>,
    /// The time.
    pub now: TimestampMs,
}

/// What is known of the source alone: as it was when that answered last.
const OF_SOURCE: [&str; 7] =
    [COPIED, LAG, TRANSACTIONS, CONFIGS, GROUPS_ACTIVE, GROUPS_SYNCED, GROUPS_BESIDE];
const COPIED: &str = "mirror is copied";
const LAG: &str = "lag is 0";
const TRANSACTIONS: &str = "no open transaction";
const CONFIGS: &str = "configs";
const GROUPS_ACTIVE: &str = "no group is active at the source";
const GROUPS_SYNCED: &str = "groups are synced";
const GROUPS_BESIDE: &str = "groups read no topic beside";

/// The whole list; of a topic that is STOPPED only what is left to know.
pub fn of(sights: &Sights<'_>) -> Vec<Line> {
    let mut lines = vec![sights.source(), sights.copied()];
    if sights.mirror.status != Status::Stopped {
        lines.extend([sights.lag(), sights.transactions()]);
        lines.extend([sights.configs(), sights.rights(), sights.groups_age()]);
        if sights.knows_groups() {
            lines.extend([sights.groups_active(), sights.groups_synced(), sights.groups_beside()]);
        }
    }
    if !lines[0].ok && sights.mirror.status != Status::Stopped {
        lines.iter_mut().for_each(grow_old);
    }
    lines.extend_from_slice(sights.around);
    lines
}

/// What was well when the source was last heard of is not known to be so now.
fn grow_old(line: &mut Line) {
    if line.ok && OF_SOURCE.contains(&line.check) {
        line.ok = false;
        line.text.push_str(", when the source was last heard of");
        line.cure = "a promote waits for the source; a failover goes on with what is known".into();
    }
}

fn yes(check: &'static str, text: impl Into<String>) -> Line {
    Line { check, ok: true, text: text.into(), cure: String::new() }
}

fn no(check: &'static str, text: impl Into<String>, cure: &str) -> Line {
    Line { check, ok: false, text: text.into(), cure: cure.to_owned() }
}

/// The first few, and how many more.
fn named<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = all.collect();
    let first = all.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(NAMED_MAX) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

impl Sights<'_> {
    fn is_promote(&self) -> bool {
        self.how == How::Promote
    }

    fn source(&self) -> Line {
        let check = "source answers";
        match &self.link.state {
            LinkState::Active => match self.away {
                None => yes(check, "the link is ACTIVE"),
                Some(why) => {
                    let cure = "a promote waits for it; a failover goes on without it";
                    no(check, format!("not now: {why}"), cure)
                }
            },
            LinkState::Paused => {
                no(check, "the link is paused", "resume it: isolog link resume, or fail over")
            }
            LinkState::Unknown => no(check, "it has not been reached yet", "wait a moment"),
            LinkState::Unavailable(fault) | LinkState::Failed(fault) => {
                let cure = "a promote waits for it; a failover goes on without it";
                no(check, fault.text.clone(), cure)
            }
        }
    }

    fn copied(&self) -> Line {
        let (check, mirror) = (COPIED, self.mirror);
        let why = mirror.reason.as_ref().map_or_else(String::new, |fault| fault.text.clone());
        match mirror.status {
            Status::Active if mirror.halted.is_empty() => yes(check, "ACTIVE, no partition halted"),
            Status::Stopped => yes(check, "STOPPED already"),
            Status::PendingStopped => yes(check, "PENDING_STOPPED: it was ordered already"),
            Status::Paused | Status::LinkPaused => {
                let text = format!("{}: nothing is copied", mirror.status.word());
                no(check, text, "resume it first; a promote copies what is missing by itself")
            }
            status => {
                let cure = "docs/STATES.md says what each reason means; a promote cannot end so";
                no(check, format!("{} {why}", status.word()), cure)
            }
        }
    }

    /// How far it is behind, and how old that is: a source that has just died looks level.
    fn lag(&self) -> Line {
        let check = LAG;
        let unknown = self.partitions.iter().filter(|one| one.lag_records.is_none()).count();
        let running = i32::try_from(self.partitions.len()).unwrap_or(i32::MAX);
        let missing = self.mirror.row.partitions.saturating_sub(running);
        let oldest = self.partitions.iter().filter_map(|one| one.source_seen_ms).min();
        let age = oldest.map(|at| self.now.0.saturating_sub(at).max(0) / 1_000);
        let age = age.map_or(String::new(), |age| format!(", as the source was {age} s ago"));
        let cure = match self.is_promote() {
            true => "stop the producers at the source: a promote copies the rest and waits for it",
            false => "what is behind is lost, but for what the old source still holds later",
        };
        if unknown > 0 || missing > 0 {
            let count = unknown as i64 + i64::from(missing);
            return no(check, format!("not known of {count} partitions"), cure);
        }
        let records: u64 = self.partitions.iter().filter_map(|one| one.lag_records).sum();
        let late = self.partitions.iter().filter_map(|one| one.rpo_ms).max().filter(|ms| *ms > 0);
        let late = late.map_or(String::new(), |ms| format!(", those of the last {ms} ms"));
        let text = format!("{records} records behind{late}{age}");
        if records == 0 { yes(check, text) } else { no(check, text, cure) }
    }

    fn transactions(&self) -> Line {
        let check = TRANSACTIONS;
        let held = self.partitions.iter().filter(|one| one.held_records.is_some_and(|n| n > 0));
        let held: Vec<&PartitionView> = held.collect();
        let records: u64 = held.iter().filter_map(|one| one.held_records).sum();
        // what a partition that stands still or does not run is held by nobody asks
        let is_known = |one: &&PartitionView| one.held_records.is_some() && one.state != HALTED;
        let known = self.partitions.iter().filter(is_known).count();
        let all = usize::try_from(self.mirror.row.partitions).unwrap_or(0);
        let unknown = all.saturating_sub(known);
        if held.is_empty() && unknown > 0 {
            let cure = "what the source held back when it last answered is not copied either";
            return no(check, format!("not known of {unknown} partitions"), cure);
        }
        if held.is_empty() {
            return yes(check, "none holds records back");
        }
        let each = held.iter().map(|one| match &one.held_by {
            Some(by) => format!("producer id {} on partition {}", by.producer_id, one.partition),
            None => format!("partition {}", one.partition),
        });
        let each: Vec<String> = each.collect();
        let text =
            format!("{records} records are held back: {}", named(each.iter().map(String::as_str)));
        let cure = match self.is_promote() {
            true => {
                "end it, or abort it (kafka-transactions.sh find-hanging, abort): a promote \
                 waits for it, unless it is ordered to leave those records behind \
                 (--abandon-open-transactions)"
            }
            false => "its records are left out as a whole",
        };
        no(check, text, cure)
    }

    fn configs(&self) -> Line {
        let (check, name) = (CONFIGS, TaskName::TopicConfigsSync);
        if let Some((_, fault)) = self.errors(|task| task.name == name).next() {
            let cure = "what is refused now is not there afterwards: mend it, or set it there";
            return no(check, fault.text.clone(), cure);
        }
        match self.has_run(name) {
            true => yes(check, "configs follow the source's"),
            false => no(check, "they were not compared yet", "isolog link task list says why"),
        }
    }

    /// Whether a task has been through what it does, be it with errors of other topics.
    fn has_run(&self, name: TaskName) -> bool {
        let task = self.link.tasks.iter().find(|task| task.name == name);
        task.is_some_and(|task| task.succeeded.is_some() || !task.errors.is_empty())
    }

    /// A missing right of any task, for this topic or for all.
    fn rights(&self) -> Line {
        let check = "rights";
        let is_right = |fault: &Fault| fault.code.contains("AUTHORIZATION");
        let missing = self.errors(|_| true).filter(|(_, fault)| is_right(fault));
        let texts: Vec<String> =
            missing.map(|(name, fault)| format!("{}: {}", name.word(), fault.text)).collect();
        match texts.is_empty() {
            true => yes(check, "none is known to be missing"),
            false => {
                let cure = "grant what `isolog check` prints";
                no(check, named(texts.iter().map(String::as_str)), cure)
            }
        }
    }

    /// What tasks could not do for this topic, or for the link as a whole.
    fn errors(&self, is: impl Fn(&TaskSeen) -> bool) -> impl Iterator<Item = (TaskName, &Fault)> {
        let own = self.topic;
        let tasks = self.link.tasks.iter().filter(move |task| is(task));
        tasks.flat_map(move |task| {
            let is_whole = task.state == "IN_ERROR";
            let about = move |subject: &str| subject == own || subject == "*";
            let errors = task.errors.iter().filter(move |_| is_whole);
            errors
                .filter(move |(subject, fault)| {
                    about(subject)
                        || fault.code.contains("AUTHENTICATION")
                        || task.name == TaskName::ConsumerOffsetSync
                        || task.name == TaskName::AclSync
                })
                .map(|(_, fault)| (task.name, fault))
        })
    }

    fn follows(&self) -> Option<i64> {
        let settings = self.link.settings.as_ref()?;
        Some(settings.groups.as_ref()?.every_ms)
    }

    fn groups_age(&self) -> Line {
        let check = "consumer groups are followed";
        let Some(every) = self.follows() else {
            let cure = "set consumer.offset.sync.enable and consumer.offset.group.filters, or set \
                        their offsets yourself";
            return no(check, "the link does not follow them", cure);
        };
        let task = self.link.tasks.iter().find(|task| task.name == TaskName::ConsumerOffsetSync);
        let Some(at) = task.and_then(|task| task.succeeded) else {
            return no(check, "no turn could do everything yet", "isolog link task list says why");
        };
        let age = self.now.0.saturating_sub(at.0).max(0);
        let text = format!("the last turn that could do everything was {} s ago", age / 1_000);
        // what is told of turns that found nothing new is told every 10 s only
        let is_young = age <= every.saturating_mul(INTERVALS_MAX).saturating_add(10_000);
        match (is_young, self.is_promote()) {
            (true, _) => yes(check, text),
            (false, true) => no(check, text, "a promote makes one more behind its seals"),
            (false, false) => {
                let cure = "what was committed since is read once more after a failover";
                no(check, text, cure)
            }
        }
    }

    /// Where nobody has asked, no line says that all is well.
    fn knows_groups(&self) -> bool {
        self.follows().is_some() && self.has_run(TaskName::ConsumerOffsetSync)
    }

    fn own_groups(&self) -> impl Iterator<Item = &GroupView> {
        // of a share group without any start nobody knows which topics it reads
        let is_own = |group: &&GroupView| {
            let is_unplaced = group.group_type == "share" && group.topics.is_empty();
            group.topics.contains(self.topic) || is_unplaced
        };
        self.groups.iter().filter(is_own)
    }

    fn groups_active(&self) -> Line {
        let check = GROUPS_ACTIVE;
        let active = self.own_groups().filter(|group| group.is_active_at_source);
        let active = named(active.map(|group| group.group.as_str()));
        match active.is_empty() {
            true => yes(check, "none was in the last turn"),
            false => {
                let cure = "stop its consumers there before the order: what they commit after it \
                            is read once more here";
                no(check, active, cure)
            }
        }
    }

    /// Topics that the same consumers read and that do not come along.
    fn groups_beside(&self) -> Line {
        let check = GROUPS_BESIDE;
        let beside = self.own_groups().filter(|group| !group.not_mirrored.is_empty());
        let each = beside.map(|group| {
            let topics = named(group.not_mirrored.iter().map(String::as_str));
            format!("{} reads {topics}", group.group)
        });
        let each: Vec<String> = each.collect();
        match each.is_empty() {
            true => yes(check, "all that they have committed for is mirrored"),
            false => {
                let cure = "the link does not mirror those: mirror them first, or its consumers \
                            find nothing of them here";
                no(check, named(each.iter().map(String::as_str)), cure)
            }
        }
    }

    fn groups_synced(&self) -> Line {
        let check = GROUPS_SYNCED;
        let wrong: Vec<&GroupView> =
            self.own_groups().filter(|group| !group.error_code.is_empty()).collect();
        if let Some(first) = wrong.first() {
            let names = named(wrong.iter().map(|group| group.group.as_str()));
            let text = format!("{names}: {}", first.reason);
            return no(check, text, "see isolog group describe");
        }
        let named_where = |is: fn(&GroupView) -> bool| {
            named(self.own_groups().filter(|group| is(group)).map(|group| group.group.as_str()))
        };
        let ahead = named_where(|group| group.ahead > 0);
        if !ahead.is_empty() {
            let text = format!("{ahead}: further here than at the source");
            let cure = "what lies between is skipped, unless their consumers have moved here \
                        already: isolog group diff says where";
            return no(check, text, cure);
        }
        let unstarted = named_where(|group| group.unstarted > 0);
        if !unstarted.is_empty() {
            let text = format!("{unstarted}: without a start in some partitions");
            let cure = "what they have not read there is skipped, unless share.auto.offset.reset \
                        of the group is earliest here: isolog group diff says how";
            return no(check, text, cure);
        }
        let clamped = self.own_groups().filter(|group| group.clamped > 0);
        match named(clamped.map(|group| group.group.as_str())) {
            none if none.is_empty() => yes(check, "none stands beyond what is mirrored"),
            names => {
                let text = format!("{names}: beyond what is mirrored");
                let cure = match self.is_promote() {
                    true => "it is copied first: none needed once the lag is 0",
                    false => "its consumers read some records once more",
                };
                no(check, text, cure)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::collections::BTreeSet;

    use super::*;
    use crate::control::acls::AclSync;
    use crate::control::filter::TopicFilter;
    use crate::control::link::LinkSettings;
    use crate::control::rename::Rename;
    use crate::control::row::Key;
    use crate::control::row::Row;
    use crate::control::start::StartSpec;
    use crate::control::task::configs::ConfigSync;
    use crate::control::task::groups::GroupFilter;
    use crate::control::task::groups::GroupSync;
    use crate::ids::PartitionId;
    use crate::service::view::HeldView;

    const NOW: TimestampMs = TimestampMs(100_000);

    fn row(key: &str, text: String) -> Row {
        let text = Row::parse(&Key::parse(key).unwrap(), &text);
        text.unwrap_or_else(|error| panic!("a row: {error}"))
    }

    fn mirror() -> MirrorSeen {
        let id = "01".repeat(16);
        let text = format!(
            r#"{{"v":1,"source_topic":"orders","source_id":"{id}","mirror_id":"{id}",
            "partitions":1,"generation":0,"stage":"mirroring","since_ms":1,"paused":false,
            "made_by":"order","adopted":null,"starts":{{}},"owed":{{}},"configs":{{}},
            "replicas":null,"sealed":{{}},"deadline_ms":null}}"#
        );
        let Row::Mirror(row) = row("mirror/dr/orders", text) else { panic!("a mirror") };
        MirrorSeen {
            row,
            status: Status::Active,
            since: NOW,
            fault: None,
            reason: None,
            missing: None,
            surplus: None,
            progress: None,
            halted: BTreeMap::new(),
            level: BTreeSet::new(),
            leaderless: BTreeSet::new(),
            link_rests: None,
            is_free: false,
            awaits_configs: None,
            awaits_groups: false,
            awaits_rights: false,
            ends: BTreeMap::new(),
        }
    }

    fn link() -> LinkSeen {
        let text = r#"{"v":1,"id":"AAAAAAAAQACAAAAAAAAAAA","mode":"DESTINATION",
            "origin":"commanded","source_cluster":null,"configs":{},"generation":1,
            "paused":false,"leaving":false}"#;
        let Row::Link(row) = row("link/dr", text.to_owned()) else { panic!("a link") };
        let filter = GroupFilter::default();
        let groups = GroupSync {
            every_ms: 30_000,
            filter,
            prefix: String::new(),
            forgotten: Default::default(),
        };
        let settings = LinkSettings {
            rename: Rename::default(),
            topics: TopicFilter::default(),
            named: TopicFilter::default(),
            start: StartSpec::Earliest,
            replicas: None,
            look_every_ms: 1_000,
            is_paused: false,
            tasks: TaskName::ALL.into(),
            configs: ConfigSync::default(),
            groups: Some(groups),
            acls: AclSync::default(),
        };
        let task = |name| {
            let succeeded = Some(TimestampMs(NOW.0 - 5_000));
            TaskSeen { name, state: "ACTIVE", errors: Vec::new(), succeeded }
        };
        let tasks = TaskName::ALL.map(task).into();
        LinkSeen {
            row,
            state: LinkState::Active,
            settings: Some(settings),
            tasks,
            has_looked: true,
            rowless: BTreeMap::new(),
            let_go: BTreeSet::new(),
        }
    }

    fn partition() -> PartitionView {
        PartitionView {
            lag_records: Some(0),
            held_records: Some(0),
            source_seen_ms: Some(NOW.0 - 7_000),
            ..PartitionView::default()
        }
    }

    fn group() -> GroupView {
        let topics = BTreeSet::from(["orders".to_owned()]);
        GroupView { group: "billing".into(), topics, ..GroupView::default() }
    }

    struct Case {
        how: How,
        link: LinkSeen,
        mirror: MirrorSeen,
        partition: PartitionView,
        group: GroupView,
        away: Option<&'static str>,
    }

    impl Case {
        fn new() -> Case {
            let (link, mirror, partition) = (link(), mirror(), partition());
            Case { how: How::Promote, link, mirror, partition, group: group(), away: None }
        }

        fn lines(&self) -> Vec<Line> {
            of(&Sights {
                how: self.how,
                link: &self.link,
                mirror: &self.mirror,
                topic: "orders",
                partitions: std::slice::from_ref(&self.partition),
                groups: std::slice::from_ref(&self.group),
                around: &[],
                away: self.away,
                now: NOW,
            })
        }
    }

    /// What one change makes of the list: one line says no, with these words and a cure.
    #[track_caller]
    fn check(change: impl Fn(&mut Case), name: &str, words: &str) {
        check_all(change, &[name], words);
    }

    /// The same of several lines, of which the first one has these words.
    #[track_caller]
    fn check_all(change: impl Fn(&mut Case), names: &[&str], words: &str) {
        for how in [How::Promote, How::Failover] {
            let mut case = Case { how, ..Case::new() };
            change(&mut case);
            let lines = case.lines();
            let not: Vec<&Line> = lines.iter().filter(|line| !line.ok).collect();
            assert_eq!(not.iter().map(|line| line.check).collect::<Vec<_>>(), names, "{lines:?}");
            assert!(not[0].text.contains(words), "{not:?}");
            assert!(not.iter().all(|line| !line.text.is_empty() && !line.cure.is_empty()));
        }
    }

    fn in_error(case: &mut Case, name: TaskName, (subject, code): (&str, &str)) {
        let fault = Fault { code: code.into(), text: "the reason".into() };
        let task = case.link.tasks.iter_mut().find(|task| task.name == name).unwrap();
        (task.state, task.errors) = ("IN_ERROR", vec![(subject.into(), fault)]);
    }

    fn never_run(case: &mut Case, name: TaskName) {
        let task = case.link.tasks.iter_mut().find(|task| task.name == name).unwrap();
        task.succeeded = None;
    }

    #[test]
    fn what_nobody_has_asked_for_is_not_said_to_be_well() {
        let mut case = Case::new();
        case.link.settings.as_mut().unwrap().groups = None;
        let checks: Vec<&str> = case.lines().iter().map(|line| line.check).collect();
        assert!(!checks.iter().any(|check| check.contains("group is active")), "{checks:?}");
        assert!(!checks.contains(&"groups are synced"), "{checks:?}");
    }

    #[test]
    fn where_all_is_well_each_line_says_yes_and_how_old_it_is() {
        let lines = Case::new().lines();
        assert!(lines.len() == 10 && lines.iter().all(|line| line.ok), "{lines:?}");
        assert!(lines.iter().all(|line| !line.text.is_empty() && line.cure.is_empty()));
        let lag = lines.iter().find(|line| line.check == "lag is 0").unwrap();
        assert_eq!(lag.text, "0 records behind, as the source was 7 s ago");
        let age = lines.iter().find(|line| line.check.ends_with("followed")).unwrap();
        assert!(age.text.ends_with("5 s ago"), "{age:?}");
    }

    #[test]
    fn nothing_that_the_source_alone_knows_is_well_while_it_does_not_answer() {
        let away = Fault { code: "TIMEOUT_ERROR".into(), text: "no answer".into() };
        let state = LinkState::Unavailable(away);
        let of_source = [&["source answers"], &OF_SOURCE[..]].concat();
        check_all(|case| case.link.state = state.clone(), &of_source, "no answer");
        check_all(|case| case.away = Some("refused"), &of_source, "not now: refused");
    }

    #[test]
    fn each_line_says_no_by_itself_and_what_to_do() {
        check(|case| case.mirror.status = Status::Paused, "mirror is copied", "PAUSED");
        let halt = Fault { code: "DIVERGED".into(), text: "at 4".into() };
        check(
            |case| {
                case.mirror.status = Status::Failed;
                case.mirror.reason = Some(halt.clone());
                case.mirror.halted.insert(PartitionId(0), halt.clone());
            },
            "mirror is copied",
            "at 4",
        );
        check(|case| case.partition.lag_records = Some(3), "lag is 0", "3 records behind, as");
        check(
            |case| (case.partition.lag_records, case.partition.rpo_ms) = (Some(3), Some(4_200)),
            "lag is 0",
            "3 records behind, those of the last 4200 ms, as the source was 7 s ago",
        );
        check(|case| case.partition.lag_records = None, "lag is 0", "not known of 1 part");
        let both = [LAG, TRANSACTIONS];
        check_all(|case| case.mirror.row.partitions = 3, &both, "not known of 2 part");
        check(|case| case.partition.state = HALTED.into(), TRANSACTIONS, "not known of 1 part");
        check(
            |case| {
                let by = HeldView { producer_id: 77, ..HeldView::default() };
                (case.partition.held_records, case.partition.held_by) = (Some(5), Some(by));
            },
            "no open transaction",
            "5 records are held back: producer id 77",
        );
        let held = "no open transaction";
        check(|case| case.partition.held_records = None, held, "not known of 1 part");
        let configs = TaskName::TopicConfigsSync;
        let refused = ("orders", "POLICY_VIOLATION_ERROR");
        check(|case| in_error(case, configs, refused), "configs", "the reason");
        check(|case| never_run(case, configs), "configs", "not compared yet");
        let acls = TaskName::AclSync;
        check(|case| in_error(case, acls, ("dr", "AUTHORIZATION_ERROR")), "rights", "AclSync");
        let followed = "consumer groups are followed";
        check(|case| case.link.settings.as_mut().unwrap().groups = None, followed, "does not");
        check(|case| never_run(case, TaskName::ConsumerOffsetSync), followed, "no turn");
        check(
            |case| {
                let task = case.link.tasks.iter_mut();
                task.for_each(|task| task.succeeded = Some(TimestampMs(NOW.0 - 90_000)));
            },
            followed,
            "90 s ago",
        );
        let active = "no group is active at the source";
        check(|case| case.group.is_active_at_source = true, active, "billing");
        check(
            |case| case.group.not_mirrored = vec!["raw".into(), "dim".into()],
            "groups read no topic beside",
            "billing reads raw, dim",
        );
        check(|case| case.group.clamped = 1, "groups are synced", "billing: beyond");
        check(
            |case| {
                case.group.error_code = "CONSUMER_GROUP_IN_USE_ERROR".into();
                case.group.reason = "it has members".into();
            },
            "groups are synced",
            "billing: it has members",
        );
    }

    #[test]
    fn groups_that_would_skip_something_or_are_not_placed_are_named() {
        check(|case| case.group.ahead = 1, "groups are synced", "billing: further here");
        check(|case| case.group.unstarted = 1, "groups are synced", "billing: without a start");
        check(
            |case| {
                case.group.group_type = "share".into();
                case.group.topics = BTreeSet::new();
                case.group.is_active_at_source = true;
            },
            "no group is active at the source",
            "billing",
        );
    }

    #[test]
    fn what_is_wrong_with_others_is_no_line_of_this_topic() {
        let mut case = Case::new();
        let refused = ("other", "POLICY_VIOLATION_ERROR");
        in_error(&mut case, TaskName::TopicConfigsSync, refused);
        case.group.is_active_at_source = true;
        case.group.topics = BTreeSet::from(["other".to_owned()]);
        let lines = case.lines();
        assert!(lines.iter().all(|line| line.ok), "{lines:?}");
    }
}
