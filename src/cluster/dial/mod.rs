//! From host and port to a stream: names resolved anew at every dial, every address tried.
//!
//! It never sends a byte, and never sets `SO_RCVBUF` (that would end the kernel's autotuning).

pub mod allow;
mod sockets;
pub(super) mod tls;

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use socket2::SockRef;
use socket2::TcpKeepalive;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::net::lookup_host;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio::time::timeout_at;

use crate::cluster::dial::sockets::Place;
use crate::cluster::dial::sockets::Sockets;

/// Idle time before the kernel asks whether the peer still lives.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Pause between such questions.
const KEEPALIVE_PAUSE: Duration = Duration::from_secs(15);
/// The longest name of a host (RFC 1035).
const HOST_BYTES_MAX: usize = 253;
/// How many addresses of one name are tried.
const ADDRESSES_MAX: usize = 16;

/// Whether a text can be the host of a broker: an address, or letters, digits, `.`, `-` and `_`.
pub fn is_host(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_name = !text.is_empty() && text.len() <= HOST_BYTES_MAX && text.bytes().all(legal);
    is_name || text.parse::<IpAddr>().is_ok()
}

/// How many connections to brokers the process opens at most: in all, and to one address.
pub fn sockets_max() -> (usize, usize) {
    Sockets::of_process().bounds()
}

/// Whether one more connection that only asks questions may be opened there.
pub(super) fn may_ask(host: &str, port: u16) -> Result<(), DialError> {
    Sockets::of_process().may_ask(host, port)
}

/// A stream of bytes to one broker.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// Ends the stream so that nothing sent before can still arrive (RST): what is in flight must
    /// not be applied later (`docs/OFFSETS.md`: a FIN let queued requests through, an RST none).
    fn abort(self: Box<Self>);

    /// The address of the other end, where there is one.
    fn peer_ip(&self) -> Option<IpAddr> {
        None
    }
}

/// What a dial is, while it lasts.
pub type Dialling<'a> =
    Pin<Box<dyn Future<Output = Result<Box<dyn Stream>, DialError>> + Send + 'a>>;

/// Opens streams; the tests plug an in-memory network in here.
pub trait Dial: Send + Sync {
    /// Opens a stream to `host:port`, within a deadline of its own.
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> Dialling<'a>;
}

/// Why no stream could be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address.
    #[error("the name cannot be resolved ({0}): check the host name and DNS")]
    Dns(Arc<io::Error>),
    /// Somebody is there and refuses.
    #[error("refused: is the broker up, and is this the port of its listener?")]
    Refused,
    /// Nobody answers.
    #[error("no connection within {} ms: a firewall, or the host is down", .0.as_millis())]
    Timeout(Duration),
    /// The address is not among `broker.addresses.allowed`.
    #[error("broker.addresses.allowed does not hold this address: nothing was sent there")]
    NotAllowed,
    /// No TLS with that peer.
    #[error("{0}")]
    Tls(Arc<str>),
    /// The TLS handshake takes too long.
    #[error(
        "no TLS handshake within {} ms: the port may be plaintext, or the broker hangs",
        .0.as_millis()
    )]
    TlsTimeout(Duration),
    /// So many sockets are open, and the rest of the descriptors is kept for the service port.
    #[error(
        "isolog has {0} connections to brokers, as many as its limit of open files leaves room \
         for: raise it (LimitNOFILE in the unit, ulimit -n)"
    )]
    NoDescriptor(usize),
    /// So many sockets to one address are open.
    #[error(
        "isolog has {0} connections to this address already: are so many brokers advertised \
         behind one address?"
    )]
    Crowded(usize),
    /// Any other reason.
    #[error("cannot connect: {0}")]
    Io(Arc<io::Error>),
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> DialError {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => DialError::Refused,
            _ => DialError::Io(Arc::new(error)),
        }
    }
}

/// Plain TCP.
#[derive(Clone, Debug)]
pub struct TcpDial {
    /// How long one dial may take, over all addresses of the name.
    pub timeout: Duration,
}

impl Dial for TcpDial {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> Dialling<'a> {
        Box::pin(async move {
            let place = Sockets::of_process().place(host, port)?;
            let stream = self.connect(host, port).await?;
            Ok(Box::new(Socket { stream, _place: place }) as Box<dyn Stream>)
        })
    }
}

impl TcpDial {
    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let until = Instant::now() + self.timeout;
        let looked = timeout_at(until, lookup_host((host, port))).await;
        let found = looked.map_err(|_| DialError::Timeout(self.timeout))?;
        let found = found.map_err(|error| DialError::Dns(Arc::new(error)))?;
        let addresses: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
        let mut last = DialError::Dns(Arc::new(io::ErrorKind::NotFound.into()));
        for (at, address) in addresses.iter().enumerate() {
            // an address that swallows packets must leave time for the next ones
            let left = until.saturating_duration_since(Instant::now());
            let share = left / (addresses.len() - at) as u32;
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return tune(stream),
                Ok(Err(error)) => last = error.into(),
                Err(_) => last = DialError::Timeout(self.timeout),
            }
        }
        Err(last)
    }
}

/// A socket, and its place among those of the process.
struct Socket {
    stream: TcpStream,
    _place: Place,
}

impl Stream for Socket {
    fn abort(self: Box<Self>) {
        // a socket that is gone already needs no RST
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    fn peer_ip(&self) -> Option<IpAddr> {
        self.stream.peer_addr().ok().map(|address| address.ip())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn tune(stream: TcpStream) -> Result<TcpStream, DialError> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_PAUSE);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}
