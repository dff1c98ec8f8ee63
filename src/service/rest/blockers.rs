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

/// How the codes of faults begin that are the mirror topic's own.
const AT_DESTINATION: &str = "DESTINATION_";
/// What is to be done where a promote, or any stop, cannot end.
const FAIL_OVER: &str = ": a promote cannot end so. A failover makes the topic an ordinary one, \
                         with what was mirrored";
const GONE: &str = ": there is nothing that could be stopped";
const WITHOUT: &str = ": where the source is gone a failover goes on without it, and what was not \
                       mirrored is lost";

const RIGHTS: &str = "others are given back what was held back of their rights (ACLs); what the \
                      destination refuses of that is an error of the task (isolog link task list)";

/// All that a mirror topic waits for until it is STOPPED.
pub(super) fn of(mirror: &MirrorSeen, running: &BTreeMap<i32, &PartitionView>) -> Vec<String> {
    let reason = mirror.reason.as_ref().map(|reason| reason.text.clone());
    if let Stage::Leaving { .. } = mirror.row.stage {
        return reason.into_iter().collect();
    }
    let mut told = Vec::new();
    let is_draining = mirror.row.stage == Stage::Stopping;
    if let Some(fault) = &mirror.fault {
        let is_gone = fault.code.starts_with(AT_DESTINATION);
        if is_draining || is_gone {
            // nothing of such a topic is copied, whatever its partitions say
            let cure = if is_gone { GONE } else { FAIL_OVER };
            return vec![format!("{}{cure}", fault.text)];
        }
    }
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
    if waiting == 0 {
        told.extend(reason);
        told.extend(last_turns(mirror));
        if mirror.awaits_rights {
            told.push(RIGHTS.to_owned());
        }
    }
    told
}

/// What is taken over when all is copied, and behind the seals.
fn last_turns(mirror: &MirrorSeen) -> Option<String> {
    if mirror.awaits_configs.is_some() {
        return Some("its configs are compared with the source's once more".to_owned());
    }
    let text = "the offsets of consumer groups are taken over once more, for a minute at most \
                where the source or a coordinator does not answer";
    mirror.awaits_groups.then(|| text.to_owned())
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
    let held = view.and_then(|view| view.held_records).filter(|held| *held > 0);
    let lag = view.and_then(|view| view.lag_records);
    Some(match (lag, held) {
        (_, Some(held)) => {
            let by = view.and_then(|view| view.held_by.as_ref());
            let by = by.map_or(String::new(), |by| format!(" of producer id {}", by.producer_id));
            let fate = match mirror.row.abandons_open {
                true => "left behind as ordered, when the source has rested for a moment",
                false => {
                    "waited for (mirror promote --abandon-open-transactions leaves them behind)"
                }
            };
            format!(
                "partition {number}: {held} records are held back by an open transaction{by} at \
                 the source, and are {fate}"
            )
        }
        (Some(0), None) => format!("partition {number}: the source must rest for a moment"),
        (Some(lag), None) => format!("partition {number} is {lag} records behind"),
        (None, None) => unknown(number, view),
    })
}

