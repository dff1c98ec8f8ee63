//! Connections: one control connection per broker, further ones for a while, and fresh ones for the
//! lanes.
//!
//! It never hands out a connection that has not told the right cluster id, and never dials an
//! address that failed again before its pause is over.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;

use kafka_protocol::messages::MetadataRequest;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio::time::sleep_until;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::cluster::Security;
use crate::cluster::Target;
use crate::cluster::backoff::Backoff;
use crate::cluster::conn::Conn;
use crate::cluster::conn::Limits;
use crate::cluster::conn::Silences;
use crate::cluster::conn::Turns;
use crate::cluster::count;
use crate::cluster::dial;
use crate::cluster::dial::DialError;
use crate::cluster::dial::Stream;
use crate::cluster::dial::tls;
use crate::cluster::error::ClusterError;
use crate::cluster::error::Kind;
use crate::cluster::error::Peer;
use crate::cluster::error::Result;
use crate::cluster::lock;
use crate::ids::BrokerId;
use crate::ids::ClusterId;
use crate::wire::prim::peer_text;

/// A control connection: one question at a time; the metadata of 500,000 partitions fits.
const CONTROL: Limits = Limits {
    frame_bytes_max: 32 << 20,
    kept_bytes_max: SMALL_BYTES_MAX,
    slabs: 1,
    in_flight_max: 1,
};
/// An append connection: answers are small.
const APPEND: Limits = Limits {
    frame_bytes_max: 8 << 20,
    kept_bytes_max: SMALL_BYTES_MAX,
    slabs: 2,
    in_flight_max: 32,
};
/// The largest buffer that is kept where large answers are rare.
const SMALL_BYTES_MAX: usize = 1 << 20;
/// A fetch connection may have as many questions in flight.
const FETCH_IN_FLIGHT_MAX: usize = 4;
/// How many failing addresses are remembered.
const PACES_MAX: usize = 1024;

/// How many addresses are tried for one question to "any broker".
const ROUND_MAX: usize = 8;

/// How many TLS handshakes with one cluster run at once: each costs both sides a signature.
const HANDSHAKES_MAX: usize = 8;

/// What a connection is for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Use {
    /// Fetches, long and large.
    Fetch {
        /// The largest answer that is read.
        frame_bytes_max: usize,
        /// The largest answer that is expected: its buffer is kept for the next one.
        kept_bytes_max: usize,
        /// How many answers can be alive at once.
        slabs: usize,
    },
    /// Looks at single batches.
    Look {
        /// The largest answer that is read.
        frame_bytes_max: usize,
    },
    /// Appends.
    Append,
}

/// After so many questions "any broker" is another one: the one asked so far may be cut off from
/// its cluster and tell old news for ever.
pub(super) const ANY_ASKS_MAX: u32 = 16;

/// The control connection of one broker, or of "any".
#[derive(Default)]
pub(super) struct Control {
    /// `None` while it is used or gone.
    pub conn: Option<Conn>,
    /// How many questions `conn` has answered.
    pub asks: u32,
}

pub(super) type Slot = Arc<tokio::sync::Mutex<Control>>;

pub(super) struct Pool {
    /// By broker, and by the number of the connection: 0 is that of all ordinary questions.
    slots: Mutex<BTreeMap<(Option<BrokerId>, u8), Slot>>,
    /// By `host:port`: the addresses that failed last time.
    paces: Mutex<BTreeMap<Arc<str>, Pace>>,
    /// By `host:port`, where there are connections.
    silences: Mutex<BTreeMap<Arc<str>, Silences>>,
    handshakes: Semaphore,
    /// Who reads an answer larger than was asked for: of those that follow logs, and of the others.
    fetches: Turns,
    questions: Turns,
}

impl Default for Pool {
    fn default() -> Pool {
        let handshakes = Semaphore::new(HANDSHAKES_MAX);
        Pool {
            slots: Mutex::default(),
            paces: Mutex::default(),
            silences: Mutex::default(),
            handshakes,
            fetches: Turns::default(),
            questions: Turns::default(),
        }
    }
}

/// When an address may be dialled again.
struct Pace {
    backoff: Backoff,
    next: Instant,
}

/// An address worth a try.
#[derive(Clone)]
struct Candidate {
    broker: Option<BrokerId>,
    host: Arc<str>,
    port: u16,
    address: Arc<str>,
}

impl Pool {
    pub fn slot(&self, broker: Option<BrokerId>, number: u8) -> Slot {
        lock(&self.slots).entry((broker, number)).or_default().clone()
    }

    /// What the address has left unanswered.
    fn silences(&self, address: &Arc<str>) -> Silences {
        let mut all = lock(&self.silences);
        if !all.contains_key(address) && all.len() >= PACES_MAX {
            all.retain(|_, one| !one.is_alone());
        }
        all.entry(address.clone()).or_default().clone()
    }

