//! What `/metrics` says of topics and links however many partitions they have: the greatest lag,
//! the bytes of all.
//!
//! It never flatters: where the lag of one partition is not known, the greatest is not known.

use std::collections::BTreeMap;

use crate::mirror::lag::Ages;

use super::view::PartitionView;

/// Which partitions have series of their own: `metrics.partition.series`.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Series {
    /// All of them.
    #[default]
    All,
    /// Those that are not level, or not known to be.
    Lagging,
    /// None.
    None,
}

impl Series {
    /// By the word of the setting.
    pub fn of(word: &str) -> Series {
        match word {
            "none" => Series::None,
            "lagging" => Series::Lagging,
            _ => Series::All,
        }
    }

    /// Whether this partition has series of its own.
    pub fn shows(self, view: &PartitionView) -> bool {
        match self {
            Series::All => true,
            Series::Lagging => !is_level(view),
            Series::None => false,
        }
    }
}

/// Copied as far as the source goes, and nothing to be told.
fn is_level(view: &PartitionView) -> bool {
    let is_well = view.state == crate::mirror::lag::MIRRORING && view.reason_code.is_empty();
    is_well && view.lag_records == Some(0) && view.held_records == Some(0)
}

/// Several partitions as one.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Folded {
    /// The greatest lag, in records.
    pub lag_records: Option<u64>,
    /// The greatest lag, in ms.
    pub lag_ms: Option<u64>,
    /// The same, with the records that are held back.
    pub rpo_ms: Option<u64>,
    /// Offsets that were acknowledged.
    pub append_records: u64,
    /// Bytes that were acknowledged.
    pub append_bytes: u64,
    /// How old the records were by then.
    pub ages: Ages,
}

impl Folded {
    fn of(view: &PartitionView) -> Folded {
        Folded {
            lag_records: view.lag_records,
            lag_ms: view.lag_ms,
            rpo_ms: view.rpo_ms,
            append_records: view.append_records,
            append_bytes: view.append_bytes,
            ages: view.ages,
        }
    }

    fn and(self, other: Folded) -> Folded {
        let greatest = |a: Option<u64>, b: Option<u64>| Some(a?.max(b?));
        Folded {
            lag_records: greatest(self.lag_records, other.lag_records),
            lag_ms: greatest(self.lag_ms, other.lag_ms),
            rpo_ms: greatest(self.rpo_ms, other.rpo_ms),
            append_records: self.append_records.saturating_add(other.append_records),
            append_bytes: self.append_bytes.saturating_add(other.append_bytes),
            ages: self.ages.and(other.ages),
        }
    }
}

/// Partitions as one by what `key` says of each, in order.
pub fn by<'a, K: Ord>(
    partitions: &'a [PartitionView],
    key: impl Fn(&'a PartitionView) -> K,
) -> BTreeMap<K, Folded> {
    let mut all: BTreeMap<K, Folded> = BTreeMap::new();
    for view in partitions {
        let one = Folded::of(view);
        all.entry(key(view)).and_modify(|sum| *sum = sum.and(one)).or_insert(one);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(topic: &str) -> PartitionView {
        PartitionView {
            topic: topic.into(),
            state: "Mirroring".into(),
            lag_records: Some(0),
            lag_ms: Some(0),
            rpo_ms: Some(0),
            held_records: Some(0),
            append_bytes: 10,
            ..PartitionView::default()
        }
    }

    #[test]
    fn what_is_not_known_of_one_is_not_known_of_all() {
        let behind =
            PartitionView { lag_records: Some(7), lag_ms: Some(90), rpo_ms: None, ..level("a") };
        let unknown = PartitionView { lag_records: None, ..level("b") };
        let views = [level("a"), behind, level("b"), unknown];
        let folded = by(&views, |view| view.topic.as_str());
        let seen = folded["a"];
        assert_eq!((seen.lag_records, seen.lag_ms, seen.rpo_ms), (Some(7), Some(90), None));
        assert_eq!(seen.append_bytes, 20);
        assert_eq!((folded["b"].lag_records, folded["b"].lag_ms), (None, Some(0)));
    }

    #[test]
    fn whatever_is_not_level_for_certain_lags() {
        let lags = |view: PartitionView| Series::Lagging.shows(&view);
        assert!(!lags(level("a")));
        assert!(lags(PartitionView { lag_records: Some(1), ..level("a") }));
        assert!(lags(PartitionView { lag_records: None, ..level("a") }));
        assert!(lags(PartitionView { held_records: Some(1), ..level("a") }));
        assert!(lags(PartitionView { held_records: None, ..level("a") }));
        assert!(lags(PartitionView { state: "Halted".into(), ..level("a") }));
        assert!(lags(PartitionView { reason_code: "WHY".into(), ..level("a") }));
        assert!(Series::All.shows(&level("a")) && !Series::None.shows(&PartitionView::default()));
    }
}
