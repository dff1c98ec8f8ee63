//! One fetch of one partition over a connection: for those who look at a log and do not follow it;
//! and one of many, to learn which replicas their leader would rather see read (KIP-392).
//!
//! It never opens a fetch session and never cuts batches: the records come as the broker sent them.

use std::collections::BTreeMap;

use bytes::BytesMut;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::cluster::Use;
use crate::cluster::conn::Conn;
use crate::cluster::error::ClusterError;
use crate::cluster::error::Result;
use crate::ids::BrokerId;
use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TopicId;
use crate::ids::TopicPartition;
use crate::wire::error::KafkaCode;
use crate::wire::error::WireError;
use crate::wire::fetch::FetchAnswer;
use crate::wire::fetch::FetchAsk;
use crate::wire::fetch::FetchAskPartition;
use crate::wire::fetch::FetchSession;
use crate::wire::fetch::FetchedPartition;
use crate::wire::fetch::IDS_FROM;
use crate::wire::fetch::Isolation;
use crate::wire::topic::TopicRef;
use crate::wire::versions::ApiKey;

/// What one fetch asks for.
#[derive(Clone, Debug)]
pub struct Read<'a> {
    /// The partition, by name.
    pub tp: &'a TopicPartition,
    /// The topic's id, with which a fetch names it where the broker takes ids; `NIL` for none.
    pub topic: TopicId,
    /// Who is believed to lead; `NONE` not to ask.
    pub epoch: LeaderEpoch,
    /// The first offset wanted.
    pub offset: Offset,
    /// Which records.
    pub isolation: Isolation,
    /// No more bytes than that, but for one batch.
    pub bytes_max: i32,
    /// For how long the broker may wait for the first byte, in ms.
    pub wait_ms_max: i32,
}

/// One partition, of which its leader is asked whom it would rather see read.
#[derive(Clone, Debug)]
pub struct Whose {
    /// The partition, by name.
    pub tp: TopicPartition,
    /// The topic's id; `NIL` for none.
    pub topic: TopicId,
    /// Who is believed to lead.
    pub epoch: LeaderEpoch,
    /// From where it will be read: a replica that has not come so far is not named.
    pub offset: Offset,
}

/// The replica that each leader named, or none; a code where it does not lead, or knows less.
pub type EachReplica = BTreeMap<TopicPartition, std::result::Result<Option<BrokerId>, KafkaCode>>;

/// The largest answer of that: where no other replica is named, it has one batch.
const NAMED_FRAME_BYTES_MAX: usize = 100 << 20;

impl Cluster {
    /// Asks a leader from which replica a client in `client.rack` had better read each of these;
    /// one that a throttled or short answer left out is not in it.
    pub async fn preferred_replicas(
        &self,
        leader: BrokerId,
        asked: &[Whose],
    ) -> Result<EachReplica> {
        let purpose = Use::Look { frame_bytes_max: NAMED_FRAME_BYTES_MAX };
        let mut conn = self.open(leader, purpose).await?;
        let deadline = Instant::now() + self.options().request_timeout;
        let named = conn.ask_whose(asked, &self.options().rack, deadline)?;
        let answer = conn.turn().await?;
        let failed = |error| ClusterError::new(conn.peer(), ApiKey::Fetch.name(), error);
        let answer = FetchAnswer::decode(answer.body, answer.version).map_err(failed)?;
        if !answer.code.is_none() {
            return Err(conn.refused_read(answer.code));
        }
        conn.close();
        let told = answer.partitions.into_iter().filter_map(|one| {
            let tp = named.get(&(one.topic, one.partition))?.clone();
            let replica = one.preferred_replica;
            Some((tp, if one.code.is_none() { Ok(replica) } else { Err(one.code) }))
        });
        Ok(told.collect())
    }
}

