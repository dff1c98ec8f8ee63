//! One connection to one broker, owned by one task: no locks, no task of its own.
//!
//! It never decodes a body but ApiVersions' and those of a login, never retries, and never closes
//! gently with requests in flight: what is given up must not be applied later (`docs/OFFSETS.md`).
//!
//! ```text
//!  send() ──▶ outbox (pieces) ──vectored writes──▶ stream ──▶ inbox (frame so far) ──▶ turn()
//!        └──▶ in flight: correlation, api, version, deadline (answers come in this order)
//! ```

mod inbox;
mod large;
mod login;
mod outbox;
pub mod read;
mod silences;
mod slabs;

use std::collections::VecDeque;
use std::future::Future;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use bytes::Buf;
use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use tokio::time::Sleep;

use crate::cluster::conn::inbox::Fault;
use crate::cluster::conn::inbox::Inbox;
use crate::cluster::conn::large::Large;
pub use crate::cluster::conn::large::Turns;
use crate::cluster::conn::login::Held;
use crate::cluster::conn::login::Session;
use crate::cluster::conn::outbox::Outbox;
pub use crate::cluster::conn::silences::Silences;
use crate::cluster::count::Counted;
use crate::cluster::dial::Stream;
use crate::cluster::error::ClusterError;
use crate::cluster::error::Kind;
use crate::cluster::error::Peer;
use crate::cluster::error::Phase;
use crate::cluster::error::Result;
use crate::secure;
use crate::wire::error::WireError;
use crate::wire::frame::request_head;
use crate::wire::frame::response_body;
use crate::wire::versions::API_VERSIONS;
use crate::wire::versions::ApiKey;
use crate::wire::versions::Versions;

/// The largest ApiVersions answer that is read: a stock one has about 600 bytes.
const GREETING_BYTES_MAX: usize = 64 * 1024;
/// How far away a timer is set that is not needed.
const NEVER: Duration = Duration::from_secs(86_400);

/// The bounds of one connection.
#[derive(Copy, Clone, Debug)]
pub struct Limits {
    /// The largest response that is read; a larger one ends the connection.
    pub frame_bytes_max: usize,
    /// The largest response whose buffer is kept for the next one. A larger one waits for its turn
    /// (`Conn::share`), and its buffer goes back.
    pub kept_bytes_max: usize,
    /// How many large responses can be alive at once without fresh memory (`Conn::free_slabs`).
    pub slabs: usize,
    /// How many requests can be in flight.
    pub in_flight_max: usize,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The number `send` gave.
    pub correlation: i32,
    /// What was asked.
    pub api: ApiKey,
    /// In which version.
    pub version: i16,
    /// The body, without any head; its slices keep the whole frame alive.
    pub body: Bytes,
}

/// A request that has no answer yet.
#[derive(Copy, Clone, Debug)]
struct Asked {
    correlation: i32,
    api: ApiKey,
    version: i16,
    deadline: Instant,
    /// How long it was given, for the message.
    given: Duration,
    /// Where in the outgoing stream its last byte ends.
    end: u64,
}

/// One connection.
pub struct Conn {
    peer: Peer,
    counted: Counted,
    client_id: Arc<str>,
    /// `None` after `abort` and `close`.
    stream: Option<Box<dyn Stream>>,
    limits: Limits,
    versions: Versions,
    out: Outbox,
    flush_due: bool,
    /// A failed write is told when the read side has nothing more: an answer may be waiting there.
    write_fault: Option<io::Error>,
    inbox: Inbox,
    in_flight: VecDeque<Asked>,
    /// How long the greeting was on its way, there and back.
    round_trip: Duration,
    correlation: i32,
    phase: Phase,
    timer: Pin<Box<Sleep>>,
    /// Where there are logins.
    session: Option<Box<Session>>,
    /// What the address has left unanswered, on whichever connection, and how much of that this
    /// one has seen.
    silences: Silences,
    silences_seen: u64,
    /// How long one question of a login may take.
    login_wait: Duration,
    /// The first failure; every later turn tells the same.
    dead: Option<ClusterError>,
}

