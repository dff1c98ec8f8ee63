//! The words of the house: offsets, epochs, brokers, partitions, topics and the two sides.
//!
//! It never holds behaviour beyond arithmetic, parsing and display of these words.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The longest topic name a Kafka broker accepts, in bytes (`Topic` of its `common.internals`).
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// How long a topic id is in base64url without padding.
const SHOWN_LETTERS: usize = 22;

/// A position in a partition's log, never negative.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(i64);

impl Offset {
    /// The first offset of any log.
    pub const ZERO: Offset = Offset(0);

    /// `None` for the negative numbers that the wire uses as "unknown".
    pub const fn new(raw: i64) -> Option<Offset> {
        if raw < 0 { None } else { Some(Offset(raw)) }
    }

    /// The number as the wire has it.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The offset `count` places later, or `None` past 2^63 - 1.
    pub fn plus(self, count: u64) -> Option<Offset> {
        self.0.checked_add_unsigned(count).map(Offset)
    }

    /// How many offsets lie between `self` and a later one; zero when `later` is not later.
    pub fn distance_to(self, later: Offset) -> u64 {
        u64::try_from(later.0 - self.0).unwrap_or(0)
    }

    /// The producer sequence of the record at this offset: offset mod 2^31 (`docs/OFFSETS.md`).
    pub fn sequence(self) -> i32 {
        (self.0 & i64::from(i32::MAX)) as i32
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A leader epoch; `NONE` (-1) where a log or a broker does not know one.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaderEpoch(pub i32);

impl LeaderEpoch {
    /// What the wire says for "no epoch".
    pub const NONE: LeaderEpoch = LeaderEpoch(-1);
}

impl fmt::Display for LeaderEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A broker's node id inside its cluster.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerId(pub i32);

impl fmt::Display for BrokerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A partition's number inside its topic.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub i32);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A producer id, as idempotent batches carry it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(pub i64);

/// A time in milliseconds since 1970-01-01 UTC, as records carry it; -1 is "none".
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimestampMs(pub i64);

/// A topic's name, checked against Kafka's own rule; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// `None` unless `name` is 1 to 249 bytes of `[a-zA-Z0-9._-]` and neither `.` nor `..`.
    pub fn new(name: &str) -> Option<TopicName> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let sized = !name.is_empty() && name.len() <= TOPIC_NAME_BYTES_MAX;
        let ok = sized && name != "." && name != ".." && name.bytes().all(legal);
        ok.then(|| TopicName(Arc::from(name)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A topic's identity: a recreated topic has the same name and another id (KIP-516).
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// What a broker without topic ids says.
    pub const NIL: TopicId = TopicId([0; 16]);

    /// 32 hex digits with dashes, as the journal and state files have it since the first release.
    pub fn hex(&self) -> String {
        let digits = |(at, byte): (usize, &u8)| {
            let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
            format!("{dash}{byte:02x}")
        };
        self.0.iter().enumerate().map(digits).collect()
    }

    /// Reads what `hex` writes (32 hex digits, dashes wherever), and what `Display` shows: the two
    /// differ in length.
    pub fn parse(text: &str) -> Option<TopicId> {
        if text.len() == SHOWN_LETTERS {
            return URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(TopicId);
        }
        let digits: Vec<u32> =
            text.chars().filter(|c| *c != '-').map(|c| c.to_digit(16)).collect::<Option<_>>()?;
        let pairs = digits.chunks(2).map(|pair| Some((pair.first()? << 4 | pair.get(1)?) as u8));
        let bytes: Vec<u8> = pairs.collect::<Option<_>>()?;
        bytes.try_into().ok().map(TopicId)
    }
}

/// As Kafka's tools show it (`kafka-topics.sh --describe`): base64url without padding.
impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One partition of one topic, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition inside it.
    pub partition: PartitionId,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// One mirror partition: a partition of a topic of the source, and the partition of the same number
/// of the mirror topic that copies it. The two topics may have two names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MirrorPartition {
    /// Whose it is.
    pub link: LinkName,
    /// The topic at the source.
    pub source_topic: TopicName,
    /// The topic at the destination.
    pub mirror_topic: TopicName,
    /// The partition inside both.
    pub partition: PartitionId,
}

impl MirrorPartition {
    /// What the source calls it.
    pub fn source(&self) -> TopicPartition {
        TopicPartition { topic: self.source_topic.clone(), partition: self.partition }
    }

    /// What that side calls its topic.
    pub fn topic(&self, side: Side) -> &TopicName {
        match side {
            Side::Source => &self.source_topic,
            Side::Destination => &self.mirror_topic,
        }
    }

    /// What the destination calls it.
    pub fn mirror(&self) -> TopicPartition {
        TopicPartition { topic: self.mirror_topic.clone(), partition: self.partition }
    }
}

/// The mirror's name, and the source's where that is another one.
impl fmt::Display for MirrorPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.mirror_topic, self.partition)?;
        match self.source_topic == self.mirror_topic {
            true => Ok(()),
            false => write!(f, " (mirror of {}-{})", self.source_topic, self.partition),
        }
    }
}

