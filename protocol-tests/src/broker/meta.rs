//! The cluster's metadata: what the controller decided, and how a broker takes it over.
//!
//! It never touches a log, and never copies what has not changed: ten thousand topics that are
//! created one after the other cost no more each than ten.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;

use crate::broker::configs::Configs;

/// A partition of one incarnation of a topic.
pub type Key = (Uuid, i32);

/// What the controller decided for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMeta {
    /// All replicas, preferred leader first.
    pub replicas: Vec<i32>,
    /// Those in sync.
    pub isr: Vec<i32>,
    /// The leader, or -1.
    pub leader: i32,
    /// Grows with every leader.
    pub epoch: i32,
}

/// What the controller decided for one topic.
#[derive(Clone, Debug)]
pub struct TopicMeta {
    /// Another one after every recreation.
    pub id: Uuid,
    /// Set configs.
    pub configs: Configs,
    /// By partition number.
    pub partitions: Vec<PartitionMeta>,
}

/// The controller's metadata, or what a broker last learnt of it.
#[derive(Clone, Debug, Default)]
pub struct Meta {
    topics: BTreeMap<String, Arc<TopicMeta>>,
    ids: BTreeMap<Uuid, String>,
    /// Brokers that are not fenced.
    pub live: BTreeSet<i32>,
    /// The controller's: names of topics in the order in which they were changed.
    touched: Vec<String>,
    /// A broker's: how many of those it has learnt.
    learnt: usize,
}

/// A partition that is new or other than it was.
pub struct Changed {
    /// Which one.
    pub key: Key,
    /// What it was, in the same incarnation.
    pub before: Option<PartitionMeta>,
    /// What it is.
    pub now: PartitionMeta,
}

impl Meta {
    /// No topics, and these brokers.
    pub fn new(live: BTreeSet<i32>) -> Meta {
        Meta { live, ..Meta::default() }
    }

    /// By name.
    pub fn topics(&self) -> &BTreeMap<String, Arc<TopicMeta>> {
        &self.topics
    }

    /// A topic by id.
    pub fn by_id(&self, id: Uuid) -> Option<(&str, &Arc<TopicMeta>)> {
        let name = self.ids.get(&id)?;
        Some((name, self.topics.get(name)?))
    }

    /// A partition by its key.
    pub fn partition(&self, key: Key) -> Option<&PartitionMeta> {
        let (_, topic) = self.by_id(key.0)?;
        topic.partitions.get(usize::try_from(key.1).ok()?)
    }

    /// Every partition, by topic name and number.
    pub fn partitions(&self) -> impl Iterator<Item = (Key, &PartitionMeta)> {
        self.topics.values().flat_map(|topic| {
            (0..).zip(&topic.partitions).map(|(n, partition)| ((topic.id, n), partition))
        })
    }

    /// A new topic.
    pub fn insert(&mut self, name: &str, topic: TopicMeta) {
        self.ids.insert(topic.id, name.to_owned());
        self.topics.insert(name.to_owned(), Arc::new(topic));
        self.touch(name);
    }

    /// A topic is gone.
    pub fn remove(&mut self, name: &str) -> Option<Arc<TopicMeta>> {
        let topic = self.topics.remove(name)?;
        self.ids.remove(&topic.id);
        self.touch(name);
        Some(topic)
    }

    /// A topic to change.
    pub fn topic_mut(&mut self, name: &str) -> Option<&mut TopicMeta> {
        self.touch(name);
        self.topics.get_mut(name).map(Arc::make_mut)
    }

    /// A partition to change.
    pub fn partition_mut(&mut self, key: Key) -> Option<&mut PartitionMeta> {
        let name = self.ids.get(&key.0)?.clone();
        self.topic_mut(&name)?.partitions.get_mut(usize::try_from(key.1).ok()?)
    }

    fn touch(&mut self, name: &str) {
        self.touched.push(name.to_owned());
    }

    /// A broker takes over what the controller has decided since it did so last.
    pub fn learn(&mut self, truth: &Meta) -> Vec<Changed> {
        let names: BTreeSet<&String> = truth.touched.iter().skip(self.learnt).collect();
        self.learnt = truth.touched.len();
        self.live.clone_from(&truth.live);
        let mut all = Vec::new();
        for name in names {
            let old = self.topics.remove(name);
            if let Some(old) = &old {
                self.ids.remove(&old.id);
            }
            let Some(topic) = truth.topics.get(name) else { continue };
            let old = old.filter(|old| old.id == topic.id);
            for (n, now) in topic.partitions.iter().enumerate() {
                let before = old.as_ref().and_then(|old| old.partitions.get(n)).cloned();
                if before.as_ref() != Some(now) {
                    let key = (topic.id, n as i32);
                    all.push(Changed { key, before, now: now.clone() });
                }
            }
            self.ids.insert(topic.id, name.clone());
            self.topics.insert(name.clone(), topic.clone());
        }
        all
    }
}
