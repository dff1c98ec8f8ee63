//! One batch of a log that is read record by record, whatever its format and codec; and one of rows
//! to be appended.
//!
//! It never panics at what strangers wrote, and never takes more memory than its bound.

use crate::ids::LeaderEpoch;
use crate::ids::Offset;
use crate::ids::ProducerId;
use crate::ids::TimestampMs;
use crate::ids::TopicName;
use crate::wire::batch::Attributes;
use crate::wire::batch::BatchView;
use crate::wire::crc;
use crate::wire::record::NewRecord;
use crate::wire::record::plain_batch;
use crate::wire::reframe::Bounds;
use crate::wire::reframe::ReframeError;
use crate::wire::reframe::unpack::Unpacked;
use crate::wire::rewrite::Writer;
use crate::wire::split::Piece;

/// What one batch may be unpacked, in bytes: a bomb ends here.
const UNPACKED_BYTES_MAX: usize = 64 << 20;

/// A batch, as it lies in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogBatch {
    /// Its base offset; of a message of an old format, the last one that it holds.
    pub base: Offset,
    /// The offset behind it.
    pub next: Offset,
    /// Under which producer id and sequence its first record was written; `None` for neither.
    pub written: Option<(ProducerId, i32)>,
    /// The leader epoch that appended it.
    pub epoch: LeaderEpoch,
    /// What a cleaner left of its records; none where it is no batch of records.
    pub records: Vec<LogRecord>,
}

/// A record, copied out of its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// `None` is null.
    pub key: Option<Vec<u8>>,
    /// `None` is null.
    pub value: Option<Vec<u8>>,
    /// Names and values, in order.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl LogBatch {
    /// Offsets of which the log holds nothing any more.
    pub fn hole(base: Offset, next: Offset) -> LogBatch {
        LogBatch { base, next, written: None, epoch: LeaderEpoch::NONE, records: Vec::new() }
    }

    /// What stands in the headers, without the records.
    pub fn head(piece: &Piece) -> LogBatch {
        match piece {
            Piece::Batch(batch) => LogBatch {
                base: batch.base_offset(),
                next: batch.next_offset(),
                written: written(batch),
                epoch: batch.leader_epoch(),
                records: Vec::new(),
            },
            Piece::OldFormat { offset, .. } => {
                LogBatch::hole(*offset, offset.plus(1).unwrap_or(*offset))
            }
        }
    }

    /// Checks, unpacks and copies what the piece holds.
    pub fn open(piece: &Piece) -> Result<LogBatch, ReframeError> {
        let head = LogBatch::head(piece);
        if let Piece::Batch(batch) = piece {
            crc::check(batch)?;
            let is_empty = batch.count() == 0 && batch.section().is_empty();
            if batch.attributes().has(Attributes::CONTROL) || is_empty {
                return Ok(head);
            }
        }
        let bounds = Bounds {
            unpacked_bytes_max: UNPACKED_BYTES_MAX,
            held_bytes_max: UNPACKED_BYTES_MAX,
            batch_bytes_max: None,
        };
        let unpacked = Unpacked::of(piece, &bounds)?;
        let records: Result<_, ReframeError> =
            unpacked.entries()?.map(|entry| Ok(copied(&entry?.record))).collect();
        Ok(LogBatch { records: records?, ..head })
    }
}

/// What all readers of a log make of a piece: records that cannot be read though their checksum is
/// right are passed over, and said to be; damaged bytes are the error.
pub fn passed_over(piece: &Piece, topic: &TopicName) -> Result<LogBatch, ReframeError> {
    match LogBatch::open(piece) {
        Err(error) if !matches!(error, ReframeError::BadCrc(_) | ReframeError::OldCrc { .. }) => {
            let head = LogBatch::head(piece);
            tracing::warn!(
                %topic, offset = %head.base, %error,
                "a batch cannot be read, though its checksum is right: its records are passed over \
                 by every reader"
            );
            Ok(head)
        }
        read => read,
    }
}

/// A batch of rows that all have the same headers, under a writer's name and sequence; `None` for
/// no rows. The caller sees to it that it is below 2 GiB.
pub fn stamped(
    (writer, sequence): (Writer, i32),
    now: TimestampMs,
    rows: &[(String, Option<String>)],
    headers: &[(&str, String)],
) -> Option<BatchView> {
    let headers = headers.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
    let headers: Vec<_> = headers.collect();
    let records = rows.iter().map(|(key, value)| NewRecord {
        timestamp_ms: now.0,
        key: Some(key.as_bytes()),
        value: value.as_ref().map(String::as_bytes),
        headers: headers.clone(),
    });
    plain_batch(writer, sequence, records.collect())
}

fn written(batch: &BatchView) -> Option<(ProducerId, i32)> {
    let (id, sequence) = (batch.producer_id(), batch.base_sequence());
    (id.0 >= 0 && sequence >= 0).then_some((id, sequence))
}