impl Conn {
    /// A connection over a fresh stream; nothing is sent before `greet`.
    pub fn new(stream: Box<dyn Stream>, peer: Peer, client_id: &Arc<str>, limits: Limits) -> Conn {
        Conn {
            counted: Counted::open(peer.side),
            peer,
            client_id: client_id.clone(),
            stream: Some(stream),
            versions: Versions::default(),
            out: Outbox::default(),
            flush_due: false,
            write_fault: None,
            inbox: Inbox::new(
                limits.slabs,
                limits.frame_bytes_max.min(GREETING_BYTES_MAX),
                limits.kept_bytes_max,
            ),
            in_flight: VecDeque::with_capacity(limits.in_flight_max),
            round_trip: Duration::ZERO,
            limits,
            correlation: 0,
            phase: Phase::Greeting,
            timer: Box::pin(tokio::time::sleep(NEVER)),
            session: None,
            silences: Silences::default(),
            silences_seen: 0,
            login_wait: Duration::ZERO,
            dead: None,
        }
    }

    /// Asks ApiVersions, the first thing on every connection.
    pub async fn greet(&mut self, deadline: Instant) -> Result<()> {
        let greeted = self.try_greet(deadline).await;
        if let Err(error) = &greeted {
            self.dead.get_or_insert_with(|| error.clone());
        }
        greeted
    }

    async fn try_greet(&mut self, deadline: Instant) -> Result<()> {
        let (body, began) = (Versions::ask(env!("CARGO_PKG_VERSION")), Instant::now());
        self.send(ApiKey::ApiVersions, API_VERSIONS, [body], deadline)?;
        let answer = self.turn().await?;
        self.round_trip = began.elapsed();
        let (code, versions) = Versions::read(answer.body).map_err(|error| self.error(error))?;
        // error 35 tells the versions of a broker that is too old: the choice names both ranges
        if !code.is_none() {
            versions.choose(ApiKey::Metadata).map_err(|error| self.error(error))?;
            versions.choose(ApiKey::ApiVersions).map_err(|error| self.error(error))?;
            return Err(self.error(Kind::Refused { code, message: None }));
        }
        self.versions = versions;
        self.phase = Phase::Greeted;
        self.inbox.bytes_max = self.limits.frame_bytes_max;
        Ok(())
    }

    /// How long the greeting was on its way, there and back.
    pub fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// Shares what is known of the address with all connections to it, and the turn to read large
    /// responses with all of its kind.
    pub fn share(&mut self, silences: Silences, turns: &Turns) {
        self.inbox.large = Large::new(turns);
        self.silences_seen = silences.count();
        self.silences = silences;
    }

    /// Whether no other connection to this address was left without an answer since this one's
    /// last: something between may have forgotten all that were idle, and swallow what comes.
    pub fn is_trusted(&self) -> bool {
        self.silences_seen == self.silences.count()
    }

    /// Whom this connection leads to.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The version to speak an API in with this broker.
    pub fn version(&self, api: ApiKey) -> Result<i16> {
        let chosen = self.versions.choose(api);
        chosen.map_err(|error| ClusterError::new(&self.peer, api.name(), error))
    }

    /// What the broker speaks, as it said itself.
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// Notes what an answer told in `throttle_time_ms`; for how long nothing shall be asked. The
    /// broker does not read the connection meanwhile (KIP-219).
    pub fn throttled(&self, ms: u32) -> Duration {
        let wait = Duration::from_millis(u64::from(ms));
        self.counted.throttled(wait);
        wait
    }

    /// How many requests have no answer yet.
    pub fn in_flight(&self) -> usize {
        let asked = self.in_flight.iter().filter(|one| !is_login(one.api)).count();
        asked + self.session.as_ref().map_or(0, |session| session.held.len())
    }

    /// How many large responses may still come before fresh memory is needed. A slab is free when
    /// all slices of its response are dropped.
    pub fn free_slabs(&mut self) -> usize {
        if self.inbox.large.is_alive() { 0 } else { self.inbox.slabs.free() }
    }

