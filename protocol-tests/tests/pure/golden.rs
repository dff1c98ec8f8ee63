//! Golden bytes: our hand and the other hand agree, and we read what real brokers wrote.
//!
//! It never compares our reading with our own writing.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use isolog::ids::LeaderEpoch;
use isolog::ids::Offset;
use isolog::ids::PartitionId;
use isolog::ids::TopicId;
use isolog::ids::TopicName;
use isolog::wire::batch::Attributes;
use isolog::wire::batch::BatchView;
use isolog::wire::batch::HEADER_BYTES;
use isolog::wire::crc;
use isolog::wire::fetch;
use isolog::wire::fetch::FetchAnswer;
use isolog::wire::fetch::FetchAsk;
use isolog::wire::fetch::FetchAskPartition;
use isolog::wire::fetch::FetchSession;
use isolog::wire::fetch::FetchedPartition;
use isolog::wire::fetch::Isolation;
use isolog::wire::produce;
use isolog::wire::produce::AppendAnswer;
use isolog::wire::produce::AppendAsk;
use isolog::wire::produce::AppendEntry;
use isolog::wire::produce::AppendedPartition;
use isolog::wire::record::NO_SEQUENCE;
use isolog::wire::record::NO_WRITER;
use isolog::wire::record::NewRecord;
use isolog::wire::record::Records;
use isolog::wire::record::plain_batch;
use isolog::wire::rewrite;
use isolog::wire::rewrite::Sendable;
use isolog::wire::rewrite::Writer;
use isolog::wire::split::Piece;
use isolog::wire::split::split;
use isolog::wire::topic::TopicRef;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::FetchResponse;
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::ProduceResponse;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::protocol::Decodable;
use kafka_protocol::records::RecordBatchDecoder;
use protocol_tests::samples;
use protocol_tests::samples::Dice;

const ROUNDS: usize = 300;

fn topic_ref(dice: &mut Dice, by_id: bool) -> TopicRef {
    if by_id {
        let id = dice.bytes(16).try_into().expect("16 bytes");
        return TopicRef::Id(TopicId(id));
    }
    TopicRef::Name(TopicName::new(&format!("t{}", dice.below(1_000))).expect("legal"))
}

fn is_named(topic: &TopicRef, name: &str, id: &[u8; 16]) -> bool {
    match topic {
        TopicRef::Name(ours) => ours.as_str() == name && *id == [0; 16],
        TopicRef::Id(ours) => ours.0 == *id && name.is_empty(),
    }
}

fn raw(offset: Option<Offset>) -> i64 {
    offset.map_or(-1, Offset::get)
}

fn fetch_ask(dice: &mut Dice, by_id: bool) -> FetchAsk {
    let mut partitions = Vec::new();
    for _ in 0..dice.below(4) {
        let topic = topic_ref(dice, by_id);
        for partition in 0..1 + dice.below(3) {
            partitions.push(FetchAskPartition {
                topic: topic.clone(),
                partition: PartitionId(partition as i32),
                leader_epoch: LeaderEpoch(dice.roll() as i32),
                offset: Offset::new((dice.roll() >> 1) as i64).expect("63 bits"),
                last_epoch: LeaderEpoch(dice.roll() as i32),
                bytes_max: dice.roll() as i32,
            });
        }
    }
    let forgotten = (0..dice.below(3)).map(|p| (topic_ref(dice, by_id), PartitionId(p as i32)));
    let forgotten = forgotten.collect();
    FetchAsk {
        session: FetchSession { id: dice.roll() as i32, epoch: dice.roll() as i32 },
        wait_ms_max: dice.roll() as i32,
        bytes_min: dice.roll() as i32,
        bytes_max: dice.roll() as i32,
        isolation: [Isolation::ReadUncommitted, Isolation::ReadCommitted][dice.below(2)],
        partitions,
        forgotten,
        rack: "r".repeat(dice.below(200)),
    }
}

