//! The guard before the message library: a table of shapes and one walker over a response.
//!
//! It never builds a value. The library makes room for as many elements as a peer claims; so no
//! byte reaches it before this walker has seen that every count fits into the bytes left and that
//! the whole answer takes no more than a small multiple of itself.
//!
//! The table is checked against the library by `protocol-tests/tests/heap/shape.rs`.

use bytes::Bytes;

use crate::wire::error::WireError;
use crate::wire::prim::Reader;
use crate::wire::versions::ApiKey;

/// No struct of the messages below is larger in memory (checked against the library).
pub const STRUCT_BYTES_MAX: usize = 160;
/// What one unknown tagged field costs at most: a leaf of the library's tree map.
pub const TAG_BYTES_MAX: usize = 480;
/// A decoded answer takes at most this many bytes for each byte of its frame ...
pub const MEMORY_PER_BYTE_MAX: usize = 64;
/// ... and this many on top.
pub const MEMORY_BYTES_BASE: usize = 4096;

/// What a text in a list takes beside its letters, in memory.
const TEXT_BYTES: usize = 32;

/// One field.
#[derive(Debug)]
enum Field {
    /// So many bytes.
    Fixed(usize),
    /// A compact string.
    Text,
    /// A compact string or null.
    TextOrNull,
    /// Compact bytes.
    Blob,
    /// A compact array of 32-bit integers.
    Ints,
    /// A compact array of compact strings.
    Texts,
    /// A compact array of structs.
    Each(&'static Shape),
    /// A compact array of structs, or null.
    EachOrNull(&'static Shape),
}

/// A message or a struct inside one.
#[derive(Debug)]
struct Shape {
    name: &'static str,
    /// First and last version with the field, and the field.
    fields: &'static [(i16, i16, Field)],
    /// The tagged fields that the library reads itself, and their size: it trusts that size.
    tags: &'static [(u32, usize)],
}

const ALL: i16 = i16::MAX;

macro_rules! shape {
    ($name:ident { $($from:literal .. $to:expr => $field:expr),* $(,)? }) => {
        shape!($name { $($from .. $to => $field),* } tags {});
    };
    ($name:ident { $($from:literal .. $to:expr => $field:expr),* $(,)? }
        tags { $($tag:literal: $size:literal),* }) => {
        static $name: Shape = Shape {
            name: stringify!($name),
            fields: &[$(($from, $to, $field)),*],
            tags: &[$(($tag, $size)),*],
        };
    };
}

use Field::*;

shape!(METADATA {
    0..ALL => Fixed(4),
    0..ALL => Each(&METADATA_BROKER),
    0..ALL => TextOrNull,
    0..ALL => Fixed(4),
    0..ALL => Each(&METADATA_TOPIC),
    0..10 => Fixed(4),
    13..ALL => Fixed(2),
});
shape!(METADATA_BROKER {
    0..ALL => Fixed(4), 0..ALL => Text, 0..ALL => Fixed(4), 0..ALL => TextOrNull,
});
shape!(METADATA_TOPIC {
    0..ALL => Fixed(2),
    0..11 => Text,
    12..ALL => TextOrNull,
    10..ALL => Fixed(16),
    0..ALL => Fixed(1),
    0..ALL => Each(&METADATA_PARTITION),
    0..ALL => Fixed(4),
});
shape!(METADATA_PARTITION {
    0..ALL => Fixed(14), 0..ALL => Ints, 0..ALL => Ints, 0..ALL => Ints,
});

shape!(LIST_OFFSETS { 0..ALL => Fixed(4), 0..ALL => Each(&LIST_OFFSETS_TOPIC) });
shape!(LIST_OFFSETS_TOPIC { 0..ALL => Text, 0..ALL => Each(&LIST_OFFSETS_PARTITION) });
shape!(LIST_OFFSETS_PARTITION { 0..ALL => Fixed(26) });

shape!(EPOCH_ENDS { 0..ALL => Fixed(4), 0..ALL => Each(&EPOCH_ENDS_TOPIC) });
shape!(EPOCH_ENDS_TOPIC { 0..ALL => Text, 0..ALL => Each(&EPOCH_ENDS_PARTITION) });
shape!(EPOCH_ENDS_PARTITION { 0..ALL => Fixed(18) });

shape!(PRODUCERS { 0..ALL => Fixed(4), 0..ALL => Each(&PRODUCERS_TOPIC) });
shape!(PRODUCERS_TOPIC { 0..ALL => Text, 0..ALL => Each(&PRODUCERS_PARTITION) });
shape!(PRODUCERS_PARTITION {
    0..ALL => Fixed(6), 0..ALL => TextOrNull, 0..ALL => Each(&PRODUCER),
});
shape!(PRODUCER { 0..ALL => Fixed(36) });

shape!(TRANSACTIONS { 0..ALL => Fixed(4), 0..ALL => Each(&TRANSACTION) });
shape!(TRANSACTION {
    0..ALL => Fixed(2),
    0..ALL => Text,
    0..ALL => Text,
    0..ALL => Fixed(22),
    0..ALL => Each(&TRANSACTION_TOPIC),
});
shape!(TRANSACTION_TOPIC { 0..ALL => Text, 0..ALL => Ints });
shape!(LIST_TRANSACTIONS {
    0..ALL => Fixed(6), 0..ALL => Texts, 0..ALL => Each(&LISTED_TRANSACTION),
});
shape!(LISTED_TRANSACTION { 0..ALL => Text, 0..ALL => Fixed(8), 0..ALL => Text });

shape!(CREATE_TOPICS { 0..ALL => Fixed(4), 0..ALL => Each(&CREATED_TOPIC) });
shape!(CREATED_TOPIC {
    0..ALL => Text,
    7..ALL => Fixed(16),
    0..ALL => Fixed(2),
    0..ALL => TextOrNull,
    0..ALL => Fixed(6),
    0..ALL => EachOrNull(&CREATED_CONFIG),
} tags { 0: 2 });
shape!(CREATED_CONFIG { 0..ALL => Text, 0..ALL => TextOrNull, 0..ALL => Fixed(3) });

shape!(DELETE_TOPICS { 0..ALL => Fixed(4), 0..ALL => Each(&GONE_TOPIC) });
shape!(GONE_TOPIC {
    0..ALL => TextOrNull, 0..ALL => Fixed(18), 0..ALL => TextOrNull,
});

shape!(CREATE_PARTITIONS { 0..ALL => Fixed(4), 0..ALL => Each(&GROWN_TOPIC) });
shape!(GROWN_TOPIC { 0..ALL => Text, 0..ALL => Fixed(2), 0..ALL => TextOrNull });

shape!(DESCRIBE_ACLS {
    0..ALL => Fixed(6), 0..ALL => TextOrNull, 0..ALL => Each(&ACL_RESOURCE),
});
shape!(ACL_RESOURCE {
    0..ALL => Fixed(1), 0..ALL => Text, 0..ALL => Fixed(1), 0..ALL => Each(&ACL),
});
shape!(ACL { 0..ALL => Text, 0..ALL => Text, 0..ALL => Fixed(2) });

shape!(CREATE_ACLS { 0..ALL => Fixed(4), 0..ALL => Each(&CREATED_ACL) });
shape!(CREATED_ACL { 0..ALL => Fixed(2), 0..ALL => TextOrNull });

shape!(DELETE_ACLS { 0..ALL => Fixed(4), 0..ALL => Each(&ACL_FILTER) });
shape!(ACL_FILTER {
    0..ALL => Fixed(2), 0..ALL => TextOrNull, 0..ALL => Each(&GONE_ACL),
});
shape!(GONE_ACL {
    0..ALL => Fixed(2), 0..ALL => TextOrNull, 0..ALL => Fixed(1), 0..ALL => Text,
    0..ALL => Fixed(1), 0..ALL => Text, 0..ALL => Text, 0..ALL => Fixed(2),
});

shape!(DESCRIBE_CONFIGS { 0..ALL => Fixed(4), 0..ALL => Each(&CONFIGS) });
shape!(CONFIGS {
    0..ALL => Fixed(2), 0..ALL => TextOrNull, 0..ALL => Fixed(1), 0..ALL => Text,
    0..ALL => Each(&CONFIG),
});
shape!(CONFIG {
    0..ALL => Text, 0..ALL => TextOrNull, 0..ALL => Fixed(3), 0..ALL => Each(&SYNONYM),
    0..ALL => Fixed(1), 0..ALL => TextOrNull,
});
shape!(SYNONYM { 0..ALL => Text, 0..ALL => TextOrNull, 0..ALL => Fixed(1) });

shape!(ALTER_CONFIGS { 0..ALL => Fixed(4), 0..ALL => Each(&ALTERED) });
shape!(ALTERED { 0..ALL => Fixed(2), 0..ALL => TextOrNull, 0..ALL => Fixed(1), 0..ALL => Text });

shape!(DELETE_RECORDS { 0..ALL => Fixed(4), 0..ALL => Each(&DELETED_TOPIC) });
shape!(DELETED_TOPIC { 0..ALL => Text, 0..ALL => Each(&DELETED_PARTITION) });
shape!(DELETED_PARTITION { 0..ALL => Fixed(14) });

shape!(DESCRIBE_CLUSTER {
    0..ALL => Fixed(6),
    0..ALL => TextOrNull,
    1..ALL => Fixed(1),
    0..ALL => Text,
    0..ALL => Fixed(4),
    0..ALL => Each(&CLUSTER_BROKER),
    0..ALL => Fixed(4),
});
shape!(CLUSTER_BROKER {
    0..ALL => Fixed(4), 0..ALL => Text, 0..ALL => Fixed(4), 0..ALL => TextOrNull,
    2..ALL => Fixed(1),
});

shape!(QUORUM { 0..ALL => Fixed(2), 0..ALL => Each(&QUORUM_TOPIC) });
shape!(QUORUM_TOPIC { 0..ALL => Text, 0..ALL => Each(&QUORUM_PARTITION) });
shape!(QUORUM_PARTITION {
    0..ALL => Fixed(22), 0..ALL => Each(&QUORUM_REPLICA), 0..ALL => Each(&QUORUM_REPLICA),
});
shape!(QUORUM_REPLICA { 0..ALL => Fixed(12), 1..ALL => Fixed(16) });

shape!(CLIENT_QUOTAS {
    0..ALL => Fixed(6), 0..ALL => TextOrNull, 0..ALL => EachOrNull(&QUOTA_ENTRY),
});
shape!(QUOTA_ENTRY { 0..ALL => Each(&QUOTA_ENTITY), 0..ALL => Each(&QUOTA_VALUE) });
shape!(QUOTA_ENTITY { 0..ALL => Text, 0..ALL => TextOrNull });
shape!(QUOTA_VALUE { 0..ALL => Text, 0..ALL => Fixed(8) });

shape!(SCRAM_CREDENTIALS {
    0..ALL => Fixed(6), 0..ALL => TextOrNull, 0..ALL => Each(&SCRAM_USER),
});
shape!(SCRAM_USER {
    0..ALL => Text, 0..ALL => Fixed(2), 0..ALL => TextOrNull, 0..ALL => Each(&SCRAM_CREDENTIAL),
});
shape!(SCRAM_CREDENTIAL { 0..ALL => Fixed(5) });

shape!(OFFSET_COMMIT { 0..ALL => Fixed(4), 0..ALL => Each(&COMMIT_TOPIC) });
shape!(COMMIT_TOPIC { 0..ALL => Text, 0..ALL => Each(&COMMIT_PARTITION) });
shape!(COMMIT_PARTITION { 0..ALL => Fixed(6) });

shape!(OFFSET_FETCH {
    0..ALL => Fixed(4),
    0..7 => Each(&COMMITTED_TOPIC),
    0..7 => Fixed(2),
    8..ALL => Each(&COMMITTED_GROUP),
});
shape!(COMMITTED_GROUP { 0..ALL => Text, 0..ALL => Each(&COMMITTED_TOPIC), 0..ALL => Fixed(2) });
shape!(COMMITTED_TOPIC { 0..ALL => Text, 0..ALL => Each(&COMMITTED_PARTITION) });
shape!(COMMITTED_PARTITION { 0..ALL => Fixed(16), 0..ALL => TextOrNull, 0..ALL => Fixed(2) });

shape!(SHARE_STARTS { 0..ALL => Fixed(4), 0..ALL => Each(&SHARE_GROUP) });
shape!(SHARE_GROUP {
    0..ALL => Text, 0..ALL => Each(&SHARE_TOPIC), 0..ALL => Fixed(2), 0..ALL => TextOrNull,
});
shape!(SHARE_TOPIC { 0..ALL => Text, 0..ALL => Fixed(16), 0..ALL => Each(&SHARE_PARTITION) });
shape!(SHARE_PARTITION { 0..ALL => Fixed(18), 0..ALL => TextOrNull });

shape!(SHARE_SET { 0..ALL => Fixed(6), 0..ALL => TextOrNull, 0..ALL => Each(&SHARE_SET_TOPIC) });
shape!(SHARE_SET_TOPIC {
    0..ALL => Text, 0..ALL => Fixed(16), 0..ALL => Each(&SHARE_SET_PARTITION),
});
shape!(SHARE_SET_PARTITION { 0..ALL => Fixed(6), 0..ALL => TextOrNull });

shape!(FIND_COORDINATOR {
    0..ALL => Fixed(4),
    0..3 => Fixed(2),
    0..3 => TextOrNull,
    0..3 => Fixed(4),
    0..3 => Text,
    0..3 => Fixed(4),
    4..ALL => Each(&COORDINATOR),
});
shape!(COORDINATOR {
    0..ALL => Text, 0..ALL => Fixed(4), 0..ALL => Text, 0..ALL => Fixed(6), 0..ALL => TextOrNull,
});

shape!(LIST_GROUPS { 0..ALL => Fixed(6), 0..ALL => Each(&LISTED_GROUP) });
shape!(LISTED_GROUP { 0..ALL => Text, 0..ALL => Text, 0..ALL => Text, 5..ALL => Text });

shape!(JOIN_GROUP {
    0..ALL => Fixed(10),
    7..ALL => TextOrNull,
    0..6 => Text,
    7..ALL => TextOrNull,
    0..ALL => Text,
    9..ALL => Fixed(1),
    0..ALL => Text,
    0..ALL => Each(&JOINED_MEMBER),
});
shape!(JOINED_MEMBER { 0..ALL => Text, 0..ALL => TextOrNull, 0..ALL => Blob });

shape!(SYNC_GROUP {
    0..ALL => Fixed(6), 5..ALL => TextOrNull, 5..ALL => TextOrNull, 0..ALL => Blob,
});

shape!(HEARTBEAT { 0..ALL => Fixed(6) });

shape!(LEAVE_GROUP { 0..ALL => Fixed(6), 0..ALL => Each(&GONE_MEMBER) });
shape!(GONE_MEMBER { 0..ALL => Text, 0..ALL => TextOrNull, 0..ALL => Fixed(2) });

/// The shape of an API's response; `None` for those that are decoded by hand.
fn of(api: ApiKey) -> Option<&'static Shape> {
    match api {
        ApiKey::Metadata => Some(&METADATA),
        ApiKey::ListOffsets => Some(&LIST_OFFSETS),
        ApiKey::OffsetForLeaderEpoch => Some(&EPOCH_ENDS),
        ApiKey::DescribeProducers => Some(&PRODUCERS),
        ApiKey::CreateTopics => Some(&CREATE_TOPICS),
        ApiKey::DeleteTopics => Some(&DELETE_TOPICS),
        ApiKey::CreatePartitions => Some(&CREATE_PARTITIONS),
        ApiKey::DescribeAcls => Some(&DESCRIBE_ACLS),
        ApiKey::CreateAcls => Some(&CREATE_ACLS),
        ApiKey::DeleteAcls => Some(&DELETE_ACLS),
        ApiKey::DescribeConfigs => Some(&DESCRIBE_CONFIGS),
        ApiKey::IncrementalAlterConfigs => Some(&ALTER_CONFIGS),
        ApiKey::DescribeClientQuotas => Some(&CLIENT_QUOTAS),
        ApiKey::DescribeUserScramCredentials => Some(&SCRAM_CREDENTIALS),
        ApiKey::DeleteRecords => Some(&DELETE_RECORDS),
        ApiKey::DescribeQuorum => Some(&QUORUM),
        ApiKey::DescribeCluster => Some(&DESCRIBE_CLUSTER),
        ApiKey::OffsetCommit => Some(&OFFSET_COMMIT),
        ApiKey::OffsetFetch => Some(&OFFSET_FETCH),
        ApiKey::DescribeTransactions => Some(&TRANSACTIONS),
        ApiKey::ListTransactions => Some(&LIST_TRANSACTIONS),
        ApiKey::DescribeShareGroupOffsets => Some(&SHARE_STARTS),
        ApiKey::AlterShareGroupOffsets => Some(&SHARE_SET),
        ApiKey::FindCoordinator => Some(&FIND_COORDINATOR),
        ApiKey::ListGroups => Some(&LIST_GROUPS),
        ApiKey::JoinGroup => Some(&JOIN_GROUP),
        ApiKey::SyncGroup => Some(&SYNC_GROUP),
        ApiKey::Heartbeat => Some(&HEARTBEAT),
        ApiKey::LeaveGroup => Some(&LEAVE_GROUP),
        ApiKey::Produce | ApiKey::Fetch | ApiKey::ApiVersions => None,
        ApiKey::SaslHandshake | ApiKey::SaslAuthenticate => None,
    }
}

/// How large a cluster is that a Metadata answer tells of.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Its brokers.
    pub brokers: usize,
    /// Its topics, of those asked for.
    pub topics: usize,
    /// Their partitions, all together.
    pub partitions: usize,
}

