//! The look at both logs before the first append, as `flow/prepare` does it.
//!
//! It never decides whether batches are alike: the judge of the real look does.

use isolog::flow::probe::judge::Original;
use isolog::flow::probe::judge::Verdict;
use isolog::flow::probe::judge::judge;
use isolog::ids::Offset;
use isolog::ids::TimestampMs;
use isolog::mirror::facts::Prepared;
use isolog::mirror::facts::Tail;
use isolog::wire::filler::kind_of;

use super::STALE_MAX;
use super::WRITER;
use super::World;
use super::broker::SEQUENCES;
use super::broker::offset;

impl World<'_> {
    pub(super) fn prepare(&mut self) {
        if !self.mirror.is_preparing() || !self.sent.is_empty() || !self.answers.is_empty() {
            return;
        }
        if self.broker.writer.is_empty() && !self.proxy {
            self.settle();
        }
        let mut end = self.broker.end;
        let thawed = self.faults && !self.old && self.dice.roll(8) == 0 && self.stale < STALE_MAX;
        self.stale = if thawed { self.stale + 1 } else { 0 };
        if thawed {
            end = self.broker.log.last().map_or(end, |batch| batch.base);
        }
        let last = self.broker.log.iter().rev().find(|batch| batch.next() <= end);
        let timestamp = last.map_or(TimestampMs(-1), |batch| batch.view.max_timestamp());
        let is_hidden = last.is_some_and(|batch| kind_of(&batch.view).is_some());
        let facts = Prepared {
            asked_at: None,
            source_held: 0,
            source_start: offset(self.source.start),
            source_end: offset(self.visible_end()),
            source_log_end: offset(self.source.end),
            destination_end: offset(end),
            destination_hwm: offset(end),
            tail: self.tail(end),
            tail_timestamp: timestamp,
            is_prefix: is_hidden && timestamp.0 < 0,
            hole_to: self.hole(end),
        };
        self.mirror.handle_prepared(self.now(), &facts);
        self.misled = thawed;
    }

    /// What the exclusive look at the source's tail finds.
    fn hole(&self, end: i64) -> Option<Offset> {
        let asked = self.mirror.wants_tail_look() && self.source.start <= end;
        let nothing = self.source.log.last().is_none_or(|batch| batch.next() <= end);
        (asked && nothing && end < self.visible_end()).then(|| offset(self.visible_end()))
    }

    /// Where the writer is forgotten the mirror waits until nothing can be on its way.
    fn settle(&mut self) {
        while let Some(batch) = self.late.pop_front() {
            self.land_late(&batch);
        }
        self.note_wrong();
    }

    /// Six batches back where one is not proof enough, as the real look does.
    fn tail(&self, end: i64) -> Tail {
        let due = self.broker.writer.back().map(|(first, length, _)| (first + length) % SEQUENCES);
        let vouched = due == Some(end % SEQUENCES) && !self.mirror.wants_far_look();
        let below = self.broker.log.iter().rev().filter(|batch| batch.next() <= end);
        let mut tail = Tail::NothingShared;
        for (step, copy) in below.take(if vouched { 1 } else { 6 }).enumerate() {
            if copy.next() <= self.source.start {
                if copy.is_foreign {
                    tail = Tail::Differs(offset(copy.base));
                }
                break;
            }
            if copy.base >= self.source.end {
                break;
            }
            let from = copy.base.max(self.source.start);
            let (batches, _) = self.source.fetch(from, 60, copy.next());
            let original = Original { batches };
            match judge(&original, &copy.view, WRITER.id) {
                Verdict::Unlike => tail = Tail::Differs(offset(copy.base)),
                _ if step == 0 => tail = Tail::Equal(original.epoch_before(offset(end))),
                _ => {}
            }
        }
        tail
    }
}
