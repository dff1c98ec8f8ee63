//! How much one fetch asks for of those that are behind: as much as comes in a moment, and in far
//! places as much as makes the way there worth it.
//!
//! It never asks for more than the memory grants, nor for less than a fetch of the usual size for
//! each.
//!
//! ```text
//!  an answer came full, and soon   ──▶ twice as much, or four times
//!  it was long on its way          ──▶ half
//!  soon = 50 ms, or five times the way there and back: then the way costs a fifth
//! ```

use std::time::Duration;

/// What comes within this time is no burden to others.
const SOON: Duration = Duration::from_millis(50);
/// So many times the shortest way there and back is worth it.
const WAYS: u32 = 5;
/// What comes in such a share of that time is followed by so many times as much.
const SOONER: u32 = 4;
/// An answer was long on its way if it took so many times as long as is soon.
const LONG: u32 = 2;

/// The size of the fetches of one inlet.
#[derive(Debug)]
pub(super) struct Stride {
    bytes: usize,
    /// The way there and back.
    away: Duration,
}

impl Stride {
    pub fn new(bytes: usize) -> Stride {
        Stride { bytes, away: Duration::MAX }
    }

    /// The way there and back took so long; the shortest that was seen counts.
    pub fn see_way(&mut self, took: Duration) {
        self.away = self.away.min(took);
    }

    /// What a fetch asks for, of `granted` bytes; at least what it asked for before this was
    /// thought about.
    pub fn ask(&mut self, usual: usize, granted: usize) -> usize {
        self.bytes = self.bytes.clamp(usual.min(granted), granted);
        self.bytes
    }

    /// An answer has brought so many bytes of so many that were asked for.
    pub fn note(&mut self, brought: usize, asked: usize, took: Duration) {
        self.see_way(took);
        let soon = SOON.max(self.away.saturating_mul(WAYS));
        let is_full = brought >= asked - asked / 4;
        if took > soon.saturating_mul(LONG) {
            self.bytes = self.bytes.min(asked) / 2;
        } else if is_full && took <= soon {
            let times = if took <= soon / SOONER { SOONER } else { 2 };
            self.bytes = self.bytes.max(asked.saturating_mul(times as usize));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// What is asked for after so many answers over a line of so many bytes a second, so far away.
    fn after(answers: usize, rate: usize, away: Duration, granted: usize) -> (usize, f64) {
        let mut stride = Stride::new(MIB);
        stride.see_way(away);
        let mut used = 0.0;
        for _ in 0..answers {
            let asked = stride.ask(MIB, granted);
            let sent = Duration::from_secs_f64(asked as f64 / rate as f64);
            used = sent.as_secs_f64() / (sent + away).as_secs_f64();
            stride.note(asked, asked, sent + away);
        }
        (stride.ask(MIB, granted), used)
    }

    #[test]
    fn far_away_a_fetch_fills_four_fifths_of_the_line_within_few_answers() {
        let far = Duration::from_millis(100);
        let (asked, used) = after(6, 125_000_000, far, 60 * MIB);
        assert!(asked == 60 * MIB && used > 0.8, "{asked} {used}");
        // the memory bounds it, whatever the line
        assert_eq!(after(20, 125_000_000, far, 15 * MIB).0, 15 * MIB);
    }

    #[test]
    fn nearby_a_fetch_takes_no_longer_than_a_moment() {
        let near = Duration::from_micros(300);
        let (asked, used) = after(20, 400_000_000, near, 60 * MIB);
        assert!(asked <= 32 * MIB && used > 0.99, "{asked} {used}");
        let (slow, _) = after(20, 1_000_000, near, 60 * MIB);
        assert_eq!(slow, MIB, "what is usual is asked for however long it takes");
    }

    #[test]
    fn what_takes_long_is_halved_and_what_is_not_full_stays() {
        let mut stride = Stride::new(MIB);
        stride.see_way(Duration::from_millis(1));
        assert_eq!(stride.ask(MIB, 60 * MIB), MIB);
        stride.note(MIB, MIB, Duration::from_millis(40));
        assert_eq!(stride.ask(MIB, 60 * MIB), 2 * MIB);
        stride.note(MIB, MIB, Duration::from_millis(12));
        assert_eq!(stride.ask(MIB, 60 * MIB), 4 * MIB);
        stride.note(MIB, 4 * MIB, Duration::from_millis(10));
        assert_eq!(stride.ask(MIB, 60 * MIB), 4 * MIB);
        stride.note(4 * MIB, 4 * MIB, Duration::from_millis(101));
        assert_eq!(stride.ask(MIB, 60 * MIB), 2 * MIB);
        // more of them are behind, or the grant is smaller
        assert_eq!(stride.ask(3 * MIB, 60 * MIB), 3 * MIB);
        assert_eq!(stride.ask(3 * MIB, 2 * MIB), 2 * MIB);
        stride.note(0, 0, Duration::MAX);
    }
}
