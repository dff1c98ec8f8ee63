//! What a link must not forget: which topics it mirrors, by the ids both had at the beginning.
//!
//! It never holds a position: the destination's log end is the position.
//!
//! One compacted topic at the destination, `__isolog`; a row per topic, written before the first
//! byte of that topic is appended:
//!
//! ```text
//! key    LINK/TOPIC
//! value  {"source_cluster":…,"source_topic":…,"destination_topic":…}
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use crate::cluster::Cluster;
use crate::cluster::error::ClusterError;
use crate::cluster::keyed::KeyedLog;
use crate::ids::ClusterId;
use crate::ids::LinkName;
use crate::ids::TimestampMs;
use crate::ids::TopicId;
use crate::ids::TopicName;

/// The journal's topic.
pub const TOPIC: &str = "__isolog";

/// A row's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    source_cluster: String,
    source_topic: String,
    destination_topic: String,
}

/// The two ids of a topic.
pub type Ids = (TopicId, TopicId);

/// The journal of one link.
pub struct Journal {
    log: KeyedLog,
    link: LinkName,
    source: ClusterId,
    saved: BTreeMap<TopicName, Ids>,
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
        let rows = log.read().await?;
        let saved = parse(&rows, &link, &source)?;
        Ok(Journal { log, link, source, saved })
    }

    /// The topics of earlier runs.
    pub fn saved(&self) -> &BTreeMap<TopicName, Ids> {
        &self.saved
    }

    /// Writes down what is new in `known`.
    pub async fn save(
        &mut self,
        known: &BTreeMap<TopicName, Ids>,
        now: TimestampMs,
    ) -> Result<(), ClusterError> {
        let new = known.iter().filter(|(name, ids)| self.saved.get(name) != Some(ids));
        let rows: Vec<_> = new.map(|(name, ids)| self.row(name, *ids)).collect();
        if !rows.is_empty() {
            self.log.put(&rows, now).await?;
            self.saved.extend(known.iter().map(|(name, ids)| (name.clone(), *ids)));
        }
        Ok(())
    }

    fn row(&self, name: &TopicName, (source, destination): Ids) -> (String, String) {
        let row = Row {
            source_cluster: self.source.to_string(),
            source_topic: source.to_string(),
            destination_topic: destination.to_string(),
        };
        let value = serde_json::to_string(&row).expect("three strings can be written");
        (format!("{}/{name}", self.link), value)
    }
}

fn parse(
    rows: &BTreeMap<String, String>,
    link: &LinkName,
    source: &ClusterId,
) -> Result<BTreeMap<TopicName, Ids>, Unreadable> {
    let mut saved = BTreeMap::new();
    for (key, value) in rows {
        let Some(topic) = key.strip_prefix(&*link.0).and_then(|rest| rest.strip_prefix('/')) else {
            continue;
        };
        let unreadable = || Unreadable::Row { key: key.clone() };
        let name = TopicName::new(topic).ok_or_else(unreadable)?;
        let row: Row = serde_json::from_str(value).map_err(|_| unreadable())?;
        if row.source_cluster != *source.0 {
            return Err(Unreadable::Source { was: row.source_cluster, is: source.clone() });
        }
        let ids = TopicId::parse(&row.source_topic).zip(TopicId::parse(&row.destination_topic));
        saved.insert(name, ids.ok_or_else(unreadable)?);
    }
    Ok(saved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(source: &str) -> String {
        let (a, b) = (TopicId([1; 16]), TopicId([2; 16]));
        format!(r#"{{"source_cluster":"{source}","source_topic":"{a}","destination_topic":"{b}"}}"#)
    }

    fn parsed(rows: &[(&str, String)]) -> Result<BTreeMap<TopicName, Ids>, Unreadable> {
        let rows = rows.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
        parse(&rows, &LinkName("dr".into()), &ClusterId("s".into()))
    }

    #[test]
    fn only_the_links_own_rows_are_read() {
        let saved = parsed(&[("dr/orders", row("s")), ("drei/users", "?".into())]).unwrap();
        let orders = TopicName::new("orders").unwrap();
        assert_eq!(saved, BTreeMap::from([(orders, (TopicId([1; 16]), TopicId([2; 16])))]));
    }

    #[test]
    fn a_row_that_cannot_be_trusted_stops_the_link() {
        let text = |rows: &[(&str, String)]| parsed(rows).unwrap_err().to_string();
        assert!(text(&[("dr/orders", "{}".into())]).contains("dr/orders"));
        assert!(text(&[("dr/or ders", row("s"))]).contains("dr/or ders"));
        assert!(text(&[("dr/orders", row("other"))]).contains("other"));
    }
}
