//! The fetches of one lane: which partitions, from where, and the session that remembers both.
//!
//! It never has two fetches under way and never looks into a batch.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;

use crate::flow::lane::members::Members;
use crate::ids::LeaderEpoch;
use crate::ids::PartitionId;
use crate::mirror::facts::FetchFrom;
use crate::wire::error::KafkaCode;
use crate::wire::fetch::FetchAnswer;
use crate::wire::fetch::FetchAsk;
use crate::wire::fetch::FetchAskPartition;
use crate::wire::fetch::FetchSession;
use crate::wire::fetch::Isolation;
use crate::wire::topic::AskError;
use crate::wire::topic::TopicRef;

/// The largest answer that is read: a batch may be larger than what was asked for.
pub const FRAME_BYTES_MAX: usize = 100 << 20;

/// The bounds of a fetch.
#[derive(Copy, Clone, Debug)]
pub struct Bounds {
    /// `replica.fetch.min.bytes`.
    pub bytes_min: i32,
    /// `replica.fetch.wait.max.ms`.
    pub wait_max: Duration,
    /// Which records.
    pub isolation: Isolation,
}

/// What the source's broker remembers for us (KIP-227): partitions and positions as last sent.
#[derive(Debug)]
pub struct Fetcher {
    bounds: Bounds,
    session: FetchSession,
    known: BTreeMap<(TopicRef, PartitionId), (FetchFrom, LeaderEpoch)>,
    /// Whether a fetch is under way.
    pub under_way: bool,
}

impl Fetcher {
    /// Without a session yet.
    pub fn new(bounds: Bounds) -> Fetcher {
        Fetcher { bounds, session: FetchSession::OPEN, known: BTreeMap::new(), under_way: false }
    }

    /// The next fetch for all members that can take something, if any can; at most `bytes_max`.
    pub fn poll(
        &mut self,
        members: &Members,
        version: i16,
        bytes_max: usize,
    ) -> Result<Option<Bytes>, AskError> {
        let wanted: BTreeMap<_, _> = members
            .iter()
            .filter_map(|(_, member)| {
                let from = member.mirror.poll_fetch()?;
                Some((members.source_of(member), (from, member.source_epoch)))
            })
            .collect();
        if wanted.is_empty() {
            return Ok(None);
        }
        let is_full = self.session.id == 0;
        let changed =
            wanted.iter().filter(|(at, from)| is_full || self.known.get(at) != Some(from));
        let partitions = changed.map(|(at, from)| partition(at, from)).collect();
        let forgotten = if is_full {
            Vec::new()
        } else {
            self.known.keys().filter(|at| !wanted.contains_key(at)).cloned().collect()
        };
        let ask = FetchAsk {
            session: self.session,
            wait_ms_max: i32::try_from(self.bounds.wait_max.as_millis()).unwrap_or(i32::MAX),
            bytes_min: self.bounds.bytes_min,
            bytes_max: i32::try_from(bytes_max).unwrap_or(i32::MAX),
            isolation: self.bounds.isolation,
            partitions,
            forgotten,
            rack: String::new(),
        };
        let mut body = BytesMut::new();
        ask.encode(version, &mut body)?;
        self.known = wanted;
        self.under_way = true;
        Ok(Some(body.freeze()))
    }

    /// The partitions of the last fetch, and what it asked of each.
    pub fn asked(&self) -> impl Iterator<Item = (&(TopicRef, PartitionId), FetchFrom)> {
        self.known.iter().map(|(at, (from, _))| (at, *from))
    }

    /// What the last fetch asked of a partition, if it did.
    pub fn asked_of(&self, topic: &TopicRef, partition: PartitionId) -> Option<FetchFrom> {
        self.known.get(&(topic.clone(), partition)).map(|(from, _)| *from)
    }

    /// An answer came; `false` when its session is of no more use and it brings nothing.
    pub fn handle_answer(&mut self, answer: &FetchAnswer) -> bool {
        self.under_way = false;
        if !answer.code.is_none() {
            self.restart();
            return false;
        }
        // A broker without a free slot gives no session: every fetch is a full one then.
        self.session = match answer.session_id {
            0 => FetchSession::OPEN,
            id => self.session.next(id),
        };
        true
    }

    /// Whether the code only says that the session is gone.
    pub fn is_about_the_session(code: KafkaCode) -> bool {
        matches!(code, KafkaCode(70 | 71 | 106))
    }

    /// The next fetch opens a session: the old one went with its connection.
    pub fn restart(&mut self) {
        self.session = FetchSession::OPEN;
        self.known.clear();
    }
}

fn partition(
    (topic, partition): &(TopicRef, PartitionId),
    (from, leader_epoch): &(FetchFrom, LeaderEpoch),
) -> FetchAskPartition {
    FetchAskPartition {
        topic: topic.clone(),
        partition: *partition,
        leader_epoch: *leader_epoch,
        offset: from.offset,
        last_epoch: from.last_epoch,
        bytes_max: i32::try_from(from.bytes_max).unwrap_or(i32::MAX),
    }
}
