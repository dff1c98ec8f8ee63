//! The counter: what the outside sees of a running isolog.
//!
//! It shows and never does.

use std::net::SocketAddr;

/// A loopback address and port; other machines cannot reach it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Listen(SocketAddr);

/// Why an address is not listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} is not a loopback address: other machines are let in by a later release, with TLS and \
     tokens"
)]
pub struct NotLoopback(SocketAddr);

impl Listen {
    /// Refuses what is not loopback.
    pub fn new(address: SocketAddr) -> Result<Listen, NotLoopback> {
        if address.ip().is_loopback() { Ok(Listen(address)) } else { Err(NotLoopback(address)) }
    }

    /// The address; port 0 is any free one.
    pub fn address(self) -> SocketAddr {
        self.0
    }
}

/// The counter's settings; filled by `config`.
#[derive(Clone, Debug)]
pub struct Options {
    /// `listen`.
    pub listen: Listen,
    /// `log.format` is `json`.
    pub log_json: bool,
    /// `log.level`: `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: String,
}
