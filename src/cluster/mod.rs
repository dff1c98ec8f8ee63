//! One Kafka cluster: connections, metadata and typed calls.
//!
//! It never knows that anything is being mirrored.

pub mod conn;
pub mod dial;
pub mod error;
mod inbox;
mod outbox;
mod slabs;

use std::time::Duration;

use crate::ids::Side;

/// How to reach one cluster; filled by `config`.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which of the two clusters this is: every error carries it.
    pub side: Side,
    /// `bootstrap.servers`: host and port, at least one.
    pub bootstrap: Vec<(String, u16)>,
    /// `client.id`.
    pub client_id: String,
    /// `request.timeout.ms`: the deadline of every request.
    pub request_timeout: Duration,
    /// `socket.connection.setup.timeout.ms`: the deadline of a dial.
    pub dial_timeout: Duration,
    /// `metadata.max.age.ms`: metadata older than this is refreshed.
    pub metadata_age_max: Duration,
    /// `reconnect.backoff.ms`: the first pause before a broker is dialled again.
    pub redial_pause: Duration,
    /// `reconnect.backoff.max.ms`: the longest such pause.
    pub redial_pause_max: Duration,
    /// `retry.backoff.ms`: the first pause before a failed request is asked again.
    pub retry_pause: Duration,
    /// `retry.backoff.max.ms`: the longest such pause.
    pub retry_pause_max: Duration,
    /// `client.rack`, empty for none.
    pub rack: String,
}
