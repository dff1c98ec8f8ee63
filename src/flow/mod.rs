//! What copies: the partition manager, and lanes that carry batches from one source broker to one
//! destination broker.
//!
//! It never creates topics, changes configs or takes orders from outside.

pub mod ask;
mod entries;
pub mod entry;
pub mod lane;
mod lanes;
mod look;
pub mod manager;
mod near;
pub mod probe;
pub mod producer_id;
pub mod release;
pub mod seal;
pub mod shared;
pub mod stats;
mod topic_ids;

use std::time::Duration;

use tokio::time::Instant;

use crate::ids::TimestampMs;

/// The wall clock as a lane reads it: set once, moved by the monotonic clock, so that a jump of
/// the system's time moves no timeout and a paused clock pauses it.
#[derive(Copy, Clone, Debug)]
pub struct Wall {
    base: TimestampMs,
    at: Instant,
}

impl Wall {
    /// A clock that shows `base` now.
    pub fn new(base: TimestampMs) -> Wall {
        Wall { base, at: Instant::now() }
    }

    /// The time.
    pub fn now(&self) -> TimestampMs {
        let passed = i64::try_from(self.at.elapsed().as_millis()).unwrap_or(i64::MAX);
        TimestampMs(self.base.0.saturating_add(passed))
    }
}

/// The bounds of all that copies; filled by `config`.
#[derive(Clone, Debug)]
pub struct Options {
    /// `buffer.memory.bytes`: record bytes held by all lanes of the process together.
    pub memory_bytes: usize,
    /// `reencode.threads`: so many units are unpacked and encoded anew at a time, by the process.
    pub reencode_threads: usize,
    /// `replica.fetch.min.bytes`: the source answers at once when it has this much.
    pub fetch_bytes_min: i32,
    /// `replica.fetch.wait.max.ms`: it answers at the latest after this.
    pub fetch_wait_max: Duration,
    /// `replica.fetch.response.max.bytes`: the most that one fetch asks for.
    pub fetch_bytes_max: i32,
    /// `replica.fetch.max.bytes`: the most that one fetch asks for of one partition.
    pub partition_bytes_max: i32,
    /// `link.max.bytes.per.second`: what all lanes of the link may fetch; `None` for no limit.
    pub bytes_per_second_max: Option<u64>,
    /// `max.request.size`: the most record bytes in one produce request.
    pub append_bytes_max: usize,
}
