//! The CRC-32C of a batch: checked, and patched where only the header changes.
//!
//! It never recomputes a CRC that is then sent: a patched CRC is right if and only if the old one
//! was, so a batch that was corrupted on its way is refused by the destination, never laundered.
//!
//! Over messages of one length CRC-32C is affine: with headers `a` and `b` in front of the same
//! records `r`, `crc(a r) ^ crc(b r)` is `crc(a) ^ crc(b)` moved over `r.len()` zero bytes, which
//! is a product with x^(8 len) modulo the polynomial. No record byte is read.

use crate::ids::Offset;
use crate::wire::batch::BatchView;
use crate::wire::batch::HEADER_BYTES;
use crate::wire::batch::at;

/// The header bytes that the CRC covers, from the attributes to the record count.
pub const COVERED_BYTES: usize = HEADER_BYTES - at::ATTRIBUTES;

/// The Castagnoli polynomial, bit reversed: bit 31 stands for x^0.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// x^0.
const ONE: u32 = 1 << 31;

/// x^8: one byte further.
const BYTE: u32 = ONE >> 8;

/// Powers by the digits of a length in base 256; four digits hold any length a batch can have.
const DIGITS: usize = 4;
static POWERS: [[u32; 256]; DIGITS] = powers();

/// A batch whose bytes are not those that its CRC was computed over.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the batch at offset {base_offset} has CRC {computed:#010x}, its header says {header:#010x}"
)]
pub struct BadCrc {
    /// Where the batch begins.
    pub base_offset: Offset,
    /// What the header says.
    pub header: u32,
    /// What the bytes say.
    pub computed: u32,
}

/// Reads the whole batch and compares.
pub fn check(batch: &BatchView) -> Result<(), BadCrc> {
    let head = crc32c::crc32c(&batch.header()[at::ATTRIBUTES..]);
    let computed = crc32c::crc32c_append(head, batch.section());
    let header = batch.crc();
    let bad = BadCrc { base_offset: batch.base_offset(), header, computed };
    if header == computed { Ok(()) } else { Err(bad) }
}

/// The CRC of a batch whose header bytes 21 to 61 change from `old` to `new` and whose records,
/// `records_len` bytes, stay as they are.
pub fn patch(
    crc_old: u32,
    old: &[u8; COVERED_BYTES],
    new: &[u8; COVERED_BYTES],
    records_len: usize,
) -> u32 {
    crc_old ^ shift(crc32c::crc32c(old) ^ crc32c::crc32c(new), records_len)
}

/// `difference` moved over `len` bytes, of which those above 2^32 do not exist in any batch.
fn shift(difference: u32, len: usize) -> u32 {
    let mut moved = difference;
    for (digit, powers) in POWERS.iter().enumerate() {
        match (len >> (8 * digit)) & 0xff {
            0 => {}
            value => moved = product(moved, powers[value]),
        }
    }
    moved
}

/// The product of two polynomials modulo the polynomial.
const fn product(a: u32, mut b: u32) -> u32 {
    let mut sum = 0;
    let mut bit = 32;
    while bit > 0 {
        bit -= 1;
        sum ^= b & 0u32.wrapping_sub((a >> bit) & 1);
        b = (b >> 1) ^ (POLYNOMIAL & 0u32.wrapping_sub(b & 1));
    }
    sum
}

const fn powers() -> [[u32; 256]; DIGITS] {
    let mut table = [[ONE; 256]; DIGITS];
    let mut step = BYTE;
    let mut digit = 0;
    while digit < DIGITS {
        let mut value = 1;
        while value < 256 {
            table[digit][value] = product(table[digit][value - 1], step);
            value += 1;
        }
        step = product(table[digit][255], step);
        digit += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A seeded stream of bytes (xorshift64*).
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }

        fn header(&mut self) -> [u8; COVERED_BYTES] {
            std::array::from_fn(|_| (self.roll() >> 56) as u8)
        }
    }

    fn whole(header: &[u8; COVERED_BYTES], records: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(header), records)
    }

    #[test]
    fn a_patched_crc_is_the_recomputed_one() {
        let mut dice = Dice(20_261_101);
        let records: Vec<u8> = (0..1 << 17).map(|_| (dice.roll() >> 56) as u8).collect();
        for round in 0..5_000 {
            let len = (dice.roll() as usize) % (1 << (dice.roll() % 18));
            let (old, new) = (dice.header(), dice.header());
            let records = &records[..len];
            let patched = patch(whole(&old, records), &old, &new, len);
            assert_eq!(patched, whole(&new, records), "round {round}, {len} bytes");
        }
    }

    #[test]
    fn every_digit_of_the_length_counts() {
        let mut dice = Dice(7);
        let records = vec![0xa5; (1 << 24) + (1 << 20) + 3];
        for len in [0, 1, 255, 256, 65_535, 65_536, (1 << 20) + 1, 1 << 24, records.len()] {
            let (old, new) = (dice.header(), dice.header());
            let patched = patch(whole(&old, &records[..len]), &old, &new, len);
            assert_eq!(patched, whole(&new, &records[..len]), "{len} bytes");
        }
    }

    #[test]
    fn a_wrong_crc_stays_wrong() {
        let mut dice = Dice(9);
        let (old, new) = (dice.header(), dice.header());
        let wrong = whole(&old, b"records") ^ 0x10;
        assert_eq!(patch(wrong, &old, &new, 7) ^ 0x10, whole(&new, b"records"));
    }

    #[test]
    fn a_changed_byte_is_found_and_both_numbers_are_told() {
        let mut bytes = vec![0; HEADER_BYTES + 5];
        bytes[at::BASE_OFFSET + 7] = 40;
        bytes[at::LENGTH + 3] = (bytes.len() - at::LEADER_EPOCH) as u8;
        bytes[at::MAGIC] = 2;
        let right = crc32c::crc32c(&bytes[at::ATTRIBUTES..]);
        bytes[at::CRC..at::ATTRIBUTES].copy_from_slice(&right.to_be_bytes());
        assert_eq!(check(&BatchView::new(bytes.clone().into()).unwrap()), Ok(()));
        *bytes.last_mut().unwrap() ^= 1;
        let bad = check(&BatchView::new(bytes.into()).unwrap()).unwrap_err();
        assert_eq!((bad.base_offset.get(), bad.header), (40, right));
        assert_ne!(bad.computed, right);
    }
}
