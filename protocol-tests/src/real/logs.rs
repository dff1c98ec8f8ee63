//! A real log with everything in it: records, old messages, and which transactions were aborted.
//!
//! It never judges, and holds a whole partition in memory.

use std::collections::BTreeSet;

use bytes::Buf;
use bytes::Bytes;

use super::Hand;
use super::RealError;
use crate::broker::batch::CONTROL;
use crate::broker::batch::PREFIX_BYTES;
use crate::broker::direct::Dump;
use crate::broker::direct::Stored;
use crate::broker::direct::stored;
use crate::broker::log::Batch;
use crate::broker::old;

/// Where the magic byte lies.
const MAGIC_AT: usize = 16;

impl Hand {
    /// The whole log of a partition up to what is stable, with its records.
    pub fn read(&self, topic: &str, partition: i32) -> Result<Dump, RealError> {
        let (start, hwm) = self.ends(topic, partition)?;
        let (mut batches, mut aborted) = (Vec::<Stored>::new(), BTreeSet::new());
        let (mut at, mut stable) = (start, hwm);
        while at < stable {
            let told = self.fetch(topic, partition, at, true)?;
            stable = told.last_stable_offset.min(hwm);
            for one in told.aborted_transactions.into_iter().flatten() {
                aborted.insert((one.producer_id.0, one.first_offset));
            }
            let found = units(told.records.unwrap_or_default())?;
            batches.extend(found.into_iter().filter(|batch| batch.next > at));
            // what brings nothing is a hole that reaches up to the end
            let next = batches.last().map_or(stable, |batch| batch.next);
            at = if next <= at { stable } else { next };
        }
        let aborted =
            aborted.into_iter().map(|(id, first)| (id, first, end_of(&batches, id, first)));
        let aborted = aborted.collect();
        Ok(Dump { start, hwm, stable, end: hwm, batches, aborted })
    }
}

/// Where the transaction of `id` that began at `first` ends: its next marker.
fn end_of(batches: &[Stored], id: i64, first: i64) -> i64 {
    let is_end = |batch: &&Stored| {
        let is_marker =
            |header: &crate::broker::batch::Header| header.producer_id == id && header.has(CONTROL);
        batch.base > first && batch.header.as_ref().is_some_and(is_marker)
    };
    batches.iter().find(is_end).map_or(i64::MAX, |batch| batch.base)
}

/// The whole units of a fetch answer, of any format; what is cut off at its end is left.
fn units(mut records: Bytes) -> Result<Vec<Stored>, RealError> {
    let mut all = Vec::new();
    while records.len() > MAGIC_AT {
        let length = (&records[8..]).get_i32();
        let whole = usize::try_from(length).map_or(usize::MAX, |length| length + PREFIX_BYTES);
        if whole > records.len() {
            break;
        }
        let unit = records.split_to(whole);
        let at = (&unit[..]).get_i64();
        let batch = if unit[MAGIC_AT] == 2 { Batch::read(unit) } else { old_unit(unit) };
        let batch = batch.ok_or_else(|| RealError::new(format!("no batch can be read at {at}")))?;
        all.push(stored(&batch));
    }
    Ok(all)
}

fn old_unit(unit: Bytes) -> Option<Batch> {
    let (_, messages) = old::read(&unit)?;
    let (first, last) = (messages.first()?.offset, messages.last()?.offset);
    Some(Batch::old(&unit, first, last + 1, -1))
}
