//! What is to be created and deleted at the destination so that the source's bindings hold there,
//! while nobody but isolog changes a mirror topic.
//!
//! It never widens a binding, and never deletes one that is not in a ledger.
//!
//! ```text
//!  source's bindings ──▶ Copied ───────────────┐       ledger, destination
//!                    └─▶ Withheld ─▶ Instead ──┼─▶ desired ──┐   │
//!  mirror topics ────────▶ Guard (DENY) ───────┤             ▼   ▼
//!  what takes our rights ─▶ Own ───────────────┘        what differs ─▶ Step, Step, …
//! ```
//!
//! A DENY beats every ALLOW in Kafka, so nobody can be kept out by one DENY for all but ourselves.
//! Therefore each binding that lets others change a mirror topic is withheld where it names that
//! topic alone, and where it is broad each mirror topic under it gets a DENY for its principal.
//! What is withheld leaves what it implies: a topic without any binding may be open to everybody
//! (`allow.everyone.if.no.acl.found`).
//!
//! One step is taken at a time, and all is looked at again before the next: a kill between two
//! steps changes nothing.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::control::acls::Binding;
use crate::control::acls::Kind;
use crate::control::acls::Operation;
use crate::control::acls::Permission;
use crate::control::acls::desired::Facts;
use crate::control::acls::desired::Wanted;
use crate::control::acls::desired::fault;
use crate::control::topic::Fault;

/// How many bindings one link may want at the destination.
pub const BINDINGS_MAX: usize = 50_000;

/// One thing to do; then all is looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Rows of the ledger; `None` deletes.
    Write(BTreeMap<Binding, Option<Kind>>),
    /// Bindings that are to be created.
    Create(Vec<Binding>),
    /// Bindings that are to be deleted.
    Delete(Vec<Binding>),
}

/// All that differs, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Rows that must stand before anything is created.
    before: BTreeMap<Binding, Option<Kind>>,
    create: BTreeMap<Binding, Kind>,
    /// With what each is in the ledger.
    delete: BTreeMap<Binding, Kind>,
    /// Rows that may go, since nothing of theirs stands there any more.
    after: BTreeMap<Binding, Option<Kind>>,
    /// Bindings of the source that are not applied, and what stands in the place of each.
    pub withheld: BTreeMap<Binding, Vec<Binding>>,
    /// What cannot be done, by subject.
    pub errors: Vec<(String, Fault)>,
}

impl Plan {
    /// What is to be done, as things are.
    pub fn of(facts: &Facts) -> Plan {
        let wanted = Wanted::of(facts);
        let count = wanted.desired.len();
        if count > BINDINGS_MAX {
            let text = format!(
                "{count} bindings are wanted at the destination, {BINDINGS_MAX} are copied at \
                 most: narrow acl.filters"
            );
            let errors = vec![fault("acl.filters", "ACL_LIMIT_EXCEEDED", text)];
            return Plan { errors, ..Plan::default() };
        }
        compare(facts, wanted)
    }

    /// Whether all is as it should be.
    pub fn is_done(&self) -> bool {
        self.next(&BTreeSet::new()).is_none()
    }

    /// All that is to be created, in order: our own rights, each DENY, each ALLOW.
    pub fn created(&self) -> impl Iterator<Item = &Binding> {
        let own = self.create.iter().filter(|(_, kind)| **kind == Kind::Own);
        let others = |permission: Permission| {
            self.create
                .iter()
                .filter(move |(one, kind)| **kind != Kind::Own && one.permission == permission)
        };
        let all = own.chain(others(Permission::Deny)).chain(others(Permission::Allow));
        all.map(|(binding, _)| binding)
    }

    /// All that is to be deleted, in order: each ALLOW, each DENY, our own rights.
    pub fn deleted(&self) -> impl Iterator<Item = &Binding> {
        let of = |permission| self.gone().filter(move |one| one.permission == permission);
        let own = self.delete.iter().filter(|(_, kind)| **kind == Kind::Own);
        of(Permission::Allow).chain(of(Permission::Deny)).chain(own.map(|(binding, _)| binding))
    }

    /// What is to be deleted but for our own rights.
    fn gone(&self) -> impl Iterator<Item = &Binding> {
        let others = self.delete.iter().filter(|(_, kind)| **kind != Kind::Own);
        others.map(|(binding, _)| binding)
    }

    /// The next step. What was refused is not tried again, and nothing is done that would be wider
    /// without it.
    pub fn next(&self, refused: &BTreeSet<Binding>) -> Option<Step> {
        // a ledger that breaks off has each DENY of its ALLOWs: it may be all that is ever known
        if let Some(rows) = rows_of(&self.before, false).or_else(|| rows_of(&self.before, true)) {
            return Some(Step::Write(rows));
        }
        let own = self.create.iter().filter(|(_, kind)| **kind == Kind::Own);
        let own = own.map(|(binding, _)| binding.clone());
        // what gives all of a resource first: the others end what everybody had, too
        let (all, some): (Vec<_>, Vec<_>) = own.partition(|one| one.operation == Operation::All);
        if let Some(own) = [all, some].into_iter().find(|own| !own.is_empty()) {
            // without them nothing else may be done: it could take what we have
            let is_refused = own.iter().any(|one| refused.contains(one));
            return (!is_refused).then_some(Step::Create(own));
        }
        let next = self.create_next(refused).or_else(|| self.delete_next(refused));
        next.or_else(|| {
            // an ALLOW that could not be deleted keeps the rows of its DENYs
            let is_free = !self.gone().any(Binding::is_allow);
            let denies = || rows_of(&self.after, false).filter(|_| is_free);
            rows_of(&self.after, true).or_else(denies).map(Step::Write)
        })
    }

