//! The steps that make a destination registry hold what a source holds, or why that cannot be.
//!
//! It never deletes what was not copied, changes no mode, and gives no step while anything clashes.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::Held;
use super::IMPORT;
use super::Id;
use super::Name;
use super::Place;
use super::Reference;
use super::Schema;
use super::World;
use super::choice::Choice;

pub use super::step::Clash;
pub use super::step::Copied;
pub use super::step::Step;

/// The steps in the order in which they can be taken; none if both are level.
pub fn plan(
    source: &World,
    destination: &World,
    choice: &Choice,
    copied: &Copied,
) -> Result<Vec<Step>, BTreeSet<Clash>> {
    let mut desk = Desk { destination, wanted: BTreeMap::new(), clashes: BTreeSet::new() };
    desk.want(source, choice);
    desk.leave_broken();
    desk.compare_ids();
    let registered = desk.registered();
    let removed = desk.removed(source, choice, copied);
    let softly = desk.softly(&registered, &removed);
    let mut steps: Vec<Step> =
        desk.ordered(&registered, &softly).into_iter().filter_map(|it| desk.step(it)).collect();
    steps.extend(desk.purged(&removed));
    steps.extend(configs(source, destination, choice, copied));
    desk.refuse_without_import(&steps);
    if source.subjects.is_empty() && !copied.is_empty() {
        desk.clashes.insert(Clash::SourceEmpty);
    }
    if desk.clashes.is_empty() { Ok(steps) } else { Err(desk.clashes) }
}

/// What is done with a place.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Register,
    Delete,
}

/// One thing to be done.
type Turn = (Act, Place);

/// What must be done before each.
type Waits = BTreeMap<Turn, BTreeSet<Turn>>;

/// Everything in an order in which it can be done, and what waits for itself.
fn sorted(waits: &Waits) -> (Vec<Turn>, Vec<Turn>) {
    let mut counts: BTreeMap<&Turn, usize> = BTreeMap::new();
    let mut waiting: BTreeMap<&Turn, Vec<&Turn>> = BTreeMap::new();
    for (turn, before) in waits {
        counts.insert(turn, before.len());
        before.iter().for_each(|one| waiting.entry(one).or_default().push(turn));
    }
    let is_ready = |(turn, count): (&&Turn, &usize)| (*count == 0).then(|| (*turn).clone());
    let mut ready: BTreeSet<Turn> = counts.iter().filter_map(is_ready).collect();
    let mut order = Vec::new();
    while let Some(turn) = ready.pop_first() {
        counts.remove(&turn);
        for one in waiting.get(&turn).into_iter().flatten() {
            let Some(count) = counts.get_mut(*one) else { continue };
            *count -= 1;
            if *count == 0 {
                ready.insert((*one).clone());
            }
        }
        order.push(turn);
    }
    (order, counts.into_keys().cloned().collect())
}

struct Desk<'a> {
    destination: &'a World,
    /// What is to be at the destination, by its names there.
    wanted: BTreeMap<Place, Held>,
    clashes: BTreeSet<Clash>,
}

