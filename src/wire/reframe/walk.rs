//! A walk over an unpacked records section that comes in pieces.
//!
//! It never holds a record: of each it reads the numbers, and passes on the bytes behind them.

use crate::wire::error::WireError;
use crate::wire::reframe::ReframeError;

type Result<T> = std::result::Result<T, ReframeError>;

/// Who is told of the records.
pub(super) trait Take {
    /// A record begins; `tail_bytes` of key, value and headers follow.
    fn begin(&mut self, offset_delta: i32, timestamp_delta: i64, tail_bytes: usize) -> Result<()>;

    /// More of the record's tail, as it stands there.
    fn tail(&mut self, bytes: &[u8]) -> Result<()>;
}

/// Which number comes next, behind the text before it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Field {
    Length,
    Attributes,
    Time,
    Delta,
    Key,
    Value,
    HeaderCount,
    HeaderName,
    HeaderValue,
    End,
}

impl Field {
    fn name(self) -> &'static str {
        match self {
            Field::Length => "record length",
            Field::Attributes => "record attributes",
            Field::Time => "timestamp delta",
            Field::Delta => "offset delta",
            Field::Key => "key",
            Field::Value => "value",
            Field::HeaderCount => "header count",
            Field::HeaderName => "header name",
            Field::HeaderValue => "header value",
            Field::End => "a record",
        }
    }

    fn is_tail(self) -> bool {
        !matches!(self, Field::Length | Field::Attributes | Field::Time | Field::Delta)
    }
}

/// Where in the section the walk is.
pub(super) struct Walk {
    records_left: u32,
    field: Field,
    /// Bytes of key, value or name before the field.
    text_left: usize,
    /// Bytes of the record, from here on.
    record_left: usize,
    headers_left: usize,
    timestamp_delta: i64,
    /// A number that is being read: its bits so far.
    number: u64,
    shift: u32,
}

impl Walk {
    /// At the first byte of a section of `count` records.
    pub fn new(count: u32) -> Walk {
        Walk {
            records_left: count,
            field: Field::Length,
            text_left: 0,
            record_left: 0,
            headers_left: 0,
            timestamp_delta: 0,
            number: 0,
            shift: 0,
        }
    }

    /// The next bytes of the section.
    pub fn push(&mut self, mut bytes: &[u8], to: &mut impl Take) -> Result<()> {
        while let Some(first) = bytes.first() {
            let used = if self.field.is_tail() {
                let used = self.tail(bytes)?;
                to.tail(&bytes[..used])?;
                used
            } else {
                self.head(*first, to)?;
                1
            };
            bytes = &bytes[used..];
        }
        Ok(())
    }

    /// The section ends here.
    pub fn finish(&self) -> Result<()> {
        if self.records_left == 0 && self.field == Field::Length && self.shift == 0 {
            return Ok(());
        }
        Err(WireError::Truncated { what: "the records", need: 1, have: 0 }.into())
    }

    /// A byte of what stands before a record's tail.
    fn head(&mut self, byte: u8, to: &mut impl Take) -> Result<()> {
        if self.field != Field::Length {
            self.spend(1)?;
        } else if self.records_left == 0 {
            return Err(WireError::Trailing { what: "the records", bytes: 1 }.into());
        }
        if self.field == Field::Attributes {
            self.field = Field::Time;
            return Ok(());
        }
        let bits = if self.field == Field::Time { 64 } else { 32 };
        let Some(number) = self.number(byte, bits)? else { return Ok(()) };
        match self.field {
            Field::Length => {
                self.record_left = self.size(number)?;
                self.field = Field::Attributes;
            }
            Field::Time => {
                self.timestamp_delta = number;
                self.field = Field::Delta;
            }
            _ => {
                self.field = Field::Key;
                // of 32 bits
                to.begin(number as i32, self.timestamp_delta, self.record_left)?;
            }
        }
        Ok(())
    }

    /// Walks to the record's end or to that of `bytes`; says how many bytes that was.
    fn tail(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut used = 0;
        while self.field.is_tail() && used < bytes.len() {
            if self.text_left > 0 {
                let text = self.text_left.min(bytes.len() - used);
                self.text_left -= text;
                self.record_left -= text;
                used += text;
            } else {
                self.spend(1)?;
                let number = self.number(bytes[used], 32)?;
                used += 1;
                if let Some(number) = number {
                    self.take_number(number)?;
                }
            }
            self.end()?;
        }
        Ok(used)
    }

    fn take_number(&mut self, number: i64) -> Result<()> {
        self.field = match self.field {
            Field::HeaderCount => {
                self.headers_left = self.size(number)?;
                let (value, max) = (number, self.record_left / 2);
                if self.headers_left > max {
                    let max = max as i64;
                    return Err(WireError::TooLarge { what: "header count", value, max }.into());
                }
                if self.headers_left == 0 { Field::End } else { Field::HeaderName }
            }
            Field::HeaderName => {
                self.text(self.size(number)?)?;
                Field::HeaderValue
            }
            field => {
                let length = if number == -1 { 0 } else { self.size(number)? };
                self.text(length)?;
                self.behind(field)
            }
        };
        Ok(())
    }

