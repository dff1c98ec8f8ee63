//! Who vouches that what a fetch by name brought is of the topic that is mirrored.
//!
//! It never reads records. Brokers before Kafka 3.1 are asked by name, and would hand out another
//! topic's records when theirs was deleted and created anew meanwhile. So the same broker is asked
//! for the topics' ids *after* its answer: an id that is still the old one then was the old one
//! when the records were read, since ids never come back.

use std::collections::BTreeMap;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::flow::lane::members::Members;
use crate::ids::BrokerId;
use crate::ids::TopicId;
use crate::ids::TopicName;
use crate::mirror::facts::Fault;
use crate::wire::error::KafkaCode;
use crate::wire::fetch::FetchAnswer;
use crate::wire::topic::TopicRef;

/// UNKNOWN_TOPIC_ID: what a newer broker says itself of a topic that is gone.
const UNKNOWN_TOPIC_ID: KafkaCode = KafkaCode(100);

/// The topics of `answer` whose records may not be used, and why.
pub async fn strangers(
    source: &Cluster,
    broker: BrokerId,
    members: &Members,
    answer: &FetchAnswer,
    stop: &CancellationToken,
) -> BTreeMap<TopicName, Fault> {
    let wanted = wanted(members, answer);
    if wanted.is_empty() {
        return BTreeMap::new();
    }
    let names: Vec<TopicName> = wanted.keys().cloned().collect();
    let asked = timeout(source.options().request_timeout, source.topic_ids_at(broker, &names));
    let told = tokio::select! {
        told = asked => told,
        () = stop.cancelled() => return all(wanted, Fault::Moved),
    };
    let Ok(Ok(told)) = told else { return all(wanted, Fault::SourceLost) };
    let differs = |(name, id): &(TopicName, TopicId)| told.get(name) != Some(id);
    all(wanted.into_iter().filter(differs), Fault::FetchRefused(UNKNOWN_TOPIC_ID))
}

/// The topics which the answer names and has records of, by the ids that are mirrored.
fn wanted(members: &Members, answer: &FetchAnswer) -> BTreeMap<TopicName, TopicId> {
    let full = answer.partitions.iter().filter(|one| !one.records.is_empty());
    let wanted = full.filter_map(|one| {
        let TopicRef::Name(name) = &one.topic else { return None };
        Some((name.clone(), members.source_id(&one.topic, one.partition)?))
    });
    wanted.collect()
}

fn all(
    topics: impl IntoIterator<Item = (TopicName, TopicId)>,
    fault: Fault,
) -> BTreeMap<TopicName, Fault> {
    topics.into_iter().map(|(name, _)| (name, fault)).collect()
}
