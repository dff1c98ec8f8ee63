//! Which topics of a source a link mirrors: include and exclude, literal and prefix.
//!
//! It never asks a cluster; a filter is a value, and matching is a pure function of a name.

use std::collections::BTreeSet;
use std::fmt;

use crate::ids::TopicName;

/// The brokers' own logs: a copy of one of them would be obeyed by the destination.
const NEVER: &[&str] = &[
    "__consumer_offsets",
    "__transaction_state",
    "__share_group_state",
    "__cluster_metadata",
    "__remote_log_metadata",
];
/// isolog's own journal (`link::journal::TOPIC`): a copy of another one's would be obeyed too.
const JOURNAL: &str = "__isolog";

/// How internal topics begin (Kafka's, Schema Registry's, Confluent's): skipped unless named.
const INTERNAL: &[&str] = &["__", "_schemas", "_confluent"];

/// What a rule compares a topic's name with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    /// Exactly this topic.
    Literal(TopicName),
    /// Every topic that begins so; the empty prefix is every topic.
    Prefix(String),
}

impl Pattern {
    /// Reads `orders`, `payments.*` or `*`; the error says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        match text.strip_suffix('*') {
            Some(start) => Pattern::prefix(start),
            None => Pattern::literal(text),
        }
    }

    /// The pattern of one topic; the brokers' own logs are refused.
    pub fn literal(name: &str) -> Result<Pattern, String> {
        if let Some(whose) = owner(name) {
            return Err(format!("{name:?} is {whose} and is never mirrored"));
        }
        let legal = "1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-'";
        let bad = || {
            let hint = expression(name);
            format!("{name:?} is no topic name ({legal}) and no prefix ending in *{hint}")
        };
        TopicName::new(name).map(Pattern::Literal).ok_or_else(bad)
    }

    /// The pattern of all topics that begin with `start`.
    pub fn prefix(start: &str) -> Result<Pattern, String> {
        let legal = start.is_empty() || start == "." || start == ".." || is_topic(start);
        legal
            .then(|| Pattern::Prefix(start.to_owned()))
            .ok_or_else(|| format!("no topic name begins with {start:?}{}", expression(start)))
    }

    fn matches(&self, name: &TopicName) -> bool {
        match self {
            Pattern::Literal(topic) => topic == name,
            Pattern::Prefix(start) => name.as_str().starts_with(start.as_str()),
        }
    }

    /// Whether this pattern may include an internal topic: it must show that it means one.
    fn names_internal(&self) -> bool {
        match self {
            Pattern::Literal(_) => true,
            Pattern::Prefix(start) => is_internal(start),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Literal(topic) => write!(f, "{topic}"),
            Pattern::Prefix(start) => write!(f, "{start}*"),
        }
    }
}

/// What to say of something that is meant for a regular expression, as MirrorMaker has them.
fn expression(text: &str) -> &'static str {
    match text.contains(['\\', '[', ']', '(', ')', '|', '^', '$', '+', '?', '*']) {
        true => {
            "; regular expressions are not taken: name each topic, or write how names begin and a *"
        }
        false => "",
    }
}

/// Whether one of the names begins so.
pub fn begins(names: &BTreeSet<TopicName>, start: &str) -> bool {
    // names are in order of their letters
    let from = match TopicName::new(start) {
        Some(start) => names.range(start..),
        None => return names.iter().any(|name| name.as_str().starts_with(start)),
    };
    from.take(1).any(|name| name.as_str().starts_with(start))
}

/// What to say of a prefix that matches nothing, `all` being the source's topics: it is often meant
/// for a regular expression, as MirrorMaker has them.
pub fn matches_nothing(pattern: &Pattern, all: &BTreeSet<TopicName>) -> String {
    let subject = pattern.to_string();
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

/// Whose log a topic is that no order and no filter may touch; `None` for all others.
pub fn owner(name: &str) -> Option<&'static str> {
    match name {
        JOURNAL => Some("isolog's own journal"),
        _ => NEVER.contains(&name).then_some("the brokers' own log"),
    }
}

