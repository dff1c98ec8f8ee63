//! Several exporters between several registries: both ways, and many into one.
//!
//! It never lets an exporter know of another one.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use isolog::control::schemas::IMPORT;
use isolog::control::schemas::Name;
use isolog::control::schemas::World;
use isolog::control::schemas::choice::Choice;
use isolog::control::schemas::choice::Contexts;
use isolog::control::schemas::memory::copied;
use isolog::control::schemas::memory::remembered;
use isolog::control::schemas::plan::plan;
use isolog::control::schemas::row::Memory;
use protocol_tests::rng::Rng;

use super::Below;
use super::MARK;
use super::empty;
use super::live_on;
use super::seen;
use super::take;

/// One exporter, between two of some registries.
struct Exporter {
    from: usize,
    to: usize,
    choice: Choice,
    memory: Memory,
}

impl Exporter {
    fn new((from, to): (usize, usize), subjects: &str, context: &str) -> Exporter {
        let contexts = Contexts::Under(context.to_owned());
        let choice = Choice::new(vec![subjects.to_owned()], contexts, None).unwrap();
        Exporter { from, to, choice, memory: Memory::new() }
    }

    /// What it looks at: the subjects that it takes, as the registry client does.
    fn source(&self, worlds: &[World]) -> World {
        let mut source = worlds[self.from].clone();
        source.subjects.retain(|name, _| self.choice.target(name).is_some());
        source.leave_copies();
        source
    }

    /// A whole turn: how many steps it took.
    fn turn(&mut self, worlds: &mut [World]) -> usize {
        let source = self.source(worlds);
        if source.subjects.is_empty() {
            return 0;
        }
        let there = &worlds[self.to];
        let steps = plan(&source, there, &self.choice, &copied(&self.memory, MARK)).unwrap();
        self.memory = remembered((&source, there), &self.choice, &self.memory, MARK);
        steps.iter().for_each(|step| take(&mut worlds[self.to], step).unwrap());
        steps.len()
    }
}

/// What a registry has of its own.
fn own(world: &World, contexts: &[&str]) -> BTreeSet<String> {
    let all = seen(world).into_iter();
    let is_own = |name: &Name| contexts.contains(&&*name.context);
    all.filter(|((name, _), _)| is_own(name))
        .map(|(place, row)| format!("{place:?} {row:?}"))
        .collect()
}

/// Its users do something, and not in the contexts that take ids from outside.
fn live_apart(dice: &mut Rng, world: &mut World, next: &mut i32) {
    let is_copy = |name: &Name| name.context.starts_with(".of-");
    let all = std::mem::take(&mut world.subjects);
    let (copies, own) = all.into_iter().partition(|(name, _)| is_copy(name));
    world.subjects = own;
    live_on(dice, world, next, 2);
    world.subjects.extend::<BTreeMap<_, _>>(copies);
}

#[test]
fn two_exporters_of_opposite_ways_never_copy_a_copy() {
    for seed in 0..200 {
        let mut dice = Rng::new(seed);
        let subjects = ["*", ":*:"][dice.below(2) as usize];
        let mut worlds = [empty(), empty()];
        let mut both =
            [Exporter::new((0, 1), subjects, ".of-a"), Exporter::new((1, 0), subjects, ".of-b")];
        // what each gets of the other lies in a context that takes ids from outside
        for (world, context) in worlds.iter_mut().zip([".of-b", ".of-a"]) {
            world.modes.insert(Name::of_context(context), IMPORT.to_owned());
            world.modes.insert(Name::of_context(&format!("{context}.eu")), IMPORT.to_owned());
        }
        let mut next = [0, 100_000];
        for _ in 0..3 {
            for (world, next) in worlds.iter_mut().zip(&mut next) {
                (0..6).for_each(|_| live_apart(&mut dice, world, next));
            }
            let before: Vec<_> = worlds.iter().map(|world| own(world, &[".", ".eu"])).collect();
            let turns = (0..4).map(|_| both.iter_mut().map(|one| one.turn(&mut worlds)).sum());
            let turns: Vec<usize> = turns.collect();
            assert_eq!(turns[2..], [0, 0], "seed {seed}: they go on for ever: {turns:?}");
            let after: Vec<_> = worlds.iter().map(|world| own(world, &[".", ".eu"])).collect();
            assert_eq!(before, after, "seed {seed}: what was there was changed");
            for name in worlds.iter().flat_map(|world| world.subjects.keys()) {
                let times = name.context.matches(".of-").count();
                assert!(times <= 1, "seed {seed}: {name} is a copy of a copy");
            }
        }
    }
}

#[test]
fn ten_sources_go_into_ten_contexts_of_one() {
    let mut dice = Rng::new(7);
    let mut worlds: Vec<World> = (0..11).map(|_| empty()).collect();
    let mut all: Vec<Exporter> =
        (0..10).map(|n| Exporter::new((n, 10), "*", &format!(".site-{n}"))).collect();
    // each gives its ids from 1 on
    let mut next = [0; 10];
    for _ in 0..3 {
        for (n, next) in next.iter_mut().enumerate() {
            (0..9).for_each(|_| live_on(&mut dice, &mut worlds[n], next, 1));
        }
        assert!(all.iter_mut().map(|one| one.turn(&mut worlds)).sum::<usize>() > 0);
        assert!(all.iter_mut().all(|one| one.turn(&mut worlds) == 0));
    }
    let mut versions: BTreeMap<String, usize> = BTreeMap::new();
    for (name, subject) in &worlds[10].subjects {
        *versions.entry(name.context.clone()).or_default() += subject.versions.len();
    }
    let of = |n: usize| versions.get(&format!(".site-{n}")).copied().unwrap_or(0);
    let held = |n: usize| worlds[n].subjects.values().map(|it| it.versions.len()).sum::<usize>();
    // a deleted schema that refers to what is gone for good is not taken by any registry
    assert!((0..10).all(|n| of(n) > 0 && of(n) <= held(n)), "{versions:?}");
    assert_eq!(versions.len(), 10, "{versions:?}");
}

/// A context that begins to take ids from outside is left out, and what was copied of it stays.
#[test]
fn what_is_left_out_is_not_taken_for_deleted() {
    let mut dice = Rng::new(3);
    let mut worlds = [empty(), empty()];
    let mut one = Exporter::new((0, 1), ":*:", ".of-a");
    let mut next = 0;
    while own(&worlds[0], &[".eu"]).is_empty() || own(&worlds[0], &["."]).is_empty() {
        live_on(&mut dice, &mut worlds[0], &mut next, 2);
    }
    assert!(one.turn(&mut worlds) > 0);
    let copied = own(&worlds[1], &[".of-a.eu"]);
    assert!(!copied.is_empty());
    worlds[0].modes.insert(Name::of_context(".eu"), IMPORT.to_owned());
    assert_eq!(one.turn(&mut worlds), 0);
    assert_eq!(own(&worlds[1], &[".of-a.eu"]), copied);
}
