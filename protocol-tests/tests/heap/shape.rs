//! The table of shapes against the message library: what the library writes the walker accepts to
//! the last byte, and what the walker accepts the library reads within the memory foretold.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;
use isolog::cluster::backoff::Dice;
use isolog::wire::error::WireError;
use isolog::wire::shape;
use isolog::wire::versions::ApiKey;
use kafka_protocol::messages::alter_share_group_offsets_response::*;
use kafka_protocol::messages::create_acls_response::*;
use kafka_protocol::messages::create_partitions_response::*;
use kafka_protocol::messages::create_topics_response::*;
use kafka_protocol::messages::delete_acls_response::*;
use kafka_protocol::messages::delete_records_response::*;
use kafka_protocol::messages::delete_topics_response::*;
use kafka_protocol::messages::describe_acls_response::*;
use kafka_protocol::messages::describe_client_quotas_response::*;
use kafka_protocol::messages::describe_cluster_response::*;
use kafka_protocol::messages::describe_configs_response::*;
use kafka_protocol::messages::describe_producers_response::*;
use kafka_protocol::messages::describe_quorum_response::DescribeQuorumResponse;
use kafka_protocol::messages::describe_quorum_response::PartitionData;
use kafka_protocol::messages::describe_quorum_response::ReplicaState;
use kafka_protocol::messages::describe_quorum_response::TopicData;
use kafka_protocol::messages::describe_share_group_offsets_response::*;
use kafka_protocol::messages::describe_user_scram_credentials_response::*;
use kafka_protocol::messages::find_coordinator_response::*;
use kafka_protocol::messages::heartbeat_response::HeartbeatResponse;
use kafka_protocol::messages::incremental_alter_configs_response::*;
use kafka_protocol::messages::join_group_response::*;
use kafka_protocol::messages::leave_group_response::*;
use kafka_protocol::messages::list_groups_response::*;
use kafka_protocol::messages::list_offsets_response::*;
use kafka_protocol::messages::metadata_response::*;
use kafka_protocol::messages::offset_commit_response::*;
use kafka_protocol::messages::offset_fetch_response::*;
use kafka_protocol::messages::offset_for_leader_epoch_response::*;
use kafka_protocol::messages::sync_group_response::SyncGroupResponse;
use kafka_protocol::protocol::Decodable;
use kafka_protocol::protocol::Encodable;
use kafka_protocol::protocol::Message;
use kafka_protocol::protocol::StrBytes;

use super::HEAP;
use super::alone;

/// What reading takes besides the decoded values: reference counts of the frame.
const HEAP_SLACK_BYTES: usize = 512;
/// So often a reading above what was foretold is taken again: what a message takes it takes always.
const MEASURED_MAX: usize = 3;
/// How often each message of each version is made, and how often each one is spoilt.
const MADE: u64 = 60;
const SPOILT: u64 = 40;

type Tags = BTreeMap<i32, Bytes>;

/// Makes values.
struct Maker {
    dice: Dice,
    version: i16,
}

impl Maker {
    fn int(&mut self) -> i64 {
        match self.dice.below(4) {
            0 => -1,
            1 => 0,
            _ => self.dice.throw() as i64,
        }
    }

    fn i8(&mut self) -> i8 {
        self.int() as i8
    }

    fn i16(&mut self) -> i16 {
        self.int() as i16
    }

    fn i32(&mut self) -> i32 {
        self.int() as i32
    }

    fn bit(&mut self) -> bool {
        self.dice.below(2) == 0
    }

    fn text(&mut self) -> StrBytes {
        let bytes = [0, 1, 5, 126, 127, 200][self.dice.below(6) as usize];
        StrBytes::from_string("ä".repeat(bytes / 2) + &"x".repeat(bytes % 2))
    }

    fn blob(&mut self) -> Bytes {
        let bytes = [0, 1, 127, 300][self.dice.below(4) as usize];
        Bytes::from(vec![0xfe; bytes])
    }

    fn some_text(&mut self) -> Option<StrBytes> {
        self.bit().then(|| self.text())
    }

