//! The support library of the outer tests: simulated and real clusters, checkers, fuzz bodies.
//!
//! It never uses `isolog::wire` to speak for a broker: two hands must agree on the bytes.

pub mod bodies;
pub mod mirror_ops;
pub mod real;
pub mod samples;
pub mod scripted;
