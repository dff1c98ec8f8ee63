//! Units that must be unpacked: what is to be done to one, and how its result comes back.
//!
//! It never waits: a heavy unit is handed out (`poll_work`), somebody runs it (`Work::run`, a pure
//! function), and what comes of it is taken in (`handle_worked`). What lies behind it is kept in
//! order meanwhile.

use std::vec::IntoIter;

use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::mirror::facts::Fetched;
use crate::mirror::gap::Template;
use crate::mirror::gap::Why;
use crate::mirror::halt::Halt;
use crate::mirror::partition::PartitionMirror;
use crate::mirror::partition::State;
use crate::mirror::source::aborted::Aborted;
use crate::mirror::take::Taken;
use crate::mirror::window::Made;
use crate::wire::reframe::Bounds;
use crate::wire::reframe::ReframeError;
use crate::wire::reframe::Run;
use crate::wire::reframe::reframe;
use crate::wire::split::Piece;

/// What is not packed and has at most so many bytes is encoded anew at once: that costs little more
/// than its checksum.
pub const LIGHT_BYTES_MAX: usize = 256 * 1024;

/// A unit under work, and what becomes of it.
#[derive(Clone, Debug)]
pub struct Job {
    /// The unit.
    pub(super) unit: Piece,
    /// Its offset, for people.
    pub(super) at: Offset,
    /// The source's leader epoch of what it holds.
    pub(super) epoch: LeaderEpoch,
    /// `Reencoded`; or `AtSource` where only its first record is wanted, for repeats.
    pub(super) made: Made,
}

/// Something to be computed outside of the lane.
#[derive(Clone, Debug)]
pub struct Work {
    ticket: u64,
    unit: Piece,
    /// The first offset that is wanted.
    from: Offset,
    bounds: Bounds,
    is_anew: bool,
    /// A gap is filled with the first record behind it.
    repeats: bool,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Worked {
    ticket: u64,
    /// Each batch with its first record, where a gap in front of it may need that.
    runs: Result<Vec<(Run, Option<Template>)>, ReframeError>,
}

impl Work {
    /// Does it; takes as long as it takes, and memory up to the bounds that it was given.
    pub fn run(self) -> Worked {
        let runs = match &self.unit {
            Piece::Batch(batch) if !self.is_anew => Ok(vec![Run::Batch(batch.clone())]),
            unit => reframe(unit, self.from, &self.bounds),
        };
        let told = |run: Run| {
            let template = match &run {
                Run::Batch(batch) if self.repeats => Template::of(batch, &self.bounds)?,
                Run::Batch(_) | Run::Gap { .. } => None,
            };
            Ok((run, template))
        };
        let runs = runs.and_then(|runs| runs.into_iter().map(told).collect());
        Worked { ticket: self.ticket, runs }
    }
}

/// Where the unit is.
#[derive(Debug)]
enum Place {
    /// Not handed out yet.
    Here,
    /// Handed out under this number.
    Away(u64),
}

/// What waits for a unit under work.
#[derive(Debug)]
pub(super) struct Bench {
    job: Job,
    place: Place,
    /// What the same answer brought behind it.
    fetched: Fetched,
    aborted: Aborted,
    pieces: IntoIter<Piece>,
    /// Behind these comes something that is no batch.
    ends_malformed: bool,
}

/// Units under work.
impl PartitionMirror {
    /// A unit to be worked on outside of the lane, if there is one and room for what comes of it.
    pub fn poll_work(&mut self) -> Option<Work> {
        if !self.wants_work() {
            return None;
        }
        let ticket = self.tickets + 1;
        let Some(Bench { job, place, .. }) = &mut self.bench else { return None };
        let job = job.clone();
        *place = Place::Away(ticket);
        self.tickets = ticket;
        Some(self.work(ticket, job))
    }

    /// Whether [`Self::poll_work`] has something.
    pub fn wants_work(&self) -> bool {
        let is_here = self.bench.as_ref().is_some_and(|bench| matches!(bench.place, Place::Here));
        is_here && self.window.bytes() < self.limits.waiting_bytes_max
    }

