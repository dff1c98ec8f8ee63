//! The text of a mirror topic's row.
//!
//! It never guesses at what is wrong in one.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use super::Before;
use super::Changes;
use super::MadeBy;
use super::MirrorRow;
use super::PARTITIONS_MAX;
use super::Sealed;
use super::VERSION;
use crate::control::row::lineage::ANCESTORS_MAX;
use crate::control::row::lineage::Ancestor;
use crate::control::row::lineage::AncestorText;
use crate::control::row::reversal::Reversal;
use crate::control::row::reversal::ReversalText;
use crate::control::task::last::LastSync;
use crate::control::topic::Stage;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TimestampMs;
use crate::ids::TopicId;
use crate::ids::TopicName;

#[derive(Serialize, Deserialize)]
struct SealedText {
    end: i64,
    source_next: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_end: Option<i64>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct MirrorText {
    v: u32,
    source_topic: String,
    source_id: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ancestors: Vec<AncestorText>,
    mirror_id: Option<String>,
    partitions: i32,
    generation: u32,
    stage: Stage,
    since_ms: i64,
    paused: bool,
    made_by: MadeBy,
    adopted: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaced: Option<ReplacedText>,
    starts: BTreeMap<i32, i64>,
    owed: Changes,
    #[serde(default)]
    at_stop: Changes,
    configs: BTreeMap<String, String>,
    replicas: Option<i16>,
    sealed: BTreeMap<i32, SealedText>,
    deadline_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    abandons_open: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reversal: Option<ReversalText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_sync: Option<Box<LastSync>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_configs: Option<String>,
}

/// A topic that is to be replaced: its id, and where it ends.
#[derive(Serialize, Deserialize)]
struct ReplacedText {
    id: String,
    ends: BTreeMap<i32, i64>,
}

impl ReplacedText {
    fn of(row: &MirrorRow) -> Option<ReplacedText> {
        let Before::Replaced(id) = row.before else { return None };
        let ends = row.replaced.iter().map(|(at, end)| (at.0, end.get()));
        Some(ReplacedText { id: id.hex(), ends: ends.collect() })
    }
}

impl From<&MirrorRow> for MirrorText {
    fn from(row: &MirrorRow) -> MirrorText {
        let adopted = match row.before {
            Before::Absent | Before::Replaced(_) => None,
            Before::Adopted(id) => Some(id.hex()),
        };
        let sealed = row.sealed.iter().map(|(partition, sealed)| {
            let source_next = sealed.source_next.map(Offset::get);
            let source_end = sealed.source_end.map(Offset::get);
            (partition.0, SealedText { end: sealed.end.get(), source_next, source_end })
        });
        MirrorText {
            v: VERSION,
            source_topic: row.source_topic.to_string(),
            source_id: row.source_id.hex(),
            ancestors: row.ancestors.iter().map(AncestorText::from).collect(),
            mirror_id: row.mirror_id.map(|id| id.hex()),
            partitions: row.partitions,
            generation: row.generation,
            stage: row.stage,
            since_ms: row.since.0,
            paused: row.is_paused,
            made_by: row.made_by,
            adopted,
            replaced: ReplacedText::of(row),
            starts: row.starts.iter().map(|(at, start)| (at.0, start.get())).collect(),
            owed: row.owed.clone(),
            at_stop: row.at_stop.clone(),
            configs: row.configs.clone(),
            replicas: row.replicas,
            sealed: sealed.collect(),
            deadline_ms: row.deadline.map(|at| at.0),
            abandons_open: row.abandons_open,
            reversal: row.reversal.as_ref().map(ReversalText::from),
            last_sync: row.last_sync.clone(),
            last_configs: row.last_configs.clone(),
        }
    }
}

fn ancestors(all: Vec<AncestorText>) -> Result<Vec<Ancestor>, String> {
    match all.len() <= ANCESTORS_MAX {
        true => all.into_iter().map(Ancestor::try_from).collect(),
        false => Err(format!("{} ancestors: up to {ANCESTORS_MAX} are read", all.len())),
    }
}

impl TryFrom<MirrorText> for MirrorRow {
    type Error = String;

    fn try_from(text: MirrorText) -> Result<MirrorRow, String> {
        let id = |text: String| TopicId::parse(&text).ok_or(format!("{text:?} is no topic id"));
        let offset = |raw: i64| Offset::new(raw).ok_or(format!("{raw} is no offset"));
        let mut starts = BTreeMap::new();
        for (partition, start) in text.starts {
            starts.insert(PartitionId(partition), offset(start)?);
        }
        let mut sealed = BTreeMap::new();
        for (partition, one) in text.sealed {
            let source_next = one.source_next.map(offset).transpose()?;
            let source_end = one.source_end.map(offset).transpose()?;
            let one = Sealed { end: offset(one.end)?, source_next, source_end };
            sealed.insert(PartitionId(partition), one);
        }
        let mut before = text.adopted.map(id).transpose()?.map_or(Before::Absent, Before::Adopted);
        let mut replaced = BTreeMap::new();
        if let Some(ReplacedText { id: which, ends }) = text.replaced {
            before = Before::Replaced(id(which)?);
            for (partition, end) in ends {
                replaced.insert(PartitionId(partition), offset(end)?);
            }
        }
        let source_topic = TopicName::new(&text.source_topic);
        if !(1..=PARTITIONS_MAX).contains(&text.partitions) {
            let count = text.partitions;
            return Err(format!("no topic has {count} partitions: 1 to {PARTITIONS_MAX} are read"));
        }
        Ok(MirrorRow {
            source_topic: source_topic.ok_or("its source topic is no topic name")?,
            source_id: id(text.source_id)?,
            ancestors: ancestors(text.ancestors)?,
            mirror_id: text.mirror_id.map(id).transpose()?,
            partitions: text.partitions,
            generation: text.generation,
            stage: text.stage,
            since: TimestampMs(text.since_ms),
            is_paused: text.paused,
            made_by: text.made_by,
            before,
            replaced,
            starts,
            owed: text.owed,
            at_stop: text.at_stop,
            configs: text.configs,
            replicas: text.replicas,
            sealed,
            deadline: text.deadline_ms.map(TimestampMs),
            abandons_open: text.abandons_open,
            reversal: text.reversal.map(Reversal::from),
            last_sync: text.last_sync,
            last_configs: text.last_configs,
        })
    }
}
