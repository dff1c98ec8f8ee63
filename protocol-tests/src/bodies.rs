//! Fuzz bodies: hostile bytes in, properties asserted; libFuzzer and `cargo test` run the same.
//!
//! It never accepts "no panic" as the only property, but for bytes that are refused.

pub mod secrets;
pub mod stores;
pub mod units;

use std::ops::Range;

use bytes::Bytes;
use isolog::secure::jks::Jks;
use isolog::wire::batch::Attributes;
use isolog::wire::batch::BatchView;
use isolog::wire::batch::HEADER_BYTES;
use isolog::wire::batch::PREFIX_BYTES;
use isolog::wire::batch::at;
use isolog::wire::crc;
use isolog::wire::error::WireError;
use isolog::wire::fetch;
use isolog::wire::fetch::FetchAnswer;
use isolog::wire::frame;
use isolog::wire::prim::PEER_TEXT_CHARS_MAX;
use isolog::wire::produce;
use isolog::wire::produce::AppendAnswer;
use isolog::wire::record::RecordView;
use isolog::wire::record::Records;
use isolog::wire::rewrite;
use isolog::wire::rewrite::Writer;
use isolog::wire::shape;
use isolog::wire::split::Piece;
use isolog::wire::split::split;
use isolog::wire::versions::ApiKey;
use isolog::wire::versions::Versions;
use kafka_protocol::messages;
use kafka_protocol::protocol::Decodable;

/// What one fuzz target runs.
pub type Body = fn(&[u8]);

/// Every fuzz target of this file: its name is also that of its seeds' directory.
pub const TARGETS: &[(&str, Body)] = &[
    ("frame", frame_head),
    ("api_versions", api_versions),
    ("fetch_answer", fetch_answer),
    ("produce_answer", produce_answer),
    ("split", split_records),
    ("rewrite", rewrite_batch),
    ("record", walk_records),
    ("codec", units::unpack),
    ("filler", units::fill),
    ("reframe", units::make_dense),
    ("login", secrets::login),
    ("jaas", secrets::jaas),
    ("properties", secrets::properties),
    ("pem", secrets::pem),
    ("jks", stores::jks),
    ("pkcs12", stores::pkcs12),
    ("revoked", stores::revoked),
    ("http_head", stores::http_head),
    ("guarded", guarded_answer),
    ("mirror_ops", crate::mirror_ops::run_bytes),
];

/// The largest response that the bodies' imagined connection accepts.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// The same decoders without the assertions around them, to measure what they allocate.
pub fn decode(target: &str, input: Bytes) {
    match target {
        "frame" => drop(take_frame(&input)),
        "api_versions" => drop(Versions::read(input)),
        "fetch_answer" => drop(versioned(&input, FETCH).map(|(v, b)| FetchAnswer::decode(b, v))),
        "produce_answer" => {
            drop(versioned(&input, PRODUCE).map(|(v, b)| AppendAnswer::decode(b, v)));
        }
        "split" => split(input).for_each(drop),
        "rewrite" => drop(batch_of(&input).map(|(batch, by)| rewrite::rewrite(&batch, by))),
        "record" => {
            let records = counted(&input).map(|(count, section)| Records::new(section, count));
            records.into_iter().flatten().flatten().for_each(drop);
        }
        "login" => secrets::decode_login(&input),
        "jaas" | "pem" => secrets::decode_text(target, &input),
        // a file of the operator's, read by a library
        "properties" | "pkcs12" | "revoked" => {}
        "jks" => drop(Jks::read(&input, None)),
        "http_head" => drop(stores::http_answer(&input)),
        "codec" => units::decode_codec(&input),
        "reframe" => units::decode_unit(&input),
        // reads nothing but a header
        "filler" => {}
        "guarded" => drop(library_read(&input)),
        // reads nothing of a peer's: its bytes are dice
        "mirror_ops" => {}
        other => panic!("no such target: {other}"),
    }
}

const FETCH: Range<i16> = fetch::VERSION_MIN..fetch::VERSION_MAX + 1;
const PRODUCE: Range<i16> = produce::VERSION_MIN..produce::VERSION_MAX + 1;

/// The first byte says which version the rest is read as.
fn versioned(input: &Bytes, versions: Range<i16>) -> Option<(i16, Bytes)> {
    let first = i16::from(*input.first()?);
    Some((versions.start + first % (versions.end - versions.start), input.slice(1..)))
}

