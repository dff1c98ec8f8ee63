//! A simulated cluster behind a real loopback port, for the real binary.
//!
//! It never plays with time: the clock that brokers and the binary see is the machine's.

use std::io;

use bytes::Bytes;
use bytes::BytesMut;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::MetadataResponse;
use kafka_protocol::protocol::Decodable;
use kafka_protocol::protocol::Encodable;
use tokio::io::copy_bidirectional;
use tokio::net::TcpListener;

use crate::broker::Spec;
use crate::broker::TestCluster;
use crate::broker::spec::PORT;
use crate::broker::takeover::Act;
use crate::net::Net;
use crate::real::now_ms;

/// One simulated broker that listens on a port of the machine.
pub struct Loopback {
    /// The cluster; its controls say how it lies.
    pub cluster: TestCluster,
    /// `bootstrap.servers`.
    pub address: String,
}

impl Loopback {
    /// Starts it in the present tokio runtime, whose time must not be paused.
    pub async fn start(cluster_id: &str) -> io::Result<Self> {
        let mut spec = Spec::single(cluster_id, 1);
        spec.timing.start_wall_ms = now_ms();
        let cluster = TestCluster::start(&Net::new(1), spec);
        let inside = cluster.host(1);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        cluster.change(|state| {
            let broker = state.broker_mut(1);
            (broker.host, broker.port) = (address.ip().to_string(), address.port());
        });
        let net = cluster.net().clone();
        tokio::spawn(async move {
            while let Ok((mut outer, _)) = listener.accept().await {
                let (net, inside) = (net.clone(), inside.clone());
                tokio::spawn(async move {
                    if let Ok(mut inner) = net.connect(&inside, PORT).await {
                        let _whoever_ended_it = copy_bidirectional(&mut outer, &mut inner).await;
                    }
                });
            }
        });
        Ok(Self { cluster, address: address.to_string() })
    }

    /// From now on its metadata claims so many brokers, all of them behind its one address, each of
    /// them the leader of its share of every topic.
    pub fn claim_brokers(&self, count: i32) {
        self.cluster.control_key(ApiKey::Metadata, move |call| {
            let version = call.version;
            Some(Act::Edit(Box::new(move |body| claimed(body, version, count))))
        });
    }
}

fn claimed(mut body: Bytes, version: i16, count: i32) -> Bytes {
    let mut told = MetadataResponse::decode(&mut body, version).expect("our broker wrote it");
    let one = told.brokers[0].clone();
    told.brokers = (1..=count).map(|id| one.clone().with_node_id(BrokerId(id))).collect();
    for partition in told.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        let leader = BrokerId(1 + partition.partition_index % count);
        partition.leader_id = leader;
        partition.replica_nodes = vec![leader];
        partition.isr_nodes = vec![leader];
    }
    let mut out = BytesMut::new();
    told.encode(&mut out, version).expect("it was of this version");
    out.freeze()
}
