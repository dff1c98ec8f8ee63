//! Reads one partition of one cluster from an offset to a fixed end, one fetch ahead.
//!
//! It never reads beyond its end and never gives up at a moved leader; a log that no longer holds
//! what it reads is told as such.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;

use crate::audit::log::cursor::Portion;
use crate::cluster::Cluster;
use crate::cluster::Use;
use crate::cluster::Wanted;
use crate::cluster::conn::Conn;
use crate::cluster::conn::read::Read;
use crate::cluster::error::ClusterError;
use crate::ids::BrokerId;
use crate::ids::Offset;
use crate::ids::Side;
use crate::ids::TopicId;
use crate::ids::TopicPartition;
use crate::wire::error::KafkaCode;
use crate::wire::error::Remedy;
use crate::wire::error::WireError;
use crate::wire::fetch::FetchedPartition;
use crate::wire::fetch::IDS_FROM;
use crate::wire::fetch::Isolation;
use crate::wire::split::Piece;
use crate::wire::split::split;
use crate::wire::versions::ApiKey;

/// OFFSET_OUT_OF_RANGE.
const OUT_OF_RANGE: KafkaCode = KafkaCode(1);
/// The largest answer that is read: a batch may be as large as a broker takes a request.
const FRAME_BYTES_MAX: usize = 101 << 20;
/// Answers of one connection that are alive at once: one compared, one read, one to spare.
const SLABS: usize = 3;
/// For how long a broker may wait for the first byte.
const WAIT_MS_MAX: i32 = 500;
/// How often in a row a read is tried.
const TRIES_MAX: u32 = 40;
/// The pause between two tries.
const TRY_PAUSE: Duration = Duration::from_millis(250);

/// Why a partition cannot be read on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The partition's leader refuses.
    #[error("the {side} refuses to be read: {code}")]
    Refused {
        /// Which.
        side: Side,
        /// Its answer.
        code: KafkaCode,
    },
    /// The offsets are not there any more.
    #[error("the {side} has no offset {at} any more")]
    Gone {
        /// Which.
        side: Side,
        /// What was to be read.
        at: Offset,
    },
    /// Its leader gave no connection for reading so often that nobody dials it any more.
    #[error(
        "broker {broker} at the {side} gives no further connection for reading: see that \
         max.connections.per.ip and max.connections there allow for a few more from here"
    )]
    GivenUp {
        /// Which.
        side: Side,
        /// The broker.
        broker: BrokerId,
    },
    /// Nobody leads the partition.
    #[error("the {side} has no leader for the partition")]
    NoLeader {
        /// Which.
        side: Side,
    },
    /// The log ends below where it ended before.
    #[error("the {side} shows nothing at {at}, below its own end")]
    Nothing {
        /// Which.
        side: Side,
        /// What was to be read.
        at: Offset,
    },
    /// The topic was deleted and made anew meanwhile.
    #[error("the {side} topic was made anew meanwhile")]
    Recreated {
        /// Which.
        side: Side,
    },
    /// What came is no log.
    #[error("the {side} sends what is no batch behind {at}: {error}")]
    Malformed {
        /// Which.
        side: Side,
        /// Where.
        at: Offset,
        /// What is wrong.
        error: WireError,
    },
}

impl ReadError {
    /// Whether another try may help.
    fn may_pass(&self) -> bool {
        let passes = |remedy| !matches!(remedy, Remedy::Halt | Remedy::Reauth);
        match self {
            ReadError::Cluster(error) => passes(error.remedy()),
            ReadError::Refused { code, .. } => passes(code.remedy()),
            ReadError::NoLeader { .. } | ReadError::Nothing { .. } => true,
            _ => false,
        }
    }
}

/// What is read.
#[derive(Clone, Debug)]
pub struct Range {
    /// The partition.
    pub tp: TopicPartition,
    /// The topic's id.
    pub topic: TopicId,
    /// Which records.
    pub isolation: Isolation,
    /// The first offset.
    pub from: Offset,
    /// Behind the last one.
    pub end: Offset,
}

/// How often in a row a broker may refuse a connection before it is given up.
const DIALS_MAX: u32 = 5;

/// How the brokers of a cluster take to being dialled; several workers share it.
#[derive(Clone, Debug, Default)]
pub struct Dialled(Arc<Mutex<BTreeMap<BrokerId, Dials>>>);

#[derive(Copy, Clone, Debug, Default)]
struct Dials {
    failed_in_a_row: u32,
    has_opened: bool,
    is_told: bool,
}

impl Dialled {
    fn with<T>(&self, broker: BrokerId, change: impl FnOnce(&mut Dials) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry(broker).or_default())
    }

    fn is_given_up(&self, broker: BrokerId) -> bool {
        self.with(broker, |one| one.failed_in_a_row >= DIALS_MAX)
    }

    fn note(&self, broker: BrokerId, is_open: bool) {
        self.with(broker, |one| {
            one.has_opened |= is_open;
            one.failed_in_a_row = if is_open { 0 } else { one.failed_in_a_row.saturating_add(1) };
        });
    }

    /// Whether somebody got a connection: who has it goes on.
    pub fn has_opened(&self, broker: BrokerId) -> bool {
        self.with(broker, |one| one.has_opened)
    }

    /// Whether nobody was told yet that it is given up; now somebody is.
    pub fn is_news(&self, broker: BrokerId) -> bool {
        self.with(broker, |one| !std::mem::replace(&mut one.is_told, true))
    }
}

