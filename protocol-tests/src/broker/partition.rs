//! Appending under a leader's lock, high watermarks, and what followers take over.
//!
//! It never elects: `control` does.

use bytes::Bytes;
use kafka_protocol::error::ResponseError;

use crate::broker::batch::Header;
use crate::broker::meta::Key;
use crate::broker::producers::Seen;
use crate::broker::producers::Verdict;
use crate::broker::spec::Version;
use crate::broker::state::Led;
use crate::broker::state::State;
use crate::broker::validate;

/// What an append did.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// First offset.
    pub base: i64,
    /// The offset after the last one: what acks=all waits for.
    pub next: i64,
    /// What the answer says as append time; -1 on a CreateTime topic.
    pub time_ms: i64,
}

impl From<Seen> for Appended {
    // P2: a repeat answers its timestamp as append time, even on a CreateTime topic
    fn from(seen: Seen) -> Self {
        Self { base: seen.base_offset, next: seen.next, time_ms: seen.timestamp }
    }
}

impl State {
    /// Appends a client's entry to the partition that `broker` leads.
    pub fn append_entry(
        &mut self,
        broker: i32,
        led: &Led,
        entry: &Bytes,
        acks: i16,
    ) -> Result<Appended, ResponseError> {
        let config = self.topic_config_at(broker, led.key.0);
        if acks == -1 && led.isr.len() < config.min_insync {
            return Err(ResponseError::NotEnoughReplicas);
        }
        let bytes = validate::single_batch(entry)?;
        let header = validate::before_lock(&bytes, &config)?;
        let (version, now_ms) = (self.spec.version, self.now_ms());
        let stored = validate::under_lock(&header, &bytes, &config, version, now_ms)?;
        self.expire_producers(led.key, broker);
        let header = Header::read(&stored).ok_or(ResponseError::CorruptMessage)?;
        match self.replica(led.key, broker).log.producers.judge(&header) {
            Verdict::Refused(error) => return Err(error),
            Verdict::Repeat(seen) => return Ok(seen.into()),
            Verdict::New => {}
        }
        let (base, next) = self.append_raw(broker, led, &stored)?;
        Ok(Appended { base, next, time_ms: if config.log_append_time { now_ms } else { -1 } })
    }

    /// Appends without any check, as coordinators and tests do.
    pub fn append_raw(
        &mut self,
        broker: i32,
        led: &Led,
        bytes: &[u8],
    ) -> Result<(i64, i64), ResponseError> {
        let replica = self.replica_mut(led.key, broker);
        let batch = replica.log.append(bytes, led.epoch).ok_or(ResponseError::CorruptMessage)?;
        self.after_append(broker, led);
        Ok((batch.base, batch.next))
    }

    /// Tells followers that there is something to fetch, and moves the high watermark.
    pub fn after_append(&mut self, broker: i32, led: &Led) {
        for follower in led.replicas.iter().filter(|id| **id != broker) {
            self.broker_mut(*follower).behind.insert(led.key);
        }
        self.advance(led.key, broker);
    }

    /// Forgets producers whose time has come (S2).
    pub fn expire_producers(&mut self, key: Key, broker: i32) {
        let (now_ms, expiration_ms) = (self.now_ms(), self.producer_expiration_ms());
        let check = self.broker_config("producer.id.expiration.check.interval.ms");
        let check_ms = check.and_then(|v| v.parse().ok()).unwrap_or(600_000).max(1);
        let log = &mut self.replica_mut(key, broker).log;
        log.producers.expire(now_ms, expiration_ms, check_ms);
    }

    /// Raises the leader's high watermark to what all replicas in sync have; whether it moved.
    pub fn advance(&mut self, key: Key, leader: i32) -> bool {
        let Ok(led) = self.led(leader, key, -1) else { return false };
        let min_insync = self.topic_config(key.0).min_insync.min(led.replicas.len());
        // KIP-966: below min.insync.replicas the watermark stands still
        if self.spec.version == Version::V4_3 && led.isr.len() < min_insync {
            return false;
        }
        let replica = self.replica_mut(key, leader);
        let ends = led.isr.iter().filter(|id| **id != leader);
        let ends = ends.map(|id| replica.follower_ends.get(id).copied().unwrap_or(0));
        let lowest = ends.min().unwrap_or(i64::MAX).min(replica.log.end());
        if lowest <= replica.hwm {
            return false;
        }
        replica.hwm = lowest;
        for follower in led.replicas.iter().filter(|id| **id != leader) {
            self.broker_mut(*follower).behind.insert(key);
        }
        true
    }

