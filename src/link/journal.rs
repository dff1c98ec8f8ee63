//! What a link must not forget: which topics it mirrors, by the ids both had at the beginning,
//! where it began, and which configs a topic gets once its front is gone.
//!
//! It never holds a position: the destination's log end is the position.
//!
//! One compacted topic at the destination, `__isolog`; up to three rows per topic, the first two
//! written before the first byte of that topic is appended, the third before its configs change:
//!
//! ```text
//! LINK/TOPIC         {"source_cluster":…,"source_topic":…,"destination_topic":…}
//! LINK/TOPIC/starts  {"source_topic":…,"starts":{"0":17,…}}          mirror.start.offset.spec
//! LINK/TOPIC/configs {"source_topic":…,"configs":{"cleanup.policy":"compact",…}}   sync::stage
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use crate::cluster::Cluster;
use crate::cluster::error::ClusterError;
use crate::cluster::keyed::KeyedLog;
use crate::cluster::keyed::Shown;
use crate::cluster::peer_text;
use crate::control;
use crate::control::row::Key;
use crate::control::row::Origin;
use crate::control::topic::Stage;
use crate::ids::ClusterId;
use crate::ids::LinkName;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TimestampMs;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::sync::stage::Changes;
use crate::sync::start::Starts;
use crate::sync::trouble::Kind;
use crate::sync::trouble::Trouble;

/// The journal's topic.
pub const TOPIC: &str = "__isolog";

/// A row's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    source_cluster: String,
    source_topic: String,
    destination_topic: String,
}

/// The value of a row of starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StartsRow {
    source_topic: String,
    starts: BTreeMap<i32, i64>,
}

/// The value of a row of configs; none left is none to set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ConfigsRow {
    source_topic: String,
    configs: Changes,
}

/// What follows a topic's name in the keys of its other rows; no legal name holds a slash.
const STARTS: &str = "/starts";
const CONFIGS: &str = "/configs";

/// The two ids of a topic.
pub type Ids = (TopicId, TopicId);

/// All rows of one link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// The ids of each topic.
    pub ids: BTreeMap<TopicName, Ids>,
    /// Where the mirror of a topic begins, of the source topic with that id.
    pub starts: BTreeMap<TopicName, (TopicId, Starts)>,
    /// Configs that are yet to be set, of the mirror of the source topic with that id.
    pub configs: BTreeMap<TopicName, (TopicId, Changes)>,
}

/// The journal of one link.
pub struct Journal {
    log: KeyedLog,
    link: LinkName,
    source: ClusterId,
    saved: Saved,
    /// Mirror topics of links that were created by order, and whose they are.
    claimed: BTreeMap<TopicName, LinkName>,
    /// A link of the same name was created by order.
    has_namesake: bool,
    /// The topic whose rows were read.
    topic: Shown,
}

/// What became of the journal's topic since it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It is not there.
    Gone,
    /// Another one goes by its name.
    Anew,
    /// It is not shown to us.
    Hidden,
    /// The destination says this when it is asked for it.
    Trouble(String),
}

impl Lost {
    /// What is told of it.
    pub fn trouble(&self) -> Trouble {
        let held = "what is mirrored goes on, and no other topic is begun";
        let (kind, text) = match self {
            Lost::Hidden => (
                Kind::Hidden,
                format!(
                    "the destination does not show us the journal: TOPIC_AUTHORIZATION_FAILED \
                     (29): grant what `isolog check` prints; {held} before"
                ),
            ),
            Lost::Trouble(why) => {
                (Kind::Journal, format!("the journal cannot be read: {why}; {held}"))
            }
            Lost::Gone | Lost::Anew => {
                let what = if *self == Lost::Gone { "is gone" } else { "was made anew" };
                let text = format!(
                    "the journal {what}: which topics were mirrored is not remembered by anybody \
                     but this process; {held}. See who deleted it, then start isolog again: it \
                     makes a new one, and takes the copies that are there for what they are"
                );
                (Kind::Journal, text)
            }
        };
        Trouble { subject: TOPIC.to_owned(), kind, text }
    }
}