impl Desk<'_> {
    fn want(&mut self, source: &World, choice: &Choice) {
        let mut names: BTreeMap<Name, &Name> = BTreeMap::new();
        for (name, subject) in &source.subjects {
            let Some(target) = choice.target(name) else { continue };
            if let Some(other) = names.insert(target.clone(), name) {
                let clash = Clash::TwoBecomeOne(other.clone(), name.clone(), target.clone());
                self.clashes.insert(clash);
            }
            for (version, held) in &subject.versions {
                let mut held = held.clone();
                for reference in &mut held.schema.references {
                    reference.subject = choice.renamed(&reference.subject);
                }
                self.wanted.insert((target.clone(), *version), held);
            }
        }
    }

    /// A deleted schema may refer to what is gone for good. No registry takes it, nobody can read
    /// by it any more, and it must not keep others from being copied.
    fn leave_broken(&mut self) {
        let mut broken: BTreeSet<Place> = BTreeSet::new();
        loop {
            let more: Vec<Place> = self
                .wanted
                .keys()
                .filter(|it| !broken.contains(*it))
                .cloned()
                .chain(self.deleted_there().filter(|it| !broken.contains(it)))
                .filter(|place| self.is_broken(place, &broken))
                .collect();
            if more.is_empty() {
                break;
            }
            broken.extend(more);
        }
        let is_live = |place: &Place| self.destination.held(place).is_some_and(|it| !it.is_deleted);
        self.wanted
            .retain(|place, held| !held.is_deleted || !broken.contains(place) || is_live(place));
    }

    fn deleted_there(&self) -> impl Iterator<Item = Place> {
        self.destination.subjects.iter().flat_map(|(name, subject)| {
            let deleted = subject.versions.iter().filter(|(_, held)| held.is_deleted);
            deleted.map(|(version, _)| (name.clone(), *version))
        })
    }

    fn is_broken(&self, place: &Place, broken: &BTreeSet<Place>) -> bool {
        self.references(place).iter().map(Reference::place).any(|needed| {
            let there = self.destination.held(&needed);
            let is_known = there.is_some() || self.wanted.contains_key(&needed);
            there.is_none_or(|it| it.is_deleted) && (!is_known || broken.contains(&needed))
        })
    }

    /// Each id means one schema in each context, here and there.
    fn compare_ids(&mut self) {
        let mut here: BTreeMap<(&str, Id), (&Place, &Schema)> = BTreeMap::new();
        for (place, held) in &self.wanted {
            let known = here.entry((&place.0.context, held.id)).or_insert((place, &held.schema));
            if !known.1.is_same(&held.schema) {
                let ((name, version), (other, old)) = (place.clone(), known.0.clone());
                self.clashes.insert(Clash::Contradiction(held.id, other, old, name, version));
            }
        }
        for (name, subject) in &self.destination.subjects {
            for (version, held) in &subject.versions {
                let Some((place, schema)) = here.get(&(&*name.context, held.id)) else { continue };
                let is_place = place.0 == *name && place.1 == *version;
                if !is_place && !schema.is_same(&held.schema) {
                    let (theirs, old) = (name.clone(), *version);
                    let (ours, new) = (*place).clone();
                    self.clashes.insert(Clash::IdTaken(held.id, ours, new, theirs, old));
                }
            }
        }
    }

    /// What is to be registered: what is missing or deleted there, and what that refers to.
    fn registered(&mut self) -> BTreeSet<Place> {
        let mut registered = BTreeSet::new();
        for (place, held) in &self.wanted {
            let there = self.destination.held(place);
            match there {
                Some(there) if there.id != held.id || !there.schema.is_same(&held.schema) => {
                    let (name, version) = place.clone();
                    self.clashes.insert(Clash::OtherSchema(name, version, there.id, held.id));
                }
                Some(there) if !there.is_deleted || held.is_deleted => {}
                _ => {
                    registered.insert(place.clone());
                }
            }
        }
        self.bring_back(&mut registered);
        registered
    }

    /// A registry refuses a reference to what is deleted softly, so that comes back for a while.
    fn bring_back(&mut self, registered: &mut BTreeSet<Place>) {
        let mut open: Vec<Place> = registered.iter().cloned().collect();
        while let Some(place) = open.pop() {
            for needed in self.references(&place).iter().map(Reference::place) {
                if registered.contains(&needed) {
                    continue;
                }
                match (self.destination.held(&needed), self.wanted.contains_key(&needed)) {
                    (Some(there), _) if !there.is_deleted => {}
                    (None, false) => {
                        let ((name, version), (other, old)) = (place.clone(), needed);
                        let clash = Clash::MissingReference(name, version, other, old);
                        self.clashes.insert(clash);
                    }
                    _ => {
                        registered.insert(needed.clone());
                        open.push(needed);
                    }
                }
            }
        }
    }

    fn references(&self, place: &Place) -> Vec<Reference> {
        let held = self.wanted.get(place).or_else(|| self.destination.held(place));
        held.map(|held| held.schema.references.clone()).unwrap_or_default()
    }

    /// Whatever takes schemas of its own is no copy any more: nothing there is changed.
    fn refuse_without_import(&mut self, steps: &[Step]) {
        for name in steps.iter().map(Step::name) {
            let mode = self.destination.mode_of(&name);
            if mode != IMPORT {
                let mode = mode.to_owned();
                self.clashes.insert(Clash::NotImport(name, mode));
            }
        }
    }

    fn step(&self, (act, place): Turn) -> Option<Step> {
        let held = self.wanted.get(&place).or_else(|| self.destination.held(&place));
        Some(match act {
            Act::Delete => Step::SoftDelete(place.0, place.1),
            Act::Register => {
                let Held { id, schema, .. } = held?.clone();
                Step::Register(place.0, place.1, id, Box::new(schema))
            }
        })
    }

    /// What is referred to comes first, and goes last; deletions come as late as they can.
    fn ordered(&mut self, registered: &BTreeSet<Place>, softly: &BTreeSet<Place>) -> Vec<Turn> {
        let mut waits = self.waits(registered, softly);
        let twins = self.twins(registered, softly);
        for (one, other) in &twins {
            waits.entry(one.clone()).or_default().insert(other.clone());
        }
        let (mut order, mut left) = sorted(&waits);
        if !left.is_empty() && !twins.is_empty() {
            // no source comes to that; a registry that takes twins takes them in any order
            (order, left) = sorted(&self.waits(registered, softly));
        }
        for (act, (name, version)) in left {
            if act == Act::Register {
                self.clashes.insert(Clash::Cycle(name, version));
            }
        }
        order
    }

    /// What must be done before each thing that is to be done.
    fn waits(&self, registered: &BTreeSet<Place>, softly: &BTreeSet<Place>) -> Waits {
        let mut waits = Waits::new();
        for place in registered {
            let needed = self.references(place).iter().map(Reference::place).collect::<Vec<_>>();
            for needed in needed.iter().filter(|needed| softly.contains(*needed)) {
                // the reference must still be there
                let before = (Act::Register, place.clone());
                waits.entry((Act::Delete, needed.clone())).or_default().insert(before);
            }
            let needed = needed.into_iter().filter(|needed| registered.contains(needed));
            let needed = needed.map(|needed| (Act::Register, needed));
            waits.entry((Act::Register, place.clone())).or_default().extend(needed);
        }
        for place in softly {
            let own = waits.entry((Act::Delete, place.clone())).or_default();
            if registered.contains(place) {
                own.insert((Act::Register, place.clone()));
            }
            for needed in self.references(place).iter().map(Reference::place) {
                if softly.contains(&needed) {
                    let referrer = (Act::Delete, place.clone());
                    waits.entry((Act::Delete, needed)).or_default().insert(referrer);
                }
            }
        }
        waits
    }

    /// A schema that was deleted and registered again has two versions under one id. A registry
    /// makes no second one beside the first, so the deletion comes before, as it did at the source.
    fn twins(&self, registered: &BTreeSet<Place>, softly: &BTreeSet<Place>) -> Vec<(Turn, Turn)> {
        let held = |place: &Place| self.wanted.get(place).or_else(|| self.destination.held(place));
        let mut deleted: BTreeMap<(&Name, Id), Vec<&Place>> = BTreeMap::new();
        for place in softly {
            if let Some(held) = held(place) {
                deleted.entry((&place.0, held.id)).or_default().push(place);
            }
        }
        let mut twins = Vec::new();
        for place in registered {
            let Some(held) = held(place) else { continue };
            for &older in deleted.get(&(&place.0, held.id)).into_iter().flatten() {
                if older.1 < place.1 {
                    let before = (Act::Delete, older.clone());
                    twins.push(((Act::Register, place.clone()), before));
                }
            }
        }
        twins
    }

    /// What is deleted for good; of a subject that goes whole the last version goes with the name,
    /// which some registries keep otherwise.
    fn purged(&self, removed: &BTreeSet<Place>) -> Vec<Step> {
        let mut left: BTreeMap<&Name, usize> = BTreeMap::new();
        for (name, _) in removed {
            let held = self.destination.subjects.get(name).map_or(0, |it| it.versions.len());
            let stays = self.wanted.keys().any(|(wanted, _)| wanted == name);
            left.insert(name, if stays { usize::MAX } else { held });
        }
        let mut steps = Vec::new();
        for (name, version) in self.referrers_first(removed) {
            let count = left.get_mut(&name).map_or(0, |count| {
                *count = count.saturating_sub(1);
                *count
            });
            steps.push(match count {
                0 => Step::Purge(name),
                _ => Step::HardDelete(name, version),
            });
        }
        steps
    }

    fn referrers_first(&self, places: &BTreeSet<Place>) -> Vec<Place> {
        let (order, _) = sorted(&self.waits(&BTreeSet::new(), places));
        order.into_iter().map(|(_, place)| place).collect()
    }

    /// What was copied, is still chosen, and is at the source no more.
    fn removed(&self, source: &World, choice: &Choice, copied: &Copied) -> BTreeSet<Place> {
        let is_gone = |(place, from): &(&Place, &Name)| {
            choice.target(from).as_ref() == Some(&place.0)
                && !source.left_out.contains(&from.context)
                && source.held(&((*from).clone(), place.1)).is_none()
                && self.destination.held(place).is_some()
        };
        copied.iter().filter(is_gone).map(|(place, _)| place.clone()).collect()
    }

    /// What is to be deleted softly, once all is registered.
    fn softly(
        &mut self,
        registered: &BTreeSet<Place>,
        removed: &BTreeSet<Place>,
    ) -> BTreeSet<Place> {
        let is_live = |place: &Place| {
            registered.contains(place)
                || self.destination.held(place).is_some_and(|held| !held.is_deleted)
        };
        let deleted = self.wanted.iter().filter(|(_, held)| held.is_deleted);
        let deleted = deleted.map(|(place, _)| place).chain(removed);
        let mut softly: BTreeSet<Place> = deleted.filter(|place| is_live(place)).cloned().collect();
        // one that came back for a while and is nobody's goes again
        let was = |place: &&Place| self.destination.held(place).is_some_and(|it| it.is_deleted);
        let lent = registered.iter().filter(|place| !self.wanted.contains_key(*place));
        softly.extend(lent.filter(was).cloned());
        self.refuse_referenced(&softly);
        softly
    }

    fn refuse_referenced(&mut self, softly: &BTreeSet<Place>) {
        for (name, subject) in &self.destination.subjects {
            for (version, held) in &subject.versions {
                let referrer = (name.clone(), *version);
                if held.is_deleted || softly.contains(&referrer) {
                    continue;
                }
                for reference in &held.schema.references {
                    if softly.contains(&reference.place()) {
                        let (target, old) = reference.place();
                        let clash = Clash::StillReferenced(target, old, name.clone(), *version);
                        self.clashes.insert(clash);
                    }
                }
            }
        }
    }
}

fn configs(source: &World, destination: &World, choice: &Choice, copied: &Copied) -> Vec<Step> {
    let mut steps = Vec::new();
    for (name, subject) in &source.subjects {
        let Some(target) = choice.target(name) else { continue };
        let there = destination.subjects.get(&target).and_then(|subject| subject.config.as_ref());
        match (&subject.config, there) {
            (Some(config), there) if there != Some(config) => {
                steps.push(Step::PutConfig(target, config.clone()));
            }
            (None, Some(_)) if copied.keys().any(|(name, _)| *name == target) => {
                steps.push(Step::DeleteConfig(target));
            }
            _ => {}
        }
    }
    match &source.level {
        Some(level) if destination.level.as_ref() != Some(level) => {
            steps.push(Step::PutLevel(level.clone()));
        }
        _ => {}
    }
    steps
}
