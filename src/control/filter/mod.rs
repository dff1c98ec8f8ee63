//! Which topics of a source a link mirrors: include and exclude, by name, prefix and expression.
//!
//! It never asks a cluster; a filter is a value, and matching is a pure function of a name.

mod pattern;
mod unnamed;

use std::collections::BTreeSet;
use std::fmt;

use crate::ids::TopicName;

pub use pattern::Expression;
pub use pattern::Pattern;
pub use unnamed::Unnamed;
pub use unnamed::owner;

/// Whether one of the names begins so.
fn begins(names: &BTreeSet<TopicName>, start: &str) -> bool {
    // names are in order of their letters
    let from = match TopicName::new(start) {
        Some(start) => names.range(start..),
        None => return names.iter().any(|name| name.as_str().starts_with(start)),
    };
    from.take(1).any(|name| name.as_str().starts_with(start))
}

/// Whether the pattern matches one of the names; of prefixes there may be many, and names.
pub fn is_met(pattern: &Pattern, names: &BTreeSet<TopicName>) -> bool {
    match pattern {
        Pattern::Literal(name) => names.contains(name),
        Pattern::Prefix(start) => begins(names, start),
        Pattern::Expression(_) => names.iter().any(|name| pattern.matches(name)),
    }
}

/// What to say of a prefix that matches nothing, `all` being the source's topics: it is often meant
/// for a regular expression, as MirrorMaker has them.
pub fn matches_nothing(pattern: &Pattern, all: &BTreeSet<TopicName>) -> String {
    let subject = pattern.to_string();
    if matches!(pattern, Pattern::Expression(_)) {
        return "no topic of the source has a name that matches it from the first to the last \
                letter, or none that may be described"
            .to_owned();
    }
    let mut text = "no topic of the source begins so, or none that may be described".to_owned();
    match subject.strip_suffix(".*") {
        None => {}
        Some("") => text.push_str("; it is no regular expression: write * for every topic"),
        Some(start) => {
            text.push_str(&format!(
                "; it is no regular expression, but means names that begin with \"{start}.\""
            ));
            if begins(all, start) {
                text.push_str(&format!(": write {start}* for those that begin with \"{start}\""));
            }
        }
    }
    text
}

/// How names begin that both patterns may match, as far as their first letters tell.
fn common_starts(ours: &Pattern, its: &Pattern) -> impl Iterator<Item = String> {
    let (ours, its) = (ours.starts(), its.starts());
    let longer = |one: &str, two: &str| match (one.starts_with(two), two.starts_with(one)) {
        (true, _) => Some(one.to_owned()),
        (_, true) => Some(two.to_owned()),
        _ => None,
    };
    ours.into_iter().flat_map(move |one| {
        let both: Vec<String> = its.iter().filter_map(|two| longer(&one, two)).collect();
        both
    })
}

/// Why a topic is not mirrored although a rule includes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// Another rule excludes it.
    Excluded(Pattern),
    /// It is of a kind that must be named.
    Unnamed(&'static Unnamed),
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeftOut::Excluded(pattern) => write!(f, "{pattern} excludes it"),
            LeftOut::Unnamed(kind) => {
                write!(f, "{kind}: name it in mirror.topics to mirror it all the same")
            }
        }
    }
}

/// What a rule says about the topics it matches.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Mirror it, unless another rule excludes it.
    Include,
    /// Do not mirror it, whatever includes it (Cluster Linking's rule).
    Exclude,
}

/// One line of a filter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Which topics it speaks of.
    pub pattern: Pattern,
    /// What it says about them.
    pub verdict: Verdict,
}

impl Rule {
    /// A rule that includes `pattern`.
    pub fn include(pattern: Pattern) -> Rule {
        Rule { pattern, verdict: Verdict::Include }
    }

    /// A rule that excludes `pattern`.
    pub fn exclude(pattern: Pattern) -> Rule {
        Rule { pattern, verdict: Verdict::Exclude }
    }
}

/// The topics of one link. An exclude wins over every include; the order of rules has no meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicFilter {
    rules: Vec<Rule>,
}

impl TopicFilter {
    /// A filter of these rules; without any it matches nothing.
    pub fn new(rules: Vec<Rule>) -> TopicFilter {
        TopicFilter { rules }
    }