    fn uuid(&mut self, since: i16) -> uuid::Uuid {
        let bits = (u128::from(self.dice.throw()) << 64) | u128::from(self.dice.throw());
        uuid::Uuid::from_u128(if self.version >= since { bits } else { 0 })
    }

    fn tags(&mut self) -> Tags {
        let count = if self.dice.below(4) == 0 { self.dice.below(4) } else { 0 };
        let tag = |_| {
            (
                100 + self.dice.below(1000) as i32,
                Bytes::from(vec![7; self.dice.below(200) as usize]),
            )
        };
        (0..count).map(tag).collect()
    }

    fn each<T>(&mut self, make: impl Fn(&mut Maker) -> T) -> Vec<T> {
        let count = [0, 1, 2, 3, 130][self.dice.below(20).saturating_sub(15) as usize];
        let count = if count == 0 { self.dice.below(4) } else { count };
        (0..count).map(|_| make(self)).collect()
    }

    /// What an ignorable field has in versions without it.
    fn from<T>(&mut self, since: i16, without: T, make: impl Fn(&mut Maker) -> T) -> T {
        if self.version >= since { make(self) } else { without }
    }
}

fn metadata(m: &mut Maker) -> MetadataResponse {
    MetadataResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_brokers(m.each(|m| {
            MetadataResponseBroker::default()
                .with_node_id(m.i32().into())
                .with_host(m.text())
                .with_port(m.i32())
                .with_rack(m.some_text())
                .with_unknown_tagged_fields(m.tags())
        }))
        .with_cluster_id(m.some_text())
        .with_controller_id(m.i32().into())
        .with_topics(m.each(metadata_topic))
        .with_cluster_authorized_operations(if m.version <= 10 { m.i32() } else { i32::MIN })
        .with_error_code(m.from(13, 0, Maker::i16))
        .with_unknown_tagged_fields(m.tags())
}

fn metadata_topic(m: &mut Maker) -> MetadataResponseTopic {
    let name = if m.version >= 12 { m.some_text() } else { Some(m.text()) };
    MetadataResponseTopic::default()
        .with_error_code(m.i16())
        .with_name(name.map(Into::into))
        .with_topic_id(m.uuid(10))
        .with_is_internal(m.bit())
        .with_partitions(m.each(|m| {
            let ids = |m: &mut Maker| m.each(|m| m.i32().into());
            MetadataResponsePartition::default()
                .with_error_code(m.i16())
                .with_partition_index(m.i32())
                .with_leader_id(m.i32().into())
                .with_leader_epoch(m.i32())
                .with_replica_nodes(ids(m))
                .with_isr_nodes(ids(m))
                .with_offline_replicas(ids(m))
                .with_unknown_tagged_fields(m.tags())
        }))
        .with_topic_authorized_operations(m.i32())
        .with_unknown_tagged_fields(m.tags())
}

fn list_offsets(m: &mut Maker) -> ListOffsetsResponse {
    ListOffsetsResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_topics(m.each(|m| {
            ListOffsetsTopicResponse::default()
                .with_name(m.text().into())
                .with_partitions(m.each(|m| {
                    ListOffsetsPartitionResponse::default()
                        .with_partition_index(m.i32())
                        .with_error_code(m.i16())
                        .with_timestamp(m.int())
                        .with_offset(m.int())
                        .with_leader_epoch(m.i32())
                        .with_unknown_tagged_fields(m.tags())
                }))
                .with_unknown_tagged_fields(m.tags())
        }))
        .with_unknown_tagged_fields(m.tags())
}

fn epoch_ends(m: &mut Maker) -> OffsetForLeaderEpochResponse {
    OffsetForLeaderEpochResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_topics(m.each(|m| {
            OffsetForLeaderTopicResult::default()
                .with_topic(m.text().into())
                .with_partitions(m.each(|m| {
                    EpochEndOffset::default()
                        .with_error_code(m.i16())
                        .with_partition(m.i32())
                        .with_leader_epoch(m.i32())
                        .with_end_offset(m.int())
                        .with_unknown_tagged_fields(m.tags())
                }))
                .with_unknown_tagged_fields(m.tags())
        }))
        .with_unknown_tagged_fields(m.tags())
}

