//! WriteTxnMarkers 1: control batches by hand, as brokers-facts A5 saw them.
//!
//! It never asks a coordinator: whoever has the right may end anybody's transaction.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::WriteTxnMarkersRequest;
use kafka_protocol::messages::WriteTxnMarkersResponse;
use kafka_protocol::messages::write_txn_markers_request::WritableTxnMarker;
use kafka_protocol::messages::write_txn_markers_response::WritableTxnMarkerPartitionResult;
use kafka_protocol::messages::write_txn_markers_response::WritableTxnMarkerResult;
use kafka_protocol::messages::write_txn_markers_response::WritableTxnMarkerTopicResult;
use uuid::Uuid;

use crate::broker::api;
use crate::broker::cluster::TestCluster;
use crate::broker::direct::Ending;
use crate::broker::direct::marker;
use crate::broker::serve::Outcome;
use crate::broker::state::State;
use crate::broker::takeover::Call;

/// Answers WriteTxnMarkers; never where one marker names a partition twice (M4).
pub fn answer(cluster: &TestCluster, call: &Call) -> Outcome {
    let Some(request) = api::decode::<WriteTxnMarkersRequest>(call) else { return Outcome::Close };
    let is_sane =
        |marker: &WritableTxnMarker| marker.producer_id.0 >= 0 && marker.producer_epoch >= 0;
    if !request.markers.iter().all(is_sane) {
        // the broker's builder throws before anything is appended (B3)
        return api::encode(&failed(&request), call);
    }
    let mut results: Vec<WritableTxnMarkerResult> = Vec::new();
    let mut is_stuck = false;
    for marker in &request.markers {
        let topics = cluster.change(|state| write_all(state, call.broker, marker, &mut is_stuck));
        // M3: one entry per producer, the last marker's outcome wins
        results.retain(|result| result.producer_id != marker.producer_id);
        let result = WritableTxnMarkerResult::default().with_producer_id(marker.producer_id);
        results.push(result.with_topics(topics));
    }
    if is_stuck {
        return Outcome::Never;
    }
    api::encode(&WriteTxnMarkersResponse::default().with_markers(results), call)
}

fn failed(request: &WriteTxnMarkersRequest) -> WriteTxnMarkersResponse {
    let code = ResponseError::UnknownServerError.code();
    let results = request.markers.iter().map(|marker| {
        let topics = marker.topics.iter().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|index| {
                WritableTxnMarkerPartitionResult::default()
                    .with_partition_index(*index)
                    .with_error_code(code)
            });
            WritableTxnMarkerTopicResult::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        WritableTxnMarkerResult::default()
            .with_producer_id(marker.producer_id)
            .with_topics(topics.collect())
    });
    WriteTxnMarkersResponse::default().with_markers(results.collect())
}

fn write_all(
    state: &mut State,
    broker: i32,
    marker: &WritableTxnMarker,
    is_stuck: &mut bool,
) -> Vec<WritableTxnMarkerTopicResult> {
    let mut topics = Vec::new();
    for topic in &marker.topics {
        let mut indexes = topic.partition_indexes.clone();
        indexes.sort_unstable();
        let before = indexes.len();
        indexes.dedup();
        *is_stuck |= indexes.len() != before;
        let partitions = indexes.into_iter().map(|index| {
            let done = write(state, broker, &topic.name, index, marker);
            WritableTxnMarkerPartitionResult::default()
                .with_partition_index(index)
                .with_error_code(done.err().map_or(0, |error| error.code()))
        });
        let result = WritableTxnMarkerTopicResult::default().with_name(topic.name.clone());
        topics.push(result.with_partitions(partitions.collect()));
    }
    topics
}

fn write(
    state: &mut State,
    broker: i32,
    name: &str,
    index: i32,
    asked: &WritableTxnMarker,
) -> Result<(), ResponseError> {
    let (_, id) = state.find_topic(broker, name, Uuid::nil())?;
    let led = state.led(broker, (id, index), -1)?;
    state.expire_producers(led.key, broker);
    let producer_id = asked.producer_id.0;
    let known = state.replica(led.key, broker).log.producers.iter();
    if let Some((_, known)) = known.into_iter().find(|(id, _)| *id == producer_id) {
        if asked.producer_epoch < known.epoch {
            return Err(ResponseError::InvalidProducerEpoch);
        }
        if asked.coordinator_epoch < known.coordinator_epoch {
            return Err(ResponseError::TransactionCoordinatorFenced);
        }
    }
    let ending = Ending {
        producer: (producer_id, asked.producer_epoch),
        commit: asked.transaction_result,
        coordinator_epoch: asked.coordinator_epoch,
    };
    let bytes = marker(ending, state.now_ms());
    state.append_raw(broker, &led, &bytes).map(drop)
}
