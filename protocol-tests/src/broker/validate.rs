//! What a broker checks in a produced batch before it takes the log's lock (broker-facts P6 to
//! P16, P22, B1).
//!
//! It never asks who leads nor what the producer wrote before.

use bytes::Buf;
use bytes::Bytes;
use bytes::BytesMut;
use kafka_protocol::error::ResponseError;

use crate::broker::batch;
use crate::broker::batch::CONTROL;
use crate::broker::batch::HEADER_BYTES;
use crate::broker::batch::Header;
use crate::broker::batch::LOG_APPEND_TIME;
use crate::broker::batch::PREFIX_BYTES;
use crate::broker::batch::Record;
use crate::broker::batch::Records;
use crate::broker::codec;
use crate::broker::codec::Codec;
use crate::broker::configs::TopicConfig;
use crate::broker::spec::Version;

/// Bytes that must be there before the broker looks at a length.
const MAGIC_END: usize = 17;
/// The smallest length that any message format has.
const LENGTH_MIN: i32 = 14;

type Checked<T> = Result<T, ResponseError>;

/// Cuts the one batch out of a produce entry (`ProduceRequest.validateRecords`).
pub fn single_batch(entry: &Bytes) -> Checked<Bytes> {
    let Some(len) = batch_len(entry)? else { return Err(ResponseError::InvalidRecord) };
    if entry[16] != 2 {
        return Err(ResponseError::InvalidRecord);
    }
    if batch_len(&entry.slice(len..))?.is_some() {
        return Err(ResponseError::InvalidRecord);
    }
    Ok(entry.slice(..len))
}

/// The length of the batch at the front; `None` when it is not whole.
fn batch_len(bytes: &Bytes) -> Checked<Option<usize>> {
    if bytes.len() < PREFIX_BYTES {
        return Ok(None);
    }
    let length = (&bytes[8..]).get_i32();
    if length < LENGTH_MIN {
        return Err(ResponseError::CorruptMessage);
    }
    if bytes.len() < MAGIC_END {
        return Ok(None);
    }
    if bytes[16] > 2 {
        return Err(ResponseError::CorruptMessage);
    }
    let len = PREFIX_BYTES + length as usize;
    Ok((bytes.len() >= len).then_some(len))
}

/// The checks before the log is locked: a refusal here is no barrier (A3).
pub fn before_lock(bytes: &Bytes, config: &TopicConfig) -> Checked<Header> {
    let Some(header) = Header::read(bytes) else { return Err(ResponseError::CorruptMessage) };
    if header.base_offset != 0 {
        return Err(ResponseError::InvalidRecord);
    }
    if bytes.len() > config.max_message_bytes {
        return Err(ResponseError::MessageTooLarge);
    }
    if crc32c::crc32c(&bytes[21..]) != header.crc {
        return Err(ResponseError::CorruptMessage);
    }
    Ok(header)
}

/// The checks under the lock, and the batch as it is to be stored, offset and epoch aside.
pub fn under_lock(
    header: &Header,
    bytes: &Bytes,
    config: &TopicConfig,
    version: Version,
    now_ms: i64,
) -> Checked<Bytes> {
    check_header(header)?;
    if header.has(LOG_APPEND_TIME) && (config.log_append_time || version == Version::V2_8) {
        return Err(ResponseError::InvalidTimestamp);
    }
    let records = batch::look(header, bytes);
    match (&records, header.codec()) {
        (Records::Garbage, Some(Codec::None)) => return Err(ResponseError::InvalidRecord),
        (Records::Garbage | Records::Chaos | Records::Opaque, _) => {
            return Err(ResponseError::UnknownServerError);
        }
        _ => {}
    }
    if let Records::Read(records) = &records {
        check_records(header, records, config, version, now_ms)?;
    } else {
        check_time(header.max_timestamp, config, version, now_ms)?;
    }
    let stored = as_stored(header, bytes, records, config, now_ms)?;
    if stored.len() > config.max_message_bytes {
        return Err(ResponseError::MessageTooLarge);
    }
    if stored.len() > config.segment_bytes {
        return Err(ResponseError::RecordListTooLarge);
    }
    Ok(stored)
}