    /// One follower fetches one partition from its leader; whether anything changed.
    pub fn pull(&mut self, follower: i32, key: Key) -> bool {
        let Some((leader, epoch)) = self.reachable_leader(follower, key) else { return false };
        let mut own = self.replicas.remove(&(key, follower)).unwrap_or_default();
        let from = self.replica_mut(key, leader);
        let before = (own.log.end(), own.hwm, own.log.start());
        truncate_to(&mut own.log, &from.log);
        if own.log.end() < from.log.start() {
            own.log.raise_start(from.log.start());
            own.log.begin_with(from.log.batches().get(from.log.index_of(own.log.end())));
        }
        let first = from.log.index_of(own.log.end());
        for batch in &from.log.batches()[first..] {
            own.log.push(batch.clone());
        }
        own.log.adopt_tail(&from.log);
        own.log.raise_start(from.log.start());
        own.hwm = from.hwm.min(own.log.end());
        let changed = before != (own.log.end(), own.hwm, own.log.start());
        let end = own.log.end();
        let news = from.follower_ends.insert(follower, end) != Some(end);
        self.replicas.insert((key, follower), own);
        let joined = self.maybe_join(follower, leader, key, epoch);
        let moved = self.advance(key, leader);
        changed || news || joined || moved
    }

    /// Whether a follower knows its leader and cannot fetch from it at present.
    pub fn misses_leader(&self, follower: i32, key: Key) -> bool {
        let own = self.broker(follower).meta.partition(key);
        let follows = |own: &crate::broker::meta::PartitionMeta| {
            own.leader >= 0 && own.leader != follower && own.replicas.contains(&follower)
        };
        own.is_some_and(follows) && self.reachable_leader(follower, key).is_none()
    }

    /// The leader that a follower would fetch from, if both agree who it is and it answers.
    fn reachable_leader(&self, follower: i32, key: Key) -> Option<(i32, i32)> {
        let own = self.broker(follower).meta.partition(key)?;
        let hosts = own.replicas.contains(&follower);
        let is_cut_off = self.cut_off.contains(&(key, follower));
        if own.leader < 0 || own.leader == follower || !hosts || is_cut_off {
            return None;
        }
        let leader = self.broker(own.leader);
        let theirs = leader.meta.partition(key)?;
        let agree = leader.is_up() && (theirs.leader, theirs.epoch) == (own.leader, own.epoch);
        agree.then_some((own.leader, own.epoch))
    }

    /// A follower that has caught up joins the replicas in sync; whether it did.
    fn maybe_join(&mut self, follower: i32, leader: i32, key: Key, epoch: i32) -> bool {
        let replica = self.replica(key, leader);
        let end = replica.follower_ends.get(&follower).copied().unwrap_or(-1);
        let caught_up = end >= replica.hwm && end >= replica.led_from;
        let live = self.meta.live.contains(&follower);
        let Some(truth) = self.meta.partition_mut(key) else { return false };
        let out = !truth.isr.contains(&follower);
        if !(caught_up && live && out && truth.epoch == epoch && truth.leader == leader) {
            return false;
        }
        truth.isr.push(follower);
        self.publish();
        true
    }
}

/// Cuts off what the follower has and the leader has not, epoch by epoch.
fn truncate_to(own: &mut crate::broker::log::Log, leader: &crate::broker::log::Log) {
    loop {
        let epoch = own.last_epoch();
        if epoch < 0 {
            return;
        }
        let (theirs, end) = leader.end_of_epoch(epoch);
        let target = if theirs == epoch { end } else { end.min(own.end_of_epoch(theirs).1.max(0)) };
        if target >= own.end() && theirs == epoch {
            return;
        }
        let before = (own.end(), epoch);
        own.truncate(target.min(own.end()));
        if (own.end(), own.last_epoch()) == before {
            return;
        }
    }
}