fn producers(m: &mut Maker) -> DescribeProducersResponse {
    let producer = |m: &mut Maker| {
        ProducerState::default()
            .with_producer_id(m.int().into())
            .with_producer_epoch(m.i32())
            .with_last_sequence(m.i32())
            .with_last_timestamp(m.int())
            .with_coordinator_epoch(m.i32())
            .with_current_txn_start_offset(m.int())
            .with_unknown_tagged_fields(m.tags())
    };
    DescribeProducersResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_topics(m.each(|m| {
            TopicResponse::default()
                .with_name(m.text().into())
                .with_partitions(m.each(|m| {
                    PartitionResponse::default()
                        .with_partition_index(m.i32())
                        .with_error_code(m.i16())
                        .with_error_message(m.some_text())
                        .with_active_producers(m.each(producer))
                        .with_unknown_tagged_fields(m.tags())
                }))
                .with_unknown_tagged_fields(m.tags())
        }))
        .with_unknown_tagged_fields(m.tags())
}

fn create_topics(m: &mut Maker) -> CreateTopicsResponse {
    let config = |m: &mut Maker| {
        CreatableTopicConfigs::default()
            .with_name(m.text())
            .with_value(m.some_text())
            .with_read_only(m.bit())
            .with_config_source(m.i8())
            .with_is_sensitive(m.bit())
            .with_unknown_tagged_fields(m.tags())
    };
    CreateTopicsResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_topics(m.each(|m| {
            CreatableTopicResult::default()
                .with_name(m.text().into())
                .with_topic_id(m.uuid(7))
                .with_error_code(m.i16())
                .with_error_message(m.some_text())
                .with_topic_config_error_code(m.i16())
                .with_num_partitions(m.i32())
                .with_replication_factor(m.i16())
                .with_configs(m.bit().then(|| m.each(config)))
                .with_unknown_tagged_fields(m.tags())
        }))
        .with_unknown_tagged_fields(m.tags())
}

fn delete_topics(m: &mut Maker) -> DeleteTopicsResponse {
    DeleteTopicsResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_responses(m.each(|m| {
            DeletableTopicResult::default()
                .with_name(m.some_text().map(Into::into))
                .with_topic_id(m.uuid(6))
                .with_error_code(m.i16())
                .with_error_message(m.some_text())
                .with_unknown_tagged_fields(m.tags())
        }))
        .with_unknown_tagged_fields(m.tags())
}

fn create_partitions(m: &mut Maker) -> CreatePartitionsResponse {
    CreatePartitionsResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_results(m.each(|m| {
            CreatePartitionsTopicResult::default()
                .with_name(m.text().into())
                .with_error_code(m.i16())
                .with_error_message(m.some_text())
                .with_unknown_tagged_fields(m.tags())
        }))
        .with_unknown_tagged_fields(m.tags())
}

fn describe_configs(m: &mut Maker) -> DescribeConfigsResponse {
    let synonym = |m: &mut Maker| {
        DescribeConfigsSynonym::default()
            .with_name(m.text())
            .with_value(m.some_text())
            .with_source(m.i8())
            .with_unknown_tagged_fields(m.tags())
    };
    let config = |m: &mut Maker| {
        DescribeConfigsResourceResult::default()
            .with_name(m.text())
            .with_value(m.some_text())
            .with_read_only(m.bit())
            .with_config_source(m.i8())
            .with_is_sensitive(m.bit())
            .with_synonyms(m.each(synonym))
            .with_config_type(m.i8())
            .with_documentation(m.some_text())
            .with_unknown_tagged_fields(m.tags())
    };
    DescribeConfigsResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_results(m.each(|m| {
            DescribeConfigsResult::default()
                .with_error_code(m.i16())
                .with_error_message(m.some_text())
                .with_resource_type(m.i8())
                .with_resource_name(m.text())
                .with_configs(m.each(config))
                .with_unknown_tagged_fields(m.tags())
        }))
        .with_unknown_tagged_fields(m.tags())
}

