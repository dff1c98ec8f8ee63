//! The support library of the outer tests: simulated and real clusters, checkers, fuzz bodies.
//!
//! It never uses `isolog::wire` to speak for a broker: two hands must agree on the bytes.

pub mod bodies;
pub mod broker;
pub mod check;
pub mod control_ops;
pub mod group_ops;
pub mod hands;
pub mod heard;
pub mod instance;
pub mod loopback;
pub mod mirror_ops;
pub mod net;
pub mod net_dial;
pub mod orders;
pub mod raw;
pub mod real;
pub mod rng;
pub mod samples;
pub mod scripted;
pub mod secure;
pub mod seeds;
pub mod telling;
pub mod world;
