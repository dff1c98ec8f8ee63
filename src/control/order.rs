//! What people order, and what they are answered.
//!
//! It never decides; the texts are Cluster Linking's where scripts know them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::control::row::LinkMode;
use crate::control::start::StartSpec;
use crate::control::topic::Fault;
use crate::control::topic::How;
use crate::ids::ClusterId;
use crate::ids::GroupName;
use crate::ids::LinkName;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TopicId;
use crate::ids::TopicName;

/// Numbers orders; who gave one waits for its answer.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// An order, with `is_dry` for one that only asks what would come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Which link.
    pub link: LinkName,
    /// What is to be done.
    pub verb: Verb,
    /// Nothing is written and nothing is done.
    pub is_dry: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Create the link.
    CreateLink(NewLink),
    /// Change configs of a commanded link: a value, or `None` for the default.
    AlterLink {
        /// By name.
        configs: BTreeMap<String, Option<String>>,
        /// The generation that the changes were checked against.
        checked: u64,
    },
    /// Pause or resume the link.
    PauseLink(bool),
    /// Delete the link; with `is_forced` while it has mirror topics.
    DeleteLink {
        /// Its mirror topics are let go.
        is_forced: bool,
    },
    /// Let go of consumer groups, or follow them again; by their names at the source.
    Groups(BTreeSet<GroupName>, GroupVerb),
    /// Make a topic a mirror.
    CreateMirror(NewMirror),
    /// The same of several topics.
    Mirrors(Vec<TopicName>, MirrorVerb),
}

/// What is ordered of consumer groups.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum GroupVerb {
    /// Their offsets are synced no more, whatever the filters say; nothing is deleted.
    Forget,
    /// They are synced as the filters say.
    Follow,
}

/// A link that is to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLink {
    /// `cluster_link_id`.
    pub id: String,
    /// `link.mode`.
    pub mode: LinkMode,
    /// The source cluster, where it is known.
    pub source: Option<ClusterId>,
    /// Its properties, checked already.
    pub configs: BTreeMap<String, String>,
    /// The config file has it.
    pub is_declared: bool,
}

/// A mirror topic that is to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMirror {
    /// The topic at the source.
    pub source: TopicName,
    /// Its name here; `None` is what the link makes of the source's name.
    pub mirror: Option<TopicName>,
    /// Where it begins; `None` as the link has it.
    pub start: Option<StartSpec>,
    /// `replication.factor`; `None` as the link has it.
    pub replicas: Option<i16>,
    /// Over what the source has.
    pub configs: BTreeMap<String, String>,
    /// The topic is there, and what is now the source was once its mirror.
    pub restore: Option<Restore>,
}

impl NewMirror {
    /// Whether what has its name is deleted, and made anew.
    pub fn is_anew(&self) -> bool {
        self.restore.as_ref().is_some_and(|restore| !restore.ends.is_empty())
    }
}

/// A topic that becomes a mirror of what was its own mirror (`truncate-and-restore`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restore {
    /// The topic as it was looked at.
    pub id: TopicId,
    /// Its former mirror, at the source, as it was looked at.
    pub source_id: TopicId,
    /// Where it ends where it has more than its former mirror has of it, which is lost; nothing
    /// where it has no more.
    pub ends: BTreeMap<PartitionId, Offset>,
    /// Where it begins when it is made anew; nothing where `start` says it.
    pub starts: BTreeMap<PartitionId, Offset>,
    /// Its former mirror was reversed, and says so: whether it is to be paused as a mirror.
    pub reversal: Option<bool>,
}

/// What is ordered of mirror topics that are there.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum MirrorVerb {
    /// Copy nothing until it is resumed.
    Pause,
    /// Go on; a topic that failed is tried again.
    Resume,
    /// Make it an ordinary topic, planned or without its source.
    Stop {
        /// Which of the two.
        how: How,
        /// A promote that is not level by then goes back to mirroring, in ms since 1970.
        deadline_ms: Option<i64>,
    },
    /// Make it an ordinary topic as soon as all is copied that no open transaction of the source
    /// holds back; what one holds is left behind.
    Abandon {
        /// As that of a promote.
        deadline_ms: Option<i64>,
    },
    /// Swap roles: make it an ordinary topic that has all that its source has, and its source the
    /// mirror of it.
    Reverse {
        /// What becomes the mirror is paused.
        is_paused: bool,
        /// As that of a promote.
        deadline_ms: Option<i64>,
    },
    /// Let go of it, and forget it.
    Delete {
        /// Delete the topic as well.
        topic: bool,
    },
}

/// Why an order is not obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status that says so.
    pub status: u16,
    /// The `error_code`, where it says more than the status.
    pub code: Option<u32>,
    /// For people, with what to do.
    pub text: String,
}

impl Refusal {
    /// The same as what is wrong with a topic that nobody ordered.
    pub fn fault(&self) -> Fault {
        let code = if self.status == 409 { "TOPIC_EXISTS_ERROR" } else { "INVALID_TOPIC" };
        Fault { code: code.to_owned(), text: self.text.clone() }
    }

    /// What was asked is wrong as things are.
    pub fn bad(text: impl Into<String>) -> Refusal {
        Refusal { code: None, status: 400, text: text.into() }
    }

    /// There is no such thing.
    pub fn unknown(text: impl Into<String>) -> Refusal {
        Refusal { code: None, status: 404, text: text.into() }
    }

    /// Something is there already.
    pub fn conflict(text: impl Into<String>) -> Refusal {
        Refusal { code: None, status: 409, text: text.into() }
    }

    /// Not now.
    pub fn unavailable(text: impl Into<String>) -> Refusal {
        Refusal { code: None, status: 503, text: text.into() }
    }
}

/// What came of an order, for one topic or for the link (`None`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Which topic.
    pub topic: Option<TopicName>,
    /// Whether it is obeyed.
    pub result: Result<(), Refusal>,
}
