//! What is known of a cluster's brokers, topics and leaders: a cache and its rules.
//!
//! It never asks anybody, and never goes back to a lower leader epoch of the same topic: an old
//! leader that wakes up still believes in itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cluster::dial::is_host;
use crate::ids::BrokerId;
use crate::ids::LeaderEpoch;
use crate::ids::PartitionId;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::ids::TopicPartition;
use crate::wire::error::KafkaCode;
use crate::wire::prim::peer_text;

/// UNKNOWN_TOPIC_OR_PARTITION.
const UNKNOWN_TOPIC: KafkaCode = KafkaCode(3);

/// A broker and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its node id.
    pub id: BrokerId,
    /// The advertised host.
    pub host: Arc<str>,
    /// The advertised port.
    pub port: u16,
    /// Its rack, if it has one.
    pub rack: Option<Arc<str>>,
}

impl Broker {
    /// A broker as its cluster tells it; `None` where its host is no name and no address, or its
    /// port no port: it cannot be dialled, and is not repeated either.
    pub fn told(id: i32, host: &str, port: i32, rack: Option<&str>) -> Option<Broker> {
        Some(Broker {
            id: BrokerId(id),
            host: is_host(host).then(|| host.into())?,
            port: u16::try_from(port).ok().filter(|port| *port > 0)?,
            rack: rack.map(|rack| peer_text(rack.as_bytes()).into()),
        })
    }
}

/// Who leads one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// `None` while there is none.
    pub leader: Option<BrokerId>,
    /// The epoch of that leader.
    pub epoch: LeaderEpoch,
    /// How many replicas it should have.
    pub replicas: usize,
    /// How many of them are in sync.
    pub in_sync: usize,
    /// What the broker said of this partition.
    pub error: KafkaCode,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: TopicName,
    /// Its identity; `NIL` from a broker without topic ids.
    pub id: TopicId,
    /// Whether it is Kafka's own.
    pub is_internal: bool,
    /// What the broker said of this topic.
    pub error: KafkaCode,
    /// Its partitions.
    pub partitions: BTreeMap<PartitionId, Partition>,
}

/// One answer to a Metadata request, in our words.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// All brokers; empty is "nothing said".
    pub brokers: Vec<Broker>,
    /// How many more it told whose host is no name and no address.
    pub hostless: usize,
    /// The controller, or a broker that forwards to it.
    pub controller: Option<BrokerId>,
    /// The topics asked for.
    pub topics: Vec<Topic>,
    /// Whether all topics were asked for, so that the others are gone.
    pub is_all: bool,
}

/// The cache.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    brokers: BTreeMap<BrokerId, Broker>,
    controller: Option<BrokerId>,
    hostless: usize,
    topics: BTreeMap<TopicName, Arc<Topic>>,
    generation: u64,
}

