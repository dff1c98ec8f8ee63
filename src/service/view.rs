//! What is shown of links and partitions: serialisable views; the inner types are not.
//!
//! It never computes: who implements `Sight` fills the views.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::ids::LinkName;
use crate::ids::MirrorPartition;
use crate::ids::Offset;
use crate::mirror::lag::Ages;
use crate::mirror::lag::PAUSED;
use crate::mirror::lag::Snapshot;

/// One mirror partition, as JSON shows it. A number that is not known is `null`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionView {
    /// The link's name.
    pub link: String,
    /// The mirror topic.
    pub topic: String,
    /// The topic at the source.
    #[serde(default)]
    pub source_topic: String,
    /// The partition, the same on both sides.
    pub partition: i32,
    /// A word of docs/STATES.md, such as `Mirroring` or `Halted`.
    pub state: String,
    /// Why it is in that state, with numbers; empty when all is well.
    pub reason: String,
    /// The reason in one word of docs/STATES.md, such as `UNEXPECTED_WRITER`; may be empty.
    pub reason_code: String,
    /// The offset up to which the source can be mirrored.
    pub source_end: Option<u64>,
    /// When it said so, in ms since 1970.
    #[serde(skip)]
    pub source_seen_ms: Option<i64>,
    /// The next offset to be written at the destination.
    pub destination_end: Option<u64>,
    /// The offset up to which consumers at the destination can read.
    pub destination_hwm: Option<u64>,
    /// Offsets the source has and the destination has not.
    pub lag_records: Option<u64>,
    /// Record bytes fetched and not yet acknowledged: the known part of the lag.
    pub lag_bytes: Option<u64>,
    /// For how long the destination has not had all that the source had, in milliseconds.
    pub lag_ms: Option<u64>,
    /// The same with the records that wait behind an open transaction: what a failover now would
    /// lose, in milliseconds.
    #[serde(default)]
    pub rpo_ms: Option<u64>,
    /// The greatest timestamp of the last batch that was mirrored since the process started, in ms
    /// since 1970.
    #[serde(default)]
    pub last_record_ms: Option<i64>,
    /// Batches acknowledged since the process started.
    pub append_batches: u64,
    /// Offsets acknowledged since then.
    pub append_records: u64,
    /// Bytes acknowledged since then.
    pub append_bytes: u64,
    /// How old their records were; for `/metrics` alone.
    #[serde(skip)]
    pub ages: Ages,
    /// Of those batches, the ones whose records were encoded anew.
    #[serde(default)]
    pub reencoded_batches: u64,
    /// Batches of the source that became part of a larger one.
    #[serde(default)]
    pub merged_batches: u64,
    /// Offsets without a record for readers, filled.
    #[serde(default)]
    pub filled_offsets: u64,
    /// Bytes of what fills them.
    #[serde(default)]
    pub filler_bytes: u64,
    /// Offsets of records that the source deleted before they were copied.
    #[serde(default)]
    pub overtaken_offsets: u64,
    /// Offsets below the source's log start that are yet to be filled.
    #[serde(default)]
    pub front_offsets: u64,
    /// Records of the source that wait behind an open transaction of its own.
    #[serde(default)]
    pub held_records: Option<u64>,
    /// The producer of that transaction, and since when it has been seen, where that is known.
    #[serde(default)]
    pub held_by: Option<HeldView>,
}

impl PartitionView {
    /// What lists are sorted by.
    pub fn place(&self) -> (&str, &str, i32) {
        (&self.link, &self.topic, self.partition)
    }

    /// Nothing of it is to be copied now, so that nothing is known of it either.
    pub fn is_paused(&self) -> bool {
        self.state == PAUSED
    }

