//! Why a partition stands still: every reason, with its numbers and what to do about it.
//!
//! It never decides: the rules do, and say one of these.

use std::fmt;

use crate::ids::ClusterId;
use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::Side;
use crate::ids::TimestampMs;
use crate::ids::TopicId;
use crate::mirror::facts::TimeLimits;
use crate::wire::error::KafkaCode;

/// A reason that needs a person, or a change outside of isolog; nothing is appended meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The source has deleted offsets that the destination does not hold yet.
    LogStartAbove {
        /// The first offset that the source still has.
        source_start: Offset,
        /// Where the copy would go on.
        destination_end: Offset,
    },
    /// The source has no record for readers at the destination's end, and the link fills nothing.
    Hole {
        /// The first missing offset.
        at: Offset,
        /// Where the source goes on.
        next: Offset,
    },
    /// A gap has more offsets than the link fills.
    GapTooLong {
        /// The first missing offset.
        at: Offset,
        /// Where the source goes on.
        next: Offset,
        /// `gap.offsets.max`.
        max: u64,
    },
    /// A batch that had to be unpacked becomes larger than it may.
    Bomb {
        /// The batch's base offset.
        base: Offset,
        /// The bound.
        bytes_max: usize,
    },
    /// A batch of magic 0 or 1, or of one that is not known.
    OldFormat {
        /// The batch's offset.
        base: Offset,
        /// Its magic.
        magic: i8,
    },
    /// A batch that is larger than the destination takes.
    TooLarge {
        /// The batch's base offset.
        base: Offset,
        /// Its size.
        bytes: usize,
        /// `max.message.bytes` of the destination topic, where it is known.
        bytes_max: Option<usize>,
    },
    /// The source lost offsets that were copied already (unclean leader election).
    SourceTruncated {
        /// The first copied offset that the source no longer vouches for.
        at: Offset,
        /// The last leader epoch that both sides share.
        epoch: LeaderEpoch,
        /// The destination's end.
        destination_end: Offset,
    },
    /// The source's leader epochs went back inside the log.
    SourceEpochWentBack {
        /// The batch's base offset.
        base: Offset,
        /// The epoch of the batch before.
        was: LeaderEpoch,
        /// The epoch of this batch.
        is: LeaderEpoch,
    },
    /// The topic was deleted and created anew.
    Recreated {
        /// At which side.
        side: Side,
        /// The id that was mirrored.
        was: TopicId,
        /// The id it has now.
        is: TopicId,
    },
    /// The topic is gone.
    Deleted {
        /// At which side.
        side: Side,
    },
    /// The source has fewer partitions than the destination.
    PartitionsDecreased {
        /// The source's count.
        source: usize,
        /// The destination's count.
        destination: usize,
    },
    /// The source topic is itself mirrored from the mirror's cluster, maybe over others.
    Loop,
    /// Somebody else wrote into the mirror partition.
    UnexpectedWriter {
        /// Where our batch should have gone.
        expected: Offset,
        /// Where the broker put it, or the end it reports.
        got: Option<Offset>,
    },
    /// The destination holds more than the source.
    DestinationAhead {
        /// The destination's end.
        destination_end: Offset,
        /// The source's end.
        source_end: Offset,
    },
    /// The destination lost offsets that it had confirmed.
    DestinationBehind {
        /// What it had confirmed.
        confirmed: Offset,
        /// Its end now.
        end: Offset,
    },
    /// The two sides hold different content at the same offset.
    Diverged {
        /// The first offset known to differ.
        at: Offset,
    },
    /// The destination's broker gave a batch its own time: the topic was turned to LogAppendTime
    /// while it was copied.
    Stamped {
        /// The first offset of the batch.
        at: Offset,
    },
    /// The mirror partition was sealed by a promote or a failover: its topic is an ordinary one.
    Sealed {
        /// Where the seal stands, as far as that is known.
        at: Option<Offset>,
    },
    /// A batch whose checksum is wrong, at the source or on the way, again and again.
    Corrupt {
        /// The batch's base offset.
        base: Offset,
    },
    /// The destination refuses a batch.
    Refused {
        /// The batch's base offset.
        base: Offset,
        /// Its answer.
        code: KafkaCode,
    },
    /// The destination refuses a batch for the times of its records.
    Timestamp {
        /// The batch's base offset.
        base: Offset,
        /// The greatest time in it.
        newest: TimestampMs,
        /// What the destination topic says about times.
        limits: TimeLimits,
    },
    /// A config of the destination topic breaks exactness.
    Config {
        /// The topic config's name.
        key: String,
        /// Its value.
        is: String,
        /// What it must be.
        needs: String,
    },
    /// A hole of the source must be filled, and the destination topic's configs do not allow it.
    CannotFill {
        /// The first offset to be filled.
        at: Offset,
        /// Which config stands in the way, and what to do.
        why: &'static str,
    },
    /// The address answers with another cluster's id.
    ClusterIdChanged {
        /// At which side.
        side: Side,
        /// The id at the start.
        was: ClusterId,
        /// The id now.
        is: ClusterId,
    },
    /// The task that carried the partition ended in a panic: a bug.
    Panicked,
    /// A safety assertion of ours is broken: a bug.
    Invariant {
        /// What does not hold.
        what: &'static str,
        /// What should have been.
        expected: Offset,
        /// What is.
        got: Offset,
    },
}