fn alter_configs(m: &mut Maker) -> IncrementalAlterConfigsResponse {
    IncrementalAlterConfigsResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_responses(m.each(|m| {
            AlterConfigsResourceResponse::default()
                .with_error_code(m.i16())
                .with_error_message(m.some_text())
                .with_resource_type(m.i8())
                .with_resource_name(m.text())
                .with_unknown_tagged_fields(m.tags())
        }))
        .with_unknown_tagged_fields(m.tags())
}

fn delete_records(m: &mut Maker) -> DeleteRecordsResponse {
    DeleteRecordsResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_topics(m.each(|m| {
            DeleteRecordsTopicResult::default()
                .with_name(m.text().into())
                .with_partitions(m.each(|m| {
                    DeleteRecordsPartitionResult::default()
                        .with_partition_index(m.i32())
                        .with_low_watermark(m.int())
                        .with_error_code(m.i16())
                        .with_unknown_tagged_fields(m.tags())
                }))
                .with_unknown_tagged_fields(m.tags())
        }))
        .with_unknown_tagged_fields(m.tags())
}

fn describe_cluster(m: &mut Maker) -> DescribeClusterResponse {
    DescribeClusterResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_error_code(m.i16())
        .with_error_message(m.some_text())
        .with_endpoint_type(m.from(1, 1, Maker::i8))
        .with_cluster_id(m.text())
        .with_controller_id(m.i32().into())
        .with_brokers(m.each(|m| {
            DescribeClusterBroker::default()
                .with_broker_id(m.i32().into())
                .with_host(m.text())
                .with_port(m.i32())
                .with_rack(m.some_text())
                .with_is_fenced(m.from(2, false, Maker::bit))
                .with_unknown_tagged_fields(m.tags())
        }))
        .with_cluster_authorized_operations(m.i32())
        .with_unknown_tagged_fields(m.tags())
}

fn quorum_replica(m: &mut Maker) -> ReplicaState {
    ReplicaState::default()
        .with_replica_id(m.i32().into())
        .with_log_end_offset(m.int())
        .with_last_fetch_timestamp(m.int())
        .with_last_caught_up_timestamp(m.int())
        .with_unknown_tagged_fields(m.tags())
}

fn quorum(m: &mut Maker) -> DescribeQuorumResponse {
    DescribeQuorumResponse::default()
        .with_error_code(m.i16())
        .with_topics(m.each(|m| {
            TopicData::default()
                .with_topic_name(m.text().into())
                .with_partitions(m.each(|m| {
                    PartitionData::default()
                        .with_partition_index(m.i32())
                        .with_error_code(m.i16())
                        .with_leader_id(m.i32().into())
                        .with_leader_epoch(m.i32())
                        .with_high_watermark(m.int())
                        .with_current_voters(m.each(quorum_replica))
                        .with_observers(m.each(quorum_replica))
                        .with_unknown_tagged_fields(m.tags())
                }))
                .with_unknown_tagged_fields(m.tags())
        }))
        .with_unknown_tagged_fields(m.tags())
}

fn describe_acls(m: &mut Maker) -> DescribeAclsResponse {
    DescribeAclsResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_error_code(m.i16())
        .with_error_message(m.some_text())
        .with_resources(m.each(|m| {
            DescribeAclsResource::default()
                .with_resource_type(m.i8())
                .with_resource_name(m.text())
                .with_pattern_type(m.i8())
                .with_acls(m.each(|m| {
                    AclDescription::default()
                        .with_principal(m.text())
                        .with_host(m.text())
                        .with_operation(m.i8())
                        .with_permission_type(m.i8())
                        .with_unknown_tagged_fields(m.tags())
                }))
                .with_unknown_tagged_fields(m.tags())
        }))
        .with_unknown_tagged_fields(m.tags())
}

fn create_acls(m: &mut Maker) -> CreateAclsResponse {
    CreateAclsResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_results(m.each(|m| {
            AclCreationResult::default()
                .with_error_code(m.i16())
                .with_error_message(m.some_text())
                .with_unknown_tagged_fields(m.tags())
        }))
        .with_unknown_tagged_fields(m.tags())
}

