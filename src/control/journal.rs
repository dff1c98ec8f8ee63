//! The journal as all instances fold it: which of its batches count, and what they leave behind.
//!
//! It never reads a row's text and never writes.
//!
//! Every batch carries the end of the log that it was decided on (`at`), its writer and a number,
//! as headers of each record, so that null values carry them too. **A batch counts only if it lies
//! at `at`**: then nobody wrote between the decision and the append. All others are skipped, by
//! every reader alike, whatever the broker told their writers (`broker-facts.md` A12, A15: two
//! writers of the same count are both told "appended", and a forgotten id lets a stale one in).
//! A cleaner keeps a batch's base offset and the headers of what it leaves (Kafka's
//! `MemoryRecords.buildRetainedRecordsInto`), so a compacted journal folds to the same rows.
//!
//! A skipped record of a key hides the valid one from the cleaner: such keys are *spoiled* until
//! their valid value is written again behind it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::ids::Offset;

/// The journal's topic, at the destination.
pub const TOPIC: &str = "__isolog";

/// The header with the end that a batch was decided on.
pub const AT: &str = "isolog.at";
/// The header with the writer's number.
pub const WRITER: &str = "isolog.writer";
/// The header with the number that the writer gave the batch.
pub const NUMBER: &str = "isolog.number";

/// Who wrote a batch: a number that each process throws for itself at its start.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WriterTag(pub u64);

impl WriterTag {
    /// Set in the tags of people's edits.
    const EDITOR: u64 = 1 << 63;

    /// The tag of a running isolog.
    pub fn of_instance(thrown: u64) -> WriterTag {
        WriterTag(thrown & !WriterTag::EDITOR)
    }

    /// The tag of a person's edit (`isolog journal`).
    pub fn of_editor(thrown: u64) -> WriterTag {
        WriterTag(thrown | WriterTag::EDITOR)
    }

    /// Whether a person wrote.
    pub fn is_editor(self) -> bool {
        self.0 & WriterTag::EDITOR != 0
    }
}

/// What makes a batch count.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The log end offset that the batch was decided on.
    pub at: Offset,
    /// Its writer.
    pub writer: WriterTag,
    /// Its number among the writer's.
    pub number: u64,
}

impl Stamp {
    /// As headers, in the order in which they are written.
    pub fn headers(&self) -> [(&'static str, String); 3] {
        let writer = format!("{:016x}", self.writer.0);
        [(AT, self.at.to_string()), (WRITER, writer), (NUMBER, self.number.to_string())]
    }

    /// Reads what `headers` gives; `None` where one of them is missing or no number.
    pub fn parse<'a>(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Option<Stamp> {
        let (mut at, mut writer, mut number) = (None, None, None);
        for (name, value) in headers {
            let text = std::str::from_utf8(value).ok();
            match name {
                AT => at = Offset::new(text?.parse().ok()?),
                WRITER => writer = u64::from_str_radix(text?, 16).ok().map(WriterTag),
                NUMBER => number = text?.parse().ok(),
                _ => {}
            }
        }
        Some(Stamp { at: at?, writer: writer?, number: number? })
    }
}

/// A record of the journal, as it lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailRecord {
    /// Its key; records without one are nobody's rows.
    pub key: Option<String>,
    /// Its value; `None` deletes the key.
    pub value: Option<String>,
    /// What makes it count.
    pub stamp: Option<Stamp>,
}

/// A batch of the journal, as it lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailBatch {
    /// Its base offset.
    pub base: Offset,
    /// The offset behind it.
    pub next: Offset,
    /// What a cleaner left of its records.
    pub records: Vec<TailRecord>,
}

/// What a batch did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It counts; these keys have changed.
    Counted(Stamp, Vec<String>),
    /// It does not; every reader skips it.
    Skipped,
}

/// The rows that count, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fold {
    rows: BTreeMap<String, String>,
    /// Keys with a valid row before a skipped record: a cleaner would leave the wrong one.
    spoiled: BTreeSet<String>,
    /// The newest values without a stamp: rows of isolog 0.1, or of people.
    unstamped: BTreeMap<String, String>,
    end: Option<Offset>,
}

impl Fold {
    /// The offset behind the last batch that was read; 0 before the first one.
    pub fn end(&self) -> Offset {
        self.end.unwrap_or(Offset::ZERO)
    }

    /// The valid value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.rows.get(key).map(String::as_str)
    }

    /// All valid rows, by key.
    pub fn rows(&self) -> &BTreeMap<String, String> {
        &self.rows
    }

    /// The newest values without a stamp, by key.
    pub fn unstamped(&self) -> &BTreeMap<String, String> {
        &self.unstamped
    }

    /// The first key whose valid value must be written again, and that value.
    pub fn spoiled(&self) -> impl Iterator<Item = (&str, &str)> {
        self.spoiled.iter().filter_map(|key| Some((key.as_str(), self.get(key)?)))
    }

    /// Takes in the next batch; one that lies below what was read already is left.
    pub fn apply(&mut self, batch: TailBatch) -> Applied {
        if self.end.is_some_and(|end| batch.next <= end) {
            return Applied::Skipped;
        }
        self.end = Some(batch.next);
        match stamp_of(&batch) {
            Some(stamp) => Applied::Counted(stamp, self.count(batch.records)),
            None => {
                self.skip(batch.records);
                Applied::Skipped
            }
        }
    }

    fn count(&mut self, records: Vec<TailRecord>) -> Vec<String> {
        let mut changed = Vec::new();
        for record in records {
            let Some(key) = record.key else { continue };
            self.spoiled.remove(&key);
            match record.value {
                Some(value) => drop(self.rows.insert(key.clone(), value)),
                None => drop(self.rows.remove(&key)),
            }
            changed.push(key);
        }
        changed
    }

    fn skip(&mut self, records: Vec<TailRecord>) {
        for record in records {
            let Some(key) = record.key else { continue };
            if self.rows.contains_key(&key) {
                self.spoiled.insert(key.clone());
            }
            if record.stamp.is_none() {
                match record.value {
                    Some(value) => drop(self.unstamped.insert(key, value)),
                    None => drop(self.unstamped.remove(&key)),
                }
            }
        }
    }
}