    /// Whether the topic is mirrored. Topics that are left out unless they are named need a literal
    /// rule, or one that spells what shows their kind; the brokers' own logs and isolog's journal
    /// are never mirrored.
    pub fn matches(&self, name: &TopicName) -> bool {
        let kind = Unnamed::of(name.as_str());
        let means = |rule: &Rule| kind.is_none_or(|kind| rule.pattern.names(kind));
        owner(name.as_str()).is_none()
            && self.including(name).any(means)
            && self.excluding(name).is_none()
    }

    /// Why a topic is not mirrored although a rule includes it; `None` where it is, where no rule
    /// speaks of it, and for what is never mirrored: nobody means that.
    pub fn left_out(&self, name: &TopicName) -> Option<LeftOut> {
        self.including(name).next()?;
        if owner(name.as_str()).is_some() {
            return None;
        }
        if let Some(rule) = self.excluding(name) {
            return Some(LeftOut::Excluded(rule.pattern.clone()));
        }
        let kind = Unnamed::of(name.as_str())?;
        let is_meant = self.including(name).any(|rule| rule.pattern.names(kind));
        (!is_meant).then_some(LeftOut::Unnamed(kind))
    }

    fn including<'a>(&'a self, name: &'a TopicName) -> impl Iterator<Item = &'a Rule> {
        self.rules
            .iter()
            .filter(|rule| rule.verdict == Verdict::Include && rule.pattern.matches(name))
    }

    fn excluding(&self, name: &TopicName) -> Option<&Rule> {
        let excludes =
            |rule: &&Rule| rule.verdict == Verdict::Exclude && rule.pattern.matches(name);
        self.rules.iter().find(excludes)
    }

    /// The topics that are included by their whole name and not excluded, in the rules' order.
    pub fn literals(&self) -> impl Iterator<Item = &TopicName> {
        self.rules.iter().filter_map(|rule| match (&rule.pattern, rule.verdict) {
            (Pattern::Literal(name), Verdict::Include) if self.matches(name) => Some(name),
            _ => None,
        })
    }

    /// What this filter and `other` may both mirror: a topic's name, or how names begin and a `*`.
    /// What one of them excludes is no overlap.
    pub fn overlap(&self, other: &TopicFilter) -> Option<String> {
        let pairs = self.includes().flat_map(|ours| other.includes().map(move |its| (ours, its)));
        pairs.filter_map(|(ours, its)| self.shared(other, ours, its)).next()
    }

    fn shared(&self, other: &TopicFilter, ours: &Pattern, its: &Pattern) -> Option<String> {
        if let (Pattern::Literal(name), pattern) | (pattern, Pattern::Literal(name)) = (ours, its) {
            let is_shared = pattern.matches(name) && self.matches(name) && other.matches(name);
            return is_shared.then(|| name.to_string());
        }
        let starts = common_starts(ours, its).find(|start| {
            // a kind that both would have to show, and one of them does not
            let kind = Unnamed::of_all(start);
            let is_meant = kind.is_none_or(|kind| ours.names(kind) && its.names(kind));
            let excludes = |filter: &TopicFilter| filter.excludes_all(ours, its, start);
            is_meant && !excludes(self) && !excludes(other)
        });
        let is_exact = matches!((ours, its), (Pattern::Prefix(_), Pattern::Prefix(_)));
        starts.map(|start| match is_exact {
            true => format!("{start}*"),
            false => format!("what both {ours} and {its} may match"),
        })
    }

    /// Whether a rule excludes every topic that both patterns include; these begin with `start`.
    fn excludes_all(&self, ours: &Pattern, its: &Pattern, start: &str) -> bool {
        let excludes = self.rules.iter().filter(|rule| rule.verdict == Verdict::Exclude);
        excludes.into_iter().any(|rule| match &rule.pattern {
            Pattern::Prefix(prefix) => start.starts_with(prefix.as_str()),
            Pattern::Expression(_) => rule.pattern == *ours || rule.pattern == *its,
            Pattern::Literal(_) => false,
        })
    }

    /// What the including rules say, in their order.
    pub fn includes(&self) -> impl Iterator<Item = &Pattern> {
        let rules = self.rules.iter().filter(|rule| rule.verdict == Verdict::Include);
        rules.map(|rule| &rule.pattern)
    }

