//! The words between the machine and what carries it: questions, things to do, and what came of
//! them.
//!
//! It never holds a rule.

use std::collections::BTreeMap;

use crate::control::row::Changes;
use crate::control::row::Sealed;
use crate::control::row::lineage::Ancestor;
use crate::control::row::reversal::Had;
use crate::control::start::StartSpec;
use crate::control::topic::Fault;
use crate::ids::ClusterId;
use crate::ids::Incarnation;
use crate::ids::LinkName;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::Side;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::mirror::halt::Halt;

/// Numbers questions.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LookId(pub u64);

/// Numbers things to do.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DoId(pub u64);

/// Numbers writes.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WriteId(pub u64);

/// A mirror topic of one destination: its link and its name there.
pub type MirrorKey = (LinkName, TopicName);

/// A question to both clusters of a link; whatever is answered, nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whose clusters.
    pub link: LinkName,
    /// What about.
    pub what: Asked,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Which topics there are on both sides: name, id, partition count.
    All,
    /// All that must be known to set these topics up.
    Topics(Vec<Wanted>),
}

/// A topic that may become a mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// At the source.
    pub source: TopicName,
    /// At the destination.
    pub mirror: TopicName,
    /// Where its partitions would begin.
    pub start: StartSpec,
    /// What is there is to be deleted, and the mirror made in its place.
    pub is_anew: bool,
}

/// A topic as metadata show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its id.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: i32,
}

/// What metadata say of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// It is there.
    There(Seen),
    /// The cluster knows no such topic.
    Absent,
    /// The cluster does not say: a right is missing, or it answers with an error.
    Hidden(Fault),
}

impl Metadata {
    /// The topic, if it is there.
    pub fn seen(&self) -> Option<&Seen> {
        match self {
            Metadata::There(seen) => Some(seen),
            _ => None,
        }
    }
}

/// All topics of both sides; what is in neither map is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topics {
    /// At the source.
    pub source: BTreeMap<TopicName, Metadata>,
    /// At the destination.
    pub mirror: BTreeMap<TopicName, Metadata>,
    /// What topics of the source are themselves mirrors of, nearest first; what is not among them
    /// is none. `None` where the journal there cannot be read.
    pub ancestors: Option<BTreeMap<TopicName, Vec<Ancestor>>>,
    /// Topics of the source whose records come from a topic of this destination, and over what.
    pub loops: BTreeMap<TopicName, Fault>,
}

/// What must be known to set a topic up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFacts {
    /// The source topic.
    pub source: Metadata,
    /// What stands at the mirror's name.
    pub mirror: Metadata,
    /// What the source topic is itself a mirror of, nearest first.
    pub ancestors: Vec<Ancestor>,
    /// Nothing was ever written into what stands there.
    pub is_empty: bool,
    /// Where partitions begin that do not begin at 0.
    pub starts: BTreeMap<PartitionId, Offset>,
    /// What the mirror topic is created with.
    pub configs: BTreeMap<String, String>,
    /// What it is to get when it is given back, or its prefix is gone.
    pub owed: Changes,
    /// What it is to get when it stops, where it is made now: so much of it as is known before its
    /// configs are compared for the first time.
    pub at_stop: Changes,
}

/// An answer to a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// To `Asked::All`.
    All(Topics),
    /// To `Asked::Topics`, by the mirror's name; a topic that is missing was not answered for.
    Topics(BTreeMap<TopicName, TopicFacts>),
}

/// Something that changes a cluster. Each may be done twice: names come with ids, and what is
/// there already is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Do {
    /// Create the mirror topic, unless it is there.
    Create {
        /// Which.
        mirror: MirrorKey,
        /// How many partitions.
        partitions: i32,
        /// `None` is the destination's default.
        replicas: Option<i16>,
        /// With which configs.
        configs: BTreeMap<String, String>,
        /// The topic of that name that was deleted for it, by order.
        replaces: Option<TopicId>,
    },
    /// Compare everything that both topics hold: the mirror's log must be a prefix.
    Compare {
        /// Which mirror.
        mirror: MirrorKey,
        /// Its id.
        mirror_id: TopicId,
        /// The source topic.
        source: (TopicName, TopicId),
        /// The generation of the writer that is to go on with it.
        generation: u32,
        /// It may be one that was promoted or failed over: somebody named it in an order.
        takes_sealed: bool,
    },
    /// Delete the topic that stands at the mirror's name, by its id, unless it has come to have
    /// more than this.
    Replace {
        /// Which mirror.
        mirror: MirrorKey,
        /// The topic's id.
        mirror_id: TopicId,
        /// Where its partitions end.
        ends: BTreeMap<PartitionId, Offset>,
    },
    /// Give the mirror topic as many partitions as the source has.
    Grow {
        /// Which mirror.
        mirror: MirrorKey,
        /// How many.
        partitions: i32,
    },
    /// Give the topic the configs that it is owed.
    GiveBack {
        /// Which mirror.
        mirror: MirrorKey,
        /// Its id.
        mirror_id: TopicId,
        /// What it gets.
        owed: Changes,
    },
    /// Delete the mirror topic, by its id.
    Delete {
        /// Which mirror.
        mirror: MirrorKey,
        /// Its id.
        mirror_id: TopicId,
    },
    /// See to those who write at the source of a mirror topic that is reversed.
    Writers {
        /// Which mirror.
        mirror: MirrorKey,
        /// The topic that they write to.
        source: (TopicName, TopicId),
        /// What is to become of them.
        what: ForWriters,
    },
    /// See that the source of a mirror topic that is reversed has come to rest where the mirror
    /// ends: no transaction names it, and nothing moves.
    Rest {
        /// Which mirror.
        mirror: MirrorKey,
        /// Its id.
        mirror_id: TopicId,
        /// The source topic.
        source: (TopicName, TopicId),
        /// How many partitions are mirrored.
        partitions: i32,
    },
}

