//! Proof and preflight: reads both ends of a link, before and after it copies.
//!
//! It never writes to a cluster, and never opens the rooms that do the copying.

pub mod compare;
pub mod cursor;
pub mod plan;
pub mod reader;
#[cfg(test)]
mod samples;
pub mod scan;
pub mod shown;
pub mod state;
pub mod survey;
pub mod verify;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use crate::cluster;
use crate::cluster::Cluster;
use crate::cluster::dial::Dial;
use crate::cluster::dial::TcpDial;
use crate::cluster::error::ClusterError;
use crate::ids::LinkName;
use crate::ids::Side;
use crate::ids::TopicName;

/// Which topics a link mirrors; the rule itself is `config`'s.
#[derive(Clone)]
pub struct Selection(Arc<dyn Fn(&TopicName) -> bool + Send + Sync>);

impl Selection {
    /// The topics that `matches` says.
    pub fn new(matches: impl Fn(&TopicName) -> bool + Send + Sync + 'static) -> Selection {
        Selection(Arc::new(matches))
    }

    /// Whether the topic is one of them.
    pub fn matches(&self, name: &TopicName) -> bool {
        (self.0)(name)
    }
}

impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Selection")
    }
}

/// One link as it is audited; filled by `config`.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// `[link.NAME]`.
    pub name: LinkName,
    /// How to reach the source.
    pub source: cluster::Options,
    /// How to reach the destination.
    pub destination: cluster::Options,
    /// What it mirrors.
    pub topics: Selection,
    /// `isolation.level`: only committed records are mirrored.
    pub committed_only: bool,
}

/// How each side is dialled.
#[derive(Clone)]
pub struct Dials {
    /// To the source.
    pub source: Arc<dyn Dial>,
    /// To the destination.
    pub destination: Arc<dyn Dial>,
}

impl Dials {
    /// The real ones.
    pub fn real(link: &LinkOptions) -> Dials {
        let tcp = |timeout| Arc::new(TcpDial { timeout });
        let source = tcp(link.source.dial_timeout);
        Dials { source, destination: tcp(link.destination.dial_timeout) }
    }

    /// Reaches one side.
    pub async fn connect(
        &self,
        link: &LinkOptions,
        side: Side,
    ) -> Result<Arc<Cluster>, ClusterError> {
        let (options, dial) = match side {
            Side::Source => (&link.source, &self.source),
            Side::Destination => (&link.destination, &self.destination),
        };
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = u64::from(since_1970.subsec_nanos()) ^ u64::from(std::process::id()) << 32;
        Cluster::connect(options.clone(), dial.clone(), seed).await
    }
}
