//! Whether a copy is right, when both logs have lost records to cleaners meanwhile.
//!
//! It never asks isolog: it compares what the brokers hold with what the source ever held.

use std::collections::BTreeMap;

use crate::broker::batch::Record;
use crate::broker::direct::Dump;
use crate::broker::direct::Stored;
use crate::check::Difference;
use crate::check::Seen;
use crate::check::batch_differs;
use crate::check::batches_equal;
use crate::check::holes;
use crate::check::is_plain;
use crate::check::visible;

/// What committed records a partition ever showed: cleaners and retention take them away later.
#[derive(Clone, Debug, Default)]
pub struct History {
    shown: BTreeMap<i64, Seen>,
    /// The greatest log start that it had. A broker that crashes within a minute forgets it, and
    /// shows again what was deleted (broker-facts A6); a copy need not have that.
    start_max: i64,
}

impl History {
    /// Notes what a log shows now. What took the place of a lost record stands.
    pub fn note(&mut self, log: &Dump) {
        self.shown.extend(visible(log, log.stable));
        self.start_max = self.start_max.max(log.start);
    }

    /// The greatest log start that was noted.
    pub fn start_max(&self) -> i64 {
        self.start_max
    }

    /// The latest time below an offset, where anything is known of what stood there.
    fn latest_before(&self, offset: i64) -> Option<i64> {
        self.shown.range(..offset).map(|(_, (time, _))| *time).max()
    }

    /// Whether a cleaner may have taken the record: its key came again, or it is a tombstone.
    fn is_superseded(&self, offset: i64, record: &Record) -> bool {
        let again = |later: &Seen| later.1.key == record.key;
        record.value.is_none() || self.shown.range(offset + 1..).any(|(_, later)| again(later))
    }
}

/// What is asked of a copy.
#[derive(Copy, Clone, Debug)]
pub struct Rules {
    /// The source is compacted: a record whose key came again may be missing.
    pub compacted: bool,
    /// The destination was compacted as well: its log may have holes.
    pub cleaned: bool,
    /// Small batches may have become one.
    pub merged: bool,
}

/// Everything that does not hold between a source with its history and a copy that is level.
pub fn judge(source: &Dump, history: &History, copy: &Dump, rules: Rules) -> Vec<Difference> {
    let mut found = Vec::new();
    if (copy.end, copy.start) != (source.end, source.start) {
        let spans = ((source.start, source.end), (copy.start, copy.end));
        found.push(format!("source and copy span {spans:?}"));
    }
    let (theirs, ours) = (visible(source, source.end), visible(copy, copy.end));
    for (offset, seen) in ours.range(copy.start..) {
        match history.shown.get(offset) {
            None => found.push(format!("{offset} is too much: {seen:?}")),
            Some(was) if was != seen => found.push(format!("{offset} is {seen:?}, not {was:?}")),
            Some(_) => {}
        }
    }
    let from = copy.start.max(source.start).max(history.start_max);
    let missing = theirs.range(from..).filter(|(offset, _)| !ours.contains_key(offset));
    for (offset, seen) in missing {
        if !(rules.compacted && history.is_superseded(*offset, &seen.1)) {
            found.push(format!("{offset} is missing: {seen:?}"));
        }
    }
    found.extend(fillers(history, copy, rules));
    if rules.merged && !rules.compacted {
        found.extend(merged_equal(source, copy, from));
    } else if !rules.compacted {
        found.extend(batches_equal(source, copy, from, source.end));
    }
    if !rules.cleaned {
        found.extend(holes(copy));
    }
    found
}

/// Every plain batch of the source is in the copy as it was, or lies inside one batch of the same
/// codec.
fn merged_equal(source: &Dump, copy: &Dump, from: i64) -> Vec<Difference> {
    let plain = source.batches.iter().filter(|batch| is_plain(batch, &source.aborted));
    let one = |batch: &Stored| {
        let at = copy.batches.partition_point(|other| other.next <= batch.base);
        let Some(other) = copy.batches.get(at) else { return Some("nothing".to_owned()) };
        if (other.base, other.next) == (batch.base, batch.next) {
            return batch_differs(batch, other);
        }
        let codec = |one: &Stored| one.header.and_then(|header| header.codec());
        let inside = other.base <= batch.base && batch.next <= other.next;
        let is_same = inside && codec(batch) == codec(other);
        (!is_same).then(|| format!("{}..{} is cut into {:?}", batch.base, batch.next, other.header))
    };
    plain.filter(|batch| batch.base >= from).filter_map(one).collect()
}

