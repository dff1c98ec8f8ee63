//! What the partition manager, the probes and all lanes of a link share.
//!
//! It never changes while the link runs.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::flow::Options;
use crate::flow::Wall;
use crate::flow::entry::PartitionSpec;
use crate::flow::lane::FromLane;
use crate::flow::lane::pace::Pace;
use crate::flow::lane::works::Pool;
use crate::flow::producer_id;
use crate::flow::stats::Gauge;
use crate::ids::Side;
use crate::wire::fetch::Isolation;
use crate::wire::rewrite::Writer;

/// What all lanes of a link share.
#[derive(Clone)]
pub struct Shared {
    /// Where records come from.
    pub source: Arc<Cluster>,
    /// Where they go.
    pub destination: Arc<Cluster>,
    /// Under whose name, the first time that a topic is a mirror.
    pub writer: Writer,
    /// The bounds.
    pub options: Options,
    /// Up to the source's last stable offset, or its high watermark.
    pub committed_only: bool,
    /// The time.
    pub wall: Wall,
    /// How many lanes of the process share the memory.
    pub lanes: Arc<Gauge>,
    /// How fast they may fetch together.
    pub pace: Arc<Pace>,
    /// Where units are worked on that would hold a lane up.
    pub pool: Arc<Pool>,
    /// Where lanes report.
    pub back: mpsc::Sender<FromLane>,
    /// Stops everything.
    pub stop: CancellationToken,
}

impl Shared {
    /// One of the two.
    pub fn cluster(&self, side: Side) -> &Arc<Cluster> {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }

    /// Under whose name a partition is mirrored.
    pub(super) fn writer_of(&self, spec: &PartitionSpec) -> Writer {
        match spec.generation {
            0 => self.writer,
            number => {
                let (source, destination) = (self.source.id(), self.destination.id());
                producer_id::of_generation(&source, &destination, &spec.name.link, number)
            }
        }
    }

    /// What a fetch may see.
    pub fn isolation(&self) -> Isolation {
        if self.committed_only { Isolation::ReadCommitted } else { Isolation::ReadUncommitted }
    }
}
