//! What is counted of connections, by side.
//!
//! It never measures time, and costs one atomic step per request.

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

/// Counts one connection for as long as it lives.
pub(super) struct Counted {
    connections: Gauge,
    requests: Counter,
}

impl Counted {
    /// From now on the connection is one of the open ones.
    pub fn open(side: Side) -> Counted {
        let connections = metrics::gauge!(meters::CONNECTIONS.name, "side" => label(side));
        let requests = metrics::counter!(meters::REQUESTS.name, "side" => label(side));
        connections.increment(1.0);
        Counted { connections, requests }
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
