//! Topics on the stage: mirror topics that have other configs than they will get, so that the front
//! of their log can be deleted.
//!
//! It never changes a config that was not written down before (`control::row`), and never lets
//! retention or a cleaner work while a topic is on the stage.
//!
//! A broker deletes no records of a topic that is only compacted (POLICY_VIOLATION, 44), and takes
//! no record without a key on one that is compacted at all. So a compacted topic whose source does
//! not start at 0 is made with `cleanup.policy=delete` and gets its real policy when what was
//! filled below the start is gone for good. Where a broker has crashed and forgotten that
//! (broker facts A6), or the source's start moves later, the topic is taken on the stage again.

use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::cluster::ConfigEntries;
use crate::cluster::error::ClusterError;
use crate::control::row::Changes;
use crate::ids::TopicName;

const POLICY: &str = "cleanup.policy";
const RETENTION_MS: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";
/// All that is different on the stage.
pub const KEYS: [&str; 3] = [POLICY, RETENTION_MS, RETENTION_BYTES];
/// Retention without a bound.
const FOR_EVER: &str = "-1";
/// For a topic that holds nothing yet.
const NEW: &str = "delete";
/// For one that is compacted already: the cleaner may go on.
const OLD: &str = "compact,delete";

/// Whether a topic with these configs is compacted.
pub fn is_compacted(configs: &ConfigEntries) -> bool {
    let policy = configs.get(POLICY).and_then(|entry| entry.value.as_deref());
    policy.is_some_and(|policy| policy.contains("compact"))
}

/// Whether a topic that gets these configs will be compacted; one that overrides nothing is taken
/// for one that is.
pub fn will_compact(owed: &Changes) -> bool {
    let policy = owed.get(POLICY).and_then(|value| value.as_deref());
    policy.is_none_or(|policy| policy.contains("compact"))
}

/// What a new topic gets when it leaves the stage: what its source has.
pub fn real_of_source(source: &ConfigEntries) -> Changes {
    let value = |key: &str| source.get(key).and_then(|entry| entry.value.clone());
    KEYS.map(|key| (key.to_owned(), value(key))).into()
}

/// What a topic that is there gets back: what it overrides now.
pub fn real_of_mirror(destination: &ConfigEntries) -> Changes {
    let own = |key: &str| destination.get(key).filter(|entry| entry.is_override);
    KEYS.map(|key| (key.to_owned(), own(key).and_then(|entry| entry.value.clone()))).into()
}

/// The configs of a new topic while it is on the stage; `real` are those it would have.
pub fn for_new(mut real: BTreeMap<String, String>) -> BTreeMap<String, String> {
    real.extend(on_stage(NEW).map(|(key, value)| (key.to_owned(), value.to_owned())));
    real
}

fn on_stage(policy: &'static str) -> [(&'static str, &'static str); 3] {
    [(POLICY, policy), (RETENTION_MS, FOR_EVER), (RETENTION_BYTES, FOR_EVER)]
}

/// Takes compacted topics on the stage; the answer names those that refuse, and why.
pub async fn enter(
    destination: &Cluster,
    topics: &[TopicName],
) -> Result<BTreeMap<TopicName, String>, ClusterError> {
    let value = |(key, value): (&str, &str)| (key.to_owned(), Some(value.to_owned()));
    let changes: Changes = on_stage(OLD).map(value).into();
    let all = topics.iter().map(|name| (name.clone(), changes.clone())).collect();
    alter(destination, all).await
}

/// Gives topics their real configs; the answer names those that refuse, and why.
pub async fn leave(
    destination: &Cluster,
    topics: Vec<(TopicName, Changes)>,
) -> Result<BTreeMap<TopicName, String>, ClusterError> {
    alter(destination, topics).await
}

async fn alter(
    destination: &Cluster,
    topics: Vec<(TopicName, Changes)>,
) -> Result<BTreeMap<TopicName, String>, ClusterError> {
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let answers = destination.alter_topic_configs(&topics, false).await?;
    let refused = answers.into_iter().filter_map(|(name, answer)| {
        let refusal = answer.err()?;
        Some((name, format!("the destination does not change its configs: {refusal}")))
    });
    Ok(refused.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ConfigEntry;

    fn entries(rows: &[(&str, &str, bool)]) -> ConfigEntries {
        let entry = |value: &str, is_override| ConfigEntry {
            value: Some(value.to_owned()),
            is_override,
            is_sensitive: false,
        };
        rows.iter().map(|(key, value, own)| (key.to_string(), entry(value, *own))).collect()
    }

    #[test]
    fn a_topic_on_the_stage_loses_nothing_and_can_be_trimmed() {
        let real = [(POLICY, "compact"), (RETENTION_MS, "5"), ("max.message.bytes", "77")];
        let real = real.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let staged = for_new(real);
        let is = |key: &str, value: &str| assert_eq!(staged.get(key).unwrap(), value);
        is(POLICY, "delete");
        is(RETENTION_MS, "-1");
        is(RETENTION_BYTES, "-1");
        is("max.message.bytes", "77");
    }

    #[test]
    fn what_comes_after_the_stage_is_the_sources_or_what_was_there() {
        let rows = [(POLICY, "compact", false), (RETENTION_MS, "5", true), ("x", "y", true)];
        let own = |value: &str| Some(value.to_owned());
        let changes = real_of_source(&entries(&rows));
        let want = [(POLICY, own("compact")), (RETENTION_MS, own("5")), (RETENTION_BYTES, None)];
        assert_eq!(changes, want.map(|(key, value)| (key.to_owned(), value)).into());
        let changes = real_of_mirror(&entries(&rows));
        let want = [(POLICY, None), (RETENTION_MS, own("5")), (RETENTION_BYTES, None)];
        assert_eq!(changes, want.map(|(key, value)| (key.to_owned(), value)).into());
        assert!(is_compacted(&entries(&[(POLICY, "compact,delete", false)])));
        assert!(!is_compacted(&entries(&[(POLICY, "delete", true)])));
        assert!(!is_compacted(&entries(&[])));
    }
}
