//! Links and mirror topics as REST shows them: those that the registry has, and those that the
//! config file declares and that run beside it.
//!
//! It never decides anything, and never shows a value of a config.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use crate::control::link::LinkState;
use crate::control::row::LinkMode;
use crate::control::row::MirrorRow;
use crate::control::row::Sealed;
use crate::control::task::last::LastSync;
use crate::control::topic::How;
use crate::control::topic::Status;
use crate::ids::LinkName;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TimestampMs;
use crate::ids::TopicName;
use crate::link::clients::Clients;
use crate::link::registry::Counts;
use crate::link::registry::LinkSeen;
use crate::link::registry::MirrorSeen;
use crate::link::registry::Seen;
use crate::link::registry::TaskSeen;
use crate::service::checklist;
use crate::service::checklist::Around;
use crate::service::checklist::Line;
use crate::service::checklist::Sights;
use crate::service::links::declared_status;
use crate::service::rest::Declared;
use crate::service::rest::blockers;
use crate::service::view::AWAY_CODE;
use crate::service::view::ExporterView;
use crate::service::view::GroupView;
use crate::service::view::LinkView;
use crate::service::view::PartitionView;
use crate::service::view::UNAVAILABLE;

/// What an offset or a lag is that nobody knows.
const UNKNOWN: i64 = -1;

/// All that is seen at one moment.
pub struct Everything {
    /// What the registry has.
    pub seen: Arc<Seen>,
    /// All partitions that run, by link, topic and number.
    pub partitions: Arc<Vec<PartitionView>>,
    /// The links that run: of the config file those too that the registry has no rows of yet.
    pub links: Vec<LinkView>,
    /// What that says of each.
    pub configs: Arc<Declared>,
}

/// A link.
pub struct LinkShown {
    /// Its name.
    pub name: String,
    /// `cluster_link_id`, where it has one.
    pub id: Option<String>,
    /// The source's id.
    pub source: Option<String>,
    /// `link.mode`.
    pub mode: LinkMode,
    /// A word of Cluster Linking's.
    pub state: &'static str,
    /// Why it does not go on, by code and text.
    pub fault: Option<(String, String)>,
    /// Its mirror topics, in order.
    pub topics: Vec<String>,
    /// Topics that were mirror topics of it and are not taken again without an order.
    pub let_go: Vec<String>,
    /// Consumer groups that are not followed by order.
    pub forgotten: Vec<String>,
    /// Its tasks.
    pub tasks: Vec<TaskSeen>,
    /// Its partitions by what they do.
    pub counts: Counts,
}

/// A mirror topic.
pub struct MirrorShown {
    /// Whose it is.
    pub link: String,
    /// Its name here.
    pub mirror: String,
    /// Its name at the source.
    pub source: String,
    /// How many partitions it has.
    pub partitions: i32,
    /// A word of Cluster Linking's.
    pub status: &'static str,
    /// Why it does not go on, by code and text.
    pub fault: Option<(String, String)>,
    /// How far that is what is being done for it.
    pub progress: Option<String>,
    /// Since when it is in that state, in ms since 1970; 0 where that is not known.
    pub since_ms: i64,
    /// How far each partition is behind.
    pub lags: Vec<Lag>,
    /// What a stop waits for.
    pub blockers: Vec<String>,
    /// What a person should know before it is stopped, where that was asked.
    pub checks: Vec<Line>,
    /// How consumer groups stood when it was promoted.
    pub groups: Option<LastSync>,
    /// `replication.factor`, where it was said.
    pub replicas: Option<i16>,
}

/// How far a partition is behind; -1 where that is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lag {
    /// The partition.
    pub partition: i32,
    /// Records that the source has and the mirror has not.
    pub lag: i64,
    /// The first offset of the source that is not mirrored.
    pub last_source_fetch_offset: i64,
    /// Records behind those that an open transaction of the source holds back.
    pub held_records: i64,
    /// The greatest timestamp of the last batch that was mirrored since isolog was started.
    pub last_record_time_ms: i64,
}

impl Lag {
    /// One of which nothing is known.
    fn unknown(partition: i32) -> Lag {
        let (lag, last_source_fetch_offset) = (UNKNOWN, UNKNOWN);
        let (held_records, last_record_time_ms) = (UNKNOWN, UNKNOWN);
        Lag { partition, lag, last_source_fetch_offset, held_records, last_record_time_ms }
    }
}

impl Everything {
    /// All links, by name.
    pub fn links(&self) -> Vec<LinkShown> {
        let seen = self.seen.links.iter().map(|(name, link)| self.commanded(name, link));
        let mut all: Vec<LinkShown> =
            seen.chain(self.declared().map(|link| self.declares(link))).collect();
        all.sort_by(|left, right| left.name.cmp(&right.name));
        all
    }

