//! A simulated Kafka cluster: brokers, logs, replication, elections and their faults, in memory.
//!
//! It never uses `isolog::wire`, the wall clock or the operating system's randomness: written on
//! kafka-protocol alone, deterministic from one seed under tokio's paused time.

pub mod api;
pub mod batch;
pub mod cleaner;
pub mod cluster;
pub mod codec;
pub mod configs;
pub mod control;
pub mod direct;
pub mod log;
pub mod meta;
pub mod old;
pub mod partition;
pub mod producers;
pub mod quota;
pub mod rights;
pub mod serve;
pub mod spec;
pub mod state;
pub mod takeover;
pub mod validate;

pub use batch::Build;
pub use batch::Record;
pub use cluster::TestCluster;
pub use codec::Codec;
pub use spec::Spec;
pub use spec::Version;