/// The connections of one worker to one cluster.
pub struct Lines<'a> {
    cluster: &'a Cluster,
    /// Where brokers that give no connection are given up; else they are tried to the end.
    dialled: Option<Dialled>,
    bytes_max: i32,
    /// Whether the next portion is asked for before this one is used.
    is_ahead: bool,
    idle: BTreeMap<BrokerId, Conn>,
}

impl<'a> Lines<'a> {
    /// No connection yet; each fetch will ask for so many bytes.
    pub fn new(cluster: &'a Cluster, bytes_max: i32) -> Lines<'a> {
        Lines { cluster, bytes_max, is_ahead: true, idle: BTreeMap::new(), dialled: None }
    }

    /// The same for those who take a look here and there: nothing is asked for ahead.
    pub fn for_looks(cluster: &'a Cluster, bytes_max: i32) -> Lines<'a> {
        Lines { is_ahead: false, ..Lines::new(cluster, bytes_max) }
    }

    /// The same, giving brokers up that give no connection, for all who share `dialled`.
    pub fn giving_up(self, dialled: &Dialled) -> Lines<'a> {
        Lines { dialled: Some(dialled.clone()), ..self }
    }

    /// Whether the broker was given up and no connection to it is left.
    fn has_given_up(&self, broker: BrokerId) -> bool {
        let is_given_up = |dialled: &Dialled| dialled.is_given_up(broker);
        self.dialled.as_ref().is_some_and(is_given_up) && !self.idle.contains_key(&broker)
    }

    /// The cluster they lead to.
    pub fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    async fn take(&mut self, broker: BrokerId) -> Result<Conn, ReadError> {
        if let Some(mut conn) = self.idle.remove(&broker)
            && conn.is_alive().await
        {
            return Ok(conn);
        }
        let (frame_bytes_max, kept_bytes_max) = (FRAME_BYTES_MAX, FRAME_BYTES_MAX);
        let purpose = Use::Fetch { frame_bytes_max, kept_bytes_max, slabs: SLABS };
        if self.has_given_up(broker) {
            return Err(ReadError::GivenUp { side: self.cluster.side(), broker });
        }
        let opened = self.cluster.open(broker, purpose).await;
        if let Some(dialled) = &self.dialled {
            dialled.note(broker, opened.is_ok());
        }
        Ok(opened?)
    }

    /// Reads a partition.
    pub fn read(&mut self, range: Range) -> Reader<'a, '_> {
        let (at, bytes_max) = (range.from, self.bytes_max);
        Reader { lines: self, range, at, bytes_max, line: None, is_by_name: false }
    }
}

/// The next portion of one of two logs that are read beside each other.
pub async fn next_of(
    side: Side,
    source: &mut Reader<'_, '_>,
    destination: &mut Reader<'_, '_>,
) -> Result<Option<Portion>, ReadError> {
    match side {
        Side::Source => source.next().await,
        Side::Destination => destination.next().await,
    }
}

/// One partition being read.
pub struct Reader<'a, 'l> {
    lines: &'l mut Lines<'a>,
    range: Range,
    /// What the fetch in flight, or the next one, asks for.
    at: Offset,
    bytes_max: i32,
    /// Perhaps with a fetch of `at` in flight.
    line: Option<(BrokerId, Conn)>,
    is_by_name: bool,
}

impl Reader<'_, '_> {
    /// The next portion; `None` behind the end. The one after it is under way already.
    pub async fn next(&mut self) -> Result<Option<Portion>, ReadError> {
        for tries in 1.. {
            if self.at >= self.range.end {
                return Ok(None);
            }
            match self.try_next().await {
                Ok(Some(portion)) => return Ok(Some(portion)),
                Err(error) if tries >= TRIES_MAX || !error.may_pass() => return Err(error),
                Err(_) => self.look_again().await,
                Ok(None) => {}
            }
        }
        Ok(None)
    }

    /// Ends the reading: an idle connection is kept, and what was read by name is vouched for.
    pub async fn finish(mut self) -> Result<(), ReadError> {
        if let Some((broker, conn)) = self.line.take()
            && conn.in_flight() == 0
        {
            self.lines.idle.insert(broker, conn);
        }
        if !self.is_by_name || self.range.topic == TopicId::NIL {
            return Ok(());
        }
        let (cluster, name) = (self.lines.cluster, self.range.tp.topic.clone());
        let leader = cluster.partition(&self.range.tp).and_then(|one| one.leader);
        let leader = leader.ok_or(ReadError::NoLeader { side: cluster.side() })?;
        let told = cluster.topic_ids_at(leader, std::slice::from_ref(&name)).await?;
        match told.get(&name) == Some(&self.range.topic) {
            true => Ok(()),
            false => Err(ReadError::Recreated { side: cluster.side() }),
        }
    }

