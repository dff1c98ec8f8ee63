//! The rules of the plan, one by one; `model` tries them together.
//!
//! It never asks an authorizer.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::plan::Step;
use super::*;
use crate::ids::TopicName;

const OWN: &str = "User:isolog";

fn binding(text: &str) -> Binding {
    let words: Vec<&str> = text.split(' ').collect();
    let [permission, operation, resource, pattern, name, principal] = words[..] else {
        panic!("{text}")
    };
    Binding {
        resource: ResourceType::of_word(resource).unwrap(),
        pattern: PatternType::of_word(pattern).unwrap(),
        name: name.to_owned(),
        principal: format!("User:{principal}"),
        host: "*".to_owned(),
        operation: Operation::of_word(operation).unwrap(),
        permission: Permission::of_word(permission).unwrap(),
    }
}

fn bindings(texts: &[&str]) -> BTreeSet<Binding> {
    texts.iter().map(|text| binding(text)).collect()
}

fn topics(names: &[&str]) -> BTreeSet<TopicName> {
    names.iter().map(|name| TopicName::new(name).unwrap()).collect()
}

/// What is known, owned.
struct Known {
    protection: Protection,
    source: Option<BTreeSet<Binding>>,
    destination: BTreeSet<Binding>,
    ledger: Ledger,
    others: BTreeSet<Binding>,
    mirrors: BTreeSet<TopicName>,
    topics: BTreeSet<TopicName>,
    is_super: Option<bool>,
    is_ending: bool,
}

impl Known {
    fn new(source: &[&str], mirrors: &[&str]) -> Known {
        Known {
            protection: Protection::Rights,
            source: Some(bindings(source)),
            destination: BTreeSet::new(),
            ledger: Ledger::new(),
            others: BTreeSet::new(),
            mirrors: topics(mirrors),
            topics: topics(&["orders", "pay", "__consumer_offsets"]),
            is_super: None,
            is_ending: false,
        }
    }

    fn plan(&self) -> Plan {
        Plan::of(&Facts {
            own: OWN,
            protection: self.protection,
            source: self.source.as_ref(),
            destination: &self.destination,
            ledger: &self.ledger,
            others: &self.others,
            mirrors: &self.mirrors,
            own_mirrors: &self.mirrors,
            topics: &self.topics,
            is_super: self.is_super,
            is_ending: self.is_ending,
        })
    }

    /// Takes every step.
    fn settle(&mut self) {
        for _ in 0..20 {
            match self.plan().next(&BTreeSet::new()) {
                Some(Step::Write(rows)) => rows.into_iter().for_each(|(one, kind)| match kind {
                    Some(kind) => drop(self.ledger.insert(one, kind)),
                    None => drop(self.ledger.remove(&one)),
                }),
                Some(Step::Create(some)) => self.destination.extend(some),
                Some(Step::Delete(some)) => self.destination.retain(|one| !some.contains(one)),
                None => return,
            }
        }
        panic!("no end");
    }

    #[track_caller]
    fn stands(&mut self, right: &[&str]) {
        self.settle();
        assert_eq!(self.destination, bindings(right));
    }
}

#[test]
fn a_literal_write_on_a_mirror_leaves_what_it_implies_until_it_is_promoted() {
    let source = [
        "ALLOW WRITE TOPIC LITERAL orders a",
        "ALLOW ALL TOPIC LITERAL orders b",
        "ALLOW READ TOPIC LITERAL orders c",
        "ALLOW WRITE TOPIC LITERAL pay a",
        "ALLOW IDEMPOTENT_WRITE CLUSTER LITERAL kafka-cluster a",
    ];
    let mut known = Known::new(&source, &["orders"]);
    known.stands(&[
        "ALLOW ALL TOPIC LITERAL orders isolog",
        "ALLOW ALL CLUSTER LITERAL kafka-cluster isolog",
        "ALLOW DESCRIBE TOPIC LITERAL orders a",
        "ALLOW READ TOPIC LITERAL orders b",
        "ALLOW DESCRIBE TOPIC LITERAL orders b",
        "ALLOW DESCRIBE_CONFIGS TOPIC LITERAL orders b",
        "ALLOW READ TOPIC LITERAL orders c",
        "ALLOW WRITE TOPIC LITERAL pay a",
        "ALLOW IDEMPOTENT_WRITE CLUSTER LITERAL kafka-cluster a",
    ]);
    known.mirrors.clear();
    let own = "ALLOW ALL CLUSTER LITERAL kafka-cluster isolog";
    known.stands(&source.into_iter().chain([own]).collect::<Vec<_>>());
}

