//! The belt: lanes that carry batches from one source broker to one destination broker.
//!
//! It never creates topics, changes configs or takes orders from outside.

use std::time::Duration;

/// The bounds of the belt; filled by `config`.
#[derive(Clone, Debug)]
pub struct Options {
    /// `buffer.memory.bytes`: record bytes held by all lanes of the process together.
    pub memory_bytes: usize,
    /// `replica.fetch.min.bytes`: the source answers at once when it has this much.
    pub fetch_bytes_min: i32,
    /// `replica.fetch.wait.max.ms`: it answers at the latest after this.
    pub fetch_wait_max: Duration,
    /// `replica.fetch.response.max.bytes`: the most that one fetch asks for.
    pub fetch_bytes_max: i32,
    /// `replica.fetch.max.bytes`: the most that one fetch asks for of one partition.
    pub partition_bytes_max: i32,
    /// `max.request.size`: the most record bytes in one produce request.
    pub append_bytes_max: usize,
}
