//! Which bindings are wanted at the destination, and why each of them: what the source has, what
//! keeps others from a mirror topic, and what keeps isolog's own rights.
//!
//! It never looks at what is to be changed; `plan` compares.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::control::acls::Binding;
use crate::control::acls::EVERYONE;
use crate::control::acls::Kind;
use crate::control::acls::Ledger;
use crate::control::acls::Operation;
use crate::control::acls::PatternType;
use crate::control::acls::Permission;
use crate::control::acls::ResourceType;
use crate::control::acls::binding::ANY;
use crate::control::acls::binding::CLUSTER_NAME;
use crate::control::filter::owner;
use crate::control::topic::Fault;
use crate::ids::TopicName;

/// What isolog does with the cluster itself at a destination.
const NEEDED_ON_CLUSTER: [Operation; 4] =
    [Operation::Alter, Operation::Create, Operation::Describe, Operation::DescribeConfigs];

/// `mirror.write.protection`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Withheld and denied by principal.
    Rights,
    /// The same, and WRITE is denied to everybody: isolog must be a super user.
    DenyAll,
    /// Nothing is withheld: a foreign record halts its partition.
    None,
}

impl Protection {
    /// Of the setting's word.
    pub fn of_word(word: &str) -> Option<Protection> {
        match word {
            "rights" => Some(Protection::Rights),
            "deny-all" => Some(Protection::DenyAll),
            "none" => Some(Protection::None),
            _ => None,
        }
    }
}

/// All that is known when a plan is made.
#[derive(Copy, Clone, Debug)]
pub struct Facts<'a> {
    /// As the destination knows us: `User:isolog`.
    pub own: &'a str,
    /// How mirror topics are kept from others.
    pub protection: Protection,
    /// What the link's filter takes at the source; `None` where it cannot be asked: then what the
    /// ledger remembers of it counts.
    pub source: Option<&'a BTreeSet<Binding>>,
    /// All that stands at the destination.
    pub destination: &'a BTreeSet<Binding>,
    /// The link's own.
    pub ledger: &'a Ledger,
    /// What the ledgers of other links have at the destination.
    pub others: &'a BTreeSet<Binding>,
    /// Topics that nobody else may change: mirrors of any link that are not stopped, and the
    /// journal.
    pub mirrors: &'a BTreeSet<TopicName>,
    /// The mirrors of this link among them.
    pub own_mirrors: &'a BTreeSet<TopicName>,
    /// All topics of the destination.
    pub topics: &'a BTreeSet<TopicName>,
    /// A DENY for everybody leaves us our rights; `None` where that has not been tried.
    pub is_super: Option<bool>,
    /// The link gives its ledger up: what was copied stays, what guards a mirror goes.
    pub is_ending: bool,
}

/// All that is wanted.
pub(super) struct Wanted {
    /// Each binding, and why; a withheld one is not to stand there.
    pub desired: Ledger,
    /// Withheld ones, and what stands in the place of each.
    pub withheld: BTreeMap<Binding, Vec<Binding>>,
    /// What cannot be done, by subject.
    pub errors: Vec<(String, Fault)>,
}

impl Wanted {
    /// What is wanted as things are.
    pub fn of(facts: &Facts) -> Wanted {
        let mut desk = Desk::new(facts);
        desk.take_source();
        desk.guard_from_strangers();
        desk.close();
        desk.spread_denies();
        desk.keep_own_rights();
        Wanted { desired: desk.desired, withheld: desk.withheld, errors: desk.errors }
    }
}

pub(super) fn fault(subject: &str, code: &str, text: String) -> (String, Fault) {
    (subject.to_owned(), Fault { code: code.to_owned(), text })
}

/// Where the desired bindings are put together.
struct Desk<'a> {
    facts: &'a Facts<'a>,
    source: Cow<'a, BTreeSet<Binding>>,
    /// What stands at the destination and is in no ledger.
    foreign: Vec<&'a Binding>,
    /// The names of mirrors, in order.
    mirrors: Vec<&'a str>,
    desired: Ledger,
    withheld: BTreeMap<Binding, Vec<Binding>>,
    /// Withheld ones that deny everybody something.
    denies: Vec<Binding>,
    errors: Vec<(String, Fault)>,
}

