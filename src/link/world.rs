//! What all links of the process share: how each side is dialled, the time, the memory's lanes.
//!
//! It never knows a link.

use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use tokio_util::sync::CancellationToken;

use crate::cluster::dial::Dial;
use crate::cluster::dial::TcpDial;
use crate::flow::Wall;
use crate::flow::lane::works::Pool;
use crate::flow::stats::Gauge;
use crate::ids::TimestampMs;
use crate::link::Settings;

/// The first pause before a cluster that cannot be reached is tried again.
pub(super) const RECONNECT_MIN: Duration = Duration::from_millis(500);
/// The longest; `availability.check.ms` where that is shorter.
pub(super) const RECONNECT_MAX: Duration = Duration::from_secs(30);

/// What all links of the process share.
#[derive(Clone)]
pub struct World {
    /// Opens connections.
    pub dial: Dials,
    /// The time.
    pub wall: Wall,
    /// Seeds every backoff's dice.
    pub seed: u64,
    /// Counts the lanes that share the memory.
    pub lanes: Arc<Gauge>,
    /// Where units are worked on that would hold a lane up.
    pub pool: Arc<Pool>,
    /// Stops everything.
    pub stop: CancellationToken,
}

impl World {
    /// The real one: TCP, the system's time, dice that nobody knows.
    pub fn real(settings: &Settings, stop: CancellationToken) -> World {
        let source = settings.links.iter().map(|link| link.source.dial_timeout).max();
        let destination = settings.destination.dial_timeout;
        let tcp = |timeout| Arc::new(TcpDial { timeout });
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ms = i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX);
        let dial =
            Dials { source: tcp(source.unwrap_or(destination)), destination: tcp(destination) };
        World {
            dial,
            wall: Wall::new(TimestampMs(ms)),
            seed: u64::from(since_1970.subsec_nanos()) ^ u64::from(std::process::id()) << 32,
            lanes: Arc::new(Gauge::default()),
            pool: Arc::new(Pool::new(settings.shared.reencode_threads)),
            stop,
        }
    }
}

/// How each side is dialled.
#[derive(Clone)]
pub struct Dials {
    /// To the source.
    pub source: Arc<dyn Dial>,
    /// To the destination.
    pub destination: Arc<dyn Dial>,
}
