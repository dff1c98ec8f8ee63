//! isolog keeps an offset-exact copy of Kafka topics in a second cluster.
//!
//! The map of the house, floor by floor; imports only point downwards (`docs/ARCHITECTURE.md`,
//! checked by `protocol-tests/tests/tidy`).

// floor 0: words
pub mod ids;
pub mod meters;
// floor 1: bytes (pure), secrets, and HTTP
pub mod http;
pub mod secure;
pub mod wire;
// floor 2: rules (pure), and one cluster (IO, no opinion about mirroring)
pub mod cluster;
pub mod control;
pub mod mirror;
// floor 3: what copies, the clerks, and what can be set
pub mod flow;
pub mod schemas;
pub mod settings;
pub mod sync;
// floor 4: the link, and who audits it
pub mod audit;
pub mod drill;
pub mod link;
pub mod tail;
// floor 5: the counter
pub mod service;
// floor 6: the door
pub mod cli;
pub mod config;