fn check_header(header: &Header) -> Checked<()> {
    let span = i64::from(header.last_offset_delta) + 1;
    let inconsistent = span <= 0 || header.count <= 0 || span != i64::from(header.count);
    let nameless = header.producer_id >= 0 && header.base_sequence < 0;
    if inconsistent || header.has(CONTROL) || nameless {
        return Err(ResponseError::InvalidRecord);
    }
    Ok(())
}

fn check_records(
    header: &Header,
    records: &[Record],
    config: &TopicConfig,
    version: Version,
    now_ms: i64,
) -> Checked<()> {
    if config.compacts && records.iter().any(|record| record.key.is_none()) {
        return Err(ResponseError::InvalidRecord);
    }
    for record in records {
        let time = header.base_timestamp.wrapping_add(record.timestamp_delta);
        check_time(time, config, version, now_ms)?;
    }
    Ok(())
}

/// P12: 4.x refuses what lies more than an hour ahead, unless the topic allows it; what is older
/// than the topic allows is refused since 3.6 (LogValidator.validateTimestamp).
fn check_time(time: i64, config: &TopicConfig, version: Version, now_ms: i64) -> Checked<()> {
    let ahead = time.saturating_sub(now_ms);
    let allowed = config.timestamp_after_max_ms.unwrap_or(match version {
        Version::V4_3 => 3_600_000,
        _ => i64::MAX,
    });
    let behind = now_ms.saturating_sub(time);
    let is_old = time >= 0 && behind > config.timestamp_before_max_ms;
    if !config.log_append_time && (ahead > allowed || is_old) {
        return Err(ResponseError::InvalidTimestamp);
    }
    Ok(())
}

/// The batch as the broker stores it: untouched where it can, else corrected or rebuilt.
fn as_stored(
    header: &Header,
    bytes: &Bytes,
    records: Records,
    config: &TopicConfig,
    now_ms: i64,
) -> Checked<Bytes> {
    let source = header.codec().unwrap_or(Codec::None);
    let target = config.compression.unwrap_or(source);
    let in_order = |records: &[Record]| (0..).zip(records).all(|(n, r)| r.offset_delta == n);
    let rebuild = source != target;
    // a compressed batch that is not numbered 0, 1, 2 … makes the broker stumble (proved by
    // h05_compressed_fillers_are_refused); uncompressed ones are parsed leniently (A10)
    if let Records::Read(records) = &records
        && !rebuild
        && source != Codec::None
        && !in_order(records)
    {
        return Err(ResponseError::UnknownServerError);
    }
    let mut fixed = *header;
    if config.log_append_time {
        fixed.attributes |= LOG_APPEND_TIME;
        fixed.max_timestamp = now_ms;
    } else {
        fixed.attributes &= !LOG_APPEND_TIME;
    }
    match records {
        Records::Read(records) => {
            if !config.log_append_time {
                fixed.max_timestamp = greatest_time(header, &records);
            }
            if rebuild {
                return Ok(renumber(fixed, records, target));
            }
        }
        // nothing here can squeeze or unsqueeze what a real compressor made
        _ if rebuild => return Err(ResponseError::UnknownServerError),
        _ => {}
    }
    Ok(rewrite_times(header, fixed, bytes))
}

fn greatest_time(header: &Header, records: &[Record]) -> i64 {
    let times = records.iter().map(|r| header.base_timestamp.wrapping_add(r.timestamp_delta));
    times.max().unwrap_or(-1)
}

/// P10, P11, P13: only a differing time or time type is rewritten; then bits 7 to 15 are lost.
fn rewrite_times(header: &Header, mut fixed: Header, bytes: &Bytes) -> Bytes {
    if fixed == *header {
        return bytes.clone();
    }
    fixed.attributes &= 0x7f;
    fixed.write(&bytes[HEADER_BYTES..])
}

/// The compressed path: records are numbered anew (B1, H5), unknown bits are lost.
fn renumber(mut header: Header, mut records: Vec<Record>, target: Codec) -> Bytes {
    let mut plain = BytesMut::new();
    for (n, record) in records.iter_mut().enumerate() {
        record.offset_delta = n as i32;
        batch::put_record(&mut plain, record);
    }
    header.attributes = header.attributes & 0x38 | target as i16;
    header.write(&codec::store(target, &plain))
}
