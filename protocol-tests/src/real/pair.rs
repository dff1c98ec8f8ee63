//! A partition and its copy on real clusters: are they level, and is the copy right?
//!
//! It never asks isolog what it has copied: it reads both raw logs.

use super::Hand;
use crate::broker::batch::CONTROL;
use crate::broker::batch::TRANSACTIONAL;
use crate::broker::direct::Dump;
use crate::check::Difference;
use crate::check::visible;
use crate::world::verdict::History;
use crate::world::verdict::Rules;
use crate::world::verdict::hidden;
use crate::world::verdict::judge;

/// One partition of both sides.
#[derive(Clone, Copy)]
pub struct Pair<'a> {
    /// The source's cluster.
    pub source: &'a Hand,
    /// The destination's.
    pub copy: &'a Hand,
    /// The topic.
    pub topic: &'a str,
    /// The partition's number.
    pub partition: i32,
    /// A cleaner runs over it on both sides.
    pub is_compacted: bool,
}

impl Pair<'_> {
    /// How people name it.
    pub fn name(&self) -> String {
        format!("{}-{}", self.topic, self.partition)
    }

    /// Why the copy is not level yet: other bounds, or a cleaner that is still at work.
    pub fn unlevel(&self) -> Option<String> {
        let (topic, partition) = (self.topic, self.partition);
        let bounds = self.source.ends(topic, partition).expect("the source tells its ends");
        let Ok(theirs) = self.copy.ends(topic, partition) else {
            return Some(format!("there is no {}", self.name()));
        };
        if bounds != theirs {
            return Some(format!("{}: source {bounds:?}, copy {theirs:?}", self.name()));
        }
        if !self.is_compacted {
            return None;
        }
        let (log, copy) = self.logs();
        let counts = [&log, &copy].map(|log| visible(log, log.end).len());
        (counts[0] != counts[1])
            .then(|| format!("{}: {counts:?} records are not yet cleaned", self.name()))
    }

    /// Both logs, the source's first.
    pub fn logs(&self) -> (Dump, Dump) {
        let read = |hand: &Hand| hand.read(self.topic, self.partition);
        (read(self.source).expect("the source is read"), read(self.copy).expect("and its copy"))
    }

    /// Everything that is not right in a copy that is level, and how many offsets it fills.
    pub fn judge(&self) -> (Vec<Difference>, usize) {
        let (log, copy) = self.logs();
        let mut history = History::default();
        history.note(&log);
        let cleaned = self.is_compacted;
        let rules = Rules { compacted: cleaned, cleaned, merged: true };
        let mut found = judge(&log, &history, &copy, rules);
        found.extend(unchained(&copy));
        (found, copy.batches.iter().map(hidden).sum())
    }
}

/// Batches that are in a transaction, or whose sequence is not their offset.
fn unchained(copy: &Dump) -> Vec<Difference> {
    let headers = copy.batches.iter().filter_map(|batch| batch.header);
    let odd = headers.filter(|header| {
        let is_ours = i64::from(header.base_sequence) == header.base_offset & 0x7fff_ffff;
        header.has(CONTROL) || header.has(TRANSACTIONAL) || !is_ours
    });
    odd.map(|header| format!("{}: not as the link writes it: {header:?}", header.base_offset))
        .collect()
}
