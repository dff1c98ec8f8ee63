//! The APIs we speak, in which versions, and which of them a broker speaks too.
//!
//! It never falls back to a non-flexible version: what is older than Kafka 2.8 is refused.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use bytes::BytesMut;

use crate::wire::error::KafkaCode;
use crate::wire::error::WireError;
use crate::wire::prim::Reader;
use crate::wire::prim::put_compact_string;
use crate::wire::prim::put_no_tags;

/// The version of ApiVersions that is asked (flexible; Kafka 2.4 and newer answer it).
pub const API_VERSIONS: i16 = 3;
/// How this program names itself to a broker.
pub const SOFTWARE_NAME: &str = "isolog";
/// UNSUPPORTED_VERSION: the answer that follows is in version 0.
const UNSUPPORTED_VERSION: KafkaCode = KafkaCode(35);
/// What one API takes at least in an ApiVersions answer of version 3.
const ENTRY_BYTES_MIN: usize = 7;
/// The same in version 0.
const ENTRY_BYTES_V0: usize = 6;

/// An API that we speak.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ApiKey {
    /// Append record batches.
    Produce,
    /// Read record batches.
    Fetch,
    /// Ends and starts of partitions.
    ListOffsets,
    /// Brokers, topics, leaders.
    Metadata,
    /// Set offsets of a group.
    OffsetCommit,
    /// Read offsets of groups.
    OffsetFetch,
    /// Which broker coordinates a group.
    FindCoordinator,
    /// Become a member of a group.
    JoinGroup,
    /// Still a member.
    Heartbeat,
    /// A member no more.
    LeaveGroup,
    /// What the leader of a group gives its members.
    SyncGroup,
    /// The groups that a broker coordinates.
    ListGroups,
    /// How to log in.
    SaslHandshake,
    /// What a broker speaks.
    ApiVersions,
    /// Make topics.
    CreateTopics,
    /// Delete topics.
    DeleteTopics,
    /// Move the start of a partition.
    DeleteRecords,
    /// Where a leader epoch ended.
    OffsetForLeaderEpoch,
    /// Read ACLs.
    DescribeAcls,
    /// Grant and deny.
    CreateAcls,
    /// Take a grant or a denial away.
    DeleteAcls,
    /// Read configs.
    DescribeConfigs,
    /// One message of a login.
    SaslAuthenticate,
    /// Grow topics.
    CreatePartitions,
    /// Change configs key by key.
    IncrementalAlterConfigs,
    /// Read quotas of clients.
    DescribeClientQuotas,
    /// Who has a SCRAM password.
    DescribeUserScramCredentials,
    /// The controllers, and how far each has read.
    DescribeQuorum,
    /// The brokers, for administrators.
    DescribeCluster,
    /// What a leader remembers of producers.
    DescribeProducers,
    /// What transactions have written to, from their coordinator.
    DescribeTransactions,
    /// The transactions that a broker coordinates.
    ListTransactions,
    /// Where share groups start (KIP-932).
    DescribeShareGroupOffsets,
    /// Set where a share group starts.
    AlterShareGroupOffsets,
}

