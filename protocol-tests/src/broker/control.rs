//! The controller: topics, elections, fencing, and who learns of them when.
//!
//! It never touches a log, but where a broker starts to lead or to follow.

use std::collections::BTreeSet;

use kafka_protocol::error::ResponseError;
use uuid::Uuid;

use crate::broker::configs::Configs;
use crate::broker::meta::Changed;
use crate::broker::meta::Key;
use crate::broker::meta::PartitionMeta;
use crate::broker::meta::TopicMeta;
use crate::broker::state::Replica;
use crate::broker::state::State;
use crate::broker::state::Status;

impl State {
    /// Creates a topic with the brokers in turn as leaders.
    pub fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        replication: i16,
        configs: Configs,
    ) -> Result<Uuid, ResponseError> {
        self.check_new_topic(name, partitions, replication)?;
        let assignments = (0..partitions).map(|n| self.assign(n, replication)).collect();
        Ok(self.create_assigned(name, assignments, configs))
    }

    /// Why a topic cannot be created so.
    pub fn check_new_topic(
        &self,
        name: &str,
        partitions: i32,
        replication: i16,
    ) -> Result<(), ResponseError> {
        if self.meta.topics().contains_key(name) {
            return Err(ResponseError::TopicAlreadyExists);
        }
        let odd = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if name.is_empty() || name.len() > 249 || name.contains(odd) || name == "." || name == ".."
        {
            return Err(ResponseError::InvalidTopicException);
        }
        if partitions < 1 {
            return Err(ResponseError::InvalidPartitions);
        }
        if replication < 1 || replication as usize > self.meta.live.len() {
            return Err(ResponseError::InvalidReplicationFactor);
        }
        Ok(())
    }

    fn assign(&self, partition: i32, replication: i16) -> Vec<i32> {
        let live: Vec<i32> = self.meta.live.iter().copied().collect();
        let turn = |n| live[(partition as usize + n) % live.len()];
        (0..replication as usize).map(turn).collect()
    }

    /// Creates a topic with given replicas; the first of each leads.
    pub fn create_assigned(
        &mut self,
        name: &str,
        assignments: Vec<Vec<i32>>,
        configs: Configs,
    ) -> Uuid {
        let id = self.new_id();
        let topic = TopicMeta { id, configs, partitions: Vec::new() };
        self.meta.insert(name, topic);
        for replicas in assignments {
            self.add_partition(name, replicas);
        }
        self.publish();
        id
    }

    fn add_partition(&mut self, name: &str, replicas: Vec<i32>) {
        let (now_ms, live) = (self.now_ms(), self.meta.live.clone());
        let topic = self.meta.topic_mut(name).expect("the caller has looked it up");
        let key = (topic.id, topic.partitions.len() as i32);
        let isr: Vec<i32> = replicas.iter().copied().filter(|id| live.contains(id)).collect();
        let leader = isr.first().copied().unwrap_or(-1);
        topic.partitions.push(PartitionMeta { replicas: replicas.clone(), isr, leader, epoch: 0 });
        for broker in replicas {
            let mut replica = Replica::default();
            replica.log.producers.start_checks(now_ms);
            self.replicas.insert((key, broker), replica);
        }
    }

    /// Grows a topic.
    pub fn grow_topic(&mut self, name: &str, count: i32) -> Result<(), ResponseError> {
        let topic = self.meta.topics().get(name).ok_or(ResponseError::UnknownTopicOrPartition)?;
        let old = topic.partitions.len() as i32;
        if count <= old {
            return Err(ResponseError::InvalidPartitions);
        }
        let replication = topic.partitions[0].replicas.len() as i16;
        if replication as usize > self.meta.live.len() {
            return Err(ResponseError::InvalidReplicationFactor);
        }
        for n in old..count {
            let replicas = self.assign(n, replication);
            self.add_partition(name, replicas);
        }
        self.publish();
        Ok(())
    }

    /// Deletes a topic; its logs are gone.
    pub fn delete_topic(&mut self, name: &str) -> Result<Uuid, ResponseError> {
        let topic = self.meta.remove(name).ok_or(ResponseError::UnknownTopicOrPartition)?;
        self.replicas.retain(|(key, _), _| key.0 != topic.id);
        self.publish();
        Ok(topic.id)
    }

    /// Sets and takes back topic configs (`None`).
    pub fn alter_topic(&mut self, name: &str, changes: &[(String, Option<String>)]) {
        if let Some(topic) = self.meta.topic_mut(name) {
            let configs = &mut topic.configs;
            for (name, value) in changes {
                match value {
                    Some(value) => configs.insert(name.clone(), value.clone()),
                    None => configs.remove(name),
                };
            }
        }
        self.publish();
    }

    /// Tells every running broker what was decided.
    pub fn publish(&mut self) {
        let up: Vec<i32> =
            self.brokers.iter().filter(|(_, b)| b.is_up()).map(|(id, _)| *id).collect();
        for broker in up {
            self.learn(broker);
        }
    }

    /// One broker learns what was decided, and starts to lead or to follow.
    pub fn learn(&mut self, id: i32) {
        let broker = self.brokers.get_mut(&id).expect("the broker exists");
        let changed = broker.meta.learn(&self.meta);
        for Changed { key, before, now } in &changed {
            let Some(replica) = self.replicas.get_mut(&(*key, id)) else { continue };
            if now.leader != id {
                broker.behind.insert(*key);
            } else if before.as_ref().is_none_or(|before| before.epoch != now.epoch) {
                let end = replica.log.end();
                replica.led_from = end;
                replica.follower_ends.clear();
                replica.log.assign_epoch(now.epoch, end);
            }
        }
        for Changed { key, now, .. } in changed {
            if now.leader == id && self.replicas.contains_key(&(key, id)) {
                self.advance(key, id);
            }
        }
    }

    /// Makes `leader` the leader; `clean` keeps the replicas in sync, else it stands alone.
    pub fn elect(&mut self, key: Key, leader: i32, clean: bool) {
        if let Some(partition) = self.meta.partition_mut(key) {
            partition.leader = leader;
            partition.epoch += 1;
            if !clean {
                partition.isr = vec![leader];
            }
        }
        self.publish();
    }

    /// The controller has not heard of a broker for too long, or it said goodbye.
    pub fn fence(&mut self, id: i32) {
        self.meta.live.remove(&id);
        let live = self.meta.live.clone();
        let keys: Vec<Key> = self.meta.partitions().map(|(key, _)| key).collect();
        for key in keys {
            let partition = self.meta.partition_mut(key).expect("the key was just listed");
            leave(partition, id, &live);
        }
        self.publish();
    }

    /// A broker has registered: it is live, and leads where nobody else may.
    pub fn unfence(&mut self, id: i32) {
        self.meta.live.insert(id);
        let keys: Vec<Key> = self.meta.partitions().map(|(key, _)| key).collect();
        for key in keys {
            let partition = self.meta.partition_mut(key).expect("the key was just listed");
            if partition.leader < 0 && partition.isr.contains(&id) {
                partition.leader = id;
                partition.epoch += 1;
            }
        }
        self.publish();
        // a follower that missed much looks at everything it hosts
        let hosted = self.replicas.keys().filter(|(_, broker)| *broker == id);
        let hosted: Vec<Key> = hosted.map(|(key, _)| *key).collect();
        self.broker_mut(id).behind.extend(hosted);
    }

    /// Sets a broker's status; a start counts up.
    pub fn set_status(&mut self, id: i32, status: Status) {
        self.broker_mut(id).status.send_modify(|now| {
            now.1 += u64::from(status == Status::Up && now.0 == Status::Down);
            now.0 = status;
        });
    }

    /// What a process loses when it dies: sessions, all but the last batch of each producer, a
    /// log start that was not yet checkpointed (S3, A6).
    pub fn forget(&mut self, id: i32) {
        let (now_ms, expiration_ms) = (self.now_ms(), self.producer_expiration_ms());
        let checkpoint = self.broker_config("log.flush.start.offset.checkpoint.interval.ms");
        let checkpoint_ms: i64 = checkpoint.and_then(|ms| ms.parse().ok()).unwrap_or(60_000);
        self.broker_mut(id).sessions.clear();
        for ((_, broker), replica) in &mut self.replicas {
            if *broker != id {
                continue;
            }
            replica.log.producers.restart(now_ms, expiration_ms);
            if let Some((start, at_ms)) = replica.start_before.take()
                && at_ms / checkpoint_ms == now_ms / checkpoint_ms
            {
                replica.log.lower_start(start);
            }
        }
    }
}

/// A broker leaves a partition: out of the replicas in sync unless it is the last, and another
/// one leads.
fn leave(partition: &mut PartitionMeta, id: i32, live: &BTreeSet<i32>) {
    if partition.isr.len() > 1 {
        partition.isr.retain(|other| *other != id);
    }
    if partition.leader == id {
        let next =
            partition.replicas.iter().find(|r| partition.isr.contains(r) && live.contains(r));
        partition.leader = next.copied().unwrap_or(-1);
        partition.epoch += 1;
    }
}
