//! What is seen of all links and mirror topics of a destination at one moment.
//!
//! It never decides anything: it is a copy of what the machine knows, for those who show it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::control::acls::Ledger;
use crate::control::facts::MirrorKey;
use crate::control::journal::WriterTag;
use crate::control::link::LinkSettings;
use crate::control::link::LinkState;
use crate::control::link::LinkTrack;
use crate::control::machine::Control;
use crate::control::row::LinkRow;
use crate::control::row::MirrorRow;
use crate::control::schemas::book::Book;
use crate::control::task::TaskName;
use crate::control::task::groups::GroupSync;
use crate::control::topic::Fault;
use crate::control::topic::Status;
use crate::ids::LinkName;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::Side;
use crate::ids::TimestampMs;
use crate::ids::TopicName;

/// What a task is that could not do something.
pub(super) const IN_ERROR: &str = "IN_ERROR";

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The journal has been read up to where it ended at the start.
    pub is_level: bool,
    /// This instance has the control role.
    pub is_holder: bool,
    /// A row is on its way to the journal.
    pub is_writing: bool,
    /// How many rows of the journal count.
    pub rows: usize,
    /// Another isolog that wrote to the journal, and when it did last.
    pub rival: Option<(WriterTag, TimestampMs)>,
    /// The links that the journal has.
    pub links: BTreeMap<LinkName, Arc<LinkSeen>>,
    /// Links without a row that can be read, and why.
    pub unread: BTreeMap<LinkName, Fault>,
    /// Exporters of schemas.
    pub exporters: Book,
    /// What each of them has to do with ACLs at the destination.
    pub ledgers: BTreeMap<LinkName, Arc<Ledger>>,
    /// Of which of them rows are still to be written, or on their way.
    pub unwritten: BTreeSet<LinkName>,
    /// Their mirror topics.
    pub mirrors: BTreeMap<MirrorKey, Arc<MirrorSeen>>,
}

/// A link.
#[derive(Clone, Debug)]
pub struct LinkSeen {
    /// Its row.
    pub row: LinkRow,
    /// What people see of it.
    pub state: LinkState,
    /// Its settings, typed; `None` where it has none, or wrong ones.
    pub settings: Option<LinkSettings>,
    /// Its tasks.
    pub tasks: Vec<TaskSeen>,
    /// Both clusters have told which topics there are, since this process has its settings.
    pub has_looked: bool,
    /// Topics that its settings want and that have no row, by the source's name, and what they
    /// would be called here.
    pub rowless: BTreeMap<TopicName, TopicName>,
    /// Mirror topics that were let go: an order takes them again, its settings do not.
    pub let_go: BTreeSet<TopicName>,
}

/// A mirror topic.
#[derive(Clone, Debug)]
pub struct MirrorSeen {
    /// Its row.
    pub row: MirrorRow,
    /// What people see of it.
    pub status: Status,
    /// Since when it is so.
    pub since: TimestampMs,
    /// Why it does not go on, where it does not.
    pub reason: Option<Fault>,
    /// What the last look at both clusters found wrong with the topic.
    pub fault: Option<Fault>,
    /// How far that is what is being done for it.
    pub progress: Option<String>,
    /// The side at which the topic is missing; not yet for so long that it counts as deleted.
    pub missing: Option<Side>,
    /// The destination has more partitions of it than the source: how many each has.
    pub surplus: Option<(i32, i32)>,
    /// Partitions that a rule stopped, or that could not be sealed yet.
    pub halted: BTreeMap<PartitionId, Fault>,
    /// Partitions of a promote that are level with the source.
    pub level: BTreeSet<PartitionId>,
    /// Partitions that nobody leads at the destination, so that they cannot be sealed.
    pub leaderless: BTreeSet<PartitionId>,
    /// Why its link does not copy now, where it does not.
    pub link_rests: Option<String>,
    /// Whoever has the right may change it: nothing of ours lands any more.
    pub is_free: bool,
    /// It is promoted and waits for its source's configs: since when, by the count of looks.
    pub awaits_configs: Option<u64>,
    /// It is promoted and sealed, and waits for the last turn over consumer groups.
    pub awaits_groups: bool,
    /// It is sealed, and waits until others have what was held back of their rights.
    pub awaits_rights: bool,
    /// Where the source's offsets had come to that were mirrored, of partitions that were let go.
    pub ends: BTreeMap<PartitionId, Offset>,
}

/// A task of a link, in Cluster Linking's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSeen {
    /// Which.
    pub name: TaskName,
    /// Such as `IN_ERROR`.
    pub state: &'static str,
    /// What it could not do, by topic or group.
    pub errors: Vec<(String, Fault)>,
    /// When it last could do everything.
    pub succeeded: Option<TimestampMs>,
}

/// How many partitions of a link are how: `category_counts` of Cluster Linking.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Being copied.
    pub active: u64,
    /// Not copied, and a person or the source must do something.
    pub in_error: u64,
    /// Being set up, stopped or deleted.
    pub pending: u64,
    /// Paused, or their link is.
    pub paused: u64,
    /// Ordinary topics by now.
    pub not_applicable: u64,
}

impl Seen {
    /// The mirror topics of a link.
    pub fn mirrors_of(
        &self,
        link: &LinkName,
    ) -> impl Iterator<Item = (&TopicName, &Arc<MirrorSeen>)> {
        let first = TopicName::new("-").map(|least| (link.clone(), least));
        let all = first.map(|first| self.mirrors.range(first..)).into_iter().flatten();
        let own = all.take_while(move |((of, _), _)| of == link);
        own.map(|((_, topic), mirror)| (topic, mirror))
    }

