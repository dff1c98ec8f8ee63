//! Answers larger than what was asked for: one connection of a cluster at a time reads them.
//!
//! It never keeps such a buffer: it goes back when the last slice of the answer is dropped, and
//! with it the turn.

use std::sync::Arc;
use std::sync::Weak;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;
use bytes::BytesMut;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio_util::sync::PollSemaphore;

/// Whose turn it is among connections of one kind; copies share it.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Turns {
        Turns(Arc::new(Semaphore::new(1)))
    }
}

/// One connection's part in it.
#[derive(Debug)]
pub(super) struct Large {
    turns: PollSemaphore,
    /// Alive as long as a large answer of this connection is.
    held: Weak<OwnedSemaphorePermit>,
}

/// The right to read large answers on this connection.
pub(super) type Turn = Arc<OwnedSemaphorePermit>;

struct Owned {
    frame: BytesMut,
    _turn: Turn,
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

impl Large {
    pub fn new(turns: &Turns) -> Large {
        Large { turns: PollSemaphore::new(turns.0.clone()), held: Weak::new() }
    }

    /// Waits for the turn. A connection that has it already does not wait for itself.
    pub fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        if let Some(turn) = self.held.upgrade() {
            return Poll::Ready(turn);
        }
        match ready!(self.turns.poll_acquire(cx)) {
            Some(permit) => {
                let turn = Arc::new(permit);
                self.held = Arc::downgrade(&turn);
                Poll::Ready(turn)
            }
            // nobody closes it
            None => Poll::Pending,
        }
    }

    /// Whether a large answer of this connection is alive.
    pub fn is_alive(&self) -> bool {
        self.held.strong_count() > 0
    }
}

/// An answer whose memory goes back, with the turn, when its last slice is dropped.
pub(super) fn owned(frame: BytesMut, turn: Turn) -> Bytes {
    Bytes::from_owner(Owned { frame, _turn: turn })
}
