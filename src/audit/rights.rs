//! Rights: which ones isolog needs, which it lacks, which it has beyond, and how to grant them.
//!
//! It never tries a right by doing harm: what cannot be asked is probed with requests that change
//! nothing whatever the answer (validate only, offset 0, no byte to write).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use crate::audit::LinkOptions;
use crate::audit::Pattern;
use crate::cluster;
use crate::cluster::Cluster;
use crate::cluster::NewTopic;
use crate::cluster::error::ClusterError;
use crate::cluster::metadata::Topic;
use crate::control::acls::Protection;
use crate::ids::BrokerId;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::Side;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::wire::error::KafkaCode;

/// TOPIC_AUTHORIZATION_FAILED.
const REFUSED: KafkaCode = KafkaCode(29);

/// How a name under a prefix ends that is asked for and never made.
const PROBE: &str = "isolog-check";

/// What may be done with a topic or a cluster, with Kafka's numbers (`AclOperation`).
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[repr(u8)]
pub enum Operation {
    /// Fetch, DescribeProducers.
    Read = 3,
    /// Produce.
    Write = 4,
    /// CreateTopics.
    Create = 5,
    /// DeleteRecords.
    Delete = 6,
    /// CreatePartitions.
    Alter = 7,
    /// Metadata, ListOffsets; implied by the ones before, but for Create.
    Describe = 8,
    /// What brokers do among themselves.
    ClusterAction = 9,
    /// DescribeConfigs; implied by AlterConfigs.
    DescribeConfigs = 10,
    /// IncrementalAlterConfigs.
    AlterConfigs = 11,
    /// InitProducerId.
    IdempotentWrite = 12,
}

use Operation::*;

const ALL: [Operation; 10] = [
    Read,
    Write,
    Create,
    Delete,
    Alter,
    Describe,
    ClusterAction,
    DescribeConfigs,
    AlterConfigs,
    IdempotentWrite,
];
/// What a broker without an authorizer, or a super user, says of every topic.
const EVERYTHING: [Operation; 8] =
    [Read, Write, Create, Delete, Alter, Describe, DescribeConfigs, AlterConfigs];
/// The same of the cluster.
const EVERYTHING_ON_CLUSTER: [Operation; 5] =
    [Create, Alter, Describe, ClusterAction, AlterConfigs];
/// What the copy needs (broker facts A11).
const AT_SOURCE: &[Operation] = &[Read, DescribeConfigs];
const AT_DESTINATION: &[Operation] = &[Read, Write, Create, Delete, Alter, AlterConfigs];
/// What a drill needs of its canary at the source, whose mirror isolog makes as any other.
const DRILL_AT_SOURCE: &[Operation] = &[Read, Write, Create, Delete, Describe, DescribeConfigs];
/// What the journal needs; its `min.compaction.lag.ms` is a day at least.
const IN_JOURNAL: &[Operation] = &[Read, Write, Create, DescribeConfigs, AlterConfigs];
/// What following consumer groups needs of them.
const GROUPS_AT_SOURCE: Operation = Describe;
const GROUPS_AT_DESTINATION: Operation = Read;
/// What copying ACLs needs on the cluster.
const ACLS_AT_SOURCE: &[Operation] = &[Describe];
const ACLS_AT_DESTINATION: &[Operation] = &[Describe, Alter];
/// What does no harm and comes with others.
const HARMLESS: &[Operation] = &[Describe, DescribeConfigs, Create];
/// What a cluster right of ours may be.
const HARMLESS_CLUSTER: &[Operation] = &[Describe, DescribeConfigs];

impl Operation {
    fn bit(self) -> u32 {
        1 << self as u32
    }

    /// As `kafka-acls` takes it.
    pub fn name(self) -> String {
        format!("{self:?}")
    }
}

/// Operations out of a bit field.
fn operations(bits: u32) -> BTreeSet<Operation> {
    ALL.into_iter().filter(|one| bits & one.bit() != 0).collect()
}

/// What somebody may do with one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicRights {
    /// Needed, and not granted.
    pub missing: BTreeSet<Operation>,
    /// Granted, and not needed.
    pub excess: BTreeSet<Operation>,
    /// Whether all there is is granted, where the broker tells.
    pub is_everything: Option<bool>,
}

