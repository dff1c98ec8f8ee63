//! The seal: the one batch with which a mirror partition ends for good, by a promote or a failover.
//!
//! It never decides that a partition is to be sealed and never sends anything.
//!
//! A seal occupies one offset, is not seen by readers, and has a later epoch than everything else
//! of its writer: once it stands, the broker refuses what is still on its way (`docs/OFFSETS.md`).

use bytes::Bytes;

use crate::ids::Offset;
use crate::ids::ProducerId;
use crate::ids::TimestampMs;
use crate::wire::batch::BatchView;
use crate::wire::codec::Codec;
use crate::wire::filler::COMPACTED_END;
use crate::wire::filler::Kind;
use crate::wire::filler::filler;
use crate::wire::filler::repeat::repeat;
use crate::wire::record::NewRecord;
use crate::wire::reframe::Bounds;
use crate::wire::reframe::unpack::Unpacked;
use crate::wire::rewrite::SEAL_EPOCH;
use crate::wire::rewrite::WRITER_ID_MIN;

/// The most bytes of a seal that is a repeat.
const BYTES_MAX: usize = 1 << 20;
/// The key of a seal that repeats nothing: a compacted topic takes no record without a key.
const KEY: &[u8] = b"isolog.seal";

/// A record of the destination, to be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Vec<(Bytes, Option<Bytes>)>,
}

impl Record {
    /// The last record of a batch that readers see; `None` where it has none, or cannot be read.
    pub fn last_of(batch: &BatchView, bounds: &Bounds) -> Option<Record> {
        let unpacked = Unpacked::of_batch(batch, bounds).ok()?;
        let entries = unpacked.entries().ok()?.map_while(Result::ok);
        let last = entries.filter(|entry| entry.offset.is_some()).last()?.record;
        let own = Bytes::copy_from_slice;
        let headers = last.headers.iter().map(|(name, value)| (own(name), value.map(own)));
        Some(Record {
            key: last.key.map(own),
            value: last.value.map(own),
            headers: headers.collect(),
        })
    }
}

/// What a batch of the destination is to a mirror partition with that writer.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Mirrored, or a filler, at the offset that it was sent for.
    Mirrored,
    /// The seal.
    Seal,
    /// Somebody else's, or one of ours that stands where it must not.
    Foreign,
}

/// Whose batch that is.
pub fn whose(batch: &BatchView, writer: ProducerId) -> Whose {
    if batch.producer_id() != writer {
        return Whose::Foreign;
    }
    if batch.producer_epoch() >= SEAL_EPOCH {
        return Whose::Seal;
    }
    let is_in_place = batch.base_sequence() == batch.base_offset().sequence();
    if is_in_place { Whose::Mirrored } else { Whose::Foreign }
}

/// Whether it is a seal, whichever link has written it.
pub fn is_seal(batch: &BatchView) -> bool {
    let is_ours = batch.producer_id().0 >= WRITER_ID_MIN;
    is_ours && batch.producer_epoch() >= SEAL_EPOCH && batch.base_sequence() == 0
}

/// The time of a seal. A broker forgets a writer when its last batch is older than
/// `expiration_ms`, and then takes what comes late: so never older than half of that, and never
/// older than the data before it. Where the bound is not told, it is dated now.
pub fn time(before: TimestampMs, now: TimestampMs, expiration_ms: Option<i64>) -> TimestampMs {
    let young = now.0.saturating_sub(expiration_ms.map_or(0, |ms| ms.max(0) / 2));
    TimestampMs(before.0.max(young))
}

/// What a topic does with batches, by its configs; `None` where they are not told.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Configs {
    /// `cleanup.policy` contains `compact`, or will.
    pub is_compacted: Option<bool>,
    /// `compression.type` leaves batches alone, without which hidden records would be seen.
    pub leaves_batches: Option<bool>,
}

