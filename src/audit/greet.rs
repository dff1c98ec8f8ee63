//! One cluster as it is found: its brokers, what they speak, what o'clock it is there.
//!
//! It never judges a topic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use serde::Serialize;

use crate::audit::judge::Finding;
use crate::cluster::Cluster;
use crate::cluster::Use;
use crate::cluster::dial::sockets_max;
use crate::cluster::metadata::Metadata;
use crate::ids::Side;
use crate::wire::versions::ApiKey;

/// What a greeting reads at most.
const GREETING_BYTES_MAX: usize = 1 << 20;
/// A difference of clocks that is worth a note, in ms.
const CLOCK_MS_MAX: i64 = 30_000;

/// One broker.
#[derive(Clone, Debug, Serialize)]
pub struct BrokerReport {
    /// Its id.
    pub id: i32,
    /// Where it listens.
    pub address: String,
    /// How long it took to connect and to be greeted, in ms.
    pub connect_ms: Option<u64>,
    /// Why it cannot be reached.
    pub error: Option<String>,
    /// The versions of our APIs that it speaks: lowest and highest.
    pub apis: BTreeMap<&'static str, Option<(i16, i16)>>,
}

/// One side.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterReport {
    /// `source` or `destination`.
    pub side: String,
    /// Its id.
    pub cluster_id: Option<String>,
    /// Its brokers.
    pub brokers: Vec<BrokerReport>,
    /// Its controller's clock less ours, in ms, where it tells.
    pub clock_ms: Option<i64>,
    /// The `kafka-acls` lines that grant what is missing.
    pub grants: Vec<String>,
    /// Rights that are not needed.
    pub excess: Vec<String>,
}

/// Connects to every broker of a cluster, and asks what o'clock it is.
pub async fn greet(cluster: &Arc<Cluster>, findings: &mut Vec<Finding>) -> ClusterReport {
    let known = cluster.look(|metadata| metadata.brokers().cloned().collect::<Vec<_>>());
    let mut brokers = Vec::new();
    for broker in known {
        let began = Instant::now();
        let purpose = Use::Look { frame_bytes_max: GREETING_BYTES_MAX };
        let opened = cluster.open(broker.id, purpose).await;
        let mut one = BrokerReport {
            id: broker.id.0,
            address: format!("{}:{}", broker.host, broker.port),
            connect_ms: None,
            error: None,
            apis: BTreeMap::new(),
        };
        match opened {
            Ok(conn) => {
                one.connect_ms = u64::try_from(began.elapsed().as_millis()).ok();
                for api in ApiKey::all() {
                    let theirs = conn.versions().theirs(api).map(|range| (range.min, range.max));
                    one.apis.insert(api.name(), theirs);
                    if let Err(error) = conn.version(api)
                        && needs(cluster.side(), api)
                    {
                        findings.push(Finding::impossible(error.to_string()));
                    }
                }
            }
            Err(error) => {
                one.error = Some(error.to_string());
                findings.push(Finding::unknown(error.to_string()));
            }
        }
        brokers.push(one);
    }
    let clock_ms = clock_ms(cluster).await;
    if let Some(ms) = clock_ms.filter(|ms| ms.abs() > CLOCK_MS_MAX) {
        let text = format!("the {}'s clock differs from ours by {ms} ms", cluster.side());
        findings.push(Finding::note(text));
    }
    ClusterReport {
        side: cluster.side().to_string(),
        cluster_id: Some(cluster.id().to_string()),
        brokers,
        clock_ms,
        grants: Vec::new(),
        excess: Vec::new(),
    }
}

/// Whether the copy needs an API on that side.
fn needs(side: Side, api: ApiKey) -> bool {
    use ApiKey::*;
    match side {
        Side::Source => {
            matches!(api, Fetch | ListOffsets | Metadata | OffsetForLeaderEpoch | DescribeConfigs)
        }
        // rights are asked for where a link copies them, quotas and users where a stop is ordered
        Side::Destination => {
            let of_rights = matches!(api, DescribeAcls | CreateAcls | DeleteAcls);
            let of_clients = matches!(api, DescribeClientQuotas | DescribeUserScramCredentials);
            // share groups are followed where both sides have them; a reversal asks the source
            let of_shares = matches!(api, DescribeShareGroupOffsets | AlterShareGroupOffsets);
            let of_swaps = matches!(api, DescribeTransactions | ListTransactions);
            !(api == DescribeQuorum || of_rights || of_clients || of_shares || of_swaps)
        }
    }
}

/// The controller's clock less ours, half way of the question.
async fn clock_ms(cluster: &Cluster) -> Option<i64> {
    let before = now_ms();
    let theirs = cluster.controller_time_ms().await.ok()??;
    Some(theirs - (before + now_ms()) / 2)
}

/// The time, in ms since 1970.
pub fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}

/// What a lane has open towards each side at most: its own connection, and one for looks.
const LANE_SOCKETS: usize = 2;

/// Whether all lanes of these brokers find room among the process's connections.
pub fn crowds(source: &Cluster, destination: &Cluster) -> impl Iterator<Item = String> {
    let of = |cluster: &Cluster| {
        let hosts = |metadata: &Metadata| {
            let mut by_address: BTreeMap<(Arc<str>, u16), usize> = BTreeMap::new();
            let all = metadata.brokers().map(|one| (one.host.clone(), one.port));
            all.for_each(|address| *by_address.entry(address).or_default() += 1);
            (metadata.brokers().count(), by_address.into_values().max().unwrap_or(0))
        };
        cluster.look(hosts)
    };
    crowded(of(source), of(destination), sockets_max()).into_iter()
}

/// Each side: its brokers, and the most of them behind one address. The bounds: in all, and to
/// one address.
fn crowded(
    (sources, behind_source): (usize, usize),
    (destinations, behind_destination): (usize, usize),
    (max, address_max): (usize, usize),
) -> Vec<String> {
    let lanes = sources * destinations;
    let all = lanes * 2 * LANE_SOCKETS;
    let at_one = (behind_source * destinations).max(behind_destination * sources) * LANE_SOCKETS;
    let mut told = Vec::new();
    if all > max {
        told.push(format!(
            "{sources} source and {destinations} destination brokers may take {all} connections, \
             the limit of open files leaves {max}: raise it (LimitNOFILE in the unit, ulimit -n)"
        ));
    }
    if at_one > address_max {
        told.push(format!(
            "so many brokers are advertised behind one address that it may take {at_one} \
             connections; {address_max} are opened to one address: give brokers addresses of \
             their own (advertised.listeners)"
        ));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_lanes_than_connections_are_told_beforehand() {
        assert_eq!(crowded((3, 1), (3, 1), (896, 512)), Vec::<String>::new());
        let told = crowded((500, 500), (1, 1), (896, 512));
        assert_eq!(told.len(), 2);
        assert!(told[0].contains("may take 2000 connections"), "{}", told[0]);
        assert!(told[1].contains("advertised behind one address"), "{}", told[1]);
        assert_eq!(crowded((500, 1), (1, 1), (16_384, 512)).len(), 1, "one destination broker");
    }
}
