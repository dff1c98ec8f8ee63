//! The in-memory network: listeners by name, connections of two seeded pipes, and their faults.
//!
//! It never looks into the bytes, and never uses the wall clock: delays are tokio time, so a run
//! under paused time replays from its seed.

mod pipe;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::rng::Rng;

pub use pipe::Link;
pub use pipe::NetStream;

/// What becomes of bytes in flight when the client goes away.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// A plain connection: a close delivers what was sent, an abort drops what is unread (A3).
    None,
    /// A proxy in between that still delivers everything, after an abort as well (A9, H14).
    DeliversAlways,
}

/// How the network treats connections to one place.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Each piece takes between these two, in milliseconds; order is kept.
    pub delay_ms: (u64, u64),
    /// Connections are refused.
    pub refuse: bool,
    /// New connections hang for ever.
    pub black_hole: bool,
    /// Who stands in between.
    pub proxy: Proxy,
    /// A writer blocks when this many bytes are unread.
    pub window_bytes: usize,
    /// A reader gets at most this many bytes at once; `usize::MAX` for all.
    pub piece_bytes_max: usize,
    /// In a thousand writes, so many cut the connection somewhere inside the written bytes.
    pub cut_permille: u64,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            delay_ms: (0, 1),
            refuse: false,
            black_hole: false,
            proxy: Proxy::None,
            window_bytes: 4 << 20,
            piece_bytes_max: usize::MAX,
            cut_permille: 0,
        }
    }
}

/// Which way bytes flow.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the broker.
    ToServer,
    /// From the broker to the client.
    ToClient,
}

type Place = (String, u16);

struct State {
    rng: Rng,
    listeners: BTreeMap<Place, mpsc::UnboundedSender<NetStream>>,
    names: BTreeMap<String, String>,
    rule: Rule,
    rules: BTreeMap<(String, String), Rule>,
    links: BTreeMap<u64, std::sync::Weak<Link>>,
    next_link: u64,
}

/// A network that any number of clusters and clients share.
#[derive(Clone)]
pub struct Net {
    state: Arc<Mutex<State>>,
}