    /// Changes the size of the responses whose buffers are kept.
    pub fn set_kept_bytes_max(&mut self, bytes_max: usize) {
        self.limits.kept_bytes_max = bytes_max;
        self.inbox.kept_bytes_max = bytes_max;
        self.inbox.slabs.give_back(bytes_max);
    }

    /// Queues a request and gives its correlation id; `turn` writes it.
    pub fn send(
        &mut self,
        api: ApiKey,
        version: i16,
        body: impl IntoIterator<Item = Bytes>,
        deadline: Instant,
    ) -> Result<i32> {
        if let Some(error) = &self.dead {
            return Err(error.clone());
        }
        let max = self.limits.in_flight_max;
        if self.in_flight() >= max {
            return Err(ClusterError::new(&self.peer, api.name(), Kind::QueueFull { max }));
        }
        let mut pieces: Vec<Bytes> = body.into_iter().collect();
        let body_bytes = pieces.iter().map(Bytes::len).sum();
        let correlation = self.correlation;
        let head = request_head(api, version, correlation, &self.client_id, body_bytes)
            .map_err(|error| ClusterError::new(&self.peer, api.name(), error))?;
        self.correlation = correlation.wrapping_add(1) & i32::MAX;
        self.counted.request();
        let given = deadline.saturating_duration_since(Instant::now());
        let asked = Asked { correlation, api, version, deadline, given, end: u64::MAX };
        pieces.insert(0, head);
        if let Some(session) = &mut self.session {
            session.renew();
            if session.holds() {
                session.held.push_back(Held { asked, pieces });
                return Ok(correlation);
            }
        }
        self.queue(asked, pieces);
        Ok(correlation)
    }

    fn queue(&mut self, asked: Asked, pieces: Vec<Bytes>) {
        pieces.into_iter().for_each(|piece| self.out.push(piece));
        let end = self.out.end();
        self.in_flight.push_back(Asked { end, ..asked });
    }

    /// Whether a request in flight has left this process whole; only such a one can be applied.
    pub fn may_be_applied(&self, correlation: i32) -> bool {
        let written = self.out.written();
        self.in_flight.iter().any(|one| one.correlation == correlation && one.end <= written)
    }

    /// Writes and reads until there is a whole answer, or this connection is of no more use.
    /// Cancel-safe: whatever was written and read so far is kept.
    pub async fn turn(&mut self) -> Result<Answer> {
        poll_fn(|cx| self.poll_turn(cx)).await
    }

    /// `turn` for a caller with a poll function of its own.
    pub fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer>> {
        if let Some(error) = &self.dead {
            return Poll::Ready(Err(error.clone()));
        }
        let turned = match self.poll_io(cx) {
            Poll::Pending => self.poll_deadline(cx).map(Err),
            ready => ready,
        };
        if let Poll::Ready(Err(error)) = &turned {
            self.dead = Some(error.clone());
        }
        turned
    }

    /// Whether an idle connection is still good: `false` when the peer has closed it meanwhile.
    pub async fn is_alive(&mut self) -> bool {
        poll_fn(|cx| Poll::Ready(self.poll_turn(cx).is_pending())).await
    }

    /// Ends the connection so that nothing in flight can still be applied.
    pub fn abort(mut self) {
        self.end(true);
    }

    /// Ends the connection; gently when nothing is in flight.
    pub fn close(mut self) {
        self.end(false);
    }

    fn end(&mut self, hard: bool) {
        let Some(stream) = self.stream.take() else {
            return;
        };
        if hard || !self.in_flight.is_empty() {
            stream.abort();
        }
        self.out.clear();
    }