    /// The view of what a partition machine tells of itself.
    pub fn of(name: &MirrorPartition, snapshot: &Snapshot) -> PartitionView {
        let number = |offset: Option<Offset>| u64::try_from(offset?.get()).ok();
        let (code, text) = snapshot.reason.clone().unwrap_or_default();
        let reason = if code.is_empty() { text } else { format!("{code}: {text}") };
        PartitionView {
            link: name.link.to_string(),
            topic: name.mirror_topic.to_string(),
            source_topic: name.source_topic.to_string(),
            partition: name.partition.0,
            state: snapshot.state.to_owned(),
            reason,
            reason_code: code.to_owned(),
            source_end: number(snapshot.source_end),
            source_seen_ms: snapshot.source_seen.map(|at| at.0),
            last_record_ms: snapshot.copied.last_timestamp.map(|at| at.0),
            destination_end: number(snapshot.destination_end),
            destination_hwm: number(snapshot.destination_hwm),
            lag_records: snapshot.lag_records,
            lag_bytes: snapshot.lag_bytes(),
            lag_ms: snapshot.lag_ms,
            rpo_ms: snapshot.rpo_ms,
            append_batches: snapshot.copied.batches,
            append_records: snapshot.copied.records,
            append_bytes: snapshot.copied.bytes,
            ages: snapshot.copied.ages,
            reencoded_batches: snapshot.copied.reencoded,
            merged_batches: snapshot.copied.merged,
            filled_offsets: snapshot.copied.filled,
            filler_bytes: snapshot.copied.filler_bytes,
            overtaken_offsets: snapshot.copied.overtaken,
            front_offsets: snapshot.front_offsets,
            held_records: snapshot.held_records,
            held_by: snapshot.held_by.map(|held| HeldView {
                producer_id: held.producer.0,
                offset: held.since.get(),
                last_timestamp_ms: held.last_timestamp.0,
            }),
        }
    }
}

/// The open transaction that holds a partition back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldView {
    /// The producer's id at the source.
    pub producer_id: i64,
    /// The offset of its first record.
    pub offset: i64,
    /// The time of the last batch that the producer wrote, in ms since 1970; -1 for none.
    pub last_timestamp_ms: i64,
}

/// One link, as JSON shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkView {
    /// The link's name.
    pub name: String,
    /// A word of docs/STATES.md.
    pub state: String,
    /// Since when, in ms since 1970.
    #[serde(default)]
    pub since_ms: i64,
    /// Of topics that were halted, or are: whether they are, and since when.
    #[serde(skip)]
    pub halted_since: BTreeMap<String, (bool, i64)>,
    /// The source's own id, once it has been asked.
    pub source_cluster_id: Option<String>,
    /// The destination's own id, once it has been asked.
    pub destination_cluster_id: Option<String>,
    /// How many mirror topics it has in each status, by Cluster Linking's word.
    #[serde(default)]
    pub mirror_topics: BTreeMap<String, u64>,
    /// How many partitions the link mirrors.
    pub partitions: u64,
    /// How many of them stand halted.
    pub halted: u64,
    /// Of how many of them the lag is not known now.
    #[serde(default)]
    pub lag_unknown: u64,
    /// Records of the source that wait behind open transactions of its own: not copied. Those of
    /// the partitions of which that is known; `null` where those have none and it is not known of
    /// the others.
    #[serde(default)]
    pub held_records: Option<u64>,
    /// Its consumer groups, while they are followed.
    #[serde(default)]
    pub groups: Option<GroupsView>,
    /// What is wrong with topics, or could not be done for them.
    #[serde(default)]
    pub troubles: Vec<TroubleView>,
    /// What it does beside records; none of a link of the config file.
    #[serde(default)]
    pub tasks: Vec<TaskView>,
    /// Why it is in that state; empty when all is well.
    pub reason: String,
}

/// A link of which a cluster answers nobody, by Cluster Linking's word, and the code of that.
pub(super) const UNAVAILABLE: &str = "UNAVAILABLE";
pub(super) const AWAY_CODE: &str = "TIMEOUT_ERROR";
/// The state of links that another instance of the group has.
pub(super) const STANDBY: &str = "Standby";