    /// A link by its name.
    pub fn link(&self, name: &str) -> Option<LinkShown> {
        let key = LinkName(name.into());
        match self.seen.links.get(&key) {
            Some(link) => Some(self.commanded(&key, link)),
            None => self.declared().find(|link| link.name == name).map(|link| self.declares(link)),
        }
    }

    /// The links of the config file that the registry does not have.
    fn declared(&self) -> impl Iterator<Item = &LinkView> {
        self.links.iter().filter(move |link| {
            let name = LinkName(link.name.as_str().into());
            self.configs.contains_key(&name) && !self.seen.links.contains_key(&name)
        })
    }

    /// Why a link that its row and its source let go on does not: no cluster answers.
    fn away(&self, name: &str) -> Option<(String, String)> {
        let link = self.links.iter().find(|link| link.name == name)?;
        let is_away = link.state == "Unavailable";
        is_away.then(|| (AWAY_CODE.to_owned(), link.reason.clone()))
    }

    /// The mirror topics of one link, or of all, by link and name.
    pub fn mirrors(&self, link: Option<&str>) -> Vec<MirrorShown> {
        let mut all = Vec::new();
        for ((of, topic), mirror) in &self.seen.mirrors {
            if link.is_none_or(|link| *link == *of.0) {
                all.push(self.commanded_mirror(&of.0, topic.as_str(), mirror));
            }
        }
        for declared in self.declared().filter(|one| link.is_none_or(|link| one.name == link)) {
            let own = self.of_link(&declared.name);
            let topics = own.chunk_by(|left, right| left.topic == right.topic);
            all.extend(topics.map(|topic| declares_mirror(declared, topic)));
        }
        all.sort_by(|left, right| (&left.link, &left.mirror).cmp(&(&right.link, &right.mirror)));
        all
    }

    /// One mirror topic.
    pub fn mirror(&self, link: &str, topic: &str) -> Option<MirrorShown> {
        let key = (LinkName(link.into()), TopicName::new(topic)?);
        if let Some(mirror) = self.seen.mirrors.get(&key) {
            return Some(self.commanded_mirror(link, topic, mirror));
        }
        let declared = self.declared().find(|one| one.name == link)?;
        let own = self.of_topic(link, topic);
        (!own.is_empty()).then(|| declares_mirror(declared, own))
    }

    /// One mirror topic with what should be known of it before it is stopped.
    pub fn checked(
        &self,
        (link, topic): (&str, &str),
        how: How,
        (groups, around): (&[GroupView], &[Line]),
        (away, now): (Option<&str>, TimestampMs),
    ) -> Option<MirrorShown> {
        let mut shown = self.mirror(link, topic)?;
        let key = (LinkName(link.into()), TopicName::new(topic)?);
        if let (Some(link), Some(mirror)) =
            (self.seen.links.get(&key.0), self.seen.mirrors.get(&key))
        {
            let partitions = self.of_topic(&key.0.0, topic);
            let sights = Sights { how, link, mirror, topic, partitions, groups, around, away, now };
            shown.checks = checklist::of(&sights);
        }
        Some(shown)
    }

    /// What all mirror topics of a link are called at the source, STOPPED ones too.
    pub fn sources(&self, link: &LinkName) -> BTreeSet<String> {
        let own = self.seen.mirrors_of(link);
        own.map(|(_, mirror)| mirror.row.source_topic.to_string()).collect()
    }

    /// What should be known around all mirror topics of a link before one is stopped.
    pub fn around(
        &self,
        link: &LinkName,
        clients: Option<Clients>,
        exporters: Vec<ExporterView>,
    ) -> Vec<Line> {
        let ledger = self.seen.ledgers.get(link);
        let ledger = ledger.iter().flat_map(|ledger| ledger.iter());
        let synced = ledger.filter(|(_, kind)| kind.is_of_source());
        let principals = synced.map(|(binding, _)| {
            let who = &binding.principal;
            who.strip_prefix("User:").unwrap_or(who).to_owned()
        });
        let sources = self.sources(link);
        Around { clients, principals: principals.collect(), sources, exporters }.lines()
    }

