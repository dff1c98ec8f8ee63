//! What is asked of the source beside the lanes, for people: where it ends, and who holds it back.
//!
//! It never tells a machine anything.

pub mod ends;
pub mod open_txns;
