//! The accounts of `make drill` (`protocol-tests/kafka/account`): a record that is skipped, lost,
//! read twice or different is found and told, and none where nothing is wrong.
//!
//! It needs no cluster: the lines are made up.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Files of lines, by the name of each.
struct Books(PathBuf);

impl Drop for Books {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Books {
    fn new(files: &[(&str, &[&str])]) -> Books {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("isolog-account-{}-{number}", std::process::id());
        let books = Books(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&books.0).unwrap();
        for (name, lines) in files {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            std::fs::write(books.at(name), text).unwrap();
        }
        books
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Whether all is well, and what is told.
    fn account(&self, args: &[&str]) -> (bool, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/account");
        let mut command = Command::new(script);
        for arg in args {
            match self.at(arg) {
                file if file.exists() => command.arg(file),
                _ => command.arg(arg),
            };
        }
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
    }
}

/// Three records of the source, the third of which is lost, and another one at the destination.
const HELD: &[&str] = &["t 0 0 a", "t 0 1 b", "t 0 3 new", "{\"topic\":\"t\"}"];

fn group(before: &[&str], after: &[&str], more: &[&str]) -> (bool, String) {
    let books = Books::new(&[("held", HELD), ("before", before), ("after", after)]);
    books.account(&[&["group", "g", "held", "before", "after"], more].concat())
}

#[test]
fn a_group_that_skips_a_record_or_reads_one_that_is_not_there_is_told() {
    let (is_well, text) = group(&["t 0 0 a 5", "t 0 1 b 6"], &["t 0 3 new 9"], &["--once"]);
    assert!(is_well && text.contains("saw 3 of 3") && text.contains("skipped 0"), "{text}");
    let (is_well, text) = group(&["t 0 0 a 5"], &["t 0 3 new 9"], &[]);
    assert!(!is_well && text.contains("skipped: t 0 1 b") && text.contains("skipped 1"), "{text}");
    let (is_well, text) = group(&[], &["t 0 0 a 5", "t 0 1 b 6"], &[]);
    assert!(!is_well && text.contains("skipped: t 0 3 new"), "an empty file: {text}");
    let all = ["t 0 0 a 5", "t 0 1 b 6", "t 0 3 new 9", "t 0 2 c 9"];
    let (is_well, text) = group(&[], &all, &[]);
    assert!(!is_well && text.contains("not held there: t 0 2 c"), "{text}");
}

#[test]
fn records_that_are_read_again_are_counted_and_refused_where_none_may_be() {
    let before = ["t 0 0 a 5", "t 0 1 b 6", "t 0 1 b 7", "t 0 2 c 7"];
    let after = ["t 0 1 b 8", "t 0 3 new 9"];
    let (is_well, text) = group(&before, &after, &[]);
    assert!(is_well, "{text}");
    assert!(text.contains("again after the move 1, twice on one side 1; saw 1 at the"), "{text}");
    assert!(!group(&before, &after, &["--once"]).0);
}

const SEALS: &[&str] = &["t 0 2"];
const SOURCE: &[&str] = &["t 0 0 a", "t 0 1 b", "t 0 2 c"];

fn lost(acked: &[&str], destination: &[&str], more: &[&str]) -> (bool, String) {
    let books = Books::new(&[
        ("seals", SEALS),
        ("acked", acked),
        ("source", SOURCE),
        ("destination", destination),
    ]);
    books.account(&[&["lost", "1000", "seals", "acked", "source", "destination"], more].concat())
}

#[test]
fn what_was_acknowledged_and_is_not_in_the_copy_is_told_by_count_and_by_time() {
    let acked = ["t 0 0 700", "t 0 1 800", "t 0 2 900"];
    let (is_well, text) = lost(&acked, HELD, &[]);
    assert!(is_well, "{text}");
    assert!(text.contains("RPO: 1 of 3 acknowledged records"), "{text}");
    assert!(text.contains("lost: t-0 offsets 2 to 2, 1 acknowledged, the first 100 ms"), "{text}");
    assert!(text.contains("the same 2 records"), "{text}");
    assert!(!lost(&acked, HELD, &["--none"]).0);
}

#[test]
fn a_copy_that_differs_or_a_source_that_forgot_is_no_success() {
    let acked = ["t 0 0 700"];
    assert!(lost(&acked, HELD, &[]).0);
    let (is_well, text) = lost(&acked, &["t 0 0 a", "t 0 1 other"], &[]);
    assert!(!is_well && text.contains("differs: t 0 1"), "{text}");
    let (is_well, text) = lost(&acked, &["t 0 0 a"], &[]);
    assert!(!is_well && text.contains("the source has 2 there"), "{text}");
    let (is_well, text) = lost(&["t 0 9 700"], HELD, &[]);
    assert!(!is_well && text.contains("acknowledged and not at the source: t 0 9"), "{text}");
    assert!(!lost(&[], HELD, &[]).0, "nothing was acknowledged");
}