#[test]
fn a_broad_write_stays_and_each_mirror_under_it_gets_a_deny() {
    let all = "ALLOW ALL TOPIC PREFIXED ord a";
    let mut known = Known::new(&[all], &["orders", "pay"]);
    let guards = [
        "DENY WRITE TOPIC LITERAL orders a",
        "DENY DELETE TOPIC LITERAL orders a",
        "DENY ALTER TOPIC LITERAL orders a",
        "DENY ALTER_CONFIGS TOPIC LITERAL orders a",
    ];
    let own = "ALLOW ALL TOPIC LITERAL orders isolog";
    known.stands(&guards.into_iter().chain([all, own]).collect::<Vec<_>>());
    known.mirrors = topics(&["pay"]);
    known.stands(&[all]);
    known.protection = Protection::None;
    known.mirrors = topics(&["orders"]);
    known.stands(&[all, own]);
}

#[test]
fn a_broad_write_for_everybody_is_given_topic_by_topic() {
    let mut known = Known::new(&["ALLOW WRITE TOPIC LITERAL * *"], &["orders"]);
    known.stands(&[
        "ALLOW ALL TOPIC LITERAL orders isolog",
        "ALLOW DESCRIBE TOPIC LITERAL * *",
        "ALLOW WRITE TOPIC LITERAL pay *",
    ]);
    known.mirrors.clear();
    known.stands(&["ALLOW WRITE TOPIC LITERAL * *"]);
}

#[test]
fn a_deny_that_would_hit_us_is_said_to_those_whom_it_means() {
    let source = [
        "DENY READ TOPIC LITERAL orders *",
        "ALLOW READ TOPIC PREFIXED o a",
        "DENY READ TOPIC LITERAL pay *",
    ];
    let mut known = Known::new(&source, &["orders"]);
    known.stands(&[
        "ALLOW ALL TOPIC LITERAL orders isolog",
        "ALLOW DESCRIBE TOPIC LITERAL orders isolog",
        "DENY READ TOPIC LITERAL orders a",
        "ALLOW READ TOPIC PREFIXED o a",
        "DENY READ TOPIC LITERAL pay *",
    ]);
    let [(_, fault)] = known.plan().errors.try_into().unwrap();
    assert_eq!(fault.code, "AUTHORIZATION_ERROR");
    assert!(fault.text.contains("DENY READ on TOPIC LITERAL orders to User:*"), "{}", fault.text);
    known.mirrors.clear();
    known.stands(&source);
    assert_eq!(known.plan().errors, []);
}

#[test]
fn what_is_to_be_done_is_ordered_and_written_down_first() {
    let source = ["ALLOW WRITE TOPIC PREFIXED o a", "DENY WRITE TOPIC LITERAL open a"];
    let mut known = Known::new(&source, &["orders"]);
    let plan = known.plan();
    // each DENY, then each ALLOW
    for is_allow in [false, true] {
        let next = known.plan().next(&BTreeSet::new());
        let Some(Step::Write(rows)) = next else { panic!("{next:?}") };
        let allows: Vec<bool> = rows.keys().map(Binding::is_allow).collect();
        assert_eq!(allows, [is_allow; 2]);
        known.ledger.extend(rows.into_iter().filter_map(|(one, kind)| Some((one, kind?))));
    }
    let mut steps = Vec::new();
    let refused = BTreeSet::new();
    while let Some(step) = known.plan().next(&refused) {
        let Step::Create(some) = step else { panic!("{step:?}") };
        known.destination.extend(some.iter().cloned());
        steps.push(some);
    }
    let denies =
        ["DENY WRITE TOPIC LITERAL open a", "DENY WRITE TOPIC LITERAL orders a"].map(binding);
    let right = [
        vec![binding("ALLOW ALL TOPIC LITERAL orders isolog")],
        denies.to_vec(),
        vec![binding("ALLOW WRITE TOPIC PREFIXED o a")],
    ];
    assert_eq!(steps, right);
    let order: Vec<Binding> = plan.created().cloned().collect();
    assert_eq!(order, right.concat(), "as it is shown");
    // and back
    known.source = Some(BTreeSet::new());
    let deleted: Vec<Binding> = known.plan().deleted().cloned().collect();
    let right = [right[2].clone(), denies.to_vec(), right[0].clone()];
    assert_eq!(deleted, right.concat());
    let refused = BTreeSet::from([right[0][0].clone()]);
    assert_eq!(known.plan().next(&refused), None, "the ALLOW stands, so its DENYs do");
}

