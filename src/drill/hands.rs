//! Both clusters of a link, and the canary's topics on them.
//!
//! It never gives isolog an order, and holds no plan.

use std::sync::Arc;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use crate::audit::Dials;
use crate::audit::LinkOptions;
use crate::audit::rights;
use crate::audit::rights::Grantee;
use crate::cluster::Cluster;
use crate::drill::Canary;
use crate::drill::DrillError;
use crate::drill::PREFIX;
use crate::drill::ledger::Ledger;
use crate::drill::ledger::Read;
use crate::drill::ledger::Record;
use crate::drill::pen::Pen;
use crate::drill::reading;
use crate::drill::topics;
use crate::ids::Offset;
use crate::ids::Side;
use crate::ids::TopicId;

/// How many records of a canary are one batch at most: 250 bytes each at most, far below the
/// smallest `max.message.bytes` that anybody has.
const BATCH_RECORDS: u64 = 500;
/// What records of the source and of the destination are told apart by.
const AT_SOURCE: &str = "source";
const AT_DESTINATION: &str = "destination";

/// Both ends, reached.
pub struct Hands {
    /// The topic, at both.
    pub canary: Canary,
    source: Arc<Cluster>,
    destination: Arc<Cluster>,
}

/// Who writes the canary at the source, and what was acknowledged so far.
pub struct Writing {
    pens: Vec<Pen>,
    /// What the source has acknowledged.
    pub ledger: Ledger,
}

impl Hands {
    /// Reaches both clusters of the link as isolog does.
    pub async fn reach(link: &LinkOptions, canary: Canary) -> Result<Hands, DrillError> {
        let dials = Dials::real(link);
        let source = dials.connect(link, Side::Source).await?;
        Ok(Hands { canary, source, destination: dials.connect(link, Side::Destination).await? })
    }

    fn cluster(&self, side: Side) -> &Arc<Cluster> {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }

    /// The destination's cluster id.
    pub fn destination_id(&self) -> String {
        self.destination.id().to_string()
    }

    /// `host:port` of a broker there.
    pub fn bootstrap(&self, side: Side) -> String {
        Grantee::of(self.cluster(side).options()).bootstrap
    }

    /// The line that grants what the drill, and isolog for it, need there.
    pub fn grant(&self, link: &LinkOptions, side: Side) -> String {
        let start = match side {
            Side::Source => PREFIX.to_owned(),
            Side::Destination => format!("{}{PREFIX}", link.rename.before()),
        };
        rights::of_drill(side, &start, &Grantee::of(self.cluster(side).options()))
    }

    /// Whether the source would make the canary.
    pub async fn try_make(&self, replicas: Option<i16>) -> Result<(), DrillError> {
        topics::make(&self.source, &self.canary, replicas, true).await.map(drop)
    }

    /// Makes the canary at the source.
    pub async fn make(&self, replicas: Option<i16>) -> Result<Writing, DrillError> {
        let id = topics::make(&self.source, &self.canary, replicas, false).await?;
        let (partitions, topic) = (self.canary.partitions, &self.canary.source);
        let pen = |partition| Pen::new(&self.source, topic, id, partition);
        let pens = (0..partitions).map(pen).collect();
        Ok(Writing { pens, ledger: Ledger::new(partitions) })
    }

    /// Whether every partition of the mirror ends where the source was written up to.
    pub async fn is_level(&self, ledger: &Ledger) -> Result<bool, DrillError> {
        let partitions = self.canary.partitions;
        let ends = reading::ends(&self.destination, &self.canary.mirror, partitions).await?;
        Ok((0..partitions).map(|one| ledger.end(one)).eq(ends))
    }

    /// Waits until each partition of the mirror has a leader that we know; the topic's id.
    pub async fn mirror(&self) -> Result<TopicId, DrillError> {
        topics::led(&self.destination, &self.canary.mirror, self.canary.partitions).await
    }

    /// Writes a record of our own into each partition of the mirror that has stopped: the records,
    /// and when the first and the last of them were acknowledged.
    pub async fn write_mirror(
        &self,
        id: TopicId,
    ) -> Result<(Vec<Record>, [Instant; 2]), DrillError> {
        let (mut records, mut acknowledged) = (Vec::new(), None);
        for partition in 0..self.canary.partitions {
            let record = Record::new(AT_DESTINATION, partition, 0, now_ms());
            let mut pen = Pen::new(&self.destination, &self.canary.mirror, id, partition);
            pen.write(std::slice::from_ref(&record)).await?;
            let now = Instant::now();
            acknowledged = Some([acknowledged.map_or(now, |[first, _]: [Instant; 2]| first), now]);
            pen.close();
            records.push(record);
        }
        Ok((records, acknowledged.unwrap_or([Instant::now(); 2])))
    }

    /// The records of a partition of the mirror from there on, one more than `max` at most.
    pub async fn read_mirror(
        &self,
        (id, partition): (TopicId, u16),
        from: u64,
        max: u64,
    ) -> Result<Vec<Read>, DrillError> {
        let topic = &self.canary.mirror;
        let ends = reading::ends(&self.destination, topic, self.canary.partitions).await?;
        let end = ends.get(usize::from(partition)).copied().unwrap_or(0);
        reading::records(&self.destination, (topic, id, partition), (from, end), max).await
    }

    /// Deletes the canary at that side by its id, if it is there.
    pub async fn remove(&self, side: Side) -> Result<(), DrillError> {
        topics::remove(self.cluster(side), self.canary.at(side)).await
    }
}

impl Writing {
    /// Writes so many records into each partition, a few batches each.
    pub async fn write(&mut self, count: u64) -> Result<(), DrillError> {
        for first in (0..count).step_by(BATCH_RECORDS as usize) {
            self.write_batches((count - first).min(BATCH_RECORDS)).await?;
        }
        Ok(())
    }

    async fn write_batches(&mut self, count: u64) -> Result<(), DrillError> {
        for (partition, pen) in (0..).zip(&mut self.pens) {
            let end = self.ledger.end(partition);
            let record = |number| Record::new(AT_SOURCE, partition, number, now_ms());
            let records: Vec<Record> = (end..end + count).map(record).collect();
            let at = Offset::ZERO.plus(end).unwrap_or(Offset::ZERO);
            pen.write_at(at, &records).await?;
            self.ledger.acknowledged(partition, records, Instant::now());
        }
        Ok(())
    }

    /// Ends its connections; what was acknowledged is left.
    pub fn end(self) -> Ledger {
        self.pens.into_iter().for_each(Pen::close);
        self.ledger
    }
}

fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}
