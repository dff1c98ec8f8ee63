//! Our bytes against stock brokers: what we ask they answer, what we rewrite they store as it is.
//!
//! It never skips. With `ISOLOG_CAPTURE=1` it also writes the answers to `testdata/kafka-*`.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use isolog::ids::LeaderEpoch;
use isolog::ids::Offset;
use isolog::ids::PartitionId;
use isolog::ids::ProducerId;
use isolog::ids::TopicId;
use isolog::ids::TopicName;
use isolog::wire::batch::Attributes;
use isolog::wire::batch::BatchView;
use isolog::wire::batch::at;
use isolog::wire::crc;
use isolog::wire::error::KafkaCode;
use isolog::wire::fetch::FetchAnswer;
use isolog::wire::fetch::FetchAsk;
use isolog::wire::fetch::FetchAskPartition;
use isolog::wire::fetch::FetchSession;
use isolog::wire::fetch::FetchedPartition;
use isolog::wire::fetch::Isolation;
use isolog::wire::frame;
use isolog::wire::produce::AppendAnswer;
use isolog::wire::produce::AppendAsk;
use isolog::wire::produce::AppendEntry;
use isolog::wire::produce::AppendedPartition;
use isolog::wire::record::NewRecord;
use isolog::wire::record::plain_batch;
use isolog::wire::rewrite;
use isolog::wire::rewrite::Sendable;
use isolog::wire::rewrite::Writer;
use isolog::wire::split::Piece;
use isolog::wire::split::split;
use isolog::wire::topic::TopicRef;
use isolog::wire::versions::ApiKey;
use kafka_protocol::messages::CreateTopicsRequest;
use kafka_protocol::messages::CreateTopicsResponse;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopicConfig;
use kafka_protocol::protocol::Decodable;
use kafka_protocol::protocol::Encodable;
use kafka_protocol::protocol::StrBytes;
use protocol_tests::real::Load;
use protocol_tests::real::LoadSpec;
use protocol_tests::real::RealCluster;
use protocol_tests::real::RealSpec;
use protocol_tests::real::repo;
use protocol_tests::real::room;

const WRITER: Writer = Writer { id: ProducerId((1 << 62) + 7), epoch: 0 };
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const RECORDS: u64 = 150;
/// Answers that nobody learns from.
const UNKEPT: &str = "leader-check";

/// One blocking connection, and where its answers are kept.
struct Peer {
    stream: TcpStream,
    correlation: i32,
    kafka: String,
}

impl Peer {
    fn dial(bootstrap: &str, kafka: &str) -> Peer {
        let stream = TcpStream::connect(bootstrap).expect("the broker listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket option");
        Peer { stream, correlation: 0, kafka: kafka.to_owned() }
    }

    fn ask(&mut self, api: ApiKey, version: i16, body: &[Bytes]) -> Bytes {
        self.correlation += 1;
        let size = body.iter().map(Bytes::len).sum();
        let head = frame::request_head(api, version, self.correlation, "t", size).expect("small");
        self.stream.write_all(&head).expect("sent");
        body.iter().for_each(|piece| self.stream.write_all(piece).expect("sent"));
        let mut prefix = [0; frame::PREFIX_BYTES];
        self.stream.read_exact(&mut prefix).expect("answered");
        let mut answer = vec![0; frame::response_size(prefix, 1 << 24).expect("a size")];
        self.stream.read_exact(&mut answer).expect("answered");
        frame::response_body(answer.into(), api, self.correlation).expect("the answer due")
    }

    fn keep(&self, name: &str, body: &Bytes) {
        if std::env::var_os("ISOLOG_CAPTURE").is_some() && !name.ends_with(UNKEPT) {
            let dir = repo().join("testdata").join(format!("kafka-{}", self.kafka));
            fs::create_dir_all(&dir).expect("testdata can be written");
            fs::write(dir.join(name), body).expect("testdata can be written");
        }
    }

    fn fetch(&mut self, version: i16, ask: &FetchAsk, name: &str) -> FetchAnswer {
        let mut body = BytesMut::new();
        ask.encode(version, &mut body).expect("a legal request");
        let answer = self.ask(ApiKey::Fetch, version, &[body.freeze()]);
        self.keep(&format!("fetch-v{version}-{name}"), &answer);
        FetchAnswer::decode(answer, version).expect("what a broker says can be read")
    }

