//! Fetches of the simulated lane: answered at once or late, with a flipped bit now and then.
//!
//! It never decides what the machine makes of an answer.

use bytes::Bytes;
use isolog::ids::LeaderEpoch;
use isolog::ids::ProducerId;
use isolog::mirror::facts::Fault;
use isolog::mirror::facts::Fetched;
use isolog::wire::batch::BatchView;
use isolog::wire::error::KafkaCode;
use isolog::wire::split::Piece;

use super::FLIPS_MAX;
use super::IDLE_MS;
use super::World;
use super::broker::offset;

impl World<'_> {
    /// A fetch is asked, or answered: at once, or when much has happened in between.
    pub(super) fn fetch(&mut self) {
        let is_late = self.faults && self.dice.roll(4) == 0;
        let asked = self.asked.take().or_else(|| self.mirror.poll_fetch());
        let Some(from) = asked else { return };
        if is_late {
            self.asked = Some(from);
            return;
        }
        // a lane tells of refusals only who waits for that fetch still
        let is_awaited = self.mirror.awaits(from);
        let at = from.offset.get();
        if let Some((epoch, end)) = self.source.parted(from.last_epoch.0, at) {
            if is_awaited {
                self.mirror.handle_diverging(LeaderEpoch(epoch), offset(end));
            }
            return;
        }
        if at < self.source.start || at > self.source.end {
            if is_awaited {
                self.mirror.handle_failed(Fault::FetchRefused(KafkaCode(1)));
            }
            return;
        }
        let count = 1 + self.dice.roll(6) as usize;
        let (mut batches, aborted) = self.source.fetch(at, count, self.visible_end());
        if batches.is_empty() {
            self.clock += IDLE_MS;
        }
        self.flip(&mut batches);
        let fetched = Fetched {
            asked_at: self.now(),
            from,
            source_end: offset(self.visible_end()),
            high_watermark: offset(self.source.end),
            log_start: Some(offset(self.source.start)),
            aborted: aborted.iter().map(|t| (ProducerId(t.producer), offset(t.first))).collect(),
        };
        self.mirror.handle_fetched(self.now(), &fetched, batches.into_iter().map(Piece::Batch));
    }

    /// A bit is wrong on the way, where a checksum covers it; not so often that it is believed.
    fn flip(&mut self, batches: &mut [BatchView]) {
        if self.broker.end >= self.flips.1 {
            self.flips = (0, 0);
        }
        let unlucky = self.faults && !self.tame && self.dice.roll(64) == 0;
        self.flipped = unlucky && self.flips.0 < FLIPS_MAX && !batches.is_empty();
        if !self.flipped {
            return;
        }
        let reach = batches.iter().map(|batch| batch.base_offset().get() + batch.span() as i64);
        self.flips = (self.flips.0 + 1, reach.fold(self.flips.1, i64::max));
        let nth = self.dice.roll(batches.len() as u64) as usize;
        let mut bytes = batches[nth].to_bytes().to_vec();
        let place = 17 + self.dice.roll(200) as usize % (bytes.len() - 17);
        bytes[place] ^= 1 << self.dice.roll(8);
        if let Ok(flipped) = BatchView::new(Bytes::from(bytes)) {
            batches[nth] = flipped;
        }
    }
}
