//! The life of a mirror topic: its stages, what may follow on what, and the words people see.
//!
//! It never decides when; it says what may be.
//!
//! ```text
//!                        ┌────────────── promote's deadline, nothing sealed ─────────────┐
//!                        ▼                                                               │
//!  ─ create ─▶ Setup ─▶ Mirroring ── promote ─▶ Stopping(Promote) ── level ─▶ Sealing(Promote) ─┐
//!                │        │  │                     │ failover overtakes          │              │
//!                │        │  └────── failover ─────┴──────▶ Sealing(Failover) ◀──┘              │
//!                │        │                                   │ all sealed                      │
//!                └────────┴─ delete ─▶ Leaving ─▶ (no row)     ▼                                │
//!                                       ▲                    Stopped ◀─────────────────────────┘
//!                                       └───── delete ─────────┘
//!                            └─▶ LetGo, where a filter would take it again at once
//! ```
//!
//! Pause is no stage: a topic is paused *in* its stage, and nothing of it is wanted then. Nor is a
//! reversal: it is a promote whose row says that the source becomes the mirror, so that Sealing
//! comes when nobody can write there either (`control/row/reversal` draws its steps); a row that is
//! restored begins again at Setup.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::control::facts::DoId;
use crate::control::facts::Failed;
use crate::control::link::LinkState;
use crate::control::order::Ticket;
use crate::control::row::Changes;
use crate::control::row::MirrorRow;
use crate::control::row::Sealed;
use crate::control::row::lineage::Ancestor;
use crate::control::row::reversal::Had;
use crate::control::task::last::LastSync;
use crate::ids::Incarnation;
use crate::ids::Offset;
use crate::ids::PartitionId;
use crate::ids::TimestampMs;
use crate::ids::TopicId;
use crate::mirror::halt::Halt;

/// How a mirror ends.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Planned: level with the source first.
    Promote,
    /// Without the source.
    Failover,
}

/// Where a mirror topic is in its life.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Being created, or compared with what is there.
    Setup,
    /// Copied.
    Mirroring,
    /// Promoted: copied until it is level.
    Stopping,
    /// Each partition gets its seal.
    Sealing(How),
    /// An ordinary topic.
    Stopped(How),
    /// Let go; then its row goes, and with `topic` the mirror topic too.
    Leaving {
        /// Whether the mirror topic is deleted as well.
        topic: bool,
    },
    /// No mirror topic any more, and remembered as long as its topic is there: a filter, or a name
    /// in the settings, does not take it again; an order does.
    LetGo,
}

impl Stage {
    /// Whether the topic is a mirror, or is to become one: nobody else may write into it.
    pub fn is_mirror(self) -> bool {
        !matches!(self, Stage::Stopped(_) | Stage::Leaving { .. } | Stage::LetGo)
    }

    /// Whether a row may change from one stage to the other; `None` is "no row".
    pub fn may_follow(from: Option<Stage>, to: Option<Stage>) -> bool {
        use Stage::*;
        match (from, to) {
            (None, Some(Setup)) => true,
            (Some(Setup), None | Some(Setup | Mirroring)) => true,
            (Some(Mirroring), Some(Mirroring | Stopping | Sealing(How::Failover))) => true,
            (Some(_), Some(Leaving { .. })) => true,
            (Some(Stopping), Some(Stopping | Mirroring | Sealing(_))) => true,
            (Some(Sealing(How::Promote)), Some(Sealing(_) | Stopped(_))) => true,
            (Some(Sealing(How::Failover)), Some(Sealing(How::Failover))) => true,
            (Some(Sealing(How::Failover)), Some(Stopped(How::Failover))) => true,
            (Some(Stopped(a)), Some(Stopped(b))) => a == b,
            (Some(Stopped(_)), None | Some(Setup)) => true,
            (Some(Leaving { .. }), None) => true,
            (Some(Leaving { topic: false }), Some(LetGo)) => true,
            (Some(LetGo), None | Some(LetGo | Setup)) => true,
            _ => false,
        }
    }

    /// Whether nothing more is to come unless somebody orders it.
    pub fn is_pending(self) -> bool {
        !matches!(self, Stage::Mirroring | Stage::Stopped(_) | Stage::LetGo)
    }

    /// Whether the topic is, or will be, writable for others.
    pub fn is_ending(self) -> bool {
        matches!(self, Stage::Stopping | Stage::Sealing(_) | Stage::Stopped(_))
    }
}

/// `mirror_status` of Cluster Linking.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Ids, start and interim configs are being settled; v3 answers say `ACTIVE`.
    PendingSetup,
    /// Copied.
    Active,
    /// Paused by an order.
    Paused,
    /// Its link is paused.
    LinkPaused,
    /// Its link cannot go on until a person acts.
    LinkFailed,
    /// The source does not answer.
    SourceUnavailable,
    /// A rule stopped one of its partitions, or the topic.
    Failed,
    /// Promoted or failed over, not yet writable.
    PendingStopped,
    /// An ordinary topic.
    Stopped,
}

