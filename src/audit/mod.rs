//! Proof and preflight: reads both ends of a link, before and after it copies.
//!
//! It never writes to a cluster, and never opens the rooms that do the copying.

pub mod check;
pub mod compare;
pub mod digest;
pub mod greet;
pub mod judge;
pub mod log;
pub mod look;
mod past;
pub mod prefix;
pub mod rights;
pub mod shown;
pub mod state;
pub mod survey;
pub mod verify;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use crate::cluster;
use crate::cluster::Cluster;
use crate::cluster::ConfigEntries;
use crate::cluster::dial::Dial;
use crate::cluster::dial::TcpDial;
use crate::cluster::error::ClusterError;
use crate::cluster::metadata::Topic;
use crate::control::acls::AclSync;
use crate::control::filter;
use crate::control::filter::TopicFilter;
use crate::control::rename::Rename;
use crate::control::task::configs::ConfigSync;
use crate::ids::LinkName;
use crate::ids::Side;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::mirror::facts::Policy;
use crate::sync::acls::own_principal;

/// So many topics that are left out for one reason are named.
const LEFT_OUT_MAX: usize = 20;

/// One of the names or prefixes by which a link chooses its topics.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    /// The name, or how names begin; the empty prefix is every topic.
    pub text: String,
    /// Whether it is a prefix.
    pub is_prefix: bool,
}

impl Pattern {
    /// Whether it speaks of the topic.
    pub fn covers(&self, name: &TopicName) -> bool {
        match self.is_prefix {
            true => name.as_str().starts_with(&self.text),
            false => name.as_str() == self.text,
        }
    }
}

/// One link as it is audited; filled by `config`.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// `[link.NAME]`.
    pub name: LinkName,
    /// How to reach the source.
    pub source: cluster::Options,
    /// How to reach the destination.
    pub destination: cluster::Options,
    /// What it mirrors.
    pub topics: TopicFilter,
    /// What of that adopts a topic that is there and holds records.
    pub named: TopicFilter,
    /// Topics of the source that orders made mirrors of, beside those.
    pub ordered: BTreeSet<TopicName>,
    /// Topics of the source that are mirrors there and have no mirror here: filters take none.
    pub mirrors_there: BTreeSet<TopicName>,
    /// `cluster.link.prefix` or `topic.rename.format`: what mirrors are called after their sources.
    pub rename: Rename,
    /// How it chooses them.
    pub patterns: Vec<Pattern>,
    /// The consumer groups that it follows; none where it follows none.
    pub groups: Vec<Pattern>,
    /// What stands before their names at the destination.
    pub group_prefix: String,
    /// The group that the instances of its destination form, where they do.
    pub instances: Option<String>,
    /// How it keeps others from changing mirror topics while it copies ACLs; `None` where it does
    /// nothing with ACLs.
    pub acls: Option<AclSync>,
    /// `replication.factor` of the topics it makes; `None` for the destination's own default.
    pub replicas: Option<i16>,
    /// The configs with which it makes a topic, from those of its source; the flag is for a
    /// destination before Kafka 3.6.
    pub new_configs: fn(&ConfigEntries, bool) -> BTreeMap<String, String>,
    /// The keys which that reads at the source.
    pub source_keys: &'static [&'static str],
    /// How it keeps the configs of mirror topics as their sources have them.
    pub configs: ConfigSync,
    /// What it does with gaps, and with what it cannot copy as it is.
    pub policy: Policy,
    /// `isolation.level`: only committed records are mirrored.
    pub committed_only: bool,
}

impl LinkOptions {
    /// Whether a topic of the source is to be mirrored.
    pub fn takes(&self, source: &TopicName) -> bool {
        let is_chosen = self.topics.matches(source) && !self.is_mirror_there(source);
        let is_chosen = is_chosen || self.ordered.contains(source);
        is_chosen && self.unnamable(source).is_none()
    }

    /// Whether a topic is left out since it is a mirror at the source, and not named.
    fn is_mirror_there(&self, source: &TopicName) -> bool {
        let is_named = self.topics.literals().any(|literal| literal == source);
        self.mirrors_there.contains(source) && !is_named
    }

    /// Why nothing may be a mirror of a topic, by the name that it would have.
    fn unnamable(&self, source: &TopicName) -> Option<String> {
        let name = self.rename.text(source.as_str());
        match filter::owner(&name) {
            Some(whose) => Some(format!("{name} is {whose}")),
            None if TopicName::new(&name).is_none() => {
                Some(format!("{name} is no topic name: shorten {}", self.rename.property()))
            }
            None => None,
        }
    }

    /// What its mirror is called; a name that would be too long is nobody's, and stays as it is.
    pub fn mirror_of(&self, source: &TopicName) -> TopicName {
        self.rename.mirror_of(source).unwrap_or_else(|| source.clone())
    }

    /// What its source is called; `None` where it can be no mirror of this link.
    pub fn source_of(&self, mirror: &TopicName) -> Option<TopicName> {
        self.rename.source_of(mirror)
    }

    /// A topic of the source, or a mirror of the destination, by the source's name.
    pub fn source_at(&self, side: Side, name: &TopicName) -> Option<TopicName> {
        match side {
            Side::Source => Some(name.clone()),
            Side::Destination => self.source_of(name),
        }
    }