    fn next_dial(&self, address: &Arc<str>) -> Option<Instant> {
        lock(&self.paces).get(address).map(|pace| pace.next)
    }
}

impl Cluster {
    /// A fresh connection to a broker for a lane's own use.
    pub async fn open(&self, broker: BrokerId, purpose: Use) -> Result<Conn> {
        let in_flight_max = FETCH_IN_FLIGHT_MAX;
        let limits = match purpose {
            Use::Append => APPEND,
            Use::Fetch { frame_bytes_max, kept_bytes_max, slabs } => {
                Limits { frame_bytes_max, kept_bytes_max, slabs, in_flight_max }
            }
            Use::Look { frame_bytes_max } => {
                let kept_bytes_max = SMALL_BYTES_MAX;
                Limits { frame_bytes_max, kept_bytes_max, slabs: 1, in_flight_max }
            }
        };
        self.open_at(&self.broker_at(broker)?, limits).await
    }

    /// The broker that a target means; `None` for any.
    pub(super) fn broker_of(&self, target: Target) -> Option<BrokerId> {
        match target {
            Target::Any => None,
            Target::Controller => self.look(|metadata| metadata.controller()),
            Target::Broker(id) | Target::Further(id, _) => Some(id),
        }
    }

    /// Ends the further connections to a broker, when nothing is asked on them any more.
    pub fn close_further(&self, broker: BrokerId) {
        lock(&self.pool.slots).retain(|(of, number), _| *number == 0 || *of != Some(broker));
    }

    pub(super) async fn open_control(&self, broker: Option<BrokerId>) -> Result<Conn> {
        match broker {
            Some(id) => {
                let at = self.broker_at(id)?;
                // the last places are for those that carry records
                dial::may_ask(&at.host, at.port).map_err(|error| {
                    ClusterError::new(&self.peer(at.broker, at.address.clone()), "connect", error)
                })?;
                self.open_at(&at, CONTROL).await
            }
            None => self.open_any().await,
        }
    }

