//! What a property is: where it stands, what it takes, and what a change of it touches.
//!
//! It never holds a row; `table` does.

use std::fmt;

use crate::control::rename::LETTERS_MAX;

/// The parts of a config file, and what has no part in it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Above the first section: what the whole process shares.
    Process,
    /// `[destination]`.
    Destination,
    /// `[service]`.
    Service,
    /// `[link.NAME]`.
    Link,
    /// `[schemas.NAME]`.
    Schemas,
    /// A link that was created over REST or by `isolog link create`: it lives in the journal.
    Commanded,
}

impl Scope {
    /// How a person finds the section.
    pub fn heading(self) -> &'static str {
        match self {
            Scope::Process => "the top of the file, before the first section",
            Scope::Destination => "[destination]",
            Scope::Service => "[service]",
            Scope::Link => "[link.NAME]",
            Scope::Schemas => "[schemas.NAME]",
            Scope::Commanded => "a link that is created over REST",
        }
    }
}

/// What values a property takes; bounds are inclusive.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text up to so many bytes, without control characters.
    Text(usize),
    /// A whole number without a unit.
    Count(i64, i64),
    /// A whole number of milliseconds.
    Millis(i64, i64),
    /// A whole number of bytes.
    Bytes(i64, i64),
    /// `true` or `false`.
    Bool,
    /// One of these words, in any case.
    Word(&'static [&'static str]),
    /// As `Word`; the second list names words that a later release takes.
    WordOrLater(&'static [&'static str], &'static [&'static str]),
    /// As `Word`; the second list names words that are refused, and why.
    WordBut(&'static [&'static str], &'static [(&'static str, &'static str)]),
    /// Up to so many letters that topics' names may begin with.
    Prefix(usize),
    /// `${topic}` and letters of topic names around it.
    TopicFormat,
    /// `host:port`, separated by commas or as an array.
    Hosts,
    /// Topic names and prefixes ending in `*`, separated by commas or as an array.
    Topics,
    /// A regular expression of up to so many bytes that whole topic names match.
    Expression(usize),
    /// Cluster Linking's JSON of topic filters.
    TopicFilters,
    /// Cluster Linking's JSON of group filters.
    GroupFilters,
    /// Cluster Linking's JSON of ACL filters.
    AclFilters,
    /// Words separated by commas or as an array: these, or any where none are named.
    Words(&'static [&'static str]),
    /// As `Words`; those of the second list are known to be too old, and left out.
    WordsButOld(&'static [&'static str], &'static [&'static str]),
    /// Text of up to so many bytes that is never shown.
    Secret(usize),
    /// Host names, domains and address ranges, separated by commas or as an array.
    Addresses,
    /// Where a mirror begins.
    Start,
    /// An address and port to listen on.
    Listen,
    /// The path of a `.properties` file, relative to the config file.
    Path,
    /// The path of a file, relative to the config file.
    File,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Text(most) => write!(f, "text of at most {most} bytes"),
            Kind::Count(least, most) => write!(f, "a whole number, {least} to {most}"),
            Kind::Millis(least, most) => write!(f, "a whole number of ms, {least} to {most}"),
            Kind::Bytes(least, most) => write!(f, "a whole number of bytes, {least} to {most}"),
            Kind::Bool => f.write_str("true or false"),
            Kind::Word(words) | Kind::WordOrLater(words, _) | Kind::WordBut(words, _) => {
                let quoted = words.iter().map(|word| if word.is_empty() { "\"\"" } else { word });
                f.write_str(&quoted.collect::<Vec<_>>().join(" or "))
            }
            Kind::Words([]) => f.write_str("names, separated by commas or as an array"),
            Kind::Words(words) | Kind::WordsButOld(words, _) => {
                write!(f, "{}, separated by commas or as an array", words.join(" and "))
            }
            Kind::Secret(most) => write!(f, "text of at most {most} bytes"),
            Kind::Addresses => f.write_str("host names, *.domain and ranges such as 10.0.0.0/8"),
            Kind::Hosts => f.write_str("host:port, several separated by commas or as an array"),
            Kind::Topics => f.write_str("topic names, or prefixes ending in *, as an array"),
            Kind::Expression(most) => {
                write!(f, "a regular expression of at most {most} bytes, such as (west|east)\\..*")
            }
            Kind::TopicFilters => f.write_str("Cluster Linking's JSON, {\"topicFilters\": [...]}"),
            Kind::GroupFilters => f.write_str("Cluster Linking's JSON, {\"groupFilters\": [...]}"),
            Kind::AclFilters => f.write_str("Cluster Linking's JSON, {\"aclFilters\": [...]}"),
            Kind::Prefix(most) => {
                write!(f, "1 to {most} of a-z, A-Z, 0-9, '.', '_' and '-'")
            }
            Kind::TopicFormat => write!(
                f,
                "${{topic}} once, with 1 to {LETTERS_MAX} of a-z, A-Z, 0-9, '.', '_' and '-' \
                 around it"
            ),
            Kind::Start => f.write_str(
                "earliest, latest, or a time with its zone as text, such as 2026-11-21T09:30:00Z",
            ),
            Kind::Listen => f.write_str("an address and port, such as 127.0.0.1:8472"),
            Kind::Path => f.write_str("the path of a .properties file"),
            Kind::File => f.write_str("the path of a file"),
        }
    }
}

/// What a property is when the file does not say.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Default {
    /// The file must say it.
    Required,
    /// Nothing.
    None,
    /// This, written as in a `.properties` file.
    Is(&'static str),
}

/// What a change of a property touches on a running link.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// The connections to the cluster are made anew.
    Reconnect,
    /// Which topics are mirrored, and how new ones are made, is decided again.
    Replan,
    /// The partitions leave their lanes and come back under the new value.
    Reseat,
    /// A task of the link goes on at another pace, or with another filter.
    Task,
    /// The link itself is another one to people: paused, or of another mode.
    Link,
    /// It cannot be changed: not of a link that is there, or not without a restart.
    Never,
}

impl Effect {
    /// The word of `docs/CONFIG.md`.
    pub fn word(self) -> &'static str {
        match self {
            Effect::Reconnect => "reconnect",
            Effect::Replan => "replan",
            Effect::Reseat => "reseat",
            Effect::Task => "task",
            Effect::Link => "link",
            Effect::Never => "never",
        }
    }
}

/// One property.
#[derive(Copy, Clone, Debug)]
pub struct Property {
    /// Kafka's name, or Cluster Linking's, or ours where neither has one.
    pub name: &'static str,
    /// Where it may stand.
    pub scopes: &'static [Scope],
    /// What it takes.
    pub kind: Kind,
    /// What it is when it is left out.
    pub default: Default,
    /// What a change of it touches on a running link.
    pub effect: Effect,
    /// Whether its value is a secret: never shown, never logged.
    pub sensitive: bool,
    /// What it does, in a sentence.
    pub doc: &'static str,
}

impl Property {
    /// Whether it may stand there. What reads a file of this machine stands in the config alone.
    pub fn is_in(&self, scope: Scope) -> bool {
        let of_links = self.scopes.contains(&Scope::Link) && self.kind != Kind::Path;
        self.scopes.contains(&scope) || (scope == Scope::Commanded && of_links)
    }

    /// Whether a link that is there keeps it for good.
    pub fn is_read_only(&self) -> bool {
        self.effect == Effect::Never
    }
}
