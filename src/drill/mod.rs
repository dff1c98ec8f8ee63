//! The drill's hands: a canary topic at both ends of a link, made, written, read and removed.
//!
//! It never touches a topic whose name it did not make up, and gives isolog no order: that is who
//! holds the drill.

pub mod hands;
pub mod ledger;
mod pen;
mod reading;
mod topics;

use crate::audit::LinkOptions;
use crate::audit::log::cursor::Unreadable;
use crate::audit::log::reader::ReadError;
use crate::cluster::error::ClusterError;
use crate::ids::Offset;
use crate::ids::Side;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::wire::error::KafkaCode;

/// How the name of every canary begins at the source.
pub const PREFIX: &str = "isolog-drill-";
/// How many partitions a canary has at most.
pub const PARTITIONS_MAX: u16 = 64;
/// How many records it has at most, at the source.
pub const RECORDS_MAX: u32 = 100_000;

/// Why a canary could not be made, written, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// A cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A log.
    #[error("the canary cannot be read: {0}")]
    Read(#[from] ReadError),
    /// A batch.
    #[error("the canary cannot be read at the {side}: {error}")]
    Unreadable {
        /// Where.
        side: Side,
        /// What is wrong with it.
        error: Unreadable,
    },
    /// A broker says no.
    #[error("the {side} refuses {what} topic {topic}: {code}{message}; {cure}")]
    Refused {
        /// Where.
        side: Side,
        /// To do what, with its article or preposition.
        what: &'static str,
        /// The canary.
        topic: TopicName,
        /// Its answer.
        code: KafkaCode,
        /// What it says beside.
        message: String,
        /// What to do.
        cure: &'static str,
    },
    /// Somebody else writes into the canary.
    #[error(
        "{tp}: the {side} put a record at offset {got} that was to lie at {expected}: somebody \
             else writes into the canary"
    )]
    Moved {
        /// Where.
        side: Side,
        /// The partition.
        tp: TopicPartition,
        /// Where it was to lie.
        expected: Offset,
        /// Where it lies.
        got: Offset,
    },
    /// The topic is still shown, after it was deleted.
    #[error("topic {topic} is deleted and the {side} still shows it")]
    Lingers {
        /// Where.
        side: Side,
        /// The canary.
        topic: TopicName,
    },
    /// The topic is there and may not be looked at.
    #[error("the {side} does not say what it has of topic {topic}: {why}")]
    Hidden {
        /// Where.
        side: Side,
        /// The canary.
        topic: TopicName,
        /// Its answer.
        why: String,
    },
}

/// The topic that a drill makes up, and its mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// At the source.
    pub source: TopicName,
    /// At the destination.
    pub mirror: TopicName,
    /// How many partitions.
    pub partitions: u16,
}

impl Canary {
    /// One that nobody else has: named after a time in ms since 1970, and at the destination as the
    /// link names its mirrors. `None` where such a mirror would have no name that is one.
    pub fn of(link: &LinkOptions, since_1970_ms: u128, partitions: u16) -> Option<Canary> {
        let source = TopicName::new(&format!("{PREFIX}{since_1970_ms}"))?;
        let mirror = link.rename.mirror_of(&source)?;
        Some(Canary { source, mirror, partitions })
    }

    /// Its name at that side.
    pub fn at(&self, side: Side) -> &TopicName {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.mirror,
        }
    }
}