    pub(super) fn check_halted(&self) -> Result<()> {
        self.halted.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Where the metadata says that a broker is.
    fn broker_at(&self, id: BrokerId) -> Result<Candidate> {
        let known = self.look(|metadata| metadata.broker(id).cloned());
        let Some(broker) = known else {
            let peer = self.peer(Some(id), "an address nobody told yet".into());
            return Err(ClusterError::new(&peer, "connect", Kind::NoBroker(id)));
        };
        Ok(candidate(Some(id), &broker.host, broker.port))
    }

    /// Any broker: those that are known, then the bootstrap addresses; who failed last comes last.
    async fn open_any(&self) -> Result<Conn> {
        let mut failures = Vec::new();
        for candidate in self.candidates() {
            match self.open_at(&candidate, CONTROL).await {
                Ok(conn) => return Ok(conn),
                Err(error) if matches!(error.kind, Kind::ClusterIdChanged { .. }) => {
                    return Err(error);
                }
                Err(error) => failures.push(error),
            }
        }
        if failures.len() == 1 {
            return Err(failures.remove(0));
        }
        let peer = self.peer(None, "every known address".into());
        Err(ClusterError::new(&peer, "connect", Kind::Nobody(failures.into())))
    }

    /// Whom to try in one round: each address once, no more than `ROUND_MAX`, and a bootstrap
    /// address second at the latest, whatever the metadata claims.
    fn candidates(&self) -> Vec<Candidate> {
        let told: Vec<Candidate> = self.look(|metadata| {
            let brokers = metadata.brokers();
            brokers.map(|one| candidate(Some(one.id), &one.host, one.port)).collect()
        });
        let bootstrap = self.options.bootstrap.iter().map(|(host, port)| {
            let one = candidate(None, host, *port);
            told.iter().find(|known| known.address == one.address).cloned().unwrap_or(one)
        });
        let bootstrap = self.by_standing(bootstrap.collect());
        let told = self.by_standing(told);
        let (one, others) = told.split_at(told.len().min(1));
        let (first, rest) = bootstrap.split_at(bootstrap.len().min(1));
        let others = &others[..others.len().min(ROUND_MAX - 3)];
        let mut round: Vec<Candidate> = Vec::new();
        for next in [one, first, others, rest].into_iter().flatten() {
            if round.len() < ROUND_MAX && round.iter().all(|known| known.address != next.address) {
                round.push(next.clone());
            }
        }
        // a stable sort: addresses in good standing first, then by the end of their pause
        round.sort_by_key(|one| self.pool.next_dial(&one.address));
        round
    }

    /// Each address once, from a random place on; those in good standing first, the others by the
    /// end of their pause.
    fn by_standing(&self, mut all: Vec<Candidate>) -> Vec<Candidate> {
        let mut seen = BTreeSet::new();
        all.retain(|one| seen.insert(one.address.clone()));
        let turn = lock(&self.dice).below(all.len() as u64) as usize;
        all.rotate_left(turn);
        all.sort_by_key(|one| self.pool.next_dial(&one.address));
        all
    }

    /// Dials, greets, compares the cluster id; an address that failed is given its pause first.
    async fn open_at(&self, at: &Candidate, limits: Limits) -> Result<Conn> {
        self.check_halted()?;
        if let Some(next) = self.pool.next_dial(&at.address) {
            sleep_until(next).await;
        }
        let opened = self.open_now(at, limits).await;
        match &opened {
            Ok(_) => drop(lock(&self.pool.paces).remove(&at.address)),
            Err(_) => {
                count::dial_failed(self.options.side);
                self.slow_down(&at.address);
            }
        }
        opened
    }

    async fn open_now(&self, at: &Candidate, limits: Limits) -> Result<Conn> {
        let peer = self.peer(at.broker, at.address.clone());
        let failed = |error: DialError| ClusterError::new(&peer, "connect", error);
        let stream = self.dial_now(at).await.map_err(failed)?;
        let mut conn = Conn::new(stream, peer, &self.client_id, limits);
        // answers that wait for their appends never hold up the questions that appends need
        let turns = if limits.slabs > 1 { &self.pool.fetches } else { &self.pool.questions };
        conn.share(self.pool.silences(&at.address), turns);
        conn.greet(Instant::now() + self.options.request_timeout).await?;
        if let Some(login) = &self.options.security.login {
            let seed = lock(&self.dice).throw();
            conn.login(login, seed, self.options.request_timeout).await?;
        }
        let nothing = MetadataRequest::default()
            .with_topics(Some(Vec::new()))
            .with_allow_auto_topic_creation(false);
        let told = self.exchange_first(&mut conn, &nothing).await?;
        let got = told.cluster_id.map(|id| ClusterId(peer_text(id.as_bytes()).into()));
        self.check_id(conn.peer(), got)?;
        Ok(conn)
    }

    /// A stream on which Kafka can be spoken: to an allowed address, under TLS where it is asked.
    async fn dial_now(&self, at: &Candidate) -> std::result::Result<Box<dyn Stream>, DialError> {
        let within = self.options.dial_timeout;
        let Security { tls, allowed, .. } = &self.options.security;
        let by_name = allowed.by_name(&at.host);
        if by_name == Some(false) {
            return Err(DialError::NotAllowed);
        }
        let dialled = timeout(within, self.dial.dial(&at.host, at.port)).await;
        let stream = dialled.map_err(|_| DialError::Timeout(within))??;
        if by_name.is_none() && !stream.peer_ip().is_some_and(|ip| allowed.by_address(ip)) {
            return Err(DialError::NotAllowed);
        }
        match tls {
            None => Ok(stream),
            Some(tls) => {
                let (side, turns) = (self.options.side, &self.pool.handshakes);
                tls::over(stream, &at.host, tls, side, turns, within).await
            }
        }
    }

    fn check_id(&self, peer: &Peer, got: Option<ClusterId>) -> Result<()> {
        let wrong = |kind: Kind| ClusterError::new(peer, "cluster id", kind);
        let got = got.ok_or_else(|| wrong(Kind::NoClusterId))?;
        let expected = self.id.get_or_init(|| got.clone()).clone();
        if expected == got {
            return Ok(());
        }
        let error = wrong(Kind::ClusterIdChanged { expected, got });
        Err(self.halted.get_or_init(|| error).clone())
    }

    fn slow_down(&self, address: &Arc<str>) {
        let now = Instant::now();
        let mut paces = lock(&self.pool.paces);
        if paces.len() >= PACES_MAX {
            paces.retain(|_, pace| pace.next > now);
        }
        let pace = paces.entry(address.clone()).or_insert_with(|| Pace {
            backoff: Backoff::new(self.options.redial_pause, self.options.redial_pause_max),
            next: now,
        });
        // lanes that fail together count as one failure
        if pace.next <= now {
            pace.next = now + self.pause(&mut pace.backoff);
        }
    }

    pub(super) fn peer(&self, broker: Option<BrokerId>, address: Arc<str>) -> Peer {
        Peer { side: self.options.side, broker, address }
    }
}

fn candidate(broker: Option<BrokerId>, host: &str, port: u16) -> Candidate {
    // an IPv6 host is written in brackets, as in URLs
    let address = match host.contains(':') {
        true => format!("[{host}]:{port}").into(),
        false => format!("{host}:{port}").into(),
    };
    Candidate { broker, host: host.into(), port, address }
}
