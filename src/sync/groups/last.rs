//! What a turn over consumer groups came to for one topic that is promoted, and whether another one
//! may come to more.
//!
//! It never asks a cluster.

use crate::control::task::last::LastSync;
use crate::control::topic::Fault;
use crate::ids::GroupName;
use crate::ids::TimestampMs;
use crate::sync::groups::GroupTold;
use crate::sync::groups::MirrorTopic;
use crate::sync::groups::Turn;
use crate::sync::groups::faults::INTERNAL;
use crate::sync::groups::faults::LATE;

/// Of a topic: how its groups stand, and whether trying again is of no use.
pub fn of(turn: &Turn, topic: &MirrorTopic, now: TimestampMs) -> (LastSync, bool) {
    let (mut last, mut is_final) = (LastSync::at(now), true);
    let mut leave = |last: &mut LastSync, subject: &str, fault: &Fault| {
        is_final &= !may_pass(fault);
        last.leave(subject, fault);
    };
    // whether such a group has an offset for this topic is not known
    for (subject, fault) in &turn.unread {
        leave(&mut last, subject, fault);
        last.shares += u64::from(turn.shares.contains(&GroupName::new(subject)));
    }
    for (tp, fault) in turn.unplaced.iter().filter(|(tp, _)| tp.topic == topic.mirror) {
        leave(&mut last, &tp.to_string(), fault);
    }
    for (name, told) in &turn.told {
        match word(told, topic) {
            None => {}
            Some("synced") => last.synced += 1,
            Some("clamped") => last.clamped += 1,
            Some("ahead") => last.ahead += 1,
            Some(_) => {
                let fault = told.fault.clone().unwrap_or_else(unexplained);
                leave(&mut last, &name.to_string(), &fault);
                last.shares += u64::from(told.is_share);
            }
        }
    }
    (last, is_final)
}

/// All groups of a topic that are not where they should be.
pub fn left(turn: &Turn, topic: &MirrorTopic) -> Vec<String> {
    let unread = turn.unread.iter().map(|(subject, _)| subject.clone());
    let is_left = |told: &GroupTold| {
        word(told, topic).is_some_and(|word| !["synced", "clamped", "ahead"].contains(&word))
    };
    let told = turn.told.iter().filter(|(_, told)| is_left(told));
    unread.chain(told.map(|(name, _)| name.to_string())).collect()
}

/// Of a topic about which nothing was found out.
pub fn failed(subject: &str, fault: &Fault, now: TimestampMs) -> LastSync {
    let mut last = LastSync { is_uncounted: true, ..LastSync::at(now) };
    last.leave(subject, fault);
    last
}

/// How a group stands with a topic: as its worst partition does. `None` where it has no offset.
fn word(told: &GroupTold, topic: &MirrorTopic) -> Option<&'static str> {
    let own = told.stands.iter().filter(|(tp, _)| tp.topic == topic.mirror);
    let rank = |word: &&str| ["synced", "ahead", "clamped"].iter().position(|one| one == word);
    // what is in no such place is the worst
    own.map(|(_, stand)| stand.word()).max_by_key(|word| rank(word).unwrap_or(usize::MAX))
}

/// A coordinator that moves or loads, a cluster that does not answer, a time that was over: a later
/// turn may come to more.
fn may_pass(fault: &Fault) -> bool {
    [INTERNAL, LATE].contains(&fault.code.as_str())
}

fn unexplained() -> Fault {
    let text = "its offsets are not those of the source".to_owned();
    Fault { code: INTERNAL.to_owned(), text }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::control::task::offsets::Stand;
    use crate::control::task::offsets::Target;
    use crate::ids::Offset;
    use crate::ids::PartitionId;
    use crate::ids::TopicId;
    use crate::ids::TopicName;
    use crate::ids::TopicPartition;

    fn name(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    fn tp(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition { topic: name(topic), partition: PartitionId(partition) }
    }

    fn at(raw: i64) -> Offset {
        Offset::new(raw).unwrap()
    }

    /// Committed at the source and here, where the mirror ends at 100.
    fn stand(source: i64, there: Option<i64>) -> Stand {
        let target = Target { offset: at(source.min(100)), is_clamped: source > 100 };
        let (end, target) = (at(100), Some(target));
        Stand { source: at(source), there: there.map(at), target, end, source_end: None }
    }

    fn told(rows: &[(TopicPartition, Stand)], fault: Option<&str>) -> GroupTold {
        let fault = fault.map(|code| Fault { code: code.into(), text: "why".into() });
        let stands = rows.iter().cloned().collect();
        GroupTold { stands, fault, ..GroupTold::of(GroupName::new("x"), TimestampMs(1)) }
    }

    fn topic() -> MirrorTopic {
        let ids = (TopicId([1; 16]), TopicId([2; 16]));
        let (partitions, sealed) = (BTreeMap::new(), BTreeMap::new());
        MirrorTopic { source: name("orders"), mirror: name("orders"), ids, partitions, sealed }
    }

    fn check(groups: &[(&str, GroupTold)], counts: [u64; 3], left: &[&str], want: bool) {
        let mut turn = Turn::default();
        let groups = groups.iter().cloned();
        turn.told = groups.map(|(name, told)| (GroupName::new(name), told)).collect();
        let (last, is_final) = of(&turn, &topic(), TimestampMs(1));
        assert_eq!([last.synced, last.clamped, last.ahead], counts);
        let subjects: Vec<&str> = last.left.iter().map(|one| one.subject.as_str()).collect();
        assert_eq!((subjects.as_slice(), is_final), (left, want));
    }

    #[test]
    fn a_group_stands_as_its_worst_partition() {
        let (one, two) = (tp("orders", 0), tp("orders", 1));
        let synced = (one.clone(), stand(50, Some(50)));
        let clamped = (two.clone(), stand(150, Some(100)));
        let ahead = (two.clone(), stand(50, Some(60)));
        let behind = (two, stand(50, Some(40)));
        let other = (tp("other", 0), stand(50, None));
        let group = |rows: &[(TopicPartition, Stand)]| [("g", told(rows, None))];
        check(&group(&[synced.clone(), other.clone()]), [1, 0, 0], &[], true);
        check(&group(&[synced.clone(), ahead]), [0, 0, 1], &[], true);
        check(&group(&[synced.clone(), clamped]), [0, 1, 0], &[], true);
        check(&group(std::slice::from_ref(&other)), [0, 0, 0], &[], true);
        check(&group(&[synced, behind.clone()]), [0, 0, 0], &["g"], false);
        let used = told(&[behind], Some("CONSUMER_GROUP_IN_USE_ERROR"));
        check(&[("g", used)], [0, 0, 0], &["g"], true);
        // what went wrong with another topic is not told of this one
        let refused = told(&[other], Some("AUTHORIZATION_ERROR"));
        check(&[("g", refused)], [0, 0, 0], &[], true);
    }

    #[test]
    fn what_was_not_read_is_told_of_each_topic_and_tried_again() {
        let fault = |code: &str| Fault { code: code.into(), text: "why".into() };
        let mut turn = Turn::default();
        turn.unread.push(("g".into(), fault("AUTHORIZATION_ERROR")));
        turn.unplaced.insert(tp("other", 0), fault(INTERNAL));
        let left = |turn: &Turn| {
            let (last, is_final) = of(turn, &topic(), TimestampMs(1));
            (last.left_count(), is_final)
        };
        assert_eq!(left(&turn), (Some(1), true));
        turn.unplaced.insert(tp("orders", 0), fault(INTERNAL));
        assert_eq!(left(&turn), (Some(2), false));
    }
}
