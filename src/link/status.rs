//! What people see of a link: its state, its partitions, and what is wrong with its topics.
//!
//! It never asks a cluster: the running link publishes here, readers take copies.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::control::task::TaskName;
use crate::flow::Wall;
use crate::flow::stats::Board;
use crate::ids::ClusterId;
use crate::ids::GroupName;
use crate::ids::LinkName;
use crate::ids::MirrorPartition;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::Side;
use crate::ids::TimestampMs;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::link::seen::TaskSeen;
use crate::mirror::lag::MIRRORING;
use crate::mirror::lag::PAUSED;
use crate::mirror::lag::Snapshot;
pub use crate::sync::groups::GroupTold;
pub use crate::sync::groups::UNFOLLOWED_MAX;
use crate::sync::trouble::Kind;
pub use crate::sync::trouble::Kind as TroubleKind;
pub use crate::sync::trouble::Trouble;

/// The reason of a topic that is meant to be mirrored and that no look at the clusters has seen.
const NOT_SEEN: &str = "NOT_SEEN_YET";

/// Why a link, and its topics, do nothing that is well.
pub const RESTS: &str =
    "it rests: paused by an order or by cluster.link.paused, or no file has it any more";

/// What a link is doing, as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Reaching both clusters.
    Connecting,
    /// Mirroring.
    Active,
    /// Told to do nothing.
    Paused,
    /// A cluster does not answer.
    Unavailable(String),
    /// A person must act.
    Halted(String),
}

/// What the last turns over its consumer groups came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupsSeen {
    /// Groups that have committed something that is mirrored.
    pub followed: u64,
    /// Their offsets that are lower at the destination, since the mirror is behind.
    pub clamped: u64,
    /// Offsets that were committed at the destination since the start.
    pub committed: u64,
    /// When the last turn that came to something ended.
    pub at: Option<TimestampMs>,
    /// When it began.
    pub began: Option<TimestampMs>,
    /// How often there is to be one, in ms.
    pub every_ms: i64,
    /// How each group stood then, by its name at the destination.
    pub told: Arc<BTreeMap<GroupName, GroupTold>>,
}

/// What people see of a link beside its partitions.
#[derive(Clone, Debug)]
pub struct LinkStatus {
    /// Its state.
    pub state: LinkState,
    /// Since when it is so.
    pub since: TimestampMs,
    /// Topics that were halted, in whole or in part, or are: whether they are, and since when.
    pub halted_since: BTreeMap<TopicName, (bool, TimestampMs)>,
    /// Both clusters' ids, once known.
    pub clusters: Option<(ClusterId, ClusterId)>,
    /// What the last look at the topics could not do, or found wrong.
    pub troubles: Vec<Trouble>,
    /// What the last comparison of log starts could not do.
    pub behind_starts: Vec<Trouble>,
    /// Topics whose mirrors at the source were reversed, and that are not their mirrors yet.
    pub reversed: Vec<Trouble>,
    /// Its tasks.
    pub tasks: Vec<TaskSeen>,
    /// Topics that stand still as a whole or lack a right, by what their partitions show.
    pub standing: Vec<Trouble>,
    /// Its consumer groups, while they are followed.
    pub groups: Option<GroupsSeen>,
    /// Why the clusters do not tell where partitions end, where none of them does.
    away: Option<String>,
    /// Every topic that is meant to be mirrored, or is but for a pause, as far as that is known:
    /// by name, by the journal, by what the source has; by the source's name.
    pub wanted: Arc<BTreeMap<TopicName, Wanted>>,
}

/// A topic that is meant to be mirrored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name at the destination.
    pub mirror: TopicName,
    /// How many partitions it is known to have; at least 1.
    pub partitions: i32,
    /// It, or its link, is paused.
    pub rests: Option<Rests>,
}

/// What was paused.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Rests {
    /// The topic alone.
    Topic,
    /// Its link.
    Link,
}

impl Wanted {
    /// One of which nobody has told yet how many partitions it has.
    pub fn unseen(mirror: TopicName) -> Wanted {
        Wanted { mirror, partitions: 1, rests: None }
    }
}

