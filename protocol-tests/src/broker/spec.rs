//! What a simulated cluster is made of: its version, its size, its timing.
//!
//! It never changes after the start; what changes at run time is in `state`.

use std::collections::BTreeMap;

use kafka_protocol::messages::ApiKey;

/// Which Kafka the cluster plays.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// The oldest supported one.
    V2_8,
    /// The last with ZooKeeper.
    V3_9,
    /// The newest.
    V4_3,
}

/// How long things take, in virtual milliseconds.
#[derive(Clone, Debug)]
pub struct Timing {
    /// A follower fetches after so long.
    pub replicate_ms: (u64, u64),
    /// A broker that is silent for so long is fenced and its partitions get other leaders.
    pub session_timeout_ms: u64,
    /// A thawed broker learns what happened after so long; until then it believes what it knew.
    pub learn_ms: u64,
    /// An append holds the lock of its log for so long; other requests see the old end (A3).
    pub append_ms: (u64, u64),
    /// The wall clock at the start, in milliseconds since 1970.
    pub start_wall_ms: i64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            replicate_ms: (1, 5),
            session_timeout_ms: 9_000,
            learn_ms: 300,
            append_ms: (0, 0),
            start_wall_ms: 1_790_000_000_000,
        }
    }
}

/// A cluster to start.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The cluster id; brokers are called `b1.<cluster_id>`, `b2.<cluster_id>` …
    pub cluster_id: String,
    /// How many brokers, with ids from 1.
    pub brokers: i32,
    /// Which Kafka it plays.
    pub version: Version,
    /// Where all chance in the cluster comes from.
    pub seed: u64,
    /// `default.replication.factor`.
    pub replication: i16,
    /// Broker configs that differ from the defaults.
    pub configs: BTreeMap<String, String>,
    /// How long things take.
    pub timing: Timing,
}

impl Spec {
    /// One broker of the newest version.
    pub fn single(cluster_id: &str, seed: u64) -> Self {
        Self {
            cluster_id: cluster_id.to_owned(),
            brokers: 1,
            version: Version::V4_3,
            seed,
            replication: 1,
            configs: BTreeMap::new(),
            timing: Timing::default(),
        }
    }

    /// Three brokers of the newest version, replication factor 3, `min.insync.replicas` 2.
    pub fn triple(cluster_id: &str, seed: u64) -> Self {
        let configs = BTreeMap::from([("min.insync.replicas".to_owned(), "2".to_owned())]);
        Self { brokers: 3, replication: 3, configs, ..Self::single(cluster_id, seed) }
    }

    /// Sends clients that name their rack to the replica there, if it is to do so.
    #[must_use]
    pub fn rack_aware(mut self, is_it: bool) -> Self {
        if is_it {
            let class = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
            self.configs.insert("replica.selector.class".into(), class.into());
        }
        self
    }
}

/// The port that every simulated broker listens on.
pub const PORT: u16 = 9092;

/// APIs with the versions that 2.8.2, 3.9.1 and 4.3.1 advertise (broker-facts A8, B7); `None`
/// where the version does not have it.
type Row = (ApiKey, Option<(i16, i16)>, Option<(i16, i16)>, Option<(i16, i16)>);

const fn row(key: ApiKey, v2_8: (i16, i16), v3_9: (i16, i16), v4_3: (i16, i16)) -> Row {
    (key, Some(v2_8), Some(v3_9), Some(v4_3))
}

const RANGES: &[Row] = &[
    row(ApiKey::Produce, (0, 9), (0, 11), (0, 13)),
    row(ApiKey::Fetch, (0, 12), (0, 17), (4, 18)),
    row(ApiKey::ListOffsets, (0, 6), (0, 9), (1, 11)),
    row(ApiKey::Metadata, (0, 11), (0, 12), (0, 13)),
    row(ApiKey::ApiVersions, (0, 3), (0, 4), (0, 4)),
    row(ApiKey::CreateTopics, (0, 7), (0, 7), (2, 7)),
    row(ApiKey::DeleteTopics, (0, 6), (0, 6), (1, 6)),
    row(ApiKey::DeleteRecords, (0, 2), (0, 2), (0, 2)),
    row(ApiKey::OffsetForLeaderEpoch, (0, 4), (0, 4), (2, 4)),
    row(ApiKey::DescribeConfigs, (0, 4), (0, 4), (1, 4)),
    row(ApiKey::CreatePartitions, (0, 3), (0, 3), (0, 3)),
    row(ApiKey::IncrementalAlterConfigs, (0, 1), (0, 1), (0, 1)),
    row(ApiKey::DescribeCluster, (0, 0), (0, 1), (0, 2)),
    row(ApiKey::WriteTxnMarkers, (0, 1), (0, 1), (1, 2)),
    row(ApiKey::DescribeProducers, (0, 0), (0, 0), (0, 0)),
    row(ApiKey::FindCoordinator, (0, 3), (0, 6), (0, 6)),
    row(ApiKey::ListGroups, (0, 4), (0, 5), (0, 5)),
    row(ApiKey::JoinGroup, (0, 7), (0, 9), (0, 9)),
    row(ApiKey::LeaveGroup, (0, 4), (0, 5), (0, 5)),
    row(ApiKey::OffsetCommit, (0, 8), (0, 9), (2, 10)),
    row(ApiKey::OffsetFetch, (0, 7), (0, 9), (1, 10)),
    (ApiKey::DescribeTransactions, None, Some((0, 0)), Some((0, 0))),
    (ApiKey::ListTransactions, None, Some((0, 1)), Some((0, 2))),
    (ApiKey::ConsumerGroupHeartbeat, None, Some((0, 0)), Some((0, 1))),
    (ApiKey::ShareGroupHeartbeat, None, None, Some((1, 1))),
    (ApiKey::DescribeShareGroupOffsets, None, None, Some((0, 1))),
    (ApiKey::AlterShareGroupOffsets, None, None, Some((0, 0))),
];

impl Version {
    /// The versions of an API that this Kafka advertises.
    pub fn range(self, key: ApiKey) -> Option<(i16, i16)> {
        let row = RANGES.iter().find(|row| row.0 == key)?;
        match self {
            Self::V2_8 => row.1,
            Self::V3_9 => row.2,
            Self::V4_3 => row.3,
        }
    }

    /// Every API that this Kafka advertises here, with its range.
    pub fn ranges(self) -> impl Iterator<Item = (ApiKey, i16, i16)> {
        let keys = RANGES.iter().map(|row| row.0);
        keys.filter_map(move |key| self.range(key).map(|(low, high)| (key, low, high)))
    }

    /// The versions that it answers: Produce 0 to 2 are advertised by 4.x but no longer spoken.
    pub fn speaks(self, key: ApiKey, version: i16) -> bool {
        let Some((low, high)) = self.range(key) else { return false };
        let low = if key == ApiKey::Produce { low.max(3) } else { low };
        (low..=high).contains(&version)
    }
}
