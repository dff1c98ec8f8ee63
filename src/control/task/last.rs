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
    /// How many of all those are share groups.
    #[serde(default, skip_serializing_if = "is_none")]
    pub shares: u64,
    /// The turn came to nothing: what is named is why, and how many groups that are is not known.
    #[serde(default, skip_serializing_if = "is_no")]
    pub is_uncounted: bool,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

fn is_no(flag: &bool) -> bool {
    !*flag
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

    /// How many were not synced; `None` where not even that is known.
    pub fn left_count(&self) -> Option<u64> {
        (!self.is_uncounted).then_some(self.left.len() as u64 + self.more)
    }

    /// For people: which groups were not synced, what comes of it, what to do, and why the first
    /// one was not; `None` where all is well.
    pub fn trouble(&self) -> Option<String> {
        let first = self.left.first()?;
        let named = self.left.iter().map(|one| one.subject.as_str()).collect::<Vec<_>>().join(", ");
        let which = match (self.left_count(), self.more) {
            (None, _) => "how many is not known".to_owned(),
            (_, 0) => named,
            (_, more) => format!("{named} and {more} more"),
        };
        let skips = match self.shares > 0 || self.is_uncounted {
            true => {
                "; what a share group without a start here has not read is skipped, unless its \
                 share.auto.offset.reset is earliest"
            }
            false => "",
        };
        let tool = if self.shares > 0 { "share" } else { "consumer" };
        let Left { subject, why } = first;
        Some(format!(
            "consumer groups were not all synced when it was stopped, and read some records again \
             or have no offset here{skips}: {which}; before their consumers start, compare both \
             sides and set what differs by kafka-{tool}-groups --reset-offsets; {subject}: {why}"
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
        assert_eq!((last.trouble(), last.left_count()), (None, Some(0)));
        for n in 0..9 {
            last.leave(&format!("g{n}"), &fault(&"ü".repeat(5_000)));
        }
        assert_eq!((last.left.len(), last.more, last.left_count()), (NAMED_MAX, 4, Some(9)));
        let told = last.trouble().unwrap();
        assert!(told.contains("here: g0, g1, g2, g3, g4 and 4 more; before"), "{told}");
        assert!(told.contains("; g0: ü") && !told.contains("share"), "{told}");
        let json = serde_json::to_string(&last).unwrap();
        assert!(json.len() < 5_000, "{}", json.len());
        assert_eq!(serde_json::from_str::<LastSync>(&json).unwrap(), last);
        let shares = LastSync { shares: 1, ..last.clone() }.trouble().unwrap();
        assert!(shares.contains("has not read is skipped, unless"), "{shares}");
        assert!(shares.contains("by kafka-share-groups --reset-offsets; g0"), "{shares}");
        let none = LastSync { is_uncounted: true, ..last };
        assert_eq!(none.left_count(), None);
        let told = none.trouble().unwrap();
        assert!(
            told.contains("how many is not known; before") && told.contains("skipped"),
            "{told}"
        );
    }
}