/// Numbers the times that a partition was wanted anew: what comes back late under an older number
/// is known for what it is.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A cluster's own id, as Metadata tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub Arc<str>);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A link's name, as the config has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkName(pub Arc<str>);

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// So much of a group's name is shown.
const GROUP_CHARS_SHOWN_MAX: usize = 200;

/// The name of a consumer group: any text, even none; cheap to clone. What is shown of it is
/// bounded and steers no terminal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(Arc<str>);

impl GroupName {
    /// The group of that name.
    pub fn new(name: &str) -> GroupName {
        GroupName(Arc::from(name))
    }

    /// The name as brokers know it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("\"\"");
        }
        let shown = self.0.chars().take(GROUP_CHARS_SHOWN_MAX);
        shown.flat_map(char::escape_debug).try_for_each(|letter| write!(f, "{letter}"))?;
        let is_cut = self.0.chars().nth(GROUP_CHARS_SHOWN_MAX).is_some();
        if is_cut { f.write_str("...") } else { Ok(()) }
    }
}

/// Which of the two clusters.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Records come from here.
    Source,
    /// Records go there.
    Destination,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Source => "source",
            Side::Destination => "destination",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_the_offset_mod_two_to_the_31() {
        let check = |offset: i64, sequence: i32| {
            assert_eq!(Offset::new(offset).unwrap().sequence(), sequence, "offset {offset}");
        };
        check(0, 0);
        check(i64::from(i32::MAX), i32::MAX);
        check(1 << 31, 0);
        check((1 << 31) + 7, 7);
        check(i64::MAX, i32::MAX);
    }

    #[test]
    fn topic_names_follow_the_brokers_rule() {
        for good in ["a", "orders.v1", "_x-Y", &"a".repeat(249)] {
            assert!(TopicName::new(good).is_some(), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "é", &"a".repeat(250)] {
            assert!(TopicName::new(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_topic_id_is_shown_as_kafka_does_and_kept_as_hex() {
        let id = TopicId(std::array::from_fn(|at| at as u8 * 17));
        assert_eq!(TopicId::parse(&id.hex()), Some(id));
        assert_eq!(id.hex(), "00112233-4455-6677-8899-aabbccddeeff");
        // what java.util.UUID of those digits is as org.apache.kafka.common.Uuid
        assert_eq!(id.to_string(), "ABEiM0RVZneImaq7zN3u_w");
        assert_eq!(TopicId::parse("ABEiM0RVZneImaq7zN3u_w"), Some(id));
        let strange = "ABEiM0RVZneImaq7zN3u/w";
        for bad in ["", "00", "zz", &"0".repeat(31), &"0".repeat(34), "é", strange] {
            assert_eq!(TopicId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_mirror_partition_has_a_name_on_each_side() {
        let name = |name: &str| TopicName::new(name).unwrap();
        let mut one = MirrorPartition {
            link: LinkName("dr".into()),
            source_topic: name("orders"),
            mirror_topic: name("orders"),
            partition: PartitionId(3),
        };
        assert_eq!(one.to_string(), "orders-3");
        one.mirror_topic = name("west.orders");
        assert_eq!(one.to_string(), "west.orders-3 (mirror of orders-3)");
        assert_eq!(
            (one.source().to_string(), one.mirror().to_string()),
            ("orders-3".into(), "west.orders-3".into())
        );
    }

    #[test]
    fn a_groups_name_is_any_text_and_is_shown_safely() {
        assert_eq!(GroupName::new("billing").to_string(), "billing");
        assert_eq!(GroupName::new("").to_string(), "\"\"");
        assert_eq!(GroupName::new("a\u{1b}[2J\nb\u{202e}").to_string(), "a\\u{1b}[2J\\nb\\u{202e}");
        let long = GroupName::new(&"x".repeat(32 << 10)).to_string();
        assert_eq!(long.len(), GROUP_CHARS_SHOWN_MAX + 3);
    }

    #[test]
    fn offsets_do_not_wrap() {
        assert_eq!(Offset::new(-1), None);
        assert_eq!(Offset::new(i64::MAX).unwrap().plus(1), None);
        assert_eq!(Offset::ZERO.plus(u64::MAX), None);
        assert_eq!(Offset::new(9).unwrap().distance_to(Offset::ZERO), 0);
    }
}