/// One row per API: key, name, our lowest and highest version (flexible ones only, but for
/// SaslHandshake, which has none).
const APIS: &[(ApiKey, i16, &str, Range)] = &[
    (ApiKey::Produce, 0, "Produce", Range { min: 9, max: 13 }),
    (ApiKey::Fetch, 1, "Fetch", Range { min: 12, max: 17 }),
    (ApiKey::ListOffsets, 2, "ListOffsets", Range { min: 6, max: 10 }),
    (ApiKey::Metadata, 3, "Metadata", Range { min: 9, max: 13 }),
    (ApiKey::OffsetCommit, 8, "OffsetCommit", Range { min: 8, max: 8 }),
    (ApiKey::OffsetFetch, 9, "OffsetFetch", Range { min: 7, max: 8 }),
    (ApiKey::FindCoordinator, 10, "FindCoordinator", Range { min: 3, max: 4 }),
    (ApiKey::JoinGroup, 11, "JoinGroup", Range { min: 6, max: 9 }),
    (ApiKey::Heartbeat, 12, "Heartbeat", Range { min: 4, max: 4 }),
    (ApiKey::LeaveGroup, 13, "LeaveGroup", Range { min: 4, max: 5 }),
    (ApiKey::SyncGroup, 14, "SyncGroup", Range { min: 4, max: 5 }),
    (ApiKey::ListGroups, 16, "ListGroups", Range { min: 4, max: 5 }),
    (ApiKey::SaslHandshake, 17, "SaslHandshake", Range { min: 1, max: 1 }),
    (ApiKey::ApiVersions, 18, "ApiVersions", Range { min: API_VERSIONS, max: API_VERSIONS }),
    (ApiKey::CreateTopics, 19, "CreateTopics", Range { min: 5, max: 7 }),
    (ApiKey::DeleteTopics, 20, "DeleteTopics", Range { min: 6, max: 6 }),
    (ApiKey::DeleteRecords, 21, "DeleteRecords", Range { min: 2, max: 2 }),
    (ApiKey::OffsetForLeaderEpoch, 23, "OffsetForLeaderEpoch", Range { min: 4, max: 4 }),
    (ApiKey::DescribeAcls, 29, "DescribeAcls", Range { min: 2, max: 3 }),
    (ApiKey::CreateAcls, 30, "CreateAcls", Range { min: 2, max: 3 }),
    (ApiKey::DeleteAcls, 31, "DeleteAcls", Range { min: 2, max: 3 }),
    (ApiKey::DescribeConfigs, 32, "DescribeConfigs", Range { min: 4, max: 4 }),
    (ApiKey::SaslAuthenticate, 36, "SaslAuthenticate", Range { min: 2, max: 2 }),
    (ApiKey::CreatePartitions, 37, "CreatePartitions", Range { min: 2, max: 3 }),
    (ApiKey::IncrementalAlterConfigs, 44, "IncrementalAlterConfigs", Range { min: 1, max: 1 }),
    (ApiKey::DescribeClientQuotas, 48, "DescribeClientQuotas", Range { min: 1, max: 1 }),
    (ApiKey::DescribeUserScramCredentials, 50, SCRAM_CREDENTIALS, Range { min: 0, max: 0 }),
    (ApiKey::DescribeQuorum, 55, "DescribeQuorum", Range { min: 1, max: 1 }),
    (ApiKey::DescribeCluster, 60, "DescribeCluster", Range { min: 0, max: 2 }),
    (ApiKey::DescribeProducers, 61, "DescribeProducers", Range { min: 0, max: 0 }),
    (ApiKey::DescribeTransactions, 65, "DescribeTransactions", Range { min: 0, max: 0 }),
    (ApiKey::ListTransactions, 66, "ListTransactions", Range { min: 0, max: 0 }),
    (ApiKey::DescribeShareGroupOffsets, 90, "DescribeShareGroupOffsets", Range { min: 0, max: 0 }),
    (ApiKey::AlterShareGroupOffsets, 91, "AlterShareGroupOffsets", Range { min: 0, max: 0 }),
];

/// Kafka's name of an API, which is long.
const SCRAM_CREDENTIALS: &str = "DescribeUserScramCredentials";

/// Versions from `min` to `max`, both included.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The lowest.
    pub min: i16,
    /// The highest.
    pub max: i16,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.min, self.max)
    }
}

impl ApiKey {
    /// All of them, in the order of their keys.
    pub fn all() -> impl Iterator<Item = ApiKey> {
        APIS.iter().map(|row| row.0)
    }

    /// Whether requests and answers carry tagged fields in their heads and bodies.
    pub fn is_flexible(self) -> bool {
        self != ApiKey::SaslHandshake
    }

    /// The number on the wire.
    pub fn key(self) -> i16 {
        self.row().1
    }

    /// Kafka's own name.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// The versions that we speak.
    pub fn ours(self) -> Range {
        self.row().3
    }

    fn row(self) -> &'static (ApiKey, i16, &'static str, Range) {
        &APIS[self as usize]
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Every broker has Metadata, and the listener of KRaft's controllers has not.
const NO_BROKER: &str =
    "; who has no Metadata is no broker: if that is a KRaft controller's port, name a broker's";

/// No version of an API is spoken on both sides.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no common version of {api}: isolog speaks {ours}, the broker {}; it needs Kafka 2.8 or \
     newer{}",
    .theirs.map_or("none".to_owned(), |range| range.to_string()),
    if *.api == ApiKey::Metadata && .theirs.is_none() { NO_BROKER } else { "" }
)]
pub struct NoCommonVersion {
    /// The API.
    pub api: ApiKey,
    /// Our versions.
    pub ours: Range,
    /// The broker's, `None` when it does not have the API.
    pub theirs: Option<Range>,
}

/// The versions that one broker speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    theirs: BTreeMap<i16, Range>,
}

impl Versions {
    /// The body of the question (version 3).
    pub fn ask(software_version: &str) -> Bytes {
        let mut out = BytesMut::new();
        put_compact_string(&mut out, SOFTWARE_NAME);
        put_compact_string(&mut out, software_version);
        put_no_tags(&mut out);
        out.freeze()
    }

    /// Reads the answer; version 0's shape comes with error 35, from a broker that is too old.
    pub fn read(body: Bytes) -> Result<(KafkaCode, Versions), WireError> {
        let mut reader = Reader::new(body);
        let code = KafkaCode(reader.i16("error code")?);
        let versions = match code {
            UNSUPPORTED_VERSION => read_v0(&mut reader)?,
            _ => read_v3(&mut reader)?,
        };
        reader.finish("ApiVersions")?;
        Ok((code, versions))
    }

    /// The broker's own range of an API.
    pub fn theirs(&self, api: ApiKey) -> Option<Range> {
        self.theirs.get(&api.key()).copied()
    }

    /// The highest version that both speak.
    pub fn choose(&self, api: ApiKey) -> Result<i16, NoCommonVersion> {
        let ours = api.ours();
        let theirs = self.theirs(api);
        let none = NoCommonVersion { api, ours, theirs };
        let range = theirs.ok_or(none)?;
        let version = ours.max.min(range.max);
        if version < ours.min.max(range.min) { Err(none) } else { Ok(version) }
    }