impl Status {
    /// The word that REST, CLI and metrics show.
    pub fn word(self) -> &'static str {
        match self {
            Status::PendingSetup => "PENDING_SETUP",
            Status::Active => "ACTIVE",
            Status::Paused => "PAUSED",
            Status::LinkPaused => "LINK_PAUSED",
            Status::LinkFailed => "LINK_FAILED",
            Status::SourceUnavailable => "SOURCE_UNAVAILABLE",
            Status::Failed => "FAILED",
            Status::PendingStopped => "PENDING_STOPPED",
            Status::Stopped => "STOPPED",
        }
    }

    /// What the v3 answers say, which know fewer words.
    pub fn word_v3(self) -> &'static str {
        if self == Status::PendingSetup { Status::Active.word() } else { self.word() }
    }
}

/// Why a topic or one of its partitions is not copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The word of docs/STATES.md, such as `SOURCE_TOPIC_ID_CHANGED`.
    pub code: String,
    /// For people, with numbers.
    pub text: String,
}

/// What flow was told to hold and has not given back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Under which number.
    pub incarnation: Incarnation,
    /// Which partitions.
    pub partitions: BTreeSet<PartitionId>,
    /// What flow was told last has a halt: what it confirmed before may be of another log.
    pub is_told_halted: bool,
}

/// What is known of a mirror topic that is reversed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swap {
    /// What its source topic has by which writers would be stopped, once that was asked.
    pub had: Option<Had>,
    /// Whether they are stopped; `None` where nothing was done yet.
    pub are_stopped: Option<bool>,
    /// The source rests where the mirror ends, since that is level.
    pub rests: bool,
}

/// What is known of a mirror topic beside its row; gone with the process.
#[derive(Clone, Debug, Default)]
pub struct Track {
    /// What is being done for it.
    pub doing: Option<DoId>,
    /// The last try failed: not before this time again.
    pub retry_at: Option<TimestampMs>,
    /// How far that is, for people.
    pub progress: Option<String>,
    /// How often in a row.
    pub failures: u32,
    /// What the last try said.
    pub failure: Option<Failed>,
    /// What the last look at both clusters found wrong with the topic.
    pub fault: Option<Fault>,
    /// What flow is told of that: nothing where the topic is only not shown to us.
    pub halt: Option<Halt>,
    /// Partitions that a rule stopped.
    pub halted: BTreeMap<PartitionId, Fault>,
    /// How often in a row the topic was missing at the source, and at the destination.
    pub missing: (u32, u32),
    /// How many partitions the source has now.
    pub source_partitions: Option<i32>,
    /// The destination has more of them than the source: how many each has.
    pub surplus: Option<(i32, i32)>,
    /// What flow holds of it.
    pub held: Held,
    /// Grows with each order to try again.
    pub attempt: u64,
    /// Partitions that drain and are level.
    pub level: BTreeSet<PartitionId>,
    /// All of them are, since before more looks at all topics than so many had begun.
    pub level_at: Option<u64>,
    /// A look that began after that has counted the source's partitions.
    pub is_counted: bool,
    /// A comparison that began after that has taken over the source's configs.
    pub is_configured: bool,
    /// What that could not take over, for people.
    pub unconfigured: Option<String>,
    /// What is known of its reversal.
    pub swap: Swap,
    /// What the last turn over consumer groups came to, behind all seals of a promote.
    pub synced: Option<LastSync>,
    /// Where the source's offsets had come to that were mirrored, of partitions that were let go.
    pub ends: BTreeMap<PartitionId, Offset>,
    /// Partitions that have no leader to seal at.
    pub leaderless: BTreeSet<PartitionId>,
    /// Seals that stand in the log, whether the row has them or not.
    pub seals: BTreeMap<PartitionId, Sealed>,
    /// The mirror topic is there, with this id.
    pub made: Option<TopicId>,
    /// The topic that stood at its name is gone.
    pub is_replaced: bool,
    /// The generation with which it begins, where that of its row is dead behind a seal.
    pub generation: Option<u32>,
    /// The mirror topic has so many partitions now.
    pub grown: Option<i32>,
    /// What it is owed now, where the row is to say so.
    pub owed: Option<Changes>,
    /// What it is to get when it stops, where the row is to say so.
    pub at_stop: Option<Changes>,
    /// What its source is itself a mirror of, as the last look said that could tell.
    pub ancestors: Option<Vec<Ancestor>>,
    /// Owed configs that have been set since it was sealed.
    pub given: Changes,
    /// What its link held back of others' rights has been given, or told as not given.
    pub is_lifted: bool,
    /// The mirror topic has been deleted, as it was ordered.
    pub is_deleted: bool,
    /// Who waits for it to be set up.
    pub tickets: Vec<Ticket>,
    /// What people saw last, and since when.
    pub shown: Option<Shown>,
}

