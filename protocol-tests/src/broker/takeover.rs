//! Tests that answer in a broker's place: any API, any answer, garbage or silence.
//!
//! It never answers by itself: without a control every request goes its usual way.

use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::Encodable;

/// A request as a control sees it.
#[derive(Clone, Debug)]
pub struct Call {
    /// The broker that was asked.
    pub broker: i32,
    /// Which API.
    pub key: ApiKey,
    /// Which version of it.
    pub version: i16,
    /// The request's own number.
    pub correlation_id: i32,
    /// Who asks.
    pub client_id: String,
    /// The request behind its header.
    pub body: Bytes,
}

/// Changes the body of an answer.
pub type Edit = Box<dyn FnOnce(Bytes) -> Bytes + Send>;

/// What a control does with a request.
pub enum Act {
    /// Answers with this body; the broker never sees the request.
    Answer(Bytes),
    /// Writes these very bytes in place of the frame.
    Raw(Bytes),
    /// Neither handles nor answers; the connection is stuck.
    Silence,
    /// Closes the connection without handling.
    Close,
    /// Handles it; the answer is lost with the connection.
    HandleThenClose,
    /// Handles it and never answers.
    HandleThenSilence,
    /// Handles it after a while.
    Delay(Duration),
    /// Handles it and changes the body of the answer.
    Edit(Edit),
}

impl Act {
    /// Answers with a message of kafka-protocol.
    pub fn answer(message: &impl Encodable, version: i16) -> Self {
        let mut body = BytesMut::new();
        message.encode(&mut body, version).expect("the test builds a message of this version");
        Self::Answer(body.freeze())
    }
}

type Control = Box<dyn FnMut(&Call) -> Option<Act> + Send>;

/// Names a control, to take it back.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct ControlId(u64);

/// The controls of a cluster.
#[derive(Default)]
pub struct Controls {
    list: Vec<(u64, ApiKey, Control)>,
    next: u64,
}

impl Controls {
    /// Asks `control` about every request of this API from now on; the newest is asked first.
    pub fn add(&mut self, key: ApiKey, control: Control) -> ControlId {
        self.next += 1;
        self.list.push((self.next, key, control));
        ControlId(self.next)
    }

    /// Takes a control back.
    pub fn remove(&mut self, id: ControlId) {
        self.list.retain(|control| control.0 != id.0);
    }

    /// What the controls want done with a request.
    pub fn ask(&mut self, call: &Call) -> Option<Act> {
        let fitting = self.list.iter_mut().rev().filter(|control| control.1 == call.key);
        fitting.into_iter().find_map(|control| (control.2)(call))
    }
}
