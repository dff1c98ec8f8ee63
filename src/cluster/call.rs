//! One question over a control connection: encode, send, await, check the shape, decode.
//!
//! It never repeats a request that changes something and may have been applied.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use kafka_protocol::protocol::Decodable;
use kafka_protocol::protocol::Encodable;
use kafka_protocol::protocol::Request;
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::cluster::SizeMax;
use crate::cluster::Target;
use crate::cluster::backoff::Backoff;
use crate::cluster::conn::Answer;
use crate::cluster::conn::Conn;
use crate::cluster::count;
use crate::cluster::error::ClusterError;
use crate::cluster::error::Kind;
use crate::cluster::error::Peer;
use crate::cluster::error::Result;
use crate::cluster::pool::ANY_ASKS_MAX;
use crate::ids::PartitionId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::wire::error::Remedy;
use crate::wire::error::WireError;
use crate::wire::shape;
use crate::wire::shape::Size;
use crate::wire::versions::ApiKey;

/// How often a question is asked at most, each time on a fresh connection.
const ASK_TRIES_MAX: u32 = 3;

/// A failed try.
struct Failed {
    error: ClusterError,
    /// The whole request had left us.
    may_be_applied: bool,
}

impl From<ClusterError> for Failed {
    fn from(error: ClusterError) -> Failed {
        Failed { error, may_be_applied: false }
    }
}

impl Cluster {
    /// Asks over the target's control connection, one question at a time.
    pub(super) async fn ask<R: Request>(&self, target: Target, request: &R) -> Result<R::Response> {
        self.ask_as::<R, &R>(target, |_| request).await
    }