impl<'a> Desk<'a> {
    fn new(facts: &'a Facts<'a>) -> Desk<'a> {
        let remembered = || {
            let own = facts.ledger.iter().filter(|(_, kind)| kind.is_of_source());
            own.map(|(binding, _)| binding.clone()).collect()
        };
        let is_applied =
            |one: &Binding| facts.ledger.get(one).is_some_and(|kind| kind.is_applied());
        let is_ours = |one: &&Binding| is_applied(one) || facts.others.contains(*one);
        Desk {
            facts,
            source: facts.source.map_or_else(|| Cow::Owned(remembered()), Cow::Borrowed),
            foreign: facts.destination.iter().filter(|one| !is_ours(one)).collect(),
            mirrors: facts.mirrors.iter().map(TopicName::as_str).collect(),
            desired: Ledger::new(),
            withheld: BTreeMap::new(),
            denies: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// The mirrors that a binding on topics covers.
    fn mirrors_under(&self, binding: &Binding) -> &[&'a str] {
        let all = self.mirrors.as_slice();
        let name = binding.name.as_str();
        let from = |start: &str| all.partition_point(|mirror| *mirror < start);
        match binding.pattern {
            PatternType::Literal if name == ANY => all,
            PatternType::Literal => match all.binary_search(&name) {
                Ok(at) => &all[at..=at],
                Err(_) => &[],
            },
            PatternType::Prefixed => {
                let first = from(name);
                let count = all[first..].partition_point(|mirror| mirror.starts_with(name));
                &all[first..first + count]
            }
        }
    }

    /// Wanted, unless it is wanted for a better reason already.
    fn put(&mut self, binding: Binding, kind: Kind) {
        self.desired.entry(binding).or_insert(kind);
    }

    /// First of all and last of all, though the source may have it too.
    fn put_own(&mut self, binding: Binding) {
        self.desired.insert(binding, Kind::Own);
    }

    fn withhold(&mut self, binding: &Binding, instead: Vec<Binding>) {
        self.desired.insert(binding.clone(), Kind::Withheld);
        self.withheld.insert(binding.clone(), instead);
    }

    fn take_source(&mut self) {
        // what is copied first, so that nothing that stands in a place hides it
        let mut later = Vec::new();
        for binding in self.source.clone().iter() {
            let is_taken = match binding.permission {
                Permission::Deny => self.deny(binding),
                Permission::Allow => self.allow(binding),
            };
            match is_taken {
                true => drop(self.desired.insert(binding.clone(), Kind::Copied)),
                false => later.push(binding.clone()),
            }
        }
        for binding in later {
            match binding.permission {
                Permission::Deny => self.withhold_deny(&binding),
                Permission::Allow => self.withhold_allow(&binding),
            }
        }
    }

    /// Whether an ALLOW is applied as it is.
    fn allow(&mut self, binding: &Binding) -> bool {
        let changes = binding.resource == ResourceType::Topic && binding.operation.changes_topic();
        let is_protected = self.facts.protection != Protection::None;
        if !changes || !is_protected || binding.principal == self.facts.own {
            return true;
        }
        let under = self.mirrors_under(binding).to_vec();
        if under.is_empty() {
            return true;
        }
        if !binding.is_broad() || binding.principal == EVERYONE {
            return false;
        }
        for mirror in under {
            for operation in binding.operation.changes() {
                self.guard(binding, mirror, *operation);
            }
        }
        true
    }

    fn guard(&mut self, binding: &Binding, mirror: &str, operation: Operation) {
        let deny = binding.on(mirror).of(operation);
        self.put(Binding { permission: Permission::Deny, ..deny }, Kind::Guard);
    }

    /// It leaves what it implies; a broad one for everybody is given on each topic that is no
    /// mirror, one by one.
    fn withhold_allow(&mut self, binding: &Binding) {
        let left = binding.operation.leaves().iter().map(|operation| binding.of(*operation));
        let mut instead: Vec<Binding> = left.collect();
        if binding.is_broad() {
            let free = self.facts.topics.iter().filter(|topic| {
                let is_free = !self.facts.mirrors.contains(*topic);
                is_free && owner(topic.as_str()).is_none() && binding.covers(topic.as_str())
            });
            instead.extend(free.map(|topic| binding.on(topic.as_str())));
        }
        for one in &instead {
            self.put(one.clone(), Kind::Instead);
        }
        self.withhold(binding, instead);
    }

    /// Whether a DENY is applied as it is: not if it would take our own rights.
    fn deny(&mut self, binding: &Binding) -> bool {
        let is_ours = binding.principal == self.facts.own;
        if !is_ours && binding.principal != EVERYONE {
            return true;
        }
        match binding.resource {
            ResourceType::Topic => self.mirrors_under(binding).is_empty(),
            ResourceType::Cluster => {
                !NEEDED_ON_CLUSTER.iter().any(|one| binding.operation.denies(*one))
            }
            ResourceType::Group => !is_ours,
            _ => true,
        }
    }

    fn withhold_deny(&mut self, binding: &Binding) {
        let text = format!(
            "the source's binding would take isolog's own rights at the destination and is not \
             applied: {binding}"
        );
        self.errors.push(fault(&binding.to_string(), "AUTHORIZATION_ERROR", text));
        self.withhold(binding, Vec::new());
        self.take_default(binding);
        if binding.principal == EVERYONE {
            self.denies.push(binding.clone());
        }
    }

    /// Whom the destination itself lets write into a mirror topic; its own binding stays.
    fn guard_from_strangers(&mut self) {
        if self.facts.protection == Protection::None {
            return;
        }
        for binding in self.foreign.clone() {
            let writes = binding.operation.allows(Operation::Write);
            let is_named = binding.principal != EVERYONE && binding.principal != self.facts.own;
            if binding.resource != ResourceType::Topic
                || !binding.is_allow()
                || !writes
                || !is_named
            {
                continue;
            }
            for mirror in self.mirrors_under(binding).to_vec() {
                self.guard(binding, mirror, Operation::Write);
            }
        }
    }

    /// WRITE is denied to everybody: on one topic first, until it is seen that we keep it.
    fn close(&mut self) {
        if self.facts.protection != Protection::DenyAll {
            return;
        }
        let topics = match self.facts.is_super {
            Some(true) => usize::MAX,
            None => 1,
            Some(false) => {
                let text = "isolog is no super user of the destination (super.users), so that a \
                            DENY for everybody would hit it too: make it one, or set \
                            mirror.write.protection = rights";
                let name = "mirror.write.protection";
                return self.errors.push(fault(name, "MISCONFIGURATION_ERROR", text.to_owned()));
            }
        };
        for topic in self.facts.own_mirrors.iter().take(topics) {
            let deny = Binding {
                principal: EVERYONE.to_owned(),
                permission: Permission::Deny,
                ..self.own_on(ResourceType::Topic, topic.as_str(), Operation::Write)
            };
            self.put(deny, Kind::Guard);
        }
    }

    /// A DENY for everybody that would hit us is said to each principal that is allowed something
    /// of it. Whom an ALLOW for everybody means cannot be listed: it is withheld.
    fn spread_denies(&mut self) {
        for deny in std::mem::take(&mut self.denies) {
            let mut instead = Vec::new();
            let narrowed = self.desired.iter().filter(|(one, kind)| {
                kind.is_applied() && one.is_allow() && one.principal != self.facts.own
            });
            let narrowed = narrowed.filter(|(one, _)| deny.narrows(one));
            let narrowed: Vec<_> = narrowed.map(|(one, kind)| (one.clone(), *kind)).collect();
            for (allow, kind) in narrowed {
                if allow.principal != EVERYONE {
                    let one = Binding { principal: allow.principal, ..deny.clone() };
                    instead.push(one.clone());
                    self.put(one, Kind::Instead);
                    continue;
                }
                self.take_default(&allow);
                match kind {
                    Kind::Copied => self.withhold(&allow, Vec::new()),
                    _ => drop(self.desired.remove(&allow)),
                }
            }
            instead.dedup();
            self.withheld.insert(deny, instead);
        }
    }

    /// A right of ours on the same resources, so that they are open to nobody by default.
    fn take_default(&mut self, binding: &Binding) {
        let own = Binding {
            principal: self.facts.own.to_owned(),
            host: ANY.to_owned(),
            operation: Operation::Describe,
            permission: Permission::Allow,
            ..binding.clone()
        };
        self.put_own(own);
    }

    fn own_on(&self, resource: ResourceType, name: &str, operation: Operation) -> Binding {
        Binding {
            resource,
            pattern: PatternType::Literal,
            name: name.to_owned(),
            principal: self.facts.own.to_owned(),
            host: ANY.to_owned(),
            operation,
            permission: Permission::Allow,
        }
    }

    /// Where nobody had a binding, everybody may have had all rights, and we with them: the first
    /// binding takes them. Where there was one, our rights are somebody's decision.
    fn keep_own_rights(&mut self) {
        let applied = self.desired.iter().filter(|(_, kind)| kind.is_applied());
        let applied: Vec<Binding> = applied.map(|(binding, _)| binding.clone()).collect();
        let spoken = Spoken::of(applied.iter());
        let before = Spoken::of(self.foreign.iter().copied());
        for mirror in self.mirrors.clone() {
            if spoken.of_topic(mirror) && !before.of_topic(mirror) {
                self.put_own(self.own_on(ResourceType::Topic, mirror, Operation::All));
            }
        }
        if spoken.has_cluster && !before.has_cluster {
            let own = self.own_on(ResourceType::Cluster, CLUSTER_NAME, Operation::All);
            self.put_own(own);
        }
        for group in spoken.groups {
            let (pattern, name) = group;
            if !before.groups.contains(&group) && !before.groups.contains(&EVERY_GROUP) {
                let own = self.own_on(ResourceType::Group, name, Operation::Read);
                self.put_own(Binding { pattern, ..own });
            }
        }
    }
}

/// The pattern of every group.
const EVERY_GROUP: (PatternType, &str) = (PatternType::Literal, ANY);

/// Which resources some bindings speak of.
struct Spoken<'a> {
    topics: BTreeSet<&'a str>,
    prefixes: BTreeSet<&'a str>,
    is_every_topic: bool,
    groups: BTreeSet<(PatternType, &'a str)>,
    has_cluster: bool,
}

impl<'a> Spoken<'a> {
    fn of(bindings: impl Iterator<Item = &'a Binding>) -> Spoken<'a> {
        let mut spoken = Spoken {
            topics: BTreeSet::new(),
            prefixes: BTreeSet::new(),
            is_every_topic: false,
            groups: BTreeSet::new(),
            has_cluster: false,
        };
        for one in bindings {
            let name = one.name.as_str();
            match (one.resource, one.pattern) {
                (ResourceType::Topic, PatternType::Literal) if name == ANY => {
                    spoken.is_every_topic = true;
                }
                (ResourceType::Topic, PatternType::Literal) => drop(spoken.topics.insert(name)),
                (ResourceType::Topic, PatternType::Prefixed) => drop(spoken.prefixes.insert(name)),
                (ResourceType::Group, pattern) => drop(spoken.groups.insert((pattern, name))),
                (ResourceType::Cluster, _) => spoken.has_cluster = true,
                _ => {}
            }
        }
        spoken
    }

    fn of_topic(&self, name: &str) -> bool {
        let begins =
            |end: usize| name.get(..end).is_some_and(|start| self.prefixes.contains(start));
        self.is_every_topic || self.topics.contains(name) || (0..=name.len()).any(begins)
    }
}
