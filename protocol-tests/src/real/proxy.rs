//! A TCP proxy that keeps the appends of a client for up to two seconds, and delivers them all the
//! same when the client has died meanwhile: never an abort goes through. What only asks passes.
//!
//! It never loses, changes or reorders a byte of a connection.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::sleep_until;
use tokio::time::timeout;

use super::RealError;
use crate::rng::Rng;

/// Where proxies listen: not where brokers do, so that a proxy may have the port of its broker.
pub const PROXY_HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// The longest that a piece is kept, in ms.
const DELAY_MS_MAX: u64 = 2_000;
/// So many of a thousand pieces are kept for long.
const LONG_PERMILLE: u64 = 250;
/// The others, in ms.
const SHORT_MS_MAX: u64 = 10;
/// The length of a request, and the API behind it: 0 is Produce.
const HEAD_BYTES: usize = 4 + API_BYTES;
const API_BYTES: usize = 2;
/// What is read at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// How many pieces of a connection wait at most; then it is read no further.
const PIECES_MAX: usize = 1_024;
/// How often it is looked whether a connection is held still.
const HELD_PAUSE: Duration = Duration::from_millis(10);
/// For how long a broker may still answer whom nobody hears any more.
const LINGER: Duration = Duration::from_secs(5);

/// What has gone through.
#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    late_bytes: AtomicU64,
    /// Bytes of dead clients that are yet to be delivered, and connections that linger.
    pending: AtomicU64,
    /// Nothing more is kept.
    hurries: AtomicBool,
    /// Of so many connections, the first ones, nothing is delivered.
    held: AtomicU64,
    /// How many of those have an append that is held.
    held_lines: AtomicU64,
    /// The port whose appends are held, counted from 1.
    held_port: AtomicU64,
    /// How many appends that has held.
    held_appends: AtomicU64,
}

/// A port for each broker.
pub struct Proxy {
    runtime: Runtime,
    listeners: Vec<std::net::TcpListener>,
    rng: Arc<Mutex<Rng>>,
    counts: Arc<Counts>,
}

impl Proxy {
    /// Takes `count` ports; nothing is carried yet.
    pub fn bind(count: u8, seed: u64) -> Result<Self, RealError> {
        let bad = |e: io::Error| RealError::new(format!("the proxy: {e}"));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let bind = |_| std::net::TcpListener::bind((PROXY_HOST, 0));
        Ok(Self {
            runtime: runtime.map_err(bad)?,
            listeners: (0..count).map(bind).collect::<io::Result<_>>().map_err(bad)?,
            rng: Arc::new(Mutex::new(Rng::new(seed))),
            counts: Arc::default(),
        })
    }

    /// The ports that clients come to.
    pub fn ports(&self) -> Vec<u16> {
        let port =
            |listener: &std::net::TcpListener| listener.local_addr().map_or(0, |at| at.port());
        self.listeners.iter().map(port).collect()
    }

    /// Carries from now on what comes, each port to the broker's port at the same place.
    pub fn lead_to(&self, brokers: &[u16]) -> Result<(), RealError> {
        assert_eq!(brokers.len(), self.listeners.len(), "a port for each broker");
        for (port, (listener, broker)) in (1..).zip(self.listeners.iter().zip(brokers)) {
            let bad = |e: io::Error| RealError::new(format!("the proxy: {e}"));
            let listener = listener.try_clone().map_err(bad)?;
            listener.set_nonblocking(true).map_err(bad)?;
            let _inside = self.runtime.enter();
            let listener = TcpListener::from_std(listener).map_err(bad)?;
            let (rng, counts) = (Arc::clone(&self.rng), Arc::clone(&self.counts));
            self.runtime.spawn(accept(listener, (port, *broker), rng, counts));
        }
        Ok(())
    }

    /// Passes on at once what comes from now on; what is kept already comes when it is due.
    pub fn hurry(&self) {
        self.counts.hurries.store(true, Ordering::Relaxed);
    }

    /// Delivers nothing more of what the connections of now send, until `release`.
    pub fn hold(&self) {
        self.counts.held_lines.store(0, Ordering::Relaxed);
        self.counts.held.store(self.connections(), Ordering::Relaxed);
    }

    /// How many of those have an append that is held.
    pub fn held_lines(&self) -> u64 {
        self.counts.held_lines.load(Ordering::Relaxed)
    }

    /// Ends a `hold`.
    pub fn release(&self) {
        self.counts.held.store(0, Ordering::Relaxed);
    }