/// What cannot be gone on from.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The topic cannot be reached, made or read.
    #[error("the journal ({TOPIC} at the destination): {0}")]
    Cluster(#[from] ClusterError),
    /// A row of this link is not what it must be.
    #[error(
        "the journal ({TOPIC} at the destination): row {key} cannot be read; write a null value \
         under that key to forget the topic, or restore the row"
    )]
    Row {
        /// Its key.
        key: String,
    },
    /// The link's name was used with another source.
    #[error(
        "the journal ({TOPIC} at the destination) knows this link with source cluster {was}, the \
         source now is {is}: give the new link another name, or correct bootstrap.servers"
    )]
    Source {
        /// The cluster id of before.
        was: String,
        /// The cluster id now.
        is: ClusterId,
    },
}

impl Journal {
    /// Reads the link's rows.
    pub async fn open(
        destination: Arc<Cluster>,
        source: ClusterId,
        link: LinkName,
        replicas: Option<i16>,
    ) -> Result<Journal, Unreadable> {
        let name = TopicName::new(TOPIC).expect("a legal name");
        let log = KeyedLog::open(destination, name, replicas).await?;
        let namesake = control::row::Key::Link(link.clone()).to_string();
        let is_read = |key: &str| own(key, &link).is_some() || is_of_mirror(key) || key == namesake;
        let rows = log.read(is_read).await?;
        let saved = parse(&rows, &link, &source)?;
        let (claimed, topic) = (claimed(&rows), log.shown());
        let has_namesake = rows.get(&namesake).is_some_and(|row| is_commanded(&link, row));
        Ok(Journal { log, link, source, saved, claimed, has_namesake, topic })
    }

    /// Whether the topic is still the one that was read, by metadata that were just read.
    pub async fn lost(&self) -> Result<Option<Lost>, ClusterError> {
        if self.log.shown() == self.topic {
            return Ok(None);
        }
        self.log.look().await?;
        Ok(match self.log.shown() {
            shown if shown == self.topic => None,
            Shown::There(_) => Some(Lost::Anew),
            Shown::Nothing => Some(Lost::Gone),
            Shown::Hidden => Some(Lost::Hidden),
            Shown::Trouble(why) => Some(Lost::Trouble(why)),
        })
    }

    /// Whose rows they are.
    pub fn link(&self) -> &LinkName {
        &self.link
    }

    /// The topics of earlier runs.
    pub fn saved(&self) -> &Saved {
        &self.saved
    }

    /// Mirror topics that a link created by order had when the journal was read, and which link.
    /// Nobody else may write into them.
    pub fn claimed(&self) -> &BTreeMap<TopicName, LinkName> {
        &self.claimed
    }

    /// Whether a link of the same name was created by order when the journal was read.
    pub fn has_namesake(&self) -> bool {
        self.has_namesake
    }

    /// Writes down what is new in `known`.
    pub async fn save(
        &mut self,
        known: &BTreeMap<TopicName, Ids>,
        now: TimestampMs,
    ) -> Result<(), ClusterError> {
        let new = known.iter().filter(|(name, ids)| self.saved.ids.get(name) != Some(ids));
        let rows: Vec<_> = new.map(|(name, ids)| self.row(name, *ids)).collect();
        if !rows.is_empty() {
            self.log.put(&rows, now).await?;
            self.saved.ids.extend(known.iter().map(|(name, ids)| (name.clone(), *ids)));
        }
        Ok(())
    }

    /// Writes down where the mirrors of topics begin.
    pub async fn save_starts(
        &mut self,
        new: BTreeMap<TopicName, (TopicId, Starts)>,
        now: TimestampMs,
    ) -> Result<(), ClusterError> {
        let rows = new.iter().map(|(name, (id, starts))| {
            let starts = starts.iter().map(|(partition, start)| (partition.0, start.get()));
            let row = StartsRow { source_topic: id.hex(), starts: starts.collect() };
            (format!("{}/{name}{STARTS}", self.link), json(&row))
        });
        let rows: Vec<_> = rows.collect();
        if !rows.is_empty() {
            self.log.put(&rows, now).await?;
            self.saved.starts.extend(new);
        }
        Ok(())
    }