    fn commanded(&self, name: &LinkName, link: &LinkSeen) -> LinkShown {
        let fault = link.fault().map(|fault| (fault.code.clone(), fault.text.clone()));
        let away = self.away(&name.0).filter(|_| link.state == LinkState::Active);
        let state = if away.is_some() { UNAVAILABLE } else { link.state.word() };
        LinkShown {
            name: name.to_string(),
            id: Some(link.row.id.clone()),
            source: link.row.source.as_ref().map(|id| id.to_string()),
            mode: link.row.mode,
            state,
            fault: fault.or(away),
            topics: self.seen.mirrors_of(name).map(|(topic, _)| topic.to_string()).collect(),
            let_go: link.let_go.iter().map(TopicName::to_string).collect(),
            forgotten: link.row.forgotten.iter().map(|one| one.as_str().to_owned()).collect(),
            tasks: link.tasks.clone(),
            counts: self.seen.counts(name),
        }
    }

    fn commanded_mirror(&self, link: &str, topic: &str, mirror: &MirrorSeen) -> MirrorShown {
        let running: BTreeMap<i32, &PartitionView> =
            self.of_topic(link, topic).iter().map(|view| (view.partition, view)).collect();
        let lag = |partition: i32| match running.get(&partition) {
            Some(view) => known_end(mirror, lag_of(view)),
            None => sealed_lag(mirror, partition),
        };
        let row = &mirror.row;
        let reason = mirror.reason.as_ref().map(|fault| (fault.code.clone(), fault.text.clone()));
        let away = self.away(link).filter(|_| mirror.status == Status::Active);
        let status = match &away {
            Some(_) => Status::SourceUnavailable.word_v3(),
            None => mirror.status.word_v3(),
        };
        let blockers = match mirror.status {
            Status::PendingStopped => blockers::of(mirror, &running),
            _ => Vec::new(),
        };
        MirrorShown {
            link: link.to_owned(),
            mirror: topic.to_owned(),
            source: row.source_topic.to_string(),
            partitions: row.partitions,
            status,
            fault: reason.or(away),
            progress: mirror.progress.clone().or_else(|| foreign(row)).or_else(|| unsynced(row)),
            since_ms: mirror.since.0,
            lags: (0..row.partitions).map(lag).collect(),
            blockers,
            checks: Vec::new(),
            groups: row.last_sync.as_deref().cloned(),
            replicas: row.replicas,
        }
    }

    fn declares(&self, link: &LinkView) -> LinkShown {
        let own = self.of_link(&link.name);
        let topics = own.chunk_by(|left, right| left.topic == right.topic);
        let state = link_word(&link.state);
        let fault = matches!(state, UNAVAILABLE | "FAILED")
            .then(|| ("UNKNOWN".to_owned(), link.reason.clone()));
        let (halted, all) = (link.halted, link.partitions);
        let counts = match state {
            "ACTIVE" | "UNKNOWN" => {
                Counts { active: all.saturating_sub(halted), in_error: halted, ..Counts::default() }
            }
            "PAUSED" => Counts { paused: all, ..Counts::default() },
            _ => Counts { in_error: all, ..Counts::default() },
        };
        LinkShown {
            name: link.name.clone(),
            id: None,
            source: link.source_cluster_id.clone(),
            mode: LinkMode::Destination,
            state,
            fault,
            topics: topics.filter_map(|topic| Some(topic.first()?.topic.clone())).collect(),
            let_go: Vec::new(),
            forgotten: Vec::new(),
            tasks: Vec::new(),
            counts,
        }
    }

    fn of_link(&self, link: &str) -> &[PartitionView] {
        run_of(&self.partitions, |view| view.link.as_str().cmp(link))
    }

    /// Those that are to be copied: where it is paused it says itself what is known.
    fn of_topic(&self, link: &str, topic: &str) -> &[PartitionView] {
        let all = run_of(&self.partitions, |view| {
            (view.link.as_str(), view.topic.as_str()).cmp(&(link, topic))
        });
        let is_paused = all.first().is_some_and(PartitionView::is_paused);
        if is_paused { &[] } else { all }
    }
}

/// The part of a sorted list that compares as equal.
fn run_of(
    all: &[PartitionView],
    compare: impl Fn(&PartitionView) -> std::cmp::Ordering,
) -> &[PartitionView] {
    let start = all.partition_point(|view| compare(view).is_lt());
    let end = all.partition_point(|view| compare(view).is_le());
    all.get(start..end).unwrap_or_default()
}

fn lag_of(view: &PartitionView) -> Lag {
    let number =
        |number: Option<u64>| number.and_then(|n| i64::try_from(n).ok()).unwrap_or(UNKNOWN);
    Lag {
        partition: view.partition,
        lag: number(view.lag_records),
        last_source_fetch_offset: number(next_of(view)),
        held_records: number(view.held_records),
        last_record_time_ms: view.last_record_ms.unwrap_or(UNKNOWN),
    }
}

