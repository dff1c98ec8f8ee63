//! Which configs a mirror topic needs, and which it takes over from its source.
//!
//! It never changes a topic that exists: what breaks exactness there is told, not mended.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::cluster::ConfigEntries;
use crate::cluster::ConfigEntry;
use crate::control::row::Changes;
use crate::control::row::MirrorRow;
use crate::control::rules::CLEANUP;
use crate::control::rules::COMPRESSION;
use crate::control::rules::NO_LIMIT;
use crate::control::rules::TIMESTAMPS;
pub use crate::control::task::configs::BATCH_BYTES;
use crate::control::task::configs::BATCH_BYTES_MIN;
use crate::control::task::configs::ConfigSync;
use crate::control::task::configs::Entries;
use crate::control::task::configs::Entry;
use crate::control::task::configs::SEGMENT_BYTES;
use crate::control::task::configs::SEGMENT_BYTES_MIN;
use crate::control::task::configs::plan;
use crate::mirror::facts::Takes;
use crate::mirror::facts::TimeLimits;
use crate::mirror::halt::Halt;

/// Limits of timestamps since Kafka 3.6 (KIP-937), and the one before.
const BEFORE: &str = TimeLimits::KEYS[0];
const AFTER: &str = TimeLimits::KEYS[1];
const LIMIT_BEFORE_3_6: &str = TimeLimits::KEYS[2];
const LIMITS: [&str; 2] = [BEFORE, AFTER];
/// What a new mirror topic takes over from its source, whatever level the source has it from: the
/// two brokers' defaults may differ, and retention decides which offsets are still there.
const TAKEN_OVER: [&str; 4] = [CLEANUP, "retention.ms", "retention.bytes", BATCH_BYTES];
/// What decides whether and when a log is cleaned, taken over where the source topic itself says
/// so: else the copy might never be compacted where the source is.
const TAKEN_IF_SET: [&str; 5] = [
    "segment.ms",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "max.compaction.lag.ms",
    "delete.retention.ms",
];
const KEYS_AT_SOURCE: [&str; 10] = {
    let ([a, b, c, d], [e, f, g, h, i]) = (TAKEN_OVER, TAKEN_IF_SET);
    [a, b, c, d, e, f, g, h, i, SEGMENT_BYTES]
};

/// The keys that are read at the source.
pub fn keys_at_source() -> &'static [&'static str] {
    &KEYS_AT_SOURCE
}

/// The keys that are read at the destination.
pub fn keys_at_destination() -> [&'static str; 8] {
    let [before, after, older] = TimeLimits::KEYS;
    [COMPRESSION.0, TIMESTAMPS.0, BATCH_BYTES, SEGMENT_BYTES, CLEANUP, before, after, older]
}

/// What the rules of config sync know of a topic's configs: nothing of what is kept secret.
pub fn entries(found: &ConfigEntries) -> Entries {
    let plain = found.iter().filter(|(_, entry)| !entry.is_sensitive);
    let entry = |(key, entry): (&String, &ConfigEntry)| {
        let (value, is_override) = (entry.value.clone(), entry.is_override);
        (key.clone(), Entry { value, is_override })
    };
    plain.map(entry).collect()
}

/// What the source has, but for what a reversal has set there.
pub fn as_it_was<'a>(source: &'a Entries, row: &MirrorRow) -> Cow<'a, Entries> {
    let (Some(reversal), Some(entry)) = (&row.reversal, source.get(BATCH_BYTES)) else {
        return Cow::Borrowed(source);
    };
    let at_stop = row.at_stop.get(BATCH_BYTES).and_then(Option::as_ref);
    let value = reversal.as_it_was(entry.value.as_deref(), at_stop);
    let entry = Entry { value, ..entry.clone() };
    let mut source = source.clone();
    source.insert(BATCH_BYTES.to_owned(), entry);
    Cow::Owned(source)
}

/// The configs of a new mirror topic; `is_old` for a destination before Kafka 3.6.
pub fn for_new(source: &ConfigEntries, is_old: bool) -> BTreeMap<String, String> {
    let taken = TAKEN_OVER.iter().filter_map(|key| {
        let value = source.get(*key)?.value.clone()?;
        Some((key.to_string(), value))
    });
    let set = TAKEN_IF_SET.iter().filter_map(|key| {
        let entry = source.get(*key).filter(|entry| entry.is_override)?;
        Some((key.to_string(), entry.value.clone()?))
    });
    let segment = segment_bytes(source).map(|bytes| (SEGMENT_BYTES.to_owned(), bytes.to_string()));
    let large = batch_bytes(source).map(|bytes| (BATCH_BYTES.to_owned(), bytes.to_string()));
    let taken = taken.chain(set).chain(segment).chain(large);
    let limits: &[&str] = if is_old { &[LIMIT_BEFORE_3_6] } else { &LIMITS };
    let fixed = [COMPRESSION, TIMESTAMPS].into_iter();
    let fixed = fixed.chain(limits.iter().map(|key| (*key, NO_LIMIT)));
    taken.chain(fixed.map(|(key, value)| (key.to_owned(), value.to_owned()))).collect()
}

