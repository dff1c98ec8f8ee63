//! A small HTTP/1.1 server on one port, with a bound for everything a client can hold.
//!
//! It never knows what is served; `routes` does.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::secure::ServerTls;

/// Connections that are open at once; the next client waits in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// Bytes of a request's line and headers together.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// For how long a client may take over them.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(5);
/// After this a connection is closed at its next pause.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);
/// For how long an answer may still flow when the connection shall end.
const LINGER_MAX: Duration = Duration::from_secs(2);
/// The pause after a failed accept: the process may be out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A port that is open and not yet served.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<ServerTls>,
}

impl Door {
    /// Opens the port.
    pub async fn open(address: SocketAddr, tls: Option<ServerTls>) -> io::Result<Door> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Door { listener, address, tls })
    }

    /// The address with the port that was really taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, then lets the answers that are under way end.
    pub async fn serve(self, router: Router, shutdown: CancellationToken) {
        let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let talks = TaskTracker::new();
        while let Some((stream, seat)) = self.next(&seats, &shutdown).await {
            let (tls, router, shutdown) = (self.tls.clone(), router.clone(), shutdown.clone());
            talks.spawn(async move {
                match tls {
                    None => converse(stream, router, shutdown).await,
                    Some(tls) => {
                        if let Some(stream) = shake(stream, &tls, &shutdown).await {
                            converse(stream, router, shutdown).await;
                        }
                    }
                }
                drop(seat);
            });
        }
        talks.close();
        talks.wait().await;
    }

    /// The next client that has a seat; `None` at the end.
    async fn next(
        &self,
        seats: &Arc<Semaphore>,
        shutdown: &CancellationToken,
    ) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        shutdown.run_until_cancelled(self.admit(seats)).await
    }

    async fn admit(&self, seats: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
        let seat = seats.clone().acquire_owned().await.expect("nobody closes the semaphore");
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return (stream, seat),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection to the service port");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// The TLS handshake, bounded like the head of a request.
async fn shake(
    stream: TcpStream,
    tls: &ServerTls,
    shutdown: &CancellationToken,
) -> Option<TlsStream<TcpStream>> {
    let accepting = TlsAcceptor::from(tls.config()).accept(stream);
    let accepted = tokio::time::timeout(HEAD_WAIT_MAX, accepting);
    match shutdown.run_until_cancelled(accepted).await? {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake with the service port failed");
            None
        }
        Err(_) => None,
    }
}

/// One connection from its first byte to its last.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    router: Router,
    shutdown: CancellationToken,
) {
    let talk = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(talk);
    let ended = tokio::select! {
        result = &mut talk => Some(result),
        () = shutdown.cancelled() => None,
        () = tokio::time::sleep(CONNECTION_AGE_MAX) => None,
    };
    let ended = match ended {
        Some(result) => Ok(result),
        None => {
            talk.as_mut().graceful_shutdown();
            tokio::time::timeout(LINGER_MAX, talk).await
        }
    };
    if let Ok(Err(error)) = ended {
        tracing::debug!(%error, "a connection to the service port broke");
    }
}