fn delete_acls(m: &mut Maker) -> DeleteAclsResponse {
    DeleteAclsResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_filter_results(m.each(|m| {
            DeleteAclsFilterResult::default()
                .with_error_code(m.i16())
                .with_error_message(m.some_text())
                .with_matching_acls(m.each(|m| {
                    DeleteAclsMatchingAcl::default()
                        .with_error_code(m.i16())
                        .with_error_message(m.some_text())
                        .with_resource_type(m.i8())
                        .with_resource_name(m.text())
                        .with_pattern_type(m.i8())
                        .with_principal(m.text())
                        .with_host(m.text())
                        .with_operation(m.i8())
                        .with_permission_type(m.i8())
                        .with_unknown_tagged_fields(m.tags())
                }))
                .with_unknown_tagged_fields(m.tags())
        }))
        .with_unknown_tagged_fields(m.tags())
}

fn client_quotas(m: &mut Maker) -> DescribeClientQuotasResponse {
    let entries = m.each(|m| {
        EntryData::default()
            .with_entity(m.each(|m| {
                EntityData::default()
                    .with_entity_type(m.text())
                    .with_entity_name(m.some_text())
                    .with_unknown_tagged_fields(m.tags())
            }))
            .with_values(m.each(|m| {
                ValueData::default()
                    .with_key(m.text())
                    .with_value(f64::from(m.i32()))
                    .with_unknown_tagged_fields(m.tags())
            }))
            .with_unknown_tagged_fields(m.tags())
    });
    DescribeClientQuotasResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_error_code(m.i16())
        .with_error_message(m.some_text())
        .with_entries((!entries.is_empty()).then_some(entries))
        .with_unknown_tagged_fields(m.tags())
}

fn scram_credentials(m: &mut Maker) -> DescribeUserScramCredentialsResponse {
    DescribeUserScramCredentialsResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_error_code(m.i16())
        .with_error_message(m.some_text())
        .with_results(m.each(|m| {
            DescribeUserScramCredentialsResult::default()
                .with_user(m.text())
                .with_error_code(m.i16())
                .with_error_message(m.some_text())
                .with_credential_infos(m.each(|m| {
                    CredentialInfo::default()
                        .with_mechanism(m.i8())
                        .with_iterations(m.i32())
                        .with_unknown_tagged_fields(m.tags())
                }))
                .with_unknown_tagged_fields(m.tags())
        }))
        .with_unknown_tagged_fields(m.tags())
}

/// One message: the walker ends at its last byte, and so does the library, in bounds.
fn accepted<R: Decodable + Encodable + PartialEq + std::fmt::Debug>(
    api: ApiKey,
    version: i16,
    body: Bytes,
) -> Result<R, WireError> {
    let foretold = shape::check(api, version, &body)?;
    let max = body.len() * shape::MEMORY_PER_BYTE_MAX + shape::MEMORY_BYTES_BASE;
    assert!(foretold <= max, "{api} {version}: {foretold} for {} bytes", body.len());
    let allowed = foretold + HEAP_SLACK_BYTES;
    let both = || {
        let walked = shape::check(api, version, &body);
        (walked, decoded::<R>(api, version, &body)).1
    };
    let (mut read, mut taken) = measured(both);
    for _ in 1..MEASURED_MAX {
        if taken > allowed {
            (read, taken) = measured(both);
        }
    }
    assert!(taken <= allowed, "{api} {version}: {taken} bytes of heap, {foretold} were foretold");
    Ok(read)
}

/// What some work takes of the heap at its peak; and at times what the harness does meanwhile,
/// which starts and ends other tests in this very process.
fn measured<T>(work: impl Fn() -> T) -> (T, usize) {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let done = work();
    (done, HEAP.peak_usage().saturating_sub(before))
}

fn decoded<R: Decodable>(api: ApiKey, version: i16, body: &Bytes) -> R {
    let mut left = body.clone();
    let read = R::decode(&mut left, version).unwrap_or_else(|error| {
        panic!("{api} {version}: the walker accepts {body:02x?}, the library says {error}")
    });
    assert_eq!(left.remaining(), 0, "{api} {version}");
    read
}

