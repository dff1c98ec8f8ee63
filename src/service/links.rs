//! The running links as the counter shows them.
//!
//! It never computes a lag or a state: it copies what the links publish into views.

use std::collections::BTreeMap;

use crate::control::topic::Status;
use crate::ids::LinkName;
use crate::link::driver::Driver;
use crate::link::registry::Seen;
use crate::link::registry::TaskSeen;
use crate::link::status::Link;
use crate::link::status::LinkState;
use crate::link::status::LinkStatus;
use crate::link::status::RESTS;
use crate::link::status::Trouble;
use crate::mirror::lag::HALTED;
use crate::mirror::lag::Snapshot;
use crate::service::exporters;
use crate::service::exporters::Running;
use crate::service::groups;
use crate::service::groups::Mirrored;
use crate::service::view::Check;
use crate::service::view::ExporterView;
use crate::service::view::GroupView;
use crate::service::view::GroupsView;
use crate::service::view::JournalView;
use crate::service::view::LinkView;
use crate::service::view::PartitionView;
use crate::service::view::STANDBY;
use crate::service::view::Sight;
use crate::service::view::TaskView;
use crate::service::view::TroubleView;

/// How many troubles are told with their texts where there is room for one reason.
const TOLD_MAX: usize = 5;
/// And how many more by name.
const NAMED_MAX: usize = 100;

/// All that runs.
pub struct All {
    /// Links, of the config file and created by order.
    pub driver: Driver,
    /// What copies schemas.
    pub exporters: Running,
}

impl All {
    /// Whether orders can be obeyed and links gone on with.
    fn operated(&self) -> Option<Check> {
        let reason = self.driver.trouble_beside_links()?;
        Some(Check { name: "the journal and its links".to_owned(), ok: false, reason })
    }
}

/// Topics of the cluster that a link mirrors of which there are mirrors, STOPPED ones too, whatever
/// link they are of.
fn mirrored<'a>(seen: &'a Seen, link: &LinkName) -> Mirrored<'a> {
    let source = |name: &LinkName| seen.links.get(name).and_then(|link| link.row.source.as_ref());
    let own = source(link);
    let is_of_it = |name: &LinkName| name == link || (own.is_some() && source(name) == own);
    let all = seen.mirrors.iter().filter(|((name, _), _)| is_of_it(name));
    all.map(|(_, mirror)| &mirror.row.source_topic).collect()
}

impl Sight for All {
    fn partitions(&self) -> Vec<PartitionView> {
        if self.stands_by().is_some() {
            return Vec::new();
        }
        let links = self.driver.links();
        let rows = links.iter().flat_map(|link| {
            link.shown().into_iter().map(|(name, seen)| PartitionView::of(&name, &seen))
        });
        rows.collect()
    }

    fn links(&self) -> Vec<LinkView> {
        let links = self.driver.links();
        if let Some(why) = self.stands_by() {
            return links.iter().map(|link| standby(link, &why)).collect();
        }
        links.iter().map(|link| view(link, self.driver.statuses(&link.name))).collect()
    }

    fn away(&self) -> BTreeMap<LinkName, String> {
        let links = self.driver.links();
        let away = links.iter().filter_map(|link| match link.status().state {
            LinkState::Unavailable(why) => Some((link.name.clone(), why)),
            _ => None,
        });
        away.collect()
    }

    fn stands_by(&self) -> Option<String> {
        self.driver.work.stands_by()
    }

    fn groups(&self, name: Option<&str>, is_whole: bool) -> Vec<GroupView> {
        let seen = self.driver.registry.seen();
        let links = self.driver.links();
        let of = |link: &Link| groups::of(link, &mirrored(&seen, &link.name), name, is_whole);
        links.iter().flat_map(of).collect()
    }

    fn unfollowed(&self, name: &str) -> Vec<GroupView> {
        let seen = self.driver.registry.seen();
        let links = self.driver.links();
        let known = links.iter().filter(|link| seen.links.contains_key(&link.name));
        known.map(|link| groups::unfollowed(&seen, link, name)).collect()
    }

