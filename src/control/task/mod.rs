//! The tasks of a link, in Cluster Linking's words, and what the last turn of each came to.
//!
//! It never runs one: who does tells what came of it.

pub mod configs;
pub mod groups;
pub mod last;
pub mod offsets;
pub mod verdict;

use crate::control::topic::Fault;
use crate::ids::TimestampMs;

/// A task of a link.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskName {
    /// ACLs of the source.
    AclSync,
    /// Topics that a name or a filter makes mirrors.
    AutoCreateMirror,
    /// Offsets of consumer groups.
    ConsumerOffsetSync,
    /// Log starts that follow the source's; isolog's own.
    LogStartSync,
    /// Configs of topics.
    TopicConfigsSync,
}

impl TaskName {
    /// All of them, as they are listed.
    pub const ALL: [TaskName; 5] = [
        TaskName::AclSync,
        TaskName::AutoCreateMirror,
        TaskName::ConsumerOffsetSync,
        TaskName::LogStartSync,
        TaskName::TopicConfigsSync,
    ];

    /// The word that REST, CLI and metrics show.
    pub fn word(self) -> &'static str {
        match self {
            TaskName::AclSync => "AclSync",
            TaskName::AutoCreateMirror => "AutoCreateMirror",
            TaskName::ConsumerOffsetSync => "ConsumerOffsetSync",
            TaskName::LogStartSync => "LogStartSync",
            TaskName::TopicConfigsSync => "TopicConfigsSync",
        }
    }
}

/// What a turn of a task came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskTurn {
    /// When it ended.
    pub at: TimestampMs,
    /// What it could not do, by topic or group; a turn that failed as a whole has one under the
    /// link's name. The codes are Cluster Linking's of task errors.
    pub errors: Vec<(String, Fault)>,
}

/// What is known of a task's turns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskTrack {
    /// What the last turn could not do.
    pub errors: Vec<(String, Fault)>,
    /// When the last turn ended that could do everything.
    pub succeeded: Option<TimestampMs>,
}

impl TaskTrack {
    /// Takes in the next turn.
    pub fn take_in(&mut self, turn: TaskTurn) {
        if turn.errors.is_empty() {
            self.succeeded = Some(turn.at);
        }
        self.errors = turn.errors;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_failed_leaves_the_time_of_the_last_good_one() {
        let fault = Fault { code: "INTERNAL_ERROR".into(), text: "x".into() };
        let (mut track, errors) = (TaskTrack::default(), vec![("orders".to_owned(), fault)]);
        track.take_in(TaskTurn { at: TimestampMs(1), errors: Vec::new() });
        track.take_in(TaskTurn { at: TimestampMs(2), errors: errors.clone() });
        assert_eq!(track, TaskTrack { errors, succeeded: Some(TimestampMs(1)) });
        track.take_in(TaskTurn { at: TimestampMs(3), errors: Vec::new() });
        assert_eq!((track.errors.len(), track.succeeded), (0, Some(TimestampMs(3))));
    }
}
