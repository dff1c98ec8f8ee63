//! What is due for a mirror topic that is reversed, beside what a promote does.
//!
//! It never seals: a promote does, once this is through.

use super::Topic;
use crate::control::facts::Do;
use crate::control::facts::ForWriters;
use crate::control::row::reversal::Reversal;
use crate::control::row::reversal::Writers;
use crate::control::topic::Stage;

impl Topic<'_> {
    /// What the row is to say of it, where that is something else.
    pub(super) fn reversed(&self) -> Option<Option<Reversal>> {
        let reversal = self.row.reversal.as_ref()?;
        match (self.row.stage, &reversal.writers) {
            // what the topic had is written down before it gets another value
            (Stage::Stopping, Writers::Let) => {
                let writers = Writers::Stopped(self.track.swap.had.clone()?);
                Some(Some(Reversal { writers, ..*reversal }))
            }
            // it was given up
            (Stage::Mirroring, Writers::Let) => Some(None),
            (Stage::Mirroring, Writers::Stopped(_)) => {
                (self.track.swap.are_stopped == Some(false)).then_some(None)
            }
            _ => None,
        }
    }

    /// Whether nothing of it is to come before the seals.
    pub(super) fn may_swap(&self) -> bool {
        self.row.reversal.is_none() || self.track.swap.rests
    }

    /// What is to be done at the source.
    pub(super) fn swap(&self) -> Option<Do> {
        let reversal = self.row.reversal.as_ref()?;
        let swap = &self.track.swap;
        let what = match (self.row.stage, &reversal.writers) {
            (Stage::Stopping, Writers::Let) if swap.had.is_none() => ForWriters::Ask,
            (Stage::Stopping, Writers::Stopped(_)) if swap.are_stopped != Some(true) => {
                ForWriters::Stop
            }
            (Stage::Stopping, Writers::Stopped(_)) if self.is_level() && !swap.rests => {
                let (mirror, mirror_id) = (self.key.clone(), self.row.mirror_id?);
                let (source, partitions) = (self.source(), self.row.partitions);
                return Some(Do::Rest { mirror, mirror_id, source, partitions });
            }
            (Stage::Mirroring, Writers::Stopped(was)) if swap.are_stopped != Some(false) => {
                ForWriters::Let(was.clone())
            }
            _ => return None,
        };
        Some(Do::Writers { mirror: self.key.clone(), source: self.source(), what })
    }
}