    /// What came of a unit; of one that is no longer waited for it is dropped.
    pub fn handle_worked(&mut self, worked: Worked) {
        let is_it = |bench: &mut Bench| match bench.place {
            Place::Away(ticket) => ticket == worked.ticket,
            Place::Here => false,
        };
        let Some(bench) = self.bench.take_if(is_it) else { return };
        self.take_worked(&bench.job, worked);
        self.go_on(bench);
        self.halt_if_reached();
    }

    /// Works on a unit at once where that is light; else it comes back, to be handed out.
    pub(super) fn begin_work(&mut self, job: Job) -> Option<Job> {
        if job.unit.is_packed() || job.unit.bytes_count() > self.limits.light_bytes_max {
            return Some(job);
        }
        let worked = self.work(0, job.clone()).run();
        self.take_worked(&job, worked);
        None
    }

    fn work(&self, ticket: u64, job: Job) -> Work {
        Work {
            ticket,
            from: self.read_end(),
            bounds: self.bounds(),
            is_anew: job.made == Made::Reencoded,
            repeats: self.fills_with_repeats(&job.unit),
            unit: job.unit,
        }
    }

    /// Puts a unit and what comes behind it aside until it is worked on.
    pub(super) fn put_aside(
        &mut self,
        job: Job,
        fetched: &Fetched,
        aborted: Aborted,
        pieces: IntoIter<Piece>,
    ) {
        let fetched = Fetched { aborted: Vec::new(), ..*fetched };
        let place = Place::Here;
        self.bench = Some(Bench { job, place, fetched, aborted, pieces, ends_malformed: false });
    }

    /// Something that is no batch came behind a unit under work: it is told when that is done.
    pub(super) fn malformed_behind(&mut self) -> bool {
        let Some(bench) = &mut self.bench else { return false };
        bench.ends_malformed = true;
        true
    }

    /// Takes in what came behind a unit that is done.
    fn go_on(&mut self, bench: Bench) {
        let Bench { fetched, mut aborted, mut pieces, ends_malformed, .. } = bench;
        match self.take_all(&fetched, &mut aborted, &mut pieces) {
            Taken::UpTo(job) => {
                self.put_aside(job, &fetched, aborted, pieces);
                if ends_malformed {
                    self.malformed_behind();
                }
            }
            Taken::All if ends_malformed && self.takes_more() => self.handle_malformed(),
            Taken::All | Taken::Enough => {}
        }
    }

