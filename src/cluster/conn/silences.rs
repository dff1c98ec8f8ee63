//! How often an address has left a question without an answer, shared by its connections.
//!
//! It never says why: a broker that hangs looks like something between that has forgotten us.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// The count of one address; copies share it.
#[derive(Clone, Debug, Default)]
pub struct Silences(Arc<AtomicU64>);

impl Silences {
    /// One more question was not answered in time.
    pub(super) fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many so far.
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether no connection shares it.
    pub fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}
