//! What is counted of connections, by side.
//!
//! It never measures time, and costs one atomic step per request.

use std::time::Duration;

use metrics::Counter;
use metrics::Gauge;

use crate::ids::Side;
use crate::meters;

fn label(side: Side) -> &'static str {
    match side {
        Side::Source => "source",
        Side::Destination => "destination",
    }
}

/// Notes a dial that led to no usable connection.
pub(super) fn dial_failed(side: Side) {
    metrics::counter!(meters::DIAL_FAILURES.name, "side" => label(side)).increment(1);
}

/// Notes that a healthy connection was closed, so that another broker is asked.
pub(super) fn given_up(side: Side) {
    metrics::counter!(meters::CONNECTIONS_GIVEN_UP.name, "side" => label(side)).increment(1);
}

/// Notes that a broker closed a connection on which nothing was asked.
pub(super) fn idle_closed(side: Side) {
    metrics::counter!(meters::CONNECTIONS_IDLE_CLOSED.name, "side" => label(side)).increment(1);
}

/// Notes a TLS handshake: whether it led anywhere, from an earlier session, and how long it took.
pub(super) fn tls_handshake(side: Side, ok: bool, resumed: bool, took: Duration) {
    let result = match (ok, resumed) {
        (false, _) => "failed",
        (true, true) => "resumed",
        (true, false) => "full",
    };
    let labels = [("side", label(side)), ("result", result)];
    metrics::counter!(meters::TLS_HANDSHAKES.name, &labels).increment(1);
    metrics::counter!(meters::TLS_HANDSHAKE_MS.name, "side" => label(side)).increment(ms(took));
}

/// Notes a login, or its renewal.
pub(super) fn login(side: Side, ok: bool, took: Duration) {
    let labels = [("side", label(side)), ("result", if ok { "ok" } else { "failed" })];
    metrics::counter!(meters::LOGINS.name, &labels).increment(1);
    metrics::counter!(meters::LOGIN_MS.name, "side" => label(side)).increment(ms(took));
}

fn ms(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// Counts one connection for as long as it lives.
pub(super) struct Counted {
    connections: Gauge,
    requests: Counter,
    throttled_ms: Counter,
}

impl Counted {
    /// From now on the connection is one of the open ones.
    pub fn open(side: Side) -> Counted {
        let connections = metrics::gauge!(meters::CONNECTIONS.name, "side" => label(side));
        let requests = metrics::counter!(meters::REQUESTS.name, "side" => label(side));
        let throttled_ms = metrics::counter!(meters::THROTTLED_MS.name, "side" => label(side));
        connections.increment(1.0);
        metrics::counter!(meters::CONNECTIONS_OPENED.name, "side" => label(side)).increment(1);
        Counted { connections, requests, throttled_ms }
    }

    /// Notes that a broker told us not to ask for so long.
    pub fn throttled(&self, wait: Duration) {
        self.throttled_ms.increment(ms(wait));
    }

    /// Notes one more request.
    pub fn request(&self) {
        self.requests.increment(1);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.connections.decrement(1.0);
    }
}