fn offset_commit(m: &mut Maker) -> OffsetCommitResponse {
    OffsetCommitResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_topics(m.each(|m| {
            OffsetCommitResponseTopic::default()
                .with_name(m.text().into())
                .with_partitions(m.each(|m| {
                    OffsetCommitResponsePartition::default()
                        .with_partition_index(m.i32())
                        .with_error_code(m.i16())
                        .with_unknown_tagged_fields(m.tags())
                }))
                .with_unknown_tagged_fields(m.tags())
        }))
        .with_unknown_tagged_fields(m.tags())
}

fn offset_fetch(m: &mut Maker) -> OffsetFetchResponse {
    let answer = OffsetFetchResponse::default().with_throttle_time_ms(m.i32());
    let answer = answer.with_unknown_tagged_fields(m.tags());
    if m.version >= 8 {
        return answer.with_groups(m.each(|m| {
            OffsetFetchResponseGroup::default()
                .with_group_id(m.text().into())
                .with_topics(m.each(|m| {
                    OffsetFetchResponseTopics::default()
                        .with_name(m.text().into())
                        .with_partitions(m.each(|m| {
                            OffsetFetchResponsePartitions::default()
                                .with_partition_index(m.i32())
                                .with_committed_offset(m.int())
                                .with_committed_leader_epoch(m.i32())
                                .with_metadata(m.some_text())
                                .with_error_code(m.i16())
                                .with_unknown_tagged_fields(m.tags())
                        }))
                        .with_unknown_tagged_fields(m.tags())
                }))
                .with_error_code(m.i16())
                .with_unknown_tagged_fields(m.tags())
        }));
    }
    answer.with_error_code(m.i16()).with_topics(m.each(|m| {
        OffsetFetchResponseTopic::default()
            .with_name(m.text().into())
            .with_partitions(m.each(|m| {
                OffsetFetchResponsePartition::default()
                    .with_partition_index(m.i32())
                    .with_committed_offset(m.int())
                    .with_committed_leader_epoch(m.i32())
                    .with_metadata(m.some_text())
                    .with_error_code(m.i16())
                    .with_unknown_tagged_fields(m.tags())
            }))
            .with_unknown_tagged_fields(m.tags())
    }))
}

fn share_starts(m: &mut Maker) -> DescribeShareGroupOffsetsResponse {
    let partition = |m: &mut Maker| {
        DescribeShareGroupOffsetsResponsePartition::default()
            .with_partition_index(m.i32())
            .with_start_offset(m.int())
            .with_leader_epoch(m.i32())
            .with_error_code(m.i16())
            .with_error_message(m.some_text())
            .with_unknown_tagged_fields(m.tags())
    };
    let topic = |m: &mut Maker| {
        DescribeShareGroupOffsetsResponseTopic::default()
            .with_topic_name(m.text().into())
            .with_topic_id(m.uuid(0))
            .with_partitions(m.each(partition))
            .with_unknown_tagged_fields(m.tags())
    };
    DescribeShareGroupOffsetsResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_groups(m.each(|m| {
            DescribeShareGroupOffsetsResponseGroup::default()
                .with_group_id(m.text().into())
                .with_topics(m.each(topic))
                .with_error_code(m.i16())
                .with_error_message(m.some_text())
                .with_unknown_tagged_fields(m.tags())
        }))
        .with_unknown_tagged_fields(m.tags())
}

fn share_set(m: &mut Maker) -> AlterShareGroupOffsetsResponse {
    let partition = |m: &mut Maker| {
        AlterShareGroupOffsetsResponsePartition::default()
            .with_partition_index(m.i32())
            .with_error_code(m.i16())
            .with_error_message(m.some_text())
            .with_unknown_tagged_fields(m.tags())
    };
    AlterShareGroupOffsetsResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_error_code(m.i16())
        .with_error_message(m.some_text())
        .with_responses(m.each(|m| {
            AlterShareGroupOffsetsResponseTopic::default()
                .with_topic_name(m.text().into())
                .with_topic_id(m.uuid(0))
                .with_partitions(m.each(partition))
                .with_unknown_tagged_fields(m.tags())
        }))
        .with_unknown_tagged_fields(m.tags())
}