    fn append(&mut self, version: i16, entries: Vec<AppendEntry>, name: &str) -> AppendAnswer {
        let chain = AppendAsk { timeout_ms: 10_000, entries }.encode(version).expect("legal");
        let answer = self.ask(ApiKey::Produce, version, &chain.pieces);
        self.keep(&format!("produce-v{version}-{name}"), &answer);
        AppendAnswer::decode(answer, version).expect("what a broker says can be read")
    }

    fn append_one(
        &mut self,
        version: i16,
        to: &Topic,
        batch: Sendable,
        name: &str,
    ) -> AppendedPartition {
        let entry = AppendEntry { topic: to.at(version, 13), partition: PartitionId(0), batch };
        let mut answer = self.append(version, vec![entry], name);
        assert_eq!(answer.partitions.len(), 1);
        answer.partitions.remove(0)
    }

    /// Creates a topic and learns its id.
    fn create(&mut self, name: &str, configs: &[(&str, &str)]) -> Topic {
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let configs = configs.iter().map(|(name, value)| {
            CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
        });
        let topic = CreatableTopic::default()
            .with_name(text(name).into())
            .with_num_partitions(1)
            .with_replication_factor(1)
            .with_configs(configs.collect());
        let ask = CreateTopicsRequest::default().with_timeout_ms(10_000).with_topics(vec![topic]);
        let mut body = BytesMut::new();
        ask.encode(&mut body, 7).expect("a legal request");
        let mut answer = self.ask(ApiKey::CreateTopics, 7, &[body.freeze()]);
        let made = CreateTopicsResponse::decode(&mut answer, 7).expect("readable").topics.remove(0);
        assert_eq!(made.error_code, 0, "{name}: {:?}", made.error_message);
        let topic = Topic {
            name: TopicName::new(name).expect("legal"),
            id: TopicId(*made.topic_id.as_bytes()),
        };
        self.await_leader(&topic);
        topic
    }

    fn await_leader(&mut self, topic: &Topic) {
        for _ in 0..200 {
            if self.fetch(12, &ask(&[topic.from(12, 0)]), UNKEPT).partitions[0].code.is_none() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{} has no leader", topic.name);
    }
}

struct Topic {
    name: TopicName,
    id: TopicId,
}

impl Topic {
    fn at(&self, version: i16, ids_from: i16) -> TopicRef {
        if version >= ids_from { TopicRef::Id(self.id) } else { TopicRef::Name(self.name.clone()) }
    }

