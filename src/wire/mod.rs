//! Bytes: frames, requests, responses and record batches, read in place and written by hand.
//!
//! It never waits, logs, reads a clock or throws a die; what a peer says is checked before
//! anything is allocated from it.

pub mod batch;
pub mod codec;
pub mod crc;
pub mod error;
pub mod fetch;
pub mod filler;
pub mod frame;
pub mod prim;
pub mod produce;
pub mod record;
pub mod reframe;
pub mod rewrite;
pub mod shape;
pub mod split;
pub mod topic;
pub mod versions;
