//! The pieces of requests that are to be written, as one `Buf` for vectored writes.
//!
//! It never copies a piece.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Buf;
use bytes::Bytes;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    pieces: VecDeque<Bytes>,
    left: usize,
    /// Bytes that ever went into the stream.
    written: u64,
}

impl Outbox {
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.left += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// Where in the stream the last byte queued so far ends.
    pub fn end(&self) -> u64 {
        self.written + self.left as u64
    }

    /// How far the stream has been written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Drops what is queued; it will never be written.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.left = 0;
    }
}

impl Buf for Outbox {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.pieces);
        filled.map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.left, "advanced by {count}, only {} are left", self.left);
        self.left -= count;
        self.written += count as u64;
        let mut count = count;
        while let Some(front) = self.pieces.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_leave_in_order_whatever_the_steps() {
        for step in 1..=9 {
            let mut out = Outbox::default();
            for piece in ["abc", "", "d", "efgh"] {
                out.push(Bytes::from_static(piece.as_bytes()));
            }
            assert_eq!(out.end(), 8);
            let mut seen = Vec::new();
            while out.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 2];
                let count = out.chunks_vectored(&mut slices);
                let joined: Vec<u8> =
                    slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
                let take = step.min(joined.len());
                seen.extend_from_slice(&joined[..take]);
                out.advance(take);
            }
            assert_eq!(seen, b"abcdefgh", "step {step}");
            assert_eq!((out.written(), out.end()), (8, 8));
        }
    }
}
