//! How `buffer.memory.bytes` is shared out, in quarters: answers that are appended, answers that
//! are fetched, batches that were encoded anew, and what is unpacked meanwhile.
//!
//! It never measures: each share is a bound that somebody keeps.

use crate::flow::Options;
use crate::flow::lane::wants::Counts;
use crate::flow::lane::wants::INLETS;
use crate::flow::lane::wants::Way;

/// How many answers of a lane are alive at once: one is appended while the next is fetched.
pub const STROKES: usize = 2;
/// The least that one fetch of a lane asks for, however many lanes share the memory.
pub const GRANT_BYTES_MIN: usize = 128 * 1024;
/// What one fetch asks for at most where nobody is behind: others wait for its answer.
pub const LEVEL_BYTES_MAX: usize = (8 << 20) - (8 << 20) / 16;
/// A lane that is granted less has no second inlet: the parts would be too small for either.
pub const SECOND_BYTES_MIN: usize = 256 * 1024;
/// Quarters.
const SHARES: usize = 4;
/// What of one unit may be held at least, however little memory there is: below this a batch of
/// the usual size would halt its partition.
const HELD_BYTES_MIN: usize = 4 << 20;
/// And at most.
const HELD_BYTES_MAX: usize = 128 << 20;
/// What one unit may become at least: what Kafka's own clients have to hold of a batch is larger
/// in the rarest cases. It takes a second or two.
const UNIT_BYTES_MIN: usize = 128 << 20;
/// And at most.
const UNIT_BYTES_MAX: usize = 1 << 30;

/// A lane's share of a quarter.
fn share(options: &Options, lanes: usize) -> usize {
    options.memory_bytes / (SHARES * lanes.max(1))
}

/// What one fetch of a lane asks for: its share of the memory, with room for the answer's own
/// fields, in powers of two as the buffers are.
pub fn grant_bytes(options: &Options, lanes: usize) -> usize {
    let asked = usize::try_from(options.fetch_bytes_max).unwrap_or(0);
    let grant = share(options, lanes).min(asked).max(GRANT_BYTES_MIN);
    let power = (grant / 2 + 1).next_power_of_two();
    power - power / 16
}

/// What a fetch of each of the two inlets of a lane asks for at most, of what the lane is granted.
pub fn inlet_bytes(grant: usize, counts: &Counts) -> [usize; INLETS] {
    match counts.way {
        Way::One if counts.behind == 0 || counts.level > 0 => [grant.min(LEVEL_BYTES_MAX), 0],
        Way::One => [grant, 0],
        Way::Beside => [(grant / 4).min(LEVEL_BYTES_MAX), grant / 2],
        Way::Split => [grant / 2; INLETS],
    }
}

/// What a lane may hold of batches that were encoded anew, before it hands out more.
pub fn anew_bytes(options: &Options, lanes: usize) -> usize {
    share(options, lanes).max(GRANT_BYTES_MIN)
}

/// What one unit may become when it is unpacked. That is not held: it goes through piece by piece.
pub fn unit_bytes(options: &Options) -> usize {
    (options.memory_bytes / 2).clamp(UNIT_BYTES_MIN, UNIT_BYTES_MAX)
}

/// What of one unit may be held at once, where it cannot go through piece by piece.
pub fn held_bytes(options: &Options) -> usize {
    let share = options.memory_bytes / (SHARES * options.reencode_threads.max(1));
    share.clamp(HELD_BYTES_MIN, HELD_BYTES_MAX)
}

/// The buffer that an answer of so many bytes takes. A broker answers with more only for a batch
/// that is larger by itself: its buffer is not kept.
pub fn buffer_bytes(grant_bytes: usize) -> usize {
    grant_bytes.next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(memory_bytes: usize) -> Options {
        Options {
            memory_bytes,
            reencode_threads: 2,
            fetch_bytes_min: 1,
            fetch_wait_max: std::time::Duration::from_millis(500),
            fetch_bytes_max: 10 << 20,
            partition_bytes_max: 1 << 20,
            bytes_per_second_max: None,
            append_bytes_max: 1 << 20,
        }
    }

    const WAYS: [(usize, usize, Way); 4] =
        [(3, 0, Way::One), (0, 1, Way::One), (1, 1, Way::Beside), (0, 2, Way::Split)];

    #[test]
    fn all_answers_alive_and_what_is_made_of_them_fit_the_memory() {
        for lanes in [1, 2, 3, 9, 36] {
            let options = options(256 << 20);
            let buffer = grant_bytes(&options, lanes).next_power_of_two();
            let held = lanes * (STROKES * buffer + anew_bytes(&options, lanes));
            let unpacked = options.reencode_threads * held_bytes(&options);
            assert!(held + unpacked <= 256 << 20, "{lanes} lanes: {buffer}");
            let grant = grant_bytes(&options, lanes);
            for (level, behind, way) in WAYS {
                let counts = Counts { level, behind, way, ..Counts::default() };
                let used = inlet_bytes(grant, &counts).into_iter().filter(|bytes| *bytes > 0);
                let buffers: Vec<usize> = used.map(buffer_bytes).collect();
                assert!(buffers.iter().sum::<usize>() <= buffer, "{counts:?}: {buffers:?}");
            }
        }
        assert_eq!(grant_bytes(&options(64 << 20), 1), (8 << 20) - (8 << 20) / 16);
        assert!(grant_bytes(&options(1), 1) <= GRANT_BYTES_MIN);
        assert_eq!(held_bytes(&options(1)), HELD_BYTES_MIN);
        assert_eq!(held_bytes(&options(256 << 20)), 32 << 20);
        assert_eq!(held_bytes(&options(1 << 40)), HELD_BYTES_MAX);
        assert_eq!(unit_bytes(&options(1)), UNIT_BYTES_MIN);
        assert_eq!(unit_bytes(&options(512 << 20)), 256 << 20);
        assert_eq!(unit_bytes(&options(1 << 40)), UNIT_BYTES_MAX);
    }
}