impl Halt {
    /// The bounded word for API, metric label and log.
    pub fn label(&self) -> &'static str {
        match self {
            Halt::LogStartAbove { .. } => "LOG_START_ABOVE_DESTINATION_END",
            Halt::Hole { .. } => "HOLE",
            Halt::GapTooLong { .. } => "GAP_TOO_LONG",
            Halt::Timestamp { .. } => "INVALID_TIMESTAMP",
            Halt::Bomb { .. } => "DECOMPRESSION_BOMB",
            Halt::OldFormat { .. } => "UNSUPPORTED_MESSAGE_FORMAT",
            Halt::TooLarge { .. } => "BATCH_TOO_LARGE",
            Halt::SourceTruncated { .. } => "SOURCE_TRUNCATED",
            Halt::SourceEpochWentBack { .. } => "NON_MONOTONIC_SOURCE_EPOCH",
            Halt::Recreated { side: Side::Source, .. } => "SOURCE_TOPIC_ID_CHANGED",
            Halt::Recreated { side: Side::Destination, .. } => "DESTINATION_TOPIC_ID_CHANGED",
            Halt::Deleted { side: Side::Source } => "SOURCE_TOPIC_DELETED",
            Halt::Deleted { side: Side::Destination } => "DESTINATION_TOPIC_DELETED",
            Halt::PartitionsDecreased { .. } => "SOURCE_PARTITIONS_DECREASED",
            Halt::Loop => "LOOP",
            Halt::UnexpectedWriter { .. } => "UNEXPECTED_WRITER",
            Halt::DestinationAhead { .. } => "DESTINATION_AHEAD",
            Halt::DestinationBehind { .. } => "DESTINATION_BEHIND",
            Halt::Diverged { .. } | Halt::Stamped { .. } => "DIVERGED",
            Halt::Sealed { .. } => "SEALED",
            Halt::Corrupt { .. } => "CORRUPT_BATCH",
            Halt::Refused { .. } => "REFUSED_BY_DESTINATION",
            Halt::Config { .. } | Halt::CannotFill { .. } => "DESTINATION_CONFIG",
            Halt::ClusterIdChanged { .. } => "CLUSTER_ID_CHANGED",
            Halt::Panicked => "PANICKED",
            Halt::Invariant { .. } => "INVARIANT",
        }
    }

    /// Whether a later look can find the reason gone without anybody's order.
    pub fn may_resolve_itself(&self) -> bool {
        let is_config = matches!(self, Halt::Config { .. } | Halt::CannotFill { .. });
        let is_limit = matches!(self, Halt::TooLarge { .. } | Halt::Timestamp { .. });
        is_config || is_limit || matches!(self, Halt::Corrupt { .. })
    }

    /// Whether the topic at that side is no longer the one that was mirrored: what was known of its
    /// log says nothing any more.
    pub fn loses(&self, which: Side) -> bool {
        match self {
            Halt::Recreated { side, .. }
            | Halt::Deleted { side }
            | Halt::ClusterIdChanged { side, .. } => *side == which,
            _ => false,
        }
    }

    /// Whether the destination holds what the source does not: how much of the source's records is
    /// in the copy is not known then.
    pub fn denies_copy(&self) -> bool {
        matches!(
            self,
            Halt::Diverged { .. }
                | Halt::Stamped { .. }
                | Halt::Sealed { .. }
                | Halt::DestinationAhead { .. }
                | Halt::SourceTruncated { .. }
                | Halt::PartitionsDecreased { .. }
        )
    }

    fn source_content(&self, f: &mut fmt::Formatter<'_>) -> Option<fmt::Result> {
        let result = match self {
            Halt::LogStartAbove { source_start, destination_end } => write!(
                f,
                "the source's log starts at {source_start}, the destination ends at \
                 {destination_end}: offsets {destination_end} to {source_start} are not to be had \
                 any more; retention.overtook=fill goes on behind them"
            ),
            Halt::Hole { at, next } => {
                write!(
                    f,
                    "the source has no record at {at}, it goes on at {next}, and gap.fill is halt"
                )
            }
            Halt::GapTooLong { at, next, max } => write!(
                f,
                "the source has no record for readers from {at} up to {next}: {} offsets to fill, \
                 more than gap.offsets.max, which is {max}; raise it in the link to have them \
                 filled",
                at.distance_to(*next)
            ),
            Halt::OldFormat { base, magic } => write!(
                f,
                "the message at {base} has format {magic}, and message.format.old is halt"
            ),
            Halt::Bomb { base, bytes_max } => write!(
                f,
                "the batch at {base} must be encoded anew and becomes larger than {bytes_max} \
                 bytes when it is unpacked: raise buffer.memory.bytes to allow more (to half of \
                 it, or to a quarter where a codec or an old format wants that in one piece)"
            ),
            Halt::Corrupt { base } => write!(
                f,
                "the batch at {base} fails its checksum each time it is fetched: check the \
                 source's disks"
            ),
            _ => return None,
        };
        Some(result)
    }

    fn topics(&self, f: &mut fmt::Formatter<'_>) -> Option<fmt::Result> {
        let result = match self {
            Halt::SourceTruncated { at, epoch, destination_end } => write!(
                f,
                "the source lost what it had from {at} on (last common leader epoch {epoch}), the \
                 destination holds it up to {destination_end}"
            ),
            Halt::SourceEpochWentBack { base, was, is } => {
                write!(f, "the source's leader epoch goes back from {was} to {is} at {base}")
            }
            Halt::Recreated { side, was, is } => write!(
                f,
                "the {side} topic was deleted and created anew: it had id {was} and has {is}"
            ),
            Halt::Deleted { side: Side::Source } => f.write_str(
                "the source topic is gone; the copy is kept as it is: make the topic again to \
                 begin anew (delete the copy first), or let it go (`isolog mirror delete`)",
            ),
            Halt::Deleted { side: Side::Destination } => f.write_str(
                "the destination topic is gone, and all that was copied: begin the copy anew \
                 (docs/OPERATING.md)",
            ),
            Halt::PartitionsDecreased { source, destination } => write!(
                f,
                "the source topic has {source} partitions now, the destination topic \
                 {destination}: the source topic was created anew; begin the copy anew \
                 (docs/OPERATING.md)"
            ),
            Halt::Loop => f.write_str(
                "the source topic is itself mirrored from this cluster, maybe over others: its \
                 records would come back",
            ),
            Halt::Config { key, is, needs } => {
                write!(f, "the destination topic has {key}={is}, the copy needs {key}={needs}")
            }
            Halt::CannotFill { at, why } => write!(
                f,
                "the source has no record at {at}, and the destination topic does not take what \
                 fills it: {why}"
            ),
            Halt::ClusterIdChanged { side, was, is } => {
                write!(f, "the {side}'s address answered as cluster {was} and now as {is}")
            }
            _ => return None,
        };
        Some(result)
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fact(f)?;
        match self.remedy() {
            Some(remedy) => write!(f, ": {remedy}"),
            None => Ok(()),
        }
    }
}