    /// What a partition of the source is called at that side.
    pub fn at(&self, side: Side, tp: &TopicPartition) -> TopicPartition {
        match side {
            Side::Source => tp.clone(),
            Side::Destination => {
                let topic = self.mirror_of(&tp.topic);
                TopicPartition { topic, partition: tp.partition }
            }
        }
    }

    /// Whether a topic of the source is among those that were asked for, by either name; all of
    /// them where none was.
    pub fn is_asked(&self, only: &[TopicName], source: &TopicName) -> bool {
        only.is_empty() || only.contains(source) || only.contains(&self.mirror_of(source))
    }

    /// The mirror's name, where it is another one.
    pub fn other_name(&self, source: &TopicName) -> Option<String> {
        (!self.rename.is_none()).then(|| self.mirror_of(source).to_string())
    }

    /// The consumer groups that it follows, by their names at that side.
    fn groups_at(&self, side: Side) -> Vec<Pattern> {
        match side {
            Side::Source => self.groups.clone(),
            Side::Destination => renamed(&Rename::prefixed(&self.group_prefix), &self.groups),
        }
    }

    /// By which names and prefixes that side has what it mirrors.
    fn patterns_at(&self, side: Side) -> Vec<Pattern> {
        match side {
            Side::Source => self.patterns.clone(),
            Side::Destination => renamed(&self.rename, &self.patterns),
        }
    }

    /// A note for each reason for which topics are left out that a prefix or an expression takes: a
    /// person who wrote `*` may have meant them.
    fn left_out(&self, topics: &[Arc<Topic>]) -> Vec<judge::Finding> {
        let mut by_reason: BTreeMap<String, Vec<&TopicName>> = BTreeMap::new();
        for topic in topics {
            if let Some(why) = self.topics.left_out(&topic.name) {
                by_reason.entry(why.to_string()).or_default().push(&topic.name);
            } else if self.topics.matches(&topic.name) && self.is_mirror_there(&topic.name) {
                let why = "a mirror at the source, which is taken where its name is given alone";
                by_reason.entry(why.to_owned()).or_default().push(&topic.name);
            }
        }
        let mut findings: Vec<judge::Finding> =
            by_reason.into_iter().map(|(why, names)| left_out(&why, names)).collect();
        let chosen = topics.iter().filter(|topic| self.topics.matches(&topic.name));
        findings.extend(chosen.filter_map(|topic| {
            let why = self.unnamable(&topic.name)?;
            let name = &topic.name;
            Some(judge::Finding::impossible(format!("topic {name} is never mirrored: {why}")))
        }));
        findings
    }
}

/// The same patterns for what was renamed: of names that begin alike only how they begin is known.
fn renamed(rename: &Rename, patterns: &[Pattern]) -> Vec<Pattern> {
    let one = |pattern: &Pattern| Pattern {
        text: match pattern.is_prefix {
            true => format!("{}{}", rename.before(), pattern.text),
            false => rename.text(&pattern.text),
        },
        is_prefix: pattern.is_prefix,
    };
    patterns.iter().map(one).collect()
}

fn left_out(why: &str, mut names: Vec<&TopicName>) -> judge::Finding {
    names.sort();
    let shown: Vec<&str> = names.iter().take(LEFT_OUT_MAX).map(|name| name.as_str()).collect();
    let more = match names.len().saturating_sub(LEFT_OUT_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    judge::Finding::note(format!("left out: {}{more}: {why}", shown.join(", ")))
}

/// How each side is dialled.
#[derive(Clone)]
pub struct Dials {
    /// To the source.
    pub source: Arc<dyn Dial>,
    /// To the destination.
    pub destination: Arc<dyn Dial>,
}

impl Dials {
    /// The real ones.
    pub fn real(link: &LinkOptions) -> Dials {
        let tcp = |timeout| Arc::new(TcpDial { timeout });
        let source = tcp(link.source.dial_timeout);
        Dials { source, destination: tcp(link.destination.dial_timeout) }
    }

    /// Reaches one side.
    pub async fn connect(
        &self,
        link: &LinkOptions,
        side: Side,
    ) -> Result<Arc<Cluster>, ClusterError> {
        let (options, dial) = match side {
            Side::Source => (&link.source, &self.source),
            Side::Destination => (&link.destination, &self.destination),
        };
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = u64::from(since_1970.subsec_nanos()) ^ u64::from(std::process::id()) << 32;
        Cluster::connect(options.clone(), dial.clone(), seed).await
    }
}

/// As an authorizer knows us, where that follows from how we connect; otherwise to be filled in.
pub fn principal(options: &cluster::Options) -> String {
    own_principal(options, None).unwrap_or_else(|| "User:<isolog>".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_topics_are_counted_and_some_are_named() {
        let names: Vec<TopicName> =
            (10..40).map(|at| TopicName::new(&format!("a{at}")).unwrap()).collect();
        let told =
            |count: usize| left_out("because", names.iter().rev().take(count).collect()).text;
        assert_eq!(told(2), "left out: a38, a39: because");
        let text = told(30);
        assert!(text.starts_with("left out: a10, a11, ") && !text.contains("a30"), "{text}");
        assert!(text.ends_with("a29 and 10 more: because"), "{text}");
    }
}