impl LinkView {
    /// Another instance knows how it is.
    pub fn is_standby(&self) -> bool {
        self.state == STANDBY
    }
}

/// The journal, as metrics show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalView {
    /// How many replicas its partition should have; `None` before it has been opened.
    pub replicas: Option<u64>,
    /// How many of them are in sync.
    pub in_sync: Option<u64>,
    /// `min.insync.replicas`, where it may be read.
    pub min_in_sync: Option<u64>,
    /// How many rows count.
    pub rows: u64,
    /// Something is wrong with it.
    pub is_in_trouble: bool,
}

/// A task of a link, as JSON shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskView {
    /// Such as `TopicConfigsSync`.
    pub name: String,
    /// Such as `IN_ERROR`.
    pub state: String,
    /// The code of its first error, or `NO_ERROR`.
    pub code: String,
    /// When it last could do everything, in ms since 1970.
    pub succeeded_ms: Option<i64>,
}

/// Consumer groups that a link follows, as JSON shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupsView {
    /// Groups of the source that have committed something that is mirrored.
    pub followed: u64,
    /// Their offsets that are lower at the destination, since the mirror is behind.
    pub clamped: u64,
    /// Offsets that were committed at the destination since the process started.
    pub committed: u64,
}

/// One consumer group that a link follows, as JSON shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// The link's name.
    pub link: String,
    /// The group's name at the source.
    pub group: String,
    /// Its name at the destination.
    pub mirror_group: String,
    /// `consumer`, of either protocol, or `share`: then its offsets are where it starts (KIP-932).
    #[serde(default)]
    pub group_type: String,
    /// How many of its offsets are followed.
    pub partitions: u64,
    /// How many of them are lower at the destination, since the mirror is behind.
    pub clamped: u64,
    /// How many are not yet what they are to be, for another reason.
    pub behind: u64,
    /// How many are further at the destination than at the source.
    #[serde(default)]
    pub ahead: u64,
    /// Of a share group: how many partitions have no start, of topics of which it has one in
    /// another, unless it skips nothing there.
    #[serde(default)]
    pub unstarted: u64,
    /// How long ago it was read on both sides, in ms.
    pub age_ms: Option<u64>,
    /// Cluster Linking's word for what is wrong; empty when all is well.
    pub error_code: String,
    /// What is wrong, and what to do.
    pub reason: String,
    /// It had members at the source then.
    #[serde(default)]
    pub is_active_at_source: bool,
    /// Somebody at the source listed it: else nobody knows whether it had any.
    #[serde(default)]
    pub is_listed_at_source: bool,
    /// Offsets that the source had and the mirror had not, of all its partitions; `null` where that
    /// is not known of one of them.
    #[serde(default)]
    pub mirror_lag: Option<u64>,
    /// Offsets that the source had and the group had not read there; `null` as above.
    #[serde(default)]
    pub consumer_lag: Option<u64>,
    /// For how long nothing that it has committed at the source had changed when it was read last,
    /// in ms, as far as this isolog has seen it.
    #[serde(default)]
    pub unchanged_ms: Option<u64>,
    /// How often it is read, in ms.
    #[serde(default)]
    pub interval_ms: u64,
    /// `MOVES` without duplicates, `NOT_YET`, or `UNKNOWN`.
    #[serde(default)]
    pub verdict: String,
    /// What stands against `MOVES`, and what to do.
    #[serde(default)]
    pub against: Vec<String>,
    /// Topics of the source of which it has committed partitions, and that the link does not
    /// mirror: of those nothing is said.
    #[serde(default)]
    pub not_mirrored: Vec<String>,
    /// The mirror topics of its offsets.
    #[serde(skip)]
    pub topics: BTreeSet<String>,
    /// By partition, where one group was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offsets: Vec<OffsetView>,
}

