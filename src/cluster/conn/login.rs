//! The login of a connection, and its renewal while requests are in flight (KIP-368).
//!
//! It never lets a request leave between the first byte of a login and its end: the broker would
//! read it as part of the login. What is sent meanwhile is held, and follows when it has ended.
//!
//! ```text
//!  Resting ──due──▶ Preparing ──first message──▶ Shaking ──taken──▶ Asking ◀──▶ Thinking
//!     ▲               (others go on leaving)      (others are held)   │
//!     └───────────────────────────────── done ────────────────────────┘
//! ```

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio::time::Sleep;
use tokio::time::sleep_until;

use crate::cluster::backoff::Dice;
use crate::cluster::conn::Asked;
use crate::cluster::conn::Conn;
use crate::cluster::conn::NEVER;
use crate::cluster::count;
use crate::cluster::error::ClusterError;
use crate::cluster::error::Kind;
use crate::cluster::error::Result;
use crate::cluster::sasl::Exchange;
use crate::cluster::sasl::Login;
use crate::cluster::sasl::LoginError;
use crate::cluster::sasl::Message;
use crate::cluster::sasl::Step;
use crate::cluster::sasl::Thinking;
use crate::cluster::sasl::message::AuthenticateAnswer;
use crate::cluster::sasl::message::HandshakeAnswer;
use crate::cluster::sasl::message::authenticate;
use crate::cluster::sasl::message::handshake;
use crate::wire::error::WireError;
use crate::wire::frame::request_head;
use crate::wire::versions::ApiKey;

/// A login is renewed after 75 to 85 of 100 parts of its life. Kafka's own clients wait longer, for
/// 85 to 95 (`SaslClientAuthenticator`); but a broker counts until it *reads* a request, so what is
/// queued before the renewal must be read in time too, and a token may have to be fetched first.
const RENEW_PARTS: (u64, u64) = (75, 10);
/// Later than this nothing else leaves before the renewal: the broker would end the connection.
/// A renewal itself is taken at any time.
const HOLD_PARTS: u32 = 87;
/// A broker refuses renewals that follow each other within a second
/// (`SaslServerAuthenticator`, MIN_REAUTH_INTERVAL_ONE_SECOND_NANOS).
const RENEW_PAUSE_MIN: Duration = Duration::from_millis(1100);
/// The pause after a renewal that could not begin: no token could be had.
const PREPARE_PAUSE: Duration = Duration::from_secs(1);

/// What a login is called in errors.
const LOGIN: &str = "login";

/// What was to be sent while a login was under way.
#[derive(Debug)]
pub(super) struct Held {
    pub asked: Asked,
    pub pieces: Vec<Bytes>,
}

enum Stage {
    Resting,
    Preparing(Thinking<(Exchange, Message)>),
    Shaking(Box<Exchange>, Message),
    Asking(Box<Exchange>),
    Thinking(Thinking<Step>),
}

/// What the connection must do now.
pub(super) enum Order {
    /// Send this question.
    Ask(ApiKey, Bytes),
    /// Send what was held; the login took so long, and is over.
    Release(Duration),
}

/// Why a login is at its end.
#[derive(Debug)]
pub(super) enum Stuck {
    Login(LoginError),
    Wire(WireError),
}

/// The login of one connection.
pub(super) struct Session {
    login: Arc<Login>,
    address: Arc<str>,
    stage: Stage,
    began: Instant,
    /// A login has succeeded on this connection.
    pub proven: bool,
    /// When the login is renewed, from when on requests wait for that, and when the broker stops
    /// taking them.
    due: Option<Instant>,
    hold: Option<Instant>,
    end: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    pub held: VecDeque<Held>,
    dice: Dice,
}