    fn from(&self, version: i16, offset: i64) -> FetchAskPartition {
        FetchAskPartition {
            topic: self.at(version, 13),
            partition: PartitionId(0),
            leader_epoch: LeaderEpoch::NONE,
            offset: Offset::new(offset).expect("not negative"),
            last_epoch: LeaderEpoch::NONE,
            bytes_max: 1 << 20,
        }
    }
}

fn ask(partitions: &[FetchAskPartition]) -> FetchAsk {
    FetchAsk {
        session: FetchSession::NONE,
        wait_ms_max: 500,
        bytes_min: 1,
        bytes_max: 1 << 22,
        isolation: Isolation::ReadCommitted,
        partitions: partitions.to_vec(),
        forgotten: Vec::new(),
        rack: String::new(),
    }
}

fn batches(fetched: &FetchedPartition) -> Vec<BatchView> {
    let whole =
        split(fetched.records.clone()).map(|piece| match piece.expect("a broker's bytes") {
            Piece::Batch(batch) => batch,
            old => panic!("{old:?} from a new topic"),
        });
    let whole: Vec<BatchView> = whole.collect();
    for batch in &whole {
        assert_eq!(crc::check(batch), Ok(()));
    }
    whole
}

fn load(cluster: &RealCluster, topic: &str, codec: &str, more: &[&str]) {
    let spec = LoadSpec {
        topics: vec![(topic.into(), codec.into())],
        create: None,
        records: Some(RECORDS),
        rate: None,
        more: more.iter().map(|arg| arg.to_string()).collect(),
    };
    let loaded = Load::start(cluster.bootstrap(), &spec).expect("the Java producer starts");
    assert_eq!(loaded.wait().expect("the Java producer ends").records, RECORDS);
}

/// Copies a topic batch by batch; the copy must lie at the same offsets, bit for bit.
fn copied(peer: &mut Peer, codec: &str, from: &Topic, versions: (i16, i16)) {
    let to = peer.create(&format!("copy-{codec}"), &[]);
    let (fetch, produce) = versions;
    let answer = peer.fetch(fetch, &ask(&[from.from(fetch, 0)]), codec);
    let source = batches(&answer.partitions[0]);
    assert!(
        !source.is_empty() && answer.partitions[0].high_watermark == Offset::new(RECORDS as i64)
    );
    for (count, batch) in source.iter().enumerate() {
        let codec_number = CODECS.iter().position(|name| *name == codec).expect("listed");
        assert_eq!(usize::from(batch.attributes().codec()), codec_number);
        let version = if count % 2 == 0 { produce } else { 9 };
        let acked = peer.append_one(version, &to, rewrite::rewrite(batch, WRITER), codec);
        assert_eq!((acked.code, acked.base_offset), (KafkaCode::NONE, Some(batch.base_offset())));
        assert_eq!(acked.log_append_time.0, -1, "an append, not a repeat");
    }
    let copy = peer.fetch(12, &ask(&[to.from(12, 0)]), &format!("copy-{codec}"));
    let copy = batches(&copy.partitions[0]);
    assert_eq!(copy.len(), source.len());
    for (copy, source) in copy.iter().zip(&source) {
        assert_eq!(copy.base_offset(), source.base_offset());
        assert_eq!(copy.records(), source.records());
        assert_eq!(copy.crc().to_be_bytes(), rewrite::rewrite(source, WRITER).header[at::CRC..21]);
        assert_eq!(copy.attributes(), source.attributes());
        assert_eq!(
            (copy.producer_id(), copy.base_sequence()),
            (WRITER.id, source.base_offset().sequence())
        );
    }
}

/// What a broker answers when something is wrong, or was done before.
fn refusals(peer: &mut Peer, topic: &Topic, version: i16) {
    let to = peer.create("refusals", &[("cleanup.policy", "compact")]);
    let batch = |sequence: i32, key: Option<&'static [u8]>| {
        let record =
            NewRecord { timestamp_ms: 1_700_000_000_000, key, value: Some(b"v"), headers: vec![] };
        let batch = plain_batch(WRITER, sequence, vec![record]).expect("one record");
        let header = batch.header().try_into().expect("61 bytes");
        Sendable { header, records: batch.records() }
    };
    let mut codes = Vec::new();
    for (name, batch) in [
        ("first", batch(0, Some(b"k"))),
        ("repeat", batch(0, Some(b"k"))),
        ("gap", batch(9, Some(b"k"))),
        ("no-key", batch(1, None)),
    ] {
        let answer = peer.append_one(version, &to, batch, name);
        let said = answer.record_error.is_some() as u8 + answer.message.is_some() as u8;
        codes.push((
            answer.code.0,
            answer.base_offset.map(Offset::get),
            answer.log_append_time.0,
            said,
        ));
    }
    let repeat = (0, Some(0), 1_700_000_000_000, 0);
    assert_eq!(codes[..2], [(0, Some(0), -1, 0), repeat]);
    assert_eq!((codes[2].0, codes[2].1), (45, None));
    assert_eq!((codes[3].0, codes[3].1, codes[3].3), (87, None, 2), "a reason and a record");
    let unknown = Topic { name: TopicName::new("unknown").expect("legal"), id: TopicId([9; 16]) };
    let answer = peer.append_one(version, &unknown, batch(0, None), "unknown");
    assert_eq!(answer.code.0, if version >= 13 { 100 } else { 3 });
    let beyond = peer.fetch(17, &ask(&[topic.from(17, 1_000_000)]), "beyond");
    assert_eq!(beyond.partitions[0].code.0, 1);
    let unknown = peer.fetch(17, &ask(&[unknown.from(17, 0)]), "unknown");
    assert_eq!(unknown.partitions[0].code.0, 100);
    let truncated = FetchAskPartition { last_epoch: LeaderEpoch(0), ..topic.from(17, 1_000_000) };
    let diverging = peer.fetch(17, &ask(&[truncated]), "diverging");
    let end = Offset::new(RECORDS as i64).expect("small");
    assert_eq!(diverging.partitions[0].diverging, Some((LeaderEpoch(0), end)));
}