#[test]
fn a_refused_deny_holds_up_the_allow_that_it_narrows_and_no_other() {
    let source = [
        "ALLOW READ TOPIC LITERAL * a",
        "DENY READ TOPIC LITERAL pay a",
        "ALLOW READ TOPIC LITERAL * b",
    ];
    let mut known = Known::new(&source, &[]);
    known.ledger = known.source.iter().flatten().map(|one| (one.clone(), Kind::Copied)).collect();
    let refused = BTreeSet::from([binding("DENY READ TOPIC LITERAL pay a")]);
    let step = known.plan().next(&refused);
    assert_eq!(step, Some(Step::Create(vec![binding("ALLOW READ TOPIC LITERAL * b")])));
}

#[test]
fn an_allow_that_could_not_be_deleted_keeps_the_rows_of_its_denies() {
    let (allow, deny) = ("ALLOW READ TOPIC PREFIXED o a", "DENY READ TOPIC LITERAL orders a");
    let mut known = Known::new(&[], &[]);
    known.ledger = Ledger::from([(binding(allow), Kind::Copied), (binding(deny), Kind::Withheld)]);
    known.destination = bindings(&[allow]);
    assert_eq!(known.plan().next(&bindings(&[allow])), None);
    known.settle();
    assert_eq!((known.ledger.len(), known.destination.len()), (0, 0));
}

#[test]
fn only_the_ledgers_bindings_go_and_what_another_link_needs_stays() {
    let (mine, theirs) = ("ALLOW READ TOPIC LITERAL pay a", "ALLOW READ TOPIC LITERAL pay b");
    let mut known = Known::new(&[mine, theirs], &[]);
    known.destination = bindings(&[theirs]);
    known.settle();
    assert_eq!(known.ledger, BTreeMap::from([(binding(mine), Kind::Copied)]), "theirs is theirs");
    known.source = Some(BTreeSet::new());
    known.others = bindings(&[mine]);
    known.stands(&[mine, theirs]);
    assert_eq!(known.ledger, Ledger::new());
}

#[test]
fn what_somebody_deleted_by_hand_comes_back() {
    let mine = "ALLOW READ TOPIC LITERAL pay a";
    let mut known = Known::new(&[mine], &[]);
    known.settle();
    known.destination.clear();
    known.stands(&[mine]);
}

#[test]
fn everybody_is_denied_one_topic_first_and_all_when_it_leaves_us_our_right() {
    let mut known = Known::new(&[], &["orders", "pay"]);
    known.protection = Protection::DenyAll;
    let denies = ["DENY WRITE TOPIC LITERAL orders *", "DENY WRITE TOPIC LITERAL pay *"];
    known.settle();
    let has = |known: &Known, text: &str| known.destination.contains(&binding(text));
    assert!(has(&known, denies[0]) && !has(&known, denies[1]));
    known.is_super = Some(true);
    known.settle();
    assert!(has(&known, denies[0]) && has(&known, denies[1]));
    known.is_super = Some(false);
    known.stands(&[]);
    assert_eq!(known.plan().errors[0].1.code, "MISCONFIGURATION_ERROR");
}

#[test]
fn a_link_that_ends_leaves_what_it_copied_and_takes_its_guards_away() {
    let source = ["ALLOW WRITE TOPIC PREFIXED o a", "ALLOW WRITE TOPIC LITERAL pay a"];
    let mut known = Known::new(&source, &["orders", "pay"]);
    known.settle();
    (known.source, known.is_ending) = (None, true);
    // its mirrors are let go
    known.mirrors.clear();
    let left = ["ALLOW ALL TOPIC LITERAL orders isolog", "ALLOW ALL TOPIC LITERAL pay isolog"];
    let instead = "ALLOW DESCRIBE TOPIC LITERAL pay a";
    known.stands(&source.into_iter().chain(left).chain([instead]).collect::<Vec<_>>());
    assert_eq!(known.ledger, Ledger::new());
}

