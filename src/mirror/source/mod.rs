//! What is known of the source's log beside its batches: epochs, what was aborted, who is
//! read, and how much is left.
//!
//! It never decides what is appended.

pub mod aborted;
pub mod history;
pub mod pull;
pub mod replica;