impl Rests {
    fn snapshot(self) -> Snapshot {
        let (label, text) = match self {
            Rests::Topic => {
                ("PAUSED", "the mirror topic is paused: `isolog mirror resume`".to_owned())
            }
            Rests::Link => ("LINK_PAUSED", format!("of its link: {RESTS}")),
        };
        Snapshot::paused(label, text)
    }
}

impl LinkStatus {
    /// All troubles, those with topics first.
    pub fn all_troubles(&self) -> impl Iterator<Item = &Trouble> {
        let is_told = |one: &&Trouble| self.troubles.iter().any(|told| told.subject == one.subject);
        let standing = self.standing.iter().filter(move |one| !is_told(one));
        self.troubles.iter().chain(standing).chain(&self.behind_starts).chain(&self.reversed)
    }
}

/// A handle to a running link.
#[derive(Clone)]
pub struct Link {
    /// Its name.
    pub name: LinkName,
    status: Arc<Mutex<LinkStatus>>,
    pub(super) board: Arc<Board>,
    wall: Wall,
}

impl Link {
    /// A link that has not looked at anything yet: the topics that it names, and what their mirrors
    /// are called, is all that is known.
    pub fn new(name: LinkName, named: BTreeMap<TopicName, TopicName>, wall: Wall) -> Link {
        let unseen = |(source, mirror)| (source, Wanted::unseen(mirror));
        let status = LinkStatus {
            state: LinkState::Connecting,
            since: wall.now(),
            halted_since: BTreeMap::new(),
            clusters: None,
            troubles: Vec::new(),
            behind_starts: Vec::new(),
            reversed: Vec::new(),
            tasks: Vec::new(),
            standing: Vec::new(),
            groups: None,
            away: None,
            wanted: Arc::new(named.into_iter().map(unseen).collect()),
        };
        let status = Arc::new(Mutex::new(status));
        Link { name, status, board: Arc::new(Board::default()), wall }
    }

    /// What it is doing.
    pub fn status(&self) -> LinkStatus {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(why) = status.away.take_if(|_| status.state == LinkState::Active) {
            status.state = LinkState::Unavailable(why);
        }
        status
    }

    /// How long ago its consumer groups were followed, in ms; `None` where they never were.
    pub fn groups_age_ms(&self, seen: &GroupsSeen) -> Option<u64> {
        let at = seen.at?;
        u64::try_from(self.wall.now().0.saturating_sub(at.0)).ok()
    }

    /// All its partitions that are meant to be mirrored, in order; of those of a topic that nobody
    /// holds nothing is known but why.
    pub fn partitions(&self) -> Vec<(MirrorPartition, Snapshot)> {
        let mut rows = self.shown();
        rows.retain(|(_, seen)| seen.state != PAUSED);
        rows
    }

