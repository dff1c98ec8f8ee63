//! What can be wrong with bytes, and what the caller of a broker must do about an error code.
//!
//! It never knows who sent the bytes: the side is added where the connection is.

use std::fmt;

/// Bytes that are not what the protocol says; the connection that carried them is of no more use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end inside a field.
    #[error("{what} needs {need} bytes, {have} are left")]
    Truncated {
        /// The field.
        what: &'static str,
        /// How many bytes it takes.
        need: usize,
        /// How many there are.
        have: usize,
    },
    /// A length or count that is larger than its bound.
    #[error("{what} is {value}, at most {max} is accepted")]
    TooLarge {
        /// The field.
        what: &'static str,
        /// What the peer says.
        value: i64,
        /// The bound.
        max: i64,
    },
    /// A value that the protocol does not have.
    #[error("{what} cannot be {value}")]
    BadValue {
        /// The field.
        what: &'static str,
        /// What the peer says.
        value: i64,
    },
    /// An answer that has the right lengths and is not what its version says.
    #[error("the answer is not what version {version} of the protocol says")]
    Undecodable {
        /// The version that was asked in.
        version: i16,
    },
    /// Bytes behind the last field.
    #[error("{bytes} bytes are left behind {what}")]
    Trailing {
        /// The message.
        what: &'static str,
        /// How many.
        bytes: usize,
    },
    /// A request of our own that cannot be encoded; it was not sent.
    #[error("isolog's own request cannot be encoded ({why}): a bug, report it with the log")]
    OwnRequest {
        /// What is wrong with it.
        why: String,
    },
    /// Text that is not UTF-8.
    #[error("{what} is not UTF-8")]
    NotUtf8 {
        /// The field.
        what: &'static str,
    },
    /// The peer does not speak Kafka.
    #[error("the peer does not speak Kafka: {guess}")]
    NotKafka {
        /// What it seems to be, and what to try.
        guess: &'static str,
    },
    /// An answer to a question that was not asked.
    #[error("answer {got} came where answer {expected} was due")]
    Correlation {
        /// The oldest request in flight.
        expected: i32,
        /// What the peer answered.
        got: i32,
    },
}

/// What the caller must do about a failure.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Remedy {
    /// Wait, then ask again.
    Retry,
    /// Refresh the metadata, then ask again.
    Refresh,
    /// Give the connection up and dial again.
    Redial,
    /// Log in again, or get the right.
    Reauth,
    /// Another writer, epoch or session has taken over: start over from the log's end.
    Fenced,
    /// Nothing that can be done here helps: a person must act.
    Halt,
}

/// A Kafka error code (`org.apache.kafka.common.protocol.Errors`).
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KafkaCode(pub i16);