#[test]
fn the_other_hand_reads_our_fetch_requests() {
    for version in fetch::VERSION_MIN..=fetch::VERSION_MAX {
        let dice = &mut Dice::new(version as u64);
        for _ in 0..ROUNDS {
            let ask = fetch_ask(dice, version >= fetch::IDS_FROM);
            let mut out = Vec::new();
            ask.encode(version, &mut out).unwrap();
            let mut bytes = Bytes::from(out);
            let read = FetchRequest::decode(&mut bytes, version).unwrap();
            assert!(bytes.is_empty(), "nothing is left");
            assert_eq!((read.replica_id.0, read.replica_state.replica_id.0), (-1, -1));
            assert_eq!((read.session_id, read.session_epoch), (ask.session.id, ask.session.epoch));
            let limits = (read.max_wait_ms, read.min_bytes, read.max_bytes);
            assert_eq!(limits, (ask.wait_ms_max, ask.bytes_min, ask.bytes_max));
            assert_eq!(read.isolation_level == 1, ask.isolation == Isolation::ReadCommitted);
            assert_eq!(read.rack_id.as_str(), ask.rack);
            same_partitions(&read, &ask);
        }
    }
}

fn same_partitions(read: &FetchRequest, ask: &FetchAsk) {
    let mut ours = ask.partitions.iter();
    for topic in &read.topics {
        for theirs in &topic.partitions {
            let ours = ours.next().expect("as many");
            assert!(is_named(&ours.topic, &topic.topic, topic.topic_id.as_bytes()));
            let numbers = (theirs.partition, theirs.current_leader_epoch, theirs.fetch_offset);
            assert_eq!(numbers, (ours.partition.0, ours.leader_epoch.0, ours.offset.get()));
            let rest = (theirs.last_fetched_epoch, theirs.log_start_offset);
            assert_eq!(rest, (ours.last_epoch.0, -1));
            assert_eq!(theirs.partition_max_bytes, ours.bytes_max);
        }
    }
    assert!(ours.next().is_none());
    let mut ours = ask.forgotten.iter();
    for topic in &read.forgotten_topics_data {
        for theirs in &topic.partitions {
            let (name, partition) = ours.next().expect("as many");
            assert!(is_named(name, &topic.topic, topic.topic_id.as_bytes()));
            assert_eq!(*theirs, partition.0);
        }
    }
    assert!(ours.next().is_none());
}

#[test]
fn we_read_the_other_hands_fetch_answers() {
    for version in fetch::VERSION_MIN..=fetch::VERSION_MAX {
        let dice = &mut Dice::new(100 + version as u64);
        for _ in 0..ROUNDS {
            let theirs = samples::fetch_response(dice, version);
            let ours = FetchAnswer::decode(samples::encoded(&theirs, version), version).unwrap();
            same_fetch_answer(&ours, &theirs);
        }
    }
}

fn same_fetch_answer(ours: &FetchAnswer, theirs: &FetchResponse) {
    assert_eq!(ours.throttle_ms as i32, theirs.throttle_time_ms);
    assert_eq!((ours.code.0, ours.session_id), (theirs.error_code, theirs.session_id));
    let mut partitions = ours.partitions.iter();
    for topic in &theirs.responses {
        for theirs in &topic.partitions {
            let ours = partitions.next().expect("as many");
            assert!(is_named(&ours.topic, &topic.topic, topic.topic_id.as_bytes()));
            same_fetched(ours, theirs);
        }
    }
    assert!(partitions.next().is_none());
}

fn same_fetched(ours: &FetchedPartition, theirs: &PartitionData) {
    assert_eq!((ours.partition.0, ours.code.0), (theirs.partition_index, theirs.error_code));
    assert_eq!(raw(ours.high_watermark), theirs.high_watermark);
    assert_eq!(raw(ours.last_stable), theirs.last_stable_offset);
    assert_eq!(raw(ours.log_start), theirs.log_start_offset);
    let aborted = theirs.aborted_transactions.iter().flatten();
    let aborted: Vec<_> = aborted.map(|one| (one.producer_id.0, one.first_offset)).collect();
    let read: Vec<_> = ours.aborted.iter().map(|one| (one.0.0, one.1.get())).collect();
    assert_eq!(read, aborted);
    let diverging = (theirs.diverging_epoch.epoch, theirs.diverging_epoch.end_offset);
    let read = ours.diverging.map(|(epoch, end)| (epoch.0, end.get()));
    assert_eq!(read, (diverging.0 >= 0).then_some(diverging));
    let leader = (theirs.current_leader.leader_id.0, theirs.current_leader.leader_epoch);
    let read = ours.current_leader.map(|(broker, epoch)| (broker.0, epoch.0));
    assert_eq!(read, (leader.0 >= 0).then_some(leader));
    let preferred = theirs.preferred_read_replica.0;
    assert_eq!(ours.preferred_replica.map(|b| b.0), (preferred >= 0).then_some(preferred));
    assert_eq!(ours.records, theirs.records.clone().unwrap_or_default());
}