impl Metadata {
    /// Counts the changes seen.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// All brokers, by id.
    pub fn brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.values()
    }

    /// How many more brokers were told whose host is no name and no address.
    pub fn hostless(&self) -> usize {
        self.hostless
    }

    /// One broker.
    pub fn broker(&self, id: BrokerId) -> Option<&Broker> {
        self.brokers.get(&id)
    }

    /// The controller, or a broker that forwards to it.
    pub fn controller(&self) -> Option<BrokerId> {
        self.controller
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// One topic.
    pub fn topic(&self, name: &TopicName) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// One partition.
    pub fn partition(&self, tp: &TopicPartition) -> Option<&Partition> {
        self.topics.get(&tp.topic)?.partitions.get(&tp.partition)
    }

    /// Takes an answer in; `true` when something changed.
    pub fn absorb(&mut self, told: Told) -> bool {
        let mut changed = self.absorb_brokers(told.brokers);
        if told.controller.is_some() && told.controller != self.controller {
            self.controller = told.controller;
            changed = true;
        }
        changed |= self.hostless != told.hostless;
        self.hostless = told.hostless;
        if told.is_all {
            let names: std::collections::BTreeSet<&TopicName> =
                told.topics.iter().map(|topic| &topic.name).collect();
            let before = self.topics.len();
            self.topics.retain(|name, _| names.contains(name));
            changed |= self.topics.len() != before;
        }
        for topic in told.topics {
            changed |= self.absorb_topic(topic);
        }
        self.generation += u64::from(changed);
        changed
    }

    /// A leader that a fetch or produce answer told; `true` when that is news.
    pub fn note_leader(
        &mut self,
        tp: &TopicPartition,
        leader: BrokerId,
        epoch: LeaderEpoch,
    ) -> bool {
        let newer = |known: &Partition| {
            epoch > known.epoch || (epoch == known.epoch && known.leader.is_none())
        };
        if !self.partition(tp).is_some_and(newer) {
            return false;
        }
        let topic = self.topics.get_mut(&tp.topic).expect("its partition was just found");
        let partitions = &mut Arc::make_mut(topic).partitions;
        let known = partitions.get_mut(&tp.partition).expect("it was just found");
        known.leader = Some(leader);
        known.epoch = epoch;
        self.generation += 1;
        true
    }

    /// A broker's address that a fetch or produce answer told; `true` when that is news.
    pub fn note_broker(&mut self, broker: Broker) -> bool {
        let news = self.brokers.get(&broker.id) != Some(&broker);
        if news {
            self.brokers.insert(broker.id, broker);
            self.generation += 1;
        }
        news
    }

    fn absorb_brokers(&mut self, brokers: Vec<Broker>) -> bool {
        if brokers.is_empty() {
            return false;
        }
        let brokers = brokers.into_iter().map(|broker| (broker.id, broker)).collect();
        let changed = self.brokers != brokers;
        self.brokers = brokers;
        changed
    }

    fn absorb_topic(&mut self, mut topic: Topic) -> bool {
        let Some(known) = self.topics.get(&topic.name) else {
            self.topics.insert(topic.name.clone(), Arc::new(topic));
            return true;
        };
        let is_mute = topic.partitions.is_empty() && topic.id == TopicId::NIL;
        if is_mute && !topic.error.is_none() && topic.error != UNKNOWN_TOPIC {
            // an error without content (no right, no leader yet) does not undo what is known
            topic = Topic { error: topic.error, ..Topic::clone(known) };
        } else if topic.id == known.id {
            keep_higher_epochs(&mut topic.partitions, &known.partitions);
        }
        if **known == topic {
            return false;
        }
        self.topics.insert(topic.name.clone(), Arc::new(topic));
        true
    }
}