    fn side(&self) -> Side {
        self.lines.cluster.side()
    }

    async fn look_again(&mut self) {
        self.line = None;
        sleep(TRY_PAUSE).await;
        let names = std::slice::from_ref(&self.range.tp.topic);
        // whether it worked shows at the next try
        let _ = self.lines.cluster.refresh(Wanted::Topics(names)).await;
    }

    /// `None` when the same must be asked again.
    async fn try_next(&mut self) -> Result<Option<Portion>, ReadError> {
        let (broker, mut conn) = match self.line.take() {
            Some(line) => line,
            None => self.dial().await?,
        };
        if conn.in_flight() == 0 {
            self.ask(&mut conn)?;
        }
        let fetched = conn.take_read().await?;
        let (at, side) = (self.at, self.side());
        match fetched.code {
            KafkaCode::NONE => {}
            OUT_OF_RANGE => return Err(ReadError::Gone { side, at }),
            code => return Err(ReadError::Refused { side, code }),
        }
        let Some(portion) = self.portion(fetched)? else { return Ok(None) };
        self.at = portion.next;
        if self.at < self.range.end && self.lines.is_ahead {
            self.ask(&mut conn)?;
        }
        self.line = Some((broker, conn));
        Ok(Some(portion))
    }

    async fn dial(&mut self) -> Result<(BrokerId, Conn), ReadError> {
        let known = self.lines.cluster.partition(&self.range.tp);
        let leader = known.and_then(|one| one.leader);
        let leader = leader.ok_or(ReadError::NoLeader { side: self.side() })?;
        Ok((leader, self.lines.take(leader).await?))
    }

    fn ask(&mut self, conn: &mut Conn) -> Result<(), ReadError> {
        let cluster = self.lines.cluster;
        let known = cluster.partition(&self.range.tp);
        self.is_by_name |= conn.version(ApiKey::Fetch)? < IDS_FROM;
        let read = Read {
            tp: &self.range.tp,
            topic: self.range.topic,
            epoch: known.map_or(crate::ids::LeaderEpoch::NONE, |one| one.epoch),
            offset: self.at,
            isolation: self.range.isolation,
            bytes_max: self.bytes_max,
            wait_ms_max: WAIT_MS_MAX,
        };
        Ok(conn.ask_read(&read, Instant::now() + cluster.options().request_timeout)?)
    }

    fn portion(&mut self, fetched: FetchedPartition) -> Result<Option<Portion>, ReadError> {
        let (at, side) = (self.at, self.side());
        let visible = match self.range.isolation {
            Isolation::ReadCommitted => fetched.last_stable,
            Isolation::ReadUncommitted => fetched.high_watermark,
        };
        let mut split = split(fetched.records);
        let mut pieces = Vec::new();
        let mut next = at;
        for piece in &mut split {
            let piece = piece.map_err(|error| ReadError::Malformed { side, at: next, error })?;
            let behind = behind(&piece);
            if behind > next {
                next = behind;
                pieces.push(piece);
            }
        }
        if let (true, Some(cut)) = (pieces.is_empty(), split.cut()) {
            let need = i32::try_from(cut.need.min(FRAME_BYTES_MAX)).unwrap_or(i32::MAX);
            self.bytes_max = self.bytes_max.max(need);
            return Err(ReadError::Nothing { side, at });
        }
        if pieces.is_empty() {
            // nothing up to the end of what can be seen: a hole at the tail
            match visible.filter(|visible| *visible >= self.range.end) {
                Some(_) => next = self.range.end,
                None => return Err(ReadError::Nothing { side, at }),
            }
        }
        Ok(Some(Portion { pieces, aborted: fetched.aborted, next }))
    }
}

/// The offset behind a piece; of an old message that holds others, its own offset is the last.
fn behind(piece: &Piece) -> Offset {
    match piece {
        Piece::Batch(batch) => batch.next_offset(),
        Piece::OldFormat { offset, .. } => offset.plus(1).unwrap_or(*offset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_refuses_each_dial_is_given_up_by_all_who_share_and_told_once() {
        let (dialled, broker, other) = (Dialled::default(), BrokerId(1), BrokerId(2));
        let shared = dialled.clone();
        (1..DIALS_MAX).for_each(|_| dialled.note(broker, false));
        assert!(!shared.is_given_up(broker), "one less than it takes");
        dialled.note(broker, true);
        assert!(shared.has_opened(broker));
        (1..DIALS_MAX).for_each(|_| dialled.note(broker, false));
        assert!(!shared.is_given_up(broker), "a connection that was had begins the row anew");
        dialled.note(broker, false);
        assert!(shared.is_given_up(broker) && !shared.is_given_up(other));
        assert!(shared.is_news(broker) && !dialled.is_news(broker));
    }
}
