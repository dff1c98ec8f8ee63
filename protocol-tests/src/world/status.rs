//! Whether what isolog shows is so: compared with the brokers at every step of a world.
//!
//! It never trusts isolog: the truth is what the simulated clusters hold.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::time::Duration;

use isolog::flow::stats::END_AGE_MS_MAX;
use isolog::ids::MirrorPartition;
use isolog::link::status::Link;
use isolog::link::status::LinkState;
use isolog::mirror::lag::Snapshot;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::broker::TestCluster;
use crate::broker::batch::Build;
use crate::broker::rights::Right;
use crate::rng::Rng;
use crate::world::ABSENT;
use crate::world::CALM_MAX;
use crate::world::IDLE;
use crate::world::World;

/// What halts a partition whose destination is no copy: how far it is behind is not known.
const NO_COPY: [&str; 3] = ["DIVERGED", "DESTINATION_AHEAD", "SOURCE_TRUNCATED"];
/// What an answer may take to come, beyond the age at which it is not shown.
const AWAY_MS_MARGIN: i64 = 1_500;
/// For how long a topic may be there, or be gone, before a look at the topics has seen it, in a
/// link that calls itself active meanwhile: looks come every 5 s, and some fail.
const LOOKED_MS_MAX: i64 = 120_000;

type Place = (String, i32);

/// What is known of a world beside what isolog shows.
#[derive(Default)]
pub struct Truth {
    /// Topics that are going to suffer, or do.
    pub victims: Vec<Victim>,
    /// How far each partition of the source was, at which times; the oldest one that counts first.
    ends: BTreeMap<Place, VecDeque<(i64, i64)>>,
    /// When each topic was first seen at the source.
    born: BTreeMap<String, i64>,
    /// Topics that had a row once: they never have none again while the link is active.
    shown: BTreeSet<String>,
}

/// What happened to a topic, for good.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Fate {
    SourceDeleted,
    DestinationDeleted,
    ForeignRecord,
    /// The same where nothing more is written at the source.
    ForeignAtRest,
    WriteDenied,
}

/// A topic that suffers.
pub struct Victim {
    name: String,
    fate: Option<Fate>,
    /// When it struck.
    since: i64,
}

impl Victim {
    /// Nothing has happened to it yet.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), fate: None, since: 0 }
    }

    /// Whether something has.
    pub fn is_struck(&self) -> bool {
        self.fate.is_some()
    }

    /// Something happens to it, once it is at the destination.
    pub fn strike(&mut self, rng: &mut Rng, source: &TestCluster, destination: &TestCluster) {
        if end_of(destination, &self.name, 0).is_none_or(|end| end == 0) {
            return;
        }
        let fates = [
            Fate::SourceDeleted,
            Fate::DestinationDeleted,
            Fate::ForeignRecord,
            Fate::ForeignAtRest,
            Fate::WriteDenied,
        ];
        let fate = fates[rng.between(0, 4) as usize];
        let delete = |cluster: &TestCluster| {
            cluster.change(|state| state.delete_topic(&self.name)).expect("it was there");
        };
        match fate {
            Fate::SourceDeleted => delete(source),
            Fate::DestinationDeleted => delete(destination),
            Fate::WriteDenied => {
                destination.deny(&self.name, Right::Write);
                self.write(source);
            }
            Fate::ForeignRecord | Fate::ForeignAtRest => {
                if destination.leader(&self.name, 0) < 0 {
                    return;
                }
                let time = source.look(|state| state.now_ms());
                destination.append_stored(&self.name, 0, &Build::plain(time, "foreign", 1));
            }
        }
        self.fate = Some(fate);
        self.since = source.look(|state| state.now_ms());
    }

    /// Whether all that was copied is gone, and isolog need not have seen it.
    fn is_just_lost(&self, now: i64) -> bool {
        self.fate == Some(Fate::DestinationDeleted) && now - self.since <= LOOKED_MS_MAX
    }

    /// A batch more at the source, where it still is.
    pub fn write(&self, source: &TestCluster) {
        let is_there = end_of(source, &self.name, 0).is_some();
        if is_there && self.fate != Some(Fate::ForeignAtRest) && source.leader(&self.name, 0) >= 0 {
            let time = source.look(|state| state.now_ms());
            source.append_stored(&self.name, 0, &Build::plain(time, "more", 2));
        }
    }

    /// What must be shown of it in the end.
    fn labels(&self) -> &[&str] {
        match self.fate {
            None => &[],
            Some(Fate::SourceDeleted) => &["SOURCE_TOPIC_DELETED"],
            Some(Fate::DestinationDeleted) => &["DESTINATION_TOPIC_DELETED"],
            Some(Fate::WriteDenied) => &["TOPIC_AUTHORIZATION_FAILED"],
            Some(Fate::ForeignRecord | Fate::ForeignAtRest) => {
                &["UNEXPECTED_WRITER", "DIVERGED", "DESTINATION_AHEAD"]
            }
        }
    }
}