    /// Writes down which configs topics get later; none: nothing is left to be set.
    pub async fn save_configs(
        &mut self,
        new: BTreeMap<TopicName, (TopicId, Changes)>,
        now: TimestampMs,
    ) -> Result<(), ClusterError> {
        let rows = new.iter().map(|(name, (id, configs))| {
            let row = ConfigsRow { source_topic: id.hex(), configs: configs.clone() };
            (format!("{}/{name}{CONFIGS}", self.link), json(&row))
        });
        let rows: Vec<_> = rows.collect();
        if !rows.is_empty() {
            self.log.put(&rows, now).await?;
            self.saved.configs.extend(new);
        }
        Ok(())
    }

    fn row(&self, name: &TopicName, (source, destination): Ids) -> (String, String) {
        let row = Row {
            source_cluster: self.source.to_string(),
            source_topic: source.hex(),
            destination_topic: destination.hex(),
        };
        (format!("{}/{name}", self.link), json(&row))
    }
}

fn json(row: &impl Serialize) -> String {
    serde_json::to_string(row).expect("texts and numbers can be written")
}

/// The topics that a link remembers, by the ids that both had; the error is for people.
pub fn remembered(
    rows: &BTreeMap<String, String>,
    link: &LinkName,
    source: &ClusterId,
) -> Result<BTreeMap<TopicName, Ids>, String> {
    parse(rows, link, source).map(|saved| saved.ids).map_err(|error| error.to_string())
}

fn is_of_mirror(key: &str) -> bool {
    matches!(Key::parse(key), Some(Key::Mirror(..)))
}

/// The mirror topics among the rows that have not stopped. A row that cannot be read counts: whose
/// topic it is, it is somebody's.
fn claimed(rows: &BTreeMap<String, String>) -> BTreeMap<TopicName, LinkName> {
    let claimed = rows.iter().filter_map(|(text, value)| {
        let key = Key::parse(text)?;
        let has_stopped = matches!(
            control::row::Row::parse(&key, value),
            Ok(control::row::Row::Mirror(row))
                if matches!(row.stage, Stage::Stopped(_) | Stage::LetGo)
        );
        match key {
            Key::Mirror(link, topic) if !has_stopped => Some((topic, link)),
            _ => None,
        }
    });
    claimed.collect()
}

/// Whether the row of a link is of one that was created by order; one that cannot be read is.
fn is_commanded(link: &LinkName, value: &str) -> bool {
    let row = control::row::Row::parse(&Key::Link(link.clone()), value);
    !matches!(row, Ok(control::row::Row::Link(row)) if row.origin == Origin::Declared)
}

/// What follows the link's name in the key of one of its rows.
fn own<'a>(key: &'a str, link: &LinkName) -> Option<&'a str> {
    key.strip_prefix(&*link.0)?.strip_prefix('/')
}

fn parse(
    rows: &BTreeMap<String, String>,
    link: &LinkName,
    source: &ClusterId,
) -> Result<Saved, Unreadable> {
    let mut saved = Saved::default();
    for (key, value) in rows {
        let Some(rest) = own(key, link) else { continue };
        let unreadable = || Unreadable::Row { key: peer_text(key.as_bytes()) };
        if let Some(topic) = rest.strip_suffix(STARTS) {
            let name = TopicName::new(topic).ok_or_else(unreadable)?;
            saved.starts.insert(name, starts(value).ok_or_else(unreadable)?);
        } else if let Some(topic) = rest.strip_suffix(CONFIGS) {
            let name = TopicName::new(topic).ok_or_else(unreadable)?;
            let row: ConfigsRow = serde_json::from_str(value).map_err(|_| unreadable())?;
            let id = TopicId::parse(&row.source_topic).ok_or_else(unreadable)?;
            saved.configs.insert(name, (id, row.configs));
        } else {
            let name = TopicName::new(rest).ok_or_else(unreadable)?;
            let row: Row = serde_json::from_str(value).map_err(|_| unreadable())?;
            if row.source_cluster != *source.0 {
                return Err(Unreadable::Source {
                    was: peer_text(row.source_cluster.as_bytes()),
                    is: source.clone(),
                });
            }
            let ids = TopicId::parse(&row.source_topic).zip(TopicId::parse(&row.destination_topic));
            saved.ids.insert(name, ids.ok_or_else(unreadable)?);
        }
    }
    Ok(saved)
}