/// Sessions, a cut-off tail and several topics in one answer.
fn whole_and_cut(peer: &mut Peer, topics: &[Topic]) {
    let mut open = ask(&topics.iter().map(|topic| topic.from(17, 0)).collect::<Vec<_>>());
    open.session = FetchSession::OPEN;
    let all = peer.fetch(17, &open, "session");
    assert_eq!(all.partitions.len(), topics.len());
    assert_ne!(all.session_id, 0);
    let next = FetchAsk {
        session: FetchSession::OPEN.next(all.session_id),
        forgotten: vec![(topics[0].at(17, 13), PartitionId(0))],
        ..ask(&[topics[1].from(17, RECORDS as i64)])
    };
    let rest = peer.fetch(17, &next, "session-next");
    assert_eq!((rest.code, rest.session_id), (KafkaCode::NONE, all.session_id));
    let named = |topic: &Topic| rest.partitions.iter().any(|p| p.topic == topic.at(17, 13));
    assert!(!named(&topics[0]), "forgotten");
    assert!(named(&topics[2]), "still asked for without being named");
    let mut tight = topics[0].from(17, 0);
    let first = batches(&peer.fetch(17, &ask(&[tight.clone()]), "whole").partitions[0])[0].len();
    tight.bytes_max = first as i32 + 30;
    let cut = peer.fetch(17, &ask(&[tight]), "cut");
    let mut pieces = split(cut.partitions[0].records.clone());
    assert_eq!(pieces.by_ref().count(), 1);
    let tail = pieces.cut().expect("cut off");
    assert!(tail.have == 30 && tail.need > 61, "{tail:?}");
}

fn transactions(peer: &mut Peer, cluster: &RealCluster) {
    let topic = peer.create("transactions", &[]);
    load(cluster, "transactions", "zstd", &["--txn", "20", "--abort-percent", "50", "--seed", "3"]);
    let fetched = peer.fetch(17, &ask(&[topic.from(17, 0)]), "transactions").partitions.remove(0);
    let batches = batches(&fetched);
    assert!(!fetched.aborted.is_empty());
    assert!(fetched.aborted.iter().all(|(_, first)| *first < fetched.last_stable.expect("known")));
    for bit in [Attributes::TRANSACTIONAL, Attributes::CONTROL] {
        assert!(batches.iter().any(|batch| batch.attributes().has(bit)), "{bit:#x}");
    }
}

fn run(kafka: &str, produce: i16) {
    let _room = room(1);
    let cluster = RealCluster::start(RealSpec::new(kafka, 1)).expect("Kafka starts");
    let peer = &mut Peer::dial(cluster.bootstrap(), kafka);
    let mut topics = Vec::new();
    for codec in CODECS {
        topics.push(peer.create(codec, &[]));
        load(&cluster, codec, codec, &["--size", "60", "--batch", "1500", "--rate", "2000"]);
    }
    for (codec, topic) in CODECS.iter().zip(&topics) {
        copied(peer, codec, topic, (17, produce));
    }
    whole_and_cut(peer, &topics);
    refusals(peer, &topics[0], produce);
    transactions(peer, &cluster);
    let appended = peer.create("append-time", &[("message.timestamp.type", "LogAppendTime")]);
    load(&cluster, "append-time", "lz4", &["--size", "60"]);
    let fetched = peer.fetch(17, &ask(&[appended.from(17, 0)]), "append-time");
    let stamped = |batch: &BatchView| batch.attributes().has(Attributes::LOG_APPEND_TIME);
    assert!(batches(&fetched.partitions[0]).iter().all(stamped));
}

#[test]
fn kafka_4_3_1_stores_what_we_rewrite() {
    run("4.3.1", 13);
}

#[test]
fn kafka_3_9_1_stores_what_we_rewrite() {
    run("3.9.1", 11);
}
