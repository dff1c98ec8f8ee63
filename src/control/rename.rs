//! What a mirror topic is called after its source topic: `cluster.link.prefix`, or the words around
//! `${topic}` in `topic.rename.format`.
//!
//! It never knows whether a topic is there.

use std::fmt;

use crate::ids::TopicName;

/// What stands for the source's name in a format.
pub const TOPIC: &str = "${topic}";
/// So many letters may stand around it, of the 249 that a topic's name has at most.
pub const LETTERS_MAX: usize = 32;

/// What stands before and behind the source's name; nothing, where both have one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rename {
    before: String,
    behind: String,
}

impl Rename {
    /// `cluster.link.prefix`; may be empty.
    pub fn prefixed(prefix: &str) -> Rename {
        Rename { before: prefix.to_owned(), behind: String::new() }
    }

    /// `topic.rename.format`: `${topic}` once, and letters of topic names around it.
    pub fn parse(format: &str) -> Option<Rename> {
        let (before, behind) = format.split_once(TOPIC)?;
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let fits = (1..=LETTERS_MAX).contains(&(before.len() + behind.len()))
            && before.bytes().chain(behind.bytes()).all(legal);
        fits.then(|| Rename { before: before.to_owned(), behind: behind.to_owned() })
    }

    /// Both sides have the same names.
    pub fn is_none(&self) -> bool {
        self.before.is_empty() && self.behind.is_empty()
    }

    /// How names of mirrors begin.
    pub fn before(&self) -> &str {
        &self.before
    }

    /// The name that a mirror of it would have, whether or not a topic may have it.
    pub fn text(&self, source: &str) -> String {
        format!("{}{source}{}", self.before, self.behind)
    }

    /// What its mirror is called; `None` where that is no topic name.
    pub fn mirror_of(&self, source: &TopicName) -> Option<TopicName> {
        TopicName::new(&self.text(source.as_str()))
    }

    /// What its source is called; `None` where it can be no mirror under this rule.
    pub fn source_of(&self, mirror: &TopicName) -> Option<TopicName> {
        let rest = mirror.as_str().strip_prefix(&self.before)?;
        TopicName::new(rest.strip_suffix(&self.behind)?)
    }

    /// How a mirror gets its name, in words.
    pub fn rule(&self) -> &'static str {
        match self.behind.is_empty() {
            true => "the link's prefix and the source topic's name",
            false => "the source topic's name in the link's topic.rename.format",
        }
    }

    /// The property that says so, for people to read.
    pub fn property(&self) -> &'static str {
        if self.behind.is_empty() { "cluster.link.prefix" } else { "topic.rename.format" }
    }
}

impl fmt::Display for Rename {
    /// As its property has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.behind.is_empty() {
            true => f.write_str(&self.before),
            false => f.write_str(&self.text(TOPIC)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    #[test]
    fn names_lead_both_ways() {
        let check = |rename: &Rename, source: &str, mirror: &str| {
            assert_eq!(rename.mirror_of(&name(source)), Some(name(mirror)));
            assert_eq!(rename.source_of(&name(mirror)), Some(name(source)));
        };
        check(&Rename::default(), "a", "a");
        check(&Rename::prefixed("w."), "a", "w.a");
        let replica = Rename::parse("${topic}.replica").unwrap();
        check(&replica, "a", "a.replica");
        check(&replica, "a.replica", "a.replica.replica");
        assert_eq!(replica.source_of(&name("a")), None);
        let both = Rename::parse("w-${topic}-1").unwrap();
        check(&both, "a", "w-a-1");
        // both halves would be the same letters
        let same = Rename::parse("xx${topic}xx").unwrap();
        assert_eq!(same.source_of(&name("xxx")), None);
        assert_eq!(same.source_of(&name("xxxx")), None, "an empty name is none");
        assert_eq!(replica.mirror_of(&name(&"a".repeat(245))), None, "too long");
    }

    #[test]
    fn formats_hold_the_topic_once() {
        for good in ["w.${topic}", "${topic}-2", "a${topic}b"] {
            assert_eq!(Rename::parse(good).unwrap().text(TOPIC), good);
        }
        let bad = [
            "",
            "x",
            "${topic}",
            "${topic}${topic}",
            "${TOPIC}.x",
            "${topic}/x",
            "${topic} x",
            "a${topic}12345678901234567890123456789012",
        ];
        for bad in bad {
            assert_eq!(Rename::parse(bad), None, "{bad:?}");
        }
        assert_eq!(Rename::parse("w.${topic}"), Some(Rename::prefixed("w.")));
    }

    #[test]
    fn people_read_it_as_its_property_has_it() {
        let check = |rename: Rename, property: &str, text: &str| {
            assert_eq!((rename.property(), rename.to_string().as_str()), (property, text));
        };
        check(Rename::prefixed("w."), "cluster.link.prefix", "w.");
        let replica = Rename::parse("${topic}.replica").unwrap();
        assert!(replica.rule().ends_with("in the link's topic.rename.format"));
        check(replica, "topic.rename.format", "${topic}.replica");
    }
}
