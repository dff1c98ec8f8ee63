//! What is known of a link beside its row: how its source answers, and how its tasks do.
//!
//! It never decides about topics.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::control::acls::AclSync;
use crate::control::facts::Reach;
use crate::control::filter::TopicFilter;
use crate::control::rename::Rename;
use crate::control::row::LinkRow;
use crate::control::row::Origin;
use crate::control::row::Unreadable;
use crate::control::start::StartSpec;
use crate::control::task::TaskName;
use crate::control::task::TaskTrack;
use crate::control::task::configs::ConfigSync;
use crate::control::task::groups::GroupSync;
use crate::control::topic::Fault;
use crate::ids::Side;
use crate::ids::TimestampMs;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::mirror::halt::Halt;

/// What people see of a link: `link_state` of Cluster Linking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Not asked yet.
    Unknown,
    /// Mirroring.
    Active,
    /// Paused, by an order or by its settings.
    Paused,
    /// The source does not answer.
    Unavailable(Fault),
    /// A person must act.
    Failed(Fault),
}

impl LinkState {
    /// The word that REST, CLI and metrics show.
    pub fn word(&self) -> &'static str {
        match self {
            LinkState::Unknown => "UNKNOWN",
            LinkState::Active => "ACTIVE",
            LinkState::Paused => "PAUSED",
            LinkState::Unavailable(_) => "UNAVAILABLE",
            LinkState::Failed(_) => "FAILED",
        }
    }
}

/// What the machine must know of a link's settings, typed and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSettings {
    /// `cluster.link.prefix` or `topic.rename.format`.
    pub rename: Rename,
    /// `mirror.topics` and `auto.create.mirror.topics.filters`.
    pub topics: TopicFilter,
    /// What of them `mirror.topics` and `mirror.pattern` take.
    pub named: TopicFilter,
    /// `mirror.start.offset.spec`.
    pub start: StartSpec,
    /// `replication.factor`; `None` is the destination's default.
    pub replicas: Option<i16>,
    /// `metadata.max.age.ms`: how often both clusters are looked at.
    pub look_every_ms: i64,
    /// `consumer.offset.sync.enable` and what belongs to it; `None` for false.
    pub groups: Option<GroupSync>,
    /// `cluster.link.paused` of a declared link.
    pub is_paused: bool,
    /// The tasks that it has.
    pub tasks: BTreeSet<TaskName>,
    /// `topic.config.sync.*`.
    pub configs: ConfigSync,
    /// `acl.*` and `mirror.write.protection`.
    pub acls: AclSync,
}

/// What is known of a link beside its row; gone with the process.
#[derive(Clone, Debug, Default)]
pub struct LinkTrack {
    /// Nothing is looked at or copied before they are there.
    pub settings: Option<LinkSettings>,
    /// How the source answers; `None` until it has been asked.
    pub reach: Option<Reach>,
    /// Rows of the link that cannot be read stop it, by key.
    pub unreadable: BTreeMap<String, Unreadable>,
    /// A mirror topic has another name than its settings would give it: they were changed, and
    /// nothing goes on before they are as they were.
    pub misnamed: Option<Fault>,
    /// When both clusters are looked at next.
    pub look_at: Option<TimestampMs>,
    /// A look at all topics is under way.
    pub is_looking: bool,
    /// How many have begun.
    pub looks: u64,
    /// One has told which topics there are.
    pub has_looked: bool,
    /// What the last look found and is to be begun: until that is written it has no row.
    pub found: BTreeSet<TopicName>,
    /// What the last look could not do, by topic: the `AutoCreateMirror` task's errors.
    pub troubles: Vec<(String, Fault)>,
    /// Topics that were refused for good, so that they are not begun at each look.
    pub refused: BTreeMap<TopicName, Refused>,
    /// What is known of the other tasks' turns, and when that one last had nothing to complain of.
    pub tasks: BTreeMap<TaskName, TaskTrack>,
}

/// A topic that was to become a mirror and was refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The source topic, and what stood at the mirror's name.
    pub ids: (TopicId, Option<TopicId>),
    /// Why.
    pub fault: Fault,
    /// How often.
    pub times: u32,
    /// It is not begun again before, unless one of them is another one.
    pub again_at: TimestampMs,
}

impl LinkTrack {
    /// What people see.
    pub fn state(&self, row: &LinkRow) -> LinkState {
        if let Some(fault) = self.failed(row) {
            return LinkState::Failed(fault);
        }
        if self.is_paused(row) {
            return LinkState::Paused;
        }
        match &self.reach {
            Some(Reach::Unavailable(fault)) => LinkState::Unavailable(fault.clone()),
            Some(Reach::Available(_)) => LinkState::Active,
            Some(Reach::Failed(_) | Reach::OtherCluster { .. }) | None => LinkState::Unknown,
        }
    }

    /// Why a person must act.
    pub fn failed(&self, row: &LinkRow) -> Option<Fault> {
        if let Some(unreadable) = self.unreadable.values().next() {
            return Some(unreadable.fault());
        }
        if let Some(fault) = &self.misnamed {
            return Some(fault.clone());
        }
        if let Some(Reach::Failed(fault)) = &self.reach {
            return Some(fault.clone());
        }
        let fault = |halt: Halt| Fault { code: halt.label().to_owned(), text: halt.to_string() };
        self.halt(row).map(fault)
    }

    /// What flow is told of all its topics where another cluster answers in the place of one of
    /// the link's.
    pub fn halt(&self, row: &LinkRow) -> Option<Halt> {
        let (side, was, is) = match (&self.reach, &row.source) {
            (Some(Reach::OtherCluster { side, was, is }), _) => (*side, was, is),
            (Some(Reach::Available(is)), Some(was)) if is != was => (Side::Source, was, is),
            _ => return None,
        };
        Some(Halt::ClusterIdChanged { side, was: was.clone(), is: is.clone() })
    }

    /// Paused by an order, by the file, since it leaves, or since no file has it any more.
    pub fn is_paused(&self, row: &LinkRow) -> bool {
        let by_file = self.settings.as_ref().is_some_and(|settings| settings.is_paused);
        let is_undeclared = row.origin == Origin::Declared && self.settings.is_none();
        row.is_paused || row.is_leaving || by_file || is_undeclared
    }

    /// Whether its topics may be copied: an unavailable source is tried all the time.
    pub fn may_copy(&self, row: &LinkRow) -> bool {
        self.settings.is_some() && self.failed(row).is_none() && !self.is_paused(row)
    }

    /// Whether flow holds its topics: while another cluster answers they stand still, and say so.
    pub fn may_hold(&self, row: &LinkRow) -> bool {
        let is_halted = self.unreadable.is_empty() && self.halt(row).is_some();
        let is_held = self.settings.is_some() && is_halted && !self.is_paused(row);
        is_held || self.may_copy(row)
    }
}
