//! What people may see of each partition, published by the lanes once per turn.
//!
//! It never asks a lane anything: a reader takes the last copy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use crate::ids::TopicPartition;
use crate::mirror::lag::HeldBy;
use crate::mirror::lag::Snapshot;

/// One partition's last copy.
#[derive(Debug, Default)]
pub struct Cell {
    snapshot: Mutex<Option<Snapshot>>,
    /// What the source said when it was asked who holds the partition back.
    held_by: Mutex<Option<HeldBy>>,
}

impl Cell {
    /// Puts a newer copy in.
    pub fn publish(&self, snapshot: Snapshot) {
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
    }

    /// Puts in who holds the partition back.
    pub fn tell_held(&self, held_by: Option<HeldBy>) {
        *self.held_by.lock().unwrap_or_else(PoisonError::into_inner) = held_by;
    }

    /// The last copy; `None` before the first.
    pub fn read(&self) -> Option<Snapshot> {
        let mut snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let held_by = *self.held_by.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has ended since holds nothing.
        let holds =
            |by: &HeldBy| snapshot.held_records > 0 && snapshot.source_end == Some(by.since);
        snapshot.held_by = held_by.filter(holds);
        Some(snapshot)
    }
}

/// All partitions of one link.
#[derive(Debug, Default)]
pub struct Board {
    cells: RwLock<BTreeMap<TopicPartition, Arc<Cell>>>,
}

impl Board {
    /// The partition's cell, made if it is not there.
    pub fn cell(&self, tp: &TopicPartition) -> Arc<Cell> {
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        cells.entry(tp.clone()).or_default().clone()
    }

    /// Forgets a partition that is no longer mirrored.
    pub fn forget(&self, tp: &TopicPartition) {
        self.cells.write().unwrap_or_else(PoisonError::into_inner).remove(tp);
    }

    /// All partitions in order, those that were published.
    pub fn read(&self) -> Vec<(TopicPartition, Snapshot)> {
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
        let rows = cells.iter().filter_map(|(tp, cell)| Some((tp.clone(), cell.read()?)));
        rows.collect()
    }
}

/// A number that several tasks move.
#[derive(Debug, Default)]
pub struct Gauge(AtomicUsize);

impl Gauge {
    /// Moves it.
    pub fn add(&self, by: isize) {
        if by >= 0 {
            self.0.fetch_add(by.unsigned_abs(), Ordering::Relaxed);
        } else {
            self.0.fetch_sub(by.unsigned_abs(), Ordering::Relaxed);
        }
    }

    /// Reads it.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}
