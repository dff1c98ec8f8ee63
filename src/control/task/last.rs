//! What the last turn over consumer groups came to, behind the seals of a promote: kept in the row
//! of the stopped topic.
//!
//! It never asks a cluster, and names a few groups only: a row of the journal is a small thing.

use serde::Deserialize;
use serde::Serialize;

use crate::control::topic::Fault;
use crate::ids::TimestampMs;

/// How many groups are named that are not where they should be.
pub const NAMED_MAX: usize = 5;
/// How long a name, or a reason, is at most, in letters.
const LETTERS_MAX: usize = 200;

/// How the groups of one topic stood.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSync {
    /// When, in ms since 1970.
    pub at_ms: i64,
    /// Groups that have the offsets that they have at the source.
    pub synced: u64,
    /// Groups of which some offset lay beyond what was mirrored: it is the end of that now.
    pub clamped: u64,
    /// Groups that are further here than at the source, and were left so.
    pub ahead: u64,
    /// Groups that were not synced, or what kept all of them from it, the first few.
    pub left: Vec<Left>,
    /// How many more.
    #[serde(default)]
    pub more: u64,
}

/// Something that was not synced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// A group, a partition, or the link.
    pub subject: String,
    /// Why.
    pub why: String,
}

impl LastSync {
    /// Nothing is known yet.
    pub fn at(now: TimestampMs) -> LastSync {
        LastSync { at_ms: now.0, ..LastSync::default() }
    }

    /// One more that was not synced.
    pub fn leave(&mut self, subject: &str, fault: &Fault) {
        if self.left.len() >= NAMED_MAX {
            self.more += 1;
            return;
        }
        let cut = |text: &str| text.chars().take(LETTERS_MAX).collect();
        self.left.push(Left { subject: cut(subject), why: cut(&fault.text) });
    }

    /// How many were not synced.
    pub fn left_count(&self) -> u64 {
        self.left.len() as u64 + self.more
    }

    /// For people: what was not synced and why; `None` where all is well.
    pub fn trouble(&self) -> Option<String> {
        let first = self.left.first()?;
        let more = match self.left_count() - 1 {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        Some(format!(
            "consumer groups were not all synced when it was stopped, and read some records again \
             or have no offset here: {}: {}{more}",
            first.subject, first.why
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_names_a_few_and_counts_the_others() {
        let fault = |text: &str| Fault { code: "INTERNAL_ERROR".into(), text: text.into() };
        let mut last = LastSync::at(TimestampMs(7));
        assert_eq!((last.trouble(), last.left_count()), (None, 0));
        for n in 0..9 {
            last.leave(&format!("g{n}"), &fault(&"ü".repeat(5_000)));
        }
        assert_eq!((last.left.len(), last.more, last.left_count()), (NAMED_MAX, 4, 9));
        let told = last.trouble().unwrap();
        assert!(told.contains("g0: ü") && told.ends_with("and 8 more"), "{told}");
        let json = serde_json::to_string(&last).unwrap();
        assert!(json.len() < 5_000, "{}", json.len());
        assert_eq!(serde_json::from_str::<LastSync>(&json).unwrap(), last);
    }
}