fn is_topic(text: &str) -> bool {
    TopicName::new(text).is_some()
}

fn is_internal(name: &str) -> bool {
    INTERNAL.iter().any(|start| name.starts_with(start))
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

    /// Whether the topic is mirrored. Internal topics need a literal rule or a prefix that itself
    /// begins like one; the brokers' own logs and isolog's journal are never mirrored.
    pub fn matches(&self, name: &TopicName) -> bool {
        if owner(name.as_str()).is_some() {
            return false;
        }
        let internal = is_internal(name.as_str());
        let includes = |rule: &Rule| {
            rule.verdict == Verdict::Include
                && rule.pattern.matches(name)
                && (!internal || rule.pattern.names_internal())
        };
        let excludes = |rule: &Rule| rule.verdict == Verdict::Exclude && rule.pattern.matches(name);
        self.rules.iter().any(includes) && !self.rules.iter().any(excludes)
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
        let both = match (ours, its) {
            (Pattern::Literal(name), pattern) | (pattern, Pattern::Literal(name)) => {
                let is_shared = pattern.matches(name) && self.matches(name) && other.matches(name);
                return is_shared.then(|| name.to_string());
            }
            (Pattern::Prefix(one), Pattern::Prefix(two)) if one.starts_with(two.as_str()) => one,
            (Pattern::Prefix(one), Pattern::Prefix(two)) if two.starts_with(one.as_str()) => two,
            _ => return None,
        };
        if is_internal(both) && !(ours.names_internal() && its.names_internal()) {
            return None;
        }
        let is_excluded = self.excludes_all(both) || other.excludes_all(both);
        (!is_excluded).then(|| format!("{both}*"))
    }

    /// Whether a rule excludes every topic that begins with `start`.
    fn excludes_all(&self, start: &str) -> bool {
        let excludes = self.rules.iter().filter(|rule| rule.verdict == Verdict::Exclude);
        excludes.into_iter().any(|rule| match &rule.pattern {
            Pattern::Prefix(prefix) => start.starts_with(prefix.as_str()),
            Pattern::Literal(_) => false,
        })
    }

    /// What the including rules say, in their order.
    pub fn includes(&self) -> impl Iterator<Item = &Pattern> {
        let rules = self.rules.iter().filter(|rule| rule.verdict == Verdict::Include);
        rules.map(|rule| &rule.pattern)
    }

    /// The same filter without these topics.
    #[must_use]
    pub fn without<'a>(&self, names: impl IntoIterator<Item = &'a TopicName>) -> TopicFilter {
        let verdict = Verdict::Exclude;
        let left_out = names.into_iter();
        let left_out =
            left_out.map(|name| Rule { pattern: Pattern::Literal(name.clone()), verdict });
        TopicFilter { rules: self.rules.iter().cloned().chain(left_out).collect() }
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
        check(&filter(&["__*"], &[]), &["__mine"], NEVER);
        check(&filter(&["__*"], &[]), &[], &["__isolog"]);
    }

    #[test]
    fn what_is_no_topic_and_no_prefix_is_refused() {
        for bad in ["", "a b", "a*b", "a**", "é*", ".", "__consumer_offsets"] {
            assert!(Pattern::parse(bad).is_err(), "{bad:?}");
        }
        for expression in ["orders\\..*", "orders|users", "^orders", "orders\\.eu", "[a-z]*"] {
            let text = Pattern::parse(expression).unwrap_err();
            assert!(text.contains("regular expressions are not taken"), "{expression}: {text}");
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
    fn topics_that_are_left_out_match_no_more() {
        let name = TopicName::new("orders.eu").unwrap();
        let some = filter(&["orders.*", "orders.eu"], &[]);
        check(&some, &["orders.eu", "orders.us"], &[]);
        check(&some.without([&name]), &["orders.us"], &["orders.eu"]);
        assert_eq!(some.without([]), some);
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
