//! How a group stands after a turn, and since when its offsets are what they are.
//!
//! It never says of an offset that it was so before anybody saw it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::control::task::offsets::Stand;
use crate::control::topic::Fault;
use crate::ids::GroupName;
use crate::ids::TimestampMs;
use crate::ids::TopicName;
use crate::ids::TopicPartition;

/// How many topics of one group that are not followed are told of.
pub const UNFOLLOWED_MAX: usize = 100;

/// How a group stands after a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupTold {
    /// Its name at the source.
    pub source: GroupName,
    /// It is a share group: its offsets are where it starts.
    pub is_share: bool,
    /// Its offsets, by the mirror's partition.
    pub stands: BTreeMap<TopicPartition, Stand>,
    /// Why some of them, or all, are not what they are to be.
    pub fault: Option<Fault>,
    /// It has members at the source; `None` where nobody listed it.
    pub is_active_at_source: Option<bool>,
    /// Topics at the source of which it has committed partitions that are not among these: the
    /// first [`UNFOLLOWED_MAX`].
    pub unfollowed: BTreeSet<TopicName>,
    /// Of a share group: partitions here without a start on either side, of topics of which it has
    /// one in another partition.
    pub unstarted: BTreeSet<TopicPartition>,
    /// Whether it begins at their start here; `None` where that was not told, or not asked.
    pub begins_early: Option<bool>,
    /// Since when its offsets at the source are known to be these: never before the turn that
    /// found them first.
    pub unchanged_since: TimestampMs,
}

impl GroupTold {
    /// One of which nothing but its name is known.
    pub fn of(source: GroupName, now: TimestampMs) -> GroupTold {
        GroupTold {
            source,
            is_share: false,
            stands: BTreeMap::new(),
            fault: None,
            is_active_at_source: None,
            unfollowed: BTreeSet::new(),
            unstarted: BTreeSet::new(),
            begins_early: None,
            unchanged_since: now,
        }
    }

    /// What was found at the source in an earlier turn, and is the same, is so since then.
    pub fn go_on_from(&mut self, before: &GroupTold) {
        let offsets = |told: &GroupTold| {
            let stands = told.stands.iter();
            stands.map(|(tp, stand)| (tp.clone(), stand.source)).collect::<Vec<_>>()
        };
        let (now, then) = (offsets(self), offsets(before));
        if self.source == before.source && !now.is_empty() && now == then {
            self.unchanged_since = before.unchanged_since;
        }
    }
}

/// Puts down the topics of partitions that a group has committed and that are not followed.
pub(super) fn leave<'a>(
    all: &mut BTreeMap<GroupName, BTreeSet<TopicName>>,
    group: &GroupName,
    partitions: impl Iterator<Item = &'a TopicPartition>,
) {
    for tp in partitions {
        let topics = all.entry(group.clone()).or_default();
        if topics.len() < UNFOLLOWED_MAX || topics.contains(&tp.topic) {
            topics.insert(tp.topic.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Offset;
    use crate::ids::PartitionId;

    fn tp(topic: &str, partition: i32) -> TopicPartition {
        let topic = TopicName::new(topic).unwrap();
        TopicPartition { topic, partition: PartitionId(partition) }
    }

    fn told(at_ms: i64, offsets: &[i64]) -> GroupTold {
        let at = |raw: i64| Offset::new(raw).unwrap();
        let stand = |source: &i64| Stand {
            source: at(*source),
            there: None,
            target: None,
            end: at(at_ms),
            source_end: None,
        };
        let rows = offsets.iter().enumerate();
        let stands =
            rows.map(|(partition, source)| (tp("orders", partition as i32), stand(source)));
        let new = GroupTold::of(GroupName::new("billing"), TimestampMs(at_ms));
        GroupTold { stands: stands.collect(), ..new }
    }

    #[test]
    fn what_is_the_same_is_so_since_it_was_found_first() {
        let check = |before: &[i64], now: &[i64], want: i64| {
            let mut told_now = told(20, now);
            told_now.go_on_from(&told(10, before));
            assert_eq!(told_now.unchanged_since, TimestampMs(want), "{before:?} {now:?}");
        };
        check(&[5, 7], &[5, 7], 10);
        check(&[5, 7], &[5, 8], 20);
        check(&[5], &[5, 7], 20);
        check(&[5, 7], &[5], 20);
        // of what could not be read nothing is known
        check(&[], &[], 20);
        let mut renamed = GroupTold { source: GroupName::new("other"), ..told(20, &[5]) };
        renamed.go_on_from(&told(10, &[5]));
        assert_eq!(renamed.unchanged_since, TimestampMs(20));
    }

    #[test]
    fn topics_that_are_not_followed_are_put_down_up_to_a_bound() {
        let (mut all, group) = (BTreeMap::new(), GroupName::new("billing"));
        let some: Vec<TopicPartition> =
            (0..UNFOLLOWED_MAX + 5).map(|number| tp(&format!("t{number}"), 0)).collect();
        leave(&mut all, &group, some.iter().chain(&some));
        assert_eq!(all[&group].len(), UNFOLLOWED_MAX);
        leave(&mut all, &GroupName::new("none"), [].iter());
        assert_eq!(all.len(), 1);
    }
}
