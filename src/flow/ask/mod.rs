//! What is asked beside the lanes, for people: where both logs end, and who holds the source back.
//!
//! It never tells a machine more than a doubt.

pub mod ends;
pub mod open_txns;