    fn note(&mut self, reader: &mut Reader) -> Result<(), WireError> {
        let key = reader.i16("api key")?;
        let min = reader.i16("min version")?;
        let max = reader.i16("max version")?;
        self.theirs.insert(key, Range { min, max });
        Ok(())
    }
}

fn read_v3(reader: &mut Reader) -> Result<Versions, WireError> {
    let mut versions = Versions::default();
    for _ in 0..reader.count("api keys", ENTRY_BYTES_MIN)?.unwrap_or(0) {
        versions.note(reader)?;
        reader.skip_tagged()?;
    }
    reader.i32("throttle time")?;
    reader.skip_tagged()?;
    Ok(versions)
}

fn read_v0(reader: &mut Reader) -> Result<Versions, WireError> {
    let mut versions = Versions::default();
    let count = reader.i32("api keys")?;
    let max = reader.left() / ENTRY_BYTES_V0;
    if usize::try_from(count).map_or(count != -1, |count| count > max) {
        let (what, value) = ("api keys", i64::from(count));
        return Err(WireError::TooLarge { what, value, max: max as i64 });
    }
    for _ in 0..count.max(0) {
        versions.note(reader)?;
    }
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;

    fn answer(rows: &[(i16, i16, i16)]) -> Bytes {
        let mut out = BytesMut::new();
        out.put_i16(0);
        out.put_u8(rows.len() as u8 + 1);
        for row in rows {
            out.put_i16(row.0);
            out.put_i16(row.1);
            out.put_i16(row.2);
            out.put_u8(0);
        }
        out.put_i32(0);
        // one unknown tag, as brokers send their features
        out.put_slice(&[1, 1, 2, 0xaa, 0xbb]);
        out.freeze()
    }

    #[test]
    fn the_table_is_in_the_order_of_the_enum_and_of_the_keys() {
        for (at, row) in APIS.iter().enumerate() {
            assert_eq!(row.0 as usize, at, "{}", row.2);
        }
        assert!(APIS.is_sorted_by_key(|row| row.1));
    }

    #[test]
    fn the_highest_common_version_is_chosen() {
        let (code, versions) =
            Versions::read(answer(&[(3, 0, 12), (1, 4, 18), (0, 0, 8), (61, 0, 0)])).unwrap();
        assert!(code.is_none());
        assert_eq!(versions.choose(ApiKey::Metadata), Ok(12));
        assert_eq!(versions.choose(ApiKey::Fetch), Ok(17));
        assert_eq!(versions.choose(ApiKey::DescribeProducers), Ok(0));
        let old = versions.choose(ApiKey::Produce).unwrap_err().to_string();
        for part in ["Produce", "9-13", "0-8", "Kafka 2.8 or newer"] {
            assert!(old.contains(part), "{old}");
        }
        let absent = versions.choose(ApiKey::DescribeCluster).unwrap_err().to_string();
        assert!(absent.contains("the broker none"), "{absent}");
        assert!(!absent.contains("controller"), "{absent}");
    }

    #[test]
    fn a_controllers_listener_is_told_from_an_old_broker() {
        let (_, versions) = Versions::read(answer(&[(18, 0, 4), (60, 0, 2)])).unwrap();
        let said = versions.choose(ApiKey::Metadata).unwrap_err().to_string();
        assert!(said.contains("KRaft controller's port, name a broker's"), "{said}");
    }

    #[test]
    fn a_broker_above_our_range_is_refused_too() {
        let (_, versions) = Versions::read(answer(&[(3, 14, 20)])).unwrap();
        assert!(versions.choose(ApiKey::Metadata).is_err());
    }

    #[test]
    fn the_answer_of_an_old_broker_is_read() {
        let mut out = BytesMut::new();
        out.put_i16(35);
        out.put_i32(1);
        for number in [3i16, 0, 8] {
            out.put_i16(number);
        }
        let (code, versions) = Versions::read(out.freeze()).unwrap();
        assert_eq!(code, UNSUPPORTED_VERSION);
        assert_eq!(versions.theirs(ApiKey::Metadata), Some(Range { min: 0, max: 8 }));
    }

    #[test]
    fn hostile_answers_are_refused() {
        let huge = [0, 35, 0x7f, 0xff, 0xff, 0xff];
        assert!(Versions::read(Bytes::copy_from_slice(&huge)).is_err());
        let negative = [0, 35, 0x80, 0, 0, 0];
        assert!(Versions::read(Bytes::copy_from_slice(&negative)).is_err());
        let huge = [0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(Versions::read(Bytes::copy_from_slice(&huge)).is_err());
        let whole = answer(&[(3, 0, 12)]);
        for cut in 0..whole.len() {
            assert!(Versions::read(whole.slice(..cut)).is_err(), "{cut}");
        }
        let mut long = whole.to_vec();
        long.push(0);
        assert!(Versions::read(long.into()).is_err());
    }
}
