//! Which configs a mirror topic needs, and which it takes over from its source.
//!
//! It never changes a topic that exists: what breaks exactness there is told, not mended.

use std::collections::BTreeMap;

use crate::cluster::ConfigEntries;
use crate::mirror::facts::Takes;
use crate::mirror::halt::Halt;

/// As long as a broker can count: no timestamp of a source is too early or too late.
const NO_LIMIT: &str = "9223372036854775807";
/// The broker leaves the codec alone.
pub const COMPRESSION: (&str, &str) = ("compression.type", "producer");
/// The broker leaves the timestamps alone.
pub const TIMESTAMPS: (&str, &str) = ("message.timestamp.type", "CreateTime");
/// What becomes of old records.
const CLEANUP: &str = "cleanup.policy";
/// How large a file of the log may be: no batch may be larger.
const SEGMENT_BYTES: &str = "segment.bytes";
/// How large a batch may be.
pub const BATCH_BYTES: &str = "max.message.bytes";
/// Limits of timestamps since Kafka 3.6 (KIP-937), and the one before.
const LIMITS: [&str; 2] = ["message.timestamp.before.max.ms", "message.timestamp.after.max.ms"];
const LIMIT_BEFORE_3_6: &str = "message.timestamp.difference.max.ms";
/// What a new mirror topic takes over from its source, whatever level the source has it from: the
/// two brokers' defaults may differ, and retention decides which offsets are still there.
const TAKEN_OVER: [&str; 4] = [CLEANUP, "retention.ms", "retention.bytes", BATCH_BYTES];

/// The keys that are read at the source.
pub fn keys_at_source() -> &'static [&'static str] {
    &TAKEN_OVER
}

/// The keys that are read at the destination.
pub fn keys_at_destination() -> [&'static str; 5] {
    [COMPRESSION.0, TIMESTAMPS.0, BATCH_BYTES, SEGMENT_BYTES, CLEANUP]
}

/// The configs of a new mirror topic; `is_old` for a destination before Kafka 3.6.
pub fn for_new(source: &ConfigEntries, is_old: bool) -> BTreeMap<String, String> {
    let taken = TAKEN_OVER.iter().filter_map(|key| {
        let value = source.get(*key)?.value.clone()?;
        Some((key.to_string(), value))
    });
    let limits: &[&str] = if is_old { &[LIMIT_BEFORE_3_6] } else { &LIMITS };
    let fixed = [COMPRESSION, TIMESTAMPS].into_iter();
    let fixed = fixed.chain(limits.iter().map(|key| (*key, NO_LIMIT)));
    taken.chain(fixed.map(|(key, value)| (key.to_owned(), value.to_owned()))).collect()
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
    Takes {
        batch_bytes_max: bytes(BATCH_BYTES).into_iter().chain(bytes(SEGMENT_BYTES)).min(),
        is_staged: false,
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
    fn a_new_topic_keeps_what_the_source_keeps_and_what_exactness_needs() {
        let source = entries(&[("cleanup.policy", "compact"), ("max.message.bytes", "2000000")]);
        let new = for_new(&source, false);
        let check = |key: &str, value: &str| assert_eq!(new.get(key).unwrap(), value);
        check("cleanup.policy", "compact");
        check("max.message.bytes", "2000000");
        check("compression.type", "producer");
        check("message.timestamp.type", "CreateTime");
        check("message.timestamp.after.max.ms", NO_LIMIT);
        assert!(!new.contains_key(LIMIT_BEFORE_3_6));
        assert!(for_new(&source, true).contains_key(LIMIT_BEFORE_3_6));
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
        let found = takes(&entries(&[("cleanup.policy", ""), ("compression.type", "lz4")]));
        assert_eq!((found.is_compacted, found.leaves_batches), (Some(false), Some(false)));
    }
}
