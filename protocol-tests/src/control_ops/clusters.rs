//! Two clusters as maps of topics, and what looks and actions find there.
//!
//! It never knows what a machine wants.

use std::collections::BTreeMap;

use isolog::control::facts::Asked;
use isolog::control::facts::Do;
use isolog::control::facts::Done;
use isolog::control::facts::Failed;
use isolog::control::facts::ForWriters;
use isolog::control::facts::Look;
use isolog::control::facts::Metadata;
use isolog::control::facts::Observed;
use isolog::control::facts::Seen;
use isolog::control::facts::TopicFacts;
use isolog::control::facts::Topics;
use isolog::control::order::Restore;
use isolog::control::row::lineage::Ancestor;
use isolog::control::row::reversal::Had;
use isolog::control::row::reversal::NO_BATCH_BYTES;
use isolog::control::topic::Fault;
use isolog::ids::ClusterId;
use isolog::ids::Offset;
use isolog::ids::PartitionId;
use isolog::ids::TopicId;
use isolog::ids::TopicName;

/// A topic.
#[derive(Clone, Debug)]
pub struct SimTopic {
    pub id: TopicId,
    pub partitions: i32,
    /// Somebody wrote into it before we came.
    pub is_foreign: bool,
    /// Its configs are those that it was owed.
    pub is_given_back: bool,
    /// What it is itself a mirror of.
    pub ancestors: Vec<Ancestor>,
    /// Its own `max.message.bytes`.
    pub limit: Option<String>,
}

/// The cluster that is mirrored to.
const HERE: &str = "destination";

impl SimTopic {
    /// Whether its records come from here.
    pub fn is_loop(&self) -> bool {
        self.ancestors.iter().any(|one| &*one.cluster.0 == HERE)
    }

    /// It becomes a mirror of another cluster's, then of one of ours, then of none.
    fn change_line(&mut self, name: &TopicName) {
        let of = |cluster: &str| Ancestor {
            cluster: ClusterId(cluster.into()),
            topic: name.clone(),
            id: TopicId([9; 16]),
        };
        self.ancestors = match self.ancestors.len() {
            0 => vec![of("far")],
            1 => vec![of("far"), of(HERE)],
            _ => Vec::new(),
        };
    }
}

fn a_loop() -> Fault {
    Fault { code: "LOOP".into(), text: "it comes from here".into() }
}

/// Both.
#[derive(Clone, Debug, Default)]
pub struct Clusters {
    pub source: BTreeMap<TopicName, SimTopic>,
    pub mirror: BTreeMap<TopicName, SimTopic>,
    ids: u64,
}

impl Clusters {
    fn new_topic(&mut self, partitions: i32, is_foreign: bool) -> SimTopic {
        self.ids += 1;
        let mut id = [1; 16];
        id[..8].copy_from_slice(&self.ids.to_be_bytes());
        let ancestors = Vec::new();
        let limit = self.ids.is_multiple_of(2).then(|| "1000".to_owned());
        SimTopic { id: TopicId(id), partitions, is_foreign, is_given_back: false, ancestors, limit }
    }

    pub fn create_source(&mut self, name: &TopicName, partitions: i32) {
        let topic = self.new_topic(partitions, false);
        self.source.insert(name.clone(), topic);
    }

    pub fn create_mirror(&mut self, name: &TopicName, partitions: i32, is_foreign: bool) {
        let topic = self.new_topic(partitions, is_foreign);
        self.mirror.insert(name.clone(), topic);
    }

    /// Created, grown, deleted, made anew, or a mirror of another one by now.
    pub fn change_source(&mut self, name: &TopicName, how: u64) {
        match (self.source.get_mut(name), how) {
            (None, _) => self.create_source(name, 1 + how as i32 % 3),
            (Some(topic), 0..=2) if topic.partitions < 6 => topic.partitions += 1,
            (Some(_), 3) => drop(self.source.remove(name)),
            (Some(_), 4) => self.create_source(name, 2),
            (Some(topic), 5) => topic.change_line(name),
            _ => {}
        }
    }

    pub fn look(&self, look: &Look) -> Observed {
        let seen =
            |topic: &SimTopic| Metadata::There(Seen { id: topic.id, partitions: topic.partitions });
        let all = |topics: &BTreeMap<TopicName, SimTopic>| -> BTreeMap<TopicName, Metadata> {
            topics.iter().map(|(name, topic)| (name.clone(), seen(topic))).collect()
        };
        let Asked::Topics(wanted) = &look.what else {
            let (source, mirror) = (all(&self.source), all(&self.mirror));
            let line =
                |(name, topic): (&TopicName, &SimTopic)| (name.clone(), topic.ancestors.clone());
            let ancestors = Some(self.source.iter().map(line).collect());
            let loops = self.source.iter().filter(|(_, topic)| topic.is_loop());
            let loops = loops.map(|(name, _)| (name.clone(), a_loop())).collect();
            return Observed::All(Topics { source, mirror, ancestors, loops });
        };
        let facts = wanted.iter().map(|wanted| {
            let at = |topics: &BTreeMap<TopicName, SimTopic>, name: &TopicName| {
                topics.get(name).map_or(Metadata::Absent, seen)
            };
            let mirror = self.mirror.get(&wanted.mirror);
            let source = self.source.get(&wanted.source);
            let back = source.filter(|topic| topic.is_loop()).map(|_| Metadata::Hidden(a_loop()));
            let facts = TopicFacts {
                source: back.unwrap_or_else(|| at(&self.source, &wanted.source)),
                ancestors: source.map(|topic| topic.ancestors.clone()).unwrap_or_default(),
                mirror: at(&self.mirror, &wanted.mirror),
                is_empty: mirror.is_none_or(|topic| !topic.is_foreign),
                starts: BTreeMap::new(),
                configs: BTreeMap::from([("compression.type".into(), "producer".into())]),
                owed: BTreeMap::from([("compression.type".into(), None)]),
                at_stop: Default::default(),
            };
            (wanted.mirror.clone(), facts)
        });
        Observed::Topics(facts.collect())
    }

