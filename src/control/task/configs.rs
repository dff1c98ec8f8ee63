//! Which configs of a mirror topic follow its source, which are other ones while it is mirrored,
//! and what it gets when it stops.
//!
//! It never asks a cluster, and never touches a key that is in none of the lists: what an admin set
//! there stays.
//!
//! | list | keys | while mirrored | when it stops |
//! | --- | --- | --- | --- |
//! | always | [`ALWAYS`] | the source's, or what exactness needs | the source's |
//! | by `topic.config.sync.include` | of [`INCLUDABLE`] | the same | the same |
//! | never | all others | untouched | untouched |

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::control::row::Changes;
use crate::control::rules::CLEANUP;
use crate::control::rules::COMPRESSION;
use crate::control::rules::NO_LIMIT;
use crate::control::rules::TIMESTAMPS;
use crate::mirror::facts::TimeLimits;

/// How large a file of the log may be: no batch may be larger.
pub const SEGMENT_BYTES: &str = "segment.bytes";
/// How large a batch may be.
pub const BATCH_BYTES: &str = "max.message.bytes";
/// What a mirror topic takes at least, in bytes, whatever its source takes now: the source may hold
/// larger batches of a time when it took them. It is the most that a lane reads as one batch.
pub const BATCH_BYTES_MIN: u64 = 50 << 20;
/// The least `segment.bytes` that brokers since 4.1 take, in bytes.
pub const SEGMENT_BYTES_MIN: u64 = 1 << 20;

const RETENTION_MS: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";
/// Limits of timestamps since Kafka 3.6 (KIP-937), and the one before.
const LIMITS: [&str; 3] = TimeLimits::KEYS;

/// What follows whatever the settings say.
pub const ALWAYS: [&str; 4] = [CLEANUP, BATCH_BYTES, TIMESTAMPS.0, LIMITS[2]];
/// What follows where `topic.config.sync.include` names it.
pub const INCLUDABLE: &[&str] = &[
    COMPRESSION.0,
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "index.interval.bytes",
    "max.compaction.lag.ms",
    "message.downconversion.enable",
    LIMITS[1],
    LIMITS[0],
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "preallocate",
    RETENTION_BYTES,
    RETENTION_MS,
    SEGMENT_BYTES,
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
    "unclean.leader.election.enable",
];
/// What it names unless told otherwise: what a new mirror topic takes over from its source.
pub const INCLUDED: &[&str] = &[
    "delete.retention.ms",
    "max.compaction.lag.ms",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    RETENTION_BYTES,
    RETENTION_MS,
    SEGMENT_BYTES,
    "segment.ms",
];
/// Followed in its value, whatever level the source has it from: the two brokers' defaults may
/// differ, and these decide what is there.
const BY_VALUE: [&str; 5] = [CLEANUP, BATCH_BYTES, TIMESTAMPS.0, RETENTION_MS, RETENTION_BYTES];
/// What differs for a while where the front of a log must be deleted (`sync::stage`): a topic that
/// is owed configs gets its own ones when that is over.
const STAGED: [&str; 3] = [CLEANUP, RETENTION_MS, RETENTION_BYTES];
/// What is set while a topic is mirrored, and to what.
const FIXED: [(&str, &str); 5] =
    [COMPRESSION, TIMESTAMPS, (LIMITS[0], NO_LIMIT), (LIMITS[1], NO_LIMIT), (LIMITS[2], NO_LIMIT)];

/// Of those, what a topic halts for that has other ones (`DESTINATION_CONFIG`): set back here, it
/// would go on before every leader obeys, and a batch could be stamped.
const HALTING: [&str; 2] = [COMPRESSION.0, TIMESTAMPS.0];

/// One key's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `None` where a broker does not tell it.
    pub value: Option<String>,
    /// Whether the topic itself says so.
    pub is_override: bool,
}

/// Values by key.
pub type Entries = BTreeMap<String, Entry>;

/// `topic.config.sync.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSync {
    /// How often configs are compared, in ms.
    pub every_ms: i64,
    /// Keys beyond [`ALWAYS`].
    pub include: BTreeSet<String>,
}

impl ConfigSync {
    /// The same where limits of timestamps follow too: of a topic that swaps roles, and has nothing
    /// of its own beside what both have.
    pub fn with_limits(&self) -> ConfigSync {
        let mut include = self.include.clone();
        include.extend(LIMITS.iter().map(|key| (*key).to_owned()));
        ConfigSync { include, ..self.clone() }
    }
}

impl Default for ConfigSync {
    fn default() -> ConfigSync {
        let include = INCLUDED.iter().map(|key| (*key).to_owned()).collect();
        ConfigSync { every_ms: 5_000, include }
    }
}