#[test]
fn the_other_hand_reads_our_produce_requests() {
    for version in produce::VERSION_MIN..=produce::VERSION_MAX {
        let dice = &mut Dice::new(200 + version as u64);
        for _ in 0..ROUNDS {
            let ask = append_ask(dice, version >= produce::IDS_FROM);
            let chain = ask.clone().encode(version).unwrap();
            let mut bytes = Bytes::from(chain.pieces.concat());
            assert_eq!(bytes.len(), chain.bytes_count);
            assert!(chain.pieces.iter().all(|piece| !piece.is_empty()));
            let read = ProduceRequest::decode(&mut bytes, version).unwrap();
            assert!(bytes.is_empty(), "nothing is left");
            assert_eq!((read.acks, read.timeout_ms), (-1, ask.timeout_ms));
            assert_eq!(read.transactional_id, None);
            same_entries(&read, &ask);
        }
    }
}

fn append_ask(dice: &mut Dice, by_id: bool) -> AppendAsk {
    let mut entries = Vec::new();
    for _ in 0..dice.below(4) {
        let topic = topic_ref(dice, by_id);
        for partition in 0..1 + dice.below(3) {
            let header = dice.bytes(HEADER_BYTES).try_into().expect("so many");
            let len = 1 + dice.below(40_000);
            let records = dice.bytes(len).into();
            let (topic, partition) = (topic.clone(), PartitionId(partition as i32));
            let batch = Sendable { header, records };
            entries.push(AppendEntry { topic, partition, batch });
        }
    }
    entries.sort_by_key(|entry| (entry.topic.clone(), entry.partition));
    entries.dedup_by_key(|entry| (entry.topic.clone(), entry.partition));
    for at in 0..entries.len() {
        let other = dice.below(entries.len());
        entries.swap(at, other);
    }
    AppendAsk { timeout_ms: dice.roll() as i32, entries }
}

fn same_entries(read: &ProduceRequest, ask: &AppendAsk) {
    let mut left = ask.entries.clone();
    for topic in &read.topic_data {
        for theirs in &topic.partition_data {
            let same = |ours: &AppendEntry| {
                is_named(&ours.topic, &topic.name, topic.topic_id.as_bytes())
                    && ours.partition.0 == theirs.index
            };
            let ours = left.swap_remove(left.iter().position(same).expect("asked for"));
            let whole = [&ours.batch.header[..], &ours.batch.records].concat();
            assert_eq!(theirs.records.as_deref(), Some(&whole[..]));
        }
    }
    assert!(left.is_empty(), "all were sent");
    let mut topics: Vec<_> = read.topic_data.iter().map(|t| (t.name.clone(), t.topic_id)).collect();
    topics.sort();
    topics.dedup();
    assert_eq!(topics.len(), read.topic_data.len(), "each topic stands once");
}

#[test]
fn we_read_the_other_hands_produce_answers() {
    for version in produce::VERSION_MIN..=produce::VERSION_MAX {
        let dice = &mut Dice::new(300 + version as u64);
        for _ in 0..ROUNDS {
            let theirs = samples::produce_response(dice, version);
            let ours = AppendAnswer::decode(samples::encoded(&theirs, version), version).unwrap();
            same_append_answer(&ours, &theirs);
        }
    }
}