/// Whether a response's body has the shape of its API and version; gives how many bytes of memory
/// its decoding takes at most.
pub fn check(api: ApiKey, version: i16, body: &Bytes) -> Result<usize, WireError> {
    walk(api, version, body).map(|walker| walker.memory)
}

/// The same; gives what the answer tells of, where it is one to Metadata.
pub fn measure(api: ApiKey, version: i16, body: &Bytes) -> Result<Size, WireError> {
    walk(api, version, body).map(|walker| walker.size)
}

fn walk(api: ApiKey, version: i16, body: &Bytes) -> Result<Walker, WireError> {
    let ours = api.ours();
    let shape = of(api).filter(|_| (ours.min..=ours.max).contains(&version));
    let unknown = WireError::BadValue { what: "version", value: i64::from(version) };
    let shape = shape.ok_or(unknown)?;
    let mut walker = Walker {
        reader: Reader::new(body.clone()),
        version,
        memory: 0,
        size: Size::default(),
        memory_max: body.len() * MEMORY_PER_BYTE_MAX + MEMORY_BYTES_BASE,
    };
    walker.walk(shape)?;
    walker.reader.clone().finish(api.name())?;
    Ok(walker)
}

struct Walker {
    reader: Reader,
    version: i16,
    /// What the elements seen so far take in memory.
    memory: usize,
    memory_max: usize,
    size: Size,
}