#[test]
fn too_many_are_refused_as_a_whole() {
    let mut known = Known::new(&[], &[]);
    let name =
        |n: usize| Binding { name: format!("t{n}"), ..binding("ALLOW READ TOPIC LITERAL x a") };
    known.source = Some((0..=plan::BINDINGS_MAX).map(name).collect());
    let plan = known.plan();
    assert_eq!(plan.errors[0].1.code, "ACL_LIMIT_EXCEEDED");
    assert!(plan.is_done(), "nothing is half done");
}

mod model {
    //! StandardAuthorizer of Kafka in twenty lines, and the plan against it: seeded bindings,
    //! mirrors that come and are promoted, refusals, a source that is away.
    //!
    //! It never looks into the plan: it takes its steps and asks the authorizer.

    use std::collections::BTreeSet;

    use crate::control::acls::plan::Step;
    use crate::control::acls::*;
    use crate::ids::TopicName;

    /// Whether an authorizer with these bindings lets somebody do something.
    fn may(bindings: &BTreeSet<Binding>, open: bool, who: &Asked) -> bool {
        let speaks: Vec<&Binding> = bindings
            .iter()
            .filter(|one| one.resource == who.resource && one.covers(who.name))
            .collect();
        let hits = |one: &&&Binding| {
            (one.principal == who.principal || one.principal == EVERYONE)
                && (one.host == "*" || one.host == who.host)
        };
        let mut hit = speaks.iter().filter(hits);
        let denied = hit.clone().any(|one| !one.is_allow() && one.operation.denies(who.operation));
        let allowed = hit.any(|one| one.is_allow() && one.operation.allows(who.operation));
        !denied && (allowed || speaks.is_empty() && open)
    }

