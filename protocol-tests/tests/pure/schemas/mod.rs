//! Plans between schema registries, carried out on a registry that refuses what real ones refuse.
//!
//! It never asks a real registry. Thousands of made-up sources, a crash before each step.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod both_ways;
mod hostile;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use isolog::control::schemas::Held;
use isolog::control::schemas::IMPORT;
use isolog::control::schemas::Id;
use isolog::control::schemas::Name;
use isolog::control::schemas::Place;
use isolog::control::schemas::Reference;
use isolog::control::schemas::Schema;
use isolog::control::schemas::Version;
use isolog::control::schemas::World;
use isolog::control::schemas::choice::Choice;
use isolog::control::schemas::choice::Contexts;
use isolog::control::schemas::memory::changes;
use isolog::control::schemas::memory::copied;
use isolog::control::schemas::memory::remembered;
use isolog::control::schemas::plan::Clash;
use isolog::control::schemas::plan::Copied;
use isolog::control::schemas::plan::Step;
use isolog::control::schemas::plan::plan;
use isolog::control::schemas::row::Memory;
use protocol_tests::rng::Rng;
use serde_json::json;

const WORLDS: u64 = 3_000;
/// Of the two registries.
const MARK: &str = "m";

trait Below {
    /// A number from 0 to below `bound`.
    fn below(&mut self, bound: u64) -> u64;
}

impl Below for Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.between(0, bound - 1)
    }
}

fn schema(text: &str, references: Vec<Reference>) -> Schema {
    let (kind, text) = ("PROTOBUF".to_owned(), text.to_owned());
    Schema { kind, text, references, metadata: None, rules: None }
}

fn refers(place: &Place) -> Reference {
    Reference { name: "it".to_owned(), subject: place.0.clone(), version: place.1 }
}

/// A registry in IMPORT mode.
fn empty() -> World {
    World { mode: IMPORT.to_owned(), ..World::default() }
}

fn live_referrer(world: &World, place: &Place) -> Option<Place> {
    let all = world.subjects.iter().flat_map(|(name, subject)| {
        subject.versions.iter().map(move |(version, held)| ((name.clone(), *version), held))
    });
    let mut live = all.filter(|(_, held)| !held.is_deleted);
    let found = live.find(|(_, held)| held.schema.references.iter().any(|r| r.place() == *place));
    found.map(|(place, _)| place)
}

fn register(
    world: &mut World,
    (name, version): (&Name, &Version),
    id: Id,
    schema: &Schema,
) -> Result<(), String> {
    if world.mode_of(name) != IMPORT {
        return Err("42205: not in IMPORT".into());
    }
    for reference in &schema.references {
        let there = world.held(&reference.place());
        if there.is_none_or(|held| held.is_deleted) {
            return Err(format!("42201: no {} {}", reference.subject, reference.version));
        }
    }
    for (other, subject) in &world.subjects {
        for (at, held) in &subject.versions {
            let is_place = other == name && at == version;
            let is_id = other.context == name.context && held.id == id;
            if (is_place && held.id != id) || (is_id && !held.schema.is_same(schema)) {
                return Err(format!("42207: id {id}"));
            }
        }
    }
    // the schema that is there once makes no second version
    let own = world.subjects.get(name).map(|subject| &subject.versions);
    let twin = |(at, held): (&Version, &Held)| at != version && held.id == id && !held.is_deleted;
    if own.is_some_and(|versions| versions.iter().any(twin)) {
        return Ok(());
    }
    let held = Held { id, schema: schema.clone(), is_deleted: false };
    let versions = &mut world.subjects.entry(name.clone()).or_default().versions;
    match versions.insert(*version, held) {
        Some(old) if !old.is_deleted => Err("registered twice".into()),
        _ => Ok(()),
    }
}