impl ConfigSync {
    /// Whether a key follows the source.
    pub fn follows(&self, key: &str) -> bool {
        ALWAYS.contains(&key) || self.include.contains(key)
    }

    /// The keys that are read of both topics.
    pub fn keys(&self) -> Vec<&str> {
        let fixed = ALWAYS.into_iter().chain(FIXED.map(|(key, _)| key));
        let mut keys: Vec<&str> = fixed.chain(self.include.iter().map(String::as_str)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

/// What is to become of one mirror topic's configs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be changed at the destination now.
    pub changes: Changes,
    /// What the topic is owed from now on, where it is owed anything.
    pub owed: Changes,
    /// What it gets when it stops.
    pub at_stop: Changes,
    /// Keys that the source has and the destination's brokers do not know.
    pub unknown: Vec<String>,
}

/// Plans for a topic that is owed `owed` and whose mirror was made by us, or was there before.
pub fn plan(
    sync: &ConfigSync,
    (source, mirror): (&Entries, &Entries),
    owed: &Changes,
    is_made: bool,
) -> Plan {
    let mut plan = Plan { owed: owed.clone(), ..Plan::default() };
    let is_staged = |key: &str| !owed.is_empty() && STAGED.contains(&key);
    for key in sync.keys() {
        let Some(is) = mirror.get(key) else {
            let has = |entry: &Entry| entry.is_override;
            if sync.follows(key) && source.get(key).is_some_and(has) {
                plan.unknown.push(key.to_owned());
            }
            continue;
        };
        let real = source.get(key).filter(|_| sync.follows(key)).and_then(|from| real(key, from));
        let real = real.filter(|wants| is_made || !keeps_more(key, is, wants));
        let interim = interim(key, source, is);
        if let Some(wants) = interim.clone().or_else(|| real.clone()) {
            match is_staged(key) {
                true => drop(plan.owed.insert(key.to_owned(), wants)),
                false if is_other(is, &wants) && !HALTING.contains(&key) => {
                    plan.changes.insert(key.to_owned(), wants);
                }
                false => {}
            }
        }
        let Some(Some(interim)) = interim else { continue };
        // a limit that is none for us alone is the broker's default again
        let back = real.or_else(|| is_made.then_some(None));
        let is_news = |back: &Option<String>| match back {
            Some(back) => *back != interim,
            None => is.is_override,
        };
        if let Some(back) = back.filter(is_news) {
            plan.at_stop.insert(key.to_owned(), back);
        }
    }
    plan
}

/// Whether a topic would lose records that it keeps: who made it for itself, or ran isolog 0.1 with
/// it, may count on them.
fn keeps_more(key: &str, is: &Entry, wants: &Option<String>) -> bool {
    // what is negative is without a bound
    let bound = |text: &String| text.parse::<i64>().ok().map(|n| if n < 0 { i64::MAX } else { n });
    let is = is.value.as_ref().and_then(bound);
    let wants = wants.as_ref().and_then(bound);
    let is_longer = is.is_none_or(|is| wants.is_none_or(|wants| is > wants));
    matches!(key, RETENTION_MS | RETENTION_BYTES) && is_longer
}

fn is_other(is: &Entry, wants: &Option<String>) -> bool {
    match wants {
        Some(value) => is.value.as_ref() != Some(value),
        None => is.is_override,
    }
}

/// What the source has of a key that follows: a value, or `None` for the broker's default; nothing
/// where it does not tell.
fn real(key: &str, source: &Entry) -> Option<Option<String>> {
    if !source.is_override && !BY_VALUE.contains(&key) {
        return Some(None);
    }
    let value = source.value.clone()?;
    if key == SEGMENT_BYTES {
        let bytes: u64 = value.parse().ok()?;
        return Some(Some(bytes.max(SEGMENT_BYTES_MIN).to_string()));
    }
    Some(Some(value))
}

/// What a key must be while the topic is mirrored, whatever the source has; nothing for one that
/// may follow it.
fn interim(key: &str, source: &Entries, is: &Entry) -> Option<Option<String>> {
    let number = |entry: Option<&Entry>| entry?.value.as_deref()?.parse::<u64>().ok();
    if let Some((_, value)) = FIXED.iter().find(|(fixed, _)| *fixed == key) {
        return Some(Some((*value).to_owned()));
    }
    let batch = number(source.get(BATCH_BYTES));
    match key {
        // never lowered: what waits may be of a time when the source took more
        BATCH_BYTES => {
            let least = batch?.max(BATCH_BYTES_MIN);
            Some(Some(number(Some(is)).unwrap_or(0).max(least).to_string()))
        }
        // a broker refuses a batch that does not fit into a file (RECORD_LIST_TOO_LARGE, 18)
        SEGMENT_BYTES => {
            let own = source.get(key).filter(|entry| entry.is_override);
            Some(Some(number(own)?.max(batch?).max(SEGMENT_BYTES_MIN).to_string()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `!` stands before what the topic itself says.
    fn entries(rows: &[(&str, &str)]) -> Entries {
        let entry = |text: &str| Entry {
            value: Some(text.trim_start_matches('!').to_owned()),
            is_override: text.starts_with('!'),
        };
        rows.iter().map(|(key, text)| ((*key).to_owned(), entry(text))).collect()
    }

    fn changes(rows: &[(&str, Option<&str>)]) -> Changes {
        let one =
            |(key, value): &(&str, Option<&str>)| ((*key).to_owned(), value.map(str::to_owned));
        rows.iter().map(one).collect()
    }

    const SOURCE: &[(&str, &str)] = &[
        ("cleanup.policy", "delete"),
        ("max.message.bytes", "1048588"),
        ("message.timestamp.type", "CreateTime"),
        ("retention.ms", "604800000"),
        ("retention.bytes", "-1"),
        ("segment.bytes", "1073741824"),
        ("segment.ms", "604800000"),
        ("min.insync.replicas", "1"),
        ("compression.type", "producer"),
        ("message.timestamp.before.max.ms", NO_LIMIT),
        ("message.timestamp.after.max.ms", "3600000"),
    ];
    const MIRROR: &[(&str, &str)] = &[
        ("cleanup.policy", "!delete"),
        ("max.message.bytes", "!52428800"),
        ("message.timestamp.type", "!CreateTime"),
        ("retention.ms", "!604800000"),
        ("retention.bytes", "!-1"),
        ("segment.bytes", "1073741824"),
        ("segment.ms", "604800000"),
        ("min.insync.replicas", "!2"),
        ("compression.type", "!producer"),
        ("message.timestamp.before.max.ms", "!9223372036854775807"),
        ("message.timestamp.after.max.ms", "!9223372036854775807"),
    ];

    fn with<'a>(base: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Entries {
        entries(&[base, more].concat())
    }

    fn including(keys: &[&str]) -> ConfigSync {
        let include = keys.iter().map(|key| (*key).to_owned()).collect();
        ConfigSync { include, ..ConfigSync::default() }
    }

    fn planned(sync: &ConfigSync, source: &[(&str, &str)], mirror: &[(&str, &str)]) -> Plan {
        let (source, mirror) = (with(SOURCE, source), with(MIRROR, mirror));
        plan(sync, (&source, &mirror), &Changes::new(), true)
    }

    #[test]
    fn a_topic_that_was_there_before_keeps_what_it_keeps_longer() {
        let check = |key: &str, is: &str, source: &str, made: Option<&str>, found: Option<&str>| {
            let both = (with(SOURCE, &[(key, source)]), with(MIRROR, &[(key, is)]));
            for (is_made, want) in [(true, made), (false, found)] {
                let sync = ConfigSync::default();
                let plan = plan(&sync, (&both.0, &both.1), &Changes::new(), is_made);
                let changed = plan.changes.get(key).and_then(|value| value.as_deref());
                assert_eq!(changed, want, "{key} {is} {source} {is_made}");
            }
        };
        let (week, day) = ("!604800000", "86400000");
        check("retention.ms", week, day, Some(day), None);
        check("retention.ms", "!-1", day, Some(day), None);
        check("retention.ms", "!86400000", "604800000", Some("604800000"), Some("604800000"));
        check("retention.ms", week, "-1", Some("-1"), Some("-1"));
        check("retention.bytes", "!-1", "1000", Some("1000"), None);
        check("retention.bytes", "!1000", "2000", Some("2000"), Some("2000"));
        // what takes no record away follows whoever made the topic
        check("segment.ms", "!1", "!86400000", Some(day), Some(day));
    }

    #[test]
    fn what_is_as_it_should_be_is_left() {
        let plan = planned(&ConfigSync::default(), &[], &[]);
        assert_eq!(plan.changes, Changes::new());
        let back = changes(&[
            ("compression.type", None),
            ("max.message.bytes", Some("1048588")),
            ("message.timestamp.after.max.ms", None),
            ("message.timestamp.before.max.ms", None),
        ]);
        assert_eq!(plan.at_stop, back);
    }

    #[test]
    fn each_of_the_three_lists() {
        // always, whatever is included
        let none = including(&[]);
        let source = [("cleanup.policy", "!compact"), ("retention.ms", "!5"), ("x", "!1")];
        let plan = planned(&none, &source, &[]);
        assert_eq!(plan.changes, changes(&[("cleanup.policy", Some("compact"))]));
        // by the list: an override follows, and its end
        let some = including(&["segment.ms", "min.insync.replicas", "retention.ms"]);
        let plan = planned(&some, &[("segment.ms", "!7"), ("retention.ms", "5")], &[]);
        let want =
            [("min.insync.replicas", None), ("retention.ms", Some("5")), ("segment.ms", Some("7"))];
        assert_eq!(plan.changes, changes(&want));
        // never: an admin's own
        let plan = planned(&none, &[], &[("retention.ms", "!1"), ("leader.replication.x", "!y")]);
        assert_eq!(plan.changes, Changes::new());
    }

    #[test]
    fn exactness_wins_while_mirrored_and_the_source_when_it_stops() {
        let sync = including(&["compression.type", "message.timestamp.after.max.ms"]);
        let source = [
            ("message.timestamp.type", "!LogAppendTime"),
            ("compression.type", "!zstd"),
            ("message.timestamp.after.max.ms", "!9"),
            ("max.message.bytes", "!1000"),
        ];
        let plan = planned(&sync, &source, &[]);
        assert_eq!(plan.changes, Changes::new());
        let back = [
            ("compression.type", Some("zstd")),
            ("max.message.bytes", Some("1000")),
            ("message.timestamp.after.max.ms", Some("9")),
            ("message.timestamp.before.max.ms", None),
            ("message.timestamp.type", Some("LogAppendTime")),
        ];
        assert_eq!(plan.at_stop, changes(&back));
        // a limit that somebody lowered is raised again, and one that is larger stays
        let low =
            planned(&sync, &[], &[("max.message.bytes", "!77"), ("compression.type", "!lz4")]);
        assert_eq!(low.changes, changes(&[("max.message.bytes", Some("52428800"))]));
        let limit = ("message.timestamp.before.max.ms", "!77");
        let limited = planned(&sync, &[], &[limit]);
        assert_eq!(limited.changes, changes(&[(limit.0, Some(NO_LIMIT))]));
        let high = planned(&sync, &[], &[("max.message.bytes", "!99999999")]);
        assert_eq!(high.changes, Changes::new());
        // what was there before is not taken from an admin
        let (source, mirror) = (with(SOURCE, &[]), with(MIRROR, &[]));
        let adopted = plan_of(&including(&[]), &source, &mirror);
        assert_eq!(adopted.at_stop, changes(&[("max.message.bytes", Some("1048588"))]));
    }

    fn plan_of(sync: &ConfigSync, source: &Entries, mirror: &Entries) -> Plan {
        plan(sync, (source, mirror), &Changes::new(), false)
    }

    #[test]
    fn a_segment_takes_every_batch() {
        let sync = ConfigSync::default();
        let plan = planned(&sync, &[("segment.bytes", "!16384")], &[]);
        assert_eq!(plan.changes, changes(&[("segment.bytes", Some("1048588"))]));
        assert_eq!(plan.at_stop["segment.bytes"], Some("1048576".into()));
    }

    #[test]
    fn what_is_owed_changes_and_not_the_topic() {
        let owed = changes(&[
            ("cleanup.policy", Some("compact")),
            ("retention.ms", Some("604800000")),
            ("retention.bytes", Some("-1")),
        ]);
        let source = with(SOURCE, &[("cleanup.policy", "!compact"), ("retention.ms", "!5")]);
        let staged = [("cleanup.policy", "!delete"), ("retention.ms", "!-1")];
        let mirror = with(MIRROR, &staged);
        let plan = plan(&ConfigSync::default(), (&source, &mirror), &owed, true);
        assert_eq!(plan.changes, Changes::new());
        assert_eq!(plan.owed["retention.ms"], Some("5".into()));
        assert_eq!(plan.owed["cleanup.policy"], Some("compact".into()));
    }

    #[test]
    fn a_key_that_the_destination_does_not_know_is_named() {
        let sync = including(&["preallocate"]);
        let plan = planned(&sync, &[("preallocate", "!true")], &[]);
        assert_eq!((plan.unknown, plan.changes), (vec!["preallocate".to_owned()], Changes::new()));
    }

    #[test]
    fn no_key_is_in_two_lists() {
        assert!(INCLUDABLE.iter().all(|key| !ALWAYS.contains(key)));
        assert!(INCLUDED.iter().all(|key| INCLUDABLE.contains(key)));
        assert!(INCLUDABLE.is_sorted());
    }
}