/// Fillers stand alone in their batches, uncompressed, and are never younger than the data before
/// them, nor from 1970 (broker-facts A10, H6). Where that data was deleted the history tells its
/// time, as far as it goes.
fn fillers(history: &History, copy: &Dump, rules: Rules) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut latest = match copy.batches.first().map_or(0, |first| first.base) {
        0 => Some(-1),
        first => history.latest_before(first),
    };
    for batch in &copy.batches {
        let Some(header) = batch.header else {
            found.push(format!("{}: an old format", batch.base));
            continue;
        };
        let count = hidden(batch);
        if count == 0 {
            latest = latest.max(Some(header.max_timestamp));
            continue;
        }
        let whole = usize::try_from(header.count) == Ok(count) && header.attributes & 7 == 0;
        let is_young = latest.is_some_and(|latest| header.max_timestamp > latest);
        let timely = header.max_timestamp != 0 && (!is_young || rules.cleaned);
        if !whole || !timely {
            found.push(format!("{}: fillers, latest time {latest:?}: {header:?}", batch.base));
        }
    }
    found
}

/// How many records of a batch readers cannot see.
pub fn hidden(batch: &Stored) -> usize {
    let records = batch.records.iter().flatten();
    records.filter(|record| record.offset_delta == i32::MIN).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::TestCluster;
    use crate::broker::batch::Build;
    use crate::broker::spec::Spec;
    use crate::net::Net;

    /// A source with a hole in its middle and a copy of it, changed by the test.
    fn pair(fill: &[Build]) -> (Dump, History, Dump) {
        let net = Net::new(1);
        let cluster = TestCluster::start(&net, Spec::single("one", 1));
        cluster.create_topic("s", 1, &[]);
        cluster.create_topic("d", 1, &[]);
        let sizes = [2, 3, 2];
        cluster.fill("s", 0, 1_000_000, &sizes);
        cluster.remove_batch("s", 0, 2);
        cluster.fill("d", 0, 1_000_000, &sizes[..1]);
        for build in fill {
            cluster.append("d", 0, build);
        }
        let last = Build::plain(1_002_000, "b2", 2);
        cluster.append("d", 0, &last);
        let mut history = History::default();
        history.note(&cluster.dump("s", 0));
        (cluster.dump("s", 0), history, cluster.dump("d", 0))
    }

    fn found(fill: &[Build], compacted: bool) -> Vec<Difference> {
        let (source, history, copy) = pair(fill);
        judge(&source, &history, &copy, Rules { compacted, cleaned: false, merged: false })
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_filled_with_hidden_fillers_is_right() {
        assert_eq!(found(&[Build::fillers(1_000_001, 3, None)], false), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_wrong_is_found() {
        let wrong = |fill: &[Build], word: &str| {
            let found = found(fill, false);
            assert!(found.iter().any(|one| one.contains(word)), "{word}: {found:?}");
        };
        wrong(&[Build::fillers(1_000_001, 2, None)], "span");
        wrong(&[Build::fillers(1_000_002, 3, None)], "latest time");
        wrong(&[Build::fillers(0, 3, None)], "fillers");
        wrong(&[Build::plain(1_000_001, "x", 3)], "too much");
        let mut mixed = Build::fillers(1_000_001, 3, None);
        mixed.records[1].offset_delta = 1;
        wrong(&[mixed], "fillers");
    }

    /// What stood before the fillers is deleted on both sides.
    #[tokio::test(start_paused = true)]
    async fn fillers_at_the_start_are_judged_by_what_is_known_of_before() {
        let judged = |is_known: bool, time: i64| {
            let (mut source, mut history, mut copy) = pair(&[Build::fillers(time, 3, None)]);
            source.batches.remove(0);
            copy.batches.remove(0);
            (source.start, copy.start) = (2, 2);
            if !is_known {
                history.shown.retain(|offset, _| *offset >= 2);
            }
            judge(
                &source,
                &history,
                &copy,
                Rules { compacted: false, cleaned: false, merged: false },
            )
        };
        assert_eq!(judged(true, 1_000_001), [""; 0]);
        assert_eq!(judged(false, 1_000_001), [""; 0]);
        assert!(judged(true, 1_000_002)[0].contains("latest time Some"));
        assert!(judged(false, 0)[0].contains("latest time None"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_record_is_found_unless_its_key_came_again() {
        let (source, mut history, mut copy) = pair(&[Build::fillers(1_000_001, 3, None)]);
        // keys k0 and k1 stand at 0, 1 and again at 5, 6
        copy.batches.remove(0);
        let rules = Rules { compacted: true, cleaned: true, merged: false };
        assert_eq!(judge(&source, &history, &copy, rules), [""; 0]);
        let strict = Rules { compacted: false, cleaned: true, merged: false };
        assert!(judge(&source, &history, &copy, strict)[0].contains("0 is missing"));
        copy.batches.pop();
        assert!(judge(&source, &history, &copy, rules)[0].contains("5 is missing"));
        history.shown.clear();
        assert!(!judge(&source, &history, &copy, rules).is_empty());
    }
}