    /// The same where a request looks otherwise in other versions: `make` is told the one that is
    /// spoken.
    pub(super) async fn ask_as<R: Request, B: Borrow<R>>(
        &self,
        mut target: Target,
        make: impl Fn(i16) -> B,
    ) -> Result<R::Response> {
        let api = api_of::<R>();
        let mut backoff = Backoff::new(self.options.retry_pause, self.options.retry_pause_max);
        let mut tries = 1;
        loop {
            let failed = match self.try_ask::<R, B>(target, api, &make).await {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            if failed.may_be_applied && changes(api) {
                return Err(failed.error.into_unknown());
            }
            if tries == ASK_TRIES_MAX || !another_try_helps(&failed.error) {
                return Err(failed.error);
            }
            tries += 1;
            if let Target::Further(broker, _) = target {
                // there may be no further connection: the first one is as good
                target = Target::Broker(broker);
            }
            sleep(self.pause(&mut backoff)).await;
        }
    }

    async fn try_ask<R: Request, B: Borrow<R>>(
        &self,
        target: Target,
        api: ApiKey,
        make: &impl Fn(i16) -> B,
    ) -> std::result::Result<R::Response, Failed> {
        self.check_halted()?;
        let broker = self.broker_of(target);
        let number = if let Target::Further(_, number) = target { number } else { 0 };
        let slot = self.pool.slot(broker, number);
        let mut slot = slot.lock().await;
        // taken out meanwhile: who gives up waiting drops the connection with the request
        let mut idle = slot.conn.take();
        if let Some(conn) = &mut idle {
            let is_alive = conn.is_alive().await;
            let is_worn = broker.is_none() && slot.asks >= ANY_ASKS_MAX;
            match is_alive {
                true if is_worn => count::given_up(self.options.side),
                true => {}
                false => self.note_idle_close(),
            }
            if !is_alive || is_worn || !conn.is_trusted() {
                idle = None;
            }
        }
        let mut conn = match idle {
            Some(conn) => conn,
            None => {
                slot.asks = 0;
                self.open_control(broker).await?
            }
        };
        let within = match self.may_take(conn.peer(), api) {
            Ok(within) => within,
            Err(error) => {
                // nothing is wrong with it
                slot.conn = Some(conn);
                return Err(error.into());
            }
        };
        let response = self.exchange::<R, B>(&mut conn, api, make, within).await?;
        slot.conn = Some(conn);
        slot.asks += 1;
        Ok(response)
    }

    /// One request and its response, alone on a connection.
    async fn exchange<R: Request, B: Borrow<R>>(
        &self,
        conn: &mut Conn,
        api: ApiKey,
        make: &impl Fn(i16) -> B,
        within: Duration,
    ) -> std::result::Result<R::Response, Failed> {
        let version = conn.version(api)?;
        let body = encode(conn.peer(), api, version, make(version).borrow())?;
        let deadline = Instant::now() + within;
        let correlation = conn.send(api, version, [body], deadline)?;
        let answer = conn.turn().await.map_err(|error| {
            let may_be_applied = conn.may_be_applied(correlation);
            Failed { error, may_be_applied }
        })?;
        let decoded = decode::<R::Response>(conn.peer(), answer, &self.options.size_max);
        decoded.map_err(|error| Failed { error, may_be_applied: true })
    }

    /// The same for a connection that is being opened.
    pub(super) async fn exchange_first<R: Request>(
        &self,
        conn: &mut Conn,
        request: &R,
    ) -> Result<R::Response> {
        self.exchange_on(conn, request, self.options.request_timeout).await
    }

    /// One request and its response on somebody's own connection, which waits so long for it.
    pub(super) async fn exchange_on<R: Request>(
        &self,
        conn: &mut Conn,
        request: &R,
        within: Duration,
    ) -> Result<R::Response> {
        let exchanged = self.exchange::<R, &R>(conn, api_of::<R>(), &|_| request, within).await;
        exchanged.map_err(|failed| failed.error)
    }

    /// For how long an answer is waited for: what changes something is given up with the lease.
    fn may_take(&self, peer: &Peer, api: ApiKey) -> Result<Duration> {
        let within = self.options.request_timeout;
        match self.lease.get() {
            Some(lease) if changes(api) => {
                let left = lease.left();
                let over = || ClusterError::new(peer, api.name(), Kind::LeaseIsOver);
                left.map(|left| left.min(within)).ok_or_else(over)
            }
            _ => Ok(within),
        }
    }
}

/// Whether a request changes something at the broker.
fn changes(api: ApiKey) -> bool {
    use ApiKey::*;
    matches!(
        api,
        Produce
            | CreateTopics
            | DeleteTopics
            | CreatePartitions
            | IncrementalAlterConfigs
            | CreateAcls
            | DeleteAcls
            | DeleteRecords
            | OffsetCommit
            | AlterShareGroupOffsets
    )
}

/// A broker that did not answer in time will not do better at once; a broken connection may.
fn another_try_helps(error: &ClusterError) -> bool {
    error.remedy() == Remedy::Redial && !matches!(error.kind, Kind::Deadline(_))
}

fn api_of<R: Request>() -> ApiKey {
    let api = ApiKey::all().find(|api| api.key() == R::KEY);
    api.expect("every request type used in this room has a row in wire::versions")
}

fn encode(peer: &Peer, api: ApiKey, version: i16, request: &impl Encodable) -> Result<Bytes> {
    let mut body = BytesMut::new();
    let encoded = request.encode(&mut body, version);
    encoded.map_err(|_| ClusterError::own(peer, api.name(), &format!("version {version}")))?;
    Ok(body.freeze())
}

fn decode<R: Decodable>(peer: &Peer, answer: Answer, max: &SizeMax) -> Result<R> {
    let Answer { api, version, mut body, .. } = answer;
    let wrong = |error: WireError| ClusterError::new(peer, api.name(), error);
    let size = shape::measure(api, version, &body).map_err(wrong)?;
    check_size(&size, max).map_err(|kind| ClusterError::new(peer, api.name(), kind))?;
    R::decode(&mut body, version).map_err(|_| wrong(WireError::Undecodable { version }))
}

/// Before anything is built of it: a cluster may claim to be of any size.
fn check_size(size: &Size, max: &SizeMax) -> std::result::Result<(), Kind> {
    let each = [
        ("brokers", size.brokers, max.brokers, "metadata.brokers.max"),
        ("topics", size.topics, max.topics, "metadata.topics.max"),
        ("partitions", size.partitions, max.partitions, "metadata.partitions.max"),
    ];
    let over = each.into_iter().find(|(_, told, max, _)| told > max);
    over.map_or(Ok(()), |(what, told, max, setting)| {
        Err(Kind::TooMany { what, told, max, setting })
    })
}

/// Text in the message library's own type.
pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Rows gathered by topic, as requests want them.
pub(super) fn by_topic<'a, T>(
    rows: impl Iterator<Item = (&'a TopicPartition, T)>,
) -> BTreeMap<&'a str, Vec<T>> {
    let mut topics: BTreeMap<&str, Vec<T>> = BTreeMap::new();
    rows.for_each(|(tp, row)| topics.entry(tp.topic.as_str()).or_default().push(row));
    topics
}

/// The partition an answer speaks of; `None` for a name that cannot have been asked.
pub(super) fn partition_of(topic: &str, partition: PartitionId) -> Option<TopicPartition> {
    Some(TopicPartition { topic: TopicName::new(topic)?, partition })
}