/// One offset of a group, as JSON shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetView {
    /// The mirror topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// What the group has committed at the source.
    pub source_offset: i64,
    /// What is committed at the destination; `null` for nothing.
    pub mirror_offset: Option<i64>,
    /// `synced`, `clamped`, `behind`, `ahead`, or `waiting` where the mirror has not come so far.
    pub state: String,
    /// Where the source ended.
    #[serde(default)]
    pub source_end: Option<i64>,
    /// Where the mirror ended, a moment before.
    #[serde(default)]
    pub mirror_end: Option<i64>,
    /// Offsets that the source had and the mirror had not.
    #[serde(default)]
    pub mirror_lag: Option<u64>,
    /// Offsets that the source had and the group had not read there.
    #[serde(default)]
    pub consumer_lag: Option<u64>,
}

/// What is wrong with a topic or a pattern, as JSON shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TroubleView {
    /// The topic, or the pattern as it stands in `mirror.topics`; of
    /// `CONSUMER_OFFSETS_NOT_SYNCED` the group, or what kept groups from being followed.
    pub topic: String,
    /// A word of docs/STATES.md.
    pub code: String,
    /// What is wrong, and what to do.
    pub reason: String,
}

/// What copies schemas, and how far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExporterView {
    /// Its name.
    pub name: String,
    /// The config file has it, so that it takes no orders.
    pub is_declared: bool,
    /// `AUTO`, `CUSTOM`, `NONE` or `DEFAULT`.
    pub context_type: String,
    /// The context of AUTO and CUSTOM; empty for the others.
    pub context: String,
    /// Which subjects, as they are written.
    pub subjects: Vec<String>,
    /// What they are called at the destination.
    pub subject_rename_format: String,
    /// How its registries are asked, without secrets.
    pub config: BTreeMap<String, String>,
    /// `STARTING`, `RUNNING` or `PAUSED`.
    pub state: &'static str,
    /// How many changes it has carried since isolog started.
    pub offset: u64,
    /// The destination held everything that the source had then, in ms since 1970; 0 for never.
    pub ts: i64,
    /// For how long the destination may have lacked something by now; `None` for always.
    pub lag_ms: Option<u64>,
    /// Why its last turn failed; empty when all is well.
    pub trace: String,
    /// How many changes are missing at the destination, while that is known.
    pub missing: Option<u64>,
}

/// One condition of readiness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What is asked, such as `link dr` or `topics of link dr`.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// Why not; may be empty when it holds.
    pub reason: String,
}

/// What the counter shows. Calls must not wait: they are made while a request is being answered.
pub trait Sight: Send + Sync + 'static {
    /// All mirror partitions, in any order.
    fn partitions(&self) -> Vec<PartitionView>;
    /// All links, in any order.
    fn links(&self) -> Vec<LinkView>;
    /// The consumer groups that are followed, in any order; with a name those that have it on
    /// either side. With their offsets where `is_whole`.
    fn groups(&self, _name: Option<&str>, _is_whole: bool) -> Vec<GroupView> {
        Vec::new()
    }
    /// Why links do not follow a group of that name, one by one.
    fn unfollowed(&self, _name: &str) -> Vec<GroupView> {
        Vec::new()
    }
    /// The links of which a cluster answers nobody now, by what is read and written, and what came
    /// instead.
    fn away(&self) -> BTreeMap<LinkName, String> {
        BTreeMap::new()
    }
    /// Why this instance has no work, where another one of its group has it: then that one knows
    /// how links and partitions are.
    fn stands_by(&self) -> Option<String> {
        None
    }
    /// The journal; `None` where there is none to be shown.
    fn journal(&self) -> Option<JournalView> {
        None
    }
    /// What copies schemas, in any order.
    fn exporters(&self) -> Vec<ExporterView> {
        Vec::new()
    }
    /// The conditions of readiness; ready is when all hold.
    fn readiness(&self) -> Vec<Check>;
}
