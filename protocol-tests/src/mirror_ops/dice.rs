//! The dice of a run: a fuzzer's bytes first, then a seed.
//!
//! It never reads a clock: the same bytes and seed throw the same numbers.

/// Where the choices come from: the bytes of a fuzzer while there are any, then a seed.
pub struct Dice<'a> {
    pub(super) bytes: std::slice::Iter<'a, u8>,
    pub(super) state: u64,
}

impl<'a> Dice<'a> {
    /// Dice that a seed throws.
    pub fn seeded(seed: u64) -> Dice<'a> {
        Dice { bytes: [].iter(), state: seed }
    }

    /// Dice that a fuzzer's bytes throw.
    pub fn of(data: &'a [u8]) -> Dice<'a> {
        Dice { bytes: data.iter(), state: 0 }
    }

    /// A number below `below`.
    pub fn roll(&mut self, below: u64) -> u64 {
        if let Some(byte) = self.bytes.next() {
            return u64::from(*byte) % below;
        }
        // splitmix64
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}