    /// The same, and those of topics that are paused.
    pub fn shown(&self) -> Vec<(MirrorPartition, Snapshot)> {
        let status = self.status();
        let mut rows = self.board.read(self.wall.now());
        let held: BTreeSet<&TopicName> = rows.iter().map(|(one, _)| &one.source_topic).collect();
        let unheld = status.wanted.iter().filter(|(name, _)| !held.contains(name));
        let why: BTreeMap<&str, &Trouble> =
            status.troubles.iter().map(|trouble| (trouble.subject.as_str(), trouble)).collect();
        let unheld = unheld.flat_map(|(name, wanted)| {
            let snapshot = without_holder(&status.state, wanted, why.get(name.as_str()).copied());
            let row = move |partition| (self.row(name, wanted, partition), snapshot.clone());
            (0..wanted.partitions).map(row)
        });
        let unheld: Vec<_> = unheld.collect();
        for (name, seen) in &mut rows {
            if let Some(Kind::Missing(side)) =
                why.get(name.source_topic.as_str()).map(|one| one.kind)
            {
                *seen = without(seen.clone(), side);
            }
        }
        if !unheld.is_empty() {
            rows.extend(unheld);
            rows.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        rows
    }

    fn row(&self, source: &TopicName, wanted: &Wanted, partition: i32) -> MirrorPartition {
        MirrorPartition {
            link: self.name.clone(),
            source_topic: source.clone(),
            mirror_topic: wanted.mirror.clone(),
            partition: PartitionId(partition),
        }
    }

    /// The link's task has ended and nobody asked for it.
    pub fn tell_ended(&self, text: String) {
        self.set(|status| status.state = LinkState::Halted(text));
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut LinkStatus)) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let kind =
            |status: &LinkStatus| (std::mem::discriminant(&status.state), status.away.is_some());
        let before = kind(&status);
        change(&mut status);
        if kind(&status) != before {
            status.since = self.wall.now();
        }
    }

    /// What is known of the link and its topics: says once what is new.
    pub(super) fn tell_looked(
        &self,
        state: LinkState,
        troubles: Vec<Trouble>,
        wanted: Arc<BTreeMap<TopicName, Wanted>>,
    ) {
        self.warn_of_news(&self.status().troubles, &troubles);
        self.set(|status| {
            status.state = state;
            status.troubles = troubles;
            status.wanted = wanted;
        });
    }

    /// Up to where each partition is confirmed, of those that are being mirrored; by the mirror's
    /// name.
    pub(super) fn copied(&self) -> BTreeMap<TopicPartition, Offset> {
        let flowing = self.partitions().into_iter().filter(|(_, seen)| seen.state == MIRRORING);
        flowing.filter_map(|(name, seen)| Some((name.mirror(), seen.destination_hwm?))).collect()
    }

    /// Log starts were compared: says once what is new.
    pub(super) fn tell_starts(&self, troubles: Vec<Trouble>) {
        self.warn_of_news(&self.status().behind_starts, &troubles);
        self.set(|status| status.behind_starts = troubles);
    }

    /// Reversed mirrors at the source were looked at: says once what is new.
    pub(super) fn tell_reversed(&self, troubles: Vec<Trouble>) {
        if self.status().reversed != troubles {
            self.warn_of_news(&self.status().reversed, &troubles);
            self.set(|status| status.reversed = troubles);
        }
    }

    /// The partitions were looked at: says once what is new.
    pub(super) fn tell_standing(&self, standing: Vec<Trouble>) {
        let before = self.status();
        let is_told = |one: &Trouble| before.troubles.iter().any(|t| t.subject == one.subject);
        let standing: Vec<Trouble> = standing.into_iter().filter(|one| !is_told(one)).collect();
        self.warn_of_news(&before.standing, &standing);
        self.set(|status| status.standing = standing);
    }

    /// The partitions were looked at: topics some of which are halted.
    pub(super) fn tell_halted(&self, halted: &BTreeSet<TopicName>) {
        let now = self.wall.now();
        self.set(|status| {
            for (name, (was, since)) in &mut status.halted_since {
                if *was && !halted.contains(name) {
                    (*was, *since) = (false, now);
                }
            }
            for name in halted {
                let known = status.halted_since.entry(name.clone()).or_insert((false, now));
                if !known.0 {
                    *known = (true, now);
                }
            }
        });
    }

    /// Why a cluster counts as away, or that none does: says once what is new.
    pub(super) fn tell_away(&self, away: Option<String>) {
        let mut was = None;
        self.set(|status| was = std::mem::replace(&mut status.away, away.clone()));
        match (was, away) {
            (None, Some(text)) => tracing::warn!(link = %self.name, "{text}"),
            (Some(_), None) => tracing::info!(link = %self.name, "both clusters answer again"),
            _ => {}
        }
    }

    fn warn_of_news(&self, before: &[Trouble], now: &[Trouble]) {
        let before: BTreeSet<(&str, &str)> =
            before.iter().map(|one| (one.subject.as_str(), one.text.as_str())).collect();
        for one in now.iter().filter(|one| !before.contains(&(&one.subject, &one.text))) {
            let reason = one.kind.label();
            let link = &self.name;
            match one.kind {
                // a group, a partition, a broker
                Kind::NotSynced(TaskName::ConsumerOffsetSync) => {
                    tracing::warn!(%link, subject = %one.subject, reason, "{}", one.text);
                }
                _ => tracing::warn!(%link, topic = %one.subject, reason, "{}", one.text),
            }
        }
        let over = before.iter().filter(|(subject, _)| now.iter().all(|n| n.subject != *subject));
        let over: Vec<&str> = over.map(|(subject, _)| *subject).collect();
        // who stands still is told elsewhere, and a link that does not go on heals nothing
        if over.is_empty() || self.status().state != LinkState::Active {
            return;
        }
        let halted = self.board.halted();
        let is_halted =
            |name: &str| halted.iter().any(|(one, _)| one.source_topic.as_str() == name);
        for topic in over.into_iter().filter(|name| !is_halted(name)) {
            tracing::info!(link = %self.name, topic, "nothing is wrong with it any more");
        }
    }
}

