//! What an exporter remembers of what it has copied, turn by turn.
//!
//! It never forgets a version that the destination still holds, but of other registries.

use std::collections::BTreeMap;

use super::Name;
use super::Version;
use super::World;
use super::choice::Choice;
use super::plan::Copied;
use super::row::Memory;
use super::row::Remembered;

/// What is to be remembered before a step is taken, between the registries of the mark `of`: all
/// that is at the source, and what was copied before and is still at the destination. What both
/// hold alike counts as copied, whoever brought it.
pub fn remembered(
    (source, destination): (&World, &World),
    choice: &Choice,
    known: &Memory,
    of: &str,
) -> Memory {
    let mut memory = Memory::new();
    for (name, subject) in &source.subjects {
        let Some(target) = choice.target(name) else { continue };
        if subject.versions.is_empty() {
            continue;
        }
        let versions = subject.versions.keys().copied().collect();
        memory.insert(target, Remembered { from: name.clone(), of: of.to_owned(), versions });
    }
    for (name, before) in known.iter().filter(|(_, before)| before.of == of) {
        let is_there = |version: &&Version| destination.held(&(name.clone(), **version)).is_some();
        let there = before.versions.iter().filter(is_there).copied();
        match memory.get_mut(name) {
            Some(now) if now.from == before.from => now.versions.extend(there),
            Some(_) => {}
            None => {
                let versions: std::collections::BTreeSet<Version> = there.collect();
                if !versions.is_empty() {
                    memory.insert(name.clone(), Remembered { versions, ..before.clone() });
                }
            }
        }
    }
    memory
}

/// The rows that make one memory of another; `None` deletes.
pub fn changes(known: &Memory, new: &Memory) -> BTreeMap<Name, Option<Remembered>> {
    let gone = known.keys().filter(|name| !new.contains_key(*name));
    let gone = gone.map(|name| (name.clone(), None));
    let other = new.iter().filter(|(name, one)| known.get(*name) != Some(one));
    gone.chain(other.map(|(name, one)| (name.clone(), Some(one.clone())))).collect()
}

/// The places that were copied between the registries of the mark `of`.
pub fn copied(known: &Memory, of: &str) -> Copied {
    let own = known.iter().filter(|(_, one)| one.of == of);
    let places = own.flat_map(|(name, one)| {
        one.versions.iter().map(|version| ((name.clone(), *version), one.from.clone()))
    });
    places.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::schemas::Held;
    use crate::control::schemas::Id;
    use crate::control::schemas::Schema;
    use crate::control::schemas::Subject;
    use crate::control::schemas::choice::Contexts;

    fn world(subjects: &[(&str, &[i32])]) -> World {
        let schema = |id| Held {
            id: Id(id),
            schema: Schema {
                kind: "AVRO".into(),
                text: format!("{id}"),
                references: Vec::new(),
                metadata: None,
                rules: None,
            },
            is_deleted: false,
        };
        let subject = |versions: &[i32]| Subject {
            versions: versions.iter().map(|&version| (Version(version), schema(version))).collect(),
            config: None,
        };
        let subjects = subjects.iter().map(|(name, all)| (Name::parse(name), subject(all)));
        World { subjects: subjects.collect(), ..World::default() }
    }

    fn all() -> Choice {
        Choice::new(vec![":*:".into()], Contexts::Same, Some("to.${subject}".into())).unwrap()
    }

    #[test]
    fn what_is_gone_at_the_source_is_remembered_for_as_long_as_the_destination_has_it() {
        let (source, both) = (world(&[("a", &[1, 2]), ("b", &[1])]), world(&[]));
        let first = remembered((&source, &both), &all(), &Memory::new(), "m");
        assert_eq!(copied(&first, "m").len(), 3);
        assert_eq!(copied(&first, "other"), Copied::new());
        assert_eq!(changes(&Memory::new(), &first).len(), 2);
        assert_eq!(changes(&first, &first).len(), 0);
        // `b`, and a version of `a`, were deleted for good
        let source = world(&[("a", &[2])]);
        let there = world(&[("to.a", &[1, 2]), ("to.b", &[1])]);
        let next = remembered((&source, &there), &all(), &first, "m");
        assert_eq!(next, first);
        let place = (Name::parse("to.b"), Version(1));
        assert_eq!(copied(&next, "m").get(&place), Some(&Name::parse("b")));
        let there = world(&[("to.a", &[2])]);
        let last = remembered((&source, &there), &all(), &next, "m");
        assert_eq!(copied(&last, "m").len(), 1);
        assert_eq!(changes(&next, &last)[&Name::parse("to.b")], None);
        // of other registries nothing is known
        let other = remembered((&source, &world(&[("to.b", &[1])])), &all(), &first, "n");
        assert_eq!(copied(&other, "n").len(), 1);
    }
}
