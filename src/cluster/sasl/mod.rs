//! Logins: what is said in each mechanism, and when not to try again.
//!
//! It never touches a connection (`conn/login` does), and never logs a message of a login.

pub mod endpoint;
pub mod message;
pub mod oauth;
pub mod scram;

mod gate;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::cluster::sasl::gate::Gate;
use crate::cluster::sasl::gate::Pass;
use crate::cluster::sasl::message::AuthenticateAnswer;
use crate::cluster::sasl::message::HandshakeAnswer;
use crate::cluster::sasl::oauth::Tokens;
use crate::secure::Secret;
use crate::wire::error::KafkaCode;

/// UNSUPPORTED_SASL_MECHANISM.
const UNSUPPORTED_MECHANISM: KafkaCode = KafkaCode(33);
/// ILLEGAL_SASL_STATE.
const ILLEGAL_STATE: KafkaCode = KafkaCode(34);

/// Why a login did not succeed; never with anything that a password could be in.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoginError {
    /// The broker says no.
    #[error(
        "the login by {mechanism} was refused ({code}){}: check user, password and mechanism",
        .message.as_ref().map_or(String::new(), |text| format!(": {text}"))
    )]
    Refused {
        /// How.
        mechanism: &'static str,
        /// Kafka's code.
        code: KafkaCode,
        /// The broker's own words.
        message: Option<Arc<str>>,
    },
    /// The broker does not have the mechanism.
    #[error(
        "the broker does not take {mechanism}, it takes {}: set sasl.mechanism",
        if .offered.is_empty() { "none" } else { .offered }
    )]
    Mechanism {
        /// What was asked for.
        mechanism: &'static str,
        /// What it has.
        offered: Arc<str>,
    },
    /// The listener has no logins.
    #[error(
        "this listener takes no login: set security.protocol to PLAINTEXT or SSL, or dial its SASL \
         listener"
    )]
    NoSasl,
    /// The server's proof is wrong: it does not know the password.
    #[error(
        "the server cannot prove that it knows the password: it may not be the broker; nothing is \
         sent to it"
    )]
    Forged,
    /// SCRAM with too few or too many rounds.
    #[error(
        "the server asks for {0} iterations; {min} to {max} are taken",
        min = scram::ITERATIONS_MIN,
        max = scram::ITERATIONS_MAX
    )]
    Iterations(u32),
    /// The server's message is not what the mechanism says.
    #[error("the login failed: {0}")]
    Challenge(&'static str),
    /// No token could be had.
    #[error("no OAuth token: {0}")]
    Token(Arc<str>),
    /// The last login was refused a moment ago.
    #[error("{last}; {by} says so; the next login is tried in {wait_ms} ms")]
    Paused {
        /// Why it was refused.
        last: Arc<LoginError>,
        /// The address of the broker that refused it.
        by: Arc<str>,
        /// For how long nothing is tried.
        wait_ms: u64,
    },
}

/// How one cluster is logged in to.
#[derive(Debug)]
pub enum Means {
    /// PLAIN (RFC 4616).
    Plain {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// SCRAM.
    Scram(Arc<scram::Account>),
    /// OAUTHBEARER (RFC 7628, KIP-255).
    OAuth(Arc<Tokens>),
}

/// The logins of one cluster: all its connections share them, and their failures.
#[derive(Debug)]
pub struct Login {
    means: Means,
    gate: Gate,
}

/// A step that takes its time: a token is fetched, a password salted.
pub type Thinking<T> = Pin<Box<dyn Future<Output = Result<T, LoginError>> + Send>>;

/// A message for the server; wiped when it was sent.
pub type Message = Zeroizing<Vec<u8>>;

/// What comes next in a login.
pub enum Step {
    /// Send this, then ask again with the answer.
    Send(Box<Exchange>, Message),
    /// Both sides are content; the login holds so long, in ms, or (0) as long as the connection.
    Done(i64),
}

/// One login under way.
pub struct Exchange {
    login: Arc<Login>,
    /// Where: refusals count by broker.
    address: Arc<str>,
    state: State,
    /// Held while a login must be alone.
    _pass: Pass,
}

enum State {
    /// One message was all: the server says yes or no.
    Told,
    ScramFirst(scram::First),
    ScramLast(scram::Last),
    /// The server has sent a reason; our empty answer lets it end.
    OAuthRefused,
}

impl Login {
    /// Logins by these means.
    pub fn new(means: Means) -> Login {
        Login { means, gate: Gate::default() }
    }

