//! What can be set, below a map of Kafka's property names to texts: one table, one set of checks
//! and words for the file, for REST and for the journal.
//!
//! It never reads TOML or the environment, and opens no file that its text may not name (`trust`).

pub mod check;
pub mod describe;
pub mod exporters;
pub mod fill;
pub mod link;
pub mod names;
pub mod problem;
pub mod property;
pub mod registry;
pub mod relations;
pub mod security;
pub mod table;
pub mod trust;
pub mod value;