fn same_append_answer(ours: &AppendAnswer, theirs: &ProduceResponse) {
    assert_eq!(ours.throttle_ms as i32, theirs.throttle_time_ms);
    let mut partitions = ours.partitions.iter();
    for topic in &theirs.responses {
        for theirs in &topic.partition_responses {
            let ours = partitions.next().expect("as many");
            assert!(is_named(&ours.topic, &topic.name, topic.topic_id.as_bytes()));
            same_appended(ours, theirs);
        }
    }
    assert!(partitions.next().is_none());
}

fn same_appended(ours: &AppendedPartition, theirs: &PartitionProduceResponse) {
    assert_eq!((ours.partition.0, ours.code.0), (theirs.index, theirs.error_code));
    assert_eq!(raw(ours.base_offset), theirs.base_offset);
    assert_eq!(ours.log_append_time.0, theirs.log_append_time_ms);
    assert_eq!(raw(ours.log_start), theirs.log_start_offset);
    assert_eq!(ours.message.as_deref(), theirs.error_message.as_deref());
    let first = theirs.record_errors.first();
    let first = first.map(|e| (e.batch_index, e.batch_index_error_message.clone()));
    let first = first.map(|(index, text)| (index, text.unwrap_or_default().to_string()));
    assert_eq!(ours.record_error, first);
    let leader = (theirs.current_leader.leader_id.0, theirs.current_leader.leader_epoch);
    let read = ours.current_leader.map(|(broker, epoch)| (broker.0, epoch.0));
    assert_eq!(read, (leader.0 >= 0).then_some(leader));
}

#[test]
fn both_hands_write_the_same_records() {
    let dice = &mut Dice::new(400);
    for _ in 0..ROUNDS {
        let count = 1 + dice.below(20);
        let theirs = BatchView::new(samples::batch(dice, 0, count)).unwrap();
        let base = theirs.base_timestamp().0;
        let records = Records::of(&theirs).unwrap().map(|record| {
            let record = record.unwrap();
            let timestamp_ms = base + record.timestamp_delta;
            let (key, value, headers) = (record.key, record.value, record.headers);
            NewRecord { timestamp_ms, key, value, headers }
        });
        let ours = plain_batch(NO_WRITER, NO_SEQUENCE, records.collect()).unwrap();
        let mut bytes = ours.to_bytes();
        let read = RecordBatchDecoder::decode(&mut bytes).unwrap().records;
        let mut bytes = theirs.to_bytes();
        let wanted = RecordBatchDecoder::decode(&mut bytes).unwrap().records;
        assert_eq!(read.len(), wanted.len());
        for (ours, theirs) in read.iter().zip(&wanted) {
            assert_eq!((ours.offset, ours.timestamp), (theirs.offset, theirs.timestamp));
            assert_eq!((&ours.key, &ours.value), (&theirs.key, &theirs.value));
            assert_eq!(ours.headers, theirs.headers);
            assert_eq!(ours.producer_id, -1);
        }
    }
}

/// The brokers whose answers lie in `testdata/kafka-*`; see the README there.
const CAPTURED: [&str; 2] = ["4.3.1", "3.9.1"];
/// Codecs by their number in the attributes.
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

fn captured_dir(kafka: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../testdata/kafka-{kafka}"))
}

/// What a broker answered: name, version and body of every file `<api>-v<version>-<name>`.
fn captured(kafka: &str, api: &str) -> Vec<(String, i16, Bytes)> {
    let listing = fs::read_dir(captured_dir(kafka)).expect("testdata is there");
    let files = listing.filter_map(|entry| {
        let path = entry.expect("readable").path();
        let name = path.file_name()?.to_str()?.strip_prefix(api)?.strip_prefix("-v")?;
        let (version, name) = name.split_once('-')?;
        let body = fs::read(&path).expect("readable").into();
        Some((name.to_owned(), version.parse().ok()?, body))
    });
    files.collect()
}

fn fetched(kafka: &str, file: &str, version: i16) -> FetchedPartition {
    let path = captured_dir(kafka).join(format!("fetch-v{version}-{file}"));
    let body = fs::read(path).expect("captured").into();
    FetchAnswer::decode(body, version).expect("readable").partitions.remove(0)
}