/// The same configs for a destination before Kafka 3.6, where it turns out to be one.
pub fn for_old(new: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut old = new.clone();
    LIMITS.iter().for_each(|key| drop(old.remove(*key)));
    old.insert(LIMIT_BEFORE_3_6.to_owned(), NO_LIMIT.to_owned());
    old
}

/// What a new mirror topic gets when it stops before its configs were compared for the first time.
/// Which limits of timestamps the destination knows is not known by then: they stay as they are.
pub fn at_first_stop(sync: &ConfigSync, source: &ConfigEntries) -> Changes {
    let own = |(key, value)| (key, Entry { value: Some(value), is_override: true });
    let made: Entries = for_new(source, false).into_iter().map(own).collect();
    let mut plan = plan(sync, (&entries(source), &made), &Changes::new(), true);
    plan.at_stop.retain(|key, _| !TimeLimits::KEYS.contains(&key.as_str()));
    plan.at_stop
}

/// What the source topic takes, or more.
fn batch_bytes(source: &ConfigEntries) -> Option<u64> {
    let bytes = source.get(BATCH_BYTES)?.value.as_deref()?.parse::<u64>().ok()?;
    Some(bytes.max(BATCH_BYTES_MIN))
}

/// The source topic's own size of segments, but never one that its largest batch does not fit into:
/// a broker refuses such a batch (RECORD_LIST_TOO_LARGE, 18).
fn segment_bytes(source: &ConfigEntries) -> Option<u64> {
    let bytes = |key: &str| source.get(key)?.value.as_deref()?.parse::<u64>().ok();
    source.get(SEGMENT_BYTES).filter(|entry| entry.is_override)?;
    Some(bytes(SEGMENT_BYTES)?.max(bytes(BATCH_BYTES)?).max(SEGMENT_BYTES_MIN))
}

/// What of an existing topic's configs breaks exactness, if anything.
pub fn broken(destination: &ConfigEntries) -> Option<Halt> {
    [COMPRESSION, TIMESTAMPS].into_iter().find_map(|(key, needs)| {
        let is = destination.get(key)?.value.clone()?;
        (is != needs).then(|| Halt::Config { key: key.to_owned(), is, needs: needs.to_owned() })
    })
}

