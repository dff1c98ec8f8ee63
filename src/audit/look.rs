//! A look into one partition: what is left to be copied, and whether the copy so far is the
//! source's.
//!
//! It never reads more than a few places unless every header is wanted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::audit::check::left;
use crate::audit::compare::Compaction;
use crate::audit::compare::Compare;
use crate::audit::compare::Step;
use crate::audit::log::cursor::Cursor;
use crate::audit::log::reader::Dialled;
use crate::audit::log::reader::Lines;
use crate::audit::log::reader::Range;
use crate::audit::log::reader::ReadError;
use crate::audit::log::reader::next_of;
use crate::audit::log::scan::Seen;
use crate::cluster::Cluster;
use crate::ids::Offset;
use crate::ids::Side;
use crate::ids::TopicId;
use crate::ids::TopicPartition;
use crate::wire::fetch::Isolation;

/// How many places of a partition are looked at.
const PLACES: u64 = 4;
/// What is read at each, in bytes.
const PLACE_BYTES: i32 = 256 * 1024;
/// So many offsets below the destination's end are compared.
const TAIL_OFFSETS: i64 = 100;

/// Where to look.
#[derive(Clone, Debug)]
pub struct Place {
    /// The partition, as the source calls it.
    pub tp: TopicPartition,
    /// The same at the destination.
    pub mirror: TopicPartition,
    /// Its place among those of its topic.
    pub at: usize,
    /// The source's start and end.
    pub source: (Offset, Offset),
    /// The destination's.
    pub destination: Option<(Offset, Offset)>,
}

/// What came of a look: the headers, and the first offset that differs in the tail.
pub type Looked = Result<(Seen, Option<i64>), ReadError>;

/// What is left to be looked at, by several workers.
#[derive(Clone, Debug)]
pub struct Queue(Arc<Mutex<VecDeque<Place>>>);

impl Queue {
    /// All of these.
    pub fn new(places: impl Iterator<Item = Place>) -> Queue {
        Queue(Arc::new(Mutex::new(places.collect())))
    }

    /// How many are left.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The next one.
    pub fn take(&self) -> Option<Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn give_back(&self, place: Place) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_front(place);
    }
}

/// How to look.
pub struct Look {
    /// One side.
    pub source: Arc<Cluster>,
    /// The other.
    pub destination: Arc<Cluster>,
    /// Only committed records are copied.
    pub committed_only: bool,
    /// Every header.
    pub is_deep: bool,
    /// What one fetch asks for then, in bytes.
    pub fetch_bytes: i32,
    /// Which brokers of either side give no connection.
    pub dialled: [Dialled; 2],
    /// Where each partition is told when it is done.
    pub tell: fn(&str),
}

impl Look {
    /// Looks at one place after the other until there is none. Who gets no connection where others
    /// have one leaves what is left to them.
    pub async fn at_all(self, places: Queue) -> Vec<(Place, Looked)> {
        let source = match self.is_deep {
            true => Lines::new(&self.source, self.fetch_bytes),
            false => Lines::for_looks(&self.source, PLACE_BYTES),
        };
        let [here, there] = &self.dialled;
        let mut source = source.giving_up(here);
        let mut ours = Lines::for_looks(&self.source, PLACE_BYTES).giving_up(here);
        let mut theirs = Lines::for_looks(&self.destination, PLACE_BYTES).giving_up(there);
        let mut all = Vec::new();
        while let Some(place) = places.take() {
            let seen = self.headers(&place, &mut source).await;
            let looked = match seen {
                Ok(seen) => self.tail(&place, &mut ours, &mut theirs).await.map(|at| (seen, at)),
                Err(error) => Err(error),
            };
            match &looked {
                Err(ReadError::GivenUp { side, broker }) => {
                    let dialled = &self.dialled[usize::from(*side == Side::Destination)];
                    if dialled.has_opened(*broker) {
                        places.give_back(place);
                        break;
                    }
                    if dialled.is_news(*broker) {
                        self.tell_failed(&place, &looked);
                    }
                }
                Err(_) => self.tell_failed(&place, &looked),
                Ok(_) => {}
            }
            all.push((place, looked));
        }
        all
    }

    fn tell_failed(&self, place: &Place, looked: &Looked) {
        if let Err(error) = looked {
            (self.tell)(&format!("{}: {error}", place.tp));
        }
    }

    fn range(&self, place: &Place, side: Side, from: Offset, end: Offset) -> Range {
        let (cluster, tp) = match side {
            Side::Source => (&self.source, &place.tp),
            Side::Destination => (&self.destination, &place.mirror),
        };
        let isolation = match side == Side::Source && self.committed_only {
            true => Isolation::ReadCommitted,
            false => Isolation::ReadUncommitted,
        };
        let topic = cluster.topic(&tp.topic).map_or(TopicId::NIL, |topic| topic.id);
        Range { tp: tp.clone(), topic, isolation, from, end }
    }

    /// The headers of what is left, or of a few places in it.
    async fn headers(&self, place: &Place, lines: &mut Lines<'_>) -> Result<Seen, ReadError> {
        let (from, end) = left(place);
        let mut seen = Seen::default();
        let step = from.distance_to(end) / PLACES;
        let (mut at, places) = (from, if self.is_deep { 1 } else { PLACES });
        for n in 0..places {
            at = from.plus(n * step).unwrap_or(at).max(at);
            if at >= end {
                break;
            }
            let mut reader = lines.read(self.range(place, Side::Source, at, end));
            while let Some(portion) = reader.next().await? {
                let next = portion.next;
                seen.take(portion, at, end, self.committed_only);
                at = next;
                if !self.is_deep {
                    break;
                }
            }
            reader.finish().await?;
        }
        Ok(seen)
    }

    /// The first of the last offsets of the copy that is not the source's.
    async fn tail(
        &self,
        place: &Place,
        ours: &mut Lines<'_>,
        theirs: &mut Lines<'_>,
    ) -> Result<Option<i64>, ReadError> {
        let Some((start, copied)) = place.destination else { return Ok(None) };
        let end = copied.min(place.source.1);
        let back = Offset::new(end.get() - TAIL_OFFSETS).unwrap_or(Offset::ZERO);
        let from = back.max(start).max(place.source.0);
        if from >= end {
            return Ok(None);
        }
        // either side may have compacted what the other still has: that is no foreign record
        let compaction = Compaction { source: true, destination: true };
        let cursor = |committed_only| Cursor::new(from, end, committed_only);
        let mut compare = Compare::new(cursor(self.committed_only), cursor(false), compaction);
        let mut ours = ours.read(self.range(place, Side::Source, from, end));
        let mut theirs = theirs.read(self.range(place, Side::Destination, from, end));
        loop {
            let side = match compare.run() {
                Ok(Step::Need(side)) => side,
                Ok(Step::Done) => break,
                // what cannot be read is told by a verification, with its reason
                Err((_, unreadable)) => return Ok(Some(unreadable.base.get())),
            };
            let portion = next_of(side, &mut ours, &mut theirs).await?;
            let Some(portion) = portion else { break };
            compare.feed(side, portion);
        }
        ours.finish().await?;
        theirs.finish().await?;
        Ok(compare.shown.first().map(|one| one.offset))
    }
}