/// The first offset of the source that is not mirrored. Where a partition stands still its log may
/// end in what others wrote.
fn next_of(view: &PartitionView) -> Option<u64> {
    match view.state.as_str() {
        "Halted" => Some(view.source_end?.saturating_sub(view.lag_records?)),
        _ => view.destination_end,
    }
}

/// What others had written below the seals, where that is so: offsets of consumers beyond are not
/// the source's.
fn foreign(row: &MirrorRow) -> Option<String> {
    let of = |(partition, sealed): (&PartitionId, &Sealed)| {
        let from = sealed.source_next.filter(|next| *next < sealed.end)?;
        let count = from.distance_to(sealed.end);
        Some((partition.0, from, count))
    };
    let all: Vec<(i32, Offset, u64)> = row.sealed.iter().filter_map(of).collect();
    let (partition, from, count) = all.first()?;
    let more = match all.len() - 1 {
        0 => String::new(),
        more => format!(", and so have {more} more partitions"),
    };
    Some(format!(
        "partition {partition} has {count} offsets, from {from} on, that others wrote before it \
         was stopped{more}: from there on offsets, those of consumer groups too, are not the \
         source's"
    ))
}

/// What a promote could not take over of configs, and not sync of consumer groups.
fn unsynced(row: &MirrorRow) -> Option<String> {
    let configs = row.last_configs.as_ref().map(|why| {
        format!("configs of the source were not all taken over when it was stopped: {why}")
    });
    let groups = row.last_sync.as_ref().and_then(|last| last.trouble());
    let all: Vec<String> = configs.into_iter().chain(groups).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// Where nobody can say how far it is, it is as far as it was when it was let go last.
fn known_end(mirror: &MirrorSeen, lag: Lag) -> Lag {
    let end = mirror.ends.get(&PartitionId(lag.partition));
    match end.filter(|_| lag.last_source_fetch_offset == UNKNOWN) {
        Some(end) => Lag { last_source_fetch_offset: end.get(), ..lag },
        None => lag,
    }
}

/// A partition that does not run: where it was sealed says the most.
fn sealed_lag(mirror: &MirrorSeen, partition: i32) -> Lag {
    let sealed = mirror.row.sealed.get(&PartitionId(partition));
    if sealed.is_none() {
        return known_end(mirror, Lag::unknown(partition));
    }
    let next = sealed.and_then(|sealed| sealed.source_next);
    let last_source_fetch_offset = next.map_or(UNKNOWN, |offset| offset.get());
    // what the source had beyond when a promote was through
    let beyond = next.zip(sealed.and_then(|sealed| sealed.source_end));
    let beyond = beyond.map(|(next, end)| next.distance_to(end.max(next)));
    let lag = beyond.and_then(|count| i64::try_from(count).ok()).unwrap_or(UNKNOWN);
    Lag { lag, last_source_fetch_offset, ..Lag::unknown(partition) }
}

/// The word of Cluster Linking for a state of a declared link.
fn link_word(state: &str) -> &'static str {
    match state {
        "Active" => "ACTIVE",
        "Paused" => "PAUSED",
        "Unavailable" => UNAVAILABLE,
        "Halted" => "FAILED",
        _ => "UNKNOWN",
    }
}

/// Since when a mirror topic of a declared link is what it is: halted, or as its link is, unless it
/// was halted after that.
fn since(link: &LinkView, mirror: &str, is_halted: bool) -> i64 {
    match link.halted_since.get(mirror) {
        Some((true, since)) if is_halted => *since,
        Some((false, since)) => link.since_ms.max(*since),
        _ => link.since_ms,
    }
}

fn declares_mirror(link: &LinkView, topic: &[PartitionView]) -> MirrorShown {
    let halted = topic.iter().find(|view| view.state == "Halted");
    let status = declared_status(&link.state, halted.is_some());
    let first = topic.first();
    let text = |of: fn(&PartitionView) -> &String| first.map(of).cloned().unwrap_or_default();
    let (mirror, source) = (text(|view| &view.topic), text(|view| &view.source_topic));
    let mirror_name = mirror.clone();
    MirrorShown {
        link: link.name.clone(),
        source: if source.is_empty() { mirror.clone() } else { source },
        mirror,
        partitions: i32::try_from(topic.len()).unwrap_or(i32::MAX),
        status: status.word(),
        fault: halted.map(|view| (view.reason_code.clone(), view.reason.clone())),
        progress: None,
        since_ms: since(link, &mirror_name, halted.is_some()),
        lags: topic.iter().map(lag_of).collect(),
        blockers: Vec::new(),
        checks: Vec::new(),
        groups: None,
        replicas: None,
    }
}
