//! Who holds which partition of an instance, and what has become of it.
//!
//! It never moves a record.

use std::collections::BTreeMap;

use isolog::control::facts::FlowFact;
use isolog::control::facts::Flowed;
use isolog::control::facts::MirrorKey;
use isolog::control::facts::Mode;
use isolog::control::facts::TopicSpec;
use isolog::control::row::Sealed;
use isolog::control::topic::Fault;
use isolog::ids::Incarnation;
use isolog::ids::Offset;
use isolog::ids::PartitionId;

use super::World;

/// A partition that is held.
#[derive(Clone, Debug)]
struct HeldPartition {
    incarnation: Incarnation,
    mode: Mode,
    /// Told to stand still, with this label.
    halt: Option<&'static str>,
    /// Told to let go.
    is_leaving: bool,
}

fn label(spec: &TopicSpec) -> Option<&'static str> {
    spec.halt.as_ref().map(isolog::mirror::halt::Halt::label)
}

fn sealed(end: Offset) -> Flowed {
    Flowed::IsSealed(Sealed { end, source_next: None, source_end: None })
}

/// What one instance holds.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    held: BTreeMap<(MirrorKey, PartitionId), HeldPartition>,
}

impl Flow {
    /// Whether any partition of a topic is held, or on its way back.
    pub fn holds_any(&self, key: &MirrorKey) -> bool {
        self.held.keys().any(|(of, _)| of == key)
    }

    /// What each partition comes to when nothing goes wrong.
    pub fn facts(&self) -> Vec<FlowFact> {
        let told = |((mirror, partition), held): (&(MirrorKey, PartitionId), &HeldPartition)| {
            let what = match (held.is_leaving, held.mode) {
                (true, _) => Flowed::Released,
                (_, Mode::Mirror) => Flowed::Going,
                (_, Mode::Drain | Mode::DrainStable) => Flowed::Level(true),
                (_, Mode::Seal) => sealed(Offset::ZERO),
            };
            let (mirror, partition) = (mirror.clone(), *partition);
            FlowFact { mirror, partition, incarnation: held.incarnation, what }
        };
        self.held.iter().map(told).collect()
    }

    /// Nobody holds a partition any more.
    pub fn let_go(&mut self, key: &MirrorKey, partition: PartitionId) {
        self.held.remove(&(key.clone(), partition));
    }

    /// What is held, and to what end.
    pub fn all(&self) -> impl Iterator<Item = (&MirrorKey, PartitionId, Mode)> {
        let held = self.held.iter().filter(|(_, held)| !held.is_leaving);
        held.map(|((key, partition), held)| (key, *partition, held.mode))
    }

    /// Obeys a change of what is wanted.
    pub fn obey(&mut self, key: &MirrorKey, spec: Option<&TopicSpec>) {
        for ((of, partition), held) in &mut self.held {
            let is_wanted = spec.is_some_and(|spec| spec.partitions.contains_key(partition));
            held.is_leaving |= of == key && !is_wanted;
        }
        let Some(spec) = spec else { return };
        for partition in spec.partitions.keys() {
            let place = (key.clone(), *partition);
            match self.held.get_mut(&place) {
                Some(held) => {
                    let same = held.incarnation == spec.incarnation;
                    assert!(same, "{key:?}-{partition} is held already, under another number");
                    assert!(!held.is_leaving, "{key:?}-{partition} has not come back yet");
                    assert!(held.mode <= spec.mode, "a seal is never taken back");
                    let is_known = held.halt.is_none() || spec.mode < Mode::Seal;
                    assert!(is_known, "{key:?}-{partition} was another log's");
                    (held.mode, held.halt) = (spec.mode, label(spec));
                }
                None => {
                    let (incarnation, mode) = (spec.incarnation, spec.mode);
                    let halt = label(spec);
                    let held = HeldPartition { incarnation, mode, halt, is_leaving: false };
                    self.held.insert(place, held);
                }
            }
        }
    }
}

impl World<'_> {
    /// Something happens to a partition.
    pub(super) fn flow(&mut self, nth: usize) {
        let count = self.instances[nth].flow.held.len();
        if count == 0 {
            return;
        }
        let at = self.dice.roll(count as u64) as usize;
        let found = self.instances[nth].flow.held.iter().nth(at);
        let Some(((key, partition), held)) = found.map(|(a, b)| (a.clone(), b.clone())) else {
            return;
        };
        let what = match (held.is_leaving, held.mode) {
            (true, _) if self.dice.roll(4) == 0 => Flowed::Ends(Offset::ZERO),
            (true, _) => Flowed::Released,
            _ if held.halt.is_some() => {
                let code = held.halt.unwrap_or_default().to_owned();
                Flowed::Halted(Fault { code, text: "from outside".into() })
            }
            (_, Mode::Mirror) if !self.faults => Flowed::Going,
            (_, Mode::Mirror) => match self.dice.roll(4) {
                0 => Flowed::Halted(Fault { code: "DIVERGED".into(), text: "at 4".into() }),
                _ => Flowed::Going,
            },
            (_, Mode::Drain | Mode::DrainStable) => {
                let told = !self.faults || self.dice.roll(2) == 0;
                Flowed::Level(told && self.is_level(nth, &key, partition))
            }
            (_, Mode::Seal) if self.faults && self.dice.roll(3) == 0 => Flowed::Leaderless,
            (_, Mode::Seal) => {
                self.tally.sealed += 1;
                sealed(self.seal(nth, &key, partition))
            }
        };
        if matches!(what, Flowed::Released | Flowed::IsSealed(_)) {
            self.instances[nth].flow.held.remove(&(key.clone(), partition));
        }
        let now = self.now();
        let incarnation = held.incarnation;
        let fact = FlowFact { mirror: key, partition, incarnation, what };
        let machine = &mut self.instances[nth].machine;
        machine.handle_flow(now, fact.clone());
        if self.dice.roll(8) == 0 {
            machine.handle_flow(now, fact); // told twice
        }
    }

    /// What an instance holds and has not been told to let go.
    pub(super) fn holds(&self, nth: usize) -> usize {
        self.instances[nth].flow.held.values().filter(|held| !held.is_leaving).count()
    }

    /// Partitions on their way back.
    pub(super) fn leaving(&self, nth: usize) -> usize {
        self.instances[nth].flow.held.values().filter(|held| held.is_leaving).count()
    }
}