    fn take_worked(&mut self, job: &Job, worked: Worked) {
        let runs = match worked.runs {
            Ok(runs) => runs,
            Err(error) => match error.bytes_max() {
                Some(bytes_max) => {
                    self.ahead = Some(Halt::Bomb { base: job.at, bytes_max });
                    return;
                }
                None => return self.handle_malformed(),
            },
        };
        for (run, template) in runs {
            if self.state != State::Mirroring || self.ahead.is_some() {
                return;
            }
            match run {
                Run::Gap { next, .. } => self.fill(next, job.epoch, Why::Nothing),
                Run::Batch(batch) => self.push_run(batch, job.made, template),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::facts::Fault;
    use crate::mirror::tests::NOW;
    use crate::mirror::tests::at;
    use crate::mirror::tests::facts;
    use crate::mirror::tests::fetched;
    use crate::mirror::tests::fresh;
    use crate::mirror::tests::plain;
    use crate::mirror::tests::stamped;

    /// One that has everything handed out which is encoded anew.
    fn mirroring(waiting_bytes_max: usize) -> PartitionMirror {
        let mut mirror = fresh();
        mirror.limits.light_bytes_max = 0;
        mirror.limits.waiting_bytes_max = waiting_bytes_max;
        mirror.handle_prepared(NOW, &facts((0, 100), 0));
        mirror
    }

    fn bases(mirror: &mut PartitionMirror) -> Vec<i64> {
        std::iter::from_fn(|| mirror.poll_append(NOW).map(|append| append.base.get())).collect()
    }

    #[test]
    fn what_lies_behind_a_unit_waits_for_it() {
        let mut mirror = mirroring(10_000);
        mirror.proven = true;
        let log = vec![plain(0, 5), stamped(5, 5), plain(10, 5), stamped(15, 5), plain(20, 5)];
        fetched(&mut mirror, 100, log);
        assert_eq!(bases(&mut mirror), [0]);
        assert!(mirror.poll_fetch().is_none(), "what is behind it is in hand");
        let first = mirror.poll_work().unwrap();
        assert!(mirror.poll_work().is_none(), "one at a time");
        mirror.handle_worked(first.run());
        assert_eq!(bases(&mut mirror), [5, 10]);
        let second = mirror.poll_work().unwrap().run();
        mirror.handle_worked(second.clone());
        assert_eq!(bases(&mut mirror), [15, 20]);
        mirror.handle_worked(second);
        assert_eq!((bases(&mut mirror).len(), mirror.read_end()), (0, at(25)));
        assert_eq!(mirror.poll_fetch().unwrap().offset, at(25));
    }

    #[test]
    fn a_result_that_is_no_longer_waited_for_is_dropped() {
        let mut mirror = mirroring(10_000);
        fetched(&mut mirror, 100, vec![stamped(0, 5), plain(5, 5)]);
        let late = mirror.poll_work().unwrap();
        mirror.handle_failed(Fault::Moved);
        assert!(mirror.may_leave(), "nobody waits for the pool");
        mirror.handle_prepared(NOW, &facts((0, 100), 0));
        mirror.handle_worked(late.clone().run());
        assert!(bases(&mut mirror).is_empty());
        fetched(&mut mirror, 100, vec![stamped(0, 5), plain(5, 5)]);
        let again = mirror.poll_work().unwrap();
        mirror.handle_worked(late.run());
        assert!(bases(&mut mirror).is_empty(), "a result of an earlier life");
        mirror.handle_worked(again.run());
        assert_eq!(bases(&mut mirror), [0]);
    }

    #[test]
    fn a_unit_is_handed_out_when_there_is_room_for_what_comes_of_it() {
        let mut mirror = mirroring(plain(0, 5).len());
        mirror.proven = true;
        fetched(&mut mirror, 100, vec![plain(0, 5), stamped(5, 5)]);
        assert!(!mirror.wants_work() && mirror.poll_work().is_none());
        assert_eq!(bases(&mut mirror), [0]);
        assert!(mirror.poll_work().is_none(), "what is in flight is still held");
        crate::mirror::tests::acked(&mut mirror, 0);
        let work = mirror.poll_work().unwrap();
        mirror.handle_worked(work.run());
        assert!(mirror.anew_bytes() > 0);
    }

    #[test]
    fn what_is_no_batch_behind_a_unit_is_told_when_the_unit_is_done() {
        let mut mirror = mirroring(10_000);
        fetched(&mut mirror, 100, vec![stamped(0, 5)]);
        mirror.handle_malformed();
        assert!(mirror.is_mirroring());
        let work = mirror.poll_work().unwrap();
        mirror.handle_worked(work.run());
        assert!(mirror.is_preparing() && mirror.refused.0 == at(5), "{:?}", mirror.refused);
    }

    #[test]
    fn a_unit_that_is_corrupt_is_fetched_again() {
        let mut mirror = mirroring(10_000);
        let corrupt = {
            let mut bytes = stamped(0, 5).to_bytes().to_vec();
            bytes[70] ^= 1;
            crate::wire::batch::BatchView::new(bytes.into()).unwrap()
        };
        fetched(&mut mirror, 100, vec![corrupt]);
        let work = mirror.poll_work().unwrap();
        mirror.handle_worked(work.run());
        assert!(mirror.is_preparing(), "it is fetched again");
    }
}