/// The rights on one side.
#[derive(Clone, Debug, Default)]
pub struct SideRights {
    /// By topic.
    pub topics: BTreeMap<TopicName, TopicRights>,
    /// Needed on the cluster, and not granted.
    pub cluster_missing: BTreeSet<Operation>,
    /// Granted on the cluster and not needed.
    pub cluster_excess: BTreeSet<Operation>,
    /// Nothing is refused at all.
    pub is_everything: bool,
}

/// Asks what we may do with these topics, whether they exist or not; `journal` is the journal's, or
/// none; and on the cluster, where ACLs are copied.
pub async fn ask(
    cluster: &Cluster,
    topics: &[TopicName],
    journal: &[TopicName],
    with_acls: bool,
) -> Result<SideRights, ClusterError> {
    let (needs, on_cluster) = match cluster.side() {
        Side::Source => (AT_SOURCE, ACLS_AT_SOURCE),
        Side::Destination => (AT_DESTINATION, ACLS_AT_DESTINATION),
    };
    let on_cluster = if with_acls { on_cluster } else { &[] };
    let mut rights = SideRights::default();
    let bits = cluster.cluster_operations().await?.unwrap_or(0);
    for (some, needs) in [(topics, needs), (journal, IN_JOURNAL)] {
        if some.is_empty() {
            continue;
        }
        let told = cluster.topic_operations(some).await?;
        for name in some {
            let known = told.get(name).and_then(|one| one.as_ref().ok().copied().flatten());
            let of = match known {
                Some(bits) => of_known(bits, needs),
                None => probe(cluster, name, needs).await?,
            };
            rights.topics.insert(name.clone(), of);
        }
    }
    let granted = operations(bits);
    let mut told = rights.topics.values().filter_map(|of| of.is_everything);
    rights.is_everything =
        told.all(|all| all) && EVERYTHING_ON_CLUSTER.iter().all(|one| granted.contains(one));
    let is_harmless = |one: &Operation| {
        let makes_topics = *one == Create && cluster.side() == Side::Destination;
        HARMLESS_CLUSTER.contains(one) || makes_topics || on_cluster.contains(one)
    };
    rights.cluster_missing =
        on_cluster.iter().filter(|one| !granted.contains(one)).copied().collect();
    rights.cluster_excess = granted.into_iter().filter(|one| !is_harmless(one)).collect();
    Ok(rights)
}

/// A topic that exists: the broker tells all.
fn of_known(bits: u32, needs: &[Operation]) -> TopicRights {
    let granted = operations(bits);
    let is_needed = |one: &Operation| needs.contains(one) || HARMLESS.contains(one);
    TopicRights {
        // what exists is not created
        missing: needs.iter().filter(|o| **o != Create && !granted.contains(o)).copied().collect(),
        excess: granted.iter().filter(|one| !is_needed(one)).copied().collect(),
        is_everything: Some(EVERYTHING.iter().all(|one| granted.contains(one))),
    }
}

/// A topic that does not exist, or that we may not see: each right is probed.
async fn probe(
    cluster: &Cluster,
    name: &TopicName,
    needs: &[Operation],
) -> Result<TopicRights, ClusterError> {
    let mut rights = TopicRights::default();
    let broker = cluster.look(|metadata| metadata.brokers().next().map(|one| one.id));
    let Some(broker) = broker else { return Ok(rights) };
    for need in needs {
        if is_refused(cluster, broker, name, *need).await? {
            rights.missing.insert(*need);
        }
    }
    Ok(rights)
}