    /// What stands at that name is to be gone on with, or made anew.
    pub fn any_restore(&self, (source, here): (&TopicName, &str), dice: u64) -> Option<Restore> {
        let here = TopicName::new(here).expect("a legal name");
        let id = self.mirror.get(&here).filter(|_| dice.is_multiple_of(3))?.id;
        let source_id = self.source.get(source)?.id;
        let ends = if dice.is_multiple_of(2) { None } else { Some((PartitionId(0), Offset::ZERO)) };
        Some(Restore {
            id,
            source_id,
            ends: ends.into_iter().collect(),
            starts: BTreeMap::new(),
            reversal: None,
        })
    }

    pub fn act(&mut self, action: &Do) -> Result<Done, Failed> {
        match action {
            Do::Create { mirror, partitions, .. } => match self.mirror.get(&mirror.1) {
                Some(topic) if topic.is_foreign || topic.partitions != *partitions => {
                    Err(failed("TOPIC_EXISTS_ERROR", true))
                }
                Some(topic) => Ok(Done::Created(topic.id)),
                None => {
                    self.create_mirror(&mirror.1, *partitions, false);
                    Ok(Done::Created(self.mirror[&mirror.1].id))
                }
            },
            Do::Compare { mirror, mirror_id, .. } => match self.mirror.get(&mirror.1) {
                Some(topic) if topic.id == *mirror_id && !topic.is_foreign => {
                    // whether it was sealed before is in no row any more
                    Ok(Done::IsPrefix { is_fenced: topic.id.0[15] % 2 == 1 })
                }
                _ => Err(failed("DIVERGED", true)),
            },
            Do::Replace { mirror, mirror_id, .. } => {
                if self.mirror.get(&mirror.1).is_some_and(|topic| topic.id == *mirror_id) {
                    self.mirror.remove(&mirror.1);
                }
                Ok(Done::Replaced)
            }
            Do::Grow { mirror, partitions } => match self.mirror.get_mut(&mirror.1) {
                Some(topic) => {
                    topic.partitions = topic.partitions.max(*partitions);
                    Ok(Done::Grown(topic.partitions))
                }
                None => Err(failed("UNKNOWN_TOPIC_OR_PARTITION_ERROR", false)),
            },
            Do::GiveBack { mirror, mirror_id, owed } => {
                if let Some(topic) = self.mirror.get_mut(&mirror.1).filter(|t| t.id == *mirror_id) {
                    topic.is_given_back = true;
                }
                Ok(Done::GivenBack(owed.clone()))
            }
            Do::Delete { mirror, mirror_id } => {
                if self.mirror.get(&mirror.1).is_some_and(|topic| topic.id == *mirror_id) {
                    self.mirror.remove(&mirror.1);
                }
                Ok(Done::Deleted)
            }
            Do::Writers { source: (name, id), what, .. } => {
                let topic = self.source.get_mut(name).filter(|topic| topic.id == *id);
                let Some(topic) = topic else { return Err(failed("REVERSAL_WAITS", false)) };
                match what {
                    ForWriters::Ask => {
                        let value = topic.limit.clone().filter(|had| had != NO_BATCH_BYTES);
                        return Ok(Done::Asked(Had { is_own: value.is_some(), value }));
                    }
                    ForWriters::Stop => topic.limit = Some(NO_BATCH_BYTES.to_owned()),
                    ForWriters::Let(had) => topic.limit = had.own(),
                }
                let is_stop = matches!(what, ForWriters::Stop);
                Ok(if is_stop { Done::WritersStopped } else { Done::WritersLet })
            }
            Do::Rest { source: (name, id), .. } => self.rests(name, *id),
        }
    }

    /// Nobody asks for that before the source is closed.
    fn rests(&self, name: &TopicName, id: TopicId) -> Result<Done, Failed> {
        let topic = self.source.get(name).filter(|topic| topic.id == id);
        let topic = topic.ok_or_else(|| failed("REVERSAL_WAITS", false))?;
        assert_eq!(topic.limit.as_deref(), Some(NO_BATCH_BYTES), "{name} can be written");
        Ok(Done::Rests)
    }
}

pub fn failed(code: &str, is_final: bool) -> Failed {
    Failed { fault: Fault { code: code.into(), text: code.into() }, is_final }
}
