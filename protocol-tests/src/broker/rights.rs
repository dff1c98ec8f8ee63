//! Rights that a test takes away from everybody, topic by topic (broker-facts A11).
//!
//! It never knows principals: isolog is the only client that asks.

use kafka_protocol::error::ResponseError;

use crate::broker::cluster::TestCluster;
use crate::broker::state::State;

/// An operation on a topic, with Kafka's number.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum Right {
    /// Fetch, DescribeProducers.
    Read = 3,
    /// Produce.
    Write = 4,
    /// CreateTopics.
    Create = 5,
    /// DeleteRecords, DeleteTopics.
    Delete = 6,
    /// CreatePartitions.
    Alter = 7,
    /// Metadata, ListOffsets, OffsetForLeaderEpoch.
    Describe = 8,
    /// DescribeConfigs.
    DescribeConfigs = 10,
    /// IncrementalAlterConfigs.
    AlterConfigs = 11,
}

impl State {
    /// Refuses with code 29 what was denied.
    pub fn check(&self, topic: &str, right: Right) -> Result<(), ResponseError> {
        let denied = !self.denied.is_empty() && self.denied.contains(&(topic.to_owned(), right));
        if denied { Err(ResponseError::TopicAuthorizationFailed) } else { Ok(()) }
    }
}

impl TestCluster {
    /// Takes a right on a topic away from everybody.
    pub fn deny(&self, topic: &str, right: Right) {
        self.change(|state| state.denied.insert((topic.to_owned(), right)));
    }

    /// Gives it back.
    pub fn grant(&self, topic: &str, right: Right) {
        self.change(|state| state.denied.remove(&(topic.to_owned(), right)));
    }
}
