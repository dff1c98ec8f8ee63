//! One link: a source, a destination, and what keeps them equal.
//!
//! It never speaks to people; `service` does.

pub mod announce;
pub mod clients;
mod copying;
pub mod driver;
pub mod log;
pub mod member;
mod offsets;
pub mod registry;
pub mod restore;
mod seals;
mod seen;
pub mod status;
mod swap;
mod tasks;
mod watch;
pub mod world;

use crate::cluster;
pub use crate::mirror::facts::GapFill;
pub use crate::mirror::facts::Merge;
pub use crate::mirror::facts::OldFormat;
pub use crate::mirror::facts::Overtook;
pub use crate::mirror::facts::Policy;
pub use crate::settings::fill::Shared;
pub use crate::settings::link::LinkSettings;

pub use self::tasks::grown;
pub use crate::settings::link::Options;

/// Everything that runs below `service`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How to reach the destination, which all links share.
    pub destination: cluster::Options,
    /// What all links share of the process.
    pub shared: Shared,
    /// The group of instances, where there is to be one: else this process has all the work.
    pub group: Option<member::Options>,
    /// The links of the config file, by name in order.
    pub links: Vec<LinkSettings>,
}
