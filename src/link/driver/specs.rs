//! What the partition manager of a link is told to hold, from what the control machine
//! wants; and what is shown in its place while there is none.
//!
//! It never holds a partition and never asks a cluster.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::control::facts::Mode;
use crate::control::facts::TopicSpec;
use crate::flow::entry::How;
use crate::flow::entry::PartitionSpec;
use crate::flow::entry::ToManager;
use crate::flow::stats::Board;
use crate::ids::LinkName;
use crate::ids::MirrorPartition;
use crate::ids::PartitionId;
use crate::ids::TopicName;
use crate::link::driver::ctx::Ctx;
use crate::link::driver::ctx::lock;
use crate::link::driver::takes::Taken;
use crate::mirror::halt::Halt;
use crate::mirror::lag::Snapshot;

/// What is wanted, by the mirror's name.
pub(super) type Specs = BTreeMap<TopicName, TopicSpec>;

/// What the manager is told of these topics, and then of single partitions of them.
pub(super) fn told(
    ctx: &Ctx,
    specs: &Specs,
    taken: &BTreeMap<TopicName, Taken>,
    topics: BTreeSet<TopicName>,
) -> (BTreeMap<TopicName, Vec<PartitionSpec>>, Vec<ToManager>) {
    let (mut told, mut singles) = (BTreeMap::new(), Vec::new());
    let mut copied = lock(&ctx.copied);
    let copied = Arc::make_mut(&mut copied);
    for topic in topics {
        let spec = specs.get(&topic);
        let wanted = spec.map(|spec| wanted(ctx, &topic, spec, taken.get(&topic)));
        let (wanted, is_copied) = wanted.unwrap_or_default();
        match spec.filter(|_| is_copied) {
            Some(spec) => drop(copied.insert(topic.clone(), spec.clone())),
            None => drop(copied.remove(&topic)),
        }
        singles.extend(spec.into_iter().flat_map(|spec| drains(&ctx.name, &topic, spec)));
        told.insert(topic, wanted);
    }
    (told, singles)
}

/// What the manager is to hold of one topic, and whether nothing outside of the log stops it; of
/// one that is not wanted, or not yet, nothing.
fn wanted(
    ctx: &Ctx,
    topic: &TopicName,
    spec: &TopicSpec,
    told: Option<&Taken>,
) -> (Vec<PartitionSpec>, bool) {
    let told = told.filter(|_| ctx.may_begin(topic));
    // into one that stands still nothing is appended, whatever it takes
    if !is_copied(spec) || (told.is_none() && spec.halt.is_none()) {
        return (Vec::new(), false);
    }
    let takes = told.map(|told| told.takes(&spec.owed)).unwrap_or_default();
    let halt = spec.halt.clone().or_else(|| told.and_then(|told| told.halt.clone()));
    let all = spec.partitions.iter().map(|(partition, start)| PartitionSpec {
        name: name(&ctx.name, topic, spec, *partition),
        incarnation: spec.incarnation,
        generation: spec.generation,
        source_id: spec.source.1,
        destination_id: spec.mirror_id,
        takes: takes.clone(),
        start: *start,
        halt: halt.clone(),
    });
    (all.collect(), halt.is_none())
}

/// What drains is told so whenever the manager was told what is wanted: it may be new to it.
fn drains(link: &LinkName, topic: &TopicName, spec: &TopicSpec) -> impl Iterator<Item = ToManager> {
    let how = match spec.mode {
        Mode::Drain => Some(How::Drain),
        Mode::DrainStable => Some(How::DrainStable),
        Mode::Mirror | Mode::Seal => None,
    };
    let draining = spec.partitions.keys().filter_map(move |id| Some((id, how?)));
    draining.map(|(id, how)| ToManager::Release(name(link, topic, spec, *id), how))
}

/// What is to be sealed is copied no more.
pub(super) fn is_copied(spec: &TopicSpec) -> bool {
    spec.mode < Mode::Seal
}

