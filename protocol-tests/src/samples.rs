//! Random messages and batches by the other hand: `kafka-protocol` writes what `wire` must read.
//!
//! It never reads a clock or the system's dice: one seed, one sequence.

use bytes::Bytes;
use bytes::BytesMut;
use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::FetchResponse;
use kafka_protocol::messages::ProduceResponse;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::fetch_response;
use kafka_protocol::messages::produce_response;
use kafka_protocol::protocol::Encodable;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::Compression;
use kafka_protocol::records::Record;
use kafka_protocol::records::RecordBatchEncoder;
use kafka_protocol::records::RecordEncodeOptions;
use kafka_protocol::records::TimestampType;

/// A seeded stream of numbers (xorshift64*).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, which is above zero.
    pub fn below(&mut self, end: usize) -> usize {
        (self.roll() >> 11) as usize % end
    }

    /// Once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.roll() >> 56) as u8).collect()
    }

    /// An offset, small or large, or -1.
    fn offset(&mut self) -> i64 {
        match self.below(4) {
            0 => -1,
            1 => self.below(100) as i64,
            _ => (self.roll() >> 1) as i64,
        }
    }

    fn i32(&mut self) -> i32 {
        self.roll() as i32
    }

    fn i16(&mut self) -> i16 {
        self.roll() as i16
    }

    fn text(&mut self) -> Option<StrBytes> {
        let len = self.below(40);
        (!self.one_in(3)).then(|| StrBytes::from_string("wörd ".repeat(len)))
    }

    fn topic(&mut self) -> TopicName {
        let len = 1 + self.below(30);
        TopicName(StrBytes::from_string("topic.x_-Z".chars().cycle().take(len).collect()))
    }
}

/// An answer to Fetch, as `version` can carry it.
pub fn fetch_response(dice: &mut Dice, version: i16) -> FetchResponse {
    let topics = (0..dice.below(4)).map(|_| {
        let partitions = (0..dice.below(4)).map(|_| fetched_partition(dice)).collect();
        let topic = fetch_response::FetchableTopicResponse::default().with_partitions(partitions);
        if version >= 13 {
            topic.with_topic_id(dice.bytes(16).try_into().expect("16 bytes"))
        } else {
            topic.with_topic(dice.topic())
        }
    });
    let topics = topics.collect();
    let mut response = FetchResponse::default()
        .with_throttle_time_ms(dice.i32().max(0))
        .with_error_code(dice.i16())
        .with_session_id(dice.i32())
        .with_responses(topics);
    if version >= 16 && dice.one_in(2) {
        let node = fetch_response::NodeEndpoint::default()
            .with_node_id(BrokerId(3))
            .with_host("host".into())
            .with_port(9092);
        response.node_endpoints.push(node);
    }
    if dice.one_in(3) {
        response.unknown_tagged_fields.insert(77, dice.bytes(5).into());
    }
    response
}

fn fetched_partition(dice: &mut Dice) -> fetch_response::PartitionData {
    let aborted = (0..dice.below(4)).map(|_| {
        fetch_response::AbortedTransaction::default()
            .with_producer_id(dice.offset().into())
            .with_first_offset(dice.offset().max(0))
    });
    let aborted: Vec<_> = aborted.collect();
    let records_len = dice.below(300);
    let mut partition = fetch_response::PartitionData::default()
        .with_partition_index(dice.i32())
        .with_error_code(dice.i16())
        .with_high_watermark(dice.offset())
        .with_last_stable_offset(dice.offset())
        .with_log_start_offset(dice.offset())
        .with_aborted_transactions((!dice.one_in(3)).then_some(aborted))
        .with_preferred_read_replica(BrokerId(dice.i32()))
        .with_records((!dice.one_in(4)).then(|| dice.bytes(records_len).into()));
    if dice.one_in(3) {
        partition.diverging_epoch = fetch_response::EpochEndOffset::default()
            .with_epoch(dice.i32())
            .with_end_offset(dice.offset().max(0));
    }
    if dice.one_in(3) {
        partition.current_leader = fetch_response::LeaderIdAndEpoch::default()
            .with_leader_id(BrokerId(dice.i32()))
            .with_leader_epoch(dice.i32());
    }
    if dice.one_in(4) {
        partition.snapshot_id = fetch_response::SnapshotId::default().with_epoch(4);
    }
    if dice.one_in(4) {
        partition.unknown_tagged_fields.insert(9, dice.bytes(3).into());
    }
    partition
}