    #[derive(Copy, Clone, Debug)]
    struct Asked<'a> {
        principal: &'a str,
        host: &'a str,
        resource: ResourceType,
        name: &'a str,
        operation: Operation,
    }

    const OWN: &str = "User:isolog";
    const JOURNAL: &str = "__isolog";
    const TOPICS: [&str; 4] = ["ta", "tb", "ua", JOURNAL];
    const PEOPLE: [&str; 4] = [OWN, "User:a", "User:b", "User:nobody"];
    const HOSTS: [&str; 2] = ["h", "i"];
    const OPERATIONS: [Operation; 8] = {
        use Operation::*;
        [Read, Write, Create, Delete, Alter, Describe, DescribeConfigs, AlterConfigs]
    };

    /// Everything that anybody could do.
    fn all_asked() -> impl Iterator<Item = Asked<'static>> {
        let topics = TOPICS.iter().map(|name| (ResourceType::Topic, *name));
        let others = [(ResourceType::Group, "ga"), (ResourceType::Cluster, "kafka-cluster")];
        let resources: Vec<_> = topics.chain(others).collect();
        PEOPLE.into_iter().flat_map(move |principal| {
            let resources = resources.clone();
            HOSTS.into_iter().flat_map(move |host| {
                resources.clone().into_iter().flat_map(move |(resource, name)| {
                    let one = move |operation| Asked { principal, host, resource, name, operation };
                    OPERATIONS.into_iter().map(one)
                })
            })
        })
    }

    /// A die that always falls alike for a seed (splitmix64).
    struct Die(u64);

    impl Die {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ (mixed >> 31)) % bound as u64) as usize
        }

        fn one_of<T: Copy>(&mut self, some: &[T]) -> T {
            some[self.below(some.len())]
        }

        fn binding(&mut self) -> Binding {
            use PatternType::*;
            let resources = [ResourceType::Topic; 6].into_iter();
            let resources = resources.chain([ResourceType::Group, ResourceType::Cluster]);
            let resource = self.one_of(&resources.collect::<Vec<_>>());
            let topics = [
                (Literal, "ta"),
                (Literal, "tb"),
                (Literal, "ua"),
                (Literal, "*"),
                (Prefixed, "t"),
                (Prefixed, "ta"),
                (Prefixed, "__"),
            ];
            let (pattern, name) = match resource {
                ResourceType::Group => {
                    self.one_of(&[(Literal, "ga"), (Literal, "*"), (Prefixed, "g")])
                }
                ResourceType::Cluster => (Literal, "kafka-cluster"),
                _ => self.one_of(&topics),
            };
            let operations: Vec<_> = OPERATIONS.into_iter().chain([Operation::All; 3]).collect();
            Binding {
                resource,
                pattern,
                name: name.to_owned(),
                principal: self.one_of(&[OWN, "User:a", "User:a", "User:b", EVERYONE]).to_owned(),
                host: self.one_of(&["*", "*", "h"]).to_owned(),
                operation: self.one_of(&operations),
                permission: self.one_of(&[Permission::Allow, Permission::Allow, Permission::Deny]),
            }
        }

        fn bindings(&mut self, most: usize) -> BTreeSet<Binding> {
            let count = self.below(most + 1);
            (0..count).map(|_| self.binding()).collect()
        }
    }

    /// Both clusters, and what isolog remembers.
    struct World {
        die: Die,
        /// `allow.everyone.if.no.acl.found` at the source and at the destination.
        open: (bool, bool),
        source: BTreeSet<Binding>,
        /// What the source had before, too: until the steps are done, either may hold.
        justified: Vec<BTreeSet<Binding>>,
        is_away: bool,
        foreign: BTreeSet<Binding>,
        destination: BTreeSet<Binding>,
        ledger: Ledger,
        mirrors: BTreeSet<TopicName>,
        protection: Protection,
        refused: BTreeSet<Binding>,
    }

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).unwrap()
    }

    impl World {
        fn new(seed: u64) -> World {
            let mut die = Die(seed);
            let source = die.bindings(8);
            let mut foreign = die.bindings(3);
            foreign.extend(source.iter().filter(|_| die.below(8) == 0).cloned());
            let open = (die.below(2) == 0, die.below(2) == 0);
            World {
                open,
                justified: vec![source.clone()],
                source,
                is_away: false,
                destination: foreign.clone(),
                foreign,
                ledger: Ledger::new(),
                mirrors: BTreeSet::from([topic(JOURNAL)]),
                protection: Protection::Rights,
                refused: BTreeSet::new(),
                die,
            }
        }

        fn plan(&self) -> Plan {
            let topics: BTreeSet<TopicName> = TOPICS.into_iter().map(topic).collect();
            let mut own_mirrors = self.mirrors.clone();
            own_mirrors.remove(&topic(JOURNAL));
            Plan::of(&Facts {
                own: OWN,
                protection: self.protection,
                source: (!self.is_away).then_some(&self.source),
                destination: &self.destination,
                ledger: &self.ledger,
                others: &BTreeSet::new(),
                mirrors: &self.mirrors,
                own_mirrors: &own_mirrors,
                topics: &topics,
                is_super: None,
                is_ending: false,
            })
        }

        /// Takes all steps; some are refused, and one kill is like none.
        fn settle(&mut self, refuses: bool) {
            assert!(self.go_on(80, refuses), "the steps have no end: {:?}", self.plan());
        }

        /// Takes some steps, and then the source is away: what is written down so far is all that
        /// is known of it.
        fn break_off(&mut self) {
            let most = self.die.below(6);
            self.go_on(most, true);
            self.is_away = true;
            self.settle(false);
            self.is_away = false;
        }

        /// Takes at most so many steps; says whether none is left.
        fn go_on(&mut self, most: usize, refuses: bool) -> bool {
            self.refused.clear();
            for _ in 0..most {
                let plan = self.plan();
                let Some(step) = plan.next(&self.refused) else { return true };
                match step {
                    Step::Write(rows) => {
                        // a write may hold fewer rows than there are
                        let count = 1 + self.die.below(rows.len());
                        for (binding, kind) in rows.into_iter().take(count) {
                            match kind {
                                Some(kind) => drop(self.ledger.insert(binding, kind)),
                                None => drop(self.ledger.remove(&binding)),
                            }
                        }
                    }
                    Step::Create(some) => {
                        let before = self.ours();
                        for binding in some {
                            assert!(
                                self.ledger.get(&binding).is_some_and(|kind| kind.is_applied())
                            );
                            if refuses && self.die.below(6) == 0 {
                                self.refused.insert(binding);
                            } else {
                                self.destination.insert(binding);
                            }
                            self.check("created");
                        }
                        self.keeps(&before);
                    }
                    Step::Delete(some) => {
                        let before = self.ours();
                        for binding in some {
                            assert!(self.ledger.contains_key(&binding), "only the ledger's go");
                            if refuses && self.die.below(6) == 0 {
                                self.refused.insert(binding);
                            } else {
                                self.destination.remove(&binding);
                            }
                            self.check("deleted");
                        }
                        self.keeps(&before);
                    }
                }
            }
            false
        }

        /// What isolog may do with mirrors and the cluster, and not because the source says so.
        fn ours(&self) -> Vec<Asked<'static>> {
            let ours = all_asked().filter(|one| one.principal == OWN && self.is_needed(one));
            let ours = ours.filter(|one| may(&self.foreign, self.open.1, one));
            ours.filter(|one| may(&self.destination, self.open.1, one)).collect()
        }

        fn is_needed(&self, one: &Asked) -> bool {
            match one.resource {
                ResourceType::Topic => self.mirrors.contains(&topic(one.name)),
                ResourceType::Cluster => {
                    matches!(
                        one.operation,
                        Operation::Alter | Operation::Create | Operation::Describe
                    )
                }
                _ => false,
            }
        }

        #[track_caller]
        fn keeps(&self, before: &[Asked]) {
            for one in before {
                let has = may(&self.destination, self.open.1, one);
                assert!(has, "isolog lost {one:?}\n{}", self.shown());
            }
        }

        /// Holds after every single change at the destination.
        #[track_caller]
        fn check(&self, when: &str) {
            assert!(self.foreign.is_subset(&self.destination), "a foreign binding is gone");
            for one in all_asked().filter(|one| one.principal != OWN) {
                let has = may(&self.destination, self.open.1, &one);
                let had = may(&self.foreign, self.open.1, &one);
                let at_source = |was: &BTreeSet<Binding>| may(was, self.open.0, &one);
                let is_just = had || self.justified.iter().any(at_source);
                assert!(
                    !has || is_just,
                    "{when}: more than at the source: {one:?}\n{}",
                    self.shown()
                );
            }
        }

        /// Holds when all steps are taken and none was refused.
        #[track_caller]
        fn check_settled(&mut self) {
            self.justified = vec![self.source.clone()];
            self.check("settled");
            for one in all_asked().filter(|one| one.resource == ResourceType::Topic) {
                if one.principal == OWN || !self.mirrors.contains(&topic(one.name)) {
                    continue;
                }
                let (has, had) = (
                    may(&self.destination, self.open.1, &one),
                    may(&self.foreign, self.open.1, &one),
                );
                let opens = |of: &Binding| of.principal == EVERYONE && of.covers(one.name);
                let is_theirs = self.foreign.iter().any(opens) || !self.speaks(one.name);
                let writes = one.operation == Operation::Write;
                assert!(
                    !has || !one.operation.changes_topic() || had && (is_theirs || !writes),
                    "a mirror is changed: {one:?}\n{}",
                    self.shown()
                );
            }
            // what the source speaks of is open to nobody by default here either
            for one in all_asked() {
                let speaks = |of: &BTreeSet<Binding>| {
                    of.iter().any(|of| of.resource == one.resource && of.covers(one.name))
                };
                let is_silent = speaks(&self.source) && !speaks(&self.destination);
                assert!(!is_silent, "open by default: {one:?}\n{}", self.shown());
            }
            let held = all_asked().filter(|one| one.principal == OWN && self.is_needed(one));
            for one in held.filter(|one| may(&self.foreign, self.open.1, one)) {
                assert!(may(&self.destination, self.open.1, &one), "{one:?}\n{}", self.shown());
            }
        }

        fn speaks(&self, name: &str) -> bool {
            let of_it = |one: &&Binding| one.resource == ResourceType::Topic && one.covers(name);
            self.destination.iter().any(|one| of_it(&one))
        }

        /// With no mirror, no stranger and nothing that cannot be applied, both sides say the same.
        #[track_caller]
        fn check_equal(&self) {
            let is_whole = self.plan().errors.is_empty() && self.foreign.is_empty();
            if !is_whole || self.open.0 != self.open.1 || self.mirrors.len() > 1 {
                return;
            }
            for one in all_asked().filter(|one| one.principal != OWN && one.name != JOURNAL) {
                let (there, here) = (
                    may(&self.source, self.open.0, &one),
                    may(&self.destination, self.open.1, &one),
                );
                assert_eq!(there, here, "{one:?}\n{}", self.shown());
            }
        }

        fn shown(&self) -> String {
            let list = |some: &BTreeSet<Binding>| {
                some.iter().map(|one| format!("  {one}\n")).collect::<String>()
            };
            format!(
                "open {:?}, mirrors {:?}\nsource:\n{}foreign:\n{}destination:\n{}ledger: {:?}",
                self.open,
                self.mirrors,
                list(&self.source),
                list(&self.foreign),
                list(&self.destination),
                self.ledger
            )
        }

        /// Something happens.
        fn happen(&mut self) {
            match self.die.below(5) {
                0 => {
                    let new = self.die.bindings(3);
                    self.source.extend(new);
                }
                1 => {
                    let all = std::mem::take(&mut self.source);
                    self.source = all.into_iter().filter(|_| self.die.below(3) != 0).collect();
                }
                2 => drop(self.mirrors.insert(topic(self.die.one_of(&["ta", "tb", "ua"])))),
                3 => drop(self.mirrors.remove(&topic(self.die.one_of(&["ta", "tb", "ua"])))),
                _ => {
                    let known = self.source.iter().next().cloned();
                    let one = known.filter(|_| self.die.below(2) == 0);
                    let one = one.unwrap_or_else(|| self.die.binding());
                    if !self.destination.contains(&one) && one.permission == Permission::Allow {
                        self.foreign.insert(one.clone());
                        self.destination.insert(one);
                    }
                }
            }
            self.justified.push(self.source.clone());
        }
    }

    fn seeds() -> std::ops::Range<u64> {
        match std::env::var("ISOLOG_SEED").ok().and_then(|seed| seed.parse().ok()) {
            Some(seed) => seed..seed + 1,
            None => {
                0..std::env::var("ISOLOG_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(150)
            }
        }
    }

    #[test]
    fn nobody_gets_more_than_at_the_source_and_nobody_but_us_changes_a_mirror() {
        for seed in seeds() {
            println!("ISOLOG_SEED={seed}");
            let mut world = World::new(seed);
            for _ in 0..6 {
                world.happen();
                if world.die.below(2) == 0 {
                    world.break_off();
                }
                // what isolog had before the destination's own bindings changed is nobody's fault
                world.settle(true);
                world.settle(false);
                world.check_settled();
                world.check_equal();
            }
            let mirrors: Vec<_> = world.mirrors.iter().cloned().collect();
            for mirror in mirrors.into_iter().filter(|name| name.as_str() != JOURNAL) {
                world.mirrors.remove(&mirror);
            }
            world.settle(false);
            world.check_settled();
            world.check_equal();
        }
    }

    /// A failover: the source is dead, and what it had last holds for topics that are stopped.
    #[test]
    fn what_was_withheld_is_given_without_the_source() {
        let mut world = World::new(0);
        world.open = (false, false);
        world.foreign.clear();
        world.destination.clear();
        let literal = Binding {
            resource: ResourceType::Topic,
            pattern: PatternType::Literal,
            name: "ta".into(),
            principal: "User:a".into(),
            host: "*".into(),
            operation: Operation::Write,
            permission: Permission::Allow,
        };
        let broad = Binding { name: "*".into(), principal: "User:b".into(), ..literal.clone() };
        world.source = BTreeSet::from([literal.clone(), broad.clone()]);
        world.justified = vec![world.source.clone()];
        world.mirrors.extend([topic("ta"), topic("tb")]);
        world.settle(false);
        let writes = |world: &World, principal, name| {
            let (resource, operation) = (ResourceType::Topic, Operation::Write);
            let one = Asked { principal, host: "h", resource, name, operation };
            may(&world.destination, false, &one)
        };
        assert!(!writes(&world, "User:a", "ta") && !writes(&world, "User:b", "ta"));
        assert!(writes(&world, "User:b", "ua"), "what is no mirror is theirs");
        world.is_away = true;
        world.mirrors.remove(&topic("ta"));
        world.settle(false);
        assert!(writes(&world, "User:a", "ta") && writes(&world, "User:b", "ta"));
        assert!(!writes(&world, "User:b", "tb"), "a mirror still");
        assert!(!world.destination.iter().any(|one| one.principal == OWN && one.name == "ta"));
        assert_eq!(world.ledger.get(&literal), Some(&Kind::Copied));
        assert!(world.plan().is_done());
    }
}