fn keep_higher_epochs(
    told: &mut BTreeMap<PartitionId, Partition>,
    known: &BTreeMap<PartitionId, Partition>,
) {
    for (id, partition) in told {
        if let Some(known) = known.get(id).filter(|known| known.epoch > partition.epoch) {
            partition.leader = known.leader;
            partition.epoch = known.epoch;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    fn tp(partition: i32) -> TopicPartition {
        TopicPartition { topic: name("a"), partition: PartitionId(partition) }
    }

    fn topic(id: u8, leaders: &[(i32, i32)]) -> Topic {
        let partition = |(at, told): (usize, &(i32, i32))| {
            let partition = Partition {
                leader: (told.0 >= 0).then_some(BrokerId(told.0)),
                epoch: LeaderEpoch(told.1),
                replicas: 3,
                in_sync: 3,
                error: KafkaCode::NONE,
            };
            (PartitionId(at as i32), partition)
        };
        Topic {
            name: name("a"),
            id: TopicId([id; 16]),
            is_internal: false,
            error: KafkaCode::NONE,
            partitions: leaders.iter().enumerate().map(partition).collect(),
        }
    }

    fn told(topics: Vec<Topic>) -> Told {
        Told { topics, ..Told::default() }
    }

    #[track_caller]
    fn leads(metadata: &Metadata, partition: i32, leader: i32, epoch: i32) {
        let known = metadata.partition(&tp(partition)).unwrap();
        assert_eq!((known.leader, known.epoch.0), (Some(BrokerId(leader)), epoch));
    }

    #[test]
    fn a_lower_epoch_of_the_same_topic_is_not_believed() {
        let mut metadata = Metadata::default();
        assert!(metadata.absorb(told(vec![topic(1, &[(1, 5), (2, 5)])])));
        assert!(metadata.absorb(told(vec![topic(1, &[(3, 4), (3, 6)])])));
        leads(&metadata, 0, 1, 5);
        leads(&metadata, 1, 3, 6);
        assert!(!metadata.absorb(told(vec![topic(1, &[(9, 1), (9, 2)])])), "nothing new");
        assert_eq!(metadata.generation(), 2);
    }

    #[test]
    fn a_recreated_topic_begins_anew() {
        let mut metadata = Metadata::default();
        metadata.absorb(told(vec![topic(1, &[(1, 5)])]));
        metadata.absorb(told(vec![topic(2, &[(2, 0)])]));
        leads(&metadata, 0, 2, 0);
    }

    #[test]
    fn answers_of_the_data_plane_count_as_much() {
        let mut metadata = Metadata::default();
        metadata.absorb(told(vec![topic(1, &[(1, 5), (-1, 5)])]));
        assert!(!metadata.note_leader(&tp(0), BrokerId(2), LeaderEpoch(4)));
        assert!(!metadata.note_leader(&tp(0), BrokerId(2), LeaderEpoch(5)));
        assert!(metadata.note_leader(&tp(0), BrokerId(2), LeaderEpoch(6)));
        assert!(metadata.note_leader(&tp(1), BrokerId(3), LeaderEpoch(5)), "there was none");
        assert!(!metadata.note_leader(&tp(7), BrokerId(2), LeaderEpoch(9)), "no such partition");
        metadata.absorb(told(vec![topic(1, &[(1, 5), (1, 5)])]));
        leads(&metadata, 0, 2, 6);
    }

    #[test]
    fn only_an_answer_about_all_topics_removes_one() {
        let mut metadata = Metadata::default();
        metadata.absorb(told(vec![topic(1, &[(1, 5)])]));
        assert!(!metadata.absorb(told(vec![])));
        assert!(metadata.topic(&name("a")).is_some());
        assert!(metadata.absorb(Told { is_all: true, ..Told::default() }));
        assert!(metadata.topic(&name("a")).is_none());
    }

    #[test]
    fn an_error_without_content_keeps_the_leaders_but_a_missing_topic_does_not() {
        let mut metadata = Metadata::default();
        metadata.absorb(told(vec![topic(1, &[(1, 5)])]));
        let error = |code: i16| Topic {
            id: TopicId::NIL,
            error: KafkaCode(code),
            partitions: BTreeMap::new(),
            ..topic(0, &[])
        };
        metadata.absorb(told(vec![error(29)]));
        leads(&metadata, 0, 1, 5);
        assert_eq!(metadata.topic(&name("a")).unwrap().error, KafkaCode(29));
        metadata.absorb(told(vec![error(3)]));
        assert!(metadata.topic(&name("a")).unwrap().partitions.is_empty());
    }

    #[test]
    fn brokers_are_replaced_as_a_whole_but_never_by_nothing() {
        let broker = |id: i32, host: &str| Broker {
            id: BrokerId(id),
            host: host.into(),
            port: 1,
            rack: None,
        };
        let mut metadata = Metadata::default();
        let brokers = vec![broker(1, "a"), broker(2, "b")];
        assert!(metadata.absorb(Told { brokers: brokers.clone(), ..Told::default() }));
        assert!(!metadata.absorb(Told { brokers, ..Told::default() }));
        assert!(!metadata.absorb(Told::default()));
        assert!(metadata.absorb(Told { brokers: vec![broker(2, "c")], ..Told::default() }));
        assert_eq!(metadata.brokers().count(), 1);
        assert!(metadata.note_broker(broker(3, "d")));
        assert!(!metadata.note_broker(broker(3, "d")));
    }
}