impl Walker {
    fn walk(&mut self, shape: &'static Shape) -> Result<(), WireError> {
        for field in shape.fields_of(self.version) {
            self.field(shape.name, field)?;
        }
        let mut tags = 0;
        self.reader.tagged(|tag, bytes| {
            tags += 1;
            let known = shape.tags.iter().find(|known| known.0 == tag);
            match known.is_none_or(|known| known.1 == bytes.len()) {
                true => Ok(()),
                false => Err(WireError::BadValue { what: "tag size", value: bytes.len() as i64 }),
            }
        })?;
        self.account(shape.name, tags, TAG_BYTES_MAX)
    }

    fn field(&mut self, what: &'static str, field: &'static Field) -> Result<(), WireError> {
        match field {
            Fixed(bytes) => self.reader.bytes(what, *bytes).map(drop),
            Text => self.text(what)?.ok_or(null(what)),
            TextOrNull => self.text(what).map(drop),
            Blob => self.reader.compact_bytes(what)?.ok_or(null(what)).map(drop),
            Ints => {
                let count = self.reader.count(what, 4)?.ok_or(null(what))?;
                self.account(what, count, 4)?;
                self.reader.bytes(what, count * 4).map(drop)
            }
            Texts => {
                let count = self.reader.count(what, 1)?.ok_or(null(what))?;
                self.account(what, count, TEXT_BYTES)?;
                (0..count).try_for_each(|_| self.text(what)?.ok_or(null(what)))
            }
            Each(shape) => self.each(shape)?.ok_or(null(shape.name)),
            EachOrNull(shape) => self.each(shape).map(drop),
        }
    }

