//! A connection for somebody's own use, opened anew when it ended while nothing was in flight.
//!
//! It never opens one anew with a request in flight: what may have been applied is a doubt, and a
//! doubt is its user's.
//!
//! ```text
//!  Open ──idle, and closed or not trusted──▶ Closed ──reopen()──▶ Opening ──▶ Open
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::cluster::Each;
use crate::cluster::EndKind;
use crate::cluster::Listed;
use crate::cluster::Use;
use crate::cluster::conn::Answer;
use crate::cluster::conn::Conn;
use crate::cluster::error::ClusterError;
use crate::cluster::error::Kind;
use crate::cluster::error::Peer;
use crate::ids::BrokerId;
use crate::ids::LeaderEpoch;
use crate::ids::TopicPartition;
use crate::wire::error::WireError;
use crate::wire::versions::ApiKey;

/// A connection that was closed sooner after its last answer was not closed for being idle: no
/// broker's `connections.max.idle.ms` is so short.
const IDLE_MIN: Duration = Duration::from_secs(1);

type Opened = Result<(Conn, Each<Listed>), ClusterError>;

/// What a turn brings.
#[derive(Debug)]
pub enum Turned {
    /// An answer.
    Answer(Answer),
    /// It was closed while nothing was in flight: `reopen` it.
    Idle,
    /// It is open again; where the logs that were asked for end now.
    Reopened(Each<Listed>),
}

/// The connection of one side.
pub struct Line {
    cluster: Arc<Cluster>,
    broker: BrokerId,
    purpose: Use,
    /// `None` while it is closed.
    conn: Option<Conn>,
    opening: Option<Pin<Box<dyn Future<Output = Opened> + Send>>>,
    /// When it was opened, or its last answer came.
    used_at: Instant,
}

impl Line {
    /// Opens it.
    pub async fn open(
        cluster: &Arc<Cluster>,
        broker: BrokerId,
        purpose: Use,
    ) -> Result<Line, ClusterError> {
        let conn = Some(cluster.open(broker, purpose).await?);
        let cluster = cluster.clone();
        Ok(Line { cluster, broker, purpose, conn, opening: None, used_at: Instant::now() })
    }

    /// One that is being opened.
    pub fn opening(cluster: &Arc<Cluster>, broker: BrokerId, purpose: Use) -> Line {
        let (cluster, used_at) = (cluster.clone(), Instant::now());
        let mut line = Line { cluster, broker, purpose, conn: None, opening: None, used_at };
        line.reopen(Vec::new());
        line
    }

    /// How long its greeting was on its way, there and back.
    pub fn round_trip(&self) -> Option<Duration> {
        self.conn.as_ref().map(Conn::round_trip)
    }

    /// The connection, while it is open. One that is idle while its broker has left somebody else
    /// without an answer is closed instead: something between may have forgotten it.
    pub fn conn(&mut self) -> Option<&mut Conn> {
        let doubted = |conn: &Conn| conn.in_flight() == 0 && !conn.is_trusted();
        if self.conn.as_ref().is_some_and(doubted) {
            self.conn = None;
        }
        self.conn.as_mut()
    }

    /// Waits for the next thing that happens to it. Cancel-safe.
    pub async fn turn(&mut self) -> Result<Turned, ClusterError> {
        if let Some(opening) = &mut self.opening {
            let opened = opening.as_mut().await;
            self.opening = None;
            let (conn, ends) = opened?;
            (self.conn, self.used_at) = (Some(conn), Instant::now());
            return Ok(Turned::Reopened(ends));
        }
        let Some(conn) = &mut self.conn else { return Ok(Turned::Idle) };
        match conn.turn().await {
            Ok(answer) => {
                self.used_at = Instant::now();
                Ok(Turned::Answer(answer))
            }
            Err(error) if self.was_idle(&error) => {
                self.cluster.note_idle_close();
                tracing::debug!(%error, "an idle connection was closed; it is opened again");
                self.conn = None;
                Ok(Turned::Idle)
            }
            Err(error) => Err(error),
        }
    }

    fn was_idle(&self, error: &ClusterError) -> bool {
        let nothing = self.conn.as_ref().is_some_and(|conn| conn.in_flight() == 0);
        nothing && error.is_closed() && self.used_at.elapsed() >= IDLE_MIN
    }

    /// Begins to open it again, and to ask where these logs end by then.
    pub fn reopen(&mut self, asked: Vec<(TopicPartition, LeaderEpoch)>) {
        let (cluster, broker, purpose) = (self.cluster.clone(), self.broker, self.purpose);
        self.opening = Some(Box::pin(async move {
            let conn = cluster.open(broker, purpose).await?;
            let ends = match asked.is_empty() {
                true => Each::new(),
                false => cluster.list_offsets(broker, &asked, EndKind::LogEnd).await?,
            };
            Ok((conn, ends))
        }));
    }

    /// Notes for how long nothing shall be asked.
    pub fn throttled(&self, ms: u32) -> Duration {
        self.conn.as_ref().map_or(Duration::ZERO, |conn| conn.throttled(ms))
    }

    /// The version to speak an API in.
    pub fn version(&self, api: ApiKey) -> Result<i16, ClusterError> {
        let conn = self.conn.as_ref().ok_or_else(|| self.gone(api))?;
        conn.version(api)
    }

    /// An answer that cannot be read.
    pub fn misread(&self, api: ApiKey, error: WireError) -> ClusterError {
        let peer = self.conn.as_ref().map(Conn::peer);
        peer.map_or_else(|| self.gone(api), |peer| ClusterError::new(peer, api.name(), error))
    }

    fn gone(&self, api: ApiKey) -> ClusterError {
        let (side, broker) = (self.cluster.side(), Some(self.broker));
        let peer = Peer { side, broker, address: "a closed connection".into() };
        ClusterError::new(&peer, api.name(), Kind::NoBroker(self.broker))
    }

    /// Ends it; gently when nothing is in flight.
    pub fn close(self) {
        if let Some(conn) = self.conn {
            conn.close();
        }
    }
}
