//! What is said when the journal cannot be opened, read, written or gone on with.
//!
//! It never names anything without what to do about it.

use crate::cluster::error::ClusterError;
use crate::cluster::error::KafkaCode;
use crate::cluster::keyed::follow::FollowError;
use crate::control::journal::TOPIC;
use crate::control::topic::Fault;
use crate::ids::Offset;
use crate::link::log::Lost;

/// What the tail says when it cannot be read; it is tried again.
pub const UNREADABLE: &str = "JOURNAL_UNREADABLE";
/// The topic is not what it must be.
const MISCONFIGURED: &str = "JOURNAL_MISCONFIGURED";
/// It must not be gone on with.
const LOST: &str = "JOURNAL_LOST";
/// The destination does not answer.
pub const UNREACHABLE: &str = "JOURNAL_UNREACHABLE";

fn fault(code: &str, text: String) -> Fault {
    Fault { code: code.to_owned(), text }
}

/// A right that is missing, as `isolog check` and `kafka-acls.sh` name it.
pub(super) fn right(operation: &str, why: &str) -> Fault {
    let text = format!(
        "TOPIC_AUTHORIZATION_FAILED (29): the destination refuses us {operation} on topic {TOPIC} \
         ({why}): grant it there, with kafka-acls.sh --add --allow-principal 'User:…' --operation \
         {operation} --topic '{TOPIC}'"
    );
    fault("TOPIC_AUTHORIZATION_FAILED", text)
}

/// The topic has another number of partitions.
pub(super) fn partitions(count: usize) -> Fault {
    let text = format!(
        "topic {TOPIC} at the destination has {count} partitions and must have 1: see who grew or \
         made it; with what `isolog journal export` gives of partition 0 kept, delete the topic, \
         start isolog again, which makes it anew, and put the rows back with `isolog journal \
         import`"
    );
    fault(MISCONFIGURED, text)
}

/// Its rows may be deleted by age or size.
pub(super) fn policy(value: &str) -> Fault {
    let text = format!(
        "cleanup.policy of topic {TOPIC} at the destination is {value} and must be exactly \
         compact: kafka-configs.sh --alter --entity-type topics --entity-name {TOPIC} \
         --add-config cleanup.policy=compact; rows that were deleted meanwhile are gone"
    );
    fault(MISCONFIGURED, text)
}

/// Rows may be cleaned away before all instances have read them.
pub(super) fn lag(value: &str, needed_ms: i64, why: &str) -> Fault {
    let text = format!(
        "min.compaction.lag.ms of topic {TOPIC} at the destination is {value} and must be at least \
         {needed_ms}, and could not be raised ({why}): grant AlterConfigs on topic {TOPIC}, or \
         kafka-configs.sh --alter --entity-type topics --entity-name {TOPIC} --add-config \
         min.compaction.lag.ms={needed_ms}"
    );
    fault(MISCONFIGURED, text)
}

/// The topic was not made.
pub(super) fn not_made(error: &ClusterError) -> Fault {
    match error.code() {
        Some(KafkaCode(29)) => right("Create", "it is not there and must be made"),
        Some(KafkaCode(38)) => {
            let text = format!(
                "topic {TOPIC} cannot be made: {error}: set replication.factor to what the \
                 destination has brokers for"
            );
            fault("INVALID_REPLICATION_FACTOR", text)
        }
        code => {
            let name = code.map_or(UNREADABLE, KafkaCode::name);
            fault(name, format!("topic {TOPIC} cannot be made: {error}"))
        }
    }
}

/// The destination does not show the topic, and says this.
pub(super) fn not_shown(why: &str) -> Fault {
    let text = format!("the destination does not show topic {TOPIC}: {why}: it is asked again");
    fault(UNREADABLE, text)
}

/// It is tried again.
pub(super) fn unread(error: &FollowError) -> Fault {
    match error {
        FollowError::Refused(KafkaCode(29)) => right("Read", "the journal is read all the time"),
        FollowError::Damaged { .. } => {
            let text = format!(
                "topic {TOPIC} at the destination: {error}: have its leader moved to a replica \
                 whose log is whole (kafka-leader-election.sh), or restore the broker's disk"
            );
            fault(UNREADABLE, text)
        }
        _ => {
            let text = format!("topic {TOPIC} at the destination cannot be read now: {error}");
            fault(UNREADABLE, text)
        }
    }
}

/// The topic went.
pub(super) fn gone() -> Lost {
    lost("is not there any more", CURE)
}

/// Another one goes by its name.
pub(super) fn anew() -> Lost {
    lost("was deleted and made anew", CURE)
}