/// The high watermark of a partition, if it is there.
fn end_of(cluster: &TestCluster, topic: &str, partition: i32) -> Option<i64> {
    cluster.look(|state| {
        let known = state.meta.topics().get(topic)?;
        known.partitions.get(partition as usize)?;
        Some(())
    })?;
    Some(cluster.hwm(topic, partition))
}

impl World {
    /// Makes a topic that is going to suffer, makes one suffer that is copied, or writes into one.
    pub(super) fn doom(&mut self) {
        let (source, destination) = (self.source.clone(), self.destination.clone());
        let rng = &mut self.rng;
        match self.truth.victims.iter_mut().find(|one| !one.is_struck()) {
            Some(victim) => victim.strike(rng, &source, &destination),
            None => {
                let name = format!("doomed{}", self.truth.victims.len());
                source.create_topic(&name, 1, &[]);
                source.fill(&name, 0, source.look(|state| state.now_ms()), &[3, 2]);
                self.truth.victims.push(Victim::new(&name));
            }
        }
    }

    /// Compares what isolog shows with what is.
    pub(super) fn compare_status(&mut self) {
        let Some(running) = &self.running else { return };
        let struck = self.truth.victims.iter().filter(|victim| victim.is_struck());
        for victim in struck.filter(|_| self.rng.chance(300)) {
            victim.write(&self.source);
        }
        let names: Vec<String> = self.topics.iter().map(|topic| topic.name.clone()).collect();
        self.truth.compare(running.link(), &self.source, &self.destination, &names);
    }

    /// The only broker of a cluster of so many was away for so long.
    pub(super) fn compare_away(&self, brokers: i32, pause: Duration) {
        if let Some(running) = self.running.as_ref().filter(|_| brokers == 1) {
            Truth::compare_away(running.link(), pause);
        }
    }

    /// Nothing happens any more: what is shown becomes the truth, and a new isolog shows the same.
    pub(super) async fn settle_status(&mut self) {
        self.wait_true().await;
        let before = self.truth.rows(self.isolog().link());
        self.stop().await;
        self.start();
        self.wait_true().await;
        let after = self.truth.rows(self.isolog().link());
        assert_eq!(before, after, "a restart shows something else");
    }

    async fn wait_true(&mut self) {
        let until = Instant::now() + CALM_MAX;
        loop {
            self.compare_status();
            let link = self.isolog().link().clone();
            let Some(wrong) = self.truth.wrong(&link, &self.source) else { return };
            assert!(Instant::now() < until, "{wrong}\n{:#?}", link.partitions());
            sleep(Duration::from_millis(500)).await;
        }
    }
}

