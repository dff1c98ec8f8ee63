//! Metadata of a cluster that claims to be larger than any: what it costs to refuse it.
//!
//! It never believes a count: what is measured is this process's heap.

use std::sync::Arc;
use std::time::Duration;

use isolog::cluster::Cluster;
use isolog::cluster::Options;
use kafka_protocol::messages::MetadataResponse;
use kafka_protocol::messages::metadata_response::MetadataResponsePartition;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::protocol::Encodable;
use kafka_protocol::protocol::StrBytes;
use protocol_tests::scripted::End;
use protocol_tests::scripted::MODERN;
use protocol_tests::scripted::Net;
use protocol_tests::telling;
use protocol_tests::telling::BOOTSTRAP;
use protocol_tests::telling::BOOTSTRAP_ADDRESS;
use protocol_tests::telling::broker;

use super::HEAP;
use super::alone;

/// What refusing may take per byte of the answer: the answer once, and what is copied on the way.
const HEAP_PER_BYTE_MAX: f64 = 1.3;
/// The connection, its buffers, the runtime.
const HEAP_BASE_MAX: usize = 1 << 20;

fn options() -> Options {
    telling::options(Duration::from_secs(20), Duration::from_secs(2))
}

/// One topic of so many partitions, whose replicas are not told.
fn metadata(partitions: i32) -> MetadataResponse {
    let partition = |index| MetadataResponsePartition::default().with_partition_index(index);
    let topic = MetadataResponseTopic::default()
        .with_name(Some(StrBytes::from_static_str("orders").into()))
        .with_partitions((0..partitions).map(partition).collect());
    telling::metadata(vec![broker(1, BOOTSTRAP.0, 9092)]).with_topics(vec![topic])
}

/// Tells nothing to the first question of a connection, which only wants the cluster's id.
async fn serve(mut end: End, body: Arc<Vec<u8>>, short: Arc<Vec<u8>>) {
    end.greet(MODERN).await;
    let mut asked = 0;
    while let Some(request) = end.request().await {
        asked += 1;
        end.answer(&request, if asked == 1 { &short } else { &body }).await;
    }
}

fn encoded(answer: &MetadataResponse) -> Arc<Vec<u8>> {
    let mut body = bytes::BytesMut::new();
    answer.encode(&mut body, 13).expect("it is of this version");
    Arc::new(body.to_vec())
}

fn telling(body: &Arc<Vec<u8>>) -> Arc<Net> {
    let net = Arc::new(Net::default());
    let (body, short) = (body.clone(), encoded(&metadata(0)));
    net.host(BOOTSTRAP_ADDRESS, move |end| serve(end, body.clone(), short.clone()));
    net
}

/// H5: 17 MiB of one topic with a million partitions.
#[tokio::test(start_paused = true)]
#[allow(clippy::await_holding_lock, reason = "it is the turn of the whole program")]
async fn a_million_partitions_cost_no_more_than_their_bytes() {
    let _alone = alone();
    let body = encoded(&metadata(1_000_000));
    assert!(body.len() > 17 << 20, "{} bytes", body.len());
    let net = telling(&body);
    let frame_copy = body.len();
    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    let error = Cluster::connect(options(), net, 1).await.err().expect("it is refused");
    // the script puts its answer into one frame of its own
    let took = HEAP.peak_usage().saturating_sub(before).saturating_sub(frame_copy);
    let bound = (body.len() as f64 * HEAP_PER_BYTE_MAX) as usize + HEAP_BASE_MAX;
    println!("{} bytes of metadata: {took} bytes of heap, at most {bound}", body.len());
    assert!(took <= bound, "{took} bytes of heap for {} of metadata", body.len());
    let said = error.to_string();
    let words = "it tells 1000000 partitions, metadata.partitions.max is 200000";
    assert!(said.contains(words), "{said}");
    let left = HEAP.current_usage().saturating_sub(before);
    assert!(left <= HEAP_BASE_MAX, "{left} bytes stay");
}

/// A cluster of the size that is allowed is taken over.
#[tokio::test(start_paused = true)]
#[allow(clippy::await_holding_lock, reason = "it is the turn of the whole program")]
async fn what_is_within_the_bounds_is_taken_over() {
    let _alone = alone();
    let net = telling(&encoded(&metadata(200_000)));
    let cluster = Cluster::connect(options(), net, 1).await.expect("it is not too large");
    assert_eq!(cluster.topics()[0].partitions.len(), 200_000);
}