/// What a registry does with a step, or why it refuses.
fn take(world: &mut World, step: &Step) -> Result<(), String> {
    match step {
        Step::Register(name, version, id, schema) => register(world, (name, version), *id, schema),
        Step::SoftDelete(name, version) => {
            let place = (name.clone(), *version);
            if let Some((other, at)) = live_referrer(world, &place) {
                return Err(format!("42206: {other} {at} refers to {name} {version}"));
            }
            let held = versions(world, name)?.get_mut(version).ok_or("40402")?;
            if std::mem::replace(&mut held.is_deleted, true) {
                return Err("40406: deleted twice".into());
            }
            Ok(())
        }
        Step::HardDelete(name, version) => {
            let versions = versions(world, name)?;
            if !versions.get(version).ok_or("40402")?.is_deleted {
                return Err("40407: not deleted softly".into());
            }
            versions.remove(version);
            match versions.is_empty() {
                true => Err("the name of what is gone would stay".into()),
                false => Ok(()),
            }
        }
        Step::PutConfig(name, config) => {
            world.subjects.entry(name.clone()).or_default().config = Some(config.clone());
            Ok(())
        }
        Step::Purge(name) => {
            if versions(world, name)?.values().any(|held| !held.is_deleted) {
                return Err("40405: not deleted softly".into());
            }
            world.subjects.remove(name).map(drop).ok_or("40401".to_owned())
        }
        Step::PutLevel(level) => {
            world.level = Some(level.clone());
            Ok(())
        }
        Step::DeleteConfig(name) => {
            world.subjects.get_mut(name).ok_or("40401")?.config = None;
            Ok(())
        }
    }
}

fn versions<'a>(
    world: &'a mut World,
    name: &Name,
) -> Result<&'a mut BTreeMap<Version, Held>, &'static str> {
    Ok(&mut world.subjects.get_mut(name).ok_or("40401")?.versions)
}

/// Registers, deletes and configures something at the source, as its users do.
fn live_on(dice: &mut Rng, world: &mut World, next: &mut i32, contexts: u64) {
    let context = [".", ".eu", ".us"][dice.below(contexts) as usize];
    let name = Name { context: context.to_owned(), subject: format!("s{}", dice.below(5)) };
    let places: Vec<Place> = world
        .subjects
        .iter()
        .flat_map(|(name, it)| it.versions.keys().map(move |at| (name.clone(), *at)))
        .collect();
    let some = (!places.is_empty()).then(|| dice.below(places.len() as u64) as usize);
    let some = some.map(|at| places[at].clone());
    match (dice.below(8), some) {
        (0, Some((name, version))) => drop(take(world, &Step::SoftDelete(name, version))),
        (1, Some((name, version))) => {
            let is_last = world.subjects[&name].versions.len() == 1;
            let step = if is_last { Step::Purge(name) } else { Step::HardDelete(name, version) };
            drop(take(world, &step));
        }
        (2, Some((name, _))) => {
            let level = ["FULL", "NONE"][dice.below(2) as usize];
            let level = json!({ "compatibility": level });
            drop(take(world, &Step::PutConfig(name, level)));
        }
        (3, Some((name, _))) => drop(take(world, &Step::DeleteConfig(name))),
        (4, Some(place)) if world.held(&place).is_some_and(|held| held.is_deleted) => {
            // registered again: another version, under the id that it had
            let Held { id, schema, .. } = world.held(&place).unwrap().clone();
            *next += 1;
            let step = Step::Register(place.0, Version(*next), id, Box::new(schema));
            // one may be there by now, or what it refers to may be gone
            drop(take(world, &step));
        }
        (_, some) => {
            let live = some.filter(|place| world.held(place).is_some_and(|it| !it.is_deleted));
            let same = live.filter(|place| place.0.context == context && dice.below(2) == 0);
            let references: Vec<Reference> = same.iter().map(refers).collect();
            *next += 1 + dice.below(3) as i32;
            let version = Version(*next);
            let made = Box::new(schema(&format!("text {next}"), references));
            take(world, &Step::Register(name, version, Id(*next), made)).unwrap();
        }
    }
}

fn choices(dice: &mut Rng) -> Choice {
    let contexts = [Contexts::Same, Contexts::Under(".dr".into())][dice.below(2) as usize].clone();
    let format = (dice.below(3) == 0).then(|| "copy.${subject}".to_owned());
    Choice::new(vec![":*:".into()], contexts, format).unwrap()
}