/// The stamp that all records of a batch share, where it lies at the end that it was decided on.
fn stamp_of(batch: &TailBatch) -> Option<Stamp> {
    let first = batch.records.first()?.stamp?;
    let same = batch.records.iter().all(|record| record.stamp == Some(first));
    (same && first.at == batch.base).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(raw: i64) -> Offset {
        Offset::new(raw).unwrap()
    }

    fn stamp(at: i64) -> Stamp {
        Stamp { at: offset(at), writer: WriterTag(7), number: 1 }
    }

    fn batch(base: i64, stamp: Option<Stamp>, rows: &[(&str, Option<&str>)]) -> TailBatch {
        let record = |(key, value): &(&str, Option<&str>)| TailRecord {
            key: Some((*key).to_owned()),
            value: value.map(str::to_owned),
            stamp,
        };
        let next = offset(base + rows.len().max(1) as i64);
        TailBatch { base: offset(base), next, records: rows.iter().map(record).collect() }
    }

    #[test]
    fn a_batch_counts_only_where_it_was_decided() {
        let mut fold = Fold::default();
        let counted = fold.apply(batch(0, Some(stamp(0)), &[("a", Some("1")), ("b", Some("2"))]));
        assert_eq!(counted, Applied::Counted(stamp(0), vec!["a".into(), "b".into()]));
        // a stale writer: decided at 0, landed at 2
        assert_eq!(fold.apply(batch(2, Some(stamp(0)), &[("a", Some("9"))])), Applied::Skipped);
        assert_eq!(fold.get("a"), Some("1"));
        assert_eq!(fold.end(), offset(3));
        assert!(matches!(
            fold.apply(batch(3, Some(stamp(3)), &[("b", None)])),
            Applied::Counted(..)
        ));
        assert_eq!(fold.get("b"), None);
    }

    #[test]
    fn a_key_that_a_skipped_row_used_is_spoiled_until_it_is_written_again() {
        let mut fold = Fold::default();
        fold.apply(batch(0, Some(stamp(0)), &[("a", Some("1"))]));
        fold.apply(batch(1, None, &[("a", Some("console")), ("x", Some("console"))]));
        assert_eq!(fold.spoiled().collect::<Vec<_>>(), [("a", "1")]);
        assert_eq!(fold.get("x"), None, "nothing valid has to be saved");
        assert_eq!(fold.unstamped().get("x").map(String::as_str), Some("console"));
        fold.apply(batch(3, Some(stamp(3)), &[("a", Some("1"))]));
        assert_eq!(fold.spoiled().count(), 0);
    }

    #[test]
    fn half_a_batch_that_a_cleaner_left_counts_as_the_whole_one() {
        let mut fold = Fold::default();
        let left = TailBatch {
            base: offset(4),
            next: offset(7),
            ..batch(4, Some(stamp(4)), &[("c", Some("3"))])
        };
        assert!(matches!(fold.apply(left), Applied::Counted(..)));
        assert_eq!((fold.get("c"), fold.end()), (Some("3"), offset(7)));
    }

    #[test]
    fn a_batch_that_was_read_already_changes_nothing() {
        let mut fold = Fold::default();
        fold.apply(batch(0, Some(stamp(0)), &[("a", Some("1"))]));
        fold.apply(batch(1, Some(stamp(1)), &[("a", Some("2"))]));
        let before = fold.clone();
        assert_eq!(fold.apply(batch(0, Some(stamp(0)), &[("a", Some("1"))])), Applied::Skipped);
        assert_eq!(fold, before);
    }

    #[test]
    fn a_stamp_reads_back_what_it_writes() {
        let check = |stamp: Stamp| {
            let headers = stamp.headers();
            let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
            assert_eq!(Stamp::parse(headers), Some(stamp));
        };
        check(Stamp { at: Offset::ZERO, writer: WriterTag(0), number: 0 });
        let largest = offset(i64::MAX);
        check(Stamp { at: largest, writer: WriterTag(u64::MAX), number: u64::MAX });
        let bad =
            |at: &'static [u8]| Stamp::parse([(AT, at), (WRITER, &b"1"[..]), (NUMBER, &b"1"[..])]);
        for at in [&b""[..], b"-1", b"x", b"\xff", b"99999999999999999999"] {
            assert_eq!(bad(at), None, "{at:?}");
        }
        assert_eq!(Stamp::parse([(AT, &b"1"[..])]), None);
    }
}