    fn journal(&self) -> Option<JournalView> {
        let (health, rows, is_in_trouble) = self.driver.journal();
        Some(JournalView {
            replicas: health.map(|health| health.replicas as u64),
            in_sync: health.map(|health| health.in_sync as u64),
            min_in_sync: health.and_then(|health| Some(health.min_in_sync? as u64)),
            rows: rows as u64,
            is_in_trouble,
        })
    }

    fn exporters(&self) -> Vec<ExporterView> {
        exporters::views(&self.exporters, &self.driver.registry.seen())
    }

    fn readiness(&self) -> Vec<Check> {
        if let Some(reason) = self.stands_by() {
            // it is there to take over, and is ready to unless something is wrong
            let trouble = self.driver.trouble_beside_links();
            let reason = trouble.clone().unwrap_or(reason);
            return vec![Check { name: STANDBY.to_owned(), ok: trouble.is_none(), reason }];
        }
        self.driver.links().iter().flat_map(checks).chain(self.operated()).collect()
    }
}

/// A link of which another instance knows how it is.
fn standby(link: &Link, why: &str) -> LinkView {
    let status = link.status();
    LinkView {
        name: link.name.to_string(),
        state: STANDBY.to_owned(),
        since_ms: status.since.0,
        reason: why.to_owned(),
        ..LinkView::default()
    }
}

fn words(state: &LinkState) -> (&'static str, String) {
    match state {
        LinkState::Connecting => ("Connecting", "it has not reached both clusters yet".to_owned()),
        LinkState::Active => ("Active", String::new()),
        LinkState::Paused => ("Paused", RESTS.to_owned()),
        LinkState::Unavailable(why) => ("Unavailable", why.clone()),
        LinkState::Halted(why) => ("Halted", why.clone()),
    }
}

/// A link, with the statuses of its mirror topics; those of a link of the config file follow from
/// its partitions.
fn view(link: &Link, statuses: BTreeMap<&'static str, u64>) -> LinkView {
    let status = link.status();
    let partitions = link.partitions();
    let count = |is: fn(&Snapshot) -> bool| partitions.iter().filter(|(_, seen)| is(seen)).count();
    let (state, mut reason) = words(&status.state);
    if reason.is_empty() {
        reason = summary(status.all_troubles());
    }
    let ids = status.clusters.as_ref().map(|(source, destination)| (&source.0, &destination.0));
    LinkView {
        name: link.name.to_string(),
        state: state.to_owned(),
        since_ms: status.since.0,
        halted_since: halted_since(&status),
        source_cluster_id: ids.map(|(source, _)| source.to_string()),
        destination_cluster_id: ids.map(|(_, destination)| destination.to_string()),
        mirror_topics: named(statuses),
        partitions: partitions.len() as u64,
        halted: count(|seen| seen.state == HALTED) as u64,
        lag_unknown: count(|seen| seen.lag_records.is_none()) as u64,
        held_records: match (partitions.is_empty(), &status.state) {
            // nobody knows what there is
            (true, LinkState::Connecting | LinkState::Unavailable(_) | LinkState::Halted(_)) => {
                None
            }
            _ => held(partitions.iter().map(|(_, seen)| seen.held_records)),
        },
        groups: status.groups.as_ref().map(|seen| GroupsView {
            followed: seen.followed,
            clamped: seen.clamped,
            committed: seen.committed,
        }),
        troubles: status.all_troubles().map(trouble).collect(),
        tasks: status.tasks.iter().map(task).collect(),
        reason,
    }
}

/// The records that several partitions hold back: never 0 while it is not known of one of them.
fn held(partitions: impl Iterator<Item = Option<u64>> + Clone) -> Option<u64> {
    let known = partitions.clone().flatten().fold(0, u64::saturating_add);
    (known > 0 || partitions.clone().all(|held| held.is_some())).then_some(known)
}