/// Id, text, what it refers to, whether it is deleted.
type Row = (Id, String, Vec<Place>, bool);

/// What the destination must hold in the end: worked out without the plan.
fn expected(source: &World, choice: &Choice) -> BTreeMap<Place, Row> {
    let mut all = BTreeMap::new();
    for (name, subject) in &source.subjects {
        for (version, held) in &subject.versions {
            let references = held.schema.references.iter();
            let references =
                references.map(|it| (choice.renamed(&it.subject), it.version)).collect();
            let row = (held.id, held.schema.text.clone(), references, held.is_deleted);
            all.insert((choice.renamed(name), *version), row);
        }
    }
    all
}

fn seen(world: &World) -> BTreeMap<Place, Row> {
    let same = Choice::new(vec![":*:".into()], Contexts::Same, None).unwrap();
    expected(world, &same)
}

/// Whether all is there; a deleted schema that refers to what is gone for good may be or not.
fn is_level(source: &World, destination: &World, choice: &Choice) -> bool {
    let (mut wanted, mut found) = (expected(source, choice), seen(destination));
    loop {
        let is_broken = |row: &Row| row.3 && row.2.iter().any(|it| !wanted.contains_key(it));
        let broken = wanted.iter().find(|(_, row)| is_broken(row)).map(|(at, _)| at.clone());
        let Some(broken) = broken else { return wanted == found };
        wanted.remove(&broken);
        found.remove(&broken);
    }
}

fn configs(world: &World, rename: impl Fn(&Name) -> Name) -> BTreeMap<Name, String> {
    let own = world.subjects.iter().filter_map(|(name, it)| Some((name, it.config.as_ref()?)));
    own.map(|(name, config)| (rename(name), config.to_string())).collect()
}

type Bend = fn(Vec<Step>) -> Vec<Step>;

/// One source that lives on, copied in turns that each may die after any step; what went wrong.
fn turns(seed: u64, bend: Bend) -> Result<u64, String> {
    let mut dice = Rng::new(seed);
    let (mut source, mut destination, mut memory) = (empty(), empty(), Memory::new());
    let (mut next, choice, contexts) = (0, choices(&mut dice), 1 + dice.below(3));
    let mut taken = 0;
    for _ in 0..4 {
        for _ in 0..dice.below(12) {
            live_on(&mut dice, &mut source, &mut next, contexts);
        }
        if choice.takes_all() && dice.below(2) == 0 {
            source.level = Some(["FULL", "NONE"][dice.below(2) as usize].to_owned());
        }
        loop {
            let planned = plan(&source, &destination, &choice, &copied(&memory, MARK));
            let steps = match planned {
                Err(clashes) if clashes == BTreeSet::from([Clash::SourceEmpty]) => {
                    return Ok(taken);
                }
                Err(clashes) => return Err(format!("seed {seed}: {clashes:?}")),
                Ok(steps) => bend(steps),
            };
            // what is about to be registered is remembered first, as a row of the journal is; of
            // rows that are not all written the others are what they were
            let new = remembered((&source, &destination), &choice, &memory, MARK);
            let all = changes(&memory, &new);
            let is_cut = dice.below(4) == 0;
            let some = all.len() as u64;
            let some = if is_cut { dice.below(some + 1) } else { some } as usize;
            for (name, row) in all.into_iter().take(some) {
                match row {
                    Some(row) => drop(memory.insert(name, row)),
                    None => drop(memory.remove(&name)),
                }
            }
            if is_cut {
                continue;
            }
            let crash = dice.below(steps.len() as u64 + 2) as usize;
            for step in steps.iter().take(crash) {
                taken += 1;
                take(&mut destination, step)
                    .map_err(|why| format!("seed {seed}: {step}: {why}"))?;
            }
            if crash >= steps.len() {
                break;
            }
        }
        if !is_level(&source, &destination, &choice) {
            return Err(format!("seed {seed}: the registries differ"));
        }
        let there = configs(&destination, Name::clone);
        if there != configs(&source, |name| choice.renamed(name)) {
            return Err(format!("seed {seed}: the configs differ"));
        }
        if destination.level != source.level {
            return Err(format!("seed {seed}: the compatibility of all differs"));
        }
        let copied = copied(&memory, MARK);
        if plan(&source, &destination, &choice, &copied).map_or(1, |steps| steps.len()) > 0 {
            return Err(format!("seed {seed}: level, and yet not done"));
        }
    }
    Ok(taken)
}

