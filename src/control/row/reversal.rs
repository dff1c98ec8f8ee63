//! A planned swap of roles, as the row of the mirror topic remembers it that becomes the source.
//!
//! It never knows the other side's row: that one is in the journal there.
//!
//! ```text
//!  reverse ──▶ Stopping ── writers there are stopped ── level, at rest ──▶ Sealing ──▶ STOPPED
//!                 │ promote's deadline                                                    │
//!                 ▼                                                                       ▼
//!              Mirroring ── writers there are let ──▶ (no reversal)    there it is made a mirror
//! ```

use serde::Deserialize;
use serde::Serialize;

/// A `max.message.bytes` that no batch fits in, which takes 69 bytes with one record, and what it
/// is then cut to. The marker of a transaction, which takes 78, must fit, or that transaction would
/// never end.
pub const NO_BATCH_BYTES: &str = "78";

/// A mirror topic that becomes what its source was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reversal {
    /// What becomes the mirror is paused.
    pub is_paused: bool,
    /// What has been done about those who write at the source.
    pub writers: Writers,
}

/// Who writes at the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writers {
    /// They may.
    Let,
    /// They are stopped, or are about to be, by a `max.message.bytes` of the topic that no batch
    /// fits in. This is what it had.
    Stopped(Had),
}

/// What held for a topic before: its own, or else what its brokers say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Had {
    /// `None` where that is not known.
    pub value: Option<String>,
    /// The topic says so itself.
    pub is_own: bool,
}

impl Had {
    /// What the topic itself is to have again.
    pub fn own(&self) -> Option<String> {
        self.value.clone().filter(|_| self.is_own)
    }
}

impl Reversal {
    /// What the source's brokers would say of a topic if its writers had not been stopped: `told`
    /// is what they say, `at_stop` what they said before.
    pub fn as_it_was(&self, told: Option<&str>, at_stop: Option<&String>) -> Option<String> {
        match (&self.writers, told) {
            (Writers::Stopped(had), Some(NO_BATCH_BYTES)) => had.value.clone(),
            (Writers::Let, Some(NO_BATCH_BYTES)) => at_stop.cloned(),
            (_, told) => told.map(str::to_owned),
        }
    }

    /// Nothing has been done about writers yet.
    pub fn new(is_paused: bool) -> Reversal {
        Reversal { is_paused, writers: Writers::Let }
    }
}

/// As the journal has it.
#[derive(Serialize, Deserialize)]
pub(super) struct ReversalText {
    paused: bool,
    /// Writers are stopped, or are about to be.
    stopped: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    was: Option<String>,
    /// That was the topic's own.
    #[serde(default)]
    own: bool,
}

impl From<&Reversal> for ReversalText {
    fn from(one: &Reversal) -> ReversalText {
        let (stopped, had) = match &one.writers {
            Writers::Let => (false, Had::default()),
            Writers::Stopped(had) => (true, had.clone()),
        };
        ReversalText { paused: one.is_paused, stopped, was: had.value, own: had.is_own }
    }
}

impl From<ReversalText> for Reversal {
    fn from(text: ReversalText) -> Reversal {
        let had = Had { value: text.was, is_own: text.own };
        let writers = if text.stopped { Writers::Stopped(had) } else { Writers::Let };
        Reversal { is_paused: text.paused, writers }
    }
}
