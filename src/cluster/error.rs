//! What can go wrong between us and one cluster, with side, address, question and what to try.
//!
//! It never knows what the question was for.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::dial::DialError;
use crate::cluster::sasl::LoginError;
use crate::ids::BrokerId;
use crate::ids::ClusterId;
use crate::ids::Side;
pub use crate::wire::error::KafkaCode;
pub use crate::wire::error::Remedy;
use crate::wire::error::WireError;
use crate::wire::versions::NoCommonVersion;

/// What every call of this room returns.
pub type Result<T> = std::result::Result<T, ClusterError>;

/// Whom we speak to; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Which of the two clusters.
    pub side: Side,
    /// The broker's id, `None` where only an address is known.
    pub broker: Option<BrokerId>,
    /// `host:port`, or what stands for it.
    pub address: Arc<str>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.broker {
            Some(id) => write!(f, "{} broker {id} at {}", self.side, self.address),
            None => write!(f, "{} at {}", self.side, self.address),
        }
    }
}

/// One topic (or other item) of a request that was refused; the rest of the request went through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}{}", Said(.message))]
pub struct Refusal {
    /// The code. 7 (REQUEST_TIMED_OUT) says that it may happen yet: read it back.
    pub code: KafkaCode,
    /// What the broker says about it.
    pub message: Option<Arc<str>>,
}

impl Refusal {
    /// What the caller must do.
    pub fn remedy(&self) -> Remedy {
        self.code.remedy()
    }
}

/// How far a connection had come when it was closed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was answered yet.
    Greeting,
    /// ApiVersions was answered, nothing else.
    Greeted,
    /// A login was under way.
    Login,
    /// Other requests were answered.
    Working,
}

/// A failure of one question to one peer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{peer}: {asked}: {kind}")]
pub struct ClusterError {
    /// Whom we asked.
    pub peer: Peer,
    /// What we asked: an API's name, or a word such as "connect".
    pub asked: &'static str,
    /// What happened.
    pub kind: Kind,
}

/// What happened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Kind {
    /// No stream could be opened.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The peer closed the connection.
    #[error("the connection was closed; {}", .0.hint())]
    Closed(Phase),
    /// The stream failed.
    #[error("the connection broke: {0}")]
    Io(Arc<io::Error>),
    /// No login.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// TLS failed after the handshake.
    #[error("{0}")]
    Tls(Arc<str>),
    /// No whole answer came in time; the connection is of no more use.
    #[error("no answer within {} ms", .0.as_millis())]
    Deadline(Duration),
    /// The bytes are not what the protocol says.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The broker is too old (or much too new).
    #[error(transparent)]
    Version(#[from] NoCommonVersion),
    /// The broker refused the whole request.
    #[error("{code}{}", Said(.message))]
    Refused {
        /// The code.
        code: KafkaCode,
        /// What the broker says about it.
        message: Option<Arc<str>>,
    },
    /// Another cluster answers under the same address: nothing may be written there.
    #[error(
        "cluster id is {got}, it was {expected}: the address (or advertised.listeners) leads to \
         another cluster; correct it, or restart with the new cluster on purpose"
    )]
    ClusterIdChanged {
        /// What this cluster answered first.
        expected: ClusterId,
        /// What was answered now.
        got: ClusterId,
    },
    /// The broker does not tell a cluster id, so that nothing guards against a mixed-up address.
    #[error("the broker tells no cluster id; isolog needs Kafka 2.8 or newer")]
    NoClusterId,
    /// The request went out and no answer came: it may have been applied, now or later.
    #[error("it may have been applied, nobody knows: {0}")]
    Unknown(Arc<ClusterError>),
    /// The caller queued more than the connection's bound.
    #[error("{max} requests are in flight already")]
    QueueFull {
        /// The bound.
        max: usize,
    },
    /// The metadata does not have that broker (any more).
    #[error("broker {0} is not in the cluster's metadata")]
    NoBroker(BrokerId),
    /// This process may change nothing there: another instance may have the work by now.
    #[error(
        "it was not sent: this isolog has heard nothing from the coordinator of its group for a \
         session's time, and another instance may have its work; it is sent when the coordinator \
         answers again"
    )]
    LeaseIsOver,
    /// The metadata names no controller at present.
    #[error("the cluster has no controller at present")]
    NoController,
    /// The cluster claims to be larger than what is taken over.
    #[error("it tells {told} {what}, {setting} is {max}: raise that if the cluster is so large")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        told: usize,
        /// The bound.
        max: usize,
        /// The bound's setting.
        setting: &'static str,
    },
    /// Nobody of the addresses that are known could be asked; one failure for each.
    #[error("no broker could be reached: {}", Each(.0))]
    Nobody(Arc<[ClusterError]>),
}