#[test]
fn every_plan_can_be_taken_and_leads_to_the_same_registry_wherever_it_dies() {
    let taken: u64 = (0..WORLDS).map(|seed| turns(seed, |steps| steps).unwrap()).sum();
    assert!(taken > WORLDS * 10, "{taken} steps are hardly a test");
}

#[test]
fn each_wrong_plan_is_found() {
    let wrong: [(&str, Bend); 9] = [
        ("last first", |steps| steps.into_iter().rev().collect()),
        ("twice", |steps| steps.iter().chain(&steps).cloned().collect()),
        ("no soft deletes", |steps| without(steps, |it| matches!(it, Step::SoftDelete(..)))),
        ("no hard deletes", |steps| without(steps, |it| matches!(it, Step::HardDelete(..)))),
        ("no purges", |steps| without(steps, |it| matches!(it, Step::Purge(_)))),
        ("no configs", |steps| without(steps, |it| matches!(it, Step::PutConfig(..)))),
        ("configs stay", |steps| without(steps, |it| matches!(it, Step::DeleteConfig(..)))),
        ("another version", |steps| registering(steps, |_, version| version.0 += 1)),
        ("another id", |steps| registering(steps, |id, _| id.0 += 1)),
    ];
    for (name, bend) in wrong {
        // a plan that does nothing useful would go on for ever: what is bent is bounded by steps
        let found = (0..300).any(|seed| bounded(seed, bend).is_err());
        assert!(found, "{name}: nobody noticed");
    }
}

/// A bent plan may never become level, so it gets one turn without a crash.
fn bounded(seed: u64, bend: Bend) -> Result<(), String> {
    let mut dice = Rng::new(seed);
    let (mut source, mut destination, mut copied) = (empty(), empty(), Copied::new());
    let (mut next, choice, contexts) = (0, choices(&mut dice), 1 + dice.below(3));
    for _ in 0..4 {
        for _ in 0..12 {
            live_on(&mut dice, &mut source, &mut next, contexts);
        }
        let Ok(steps) = plan(&source, &destination, &choice, &copied) else { return Ok(()) };
        for (name, subject) in &source.subjects {
            for version in subject.versions.keys() {
                copied.insert((choice.renamed(name), *version), name.clone());
            }
        }
        for step in bend(steps) {
            take(&mut destination, &step)?;
        }
        let level = is_level(&source, &destination, &choice)
            && configs(&destination, Name::clone) == configs(&source, |name| choice.renamed(name));
        level.then_some(()).ok_or("the registries differ")?;
    }
    Ok(())
}

fn without(steps: Vec<Step>, is_left_out: fn(&Step) -> bool) -> Vec<Step> {
    steps.into_iter().filter(|step| !is_left_out(step)).collect()
}

fn registering(mut steps: Vec<Step>, change: fn(&mut Id, &mut Version)) -> Vec<Step> {
    for step in &mut steps {
        if let Step::Register(_, version, id, _) = step {
            change(id, version);
        }
    }
    steps
}

