//! The checkers: is the destination's log the source's log, batch by batch and byte by byte?
//!
//! It never uses isolog's own reading of batches: what it compares was read by the simulated
//! brokers' hand.

use std::collections::BTreeMap;

use crate::broker::batch::CONTROL;
use crate::broker::batch::DELETE_HORIZON;
use crate::broker::batch::Header;
use crate::broker::batch::LOG_APPEND_TIME;
use crate::broker::batch::Record;
use crate::broker::batch::TRANSACTIONAL;
use crate::broker::direct::Dump;
use crate::broker::direct::Stored;

/// A place where the two logs differ, in words.
pub type Difference = String;

/// What a record looks like to a reader: time, key, value, headers.
pub type Seen = (i64, Record);

/// Whether a batch of the source may be copied as it is (offsets.md section 4).
pub fn is_plain(batch: &Stored, aborted: &[(i64, i64, i64)]) -> bool {
    let Some(header) = batch.header else { return false };
    let dense = header.count > 0 && header.count == header.last_offset_delta + 1;
    let odd = header.has(CONTROL) || header.has(LOG_APPEND_TIME);
    dense && !odd && !is_aborted(batch, aborted)
}

/// Whether a batch belongs to an aborted transaction.
pub fn is_aborted(batch: &Stored, aborted: &[(i64, i64, i64)]) -> bool {
    let Some(header) = batch.header else { return false };
    let inside = |txn: &&(i64, i64, i64)| {
        txn.0 == header.producer_id && txn.1 <= batch.base && batch.base < txn.2
    };
    header.has(TRANSACTIONAL) && aborted.iter().any(|txn| inside(&txn))
}

/// I3: every plain batch of the source in `[from, to)` is at the destination at the same offset,
/// records byte for byte, header fields equal but for those that offsets.md section 2 names.
pub fn batches_equal(source: &Dump, destination: &Dump, from: i64, to: i64) -> Vec<Difference> {
    let by_base: BTreeMap<i64, &Stored> =
        destination.batches.iter().map(|batch| (batch.base, batch)).collect();
    let inside = |batch: &&Stored| batch.base >= from && batch.next <= to;
    let plain = source.batches.iter().filter(inside).filter(|b| is_plain(b, &source.aborted));
    plain
        .filter_map(|batch| match by_base.get(&batch.base) {
            None => Some(format!("no batch starts at {}", batch.base)),
            Some(copy) => batch_differs(batch, copy),
        })
        .collect()
}

/// What differs between a batch and its copy beyond what may.
pub fn batch_differs(source: &Stored, copy: &Stored) -> Option<Difference> {
    let at = source.base;
    let (Some(theirs), Some(ours)) = (source.header, copy.header) else {
        return Some(format!("{at}: old format"));
    };
    if source.section != copy.section {
        return Some(format!("{at}: the records section differs"));
    }
    let (theirs, ours) = (comparable(theirs), comparable(ours));
    (theirs != ours).then(|| format!("{at}: headers differ: {theirs:?} against {ours:?}"))
}

/// A header without what may change on the way.
fn comparable(header: Header) -> Header {
    Header {
        leader_epoch: 0,
        crc: 0,
        attributes: header.attributes & !(TRANSACTIONAL | DELETE_HORIZON),
        producer_id: 0,
        producer_epoch: 0,
        base_sequence: 0,
        ..header
    }
}

/// What a read_committed reader of a log sees, by offset. Records of opaque batches stand as
/// their section's bytes at the base offset.
pub fn visible(log: &Dump, upper: i64) -> BTreeMap<i64, Seen> {
    let mut seen = BTreeMap::new();
    for batch in log.batches.iter().filter(|batch| batch.base < upper) {
        let control = batch.header.is_some_and(|header| header.has(CONTROL));
        if control || is_aborted(batch, &log.aborted) {
            continue;
        }
        for (offset, record) in read_batch(batch) {
            // as consumers do: what lies below the batch's own place is not there (A10)
            if offset >= batch.base && offset >= log.start && offset < upper {
                seen.insert(offset, record);
            }
        }
    }
    seen
}

fn read_batch(batch: &Stored) -> Vec<(i64, Seen)> {
    let Some(records) = &batch.records else {
        let value = Some(batch.section.clone());
        let time = batch.header.map_or(-1, |header| header.max_timestamp);
        return vec![(batch.base, (time, Record { value, ..Record::default() }))];
    };
    let seen = records.iter().map(|record| {
        let offset = batch.base + i64::from(record.offset_delta);
        let time = match batch.header {
            None => record.timestamp_delta,
            Some(header) if header.has(LOG_APPEND_TIME) => header.max_timestamp,
            Some(header) => header.base_timestamp + record.timestamp_delta,
        };
        let record =
            Record { offset_delta: 0, timestamp_delta: 0, attributes: 0, ..record.clone() };
        (offset, (time, record))
    });
    seen.collect()
}

/// I1, I2, I6, I8: below `end` and from the later of both starts on, both logs show the same
/// records at the same offsets, and the destination's batches leave no hole.
pub fn prefix_equal(source: &Dump, destination: &Dump, end: i64) -> Vec<Difference> {
    let mut differences = Vec::new();
    if destination.end < end {
        differences.push(format!("the destination ends at {}, not at {end}", destination.end));
    }
    let from = source.start.max(destination.start);
    let theirs = visible(source, end);
    let ours = visible(destination, end);
    for (offset, record) in theirs.range(from..end) {
        match ours.get(offset) {
            None => differences.push(format!("{offset} is missing: {record:?}")),
            Some(other) if other != record => {
                differences.push(format!("{offset} is {other:?}, not {record:?}"));
            }
            Some(_) => {}
        }
    }
    let extra = ours.range(from..end).filter(|(offset, _)| !theirs.contains_key(offset));
    differences.extend(extra.map(|(offset, record)| format!("{offset} is too much: {record:?}")));
    differences.extend(holes(destination));
    differences
}

/// I6: a log that was only appended to has no holes.
pub fn holes(log: &Dump) -> Vec<Difference> {
    let pairs = log.batches.windows(2).filter(|two| two[0].next != two[1].base);
    pairs.map(|two| format!("a hole from {} to {}", two[0].next, two[1].base)).collect()
}

/// Everything that must hold between a source and its copy up to `end`; panics with what does not.
pub fn assert_copied(source: &Dump, destination: &Dump, end: i64) {
    let from = source.start.max(destination.start);
    let mut differences = prefix_equal(source, destination, end);
    differences.extend(batches_equal(source, destination, from, end));
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), {
        let first: Vec<_> = differences.iter().take(20).cloned().collect();
        first.join("\n")
    });
}