    /// Delivers no append that comes to a port any more, on old connections or new ones, until
    /// `release_appends`.
    pub fn hold_appends(&self, port: usize) {
        self.counts.held_appends.store(0, Ordering::Relaxed);
        self.counts.held_port.store(port as u64 + 1, Ordering::Relaxed);
    }

    /// How many pieces with appends that has held.
    pub fn held_appends(&self) -> u64 {
        self.counts.held_appends.load(Ordering::Relaxed)
    }

    /// Ends a `hold_appends`.
    pub fn release_appends(&self) {
        self.counts.held_port.store(0, Ordering::Relaxed);
    }

    /// How many connections there were.
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// How many bytes were delivered after their client had died.
    pub fn late_bytes(&self) -> u64 {
        self.counts.late_bytes.load(Ordering::Relaxed)
    }

    /// Whether everything of those who died is delivered.
    pub fn is_drained(&self) -> bool {
        self.counts.pending.load(Ordering::Relaxed) == 0
    }
}

async fn accept(
    listener: TcpListener,
    (port, broker): (u64, u16),
    rng: Arc<Mutex<Rng>>,
    counts: Arc<Counts>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let dice = rng.lock().unwrap_or_else(PoisonError::into_inner).fork();
        let number = counts.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let held = Held { number, port, counts: Arc::clone(&counts) };
        tokio::spawn(carry(client, broker, dice, held));
    }
}

/// A connection that may be held.
#[derive(Clone)]
struct Held {
    /// Connections are numbered from 1.
    number: u64,
    /// So are ports.
    port: u64,
    counts: Arc<Counts>,
}

impl Held {
    fn holds_appends(&self) -> bool {
        self.port == self.counts.held_port.load(Ordering::Relaxed)
    }

    fn is_held(&self) -> bool {
        self.number <= self.counts.held.load(Ordering::Relaxed)
    }
}

/// Where the requests of a connection begin and end.
#[derive(Default)]
struct Requests {
    /// What has come of the next request's length and API.
    head: Vec<u8>,
    /// What is yet to come of the present one, in bytes.
    left: usize,
    is_append: bool,
}

impl Requests {
    /// Takes what comes next; whether an append is in it.
    fn has_append(&mut self, mut piece: &[u8]) -> bool {
        let mut found = false;
        while !piece.is_empty() {
            if self.left == 0 {
                let wanted = (HEAD_BYTES - self.head.len()).min(piece.len());
                self.head.extend(&piece[..wanted]);
                piece = &piece[wanted..];
                let [a, b, c, d, api @ ..] = &self.head[..] else { continue };
                if api.len() < API_BYTES {
                    continue;
                }
                let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
                (self.is_append, self.left) = (api == [0, 0], length.saturating_sub(API_BYTES));
                self.head.clear();
                found |= self.is_append;
            }
            found |= self.is_append && !piece.is_empty() && self.left > 0;
            let taken = self.left.min(piece.len());
            self.left -= taken;
            piece = &piece[taken..];
        }
        found
    }
}

/// A piece on its way, and when it may arrive.
struct Piece {
    due: Instant,
    bytes: Vec<u8>,
    is_append: bool,
}