fn find_coordinator(m: &mut Maker) -> FindCoordinatorResponse {
    let answer = FindCoordinatorResponse::default().with_throttle_time_ms(m.i32());
    let answer = answer.with_unknown_tagged_fields(m.tags());
    if m.version >= 4 {
        return answer.with_coordinators(m.each(|m| {
            Coordinator::default()
                .with_key(m.text())
                .with_node_id(m.i32().into())
                .with_host(m.text())
                .with_port(m.i32())
                .with_error_code(m.i16())
                .with_error_message(m.some_text())
                .with_unknown_tagged_fields(m.tags())
        }));
    }
    answer
        .with_error_code(m.i16())
        .with_error_message(m.some_text())
        .with_node_id(m.i32().into())
        .with_host(m.text())
        .with_port(m.i32())
}

fn list_groups(m: &mut Maker) -> ListGroupsResponse {
    ListGroupsResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_error_code(m.i16())
        .with_groups(m.each(|m| {
            ListedGroup::default()
                .with_group_id(m.text().into())
                .with_protocol_type(m.text())
                .with_group_state(m.text())
                .with_group_type(m.from(5, StrBytes::default(), Maker::text))
                .with_unknown_tagged_fields(m.tags())
        }))
        .with_unknown_tagged_fields(m.tags())
}

fn join_group(m: &mut Maker) -> JoinGroupResponse {
    let protocol = m.some_text();
    JoinGroupResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_error_code(m.i16())
        .with_generation_id(m.i32())
        .with_protocol_type(m.from(7, None, Maker::some_text))
        // null from version 7 on only
        .with_protocol_name(if m.version >= 7 { protocol } else { Some(m.text()) })
        .with_leader(m.text())
        .with_skip_assignment(m.from(9, false, Maker::bit))
        .with_member_id(m.text())
        .with_members(m.each(|m| {
            JoinGroupResponseMember::default()
                .with_member_id(m.text())
                .with_group_instance_id(m.some_text())
                .with_metadata(m.blob())
                .with_unknown_tagged_fields(m.tags())
        }))
        .with_unknown_tagged_fields(m.tags())
}

fn sync_group(m: &mut Maker) -> SyncGroupResponse {
    SyncGroupResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_error_code(m.i16())
        .with_protocol_type(m.from(5, None, Maker::some_text))
        .with_protocol_name(m.from(5, None, Maker::some_text))
        .with_assignment(m.blob())
        .with_unknown_tagged_fields(m.tags())
}

fn heartbeat(m: &mut Maker) -> HeartbeatResponse {
    HeartbeatResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_error_code(m.i16())
        .with_unknown_tagged_fields(m.tags())
}

fn leave_group(m: &mut Maker) -> LeaveGroupResponse {
    LeaveGroupResponse::default()
        .with_throttle_time_ms(m.i32())
        .with_error_code(m.i16())
        .with_members(m.each(|m| {
            MemberResponse::default()
                .with_member_id(m.text())
                .with_group_instance_id(m.some_text())
                .with_error_code(m.i16())
                .with_unknown_tagged_fields(m.tags())
        }))
        .with_unknown_tagged_fields(m.tags())
}

/// Bytes changed in one place, as a peer that means harm would: lengths above all.
fn spoil(bytes: &[u8], dice: &mut Dice) -> Bytes {
    let mut bytes = bytes.to_vec();
    for _ in 0..=dice.below(2) {
        let at = dice.below(bytes.len() as u64) as usize;
        match dice.below(6) {
            0 => bytes[at] = dice.throw() as u8,
            1 => bytes[at] = bytes[at].wrapping_add(1),
            2 => drop(bytes.splice(at..at + 1, [0xff, 0xff, 0xff, 0xff, 0x0f])),
            3 => bytes.truncate(at.max(1)),
            4 => bytes.insert(at, dice.throw() as u8),
            _ => drop(bytes.splice(at..at + 1, [0x80 | dice.throw() as u8, dice.below(128) as u8])),
        }
    }
    bytes.into()
}