fn unknown(number: i32, view: Option<&PartitionView>) -> String {
    let behind = format!("partition {number}: how far it is behind is not known");
    match view {
        Some(view) if !view.reason.is_empty() => format!("{behind} ({}){WITHOUT}", view.reason),
        // what is known of the other side grows old
        Some(view) if view.source_end.is_some() => {
            format!("{behind} any more, since the source does not answer{WITHOUT}")
        }
        _ => format!("{behind} yet"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    use crate::control::row::Key;
    use crate::control::row::Row;
    use crate::control::topic::Fault;
    use crate::control::topic::Status;
    use crate::ids::TimestampMs;
    use crate::service::view::HeldView;

    /// A mirror topic of two partitions in that stage.
    fn mirror(stage: &str, fault: Option<(&str, &str)>) -> MirrorSeen {
        let key = Key::parse("mirror/dr/orders").unwrap();
        let id = "01".repeat(16);
        let text = format!(
            r#"{{"v":1,"source_topic":"orders","source_id":"{id}","mirror_id":"{id}",
            "partitions":2,"generation":0,"stage":{stage},"since_ms":1,"paused":false,
            "made_by":"order","adopted":null,"starts":{{}},"owed":{{}},"configs":{{}},
            "replicas":null,"sealed":{{}},"deadline_ms":null}}"#
        );
        let Ok(Row::Mirror(row)) = Row::parse(&key, &text) else { panic!("a row: {text}") };
        let fault = fault.map(|(code, text)| Fault { code: code.into(), text: text.into() });
        MirrorSeen {
            row,
            status: Status::PendingStopped,
            since: TimestampMs(1),
            reason: fault.clone(),
            fault,
            missing: None,
            surplus: None,
            progress: None,
            halted: BTreeMap::new(),
            level: [PartitionId(1)].into(),
            leaderless: [PartitionId(0)].into(),
            link_rests: None,
            is_free: false,
            awaits_configs: None,
            awaits_groups: false,
            awaits_rights: false,
            ends: BTreeMap::new(),
        }
    }

    #[test]
    fn what_can_never_end_says_what_to_do_instead() {
        let none = BTreeMap::new();
        let gone = Some(("SOURCE_TOPIC_MAY_BE_DELETED", "the source topic is gone"));
        let told = of(&mirror(r#""stopping""#, gone), &none);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("the source topic is gone: ") && told[0].contains("failover"));
        // a failover needs no source
        let told = of(&mirror(r#"{"sealing":"failover"}"#, gone), &none);
        assert!(told[0].contains("has no leader") && told.len() == 2, "{told:?}");
        let lost = Some(("DESTINATION_TOPIC_DELETED", "it is gone: isolog mirror delete"));
        for stage in [r#""stopping""#, r#"{"sealing":"failover"}"#] {
            let told = of(&mirror(stage, lost), &none);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].contains("isolog mirror delete") && told[0].contains("nothing that"));
        }
    }

    #[test]
    fn what_is_taken_over_last_is_told() {
        let none = BTreeMap::new();
        let mut level = mirror(r#""stopping""#, None);
        level.level.insert(PartitionId(0));
        level.awaits_configs = Some(1);
        let told = of(&level, &none).join("|");
        assert_eq!(told, "its configs are compared with the source's once more");
        let mut sealed = mirror(r#"{"sealing":"promote"}"#, None);
        sealed.awaits_groups = true;
        assert!(of(&sealed, &none).join("|").contains("partition 0 has no leader"));
        sealed.row.partitions = 0;
        let told = of(&sealed, &none).join("|");
        assert!(told.contains("the offsets of consumer groups"), "{told}");
    }

    #[test]
    fn an_open_transaction_is_told_with_its_producer() {
        let held = PartitionView { held_records: Some(5), ..PartitionView::default() };
        let by = HeldView { producer_id: 7_007, ..HeldView::default() };
        let known = PartitionView { held_by: Some(by), ..held.clone() };
        let told = |view: &PartitionView, abandons_open: bool| {
            let mut mirror = mirror(r#""stopping""#, None);
            mirror.row.abandons_open = abandons_open;
            of(&mirror, &[(0, view)].into()).join("|")
        };
        let said = "partition 0: 5 records are held back by an open transaction";
        let waits = "at the source, and are waited for (mirror promote --abandon-open-transactions";
        assert!(
            told(&held, false).starts_with(&format!("{said} {waits}")),
            "{}",
            told(&held, false)
        );
        let told_known = told(&known, false);
        assert!(told_known.starts_with(&format!("{said} of producer id 7007 {waits}")));
        assert!(told(&held, true).contains("left behind as ordered"), "{}", told(&held, true));
    }

    #[test]
    fn a_source_that_is_silent_is_told_from_one_that_was_not_asked_yet() {
        let told = |view: Option<PartitionView>| {
            let running = view.iter().map(|view| (0, view)).collect();
            of(&mirror(r#""stopping""#, None), &running).join("|")
        };
        let yet = "partition 0: how far it is behind is not known yet";
        assert_eq!(told(None), yet);
        assert_eq!(told(Some(PartitionView::default())), yet);
        let silent = PartitionView { source_end: Some(9), ..PartitionView::default() };
        let said = told(Some(silent.clone()));
        assert!(said.contains("the source does not answer") && said.contains("failover"), "{said}");
        let said = told(Some(PartitionView { reason: "UNREACHABLE: a:1".into(), ..silent }));
        assert!(said.contains("(UNREACHABLE: a:1)") && said.contains("failover"), "{said}");
    }
}
