//! Which consumer groups of a source are followed, and under which names.
//!
//! It never asks a cluster; a filter is a value, and matching is a pure function of a name.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::control::filter::Verdict;
use crate::ids::GroupName;

/// How groups begin that are left out unless they are named: consoles, Kafka Connect, brokers.
const UNNAMED: &[&str] = &["console-consumer-", "connect-", "__"];

/// What a rule compares a group's name with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    /// Exactly this group.
    Literal(GroupName),
    /// Every group that begins so; the empty prefix is every group.
    Prefix(String),
}

impl Pattern {
    fn matches(&self, name: &GroupName) -> bool {
        match self {
            Pattern::Literal(group) => group == name,
            Pattern::Prefix(start) => name.as_str().starts_with(start.as_str()),
        }
    }

    /// Whether it may include a group that is else left out: it must show that it means one.
    fn names_unnamed(&self) -> bool {
        match self {
            Pattern::Literal(_) => true,
            Pattern::Prefix(start) => is_unnamed(start),
        }
    }
}

fn is_unnamed(name: &str) -> bool {
    UNNAMED.iter().any(|start| name.starts_with(start))
}

/// One line of a filter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Which groups it speaks of.
    pub pattern: Pattern,
    /// What it says about them.
    pub verdict: Verdict,
}

/// The groups of one link. An exclude wins over every include; the order of rules has no meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupFilter {
    rules: Vec<Rule>,
}

impl GroupFilter {
    /// A filter of these rules; without any it matches nothing.
    pub fn new(rules: Vec<Rule>) -> GroupFilter {
        GroupFilter { rules }
    }

    /// Whether the group is followed. Groups of consoles, of Kafka Connect and internal ones need a
    /// literal rule or a prefix that itself begins like one.
    pub fn matches(&self, name: &GroupName) -> bool {
        let is_unnamed = is_unnamed(name.as_str());
        let includes = |rule: &Rule| {
            rule.verdict == Verdict::Include
                && rule.pattern.matches(name)
                && (!is_unnamed || rule.pattern.names_unnamed())
        };
        let excludes = |rule: &Rule| rule.verdict == Verdict::Exclude && rule.pattern.matches(name);
        self.rules.iter().any(includes) && !self.rules.iter().any(excludes)
    }

    /// The groups that are included by their whole name and not excluded, in the rules' order.
    pub fn literals(&self) -> impl Iterator<Item = &GroupName> {
        self.rules.iter().filter_map(|rule| match (&rule.pattern, rule.verdict) {
            (Pattern::Literal(name), Verdict::Include) if self.matches(name) => Some(name),
            _ => None,
        })
    }

    /// What the including rules say, in their order.
    pub fn includes(&self) -> impl Iterator<Item = &Pattern> {
        let rules = self.rules.iter().filter(|rule| rule.verdict == Verdict::Include);
        rules.map(|rule| &rule.pattern)
    }

    /// Whether any rule includes anything.
    pub fn includes_anything(&self) -> bool {
        self.includes().next().is_some()
    }
}

/// How a link follows the offsets of groups (`consumer.offset.sync.*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSync {
    /// `consumer.offset.sync.ms`.
    pub every_ms: i64,
    /// `consumer.offset.group.filters`.
    pub filter: GroupFilter,
    /// What stands before a group's name at the destination (`consumer.group.prefix.enable`); may
    /// be empty.
    pub prefix: String,
    /// Those that are not followed by order, whatever the filter says.
    pub forgotten: Arc<BTreeSet<GroupName>>,
}

impl GroupSync {
    /// Whether a group of the source is followed.
    pub fn follows(&self, group: &GroupName) -> bool {
        self.filter.matches(group) && !self.forgotten.contains(group)
    }

    /// The name at the source of a group that is called so on one of both sides.
    pub fn source_name(&self, group: &GroupName) -> GroupName {
        let bare = group.as_str().strip_prefix(self.prefix.as_str()).map(GroupName::new);
        let is_own = |name: &GroupName| self.filter.matches(name) || self.forgotten.contains(name);
        bare.filter(|bare| !is_own(group) && is_own(bare)).unwrap_or_else(|| group.clone())
    }

    /// The name that a group of the source has at the destination.
    pub fn renamed(&self, group: &GroupName) -> GroupName {
        match self.prefix.as_str() {
            "" => group.clone(),
            prefix => GroupName::new(&format!("{prefix}{}", group.as_str())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verdict: Verdict, text: &str) -> Rule {
        let pattern = match text.strip_suffix('*') {
            Some(start) => Pattern::Prefix(start.to_owned()),
            None => Pattern::Literal(GroupName::new(text)),
        };
        Rule { pattern, verdict }
    }

    fn check(include: &[&str], exclude: &[&str], yes: &[&str], no: &[&str]) {
        let included = include.iter().map(|text| rule(Verdict::Include, text));
        let excluded = exclude.iter().map(|text| rule(Verdict::Exclude, text));
        let filter = GroupFilter::new(included.chain(excluded).collect());
        for name in yes {
            assert!(filter.matches(&GroupName::new(name)), "{name} must match {include:?}");
        }
        for name in no {
            assert!(!filter.matches(&GroupName::new(name)), "{name} must not match {include:?}");
        }
    }

    #[test]
    fn a_literal_is_the_whole_name_and_a_prefix_its_beginning() {
        check(&["billing", "web*"], &[], &["billing", "web", "web-1"], &["billing2", "we", ""]);
        check(&["*"], &[], &["billing", "", "ä b\n"], &[]);
        check(&[], &[], &[], &["billing"]);
    }

    #[test]
    fn an_exclude_wins_over_every_include() {
        check(&["*", "web-1"], &["web*"], &["billing"], &["web", "web-1"]);
        check(&[], &["a"], &[], &["a", "b"]);
    }

    #[test]
    fn groups_of_tools_must_be_named() {
        let tools = ["console-consumer-7", "connect-sink", "__isolog"];
        check(&["*", "con*"], &[], &["console", "connector", "_x"], &tools);
        check(&["connect-*", "console-consumer-7", "__*"], &[], &tools, &["console-consumer-8"]);
    }

    #[test]
    fn literals_are_those_that_really_match() {
        let rules = [
            rule(Verdict::Include, "a"),
            rule(Verdict::Include, "b"),
            rule(Verdict::Include, "c*"),
            rule(Verdict::Exclude, "b"),
        ];
        let filter = GroupFilter::new(rules.to_vec());
        assert_eq!(filter.literals().map(GroupName::as_str).collect::<Vec<_>>(), ["a"]);
        assert!(filter.includes_anything());
        assert!(!GroupFilter::new(rules[3..].to_vec()).includes_anything());
    }

    #[test]
    fn a_prefix_stands_before_the_name_at_the_destination() {
        let sync = |prefix: &str| GroupSync {
            every_ms: 1,
            filter: GroupFilter::default(),
            prefix: prefix.to_owned(),
            forgotten: Arc::default(),
        };
        assert_eq!(sync("").renamed(&GroupName::new("a")), GroupName::new("a"));
        assert_eq!(sync("west.").renamed(&GroupName::new("a")), GroupName::new("west.a"));
    }
}
