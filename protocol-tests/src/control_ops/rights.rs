//! ACL bindings of both clusters, and the turns in which an instance keeps those of one link in
//! step: read, planned, written down, created and deleted, with anything in between.
//!
//! It never looks into a plan: it takes its steps, and asks an authorizer of twenty lines.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use isolog::control::acls::AclFilter;
use isolog::control::acls::AclSync;
use isolog::control::acls::Binding;
use isolog::control::acls::EVERYONE;
use isolog::control::acls::Facts;
use isolog::control::acls::Kind;
use isolog::control::acls::Ledger;
use isolog::control::acls::Operation;
use isolog::control::acls::PatternType;
use isolog::control::acls::Permission;
use isolog::control::acls::Plan;
use isolog::control::acls::Protection;
use isolog::control::acls::ResourceType;
use isolog::control::acls::filter::AclLine;
use isolog::control::acls::filter::PatternFilter;
use isolog::control::acls::key_text;
use isolog::control::acls::plan::Step;
use isolog::control::journal::TOPIC as JOURNAL;
use isolog::control::row::Key;
use isolog::control::topic::Stage;
use isolog::ids::LinkName;
use isolog::ids::TopicName;

use super::NAMES;
use super::World;
use super::checks;
use super::link_names;
use super::topic;
use crate::mirror_ops::Dice;

/// As whom the destination knows isolog.
const OWN: &str = "User:isolog";
/// Others.
const PEOPLE: [&str; 3] = ["User:a", "User:b", "User:z"];
/// What they may want to do with a topic.
const OPERATIONS: [Operation; 3] = [Operation::Read, Operation::Write, Operation::Delete];

/// A set of what people may do: a bit for each of them, with each topic and operation.
type Rights = u64;

/// What the link of the file takes of ACLs: all of them.
pub fn sync_of(link: &LinkName) -> AclSync {
    let (resource, name, operation, permission) = (None, None, None, None);
    let (pattern, principal, host) = (PatternFilter::Any, None, None);
    let line = AclLine { resource, pattern, name, operation, permission, principal, host };
    let [dr, _] = link_names();
    AclSync { is_enabled: *link == dr, filter: AclFilter(vec![line]), ..AclSync::default() }
}

/// Both clusters'.
#[derive(Default)]
pub struct Acls {
    source: BTreeSet<Binding>,
    destination: BTreeSet<Binding>,
    /// What a person has bound at the destination.
    foreign: BTreeSet<Binding>,
    /// Each ALLOW that a link that was deleted has left: nobody's any more.
    left: BTreeSet<Binding>,
    /// `allow.everyone.if.no.acl.found`, at the source and at the destination.
    is_open: (bool, bool),
    /// What somebody may, or might at some time, at the source.
    ever: Rights,
}

impl Acls {
    /// Some.
    pub fn new(dice: &mut Dice<'_>) -> Acls {
        let some = |dice: &mut Dice<'_>, people: &[&str], most| -> BTreeSet<Binding> {
            let count = dice.roll(most);
            (0..count).map(|_| binding(dice, people)).collect()
        };
        let source = some(dice, &["User:a", "User:b", EVERYONE], 6);
        let foreign = some(dice, &["User:b", "User:z"], 2);
        let is_open = (dice.roll(4) == 0, dice.roll(4) == 0);
        let (destination, ever) = (foreign.clone(), all_rights(&source, is_open.0));
        Acls { source, destination, foreign, left: BTreeSet::new(), is_open, ever }
    }

    /// The link goes: what it has given stays, and is nobody's.
    fn leave(&mut self) {
        let here = self.destination.difference(&self.foreign);
        self.left.extend(here.filter(|one| one.is_allow()).cloned());
    }

    /// What somebody may by what stands here and is not the link's.
    fn theirs(&self) -> Rights {
        all_rights(&self.foreign.union(&self.left).cloned().collect(), self.is_open.1)
    }

    /// A person binds, or unbinds.
    fn change(&mut self, dice: &mut Dice<'_>) {
        match dice.roll(4) {
            0 => drop(self.source.insert(binding(dice, &["User:a", "User:b", EVERYONE]))),
            1 => {
                let at = dice.roll(self.source.len().max(1) as u64) as usize;
                let one = self.source.iter().nth(at).cloned();
                one.map(|one| self.source.remove(&one));
            }
            2 => {
                // an ALLOW that isolog has no reason to make: whose it is is never in doubt
                let permission = Permission::Allow;
                let one = Binding { permission, ..binding(dice, &["User:z"]) };
                if self.destination.insert(one.clone()) {
                    self.foreign.insert(one);
                }
            }
            _ => {
                // by hand, one that isolog made; without a DENY anybody could have more
                let ours = self.destination.difference(&self.foreign).filter(|one| one.is_allow());
                let ours: Vec<Binding> = ours.cloned().collect();
                let at = dice.roll(ours.len().max(1) as u64) as usize;
                ours.get(at).map(|one| self.destination.remove(one));
            }
        }
        self.ever |= all_rights(&self.source, self.is_open.0);
    }
}