fn starts(value: &str) -> Option<(TopicId, Starts)> {
    let row: StartsRow = serde_json::from_str(value).ok()?;
    let start = |(id, start): (i32, i64)| Some((PartitionId(id), Offset::new(start)?));
    let starts: Option<Starts> = row.starts.into_iter().map(start).collect();
    Some((TopicId::parse(&row.source_topic)?, starts?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(source: &str) -> String {
        let (a, b) = (TopicId([1; 16]).hex(), TopicId([2; 16]).hex());
        format!(r#"{{"source_cluster":"{source}","source_topic":"{a}","destination_topic":"{b}"}}"#)
    }

    fn parsed(rows: &[(&str, String)]) -> Result<Saved, Unreadable> {
        let rows = rows.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
        parse(&rows, &LinkName("dr".into()), &ClusterId("s".into()))
    }

    #[test]
    fn only_the_links_own_rows_are_read() {
        let saved = parsed(&[("dr/orders", row("s")), ("drei/users", "?".into())]).unwrap();
        let orders = TopicName::new("orders").unwrap();
        assert_eq!(saved.ids, BTreeMap::from([(orders, (TopicId([1; 16]), TopicId([2; 16])))]));
    }

    #[test]
    fn mirrors_of_links_that_were_ordered_are_somebodys() {
        let row = |stage: &str| {
            let id = TopicId([1; 16]).hex();
            format!(
                r#"{{"v":1,"source_topic":"a","source_id":"{id}","mirror_id":null,"partitions":1,
                "generation":0,"stage":{stage},"since_ms":0,"paused":false,"made_by":"order",
                "adopted":null,"starts":{{}},"owed":{{}},"configs":{{}},"replicas":null,
                "sealed":{{}},"deadline_ms":null}}"#
            )
        };
        let rows = [
            ("mirror/dr/a", row(r#""mirroring""#)),
            ("mirror/dr/b", row(r#"{"stopped":"promote"}"#)),
            ("mirror/dr/c", "of a later isolog".to_owned()),
            ("link/dr", "{}".to_owned()),
            ("eu/d", "{}".to_owned()),
        ];
        let rows = rows.map(|(key, value)| (key.to_owned(), value)).into();
        let names: Vec<String> = claimed(&rows).keys().map(ToString::to_string).collect();
        assert_eq!(names, ["a", "c"]);
    }

    #[test]
    fn starts_and_configs_come_back_as_they_were_written() {
        let (id, name) = (TopicId([1; 16]), TopicName::new("orders").unwrap());
        let starts = BTreeMap::from([(0, 17), (3, 0)]);
        let starts = json(&StartsRow { source_topic: id.hex(), starts });
        let real = [("cleanup.policy", Some("compact".to_owned())), ("retention.ms", None)];
        let configs: Changes = real.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        let row = json(&ConfigsRow { source_topic: id.hex(), configs: configs.clone() });
        let rows = [("dr/orders/starts", starts), ("dr/orders/configs", row)];
        let saved = parsed(&rows).unwrap();
        let at = |raw| Offset::new(raw).unwrap();
        let starts = Starts::from([(PartitionId(0), at(17)), (PartitionId(3), at(0))]);
        assert_eq!(saved.starts, BTreeMap::from([(name.clone(), (id, starts))]));
        assert_eq!(saved.configs, BTreeMap::from([(name, (id, configs))]));
        assert!(saved.ids.is_empty());
    }

    #[test]
    fn a_row_that_cannot_be_trusted_stops_the_link() {
        let text = |rows: &[(&str, String)]| parsed(rows).unwrap_err().to_string();
        assert!(text(&[("dr/orders", "{}".into())]).contains("dr/orders"));
        assert!(text(&[("dr/or ders", row("s"))]).contains("dr/or ders"));
        assert!(text(&[("dr/orders", row("other"))]).contains("other"));
        assert!(text(&[("dr/a/starts", "{}".into())]).contains("dr/a/starts"));
        let below = r#"{"source_topic":"AQEBAQEBAQEBAQEBAQEBAQ","starts":{"0":-1}}"#;
        assert!(text(&[("dr/a/starts", below.into())]).contains("dr/a/starts"));
        assert!(text(&[("dr/a/configs", "[]".into())]).contains("dr/a/configs"));
    }
}
