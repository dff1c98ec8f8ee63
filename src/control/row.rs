//! The rows of the journal: what is remembered of links and mirror topics, typed and versioned.
//!
//! It never holds a position of records: the destination's end is the position.
//!
//! | key | value |
//! | --- | --- |
//! | `link/NAME` | [`LinkRow`] |
//! | `mirror/LINK/TOPIC` | [`MirrorRow`]; the topic is the mirror topic |
//! | `acl/LINK/BINDING` | [`AclRow`]: a binding of the link's ledger |
//!
//! Rows of exporters (`exporter/…`) are `schemas::row`.
//!
//! Values are JSON with `"v":1`; null deletes. A value of a later version is never guessed at.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::Serialize;

use crate::control::acls::AclRow;
use crate::control::row::lineage::Ancestor;
use crate::control::row::mirror::MirrorText;
use crate::control::row::reversal::Reversal;
use crate::control::task::last::LastSync;
use crate::control::topic::Stage;
use crate::ids::ClusterId;
use crate::ids::GroupName;
use crate::ids::LinkName;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TimestampMs;
use crate::ids::TopicId;
use crate::ids::TopicName;

mod mirror;

pub mod lineage;
pub mod old;
pub mod reversal;

/// The version of rows that this isolog writes.
pub const VERSION: u32 = 1;
/// The most partitions of one topic that a row may speak of: a controller makes a tenth of it at
/// once, and each becomes memory here.
pub const PARTITIONS_MAX: i32 = 100_000;

/// What keys begin with, those of rows to come among them: no link may be called so, since
/// isolog 0.1 wrote `LINK/TOPIC`.
pub const KINDS: [&str; 6] = ["link", "mirror", "order", "acl", "group", "exporter"];

/// Config keys and what they get: a value, or `None` for the broker's default.
pub type Changes = BTreeMap<String, Option<String>>;

/// Which row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Of a link.
    Link(LinkName),
    /// Of a mirror topic: its link, and its name at the destination.
    Mirror(LinkName, TopicName),
    /// Of a binding in a link's ledger (`acls::key_text`).
    Acl(LinkName, String),
}

impl Key {
    /// Reads what `Display` writes; `None` for keys of other kinds. No topic's name holds a slash,
    /// so a link's may.
    pub fn parse(text: &str) -> Option<Key> {
        if let Some(link) = text.strip_prefix("link/").filter(|link| !link.is_empty()) {
            return Some(Key::Link(LinkName(link.into())));
        }
        if let Some((link, binding)) = text.strip_prefix("acl/").and_then(|e| e.rsplit_once('/')) {
            let is_whole = !link.is_empty() && !binding.is_empty();
            return is_whole.then(|| Key::Acl(LinkName(link.into()), binding.to_owned()));
        }
        let (link, topic) = text.strip_prefix("mirror/")?.rsplit_once('/')?;
        let topic = TopicName::new(topic)?;
        (!link.is_empty()).then(|| Key::Mirror(LinkName(link.into()), topic))
    }

    /// The link that the row belongs to.
    pub fn link(&self) -> &LinkName {
        match self {
            Key::Link(link) | Key::Mirror(link, _) | Key::Acl(link, _) => link,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Link(link) => write!(f, "link/{link}"),
            Key::Mirror(link, topic) => write!(f, "mirror/{link}/{topic}"),
            Key::Acl(link, binding) => write!(f, "acl/{link}/{binding}"),
        }
    }
}

/// A row's value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "nearly all rows are of mirror topics")]
pub enum Row {
    /// Of a link.
    Link(LinkRow),
    /// Of a mirror topic.
    Mirror(MirrorRow),
    /// Of a binding.
    Acl(AclRow),
}

/// Who keeps a link's settings.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The config file: it wins, and the row holds no configs.
    Declared,
    /// REST and CLI: the row holds its configs.
    Commanded,
}

/// `link.mode`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LinkMode {
    /// Records come from the remote cluster to this one.
    Destination,
    /// Both ways, topic by topic.
    Bidirectional,
}