async fn is_refused(
    cluster: &Cluster,
    broker: BrokerId,
    name: &TopicName,
    operation: Operation,
) -> Result<bool, ClusterError> {
    let names = std::slice::from_ref(name);
    let tp = TopicPartition { topic: name.clone(), partition: PartitionId(0) };
    let code = |code: Option<KafkaCode>| code == Some(REFUSED);
    Ok(match operation {
        Read => {
            let told = cluster.describe_producers(broker, &[tp]).await?;
            code(told.into_values().next().and_then(Result::err))
        }
        Write => cluster.may_write(broker, name).await? == REFUSED,
        Create => {
            let (partitions, configs) = (1, BTreeMap::new());
            let new = NewTopic { name: name.clone(), partitions, replicas: None, configs };
            refused(cluster.create_topics(&[new], true).await?)
        }
        Delete => {
            let told = cluster.delete_records(broker, &[(tp, Offset::ZERO)]).await?;
            code(told.into_values().next().and_then(Result::err))
        }
        Alter => refused(cluster.create_partitions(&[(name.clone(), 1)], true).await?),
        AlterConfigs => {
            let nothing = [(name.clone(), BTreeMap::new())];
            refused(cluster.alter_topic_configs(&nothing, true).await?)
        }
        DescribeConfigs => refused(cluster.describe_topic_configs(names, Some(&[])).await?),
        Describe | ClusterAction | IdempotentWrite => false,
    })
}

fn refused<T>(each: crate::cluster::EachTopic<T>) -> bool {
    each.into_values().any(|one| one.is_err_and(|refusal| refusal.code == REFUSED))
}

/// A name under each prefix of a link of which no topic is seen: rights on it are asked like those
/// on a topic that is named and not seen, so that a line that grants them can be printed.
pub fn unseen(link: &LinkOptions, topics: &[Arc<Topic>]) -> Vec<TopicName> {
    let prefixes = link.patterns.iter().filter(|pattern| pattern.is_prefix);
    let unseen = prefixes.filter(|one| !topics.iter().any(|topic| one.covers(&topic.name)));
    let probe = |one: &Pattern| TopicName::new(&format!("{}{PROBE}", one.text));
    unseen.filter_map(probe).filter(|name| link.topics.matches(name)).collect()
}

/// Who is to be granted, and where.
#[derive(Clone, Debug)]
pub struct Grantee {
    /// `host:port` of a broker.
    pub bootstrap: String,
    /// As an authorizer knows us: `User:name`.
    pub principal: String,
}

impl Grantee {
    /// We, at a cluster that is reached so.
    pub fn of(options: &cluster::Options) -> Grantee {
        let (host, port) = &options.bootstrap[0];
        let principal = crate::audit::principal(options);
        Grantee { bootstrap: format!("{host}:{port}"), principal }
    }
}

/// The `kafka-acls` lines that grant what is missing, a line for each topic or prefix.
pub fn grants(rights: &SideRights, patterns: &[Pattern], grantee: &Grantee) -> Vec<String> {
    let mut wanted: BTreeMap<Pattern, BTreeSet<Operation>> = BTreeMap::new();
    for (name, of) in &rights.topics {
        if of.missing.is_empty() {
            continue;
        }
        let literal = Pattern { text: name.to_string(), is_prefix: false };
        // a prefix that does not look internal means no internal topic, and not the journal
        let means = |pattern: &&Pattern| {
            pattern.covers(name)
                && (pattern.text.starts_with("__") || !literal.text.starts_with("__"))
        };
        let pattern = patterns.iter().find(means).cloned();
        wanted.entry(pattern.unwrap_or(literal)).or_default().extend(&of.missing);
    }
    let topics = wanted.iter().map(|(pattern, missing)| grant("topic", pattern, missing, grantee));
    let on_cluster = (!rights.cluster_missing.is_empty())
        .then(|| line("--cluster", &rights.cluster_missing, grantee));
    topics.chain(on_cluster).collect()
}

/// What following consumer groups needs, and being one of several instances, with the lines that
/// grant it: nothing is tried for them. Nothing is said where everything is allowed.
pub fn of_groups(
    side: Side,
    rights: &SideRights,
    (groups, instances): (&[Pattern], Option<&str>),
    grantee: &Grantee,
) -> Vec<String> {
    let needed = match side {
        Side::Source => BTreeSet::from([GROUPS_AT_SOURCE]),
        Side::Destination => BTreeSet::from([GROUPS_AT_DESTINATION]),
    };
    let said = groups.iter().filter(|_| !rights.is_everything).map(|pattern| {
        let line = grant("group", pattern, &needed, grantee);
        format!("consumer groups are followed, which is not tried; needed at the {side}: {line}")
    });
    let instances = instances.filter(|_| side == Side::Destination).into_iter();
    said.chain(instances.filter_map(|group| of_instances(group, rights, grantee))).collect()
}