    /// The user that brokers know us by, unless a token says who we are.
    pub fn user(&self) -> Option<&str> {
        match &self.means {
            Means::Plain { user, .. } => Some(user),
            Means::Scram(account) => (!account.is_token).then_some(account.user.as_str()),
            Means::OAuth(_) => None,
        }
    }

    /// The mechanism's name.
    pub fn mechanism(&self) -> &'static str {
        match &self.means {
            Means::Plain { .. } => "PLAIN",
            Means::Scram(account) => account.hash.mechanism(),
            Means::OAuth(_) => "OAUTHBEARER",
        }
    }

    /// The first message to the broker at that address, when it is this login's turn. A renewal
    /// waits for no other login.
    pub fn begin(
        self: &Arc<Login>,
        address: &Arc<str>,
        is_renewal: bool,
    ) -> Thinking<(Exchange, Message)> {
        let (login, address) = (self.clone(), address.clone());
        Box::pin(async move {
            let pass = match is_renewal {
                true => login.gate.renew(),
                false => login.gate.enter(&address).await?,
            };
            let begun = login.first().await;
            let (state, message) = begun?;
            Ok((Exchange { login, address, state, _pass: pass }, message))
        })
    }

    async fn first(&self) -> Result<(State, Message), LoginError> {
        match &self.means {
            Means::Plain { user, password } => {
                let message = format!("\0{user}\0{}", password.expose());
                Ok((State::Told, Zeroizing::new(message.into_bytes())))
            }
            Means::Scram(account) => {
                let (first, message) = account.first()?;
                Ok((State::ScramFirst(first), Zeroizing::new(message)))
            }
            Means::OAuth(tokens) => Ok((State::Told, tokens.message().await?)),
        }
    }

    /// What the broker says to the mechanism.
    pub fn shaken(&self, address: &Arc<str>, answer: &HandshakeAnswer) -> Result<(), LoginError> {
        let mechanism = self.mechanism();
        let error = match answer.code {
            code if code.is_none() => return Ok(()),
            UNSUPPORTED_MECHANISM => {
                let offered = answer.mechanisms.join(", ").into();
                LoginError::Mechanism { mechanism, offered }
            }
            ILLEGAL_STATE => LoginError::NoSasl,
            code => LoginError::Refused { mechanism, code, message: None },
        };
        self.gate.refused(address, &error);
        Err(error)
    }
}

impl Exchange {
    /// What comes after the server's answer.
    pub fn answered(self: Box<Exchange>, answer: AuthenticateAnswer) -> Thinking<Step> {
        Box::pin(async move {
            let (login, address) = (self.login.clone(), self.address.clone());
            let stepped = self.step(answer).await;
            match &stepped {
                Ok(Step::Done(_)) => login.gate.succeeded(&address),
                Ok(Step::Send(..)) => {}
                Err(error) => login.gate.refused(&address, error),
            }
            stepped
        })
    }

    async fn step(mut self: Box<Exchange>, answer: AuthenticateAnswer) -> Result<Step, LoginError> {
        if !answer.code.is_none() {
            return Err(self.refusal(answer));
        }
        let login = self.login.clone();
        match (std::mem::replace(&mut self.state, State::Told), &login.means) {
            (State::Told, Means::OAuth(_)) if !answer.challenge.is_empty() => {
                self.state = State::OAuthRefused;
                Ok(Step::Send(self, Zeroizing::new(vec![1])))
            }
            (State::Told, _) => Ok(Step::Done(answer.lifetime_ms)),
            (State::ScramFirst(first), Means::Scram(account)) => {
                let account = account.clone();
                let work = move || account.last(&first, &answer.challenge);
                let joined = tokio::task::spawn_blocking(work).await;
                let failed = LoginError::Challenge("the proof could not be computed");
                let (last, message) = joined.map_err(|_| failed)??;
                self.state = State::ScramLast(last);
                Ok(Step::Send(self, Zeroizing::new(message)))
            }
            (State::ScramLast(last), _) => {
                last.check(&answer.challenge)?;
                Ok(Step::Done(answer.lifetime_ms))
            }
            (State::ScramFirst(_) | State::OAuthRefused, _) => {
                Err(LoginError::Challenge("the server goes on where it should have ended"))
            }
        }
    }

    fn refusal(&self, answer: AuthenticateAnswer) -> LoginError {
        if let Means::OAuth(tokens) = &self.login.means {
            tokens.refused();
        }
        LoginError::Refused {
            mechanism: self.login.mechanism(),
            code: answer.code,
            message: answer.message.map(Arc::from),
        }
    }
}