/// What is remembered of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRow {
    /// `cluster_link_id`: 22 letters, thrown when the link was created.
    pub id: String,
    /// `link.mode`.
    pub mode: LinkMode,
    /// Who keeps its settings.
    pub origin: Origin,
    /// The source cluster, once it has been reached or named.
    pub source: Option<ClusterId>,
    /// The properties of a commanded link, by name; secrets are references or sealed.
    pub configs: BTreeMap<String, String>,
    /// Grows with each change of the configs.
    pub generation: u64,
    /// Paused by an order.
    pub is_paused: bool,
    /// Being deleted: its mirror topics are let go, then its rows go.
    pub is_leaving: bool,
    /// Consumer groups that are not followed by order, by their names at the source.
    pub forgotten: BTreeSet<GroupName>,
    /// What isolog 0.1 remembered of it (`old`) is not all written as rows of today yet.
    pub is_taking_over: bool,
}

impl LinkRow {
    /// Its settings are here, and in no file.
    pub fn is_commanded(&self) -> bool {
        self.origin == Origin::Commanded
    }
}

/// How a mirror topic came to be.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MadeBy {
    /// By an order.
    Order,
    /// By an order at its source, which was its mirror and is reversed.
    Reversal,
    /// Named in `mirror.topics`.
    Name,
    /// Matched by a prefix of `mirror.topics`, or by `mirror.pattern`.
    Pattern,
    /// Matched by `auto.create.mirror.topics.filters` alone.
    Filter,
}

impl MadeBy {
    /// A person named it.
    pub fn is_ordered(self) -> bool {
        matches!(self, MadeBy::Order | MadeBy::Reversal)
    }
}

/// What stood at the mirror's name when it was decided to be set up.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing: the topic is ours to create.
    Absent,
    /// This topic, whose log must be a prefix of the source's.
    Adopted(TopicId),
    /// This topic, whose log parts from the source's: it is deleted first, unless it has more by
    /// then than `MirrorRow::replaced` says.
    Replaced(TopicId),
}

/// Where a sealed partition ends.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The offset of the seal: everything below it was mirrored.
    pub end: Offset,
    /// `last_source_fetch_offset`: the first offset of the source that was *not* mirrored.
    pub source_next: Option<Offset>,
    /// The source's log end offset as it was read after the seal of a promote: what lies from
    /// `source_next` up to here was not mirrored.
    pub source_end: Option<Offset>,
}

/// What is remembered of a mirror topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorRow {
    /// Its topic at the source.
    pub source_topic: TopicName,
    /// The id that the source topic had when it was first mirrored.
    pub source_id: TopicId,
    /// What the source topic is itself a mirror of, nearest first; as far as that is known.
    pub ancestors: Vec<Ancestor>,
    /// The mirror topic's own id, once it is there.
    pub mirror_id: Option<TopicId>,
    /// How many partitions are mirrored.
    pub partitions: i32,
    /// How often the topic has become a mirror again: an id is dead behind its seal.
    pub generation: u32,
    /// Where it is in its life.
    pub stage: Stage,
    /// Since when it is in that stage or pause.
    pub since: TimestampMs,
    /// Paused by an order.
    pub is_paused: bool,
    /// How it came to be.
    pub made_by: MadeBy,
    /// What stood there before.
    pub before: Before,
    /// Where the partitions of a topic end that is to be replaced: nobody was told of what comes
    /// behind.
    pub replaced: BTreeMap<PartitionId, Offset>,
    /// Where partitions begin that do not begin at 0.
    pub starts: BTreeMap<PartitionId, Offset>,
    /// Configs that are to be set when the topic is given back, or its prefix is gone.
    pub owed: Changes,
    /// What the source has of the configs that are different while the topic is mirrored: set
    /// when it stops.
    pub at_stop: Changes,
    /// What the topic is created with, beyond what its source has.
    pub configs: BTreeMap<String, String>,
    /// `replication.factor`; `None` is the destination's default.
    pub replicas: Option<i16>,
    /// Partitions that are sealed.
    pub sealed: BTreeMap<PartitionId, Sealed>,
    /// When a promote that still drains gives the topic back to mirroring.
    pub deadline: Option<TimestampMs>,
    /// A promote of it leaves behind what open transactions of the source hold back.
    pub abandons_open: bool,
    /// It swaps roles with its source.
    pub reversal: Option<Reversal>,
    /// How consumer groups stood when a promote was through.
    pub last_sync: Option<Box<LastSync>>,
    /// What a promote could not take over of the source's configs, for people.
    pub last_configs: Option<String>,
}

impl MirrorRow {
    /// How much of a write it takes, in rows of a topic with few partitions.
    pub fn weight(&self) -> usize {
        /// So many offsets of partitions are as long as the rest of a row.
        const OFFSETS: usize = 16;
        let offsets = self.starts.len() + self.replaced.len() + self.sealed.len();
        1 + offsets / OFFSETS
    }
}

