//! What lies in the log as `control::journal` takes it: rows, and the stamp in their headers.
//!
//! It never drops a batch: also one without rows moves the end.

use crate::cluster::keyed::batch::LogBatch;
use crate::cluster::keyed::batch::LogRecord;
use crate::control::journal::Stamp;
use crate::control::journal::TailBatch;
use crate::control::journal::TailRecord;
use crate::flow::producer_id;
use crate::ids::Offset;
use crate::ids::TopicId;

/// The batch, as all instances fold it.
pub(super) fn tail_batch(batch: LogBatch) -> TailBatch {
    let records = batch.records.into_iter().map(tail_record);
    TailBatch { base: batch.base, next: batch.next, records: records.collect() }
}

/// A key that is no text is nobody's. A value that is none stays one: whoever reads the row says
/// that it cannot.
fn tail_record(record: LogRecord) -> TailRecord {
    let headers = record.headers.iter().filter_map(|(name, value)| {
        Some((std::str::from_utf8(name).ok()?, value.as_deref().unwrap_or_default()))
    });
    TailRecord {
        stamp: Stamp::parse(headers),
        key: record.key.and_then(|key| String::from_utf8(key).ok()),
        value: record.value.map(|value| String::from_utf8_lossy(&value).into_owned()),
    }
}

/// Where the chain of sequences begins to which a batch belongs, if it is one of ours.
pub(super) fn chain(topic: TopicId, batch: &LogBatch) -> Option<Offset> {
    let (id, sequence) = batch.written?;
    let start = Offset::new(batch.base.get() - i64::from(sequence))?;
    (producer_id::of_journal(topic, start).id == id).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::journal::Applied;
    use crate::control::journal::Fold;
    use crate::control::journal::WriterTag;
    use crate::ids::LeaderEpoch;

    const TOPIC: TopicId = TopicId([3; 16]);

    fn offset(raw: i64) -> Offset {
        Offset::new(raw).unwrap()
    }

    fn record(key: &[u8], value: Option<&[u8]>, headers: &[(&str, &str)]) -> LogRecord {
        let headers = headers.iter();
        LogRecord {
            key: Some(key.to_vec()),
            value: value.map(<[u8]>::to_vec),
            headers: headers
                .map(|(k, v)| (k.as_bytes().to_vec(), Some(v.as_bytes().to_vec())))
                .collect(),
        }
    }

    fn batch(base: i64, records: Vec<LogRecord>) -> LogBatch {
        let next = offset(base + records.len().max(1) as i64);
        let epoch = LeaderEpoch(0);
        LogBatch { base: offset(base), next, written: None, epoch, records }
    }

    #[test]
    fn stamped_rows_count_and_others_are_skipped() {
        let stamp = Stamp { at: offset(4), writer: WriterTag(9), number: 2 };
        let headers = stamp.headers();
        let headers: Vec<_> = headers.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let mut fold = Fold::default();
        let rows = vec![record(b"link/a", Some(b"{}"), &headers)];
        let read = tail_batch(batch(4, rows.clone()));
        assert_eq!(fold.apply(read), Applied::Counted(stamp, vec!["link/a".into()]));
        // the same batch where it was not decided
        assert_eq!(fold.apply(tail_batch(batch(5, rows))), Applied::Skipped);
        // without one of the headers, and with what is no text
        let cut = vec![record(b"link/a", None, &headers[..2])];
        assert_eq!(fold.apply(tail_batch(batch(6, cut))), Applied::Skipped);
        let mut odd = record(b"link/a", None, &headers);
        odd.headers.push((b"\xff".to_vec(), None));
        odd.headers.push((b"isolog.number".to_vec(), None));
        assert_eq!(tail_batch(batch(7, vec![odd])).records[0].stamp, None);
        assert_eq!(fold.get("link/a"), Some("{}"));
    }

    #[test]
    fn a_batch_without_rows_moves_the_end_and_no_text_is_lost_silently() {
        let mut fold = Fold::default();
        fold.apply(tail_batch(LogBatch::hole(offset(0), offset(40))));
        assert_eq!(fold.end(), offset(40));
        let odd = tail_batch(batch(40, vec![record(b"\xff", Some(b"\xff"), &[])]));
        assert_eq!(odd.records[0].key, None);
        assert_eq!(odd.records[0].value.as_deref(), Some("\u{fffd}"));
    }

    #[test]
    fn the_chain_is_known_by_the_writers_id() {
        let start = offset(100);
        let id = producer_id::of_journal(TOPIC, start).id;
        let of = |id, sequence| {
            chain(TOPIC, &LogBatch { written: Some((id, sequence)), ..batch(107, vec![]) })
        };
        assert_eq!(of(id, 7), Some(start));
        assert_eq!(of(id, 6), None, "its sequence is not its place");
        assert_eq!(of(crate::ids::ProducerId(7), 7), None);
        assert_eq!(of(id, i32::MAX), None);
        assert_eq!(chain(TOPIC, &batch(107, vec![])), None);
        assert_eq!(
            chain(TopicId([4; 16]), &LogBatch { written: Some((id, 7)), ..batch(107, vec![]) }),
            None
        );
    }
}