/// An answer to Produce, as `version` can carry it.
pub fn produce_response(dice: &mut Dice, version: i16) -> ProduceResponse {
    let topics = (0..dice.below(4)).map(|_| {
        let count = dice.below(4);
        let partitions = (0..count).map(|_| produced_partition(dice, version)).collect();
        let topic =
            produce_response::TopicProduceResponse::default().with_partition_responses(partitions);
        if version >= 13 {
            topic.with_topic_id(dice.bytes(16).try_into().expect("16 bytes"))
        } else {
            topic.with_name(dice.topic())
        }
    });
    let topics = topics.collect();
    let mut response =
        ProduceResponse::default().with_throttle_time_ms(dice.i32().max(0)).with_responses(topics);
    if version >= 10 && dice.one_in(2) {
        let node = produce_response::NodeEndpoint::default()
            .with_node_id(BrokerId(3))
            .with_host("host".into())
            .with_port(9092);
        response.node_endpoints.push(node);
    }
    response
}

fn produced_partition(dice: &mut Dice, version: i16) -> produce_response::PartitionProduceResponse {
    let errors = (0..dice.below(3)).map(|_| {
        produce_response::BatchIndexAndErrorMessage::default()
            .with_batch_index(dice.i32())
            .with_batch_index_error_message(dice.text())
    });
    let errors = errors.collect();
    let mut partition = produce_response::PartitionProduceResponse::default()
        .with_index(dice.i32())
        .with_error_code(dice.i16())
        .with_base_offset(dice.offset())
        .with_log_append_time_ms(dice.offset())
        .with_log_start_offset(dice.offset())
        .with_record_errors(errors)
        .with_error_message(dice.text());
    if version >= 10 && dice.one_in(3) {
        partition.current_leader = produce_response::LeaderIdAndEpoch::default()
            .with_leader_id(BrokerId(dice.i32()))
            .with_leader_epoch(dice.i32());
    }
    partition
}

/// `message` as `version` has it.
pub fn encoded(message: &impl Encodable, version: i16) -> Bytes {
    let mut out = BytesMut::new();
    message.encode(&mut out, version).expect("samples are made for their version");
    out.freeze()
}

/// One uncompressed batch from `base_offset` on, with `count` random records.
pub fn batch(dice: &mut Dice, base_offset: i64, count: usize) -> Bytes {
    let records: Vec<Record> = (0..count).map(|at| record(dice, base_offset, at)).collect();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    let mut out = BytesMut::new();
    RecordBatchEncoder::encode(&mut out, &records, &options).expect("plain records");
    out.freeze()
}

fn record(dice: &mut Dice, base_offset: i64, at: usize) -> Record {
    let (key_len, value_len) = (dice.below(10), dice.below(100));
    let mut headers = kafka_protocol::indexmap::IndexMap::new();
    for name in 0..dice.below(3) {
        let value = (!dice.one_in(3)).then(|| dice.bytes(4).into());
        headers.insert(StrBytes::from_string(format!("h{name}")), value);
    }
    Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 3,
        producer_id: 77,
        producer_epoch: 1,
        timestamp_type: TimestampType::Creation,
        offset: base_offset + at as i64,
        sequence: at as i32,
        timestamp: 1_000_000 + dice.below(9_999) as i64,
        key: (!dice.one_in(3)).then(|| dice.bytes(key_len).into()),
        value: (!dice.one_in(5)).then(|| dice.bytes(value_len).into()),
        headers,
    }
}

/// One message of magic 1, as Kafka 0.10 stored it.
pub fn old_message(offset: i64, key: &[u8], value: &[u8]) -> Vec<u8> {
    let len = |bytes: &[u8]| (bytes.len() as i32).to_be_bytes();
    let size = 4 + 1 + 1 + 8 + 4 + key.len() + 4 + value.len();
    [
        &offset.to_be_bytes()[..],
        &(size as i32).to_be_bytes(),
        &[0xde, 0xad, 0xbe, 0xef], // the CRC-32 is not what is tried
        &[1, 0],
        &1_000_000i64.to_be_bytes(),
        &len(key),
        key,
        &len(value),
        value,
    ]
    .concat()
}