/// What is to become of those who write at the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForWriters {
    /// Ask what the topic has by which they would be stopped.
    Ask,
    /// They are stopped.
    Stop,
    /// They may write, with what the topic had before.
    Let(Had),
}

impl Do {
    /// The mirror topic that it is done to.
    pub fn mirror(&self) -> &MirrorKey {
        match self {
            Do::Create { mirror, .. }
            | Do::Compare { mirror, .. }
            | Do::Replace { mirror, .. }
            | Do::Grow { mirror, .. }
            | Do::GiveBack { mirror, .. }
            | Do::Delete { mirror, .. }
            | Do::Writers { mirror, .. }
            | Do::Rest { mirror, .. } => mirror,
        }
    }
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The mirror topic is there now and empty, with this id and as many partitions as asked.
    Created(TopicId),
    /// The mirror's log is a prefix of the source's.
    IsPrefix {
        /// Its writer of that generation is dead behind a seal.
        is_fenced: bool,
    },
    /// The topic that stood there is gone, or another one has its name.
    Replaced,
    /// It has so many partitions now.
    Grown(i32),
    /// It has these configs.
    GivenBack(Changes),
    /// It is gone, or another topic has its name.
    Deleted,
    /// What the source topic has by which its writers would be stopped.
    Asked(Had),
    /// They are stopped.
    WritersStopped,
    /// They may write.
    WritersLet,
    /// The source has come to rest where the mirror ends.
    Rests,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Kafka's word or ours, and what to do.
    pub fault: Fault,
    /// Trying again will not help: what was asked is wrong, or the logs differ.
    pub is_final: bool,
}

/// What flow is told of a mirror topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Under which number its partitions are held.
    pub incarnation: Incarnation,
    /// The topic at the source.
    pub source: (TopicName, TopicId),
    /// The mirror topic's id.
    pub mirror_id: TopicId,
    /// How often the topic has become a mirror.
    pub generation: u32,
    /// Which partitions, and where each begins.
    pub partitions: BTreeMap<PartitionId, Offset>,
    /// Configs that the mirror topic is to get once nothing is left below where it begins; none
    /// where it has its own.
    pub owed: Changes,
    /// What is to become of them.
    pub mode: Mode,
    /// Why nothing of it may be copied, for a reason outside of its log: it stands still, and says
    /// so, until this is another one or none. Never of what is to be sealed.
    pub halt: Option<Halt>,
    /// It is sealed by a promote: the source is there, and is asked once more behind the seal.
    pub is_planned: bool,
    /// Grows with each order to try again.
    pub attempt: u64,
}

/// What is to become of a partition.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Copied.
    Mirror,
    /// Copied until it is level, holes at the tail filled.
    Drain,
    /// The same, but for what open transactions of the source hold back.
    DrainStable,
    /// Sealed where it ends, then let go.
    Seal,
}

/// What flow tells of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowFact {
    /// Which mirror topic.
    pub mirror: MirrorKey,
    /// Which partition.
    pub partition: PartitionId,
    /// Under which number it was wanted; a fact of an older one is late.
    pub incarnation: Incarnation,
    /// What about it.
    pub what: Flowed,
}

/// What has become of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flowed {
    /// Nothing of it is on its way any more, and nobody holds it.
    Released,
    /// A rule stopped it.
    Halted(Fault),
    /// It goes on.
    Going,
    /// It is let go by who copied it, up to this offset of the source.
    Ends(Offset),
    /// It drains and has all that the source has, looked at twice; or no longer.
    Level(bool),
    /// It is sealed and nobody holds it.
    IsSealed(Sealed),
    /// It has no leader at the destination to seal at, and nothing of it is on its way.
    Leaderless,
}

/// How the source of a link answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It does, as this cluster.
    Available(ClusterId),
    /// Too often in a row it did not.
    Unavailable(Fault),
    /// It must not be gone on with: a refused login, the destination itself.
    Failed(Fault),
    /// Another cluster answers where one of the link's did.
    OtherCluster {
        /// Which of them.
        side: Side,
        /// The id of the link's.
        was: ClusterId,
        /// The id that answers.
        is: ClusterId,
    },
}