fn binding(dice: &mut Dice<'_>, people: &[&str]) -> Binding {
    let one = |dice: &mut Dice<'_>, count: usize| dice.roll(count as u64) as usize;
    let places = [
        (PatternType::Literal, "a"),
        (PatternType::Literal, "orders"),
        (PatternType::Literal, "*"),
        (PatternType::Prefixed, "orders"),
        (PatternType::Prefixed, ""),
    ];
    let (pattern, name) = places[one(dice, places.len())];
    let operations = [Operation::Read, Operation::Write, Operation::Write, Operation::All];
    Binding {
        resource: ResourceType::Topic,
        pattern,
        name: if name.is_empty() { "o".into() } else { name.into() },
        principal: people[one(dice, people.len())].to_owned(),
        host: "*".into(),
        operation: operations[one(dice, operations.len())],
        permission: if dice.roll(4) == 0 { Permission::Deny } else { Permission::Allow },
    }
}

/// What an authorizer with these bindings lets somebody do (StandardAuthorizer).
fn may(
    bindings: &BTreeSet<Binding>,
    is_open: bool,
    who: &str,
    name: &str,
    what: Operation,
) -> bool {
    let speaks =
        || bindings.iter().filter(|one| one.resource == ResourceType::Topic && one.covers(name));
    let hits = || speaks().filter(|one| one.principal == who || one.principal == EVERYONE);
    let denied = hits().any(|one| !one.is_allow() && one.operation.denies(what));
    let allowed = || hits().any(|one| one.is_allow() && one.operation.allows(what));
    !denied && (allowed() || is_open && speaks().next().is_none())
}

/// Each of them with its bit.
fn asked() -> impl Iterator<Item = (Rights, &'static str, &'static str, Operation)> {
    let all = PEOPLE.into_iter().flat_map(|who| {
        let with = move |name| OPERATIONS.map(|what| (who, name, what));
        NAMES.into_iter().flat_map(with)
    });
    all.enumerate().map(|(nth, (who, name, what))| (1 << nth, who, name, what))
}

fn all_rights(bindings: &BTreeSet<Binding>, is_open: bool) -> Rights {
    let has =
        |(bit, who, name, what)| if may(bindings, is_open, who, name, what) { bit } else { 0 };
    asked().map(has).sum()
}

/// A request on its way to the destination's controller.
#[derive(Clone, Debug)]
enum Call {
    Create(Vec<Binding>),
    Delete(Vec<Binding>),
}

/// One turn of an instance.
#[derive(Clone, Debug)]
struct Turn {
    /// What the source told when it began; nothing where it was not to be had.
    source: Option<BTreeSet<Binding>>,
    /// Mirrors that nobody else may change, of all links, and of this one.
    mirrors: BTreeSet<TopicName>,
    own_mirrors: BTreeSet<TopicName>,
    /// Mirrors of this link that others may change.
    free: BTreeSet<TopicName>,
    is_ending: bool,
    refused: BTreeSet<Binding>,
    /// Rows that are to be read back before the next step.
    rows: BTreeMap<Binding, Option<Kind>>,
    call: Option<Call>,
}

/// Who keeps the rights of one instance.
#[derive(Clone, Debug, Default)]
pub struct Clerk(Option<Turn>);

impl Clerk {
    /// The instance may act no more.
    pub fn stop(&mut self) {
        self.0 = None;
    }
}

