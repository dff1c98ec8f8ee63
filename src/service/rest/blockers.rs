//! What a promote or a failover waits for, in words for people.
//!
//! It never decides: it reads what the machine and the partitions show.

use std::collections::BTreeMap;

use crate::control::topic::Stage;
use crate::ids::PartitionId;
use crate::link::registry::MirrorSeen;
use crate::service::view::PartitionView;

/// How many partitions are named; of the others only the count is told.
const NAMED_MAX: usize = 20;

/// All that a mirror topic waits for until it is STOPPED.
pub(super) fn of(mirror: &MirrorSeen, running: &BTreeMap<i32, &PartitionView>) -> Vec<String> {
    let reason = mirror.reason.as_ref().map(|reason| reason.text.clone());
    if let Stage::Leaving { .. } = mirror.row.stage {
        return reason.into_iter().collect();
    }
    let mut told = Vec::new();
    let is_draining = mirror.row.stage == Stage::Stopping;
    if let Some(why) = mirror.link_rests.as_ref().filter(|_| is_draining) {
        told.push(format!(
            "{why}: a promote waits for the source; a failover goes on without it, and what was \
             not mirrored is lost"
        ));
    }
    let unsealed = (0..mirror.row.partitions).map(PartitionId);
    let unsealed: Vec<PartitionId> =
        unsealed.filter(|partition| !mirror.row.sealed.contains_key(partition)).collect();
    let mut waiting = 0;
    for partition in &unsealed {
        let view = running.get(&partition.0).copied();
        let text = match is_draining {
            true => drains(mirror, *partition, view),
            false => Some(seals(mirror, *partition)),
        };
        let Some(text) = text else { continue };
        waiting += 1;
        if waiting <= NAMED_MAX {
            told.push(text);
        }
    }
    if waiting > NAMED_MAX {
        told.push(format!("{} more partitions", waiting - NAMED_MAX));
    }
    told.extend(reason.filter(|_| waiting == 0));
    told
}

fn drains(
    mirror: &MirrorSeen,
    partition: PartitionId,
    view: Option<&PartitionView>,
) -> Option<String> {
    let number = partition.0;
    if mirror.level.contains(&partition) {
        return None;
    }
    if let Some(halted) = mirror.halted.get(&partition) {
        return Some(format!("partition {number} has halted ({}): {}", halted.code, halted.text));
    }
    let held = view.map(|view| view.held_records).filter(|held| *held > 0);
    let lag = view.and_then(|view| view.lag_records);
    Some(match (lag, held) {
        (_, Some(held)) => format!(
            "partition {number}: {held} records are held back by an open transaction at the source"
        ),
        (Some(0), None) => format!("partition {number}: the source must rest for a moment"),
        (Some(lag), None) => format!("partition {number} is {lag} records behind"),
        (None, None) => format!("partition {number}: how far it is behind is not known yet"),
    })
}

fn seals(mirror: &MirrorSeen, partition: PartitionId) -> String {
    let number = partition.0;
    if mirror.leaderless.contains(&partition) {
        return format!("partition {number} has no leader at the destination to be sealed at");
    }
    match mirror.halted.get(&partition) {
        Some(fault) => fault.text.clone(),
        None => format!("partition {number} is being sealed"),
    }
}