    /// Each DENY, then each ALLOW that no missing DENY would have narrowed.
    fn create_next(&self, refused: &BTreeSet<Binding>) -> Option<Step> {
        let (allows, denies): (Vec<&Binding>, Vec<&Binding>) =
            self.create.keys().partition(|one| one.is_allow());
        let may = |one: &&&Binding| !refused.contains(**one);
        let next: Vec<Binding> = denies.iter().filter(may).map(|one| (*one).clone()).collect();
        if !next.is_empty() {
            return Some(Step::Create(next));
        }
        let is_narrowed = |one: &&&Binding| denies.iter().any(|deny| deny.narrows(one));
        let next = allows.iter().filter(may).filter(|one| !is_narrowed(one));
        let next: Vec<Binding> = next.map(|one| (*one).clone()).collect();
        (!next.is_empty()).then_some(Step::Create(next))
    }

    /// Each ALLOW, then each DENY that narrows none that is left, our own rights last.
    fn delete_next(&self, refused: &BTreeSet<Binding>) -> Option<Step> {
        let (allows, denies): (Vec<&Binding>, Vec<&Binding>) =
            self.gone().partition(|one| one.is_allow());
        let may = |one: &&&Binding| !refused.contains(**one);
        let next: Vec<Binding> = allows.iter().filter(may).map(|one| (*one).clone()).collect();
        if !next.is_empty() {
            return Some(Step::Delete(next));
        }
        let narrows_left = |deny: &&&Binding| allows.iter().any(|one| deny.narrows(one));
        // what was to stand in its place was refused
        let missing = || self.create.keys().filter(|one| !one.is_allow());
        let is_only = |deny: &&&Binding| missing().any(|one| one.meets(deny));
        let next = denies.iter().filter(may);
        let next = next.filter(|deny| !narrows_left(deny) && !is_only(deny));
        let next: Vec<Binding> = next.map(|one| (*one).clone()).collect();
        if !next.is_empty() {
            return Some(Step::Delete(next));
        }
        let is_last = self.gone().next().is_none();
        let own = self.delete.keys().filter(|_| is_last).cloned();
        let (all, some): (Vec<_>, Vec<_>) = own.partition(|one| one.operation == Operation::All);
        let own = [some, all].into_iter().find(|own| !own.is_empty())?;
        let is_refused = own.iter().any(|one| refused.contains(one));
        (!is_refused).then_some(Step::Delete(own))
    }
}

/// Those about an ALLOW, or about a DENY; `None` where there are none.
fn rows_of(
    rows: &BTreeMap<Binding, Option<Kind>>,
    is_allow: bool,
) -> Option<BTreeMap<Binding, Option<Kind>>> {
    let some = rows.iter().filter(|(one, _)| one.is_allow() == is_allow);
    let some: BTreeMap<_, _> = some.map(|(one, kind)| (one.clone(), *kind)).collect();
    (!some.is_empty()).then_some(some)
}

/// What differs between what is wanted, what is written down and what stands there.
fn compare(facts: &Facts, wanted: Wanted) -> Plan {
    let Facts { destination, ledger, others, is_ending, .. } = *facts;
    let Wanted { mut desired, withheld, errors } = wanted;
    let mut plan = Plan { withheld, errors, ..Plan::default() };
    if is_ending {
        desired.retain(|_, kind| *kind != Kind::Guard);
    }
    for (binding, kind) in &desired {
        let row = ledger.get(binding).copied();
        let (is_there, is_shared) = (destination.contains(binding), others.contains(binding));
        let is_ours = row.is_some_and(Kind::is_applied);
        if !kind.is_applied() {
            match is_ours && is_there && !is_shared {
                // its row stays as it is until it is gone
                true => drop(plan.delete.insert(binding.clone(), Kind::Copied)),
                false if row != Some(*kind) => {
                    plan.before.insert(binding.clone(), Some(*kind));
                }
                false => {}
            }
        } else if is_there && !is_ours && !is_shared {
            // somebody else's: it is there, and stays theirs
            plan.after.extend(row.map(|_| (binding.clone(), None)));
        } else {
            if row != Some(*kind) {
                plan.before.insert(binding.clone(), Some(*kind));
            }
            if !is_there {
                plan.create.insert(binding.clone(), *kind);
            }
        }
    }
    for (binding, kind) in ledger.iter().filter(|(one, _)| !desired.contains_key(*one)) {
        let is_alone = destination.contains(binding) && !others.contains(binding);
        let may_go = !is_ending || *kind == Kind::Guard;
        match kind.is_applied() && is_alone && may_go {
            true => drop(plan.delete.insert(binding.clone(), *kind)),
            false => drop(plan.after.insert(binding.clone(), None)),
        }
    }
    let is_settled = plan.before.is_empty() && plan.create.is_empty() && plan.delete.is_empty();
    if is_ending && is_settled {
        plan.after = ledger.keys().map(|binding| (binding.clone(), None)).collect();
    } else if is_ending {
        plan.after.clear();
    }
    plan
}
