//! The exporters that the journal has, and what each has copied.
//!
//! It never writes: the machine does, with its other rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::control::row::Unreadable;

use super::row::ExporterKey;
use super::row::ExporterName;
use super::row::ExporterRow;
use super::row::Memory;
use super::row::Remembered;

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Book {
    exporters: BTreeMap<ExporterName, ExporterRow>,
    memories: BTreeMap<ExporterName, Arc<Memory>>,
    unreadable: BTreeMap<String, Unreadable>,
}

impl Book {
    /// A key of the journal has changed.
    pub fn reload(&mut self, key: ExporterKey, text: Option<&str>) {
        let name = key.to_string();
        self.unreadable.remove(&name);
        let read = match (&key, text) {
            (ExporterKey::Exporter(of), Some(text)) => ExporterRow::parse(&key, text)
                .map(|row| drop(self.exporters.insert(of.clone(), row))),
            (ExporterKey::Exporter(of), None) => {
                self.exporters.remove(of);
                Ok(())
            }
            (ExporterKey::Subject(of, subject), text) => {
                let read = text.map(|text| Remembered::parse(&key, text)).transpose();
                read.map(|row| {
                    let memory = Arc::make_mut(self.memories.entry(of.clone()).or_default());
                    match row {
                        Some(row) => drop(memory.insert(subject.clone(), row)),
                        None => drop(memory.remove(subject)),
                    }
                })
            }
        };
        if let Err(why) = read {
            if let ExporterKey::Exporter(of) = &key {
                // what it says by now is not known
                self.exporters.remove(of);
            }
            self.unreadable.insert(name, why);
        }
        self.memories.retain(|_, memory| !memory.is_empty());
    }

    /// Those that were created by order, by name.
    pub fn exporters(&self) -> &BTreeMap<ExporterName, ExporterRow> {
        &self.exporters
    }

    /// What each remembers, where that is anything.
    pub fn memories(&self) -> &BTreeMap<ExporterName, Arc<Memory>> {
        &self.memories
    }

    /// Rows that cannot be read, by key, and why.
    pub fn unreadable(&self) -> &BTreeMap<String, Unreadable> {
        &self.unreadable
    }

    /// Why nothing is written of an exporter.
    pub fn unread(&self, name: &ExporterName) -> Option<&Unreadable> {
        self.unreadable.get(&ExporterKey::Exporter(name.clone()).to_string())
    }

    /// Rows of exporters that are being deleted, `most` of them: its own row is the last one.
    pub fn leaving(&self, most: usize) -> Vec<String> {
        let mut keys = Vec::new();
        for name in self.exporters.iter().filter(|(_, row)| row.is_leaving).map(|(name, _)| name) {
            let memory = self.memories.get(name).into_iter().flat_map(|memory| memory.keys());
            let subjects =
                memory.map(|subject| ExporterKey::Subject(name.clone(), subject.clone()));
            let own = std::iter::once(ExporterKey::Exporter(name.clone()));
            let room = most.saturating_sub(keys.len());
            keys.extend(subjects.chain(own).take(room).map(|key| key.to_string()));
        }
        keys
    }
}
