//! One fetch of one partition over a connection: for those who look at a log and do not follow it.
//!
//! It never opens a fetch session and never cuts batches: the records come as the broker sent them.

use bytes::BytesMut;
use tokio::time::Instant;

use crate::cluster::conn::Conn;
use crate::cluster::error::ClusterError;
use crate::cluster::error::Result;
use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::TopicId;
use crate::ids::TopicPartition;
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

impl Conn {
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
        let version = if by_id { version } else { version.min(IDS_FROM - 1) };
        let mut body = BytesMut::new();
        let encoded = ask.encode(version, &mut body);
        encoded.map_err(|error| ClusterError::own(self.peer(), ApiKey::Fetch.name(), &error))?;
        self.send(ApiKey::Fetch, version, [body.freeze()], deadline).map(drop)
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

    fn refused_read(&self, code: crate::wire::error::KafkaCode) -> ClusterError {
        let kind = crate::cluster::error::Kind::Refused { code, message: None };
        ClusterError::new(self.peer(), ApiKey::Fetch.name(), kind)
    }
}