/// A length prefix, then a response: as a connection reads it, with the cap before the buffer.
fn take_frame(input: &Bytes) -> Option<Result<Bytes, WireError>> {
    let prefix = *input.first_chunk::<{ frame::PREFIX_BYTES }>()?;
    let size = match frame::response_size(prefix, FRAME_BYTES_MAX) {
        Ok(size) => size,
        Err(error) => return Some(Err(error)),
    };
    let rest = input.slice(frame::PREFIX_BYTES..);
    (rest.len() >= size).then(|| frame::response_body(rest.slice(..size), ApiKey::Fetch, 7))
}

fn inside(part: &Bytes, whole: &Bytes) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    part.is_empty() || (whole.start <= part.start && part.end <= whole.end)
}

/// A response's length prefix and head, under the cap.
pub fn frame_head(data: &[u8]) {
    let input = Bytes::copy_from_slice(data);
    let Some(Ok(body)) = take_frame(&input) else { return };
    assert!(body.len() < FRAME_BYTES_MAX, "the cap holds");
    assert!(inside(&body, &input), "the body is a slice of the frame");
    assert_eq!(input[4..8], 7i32.to_be_bytes(), "only the answer that was due is accepted");
}

/// The first answer of a peer that nobody has authenticated yet.
pub fn api_versions(data: &[u8]) {
    let Ok((_, versions)) = Versions::read(Bytes::copy_from_slice(data)) else { return };
    for api in ApiKey::all() {
        let Ok(chosen) = versions.choose(api) else { continue };
        let theirs = versions.theirs(api).expect("chosen from");
        assert!((theirs.min..=theirs.max).contains(&chosen), "{api} {chosen}: not theirs");
        assert!((api.ours().min..=api.ours().max).contains(&chosen), "{api} {chosen}: not ours");
    }
    let long = [data, &[0]].concat();
    assert!(Versions::read(long.into()).is_err(), "a byte behind the answer is refused");
}

/// A Fetch answer: slices of its frame, nothing made up, its records split.
pub fn fetch_answer(data: &[u8]) {
    let Some((version, body)) = versioned(&Bytes::copy_from_slice(data), FETCH) else { return };
    let Ok(answer) = FetchAnswer::decode(body.clone(), version) else { return };
    let mut covered = 0;
    for fetched in &answer.partitions {
        assert!(inside(&fetched.records, &body), "records are slices of the answer");
        covered += 37 + fetched.records.len() + 17 * fetched.aborted.len();
        split_whole(fetched.records.clone());
    }
    assert!(covered <= body.len(), "nothing is counted twice or made up");
    let long = Bytes::from([&body[..], &[0]].concat());
    let trailing = matches!(FetchAnswer::decode(long, version), Err(WireError::Trailing { .. }));
    assert!(trailing, "a byte behind the answer is refused");
}

/// A Produce answer: nothing made up, its texts safe to print.
pub fn produce_answer(data: &[u8]) {
    let Some((version, body)) = versioned(&Bytes::copy_from_slice(data), PRODUCE) else { return };
    let Ok(answer) = AppendAnswer::decode(body.clone(), version) else { return };
    assert!(33 * answer.partitions.len() <= body.len(), "no partition is made up");
    for appended in &answer.partitions {
        let cause = appended.record_error.iter().map(|(_, text)| text);
        for text in appended.message.iter().chain(cause) {
            assert!(text.chars().count() <= PEER_TEXT_CHARS_MAX);
            assert!(!text.contains(char::is_control), "text cannot steer a terminal");
        }
    }
    let long = Bytes::from([&body[..], &[0]].concat());
    let trailing = matches!(AppendAnswer::decode(long, version), Err(WireError::Trailing { .. }));
    assert!(trailing, "a byte behind the answer is refused");
}

/// Record bytes: every byte accounted for up to the end, the cut or the first error.
pub fn split_records(data: &[u8]) {
    split_whole(Bytes::copy_from_slice(data));
}

/// Splits, and accounts for every byte up to the first error.
fn split_whole(records: Bytes) {
    let mut pieces = split(records.clone());
    let mut taken = 0;
    let mut failed = false;
    for piece in &mut pieces {
        assert!(!failed, "nothing comes after an error");
        let Ok(piece) = piece else {
            failed = true;
            continue;
        };
        if let Piece::Batch(batch) = &piece {
            let next = &records[taken..taken + batch.len()];
            assert_eq!(batch.to_bytes(), next, "in order, no gap");
            assert!(inside(&batch.records(), &records), "a batch is a slice");
            assert!(batch.next_offset() > batch.base_offset());
        }
        taken += piece.bytes_count();
    }
    assert!(pieces.next().is_none(), "an end is an end");
    match pieces.cut() {
        Some(cut) => {
            assert!(!failed, "an error is no cut-off tail");
            assert!(0 < cut.have && cut.have < cut.need);
            assert_eq!(taken + cut.have, records.len(), "every byte is accounted for");
        }
        None if failed => assert!(taken < records.len()),
        None => assert_eq!(taken, records.len(), "every byte is accounted for"),
    }
}