/// Its log lost its tail.
pub(super) fn below(end: Offset, read: Offset) -> Lost {
    let what = format!(
        "ends at offset {end}, and rows up to offset {read} were read and acted on: a broker that \
         was not in sync was elected, or lost its disk"
    );
    lost(&what, CURE)
}

/// Its log lost its beginning before it was read.
pub(super) fn trimmed(start: Offset, read: Offset) -> Lost {
    let what = format!("begins at offset {start}, and was read up to offset {read} only");
    lost(&what, CURE)
}

/// Its config was changed.
pub(super) fn changed(fault: &Fault) -> Lost {
    lost(&format!("was changed while isolog runs: {}", fault.text), "then start isolog again")
}

/// Nothing is known any more.
pub(super) fn ended() -> Fault {
    lost("is not read any more: a bug of isolog, report it with the log", CURE).fault
}

const CURE: &str = "see who did it; start isolog again, and put the rows back that `isolog journal \
                    export` gave before with `isolog journal import`; without such a copy, links \
                    of the config file compare their topics anew, and others are to be created \
                    again";

fn lost(what: &str, cure: &str) -> Lost {
    let text = format!(
        "the journal, topic {TOPIC} at the destination, {what}. No mirror topic of a link that it \
         holds is copied until a person has seen to it: {cure}"
    );
    Lost { fault: fault(LOST, text) }
}

/// The leader refuses rows.
pub(super) fn refused(code: KafkaCode, message: Option<&str>, bytes: usize) -> Fault {
    let remedy = match code.0 {
        29 => return right("Write", "rows of links and mirror topics are written there"),
        10 => format!(
            "the rows of one write have {bytes} bytes, more than max.message.bytes of the topic: \
             raise that with kafka-configs.sh --alter --entity-type topics --entity-name {TOPIC} \
             --add-config max.message.bytes=…"
        ),
        18 => format!(
            "the rows of one write have {bytes} bytes, more than segment.bytes of the topic: \
             raise that"
        ),
        19 => "fewer of its replicas are in sync than min.insync.replicas asks for: bring the \
               brokers back that kafka-topics.sh --describe shows missing from its Isr"
            .to_owned(),
        56 => "its broker cannot write to its disk: free space there, or mend it".to_owned(),
        32 => "the clock here and the broker's differ by more than \
               message.timestamp.before.max.ms or after.max.ms allow: set them right"
            .to_owned(),
        _ => "see the log of the broker that leads it".to_owned(),
    };
    let said = message.map(|text| format!(": {text}")).unwrap_or_default();
    fault(code.name(), format!("{code}{said}; {remedy}"))
}

/// It could not be asked.
pub(super) fn unreachable(error: &ClusterError) -> Fault {
    let name = error.code().map_or(UNREACHABLE, KafkaCode::name);
    fault(name, format!("{error}; nothing was written: try again when the destination answers"))
}

/// More than is ever sent.
pub(super) fn too_large(bytes: usize, max: usize) -> Fault {
    let text = format!("the rows of one write have {bytes} bytes, at most {max} are sent");
    fault("MESSAGE_TOO_LARGE", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_names_its_code_and_what_to_do() {
        let check = |code: i16, word: &str, said: &[&str]| {
            let fault = refused(KafkaCode(code), Some("broker's words"), 1234);
            assert_eq!(fault.code, word);
            for part in said {
                assert!(fault.text.contains(part), "{part:?} is missing in {}", fault.text);
            }
        };
        check(29, "TOPIC_AUTHORIZATION_FAILED", &["--operation Write --topic '__isolog'"]);
        check(10, "MESSAGE_TOO_LARGE", &["1234 bytes", "max.message.bytes", "broker's words"]);
        check(18, "RECORD_LIST_TOO_LARGE", &["segment.bytes"]);
        check(19, "NOT_ENOUGH_REPLICAS", &["min.insync.replicas", "Isr"]);
        check(56, "KAFKA_STORAGE_ERROR", &["disk"]);
        check(87, "INVALID_RECORD", &["INVALID_RECORD (87)", "log of the broker"]);
    }

    #[test]
    fn a_lost_journal_says_what_happened_and_what_to_do() {
        for lost in [gone(), anew(), below(offset(3), offset(7)), trimmed(offset(7), offset(3))] {
            assert_eq!(lost.fault.code, "JOURNAL_LOST");
            assert!(lost.fault.text.contains("isolog journal import"), "{}", lost.fault.text);
        }
        let lost = changed(&policy("delete")).fault.text;
        assert!(lost.contains("is delete") && lost.contains("cleanup.policy=compact"), "{lost}");
    }

    fn offset(raw: i64) -> Offset {
        Offset::new(raw).unwrap()
    }
}