/// The seal of a partition that ends at `end`, of one offset. Where the topic takes no hidden
/// filler it is a repeat of `last`, the log's last record, or a record that names isolog.
pub fn batch(
    end: Offset,
    time: TimestampMs,
    configs: Configs,
    last: Option<&Record>,
) -> Option<BatchView> {
    let is_plain = configs.is_compacted == Some(false);
    let is_hidden = configs.leaves_batches != Some(false) && (is_plain || end < COMPACTED_END);
    match (is_hidden, configs.is_compacted) {
        (true, Some(false)) => Some(filler(Kind::Hidden, end, 1, time)),
        // an empty key is taken whatever the policy is
        (true, _) => Some(filler(Kind::HiddenKeyed, end, 1, time)),
        (false, Some(false)) => Some(filler(Kind::Visible, end, 1, time)),
        (false, _) => {
            let headers = last.into_iter().flat_map(|record| &record.headers);
            let record = NewRecord {
                timestamp_ms: time.0,
                key: Some(last.and_then(|record| record.key.as_deref()).unwrap_or(KEY)),
                value: last.and_then(|record| record.value.as_deref()),
                headers: headers.map(|(name, value)| (&name[..], value.as_deref())).collect(),
            };
            repeat(&record, end, 1, Codec::Zstd, BYTES_MAX).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::filler::kind_of;
    use crate::wire::record::plain_batch;
    use crate::wire::rewrite::Writer;
    use crate::wire::rewrite::rewrite;
    use crate::wire::rewrite::seal;

    const HOUR_MS: i64 = 3_600_000;
    const WRITER: ProducerId = ProducerId((1 << 62) + 7);

    fn at(raw: i64) -> Offset {
        Offset::new(raw).unwrap()
    }

    fn takes(is_compacted: Option<bool>, leaves_batches: Option<bool>) -> Configs {
        Configs { is_compacted, leaves_batches }
    }

    #[test]
    fn a_seal_is_young_enough_to_be_remembered_and_never_older_than_its_data() {
        let now = TimestampMs(1_000 * HOUR_MS);
        let old = TimestampMs(now.0 - 48 * HOUR_MS);
        let day = Some(24 * HOUR_MS);
        assert_eq!(time(old, now, day).0, now.0 - 12 * HOUR_MS);
        assert_eq!(time(TimestampMs(-1), now, day).0, now.0 - 12 * HOUR_MS);
        assert_eq!(time(TimestampMs(now.0 - HOUR_MS), now, day).0, now.0 - HOUR_MS);
        assert_eq!(time(TimestampMs(now.0 + HOUR_MS), now, day).0, now.0 + HOUR_MS);
        assert_eq!(time(old, now, Some(1_000)).0, now.0 - 500);
        assert_eq!(time(old, now, None), now, "a bound that is not told may be short");
        assert_eq!(time(old, TimestampMs(i64::MIN), Some(i64::MAX)), old);
    }

    #[test]
    fn each_topic_gets_the_seal_that_it_takes() {
        let check = |end: i64, configs: Configs, want: Option<Kind>| {
            let batch = batch(at(end), TimestampMs(9), configs, None).unwrap();
            assert_eq!(kind_of(&batch), want, "{end} {configs:?}");
            assert_eq!((batch.base_offset(), batch.span()), (at(end), 1));
            assert_eq!((batch.count(), batch.max_timestamp().0), (1, 9));
        };
        let (below, above) = (COMPACTED_END.get() - 1, COMPACTED_END.get());
        check(0, takes(Some(false), Some(true)), Some(Kind::Hidden));
        check(above, takes(Some(false), Some(true)), Some(Kind::Hidden));
        check(below, takes(Some(true), Some(true)), Some(Kind::HiddenKeyed));
        check(below, takes(None, None), Some(Kind::HiddenKeyed));
        check(above, takes(Some(true), Some(true)), None);
        check(above, takes(None, None), None);
        // a codec of the topic's own would show a hidden one
        check(5, takes(Some(false), Some(false)), Some(Kind::Visible));
        check(5, takes(Some(true), Some(false)), None);
    }

    #[test]
    fn far_out_a_compacted_topic_gets_its_last_record_again() {
        let records = ["a", "b"].map(|key| NewRecord {
            timestamp_ms: 5,
            key: Some(key.as_bytes()),
            value: Some(b"v"),
            headers: vec![(b"h", None)],
        });
        let none = Writer { id: ProducerId(-1), epoch: -1 };
        let log = plain_batch(none, -1, records.to_vec()).unwrap();
        let last = Record::last_of(&log, &Bounds::default()).unwrap();
        let sealed = |last| batch(COMPACTED_END, TimestampMs(70), takes(Some(true), None), last);
        let again = sealed(Some(&last)).unwrap();
        let unpacked = Unpacked::of_batch(&again, &Bounds::default()).unwrap();
        let record = unpacked.entries().unwrap().next().unwrap().unwrap().record;
        assert_eq!(record, NewRecord { timestamp_ms: 70, ..records[1].clone() });
        // nothing to repeat
        let alone = sealed(None).unwrap();
        let unpacked = Unpacked::of_batch(&alone, &Bounds::default()).unwrap();
        let record = unpacked.entries().unwrap().next().unwrap().unwrap().record;
        assert_eq!((record.key, record.value), (Some(KEY), None));
        let hidden = filler(Kind::Hidden, at(3), 2, TimestampMs(1));
        assert_eq!(Record::last_of(&hidden, &Bounds::default()), None);
    }

    #[test]
    fn a_batch_tells_whose_it_is() {
        let plain = filler(Kind::Hidden, at(40), 1, TimestampMs(1));
        let stored = |sent: crate::wire::rewrite::Sendable, base: i64| {
            let mut bytes = [&sent.header[..], &sent.records].concat();
            bytes[..8].copy_from_slice(&base.to_be_bytes());
            BatchView::new(bytes.into()).unwrap()
        };
        let ours = |id, base| stored(rewrite(&plain, Writer { id, epoch: 0 }), base);
        assert_eq!(whose(&ours(WRITER, 40), WRITER), Whose::Mirrored);
        assert_eq!(whose(&ours(WRITER, 41), WRITER), Whose::Foreign, "it landed late");
        assert_eq!(whose(&ours(ProducerId(5), 40), WRITER), Whose::Foreign);
        let sealed = stored(seal(&plain, WRITER), 40);
        assert_eq!(whose(&sealed, WRITER), Whose::Seal);
        assert_eq!(whose(&sealed, ProducerId(WRITER.0 + 1)), Whose::Foreign);
        assert!(is_seal(&sealed) && !is_seal(&ours(WRITER, 40)));
        assert!(!is_seal(&stored(seal(&plain, ProducerId(5)), 40)), "a producer's own epoch 1");
    }
}