impl Halt {
    /// What to do, where what happened does not say it already.
    fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Halt::Hole { .. } => "gap.fill=auto has it filled",
            Halt::OldFormat { .. } => "message.format.old=convert has it converted",
            Halt::SourceTruncated { .. } | Halt::DestinationAhead { .. } => {
                "see with `isolog verify` which side is right, then keep the copy as it is, or \
                 begin it anew (docs/OPERATING.md)"
            }
            Halt::SourceEpochWentBack { .. } => {
                "look at the source's brokers, the log contradicts itself"
            }
            Halt::Recreated { side: Side::Source, .. } => {
                "begin the copy anew (docs/OPERATING.md) to copy the new one, or let this one go \
                 (`isolog mirror delete` keeps the topic)"
            }
            Halt::Recreated { side: Side::Destination, .. } => {
                "see who made it, then begin the copy anew (docs/OPERATING.md)"
            }
            Halt::Loop => "delete one of the mirrors, isolog goes on by itself",
            Halt::Config { .. } => "set it so, isolog goes on by itself",
            Halt::ClusterIdChanged { .. } => {
                "correct bootstrap.servers (or the brokers' advertised.listeners), or give the new \
                 cluster a link of its own"
            }
            Halt::UnexpectedWriter { .. } => {
                "stop that writer, then begin the copy anew (docs/OPERATING.md)"
            }
            Halt::DestinationBehind { .. } => {
                "look at the destination's brokers, then start isolog again to copy it again"
            }
            Halt::Diverged { .. } => {
                "see with `isolog verify` what differs, then begin the copy anew \
                 (docs/OPERATING.md), or let it go (`isolog mirror delete` keeps the topic)"
            }
            Halt::Stamped { .. } => {
                "set message.timestamp.type=CreateTime there again, then begin the copy anew \
                 (docs/OPERATING.md), or keep it with these times and let it go (`isolog mirror \
                 delete`)"
            }
            Halt::Sealed { .. } => {
                "it is written by others now: let it go (`isolog mirror delete` keeps the topic), \
                 or delete the mirror and the topic to begin a copy anew (docs/OPERATING.md)"
            }
            Halt::Refused { .. } => "see the log of the destination's broker for the reason",
            _ => return None,
        })
    }

    /// What happened, with its numbers.
    fn fact(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(done) = self.source_content(f).or_else(|| self.topics(f)) {
            return done;
        }
        match self {
            Halt::TooLarge { base, bytes, bytes_max: Some(max) } => write!(
                f,
                "the batch at {base} has {bytes} bytes, max.message.bytes of the destination \
                 topic is {max}: raise it"
            ),
            Halt::TooLarge { base, bytes, bytes_max: None } => write!(
                f,
                "the batch at {base} has {bytes} bytes, more than the destination takes: raise \
                 max.message.bytes or segment.bytes of the topic there"
            ),
            Halt::Timestamp { base, newest, limits } => refused_time(f, *base, *newest, *limits),
            Halt::UnexpectedWriter { expected, got: Some(got) } => write!(
                f,
                "somebody else wrote into the mirror partition: offset {expected} was due, the \
                 destination is at {got}"
            ),
            Halt::UnexpectedWriter { expected, got: None } => {
                write!(f, "offset {expected} was due, the destination names none")
            }
            Halt::DestinationAhead { destination_end, source_end } => {
                write!(f, "the destination ends at {destination_end}, the source at {source_end}")
            }
            Halt::DestinationBehind { confirmed, end } => write!(
                f,
                "the destination had confirmed everything below {confirmed} and now ends at {end}"
            ),
            Halt::Diverged { at } => {
                write!(
                    f,
                    "source and destination differ at offset {at}: the topic there is not a copy"
                )
            }
            Halt::Stamped { at } => write!(
                f,
                "the destination's broker gave the batch at {at} its own time in the place of the \
                 records' (message.timestamp.type of the mirror topic was LogAppendTime)"
            ),
            Halt::Sealed { at: Some(at) } => {
                write!(f, "the partition was promoted or failed over: its seal stands at {at}")
            }
            Halt::Sealed { at: None } => f.write_str("the partition was promoted or failed over"),
            Halt::Refused { base, code } => {
                write!(f, "the destination refuses the batch at {base}: {code}")
            }
            Halt::Panicked => {
                f.write_str("its task ended in a panic, a bug in isolog: see the log")
            }
            Halt::Invariant { what, expected, got } => {
                write!(f, "{what}: expected {expected}, got {got}; this is a bug in isolog")
            }
            _ => f.write_str(self.label()),
        }
    }
}

