//! A partition of a canary as any reader sees it, from its first record to its end.
//!
//! It never reads more records than it was told to expect, and commits nothing.

use std::sync::Arc;

use crate::audit::log::cursor::Cursor;
use crate::audit::log::cursor::Place;
use crate::audit::log::cursor::Seen;
use crate::audit::log::cursor::Unreadable;
use crate::audit::log::reader::Lines;
use crate::audit::log::reader::Range;
use crate::audit::survey;
use crate::cluster::Cluster;
use crate::cluster::EndKind;
use crate::drill::DrillError;
use crate::drill::ledger::Read;
use crate::drill::ledger::Record;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::wire::fetch::Isolation;

/// What one fetch asks for, in bytes; three such answers are alive at most.
const FETCH_BYTES: i32 = 1 << 20;

/// Where each partition ends: its high watermark, 0 where its leader does not tell it yet.
pub async fn ends(
    cluster: &Arc<Cluster>,
    topic: &TopicName,
    partitions: u16,
) -> Result<Vec<u64>, DrillError> {
    let all: Vec<TopicPartition> = (0..partitions).map(|one| partition_of(topic, one)).collect();
    let told = survey::ends(cluster, &all, EndKind::HighWatermark).await?;
    let end = |tp: &TopicPartition| told.get(tp).and_then(|end| end.ok());
    Ok(all.iter().map(|tp| end(tp).map_or(0, number)).collect())
}

/// The committed records from `from` to the end, and one more than `max` at most.
pub async fn records(
    cluster: &Arc<Cluster>,
    (topic, id, partition): (&TopicName, TopicId, u16),
    (from, end): (u64, u64),
    max: u64,
) -> Result<Vec<Read>, DrillError> {
    let side = cluster.side();
    let odd = |error: Unreadable| DrillError::Unreadable { side, error };
    let at = |number: u64| Offset::ZERO.plus(number).unwrap_or(Offset::ZERO);
    let (from, end) = (at(from), at(end));
    let (tp, isolation) = (partition_of(topic, partition), Isolation::ReadCommitted);
    let mut lines = Lines::new(cluster, FETCH_BYTES);
    let mut reader = lines.read(Range { tp, topic: id, isolation, from, end });
    let mut cursor = Cursor::new(from, end, true);
    let mut all = Vec::new();
    while all.len() as u64 <= max {
        match cursor.place().map_err(odd)? {
            Place::Record => {
                all.extend(cursor.record().map_err(odd)?.map(|seen| owned(&seen)));
                cursor.skip_record();
            }
            Place::Batch => drop(cursor.open_batch().map_err(odd)?),
            Place::End => break,
            Place::Need => match reader.next().await? {
                Some(portion) => cursor.feed(portion),
                None => break,
            },
        }
    }
    reader.finish().await?;
    Ok(all)
}

fn partition_of(topic: &TopicName, partition: u16) -> TopicPartition {
    TopicPartition { topic: topic.clone(), partition: PartitionId(partition.into()) }
}

fn number(offset: Offset) -> u64 {
    Offset::ZERO.distance_to(offset)
}

fn owned(seen: &Seen<'_>) -> Read {
    let bytes = |part: Option<&[u8]>| part.unwrap_or_default().to_vec();
    let (key, value) = (bytes(seen.record.key), bytes(seen.record.value));
    (number(seen.offset), Record { timestamp_ms: seen.timestamp, key, value })
}
