//! A small HTTP/1.1 server on one port, with a bound for everything a client can hold.
//!
//! It never knows what is served; `routes` does.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use hyper::Request;
use hyper::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tokio_util::task::TaskTracker;

use crate::secure::ServerTls;
use crate::secure::subject;

use super::pace::Pace;
use super::seats::Limits;
use super::seats::Seat;
use super::seats::Seats;
use super::sliced::Sliced;
use super::sliced::Watched;

/// Bytes of a request's line and headers together, and of an answer that wait in a connection.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// For how long a client may take over them.
const HEAD_WAIT_MAX: Duration = Duration::from_secs(5);
/// After this a connection is closed at its next pause.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);
/// For how long an answer may still flow when the connection shall end.
const LINGER_MAX: Duration = Duration::from_secs(2);
/// The pause after a failed accept: the process may be out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What paths of looks at health begin with.
const HEALTH: &str = "/health/";

/// A port that is open and not yet served.
#[derive(Debug)]
pub struct Door {
    listener: std::net::TcpListener,
    address: SocketAddr,
    tls: Option<ServerTls>,
    limits: Limits,
}

impl Door {
    /// Opens the port.
    pub async fn open(address: SocketAddr, tls: Option<ServerTls>) -> io::Result<Door> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        // who serves it waits for it in a runtime of its own
        let listener = listener.into_std()?;
        Ok(Door { listener, address, tls, limits: Limits::PORT })
    }

    /// The address with the port that was really taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same with other bounds.
    #[cfg(test)]
    pub fn with(self, limits: Limits) -> Door {
        Door { limits, ..self }
    }

    /// Serves until `shutdown`, then lets the answers that are under way end.
    pub async fn serve(self, router: Router, shutdown: CancellationToken) {
        self.serve_by(router, shutdown, None).await;
    }

    /// The same by a thread of its own, so that a look at health waits for nobody who is busy with
    /// records, and nobody with records for those who dial. What else is asked is answered here.
    pub async fn serve_apart(self, router: Router, shutdown: CancellationToken) {
        let by = Some(Handle::current());
        let (ended, end) = oneshot::channel();
        let begun = Builder::new_current_thread().enable_all().build().and_then(|runtime| {
            let serve = move || {
                runtime.block_on(self.serve_by(router, shutdown, by));
                let _awaited = ended.send(());
            };
            thread::Builder::new().name("service".to_owned()).spawn(serve)
        });
        match begun {
            Ok(thread) => {
                let has_died = end.await.is_err();
                if has_died && let Err(panic) = thread.join() {
                    std::panic::resume_unwind(panic);
                }
            }
            Err(error) => tracing::error!(%error, "no thread for the service port: it is closed"),
        }
    }

    async fn serve_by(self, router: Router, shutdown: CancellationToken, by: Option<Handle>) {
        let listener = match TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "the service port cannot be listened to: it is closed");
                return;
            }
        };
        let seats = Seats::new(self.limits);
        let (talks, mut pace) = (TaskTracker::new(), Pace::new());
        while let Some(stream) = shutdown.run_until_cancelled(accept(&listener)).await {
            // whoever comes next waits in the kernel's queue
            let taking = async {
                pace.turn().await;
                seats.take().await
            };
            let Some(taken) = shutdown.run_until_cancelled(taking).await else { break };
            let (router, by, seats) = (router.clone(), by.clone(), seats.clone());
            let host = Host { router, by, seats, limits: self.limits };
            let (tls, shutdown) = (self.tls.clone(), shutdown.clone());
            talks.spawn(async move {
                let seat = &taken.seat;
                tokio::select! {
                    () = host.receive(stream, tls, seat, shutdown) => {}
                    () = seat.given_up(&host.limits) => {}
                }
            });
        }
        talks.close();
        talks.wait().await;
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to the service port");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What other threads make of a question; nothing more where its client has gone.
async fn elsewhere<E: Send + 'static>(
    by: &Handle,
    answer: impl Future<Output = Result<Response<Body>, E>> + Send + 'static,
) -> Result<Response<Body>, E> {
    match AbortOnDropHandle::new(by.spawn(answer)).await {
        Ok(answer) => answer,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // the process ends
            Err(_) => {
                let mut gone = Response::new(Body::empty());
                *gone.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                Ok(gone)
            }
        },
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

/// Whom a connection's certificate names; with each of its requests, where TLS asked for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client(pub Arc<str>);

/// What every connection is served with.
struct Host {
    router: Router,
    /// Who answers all but looks at health; `None` for whoever reads the question.
    by: Option<Handle>,
    seats: Arc<Seats>,
    limits: Limits,
}

impl Host {
    async fn receive(
        &self,
        stream: TcpStream,
        tls: Option<ServerTls>,
        seat: &Arc<Seat>,
        shutdown: CancellationToken,
    ) {
        match tls {
            None => self.converse(stream, None, seat, shutdown).await,
            Some(tls) => {
                if let Some(stream) = shake(stream, &tls, &shutdown).await {
                    let certificates = stream.get_ref().1.peer_certificates();
                    let own = certificates.and_then(|all| all.first());
                    let client = own.and_then(subject).map(|name| Client(name.into()));
                    self.converse(stream, client, seat, shutdown).await;
                }
            }
        }
    }

    /// One connection from its first byte to its last.
    async fn converse(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        client: Option<Client>,
        seat: &Arc<Seat>,
        shutdown: CancellationToken,
    ) {
        let talk = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WAIT_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(
                TokioIo::new(Watched::new(stream, seat.clone())),
                service_fn(|request| self.answer(request, client.clone(), seat.clone())),
            );
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

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        client: Option<Client>,
        seat: Arc<Seat>,
    ) -> Result<Response<Sliced<Body>>, std::convert::Infallible> {
        seat.ask();
        if let Some(client) = client {
            request.extensions_mut().insert(client);
        }
        let is_health = request.uri().path().starts_with(HEALTH);
        let answer = TowerToHyperService::new(self.router.clone()).call(request);
        let answer = match &self.by {
            Some(by) if !is_health => elsewhere(by, answer).await?,
            _ => answer.await?,
        };
        let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
        seat.answer(!refused.contains(&answer.status()));
        Ok(answer.map(|body| Sliced::new(body, seat, self.seats.clone())))
    }
}