impl Session {
    /// A login that begins at the next poll.
    pub fn new(login: Arc<Login>, address: Arc<str>, seed: u64) -> Session {
        let now = Instant::now();
        Session {
            stage: Stage::Preparing(login.begin(&address, false)),
            login,
            address,
            began: now,
            proven: false,
            due: None,
            hold: None,
            end: None,
            timer: Box::pin(sleep_until(now + NEVER)),
            held: VecDeque::new(),
            dice: Dice::new(seed),
        }
    }

    /// Whether a request must wait.
    pub fn holds(&self) -> bool {
        match self.stage {
            Stage::Resting | Stage::Preparing(_) => {
                !self.proven || self.hold.is_some_and(|hold| hold <= Instant::now())
            }
            _ => true,
        }
    }

    /// Begins a renewal that is due; called before a request is sent, too.
    pub fn renew(&mut self) {
        let now = Instant::now();
        if matches!(self.stage, Stage::Resting) && self.due.is_some_and(|due| due <= now) {
            self.began = now;
            self.stage = Stage::Preparing(self.login.begin(&self.address, true));
        }
    }

    /// Goes as far as it can without the broker.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<std::result::Result<Order, Stuck>> {
        loop {
            self.renew();
            match &mut self.stage {
                Stage::Resting => {
                    let Some(due) = self.due else { return Poll::Pending };
                    if self.timer.deadline() != due {
                        self.timer.as_mut().reset(due);
                    }
                    std::task::ready!(std::future::Future::poll(self.timer.as_mut(), cx));
                }
                Stage::Preparing(thinking) => match std::task::ready!(thinking.as_mut().poll(cx)) {
                    Ok((exchange, message)) => {
                        return Poll::Ready(Ok(self.shake(exchange, message)));
                    }
                    Err(error) => self.postpone(error)?,
                },
                Stage::Thinking(thinking) => {
                    let step = std::task::ready!(thinking.as_mut().poll(cx));
                    return Poll::Ready(step.map(|step| self.take(step)).map_err(Stuck::Login));
                }
                Stage::Shaking(..) | Stage::Asking(_) => return Poll::Pending,
            }
        }
    }

    fn shake(&mut self, exchange: Exchange, message: Message) -> Order {
        self.stage = Stage::Shaking(Box::new(exchange), message);
        Order::Ask(ApiKey::SaslHandshake, handshake(self.login.mechanism()))
    }

    /// A renewal that cannot begin is tried again while the broker still takes requests.
    fn postpone(&mut self, error: LoginError) -> std::result::Result<(), Stuck> {
        let again = Instant::now() + PREPARE_PAUSE;
        self.stage = Stage::Resting;
        if !self.proven || self.end.is_none_or(|end| end <= again) {
            return Err(Stuck::Login(error));
        }
        tracing::warn!(broker = %self.address, %error, "a login cannot be renewed yet");
        self.due = Some(again);
        Ok(())
    }

    fn take(&mut self, step: Step) -> Order {
        match step {
            Step::Send(exchange, message) => {
                self.stage = Stage::Asking(exchange);
                Order::Ask(ApiKey::SaslAuthenticate, authenticate(&message))
            }
            Step::Done(lifetime_ms) => {
                self.stage = Stage::Resting;
                self.proven = true;
                self.plan(lifetime_ms);
                Order::Release(self.began.elapsed())
            }
        }
    }

    fn plan(&mut self, lifetime_ms: i64) {
        let life = u64::try_from(lifetime_ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis);
        let now = Instant::now();
        let (from, width) = RENEW_PARTS;
        let parts = from as u32 * 10 + self.dice.below(width * 10) as u32;
        self.end = life.map(|life| now + life);
        self.hold = life.map(|life| now + life * HOLD_PARTS / 100);
        let earliest = self.began + RENEW_PAUSE_MIN;
        self.due = life.map(|life| (now + life * parts / 1000).max(earliest));
    }

    /// The broker's answer to a question of the login.
    pub fn answered(
        &mut self,
        api: ApiKey,
        body: Bytes,
    ) -> std::result::Result<Option<Order>, Stuck> {
        match (std::mem::replace(&mut self.stage, Stage::Resting), api) {
            (Stage::Shaking(exchange, message), ApiKey::SaslHandshake) => {
                let answer = HandshakeAnswer::read(body).map_err(Stuck::Wire)?;
                self.login.shaken(&self.address, &answer).map_err(Stuck::Login)?;
                self.stage = Stage::Asking(exchange);
                Ok(Some(Order::Ask(ApiKey::SaslAuthenticate, authenticate(&message))))
            }
            (Stage::Asking(exchange), ApiKey::SaslAuthenticate) => {
                let answer = AuthenticateAnswer::read(body).map_err(Stuck::Wire)?;
                self.stage = Stage::Thinking(exchange.answered(answer));
                Ok(None)
            }
            _ => Err(Stuck::Login(LoginError::Challenge("an answer came that nobody waits for"))),
        }
    }
}