impl ClusterError {
    /// A request that must not be sent: a bug of ours, which ends its user and not the process.
    pub fn own(peer: &Peer, asked: &'static str, why: &dyn std::fmt::Display) -> ClusterError {
        let own = WireError::OwnRequest { why: why.to_string() };
        tracing::error!(asked, "{own}");
        ClusterError::new(peer, asked, own)
    }

    /// Puts a failure together.
    pub fn new(peer: &Peer, asked: &'static str, kind: impl Into<Kind>) -> ClusterError {
        ClusterError { peer: peer.clone(), asked, kind: kind.into() }
    }

    /// What the caller must do.
    pub fn remedy(&self) -> Remedy {
        match &self.kind {
            Kind::Dial(_) | Kind::Closed(_) | Kind::Io(_) | Kind::Deadline(_) => Remedy::Redial,
            Kind::Wire(_) | Kind::Tls(_) => Remedy::Redial,
            Kind::Login(_) => Remedy::Reauth,
            Kind::Version(_) | Kind::ClusterIdChanged { .. } | Kind::NoClusterId => Remedy::Halt,
            Kind::Refused { code, .. } => code.remedy(),
            Kind::Unknown(_) => Remedy::Fenced,
            Kind::QueueFull { .. } | Kind::TooMany { .. } | Kind::LeaseIsOver => Remedy::Retry,
            Kind::NoBroker(_) | Kind::NoController => Remedy::Refresh,
            Kind::Nobody(each) => nobodys_remedy(each),
        }
    }

    /// Whether the request may have been applied although it failed.
    pub fn is_unknown(&self) -> bool {
        matches!(self.kind, Kind::Unknown(_))
    }

    /// Whether the peer has ended the connection.
    pub fn is_closed(&self) -> bool {
        matches!(self.kind, Kind::Closed(_))
    }

    /// The code, where the broker refused the whole request.
    pub fn code(&self) -> Option<KafkaCode> {
        match self.kind {
            Kind::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// The same failure of a request that may have been applied.
    pub fn into_unknown(self) -> ClusterError {
        let peer = self.peer.clone();
        ClusterError { peer, asked: self.asked, kind: Kind::Unknown(Arc::new(self)) }
    }
}

/// A cluster of which every address says "never" needs a person; else dialling again may help.
fn nobodys_remedy(each: &[ClusterError]) -> Remedy {
    let halts = !each.is_empty() && each.iter().all(|one| one.remedy() == Remedy::Halt);
    if halts { Remedy::Halt } else { Remedy::Redial }
}

impl Phase {
    fn hint(self) -> &'static str {
        match self {
            Phase::Greeting => {
                "before any answer: the port may want TLS (security.protocol), may not be \
                 Kafka's, or the broker is starting or at its max.connections"
            }
            Phase::Greeted => {
                "right after ApiVersions: the port may want a login: set security.protocol to \
                 SASL_PLAINTEXT or SASL_SSL"
            }
            Phase::Login => {
                "in the middle of the login: brokers do so when they refuse one, or restart"
            }
            Phase::Working => {
                "the broker may be restarting, or closes connections idle for longer than its \
                 connections.max.idle.ms"
            }
        }
    }
}

/// The broker's own words, if it has any.
struct Said<'a>(&'a Option<Arc<str>>);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |text| write!(f, ": {text}"))
    }
}

/// One failure after the other.
struct Each<'a>(&'a [ClusterError]);

impl fmt::Display for Each<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, one) in self.0.iter().enumerate() {
            let between = if at == 0 { "" } else { "; " };
            write!(f, "{between}{one}")?;
        }
        Ok(())
    }
}