/// What the topic takes, as far as its configs tell.
pub fn takes(configs: &ConfigEntries) -> Takes {
    let value = |key: &str| configs.get(key)?.value.as_deref();
    let bytes = |key: &str| value(key)?.parse::<usize>().ok();
    let limit = |key: &str| value(key)?.parse::<i64>().ok().filter(|limit| *limit < i64::MAX);
    Takes {
        batch_bytes_max: bytes(BATCH_BYTES).into_iter().chain(bytes(SEGMENT_BYTES)).min(),
        is_staged: false,
        times: TimeLimits {
            before_ms: limit(BEFORE),
            after_ms: limit(AFTER),
            difference_ms: limit(LIMIT_BEFORE_3_6),
        },
        is_compacted: value(CLEANUP).map(|policy| policy.contains("compact")),
        leaves_batches: value(COMPRESSION.0).map(|codec| codec == COMPRESSION.1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ConfigEntry;

    fn entries(rows: &[(&str, &str)]) -> ConfigEntries {
        let entry = |value: &str| ConfigEntry {
            value: Some(value.to_owned()),
            is_override: false,
            is_sensitive: false,
        };
        rows.iter().map(|(key, value)| (key.to_string(), entry(value))).collect()
    }

    #[test]
    fn a_topic_that_stops_at_once_gets_what_its_source_has() {
        let source = entries(&[
            ("message.timestamp.type", "LogAppendTime"),
            ("compression.type", "zstd"),
            ("max.message.bytes", "2097152"),
            ("retention.ms", "1000"),
            ("message.timestamp.after.max.ms", "3600000"),
        ]);
        let given = at_first_stop(&ConfigSync::default(), &source);
        let value = |key: &str| given.get(key).cloned().flatten();
        assert_eq!(value("message.timestamp.type").as_deref(), Some("LogAppendTime"));
        assert_eq!(value("max.message.bytes").as_deref(), Some("2097152"));
        let keys: Vec<&str> = given.keys().map(String::as_str).collect();
        assert_eq!(keys, ["compression.type", "max.message.bytes", "message.timestamp.type"]);
    }

    #[test]
    fn a_new_topic_keeps_what_the_source_keeps_and_what_exactness_needs() {
        let source = entries(&[("cleanup.policy", "compact"), ("max.message.bytes", "2000000")]);
        let new = for_new(&source, false);
        let check = |key: &str, value: &str| assert_eq!(new.get(key).unwrap(), value);
        check("cleanup.policy", "compact");
        // what it holds may be from a time when it took more
        check("max.message.bytes", &BATCH_BYTES_MIN.to_string());
        let vast = for_new(&entries(&[("max.message.bytes", "99000000")]), false);
        assert_eq!(vast.get("max.message.bytes").unwrap(), "99000000");
        check("compression.type", "producer");
        check("message.timestamp.type", "CreateTime");
        check("message.timestamp.after.max.ms", NO_LIMIT);
        assert!(!new.contains_key(LIMIT_BEFORE_3_6));
        assert!(for_new(&source, true).contains_key(LIMIT_BEFORE_3_6));
        assert_eq!(for_old(&new), for_new(&source, true));
    }

    #[test]
    fn a_new_topic_is_cleaned_as_often_as_its_source_says() {
        let mut source = entries(&[
            ("max.message.bytes", "2000000"),
            ("segment.bytes", "3000000"),
            ("segment.ms", "3000"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("delete.retention.ms", "5"),
        ]);
        let new = for_new(&source, false);
        let cleaning = |new: &BTreeMap<String, String>| {
            let of = |key: &&str| Some((key.to_string(), new.get(*key)?.clone()));
            TAKEN_IF_SET.iter().chain([&SEGMENT_BYTES]).filter_map(of).collect::<Vec<_>>()
        };
        assert!(cleaning(&new).is_empty(), "a broker's defaults are its own: {new:?}");
        source.values_mut().for_each(|entry| entry.is_override = true);
        let own = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let want = [
            own("segment.ms", "3000"),
            own("min.cleanable.dirty.ratio", "0.01"),
            own("delete.retention.ms", "5"),
            own("segment.bytes", "3000000"),
        ];
        assert_eq!(cleaning(&for_new(&source, false)), want);
    }

    #[test]
    fn segments_are_never_smaller_than_batches() {
        let check = |segment: &str, batch: &str, want: &str| {
            let mut source = entries(&[("segment.bytes", segment), ("max.message.bytes", batch)]);
            source.values_mut().for_each(|entry| entry.is_override = true);
            assert_eq!(for_new(&source, false).get("segment.bytes").unwrap(), want);
        };
        check("16384", "1048588", "1048588");
        check("16384", "1000", "1048576");
        check("2000000", "1048588", "2000000");
    }

    #[test]
    fn every_key_that_is_taken_over_is_read() {
        let of = |key: &&str| keys_at_source().contains(key);
        assert!(TAKEN_OVER.iter().chain(&TAKEN_IF_SET).chain([&SEGMENT_BYTES]).all(of));
    }

    #[test]
    fn a_topic_that_recompresses_or_restamps_is_told() {
        assert_eq!(broken(&entries(&[("compression.type", "producer")])), None);
        let halt = broken(&entries(&[("compression.type", "zstd")])).unwrap();
        assert!(halt.to_string().contains("compression.type=zstd"));
        let halt = broken(&entries(&[("message.timestamp.type", "LogAppendTime")])).unwrap();
        assert_eq!(halt.label(), "DESTINATION_CONFIG");
    }

    #[test]
    fn what_the_destination_takes_is_known_or_said_to_be_unknown() {
        assert_eq!(takes(&entries(&[])), Takes::default());
        let found = takes(&entries(&[
            ("max.message.bytes", "77"),
            ("segment.bytes", "70"),
            ("cleanup.policy", "compact,delete"),
            ("compression.type", "producer"),
        ]));
        let want = (Some(70), Some(true), Some(true));
        assert_eq!((found.batch_bytes_max, found.is_compacted, found.leaves_batches), want);
        let (day, none) = ("86400000", i64::MAX.to_string());
        let rows = [(BEFORE, &none[..]), (AFTER, day)];
        let times = TimeLimits { after_ms: Some(86_400_000), ..TimeLimits::default() };
        assert_eq!(takes(&entries(&rows)).times, times);
        let found = takes(&entries(&[("cleanup.policy", ""), ("compression.type", "lz4")]));
        assert_eq!((found.is_compacted, found.leaves_batches), (Some(false), Some(false)));
    }
}
