//! What a link could not do for a topic, or found wrong with what it is to mirror.
//!
//! It never decides what follows from it: who shows it does.

use crate::control::task::TaskName;
use crate::ids::Side;
use crate::ids::TopicName;

/// Which trouble; the word for API and metric follows from it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A name of `mirror.topics` that the source does not have.
    NotFound,
    /// A prefix of `mirror.topics` that matches no topic of the source.
    MatchesNothing,
    /// A topic that was mirrored is missing at that side; it halts when it stays so.
    Missing(Side),
    /// We may not see it.
    Hidden,
    /// It could not be made, grown, described or begun.
    Refused,
    /// All of it is halted, for the reason with this label.
    Halted(&'static str),
    /// The destination has more partitions of it than the source.
    Surplus,
    /// Its mirror at the source was reversed, and it is not the mirror of that yet.
    Reversed,
    /// The journal is not there, or cannot be read.
    Journal,
    /// Its log start, or a config that it is owed, does not follow the source's.
    LogStart,
    /// What a task of the link takes over beside records does not follow the source's.
    NotSynced(TaskName),
}

impl Kind {
    /// The bounded word for API and metric.
    pub fn label(self) -> &'static str {
        match self {
            Kind::NotFound => "SOURCE_TOPIC_NOT_FOUND",
            Kind::MatchesNothing => "PATTERN_MATCHES_NOTHING",
            Kind::Missing(Side::Source) => "SOURCE_TOPIC_MISSING",
            Kind::Missing(Side::Destination) => "DESTINATION_TOPIC_MISSING",
            Kind::Hidden => "TOPIC_AUTHORIZATION_FAILED",
            Kind::Refused | Kind::NotSynced(TaskName::AutoCreateMirror) => "TOPIC_REFUSED",
            Kind::Halted(label) => label,
            Kind::Surplus => "DESTINATION_PARTITIONS_SURPLUS",
            Kind::Reversed => "REVERSED_NOT_TAKEN",
            Kind::Journal => "JOURNAL_MISSING",
            Kind::LogStart | Kind::NotSynced(TaskName::LogStartSync) => "LOG_START_BEHIND",
            Kind::NotSynced(TaskName::AclSync) => "ACLS_NOT_SYNCED",
            Kind::NotSynced(TaskName::ConsumerOffsetSync) => "CONSUMER_OFFSETS_NOT_SYNCED",
            Kind::NotSynced(TaskName::TopicConfigsSync) => "TOPIC_CONFIGS_NOT_SYNCED",
        }
    }

    /// Whether something that is wanted is not copied because of it.
    pub fn stops_copying(self) -> bool {
        !matches!(self, Kind::Surplus | Kind::LogStart | Kind::NotSynced(_))
    }
}

/// One of them, for people; it is looked at again in the next pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The topic, or the pattern as it is written in `mirror.topics`; of consumer groups whose
    /// offsets are not synced the group, or what kept it from that.
    pub subject: String,
    /// Which trouble.
    pub kind: Kind,
    /// What went wrong, and what to do.
    pub text: String,
}

impl Trouble {
    /// Trouble with a topic.
    pub fn new(topic: &TopicName, kind: Kind, text: impl Into<String>) -> Trouble {
        Trouble { subject: topic.to_string(), kind, text: text.into() }
    }
}

/// A topic that was mirrored is missing at that side; not yet for so long that it halts.
pub fn missing(name: &TopicName, side: Side) -> Trouble {
    let text = format!(
        "the {side} does not list it, though it was mirrored: it is looked for again, and halts \
         when it stays away"
    );
    Trouble::new(name, Kind::Missing(side), text)
}

/// The destination topic has partitions that nothing is copied into.
pub fn surplus(name: &TopicName, ours: i32, theirs: i32) -> Trouble {
    let text = format!(
        "the destination has {theirs} partitions of it, the source {ours}: those that both have \
         are copied; producers that come to the destination would use all {theirs}: grow the \
         source, or begin the copy anew (docs/OPERATING.md)"
    );
    Trouble::new(name, Kind::Surplus, text)
}