/// One row per code that a broker can answer to a question of ours: code, name, remedy.
const CODES: &[(i16, &str, Remedy)] = &[
    (-1, "UNKNOWN_SERVER_ERROR", Remedy::Retry),
    (0, "NONE", Remedy::Retry),
    (1, "OFFSET_OUT_OF_RANGE", Remedy::Fenced),
    (2, "CORRUPT_MESSAGE", Remedy::Halt),
    (3, "UNKNOWN_TOPIC_OR_PARTITION", Remedy::Refresh),
    (5, "LEADER_NOT_AVAILABLE", Remedy::Refresh),
    (6, "NOT_LEADER_OR_FOLLOWER", Remedy::Refresh),
    (7, "REQUEST_TIMED_OUT", Remedy::Fenced),
    (8, "BROKER_NOT_AVAILABLE", Remedy::Refresh),
    (9, "REPLICA_NOT_AVAILABLE", Remedy::Refresh),
    (10, "MESSAGE_TOO_LARGE", Remedy::Halt),
    (12, "OFFSET_METADATA_TOO_LARGE", Remedy::Halt),
    (13, "NETWORK_EXCEPTION", Remedy::Redial),
    (14, "COORDINATOR_LOAD_IN_PROGRESS", Remedy::Retry),
    (15, "COORDINATOR_NOT_AVAILABLE", Remedy::Refresh),
    (16, "NOT_COORDINATOR", Remedy::Refresh),
    (17, "INVALID_TOPIC_EXCEPTION", Remedy::Halt),
    (18, "RECORD_LIST_TOO_LARGE", Remedy::Halt),
    (19, "NOT_ENOUGH_REPLICAS", Remedy::Retry),
    (20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", Remedy::Fenced),
    (21, "INVALID_REQUIRED_ACKS", Remedy::Halt),
    (22, "ILLEGAL_GENERATION", Remedy::Fenced),
    (23, "INCONSISTENT_GROUP_PROTOCOL", Remedy::Halt),
    (24, "INVALID_GROUP_ID", Remedy::Halt),
    (25, "UNKNOWN_MEMBER_ID", Remedy::Fenced),
    (26, "INVALID_SESSION_TIMEOUT", Remedy::Halt),
    (27, "REBALANCE_IN_PROGRESS", Remedy::Retry),
    (28, "INVALID_COMMIT_OFFSET_SIZE", Remedy::Halt),
    (29, "TOPIC_AUTHORIZATION_FAILED", Remedy::Reauth),
    (30, "GROUP_AUTHORIZATION_FAILED", Remedy::Reauth),
    (31, "CLUSTER_AUTHORIZATION_FAILED", Remedy::Reauth),
    (32, "INVALID_TIMESTAMP", Remedy::Halt),
    (33, "UNSUPPORTED_SASL_MECHANISM", Remedy::Reauth),
    (34, "ILLEGAL_SASL_STATE", Remedy::Reauth),
    (35, "UNSUPPORTED_VERSION", Remedy::Halt),
    (36, "TOPIC_ALREADY_EXISTS", Remedy::Refresh),
    (37, "INVALID_PARTITIONS", Remedy::Halt),
    (38, "INVALID_REPLICATION_FACTOR", Remedy::Halt),
    (40, "INVALID_CONFIG", Remedy::Halt),
    (41, "NOT_CONTROLLER", Remedy::Refresh),
    (42, "INVALID_REQUEST", Remedy::Halt),
    (43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", Remedy::Halt),
    (44, "POLICY_VIOLATION", Remedy::Halt),
    (45, "OUT_OF_ORDER_SEQUENCE_NUMBER", Remedy::Fenced),
    (46, "DUPLICATE_SEQUENCE_NUMBER", Remedy::Fenced),
    (47, "INVALID_PRODUCER_EPOCH", Remedy::Fenced),
    (53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Remedy::Reauth),
    (54, "SECURITY_DISABLED", Remedy::Halt),
    (55, "OPERATION_NOT_ATTEMPTED", Remedy::Retry),
    (56, "KAFKA_STORAGE_ERROR", Remedy::Refresh),
    (58, "SASL_AUTHENTICATION_FAILED", Remedy::Reauth),
    (59, "UNKNOWN_PRODUCER_ID", Remedy::Fenced),
    (68, "NON_EMPTY_GROUP", Remedy::Fenced),
    (69, "GROUP_ID_NOT_FOUND", Remedy::Refresh),
    (70, "FETCH_SESSION_ID_NOT_FOUND", Remedy::Fenced),
    (71, "INVALID_FETCH_SESSION_EPOCH", Remedy::Fenced),
    (72, "LISTENER_NOT_FOUND", Remedy::Refresh),
    (74, "FENCED_LEADER_EPOCH", Remedy::Refresh),
    (75, "UNKNOWN_LEADER_EPOCH", Remedy::Refresh),
    (76, "UNSUPPORTED_COMPRESSION_TYPE", Remedy::Halt),
    (78, "OFFSET_NOT_AVAILABLE", Remedy::Retry),
    (79, "MEMBER_ID_REQUIRED", Remedy::Retry),
    (80, "PREFERRED_LEADER_NOT_AVAILABLE", Remedy::Refresh),
    (81, "GROUP_MAX_SIZE_REACHED", Remedy::Halt),
    (82, "FENCED_INSTANCE_ID", Remedy::Halt),
    (87, "INVALID_RECORD", Remedy::Halt),
    (88, "UNSTABLE_OFFSET_COMMIT", Remedy::Retry),
    (89, "THROTTLING_QUOTA_EXCEEDED", Remedy::Retry),
    (90, "PRODUCER_FENCED", Remedy::Fenced),
    (100, "UNKNOWN_TOPIC_ID", Remedy::Refresh),
    (103, "INCONSISTENT_TOPIC_ID", Remedy::Refresh),
    (106, "FETCH_SESSION_TOPIC_ID_ERROR", Remedy::Fenced),
];

impl KafkaCode {
    /// No error.
    pub const NONE: KafkaCode = KafkaCode(0);
    /// UNKNOWN_SERVER_ERROR: also for an answer without its value.
    pub const UNKNOWN: KafkaCode = KafkaCode(-1);
    /// COORDINATOR_NOT_AVAILABLE.
    pub const COORDINATOR_NOT_AVAILABLE: KafkaCode = KafkaCode(15);

    /// Whether this says that all is well.
    pub fn is_none(self) -> bool {
        self == KafkaCode::NONE
    }

    /// What the caller must do; an unknown code is retried with backoff.
    pub fn remedy(self) -> Remedy {
        self.row().map_or(Remedy::Retry, |row| row.2)
    }

    /// Kafka's own name of the code.
    pub fn name(self) -> &'static str {
        self.row().map_or("UNKNOWN_CODE", |row| row.1)
    }

    fn row(self) -> Option<&'static (i16, &'static str, Remedy)> {
        CODES.binary_search_by_key(&self.0, |row| row.0).ok().map(|at| &CODES[at])
    }
}

impl fmt::Display for KafkaCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_every_row_is_found() {
        for row in CODES {
            assert_eq!(KafkaCode(row.0).name(), row.1);
        }
        assert_eq!(KafkaCode(999).remedy(), Remedy::Retry);
        assert_eq!(KafkaCode(45).to_string(), "OUT_OF_ORDER_SEQUENCE_NUMBER (45)");
    }
}
