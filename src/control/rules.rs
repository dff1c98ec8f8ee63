//! Which topics no order may touch, and which configs no mirror topic may have.
//!
//! It never asks a cluster; what it is given is all that it judges.

use std::collections::BTreeMap;

use crate::control::facts::TopicFacts;
use crate::control::filter;
use crate::control::order::Refusal;
use crate::ids::TopicName;
use crate::mirror::facts::TimeLimits;

/// As long as a broker can count: no timestamp of a source is too early or too late.
pub const NO_LIMIT: &str = "9223372036854775807";
/// The broker leaves the codec alone.
pub const COMPRESSION: (&str, &str) = ("compression.type", "producer");
/// The broker leaves the timestamps alone.
pub const TIMESTAMPS: (&str, &str) = ("message.timestamp.type", "CreateTime");
/// What becomes of old records.
pub const CLEANUP: &str = "cleanup.policy";

/// Whether a topic of the source may be mirrored under a name: neither may be a cluster's own.
pub fn check_names(source: &TopicName, mirror: &TopicName) -> Result<(), Refusal> {
    let own = |name: &TopicName| filter::owner(name.as_str()).map(|whose| (name.clone(), whose));
    match own(mirror).or_else(|| own(source)) {
        None => Ok(()),
        Some((name, whose)) => {
            Err(Refusal::bad(format!("Topic '{name}' is {whose}: it is never mirrored.")))
        }
    }
}

/// Whether a topic may be deleted by order.
pub fn check_delete(mirror: &TopicName) -> Result<(), Refusal> {
    match filter::owner(mirror.as_str()) {
        None => Ok(()),
        Some(whose) => Err(Refusal::bad(format!(
            "Topic '{mirror}' is {whose}: isolog never deletes it. Delete the mirror alone."
        ))),
    }
}

/// Whether a new mirror topic with these configs, over what its source has, would stay exact. No
/// value is repeated.
pub fn check_configs(
    configs: &BTreeMap<String, String>,
    facts: &TopicFacts,
) -> Result<(), Refusal> {
    let [before, after, difference] = TimeLimits::KEYS;
    let must = [
        (COMPRESSION.0, COMPRESSION.1, "the broker would encode the records anew"),
        (TIMESTAMPS.0, TIMESTAMPS.1, "the broker would give the records other timestamps"),
        (before, NO_LIMIT, "the broker would refuse records that the source has"),
        (after, NO_LIMIT, "the broker would refuse records that the source has"),
        (difference, NO_LIMIT, "the broker would refuse records that the source has"),
    ];
    let is_other = |(key, needs, _): &&(&str, &str, &str)| {
        configs.get(*key).is_some_and(|given| given != needs)
    };
    if let Some((key, needs, why)) = must.iter().find(is_other) {
        return Err(Refusal::bad(format!(
            "A mirror topic needs {key}={needs}, else {why} and the copy would not be exact: \
             leave {key} out."
        )));
    }
    let real = match facts.owed.get(CLEANUP) {
        Some(owed) => owed.as_ref(),
        None => facts.configs.get(CLEANUP),
    };
    match (configs.get(CLEANUP), real) {
        (Some(given), Some(real)) if given != real => Err(Refusal::bad(format!(
            "A mirror topic has the {CLEANUP} of its source, which is {real}, else the copy would \
             lose other records than the source does: leave {CLEANUP} out."
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::facts::Metadata;

    fn name(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    #[test]
    fn what_is_a_clusters_own_is_neither_mirrored_nor_deleted() {
        let check = |source: &str, mirror: &str, words: &str| {
            let refusal = check_names(&name(source), &name(mirror)).unwrap_err();
            assert_eq!(refusal.status, 400);
            assert!(refusal.text.contains(words), "{refusal:?}");
        };
        for own in [
            "__consumer_offsets",
            "__transaction_state",
            "__share_group_state",
            "__cluster_metadata",
            "__remote_log_metadata",
        ] {
            check(own, own, "the brokers' own log");
            check(own, "w.copy", own);
            check("orders", own, own);
            assert_eq!(check_delete(&name(own)).unwrap_err().status, 400);
        }
        check("isolog", "__isolog", "'__isolog' is isolog's own journal");
        assert!(check_delete(&name("__isolog")).is_err());
        for free in ["orders", "_schemas", "__mine"] {
            assert_eq!(check_names(&name(free), &name(free)), Ok(()));
            assert_eq!(check_delete(&name(free)), Ok(()));
        }
    }

    #[test]
    fn configs_that_break_exactness_are_refused_without_their_values() {
        let map = |rows: &[(&str, &str)]| -> BTreeMap<String, String> {
            rows.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let facts = |owed: &[(&str, &str)]| TopicFacts {
            source: Metadata::Absent,
            mirror: Metadata::Absent,
            ancestors: Vec::new(),
            is_empty: true,
            starts: BTreeMap::new(),
            configs: map(&[(CLEANUP, "delete")]),
            owed: map(owed).into_iter().map(|(key, value)| (key, Some(value))).collect(),
            at_stop: Default::default(),
        };
        for (key, value) in [
            ("compression.type", "zstd"),
            ("message.timestamp.type", "LogAppendTime"),
            ("message.timestamp.before.max.ms", "1234"),
            ("message.timestamp.after.max.ms", "1234"),
            ("message.timestamp.difference.max.ms", "1234"),
            ("cleanup.policy", "compact"),
        ] {
            let refusal = check_configs(&map(&[(key, value)]), &facts(&[])).unwrap_err();
            assert_eq!(refusal.status, 400);
            assert!(refusal.text.contains(key) && !refusal.text.contains(value), "{refusal:?}");
        }
        let fine = [COMPRESSION, TIMESTAMPS, (CLEANUP, "delete"), ("retention.ms", "5")];
        assert_eq!(check_configs(&map(&fine), &facts(&[])), Ok(()));
        // on the stage it has another one for a while
        let staged = facts(&[(CLEANUP, "compact")]);
        assert_eq!(check_configs(&map(&[(CLEANUP, "compact")]), &staged), Ok(()));
        assert!(check_configs(&map(&[(CLEANUP, "delete")]), &staged).is_err());
    }
}