/// Writer id and epoch, a byte whose low bit asks for a right CRC, then a batch whose length and
/// magic are made right, so that the rest of the header is what is tried.
fn batch_of(input: &Bytes) -> Option<(BatchView, Writer)> {
    let (id, rest) = input.split_first_chunk::<8>()?;
    let (epoch, rest) = rest.split_first_chunk::<2>()?;
    let (flags, rest) = rest.split_first()?;
    let mut bytes = rest.to_vec();
    let length = i32::try_from(bytes.len().checked_sub(PREFIX_BYTES)?).ok()?;
    if bytes.len() < HEADER_BYTES {
        return None;
    }
    bytes[at::LENGTH..at::LEADER_EPOCH].copy_from_slice(&length.to_be_bytes());
    bytes[at::MAGIC] = 2;
    if flags & 1 == 1 {
        let right = crc32c::crc32c(&bytes[at::ATTRIBUTES..]);
        bytes[at::CRC..at::ATTRIBUTES].copy_from_slice(&right.to_be_bytes());
    }
    let id = isolog::ids::ProducerId(i64::from_be_bytes(*id));
    let writer = Writer { id, epoch: i16::from_be_bytes(*epoch) };
    BatchView::new(bytes.into()).ok().map(|batch| (batch, writer))
}

/// A rewritten header: our fields ours, the others untouched, the CRC as right as before.
pub fn rewrite_batch(data: &[u8]) {
    let Some((old, writer)) = batch_of(&Bytes::copy_from_slice(data)) else { return };
    let sendable = rewrite::rewrite(&old, writer);
    assert_eq!(sendable.records.as_ptr_range(), old.records().as_ptr_range(), "records are shared");
    let whole = [&sendable.header[..], &sendable.records].concat();
    let new = BatchView::new(whole.into()).expect("a batch stays a batch");
    let cleared = Attributes::TRANSACTIONAL | Attributes::DELETE_HORIZON;
    assert_eq!(new.attributes().0, old.attributes().0 & !cleared);
    assert_eq!((new.base_offset().get(), new.leader_epoch().0), (0, -1));
    assert_eq!((new.producer_id(), new.producer_epoch()), (writer.id, writer.epoch));
    assert_eq!(i64::from(new.base_sequence()), old.base_offset().get() % (1 << 31));
    assert_eq!((new.span(), new.count()), (old.span(), old.count()));
    assert_eq!(new.base_timestamp(), old.base_timestamp());
    assert_eq!(new.max_timestamp(), old.max_timestamp());
    assert_eq!(crc::check(&new).is_ok(), crc::check(&old).is_ok(), "a CRC is never laundered");
}

/// One byte for the count of records, then their section.
fn counted(input: &Bytes) -> Option<(u32, &[u8])> {
    input.split_first().map(|(count, section)| (u32::from(*count), section))
}

fn collect(count: u32, section: &[u8]) -> Result<Vec<RecordView<'_>>, WireError> {
    Records::new(section, count)?.collect()
}

/// An uncompressed records section: written again it is no longer and reads the same.
pub fn walk_records(data: &[u8]) {
    let input = Bytes::copy_from_slice(data);
    let Some((count, section)) = counted(&input) else { return };
    let Ok(records) = collect(count, section) else { return };
    assert_eq!(records.len(), count as usize, "all or an error");
    let mut again = Vec::new();
    for record in &records {
        let before = again.len();
        record.put(&mut again);
        assert_eq!(again.len() - before, record.encoded_len());
    }
    assert!(again.len() <= section.len(), "what is written is never longer than what was read");
    assert_eq!(collect(count, &again).as_ref(), Ok(&records), "what is written reads the same");
}

/// APIs whose answers the message library reads, behind the guard.
const GUARDED: [ApiKey; 29] = [
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::CreateTopics,
    ApiKey::DeleteRecords,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::DescribeConfigs,
    ApiKey::CreatePartitions,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::DescribeCluster,
    ApiKey::DescribeProducers,
    ApiKey::DescribeQuorum,
    ApiKey::DeleteTopics,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::FindCoordinator,
    ApiKey::ListGroups,
    ApiKey::DescribeAcls,
    ApiKey::CreateAcls,
    ApiKey::DeleteAcls,
    ApiKey::JoinGroup,
    ApiKey::SyncGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::DescribeClientQuotas,
    ApiKey::DescribeUserScramCredentials,
    ApiKey::DescribeShareGroupOffsets,
    ApiKey::AlterShareGroupOffsets,
    ApiKey::DescribeTransactions,
    ApiKey::ListTransactions,
];