fn refused_time(
    f: &mut fmt::Formatter<'_>,
    base: Offset,
    newest: TimestampMs,
    limits: TimeLimits,
) -> fmt::Result {
    write!(
        f,
        "the destination refuses the batch at {base} for the times of its records (the newest is \
         {} ms since 1970): ",
        newest.0
    )?;
    let known: Vec<String> = limits.each().map(|(key, ms)| format!("{key} is {ms}")).collect();
    if known.is_empty() {
        let [before, after, older] = TimeLimits::KEYS;
        return write!(f, "look at {before} and {after} of the topic there (old brokers: {older})");
    }
    write!(f, "of the topic there {}: raise it to {}", known.join(" and "), i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of what stands still for another reason it is known how much is copied.
    #[test]
    fn what_is_no_copy_has_no_lag() {
        let at = |raw| Offset::new(raw).unwrap();
        let ahead = Halt::DestinationAhead { destination_end: at(9), source_end: at(3) };
        assert!(ahead.denies_copy() && Halt::Diverged { at: at(3) }.denies_copy());
        assert!(!Halt::Deleted { side: Side::Source }.denies_copy());
    }

    /// What happened alone helps nobody: each says what to do.
    #[test]
    fn a_reason_says_what_to_do() {
        let at = |raw| Offset::new(raw).unwrap();
        let (was, is) = (TopicId([1; 16]), TopicId([2; 16]));
        let key = "cleanup.policy".to_owned();
        for halt in [
            Halt::Hole { at: at(3), next: at(9) },
            Halt::OldFormat { base: at(3), magic: 0 },
            Halt::SourceTruncated { at: at(3), epoch: LeaderEpoch(1), destination_end: at(9) },
            Halt::SourceEpochWentBack { base: at(3), was: LeaderEpoch(2), is: LeaderEpoch(1) },
            Halt::Recreated { side: Side::Source, was, is },
            Halt::Recreated { side: Side::Destination, was, is },
            Halt::Config { key, is: "compact".into(), needs: "delete".into() },
            Halt::UnexpectedWriter { expected: at(3), got: None },
            Halt::DestinationAhead { destination_end: at(9), source_end: at(3) },
            Halt::DestinationBehind { confirmed: at(9), end: at(3) },
            Halt::Diverged { at: at(3) },
            Halt::Stamped { at: at(3) },
        ] {
            let words = halt.to_string();
            let (fact, remedy) = words.rsplit_once(": ").unwrap_or_default();
            assert!(!fact.is_empty() && remedy.split(' ').count() > 3, "{words}");
        }
    }

    #[test]
    fn a_reason_names_its_numbers() {
        let at = |raw| Offset::new(raw).unwrap();
        let halt = Halt::UnexpectedWriter { expected: at(17), got: Some(at(18)) };
        assert!(halt.to_string().contains("17") && halt.to_string().contains("18"));
        let halt = Halt::TooLarge { base: at(5), bytes: 2_000, bytes_max: Some(1_000) };
        assert!(halt.to_string().contains("2000") && halt.to_string().contains("1000"));
        let halt = Halt::Hole { at: at(3), next: at(9) };
        assert!(halt.to_string().contains('3') && halt.to_string().contains('9'));
        assert!(!halt.may_resolve_itself());
        let limits = TimeLimits { after_ms: Some(3_600_000), ..TimeLimits::default() };
        let halt = Halt::Timestamp { base: at(4), newest: TimestampMs(77), limits };
        let words = halt.to_string();
        assert!(words.contains("message.timestamp.after.max.ms is 3600000"), "{words}");
        assert!(halt.may_resolve_itself());
    }
}