impl Conn {
    /// Queues the question; how each partition is named in it.
    fn ask_whose(
        &mut self,
        asked: &[Whose],
        rack: &str,
        deadline: Instant,
    ) -> Result<BTreeMap<(TopicRef, PartitionId), TopicPartition>> {
        let version = self.version(ApiKey::Fetch)?;
        let by_id = version >= IDS_FROM && asked.iter().all(|one| one.topic != TopicId::NIL);
        let name = |one: &Whose| match by_id {
            true => TopicRef::Id(one.topic),
            false => TopicRef::Name(one.tp.topic.clone()),
        };
        let place = |one: &Whose| FetchAskPartition {
            topic: name(one),
            partition: one.tp.partition,
            leader_epoch: one.epoch,
            offset: one.offset,
            last_epoch: LeaderEpoch::NONE,
            bytes_max: 1,
        };
        let ask = FetchAsk {
            session: FetchSession::NONE,
            wait_ms_max: 0,
            bytes_min: 1,
            bytes_max: 1,
            isolation: Isolation::ReadUncommitted,
            partitions: asked.iter().map(place).collect(),
            forgotten: Vec::new(),
            rack: rack.to_owned(),
        };
        self.send_fetch(&ask, by_id, version, deadline)?;
        let named = asked.iter().map(|one| ((name(one), one.tp.partition), one.tp.clone()));
        Ok(named.collect())
    }

    fn send_fetch(
        &mut self,
        ask: &FetchAsk,
        by_id: bool,
        version: i16,
        deadline: Instant,
    ) -> Result<()> {
        let version = if by_id { version } else { version.min(IDS_FROM - 1) };
        let mut body = BytesMut::new();
        let encoded = ask.encode(version, &mut body);
        encoded.map_err(|error| ClusterError::own(self.peer(), ApiKey::Fetch.name(), &error))?;
        self.send(ApiKey::Fetch, version, [body.freeze()], deadline).map(drop)
    }

    /// Queues the fetch; the answer must be here by the deadline.
    pub fn ask_read(&mut self, read: &Read<'_>, deadline: Instant) -> Result<()> {
        let version = self.version(ApiKey::Fetch)?;
        let by_id = version >= IDS_FROM && read.topic != TopicId::NIL;
        let topic = match by_id {
            true => TopicRef::Id(read.topic),
            false => TopicRef::Name(read.tp.topic.clone()),
        };
        let ask = FetchAsk {
            session: FetchSession::NONE,
            wait_ms_max: read.wait_ms_max,
            bytes_min: 1,
            bytes_max: read.bytes_max,
            isolation: read.isolation,
            partitions: vec![FetchAskPartition {
                topic,
                partition: read.tp.partition,
                leader_epoch: read.epoch,
                offset: read.offset,
                last_epoch: LeaderEpoch::NONE,
                bytes_max: read.bytes_max,
            }],
            forgotten: Vec::new(),
            rack: String::new(),
        };
        self.send_fetch(&ask, by_id, version, deadline)
    }

    /// Waits for the answer of the oldest `ask_read`; its code is the request's where that failed
    /// as a whole.
    pub async fn take_read(&mut self) -> Result<FetchedPartition> {
        Ok(self.take_read_throttled().await?.0)
    }

    /// The same, and for how many ms the broker throttles us: a throttled answer is empty.
    pub async fn take_read_throttled(&mut self) -> Result<(FetchedPartition, u32)> {
        let answer = self.turn().await?;
        let failed = |error| ClusterError::new(self.peer(), ApiKey::Fetch.name(), error);
        let answer = FetchAnswer::decode(answer.body, answer.version).map_err(failed)?;
        let (code, throttle_ms) = (answer.code, answer.throttle_ms);
        let missing = WireError::Truncated { what: "fetched partitions", need: 1, have: 0 };
        let mut one = match answer.partitions.into_iter().next() {
            Some(one) => one,
            None if code.is_none() => return Err(failed(missing)),
            None => return Err(self.refused_read(code)),
        };
        if !code.is_none() {
            one.code = code;
        }
        Ok((one, throttle_ms))
    }

    fn refused_read(&self, code: KafkaCode) -> ClusterError {
        let kind = crate::cluster::error::Kind::Refused { code, message: None };
        ClusterError::new(self.peer(), ApiKey::Fetch.name(), kind)
    }
}
