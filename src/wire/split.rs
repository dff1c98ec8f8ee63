//! One partition's record bytes, as a fetch brought them, cut into whole batches.
//!
//! It never copies or checks a record, and half a batch at the tail is not an error: a fetch
//! answer is a slice of the log and may end anywhere.

use bytes::Buf;
use bytes::Bytes;

use crate::ids::Offset;
use crate::wire::batch::BatchView;
use crate::wire::batch::PREFIX_BYTES;
use crate::wire::batch::at;
use crate::wire::error::WireError;

/// The shortest message of magic 0 behind its prefix: crc, magic, attributes, two lengths
/// (`org.apache.kafka.common.record.LegacyRecord`).
const OLD_MESSAGE_BYTES_MIN: usize = 14;
/// Where its attributes stand, and which of their bits name a codec.
const OLD_ATTRIBUTES: usize = 17;
const OLD_CODEC_MASK: u8 = 0x07;

/// One whole thing that a log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A batch of magic 2.
    Batch(BatchView),
    /// A message of magic 0 or 1 (Kafka before 0.11), itself perhaps a compressed set.
    OldFormat {
        /// What stands in its offset field; of a compressed set the *last* offset.
        offset: Offset,
        /// 0 or 1.
        magic: i8,
        /// The whole message, its offset and size fields included, sharing memory.
        bytes: Bytes,
    },
}

impl Piece {
    /// The whole piece, in bytes.
    pub fn bytes_count(&self) -> usize {
        match self {
            Piece::Batch(batch) => batch.len(),
            Piece::OldFormat { bytes, .. } => bytes.len(),
        }
    }

    /// Whether its records are compressed, by its header.
    pub fn is_packed(&self) -> bool {
        match self {
            Piece::Batch(batch) => batch.attributes().codec() != 0,
            Piece::OldFormat { bytes, .. } => {
                bytes.get(OLD_ATTRIBUTES).is_none_or(|bits| bits & OLD_CODEC_MASK != 0)
            }
        }
    }
}

/// The half batch at the end of an answer.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct CutTail {
    /// How many of its bytes came.
    pub have: usize,
    /// How many bytes the whole batch has; one prefix where not even the length came.
    /// The peer's word, up to 2 GiB: bound it before asking for as much.
    pub need: usize,
}

/// Takes the pieces off the front of record bytes; ends at the first malformed one.
#[derive(Clone, Debug)]
pub struct Split {
    left: Bytes,
    cut: Option<CutTail>,
}

/// Cuts `records` into pieces that share its memory.
pub fn split(records: Bytes) -> Split {
    Split { left: records, cut: None }
}

impl Split {
    /// The cut-off tail, known once the iterator has ended.
    pub fn cut(&self) -> Option<CutTail> {
        self.cut
    }

    fn end_cut(&mut self, need: usize) {
        self.cut = Some(CutTail { have: self.left.len(), need });
        self.left.clear();
    }

    fn take(&mut self) -> Result<Option<Piece>, WireError> {
        let have = self.left.len();
        if have < PREFIX_BYTES {
            self.end_cut(PREFIX_BYTES);
            return Ok(None);
        }
        let length = (&self.left[at::LENGTH..]).get_i32();
        let bad_length = WireError::BadValue { what: "batch length", value: i64::from(length) };
        let behind = usize::try_from(length).map_err(|_| bad_length.clone())?;
        if behind < OLD_MESSAGE_BYTES_MIN {
            return Err(bad_length);
        }
        let need = PREFIX_BYTES + behind;
        if have < need {
            self.end_cut(need);
            return Ok(None);
        }
        let magic = self.left[at::MAGIC] as i8;
        let piece = self.left.split_to(need);
        match magic {
            2 => BatchView::new(piece).map(|batch| Some(Piece::Batch(batch))),
            0 | 1 => old_format(piece, magic).map(Some),
            _ => Err(WireError::BadValue { what: "batch magic", value: i64::from(magic) }),
        }
    }
}

impl Iterator for Split {
    type Item = Result<Piece, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left.is_empty() {
            return None;
        }
        let taken = self.take();
        if taken.is_err() {
            self.left.clear();
        }
        taken.transpose()
    }
}