fn agree<R>(api: ApiKey, make: impl Fn(&mut Maker) -> R)
where
    R: Message + Encodable + Decodable + PartialEq + std::fmt::Debug,
{
    let _alone = alone();
    let ours = api.ours();
    assert!(R::VERSIONS.min <= ours.min && R::VERSIONS.max >= ours.max, "{api}");
    let mut survived = 0;
    for version in ours.min..=ours.max {
        for seed in 0..MADE {
            let mut maker = Maker { dice: Dice::new(seed), version };
            let message = make(&mut maker);
            let mut body = BytesMut::new();
            message.encode(&mut body, version).unwrap();
            let body = body.freeze();
            let read = accepted::<R>(api, version, body.clone());
            assert_eq!(read.as_ref(), Ok(&message), "{api} {version} seed {seed}");
            for _ in 0..SPOILT {
                let spoilt = spoil(&body, &mut maker.dice);
                survived += u32::from(accepted::<R>(api, version, spoilt).is_ok());
            }
        }
    }
    assert!(survived > 0, "no spoilt message ever reached the library: the test is too tame");
}

macro_rules! agreements {
    ($($name:ident: $api:ident;)*) => {
        $(#[test]
        fn $name() {
            agree(ApiKey::$api, super::$name);
        })*
    };
}

mod walker_and_library_agree_on {
    use super::*;

    agreements! {
        metadata: Metadata;
        list_offsets: ListOffsets;
        epoch_ends: OffsetForLeaderEpoch;
        producers: DescribeProducers;
        create_topics: CreateTopics;
        create_partitions: CreatePartitions;
        delete_topics: DeleteTopics;
        describe_configs: DescribeConfigs;
        alter_configs: IncrementalAlterConfigs;
        delete_records: DeleteRecords;
        quorum: DescribeQuorum;
        describe_cluster: DescribeCluster;
        offset_commit: OffsetCommit;
        offset_fetch: OffsetFetch;
        share_starts: DescribeShareGroupOffsets;
        share_set: AlterShareGroupOffsets;
        find_coordinator: FindCoordinator;
        list_groups: ListGroups;
        join_group: JoinGroup;
        sync_group: SyncGroup;
        heartbeat: Heartbeat;
        leave_group: LeaveGroup;
        describe_acls: DescribeAcls;
        create_acls: CreateAcls;
        delete_acls: DeleteAcls;
        client_quotas: DescribeClientQuotas;
        scram_credentials: DescribeUserScramCredentials;
    }
}

#[test]
fn no_struct_is_larger_than_the_walker_counts() {
    macro_rules! sizes {
        ($($name:ident)*) => { [$((stringify!($name), size_of::<$name>())),*] };
    }
    let sizes = sizes! {
        MetadataResponseBroker MetadataResponseTopic MetadataResponsePartition
        ListOffsetsTopicResponse ListOffsetsPartitionResponse
        OffsetForLeaderTopicResult EpochEndOffset
        TopicResponse PartitionResponse ProducerState
        CreatableTopicResult CreatableTopicConfigs CreatePartitionsTopicResult
        DeletableTopicResult
        DescribeConfigsResult DescribeConfigsResourceResult DescribeConfigsSynonym
        AlterConfigsResourceResponse DeleteRecordsTopicResult DeleteRecordsPartitionResult
        TopicData PartitionData ReplicaState DescribeClusterBroker
        OffsetCommitResponseTopic OffsetCommitResponsePartition Coordinator ListedGroup
        JoinGroupResponseMember MemberResponse
        OffsetFetchResponseGroup OffsetFetchResponseTopics OffsetFetchResponsePartitions
        OffsetFetchResponseTopic OffsetFetchResponsePartition
        DescribeShareGroupOffsetsResponseGroup DescribeShareGroupOffsetsResponseTopic
        DescribeShareGroupOffsetsResponsePartition
        AlterShareGroupOffsetsResponseTopic AlterShareGroupOffsetsResponsePartition
        DescribeAclsResource AclDescription AclCreationResult
        DeleteAclsFilterResult DeleteAclsMatchingAcl
        EntryData EntityData ValueData DescribeUserScramCredentialsResult CredentialInfo
    };
    for (name, bytes) in sizes {
        assert!(bytes <= shape::STRUCT_BYTES_MAX, "{name} takes {bytes}");
    }
}