    fn text(&mut self, what: &'static str) -> Result<Option<()>, WireError> {
        let Some(bytes) = self.reader.compact_bytes(what)? else {
            return Ok(None);
        };
        std::str::from_utf8(&bytes).map_err(|_| WireError::NotUtf8 { what })?;
        Ok(Some(()))
    }

    fn each(&mut self, shape: &'static Shape) -> Result<Option<()>, WireError> {
        let Some(count) = self.reader.count(shape.name, shape.bytes_min(self.version))? else {
            return Ok(None);
        };
        self.account(shape.name, count, STRUCT_BYTES_MAX)?;
        match shape.name {
            "METADATA_BROKER" => self.size.brokers += count,
            "METADATA_TOPIC" => self.size.topics += count,
            "METADATA_PARTITION" => self.size.partitions += count,
            _ => {}
        }
        for _ in 0..count {
            self.walk(shape)?;
        }
        Ok(Some(()))
    }

    fn account(&mut self, what: &'static str, count: usize, each: usize) -> Result<(), WireError> {
        self.memory = self.memory.saturating_add(count.saturating_mul(each));
        if self.memory <= self.memory_max {
            return Ok(());
        }
        let (value, max) = (self.memory as i64, self.memory_max as i64);
        Err(WireError::TooLarge { what, value, max })
    }
}