fn old_format(piece: Bytes, magic: i8) -> Result<Piece, WireError> {
    let raw = (&piece[at::BASE_OFFSET..]).get_i64();
    let bad = WireError::BadValue { what: "message offset", value: raw };
    Ok(Piece::OldFormat { offset: Offset::new(raw).ok_or(bad)?, magic, bytes: piece })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::batch::HEADER_BYTES;
    use bytes::BufMut;

    fn batch(base: i64, magic: u8, records_len: usize) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_i64(base);
        out.put_i32((HEADER_BYTES - PREFIX_BYTES + records_len) as i32);
        out.resize(HEADER_BYTES + records_len, 0);
        out[at::MAGIC] = magic;
        out
    }

    fn offsets(bytes: Vec<u8>) -> (Vec<Result<i64, ()>>, Option<CutTail>) {
        let mut split = split(bytes.into());
        let mut seen = Vec::new();
        for piece in &mut split {
            seen.push(piece.map_err(|_| ()).map(|piece| match piece {
                Piece::Batch(batch) => batch.base_offset().get(),
                Piece::OldFormat { offset, .. } => offset.get(),
            }));
        }
        assert!(split.next().is_none(), "an ended split stays ended");
        (seen, split.cut())
    }

    #[test]
    fn whole_batches_come_in_order_and_share_the_memory() {
        let bytes = Bytes::from([batch(5, 2, 10), batch(6, 2, 0), batch(9, 1, 3)].concat());
        let pieces: Vec<_> = split(bytes.clone()).map(Result::unwrap).collect();
        let Piece::Batch(first) = &pieces[0] else { panic!("{pieces:?}") };
        assert_eq!(first.header().as_ptr(), bytes.as_ptr());
        assert_eq!(pieces.iter().map(Piece::bytes_count).sum::<usize>(), bytes.len());
        let old = bytes.slice(pieces[0].bytes_count() + pieces[1].bytes_count()..);
        let offset = Offset::new(9).unwrap();
        assert_eq!(pieces[2], Piece::OldFormat { offset, magic: 1, bytes: old });
        assert_eq!(offsets(Vec::new()), (vec![], None));
    }

    #[test]
    fn a_tail_cut_anywhere_is_told_and_is_no_error() {
        let first = batch(5, 2, 10);
        let second = batch(6, 2, 100);
        for have in 1..second.len() {
            let bytes = [&first[..], &second[..have]].concat();
            let need = if have < PREFIX_BYTES { PREFIX_BYTES } else { second.len() };
            assert_eq!(offsets(bytes), (vec![Ok(5)], Some(CutTail { have, need })), "{have}");
        }
    }

    #[test]
    fn a_malformed_batch_is_one_error_and_the_end() {
        let check = |what: &str, change: fn(&mut Vec<u8>)| {
            let mut bad = batch(6, 2, 0);
            change(&mut bad);
            let bytes = [batch(5, 2, 0), bad, batch(7, 2, 0)].concat();
            assert_eq!(offsets(bytes), (vec![Ok(5), Err(())], None), "{what}");
        };
        check("shorter than any message", |bad| {
            bad[at::LENGTH..at::LEADER_EPOCH].copy_from_slice(&13i32.to_be_bytes());
            bad[at::MAGIC] = 0;
        });
        check("ends before its magic", |bad| {
            bad[at::LENGTH..at::LEADER_EPOCH].copy_from_slice(&4i32.to_be_bytes());
            bad.truncate(at::MAGIC);
        });
        check("negative length", |bad| bad[at::LENGTH] = 0xff);
        check("length zero", |bad| bad[at::LENGTH..at::LEADER_EPOCH].fill(0));
        check("shorter than a header", |bad| bad[at::LEADER_EPOCH - 1] -= 1);
        check("magic 3", |bad| bad[at::MAGIC] = 3);
        check("negative magic", |bad| bad[at::MAGIC] = 0xff);
        check("negative offset", |bad| bad[at::BASE_OFFSET] = 0xff);
        check("negative offset, old format", |bad| {
            bad[at::BASE_OFFSET] = 0xff;
            bad[at::MAGIC] = 0;
        });
        check("negative delta", |bad| bad[at::LAST_OFFSET_DELTA] = 0x80);
    }
}
