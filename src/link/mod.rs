//! One link: a source, a destination, and what keeps them equal.
//!
//! It never speaks to people; `service` does.

mod desk;
pub mod journal;
pub mod run;
mod spec;
mod status;
mod watch;

use std::time::Duration;

use crate::cluster;
use crate::control::filter::TopicFilter;
use crate::control::start::StartSpec;
use crate::flow;
use crate::ids::LinkName;
pub use crate::mirror::facts::GapFill;
pub use crate::mirror::facts::Merge;
pub use crate::mirror::facts::OldFormat;
pub use crate::mirror::facts::Overtook;
pub use crate::mirror::facts::Policy;

/// What one link mirrors and how; filled by `config`.
#[derive(Clone, Debug)]
pub struct Options {
    /// `mirror.topics` and `auto.create.mirror.topics.filters`: which topics of the source.
    pub topics: TopicFilter,
    /// `cluster.link.paused`: nothing is fetched and nothing is created.
    pub paused: bool,
    /// `replication.factor` of the topics the link creates; -1 leaves it to the broker.
    pub replication_factor: i16,
    /// `isolation.level`: mirror up to the source's last stable offset, not its high watermark.
    pub committed_only: bool,
    /// What the link does where there is more than one right answer.
    pub policy: Policy,
    /// `mirror.start.offset.spec`: where the mirror of a partition begins.
    pub start: StartSpec,
    /// `availability.check.ms`: how often a silent source is asked whether it is there.
    pub availability_interval: Duration,
    /// `availability.check.consecutive.failure.threshold`: so many failures mean unavailable.
    pub availability_failures_max: u32,
}

/// All settings of one link.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// `[link.NAME]`.
    pub name: LinkName,
    /// How to reach the source.
    pub source: cluster::Options,
    /// What is mirrored.
    pub link: Options,
    /// The bounds of all that copies; `memory_bytes` is the process's, the same in every link.
    pub flow: flow::Options,
}

/// Everything that runs below `service`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How to reach the destination, which all links share.
    pub destination: cluster::Options,
    /// The links, by name in order; at least one.
    pub links: Vec<LinkSettings>,
}

impl Settings {
    /// How many units the process works on at a time, the same in every link.
    pub fn reencode_threads(&self) -> usize {
        self.links.first().map_or(1, |link| link.flow.reencode_threads)
    }
}