    /// How many mirror topics of a link have each status.
    pub fn statuses(&self, link: &LinkName) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for (_, mirror) in self.mirrors_of(link) {
            *all.entry(mirror.status.word()).or_default() += 1;
        }
        all
    }

    /// How many partitions of a link are how.
    pub fn counts(&self, link: &LinkName) -> Counts {
        let mut counts = Counts::default();
        for (_, mirror) in self.mirrors_of(link) {
            let all = u64::try_from(mirror.row.partitions).unwrap_or(0);
            match mirror.status {
                Status::Active => counts.active += all,
                // one halted partition makes the topic FAILED, and the others go on
                Status::Failed if mirror.is_failed_in_part() => {
                    let halted = mirror.halted.len() as u64;
                    counts.in_error += halted;
                    counts.active += all.saturating_sub(halted);
                }
                Status::Failed | Status::LinkFailed | Status::SourceUnavailable => {
                    counts.in_error += all;
                }
                Status::PendingSetup | Status::PendingStopped => counts.pending += all,
                Status::Paused | Status::LinkPaused => counts.paused += all,
                Status::Stopped => counts.not_applicable += all,
            }
        }
        counts
    }
}

impl MirrorSeen {
    /// What the machine knows of a mirror topic now.
    pub(super) fn of(control: &Control, key: &MirrorKey) -> Option<MirrorSeen> {
        let (row, status, link) = control.mirror(key)?;
        let track = control.track(key)?;
        let link_rests = match &link {
            LinkState::Active | LinkState::Unknown => None,
            LinkState::Paused => Some(format!("link {} is paused", key.0)),
            LinkState::Unavailable(fault) | LinkState::Failed(fault) => Some(fault.text.clone()),
        };
        let reason = match (status, link) {
            (Status::Active, _) => None,
            (Status::Stopped, _) if row.at_stop.is_empty() => None,
            (Status::LinkFailed, LinkState::Failed(fault)) => Some(fault),
            (Status::SourceUnavailable, LinkState::Unavailable(fault)) => Some(fault),
            _ => track.reason().cloned(),
        };
        let halted = track.halted.clone();
        let since = track.shown.map_or(row.since, |shown| shown.since);
        Some(MirrorSeen {
            row: row.clone(),
            status,
            since,
            reason,
            fault: track.fault.clone(),
            progress: track.progress.clone(),
            missing: track.missing_at(),
            surplus: track.surplus,
            halted,
            level: track.level.clone(),
            leaderless: track.leaderless.clone(),
            link_rests,
            is_free: control.is_free(key),
            awaits_configs: control.awaits_configs(key),
            awaits_groups: control.awaits_groups(key),
            awaits_rights: control.awaits_rights(key),
            ends: track.ends.clone(),
        })
    }

    /// Whether some of its partitions go on although the topic is FAILED.
    pub(super) fn is_failed_in_part(&self) -> bool {
        let first = self.halted.values().next();
        first.is_some() && self.reason.as_ref() == first
    }
}

impl LinkSeen {
    /// What the machine knows of a link now.
    pub(super) fn of(
        control: &Control,
        (name, row): (&LinkName, &LinkRow),
        state: LinkState,
    ) -> LinkSeen {
        let track = control.link_track(name);
        let settings = track.and_then(|track| track.settings.clone());
        let tasks = TaskName::ALL.map(|name| task(name, &state, track)).into();
        let has_looked = track.is_some_and(|track| track.has_looked);
        let (rowless, let_go) = (control.rowless(name), control.let_go(name));
        LinkSeen { row: row.clone(), state, settings, tasks, has_looked, rowless, let_go }
    }

    /// Which consumer groups are followed; `None` where the settings want none.
    pub fn groups(&self) -> Option<GroupSync> {
        let groups = self.settings.as_ref()?.groups.clone()?;
        Some(GroupSync { forgotten: Arc::new(self.row.forgotten.clone()), ..groups })
    }

    /// Why it does not go on, where it does not.
    pub fn fault(&self) -> Option<&Fault> {
        match &self.state {
            LinkState::Unavailable(fault) | LinkState::Failed(fault) => Some(fault),
            _ => None,
        }
    }
}

/// A task, in Cluster Linking's words.
fn task(name: TaskName, state: &LinkState, track: Option<&LinkTrack>) -> TaskSeen {
    let none = TaskSeen { name, state: "NOT_CONFIGURED", errors: Vec::new(), succeeded: None };
    let settings = track.and_then(|track| track.settings.as_ref());
    let (Some(track), Some(settings)) = (track, settings) else { return none };
    if !settings.tasks.contains(&name) {
        return none;
    }
    let turns = track.tasks.get(&name);
    let errors = match name {
        TaskName::AutoCreateMirror => track.troubles.clone(),
        _ => turns.map(|turns| turns.errors.clone()).unwrap_or_default(),
    };
    let state = match state {
        LinkState::Paused => "LINK_PAUSED",
        LinkState::Failed(_) => "LINK_FAILED",
        LinkState::Unavailable(_) => "LINK_UNAVAILABLE",
        LinkState::Unknown => "UNKNOWN",
        LinkState::Active if errors.is_empty() => "ACTIVE",
        LinkState::Active => IN_ERROR,
    };
    TaskSeen { name, state, errors, succeeded: turns.and_then(|turns| turns.succeeded) }
}