/// One byte each for API and version, then an answer: through the guard, then the library. What
/// the library left unread, or `None` where the guard refused; the guard's memory must be enough.
fn library_read(input: &Bytes) -> Option<Result<usize, String>> {
    let ([api, version], _) = input.split_first_chunk::<2>()?;
    let api = GUARDED[usize::from(*api) % GUARDED.len()];
    let ours = api.ours();
    let version = ours.min + i16::from(*version) % (ours.max - ours.min + 1);
    let mut body = input.slice(2..);
    shape::check(api, version, &body).ok()?;
    let read = library_decode(api, &mut body, version);
    Some(read.map(|()| body.len()))
}

fn library_decode(api: ApiKey, body: &mut Bytes, version: i16) -> Result<(), String> {
    fn one<M: Decodable>(body: &mut Bytes, version: i16) -> Result<(), String> {
        M::decode(body, version).map(drop).map_err(|error| error.to_string())
    }
    match api {
        ApiKey::ListOffsets => one::<messages::ListOffsetsResponse>(body, version),
        ApiKey::Metadata => one::<messages::MetadataResponse>(body, version),
        ApiKey::CreateTopics => one::<messages::CreateTopicsResponse>(body, version),
        ApiKey::DeleteTopics => one::<messages::DeleteTopicsResponse>(body, version),
        ApiKey::DeleteRecords => one::<messages::DeleteRecordsResponse>(body, version),
        ApiKey::OffsetForLeaderEpoch => {
            one::<messages::OffsetForLeaderEpochResponse>(body, version)
        }
        ApiKey::DescribeAcls => one::<messages::DescribeAclsResponse>(body, version),
        ApiKey::CreateAcls => one::<messages::CreateAclsResponse>(body, version),
        ApiKey::DeleteAcls => one::<messages::DeleteAclsResponse>(body, version),
        ApiKey::DescribeConfigs => one::<messages::DescribeConfigsResponse>(body, version),
        ApiKey::CreatePartitions => one::<messages::CreatePartitionsResponse>(body, version),
        ApiKey::IncrementalAlterConfigs => {
            one::<messages::IncrementalAlterConfigsResponse>(body, version)
        }
        ApiKey::DescribeCluster => one::<messages::DescribeClusterResponse>(body, version),
        ApiKey::DescribeProducers => one::<messages::DescribeProducersResponse>(body, version),
        ApiKey::OffsetCommit => one::<messages::OffsetCommitResponse>(body, version),
        ApiKey::OffsetFetch => one::<messages::OffsetFetchResponse>(body, version),
        ApiKey::FindCoordinator => one::<messages::FindCoordinatorResponse>(body, version),
        ApiKey::ListGroups => one::<messages::ListGroupsResponse>(body, version),
        ApiKey::JoinGroup => one::<messages::JoinGroupResponse>(body, version),
        ApiKey::SyncGroup => one::<messages::SyncGroupResponse>(body, version),
        ApiKey::Heartbeat => one::<messages::HeartbeatResponse>(body, version),
        ApiKey::LeaveGroup => one::<messages::LeaveGroupResponse>(body, version),
        ApiKey::DescribeQuorum => one::<messages::DescribeQuorumResponse>(body, version),
        ApiKey::DescribeClientQuotas => {
            one::<messages::DescribeClientQuotasResponse>(body, version)
        }
        ApiKey::DescribeUserScramCredentials => {
            one::<messages::DescribeUserScramCredentialsResponse>(body, version)
        }
        ApiKey::DescribeShareGroupOffsets => {
            one::<messages::DescribeShareGroupOffsetsResponse>(body, version)
        }
        ApiKey::AlterShareGroupOffsets => {
            one::<messages::AlterShareGroupOffsetsResponse>(body, version)
        }
        ApiKey::DescribeTransactions => {
            one::<messages::DescribeTransactionsResponse>(body, version)
        }
        ApiKey::ListTransactions => one::<messages::ListTransactionsResponse>(body, version),
        ApiKey::Produce | ApiKey::Fetch | ApiKey::ApiVersions => Err("read by hand".into()),
        ApiKey::SaslHandshake | ApiKey::SaslAuthenticate => Err("read by hand".into()),
    }
}

/// What the guard lets through the library reads, to the last byte.
pub fn guarded_answer(data: &[u8]) {
    if let Some(read) = library_read(&Bytes::copy_from_slice(data)) {
        assert_eq!(read, Ok(0), "guard and library disagree");
    }
}
