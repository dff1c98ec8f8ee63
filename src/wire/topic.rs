//! What Fetch and Produce share: how a topic is named, who leads it, what cannot be asked.
//!
//! It never looks a topic up: name or id is the caller's choice, by the version it speaks.

use std::fmt;

use bytes::BufMut;
use bytes::Bytes;

use crate::ids::BrokerId;
use crate::ids::LeaderEpoch;
use crate::ids::PartitionId;
use crate::ids::TOPIC_NAME_BYTES_MAX;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::wire::error::WireError;
use crate::wire::prim::Reader;
use crate::wire::prim::put_compact_string;

/// A topic as a request names it: by id where both sides speak it, so that a topic which was
/// deleted and created again is an error and never a target (KIP-516).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicRef {
    /// Fetch up to 12, Produce up to 12.
    Name(TopicName),
    /// Fetch from 13, Produce from 13.
    Id(TopicId),
}

impl fmt::Display for TopicRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TopicRef::Name(name) => name.fmt(f),
            TopicRef::Id(id) => id.fmt(f),
        }
    }
}

/// A request that must not be sent; each is a mistake of the caller, none depends on a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Not a version that is written here.
    #[error("{api} version {version} is not spoken here")]
    Version {
        /// The request.
        api: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// Named by id in a version with names, or the other way round.
    #[error("topic {topic} is named the wrong way for {api} version {version}")]
    WrongName {
        /// The request.
        api: &'static str,
        /// The version asked for.
        version: i16,
        /// The topic.
        topic: TopicRef,
    },
    /// A broker would drop the first of the two without a word (fact P7).
    #[error("partition {partition} of {topic} stands twice in one append")]
    PartitionTwice {
        /// The topic.
        topic: TopicRef,
        /// The partition.
        partition: PartitionId,
    },
    /// A broker would refuse it, or never answer (facts P6 and P8).
    #[error("nothing to append to partition {partition} of {topic}")]
    EmptyRecords {
        /// The topic.
        topic: TopicRef,
        /// The partition.
        partition: PartitionId,
    },
}

/// One of the two requests and the version in which topics changed from names to ids.
#[derive(Copy, Clone, Debug)]
pub(super) struct Naming {
    pub api: &'static str,
    pub version: i16,
    pub ids_from: i16,
}

impl Naming {
    fn by_id(self) -> bool {
        self.version >= self.ids_from
    }

    /// Writes `topic`, or refuses it when it is named the other way.
    pub fn put(self, out: &mut impl BufMut, topic: &TopicRef) -> Result<(), AskError> {
        match topic {
            TopicRef::Name(name) if !self.by_id() => put_compact_string(out, name.as_str()),
            TopicRef::Id(id) if self.by_id() => out.put_slice(&id.0),
            _ => {
                let Naming { api, version, .. } = self;
                return Err(AskError::WrongName { api, version, topic: topic.clone() });
            }
        }
        Ok(())
    }

    /// Reads a topic.
    pub fn take(self, reader: &mut Reader) -> Result<TopicRef, WireError> {
        if self.by_id() {
            return reader.uuid("topic id").map(TopicId).map(TopicRef::Id);
        }
        let raw = reader.compact_bytes("topic name")?.unwrap_or_default();
        let max = TOPIC_NAME_BYTES_MAX as i64;
        if raw.len() > TOPIC_NAME_BYTES_MAX {
            return Err(WireError::TooLarge { what: "topic name", value: raw.len() as i64, max });
        }
        let text = std::str::from_utf8(&raw).map_err(|_| WireError::NotUtf8 { what: "topic name" });
        let bad =
            WireError::BadValue { what: "topic name of so many bytes", value: raw.len() as i64 };
        TopicName::new(text?).map(TopicRef::Name).ok_or(bad)
    }

    /// The fewest bytes that a topic takes in an answer: name or id, no partition, no tag.
    pub fn bytes_min(self) -> usize {
        if self.by_id() { 16 + 2 } else { 2 + 2 }
    }
}

/// The tagged field with which a broker tells who leads now (KIP-951); `None` when it knows not.
pub(super) fn current_leader(field: Bytes) -> Result<Option<(BrokerId, LeaderEpoch)>, WireError> {
    let mut reader = Reader::new(field);
    let broker = reader.i32("current leader")?;
    let epoch = reader.i32("current leader epoch")?;
    reader.skip_tagged()?;
    reader.finish("current leader")?;
    Ok((broker >= 0).then_some((BrokerId(broker), LeaderEpoch(epoch))))
}
