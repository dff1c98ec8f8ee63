//! What a source holds that was never mirrored: the tails of topics that were promoted or failed
//! over, found by the seals that the journal's rows have. Nothing is counted that was not seen.
//!
//! It never writes to the source or into a mirror topic, and never takes the log of another topic,
//! or another history of the same, for a tail.

pub mod append;
pub mod export;
pub mod list;
pub mod topic;

use std::collections::BTreeMap;

use crate::audit::log::reader::Range;
use crate::audit::prefix::Ends;
use crate::control::filter;
use crate::control::row::Key;
use crate::control::row::LinkRow;
use crate::control::row::MirrorRow;
use crate::control::row::Origin;
use crate::control::row::Row;
use crate::control::row::Unreadable;
use crate::control::topic::Stage;
use crate::ids::LinkName;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::tail::list::Held;
use crate::wire::fetch::Isolation;

/// The rows of a journal, by key.
pub type Rows = BTreeMap<String, String>;

/// A link, and those of its mirror topics that were stopped.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// The link.
    pub link: LinkName,
    /// Its properties, secrets sealed; `None` where the config file has them.
    pub configs: Option<BTreeMap<String, String>>,
    /// By the mirror topic's name.
    pub topics: BTreeMap<TopicName, MirrorRow>,
}

/// All links that have stopped mirror topics, out of the rows that count; `only` narrows it down to
/// some topics, if it names any.
pub fn stopped(rows: &Rows, only: &[TopicName]) -> Result<Vec<Stopped>, Unreadable> {
    let mut links: BTreeMap<LinkName, LinkRow> = BTreeMap::new();
    let mut topics: BTreeMap<LinkName, BTreeMap<TopicName, MirrorRow>> = BTreeMap::new();
    for (text, value) in rows {
        let Some(key) = Key::parse(text) else { continue };
        match (&key, Row::parse(&key, value)?) {
            (Key::Link(name), Row::Link(row)) => drop(links.insert(name.clone(), row)),
            (Key::Mirror(link, topic), Row::Mirror(row)) => {
                let is_meant = only.is_empty() || only.contains(topic);
                if is_meant && matches!(row.stage, Stage::Sealing(_) | Stage::Stopped(_)) {
                    topics.entry(link.clone()).or_default().insert(topic.clone(), row);
                }
            }
            _ => {}
        }
    }
    let all = topics.into_iter().filter_map(|(link, topics)| {
        let row = links.remove(&link)?;
        let configs = (row.origin == Origin::Commanded).then_some(row.configs);
        Some(Stopped { link, configs, topics })
    });
    Ok(all.collect())
}

/// Whose own topic this is, where nobody else may write it.
pub fn internal(topic: &TopicName) -> Option<&'static str> {
    filter::owner(topic.as_str())
}

/// The link whose mirror topic this is, if it is one: what is copied is nobody else's to write.
pub fn owner(rows: &Rows, topic: &TopicName) -> Result<Option<LinkName>, Unreadable> {
    for (text, value) in rows {
        let Some(key) = Key::parse(text) else { continue };
        if !matches!(&key, Key::Mirror(_, name) if name == topic) {
            continue;
        }
        if let Row::Mirror(row) = Row::parse(&key, value)?
            && !matches!(row.stage, Stage::Stopped(_) | Stage::LetGo)
        {
            return Ok(Some(key.link().clone()));
        }
    }
    Ok(None)
}

/// A tail at its source; `None` where its topic has no name that is one.
fn range(both: Ends<'_>, held: &Held) -> Option<Range> {
    let at = |raw: Option<i64>| raw.and_then(Offset::new).unwrap_or(Offset::ZERO);
    let (from, end) = (at(held.from), at(held.to).max(at(held.from)));
    let topic = TopicName::new(&held.source_topic)?;
    let id = both.source.topic(&topic).map_or(TopicId::NIL, |topic| topic.id);
    let isolation = match both.committed_only {
        true => Isolation::ReadCommitted,
        false => Isolation::ReadUncommitted,
    };
    let tp = TopicPartition { topic, partition: PartitionId(held.partition) };
    Some(Range { tp, topic: id, isolation, from, end })
}
