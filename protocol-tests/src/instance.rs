//! One instance as the journal sees it: it folds what its tail brings, and decides on what it read.
//!
//! It never judges: tests compare folds and count what counts.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;

use isolog::control::facts::WriteId;
use isolog::control::journal::Applied;
use isolog::control::journal::Fold;
use isolog::control::journal::Stamp;
use isolog::control::journal::WriterTag;
use isolog::control::machine::Write;
use isolog::control::topic::Fault;
use isolog::link::log::FromLog;
use isolog::link::log::Log;

/// An instance.
pub struct Instance {
    log: Log,
    tag: WriterTag,
    numbers: u64,
    /// What it has folded.
    pub fold: Fold,
    /// The writers and numbers of what counted.
    pub counted: BTreeSet<(u64, u64)>,
    /// How many batches did not.
    pub skipped: usize,
    /// The end at the start has been read.
    pub is_level: bool,
    /// What is wrong now.
    pub trouble: Option<Fault>,
    /// The journal was lost.
    pub lost: Option<Fault>,
}

impl Instance {
    /// An instance that has read nothing yet; each has another tag.
    pub fn new(log: Log, tag: u64) -> Self {
        Self {
            log,
            tag: WriterTag(tag),
            numbers: 0,
            fold: Fold::default(),
            counted: BTreeSet::new(),
            skipped: 0,
            is_level: false,
            trouble: None,
            lost: None,
        }
    }

    /// The journal.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Takes the next thing in that the journal tells; may be dropped while it waits.
    pub async fn turn(&mut self) {
        match self.log.next().await {
            FromLog::Batch(batch) => match self.fold.apply(batch) {
                Applied::Counted(stamp, _) => {
                    assert!(self.counted.insert((stamp.writer.0, stamp.number)), "{stamp:?} twice");
                }
                Applied::Skipped => self.skipped += 1,
            },
            FromLog::Level => {
                assert!(!std::mem::replace(&mut self.is_level, true), "Level is told once");
            }
            FromLog::Trouble(fault) => self.trouble = Some(fault),
            FromLog::Well => self.trouble = None,
            FromLog::Lost(lost) => self.lost = Some(lost.fault),
        }
    }

    /// Takes in what comes until `is_so`.
    pub async fn until(&mut self, is_so: impl Fn(&Self) -> bool) {
        while !is_so(self) {
            self.turn().await;
        }
    }

    /// Reads up to where the journal ended at its start.
    pub async fn level(&mut self) {
        self.until(|one| one.is_level).await;
    }

    /// Rows, decided on what was read so far.
    pub fn decide(&mut self, rows: &[(&str, Option<&str>)]) -> Write {
        self.numbers += 1;
        let rows = rows.iter().map(|(key, value)| ((*key).into(), value.map(str::to_owned)));
        Write {
            id: WriteId(self.numbers),
            stamp: Stamp { at: self.fold.end(), writer: self.tag, number: self.numbers },
            rows: rows.collect(),
        }
    }

    /// Appends a write while the tail goes on; whether it counts.
    pub async fn append(&mut self, write: &Write) -> Result<bool, Fault> {
        let appender = self.log.appender();
        let mut appended = Box::pin(appender.append(write));
        loop {
            tokio::select! {
                done = &mut appended => break done?,
                () = self.turn() => {}
            }
        }
        drop(appended);
        self.until(|one| one.fold.end() > write.stamp.at).await;
        Ok(self.counts(write))
    }

    /// Decides until it counts, as the machine does.
    pub async fn write(&mut self, rows: &[(&str, Option<&str>)]) -> Result<(), Fault> {
        loop {
            let write = self.decide(rows);
            if self.append(&write).await? {
                return Ok(());
            }
        }
    }

    /// Whether a write has been read back where it was decided.
    pub fn counts(&self, write: &Write) -> bool {
        self.counted.contains(&(write.stamp.writer.0, write.stamp.number))
    }
}
