//! The journal as all instances fold it: its batches in `control`'s words, and its rows read once
//! by who only looks.
//!
//! It never follows the journal and never writes into it.

use crate::cluster::error::ClusterError;
use crate::cluster::keyed::KeyedLog;
use crate::cluster::keyed::batch::LogBatch;
use crate::cluster::keyed::batch::LogRecord;
use crate::control::journal::Fold;
use crate::control::journal::Stamp;
use crate::control::journal::TailBatch;
use crate::control::journal::TailRecord;

/// The rows that count, of the keys that are wanted; of others nothing is kept. What people or
/// strangers wrote is passed over as by every isolog.
pub async fn read(log: &KeyedLog, is_wanted: impl Fn(&str) -> bool) -> Result<Fold, ClusterError> {
    let mut fold = Fold::default();
    log.read(|batch| {
        let mut batch = tail_batch(batch);
        // a batch counts by all of its stamps
        for record in &mut batch.records {
            record.key = record.key.take().filter(|key| is_wanted(key));
        }
        fold.apply(batch);
    })
    .await?;
    Ok(fold)
}

/// The batch, as all instances fold it.
pub fn tail_batch(batch: LogBatch) -> TailBatch {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::journal::Applied;
    use crate::control::journal::Fold;
    use crate::control::journal::WriterTag;
    use crate::ids::LeaderEpoch;
    use crate::ids::Offset;

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
}