    /// Whether any rule includes anything.
    pub fn includes_anything(&self) -> bool {
        self.rules.iter().any(|rule| rule.verdict == Verdict::Include)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> TopicFilter {
        let rule =
            |verdict| move |text: &&str| Rule { pattern: Pattern::parse(text).unwrap(), verdict };
        let included = include.iter().map(rule(Verdict::Include));
        TopicFilter::new(included.chain(exclude.iter().map(rule(Verdict::Exclude))).collect())
    }

    fn check(filter: &TopicFilter, yes: &[&str], no: &[&str]) {
        let matches = |name: &&str| filter.matches(&TopicName::new(name).unwrap());
        for name in yes {
            assert!(matches(name), "{name} must match {filter:?}");
        }
        for name in no {
            assert!(!matches(name), "{name} must not match {filter:?}");
        }
    }

    #[test]
    fn a_literal_is_the_whole_name_and_a_prefix_its_beginning() {
        let some = filter(&["orders", "payments.*"], &[]);
        check(&some, &["orders", "payments.eu", "payments."], &["orders2", "payments", "x"]);
        check(&TopicFilter::default(), &[], &["orders"]);
    }

    #[test]
    fn an_exclude_wins_over_every_include() {
        let most = filter(&["*", "orders.tmp.keep"], &["orders.tmp*", "secret"]);
        check(&most, &["orders", "secrets"], &["orders.tmp", "orders.tmp.keep", "secret"]);
        check(&filter(&[], &["a"]), &[], &["a", "b"]);
    }

    #[test]
    fn internal_topics_must_be_named() {
        let all = filter(&["*", "_*"], &[]);
        check(&all, &["orders", "_mine"], &["__mine", "_schemas", "_confluent-metrics"]);
        check(&filter(&["_schemas"], &[]), &["_schemas"], &["_schemas_2"]);
        check(&filter(&["_confluent-ksql*"], &[]), &["_confluent-ksql-1"], &["_confluent-m"]);
        check(&filter(&["__*"], &[]), &["__mine"], unnamed::NEVER);
        check(&filter(&["__*"], &[]), &[], &["__isolog"]);
    }

    #[test]
    fn what_applications_and_tools_keep_for_themselves_must_be_named() {
        const THEIRS: &[&str] = &[
            "app-store-changelog",
            "app-store-repartition",
            "mm2-offsets.west.internal",
            "mm2-offset-syncs.west-internal",
            "heartbeats",
            "connect-configs",
            "connect-offsets",
            "connect-status",
        ];
        check(&filter(&["*", "app*", "connect-*", "heart*"], &[]), &["app-changelogs"], THEIRS);
        for name in THEIRS {
            check(&filter(&[name], &[]), &[name], &[]);
            check(&filter(&["*", name], &[]), &[name, "orders"], &[]);
        }
        check(&filter(&["heartbeats*"], &[]), &["heartbeats", "heartbeats.west"], &[]);
        let spelt = expressions(&["app-.*-changelog", "mm2.*\\.internal"], &[]);
        check(&spelt, &[THEIRS[0], THEIRS[2]], &[THEIRS[1], THEIRS[3]]);
        check(&expressions(&[".*"], &[]), &["orders"], THEIRS);
    }

    #[test]
    fn why_a_topic_is_left_out_is_known() {
        let all = filter(&["*", "secret.a"], &["secret*"]);
        let why =
            |name: &str| all.left_out(&TopicName::new(name).unwrap()).map(|why| why.to_string());
        assert_eq!(why("orders"), None);
        assert_eq!(why("secret.a").unwrap(), "secret* excludes it");
        assert_eq!(why("__consumer_offsets"), None);
        assert_eq!(
            why("app-x-changelog").unwrap(),
            "its name ends in -changelog (the state of a Streams application, which makes its \
             own): name it in mirror.topics to mirror it all the same"
        );
        let name = TopicName::new("x").unwrap();
        assert_eq!(filter(&["a"], &["x"]).left_out(&name), None, "nothing includes it");
    }

    fn expressions(include: &[&str], exclude: &[&str]) -> TopicFilter {
        let rule = |verdict| {
            move |text: &&str| {
                let pattern = Pattern::Expression(Expression::parse(text).unwrap());
                Rule { pattern, verdict }
            }
        };
        let included = include.iter().map(rule(Verdict::Include));
        TopicFilter::new(included.chain(exclude.iter().map(rule(Verdict::Exclude))).collect())
    }

    #[test]
    fn what_expressions_may_share_with_others_is_no_secret() {
        let share = |ours: &TopicFilter, its: &TopicFilter| {
            assert_eq!(ours.overlap(its).is_some(), its.overlap(ours).is_some());
            ours.overlap(its)
        };
        let west = expressions(&["west\\..*"], &[]);
        assert_eq!(share(&west, &expressions(&["east\\..*"], &[])), None);
        assert_eq!(share(&west, &filter(&["east.*", "west"], &[])), None);
        assert_eq!(share(&west, &filter(&["west.a"], &[])), Some("west.a".into()));
        let text = "what both west\\..* and west.a* may match";
        assert_eq!(share(&west, &filter(&["west.a*"], &[])), Some(text.into()));
        assert!(share(&west, &expressions(&[".*\\.a"], &[])).is_some());
        assert_eq!(share(&west, &expressions(&[".*\\.a"], &["west\\..*"])), None);
        assert_eq!(share(&west, &filter(&["*"], &["west.*"])), None);
        let two = expressions(&["(a|b).*"], &[]);
        assert!(share(&two, &filter(&["*"], &["a*"])).is_some(), "b is shared");
        assert!(share(&filter(&["*"], &[]), &filter(&["x-changelog*"], &[])).is_some());
    }

    #[test]
    fn what_is_no_topic_and_no_prefix_is_refused() {
        for bad in ["", "a b", "a*b", "a**", "é*", ".", "__consumer_offsets"] {
            assert!(Pattern::parse(bad).is_err(), "{bad:?}");
        }
        for expression in ["orders\\..*", "orders|users", "^orders", "orders\\.eu", "[a-z]*"] {
            let text = Pattern::parse(expression).unwrap_err();
            assert!(text.contains("mirror.pattern takes one"), "{expression}: {text}");
        }
        let text = Pattern::parse("__transaction_state").unwrap_err();
        assert_eq!(text, "\"__transaction_state\" is the brokers' own log and is never mirrored");
        let text = Pattern::parse("__isolog").unwrap_err();
        assert_eq!(text, "\"__isolog\" is isolog's own journal and is never mirrored");
    }

    #[test]
    fn what_two_filters_share_is_found() {
        let share = |ours: TopicFilter, its: TopicFilter| {
            assert_eq!(ours.overlap(&its), its.overlap(&ours));
            ours.overlap(&its)
        };
        let some = |include: &[&str]| filter(include, &[]);
        assert_eq!(share(some(&["w.a"]), some(&["w.*"])), Some("w.a".into()));
        assert_eq!(share(some(&["a", "b"]), some(&["b"])), Some("b".into()));
        assert_eq!(share(some(&["*"]), some(&["*"])), Some("*".into()));
        assert_eq!(share(some(&["w.*"]), some(&["w.eu.*"])), Some("w.eu.*".into()));
        assert_eq!(share(some(&["w.eu.*"]), some(&["w.us.*", "x"])), None);
        assert_eq!(share(some(&["*"]), some(&["__mine*", "_schemas"])), None);
        // what one of them leaves out is the other's alone
        assert_eq!(share(filter(&["*"], &["w.*"]), some(&["w.*", "w.a"])), None);
        assert_eq!(share(filter(&["w.*"], &["w.a"]), some(&["w.a"])), None);
        assert_eq!(share(filter(&["*"], &["w.a"]), some(&["w.*"])), Some("w.*".into()));
    }

    #[test]
    fn literals_are_those_that_really_match() {
        let some = filter(&["a", "b", "c*"], &["b"]);
        let names: Vec<&str> = some.literals().map(TopicName::as_str).collect();
        assert_eq!(names, ["a"]);
    }

    fn names(all: &[&str]) -> BTreeSet<TopicName> {
        all.iter().map(|name| TopicName::new(name).unwrap()).collect()
    }

    #[test]
    fn a_prefix_that_is_meant_for_an_expression_is_told_what_it_is() {
        let told = |pattern: &str, all: &[&str]| {
            matches_nothing(&Pattern::parse(pattern).unwrap(), &names(all))
        };
        assert!(told(".*", &["orders"]).ends_with("write * for every topic"));
        let text = told("orders.*", &["a", "orders", "z"]);
        assert!(text.contains("begin with \"orders.\": write orders* for"), "{text}");
        assert!(told("orders.*", &["a", "order"]).ends_with("begin with \"orders.\""));
        assert!(told("orders*", &["a"]).ends_with("described"));
    }

    #[test]
    fn a_prefix_is_looked_up_in_order() {
        let all = names(&["a", "orders", "orders.eu", "z"]);
        for (start, is) in
            [("orders", true), ("orders.", true), ("ord", true), ("", true), (".", false)]
        {
            assert_eq!(begins(&all, start), is, "{start:?}");
        }
        assert!(!begins(&all, "orders.f") && !begins(&all, "zz") && !begins(&names(&[]), ""));
    }
}