impl Shape {
    fn fields_of(&'static self, version: i16) -> impl Iterator<Item = &'static Field> {
        let there = move |row: &&(i16, i16, Field)| (row.0..=row.1).contains(&version);
        self.fields.iter().filter(there).map(|row| &row.2)
    }

    /// The fewest bytes a struct takes: empty texts and arrays, no tags.
    fn bytes_min(&'static self, version: i16) -> usize {
        let fields = self.fields_of(version).map(|field| match field {
            Fixed(bytes) => *bytes,
            _ => 1,
        });
        fields.sum::<usize>() + 1
    }
}

fn null(what: &'static str) -> WireError {
    WireError::BadValue { what, value: -1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_bytes(api: ApiKey, version: i16, body: &[u8]) -> Result<usize, WireError> {
        check(api, version, &Bytes::copy_from_slice(body))
    }

    #[test]
    fn eight_bytes_cannot_ask_for_gigabytes() {
        let body = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f];
        for api in [ApiKey::ListOffsets, ApiKey::CreateTopics, ApiKey::Metadata] {
            let version = api.ours().max;
            let refused = check_bytes(api, version, &body);
            assert!(matches!(refused, Err(WireError::TooLarge { .. })), "{api}: {refused:?}");
        }
    }

    #[test]
    fn an_answer_ends_at_its_last_byte() {
        let empty = [0, 0, 0, 0, 1, 0];
        assert!(check_bytes(ApiKey::ListOffsets, 6, &empty).is_ok());
        assert!(check_bytes(ApiKey::ListOffsets, 6, &empty[..5]).is_err());
        assert!(check_bytes(ApiKey::ListOffsets, 6, &[0, 0, 0, 0, 1, 0, 0]).is_err());
        assert!(check_bytes(ApiKey::ListOffsets, 5, &empty).is_err(), "not our version");
        assert!(check_bytes(ApiKey::Fetch, 12, &empty).is_err(), "decoded by hand");
    }

    #[test]
    fn a_tag_that_the_library_reads_has_the_size_the_library_reads() {
        // throttle, one topic: "a", error, null message, partitions, replicas, null configs
        let mut body = vec![0, 0, 0, 0, 2, 2, b'a', 0, 0, 0, 0, 0, 0, 1, 0, 1, 0];
        body.extend([1, 0, 2, 0, 9, 0]);
        assert!(check_bytes(ApiKey::CreateTopics, 5, &body).is_ok());
        let at = body.len() - 4;
        body[at] = 1;
        body.remove(at + 1);
        let refused = check_bytes(ApiKey::CreateTopics, 5, &body);
        assert_eq!(refused, Err(WireError::BadValue { what: "tag size", value: 1 }));
    }

    #[test]
    fn many_tags_do_not_blow_an_answer_up() {
        let tags = 20_000u16;
        let mut body = vec![0, 0, 0, 0, 1, 0xa0, 0x9c, 0x01];
        for tag in 0..tags {
            body.extend([tag as u8 | 0x80, (tag >> 7) as u8 | 0x80, (tag >> 14) as u8, 0]);
        }
        let refused = check_bytes(ApiKey::ListOffsets, 6, &body);
        assert!(matches!(refused, Err(WireError::TooLarge { .. })), "{refused:?}");
    }
}