/// Why a row cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Written by a later isolog.
    #[error(
        "row {key} of the journal was written by a later isolog (version {version}): start that one"
    )]
    Newer {
        /// Its key.
        key: String,
        /// Its version.
        version: u32,
    },
    /// It is not what it must be.
    #[error(
        "row {key} of the journal cannot be read ({why}): restore it with `isolog journal import`, \
         or delete it with `isolog journal delete {key}`"
    )]
    Wrong {
        /// Its key.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// It is of isolog 0.1, and is not what it must be.
    #[error(
        "row {key} of the journal, which isolog 0.1 wrote, cannot be read ({why}): restore it, or \
         write a null value under that key, which forgets what it says (docs/OPERATING.md, \
         \"Begin a topic anew\")"
    )]
    Old {
        /// Its key, as it can be shown.
        key: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Row {
    /// As the journal has it.
    pub fn to_json(&self) -> String {
        match self {
            Row::Link(row) => json(&LinkText::from(row)),
            Row::Mirror(row) => json(&MirrorText::from(row)),
            Row::Acl(row) => row.to_json(),
        }
    }

    /// Reads the value under a key.
    pub fn parse(key: &Key, text: &str) -> Result<Row, Unreadable> {
        let wrong = |why: String| Unreadable::Wrong { key: key.to_string(), why };
        let version: Version = serde_json::from_str(text).map_err(|e| wrong(told(&e)))?;
        if version.v != VERSION {
            return Err(Unreadable::Newer { key: key.to_string(), version: version.v });
        }
        let row = match key {
            Key::Link(_) => serde_json::from_str::<LinkText>(text)
                .map_err(|e| told(&e))
                .map(|text| Row::Link(text.into())),
            Key::Mirror(..) => serde_json::from_str::<MirrorText>(text)
                .map_err(|e| told(&e))
                .and_then(|text| Ok(Row::Mirror(text.try_into()?))),
            Key::Acl(_, binding) => AclRow::parse(binding, text).map(Row::Acl),
        };
        row.map_err(wrong)
    }
}

/// serde's words without the text that it read.
fn told(error: &serde_json::Error) -> String {
    format!("it is no such JSON at line {}, column {}", error.line(), error.column())
}

fn json(row: &impl Serialize) -> String {
    serde_json::to_string(row).expect("texts and numbers can be written")
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

#[derive(Serialize, Deserialize)]
struct LinkText {
    v: u32,
    id: String,
    mode: LinkMode,
    origin: Origin,
    source_cluster: Option<String>,
    configs: BTreeMap<String, String>,
    generation: u64,
    paused: bool,
    leaving: bool,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    forgotten: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    taking_over: bool,
}

impl From<&LinkRow> for LinkText {
    fn from(row: &LinkRow) -> LinkText {
        LinkText {
            v: VERSION,
            id: row.id.clone(),
            mode: row.mode,
            origin: row.origin,
            source_cluster: row.source.as_ref().map(ClusterId::to_string),
            configs: row.configs.clone(),
            generation: row.generation,
            paused: row.is_paused,
            leaving: row.is_leaving,
            forgotten: row.forgotten.iter().map(|group| group.as_str().to_owned()).collect(),
            taking_over: row.is_taking_over,
        }
    }
}

impl From<LinkText> for LinkRow {
    fn from(text: LinkText) -> LinkRow {
        LinkRow {
            id: text.id,
            mode: text.mode,
            origin: text.origin,
            source: text.source_cluster.map(|id| ClusterId(id.into())),
            configs: text.configs,
            generation: text.generation,
            is_paused: text.paused,
            is_leaving: text.leaving,
            forgotten: text.forgotten.iter().map(|group| GroupName::new(group)).collect(),
            is_taking_over: text.taking_over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::row::reversal::Had;
    use crate::control::row::reversal::Writers;
    use crate::control::topic::How;

    fn name(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    fn mirror() -> MirrorRow {
        let offset = |raw| Offset::new(raw).unwrap();
        let had = Had { value: Some("1".into()), is_own: true };
        let sealed = Sealed { end: offset(12), source_next: None, source_end: Some(offset(14)) };
        MirrorRow {
            source_topic: name("orders"),
            source_id: TopicId([1; 16]),
            ancestors: vec![Ancestor {
                cluster: ClusterId("far".into()),
                topic: name("o"),
                id: TopicId([3; 16]),
            }],
            mirror_id: Some(TopicId([2; 16])),
            partitions: 3,
            generation: 1,
            stage: Stage::Sealing(How::Failover),
            since: TimestampMs(1_700_000_000_000),
            is_paused: true,
            made_by: MadeBy::Filter,
            before: Before::Adopted(TopicId([2; 16])),
            replaced: BTreeMap::new(),
            starts: BTreeMap::from([(PartitionId(2), offset(40))]),
            owed: Changes::from([("retention.ms".into(), None)]),
            at_stop: Changes::from([("max.message.bytes".into(), Some("5".into()))]),
            configs: BTreeMap::from([("a".into(), "b".into())]),
            replicas: Some(3),
            sealed: BTreeMap::from([(PartitionId(0), sealed)]),
            deadline: Some(TimestampMs(5)),
            abandons_open: true,
            reversal: Some(Reversal { is_paused: true, writers: Writers::Stopped(had) }),
            last_sync: Some(Box::new(LastSync { synced: 3, ..LastSync::at(TimestampMs(9)) })),
            last_configs: Some("retention.ms: refused".into()),
        }
    }

    #[test]
    fn keys_read_back_what_they_show() {
        let link = |text: &str| LinkName(text.into());
        for key in [
            Key::Link(link("dr")),
            Key::Link(link("a b/ü")),
            Key::Mirror(link("dr"), name("orders.v1")),
            Key::Mirror(link("a/b"), name("x")),
            Key::Acl(link("a/b"), "TOPIC:LITERAL:x%2Fy".into()),
        ] {
            assert_eq!(Key::parse(&key.to_string()), Some(key));
        }
        for other in ["", "link/", "mirror/dr", "mirror//x", "mirror/dr/", "mirror/dr/a b", "dr/x"]
        {
            assert_eq!(Key::parse(other), None, "{other}");
        }
    }

    #[test]
    fn rows_read_back_what_they_write() {
        let link = LinkRow {
            id: "AAAAAAAAQACAAAAAAAAAAA".into(),
            mode: LinkMode::Bidirectional,
            origin: Origin::Commanded,
            source: Some(ClusterId("s".into())),
            configs: BTreeMap::from([("bootstrap.servers".into(), "a:9092".into())]),
            generation: 7,
            is_paused: true,
            is_leaving: false,
            forgotten: BTreeSet::from([GroupName::new("a/b\n")]),
            is_taking_over: false,
        };
        let check = |key: &str, row: Row| {
            let key = Key::parse(key).unwrap();
            assert_eq!(Row::parse(&key, &row.to_json()), Ok(row));
        };
        check("link/dr", Row::Link(link));
        check("mirror/dr/orders", Row::Mirror(mirror()));
        let fresh = MirrorRow { mirror_id: None, before: Before::Absent, ..mirror() };
        check("mirror/dr/orders", Row::Mirror(fresh));
        let key = Key::parse("mirror/dr/orders").unwrap();
        let json = Row::Mirror(mirror()).to_json();
        let older = json.replace(r#""at_stop":{"max.message.bytes":"5"},"#, "");
        let Ok(Row::Mirror(row)) = Row::parse(&key, &older) else { panic!("{older}") };
        assert!(older != json && row.at_stop.is_empty());
    }

    #[test]
    fn a_row_that_cannot_be_read_says_which_and_what_to_do() {
        let key = Key::parse("mirror/dr/orders").unwrap();
        let text = |json: &str| Row::parse(&key, json).unwrap_err().to_string();
        let good = Row::Mirror(mirror()).to_json();
        assert!(text(&good.replace("\"v\":1", "\"v\":2")).contains("a later isolog (version 2)"));
        for bad in [
            "".to_owned(),
            "{}".to_owned(),
            "{\"v\":1}".to_owned(),
            good.replace("\"orders\"", "\"or ders\""),
            good.replace("\"end\":12", "\"end\":-1"),
            good.replace("sealing", "dancing"),
            good.replace("\"partitions\":3", "\"partitions\":0"),
            good.replace("\"partitions\":3", "\"partitions\":2147483647"),
        ] {
            let told = text(&bad);
            assert!(told.contains("mirror/dr/orders") && told.contains("isolog journal"), "{told}");
        }
    }
}