async fn carry(client: TcpStream, broker: u16, dice: Rng, held: Held) {
    let Ok(upstream) = TcpStream::connect((Ipv4Addr::LOCALHOST, broker)).await else { return };
    let _best_effort = (client.set_nodelay(true), upstream.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = upstream.into_split();
    let is_dead = Arc::new(AtomicBool::new(false));
    let (send, wait) = mpsc::channel(PIECES_MAX);
    let answers = tokio::spawn(answers(from_broker, to_client, Arc::clone(&is_dead)));
    let reading = tokio::spawn(keep(from_client, send, dice, Arc::clone(&is_dead), held.clone()));
    let mut to_broker = deliver(wait, to_broker, &is_dead, &held).await;
    // only now, with everything delivered, may the broker hear of an end
    let _gone = timeout(LINGER, answers).await;
    let _best_effort = to_broker.shutdown().await;
    reading.abort();
    let _ended = reading.await;
    if is_dead.load(Ordering::Relaxed) {
        held.counts.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads what the client sends, until it dies, and throws for how long each piece is kept.
async fn keep(
    mut client: OwnedReadHalf,
    send: Sender<Piece>,
    mut dice: Rng,
    is_dead: Arc<AtomicBool>,
    held: Held,
) {
    let counts = &held.counts;
    let (mut latest, mut requests) = (Instant::now(), Requests::default());
    let mut buffer = vec![0; PIECE_BYTES];
    while let Ok(count @ 1..) = client.read(&mut buffer).await {
        let long = dice.chance(LONG_PERMILLE);
        let passes = counts.hurries.load(Ordering::Relaxed);
        let is_append = requests.has_append(&buffer[..count]);
        let delay_ms = match is_append && !passes {
            false => 0,
            true => dice.between(0, if long { DELAY_MS_MAX } else { SHORT_MS_MAX }),
        };
        latest = latest.max(Instant::now() + Duration::from_millis(delay_ms));
        let piece = Piece { due: latest, bytes: buffer[..count].to_vec(), is_append };
        if send.send(piece).await.is_err() {
            return;
        }
    }
    counts.pending.fetch_add(1, Ordering::Relaxed);
    is_dead.store(true, Ordering::Relaxed);
}

async fn deliver(
    mut wait: Receiver<Piece>,
    mut broker: OwnedWriteHalf,
    is_dead: &AtomicBool,
    held: &Held,
) -> OwnedWriteHalf {
    let mut is_counted = false;
    while let Some(Piece { due, bytes, is_append }) = wait.recv().await {
        sleep_until(due).await;
        while held.is_held() {
            if is_append && !std::mem::replace(&mut is_counted, true) {
                held.counts.held_lines.fetch_add(1, Ordering::Relaxed);
            }
            sleep(HELD_PAUSE).await;
        }
        if is_append && held.holds_appends() {
            held.counts.held_appends.fetch_add(1, Ordering::Relaxed);
            while held.holds_appends() {
                sleep(HELD_PAUSE).await;
            }
        }
        if broker.write_all(&bytes).await.is_err() {
            break;
        }
        if is_dead.load(Ordering::Relaxed) {
            held.counts.late_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
    }
    broker
}

/// Brings the broker's answers, and goes on reading them when nobody hears them any more.
async fn answers(mut broker: OwnedReadHalf, mut client: OwnedWriteHalf, is_dead: Arc<AtomicBool>) {
    let mut buffer = vec![0; PIECE_BYTES];
    while let Ok(count @ 1..) = broker.read(&mut buffer).await {
        if !is_dead.load(Ordering::Relaxed) {
            let _nobody_hears = client.write_all(&buffer[..count]).await;
        }
    }
    let _best_effort = client.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::io::Write;

    #[test]
    fn appends_are_found_wherever_a_piece_is_cut() {
        let request = |api: u8, more: usize| {
            let length = (API_BYTES + more) as u32;
            [&length.to_be_bytes()[..], &[0, api], &vec![9; more][..]].concat()
        };
        let all = [request(3, 20), request(0, 30), request(1, 0), request(18, 7)].concat();
        let append = 26..26 + 36;
        for size in 1..all.len() {
            let mut requests = Requests::default();
            for (at, piece) in all.chunks(size).enumerate() {
                // it is one from where its API is known
                let (from, to) = (at * size, at * size + piece.len());
                let is = to >= append.start + HEAD_BYTES && from < append.end;
                assert_eq!(requests.has_append(piece), is, "{size} bytes a piece, at {from}");
            }
        }
    }

    #[test]
    fn what_a_dead_client_sent_arrives_whole_and_in_order() {
        let broker = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Proxy::bind(1, 7).unwrap();
        proxy.lead_to(&[broker.local_addr().unwrap().port()]).unwrap();
        let mut sent: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
        sent[..6].copy_from_slice(&[0, 0x7f, 0xff, 0xff, 0, 0]);
        let mut client = std::net::TcpStream::connect((PROXY_HOST, proxy.ports()[0])).unwrap();
        let (mut there, _) = broker.accept().unwrap();
        let reader = std::thread::spawn(move || {
            let mut arrived = Vec::new();
            there.read_to_end(&mut arrived).map(|_| arrived)
        });
        client.write_all(&sent).unwrap();
        // with an answer unread this would be an abort, and take what the proxy has not read along
        drop(client);
        let arrived = reader.join().unwrap().unwrap();
        assert!(arrived == sent, "{} bytes of {}", arrived.len(), sent.len());
        assert_eq!(proxy.connections(), 1);
        assert!(proxy.late_bytes() > 0, "the client died before everything had arrived");
    }
}