impl Conn {
    /// Logs in, the second thing on a connection to a listener with logins. From then on the login
    /// is renewed by itself; `wait_max` bounds each of its questions, and the first login whole.
    pub async fn login(&mut self, login: &Arc<Login>, seed: u64, wait_max: Duration) -> Result<()> {
        self.login_wait = wait_max;
        let address = self.peer.address.clone();
        self.session = Some(Box::new(Session::new(login.clone(), address, seed)));
        let proven = poll_fn(|cx| {
            let turned = self.poll_turn(cx);
            match (turned, &self.session) {
                (Poll::Ready(Err(error)), _) => Poll::Ready(Err(error)),
                (_, Some(session)) if session.proven => Poll::Ready(Ok(())),
                _ => Poll::Pending,
            }
        });
        let proven = tokio::time::timeout(wait_max, proven).await;
        proven.unwrap_or_else(|_| {
            let late = ClusterError::new(&self.peer, LOGIN, Kind::Deadline(wait_max));
            Err(self.dead.get_or_insert(late).clone())
        })
    }

    /// A question of the login: it goes before all that is held.
    fn ask(&mut self, api: ApiKey, body: Bytes) -> Result<()> {
        let correlation = self.correlation;
        let version = api.ours().max;
        let head = request_head(api, version, correlation, &self.client_id, body.len())
            .map_err(|error| ClusterError::new(&self.peer, api.name(), error))?;
        self.correlation = correlation.wrapping_add(1) & i32::MAX;
        let (given, deadline) = (self.login_wait, Instant::now() + self.login_wait);
        let asked = Asked { correlation, api, version, deadline, given, end: u64::MAX };
        self.queue(asked, vec![head, body]);
        Ok(())
    }

    /// Lets the login go as far as it can, and does what it says.
    pub(super) fn poll_login(&mut self, cx: &mut Context<'_>) -> Result<()> {
        while let Some(session) = &mut self.session {
            match session.poll(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(order)) => self.obey(order)?,
                Poll::Ready(Err(stuck)) => return Err(self.stuck(stuck)),
            }
        }
        Ok(())
    }

    pub(super) fn obey(&mut self, order: Order) -> Result<()> {
        match order {
            Order::Ask(api, body) => self.ask(api, body),
            Order::Release(took) => {
                count::login(self.peer.side, true, took);
                let held = self.session.as_mut().map(|session| std::mem::take(&mut session.held));
                for one in held.into_iter().flatten() {
                    self.queue(one.asked, one.pieces);
                }
                Ok(())
            }
        }
    }

    pub(super) fn stuck(&self, stuck: Stuck) -> ClusterError {
        // one that is not tried while the pause lasts is none
        if !matches!(stuck, Stuck::Login(LoginError::Paused { .. })) {
            count::login(self.peer.side, false, Duration::ZERO);
        }
        match stuck {
            Stuck::Login(error) => ClusterError::new(&self.peer, LOGIN, error),
            Stuck::Wire(error) => ClusterError::new(&self.peer, LOGIN, error),
        }
    }
}
