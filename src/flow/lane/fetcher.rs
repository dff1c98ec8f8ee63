//! The fetches of one inlet of a lane: which partitions, from where, and the session that remembers
//! both.
//!
//! It never has two fetches under way and never looks into a batch.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;

use crate::flow::lane::members::Address;
use crate::flow::lane::members::Members;
use crate::flow::lane::members::Wanted;
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
    /// Whose fetches.
    inlet: usize,
    bounds: Bounds,
    session: FetchSession,
    known: BTreeMap<Address, Wanted>,
    /// Whether a fetch is under way.
    pub under_way: bool,
}

impl Fetcher {
    /// Of that inlet, without a session yet.
    pub fn new(inlet: usize, bounds: Bounds) -> Fetcher {
        Fetcher {
            inlet,
            bounds,
            session: FetchSession::OPEN,
            known: BTreeMap::new(),
            under_way: false,
        }
    }

    /// The next fetch for all members that can take something, if any can; at most `bytes_max`.
    pub fn poll(
        &mut self,
        members: &mut Members,
        version: i16,
        bytes_max: usize,
    ) -> Result<Option<Bytes>, AskError> {
        if members.wanted(self.inlet).is_empty() {
            return Ok(None);
        }
        let (partitions, forgotten) = match self.session.id {
            0 => (self.know_all(members), Vec::new()),
            _ => self.know_changed(members),
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
        self.under_way = true;
        Ok(Some(body.freeze()))
    }

    /// Whom a broker without a session is told: all.
    fn know_all(&mut self, members: &mut Members) -> Vec<FetchAskPartition> {
        members.take_rewanted(self.inlet);
        self.known.clone_from(members.wanted(self.inlet));
        self.known.iter().map(partition).collect()
    }

    /// Whom the broker is told that remembers the others: those that it is to be asked for in
    /// another way, and those no more.
    fn know_changed(&mut self, members: &mut Members) -> (Vec<FetchAskPartition>, Vec<Address>) {
        let (mut partitions, mut forgotten) = (Vec::new(), Vec::new());
        for at in members.take_rewanted(self.inlet) {
            match members.wanted(self.inlet).get(&at) {
                Some(wanted) => {
                    let before = self.known.insert(at.clone(), wanted.clone());
                    if before.is_none_or(|before| !before.asks_the_same(wanted)) {
                        partitions.push(partition((&at, wanted)));
                    }
                }
                None if self.known.remove(&at).is_some() => forgotten.push(at),
                None => {}
            }
        }
        (partitions, forgotten)
    }

    /// The partitions of the last fetch, and what it asked of each.
    pub fn asked(&self) -> impl Iterator<Item = (&Address, &Wanted)> {
        self.known.iter()
    }

    /// What the last fetch asked of a partition, if it did.
    pub fn asked_of(&self, topic: &TopicRef, partition: PartitionId) -> Option<FetchFrom> {
        self.known.get(&(topic.clone(), partition)).map(|wanted| wanted.from)
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

fn partition(((topic, partition), wanted): (&Address, &Wanted)) -> FetchAskPartition {
    let from = wanted.from;
    FetchAskPartition {
        topic: topic.clone(),
        partition: *partition,
        leader_epoch: wanted.source_epoch,
        offset: from.offset,
        last_epoch: from.last_epoch,
        bytes_max: i32::try_from(from.bytes_max).unwrap_or(i32::MAX),
    }
}
