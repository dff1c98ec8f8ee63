//! TLS over a dialled stream.
//!
//! It never sends a byte of Kafka before the server has proved who it is.
//!
//! rustls reads 4 KiB at a time; `Bulk` stands between it and the socket and reads 64 KiB, so that
//! a large response costs few system calls. Writes are gathered by rustls into records of 16 KiB,
//! up to `PLAIN_BYTES_MAX` of them at a time.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use rustls::HandshakeKind;
use rustls::pki_types::ServerName;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::cluster::count;
use crate::cluster::dial::DialError;
use crate::cluster::dial::Stream;
use crate::ids::Side;
use crate::secure::ClientTls;
use crate::secure::io_error;

/// What one read takes from the socket at most.
const READ_BYTES_MAX: usize = 64 * 1024;
/// What rustls encrypts ahead of the socket at most.
const PLAIN_BYTES_MAX: usize = 256 * 1024;
/// So many first bytes of a peer are kept, to tell what it speaks.
const FIRST_BYTES: usize = 8;

/// Speaks TLS over `stream` as a client of `host`, within `within` once it is its turn: `turns`
/// bounds how many handshakes run at once.
pub async fn over(
    stream: Box<dyn Stream>,
    host: &str,
    tls: &Arc<ClientTls>,
    side: Side,
    turns: &Semaphore,
    within: Duration,
) -> Result<Box<dyn Stream>, DialError> {
    let name = ServerName::try_from(host.to_owned());
    let name = name.map_err(|_| DialError::Tls("the host is no name that TLS can check".into()))?;
    let _turn = turns.acquire().await;
    let config = tls.config().await;
    let began = Instant::now();
    let connector = TlsConnector::from(config);
    let connecting = connector.connect_with(name, Bulk::new(stream), |session| {
        session.set_buffer_limit(Some(PLAIN_BYTES_MAX));
    });
    let connected = timeout(within, connecting.into_fallible()).await;
    let shaken = match connected {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err((error, bulk))) => Err(DialError::Tls(io_error(&error, bulk.first()).into())),
        Err(_) => Err(DialError::TlsTimeout(within)),
    };
    let kind = shaken.as_ref().ok().and_then(|stream| stream.get_ref().1.handshake_kind());
    let resumed = kind == Some(HandshakeKind::Resumed);
    count::tls_handshake(side, shaken.is_ok(), resumed, began.elapsed());
    Ok(Box::new(shaken?))
}

impl Stream for TlsStream<Bulk> {
    fn abort(self: Box<Self>) {
        self.into_inner().0.stream.abort();
    }

    fn peer_ip(&self) -> Option<IpAddr> {
        self.get_ref().0.stream.peer_ip()
    }
}

/// Reads ahead of rustls.
pub struct Bulk {
    stream: Box<dyn Stream>,
    ahead: Box<[u8]>,
    /// What was read and not yet taken lies in `start..end`.
    start: usize,
    end: usize,
    first: [u8; FIRST_BYTES],
    firsts: usize,
}

impl Bulk {
    fn new(stream: Box<dyn Stream>) -> Bulk {
        Bulk {
            stream,
            ahead: vec![0; READ_BYTES_MAX].into_boxed_slice(),
            start: 0,
            end: 0,
            first: [0; FIRST_BYTES],
            firsts: 0,
        }
    }

    /// The first bytes that the peer ever sent.
    fn first(&self) -> &[u8] {
        &self.first[..self.firsts]
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut into = ReadBuf::new(&mut self.ahead);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut into))?;
        (self.start, self.end) = (0, into.filled().len());
        let room = FIRST_BYTES - self.firsts;
        let more = &self.ahead[..self.end.min(room)];
        self.first[self.firsts..self.firsts + more.len()].copy_from_slice(more);
        self.firsts += more.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Bulk {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.start == this.end {
            ready!(this.poll_fill(cx))?;
        }
        let count = into.remaining().min(this.end - this.start);
        into.put_slice(&this.ahead[this.start..this.start + count]);
        this.start += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bulk {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
