//! What a rule compares a topic's name with: the whole name, how it begins, or an expression.
//!
//! It never asks a cluster, and never takes an expression that would not end in the time of its
//! length.

use std::cmp::Ordering;
use std::fmt;

use regex::Regex;
use regex::RegexBuilder;
use regex_syntax::hir::literal::Extractor;

use crate::ids::TopicName;

use super::unnamed::Unnamed;
use super::unnamed::owner;

/// What a compiled expression may hold, in bytes: a few thousand alternatives.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// What a rule compares a topic's name with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    /// Exactly this topic.
    Literal(TopicName),
    /// Every topic that begins so; the empty prefix is every topic.
    Prefix(String),
    /// Every topic whose whole name matches.
    Expression(Expression),
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
        let is_topic = |text: &str| TopicName::new(text).is_some();
        let legal = start.is_empty() || start == "." || start == ".." || is_topic(start);
        legal
            .then(|| Pattern::Prefix(start.to_owned()))
            .ok_or_else(|| format!("no topic name begins with {start:?}{}", expression(start)))
    }

    /// Whether it speaks of that topic.
    pub fn matches(&self, name: &TopicName) -> bool {
        match self {
            Pattern::Literal(topic) => topic == name,
            Pattern::Prefix(start) => name.as_str().starts_with(start.as_str()),
            Pattern::Expression(expression) => expression.matches(name.as_str()),
        }
    }

    /// Whether it may include topics of that kind: it must show that it means them.
    pub(super) fn names(&self, kind: &Unnamed) -> bool {
        match self {
            Pattern::Literal(_) => true,
            Pattern::Prefix(start) => kind.is_named_by_prefix(start),
            Pattern::Expression(expression) => kind.is_spelt(&expression.text),
        }
    }

    /// How the names begin that it may match, one of these; the empty text is any.
    pub(super) fn starts(&self) -> Vec<String> {
        match self {
            Pattern::Literal(name) => vec![name.to_string()],
            Pattern::Prefix(start) => vec![start.clone()],
            Pattern::Expression(expression) => expression.starts(),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Literal(topic) => write!(f, "{topic}"),
            Pattern::Prefix(start) => write!(f, "{start}*"),
            Pattern::Expression(expression) => write!(f, "{expression}"),
        }
    }
}

/// A regular expression that a whole name must match, as in MirrorMaker 2 and Replicator. Its
/// syntax is RE2's, which is Java's without looking around and back references; it is as good as
/// its text.
#[derive(Clone, Debug)]
pub struct Expression {
    text: String,
    compiled: Regex,
}

impl Expression {
    /// Reads it; the error says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Expression, String> {
        // a syntax error of the text alone, before it stands in a group
        let bad = |why: String| format!("{text:?} is no regular expression: {}", flat(&why));
        regex_syntax::parse(text).map_err(|error| bad(error.to_string()))?;
        let compiled = RegexBuilder::new(&format!("^(?:{text})$"))
            .size_limit(COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| bad(error.to_string()))?;
        Ok(Expression { text: text.to_owned(), compiled })
    }

    fn matches(&self, name: &str) -> bool {
        self.compiled.is_match(name)
    }

    fn starts(&self) -> Vec<String> {
        let all = || vec![String::new()];
        let Ok(parsed) = regex_syntax::parse(&self.text) else { return all() };
        let found = Extractor::new().extract(&parsed);
        let Some(literals) = found.literals() else { return all() };
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap_or_default().to_owned();
        literals.iter().map(|literal| text(literal.as_bytes())).collect()
    }
}

/// What the library says in several lines, in one: the last one has the reason.
fn flat(text: &str) -> String {
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    last.trim().trim_start_matches("error: ").to_owned()
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Expression) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

impl PartialOrd for Expression {
    fn partial_cmp(&self, other: &Expression) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Expression {
    fn cmp(&self, other: &Expression) -> Ordering {
        self.text.cmp(&other.text)
    }
}

/// What to say of something that is meant for a regular expression, as MirrorMaker has them.
fn expression(text: &str) -> &'static str {
    match text.contains(['\\', '[', ']', '(', ')', '|', '^', '$', '+', '?', '*']) {
        true => {
            "; regular expressions are not taken here: mirror.pattern takes one, or write \
             how names begin and a *"
        }
        false => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expression(text: &str) -> Pattern {
        Pattern::Expression(Expression::parse(text).unwrap())
    }

    fn check(text: &str, yes: &[&str], no: &[&str]) {
        let pattern = expression(text);
        let matches = |name: &str| pattern.matches(&TopicName::new(name).unwrap());
        yes.iter().for_each(|name| assert!(matches(name), "{name} must match {text}"));
        no.iter().for_each(|name| assert!(!matches(name), "{name} must not match {text}"));
    }

    #[test]
    fn an_expression_is_held_against_the_whole_name() {
        check("orders", &["orders"], &["orders2", "my-orders"]);
        check("a|bc", &["a", "bc"], &["ab", "c", "abc"]);
        check("^(west|east)\\..*$", &["west.a", "east."], &["west", "x.west.a"]);
        check("(?i)ORDERS.*", &["orders.eu"], &["order"]);
        check("", &[], &["a"]);
    }

    #[test]
    fn what_is_no_expression_is_told_in_a_line() {
        for (bad, why) in [
            ("a(", "unclosed group"),
            ("a)|(b", "unopened group"),
            ("(?=a)b", "look-around"),
            ("(a)\\1", "backreferences"),
            ("[z-a]", "invalid character class range"),
            ("(a{1000}){1000}", "size limit"),
        ] {
            let text = Expression::parse(bad).unwrap_err();
            assert!(text.contains(why) && !text.contains('\n'), "{bad}: {text}");
        }
    }

    #[test]
    fn how_its_names_begin_is_known() {
        let starts = |text: &str| expression(text).starts();
        assert_eq!(starts("west\\..*"), ["west."]);
        assert_eq!(starts("(west|east)\\.x"), ["west.x", "east.x"]);
        assert_eq!(starts(".*x"), [""]);
        assert_eq!(starts("(?i).*x"), [""]);
        assert_eq!(starts("orders"), ["orders"]);
    }
}