    fn behind(&mut self, field: Field) -> Field {
        match field {
            Field::Key => Field::Value,
            Field::Value => Field::HeaderCount,
            _ => {
                self.headers_left -= 1;
                if self.headers_left == 0 { Field::End } else { Field::HeaderName }
            }
        }
    }

    fn text(&mut self, length: usize) -> Result<()> {
        let (what, have) = (self.field.name(), self.record_left);
        if length > have {
            return Err(WireError::Truncated { what, need: length, have }.into());
        }
        self.text_left = length;
        Ok(())
    }

    /// Nothing may be left of a record behind its last text.
    fn end(&mut self) -> Result<()> {
        if self.field != Field::End || self.text_left > 0 {
            return Ok(());
        }
        if self.record_left > 0 {
            let bytes = self.record_left;
            return Err(WireError::Trailing { what: "a record", bytes }.into());
        }
        self.records_left -= 1;
        self.field = Field::Length;
        Ok(())
    }

    fn spend(&mut self, bytes: usize) -> Result<()> {
        let (what, have) = (self.field.name(), self.record_left);
        let left = have.checked_sub(bytes);
        self.record_left = left.ok_or(WireError::Truncated { what, need: bytes, have })?;
        Ok(())
    }

    fn size(&self, number: i64) -> Result<usize> {
        let what = self.field.name();
        usize::try_from(number).map_err(|_| WireError::BadValue { what, value: number }.into())
    }

    /// The next byte of a zig-zag varint: seven bits, lowest first.
    fn number(&mut self, byte: u8, bits: u32) -> Result<Option<i64>> {
        let low = u64::from(byte & 0x7f);
        let is_last = byte & 0x80 == 0;
        let too_long = self.shift + 7 >= bits && !is_last;
        if too_long || (self.shift + 7 > bits && low >> (bits - self.shift) != 0) {
            let value = i64::from(byte);
            return Err(WireError::BadValue { what: self.field.name(), value }.into());
        }
        self.number |= low << self.shift;
        self.shift += 7;
        if !is_last {
            return Ok(None);
        }
        let raw = std::mem::take(&mut self.number);
        self.shift = 0;
        Ok(Some((raw >> 1) as i64 ^ -((raw & 1) as i64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::record::RecordView;
    use crate::wire::record::Records;

    #[derive(Default)]
    struct Seen(Vec<(i32, i64, usize, Vec<u8>)>);

    impl Take for Seen {
        fn begin(&mut self, delta: i32, time: i64, tail_bytes: usize) -> Result<()> {
            self.0.push((delta, time, tail_bytes, Vec::new()));
            Ok(())
        }

        fn tail(&mut self, bytes: &[u8]) -> Result<()> {
            self.0.last_mut().expect("a record began").3.extend_from_slice(bytes);
            Ok(())
        }
    }

    fn walk(section: &[u8], count: u32, step: usize) -> Result<Seen> {
        let (mut walk, mut seen) = (Walk::new(count), Seen::default());
        for piece in section.chunks(step) {
            walk.push(piece, &mut seen)?;
        }
        walk.finish()?;
        Ok(seen)
    }

    fn records() -> Vec<RecordView<'static>> {
        let of = |offset_delta, timestamp_delta, key, value, headers| RecordView {
            offset_delta,
            timestamp_delta,
            key,
            value,
            headers,
        };
        vec![
            of(0, 0, None, None, vec![]),
            of(7, i64::MIN, Some(b""), Some(&[7; 300]), vec![(b"", None), (b"name", Some(b"x"))]),
            of(-3, i64::MAX, Some(&[1; 130]), None, vec![(b"h", Some(b""))]),
            of(i32::MAX, -1, None, Some(b"v"), vec![]),
        ]
    }

    fn section(records: &[RecordView<'_>]) -> Vec<u8> {
        let mut section = Vec::new();
        records.iter().for_each(|record| record.put(&mut section));
        section
    }

    #[test]
    fn records_are_told_however_they_are_cut() {
        let records = records();
        let section = section(&records);
        for step in 1..section.len() {
            let seen = walk(&section, 4, step).unwrap().0;
            assert_eq!(seen.len(), records.len());
            for (seen, record) in seen.iter().zip(&records) {
                let mut tail = Vec::new();
                record.put_tail(&mut tail);
                let want = (record.offset_delta, record.timestamp_delta, tail.len(), tail);
                assert_eq!(*seen, want, "step {step}");
            }
        }
    }

    /// What the one takes the other takes, and so what it refuses.
    #[test]
    fn it_agrees_with_the_walk_over_a_whole_section() {
        let good = section(&records());
        let agree = |section: &[u8], count: u32| {
            let whole = Records::new(section, count).and_then(|all| {
                all.collect::<std::result::Result<Vec<_>, _>>().map(|all| all.len())
            });
            for step in [1, 5, 1_000] {
                let seen = walk(section, count, step).map(|seen| seen.0.len());
                assert_eq!(seen.is_ok(), whole.is_ok(), "{section:?} {count}: {seen:?} {whole:?}");
            }
        };
        for count in 0..6 {
            agree(&good, count);
        }
        for len in 0..good.len() {
            agree(&good[..len], 4);
        }
        for place in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[place] ^= 1 << bit;
                agree(&bad, 4);
            }
        }
    }
}
