//! One log: read, taken apart into committed records, counted by its headers.
//!
//! It never compares two of them.

pub mod cursor;
pub mod fence;
pub mod reader;
#[cfg(test)]
pub(super) mod samples;
pub mod scan;