/// Subject, version, id, text, references.
type Line<'a> = (&'a str, i32, i32, &'a str, &'a [(&'a str, i32)]);

/// A registry with these versions.
fn world(rows: &[Line]) -> World {
    let mut world = empty();
    for (name, version, id, text, references) in rows {
        let references =
            references.iter().map(|(name, at)| refers(&(Name::parse(name), Version(*at))));
        let held =
            Held { id: Id(*id), schema: schema(text, references.collect()), is_deleted: false };
        let subject = world.subjects.entry(Name::parse(name)).or_default();
        subject.versions.insert(Version(*version), held);
    }
    world
}

fn clashes(source: &World, destination: &World, subjects: &[&str], format: &str) -> Vec<String> {
    let subjects = subjects.iter().map(|&it| it.to_owned()).collect();
    let choice = Choice::new(subjects, Contexts::Default, Some(format.into())).unwrap();
    let planned = plan(source, destination, &choice, &Copied::new());
    planned.unwrap_err().iter().map(Clash::to_string).collect()
}

#[test]
fn what_clashes_is_named_before_anything_is_written() {
    let same = "${subject}";
    let two = world(&[("a", 1, 1, "x", &[]), (":.eu:a", 1, 1, "x", &[])]);
    let said = clashes(&two, &empty(), &[":*:"], same);
    assert!(said[0].contains("a and :.eu:a would both become a"), "{said:?}");
    let one = world(&[("a", 1, 1, "x", &[])]);
    let said = clashes(&one, &world(&[("a", 1, 2, "x", &[])]), &["*"], same);
    assert!(said[0].contains("(id 2 there, 1 here)"), "{said:?}");
    let said = clashes(&one, &world(&[("b", 3, 1, "y", &[])]), &["*"], same);
    assert!(said[0].contains("id 1 of a version 1 belongs to another"), "{said:?}");
    let liar = world(&[("a", 1, 1, "x", &[]), ("b", 1, 1, "y", &[])]);
    let said = clashes(&liar, &empty(), &["*"], same);
    assert!(said[0].contains("the source says two things of id 1"), "{said:?}");
    let said = clashes(&one, &World { mode: "READWRITE".into(), ..World::default() }, &["*"], same);
    assert!(said[0].contains("a is in mode READWRITE") && said[0].contains("PUT"), "{said:?}");
    // a deletion alone would hurt whoever writes there by now, and so would a config
    let (mut deleted, mut there) = (one.clone(), one.clone());
    deleted.subjects.get_mut(&Name::parse("a")).unwrap().versions.values_mut().for_each(|held| {
        held.is_deleted = true;
    });
    there.mode = "READWRITE".into();
    let said = clashes(&deleted, &there, &["*"], same);
    assert!(said[0].contains("a is in mode READWRITE"), "{said:?}");
    let needs = world(&[("a", 1, 1, "x", &[("b", 1)]), ("b", 1, 2, "y", &[])]);
    let said = clashes(&needs, &empty(), &["a"], same);
    assert!(said[0].contains("refers to b version 1, which is not copied"), "{said:?}");
    let round = world(&[("a", 1, 1, "x", &[("b", 1)]), ("b", 1, 2, "y", &[("a", 1)])]);
    let said = clashes(&round, &empty(), &["*"], same);
    assert!(said.iter().all(|it| it.contains("refers to itself")) && said.len() == 2, "{said:?}");
}

#[test]
fn what_isolog_did_not_copy_is_never_deleted_and_a_lost_source_deletes_nothing() {
    let choice = Choice::new(vec!["a*".into()], Contexts::Same, None).unwrap();
    let rows: &[Line] = &[("a", 1, 1, "x", &[]), ("b", 1, 2, "y", &[])];
    let (source, both) = (world(&[("a", 2, 3, "z", &[])]), world(rows));
    let steps = |copied: &Copied| plan(&source, &both, &choice, copied).unwrap();
    let shown = |steps: Vec<Step>| steps.iter().map(Step::to_string).collect::<Vec<_>>();
    let registers = "register a version 2 id 3 PROTOBUF";
    assert_eq!(shown(steps(&Copied::new())), [registers]);
    let place = |name: &str| ((Name::parse(name), Version(1)), Name::parse(name));
    // b was copied too, and is not chosen any more
    let copied = Copied::from([place("a"), place("b")]);
    let softly = ["delete a version 1 softly", "delete a version 1"];
    assert_eq!(shown(steps(&copied)), [registers, softly[0], softly[1]]);
    let lost = plan(&empty(), &both, &choice, &copied).unwrap_err();
    assert_eq!(lost, BTreeSet::from([Clash::SourceEmpty]));
}
