//! The instances of one destination as members of a group of Kafka's own protocol: who of them does
//! the work, decided by rules.
//!
//! It never asks a coordinator (`link/member` does), and guards no append: the log does that.
//!
//! One member has all the work for now, and the others stand by. What it may do besides appending
//! is bounded by a lease, which its last answered heartbeat gives.

pub mod member;
pub mod share;