/// What people see of a mirror topic, and since when.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The state.
    pub status: Status,
    /// When it began.
    pub since: TimestampMs,
    /// What the row said of its own last change.
    row_since: TimestampMs,
}

impl Shown {
    /// What is seen now, after what was seen before: a row says itself since when it is so; what
    /// is known beside it, such as a failure, is so since it is known.
    pub fn next(
        before: Option<Shown>,
        status: Status,
        row_since: TimestampMs,
        now: TimestampMs,
    ) -> Shown {
        let is_of_row = matches!(
            status,
            Status::PendingSetup
                | Status::Active
                | Status::Paused
                | Status::PendingStopped
                | Status::Stopped
        );
        let since = match before {
            Some(before) if before.row_since == row_since => {
                if before.status == status {
                    before.since
                } else {
                    now
                }
            }
            _ if is_of_row => row_since,
            Some(before) if before.status == status => before.since,
            _ => now,
        };
        Shown { status, since, row_since }
    }
}

impl Track {
    /// What people see.
    pub fn status(&self, row: &MirrorRow, link: &LinkState) -> Status {
        match row.stage {
            Stage::Setup => Status::PendingSetup,
            Stage::Stopped(_) | Stage::LetGo => Status::Stopped,
            Stage::Stopping | Stage::Sealing(_) | Stage::Leaving { .. } => Status::PendingStopped,
            Stage::Mirroring if self.fault.is_some() => Status::Failed,
            Stage::Mirroring => match link {
                LinkState::Failed(_) => Status::LinkFailed,
                _ if !self.halted.is_empty() => Status::Failed,
                LinkState::Paused => Status::LinkPaused,
                _ if row.is_paused => Status::Paused,
                LinkState::Unavailable(_) => Status::SourceUnavailable,
                LinkState::Unknown | LinkState::Active => Status::Active,
            },
        }
    }

    /// The first reason of all.
    pub fn reason(&self) -> Option<&Fault> {
        let failure = self.failure.as_ref().map(|failed| &failed.fault);
        self.fault.as_ref().or_else(|| self.halted.values().next()).or(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Option<Stage>; 11] = [
        None,
        Some(Stage::Setup),
        Some(Stage::Mirroring),
        Some(Stage::Stopping),
        Some(Stage::Sealing(How::Promote)),
        Some(Stage::Sealing(How::Failover)),
        Some(Stage::Stopped(How::Promote)),
        Some(Stage::Stopped(How::Failover)),
        Some(Stage::Leaving { topic: false }),
        Some(Stage::Leaving { topic: true }),
        Some(Stage::LetGo),
    ];

    /// A row for each stage of `ALL`: `x` where it may follow, `.` where not.
    #[test]
    fn every_cell_of_the_table_of_transitions() {
        let table = [
            ".x.........",
            "xxx.....xx.",
            "..xx.x..xx.",
            "..xxxx..xx.",
            "....xxxxxx.",
            ".....x.xxx.",
            "xx....x.xx.",
            "xx.....xxx.",
            "x.......xxx",
            "x.......xx.",
            "xx......xxx",
        ];
        for (from, row) in ALL.iter().zip(table) {
            for (to, cell) in ALL.iter().zip(row.chars()) {
                let may = Stage::may_follow(*from, *to);
                assert_eq!(may, cell == 'x', "{from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn a_state_is_as_old_as_it_is_seen() {
        let (row, later) = (TimestampMs(10), TimestampMs(40));
        let at = |before: Option<Shown>, status, row_since: TimestampMs, now: i64| {
            Shown::next(before, status, row_since, TimestampMs(now))
        };
        let active = at(None, Status::Active, row, 20);
        assert_eq!(active.since, row, "the row says when");
        let failed = at(Some(active), Status::Failed, row, 30);
        assert_eq!(failed.since.0, 30, "the row knows nothing of it");
        assert_eq!(at(Some(failed), Status::Failed, row, 31).since.0, 30);
        assert_eq!(at(Some(failed), Status::Failed, later, 41).since.0, 30, "a row that grew");
        assert_eq!(at(Some(failed), Status::Active, row, 35).since.0, 35, "it goes on again");
        assert_eq!(at(Some(failed), Status::Paused, later, 41).since, later);
        assert_eq!(at(None, Status::LinkPaused, row, 20).since.0, 20);
    }

    #[test]
    fn a_stopped_topic_is_sealed_first() {
        let sealed = [Stage::Sealing(How::Promote), Stage::Sealing(How::Failover)];
        let stopped = [Stage::Stopped(How::Promote), Stage::Stopped(How::Failover)];
        for from in ALL {
            let goes = stopped.iter().any(|to| Stage::may_follow(from, Some(*to)));
            let is_sealed =
                from.is_some_and(|from| sealed.contains(&from) || stopped.contains(&from));
            assert_eq!(goes, is_sealed, "{from:?}");
        }
    }
}