    fn poll_io(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer>> {
        loop {
            self.poll_login(cx)?;
            let Some(stream) = self.stream.as_mut() else {
                return Poll::Ready(Err(self.error(Kind::Closed(self.phase))));
            };
            if self.write_fault.is_none() {
                let wrote = poll_write(stream, &mut self.out, &mut self.flush_due, cx);
                self.write_fault = wrote.err();
            }
            let answer = match ready!(self.inbox.poll_frame(stream, cx)) {
                Ok(frame) => self.answer(frame)?,
                Err(fault) => return Poll::Ready(Err(self.fault(fault))),
            };
            match (&mut self.session, answer.api) {
                (Some(session), api) if is_login(api) => {
                    let order = session.answered(api, answer.body);
                    if let Some(order) = order.map_err(|stuck| self.stuck(stuck))? {
                        self.obey(order)?;
                    }
                }
                _ => return Poll::Ready(Ok(answer)),
            }
        }
    }

    fn answer(&mut self, frame: Bytes) -> Result<Answer> {
        let Some(asked) = self.in_flight.pop_front() else {
            let extra = WireError::Trailing { what: "the last answer due", bytes: frame.len() };
            return Err(self.error(extra));
        };
        let body = response_body(frame, asked.api, asked.correlation).map_err(|error| {
            // the request stays unanswered: its caller must know
            self.in_flight.push_front(asked);
            self.error(error)
        })?;
        if asked.api != ApiKey::ApiVersions && !is_login(asked.api) {
            self.phase = Phase::Working;
        }
        self.silences_seen = self.silences.count();
        let Asked { correlation, api, version, .. } = asked;
        Ok(Answer { correlation, api, version, body })
    }

    fn fault(&mut self, fault: Fault) -> ClusterError {
        let kind = match fault {
            Fault::Wire(error) => error.into(),
            Fault::Io(error) => self.broken(error),
            Fault::Closed => match self.write_fault.take() {
                Some(error) => self.broken(error),
                None => self.closed(),
            },
        };
        self.error(kind)
    }

    fn broken(&self, error: io::Error) -> Kind {
        match secure::inner(&error) {
            Some(error) => Kind::Tls(secure::tls_error(error).into()),
            None if is_reset(&error) => self.closed(),
            None => Kind::Io(Arc::new(error)),
        }
    }

    /// A broker that ends a connection in the middle of a login says no more than that.
    fn closed(&self) -> Kind {
        let is_new = self.session.as_ref().is_some_and(|session| !session.proven);
        Kind::Closed(if is_new { Phase::Login } else { self.phase })
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<ClusterError> {
        let held =
            self.session.iter().flat_map(|session| session.held.iter().map(|one| &one.asked));
        let all = self.in_flight.iter().chain(held);
        let Some(first) = all.min_by_key(|one| one.deadline).copied() else {
            return Poll::Pending;
        };
        // the timer is moved only when it rings too early or would ring too late
        if self.timer.deadline() > first.deadline {
            self.timer.as_mut().reset(first.deadline);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if first.deadline <= Instant::now() {
                self.silences.note();
                let kind = Kind::Deadline(first.given);
                return Poll::Ready(ClusterError::new(&self.peer, first.api.name(), kind));
            }
            self.timer.as_mut().reset(first.deadline);
        }
        Poll::Pending
    }

    /// A failure while the oldest request in flight is waited for.
    fn error(&self, kind: impl Into<Kind>) -> ClusterError {
        let asked = match (self.in_flight.front(), self.phase) {
            (Some(asked), _) => asked.api.name(),
            (None, Phase::Greeting) => ApiKey::ApiVersions.name(),
            (None, _) => "idle",
        };
        ClusterError::new(&self.peer, asked, kind)
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.end(false);
    }
}

/// Writes until the outbox is empty or the stream takes no more.
fn poll_write(
    stream: &mut Box<dyn Stream>,
    out: &mut Outbox,
    flush_due: &mut bool,
    cx: &mut Context<'_>,
) -> io::Result<()> {
    while out.has_remaining() {
        *flush_due = true;
        match pin!(stream.write_buf(out)).poll(cx) {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => return Ok(()),
        }
    }
    if *flush_due && let Poll::Ready(flushed) = Pin::new(stream).poll_flush(cx) {
        flushed?;
        *flush_due = false;
    }
    Ok(())
}

/// Whether a question belongs to a login, of which the caller knows nothing.
fn is_login(api: ApiKey) -> bool {
    matches!(api, ApiKey::SaslHandshake | ApiKey::SaslAuthenticate)
}

fn is_reset(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof)
}
