//! The buffers that large responses of one connection are read into, used again and again.
//!
//! It never zeroes a buffer and frees one only when the bound has sunk below it: a fresh mebibyte
//! costs page faults that a used one does not.

use bytes::Bytes;
use bytes::BytesMut;

/// The smallest buffer that is made.
const SLAB_BYTES_MIN: usize = 64 * 1024;

/// A bounded ring of buffers.
#[derive(Debug)]
pub(super) struct Slabs {
    ring: Vec<Slab>,
    max: usize,
}

#[derive(Debug)]
struct Slab {
    /// Empty between frames; shares its memory with the slices of the last frame.
    buf: BytesMut,
    /// The capacity it was made with.
    bytes: usize,
    /// A frame is being read into it.
    lent: bool,
}

/// A buffer that is being filled.
#[derive(Debug)]
pub(super) struct Lent {
    pub buf: BytesMut,
    /// Its place in the ring; `None` for one that goes to the allocator afterwards.
    at: Option<usize>,
}

impl Lent {
    /// A buffer that goes to the allocator afterwards.
    pub fn fresh(bytes: usize) -> Lent {
        Lent { buf: BytesMut::with_capacity(bytes), at: None }
    }
}

impl Slabs {
    pub fn new(max: usize) -> Slabs {
        Slabs { ring: Vec::with_capacity(max), max }
    }

    /// How many more frames can be alive at once: all slices of the others are dropped.
    pub fn free(&mut self) -> usize {
        let busy = self.ring.iter_mut().filter_map(|slab| (!slab.is_free()).then_some(())).count();
        self.max - busy
    }

    /// A buffer of at least `need` bytes. Beyond the ring's bound it is a fresh one: the caller
    /// who respects `free` never gets there.
    pub fn lend(&mut self, need: usize, bytes_max: usize) -> Lent {
        let mut place = None;
        for (at, slab) in self.ring.iter_mut().enumerate() {
            if slab.is_free() {
                place = Some(at);
                if slab.bytes >= need {
                    break;
                }
            }
        }
        if place.is_none() && self.ring.len() < self.max {
            self.ring.push(Slab { buf: BytesMut::new(), bytes: 0, lent: false });
            place = Some(self.ring.len() - 1);
        }
        let Some(at) = place else {
            return Lent::fresh(need);
        };
        let slab = &mut self.ring[at];
        if slab.bytes < need {
            // powers of two, so that slowly growing frames do not each make a new buffer
            let bytes = need.next_power_of_two().max(SLAB_BYTES_MIN).min(bytes_max.max(need));
            *slab = Slab { buf: BytesMut::with_capacity(bytes), bytes, lent: false };
        }
        slab.lent = true;
        Lent { buf: std::mem::take(&mut slab.buf), at: Some(at) }
    }

    /// Frees the memory of buffers larger than that; of those in use, when they are free.
    pub fn give_back(&mut self, bytes_max: usize) {
        let bound = bytes_max.max(SLAB_BYTES_MIN);
        for slab in self.ring.iter_mut().filter(|slab| slab.bytes > bound) {
            if slab.is_free() {
                *slab = Slab { buf: BytesMut::new(), bytes: 0, lent: false };
            }
        }
    }

    /// Takes the frame out of a filled buffer; the buffer is free when the frame's slices are gone.
    pub fn filled(&mut self, mut lent: Lent) -> Bytes {
        let frame = lent.buf.split().freeze();
        if let Some(slab) = lent.at.and_then(|at| self.ring.get_mut(at)) {
            slab.buf = lent.buf;
            slab.lent = false;
        }
        frame
    }
}

impl Slab {
    fn is_free(&mut self) -> bool {
        !self.lent && self.buf.try_reclaim(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(slabs: &mut Slabs, bytes: usize) -> Bytes {
        let mut lent = slabs.lend(bytes, 1 << 20);
        lent.buf.resize(bytes, 7);
        slabs.filled(lent)
    }

    #[test]
    fn a_buffer_is_used_again_when_its_last_slice_is_gone() {
        let mut slabs = Slabs::new(2);
        let first = fill(&mut slabs, 100_000);
        let place = first.as_ptr();
        let slice = first.slice(50..60);
        drop(first);
        assert_eq!(slabs.free(), 1);
        let second = fill(&mut slabs, 100_000);
        assert_ne!(second.as_ptr(), place);
        assert_eq!(slabs.free(), 0);
        drop(slice);
        assert_eq!(slabs.free(), 1);
        // 100,000 was rounded up, so a somewhat larger frame fits into the same memory
        let third = fill(&mut slabs, 120_000);
        assert_eq!(third.as_ptr(), place);
        assert_eq!(third.len(), 120_000);
    }

    #[test]
    fn a_buffer_above_a_lower_bound_is_given_back() {
        let mut slabs = Slabs::new(1);
        let frame = fill(&mut slabs, 1 << 20);
        slabs.give_back(1 << 18);
        assert_eq!(slabs.ring[0].bytes, 1 << 20, "it is in use");
        drop(frame);
        slabs.give_back(1 << 20);
        assert_eq!(slabs.ring[0].bytes, 1 << 20, "it is within the bound");
        slabs.give_back(1 << 18);
        assert_eq!(slabs.ring[0].bytes, 0);
        assert_eq!(fill(&mut slabs, 1 << 18).len(), 1 << 18);
    }

    #[test]
    fn a_buffer_being_filled_is_not_free() {
        let mut slabs = Slabs::new(1);
        let lent = slabs.lend(10, 1 << 20);
        assert_eq!(slabs.free(), 0);
        let beyond = slabs.lend(10, 1 << 20);
        assert_eq!(beyond.at, None);
        drop(slabs.filled(lent));
        drop(slabs.filled(beyond));
        assert_eq!(slabs.free(), 1);
    }

    #[test]
    fn a_buffer_never_grows_beyond_the_frame_cap() {
        let mut slabs = Slabs::new(1);
        let lent = slabs.lend(600_000, 700_000);
        assert!((600_000..=700_000).contains(&lent.buf.capacity()), "{}", lent.buf.capacity());
    }
}