impl Truth {
    /// Panics where something flatters.
    pub fn compare(
        &mut self,
        link: &Link,
        source: &TestCluster,
        destination: &TestCluster,
        topics: &[String],
    ) {
        let now = source.look(|state| state.now_ms());
        self.remember(source, now);
        let (status, rows) = (link.status(), link.partitions());
        let is_active = status.state == LinkState::Active;
        let lost = |one: &Victim| !is_active || one.is_just_lost(now);
        let lost = |name: &str| self.victims.iter().any(|one| one.name == name && lost(one));
        for (tp, seen) in rows.iter().filter(|(tp, _)| !lost(tp.mirror_topic.as_str())) {
            self.compare_lag(tp, seen, destination, now);
        }
        let have: BTreeSet<&str> = rows.iter().map(|(tp, _)| tp.mirror_topic.as_str()).collect();
        if is_active {
            let old =
                |name: &&String| self.born.get(*name).is_some_and(|t| now - t > LOOKED_MS_MAX);
            let doomed = self.victims.iter().filter(|one| !one.is_struck()).map(|one| &one.name);
            let wanted = topics.iter().chain(doomed).filter(old).map(String::as_str);
            for name in wanted.chain(self.shown.iter().map(String::as_str)) {
                assert!(have.contains(name), "{name} is wanted and has no row: {status:#?}");
            }
            let told = |subject: &str| status.troubles.iter().any(|one| one.subject == subject);
            assert!(told(ABSENT) && told(IDLE), "{:#?}", status.troubles);
        }
        assert!(have.contains(ABSENT), "a name of the filter has a row from the beginning");
        self.shown.extend(have.into_iter().map(str::to_owned));
    }

    /// A shown lag is never below the true one by more than one refresh, and what an open
    /// transaction holds back counts as not copied.
    fn compare_lag(
        &self,
        tp: &MirrorPartition,
        seen: &Snapshot,
        destination: &TestCluster,
        now: i64,
    ) {
        // what is held lies behind the source's end: without that nobody knows it
        assert_eq!(seen.held_records.is_some(), seen.source_end.is_some(), "{tp}: {seen:#?}");
        let Some((lag, held)) = seen.lag_records.zip(seen.held_records) else { return };
        let label = seen.reason.as_ref().map(|(label, _)| *label);
        assert!(
            seen.state != "Halted" || !label.is_some_and(|label| NO_COPY.contains(&label)),
            "{tp} is no copy and has a lag: {seen:#?}"
        );
        let (topic, partition) = (tp.mirror_topic.as_str(), tp.partition.0);
        let Some(ends) = self.ends.get(&(topic.to_owned(), partition)) else { return };
        let past = now - END_AGE_MS_MAX;
        let then = ends.iter().take_while(|(time, _)| *time <= past).last();
        let Some((_, source_end)) = then else { return };
        let copied = end_of(destination, topic, partition).unwrap_or(0);
        let shown = i64::try_from(lag + held).unwrap_or(i64::MAX);
        assert!(
            copied + shown >= *source_end,
            "{tp}: the source was at {source_end} long ago, the copy is at {copied}, and {shown} \
             are shown as missing: {seen:#?}"
        );
    }

    fn remember(&mut self, source: &TestCluster, now: i64) {
        let all: Vec<Place> = source.look(|state| {
            let topics = state.meta.topics().iter();
            let of = |(name, topic): (&str, &std::sync::Arc<crate::broker::meta::TopicMeta>)| {
                let name = name.to_owned();
                (0..topic.partitions.len() as i32).map(move |n| (name.clone(), n))
            };
            topics.flat_map(of).collect()
        });
        self.ends.retain(|place, _| all.binary_search(place).is_ok() || all.contains(place));
        for place in all {
            self.born.entry(place.0.clone()).or_insert(now);
            let Some(end) = end_of(source, &place.0, place.1) else { continue };
            let ends = self.ends.entry(place).or_default();
            ends.push_back((now, end));
            while ends.get(1).is_some_and(|(time, _)| *time <= now - END_AGE_MS_MAX) {
                ends.pop_front();
            }
        }
    }

