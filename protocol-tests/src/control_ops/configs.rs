//! Configs of topics at both clusters, and the turns in which an instance has them follow.
//!
//! It never asks a plan what is right: what may be touched stands here once more.

use std::collections::BTreeMap;

use isolog::control::facts::MirrorKey;
use isolog::control::row::Before;
use isolog::control::task::configs::ConfigSync;
use isolog::control::task::configs::Entries;
use isolog::control::task::configs::Entry;
use isolog::control::task::configs::plan;
use isolog::control::topic::Stage;
use isolog::ids::TopicId;

use super::World;
use super::checks;

/// What a topic has that says nothing: the brokers' defaults.
const DEFAULTS: [(&str, &str); 7] = [
    ("cleanup.policy", "delete"),
    ("compression.type", "producer"),
    ("flush.ms", "9223372036854775807"),
    ("max.message.bytes", "1048588"),
    ("message.timestamp.type", "CreateTime"),
    ("min.insync.replicas", "1"),
    ("retention.ms", "604800000"),
];
/// Of those, what nobody has asked to have followed.
const UNLISTED: [&str; 2] = ["flush.ms", "min.insync.replicas"];
/// What topics are given now and then.
const VALUES: [(&str, &[&str]); 7] = [
    ("cleanup.policy", &["delete", "compact"]),
    ("compression.type", &["producer", "lz4"]),
    ("flush.ms", &["1000"]),
    ("max.message.bytes", &["2000", "60000000"]),
    ("message.timestamp.type", &["CreateTime", "LogAppendTime"]),
    ("min.insync.replicas", &["1", "2"]),
    ("retention.ms", &["1000", "-1", "900000000"]),
];

/// What topics say themselves, by their ids.
#[derive(Clone, Debug, Default)]
pub struct Configs(BTreeMap<TopicId, BTreeMap<&'static str, String>>);

impl Configs {
    fn entries(&self, id: TopicId) -> Entries {
        let own = self.0.get(&id);
        let entry = |(key, default): (&str, &str)| {
            let told = own.and_then(|own| own.get(key)).cloned();
            let is_override = told.is_some();
            (key.to_owned(), Entry { value: Some(told.unwrap_or(default.into())), is_override })
        };
        DEFAULTS.into_iter().map(entry).collect()
    }
}

impl World<'_> {
    /// Somebody changes a topic's config, or an instance compares those of one mirror topic.
    pub(super) fn configs(&mut self, nth: usize) {
        if self.faults && self.dice.roll(2) == 0 {
            return self.change_config();
        }
        let instance = &self.instances[nth];
        if !instance.is_holder || !instance.is_level || self.holder != nth {
            return;
        }
        let count = instance.truth.mirrors().count() as u64;
        let at = self.dice.roll(count.max(1)) as usize;
        let Some(key) = instance.truth.mirrors().nth(at).map(|(key, _)| key.clone()) else {
            return;
        };
        if checks::acts_on(&self.instances[nth].truth, nth, &key.0) {
            self.compare_configs(nth, &key);
        }
    }

    fn change_config(&mut self) {
        let (key, values) = VALUES[self.dice.roll(VALUES.len() as u64) as usize];
        let value = values[self.dice.roll(values.len() as u64) as usize];
        let is_source = self.dice.roll(2) == 0;
        let topics = if is_source { &self.clusters.source } else { &self.clusters.mirror };
        let at = self.dice.roll(topics.len().max(1) as u64) as usize;
        let Some(id) = topics.values().nth(at).map(|topic| topic.id) else { return };
        let own = self.configs.0.entry(id).or_default();
        match self.dice.roll(4) {
            0 => drop(own.remove(key)),
            _ => drop(own.insert(key, value.to_owned())),
        }
    }

    /// I23: what is listed follows, or is what exactness needs; all else is an admin's own.
    fn compare_configs(&mut self, nth: usize, key: &MirrorKey) {
        let Some(row) = self.instances[nth].truth.mirror(key).cloned() else { return };
        let Some((source, mirror)) = self.both_ids(nth, key) else { return };
        if row.stage != Stage::Mirroring {
            return;
        }
        let is_made = row.before == Before::Absent;
        let (from, is) = (self.configs.entries(source), self.configs.entries(mirror));
        let planned = plan(&ConfigSync::default(), (&from, &is), &row.owed, is_made);
        for (name, value) in planned.changes.iter().chain(&planned.at_stop).chain(&planned.owed) {
            let told = || format!("I23: {key:?}: {name} = {value:?}");
            assert!(!UNLISTED.contains(&name.as_str()), "{}: it is in no list", told());
            let wants = &from[name].value;
            let interim = ["max.message.bytes", "message.timestamp.type", "compression.type"];
            let is_interim = interim.contains(&name.as_str());
            let follows = value == wants || value.is_none() && !from[name].is_override;
            assert!(follows || is_interim, "{}: the source has {wants:?}", told());
        }
        if !is_made {
            let kept = |text: &Option<String>| {
                let ms: i64 = text.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0);
                if ms < 0 { i64::MAX } else { ms }
            };
            let shorter = planned.changes.get("retention.ms");
            let shorter = shorter.filter(|one| kept(one) < kept(&is["retention.ms"].value));
            assert!(shorter.is_none(), "I23: {key:?} would keep less: {shorter:?}, {is:?}");
        }
        let own = self.configs.0.entry(mirror).or_default();
        for (name, value) in planned.changes {
            let known = DEFAULTS.iter().find(|(one, _)| *one == name);
            let Some((name, _)) = known else { continue };
            match value {
                Some(value) => drop(own.insert(name, value)),
                None => drop(own.remove(name)),
            }
        }
    }
}