impl World<'_> {
    /// Something happens to rights: a step of an instance's turn, or a person.
    pub(super) fn rights(&mut self, nth: usize) {
        if self.faults && self.dice.roll(8) == 0 {
            return self.acls.change(&mut self.dice);
        }
        let [dr, _] = link_names();
        let instance = &self.instances[nth];
        let is_its = instance.is_holder && instance.is_level;
        if !is_its || !checks::acts_on(&instance.truth, nth, &dr) {
            return self.instances[nth].clerk.stop();
        }
        match self.instances[nth].clerk.0.take() {
            None => self.instances[nth].clerk.0 = self.begin_turn(nth, &dr),
            Some(turn) => self.instances[nth].clerk.0 = self.go_on(nth, &dr, turn),
        }
    }

    fn begin_turn(&mut self, nth: usize, dr: &LinkName) -> Option<Turn> {
        let is_away = self.faults && self.dice.roll(4) == 0;
        let machine = &self.instances[nth].machine;
        let (_, row, _) = machine.links().find(|(name, ..)| *name == dr)?;
        let (is_ending, is_paused) = (row.is_leaving, row.is_paused);
        let mut turn = Turn {
            source: (!is_away && !is_paused && !is_ending).then(|| self.acls.source.clone()),
            mirrors: BTreeSet::from([topic(JOURNAL)]),
            own_mirrors: BTreeSet::new(),
            free: BTreeSet::new(),
            is_ending,
            refused: BTreeSet::new(),
            rows: BTreeMap::new(),
            call: None,
        };
        for (key, ..) in machine.mirrors() {
            match (machine.is_free(key), key.0 == *dr) {
                (true, true) => drop(turn.free.insert(key.1.clone())),
                (true, false) => {}
                (false, is_own) => {
                    turn.mirrors.insert(key.1.clone());
                    turn.own_mirrors.extend(is_own.then(|| key.1.clone()));
                }
            }
        }
        Some(turn)
    }

    fn plan(&self, nth: usize, dr: &LinkName, turn: &Turn) -> Plan {
        let machine = &self.instances[nth].machine;
        let none = Arc::new(Ledger::new());
        let ledger = machine.ledgers().find(|(link, _)| *link == dr).map_or(&none, |(_, one)| one);
        let topics = self.clusters.mirror.keys().cloned().chain([topic(JOURNAL)]).collect();
        Plan::of(&Facts {
            own: OWN,
            protection: Protection::Rights,
            source: turn.source.as_ref(),
            destination: &self.acls.destination,
            ledger,
            others: &BTreeSet::new(),
            mirrors: &turn.mirrors,
            own_mirrors: &turn.own_mirrors,
            topics: &topics,
            is_super: None,
            is_ending: turn.is_ending,
        })
    }

    /// The next step of a turn; nothing when it is over.
    fn go_on(&mut self, nth: usize, dr: &LinkName, mut turn: Turn) -> Option<Turn> {
        if let Some(call) = turn.call.take() {
            let is_done = self.holder == nth && self.land(call, &mut turn.refused);
            if turn.is_ending {
                self.acls.leave();
            }
            return is_done.then_some(turn);
        }
        let machine = &self.instances[nth].machine;
        if !machine.is_ledger_settled(dr) {
            // until it has waited for too long
            let is_over = self.dice.roll(16) == 0;
            return (!is_over).then_some(turn);
        }
        let none = Arc::new(Ledger::new());
        let ledger = machine.ledgers().find(|(link, _)| *link == dr).map_or(&none, |(_, one)| one);
        if !turn.rows.iter().all(|(one, kind)| ledger.get(one) == kind.as_ref()) {
            // until it has waited for too long
            let is_over = self.dice.roll(16) == 0;
            return (!is_over).then_some(turn);
        }
        let now = self.now();
        match self.plan(nth, dr, &turn).next(&turn.refused) {
            None => {
                let machine = &mut self.instances[nth].machine;
                if turn.is_ending {
                    self.acls.leave();
                }
                let lifted = turn.free.iter().filter(|_| !turn.is_ending);
                lifted.for_each(|name| machine.handle_lifted(now, &(dr.clone(), name.clone())));
                return None;
            }
            Some(Step::Write(rows)) => {
                let machine = &mut self.instances[nth].machine;
                machine.handle_ledger(now, dr, rows.clone());
                turn.rows = rows;
            }
            Some(Step::Create(some)) => {
                self.are_written(nth, dr, &some, true);
                let is_own = |one: &&Binding| one.principal == OWN;
                for one in some.iter().filter(|one| one.is_allow() && !is_own(one)) {
                    let is_literal = one.pattern == PatternType::Literal;
                    let opens = is_literal
                        && one.operation.changes_topic()
                        && turn.mirrors.iter().any(|name| name.as_str() == one.name);
                    assert!(!opens, "I22: {one} is created on a mirror topic");
                }
                turn.call = Some(Call::Create(some));
            }
            Some(Step::Delete(some)) => {
                self.are_written(nth, dr, &some, false);
                turn.call = Some(Call::Delete(some));
            }
        }
        Some(turn)
    }

    /// Nothing is created that is not written down, and nothing deleted that was not.
    fn are_written(&self, nth: usize, dr: &LinkName, some: &[Binding], is_created: bool) {
        let instance = &self.instances[nth];
        for one in some {
            let key = Key::Acl(dr.clone(), key_text(one));
            let row = instance.truth.texts().contains_key(&key.to_string());
            assert!(row, "I21: {one} is in no ledger (created: {is_created})");
        }
    }

    /// A request reaches the controller, or does not; says whether its answer came.
    fn land(&mut self, call: Call, refused: &mut BTreeSet<Binding>) -> bool {
        let fate = if self.faults { self.dice.roll(12) } else { 12 };
        if fate == 0 {
            return false;
        }
        let (some, is_created) = match call {
            Call::Create(some) => (some, true),
            Call::Delete(some) => (some, false),
        };
        for one in some {
            self.tally.bound += 1;
            if self.faults && self.dice.roll(16) == 0 {
                refused.insert(one);
            } else if is_created {
                self.acls.destination.insert(one);
            } else {
                self.acls.destination.remove(&one);
            }
            self.rights_are_just(self.acls.ever);
        }
        fate != 1
    }

    /// What was on its way when its instance went may still arrive.
    pub(super) fn land_late(&mut self, clerk: Clerk) {
        let Some(Turn { call: Some(call), is_ending, .. }) = clerk.0 else { return };
        if self.dice.roll(2) == 0 {
            self.land(call, &mut BTreeSet::new());
        }
        if is_ending {
            self.acls.leave();
        }
    }

    /// I20, I21: nobody may more than at the source, but by what a person has bound here; and what
    /// a person has bound stays.
    fn rights_are_just(&self, at_source: Rights) {
        let acls = &self.acls;
        assert!(acls.foreign.is_subset(&acls.destination), "I21: a person's binding is gone");
        let here = all_rights(&acls.destination, acls.is_open.1);
        let theirs = acls.theirs();
        let wider = here & !(at_source | theirs);
        let named: Vec<_> = asked().filter(|(bit, ..)| wider & bit != 0).collect();
        assert!(named.is_empty(), "I20: more than at the source: {named:?}\n{}", self.acls_told());
    }

    fn acls_told(&self) -> String {
        let list = |some: &BTreeSet<Binding>| {
            some.iter().map(|one| format!("  {one}\n")).collect::<String>()
        };
        let Acls { source, destination, foreign, is_open, .. } = &self.acls;
        let lists = [source, foreign, destination].map(list);
        format!("open {is_open:?}\nsource, person, here:\n{}", lists.join("\n"))
    }

    /// When all is calm and a turn has had nothing to do.
    pub(super) fn rights_are_right(&mut self) {
        let [dr, _] = link_names();
        let is_there = self.truth.link(&dr).is_some_and(|row| !row.is_paused && !row.is_leaving);
        let Some(turn) = self.begin_turn(0, &dr).filter(|_| is_there) else { return };
        let plan = self.plan(0, &dr, &turn);
        assert!(plan.is_done(), "a step is left: {plan:?}\n{}", self.acls_told());
        let acls = &self.acls;
        let at_source = all_rights(&acls.source, acls.is_open.0);
        self.rights_are_just(at_source);
        let here = all_rights(&acls.destination, acls.is_open.1);
        let theirs = acls.theirs();
        let is_alone = acls.foreign.is_empty() && acls.left.is_empty();
        let has_equal = plan.errors.is_empty() && is_alone && acls.is_open.0 == acls.is_open.1;
        for (bit, who, name, what) in asked() {
            let is_mirror = turn.mirrors.iter().any(|one| one.as_str() == name);
            let is_change = what.changes_topic();
            if is_mirror && is_change {
                let may = here & bit != 0 && theirs & bit == 0;
                assert!(!may, "I22: {who} may {what:?} {name}\n{}", self.acls_told());
            } else if has_equal && (!is_change || self.was_stopped(name)) {
                let same = here & bit == at_source & bit;
                assert!(same, "I20: {who} {what:?} {name}\n{}", self.acls_told());
            }
        }
    }

    /// Whether it was a mirror and is none any more.
    fn was_stopped(&self, name: &str) -> bool {
        let [dr, _] = link_names();
        let row = self.truth.mirror(&(dr, topic(name)));
        row.is_some_and(|row| matches!(row.stage, Stage::Stopped(_)))
    }
}