fn batches(fetched: &FetchedPartition) -> Vec<BatchView> {
    let pieces = split(fetched.records.clone()).map(Result::unwrap);
    let batches = pieces.map(|piece| match piece {
        Piece::Batch(batch) => batch,
        old => panic!("{old:?} from a topic made by a new broker"),
    });
    batches.collect()
}

#[test]
fn both_hands_read_the_same_in_what_brokers_answered() {
    for kafka in CAPTURED {
        let fetches = captured(kafka, "fetch");
        assert!(fetches.len() >= 19, "{kafka}: {}", fetches.len());
        for (name, version, body) in fetches {
            let theirs = FetchResponse::decode(&mut body.clone(), version).unwrap();
            let ours = FetchAnswer::decode(body, version).unwrap();
            assert!(!ours.partitions.is_empty(), "{kafka} {name}");
            same_fetch_answer(&ours, &theirs);
        }
        let appends = captured(kafka, "produce");
        assert!(appends.len() >= 15, "{kafka}: {}", appends.len());
        for (_, version, body) in appends {
            let theirs = ProduceResponse::decode(&mut body.clone(), version).unwrap();
            same_append_answer(&AppendAnswer::decode(body, version).unwrap(), &theirs);
        }
    }
}

#[test]
fn batches_of_every_codec_are_dense_and_their_crc_is_right() {
    for kafka in CAPTURED {
        for (number, codec) in CODECS.iter().enumerate() {
            let mut next = Offset::ZERO;
            for batch in batches(&fetched(kafka, codec, 17)) {
                assert_eq!(crc::check(&batch), Ok(()));
                assert_eq!((batch.base_offset(), batch.span()), (next, batch.count() as u64));
                assert_eq!(usize::from(batch.attributes().codec()), number);
                next = batch.next_offset();
                if number == 0 {
                    let records = Records::of(&batch).unwrap().map(Result::unwrap);
                    let deltas: Vec<i32> = records.map(|record| record.offset_delta).collect();
                    assert_eq!(deltas, (0..batch.count()).collect::<Vec<_>>());
                }
            }
            assert_eq!(next.get(), 150, "{kafka} {codec}");
        }
    }
}

#[test]
fn a_copy_that_a_broker_stored_is_our_rewrite_bit_for_bit() {
    for kafka in CAPTURED {
        for codec in CODECS {
            let copies = batches(&fetched(kafka, &format!("copy-{codec}"), 12));
            let sources = batches(&fetched(kafka, codec, 17));
            assert_eq!(copies.len(), sources.len());
            for (copy, source) in copies.iter().zip(sources) {
                let writer = Writer { id: copy.producer_id(), epoch: copy.producer_epoch() };
                let ours = rewrite::rewrite(&source, writer);
                assert_eq!(copy.records(), ours.records);
                // the broker sets the offset and its leader epoch, and nothing else
                assert_eq!(copy.base_offset(), source.base_offset());
                assert_eq!(copy.header()[8..12], ours.header[8..12]);
                assert_eq!(copy.header()[16..], ours.header[16..]);
            }
        }
    }
}

#[test]
fn what_is_special_in_a_log_is_seen() {
    for kafka in CAPTURED {
        let fetched = |name| fetched(kafka, name, 17);
        let transactions = fetched("transactions");
        let has = |bit| batches(&transactions).iter().any(|batch| batch.attributes().has(bit));
        assert!(has(Attributes::TRANSACTIONAL) && has(Attributes::CONTROL));
        assert!(!transactions.aborted.is_empty());
        let stamped = batches(&fetched("append-time"));
        assert!(stamped.iter().all(|batch| batch.attributes().has(Attributes::LOG_APPEND_TIME)));
        let mut cut = split(fetched("cut").records);
        assert!(cut.by_ref().count() == 1 && cut.cut().is_some());
        assert_eq!((fetched("beyond").code.0, fetched("unknown").code.0), (1, 100));
        assert_eq!(
            fetched("diverging").diverging,
            Some((LeaderEpoch(0), Offset::new(150).unwrap()))
        );
    }
}