/// Which one, for those who copy.
pub(super) fn name(
    link: &LinkName,
    mirror: &TopicName,
    spec: &TopicSpec,
    partition: PartitionId,
) -> MirrorPartition {
    MirrorPartition {
        link: link.clone(),
        source_topic: spec.source.0.clone(),
        mirror_topic: mirror.clone(),
        partition,
    }
}

/// What stands still for a reason outside of its log, shown while no manager is there to show it:
/// another cluster that answers in the source's place is no source to have one with.
#[derive(Debug, Default)]
pub(super) struct StandIns(BTreeMap<MirrorPartition, Halt>);

impl StandIns {
    /// Shows those of now, and no others.
    pub fn show(&mut self, board: &Board, link: &LinkName, specs: &Specs) {
        let all = specs.iter().flat_map(|(topic, spec)| {
            let halted = spec.halt.iter().flat_map(|halt| {
                spec.partitions.keys().map(|one| (name(link, topic, spec, *one), halt.clone()))
            });
            halted.collect::<Vec<_>>()
        });
        let now: BTreeMap<MirrorPartition, Halt> = all.collect();
        for gone in self.0.keys().filter(|one| !now.contains_key(one)) {
            board.forget(gone);
        }
        for (one, halt) in now.iter().filter(|(one, halt)| self.0.get(one) != Some(halt)) {
            board.begin(one).publish(Snapshot::halted(halt));
        }
        self.0 = now;
    }

    /// There is a manager, which shows what it holds.
    pub fn end(&mut self, board: &Board) {
        std::mem::take(&mut self.0).keys().for_each(|one| board.forget(one));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Incarnation;
    use crate::ids::Offset;
    use crate::ids::Side;
    use crate::ids::TimestampMs;
    use crate::ids::TopicId;

    fn spec(halt: Option<Halt>, partitions: i32) -> TopicSpec {
        TopicSpec {
            incarnation: Incarnation(1),
            source: (TopicName::new("orders").unwrap(), TopicId([1; 16])),
            mirror_id: TopicId([2; 16]),
            generation: 0,
            partitions: (0..partitions).map(|one| (PartitionId(one), Offset::ZERO)).collect(),
            owed: BTreeMap::new(),
            mode: Mode::Mirror,
            halt,
            is_planned: false,
            attempt: 0,
        }
    }

    #[test]
    fn what_stands_still_is_shown_in_a_managers_place_and_only_then() {
        let (board, link) = (Board::default(), LinkName("dr".into()));
        let mut stand_ins = StandIns::default();
        let shown = |stand_ins: &mut StandIns, halt: Option<Halt>, partitions: i32| {
            let topic = TopicName::new("w.orders").unwrap();
            stand_ins.show(&board, &link, &Specs::from([(topic, spec(halt, partitions))]));
            let rows = board.read(TimestampMs(0)).into_iter();
            let label = |seen: Snapshot| (seen.state, seen.reason.map(|(label, _)| label));
            rows.map(|(one, seen)| (one.to_string(), label(seen))).collect::<Vec<_>>()
        };
        let gone = |side| Some(Halt::Deleted { side });
        let row = |partition: i32, label| {
            let name = format!("w.orders-{partition} (mirror of orders-{partition})");
            (name, ("Halted", Some(label)))
        };
        assert_eq!(shown(&mut stand_ins, None, 2), []);
        let label = "SOURCE_TOPIC_DELETED";
        let both = [row(0, label), row(1, label)];
        assert_eq!(shown(&mut stand_ins, gone(Side::Source), 2), both);
        let label = "DESTINATION_TOPIC_DELETED";
        assert_eq!(shown(&mut stand_ins, gone(Side::Destination), 1), [row(0, label)]);
        stand_ins.end(&board);
        assert!(board.read(TimestampMs(0)).is_empty());
    }
}