/// What a drill needs of topics whose names begin so, with the line that grants it.
pub fn of_drill(side: Side, start: &str, grantee: &Grantee) -> String {
    let needed = match side {
        Side::Source => DRILL_AT_SOURCE,
        Side::Destination => AT_DESTINATION,
    };
    let pattern = Pattern { text: start.to_owned(), is_prefix: true };
    grant("topic", &pattern, &needed.iter().copied().collect(), grantee)
}

/// What being one of several instances needs at the destination, with the line that grants it.
fn of_instances(group: &str, rights: &SideRights, grantee: &Grantee) -> Option<String> {
    let pattern = Pattern { text: group.to_owned(), is_prefix: false };
    let line = grant("group", &pattern, &BTreeSet::from([GROUPS_AT_DESTINATION]), grantee);
    let text =
        format!("instances share a group, which is not tried; needed at the destination: {line}");
    (!rights.is_everything).then_some(text)
}

fn grant(
    kind: &str,
    pattern: &Pattern,
    missing: &BTreeSet<Operation>,
    grantee: &Grantee,
) -> String {
    let resource = match (pattern.is_prefix, pattern.text.as_str()) {
        (true, "") => "'*'".to_owned(),
        (true, start) => format!("'{start}' --resource-pattern-type prefixed"),
        (false, name) => format!("'{name}'"),
    };
    line(&format!("--{kind} {resource}"), missing, grantee)
}

fn line(resource: &str, missing: &BTreeSet<Operation>, grantee: &Grantee) -> String {
    let operations: String =
        missing.iter().map(|one| format!(" --operation {}", one.name())).collect();
    format!(
        "kafka-acls.sh --bootstrap-server {} --add --allow-principal '{}'{operations} {resource}",
        grantee.bootstrap, grantee.principal
    )
}

/// How others are kept from mirror topics while ACLs are copied.
pub fn of_protection(protection: Protection) -> &'static str {
    match protection {
        Protection::Rights => {
            "mirror.write.protection=rights: bindings that let others change a mirror topic are \
             held back, or denied for it, until it is promoted"
        }
        Protection::DenyAll => {
            "mirror.write.protection=deny-all: WRITE on each mirror topic is denied to everybody \
             until it is promoted; isolog must be a super user of the destination"
        }
        Protection::None => {
            "mirror.write.protection=none: who may write at the source may write into mirror \
             topics; a foreign record halts its partition"
        }
    }
}