    /// What is not yet as it must be when nothing happens any more.
    pub fn wrong(&self, link: &Link, source: &TestCluster) -> Option<String> {
        let rows: BTreeMap<Place, Snapshot> = rows_of(link);
        if link.status().state != LinkState::Active {
            return Some(format!("the link is {:?}", link.status().state));
        }
        self.ends
            .iter()
            .find_map(|((topic, partition), _)| {
                let seen = rows.get(&(topic.clone(), *partition));
                let fate =
                    self.victims.iter().find(|one| one.name == *topic).and_then(|one| one.fate);
                let end = end_of(source, topic, *partition)?;
                let shown = seen.and_then(|seen| seen.source_end).map(|end| end.get());
                let lag = seen.and_then(|seen| seen.lag_records);
                let is_settled = seen.is_some_and(|seen| seen.state != "Preparing");
                let is_true =
                    shown == Some(end) && (fate.is_some() || lag == Some(0) && is_settled);
                let is =
                    || format!("{topic}-{partition} ends at {end}, shown are {shown:?}, {lag:?}");
                (!is_true).then(is)
            })
            .or_else(|| self.victims.iter().find_map(|victim| wrong_victim(victim, &rows, link)))
    }

    /// What two isologs must agree on.
    pub fn rows(&self, link: &Link) -> Vec<(Place, &'static str, Option<u64>, Option<u64>)> {
        let is_struck = |name: &str| self.victims.iter().any(|v| v.name == name && v.is_struck());
        let rows = rows_of(link).into_iter().map(|(place, seen)| {
            // a foreign record is found by the batch beside it, or by the ends at a start: what is
            // known of the copy differs
            let lag = seen.lag_records.filter(|_| !is_struck(&place.0));
            // who may not append tries again and again
            let state = if self.is_denied(&place.0) { "denied" } else { seen.state };
            (place, state, lag, seen.held_records)
        });
        rows.collect()
    }

    fn is_denied(&self, name: &str) -> bool {
        self.victims.iter().any(|one| one.name == name && one.fate == Some(Fate::WriteDenied))
    }

    /// Panics where a cluster that answered nobody for so long is shown as known.
    pub fn compare_away(link: &Link, pause: Duration) {
        if pause.as_millis() as i64 > END_AGE_MS_MAX + AWAY_MS_MARGIN {
            for (tp, seen) in link.partitions() {
                assert_eq!(
                    seen.lag_records, None,
                    "{tp}: a cluster was away for {pause:?}: {seen:#?}"
                );
            }
        }
    }
}

fn rows_of(link: &Link) -> BTreeMap<Place, Snapshot> {
    let row = |(tp, seen): (MirrorPartition, Snapshot)| {
        ((tp.mirror_topic.as_str().to_owned(), tp.partition.0), seen)
    };
    link.partitions().into_iter().map(row).collect()
}

fn wrong_victim(victim: &Victim, rows: &BTreeMap<Place, Snapshot>, link: &Link) -> Option<String> {
    let fate = victim.fate?;
    let seen = rows.get(&(victim.name.clone(), 0));
    let label = seen.and_then(|seen| seen.reason.as_ref()).map(|(label, _)| *label);
    let state = seen.map(|seen| seen.state);
    let is_denied = fate == Fate::WriteDenied;
    let status = link.status();
    let told = status.all_troubles().find(|one| one.subject == victim.name);
    let is_told = (is_denied || state == Some("Halted"))
        && label.is_some_and(|l| victim.labels().contains(&l))
        && told.is_some_and(|one| victim.labels().contains(&one.kind.label()));
    let is_lost = matches!(fate, Fate::SourceDeleted | Fate::DestinationDeleted);
    let lag = seen.and_then(|seen| seen.lag_records);
    let is_right = is_told && (!is_lost || lag.is_none());
    (!is_right).then(|| format!("{} ({fate:?}) is shown as {seen:#?}", victim.name))
}
