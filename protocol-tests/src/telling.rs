//! A scripted cluster that tells metadata, and the options of who asks it.
//!
//! It never answers by itself: `scripted` hosts do, with what is made here.

use std::time::Duration;

use isolog::cluster::Options;
use isolog::ids::Side;
use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::MetadataResponse;
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::protocol::StrBytes;

/// Where it is asked first.
pub const BOOTSTRAP: (&str, u16) = ("boot", 9092);
/// The same as an address.
pub const BOOTSTRAP_ADDRESS: &str = "boot:9092";

/// Who asks it: short pauses, and these deadlines of a question and of a dial.
pub fn options(request_timeout: Duration, dial_timeout: Duration) -> Options {
    Options {
        side: Side::Source,
        bootstrap: vec![(BOOTSTRAP.0.into(), BOOTSTRAP.1)],
        client_id: "isolog-test".into(),
        request_timeout,
        dial_timeout,
        metadata_age_max: Duration::from_secs(300),
        redial_pause: Duration::from_millis(20),
        redial_pause_max: Duration::from_millis(40),
        retry_pause: Duration::from_millis(20),
        retry_pause_max: Duration::from_millis(40),
        rack: String::new(),
        size_max: Default::default(),
        security: Default::default(),
    }
}

/// One broker as metadata tells it.
pub fn broker(id: i32, host: &str, port: i32) -> MetadataResponseBroker {
    let host = StrBytes::from_string(host.to_owned());
    MetadataResponseBroker::default().with_node_id(BrokerId(id)).with_host(host).with_port(port)
}

/// A cluster of these brokers without topics.
pub fn metadata(brokers: Vec<MetadataResponseBroker>) -> MetadataResponse {
    MetadataResponse::default()
        .with_brokers(brokers)
        .with_controller_id(BrokerId(1))
        .with_cluster_id(Some(StrBytes::from_static_str("a-cluster")))
}