/// What is granted beyond need, in words; the same rights on many topics are one line.
pub fn excess(rights: &SideRights) -> Vec<String> {
    if rights.is_everything {
        return vec!["everything is allowed: no authorizer, or a super user".to_owned()];
    }
    let mut by_excess: BTreeMap<&BTreeSet<Operation>, Vec<&TopicName>> = BTreeMap::new();
    for (name, of) in rights.topics.iter().filter(|(_, of)| !of.excess.is_empty()) {
        by_excess.entry(&of.excess).or_default().push(name);
    }
    let words = |some: &BTreeSet<Operation>| {
        some.iter().map(|one| one.name()).collect::<Vec<_>>().join(", ")
    };
    let mut lines: Vec<String> = by_excess
        .into_iter()
        .map(|(excess, names)| match names.as_slice() {
            [one] => format!("{} on topic {one}", words(excess)),
            [first, rest @ ..] => {
                format!("{} on topic {first} and {} more", words(excess), rest.len())
            }
            [] => String::new(),
        })
        .collect();
    if !rights.cluster_excess.is_empty() {
        lines.push(format!("{} on the cluster", words(&rights.cluster_excess)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    fn rights(rows: &[(&str, &[Operation])]) -> SideRights {
        let row = |(topic, missing): &(&str, &[Operation])| {
            let missing = missing.iter().copied().collect();
            (name(topic), TopicRights { missing, ..TopicRights::default() })
        };
        SideRights { topics: rows.iter().map(row).collect(), ..SideRights::default() }
    }

    fn grantee() -> Grantee {
        Grantee { bootstrap: "b:9092".into(), principal: "User:isolog".into() }
    }

    fn pattern(text: &str, is_prefix: bool) -> Pattern {
        Pattern { text: text.into(), is_prefix }
    }

    #[test]
    fn a_prefix_is_granted_once_and_a_name_by_itself() {
        let rights = rights(&[
            ("__isolog", &[Create]),
            ("o-a", &[Read]),
            ("o-b", &[Read, DescribeConfigs]),
            ("p", &[Read]),
        ]);
        let patterns = [pattern("o-", true), pattern("p", false)];
        let start = "kafka-acls.sh --bootstrap-server b:9092 --add --allow-principal 'User:isolog'";
        assert_eq!(
            grants(&rights, &patterns, &grantee()),
            [
                format!("{start} --operation Create --topic '__isolog'"),
                format!(
                    "{start} --operation Read --operation DescribeConfigs --topic 'o-' \
                     --resource-pattern-type prefixed"
                ),
                format!("{start} --operation Read --topic 'p'"),
            ]
        );
        let on_cluster =
            SideRights { cluster_missing: [Alter, Describe].into(), ..SideRights::default() };
        assert_eq!(
            grants(&on_cluster, &patterns, &grantee()),
            [format!("{start} --operation Alter --operation Describe --cluster")]
        );
        let all = grants(&rights, &[pattern("", true)], &grantee());
        let ends = ["--topic '*'", "--topic '__isolog'"];
        assert!(all.iter().zip(ends).all(|(line, end)| line.ends_with(end)), "{all:?}");
    }

    #[test]
    fn followed_groups_are_described_at_the_source_and_read_at_the_destination() {
        let groups = [pattern("", true), pattern("web-", true), pattern("billing", false)];
        let start = "kafka-acls.sh --bootstrap-server b:9092 --add --allow-principal 'User:isolog'";
        let ends =
            ["--group '*'", "--group 'web-' --resource-pattern-type prefixed", "--group 'billing'"];
        for (side, word) in [(Side::Source, "Describe"), (Side::Destination, "Read")] {
            let right = ends.map(|end| {
                format!(
                    "consumer groups are followed, which is not tried; needed at the {side}: \
                     {start} --operation {word} {end}"
                )
            });
            let some = SideRights::default();
            assert_eq!(of_groups(side, &some, (&groups, None), &grantee()), right);
            let all = SideRights { is_everything: true, ..some };
            assert!(of_groups(side, &all, (&groups, None), &grantee()).is_empty());
        }
    }

    #[test]
    fn instances_need_to_read_their_group() {
        let mut some = SideRights::default();
        let said = of_instances("__isolog", &some, &grantee()).unwrap();
        assert!(said.ends_with("--operation Read --group '__isolog'"), "{said}");
        some.is_everything = true;
        assert_eq!(of_instances("__isolog", &some, &grantee()), None);
    }

    #[test]
    fn known_rights_are_compared_with_the_needed_ones() {
        let bits = |some: &[Operation]| some.iter().map(|one| one.bit()).sum::<u32>();
        let of = of_known(bits(&[Read, Describe, Write]), AT_SOURCE);
        assert_eq!(of.missing, BTreeSet::from([DescribeConfigs]));
        assert_eq!(of.excess, BTreeSet::from([Write]));
        let of = of_known(bits(&[Read, Write, Delete, Alter, AlterConfigs]), AT_DESTINATION);
        assert_eq!((of.missing.len(), of.excess.len()), (0, 0), "what exists is not created");
        assert_eq!(of_known(bits(&EVERYTHING), AT_SOURCE).is_everything, Some(true));
    }

    #[test]
    fn excess_is_told_by_right_and_everything_in_one_line() {
        let mut some = rights(&[("a", &[]), ("b", &[]), ("c", &[])]);
        for of in some.topics.values_mut().take(2) {
            of.excess.extend([Write, Alter]);
        }
        some.cluster_excess.insert(ClusterAction);
        assert_eq!(
            excess(&some),
            ["Write, Alter on topic a and 1 more", "ClusterAction on the cluster"]
        );
        some.is_everything = true;
        assert_eq!(excess(&some), ["everything is allowed: no authorizer, or a super user"]);
    }
}
