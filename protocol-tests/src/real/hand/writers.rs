//! Whom a real broker remembers as writers of a partition.
//!
//! It never writes.

use kafka_protocol::messages::DescribeProducersRequest;
use kafka_protocol::messages::describe_producers_request::TopicRequest;

use super::Hand;
use super::RealError;
use super::name;

impl Hand {
    /// The producer ids that the leader of a partition knows of.
    pub fn writers(&self, topic: &str, partition: i32) -> Result<Vec<i64>, RealError> {
        let one = TopicRequest::default().with_name(name(topic));
        let one = one.with_partition_indexes(vec![partition]);
        let request = DescribeProducersRequest::default().with_topics(vec![one]);
        let told = self.ask_leader((topic, partition), 0, &request, |answer| {
            answer.topics.first().map_or(-1, |one| one.partitions[0].error_code)
        })?;
        let known = &told.topics[0].partitions[0].active_producers;
        Ok(known.iter().map(|one| one.producer_id.0).collect())
    }
}
