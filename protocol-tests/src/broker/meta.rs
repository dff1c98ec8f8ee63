//! The cluster's metadata: what the controller decided, and how a broker takes it over.
//!
//! It never touches a log, and never copies what has not changed: ten thousand topics that are
//! created one after the other cost no more each than ten.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::ops::Index;
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
    /// In order, for those who go through all.
    names: BTreeSet<Arc<str>>,
    /// Looked up by name, and by id: of ten thousand each takes as long as of ten.
    by_name: HashMap<Arc<str>, Uuid>,
    by_id: HashMap<Uuid, (Arc<str>, Arc<TopicMeta>)>,
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

/// The topics of a cluster, by name.
#[derive(Copy, Clone)]
pub struct Topics<'a>(&'a Meta);

impl<'a> Topics<'a> {
    /// One.
    pub fn get(self, name: &str) -> Option<&'a Arc<TopicMeta>> {
        self.get_key_value(name).map(|(_, topic)| topic)
    }

    /// One, with its name.
    pub fn get_key_value(self, name: &str) -> Option<(&'a str, &'a Arc<TopicMeta>)> {
        self.0.by_id(*self.0.by_name.get(name)?)
    }

    /// Whether there is one.
    pub fn contains_key(self, name: &str) -> bool {
        self.0.by_name.contains_key(name)
    }

    /// All names, in order.
    pub fn keys(self) -> impl Iterator<Item = &'a str> {
        self.0.names.iter().map(|name| &**name)
    }

    /// All, by name.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a Arc<TopicMeta>)> {
        self.0.names.iter().filter_map(move |name| self.get_key_value(name))
    }
}

impl Index<&str> for Topics<'_> {
    type Output = TopicMeta;

    fn index(&self, name: &str) -> &TopicMeta {
        self.get(name).expect("a topic that is there")
    }
}

impl Meta {
    /// No topics, and these brokers.
    pub fn new(live: BTreeSet<i32>) -> Meta {
        Meta { live, ..Meta::default() }
    }

    /// By name.
    pub fn topics(&self) -> Topics<'_> {
        Topics(self)
    }

    /// A topic by id.
    pub fn by_id(&self, id: Uuid) -> Option<(&str, &Arc<TopicMeta>)> {
        self.by_id.get(&id).map(|(name, topic)| (&**name, topic))
    }

    /// A partition by its key.
    pub fn partition(&self, key: Key) -> Option<&PartitionMeta> {
        let (_, topic) = self.by_id(key.0)?;
        topic.partitions.get(usize::try_from(key.1).ok()?)
    }

    /// Every partition, by topic name and number.
    pub fn partitions(&self) -> impl Iterator<Item = (Key, &PartitionMeta)> {
        self.topics().iter().flat_map(|(_, topic)| {
            (0..).zip(&topic.partitions).map(|(n, partition)| ((topic.id, n), partition))
        })
    }

    /// A new topic.
    pub fn insert(&mut self, name: &str, topic: TopicMeta) {
        self.put(Arc::from(name), Arc::new(topic));
        self.touch(name);
    }

    fn put(&mut self, name: Arc<str>, topic: Arc<TopicMeta>) {
        self.names.insert(name.clone());
        self.by_name.insert(name.clone(), topic.id);
        self.by_id.insert(topic.id, (name, topic));
    }

    fn take(&mut self, name: &str) -> Option<Arc<TopicMeta>> {
        let id = self.by_name.remove(name)?;
        self.names.remove(name);
        self.by_id.remove(&id).map(|(_, topic)| topic)
    }

    /// A topic is gone.
    pub fn remove(&mut self, name: &str) -> Option<Arc<TopicMeta>> {
        let topic = self.take(name)?;
        self.touch(name);
        Some(topic)
    }

    /// A topic to change.
    pub fn topic_mut(&mut self, name: &str) -> Option<&mut TopicMeta> {
        self.touch(name);
        let (_, topic) = self.by_id.get_mut(self.by_name.get(name)?)?;
        Some(Arc::make_mut(topic))
    }

    /// A partition to change.
    pub fn partition_mut(&mut self, key: Key) -> Option<&mut PartitionMeta> {
        let name = self.by_id.get(&key.0)?.0.clone();
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
            let old = self.take(name);
            let Some(topic) = truth.topics().get(name) else { continue };
            let old = old.filter(|old| old.id == topic.id);
            for (n, now) in topic.partitions.iter().enumerate() {
                let before = old.as_ref().and_then(|old| old.partitions.get(n)).cloned();
                if before.as_ref() != Some(now) {
                    let key = (topic.id, n as i32);
                    all.push(Changed { key, before, now: now.clone() });
                }
            }
            self.put(Arc::from(name.as_str()), topic.clone());
        }
        all
    }
}