fn named(statuses: BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    statuses.into_iter().map(|(word, count)| (word.to_owned(), count)).collect()
}

/// Cluster Linking's status of a mirror topic of a link of the config file, by the link's state
/// and whether one of its partitions is halted.
pub(super) fn declared_status(state: &str, is_halted: bool) -> Status {
    match state {
        _ if is_halted => Status::Failed,
        "Paused" => Status::LinkPaused,
        "Unavailable" => Status::SourceUnavailable,
        "Halted" => Status::LinkFailed,
        _ => Status::Active,
    }
}

fn halted_since(status: &LinkStatus) -> BTreeMap<String, (bool, i64)> {
    let all = status.halted_since.iter();
    all.map(|(name, (is_so, since))| (name.to_string(), (*is_so, since.0))).collect()
}

fn task(task: &TaskSeen) -> TaskView {
    let code = task.errors.first().map_or("NO_ERROR", |(_, fault)| &fault.code);
    TaskView {
        name: task.name.word().to_owned(),
        state: task.state.to_owned(),
        code: code.to_owned(),
        succeeded_ms: task.succeeded.map(|at| at.0),
    }
}

fn trouble(one: &Trouble) -> TroubleView {
    TroubleView {
        topic: one.subject.clone(),
        code: one.kind.label().to_owned(),
        reason: one.text.clone(),
    }
}

/// The first few with their texts, many more by name, and how many there are beside.
fn summary<'a>(mut troubles: impl Iterator<Item = &'a Trouble>) -> String {
    let told = troubles.by_ref().take(TOLD_MAX);
    let mut parts: Vec<String> = told.map(|one| format!("{}: {}", one.subject, one.text)).collect();
    let named: Vec<&str> =
        troubles.by_ref().take(NAMED_MAX).map(|one| one.subject.as_str()).collect();
    if !named.is_empty() {
        parts.push(format!("also {}", named.join(", ")));
    }
    match troubles.count() {
        0 => {}
        more => parts.push(format!("and {more} more")),
    }
    parts.join("; ")
}

/// Two conditions: the link mirrors, or was told not to; and everything that it is meant to mirror
/// can be. A partition that halted for what its log holds needs a person, and no traffic taken
/// away from this process; a topic of which nothing is copied is not what was asked for.
fn checks(link: &Link) -> [Check; 2] {
    let status = link.status();
    let (state, reason) = words(&status.state);
    let ok = matches!(state, "Active" | "Paused");
    let reason = if ok { String::new() } else { format!("{state}: {reason}") };
    let stopped = || status.all_troubles().filter(|one| one.kind.stops_copying());
    let topics = Check {
        name: format!("topics of link {}", link.name),
        ok: stopped().next().is_none(),
        reason: summary(stopped()),
    };
    [Check { name: format!("link {}", link.name), ok, reason }, topics]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TopicName;
    use crate::link::status::TroubleKind;

    #[test]
    fn what_is_held_is_never_none_where_one_is_not_known() {
        let of = |all: &[Option<u64>]| held(all.iter().copied());
        assert_eq!(of(&[]), Some(0));
        assert_eq!(of(&[Some(0), Some(0)]), Some(0));
        assert_eq!(of(&[Some(5), Some(2)]), Some(7));
        assert_eq!(of(&[Some(0), None]), None);
        assert_eq!(of(&[Some(5), None]), Some(5), "so many at least");
    }

    #[test]
    fn a_summary_names_many_and_counts_the_rest() {
        let one = |n: usize| {
            let name = TopicName::new(&format!("t{n}")).unwrap();
            Trouble::new(&name, TroubleKind::Refused, "why")
        };
        let all: Vec<Trouble> = (0..110).map(one).collect();
        assert_eq!(summary(all[..2].iter()), "t0: why; t1: why");
        assert!(summary(all[..7].iter()).ends_with("t4: why; also t5, t6"));
        assert!(summary(all.iter()).ends_with("t103, t104; and 5 more"));
    }
}