/// What is known of the partitions of a topic that nobody holds.
fn without_holder(link: &LinkState, wanted: &Wanted, trouble: Option<&Trouble>) -> Snapshot {
    match (wanted.rests, trouble) {
        (Some(rests), _) => rests.snapshot(),
        (None, Some(trouble)) => Snapshot::unknown(trouble.kind.label(), trouble.text.clone()),
        (None, None) => Snapshot::unknown(NOT_SEEN, not_seen(link)),
    }
}

/// What was known of a log says nothing once its topic is missing there.
fn without(seen: Snapshot, side: Side) -> Snapshot {
    match side {
        Side::Source => seen.without_source(),
        Side::Destination => seen.without_destination(),
    }
}

fn not_seen(state: &LinkState) -> String {
    match state {
        LinkState::Connecting => "the link has not reached both clusters yet".to_owned(),
        LinkState::Active => "it has not been looked at yet".to_owned(),
        LinkState::Paused => "the link is paused, or no file has it any more".to_owned(),
        LinkState::Unavailable(why) | LinkState::Halted(why) => why.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_so_has_a_time_since_when() {
        let wall = Wall::new(TimestampMs(1_000));
        let link = Link::new(LinkName("dr".into()), BTreeMap::new(), wall);
        let pass = async || tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        let topic = TopicName::new("orders").unwrap();
        assert_eq!(link.status().since.0, 1_000);
        pass().await;
        link.set(|status| status.state = LinkState::Active);
        pass().await;
        link.set(|status| status.state = LinkState::Active);
        link.tell_halted(&[topic.clone()].into());
        pass().await;
        link.tell_halted(&[topic.clone()].into());
        let status = link.status();
        assert_eq!(
            (status.since.0, status.halted_since[&topic]),
            (1_010, (true, TimestampMs(1_020)))
        );
        link.tell_halted(&BTreeSet::new());
        assert_eq!(link.status().halted_since[&topic], (false, TimestampMs(1_030)));
        link.tell_away(Some("x".into()));
        assert_eq!(link.status().since.0, 1_030, "it is Unavailable since then");
    }

    #[tokio::test(start_paused = true)]
    async fn each_partition_of_what_nobody_holds_is_shown_with_why() {
        let link = Link::new(LinkName("dr".into()), BTreeMap::new(), Wall::new(TimestampMs(0)));
        let name = |text: &str| TopicName::new(text).unwrap();
        let wanted = |partitions, rests| Wanted { mirror: name("m"), partitions, rests };
        let all = [
            (name("a"), wanted(2, None)),
            (name("b"), wanted(1, Some(Rests::Topic))),
            (name("c"), wanted(1, Some(Rests::Link))),
        ];
        link.tell_looked(LinkState::Unavailable("gone".into()), Vec::new(), Arc::new(all.into()));
        let told = |(one, seen): (MirrorPartition, Snapshot)| {
            let (label, _) = seen.reason.unwrap();
            (one.source_topic.to_string(), one.partition.0, seen.state, label)
        };
        let shown: Vec<_> = link.shown().into_iter().map(told).collect();
        let row =
            |topic: &str, partition, state, label| (topic.to_owned(), partition, state, label);
        let unseen = |partition| row("a", partition, "Preparing", NOT_SEEN);
        let paused = [row("b", 0, PAUSED, "PAUSED"), row("c", 0, PAUSED, "LINK_PAUSED")];
        assert_eq!(shown, [[unseen(0), unseen(1)], paused].concat());
        let meant: Vec<_> = link.partitions().into_iter().map(told).collect();
        assert_eq!(meant, [unseen(0), unseen(1)]);
    }
}