impl Net {
    /// An empty network whose delays and cuts come from `seed`.
    pub fn new(seed: u64) -> Self {
        let state = State {
            rng: Rng::new(seed),
            listeners: BTreeMap::new(),
            names: BTreeMap::new(),
            rule: Rule::default(),
            rules: BTreeMap::new(),
            links: BTreeMap::new(),
            next_link: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Dials as the nameless client.
    pub async fn connect(&self, host: &str, port: u16) -> io::Result<NetStream> {
        self.connect_from("", host, port).await
    }

    /// Dials as `client`, so that faults can be set for that client alone.
    pub async fn connect_from(&self, client: &str, host: &str, port: u16) -> io::Result<NetStream> {
        let (host, rule, wait) = {
            let mut state = self.lock();
            let host = state.names.get(host).cloned().unwrap_or_else(|| host.to_owned());
            let rule = state.rule(client, &host);
            let wait = state.rng.between(rule.delay_ms.0, rule.delay_ms.1);
            (host, rule, wait)
        };
        tokio::time::sleep(Duration::from_millis(wait)).await;
        if rule.black_hole {
            std::future::pending::<()>().await;
        }
        if rule.refuse {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        self.open(client, &host, port)
    }

    fn open(&self, client: &str, host: &str, port: u16) -> io::Result<NetStream> {
        let mut state = self.lock();
        let known = state.listeners.keys().any(|place| place.0 == host);
        let Some(listener) = state.listeners.get(&(host.to_owned(), port)).cloned() else {
            let kind =
                if known { io::ErrorKind::ConnectionRefused } else { io::ErrorKind::NotFound };
            return Err(kind.into());
        };
        let id = state.next_link;
        state.next_link += 1;
        let seed = state.rng.fork();
        let link = Link::new(id, client, host, state.rule(client, host), seed);
        state.links.insert(id, Arc::downgrade(&link));
        state.links.retain(|_, link| link.strong_count() > 0);
        let (near, far) = NetStream::pair(link);
        if listener.send(far).is_err() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(near)
    }

    /// Starts to listen; connections come out of the receiver. Dropping it refuses new ones.
    pub fn listen(&self, host: &str, port: u16) -> mpsc::UnboundedReceiver<NetStream> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().listeners.insert((host.to_owned(), port), sender);
        receiver
    }

    /// Stops to listen: new connections are refused.
    pub fn unlisten(&self, host: &str, port: u16) {
        // the receiver stays known as a dead one, so that the host keeps its name
        let (sender, _) = mpsc::unbounded_channel();
        self.lock().listeners.insert((host.to_owned(), port), sender);
    }

    /// Lets `name` resolve to another host from now on (a DNS change).
    pub fn alias(&self, name: &str, host: &str) {
        self.lock().names.insert(name.to_owned(), host.to_owned());
    }

    /// Sets the rule of every place that has no rule of its own.
    pub fn set_default(&self, rule: Rule) {
        let mut state = self.lock();
        state.rule = rule;
        state.apply_rules();
    }

    /// Sets the rule between `client` (empty: every client) and `host`, for present and future
    /// connections.
    pub fn set_rule(&self, client: &str, host: &str, rule: Rule) {
        let mut state = self.lock();
        state.rules.insert((client.to_owned(), host.to_owned()), rule);
        state.apply_rules();
    }

    /// Takes the rule of a place back.
    pub fn clear_rule(&self, client: &str, host: &str) {
        let mut state = self.lock();
        state.rules.remove(&(client.to_owned(), host.to_owned()));
        state.apply_rules();
    }

    /// Holds every byte of the present connections to `host`, both ways (a half-open
    /// connection); `release` lets them flow again, in order.
    pub fn hold(&self, client: &str, host: &str) {
        self.each_link(client, host, |link| link.hold(true));
    }

    /// Ends a `hold`.
    pub fn release(&self, client: &str, host: &str) {
        self.each_link(client, host, |link| link.hold(false));
    }

    /// Resets every connection to `host` now; what is unread is lost.
    pub fn cut(&self, client: &str, host: &str) {
        self.each_link(client, host, Link::reset_now);
    }

    /// Resets the present connections to `host` after so many more bytes in one direction.
    pub fn cut_after(&self, client: &str, host: &str, way: Way, bytes: u64) {
        self.each_link(client, host, |link| link.cut_after(way, bytes));
    }

    /// The present connections to `host`, oldest first.
    pub fn links(&self, client: &str, host: &str) -> Vec<Arc<Link>> {
        let links: Vec<_> = self.lock().links.values().filter_map(|l| l.upgrade()).collect();
        links.into_iter().filter(|link| link.is_between(client, host)).collect()
    }

    fn each_link(&self, client: &str, host: &str, act: impl Fn(&Link)) {
        for link in self.links(client, host) {
            act(&link);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds the network")
    }
}

impl State {
    fn rule(&self, client: &str, host: &str) -> Rule {
        let key = (client.to_owned(), host.to_owned());
        let any = (String::new(), host.to_owned());
        self.rules.get(&key).or_else(|| self.rules.get(&any)).unwrap_or(&self.rule).clone()
    }

    fn apply_rules(&self) {
        for link in self.links.values().filter_map(|link| link.upgrade()) {
            link.set_rule(self.rule(link.client(), link.host()));
        }
    }
}

/// The later of two moments; pieces of a pipe never overtake each other.
fn later(a: Instant, b: Instant) -> Instant {
    if a > b { a } else { b }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn pair(net: &Net) -> (NetStream, NetStream) {
        let mut accept = net.listen("broker", 9092);
        let near = net.connect("broker", 9092).await.unwrap();
        (near, accept.recv().await.unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_arrive_in_order_and_late() {
        let net = Net::new(1);
        net.set_default(Rule { delay_ms: (50, 90), ..Rule::default() });
        let (mut near, mut far) = pair(&net).await;
        let start = Instant::now();
        for n in 0..20u8 {
            near.write_all(&[n]).await.unwrap();
        }
        let mut got = [0; 20];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(got.to_vec(), (0..20).collect::<Vec<u8>>());
        assert!(start.elapsed() >= Duration::from_millis(50));
    }

    #[tokio::test(start_paused = true)]
    async fn a_close_delivers_and_an_abort_drops() {
        let net = Net::new(1);
        let (mut near, mut far) = pair(&net).await;
        near.write_all(b"abc").await.unwrap();
        drop(near);
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"abc");

        let (mut near, mut far) = pair(&net).await;
        near.write_all(b"abc").await.unwrap();
        near.abort();
        tokio::time::sleep(Duration::from_millis(5)).await;
        let error = far.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxy_delivers_after_an_abort() {
        let net = Net::new(1);
        let rule = Rule { delay_ms: (900, 900), proxy: Proxy::DeliversAlways, ..Rule::default() };
        net.set_default(rule);
        let (mut near, mut far) = pair(&net).await;
        near.write_all(b"abc").await.unwrap();
        near.abort();
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"abc");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_falls_on_the_byte() {
        let net = Net::new(1);
        let (mut near, mut far) = pair(&net).await;
        net.cut_after("", "broker", Way::ToServer, 2);
        near.write_all(b"abc").await.unwrap();
        let mut got = [0; 2];
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"ab");
        assert!(far.read_u8().await.is_err());
        assert!(near.read_u8().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_listens_where_the_broker_is_dead() {
        let net = Net::new(1);
        let error = net.connect("broker", 9092).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        drop(net.listen("broker", 9092));
        let error = net.connect("broker", 9092).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_window_blocks_the_writer() {
        let net = Net::new(1);
        net.set_default(Rule { window_bytes: 4, ..Rule::default() });
        let (mut near, mut far) = pair(&net).await;
        near.write_all(b"abcd").await.unwrap();
        let wait = tokio::time::timeout(Duration::from_secs(9), near.write_all(b"e")).await;
        assert!(wait.is_err());
        far.read_u8().await.unwrap();
        near.write_all(b"e").await.unwrap();
    }
}