fn copied(record: &NewRecord<'_>) -> LogRecord {
    let headers = record.headers.iter();
    LogRecord {
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers: headers.map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::batch::at;
    use crate::wire::codec;
    use crate::wire::codec::Codec;
    use crate::wire::record::BatchHead;
    use crate::wire::record::NO_SEQUENCE;
    use crate::wire::record::NO_WRITER;
    use bytes::Bytes;

    fn records() -> Vec<NewRecord<'static>> {
        let headers = vec![(&b"isolog.at"[..], Some(&b"7"[..])), (b"empty", None)];
        vec![
            NewRecord { timestamp_ms: 1, key: Some(b"k"), value: Some(b"v"), headers },
            NewRecord { timestamp_ms: 1, key: Some(b"k"), value: None, ..NewRecord::default() },
        ]
    }

    fn plain(writer: Writer, sequence: i32) -> BatchView {
        plain_batch(writer, sequence, records()).unwrap()
    }

    /// The same batch at another offset, in a codec, with other bits.
    fn made(codec: Codec, base: i64, bits: i16, count: i32) -> Piece {
        let batch = plain(NO_WRITER, NO_SEQUENCE);
        let section: Bytes = codec::compress(codec, batch.section().to_vec()).unwrap().into();
        let head = BatchHead {
            base_offset: Offset::new(base).unwrap(),
            leader_epoch: LeaderEpoch(3),
            attributes: Attributes(i16::from(codec.number()) | bits),
            last_offset_delta: 4,
            base_timestamp: TimestampMs(1),
            max_timestamp: TimestampMs(1),
            writer: NO_WRITER,
            base_sequence: NO_SEQUENCE,
            count,
        };
        let section = if count == 0 { Bytes::new() } else { section };
        let header = head.header(&section).to_vec();
        Piece::Batch(BatchView::from_parts(header.into(), section).unwrap())
    }

    #[test]
    fn records_come_out_of_every_codec_with_their_headers() {
        for codec in Codec::ALL {
            let read = LogBatch::open(&made(codec, 40, 0, 2)).unwrap();
            assert_eq!((read.base.get(), read.next.get(), read.epoch), (40, 45, LeaderEpoch(3)));
            assert_eq!(read.written, None);
            let headers =
                vec![(b"isolog.at".to_vec(), Some(b"7".to_vec())), (b"empty".to_vec(), None)];
            let first = LogRecord { key: Some(b"k".to_vec()), value: Some(b"v".to_vec()), headers };
            assert_eq!(read.records[0], first, "{codec}");
            assert_eq!(read.records[1].value, None, "{codec}");
        }
    }

    #[test]
    fn what_holds_no_record_still_has_its_place() {
        for (bits, count) in [(Attributes::CONTROL, 2), (0, 0)] {
            for codec in Codec::ALL {
                let read = LogBatch::open(&made(codec, 40, bits, count)).unwrap();
                assert_eq!((read.next.get(), read.records.len()), (45, 0), "{codec}");
            }
        }
    }

    #[test]
    fn a_message_of_an_old_format_has_its_records_and_no_headers() {
        let mut message = Vec::new();
        message.extend(7i64.to_be_bytes());
        let mut body = vec![1, 0]; // magic, attributes
        body.extend(5i64.to_be_bytes());
        for part in [b"k", b"v"] {
            body.extend(1i32.to_be_bytes());
            body.extend(part);
        }
        message.extend((body.len() as i32 + 4).to_be_bytes());
        message.extend(flate_crc(&body).to_be_bytes());
        message.extend(&body);
        let offset = Offset::new(7).unwrap();
        let piece = Piece::OldFormat { offset, magic: 1, bytes: message.into() };
        let read = LogBatch::open(&piece).unwrap();
        assert_eq!((read.base.get(), read.next.get()), (7, 8));
        assert_eq!(read.records[0].key.as_deref(), Some(&b"k"[..]));
        assert!(read.records[0].headers.is_empty());
    }

    /// CRC-32 as the old formats have it.
    fn flate_crc(bytes: &[u8]) -> u32 {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum()
    }

    #[test]
    fn the_writer_and_its_sequence_are_read() {
        let writer = Writer { id: ProducerId(1 << 62), epoch: 0 };
        let read = LogBatch::open(&Piece::Batch(plain(writer, 12))).unwrap();
        assert_eq!(read.written, Some((writer.id, 12)));
    }

    #[test]
    fn rows_are_stamped_each_alike() {
        let rows = [("a".to_owned(), Some("1".to_owned())), ("b".to_owned(), None)];
        let writer = Writer { id: ProducerId(1 << 62), epoch: 0 };
        let headers = [("isolog.at", "7".to_owned())];
        let batch = stamped((writer, 5), TimestampMs(9), &rows, &headers).unwrap();
        let read = LogBatch::open(&Piece::Batch(batch)).unwrap();
        assert_eq!(read.written, Some((writer.id, 5)));
        let stamp = vec![(b"isolog.at".to_vec(), Some(b"7".to_vec()))];
        for (record, (key, value)) in read.records.iter().zip(&rows) {
            assert_eq!(record.key.as_deref(), Some(key.as_bytes()));
            assert_eq!(record.value.as_deref(), value.as_ref().map(String::as_bytes));
            assert_eq!(record.headers, stamp);
        }
        assert_eq!(stamped((writer, 5), TimestampMs(9), &[], &headers), None);
    }

    #[test]
    fn damage_is_told_and_never_panics() {
        let whole = plain(NO_WRITER, NO_SEQUENCE).to_bytes().to_vec();
        for place in at::LEADER_EPOCH + 4..whole.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut broken = whole.clone();
                if broken[place] == byte {
                    continue;
                }
                broken[place] = byte;
                let Ok(batch) = BatchView::new(broken.into()) else { continue };
                let opened = LogBatch::open(&Piece::Batch(batch));
                assert!(opened.is_err(), "byte {place} as {byte}");
            }
        }
    }
}
